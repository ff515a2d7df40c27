"""What a file holds, in text for a person: its format, its tree, and a layout drafted to edit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rfcompare.errors import named_strictly
from rfcompare.quantities import SCHEMAS
from rfcompare.sources import allen, checkpoints, formats, matlab, reference
from rfcompare.sources.candidates import MAX_PREVIEW_BYTES, Candidate, candidates
from rfcompare.sources.damage import hdf5_damage
from rfcompare.sources.hdf5 import (
    Reader,
    describe_type,
    link_of,
    missing_filters,
    natural,
    read_attributes,
    stored_name,
    text_name,
)
from rfcompare.sources.matlab_structure import list_variables
from rfcompare.sources.recording_drafts import find_recording
from rfcompare.sources.remote import local_file

_MAX_LINES = 300
_MAX_DEPTH = 12
_MAX_CHILDREN = 14
"""A group with more children than this shows the first few and counts the rest."""


@named_strictly
def inspect(source: str | Path) -> str:
    """What a file holds: format, a tree with shapes, units and attributes, and a layout to edit where one is needed.

    Parameters
    ----------
    source : str or pathlib.Path
        Any HDF5, NWB, MATLAB, NumPy or weights file, an https address, or a "reference:" name.

    Returns
    -------
    str
        Text for a person; says when the format's reader was never run on a real file.

    Raises
    ------
    InputError
        The file is missing, cannot be read at all, or is none of these formats.

    Examples
    --------
    >>> import tempfile, pathlib, h5py, numpy as np
    >>> import rfcompare as rfc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cells.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["maps"] = np.zeros((5, 8, 9))
    ...     "maps  (5, 8, 9) float64" in rfc.sources.inspect(path)
    True
    """
    text = str(source)
    if text.startswith(reference.PREFIX):
        name = text.removeprefix(reference.PREFIX)
        entry = reference.entry_of(name)
        return "\n".join([f"{text}  {reference.path_of(name)}", *(f"{key}: {value}" for key, value in entry.items())])
    path = local_file(source)
    if checkpoints.holds_weights(path):
        return _describe_weights(path)
    with hdf5_damage(path):
        found = formats.identify(path)
        lines = [f"{path.name}  ({_bytes(path.stat().st_size)})", f"format: {found.name}"]
        untried = "never run on a real file of this format, only on files made for its tests"
        lines += [f"reader: run on {found.real}" if found.real else f"reader: {untried}", ""]
        if found is formats.MATLAB_5:
            lines += _tree_v5(path)
        else:
            with Reader(path) as reader:
                lines += list(_tree(reader))
        lines += ["", *_how_to_open(path, found)]
    # A name that is not UTF-8 is shown with its bytes escaped, so that every terminal can print it.
    return "\n".join(lines).encode("utf-8", "backslashreplace").decode()


def _describe_weights(path: Path) -> str:
    """The entries of a file of weights, which of them the first layer is, and how the others open."""
    with checkpoints.entries_of(path) as entries:
        first = checkpoints.first_layers(entries)
        lines = [f"{path.name}  ({_bytes(path.stat().st_size)})", "format: weights", ""]
        shown = [name for name in entries if len(entries[name].shape) > 1][:_MAX_LINES]
        lines += [f"  {name}  {entries[name].shape}".replace("    (", "  (") for name in shown]
    if path.suffix.lower() in (".npy", ".npz") and not any(3 in entries[name].shape for name in first):
        return "\n".join([*lines, "", *_how_to_open(path, formats.NUMPY)])
    if not first:
        return "\n".join([*lines, "", "No convolution here sees three colors or one; name a layer: layer=NAME."])
    said = f", entry {first[0]}" if first[0] else ""
    lines += ["", f"The first layer is {entries[first[0]].shape}{said}."]
    if first[1:]:
        more = "…" if len(first) > 7 else ""
        lines.append(f"Others that could be a first layer, to be named as key: {', '.join(first[1:7])}{more}")
    opening = "" if "y x channel unit" in entries[first[0]].dims else _kernel_dims(entries[first[0]].shape)
    if opening is not None:
        dims = f", dims={opening!r}" if opening else ""
        lines.append(f'It opens as kernels: rfc.load_kernels("{path.name}"{dims}).')
        if 3 in entries[first[0]].shape:
            lines.append(
                "The file does not say how its colors are ordered: networks from Caffe need channel_order='bgr'."
            )
    others = [name for name in shown if name not in first and entries[name].dims]
    if others:
        lines.append(f'Any other layer opens with its key, as in rfc.load_kernels("{path.name}", key="{others[0]}").')
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
        if number == _MAX_LINES:
            yield f"… (the rest is left out after {_MAX_LINES} lines)"
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
    if depth >= _MAX_DEPTH:
        yield f"{indent}  … (deeper groups are left out)"
        return
    names = sorted((text_name(name) for name in group), key=natural)
    shown = names if len(names) <= _MAX_CHILDREN else names[: _MAX_CHILDREN - 2]
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
    if kind in matlab.OPAQUE:
        return f"  MATLAB object ({kind}), not read"
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
    for name, shape, kind in list_variables(path):
        lines.append(f"  {name}  {_matlab_kind(kind, shape)}")
        if kind in ("cell", "struct") and path.stat().st_size <= MAX_PREVIEW_BYTES:
            lines += [f"    {line}" for line in _first_inside(store.variable(name))]
    return lines


def _matlab_kind(kind: str, shape: tuple[int, ...]) -> str:
    """What a variable is, for a list: objects are named and said not to be read."""
    name, _, own = kind.partition(" ")
    return f"MATLAB object ({own}), not read" if name == "opaque" else f"{shape} {kind}"


def _first_inside(node: Any, depth: int = 0) -> list[str]:
    """What the first element of a cell or the first struct holds."""
    if depth > 4 or not isinstance(node, np.ndarray) or not node.size:
        return []
    indent = "  " * depth
    if node.dtype.names:
        lines = []
        for field in node.dtype.names[:_MAX_CHILDREN]:
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
                is_bank = reader.schema == SCHEMAS["bank"].name
            if not is_bank:
                return [f'It holds no maps; read it with rfc.load("{path.name}").']
        return [f'It opens as it is: rfc.open_fields("{path.name}").']
    listed, answered = candidates(path, found), find_recording(path, found)
    if not listed:
        if answered is not None:
            return [_drafted("recording.toml.j2", file=path.name, **asdict(answered))]
        if found is formats.NUMPY:
            return [
                'Without at least three axes it may be one map (a layout with dims = "y x"; a pattern such as "*.npy" '
                'joins a file for each cell) or maps laid flat (dims = "unit pixel" and shape = [rows, columns]).'
            ]
        return [
            "No array here could be receptive-field maps (at least three axes, or a cell of 2-D arrays); a table of "
            "Gabor parameters can be rendered by a layout with `parameters`."
        ]
    best = listed[0]
    sizes = dict(zip(best.dims or ["unit", "y", "x"], best.shape, strict=False))
    pair = _on_and_off(best, listed) if "channel" not in sizes else None
    others = [item.path for item in listed[1:6]]
    said = {"best": best, "others": others, "pair": pair, "sizes": sizes, "answered": answered}
    return [_drafted("layout.toml.j2", file=path.name, **said)]


def _drafted(template: str, **said: Any) -> str:
    """A layout to edit, with what the file shows filled in."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # What is written is TOML for a person, no page.
    folder = Environment(
        loader=PackageLoader("rfcompare"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return folder.get_template(template).render(**said)


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
