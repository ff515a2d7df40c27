"""Damage in files that others wrote, said in one sentence whatever the library that reads them makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from rfcompare.errors import InputError, first_line


@contextlib.contextmanager
def read_as(
    what: str, path: Path | str, cure: str, *, errors: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Turn the library's error inside the block into one sentence about the file.

    Most libraries stop at damage with exceptions of many kinds, none of them their own: by default all are meant.

    Examples
    --------
    >>> with read_as("a NumPy array", "maps.npy", "save it again"):
    ...     raise EOFError("no data left")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: cannot read maps.npy as a NumPy array (no data left); save it again
    """
    try:
        yield
    except InputError:
        raise
    except errors as error:
        raise InputError(f"cannot read {path} as {what} ({first_line(error)}); {cure}") from None


@contextlib.contextmanager
def hdf5_damage(path: Path) -> Iterator[None]:
    """Turn whatever HDF5 itself stumbles over inside the block into one sentence about the file."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        # HDF5 reports damage as OSError, RuntimeError, KeyError …: what tells it from a mistake here is where it arose.
        inside = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
        if not inside.startswith(("h5py", "h5netcdf")):
            raise
        raise InputError(
            f"cannot read {path} ({first_line(error)}); it is truncated or damaged: copy or download it again"
        ) from None
