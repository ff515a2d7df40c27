"""The layout: what a file of maps does not say about itself, in TOML or as a mapping, and how it turns into a bank.

=================================  ====================================================================================
key                                meaning
=================================  ====================================================================================
``maps``                           path of the maps; a ``*`` gathers one dataset per unit and names the units; a list
                                   holds one path per channel
``dims``                           order of the array's axes, such as ``"unit channel y x"`` (also ``lag``, ``half``); a
                                   missing channel means one channel, a missing unit one cell. MATLAB arrays count as
                                   MATLAB's ``size`` does
``shape``, ``order``               of flat maps (``"unit pixel"``) rows and columns, as in ``[52, 52]``, and ``"C"``
                                   (default) or ``"F"``: whether columns or rows lie next to each other
``select``                         index into the raw array or cell before its axes are named, such as ``":,1"``
``channel``                        ``["on", "off"]``, ``["r", "g", "b"]``, ``"luminance"`` or ``"signed"`` (default)
``y``, ``x``                       ``"down"`` (rows from the top; default), ``"up"``; ``"right"`` (default), ``"left"``
``deg_per_px``                     degrees of visual angle per pixel, or ``[x, y]``; absent: pixels
``um_per_px``, ``um_per_deg``      the same for retinal maps, whose pixels are known in µm
``lag``                            index of the lag to keep, or ``"peak"``: per unit the lag of most energy
``half``                           path of independent halves (first axis ``half``), or a list of two paths
``kind``                           one of `rfcompare.kinds`; default ``"not stated"``
``polarity``                       ``"known"`` (default) or ``"unknown"``: the maps' sign is arbitrary
``unit``, ``subject``, ``source``  a text for all units or the path of one value per unit; so also ``field_of_view``,
                                   ``cortex_x``, ``cortex_y``, ``noise_sd``
``per_unit``                       table of further coordinates, each a text, a number or a path
``exclude``                        indices of bad units, counted from 0, that are left out
``stimulus``                       text or table; required when measured; ``"unknown"`` is an answer
``title``, ``citation``, ``doi``,  text: what the maps are called, and where they come from; any other provenance in a
``license``                        table ``attrs``
``parameters``, ``gabor``,         instead of ``maps``: path of a table of Gabor parameters, formulas that turn its
``size``, ``normalize``            columns into rfcompare's, the maps' size ``[y, x]``, ``"l2"`` for maps of unit norm
=================================  ====================================================================================
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from inspect import signature
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import CHANNELS, add_history, at_lag, check, existing_file, make_bank
from rfcompare.errors import InputError
from rfcompare.quantities import NOT_STATED
from rfcompare.sources.axes import axis_names, flat_names, spread
from rfcompare.sources.hdf5 import LAZY_BYTES
from rfcompare.sources.rendering import evaluate, render_gabors
from rfcompare.sources.store import Cell, Store

if TYPE_CHECKING:
    import xarray as xr

MAX_BYTES = 2**22
"""Of a layout; more is another file."""

MAX_UNITS = 10**6
MAX_PIXELS = 2**14
"""Units and pixels along one side beyond these are a transposed or a mistaken layout."""

MAX_RENDERED = 10**8

_DIMS = ("half", "unit", "channel", "lag", "y", "x")
_CHANNEL_SETS = sorted(" ".join(names) for names in CHANNELS)
LABELS = ("unit", "subject", "source", "field_of_view")
NUMBERS = ("cortex_x", "cortex_y", "noise_sd")
RESERVED = frozenset({*signature(make_bank).parameters, "dims", "schema"} - {"attrs"})
"""Names that mean something to a bank's making, so that an attribute called so is no mere provenance."""

_PROVENANCE = ("stimulus", "title", "citation", "doi", "license", "um_per_px", "um_per_deg")


