"""rfcompare's own HDF5: as `rfcompare.save` writes it, or as a person writes it with plain h5py.

A file by hand needs ``/rf`` and, by the same names as in a bank, whatever coordinates and variables it has. ``x`` and
``y`` (or the attribute ``deg_per_px``) give the scale; attributes lie on the file or on ``/rf``. Nothing needs HDF5
dimension scales: the order of ``/rf`` is that of its attribute ``dims``, by default unit, channel, y, x.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import CHANNELS, check, load, read_hdf5
from rfcompare.bank.checking import GRID_TOLERANCE
from rfcompare.errors import InputError
from rfcompare.quantities import NOT_STATED, SCHEMAS
from rfcompare.sources.applying import apply
from rfcompare.sources.hdf5 import LAZY_BYTES, HDF5Store
from rfcompare.sources.layout import LABELS, NUMBERS, RESERVED, Layout, channel_order

if TYPE_CHECKING:
    import xarray as xr

    from rfcompare.sources.hdf5 import Reader

_ORDER = ("unit", "channel", "lag", "y", "x")


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
    """A bank from ``/rf`` and what lies beside it: read as by a layout that the file's own names make up."""
    attrs = {**reader.attrs("/"), **reader.attrs("/rf")}
    schema = str(attrs.get("schema", SCHEMAS["bank"].name))
    if schema not in {known.name for known in SCHEMAS.values()} and schema.startswith("rfcompare-"):
        raise InputError(
            f"expected a file of the schema {SCHEMAS['bank'].name}, {reader.name} has {schema}: update rfcompare"
        )
    shape = reader.shape("/rf")
    dims = _dims(reader, attrs, shape)
    sizes = {"channel": 1, **dict(zip(dims, shape, strict=True))}
    n, channel = sizes["unit"], _channel(reader, attrs, sizes["channel"])
    known = {name: _numbers(reader, name, n, "unit") for name in (*NUMBERS, "polarity_known")}
    labels: dict[str, Any] = {name: attrs.get(name) for name in LABELS if name != "unit"}
    for name in LABELS:
        if reader.is_dataset(f"/{name}"):
            size = reader.values(f"/{name}").size
            if size != 1 or name == "unit":  # one value stands for all units
                _fits(reader, name, size, n, "unit")
            labels[name] = f"/{name}"
    beside = {"lag": _numbers(reader, "lag", sizes.get("lag", 0), "lag"), "noise_acf": _noise(reader, sizes, channel)}
    grid, rows = _grid(reader, attrs, sizes)
    kind = str(attrs.get("kind", NOT_STATED))
    provenance = {name: value for name, value in attrs.items() if name not in RESERVED}
    unsaid = "unknown" if kind == "measured" else None
    layout = Layout(
        maps=("/rf",),
        dims=dims,
        channel=channel,
        half=("/rf_half",) if reader.is_dataset("/rf_half") else (),
        y=rows,
        deg_per_px=grid.pop("deg_per_px", None),
        kind=kind,
        stimulus=provenance.pop("stimulus", unsaid),
        attrs=provenance,
        **{name: known[name] for name in NUMBERS},
        **labels,
    )
    bank = apply(HDF5Store(reader), layout, chunks, more=grid | beside)
    polarity = known["polarity_known"] if known["polarity_known"] is not None else attrs.get("polarity_known")
    if polarity is not None:
        bank["polarity_known"] = ("unit", np.full(n, np.asarray(polarity).astype(bool)))
    return check(bank)


def _dims(reader: Reader, attrs: dict[str, Any], shape: tuple[int, ...]) -> tuple[str, ...]:
    """Names of the axes of ``/rf``, as its attribute says or by their number."""
    usual = {3: "unit y x", 5: "unit channel lag y x" if reader.is_dataset("/lag") else ""}
    stated = attrs.get("dims") or usual.get(len(shape)) or "unit channel y x"
    dims = " ".join(map(str, stated) if isinstance(stated, list) else [str(stated)]).replace(",", " ").split()
    if len(dims) != len(shape) or not {"unit", "y", "x"} <= set(dims) <= set(_ORDER) or len(set(dims)) != len(dims):
        raise InputError(
            f"expected /rf in {reader.name} along unit, channel, y, x (its attribute dims names another order), got "
            f"the shape {shape} and dims {' '.join(dims)!r}"
        )
    return tuple(dims)


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


