"""The compiled Gabor engine: eight fits side by side in the lanes of one vector unit.

Variable projection leaves six parameters per map (x0, y0, carrier direction, frequency, log sigma_x, log sigma_y); the
amplitudes of the even and odd part and the offset follow linearly. Modulo the span of these three, the derivative of
a Gabor is spanned by {dx, dy, dx², dx·dy, dy²}·G and {dx, dy}·G', so a Levenberg-Marquardt step needs no Jacobian but
only moments of the envelope and of its square (Golub & Pereyra 1973, doi:10.1137/0710036; Kaufman 1975,
doi:10.1007/BF01932995). Each lane carries one map through its own starts and takes the next map when done, so no
lane waits for another, and a map's result does not depend on its neighbors or on the number of workers.

Every jitted function of the project is in this file, because Numba's disk cache sees changes in this file only.
"""

from __future__ import annotations

import math
import operator
from collections import namedtuple
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from rfcompare.errors import InputError

# --------------------------------------------------------------------------------------------------------------------
# Vectors of eight numbers as a Numba type. LLVM maps them to one AVX-512, two AVX2 or four SSE/NEON registers.

WIDTH = 8


class _Lanes(types.Type):
    """Eight float64 numbers, one per fit."""

    def __init__(self):
        super().__init__(name=f"Lanes{WIDTH}")


class _Mask(types.Type):
    """Eight truth values, one per fit."""

    def __init__(self):
        super().__init__(name=f"Mask{WIDTH}")


_LANES, _MASK = _Lanes(), _Mask()
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_VECTOR, _BITS = ir.VectorType(ir.DoubleType(), WIDTH), ir.VectorType(_INT64, WIDTH)
# A product and a sum may become one fused operation; nothing may be reordered, so that results are repeatable.
_FLAGS = ("contract", "nsz")


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), WIDTH))


def _as_lanes(context, builder, value, kind):
    if isinstance(kind, _Lanes):
        return value
    value = context.cast(builder, value, kind, types.float64)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT32, WIDTH), [0] * WIDTH))


def _define(operation, build, result, accepts=_Lanes):
    """Let `operation` take lanes on either side, the other side being lanes or a number (masks: both sides)."""

    @type_callable(operation)
    def infer(context):
        return lambda left, right: result if isinstance(left, accepts) or isinstance(right, accepts) else None

    @lower_builtin(operation, accepts, types.Any)
    @lower_builtin(operation, types.Any, accepts)
    @lower_builtin(operation, accepts, accepts)
    def codegen(context, builder, signature, args):
        if accepts is _Lanes:
            args = [_as_lanes(context, builder, v, k) for v, k in zip(args, signature.args, strict=True)]
        return build(builder, *args)


_define(operator.add, lambda builder, a, b: builder.fadd(a, b, flags=_FLAGS), _LANES)
_define(operator.sub, lambda builder, a, b: builder.fsub(a, b, flags=_FLAGS), _LANES)
_define(operator.mul, lambda builder, a, b: builder.fmul(a, b, flags=_FLAGS), _LANES)
_define(operator.truediv, lambda builder, a, b: builder.fdiv(a, b, flags=_FLAGS), _LANES)
_define(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), _MASK)
_define(operator.le, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), _MASK)
_define(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), _MASK)
_define(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), _MASK)
_define(operator.and_, lambda builder, a, b: builder.and_(a, b), _MASK, _Mask)
_define(operator.or_, lambda builder, a, b: builder.or_(a, b), _MASK, _Mask)


def _pointer(context, builder, signature, args, which, shift=0):
    """Address of lanes number args[which + 1] + shift of the array args[which]."""
    data = cgutils.create_struct_proxy(signature.args[which])(context, builder, value=args[which]).data
    index = context.cast(builder, args[which + 1], signature.args[which + 1], types.int64)
    index = builder.add(index, ir.Constant(_INT64, shift))
    return builder.bitcast(builder.gep(data, [builder.mul(index, ir.Constant(_INT64, WIDTH))]), _VECTOR.as_pointer())


