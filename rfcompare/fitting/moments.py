"""The Gabor's normal equations from sums over pixels, without a Jacobian.

Modulo the linear span {E cos, E sin, 1} the derivatives of G = a·E cos + b·E sin are combinations of dx·G, dy·G, dx²·G,
dxdy·G, dy²·G, dx·S and dy·S with S = b·E cos − a·E sin. Everything that the Kaufman form of variable projection needs
(Kaufman 1975, doi:10.1007/BF01932995) is therefore a combination of the moments

    Σ {E², E² cos 2ψ, E² sin 2ψ} dxⁱdyʲ (i + j ≤ 4)   and   Σ {E, yE}·{cos ψ, sin ψ} dxⁱdyʲ (i + j ≤ 2),

and as ψ = kx·dx + ky·dy the trigonometric and polynomial factors separate: the sums are batched products of the
envelope (height × width) with a (terms × height) and a (width × terms) matrix.
"""

from __future__ import annotations

import math

import array_api_compat
import numpy as np

from rfcompare.models import Array

# Powers (of dx, of dy) of the seven generators; the first five multiply G, the last two S.
_POWERS = ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2), (1, 0), (0, 1))
_PAIR = np.array([[(i + k) * 5 + (j + m) for k, m in _POWERS] for i, j in _POWERS]).reshape(-1)
_SINGLE = np.array([i * 5 + j for i, j in _POWERS])
_SINGLE3 = np.array([i * 3 + j for i, j in _POWERS])
_IS_S = np.array([0.0] * 5 + [1.0] * 2)
# How often each pair of generators takes two G, one of each, two S.
_GG = np.outer(1 - _IS_S, 1 - _IS_S).reshape(-1)
_SS = np.outer(_IS_S, _IS_S).reshape(-1)
_GS = 1 - _GG - _SS


def _polynomials(d: Array, cosine: Array, sine: Array, order: int, constant: bool) -> Array:
    """(n, terms, length): {1,} cosine, sine, each times d⁰ … d^order, the powers fastest."""
    xp = array_api_compat.array_namespace(d)
    powers = [xp.ones_like(d)]
    for _ in range(order):
        powers.append(powers[-1] * d)
    stack = xp.stack(powers, axis=1)
    parts = [stack] if constant else []
    return xp.concat([*parts, stack * cosine[:, None], stack * sine[:, None]], axis=1)


