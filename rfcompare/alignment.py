"""Grids: maps of one bank on the pixels of another, band-limited, and never without being told how the scales relate.

Kernels have pixels and recordings have degrees. How many degrees a pixel stands for is an assumption, so `align` has no
default for it: ``by="degree"`` uses degrees (with an assumed ``deg_per_px`` for the side in pixels), ``by="px"`` puts
pixel on pixel, ``by="size"`` makes the two banks' median field radii equal. What was done is recorded in
``attrs["alignment"]``.

Only the image path (`rfcompare.matching`) resamples; the parameter path fits maps on their own pixels, because
resampling biases size and frequency.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from rfcompare.bank import add_history, bad_units, check, pitch
from rfcompare.errors import InputError, named_strictly

By = Literal["degree", "px", "size"]
"""How lengths on two grids are related."""

_HALF_WIDTH = 6
"""Taps of the interpolation filter to either side, in pixels of the coarser grid."""

_KAISER_BETA = 4.5
"""Window of the filter: flat within 0.3 % up to 0.38 cycles per pixel, 45 dB down at 0.62."""

_SURROUND_MIN_SIZE = 7
"""Maps smaller than this have no surround to call zero: a 3×3 kernel's border is most of the kernel."""

_SMOOTHING = 0.06
"""SD of the smoothing that finds a field in its squared map, as a share of the map's size."""

LEAST_KNOWN = 0.2
"""A pixel beside NaN is interpolated when at least this share of the filter's weight fell on measured pixels."""

_LEAST_PIXELS = 0.5
"""Maps smaller than this on the new grid would vanish between its pixels."""

