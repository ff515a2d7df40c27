"""Populations that are no cortex: what a measure of likeness must place, and place low.

Each draws maps on any grid from a generator, in shares of the map's size, so that the same population can stand on the
ladder of every recording.

Examples
--------
>>> import numpy as np
>>> for name, draw in REFERENCES.items():
...     print(name, draw(2, 9, 9, np.random.default_rng(0)).shape)
plaids (2, 9, 9)
gratings (2, 9, 9)
blobs (2, 9, 9)
textures (2, 9, 9)
checkerboards (2, 9, 9)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.ndimage import gaussian_filter

from rfcompare.bank import Array

_Draw = Callable[[int, int, int, np.random.Generator], Array]

CYCLES, SPREAD = (0.25, 0.30), 0.45
"""Median nx and ny of the gratings in a plaid and the SD of their logarithms: those of macaque simple cells (Ringach
2002) to one figure."""

_FIELD = 0.14
"""SD of a plaid's envelope as a share of the map."""


def _axes(height: int, width: int) -> tuple[Array, Array]:
    """Positions in shares of the smaller side, broadcast against (n, y, x)."""
    size = min(height, width)
    x, y = (np.arange(length) - (length - 1) / 2 for length in (width, height))
    return x[None, None, :] / size, y[None, :, None] / size


def _column(values: Array) -> Array:
    return values[:, None, None]


def _plaids(n: int, height: int, width: int, generator: np.random.Generator) -> Array:
    """Two Gabors at right angles in one place: localized and band-pass, and of no single orientation."""
    x, y = _axes(height, width)
    maps = np.zeros((n, height, width))
    turn = generator.uniform(0, np.pi, n)
    for quarter in (0.0, np.pi / 2):
        nx, ny = (median * np.exp(SPREAD * generator.standard_normal(n)) for median in CYCLES)
        frequency = np.minimum(np.sqrt(nx * ny) / _FIELD, 0.45 * min(height, width))
        angle, phase = turn + quarter, generator.uniform(0, 2 * np.pi, n)
        u = x * _column(np.cos(angle)) + y * _column(np.sin(angle))
        v = y * _column(np.cos(angle)) - x * _column(np.sin(angle))
        envelope = np.exp(-((u * _column(frequency / nx)) ** 2 + (v * _column(frequency / ny)) ** 2) / 2)
        wave = envelope * np.cos(2 * np.pi * _column(frequency) * u + _column(phase))
        maps += wave / np.sqrt((wave**2).sum((1, 2), keepdims=True))
    return maps


def _gratings(n: int, height: int, width: int, generator: np.random.Generator) -> Array:
    """Gratings that fill the map, one and a half to five cycles across it, at any orientation."""
    x, y = _axes(height, width)
    angle, phase = generator.uniform(0, np.pi, n), generator.uniform(0, 2 * np.pi, n)
    along = x * _column(np.cos(angle)) + y * _column(np.sin(angle))
    return np.asarray(np.cos(2 * np.pi * _column(generator.uniform(1.5, 5, n)) * along + _column(phase)))


def _blobs(n: int, height: int, width: int, generator: np.random.Generator) -> Array:
    """Round Gaussians of either sign."""
    x, y = _axes(height, width)
    sd, x0, y0 = generator.uniform(0.08, 0.3, n), *generator.uniform(-0.15, 0.15, (2, n))
    sign = generator.choice([-1.0, 1.0], n)
    return np.asarray(_column(sign) * np.exp(-((x - _column(x0)) ** 2 + (y - _column(y0)) ** 2) / 2 / _column(sd) ** 2))


def _textures(n: int, height: int, width: int, generator: np.random.Generator) -> Array:
    """Band-pass noise that fills the map."""
    size = min(height, width)
    noise = generator.standard_normal((n, 3 * height, 3 * width))
    smooth = [gaussian_filter(noise, (0, share * size, share * size)) for share in (0.1, 0.18)]
    return np.asarray((smooth[0] - smooth[1])[:, height : 2 * height, width : 2 * width])


def _checkerboards(n: int, height: int, width: int, generator: np.random.Generator) -> Array:
    """Checks of random pitch that fill the map."""
    pitch = generator.integers(1, max(2, min(height, width) // 2), n)
    along = [
        (np.arange(size) + offset[:, None]) // pitch[:, None]
        for size, offset in zip((height, width), generator.integers(0, 9, (2, n)), strict=True)
    ]
    return np.asarray((-1.0) ** (along[0][:, :, None] + along[1][:, None, :]))


REFERENCES: Mapping[str, _Draw] = MappingProxyType(
    {
        "plaids": _plaids,
        "gratings": _gratings,
        "blobs": _blobs,
        "textures": _textures,
        "checkerboards": _checkerboards,
    }
)
"""The populations by name."""
