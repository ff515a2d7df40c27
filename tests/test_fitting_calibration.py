"""The fitter against Cramér–Rao bounds, its intervals against the truth, and its choice among models.

`python -m tests.test_fitting_calibration` (ten minutes) writes ``reference_data/calibration_fitting.csv``, the full
version of the calibration that ``pytest -m calibration`` runs.
"""

import csv
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

import rfcompare as rfc
from rfcompare.fitting.batched import information, prepare
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.fitting.publishing import periods, values_of
from rfcompare.fitting.selection import DEFAULT_MODELS, EVIDENCE
from rfcompare.fitting.uncertainty import covariance
from rfcompare.models import MODELS, map_of
from tests.sample_gabors import axes, draw_gabors, draw_maps, gabor_bank

SAME_COST = 1e-3  # two fits in one minimum end within this share of its cost
MOST_CYCLES = 0.2  # the calibrated region of the design: nx, ny above this and bounds on log nx, log ny below this
CALIBRATION = Path(__file__).resolve().parents[1] / "reference_data" / "calibration_fitting.csv"


# ---------------------------------------------------------------------------------------------------------------------
# Calibration against the Cramér–Rao bounds


def calibrate(size: int, snr: float, n: int, *, engine: str, seed: int) -> dict[str, float]:
    """Errors over Cramér–Rao bounds, coverage and costs of `n` noisy Gabors inside the calibrated region."""
    rng = np.random.default_rng(seed)
    model, grid = MODELS["gabor"], axes(size)
    p, linear = draw_gabors(size, 4 * n, rng)
    clean = map_of(model, p, linear, *grid)
    problem = prepare(model, clean, np.ones((len(p), size, size)), *grid)
    bound = covariance(information(problem, p, linear), np.zeros(p.shape, bool), np.full(len(p), 1 / snr))
    f = p[:, 3]

    own = np.einsum("nii->ni", bound)[:, 4:6]
    log_cycles = np.sqrt(own + (bound[:, 3, 3] / f**2)[:, None] + 2 * bound[:, 3, 4:6] / f[:, None])
    cycles = np.exp(p[:, 4:6]) * f[:, None]
    chosen = np.flatnonzero((cycles > MOST_CYCLES).all(1) & (log_cycles < MOST_CYCLES).all(1))[:n]
    p, f, cycles, log_cycles, bound = p[chosen], f[chosen], cycles[chosen], log_cycles[chosen], bound[chosen]
    maps = clean[chosen, 0] + rng.normal(0, 1 / np.sqrt(snr), (len(chosen), size, size))
    bank = gabor_bank(maps)
    fits = rfc.fit(bank, seed=0, engine=engine)
    prepared = Maps.of(bank)
    cost = (1 - fits.r2.values) * prepared.total()
    from_truth, _ = run(model, prepared, Engine(engine), starts=p[:, None])
    errors = {
        "log_nx": (np.log(fits.nx / cycles[:, 0]).values, log_cycles[:, 0], (fits.nx_se / fits.nx).values),
        "log_ny": (np.log(fits.ny / cycles[:, 1]).values, log_cycles[:, 1], (fits.ny_se / fits.ny).values),
        "log_f": (
            np.log(fits.frequency / f).values, np.sqrt(bound[:, 3, 3]) / f, (fits.frequency_se / fits.frequency).values,
        ),
        "orientation": (
            (fits.orientation.values - np.degrees(p[:, 2]) + 90 + 90) % 180 - 90,
            np.degrees(np.sqrt(bound[:, 2, 2])), fits.orientation_se.values,
        ),
    }  # fmt: skip
    calm = fits.status.values == "converged"
    row: dict[str, float] = {"size": size, "snr": snr, "n": len(chosen), "warned": float(1 - calm.mean())}
    far = np.zeros(len(chosen), bool)
    reach = student.ppf(0.975, size**2 - model.degrees_of_freedom)
    for name, (error, sd, own) in errors.items():
        z = error / sd
        far |= np.abs(z) > 5
        row[f"mad_over_bound_{name}"] = float(1.4826 * np.median(np.abs(z - np.median(z))))
        row[f"coverage_{name}"] = float((np.abs(error) <= reach * own)[calm].mean())
    row["beyond_5_bounds"] = float(far.mean())
    row["beyond_5_bounds_without_warning"] = float((far & calm).mean())
    row["no_worse_than_from_truth"] = float((cost <= from_truth.cost * (1 + SAME_COST)).mean())
    return row


