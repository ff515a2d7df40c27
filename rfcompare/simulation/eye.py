"""A tree shrew's eye and what it sees: measured optics and contrast sensitivity, as functions of spatial frequency.

Both are fitted to published measurements; the parameters, their source and how well they fit stand in
``reference_data/treeshrew_optics.csv`` and ``treeshrew_contrast_sensitivity.csv``.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rfcompare.bank import Array, folder, shipped_table


@cache
def _table(name: str) -> pd.DataFrame:
    rows, _ = shipped_table(folder() / name)
    return pd.DataFrame(rows).set_index("animal" if "animal" in rows[0] else "component").astype(float)


def point_spread() -> tuple[Array, Array]:
    """The optics as a sum of round Gaussians: shares of the light, and standard deviations in degrees.

    Examples
    --------
    >>> share, sd = point_spread()
    >>> round(float(share.sum()), 6), round(float(np.sqrt((share * sd**2).sum())), 3)
    (1.0, 0.056)
    """
    table = _table("treeshrew_optics.csv")
    return table["share"].to_numpy(), table["sd_deg"].to_numpy()


def modulation(frequency: ArrayLike) -> Array:
    """Modulation transfer of the eye, 4 mm pupil, in focus.

    Parameters
    ----------
    frequency : array
        Cycles per degree, up to 30: what the fit was made on.

    Examples
    --------
    >>> modulation([0.0, 2.5, 10.0]).round(2)
    array([1.  , 0.71, 0.14])
    """
    share, sd = point_spread()
    squared = np.asarray(frequency, dtype=np.float64)[..., None] ** 2
    return np.asarray((share * np.exp(-2 * np.pi**2 * sd**2 * squared)).sum(axis=-1))


def contrast_sensitivity(frequency: ArrayLike) -> pd.DataFrame:
    """Contrast sensitivity (1/threshold) of each animal that was measured; 1 is as much as any contrast can give.

    Parameters
    ----------
    frequency : array
        Cycles per degree; measured from 0.1 to 2.

    Returns
    -------
    pandas.DataFrame
        A row per frequency, a column per animal.

    Notes
    -----
    log2 S = log2 S₀ − ((log2 f − log2 f₀)/w)², with a w of its own below and above the peak f₀.

    Examples
    --------
    >>> contrast_sensitivity([0.3, 0.7]).round(1).values.tolist()
    [[3.2, 3.5, 7.0], [2.0, 4.9, 9.5]]
    """
    table = _table("treeshrew_contrast_sensitivity.csv")
    octave = np.log2(np.asarray(frequency, dtype=np.float64))[..., None] - np.log2(table["peak_frequency"].to_numpy())
    width = np.where(octave < 0, table["width_below_octaves"].to_numpy(), table["width_above_octaves"].to_numpy())
    values = table["peak_sensitivity"].to_numpy() * 2 ** -((octave / width) ** 2)
    index = pd.Index(np.asarray(frequency, dtype=np.float64).ravel(), name="frequency")
    return pd.DataFrame(values.reshape(-1, len(table)), index=index, columns=table.index)
