"""The log-Gabor: Gaussian in the logarithm of frequency and in direction, as it has no response to a uniform field."""

from __future__ import annotations

import math
from dataclasses import replace

import array_api_compat
import numpy as np

from rfcompare.models.arithmetic import Array
from rfcompare.models.model import Model, turn_back
from rfcompare.models.parameters import MAX_FREQUENCY, X0, Y0, direction, frequency, ratio

BANDWIDTH = ratio("bandwidth_sd", 0.1, 0.8, ("narrower than a map of a few cycles tells", "three octaves"))
DIRECTIONS = replace(
    ratio("direction_sd", 0.1, 0.8, ("narrower than a map of a few cycles tells", "half of all directions")),
    factor=180 / math.pi,
    unit="deg",
)


class LogGabor(Model):
    """A map whose amplitude spectrum is exp(−ln²(|k|/f)/2β² − (angle of k − θ)²/2α²), even and odd part (Field 1987,
    doi:10.1364/JOSAA.4.002379).

    f is its ``frequency``, β the ``bandwidth_sd`` (of the natural logarithm of frequency) and α the ``direction_sd``.
    Unlike a Gabor it never answers to a uniform field. It has no closed form in space: the map is the sum over the
    frequencies k that the pixels resolve, twice as many along each side as pixels, by products of matrices. At the
    center the even part is 1.
    """

    name, title = "log_gabor", "log-Gabor"
    parameters = (X0, Y0, direction(), frequency(), BANDWIDTH, DIRECTIONS)
    linear = ("even", "odd")
    count = 14

    def table(self, p: Array, x: Array, y: Array) -> Array:
        """The even and the odd part, and the derivatives of both by every parameter."""
        xp = array_api_compat.array_namespace(p)
        pitch, size = (float(x[1] - x[0]) if x.shape[0] > 1 else 1.0), max(x.shape[0], y.shape[0])
        line = (xp.astype(xp.arange(2 * size, device=p.device), p.dtype) - size + 0.5) / (2 * size * pitch)  # never 0
        kx, ky = line[None, :], line[:, None]
        theta, f, log_beta, log_alpha = (p[:, i][:, None, None] for i in range(2, 6))
        octaves, off = 0.5 * xp.log(kx * kx + ky * ky) - xp.log(f), xp.atan2(ky, kx) - theta
        off = xp.atan2(xp.sin(off), xp.cos(off))
        beta, alpha = xp.exp(-2 * log_beta), xp.exp(-2 * log_alpha)  # inverse squares
        spectrum = xp.exp(-0.5 * (octaves**2 * beta + off**2 * alpha))
        spectrum = spectrum / xp.sum(spectrum, axis=(1, 2), keepdims=True)
        by = (off * alpha, octaves * beta / f, octaves**2 * beta, off**2 * alpha)  # slopes of its logarithm
        slopes = [spectrum * (slope - xp.sum(spectrum * slope, axis=(1, 2), keepdims=True)) for slope in by]
        waves = [
            xp.exp(2j * math.pi * line[None, :, None] * (axis[None, :] - p[:, i : i + 1])[:, None, :])
            for i, axis in enumerate((x, y))
        ]
        parts = xp.stack([spectrum, spectrum * kx, spectrum * ky, *slopes], axis=1)
        sums = xp.matmul(xp.matmul(xp.matrix_transpose(waves[1])[:, None], parts + 0j), waves[0][:, None])
        even, odd, turned = xp.real(sums), xp.imag(sums), 2 * math.pi
        moved = [(turned * odd[:, i], -turned * even[:, i]) for i in (1, 2)]
        both = [(even[:, 0], odd[:, 0]), *moved, *((even[:, i], odd[:, i]) for i in (3, 4, 5, 6))]
        return xp.stack([part for pair in both for part in pair], axis=1)

    def rows(self, p: Array, linear: Array) -> Array:
        """Each parameter has its own two functions."""
        xp = array_api_compat.array_namespace(p)
        out = xp.zeros((*linear.shape[:2], 6, self.count), dtype=p.dtype, device=p.device)
        for q in range(6):
            out[:, :, q, 2 * q + 2], out[:, :, q, 2 * q + 3] = linear[:, :, 0], linear[:, :, 1]
        return out

    def widest(self, p: Array) -> Array:
        """The SD of a Gabor's envelope with such a bandwidth."""
        xp = array_api_compat.array_namespace(p)
        return xp.exp(-p[..., 4]) / (2 * math.pi * p[..., 3])

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Frequencies from one cycle per map, in octaves."""
        size, p = float(max(len(x), len(y))), super().spread(points, x, y)
        p[:, 3] = (0.9 * MAX_FREQUENCY * size) ** points[:, 3] / size
        return p

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°)."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        linear[:, :, 1] *= turn_back(p)[:, None]
        return p, linear


MODELS = (LogGabor(),)
