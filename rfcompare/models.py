"""What can be fitted to a receptive-field map: formula, derivatives, bounds, range and canonical form.

Every model is a sum of *basis functions* with linear amplitudes plus a constant offset,

    map(x, y) = Σ_l amplitude_l · basis_l(x, y; p) + offset,

so that only the few nonlinear parameters ``p`` are ever searched: the amplitudes follow by linear least squares
(variable projection; Golub & Pereyra 1973, doi:10.1137/0710036). All arithmetic is in pixels of the native grid, with
y up and angles anticlockwise, over the Python array API: the same lines run on NumPy arrays and on torch tensors.

Adding a model
--------------
Subclass `Model`, give it a name, its `Parameter` s and linear terms, write `evaluate` (basis functions and their
derivatives), override `spread` where what is plausible of one parameter depends on another and `canonical` if one map
has several parameter vectors, and list an instance in `MODELS`. Standard errors, statuses, model selection
and the engine that starts at once need nothing else; the compiled one has a seam of its own, in
``fitting/compiled/shapes.py``.

Examples
--------
>>> import numpy as np
>>> from rfcompare.models import MODELS, map_of
>>> gabor = MODELS["gabor"]
>>> [parameter.name for parameter in gabor.parameters], gabor.linear
(['x0', 'y0', 'theta', 'frequency', 'sigma_x', 'sigma_y'], ('even', 'odd'))
>>> p = np.array([[2.0, 2.0, 0.0, 0.25, 0.0, 0.0]])  # SDs are searched as logarithms: log(1 px) = 0
>>> map_of(gabor, p, np.array([[[1.0, 0.0, 0.0]]]), np.arange(5.0), np.arange(5.0))[0, 0, 2].round(3)
array([-0.135,  0.   ,  1.   ,  0.   , -0.135])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import array_api_compat
import numpy as np

Array = Any
"""A NumPy array or another array-API array (a torch tensor)."""

Derivatives = list[list[Array | None]]
"""``[parameter][term]``: derivative of a basis function by a parameter; None where it is zero."""

Link = Literal["x", "y", "angle", "frequency", "log_length", "curvature"]

MIN_SIGMA = 0.4
"""Smallest SD in pixels: below it a single noisy pixel is fitted."""

MAX_FREQUENCY = 0.5
"""Nyquist, cycles per pixel; a carrier beyond it is an alias of one below."""


@dataclass(frozen=True)
class Parameter:
    """A nonlinear parameter: its name and how it is searched.

    Attributes
    ----------
    name : str
        As in `rfcompare.quantities`; ``theta`` is the direction across the stripes and is published as the
        ``orientation`` of the stripes.
    link : {"x", "y", "angle", "frequency", "log_length", "curvature"}
        What it means: a position or a frequency in pixels, an angle in radians, the logarithm of a length.
    """

    name: str
    link: Link

    @property
    def bound_reasons(self) -> tuple[str, str]:
        """Why its lower and its upper bound stand where they do; "" where it has none."""
        return _BOUND_REASONS[self.link]


_BOUND_REASONS: Mapping[Link, tuple[str, str]] = {
    "x": ("the center stays within the map", "the center stays within the map"),
    "y": ("the center stays within the map", "the center stays within the map"),
    "angle": ("", ""),
    "frequency": ("a tenth of a cycle over the map cannot be told from none", "Nyquist: beyond it lies an alias"),
    "log_length": ("narrower than one pixel resolves", "an envelope wider than the map is flat within it"),
    "curvature": ("arcs have radii from a quarter of the map", "arcs have radii from a quarter of the map"),
}


def _stack_starts(xp: Any, rows: Sequence[Sequence[Array | float]], like: Array) -> Array:
    """Rows of parameters, each a number or an (n,) array, as one (n, rows, parameters) array."""
    one = xp.ones_like(like)
    return xp.stack([xp.stack([value * one for value in row], axis=-1) for row in rows], axis=1)


class Model(ABC):
    """One kind of map; see the module's text for the seam.

    Attributes
    ----------
    name, title : str
        Its name in the public interface and in full words.
    parameters : tuple of Parameter
        The nonlinear parameters, in the order of ``p``.
    linear : tuple of str
        The basis functions' amplitudes, without the offset that every model has.
    nested : str or None
        A model with fewer parameters whose fits are the starts of this one (through `extend`).
    most : int
        Starts for a map that is not of this kind.
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    linear: tuple[str, ...]
    nested: str | None = None
    most: int = 20

    @property
    def degrees_of_freedom(self) -> int:
        """Number of fitted numbers for one channel, offset included."""
        return len(self.parameters) + len(self.linear) + 1

    @abstractmethod
    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """Basis functions and their derivatives.

        Parameters
        ----------
        p : (n, parameters) array
            Nonlinear parameters.
        x, y : (width,) and (height,) arrays
            Pixel positions.
        slopes : bool
            Whether the derivatives are wanted; without them the second list is empty.

        Returns
        -------
        basis : list of (n, height, width) arrays
            One per linear term.
        derivatives : list of lists
            ``derivatives[q][l]`` is the derivative of basis function ``l`` by parameter ``q``; None where it is zero.
        """

    def extend(self, p: Array, size: float) -> Array:
        """Starts (n, starts, parameters) from fits (n, parameters) of the nested model, for maps of `size` pixels."""
        raise TypeError(f"{self.name} has no nested model")

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Parameters that fill the range of plausible maps as evenly as `points` fill the unit cube.

        Parameters
        ----------
        points : (n, parameters) array
            Between 0 and 1.
        x, y : (width,) and (height,) arrays
            Pixel positions.

        Returns
        -------
        (n, parameters) array
            The center in the inner four fifths of the map, any direction, SDs from 0.06 to 0.4 of its longer side.
        """
        size = float(max(len(x), len(y)))
        table = {
            "x": (0.8 * float(x[0]), 0.8 * float(x[-1])),
            "y": (0.8 * float(y[0]), 0.8 * float(y[-1])),
            "angle": (0.0, math.pi),
            "frequency": (0.3 / size, MAX_FREQUENCY),
            "log_length": (math.log(max(0.06 * size, 0.5)), math.log(max(0.4 * size, 1.0))),
            "curvature": (-2.0 / size, 2.0 / size),
        }
        limits = np.array([table[parameter.link] for parameter in self.parameters])
        return np.asarray(limits[:, 0] + points * (limits[:, 1] - limits[:, 0]))

    def bounds(self, x: Array, y: Array) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the nonlinear parameters on pixel positions x, y.

        The center stays within the map; 0.1/size ≤ f ≤ 0.5; 0.4 ≤ σ ≤ size.
        """
        size = float(max(len(x), len(y)))
        step_x = abs(float(x[1] - x[0])) if len(x) > 1 else 1.0
        step_y = abs(float(y[1] - y[0])) if len(y) > 1 else 1.0
        table = {
            "x": (float(x[0]) - 0.5 * step_x, float(x[-1]) + 0.5 * step_x),
            "y": (float(y[0]) - 0.5 * step_y, float(y[-1]) + 0.5 * step_y),
            "angle": (-np.inf, np.inf),
            "frequency": (0.1 / size, MAX_FREQUENCY),
            "log_length": (math.log(MIN_SIGMA), math.log(size)),
            "curvature": (-4.0 / size, 4.0 / size),
        }
        limits = np.array([table[parameter.link] for parameter in self.parameters]).reshape(-1, 2)
        return limits[:, 0], limits[:, 1]

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """The one parameter vector that stands for a map.

        Parameters
        ----------
        p : (n, parameters) array
        linear : (n, channel, terms + 1) array
            Amplitudes, offset last.
        """
        return p, linear


