"""Datasets as files: written beside and renamed, checked when read."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank.checking import check
from rfcompare.bank.untrusted import sound_hdf5
from rfcompare.bank.writing import HDF5, ending_in, existing_file, write_bytes
from rfcompare.errors import InputError, first_line, named_strictly

_MAPS = ("rf", "rf_half", "rf_fit")
"""Variables that are kept as they are."""


def write_hdf5(
    path: str | os.PathLike[str], groups: Iterable[tuple[str | None, xr.Dataset, Mapping[Any, Any]]]
) -> None:
    """Write Datasets as HDF5, each into its group (None: the root) with its encoding.

    The file is made in memory: HDF5 itself does not survive a disk that fills up while it writes.
    """
    memory = io.BytesIO()
    for number, (group, dataset, encoding) in enumerate(groups):
        try:
            dataset.to_netcdf(
                memory, engine="h5netcdf", group=group, mode="a" if number else "w", encoding=dict(encoding)
            )
        except (TypeError, ValueError, OverflowError) as error:  # a UnicodeError is a ValueError
            raise InputError(
                f"expected names, labels and attributes that HDF5 can hold, got some that it cannot "
                f"({first_line(error)}); change them and save again"
            ) from error
    write_bytes(path, memory.getbuffer())


@named_strictly
def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a checked Dataset as netCDF4-compatible HDF5, beside its place and then renamed.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any of the four schemas.
    path : path
        Ending in ``.nc``, ``.h5`` or ``.hdf5``; plain ``xarray.open_dataset`` reads it too.

    Raises
    ------
    InputError
        When the Dataset has faults, the ending is another, or the file cannot be written.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc, tempfile, pathlib
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rfc.save(bank, pathlib.Path(folder) / "bank.nc")
    ...     rfc.load(pathlib.Path(folder) / "bank.nc").identical(bank)
    True
    """
    target = ending_in(path, *HDF5)
    plain = check(dataset).copy()
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in plain.variables.items():
        variable.encoding = {}
        if variable.dtype.kind in "OU":
            plain[name] = (variable.dims, np.vectorize(str, otypes=[object])(variable.values), variable.attrs)
        elif variable.dtype.kind == "f":
            encoding[name] = {"_FillValue": None}
            # Maps are mostly noise: packing them takes seven times as long as all else and saves a tenth.
            if variable.ndim > 1 and name not in _MAPS:
                encoding[name] |= {"zlib": True, "complevel": 1, "shuffle": True}
    write_hdf5(target, [(None, plain, encoding)])


@named_strictly
def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a Dataset that `save` wrote, whole, and check it.

    Raises
    ------
    InputError
        When the file is missing, is not one of rfcompare's, or has faults.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> rfc.load("nowhere.nc")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a file, got 'nowhere.nc', which does not exist; check the path
    """
    [(_, dataset)] = read_hdf5(path, groups=False)
    if "schema" not in dataset.attrs:
        raise InputError(
            f"expected a file written by rfcompare, got {str(path)!r} without a schema; "
            "open recordings with open_fields"
        )
    return check(dataset)


def read_hdf5(
    path: str | os.PathLike[str], *, groups: bool, chunks: Mapping[str, int] | None = None
) -> list[tuple[str, xr.Dataset]]:
    """Datasets that rfcompare saved, after a look whether the file is sound: its root, or every group by name.

    With `chunks` values stay in the file until they are computed, in these pieces.
    """
    file = existing_file(path)
    sound_hdf5(file, saved=True)
    try:
        if not groups:
            opened = xr.open_dataset(file, engine="h5netcdf", chunks=chunks)
            if chunks is None:
                with opened:
                    opened = opened.load()
            return [("/", canonical(opened))]
        with xr.open_datatree(file, engine="h5netcdf") as tree:
            return [(str(name), canonical(group.to_dataset().load())) for name, group in tree.children.items()]
    except Exception as error:  # xarray, h5netcdf and h5py have no exception in common for what contradicts itself
        raise InputError(
            f"expected an HDF5 file written by rfcompare, got {str(file)!r}, which cannot be read "
            f"({first_line(error)}); `rfcompare inspect` shows what a file holds"
        ) from error


def keep_arrays(path: Path, **arrays: Any) -> None:
    """Write a finished part of long work, beside its place and then renamed; `kept_arrays` reads it."""
    memory = io.BytesIO()
    np.savez(memory, **arrays)
    write_bytes(path, memory.getbuffer())


def kept_arrays(path: Path | None) -> dict[str, Any] | None:
    """Read a finished part; None where it is missing or damaged, so that it is computed again.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = pathlib.Path(folder) / "part.npz"
    ...     before = kept_arrays(part)
    ...     keep_arrays(part, done=3)
    ...     before, int(kept_arrays(part)["done"])
    (None, 3)
    """
    try:
        if path is not None:
            # NumPy leaves a damaged archive open that it opened itself.
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                return dict(stored)
    except (OSError, ValueError, KeyError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        pass  # AttributeError and TypeError: a plain array instead of several
    return None


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset as rfcompare builds it: text as Python strings, attributes as Python numbers, no encoding."""
    plain = dataset.copy()
    for name in plain.variables:
        variable = plain.variables[name]
        if variable.dtype.kind in "OUST":
            text = [value.decode() if isinstance(value, bytes) else str(value) for value in variable.values.ravel()]
            plain[name] = (variable.dims, np.array(text, dtype=object).reshape(variable.shape), variable.attrs)
        plain[name].encoding = {}
    plain.encoding = {}
    plain.attrs = {
        name: value.item() if isinstance(value, np.generic) else value.decode() if isinstance(value, bytes) else value
        for name, value in plain.attrs.items()
    }
    return plain
