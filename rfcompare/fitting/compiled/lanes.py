"""Vectors of eight numbers as a Numba type, one number per fit.

LLVM maps them to one AVX-512, two AVX2 or four SSE or NEON registers, so that code written for a single fit runs for
eight at once. Nothing here is jitted: the operations are written out where they are used.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

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


def _call(builder, name, *args):
    """An operation on lanes that LLVM has a name for."""
    name, kind = f"llvm.{name}.v{WIDTH}f64", ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, args)


def _is_product(value):
    return isinstance(value, ir.Instruction) and value.opname == "fmul"


def _fused(builder, factors, term):
    """A product and a sum, rounded once where the processor can."""
    return _call(builder, "fmuladd", *factors, term)


def _sum(builder, a, b):
    if _is_product(b) and not _is_product(a):
        a, b = b, a
    return _fused(builder, a.operands, b) if _is_product(a) else builder.fadd(a, b)


def _difference(builder, a, b):
    if _is_product(a):
        return _fused(builder, a.operands, builder.fneg(b))
    if _is_product(b):
        left, right = b.operands
        return _fused(builder, (builder.fneg(left), right), a)
    return builder.fsub(a, b)


# Which products are fused with which sums is said here. Left to LLVM ("contract") it would depend on what else is
# compiled with a function, and the last digits on whether it was compiled just now or kept from an earlier run.
_define(operator.add, _sum, _LANES)
_define(operator.sub, _difference, _LANES)
_define(operator.mul, lambda builder, a, b: builder.fmul(a, b), _LANES)
_define(operator.truediv, lambda builder, a, b: builder.fdiv(a, b), _LANES)
_define(operator.lt, lambda builder, a, b: builder.fcmp_ordered("<", a, b), _MASK)
_define(operator.le, lambda builder, a, b: builder.fcmp_ordered("<=", a, b), _MASK)
_define(operator.gt, lambda builder, a, b: builder.fcmp_ordered(">", a, b), _MASK)
_define(operator.ge, lambda builder, a, b: builder.fcmp_ordered(">=", a, b), _MASK)
_define(operator.and_, lambda builder, a, b: builder.and_(a, b), _MASK, _Mask)
_define(operator.or_, lambda builder, a, b: builder.or_(a, b), _MASK, _Mask)


def _pointer(context, builder, signature, args, which, shift=0):
    """Address of lanes number args[which + 1] + shift of the array args[which]."""
    data = context.make_array(signature.args[which])(context, builder, value=args[which]).data
    index = context.cast(builder, args[which + 1], signature.args[which + 1], types.int64)
    index = builder.add(index, ir.Constant(_INT64, shift))
    return builder.bitcast(builder.gep(data, [builder.mul(index, ir.Constant(_INT64, WIDTH))]), _VECTOR.as_pointer())


@intrinsic
def load(typing_context, array, index):
    """Lanes number `index` of an aligned array."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature, args, 0), align=8 * WIDTH)

    return _LANES(array, index), codegen


@intrinsic
def store(typing_context, array, index, value):
    """Write lanes (or tuples of them, one after the other) from number `index` on."""

    def codegen(context, builder, signature, args):
        def parts_of(part, kind):
            if not isinstance(kind, types.BaseTuple):
                return [(part, kind)]
            return [one for i, its in enumerate(kind) for one in parts_of(builder.extract_value(part, i), its)]

        for i, (part, kind) in enumerate(parts_of(args[2], value)):
            address = _pointer(context, builder, signature, args, 0, i)
            builder.store(_as_lanes(context, builder, part, kind), address, align=8 * WIDTH)
        return context.get_dummy_value()

    return types.none(array, index, value), codegen


@intrinsic(prefer_literal=True)
def zeros(typing_context, n):
    """A tuple of n lanes, all zero; n is a number in the source, or a tuple as long."""
    kind = types.UniTuple(_LANES, n.count if isinstance(n, types.BaseTuple) else n.literal_value)
    return kind(n), lambda context, builder, signature, args: ir.Constant(context.get_value_type(kind), None)


@intrinsic
def add_row(typing_context, totals, array, index, factor):
    """totals[i] + factor · lanes number index + i of the array, for all i."""

    def codegen(context, builder, signature, args):
        result = args[0]
        for i in range(totals.count):
            row = builder.load(_pointer(context, builder, signature, args, 1, i), align=8 * WIDTH)
            result = builder.insert_value(result, _fused(builder, (row, args[3]), builder.extract_value(result, i)), i)
        return result

    return totals(totals, array, index, factor), codegen


@intrinsic
def add_powers(typing_context, totals, value, d):
    """totals[i] + value · d^i, for all i."""

    def codegen(context, builder, signature, args):
        result, value, d = args
        for i in range(totals.count):
            result = builder.insert_value(result, builder.fadd(builder.extract_value(result, i), value), i)
            value = builder.fmul(value, d)
        return result

    return totals(totals, value, d), codegen


@intrinsic
def where(typing_context, mask, yes, no):
    """Lane by lane, `yes` where the mask is set, else `no`."""

    def codegen(context, builder, signature, args):
        yes, no = (_as_lanes(context, builder, args[i], signature.args[i]) for i in (1, 2))
        return builder.select(args[0], yes, no)

    return _LANES(mask, yes, no), codegen


@intrinsic
def broadcast(typing_context, number):
    """A number in every lane."""

    def codegen(context, builder, signature, args):
        return _as_lanes(context, builder, args[0], signature.args[0])

    return _LANES(number), codegen


def _unary(name):
    @intrinsic
    def apply(typing_context, value):
        def codegen(context, builder, signature, args):
            return _call(builder, name, *args)

        return _LANES(value), codegen

    return apply


sqrt, absolute, floor = _unary("sqrt"), _unary("fabs"), _unary("floor")


@intrinsic
def times_two_to(typing_context, value, shifted):
    """value · 2^k, where k was added to 1.5 · 2^52 and so stands in the low bits of `shifted`."""

    def codegen(context, builder, signature, args):
        value, k = (builder.bitcast(arg, _BITS) for arg in args)
        k = builder.shl(k, ir.Constant(_BITS, [52] * WIDTH))
        return builder.bitcast(builder.add(value, k), _VECTOR)

    return _LANES(value, shifted), codegen
