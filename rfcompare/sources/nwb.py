"""NWB 2 files, read with h5py: a column of maps in ``/units`` or in a table of a processing module.

NWB stores strings as bytes, gives datasets no dimension scales, and leaves units and the order of axes to a free-text
description: a layout says what the file does not. What the file does say, the subject, the species, the units' ids,
publications and notes on the stimulus, is read off it and recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.errors import InputError
from rfcompare.sources.hdf5 import HDF5Store, Reader
from rfcompare.sources.store import Cell, array_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAP_WORDS = ("receptive", "rf", "sta", "spatial", "filter", "kernel", "strf")
_NO_MAPS = ("waveform", "obs_intervals", "spike_times", "spike_amplitudes", "electrodes")
"""Columns of NWB's own units table that have as many axes as maps but are not maps."""

_TABLES = ("Units", "DynamicTable", "PlaneSegmentation", "TimeIntervals")


class NWBStore(HDF5Store):
    """An NWB file as a layout sees it: columns by path, ragged ones put back together."""

    def at(self, path: str, chunks: Any) -> Any:
        """The column at `path`; a ragged one, which has an index beside it, as a `Cell` with an item per row."""
        if "*" in path or not self.reader.is_dataset(f"{path}_index"):
            return super().at(path, chunks)
        return self._ragged(path, chunks)

    def _ragged(self, path: str, chunks: Any) -> Any:
        """Rows of a ragged column: row i lies between the ends i − 1 and i of the index, which may be ragged itself."""
        ends = self._ends(f"{path}_index")
        values: Any
        if self.reader.is_dataset(f"{path}_index_index"):
            inner = self._cut(self.reader.array(path, chunks), ends, path)
            ends = self._ends(f"{path}_index_index")
            rows = [Cell(array_of(inner[start:end])) for start, end in _spans(ends, len(inner), path, self.name)]
            return Cell(array_of(rows))
        values = self.reader.array(path, chunks)
        return Cell(array_of(self._cut(values, ends, path)))

    def _ends(self, path: str) -> NDArray[np.int64]:
        return np.asarray(self.reader.values(path)).ravel().astype(np.int64)

    def _cut(self, values: Any, ends: NDArray[np.int64], path: str) -> list[Any]:
        return [values[start:end] for start, end in _spans(ends, values.shape[0], path, self.name)]

    def facts(self, path: str) -> dict[str, Any]:
        """Ids of the rows, the subject and what else the file states; nothing that it leaves open."""
        reader = self.reader
        found: dict[str, Any] = {}
        table = path.rpartition("/")[0]
        if "*" not in path and str(reader.attrs(table).get("neurodata_type", "")) in _TABLES:
            ids = f"{table}/id"
            if reader.is_dataset(ids):
                found["unit"] = [f"unit {value}" for value in reader.values(ids).ravel()]
        for name, where in (
            ("subject", "/general/subject/subject_id"),
            ("species", "/general/subject/species"),
            ("source", "/identifier"),
            ("stimulus", "/general/stimulus"),
            ("institution", "/general/institution"),
            ("session_description", "/session_description"),
        ):
            if reader.is_dataset(where):
                text = str(reader.values(where).ravel()[0]) if reader.shape(where) in ((), (1,)) else ""
                if text:
                    found[name] = text
        publications = "/general/related_publications"
        if reader.is_dataset(publications):
            found["citation"] = "; ".join(str(text) for text in reader.values(publications).ravel())
        own = reader.attrs(path) if "*" not in path else {}
        if own.get("description"):
            found["maps_description"] = own["description"]
        if "rate" in own:
            found["rate"] = own["rate"]
        return found


def _spans(ends: NDArray[np.int64], size: int, path: str, name: str) -> list[tuple[int, int]]:
    starts = np.concatenate([[0], ends[:-1]])
    if ends.size and (np.any(starts > ends) or ends[-1] > size or ends[0] < 0):
        raise InputError(
            f"the index of the ragged column {path} in {name} does not fit its {size} values; the file is damaged"
        )
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def map_columns(reader: Reader) -> list[tuple[str, tuple[int, ...], str]]:
    """Columns that may hold maps: path, shape and description; those named like receptive fields come first."""
    columns: list[tuple[str, tuple[int, ...], str]] = []
    for table in _tables(reader):
        for name in reader.children(table):
            path = f"{table}/{name}"
            node = reader.find(path) if reader.is_dataset(path) else None
            if (
                node is None
                or name.startswith(_NO_MAPS)
                or name.endswith("_index")
                or node.shape is None
                or node.dtype.kind not in "fiu"
            ):
                continue
            shape = _row_shape(reader, path, tuple(node.shape))
            if len(shape) >= 3:
                columns.append((path, shape, str(reader.attrs(path).get("description", ""))))
    return sorted(columns, key=lambda column: not _speaks_of_maps(column[0], column[2]))


def _row_shape(reader: Reader, path: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a column as its rows have it: a ragged one lies in the file as one pile, cut by its index."""
    try:
        for index in (f"{path}_index", f"{path}_index_index"):
            if not reader.is_dataset(index):
                return shape
            ends = np.asarray(reader.values(index)).ravel()
            shape = (ends.size, int(ends[0]) if ends.size else 0, *shape[1:])
    except (InputError, ValueError, TypeError):
        return ()
    return shape


def _tables(reader: Reader) -> list[str]:
    tables = ["/units"] if reader.is_group("/units") else []
    for module in reader.children("/processing"):
        for table in reader.children(f"/processing/{module}"):
            if isinstance(reader.find(f"/processing/{module}/{table}"), h5py.Group):
                tables.append(f"/processing/{module}/{table}")
    for place in ("/scratch", "/analysis"):
        tables += [f"{place}/{table}" for table in reader.children(place) if reader.is_group(f"{place}/{table}")]
    return tables


def _speaks_of_maps(path: str, description: str) -> bool:
    words = path.rpartition("/")[2].lower().split("_")
    return any(word in words for word in _MAP_WORDS) or "receptive field" in description.lower()
