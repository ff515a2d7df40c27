"""The compiled Gabor engine: eight fits side by side in the lanes of one vector unit.

Variable projection leaves six parameters per map (x0, y0, carrier direction, frequency, log sigma_x, log sigma_y); the
amplitudes of the even and odd part and the offset follow linearly. Modulo the span of these three, the derivative of
a Gabor is spanned by {dx, dy, dx², dx·dy, dy²}·G and {dx, dy}·G', so a Levenberg-Marquardt step needs no Jacobian but
only 57 moments of the envelope and of its square (Golub & Pereyra 1973, doi:10.1137/0710036; Kaufman 1975,
doi:10.1007/BF01932995). Each lane carries one map through its own starts and takes the next map when done, so no
lane waits for another, and a map's result does not depend on its neighbors or on the number of workers.

Every jitted function of the project is in this file, because Numba's disk cache sees changes in this file only.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

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
_INT32, _INT64, _DOUBLE = ir.IntType(32), ir.IntType(64), ir.DoubleType()
_VECTOR, _BITS = ir.VectorType(_DOUBLE, WIDTH), ir.VectorType(_INT64, WIDTH)


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, _VECTOR)


@register_model(_Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(ir.IntType(1), WIDTH))


def _as_lanes(context, builder, value, kind):
    if isinstance(kind, _Lanes):
        return value
    value = context.cast(builder, value, kind, types.float64)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INT32, 0))
    return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(_INT32, WIDTH), [0] * WIDTH))


def _define_arithmetic(operation, build, result):
    """Let `operation` take lanes on either side, the other side being lanes or a number."""

    @intrinsic
    def apply(typing_context, left, right):
        def generate(context, builder, signature, args):
            a, b = (_as_lanes(context, builder, v, k) for v, k in zip(args, signature.args, strict=True))
            return build(builder, a, b)

        return result(left, right), generate

    @overload(operation)
    def overloaded(left, right):
        if isinstance(left, _Lanes) or isinstance(right, _Lanes):
            return lambda left, right: apply(left, right)
        return None


# "contract" lets a product and a sum become one fused operation; nothing may be reordered, so results are repeatable.
for _operation, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define_arithmetic(
        _operation, lambda builder, a, b, n=_name: getattr(builder, n)(a, b, flags=("contract", "nsz")), _LANES
    )
for _operation, _name in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _define_arithmetic(_operation, lambda builder, a, b, n=_name: builder.fcmp_ordered(n, a, b), _MASK)


def _define_logic(operation, name):
    @intrinsic
    def apply(typing_context, left, right):
        def generate(context, builder, signature, args):
            return getattr(builder, name)(*args)

        return _MASK(left, right), generate

    @overload(operation)
    def overloaded(left, right):
        if isinstance(left, _Mask) and isinstance(right, _Mask):
            return lambda left, right: apply(left, right)
        return None


_define_logic(operator.and_, "and_")
_define_logic(operator.or_, "or_")


def _pointer(context, builder, signature, args):
    array = cgutils.create_struct_proxy(signature.args[0])(context, builder, value=args[0])
    index = context.cast(builder, args[1], signature.args[1], types.int64)
    address = builder.gep(array.data, [builder.mul(index, ir.Constant(_INT64, WIDTH))])
    return builder.bitcast(address, _VECTOR.as_pointer())


@intrinsic
def _load(typing_context, array, index):
    """Lanes number `index` of an aligned array."""

    def generate(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature, args), align=8 * WIDTH)

    return _LANES(array, index), generate


@intrinsic
def _store(typing_context, array, index, value):
    """Write lanes number `index` of an aligned array."""

    def generate(context, builder, signature, args):
        value = _as_lanes(context, builder, args[2], signature.args[2])
        builder.store(value, _pointer(context, builder, signature, args), align=8 * WIDTH)
        return context.get_dummy_value()

    return types.none(array, index, value), generate


@intrinsic
def _where(typing_context, mask, yes, no):
    """Lane by lane, `yes` where the mask is set, else `no`."""

    def generate(context, builder, signature, args):
        yes, no = (_as_lanes(context, builder, args[i], signature.args[i]) for i in (1, 2))
        return builder.select(args[0], yes, no)

    return _LANES(mask, yes, no), generate


@intrinsic
def _lanes(typing_context, number):
    """A number in every lane."""
    return _LANES(number), lambda context, builder, signature, args: _as_lanes(
        context, builder, args[0], signature.args[0]
    )


def _unary(name):
    @intrinsic
    def apply(typing_context, value):
        def generate(context, builder, signature, args):
            kind = ir.FunctionType(_VECTOR, [_VECTOR])
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{WIDTH}f64"), args)

        return _LANES(value), generate

    return apply


_sqrt, _abs, _floor = _unary("sqrt"), _unary("fabs"), _unary("floor")


@intrinsic
def _times_two_to(typing_context, value, shifted):
    """value · 2^k, where k was added to 1.5 · 2^52 and so stands in the low bits of `shifted`."""

    def generate(context, builder, signature, args):
        value, k = (builder.bitcast(arg, _BITS) for arg in args)
        k = builder.shl(k, ir.Constant(_BITS, [52] * WIDTH))
        return builder.bitcast(builder.add(value, k), _VECTOR)

    return _LANES(value, shifted), generate


@njit(inline="always")
def _max(a, b):
    return _where(a > b, a, b)


@njit(inline="always")
def _min(a, b):
    return _where(a < b, a, b)


@njit
def _exp(x):
    """e^x to about 2 units in the last place; 0 below e^-700."""
    under = x < -700.0
    x = _max(x, _lanes(-700.0))
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    k = shifted - 6755399441055744.0
    r = (x - k * 0.693145751953125) - k * 1.42860682030941723212e-6
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
    return _where(under, 0.0, _times_two_to(p, shifted))


@njit
def _cos_sin(x):
    """Cosine and sine for |x| up to some thousands."""
    k = _floor(x * (2 / math.pi) + 0.5)
    r = (x - k * 1.5707963267341256) - k * 6.077100506506192e-11
    s = r * r
    sin = (
        (
            (
                (
                    ((s * 1.58962301576546568060e-10 - 2.50507477628578072866e-8) * s + 2.75573136213857245213e-6) * s
                    - 1.98412698295895385996e-4
                )
                * s
                + 8.33333333332211858878e-3
            )
            * s
            - 1.66666666666666307295e-1
        )
        * s
    ) * r + r
    cos = (
        (
            (
                (
                    ((s * -1.13585365213876817300e-11 + 2.08757008419747316778e-9) * s - 2.75573141792967388112e-7) * s
                    + 2.48015872888517045348e-5
                )
                * s
                - 1.38888888888730564116e-3
            )
            * s
            + 4.16666666666665929218e-2
        )
        * s
        - 0.5
    ) * s + 1.0
    quadrant = k - 4.0 * _floor(k * 0.25)
    odd = (quadrant - 2.0 * _floor(quadrant * 0.5)) > 0.5
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
# Sums over pixels. Pixel tables hold one value per lane, `values[pixel]`; x is the column, y the row, dx = x - x0.

_BLOCK = 12  # pixels along which the envelope is continued by recurrence before the exponential is taken afresh


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
def _waves(out, n, stride, origin, k):
    """Fill d, cos kd, sin kd, cos 2kd, sin 2kd for d = 0 … n-1 minus origin, by rotation."""
    cos, sin = _cos_sin(0.0 - k * origin)
    turn_cos, turn_sin = _cos_sin(k)
    for i in range(n):
        _store(out, i * stride, i - origin)
        _store(out, i * stride + 1, cos)
        _store(out, i * stride + 2, sin)
        _store(out, i * stride + 3, cos * cos - sin * sin)
        _store(out, i * stride + 4, 2.0 * cos * sin)
        cos, sin = cos * turn_cos - sin * turn_sin, sin * turn_cos + cos * turn_sin


@njit
def _moments(values, valid, masked, p, height, width, columns, rows, sums, m):
    """The 57 moments at parameters p.

    m[9 kind + 3 i + j] for kind = E cos, E sin, z E cos, z E sin and m[36 + 25 kind + 5 i + j] for kind = E², E² cos,
    E² sin (of the doubled angle) are the sums of kind · dx^i · dy^j; the angle is k·d, about the center.
    """
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = _load(p, 0), _load(p, 1)
    _waves(rows, height, 5, y0, ky)
    _waves(columns, width, 21, x0, kx)
    for x in range(width):
        t = 21 * x
        d, cos, sin, cos2, sin2 = (
            _load(columns, t),
            _load(columns, t + 1),
            _load(columns, t + 2),
            _load(columns, t + 3),
            _load(columns, t + 4),
        )
        power = _lanes(1.0)
        for i in range(3):
            _store(columns, t + 2 * i, power * cos)
            _store(columns, t + 2 * i + 1, power * sin)
            power = power * d
        power = _lanes(1.0)
        for i in range(5):
            _store(columns, t + 6 + 3 * i, power)
            _store(columns, t + 7 + 3 * i, power * cos2)
            _store(columns, t + 8 + 3 * i, power * sin2)
            power = power * d
    bend = _exp(-2.0 * a)
    for y in range(height):
        dy = _load(rows, 5 * y)
        slope, level = b * dy, c * dy * dy
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = s12 = s13 = _lanes(0.0)
        s14 = s15 = s16 = s17 = s18 = s19 = s20 = s21 = s22 = s23 = s24 = s25 = s26 = _lanes(0.0)
        for first in range(0, width, _BLOCK):
            dx = first - x0
            envelope = _exp(0.0 - ((a * dx + slope) * dx + level))
            ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + slope))
            for x in range(first, min(first + _BLOCK, width)):
                t = 21 * x
                e = envelope
                if masked:
                    e = e * _load(valid, y * width + x)
                z = e * _load(values, y * width + x)
                e2 = e * e
                envelope = envelope * ratio
                ratio = ratio * bend
                w = _load(columns, t)
                s0, s6 = s0 + e * w, s6 + z * w
                w = _load(columns, t + 1)
                s1, s7 = s1 + e * w, s7 + z * w
                w = _load(columns, t + 2)
                s2, s8 = s2 + e * w, s8 + z * w
                w = _load(columns, t + 3)
                s3, s9 = s3 + e * w, s9 + z * w
                w = _load(columns, t + 4)
                s4, s10 = s4 + e * w, s10 + z * w
                w = _load(columns, t + 5)
                s5, s11 = s5 + e * w, s11 + z * w
                s12 = s12 + e2
                s13 = s13 + e2 * _load(columns, t + 7)
                s14 = s14 + e2 * _load(columns, t + 8)
                s15 = s15 + e2 * _load(columns, t + 9)
                s16 = s16 + e2 * _load(columns, t + 10)
                s17 = s17 + e2 * _load(columns, t + 11)
                s18 = s18 + e2 * _load(columns, t + 12)
                s19 = s19 + e2 * _load(columns, t + 13)
                s20 = s20 + e2 * _load(columns, t + 14)
                s21 = s21 + e2 * _load(columns, t + 15)
                s22 = s22 + e2 * _load(columns, t + 16)
                s23 = s23 + e2 * _load(columns, t + 17)
                s24 = s24 + e2 * _load(columns, t + 18)
                s25 = s25 + e2 * _load(columns, t + 19)
                s26 = s26 + e2 * _load(columns, t + 20)
        t = 27 * y
        for i, s in enumerate(
            (
                s0,
                s1,
                s2,
                s3,
                s4,
                s5,
                s6,
                s7,
                s8,
                s9,
                s10,
                s11,
                s12,
                s13,
                s14,
                s15,
                s16,
                s17,
                s18,
                s19,
                s20,
                s21,
                s22,
                s23,
                s24,
                s25,
                s26,
            )
        ):
            _store(sums, t + i, s)
    for kind in range(2):
        for i in range(3):
            even0 = even1 = even2 = odd0 = odd1 = odd2 = _lanes(0.0)
            for y in range(height):
                dy, cos, sin = _load(rows, 5 * y), _load(rows, 5 * y + 1), _load(rows, 5 * y + 2)
                row_cos, row_sin = _load(sums, 27 * y + 6 * kind + 2 * i), _load(sums, 27 * y + 6 * kind + 2 * i + 1)
                even, odd = cos * row_cos - sin * row_sin, sin * row_cos + cos * row_sin
                even0, odd0 = even0 + even, odd0 + odd
                even, odd = even * dy, odd * dy
                even1, odd1 = even1 + even, odd1 + odd
                even2, odd2 = even2 + even * dy, odd2 + odd * dy
            t = 18 * kind + 3 * i
            for j, s in enumerate((even0, even1, even2)):
                _store(m, t + j, s)
            for j, s in enumerate((odd0, odd1, odd2)):
                _store(m, t + 9 + j, s)
    for i in range(5):
        flat0 = flat1 = flat2 = flat3 = flat4 = even0 = even1 = even2 = even3 = even4 = _lanes(0.0)
        odd0 = odd1 = odd2 = odd3 = odd4 = _lanes(0.0)
        for y in range(height):
            dy, cos, sin = _load(rows, 5 * y), _load(rows, 5 * y + 3), _load(rows, 5 * y + 4)
            flat, row_cos, row_sin = (
                _load(sums, 27 * y + 12 + 3 * i),
                _load(sums, 27 * y + 13 + 3 * i),
                _load(sums, 27 * y + 14 + 3 * i),
            )
            even, odd = cos * row_cos - sin * row_sin, sin * row_cos + cos * row_sin
            flat0, even0, odd0 = flat0 + flat, even0 + even, odd0 + odd
            flat, even, odd = flat * dy, even * dy, odd * dy
            flat1, even1, odd1 = flat1 + flat, even1 + even, odd1 + odd
            if i < 3:
                flat, even, odd = flat * dy, even * dy, odd * dy
                flat2, even2, odd2 = flat2 + flat, even2 + even, odd2 + odd
                flat, even, odd = flat * dy, even * dy, odd * dy
                flat3, even3, odd3 = flat3 + flat, even3 + even, odd3 + odd
                flat4, even4, odd4 = flat4 + flat * dy, even4 + even * dy, odd4 + odd * dy
        t = 36 + 5 * i
        for j, s in enumerate((flat0, flat1, flat2, flat3, flat4)):
            _store(m, t + j, s)
        for j, s in enumerate((even0, even1, even2, even3, even4)):
            _store(m, t + 25 + j, s)
        for j, s in enumerate((odd0, odd1, odd2, odd3, odd4)):
            _store(m, t + 50 + j, s)


@njit
def _screen(values, valid, masked, p, height, width, columns, rows, m):
    """The seven moments (i = j = 0) that the cost alone needs, at the places where `_moments` puts them."""
    a, b, c, kx, ky = _envelope(p)
    x0, y0 = _load(p, 0), _load(p, 1)
    _waves(rows, height, 5, y0, ky)
    _waves(columns, width, 5, x0, kx)
    bend = _exp(-2.0 * a)
    even = odd = data_even = data_odd = flat = even2 = odd2 = _lanes(0.0)
    for y in range(height):
        dy = _load(rows, 5 * y)
        slope, level = b * dy, c * dy * dy
        s0 = s1 = s2 = s3 = s4 = s5 = _lanes(0.0)
        for first in range(0, width, _BLOCK):
            dx = first - x0
            envelope = _exp(0.0 - ((a * dx + slope) * dx + level))
            ratio = _exp(0.0 - (a * (2.0 * dx + 1.0) + slope))
            for x in range(first, min(first + _BLOCK, width)):
                e = envelope
                if masked:
                    e = e * _load(valid, y * width + x)
                z = e * _load(values, y * width + x)
                e2 = e * e
                envelope = envelope * ratio
                ratio = ratio * bend
                cos, sin = _load(columns, 5 * x + 1), _load(columns, 5 * x + 2)
                s0, s1, s2, s3 = s0 + e * cos, s1 + e * sin, s2 + z * cos, s3 + z * sin
                flat = flat + e2
                s4, s5 = s4 + e2 * _load(columns, 5 * x + 3), s5 + e2 * _load(columns, 5 * x + 4)
        cos, sin = _load(rows, 5 * y + 1), _load(rows, 5 * y + 2)
        even, odd = even + (cos * s0 - sin * s1), odd + (sin * s0 + cos * s1)
        data_even, data_odd = data_even + (cos * s2 - sin * s3), data_odd + (sin * s2 + cos * s3)
        cos, sin = _load(rows, 5 * y + 3), _load(rows, 5 * y + 4)
        even2, odd2 = even2 + (cos * s4 - sin * s5), odd2 + (sin * s4 + cos * s5)
    for i, s in enumerate((even, odd, data_even, data_odd)):
        _store(m, 9 * i, s)
    for i, s in enumerate((flat, even2, odd2)):
        _store(m, 36 + 25 * i, s)


# --------------------------------------------------------------------------------------------------------------------
# Linear algebra on the moments


@njit
def _root(pivot, floor):
    return _sqrt(_max(pivot, floor))


@njit
def _project(m, count, factor, linear):
    """Solve for the amplitudes of E cos, E sin and 1; the sum of squares they explain.

    `factor` receives the scales and the Cholesky factor of the scaled Gram matrix:
    s0, s1, s2, l00, l10, l11, l20, l21, l22.
    """
    even, odd, cross = 0.5 * (_load(m, 36) + _load(m, 61)), 0.5 * (_load(m, 36) - _load(m, 61)), 0.5 * _load(m, 86)
    tiny = _lanes(1e-30)
    s0, s1, s2 = 1.0 / _sqrt(_max(even, tiny)), 1.0 / _sqrt(_max(odd, tiny)), 1.0 / _sqrt(count)
    least = _lanes(1e-13)  # nearly dependent columns share one amplitude instead of failing
    l00 = _lanes(1.0)
    l10 = cross * s0 * s1
    l11 = _root(1.0 - l10 * l10, least)
    l20 = _load(m, 0) * s0 * s2
    l21 = (_load(m, 9) * s1 * s2 - l20 * l10) / l11
    l22 = _root(1.0 - l20 * l20 - l21 * l21, least)
    y0 = _load(m, 18) * s0
    y1 = (_load(m, 27) * s1 - l10 * y0) / l11
    y2 = (0.0 - l20 * y0 - l21 * y1) / l22  # the map's mean is zero
    for i, v in enumerate((s0, s1, s2, l00, l10, l11, l20, l21, l22)):
        _store(factor, i, v)
    c2 = y2 / l22
    c1 = (y1 - l21 * c2) / l11
    c0 = y0 - l10 * c1 - l20 * c2
    _store(linear, 0, c0 * s0)
    _store(linear, 1, c1 * s1)
    _store(linear, 2, c2 * s2)
    return y0 * y0 + y1 * y1 + y2 * y2


# The seven directions: dx G, dy G, dx² G, dx dy G, dy² G, dx G', dy G' as powers (i, j) …
_I = np.array([1, 0, 2, 1, 0, 1, 0])
_J = np.array([0, 1, 0, 1, 2, 0, 1])
# … and which of them each of the six parameters moves (a contiguous range).
_FROM = np.array([0, 0, 2, 5, 2, 2])
_TO = np.array([2, 2, 7, 7, 5, 5])


@njit
def _normal_equations(m, p, linear, factor, directions, cross, slope, chain, product, hessian, gradient):
    """Gauss-Newton matrix (lower triangle) and minus half the gradient of the cost, for the six parameters."""
    a, b, offset = _load(linear, 0), _load(linear, 1), _load(linear, 2)
    mean, difference, ab = 0.5 * (a * a + b * b), 0.5 * (a * a - b * b), a * b
    for k in range(7):
        i1, j1 = _I[k], _J[k]
        for n in range(k + 1):
            t = 36 + 5 * (i1 + _I[n]) + j1 + _J[n]
            flat, even, odd = _load(m, t), _load(m, t + 25), _load(m, t + 50)
            if k < 5:
                value = mean * flat + difference * even + ab * odd
            elif n < 5:
                value = ab * even - difference * odd
            else:
                value = mean * flat - difference * even - ab * odd
            _store(directions, 7 * k + n, value)
        t = 36 + 5 * i1 + j1
        flat, even, odd = _load(m, t), _load(m, t + 25), _load(m, t + 50)
        cos_cos, sin_sin, cos_sin = 0.5 * (flat + even), 0.5 * (flat - even), 0.5 * odd
        t = 3 * i1 + j1
        cos, sin, data_cos, data_sin = _load(m, t), _load(m, t + 9), _load(m, t + 18), _load(m, t + 27)
        if k < 5:
            c0, c1, c2 = a * cos_cos + b * cos_sin, a * cos_sin + b * sin_sin, a * cos + b * sin
            data = a * data_cos + b * data_sin
        else:
            c0, c1, c2 = b * cos_cos - a * cos_sin, b * cos_sin - a * sin_sin, b * cos - a * sin
            data = b * data_cos - a * data_sin
        _store(slope, k, data - c0 * a - c1 * b - c2 * offset)
        c0 = c0 * _load(factor, 0)
        c1 = (c1 * _load(factor, 1) - _load(factor, 4) * c0) / _load(factor, 5)
        c2 = (c2 * _load(factor, 2) - _load(factor, 6) * c0 - _load(factor, 7) * c1) / _load(factor, 8)
        _store(cross, 3 * k, c0)
        _store(cross, 3 * k + 1, c1)
        _store(cross, 3 * k + 2, c2)
        for n in range(k + 1):
            value = _load(directions, 7 * k + n)
            value = value - c0 * _load(cross, 3 * n) - c1 * _load(cross, 3 * n + 1) - c2 * _load(cross, 3 * n + 2)
            _store(directions, 7 * k + n, value)
            _store(directions, 7 * n + k, value)
    cos, sin = _cos_sin(_load(p, 2))
    along, across, w = _exp(-2.0 * _load(p, 4)), _exp(-2.0 * _load(p, 5)), 2.0 * math.pi * _load(p, 3)
    ea, eb, ec = (
        cos * cos * along + sin * sin * across,
        cos * sin * (along - across),
        sin * sin * along + cos * cos * across,
    )
    turn = (cos * cos - sin * sin) * (along - across)
    for t, value in enumerate((
        ea, eb,
        eb, ec,
        eb, 0.0 - turn, 0.0 - eb, 0.0 - w * sin, w * cos,
        2.0 * math.pi * cos, 2.0 * math.pi * sin,
        cos * cos * along, 2.0 * cos * sin * along, sin * sin * along,
        sin * sin * across, -2.0 * cos * sin * across, cos * cos * across,
    )):  # fmt: skip
        _store(chain, t, value)
    base = 0
    for i in range(6):
        total = _lanes(0.0)
        for n in range(_FROM[i], _TO[i]):
            total = total + _load(chain, base + n - _FROM[i]) * _load(slope, n)
        _store(gradient, i, total)
        for k in range(7):
            total = _lanes(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + _load(chain, base + n - _FROM[i]) * _load(directions, 7 * k + n)
            _store(product, 7 * i + k, total)
        for j in range(i + 1):
            total = _lanes(0.0)
            for n in range(_FROM[i], _TO[i]):
                total = total + _load(chain, base + n - _FROM[i]) * _load(product, 7 * j + n)
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
        diagonal = _load(hessian, 7 * i)
        pivot = diagonal * (1.0 + damping) + 1e-12
        right = _load(gradient, i) * free_i
        floor = pivot * 1e-14
        for j in range(i):
            value = _load(hessian, 6 * i + j) * free_i * _load(free, j)
            for k in range(j):
                value = value - _load(matrix, 6 * i + k) * _load(matrix, 6 * j + k)
            value = value / _load(matrix, 7 * j)
            _store(matrix, 6 * i + j, value)
            pivot = pivot - value * value
            right = right - value * _load(trial, j)
        root = _root(pivot, floor)
        _store(matrix, 7 * i, root)
        _store(trial, i, right / root)
    for back in range(6):
        i = 5 - back
        value = _load(trial, i)
        for k in range(i + 1, 6):
            value = value - _load(matrix, 6 * k + i) * _load(trial, k)
        _store(trial, i, value / _load(matrix, 7 * i))
    widest = _exp(_max(_load(p, 4), _load(p, 5)))
    excess = _max(_abs(_load(trial, 2)) * (1 / 0.6), _max(_abs(_load(trial, 4)), _abs(_load(trial, 5))) * (1 / 0.9))
    excess = _max(excess, _max(_abs(_load(trial, 0)), _abs(_load(trial, 1))) / (widest + 0.5))
    scale = 1.0 / _max(excess, _lanes(1.0))
    expected = _lanes(0.0)
    for i in range(6):
        value = _load(p, i)
        moved = _min(_max(value + scale * _load(trial, i), _lanes(low[i])), _lanes(high[i]))
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

_SHAPES = np.array([[0.6, 0.6], [1.0, 1.0], [1.8, 1.8], [0.7, 1.4], [1.4, 0.7]])
_PEAKS = 3
_SLOW = 4  # directions of starts with hardly a cycle, for blobs and edges
N_STARTS = _PEAKS * len(_SHAPES) + _SLOW


@njit
def _center_of_most(values, n, count, spread):
    """Roughly the median: the mean after three rounds of drawing outliers in."""
    center = _lanes(0.0)
    for _ in range(4):
        total = _lanes(0.0)
        for i in range(n):
            total = total + _max(_min(_load(values, i) - center, spread), 0.0 - spread)
        center = center + total / count
    return center


@njit
def _locate(values, valid, masked, count, height, width, taps, energy, smooth):
    """Center and radius of the smoothed energy above its background, per lane."""
    n = height * width
    background = _center_of_most(values, n, count, _lanes(0.5))
    for i in range(n):
        d = _load(values, i) - background
        d = d * d
        if masked:
            d = d * _load(valid, i)
        _store(energy, i, d)
    reach = len(taps) - 1
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
    level = _max(0.25 * top, _center_of_most(energy, n, _lanes(float(n)), 0.5 * total / float(n)))
    weight = mx = my = mxx = myy = _lanes(0.0)
    for y in range(height):
        for x in range(width):
            w = _max(_load(energy, y * width + x) - level, _lanes(0.0))
            weight, mx, my = weight + w, mx + w * float(x), my + w * float(y)
            mxx, myy = mxx + w * float(x * x), myy + w * float(y * y)
    weight = _max(weight, _lanes(1e-30))
    cx, cy = mx / weight, my / weight
    variance = 0.5 * (mxx / weight - cx * cx + myy / weight - cy * cy)
    radius = 1.2 * _sqrt(_max(variance, _lanes(0.0)))
    return cx, cy, _min(_max(radius, _lanes(0.7)), _lanes(0.4 * max(height, width)))


@njit
def _spectrum(values, cx, cy, radius, height, width, cosines, sines, bins, windowed, half, power):
    """Power of the map, seen through a window twice as wide as the field, on a grid of carriers.

    Row 2·bins+1 by column bins+1: ky from -1/2 to 1/2, kx from 0 to 1/2 cycles per pixel.
    """
    narrow = 0.125 / (radius * radius)
    total, weight = _lanes(0.0), _lanes(0.0)
    for x in range(width):
        _store(half, x, _exp(0.0 - narrow * (x - cx) * (x - cx)))
    for y in range(height):
        row = _exp(0.0 - narrow * (y - cy) * (y - cy))
        for x in range(width):
            w = row * _load(half, x)
            z = w * _load(values, y * width + x)
            _store(windowed, 2 * (y * width + x), z)
            _store(windowed, 2 * (y * width + x) + 1, w)
            total, weight = total + z, weight + w
    level = total / weight
    for i in range(height * width):
        _store(windowed, i, _load(windowed, 2 * i) - level * _load(windowed, 2 * i + 1))
    n = bins + 1
    for y in range(height):
        for k in range(n):
            c, s = _lanes(0.0), _lanes(0.0)
            for x in range(width):
                z = _load(windowed, y * width + x)
                c, s = c + z * cosines[k, x], s + z * sines[k, x]
            _store(half, 2 * (k * height + y), c)
            _store(half, 2 * (k * height + y) + 1, s)
    for k in range(n):
        for q in range(n):
            cc = cs = sc = ss = _lanes(0.0)
            for y in range(height):
                c, s = _load(half, 2 * (k * height + y)), _load(half, 2 * (k * height + y) + 1)
                cc, cs = cc + c * cosines[q, y], cs + c * sines[q, y]
                sc, ss = sc + s * cosines[q, y], ss + s * sines[q, y]
            even, odd = cc - ss, sc + cs
            _store(power, (bins + q) * n + k, even * even + odd * odd)
            even, odd = cc + ss, sc - cs
            _store(power, (bins - q) * n + k, even * even + odd * odd)


@njit
def _candidates(cx, cy, radius, power, bins, size, low, high, peaks, candidates):
    """Starts for each lane: `candidates[6 start + parameter]`."""
    n, step = bins + 1, 0.5 / bins
    for k in range(n):
        for q in range(2 * bins + 1):
            f = math.hypot(k * step, (q - bins) * step)
            if f > 0.5 or f < 0.4 / size:
                _store(power, q * n + k, _lanes(0.0))
    start = 0
    theta0 = _lanes(0.0)
    for peak in range(_PEAKS):
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
                near = (dx * dx + dy * dy) * float(size * size) < 1.0
                _store(power, q * n + k, _where(near, 0.0, _load(power, q * n + k)))
        _store(peaks, 0, kx)
        _store(peaks, 1, ky)
        for lane in range(WIDTH):
            peaks[lane] = math.atan2(peaks[WIDTH + lane], peaks[lane])
        theta, f = _load(peaks, 0), _sqrt(kx * kx + ky * ky)
        if peak == 0:
            theta0 = theta
        for shape in range(len(_SHAPES)):
            _store(candidates, 6 * start + 2, theta)
            _store(candidates, 6 * start + 3, f)
            _store(candidates, 6 * start + 4, radius * _SHAPES[shape, 0])
            _store(candidates, 6 * start + 5, radius * _SHAPES[shape, 1])
            start += 1
    for turn in range(_SLOW):
        _store(candidates, 6 * start + 2, theta0 + turn * (math.pi / _SLOW))
        _store(candidates, 6 * start + 3, 0.04 / radius)
        _store(candidates, 6 * start + 4, radius)
        _store(candidates, 6 * start + 5, radius)
        start += 1
    for start in range(N_STARTS):
        _store(candidates, 6 * start, cx)
        _store(candidates, 6 * start + 1, cy)
        for i in (4, 5):
            for lane in range(WIDTH):
                t = (6 * start + i) * WIDTH + lane
                candidates[t] = math.log(candidates[t])
        for i in range(6):
            value = _load(candidates, 6 * start + i)
            _store(candidates, 6 * start + i, _min(_max(value, _lanes(low[i])), _lanes(high[i])))


@njit
def _fill(values, valid, maps, weights, masked, lane, index):
    """Put one map into a lane."""
    for pixel in range(maps.shape[1]):
        values[pixel * WIDTH + lane] = maps[index, pixel]
    if masked:
        for pixel in range(maps.shape[1]):
            valid[pixel * WIDTH + lane] = weights[index, pixel]


@njit(nogil=True, cache=True)
def _find_starts(maps, weights, counts, height, width, low, high, taps, cosines, sines, starts, costs):
    """Blind starts of every map, the cheapest first."""
    masked, n_pixels, bins = weights.shape[0] > 0, height * width, cosines.shape[0] - 1
    size = max(height, width)
    values, valid, energy = _aligned(n_pixels), _aligned(n_pixels), _aligned(2 * n_pixels)
    half = _aligned(max(2 * (bins + 1) * height, width))
    power = _aligned((bins + 1) * (2 * bins + 1))
    candidates, p, count, m = _aligned(6 * N_STARTS), _aligned(6), _aligned(1), _aligned(111)
    columns, rows, factor, linear = _aligned(5 * width), _aligned(5 * height), _aligned(9), _aligned(3)
    smooth, explained = _aligned(n_pixels), _aligned(N_STARTS)
    count[:] = 1.0
    for first in range(0, maps.shape[0], WIDTH):
        lanes = min(WIDTH, maps.shape[0] - first)
        for lane in range(lanes):
            _fill(values, valid, maps, weights, masked, lane, first + lane)
            count[lane] = counts[first + lane]
        cx, cy, radius = _locate(values, valid, masked, _load(count, 0), height, width, taps, energy, smooth)
        _spectrum(values, cx, cy, radius, height, width, cosines, sines, bins, energy, half, power)
        _candidates(cx, cy, radius, power, bins, size, low, high, p, candidates)
        for start in range(N_STARTS):
            for i in range(6):
                _store(p, i, _load(candidates, 6 * start + i))
            _screen(values, valid, masked, p, height, width, columns, rows, m)
            _store(explained, start, _project(m, _load(count, 0), factor, linear))
        for lane in range(lanes):
            order = np.argsort(-explained[lane::WIDTH])
            for place in range(N_STARTS):
                start = order[place]
                costs[first + lane, place] = -explained[start * WIDTH + lane]
                for i in range(6):
                    starts[first + lane, place, i] = candidates[(6 * start + i) * WIDTH + lane]


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


@njit(nogil=True, cache=True)
def _search(
    maps, weights, counts, height, width, low, high, starts, n_starts, settings, out, out_linear, out_cost, tallies
):
    """Refine the starts of every map; each lane works through one map's starts, then takes the next map.

    `settings` = tolerance, most steps of one start, steps before a start is judged, factor on the best cost at which it
    is given up, starts tried for every map. `tallies` (map, 3) receives how many starts agreed, evaluations,
    and whether the best one converged.
    """
    tolerance, most, probe, hopeless, tries = settings
    masked, n_pixels = weights.shape[0] > 0, height * width
    values, valid, count, energy = _aligned(n_pixels), _aligned(n_pixels), _aligned(1), _aligned(1)
    columns, rows, sums, m = _aligned(21 * width), _aligned(5 * height), _aligned(27 * height), _aligned(111)
    factor, directions, cross, slope = _aligned(9), _aligned(49), _aligned(21), _aligned(7)
    chain, product, matrix, free = _aligned(17), _aligned(42), _aligned(36), _aligned(6)
    p, trial, linear, trial_linear = _aligned(6), _aligned(6), _aligned(3), _aligned(3)
    hessian, gradient, trial_hessian, trial_gradient = _aligned(36), _aligned(6), _aligned(36), _aligned(6)
    cost, damping, growth, gain, expected = _aligned(1), _aligned(1), _aligned(1), _aligned(1), _aligned(1)
    which, start, steps, small = (
        np.full(WIDTH, -1),
        np.zeros(WIDTH, np.int64),
        np.zeros(WIDTH, np.int64),
        np.zeros(WIDTH, np.int64),
    )
    fresh = np.zeros(WIDTH, np.bool_)
    count[:], energy[:], damping[:], growth[:] = 1.0, 1.0, 1.0, 2.0
    n_maps, next_map, busy = maps.shape[0], 0, 0
    here = np.zeros(6)
    for lane in range(WIDTH):
        if next_map < n_maps:
            which[lane], next_map, busy = next_map, next_map + 1, busy + 1
            fresh[lane] = True
    while busy > 0:
        _store(expected, 0, _propose(p, hessian, gradient, _load(damping, 0), low, high, matrix, free, trial))
        for lane in range(WIDTH):
            if fresh[lane]:
                index = which[lane]
                if start[lane] == 0:
                    _fill(values, valid, maps, weights, masked, lane, index)
                    count[lane], energy[lane], out_cost[index] = counts[index], counts[index], np.inf
                for i in range(6):
                    trial[i * WIDTH + lane] = starts[index, start[lane], i]
                cost[lane], damping[lane], growth[lane], steps[lane], small[lane] = np.inf, 1e-2, 2.0, 0, 0
        _moments(values, valid, masked, trial, height, width, columns, rows, sums, m)
        explained = _project(m, _load(count, 0), factor, trial_linear)
        _normal_equations(
            m, trial, trial_linear, factor, directions, cross, slope, chain, product, trial_hessian, trial_gradient
        )
        total, old = _load(energy, 0), _load(cost, 0)
        new = _where(explained >= 0.0, _max(total - explained, _lanes(0.0)), np.inf)  # also where it is not a number
        decrease = old - new
        better = decrease > 0.0
        _store(gain, 0, decrease)
        ratio = 2.0 * decrease / _max(_load(expected, 0), _lanes(1e-300)) - 1.0
        first = old > 1e300
        eased = _max(_load(damping, 0) * _max(1.0 - ratio * ratio * ratio, _lanes(0.1)), _lanes(1e-9))
        eased = _where(first, _load(damping, 0), eased)
        _store(damping, 0, _where(better, eased, _load(damping, 0) * _load(growth, 0)))
        _store(growth, 0, _where(better, 2.0, 2.0 * _load(growth, 0)))
        _store(cost, 0, _where(better, new, old))
        for i in range(6):
            _store(p, i, _where(better, _load(trial, i), _load(p, i)))
            _store(gradient, i, _where(better, _load(trial_gradient, i), _load(gradient, i)))
            for j in range(i + 1):
                _store(hessian, 6 * i + j, _where(better, _load(trial_hessian, 6 * i + j), _load(hessian, 6 * i + j)))
        for i in range(3):
            _store(linear, i, _where(better, _load(trial_linear, i), _load(linear, i)))
        for lane in range(WIDTH):
            index = which[lane]
            if index < 0:
                continue
            tallies[index, 1] += 1
            steps[lane] += 1
            here_cost, best = cost[lane], out_cost[index]
            enough = tolerance * here_cost + 1e-14 * energy[lane]
            settled = False
            done = steps[lane] >= most or not here_cost < np.inf
            if fresh[lane]:
                fresh[lane] = False
            elif gain[lane] > 0:
                if gain[lane] < enough:
                    small[lane] += 1
                    settled = small[lane] >= 2 or damping[lane] < 1e-3
                else:
                    small[lane] = 0
            else:
                settled = abs(expected[lane]) < enough or damping[lane] > 1e8
            if start[lane] > 0 and not settled and not done:
                if steps[lane] >= probe and here_cost > hopeless * best:
                    done = True
                elif steps[lane] > 2 and here_cost < 1.05 * best:
                    for i in range(6):
                        here[i] = p[i * WIDTH + lane]
                    if _same(here, out[index]):
                        tallies[index, 0] += 1
                        done = True
            if not (done or settled):
                continue
            if settled and abs(here_cost - best) <= 1e-3 * best + 1e-12 * energy[lane]:
                tallies[index, 0] += 1
            elif here_cost < best:
                tallies[index, 0] = 1
            if here_cost < best:
                out_cost[index] = here_cost
                tallies[index, 2] = settled
                for i in range(6):
                    out[index, i] = p[i * WIDTH + lane]
                for i in range(3):
                    out_linear[index, i] = linear[i * WIDTH + lane]
            start[lane] += 1
            fresh[lane] = True
            if start[lane] >= min(n_starts[index], tries):
                start[lane] = 0
                if next_map < n_maps:
                    which[lane], next_map = next_map, next_map + 1
                else:
                    which[lane], busy, fresh[lane] = -1, busy - 1, False


# --------------------------------------------------------------------------------------------------------------------
# What the final parameters say, computed afresh pixel by pixel


@njit(nogil=True, cache=True)
def _inspect(maps, weights, height, width, parameters, linear, cost, information):
    """Residual sum of squares and J'J over x0, y0, theta, frequency, log sigma_x, log sigma_y, a, b, offset."""
    masked, n_pixels = weights.shape[0] > 0, height * width
    values, valid, p, amplitudes = _aligned(n_pixels), _aligned(n_pixels), _aligned(6), _aligned(3)
    jacobian, total = _aligned(9 * width), _aligned(45)
    for first in range(0, maps.shape[0], WIDTH):
        lanes = min(WIDTH, maps.shape[0] - first)
        for lane in range(lanes):
            _fill(values, valid, maps, weights, masked, lane, first + lane)
            for i in range(6):
                p[i * WIDTH + lane] = parameters[first + lane, i]
            for i in range(3):
                amplitudes[i * WIDTH + lane] = linear[first + lane, i]
        cos, sin = _cos_sin(_load(p, 2))
        along, across, k = _exp(-2.0 * _load(p, 4)), _exp(-2.0 * _load(p, 5)), 2.0 * math.pi * _load(p, 3)
        residual = _lanes(0.0)
        total[:] = 0.0
        a, b, offset = _load(amplitudes, 0), _load(amplitudes, 1), _load(amplitudes, 2)
        for y in range(height):
            dy = y - _load(p, 1)
            for x in range(width):
                dx = x - _load(p, 0)
                u, v = cos * dx + sin * dy, cos * dy - sin * dx
                e = _exp(-0.5 * (u * u * along + v * v * across))
                one = _lanes(1.0)
                if masked:
                    one = _load(valid, y * width + x)
                    e = e * one
                c, s = _cos_sin(k * u)
                even, odd = e * c, e * s
                g, h = a * even + b * odd, b * even - a * odd
                miss = _load(values, y * width + x) - g - offset * one
                residual = residual + miss * miss
                gu, gv = u * along * g - k * h, v * across * g
                _store(jacobian, x, cos * gu - sin * gv)
                _store(jacobian, width + x, sin * gu + cos * gv)
                _store(jacobian, 2 * width + x, u * gv - v * gu)
                _store(jacobian, 3 * width + x, 2.0 * math.pi * u * h)
                _store(jacobian, 4 * width + x, u * u * along * g)
                _store(jacobian, 5 * width + x, v * v * across * g)
                _store(jacobian, 6 * width + x, even)
                _store(jacobian, 7 * width + x, odd)
                _store(jacobian, 8 * width + x, one)
            t = 0
            for i in range(9):
                for j in range(i + 1):
                    value = _load(total, t)
                    for x in range(width):
                        value = value + _load(jacobian, i * width + x) * _load(jacobian, j * width + x)
                    _store(total, t, value)
                    t += 1
        _store(p, 0, residual)
        for lane in range(lanes):
            cost[first + lane] = p[lane]
            t = 0
            for i in range(9):
                for j in range(i + 1):
                    information[first + lane, i, j] = total[t * WIDTH + lane]
                    information[first + lane, j, i] = total[t * WIDTH + lane]
                    t += 1


