"""From named sources to results: naming, caching, tables, studies, folders."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare import comparison, figures, pipeline
from rfcompare.pipeline import gallery as gallery_room
from rfcompare.pipeline import kept as kept_room
from rfcompare.pipeline import parts as parts_room
from rfcompare.pipeline import population as population_room
from rfcompare.pipeline.cortex import study_columns
from rfcompare.pipeline.shipped import shipped_columns
from rfcompare.pipeline.study import EMBEDDED

ROUNDING = 5e-6  # six significant digits in the tables


def population(n: int = 24, *, seed: int = 0, size: int = 13, animals: int = 5) -> xr.Dataset:
    bank, _ = rfc.simulation.simulate_population(n=n, size=size, seed=seed, snr=3.0)
    return bank.assign_coords(subject=("unit", np.array([f"animal{i % animals}" for i in range(n)], dtype=object)))


@pytest.fixture(scope="module")
def study() -> pipeline.Study:
    return pipeline.Study.make(population(40), population(30, seed=1))


def test_a_population_is_named_the_same_way_everywhere(tmp_path: Path) -> None:
    bank = population(6)
    rfc.save(bank, tmp_path / "bank.nc")
    rfc.save(rfc.fit(bank, "gabor", seed=0), tmp_path / "fits.nc")
    np.save(tmp_path / "weights.npy", np.random.default_rng(0).normal(size=(4, 3, 7, 7)))
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["rf"] = bank.rf.values
        file.attrs["kind"] = "simulated"
    assert pipeline.open_population(tmp_path / "bank.nc").equals(bank)
    assert pipeline.open_population(str(tmp_path / "fits.nc")).attrs["model"] == "gabor"
    assert pipeline.open_population(tmp_path / "weights.npy").attrs["kind"] == "not stated"
    assert pipeline.open_population(tmp_path / "weights.npy", kind="learned").attrs["kind"] == "learned"
    assert np.array_equal(pipeline.open_population(tmp_path / "mine.h5").rf.values, bank.rf.values)
    assert pipeline.open_population("reference:alexnet").attrs["kind"] == "parametric"
    assert pipeline.open_population(bank) is bank


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.h5", "does not exist"),
        ("alexnett", "alexnet"),
        ("reference:alexnot", "alexnet"),
        ("nowhere.npy", "does not exist"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(name: str, words: str) -> None:
    with pytest.raises(rfc.InputError) as error:
        pipeline.open_population(name)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_fits_given_as_a_population_are_not_fitted_again() -> None:
    fits = rfc.fit(population(6), "gabor", seed=0)
    side = pipeline.prepare(fits, name="mine")
    assert side.fits is fits
    assert np.array_equal(side.signed.rf.values, fits.rf.values)


def test_selection_is_recorded_before_and_after() -> None:
    side = pipeline.prepare(population(30), min_r2=0.5)
    (entry,) = json.loads(str(side.fits.attrs["selection"]))
    assert entry["before"] == 30 and entry["after"] == side.n_units


def test_a_figure_is_drawn_once_for_the_same_data_and_again_for_others(
    study: pipeline.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []
    draw = gallery_room.draw
    monkeypatch.setattr(gallery_room, "draw", lambda *args, **look: asked.append(args[1]) or draw(*args, **look))
    first, _ = pipeline.write_figures(study, ["gabor_space"], tmp_path / "first", formats=["png"])
    again, _ = pipeline.write_figures(study, ["gabor_space"], tmp_path / "again", formats=["png"])
    assert asked == ["gabor_space"]
    assert list(first) == list(again) == ["gabor_space.png", "gabor_space.csv", "gabor_space.txt"]
    assert all(first[name].read_bytes() == again[name].read_bytes() for name in first)
    renamed = replace(study, network=replace(study.network, bank=study.network.bank.assign_attrs(title="another")))
    others: list[tuple[pipeline.Study, dict[str, Any]]] = [(study, {"width": 100.0}), (renamed, {})]
    for each, look in others:
        pipeline.write_figures(each, ["gabor_space"], tmp_path / "other", formats=["png"], **look)
    assert len(asked) == 3
    monkeypatch.setattr(kept_room, "_MOST_KEPT", 2)
    pipeline.write_figures(study, ["gabor_space"], tmp_path / "first", formats=["png"])
    assert len(asked) == 3 and len(list((tmp_path / "cache" / "figures").iterdir())) <= 2
    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "first" / "gabor_space.txt"))  # nothing can be kept in a file
    pipeline.write_figures(study, ["gabor_space"], tmp_path / "last", formats=["png"])
    assert len(asked) == 4 and (tmp_path / "last" / "gabor_space.png").is_file()


def test_parts_are_fitted_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path))
    monkeypatch.setattr(population_room, "PART", 10)
    monkeypatch.setattr(parts_room, "PART", 10)
    bank = population(24)
    calls: list[int] = []
    fit = parts_room.fit

    def counted(part: xr.Dataset, **options: object) -> xr.Dataset:
        calls.append(part.sizes["unit"])
        if len(calls) == 2 and interrupt:
            raise KeyboardInterrupt
        return fit(part, **options)

    monkeypatch.setattr(parts_room, "fit", counted)
    interrupt = True
    with pytest.raises(KeyboardInterrupt):
        pipeline.prepare(bank)
    interrupt = False
    calls.clear()
    fits = pipeline.prepare(bank).fits
    assert calls == [10, 4]  # the first part was not fitted again after the interruption
    pipeline.prepare(bank)
    assert len(calls) == 2
    whole = rfc.fit(rfc.to_signed(bank), seed=0, engine="compiled")  # by name: several parts never choose
    for name in ("x0", "frequency", "r2"):
        assert fits[name].values == pytest.approx(whole[name].values, rel=ROUNDING, nan_ok=True)
    pipeline.prepare(bank, seed=1)  # other options are another entry
    assert len(calls) == 2 + 3
    next((tmp_path / "fits").rglob("*.npz")).write_bytes(b"damaged")
    pipeline.prepare(bank)
    pipeline.prepare(bank, seed=1)
    assert len(calls) == 2 + 3 + 1


def test_a_study_answers_with_verdict_interval_zero_and_one(study: pipeline.Study) -> None:
    row = study.results.sel(quantity="likeness")
    answer = study.answer()
    assert answer.startswith("Demonstration: the simulated kernels")
    assert f"{float(row.effect):.2f}" in answer
    for words in ("95 % interval", "over 5 animals", "0 is noise with the cortex's own", "1 is another animal", "p = "):
        assert words in answer, words
    assert float(row.p_noise_smallest) == pytest.approx(1 / 1000)


def test_a_comparison_is_made_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "cache"))
    sides = population(20), population(20, seed=1)
    first = pipeline.Study.make(*sides)
    monkeypatch.setattr(comparison, "likeness", lambda *args, **options: pytest.fail("compared again"))
    xr.testing.assert_identical(pipeline.Study.make(*sides).results, first.results)
    with pytest.raises(pytest.fail.Exception, match="compared again"):
        pipeline.Study.make(*sides, seed=1)
    (file,) = (tmp_path / "cache" / "likeness").glob("*/results.nc")
    file.write_bytes(b"damaged")
    with pytest.raises(pytest.fail.Exception, match="compared again"):
        pipeline.Study.make(*sides)


def test_a_selection_is_seen_in_the_counts(study: pipeline.Study) -> None:
    middle = float(study.cortex.fits.r2.median())
    chosen = pipeline.Study.make(population(40), population(30, seed=1), min_r2=middle)
    assert int(chosen.results.n_total_a[0]) == 20 < int(study.results.n_total_a[0])


def test_tables_hold_kind_units_and_every_unit(study: pipeline.Study, tmp_path: Path) -> None:
    study.write_tables(tmp_path)
    results = pd.read_csv(tmp_path / "results.csv")
    for column in (
        "effect",
        "ci_low",
        "ci_high",
        "p",
        "p_adjusted",
        "null",
        "ceiling",
        "n_units_a",
        "n_subjects_b",
        "kind_a",
    ):
        assert column in results
    assert set(results["kind_a"]) == {"simulated"}
    fits = pd.read_csv(tmp_path / "fields_fits.csv")
    assert len(fits) == 40
    unit = [name for name in fits if name.startswith("frequency (")]
    assert unit and fits[unit[0]].to_numpy() == pytest.approx(study.cortex.fits.frequency.values, rel=ROUNDING)


def test_every_table_says_of_what_kind_its_populations_are(study: pipeline.Study) -> None:
    for name, table in study.tables().items():
        said = [column for column in table if column.startswith("kind")]
        assert said and set(table[said[-1]]) == {"simulated"}, name  # the published cells, kind_a, are measured


def test_the_same_seed_gives_the_same_tables_byte_for_byte(study: pipeline.Study, tmp_path: Path) -> None:
    again = pipeline.Study.make(population(40), population(30, seed=1), cache=False)
    study.write_tables(tmp_path / "a")
    again.write_tables(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_manifest_has_inputs_hashes_versions_and_seeds(study: pipeline.Study, tmp_path: Path) -> None:
    study.write_manifest(tmp_path / "manifest.json")
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["options"]["seed"] == 0
    assert len(manifest["inputs"]["fields"]["maps_sha256"]) == 64
    assert manifest["packages"]["numpy"] == np.__version__


def test_stand_ins_are_named_wherever_they_stand() -> None:
    side = pipeline.prepare("reference:alexnet")
    assert "CaffeNet" in side.sentence() and "parametric" in side.sentence()


def test_a_bad_unit_does_not_stop_a_study_and_is_reported() -> None:
    bank = population(20)
    bank["rf"][3] = np.nan
    bank["rf"][4] = 0.0
    made = pipeline.Study.make(bank, population(20, seed=1))
    assert any("2 of 20 units" in warning and "dead, not measured" in warning for warning in made.warnings())


def test_the_output_folder_is_tried_before_the_work_starts(tmp_path: Path) -> None:
    assert pipeline.output_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(rfc.InputError, match="choose another with -o"):
        pipeline.output_folder(tmp_path / "file")


def test_an_unknown_figure_is_named_with_near_ones() -> None:
    with pytest.raises(rfc.InputError, match="did you mean kernels"):
        pipeline.chosen_figures("kernel")
    assert pipeline.chosen_figures("all") == pipeline.known_figures()


def test_the_alexnet_table_is_what_ships(shared_data: Path) -> None:
    weights = shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy"
    table = pipeline.alexnet_table(pipeline.open_population(weights, channel_order="bgr"))
    shipped = pd.read_csv(Path(__file__).parents[1] / "reference_data" / "alexnet_gabor.csv")
    # Two engines and other machines reach the same minima to about 1e-6; flat minima move more, their r² does not.
    assert table["r2"].to_numpy() == pytest.approx(shipped["r2"].to_numpy(), abs=1e-4)
    assert np.abs(table["color_r"].to_numpy() - shipped["color_r"].to_numpy()).max() < 1e-4


def test_real_kernels_reach_the_measured_quality(shared_data: Path) -> None:
    weights = shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy"
    side = pipeline.prepare(weights, channel_order="bgr")
    r2 = side.fits.r2.values
    assert (r2 > 0.7).sum() >= 92  # 94 to 95 were measured with a prototype
    assert np.median(r2) >= 0.945  # 0.951
    assert "on a bound" in pipeline.fits_sentence(side.fits)


def test_several_networks_and_cortices_are_answered_together(tmp_path: Path) -> None:
    for name, seed in (("near", 0), ("far", 1), ("kernels", 2)):
        bank, _ = rfc.simulation.simulate_population(
            n=40,
            size=13,
            seed=seed,
            snr=3.0,
            median={"nx": 1.0, "ny": 1.0} if name == "far" else {"nx": 0.3, "ny": 0.3},
        )
        rfc.save(bank, tmp_path / f"{name}.nc")
    answers = pipeline.answer(
        [f"near={tmp_path / 'near.nc'}", f"far={tmp_path / 'far.nc'}"],
        [f"network={tmp_path / 'kernels.nc'}"],
    )
    assert list(answers.results) == ["network – near", "network – far"]
    # the kernels are drawn from the same distribution as the near cortex
    assert answers.nearest["cortex"].tolist() == ["near", "far"]
    assert answers.sentences()[0].startswith("network (simulated), likeness: near (simulated)")
    assert {"network", "cortex", "quantity"} <= set(answers.tables()["results"])
    tables = answers.tables()
    assert {"nearest", "ladder", "scales", "analyses", "published", "claims"} <= set(tables)
    for name in ("published", "claims"):
        assert set(tables[name].kind_a) == {"measured"} and set(tables[name].kind_b) == {"simulated"}


def test_two_populations_of_one_name_are_refused() -> None:
    with pytest.raises(rfc.InputError, match="NAME=POPULATION"):
        pipeline.answer(["reference:treeshrew-simulated", "reference:treeshrew-simulated"], ["reference:alexnet"])


def test_every_file_of_weights_is_a_population(tmp_path: Path) -> None:
    import torch

    weight = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    for suffix in (".pth", ".ckpt", ".bin"):
        torch.save({"epoch": 1, "state_dict": {"net.conv1.weight": weight}}, tmp_path / f"net{suffix}")
        opened = pipeline.open_population(str(tmp_path / f"net{suffix}"))
        np.testing.assert_array_equal(rfc.weights(opened), weight.numpy())


def test_names_go_with_populations_and_options_with_names(tmp_path: Path) -> None:
    bank = population(4)
    np.save(tmp_path / "a=b.npy", np.random.default_rng(0).normal(size=(4, 3, 7, 7)))
    rfc.save(bank, tmp_path / "bank.nc")
    opened = pipeline.open_population(f"Shrew V1={tmp_path / 'bank.nc'}")
    assert opened.attrs["title"] == "Shrew V1"
    rfc.save(opened, tmp_path / "named.nc")
    side = pipeline.prepare(str(tmp_path / "named.nc"))  # a saved bank keeps its name
    assert side.label == "Shrew V1" and side.sentence().startswith("Shrew V1: 4 units")
    assert pipeline.prepare(f"Other={tmp_path / 'bank.nc'}").label == "Other"
    assert "title" not in pipeline.open_population(str(tmp_path / "a=b.npy")).attrs  # the whole is a file's name
    both = {"kind": ("learned", "Mine=untrained"), "channel_order": ("Mine=bgr",)}
    mine = pipeline.open_population(f"Mine={tmp_path / 'a=b.npy'}", **both)
    other = pipeline.open_population(str(tmp_path / "a=b.npy"), **both)
    assert (mine.attrs["kind"], other.attrs["kind"]) == ("untrained", "learned")
    np.testing.assert_array_equal(mine.rf.sel(channel="r").values, other.rf.sel(channel="b").values)
    for given, says in (
        ({"population": "=bank.nc"}, "NAME=POPULATION"),
        ({"population": str(tmp_path / "bank.nc"), "channel_order": "bgr"}, "expected no channel_order"),
        ({"population": "reference:alexnet", "layer": "features.3"}, "expected no layer"),
        ({"population": bank, "kind": "measured"}, "say that they are"),
        ({"population": str(tmp_path / "bank.nc"), "deg_per_px": "wide"}, "a number or X,Y"),
        ({"population": str(tmp_path / "bank.nc"), "weight_key": "conv1"}, "did you mean key"),
    ):
        with pytest.raises(rfc.InputError, match=says):
            pipeline.open_population(**given)
    with pytest.raises(rfc.InputError, match="is for 'Mien', which names no population; did you mean Mine"):
        pipeline.check_addresses(["Mine=a.npy", "b.npy"], {"kernels_kind": ("Mien=learned",)})
    for twice in (("learned", "untrained"), ("Mine=learned", "untrained", "Mine=untrained")):
        with pytest.raises(rfc.InputError, match="got 'untrained' too; write NAME=VALUE"):
            pipeline.check_addresses(["Mine=a.npy"], {"kernels_kind": twice})


def test_every_option_has_a_side() -> None:
    given = {
        "layout": "v1.toml",
        "kernels_layout": "k.toml",
        "dims": "unit y x",
        "fields_kind": "measured",
        "key": None,
    }
    assert pipeline.by_side(given) == (
        {"layout": "v1.toml", "kind": "measured"}, {"layout": "k.toml", "dims": "unit y x"},
    )  # fmt: skip
    for wrong, says in (
        ("kind", "fields_kind or kernels_kind"),
        ("kernel_dims", "dims"),
        ("fields_layuot", "fields_layout"),
    ):
        with pytest.raises(rfc.InputError, match=says):
            pipeline.by_side({wrong: "x"})


REFITTED = 0.1  # standard errors: the same search on another processor, whose last digits differ
UNCLEAR = 0.02  # of units: what a status says of a bound or a flat valley may hang on the last digits
COMPARED_AGAIN = 0.05  # of an interval's width: a draw or two of the nulls may settle in another optimum
SINGLE = (
    1e-4  # of tables and figures: maps and profiles ship in single precision, sums of some hundred lose a factor 100
)


def test_what_ships_is_what_the_code_computes() -> None:
    shipped = pipeline.Study.make(EMBEDDED[1], EMBEDDED[0])
    assert shipped.as_shipped
    anew = pipeline.Study.make(EMBEDDED[1], EMBEDDED[0], full=True, cache=False)
    assert not anew.as_shipped
    for side in ("cortex", "network"):
        old, new = (getattr(study, side).fits for study in (shipped, anew))
        assert set(old.variables) == set(new.variables) and old.attrs == new.attrs
        # A rendered kernel's residual is rounding, and so is what its status says of errors and bounds.
        assert side == "network" or np.mean(old.status.values != new.status.values) <= UNCLEAR
        assert np.allclose(old.rf_fit, new.rf_fit, atol=SINGLE * float(np.abs(new.rf_fit).max()))
        clear = (old.status.values == "converged") & (new.status.values == "converged")
        for name in ("frequency", "sigma_x", "sigma_y", "amplitude"):
            error = new[f"{name}_se"].values[clear]
            # Rendered kernels are fitted exactly: their errors are rounding, and so is what moves them.
            allowed = REFITTED * error + SINGLE * np.abs(new[name].values[clear])
            assert np.all(np.abs(old[name] - new[name]).values[clear] <= allowed), name
    old, new = shipped.results, anew.results
    assert list(old.quantity.values) == list(new.quantity.values) and old.attrs.keys() == new.attrs.keys()
    width = (new.ci_high - new.ci_low).values
    known = np.isfinite(width)
    assert known.sum() >= 8
    assert np.all(np.abs(old.effect - new.effect).values[known] <= COMPARED_AGAIN * width[known])
    assert np.allclose(old.distance, new.distance, rtol=COMPARED_AGAIN, atol=COMPARED_AGAIN)


def test_the_columns_that_ship_are_drawn_like_those_that_are_analyzed() -> None:
    bank = pipeline.open_population(EMBEDDED[1])
    old, new = shipped_columns(bank), study_columns(bank)
    assert old.sentences() == new.sentences()
    for name, table in new.tables().items():
        pd.testing.assert_frame_equal(old.tables()[name], table, rtol=SINGLE, atol=SINGLE, check_dtype=False)
    numbers = [figures.numbers(each.figure()) for each in (old, new)]
    pd.testing.assert_frame_equal(*numbers, rtol=SINGLE, atol=SINGLE)


@pytest.mark.parametrize("how", [{"seed": 1}, {"full": True}, {"kernels_deg_per_px": 0.2}])
def test_what_ships_is_taken_for_nothing_else(how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "likeness", lambda *sides, **_: xr.Dataset(attrs={"anew": 1}))
    assert pipeline.Study.make(EMBEDDED[1], EMBEDDED[0], cache=False, **how).results.attrs == {"anew": 1}


def test_a_shipped_population_by_another_name_is_compared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "likeness", lambda *sides, **_: xr.Dataset(attrs={"anew": 1}))
    named = pipeline.Study.make(f"Shrew={EMBEDDED[1]}", EMBEDDED[0], cache=False)
    assert named.cortex.label == "Shrew" and named.results.attrs == {"anew": 1}
