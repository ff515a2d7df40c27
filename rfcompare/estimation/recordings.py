"""`estimate_maps`: maps of a recording at the lag of each cell, with the p of there being a map at all."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from rfcompare.bank import add_history, at_lag, keep_arrays, kept_arrays, make_rng
from rfcompare.errors import InputError
from rfcompare.estimation.maps import estimate

_LEAST_SHIFT = 0.05
"""Responses are shifted against the stimulus by at least this share of the recording."""

_COLUMNS = 64
"""Shifted responses that are correlated with the stimulus at a time."""


def estimate_maps(
    frames: npt.ArrayLike,
    responses: npt.ArrayLike,
    *,
    lag: Sequence[int] = tuple(range(8)),
    n_shifts: int = 99,
    seed: int | np.random.Generator | None = 0,
    method: str = "sta",
    progress: bool | None = None,
    keep: Path | None = None,
    **options: Any,
) -> xr.Dataset:
    """Estimate maps at several lags, keep each cell's best, and test whether it has a map.

    Parameters
    ----------
    frames, responses
        As in `rfcompare.estimate`.
    lag : sequence of int
        Frames from stimulus to response that are tried; per unit the one of most energy is kept.
    n_shifts : int
        Recordings with responses shifted in time, around the end, by at least a twentieth of them; the smallest p is
        1 / (n_shifts + 1).
    seed : int, Generator or None
        For the shifts.
    method : {"sta", "ridge", "smooth"}
        How the maps are made; the test is by reverse correlation always.
    progress : bool, optional
        Show progress; default: on a terminal.
    keep : path, optional
        Folder for the shifts that are done, where the same call finds them again after it was stopped.
    **options
        Of `rfcompare.estimate`.

    Returns
    -------
    xarray.Dataset
        A bank without lags, with ``lag_s(unit)`` (or ``lag_frames``), ``half_correlation(unit)`` of the halves' maps,
        and ``p(unit)`` of the null hypothesis that responses and stimulus are unrelated: the energy of the strongest
        lag's map among that of the shifted recordings, whose strongest lag is looked for in the same way.

    Raises
    ------
    InputError
        As `rfcompare.estimate`, and for too few shifts.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> frames = rng.normal(size=(2000, 4, 4))
    >>> rates = np.roll(frames[:, 1, 2], 3) + rng.normal(size=2000)
    >>> bank = estimate_maps(frames, rates, kind="simulated", n_shifts=19)
    >>> bank.lag_frames.item(), bank.p.item()
    (3.0, 0.05)
    """
    if isinstance(n_shifts, bool) or not isinstance(n_shifts, int) or n_shifts < 19:
        raise InputError(f"expected n_shifts to be a number from 19, got {n_shifts!r}; p is at least 1/(n_shifts + 1)")
    if method == "stc":
        raise InputError("expected method sta, ridge or smooth, got 'stc'; call rfcompare.estimate for its filters")
    lags, rates = sorted({int(value) for value in lag}), np.asarray(responses, float)
    rates = rates[:, None] if rates.ndim == 1 else rates
    every: Any = {"method": method, "lag": lags, **options}
    bank = estimate(frames, rates, **every)
    rng, recorded = make_rng(seed)
    by_correlation = bank if method == "sta" else estimate(frames, rates, **{**every, "method": "sta"})
    found = _energy(by_correlation).max(1)
    least = int(_LEAST_SHIFT * len(rates))
    shifts = rng.integers(least, len(rates) - least, n_shifts)
    plain: Any = {name: options[name] for name in ("channel", "background") if name in options}
    blocks = [rows for rows in np.array_split(shifts, -(-n_shifts * rates.shape[1] // _COLUMNS)) if rows.size]
    file = None if keep is None else keep / f"{_digest(frames, rates, shifts, lags, plain)}.npz"
    kept = kept_arrays(file) or {}
    sound = {"done", "above"} <= set(kept) and kept["above"].shape == (rates.shape[1],)
    done, above = (int(kept["done"]), kept["above"]) if sound else (0, np.ones(rates.shape[1]))
    with tqdm(total=n_shifts, desc="shifts", disable=None if progress is None else not progress) as bar:
        for number, rows in enumerate(blocks):
            if number >= done:
                moved = np.concatenate([np.roll(rates, shift, axis=0) for shift in rows], axis=1)
                null = estimate(frames, moved, kind="analytic", lag=lags, **plain)
                above += (_energy(null).max(1).reshape(len(rows), -1) >= found).sum(0)
                if file is not None:
                    keep_arrays(file, done=number + 1, above=above)
            bar.update(len(rows))
    if file is not None:
        file.unlink(missing_ok=True)
    energy = _energy(bank)
    best = bank if "lag" not in bank.dims else at_lag(bank, "peak")
    frame_s = options.get("frame_s")
    name, scale, units = ("lag_frames", 1.0, "frames") if frame_s is None else ("lag_s", float(frame_s), "s")
    halves = best.rf_half.transpose("half", "unit", ...).values.reshape(2, rates.shape[1], -1)
    halves = halves - halves.mean(2, keepdims=True)
    size = np.sqrt((halves**2).sum(2).prod(0))
    agree = np.divide((halves[0] * halves[1]).sum(1), size, out=np.full(len(size), np.nan), where=size > 0)
    best = best.assign(
        {
            name: ("unit", np.array(lags)[energy.argmax(1)] * scale, {"units": units}),
            "half_correlation": ("unit", agree),
            "p": ("unit", above / (n_shifts + 1)),
        }
    )
    return add_history(best, f"per unit the strongest of lags {lags}; p by {n_shifts} shifts, seed {recorded}")


def _digest(*parts: Any) -> str:
    """What the shifted recordings depend on, as a name."""
    said = hashlib.sha256()
    for part in parts:
        said.update(np.ascontiguousarray(part).tobytes() if np.ndim(part) else repr(part).encode())
    return said.hexdigest()


def _energy(bank: xr.Dataset) -> npt.NDArray[np.float64]:
    """Energy (unit, lag) of every map."""
    maps = bank.rf.astype(float)
    if "lag" not in maps.dims:
        maps = maps.expand_dims("lag")
    return np.asarray((maps**2).sum(["channel", "y", "x"]).transpose("unit", "lag").values)
