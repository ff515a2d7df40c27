"""The command line: every verb runs, and whatever a person gets wrong is one sentence and exit status 2."""

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner, Result

import rfcompare as rfc
from rfcompare import cli
from rfcompare.cli import main
from rfcompare.pipeline import study as study_room


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def one_sentence(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("rfcompare: ")]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.output
    return lines[0]


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A file that a user wrote with plain h5py: ON/OFF, degrees, five animals, one dead unit."""
    bank, _ = rfc.simulation.simulate_population(n=30, size=13, seed=0)
    maps = bank.rf.values
    with h5py.File(tmp_path / "fields.h5", "w") as file:
        rf = np.concatenate([maps.clip(0), (-maps).clip(0)], axis=1)
        rf[7] = 0
        file["rf"] = rf
        file["channel"] = ["on", "off"]
        file["x"] = file["y"] = (np.arange(13) - 6) * 2.0
        file["subject"] = [f"animal{i % 5}" for i in range(30)]
        file.attrs["units"] = "degree"
        file.attrs["kind"] = "simulated"
    return tmp_path / "fields.h5"


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    bank, _ = rfc.simulation.simulate_population(n=20, size=11, seed=1)
    np.save(tmp_path / "kernels.npy", bank.rf.values.repeat(3, axis=1))
    return tmp_path / "kernels.npy"


def test_help_and_version_and_citation() -> None:
    assert run("--help").exit_code == 0
    assert rfc.__version__ in run("--version").output
    assert "cite" in run("--citation").output.lower()
    for name in main.commands:
        assert run(name, "--help").exit_code == 0, name
    as_module = subprocess.run([sys.executable, "-m", "rfcompare", "--version"], capture_output=True, text=True)
    assert as_module.returncode == 0 and rfc.__version__ in as_module.stdout, as_module.stderr


def test_only_what_standard_output_does_is_said_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise AttributeError("of something else")

    monkeypatch.setattr(cli, "main", broken)
    with pytest.raises(AttributeError, match="something else"):
        cli.run()


def test_fit_describe_and_fits_as_a_population(fields: Path, tmp_path: Path) -> None:
    result = run("fit", fields, "-o", tmp_path / "fits.nc")
    assert result.exit_code == 0, result.output
    assert "30 units (simulated)" in result.output and "median r²" in result.output
    assert rfc.load(tmp_path / "fits.nc").attrs["kind"] == "simulated"
    with xr.open_dataset(tmp_path / "fits.nc", engine="h5netcdf") as plain:
        assert plain.sizes["unit"] == 30
    result = run("describe", tmp_path / "fits.nc", "-o", tmp_path / "table.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 30 and set(table["kind"]) == {"simulated"}
    assert table["status"][7] == "dead"


def test_compare_writes_a_row_per_quantity(fields: Path, kernels: Path, tmp_path: Path) -> None:
    result = run("compare", "--fields", fields, "--kernels", kernels, "-o", tmp_path / "r.csv")
    assert result.exit_code == 0, result.output
    assert "likeness" in set(pd.read_csv(tmp_path / "r.csv")["quantity"])
    assert "another_animal" in set(pd.read_csv(tmp_path / "r_ladder.csv")["reference"])
    assert "Demonstration" in result.output


def test_report_writes_everything_it_says(fields: Path, kernels: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("report", "--fields", fields, "--kernels", kernels, "-o", out)
    assert result.exit_code == 0, result.output
    for name in (
        "report.html",
        "manifest.json",
        "tables/results.csv",
        "figures/kernels.pdf",
        "figures/gabor_space.png",
    ):
        assert (out / name).stat().st_size > 0, name
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["inputs"]["fields"]["sha256"]) == 64
    page = (out / "report.html").read_text()
    assert "simulated" in page and "http-equiv" in page


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "nowhere.h5", "-o", "OUT/f.nc"),
        ("fit", "FOLDER", "-o", "OUT/f.nc"),
        ("fit", "empty.h5", "-o", "OUT/f.nc"),
        ("fit", "text.h5", "-o", "OUT/f.nc"),
        ("fit", "truncated.h5", "-o", "OUT/f.nc"),
        ("fit", "nothing_inside.h5", "-o", "OUT/f.nc"),
        ("fit", "flat.h5", "-o", "OUT/f.nc"),
        ("fit", "not_measured.h5", "-o", "OUT/f.nc"),
        ("fit", "infinite.h5", "-o", "OUT/f.nc"),
        ("fit", "twins.h5", "-o", "OUT/f.nc"),
        ("fit", "wrong_dims.h5", "-o", "OUT/f.nc"),
        ("fit", "two_dims.npy", "-o", "OUT/f.nc"),
        ("fit", "alexnett", "-o", "OUT/f.nc"),
        ("fit", "good.h5", "-o", "no/folder/f.nc"),
        ("fit", "good.h5", "--model", "gabbor", "-o", "OUT/f.nc"),
        ("fit", "good.h5", "--layout", "nowhere.toml", "-o", "OUT/f.nc"),
        ("compare", "--fields", "good.h5", "--kernels", "nowhere.pth", "-o", "OUT/r.csv"),
        ("figure", "kernel", "-o", "OUT/figures"),
        ("report", "--fields", "good.h5", "-o", "a_file"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bank, _ = rfc.simulation.simulate_population(n=3, size=9, seed=0)
    maps = bank.rf.values
    rfc.save(bank, "good.h5")
    (tmp_path / "OUT").mkdir()
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "a_file").touch()
    (tmp_path / "text.h5").write_text("only words")
    (tmp_path / "truncated.h5").write_bytes((tmp_path / "good.h5").read_bytes()[:3000])
    contents = {
        "nothing_inside": {},
        "flat": {"rf": maps * 0},
        "not_measured": {"rf": maps * np.nan},
        "infinite": {"rf": np.full_like(maps, np.inf)},
        "twins": {"rf": maps, "unit": ["a", "a", "b"]},
        "wrong_dims": {"rf": maps[0, 0]},
    }
    for name, content in contents.items():
        with h5py.File(f"{name}.h5", "w") as file:
            file.attrs["kind"] = "simulated"
            for key, value in content.items():
                file[key] = value
    np.save("two_dims.npy", np.ones((5, 5)))
    sentence = one_sentence(run(*words))
    assert len(sentence) < 500
    assert not list((tmp_path / "OUT").rglob("*.nc")) and not list(tmp_path.rglob("*.part"))


def test_a_usage_mistake_is_the_parsers_and_exits_with_two() -> None:
    assert run("fit").exit_code == 2
    assert run("no-such-verb").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ("fit", "fields.h5"),
        ("describe", "fields.h5"),
        ("compare", "--fields", "fields.h5"),
        ("match", "--fields", "fields.h5"),
        ("classify", "fields.h5"),
    ],
    ids=lambda words: words[0],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    words: tuple[str, ...], fields: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rfcompare import pipeline

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.chdir(fields.parent)
    monkeypatch.setattr(pipeline, "open_population", worked)
    monkeypatch.setattr(pipeline, "prepare", worked)
    monkeypatch.setattr(pipeline.Study, "make", worked)
    name = "out"
    assert "create it first" in one_sentence(run(*words, "-o", f"no/folder/{name}"))
    assert "which is a file" in one_sentence(run(*words, "-o", f"fields.h5/{name}"))


def test_folders_that_cannot_be_written_are_told_before_the_work(fields: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare import taxonomy

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the work began")

    monkeypatch.setattr(taxonomy, "survey", worked)
    assert "choose another with -o" in one_sentence(run("survey", "-o", fields / "out"))
    assert "choose another with -o" in one_sentence(run("benchmark", "-o", fields / "out"))


def test_the_r2_of_rendered_maps_is_that_of_the_originals(tmp_path: Path) -> None:
    result = run("fit", "reference:alexnet", "-o", tmp_path / "fits.nc")
    assert "median r² of the original map 0.951, 95 of 96 above 0.7" in result.output


def test_a_picture_of_kernels_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "picture.npy", np.full((4, 3, 7, 7), 128, np.uint8))
    sentence = one_sentence(run("classify", tmp_path / "picture.npy", "-o", tmp_path / "t.csv"))
    assert "both signs" in sentence and "gray level" in sentence


def test_every_suffix_of_a_checkpoint_is_read_as_kernels(kernels: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"conv1.weight": torch.from_numpy(np.load(kernels))}, tmp_path / "net.ckpt")
    result = run("describe", tmp_path / "net.ckpt", "-o", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output


def test_how_fields_are_read_is_not_applied_to_kernels(fields: Path, kernels: Path, tmp_path: Path) -> None:
    with h5py.File(fields) as file:
        np.save(tmp_path / "maps.npy", file["rf"][:4, 0])
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["maps"] = np.load(tmp_path / "maps.npy")
    layout = tmp_path / "layout.toml"
    layout.write_text('maps = "/maps"\ndims = "unit y x"\nkind = "simulated"\ndeg_per_px = 2.0\n')
    rfc.save(rfc.fit(rfc.to_signed(rfc.load_kernels(kernels)).isel(unit=slice(0, 3)), "gabor"), tmp_path / "kernels.nc")
    words = ("match", "--fields", tmp_path / "plain.h5", "--layout", layout, "--nulls", "0")
    result = run(*words, "--kernels", tmp_path / "kernels.nc", "-o", tmp_path / "m.nc")
    assert result.exit_code == 0, result.output
    assert rfc.load(tmp_path / "m.nc").attrs["units"] == "degree"


def test_rendered_maps_are_selected_by_the_r2_of_the_originals(tmp_path: Path) -> None:
    result = run("describe", "reference:alexnet", "--min-r2", "0.9", "-o", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "t.csv")
    assert 50 < len(table) < 90 and table["r2"].min() >= 0.9


def test_a_stopped_training_goes_on_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare.training import lines

    words = ("train", "lines", "--steps", "20", "-o")
    assert run(*words, tmp_path / "whole.nc").exit_code == 0
    draw, drawn = lines._draw_lines, []

    def interrupted(n: int, random: object) -> object:
        drawn.append(n)
        if len(drawn) == 12:
            raise KeyboardInterrupt
        return draw(n, random)

    monkeypatch.setattr(lines, "_draw_lines", interrupted)
    stopped = run(*words, tmp_path / "bank.nc")
    assert stopped.exit_code == 1 and "the same command goes on" in stopped.stderr
    assert [path.name for path in tmp_path.glob("bank*")] == ["bank.nc.checkpoint"]
    other = run("train", "lines", "--steps", "21", "-o", tmp_path / "bank.nc")
    assert "delete it to start anew" in one_sentence(other)
    assert run(*words, tmp_path / "bank.nc").exit_code == 0
    assert len(drawn) == 12 + 9 + 1  # the steps that were missing, and the test
    assert [path.name for path in tmp_path.glob("bank*")] == ["bank.nc"]
    np.testing.assert_array_equal(rfc.load(tmp_path / "bank.nc").rf, rfc.load(tmp_path / "whole.nc").rf)


def test_two_cells_have_a_score_and_no_interval(fields: Path, kernels: Path, tmp_path: Path) -> None:
    with h5py.File(fields) as file, h5py.File(tmp_path / "two.h5", "w") as two:
        two["rf"] = file["rf"][:2]
        two["channel"] = ["on", "off"]
        two.attrs["kind"] = "simulated"
    result = run("compare", "--fields", tmp_path / "two.h5", "--kernels", kernels, "-o", tmp_path / "r.csv")
    assert result.exit_code == 0, result.output
    assert "nan" not in result.output.lower().split("wrote")[0] or "cannot be placed" in result.output


def test_a_figure_of_the_sides_alone_needs_no_comparison(
    fields: Path, kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked(*_: object, **__: object) -> None:
        raise AssertionError("a comparison was made")

    monkeypatch.setattr(study_room, "likeness", worked)
    np.save(tmp_path / "one.npy", np.load(kernels)[:1])
    result = run("figure", "kernels", "--fields", fields, "--kernels", tmp_path / "one.npy", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "kernels.png").stat().st_size > 0
    one = ("--kernels", tmp_path / "one.npy", "-o", tmp_path / "column")
    result = run("figure", "kernels", "--fields", fields, *one, "--format", "svg", "--width", 89)
    assert sorted(path.name for path in (tmp_path / "column").glob("k*")) == [
        "kernels.csv",
        "kernels.svg",
        "kernels.txt",
    ]
    assert f'width="{89 / 25.4 * 72:.6f}pt"' in (tmp_path / "column" / "kernels.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [("match",), ("survey", "--no-torchvision")], ids=lambda words: words[0])
def test_a_cache_that_cannot_be_written_is_one_sentence(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").touch()
    monkeypatch.setenv("RFCOMPARE_CACHE", str(tmp_path / "a_file" / "cache"))
    assert "set RFCOMPARE_CACHE to another" in one_sentence(run(*words, "-o", tmp_path / "out.nc"))


def test_a_named_population_is_read_by_options_of_its_own(tmp_path: Path) -> None:
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).normal(size=(3, 3, 7 * 7)))
    layout = tmp_path / "maps.toml"
    layout.write_text('dims = "unit channel pixel"\nshape = [7, 7]\nchannel = ["r", "g", "b"]\n')
    given = ("describe", f"Mine={tmp_path / 'maps.npy'}", "--layout", f"Mine={layout}", "--kind", "learned")
    result = run(*given, "-o", tmp_path / "t.csv")
    assert result.exit_code == 0, result.output
    assert "Mine: 3 units" in result.output and "learned" in result.output
    for wrong, says in (
        (("--layout", f"Other={layout}"), "--layout is for 'Other', which names no population"),
        (("--channel-order", "bgr"), "expected no channel_order (--channel-order)"),
    ):
        assert says in one_sentence(run(*given, *wrong, "-o", tmp_path / "t.csv"))
    sides = ("compare", "--fields", "Mine=reference:treeshrew-simulated", "--kernels-kind", "Mine=learned")
    assert "is for 'Mine', which names no population" in one_sentence(run(*sides, "-o", tmp_path / "r.csv"))


def test_the_ending_decides_the_format_or_is_refused(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 7))
    np.save(tmp_path / "k.npy", maps)
    for command in (("fit", tmp_path / "k.npy"), ("classify", tmp_path / "k.npy"), ("describe", tmp_path / "k.npy")):
        for name in ("out.xlsx", "out"):
            assert "ending decides its format" in one_sentence(run(*command, "-o", tmp_path / name))
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(rfc.InputError, match="its ending decides its format"):
        rfc.save(rfc.make_bank(maps[:, None], channel=("signed",), kind="analytic"), tmp_path / "bank.csv")
    assert "ending in .nc or .h5 or .hdf5" in one_sentence(run("fit", tmp_path / "k.npy", "-o", tmp_path / "fits.csv"))


def test_several_populations_are_classified_at_once_with_or_without_a_file(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 7))
    np.save(tmp_path / "k.npy", maps)
    alone = run("classify", tmp_path / "k.npy")
    assert alone.exit_code == 0 and "straightness" in alone.output and "u002" in alone.output
    both = run("classify", f"A={tmp_path / 'k.npy'}", f"B={tmp_path / 'k.npy'}", "-o", tmp_path / "t.csv")
    assert both.exit_code == 0 and "A:" in both.output and "B:" in both.output
    assert pd.read_csv(tmp_path / "t.csv")["population"].tolist() == ["A"] * 3 + ["B"] * 3
    assert "NAME=POPULATION" in one_sentence(run("classify", tmp_path / "k.npy", tmp_path / "k.npy"))