# --------------------------------------------------------------------------------------------------------------------
# NumPy in, NumPy out

CHUNK = 256  # maps that one call of the search takes: enough to keep the lanes busy, few enough for the cache
_TOLERANCE = 1e-7


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


def _standardize(maps, mask):
    """Maps (n, pixels) with mean 0 and variance 1 over the measured pixels, weights, counts, means and spreads."""
    flat = maps.reshape(len(maps), -1)
    weights = np.zeros((0, 0))
    counts = np.full(len(maps), float(flat.shape[1]))
    if mask is None and not np.isfinite(flat).all():
        mask = np.isfinite(maps)
    if mask is not None:
        weights = mask.reshape(flat.shape).astype(float)
        counts = weights.sum(1)
        flat = np.where(weights > 0, flat, 0.0)
    some = np.maximum(counts, 1.0)
    mean = flat.sum(1) / some
    flat = flat - mean[:, None]
    if mask is not None:
        flat *= weights
    spread = np.sqrt(np.einsum("ij,ij->i", flat, flat) / some)
    usable = (spread > 1e-12 * np.abs(mean)) & np.isfinite(spread) & (spread > 0) & (counts >= 3)
    flat *= np.where(usable, 1.0 / np.where(usable, spread, 1.0), 0.0)[:, None]
    return flat, weights, counts, mean, np.where(usable, spread, 0.0), usable


