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
(the correlation without the overlap condition bounds the one with it) and climbs from there on a fine lattice, all by
the principal components of the copies' spectra. The neighbors of what is found and the shift between lattice points are
compared in full.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rfcompare import __version__
from rfcompare.bank import keep_arrays, kept_arrays
from rfcompare.matching.spectra import (
    Complex,
    Floats,
    Lattice,
    Maps,
    Places,
    Precision,
    Search,
    at_once,
    lattice_for,
    transformed_spectra,
    turning,
)

_FIRST_CANDIDATES = 6
"""Coarse transforms of a pair that the overlap is worked out for at first; then twice as many each time."""

_FIRST_RANK = 40
"""Components by which the coarse transforms of a pair are put in order."""

_OWN_STEPS = 2
"""Steps of rotation and of scale either way within which a map is looked for in what was measured of it."""

_LAGGING = 0.05
"""A start whose correlation is this far below the best of its pair is climbed from no further."""

_CACHED = 1024
"""Coarse copies that are compared with a field at a time: their correlations stay in a core's cache."""

_PART = 256
"""Fields searched with a block of kernels before what was found is kept: what a stopped search may lose."""

_BLOCK_BYTES = 320 * 2**20
"""Spectra of transformed copies held at a time: those of 48 kernels beside fields of ordinary size."""

