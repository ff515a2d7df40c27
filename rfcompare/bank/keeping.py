"""Datasets as files: written beside and renamed, checked when read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank.checking import check
from rfcompare.errors import InputError, named_strictly


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place only when the block ends well.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written.
    """
    target = file_to_write(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"expected to write {str(target)!r}, got {error.strerror or error}; choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def file_to_write(path: str | os.PathLike[str]) -> Path:
    """`path` when it is in a folder and is none itself, so that long work does not end with nowhere to put it.

    Raises
    ------
    InputError
        When the folder does not exist or `path` is a folder.
    """
    target = Path(path)
    if not target.parent.is_dir():
        found = "is a file" if target.parent.exists() else "does not exist"
        cure = "choose another place" if target.parent.exists() else "create it first"
        raise InputError(f"expected a folder to write in, got {str(target.parent)!r}, which {found}; {cure}")
    if target.is_dir():
        raise InputError(f"expected a file to write, got the folder {str(target)!r}; name a file in it")
    return target


def folder_to_write(path: str | os.PathLike[str], *, cure: str = "choose another") -> Path:
    """The folder to write in, made where it does not exist and tried before the work starts.

    Parameters
    ----------
    path : path
    cure : str
        What to do where that fails.

    Raises
    ------
    InputError
        When it is a file or cannot be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {str(folder)!r} ({error.strerror or error}); {cure}"
        ) from None
    return folder


@named_strictly
def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a checked Dataset as netCDF4-compatible HDF5, beside its place and then renamed.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any of the four schemas.
    path : path
        Usually ending in ``.nc`` or ``.h5``; plain ``xarray.open_dataset`` reads it too.

    Raises
    ------
    InputError
        When the Dataset has faults or the file cannot be written.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc, tempfile, pathlib
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rfc.save(bank, pathlib.Path(folder) / "bank.nc")
    ...     rfc.load(pathlib.Path(folder) / "bank.nc").identical(bank)
    True
    """
    plain = check(dataset).copy()
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in plain.variables.items():
        variable.encoding = {}
        if variable.dtype.kind in "OU":
            plain[name] = (variable.dims, np.vectorize(str, otypes=[object])(variable.values), variable.attrs)
        elif variable.dtype.kind == "f":
            encoding[name] = {"_FillValue": None}
            if variable.ndim > 1:
                encoding[name] |= {"zlib": True, "complevel": 4, "shuffle": True}
    with write_beside(path) as part:
        try:
            plain.to_netcdf(part, engine="h5netcdf", encoding=encoding)
        except (TypeError, ValueError, OverflowError) as error:  # a UnicodeError is a ValueError
            raise InputError(
                f"expected names, labels and attributes that HDF5 can hold, got some that it cannot "
                f"({_first_line(error)}); change them and save again"
            ) from error


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
    file = existing_file(path)
    try:
        dataset = xr.load_dataset(file, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"expected an HDF5 file written by rfcompare, got {str(file)!r}, which cannot be read "
            f"({_first_line(error)}); `rfcompare inspect` shows what a file holds"
        ) from error
    dataset = canonical(dataset)
    if "schema" not in dataset.attrs:
        raise InputError(
            f"expected a file written by rfcompare, got {str(file)!r} without a schema; "
            "open recordings with open_fields"
        )
    return check(dataset)


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


def existing_file(path: str | os.PathLike[str]) -> Path:
    """`path` when it is a file that can be read.

    Raises
    ------
    InputError
        When it does not exist, is a folder, is empty or is not readable.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected the path of a file, got {type(path).__name__}; give its name")
    file = Path(path).expanduser()
    if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a name is too long
        raise InputError(f"expected a file, got {str(path)!r}, which does not exist; check the path")
    if file.is_dir():
        raise InputError(f"expected a file, got the folder {str(path)!r}; name a file in it")
    if not os.access(file, os.R_OK):
        raise InputError(f"expected a readable file, got {str(path)!r} without read permission; change its permissions")
    if file.stat().st_size == 0:
        raise InputError(f"expected data, got {str(path)!r}, which is empty; copy or download it again")
    return file


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
