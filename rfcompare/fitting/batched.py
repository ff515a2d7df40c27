"""Variable projection by Levenberg–Marquardt, batched over maps and starts, on any array-API library.

The engine that starts at once: NumPy for small jobs, torch tensors where a device is given. Only the nonlinear
parameters are searched; for each trial the linear amplitudes are solved exactly and the Kaufman form of the Jacobian is
used (Kaufman 1975, doi:10.1007/BF01932995), with Marquardt's scaling, Nielsen's damping, bounds by freezing parameters
whose gradient points outwards, and capped steps. Each map gets many screened starts; the best few are refined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import array_api_compat
import numpy as np

from rfcompare.fitting.dictionary import all_starts
from rfcompare.fitting.moments import gabor_derivatives, gabor_moments, gram_and_projection
from rfcompare.fitting.noise import correlate
from rfcompare.fitting.uncertainty import apart, rivals
from rfcompare.models import MODELS, Array, Derivatives, Model, map_of

TOLERANCE = 1e-7
"""Relative fall of the cost at which a fit has converged: about 0.003 standard errors of a parameter."""

ROUNDING = 1e-13
"""Share of a map's sum of squares that arithmetic in float64 does not resolve."""

AGREE = 1e-4
"""Two minima are the same when their costs differ by less than this share (and by rounding)."""

SCREEN_ITERATIONS, ITERATIONS = 6, 100
"""Iterations before hopeless starts are dropped, and at most after that."""

BLOCK = {"cpu": 1 << 15, "gpu": 1 << 24}
"""Pixels evaluated at a time: what fits the cache of a CPU, or fills a GPU."""

_STEP_CAP = {"x": np.inf, "y": np.inf, "angle": 0.6, "frequency": 0.1, "log_length": 0.9, "curvature": 0.1}


@dataclass
class Problem:
    """Maps prepared for fitting.

    Attributes
    ----------
    model : Model
    maps : (n, channel, height, width) array
        Their means over the measured pixels removed, zero elsewhere.
    mask : (n, height, width) array
        1 where measured.
    mean : (n, channel) array
    x, y : (width,) and (height,) arrays
        Pixel positions.
    total, count : (n,) arrays
        Sum of squares about the mean; number of measured pixels per channel.
    whole : bool
        Whether every pixel was measured.
    """

    model: Model
    maps: Array
    mask: Array
    mean: Array
    x: Array
    y: Array
    total: Array
    count: Array
    whole: bool

    @property
    def block(self) -> int:
        """Rows to evaluate at a time."""
        return block(self.maps, self.maps.shape[1] * self.maps.shape[2] * self.maps.shape[3])


