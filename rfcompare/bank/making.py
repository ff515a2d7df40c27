"""From a plain array to a bank, and back to a network's weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank.attributes import plain_attributes
from rfcompare.bank.checking import check, without_lags
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import SCHEMAS


@named_strictly
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
    attrs: Mapping[str, Any] | None = None,
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
    attrs : mapping, optional
        Provenance: ``stimulus`` (required when measured; a mapping or text), ``title``, ``citation``, ``doi``,
        ``license``, ``history``…

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-bank/1``.

    Raises
    ------
    InputError
        With every fault of the bank at once; an unknown keyword, with the one that was probably meant.

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
    data = _maps(array, channel)
    if rows not in ("up", "down"):
        raise InputError(f"expected rows='up' or rows='down', got {rows!r}; row 0 of an image is its top: rows='down'")
    n, height, width = data.shape[0], data.shape[-2], data.shape[-1]
    dims = ("unit", "channel", *["lag"] * (data.ndim - 4), "y", "x")
    if rows == "down":
        data = data[..., ::-1, :]
        y = None if y is None else _numbers(y, height, "y")[::-1]
    scale = (1.0, 1.0)
    if deg_per_px is not None:
        if x is not None or y is not None:
            raise InputError("expected either deg_per_px or coordinates x and y, got both; leave one out")
        scale, units = pixel_size(deg_per_px), "degree"
    grid_x = scale[0] * (np.arange(width) - (width - 1) / 2) if x is None else _numbers(x, width, "x")
    grid_y = scale[1] * (np.arange(height) - (height - 1) / 2) if y is None else _numbers(y, height, "y")
    said = {} if attrs is None else attrs
    if not isinstance(said, Mapping) or set(said) & {"schema", "kind", "units"}:
        raise InputError(
            f"expected attrs to be a mapping of provenance such as {{'citation': …}}, without schema, kind and units, "
            f"got {attrs!r}; kind and units are keywords of their own"
        )
    attributes = {"schema": SCHEMAS["bank"].name, "kind": kind, "units": units, **plain_attributes(said)}
    for name, grid in (("x_center", grid_x), ("y_center", grid_y)):
        if grid.ndim == 1 and grid.size and np.isfinite(grid).all():
            middle = (grid[0] + grid[-1]) / 2
            grid -= middle
            if middle != 0:
                attributes[name] = float(middle)
    if kind == "measured" and not attributes.get("stimulus"):
        raise InputError(
            "expected a stimulus for a measured bank, got none; pass attrs={'stimulus': {'class': 'sparse noise', "
            "'element_deg': 2.0}} or attrs={'stimulus': 'unknown'}"
        )
    digits = max(3, len(str(n - 1)))
    names = [f"u{i:0{digits}d}" for i in range(n)] if unit is None else unit
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
        lags = np.arange(data.shape[2]) * 1.0 if lag is None else _numbers(lag, data.shape[2], "lag")
        bank = bank.assign_coords(lag=("lag", lags))
    for name, values in (("cortex_x", cortex_x), ("cortex_y", cortex_y)):
        if values is not None:
            bank = bank.assign_coords({name: ("unit", _numbers(values, n, name), {"units": "µm"})})
    if field_of_view is not None:
        bank = bank.assign_coords(field_of_view=("unit", _text(field_of_view, n, "field_of_view")))
    if noise_sd is not None:
        bank["noise_sd"] = ("unit", _numbers(noise_sd, n, "noise_sd", or_one=True))
    if noise_acf is not None:
        bank = bank.assign(noise_acf=_autocorrelation(noise_acf, rows))
    if half is not None:
        halves: Any = half if hasattr(half, "dask") else np.asarray(half)
        if halves.shape != (2, *data.shape):
            raise InputError(
                f"expected half of shape {(2, *data.shape)}, got {tuple(halves.shape)}; give two maps for every map"
            )
        halves = halves[..., ::-1, :] if rows == "down" else halves
        bank["rf_half"] = (("half", *dims), halves.astype(data.dtype, copy=False))
    return check(bank)


def _maps(array: Any, channel: tuple[str, ...]) -> Any:
    """The maps as floats, NumPy's or dask's, with an axis for each that a bank has."""
    data: Any = array if hasattr(array, "dask") else np.asarray(array)
    if data.ndim not in (4, 5):
        raise InputError(
            f"expected an array (unit, channel, y, x) or (unit, channel, lag, y, x), got {data.ndim} dimensions of "
            f"shape {tuple(data.shape)}; add the missing axis, for one channel array[:, None]"
        )
    if data.shape[1] != len(channel):
        raise InputError(
            f"expected {len(channel)} channels {channel} along axis 1, got an array of shape {tuple(data.shape)}; "
            "name the channels that the array has"
        )
    if not np.issubdtype(data.dtype, np.number) or np.issubdtype(data.dtype, np.complexfloating):
        raise InputError(f"expected real numbers, got an array of {data.dtype}; convert it to float")
    return data if data.dtype in (np.float32, np.float64) else data.astype(np.float64)


def _autocorrelation(noise_acf: Any, rows: str) -> xr.DataArray:
    """The noise's autocorrelation over lags about 0, y up."""
    acf = np.asarray(noise_acf, float)
    if acf.ndim != 4 or any(size % 2 == 0 for size in acf.shape[-2:]):
        raise InputError(
            f"expected noise_acf (unit, channel, lag_y, lag_x) over odd numbers of lags, got shape {acf.shape}; "
            "center it on lag 0"
        )
    names = ("lag_y", "lag_x")
    lags = {name: np.arange(size) - float(size // 2) for name, size in zip(names, acf.shape[2:], strict=True)}
    return xr.DataArray(acf[:, :, ::-1] if rows == "down" else acf, lags, ("unit", "channel", *names))


def pixel_size(deg_per_px: float | tuple[float, float]) -> tuple[float, float]:
    """`deg_per_px` along x and y.

    Examples
    --------
    >>> pixel_size(2), pixel_size((1.5, 2.0))
    ((2.0, 2.0), (1.5, 2.0))
    """
    try:
        scale_x, scale_y = np.broadcast_to(np.asarray(deg_per_px, float), (2,))
    except (TypeError, ValueError):
        raise InputError(
            f"expected deg_per_px to be a number or (x, y), got {deg_per_px!r}; give degrees of visual angle per pixel"
        ) from None
    if not (np.isfinite([scale_x, scale_y]).all() and min(scale_x, scale_y) > 0):
        raise InputError(
            f"expected deg_per_px to be positive, got {deg_per_px}; give degrees of visual angle per pixel"
        )
    return float(scale_x), float(scale_y)


def _numbers(values: Any, n: int, name: str, *, or_one: bool = False) -> npt.NDArray[np.float64]:
    """`n` numbers in an array of their own: what the caller gave is never written to."""
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"expected numbers as {name}, got {values!r}; convert them to float") from None
    if or_one and array.size == 1:
        array = np.full(n, array.item())
    if array.shape != (n,):
        raise InputError(f"expected {n} values of {name}, got the shape {array.shape}; give one for each")
    return array


def _text(values: str | Sequence[str] | npt.ArrayLike, n: int, name: str) -> npt.NDArray[np.object_]:
    if isinstance(values, str):
        return np.full(n, values, dtype=object)
    items = [
        "" if value is None or value != value else str(value) for value in np.asarray(values, dtype=object).ravel()
    ]
    if len(items) != n:
        raise InputError(f"expected {n} values of {name}, one for every unit, got {len(items)}; give one string or {n}")
    return np.array(items, dtype=object)


@named_strictly
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
    without_lags(bank)
    return np.ascontiguousarray(check(bank).rf.transpose("unit", "channel", "y", "x").values[:, :, ::-1])
