"""Variable projection by Levenberg–Marquardt, batched over maps and starts, on any array-API library.

The engine that starts at once: NumPy for small jobs, torch tensors where a device is given. Only the nonlinear
parameters are searched; for each trial the linear amplitudes are solved exactly and the Kaufman form of the Jacobian is
used (Kaufman 1975, doi:10.1007/BF01932995), both from sums over pixels of products of the model's functions; with
Marquardt's scaling, Nielsen's damping, bounds by freezing parameters whose gradient points outwards, and capped steps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import array_api_compat
import numpy as np

from rfcompare.fitting.dictionary import Likeness
from rfcompare.fitting.noise import correlate
from rfcompare.fitting.search import Description, Ends
from rfcompare.fitting.uncertainty import apart
from rfcompare.models import Array, Model, map_of

_TOLERANCE = 1e-7
"""Relative fall of the cost at which a fit has converged: about 0.003 standard errors of a parameter."""

_ROUNDING = 1e-13
"""Share of a map's sum of squares that arithmetic in float64 does not resolve."""

DEPENDENT = 1e-9
"""Basis functions of which less than this share of a square is their own share one amplitude: on the pixels of a grid a
carrier at the Nyquist frequency has an even part alone, and a bit beside it amplitudes without end."""

_JUDGED, _ITERATIONS = (6, 12, 24), 100
"""Iterations after which starts are judged, and at most in all."""

_AGREE = 1e-4
"""Two starts near each other have met when their costs differ by less than this share (and by rounding)."""

_BLOCK = {"cpu": 1 << 15, "gpu": 1 << 24}
"""Pixels evaluated at a time: what fits the cache of a CPU, or fills a GPU."""


