"""Every other model, and Gabors of several channels: sums of products of a few functions per pixel.

A model's basis functions, their derivatives by the nonlinear parameters and the constant are combinations of K
functions of a pixel, with coefficients that depend on the amplitudes (its chain). One pass over the pixels sums the
products of these functions with each other and with every channel's map; the amplitudes, the Kaufman form of the normal
equations and the information matrix follow from these sums alone, however many channels share them.

Which model it is, is known from the type of its working memory, its room. To add one write its room and three functions
here and list them in `_MODELS`, give it an entry in `search.py`, and a line in the table of `engine.py`.
"""

from __future__ import annotations

import math
from collections import namedtuple

from numba import njit
from numba.extending import overload

from rfcompare.fitting.batched import DEPENDENT
from rfcompare.fitting.compiled.lanes import add_row, broadcast, load, maximum, sqrt, store, zeros_like
from rfcompare.fitting.compiled.vectors import aligned, cos_sin, decay, exp

_FIELDS = (
    "height width channels variant terms parameters values valid count x y table gram data chain work left span factor"
)
BlobRoom = namedtuple("BlobRoom", _FIELDS)  # type: ignore[misc]
DogRoom = namedtuple("DogRoom", _FIELDS)  # type: ignore[misc]
HermiteRoom = namedtuple("HermiteRoom", _FIELDS)  # type: ignore[misc]
WaveRoom = namedtuple("WaveRoom", _FIELDS)  # type: ignore[misc]


# Of a room, in lanes: `values` (channel, pixel), `valid` (pixel) and `count` of measured pixels; `table` the functions
# along one row of pixels, `gram` their products with each other, `data` (channel, function) with the maps; `chain` and
# `work` (parameter, function) the derivatives' coefficients and their products with the functions; `left` (function)
# what the amplitudes leave of `data`; `span` (parameter, amplitude) the derivatives' shares in the basis, and `factor`
# its Cholesky factor.


