"""rfcompare's own HDF5: as `rfcompare.save` writes it, or as a person writes it with plain h5py.

A file by hand needs ``/rf`` and, by the same names as in a bank, whatever coordinates and variables it has. ``x`` and
``y`` (or the attribute ``deg_per_px``) give the scale; attributes lie on the file or on ``/rf``. Nothing needs HDF5
dimension scales: the order of ``/rf`` is that of its attribute ``dims``, by default unit, channel, y, x.
"""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import CHANNELS, add_history, check, load, make_bank, read_hdf5
from rfcompare.bank.checking import GRID_TOLERANCE
from rfcompare.errors import InputError
from rfcompare.quantities import NOT_STATED, SCHEMAS
from rfcompare.sources.hdf5 import LAZY_BYTES

if TYPE_CHECKING:
    import xarray as xr

    from rfcompare.sources.hdf5 import Reader

ORDER = ("unit", "channel", "lag", "y", "x")
_TEXT = ("unit", "subject", "source", "field_of_view")
_NUMBERS = ("cortex_x", "cortex_y", "noise_sd", "noise_acf")
RESERVED = frozenset({*signature(make_bank).parameters, "dims", "schema"} - {"attrs"})
"""Names that mean something to a bank's making, so that an attribute called so is no mere provenance."""


def is_native(reader: Reader) -> bool:
    """Whether the file has maps under the name that rfcompare gives them."""
    return reader.is_dataset("/rf")


def open_saved(path: Path, chunks: Any) -> xr.Dataset:
    """A bank as `rfcompare.save` wrote it, lazily when `chunks` is given or the file is large."""
    if chunks is None and path.stat().st_size <= LAZY_BYTES:
        bank = load(path)
    else:
        bank = check(read_hdf5(path, groups=False, chunks={})[0][1])
    if bank.attrs["schema"] != SCHEMAS["bank"].name:
        raise InputError(
            f"expected maps in {path}, got a Dataset of the schema {bank.attrs['schema']}; load it with load"
        )
    return bank