@intrinsic
def _load(typing_context, array, index):
    """Lanes number `index` of an aligned array."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature, args, 0), align=8 * WIDTH)

    return _LANES(array, index), codegen


@intrinsic
def _store(typing_context, array, index, value):
    """Write lanes (or a tuple of them, one after the other) from number `index` on."""

    def codegen(context, builder, signature, args):
        if isinstance(value, types.BaseTuple):
            parts = [(builder.extract_value(args[2], i), kind) for i, kind in enumerate(value)]
        else:
            parts = [(args[2], value)]
        for i, (part, kind) in enumerate(parts):
            address = _pointer(context, builder, signature, args, 0, i)
            builder.store(_as_lanes(context, builder, part, kind), address, align=8 * WIDTH)
        return context.get_dummy_value()

    return types.none(array, index, value), codegen


@intrinsic(prefer_literal=True)
def _zeros(typing_context, n):
    """A tuple of n lanes, all zero; n is a number in the source."""
    kind = types.UniTuple(_LANES, n.literal_value)
    return kind(n), lambda context, builder, signature, args: cgutils.get_null_value(context.get_value_type(kind))


@intrinsic
def _add_row(typing_context, totals, array, index, factor):
    """totals[i] + factor · lanes number index + i of the array, for all i."""

    def codegen(context, builder, signature, args):
        result = args[0]
        for i in range(totals.count):
            row = builder.load(_pointer(context, builder, signature, args, 1, i), align=8 * WIDTH)
            total = builder.fadd(
                builder.extract_value(result, i), builder.fmul(row, args[3], flags=_FLAGS), flags=_FLAGS
            )
            result = builder.insert_value(result, total, i)
        return result

    return totals(totals, array, index, factor), codegen


@intrinsic
def _add_powers(typing_context, totals, value, d):
    """totals[i] + value · d^i, for all i."""

    def codegen(context, builder, signature, args):
        result, value, d = args
        for i in range(totals.count):
            result = builder.insert_value(
                result, builder.fadd(builder.extract_value(result, i), value, flags=_FLAGS), i
            )
            value = builder.fmul(value, d, flags=_FLAGS)
        return result

    return totals(totals, value, d), codegen


@intrinsic
def _where(typing_context, mask, yes, no):
    """Lane by lane, `yes` where the mask is set, else `no`."""

    def codegen(context, builder, signature, args):
        yes, no = (_as_lanes(context, builder, args[i], signature.args[i]) for i in (1, 2))
        return builder.select(args[0], yes, no)

    return _LANES(mask, yes, no), codegen


@intrinsic
def _lanes(typing_context, number):
    """A number in every lane."""

    def codegen(context, builder, signature, args):
        return _as_lanes(context, builder, args[0], signature.args[0])

    return _LANES(number), codegen


def _unary(name):
    @intrinsic
    def apply(typing_context, value):
        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f64"), args)

        return _LANES(value), codegen

    return apply


_sqrt, _abs, _floor = _unary("sqrt"), _unary("fabs"), _unary("floor")


@intrinsic
def _times_two_to(typing_context, value, shifted):
    """value · 2^k, where k was added to 1.5 · 2^52 and so stands in the low bits of `shifted`."""

    def codegen(context, builder, signature, args):
        value, k = (builder.bitcast(arg, _BITS) for arg in args)
        k = builder.shl(k, ir.Constant(_BITS, [52] * WIDTH))
        return builder.bitcast(builder.add(value, k), _VECTOR)

    return _LANES(value, shifted), codegen


def _extreme(comparison):
    @intrinsic
    def apply(typing_context, left, right):
        def codegen(context, builder, signature, args):
            a, b = (_as_lanes(context, builder, v, k) for v, k in zip(args, signature.args, strict=True))
            return builder.select(builder.fcmp_ordered(comparison, a, b), a, b)

        return _LANES(left, right), codegen

    return apply


_max, _min = _extreme(">"), _extreme("<")


@njit
def _exp(x):
    """e^x to the last place or so; 0 below e^-700."""
    bounded = _max(x, -700.0)
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
    return _where(x < -700.0, 0.0, _times_two_to(p, shifted))


@njit
def _cos_sin(x):
    """Cosine and sine, to the last place or so for |x| up to some thousands."""
    k = _floor(x * (2 / math.pi) + 0.5)
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
    quadrant = k - 4.0 * _floor(k * 0.25)
    odd = quadrant - 2.0 * _floor(quadrant * 0.5) > 0.5
    c, s = _where(odd, sin, cos), _where(odd, cos, sin)
    c = _where((quadrant > 0.5) & (quadrant < 2.5), 0.0 - c, c)
    return c, _where(quadrant > 1.5, 0.0 - s, s)


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
    _store(room.count, 0, 1.0)
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
    cos, sin = _cos_sin(_load(p, 2))
    along, across = 0.5 * _exp(-2.0 * _load(p, 4)), 0.5 * _exp(-2.0 * _load(p, 5))
    a = cos * cos * along + sin * sin * across
    b = 2.0 * cos * sin * (along - across)
    c = sin * sin * along + cos * cos * across
    k = 2.0 * math.pi * _load(p, 3)
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
        _store(out, 5 * i, (i - origin, cos, sin, cos * cos - sin * sin, 2.0 * cos * sin))
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@njit
def _moments(room, masked, p):
    """The moments at parameters p.

    moments[9 kind + 3 i + j] for kind = E cos, E sin, z E cos, z E sin and moments[36 + 25 kind + 5 i + j] for kind =
    E², E² cos, E² sin (of the doubled angle) are the sums of kind · dx^i · dy^j; the angle is k·d, about the center.
    """
    height, width, columns, rows, sums, m = room.height, room.width, room.columns, room.rows, room.sums, room.moments
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = _load(p, 0), _load(p, 1)
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
            _store(columns, t, (cos, sin, d * cos, d * sin, d2 * cos, d2 * sin))
            _store(columns, t + 6, (1.0, cos2, sin2, d, d * cos2, d * sin2, d2, d2 * cos2, d2 * sin2))
            _store(columns, t + 15, (d3, d3 * cos2, d3 * sin2, d4, d4 * cos2, d4 * sin2))
            cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin
        for y in range(height):
            dy = _load(rows, 5 * y)
            plain, data, square = _zeros(6), _zeros(6), _zeros(15)
            for first in range(left, right, block):
                dx = first - x0
                envelope = _exp(0.0 - ((a * dx + b * dy) * dx + c * dy * dy))
                ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + b * dy))
                for x in range(first, min(first + block, right)):
                    t, pixel, e = 21 * (x - left), y * width + x, _where(envelope > _NEGLIGIBLE, envelope, 0.0)
                    envelope, ratio = e * ratio, ratio * bend
                    if masked:
                        e = e * _load(room.valid, pixel)
                    plain = _add_row(plain, columns, t, e)
                    data = _add_row(data, columns, t, e * _load(room.values, pixel))
                    square = _add_row(square, columns, t + 6, e * e)
            if left > 0:
                one = _lanes(1.0)
                plain, data = _add_row(plain, sums, 27 * y, one), _add_row(data, sums, 27 * y + 6, one)
                square = _add_row(square, sums, 27 * y + 12, one)
            _store(sums, 27 * y, plain)
            _store(sums, 27 * y + 6, data)
            _store(sums, 27 * y + 12, square)
    for kind in range(2):
        for i in range(3):
            even, odd = _zeros(3), _zeros(3)
            for y in range(height):
                dy, cos, sin = _load(rows, 5 * y), _load(rows, 5 * y + 1), _load(rows, 5 * y + 2)
                t = 27 * y + 6 * kind + 2 * i
                row_cos, row_sin = _load(sums, t), _load(sums, t + 1)
                even = _add_powers(even, cos * row_cos - sin * row_sin, dy)
                odd = _add_powers(odd, sin * row_cos + cos * row_sin, dy)
            _store(m, 18 * kind + 3 * i, even)
            _store(m, 18 * kind + 9 + 3 * i, odd)
    for i in range(5):
        flat, even, odd = _zeros(5), _zeros(5), _zeros(5)
        for y in range(height):
            dy, cos, sin = _load(rows, 5 * y), _load(rows, 5 * y + 3), _load(rows, 5 * y + 4)
            t = 27 * y + 12 + 3 * i
            row_cos, row_sin = _load(sums, t + 1), _load(sums, t + 2)
            flat = _add_powers(flat, _load(sums, t), dy)
            even = _add_powers(even, cos * row_cos - sin * row_sin, dy)
            odd = _add_powers(odd, sin * row_cos + cos * row_sin, dy)
        _store(m, 36 + 5 * i, flat)
        _store(m, 61 + 5 * i, even)
        _store(m, 86 + 5 * i, odd)


@njit
def _screen(room, masked, p):
    """The seven moments (i = j = 0) that the cost alone needs, at the places where `_moments` puts them."""
    height, width, columns, rows, m = room.height, room.width, room.columns, room.rows, room.moments
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = _load(p, 0), _load(p, 1)
    _waves(rows, height, y0, ky)
    _waves(columns, width, x0, kx)
    bend = _exp(-2.0 * a)
    block = _even_parts(width, _BLOCK)
    flat = even = odd = data_even = data_odd = even2 = odd2 = _lanes(0.0)
    for y in range(height):
        dy = _load(rows, 5 * y)
        plain, data, square = _zeros(2), _zeros(2), _zeros(2)
        for first in range(0, width, block):
            dx = first - x0
            envelope = _exp(0.0 - ((a * dx + b * dy) * dx + c * dy * dy))
            ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + b * dy))
            for x in range(first, min(first + block, width)):
                e, pixel = _where(envelope > _NEGLIGIBLE, envelope, 0.0), y * width + x
                envelope, ratio = e * ratio, ratio * bend
                if masked:
                    e = e * _load(room.valid, pixel)
                plain = _add_row(plain, columns, 5 * x + 1, e)
                data = _add_row(data, columns, 5 * x + 1, e * _load(room.values, pixel))
                square = _add_row(square, columns, 5 * x + 3, e * e)
                flat = flat + e * e
        cos, sin = _load(rows, 5 * y + 1), _load(rows, 5 * y + 2)
        even, odd = even + (cos * plain[0] - sin * plain[1]), odd + (sin * plain[0] + cos * plain[1])
        data_even, data_odd = data_even + (cos * data[0] - sin * data[1]), data_odd + (sin * data[0] + cos * data[1])
        cos, sin = _load(rows, 5 * y + 3), _load(rows, 5 * y + 4)
        even2, odd2 = even2 + (cos * square[0] - sin * square[1]), odd2 + (sin * square[0] + cos * square[1])
    for place, total in ((0, even), (9, odd), (18, data_even), (27, data_odd), (36, flat), (61, even2), (86, odd2)):
        _store(m, place, total)


# --------------------------------------------------------------------------------------------------------------------
# Linear algebra on the moments


@njit
def _project(room, linear):
    """Solve for the amplitudes of E cos, E sin and 1; the sum of squares they explain.

    `room.factor` receives the scales and the Cholesky factor of the scaled Gram matrix:
    s0, s1, s2, l00, l10, l11, l20, l21, l22.
    """
    m = room.moments
    flat, even, cross = _load(m, 36), _load(m, 61), 0.5 * _load(m, 86)
    s0 = 1.0 / _sqrt(_max(0.5 * (flat + even), 1e-30))
    s1 = 1.0 / _sqrt(_max(0.5 * (flat - even), 1e-30))
    s2 = 1.0 / _sqrt(_load(room.count, 0))
    least = 1e-13  # nearly dependent columns share one amplitude instead of failing
    l10 = cross * s0 * s1
    l11 = _sqrt(_max(1.0 - l10 * l10, least))
    l20 = _load(m, 0) * s0 * s2
    l21 = (_load(m, 9) * s1 * s2 - l20 * l10) / l11
    l22 = _sqrt(_max(1.0 - l20 * l20 - l21 * l21, least))
    y0 = _load(m, 18) * s0
    y1 = (_load(m, 27) * s1 - l10 * y0) / l11
    y2 = (0.0 - l20 * y0 - l21 * y1) / l22  # the map's mean is zero
    c2 = y2 / l22
    c1 = (y1 - l21 * c2) / l11
    c0 = y0 - l10 * c1 - l20 * c2
    _store(room.factor, 0, (s0, s1, s2, 1.0, l10, l11, l20, l21, l22))
    _store(linear, 0, (c0 * s0, c1 * s1, c2 * s2))
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
    s0, s1, s2, l10 = _load(room.factor, 0), _load(room.factor, 1), _load(room.factor, 2), _load(room.factor, 4)
    l11, l20, l21, l22 = (
        1.0 / _load(room.factor, 5), _load(room.factor, 6), _load(room.factor, 7), 1.0 / _load(room.factor, 8),
    )  # fmt: skip
    a, b, offset = _load(linear, 0), _load(linear, 1), _load(linear, 2)
    mean, difference, ab = 0.5 * (a * a + b * b), 0.5 * (a * a - b * b), a * b
    for k in range(7):
        t = 36 + 5 * _I[k] + _J[k]
        cos_cos, sin_sin = 0.5 * (_load(m, t) + _load(m, t + 25)), 0.5 * (_load(m, t) - _load(m, t + 25))
        cos_sin = 0.5 * _load(m, t + 50)
        t = 3 * _I[k] + _J[k]
        u, v = (a, b) if k < 5 else (b, 0.0 - a)
        c0, c1, c2 = u * cos_cos + v * cos_sin, u * cos_sin + v * sin_sin, u * _load(m, t) + v * _load(m, t + 9)
        data = u * _load(m, t + 18) + v * _load(m, t + 27)
        _store(w, _SLOPE + k, data - c0 * a - c1 * b - c2 * offset)
        c0 = c0 * s0
        c1 = (c1 * s1 - l10 * c0) * l11
        c2 = (c2 * s2 - l20 * c0 - l21 * c1) * l22
        _store(w, _SHARE + 3 * k, (c0, c1, c2))
        for n in range(k + 1):
            t = 36 + 5 * (_I[k] + _I[n]) + _J[k] + _J[n]
            flat, even, odd = _load(m, t), _load(m, t + 25), _load(m, t + 50)
            if k < 5:
                value = mean * flat + difference * even + ab * odd
            elif n < 5:
                value = ab * even - difference * odd
            else:
                value = mean * flat - difference * even - ab * odd
            t = _SHARE + 3 * n
            value = value - c0 * _load(w, t) - c1 * _load(w, t + 1) - c2 * _load(w, t + 2)
            _store(w, 7 * k + n, value)
            _store(w, 7 * n + k, value)
    cos, sin = _cos_sin(_load(p, 2))
    along, across, f = _exp(-2.0 * _load(p, 4)), _exp(-2.0 * _load(p, 5)), _load(p, 3)
    cc, cs, ss, tau = cos * cos, cos * sin, sin * sin, 2.0 * math.pi
    ea, eb, ec = cc * along + ss * across, cs * (along - across), ss * along + cc * across
    turn = (cc - ss) * (along - across)
    _store(w, _CHAIN, (ea, eb, eb, ec, eb, 0.0 - turn, 0.0 - eb, -tau * f * sin, tau * f * cos))
    _store(w, _CHAIN + 9, (tau * cos, tau * sin, cc * along, 2.0 * cs * along, ss * along))
    _store(w, _CHAIN + 14, (ss * across, -2.0 * cs * across, cc * across))
    base = _CHAIN
    for i in range(6):
        total = _lanes(0.0)
        for n in range(_FROM[i], _TO[i]):
            total = total + _load(w, base + n - _FROM[i]) * _load(w, _SLOPE + n)
        _store(gradient, i, total)
        for k in range(7):
            total = _lanes(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + _load(w, base + n - _FROM[i]) * _load(w, 7 * k + n)
            _store(w, _PRODUCT + 7 * i + k, total)
        for j in range(i + 1):
            total = _lanes(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + _load(w, base + n - _FROM[i]) * _load(w, _PRODUCT + 7 * j + n)
            _store(hessian, 6 * i + j, total)
        base += _TO[i] - _FROM[i]


@njit
def _propose(p, hessian, gradient, damping, low, high, matrix, free, trial):
    """Damped, limited and bounded step from p to trial; the decrease of the cost that the local model expects."""
    for i in range(6):
        value, slope = _load(p, i), _load(gradient, i)
        held = ((value <= low[i]) & (slope < 0.0)) | ((value >= high[i]) & (slope > 0.0))
        _store(free, i, _where(held, 0.0, 1.0))
    for i in range(6):
        free_i = _load(free, i)
        pivot = _load(hessian, 7 * i) * (1.0 + damping) + 1e-12
        right = _load(gradient, i) * free_i
        floor = pivot * 1e-14
        for j in range(i):
            value = _load(hessian, 6 * i + j) * free_i * _load(free, j)
            for k in range(j):
                value = value - _load(matrix, 6 * i + k) * _load(matrix, 6 * j + k)
            value = value * _load(matrix, 7 * j)
            _store(matrix, 6 * i + j, value)
            pivot = pivot - value * value
            right = right - value * _load(trial, j)
        root = 1.0 / _sqrt(_max(pivot, floor))
        _store(matrix, 7 * i, root)  # the diagonal is kept inverted
        _store(trial, i, right * root)
    for back in range(6):
        i = 5 - back
        value = _load(trial, i)
        for k in range(i + 1, 6):
            value = value - _load(matrix, 6 * k + i) * _load(trial, k)
        _store(trial, i, value * _load(matrix, 7 * i))
    widest = _exp(_max(_load(p, 4), _load(p, 5)))
    excess = _max(_abs(_load(trial, 2)) * (1 / 0.6), _max(_abs(_load(trial, 4)), _abs(_load(trial, 5))) * (1 / 0.9))
    excess = _max(excess, _max(_abs(_load(trial, 0)), _abs(_load(trial, 1))) / (widest + 0.5))
    scale = 1.0 / _max(excess, 1.0)
    expected = _lanes(0.0)
    for i in range(6):
        value = _load(p, i)
        moved = _min(_max(value + scale * _load(trial, i), low[i]), high[i])
        _store(free, i, moved - value)
        _store(trial, i, moved)
    for i in range(6):
        bent = 0.5 * _load(hessian, 7 * i) * _load(free, i)
        for j in range(i):
            bent = bent + _load(hessian, 6 * i + j) * _load(free, j)
        expected = expected + 2.0 * _load(free, i) * (_load(gradient, i) - bent)
    return expected


# --------------------------------------------------------------------------------------------------------------------
# Starts: where the energy is, the peaks of the windowed spectrum there, a few envelopes for each

_PEAKS = 3
_SHAPES = np.array([[0.6, 0.6], [1.0, 1.0], [1.8, 1.8], [0.7, 1.4], [1.4, 0.7]])
_SLOW = 4  # starts with a fifth of a cycle per sigma, in as many directions: for blobs, edges and short wavelets
N_STARTS = _PEAKS * len(_SHAPES) + _SLOW


@njit
def _middle(values, n, count, spread):
    """Roughly the median: the mean after four rounds of drawing outliers in."""
    center = _lanes(0.0)
    for _ in range(4):
        total = _lanes(0.0)
        for i in range(n):
            total = total + _max(_min(_load(values, i) - center, spread), 0.0 - spread)
        center = center + total / count
    return center


@njit
def _locate(room, masked, taps, energy, smooth):
    """Center and radius of the smoothed energy above its background."""
    height, width = room.height, room.width
    n, reach = height * width, len(taps) - 1
    background = _middle(room.values, n, _load(room.count, 0), _lanes(0.5))
    for i in range(n):
        d = _load(room.values, i) - background
        if masked:
            d = d * _load(room.valid, i)
        _store(energy, i, d * d)
    for y in range(height):
        for x in range(width):
            total = _lanes(0.0)
            for u in range(max(0, x - reach), min(width, x + reach + 1)):
                total = total + taps[abs(u - x)] * _load(energy, y * width + u)
            _store(smooth, y * width + x, total)
    top, total = _lanes(0.0), _lanes(0.0)
    for y in range(height):
        for x in range(width):
            value = _lanes(0.0)
            for u in range(max(0, y - reach), min(height, y + reach + 1)):
                value = value + taps[abs(u - y)] * _load(smooth, u * width + x)
            _store(energy, y * width + x, value)
            top = _max(top, value)
            total = total + value
    level = _max(0.25 * top, _middle(energy, n, _lanes(n), 0.5 * total / n))
    weight = mx = my = mxx = myy = _lanes(0.0)
    for y in range(height):
        for x in range(width):
            w = _max(_load(energy, y * width + x) - level, 0.0)
            weight, mx, my, mxx, myy = weight + w, mx + w * x, my + w * y, mxx + w * (x * x), myy + w * (y * y)
    weight = _max(weight, 1e-30)
    cx, cy = mx / weight, my / weight
    variance = 0.5 * (mxx / weight - cx * cx + myy / weight - cy * cy)
    radius = 1.2 * _sqrt(_max(variance, 0.0))
    return cx, cy, _min(_max(radius, 0.7), 0.4 * max(height, width))


@njit
def _spectrum(room, cx, cy, radius, cosines, sines, windowed, half, power):
    """Power of the map, seen through a window twice as wide as the field, on a grid of carriers.

    2·bins+1 rows and bins+1 columns: ky from -1/2 to 1/2, kx from 0 to 1/2 cycles per pixel.
    """
    height, width, n = room.height, room.width, cosines.shape[0]
    narrow = 0.125 / (radius * radius)
    total, weight = _lanes(0.0), _lanes(0.0)
    for x in range(width):
        _store(half, x, _exp(0.0 - narrow * (x - cx) * (x - cx)))
    for y in range(height):
        row = _exp(0.0 - narrow * (y - cy) * (y - cy))
        for x in range(width):
            w = row * _load(half, x)
            z = w * _load(room.values, y * width + x)
            _store(windowed, 2 * (y * width + x), (z, w))
            total, weight = total + z, weight + w
    level = total / weight
    for i in range(height * width):
        _store(windowed, i, _load(windowed, 2 * i) - level * _load(windowed, 2 * i + 1))
    for y in range(height):
        for k in range(n):
            c, s = _lanes(0.0), _lanes(0.0)
            for x in range(width):
                z = _load(windowed, y * width + x)
                c, s = c + z * cosines[k, x], s + z * sines[k, x]
            _store(half, 2 * (k * height + y), (c, s))
    for k in range(n):
        for q in range(n):
            cc = cs = sc = ss = _lanes(0.0)
            for y in range(height):
                c, s = _load(half, 2 * (k * height + y)), _load(half, 2 * (k * height + y) + 1)
                cc, cs = cc + c * cosines[q, y], cs + c * sines[q, y]
                sc, ss = sc + s * cosines[q, y], ss + s * sines[q, y]
            even, odd = cc - ss, sc + cs
            _store(power, (n - 1 + q) * n + k, even * even + odd * odd)
            even, odd = cc + ss, sc - cs
            _store(power, (n - 1 - q) * n + k, even * even + odd * odd)


@njit
def _candidates(cx, cy, radius, power, bins, size, low, high, peak, candidates):
    """Starts for each lane: `candidates[6 start + parameter]`, those at peaks of the spectrum first."""
    n, step = bins + 1, 0.5 / bins
    for q in range(2 * bins + 1):
        for k in range(n):
            f = math.hypot(k * step, (q - bins) * step)
            if f > 0.5 or f < 0.4 / size:
                _store(power, q * n + k, 0.0)
    start, theta = 0, _lanes(0.0)
    for _ in range(_PEAKS):
        best, kx, ky = _lanes(-1.0), _lanes(0.0), _lanes(0.0)
        for q in range(2 * bins + 1):
            for k in range(n):
                value = _load(power, q * n + k)
                higher = value > best
                best = _where(higher, value, best)
                kx, ky = _where(higher, k * step, kx), _where(higher, (q - bins) * step, ky)
        for q in range(2 * bins + 1):
            dy = (q - bins) * step - ky
            for k in range(n):
                dx = k * step - kx
                near = (dx * dx + dy * dy) * (size * size) < 1.0
                _store(power, q * n + k, _where(near, 0.0, _load(power, q * n + k)))
        _store(peak, 0, (kx, ky))
        for lane in range(WIDTH):
            peak[lane] = math.atan2(peak[WIDTH + lane], peak[lane])
        theta, f = _load(peak, 0), _sqrt(kx * kx + ky * ky)
        for shape in range(len(_SHAPES)):
            _store(candidates, 6 * start, (cx, cy, theta, f, radius * _SHAPES[shape, 0], radius * _SHAPES[shape, 1]))
            start += 1
    for turn in range(_SLOW):
        direction = theta + turn * (math.pi / _SLOW)
        _store(candidates, 6 * start, (cx, cy, direction, 0.1 / radius, 2.0 * radius, 0.8 * radius))
        start += 1
    for start in range(N_STARTS):
        for t in range((6 * start + 4) * WIDTH, (6 * start + 6) * WIDTH):
            candidates[t] = math.log(candidates[t])
        for i in range(6):
            _store(candidates, 6 * start + i, _min(_max(_load(candidates, 6 * start + i), low[i]), high[i]))


@njit(nogil=True, cache=True)
def _find_starts(maps, weights, counts, height, width, low, high, taps, cosines, sines, starts, worth):
    """Blind starts of every map and the sum of squares that each explains as it is."""
    masked, n, bins, size = weights.shape[0] > 0, height * width, cosines.shape[0] - 1, max(height, width)
    room, energy, smooth = _make_room(height, width), _aligned(2 * n), _aligned(n)
    half, power = _aligned(2 * (bins + 1) * height + width), _aligned((bins + 1) * (2 * bins + 1))
    candidates, p, linear, explained = _aligned(6 * N_STARTS), _aligned(6), _aligned(3), _aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        lanes = min(WIDTH, maps.shape[0] - first)
        for lane in range(lanes):
            _fill(room, maps, weights, counts, lane, first + lane)
        cx, cy, radius = _locate(room, masked, taps, energy, smooth)
        _spectrum(room, cx, cy, radius, cosines, sines, energy, half, power)
        _candidates(cx, cy, radius, power, bins, size, low, high, p, candidates)
        for start in range(N_STARTS):
            for i in range(6):
                _store(p, i, _load(candidates, 6 * start + i))
            _screen(room, masked, p)
            _store(explained, 0, _project(room, linear))
            for lane in range(lanes):
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
    """Should more starts be tried: a bound, a lonely minimum, or so few cycles that many minima lie side by side?"""
    for i in range(6):
        if p[i] <= low[i] or p[i] >= high[i]:
            return True
    return n_agree < 2 or p[3] * math.exp(p[4]) < 0.25


@njit(nogil=True, cache=True)
def _search(maps, weights, counts, height, width, low, high, starts, n_starts, settings, out, out_linear, tallies):
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
        _store(expected, 0, _propose(p, hessian, gradient, _load(damping, 0), low, high, matrix, free, trial))
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
        old = _load(cost, 0)
        new = _load(room.count, 0) - explained  # a standardized map's sum of squares is its number of pixels
        new = _where(explained >= 0.0, _max(new, 0.0), np.inf)  # also where it is not a number
        decrease = old - new
        better = decrease > 0.0
        _store(gain, 0, decrease)
        ratio = _where(old < np.inf, 2.0 * decrease / _max(_load(expected, 0), 1e-300) - 1.0, 0.0)
        eased = _where(old < np.inf, _max(1.0 - ratio * ratio * ratio, 0.1), 1.0)
        eased = _max(_load(damping, 0) * eased, 1e-9)
        _store(damping, 0, _where(better, eased, _load(damping, 0) * _load(growth, 0)))
        _store(growth, 0, _where(better, 2.0, 2.0 * _load(growth, 0)))
        _store(cost, 0, _where(better, new, old))
        for i in range(6):
            _store(p, i, _where(better, _load(trial, i), _load(p, i)))
            _store(gradient, i, _where(better, _load(trial_gradient, i), _load(gradient, i)))
            for t in range(6 * i, 7 * i + 1):
                _store(hessian, t, _where(better, _load(trial_hessian, t), _load(hessian, t)))
        for i in range(3):
            _store(linear, i, _where(better, _load(trial_linear, i), _load(linear, i)))
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


@njit(nogil=True, cache=True)
def _inspect(maps, weights, counts, height, width, parameters, linear, cost, information):
    """Residual sum of squares and J'J over x0, y0, theta, frequency, log sigma_x, log sigma_y, a, b, offset."""
    masked, room = weights.shape[0] > 0, _make_room(height, width)
    p, amplitudes, jacobian, total, residual = _aligned(6), _aligned(3), _aligned(9 * width), _aligned(81), _aligned(1)
    for first in range(0, maps.shape[0], WIDTH):
        lanes = min(WIDTH, maps.shape[0] - first)
        for lane in range(lanes):
            _fill(room, maps, weights, counts, lane, first + lane)
            for i in range(6):
                p[i * WIDTH + lane] = parameters[first + lane, i]
            for i in range(3):
                amplitudes[i * WIDTH + lane] = linear[first + lane, i]
        cos, sin = _cos_sin(_load(p, 2))
        along, across, k = _exp(-2.0 * _load(p, 4)), _exp(-2.0 * _load(p, 5)), 2.0 * math.pi * _load(p, 3)
        a, b, offset = _load(amplitudes, 0), _load(amplitudes, 1), _load(amplitudes, 2)
        squares = _lanes(0.0)
        for i in range(81):
            _store(total, i, 0.0)
        for y in range(height):
            dy = y - _load(p, 1)
            for x in range(width):
                dx = x - _load(p, 0)
                u, v = cos * dx + sin * dy, cos * dy - sin * dx
                e, one = _exp(-0.5 * (u * u * along + v * v * across)), _lanes(1.0)
                if masked:
                    one = _load(room.valid, y * width + x)
                    e = e * one
                c, s = _cos_sin(k * u)
                even, odd = e * c, e * s
                g, h = a * even + b * odd, b * even - a * odd
                miss = _load(room.values, y * width + x) - g - offset * one
                squares = squares + miss * miss
                gu, gv = u * along * g - k * h, v * across * g
                _store(jacobian, 9 * x, (cos * gu - sin * gv, sin * gu + cos * gv, u * gv - v * gu))
                _store(jacobian, 9 * x + 3, (2.0 * math.pi * u * h, u * u * along * g, v * v * across * g))
                _store(jacobian, 9 * x + 6, (even, odd, one))
            for i in range(9):
                row = _zeros(9)
                for x in range(width):
                    row = _add_row(row, jacobian, 9 * x, _load(jacobian, 9 * x + i))
                _store(total, 9 * i, _add_row(row, total, 9 * i, _lanes(1.0)))
        _store(residual, 0, squares)
        for lane in range(lanes):
            cost[first + lane] = residual[lane]
            for i in range(9):
                for j in range(9):
                    information[first + lane, i, j] = total[(9 * i + j) * WIDTH + lane]


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _standardize(raw, weights, flat, counts, means, spreads):
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
# NumPy in, NumPy out

