"""What a model declares: its formula, once for every engine, where to search for it, and what its numbers mean."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import array_api_compat
import numpy as np

from rfcompare.models.arithmetic import Array
from rfcompare.models.parameters import Parameter


class Model(ABC):
    """One kind of map.

    Its formula is three functions of numbers, written with `rfcompare.models.arithmetic`. The map's derivatives by the
    parameters are combinations of a few `functions` of a pixel, with coefficients, the `chain`, that depend on
    parameters and amplitudes only. A model that is no function of a single pixel leaves these out and gives `table`
    and `rows` itself; it is then fitted by the batched engine alone.

    Attributes
    ----------
    name, title : str
        Its name in the public interface and in full words.
    parameters : tuple of Parameter
        The nonlinear parameters, in the order of ``p``; the first two are the center's x and y.
    linear : tuple of str
        The basis functions' amplitudes, without the offset that every model has. ("even", "odd") are published as an
        amplitude and a phase.
    count : int
        How many functions there are; the first of them are the basis functions.
    constants : callable
        ``constants(p, variant)`` → tuple: what does not change from pixel to pixel.
    functions : callable
        ``functions(constants, dx, dy, variant)`` → tuple of `count`, at a pixel's distance from the center.
    chain : callable
        ``chain(constants, p, amplitudes, variant)`` → for every parameter a tuple of `count`: the map's derivative.
    variant : int
        Which of several models that share these functions.
    nested : str or None
        A model with fewer parameters whose fits are the starts of this one (through `extend`).
    most : int
        Starts for a map that is not of this kind.
    """

    name: str
    title: str
    parameters: tuple[Parameter, ...]
    linear: tuple[str, ...]
    count: int
    constants: ClassVar[Callable[..., Any] | None] = None
    functions: ClassVar[Callable[..., Any] | None] = None
    chain: ClassVar[Callable[..., Any] | None] = None
    variant: int = 0
    nested: str | None = None
    most: int = 20

    @property
    def degrees_of_freedom(self) -> int:
        """Number of fitted numbers for one channel, offset included."""
        return len(self.parameters) + len(self.linear) + 1

    @property
    def quadrature(self) -> bool:
        """Whether its two amplitudes are those of an even and an odd part."""
        return self.linear == ("even", "odd")

    def index(self, name: str) -> int:
        """Where a parameter stands in p; −1 where the model has none of that name."""
        names = [parameter.name for parameter in self.parameters]
        return names.index(name) if name in names else -1

    def table(self, p: Array, x: Array, y: Array) -> Array:
        """The functions (n, count, height, width) of parameters p (n, parameters) at pixel positions x and y."""
        xp = array_api_compat.array_namespace(p)
        out = xp.empty((p.shape[0], self.count, y.shape[0], x.shape[0]), dtype=p.dtype, device=p.device)
        if self.constants is None or self.functions is None:
            return out
        columns = [p[:, i][:, None, None] for i in range(p.shape[1])]
        constants = type(self).constants(columns, self.variant)  # type: ignore[misc]
        dx, dy = x[None, None, :] - columns[0], y[None, :, None] - columns[1]
        for k, values in enumerate(type(self).functions(constants, dx, dy, self.variant)):  # type: ignore[misc]
            out[:, k] = values
        return out

    def rows(self, p: Array, linear: Array) -> Array:
        """The chain (n, channel, parameters, count) of p (n, parameters) and `linear` (n, channel, terms + 1)."""
        xp = array_api_compat.array_namespace(p)
        shape = (*linear.shape[:2], len(self.parameters), self.count)
        out = xp.empty(shape, dtype=p.dtype, device=p.device)
        if self.constants is None or self.chain is None:
            return out
        columns = [p[:, i][:, None] for i in range(p.shape[1])]
        amplitudes = [linear[:, :, i] for i in range(linear.shape[2])]
        constants = type(self).constants(columns, self.variant)  # type: ignore[misc]
        every = type(self).chain(constants, columns, amplitudes, self.variant)  # type: ignore[misc]
        for q, row in enumerate(every[: len(self.parameters)]):
            for k, value in enumerate(row):
                out[:, :, q, k] = value
        return out

    def widest(self, p: Array) -> Array:
        """How wide the field is: the widest SD (…,) of parameters p (…, parameters)."""
        xp = array_api_compat.array_namespace(p)
        return xp.exp(xp.max(p[..., [i for i, one in enumerate(self.parameters) if one.width]], axis=-1))

    def extend(self, p: Array, size: float) -> Array:
        """Starts (n, starts, parameters) from fits (n, parameters) of the nested model, for maps of `size` pixels."""
        raise TypeError(f"{self.name} has no nested model")

    def spread(self, points: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Parameters that fill the range of plausible maps as evenly as `points` (n, parameters) fill the unit cube.

        To be overridden where what is plausible of one parameter depends on another.
        """
        limits = np.array([parameter.plausible(x, y) for parameter in self.parameters])
        return np.asarray(limits[:, 0] + points * (limits[:, 1] - limits[:, 0]))

    def bounds(self, x: Array, y: Array) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds of the nonlinear parameters on pixel positions x, y."""
        limits = np.array([parameter.bounds(x, y) for parameter in self.parameters]).reshape(-1, 2)
        return limits[:, 0], limits[:, 1]

    def canonical(self, p: Array, linear: Array) -> tuple[Array, Array]:
        """The one parameter vector that stands for a map; to be overridden where several do.

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
    terms, shape = len(model.linear), (p.shape[0], y.shape[0], x.shape[0])
    basis = xp.reshape(model.table(p, x, y)[:, :terms], (shape[0], terms, shape[1] * shape[2]))
    maps = xp.reshape(xp.matmul(linear[:, :, :terms], basis), (shape[0], linear.shape[1], *shape[1:]))
    return maps + linear[:, :, -1][:, :, None, None]


def stack_starts(rows: Sequence[Sequence[Array | float]], like: Array) -> Array:
    """Rows of parameters, each a number or an (n,) array, as one (n, rows, parameters) array."""
    xp = array_api_compat.array_namespace(like)
    one = xp.ones_like(like)
    return xp.stack([xp.stack([value * one for value in row], axis=-1) for row in rows], axis=1)


def turn_back(p: Array) -> Array:
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
