"""The Gabor of one channel on square pixels, by moments.

Modulo the span of the even part, the odd part and the offset, the derivative of a Gabor is spanned by {dx, dy, dx²,
dx·dy, dy²}·G and {dx, dy}·G', so a Levenberg-Marquardt step needs no Jacobian but only moments of the envelope and of
its square (Golub & Pereyra 1973, doi:10.1137/0710036; Kaufman 1975, doi:10.1007/BF01932995).
"""

from __future__ import annotations

import math
from collections import namedtuple

import numpy as np
from numba import njit

from rfcompare.fitting.batched import DEPENDENT
from rfcompare.fitting.compiled.lanes import add_powers, add_row, broadcast, load, sqrt, store, where, zeros
from rfcompare.fitting.compiled.vectors import NEGLIGIBLE, aligned, cos_sin, exp, maximum

AloneKind = namedtuple("AloneKind", "variant")
"""The type that stands for this model, as those of `rfcompare.fitting.compiled.shapes` do for theirs."""

# --------------------------------------------------------------------------------------------------------------------
# Sums over pixels: `values[pixel]` holds one map per lane; dx, dy are a pixel's distances from the center.

# Columns along which the envelope is continued by recurrence before the exponential is taken afresh: from where it is
# negligible, nine steps and a half still reach the top of the narrowest envelope (sigma 0.4; a center may lie half a
# pixel beyond the last column), also in rows where that top is small, and the next step is not subnormal.
_BLOCK = 10
_TILE = 22  # columns whose table of powers and waves fits into the fastest cache

Room = namedtuple("Room", "height width channels terms values valid count columns rows sums edges moments factor step")