_FIELD_LEVEL = 0.25
"""The field is where the smoothed energy exceeds this share of its maximum (and its median over the map)."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixel centers to put maps on.

    Attributes
    ----------
    x, y : array
        Uniform, ascending, centered on 0.
    units : {"px", "degree"}

    Examples
    --------
    >>> Grid.regular((3, 5), pitch=2.0, units="degree").x
    array([-4., -2., 0., 2., 4.])
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    units: str

    @classmethod
    def of(cls, dataset: xr.Dataset) -> Grid:
        """The grid of a bank."""
        return cls(dataset.x.values.astype(float), dataset.y.values.astype(float), str(dataset.attrs["units"]))

    @classmethod
    def regular(cls, shape: tuple[int, int], *, pitch: float, units: str) -> Grid:
        """A centered grid of `shape` (rows, columns) with square pixels."""
        if len(shape) != 2 or min(shape) < 2 or not _is_positive(pitch) or units not in ("px", "degree"):
            raise InputError(
                f"expected at least 2 × 2 pixels of positive pitch in px or degree, got {shape}, {pitch}, {units!r}; "
                "name a grid such as Grid.regular((21, 21), pitch=2.0, units='degree')"
            )
        return cls(_centered(shape[1], pitch), _centered(shape[0], pitch), units)

    @property
    def pitch(self) -> tuple[float, float]:
        """Pixel size (dx, dy)."""
        return (
            float(self.x[-1] - self.x[0]) / (self.x.size - 1),
            float(self.y[-1] - self.y[0]) / (self.y.size - 1),
        )


def _is_positive(value: Any) -> bool:
    return isinstance(value, Real) and 0 < float(value) < np.inf


def _centered(size: int, step: float) -> npt.NDArray[np.float64]:
    return np.asarray(step * (np.arange(size) - (size - 1) / 2), dtype=np.float64)


@named_strictly
def align(
    bank: xr.Dataset,
    to: xr.Dataset | Grid,
    *,
    by: By,
    deg_per_px: float | None = None,
    center: Literal["grid", "field"] = "grid",
    outside: Literal["missing", "zero"] = "missing",
) -> xr.Dataset:
    """Put a bank's maps on another grid, band-limited.

    Values are samples of a continuous map and keep their height; an area integral is the sum times the pixel area.

    Parameters
    ----------
    bank : xarray.Dataset
        Maps (unit, channel, [lag,] y, x); halves and the noise travel along.
    to : xarray.Dataset or Grid
        The bank whose pixels are wanted, or a grid.
    by : {"degree", "px", "size"}
        How lengths relate: in degrees of visual angle, a pixel for a pixel, or so that the banks' median field radii
        are equal (then `to` is a bank). There is no default.
    deg_per_px : float, optional
        Degrees that one pixel is assumed to stand for; needed for ``by="degree"`` when one side is in pixels.
    center : {"grid", "field"}
        Put middle on middle, or every unit's energy centroid on the middle of the new grid.
    outside : {"missing", "zero"}
        What lies beyond the bank's window: not measured (NaN), or zero, as beyond a kernel's weights.

    Returns
    -------
    xarray.Dataset
        A bank on the grid of `to`, with ``energy_kept(unit)`` (energy after over before, in equal areas: below 1 where
        fine structure was beyond the new grid's Nyquist frequency or fell outside) and ``attrs["alignment"]`` (JSON:
        by, deg_per_px, scale, pitches, center, outside, filter).

    Raises
    ------
    InputError
        When the scale is not determined by what was given.

    Notes
    -----
    Separable interpolation with a Kaiser-windowed sinc whose cut-off is the Nyquist frequency of the coarser of the two
    grids (Smith & Gossett 1984, doi:10.1109/ICASSP.1984.1172555). At the edge of what was measured the map is mirrored;
    around pixels that are NaN the taps are renormalized.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> blob = np.exp(-(x**2 + x[:, None] ** 2) / 18)
    >>> kernels = rfc.make_bank(blob[None, None], channel=("signed",), kind="analytic")
    >>> fields = rfc.make_bank(np.eye(9)[None, None], channel=("signed",), kind="analytic", deg_per_px=0.5)
    >>> seen = rfc.align(kernels, fields, by="degree", deg_per_px=0.25)
    >>> seen.attrs["units"], seen.rf.shape, round(float(seen.rf.sel(x=0.5, y=0.5).item()), 2)
    ('degree', (1, 1, 9, 9), 0.64)
    """
    check(bank)
    grid = to if isinstance(to, Grid) else Grid.of(check(to))
    if center not in ("grid", "field") or outside not in ("missing", "zero"):
        raise InputError(
            f"expected center 'grid' or 'field' and outside 'missing' or 'zero', got {center!r} and {outside!r}; "
            "choose from these"
        )
    scale = scale_between(bank, to, by=by, deg_per_px=deg_per_px)
    result = resample(bank, grid, scale=scale, center=center, outside=outside)
    source = Grid.of(bank)
    record = {
        "by": by,
        "deg_per_px": deg_per_px,
        "scale": list(scale),
        "pitch_from": list(source.pitch),
        "pitch_to": list(grid.pitch),
        "units_from": source.units,
        "center": center,
        "outside": outside,
        "filter": f"Kaiser-windowed sinc, {_HALF_WIDTH} taps a side, beta {_KAISER_BETA}",
    }
    result.attrs["alignment"] = json.dumps(record, sort_keys=True)
    size = f"{grid.y.size} × {grid.x.size}"
    line = f"align: by {by}, one {source.units} = {scale[0]:.4g} {grid.units}, onto {size} pixels"
    return check(add_history(result, line))


def resample(
    bank: xr.Dataset,
    grid: Grid,
    *,
    scale: tuple[float, float],
    center: Literal["grid", "field"] = "grid",
    outside: Literal["missing", "zero"] = "missing",
) -> xr.Dataset:
    """The resampling of `align`, one unit of the bank being `scale` (along x, y) units of the grid.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> resample(bank, Grid.regular((3, 3), pitch=2.0, units="degree"), scale=(2.0, 2.0)).rf.values[0, 0].round() + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    source = Grid.of(bank)
    middle_x, middle_y = (field_of(bank)[:2]) if center == "field" else (np.zeros(1), np.zeros(1))
    for name, wide, step in zip("xy", (source.x.size, source.y.size), source.pitch, strict=True):
        pixels = wide * step * scale["xy".index(name)] / grid.pitch["xy".index(name)]
        if pixels < _LEAST_PIXELS:
            raise InputError(
                f"expected maps at least {_LEAST_PIXELS:g} pixels of the new grid wide along {name}, got {pixels:.2g}; "
                "check deg_per_px"
            )
    mirror = outside == "missing"  # what lies beyond is unknown, and an edge must not pull it to zero
    taps_x = _taps(grid.x, source.x * scale[0], middle_x * scale[0], mirror)
    taps_y = _taps(grid.y, source.y * scale[1], middle_y * scale[1], mirror)

    maps = _resample(bank.rf, taps_y, taps_x, outside)
    kept = [name for name in bank.variables if not {"y", "x", "lag_y", "lag_x"} & set(bank[name].dims)]
    result = bank[[name for name in kept if name in bank.data_vars]].assign_coords(
        {name: bank.coords[name] for name in kept if name in bank.coords}
        | {"y": ("y", grid.y, {"units": grid.units}), "x": ("x", grid.x, {"units": grid.units})}
    )
    result["rf"] = (bank.rf.dims, maps)
    if "rf_half" in bank:
        result["rf_half"] = (bank.rf_half.dims, _resample(bank.rf_half, taps_y, taps_x, outside))
    if "noise_sd" in bank:
        result = _carry_noise(bank, result, taps_y, taps_x)
    area = np.prod(grid.pitch) / np.prod([size * ratio for size, ratio in zip(source.pitch, scale, strict=True)])
    axes = tuple(range(1, bank.rf.ndim))
    before = np.nansum(bank.rf.values.astype(float) ** 2, axis=axes)
    after = np.nansum(maps.astype(float) ** 2, axis=axes) * area
    result["energy_kept"] = (
        "unit",
        np.divide(after, before, out=np.full(before.shape, np.nan), where=(before > 0) & np.isfinite(before)),
    )
    attrs = {name: value for name, value in bank.attrs.items() if name not in ("x_center", "y_center")}
    result.attrs = {**attrs, "units": grid.units}
    return result.transpose("half", *bank.rf.dims, ..., missing_dims="ignore")