def _fit_chunk(maps, mask, low, high, seed_starts, settings):
    height, width = maps.shape[1:]
    flat, weights, counts, mean, spread, usable = _standardize(maps, mask)
    n, size = len(maps), max(height, width)
    if seed_starts is None:
        bins = min(max(size, 8), 32)
        angle = np.outer(np.arange(bins + 1) * (np.pi / bins), np.arange(size))
        taps = np.exp(-0.5 * (np.arange(math.ceil(0.18 * size) + 1) / (0.06 * size)) ** 2)
        taps /= 2 * taps.sum() - taps[0]
        starts, costs = np.empty((n, N_STARTS, 6)), np.empty((n, N_STARTS))
        _find_starts(flat, weights, counts, height, width, low, high, taps, np.cos(angle), np.sin(angle), starts, costs)
    else:
        starts = np.array(seed_starts, float)
        starts[:, :, 4:] = np.log(starts[:, :, 4:])
        starts = np.clip(starts, low, high)
    n_starts = np.where(usable, starts.shape[1], 1)
    parameters, linear, cost = np.zeros((n, 6)), np.zeros((n, 3)), np.empty(n)
    tallies, information = np.zeros((n, 3), np.int64), np.empty((n, 9, 9))
    _search(
        flat, weights, counts, height, width, low, high, starts, n_starts, settings, parameters, linear, cost, tallies
    )
    _inspect(flat, weights, height, width, parameters, linear, cost, information)
    bits = 1 << np.arange(6)
    at_bound = ((parameters <= low) @ bits) + ((parameters >= high) @ bits << 6)
    parameters[:, 4:] = np.exp(parameters[:, 4:])
    scale = np.repeat(spread[:, None], 9, 1)
    scale[:, 4:6] /= parameters[:, 4:]
    scale[:, 6:] = 1.0
    information *= scale[:, :, None] * scale[:, None, :]
    linear *= spread[:, None]
    linear[:, 2] += mean
    return CompiledFit(
        parameters,
        linear,
        cost * spread**2,
        information,
        tallies[:, 0],
        tallies[:, 1],
        at_bound,
        usable & (tallies[:, 2] > 0),
    )


