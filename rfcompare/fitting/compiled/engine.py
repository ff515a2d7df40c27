"""The compiled engine's doors: fits by the thousand, NumPy in and NumPy out."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numba import types

from rfcompare.errors import InputError
from rfcompare.fitting.batched import Solution, prepare
from rfcompare.fitting.compiled.search import (
    find_starts,
    fit_blobs,
    fit_dogs,
    fit_hermites,
    fit_waves,
    inspect,
    search,
    standardize,
    summarize,
)
from rfcompare.fitting.compiled.shapes import CURVED, FREE, TIED
from rfcompare.fitting.compiled.starting import N_PEAKS, N_SLOW, N_STARTS
from rfcompare.fitting.dictionary import all_starts, likest
from rfcompare.fitting.uncertainty import rivals
from rfcompare.models import MODELS, Link, Model, Summary

CHUNK = 256  # maps in one call of the search: enough to keep the lanes busy, few enough to stay in the cache
_TRIES, _TRIES_IF_DOUBTFUL = 4, 9
_SETTINGS = (1e-7, 100, 6, 1.3)  # tolerance, most steps, steps before a start is judged, factor at which it is given up
COMPILE_SECONDS = 10.0  # measured on one core: 8 to 11 s by family of models

_FLOATS1, _FLOATS2, _FLOATS3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_SIX = types.UniTuple(types.float64, 6)
_SEARCH_SETTINGS = types.Tuple((types.float64, types.int64, types.int64, types.float64, types.int64))
_GABOR = {
    standardize: (*(_FLOATS2,) * 3, *(_FLOATS1,) * 3),
    find_starts: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_SIX,) * 2, _FLOATS1, *(_FLOATS2,) * 2, _FLOATS3, _FLOATS2,
    ),
    search: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_SIX,) * 2, _FLOATS3, types.int64[::1], _SEARCH_SETTINGS,
        *(_FLOATS2,) * 2, types.int64[:, ::1], _FLOATS3, _FLOATS2,
    ),
    inspect: (*(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS2,) * 2, _FLOATS1, _FLOATS3),
}  # fmt: skip
_SUMMARY = {summarize: (*(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 3, _FLOATS1, *(_FLOATS2,) * 3)}
_FIT = (
    *(_FLOATS2,) * 2, *(_FLOATS1,) * 3, *(types.int64,) * 2, *(_FLOATS1,) * 2, types.int64[::1], _FLOATS3,
    types.int64[::1], _SEARCH_SETTINGS, *(_FLOATS2,) * 2, _FLOATS1, _FLOATS3, types.int64[:, ::1], _FLOATS3, _FLOATS2,
)  # fmt: skip
_ENTRIES = {
    "gaussian_isotropic": (fit_blobs, 0),
    "dog": (fit_dogs, 0),
    "gaussian": (fit_hermites, 0),
    **{f"derivative{order}": (fit_hermites, order) for order in (1, 2, 3, 4)},
    "gabor": (fit_waves, TIED),
    "gabor_free": (fit_waves, FREE),
    "gabor_curved": (fit_waves, CURVED),
}
"""The jitted function and variant of every model that has parameters."""


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
    rival : ndarray (n, 6)
        Parameters of the best other minimum in which a start ended; NaN where there was none.
    rival_cost : ndarray (n,)
        Its residual sum of squares; infinite where there was none.
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
    rival: np.ndarray
    rival_cost: np.ndarray
    converged: np.ndarray


def is_warm(model: str = "gabor", *, alone: bool = True) -> bool:
    """Whether a model is fitted at once: compiled in this process or by an earlier one on this machine.

    `alone` says that a Gabor is fitted to one channel on square pixels, which has functions of its own.
    """
    needed = _GABOR if model == "gabor" and alone else {**_SUMMARY, _ENTRIES[model][0]: _FIT}
    try:
        return all(
            function.signatures
            or function._cache._index_key(signature, function.targetctx.codegen())
            in function._cache._cache_file._load_index()
            for function, signature in needed.items()
        )
    except (AttributeError, OSError):  # another Numba, or nowhere to keep a cache
        return False


def _order(worth):
    """The best start at a peak, the best slow one, two more at peaks, the other slow ones, the rest."""
    n_peaks = N_STARTS - N_SLOW
    peaks, slow = np.argsort(-worth[:, :n_peaks], 1), n_peaks + np.argsort(-worth[:, n_peaks:], 1)
    return np.concatenate((peaks[:, :1], slow[:, :1], peaks[:, 1:3], slow[:, 1:], peaks[:, 3:]), 1)


def _lookup(size):
    """Taps that smooth the energy, cosines and sines of the carriers whose power is looked at."""
    bins = min(max(size, 8), 32)
    angle = np.outer(np.arange(bins + 1) * (np.pi / bins), np.arange(size))
    taps = np.exp(-0.5 * (np.arange(math.ceil(0.18 * size) + 1) / (0.06 * size)) ** 2)
    return taps / (2 * taps.sum() - taps[0]), np.cos(angle), np.sin(angle)


def _fit_chunk(maps, mask, low, high, seed_starts, thorough):
    n, height, width = maps.shape
    size, raw = max(height, width), np.ascontiguousarray(maps, float).reshape(n, height * width)
    if mask is None and not np.isfinite(raw).all():
        mask = np.isfinite(raw)
    weights = np.zeros((0, 0)) if mask is None else np.ascontiguousarray(mask, float).reshape(n, height * width)
    flat, counts, mean, spread = np.empty_like(raw), np.empty(n), np.empty(n), np.empty(n)
    standardize(raw, weights, flat, counts, mean, spread)
    floor, ceiling = tuple(low.tolist()), tuple(high.tolist())
    if seed_starts is None:
        starts, worth = np.empty((n, N_STARTS, 6)), np.empty((n, N_STARTS))
        find_starts(flat, weights, counts, height, width, floor, ceiling, *_lookup(size), starts, worth)
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
    ends, end_costs = np.zeros((n, most, 6)), np.full((n, most), np.inf)
    search(
        flat, weights, counts, height, width, floor, ceiling, starts, n_starts, (*_SETTINGS, tries), parameters, linear,
        tallies, ends, end_costs,
    )  # fmt: skip
    inspect(flat, weights, counts, height, width, parameters, linear, cost, information)
    rival, rival_cost = rivals(MODELS["gabor"], parameters, ends, end_costs)
    rival[:, 4:] = np.exp(rival[:, 4:])
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
        parameters, linear, cost * spread**2, information, tallies[:, 0], tallies[:, 1], at_bound, rival,
        rival_cost * np.where(spread > 0, spread, 1.0) ** 2, converged,
    )  # fmt: skip


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

    parts = _in_chunks(run, len(maps), workers)
    return CompiledFit(
        *(np.concatenate([getattr(c, name) for c in parts]) for name in CompiledFit.__dataclass_fields__)
    )


def _in_chunks(run, n, workers):
    """What `run` gives for the first map of every chunk, in order."""
    firsts = range(0, max(n, 1), CHUNK)
    if workers == 1:
        return [run(first) for first in firsts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(run, firsts))


# --------------------------------------------------------------------------------------------------------------------
# Every model


def _summary(flat, weights, counts, channels, x, y):
    """`models.summarize` on square pixels."""
    height, width = len(y), len(x)
    out = np.empty((len(flat), 7 + 2 * N_PEAKS))
    size = max(height, width)
    summarize(flat, weights, counts, height, width, channels, *_lookup(size), out)
    return Summary(
        out[:, 0] + x[0],
        out[:, 1] + y[0],
        out[:, 2],
        out[:, 3:7:2] + x[0],
        out[:, 4:7:2] + y[0],
        out[:, 7::2],
        np.clip(out[:, 8::2], 0.5 / size, 0.49),
        float(size),
    )


def _solve_chunk(model, values, mask, x, y, starts):
    problem = prepare(model, values, mask, x, y)
    n, channels = values.shape[:2]
    low, high = model.bounds(x, y)
    q, terms = len(low), len(model.linear) + 1
    size = q + channels * terms
    unit = np.sqrt(problem.total / (channels * problem.count))
    flat = (problem.maps / unit[:, None, None, None]).reshape(n, -1)
    counts = np.ascontiguousarray(problem.count, float)
    weights = np.zeros((0, 0)) if problem.whole else np.ascontiguousarray(mask.reshape(n, -1))
    if starts is None and max(abs(x[1] - x[0] - 1), abs(y[1] - y[0] - 1)) > 1e-9:  # pixels are not square
        starts = all_starts(model, problem.maps, problem.mask, x, y)
    elif starts is None:  # what `all_starts` gives, faster
        blind = model.starts(_summary(flat, weights, counts, channels, x, y))
        starts = np.concatenate([blind, likest(model.name, problem.maps, x, y)], axis=1)
    most = starts.shape[1]
    starts = np.ascontiguousarray(np.clip(starts, low, high))
    entry, variant = _ENTRIES[model.name]
    links = np.array([get_args(Link).index(parameter.link) for parameter in model.parameters])
    p, linear, cost = np.zeros((n, q)), np.zeros((n, channels * terms)), np.empty(n)
    information, tallies = np.empty((n, size, size)), np.zeros((n, 3), np.int64)
    ends, end_costs = np.zeros((n, most, q)), np.full((n, most), np.inf)

    def run(starts, p, linear):
        entry(
            flat, weights, counts, x, y, channels, variant, low, high, links, starts, np.full(n, most),
            (*_SETTINGS, most), p, linear, cost, information, tallies, ends, end_costs,
        )  # fmt: skip

    run(starts, p, linear)
    rival, rival_cost = rivals(model, p, ends, end_costs)
    p, linear = model.canonical(p, linear.reshape(n, channels, terms))
    p, linear = np.ascontiguousarray(p), np.ascontiguousarray(linear)
    run(np.zeros((n, 0, q)), p, linear.reshape(n, -1))
    scale = np.ones((n, size))
    scale[:, :q] = unit[:, None]
    linear = linear * unit[:, None, None]
    linear[:, :, -1] += problem.mean
    return Solution(
        p, linear, cost * unit**2, tallies[:, 0], tallies[:, 2] > 0, rival, rival_cost * unit**2,
        information * scale[:, :, None] * scale[:, None, :],
    )  # fmt: skip


def fit_model(
    model: Model,
    values: np.ndarray,
    mask: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    starts: np.ndarray | None = None,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Solution:
    """Fit any model that has parameters to every map, its channels sharing them.

    Parameters
    ----------
    model : Model
    values : ndarray (n, channel, height, width)
        Rows ascending in y; zero where not measured.
    mask : ndarray (n, height, width)
        1 where measured, 0 elsewhere.
    x, y : ndarray (width,), (height,)
        Pixel positions.
    starts : ndarray (n, k, parameters), optional
        In place of the model's blind starts; all k are tried.
    workers, progress
        As for `fit_gabor`.
    """

    def run(first):
        part = slice(first, first + CHUNK)
        seeds = None if starts is None else starts[part]
        done = _solve_chunk(model, values[part], mask[part], x, y, seeds)
        if progress is not None:
            progress(len(done.cost))
        return done

    return Solution.joined(_in_chunks(run, len(values), workers))
