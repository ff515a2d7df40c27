"""Joint differences between populations of units in a space of several descriptors: plain NumPy, no labels.

Distances between units are computed once and reduced to mean distances between *subjects*; every energy distance is
then arithmetic on that small matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from rfcompare.comparison.statistics import Array
from rfcompare.errors import InputError

Codes = NDArray[np.intp]

CHUNK = 4_000_000
"""Distances held in memory at once (32 MB)."""


def points(values: ArrayLike, name: str) -> Array:
    """A finite (unit, descriptor) float64 array with at least two units, or an `InputError`."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 1:
        raise InputError(f"expected {name} as (unit, descriptor) with at least two units, got shape {array.shape}")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array).all(axis=1)).sum())
        raise InputError(f"expected finite descriptors in {name}, got {bad} units with a missing one; leave them out")
    return array


# Mean distances ------------------------------------------------------------------------------------------------------


def group_means(values: Array, code: Codes) -> Array:
    """Mean over the units of every group; `code` numbers the groups 0 … S − 1, each present.

    Examples
    --------
    >>> import numpy as np
    >>> group_means(np.array([1.0, 5.0, 3.0]), np.array([0, 1, 0]))
    array([2., 5.])
    """
    order = np.argsort(code, kind="stable")
    count = np.bincount(code)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    total = np.add.reduceat(values[order], start, axis=0)
    return np.asarray(total / count.reshape(-1, *[1] * (values.ndim - 1)))


def mean_distances(x: Array, y: Array, y_code: Codes) -> Array:
    """Mean Euclidean distance from every unit of x to every group of y, as (unit, group), in chunks.

    Examples
    --------
    >>> import numpy as np
    >>> mean_distances(np.array([[0.0]]), np.array([[1.0], [3.0], [-4.0]]), np.array([0, 0, 1]))
    array([[2., 4.]])
    """
    order = np.argsort(y_code, kind="stable")
    sorted_y = np.ascontiguousarray(y[order])
    count = np.bincount(y_code)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    rows = max(1, CHUNK // max(1, len(y)))
    result = np.empty((len(x), count.size))
    for first in range(0, len(x), rows):
        distance = cdist(x[first : first + rows], sorted_y)
        result[first : first + rows] = np.add.reduceat(distance, start, axis=1) / count
    return result


def between_means(x: Array, x_code: Codes, y: Array, y_code: Codes) -> Array:
    """Mean distance between every group of x and every group of y.

    Examples
    --------
    >>> import numpy as np
    >>> between_means(np.array([[0.0], [1.0]]), np.array([0, 0]), np.array([[2.0], [4.0]]), np.array([0, 1]))
    array([[1.5, 3.5]])
    """
    return group_means(mean_distances(x, y, y_code), x_code)


def within_means(x: Array, code: Codes) -> Array:
    """Mean distance between different units of the same group (U-statistic); NaN for a group of one unit.

    Examples
    --------
    >>> import numpy as np
    >>> within_means(np.array([[0.0], [2.0], [6.0]]), np.array([0, 0, 0]))  # distances 2, 6, 4
    array([4.])
    """
    result = np.full(int(code.max()) + 1, np.nan)
    order = np.argsort(code, kind="stable")
    for group, units in enumerate(np.split(order, np.cumsum(np.bincount(code))[:-1])):
        if units.size > 1:
            result[group] = pdist(x[units]).mean()
    return result


def subject_matrix(x: Array, code: Codes) -> Array:
    """Mean distances between the units of every two subjects; on the diagonal between different units of one.

    Examples
    --------
    >>> import numpy as np
    >>> subject_matrix(np.array([[0.0], [2.0], [5.0], [9.0]]), np.array([0, 0, 1, 1]))
    array([[2., 6.],
           [6., 4.]])
    """
    matrix = between_means(x, code, x, code)
    np.fill_diagonal(matrix, within_means(x, code))
    return matrix


def different_subjects_mean(matrix: Array) -> float:
    """Mean distance between units of different subjects, every subject counting the same.

    It estimates E|Y − Y'| of the species without the pairs of one animal, which are closer than pairs of the species,
    and which a subject of one unit does not have; with one subject only those pairs exist, and their mean is returned.

    Examples
    --------
    >>> import numpy as np
    >>> different_subjects_mean(np.array([[2.0, 6.0], [6.0, 4.0]]))
    6.0
    """
    size = len(matrix)
    if size == 1:
        return float(matrix[0, 0])
    return float(off_diagonal(matrix).sum() / (size * (size - 1)))


def off_diagonal(matrix: Array) -> Array:
    """The matrix with a diagonal of 0, whatever stood there (NaN for subjects of one unit)."""
    return np.where(np.eye(len(matrix), dtype=np.bool_), 0.0, matrix)


# Statistics ----------------------------------------------------------------------------------------------------------


def energy_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Squared energy distance 2E|X − Y| − E|X − X'| − E|Y − Y'| as a U-statistic (Székely & Rizzo 2013).

    Never rooted nor clipped, so that it averages to 0 for two samples of one population and may be negative.

    Parameters
    ----------
    x, y : (unit, descriptor) arrays
        In units of the space's scales.

    Examples
    --------
    >>> energy_distance([[0.0], [2.0]], [[3.0], [7.0]])  # 2 · (3 + 7 + 1 + 5)/4 − 2 − 4
    2.0
    """
    a, b = points(x, "x"), points(y, "y")
    one_a, one_b = np.zeros(len(a), np.intp), np.zeros(len(b), np.intp)
    between = between_means(a, one_a, b, one_b)[0, 0]
    return float(2 * between - within_means(a, one_a)[0] - within_means(b, one_b)[0])


def classifier_auc(distance: Array, is_b: NDArray[np.bool_], fold: Codes, *, k: int) -> float:
    """Cross-validated area under the ROC curve of a nearest-neighbor classifier: 0.5 alike, 1 told apart.

    A unit's score is the share of b among its k nearest units of the other folds; only units of one fold are ranked
    against each other, since they were scored by the same training set (Lopez-Paz & Oquab 2017).

    Parameters
    ----------
    distance : (n, n) array
        Between all units.
    is_b : (n,) bool array
        Which units are b.
    fold : (n,) int array
        Fold of each unit. Cells of one animal belong into one fold.
    k : int
        Neighbors.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.0, 0.1, 0.2, 0.3, 5.0, 5.1, 5.2, 5.3])
    >>> is_b = x > 1
    >>> classifier_auc(np.abs(x[:, None] - x), is_b, np.array([0, 0, 1, 1, 0, 0, 1, 1]), k=1)
    1.0
    """
    masked = np.where(fold[:, None] == fold, np.inf, distance)
    k = min(k, len(fold) - int(np.bincount(fold).max()))
    neighbor = np.argpartition(masked, k - 1, axis=1)[:, :k]
    votes = is_b[neighbor].sum(axis=1)
    wins, pairs = 0.0, 0
    for each in np.unique(fold):
        a, b = votes[(fold == each) & ~is_b], votes[(fold == each) & is_b]
        if a.size and b.size:
            wins += float(stats.mannwhitneyu(b, a).statistic)
            pairs += a.size * b.size
    if not pairs:
        raise InputError("expected folds that hold units of both populations; use fewer folds")
    return wins / pairs
