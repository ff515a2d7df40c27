"""The search for the best parameters, jitted: eight fits side by side in the lanes of one vector unit.

Variable projection leaves the nonlinear parameters only; the amplitudes and the offset follow linearly. Each lane
carries one map through its own starts and takes the next map when done, so no lane waits for another, and a map's
result does not depend on its neighbors or on the number of workers.

What is compiled and kept on disk is in this file. Numba's disk cache sees changes in this file only, so it names the
digest of the files beside it that hold what these functions call.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
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
from rfcompare.fitting.compiled.shapes import BlobRoom, DogRoom, HermiteRoom, WaveRoom, describe, memory
from rfcompare.fitting.compiled.starting import (
    N_PEAKS,
    N_STARTS,
    candidates,
    locate,
    spectrum,
    strongest,
    summits,
)
from rfcompare.fitting.compiled.vectors import aligned, cos_sin, exp, fill

SIBLINGS = ("gabor.py", "lanes.py", "shapes.py", "starting.py", "vectors.py")
SIBLINGS_SHA256 = "1534060712b9e0dcd0cf383661003b0ffd7774ce93e82d729b7fc7733188f905"


def kept(**options):
    """Jit a function that releases the interpreter and stays on disk where there is a place that can be written to."""

    def decorate(function):
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate


# --------------------------------------------------------------------------------------------------------------------
# Steps

# What a parameter is, in the order of `models.LINKS`; a step of an angle, frequency, log length or curvature is at most
# the inverse of its brake, one of the center at most the widest SD and half a pixel.
_CENTER, _ANGLE, _FREQUENCY, _LENGTH = 1, 2, 3, 4
_BRAKES = (0.0, 0.0, 1 / 0.6, 0.0, 1 / 0.9, 1 / 0.1)


@njit
def _propose(p, hessian, gradient, damping, low, high, links, matrix, free, trial):
    """Damped, limited and bounded step from p to trial; the decrease of the cost that the local model expects."""
    q = len(links)
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
        if links[i] == _LENGTH:
            widest = maximum(widest, load(p, i))
    reach = 1.0 / (exp(widest) + 0.5)
    excess = broadcast(1.0)
    for i in range(q):
        if links[i] <= _CENTER:
            excess = maximum(excess, absolute(load(trial, i)) * reach)
        else:
            excess = maximum(excess, absolute(load(trial, i)) * _BRAKES[links[i]])
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
def _same(a, b, links):
    """Do two parameter vectors describe nearly one map (so that the second search may stop)?"""
    widest = 0.0
    for i in range(len(links)):
        if links[i] == _LENGTH:
            widest = max(widest, math.exp(b[i]))
    place = length = other = 0.0
    for i in range(len(links)):
        d = abs(a[i] - b[i])
        if links[i] <= _CENTER:
            place += d
        elif links[i] == _LENGTH:
            length += d
        elif links[i] == _ANGLE:
            other = max(other, abs(d - math.pi * round(d / math.pi)) / 0.1)
        else:
            other = max(other, d * widest / 0.05)
    return place < 0.1 * widest and length < 0.2 and other < 1.0


@njit
def _doubtful(p, low, high, links, n_agree):
    """Should more starts be tried: a bound, a lonely minimum, few cycles (many minima side by side), near aliasing?"""
    for i in range(len(links)):
        if p[i] <= low[i] or p[i] >= high[i]:
            return True
        if links[i] == _FREQUENCY and (p[i] * math.exp(p[i + 1]) < 0.25 or p[i] > 0.35):
            return True
    return n_agree < 2


def _equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares that parameters explain, the amplitudes and the normal equations, by moments or by products."""


@overload(_equations)
def _(room, masked, p, linear, hessian, gradient):
    own = gabor.equations if room.instance_class is gabor.Room else shapes.equations
    return lambda room, masked, p, linear, hessian, gradient: own(room, masked, p, linear, hessian, gradient)


