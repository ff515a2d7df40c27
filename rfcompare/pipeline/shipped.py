"""What ships computed of the two shipped populations, so that the report of them costs no more than its drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import save
from rfcompare.bank.keeping import read_hdf5, write_hdf5
from rfcompare.pipeline.cortex import ColumnStudy, study_columns
from rfcompare.pipeline.population import fits_entry
from rfcompare.pipeline.study import EMBEDDED, SHIPPED, Study
from rfcompare.sources.reference import path_of

_COLUMNS = "treeshrew-simulated-columns"
"""The entry that holds the columns of the simulated population, the best kernels beside them."""

_BESIDE = "beside"
"""The group of its file that holds the best kernels."""

_NOT_SHOWN = ("rf_half", "noise_acf")
"""Of the columns' averages: what their analysis needed and no figure or table does."""


def shipped_columns(bank: xr.Dataset) -> ColumnStudy:
    """The columns of the simulated population beside the shipped kernels, as `write_shipped` wrote them."""
    path = path_of(_COLUMNS)
    [(_, root)] = read_hdf5(path, groups=False)
    parts = dict(read_hdf5(path, groups=True))
    beside = parts.pop(_BESIDE)
    tree = xr.DataTree.from_dict(parts)
    tree.attrs = root.attrs
    return ColumnStudy(bank, tree, beside, {}, None)


def write_shipped(folder: Path) -> list[Path]:
    """Compute and write all of it: fits of both populations without their maps, their likeness, and the columns."""
    study = Study.make(EMBEDDED[1], EMBEDDED[0], full=True, cache=False)
    columns = study_columns(study.cortex.bank, kernels=study.network.bank)
    found = {
        SHIPPED: study.results,
        **{fits_entry(side.name): side.fits.drop_vars(["rf", "rf_fit"]) for side in (study.cortex, study.network)},
    }
    paths = [folder / f"{name.replace('-', '_')}.nc" for name in (*found, _COLUMNS)]
    for path, data in zip(paths, found.values(), strict=False):
        save(data, path)
    groups = {**{name: columns.tree[name].to_dataset() for name in columns.tree.children}, _BESIDE: columns.beside}
    write_hdf5(
        paths[-1],
        [
            (None, xr.Dataset(attrs=columns.tree.attrs), {}),
            *((name, *_slim(data)) for name, data in groups.items() if data is not None),
        ],
    )
    return paths


def _slim(data: xr.Dataset) -> tuple[xr.Dataset, dict[str, dict[str, Any]]]:
    """A part of the columns' analysis without what nobody is shown, in single precision and packed."""
    data = data.drop_vars([name for name in _NOT_SHOWN if name in data])
    if "disjoint" in data:  # averages that share cells are counted and not drawn
        data["rf"] = data["rf"].where(data["disjoint"])
    single = [name for name, variable in data.data_vars.items() if variable.dtype == np.float64 and variable.ndim > 1]
    data = data.assign({name: data[name].astype(np.float32) for name in single})
    packed = {"zlib": True, "complevel": 6, "shuffle": True}
    return data, {str(name): packed for name in single}