def map_of(model: Model, p: Array, linear: Array, x: Array, y: Array) -> Array:
    """Maps (n, channel, height, width) of a model.

    Parameters
    ----------
    model : Model
    p : (n, parameters) array
    linear : (n, channel, terms + 1) array
        Amplitudes, offset last.
    x, y : (width,) and (height,) arrays
        Pixel positions.
    """
    xp = array_api_compat.array_namespace(p)
    out = linear[:, :, -1][:, :, None, None] * xp.ones((1, 1, y.shape[0], x.shape[0]), dtype=p.dtype, device=p.device)
    for term, basis in enumerate(model.evaluate(p, x, y, slopes=False)[0]):
        out = out + linear[:, :, term][:, :, None, None] * basis[:, None]
    return out


def _columns(p: Array) -> list[Array]:
    return [p[:, i][:, None, None] for i in range(p.shape[1])]


def _turn_back(p: Array) -> Array:
    """Turn θ (column 2, in place) by half turns so that the stripes' orientation θ − 90° lies in [0°, 180°).

    Returns
    -------
    (n,) array
        −1 where an odd number of half turns reversed the direction across the stripes, else 1.
    """
    xp = array_api_compat.array_namespace(p)
    turns = xp.floor((p[:, 2] - math.pi / 2) / math.pi)
    p[:, 2] -= turns * math.pi
    return xp.where(turns % 2 == 0, 1.0, -1.0)


