"""The benchmark: its cases, its peers and its judge."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

from rfcompare import bank
from rfcompare.cli import main
from rfcompare.errors import InputError
from rfcompare.fitting import benchmark

SLOPE = 1e-6  # step of central differences in double precision
DIFFERENCE = 1e-6  # their error, relative to derivatives of order 1
SAME = 1e-3  # two fitters at the same minimum, each stopped by its own tolerance


@pytest.fixture(scope="module")
def cases():
    return benchmark.make_cases((9,), n=24, seed=3)


def test_cases_hold_maps_of_the_stated_noise(cases):
    assert [case.name for case in cases] == ["gabor-9px", "blob-9px"]
    for case in cases:
        noise = case.maps - case.truth.signal.values.reshape(case.maps.shape)
        signal = case.truth.signal.values.reshape(24, -1).var(1)
        # 24 maps of 81 pixels: the mean noise variance is known to sqrt(2 / 1944) = 3 %
        assert (noise.var((1, 2)) / signal).mean() == pytest.approx(1 / benchmark.SNR, rel=0.12)
    again = benchmark.make_cases((9,), n=24, seed=3)
    assert np.array_equal(again[0].maps, cases[0].maps)


def test_the_peers_jacobian_is_the_derivative():
    pixels = tuple(np.random.default_rng(0).uniform(-5, 5, (2, 30)))
    p = np.array([0.3, -0.4, 0.7, 0.2, 1.5, 2.5, 0.6, 1.3, 0.1])
    for i in range(9):
        step = SLOPE * np.eye(9)[i]
        slope = (benchmark.gabor(pixels, *(p + step)) - benchmark.gabor(pixels, *(p - step))) / (2 * SLOPE)
        assert np.allclose(benchmark._jacobian(pixels, p)[:, i], slope, atol=DIFFERENCE)


def test_every_fitter_is_run_and_judged(cases):
    rows = benchmark.run_benchmark(cases[:1], n_peer=4)
    assert [row["fitter"] for row in rows] == list(benchmark.FITTERS)
    assert all(row["us_per_map"] > 0 and 0 <= row["success"] <= 1 for row in rows)
    assert rows[0]["success"] >= 0.75  # at most one of four maps missed
    assert rows[2]["times_faster"] == 1.0


def test_a_fitter_that_finds_nothing_fails(cases):
    def flat(maps):
        return np.tile([0, 0, 0, 0.1, 1, 1, 0, 0, 0.0], (maps.sizes["unit"], 1))

    fitters = {"flat": flat, "rfcompare, batched": benchmark.FITTERS["rfcompare, batched"]}
    rows = {row["fitter"]: row for row in benchmark.run_benchmark(cases[:1], n_peer=24, fitters=fitters)}
    assert rows["flat"]["success"] == 0
    assert rows["rfcompare, batched"]["success"] == 1
    assert np.isnan(rows["flat"]["times_faster"])


def test_out_of_bounds_is_no_fit(cases):
    p = np.tile([0, 0, 0, 0.6, 1, 1, 0, 1, 0.0], (24, 1))  # beyond the Nyquist frequency
    assert np.isinf(benchmark.residuals(cases[0].bank, p)).all()


def test_somebody_elses_fits_are_scored(cases, tmp_path):
    """SciPy's own fits of a case, as a table, are as good as ours; the same with one width at random are not."""
    case = cases[0]
    found = benchmark.fit_least_squares(case.bank.isel(unit=slice(0, 6)))
    found[:, [2, 6]] = np.rad2deg(found[:, [2, 6]])
    bank.save(case.bank.isel(unit=slice(0, 6)), tmp_path / "case.nc")
    outcomes = []
    for name, values in (("good", found), ("bad", found * np.where(np.arange(9) == 4, 1.5, 1.0))):
        path = tmp_path / f"{name}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["unit", *benchmark.PARAMETERS])
            writer.writerows([unit, *row] for unit, row in zip(case.bank.unit.values, values.tolist(), strict=False))
        result = CliRunner().invoke(main, ["benchmark", "--score", str(tmp_path / "case.nc"), str(path)])
        assert result.exit_code == 0, result.output
        outcomes.append(dict(line.split() for line in result.output.splitlines()))
    assert float(outcomes[0]["n"]) == 6
    assert float(outcomes[0]["success"]) >= 5 / 6
    assert float(outcomes[1]["success"]) < float(outcomes[0]["success"])


def test_an_incomplete_table_is_told(cases, tmp_path):
    (tmp_path / "fits.csv").write_text("unit,x0\n0,1\n")
    with pytest.raises(InputError, match="one row per unit"):
        benchmark.score(cases[0].bank, tmp_path / "fits.csv")
    with pytest.raises(InputError, match="table of fits"):
        benchmark.score(cases[0].bank, tmp_path / "none.csv")


def test_the_verb_writes_the_table_and_the_cases(tmp_path):
    arguments = ["benchmark", "--size", "7", "--n", "8", "--n-peer", "2", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    with (tmp_path / "out" / "benchmark.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["case"] for row in rows} == {"gabor-7px", "blob-7px"}
    again = bank.load(tmp_path / "out" / "gabor-7px.nc")
    assert again.attrs["kind"] == "simulated"
    with (tmp_path / "out" / "gabor-7px-truth.csv").open() as file:
        truth = list(csv.DictReader(file))
    assert [row["unit"] for row in truth] == again.unit.values.tolist()
    assert {"x0", "frequency", "sigma_x", "phase"} <= set(truth[0])
    assert CliRunner().invoke(main, ["benchmark"]).exit_code == 2