_RANK = 80
"""Principal components, of real and of imaginary parts each, by which copies are searched; what is found is worked out
in full. Against the search of whole spectra 98 % of the similarities of 96 kernels and 200 fields are within .01."""


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
) -> Best:
    """Search block by block of `a` for the best transforms of all its units with all of `b`.

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
    step = -(-size // max(1, -(-size * per_unit // _BLOCK_BYTES)))
    blocks = []
    for start in range(0, size, step):
        block = slice(start, min(start + step, size))
        copies: _Copies | None = None
        parts = []
        for first in range(0, b.values.shape[0], _PART):
            last = min(first + _PART, b.values.shape[0])
            file = None if keep is None else keep / f"{_digest(a, b, search, block, (first, last), dtype)}.npz"
            kept = kept_arrays(file)
            if kept is not None and set(kept) == set(Best.__dataclass_fields__):
                part = Best(**kept)
                tick((block.stop - block.start) * (last - first))
            else:
                copies = copies or _Copies.of(a, block, fields, search, dtype)
                results = []
                for found in at_once(partial(_search_field, copies, fields, search, shifts), range(first, last)):
                    results.append(found)
                    tick(block.stop - block.start)
                part = Best(*(np.stack(column, axis=1) for column in zip(*results, strict=True)))
                if file is not None:
                    keep_arrays(file, **vars(part))
            parts.append(part)
        blocks.append(_joined(parts, axis=1))
    return _joined(blocks, axis=0)


def _joined(parts: Sequence[Best], *, axis: int) -> Best:
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
        against = fields.maps, fields.support, fields.energy

        def short(part: int) -> _Short:
            return _Short.of(full[part], np.sqrt((np.abs(against[part]) ** 2).mean(0)), _RANK, sample)

        maps, energy, support = at_once(short, range(len(full)))
        chosen = maps.values[:, turn * scales.size + size].reshape(-1, maps.values.shape[-1])
        rank = maps.even.shape[0]
        coarse = chosen[:, :rank][:, :_FIRST_RANK].copy(), chosen[:, rank:][:, :_FIRST_RANK].copy()
        turn, size = np.concatenate([turn, turn + rotations.size]), np.concatenate([size, size])
        apart = np.abs(turn[:, None] - turn) % (2 * rotations.size)
        apart = np.minimum(apart, 2 * rotations.size - apart)
        near = (apart <= search.coarse_rotation) & (np.abs(size[:, None] - size) <= search.coarse_scale)
        return cls(full, maps, energy, support, scales.size, rotations.size, turn, size, near, coarse)

    def whole(self, part: int, unit: Places, turn: Places, size: Places) -> Complex:
        """Full spectra of copies by unit, turn and size; those of the second half turn are conjugates."""
        found: Complex = self.full[part][unit, (turn % self.half) * self.sizes + size]
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
            _ramp(lattice.kx, lattice.ky, shifts, dtype).T,
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


def _ramp(kx: Floats, ky: Floats, shifts: Floats, dtype: Precision) -> Complex:
    """Phase ramps (shift, frequency)."""
    return turning(-shifts @ np.stack([kx, ky]), dtype)


def _admissible(
    copies: _Copies,
    field: _Field,
    unit: Places,
    turn: Places,
    size: Places,
    least: float,
    floor: Floats | None = None,
) -> tuple[Floats, Places]:
    """Best absolute correlation over admissible shifts (−1 where there is none), and its shift's index.

    Where no shift at all comes above `floor`, what is admissible is not asked: −1.
    """
    which = unit, (turn % copies.half) * copies.sizes + size, turn >= copies.half
    correlation = np.abs(copies.maps.take(*which) @ field.short_maps)
    rows = np.arange(unit.size) if floor is None else np.flatnonzero(correlation.max(1) > floor)
    some = tuple(part[rows] for part in which)
    correlation = correlation[rows]
    own, other = copies.energy.take(*some) @ field.short_support, copies.support.take(*some) @ field.short_energy
    correlation[(own < least) | (other < least)] = -1.0
    found = correlation.argmax(1)
    best, at = np.full(unit.size, -1.0), np.zeros(unit.size, np.intp)
    best[rows], at[rows] = correlation[np.arange(rows.size), found], found
    return best, at


def _search_field(
    copies: _Copies, fields: _Fields, search: Search, shifts: Floats, j: int
) -> tuple[npt.NDArray[np.float64], ...]:
    """Best transform of every copy's unit onto one field."""
    field = fields.one(j, copies)
    n, least, rank = copies.maps.values.shape[0], search.min_overlap, copies.maps.even.shape[0]
    first_rank = copies.coarse[0].shape[1]
    bound = np.empty((2, copies.coarse[0].shape[0]), copies.coarse[0].dtype)
    for start in range(0, bound.shape[1], _CACHED):
        part = slice(start, start + _CACHED)
        even = copies.coarse[0][part] @ field.short_maps[:first_rank]
        odd = copies.coarse[1][part] @ field.short_maps[rank : rank + first_rank]
        bound[0, part] = np.abs(even + odd).max(1)
        bound[1, part] = np.abs(np.subtract(even, odd, out=even), out=even).max(1)
    bound = np.concatenate([half.reshape(n, -1) for half in bound], axis=1)

    # Branch and bound: candidates in the order of their bounds, in batches; a unit is done when no bound left is above
    # its best. A few more are looked at in any case, to start the climb from.
    value, where = np.full(bound.shape, -1.0), np.zeros(bound.shape, np.intp)
    order = np.argsort(-bound, axis=1)
    active, first, width = np.arange(n), 0, _FIRST_CANDIDATES
    while active.size and first < order.shape[1]:
        candidate = order[active, first : first + width]
        unit, chosen = np.repeat(active, candidate.shape[1]), candidate.ravel()
        lagging = np.repeat(value[active].max(1), candidate.shape[1]) - _LAGGING  # nothing is climbed from below
        found = _admissible(copies, field, unit, copies.coarse_turn[chosen], copies.coarse_size[chosen], least, lagging)
        value[unit, chosen], where[unit, chosen] = found
        first, width = first + width, 2 * width
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
        going = np.flatnonzero((best > 0) & (best > leader - _LAGGING))
        if not going.size:
            break
        row = np.repeat(going, 2)
        way = np.tile([-1, 1], going.size)
        try_turn = (turn[row] + way * step_turn) % (2 * copies.half)
        try_size = np.clip(size[row] + way * step_size, 0, copies.sizes - 1)
        height, place = _admissible(copies, field, starts[row], try_turn, try_size, least, best[row])
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
    at: Places,
    turn: Places,
    size: Places,
) -> tuple[npt.NDArray[np.float64], ...]:
    """Refine the shift between lattice points, and read off sign and overlaps there."""
    lattice, low = field.lattice, field.lattice.low
    turn, size = _nearby(copies, field, turn, size, shifts[at], search.min_overlap)
    unit = np.arange(len(turn))
    spectra = copies.whole(0, unit, turn, size)
    signed, shift = _refined(spectra, field.spectrum, lattice, shifts[at].astype(float), _step(search, shifts))
    here = _ramp(lattice.kx[low], lattice.ky[low], shift, spectra.dtype)
    own = ((copies.whole(1, unit, turn, size) * here) @ field.support).real
    other = ((copies.whole(2, unit, turn, size) * here) @ field.energy).real
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


