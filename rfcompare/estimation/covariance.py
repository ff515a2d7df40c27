"""The second-order subspace of a cell: what drives it when its average stimulus does not, as in complex cells.

Schwartz et al. 2006, doi:10.1167/6.4.13; Rust et al. 2005, doi:10.1016/j.neuron.2005.05.021. The average is projected
out first. The k-th largest eigenvalue is ranked among the largest ones of the shifted recordings (not nested, so later
filters are judged conservatively), the k-th smallest among the smallest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.stats
from tqdm import tqdm

from rfcompare.bank import Array, make_rng
from rfcompare.errors import InputError
from rfcompare.estimation.frames import lagged

_MAX_FEATURES = 2000
"""Most lags × pixels: the covariance is decomposed once for every shifted recording."""

_AVERAGE_ALPHA = 0.001
"""The average is projected out when its p is at most this."""

_LEAST_SHIFT = 0.05
"""Shifted recordings are off by at least this share of the frames."""

_BATCH_VALUES = 2**23


class Filter(NamedTuple):
    """A filter (lag·pixel) of unit norm, whose it is, what it is of the cell, and how certain it is."""

    name: str
    cell: str
    role: str
    values: Array
    eigenvalue: float
    """Variance given a spike over variance without; NaN of an average."""
    p: float


def significant_filters(
    frames: npt.NDArray[Any],
    rates: Array,
    lags: Sequence[int],
    *,
    n_shifts: int = 39,
    alpha: float = 0.05,
    max_filters: int = 12,
    cell: Sequence[str] | None = None,
    seed: int | np.random.Generator | None = 0,
    progress: bool | None = None,
) -> tuple[list[Filter], dict[str, Any]]:
    """Filters along which spikes change the variance of a stimulus, after each cell's average; and how they were found.

    `rfcompare.estimate` explains the options.
    """
    if (rates < 0).any() or not (rates.sum(0) > 0).all():
        raise InputError("expected spike counts with at least one spike in every cell, got others; check the responses")
    width = int(np.prod(frames.shape[1:])) * len(lags)
    if width > _MAX_FEATURES:
        raise InputError(f"expected at most {_MAX_FEATURES} features (lags × pixels), got {width}; crop the stimulus")
    names = [f"cell{i}" for i in range(rates.shape[1])] if cell is None else [str(name) for name in cell]
    if len(names) != rates.shape[1]:
        raise InputError(f"expected {rates.shape[1]} cell names, got {len(names)}; name every column of the responses")
    rng, recorded = make_rng(seed)
    features = frames.reshape(frames.shape[0], 1, -1).astype(np.float32)
    first = max(lags)
    every = np.ones((frames.shape[0], 1))
    mean = _means(features, every, lags)[0]
    covariance = _second_moment(features, every[:, 0], lags) - np.outer(mean, mean)
    values, vectors = scipy.linalg.eigh(covariance)
    if not values.max() > 0:
        raise InputError("expected a stimulus that varies, got a constant one; check the frames")
    usable = values > 1e-6 * values.max()
    unmix = vectors[:, usable] / np.sqrt(values[usable])  # features @ unmix are white

    found: list[Filter] = []
    hidden = None if progress is None else not progress
    with tqdm(total=rates.shape[1] * (n_shifts + 1), desc="covariance", unit="recording", disable=hidden) as bar:
        for name, counts in zip(names, rates.T, strict=True):
            count = counts[first:]
            least = int(_LEAST_SHIFT * count.size)
            shifts = rng.integers(least, max(least + 1, count.size - least), n_shifts)
            white = (_means(features, counts[:, None], lags)[0] - mean) @ unmix
            p_average = _hotelling(white, features, counts, lags, mean, unmix)
            # An average that is no more than noise points most often along the very filters that are looked for.
            out = _unit_norm(white) if p_average <= _AVERAGE_ALPHA else None
            spectrum, filters = _spectrum(features, counts, lags, mean, unmix, out)
            bar.update()
            extremes = np.empty((n_shifts, 2))
            for i, shift in enumerate(shifts):
                moved = np.append(np.zeros(first), np.roll(count, shift))
                shifted, _ = _spectrum(features, moved, lags, mean, unmix, out)
                extremes[i] = shifted[-1], shifted[0]
                bar.update()
            average = _unit_norm(unmix @ white)
            found.append(Filter(f"{name} average", name, "average", average, np.nan, float(p_average)))
            above = (1 + (extremes[:, :1] >= spectrum[::-1][:max_filters]).sum(0)) / (n_shifts + 1)
            below = (1 + (extremes[:, 1:] <= spectrum[:max_filters]).sum(0)) / (n_shifts + 1)
            for role, p, order in (("excitatory", above, -1), ("suppressive", below, 1)):
                kept = int(np.argmax(np.append(p > alpha, True)))  # up to the first that is not significant
                for k in range(kept):
                    at = k if order > 0 else spectrum.size - 1 - k
                    map_ = _unit_norm(unmix @ filters[:, at])
                    found.append(Filter(f"{name} {role} {k + 1}", name, role, map_, float(spectrum[at]), float(p[k])))
    return found, {"n_shifts": n_shifts, "alpha": alpha, "seed": recorded}


def _unit_norm(values: Array) -> Array:
    return np.asarray(values / np.linalg.norm(values))


def _hotelling(
    average: Array,
    features: npt.NDArray[np.float32],
    counts: Array,
    lags: Sequence[int],
    mean: Array,
    unmix: Array,
) -> float:
    """p of an average that differs from the raw mean by noise alone: Hotelling's T² on the stimuli with spikes."""
    weight = counts[max(lags) :]
    effective = weight.sum() ** 2 / (weight**2).sum()
    spread = unmix.T @ _centered_moment(features, counts, lags, mean) @ unmix - np.outer(average, average)
    squared = effective * average @ np.linalg.solve(spread, average)
    return float(scipy.stats.chi2.sf(squared, average.size))


