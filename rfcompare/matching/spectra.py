"""What a search of matches works on: the transforms, maps zero outside their supports, and spectra of their copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from rfcompare.errors import InputError

_Result = TypeVar("_Result")
Floats = npt.NDArray[np.floating]
Complex = npt.NDArray[np.complexfloating]
Precision = type[np.complexfloating] | np.dtype[np.complexfloating]
Places = npt.NDArray[np.intp] | npt.NDArray[np.bool_]

_SMOOTHING = 0.08
"""SD of the smoothing that finds a support in the squared map, as a share of the map's size."""

_SUPPORT_LEVEL = 0.05
"""The support is where the smoothed energy exceeds this share of its maximum…"""

_NOISE_SDS = 3.0
"""…and, where the noise is known, its own energy by this many SDs…"""

_SUPPORT_RADII = 4.0
"""…within this many field radii of the centroid."""

_EXTENT_ENERGY = 0.99
"""A map's extent is the radius that holds this share of its energy."""

_BAND_ENERGY = 0.998
"""Frequencies are compared up to the radius that holds this share of the fields' energy (of 90 % of the fields)."""

_LEAST_OWN = 0.3
"""Below this share of a map's energy in its own blurred support there is nothing to correct (an empty map)."""

_LOW = 0.6
"""Energies and supports, being smooth, are compared at frequencies up to this share of the limit."""

_MAX_FREQUENCIES = 400
"""Frequencies of the half plane that are compared at most; finer structure is left out."""


@dataclass(frozen=True)
class Search:
    """Which transforms are searched.

    Attributes
    ----------
    rotation_step : float
        Degrees between rotations in the end; 180 must be a multiple of `coarse_rotation` of them.
    octaves : float
        Scales from −octaves to +octaves.
    scale_step : float
        Octaves between scales in the end.
    max_shift : float
        Largest distance between the two energy centroids, in median radii of the fields.
    shift_step : float
        Distance between shifts before the last refinement, in the same radii.
    min_overlap : float
        Least share of each map's energy that must lie inside the other's support.
    coarse_rotation, coarse_scale : int
        Steps of the first, exhaustive lattice in steps of the last.
    starts : int
        Best places on it, not neighbors of each other, from which the fine lattice is climbed.
    """

    rotation_step: float = 2.5
    octaves: float = 1.0
    scale_step: float = 0.125
    max_shift: float = 2.0
    shift_step: float = 0.3
    min_overlap: float = 0.8

    coarse_rotation: int = 6
    coarse_scale: int = 2
    starts: int = 3

    def __post_init__(self) -> None:
        turns = (
            180 / (self.rotation_step * self.coarse_rotation) if self.rotation_step > 0 < self.coarse_rotation else 0
        )
        if turns < 1 or abs(turns - round(turns)) > 1e-9:
            raise InputError(
                f"expected rotation_step × coarse_rotation to divide 180°, got {self.rotation_step} × "
                f"{self.coarse_rotation}; as in Search(rotation_step=2.5, coarse_rotation=6)"
            )
        steps = (self.scale_step, self.max_shift, self.shift_step, self.coarse_scale, self.starts)
        if min(steps) <= 0 or self.octaves < 0 or not 0 <= self.min_overlap <= 1:
            raise InputError(f"expected positive steps and an overlap from 0 to 1, got {self}; see Search's attributes")

    @property
    def rotations(self) -> npt.NDArray[np.float64]:
        """Degrees in [0, 180); the other half are conjugates."""
        return np.arange(round(180 / self.rotation_step), dtype=np.float64) * self.rotation_step

    @property
    def scales(self) -> npt.NDArray[np.float64]:
        """Factors on top of the banks' common scale."""
        n = round(self.octaves / self.scale_step)
        return np.asarray(2.0 ** (np.arange(-n, n + 1) * self.scale_step))


