"""Differences between two samples of one descriptor: plain NumPy, no labels.

Every statistic that compares two distributions is a functional of one curve, F_b − F_a at the pooled sorted values.
The curve is computed for many labelings of the pooled values at once, so that a permutation test costs a cumulative
sum and not a sort.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfcompare.errors import InputError

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]


def finite_sample(values: ArrayLike, name: str) -> Array:
    """One-dimensional finite float64 values, or an `InputError` that says what came instead."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"expected a one-dimensional sample {name} with at least one value, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(f"expected finite values in sample {name}, got {bad} that are not; leave them out and say so")
    return array


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Probability that b exceeds a minus the probability of the reverse, in [−1, 1] (Cliff 1993).

    Examples
    --------
    >>> round(cliffs_delta([1, 2, 3], [2, 4]), 6)  # of 6 pairs b is larger in 4, smaller in 1, tied in 1
    0.5
    """
    sorted_a = np.sort(finite_sample(a, "a"))
    sample_b = finite_sample(b, "b")
    below = np.searchsorted(sorted_a, sample_b, side="left")
    above = sorted_a.size - np.searchsorted(sorted_a, sample_b, side="right")
    return float((below.sum() - above.sum()) / (sorted_a.size * sample_b.size))


def difference_curve(values: Array, is_b: Labels) -> tuple[Array, Array, Array]:
    """F_b − F_a at the distinct pooled values, for every labeling at once.

    Parameters
    ----------
    values : (n,) array
        The pooled values.
    is_b : (..., n) bool array
        Which of them belong to b; leading axes are labelings.

    Returns
    -------
    points : (m,) array
        The distinct values, ascending.
    count : (m,) array
        How many pooled values each holds.
    curve : (..., m) array
        F_b − F_a just after each point; the last is 0.
    """
    order = np.argsort(values, kind="stable")
    points, first, count = np.unique(values[order], return_index=True, return_counts=True)
    label = is_b[..., order].astype(np.float64)
    n_b = label.sum(axis=-1, keepdims=True)
    running = np.cumsum(label, axis=-1)[..., first + count - 1]
    total = np.cumsum(count)
    curve = running / n_b - (total - running) / (values.size - n_b)
    return points, count.astype(np.float64), curve


def _kolmogorov_smirnov(points: Array, count: Array, curve: Array, period: float) -> Array:
    return np.asarray(np.abs(curve).max(axis=-1))


def _kuiper(points: Array, count: Array, curve: Array, period: float) -> Array:
    return np.asarray(curve.max(axis=-1) - curve.min(axis=-1))


def _wasserstein(points: Array, count: Array, curve: Array, period: float) -> Array:
    return np.asarray((np.abs(curve[..., :-1]) * np.diff(points)).sum(axis=-1))


def _circular_wasserstein(points: Array, count: Array, curve: Array, period: float) -> Array:
    # Where the circle is cut adds a constant to F_b − F_a; the transport cost is least at the length-weighted median.
    length = np.diff(np.append(points, points[0] + period))
    order = np.argsort(curve, axis=-1)
    weight = np.cumsum(length[order], axis=-1)
    middle = np.argmax(weight >= period / 2 * (1 - 1e-12), axis=-1)
    index = np.take_along_axis(order, middle[..., None], axis=-1)
    constant = np.take_along_axis(curve, index, axis=-1)
    return np.asarray((np.abs(curve - constant) * length).sum(axis=-1))


STATISTICS: Mapping[str, Callable[[Array, Array, Array, float], Array]] = MappingProxyType(
    {
        "ks": _kolmogorov_smirnov,
        "kuiper": _kuiper,
        "wasserstein": _wasserstein,
        "circular_wasserstein": _circular_wasserstein,
    }
)


def two_sample_statistic(name: str, values: Array, is_b: Labels, *, period: float = 180.0) -> Array:
    """A two-sample statistic for every labeling of the pooled values.

    Parameters
    ----------
    name : {"ks", "kuiper", "wasserstein", "circular_wasserstein", "watson_u2", "cliffs_delta", "mean_difference"}
        Which one.
    values : (n,) array
        Pooled values.
    is_b : (..., n) bool array
        Labelings; each must have both labels.
    period : float
        Of a circular quantity, in its own units.

    Returns
    -------
    (...) array

    Examples
    --------
    >>> import numpy as np
    >>> is_b = np.array([[False, False, True, True], [False, True, False, True]])
    >>> two_sample_statistic("ks", np.array([1.0, 2.0, 3.0, 4.0]), is_b)
    array([1. , 0.5])
    """
    if name == "mean_difference":
        label = is_b.astype(np.float64)
        n_b = label.sum(axis=-1)
        sum_b = label @ values
        return np.asarray(sum_b / n_b - (values.sum() - sum_b) / (values.size - n_b))
    if name in ("kuiper", "circular_wasserstein", "watson_u2"):
        values = values % period
    points, count, curve = difference_curve(values, is_b)
    if name in STATISTICS:
        return STATISTICS[name](points, count, curve, period)
    n_b = is_b.sum(axis=-1)
    n_a = values.size - n_b
    if name == "watson_u2":
        mean = (count * curve).sum(axis=-1, keepdims=True) / values.size
        spread = (count * (curve - mean) ** 2).sum(axis=-1)
        return np.asarray(n_a * n_b / values.size**2 * spread)
    if name == "cliffs_delta":
        # Mann–Whitney: b's mean midrank is (n_b + 1)/2 plus n_a · (P(b > a) + ½ P(b = a)).
        rank = np.cumsum(count) - (count - 1) / 2
        midrank = rank[np.searchsorted(points, values)]
        mean_rank_b = (is_b * midrank).sum(axis=-1) / n_b
        return np.asarray(2 * (mean_rank_b - (n_b + 1) / 2) / n_a - 1)
    known = ", ".join([*STATISTICS, "watson_u2", "cliffs_delta", "mean_difference"])
    raise InputError(f"expected a two-sample statistic among {known}, got {name!r}")


def _observed(name: str, a: ArrayLike, b: ArrayLike, period: float = 180.0) -> float:
    sample_a, sample_b = finite_sample(a, "a"), finite_sample(b, "b")
    is_b = np.repeat([False, True], [sample_a.size, sample_b.size])
    return float(two_sample_statistic(name, np.concatenate([sample_a, sample_b]), is_b, period=period))


def wasserstein(a: ArrayLike, b: ArrayLike) -> float:
    """Wasserstein-1 (earth mover's) distance in the descriptor's units: the area between the distribution functions.

    Examples
    --------
    >>> wasserstein([0, 1], [2, 5])  # 0 -> 2 and 1 -> 5, each half of the mass
    3.0
    """
    return _observed("wasserstein", a, b)


def circular_wasserstein(a: ArrayLike, b: ArrayLike, *, period: float = 180.0) -> float:
    """Wasserstein-1 distance along a circle, in degrees (Rabin, Delon & Gousseau 2011).

    Examples
    --------
    >>> round(circular_wasserstein([175], [5]), 9)
    10.0
    """
    return _observed("circular_wasserstein", a, b, period)


def kuiper(a: ArrayLike, b: ArrayLike, *, period: float = 180.0) -> float:
    """Kuiper's V = max(F_b − F_a) + max(F_a − F_b), the same wherever the circle is cut (Kuiper 1960).

    Examples
    --------
    >>> kuiper([10, 20], [30, 40]), kuiper([10, 30], [20, 40])
    (1.0, 0.5)
    """
    return _observed("kuiper", a, b, period)


def watson_u2(a: ArrayLike, b: ArrayLike, *, period: float = 180.0) -> float:
    """Watson's two-sample U², the same wherever the circle is cut (Watson 1962; ties as in Zar 2010, eq. 27.18).

    Examples
    --------
    >>> watson_u2([10, 20], [30, 40])  # curve −½, −1, −½, 0: spread ½ about −½, times 2·2/16
    0.125
    """
    return _observed("watson_u2", a, b, period)


def robust_scale(values: ArrayLike) -> float:
    """Robust standard deviation: 1.4826 × the median absolute deviation.

    Half of a sample may sit on one value (a share that is 0 in most cells); then the interquartile range over 1.349,
    and then the plain SD stands in. A constant sample has no scale and is refused.

    Raises
    ------
    InputError
        If all values are equal.

    Examples
    --------
    >>> round(robust_scale([1, 2, 3, 4, 100]), 4)
    1.4826
    """
    sample = finite_sample(values, "values")
    quartile = np.percentile(sample, [25, 75])
    for scale in (
        1.4826 * np.median(np.abs(sample - np.median(sample))),
        (quartile[1] - quartile[0]) / 1.349,
        sample.std(ddof=1) if sample.size > 1 else 0.0,
    ):
        if scale > 1e-12 * max(1.0, float(np.abs(sample).max())):
            return float(scale)
    raise InputError(f"expected a descriptor that varies, got {sample.size} equal values; leave it out of the space")