@dataclass(frozen=True)
class Layout:
    """A checked layout; the module's table says what each field means."""

    maps: tuple[str, ...] = ()
    dims: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    order: str = "C"
    select: str = ""
    channel: tuple[str, ...] = ("signed",)
    y: str = "down"
    x: str = "right"
    deg_per_px: Any = None
    um_per_px: float | None = None
    um_per_deg: float | None = None
    lag: int | str | None = None
    half: tuple[str, ...] = ()
    kind: str = NOT_STATED
    polarity: str = "known"
    unit: Any = None
    subject: Any = None
    source: Any = None
    field_of_view: Any = None
    cortex_x: Any = None
    cortex_y: Any = None
    noise_sd: Any = None
    per_unit: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[int, ...] = ()
    stimulus: Any = None
    title: str | None = None
    citation: str | None = None
    doi: str | None = None
    license: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)
    parameters: str | None = None
    gabor: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, ...] = ()
    normalize: str | None = None


def read_layout(layout: str | Path | Mapping[str, Any]) -> Layout:
    """A checked `Layout` from a TOML file or a mapping.

    Raises
    ------
    InputError
        The file is not TOML, a key is unknown or missing, or a value is out of range.

    Examples
    --------
    >>> read_layout({"maps": "/units/rf", "dims": "unit y x", "stimulus": "sparse noise"}).dims
    ('unit', 'y', 'x')
    """
    return _checked(given_keys(layout), "the layout" if isinstance(layout, Mapping) else str(layout))


def given_keys(layout: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """A layout as it was given, its keys not yet checked."""
    if isinstance(layout, Mapping):
        return {str(key): value for key, value in layout.items()}
    path = existing_file(layout)
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"expected a layout in TOML, got {path} of {path.stat().st_size / 1e6:.3g} MB; name another")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"expected a layout in TOML, but {path} is not TOML ({error})") from None