class Constant(Model):
    """Nothing but an offset: the flat map that every other model must beat."""

    name, title = "constant", "constant"
    parameters: tuple[Parameter, ...] = ()
    linear: tuple[str, ...] = ()

    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """No basis functions."""
        return [], []


X0, Y0, THETA = Parameter("x0", "x"), Parameter("y0", "y"), Parameter("theta", "angle")
SIGMA_X, SIGMA_Y = Parameter("sigma_x", "log_length"), Parameter("sigma_y", "log_length")


class IsotropicGaussian(Model):
    """A round blob: amplitude · exp(−r²/2σ²) + offset."""

    name, title = "gaussian_isotropic", "isotropic Gaussian"
    parameters = (X0, Y0, Parameter("sigma", "log_length"))
    linear = ("amplitude",)

    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """The blob and its three derivatives."""
        xp = array_api_compat.array_namespace(p)
        x0, y0, log_sigma = _columns(p)
        dx, dy = x[None, None, :] - x0, y[None, :, None] - y0
        inverse = xp.exp(-2 * log_sigma)
        blob = xp.exp(-0.5 * inverse * dx**2) * xp.exp(-0.5 * inverse * dy**2)
        if not slopes:
            return [blob], []
        return [blob], [[blob * (dx * inverse)], [blob * (dy * inverse)], [blob * ((dx**2 + dy**2) * inverse)]]


