"""Which format a file of maps has, by its content, and how far each reader was tried."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py

from rfcompare.errors import InputError
from rfcompare.quantities import SCHEMAS
from rfcompare.sources import allen, matlab, native, numpy_files, nwb
from rfcompare.sources.hdf5 import Reader


@dataclass(frozen=True)
class Format:
    """A file format that `rfcompare.open_fields` reads.

    Attributes
    ----------
    name : str
        What a person calls it.
    needs_layout : bool
        Whether a layout must say what the file does not.
    real : str
        The real files that its reader was run on; "" for none yet.
    """

    name: str
    needs_layout: bool
    real: str


SAVED = Format("a Dataset saved by rfcompare", False, "its own files")
BY_HAND = Format("rfcompare's HDF5 written by hand", False, "its own files")
ALLEN = Format("Allen two-photon analysis (HDF5)", False, "")
NWB = Format("NWB 2", True, "")
NWB_1 = Format("NWB 1, before NWB 2 and its tables", True, "an Allen Institute session (NWB 1.0.5)")
MATLAB_73 = Format(
    "MATLAB v7.3 (HDF5)", True, "a recording without maps: macaque V1 bars and spikes (Rust et al. 2005)"
)
MATLAB_5 = Format("MATLAB v5", True, "macaque V1 (De & Horwitz 2021) and macaque ganglion cells (Field et al. 2010)")
HDF5 = Format("HDF5", True, "a recording without maps: retinal responses to noise (RFEst)")
NUMPY = Format("NumPy, npy or npz", True, "")

FORMATS = (SAVED, BY_HAND, HDF5, NWB, NWB_1, ALLEN, MATLAB_73, MATLAB_5, NUMPY)
"""All of them, as the documentation's table of formats lists them."""


def identify(path: Path) -> Format:
    """The format of an existing file.

    Raises
    ------
    InputError
        None that is read here, or damaged.
    """
    if not h5py.is_hdf5(path):
        if matlab.is_v5(path):
            return MATLAB_5
        if numpy_files.is_numpy(path):
            return NUMPY
        raise InputError(not_recognized(path))
    # MATLAB first: a variable called rf would otherwise pass for rfcompare's own, with its axes reversed.
    if matlab.is_v73(path):
        return MATLAB_73
    with Reader(path) as reader:
        schema = str(reader.attrs("/").get("schema", ""))
        if schema in {known.name for known in SCHEMAS.values()}:
            return SAVED
        if native.is_native(reader):
            return BY_HAND
        if allen.stimuli(reader):
            return ALLEN
        if nwb.is_nwb(reader):
            return NWB
        if nwb.is_nwb_1(reader):
            return NWB_1
    return HDF5


def not_recognized(path: Path) -> str:
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
