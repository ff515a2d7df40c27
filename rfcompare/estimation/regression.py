"""`estimate`: receptive-field maps by reverse correlation and by regularized regression.

Frames are split into blocks that are dealt out to folds in turn; everything is computed from each fold's sums, so the
two halves of a recording are independent up to the responses' own memory, cross-validation costs no second pass, and a
long recording is never copied.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy.linalg
import xarray as xr

from rfcompare.bank import Array, make_bank
from rfcompare.errors import InputError, KeywordError, meant

_Method = Literal["sta", "ridge", "smooth", "stc"]

_PENALTIES = np.logspace(-4, 3, 15)
"""Penalties tried, in units of the stimulus's mean variance."""

_N_FOLDS = 4
"""Folds; even ones make the first half of the recording, odd ones the second."""

_BLOCKS_PER_FOLD = 10
"""Blocks that each fold is made of, spread over the recording."""

_MAX_FEATURES = 6000
"""Most features (channels × lags × pixels) of a regression: their covariance must fit in memory, in four folds."""

_SMOOTH_FLOOR = 0.1
"""Share of plain ridge in the smoothness penalty, so that a constant map is penalized too."""

_NOISE_REACH = 2
"""Pixels over which the noise's autocorrelation is estimated."""

_BATCH_VALUES = 2**23
"""Values of a lagged stimulus held at a time (64 MB)."""


def estimate(
    stimulus: npt.ArrayLike,
    responses: npt.ArrayLike,
    *,
    kind: str,
    method: _Method = "sta",
    channel: Sequence[str] = ("signed",),
    background: float = 0.0,
    lag: int | Sequence[int] = 0,
    frame_s: float | None = None,
    protocol: Mapping[str, Any] | str | None = None,
    **options: Any,
) -> xr.Dataset:
    """Estimate receptive-field maps from a stimulus and the responses to it.

    Parameters
    ----------
    stimulus : array (frame, y, x) or (frame, x)
        What was shown; bars that vary along x only give maps that are constant along y.
    responses : array (frame,) or (frame, unit)
        Spike counts or fluorescence in each frame.
    kind : str
        Of the bank: ``"measured"`` for a recording, ``"simulated"`` for a model neuron.
    method : {"sta", "ridge", "smooth", "stc"}
        ``"sta"``: the slope of the response on each pixel alone (reverse correlation), unbiased where pixels are
        uncorrelated: white and sparse noise. ``"ridge"``: regression on all pixels and lags with a penalty on their
        energy, for natural and other correlated stimuli. ``"smooth"``: the same with a penalty on differences between
        neighbors. The penalty is chosen for every unit by cross-validation over four folds. ``"stc"``: the filters of
        `rfcompare.estimation.spike_triggered_covariance`, several for a cell, whose options `options` may then hold.
    channel : sequence of str
        ``("signed",)`` or ``("on", "off")``: increments and decrements from `background` apart.
    background : float
        The stimulus value that is neither.
    lag : int or sequence of int
        Frames from stimulus to response; several give a ``lag`` dimension.
    frame_s : float, optional
        Duration of a frame (s); the ``lag`` coordinate is then in seconds, otherwise in frames.
    protocol : mapping or str
        What the stimulus was (class, element size…), kept as ``attrs["stimulus"]``; required when measured.
    **options
        Passed to `rfcompare.make_bank`: unit, subject, x, y, units, deg_per_px, rows, attrs…

    Returns
    -------
    xarray.Dataset
        A bank with ``rf`` in response per stimulus unit, ``rf_half`` (two independent halves), ``noise_sd`` and
        ``noise_acf`` from the halves' difference (the latter pooled over units), and for regressions ``penalty(unit)``
        and ``prediction_r2(unit)``, the share of held-out response variance that the map predicts.

    Raises
    ------
    InputError
        When shapes do not fit, values are missing, or there are fewer frames than folds need.

    Notes
    -----
    Reverse correlation: Chichilnisky 2001, doi:10.1088/0954-898X_12_2_306. Regularized regression on natural stimuli:
    Theunissen et al. 2001, doi:10.1088/0954-898X_12_3_304; Willmore & Smyth 2003, doi:10.1088/0954-898X_14_3_309. A
    ridge estimate is shrunk most where the stimulus has least power, which for natural images is at high frequencies.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> rng = np.random.default_rng(0)
    >>> truth = np.zeros((6, 6)); truth[2, 3], truth[2, 4] = 1.0, -1.0
    >>> stimulus = rng.normal(size=(5000, 6, 6))
    >>> spikes = rng.poisson(np.exp(0.5 * (stimulus * truth).sum((1, 2)) - 1))
    >>> bank = rfc.estimate(stimulus, spikes, kind="simulated")
    >>> round(float(np.corrcoef(bank.rf.values.ravel(), truth.ravel())[0, 1]), 1)
    1.0
    """
    if method not in get_args(_Method):
        raise InputError(f"expected method to be one of {', '.join(get_args(_Method))}, got {method!r}; choose one")
    if kind == "measured" and not protocol:
        raise InputError(
            "expected protocol for a measured bank, got none; say what was shown, as in "
            "protocol={'class': 'sparse noise'}"
        )
    if not _is_finite(background):
        raise InputError(
            f"expected background to be a finite number, got {background!r}; give the gray of the stimulus"
        )
    channel = (channel,) if isinstance(channel, str) else tuple(channel)
    if method == "stc":
        from rfcompare.estimation.covariance import spike_triggered_covariance

        if channel != ("signed",):
            raise InputError(f"expected channel ('signed',) for method 'stc', got {channel}; leave it out")
        about = read_recording(stimulus, responses, whole_lags(lag))[0] - background
        return spike_triggered_covariance(
            about, responses, kind=kind, lag=lag, frame_s=frame_s, protocol=protocol, **options
        )
    check_options(options, frame_s)
    lags = whole_lags(lag)
    frames, rates = read_recording(stimulus, responses, lags)
    features = _features(frames, channel, background)
    folds = _fold_sums(features, rates, lags, full=method != "sta")
    n_units = rates.shape[1]
    shape = (n_units, len(channel), len(lags), *frames.shape[1:])
    extra: dict[str, Array] = {}
    if method == "sta":
        whole, halves = _slopes(_total(folds)), [_slopes(_total(folds[half::2])) for half in (0, 1)]
    else:
        whole, halves, extra = _regress(folds, shape, smooth=method == "smooth")
    maps = whole.reshape(shape)
    half = np.stack([part.reshape(shape) for part in halves])
    noise_sd, noise_acf = _noise((half[0] - half[1]) / 2)
    if len(lags) == 1:
        maps, half = maps[:, :, 0], half[:, :, :, 0]
    else:
        options["lag"] = np.array(lags) * (1.0 if frame_s is None else frame_s)
    if maps.shape[-2] == 1:  # bars: the same along y
        maps, half, noise_acf = np.repeat(maps, 2, -2), np.repeat(half, 2, -2), None
    how = {"method": method, "lag": lags, "frames": int(frames.shape[0]), "background": background, "frame_s": frame_s}
    bank = make_bank(
        maps,
        channel=channel,
        kind=kind,
        noise_sd=noise_sd,
        noise_acf=noise_acf,
        half=half,
        attrs={**options.pop("attrs", {}), "stimulus": protocol, "estimation": json.dumps(how, sort_keys=True)},
        **options,
    )
    return bank.assign({name: ("unit", values) for name, values in extra.items()})