@njit
def _search(
    room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, tallies,
    ends, end_costs,
):  # fmt: skip
    """Refine the starts of every map; each lane works through one map's starts, then takes the next map.

    `settings` = tolerance, most steps of one start, steps before a start is judged, factor on the best cost at which it
    is given up, starts tried for every map. `tallies` (map, 3) receives how many starts agreed, evaluations, and
    whether the best one converged; `ends` and `end_costs` where starts ended (infinite where that was no minimum).
    """
    tolerance, most, probe, hopeless, tries = settings
    masked, q, terms, channels = weights.shape[0] > 0, len(links), out_linear.shape[1], room.channels
    p, trial, linear, trial_linear = aligned(q), aligned(q), aligned(terms), aligned(terms)
    hessian, gradient, trial_hessian, trial_gradient = aligned(q * q), aligned(q), aligned(q * q), aligned(q)
    matrix, free, cost, gain, expected = aligned(q * q), aligned(q), aligned(1), aligned(1), aligned(1)
    damping, growth = aligned(1), aligned(1)
    which, start = np.full(WIDTH, -1), np.zeros(WIDTH, np.int64)
    steps, small, fresh = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.bool_)
    here, best_cost = np.zeros(q), np.full(WIDTH, np.inf)
    n_maps, next_map = maps.shape[0], 0
    busy = min(WIDTH, n_maps)
    for lane in range(busy):
        which[lane], next_map, fresh[lane] = next_map, next_map + 1, True
    while busy > 0:
        store(expected, 0, _propose(p, hessian, gradient, load(damping, 0), low, high, links, matrix, free, trial))
        for lane in range(WIDTH):
            if fresh[lane]:
                if start[lane] == 0:
                    fill(room, maps, weights, counts, lane, which[lane])
                    best_cost[lane] = np.inf
                for i in range(q):
                    trial[i * WIDTH + lane] = starts[which[lane], start[lane], i]
                cost[lane], damping[lane], growth[lane], steps[lane], small[lane] = np.inf, 1e-2, 2.0, 0, 0
        explained = _equations(room, masked, trial, trial_linear, trial_hessian, trial_gradient)
        old = load(cost, 0)
        new = channels * load(room.count, 0) - explained  # the maps are standardized
        new = where(explained >= 0.0, maximum(new, 0.0), np.inf)  # also where it is not a number
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
        for i in range(terms):
            store(linear, i, where(better, load(trial_linear, i), load(linear, i)))
        for lane in range(WIDTH):
            index = which[lane]
            if index < 0:
                continue
            tallies[index, 1] += 1
            steps[lane] += 1
            now, best, whole = cost[lane], best_cost[lane], channels * room.count[lane]
            enough = tolerance * now + 1e-14 * whole
            done, settled = steps[lane] >= most or not now < np.inf, False
            if fresh[lane]:
                fresh[lane] = False
            elif gain[lane] >= enough:
                small[lane] = 0
            elif gain[lane] > 0:
                small[lane] += 1
                settled = small[lane] >= 2 or damping[lane] < 1e-3
            else:
                settled = abs(expected[lane]) < enough or damping[lane] > 1e8
            for i in range(q):
                here[i] = p[i * WIDTH + lane]
            if settled and abs(now - best) <= 1e-3 * best + 1e-12 * whole:
                tallies[index, 0] += 1
            elif (
                start[lane] > 0
                and not settled
                and steps[lane] > 2
                and best <= now < 1.05 * best
                and _same(here, out[index], links)
            ):
                tallies[index, 0] += 1
                done = True
            elif start[lane] > 0 and not settled and steps[lane] >= probe and now > hopeless * best:
                done = True
            elif settled and now < best:
                tallies[index, 0] = 1
            if not (done or settled):
                continue
            if settled:
                end_costs[index, start[lane]] = now
                for i in range(q):
                    ends[index, start[lane], i] = here[i]
            if now < best:
                best_cost[lane], tallies[index, 2] = now, settled
                for i in range(q):
                    out[index, i] = here[i]
                for i in range(terms):
                    out_linear[index, i] = linear[i * WIDTH + lane]
            start[lane] += 1
            fresh[lane] = True
            last = n_starts[index]
            if start[lane] >= tries and not _doubtful(out[index], low, high, links, tallies[index, 0]):
                last = min(last, tries)
            if start[lane] >= last:
                start[lane] = 0
                if next_map < n_maps:
                    which[lane], next_map = next_map, next_map + 1
                else:
                    which[lane], busy, fresh[lane] = -1, busy - 1, False


