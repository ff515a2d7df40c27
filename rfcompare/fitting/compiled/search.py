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
from rfcompare.fitting.compiled.gabor import make_room, project, screen
from rfcompare.fitting.compiled.lanes import (
    WIDTH,
    absolute,
    add_row,
    broadcast,
    load,
    maximum,
    minimum,
    sqrt,
    store,
    where,
    zeros,
)
from rfcompare.fitting.compiled.place import place_of_the_cache
from rfcompare.fitting.compiled.shapes import amplitudes, describe
from rfcompare.fitting.compiled.vectors import aligned, cos_sin, exp, fill

FOLDER = place_of_the_cache()
"""Where compiled functions are kept, and beside them a file for each that is ready."""


def kept(**options):
    """Jit a function that releases the interpreter and stays on disk where there is a place that can be written to."""

    def decorate(function):
        before, config.CACHE_DIR = config.CACHE_DIR, str(FOLDER)
        try:
            jitted = njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)
        finally:
            config.CACHE_DIR = before

        @wraps(function)
        def call(*args):
            try:
                return jitted(*args)
            except OSError:  # there was no room to keep it: it is compiled all the same, by the next process again
                return jitted(*args)

        return call

    return decorate


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
def _same(a, b, rules):
    """Do two parameter vectors describe nearly one map (so that the second search may stop)?"""
    widest = -300.0
    for i in range(len(rules)):
        if rules[i, _WIDTH] > 0:
            widest = max(widest, b[i])
    for i in range(len(rules)):
        d, circle = abs(a[i] - b[i]), rules[i, _CIRCLE]
        if circle > 0:
            d = abs(d - circle * round(d / circle))
        if d > rules[i, _APART] * math.exp(rules[i, _SCALE] * widest):
            return False
    return True


@njit
def _copy(source, target):
    """What `target[:] = source` does, which takes Numba two seconds to compile: an error would tell the shapes."""
    for i in range(len(source)):
        target[i] = source[i]


def _equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares that parameters explain, the amplitudes and the normal equations, by moments or by products."""


@overload(_equations)
def _(room, masked, p, linear, hessian, gradient):
    own = gabor.equations if room.instance_class is gabor.Room else shapes.equations
    return lambda room, masked, p, linear, hessian, gradient: own(room, masked, p, linear, hessian, gradient)


@njit
def _search(room, maps, weights, counts, low, high, rules, starts, best, known, settings, ends, costs, settled):
    """Refine the starts of every map; each lane works through one map's starts, then takes the next map.

    `best` (map) and `known` (map, parameter) are the cost and the parameters of the best minimum so far. `settings` =
    tolerance, most steps of one start, and patience (see `rfcompare.fitting.search.Refiner`). `ends`, `costs` and
    `settled` (map, start) receive where starts ended: the cost is infinite where one was given up, and the best one's
    where a start met it on the way.
    """
    tolerance, most, patience = settings
    masked, q, terms, channels = weights.shape[0] > 0, len(low), (room.terms + 1) * room.channels, room.channels
    p, trial, linear = aligned(q), aligned(q), aligned(terms)
    hessian, gradient, trial_hessian, trial_gradient = aligned(q * q), aligned(q), aligned(q * q), aligned(q)
    matrix, free, cost, gain, expected = aligned(q * q), aligned(q), aligned(1), aligned(1), aligned(1)
    damping, growth = aligned(1), aligned(1)
    which, start = np.full(WIDTH, -1), np.zeros(WIDTH, np.int64)
    steps, small, fresh = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.bool_)
    here = np.zeros(q)
    n_maps, n_starts, next_map = maps.shape[0], starts.shape[1], 0
    busy = min(WIDTH, n_maps)
    for lane in range(busy):
        which[lane], next_map, fresh[lane] = next_map, next_map + 1, True
    while busy > 0:
        store(expected, 0, _propose(p, hessian, gradient, load(damping, 0), low, high, rules, matrix, free, trial))
        for lane in range(WIDTH):
            if fresh[lane]:
                if start[lane] == 0:
                    fill(room, maps, weights, counts, lane, which[lane])
                for i in range(q):
                    trial[i * WIDTH + lane] = starts[which[lane], start[lane], i]
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
            for i in range(q):
                here[i] = p[i * WIDTH + lane]
            if not rests and steps[lane] > 2:  # has it met a minimum that is known?
                if lowest <= now < 1.05 * lowest and _same(here, known[index], rules):
                    done, now = True, lowest
                    _copy(known[index], here)
                for other in range(start[lane]):
                    height, there = costs[index, other], ends[index, other]
                    if settled[index, other] and height <= now < 1.05 * height and _same(here, there, rules):
                        done, now = True, height
                        _copy(there, here)
            if not (rests or done) and steps[lane] > 2 and now > 1.3 * lowest + whole * patience / steps[lane]:
                done, now = True, np.inf
            if not (done or rests):
                continue
            costs[index, start[lane]], settled[index, start[lane]] = now, rests
            for i in range(q):
                ends[index, start[lane], i] = here[i]
            if now < lowest:
                best[index] = now
                for i in range(q):
                    known[index, i] = here[i]
            start[lane] += 1
            fresh[lane] = True
            if start[lane] >= n_starts:
                start[lane] = 0
                if next_map < n_maps:
                    which[lane], next_map = next_map, next_map + 1
                else:
                    which[lane], busy, fresh[lane] = -1, busy - 1, False


@kept()
def choose(explained, differ, count, out):
    """Members that explain most of every map, without those that are like one before."""
    members = explained.shape[1]
    for row in range(explained.shape[0]):
        for k in range(count):
            best = 0
            for i in range(1, members):
                if explained[row, i] > explained[row, best]:
                    best = i
            out[row, k] = best
            for i in range(members):
                if not differ[best, i]:
                    explained[row, i] = -1.0


# --------------------------------------------------------------------------------------------------------------------
# What is compiled and kept: the Gabor of one channel


@kept()
def search(maps, weights, counts, height, width, low, high, rules, starts, best, known, settings, ends, costs, settled):
    """Refine a Gabor's starts on every map; see `_search`."""
    room = make_room(height, width)
    _search(room, maps, weights, counts, low, high, rules, starts, best, known, settings, ends, costs, settled)