def _checked(given: dict[str, Any], where: str) -> Layout:
    known = [item.name for item in fields(Layout)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it may have {', '.join(known)}"
            raise InputError(f"{where} has the unknown key {key!r}; {hint}")
    for key, value in given.items():
        expected = _wrong_type(key, value)
        if expected:
            raise InputError(f"expected {key} in {where} to be {expected}, got {value!r}")
    for key in ("maps", "half", "channel"):
        if isinstance(given.get(key), str):
            given[key] = given[key].replace(",", " ").split() if key == "channel" else [given[key]]
    if "dims" in given:
        given["dims"] = axis_names(tuple(given["dims"]) if isinstance(given["dims"], list) else given["dims"])
    for key in ("maps", "half", "channel", "dims", "exclude", "size", "shape"):
        if key in given:
            given[key] = tuple(given[key])
    # NumPy's whole numbers count as Python's.
    for key in ("exclude", "size", "shape"):
        if key in given:
            given[key] = tuple(int(item) for item in given[key])
    if isinstance(given.get("lag"), Integral):
        given["lag"] = int(given["lag"])
    given["select"] = str(given.get("select", ""))
    _parse_select(given["select"])  # a mistake in it is told before a file is read
    if "parameters" in given:
        given.setdefault("kind", "parametric")
    layout = Layout(**given)
    for fault in _faults(layout, given, where):
        raise InputError(fault)
    return layout


def _wrong_type(key: str, value: Any) -> str:
    """What a key's value should be, when it is something else."""
    several = list(value) if isinstance(value, list | tuple) else None
    if key in ("maps", "dims", "channel", "half"):
        fits = isinstance(value, str) or (several is not None and all(isinstance(item, str) for item in several))
        return "" if fits else "a text or a list of texts"
    if key in ("exclude", "size", "shape"):
        fits = several is not None and all(isinstance(item, Integral) for item in several)
        return "" if fits else "a list of whole numbers"
    if key in ("um_per_px", "um_per_deg", "deg_per_px"):
        pair = several if key == "deg_per_px" and several is not None and len(several) == 2 else [value]
        fits = all(type(item) is not bool and isinstance(item, Real) and float(item) > 0 for item in pair)
        return "" if fits else "a positive number" + (" or [x, y]" if key == "deg_per_px" else "")
    if key in ("per_unit", "attrs", "gabor"):
        named = {*RESERVED, *_PROVENANCE} & set(value) if isinstance(value, Mapping) and key == "attrs" else set()
        if named:
            return f"a table without {', '.join(sorted(named))}, which the layout itself names"
        return "" if isinstance(value, Mapping) else "a table"
    if key == "lag":
        return "an index or 'peak'" if isinstance(value, bool) or not isinstance(value, Integral | str) else ""
    if key == "select":
        return "" if isinstance(value, Integral | str) else "an index such as ':,1'"
    if key == "stimulus":
        return "" if isinstance(value, str | Mapping) else "a text or a table"
    if key in (*LABELS, *NUMBERS):
        return "a text, a path or one value for each unit" if isinstance(value, Mapping) else ""
    return "" if isinstance(value, str) else "a text"


def _faults(layout: Layout, given: dict[str, Any], where: str) -> list[str]:
    faults = []
    if bool(layout.maps) == (layout.parameters is not None):
        faults.append(f"expected {where} to name either maps or parameters, the path of what to read")
    if layout.maps and not layout.dims:
        faults.append(f"expected {where} to give dims, the order of the axes of the maps, such as 'unit channel y x'")
    flat = flat_names(layout.dims)
    if flat and (not set(flat) <= set(_DIMS) or len(set(flat)) < len(flat) or not {"y", "x"} <= set(flat)):
        faults.append(
            f"expected dims in {where} to name unit, y and x (or pixel), with channel, lag, half where the array has "
            f"them, got {' '.join(layout.dims)!r}"
        )
    if layout.shape and len(flat) == len(layout.dims):
        faults.append(f"expected pixel in dims beside shape in {where}, got {' '.join(layout.dims)!r}")
    if "channel" in flat and (len(layout.maps) > 1 or "channel" not in given):
        faults.append(
            f"expected {where} to name the channels along the axis channel, as in channel = ['on', 'off'], and all in "
            "one array"
        )
    if " ".join(sorted(layout.channel)) not in [" ".join(sorted(names.split())) for names in _CHANNEL_SETS]:
        faults.append(f"expected channel in {where} to be one of {'; '.join(_CHANNEL_SETS)}, got {layout.channel}")
    if len(layout.maps) > 1 and len(layout.maps) != len(layout.channel):
        faults.append(f"expected one path in maps of {where} for each channel {layout.channel}, got {len(layout.maps)}")
    words = {
        "y": ("down", "up"),
        "x": ("right", "left"),
        "polarity": ("known", "unknown"),
        "normalize": (None, "l2"),
        "order": ("C", "F"),
    }
    for key, allowed in words.items():
        value = getattr(layout, key)
        if value not in allowed:
            choices = " or ".join(repr(choice) for choice in allowed if choice is not None)
            faults.append(f"expected {key} in {where} to be {choices}, got {value!r}")
    if layout.um_per_deg is not None and layout.um_per_px is None:
        faults.append(f"expected um_per_px beside um_per_deg in {where}: how many µm a pixel has on the retina")
    if layout.deg_per_px is not None and layout.um_per_deg is not None:
        faults.append(f"expected either deg_per_px or um_per_px with um_per_deg in {where}, got both")
    if layout.lag is not None and "lag" not in flat:
        faults.append(f"{where} chooses lag = {layout.lag!r}, but its dims {' '.join(layout.dims)!r} have no lag")
    if isinstance(layout.lag, str) and layout.lag != "peak":
        faults.append(f"expected lag in {where} to be an index or 'peak', got {layout.lag!r}")
    if layout.parameters is not None and len(layout.channel) != 1:
        faults.append(
            f"expected channel in {where} to be 'signed' or 'luminance' beside parameters, which make one map"
        )
    if layout.parameters is not None and (layout.kind != "parametric" or len(layout.size) != 2 or not layout.gabor):
        faults.append(
            f"expected a table gabor, size = [y, x] and the kind parametric beside parameters in {where}: maps that "
            "are rendered from parameters are no measurements"
        )
    return faults


def _parse_select(text: str) -> tuple[Any, ...]:
    """An index such as ":,1" or "0,:,2:10" as a tuple of slices and integers.

    Examples
    --------
    >>> _parse_select(":,1")
    (slice(None, None, None), 1)
    """
    index: list[Any] = []
    for part in [piece.strip() for piece in text.split(",")] if text.strip() else []:
        if part == "...":
            index.append(Ellipsis)
        elif re.fullmatch(r"-?\d+", part):
            index.append(int(part))
        elif re.fullmatch(r"(-?\d+)?:(-?\d+)?(:0*[1-9]\d*)?", part):
            index.append(slice(*(int(number) if number else None for number in part.split(":"))))
        else:
            # No steps backwards: labels by path would stay in the file's order.
            raise InputError(f"expected select to be an index such as ':,1', '0:50' or '::2', got {text!r}")
    return tuple(index)


def apply(store: Store, layout: Layout, chunks: Any, *, more: Mapping[str, Any] | None = None) -> xr.Dataset:
    """The maps that `layout` names in `store` as a bank; `more` goes to `rfcompare.make_bank` as it is."""
    if layout.parameters is not None:
        return _apply_parameters(store, layout)
    facts = store.facts(layout.maps[0])
    if layout.kind == "measured" and not (layout.stimulus or facts.get("stimulus")):
        raise InputError(
            f"expected the layout to say with what stimulus the maps of {store.name} were measured, such as stimulus = "
            "{class = 'sparse noise', element_deg = 2.0}; stimulus = 'unknown' is an answer"
        )
    array, names = _maps(store, layout, layout.maps, layout.dims, chunks)
    halves = _halves(store, layout, chunks)
    if "half" in flat_names(layout.dims):
        halves, array = array, array.mean(axis=0)
    array, halves = _settled(array, chunks), _settled(halves, chunks)
    chosen = f"[{layout.select}]" if layout.select else ""
    lag = "" if layout.lag is None else f", lag {layout.lag}"
    return _finish(
        store,
        layout,
        array,
        layout.channel,
        facts,
        halves=halves,
        names=names,
        read=f"{', '.join(layout.maps)}{chosen} along {' '.join(layout.dims)}{lag}",
        more=more or {},
    )


def _apply_parameters(store: Store, layout: Layout) -> xr.Dataset:
    table = str(layout.parameters).rstrip("/")
    columns: dict[str, Any] = {}

    def column(name: str) -> Any:
        if name not in columns:
            columns[name] = _as_numbers(store.column(f"{table}/{name}"), f"{table}/{name} in {store.name}")
        return columns[name]

    parameters = {
        name: evaluate(formula, column, f"{name} of the layout's gabor table") for name, formula in layout.gabor.items()
    }
    rows, columns_wide = (int(side) for side in layout.size)
    units = max((np.size(value) for value in parameters.values()), default=1)
    if not (min(rows, columns_wide) >= 2 and units * rows * columns_wide <= MAX_RENDERED):
        raise InputError(
            f"expected size in the layout to be [y, x] of at least 2 and at most {MAX_RENDERED:.0e} pixels in all, got "
            f"{list(layout.size)} for {units} units"
        )
    for name, value in parameters.items():
        if np.size(value) not in (1, units):
            raise InputError(
                f"expected {units} values of {name} from the columns of {table} in {store.name}, got {np.size(value)}"
            )
    maps = render_gabors({name: np.ravel(value) for name, value in parameters.items()}, (rows, columns_wide))
    if layout.normalize == "l2":
        norm = np.sqrt((maps**2).sum((-2, -1), keepdims=True))
        maps = np.divide(maps, norm, out=np.full_like(maps, np.nan), where=norm > 0)
    facts = store.facts(table)
    made = ", ".join(f"{name} = {formula}" for name, formula in layout.gabor.items())
    bank = _finish(
        store,
        layout,
        maps[:, None],
        layout.channel,
        facts,
        halves=None,
        names=[],
        read=f"{table} as Gabors: {made}",
        rows="up",
    )
    return bank.assign_attrs(rendered="gabor")


def _finish(
    store: Store,
    layout: Layout,
    array: Any,
    channel: tuple[str, ...],
    facts: dict[str, Any],
    *,
    halves: Any,
    names: list[str],
    read: str,
    rows: str | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> xr.Dataset:
    """Labels, scale and provenance around an array (unit, channel, [lag,] y, x) in the file's own directions."""
    n = array.shape[0]
    if layout.x == "left":
        array = array[..., ::-1]
        halves = None if halves is None else halves[..., ::-1]
    order, channel = channel_order(channel)
    array = array[:, order]
    halves = None if halves is None else halves[:, :, order]
    # Names that the file gives its rows no longer fit when select has left some out.
    said = {
        name: value
        for name, value in facts.items()
        if name in (*LABELS, *NUMBERS) and (isinstance(value, str) or len(value) == n)
    }
    given = {name: getattr(layout, name) for name in (*LABELS, *NUMBERS)}
    labels = {
        name: _per_unit(store, name, given[name] if given[name] is not None else said.get(name), n)
        for name in (*LABELS, *NUMBERS)
    }
    if labels["source"] is None:
        labels["source"] = store.name
    if labels["unit"] is None and names:
        labels["unit"] = names
    if isinstance(labels["unit"], str):
        raise InputError(f"expected unit to be the path of {n} names in {store.name}, got the text {labels['unit']!r}")
    scale = layout.deg_per_px
    if layout.um_per_deg is not None and layout.um_per_px is not None:
        scale = layout.um_per_px / layout.um_per_deg
    provenance = {
        name: getattr(layout, name) if getattr(layout, name) is not None else facts.get(name)
        for name in ("stimulus", "title", "citation", "doi", "license")
    }
    bank = make_bank(
        array,
        channel=channel,
        kind=layout.kind,
        rows=rows or layout.y,
        deg_per_px=tuple(scale) if isinstance(scale, list) else scale,
        half=halves,
        attrs={
            **{str(name): value for name, value in facts.items() if name not in labels},
            **{name: value for name, value in provenance.items() if value is not None},
            "um_per_px": layout.um_per_px,
            "um_per_deg": layout.um_per_deg,
            **{str(name): value for name, value in layout.attrs.items()},
        },
        **labels,
        **more,
    )
    for name, value in layout.per_unit.items():
        if value is None or isinstance(value, Mapping):
            raise InputError(f"expected per_unit {name} to be a text, a number, a path or a list, got {value!r}")
        values = _per_unit(store, name, value, n)
        bank = bank.assign_coords({name: ("unit", np.full(n, values) if np.isscalar(values) else np.asarray(values))})
    if layout.polarity == "unknown":
        bank["polarity_known"] = ("unit", np.zeros(n, bool))
    bank = add_history(bank, f"open_fields: {store.name}, {read}, {(rows and 'rendered') or f'y {layout.y}'}")
    bank = _without(bank, layout.exclude)
    return check(bank if layout.lag is None else at_lag(bank, layout.lag))


def _without(bank: xr.Dataset, exclude: tuple[int, ...]) -> xr.Dataset:
    if not exclude:
        return bank
    n = bank.sizes["unit"]
    if not all(isinstance(index, int) and 0 <= index < n for index in exclude):
        raise InputError(f"expected exclude to hold indices of units from 0 to {n - 1}, got {list(exclude)}")
    kept = bank.isel(unit=[index for index in range(n) if index not in set(exclude)])
    return add_history(kept, f"open_fields: {len(set(exclude))} of {n} units left out by the layout: {list(exclude)}")


def _per_unit(store: Store, name: str, value: Any, n: int) -> Any:
    """One value per unit: read from a path, or given for all."""
    if value is None:
        return None
    if isinstance(value, str) and value.startswith("/"):
        values = np.asarray(store.column(value)).ravel()
        if values.size == 1 and n != 1:
            values = np.repeat(values, n)
        if values.size != n:
            raise InputError(
                f"expected {n} values of {name} at {value} in {store.name}, one for each unit, got {values.size}"
            )
        if name in NUMBERS:
            return _as_numbers(values, f"{value} in {store.name}")
        return _texts(values) if name in LABELS else values
    if isinstance(value, list | tuple | np.ndarray):
        if len(value) != n:
            raise InputError(f"expected {n} values of {name}, one for each unit in {store.name}, got {len(value)}")
        return _as_numbers(value, f"{name} of the layout") if name in NUMBERS else np.asarray(value)
    if name in NUMBERS:
        return np.full(n, _as_numbers(value, f"{name} of the layout"))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value) if name in LABELS else value


def _as_numbers(values: Any, where: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"expected numbers at {where}, got {np.asarray(values).ravel()[:3].tolist()}") from None


def channel_order(channel: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    """Where a bank's channels lie among a file's, and their names in the bank's order.

    Examples
    --------
    >>> channel_order(("off", "on"))
    ([1, 0], ('on', 'off'))
    """
    known = next(names for names in CHANNELS if sorted(names) == sorted(channel))
    return [channel.index(name) for name in known], known


def _texts(values: Any) -> list[str]:
    """Labels as text, also where a file keeps them as numbers: animal 7.0 is "7"; without a number it is "".

    Examples
    --------
    >>> _texts(np.array([7.0, np.nan])), _texts(np.array(["F1"], dtype=object))
    (['7', ''], ['F1'])
    """
    array = np.asarray(values).ravel()
    if array.dtype.kind != "f":
        return [str(value) for value in array]
    return ["" if np.isnan(value) else str(int(value)) if value.is_integer() else str(value) for value in array]


# Arrays ----------------------------------------------------------------------------------------------------------


def _maps(
    store: Store, layout: Layout, paths: tuple[str, ...], dims: tuple[str, ...], chunks: Any
) -> tuple[Any, list[str]]:
    """The array at one path, or one per channel, with its axes in the bank's order and a channel axis."""
    arrays: list[Any] = []
    labels: list[list[str]] = []
    for path in paths:
        located = store.locate(path, _parse_select(layout.select), chunks)
        if isinstance(located, Cell):
            own = located.labels
            located, cell_axes = _stacked(located, f"{path} in {store.name}")
        else:
            cell_axes, own = 0, []
        # A name that is not UTF-8 shows its bytes: as it is, no file could be written with it.
        labels.append([name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for name in own])
        # Maps "y x unit" of a single cell are one image where the format drops trailing axes of size 1.
        missing = dims[getattr(located, "ndim", 0) :] if store.drops_trailing_axes else ()
        if not cell_axes and missing and not {"y", "x"} & set(flat_names(missing)):
            located = located.reshape((*located.shape, *[1] * len(missing)))
        arrays.append(_in_order(located, dims, cell_axes, f"{path} in {store.name}", layout))
    if any(own != labels[0] for own in labels):
        raise InputError(f"expected the same units at {', '.join(paths)} in {store.name}, their names differ")
    present = tuple(name for name in _DIMS if name in (*flat_names(dims), "unit"))
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"expected maps of one shape at {', '.join(paths)} in {store.name}, got {sorted(shapes)}")
    unit = present.index("unit")
    if len(arrays) > 1:
        array = _stack(arrays, axis=unit + 1)
    else:
        array = arrays[0] if "channel" in present else arrays[0][(slice(None),) * (unit + 1) + (None,)]
    named = tuple(name for name in _DIMS if name in present or name == "channel")
    sizes = dict(zip(named, array.shape, strict=True))
    if sizes["channel"] != len(layout.channel):
        raise InputError(
            f"expected {len(layout.channel)} channels {layout.channel} in {store.name}, got {sizes['channel']} along "
            f"the axis that dims {' '.join(dims)!r} call channel"
        )
    if sizes["unit"] > MAX_UNITS or max(sizes["y"], sizes["x"]) > MAX_PIXELS:
        raise InputError(
            f"expected at most {MAX_UNITS} units of {MAX_PIXELS} pixels a side in {store.name}, got {sizes}; do the "
            f"dims {' '.join(dims)!r} name the axes in the file's order?"
        )
    return array, labels[0] if len(labels[0]) == sizes["unit"] else []


def _stacked(cell: Cell, where: str) -> tuple[Any, int]:
    """A cell of equal arrays as one array whose first axes are the cell's; an empty item is a map not measured."""
    items = []
    for item in cell.items.ravel():
        if isinstance(item, Cell):
            item, _ = _stacked(item, where)
        if getattr(item, "dtype", np.dtype(object)).kind not in "fiub":
            raise InputError(f"expected maps of numbers in the cells of {where}, got {_content(item)}")
        items.append(item)
    full = [item for item in items if item.size]
    shapes = {tuple(item.shape) for item in full}
    if len(shapes) != 1:
        raise InputError(
            f"expected maps of one shape in the cells of {where}, got {sorted(shapes)[:4] if shapes else 'none at all'}"
        )
    shape = shapes.pop()
    items = [item if item.size else np.full(shape, np.nan) for item in items]
    array = _stack(items)
    return array.reshape(*cell.items.shape, *shape), cell.items.ndim


def _content(item: Any) -> str:
    if isinstance(item, str) and item.startswith(("a MATLAB object", "a struct")):
        return item
    return f"an array of {item.dtype}" if hasattr(item, "dtype") else type(item).__name__


def _in_order(array: Any, dims: tuple[str, ...], cell_axes: int, where: str, layout: Layout) -> Any:
    """The array with its axes in the bank's order: flat ones spread out, a single cell with an axis of its own."""
    if array.dtype.kind not in "fiub":
        raise InputError(f"expected maps of numbers at {where}, got {array.dtype}")
    names = flat_names(dims)
    shape = tuple(array.shape)
    if array.ndim > len(dims):
        # MATLAB knows no vectors: a cell of N maps is N × 1. Only such axes are dropped, and only when that settles it.
        candidates = range(cell_axes) if cell_axes and len(names) == len(dims) else range(array.ndim)
        single = [axis for axis in candidates if shape[axis] == 1]
        if array.ndim - len(single) == len(dims):
            array = array.reshape([size for axis, size in enumerate(shape) if axis not in single])
    if array.ndim != len(dims):
        raise InputError(
            f"expected {len(dims)} dims {' '.join(dims)!r} at {where}, got the shape {shape}; name its axes in dims or "
            "index some away with select"
        )
    array = spread(array, dims, where, shape=layout.shape, order=layout.order)
    if "unit" not in names:
        array, names = array[None], ["unit", *names]
    return array.transpose([names.index(dim) for dim in _DIMS if dim in names])


def _halves(store: Store, layout: Layout, chunks: Any) -> Any:
    if not layout.half:
        return None
    if len(layout.half) == 1:
        array, _ = _maps(store, layout, layout.half, ("half", *layout.dims), chunks)
    else:
        per_half = len(layout.maps)
        if len(layout.half) != 2 * per_half:
            raise InputError(
                f"expected {2 * per_half} paths in half, {per_half} for each of two halves, got {len(layout.half)}"
            )
        parts = [layout.half[:per_half], layout.half[per_half:]]
        array = _stack([_maps(store, layout, tuple(part), layout.dims, chunks)[0] for part in parts])
    if array.shape[0] != 2:
        raise InputError(f"expected two halves at {layout.half} in {store.name}, got {array.shape[0]}")
    return array


def _settled(array: Any, chunks: Any) -> Any:
    """A lazy array read into memory when it turned out small and nobody asked for chunks."""
    if chunks is None and hasattr(array, "dask") and array.nbytes <= LAZY_BYTES:
        return array.compute()
    return array


def _stack(arrays: list[Any], axis: int = 0) -> Any:
    """Stack arrays of one shape, lazily when they are lazy."""
    if any(hasattr(array, "dask") for array in arrays):
        import dask.array

        return dask.array.stack(arrays, axis=axis)
    return np.stack(arrays, axis=axis)
