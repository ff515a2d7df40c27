"""The compiled engine's door: Gabor fits by the thousand, NumPy in and NumPy out."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numba import types

from rfcompare.errors import InputError
from rfcompare.fitting.jitted import N_SLOW, N_STARTS, find_starts, inspect, search, standardize

CHUNK = 256  # maps in one call of the search: enough to keep the lanes busy, few enough to stay in the cache
_TRIES, _TRIES_IF_DOUBTFUL = 4, 9
_SETTINGS = (1e-7, 100, 6, 1.3)  # tolerance, most steps, steps before a start is judged, factor at which it is given up
COMPILE_SECONDS = 15.0  # measured on one core at 2.3 GHz

_FLOATS1, _FLOATS2, _FLOATS3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_ENTRIES = {
    standardize: (*(_FLOATS2,) * 3, *(_FLOATS1,) * 3),
    find_starts: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS1,) * 3, *(_FLOATS2,) * 2, _FLOATS3, _FLOATS2,
    ),
    search: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS1,) * 2, _FLOATS3, types.int64[::1],
        types.Tuple((types.float64, types.int64, types.int64, types.float64, types.int64)),
        *(_FLOATS2,) * 2, types.int64[:, ::1],
    ),
    inspect: (*(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS2,) * 2, _FLOATS1, _FLOATS3),
}  # fmt: skip


@dataclass(frozen=True)
class CompiledFit:
    """What the engine found, one row per map; coordinates in pixels, row 0 lowest.

    Attributes
    ----------
    parameters : ndarray (n, 6)
        x0, y0, theta (direction of the carrier, radians), frequency (cycles per pixel), sigma_x, sigma_y.
    linear : ndarray (n, 3)
        a, b, offset of the model a·E·cos(u) + b·E·sin(u) + offset, with E the envelope and u = 2π·frequency·(distance
        from the center along theta).
    cost : ndarray (n,)
        Residual sum of squares, computed afresh from the final parameters.
    information : ndarray (n, 9, 9)
        J'J of the model with respect to `parameters` and `linear`, in this order.
    n_agree, n_evaluations : ndarray (n,) of int
        Starts that reached the best minimum; evaluations of the model in all.
    at_bound : ndarray (n,) of int
        Bit i is set when parameter i sits at its lower bound, bit 6 + i when at its upper bound.
    converged : ndarray (n,) of bool
        False where the search ran out of steps or the map has nothing to fit (constant, or fewer than three pixels).
    """

    parameters: np.ndarray
    linear: np.ndarray
    cost: np.ndarray
    information: np.ndarray
    n_agree: np.ndarray
    n_evaluations: np.ndarray
    at_bound: np.ndarray
    converged: np.ndarray


def is_warm() -> bool:
    """Whether `fit_gabor` runs at once: compiled in this process or by an earlier one on this machine."""
    try:
        return all(
            function.signatures
            or function._cache._index_key(signature, function.targetctx.codegen())
            in function._cache._cache_file._load_index()
            for function, signature in _ENTRIES.items()
        )
    except (AttributeError, OSError):  # another Numba, or nowhere to keep a cache
        return False


def estimated_seconds(n: int, height: int, width: int) -> float:
    """Rough time that `fit_gabor` takes for n maps, with the compilation where that is still to be done."""
    return n * (5e-6 + 1.5e-7 * height * width) + (0.0 if is_warm() else COMPILE_SECONDS)


def _order(worth):
    """The best start at a peak, the best slow one, two more at peaks, the other slow ones, the rest."""
    n_peaks = N_STARTS - N_SLOW
    peaks, slow = np.argsort(-worth[:, :n_peaks], 1), n_peaks + np.argsort(-worth[:, n_peaks:], 1)
    return np.concatenate((peaks[:, :1], slow[:, :1], peaks[:, 1:3], slow[:, 1:], peaks[:, 3:]), 1)


def _fit_chunk(maps, mask, low, high, seed_starts, thorough):
    n, height, width = maps.shape
    size, raw = max(height, width), np.ascontiguousarray(maps, float).reshape(n, height * width)
    if mask is None and not np.isfinite(raw).all():
        mask = np.isfinite(raw)
    weights = np.zeros((0, 0)) if mask is None else np.ascontiguousarray(mask, float).reshape(n, height * width)
    flat, counts, mean, spread = np.empty_like(raw), np.empty(n), np.empty(n), np.empty(n)
    standardize(raw, weights, flat, counts, mean, spread)
    if seed_starts is None:
        bins = min(max(size, 8), 32)
        angle = np.outer(np.arange(bins + 1) * (np.pi / bins), np.arange(size))
        taps = np.exp(-0.5 * (np.arange(math.ceil(0.18 * size) + 1) / (0.06 * size)) ** 2)
        taps /= 2 * taps.sum() - taps[0]
        starts, worth = np.empty((n, N_STARTS, 6)), np.empty((n, N_STARTS))
        find_starts(flat, weights, counts, height, width, low, high, taps, np.cos(angle), np.sin(angle), starts, worth)
        starts = np.take_along_axis(starts, _order(worth)[:, :, None], 1)
        tries, most = (N_STARTS, N_STARTS) if thorough else (_TRIES, _TRIES_IF_DOUBTFUL)
    else:
        starts = np.array(seed_starts, float)
        starts[:, :, 4:] = np.log(starts[:, :, 4:])
        starts = np.clip(starts, low, high)
        tries = most = starts.shape[1]
    n_starts = np.where(spread > 0, most, 1)
    parameters, linear, cost = np.zeros((n, 6)), np.zeros((n, 3)), np.empty(n)
    tallies, information = np.zeros((n, 3), np.int64), np.empty((n, 9, 9))
    settings = (*_SETTINGS, tries)
    search(flat, weights, counts, height, width, low, high, starts, n_starts, settings, parameters, linear, tallies)
    inspect(flat, weights, counts, height, width, parameters, linear, cost, information)
    bits = 1 << np.arange(6)
    at_bound = ((parameters <= low) @ bits) + ((parameters >= high) @ bits << 6)
    parameters[:, 4:] = np.exp(parameters[:, 4:])
    scale = np.repeat(spread[:, None], 9, 1)
    scale[:, 4:6] /= parameters[:, 4:]
    scale[:, 6:] = 1.0
    information *= scale[:, :, None] * scale[:, None, :]
    linear *= spread[:, None]
    linear[:, 2] += mean
    converged = (spread > 0) & (tallies[:, 2] > 0) & (cost <= counts)  # never worse than a constant
    return CompiledFit(
        parameters, linear, cost * spread**2, information, tallies[:, 0], tallies[:, 1], at_bound, converged
    )


def fit_gabor(
    maps: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    low: np.ndarray,
    high: np.ndarray,
    seed_starts: np.ndarray | None = None,
    thorough: bool = False,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> CompiledFit:
    """Fit a Gabor to every map.

    Parameters
    ----------
    maps : ndarray (n, height, width)
        Row 0 is the lowest y; coordinates are column and row numbers.
    mask : ndarray of bool (n, height, width), optional
        True where a pixel was measured; by default, where it is finite.
    low, high : ndarray (6,)
        Bounds of x0, y0, theta, frequency, sigma_x, sigma_y in pixels.
    seed_starts : ndarray (n, k, 6), optional
        Parameters to start from instead of the blind starts; all k are tried.
    thorough : bool
        Try every blind start on every map, not only where the first few leave a doubt.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of maps done after each chunk, from the thread that did it.

    Raises
    ------
    InputError
        If `maps` is not three-dimensional, `mask` has another shape, or a width may be less than 0.4 pixels.
    """
    if maps.ndim != 3:
        raise InputError(f"expected maps of shape (n, height, width), got {maps.shape}; add the missing axis.")
    if mask is not None and mask.shape != maps.shape:
        raise InputError(
            f"expected a mask of the maps' shape {maps.shape}, got {mask.shape}; give one value per pixel."
        )
    if min(low[4], low[5]) < 0.4:
        raise InputError(
            f"expected widths of at least 0.4 pixels, got a lower bound of {min(low[4], low[5]):g}; raise it, since a "
            "narrower envelope fits single pixels."
        )
    low, high = np.array(low, float), np.array(high, float)
    low[4:], high[4:] = np.log(low[4:]), np.log(high[4:])

    def run(first):
        part = slice(first, first + CHUNK)
        seeds, measured = (None if x is None else x[part] for x in (seed_starts, mask))
        done = _fit_chunk(maps[part], measured, low, high, seeds, thorough)
        if progress is not None:
            progress(len(done.cost))
        return done

    firsts = range(0, max(len(maps), 1), CHUNK)
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            chunks = list(pool.map(run, firsts))
    else:
        chunks = [run(first) for first in firsts]
    return CompiledFit(
        *(np.concatenate([getattr(c, name) for c in chunks]) for name in CompiledFit.__dataclass_fields__)
    )