def whole_lags(lag: int | Sequence[int]) -> list[int]:
    """Lags as whole numbers of frames.

    Examples
    --------
    >>> whole_lags(2), whole_lags([0, 1])
    ([2], [0, 1])
    """
    values = np.atleast_1d(np.asarray(lag))
    if values.ndim != 1 or values.dtype.kind not in "iuf" or not np.array_equal(values, np.round(values)):
        raise InputError(
            f"expected lag to be a whole number of frames or several, got {lag!r}; frame_s says how long one is"
        )
    return [int(value) for value in values]


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and bool(np.isfinite(float(value)))


def check_options(options: Mapping[str, Any], frame_s: float | None) -> None:
    """Refuse what the estimate itself makes, and a duration that is none."""
    made = {"array", "half", "noise_sd", "noise_acf", "stimulus", "estimation", "lag"} & set(options)
    if made:
        raise InputError(
            f"expected options of make_bank that the estimate does not make itself, got {', '.join(sorted(made))}; "
            "leave them out (what the stimulus was goes into protocol)"
        )
    known = [*signature(estimate).parameters, *signature(make_bank).parameters]
    for name in options:
        if name not in known:
            raise KeywordError(f"estimate has no keyword {name}; {meant(name, known)}")
    if frame_s is not None and not (_is_finite(frame_s) and frame_s > 0):
        raise InputError(f"expected frame_s to be a positive number of seconds, got {frame_s!r}")


def read_recording(
    stimulus: npt.ArrayLike, responses: npt.ArrayLike, lags: Sequence[int]
) -> tuple[npt.NDArray[Any], Array]:
    """Stimulus (frame, y, x) and responses (frame, unit), checked."""
    frames, given = np.asarray(stimulus), np.asarray(responses)
    if frames.dtype.kind not in "biuf" or given.dtype.kind not in "biuf":
        raise InputError(
            f"expected real numbers in stimulus and responses, got {frames.dtype} and {given.dtype}; convert them"
        )
    rates = given.astype(float)
    if frames.ndim == 2:
        frames = frames[:, None, :]
    if rates.ndim == 1:
        rates = rates[:, None]
    if frames.ndim != 3 or rates.ndim != 2 or frames.shape[0] != rates.shape[0]:
        raise InputError(
            f"expected a stimulus (frame, y, x) and responses (frame, unit) with equally many frames, got shapes "
            f"{np.shape(stimulus)} and {np.shape(responses)}; put frames first"
        )
    if not rates.shape[1]:
        raise InputError("expected responses of at least one unit, got none; give (frame, unit)")
    if not np.isfinite(rates).all() or (frames.dtype.kind == "f" and not np.isfinite(frames).all()):
        raise InputError("expected finite numbers in stimulus and responses, got others; leave such frames out")
    if not lags or min(lags) < 0 or len(set(lags)) < len(lags):
        raise InputError(f"expected different lags of 0 frames or more, got {lags}; a response follows its stimulus")
    needed = max(lags) + 2 * _N_FOLDS * _BLOCKS_PER_FOLD
    if frames.shape[0] < needed:
        raise InputError(f"expected at least {needed} frames, got {frames.shape[0]}; halves and folds need them")
    return frames, rates