def calibrate_bootstrap(size: int, snr: float, n: int, *, repeats: int, seed: int) -> dict[str, float]:
    """Coverage of bootstrap and standard-error intervals over all Gabors, and over those whose status warns."""
    rng = np.random.default_rng(seed)
    p, linear = draw_gabors(size, n, rng)
    clean = map_of(MODELS["gabor"], p, linear, *axes(size))[:, 0]
    fits = rfc.fit(gabor_bank(clean + rng.normal(0, 1 / np.sqrt(snr), clean.shape)), seed=seed, bootstrap=repeats)
    warned = fits.status.values != "converged"
    reach = student.ppf(0.975, size**2 - MODELS["gabor"].degrees_of_freedom)
    truth = {name: values.reshape(n) for name, (_, values) in values_of(MODELS["gabor"], p, linear, 1.0, False).items()}
    row: dict[str, float] = {"size": size, "snr": snr, "n": n, "warned": float(warned.mean())}
    for name, value in truth.items():
        found, error, low, high = (fits[name + end].values.reshape(n) for end in ("", "_se", "_ci_low", "_ci_high"))
        off, low, high = value - found, low - found, high - found
        if period := periods(MODELS["gabor"]).get(name):
            off = (off + period / 2) % period - period / 2
        inside = (low <= off) & (off <= high)
        row[f"coverage_{name}"] = float(inside.mean())
        row[f"coverage_warned_{name}"] = float(inside[warned].mean())
        row[f"coverage_warned_se_{name}"] = float((np.abs(off) <= reach * error)[warned].mean())
    return row


MEASURES = ("log_nx", "log_ny", "log_f", "orientation")
CELLS = [(size, snr) for size in (11, 32) for snr in (1.0, 5.0, 100.0)]


@pytest.mark.parametrize(("size", "snr"), CELLS)
def test_errors_meet_their_bounds(size: int, snr: float) -> None:
    n = 200 if size == 11 else 60
    row = calibrate(size, snr, n, engine="batched", seed=11)
    assert row["n"] == n
    for name in MEASURES:
        # The limit 1.15 of the full calibration plus three standard errors of a median absolute deviation, 1.17/√n.
        assert row[f"mad_over_bound_{name}"] <= 1.15 + 3 * 1.17 / np.sqrt(n), name
        # Nominal 95 %: three binomial standard errors around the full calibration's 92–98 %.
        assert row[f"coverage_{name}"] >= 0.92 - 3 * np.sqrt(0.05 * 0.95 / n), name
    assert row["beyond_5_bounds"] <= 0.02 + 3 * np.sqrt(0.02 * 0.98 / n)
    assert row["no_worse_than_from_truth"] >= 0.98


@pytest.mark.calibration
@pytest.mark.parametrize(("size", "snr"), CELLS)
def test_errors_meet_their_bounds_in_full(size: int, snr: float) -> None:
    row = calibrate(size, snr, 2000, engine="auto", seed=12)
    assert row["n"] == 2000
    for name in MEASURES:
        assert row[f"mad_over_bound_{name}"] <= 1.15, name
        assert 0.92 <= row[f"coverage_{name}"] <= 0.98, name
    assert row["beyond_5_bounds"] <= 0.02 and row["beyond_5_bounds_without_warning"] == 0
    assert row["no_worse_than_from_truth"] >= 0.99


