"""Datasets as tables: a row a unit or a quantity, with kind and units, six significant digits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.bank import (
    check,
    file_to_write,
    folder_to_write,
    read_hdf5,
    to_signed,
    write_csv,
    write_hdf5,
)
from rfcompare.descriptors import censoring
from rfcompare.fitting import fit
from rfcompare.quantities import QUANTITIES, SCHEMAS


def descriptor_table(descriptors: xr.Dataset) -> pd.DataFrame:
    """One row a unit, with kind, subject, status and units in the column names.

    A column ``_censored`` beside a quantity is 0 for a value and −1, 1 or 2 for a limit (see
    `rfcompare.descriptors.censoring`).

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
            columns |= {f"{name}_censored": censoring(descriptors, name)} if quantity.follows else {}
    columns["less_than_one_cycle"] = (
        descriptors["less_than_one_cycle"].values if "less_than_one_cycle" in descriptors else False
    )
    columns["status"] = descriptors["status"].values
    return pd.DataFrame(columns)


def fit_table(fits: xr.Dataset) -> pd.DataFrame:
    """One row a unit (and channel, for joint fits) with every parameter, its standard error, r² and status.

    A column ``_at_bound`` says of a parameter whether it is at its lower (−1) or upper (1) bound.
    """
    units = str(fits.attrs["units"])
    numbers = [name for name in fits.data_vars if set(fits[name].dims) <= {"unit", "channel"}]
    bounded = fits["parameter"].values[np.isfinite(fits["bound"].values).any(axis=1)]
    held = {f"{name}_at_bound": fits["at_bound"].sel(parameter=name, drop=True) for name in bounded}
    frame = fits[numbers].assign(held).to_dataframe().reset_index()
    if fits.sizes["channel"] == 1:
        frame = frame.drop(columns="channel")
    last = [name for name in ("status",) if name in frame]
    first = [name for name in ("unit", "channel", "subject", "source", "field_of_view") if name in frame]
    frame = frame[[*first, *[name for name in frame if name not in {*first, *last}], *last]]
    frame.insert(1, "kind", fits.attrs["kind"])
    frame.insert(2, "model", fits.attrs["model"])
    scaled = {
        str(name): f"{name} ({quantity.units(units)})"
        for name in frame
        if (quantity := QUANTITIES.get(str(name).removesuffix("_se"))) is not None and quantity.units(units)
    }
    return frame.rename(columns=scaled)


def result_table(results: xr.Dataset) -> pd.DataFrame:
    """One row a quantity: the schema's columns first, then what explains them.

    Examples
    --------
    >>> from rfcompare.comparison import compare_published
    >>> from rfcompare.pipeline import prepare
    >>> table = result_table(compare_published(prepare("reference:alexnet").descriptors, n_permutation=19, seed=0))
    >>> list(table.columns[:4])
    ['quantity', 'effect', 'ci_low', 'ci_high']
    """
    frame = results.to_dataframe().reset_index()
    first = ["quantity", *SCHEMAS["results"].variables]
    return frame[[*first, *[name for name in frame if name not in first]]]


def save_many(datasets: Mapping[str, xr.Dataset], path: str | os.PathLike[str]) -> None:
    """Keep several checked Datasets in one file, a group each, in their order."""
    write_hdf5(
        path,
        [
            (f"{index:03d}", check(data).assign_attrs(group=name), {})
            for index, (name, data) in enumerate(datasets.items())
        ],
    )


def load_many(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """What `save_many` kept, by name."""
    return {str(data.attrs.get("group", name)): check(data) for name, data in read_hdf5(path, groups=True)}


def output_folder(path: str | os.PathLike[str]) -> Path:
    """The folder that ``-o`` names, made where it does not exist and tried before the work starts."""
    return folder_to_write(path, cure="choose another with -o")


def output_file(path: str | os.PathLike[str]) -> Path:
    """The file to write, its place tried before the work starts.

    Raises
    ------
    InputError
        When its folder does not exist or cannot be written, or it is a folder.
    """
    target = file_to_write(path)
    output_folder(target.parent)
    return target


def write_table(table: pd.DataFrame, path: str | os.PathLike[str]) -> None:
    """Write a table as CSV with six significant digits, beside its place and then renamed."""
    write_csv(table, path)


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
