"""What may be said from a handful of animals: p-values that name their smallest value, and intervals that cover.

Cells nest in animals, so every interval and every p here is computed from one estimate per subject (or by leaving whole
subjects out), never from cells as if they were independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rfcompare.comparison.statistics import Array, finite_sample
from rfcompare.errors import InputError

MIN_SUBJECTS = 4
"""Below this many subjects no interval for the species is given."""

BCA_SUBJECTS = 20
"""From this many subjects the bootstrap replaces Student's t."""

NO_INTERVAL = "no interval for the species: fewer than 4 subjects"

NO_SPREAD = "the subjects' estimates do not vary"


def varies(sample: Array) -> bool:
    """Whether values differ by more than rounding: equal ones, as on a grid of frequencies, have no sampling error."""
    return bool(np.ptp(sample) > _rounding(sample))


def _rounding(sample: Array) -> float:
    return 1e-12 * max(float(np.abs(sample).max()), 1e-300)


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


# Adjustment over descriptors -----------------------------------------------------------------------------------------


def holm(p: ArrayLike) -> Array:
    """Holm's step-down adjustment; missing p-values stay missing and are not counted (Holm 1979).

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    return _adjust(p, lambda sorted_p, m: np.maximum.accumulate(sorted_p * (m - np.arange(m))))


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Benjamini–Hochberg adjustment, which bounds the false discovery rate (Benjamini & Hochberg 1995).

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, 0.03])
    array([0.03, 0.04, 0.04])
    """
    return _adjust(p, lambda sorted_p, m: np.minimum.accumulate((sorted_p * m / np.arange(1, m + 1))[::-1])[::-1])


def _adjust(p: ArrayLike, step: Callable[[Array, int], Array]) -> Array:
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    present = np.isfinite(values)
    m = int(present.sum())
    if m:
        order = np.argsort(values[present], kind="stable")
        result = np.empty(m)
        result[order] = np.minimum(step(values[present][order], m), 1.0)
        adjusted[present] = result
    return adjusted


# Ranks and permutations ----------------------------------------------------------------------------------------------


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


def subject_labelings(
    n_a: int, n_b: int, *, n_permutation: int, generator: np.random.Generator
) -> tuple[NDArray[np.bool_], bool]:
    """Ways to call n_b of n_a + n_b subjects "b": all where they are at most `n_permutation`, else random ones.

    Returns
    -------
    labelings : (count, n_a + n_b) bool array
        The first is the observed one: the last n_b subjects.
    exhaustive : bool
        Whether these are all.

    Examples
    --------
    >>> import numpy as np
    >>> labelings, exhaustive = subject_labelings(4, 4, n_permutation=999, generator=np.random.default_rng(0))
    >>> labelings.shape, exhaustive
    ((70, 8), True)
    """
    total = n_a + n_b
    exhaustive = math.comb(total, n_b) <= n_permutation + 1
    if exhaustive:
        chosen = np.array(list(combinations(range(total), n_b))[::-1])
    else:
        rest = np.argsort(generator.random((n_permutation, total)), axis=1)[:, :n_b]
        chosen = np.vstack([np.arange(n_a, total)[None], rest])
    labelings = np.zeros((len(chosen), total), dtype=np.bool_)
    np.put_along_axis(labelings, chosen, True, axis=1)
    return labelings, exhaustive


def permuted_subjects(permuted: ArrayLike, *, exhaustive: bool, hypothesis: str) -> PValue:
    """p of the first of many permuted statistics, large ones extreme; ties count against the observed one.

    Parameters
    ----------
    permuted : (count,) array
        The statistic for every labeling; the first is the observed one.
    exhaustive : bool
        Whether these are all labelings; if so, several may give the largest value (swapping two groups of equal size
        changes nothing), and the smallest p says how many do.
    hypothesis : str
        What is tested, in words.

    Examples
    --------
    >>> permuted_subjects([3.0, 1.0, 2.0, 3.0], exhaustive=True, hypothesis="same species").p
    0.5
    """
    values = finite_sample(permuted, "permuted statistics")
    tolerance = 1e-9 * max(float(np.abs(values).max()), 1e-300)
    p = float((values >= values[0] - tolerance).mean())
    smallest = float((values >= values.max() - tolerance).mean()) if exhaustive else 1 / values.size
    return PValue(p, smallest, hypothesis)