CHUNK = 256  # maps in one call of the search: enough to keep the lanes busy, few enough to stay in the cache
_TRIES, _TRIES_IF_DOUBTFUL = 4, 7
_SETTINGS = (1e-7, 60, 6, 1.3)  # tolerance, most steps, steps before a start is judged, factor at which it is given up
_COMPILE_SECONDS = 15.0  # measured on one core at 2.3 GHz

_FLOATS1, _FLOATS2, _FLOATS3 = types.float64[::1], types.float64[:, ::1], types.float64[:, :, ::1]
_ENTRIES = {
    _standardize: (*(_FLOATS2,) * 3, *(_FLOATS1,) * 3),
    _find_starts: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS1,) * 3, *(_FLOATS2,) * 2, _FLOATS3, _FLOATS2,
    ),
    _search: (
        *(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS1,) * 2, _FLOATS3, types.int64[::1],
        types.Tuple((types.float64, types.int64, types.int64, types.float64, types.int64)),
        *(_FLOATS2,) * 2, types.int64[:, ::1],
    ),
    _inspect: (*(_FLOATS2,) * 2, _FLOATS1, *(types.int64,) * 2, *(_FLOATS2,) * 2, _FLOATS1, _FLOATS3),
}  # fmt: skip


@dataclass(frozen=True)
class CompiledFit:
    """What the engine found, one row per map; coordinates in pixels, row 0 lowest.

    Attributes
    ----------
    parameters : ndarray (n, 6)
        x0, y0, theta (direction of the carrier, radians), frequency (cycles per pixel), sigma_x, sigma_y.
    linear : ndarray (n, 3)
        a, b, offset of the model a·E·cos(u) + b·E·sin(u) + offset, with E the envelope and u = 2π·frequency·(distance
        from the center along theta).
    cost : ndarray (n,)
        Residual sum of squares, computed afresh from the final parameters.
    information : ndarray (n, 9, 9)
        J'J of the model with respect to `parameters` and `linear`, in this order.
    n_agree, n_evaluations : ndarray (n,) of int
        Starts that reached the best minimum; evaluations of the model in all.
    at_bound : ndarray (n,) of int
        Bit i is set when parameter i sits at its lower bound, bit 6 + i when at its upper bound.
    converged : ndarray (n,) of bool
        False where the search ran out of steps or the map has nothing to fit (constant, or fewer than three pixels).
    """

    parameters: np.ndarray
    linear: np.ndarray
    cost: np.ndarray
    information: np.ndarray
    n_agree: np.ndarray
    n_evaluations: np.ndarray
    at_bound: np.ndarray
    converged: np.ndarray