def scale_between(
    bank: xr.Dataset, to: xr.Dataset | Grid, *, by: By, deg_per_px: float | None = None
) -> tuple[float, float]:
    """How many units of `to` one unit of `bank` is, along x and y.

    Parameters
    ----------
    bank, to, by, deg_per_px
        As in `align`.

    Returns
    -------
    (float, float)

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> kernels = rfc.make_bank(np.eye(5)[None, None], channel=("signed",), kind="analytic")
    >>> scale_between(kernels, Grid.regular((9, 9), pitch=0.5, units="degree"), by="degree", deg_per_px=0.1)
    (0.1, 0.1)
    >>> scale_between(kernels, Grid.regular((9, 9), pitch=0.5, units="degree"), by="degree")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected deg_per_px to relate pixels to degrees, got none; assume a value or use ...
    """
    if by not in get_args(By):
        raise InputError(
            f"expected by to be one of {get_args(By)}, got {by!r}; say how lengths on the two grids relate"
        )
    if deg_per_px is not None and not _is_positive(deg_per_px):
        raise InputError(
            f"expected deg_per_px to be a positive number, got {deg_per_px!r}; give degrees of visual angle for one "
            "pixel"
        )
    own = str(bank.attrs["units"])
    other = to.units if isinstance(to, Grid) else str(to.attrs["units"])
    if deg_per_px is not None and (by != "degree" or own == other == "degree"):
        raise InputError(
            f"expected deg_per_px only with by='degree' and one side in pixels, got by={by!r} between {own} and "
            f"{other}; leave it out"
        )
    if by == "degree":
        if own == other == "px":
            raise InputError("expected degrees on one side at least, got pixels on both; use by='px' or by='size'")
        if own == other:
            return 1.0, 1.0
        if deg_per_px is None:
            raise InputError(
                "expected deg_per_px to relate pixels to degrees, got none; assume a value or use by='size'"
            )
        return (deg_per_px, deg_per_px) if own == "px" else (1 / deg_per_px, 1 / deg_per_px)
    if by == "px":
        target = to.pitch if isinstance(to, Grid) else pitch(to)
        dx, dy = pitch(bank)
        return target[0] / dx, target[1] / dy
    if isinstance(to, Grid):
        raise InputError("expected a bank to match sizes with, got a grid; give the bank, or use by='px'")
    ratio = median_radius(to) / median_radius(bank)
    return ratio, ratio


def median_radius(bank: xr.Dataset) -> float:
    """Median over units of the field's RMS radius, in the bank's units."""
    radius = field_of(bank)[2]
    usable = radius[[problem == "" for problem in bad_units(bank)]]
    return float(np.median(usable))


