"""Starts from a dictionary: of a model's own maps, spread evenly over its parameters, those most like the data.

Where a map is not of the model's kind (a first derivative fitted to a long wavelet) it has many minima, and starts
made from its center and its strongest carrier alone miss the best one in a tenth of real kernels. Members that explain
most of the map, but differ from each other, find it: the greedy selection of matching pursuit (Mallat & Zhang 1993,
doi:10.1109/78.258082) with overlapping members left out instead of subtracted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import array_api_compat
import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from rfcompare.models import MODELS, Array, Model, summarize

SIZE = 1000
"""Members of a dictionary."""

CHOSEN = 16
"""Starts that are taken from it for every map."""

OVERLAP = 0.6
"""Two members are alike when one explains this share of the other."""


@lru_cache(maxsize=8)
def _dictionary(name: str, x: bytes, y: bytes) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Parameters (member, parameter), orthonormal basis maps (term, member, pixel) and which members differ."""
    model, columns, rows = MODELS[name], np.frombuffer(x), np.frombuffer(y)
    points = qmc.Halton(len(model.parameters), scramble=False).random(SIZE + 1)[1:]  # the first one is the corner
    p = np.clip(model.spread(points, columns, rows), *model.bounds(columns, rows))
    terms = [function.reshape(SIZE, -1) for function in model.evaluate(p, columns, rows, slopes=False)[0]]
    basis: list[npt.NDArray[Any]] = []
    for term in terms:
        own = term - term.mean(axis=1, keepdims=True)
        whole = np.linalg.norm(own, axis=1, keepdims=True)
        for other in basis:
            own = own - (own * other).sum(axis=1, keepdims=True) * other
        left = np.linalg.norm(own, axis=1, keepdims=True)
        # What hardly differs from the terms before is rounding error, not a direction.
        basis.append(np.where(left > 1e-3 * whole, own / np.maximum(left, 1e-300), 0.0))
    shared = sum((one @ other.T) ** 2 for one in basis for other in basis) / len(basis)
    return p, np.stack(basis).astype(np.float32), shared < OVERLAP


def all_starts(model: Model, maps: Array, mask: Array, x: Array, y: Array) -> Array:
    """A model's blind starts and those from its dictionary, (n, starts, parameters); arguments as for `likest`.

    `mask` (n, height, width) is 1 where measured.
    """
    xp = array_api_compat.array_namespace(maps)
    return xp.concat([model.starts(summarize(maps, mask, x, y)), likest(model.name, maps, x, y)], axis=1)


def likest(name: str, maps: Array, x: Array, y: Array) -> Array:
    """The members of a model's dictionary that explain most of each map and differ from each other.

    Parameters
    ----------
    name : str
        The model's.
    maps : (n, channel, height, width) array
        Their means removed, zero where not measured.
    x, y : (width,) and (height,) arrays
        Pixel positions.

    Returns
    -------
    (n, CHOSEN, parameters) array
        Parameters, the likest first.
    """
    xp = array_api_compat.array_namespace(maps)
    places = (np.ascontiguousarray(a.cpu() if hasattr(a, "cpu") else a, dtype=np.float64).tobytes() for a in (x, y))
    p, basis, differ = (xp.asarray(part, device=maps.device) for part in _dictionary(name, *places))
    n, channels = maps.shape[:2]
    flat = xp.astype(xp.reshape(maps, (n * channels, -1)), basis.dtype)
    explained = xp.zeros((n, SIZE), dtype=basis.dtype, device=maps.device)
    for term in range(basis.shape[0]):
        products = xp.reshape(xp.matmul(flat, xp.matrix_transpose(basis[term])), (n, channels, SIZE))
        explained += xp.sum(products**2, axis=1)
    chosen = []
    for _ in range(CHOSEN):
        best = xp.argmax(explained, axis=1)
        chosen.append(best)
        explained = xp.where(differ[best], explained, -1.0)
    return p[xp.stack(chosen, axis=1)]
