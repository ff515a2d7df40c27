"""Gaussians: flat, round, elliptical, center and surround, and derivatives along an axis."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from rfcompare.models.arithmetic import Array, at, cos_sin, decay, exp
from rfcompare.models.model import Model, turn_back
from rfcompare.models.parameters import SIGMA_X, SIGMA_Y, X0, Y0, Parameter, direction, width


class Constant(Model):
    """Nothing but an offset: the flat map that every other model must beat."""

    name, title = "constant", "constant"
    parameters: tuple[Parameter, ...] = ()
    linear: tuple[str, ...] = ()
    count = 0


class IsotropicGaussian(Model):
    """A round blob: amplitude · exp(−r²/2σ²) + offset."""

    name, title = "gaussian_isotropic", "isotropic Gaussian"
    parameters = (X0, Y0, width("sigma"))
    linear = ("amplitude",)
    count = 4

    @staticmethod
    def constants(p: Any, variant: int) -> Any:
        """The inverse variance."""
        return (exp(-2.0 * at(p, 2)),)

    @staticmethod
    def functions(constants: Any, dx: Any, dy: Any, variant: int) -> Any:
        """The blob, and its derivatives by x0, y0 and log σ."""
        inverse = constants[0]
        square = dx * dx + dy * dy
        blob = decay(-0.5 * inverse * square)
        scaled = blob * inverse
        return blob, scaled * dx, scaled * dy, scaled * square

    @staticmethod
    def chain(constants: Any, p: Any, a: Any, variant: int) -> Any:
        """One function each."""
        one = at(a, 0)
        return (0.0, one, 0.0, 0.0), (0.0, 0.0, one, 0.0), (0.0, 0.0, 0.0, one)


class DifferenceOfGaussians(Model):
    """Center and surround, of either sign: amplitude_center · exp(−r²/2σc²) + amplitude_surround · exp(−r²/2σs²)."""

    name, title = "dog", "center–surround (difference of Gaussians)"
    parameters = (X0, Y0, width("sigma_center"), width("sigma_surround"))
    linear = ("amplitude_center", "amplitude_surround")
    count = 8

    @staticmethod
    def constants(p: Any, variant: int) -> Any:
        """Inverse variances of center and surround."""
        return exp(-2.0 * at(p, 2)), exp(-2.0 * at(p, 3))

    @staticmethod
    def functions(constants: Any, dx: Any, dy: Any, variant: int) -> Any:
        """Center and surround, each also times dx, dy and r² over its variance."""
        a, b = constants
        square = dx * dx + dy * dy
        center, surround = decay(-0.5 * a * square), decay(-0.5 * b * square)
        ca, sb = center * a, surround * b
        return center, surround, ca * dx, ca * dy, ca * square, sb * dx, sb * dy, sb * square

    @staticmethod
    def chain(constants: Any, p: Any, a: Any, variant: int) -> Any:
        """The center's functions and the surround's."""
        c, s = at(a, 0), at(a, 1)
        return (
            (0.0, 0.0, c, 0.0, 0.0, s, 0.0, 0.0),
            (0.0, 0.0, 0.0, c, 0.0, 0.0, s, 0.0),
            (0.0, 0.0, 0.0, 0.0, c, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, s),
        )

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The surround 1.15 to 2.9 times as wide as the center."""
        p = super().spread(points, x, y)
        p[:, 3] = p[:, 2] + math.log(1.15) + points[:, 3] * math.log(2.5)
        return p

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """The narrower Gaussian is the center."""
        xp = array_api_compat.array_namespace(p)
        swap = p[:, 2] > p[:, 3]
        p = xp.where(swap[:, None], p[:, [0, 1, 3, 2]], p)
        return p, xp.where(swap[:, None, None], linear[:, :, [1, 0, 2]], linear)


class GaussianDerivative(Model):
    """The n-th derivative of an elliptical Gaussian along one of its axes; order 0 is the Gaussian itself.

    amplitude · Heₙ(u/σx) · exp(−u²/2σx² − v²/2σy²) + offset with probabilists' Hermite polynomials Heₙ and u along
    ``orientation + 90°`` (Young 1987, doi:10.1163/156856887X00222). ``amplitude`` has either sign.
    """

    parameters = (X0, Y0, direction(), SIGMA_X, SIGMA_Y)
    linear = ("amplitude",)
    count = 6

    def __init__(self, order: int) -> None:
        self.variant = order
        words = ("elliptical Gaussian", "first", "second", "third", "fourth")
        self.name = "gaussian" if order == 0 else f"derivative{order}"
        self.title = words[0] if order == 0 else f"{words[order]} derivative of a Gaussian"

    @staticmethod
    def constants(p: Any, variant: int) -> Any:
        """Cosine and sine of the direction, inverse SDs."""
        cos, sin = cos_sin(at(p, 2))
        return cos, sin, exp(0.0 - at(p, 3)), exp(0.0 - at(p, 4))

    @staticmethod
    def functions(constants: Any, dx: Any, dy: Any, variant: int) -> Any:
        """The derivative of order `variant` of a Gaussian, and its derivatives by the five parameters."""
        cos, sin, ix, iy = constants
        u, v = (cos * dx + sin * dy) * ix, (cos * dy - sin * dx) * iy
        previous, current = 0.0 * u, 0.0 * u + 1.0
        for n in range(variant):
            previous, current = current, u * current - (1.0 * n) * previous
        envelope = decay(-0.5 * (u * u + v * v))
        basis = current * envelope
        by_u = ((1.0 * variant) * previous - u * current) * envelope  # d/du of Heₙ(u)·exp(−u²/2)
        by_v = 0.0 - v * basis
        xu, yv = ix * by_u, iy * by_v
        turn = v * by_u * (ix / iy) - u * by_v * (iy / ix)
        return basis, sin * yv - cos * xu, 0.0 - sin * xu - cos * yv, turn, 0.0 - u * by_u, 0.0 - v * by_v

    @staticmethod
    def chain(constants: Any, p: Any, a: Any, variant: int) -> Any:
        """One function each."""
        one = at(a, 0)
        return (
            (0.0, one, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, one, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0, one, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, one, 0.0),
            (0.0, 0.0, 0.0, 0.0, 0.0, one),
        )

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°); a plain Gaussian's stripes lie along its long axis."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        if self.variant == 0:  # the stripes' direction of a plain Gaussian is its long axis
            swap = p[:, 3] > p[:, 4]
            p[:, 2] += xp.where(swap, math.pi / 2, 0.0)
            p[:, 3:] = xp.where(swap[:, None], p[:, [4, 3]], p[:, 3:])
        half = turn_back(p)
        if self.variant % 2:
            linear[:, :, 0] *= half[:, None]
        return p, linear


MODELS = (
    Constant(),
    IsotropicGaussian(),
    GaussianDerivative(0),
    DifferenceOfGaussians(),
    *(GaussianDerivative(order) for order in (1, 2, 3, 4)),
)