def field_of(bank: xr.Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Each unit's field: its energy's centroid x, centroid y and RMS radius, each (unit,), in the bank's units.

    The energy (summed over channels and lags) is smoothed; what exceeds a quarter of its maximum, and its median over
    the map, is the field. A unit without any usable pixel sits in the middle.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-12, 13.0)
    >>> blob = np.exp(-((x - 3) ** 2 + (x[:, None] + 2) ** 2) / 8)
    >>> middle_x, middle_y, radius = field_of(rfc.make_bank(blob[None, None], channel=("signed",), kind="analytic"))
    >>> round(middle_x.item(), 2), round(middle_y.item(), 2)
    (3.0, -2.0)
    """
    maps = bank.rf.transpose("unit", ..., "y", "x").values.astype(float)
    energy = np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0) ** 2
    energy = energy.reshape(maps.shape[0], -1, *maps.shape[-2:]).sum(1)
    weight = _field_energy(energy)
    total = weight.sum((1, 2))
    share = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)
    x, y = bank.x.values.astype(float), bank.y.values.astype(float)
    along_x, along_y = weight.sum(1) * share[:, None], weight.sum(2) * share[:, None]
    middle_x, middle_y = along_x @ x, along_y @ y
    spread = along_x @ x**2 - middle_x**2 + along_y @ y**2 - middle_y**2
    # A field of one pixel still has the pixel's own extent.
    return middle_x, middle_y, np.sqrt(np.maximum(spread, np.prod(pitch(bank)) / 6))


def _field_energy(energy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Smoothed energy (n, y, x) less its floor, 0 outside the field."""
    smooth = gaussian_filter1d(energy, _SMOOTHING * energy.shape[1], axis=1, mode="constant")
    smooth = gaussian_filter1d(smooth, _SMOOTHING * energy.shape[2], axis=2, mode="constant")
    floor = np.maximum(_FIELD_LEVEL * smooth.max((1, 2)), np.median(smooth, (1, 2)))
    return cast("npt.NDArray[np.float64]", np.clip(smooth - floor[:, None, None], 0, None))


