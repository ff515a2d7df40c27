"""Datasets as tables: a row a unit or a quantity, with kind and units, six significant digits."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import xarray as xr

from rfcompare.bank import to_signed, write_beside
from rfcompare.fitting import fit
from rfcompare.quantities import QUANTITIES

DIGITS = "%.6g"
"""Six significant digits: what the tables print, so that rounding of the last bits does not show."""


def descriptor_table(descriptors: xr.Dataset) -> pd.DataFrame:
    """One row a unit, with kind, subject, status and units in the column names.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.pipeline import descriptor_table, prepare
    >>> maps = np.random.default_rng(0).normal(size=(2, 1, 7, 7))
    >>> table = descriptor_table(prepare(rfc.make_bank(maps, channel=("signed",), kind="simulated")).descriptors)
    >>> list(table.columns[:4]), len(table)
    (['unit', 'kind', 'subject', 'source'], 2)
    """
    units = str(descriptors.attrs["units"])
    columns: dict[str, Any] = {"unit": descriptors.unit.values, "kind": descriptors.attrs["kind"]}
    for name in ("subject", "source", "field_of_view", "cortex_x", "cortex_y"):
        if name in descriptors.coords:
            columns[name] = descriptors[name].values
    for name, quantity in QUANTITIES.items():
        if name in descriptors:
            unit = quantity.units(units)
            columns[f"{name} ({unit})" if unit else name] = descriptors[name].values
    columns["low_pass"] = descriptors["low_pass"].values if "low_pass" in descriptors else False
    columns["status"] = descriptors["status"].values
    return pd.DataFrame(columns)


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV with six significant digits, beside its place and then renamed."""
    with write_beside(path) as part:
        table.to_csv(part, index=False, float_format=DIGITS, lineterminator="\n")


def alexnet_table(kernels: xr.Dataset, *, seed: int = 0) -> pd.DataFrame:
    """The table behind ``reference:alexnet``: one Gabor times one color direction for every kernel.

    Parameters
    ----------
    kernels : xarray.Dataset
        A bank of color kernels in pixels.
    seed : int
        Of the fits.

    Returns
    -------
    pandas.DataFrame
        A row a kernel: Gabor parameters in pixels and degrees of angle, r², color direction, the share that one color
        direction explains, and the fit's status. No weight can be read back from it.
    """
    fits = fit(to_signed(kernels), "gabor", seed=seed).isel(channel=0)
    columns: dict[str, Any] = {"unit": fits.unit.values}
    for name in ("x0", "y0", "orientation", "frequency", "sigma_x", "sigma_y", "phase", "amplitude", "offset", "r2"):
        columns[name] = fits[name].values
    for index, color in enumerate("rgb"):
        columns[f"color_{color}"] = fits.color_direction.values[:, index]
    columns |= {name: fits[name].values for name in ("rank_one_share", "status")}
    return pd.DataFrame(columns)
