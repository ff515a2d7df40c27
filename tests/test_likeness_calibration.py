"""How the likeness behaves where the answer is known, measured; `python -m tests.test_likeness_calibration` writes it.

The table ships as ``reference_data/calibration_likeness.csv``; the default run checks what it says and measures a small
part of it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.comparison.likeness import likeness, placed_best
from rfcompare.comparison.nearness import p_noise, population_rows
from rfcompare.comparison.setting import Setting, set_up, side_of
from tests.sample_populations import cortex_of, gabor_maps, kernels_of, population

TABLE = Path(__file__).parents[1] / "reference_data" / "calibration_likeness.csv"

SNRS = (np.inf, 5.0, 3.0, 2.0, 1.0)
ORDER = ("truth", "1.3 times the cycles", "plaids", "gratings", "blobs", "textures", "checkerboards", "pink noise")

FAR = 1.5
"""Times the cycles of the cells of a network whose likeness is about a third."""

COVERED = (
    *((subjects, icc, 1.0) for icc in (0.0, 0.1, 0.4) for subjects in (7, 5, 4)),
    *((7, icc, FAR) for icc in (0.0, 0.4)),
)
"""Animals, ICC and cycles of the studies whose intervals are counted."""


def order(snr: float, n: int, seed: int, names: tuple[str, ...] = ORDER, size: int = 11) -> dict[str, float]:
    """The likeness of every population to 300 cells of 7 animals on 21 × 21 pixels."""
    rng = np.random.default_rng(seed)
    cortex = cortex_of(*gabor_maps(300, 21, rng), snr, rng)
    return {name: placed_best(cortex, kernels_of(population(name, n, size, rng)), seed=seed) for name in names}


def sides(seed: int, icc: float, subjects: int, cycles: float) -> tuple[xr.Dataset, xr.Dataset]:
    """20 cells an animal at SNR 3 on 15 × 15 pixels, and 48 kernels on 11 × 11: one population but for cycles."""
    rng = np.random.default_rng(seed)
    cortex = cortex_of(*gabor_maps(20 * subjects, 15, rng, subjects=subjects, icc=icc), 3.0, rng)
    return cortex, kernels_of(gabor_maps(48, 11, rng, cycles=cycles)[0])


def null_study(seed: int, icc: float, subjects: int) -> dict[str, float]:
    """Every p where kernels are from the cells' own population."""
    result = likeness(*sides(seed, icc, subjects, 1.0), references=False, seed=seed)
    rows = {str(name): float(p) for name, p in zip(result.quantity.values, result.p.values, strict=True) if p == p}
    return rows | {"any row (Holm)": float(np.nanmin(result.p_adjusted.values))}


def interval_study(seed: int, icc: float, subjects: int, cycles: float) -> dict[str, float]:
    """The likeness and its interval."""
    cortex, kernels = (side_of(bank, "") for bank in sides(seed, icc, subjects, cycles))
    rng = np.random.default_rng(seed)
    ladder, sample = set_up(cortex, kernels, rng)
    number = population_rows(Setting(cortex, kernels, ladder, sample, ladder.curve(sample), rng))[0].number
    return {"value": number["effect"], "low": number["ci_low"], "high": number["ci_high"]}


def studies(path: Path, study: Callable[[int], dict[str, float]], n: int) -> pd.DataFrame:
    """Many studies; what a stopped run has finished stays in its file."""
    done = pd.read_csv(path) if path.exists() else pd.DataFrame()
    with ProcessPoolExecutor() as pool:
        for first in range(len(done), n, 50):
            new = pool.map(study, range(10_000 + first, 10_000 + min(first + 50, n)), chunksize=5)
            done = pd.concat([done, pd.DataFrame(list(new))], ignore_index=True)
            done.to_csv(path, index=False)
    return done.head(n)


def order_table() -> pd.DataFrame:
    """The likeness of every population over noise and number of kernels, and that of the truth over its pixels."""
    with ProcessPoolExecutor() as pool:
        return pd.concat(pool.map(order_rows, SNRS), ignore_index=True)