def _means(features: npt.NDArray[np.float32], weights: Array, lags: Sequence[int]) -> Array:
    """Weighted means (weight, feature) of the lagged features."""
    width, first, last = features.shape[2] * len(lags), max(lags), features.shape[0]
    total = np.zeros((weights.shape[1], width))
    step = max(1, _BATCH_VALUES // width)
    for begin in range(first, last, step):
        end = min(begin + step, last)
        total += weights[begin:end].T @ lagged(features, lags, begin, end)
    return np.asarray(total / weights[first:].sum(0)[:, None])


def _second_moment(features: npt.NDArray[np.float32], weight: Array, lags: Sequence[int]) -> Array:
    """Weighted mean of the features' outer products."""
    width, first, last = features.shape[2] * len(lags), max(lags), features.shape[0]
    total = np.zeros((width, width))
    step = max(1, _BATCH_VALUES // width)
    for begin in range(first, last, step):
        end = min(begin + step, last)
        fired = np.flatnonzero(weight[begin:end])
        root = np.sqrt(weight[begin:end][fired]).astype(np.float32)
        part = lagged(features, lags, begin, end)[fired] * root[:, None]
        total += part.T @ part
    return np.asarray(total / weight[first:].sum())


def _centered_moment(features: npt.NDArray[np.float32], counts: Array, lags: Sequence[int], mean: Array) -> Array:
    """Weighted mean of the outer products about the raw mean."""
    average = _means(features, counts[:, None], lags)[0]
    about = np.outer(mean, mean) - np.outer(average, mean) - np.outer(mean, average)
    return np.asarray(_second_moment(features, counts, lags) + about)


def _spectrum(
    features: npt.NDArray[np.float32],
    counts: Array,
    lags: Sequence[int],
    mean: Array,
    unmix: Array,
    out: Array | None,
) -> tuple[Array, Array]:
    """Ascending eigenvalues and vectors of the white spike-triggered covariance about the raw mean, without `out`."""
    white = unmix.T @ _centered_moment(features, counts, lags, mean) @ unmix
    if out is not None:
        keep = np.eye(white.shape[0]) - np.outer(out, out)
        # What is projected out gets variance 1, that of the raw stimulus, so it is at neither end of the spectrum.
        white = keep @ white @ keep + np.outer(out, out)
    values, vectors = scipy.linalg.eigh(white)
    return values, vectors
