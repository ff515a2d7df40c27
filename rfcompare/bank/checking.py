"""Every fault of any of the four Datasets, at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank.attributes import Array
from rfcompare.bank.results import Results
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import SCHEMAS, Schema, kinds

CHANNELS: tuple[tuple[str, ...], ...] = (("signed",), ("on", "off"), ("r", "g", "b"), ("luminance",))
"""The channel sets that a bank may have."""

GRID_TOLERANCE = 1e-3
"""Coordinates may be off a uniform centered grid by this share of a pixel (files in float32 round their degrees)."""

DEAD, LIVELY = 1e-5, 0.1
"""A unit is dead whose norm is below the first of the layer's median norm. Where a larger share of the units than the
second is that far above the median, most are dead, and the level is the median of the others."""

_BLOCK = 1 << 22
"""Values of a bank that are looked at at a time."""

_LARGEST = 1e70
"""Largest value of a usable map, and the inverse of the smallest: the fourth powers of both are still numbers."""

_WRITTEN_AS_JSON = ("selection", "space", "score", "nulls", "common_scale")
"""Attributes that rfcompare writes and reads as JSON, where a Dataset has them."""

_MAX_FAULTS = 12
"""How many faults one message lists before it only counts the rest."""


@named_strictly
def check(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` when it meets its schema, or raise with all its faults at once.

    Parameters
    ----------
    dataset : xarray.Dataset
        A bank, fits, descriptors or results; ``attrs["schema"]`` says which.

    Returns
    -------
    xarray.Dataset
        The same; results as `rfcompare.bank.Results`, which show their answer.

    Raises
    ------
    InputError
        One sentence that lists every fault with what was expected, what came, and the unit's name.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> rfc.check(bank) is bank
    True
    >>> rfc.check(bank.drop_vars("subject").assign_attrs(units="mm"))
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: this bank has 2 faults: expected coordinate 'subject', got none; expected units 'px' or
    'degree', got 'mm'; mend them and check again
    """
    if not isinstance(dataset, xr.Dataset):
        raise InputError(
            f"expected an xarray Dataset, got {type(dataset).__name__}; build one with make_bank or load it"
        )
    word, schema = _schema(dataset)
    faults = _structure_faults(dataset, schema)
    if word == "bank" and not faults:
        faults += _bank_faults(dataset)
    if faults:
        listed = faults[:_MAX_FAULTS] + ([f"and {len(faults) - _MAX_FAULTS} more"] if len(faults) > _MAX_FAULTS else [])
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(
            f"this {word} has {count}: {'; '.join(listed)}; mend {'it' if len(faults) == 1 else 'them'} and check again"
        )
    if word == "results" and not isinstance(dataset, Results):
        return Results(dataset.data_vars, dataset.coords, dataset.attrs)
    return dataset


def _schema(dataset: xr.Dataset) -> tuple[str, Schema]:
    name = dataset.attrs.get("schema")
    for word, schema in SCHEMAS.items():
        if schema.name == name:
            return word, schema
    known = ", ".join(schema.name for schema in SCHEMAS.values())
    raise InputError(
        f"expected attrs['schema'] to be one of {known}, got {name!r}; build the Dataset with rfcompare or set it"
    )


def _structure_faults(dataset: xr.Dataset, schema: Schema) -> list[str]:
    faults = [
        f"expected dimension {name!r}, got {tuple(dataset.dims)}" for name in schema.dims if name not in dataset.dims
    ]
    for name, allowed in {**schema.variables, **schema.optional}.items():
        if name not in dataset:
            if name in schema.variables:
                faults.append(f"expected variable {name!r}, got {sorted(map(str, dataset.data_vars))}")
        elif dataset[name].dims not in allowed:
            faults.append(f"expected {name} along {' or '.join(map(str, allowed))}, got {dataset[name].dims}")
    faults += [f"expected coordinate {name!r}, got none" for name in schema.coords if name not in dataset.coords]
    faults += [f"expected attribute {name!r}, got none" for name in schema.attrs if name not in dataset.attrs]
    kind = dataset.attrs.get("kind")
    if "kind" in schema.attrs and kind is not None and kind not in kinds:
        faults.append(f"expected kind to be one of {', '.join(kinds)}, got {kind!r}")
    if "units" in schema.attrs and dataset.attrs.get("units", "px") not in ("px", "degree"):
        faults.append(f"expected units 'px' or 'degree', got {dataset.attrs['units']!r}")
    for name, value in dataset.attrs.items():
        if not isinstance(value, str | int | float):
            faults.append(f"expected attribute {name!r} to be text or a number, got {type(value).__name__}")
        elif name in _WRITTEN_AS_JSON and not _is_json(value):
            faults.append(f"expected attribute {name!r} to be JSON, got {str(value)[:80]!r}")
    for dim in schema.dims:
        if dim in dataset.dims and dataset.sizes[dim] == 0 and dim != "quantity":
            faults.append(f"expected at least one {dim}, got none")
    if "unit" in dataset.coords and dataset.coords["unit"].ndim == 1:
        counts = Counter(map(str, dataset.coords["unit"].values))
        faults += [
            f"expected unique unit names, got {name!r} {'twice' if count == 2 else f'{count} times'}"
            for name, count in sorted(item for item in counts.items() if item[1] > 1)
        ]
    return faults


