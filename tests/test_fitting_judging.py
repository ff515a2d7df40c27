"""The optimum: the fitter against a judge that starts anywhere, and the judge against SciPy.

`python -m tests.test_fitting_judging` writes ``reference_data/calibration_optimum.csv``, 500 maps of every population
and all real fields and kernels where they are; ``pytest`` draws few maps, ``pytest -m calibration`` all of them.
"""

import csv
import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.io
from click.testing import CliRunner

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.fitting.judging import FLOOR, POPULATIONS, draw_populations, judge, judge_fits

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "reference_data" / "calibration_optimum.csv"
CLAIM = 0.005  # share of maps that may be worse than the judge
ENGINES = ("compiled", "batched")


def test_the_judge_finds_what_scipy_finds() -> None:
    """From the same starts SciPy's bounded least squares ends no lower, and hardly ever higher."""
    worse = better = n = 0
    for maps in draw_populations(1, seed=5).values():
        if maps.shape[1] > 20:
            continue
        total = ((maps - maps.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
        ours, theirs = (judge(maps, np.random.default_rng(0), starts=12, scipy=slow) / total for slow in (False, True))
        worse += int((ours > 1.01 * theirs + FLOOR).sum())
        better += int((theirs > 1.01 * ours + FLOOR).sum())
        n += len(maps)
    # One start that ends in another basin decides a map of twelve starts: a few of 11 maps may differ either way.
    assert n == 11 and worse <= 2 and better <= 3


@pytest.mark.parametrize("engine", ENGINES)
def test_few_maps_of_every_population_are_fitted_as_well_as_from_random_starts(engine: str) -> None:
    n = 20 if engine == "compiled" else 2
    rows = judge_fits(draw_populations(n, seed=9), seed=1, engine=engine)
    assert len(rows) == len(POPULATIONS) and {row["n"] for row in rows} == {n}
    missed = sum(row["worse"] * row["n"] for row in rows)
    total = n * len(rows)
    assert missed <= CLAIM * total + 3 * np.sqrt(CLAIM * total)


def real_maps(folder: Path) -> dict[str, Floats]:
    """Fields of macaque cortex and retina, and three networks' kernels, as signed maps."""
    out: dict[str, Floats] = {}
    images = scipy.io.loadmat(folder / "fields" / "macaque_v1_horwitz" / "modelfits.mat")["modelfits"]
    for column, name in enumerate(("crescent", "gabor", "dog", "gaussian", "two gaussians", "dog, nonlinear")):
        out[f"V1, {name}"] = np.stack([np.asarray(image, dtype=float) for image in images[:, column]])
    for cell in ("Parasol", "Midget"):
        found = scipy.io.loadmat(folder / "fields" / "macaque_rgc" / f"{cell}_ON_spatial.mat")
        out[f"retina, {cell}"] = np.moveaxis(np.asarray(found["c"], dtype=float), 2, 0)
    for name, dims in (
        ("caffenet_conv1_96x3x11x11_bgr_f32", (0, 1, 2, 3)),
        ("squeezenet10_conv1_96x3x7x7_bgr_f32", (0, 1, 2, 3)),
        ("nin_imagenet_conv1_96x11x11x3_bgr_u8", (0, 3, 1, 2)),
    ):
        weights = np.load(folder / "kernels" / f"{name}.npy").astype(float).transpose(dims)[:, ::-1]
        bank = rfc.make_bank(weights, channel=("r", "g", "b"), kind="learned", rows="down")
        out[name.split("_")[0]] = rfc.to_signed(bank).rf.values[:, 0]
    return out


def test_real_fields_and_kernels_are_fitted_as_well_as_from_random_starts(shared_data: Path) -> None:
    rows = judge_fits({name: maps[::4] for name, maps in real_maps(shared_data).items()}, seed=2)
    missed, total = sum(row["worse"] * row["n"] for row in rows), sum(row["n"] for row in rows)
    assert total > 500
    assert missed <= CLAIM * total + 3 * np.sqrt(CLAIM * total)


def calibrate(folder: Path | None) -> list[dict[str, object]]:
    populations = draw_populations(500, seed=31)
    if folder is not None:
        populations |= real_maps(folder)
    rows = [row for seed in (41,) for row in judge_fits(populations, seed=seed)]
    few = {name: maps[:100] for name, maps in populations.items()}
    return rows + judge_fits(few, seed=43, engine="batched")


def check(rows: list[dict[str, str]]) -> None:
    """The claim over all maps, and for every population up to what three standard errors of its share are."""
    for engine in ENGINES:
        own = [row for row in rows if row["engine"] == engine]
        n = sum(int(row["n"]) for row in own)
        assert sum(float(row["worse"]) * int(row["n"]) for row in own) <= CLAIM * n
        for row in own:
            assert float(row["worse"]) <= CLAIM + 3 * np.sqrt(CLAIM / int(row["n"])), row


@pytest.mark.calibration
def test_the_optimum_is_found_in_full(shared_data: Path) -> None:
    check([{name: str(value) for name, value in row.items()} for row in calibrate(shared_data)])


def test_the_committed_table_holds_the_claim() -> None:
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if line[0] != "#"))
    assert set(POPULATIONS) <= {row["population"] for row in rows}
    assert all(int(row["n"]) == 500 for row in rows if row["engine"] == "compiled" and row["population"] in POPULATIONS)
    check(rows)


def test_the_verb_judges_and_writes_a_table(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["benchmark", "--judge", "--n", "8", "-o", str(tmp_path)])
    assert result.exit_code == 0, result.output
    with (tmp_path / "judge.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["population"] for row in rows] == list(POPULATIONS)
    arguments = ["benchmark", "--judge", "--maps", "reference:alexnet", "-o", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "96 maps" in result.output
    assert CliRunner().invoke(main, ["benchmark", "--maps", "reference:alexnet", "-o", str(tmp_path)]).exit_code == 2


if __name__ == "__main__":
    shared = ROOT.parent / "shared" / "data"
    found = calibrate(shared if shared.is_dir() else None)
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        file.write(f"# python -m tests.test_fitting_judging, {datetime.datetime.now(datetime.UTC).date()}\n")
        writer = csv.DictWriter(file, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