# --------------------------------------------------------------------------------------------------------------------
# What is compiled and kept: the Gabor of one channel


@kept()
def find_starts(maps, weights, counts, height, width, low, high, taps, cosines, sines, starts, worth):
    """Blind starts of every map and the sum of squares that each explains as it is."""
    masked, n, bins, size = weights.shape[0] > 0, height * width, cosines.shape[0] - 1, max(height, width)
    room, energy, smooth = make_room(height, width), aligned(2 * n), aligned(n)
    half, power, peaks = aligned(2 * (bins + 1) * height + width), aligned((bins + 1) * (2 * bins + 1)), aligned(6)
    tried, p, linear, explained = aligned(6 * N_STARTS), aligned(6), aligned(3), aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
        cx, cy, radius = locate(room, masked, taps, energy, smooth)
        spectrum(room, cx, cy, radius, cosines, sines, energy, half, power)
        strongest(power, bins, size, p, peaks)
        candidates(cx, cy, radius, peaks, low, high, tried)
        for start in range(N_STARTS):
            for i in range(6):
                store(p, i, load(tried, 6 * start + i))
            screen(room, masked, p)
            store(explained, 0, project(room, linear))
            for lane in range(filled):
                worth[first + lane, start] = explained[lane]
                for i in range(6):
                    starts[first + lane, start, i] = p[i * WIDTH + lane]


@kept()
def search(
    maps, weights, counts, height, width, low, high, starts, n_starts, settings, out, out_linear, tallies, ends,
    end_costs,
):  # fmt: skip
    """Search the best Gabor of every map; see `_search`."""
    _search(
        make_room(height, width), maps, weights, counts, low, high, gabor.LINKS, starts, n_starts,
        settings, out, out_linear, tallies, ends, end_costs,
    )  # fmt: skip


@kept()
def inspect(maps, weights, counts, height, width, parameters, linear, cost, information):
    """Residual sum of squares and J'J, pixel by pixel: x0, y0, theta, frequency, log SDs, a, b, offset."""
    masked, room = weights.shape[0] > 0, make_room(height, width)
    p, amplitudes, jacobian, total, residual = aligned(6), aligned(3), aligned(9 * width), aligned(81), aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
            for i in range(6):
                p[i * WIDTH + lane] = parameters[first + lane, i]
            for i in range(3):
                amplitudes[i * WIDTH + lane] = linear[first + lane, i]
        cos, sin = cos_sin(load(p, 2))
        along, across, k = exp(-2.0 * load(p, 4)), exp(-2.0 * load(p, 5)), 2.0 * math.pi * load(p, 3)
        a, b, offset = load(amplitudes, 0), load(amplitudes, 1), load(amplitudes, 2)
        squares = broadcast(0.0)
        for i in range(81):
            store(total, i, 0.0)
        for y in range(height):
            dy = y - load(p, 1)
            for x in range(width):
                dx = x - load(p, 0)
                u, v = cos * dx + sin * dy, cos * dy - sin * dx
                e, one = exp(-0.5 * (u * u * along + v * v * across)), broadcast(1.0)
                if masked:
                    one = load(room.valid, y * width + x)
                    e = e * one
                c, s = cos_sin(k * u)
                even, odd = e * c, e * s
                g, h = a * even + b * odd, b * even - a * odd
                miss = load(room.values, y * width + x) - g - offset * one
                squares = squares + miss * miss
                gu, gv = u * along * g - k * h, v * across * g
                store(jacobian, 9 * x, (cos * gu - sin * gv, sin * gu + cos * gv, u * gv - v * gu))
                store(jacobian, 9 * x + 3, (2.0 * math.pi * u * h, u * u * along * g, v * v * across * g))
                store(jacobian, 9 * x + 6, (even, odd, one))
            for i in range(9):
                row = zeros(9)
                for x in range(width):
                    row = add_row(row, jacobian, 9 * x, load(jacobian, 9 * x + i))
                store(total, 9 * i, add_row(row, total, 9 * i, broadcast(1.0)))
        store(residual, 0, squares)
        for lane in range(filled):
            cost[first + lane] = residual[lane]
            for i in range(9):
                for j in range(9):
                    information[first + lane, i, j] = total[(9 * i + j) * WIDTH + lane]


