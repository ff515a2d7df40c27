"""Every model by its formula, of any number of channels: sums of products of a few functions per pixel.

A model's basis functions, their derivatives by the nonlinear parameters and the constant are combinations of functions
of a pixel, with coefficients that depend on parameters and amplitudes (see `rfcompare.models.model`). One pass over the
pixels sums the products of these functions with each other and with every channel's map; the amplitudes, the Kaufman
form of the normal equations and the information matrix follow from these sums alone, however many channels share them.

Nothing here knows a model: its formula is jitted as it stands, with the elementary functions of `vectors` in the places
of those of `rfcompare.models.arithmetic`. Which one it is, is known from the type of its `kind`.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import Any

from numba import njit
from numba.extending import overload

from rfcompare.fitting.batched import DEPENDENT
from rfcompare.fitting.compiled import vectors
from rfcompare.fitting.compiled.lanes import WIDTH, add_row, broadcast, load, sqrt, store, zeros
from rfcompare.fitting.compiled.vectors import aligned, maximum
from rfcompare.models import Model, arithmetic

_families: dict[str, type[Model]] = {}


def __getattr__(name: str) -> Any:
    """The type that stands for a family of models; Numba asks for it when it reads what it kept."""
    if not name.endswith("Kind"):
        raise AttributeError(name)
    globals()[name] = kind = namedtuple(name, "variant", module=__name__)
    return kind


def kind_of(model: Model) -> Any:
    """Which model it is: by its type the family, by its value the variant; None for one that is not compiled."""
    family = type(model)
    if family.functions is None or family.widest is not Model.widest:
        return None
    name = f"{family.__name__}Kind"
    _families[name] = family
    return (globals().get(name) or __getattr__(name))(model.variant)


@cache
def _jitted(family: type[Model]) -> tuple[Any, Any, Any, tuple[float, ...]]:
    """Constants, functions and chain, and as many zeros as there are functions with the constant."""
    return njit(family.constants), njit(family.functions), njit(family.chain), (0.0,) * (family.count + 1)


def _of(kind: Any) -> tuple[Any, Any, Any, tuple[float, ...]]:
    return _jitted(_families[kind.instance_class.__name__])


def _constants(kind, p):
    """A model's constants."""


def _functions(kind, constants, dx, dy):
    """A model's functions at one pixel, the constant last."""


def _chain(kind, constants, p, amplitudes):
    """A model's coefficients."""


def _blank(kind):
    """As many zeros as the model has functions, with the constant."""


@overload(_constants)
def _(kind, p):
    own = _of(kind)[0]
    return lambda kind, p: own(p, kind.variant)


@overload(_functions)
def _(kind, constants, dx, dy):
    own = _of(kind)[1]
    return lambda kind, constants, dx, dy: own(constants, dx, dy, kind.variant) + (1.0,)  # noqa: RUF005


@overload(_chain)
def _(kind, constants, p, amplitudes):
    own = _of(kind)[2]
    return lambda kind, constants, p, amplitudes: own(constants, p, amplitudes, kind.variant)


@overload(_blank)
def _(kind):
    own = _of(kind)[3]
    return lambda kind: own


@overload(arithmetic.exp)
def _(x):
    return lambda x: vectors.exp(x)


@overload(arithmetic.decay)
def _(x):
    return lambda x: vectors.decay(x)


@overload(arithmetic.cos_sin)
def _(x):
    return lambda x: vectors.cos_sin(x)


@overload(arithmetic.at)
def _(values, i):
    return lambda values, i: load(values, i)


Room = namedtuple(
    "Room",
    "kind height width channels terms parameters values valid count x y table gram data chain work left span factor",
)
# Of a room, in lanes: `values` (channel, pixel), `valid` (pixel) and `count` of measured pixels; `table` the functions
# along one row of pixels, `gram` their products with each other, `data` (channel, function) with the maps; `chain` and
# `work` (parameter, function) the derivatives' coefficients, without the constant's, and their products with the
# functions; `left` (function) what the amplitudes leave of `data`; `span` (parameter, amplitude) the derivatives'
# shares in the basis, and `factor` its Cholesky factor.


@njit
def make_room(kind, x, y, channels, terms, parameters):
    """Working memory: `x`, `y` pixel positions, `terms` amplitudes without the offset."""
    height, width, n, functions = len(y), len(x), len(x) * len(y), len(_blank(kind))
    count = aligned(1)
    store(count, 0, 1.0)
    return Room(
        kind, height, width, channels, terms, parameters, aligned(channels * n), aligned(n), count, x, y,
        aligned(functions * width), aligned(functions * functions), aligned(channels * functions),
        aligned((parameters + 1) * functions), aligned(parameters * functions), aligned(functions),
        aligned(parameters * (terms + 1)), aligned((terms + 1) * (terms + 2)),
    )  # fmt: skip


# --------------------------------------------------------------------------------------------------------------------
# Sums over pixels and what follows from them


