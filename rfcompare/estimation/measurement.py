"""`measure_like`: kernels as a recording would have seen them, before they are compared with what it saw.

A cell's map has been sampled on the stimulus's grid, smeared by its element, cut by a threshold and covered with noise.
Each of these moves fitted parameters (noise alone adds carrier cycles to a kernel's Gabor), so a difference between
kernels and cells counts when it survives showing the kernels in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.alignment import LEAST_KNOWN, By, Grid, resample, scale_between
from rfcompare.bank import add_history, check, make_rng, pitch
from rfcompare.errors import InputError, named_strictly

Step = Literal["grid", "spot", "rectification", "noise"]

OVERSAMPLING = 5
"""Positions per pixel of the recording at which a kernel is averaged over the stimulus element."""

Floats = npt.NDArray[np.float64]


@named_strictly
def measure_like(
    kernels: xr.Dataset,
    cortex: xr.Dataset,
    *,
    by: By = "size",
    deg_per_px: float | None = None,
    steps: Sequence[Step] = ("grid", "spot", "rectification", "noise"),
    spot: float | None = None,
    threshold: float = 0.0,
    snr: float | None = None,
    seed: int | np.random.Generator | None = 0,
) -> xr.Dataset:
    """See kernels through a recording's grid, stimulus element, rectification and noise.

    Parameters
    ----------
    kernels, cortex : xarray.Dataset
        Signed banks.
    by, deg_per_px
        How kernel pixels relate to the recording's lengths, as in `rfcompare.align`; matters for "grid" and "spot".
    steps : sequence of {"grid", "spot", "rectification", "noise"}
        What to apply, always in this order. Without "grid" kernels stay on their pixels, and a spot cannot be applied.
    spot : float, optional
        Side of the square stimulus element in the recording's units; default: ``element_deg`` of its stimulus, else one
        pixel.
    threshold : float
        Response, as a share of each kernel's largest, below which a rectified cell is silent. With 0, ON and OFF
        responses are rectified apart and their difference is the linear map again.
    snr : float, optional
        Variance of the map over variance of the noise. Default: every kernel is given that of a randomly drawn cell, by
        ``noise_sd`` or the halves' difference.
    seed : int, Generator or None
        For noise and the draw of cells.

    Returns
    -------
    xarray.Dataset
        A bank to be fitted like the recording, with ``noise_sd`` and two halves where noise was added;
        ``attrs["measured_like"]`` (JSON) says what was done. Its kind stays that of the kernels.

    Raises
    ------
    InputError
        When a bank is not signed, or the recording's noise is not known and no `snr` is given.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-5, 6.0)
    >>> kernels = rfc.make_bank((np.cos(x) * np.exp(-(x**2 + x[:, None] ** 2) / 8))[None, None], channel=("signed",),
    ...                         kind="learned")
    >>> noisy = rfc.measure_like(kernels, kernels, steps=("noise",), snr=4.0, seed=0)
    >>> round(float(kernels.rf.std() / noisy.noise_sd[0]), 3)
    2.0
    """
    for name, bank in (("kernels", kernels), ("cortex", cortex)):
        check(bank)
        if bank.sizes.get("channel") != 1 or "lag" in bank.dims:
            raise InputError(f"expected {name} to be a signed bank, got {tuple(bank.channel.values)}; call to_signed")
    unknown = [step for step in steps if step not in get_args(Step)]
    if unknown or ("spot" in steps and "grid" not in steps):
        raise InputError(
            f"expected steps among {', '.join(get_args(Step))}, and a spot only with the grid, got {tuple(steps)}; "
            "mend them"
        )
    if not _is_share(threshold):
        raise InputError(
            f"expected threshold from 0 to below 1, got {threshold}; it is a share of the largest response"
        )
    rng, recorded = make_rng(seed)
    done: dict[str, Any] = {"steps": [step for step in get_args(Step) if step in steps], "seed": recorded}
    # What is infinite is no map that an element could average or noise could cover.
    infinite = np.isinf(kernels.rf.transpose("unit", ...).values).reshape(kernels.sizes["unit"], -1).any(1)
    kernels = kernels.assign(rf=kernels.rf.where(xr.DataArray(~infinite, dims="unit")))
    result = kernels.drop_vars(
        [name for name in ("rf_half", "noise_sd", "noise_acf", "lag_y", "lag_x") if name in kernels.variables]
    )
    if "grid" in steps:
        side = 0.0
        if "spot" in steps:
            side = _checked_side(_element(cortex) if spot is None else spot, cortex)
            done["spot"] = side
        result = _through_element(result, cortex, side, by=by, deg_per_px=deg_per_px)
        done |= {"by": by, "deg_per_px": deg_per_px}
    maps = result.rf.transpose("unit", "channel", "y", "x").values.astype(float)
    if "rectification" in steps:
        level = threshold * np.nan_to_num(np.abs(maps), nan=0.0).max(axis=(2, 3), keepdims=True)
        maps = np.sign(maps) * (np.abs(maps) - level).clip(0)
        done["threshold"] = threshold
    result["rf"] = (("unit", "channel", "y", "x"), maps)
    if "noise" in steps:
        if not isinstance(snr, Real | None):
            raise InputError(f"expected snr to be a number, got {snr!r}; it is a ratio of variances")
        ratios = (
            np.full(maps.shape[0], snr, dtype=float)
            if snr is not None
            else rng.choice(_signal_to_noise(cortex), maps.shape[0])
        )
        if not (np.isfinite(ratios).all() and (ratios > 0).all()):
            raise InputError(f"expected a positive snr, got {snr}; it is a ratio of variances")
        noise_sd = np.sqrt(_variance(maps) / ratios)
        # Two halves of √2 times the noise, whose mean is the map.
        amplitude = _noise_amplitude(cortex, maps.shape[2:]) if "grid" in steps else np.ones(maps.shape[2:])
        white = rng.standard_normal((2, *maps.shape))
        shaped = np.fft.ifft2(np.fft.fft2(white) * amplitude).real
        half = maps + np.sqrt(2) * noise_sd[:, None, None, None] * shaped
        result["rf"] = (("unit", "channel", "y", "x"), half.mean(0))
        result["rf_half"] = (("half", "unit", "channel", "y", "x"), half)
        result["noise_sd"] = ("unit", noise_sd)
        done["snr"] = "drawn from the cells" if snr is None else snr
        done["snr_median"] = float(np.median(ratios))
    result.attrs["measured_like"] = json.dumps(done, sort_keys=True)
    return check(add_history(result, f"measure_like: {', '.join(done['steps'])}"))


def _element(cortex: xr.Dataset) -> Any:
    """Side of the stimulus element in the bank's units: stated in degrees, else a pixel."""
    try:
        stated = json.loads(str(cortex.attrs.get("stimulus", ""))).get("element_deg")
    except (ValueError, AttributeError):
        stated = None
    return stated if stated is not None and cortex.attrs["units"] == "degree" else max(pitch(cortex))


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < 1