@dataclass
class _Problem:
    """Maps (n, channel, y, x) prepared for fitting: their means over the measured pixels (`mask` 1) removed, zero
    elsewhere; their sums of squares, the measured pixels of each channel, and whether all were measured.
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
    return max(1, _BLOCK[on] // pixels)


@dataclass
class _Equations:
    """One evaluation: cost (m,), amplitudes (m, channel, terms + 1), and the nonlinear parameters' normal equations.

    ``gradient`` is Jᵀ(map − model) and ``hessian`` JᵀJ after the linear span has been taken out; empty where not asked.
    """

    cost: Array
    linear: Array
    gradient: Array
    hessian: Array


def _solve_scaled(matrix: Array, right: Array) -> Array:
    """Solve a symmetric system scaled to a unit diagonal, with a ridge against collinear terms."""
    xp = array_api_compat.array_namespace(matrix)
    n = matrix.shape[-1]
    diagonal = xp.linalg.diagonal(matrix)
    scale = 1 / xp.sqrt(xp.clip(diagonal, 1e-300, None))
    unit = matrix * scale[..., :, None] * scale[..., None, :]
    unit = unit + DEPENDENT * xp.eye(n, dtype=matrix.dtype, device=matrix.device)
    return xp.linalg.solve(unit, right * scale[..., :, None]) * scale[..., :, None]


def prepare(model: Model, maps: Array, mask: Array, x: Array, y: Array) -> _Problem:
    """Center the maps on their measured pixels."""
    xp = array_api_compat.array_namespace(maps)
    count = xp.clip(xp.sum(mask, axis=(1, 2)), 1, None)
    maps = xp.where(mask[:, None] > 0, maps, 0.0)
    mean = xp.sum(maps, axis=(2, 3)) / count[:, None]
    maps = (maps - mean[:, :, None, None]) * mask[:, None]
    whole = bool(xp.all(mask > 0))
    return _Problem(model, maps, mask, mean, x, y, xp.sum(maps**2, axis=(1, 2, 3)), count, whole)


def evaluate(problem: _Problem, index: Array, p: Array, *, derivatives: bool = True) -> _Equations:
    """Cost, amplitudes and normal equations of parameter vectors p (m, parameters) on maps `index` (m,)."""
    xp = array_api_compat.array_namespace(p)
    rows = problem.block
    if p.shape[0] <= rows:
        return _evaluate(problem, index, p, derivatives)
    parts = [_evaluate(problem, index[i : i + rows], p[i : i + rows], derivatives) for i in range(0, p.shape[0], rows)]
    return _Equations(*(xp.concat([getattr(part, f.name) for part in parts], axis=0) for f in fields(_Equations)))


def _evaluate(problem: _Problem, index: Array, p: Array, derivatives: bool) -> _Equations:
    """From sums over pixels alone: products of the model's functions with each other and with the maps."""
    xp = array_api_compat.array_namespace(p)
    model, maps = problem.model, problem.maps[index]
    (m, channels), q, terms = maps.shape[:2], len(model.parameters), len(model.linear)
    functions = _functions(problem, p, problem.mask[index])
    k = functions.shape[1] - 1
    of_basis = [*range(terms), k]
    basis = functions[:, of_basis]
    flat = xp.matrix_transpose(xp.reshape(maps, (m, channels, maps.shape[2] * maps.shape[3])))
    seen = functions if derivatives and q else basis
    gram, data = xp.matmul(seen, xp.matrix_transpose(seen)), xp.matmul(seen, flat)
    inner, right = (gram, data) if seen is basis else (gram[:, of_basis][:, :, of_basis], data[:, of_basis])
    amplitudes = _solve_scaled(inner, right)
    cost = problem.total[index] - xp.sum(right * amplitudes, axis=(1, 2))
    cost = xp.where(xp.isfinite(cost), xp.clip(cost, 0.0, None), xp.inf)
    linear = xp.matrix_transpose(amplitudes)
    if seen is basis:
        empty = xp.zeros((m, 0), dtype=p.dtype, device=p.device)
        return _Equations(cost, linear, empty, empty[:, :, None])
    rows = model.rows(p, linear)
    left = data[:, :k] - xp.matmul(gram[:, :k][:, :, of_basis], amplitudes)  # what the amplitudes leave of the maps
    gradient = xp.sum(xp.matmul(rows, xp.matrix_transpose(left)[..., None]), axis=1)[..., 0]
    products = xp.matmul(rows, gram[:, None, :k])
    cross = products[..., of_basis]
    hessian = xp.matmul(products[..., :k], xp.matrix_transpose(rows))
    inside = _solve_scaled(inner[:, None], xp.matrix_transpose(cross))
    return _Equations(cost, linear, gradient, xp.sum(hessian - xp.matmul(cross, inside), axis=1))


def _functions(problem: _Problem, p: Array, mask: Array) -> Array:
    """The model's functions (m, count + 1, pixel) on the measured pixels, last of all the offset's."""
    xp = array_api_compat.array_namespace(p)
    table = problem.model.table(p, problem.x, problem.y)
    if not problem.whole:
        table = table * mask[:, None]
    return xp.reshape(
        xp.concat([table, mask[:, None]], axis=1), (p.shape[0], table.shape[1] + 1, mask.shape[1] * mask.shape[2])
    )


def information(
    problem: _Problem, p: Array, linear: Array, acf: Array | None = None, *, index: Array | None = None
) -> Array:
    """JᵀJ (n, m, m) of all fitted numbers at p: nonlinear parameters, then every channel's amplitudes and offset.

    `index` (n,) says of which maps, by default of all. With the noise's autocorrelations `acf` (n, lag_y, lag_x; NumPy
    only) JᵀCJ, C being the correlation of the pixels.
    """
    xp = array_api_compat.array_namespace(p)
    model, out = problem.model, []
    terms, q, channels = len(model.linear) + 1, len(model.parameters), linear.shape[1]
    height, width = problem.mask.shape[1:]
    for first in range(0, max(p.shape[0], 1), problem.block):
        here = slice(first, first + problem.block)
        functions = _functions(problem, p[here], problem.mask[here] if index is None else problem.mask[index[here]])
        m, rows = functions.shape[0], model.rows(p[here], linear[here])
        basis = functions[:, [*range(terms - 1), -1]]
        total = xp.zeros((m, q + channels * terms, q + channels * terms), dtype=p.dtype, device=p.device)
        for channel in range(channels):
            one = xp.concat([xp.matmul(rows[:, channel], functions[:, :-1]), basis], axis=1)
            seen = one
            if acf is not None:
                seen = correlate(acf[here], one.reshape(m, q + terms, height, width)).reshape(one.shape)
            products = xp.matmul(one, xp.matrix_transpose(seen))
            of = slice(q + channel * terms, q + (channel + 1) * terms)
            total[:, :q, :q] += products[:, :q, :q]
            total[:, :q, of], total[:, of, :q] = products[:, :q, q:], products[:, q:, :q]
            total[:, of, of] = products[:, q:, q:]
        out.append(total)
    return xp.concat(out, axis=0)