@kept(fastmath={"reassoc", "contract"})
def standardize(raw, weights, flat, counts, means, spreads):
    """Measured pixels with mean 0 and variance 1, the others 0; a spread of 0 says that there is nothing to fit."""
    n = raw.shape[1]
    for index in range(raw.shape[0]):
        count, total = float(n), 0.0
        if weights.shape[0] > 0:
            count = 0.0
            for i in range(n):
                flat[index, i] = raw[index, i] if weights[index, i] > 0 else 0.0
                count += weights[index, i]
        else:
            for i in range(n):
                flat[index, i] = raw[index, i]
        for i in range(n):
            total += flat[index, i]
        mean = total / max(count, 1.0)
        for i in range(n):
            flat[index, i] -= mean
        if weights.shape[0] > 0:
            for i in range(n):
                flat[index, i] *= weights[index, i]
        total = 0.0
        for i in range(n):
            total += flat[index, i] * flat[index, i]
        spread = math.sqrt(total / max(count, 1.0))
        if count < 3 or not 1e-12 * abs(mean) < spread < np.inf:
            spread = 0.0
        scale = 1.0 / spread if spread > 0 else 0.0
        for i in range(n):
            flat[index, i] *= scale
        counts[index], means[index], spreads[index] = max(count, 1.0), mean, spread


# --------------------------------------------------------------------------------------------------------------------
# … and every other model


@kept()
def summarize(maps, weights, counts, height, width, channels, taps, cosines, sines, out):
    """Centroid and radius of every map's energy, its two summits, direction and frequency of its strongest carriers.

    Columns of `out`: x, y, radius; x, y of each summit; theta, frequency of each peak. Pixels count from the corner.
    """
    masked, n, bins, size = weights.shape[0] > 0, height * width, cosines.shape[0] - 1, max(height, width)
    room = BlobRoom(*memory(np.zeros(width), np.zeros(height), channels, 0, 0, 1, 1))
    energy, smooth, row = aligned(2 * n), aligned(n), aligned(7 + 2 * N_PEAKS)
    half, power, peaks = aligned(2 * (bins + 1) * height + width), aligned((bins + 1) * (2 * bins + 1)), aligned(6)
    p, places = aligned(2), aligned(4)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
        cx, cy, radius = locate(room, masked, taps, energy, smooth)
        store(row, 0, (cx, cy, radius))
        summits(room, energy, places)
        spectrum(room, cx, cy, radius, cosines, sines, energy, half, power)
        strongest(power, bins, size, p, peaks)
        for i in range(4):
            store(row, 3 + i, load(places, i))
        for i in range(2 * N_PEAKS):
            store(row, 7 + i, load(peaks, i))
        for lane in range(filled):
            for i in range(out.shape[1]):
                out[first + lane, i] = row[i * WIDTH + lane]