def open_by_hand(reader: Reader, chunks: Any) -> xr.Dataset:
    """A bank from ``/rf`` and the coordinates beside it.

    Raises
    ------
    InputError
        The dims cannot be told, or what lies beside ``/rf`` does not fit it.
    """
    attrs = {**reader.attrs("/"), **reader.attrs("/rf")}
    schema = str(attrs.get("schema", SCHEMAS["bank"].name))
    if schema not in {known.name for known in SCHEMAS.values()} and schema.startswith("rfcompare-"):
        raise InputError(
            f"expected a file of the schema {SCHEMAS['bank'].name}, {reader.name} has {schema}: update rfcompare"
        )
    shape = reader.shape("/rf")
    stated = attrs.get("dims") or _default_dims(reader, shape)
    dims = " ".join(map(str, stated) if isinstance(stated, list) else [str(stated)]).replace(",", " ").split()
    if len(dims) != len(shape) or not {"unit", "y", "x"} <= set(dims) <= set(ORDER) or len(set(dims)) != len(dims):
        raise InputError(
            f"expected /rf in {reader.name} along unit, channel, y, x (its attribute dims names another order), got "
            f"the shape {shape} and dims {' '.join(dims)!r}"
        )
    array = reader.array("/rf", chunks)
    array = array.transpose([dims.index(name) for name in ORDER if name in dims])
    if "channel" not in dims:
        array = array[:, None]
    channel = _channel(reader, attrs, array.shape[1])
    order, channel = channel_order(channel)
    array = array[:, order]
    n = array.shape[0]
    sizes = dict(zip([name for name in ORDER if name in dims or name == "channel"], array.shape, strict=True))
    labels = {name: _label(reader, attrs, name, n) for name in _TEXT}
    labels["source"] = labels["source"] or reader.name
    numbers = {name: _numbers(reader, name) for name in (*_NUMBERS, "lag") if reader.is_dataset(f"/{name}")}
    for name, values in numbers.items():
        fits = values.shape == ((sizes.get("lag"),) if name == "lag" else (n,))
        if name == "noise_acf":
            fits = values.ndim == 4 and tuple(values.shape[:2]) == tuple(array.shape[:2])
        if not fits:
            raise InputError(
                f"expected /{name} in {reader.name} to fit /rf {shape} along {' '.join(dims)}, got the shape "
                f"{values.shape}"
            )
    if "noise_acf" in numbers:
        numbers["noise_acf"] = numbers["noise_acf"][:, order]
    half = reader.array("/rf_half", chunks) if reader.is_dataset("/rf_half") else None
    if half is not None:
        moved = ["half", *dims]
        if half.shape != (2, *shape):
            raise InputError(
                f"expected /rf_half in {reader.name} along half, {', '.join(dims)} with the shape {(2, *shape)}, got "
                f"{tuple(half.shape)}"
            )
        half = half.transpose([moved.index(name) for name in ("half", *ORDER) if name in moved])
        half = half[:, :, order] if "channel" in dims else half[:, :, None]
    grid: dict[str, Any] = {name: _numbers(reader, name) for name in ("x", "y") if reader.is_dataset(f"/{name}")}
    for name, values in grid.items():
        if values.shape != (sizes[name],):
            raise InputError(
                f"expected /{name} in {reader.name} to have one value for each of the {sizes[name]} pixels along "
                f"{name}, got the shape {values.shape}"
            )
    if len(grid) == 1:
        raise InputError(
            f"expected both /x and /y in {reader.name}, or neither and the attribute deg_per_px, got only /{min(grid)}"
        )
    rows = str(attrs.get("rows", "up"))
    # A y that descends says by itself that row 0 is the top.
    if "y" in grid and grid["y"].size > 1:
        descends = bool(grid["y"][0] > grid["y"][-1])
        if rows == "down" and not descends:
            raise InputError(
                f"expected /y in {reader.name} to descend where the attribute rows is 'down' (y points up), it runs "
                f"from {grid['y'][0]:g} to {grid['y'][-1]:g}; leave rows out or turn /y"
            )
        rows = "down" if descends else rows
    scale = _scale(attrs.get("deg_per_px"))
    units = _units(reader, attrs, grid) if grid else "px"
    if grid and scale is not None:
        grid, units = _scaled(reader, grid, units, scale), "degree"
        scale = None
    kind = str(attrs.get("kind", NOT_STATED))
    unsaid = {"stimulus": "unknown"} if kind == "measured" else {}
    bank = make_bank(
        array,
        channel=channel,
        kind=kind,
        units=units,
        deg_per_px=scale,
        rows=rows,
        half=half,
        attrs={**unsaid, **{name: value for name, value in attrs.items() if name not in RESERVED}},
        **grid,
        **labels,
        **numbers,
    )
    if reader.is_dataset("/polarity_known"):
        known = _numbers(reader, "polarity_known").astype(bool).ravel()
        if known.size != n:
            raise InputError(f"expected {n} values in /polarity_known of {reader.name}, got {known.size}")
        bank["polarity_known"] = ("unit", known)
    elif "polarity_known" in attrs:
        bank["polarity_known"] = ("unit", np.full(n, bool(attrs["polarity_known"])))
    return check(add_history(bank, f"open_fields: {reader.name}, /rf {shape} along {' '.join(dims)}, rows {rows}"))


def channel_order(channel: tuple[str, ...]) -> tuple[list[int], tuple[str, ...]]:
    """Where a bank's channels lie among a file's, and their names in the bank's order.

    Examples
    --------
    >>> channel_order(("off", "on"))
    ([1, 0], ('on', 'off'))
    """
    known = next(names for names in CHANNELS if sorted(names) == sorted(channel))
    return [channel.index(name) for name in known], known


def _default_dims(reader: Reader, shape: tuple[int, ...]) -> str:
    if len(shape) == 3:
        return "unit y x"
    return "unit channel lag y x" if len(shape) == 5 and reader.is_dataset("/lag") else "unit channel y x"