def fit_gabor(
    maps: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    low: np.ndarray,
    high: np.ndarray,
    seed_starts: np.ndarray | None = None,
    tries: int = 4,
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
        Parameters to start from instead of the blind starts.
    workers : int
        Threads; the result does not depend on it.
    progress : callable, optional
        Called with the number of maps after each chunk.

    Raises
    ------
    InputError
        If `maps` is not three-dimensional.
    """
    maps = np.ascontiguousarray(maps, dtype=float)
    if maps.ndim != 3:
        raise InputError(f"expected maps of shape (n, height, width), got {maps.shape}; add the missing axis.")
    low, high = np.array(low, float), np.array(high, float)
    low[4:], high[4:] = np.log(low[4:]), np.log(high[4:])
    settings = (_TOLERANCE, 60, 6, 1.3, tries)

    def run(first):
        part = slice(first, first + CHUNK)
        done = _fit_chunk(
            maps[part],
            None if mask is None else mask[part],
            low,
            high,
            None if seed_starts is None else seed_starts[part],
            settings,
        )
        if progress is not None:
            progress(len(done.cost))
        return done

    firsts = range(0, max(len(maps), 1), CHUNK)
    if workers > 1:
        with ThreadPoolExecutor(workers) as pool:
            chunks = list(pool.map(run, firsts))
    else:
        chunks = [run(first) for first in firsts]
    return CompiledFit(*(np.concatenate([getattr(c, f) for c in chunks]) for f in CompiledFit.__dataclass_fields__))