def gabor_moments(
    p: Array, maps: Array, mask: Array, x: Array, y: Array, *, derivatives: bool
) -> tuple[Array, Array, Array]:
    """The moments of a Gabor's envelope, one row per parameter vector.

    Parameters
    ----------
    p : (n, 6) array
        x0, y0, theta, frequency, log σx, log σy.
    maps : (n, channel, height, width) array
        Zero where the mask is.
    mask : (n, height, width) array
    x, y : (width,) and (height,) arrays
    derivatives : bool
        Without them only the zeroth moments are summed.

    Returns
    -------
    square : (n, 3, 25) or (n, 3, 1) array
        Σ {E², E² cos 2ψ, E² sin 2ψ} dxⁱdyʲ at index 5i + j.
    single : (n, 2, 9) or (n, 2, 1) array
        Σ E {cos ψ, sin ψ} dxⁱdyʲ at index 3i + j.
    data : (n, channel, 2, 9) or (n, channel, 2, 1) array
        The same sums with the map as a factor.
    """
    xp = array_api_compat.array_namespace(p)
    dx, dy = x[None] - p[:, 0:1], y[None] - p[:, 1:2]
    c, s = xp.cos(p[:, 2:3]), xp.sin(p[:, 2:3])
    ix, iy = 0.5 * xp.exp(-2 * p[:, 4:5]), 0.5 * xp.exp(-2 * p[:, 5:6])
    w = 2 * math.pi * p[:, 3:4]
    ax, ay = w * c * dx, w * s * dy
    envelope = ((-2 * (ix - iy) * c * s) * dy)[:, :, None] * dx[:, None, :]
    envelope = envelope - ((c * c * ix + s * s * iy) * dx**2)[:, None, :]
    envelope = envelope - ((s * s * ix + c * c * iy) * dy**2)[:, :, None]
    envelope = xp.exp(envelope)
    seen = envelope * mask
    cx, sx, cy, sy = xp.cos(ax), xp.sin(ax), xp.cos(ay), xp.sin(ay)
    n, channels = p.shape[0], maps.shape[1]

    def sums(values: Array, rows: Array, columns: Array) -> Array:
        """(n, k, i, l, j) of the terms along y (k, powers j) and along x (l, powers i)."""
        return xp.matmul(xp.matmul(rows, values), xp.matrix_transpose(columns))

    low, high = (2, 4) if derivatives else (0, 0)
    rows = _polynomials(dy, cy, sy, low, constant=False)
    columns = _polynomials(dx, cx, sx, low, constant=False)
    q = low + 1

    def carrier(values: Array, rows: Array, columns: Array) -> Array:
        """cos ψ and sin ψ from products of the separate cosines and sines."""
        out = sums(values, rows, columns)
        cc, cs = out[:, :q, :q], out[:, :q, q:]
        sc, ss = out[:, q:, :q], out[:, q:, q:]
        both = xp.stack([cc - ss, sc + cs], axis=1)  # (n, 2, j, i)
        return xp.reshape(xp.matrix_transpose(both), (n, 2, q * q))

    single = carrier(seen, rows, columns)
    data = xp.stack([carrier(envelope * maps[:, k], rows, columns) for k in range(channels)], axis=1)

    q = high + 1
    rows = _polynomials(dy, cy * cy - sy * sy, 2 * cy * sy, high, constant=True)
    columns = _polynomials(dx, cx * cx - sx * sx, 2 * cx * sx, high, constant=True)
    out = sums(seen * envelope, rows, columns)
    flat = out[:, :q, :q]
    cc, cs = out[:, q : 2 * q, q : 2 * q], out[:, q : 2 * q, 2 * q :]
    sc, ss = out[:, 2 * q :, q : 2 * q], out[:, 2 * q :, 2 * q :]
    square = xp.reshape(xp.matrix_transpose(xp.stack([flat, cc - ss, sc + cs], axis=1)), (n, 3, q * q))
    return square, single, data


def gram_and_projection(square: Array, single: Array, data: Array, count: Array) -> tuple[Array, Array]:
    """Gram matrix (n, 3, 3) of {E cos, E sin, 1} and its products with the maps (n, 3, channel)."""
    xp = array_api_compat.array_namespace(square)
    cc = 0.5 * (square[:, 0, 0] + square[:, 1, 0])
    ss = 0.5 * (square[:, 0, 0] - square[:, 1, 0])
    cs = 0.5 * square[:, 2, 0]
    c1, s1 = single[:, 0, 0], single[:, 1, 0]
    gram = xp.reshape(xp.stack([cc, cs, c1, cs, ss, s1, c1, s1, count], axis=1), (-1, 3, 3))
    first = xp.matrix_transpose(data[:, :, :, 0])
    return gram, xp.concat([first, 0.0 * first[:, :1]], axis=1)