def _is_json(value: Any) -> bool:
    try:
        json.loads(str(value) or "{}")
    except (ValueError, RecursionError):
        return False
    return True


def _bank_faults(bank: xr.Dataset) -> list[str]:
    faults: list[str] = []
    channel = tuple(str(name) for name in bank.coords["channel"].values)
    if channel not in CHANNELS:
        faults.append(f"expected channel to be one of {', '.join(map(str, CHANNELS))}, got {channel}")
    if bank.rf.dtype not in (np.float32, np.float64):
        faults.append(f"expected rf in float32 or float64, got {bank.rf.dtype}")
    for name in ("x", "y"):
        faults += _grid_faults(name, bank.coords[name].values)
        if bank.coords[name].attrs.get("units") != bank.attrs["units"]:
            faults.append(
                f"expected {name} in {bank.attrs['units']}, got units {bank.coords[name].attrs.get('units')!r}"
            )
    if bank.attrs["kind"] == "measured" and not bank.attrs.get("stimulus"):
        faults.append("expected a stimulus for a measured bank, got none")
    # Values are looked at only when they are in memory: a lazy bank is checked where it is computed.
    if not faults and bank.rf.chunks is None:
        problems = bad_units(bank)
        if all(problems) and "dead" not in bank:  # a part that was judged with its whole may have none
            words = sorted(set(problems))
            faults.append(f"expected at least one usable unit, got {len(problems)} that are {' or '.join(words)}")
        faults += _range_faults(bank)
    if "noise_sd" in bank and bank.noise_sd.chunks is None:
        for name, value in zip(bank.unit.values, bank.noise_sd.values, strict=True):
            if value < 0:
                faults.append(f"expected noise_sd of unit {str(name)!r} to be at least 0, got {value:g}")
    return faults


def _range_faults(bank: xr.Dataset) -> list[str]:
    """Faults of units whose squares of squares a computer cannot hold; what is 0 everywhere is flat, not small."""
    if bank.rf.dtype == np.float32:  # holds none
        return []
    size = np.fmax.reduce(np.abs(bank.rf.values.reshape(bank.sizes["unit"], -1)), axis=1)
    beyond = np.flatnonzero(np.isfinite(size) & (size > 0) & ((size < 1 / _LARGEST) | (size > _LARGEST)))
    if not beyond.size:
        return []
    more = f" and beyond in {beyond.size - 1} more" if beyond.size > 1 else ""
    return [
        f"expected values between {1 / _LARGEST:.0e} and {_LARGEST:.0e}, got {size[beyond[0]]:.3g} at most in unit "
        f"{str(bank.unit.values[beyond[0]])!r}{more} (give the maps in other units)"
    ]


def _grid_faults(name: str, grid: npt.NDArray[Any]) -> list[str]:
    if not np.issubdtype(grid.dtype, np.number) or not np.isfinite(grid).all():
        return [f"expected {name} to be finite numbers, got {grid.dtype}"]
    if grid.size < 2:
        return [f"expected at least 2 pixels along {name}, got {grid.size}"]
    steps = np.diff(grid.astype(float))
    pixel = (grid[-1] - grid[0]) / (grid.size - 1)
    if pixel <= 0:
        return [f"expected {name} ascending, got {grid[0]:g} to {grid[-1]:g}"]
    if np.abs(steps - pixel).max() > GRID_TOLERANCE * pixel:
        return [f"expected {name} uniform, got steps from {steps.min():g} to {steps.max():g}"]
    if abs(grid[0] + grid[-1]) / 2 > GRID_TOLERANCE * pixel:
        return [f"expected {name} centered on 0, got a middle of {(grid[0] + grid[-1]) / 2:g}"]
    return []


def bad_units(bank: xr.Dataset) -> list[str]:
    """Why each unit's map cannot be used: "" where it can.

    Returns
    -------
    list of str
        One of "", "not measured" (all NaN), "not finite" (infinite values), "dead" (see `dead_units`) or "flat" (no
        variation in any channel).

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(4, 1, 4, 4)); maps[1] = 1; maps[2] = np.nan; maps[3] *= 1e-7
    >>> rfc.bank.bad_units(rfc.make_bank(maps, channel=("signed",), kind="learned"))
    ['', 'flat', 'not measured', 'dead']
    """
    words = [word for data in _blocks(bank) for word in _problems(data)]
    return [
        "dead" if dead and word in ("", "flat") else word for word, dead in zip(words, dead_units(bank), strict=True)
    ]