def refine(
    problem: _Problem,
    index: Array,
    p: Array,
    *,
    iterations: int,
    damping: float = 1e-2,
    tolerance: float = _TOLERANCE,
    held: Array | None = None,
) -> tuple[Array, Array, Array]:
    """Levenberg–Marquardt from every row of p, not moving the parameters that are `held` (m, parameters).

    Returns parameters, costs and whether each row has converged.
    """
    xp = array_api_compat.array_namespace(p)
    low, high = (xp.asarray(b, dtype=p.dtype, device=p.device) for b in problem.model.bounds(problem.x, problem.y))
    cap = xp.asarray([parameter.step for parameter in problem.model.parameters], dtype=p.dtype, device=p.device)
    far = [i for i, parameter in enumerate(problem.model.parameters) if np.isinf(parameter.step)]
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
        limit[:, far] = (problem.model.widest(p) + 0.5)[:, None]
        shrink = xp.max(xp.abs(step) / limit, axis=1)
        trial = xp.clip(p + step / xp.clip(shrink, 1.0, None)[:, None], low, high)
        step = trial - p
        predicted = xp.sum(step * (2 * gradient - xp.matmul(hessian, step[:, :, None])[:, :, 0]), axis=1)
        there = evaluate(problem, index, trial)
        fell = cost - there.cost
        accept = fell > 0
        resolved = tolerance * cost + _ROUNDING * total
        # The floor follows the maps' own scale, whatever units they are in.
        ratio = fell / xp.where(predicted > 1e-20 * resolved, predicted, 1e-20 * resolved + 1e-300)
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


