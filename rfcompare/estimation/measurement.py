"""`measure_like`: kernels as a recording would have seen them, before they are compared with what it saw.

A cell's map has been sampled on the stimulus's grid, smeared by its element, cut by a threshold and covered with noise.
Each of these moves fitted parameters (noise alone adds carrier cycles to a kernel's Gabor), so a difference between
kernels and cells counts when it survives showing the kernels in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import scipy.fft
import xarray as xr

from rfcompare.alignment import LEAST_KNOWN, By, Grid, interpolation, resample, scale_between, zero_surround
from rfcompare.bank import Array, add_history, check, make_rng, pitch, signed_maps
from rfcompare.errors import InputError, named_strictly

_Step = Literal["grid", "spot", "rectification", "noise"]

_RECORDED = ("measured", "not stated")
"""Kinds whose maps have noise, whether or not their file says how much."""

_OVERSAMPLING = 5
"""Positions per pixel of the recording at which a kernel is averaged over the stimulus element."""


@named_strictly
def measure_like(
    kernels: xr.Dataset,
    cortex: xr.Dataset,
    *,
    by: By = "size",
    deg_per_px: float | None = None,
    steps: Sequence[_Step] = ("grid", "spot", "rectification", "noise"),
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
    unknown = [step for step in steps if step not in get_args(_Step)]
    if unknown or ("spot" in steps and "grid" not in steps):
        raise InputError(
            f"expected steps among {', '.join(get_args(_Step))}, and a spot only with the grid, got {tuple(steps)}; "
            "mend them"
        )
    if not _is_share(threshold):
        raise InputError(
            f"expected threshold from 0 to below 1, got {threshold}; it is a share of the largest response"
        )
    rng, recorded = make_rng(seed)
    done: dict[str, Any] = {"steps": [step for step in get_args(_Step) if step in steps], "seed": recorded}
    # What is infinite is no map that an element could average or noise could cover.
    infinite = np.isinf(kernels.rf.transpose("unit", ...).values).reshape(kernels.sizes["unit"], -1).any(1)
    kernels = kernels.assign(rf=kernels.rf.where(xr.DataArray(~infinite, dims="unit")))
    result = kernels.drop_vars(
        [name for name in ("rf_half", "noise_sd", "noise_acf", "lag_y", "lag_x") if name in kernels.variables]
    )
    if "grid" in steps:
        side = 0.0
        if "spot" in steps:
            stated = _stated_element(cortex) if spot is None else spot
            side = _checked_side(max(pitch(cortex)) if stated is None else stated, cortex)
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


@dataclass(frozen=True, eq=False)
class Recording:
    """What a recording does to a map: its grid and window, its stimulus element, its noise, and the best filter for it.

    Attributes
    ----------
    grid : Grid
        Its pixels.
    side : float
        Of the stimulus element, in the grid's units; 0 where none is stated.
    noise : {"known", "none", "unknown"}
        "known" from ``noise_sd`` or halves; "none" for maps that were rendered, drawn or written down without;
        "unknown" for recorded maps that say nothing of it.
    ratios : (n,) array
        Variance of signal over variance of noise of the cells that exceed their noise; empty without noise.
    amplitude : (y, x) array
        Filter of unit power that gives white noise the recording's mean autocorrelation.
    window : (y, x) array
        Root of the cells' mean energy at every pixel, without noise.
    spectrum : (2y, 2x) array
        The cells' mean power spectrum on twice the grid, without noise.
    gain : (2y, 2x) array or None
        Wiener's filter, spectrum/(spectrum + noise), that cells and kernels alike are looked at through (Wiener 1949):
        without it descriptors of noisy maps describe the noise.
    standard : bool
        Whether noise was added by `at_most`.
    """

    grid: Grid
    side: float
    noise: str
    ratios: Array
    amplitude: Array
    window: Array
    spectrum: Array
    gain: Array | None
    standard: bool = False

    @classmethod
    def of(cls, cortex: xr.Dataset) -> Recording:
        """What a signed bank says of the recording that it came from.

        Examples
        --------
        >>> import numpy as np
        >>> from rfcompare.simulation import simulate_population
        >>> recording = Recording.of(simulate_population(n=40, size=9, seed=0)[0])
        >>> recording.noise, recording.side, recording.spectrum.shape
        ('none', 0.0, (18, 18))
        """
        maps = zero_surround(signed_maps(cortex.rf))
        usable = np.isfinite(maps).all((1, 2)) & maps.any((1, 2))
        if not usable.any():
            raise InputError("expected a recording with a map that is not flat, got none; look at its status")
        maps = maps[usable]
        energy = (maps**2).sum((1, 2))
        shape, grid = maps.shape[1:], tuple(2 * size for size in maps.shape[1:])
        scaled = maps / np.sqrt(energy)[:, None, None]
        power = (np.abs(np.fft.fft2(scaled, grid)) ** 2).mean(0)
        window = (scaled**2).mean(0)
        variance, ratios, gain = noise_variance(cortex), np.zeros(0), None
        noise = "known" if variance is not None and np.nanmax(variance) > 0 else "none"
        if variance is None and str(cortex.attrs["kind"]) in _RECORDED:
            noise = "unknown"
        if variance is not None and noise == "known":
            ratios = _signal_to_noise(cortex)
            share = float(np.nanmean(variance[usable] / energy))  # a pixel's noise variance, of a map of energy 1
            pairs = np.multiply.outer(*(_overlaps(size) for size in shape))
            noisy = share * np.fft.fft2(pairs * _noise_acf(cortex, grid)).real.clip(0)
            power = np.maximum(power - noisy, 0.0)
            window = np.maximum(window - share, 0.0)
            gain = power / (power + noisy + np.finfo(float).tiny)
        stated = _stated_element(cortex)
        side = min(stated, float(np.ptp(cortex.x.values))) if stated else 0.0
        amplitude = _noise_amplitude(cortex, shape)
        return cls(Grid.of(cortex), side, noise, ratios, amplitude, np.sqrt(window), power, gain)

    def see(
        self,
        maps: Array,
        source: Grid,
        scale: float,
        generator: np.random.Generator,
        *,
        draws: int = 1,
        sharp: bool = False,
    ) -> tuple[Array, Array]:
        """Show maps to the recording.

        Parameters
        ----------
        maps : (n, y, x) array
            On the pixels of `source`, zero beyond them if `sharp`.
        source : Grid
            Their own.
        scale : float
            Units of the recording that one of theirs is.
        generator : Generator
            Of the noise; every map is given the signal-to-noise ratio of a cell drawn at random.
        draws : int
            Of the noise, per map.
        sharp : bool
            Whether the maps have been through the stimulus element already, and stand on its pixels whole: others may
            be cut off by their window, and go on beyond it as far as a pixel sees.

        Returns
        -------
        maps : (n · draws, y, x) array
            As recorded, the draws of a map side by side.
        noise_sd : (n · draws,) array
        """
        side = 0.0 if sharp else self.side
        rows, columns = _operators(source, self.grid, (scale, scale), side, cut=not sharp)
        seen = np.repeat(rows @ maps @ columns.T, draws, axis=0)
        if not self.ratios.size:
            return seen, np.zeros(len(seen))
        ratio = np.repeat(self._drawn(len(maps), generator), draws)
        noise_sd = np.sqrt(seen.var((1, 2)) / ratio)
        return seen + noise_sd[:, None, None] * self.shaped(seen.shape, generator), noise_sd

    def see_again(
        self, maps: Array, noise: Array, generator: np.random.Generator, *, draws: int = 1
    ) -> tuple[Array, Array]:
        """Maps that have been recorded with its stimulus already: only their noise is raised to that of its cells.

        Parameters
        ----------
        maps : (n, y, x) array
            On its grid.
        noise : (n,) array
            Variance of their noise now; where it exceeds a cell's it stays.
        generator, draws
            As for `see`.

        Returns
        -------
        maps : (n · draws, y, x) array
        noise_sd : (n · draws,) array
        """
        wanted = noise
        if self.ratios.size:
            wanted = np.maximum(noise, (maps.var((1, 2)) - noise).clip(0) / self._drawn(len(maps), generator))
        seen, added = (np.repeat(each, draws, axis=0) for each in (maps, wanted - noise))
        return seen + np.sqrt(added)[:, None, None] * self.shaped(seen.shape, generator), np.sqrt(
            np.repeat(wanted, draws)
        )

    def _drawn(self, n: int, generator: np.random.Generator) -> Array:
        """Signal-to-noise ratios of n cells, by rank: with a seed, recordings of about the same noise give the same."""
        rank = (generator.random(n) * self.ratios.size).astype(np.intp)
        return np.asarray(np.sort(self.ratios)[rank])

    def at_most(self, ratio: float, maps: Array, noise: Array, generator: np.random.Generator) -> tuple[Array, Array]:
        """Recorded maps with so much more of the recording's noise that none has a higher signal-to-noise ratio.

        Parameters
        ----------
        ratio : float
            Variance of signal over variance of noise.
        maps : (n, draws, y, x) array
            A map as often as it is to be given noise.
        noise : (n,) array
            Variance of their noise now.
        generator : Generator
            Of the noise.

        Returns
        -------
        maps : (n, draws, y, x) array
        noise : (n,) array
            Variance of their noise then.
        """
        wanted = np.maximum(noise, (maps[:, 0].var((1, 2)) - noise).clip(0) / ratio)
        return maps + np.sqrt(wanted - noise)[:, None, None, None] * self.shaped(maps.shape, generator), wanted

    def shaped(self, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
        """Noise of unit variance with the recording's mean autocorrelation."""
        white = generator.standard_normal(shape)
        if (self.amplitude == 1).all():
            return white
        return np.asarray(scipy.fft.ifft2(scipy.fft.fft2(white) * self.amplitude).real)

    def clean(self, maps: Array) -> Array:
        """Recorded maps (n, y, x) through Wiener's filter, which only a recording with noise has."""
        if self.gain is None:
            return maps
        height, width = maps.shape[1:]
        spectrum = scipy.fft.rfft2(maps, self.gain.shape) * self.gain[:, : self.gain.shape[1] // 2 + 1]
        return np.asarray(scipy.fft.irfft2(spectrum, self.gain.shape)[:, :height, :width])


def _overlaps(size: int) -> Array:
    """How many pairs of a line's pixels lie at each lag, on a circle of twice its length."""
    lag = np.arange(2 * size)
    return np.asarray(np.maximum(size - np.minimum(lag, 2 * size - lag), 0), dtype=np.float64)


def _stated_element(cortex: xr.Dataset) -> float | None:
    """Side of the stimulus element in degrees, where the recording states one and is in degrees."""
    try:
        stated = json.loads(str(cortex.attrs.get("stimulus", ""))).get("element_deg")
    except (ValueError, AttributeError):
        return None
    return stated if cortex.attrs["units"] == "degree" else None


def _is_share(value: Any) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < 1


def _checked_side(side: Any, cortex: xr.Dataset) -> float:
    """The element's side, when it is one that a recording on this grid can have had."""
    widest = max(float(np.ptp(cortex[name].values)) for name in ("x", "y"))
    if not isinstance(side, Real) or not 0 <= float(side) <= widest:
        raise InputError(
            f"expected the stimulus element to have a side from 0 to the map's {widest:g} {cortex.attrs['units']}, got "
            f"{side!r}; give spot"
        )
    return float(side)


def _operators(
    source: Grid, target: Grid, scale: tuple[float, float], side: float, *, cut: bool = False
) -> tuple[Array, Array]:
    """Matrices (rows, columns) that put a map on another grid, averaged over a square of `side` about each pixel.

    A map that its window has `cut` off goes on beyond it, mirrored, for as long as a pixel that the window covers
    partly can see, and fades over one more; any other is 0 there.

    Examples
    --------
    >>> import numpy as np
    >>> grid = Grid.regular((5, 5), pitch=1.0, units="px")
    >>> rows, columns = _operators(grid, grid, (1.0, 1.0), side=3.0)
    >>> (rows @ np.ones((5, 5)) @ columns.T).round(2)[2]
    array([0.68, 0.99, 1.02, 0.99, 0.68])
    """
    matrices = []
    for name, ratio, step in zip("yx", scale[::-1], target.pitch[::-1], strict=True):
        centers, own = getattr(target, name), getattr(source, name) * ratio
        if side == 0:
            matrices.append(_line(centers, own, step, step / 2 if cut else None))
            continue
        fine_step = step / _OVERSAMPLING
        size = _OVERSAMPLING * (centers.size + 2 * int(np.ceil(side / step)))
        positions = fine_step * (np.arange(size) - (size - 1) / 2)
        # The share of each fine pixel that the element covers.
        reach = (side + fine_step) / 2 - np.abs(positions[None, :] - centers[:, None])
        cover = np.clip(reach / fine_step, 0, 1)
        matrices.append(
            cover / cover.sum(1, keepdims=True) @ _line(positions, own, step, (step + side) / 2 if cut else None)
        )
    return matrices[0], matrices[1]


def _line(positions: Array, own: Array, step: float, beyond: float | None) -> Array:
    """Weights that give a line at positions; it is whole `beyond` its window and fades within one step more."""
    if beyond is None:
        return interpolation(positions, own)
    half = (own[-1] - own[0]) / 2 * own.size / (own.size - 1)
    fading = np.clip((half + beyond - np.abs(positions)) / step + 1, 0, 1)
    return np.asarray(fading[:, None] * interpolation(positions, own, mirror=True))


def _through_element(
    kernels: xr.Dataset, cortex: xr.Dataset, side: float, *, by: By, deg_per_px: float | None
) -> xr.Dataset:
    """Kernels on the recording's grid, averaged over a square of `side` about each of its pixels."""
    scale = scale_between(kernels, cortex, by=by, deg_per_px=deg_per_px)
    target = Grid.of(cortex)
    seen = resample(kernels, target, scale=scale, outside="zero")
    if side == 0:
        return seen
    rows, columns = _operators(Grid.of(kernels), target, scale, side)
    values = kernels.rf.transpose("unit", "channel", "y", "x").values.astype(float)
    known = ~np.isnan(values)
    # The mean over what the kernel has under the element: one missing pixel must not spread over the whole map.
    share = 1 - rows @ (~known).astype(float) @ columns.T
    total = rows @ np.where(known, values, 0.0) @ columns.T
    maps = np.divide(total, share, out=np.full(total.shape, np.nan), where=share > LEAST_KNOWN)
    maps[~known.any((1, 2, 3))] = np.nan
    return seen.drop_vars("energy_kept").assign(rf=(("unit", "channel", "y", "x"), maps))


def _variance(maps: Array) -> Array:
    """Variance of each unit's measured pixels, 0 where there are none (which NumPy would warn of)."""
    known = ~np.isnan(maps)
    count = np.maximum(known.sum(axis=(1, 2, 3), keepdims=True), 1)
    mean = np.where(known, maps, 0.0).sum(axis=(1, 2, 3), keepdims=True) / count
    return np.asarray((np.where(known, maps - mean, 0.0) ** 2).sum(axis=(1, 2, 3)) / count.ravel())


def _noise_acf(cortex: xr.Dataset, shape: tuple[int, ...]) -> Array:
    """The noise's mean autocorrelation at wrapped lags of a grid; that of white noise where none is given."""
    plane = np.zeros(shape)
    plane[0, 0] = 1.0
    if "noise_acf" in cortex:
        acf = cortex.noise_acf.mean(("unit", "channel")).transpose("lag_y", "lag_x").values
        plane[0, 0] = 0.0
        for i, dy in enumerate(cortex.lag_y.values.astype(int)):
            for j, dx in enumerate(cortex.lag_x.values.astype(int)):
                plane[dy % shape[0], dx % shape[1]] += acf[i, j]
    return plane


def _noise_amplitude(cortex: xr.Dataset, shape: tuple[int, ...]) -> Array:
    """Filter of unit power whose noise has the recording's mean autocorrelation."""
    power = np.fft.fft2(_noise_acf(cortex, shape)).real.clip(0)
    return np.asarray(np.sqrt(power / power.mean()))


def noise_variance(cortex: xr.Dataset) -> Array | None:
    """Variance (unit,) of a pixel's noise, from ``noise_sd`` or the halves; None where neither is given."""
    if "noise_sd" in cortex:
        return np.asarray(cortex.noise_sd.values.astype(float) ** 2)
    if "rf_half" in cortex:
        halves = signed_maps(cortex.rf_half)
        return np.asarray(np.nanmean((halves[0] - halves[1]) ** 2, axis=(1, 2)) / 4)
    return None


def _signal_to_noise(cortex: xr.Dataset) -> Array:
    """Variance of each usable cell's noiseless map over the variance of its noise."""
    noise = noise_variance(cortex)
    if noise is None:
        raise InputError("expected a recording with noise_sd or halves, got neither; give snr")
    signal = _variance(cortex.rf.transpose("unit", "channel", "y", "x").values.astype(float)) - noise
    usable = (noise > 0) & (signal > 0)
    if not usable.any():
        raise InputError("expected cells whose maps exceed their noise, got none; give snr")
    return np.asarray(signal[usable] / noise[usable])
