"""The search for the best parameters, jitted: eight fits side by side in the lanes of one vector unit.

Variable projection leaves the nonlinear parameters only; the amplitudes and the offset follow linearly. Each lane
carries one map through its own starts and takes the next map when done, so no lane waits for another, and a map's
result does not depend on its neighbors or on the number of workers.

What is compiled and kept on disk is in this file. Numba's disk cache sees changes of this file only, so what it keeps
lies in a folder that is named by the contents of all files here, by Numba's version and by the processor.
"""

from __future__ import annotations

import math
from functools import wraps

import numpy as np
from numba import config, njit
from numba.extending import overload

from rfcompare.fitting.compiled import gabor, shapes
from rfcompare.fitting.compiled.lanes import WIDTH, absolute, broadcast, load, sqrt, store, where
from rfcompare.fitting.compiled.place import place_of_the_cache
from rfcompare.fitting.compiled.vectors import aligned, exp, fill, maximum, minimum, put, take

FOLDER = place_of_the_cache()
"""Where compiled functions are kept, and beside them a file for each that is ready."""


def kept(function):
    """Jit a function that releases the interpreter and stays on disk where there is a place that can be written to."""
    before, config.CACHE_DIR = config.CACHE_DIR, str(FOLDER)
    try:
        jitted = njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(nogil=True)(function)
    finally:
        config.CACHE_DIR = before

    @wraps(function)
    def call(*args):
        try:
            return jitted(*args)
        except OSError:  # there was no room to keep it: it is compiled all the same, by the next process again
            return jitted(*args)

    return call


# --------------------------------------------------------------------------------------------------------------------
# Steps

# Of every parameter: the inverse of its longest step (0: the widest SD and half a pixel), the power of a length by
# which it is measured, how far apart two values tell two minima, after how many radians it comes round, whether it is
# an SD.
_BRAKE, _SCALE, _APART, _CIRCLE, _WIDTH = range(5)


@njit
def _propose(p, hessian, gradient, damping, low, high, rules, matrix, free, trial):
    """Damped, limited and bounded step from p to trial; the decrease of the cost that the local model expects."""
    q = len(low)
    for i in range(q):
        value, slope = load(p, i), load(gradient, i)
        held = ((value <= low[i]) & (slope < 0.0)) | ((value >= high[i]) & (slope > 0.0))
        store(free, i, where(held, 0.0, 1.0))
    for i in range(q):
        free_i = load(free, i)
        pivot = load(hessian, (q + 1) * i) * (1.0 + damping) + 1e-12
        right = load(gradient, i) * free_i
        least = pivot * 1e-14
        for j in range(i):
            value = load(hessian, q * i + j) * free_i * load(free, j)
            for k in range(j):
                value = value - load(matrix, q * i + k) * load(matrix, q * j + k)
            value = value * load(matrix, (q + 1) * j)
            store(matrix, q * i + j, value)
            pivot = pivot - value * value
            right = right - value * load(trial, j)
        root = 1.0 / sqrt(maximum(pivot, least))
        store(matrix, (q + 1) * i, root)  # the diagonal is kept inverted
        store(trial, i, right * root)
    for back in range(q):
        i = q - 1 - back
        value = load(trial, i)
        for k in range(i + 1, q):
            value = value - load(matrix, q * k + i) * load(trial, k)
        store(trial, i, value * load(matrix, (q + 1) * i))
    widest = broadcast(-300.0)
    for i in range(q):
        if rules[i, _WIDTH] > 0:
            widest = maximum(widest, load(p, i))
    reach = 1.0 / (exp(widest) + 0.5)
    excess = broadcast(1.0)
    for i in range(q):
        brake = broadcast(rules[i, _BRAKE]) if rules[i, _BRAKE] > 0 else reach
        excess = maximum(excess, absolute(load(trial, i)) * brake)
    scale = 1.0 / excess
    expected = broadcast(0.0)
    for i in range(q):
        value = load(p, i)
        moved = minimum(maximum(value + scale * load(trial, i), low[i]), high[i])
        store(free, i, moved - value)
        store(trial, i, moved)
    for i in range(q):
        bent = 0.5 * load(hessian, (q + 1) * i) * load(free, i)
        for j in range(i):
            bent = bent + load(hessian, q * i + j) * load(free, j)
        expected = expected + 2.0 * load(free, i) * (load(gradient, i) - bent)
    return expected


