"""Which format a file of maps has, by its content, and how far each reader was tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from rfcompare.errors import InputError
from rfcompare.quantities import SCHEMAS
from rfcompare.sources import allen, matlab, numpy_files, nwb
from rfcompare.sources.hdf5 import HDF5Store, Reader
from rfcompare.sources.store import Store


@dataclass(frozen=True)
class Format:
    """A file format that `rfcompare.open_fields` reads."""

    name: str
    needs_layout: bool
    real: str
    """The real files that its reader was run on; "" for none yet."""
    store: Callable[[Any], Store] = HDF5Store
    """Makes a `rfcompare.sources.store.Store` of an open `Reader`; of a path where the format is no HDF5."""

    @contextmanager
    def open(self, path: Path) -> Iterator[Any]:
        """A file's arrays and columns by path, as a layout sees them."""
        if self in (MATLAB_5, NUMPY):
            yield self.store(path)
            return
        with Reader(path) as reader:
            yield self.store(reader)


SAVED = Format("a Dataset saved by rfcompare", False, "its own files")
BY_HAND = Format("rfcompare's HDF5 written by hand", False, "its own files")
ALLEN = Format("Allen two-photon analysis (HDF5)", False, "")
NWB = Format("NWB 2", True, "", nwb.NWBStore)
_NWB_1 = Format("NWB 1, before NWB 2 and its tables", True, "an Allen Institute session (NWB 1.0.5)")
MATLAB_73 = Format(
    "MATLAB v7.3 (HDF5)",
    True,
    "a recording without maps: macaque V1 bars and spikes (Rust et al. 2005)",
    matlab.V73Store,
)
MATLAB_5 = Format(
    "MATLAB v5", True, "macaque V1 (De & Horwitz 2021) and macaque ganglion cells (Field et al. 2010)", matlab.V5Store
)
HDF5 = Format("HDF5", True, "a recording without maps: retinal responses to noise (RFEst)")
NUMPY = Format("NumPy, npy or npz", True, "", numpy_files.NumPyStore)

FORMATS = (SAVED, BY_HAND, HDF5, NWB, _NWB_1, ALLEN, MATLAB_73, MATLAB_5, NUMPY)
"""All of them, as the documentation's table of formats lists them."""


def identify(path: Path) -> Format:
    """The format of an existing file, by its content."""
    with path.open("rb") as file:
        header = file.read(128)
    if not h5py.is_hdf5(path):
        if len(header) == 128 and header[126:128] in (b"IM", b"MI") and 1 in (header[124], header[125]):
            return MATLAB_5
        begins = {".npy": b"\x93NUMPY", ".npz": b"PK"}.get(path.suffix.lower())
        if begins is not None and header.startswith(begins):
            return NUMPY
        raise InputError(_not_recognized(path))
    of_matlab = header.startswith(b"MATLAB")
    with Reader(path) as reader:
        # MATLAB first: a variable called rf would otherwise pass for rfcompare's own, with its axes reversed.
        if of_matlab or any("MATLAB_class" in reader.attrs(f"/{name}") for name in reader.children("/")[:50]):
            return MATLAB_73
        if reader.schema in {known.name for known in SCHEMAS.values()}:
            return SAVED
        if reader.is_dataset("/rf"):
            return BY_HAND
        if allen.stimuli(reader):
            return ALLEN
        if str(reader.attrs("/").get("nwb_version", "")).startswith("2"):
            return NWB
        # NWB 1 keeps the version in a dataset.
        one = reader.is_dataset("/nwb_version") and reader.shape("/nwb_version") in ((), (1,))
        if one and "NWB-1" in str(reader.values("/nwb_version").ravel()[0]):
            return _NWB_1
    return HDF5


def _not_recognized(path: Path) -> str:
    """One sentence for a file that is none of the formats, with what it looks like."""
    with path.open("rb") as file:
        start = file.read(512)
    looks = "a file of an unknown format"
    if start.startswith((b"\x93NUMPY", b"PK")):
        looks = "NumPy or zipped data, whose kernels load_kernels reads"
    elif start.startswith((b"\xff\xd8", b"\x89PNG", b"GIF8")):
        looks = "an image"
    elif start.startswith((b"CDF\x01", b"CDF\x02")):
        looks = "netCDF 3; save it as netCDF 4"
    elif b"\0" not in start:
        looks = "text"
    elif path.suffix.lower() == ".mat":
        looks = "neither MATLAB v5 nor v7.3; save it in MATLAB with -v7"
    return f"expected maps in an HDF5, NWB or MATLAB file, but {path} is {looks}; does its name end rightly?"
