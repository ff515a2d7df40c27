"""Arithmetic on vectors of eight numbers: what every jitted room of the compiled engine shares."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from rfcompare.fitting.compiled.lanes import WIDTH, floor, times_two_to, where


@njit
def maximum(a, b):
    """The larger of lanes and lanes or a number."""
    return where(a > b, a, b)


@njit
def minimum(a, b):
    """The smaller of lanes and lanes or a number."""
    return where(a < b, a, b)


@njit
def exp(x):
    """e^x to the last place or so; 0 below e^-700."""
    bounded = maximum(x, -700.0)
    shifted = bounded * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (bounded - k * 0.693145751953125) - k * 1.42860682030941723212e-6
    p = r * (1 / 479001600.0) + 1 / 39916800.0
    p = p * r + 1 / 3628800.0
    p = p * r + 1 / 362880.0
    p = p * r + 1 / 40320.0
    p = p * r + 1 / 5040.0
    p = p * r + 1 / 720.0
    p = p * r + 1 / 120.0
    p = p * r + 1 / 24.0
    p = p * r + 1 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    return where(x < -700.0, 0.0, times_two_to(p, shifted))


NEGLIGIBLE = 1e-150
"""Where envelopes are cut off: their squares must not be subnormal numbers, which are a hundred times slower."""


@njit
def decay(x):
    """e^x, and 0 where that is negligible."""
    return where(x < -345.0, 0.0, exp(x))


@njit
def cos_sin(x):
    """Cosine and sine, to the last place or so for |x| up to some thousands."""
    k = floor(x * (2 / math.pi) + 0.5)
    r = (x - k * 1.5707963267341256) - k * 6.077100506506192e-11
    s = r * r
    sin = s * 1.58962301576546568060e-10 - 2.50507477628578072866e-8
    sin = sin * s + 2.75573136213857245213e-6
    sin = sin * s - 1.98412698295895385996e-4
    sin = sin * s + 8.33333333332211858878e-3
    sin = sin * s - 1.66666666666666307295e-1
    sin = sin * s * r + r
    cos = s * -1.13585365213876817300e-11 + 2.08757008419747316778e-9
    cos = cos * s - 2.75573141792967388112e-7
    cos = cos * s + 2.48015872888517045348e-5
    cos = cos * s - 1.38888888888730564116e-3
    cos = cos * s + 4.16666666666665929218e-2
    cos = (cos * s - 0.5) * s + 1.0
    quadrant = k - 4.0 * floor(k * 0.25)
    odd = quadrant - 2.0 * floor(quadrant * 0.5) > 0.5
    c, s = where(odd, sin, cos), where(odd, cos, sin)
    c = where((quadrant > 0.5) & (quadrant < 2.5), 0.0 - c, c)
    return c, where(quadrant > 1.5, 0.0 - s, s)


@njit
def aligned(n):
    """Room for n lanes, zeroed, on a boundary of a cache line."""
    room = np.zeros((n + 1) * WIDTH)
    first = (-room.ctypes.data % (8 * WIDTH)) // 8
    return room[first : first + n * WIDTH]


@njit
def put(room, lane, values):
    """Write numbers into a lane."""
    for i in range(len(values)):
        room[i * WIDTH + lane] = values[i]


@njit
def take(room, lane, values):
    """Read numbers from a lane."""
    for i in range(len(values)):
        values[i] = room[i * WIDTH + lane]


@njit
def fill(room, maps, weights, counts, lane, index):
    """Put one map into a lane."""
    put(room.values, lane, maps[index])
    if weights.shape[0] > 0:
        put(room.valid, lane, weights[index])
    room.count[lane] = counts[index]