def is_warm() -> bool:
    """Whether `fit_gabor` runs at once: compiled in this process or by an earlier one on this machine."""
    try:
        return all(
            function.signatures
            or function._cache._index_key(signature, function.targetctx.codegen())
            in function._cache._cache_file._load_index()
            for function, signature in _ENTRIES.items()
        )
    except (AttributeError, OSError):  # another Numba, or nowhere to keep a cache
        return False


def estimated_seconds(n: int, height: int, width: int) -> float:
    """Rough time that `fit_gabor` takes for n maps, with the compilation where that is still to be done."""
    return n * (5e-6 + 1.5e-7 * height * width) + (0.0 if is_warm() else _COMPILE_SECONDS)


def _order(worth):
    """The best start at a peak, the best slow one, two more at peaks, the other slow ones, the rest."""
    n_peaks = N_STARTS - _SLOW
    peaks, slow = np.argsort(-worth[:, :n_peaks], 1), n_peaks + np.argsort(-worth[:, n_peaks:], 1)
    return np.concatenate((peaks[:, :1], slow[:, :1], peaks[:, 1:3], slow[:, 1:], peaks[:, 3:]), 1)


def _fit_chunk(maps, mask, low, high, seed_starts, thorough):
    n, height, width = maps.shape
    size, raw = max(height, width), np.ascontiguousarray(maps, float).reshape(n, -1)
    if mask is None and not np.isfinite(raw).all():
        mask = np.isfinite(raw)
    weights = np.zeros((0, 0)) if mask is None else np.ascontiguousarray(mask, float).reshape(n, -1)
    flat, counts, mean, spread = np.empty_like(raw), np.empty(n), np.empty(n), np.empty(n)
    _standardize(raw, weights, flat, counts, mean, spread)
    if seed_starts is None:
        bins = min(max(size, 8), 32)
        angle = np.outer(np.arange(bins + 1) * (np.pi / bins), np.arange(size))
        taps = np.exp(-0.5 * (np.arange(math.ceil(0.18 * size) + 1) / (0.06 * size)) ** 2)
        taps /= 2 * taps.sum() - taps[0]
        starts, worth = np.empty((n, N_STARTS, 6)), np.empty((n, N_STARTS))
        _find_starts(flat, weights, counts, height, width, low, high, taps, np.cos(angle), np.sin(angle), starts, worth)
        starts = np.take_along_axis(starts, _order(worth)[:, :, None], 1)
        tries, most = (N_STARTS, N_STARTS) if thorough else (_TRIES, _TRIES_IF_DOUBTFUL)
    else:
        starts = np.array(seed_starts, float)
        starts[:, :, 4:] = np.log(starts[:, :, 4:])
        starts = np.clip(starts, low, high)
        tries = most = starts.shape[1]
    n_starts = np.where(spread > 0, most, 1)
    parameters, linear, cost = np.zeros((n, 6)), np.zeros((n, 3)), np.empty(n)
    tallies, information = np.zeros((n, 3), np.int64), np.empty((n, 9, 9))
    settings = (*_SETTINGS, tries)
    _search(flat, weights, counts, height, width, low, high, starts, n_starts, settings, parameters, linear, tallies)
    _inspect(flat, weights, counts, height, width, parameters, linear, cost, information)
    bits = 1 << np.arange(6)
    at_bound = ((parameters <= low) @ bits) + ((parameters >= high) @ bits << 6)
    parameters[:, 4:] = np.exp(parameters[:, 4:])
    scale = np.repeat(spread[:, None], 9, 1)
    scale[:, 4:6] /= parameters[:, 4:]
    scale[:, 6:] = 1.0
    information *= scale[:, :, None] * scale[:, None, :]
    linear *= spread[:, None]
    linear[:, 2] += mean
    converged = (spread > 0) & (tallies[:, 2] > 0)
    return CompiledFit(
        parameters, linear, cost * spread**2, information, tallies[:, 0], tallies[:, 1], at_bound, converged
    )


