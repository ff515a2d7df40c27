"""Which arrays of a file could hold maps."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rfcompare.errors import InputError
from rfcompare.sources import formats, matlab, nwb
from rfcompare.sources.checkpoints import entries_of
from rfcompare.sources.hdf5 import Reader, read_attributes, text_name
from rfcompare.sources.matlab_structure import list_variables

_MAX_LISTED = 50
_MAX_DEPTH = 12

_NO_NUMBERS = ("cell", "struct", "char", "object", "opaque", "function", "sparse")
"""MATLAB's classes that are no full arrays of numbers."""

MAX_PREVIEW_BYTES = 2**26
"""MATLAB v5 variables larger than this are listed by their headers alone."""

_SMALLEST_SIDE = 4
_LONGEST_SHAPE = 8
"""A map has at least four pixels a side and is no strip: what is smaller or longer is a table or a curve."""

_WORDS = {
    "rf", "sta", "strf", "receptive", "map", "maps", "field", "fields", "kernel", "filter", "spatial", "space", "fits",
}  # fmt: skip
SHOWN = {
    "stim", "stimulus", "stimuli", "frames", "movie", "images", "image", "template", "templates", "screen", "shown",
}  # fmt: skip
"""Words in the name of what was shown: no maps."""


@dataclass(frozen=True)
class Candidate:
    """An array that could hold maps."""

    path: str
    shape: tuple[int, ...]
    """Behind a cell's own axes."""
    select: str = ""
    """Index that leaves one map per unit."""
    description: str = ""
    """What the file says about it."""
    by_unit: bool = False
    """Whether the format itself has a row, a cell or a dataset for every unit: the first axis is then the unit."""

    @property
    def dims(self) -> list[str]:
        """Names for its axes, guessed."""
        return _guess_dims(self.shape, by_unit=self.by_unit)


def candidates(path: Path, found: formats.Format) -> list[Candidate]:
    """Arrays of a file that could hold maps, the likeliest first."""
    if found is formats.NUMPY:
        with entries_of(path) as entries:
            listed = [Candidate(f"/{name}", entry.shape) for name, entry in entries.items()]
    elif found is formats.MATLAB_5:
        listed = _candidates_v5(path)
    else:
        with Reader(path) as reader:
            if found is formats.NWB:
                columns = nwb.map_columns(reader)
                listed = [Candidate(name, shape, description=text, by_unit=True) for name, shape, text in columns]
            else:
                listed = _candidates_hdf5(reader, transposed=found is formats.MATLAB_73)
    return sorted(filter(_could_be_maps, listed), key=lambda item: -_likeness(item))


def _could_be_maps(candidate: Candidate) -> bool:
    """Whether an array can hold maps of units at all, by its name and its sizes.

    Examples
    --------
    >>> _could_be_maps(Candidate("/sta", (94, 13, 13))), _could_be_maps(Candidate("/stimulus", (1500, 20, 15)))
    (True, False)
    >>> _could_be_maps(Candidate("/curves", (3, 7, 2), by_unit=True))
    False
    """
    words = set(re.split(r"[^a-z]+", candidate.path.rpartition("/")[2].lower()))
    if words & SHOWN and not words & _WORDS:
        return False
    sizes = dict(zip(candidate.dims, candidate.shape, strict=False))
    sides = (sizes.get("y", 0), sizes.get("x", 0))
    return min(sides) >= _SMALLEST_SIDE and max(sides) <= _LONGEST_SHAPE * min(sides)


def _candidates_hdf5(reader: Reader, *, transposed: bool) -> list[Candidate]:
    listed: list[Candidate] = []
    for path, item in reader.datasets():
        if len(listed) >= _MAX_LISTED:
            break
        shape = _shape(item, transposed)
        if item.dtype.kind in "fiu" and 3 <= item.ndim <= 6 and "MATLAB_empty" not in item.attrs:
            listed.append(Candidate(path, shape, description=str(read_attributes(item).get("description", ""))))
        elif h5py.check_ref_dtype(item.dtype) is h5py.Reference and item.size:
            listed.extend(_referred(reader, item, path, shape, transposed))
    return listed or _one_per_cell(reader)


def _shape(item: h5py.Dataset, transposed: bool) -> tuple[int, ...]:
    shape = tuple(int(size) for size in item.shape)
    return shape[::-1] if transposed else shape


def _referred(
    reader: Reader, item: h5py.Dataset, path: str, cell: tuple[int, ...], transposed: bool, depth: int = 0
) -> Iterator[Candidate]:
    """Maps behind a cell's references: arrays, or arrays in the fields of structs, as the first of them shows."""
    try:
        inside = reader.follow(reader.read(item, (0,) * item.ndim), path)
    except InputError:
        return
    pending = [(path, inside)]
    while pending and depth <= _MAX_DEPTH:
        where, node = pending.pop(0)
        if isinstance(node, h5py.Group):
            pending += [(f"{where}/{text_name(name)}", child) for name, child in node.items()]
        elif isinstance(node, h5py.Dataset) and node.shape is not None and node.dtype.kind in "fiu" and node.ndim >= 2:
            if "MATLAB_empty" not in node.attrs:
                yield _cell_candidate(where, cell, _shape(node, transposed))
        elif isinstance(node, h5py.Dataset) and h5py.check_ref_dtype(node.dtype) is h5py.Reference and node.size == 1:
            yield from _referred(reader, node, where, cell, transposed, depth + 1)