def label_permutation(
    estimates_a: ArrayLike,
    estimates_b: ArrayLike,
    *,
    n_permutation: int = 9999,
    seed: int | np.random.Generator | None = None,
    hypothesis: str = "animals of both populations are alike (subject labels permuted)",
) -> PValue:
    """Permutation test of subject labels on the difference between the means of subject-level estimates.

    An estimate is a number or a vector per subject (the mean resultant of a circular quantity); of vectors the length
    of the difference is the statistic.

    Raises
    ------
    InputError
        If either side has fewer than 4 subjects: the smallest p would be above 0.05 for most pairs of sizes.

    Examples
    --------
    >>> label_permutation([1, 2, 3, 4], [11, 12, 13, 14], seed=0).p  # 2 of the 70 labelings
    0.0285714285714
    """
    a, b = np.asarray(estimates_a, dtype=np.float64), np.asarray(estimates_b, dtype=np.float64)
    if min(len(a), len(b)) < MIN_SUBJECTS:
        raise InputError(
            f"expected at least {MIN_SUBJECTS} subjects on each side, got {len(a)} and {len(b)}; "
            "compare with a fixed population instead"
        )
    labelings, exhaustive = subject_labelings(
        len(a), len(b), n_permutation=n_permutation, generator=np.random.default_rng(seed)
    )
    pooled = np.concatenate([a, b])
    difference = labelings.astype(np.float64) @ pooled / len(b) - (~labelings).astype(np.float64) @ pooled / len(a)
    length = np.linalg.norm(difference.reshape(len(labelings), -1), axis=1)
    return permuted_subjects(length, exhaustive=exhaustive, hypothesis=hypothesis)


def one_sample_test(estimates: ArrayLike, value: ArrayLike, *, hypothesis: str = "") -> PValue:
    """Hotelling's T² of per-subject estimates against fixed values: Student's t, two-sided, where each is one number.

    Of a circular quantity the estimates are the subjects' mean resultants: unlike their directions they have a mean
    also where the angles are spread over the whole circle.

    Parameters
    ----------
    estimates : (subject,) or (subject, axis) array
        More subjects than axes; below 4 subjects there is no p, nor where they do not vary along every axis: T² would
        divide by 0.
    value : float or (axis,) array
        What their mean is tested against.
    hypothesis : str
        What is tested, in words.

    Examples
    --------
    >>> round(one_sample_test([1.0, 2.0, 3.0, 4.0], 0.0).p, 4)  # mean 2.5, SE 0.6455, t = 3.873 on 3 degrees
    0.0305
    >>> vectors = [[1.0, 1.0], [1.0, -1.0], [3.0, 1.0], [3.0, -1.0]]
    >>> round(one_sample_test(vectors, [0.0, 0.0]).p, 4)  # T² = 4·2²/(4/3) = 12, F = 12·2/(3·2) = 4 on 2 and 2 degrees
    0.2
    """
    sample = np.asarray(estimates, dtype=np.float64)
    sample = sample[:, None] if sample.ndim == 1 else sample
    n, axes = sample.shape
    if n < max(MIN_SUBJECTS, axes + 1):
        return PValue(np.nan, np.nan, hypothesis)
    difference = sample.mean(axis=0) - np.atleast_1d(np.asarray(value, dtype=np.float64))
    covariance = np.atleast_2d(np.cov(sample, rowvar=False))
    if float(np.linalg.eigvalsh(covariance)[0]) <= _rounding(sample) ** 2:
        return PValue(np.nan, np.nan, f"{hypothesis} (not tested: {NO_SPREAD})".strip())
    t2 = n * float(difference @ np.linalg.solve(covariance, difference))
    return PValue(float(stats.f.sf(t2 * (n - axes) / (axes * (n - 1)), axes, n - axes)), 0.0, hypothesis)


def welch_interval(estimates_a: ArrayLike, estimates_b: ArrayLike, *, level: float = 0.95) -> Interval:
    """Welch's interval for the mean of b minus that of a, from subject-level estimates of both.

    Examples
    --------
    >>> interval = welch_interval([1, 2, 3, 4], [3, 4, 5, 6])
    >>> round(interval.low, 3), round(interval.high, 3)
    (-0.234, 4.234)
    """
    a, b = finite_sample(estimates_a, "a"), finite_sample(estimates_b, "b")
    if min(a.size, b.size) < MIN_SUBJECTS:
        return Interval(np.nan, np.nan, NO_INTERVAL)
    share_a, share_b = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    if not (varies(a) or varies(b)):
        return Interval(np.nan, np.nan, f"no interval: {NO_SPREAD}")
    degrees = (share_a + share_b) ** 2 / (share_a**2 / (a.size - 1) + share_b**2 / (b.size - 1))
    half = stats.t.ppf(0.5 + level / 2, degrees) * math.sqrt(share_a + share_b)
    center = b.mean() - a.mean()
    return Interval(float(center - half), float(center + half), "Welch t over subjects")


