"""How well a fit's numbers are known: covariances from the normal equations."""

from __future__ import annotations

import numpy as np

from rfcompare.fitting.batched import Equations
from rfcompare.models import Model

_EDGE = 1e-9
"""A parameter nearer to its bound than this (in its searched form) is on it."""


def at_bounds(model: Model, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which parameters (n, parameters) lie on their lower and on their upper bound."""
    low, high = model.bounds(x, y)
    return p <= low + _EDGE, p >= high - _EDGE


def covariance(here: Equations, fixed: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances of the nonlinear parameters and of every channel's amplitudes.

    Parameters
    ----------
    here : Equations
        Normal equations at the minimum (NumPy arrays).
    fixed : (n, parameters) bool array
        Parameters on a bound: they are held there, and their rows are NaN.
    variance : (n,) array
        Noise variance of a pixel.

    Returns
    -------
    nonlinear : (n, parameters, parameters) array
    linear : (n, channel, terms + 1, terms + 1) array
        NaN throughout where the normal equations are singular.
    """
    information = here.projected()
    n, q = information.shape[:2]
    free = (~fixed).astype(float)
    diagonal = np.einsum("nqq->nq", information)
    scale = np.where(fixed | ~(diagonal > 0), 1.0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))
    unit = information * (scale * free)[:, :, None] * (scale * free)[:, None, :] + np.eye(q) * (1 - free)[:, None, :]
    inverse = _inverse(unit) * scale[:, :, None] * scale[:, None, :] * free[:, :, None] * free[:, None, :]
    gram_inverse = _scaled_inverse(here.gram)
    response = np.matmul(gram_inverse[:, None], np.swapaxes(here.cross, 2, 3)) + np.swapaxes(here.in_span, 2, 3)
    linear = gram_inverse[:, None] + np.matmul(np.matmul(response, inverse[:, None]), np.swapaxes(response, 2, 3))
    nonlinear = np.where(fixed[:, :, None] | fixed[:, None, :], np.nan, inverse)
    return nonlinear * variance[:, None, None], linear * variance[:, None, None, None]


def _scaled_inverse(matrix: np.ndarray) -> np.ndarray:
    diagonal = np.einsum("nqq->nq", matrix)
    scale = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)), 1.0)
    return _inverse(matrix * scale[:, :, None] * scale[:, None, :]) * scale[:, :, None] * scale[:, None, :]


def _inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverses of matrices of unit diagonal; NaN where one is singular to working precision."""
    if matrix.shape[-1] == 0:
        return matrix
    values, vectors = np.linalg.eigh(np.where(np.isfinite(matrix), matrix, 0.0))
    good = (values[:, 0] > 1e-12 * values[:, -1]) & np.isfinite(matrix).all((1, 2))
    inverse = np.matmul(vectors / np.where(good[:, None], values, 1.0)[:, None, :], np.swapaxes(vectors, 1, 2))
    return np.where(good[:, None, None], inverse, np.nan)