def _as_ratio(snr: Any) -> float:
    if not isinstance(snr, Real):
        raise InputError(f"expected snr to be a number, got {snr!r}; it is a ratio of variances")
    return float(snr)


def _checked_side(side: Any, cortex: xr.Dataset) -> float:
    """The element's side, when it is one that a recording on this grid can have had."""
    widest = max(float(np.ptp(cortex[name].values)) for name in ("x", "y"))
    if not isinstance(side, Real) or not 0 <= float(side) <= widest:
        raise InputError(
            f"expected the stimulus element to have a side from 0 to the map's {widest:g} {cortex.attrs['units']}, got "
            f"{side!r}; give spot"
        )
    return float(side)


def _through_element(
    kernels: xr.Dataset, cortex: xr.Dataset, side: float, *, by: By, deg_per_px: float | None
) -> xr.Dataset:
    """Kernels on the recording's grid, averaged over a square of `side` about each of its pixels."""
    scale = scale_between(kernels, cortex, by=by, deg_per_px=deg_per_px)
    target = Grid.of(cortex)
    if side == 0:
        return resample(kernels, target, scale=scale, outside="zero")
    fine, means = [], []
    for centers, step in zip((target.x, target.y), target.pitch, strict=True):
        fine_step = step / OVERSAMPLING
        margin = OVERSAMPLING * int(np.ceil(side / step))
        size = OVERSAMPLING * centers.size + 2 * margin
        positions = np.asarray(fine_step * (np.arange(size) - (size - 1) / 2), dtype=np.float64)
        # The share of each fine pixel that the element covers.
        reach = (side + fine_step) / 2 - np.abs(positions[None, :] - centers[:, None])
        cover = np.clip(reach / fine_step, 0, 1)
        fine.append(positions)
        means.append(cover / cover.sum(1, keepdims=True))
    seen = resample(kernels, Grid(fine[0], fine[1], target.units), scale=scale, outside="zero")
    values = seen.rf.transpose("unit", "channel", "y", "x").values.astype(float)
    known = ~np.isnan(values)
    # The mean over what the kernel has under the element: one missing pixel must not spread over the whole map.
    share = means[1] @ known.astype(float) @ means[0].T
    total = means[1] @ np.where(known, values, 0.0) @ means[0].T
    maps = np.divide(total, share, out=np.full(total.shape, np.nan), where=share > LEAST_KNOWN)
    maps[np.isnan(kernels.rf.transpose("unit", "channel", "y", "x").values).all((1, 2, 3))] = np.nan
    return (
        seen.drop_vars(["rf", "x", "y", "energy_kept"])
        .assign_coords(y=("y", target.y, {"units": target.units}), x=("x", target.x, {"units": target.units}))
        .assign(rf=(("unit", "channel", "y", "x"), maps))
    )


