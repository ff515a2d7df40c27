"""A recording as estimates take it: stimulus and responses that fit together, and the stimulus at several lags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rfcompare.bank import Array
from rfcompare.errors import InputError

N_BLOCKS = 40
"""Blocks of a recording that are dealt out to the folds of a regression in turn."""


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
    needed = max(lags) + 2 * N_BLOCKS
    if frames.shape[0] < needed:
        raise InputError(f"expected at least {needed} frames, got {frames.shape[0]}; halves and folds need them")
    return frames, rates


def lagged(features: npt.NDArray[np.float32], lags: Sequence[int], start: int, stop: int) -> npt.NDArray[np.float32]:
    """Features (frame, channel·lag·pixel) of responses in frames start…stop."""
    parts = [features[start - value : stop - value] for value in lags]
    return np.stack(parts, axis=2).reshape(stop - start, -1)