def dead_units(dataset: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Which units are dead: the norm of their map is below `DEAD` of the median norm of their layer.

    Where a part of a layer is looked at, its variable ``dead`` or ``status`` tells what was found of the whole.

    Parameters
    ----------
    dataset : xarray.Dataset
        A bank, fits or descriptors.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(3, 1, 4, 4)); maps[1] *= 1e-7
    >>> rfc.bank.dead_units(rfc.make_bank(maps, channel=("signed",), kind="learned")).tolist()
    [False, True, False]
    """
    if "dead" in dataset:
        return np.asarray(dataset["dead"].values, dtype=np.bool_)
    if "status" in dataset or "rf" not in dataset:
        words = dataset["status"].values if "status" in dataset else np.full(dataset.sizes["unit"], "")
        return np.asarray(words.reshape(dataset.sizes["unit"], -1)[:, 0] == "dead")
    norms = map_norms(dataset)
    return np.asarray(norms < dead_below(norms))


def dead_below(norms: npt.NDArray[np.float64]) -> float:
    """The norm below which a unit of a layer with these norms is dead; 0 where no unit has any."""
    seen = norms[np.isfinite(norms) & (norms > 0)]
    if not seen.size:
        return 0.0
    level = np.median(seen)
    # Where most of a layer is dead, the median is a dead unit's, and a good part of the units is far above it.
    above = seen[seen > level / DEAD]
    if above.size > LIVELY * seen.size:
        level = np.median(above)
    return float(DEAD * level)


def count_alive(dataset: xr.Dataset) -> str:
    """How many units there are, and of how many some are alive.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(3, 1, 4, 4))
    >>> maps[1] *= 1e-7
    >>> rfc.bank.count_alive(rfc.make_bank(maps, channel=("signed",), kind="learned"))
    '2 alive of 3'
    """
    total, dead = dataset.sizes["unit"], int(dead_units(dataset).sum())
    return f"{total - dead} alive of {total}" if dead else str(total)


def _blocks(bank: xr.Dataset) -> Iterator[npt.NDArray[Any]]:
    """The maps, as many units at a time as `_BLOCK` values hold."""
    rows = max(1, _BLOCK * bank.sizes["unit"] // max(1, bank.rf.size))
    for first in range(0, bank.sizes["unit"], rows):
        yield np.asarray(bank.rf.isel(unit=slice(first, first + rows)).transpose("unit", ...).values)


def map_norms(bank: xr.Dataset) -> npt.NDArray[np.float64]:
    """Root of the sum of squares (unit,) of each unit's measured values; NaN where there are none."""
    return np.concatenate([_norms(data) for data in _blocks(bank)])


def _norms(data: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    rows = data.reshape(len(data), -1)
    gaps = np.isnan(rows)
    filled = np.where(gaps, 0.0, rows) if gaps.any() else rows
    with np.errstate(over="ignore"):
        norms = np.sqrt(np.einsum("ni,ni->n", filled, filled, dtype=np.float64))
    return np.where(gaps.all(axis=1), np.nan, norms)


def _problems(data: npt.NDArray[Any]) -> list[str]:
    if np.isfinite(data.min(initial=0)) and np.isfinite(data.max(initial=0)):
        varies = np.not_equal(data, data[..., :1, :1]).reshape(data.shape[0], -1).any(1)
        return ["" if some else "flat" for some in varies]
    values = data.reshape(data.shape[0], -1)
    measured = ~np.isnan(values)
    infinite = np.isinf(values).any(1)
    maps = data.reshape(*data.shape[:2], -1)
    high = np.where(np.isnan(maps), -np.inf, maps).max(-1)
    low = np.where(np.isnan(maps), np.inf, maps).min(-1)
    flat = (high <= low).all(1)
    return [
        "not measured" if not some else "not finite" if inf else "flat" if same else ""
        for some, inf, same in zip(measured.any(1), infinite, flat, strict=True)
    ]


def without_lags(bank: xr.Dataset) -> None:
    """Refuse a bank of which no lag was chosen yet."""
    if "lag" in bank.dims:
        raise InputError(
            "expected a bank without lags, got a lag dimension; choose one first, as in rfc.bank.at_lag(bank, 'peak') "
            "(--lag peak)"
        )


def pitch(dataset: xr.Dataset) -> tuple[float, float]:
    """Pixel size (dx, dy) in the Dataset's units.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(4)[None, None], channel=("signed",), kind="analytic", deg_per_px=(2, 3))
    >>> rfc.bank.pitch(bank)
    (2.0, 3.0)
    """
    x, y = dataset.x.values, dataset.y.values
    return float(x[-1] - x[0]) / (x.size - 1), float(y[-1] - y[0]) / (y.size - 1)


def signed_maps(values: xr.DataArray) -> Array:
    """Maps (…, unit, y, x) of the only channel of a signed bank's ``rf`` or ``rf_half``.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> signed_maps(rfc.make_bank(np.eye(2)[None, None], channel=("signed",), kind="analytic").rf)
    array([[[1., 0.],
            [0., 1.]]])
    """
    return np.asarray(values.isel(channel=0).transpose(..., "unit", "y", "x").values.astype(np.float64))
