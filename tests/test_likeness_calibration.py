"""How the likeness behaves where the answer is known, measured; `python -m tests.test_likeness_calibration` writes it.

The table ships as ``reference_data/calibration_likeness.csv``; the default run checks what it says and measures a small
part of it again.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rfcompare.comparison.likeness import likeness, placed_best
from tests.sample_populations import cortex_of, gabor_maps, kernels_of, population

TABLE = Path(__file__).parents[1] / "reference_data" / "calibration_likeness.csv"

SNRS = (np.inf, 5.0, 3.0, 2.0, 1.0)
ORDER = ("truth", "1.3 times the cycles", "plaids", "gratings", "blobs", "textures", "checkerboards", "pink noise")


def order(snr: float, n: int, seed: int, names: tuple[str, ...] = ORDER, size: int = 11) -> dict[str, float]:
    """The likeness of every population to 300 cells of 7 animals on 21 × 21 pixels."""
    rng = np.random.default_rng(seed)
    cortex = cortex_of(*gabor_maps(300, 21, rng), snr, rng)
    return {name: placed_best(cortex, kernels_of(population(name, n, size, rng)), seed=seed) for name in names}


def null_study(icc: float, subjects: int, seed: int, snr: float = 3.0) -> dict[str, float]:
    """Every p of a study whose kernels are from the cells' own population, and whether the interval covers 1."""
    rng = np.random.default_rng(seed)
    cortex = cortex_of(*gabor_maps(20 * subjects, 15, rng, subjects=subjects, icc=icc), snr, rng)
    result = likeness(cortex, kernels_of(gabor_maps(48, 11, rng)[0]), references=False, seed=seed)
    rows = {str(name): float(p) for name, p in zip(result.quantity.values, result.p.values, strict=True) if p == p}
    row = result.sel(quantity="likeness")
    return rows | {
        "any row (Holm)": float(np.nanmin(result.p_adjusted.values)),
        "covers": float(row.ci_low <= 1 <= row.ci_high),
        "value": float(row.effect),
    }


def order_table() -> pd.DataFrame:
    """The likeness of every population over noise and number of kernels, and that of the truth over its pixels."""
    rows = []
    for snr in SNRS:
        for n in (24, 96, 512):
            found = order(snr, n, 1)
            rows += [{"population": name, "kernels": n, "pixels": 11, "value": found[name]} for name in ORDER]
        for size in (7, 15):
            rows.append(
                {
                    "population": "truth",
                    "kernels": 96,
                    "pixels": size,
                    "value": order(snr, 96, 3, ("truth",), size)["truth"],
                }
            )
        rows = [{"what": "likeness", "snr": snr, **row} for row in rows]
        print(pd.DataFrame(rows).tail(23).to_string(), flush=True)
    return pd.DataFrame(rows)


def null_table(studies: int, iccs: tuple[float, ...] = (0.0, 0.1, 0.3)) -> pd.DataFrame:
    """How often p falls below 0.05 in every row, and how often the interval covers 1."""
    rows = []
    for icc in iccs:
        with ProcessPoolExecutor() as pool:
            seeds = range(10_000, 10_000 + studies)
            found = pd.DataFrame(list(pool.map(partial(null_study, icc, 7), seeds, chunksize=10)))
        for name in found.columns:
            rate = found[name].mean() if name in ("covers", "value") else (found[name] < 0.05).mean()
            what = {"covers": "interval covers 1", "value": "mean likeness"}.get(name, "p < 0.05")
            rows.append({"what": what, "population": name, "icc": icc, "animals": 7, "studies": studies, "value": rate})
        print(pd.DataFrame(rows).tail(12).to_string(), flush=True)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    pd.concat([order_table(), null_table(studies)]).to_csv(TABLE, index=False, float_format="%.4g")