def zero_surround(maps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Maps about the median of their outermost pixels, with 0 where nothing was measured."""
    n, height, width = maps.shape
    if min(height, width) >= _SURROUND_MIN_SIZE:
        border = np.zeros((height, width), bool)
        border[[0, -1]] = border[:, [0, -1]] = True
        ring = maps[:, border]
        finite = np.isfinite(ring)
        seen: npt.NDArray[np.bool_] = np.any(finite, axis=1)
        median = np.median if finite.all() else np.nanmedian  # the same, many times faster
        level = np.where(seen, median(np.where(seen[:, None], ring, 0.0), axis=1), 0.0)
    else:
        level = np.zeros(n)
    return np.nan_to_num(maps - level[:, None, None], nan=0.0)


# ---------------------------------------------------------------------------------------------------------------------
# Interpolation


@dataclass(frozen=True, eq=False)
class _Taps:
    """Interpolation along one axis, for every unit or (length 1) for all.

    ``weights`` (unit, out, in); ``inside`` (unit, out), whether the window covers the position; ``nearest``
    (unit, out), the pixel under it.
    """

    weights: npt.NDArray[np.float64]
    inside: npt.NDArray[np.bool_]
    nearest: npt.NDArray[np.intp]


def _taps(
    target: npt.NDArray[np.float64], source: npt.NDArray[np.float64], middle: npt.NDArray[np.float64], mirror: bool
) -> _Taps:
    """Weights that give a band-limited map at `target` + `middle` from its samples at `source`."""
    size = source.size
    step = (source[-1] - source[0]) / (size - 1)
    # In source pixels, (unit, out); the filter is as wide as the coarser grid asks.
    position = (target[None, :] + middle[:, None] - source[0]) / step
    coarser = max(1.0, (target[-1] - target[0]) / (target.size - 1) / step)
    reach = int(np.ceil(_HALF_WIDTH * coarser)) + 1
    lattice = np.rint(position)[:, :, None] + np.arange(-reach, reach + 1)
    distance = (position[:, :, None] - lattice) / coarser
    window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (distance / _HALF_WIDTH) ** 2, 0, None))) / np.i0(_KAISER_BETA)
    taps = np.where(np.abs(distance) <= _HALF_WIDTH, np.sinc(distance) * window, 0.0)
    taps /= taps.sum(-1, keepdims=True)  # a constant stays constant
    index = lattice.astype(int)
    if mirror:
        index %= 2 * size
        index = np.minimum(index, 2 * size - 1 - index)
    on_map = (index >= 0) & (index < size)
    weights = np.zeros((*position.shape, size))
    unit, out, _ = np.nonzero(on_map)
    np.add.at(weights, (unit, out, index[on_map]), taps[on_map])
    inside = (position > -0.5 - 1e-9) & (position < size - 0.5 + 1e-9)
    return _Taps(weights, inside, np.clip(np.rint(position).astype(int), 0, size - 1))


def interpolation(
    target: npt.NDArray[np.float64], source: npt.NDArray[np.float64], *, mirror: bool = False
) -> npt.NDArray[np.float64]:
    """Weights (target, source) that give a line at `target` from its samples at `source`: beyond them 0, or mirrored.

    Examples
    --------
    >>> import numpy as np
    >>> interpolation(np.array([0.0, 1.0]), np.array([-1.0, 0.0, 1.0])).round(6) + 0.0
    array([[0., 1., 0.],
           [0., 0., 1.]])
    """
    return np.asarray(_taps(target, source, np.zeros(1), mirror=mirror).weights[0])


def _resample(maps: xr.DataArray, taps_y: _Taps, taps_x: _Taps, outside: str) -> npt.NDArray[Any]:
    """`maps` (…unit…, y, x) at the new positions, in their own dims' order and dtype."""
    ordered = maps.transpose("unit", ..., "y", "x")
    values = ordered.values.astype(float)
    lead = values.shape[1:-2]
    values = values.reshape(values.shape[0], -1, *values.shape[-2:])
    measured = ~np.isnan(values)
    # An infinite map stays infinite, to be reported by its status; interpolating it would warn and hide it as NaN.
    infinite = np.isinf(values).any((-2, -1))
    values = np.where(infinite[..., None, None], 0.0, values)
    rows, columns = taps_y.weights[:, None], np.swapaxes(taps_x.weights, 1, 2)[:, None]
    result = rows @ np.where(measured, values, 0.0) @ columns
    inside = np.broadcast_to(taps_y.inside[:, None, :, None] & taps_x.inside[:, None, None, :], result.shape)
    if not measured.all():
        # The share of each pixel's taps that fell on something known; beyond the window everything is.
        known = 1.0 - rows @ (~measured).astype(float) @ columns
        every = np.arange(values.shape[0])[:, None, None]
        under = np.moveaxis(measured, 1, -1)[every, taps_y.nearest[:, :, None], taps_x.nearest[:, None, :]]
        seen = ~inside | np.moveaxis(under, -1, 1)
        result = np.divide(result, known, out=np.full(result.shape, np.nan), where=seen & (known > LEAST_KNOWN))
    result[infinite] = np.inf
    if outside == "missing":
        result = np.where(inside, result, np.nan)
    result = result.reshape(values.shape[0], *lead, *result.shape[-2:]).astype(maps.dtype)
    return np.asarray(xr.DataArray(result, dims=ordered.dims).transpose(*maps.dims).values)


def _carry_noise(bank: xr.Dataset, result: xr.Dataset, taps_y: _Taps, taps_x: _Taps) -> xr.Dataset:
    """Noise SD and autocorrelation on the new grid, exact for stationary noise at the middle of the map.

    The covariance of two weighted sums of noise is the weights' cross-correlation against the noise's autocorrelation:
    cov(i, i') = Σ_m K_y(m) Σ_n K_x(n) R(m, n), with K(m) = Σ_a w_i(a) w_i'(a + m).
    """
    reach = 2
    if "noise_acf" in bank:
        acf = bank.noise_acf.transpose("unit", "channel", "lag_y", "lag_x").values.astype(float)
    else:
        acf = np.ones((bank.sizes["unit"], bank.sizes["channel"], 1, 1))
    overlap_y = _weight_overlap(taps_y.weights[0], reach, acf.shape[2] // 2)
    overlap_x = _weight_overlap(taps_x.weights[0], reach, acf.shape[3] // 2)
    covariance = np.einsum("im,jn,ucmn->ucij", overlap_y, overlap_x, acf)
    variance = covariance[:, :, overlap_y.shape[0] // 2, overlap_x.shape[0] // 2]
    result["noise_sd"] = ("unit", bank.noise_sd.values * np.sqrt(np.maximum(variance.mean(1), 0.0)))
    # Interpolation correlates neighboring pixels, so white noise gets an autocorrelation here.
    shape = np.divide(
        covariance, variance[:, :, None, None], out=np.zeros_like(covariance), where=variance[:, :, None, None] > 0
    )
    result["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), shape)
    return result.assign_coords(
        {
            name: (name, np.arange(size, dtype=float) - size // 2)
            for name, size in zip(("lag_y", "lag_x"), covariance.shape[2:], strict=True)
        }
    )


def _weight_overlap(weights: npt.NDArray[np.float64], reach: int, lags: int) -> npt.NDArray[np.float64]:
    """K (new lag, old lag): cross-correlation of the middle output's weights with its neighbors'."""
    out, size = weights.shape
    middle = out // 2
    reach = min(reach, middle, out - 1 - middle)
    result = np.zeros((2 * reach + 1, 2 * lags + 1))
    for i, step in enumerate(range(-reach, reach + 1)):
        full = np.correlate(weights[middle + step], weights[middle], "full")
        zero = size - 1
        for j, lag in enumerate(range(-lags, lags + 1)):
            if abs(lag) < size:
                result[i, j] = full[zero + lag]
    return result
