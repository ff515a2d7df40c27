"""The search: best normalized correlation of every map with every map over shift, rotation, scale and sign.

The spectrum of a rotated and scaled copy of a map is the map's own spectrum read at rotated and scaled frequencies, a
shift is a phase ramp, and by Parseval's theorem the correlation of two maps is the inner product of their spectra. So
nothing is interpolated: the spectra of all copies are sums over the map's own pixels at the wanted frequencies, and the
correlations with all shifted fields are real matrix products over the frequencies of a half plane. Rotation by a
further 180° is the complex conjugate; the other sign is the other end of the same correlation.

Each map is zero outside its support (`supports`), and norms are over all of it, so a correlation is normalized over the
union of both supports: what one map has where the other has nothing counts against the pair. A placement counts only
when each map has at least `Search.min_overlap` of its energy inside the other's support.

The search runs over a coarse lattice of transforms, keeps for every pair the best *admissible* one by branch and bound
(the correlation without the overlap condition bounds the one with it), climbs from there on a fine lattice and refines
the shift last.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from rfcompare import __version__
from rfcompare.bank import write_bytes
from rfcompare.errors import InputError

Result = TypeVar("Result")
Floats = npt.NDArray[np.floating]
Complex = npt.NDArray[np.complexfloating]
Places = npt.NDArray[np.intp] | npt.NDArray[np.bool_]

SMOOTHING = 0.08
"""SD of the smoothing that finds a support in the squared map, as a share of the map's size."""

SUPPORT_LEVEL = 0.05
"""The support is where the smoothed energy exceeds this share of its maximum…"""

NOISE_SDS = 3.0
"""…and, where the noise is known, its own energy by this many SDs…"""

SUPPORT_RADII = 4.0
"""…within this many field radii of the centroid."""

EXTENT_ENERGY = 0.99
"""A map's extent is the radius that holds this share of its energy."""

BAND_ENERGY = 0.998
"""Frequencies are compared up to the radius that holds this share of the fields' energy (of 90 % of the fields)."""

LEAST_OWN = 0.3
"""Below this share of a map's energy in its own blurred support there is nothing to correct (an empty map)."""

LOW = 0.6
"""Energies and supports, being smooth, are compared at frequencies up to this share of the limit."""

MAX_FREQUENCIES = 400
"""Frequencies of the half plane that are compared at most; finer structure is left out."""

FIRST_CANDIDATES = 6
"""Coarse transforms of a pair that the overlap is worked out for at a time."""

FIRST_RANK = 40
"""Components by which the coarse transforms of a pair are put in order."""

OWN_STEPS = 2
"""Steps of rotation and of scale either way within which a map is looked for in what was measured of it."""

LAGGING = 0.05
"""A start whose correlation is this far below the best of its pair is climbed from no further."""

CACHED = 1024
"""Coarse copies that are compared with a field at a time: their correlations stay in a core's cache."""

PART = 256
"""Fields searched with a block of kernels before what was found is kept: what a stopped search may lose."""

BLOCK_BYTES = 512 * 2**20
"""Spectra of transformed copies held at a time."""