def _one_per_cell(reader: Reader) -> list[Candidate]:
    """Files with one 2-D dataset per cell: the same relative path under many sibling groups."""
    counts: dict[str, tuple[int, tuple[int, ...]]] = {}
    for path, item in reader.datasets():
        if item.ndim in (2, 3) and min(item.shape) > 2:
            parts = path.split("/")[1:]
            for index in range(len(parts)):
                pattern = "/" + "/".join([*parts[:index], "*", *parts[index + 1 :]])
                seen, shape = counts.get(pattern, (0, tuple(int(size) for size in item.shape)))
                if tuple(item.shape) == shape:
                    counts[pattern] = (seen + 1, shape)
    return [
        Candidate(pattern, (found, *shape), by_unit=True) for pattern, (found, shape) in counts.items() if found >= 3
    ]


def _candidates_v5(path: Path) -> list[Candidate]:
    listed: list[Candidate] = []
    store = matlab.V5Store(path)
    small = path.stat().st_size <= MAX_PREVIEW_BYTES
    for name, shape, kind in list_variables(path):
        if kind in ("cell", "struct") and small:
            with contextlib.suppress(InputError):  # a damaged variable offers nothing
                listed += _inside(store.variable(name), f"/{name}", ())
        elif 3 <= len(shape) <= 6 and kind.split(" ")[0] not in _NO_NUMBERS:
            listed.append(Candidate(f"/{name}", shape))
    return listed[:_MAX_LISTED]


def _inside(node: Any, path: str, cell: tuple[int, ...], depth: int = 0) -> Iterator[Candidate]:
    """Maps in a cell or a struct, as the first of every cell shows; `cell` is the shape of those above it."""
    if depth > _MAX_DEPTH or not isinstance(node, np.ndarray) or not node.size or matlab.is_object(node):
        return
    if node.dtype.names:
        own = cell if node.size == 1 else (*cell, *node.shape)
        for name in node.dtype.names:
            yield from _inside(node[name].flat[0], f"{path}/{name}", own, depth + 1)
    elif node.dtype == object:
        own = cell if node.size == 1 and cell else (*cell, *node.shape)
        first = next((item for item in node.ravel() if getattr(item, "size", 0)), None)
        yield from _inside(first, path, own, depth + 1)
    elif node.dtype.kind in "fiu" and (cell or node.ndim >= 3):
        yield _cell_candidate(path, cell, tuple(node.shape)) if cell else Candidate(path, tuple(node.shape))


def _cell_candidate(path: str, cell: tuple[int, ...], inside: tuple[int, ...]) -> Candidate:
    """A cell N × 1 of maps needs no index; of a cell N × k the first column is drafted."""
    if len(cell) == 2 and min(cell) > 1:
        what = f"a cell of {cell[0]} × {cell[1]} arrays"
        return Candidate(path, (cell[0], *inside), select=":,0", description=what, by_unit=True)
    return Candidate(path, (int(np.prod(cell)), *inside), description="a cell of arrays", by_unit=True)


def _likeness(candidate: Candidate) -> float:
    words = candidate.path.lower().replace("/", "_").split("_")
    named = sum(word in _WORDS or "receptive" in word for word in words)
    dims = candidate.dims
    square = max(
        (min(a, b) / max(a, b) for a, b in pairwise(candidate.shape) if min(a, b) > 2),
        default=0.0,
    )
    return 3.0 * named + square + (1.0 if dims else 0.0) - 0.1 * len(candidate.shape)


def _guess_dims(shape: tuple[int, ...], *, by_unit: bool = False) -> list[str]:
    """A guess at which axis is which, from the sizes alone; a person checks it.

    The pair of neighbors that is most nearly square is y, x; an axis of 2 or 3 is the channel; of the others the
    longest is the unit and the next the lag. Where the format says that the first axis is the unit, it is.

    Examples
    --------
    >>> _guess_dims((94, 2, 13, 13)), _guess_dims((13, 13, 94))
    (['unit', 'channel', 'y', 'x'], ['y', 'x', 'unit'])
    >>> _guess_dims((13, 13, 20), by_unit=True)
    ['unit', 'y', 'x']
    """
    if not 3 <= len(shape) <= 5:
        return []
    sizes = [math.inf, *shape[1:]] if by_unit else list(shape)
    pairs = [
        (min(a, b) / max(a, b), index)
        for index, (a, b) in enumerate(pairwise(sizes))
        if min(a, b) > 3 and max(a, b) < math.inf
    ]
    if not pairs:
        return []
    # With the same ratio the last pair wins: maps usually vary fastest.
    _, first = max(pairs)
    names: list[str] = [""] * len(shape)
    names[first], names[first + 1] = "y", "x"
    rest = [index for index in range(len(shape)) if not names[index]]
    if len(rest) > 1:
        channel = next((index for index in rest if sizes[index] in (2, 3)), None)
        if channel is not None:
            names[channel] = "channel"
            rest.remove(channel)
    rest.sort(key=lambda index: -sizes[index])
    for index, name in zip(rest, ("unit", "lag", "half"), strict=False):
        names[index] = name
    return names