def order_rows(snr: float) -> pd.DataFrame:
    """The same for one strength of noise."""
    rows: list[dict[str, object]] = []
    for n in (24, 96, 512):
        found = order(snr, n, 1)
        rows += [{"population": name, "kernels": n, "pixels": 11, "value": found[name]} for name in ORDER]
    for size in (7, 15):
        value = order(snr, 96, 3, ("truth",), size)["truth"]
        rows.append({"population": "truth", "kernels": 96, "pixels": size, "value": value})
    return pd.DataFrame([{"what": "likeness", "snr": snr, **row} for row in rows])


def null_table(folder: Path, n: int) -> pd.DataFrame:
    """How often p falls below 0.05 in every row."""
    rows = []
    for icc in (0.0, 0.3, 0.1):
        found = studies(folder / f"null_{icc}.csv", partial(null_study, icc=icc, subjects=7), n)
        rate = (found < 0.05).mean()
        rows += [
            {"what": "p < 0.05", "population": name, "icc": icc, "animals": 7, "studies": n, "value": rate[name]}
            for name in rate.index
        ]
    return pd.DataFrame(rows)


def covering_table(folder: Path, n: int) -> pd.DataFrame:
    """How often the interval covers 1, or the likeness of very many kernels of more cycles to very many animals.

    Where animals differ so much that noise is not shown to be farther than another animal, the interval is all numbers.
    """
    rows = []
    for subjects, icc, cycles in COVERED:
        path = folder / f"interval_{subjects}_{icc}_{cycles}.csv"
        found = studies(path, partial(interval_study, icc=icc, subjects=subjects, cycles=cycles), n)
        true = 1.0 if cycles == 1 else float(np.mean([many(icc, seed) for seed in range(4)]))
        name = "truth" if cycles == 1 else f"{cycles:g} times the cycles, likeness {true:.2f}"
        numbers = {
            "interval covers": ((found.low <= true) & (found.high >= true)).mean(),
            "interval defined": found.value.notna().mean(),
            "mean likeness": found.value.mean(),
        }
        same = {"population": name, "icc": icc, "animals": subjects, "studies": n}
        rows += [{"what": what, **same, "value": value} for what, value in numbers.items()]
    return pd.DataFrame(rows)


def noise_study(seed: int) -> float:
    """p of "no nearer than noise" where the kernels are noise with the cells' own spectrum and window."""
    rng = np.random.default_rng(seed)
    cells = side_of(cortex_of(*gabor_maps(140, 15, rng), 3.0, rng), "cells")
    noise, _ = set_up(cells, side_of(kernels_of(gabor_maps(8, 15, rng)[0]), "kernels"), rng)
    kernels = side_of(kernels_of(noise.noise(48).maps), "kernels")
    ladder, sample = set_up(cells, kernels, rng)
    return p_noise(Setting(cells, kernels, ladder, sample, ladder.curve(sample), rng))


def noise_table(n: int) -> pd.DataFrame:
    """How often that p falls below 0.05."""
    with ProcessPoolExecutor() as pool:
        rate = np.mean(np.array(list(pool.map(noise_study, range(20_000, 20_000 + n), chunksize=5))) < 0.05)
    row = {"what": "p of noise < 0.05", "population": "noise with the cells' spectrum", "icc": 0.0, "animals": 7}
    return pd.DataFrame([row | {"studies": n, "value": rate}])


def many(icc: float, seed: int) -> float:
    """The likeness of 1500 kernels of more cycles to 100 animals of 20 cells."""
    rng = np.random.default_rng(seed)
    cortex = cortex_of(*gabor_maps(2000, 15, rng, subjects=100, icc=icc), 3.0, rng)
    return placed_best(cortex, kernels_of(gabor_maps(1500, 11, rng, cycles=FAR)[0]), seed=seed)


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "calibration")
    folder.mkdir(exist_ok=True)
    parts = [order_table(), null_table(folder, n), covering_table(folder, n // 5), noise_table(n // 5)]
    pd.concat(parts).to_csv(TABLE, index=False, float_format="%.4g")