@kept()
def inspect(maps, weights, counts, height, width, parameters, linear, cost, information, fitted):
    """Amplitudes, residual sum of squares, J'J and the fit; numbers x0, y0, theta, frequency, log SDs, a, b, offset."""
    masked, room = weights.shape[0] > 0, make_room(height, width)
    p, solved, jacobian, total, residual = aligned(6), aligned(3), aligned(9 * width), aligned(81), aligned(1)
    drawn = aligned(width)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
            for i in range(6):
                p[i * WIDTH + lane] = parameters[first + lane, i]
        screen(room, masked, p)
        project(room, solved)
        cos, sin = cos_sin(load(p, 2))
        along, across, k = exp(-2.0 * load(p, 4)), exp(-2.0 * load(p, 5)), 2.0 * math.pi * load(p, 3)
        a, b, offset = load(solved, 0), load(solved, 1), load(solved, 2)
        squares = broadcast(0.0)
        for i in range(81):
            store(total, i, 0.0)
        for y in range(height):
            dy = y - load(p, 1)
            for x in range(width):
                dx = x - load(p, 0)
                u, v = cos * dx + sin * dy, cos * dy - sin * dx
                e, one = exp(-0.5 * (u * u * along + v * v * across)), broadcast(1.0)
                c, s = cos_sin(k * u)
                store(drawn, x, e * (a * c + b * s) + offset)
                if masked:
                    one = load(room.valid, y * width + x)
                    e = e * one
                even, odd = e * c, e * s
                g, h = a * even + b * odd, b * even - a * odd
                miss = load(room.values, y * width + x) - g - offset * one
                squares = squares + miss * miss
                gu, gv = u * along * g - k * h, v * across * g
                store(jacobian, 9 * x, (cos * gu - sin * gv, sin * gu + cos * gv, u * gv - v * gu))
                store(jacobian, 9 * x + 3, (2.0 * math.pi * u * h, u * u * along * g, v * v * across * g))
                store(jacobian, 9 * x + 6, (even, odd, one))
            for lane in range(filled):
                for x in range(width):
                    fitted[first + lane, y * width + x] = drawn[x * WIDTH + lane]
            for i in range(9):
                row = zeros(9)
                for x in range(width):
                    row = add_row(row, jacobian, 9 * x, load(jacobian, 9 * x + i))
                store(total, 9 * i, add_row(row, total, 9 * i, broadcast(1.0)))
        store(residual, 0, squares)
        for lane in range(filled):
            cost[first + lane] = residual[lane]
            for i in range(3):
                linear[first + lane, i] = solved[i * WIDTH + lane]
            for i in range(9):
                for j in range(9):
                    information[first + lane, i, j] = total[(9 * i + j) * WIDTH + lane]


# --------------------------------------------------------------------------------------------------------------------
# … and every other model


@njit
def _describe(room, maps, weights, counts, out, out_linear, cost, information):
    """Amplitudes, residual sum of squares and information matrix of given parameters."""
    masked, q, terms, size = weights.shape[0] > 0, out.shape[1], out_linear.shape[1], information.shape[1]
    p, linear, total, residual = aligned(q), aligned(terms), aligned(size * size), aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
            for i in range(q):
                p[i * WIDTH + lane] = out[first + lane, i]
        amplitudes(room, masked, p, linear)
        store(residual, 0, describe(room, masked, p, linear, total))
        for lane in range(filled):
            cost[first + lane] = residual[lane]
            for i in range(terms):
                out_linear[first + lane, i] = linear[i * WIDTH + lane]
            for i in range(size):
                for j in range(size):
                    information[first + lane, i, j] = total[(size * i + j) * WIDTH + lane]


@kept()
def fit(
    kind, maps, weights, counts, x, y, channels, terms, low, high, rules, starts, best, known, settings, ends, costs,
    settled, linear, cost, information,
):  # fmt: skip
    """Refine the given starts of a model; without starts, describe the parameters `known`."""
    room = shapes.make_room(kind, x, y, channels, terms, len(rules))
    if starts.shape[1] == 0:
        _describe(room, maps, weights, counts, known, linear, cost, information)
    else:
        _search(room, maps, weights, counts, low, high, rules, starts, best, known, settings, ends, costs, settled)