def fit_gabor(
    maps: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    low: np.ndarray,
    high: np.ndarray,
    seed_starts: np.ndarray | None = None,
    thorough: bool = False,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> CompiledFit:
    """Fit a Gabor to every map.

    Parameters
    ----------
    maps : ndarray (n, height, width)
        Row 0 is the lowest y; coordinates are column and row numbers.
    mask : ndarray of bool (n, height, width), optional
        True where a pixel was measured; by default, where it is finite.
    low, high : ndarray (6,)
        Bounds of x0, y0, theta, frequency, sigma_x, sigma_y in pixels.
    seed_starts : ndarray (n, k, 6), optional
        Parameters to start from instead of the blind starts; all k are tried.
    thorough : bool
        Try every blind start on every map, not only where the first few leave a doubt.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of maps done after each chunk, from the thread that did it.

    Raises
    ------
    InputError
        If `maps` is not three-dimensional or `mask` has another shape.
    """
    if maps.ndim != 3:
        raise InputError(f"expected maps of shape (n, height, width), got {maps.shape}; add the missing axis.")
    if mask is not None and mask.shape != maps.shape:
        raise InputError(
            f"expected a mask of the maps' shape {maps.shape}, got {mask.shape}; give one value per pixel."
        )
    low, high = np.array(low, float), np.array(high, float)
    low[4:], high[4:] = np.log(low[4:]), np.log(high[4:])

    def run(first):
        part = slice(first, first + CHUNK)
        seeds, measured = (None if x is None else x[part] for x in (seed_starts, mask))
        done = _fit_chunk(maps[part], measured, low, high, seeds, thorough)
        if progress is not None:
            progress(len(done.cost))
        return done

    firsts = range(0, max(len(maps), 1), CHUNK)
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            chunks = list(pool.map(run, firsts))
    else:
        chunks = [run(first) for first in firsts]
    return CompiledFit(
        *(np.concatenate([getattr(c, name) for c in chunks]) for name in CompiledFit.__dataclass_fields__)
    )
