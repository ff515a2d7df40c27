"""What may be said from a handful of animals: p-values that name their smallest value, and intervals that cover.

Cells nest in animals, so every interval and every p here is computed from one estimate per subject (or by leaving whole
subjects out), never from cells as if they were independent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from rfcompare.comparison.statistics import Array, finite_sample
from rfcompare.errors import InputError

MIN_SUBJECTS = 4
"""Below this many subjects no interval for the species is given."""


class Interval(NamedTuple):
    """A confidence interval and how it was made; both ends are NaN where none can be given."""

    low: float
    high: float
    method: str


class PValue(NamedTuple):
    """A p-value, the smallest it could have been, and what it tests."""

    p: float
    smallest: float
    hypothesis: str


def holm(p: ArrayLike) -> Array:
    """Holm's step-down adjustment; missing p-values stay missing and are not counted (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, dtype=np.float64)
    present = np.flatnonzero(np.isfinite(values))
    order = present[np.argsort(values[present], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * np.arange(order.size, 0, -1)), 1.0)
    return adjusted


def rank_test(observed: float, reference: ArrayLike, *, alternative: str, hypothesis: str = "") -> PValue:
    """Rank of one value among exchangeable ones: p = (1 + #{reference at least as extreme}) / (N + 1).

    Parameters
    ----------
    observed : float
        The value tested.
    reference : (N,) array
        Values that are exchangeable with it under the hypothesis.
    alternative : {"less", "greater"}
        Which end is extreme.
    hypothesis : str
        What is tested, in words.

    Examples
    --------
    >>> rank_test(1.0, [2.0, 3.0, 0.5], alternative="less", hypothesis="as far as an untrained network")
    PValue(p=0.5, smallest=0.25, hypothesis='as far as an untrained network')
    """
    values = finite_sample(reference, "reference")
    if alternative not in ("less", "greater"):
        raise InputError(f"expected alternative 'less' or 'greater', got {alternative!r}")
    extreme = values <= observed if alternative == "less" else values >= observed
    return PValue((1 + int(extreme.sum())) / (values.size + 1), 1 / (values.size + 1), hypothesis)


def student_weights(size: int, count: int, generator: np.random.Generator) -> Array:
    """Random weights of `size` subjects, (count, size): 1/size each plus Student multipliers that sum to 0.

    Where a resample draws subjects, this moves their weights by normal numbers of the right variance, divided by one
    chi per draw (a multiplier bootstrap). The weighted mean of any per-subject estimates is then distributed exactly as
    Student's t about their mean, also for 4 subjects, where resamples have too few values; and a statistic that is a
    polynomial of the weights, as a distance between populations is, follows without being linearized.

    Examples
    --------
    >>> import numpy as np
    >>> weights = student_weights(5, 200_000, np.random.default_rng(0))
    >>> low, high = np.percentile(weights @ [1.0, 2.0, 3.0, 4.0, 9.0], [2.5, 97.5])
    >>> round(float(low), 1), round(float(high), 1)  # 3.8 ± 2.776 · 1.393
    (-0.1, 7.7)
    """
    changes = normal_changes(size, count, generator)
    if size == 1:
        return 1 + changes
    chi = np.sqrt(generator.chisquare(size - 1, (count, 1)) / (size - 1))
    return np.asarray(1 / size + changes / chi)


def normal_changes(size: int, count: int, generator: np.random.Generator) -> Array:
    """Normal changes of the weights of `size` subjects, (count, size): they sum to 0 and covary as a mean's do."""
    if size == 1:
        return np.zeros((count, 1))
    normal = generator.standard_normal((count, size))
    return np.asarray((normal - normal.mean(axis=1, keepdims=True)) / math.sqrt(size * (size - 1)))


def jackknife_interval(estimate: float, left_out: ArrayLike) -> Interval:
    """95 % interval by the delete-one jackknife (Efron & Stein 1981) with Student's t.

    Parameters
    ----------
    estimate : float
        From all subjects.
    left_out : (S,) array
        The estimate without each subject; no interval is given for fewer than 4.

    Examples
    --------
    >>> jackknife_interval(1.0, [0.9, 1.0, 1.1]).method
    'no interval for the species: fewer than 4 subjects'
    >>> interval = jackknife_interval(2.5, [3.0, 2.6667, 2.3333, 2.0])
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.45, 4.55)
    """
    values = finite_sample(left_out, "leave-one-out values")
    if values.size < MIN_SUBJECTS:
        return Interval(np.nan, np.nan, f"no interval for the species: fewer than {MIN_SUBJECTS} subjects")
    error = math.sqrt((values.size - 1) * values.var())
    half = float(stats.t.ppf(0.975, values.size - 1)) * error
    return Interval(estimate - half, estimate + half, "jackknife over subjects")
