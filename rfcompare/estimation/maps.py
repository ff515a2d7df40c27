"""`estimate`: receptive-field maps of a recording, as a bank."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import signature
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank import Array, make_bank
from rfcompare.errors import InputError, KeywordError, meant
from rfcompare.estimation.covariance import significant_filters
from rfcompare.estimation.frames import read_recording, whole_lags
from rfcompare.estimation.regression import regress

_Method = Literal["sta", "ridge", "smooth", "stc"]

_NOISE_REACH = 2
"""Pixels over which the noise's autocorrelation is estimated."""

_MADE = frozenset({"array", "half", "noise_sd", "noise_acf", "stimulus", "estimation", "lag"})
"""Options of `rfcompare.make_bank` that an estimate makes itself."""

_OF_COVARIANCE = ("n_shifts", "alpha", "max_filters", "cell", "seed", "progress")
"""Options of the method "stc" alone."""


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
        neighbors. The penalty is chosen for every unit by cross-validation over four folds. ``"stc"``: filters along
        which spikes change the variance of white noise, Gaussian or binary, excitatory and suppressive ones
        (spike-triggered covariance); correlated noise is whitened by its own covariance.
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
        Passed to `rfcompare.make_bank`: unit, subject, x, y, units, deg_per_px, rows, attrs… For ``"stc"`` also
        ``n_shifts=39``, recordings with the responses shifted in time by a random amount: the smallest p is
        1/(n_shifts + 1); ``alpha=0.05``, the largest p of a filter that is given; ``max_filters=12`` of either sign;
        ``cell``, names of the responses' columns; ``seed=0`` of the shifts; ``progress``.

    Returns
    -------
    xarray.Dataset
        A bank with ``rf`` in response per stimulus unit, ``rf_half`` (two independent halves), ``noise_sd`` and
        ``noise_acf`` from the halves' difference (the latter pooled over units), and for regressions ``penalty(unit)``
        and ``prediction_r2(unit)``, the share of held-out response variance that the map predicts. For ``"stc"`` a
        unit per filter, of unit norm over lags and pixels, named "CELL average", "CELL excitatory 1", "CELL suppressive
        1"…; the average is always there. Coordinates ``cell``, ``role``; variables ``eigenvalue`` (variance given a
        spike over variance without; NaN of the average), ``p`` (of the average: of its length) and ``polarity_known``
        (False but for the average: a filter of an even nonlinearity has no sign).

    Raises
    ------
    InputError
        When shapes do not fit, values are missing, or there are fewer frames than folds need; for ``"stc"`` also when
        responses are negative or a cell never fired.

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
    >>> bars = rng.normal(size=(6000, 5))
    >>> drive = bars @ np.array([0, 1, -1, 0, 0.0])
    >>> bank = rfc.estimate(bars, rng.poisson(0.3 * drive**2), kind="simulated", method="stc", n_shifts=19)
    >>> bank.unit.values.tolist(), abs(bank.rf.values[1, 0, 0].round(1)).tolist()
    (['cell0 average', 'cell0 excitatory 1'], [0.0, 0.7, 0.7, 0.0, 0.0])
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
    covariance = method == "stc"
    if covariance and channel != ("signed",):
        raise InputError(f"expected channel ('signed',) for method 'stc', got {channel}; leave it out")
    shifting = {name: options.pop(name) for name in _OF_COVARIANCE if covariance and name in options}
    _check_options(options, frame_s, _MADE | ({"unit"} if covariance else frozenset()))
    lags = whole_lags(lag)
    frames, rates = read_recording(stimulus, responses, lags)
    shape = (len(channel), len(lags), *frames.shape[1:])
    how: dict[str, Any] = {"method": method, "lag": lags, "frames": int(frames.shape[0]), "frame_s": frame_s}
    extra: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    half: Array | None = None
    if covariance:
        found, own = significant_filters(frames - background, rates, lags, **shifting)
        maps = np.stack([each.values.reshape(shape) for each in found])
        options["unit"] = [each.name for each in found]
        how |= own
        extra = {name: np.array([getattr(each, name) for each in found]) for name in ("eigenvalue", "p")}
        extra["polarity_known"] = np.array([each.role == "average" for each in found])
        labels = {name: np.array([getattr(each, name) for each in found], dtype=object) for name in ("cell", "role")}
    else:
        features = _features(frames, channel, background)
        whole, halves, extra = regress(features, rates, lags, shape, method)
        maps, half = whole.reshape(-1, *shape), np.stack([part.reshape(-1, *shape) for part in halves])
        how["background"] = background
        options["noise_sd"], options["noise_acf"] = _noise((half[0] - half[1]) / 2)
    if maps.shape[-2] == 1:  # bars: the same along y
        maps, half = np.repeat(maps, 2, -2), None if half is None else np.repeat(half, 2, -2)
        options["noise_acf"] = None
    if len(lags) == 1:
        maps, half = maps[:, :, 0], None if half is None else half[:, :, :, 0]
    else:
        options["lag"] = np.array(lags) * (1.0 if frame_s is None else frame_s)
    bank = make_bank(
        maps,
        channel=channel,
        kind=kind,
        half=half,
        attrs={**options.pop("attrs", {}), "stimulus": protocol, "estimation": json.dumps(how, sort_keys=True)},
        **options,
    )
    bank = bank.assign({name: ("unit", values) for name, values in extra.items()})
    return bank.assign_coords({name: ("unit", values) for name, values in labels.items()})


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and bool(np.isfinite(float(value)))


def _check_options(options: Mapping[str, Any], frame_s: float | None, made: frozenset[str]) -> None:
    """Refuse what the estimate itself makes, unknown keywords, and a duration that is not positive."""
    made &= set(options)
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


def _features(frames: npt.NDArray[Any], channel: Sequence[str], background: float) -> npt.NDArray[np.float32]:
    """Stimulus (frame, channel, pixel): about the background, or its increments and decrements."""
    flat = frames.reshape(frames.shape[0], 1, -1).astype(np.float32) - np.float32(background)
    if tuple(channel) == ("signed",):
        return flat
    if tuple(channel) == ("on", "off"):
        return np.concatenate([flat.clip(0), (-flat).clip(0)], axis=1)
    raise InputError(f"expected channel ('signed',) or ('on', 'off'), got {tuple(channel)}; choose one of them")


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
