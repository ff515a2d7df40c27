"""How well a fit's numbers are known: covariances from the normal equations, bounds, and other minima."""

from __future__ import annotations

import array_api_compat
import numpy as np

from rfcompare.models import Array, Model

_EDGE = 1e-9
"""A parameter nearer to its bound than this (in its searched form) is on it."""

_SINGULAR = 1e12
"""A variance inflated this often by the other parameters is not known."""


def at_bounds(model: Model, p: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which parameters (n, parameters) lie on their lower and on their upper bound."""
    low, high = model.bounds(x, y)
    return p <= low + _EDGE, p >= high - _EDGE


def apart(model: Model, p: Array, best: Array) -> Array:
    """Whether parameter vectors (…, parameters) stand for maps that differ by more than an unfinished search does.

    Of two names of one map, as they come before `Model.canonical`, it knows only an angle's half turns.
    """
    xp = array_api_compat.array_namespace(p)
    off, widest = xp.abs(p - best), model.widest(best)
    out = off[..., 0] < 0
    for i, parameter in enumerate(model.parameters):
        away = off[..., i]
        if parameter.circle:
            away = xp.abs((away + parameter.circle / 2) % parameter.circle - parameter.circle / 2)
        out = out | (away > parameter.apart * widest**parameter.scale)
    return out


def covariance(
    information: np.ndarray, fixed: np.ndarray, variance: np.ndarray, correlated: np.ndarray | None = None
) -> np.ndarray:
    """Covariance of all fitted numbers at a minimum.

    Parameters
    ----------
    information : (n, m, m) array
        JᵀJ, the nonlinear parameters first.
    fixed : (n, parameters) bool array
        Parameters on a bound: the others' covariance is taken with these held there.
    variance : (n,) array
        Noise variance of a pixel.
    correlated : (n, m, m) array, optional
        JᵀCJ where the pixels' noise has the correlation C: (JᵀJ)⁻¹ JᵀCJ (JᵀJ)⁻¹ then takes the place of (JᵀJ)⁻¹.

    Returns
    -------
    (n, m, m) array
        NaN in the rows and columns of fixed parameters, and of whatever the map does not determine.
    """
    n, m = information.shape[:2]
    held = np.zeros((n, m), bool)
    held[:, : fixed.shape[1]] = fixed
    diagonal = np.einsum("nii->ni", information)
    held |= ~(diagonal > 0)
    root = np.where(held, 0.0, 1 / np.sqrt(np.where(held, 1.0, diagonal)))
    unit = information * root[:, :, None] * root[:, None, :]
    # Held rows become rows of the identity; a ridge at rounding level keeps singular ones invertible (found below).
    diagonal_of = np.einsum("nii->ni", unit)
    diagonal_of[...] = 1.0 + 1e-14
    inverse = np.linalg.inv(unit)
    inflation = np.einsum("nii->ni", inverse)
    lost = held | ~(inflation > 0) | (inflation > _SINGULAR)
    root = np.where(lost, 0.0, root)
    spread = inverse * root[:, :, None] * root[:, None, :]
    if correlated is not None:
        spread = np.matmul(np.matmul(spread, correlated), spread)
    return np.asarray(np.where(lost[:, :, None] | lost[:, None, :], np.nan, spread * variance[:, None, None]))