@njit
def _rank(room, maps, weights, counts, starts):
    """Put every map's starts in order, those that explain most first."""
    masked, n, q = weights.shape[0] > 0, starts.shape[1], starts.shape[2]
    p, linear, hessian, gradient = aligned(q), aligned(room.channels * (room.terms + 1)), aligned(q * q), aligned(q)
    explained, worth = aligned(1), np.zeros((WIDTH, n))
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
        for start in range(n):
            for lane in range(filled):
                for i in range(q):
                    p[i * WIDTH + lane] = starts[first + lane, start, i]
            store(explained, 0, _equations(room, masked, p, linear, hessian, gradient))
            for lane in range(filled):
                worth[lane, start] = explained[lane]
        for lane in range(filled):
            for start in range(n):
                best = start
                for other in range(start + 1, n):
                    if worth[lane, other] > worth[lane, best]:
                        best = other
                worth[lane, start], worth[lane, best] = worth[lane, best], worth[lane, start]
                for i in range(q):
                    value = starts[first + lane, start, i]
                    starts[first + lane, start, i] = starts[first + lane, best, i]
                    starts[first + lane, best, i] = value


@njit
def _describe(room, maps, weights, counts, out, out_linear, cost, information):
    """Residual sum of squares and information matrix of given parameters and amplitudes."""
    masked, q, terms, size = weights.shape[0] > 0, out.shape[1], out_linear.shape[1], information.shape[1]
    p, linear, total, residual = aligned(q), aligned(terms), aligned(size * size), aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            fill(room, maps, weights, counts, lane, first + lane)
            for i in range(q):
                p[i * WIDTH + lane] = out[first + lane, i]
            for i in range(terms):
                linear[i * WIDTH + lane] = out_linear[first + lane, i]
        store(residual, 0, describe(room, masked, p, linear, total))
        for lane in range(filled):
            cost[first + lane] = residual[lane]
            for i in range(size):
                for j in range(size):
                    information[first + lane, i, j] = total[(size * i + j) * WIDTH + lane]


@njit(inline="always")
def _fit(
    room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, cost, information,
    tallies, ends, end_costs,
):  # fmt: skip
    """Search from the given starts, the most promising ones first; without starts, describe `out` and `out_linear`."""
    if starts.shape[1] == 0:
        _describe(room, maps, weights, counts, out, out_linear, cost, information)
    else:
        _rank(room, maps, weights, counts, starts)
        _search(
            room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, tallies, ends,
            end_costs,
        )  # fmt: skip


@kept()
def fit_blobs(
    maps, weights, counts, x, y, channels, variant, low, high, links, starts, n_starts, settings, out, out_linear, cost,
    information, tallies, ends, end_costs,
):  # fmt: skip
    """Fit round Gaussians."""
    room = BlobRoom(*memory(x, y, channels, variant, 1, 3, 5))
    _fit(
        room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, cost, information,
        tallies, ends, end_costs,
    )  # fmt: skip


@kept()
def fit_dogs(
    maps, weights, counts, x, y, channels, variant, low, high, links, starts, n_starts, settings, out, out_linear, cost,
    information, tallies, ends, end_costs,
):  # fmt: skip
    """Fit differences of Gaussians."""
    room = DogRoom(*memory(x, y, channels, variant, 2, 4, 9))
    _fit(
        room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, cost, information,
        tallies, ends, end_costs,
    )  # fmt: skip


@kept()
def fit_hermites(
    maps, weights, counts, x, y, channels, variant, low, high, links, starts, n_starts, settings, out, out_linear, cost,
    information, tallies, ends, end_costs,
):  # fmt: skip
    """Fit elliptical Gaussians or their derivatives; `variant` is the order."""
    room = HermiteRoom(*memory(x, y, channels, variant, 1, 5, 7))
    _fit(
        room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, cost, information,
        tallies, ends, end_costs,
    )  # fmt: skip


@kept()
def fit_waves(
    maps, weights, counts, x, y, channels, variant, low, high, links, starts, n_starts, settings, out, out_linear, cost,
    information, tallies, ends, end_costs,
):  # fmt: skip
    """Fit Gabors of one of the forms in `shapes`, of any number of channels."""
    room = WaveRoom(*memory(x, y, channels, variant, 2, len(links), 13))
    _fit(
        room, maps, weights, counts, low, high, links, starts, n_starts, settings, out, out_linear, cost, information,
        tallies, ends, end_costs,
    )  # fmt: skip
