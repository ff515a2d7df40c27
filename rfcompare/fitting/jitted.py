"""The search for the best Gabor, jitted: eight fits side by side in the lanes of one vector unit.

Variable projection leaves six parameters per map (x0, y0, carrier direction, frequency, log sigma_x, log sigma_y); the
amplitudes of the even and odd part and the offset follow linearly. Modulo the span of these three, the derivative of
a Gabor is spanned by {dx, dy, dx², dx·dy, dy²}·G and {dx, dy}·G', so a Levenberg-Marquardt step needs no Jacobian but
only moments of the envelope and of its square (Golub & Pereyra 1973, doi:10.1137/0710036; Kaufman 1975,
doi:10.1007/BF01932995). Each lane carries one map through its own starts and takes the next map when done, so no
lane waits for another, and a map's result does not depend on its neighbors or on the number of workers.

Every jitted function of the project is in this file, because Numba's disk cache sees changes in this file only; for the
same reason it names the digest of `lanes.py`.
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from numba import njit

from rfcompare.fitting.lanes import (
    WIDTH,
    absolute,
    add_powers,
    add_row,
    broadcast,
    floor,
    load,
    maximum,
    minimum,
    sqrt,
    store,
    times_two_to,
    where,
    zeros,
)

LANES_SHA256 = "b85e3b55ffe6b8cf71809296b3592efe9a6213a74521d4295d4d50ad222a3d8e"


def kept(**options):
    """Jit a function that releases the interpreter and stays on disk where there is a place that can be written to."""

    def decorate(function):
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate


@njit
def _exp(x):
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


@njit
def _cos_sin(x):
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
def _aligned(n):
    """Room for n lanes, zeroed, on a boundary of a cache line."""
    room = np.zeros((n + 1) * WIDTH)
    first = (-room.ctypes.data % (8 * WIDTH)) // 8
    return room[first : first + n * WIDTH]


# --------------------------------------------------------------------------------------------------------------------
# Sums over pixels: `values[pixel]` holds one map per lane; x is the column, y the row, dx = x - x0, dy = y - y0.

# Columns along which the envelope is continued by recurrence before the exponential is taken afresh, and where it is
# cut off: from e^-345, ten steps still reach the top of the narrowest envelope (sigma 0.4), and neither the squares nor
# the next step fall among the subnormal numbers, which are a hundred times slower.
_BLOCK = 11
_NEGLIGIBLE = 1e-150
_TILE = 22  # columns whose table of powers and waves fits into the fastest cache

_Room = namedtuple("_Room", "height width values valid count columns rows sums moments factor step")


@njit
def _make_room(height, width):
    n, table = height * width, 21 * min(width, _TILE) + 5 * width
    room = _Room(
        height, width, _aligned(n), _aligned(n), _aligned(1), _aligned(table), _aligned(5 * height),
        _aligned(27 * height), _aligned(111), _aligned(9), _aligned(137),
    )  # fmt: skip
    store(room.count, 0, 1.0)
    return room


@njit
def _fill(room, maps, weights, counts, lane, index):
    """Put one map into a lane."""
    for pixel in range(maps.shape[1]):
        room.values[pixel * WIDTH + lane] = maps[index, pixel]
    for pixel in range(weights.shape[1]):
        room.valid[pixel * WIDTH + lane] = weights[index, pixel]
    room.count[lane] = counts[index]


@njit
def _envelope(p):
    """Exponent a·dx² + b·dx·dy + c·dy² and carrier (kx, ky) in radians per pixel."""
    cos, sin = _cos_sin(load(p, 2))
    along, across = 0.5 * _exp(-2.0 * load(p, 4)), 0.5 * _exp(-2.0 * load(p, 5))
    a = cos * cos * along + sin * sin * across
    b = 2.0 * cos * sin * (along - across)
    c = sin * sin * along + cos * cos * across
    k = 2.0 * math.pi * load(p, 3)
    return a, b, c, k * cos, k * sin


@njit
def _even_parts(n, most):
    """Length of the parts when n is cut into as few about equal parts of at most `most` as can be."""
    parts = (n + most - 1) // most
    return (n + parts - 1) // parts


@njit
def _waves(out, n, origin, k):
    """Fill d, cos kd, sin kd, cos 2kd, sin 2kd for d = 0 … n-1 minus origin, by rotation."""
    cos, sin = _cos_sin(0.0 - k * origin)
    turn_cos, turn_sin = _cos_sin(k)
    for i in range(n):
        store(out, 5 * i, (i - origin, cos, sin, cos * cos - sin * sin, 2.0 * cos * sin))
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@njit
def _moments(room, masked, p):
    """The moments at parameters p.

    moments[9 kind + 3 i + j] for kind = E cos, E sin, z E cos, z E sin and moments[36 + 25 kind + 5 i + j] for kind =
    E², E² cos, E² sin (of the doubled angle) are the sums of kind · dx^i · dy^j; the angle is k·d, about the center.
    """
    height, width, columns, rows, sums, m = room.height, room.width, room.columns, room.rows, room.sums, room.moments
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = load(p, 0), load(p, 1)
    _waves(rows, height, y0, ky)
    bend = _exp(-2.0 * a)
    turn_cos, turn_sin = _cos_sin(kx)
    tile = _even_parts(width, _TILE)
    block = _even_parts(tile, _BLOCK)
    for left in range(0, width, tile):
        right = min(left + tile, width)
        cos, sin = _cos_sin(kx * (left - x0))
        for x in range(left, right):
            t, d = 21 * (x - left), x - x0
            d2, cos2, sin2 = d * d, cos * cos - sin * sin, 2.0 * cos * sin
            d3, d4 = d2 * d, d2 * d2
            store(columns, t, (cos, sin, d * cos, d * sin, d2 * cos, d2 * sin))
            store(columns, t + 6, (1.0, cos2, sin2, d, d * cos2, d * sin2, d2, d2 * cos2, d2 * sin2))
            store(columns, t + 15, (d3, d3 * cos2, d3 * sin2, d4, d4 * cos2, d4 * sin2))
            cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin
        for y in range(height):
            dy = load(rows, 5 * y)
            plain, data, square = zeros(6), zeros(6), zeros(15)
            for first in range(left, right, block):
                dx = first - x0
                envelope = _exp(0.0 - ((a * dx + b * dy) * dx + c * dy * dy))
                ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + b * dy))
                for x in range(first, min(first + block, right)):
                    t, pixel, e = 21 * (x - left), y * width + x, where(envelope > _NEGLIGIBLE, envelope, 0.0)
                    envelope, ratio = e * ratio, ratio * bend
                    if masked:
                        e = e * load(room.valid, pixel)
                    plain = add_row(plain, columns, t, e)
                    data = add_row(data, columns, t, e * load(room.values, pixel))
                    square = add_row(square, columns, t + 6, e * e)
            if left > 0:
                one = broadcast(1.0)
                plain, data = add_row(plain, sums, 27 * y, one), add_row(data, sums, 27 * y + 6, one)
                square = add_row(square, sums, 27 * y + 12, one)
            store(sums, 27 * y, plain)
            store(sums, 27 * y + 6, data)
            store(sums, 27 * y + 12, square)
    for kind in range(2):
        for i in range(3):
            even, odd = zeros(3), zeros(3)
            for y in range(height):
                dy, cos, sin = load(rows, 5 * y), load(rows, 5 * y + 1), load(rows, 5 * y + 2)
                t = 27 * y + 6 * kind + 2 * i
                row_cos, row_sin = load(sums, t), load(sums, t + 1)
                even = add_powers(even, cos * row_cos - sin * row_sin, dy)
                odd = add_powers(odd, sin * row_cos + cos * row_sin, dy)
            store(m, 18 * kind + 3 * i, even)
            store(m, 18 * kind + 9 + 3 * i, odd)
    for i in range(5):
        flat, even, odd = zeros(5), zeros(5), zeros(5)
        for y in range(height):
            dy, cos, sin = load(rows, 5 * y), load(rows, 5 * y + 3), load(rows, 5 * y + 4)
            t = 27 * y + 12 + 3 * i
            row_cos, row_sin = load(sums, t + 1), load(sums, t + 2)
            flat = add_powers(flat, load(sums, t), dy)
            even = add_powers(even, cos * row_cos - sin * row_sin, dy)
            odd = add_powers(odd, sin * row_cos + cos * row_sin, dy)
        store(m, 36 + 5 * i, flat)
        store(m, 61 + 5 * i, even)
        store(m, 86 + 5 * i, odd)


@njit
def _screen(room, masked, p):
    """The seven moments (i = j = 0) that the cost alone needs, at the places where `_moments` puts them."""
    height, width, columns, rows, m = room.height, room.width, room.columns, room.rows, room.moments
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = load(p, 0), load(p, 1)
    _waves(rows, height, y0, ky)
    _waves(columns, width, x0, kx)
    bend = _exp(-2.0 * a)
    block = _even_parts(width, _BLOCK)
    flat = even = odd = data_even = data_odd = even2 = odd2 = broadcast(0.0)
    for y in range(height):
        dy = load(rows, 5 * y)
        plain, data, square = zeros(2), zeros(2), zeros(2)
        for first in range(0, width, block):
            dx = first - x0
            envelope = _exp(0.0 - ((a * dx + b * dy) * dx + c * dy * dy))
            ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + b * dy))
            for x in range(first, min(first + block, width)):
                e, pixel = where(envelope > _NEGLIGIBLE, envelope, 0.0), y * width + x
                envelope, ratio = e * ratio, ratio * bend
                if masked:
                    e = e * load(room.valid, pixel)
                plain = add_row(plain, columns, 5 * x + 1, e)
                data = add_row(data, columns, 5 * x + 1, e * load(room.values, pixel))
                square = add_row(square, columns, 5 * x + 3, e * e)
                flat = flat + e * e
        cos, sin = load(rows, 5 * y + 1), load(rows, 5 * y + 2)
        even, odd = even + (cos * plain[0] - sin * plain[1]), odd + (sin * plain[0] + cos * plain[1])
        data_even, data_odd = data_even + (cos * data[0] - sin * data[1]), data_odd + (sin * data[0] + cos * data[1])
        cos, sin = load(rows, 5 * y + 3), load(rows, 5 * y + 4)
        even2, odd2 = even2 + (cos * square[0] - sin * square[1]), odd2 + (sin * square[0] + cos * square[1])
    for place, total in ((0, even), (9, odd), (18, data_even), (27, data_odd), (36, flat), (61, even2), (86, odd2)):
        store(m, place, total)


# --------------------------------------------------------------------------------------------------------------------
# Linear algebra on the moments


@njit
def _project(room, linear):
    """Solve for the amplitudes of E cos, E sin and 1; the sum of squares they explain.

    `room.factor` receives the scales and the Cholesky factor of the scaled Gram matrix:
    s0, s1, s2, l00, l10, l11, l20, l21, l22.
    """
    m = room.moments
    flat, even, cross = load(m, 36), load(m, 61), 0.5 * load(m, 86)
    s0 = 1.0 / sqrt(maximum(0.5 * (flat + even), 1e-11 * flat))  # below, a difference of sums is mere rounding
    s1 = 1.0 / sqrt(maximum(0.5 * (flat - even), 1e-11 * flat))
    s2 = 1.0 / sqrt(load(room.count, 0))
    least = 1e-13  # nearly dependent columns share one amplitude instead of failing
    l10 = cross * s0 * s1
    l11 = sqrt(maximum(1.0 - l10 * l10, least))
    l20 = load(m, 0) * s0 * s2
    l21 = (load(m, 9) * s1 * s2 - l20 * l10) / l11
    l22 = sqrt(maximum(1.0 - l20 * l20 - l21 * l21, least))
    y0 = load(m, 18) * s0
    y1 = (load(m, 27) * s1 - l10 * y0) / l11
    y2 = (0.0 - l20 * y0 - l21 * y1) / l22  # the map's mean is zero
    c2 = y2 / l22
    c1 = (y1 - l21 * c2) / l11
    c0 = y0 - l10 * c1 - l20 * c2
    store(room.factor, 0, (s0, s1, s2, 1.0, l10, l11, l20, l21, l22))
    store(linear, 0, (c0 * s0, c1 * s1, c2 * s2))
    return y0 * y0 + y1 * y1 + y2 * y2


# The seven directions: dx G, dy G, dx² G, dx dy G, dy² G, dx G', dy G' as powers (i, j) …
_I = np.array([1, 0, 2, 1, 0, 1, 0])
_J = np.array([0, 1, 0, 1, 2, 0, 1])
# … and which of them each of the six parameters moves (a contiguous range).
_FROM = np.array([0, 0, 2, 5, 2, 2])
_TO = np.array([2, 2, 7, 7, 5, 5])
# Places in `room.step`: products of the directions, their shares in the linear span, slopes, derivatives, products
_SHARE, _SLOPE, _CHAIN, _PRODUCT = 49, 70, 77, 94


@njit
def _normal_equations(room, p, linear, hessian, gradient):
    """Gauss-Newton matrix (lower triangle) and minus half the gradient of the cost, for the six parameters."""
    m, w = room.moments, room.step
    s0, s1, s2, l10 = load(room.factor, 0), load(room.factor, 1), load(room.factor, 2), load(room.factor, 4)
    l11, l20, l21, l22 = (
        1.0 / load(room.factor, 5), load(room.factor, 6), load(room.factor, 7), 1.0 / load(room.factor, 8),
    )  # fmt: skip
    a, b, offset = load(linear, 0), load(linear, 1), load(linear, 2)
    mean, difference, ab = 0.5 * (a * a + b * b), 0.5 * (a * a - b * b), a * b
    for k in range(7):
        t = 36 + 5 * _I[k] + _J[k]
        cos_cos, sin_sin = 0.5 * (load(m, t) + load(m, t + 25)), 0.5 * (load(m, t) - load(m, t + 25))
        cos_sin = 0.5 * load(m, t + 50)
        t = 3 * _I[k] + _J[k]
        u, v = (a, b) if k < 5 else (b, 0.0 - a)
        c0, c1, c2 = u * cos_cos + v * cos_sin, u * cos_sin + v * sin_sin, u * load(m, t) + v * load(m, t + 9)
        data = u * load(m, t + 18) + v * load(m, t + 27)
        store(w, _SLOPE + k, data - c0 * a - c1 * b - c2 * offset)
        c0 = c0 * s0
        c1 = (c1 * s1 - l10 * c0) * l11
        c2 = (c2 * s2 - l20 * c0 - l21 * c1) * l22
        store(w, _SHARE + 3 * k, (c0, c1, c2))
        for n in range(k + 1):
            t = 36 + 5 * (_I[k] + _I[n]) + _J[k] + _J[n]
            flat, even, odd = load(m, t), load(m, t + 25), load(m, t + 50)
            if k < 5:
                value = mean * flat + difference * even + ab * odd
            elif n < 5:
                value = ab * even - difference * odd
            else:
                value = mean * flat - difference * even - ab * odd
            t = _SHARE + 3 * n
            value = value - c0 * load(w, t) - c1 * load(w, t + 1) - c2 * load(w, t + 2)
            store(w, 7 * k + n, value)
            store(w, 7 * n + k, value)
    cos, sin = _cos_sin(load(p, 2))
    along, across, f = _exp(-2.0 * load(p, 4)), _exp(-2.0 * load(p, 5)), load(p, 3)
    cc, cs, ss, tau = cos * cos, cos * sin, sin * sin, 2.0 * math.pi
    ea, eb, ec = cc * along + ss * across, cs * (along - across), ss * along + cc * across
    turn = (cc - ss) * (along - across)
    store(w, _CHAIN, (ea, eb, eb, ec, eb, 0.0 - turn, 0.0 - eb, -tau * f * sin, tau * f * cos))
    store(w, _CHAIN + 9, (tau * cos, tau * sin, cc * along, 2.0 * cs * along, ss * along))
    store(w, _CHAIN + 14, (ss * across, -2.0 * cs * across, cc * across))
    base = _CHAIN
    for i in range(6):
        total = broadcast(0.0)
        for n in range(_FROM[i], _TO[i]):
            total = total + load(w, base + n - _FROM[i]) * load(w, _SLOPE + n)
        store(gradient, i, total)
        for k in range(7):
            total = broadcast(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + load(w, base + n - _FROM[i]) * load(w, 7 * k + n)
            store(w, _PRODUCT + 7 * i + k, total)
        for j in range(i + 1):
            total = broadcast(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + load(w, base + n - _FROM[i]) * load(w, _PRODUCT + 7 * j + n)
            store(hessian, 6 * i + j, total)
        base += _TO[i] - _FROM[i]


@njit
def _propose(p, hessian, gradient, damping, low, high, matrix, free, trial):
    """Damped, limited and bounded step from p to trial; the decrease of the cost that the local model expects."""
    for i in range(6):
        value, slope = load(p, i), load(gradient, i)
        held = ((value <= low[i]) & (slope < 0.0)) | ((value >= high[i]) & (slope > 0.0))
        store(free, i, where(held, 0.0, 1.0))
    for i in range(6):
        free_i = load(free, i)
        pivot = load(hessian, 7 * i) * (1.0 + damping) + 1e-12
        right = load(gradient, i) * free_i
        least = pivot * 1e-14
        for j in range(i):
            value = load(hessian, 6 * i + j) * free_i * load(free, j)
            for k in range(j):
                value = value - load(matrix, 6 * i + k) * load(matrix, 6 * j + k)
            value = value * load(matrix, 7 * j)
            store(matrix, 6 * i + j, value)
            pivot = pivot - value * value
            right = right - value * load(trial, j)
        root = 1.0 / sqrt(maximum(pivot, least))
        store(matrix, 7 * i, root)  # the diagonal is kept inverted
        store(trial, i, right * root)
    for back in range(6):
        i = 5 - back
        value = load(trial, i)
        for k in range(i + 1, 6):
            value = value - load(matrix, 6 * k + i) * load(trial, k)
        store(trial, i, value * load(matrix, 7 * i))
    widest = _exp(maximum(load(p, 4), load(p, 5)))
    excess = maximum(
        absolute(load(trial, 2)) * (1 / 0.6), maximum(absolute(load(trial, 4)), absolute(load(trial, 5))) * (1 / 0.9)
    )
    excess = maximum(excess, maximum(absolute(load(trial, 0)), absolute(load(trial, 1))) / (widest + 0.5))
    scale = 1.0 / maximum(excess, 1.0)
    expected = broadcast(0.0)
    for i in range(6):
        value = load(p, i)
        moved = minimum(maximum(value + scale * load(trial, i), low[i]), high[i])
        store(free, i, moved - value)
        store(trial, i, moved)
    for i in range(6):
        bent = 0.5 * load(hessian, 7 * i) * load(free, i)
        for j in range(i):
            bent = bent + load(hessian, 6 * i + j) * load(free, j)
        expected = expected + 2.0 * load(free, i) * (load(gradient, i) - bent)
    return expected


# --------------------------------------------------------------------------------------------------------------------
# Starts: where the energy is, the peaks of the windowed spectrum there, a few envelopes for each

N_PEAKS = 3
_SHAPES = np.array([[0.6, 0.6], [1.0, 1.0], [1.8, 1.8], [0.7, 1.4], [1.4, 0.7]])
N_SLOW = 4  # starts with a fifth of a cycle per sigma, in as many directions: for blobs, edges and short wavelets
N_STARTS = N_PEAKS * len(_SHAPES) + N_SLOW


@njit
def _middle(values, n, count, spread):
    """Roughly the median: the mean after four rounds of drawing outliers in."""
    center = broadcast(0.0)
    for _ in range(4):
        total = broadcast(0.0)
        for i in range(n):
            total = total + maximum(minimum(load(values, i) - center, spread), 0.0 - spread)
        center = center + total / count
    return center


@njit
def _locate(room, masked, taps, energy, smooth):
    """Center and radius of the smoothed energy above its background."""
    height, width = room.height, room.width
    n, reach = height * width, len(taps) - 1
    background = _middle(room.values, n, load(room.count, 0), broadcast(0.5))
    for i in range(n):
        d = load(room.values, i) - background
        if masked:
            d = d * load(room.valid, i)
        store(energy, i, d * d)
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
    level = maximum(0.25 * top, _middle(energy, n, broadcast(n), 0.5 * total / n))
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
def _spectrum(room, cx, cy, radius, cosines, sines, windowed, half, power):
    """Power of the map, seen through a window twice as wide as the field, on a grid of carriers.

    2·bins+1 rows and bins+1 columns: ky from -1/2 to 1/2, kx from 0 to 1/2 cycles per pixel.
    """
    height, width, n = room.height, room.width, cosines.shape[0]
    narrow = 0.125 / (radius * radius)
    total, weight = broadcast(0.0), broadcast(0.0)
    for x in range(width):
        store(half, x, _exp(0.0 - narrow * (x - cx) * (x - cx)))
    for y in range(height):
        row = _exp(0.0 - narrow * (y - cy) * (y - cy))
        for x in range(width):
            w = row * load(half, x)
            z = w * load(room.values, y * width + x)
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
            even, odd = cc - ss, sc + cs
            store(power, (n - 1 + q) * n + k, even * even + odd * odd)
            even, odd = cc + ss, sc - cs
            store(power, (n - 1 - q) * n + k, even * even + odd * odd)


@njit
def _candidates(cx, cy, radius, power, bins, size, low, high, peak, candidates):
    """Starts for each lane: `candidates[6 start + parameter]`, those at peaks of the spectrum first."""
    n, step = bins + 1, 0.5 / bins
    for q in range(2 * bins + 1):
        for k in range(n):
            f = math.hypot(k * step, (q - bins) * step)
            if f > 0.5 or f < 0.4 / size:
                store(power, q * n + k, 0.0)
    start, theta = 0, broadcast(0.0)
    for _ in range(N_PEAKS):
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
        theta, f = load(peak, 0), sqrt(kx * kx + ky * ky)
        for shape in range(len(_SHAPES)):
            store(candidates, 6 * start, (cx, cy, theta, f, radius * _SHAPES[shape, 0], radius * _SHAPES[shape, 1]))
            start += 1
    for turn in range(N_SLOW):
        direction = theta + turn * (math.pi / N_SLOW)
        store(candidates, 6 * start, (cx, cy, direction, 0.1 / radius, 2.0 * radius, 0.8 * radius))
        start += 1
    for start in range(N_STARTS):
        for t in range((6 * start + 4) * WIDTH, (6 * start + 6) * WIDTH):
            candidates[t] = math.log(candidates[t])
        for i in range(6):
            store(candidates, 6 * start + i, minimum(maximum(load(candidates, 6 * start + i), low[i]), high[i]))


@kept()
def find_starts(maps, weights, counts, height, width, low, high, taps, cosines, sines, starts, worth):
    """Blind starts of every map and the sum of squares that each explains as it is."""
    masked, n, bins, size = weights.shape[0] > 0, height * width, cosines.shape[0] - 1, max(height, width)
    room, energy, smooth = _make_room(height, width), _aligned(2 * n), _aligned(n)
    half, power = _aligned(2 * (bins + 1) * height + width), _aligned((bins + 1) * (2 * bins + 1))
    candidates, p, linear, explained = _aligned(6 * N_STARTS), _aligned(6), _aligned(3), _aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            _fill(room, maps, weights, counts, lane, first + lane)
        cx, cy, radius = _locate(room, masked, taps, energy, smooth)
        _spectrum(room, cx, cy, radius, cosines, sines, energy, half, power)
        _candidates(cx, cy, radius, power, bins, size, low, high, p, candidates)
        for start in range(N_STARTS):
            for i in range(6):
                store(p, i, load(candidates, 6 * start + i))
            _screen(room, masked, p)
            store(explained, 0, _project(room, linear))
            for lane in range(filled):
                worth[first + lane, start] = explained[lane]
                for i in range(6):
                    starts[first + lane, start, i] = p[i * WIDTH + lane]


# --------------------------------------------------------------------------------------------------------------------
# The search


@njit
def _same(a, b):
    """Do two parameter vectors describe nearly one Gabor (so that the second search may stop)?"""
    widest = math.exp(max(b[4], b[5]))
    turn = (a[2] - b[2]) / math.pi
    turn = abs(turn - round(turn)) * math.pi
    return (
        abs(a[0] - b[0]) + abs(a[1] - b[1]) < 0.1 * widest
        and turn < 0.1
        and abs(a[3] - b[3]) * widest < 0.05
        and abs(a[4] - b[4]) + abs(a[5] - b[5]) < 0.2
    )


@njit
def _doubtful(p, low, high, n_agree):
    """Should more starts be tried: a bound, a lonely minimum, few cycles (many minima side by side), near aliasing?"""
    for i in range(6):
        if p[i] <= low[i] or p[i] >= high[i]:
            return True
    return n_agree < 2 or p[3] * math.exp(p[4]) < 0.25 or p[3] > 0.35


@kept()
def search(maps, weights, counts, height, width, low, high, starts, n_starts, settings, out, out_linear, tallies):
    """Refine the starts of every map; each lane works through one map's starts, then takes the next map.

    `settings` = tolerance, most steps of one start, steps before a start is judged, factor on the best cost at which it
    is given up, starts tried for every map. `tallies` (map, 3) receives how many starts agreed, evaluations,
    and whether the best one converged.
    """
    tolerance, most, probe, hopeless, tries = settings
    masked, room = weights.shape[0] > 0, _make_room(height, width)
    p, trial, linear, trial_linear = _aligned(6), _aligned(6), _aligned(3), _aligned(3)
    hessian, gradient, trial_hessian, trial_gradient = _aligned(36), _aligned(6), _aligned(36), _aligned(6)
    matrix, free, cost, gain, expected = _aligned(36), _aligned(6), _aligned(1), _aligned(1), _aligned(1)
    damping, growth = _aligned(1), _aligned(1)
    which, start = np.full(WIDTH, -1), np.zeros(WIDTH, np.int64)
    steps, small, fresh = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.bool_)
    here, best_cost = np.zeros(6), np.full(WIDTH, np.inf)
    n_maps, next_map = maps.shape[0], 0
    busy = min(WIDTH, n_maps)
    for lane in range(busy):
        which[lane], next_map, fresh[lane] = next_map, next_map + 1, True
    while busy > 0:
        store(expected, 0, _propose(p, hessian, gradient, load(damping, 0), low, high, matrix, free, trial))
        for lane in range(WIDTH):
            if fresh[lane]:
                if start[lane] == 0:
                    _fill(room, maps, weights, counts, lane, which[lane])
                    best_cost[lane] = np.inf
                for i in range(6):
                    trial[i * WIDTH + lane] = starts[which[lane], start[lane], i]
                cost[lane], damping[lane], growth[lane], steps[lane], small[lane] = np.inf, 1e-2, 2.0, 0, 0
        _moments(room, masked, trial)
        explained = _project(room, trial_linear)
        _normal_equations(room, trial, trial_linear, trial_hessian, trial_gradient)
        old = load(cost, 0)
        new = load(room.count, 0) - explained  # a standardized map's sum of squares is its number of pixels
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
        for i in range(6):
            store(p, i, where(better, load(trial, i), load(p, i)))
            store(gradient, i, where(better, load(trial_gradient, i), load(gradient, i)))
            for t in range(6 * i, 7 * i + 1):
                store(hessian, t, where(better, load(trial_hessian, t), load(hessian, t)))
        for i in range(3):
            store(linear, i, where(better, load(trial_linear, i), load(linear, i)))
        for lane in range(WIDTH):
            index = which[lane]
            if index < 0:
                continue
            tallies[index, 1] += 1
            steps[lane] += 1
            now, best = cost[lane], best_cost[lane]
            enough = tolerance * now + 1e-14 * room.count[lane]
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
            for i in range(6):
                here[i] = p[i * WIDTH + lane]
            if settled and abs(now - best) <= 1e-3 * best + 1e-12 * room.count[lane]:
                tallies[index, 0] += 1
            elif (
                start[lane] > 0
                and not settled
                and steps[lane] > 2
                and best <= now < 1.05 * best
                and _same(here, out[index])
            ):
                tallies[index, 0] += 1
                done = True
            elif start[lane] > 0 and not settled and steps[lane] >= probe and now > hopeless * best:
                done = True
            elif settled and now < best:
                tallies[index, 0] = 1
            if not (done or settled):
                continue
            if now < best:
                best_cost[lane], tallies[index, 2] = now, settled
                for i in range(6):
                    out[index, i] = here[i]
                for i in range(3):
                    out_linear[index, i] = linear[i * WIDTH + lane]
            start[lane] += 1
            fresh[lane] = True
            last = n_starts[index]
            if start[lane] >= tries and not _doubtful(out[index], low, high, tallies[index, 0]):
                last = min(last, tries)
            if start[lane] >= last:
                start[lane] = 0
                if next_map < n_maps:
                    which[lane], next_map = next_map, next_map + 1
                else:
                    which[lane], busy, fresh[lane] = -1, busy - 1, False


# --------------------------------------------------------------------------------------------------------------------
# What the final parameters say, computed afresh pixel by pixel


@kept()
def inspect(maps, weights, counts, height, width, parameters, linear, cost, information):
    """Residual sum of squares and J'J over x0, y0, theta, frequency, log sigma_x, log sigma_y, a, b, offset."""
    masked, room = weights.shape[0] > 0, _make_room(height, width)
    p, amplitudes, jacobian, total, residual = _aligned(6), _aligned(3), _aligned(9 * width), _aligned(81), _aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        filled = min(WIDTH, maps.shape[0] - first)
        for lane in range(filled):
            _fill(room, maps, weights, counts, lane, first + lane)
            for i in range(6):
                p[i * WIDTH + lane] = parameters[first + lane, i]
            for i in range(3):
                amplitudes[i * WIDTH + lane] = linear[first + lane, i]
        cos, sin = _cos_sin(load(p, 2))
        along, across, k = _exp(-2.0 * load(p, 4)), _exp(-2.0 * load(p, 5)), 2.0 * math.pi * load(p, 3)
        a, b, offset = load(amplitudes, 0), load(amplitudes, 1), load(amplitudes, 2)
        squares = broadcast(0.0)
        for i in range(81):
            store(total, i, 0.0)
        for y in range(height):
            dy = y - load(p, 1)
            for x in range(width):
                dx = x - load(p, 0)
                u, v = cos * dx + sin * dy, cos * dy - sin * dx
                e, one = _exp(-0.5 * (u * u * along + v * v * across)), broadcast(1.0)
                if masked:
                    one = load(room.valid, y * width + x)
                    e = e * one
                c, s = _cos_sin(k * u)
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