def _variance(maps: Floats) -> Floats:
    """Variance of each unit's measured pixels, 0 where there are none (which NumPy would warn of)."""
    known = ~np.isnan(maps)
    count = np.maximum(known.sum(axis=(1, 2, 3), keepdims=True), 1)
    mean = np.where(known, maps, 0.0).sum(axis=(1, 2, 3), keepdims=True) / count
    return np.asarray((np.where(known, maps - mean, 0.0) ** 2).sum(axis=(1, 2, 3)) / count.ravel())


def _noise_amplitude(cortex: xr.Dataset, shape: tuple[int, ...]) -> Floats:
    """Filter of unit power whose noise has the recording's mean autocorrelation."""
    if "noise_acf" not in cortex:
        return np.ones(shape)
    acf = cortex.noise_acf.mean(("unit", "channel")).transpose("lag_y", "lag_x").values
    plane = np.zeros(shape)
    for i, dy in enumerate(cortex.lag_y.values.astype(int)):
        for j, dx in enumerate(cortex.lag_x.values.astype(int)):
            plane[dy % shape[0], dx % shape[1]] += acf[i, j]
    power = np.fft.fft2(plane).real.clip(0)
    return np.asarray(np.sqrt(power / power.mean()))


def _signal_to_noise(cortex: xr.Dataset) -> Floats:
    """Variance of each usable cell's noiseless map over the variance of its noise."""
    maps = cortex.rf.isel(channel=0).transpose("unit", "y", "x").values.astype(float)
    if "noise_sd" in cortex:
        noise = cortex.noise_sd.values.astype(float) ** 2
    elif "rf_half" in cortex:
        halves = cortex.rf_half.isel(channel=0).transpose("half", "unit", "y", "x").values.astype(float)
        noise = np.nanmean((halves[0] - halves[1]) ** 2, axis=(1, 2)) / 4
    else:
        raise InputError("expected a recording with noise_sd or halves, got neither; give snr")
    signal = np.nanvar(maps, axis=(1, 2)) - noise
    usable = (noise > 0) & (signal > 0)
    if not usable.any():
        raise InputError("expected cells whose maps exceed their noise, got none; give snr")
    return np.asarray(signal[usable] / noise[usable])