class Batched:
    """This engine, ready for `rfcompare.fitting.search.search`.

    Parameters
    ----------
    model : Model
    maps : (n, channel, height, width) float64 array
        Rows ascending in y. Channels share the nonlinear parameters.
    mask : (n, height, width) float64 array
        1 where measured, 0 elsewhere.
    x, y : (width,) and (height,) arrays
        Pixel positions.
    """

    def __init__(self, model: Model, maps: Array, mask: Array, x: Array, y: Array) -> None:
        self.problem = problem = prepare(model, maps, mask, x, y)
        self.xp = array_api_compat.array_namespace(problem.maps)
        self.model, self.whole = model, problem.whole
        self.low, self.high = model.bounds(x, y)
        self.likeness: Likeness | None = None
        self.maps, self.mask, self.mean, self.total, self.count = (
            _numpy(values) for values in (problem.maps, problem.mask, problem.mean, problem.total, problem.count)
        )

    def _here(self, values: np.ndarray) -> Array:
        return self.xp.asarray(values, device=self.problem.maps.device)

    def starts(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The likest members of the model's dictionary, those that explain most first."""
        if not self.model.parameters:
            return np.zeros((len(rows), 1, 0))
        if self.likeness is None:
            self.likeness = Likeness(self.model, self.problem.maps, self.problem.x, self.problem.y)
        return _numpy(self.likeness.starts(self._here(rows), count))

    def refine(self, rows: np.ndarray, starts: np.ndarray, best: np.ndarray, patience: float) -> Ends:
        """Refine starts (n, k, parameters) of maps `rows`; see `rfcompare.fitting.search.Refiner`."""
        index, p, known = (self._here(values) for values in (rows, starts, best))
        ends = _refine_all(self.problem, index, p, known, patience)
        return Ends(*(_numpy(values) for values in ends))

    def describe(self, rows: np.ndarray, p: np.ndarray) -> Description:
        """Amplitudes, exact costs, information and drawn maps of canonical parameters."""
        problem, index, p = self.problem, self._here(rows), self._here(p)
        linear = evaluate(problem, index, p, derivatives=False).linear
        fitted = render(self.model, p, linear, problem.x, problem.y)
        # From the residual itself, free of the cancellation in total − explained.
        miss = problem.maps[index] - fitted
        if not problem.whole:
            miss = miss * problem.mask[index][:, None]
        cost = self.xp.sum(miss * miss, axis=(1, 2, 3))
        inner = information(problem, p, linear, index=index)
        return Description(_numpy(linear), _numpy(cost), _numpy(inner), _numpy(fitted))


def _numpy(values: Array) -> np.ndarray:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def _each(xp: Any, rows: Array, times: int) -> Array:
    """Every row number so many times in a row."""
    return xp.reshape(rows[:, None] * xp.ones((1, times), dtype=rows.dtype, device=rows.device), (-1,))


def _refine_all(
    problem: _Problem, rows: Array, starts: Array, known: Array, patience: float
) -> tuple[Array, Array, Array]:
    """Refine starts (n, k, parameters) of maps `rows`; parameters, costs (n, k) and whether each has converged.

    Now and then starts far behind the best of their map, or behind the `known` cost (n,), are given up, and those that
    have met another follow it.
    """
    xp = array_api_compat.array_namespace(starts)
    model, (n, k, q) = problem.model, starts.shape
    maps_of = _each(xp, rows, k)
    p, cost = xp.reshape(starts, (n * k, q)), xp.full((n * k,), xp.inf, dtype=starts.dtype, device=starts.device)
    number, every = xp.arange(n, device=starts.device), xp.arange(k, device=starts.device)[None]
    total = problem.total[rows][:, None]
    going = xp.ones(n * k, dtype=xp.bool, device=starts.device)
    done, follows = ~going, xp.zeros((n, k), dtype=xp.bool, device=starts.device)
    leader = follows[:, 0]
    for last, upto in zip((0, *_JUDGED), (*_JUDGED, _ITERATIONS), strict=True):
        p[going], cost[going], done[going] = refine(
            problem, maps_of[going], p[going], iterations=upto - last, damping=1e-3 if last else 1e-2
        )
        here, places = xp.reshape(cost, (n, k)), xp.reshape(p, (n, k, q))
        here = xp.where(follows, xp.inf, here)
        leader = xp.argmin(here, axis=1)
        front = here[number, leader][:, None]
        near = ~apart(model, places, places[number, leader][:, None]) if q else xp.ones_like(follows)
        ahead = xp.where(front < known[:, None], front, known[:, None])
        follows = follows | ((every != leader[:, None]) & near & (here <= front * (1 + _AGREE) + 1e-9 * total))
        hopeful = here <= 1.3 * ahead + (patience / upto + 1e-9) * total
        cost = xp.where(done | xp.reshape(hopeful | follows, (-1,)), cost, xp.inf)
        going = ~done & xp.reshape(hopeful & ~follows, (-1,))
        if not bool(xp.any(going)):
            break
    p, cost, done = xp.reshape(p, (n, k, q)), xp.reshape(cost, (n, k)), xp.reshape(done, (n, k))
    cost = xp.where(follows, cost[number, leader][:, None], cost)
    done = xp.where(follows, done[number, leader][:, None], done)
    return xp.where(follows[:, :, None], p[number, leader][:, None], p), cost, done


def render(model: Model, p: Array, linear: Array, x: Array, y: Array) -> Array:
    """Maps (n, channel, height, width) of a model, a cacheful at a time."""
    xp = array_api_compat.array_namespace(p)
    rows = block(p, linear.shape[1] * x.shape[0] * y.shape[0])
    pieces = [slice(i, i + rows) for i in range(0, max(p.shape[0], 1), rows)]
    return xp.concat([map_of(model, p[i], linear[i], x, y) for i in pieces], axis=0)