@dataclass(frozen=True, eq=False)
class Maps:
    """One population, ready to be compared: maps zero outside their supports, in the fields' units.

    Attributes
    ----------
    values : array (unit, y·x)
        Map times support.
    support : array (unit, y·x) of bool
    x, y : array (y·x,)
        Pixel positions, in the units of the second population (without the searched scale).
    dx, dy : float
        Pixel sizes in the same units.
    center : array (unit, 2)
        Energy centroid (x, y).
    radius : array (unit,)
        RMS radius of the energy in the support.
    extent : array (unit,)
        Radius that holds `_EXTENT_ENERGY`.
    energy : array (unit,)
        Energy below the Nyquist circle, per area.
    band : array (unit,)
        Frequency below which `_BAND_ENERGY` of it lies.
    kept : array (unit,)
        Share of the map's energy inside its support.
    """

    values: npt.NDArray[np.float64]
    support: npt.NDArray[np.bool_]
    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    dx: float
    dy: float
    center: npt.NDArray[np.float64]
    radius: npt.NDArray[np.float64]
    extent: npt.NDArray[np.float64]
    energy: npt.NDArray[np.float64]
    band: npt.NDArray[np.float64]
    kept: npt.NDArray[np.float64]

    @property
    def nyquist(self) -> float:
        """Frequency up to which all directions are sampled."""
        return 0.5 / max(self.dx, self.dy)

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """Units that have any energy."""
        return self.energy > 0


def supports(
    maps: npt.NDArray[np.float64], middle: Floats, radius: Floats, grid: tuple[Floats, Floats], noise_sd: Floats | None
) -> npt.NDArray[np.bool_]:
    """Where each map (unit, y, x) is more than nothing: its support, which is measured and near the field."""
    energy = np.nan_to_num(maps) ** 2
    width_y, width_x = _SMOOTHING * maps.shape[1], _SMOOTHING * maps.shape[2]
    smooth = gaussian_filter1d(energy, width_y, axis=1, mode="nearest")
    smooth = gaussian_filter1d(smooth, width_x, axis=2, mode="nearest")
    level = np.zeros(maps.shape[0])
    if noise_sd is not None:
        noise = np.nan_to_num(np.asarray(noise_sd)) ** 2
        smooth = smooth - noise[:, None, None]
        # A Gaussian of these widths averages 4π·σy·σx pixels, each with a squared noise of SD √2·noise.
        level = _NOISE_SDS * noise * np.sqrt(2 / max(4 * np.pi * width_y * width_x, 1.0))
    level = np.maximum(level, _SUPPORT_LEVEL * smooth.max((1, 2)))
    x, y = grid
    distance = np.hypot(x[None, None] - middle[:, 0, None, None], y[None, :, None] - middle[:, 1, None, None])
    near = distance <= _SUPPORT_RADII * np.asarray(radius)[:, None, None]
    return np.asarray((smooth > level[:, None, None]) & near & ~np.isnan(maps))


def prepare(
    maps: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    support: npt.NDArray[np.bool_],
    scale: tuple[float, float] = (1.0, 1.0),
) -> Maps:
    """Maps (unit, y, x) on pixel centers `x`, `y`, whose lengths times `scale` are those of the other population."""
    n = maps.shape[0]
    clean = np.where(support, np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    total = np.square(np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0)).sum((1, 2))
    x, y = x * scale[0], y * scale[1]
    dx, dy = (x[-1] - x[0]) / (x.size - 1), (y[-1] - y[0]) / (y.size - 1)
    grid_x, grid_y = np.meshgrid(x, y)
    flat_x, flat_y = grid_x.ravel(), grid_y.ravel()
    energy = clean.reshape(n, -1) ** 2
    inside = energy.sum(1)
    share = energy / np.where(inside > 0, inside, 1.0)[:, None]
    center = np.stack([share @ flat_x, share @ flat_y], axis=1)
    squared = (flat_x - center[:, :1]) ** 2 + (flat_y - center[:, 1:]) ** 2
    order = np.argsort(squared, axis=1)
    cumulative = np.take_along_axis(share, order, 1).cumsum(1)
    last = np.minimum((cumulative < _EXTENT_ENERGY).sum(1), squared.shape[1] - 1)
    extent = np.sqrt(np.take_along_axis(squared, np.take_along_axis(order, last[:, None], 1), 1)[:, 0])
    # Beyond the Nyquist circle (the corners of the square) a map cannot be rotated, so nothing there is compared.
    size = 2 * max(clean.shape[1:])
    power = np.abs(np.fft.fft2(clean, (size, size))) ** 2
    radial = np.hypot(np.fft.fftfreq(size, dx)[None, :], np.fft.fftfreq(size, dy)[:, None]).ravel()
    outward = np.argsort(radial)
    outward = outward[radial[outward] <= 0.5 / max(dx, dy) + 1e-12]
    within = power.reshape(n, -1)[:, outward].cumsum(1) / size**2
    edge = (within < _BAND_ENERGY * within[:, -1:]).sum(1).clip(max=outward.size - 1)
    return Maps(
        values=clean.reshape(n, -1),
        support=support.reshape(n, -1),
        x=flat_x,
        y=flat_y,
        dx=float(dx),
        dy=float(dy),
        center=center,
        radius=np.sqrt(np.maximum((share * squared).sum(1), dx * dy / 6)),
        extent=extent + max(dx, dy) / 2,
        energy=within[:, -1],
        band=radial[outward[edge]],
        kept=np.divide(inside, total, out=np.zeros(n), where=total > 0),
    )