class DifferenceOfGaussians(Model):
    """Center and surround, of either sign: amplitude_center · exp(−r²/2σc²) + amplitude_surround · exp(−r²/2σs²)."""

    name, title = "dog", "center–surround (difference of Gaussians)"
    parameters = (X0, Y0, Parameter("sigma_center", "log_length"), Parameter("sigma_surround", "log_length"))
    linear = ("amplitude_center", "amplitude_surround")

    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """Center and surround."""
        xp = array_api_compat.array_namespace(p)
        x0, y0, log_center, log_surround = _columns(p)
        dx, dy = x[None, None, :] - x0, y[None, :, None] - y0
        square = dx**2 + dy**2
        a, b = xp.exp(-2 * log_center), xp.exp(-2 * log_surround)
        center = xp.exp(-0.5 * a * dx**2) * xp.exp(-0.5 * a * dy**2)
        surround = xp.exp(-0.5 * b * dx**2) * xp.exp(-0.5 * b * dy**2)
        if not slopes:
            return [center, surround], []
        return [center, surround], [
            [center * (dx * a), surround * (dx * b)],
            [center * (dy * a), surround * (dy * b)],
            [center * (square * a), None],
            [None, surround * (square * b)],
        ]

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

    def __init__(self, order: int) -> None:
        self.order = order
        words = ("elliptical Gaussian", "first", "second", "third", "fourth")
        self.name = "gaussian" if order == 0 else f"derivative{order}"
        self.title = words[0] if order == 0 else f"{words[order]} derivative of a Gaussian"
        self.parameters = (X0, Y0, THETA, SIGMA_X, SIGMA_Y)
        self.linear = ("amplitude",)

    def _hermite(self, t: Array, order: int) -> Array | float:
        previous, current = 0.0, t * 0 + 1.0
        for n in range(order):
            previous, current = current, t * current - n * previous
        return current

    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """Heₙ(u/σx) times the envelope."""
        xp = array_api_compat.array_namespace(p)
        x0, y0, theta, log_x, log_y = _columns(p)
        dx, dy = x[None, None, :] - x0, y[None, :, None] - y0
        c, s, ix, iy = xp.cos(theta), xp.sin(theta), xp.exp(-log_x), xp.exp(-log_y)
        u, v = (c * dx + s * dy) * ix, (c * dy - s * dx) * iy
        envelope = xp.exp(-0.5 * (u**2 + v**2))
        basis = self._hermite(u, self.order) * envelope
        if not slopes:
            return [basis], []
        by_u = -self._hermite(u, self.order + 1) * envelope  # d/du of Heₙ(u)·exp(−u²/2)
        by_v = -v * basis
        return [basis], [
            [-c * ix * by_u + s * iy * by_v],
            [-s * ix * by_u - c * iy * by_v],
            [(v * by_u) * (ix / iy) - (u * by_v) * (iy / ix)],
            [-u * by_u],
            [-v * by_v],
        ]

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°); a plain Gaussian's stripes lie along its long axis."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        if self.order == 0:  # the stripes' direction of a plain Gaussian is its long axis
            swap = p[:, 3] > p[:, 4]
            p[:, 2] += xp.where(swap, math.pi / 2, 0.0)
            p[:, 3:] = xp.where(swap[:, None], p[:, [4, 3]], p[:, 3:])
        half = _turn_back(p)
        if self.order % 2:
            linear[:, :, 0] *= half[:, None]
        return p, linear