@njit
def _fill_table(room, masked, constants, p, y):
    """The functions along one row of pixels; zero where not measured."""
    k, dy = len(_blank(room.kind)), room.y[y] - load(p, 1)
    for x in range(room.width):
        at = k * x
        store(room.table, at, _functions(room.kind, constants, room.x[x] - load(p, 0), dy))
        if masked:
            valid = load(room.valid, y * room.width + x)
            for i in range(at, at + k):
                store(room.table, i, valid * load(room.table, i))


@njit
def _sum(room, masked, constants, p, derivatives):
    """Products of the functions with each other (`gram`; of the basis alone without `derivatives`) and with every
    channel's map (`data`).
    """
    blank, one = _blank(room.kind), broadcast(1.0)
    k = len(blank)
    for i in range(k * k):
        store(room.gram, i, 0.0)
    for i in range(room.channels * k):
        store(room.data, i, 0.0)
    for y in range(room.height):
        _fill_table(room, masked, constants, p, y)
        for i in range(k):
            if not derivatives and room.terms <= i < k - 1:
                continue
            row = zeros(blank)
            for x in range(room.width):
                row = add_row(row, room.table, k * x, load(room.table, k * x + i))
            store(room.gram, k * i, add_row(row, room.gram, k * i, one))
        for channel in range(room.channels):
            row, first = zeros(blank), (channel * room.height + y) * room.width
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
def equations(room, masked, p, linear, hessian, gradient):
    """Sum of squares explained at p, the amplitudes, and the normal equations of a step in the Kaufman form."""
    constants, k, n, q = _constants(room.kind, p), len(_blank(room.kind)), room.terms + 1, room.parameters
    _sum(room, masked, constants, p, True)
    explained = _project(room, k, linear)
    for i in range(q):
        store(gradient, i, 0.0)
        for j in range(i + 1):
            store(hessian, q * i + j, 0.0)
    for channel in range(room.channels):
        store(room.chain, 0, _chain(room.kind, constants, p, linear[channel * n * WIDTH :]))
        for i in range(q):
            for m in range(k):
                total = broadcast(0.0)
                for j in range(k - 1):
                    total = total + load(room.chain, (k - 1) * i + j) * load(room.gram, k * j + m)
                store(room.work, k * i + m, total)
        for m in range(k):  # what the amplitudes leave of the map, times each function
            total = load(room.data, k * channel + m)
            for i in range(n):
                total = total - load(room.gram, k * m + _place(i, k, room.terms)) * load(linear, channel * n + i)
            store(room.left, m, total)
        for i in range(q):
            for j in range(n):
                store(room.span, n * i + j, load(room.work, k * i + _place(j, k, room.terms)))
            _forward(room.span[n * i * WIDTH :], n, room.factor)
            total = load(gradient, i)
            for m in range(k - 1):
                total = total + load(room.chain, (k - 1) * i + m) * load(room.left, m)
            store(gradient, i, total)
            for j in range(i + 1):
                total = load(hessian, q * i + j)
                for m in range(k - 1):
                    total = total + load(room.work, k * i + m) * load(room.chain, (k - 1) * j + m)
                for m in range(n):
                    total = total - load(room.span, n * i + m) * load(room.span, n * j + m)
                store(hessian, q * i + j, total)
    return explained


@njit
def describe(room, masked, p, linear, drawn, total):
    """Amplitudes at p, the maps drawn and JᵀJ of all fitted numbers; the residual sum of squares, pixel by pixel."""
    constants, k, n, q = _constants(room.kind, p), len(_blank(room.kind)), room.terms + 1, room.parameters
    size, squares, valid = q + room.channels * n, broadcast(0.0), broadcast(1.0)
    # The columns of J along a row of pixels: as they are to be determined, there are no more of them than functions.
    columns, row = aligned(k * room.width), aligned(k)
    _sum(room, masked, constants, p, False)
    _project(room, k, linear)
    for i in range(size * size):
        store(total, i, 0.0)
    for channel in range(room.channels):
        first = q + channel * n
        store(room.chain, 0, _chain(room.kind, constants, p, linear[channel * n * WIDTH :]))
        for y in range(room.height):
            _fill_table(room, False, constants, p, y)
            for x in range(room.width):
                at, pixel, shown = k * x, (channel * room.height + y) * room.width + x, broadcast(0.0)
                if masked:
                    valid = load(room.valid, y * room.width + x)
                for i in range(q):
                    value = broadcast(0.0)
                    for m in range(k - 1):
                        value = value + load(room.chain, (k - 1) * i + m) * load(room.table, at + m)
                    store(columns, at + i, valid * value)
                for i in range(n):
                    value = load(room.table, at + _place(i, k, room.terms))
                    shown = shown + load(linear, channel * n + i) * value
                    store(columns, at + q + i, valid * value)
                store(drawn, pixel, shown)
                miss = valid * (load(room.values, pixel) - shown)
                squares = squares + miss * miss
            for i in range(q + n):
                products = zeros(_blank(room.kind))
                for x in range(room.width):
                    products = add_row(products, columns, k * x, load(columns, k * x + i))
                store(row, 0, products)
                for j in range(q + n):
                    at = size * (i if i < q else first + i - q) + (j if j < q else first + j - q)
                    store(total, at, load(total, at) + load(row, j))
    return squares