@dataclass(frozen=True, eq=False)
class Lattice:
    """Frequencies (half plane) at which two populations are compared, and their weights.

    ``kx``, ``ky`` in cycles per unit; ``weight`` = 2/L² (1/L² at zero frequency) turns a sum over them into an
    integral; ``low`` are those that energies and supports, being smooth, are compared at.
    """

    kx: npt.NDArray[np.float64]
    ky: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    low: npt.NDArray[np.bool_]
    period: float
    limit: float


def lattice_for(a: Maps, b: Maps, search: Search) -> Lattice:
    """Frequencies dense enough that shifted copies do not meet their periodic images, up to what both grids resolve."""
    largest = 2.0**search.octaves
    reach_a = largest * np.percentile(a.extent[a.usable], 95)
    reach_b = np.percentile(b.extent[b.usable], 95)
    shift = search.max_shift * np.median(b.radius[b.usable])
    period = float(reach_a + reach_b + shift)
    needed = np.percentile(b.band[b.usable], 90) + 0.5 / period
    limit = min(b.nyquist, needed, largest * a.nyquist, float(np.sqrt(2 * _MAX_FREQUENCIES / np.pi)) / period)
    reach = int(np.floor(limit * period))
    m, n = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1))
    half = (n > 0) | (m >= 0)
    chosen = half & (np.hypot(m, n) <= limit * period + 1e-9)
    kx, ky = m[chosen] / period, n[chosen] / period
    weight = np.where((kx == 0) & (ky == 0), 1.0, 2.0) / period**2
    return Lattice(kx, ky, weight, np.hypot(kx, ky) <= _LOW * limit, period, limit)


