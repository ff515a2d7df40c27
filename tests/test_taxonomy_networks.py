"""The survey of many networks, the history of a training, what ships of both, and their commands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner
from scipy import stats

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.errors import InputError
from rfcompare.pipeline import load_many
from rfcompare.sources.reference import path_of
from rfcompare.taxonomy import gabor_verdict, training_history
from rfcompare.taxonomy.classes import ANSWERS
from rfcompare.taxonomy.learning import _chance_of_as_many
from rfcompare.taxonomy.networks import _COLUMNS, _first_kernel
from rfcompare.taxonomy.profile import NOISE_MAPS, _chance
from rfcompare.taxonomy.spectrum import measure_spectra
from tests.test_taxonomy import SIZE, Maps, blob, gabor, gaussian


def test_survey_counts_every_unit_of_every_population_once() -> None:
    rng = np.random.default_rng(0)
    color = rfc.make_bank(rng.normal(size=(6, 3, 5, 5)), channel=("r", "g", "b"), kind="learned")
    axis = np.arange(5) - 2.0
    spot = gaussian(axis[None, :], axis[:, None], 1.0, 1.0)
    cortex = rfc.make_bank(spot[None, None], channel=("signed",), kind="simulated")
    table = rfc.survey({"network": color, "cortex": cortex}, torchvision=False, progress=False)
    assert list(table.columns) == list(_COLUMNS)
    assert set(table.population) == {"network", "cortex", "untrained 5×5"}
    assert set(table.kind) == {"learned", "simulated", "untrained"}
    whole = table[(table.group == "all") & table.question.isin(ANSWERS)]
    sums = whole.groupby(["population", "question"])[["n", "share"]].sum()
    assert np.allclose(sums["share"], 1)
    assert (sums.loc["network", "n"] == 6).all() and (sums.loc["cortex", "n"] == 1).all()


def test_survey_is_the_same_for_the_same_seed() -> None:
    bank = rfc.make_bank(np.random.default_rng(0).normal(size=(4, 3, 5, 5)), channel=("r", "g", "b"), kind="learned")
    one, other = (rfc.survey({"a": bank}, torchvision=False, seed=3, progress=False) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_survey_says_which_weights_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch import hub

    from rfcompare.taxonomy import networks

    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(networks, "model_names", lambda: ["alexnet", "vit_b_16", "vgg11"])
    table = rfc.survey({}, untrained=False, progress=False)
    assert list(table.population) == ["alexnet", "vit_b_16", "vgg11"]
    assert list(table.kernel) == ["11×11", "16×16 patch", "3×3"]
    assert table.status.str.contains("not in the cache").all()
    assert table.question.isna().all()


def test_survey_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="populations to survey"):
        rfc.survey({}, torchvision=False)


def test_first_kernel_does_not_build_the_network() -> None:
    # RegNet Y 128GF has 645 million parameters, 2.6 GB: building it would take seconds and its memory.
    assert _first_kernel("regnet_y_128gf") == "3×3"


def test_history_follows_noise_into_structure() -> None:
    rng = np.random.default_rng(0)
    final = np.stack([gabor(rng) for _ in range(6)])
    banks = [
        rfc.make_bank(
            (weight * final + (1 - weight) * rng.normal(size=final.shape))[:, None],
            channel=("luminance",),
            kind="learned" if weight else "untrained",
            source="net",
            attrs={"step": int(100 * weight), "seed": 0},
        )
        for weight in (0.0, 0.95)
    ]
    history = training_history(banks, progress=False)
    assert history.groupby("step")["kind"].first().to_dict() == {0: "untrained", 95: "learned"}
    values = history.pivot_table(index="quantity", columns="step", values="median")
    assert values.loc["r2", 0] < 0.5 < 0.8 < values.loc["r2", 95]
    assert values.loc["unstructured_share", 0] == 1 and values.loc["striped_share", 95] == 1


def test_a_fit_without_r2_is_not_beyond_all_noise() -> None:
    p = _chance(np.array([0.5, np.nan, 0.95]), [0.1, 0.5, 0.9])
    assert p[[0, 2]].tolist() == [0.75, 0.25] and np.isnan(p[1])


def test_noise_kernels_are_called_structured_as_often_as_they_may() -> None:
    # p-values as `chance` gives them, of values drawn like the noise maps' own: 2,000 banks of 500 kernels.
    rng = np.random.default_rng(0)
    null = np.sort(rng.random((2000, NOISE_MAPS)), axis=1)
    counts = np.array([(_chance(rng.random(500), row.tolist()) <= 0.05).sum() for row in null])
    p = np.array([_chance_of_as_many(int(count), 500) for count in counts])
    for level in (0.01, 0.05, 0.1):
        assert (p <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / 2000)
    assert (p <= 0.05).mean() > 0.03
    wrong = stats.binom.sf(counts - 1, 500, 0.05) <= 0.05
    assert wrong.mean() > 0.15  # what the binomial would have done


def test_the_claim_about_digit_kernels_falls_with_gabors_and_stands_with_blobs() -> None:
    rng = np.random.default_rng(0)

    def verdict(maps: Maps) -> str:
        return gabor_verdict(rfc.classify(rfc.make_bank(maps[:, None], channel=("luminance",), kind="learned")))

    assert verdict(np.stack([gabor(rng) for _ in range(8)])).endswith("does not hold")
    assert verdict(np.stack([blob(rng) for _ in range(8)])).endswith("holds")
    assert "cannot be told from noise" in verdict(rng.normal(size=(8, SIZE, SIZE)))


def test_shipped_kernels_became_oriented_by_training() -> None:
    snapshots = list(load_many(path_of("training-snapshots")).values())
    assert [bank.attrs["kind"] for bank in snapshots] == ["untrained"] + ["learned"] * (len(snapshots) - 1)
    first, last = (
        measure_spectra(rfc.to_signed(bank).rf.values[:, 0].astype(float)) for bank in snapshots[:: len(snapshots) - 1]
    )
    assert np.median(last["anisotropy"]) > 2 * np.median(first["anisotropy"])
    final = rfc.load_kernels("reference:learned")
    # White noise of 11×11 px fills 0.51 ± 0.04 of the frequency square.
    area = measure_spectra(rfc.to_signed(final).rf.values[:, 0].astype(float))["spectral_area"]
    assert np.median(area) < 0.2 and np.median(first["spectral_area"]) > 0.4


def test_shipped_survey_has_networks_untrained_ones_and_cortex() -> None:
    table = pd.read_csv(path_of("survey"), keep_default_na=False, na_values=[""])
    assert list(table.columns) == list(_COLUMNS)
    assert {"learned", "untrained", "measured", "parametric", "simulated"} <= set(table.kind)
    share = table.set_index(["population", "group", "question", "answer"])["share"]
    assert share["untrained 11×11", "all", "profile", "unstructured"] > 0.9
    assert ("untrained 11×11", "all", "profile", "Gabor") not in share.index
    absent = table[table.question.isna()]
    assert absent.status.str.contains("cache").all() and (absent.n_units == 0).all()


def test_shipped_history_rises() -> None:
    table = pd.read_csv(path_of("training-history"))
    values = table.pivot_table(index="quantity", columns="step", values="median")
    last = values.columns[-1]
    assert values.loc["striped_share", 0] == 0 < values.loc["striped_share", last]
    assert values.loc["r2", 0] < values.loc["r2", last]
    assert values.loc["likeness", 0] < values.loc["likeness", last]
    assert set(table.loc[table.step == 0, "kind"]) == {"untrained"}


def test_the_commands_write_one_row_per_kernel_and_say_what_they_found(tmp_path: Path) -> None:
    np.save(tmp_path / "kernels.npy", np.random.default_rng(0).normal(size=(3, 3, 5, 5)))
    kernels = str(tmp_path / "kernels.npy")
    done = CliRunner().invoke(main, ["classify", kernels, "-o", str(tmp_path / "t.csv")])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table.columns[:7]) == ["unit", *ANSWERS, "sentence"] and len(table) == 3
    assert "3 units, kind not stated" in done.output and "% oriented band-pass" in done.output
    done = CliRunner().invoke(
        main, ["survey", "--population", f"noise={kernels}", "--no-torchvision", "-o", str(tmp_path / "survey")]
    )
    assert done.exit_code == 0, done.output
    survey = pd.read_csv(tmp_path / "survey" / "survey.csv")
    assert set(survey.population) == {"noise", "untrained 5×5"}
    assert (tmp_path / "survey" / "figure.pdf").stat().st_size > 0
    failed = CliRunner().invoke(main, ["classify", "no/such.npy", "-o", str(tmp_path / "u.csv")])
    assert failed.exit_code == 2 and not (tmp_path / "u.csv").exists()


def test_train_lines_from_the_command_line(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        main,
        ["train", "lines", "--steps", "12", "--runs", "2", "--snapshots", str(tmp_path / "s.h5"), "--history",
         str(tmp_path / "h.csv"), "-o", str(tmp_path / "lines.nc")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert rfc.load(tmp_path / "lines.nc").attrs["kind"] == "learned"
    assert set(pd.read_csv(tmp_path / "h.csv").seed) == {0, 1}
    assert list(load_many(tmp_path / "s.h5"))[:2] == ["step 0", "step 10"]


def test_a_stopped_survey_counts_each_population_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare.taxonomy import networks

    rng = np.random.default_rng(0)
    banks = {
        name: rfc.make_bank(rng.normal(size=(4, 1, 7, 7)), channel=("luminance",), kind="learned") for name in "abc"
    }
    options: dict[str, bool] = {"torchvision": False, "untrained": False}
    whole = rfc.survey(banks, **options)
    counted: list[int] = []

    def once(bank: xr.Dataset, **words: object) -> pd.DataFrame:
        counted.append(1)
        if len(counted) == 3:
            raise KeyboardInterrupt
        return rfc.classify(bank, **words)

    monkeypatch.setattr(networks, "classify", once)
    with pytest.raises(KeyboardInterrupt):
        rfc.survey(banks, **options, keep=tmp_path)
    first, _ = sorted(tmp_path.iterdir())
    first.write_text("{damaged")
    pd.testing.assert_frame_equal(rfc.survey(banks, **options, keep=tmp_path), whole)
    assert len(counted) == 3 + 2  # the damaged one and the one that was never counted
