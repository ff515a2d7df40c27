"""Where the energy of a map is and at which frequencies: what the starts of a search are made from."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rfcompare.fitting.compiled.lanes import WIDTH, broadcast, load, maximum, minimum, sqrt, store, where
from rfcompare.fitting.compiled.vectors import exp

N_PEAKS = 3
"""Peaks of the spectrum that are looked for."""

_SHAPES = np.array([[0.6, 0.6], [1.0, 1.0], [1.8, 1.8], [0.7, 1.4], [1.4, 0.7]])

N_SLOW = 4
"""Starts with a fifth of a cycle per sigma, in as many directions: for blobs, edges and short wavelets."""

N_STARTS = N_PEAKS * len(_SHAPES) + N_SLOW
"""Blind starts of a Gabor."""


@njit
def _middle(values, first, n, count, spread):
    """Roughly the median of n lanes from `first` on: the mean after four rounds of drawing outliers in."""
    center = broadcast(0.0)
    for _ in range(4):
        total = broadcast(0.0)
        for i in range(first, first + n):
            total = total + maximum(minimum(load(values, i) - center, spread), 0.0 - spread)
        center = center + total / count
    return center


@njit
def locate(room, masked, taps, energy, smooth):
    """Center and radius of the energy of all channels above its background; `energy` receives it smoothed."""
    height, width = room.height, room.width
    n, reach = height * width, len(taps) - 1
    for channel in range(room.channels):
        background = _middle(room.values, channel * n, n, load(room.count, 0), broadcast(0.5))
        for i in range(n):
            d = load(room.values, channel * n + i) - background
            if masked:
                d = d * load(room.valid, i)
            d = d * d
            if channel > 0:
                d = d + load(energy, i)
            store(energy, i, d)
    for y in range(height):
        for x in range(width):
            total = broadcast(0.0)
            for u in range(max(0, x - reach), min(width, x + reach + 1)):
                total = total + taps[abs(u - x)] * load(energy, y * width + u)
            store(smooth, y * width + x, total)
    top, total = broadcast(0.0), broadcast(0.0)
    for y in range(height):
        for x in range(width):
            value = broadcast(0.0)
            for u in range(max(0, y - reach), min(height, y + reach + 1)):
                value = value + taps[abs(u - y)] * load(smooth, u * width + x)
            store(energy, y * width + x, value)
            top = maximum(top, value)
            total = total + value
    level = maximum(0.25 * top, _middle(energy, 0, n, broadcast(n), 0.5 * total / n))
    weight = mx = my = mxx = myy = broadcast(0.0)
    for y in range(height):
        for x in range(width):
            w = maximum(load(energy, y * width + x) - level, 0.0)
            weight, mx, my, mxx, myy = weight + w, mx + w * x, my + w * y, mxx + w * (x * x), myy + w * (y * y)
    weight = maximum(weight, 1e-30)
    cx, cy = mx / weight, my / weight
    variance = 0.5 * (mxx / weight - cx * cx + myy / weight - cy * cy)
    radius = 1.2 * sqrt(maximum(variance, 0.0))
    return cx, cy, minimum(maximum(radius, 0.7), 0.4 * max(height, width))


@njit
def summits(room, energy, out):
    """Columns and rows of the largest smoothed energy and of the largest well away from it: x, y, x, y into `out`."""
    height, width = room.height, room.width
    away = max(4.0, (0.15 * max(height, width)) ** 2)
    first_x, first_y = broadcast(0.0), broadcast(0.0)
    for which in range(2):
        best, at_x, at_y = broadcast(-1.0), broadcast(0.0), broadcast(0.0)
        for y in range(height):
            for x in range(width):
                value = load(energy, y * width + x)
                if which > 0:
                    dx, dy = x - first_x, y - first_y
                    value = where(dx * dx + dy * dy > away, value, -1.0)
                higher = value > best
                best = where(higher, value, best)
                at_x, at_y = where(higher, 1.0 * x, at_x), where(higher, 1.0 * y, at_y)
        first_x, first_y = at_x, at_y
        store(out, 2 * which, (at_x, at_y))


@njit
def spectrum(room, cx, cy, radius, cosines, sines, windowed, half, power):
    """Power of all channels, seen through a window twice as wide as the field, on a grid of carriers.

    2·bins+1 rows and bins+1 columns: ky from -1/2 to 1/2, kx from 0 to 1/2 cycles per pixel.
    """
    height, width, n = room.height, room.width, cosines.shape[0]
    narrow = 0.125 / (radius * radius)
    for channel in range(room.channels):
        above = channel * height * width
        total, weight = broadcast(0.0), broadcast(0.0)
        for x in range(width):
            store(half, x, exp(0.0 - narrow * (x - cx) * (x - cx)))
        for y in range(height):
            row = exp(0.0 - narrow * (y - cy) * (y - cy))
            for x in range(width):
                w = row * load(half, x)
                z = w * load(room.values, above + y * width + x)
                store(windowed, 2 * (y * width + x), (z, w))
                total, weight = total + z, weight + w
        level = total / weight
        for i in range(height * width):
            store(windowed, i, load(windowed, 2 * i) - level * load(windowed, 2 * i + 1))
        for y in range(height):
            for k in range(n):
                c, s = broadcast(0.0), broadcast(0.0)
                for x in range(width):
                    z = load(windowed, y * width + x)
                    c, s = c + z * cosines[k, x], s + z * sines[k, x]
                store(half, 2 * (k * height + y), (c, s))
        for k in range(n):
            for q in range(n):
                cc = cs = sc = ss = broadcast(0.0)
                for y in range(height):
                    c, s = load(half, 2 * (k * height + y)), load(half, 2 * (k * height + y) + 1)
                    cc, cs = cc + c * cosines[q, y], cs + c * sines[q, y]
                    sc, ss = sc + s * cosines[q, y], ss + s * sines[q, y]
                up, down = (n - 1 + q) * n + k, (n - 1 - q) * n + k
                even, odd = cc - ss, sc + cs
                upper = even * even + odd * odd
                even, odd = cc + ss, sc - cs
                lower = even * even + odd * odd
                if channel > 0:  # at q = 0 both rows are one
                    upper, lower = upper + load(power, up), lower + load(power, down)
                store(power, up, upper)
                store(power, down, lower)


@njit
def strongest(power, bins, size, peak, out):
    """Direction and frequency of the largest peaks of the spectrum into `out`, emptying `power`."""
    n, step = bins + 1, 0.5 / bins
    for q in range(2 * bins + 1):
        for k in range(n):
            f = math.hypot(k * step, (q - bins) * step)
            if f > 0.5 or f < 0.4 / size:
                store(power, q * n + k, 0.0)
    for which in range(N_PEAKS):
        best, kx, ky = broadcast(-1.0), broadcast(0.0), broadcast(0.0)
        for q in range(2 * bins + 1):
            for k in range(n):
                value = load(power, q * n + k)
                higher = value > best
                best = where(higher, value, best)
                kx, ky = where(higher, k * step, kx), where(higher, (q - bins) * step, ky)
        for q in range(2 * bins + 1):
            dy = (q - bins) * step - ky
            for k in range(n):
                dx = k * step - kx
                near = (dx * dx + dy * dy) * (size * size) < 1.0
                store(power, q * n + k, where(near, 0.0, load(power, q * n + k)))
        store(peak, 0, (kx, ky))
        for lane in range(WIDTH):
            peak[lane] = math.atan2(peak[WIDTH + lane], peak[lane])
        store(out, 2 * which, (load(peak, 0), sqrt(kx * kx + ky * ky)))


@njit
def candidates(cx, cy, radius, peaks, low, high, out):
    """A Gabor's starts for each lane: `out[6 start + parameter]`, those at peaks of the spectrum first."""
    start, theta = 0, broadcast(0.0)
    for which in range(N_PEAKS):
        theta, f = load(peaks, 2 * which), load(peaks, 2 * which + 1)
        for shape in range(len(_SHAPES)):
            store(out, 6 * start, (cx, cy, theta, f, radius * _SHAPES[shape, 0], radius * _SHAPES[shape, 1]))
            start += 1
    for turn in range(N_SLOW):
        direction = theta + turn * (math.pi / N_SLOW)
        store(out, 6 * start, (cx, cy, direction, 0.1 / radius, 2.0 * radius, 0.8 * radius))
        start += 1
    for start in range(N_STARTS):
        for t in range((6 * start + 4) * WIDTH, (6 * start + 6) * WIDTH):
            out[t] = math.log(out[t])
        for i in range(6):
            store(out, 6 * start + i, minimum(maximum(load(out, 6 * start + i), low[i]), high[i]))
