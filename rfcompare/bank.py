"""The bank: many receptive-field maps on one grid, as a checked `xarray.Dataset`.

`make_bank` builds one, `check` lists every fault of any of the four Datasets at once, `save` and `load` keep them as
netCDF4-compatible HDF5, `to_signed` reduces ON/OFF pairs and color kernels to one signed map a unit, and `select` keeps
units with a record of how many there were. The schema and the conventions are in `rfcompare.quantities`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.errors import InputError
from rfcompare.quantities import POLARITY_SHARE, REC601, SCHEMAS, Schema, kinds

CHANNELS: tuple[tuple[str, ...], ...] = (("signed",), ("on", "off"), ("r", "g", "b"), ("luminance",))
"""The channel sets that a bank may have."""

GRID_TOLERANCE = 1e-3
"""Coordinates may be off a uniform centered grid by this share of a pixel (files in float32 round their degrees)."""

MAX_FAULTS = 12
"""How many faults one message lists before it only counts the rest."""


# ---------------------------------------------------------------------------------------------------------------------
# Making


def make_bank(
    array: npt.ArrayLike | Any,
    *,
    channel: Sequence[str],
    kind: str,
    x: npt.ArrayLike | None = None,
    y: npt.ArrayLike | None = None,
    units: str = "px",
    deg_per_px: float | tuple[float, float] | None = None,
    subject: str | Sequence[str] | None = None,
    source: str | Sequence[str] | None = None,
    unit: Sequence[str] | None = None,
    rows: str = "up",
    lag: npt.ArrayLike | None = None,
    noise_sd: npt.ArrayLike | None = None,
    noise_acf: npt.ArrayLike | None = None,
    half: npt.ArrayLike | None = None,
    cortex_x: npt.ArrayLike | None = None,
    cortex_y: npt.ArrayLike | None = None,
    field_of_view: str | Sequence[str] | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Build a bank from an array of maps.

    Parameters
    ----------
    array : array (unit, channel, y, x) or (unit, channel, lag, y, x)
        The maps; NaN means *not measured*. A dask array stays lazy.
    channel : sequence of str
        ``("signed",)``, ``("on", "off")``, ``("r", "g", "b")`` or ``("luminance",)``.
    kind : str
        One of `rfcompare.quantities.kinds`.
    x, y : array, optional
        Pixel centers in `units`, uniform and ascending; they are centered and what was subtracted is kept as
        ``attrs["x_center"]`` and ``["y_center"]``. Default: pixel indices about the middle.
    units : {"px", "degree"}
        Units of `x` and `y`.
    deg_per_px : float or (x, y), optional
        Pixel size in degrees of visual angle; puts the grid in degrees. There is no default scale.
    subject, source, unit, field_of_view : str or sequence of str, optional
        Per-unit labels; one string stands for all units. Defaults: "unknown", "", "u000"…, absent.
    rows : {"up", "down"}
        Whether row 0 is the lowest y ("up"; nothing is flipped) or the top row of an image ("down").
    lag : array, optional
        Values of the lag dimension (s), when `array` has one.
    noise_sd : array (unit,), optional
        SD of the noise of one pixel of one channel.
    noise_acf : array (unit, channel, lag_y, lag_x), optional
        Autocorrelation of that noise over an odd number of pixel lags about 0.
    half : array (2, unit, channel, y, x), optional
        Maps from two independent halves of the recording.
    cortex_x, cortex_y : array (unit,), optional
        Position in cortex (µm).
    **attrs
        ``citation``, ``doi``, ``license``, ``stimulus`` (required when measured; a mapping or text), ``history``…

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-bank/1``.

    Raises
    ------
    InputError
        With every fault of the bank at once.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.arange(18.0).reshape(2, 1, 3, 3)
    >>> bank = rfc.make_bank(maps, channel=("signed",), kind="analytic", unit=["a", "b"])
    >>> float(bank.rf.sel(unit="a", channel="signed", y=-1, x=1))   # row 0 is the lowest y
    2.0
    >>> rfc.make_bank(maps, channel=("on", "off"), kind="analytic")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected 2 channels ('on', 'off') along axis 1, got an array of shape ...
    """
    channel = (channel,) if isinstance(channel, str) else tuple(channel)
    data: Any = array if hasattr(array, "dask") else np.asarray(array)
    if data.ndim not in (4, 5):
        raise InputError(
            f"expected an array (unit, channel, y, x) or (unit, channel, lag, y, x), got {data.ndim} dimensions of shape "
            f"{tuple(data.shape)}; add the missing axis, for one channel array[:, None]"
        )
    if data.shape[1] != len(channel):
        raise InputError(
            f"expected {len(channel)} channels {channel} along axis 1, got an array of shape {tuple(data.shape)}; "
            "name the channels that the array has"
        )
    if not np.issubdtype(data.dtype, np.number) or np.issubdtype(data.dtype, np.complexfloating):
        raise InputError(f"expected real numbers, got an array of {data.dtype}; convert it to float")
    if data.dtype not in (np.float32, np.float64):
        data = data.astype(np.float64)
    if rows not in ("up", "down"):
        raise InputError(f"expected rows='up' or rows='down', got {rows!r}; row 0 of an image is its top: rows='down'")
    n, height, width = data.shape[0], data.shape[-2], data.shape[-1]
    dims: tuple[str, ...] = ("unit", "channel", "y", "x") if data.ndim == 4 else ("unit", "channel", "lag", "y", "x")
    upward = (slice(None),) * (data.ndim - 2) + (slice(None, None, -1), slice(None))
    if rows == "down":
        data = data[upward]
        y = None if y is None else np.asarray(y, float)[::-1]
    if deg_per_px is not None:
        if x is not None or y is not None:
            raise InputError("expected either deg_per_px or coordinates x and y, got both; leave one out")
        scale_x, scale_y = np.broadcast_to(np.asarray(deg_per_px, float), (2,))
        if not (np.isfinite([scale_x, scale_y]).all() and min(scale_x, scale_y) > 0):
            raise InputError(
                f"expected deg_per_px to be positive, got {deg_per_px}; give degrees of visual angle per pixel"
            )
        units = "degree"
    else:
        scale_x = scale_y = 1.0
    grid_x = scale_x * (np.arange(width) - (width - 1) / 2) if x is None else np.asarray(x, float)
    grid_y = scale_y * (np.arange(height) - (height - 1) / 2) if y is None else np.asarray(y, float)
    attributes = {"schema": SCHEMAS["bank"].name, "kind": kind, "units": units, **_attributes(attrs)}
    for name, grid in (("x_center", grid_x), ("y_center", grid_y)):
        if grid.ndim == 1 and grid.size and np.isfinite(grid).all():
            middle = (grid[0] + grid[-1]) / 2
            grid -= middle
            if middle != 0:
                attributes[name] = float(middle)
    if kind == "measured" and not attributes.get("stimulus"):
        raise InputError(
            "expected a stimulus for a measured bank, got none; pass stimulus={'class': 'sparse noise', 'element_deg': 2.0} "
            "or stimulus='unknown'"
        )
    names = [f"u{i:0{max(3, len(str(n - 1)))}d}" for i in range(n)] if unit is None else unit
    bank = xr.Dataset(
        {"rf": (dims, data)},
        coords={
            "unit": ("unit", _text(names, n, "unit")),
            "channel": ("channel", np.array(channel, dtype=object)),
            "y": ("y", grid_y, {"units": units}),
            "x": ("x", grid_x, {"units": units}),
            "subject": ("unit", _text("unknown" if subject is None else subject, n, "subject")),
            "source": ("unit", _text("" if source is None else source, n, "source")),
        },
        attrs=attributes,
    )
    if data.ndim == 5:
        bank = bank.assign_coords(
            lag=("lag", np.arange(data.shape[2], dtype=float) if lag is None else np.asarray(lag, float))
        )
    for name, values in (("cortex_x", cortex_x), ("cortex_y", cortex_y)):
        if values is not None:
            bank = bank.assign_coords({name: ("unit", np.asarray(values, float), {"units": "µm"})})
    if field_of_view is not None:
        bank = bank.assign_coords(field_of_view=("unit", _text(field_of_view, n, "field_of_view")))
    if noise_sd is not None:
        bank["noise_sd"] = ("unit", np.broadcast_to(np.asarray(noise_sd, float), (n,)).copy())
    if noise_acf is not None:
        acf = np.asarray(noise_acf, float)
        if acf.ndim != 4 or any(size % 2 == 0 for size in acf.shape[-2:]):
            raise InputError(
                f"expected noise_acf (unit, channel, lag_y, lag_x) over odd numbers of lags, got shape {acf.shape}; "
                "center it on lag 0"
            )
        acf = acf[:, :, ::-1] if rows == "down" else acf
        lags = {
            name: np.arange(size, dtype=float) - size // 2
            for name, size in zip(("lag_y", "lag_x"), acf.shape[2:], strict=True)
        }
        bank["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), acf)
        bank = bank.assign_coords({name: (name, values) for name, values in lags.items()})
    if half is not None:
        halves: Any = half if hasattr(half, "dask") else np.asarray(half)
        if halves.shape != (2, *data.shape):
            raise InputError(
                f"expected half of shape {(2, *data.shape)}, got {tuple(halves.shape)}; give two maps for every map"
            )
        halves = halves[(slice(None), *upward)] if rows == "down" else halves
        bank["rf_half"] = (("half", *dims), halves.astype(data.dtype, copy=False))
    return check(bank)


def _attributes(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Attributes as netCDF can hold them: text, numbers, or JSON text of anything else; None is left out."""
    result: dict[str, str | int | float] = {}
    for name, value in attrs.items():
        if value is None:
            continue
        if isinstance(value, bool | np.bool_):
            result[name] = int(value)
        elif isinstance(value, str | int | float):
            result[name] = value
        elif isinstance(value, np.number):
            result[name] = value.item()
        else:
            try:
                result[name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
            except TypeError:
                raise InputError(
                    f"expected attribute {name!r} to be text, a number or JSON, got {type(value).__name__}; convert it"
                ) from None
    return result


def _text(values: str | Sequence[str] | npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.object_]:
    if isinstance(values, str):
        return np.full(n, values, dtype=object)
    items = [
        "" if value is None or value != value else str(value) for value in np.asarray(values, dtype=object).ravel()
    ]
    if len(items) != n:
        raise InputError(f"expected {n} values of {name}, one for every unit, got {len(items)}; give one string or {n}")
    return np.array(items, dtype=object)


# ---------------------------------------------------------------------------------------------------------------------
# Checking


def check(dataset: xr.Dataset) -> xr.Dataset:
    """Return `dataset` when it meets its schema, or raise with all its faults at once.

    Parameters
    ----------
    dataset : xarray.Dataset
        A bank, fits, descriptors or results; ``attrs["schema"]`` says which.

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
        listed = faults[:MAX_FAULTS] + ([f"and {len(faults) - MAX_FAULTS} more"] if len(faults) > MAX_FAULTS else [])
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(
            f"this {word} has {count}: {'; '.join(listed)}; mend {'it' if len(faults) == 1 else 'them'} and check again"
        )
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
    for dim in schema.dims:
        if dim in dataset.dims and dataset.sizes[dim] == 0 and dim != "quantity":
            faults.append(f"expected at least one {dim}, got none")
    if "unit" in dataset.coords and dataset.coords["unit"].ndim == 1:
        names, counts = np.unique([str(name) for name in dataset.coords["unit"].values], return_counts=True)
        faults += [
            f"expected unique unit names, got {str(name)!r} {'twice' if count == 2 else f'{count} times'}"
            for name, count in zip(names, counts, strict=True)
            if count > 1
        ]
    return faults


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
        if all(problems):
            words = sorted(set(problems))
            faults.append(f"expected at least one usable unit, got {len(problems)} that are {' or '.join(words)}")
    if "noise_sd" in bank and bank.noise_sd.chunks is None:
        for name, value in zip(bank.unit.values, bank.noise_sd.values, strict=True):
            if value < 0:
                faults.append(f"expected noise_sd of unit {str(name)!r} to be at least 0, got {value:g}")
    return faults


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
        One of "", "not measured" (all NaN), "not finite" (infinite values) or "flat" (no variation in any channel).

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(3, 1, 4, 4)); maps[1] = 0; maps[2] = np.nan
    >>> rfc.bank.bad_units(rfc.make_bank(maps, channel=("signed",), kind="simulated"))
    ['', 'flat', 'not measured']
    """
    data = np.asarray(bank.rf.values)
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


# ---------------------------------------------------------------------------------------------------------------------
# Keeping


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place only when the block ends well.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise InputError(
            f"expected a folder to write in, got {str(target.parent)!r}, which does not exist; create it first"
        )
    if target.is_dir():
        raise InputError(f"expected a file to write, got the folder {str(target)!r}; name a file in it")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"expected to write {str(target)!r}, got {error.strerror or error}; choose another place"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def save(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Write a checked Dataset as netCDF4-compatible HDF5, beside its place and then renamed.

    Parameters
    ----------
    dataset : xarray.Dataset
        Any of the four schemas.
    path : path
        Usually ending in ``.nc`` or ``.h5``; plain ``xarray.open_dataset`` reads it too.

    Raises
    ------
    InputError
        When the Dataset has faults or the file cannot be written.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc, tempfile, pathlib
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rfc.save(bank, pathlib.Path(folder) / "bank.nc")
    ...     rfc.load(pathlib.Path(folder) / "bank.nc").identical(bank)
    True
    """
    plain = check(dataset).copy()
    encoding: dict[Hashable, dict[str, Any]] = {}
    for name, variable in plain.variables.items():
        variable.encoding = {}
        if variable.dtype.kind in "OU":
            plain[name] = (variable.dims, np.vectorize(str, otypes=[object])(variable.values), variable.attrs)
        elif variable.dtype.kind == "f":
            encoding[name] = {"_FillValue": None}
            if variable.ndim > 1:
                encoding[name] |= {"zlib": True, "complevel": 4, "shuffle": True}
    with write_beside(path) as part:
        plain.to_netcdf(part, engine="h5netcdf", encoding=encoding)


def load(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a Dataset that `save` wrote, whole, and check it.

    Raises
    ------
    InputError
        When the file is missing, is not one of rfcompare's, or has faults.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> rfc.load("nowhere.nc")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a file, got 'nowhere.nc', which does not exist; check the path
    """
    file = existing_file(path)
    try:
        dataset = xr.load_dataset(file, engine="h5netcdf")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"expected an HDF5 file written by rfcompare, got {str(file)!r}, which cannot be read ({_first_line(error)}); "
            "`rfcompare inspect` shows what a file holds"
        ) from error
    dataset = canonical(dataset)
    if "schema" not in dataset.attrs:
        raise InputError(
            f"expected a file written by rfcompare, got {str(file)!r} without a schema; open recordings with open_fields"
        )
    return check(dataset)


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """The Dataset as rfcompare builds it: text as Python strings, attributes as Python numbers, no encoding."""
    plain = dataset.copy()
    for name in plain.variables:
        variable = plain.variables[name]
        if variable.dtype.kind in "OUST":
            text = [value.decode() if isinstance(value, bytes) else str(value) for value in variable.values.ravel()]
            plain[name] = (variable.dims, np.array(text, dtype=object).reshape(variable.shape), variable.attrs)
        plain[name].encoding = {}
    plain.encoding = {}
    plain.attrs = {
        name: value.item() if isinstance(value, np.generic) else value.decode() if isinstance(value, bytes) else value
        for name, value in plain.attrs.items()
    }
    return plain


def existing_file(path: str | os.PathLike[str]) -> Path:
    """`path` when it is a file that can be read.

    Raises
    ------
    InputError
        When it does not exist, is a folder, is empty or is not readable.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise InputError(f"expected a file, got {str(path)!r}, which does not exist; check the path")
    if file.is_dir():
        raise InputError(f"expected a file, got the folder {str(path)!r}; name a file in it")
    if not os.access(file, os.R_OK):
        raise InputError(f"expected a readable file, got {str(path)!r} without read permission; change its permissions")
    if file.stat().st_size == 0:
        raise InputError(f"expected data, got {str(path)!r}, which is empty; copy or download it again")
    return file


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


# ---------------------------------------------------------------------------------------------------------------------
# Reducing and choosing


def to_signed(bank: xr.Dataset) -> xr.Dataset:
    """Reduce every unit to one signed map.

    ``on, off`` becomes ON − OFF after each channel's baseline (its median over the map) is subtracted, on one common scale:
    normalizing each channel would erase OFF dominance. ``r, g, b`` becomes the first singular component of the unit's
    (channel × pixel) matrix times its singular value, signed so that the color direction's Rec. 601 luminance is ≥ 0.
    ``signed`` and ``luminance`` pass.

    Parameters
    ----------
    bank : xarray.Dataset
        A bank without a lag dimension.

    Returns
    -------
    xarray.Dataset
        A bank with channel ``signed``. From ON/OFF: ``discarded`` = 1 − Σ(ON−OFF)²/Σ(ON²+OFF²), the energy that the
        difference loses, and ``overlap`` = Σ min(ON⁺, OFF⁺)/Σ max(ON⁺, OFF⁺). From color: ``color_direction(unit, color)``
        (unit length), ``rank_one_share`` (energy of the first component over all), ``luminance_share`` (squared cosine
        between the color direction and Rec. 601 luminance) and ``polarity_known`` (luminance share ≥ 0.1).

    Raises
    ------
    InputError
        When the bank has a lag dimension.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> on = np.zeros((3, 3)); on[1, 1] = 2.0
    >>> off = np.zeros((3, 3)); off[1, 2] = 1.0
    >>> signed = rfc.to_signed(rfc.make_bank([[on, off]], channel=("on", "off"), kind="analytic"))
    >>> signed.rf.values[0, 0, 1]
    array([ 0.,  2., -1.])
    >>> float(signed.discarded[0]), float(signed.overlap[0])
    (0.0, 0.0)
    """
    check(bank)
    if "lag" in bank.dims:
        raise InputError(
            "expected a bank without lags, got a lag dimension; choose one first, as in bank.isel(lag=3, drop=True)"
        )
    channel = tuple(str(name) for name in bank.channel.values)
    if channel in (("signed",), ("luminance",)):
        return bank
    others = bank.drop_vars(
        [name for name in ("rf", "rf_half", "noise_sd", "noise_acf", "channel") if name in bank.variables]
    )
    if channel == ("on", "off"):
        signed, extra = _on_minus_off(bank)
        how = "ON − OFF, each channel's median subtracted"
    else:
        signed, extra = _first_color_component(bank)
        how = "first singular component of (channel × pixel)"
    result = others.assign(signed).assign(extra).assign_coords(channel=("channel", np.array(["signed"], dtype=object)))
    return check(add_history(result, f"to_signed: {how}"))


def _on_minus_off(bank: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    dims = ("unit", "channel", "y", "x")
    rf = bank.rf.values
    centered = rf - _median(rf)
    on, off = centered[:, 0], centered[:, 1]
    difference = on - off
    energy = np.nansum(on**2 + off**2, axis=(1, 2))
    shared = np.nansum(np.minimum(on.clip(0), off.clip(0)), axis=(1, 2))
    either = np.nansum(np.maximum(on.clip(0), off.clip(0)), axis=(1, 2))
    variables: dict[str, Any] = {"rf": (dims, difference[:, None])}
    if "rf_half" in bank:
        halves = bank.rf_half.values
        halves = halves - _median(halves)
        variables["rf_half"] = (("half", *dims), (halves[:, :, 0] - halves[:, :, 1])[:, :, None])
    if "noise_sd" in bank:  # two independent channels of one noise each
        variables["noise_sd"] = ("unit", np.sqrt(2.0) * bank.noise_sd.values)
    if "noise_acf" in bank:
        variables["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), bank.noise_acf.values.mean(1, keepdims=True))
    extra = {
        "discarded": ("unit", _ratio(energy - np.nansum(difference**2, axis=(1, 2)), energy)),
        "overlap": ("unit", _ratio(shared, either)),
    }
    return variables, extra


def _first_color_component(bank: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    dims = ("unit", "channel", "y", "x")
    rf = bank.rf.values.astype(float)
    n, _, height, width = rf.shape
    matrix = rf.reshape(n, 3, -1)
    # A pixel that one channel lacks has no color; an infinite map is kept out and reported by its status later.
    usable = np.isfinite(matrix).all(1, keepdims=True)
    filled = np.where(usable, matrix, 0.0)
    directions, values, _ = np.linalg.svd(filled, full_matrices=False)
    direction = directions[:, :, 0]
    luminance = direction @ np.array(REC601)
    # An equiluminant direction has no luminance to be signed by; its largest component is then made positive, so that the
    # sign, though arbitrary, is repeatable.
    largest = np.take_along_axis(direction, np.abs(direction).argmax(1)[:, None], 1)[:, 0]
    sign = np.where(np.abs(luminance) > 1e-12, np.sign(luminance), np.sign(largest))
    direction = direction * sign[:, None]
    profile = np.einsum("uc,ucp->up", direction, filled)
    profile[~usable[:, 0]] = np.nan
    infinite = np.isinf(matrix).any((1, 2))
    profile[infinite] = np.inf
    variables: dict[str, Any] = {"rf": (dims, profile.reshape(n, 1, height, width).astype(bank.rf.dtype))}
    if "rf_half" in bank:
        halves = np.einsum("uc,hucyx->huyx", direction, bank.rf_half.values)
        variables["rf_half"] = (("half", *dims), halves[:, :, None].astype(bank.rf.dtype))
    if "noise_sd" in bank:  # a unit-length projection keeps the SD of independent channels
        variables["noise_sd"] = ("unit", bank.noise_sd.values)
    if "noise_acf" in bank:
        acf = np.einsum("uc,ucij->uij", direction**2, bank.noise_acf.values)
        variables["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), acf[:, None])
    share = luminance**2 / np.square(REC601).sum()
    extra = {
        "color_direction": (("unit", "color"), direction),
        "color": ("color", np.array(["r", "g", "b"], dtype=object)),
        "rank_one_share": ("unit", _ratio(values[:, 0] ** 2, (values**2).sum(1))),
        "luminance_share": ("unit", share),
        "polarity_known": ("unit", share >= POLARITY_SHARE),
    }
    return variables, extra


def _median(maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Median over each map's measured pixels, 0 where there are none (a NaN median would warn and spread)."""
    finite = np.isfinite(maps).any((-2, -1), keepdims=True)
    return np.nanmedian(np.where(finite, maps, 0.0), axis=(-2, -1), keepdims=True).astype(maps.dtype)


def _ratio(top: npt.NDArray[Any], bottom: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def select(dataset: xr.Dataset, *, r2: float | None = None, status: str | None = None, **equal: str) -> xr.Dataset:
    """Keep the units that meet a condition, and record how many there were.

    Parameters
    ----------
    dataset : xarray.Dataset
        A bank, fits or descriptors.
    r2 : float, optional
        Keep units whose every ``r2`` is at least this.
    status : str, optional
        Keep units whose ``status`` contains this text.
    **equal
        Keep units whose coordinate or variable equals the text, as in ``subject="F1"``.

    Returns
    -------
    xarray.Dataset
        With one more entry in ``attrs["selection"]`` (JSON): the condition, n before and n after.

    Raises
    ------
    InputError
        When nothing is left or the variable is absent.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(4, 1, 5, 5))
    >>> bank = rfc.make_bank(maps, channel=("signed",), kind="simulated", subject=["A", "A", "B", "B"])
    >>> kept = rfc.select(bank, subject="B")
    >>> kept.sizes["unit"], kept.attrs["selection"]
    (2, '[{"after": 2, "before": 4, "condition": "subject = B"}]')
    """
    check(dataset)
    conditions: dict[str, npt.NDArray[np.bool_]] = {}
    if r2 is not None:
        values = _variable(dataset, "r2").values.reshape(dataset.sizes["unit"], -1)
        conditions[f"r2 >= {r2:g}"] = (values >= r2).all(1)
    if status is not None:
        words = _variable(dataset, "status").values.reshape(dataset.sizes["unit"], -1)
        conditions[f"status has {status!r}"] = np.array([any(status in str(word) for word in row) for row in words])
    for name, value in equal.items():
        conditions[f"{name} = {value}"] = np.array(
            [str(item) == str(value) for item in _variable(dataset, name).values]
        )
    if not conditions:
        raise InputError(
            "expected a condition, got none; give r2=0.7, status='converged' or a coordinate such as subject='A'"
        )
    kept, log = dataset, json.loads(str(dataset.attrs.get("selection", "[]")))
    keep = np.ones(dataset.sizes["unit"], bool)
    for condition, meets in conditions.items():
        before, keep = int(keep.sum()), keep & meets
        log.append({"condition": condition, "before": before, "after": int(keep.sum())})
    if not keep.any():
        raise InputError(
            f"expected units that meet {' and '.join(conditions)}, got none of {keep.size}; loosen the condition"
        )
    kept = dataset.isel(unit=np.flatnonzero(keep))
    return kept.assign_attrs(selection=json.dumps(log, sort_keys=True))


def _variable(dataset: xr.Dataset, name: str) -> xr.DataArray:
    if name not in dataset:
        raise InputError(
            f"expected a variable {name!r} to select by, got {sorted(map(str, dataset.variables))}; choose one of these"
        )
    return dataset[name]


# ---------------------------------------------------------------------------------------------------------------------
# Asking


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


def weights(bank: xr.Dataset) -> npt.NDArray[Any]:
    """The maps as a network's weights: (unit, channel, row, column) with row 0 on top.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> array = np.arange(27.0).reshape(1, 3, 3, 3)
    >>> bank = rfc.make_bank(array, channel=("r", "g", "b"), kind="learned", rows="down")
    >>> np.array_equal(rfc.weights(bank), array)
    True
    """
    if "lag" in bank.dims:
        raise InputError(
            "expected a bank without lags, got a lag dimension; choose one first, as in bank.isel(lag=3, drop=True)"
        )
    return np.ascontiguousarray(check(bank).rf.transpose("unit", "channel", "y", "x").values[:, :, ::-1])


def fingerprint(dataset: xr.Dataset) -> str:
    """SHA-256 of a Dataset's variables and coordinates, in name order: equal content, equal fingerprint.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> rfc.bank.fingerprint(bank) == rfc.bank.fingerprint(bank.copy(deep=True))
    True
    """
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = np.asarray(dataset[name].values)
        digest.update(f"{name}{dataset[name].dims}{values.shape}".encode())
        if values.dtype.kind in "OU":
            digest.update("\0".join(str(value) for value in values.ravel()).encode())
        else:
            digest.update(f"{values.dtype}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def inherit(dataset: xr.Dataset, schema: str, **attrs: Any) -> dict[str, str | int | float]:
    """Attributes for a Dataset made from `dataset`: all of its own (kind, citation…), the new schema, and `attrs`."""
    own = {str(name): value for name, value in dataset.attrs.items()}
    return {**own, "schema": SCHEMAS[schema].name, **_attributes(attrs)}


def add_history(dataset: xr.Dataset, line: str) -> xr.Dataset:
    """A copy whose ``attrs["history"]`` ends with one more line."""
    past = str(dataset.attrs.get("history", ""))
    return dataset.assign_attrs(history=f"{past}\n{line}".strip())


def make_rng(seed: int | np.random.Generator | None) -> tuple[np.random.Generator, int]:
    """A generator and the integer to record: a given seed, one drawn for None, or −1 for a generator passed in.

    Examples
    --------
    >>> from rfcompare.bank import make_rng
    >>> rng, recorded = make_rng(3)
    >>> recorded
    3
    """
    if isinstance(seed, np.random.Generator):
        return seed, -1
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise InputError(
            f"expected seed to be a whole number from 0, a numpy Generator or None, got {seed!r}; give seed=0"
        )
    recorded = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    return np.random.default_rng(recorded), recorded
