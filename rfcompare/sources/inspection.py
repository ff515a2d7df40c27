"""What a file holds, in text for a person: its format, its tree, and a layout drafted to edit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rfcompare.errors import InputError
from rfcompare.quantities import SCHEMAS
from rfcompare.sources import allen, checkpoints, formats, matlab, nwb, reference
from rfcompare.sources.hdf5 import (
    Reader,
    damage_reported,
    describe_type,
    link_of,
    missing_filters,
    natural,
    read_attributes,
    stored_name,
    text_name,
)

MAX_LINES = 300
MAX_DEPTH = 12
MAX_CHILDREN = 14
"""A group with more children than this shows the first few and counts the rest."""

MAX_VISITED = 20_000
"""Objects of a file that are looked at for maps; what lies behind them is not drafted."""

MAX_PREVIEW_BYTES = 2**26
"""MATLAB v5 variables larger than this are listed by their headers alone."""

_WORDS = ("rf", "sta", "strf", "receptive", "map", "maps", "field", "fields", "kernel", "filter", "spatial", "fits")


@dataclass(frozen=True)
class Candidate:
    """An array that could hold maps.

    Attributes
    ----------
    path : str
        Where it is.
    shape : tuple of int
        Its shape, behind a cell's own axes.
    select : str
        Index that leaves one map per unit, or "".
    description : str
        What the file says about it.
    by_unit : bool
        Whether the format itself has a row, a cell or a dataset for every unit: the first axis is then the unit.
    """

    path: str
    shape: tuple[int, ...]
    select: str = ""
    description: str = ""
    by_unit: bool = False

    @property
    def dims(self) -> list[str]:
        """Names for its axes, guessed."""
        return guess_dims(self.shape, by_unit=self.by_unit)


def describe_file(path: Path) -> str:
    """Format, tree and, where one is needed, a drafted layout.

    Raises
    ------
    InputError
        The file is damaged or of none of the known formats.
    """
    if path.suffix.lower() in checkpoints.SUFFIXES:
        return _describe_weights(path)
    with damage_reported(path):
        return _describe_maps(path)


def _describe_maps(path: Path) -> str:
    found = formats.identify(path)
    lines = [f"{path.name}  ({_bytes(path.stat().st_size)})", f"format: {found.name}"]
    if found.real:
        lines.append(f"reader: run on {found.real}")
    else:
        lines.append("reader: never run on a real file of this format, only on files made for its tests")
    lines.append("")
    if found is formats.MATLAB_5:
        lines += _tree_v5(path)
    else:
        with Reader(path) as reader:
            lines += list(_tree(reader))
    lines += ["", *_how_to_open(path, found)]
    # A name that is not UTF-8 is shown with its bytes escaped, so that every terminal can print it.
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def describe_reference(name: str) -> str:
    """The entry of a shipped population and where its file is."""
    entry = reference.entry_of(name.removeprefix(reference.PREFIX))
    path = reference.path_of(name.removeprefix(reference.PREFIX))
    return "\n".join([f"{name}  {path}", *(f"{key}: {value}" for key, value in entry.items())])


def _describe_weights(path: Path) -> str:
    weights = checkpoints.read_weights(path, None)
    key = f", entry {weights.key}" if weights.key else ""
    size = _bytes(path.stat().st_size)
    lines = [f"{path.name}  ({size})", "format: weights", f"{weights.array.shape} {weights.array.dtype}{key}"]
    if weights.rivals:
        more = "…" if len(weights.rivals) > 6 else ""
        lines.append(f"others that could be a first layer, to be named as key: {', '.join(weights.rivals[:6])}{more}")
    opening = _kernel_dims(weights.array.shape)
    if opening is not None:
        dims = f", dims={opening!r}" if opening else ""
        lines += ["", f'It opens as kernels: rfc.load_kernels("{path.name}"{dims}).']
        if 3 in weights.array.shape:
            lines.append(
                "The file does not say how its colors are ordered: networks from Caffe need channel_order='bgr'."
            )
    return "\n".join(lines)


def _kernel_dims(shape: tuple[int, ...]) -> str | None:
    """The dims that `load_kernels` needs for weights of this shape: "" for none, None where they cannot be told."""
    if len(shape) != 4:
        return None
    if shape[:3] == (3, 3, 3):
        return "y x channel unit"
    places = {1: "", 2: "y x channel unit", 3: "unit y x channel"}
    return next((dims for axis, dims in places.items() if shape[axis] in (1, 3)), None)


# HDF5 ------------------------------------------------------------------------------------------------------------


def _tree(reader: Reader) -> Iterator[str]:
    lines = _walk(reader, reader.find("/"), 0, set())
    for number, line in enumerate(lines):
        if number == MAX_LINES:
            yield f"… (the rest is left out after {MAX_LINES} lines)"
            return
        yield line


def _walk(reader: Reader, group: h5py.Group, depth: int, seen: set[Any]) -> Iterator[str]:
    indent = "  " * depth
    if depth == 0:
        yield f"/{_attributes(read_attributes(group))}"
    identity = _identity(group)
    if identity in seen:
        yield f"{indent}  (shown above)"
        return
    seen.add(identity)
    if depth >= MAX_DEPTH:
        yield f"{indent}  … (deeper groups are left out)"
        return
    names = sorted((text_name(name) for name in group), key=natural)
    shown = names if len(names) <= MAX_CHILDREN else names[: MAX_CHILDREN - 2]
    for name in shown:
        kind, target = link_of(group, name)
        if kind == "external":
            yield f"{indent}  {name}  → another file, {target} (not followed)"
        elif kind == "soft":
            yield f"{indent}  {name}  → {target}"
        else:
            yield from _object(reader, group, name, depth, seen)
    if len(shown) < len(names):
        yield f"{indent}  … {len(names) - len(shown)} more, up to {names[-1]}"


def _object(reader: Reader, group: h5py.Group, name: str, depth: int, seen: set[Any]) -> Iterator[str]:
    indent = "  " * (depth + 1)
    try:
        item = group[stored_name(name)]
        attrs = _attributes(read_attributes(item))
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        yield f"{indent}{name}  cannot be read ({type(error).__name__})"
        return
    if isinstance(item, h5py.Group):
        yield f"{indent}{name}/{attrs}"
        yield from _walk(reader, item, depth + 1, seen)
    elif isinstance(item, h5py.Dataset):
        shape = "empty" if item.shape is None else tuple(int(size) for size in item.shape)
        missing = missing_filters(item)
        problem = f"  compressed with {missing}: install hdf5plugin" if missing else ""
        yield f"{indent}{name}  {shape} {describe_type(item)}{_matlab_shape(item)}{attrs}{problem}"
    else:
        yield f"{indent}{name}  a named type"


def _matlab_shape(item: h5py.Dataset) -> str:
    kind = read_attributes(item).get("MATLAB_class")
    if kind is None or item.shape is None:
        return ""
    return f"  {kind} of size {' × '.join(str(size) for size in item.shape[::-1])} in MATLAB"


def _identity(group: h5py.Group) -> Any:
    info = h5py.h5o.get_info(group.id)
    return (info.fileno, info.addr)


def _attributes(attrs: dict[str, Any]) -> str:
    shown = {
        name: value for name, value in attrs.items() if not name.startswith(("MATLAB_", "object_id", "namespace", "_"))
    }
    if not shown:
        return ""
    return "  [" + ", ".join(f"{name}={_short(value)}" for name, value in list(shown.items())[:8]) + "]"


def _short(value: Any, limit: int = 70) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


# MATLAB v5 -------------------------------------------------------------------------------------------------------


def _tree_v5(path: Path) -> list[str]:
    store = matlab.V5Store(path)
    lines = []
    for name, shape, kind in matlab.list_variables(path):
        lines.append(f"  {name}  {shape} {kind}")
        if kind in ("cell", "struct") and path.stat().st_size <= MAX_PREVIEW_BYTES:
            lines += [f"    {line}" for line in _first_inside(store.variable(name))]
    return lines


def _first_inside(node: Any, depth: int = 0) -> list[str]:
    """What the first element of a cell or the first struct holds."""
    if depth > 4 or not isinstance(node, np.ndarray) or not node.size:
        return []
    indent = "  " * depth
    if node.dtype.names:
        lines = []
        for field in node.dtype.names[:MAX_CHILDREN]:
            inside = node[field].flat[0]
            lines.append(f"{indent}.{field}  {getattr(inside, 'shape', '')} {getattr(inside, 'dtype', '')}")
        return lines
    if node.dtype == object:
        inside = node.flat[0]
        dtype = getattr(inside, "dtype", np.dtype("O"))
        what = "struct" if dtype.names else "cell" if dtype == np.dtype("O") else dtype
        return [
            f"{indent}first of {node.size}: {getattr(inside, 'shape', '')} {what}",
            *_first_inside(inside, depth + 1),
        ]
    return []


# Drafting --------------------------------------------------------------------------------------------------------


def candidates(path: Path, found: formats.Format) -> list[Candidate]:
    """Arrays of a file that could hold maps, the likeliest first."""
    if found is formats.MATLAB_5:
        listed = _candidates_v5(path)
    else:
        with Reader(path) as reader:
            if found is formats.NWB:
                columns = nwb.map_columns(reader)
                listed = [Candidate(name, shape, description=text, by_unit=True) for name, shape, text in columns]
            else:
                listed = _candidates_hdf5(reader, transposed=found is formats.MATLAB_73)
    return sorted(listed, key=lambda item: -_likeness(item))


def _candidates_hdf5(reader: Reader, *, transposed: bool) -> list[Candidate]:
    listed: list[Candidate] = []

    visited = count()

    def visit(raw: str | bytes, item: Any) -> bool | None:
        name = text_name(raw)
        if next(visited) >= MAX_VISITED or len(listed) >= 50:
            return True  # ends the visit
        if name.startswith("#refs#") or not isinstance(item, h5py.Dataset) or item.shape is None:
            return None
        shape = tuple(int(size) for size in item.shape)
        shape = shape[::-1] if transposed else shape
        if item.dtype.kind in "fiu" and 3 <= item.ndim <= 6 and "MATLAB_empty" not in item.attrs:
            listed.append(Candidate(f"/{name}", shape, description=str(read_attributes(item).get("description", ""))))
        elif h5py.check_ref_dtype(item.dtype) is h5py.Reference and item.size:
            inside = _first_referred(reader, item, transposed)
            if inside is not None:
                listed.append(_cell_candidate(f"/{name}", shape, inside))
        return None

    reader.file.visititems(visit)
    if not listed:
        listed = _one_per_cell(reader)
    return listed


def _first_referred(reader: Reader, item: h5py.Dataset, transposed: bool) -> tuple[int, ...] | None:
    try:
        inside = reader.follow(reader.read(item, (0,) * item.ndim), item.name)
    except InputError:
        return None
    if (
        not isinstance(inside, h5py.Dataset)
        or inside.shape is None
        or inside.dtype.kind not in "fiu"
        or inside.ndim < 2
    ):
        return None
    shape = tuple(int(size) for size in inside.shape)
    return (shape[::-1] if transposed else shape) if min(shape[-2:]) > 1 else None


def _one_per_cell(reader: Reader) -> list[Candidate]:
    """Files with one 2-D dataset per cell: the same relative path under many sibling groups."""
    counts: dict[str, tuple[int, tuple[int, ...]]] = {}

    visited = count()

    def visit(raw: str | bytes, item: Any) -> bool | None:
        name = text_name(raw)
        if next(visited) >= MAX_VISITED:
            return True
        if isinstance(item, h5py.Dataset) and item.shape is not None and item.ndim in (2, 3) and min(item.shape) > 2:
            parts = name.split("/")
            for index in range(len(parts)):
                pattern = "/" + "/".join([*parts[:index], "*", *parts[index + 1 :]])
                seen, shape = counts.get(pattern, (0, tuple(int(size) for size in item.shape)))
                if tuple(item.shape) == shape:
                    counts[pattern] = (seen + 1, shape)
        return None

    reader.file.visititems(visit)
    return [
        Candidate(pattern, (found, *shape), by_unit=True) for pattern, (found, shape) in counts.items() if found >= 3
    ]


def _candidates_v5(path: Path) -> list[Candidate]:
    listed = []
    store = matlab.V5Store(path)
    for name, shape, kind in matlab.list_variables(path):
        if kind == "cell" and path.stat().st_size <= MAX_PREVIEW_BYTES:
            inside = next((item for item in store.variable(name).ravel() if getattr(item, "size", 0)), np.empty(0))
            if getattr(inside, "dtype", np.dtype("O")).kind in "fiu" and min(inside.shape) > 1:
                listed.append(_cell_candidate(f"/{name}", shape, tuple(inside.shape)))
        elif 3 <= len(shape) <= 6 and kind not in ("cell", "struct", "char", "object", "opaque", "function"):
            listed.append(Candidate(f"/{name}", tuple(shape)))
    return listed


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


def guess_dims(shape: tuple[int, ...], *, by_unit: bool = False) -> list[str]:
    """A guess at which axis is which, from the sizes alone; a person checks it.

    The pair of neighbors that is most nearly square is y, x; an axis of 2 or 3 is the channel; of the others the
    longest is the unit and the next the lag. Where the format says that the first axis is the unit, it is.

    Examples
    --------
    >>> guess_dims((94, 2, 13, 13)), guess_dims((13, 13, 94))
    (['unit', 'channel', 'y', 'x'], ['y', 'x', 'unit'])
    >>> guess_dims((13, 13, 20), by_unit=True)
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


