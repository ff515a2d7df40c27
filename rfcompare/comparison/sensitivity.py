"""A tree shrew's spatial frequencies beside the contrast sensitivity that was measured."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.errors import InputError
from rfcompare.simulation.eye import contrast_sensitivity, modulation

EDGES = 2 ** np.arange(-4, 2.01, 0.5)
"""Half octaves from 1/16 to 4 cycles per degree: past both ends of what was measured."""


def beside_sensitivity(descriptors: xr.Dataset) -> pd.DataFrame:
    """Count units by the peak of their spectrum, beside what three tree shrews saw and what their optics let pass.

    Parameters
    ----------
    descriptors : xarray.Dataset
        Of fields in degrees, from `rfcompare.describe` or `rfcompare.descriptors.describe_maps`.

    Returns
    -------
    pandas.DataFrame
        A row per half octave: ``frequency_low``, ``frequency_high`` (cycles/degree), ``share`` of the units, ``kind``,
        ``sensitivity_1`` to ``_3`` of the animals (1/contrast, at the middle; Petry, Fox & Casagrande 1984) and
        ``modulation`` of the eye.

    Raises
    ------
    InputError
        For fields in pixels.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.descriptors import describe_maps
    >>> cells = rfc.to_signed(rfc.open_fields("reference:treeshrew-simulated"))
    >>> table = beside_sensitivity(describe_maps(cells))
    >>> table.loc[table["share"].idxmax(), ["frequency_low", "sensitivity_3"]].astype(float).round(2).tolist()
    [0.18, 4.81]
    """
    if descriptors.attrs.get("units") != "degree":
        raise InputError("expected fields in degrees, got pixels; give deg_per_px when they are opened")
    peak = np.asarray(descriptors["peak_frequency"].values, dtype=np.float64)
    peak = peak[np.isfinite(peak)]
    counts = np.histogram(np.clip(peak, EDGES[0], EDGES[-1] * 0.999), EDGES)[0]
    middle = np.sqrt(EDGES[:-1] * EDGES[1:])
    sensitivity = contrast_sensitivity(middle)
    return pd.DataFrame(
        {
            "frequency_low": EDGES[:-1],
            "frequency_high": EDGES[1:],
            "share": counts / max(1, peak.size),
            "kind": str(descriptors.attrs["kind"]),
            **{f"sensitivity_{animal}": sensitivity[animal].to_numpy() for animal in sensitivity},
            "modulation": modulation(middle),
        }
    )
