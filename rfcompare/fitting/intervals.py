"""Intervals where standard errors do not do: bootstrap refits and profile likelihoods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student
from tqdm import tqdm

from rfcompare.errors import InputError
from rfcompare.fitting.batched import prepare, refine
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.fitting.noise import draw_noise
from rfcompare.fitting.publishing import Columns, noise_of, periods, values_of
from rfcompare.fitting.search import Solution
from rfcompare.fitting.uncertainty import at_bounds, covariance
from rfcompare.models import Model

Floats = npt.NDArray[np.float64]

_LEVEL = 0.95

_AXIS_LEVEL = 0.97
"""Level at which the symmetric interval of an axis (orientation, envelope angle) is taken to cover `_LEVEL`: a
bootstrap takes an envelope that noise has made long for long, and so is too sure of its direction. A calibrated level
as in Loh 1987 (J. Am. Stat. Assoc. 82:155); what it covers stands in ``reference_data/calibration_fitting.csv``."""

_QUANTILE: Literal["median_unbiased"] = "median_unbiased"
"""Of few refits the usual quantiles lie too far inside; this one is as often too far in as out, whatever the
distribution (Hyndman & Fan 1996, doi:10.1080/00031305.1996.10473566)."""

_PROFILE_STEPS = np.array([-5.0, -4.0, -3.2, -2.6, -2.1, -1.6, -1.1, -0.5, 0.5, 1.1, 1.6, 2.1, 2.6, 3.2, 4.0, 5.0])
"""Where a likelihood is profiled, in standard errors from the estimate."""


def bootstrap_intervals(
    model: Model,
    maps: Maps,
    solution: Solution,
    engine: Engine,
    rng: np.random.Generator,
    *,
    repeats: int,
    joint: bool,
    acf: Floats | None = None,
) -> Columns:
    """Intervals from refits of simulated maps: percentiles, and for angles the symmetric interval about the estimate.

    Each simulated map is the fit plus noise of the residual variance (white, or correlated as `acf` says) and is fitted
    from scratch, so that the intervals also hold the jumps between minima. The fit has taken up noise: on average its
    sum of squares about the mean is larger than the signal's by one noise variance for every number fitted beside the
    offset, and it is scaled down by that much first. Of the usual bootstrap intervals (Efron & Tibshirani 1993,
    chapters 13, 14 and 18) these were the ones to cover 92 to 98 % where standard errors do not: few cycles, low
    signal.
    """
    estimate = values_of(model, solution.p, solution.linear, maps.grid.unit, joint)
    variance, _ = noise_of(model, maps, solution)
    fitted = _without_noise(model, maps, solution, variance)
    scale = np.sqrt(np.nan_to_num(variance))[:, None, None, None]
    draws: dict[str, list[Floats]] = {name: [] for name in estimate}
    quiet = None if engine.progress is None else not engine.progress
    for _ in tqdm(range(repeats), desc=f"bootstrap {model.name}", unit="refit", disable=quiet):
        noisy = (fitted + scale * draw_noise(rng, fitted.shape, acf)) * maps.mask[:, None]
        again, _ = run(model, maps.replaced(noisy), engine)
        for name, (_, values) in values_of(model, again.p, again.linear, maps.grid.unit, joint).items():
            draws[name].append(values)
    out: Columns = {}
    tails = np.array([(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    for name, (dims, values) in estimate.items():
        sample = np.stack(draws[name])
        if period := periods(model).get(name):
            off = (sample - values + period / 2) % period - period / 2
            level = _LEVEL if period == 360 else _AXIS_LEVEL
            reach = np.quantile(np.abs(off), level, axis=0, method=_QUANTILE)
            low, high = values - reach, values + reach
        else:
            low, high = np.quantile(sample, tails, axis=0, method=_QUANTILE)
        known = np.isfinite(variance).reshape(-1, *(1,) * (values.ndim - 1))
        out[f"{name}_ci_low"], out[f"{name}_ci_high"] = (
            (dims, np.where(known, low, np.nan)),
            (dims, np.where(known, high, np.nan)),
        )
    return out


def _without_noise(model: Model, maps: Maps, solution: Solution, variance: Floats) -> Floats:
    """The fitted maps, scaled about their means to the sum of squares that the signal alone has on average."""
    fitted, mask = solution.fitted, maps.mask[:, None]
    mean = (fitted * mask).sum((2, 3), keepdims=True) / mask.sum((2, 3), keepdims=True)
    energy = (((fitted - mean) * mask) ** 2).sum((1, 2, 3))
    taken_up = (len(model.parameters) + maps.channels * len(model.linear)) * np.nan_to_num(variance)
    share = np.sqrt(np.clip(1 - taken_up / np.where(energy > 0, energy, np.inf), 0.0, 1.0))
    return np.asarray(mean + share[:, None, None, None] * (fitted - mean))


def profile_intervals(model: Model, maps: Maps, solution: Solution, names: Sequence[str]) -> Columns:
    """Likelihood intervals (Venzon & Moolgavkar 1988, doi:10.2307/2347496): where the best fit at a fixed value of one
    parameter is worse by what noise alone does in 5 %.

    A side on which the likelihood does not fall so far within the bounds ends at the bound.
    """
    known = {parameter.published: i for i, parameter in enumerate(model.parameters)}
    if isinstance(names, str) or any(name not in known for name in names):
        raise InputError(
            f"expected profile to name parameters among {', '.join(known)}, got {names!r}; give profile=('frequency',)"
        )
    grid, n = maps.grid, len(maps.values)
    problem = prepare(model, maps.values, maps.mask, grid.x, grid.y)
    variance, spare = noise_of(model, maps, solution)
    low, high = model.bounds(grid.x, grid.y)
    on_low, on_high = at_bounds(model, solution.p, grid.x, grid.y)
    spread = covariance(solution.information, on_low | on_high, variance)
    cutoff = student.ppf((1 + _LEVEL) / 2, np.maximum(spare, 1))
    steps = len(_PROFILE_STEPS)
    out: Columns = {}
    index = np.repeat(np.arange(n), steps)
    for name in names:
        i = known[name]
        own = spread[:, i, i]
        usual = np.isfinite(own) & (own > 0)
        width = np.where(usual, np.sqrt(np.where(usual, own, 1.0)), model.parameters[i].wide)
        move = _PROFILE_STEPS[None, :, None] * width[:, None, None]
        # The others are started where a quadratic likelihood would have them.
        slope = spread[:, : len(low), i] / np.where(usual, own, 1.0)[:, None]
        slope = np.where(np.isfinite(slope) & usual[:, None], slope, 0.0)
        slope[:, i] = 1.0
        starts = np.clip(solution.p[:, None] + move * slope[:, None], low, high).reshape(n * steps, -1)
        held = np.zeros(starts.shape, bool)
        held[:, i] = True
        p, cost, _ = refine(problem, index, starts, iterations=60, held=held)
        at = p[:, i].reshape(n, steps)
        fall = np.maximum(cost.reshape(n, steps) - solution.cost[:, None], 0.0) / variance[:, None]
        root = np.sign(_PROFILE_STEPS) * np.sqrt(fall)
        ends = {"low": np.full(n, np.nan), "high": np.full(n, np.nan)}
        for row in np.flatnonzero(np.isfinite(variance)):
            x = np.concatenate([at[row, : steps // 2], solution.p[row, i : i + 1], at[row, steps // 2 :]])
            y = np.concatenate([root[row, : steps // 2], [0.0], root[row, steps // 2 :]])
            ends["low"][row] = _crossing(x[::-1][steps // 2 :], y[::-1][steps // 2 :], -cutoff[row], low[i])
            ends["high"][row] = _crossing(x[steps // 2 :], y[steps // 2 :], cutoff[row], high[i])
        public = model.parameters[i].to_public
        for side, values in ends.items():
            out[f"{name}_profile_{side}"] = ("unit",), public(values, grid.unit)
        out[f"{name}_profile_at"] = ("unit", "profile_step"), public(at, grid.unit)
        out[f"{name}_profile"] = ("unit", "profile_step"), fall
    return out


def _crossing(x: Floats, y: Floats, level: float, bound: float) -> float:
    """Where |y| first reaches |level|, going outwards along x by straight lines; the bound where it never does."""
    reached = np.flatnonzero(np.abs(y) >= abs(level))
    if reached.size == 0:
        return float(bound)
    k = int(reached[0])
    return float(x[k - 1] + (level - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1]))