RANK = 80
"""Principal components, of real and of imaginary parts each, by which copies are searched; what is found is worked out
in full. Against the search of whole spectra 98 % of the similarities of 96 kernels and 200 fields are within .01."""


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
        Radius that holds `EXTENT_ENERGY`.
    energy : array (unit,)
        Energy below the Nyquist circle, per area.
    band : array (unit,)
        Frequency below which `BAND_ENERGY` of it lies.
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
    width_y, width_x = SMOOTHING * maps.shape[1], SMOOTHING * maps.shape[2]
    smooth = gaussian_filter1d(energy, width_y, axis=1, mode="nearest")
    smooth = gaussian_filter1d(smooth, width_x, axis=2, mode="nearest")
    level = np.zeros(maps.shape[0])
    if noise_sd is not None:
        noise = np.nan_to_num(np.asarray(noise_sd)) ** 2
        smooth = smooth - noise[:, None, None]
        # A Gaussian of these widths averages 4π·σy·σx pixels, each with a squared noise of SD √2·noise.
        level = NOISE_SDS * noise * np.sqrt(2 / max(4 * np.pi * width_y * width_x, 1.0))
    level = np.maximum(level, SUPPORT_LEVEL * smooth.max((1, 2)))
    x, y = grid
    distance = np.hypot(x[None, None] - middle[:, 0, None, None], y[None, :, None] - middle[:, 1, None, None])
    near = distance <= SUPPORT_RADII * np.asarray(radius)[:, None, None]
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
    last = np.minimum((cumulative < EXTENT_ENERGY).sum(1), squared.shape[1] - 1)
    extent = np.sqrt(np.take_along_axis(squared, np.take_along_axis(order, last[:, None], 1), 1)[:, 0])
    # Beyond the Nyquist circle (the corners of the square) a map cannot be rotated, so nothing there is compared.
    size = 2 * max(clean.shape[1:])
    power = np.abs(np.fft.fft2(clean, (size, size))) ** 2
    radial = np.hypot(np.fft.fftfreq(size, dx)[None, :], np.fft.fftfreq(size, dy)[:, None]).ravel()
    outward = np.argsort(radial)
    outward = outward[radial[outward] <= 0.5 / max(dx, dy) + 1e-12]
    within = power.reshape(n, -1)[:, outward].cumsum(1) / size**2
    edge = (within < BAND_ENERGY * within[:, -1:]).sum(1).clip(max=outward.size - 1)
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
    limit = min(b.nyquist, needed, largest * a.nyquist, float(np.sqrt(2 * MAX_FREQUENCIES / np.pi)) / period)
    reach = int(np.floor(limit * period))
    m, n = np.meshgrid(np.arange(-reach, reach + 1), np.arange(reach + 1))
    half = (n > 0) | (m >= 0)
    chosen = half & (np.hypot(m, n) <= limit * period + 1e-9)
    kx, ky = m[chosen] / period, n[chosen] / period
    weight = np.where((kx == 0) & (ky == 0), 1.0, 2.0) / period**2
    return Lattice(kx, ky, weight, np.hypot(kx, ky) <= LOW * limit, period, limit)


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
        along_y, along_x = _turning(-np.outer(qy, rows), dtype), _turning(-np.outer(qx, columns), dtype)
        phase = (along_y[:, :, None] * along_x[:, None, :]).reshape(kx.size, pixels)
        whole, smooth = (
            (part.real @ columns_of) + 1j * (part.imag @ columns_of)
            for part, columns_of in ((phase, right), (phase[low], right_low))
        )
        back = _turning(np.outer(center[:, 0], qx) + np.outer(center[:, 1], qy), dtype)
        resolved = np.hypot(qx, qy) <= maps.nyquist + 1e-12
        map_spectra[:, t] = whole.T * back * (real.type(scale) * scale_norm)[:, None] * resolved
        centered = back[:, low] * (np.sinc(qx * maps.dx) * np.sinc(qy * maps.dy))[low].astype(real)
        energy_spectra[:, t] = smooth[:, :n].T * centered * scale_total[:, None]
        support_spectra[:, t] = smooth[:, n:].T * centered * real.type(scale**2 * area)

    for _ in _at_once(transform, range(len(transforms))):
        pass
    if not every:
        half = count // 2
        at = np.searchsorted(low, quarter[low])
        for spectra, places, over in (
            (map_spectra, quarter, turned_over),
            (energy_spectra, at, turned_over[low]),
            (support_spectra, at, turned_over[low]),
        ):
            for t in range(half):
                spectra[:, half + t] = spectra[:, t][:, places]
                spectra.imag[:, half + t, over] *= -1
    # Cut off at the last frequency, a support is blurred; what a map keeps in its own blurred support counts as all.
    own = np.einsum("utk,utk,k->ut", energy_spectra, support_spectra.conj(), lattice.weight[low]).real
    energy_spectra /= np.where(own > LEAST_OWN, own, 1.0)[:, :, None].astype(dtype)
    return map_spectra, energy_spectra, support_spectra


def _turning(cycles: Floats, dtype: type[np.complexfloating]) -> Complex:
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


@dataclass(frozen=True, eq=False)
class Best:
    """The best admissible transform of every pair; all arrays (unit_a, unit_b).

    ``shift`` (…, 2) is of the energy centroids; ``similarity`` 0 and a NaN transform where no placement is admissible.
    """

    similarity: npt.NDArray[np.float64]
    sign: npt.NDArray[np.float64]
    rotation: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]
    overlap_a: npt.NDArray[np.float64]
    overlap_b: npt.NDArray[np.float64]


