"""What a model's nonlinear parameters are: how each is searched, bounded, compared and published."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_SIGMA = 0.4
"""Smallest SD in pixels: below it a single noisy pixel is fitted."""

MAX_FREQUENCY = 0.5
"""Nyquist, cycles per pixel; a carrier beyond it is an alias of one below."""

Limits = Callable[[np.ndarray, np.ndarray], tuple[float, float]]
"""From pixel positions x (width,) and y (height,) to a lower and an upper limit."""


@dataclass(frozen=True)
class Parameter:
    """A nonlinear parameter: all that has to be known of it, whatever the model.

    Attributes
    ----------
    name : str
        As it is searched. ``theta`` is the direction across the stripes.
    bounds, plausible : callable
        From pixel positions x, y: where a fit may end, and where most of them will (see `Model.spread`).
    bound_reasons : (str, str)
        Why the lower and the upper bound stand where they do.
    power : int
        Its power of a length: 1 for positions and lengths, −1 for frequencies, 0 for angles and ratios.
    log : bool
        Whether its logarithm is searched.
    width : bool
        Whether it says how wide the field is.
    circle : float
        Radians after which a searched angle comes round; 0 for what is no angle.
    axis : str
        "x" or "y" of a position.
    step : float
        The longest step of a search; infinite: as far as the field is wide.
    apart : float
        Two minima are one when they differ by no more: logarithms and angles as they are, others in units of the
        field's widest SD.
    wide : float
        Step of a likelihood profile where there is no standard error.
    published_as : str
        Its public name, `name` by default.
    turned : float
        Degrees added to an angle when it is published.
    period : float
        Degrees after which the published value comes round; 0 for what does not.
    factor, unit : float, str
        By which a published value without a length is multiplied, and what it then is in.
    """

    name: str
    bounds: Limits
    plausible: Limits
    bound_reasons: tuple[str, str]
    power: int = 0
    log: bool = False
    width: bool = False
    circle: float = 0.0
    axis: str = ""
    step: float = math.inf
    apart: float = 0.1
    wide: float = 0.3
    published_as: str = ""
    turned: float = 0.0
    period: float = 0.0
    factor: float = 1.0
    unit: str = ""

    @property
    def published(self) -> str:
        """Its public name."""
        return self.published_as or self.name

    @property
    def scale(self) -> int:
        """The power of a length by which searched values are measured: logarithms are without one."""
        return 0 if self.log else self.power

    def to_public(self, values: Any, unit: float) -> Any:
        """Searched values in units of the bank, whose pixels are `unit` wide; angles in degrees."""
        if self.log:
            return np.exp(values) * (self.factor * unit**self.power)
        if self.circle:
            return np.degrees(values) + self.turned
        return values * unit**self.power

    def slope(self, values: Any, unit: float) -> Any:
        """Derivative of the public values by the searched ones."""
        if self.log:
            return np.exp(values) * (self.factor * unit**self.power)
        return np.full_like(values, 180 / np.pi if self.circle else unit**self.power)

    def to_searched(self, values: Any) -> Any:
        """Public values as they are searched, a pixel being one unit wide."""
        if self.log:
            return np.log(values / self.factor)
        return np.radians(values - self.turned) if self.circle else values

    def words(self, length: str) -> str:
        """The unit of its public values, `length` being that of positions."""
        return "deg" if self.circle else {1: length, -1: f"1/{length}"}.get(self.power, self.unit)


def _size(x: np.ndarray, y: np.ndarray) -> float:
    return float(max(len(x), len(y)))


def position(name: str, axis: str) -> Parameter:
    """A place within the map, along the axis "x" or "y"."""

    def bounds(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        line = x if axis == "x" else y
        step = abs(float(line[1] - line[0])) if len(line) > 1 else 1.0
        return float(line[0]) - 0.5 * step, float(line[-1]) + 0.5 * step

    def plausible(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        line = x if axis == "x" else y
        return 0.8 * float(line[0]), 0.8 * float(line[-1])

    why = "the center stays within the map"
    return Parameter(name, bounds, plausible, (why, why), power=1, axis=axis, wide=0.5)


def angle(name: str, circle: float, **more: Any) -> Parameter:
    """An angle without bounds, which comes round after `circle` radians."""
    bounds, plausible = (lambda x, y: (-math.inf, math.inf)), (lambda x, y: (0.0, circle))
    return Parameter(name, bounds, plausible, ("", ""), circle=circle, step=0.6, **more)


def direction(circle: float = math.pi) -> Parameter:
    """θ, across the stripes, published as their orientation; after `circle` the model is the same."""
    return angle("theta", circle, published_as="orientation", turned=-90.0, period=180.0)


def frequency() -> Parameter:
    """Cycles per pixel."""
    return Parameter(
        "frequency",
        lambda x, y: (0.1 / _size(x, y), MAX_FREQUENCY),
        lambda x, y: (0.3 / _size(x, y), MAX_FREQUENCY),
        ("a tenth of a cycle over the map cannot be told from none", "Nyquist: beyond it lies an alias"),
        power=-1,
        step=0.1,
        apart=0.05,
        wide=0.02,
    )


def width(name: str) -> Parameter:
    """An SD, searched as its logarithm."""
    return Parameter(
        name,
        lambda x, y: (math.log(MIN_SIGMA), math.log(_size(x, y))),
        lambda x, y: (math.log(max(0.06 * _size(x, y), 0.5)), math.log(max(0.4 * _size(x, y), 1.0))),
        ("narrower than one pixel resolves", "an envelope wider than the map is flat within it"),
        power=1,
        log=True,
        width=True,
        step=0.9,
        apart=0.2,
    )


def ratio(name: str, low: float, high: float, reasons: tuple[str, str]) -> Parameter:
    """A positive number without a unit, searched as its logarithm."""
    limits = math.log(low), math.log(high)
    inner = 0.8 * limits[0] + 0.2 * limits[1], 0.2 * limits[0] + 0.8 * limits[1]
    return Parameter(name, lambda x, y: limits, lambda x, y: inner, reasons, log=True, step=0.9, apart=0.2)


def curvature() -> Parameter:
    """The inverse of a radius, in 1/pixels."""
    why = "arcs have radii from a quarter of the map"
    return Parameter(
        "curvature",
        lambda x, y: (-4.0 / _size(x, y), 4.0 / _size(x, y)),
        lambda x, y: (-2.0 / _size(x, y), 2.0 / _size(x, y)),
        (why, why),
        power=-1,
        step=0.1,
        apart=0.05,
        wide=0.03,
    )


X0, Y0 = position("x0", "x"), position("y0", "y")
SIGMA_X, SIGMA_Y = width("sigma_x"), width("sigma_y")
