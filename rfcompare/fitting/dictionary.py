"""Starts from a dictionary: a model's own maps, spread evenly over its parameters, in the frame of each field.

A map that is not of the model's kind has many minima, and starts made from its center and its strongest carrier alone
miss the best one: a compact lobe with a faint flank along its long axis is taken for a blob. Members that explain most
of the map but differ from each other find it: the greedy selection of matching pursuit (Mallat & Zhang 1993,
doi:10.1109/78.258082) with overlapping members left out instead of subtracted. The frame is a square about the
field's energy that grows with the field, so that one dictionary serves every size of map and of field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from rfcompare.models import MODELS, Array, Model

_SIZE = 800
"""Members of a dictionary."""

_SIDE = 11
"""Pixels of a frame along each side."""

_REACH = 3.0
"""Half of a frame's side, in radii of the field; at least `_LEAST` pixels and at most half of the map's longer side."""

_LEAST = 3.0

_OVERLAP = 0.4
"""Two members are alike when one explains this share of the other."""


@lru_cache(maxsize=16)
def _dictionary(name: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Parameters (member, parameter), orthonormal basis maps (pixel, term · member) and which members differ."""
    model, line = MODELS[name], np.arange(_SIDE) - (_SIDE - 1) / 2
    points = qmc.Halton(len(model.parameters), scramble=False).random(_SIZE + 1)[1:]  # the first one is the corner
    p = np.clip(model.spread(points, line, line), *model.bounds(line, line))
    basis: list[npt.NDArray[Any]] = []
    for term in model.table(p, line, line)[:, : len(model.linear)].reshape(_SIZE, len(model.linear), -1).swapaxes(0, 1):
        own = term - term.mean(axis=1, keepdims=True)
        whole = np.linalg.norm(own, axis=1, keepdims=True)
        for other in basis:
            own = own - (own * other).sum(axis=1, keepdims=True) * other
        left = np.linalg.norm(own, axis=1, keepdims=True)
        # What hardly differs from the terms before is rounding error, not a direction.
        basis.append(np.where(left > 1e-3 * whole, own / np.maximum(left, 1e-300), 0.0))
    shared = sum((one @ other.T) ** 2 for one in basis for other in basis) / len(basis)
    return p, np.ascontiguousarray(np.concatenate(basis).T, dtype=np.float32), shared < _OVERLAP


def locate(maps: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Center (x, y) and half the side of the square that holds what each map shows; arguments as for `likest`."""
    xp = array_api_compat.array_namespace(maps)
    size, energy = max(maps.shape[2:]), maps * maps
    energy = energy[:, 0] if maps.shape[1] == 1 else xp.sum(energy, axis=1)
    blur = [xp.exp(-0.5 * ((axis[:, None] - axis[None, :]) / (0.06 * size)) ** 2) for axis in (y, x)]
    blur = [kernel / xp.sum(kernel, axis=1, keepdims=True) for kernel in blur]
    energy = xp.matmul(xp.matmul(blur[0], energy), xp.matrix_transpose(blur[1]))
    weight = xp.clip(energy - 0.25 * xp.max(energy, axis=(1, 2), keepdims=True), 0.0, None)
    along_x, along_y = xp.sum(weight, axis=1), xp.sum(weight, axis=2)
    total = xp.sum(along_x, axis=1) + 1e-300
    center_x, center_y = xp.matmul(along_x, x) / total, xp.matmul(along_y, y) / total
    variance = (xp.matmul(along_x, x * x) + xp.matmul(along_y, y * y)) / total - center_x**2 - center_y**2
    radius = 1.2 * xp.sqrt(0.5 * xp.clip(variance, 0.0, None))
    return center_x, center_y, xp.clip(xp.clip(_REACH * radius, _LEAST, None), None, 0.5 * size)


def _frames(maps: Array, x: Array, y: Array, center: tuple[Array, Array], half: Array) -> Array:
    """The maps (n, channel, _SIDE · _SIDE) as seen in their frames, by linear interpolation or averaging."""
    xp = array_api_compat.array_namespace(maps)
    line = xp.astype(2 * xp.arange(_SIDE, device=maps.device) / (_SIDE - 1) - 1, maps.dtype)
    kernels = []
    for middle, axis in zip(center, (x, y), strict=True):
        pitch = float(axis[1] - axis[0]) if axis.shape[0] > 1 else 1.0
        reach = xp.clip(2 * half / (_SIDE - 1), pitch, None)
        away = (middle[:, None] + half[:, None] * line)[:, :, None] - axis
        kernel = xp.clip(1 - xp.abs(away / reach[:, None, None]), 0.0, None)
        kernels.append((kernel / xp.clip(xp.sum(kernel, axis=2, keepdims=True), 1.0, None))[:, None])
    seen = xp.matmul(xp.matmul(kernels[1], maps), xp.matrix_transpose(kernels[0]))
    return xp.reshape(seen, (*seen.shape[:2], _SIDE * _SIDE))


def _greedy(explained: Array, differ: Array, count: int) -> Array:
    """Members (n, count) that explain most, without those that are like one before."""
    xp = array_api_compat.array_namespace(explained)
    chosen = []
    for _ in range(count):
        best = xp.argmax(explained, axis=1)
        chosen.append(best)
        explained = xp.where(differ[best], explained, explained - 1e9)
    return xp.stack(chosen, axis=1)


class Likeness:
    """What the members of a model's dictionary explain of maps.

    Parameters
    ----------
    model : Model
    maps : (n, channel, height, width) array
        Their means removed, zero where not measured.
    x, y : (width,) and (height,) arrays
        Pixel positions.
    """

    def __init__(self, model: Model, maps: Array, x: Array, y: Array) -> None:
        xp = array_api_compat.array_namespace(maps)
        self.model = model
        self.p, basis, self.differ = (xp.asarray(part, device=maps.device) for part in _dictionary(model.name))
        center_x, center_y, half = locate(maps, x, y)
        seen = _frames(maps, x, y, (center_x, center_y), half)
        seen = seen - xp.mean(seen, axis=2, keepdims=True)
        seen = xp.astype(seen / (xp.max(xp.abs(seen), axis=(1, 2), keepdims=True) + 1e-300), basis.dtype)
        # One product: many small ones take twice as long.
        products = xp.matmul(xp.reshape(seen, (seen.shape[0] * seen.shape[1], _SIDE * _SIDE)), basis)
        products *= products
        terms = maps.shape[1] * basis.shape[1] // _SIZE
        self.explained = xp.sum(xp.reshape(products, (maps.shape[0], terms, _SIZE)), axis=1)
        scale = half / ((_SIDE - 1) / 2)
        # A member's parameters times a factor plus a shift are those in the map.
        center = {"x": center_x, "y": center_y, "": 0.0}
        self.rules = [
            (scale**one.scale, center[one.axis] + (one.power * xp.log(scale) if one.log else 0.0))
            for one in model.parameters
        ]

    def starts(self, rows: Array, count: int, choose: Any = _greedy) -> Array:
        """Parameters (len(rows), count, parameters) of the members that explain most of maps `rows` and differ.

        The likest come first; `choose` may be a faster `_greedy`.
        """
        p = self.p[choose(self.explained[rows], self.differ, count)]
        for i, (factor, shift) in enumerate(self.rules):
            p[:, :, i] *= factor[rows, None]
            p[:, :, i] += shift if isinstance(shift, float) else shift[rows, None]
        return p
