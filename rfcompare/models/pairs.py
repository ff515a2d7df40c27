"""Two lobes side by side, of any strengths and sizes: what a Gabor, whose lobes are its carrier's, cannot draw."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import array_api_compat
import numpy as np

from rfcompare.models.arithmetic import Array, at, cos_sin, decay, exp
from rfcompare.models.model import Model, turn_back
from rfcompare.models.parameters import SIGMA_X, SIGMA_Y, X0, Y0, direction, ratio, width

DISTANCE = replace(
    width("distance"),
    width=False,
    bound_reasons=("nearer than one pixel resolves", "lobes farther apart than the map are not both within it"),
)
SIZE_RATIO = ratio("size_ratio", 0.25, 4, ("a lobe a quarter as wide as the other", "four times as wide as the other"))


class GaussianPair(Model):
    """Two elliptical Gaussians, an ON and an OFF lobe or two of one sign, that share their axes and proportions.

    amplitude_first · exp(−((u + d/2)²/2σx² + v²/2σy²)·ρ) + amplitude_second · exp(−((u − d/2)²/2σx² + v²/2σy²)/ρ) +
    offset: u runs along ``orientation + 90°`` from the first to the second, x0 and y0 lie midway, d is the ``distance``
    and ρ the ``size_ratio`` of the second's SDs to the first's; ``sigma_x`` and ``sigma_y`` are their geometric means.
    """

    name, title = "gaussian_pair", "pair of Gaussians"
    parameters = (X0, Y0, direction(2 * math.pi), SIGMA_X, SIGMA_Y, DISTANCE, SIZE_RATIO)
    linear = ("amplitude_first", "amplitude_second")
    count = 12

    @staticmethod
    def constants(p: Any, variant: int) -> Any:
        """Cosine and sine of the direction, half the distance, inverse variances of both lobes."""
        cos, sin = cos_sin(at(p, 2))
        x, y, larger = -2.0 * at(p, 3), -2.0 * at(p, 4), at(p, 6)
        return cos, sin, 0.5 * exp(at(p, 5)), exp(x + larger), exp(y + larger), exp(x - larger), exp(y - larger)

    @staticmethod
    def functions(constants: Any, dx: Any, dy: Any, variant: int) -> Any:
        """Both lobes, each also times u, v, u², uv and v² from its own center."""
        cos, sin, half, a, b, c, d = constants
        u, v = cos * dx + sin * dy, cos * dy - sin * dx
        one, two = u + half, u - half
        first, second = decay(-0.5 * (a * one * one + b * v * v)), decay(-0.5 * (c * two * two + d * v * v))
        f1, f2, s1, s2 = first * one, first * v, second * two, second * v
        return first, second, f1, f2, f1 * one, f1 * v, f2 * v, s1, s2, s1 * two, s1 * v, s2 * v

    @staticmethod
    def chain(constants: Any, p: Any, amplitudes: Any, variant: int) -> Any:
        """The derivatives of each lobe's exponent."""
        f, s = at(amplitudes, 0), at(amplitudes, 1)
        cos, sin, half, a, b, c, d = constants
        fa, fb, sc, sd = f * a, f * b, s * c, s * d
        return (
            (0.0, 0.0, fa * cos, 0.0 - fb * sin, 0.0, 0.0, 0.0, sc * cos, 0.0 - sd * sin, 0.0, 0.0, 0.0),
            (0.0, 0.0, fa * sin, fb * cos, 0.0, 0.0, 0.0, sc * sin, sd * cos, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0 - fb * half, 0.0, fb - fa, 0.0, 0.0, sd * half, 0.0, sd - sc, 0.0),
            (0.0, 0.0, 0.0, 0.0, fa, 0.0, 0.0, 0.0, 0.0, sc, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, fb, 0.0, 0.0, 0.0, 0.0, sd),
            (0.0, 0.0, 0.0 - fa * half, 0.0, 0.0, 0.0, 0.0, sc * half, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0, 0.0, -0.5 * fa, 0.0, -0.5 * fb, 0.0, 0.0, 0.5 * sc, 0.0, 0.5 * sd),
        )

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Lobes 0.8 to 4 SDs apart."""
        p = super().spread(points, x, y)
        p[:, 5] = p[:, 3] + math.log(0.8) + points[:, 5] * math.log(5)
        return p

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°): half a turn makes the second lobe the first."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        swap = turn_back(p) < 0
        p[:, 6] *= xp.where(swap, -1.0, 1.0)
        return p, xp.where(swap[:, None, None], linear[:, :, [1, 0, 2]], linear)


MODELS = (GaussianPair(),)