# Intervals over subjects: they are on the last axis, leading axes are independent studies ----------------------------


def t_limits(estimates: ArrayLike, *, level: float = 0.95) -> tuple[Array, Array]:
    """Student's interval for the mean over the last axis.

    Examples
    --------
    >>> low, high = t_limits([1.0, 2.0, 3.0, 4.0])
    >>> round(float(low), 3), round(float(high), 3)  # 2.5 ± 3.182 · 0.6455
    (0.446, 4.554)
    """
    sample = np.asarray(estimates, dtype=np.float64)
    n = sample.shape[-1]
    half = stats.t.ppf(0.5 + level / 2, n - 1) * sample.std(axis=-1, ddof=1) / math.sqrt(n)
    center = sample.mean(axis=-1)
    return center - half, center + half


def _resampling_weights(n: int, count: int, generator: np.random.Generator) -> Array:
    return generator.multinomial(n, np.full(n, 1 / n), size=count) / n


def bootstrap_t_limits(
    estimates: ArrayLike,
    *,
    level: float = 0.95,
    n_bootstrap: int = 1999,
    seed: int | np.random.Generator | None = None,
) -> tuple[Array, Array]:
    """Bootstrap-t interval for the mean over the last axis (Efron & Tibshirani 1993, chapter 12).

    Resamples of few subjects may be constant; they have no t and are left out.

    Examples
    --------
    >>> low, high = bootstrap_t_limits([1.0, 2.0, 3.0, 4.0, 9.0], seed=0)
    >>> bool(low < 3.8 < high)
    True
    """
    sample = np.asarray(estimates, dtype=np.float64)
    n = sample.shape[-1]
    weights = _resampling_weights(n, n_bootstrap, np.random.default_rng(seed))
    center = sample.mean(axis=-1, keepdims=True)
    centered = sample - center
    moved = centered @ weights.T
    variance = np.maximum(centered**2 @ weights.T - moved**2, 0.0) * n / (n - 1)
    constant = variance <= 1e-12 * np.maximum(sample.var(axis=-1, keepdims=True), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(constant, np.nan, moved / np.sqrt(variance / n))
    tail = 100 * (0.5 + level / 2)
    upper, lower = np.nanpercentile(t, [tail, 100 - tail], axis=-1)
    error = sample.std(axis=-1, ddof=1) / math.sqrt(n)
    return center[..., 0] - upper * error, center[..., 0] - lower * error


def bca_limits(
    estimates: ArrayLike,
    *,
    level: float = 0.95,
    n_bootstrap: int = 1999,
    seed: int | np.random.Generator | None = None,
) -> tuple[Array, Array]:
    """Bias-corrected and accelerated bootstrap interval for the mean over the last axis (Efron 1987).

    The percentiles are widened as in Hesterberg (2015, doi:10.1080/00031305.2015.1089789, "expanded percentile"): a
    resample's spread is √((n − 1)/n) of the sample's and its tails are normal, not Student's, which at 20 subjects
    would cost 2 % of coverage.

    Examples
    --------
    >>> low, high = bca_limits([float(value) for value in range(20)], seed=0)
    >>> bool(low < 9.5 < high)
    True
    """
    sample = np.asarray(estimates, dtype=np.float64)
    n = sample.shape[-1]
    weights = _resampling_weights(n, n_bootstrap, np.random.default_rng(seed))
    center = sample.mean(axis=-1, keepdims=True)
    resampled = np.sort(sample @ weights.T, axis=-1)
    below = (resampled < center).mean(axis=-1) + 0.5 * (resampled == center).mean(axis=-1)
    bias = stats.norm.ppf(np.clip(below, 0.5 / n_bootstrap, 1 - 0.5 / n_bootstrap))
    deviation = sample - center
    squares = (deviation**2).sum(axis=-1)
    skew = (deviation**3).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        acceleration = np.where(squares > 0, skew / (6 * squares**1.5), 0.0)
    reach = math.sqrt(n / (n - 1)) * stats.t.ppf(0.5 + level / 2, n - 1)
    limits = []
    for z in (-reach, reach):
        shifted = bias + z
        share = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        place = np.clip(share * n_bootstrap - 0.5, 0, n_bootstrap - 1)
        lower = np.floor(place).astype(np.intp)
        upper = np.minimum(lower + 1, n_bootstrap - 1)
        at_lower = np.take_along_axis(resampled, lower[..., None], axis=-1)[..., 0]
        at_upper = np.take_along_axis(resampled, upper[..., None], axis=-1)[..., 0]
        limits.append(at_lower + (place - lower) * (at_upper - at_lower))
    return limits[0], limits[1]


def subject_limits(
    estimates: ArrayLike, *, level: float = 0.95, seed: int | np.random.Generator | None = None
) -> tuple[Array, Array]:
    """Interval for the mean over the last axis by the rule of `subject_interval`."""
    sample = np.asarray(estimates, dtype=np.float64)
    if sample.shape[-1] < MIN_SUBJECTS:
        missing = np.full(sample.shape[:-1], np.nan)
        return missing, missing.copy()
    if sample.shape[-1] < BCA_SUBJECTS:
        return t_limits(sample, level=level)
    return bca_limits(sample, level=level, seed=seed)


def subject_interval(
    estimates: ArrayLike, *, level: float = 0.95, seed: int | np.random.Generator | None = None
) -> Interval:
    """Interval for the mean of one estimate per subject: none below 4, Student's t below 20, BCa from 20.

    Examples
    --------
    >>> subject_interval([1.0, 2.0, 3.0]).method
    'no interval for the species: fewer than 4 subjects'
    >>> subject_interval([1.0, 2.0, 3.0, 4.0]).method
    't over subjects'
    """
    sample = finite_sample(estimates, "estimates")
    low, high = subject_limits(sample, level=level, seed=seed)
    if sample.size < MIN_SUBJECTS:
        return Interval(np.nan, np.nan, NO_INTERVAL)
    if not varies(sample):
        return Interval(np.nan, np.nan, f"no interval: {NO_SPREAD}")
    return Interval(float(low), float(high), "t over subjects" if sample.size < BCA_SUBJECTS else "BCa over subjects")


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
    >>> bool(abs(low - t_limits([1.0, 2.0, 3.0, 4.0, 9.0])[0]) < 0.05)
    True
    """
    if size == 1:
        return np.ones((count, 1))
    normal = generator.standard_normal((count, size))
    normal -= normal.mean(axis=1, keepdims=True)
    chi = np.sqrt(generator.chisquare(size - 1, (count, 1)) / (size - 1))
    return np.asarray(1 / size + normal / chi / math.sqrt(size * (size - 1)))


def jackknife_error(left_out: ArrayLike) -> Array:
    """Delete-one jackknife standard error from the leave-one-out values on the last axis (Efron & Stein 1981).

    Examples
    --------
    >>> import numpy as np
    >>> sample = np.array([1.0, 2.0, 3.0, 4.0])
    >>> left_out = (sample.sum() - sample) / 3  # of the mean: its jackknife error is its standard error, 0.6455
    >>> round(float(jackknife_error(left_out)), 4)
    0.6455
    """
    values = np.asarray(left_out, dtype=np.float64)
    n = values.shape[-1]
    return np.asarray(np.sqrt((n - 1) / n * ((values - values.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1)))


def jackknife_interval(estimate: float, *left_out: ArrayLike, level: float = 0.95, of: str = "subjects") -> Interval:
    """Interval by the delete-one jackknife with Student's t; several independent sets of subjects add their variances.

    Parameters
    ----------
    estimate : float
        From all subjects.
    *left_out : (S,) arrays
        The estimate without each subject, for each independent set of subjects (animals; training seeds). No interval
        is given where every set has fewer than 4.
    level : float
        Confidence level.
    of : str
        What was left out, for the method's name.

    Examples
    --------
    >>> jackknife_interval(1.0, [0.9, 1.0, 1.1]).method
    'no interval for the species: fewer than 4 subjects'
    >>> interval = jackknife_interval(2.5, [3.0, 2.6667, 2.3333, 2.0])
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.45, 4.55)
    """
    sets = [finite_sample(values, "leave-one-out values") for values in left_out]
    sizes = np.array([values.size for values in sets])
    if sizes.size == 0 or sizes.max() < MIN_SUBJECTS:
        return Interval(np.nan, np.nan, NO_INTERVAL)
    variances = np.array([float(jackknife_error(values)) ** 2 for values in sets])
    total = float(variances.sum())
    if total == 0:
        return Interval(estimate, estimate, f"jackknife over {of}")
    degrees = total**2 / float((variances**2 / (sizes - 1)).sum())
    half = float(stats.t.ppf(0.5 + level / 2, degrees)) * math.sqrt(total)
    return Interval(estimate - half, estimate + half, f"jackknife over {of}")
