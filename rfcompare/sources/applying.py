"""How a layout turns the arrays of a file into a bank: axes in order, one value per unit, scale and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import add_history, at_lag, check, make_bank
from rfcompare.errors import InputError
from rfcompare.sources.axes import flat_names, spread
from rfcompare.sources.hdf5 import LAZY_BYTES
from rfcompare.sources.layout import DIMS, LABELS, NUMBERS, Layout, channel_order
from rfcompare.sources.rendering import evaluate, render_gabors
from rfcompare.sources.store import Cell, Store

if TYPE_CHECKING:
    import xarray as xr

_MAX_UNITS = 10**6
_MAX_PIXELS = 2**14
"""Units and pixels along one side beyond these are a transposed or a mistaken layout."""

_MAX_RENDERED = 10**8


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
        facts,
        f"{', '.join(layout.maps)}{chosen} along {' '.join(layout.dims)}{lag}",
        halves=halves,
        names=names,
        more=more or {},
    )


def _apply_parameters(store: Store, layout: Layout) -> xr.Dataset:
    table = str(layout.parameters).rstrip("/")

    @cache
    def column(name: str) -> Any:
        return _as_numbers(store.column(f"{table}/{name}"), f"{table}/{name} in {store.name}")

    parameters = {
        name: evaluate(formula, column, f"{name} of the layout's gabor table") for name, formula in layout.gabor.items()
    }
    rows, columns_wide = (int(side) for side in layout.size)
    units = max((np.size(value) for value in parameters.values()), default=1)
    if not (min(rows, columns_wide) >= 2 and units * rows * columns_wide <= _MAX_RENDERED):
        raise InputError(
            f"expected size in the layout to be [y, x] of at least 2 and at most {_MAX_RENDERED:.0e} pixels in all, "
            f"got {list(layout.size)} for {units} units"
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
    made = ", ".join(f"{name} = {formula}" for name, formula in layout.gabor.items())
    read = f"{table} as Gabors: {made}"
    return _finish(store, layout, maps[:, None], store.facts(table), read, rows="up").assign_attrs(rendered="gabor")


def _finish(
    store: Store,
    layout: Layout,
    array: Any,
    facts: dict[str, Any],
    read: str,
    *,
    halves: Any = None,
    names: Sequence[str] = (),
    rows: str | None = None,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> xr.Dataset:
    """Labels, scale and provenance around an array (unit, channel, [lag,] y, x) in the file's own directions."""
    n = array.shape[0]
    if layout.x == "left":
        array = array[..., ::-1]
        halves = None if halves is None else halves[..., ::-1]
    order, channel = channel_order(layout.channel)
    array = array[:, order]
    halves = None if halves is None else halves[:, :, order]
    labels = _labels(store, layout, facts, names, n)
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


def _labels(store: Store, layout: Layout, facts: dict[str, Any], names: Sequence[str], n: int) -> dict[str, Any]:
    """What is known of each unit: by the layout, by the file, or by the paths of the maps."""
    labels: dict[str, Any] = {}
    for name in (*LABELS, *NUMBERS):
        value, said = getattr(layout, name), facts.get(name)
        # Names that the file gives its rows no longer fit when select has left some out.
        if value is None and said is not None and (isinstance(said, str) or len(said) == n):
            value = said
        labels[name] = _per_unit(store, name, value, n)
    if labels["source"] is None:
        labels["source"] = store.name
    if labels["unit"] is None and names:
        labels["unit"] = names
    if isinstance(labels["unit"], str):
        raise InputError(f"expected unit to be the path of {n} names in {store.name}, got the text {labels['unit']!r}")
    return labels


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
        located = store.locate(path, layout.index, chunks)
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
    present = tuple(name for name in DIMS if name in (*flat_names(dims), "unit"))
    shapes = {tuple(array.shape) for array in arrays}
    if len(shapes) > 1:
        raise InputError(f"expected maps of one shape at {', '.join(paths)} in {store.name}, got {sorted(shapes)}")
    unit = present.index("unit")
    if len(arrays) > 1:
        array = _stack(arrays, axis=unit + 1)
    else:
        array = arrays[0] if "channel" in present else arrays[0][(slice(None),) * (unit + 1) + (None,)]
    named = tuple(name for name in DIMS if name in present or name == "channel")
    sizes = dict(zip(named, array.shape, strict=True))
    if sizes["channel"] != len(layout.channel):
        raise InputError(
            f"expected {len(layout.channel)} channels {layout.channel} in {store.name}, got {sizes['channel']} along "
            f"the axis that dims {' '.join(dims)!r} call channel"
        )
    if sizes["unit"] > _MAX_UNITS or max(sizes["y"], sizes["x"]) > _MAX_PIXELS:
        raise InputError(
            f"expected at most {_MAX_UNITS} units of {_MAX_PIXELS} pixels a side in {store.name}, got {sizes}; do the "
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
    return array.transpose([names.index(dim) for dim in DIMS if dim in names])


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
