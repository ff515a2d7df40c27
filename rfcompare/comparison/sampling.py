"""Tests and intervals that include all that was sampled: animals, the cells in them, and kernels.

A network's kernels are a sample as its cells are; a test that takes them for fixed calls a sample of the same
population different in a fifth of all studies. Everything here is plain NumPy on one estimate or one group of distances
per animal and one per kernel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rfcompare.comparison.inference import normal_changes, student_weights

Array = NDArray[np.float64]

N_DRAWS = 2000
"""Draws of weights for an interval: its ends are then good to about a twentieth of its length."""


BEYOND_ERROR = 1.4
"""Standard errors by which a squared distance must exceed 0 before it is taken for one, and by which it may be larger
than found: of a sample of the species itself a tenth does; with 1.25 intervals cover 1 in all of 250 studies, with 1.5
in 96 %."""

MOST_DIMENSIONS = 50
"""Directions, at most, over which embeddings of a handful of animals may be said to spread evenly."""


class Difference(NamedTuple):
    """Kernels' estimate minus the mean over animals, with Welch's interval and test."""

    effect: float
    ci_low: float
    ci_high: float
    p: float

    @classmethod
    def of(cls, effect: float, half: float = math.nan, p: float = math.nan) -> Difference:
        """An estimate with an interval of this half length; NaN where none can be given."""
        return cls(effect, effect - half, effect + half, p)


def difference(animals: Array, kernels: float, kernel_variance: float, n_kernels: int) -> Difference:
    """Welch's test of one estimate per animal against one from a sample of kernels (Welch 1947).

    Parameters
    ----------
    animals : (S,) array
        An estimate for every animal, cells and all that was sampled in it included.
    kernels : float
        The kernels' estimate.
    kernel_variance : float
        Its sampling variance.
    n_kernels : int
        Kernels that it is from.

    Returns
    -------
    Difference
        NaN ends and p with fewer than two animals, or where nothing varies.

    Examples
    --------
    >>> found = difference(np.array([1.0, 2.0, 3.0, 4.0]), 4.5, 5 / 12, 4)  # as two samples of four, 2 apart
    >>> round(found.effect, 3), round(found.ci_low, 3), round(found.ci_high, 3)
    (2.0, -0.234, 4.234)
    """
    value = float(kernels - animals.mean()) if animals.size else math.nan
    if animals.size < 2 or n_kernels < 2:
        return Difference.of(value)
    variances = np.array([animals.var(ddof=1) / animals.size, kernel_variance])
    total = float(variances.sum())
    if not total > 1e-24 * max(1.0, float(np.abs(animals).max()) ** 2):
        return Difference.of(value)
    degrees = total**2 / float((variances**2 / (animals.size - 1, n_kernels - 1)).sum())
    half = float(stats.t.ppf(0.975, degrees)) * math.sqrt(total)
    return Difference.of(value, half, float(2 * stats.t.sf(abs(value) / math.sqrt(total), degrees)))


def told_apart(between: Array, cells: NDArray[np.intp], to_animals: Array, within: Array, draws: int) -> float:
    """p of the hypothesis that kernels are a sample of the species that the animals were sampled from.

    The statistic is the squared distance between the mean embedding of the animals and that of the kernels in the space
    where squared distances are energy distances (Sejdinovic et al. 2013); it is held against an F distribution whose
    degrees of freedom match the first two moments of its distribution under the hypothesis, as for repeated measures
    (Box 1954; Brunner, Dette & Munk 1997). In one dimension it is Welch's test.

    Parameters
    ----------
    between : (S, S) array
        Mean distances between animals, within each (different cells) on the diagonal.
    cells : (S,) int array
        Cells of each.
    to_animals : (n, S) array
        Mean distances from every kernel to every animal.
    within : (n, n) array
        Mean distances between kernels, between different draws of one on the diagonal.
    draws : int
        Draws of noise per kernel.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> cells, kernels = rng.normal(size=(5, 20)), 2 + rng.normal(size=30)  # 5 animals of 20 cells on one axis
    >>> apart = lambda a, b: np.abs(a[..., None] - b)
    >>> between = np.array([[apart(a, b).sum() / (400 - 20 * (a is b)) for b in cells] for a in cells])
    >>> to_animals = np.array([[apart(k, a).mean() for a in cells] for k in kernels])
    >>> told_apart(between, np.full(5, 20), to_animals, apart(kernels, kernels), 1) < 0.001
    True
    """
    size, n = len(between), len(within)
    if size < 2 or n < 2:
        return math.nan
    animals, kernels = _with_itself(between, cells), _with_itself(within, draws)
    statistic = 2 * to_animals.mean() - animals.mean() - kernels.mean()
    found = _moments(animals, to_animals, kernels)
    if not found.trace > 0:
        return math.nan
    squared = max(found.trace**2 - 2 * found.spread, found.square)
    first, second = max(1.0, squared / found.square), squared / found.spread
    return float(stats.f.sf(statistic / found.trace, first, second))


class _Moments(NamedTuple):
    """Of the mean embedding of the animals minus that of the kernels, with covariance C."""

    trace: float
    """tr(C), unbiased."""
    square: float
    """tr(C²), unbiased."""
    plain: float
    """tr(C²) of the sample, which is larger."""
    spread: float
    """Half of the variance of `trace`."""


def _moments(animals: Array, to_animals: Array, kernels: Array) -> _Moments:
    """From mean distances, those of every member to itself counted on the diagonals too."""
    size, n = to_animals.shape[::-1]
    a, k = _centered(animals) / (size - 1), _centered(kernels) / (n - 1)
    crossed = 2 * float((_centered(to_animals) ** 2).sum()) / ((size - 1) * (n - 1)) / (size * n)
    square_a, square_k = _squared_trace(a, size - 1) / size**2, _squared_trace(k, n - 1) / n**2
    return _Moments(
        float(np.trace(a)) / size + float(np.trace(k)) / n,
        square_a + square_k + crossed,
        float((a**2).sum()) / size**2 + float((k**2).sum()) / n**2 + crossed,
        square_a / (size - 1) + square_k / (n - 1),
    )


def _with_itself(distances: Array, members: NDArray[np.intp] | int) -> Array:
    """Distances between groups, those of every member to itself, which are zero, counted on the diagonal too."""
    filled = distances.copy()
    np.fill_diagonal(filled, np.nan_to_num(np.diag(distances)) * (members - 1) / members)
    return filled


def _centered(distances: Array) -> Array:
    """Inner products about the means, of embeddings whose squared distances are energy distances."""
    rows, columns = distances.mean(axis=1, keepdims=True), distances.mean(axis=0, keepdims=True)
    return np.asarray(rows + columns - distances - distances.mean())


def _squared_trace(covariance: Array, degrees: int) -> float:
    """tr(Σ²), unbiased from a sample covariance in its dual form (Himeno & Yamada 2014, for normal samples)."""
    square, trace = float((covariance**2).sum()), float(np.trace(covariance))
    if degrees < 2:
        return square / 3  # one degree of freedom: E tr(S²) = 3 tr(Σ²) along one axis
    unbiased = degrees**2 / ((degrees - 1) * (degrees + 2)) * (square - trace**2 / degrees)
    return max(unbiased, trace**2 / MOST_DIMENSIONS)


class Draws(NamedTuple):
    """What random weights of animals and kernels make of the terms of a likeness, (count,) each."""

    excess: Array
    """D(network) − D(another animal), as if no more than what is shown of it were there."""
    farther: Array
    """The same as if it were as large as it may be: the larger a distance, the more it varies."""
    reach: Array
    """D(zero) − D(another animal)."""


def weighted_draws(
    between: Array,
    cells: NDArray[np.intp],
    to_animals: Array,
    within: Array,
    draws: int,
    zero: tuple[float, Array],
    generator: np.random.Generator,
) -> Draws:
    """The terms of a likeness under random weights of animals and kernels.

    A squared distance is quadratic in the weights. Its part that is linear in them is as large as the distance found,
    noise included; it is scaled down to what the distance is without its bias, and vanishes where kernels are a sample
    of the species: resampling without that takes the noise twice, and intervals are too long there. The end of an
    interval that is far from the species is that of a distance as large as it may be, with the variance of such a one.

    Parameters
    ----------
    between, cells, to_animals, within, draws
        As for `told_apart`.
    zero : (float, (S,) array)
        E|R − R'| within the zero and its mean distance to every animal; it is known without error.
    generator : Generator
        Of the weights.
    """
    sizes = len(between), len(within)

    def excess(animal: Array, kernel: Array) -> Array:
        towards = 2 * np.vecdot(kernel @ to_animals, animal)
        return np.asarray(towards - _quadratic(within, kernel) - _quadratic(between, animal))

    unbiased = 2 * to_animals.mean() - _pairs(within) - _pairs(between)
    full = _with_itself(between, cells), _with_itself(within, draws)
    biased = 2 * to_animals.mean() - full[0].mean() - full[1].mean()
    animal, kernel = (student_weights(size, N_DRAWS, generator) for size in sizes)
    straight = (excess(animal, kernel) - excess(2 / sizes[0] - animal, 2 / sizes[1] - kernel)) / 2
    other = [1 / size + normal_changes(size, N_DRAWS, generator) for size in sizes]
    bent = (excess(*other) + excess(2 / sizes[0] - other[0], 2 / sizes[1] - other[1])) / 2
    if min(sizes) > 1:  # a sample's covariance is no larger than the species' on average, but its square is
        found = _moments(full[0], to_animals, full[1])
        bent = (bent - bent.mean()) * math.sqrt(min(found.square / found.plain, 1.0)) if found.plain > 0 else bent
    # Half of all samples of the species itself lie above 0.
    shown = unbiased - BEYOND_ERROR * float(bent.std())
    share = math.sqrt(min(max(shown / biased, 0.0), 1.0)) if biased > 0 else 0.0
    bent = unbiased + bent - bent.mean()
    return Draws(
        bent + share * straight,
        bent + _reaching(unbiased, biased, float(straight.var()), float(bent.var())) * straight,
        2 * animal @ zero[1] - zero[0] - _quadratic(between, animal),
    )


def _reaching(unbiased: float, biased: float, straight: float, bent: float) -> float:
    """Share of the linear part in a distance as large as it may be: D = u + 1.4·√(bent + D/biased·straight).

    Examples
    --------
    >>> _reaching(4.0, 4.0, 0.0, 0.0), round(_reaching(0.0, 1.0, 1.0, 0.0), 6)  # 4, and D = 1.4·√D
    (1.0, 1.4)
    """
    if not biased > 0:
        return 0.0
    middle = unbiased + BEYOND_ERROR**2 * straight / biased / 2
    largest = middle + math.sqrt(max(middle**2 - unbiased**2 + BEYOND_ERROR**2 * bent, 0.0))
    return math.sqrt(max(largest, 0.0) / biased)


def _pairs(matrix: Array) -> float:
    """Mean over pairs of different members."""
    size = len(matrix)
    if size == 1:
        return float(matrix[0, 0])
    return float((np.nansum(matrix) - np.nansum(np.diag(matrix))) / (size * (size - 1)))


def _quadratic(matrix: Array, weights: Array) -> Array:
    """w'Mw over pairs of different members, unbiased on average."""
    mean = _pairs(matrix)
    values = np.vecdot(weights @ np.where(np.isnan(matrix), mean, matrix), weights)
    return np.asarray(values + mean - values.mean())


def median(values: Array) -> Array:
    """Median along the last axis of values that may lie at the ends of the line; NaN half-way between the two ends.

    Examples
    --------
    >>> median(np.array([[-np.inf, 1.0, 3.0], [-np.inf, -np.inf, np.inf]]))
    array([  1., -inf])
    >>> median(np.array([-np.inf, np.inf]))
    array(nan)
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(np.median(values, axis=-1), dtype=np.float64)


def median_variance(values: Array, generator: np.random.Generator, *, count: int = 400) -> float:
    """Sampling variance of a median, by the bootstrap; the ends of the line, where censored values lie, are drawn too.

    Examples
    --------
    >>> values = np.random.default_rng(0).normal(size=400)
    >>> 0.5 < median_variance(values, np.random.default_rng(1)) / (np.pi / 2 / 400) < 1.5
    True
    """
    medians = median(generator.choice(values, (count, values.size)))
    return float(np.var(medians[np.isfinite(medians)])) if np.isfinite(medians).any() else math.nan