def best_transforms(
    a: Maps,
    b: Maps,
    search: Search,
    *,
    lattice: Lattice | None = None,
    dtype: type[np.complexfloating] = np.complex64,
    keep: Path | None = None,
    tick: Callable[[int], object] = lambda _: None,
) -> Iterator[tuple[slice, Best]]:
    """Search block by block of `a`; each item is a slice of units of `a` and their best transforms with all of `b`.

    What is finished is kept in the folder `keep`, where a search of the same maps finds it again; `tick` is told how
    many more pairs are done.
    """
    lattice = lattice or lattice_for(a, b, search)
    shifts = _shifts(search, float(np.median(b.radius[b.usable])))
    fields = _Fields.of(b, lattice, shifts, dtype)
    per_unit = (
        search.rotations.size
        * search.scales.size
        * (lattice.kx.size + 2 * lattice.low.sum())
        * np.empty(0, dtype).itemsize
    )
    size = a.values.shape[0]
    step = -(-size // max(1, -(-size * per_unit // BLOCK_BYTES)))
    for start in range(0, size, step):
        block = slice(start, min(start + step, size))
        copies: _Copies | None = None
        parts = []
        for first in range(0, b.values.shape[0], PART):
            last = min(first + PART, b.values.shape[0])
            file = None if keep is None else keep / f"{_digest(a, b, search, block, (first, last), dtype)}.npz"
            part = None if file is None else _kept(file)
            if part is None:
                copies = copies or _Copies.of(a, block, fields, search, dtype)
                results = []
                for found in _at_once(partial(_search_field, copies, fields, search, shifts), range(first, last)):
                    results.append(found)
                    tick(block.stop - block.start)
                part = Best(*(np.stack(column, axis=1) for column in zip(*results, strict=True)))
                if file is not None:
                    memory = io.BytesIO()
                    np.savez(memory, **vars(part))
                    write_bytes(file, memory.getbuffer())
            else:
                tick((block.stop - block.start) * (last - first))
            parts.append(part)
        yield block, joined(parts, axis=1)


def joined(parts: Sequence[Best], *, axis: int) -> Best:
    """Parts of one search put together along the units of `a` (0) or `b` (1)."""
    return Best(*(np.concatenate([getattr(part, name) for part in parts], axis) for name in Best.__dataclass_fields__))


def _digest(
    a: Maps, b: Maps, search: Search, block: slice, fields: tuple[int, int], dtype: type[np.complexfloating]
) -> str:
    """What a part of a search depends on, as a name."""
    said = hashlib.sha256(repr((__version__, vars(search), block.start, block.stop, fields, dtype.__name__)).encode())
    for maps in (a, b):
        for value in vars(maps).values():
            said.update(np.ascontiguousarray(value).tobytes())
    return said.hexdigest()


def _kept(file: Path) -> Best | None:
    """A finished part; None where there is none or it is damaged, so that it is searched again."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return Best(**{name: stored[name] for name in Best.__dataclass_fields__})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _shifts(search: Search, radius: float) -> npt.NDArray[np.float64]:
    """Shifts (n, 2) in a disc around 0."""
    steps = int(np.floor(search.max_shift / search.shift_step + 1e-9))
    grid = np.arange(-steps, steps + 1) * search.shift_step * radius
    sx, sy = (axis.ravel() for axis in np.meshgrid(grid, grid))
    inside = np.hypot(sx, sy) <= search.max_shift * radius + 1e-9
    return np.stack([sx[inside], sy[inside]], axis=1)


@dataclass(frozen=True, eq=False)
class _Short:
    """Spectra (…, frequency) of copies in a few components each of their real and imaginary parts.

    ``values`` (…, 2·component) times what `against` makes of a spectrum is Re Σ copy · spectrum, up to what the
    components leave.
    """

    values: Floats
    even: Floats
    odd: Floats

    @classmethod
    def of(cls, spectra: Complex, typical: Floats, rank: int, sample: slice) -> _Short:
        """The components that hold most of the products with spectra of these typical sizes."""
        weight = np.maximum(typical, 1e-3 * typical.max()).astype(spectra.real.dtype)
        bases = []
        for part in (spectra.real[:, sample], spectra.imag[:, sample]):
            rows = part.reshape(-1, part.shape[-1]) * weight
            basis = np.linalg.eigh(rows.T @ rows)[1][:, ::-1][:, :rank]
            bases.append((weight[:, None] * basis, basis.T / weight))
        (to_even, even), (to_odd, odd) = bases
        return cls(np.concatenate([spectra.real @ to_even, spectra.imag @ to_odd], axis=-1), even, odd)

    def against(self, right: Complex) -> Floats:
        """What the values are multiplied with, of spectra (frequency, n)."""
        return np.concatenate([self.even @ right.real, -(self.odd @ right.imag)])

    def take(self, unit: Places, copy: Places, conjugate: Places) -> Floats:
        """Rows by index; a conjugate has the other sign of its imaginary part."""
        found = self.values[unit, copy]
        found[conjugate, self.even.shape[0] :] *= -1
        return found


@dataclass(frozen=True, eq=False)
class _Copies:
    """Transformed copies of a block of maps, in full and short, and the coarse ones among them."""

    full: tuple[Complex, Complex, Complex]
    maps: _Short
    energy: _Short
    support: _Short
    sizes: int
    half: int
    coarse_turn: Places
    coarse_size: Places
    near: npt.NDArray[np.bool_]
    coarse: tuple[Floats, Floats]

    @classmethod
    def of(cls, a: Maps, block: slice, fields: _Fields, search: Search, dtype: type[np.complexfloating]) -> _Copies:
        rotations, scales = search.rotations, search.scales
        full = transformed_spectra(a, block, fields.lattice, rotations, scales, dtype=dtype)
        turns = np.arange(0, rotations.size, search.coarse_rotation)
        sizes = np.arange((scales.size - 1) // 2 % search.coarse_scale, scales.size, search.coarse_scale)
        turn, size = (axis.ravel() for axis in np.meshgrid(turns, sizes, indexing="ij"))
        sample = slice(None, None, max(1, search.coarse_rotation * search.coarse_scale // 2))
        maps, energy, support = (
            _Short.of(spectra, np.sqrt((np.abs(other) ** 2).mean(0)), RANK, sample)
            for spectra, other in zip(full, (fields.maps, fields.support, fields.energy), strict=True)
        )
        chosen = maps.values[:, turn * scales.size + size].reshape(-1, maps.values.shape[-1])
        rank = maps.even.shape[0]
        coarse = chosen[:, :rank][:, :FIRST_RANK].copy(), chosen[:, rank:][:, :FIRST_RANK].copy()
        turn, size = np.concatenate([turn, turn + rotations.size]), np.concatenate([size, size])
        apart = np.abs(turn[:, None] - turn) % (2 * rotations.size)
        apart = np.minimum(apart, 2 * rotations.size - apart)
        near = (apart <= search.coarse_rotation) & (np.abs(size[:, None] - size) <= search.coarse_scale)
        return cls(full, maps, energy, support, scales.size, rotations.size, turn, size, near, coarse)

    def whole(self, part: int, turn: Places, size: Places) -> Complex:
        """Full spectra of one copy of every unit; those of the second half turn are conjugates."""
        found: Complex = self.full[part][np.arange(turn.size), (turn % self.half) * self.sizes + size]
        found.imag[turn >= self.half] *= -1
        return found


@dataclass(frozen=True, eq=False)
class _Field:
    """One field: conjugate spectra times quadrature weights; short ones times the ramp of every shift."""

    spectrum: Complex
    energy: Complex
    support: Complex
    short_maps: Floats
    short_energy: Floats
    short_support: Floats
    lattice: Lattice


@dataclass(frozen=True, eq=False)
class _Fields:
    maps: Complex
    energy: Complex
    support: Complex
    ramp: Complex
    lattice: Lattice

    @classmethod
    def of(cls, b: Maps, lattice: Lattice, shifts: Floats, dtype: type[np.complexfloating]) -> _Fields:
        one = np.zeros(1), np.ones(1)
        maps, energy, support = (
            part[:, 0] for part in transformed_spectra(b, slice(None), lattice, *one, dtype=np.complex128)
        )
        # Norms over what is compared: b is low-passed where the lattice ends before its Nyquist frequency.
        norm = np.sqrt((np.abs(maps) ** 2 * lattice.weight).sum(1, keepdims=True))
        maps = np.divide(maps, norm, out=np.zeros_like(maps), where=norm > 0)
        low = lattice.weight[lattice.low]
        return cls(
            (maps.conj() * lattice.weight).astype(dtype),
            (energy.conj() * low).astype(dtype),
            (support.conj() * low).astype(dtype),
            _ramp(lattice.kx, lattice.ky, shifts).T.astype(dtype),
            lattice,
        )

    def one(self, j: int, copies: _Copies) -> _Field:
        low = self.ramp[self.lattice.low]
        return _Field(
            self.maps[j],
            self.energy[j],
            self.support[j],
            copies.maps.against(self.maps[j][:, None] * self.ramp),
            copies.support.against(self.energy[j][:, None] * low),
            copies.energy.against(self.support[j][:, None] * low),
            self.lattice,
        )


def _ramp(kx: Floats, ky: Floats, shifts: Floats) -> Complex:
    """Phase ramps (shift, frequency)."""
    return np.asarray(np.exp(-2j * np.pi * (np.outer(shifts[:, 0], kx) + np.outer(shifts[:, 1], ky))))


def _admissible(
    copies: _Copies,
    field: _Field,
    unit: Places,
    turn: Places,
    size: Places,
    least: float,
) -> tuple[Floats, Places]:
    """Best absolute correlation over admissible shifts (−1 where there is none), and its shift's index."""
    which = unit, (turn % copies.half) * copies.sizes + size, turn >= copies.half
    own = copies.energy.take(*which) @ field.short_support
    other = copies.support.take(*which) @ field.short_energy
    correlation = np.abs(copies.maps.take(*which) @ field.short_maps)
    correlation[(own < least) | (other < least)] = -1.0
    at = correlation.argmax(1)
    return correlation[np.arange(unit.size), at], at


def _at_once(work: Callable[[int], Result], items: Iterable[int]) -> Iterator[Result]:
    """Results in order, from a thread per core: NumPy's products leave the interpreter free."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(work, items)


def _search_field(
    copies: _Copies, fields: _Fields, search: Search, shifts: Floats, j: int
) -> tuple[npt.NDArray[np.float64], ...]:
    """Best transform of every copy's unit onto one field."""
    field = fields.one(j, copies)
    n, least, rank = copies.maps.values.shape[0], search.min_overlap, copies.maps.even.shape[0]
    first_rank = copies.coarse[0].shape[1]
    bound = np.empty((2, copies.coarse[0].shape[0]), copies.coarse[0].dtype)
    for start in range(0, bound.shape[1], CACHED):
        part = slice(start, start + CACHED)
        even = copies.coarse[0][part] @ field.short_maps[:first_rank]
        odd = copies.coarse[1][part] @ field.short_maps[rank : rank + first_rank]
        bound[0, part] = np.abs(even + odd).max(1)
        bound[1, part] = np.abs(np.subtract(even, odd, out=even), out=even).max(1)
    bound = np.concatenate([half.reshape(n, -1) for half in bound], axis=1)

    # Branch and bound: candidates in the order of their bounds, in batches; a unit is done when no bound left is above
    # its best. A few more are looked at in any case, to start the climb from.
    value, where = np.full(bound.shape, -1.0), np.zeros(bound.shape, np.intp)
    order = np.argsort(-bound, axis=1)
    active, first, width = np.arange(n), 0, FIRST_CANDIDATES
    while active.size and first < order.shape[1]:
        candidate = order[active, first : first + width]
        unit, chosen = np.repeat(active, candidate.shape[1]), candidate.ravel()
        found = _admissible(copies, field, unit, copies.coarse_turn[chosen], copies.coarse_size[chosen], least)
        value[unit, chosen], where[unit, chosen] = found
        first += width
        if first < order.shape[1]:
            active = active[bound[active, order[active, first]] > value[active].max(1)]

    # Climb on the fine lattice from the best few that are not neighbors of each other.
    starts = np.repeat(np.arange(n), search.starts)
    at, turn, size = (np.zeros(starts.size, np.intp) for _ in range(3))
    best = np.full(starts.size, -1.0)
    for k in range(search.starts):
        top = value.argmax(1)
        rows = np.arange(n) * search.starts + k
        best[rows], at[rows] = value[np.arange(n), top], where[np.arange(n), top]
        turn[rows], size[rows] = copies.coarse_turn[top], copies.coarse_size[top]
        value[copies.near[top]] = -1.0
    for step_turn, step_size in _climb(search):
        leader = np.repeat(best.reshape(n, -1).max(1), search.starts)
        going = np.flatnonzero((best > 0) & (best > leader - LAGGING))
        if not going.size:
            break
        row = np.repeat(going, 2)
        way = np.tile([-1, 1], going.size)
        try_turn = (turn[row] + way * step_turn) % (2 * copies.half)
        try_size = np.clip(size[row] + way * step_size, 0, copies.sizes - 1)
        height, place = _admissible(copies, field, starts[row], try_turn, try_size, least)
        height, place = height.reshape(-1, 2), place.reshape(-1, 2)
        side = height.argmax(1)
        pick = np.arange(going.size), side
        better = height[pick] > best[going]
        won, chosen = going[better], (2 * pick[0] + side)[better]
        best[won], at[won], turn[won], size[won] = (
            height[pick][better],
            place[pick][better],
            try_turn[chosen],
            try_size[chosen],
        )
    last = np.arange(n) * search.starts + best.reshape(n, -1).argmax(1)
    return _finish(copies, field, search, shifts, best[last], at[last], turn[last], size[last])


def _climb(search: Search) -> list[tuple[int, int]]:
    """Steps on the fine lattice (turns, sizes), one axis at a time, from half the coarse step down to one, twice."""
    turns, sizes = search.coarse_rotation // 2, search.coarse_scale // 2
    steps = []
    while turns > 1 or sizes > 1:
        steps += [(max(turns, 1), 0), (0, max(sizes, 1))]
        turns, sizes = (turns + 1) // 2, sizes // 2
    return [*steps, (1, 0), (0, 1), (1, 0), (0, 1)]


def _finish(
    copies: _Copies,
    field: _Field,
    search: Search,
    shifts: Floats,
    best: Floats,
    at: npt.NDArray[np.intp],
    turn: npt.NDArray[np.intp],
    size: npt.NDArray[np.intp],
) -> tuple[npt.NDArray[np.float64], ...]:
    """Refine the shift between lattice points, and read off sign and overlaps there."""
    lattice, low = field.lattice, field.lattice.low
    spectra = copies.whole(0, turn, size)
    signed, shift = _refined(spectra, field.spectrum, lattice, shifts[at].astype(float), _step(search, shifts))
    here = _ramp(lattice.kx[low], lattice.ky[low], shift).astype(spectra.dtype)
    own = ((copies.whole(1, turn, size) * here) @ field.support).real
    other = ((copies.whole(2, turn, size) * here) @ field.energy).real
    none = best <= 0
    return (
        np.where(none, 0.0, np.abs(signed)),
        np.where(none, np.nan, np.sign(signed)),
        np.where(none, np.nan, turn * search.rotation_step),
        np.where(none, np.nan, search.scales[size]),
        np.where(none[:, None], np.nan, shift),
        np.where(none, np.nan, own.clip(0, 1).astype(float)),
        np.where(none, np.nan, other.clip(0, 1).astype(float)),
    )


def _step(search: Search, shifts: Floats) -> float:
    """Distance between neighboring shifts, in the fields' units."""
    return search.shift_step * float(np.linalg.norm(shifts, axis=1).max()) / search.max_shift


def _refined(
    spectra: Complex, spectrum: Complex, lattice: Lattice, shift: Floats, step: float
) -> tuple[npt.NDArray[np.float64], Floats]:
    """The largest correlation of each spectrum with one field between lattice points, with its sign, and its shift."""
    for _ in range(2):
        fine = np.linspace(-0.5, 0.5, 5) * step
        local = np.stack([axis.ravel() for axis in np.meshgrid(fine, fine)], axis=1)
        here = _ramp(lattice.kx, lattice.ky, shift).astype(spectra.dtype)
        around = _ramp(lattice.kx, lattice.ky, local).T.astype(spectra.dtype)
        value = ((spectra * here) @ (spectrum[:, None] * around)).real
        top = np.abs(value).argmax(1)
        shift = shift + local[top]
        step /= 4
    return value[np.arange(len(top)), top].astype(float), shift


def own_best(a: Maps, b: Maps, search: Search) -> npt.NDArray[np.float64]:
    """Best correlation of every map of `a` with the one of `b` that stands for the same cell, near where both stand.

    Of the transforms those within `OWN_STEPS` of none are searched, over all shifts: a map's own place is among them.
    """
    lattice = lattice_for(a, b, search)
    shifts = _shifts(search, float(np.median(b.radius[b.usable])))
    fields = _Fields.of(b, lattice, shifts, np.complex64)
    turns = search.rotation_step * np.arange(-OWN_STEPS, OWN_STEPS + 1)
    sizes = 2.0 ** (search.scale_step * np.arange(-OWN_STEPS, OWN_STEPS + 1))
    spectra, _, _ = transformed_spectra(a, slice(None), lattice, turns, sizes)

    def one(j: int) -> float:
        correlation = np.abs((spectra[j] @ (fields.maps[j][:, None] * fields.ramp)).real)
        copy, at = np.unravel_index(correlation.argmax(), correlation.shape)
        found, _ = _refined(
            spectra[j, [copy]], fields.maps[j], lattice, shifts[[at]].astype(float), _step(search, shifts)
        )
        return abs(float(found[0]))

    return np.where(a.usable & b.usable, list(_at_once(one, range(len(b.values)))), np.nan)