@njit
def _keep(p, lane, places, reaches, place, rules):
    """Keep a lane's parameters, and how far from each of them another minimum begins."""
    widest = -300.0
    for i in range(len(rules)):
        places[lane, place, i] = p[i * WIDTH + lane]
        if rules[i, _WIDTH] > 0:
            widest = max(widest, p[i * WIDTH + lane])
    for i in range(len(rules)):
        reaches[lane, place, i] = rules[i, _APART] * math.exp(rules[i, _SCALE] * widest)


@njit
def _meets(p, lane, places, reaches, place, rules):
    """Do a lane's parameters describe nearly the map of kept ones (so that the second search may stop)?"""
    for i in range(len(rules)):
        d, circle = abs(p[i * WIDTH + lane] - places[lane, place, i]), rules[i, _CIRCLE]
        if circle > 0:
            d = abs(d - circle * round(d / circle))
        if d > reaches[lane, place, i]:
            return False
    return True


def _make_room(kind, x, y, channels, terms, parameters):
    """Working memory for one kind of model."""


@overload(_make_room)
def _(kind, x, y, channels, terms, parameters):
    if kind.instance_class is gabor.AloneKind:
        return lambda kind, x, y, channels, terms, parameters: gabor.make_room(len(y), len(x))
    return lambda kind, x, y, channels, terms, parameters: shapes.make_room(kind, x, y, channels, terms, parameters)