def _nearby(
    copies: _Copies, field: _Field, turn: Places, size: Places, shift: Floats, least: float
) -> tuple[Places, Places]:
    """Of the transform found by components and those a step beside it the best admissible one in full."""
    low, unit = field.lattice.low, np.arange(len(turn))
    ramp = _ramp(field.lattice.kx, field.lattice.ky, shift, field.spectrum.dtype)
    seen = [ramp * field.spectrum, ramp[:, low] * field.support, ramp[:, low] * field.energy]
    ways = list(product((0, -1, 1), (0, -1, 1)))
    turns = np.stack([(turn + way) % (2 * copies.half) for way, _ in ways])
    sizes = np.stack([np.clip(size + grown, 0, copies.sizes - 1) for _, grown in ways])

    def product_of(part: int, way: int, rows: Places) -> Floats:
        copy = copies.whole(part, rows, turns[way, rows], sizes[way, rows])
        return np.asarray(np.einsum("uk,uk->u", copy, seen[part][rows]).real)

    # What was found stays, as it was admitted; of the others the overlap is asked where they are better.
    values = np.stack([np.abs(product_of(0, way, unit)) for way in range(len(ways))])
    for way in range(1, len(ways)):
        rows = np.flatnonzero(values[way] > values[0])
        fits = (product_of(1, way, rows) >= least) & (product_of(2, way, rows) >= least)
        values[way, rows[~fits]] = -1.0
    best = np.argmax(values, axis=0)
    return turns[best, unit], sizes[best, unit]


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
        here = _ramp(lattice.kx, lattice.ky, shift, spectra.dtype)
        around = _ramp(lattice.kx, lattice.ky, local, spectra.dtype).T
        value = ((spectra * here) @ (spectrum[:, None] * around)).real
        top = np.abs(value).argmax(1)
        shift = shift + local[top]
        step /= 4
    return value[np.arange(len(top)), top].astype(float), shift


def own_best(a: Maps, b: Maps, search: Search) -> npt.NDArray[np.float64]:
    """Best correlation of every map of `a` with the one of `b` that stands for the same cell, near where both stand.

    Of the transforms those within `_OWN_STEPS` of none are searched, over all shifts: a map's own place is among them.
    """
    lattice = lattice_for(a, b, search)
    shifts = _shifts(search, float(np.median(b.radius[b.usable])))
    fields = _Fields.of(b, lattice, shifts, np.complex64)
    turns = search.rotation_step * np.arange(-_OWN_STEPS, _OWN_STEPS + 1)
    sizes = 2.0 ** (search.scale_step * np.arange(-_OWN_STEPS, _OWN_STEPS + 1))
    spectra, _, _ = transformed_spectra(a, slice(None), lattice, turns, sizes)

    def one(j: int) -> float:
        correlation = np.abs((spectra[j] @ (fields.maps[j][:, None] * fields.ramp)).real)
        copy, at = np.unravel_index(correlation.argmax(), correlation.shape)
        found, _ = _refined(
            spectra[j, [copy]], fields.maps[j], lattice, shifts[[at]].astype(float), _step(search, shifts)
        )
        return abs(float(found[0]))

    return np.where(a.usable & b.usable, list(at_once(one, range(len(b.values)))), np.nan)
