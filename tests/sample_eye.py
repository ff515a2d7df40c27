"""The tables of a tree shrew's optics and contrast sensitivity, fitted to the published measurements.

Run as ``python -m tests.sample_eye MTF.csv CSF.mat FOLDER``; both files are in isetbio/ISETTreeShrew @ 3f7bc0fc.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat
from scipy.optimize import least_squares

HIGHEST = 30.0
"""Cycles per degree to which the optics are fitted: tenfold what a tree shrew resolves."""

OPTICS = """\
# Optics of a tree shrew's eye (265, right), 4 mm pupil, in focus: \
radial modulation transfer as a sum of Gaussians, share * exp(-2 pi^2 sd^2 f^2).
# Read from: isetbio/ISETTreeShrew, data/TabulatedDataFromRoorda, commit 3f7bc0fc (MIT); \
fitted here from 0 to 30 cycles/degree.
# Disagreement: the fit leaves {worst:.3f} at most; one eye of one animal, under a fixed pupil.
"""

SENSITIVITY = """\
# Tree shrew, behavioral contrast sensitivity to gratings of 16 degrees at 35 cd/m2 \
(Petry, Fox & Casagrande 1984, doi:10.1016/0042-6989(84)90080-4), three animals.
# Read from: isetbio/ISETTreeShrew, toolbox/Data, commit 3f7bc0fc (MIT); fitted here: \
log2 S = log2 peak - ((log2 f - log2 peak_frequency)/width)^2, a width below the peak and one above.
# Disagreement: the highest measured points lie at highest_at; \
cutoff is where the fit falls to a sensitivity of 1; r2 is of log2 S over n_points.
"""


def fitted_optics(path: Path) -> tuple[pd.DataFrame, float]:
    """Three Gaussians that sum to 1 at frequency 0, and the largest residual."""
    frequency, measured = np.loadtxt(path, delimiter=",").T
    frequency, measured = (each[frequency <= HIGHEST] for each in (frequency, measured))

    def parts(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        share = np.exp(np.append(p[:2], 0.0))
        return share / share.sum(), np.exp(p[2:])

    def left(p: np.ndarray) -> np.ndarray:
        share, sd = parts(p)
        return (share * np.exp(-2 * (np.pi * sd * frequency[:, None]) ** 2)).sum(1) - measured

    best = least_squares(left, [0.0, 0.0, *np.log([0.005, 0.02, 0.08])])
    share, sd = parts(best.x)
    order = np.argsort(sd)
    table = pd.DataFrame({"component": [1, 2, 3], "share": share[order], "sd_deg": sd[order]})
    return table, float(np.abs(best.fun).max())


def fitted_sensitivity(path: Path) -> pd.DataFrame:
    """An asymmetric parabola in octaves for each animal, from the best of nine starts."""
    rows = []
    for animal, points in enumerate(loadmat(path, squeeze_me=True)["ts_CSF_M"], start=1):
        octave, measured = np.log2(points).T

        def left(p: np.ndarray, octave: np.ndarray = octave, measured: np.ndarray = measured) -> np.ndarray:
            return p[0] - ((octave - p[1]) / np.where(octave < p[1], p[2], p[3])) ** 2 - measured

        starts = np.linspace(octave.min(), octave.max(), 9)
        best = min((least_squares(left, [measured.max(), at, 1.5, 1.0]) for at in starts), key=lambda one: one.cost)
        top, at, below, above = best.x
        r2 = 1 - 2 * best.cost / ((measured - measured.mean()) ** 2).sum()
        rows.append([animal, 2**at, 2**top, below, above, 2 ** (at + above * top**0.5),
                     points[measured.argmax(), 0], r2, len(points)])  # fmt: skip
    columns = ["animal", "peak_frequency", "peak_sensitivity", "width_below_octaves", "width_above_octaves", "cutoff",
               "highest_at", "r2", "n_points"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def main(optics: Path, sensitivity: Path, folder: Path) -> None:
    """Write both tables."""
    table, worst = fitted_optics(optics)
    for name, head, rows in (
        ("treeshrew_optics.csv", OPTICS.format(worst=worst), table),
        ("treeshrew_contrast_sensitivity.csv", SENSITIVITY, fitted_sensitivity(sensitivity)),
    ):
        (folder / name).write_text(head + rows.to_csv(index=False, float_format="%.5g"), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