def _how_to_open(path: Path, found: formats.Format) -> list[str]:
    if not found.needs_layout:
        if found is formats.ALLEN:
            with Reader(path) as reader:
                there = allen.stimuli(reader)
            if len(there) > 1:
                choice = ", ".join(stimulus.path for stimulus in there)
                per_cell = [stimulus.path for stimulus in there if not stimulus.summary]
                alone = f"; without it {per_cell[0]} opens" if len(per_cell) == 1 else ""
                return [f"It opens with layout={{'maps': PATH}}, where PATH is one of {choice}{alone}."]
        if found is formats.SAVED:
            with Reader(path) as reader:
                schema = str(reader.attrs("/").get("schema"))
            if schema != SCHEMAS["bank"].name:
                return [f'It holds no maps; read it with rfc.load("{path.name}").']
        return [f'It opens as it is: rfc.open_fields("{path.name}").']
    listed = candidates(path, found)
    if not listed:
        return [
            "No array here could be receptive-field maps (at least three axes, or a cell of 2-D arrays); a table of "
            "Gabor parameters can be rendered by a layout with `parameters`."
        ]
    best = listed[0]
    lines = [
        "# A layout to edit: save it as layout.toml and open the file with --layout layout.toml. Guessed from "
        f"{best.path}."
    ]
    if best.description:
        lines.append(f"# The file says: {best.description}")
    if len(listed) > 1:
        lines.append(f"# Others that could be maps: {', '.join(item.path for item in listed[1:6])}")
    dims = best.dims or ["unit", "y", "x"]
    pair = _on_and_off(best, listed) if "channel" not in dims else None
    if pair:
        lines += [f"maps = {json.dumps(list(pair), ensure_ascii=False)}", 'channel = ["on", "off"]        # check']
    else:
        lines.append(f'maps = "{best.path}"')
    if best.select:
        lines.append(f'select = "{best.select}"                  # which column of the cell')
    lines.append(f'dims = "{" ".join(dims)}"   # of shape {best.shape}; guessed from the sizes: check')
    if "channel" in dims:
        channels = best.shape[dims.index("channel")]
        names = '["on", "off"]' if channels == 2 else '["r", "g", "b"]'
        lines.append(f"channel = {names}        # in the file's order: check")
    if "lag" in dims:
        lines.append('lag = "peak"                    # or an index from 0')
    lines += [
        'y = "down"                      # rows from the top of the visual field, or "up"',
        "# deg_per_px = 2.0             # degrees of visual angle per pixel; without it the maps stay in pixels",
        '# kind = "measured"             # or learned, simulated, …; without it "not stated"',
        'polarity = "known"              # or "unknown" when the sign of the maps is arbitrary',
        'stimulus = "unknown"            # or {class = "sparse noise", element_deg = 2.0}',
        '# subject = "/path/to/subjects" # or one name for all',
        '# title = "…"                  # what the maps are called in tables and figures',
        '# citation = "…"',
    ]
    return lines


def _on_and_off(best: Candidate, listed: list[Candidate]) -> tuple[str, str] | None:
    """Paths of the ON and the OFF maps where two candidates differ by that word alone."""
    by_path = {item.path: item.shape for item in listed}
    for item in [best, *listed]:
        for on, off in (("on", "off"), ("On", "Off"), ("ON", "OFF")):
            other = re.sub(rf"(?<![A-Za-z]){on}(?![a-z])", off, item.path)
            if other != item.path and by_path.get(other) == item.shape == best.shape:
                return item.path, other
    return None


def _bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"