@njit
def make_room(height, width):
    """Working memory for maps of this size."""
    n, table = height * width, 21 * min(width, _TILE)
    room = Room(
        height, width, 1, 2, aligned(n), aligned(n), aligned(1), aligned(table), aligned(5 * height),
        aligned(27 * height), aligned(2 * height * (_TILE // _BLOCK + 1)), aligned(111), aligned(9), aligned(137),
    )  # fmt: skip
    store(room.count, 0, 1.0)
    return room


@njit
def _even_parts(n, most):
    """Length of the parts when n is cut into as few about equal parts of at most `most` as can be."""
    parts = (n + most - 1) // most
    return (n + parts - 1) // parts


@njit
def _fill_columns(room, left, right, x0, k):
    """Per column cos kd, sin kd and their products with d, d²; then 1, cos 2kd, sin 2kd times d^0 … d^4."""
    cos, sin = cos_sin(k * (left - x0))
    turn_cos, turn_sin = cos_sin(k)
    for x in range(left, right):
        t, d = 21 * (x - left), x - x0
        d2, cos2, sin2 = d * d, cos * cos - sin * sin, 2.0 * cos * sin
        d3, d4 = d2 * d, d2 * d2
        store(room.columns, t, (cos, sin, d * cos, d * sin, d2 * cos, d2 * sin))
        store(room.columns, t + 6, (1.0, cos2, sin2, d, d * cos2, d * sin2, d2, d2 * cos2, d2 * sin2))
        store(room.columns, t + 15, (d3, d3 * cos2, d3 * sin2, d4, d4 * cos2, d4 * sin2))
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@njit
def _fill_rows(room, y0, k):
    """Per row d, cos kd, sin kd, cos 2kd, sin 2kd."""
    cos, sin = cos_sin(0.0 - k * y0)
    turn_cos, turn_sin = cos_sin(k)
    for y in range(room.height):
        store(room.rows, 5 * y, (y - y0, cos, sin, cos * cos - sin * sin, 2.0 * cos * sin))
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@njit
def _gather(room, source, target, apart, harmonic, blank):
    """Sums over rows of two moments along them, turned by the row's angle, times as many powers of dy as are asked."""
    even, odd, rows, sums = blank, blank, room.rows, room.sums
    for y in range(room.height):
        dy, cos, sin = load(rows, 5 * y), load(rows, 5 * y + harmonic), load(rows, 5 * y + harmonic + 1)
        row_cos, row_sin = load(sums, 27 * y + source), load(sums, 27 * y + source + 1)
        even = add_powers(even, cos * row_cos - sin * row_sin, dy)
        odd = add_powers(odd, sin * row_cos + cos * row_sin, dy)
    store(room.moments, target, even)
    store(room.moments, target + apart, odd)


@njit
def _gather_squares(room, i, blank):
    """The same of the envelope's square, which also has moments without an angle."""
    _gather(room, 13 + 3 * i, 61 + 5 * i, 25, 3, blank)
    flat = blank
    for y in range(room.height):
        flat = add_powers(flat, load(room.sums, 27 * y + 12 + 3 * i), load(room.rows, 5 * y))
    store(room.moments, 36 + 5 * i, flat)


@njit
def _moments(room, masked, p):
    """The moments at parameters p.

    moments[9 kind + 3 i + j] for kind = E cos, E sin, z E cos, z E sin and i + j ≤ 2, and moments[36 + 25 kind + 5 i +
    j] for kind = E², E² cos, E² sin (of the doubled angle) and i + j ≤ 4, are the sums of kind · dx^i · dy^j; the angle
    is k·d, about the center.
    """
    columns, rows, sums, edges = room.columns, room.rows, room.sums, room.edges
    cos, sin = cos_sin(load(p, 2))
    along, across, k = 0.5 * exp(-2.0 * load(p, 4)), 0.5 * exp(-2.0 * load(p, 5)), 2.0 * math.pi * load(p, 3)
    # The exponent is a·dx² + b·dx·dy + c·dy².
    a, b = cos * cos * along + sin * sin * across, 2.0 * cos * sin * (along - across)
    c = sin * sin * along + cos * cos * across
    x0, y0, bend = load(p, 0), load(p, 1), exp(-2.0 * a)
    _fill_rows(room, y0, k * sin)
    tile = _even_parts(room.width, _TILE)
    block = _even_parts(tile, _BLOCK)
    for left in range(0, room.width, tile):
        right, edge = min(left + tile, room.width), 0
        _fill_columns(room, left, right, x0, k * cos)
        for y in range(room.height):  # at once for all rows, so that no exponential is waited for
            dy = load(rows, 5 * y)
            for first in range(left, right, block):
                dx = first - x0
                envelope = exp(0.0 - ((a * dx + b * dy) * dx + c * dy * dy))
                store(edges, edge, (envelope, exp(0.0 - (a * (2.0 * dx + 1.0) + b * dy))))
                edge += 2
        edge = 0
        for y in range(room.height):
            plain, data, square = zeros(6), zeros(6), zeros(15)
            for first in range(left, right, block):
                envelope, ratio = load(edges, edge), load(edges, edge + 1)
                edge += 2
                for x in range(first, min(first + block, right)):
                    t, pixel, e = 21 * (x - left), y * room.width + x, where(envelope > NEGLIGIBLE, envelope, 0.0)
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
        _gather(room, 6 * kind, 18 * kind, 9, 1, zeros(3))
        _gather(room, 6 * kind + 2, 18 * kind + 3, 9, 1, zeros(2))
        _gather(room, 6 * kind + 4, 18 * kind + 6, 9, 1, zeros(1))
    _gather_squares(room, 0, zeros(5))
    _gather_squares(room, 1, zeros(4))
    _gather_squares(room, 2, zeros(3))
    _gather_squares(room, 3, zeros(2))
    _gather_squares(room, 4, zeros(1))


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
    least = DEPENDENT
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
        mixed = 0.5 * load(m, t + 50)
        t = 3 * _I[k] + _J[k]
        u, v = (a, b) if k < 5 else (b, 0.0 - a)
        c0, c1, c2 = u * cos_cos + v * mixed, u * mixed + v * sin_sin, u * load(m, t) + v * load(m, t + 9)
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
    cos, sin = cos_sin(load(p, 2))
    along, across, f = exp(-2.0 * load(p, 4)), exp(-2.0 * load(p, 5)), load(p, 3)
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
def equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares that a Gabor with parameters p explains, its amplitudes and the normal equations of a step."""
    _moments(room, masked, p)
    explained = _project(room, linear)
    _normal_equations(room, p, linear, hessian, gradient)
    return explained