BOOTSTRAPPED = (
    "nx",
    "ny",
    "frequency",
    "sigma_x",
    "sigma_y",
    "orientation",
    "x0",
    "y0",
    "phase",
    "amplitude",
    "offset",
)
BOOTSTRAP_CELLS = [(11, 1.0, 2000), (11, 5.0, 2000), (11, 100.0, 2000), (32, 1.0, 1000), (32, 5.0, 1000)]


def check_bootstrap(row: dict[str, float], slack: float) -> None:
    """The bootstrap covers 92 to 98 % where the status warns, and over all; `slack` binomial errors more."""
    for name in BOOTSTRAPPED:
        for among, n in (("", row["n"]), ("_warned", row["n"] * row["warned"])):
            error = slack * np.sqrt(0.05 * 0.95 / n)
            assert 0.92 - error <= row[f"coverage{among}_{name}"] <= 0.98 + error, (name, among, row)


@pytest.mark.calibration
@pytest.mark.parametrize(("size", "snr", "n"), BOOTSTRAP_CELLS)
def test_the_bootstrap_covers_in_full(size: int, snr: float, n: int) -> None:
    check_bootstrap(calibrate_bootstrap(size, snr, n, repeats=200, seed=23), slack=2)


def committed(what: str) -> list[dict[str, str]]:
    with CALIBRATION.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(line for line in file if line[0] != "#") if row["what"] == what]


def test_the_committed_table_holds_the_bootstraps_claim() -> None:
    rows = [
        {name: float(value) for name, value in row.items() if value and name != "what"}
        for row in committed("bootstrap")
    ]
    assert [(int(row["size"]), row["snr"], int(row["n"])) for row in rows] == BOOTSTRAP_CELLS
    for row in rows:
        check_bootstrap(row, slack=2)


# ---------------------------------------------------------------------------------------------------------------------
# Model selection


PAIR = "gaussian_pair"
SELECTED = ((11, 250), (32, 250))  # size, and maps of each model


def select_models(size: int, n: int, seed: int) -> list[dict[str, float | str]]:
    """For every true and every other model: how often BIC decides wrongly between the two, and how often not at all.

    The signal-to-noise ratio (of variances) is drawn between 0.1 and 100. A pair's expected difference is that of BIC
    without noise: n·log(1 + misfit/(n·noise variance)) + (difference in parameters)·log n. Above 10 it is clear, within
    2 of zero close; below −2 the simpler model of a pair is favored although the richer one is true.
    """
    rng, rows = np.random.default_rng(seed), []
    clean = np.concatenate([draw_maps(name, size, n, rng) for name in DEFAULT_MODELS])
    snr = np.exp(rng.uniform(np.log(0.1), np.log(100), len(clean)))[:, None]
    noisy = clean + rng.normal(size=clean.shape) / np.sqrt(snr)[:, :, None]
    table = rfc.fit_models(gabor_bank(noisy, noise_acf=np.ones((len(clean), 1, 1, 1))), seed=0)
    exact = rfc.fit_models(gabor_bank(clean), criterion="r2", seed=0)
    order, pixels = [str(name) for name in table.model.values], float(size**2)
    misfit = np.nan_to_num((1 - exact.r2.values) * pixels)  # the maps have unit variance, or none at all
    k, bic, named = table.degrees_of_freedom.values, table.bic.values, table.selected.values
    for first, true in enumerate(DEFAULT_MODELS):
        here, at = slice(first * n, (first + 1) * n), order.index(true)
        for other, name in enumerate(order):
            if name == true:
                continue
            expected = pixels * np.log1p(misfit[here, other] * snr[here, 0] / pixels)
            expected += (k[other] - k[at]) * np.log(pixels)
            found = bic[here, other] - bic[here, at]
            undecided, clear, close = np.abs(found) <= EVIDENCE, expected > 10, np.abs(expected) < 2
            simpler = expected <= -2
            rows.append(
                {
                    "true": true, "other": name, "n": n, "wrong": float((found < -EVIDENCE).mean()),
                    "n_clear": int(clear.sum()), "undecided_clear": int((undecided & clear).sum()),
                    "n_close": int(close.sum()), "undecided_close": int((undecided & close).sum()),
                    "n_simpler": int(simpler.sum()), "undecided_simpler": int((undecided & simpler).sum()),
                    "named_gabor": float((named[here] == "gabor").mean()),
                }
            )  # fmt: skip
    return rows


