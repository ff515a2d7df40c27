"""Null ensembles: populations of maps that share some properties with a network's kernels and nothing else.

Each is a bank of many populations of as many units as the kernels, told apart by ``subject``. What a population is
nearer to the cortex than a null ensemble *for* depends on what that ensemble preserves: `NULLS` says it, and what a
difference from it shows.

Examples
--------
>>> for name, null in NULLS.items():
...     print(f"{name}: preserves {', '.join(null.preserves) or 'nothing'}")
untrained: preserves nothing
spectrum_noise: preserves mean spectrum, mean window
phase_scrambled: preserves own spectrum, mean spectrum
pixel_shuffled: preserves own pixel values
random_gabor: preserves nothing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import xarray as xr

from rfcompare.bank import Array, bad_units, check, make_bank, make_rng, pitch, signed_maps, to_signed
from rfcompare.errors import InputError
from rfcompare.models import MAX_FREQUENCY, MIN_SIGMA, MODELS, map_of

_INITIALIZER = "kaiming_uniform"
"""Of untrained kernels, as their bank records it."""

_CYCLES = (0.1, 10**0.2)
"""Range of nx and ny of random Gabors: that of macaque simple cells (Ringach 2002)."""

_DECONVOLUTION_STEPS = 500

_CHUNK = 50
"""Populations whose color maps are held and reduced at once."""

_Draw = Callable[[np.random.Generator], Array]


class _Null(NamedTuple):
    """A null ensemble: how it is drawn for kernels of so many colors, what it preserves of them, and its bank's kind.

    "own pixel values": every map has its kernel's, and so its amplitude and ON/OFF balance. "own spectrum": every map
    has its kernel's periodic power spectrum, and so its orientation and bandwidth. "mean spectrum" and "mean window":
    the maps' mean power spectrum, and their mean energy at every pixel, are the kernels', all of equal energy.
    """

    prepare: Callable[[Array, int], _Draw]
    preserves: tuple[str, ...] = ()
    kind: str = "simulated"


def simulate_null(
    kernels: xr.Dataset,
    name: str = "spectrum_noise",
    *,
    n_populations: int = 20,
    seed: int | np.random.Generator | None = 0,
) -> xr.Dataset:
    """Draw a null ensemble for a population of kernels.

    Parameters
    ----------
    kernels : xarray.Dataset
        Signed bank, or one of ``r, g, b`` that is reduced first.
    name : {"untrained", "spectrum_noise", "phase_scrambled", "pixel_shuffled", "random_gabor"}
        Which one, see `NULLS`. "untrained" draws as many color channels as the kernels had, as PyTorch initializes
        them, and reduces every kernel to its first color component, as the trained ones are.
    n_populations : int
        Populations of as many units as the kernels; 999 or more of "untrained" for a headline p of 0.001.
    seed : int, Generator or None
        Population i is the same whatever their number.

    Returns
    -------
    xarray.Dataset
        A signed bank on the kernels' grid, kind "untrained" or "simulated", ``subject`` naming the population.

    Raises
    ------
    InputError
        For an unknown null, fewer than one population, or no usable kernel.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-4, 5.0)
    >>> stripes = np.cos(x) * np.exp(-(x**2 + x[:, None] ** 2) / np.array([4.0, 9.0]).reshape(2, 1, 1))
    >>> kernels = rfc.make_bank(stripes[:, None], channel=("signed",), kind="analytic")
    >>> null = simulate_null(kernels, "pixel_shuffled", n_populations=3, seed=0)
    >>> null.rf.shape, sorted(set(null.subject.values.tolist()))
    ((6, 1, 9, 9), ['pixel_shuffled-0', 'pixel_shuffled-1', 'pixel_shuffled-2'])
    """
    check(kernels)
    if name not in NULLS:
        raise InputError(f"expected a null among {', '.join(NULLS)}, got {name!r}")
    if not isinstance(n_populations, int | np.integer) or n_populations < 1:
        raise InputError(f"expected at least 1 population and a whole number of them, got {n_populations!r}")
    colors = 3 if kernels.sizes["channel"] == 3 or "color_direction" in kernels else 1
    signed = to_signed(kernels)
    maps = signed_maps(signed.rf)
    usable = np.array([problem == "" for problem in bad_units(signed)]) & np.isfinite(maps).all(axis=(1, 2))
    if not usable.any():
        raise InputError(
            f"expected kernels without missing pixels, got none among {usable.size}; a null is drawn on the full grid"
        )
    maps = maps[usable]
    maps = maps / np.sqrt((maps**2).sum(axis=(1, 2), keepdims=True))
    generator, recorded = make_rng(seed)
    null = NULLS[name]
    draw = null.prepare(maps, colors)
    generators = generator.spawn(n_populations)
    drawn = np.concatenate(
        [
            _one_channel(np.concatenate([draw(each) for each in generators[start : start + _CHUNK]])).astype(np.float32)
            for start in range(0, n_populations, _CHUNK)
        ]
    )
    digits = len(str(n_populations - 1))
    population = np.repeat([f"{name}-{i:0{digits}d}" for i in range(n_populations)], len(maps))
    dx, dy = pitch(signed)
    untrained = name == "untrained"
    return make_bank(
        drawn[:, None],
        channel=("signed",),
        kind=null.kind,
        x=dx * (np.arange(maps.shape[2]) - (maps.shape[2] - 1) / 2),
        y=dy * (np.arange(maps.shape[1]) - (maps.shape[1] - 1) / 2),
        units=str(signed.attrs["units"]),
        subject=population.tolist(),
        source=f"{name} ({_INITIALIZER})" if untrained else name,
        attrs={
            "null": name,
            "preserves": ", ".join(null.preserves),
            "seed": recorded,
            "history": f"null ensemble {name!r} of {len(maps)} kernels, {n_populations} populations",
            "initializer": _INITIALIZER if untrained else None,
        },
    )


# Drawing one population ----------------------------------------------------------------------------------------------


def _one_channel(maps: Array) -> Array:
    if maps.ndim == 3:
        return maps
    reduced = to_signed(make_bank(maps, channel=("r", "g", "b"), kind="untrained"))
    return np.asarray(reduced["rf"].values[:, 0], dtype=np.float64)


def _untrained(kernels: Array, colors: int) -> _Draw:
    n, height, width = kernels.shape
    shape = (n, height, width) if colors == 1 else (n, colors, height, width)
    bound = np.sqrt(3) * np.sqrt(1 / 3 / (colors * height * width))  # ±1/√fan_in: torch.nn.Conv2d's own
    return lambda generator: generator.uniform(-bound, bound, shape)


def _spectrum_noise(kernels: Array, colors: int) -> _Draw:
    window = np.sqrt((kernels**2).mean(axis=0))
    grid = tuple(2 * size for size in window.shape)
    spectrum = (np.abs(np.fft.fft2(kernels, grid)) ** 2).mean(axis=0)
    amplitude = stationary_amplitude(window, spectrum)
    return lambda generator: windowed_noise(window, amplitude, len(kernels), generator)


def windowed_noise(window: Array, amplitude: Array, n: int, generator: np.random.Generator) -> Array:
    """Maps (n, y, x) of stationary noise of a given amplitude spectrum, on twice the grid, seen through a window.

    Examples
    --------
    >>> import numpy as np
    >>> windowed_noise(np.eye(3), np.ones((6, 6)), 2, np.random.default_rng(0)).shape
    (2, 3, 3)
    """
    height, width = window.shape
    white = np.fft.fft2(generator.standard_normal((n, *amplitude.shape)))
    return np.asarray(np.fft.ifft2(white * amplitude).real[:, :height, :width] * window)


def stationary_amplitude(window: Array, spectrum: Array) -> Array:
    """The filter of the stationary noise that, seen through a window, has a given mean power spectrum.

    A window smears a spectrum by its own, so the noise needs the wanted spectrum deconvolved: non-negative, by the
    multiplicative steps of Richardson (1972) and Lucy (1974). The grid is twice the map's, where nothing wraps.

    Examples
    --------
    >>> import numpy as np
    >>> stationary_amplitude(np.ones((2, 2)), np.ones((4, 4))).shape
    (4, 4)
    """
    grid = spectrum.shape
    smear = np.abs(np.fft.fft2(window, grid)) ** 2
    smear /= smear.sum()
    transfer = np.fft.fft2(smear)
    floor = 1e-12 * spectrum.mean()
    density = np.full(grid, spectrum.mean())
    for _ in range(_DECONVOLUTION_STEPS):
        smeared = np.maximum(np.fft.ifft2(np.fft.fft2(density) * transfer).real, floor)
        density = density * np.maximum(np.fft.ifft2(np.fft.fft2(spectrum / smeared) * np.conj(transfer)).real, 0.0)
    return np.asarray(np.sqrt(density / density.mean()))


def _phase_scrambled(kernels: Array, colors: int) -> _Draw:
    spectrum = np.fft.fft2(kernels)
    mean_sign = np.where(spectrum[:, 0, 0].real < 0, -1.0, 1.0)

    def draw(generator: np.random.Generator) -> Array:
        phase = np.fft.fft2(generator.standard_normal(kernels.shape))
        phase /= np.abs(phase)
        phase[:, 0, 0] = mean_sign
        return np.asarray(np.fft.ifft2(np.abs(spectrum) * phase).real)

    return draw


def _pixel_shuffled(kernels: Array, colors: int) -> _Draw:
    return lambda generator: generator.permuted(kernels.reshape(len(kernels), -1), axis=1).reshape(kernels.shape)


def _random_gabor(kernels: Array, colors: int) -> _Draw:
    n, height, width = kernels.shape
    size = min(height, width)

    def draw(generator: np.random.Generator) -> Array:
        frequency = np.exp(generator.uniform(np.log(1 / size), np.log(MAX_FREQUENCY), n))
        cycles = np.exp(generator.uniform(np.log(_CYCLES[0]), np.log(_CYCLES[1]), (2, n)))
        sigma = np.clip(cycles / frequency, MIN_SIGMA, size / 2)
        center = generator.uniform(0.25, 0.75, (2, n)) * np.array([[width - 1], [height - 1]])
        phase = generator.uniform(0, 2 * np.pi, n)
        theta = generator.uniform(0, np.pi, n)
        p = np.stack([center[0], center[1], theta, frequency, np.log(sigma[0]), np.log(sigma[1])], axis=1)
        linear = np.stack([np.cos(phase), -np.sin(phase), np.zeros(n)], axis=1)[:, None]
        return np.asarray(map_of(MODELS["gabor"], p, linear, np.arange(width * 1.0), np.arange(height * 1.0))[:, 0])

    return draw


NULLS: Mapping[str, _Null] = MappingProxyType(
    {
        # Anything learned at all: white noise is a trivial zero.
        "untrained": _Null(_untrained, kind="untrained"),
        # Structure of single kernels (localized, oriented, of one phase) beyond second-order statistics.
        "spectrum_noise": _Null(_spectrum_noise, ("mean spectrum", "mean window")),
        # Localization and phase only: orientation and bandwidth are kept.
        "phase_scrambled": _Null(_phase_scrambled, ("own spectrum", "mean spectrum")),
        # Any spatial arrangement.
        "pixel_shuffled": _Null(_pixel_shuffled, ("own pixel values",)),
        # Which Gabors: being Gabor-like is given.
        "random_gabor": _Null(_random_gabor),
    }
)
"""The null ensembles by name; above each stands what a population that differs from it has beyond it."""