def gabor_derivatives(p: Array, linear: Array, square: Array, single: Array, data: Array) -> tuple[Array, Array, Array]:
    """Normal equations of the six nonlinear parameters, modulo the linear span.

    Parameters
    ----------
    p : (n, 6) array
    linear : (n, channel, 3) array
        a, b and offset per channel.
    square, single, data
        From `gabor_moments` with derivatives.

    Returns
    -------
    gradient : (n, 6) array
        Jᵀ(map − model), summed over channels.
    hessian : (n, 6, 6) array
        JᵀJ before projection.
    cross : (n, channel, 6, 3) array
        Products of the derivatives with the basis {E cos, E sin, 1}.
    """
    xp = array_api_compat.array_namespace(p)
    device = p.device

    def constant(values: np.ndarray, dtype: object = None) -> Array:
        return xp.asarray(values, dtype=dtype or p.dtype, device=device)

    n = linear.shape[0]
    a, b, d = linear[:, :, 0], linear[:, :, 1], linear[:, :, 2]
    plus = xp.sum(0.5 * (a * a + b * b), axis=1)[:, None]
    minus = xp.sum(0.5 * (a * a - b * b), axis=1)[:, None]
    product = xp.sum(a * b, axis=1)[:, None]
    pair = xp.take(square, constant(_PAIR, xp.int64), axis=2)
    m0, mc, ms = pair[:, 0], pair[:, 1], pair[:, 2]
    sum_term, cos_term, sin_term = plus * m0, minus * mc + product * ms, product * mc - minus * ms
    gg, ss, gs = constant(_GG), constant(_SS), constant(_GS)
    inner = xp.reshape(gg * (sum_term + cos_term) + ss * (sum_term - cos_term) + gs * sin_term, (n, 7, 7))

    pick = constant(_SINGLE, xp.int64)
    m0, mc, ms = (xp.take(square[:, k], pick, axis=1)[:, None] for k in range(3))
    ec, es = (xp.take(single[:, k], constant(_SINGLE3, xp.int64), axis=1)[:, None] for k in range(2))
    yc, ys = (xp.take(data[:, :, k], constant(_SINGLE3, xp.int64), axis=2) for k in range(2))
    is_s = constant(_IS_S)
    # G = a·cos + b·sin, S = b·cos − a·sin: coefficients on cos and sin of each generator
    on_cos = (1 - is_s) * a[:, :, None] + is_s * b[:, :, None]
    on_sin = (1 - is_s) * b[:, :, None] - is_s * a[:, :, None]
    cc, ss_, cs = 0.5 * (m0 + mc), 0.5 * (m0 - mc), 0.5 * ms
    to_cos, to_sin = on_cos * cc + on_sin * cs, on_cos * cs + on_sin * ss_
    to_one = on_cos * ec + on_sin * es
    slope = on_cos * yc + on_sin * ys - to_cos * a[:, :, None] - to_sin * b[:, :, None] - to_one * d[:, :, None]
    cross = xp.stack([to_cos, to_sin, to_one], axis=3)  # (n, channel, 7, 3)

    theta, w = p[:, 2], 2 * math.pi * p[:, 3]
    c, s = xp.cos(theta), xp.sin(theta)
    ix, iy = xp.exp(-2 * p[:, 4]), xp.exp(-2 * p[:, 5])
    aa, cc_ = c * c * ix + s * s * iy, s * s * ix + c * c * iy
    ab, turn = c * s * (ix - iy), (c * c - s * s) * (ix - iy)
    zero = xp.zeros_like(c)
    two_pi = 2 * math.pi
    # Rows: generators; columns: x0, y0, theta, f, log σx, log σy
    chain = xp.reshape(
        xp.stack(
            [
                *(aa, ab, zero, zero, zero, zero),
                *(ab, cc_, zero, zero, zero, zero),
                *(zero, zero, ab, zero, c * c * ix, s * s * iy),
                *(zero, zero, -turn, zero, 2 * c * s * ix, -2 * c * s * iy),
                *(zero, zero, -ab, zero, s * s * ix, c * c * iy),
                *(zero, zero, -w * s, two_pi * c, zero, zero),
                *(zero, zero, w * c, two_pi * s, zero, zero),
            ],
            axis=1,
        ),
        (n, 7, 6),
    )
    back = xp.matrix_transpose(chain)
    hessian = xp.matmul(xp.matmul(back, inner), chain)
    gradient = xp.matmul(back, xp.sum(slope, axis=1)[:, :, None])[:, :, 0]
    cross = xp.matmul(back[:, None], cross)
    return gradient, hessian, cross
