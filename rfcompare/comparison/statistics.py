"""One sample of one descriptor: whether it can be used, and how widely it spreads."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rfcompare.errors import InputError

Array = NDArray[np.float64]


def finite_sample(values: ArrayLike, name: str) -> Array:
    """One-dimensional finite float64 values, or an `InputError` that says what came instead."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"expected a one-dimensional sample {name} with at least one value, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise InputError(f"expected finite values in sample {name}, got {bad} that are not; leave them out and say so")
    return array


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
