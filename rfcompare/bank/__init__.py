"""The bank: many receptive-field maps on one grid, as a checked `xarray.Dataset`.

`make_bank` builds one, `check` lists every fault of any of the four Datasets at once, `save` and `load` keep them as
netCDF4-compatible HDF5, `to_signed` reduces ON/OFF pairs and color kernels to one signed map a unit, and `select` keeps
units with a record of how many there were. The schema and the conventions are in `rfcompare.quantities`.
"""

from rfcompare.bank.attributes import Array, add_history, fingerprint, inherit, is_recorded, make_rng, plain_attributes
from rfcompare.bank.checking import (
    CHANNELS,
    DEAD,
    bad_units,
    check,
    count_alive,
    dead_below,
    dead_units,
    map_norms,
    pitch,
    signed_maps,
    without_lags,
)
from rfcompare.bank.keeping import canonical, keep_arrays, kept_arrays, load, read_hdf5, save, write_hdf5
from rfcompare.bank.making import make_bank, weights
from rfcompare.bank.reducing import at_lag, r2_is_fixed, select, to_signed
from rfcompare.bank.results import Results
from rfcompare.bank.shipped import folder, shipped_table
from rfcompare.bank.untrusted import bounded, expand, open_hdf5, picture, sound_hdf5
from rfcompare.bank.writing import (
    HDF5,
    alone,
    as_path,
    claimed,
    ending_in,
    existing_file,
    file_to_write,
    folder_to_write,
    reading,
    write_beside,
    write_bytes,
    write_csv,
    write_text,
)

__all__ = [
    "CHANNELS",
    "DEAD",
    "HDF5",
    "Array",
    "Results",
    "add_history",
    "alone",
    "as_path",
    "at_lag",
    "bad_units",
    "bounded",
    "canonical",
    "check",
    "claimed",
    "count_alive",
    "dead_below",
    "dead_units",
    "ending_in",
    "existing_file",
    "expand",
    "file_to_write",
    "fingerprint",
    "folder",
    "folder_to_write",
    "inherit",
    "is_recorded",
    "keep_arrays",
    "kept_arrays",
    "load",
    "make_bank",
    "make_rng",
    "map_norms",
    "open_hdf5",
    "picture",
    "pitch",
    "plain_attributes",
    "r2_is_fixed",
    "read_hdf5",
    "reading",
    "save",
    "select",
    "shipped_table",
    "signed_maps",
    "sound_hdf5",
    "to_signed",
    "weights",
    "without_lags",
    "write_beside",
    "write_bytes",
    "write_csv",
    "write_hdf5",
    "write_text",
]
