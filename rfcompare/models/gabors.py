"""Gabors: an envelope times a carrier, tied to it or turned, straight or curved."""

from __future__ import annotations

import math
from typing import Any

import array_api_compat
import numpy as np

from rfcompare.models.arithmetic import Array, at, cos_sin, decay, exp
from rfcompare.models.model import Model, stack_starts, turn_back
from rfcompare.models.parameters import (
    MAX_FREQUENCY,
    SIGMA_X,
    SIGMA_Y,
    X0,
    Y0,
    angle,
    curvature,
    direction,
    frequency,
)

TIED, FREE, CURVED = 0, 1, 2
"""Forms: envelope along the carrier, with an angle of its own, stripes that are arcs."""


class Gabor(Model):
    """A Gaussian envelope times a cosine carrier: (even · cos ψ + odd · sin ψ) · exp(−u²/2σx² − v²/2σy²) + offset.

    ψ = 2πf·(u + curvature · v²/2). The envelope's axes are tied to the carrier, or turned by ``envelope_angle`` where
    they are free. Published as amplitude ≥ 0 and phase: amplitude · cos(ψ + phase).

    Parameters
    ----------
    form : int
        `TIED`, `FREE` (the envelope has an angle of its own) or `CURVED` (the stripes are arcs, of the given curvature
        1/radius where they cross the center).
    """

    linear = ("even", "odd")
    count = 12

    def __init__(self, form: int = TIED) -> None:
        self.variant = form
        self.name = ("gabor", "gabor_free", "gabor_curved")[form]
        self.title = "Gabor" + ("", " with a free envelope", " with curved stripes")[form]
        more = ((), (angle("envelope_angle", math.pi, period=180.0),), (curvature(),))[form]
        self.parameters = (X0, Y0, direction(), frequency(), SIGMA_X, SIGMA_Y, *more)
        self.nested = None if form == TIED else "gabor"
        self.most = 40  # maps of cells and kernels are described by it whatever they are

    @staticmethod
    def constants(p: Any, variant: int) -> Any:
        """Exponent a·dx² + b·dx·dy + c·dy² and angle kx·dx + ky·dy + a'·dx² + b'·dx·dy + c'·dy²; then what the chain
        needs: carrier and envelope's directions, inverse variances, angular frequency, bend.
        """
        cos, sin = cos_sin(at(p, 2))
        c, s, bend = cos, sin, 0.0 * cos
        if variant == FREE:
            c, s = cos_sin(at(p, 2) + at(p, 6))
        elif variant == CURVED:
            bend = at(p, 6) + 0.0 * cos
        ix, iy, w = exp(-2.0 * at(p, 4)), exp(-2.0 * at(p, 5)), 2.0 * math.pi * at(p, 3)
        half = 0.5 * w * bend
        return (
            -0.5 * (c * c * ix + s * s * iy), c * s * (iy - ix), -0.5 * (s * s * ix + c * c * iy), w * cos, w * sin,
            half * sin * sin, -2.0 * half * cos * sin, half * cos * cos, cos, sin, c, s, ix, iy, w, bend,
        )  # fmt: skip

    @staticmethod
    def functions(constants: Any, dx: Any, dy: Any, variant: int) -> Any:
        """The even and the odd part, each also times dx, dy, dx², dx·dy and dy²."""
        xx, xy, yy = dx * dx, dx * dy, dy * dy
        envelope = decay(constants[0] * xx + constants[1] * xy + constants[2] * yy)
        angle = constants[3] * dx + constants[4] * dy
        if variant == CURVED:
            angle = angle + constants[5] * xx + constants[6] * xy + constants[7] * yy
        cos, sin = cos_sin(angle)
        c, s = envelope * cos, envelope * sin
        return c, s, dx * c, dy * c, xx * c, xy * c, yy * c, dx * s, dy * s, xx * s, xy * s, yy * s

    @staticmethod
    def chain(constants: Any, p: Any, a: Any, variant: int) -> Any:
        """By the log envelope (in dx, dy, dx², dx·dy, dy²) and by the carrier's angle (in 1, dx, …, dy²)."""
        even, odd = at(a, 0), at(a, 1)

        def row(e: Any, angle: Any) -> Any:
            return (
                odd * angle[0], 0.0 - even * angle[0],
                even * e[0] + odd * angle[1], even * e[1] + odd * angle[2], even * e[2] + odd * angle[3],
                even * e[3] + odd * angle[4], even * e[4] + odd * angle[5],
                odd * e[0] - even * angle[1], odd * e[1] - even * angle[2], odd * e[2] - even * angle[3],
                odd * e[3] - even * angle[4], odd * e[4] - even * angle[5],
            )  # fmt: skip

        cos, sin, c, s, ix, iy, w, bend = constants[8:]
        tau, nil, wb = 2.0 * math.pi, 0.0 * w, w * bend
        cross, arc = c * s * (ix - iy), (0.5 * sin * sin, 0.0 - cos * sin, 0.5 * cos * cos)  # v²/2 in dx², dx·dy, dy²
        none, flat = (nil, nil, nil, nil, nil), (nil, nil, nil, nil, nil, nil)
        turn = (nil, nil, cross, (s * s - c * c) * (ix - iy), 0.0 - cross)
        last_envelope, last_angle = none, flat
        if variant == FREE:
            last_envelope = turn
        elif variant == CURVED:
            last_angle = (nil, nil, nil, w * arc[0], w * arc[1], w * arc[2])
        return (
            row(
                (c * c * ix + s * s * iy, cross, nil, nil, nil),
                (0.0 - w * cos, 0.0 - wb * sin * sin, wb * sin * cos, nil, nil, nil),
            ),
            row(
                (cross, s * s * ix + c * c * iy, nil, nil, nil),
                (0.0 - w * sin, wb * sin * cos, 0.0 - wb * cos * cos, nil, nil, nil),
            ),
            row(
                turn,
                (nil, 0.0 - w * sin, w * cos, wb * cos * sin, wb * (sin * sin - cos * cos), 0.0 - wb * cos * sin),
            ),
            row(none, (nil, tau * cos, tau * sin, tau * bend * arc[0], tau * bend * arc[1], tau * bend * arc[2])),
            row((nil, nil, c * c * ix, 2.0 * c * s * ix, s * s * ix), flat),
            row((nil, nil, s * s * iy, -2.0 * c * s * iy, c * c * iy), flat),
            row(last_envelope, last_angle),
        )

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """SDs of 0.03 to 0.3 of the map and 0.04 to 0.8 cycles per SD, both in octaves."""
        size, p = float(max(len(x), len(y))), super().spread(points, x, y)
        p[:, 4:6] = np.log(0.03 * size) + points[:, 4:6] * math.log(10)
        p[:, 3] = np.minimum(0.04 * 20 ** points[:, 3] / np.exp(p[:, 4]), 0.9 * MAX_FREQUENCY)
        return p

    def extend(self, p: Array, size: float) -> Array:
        """The plain Gabor, and the envelope turned or the stripes bent to either side."""
        values = (0.0, -0.4, 0.4) if self.variant == FREE else (0.0, -1.0 / size, 1.0 / size)
        columns = [p[:, i] for i in range(6)]
        return stack_starts([[*columns, value] for value in values], p[:, 0])

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°); a free envelope within 45° of the carrier."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        half = turn_back(p)
        linear[:, :, 1] *= half[:, None]  # (θ, φ) and (θ + 180°, −φ) are one map
        if self.variant == CURVED:
            p[:, 6] *= half
        if self.variant == FREE:  # the envelope's axis nearest to the carrier is σx
            quarters = xp.floor((p[:, 6] + math.pi / 4) / (math.pi / 2))
            p[:, 6] -= quarters * math.pi / 2
            p[:, 4:6] = xp.where((quarters % 2 == 1)[:, None], p[:, [5, 4]], p[:, 4:6])
        return p, linear


MODELS = (Gabor(), Gabor(FREE), Gabor(CURVED))