@njit
def memory(x, y, channels, variant, terms, parameters, functions):
    """What a room holds: `x`, `y` pixel positions, `terms` amplitudes without the offset, `functions` K."""
    height, width, n = len(y), len(x), len(x) * len(y)
    count = aligned(1)
    store(count, 0, 1.0)
    return (
        height, width, channels, variant, terms, parameters, aligned(channels * n), aligned(n), count, x, y,
        aligned(functions * width), aligned(functions * functions), aligned(channels * functions),
        aligned(parameters * functions), aligned(parameters * functions), aligned(functions),
        aligned(parameters * (terms + 1)), aligned((terms + 1) * (terms + 2)),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------
# Of each model: what does not change from pixel to pixel; its functions, basis functions first and the constant last;
# the coefficients of its derivatives


@njit
def _blob_constants(room, p):
    return (exp(-2.0 * load(p, 2)),)


@njit
def _blob_functions(room, constants, dx, dy):
    """A round Gaussian and its derivatives by x0, y0 and log sigma."""
    inverse = constants[0]
    square = dx * dx + dy * dy
    e = decay(-0.5 * inverse * square)
    scaled = e * inverse
    return e, scaled * dx, scaled * dy, scaled * square, broadcast(1.0)


@njit
def _blob_chain(room, constants, p, linear, first):
    for q in range(3):
        store(room.chain, 5 * q + 1 + q, load(linear, first))


@njit
def _dog_constants(room, p):
    return exp(-2.0 * load(p, 2)), exp(-2.0 * load(p, 3))


@njit
def _dog_functions(room, constants, dx, dy):
    """Center and surround, each also times dx, dy and r² over its variance."""
    a, b = constants
    square = dx * dx + dy * dy
    c, s = decay(-0.5 * a * square), decay(-0.5 * b * square)
    ca, sb = c * a, s * b
    return c, s, ca * dx, ca * dy, ca * square, sb * dx, sb * dy, sb * square, broadcast(1.0)


@njit
def _dog_chain(room, constants, p, linear, first):
    center, surround = load(linear, first), load(linear, first + 1)
    for q in range(2):
        store(room.chain, 9 * q + 2 + q, center)
        store(room.chain, 9 * q + 5 + q, surround)
    store(room.chain, 9 * 2 + 4, center)
    store(room.chain, 9 * 3 + 7, surround)


@njit
def _hermite_constants(room, p):
    cos, sin = cos_sin(load(p, 2))
    return cos, sin, exp(0.0 - load(p, 3)), exp(0.0 - load(p, 4))


@njit
def _hermite_functions(room, constants, dx, dy):
    """The derivative of that order of an elliptical Gaussian, and its derivatives by the five parameters."""
    cos, sin, ix, iy = constants
    u, v = (cos * dx + sin * dy) * ix, (cos * dy - sin * dx) * iy
    previous, current = broadcast(0.0), broadcast(1.0)
    for n in range(room.variant):
        previous, current = current, u * current - (1.0 * n) * previous
    e = decay(-0.5 * (u * u + v * v))
    basis = current * e
    by_u = ((1.0 * room.variant) * previous - u * current) * e
    by_v = 0.0 - v * basis
    xu, yv = ix * by_u, iy * by_v
    turn = v * by_u * (ix / iy) - u * by_v * (iy / ix)
    return basis, sin * yv - cos * xu, 0.0 - sin * xu - cos * yv, turn, 0.0 - u * by_u, 0.0 - v * by_v, broadcast(1.0)


@njit
def _hermite_chain(room, constants, p, linear, first):
    for q in range(5):
        store(room.chain, 7 * q + 1 + q, load(linear, first))


TIED, FREE, CURVED = 0, 1, 2
"""Forms of the Gabor: envelope along the carrier, with an angle of its own, stripes that are arcs."""


@njit
def _axes_of(p, form):
    """Cosine and sine of the carrier's direction and of the envelope's, inverse variances, angular frequency, bend."""
    cos, sin = cos_sin(load(p, 2))
    along, across, bend = cos, sin, broadcast(0.0)
    if form == FREE:
        along, across = cos_sin(load(p, 2) + load(p, 6))
    elif form == CURVED:
        bend = load(p, 6)
    return cos, sin, along, across, exp(-2.0 * load(p, 4)), exp(-2.0 * load(p, 5)), 2.0 * math.pi * load(p, 3), bend


@njit
def _wave_constants(room, p):
    """Exponent a·dx² + b·dx·dy + c·dy² and angle kx·dx + ky·dy + a'·dx² + b'·dx·dy + c'·dy²."""
    cos, sin, c, s, ix, iy, w, bend = _axes_of(p, room.variant)
    half = 0.5 * w * bend
    return (
        -0.5 * (c * c * ix + s * s * iy), c * s * (iy - ix), -0.5 * (s * s * ix + c * c * iy), w * cos, w * sin,
        half * sin * sin, -2.0 * half * cos * sin, half * cos * cos,
    )  # fmt: skip


@njit
def _wave_functions(room, constants, dx, dy):
    """The even and the odd part, each also times dx, dy, dx², dx·dy and dy²."""
    xx, xy, yy = dx * dx, dx * dy, dy * dy
    e = decay(constants[0] * xx + constants[1] * xy + constants[2] * yy)
    angle = constants[3] * dx + constants[4] * dy
    if room.variant == CURVED:
        angle = angle + constants[5] * xx + constants[6] * xy + constants[7] * yy
    c, s = cos_sin(angle)
    c, s = e * c, e * s
    return (
        c, s, dx * c, dy * c, xx * c, xy * c, yy * c, dx * s, dy * s, xx * s, xy * s, yy * s, broadcast(1.0),
    )  # fmt: skip


@njit
def _wave_row(chain, row, even, odd, envelope, angle):
    """One parameter's row: its derivative of the log envelope (dx … dy²) and of the angle (1, dx … dy²)."""
    store(chain, 13 * row, odd * angle[0])
    store(chain, 13 * row + 1, 0.0 - even * angle[0])
    for k in range(5):
        store(chain, 13 * row + 2 + k, even * envelope[k] + odd * angle[k + 1])
        store(chain, 13 * row + 7 + k, odd * envelope[k] - even * angle[k + 1])


@njit
def _wave_chain(room, constants, p, linear, first):
    chain, even, odd, nil = room.chain, load(linear, first), load(linear, first + 1), broadcast(0.0)
    cos, sin, c, s, ix, iy, w, bend = _axes_of(p, room.variant)
    cross, wb, tau = c * s * (ix - iy), w * bend, broadcast(2.0 * math.pi)
    none = (nil, nil, nil, nil, nil)
    turn = (nil, nil, cross, (s * s - c * c) * (ix - iy), 0.0 - cross)
    _wave_row(
        chain, 0, even, odd, (c * c * ix + s * s * iy, cross, nil, nil, nil),
        (0.0 - w * cos, 0.0 - wb * sin * sin, wb * sin * cos, nil, nil, nil),
    )  # fmt: skip
    _wave_row(
        chain, 1, even, odd, (cross, s * s * ix + c * c * iy, nil, nil, nil),
        (0.0 - w * sin, wb * sin * cos, 0.0 - wb * cos * cos, nil, nil, nil),
    )  # fmt: skip
    _wave_row(
        chain, 2, even, odd, turn,
        (nil, 0.0 - w * sin, w * cos, wb * cos * sin, wb * (sin * sin - cos * cos), 0.0 - wb * cos * sin),
    )  # fmt: skip
    arc = (0.5 * sin * sin, 0.0 - cos * sin, 0.5 * cos * cos)  # v²/2 in dx², dx·dy, dy²
    _wave_row(
        chain, 3, even, odd, none,
        (nil, tau * cos, tau * sin, tau * bend * arc[0], tau * bend * arc[1], tau * bend * arc[2]),
    )  # fmt: skip
    _wave_row(chain, 4, even, odd, (nil, nil, c * c * ix, 2.0 * c * s * ix, s * s * ix), (nil, nil, nil, nil, nil, nil))
    _wave_row(
        chain, 5, even, odd, (nil, nil, s * s * iy, -2.0 * c * s * iy, c * c * iy), (nil, nil, nil, nil, nil, nil)
    )
    if room.variant == FREE:
        _wave_row(chain, 6, even, odd, turn, (nil, nil, nil, nil, nil, nil))
    elif room.variant == CURVED:
        _wave_row(chain, 6, even, odd, none, (nil, nil, nil, w * arc[0], w * arc[1], w * arc[2]))


_MODELS = {
    BlobRoom: (_blob_constants, _blob_functions, _blob_chain, (0.0,) * 5),
    DogRoom: (_dog_constants, _dog_functions, _dog_chain, (0.0,) * 9),
    HermiteRoom: (_hermite_constants, _hermite_functions, _hermite_chain, (0.0,) * 7),
    WaveRoom: (_wave_constants, _wave_functions, _wave_chain, (0.0,) * 13),
}
"""By the type of room: constants, functions, chain, and as many zeros as there are functions."""


def _constants(room, p):
    """A model's constants."""


def _functions(room, constants, dx, dy):
    """A model's functions at one pixel."""


def _chain(room, constants, p, linear, first):
    """Write a model's coefficients into `room.chain`."""


def _blank(room):
    """As many zeros as the model has functions."""


@overload(_constants)
def _(room, p):
    own = _MODELS[room.instance_class][0]
    return lambda room, p: own(room, p)


@overload(_functions)
def _(room, constants, dx, dy):
    own = _MODELS[room.instance_class][1]
    return lambda room, constants, dx, dy: own(room, constants, dx, dy)


@overload(_chain)
def _(room, constants, p, linear, first):
    own = _MODELS[room.instance_class][2]
    return lambda room, constants, p, linear, first: own(room, constants, p, linear, first)


@overload(_blank)
def _(room):
    own = _MODELS[room.instance_class][3]
    return lambda room: own


# --------------------------------------------------------------------------------------------------------------------
# Sums over pixels and what follows from them


@njit
def _fill_table(room, masked, constants, p, y):
    """The functions along one row of pixels; zero where not measured."""
    k, dy = len(_blank(room)), room.y[y] - load(p, 1)
    for x in range(room.width):
        at = k * x
        store(room.table, at, _functions(room, constants, room.x[x] - load(p, 0), dy))
        if masked:
            valid = load(room.valid, y * room.width + x)
            for i in range(at, at + k):
                store(room.table, i, valid * load(room.table, i))


@njit
def _sum(room, masked, constants, p):
    """Products of the functions with each other (`gram`) and with every channel's map (`data`)."""
    blank, one = _blank(room), broadcast(1.0)
    k = len(blank)
    for i in range(k * k):
        store(room.gram, i, 0.0)
    for i in range(room.channels * k):
        store(room.data, i, 0.0)
    for y in range(room.height):
        _fill_table(room, masked, constants, p, y)
        for i in range(k):
            row = zeros_like(blank)
            for x in range(room.width):
                row = add_row(row, room.table, k * x, load(room.table, k * x + i))
            store(room.gram, k * i, add_row(row, room.gram, k * i, one))
        for channel in range(room.channels):
            row, first = zeros_like(blank), (channel * room.height + y) * room.width
            for x in range(room.width):
                row = add_row(row, room.table, k * x, load(room.values, first + x))
            store(room.data, k * channel, add_row(row, room.data, k * channel, one))


@njit
def _place(i, k, terms):
    """Where the i-th linear term stands among the functions: the offset's is the last one."""
    return i if i < terms else k - 1


@njit
def _forward(values, n, factor):
    """Solve L y = scaled values in place: `factor` holds n scales, then L row by row, its diagonal inverted."""
    for i in range(n):
        value = load(values, i) * load(factor, i)
        for j in range(i):
            value = value - load(factor, n + n * i + j) * load(values, j)
        store(values, i, value * load(factor, n + n * i + i))


@njit
def _project(room, k, linear):
    """Every channel's amplitudes by least squares; the sum of squares that they explain."""
    n, factor, gram, answer = room.terms + 1, room.factor, room.gram, room.left
    for i in range(n):
        at = _place(i, k, room.terms)
        store(factor, i, 1.0 / sqrt(maximum(load(gram, k * at + at), 1e-300)))
    for i in range(n):
        at, pivot = _place(i, k, room.terms), broadcast(1.0)
        for j in range(i):
            value = load(gram, k * at + _place(j, k, room.terms)) * load(factor, i) * load(factor, j)
            for m in range(j):
                value = value - load(factor, n + n * i + m) * load(factor, n + n * j + m)
            value = value * load(factor, n + n * j + j)
            store(factor, n + n * i + j, value)
            pivot = pivot - value * value
        store(factor, n + n * i + i, 1.0 / sqrt(maximum(pivot, DEPENDENT)))
    explained = broadcast(0.0)
    for channel in range(room.channels):
        for i in range(n):
            store(answer, i, load(room.data, k * channel + _place(i, k, room.terms)))
        _forward(answer, n, factor)
        for i in range(n):
            explained = explained + load(answer, i) * load(answer, i)
        for back in range(n):
            i = n - 1 - back
            value = load(answer, i)
            for j in range(i + 1, n):
                value = value - load(factor, n + n * j + i) * load(answer, j)
            store(answer, i, value * load(factor, n + n * i + i))
        for i in range(n):
            store(linear, channel * n + i, load(answer, i) * load(factor, i))
    return explained


@njit
def amplitudes(room, masked, p, linear):
    """Every channel's amplitudes at p."""
    _sum(room, masked, _constants(room, p), p)
    _project(room, len(_blank(room)), linear)


@njit
def _derive(room, k, constants, p, linear, channel):
    """Coefficients of one channel's derivatives in the functions, and their products with all functions (`work`)."""
    _chain(room, constants, p, linear, channel * (room.terms + 1))
    for i in range(room.parameters):
        for m in range(k):
            total = broadcast(0.0)
            for j in range(k):
                total = total + load(room.chain, k * i + j) * load(room.gram, k * j + m)
            store(room.work, k * i + m, total)


@njit
def equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares explained at p, the amplitudes, and the normal equations of a step in the Kaufman form."""
    constants, k, n, q = _constants(room, p), len(_blank(room)), room.terms + 1, room.parameters
    _sum(room, masked, constants, p)
    explained = _project(room, k, linear)
    for i in range(q):
        store(gradient, i, 0.0)
        for j in range(i + 1):
            store(hessian, q * i + j, 0.0)
    for channel in range(room.channels):
        _derive(room, k, constants, p, linear, channel)
        for m in range(k):  # what the amplitudes leave of the map, times each function
            total = load(room.data, k * channel + m)
            for i in range(n):
                total = total - load(room.gram, k * m + _place(i, k, room.terms)) * load(linear, channel * n + i)
            store(room.left, m, total)
        for i in range(q):
            for j in range(n):
                value = load(room.work, k * i + _place(j, k, room.terms)) * load(room.factor, j)
                for m in range(j):
                    value = value - load(room.factor, n + n * j + m) * load(room.span, n * i + m)
                store(room.span, n * i + j, value * load(room.factor, n + n * j + j))
            total = load(gradient, i)
            for m in range(k):
                total = total + load(room.chain, k * i + m) * load(room.left, m)
            store(gradient, i, total)
            for j in range(i + 1):
                total = load(hessian, q * i + j)
                for m in range(k):
                    total = total + load(room.work, k * i + m) * load(room.chain, k * j + m)
                for m in range(n):
                    total = total - load(room.span, n * i + m) * load(room.span, n * j + m)
                store(hessian, q * i + j, total)
    return explained


@njit
def describe(room, masked, p, linear, total):
    """Information matrix of all fitted numbers into `total`; the residual sum of squares, pixel by pixel."""
    constants, k, n, q = _constants(room, p), len(_blank(room)), room.terms + 1, room.parameters
    size = q + room.channels * n
    _sum(room, masked, constants, p)
    for i in range(size * size):
        store(total, i, 0.0)
    for channel in range(room.channels):
        _derive(room, k, constants, p, linear, channel)
        first = q + channel * n
        for i in range(q):
            for j in range(q):
                value = load(total, size * i + j)
                for m in range(k):
                    value = value + load(room.work, k * i + m) * load(room.chain, k * j + m)
                store(total, size * i + j, value)
            for j in range(n):
                value = load(room.work, k * i + _place(j, k, room.terms))
                store(total, size * i + first + j, value)
                store(total, size * (first + j) + i, value)
        for i in range(n):
            for j in range(n):
                at = k * _place(i, k, room.terms) + _place(j, k, room.terms)
                store(total, size * (first + i) + first + j, load(room.gram, at))
    squares = broadcast(0.0)
    for y in range(room.height):
        _fill_table(room, masked, constants, p, y)
        for channel in range(room.channels):
            first = (channel * room.height + y) * room.width
            for x in range(room.width):
                miss = load(room.values, first + x)
                for i in range(n):
                    miss = miss - load(linear, channel * n + i) * load(room.table, k * x + _place(i, k, room.terms))
                squares = squares + miss * miss
    return squares