def block(like: Array, pixels: int) -> int:
    """How many rows of so many pixels to hold at a time where the array `like` is."""
    on = "cpu" if str(array_api_compat.device(like)).startswith("cpu") else "gpu"
    return max(1, BLOCK[on] // pixels)


@dataclass
class Equations:
    """One evaluation: cost (m,), amplitudes (m, channel, terms + 1), and the nonlinear parameters' normal equations.

    ``gradient`` is Jᵀ(map − model) and ``hessian`` JᵀJ after the linear span has been taken out; empty where not asked.
    """

    cost: Array
    linear: Array
    gradient: Array
    hessian: Array


@dataclass
class Solution:
    """The best minimum of every map, as NumPy arrays.

    Attributes
    ----------
    p : (n, parameters) array
    linear : (n, channel, terms + 1) array
        Offset last, with the map's mean back in it.
    cost : (n,) array
        Residual sum of squares.
    n_agree : (n,) int array
        Refined starts that ended in this minimum.
    converged : (n,) bool array
    rival : (n, parameters) array
        The best other minimum that a refined start ended in; NaN where there was none.
    rival_cost : (n,) array
        Its residual sum of squares; infinite where there was none.
    information : (n, m, m) array
        JᵀJ of all fitted numbers: the nonlinear parameters, then every channel's amplitudes and offset.
    """

    p: np.ndarray
    linear: np.ndarray
    cost: np.ndarray
    n_agree: np.ndarray
    converged: np.ndarray
    rival: np.ndarray
    rival_cost: np.ndarray
    information: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """The solutions of consecutive chunks of maps as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def _solve_scaled(matrix: Array, right: Array) -> Array:
    """Solve a symmetric system scaled to a unit diagonal, with a ridge at rounding level against collinear terms."""
    xp = array_api_compat.array_namespace(matrix)
    n = matrix.shape[-1]
    diagonal = xp.linalg.diagonal(matrix)
    scale = 1 / xp.sqrt(xp.clip(diagonal, 1e-300, None))
    unit = matrix * scale[..., :, None] * scale[..., None, :]
    unit = unit + 1e-13 * xp.eye(n, dtype=matrix.dtype, device=matrix.device)
    return xp.linalg.solve(unit, right * scale[..., :, None]) * scale[..., :, None]


def prepare(model: Model, maps: Array, mask: Array, x: Array, y: Array) -> Problem:
    """Center the maps on their measured pixels."""
    xp = array_api_compat.array_namespace(maps)
    count = xp.clip(xp.sum(mask, axis=(1, 2)), 1, None)
    maps = xp.where(mask[:, None] > 0, maps, 0.0)
    mean = xp.sum(maps, axis=(2, 3)) / count[:, None]
    maps = (maps - mean[:, :, None, None]) * mask[:, None]
    whole = bool(xp.all(mask > 0))
    return Problem(model, maps, mask, mean, x, y, xp.sum(maps**2, axis=(1, 2, 3)), count, whole)


def evaluate(problem: Problem, index: Array, p: Array, *, derivatives: bool = True) -> Equations:
    """Cost, amplitudes and normal equations of parameter vectors p (m, parameters) on maps `index` (m,)."""
    xp = array_api_compat.array_namespace(p)
    rows = problem.block
    if p.shape[0] <= rows:
        return _evaluate(problem, index, p, derivatives)
    parts = [_evaluate(problem, index[i : i + rows], p[i : i + rows], derivatives) for i in range(0, p.shape[0], rows)]
    return Equations(*(xp.concat([getattr(part, f.name) for part in parts], axis=0) for f in fields(Equations)))


def _evaluate(problem: Problem, index: Array, p: Array, derivatives: bool) -> Equations:
    xp = array_api_compat.array_namespace(p)
    model, x, y = problem.model, problem.x, problem.y
    maps, mask, count = problem.maps[index], problem.mask[index], problem.count[index]
    m, channels = maps.shape[:2]
    q = len(model.parameters)
    by_moments = model is MODELS["gabor"]
    if by_moments:
        square, single, data = gabor_moments(p, maps, mask, x, y, derivatives=derivatives)
        gram, right = gram_and_projection(square, single, data, count)
    else:
        functions, slopes = model.evaluate(p, x, y, slopes=derivatives)
        basis = _basis(functions, mask, problem.whole)
        flat = xp.reshape(maps, (m, channels, -1))
        gram = xp.matmul(basis, xp.matrix_transpose(basis))
        right = xp.matmul(basis, xp.matrix_transpose(flat))
    amplitudes = _solve_scaled(gram, right)
    cost = problem.total[index] - xp.sum(right * amplitudes, axis=(1, 2))
    cost = xp.where(xp.isfinite(cost), xp.clip(cost, 0.0, None), xp.inf)
    linear = xp.matrix_transpose(amplitudes)
    if not derivatives or q == 0:
        empty = xp.zeros((m, 0), dtype=p.dtype, device=p.device)
        return Equations(cost, linear, empty, empty[:, :, None])
    if by_moments:
        gradient, hessian, cross = gabor_derivatives(p, linear, square, single, data)
    else:
        jacobian = _jacobian(slopes, linear, mask, problem.whole)
        hessian = xp.sum(xp.matmul(jacobian, xp.matrix_transpose(jacobian)), axis=1)
        cross = xp.matmul(jacobian, xp.matrix_transpose(basis)[:, None])
        gradient = xp.sum(xp.matmul(jacobian, flat[..., None]) - xp.matmul(cross, linear[..., None]), axis=1)[..., 0]
    inside = _solve_scaled(gram[:, None], xp.matrix_transpose(cross))
    return Equations(cost, linear, gradient, hessian - xp.sum(xp.matmul(cross, inside), axis=1))


def _basis(functions: list[Array], mask: Array, whole: bool) -> Array:
    """Basis functions (m, terms, pixel) on the measured pixels, the offset's last."""
    xp = array_api_compat.array_namespace(mask)
    m, height, width = mask.shape
    out = xp.empty((m, len(functions) + 1, height, width), dtype=mask.dtype, device=mask.device)
    for term, function in enumerate(functions):
        out[:, term] = function if whole else function * mask
    out[:, -1] = mask
    return xp.reshape(out, (m, len(functions) + 1, height * width))


def _jacobian(slopes: Derivatives, linear: Array, mask: Array, whole: bool) -> Array:
    """Derivatives (m, channel, parameters, pixel) of the maps by the nonlinear parameters at fixed amplitudes."""
    xp = array_api_compat.array_namespace(linear)
    (m, channels), (_, height, width) = linear.shape[:2], mask.shape
    out = xp.empty((m, channels, len(slopes), height, width), dtype=mask.dtype, device=mask.device)
    for q, slope in enumerate(slopes):
        terms = [(linear[:, :, term][:, :, None, None], part) for term, part in enumerate(slope) if part is not None]
        total = terms[0][0] * terms[0][1][:, None]
        for amplitude, part in terms[1:]:
            total = total + amplitude * part[:, None]
        out[:, :, q] = total if whole else total * mask[:, None]
    return xp.reshape(out, (m, channels, len(slopes), height * width))


def information(problem: Problem, p: Array, linear: Array, acf: Array | None = None) -> Array:
    """JᵀJ (n, m, m) of all fitted numbers at p: nonlinear parameters, then every channel's amplitudes and offset.

    With the noise's autocorrelations `acf` (n, lag_y, lag_x; NumPy only) JᵀCJ, C being the correlation of the pixels.
    """
    xp = array_api_compat.array_namespace(p)
    model, out = problem.model, []
    terms, q, channels = len(model.linear) + 1, len(model.parameters), linear.shape[1]
    height, width = problem.mask.shape[1:]
    for first in range(0, max(p.shape[0], 1), problem.block):
        here = slice(first, first + problem.block)
        functions, slopes = model.evaluate(p[here], problem.x, problem.y)
        mask = problem.mask[here]
        m = mask.shape[0]
        basis = _basis(functions, mask, problem.whole)
        jacobian = _jacobian(slopes, linear[here], mask, problem.whole)
        total = xp.zeros((m, q + channels * terms, q + channels * terms), dtype=p.dtype, device=p.device)
        for channel in range(channels):
            one = xp.concat([jacobian[:, channel], basis], axis=1)
            seen = one
            if acf is not None:
                seen = correlate(acf[here], one.reshape(m, q + terms, height, width)).reshape(one.shape)
            products = xp.matmul(one, xp.matrix_transpose(seen))
            rows = slice(q + channel * terms, q + (channel + 1) * terms)
            total[:, :q, :q] += products[:, :q, :q]
            total[:, :q, rows], total[:, rows, :q] = products[:, :q, q:], products[:, q:, :q]
            total[:, rows, rows] = products[:, q:, q:]
        out.append(total)
    return xp.concat(out, axis=0)


def refine(
    problem: Problem,
    index: Array,
    p: Array,
    *,
    iterations: int,
    damping: float = 1e-2,
    tolerance: float = TOLERANCE,
    held: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Levenberg–Marquardt from every row of p, not moving the parameters that are `held` (m, parameters).

    Returns parameters, costs and whether each row has converged.
    """
    xp = array_api_compat.array_namespace(p)
    low, high = (xp.asarray(b, dtype=p.dtype, device=p.device) for b in problem.model.bounds(problem.x, problem.y))
    caps = [_STEP_CAP[parameter.link] for parameter in problem.model.parameters]
    cap = xp.asarray(caps, dtype=p.dtype, device=p.device)
    center = [i for i, parameter in enumerate(problem.model.parameters) if parameter.link in ("x", "y")]
    widths = [i for i, parameter in enumerate(problem.model.parameters) if parameter.link == "log_length"]
    p = xp.clip(p, low, high)
    m, q = p.shape
    done = xp.zeros(m, dtype=xp.bool, device=p.device)
    if q == 0:
        return p, evaluate(problem, index, p, derivatives=False).cost, ~done
    best, cost_out = xp.asarray(p, copy=True), xp.full((m,), xp.inf, dtype=p.dtype, device=p.device)
    rows = xp.arange(m, device=p.device)
    here = evaluate(problem, index, p)
    cost, gradient, hessian = here.cost, here.gradient, here.hessian
    damp, growth = (
        xp.full((m,), damping, dtype=p.dtype, device=p.device),
        xp.full((m,), 2.0, dtype=p.dtype, device=p.device),
    )
    eye = xp.eye(q, dtype=p.dtype, device=p.device)
    small = xp.zeros(m, dtype=xp.bool, device=p.device)
    total = problem.total[index]
    still = xp.zeros((m, q), dtype=xp.bool, device=p.device) if held is None else held
    for _ in range(iterations):
        frozen = ((p <= low) & (gradient < 0)) | ((p >= high) & (gradient > 0)) | still
        free = xp.astype(~frozen, p.dtype)
        diagonal = xp.clip(xp.linalg.diagonal(hessian), 0.0, None)
        floor = 1e-12 * xp.max(diagonal, axis=1)[:, None] + 1e-300
        scaled = (diagonal * damp[:, None] + floor) * free + xp.astype(frozen, p.dtype)
        matrix = hessian * free[:, :, None] * free[:, None, :] + scaled[:, :, None] * eye
        step = xp.linalg.solve(matrix, (gradient * free)[:, :, None])[:, :, 0]
        step = xp.where(xp.isfinite(step), step, 0.0)
        limit = cap[None] * xp.ones_like(p)
        if center:
            reach = xp.exp(xp.max(p[:, widths[0] :][:, : len(widths)], axis=1)) + 0.5
            for i in center:
                limit[:, i] = reach
        shrink = xp.max(xp.abs(step) / limit, axis=1)
        trial = xp.clip(p + step / xp.clip(shrink, 1.0, None)[:, None], low, high)
        step = trial - p
        predicted = xp.sum(step * (2 * gradient - xp.matmul(hessian, step[:, :, None])[:, :, 0]), axis=1)
        there = evaluate(problem, index, trial)
        fell = cost - there.cost
        accept = fell > 0
        resolved = tolerance * cost + ROUNDING * total
        ratio = fell / xp.clip(predicted, 1e-300, None)
        easier = xp.clip(1 - (2 * xp.clip(ratio, -1.0, 2.0) - 1) ** 3, 0.1, None)
        damp = xp.where(accept, xp.clip(damp * easier, 1e-9, None), damp * growth)
        growth = xp.where(accept, 2.0, growth * 2)
        tiny = accept & (fell < resolved)
        stop = (tiny & (small | (damp < 1e-3))) | (~accept & ((xp.abs(predicted) < resolved) | (damp > 1e8)))
        small = tiny
        keep = accept[:, None]
        p, cost = xp.where(keep, trial, p), xp.where(accept, there.cost, cost)
        gradient = xp.where(keep, there.gradient, gradient)
        hessian = xp.where(keep[:, :, None], there.hessian, hessian)
        if bool(xp.any(stop)):
            ended = rows[stop]
            best[ended], cost_out[ended], done[ended] = p[stop], cost[stop], True
            go = ~stop
            rows, index, p, cost, gradient, hessian = (a[go] for a in (rows, index, p, cost, gradient, hessian))
            damp, growth, small, total, still = (a[go] for a in (damp, growth, small, total, still))
            if rows.shape[0] == 0:
                break
    best[rows], cost_out[rows] = p, cost
    return best, cost_out, done


def solve(model: Model, maps: Array, mask: Array, x: Array, y: Array, *, starts: Array | None = None) -> Solution:
    """Fit every map.

    Parameters
    ----------
    model : Model
    maps : (n, channel, height, width) float64 array
        Rows ascending in y. Channels share the nonlinear parameters.
    mask : (n, height, width) float64 array
        1 where measured, 0 elsewhere.
    x, y : (width,) and (height,) arrays
        Pixel positions.
    starts : (n, starts, parameters) array, optional
        In place of the model's blind starts and those from its dictionary.

    Notes
    -----
    Of the starts that explain most, `Model.keep` are refined; where the outcome is doubtful (on a bound, reached by one
    start only, or among minima side by side), the others as well.
    """
    problem = prepare(model, maps, mask, x, y)
    xp = array_api_compat.array_namespace(problem.maps)
    n, device, dtype = problem.maps.shape[0], problem.maps.device, problem.maps.dtype
    if not model.parameters:
        starts = xp.zeros((n, 1, 0), dtype=dtype, device=device)
    elif starts is None:
        starts = all_starts(model, problem.maps, problem.mask, problem.x, problem.y)
    low, high = (xp.asarray(b, dtype=dtype, device=device) for b in model.bounds(problem.x, problem.y))
    starts = xp.clip(starts, low, high)
    rows, k, keep = xp.arange(n, device=device), starts.shape[1], model.keep
    if k > keep:
        costs = evaluate(problem, _each(xp, rows, k), xp.reshape(starts, (n * k, -1)), derivatives=False).cost
        order = xp.argsort(xp.reshape(costs, (n, k)), axis=1)
        starts = starts[rows[:, None], order]
    p, cost, done = _refine_all(problem, rows, starts[:, :keep])
    best, lowest, agree, sure = _choose(problem, rows, p, cost, done)
    ends = [(np.arange(n), p, xp.where(done, cost, xp.inf))]
    doubtful = (agree == 1) | xp.any((best <= low) | (best >= high), axis=1)
    if k > keep and bool(xp.any(doubtful)):
        again = rows[doubtful]
        further = _refine_all(problem, again, starts[again, keep : 4 * keep])
        p, cost, done = (xp.concat([x[again], y], axis=1) for x, y in zip((p, cost, done), further, strict=True))
        best[again], lowest[again], agree[again], sure[again] = _choose(problem, again, p, cost, done)
        ends.append((_numpy(again), p, xp.where(done, cost, xp.inf)))
    rival, rival_cost, plain = np.full((n, starts.shape[2]), np.nan), np.full(n, np.inf), _numpy(best)
    for of, places, heights in ends:
        rival[of], rival_cost[of] = rivals(model, plain[of], _numpy(places), _numpy(heights))
    best, linear = model.canonical(best, evaluate(problem, rows, best, derivatives=False).linear)
    exact = direct_cost(problem, best, linear)
    inner = information(problem, best, linear)
    linear = xp.asarray(linear, copy=True)
    linear[:, :, -1] += problem.mean
    return Solution(
        _numpy(best), _numpy(linear), _numpy(exact), _numpy(agree), _numpy(sure), rival, rival_cost, _numpy(inner)
    )


def _numpy(values: Array) -> np.ndarray:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def _each(xp: Any, rows: Array, times: int) -> Array:
    """Every row number so many times in a row."""
    return xp.reshape(rows[:, None] * xp.ones((1, times), dtype=rows.dtype, device=rows.device), (-1,))


def _refine_all(problem: Problem, rows: Array, starts: Array) -> tuple[Array, Array, Array]:
    """Refine starts (n, k, parameters) of maps `rows`; parameters, costs (n, k) and whether each has converged.

    After a few iterations a start far behind the best of its map is left where it is, and one that has met another
    follows it.
    """
    xp = array_api_compat.array_namespace(starts)
    model, (n, k, q) = problem.model, starts.shape
    maps_of = _each(xp, rows, k)
    p, cost, done = refine(problem, maps_of, xp.reshape(starts, (n * k, q)), iterations=SCREEN_ITERATIONS)
    here = xp.reshape(cost, (n, k))
    leader = xp.argmin(here, axis=1)
    number = xp.arange(n, device=starts.device)
    front = here[number, leader][:, None]
    total = problem.total[rows][:, None]
    others = xp.arange(k, device=starts.device)[None] != leader[:, None]
    places = xp.reshape(p, (n, k, q))
    near = ~apart(model, places, places[number, leader][:, None]) if q else xp.ones_like(others)
    met = others & near & (here <= front * (1 + AGREE) + 1e-9 * total)
    hopeful = here <= 1.3 * front + 1e-9 * total
    going = ~done & xp.reshape(hopeful & ~met, (-1,))
    if bool(xp.any(going)):
        p[going], cost[going], done[going] = refine(
            problem, maps_of[going], p[going], iterations=ITERATIONS, damping=1e-3
        )
    p, cost, done = xp.reshape(p, (n, k, q)), xp.reshape(cost, (n, k)), xp.reshape(done, (n, k))
    cost = xp.where(met, cost[number, leader][:, None], cost)
    done = xp.where(met, done[number, leader][:, None], done)
    return xp.where(met[:, :, None], p[number, leader][:, None], p), cost, done


def _choose(problem: Problem, rows: Array, p: Array, cost: Array, done: Array) -> tuple[Array, ...]:
    """Of refined starts: the best parameters, their cost, how many agree, converged?"""
    xp = array_api_compat.array_namespace(p)
    number, winner = xp.arange(p.shape[0], device=p.device), xp.argmin(cost, axis=1)
    lowest = cost[number, winner]
    same = cost <= (lowest * (1 + AGREE) + 1e-9 * problem.total[rows])[:, None]
    agree = xp.sum(xp.astype(same & xp.isfinite(cost), xp.int64), axis=1)
    return p[number, winner], lowest, agree, done[number, winner]


def render(model: Model, p: Array, linear: Array, x: Array, y: Array) -> Array:
    """Maps (n, channel, height, width) of a model, a cacheful at a time."""
    xp = array_api_compat.array_namespace(p)
    rows = block(p, linear.shape[1] * x.shape[0] * y.shape[0])
    pieces = [slice(i, i + rows) for i in range(0, max(p.shape[0], 1), rows)]
    return xp.concat([map_of(model, p[i], linear[i], x, y) for i in pieces], axis=0)


def direct_cost(problem: Problem, p: Array, linear: Array) -> Array:
    """Residual sums of squares from the rendered maps, free of the cancellation in total − explained."""
    xp = array_api_compat.array_namespace(p)
    out = []
    for i in range(0, p.shape[0], problem.block):
        here = slice(i, i + problem.block)
        miss = problem.maps[here] - map_of(problem.model, p[here], linear[here], problem.x, problem.y)
        out.append(xp.sum((miss * problem.mask[here][:, None]) ** 2, axis=(1, 2, 3)))
    return xp.concat(out, axis=0) if out else p[:, 0]