def _equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares that parameters explain, the amplitudes and the normal equations, by moments or by products."""


@overload(_equations)
def _(room, masked, p, linear, hessian, gradient):
    own = gabor.equations if room.instance_class is gabor.Room else shapes.equations
    return lambda room, masked, p, linear, hessian, gradient: own(room, masked, p, linear, hessian, gradient)


@njit
def _search(room, maps, weights, counts, low, high, rules, starts, best, settings, ends, costs, settled):
    """Refine the starts of every map; each lane works through one map's starts, then takes the next map.

    `best` (map) is the cost of the best minimum so far. `settings` = tolerance, most steps of one start, and patience
    (see `rfcompare.fitting.search.Refiner`). `ends`, `costs` and `settled` (map, start) receive where starts ended: the
    cost is infinite where one was given up, and another's where a start met that one on the way.
    """
    tolerance, most, patience = settings
    masked, q, terms, channels = weights.shape[0] > 0, len(low), (room.terms + 1) * room.channels, room.channels
    p, trial, linear = aligned(q), aligned(q), aligned(terms)
    hessian, gradient, trial_hessian, trial_gradient = aligned(q * q), aligned(q), aligned(q * q), aligned(q)
    matrix, free, cost, gain, expected = aligned(q * q), aligned(q), aligned(1), aligned(1), aligned(1)
    damping, growth = aligned(1), aligned(1)
    which, start = np.full(WIDTH, -1), np.zeros(WIDTH, np.int64)
    steps, small, fresh = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.bool_)
    n_maps, n_starts, next_map = maps.shape[0], starts.shape[1], 0
    # Of each lane's map the best minimum found here and then all that starts settled in.
    heights, met = np.full((WIDTH, n_starts + 1), np.inf), np.ones(WIDTH, np.int64)
    places, reaches = np.zeros((WIDTH, n_starts + 1, q)), np.zeros((WIDTH, n_starts + 1, q))
    busy = min(WIDTH, n_maps)
    for lane in range(busy):
        which[lane], next_map, fresh[lane] = next_map, next_map + 1, True
    while busy > 0:
        store(expected, 0, _propose(p, hessian, gradient, load(damping, 0), low, high, rules, matrix, free, trial))
        for lane in range(WIDTH):
            if fresh[lane]:
                if start[lane] == 0:
                    fill(room, maps, weights, counts, lane, which[lane])
                    heights[lane, 0], met[lane] = np.inf, 1
                put(trial, lane, starts[which[lane], start[lane]])
                cost[lane], damping[lane], growth[lane], steps[lane], small[lane] = np.inf, 1e-2, 2.0, 0, 0
        explained = _equations(room, masked, trial, linear, trial_hessian, trial_gradient)
        old = load(cost, 0)
        new = channels * load(room.count, 0) - explained  # the maps are standardized
        # Rounding makes nonsense of an envelope that no pixel sees; nor is a cost that which is not a number.
        new = where((explained >= 0.0) & (new > -1e-6), maximum(new, 0.0), np.inf)
        decrease = old - new
        better = decrease > 0.0
        store(gain, 0, decrease)
        ratio = where(old < np.inf, 2.0 * decrease / maximum(load(expected, 0), 1e-300) - 1.0, 0.0)
        eased = where(old < np.inf, maximum(1.0 - ratio * ratio * ratio, 0.1), 1.0)
        eased = maximum(load(damping, 0) * eased, 1e-9)
        store(damping, 0, where(better, eased, load(damping, 0) * load(growth, 0)))
        store(growth, 0, where(better, 2.0, 2.0 * load(growth, 0)))
        store(cost, 0, where(better, new, old))
        for i in range(q):
            store(p, i, where(better, load(trial, i), load(p, i)))
            store(gradient, i, where(better, load(trial_gradient, i), load(gradient, i)))
            for t in range(q * i, (q + 1) * i + 1):
                store(hessian, t, where(better, load(trial_hessian, t), load(hessian, t)))
        for lane in range(WIDTH):
            index = which[lane]
            if index < 0:
                continue
            steps[lane] += 1
            now, lowest, whole = cost[lane], best[index], channels * room.count[lane]
            enough = tolerance * now + 1e-14 * whole
            done, rests = steps[lane] >= most or not now < np.inf, False
            if fresh[lane]:
                fresh[lane] = False
            elif gain[lane] >= enough:
                small[lane] = 0
            elif gain[lane] > 0:
                small[lane] += 1
                rests = small[lane] >= 2 or damping[lane] < 1e-3
            else:
                rests = abs(expected[lane]) < enough or damping[lane] > 1e8
            if not rests and steps[lane] > 2:
                for place in range(met[lane]):
                    height = heights[lane, place]
                    if height <= now < 1.05 * height and _meets(p, lane, places, reaches, place, rules):
                        done, now = True, height
                        put(p, lane, places[lane, place])
            if not (rests or done) and steps[lane] > 2 and now > 1.3 * lowest + whole * patience / steps[lane]:
                done, now = True, np.inf
            if not (done or rests):
                continue
            costs[index, start[lane]], settled[index, start[lane]] = now, rests
            take(p, lane, ends[index, start[lane]])
            if rests:
                heights[lane, met[lane]] = now
                _keep(p, lane, places, reaches, met[lane], rules)
                met[lane] += 1
            if now < lowest:
                best[index] = heights[lane, 0] = now
                _keep(p, lane, places, reaches, 0, rules)
            start[lane] += 1
            fresh[lane] = True
            if start[lane] >= n_starts:
                start[lane] = 0
                if next_map < n_maps:
                    which[lane], next_map = next_map, next_map + 1
                else:
                    which[lane], busy, fresh[lane] = -1, busy - 1, False


# --------------------------------------------------------------------------------------------------------------------
# What is compiled and kept


@kept
def choose(explained, differ, count, out):
    """Members that explain most of every map, without those that are like one before; the first of equal ones."""
    members = explained.shape[1]
    keys = np.empty(members, np.int64)
    for row in range(explained.shape[0]):
        # Positive numbers are ordered as their bits are.
        bits, top = explained[row].view(np.int32), np.int64(0)
        for i in range(members):
            keys[i] = (np.int64(bits[i]) << 32) + members - i
            top = max(top, keys[i])
        for k in range(count):
            best = members - (top & 0xFFFFFFFF)
            out[row, k], alike, top = best, differ[best], np.int64(-1 << 62)
            for i in range(members):
                keys[i] = keys[i] if alike[i] else members - i - (np.int64(1) << 32)
                top = max(top, keys[i])


@kept
def refine(
    kind, maps, weights, counts, x, y, channels, terms, low, high, rules, starts, best, settings, ends, costs, settled
):
    """Refine the starts of every map; see `_search`."""
    room = _make_room(kind, x, y, channels, terms, len(low))
    _search(room, maps, weights, counts, low, high, rules, starts, best, settings, ends, costs, settled)


@kept
def describe(kind, maps, weights, counts, x, y, channels, terms, parameters, linear, cost, information, fitted):
    """Of given parameters the amplitudes, the residual sum of squares, JᵀJ of all fitted numbers and the maps drawn."""
    n, q = parameters.shape
    room = shapes.make_room(kind, x, y, channels, terms, q)
    p, solved, total = aligned(q), aligned(linear.shape[1]), aligned(information.shape[1])
    drawn, squares = aligned(fitted.shape[1]), aligned(1)
    for first in range(0, n, WIDTH):
        filled = min(WIDTH, n - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
            put(p, lane, parameters[first + lane])
        store(squares, 0, shapes.describe(room, weights.shape[0] > 0, p, solved, drawn, total))
        for lane in range(filled):
            cost[first + lane] = squares[lane]
            take(solved, lane, linear[first + lane])
            take(total, lane, information[first + lane])
            take(drawn, lane, fitted[first + lane])