def share(rows: Sequence[Mapping[str, float | str]], part: str, whole: str) -> tuple[float, int]:
    total = sum(int(row[whole]) for row in rows)
    return sum(int(row[part]) for row in rows) / total, total


def check_selection(rows: Sequence[Mapping[str, float | str]], slack: float) -> None:
    """Wrong ≤ 3 %; undecided ≤ 10 % of the clear and ≥ 80 % of the close pairs; `slack` binomial errors more."""
    among = [row for row in rows if PAIR in (row["true"], row["other"])]
    rows = [row for row in rows if row not in among]
    for row in among:
        wrong, n = float(row["wrong"]), int(row["n"])
        # Nothing else is taken for a pair. A faint pair is taken for a simpler form, but hardly ever for a Gabor.
        least = 0.01 if row["other"] == PAIR else 0.02 if row["other"] == "gabor" else 0.16
        assert wrong <= least + slack * np.sqrt(least * (1 - least) / n), row
    wrong = np.mean([float(row["wrong"]) for row in rows])
    assert wrong <= 0.03 + slack * np.sqrt(0.03 * 0.97 / sum(int(row["n"]) for row in rows))
    clear, n_clear = share(rows, "undecided_clear", "n_clear")
    close, n_close = share(rows, "undecided_close", "n_close")
    assert clear <= 0.10 + slack * np.sqrt(0.1 * 0.9 / n_clear)
    assert close >= 0.80 - slack * np.sqrt(0.8 * 0.2 / n_close)
    for row in rows:
        if row["true"] != "gabor":
            assert float(row["named_gabor"]) <= 0.02 + slack * np.sqrt(0.02 * 0.98 / int(row["n"])), row["true"]


def test_models_are_told_apart_or_said_not_to_be() -> None:
    check_selection(select_models(11, 14, seed=21), slack=4)  # pairs of one map are not independent: 4, not 3


@pytest.mark.calibration
@pytest.mark.parametrize(("size", "n"), SELECTED)
def test_models_are_told_apart_in_full(size: int, n: int) -> None:
    check_selection(select_models(size, n, seed=22), slack=0)


def test_the_committed_table_holds_the_claims_of_selection() -> None:
    for size, n in SELECTED:
        rows = [row for row in committed("selection") if int(row["size"]) == size]
        assert len(rows) == len(DEFAULT_MODELS) * (len(DEFAULT_MODELS) - 1) and {int(row["n"]) for row in rows} == {n}
        check_selection(rows, slack=0)
        if size == 11:  # few pixels: seldom does a richer truth leave the simpler model with evidence of its own
            nine = [row for row in rows if PAIR not in (row["true"], row["other"])]
            undecided, whole = (
                sum(int(row[f"{part}_{name}"]) for row in nine for name in ("close", "simpler"))
                for part in ("undecided", "n")
            )
            assert undecided >= 0.8 * whole


# ---------------------------------------------------------------------------------------------------------------------
# The committed table


def write_table() -> None:
    rows = [{"what": "errors", **calibrate(size, snr, 2000, engine="auto", seed=12)} for size, snr in CELLS]
    rows += [{"what": "bootstrap", **calibrate_bootstrap(*cell, repeats=200, seed=23)} for cell in BOOTSTRAP_CELLS]
    pairs = [
        {"what": "selection", "size": size, **row} for size, n in SELECTED for row in select_models(size, n, seed=22)
    ]
    names = list(dict.fromkeys(name for row in (*rows, *pairs) for name in row))
    with CALIBRATION.open("w", newline="") as file:
        file.write(f"# python -m tests.test_fitting_calibration, {datetime.datetime.now(datetime.UTC).date()}\n")
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in (*rows, *pairs):
            writer.writerow(
                {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
            )


if __name__ == "__main__":
    write_table()