def transformed_spectra(
    maps: Maps,
    units: slice,
    lattice: Lattice,
    rotations: Floats,
    scales: Floats,
    *,
    dtype: type[np.complexfloating] = np.complex64,
) -> tuple[Complex, Complex, Complex]:
    """Spectra about the energy centroid of every rotated, scaled copy.

    Returns
    -------
    map, energy, support : complex arrays (unit, rotation·scale, frequency)
        Of the copy with unit norm, and at ``lattice.low`` of its energy with unit integral and of its support.
    """
    values = maps.values[units]
    n, pixels = values.shape
    area = maps.dx * maps.dy
    real = np.empty(0, dtype).real.dtype
    right = values.T.astype(real)
    right_low = np.concatenate([values**2, maps.support[units]]).T.astype(real)
    kx, ky, low = lattice.kx, lattice.ky, np.flatnonzero(lattice.low)
    columns, rows = np.unique(maps.x), np.unique(maps.y)
    count = rotations.size * scales.size
    map_spectra = np.empty((n, count, kx.size), dtype)
    energy_spectra = np.empty((n, count, low.size), dtype)
    support_spectra = np.empty((n, count, low.size), dtype)
    center = maps.center[units]
    norm = np.sqrt(maps.energy[units] * area)
    scale_norm = np.divide(area, norm, out=np.zeros_like(norm), where=norm > 0).astype(real)
    total = (values**2).sum(1)
    scale_total = np.divide(1.0, total, out=np.zeros_like(total), where=total > 0).astype(real)
    # A further quarter turn leads from frequency to frequency of the lattice: half the rotations need no sums.
    quarter, turned_over = _quarter_turn(kx, ky)
    whole_turn = np.isclose(rotations[-1], 180 - 180 / rotations.size)
    every = 0 if whole_turn and rotations.size % 2 == 0 else rotations.size
    transforms = list(product(np.radians(rotations[: every or rotations.size // 2]), scales))

    def transform(t: int) -> None:
        angle, scale = transforms[t]
        # k·(R p) = (Rᵀ k)·p
        qx = scale * (np.cos(angle) * kx + np.sin(angle) * ky)
        qy = scale * (-np.sin(angle) * kx + np.cos(angle) * ky)
        along_y, along_x = turning(-np.outer(qy, rows), dtype), turning(-np.outer(qx, columns), dtype)
        phase = (along_y[:, :, None] * along_x[:, None, :]).reshape(kx.size, pixels)
        whole, smooth = (
            (part.real @ columns_of) + 1j * (part.imag @ columns_of)
            for part, columns_of in ((phase, right), (phase[low], right_low))
        )
        back = turning(np.outer(center[:, 0], qx) + np.outer(center[:, 1], qy), dtype)
        resolved = np.hypot(qx, qy) <= maps.nyquist + 1e-12
        pixel = np.sinc(qx[low] * maps.dx) * np.sinc(qy[low] * maps.dy)
        centered = back[:, low] * pixel.astype(real)
        back *= resolved * (real.type(scale) * scale_norm)[:, None]
        np.multiply(whole.T, back, out=map_spectra[:, t])
        energy_spectra[:, t] = smooth[:, :n].T * centered * scale_total[:, None]
        support_spectra[:, t] = smooth[:, n:].T * centered * real.type(scale**2 * area)

    for _ in at_once(transform, range(len(transforms))):
        pass
    if not every:
        half = count // 2
        at = np.searchsorted(low, quarter[low])
        turned = (
            (map_spectra, quarter, turned_over),
            *((spectra, at, turned_over[low]) for spectra in (energy_spectra, support_spectra)),
        )

        def turn(t: int) -> None:
            for spectra, places, over in turned:
                spectra[:, half + t] = spectra[:, t][:, places]
                spectra.imag[:, half + t, over] *= -1

        for _ in at_once(turn, range(half)):
            pass
    # Cut off at the last frequency, a support is blurred; what a map keeps in its own blurred support counts as all.
    own = np.einsum("utk,utk,k->ut", energy_spectra, support_spectra.conj(), lattice.weight[low]).real
    energy_spectra /= np.where(own > _LEAST_OWN, own, 1.0)[:, :, None].astype(dtype)
    return map_spectra, energy_spectra, support_spectra


def turning(cycles: Floats, dtype: Precision) -> Complex:
    """exp(2πi·cycles), by the fast sine and cosine of the wanted precision."""
    found = np.empty(cycles.shape, dtype)
    angle = (2 * np.pi * (cycles - np.rint(cycles))).astype(found.real.dtype)
    found.real, found.imag = np.cos(angle), np.sin(angle)
    return found


def _quarter_turn(kx: Floats, ky: Floats) -> tuple[Places, Places]:
    """For every frequency of a half plane the one a quarter turn back, and whether it lies in the other half."""
    step = np.abs(kx[kx != 0]).min() if (kx != 0).any() else 1.0
    keys = {(round(x), round(y)): i for i, (x, y) in enumerate(zip(kx / step, ky / step, strict=True))}
    wanted = [(round(y), -round(x)) for x, y in zip(kx / step, ky / step, strict=True)]
    over = np.array([key not in keys for key in wanted])
    return np.array([keys[(-x, -y) if (x, y) not in keys else (x, y)] for x, y in wanted], dtype=np.intp), over


def at_once(work: Callable[[int], _Result], items: Iterable[int]) -> Iterator[_Result]:
    """Results in order, from a thread per core: NumPy's products leave the interpreter free."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)  # who stops the search waits for one field and not for all
