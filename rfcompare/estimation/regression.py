"""Maps by reverse correlation and by regularized regression, of a whole recording and of its halves.

Frames are split into blocks that are dealt out to folds in turn; everything is computed from each fold's sums, so the
two halves of a recording are independent up to the responses' own memory, cross-validation costs no second pass, and a
long recording is never copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.linalg

from rfcompare.bank import Array
from rfcompare.errors import InputError
from rfcompare.estimation.frames import N_BLOCKS, lagged

_PENALTIES = np.logspace(-4, 3, 15)
"""Penalties tried, in units of the stimulus's mean variance."""

_N_FOLDS = 4
"""Folds; even ones make the first half of the recording, odd ones the second."""

_MAX_FEATURES = 6000
"""Most features (channels × lags × pixels) of a regression: their covariance must fit in memory, in four folds."""

_SMOOTH_FLOOR = 0.1
"""Share of plain ridge in the smoothness penalty, so that a constant map is penalized too."""

_BATCH_VALUES = 2**23
"""Values of a lagged stimulus held at a time (64 MB)."""


def regress(
    features: npt.NDArray[np.float32], rates: Array, lags: Sequence[int], shape: tuple[int, ...], method: str
) -> tuple[Array, list[Array], dict[str, Array]]:
    """Maps (unit, feature) from all data and from each half, and what a regression says of each unit.

    Parameters
    ----------
    features : array (frame, channel, pixel)
    rates : array (frame, unit)
    lags : list of int
    shape : (channel, lag, y, x)
        Of a map.
    method : {"sta", "ridge", "smooth"}
        As in `rfcompare.estimate`.
    """
    folds = _fold_sums(features, rates, lags, full=method != "sta")
    if method == "sta":
        return _slopes(_total(folds)), [_slopes(_total(folds[half::2])) for half in (0, 1)], {}
    return _regress(folds, shape, smooth=method == "smooth")


@dataclass(frozen=True)
class _Sums:
    """Sums over frames; features are (channel, lag, pixel), flattened; ``xx`` is its diagonal where that suffices."""

    n: float
    x: Array
    r: Array
    rr: Array
    xr: Array
    xx: Array

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    @property
    def covariance(self) -> tuple[Array, Array, Array]:
        """Central sums: features with features, with responses, and responses with themselves."""
        mean = self.x / self.n
        own = self.xx - (mean * self.x if self.xx.ndim == 1 else np.outer(mean, self.x))
        return own, self.xr - np.outer(mean, self.r), self.rr - self.r**2 / self.n


def _total(folds: Sequence[_Sums]) -> _Sums:
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total


def _fold_sums(features: npt.NDArray[np.float32], rates: Array, lags: Sequence[int], *, full: bool) -> list[_Sums]:
    width = features.shape[1] * features.shape[2] * len(lags)
    if full and width > _MAX_FEATURES:
        raise InputError(
            f"expected at most {_MAX_FEATURES} features (channels × lags × pixels), got {width}; crop the stimulus"
        )
    first, last = max(lags), features.shape[0]
    size = max(1, -(-(last - first) // (N_BLOCKS)))
    folds: list[_Sums | None] = [None] * _N_FOLDS
    step = max(1, _BATCH_VALUES // width)
    for number, start in enumerate(range(first, last, size)):
        stop = min(start + size, last)
        for begin in range(start, stop, step):
            end = min(begin + step, stop)
            x = lagged(features, lags, begin, end).astype(np.float64)
            r = rates[begin:end]
            own = x.T @ x if full else np.einsum("ij,ij->j", x, x)
            part = _Sums(end - begin, x.sum(0), r.sum(0), (r**2).sum(0), x.T @ r, own)
            sofar = folds[number % _N_FOLDS]
            folds[number % _N_FOLDS] = part if sofar is None else sofar + part
    return [fold for fold in folds if fold is not None]


def _slopes(sums: _Sums) -> Array:
    """Regression slope of the response on each feature alone (unit, feature); 0 where a pixel never varied."""
    own, cross, _ = sums.covariance
    return np.divide(cross, own[:, None], out=np.zeros_like(cross), where=own[:, None] > 0).T


def _regress(
    folds: Sequence[_Sums], shape: tuple[int, ...], *, smooth: bool
) -> tuple[Array, list[Array], dict[str, Array]]:
    """Penalized least squares: maps from all data, from each half, and the penalty and held-out r² of each unit."""
    n_units, width = folds[0].r.size, int(np.prod(shape))
    whiten = _smoothing_factor(shape) if smooth else None
    total = _total(folds)
    mean_variance = np.trace(total.covariance[0]) / total.n / width
    if not mean_variance > 0:
        raise InputError("expected a stimulus that varies, got a constant one; check the frames")
    error, variance = np.zeros((_PENALTIES.size, n_units)), np.zeros(n_units)
    for left_out, fold in enumerate(folds):
        training = _total([other for number, other in enumerate(folds) if number != left_out])
        own, cross, power = fold.covariance
        variance += power
        for i, maps in enumerate(_solve(training, mean_variance, whiten)):
            # Held-out Σ(r − x·w)² about the fold's means, from its sums alone.
            error[i] += power - 2 * np.einsum("fu,fu->u", maps, cross) + np.einsum("fu,fu->u", maps, own @ maps)
    best = error.argmin(0)
    every = np.arange(n_units)
    prediction = 1 - np.divide(error[best, every], variance, out=np.full(n_units, np.nan), where=variance > 0)

    def maps_of(sums: _Sums) -> Array:
        result = np.empty((n_units, width))
        for i, maps in enumerate(_solve(sums, mean_variance, whiten)):
            result[best == i] = maps.T[best == i]
        return result

    halves = [maps_of(_total(folds[half::2])) for half in (0, 1)]
    return maps_of(total), halves, {"penalty": _PENALTIES[best], "prediction_r2": prediction}


def _solve(sums: _Sums, mean_variance: float, whiten: Array | None) -> Iterator[Array]:
    """Maps (feature, unit) for every penalty, from one eigendecomposition."""
    own, cross, _ = sums.covariance
    if whiten is not None:
        own = scipy.linalg.solve_triangular(whiten, own, lower=True)
        own = scipy.linalg.solve_triangular(whiten, own.T, lower=True)
        cross = scipy.linalg.solve_triangular(whiten, cross, lower=True)
    values, vectors = scipy.linalg.eigh(own)
    projected = vectors.T @ cross
    for penalty in _PENALTIES:
        maps = vectors @ (projected / (values.clip(0) + penalty * mean_variance * sums.n)[:, None])
        yield maps if whiten is None else scipy.linalg.solve_triangular(whiten, maps, lower=True, trans=1)


def _smoothing_factor(shape: tuple[int, ...]) -> Array:
    """Cholesky factor of the penalty Σ(neighbor differences)² + a little ridge, over (channel, lag, y, x)."""
    laplacian = np.zeros((1, 1))
    for axis, size in enumerate(shape):
        along = np.diag(np.full(size, 2.0)) - np.eye(size, k=1) - np.eye(size, k=-1)
        if size == 1 or axis == 0:  # neither channels nor a single pixel have neighbors
            along = np.zeros((size, size))
        else:
            along[0, 0] = along[-1, -1] = 1.0
        laplacian = np.kron(laplacian, np.eye(size)) + np.kron(np.eye(laplacian.shape[0]), along)
    return np.asarray(np.linalg.cholesky(laplacian + _SMOOTH_FLOOR * np.eye(laplacian.shape[0])), dtype=np.float64)