def _numbers(reader: Reader, name: str, size: int, along: str) -> Any:
    """The numbers at ``/name``, one for each along a dim; None where there are none."""
    if not reader.is_dataset(f"/{name}"):
        return None
    values = reader.values(f"/{name}")
    if values.dtype.kind not in "fiub":
        raise InputError(f"expected numbers in /{name} of {reader.name}, got {values.ravel()[:3].tolist()}")
    _fits(reader, name, values.size, size, along)
    return values.ravel()


def _fits(reader: Reader, name: str, got: int, size: int, along: str) -> None:
    if got != size:
        raise InputError(
            f"expected {size} values in /{name}, one value for each of the {size} {along}s of /rf; /{name} in "
            f"{reader.name} has the shape {reader.shape(f'/{name}')}"
        )


def _noise(reader: Reader, sizes: dict[str, int], channel: tuple[str, ...]) -> Any:
    """The noise's autocorrelation, its channels in the bank's order."""
    if not reader.is_dataset("/noise_acf"):
        return None
    values = reader.values("/noise_acf")
    wanted = (sizes["unit"], sizes["channel"])
    if values.ndim != 4 or values.shape[:2] != wanted:
        raise InputError(
            f"expected /noise_acf in {reader.name} along unit, channel, lag_y, lag_x, the first two {wanted}, got the "
            f"shape {values.shape}"
        )
    return values[:, channel_order(channel)[0]]


def _grid(reader: Reader, attrs: dict[str, Any], sizes: dict[str, int]) -> tuple[dict[str, Any], str]:
    """Coordinates and their units, or the scale alone; and whether rows begin "up" or "down"."""
    rows, scale = str(attrs.get("rows", "up")), _scale(attrs.get("deg_per_px"))
    grid = {name: _numbers(reader, name, sizes[name], "pixel") for name in ("x", "y") if reader.is_dataset(f"/{name}")}
    if not grid:
        return {"deg_per_px": scale}, rows
    if len(grid) == 1:
        raise InputError(
            f"expected both /x and /y in {reader.name}, or neither and the attribute deg_per_px, got only /{min(grid)}"
        )
    if grid["y"].size > 1:  # a y that descends says by itself that row 0 is the top
        descends = bool(grid["y"][0] > grid["y"][-1])
        if rows == "down" and not descends:
            raise InputError(
                f"expected /y in {reader.name} to descend where the attribute rows is 'down' (y points up), it runs "
                f"from {grid['y'][0]:g} to {grid['y'][-1]:g}; leave rows out or turn /y"
            )
        rows = "down" if descends else rows
    units = _units(reader, attrs)
    if scale is not None:
        grid, units = _scaled(reader, grid, units, scale), "degree"
    return {**grid, "units": units}, rows


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


def _units(reader: Reader, attrs: dict[str, Any]) -> str:
    """Units of the coordinates as the file states them; degrees and pixels look alike, so they are never guessed."""
    stated = {str(reader.attrs(f"/{name}").get("units", "")) for name in ("x", "y")} | {str(attrs.get("units", ""))}
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


def _scale(value: Any) -> Any:
    """deg_per_px as a number, two numbers, or JSON text of them."""
    if value is None:
        return None
    try:
        pair = np.broadcast_to(np.asarray(json.loads(value) if isinstance(value, str) else value, float), (2,))
    except (ValueError, TypeError):
        raise InputError(f"expected the attribute deg_per_px to be a number or [x, y], got {value!r}") from None
    return tuple(float(item) for item in pair)