def _features(frames: npt.NDArray[Any], channel: Sequence[str], background: float) -> npt.NDArray[np.float32]:
    """Stimulus (frame, channel, pixel): about the background, or its increments and decrements."""
    flat = frames.reshape(frames.shape[0], 1, -1).astype(np.float32) - np.float32(background)
    if tuple(channel) == ("signed",):
        return flat
    if tuple(channel) == ("on", "off"):
        return np.concatenate([flat.clip(0), (-flat).clip(0)], axis=1)
    raise InputError(f"expected channel ('signed',) or ('on', 'off'), got {tuple(channel)}; choose one of them")


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


def lagged(features: npt.NDArray[np.float32], lags: Sequence[int], start: int, stop: int) -> npt.NDArray[np.float32]:
    """Features (frame, channel·lag·pixel) of responses in frames start…stop."""
    parts = [features[start - value : stop - value] for value in lags]
    return np.stack(parts, axis=2).reshape(stop - start, -1)


def _fold_sums(features: npt.NDArray[np.float32], rates: Array, lags: Sequence[int], *, full: bool) -> list[_Sums]:
    width = features.shape[1] * features.shape[2] * len(lags)
    if full and width > _MAX_FEATURES:
        raise InputError(
            f"expected at most {_MAX_FEATURES} features (channels × lags × pixels), got {width}; crop the stimulus"
        )
    first, last = max(lags), features.shape[0]
    size = max(1, -(-(last - first) // (_N_FOLDS * _BLOCKS_PER_FOLD)))
    folds: list[_Sums | None] = [None] * _N_FOLDS
    for number, start in enumerate(range(first, last, size)):
        for begin, end in _batches(start, min(start + size, last), max(1, _BATCH_VALUES // width)):
            x = lagged(features, lags, begin, end).astype(np.float64)
            r = rates[begin:end]
            own = x.T @ x if full else np.einsum("ij,ij->j", x, x)
            part = _Sums(end - begin, x.sum(0), r.sum(0), (r**2).sum(0), x.T @ r, own)
            sofar = folds[number % _N_FOLDS]
            folds[number % _N_FOLDS] = part if sofar is None else sofar + part
    return [fold for fold in folds if fold is not None]


def _batches(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    for begin in range(start, stop, size):
        yield begin, min(begin + size, stop)


def _slopes(sums: _Sums) -> Array:
    """Regression slope of the response on each feature alone (unit, feature); 0 where a pixel never varied."""
    own, cross, _ = sums.covariance
    return np.divide(cross, own[:, None], out=np.zeros_like(cross), where=own[:, None] > 0).T


def _regress(
    folds: Sequence[_Sums], shape: tuple[int, ...], *, smooth: bool
) -> tuple[Array, list[Array], dict[str, Array]]:
    """Penalized least squares: maps from all data, from each half, and the penalty and held-out r² of each unit."""
    n_units, width = shape[0], int(np.prod(shape[1:]))
    whiten = _smoothing_factor(shape[1:]) if smooth else None
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


def _noise(difference: Array) -> tuple[Array, Array | None]:
    """SD (unit,) and, pooled over units, autocorrelation (unit, channel, lag_y, lag_x), from half the difference."""
    noise_sd = np.sqrt((difference**2).mean(axis=tuple(range(1, difference.ndim))))
    height, width = difference.shape[-2:]
    reach = min(_NOISE_REACH, height - 1, width - 1)
    if reach < 1 or not (noise_sd > 0).any():
        return noise_sd, None
    scaled = difference[noise_sd > 0] / noise_sd[noise_sd > 0].reshape(-1, *[1] * (difference.ndim - 1))
    acf = np.empty((difference.shape[1], 2 * reach + 1, 2 * reach + 1))
    for i, dy in enumerate(range(-reach, reach + 1)):
        for j, dx in enumerate(range(-reach, reach + 1)):
            here = scaled[..., max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            there = scaled[..., max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
            acf[:, i, j] = (here * there).mean(axis=(0, 2, 3, 4))
    acf /= acf[:, reach : reach + 1, reach : reach + 1]
    return noise_sd, np.broadcast_to(acf, (difference.shape[0], *acf.shape)).copy()