def _channel(reader: Reader, attrs: dict[str, Any], count: int) -> tuple[str, ...]:
    if reader.is_dataset("/channel"):
        names = tuple(str(name).lower() for name in reader.values("/channel").ravel())
    elif "channel" in attrs:
        value = attrs["channel"]
        names = tuple(value.lower().replace(",", " ").split() if isinstance(value, str) else map(str, value))
    elif count == 1:
        names = ("signed",)
    else:
        names = ()
    if sorted(names) not in [sorted(known) for known in CHANNELS] or len(names) != count:
        raise InputError(
            f"expected /channel in {reader.name} to name the {count} channels of /rf (signed; on, off; r, g, b; or "
            f"luminance), got {', '.join(names) or 'nothing'}"
        )
    return names


def _label(reader: Reader, attrs: dict[str, Any], name: str, n: int) -> Any:
    if reader.is_dataset(f"/{name}"):
        values = reader.values(f"/{name}").ravel()
        if values.size == 1 and n != 1 and name != "unit":
            return str(values[0])
        if values.size != n:
            raise InputError(f"expected {n} values in /{name} of {reader.name}, one for every unit, got {values.size}")
        return texts(values)
    value = attrs.get(name)
    if value is None or name == "unit":
        return None
    return value if isinstance(value, list) else str(value)


def texts(values: Any) -> list[str]:
    """Labels as text, also where a file keeps them as numbers: animal 7.0 is "7"; without a number it is "".

    Examples
    --------
    >>> texts(np.array([7.0, np.nan])), texts(np.array(["F1"], dtype=object))
    (['7', ''], ['F1'])
    """
    array = np.asarray(values).ravel()
    if array.dtype.kind != "f":
        return [str(value) for value in array]
    return ["" if np.isnan(value) else str(int(value)) if value.is_integer() else str(value) for value in array]


def _scaled(reader: Reader, grid: dict[str, Any], units: str, scale: tuple[float, float]) -> dict[str, Any]:
    """Coordinates in degrees where ``deg_per_px`` stands beside them."""
    scaled = {name: values * size for (name, values), size in zip(sorted(grid.items()), scale, strict=True)}
    if units == "px":
        return scaled
    for (name, values), size in zip(sorted(grid.items()), scale, strict=True):
        step = abs(float(values[-1]) - float(values[0])) / max(values.size - 1, 1)
        if abs(step - size) > GRID_TOLERANCE * size:
            raise InputError(
                f"expected /{name} in {reader.name} in steps of the attribute deg_per_px, {size:g}, got {step:g}; "
                "leave one of the two out"
            )
    return grid


def _units(reader: Reader, attrs: dict[str, Any], grid: dict[str, Any]) -> str:
    """Units of the coordinates as the file states them; degrees and pixels look alike, so they are never guessed."""
    stated = {str(reader.attrs(f"/{name}").get("units", "")) for name in grid} | {str(attrs.get("units", ""))}
    stated -= {""}
    words = {"deg": "degree", "degrees": "degree", "degree": "degree", "°": "degree", "px": "px", "pixel": "px"}
    words |= {"pixels": "px", "degrees of visual angle": "degree"}
    found = {words.get(text.lower(), text) for text in stated}
    if len(found) != 1 or not found <= {"degree", "px"}:
        raise InputError(
            f"expected the attribute units ('degree' or 'px') on /x and /y of {reader.name}, got "
            f"{', '.join(map(repr, sorted(found))) or 'none'}"
        )
    return found.pop()


def _numbers(reader: Reader, name: str) -> Any:
    values = reader.values(f"/{name}")
    if values.dtype.kind not in "fiub":
        raise InputError(f"expected numbers in /{name} of {reader.name}, got {values.ravel()[:3].tolist()}")
    return values


def _scale(value: Any) -> Any:
    """deg_per_px as a number, two numbers, or JSON text of them."""
    if value is None:
        return None
    try:
        pair = np.broadcast_to(np.asarray(json.loads(value) if isinstance(value, str) else value, float), (2,))
    except (ValueError, TypeError):
        raise InputError(f"expected the attribute deg_per_px to be a number or [x, y], got {value!r}") from None
    return tuple(float(item) for item in pair)