class Gabor(Model):
    """A Gaussian envelope times a cosine carrier: (even · cos ψ + odd · sin ψ) · exp(−u²/2σx² − v²/2σy²) + offset.

    ψ = 2πf·(u + curvature · v²/2). The envelope's axes are tied to the carrier, or turned by ``envelope_angle`` where
    they are free. Published as amplitude ≥ 0 and phase: amplitude · cos(ψ + phase).

    Parameters
    ----------
    free : bool
        Whether the envelope has an angle of its own.
    curved : bool
        Whether the stripes are arcs, of the given curvature (1/radius) where they cross the center.
    """

    def __init__(self, *, free: bool = False, curved: bool = False) -> None:
        self.free, self.curved = free, curved
        self.name = "gabor_free" if free else "gabor_curved" if curved else "gabor"
        self.title = "Gabor" + (" with a free envelope" if free else " with curved stripes" if curved else "")
        self.parameters = (X0, Y0, THETA, Parameter("frequency", "frequency"), SIGMA_X, SIGMA_Y)
        if free:
            self.parameters += (Parameter("envelope_angle", "angle"),)
        if curved:
            self.parameters += (Parameter("curvature", "curvature"),)
        self.linear = ("even", "odd")
        self.nested = "gabor" if free or curved else None
        self.most = 40  # maps of cells and kernels are described by it whatever they are

    def evaluate(self, p: Array, x: Array, y: Array, *, slopes: bool = True) -> tuple[list[Array], Derivatives]:
        """The even and the odd part."""
        xp = array_api_compat.array_namespace(p)
        x0, y0, theta, frequency, log_x, log_y, *more = _columns(p)
        dx, dy = x[None, None, :] - x0, y[None, :, None] - y0
        c, s, w = xp.cos(theta), xp.sin(theta), 2 * math.pi * frequency
        ix, iy = xp.exp(-2 * log_x), xp.exp(-2 * log_y)
        ce, se = (xp.cos(theta + more[0]), xp.sin(theta + more[0])) if self.free else (c, s)
        # Both the exponent and ψ = kx·dx + ky·dy are taken apart along the sides, which have far fewer pixels.
        log_envelope = ((-ce * se * (ix - iy)) * dy) * dx
        log_envelope = log_envelope - 0.5 * (ce * ce * ix + se * se * iy) * dx**2
        envelope = xp.exp(log_envelope - 0.5 * (se * se * ix + ce * ce * iy) * dy**2)
        k = more[0] if self.curved else 0.0
        if self.curved:
            angle = w * (c * dx + s * dy + 0.5 * k * (c * dy - s * dx) ** 2)
            even, odd = envelope * xp.cos(angle), envelope * xp.sin(angle)
        else:
            cx, sx, cy, sy = xp.cos(w * c * dx), xp.sin(w * c * dx), xp.cos(w * s * dy), xp.sin(w * s * dy)
            even, odd = envelope * (cx * cy - sx * sy), envelope * (sx * cy + cx * sy)
        if not slopes:
            return [even, odd], []
        u, v = c * dx + s * dy, c * dy - s * dx  # along and across the carrier
        eu, ev = (ce * dx + se * dy, ce * dy - se * dx) if self.free else (u, v)  # along the envelope's axes

        def by(log_envelope: Array | None, of_angle: Array | None) -> list[Array | None]:
            """Chain rule through the envelope's logarithm and the carrier's angle."""
            if of_angle is None:
                return [log_envelope * even, log_envelope * odd]
            if log_envelope is None:
                return [-of_angle * odd, of_angle * even]
            return [log_envelope * even - of_angle * odd, log_envelope * odd + of_angle * even]

        kv = k * v if self.curved else 0.0
        turn = eu * ev * (iy - ix)
        derivatives = [
            by(eu * (ce * ix) - ev * (se * iy), w * (kv * s - c)),
            by(eu * (se * ix) + ev * (ce * iy), w * (-kv * c - s)),
            by(turn, w * (v - kv * u)),
            by(None, 2 * math.pi * (u + 0.5 * k * v**2)),
            by(eu**2 * ix, None),
            by(ev**2 * iy, None),
        ]
        if self.free:
            derivatives.append(by(turn, None))
        if self.curved:
            derivatives.append(by(None, 0.5 * w * v**2))
        return [even, odd], derivatives

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """SDs of 0.03 to 0.3 of the map and 0.04 to 0.8 cycles per SD, both in octaves."""
        size, p = float(max(len(x), len(y))), super().spread(points, x, y)
        p[:, 4:6] = np.log(0.03 * size) + points[:, 4:6] * math.log(10)
        p[:, 3] = np.minimum(0.04 * 20 ** points[:, 3] / np.exp(p[:, 4]), 0.9 * MAX_FREQUENCY)
        return p

    def extend(self, p: Array, size: float) -> Array:
        """The plain Gabor, and the envelope turned or the stripes bent to either side."""
        xp = array_api_compat.array_namespace(p)
        values = (0.0, -0.4, 0.4) if self.free else (0.0, -1.0 / size, 1.0 / size)
        columns = [p[:, i] for i in range(6)]
        return _stack_starts(xp, [[*columns, value] for value in values], p[:, 0])

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """Orientation in [0°, 180°); a free envelope within 45° of the carrier."""
        xp = array_api_compat.array_namespace(p)
        p, linear = xp.asarray(p, copy=True), xp.asarray(linear, copy=True)
        half = _turn_back(p)
        linear[:, :, 1] *= half[:, None]  # (θ, φ) and (θ + 180°, −φ) are one map
        if self.curved:
            p[:, 6] *= half
        if self.free:  # the envelope's axis nearest to the carrier is σx
            quarters = xp.floor((p[:, 6] + math.pi / 4) / (math.pi / 2))
            p[:, 6] -= quarters * math.pi / 2
            p[:, 4:6] = xp.where((quarters % 2 == 1)[:, None], p[:, [5, 4]], p[:, 4:6])
        return p, linear


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Constant(),
        IsotropicGaussian(),
        GaussianDerivative(0),
        DifferenceOfGaussians(),
        *(GaussianDerivative(order) for order in (1, 2, 3, 4)),
        Gabor(),
        Gabor(free=True),
        Gabor(curved=True),
    )
}
"""Every model by name, simpler ones first."""
