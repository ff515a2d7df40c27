"""One recording and everything that is held against it: populations seen through it, and how far each lies from it.

D is the squared energy distance in the space of `rfcompare.quantities.LIKENESS_AXES`, between a population seen through
the recording (its grid, window, stimulus element and noise) and the cells of an animal, averaged over animals. The zero
of the likeness is noise with the cells' own spectrum and window; one is another animal. How many of the recording's
units a kernel's pixel is nobody knows, so every population is placed at the scale that brings it nearest, within an
octave either way of equal field radii; the cells and the zero are then looked at through its pixels and its window, for
what coarse pixels cannot hold and a narrow window cuts off is no difference between a network and a cortex.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.distance import cdist

from rfcompare.alignment import Grid, interpolation
from rfcompare.comparison.energy import (
    Codes,
    between_means,
    different_subjects_mean,
    group_means,
    subject_matrix,
)
from rfcompare.descriptors import describe_arrays
from rfcompare.errors import InputError
from rfcompare.estimation import Recording
from rfcompare.quantities import LIKENESS_AXES, QUANTITIES
from rfcompare.simulation.nulls import stationary_amplitude, windowed_noise

Array = NDArray[np.float64]

SCALES = tuple(2.0 ** (step / 4) for step in range(-4, 5))
"""Scales of kernels, relative to the one that makes the median field radii equal: an octave either way."""

REFERENCE_SCALES = SCALES[::2]
"""Scales of the references, relative to the recording's own."""

DRAWS = 3
"""Draws of the recording's noise per kernel: their spread is a part of every interval."""

FEW_KERNELS = 128
"""More kernels than this are shown once each: their number averages the noise."""

N_ZERO = 480
"""Maps of noise with the cells' spectrum; the reach of the scale is good to about a twentieth."""

N_REFERENCE = 150
"""Maps of every other reference."""

LEAST_WINDOW = 5
"""Pixels of the recording that a kernel's window must cover along each axis."""

TAPER = 3
"""Pixels of the recording over which a window's edge fades: of an edge that fades over less, the spectrum depends on
where among the pixels it lies, and with it on the scale."""

SPLINE_EDGE = 6
"""Pixels that a line goes on for beyond all that is asked of it: a spline's end is felt by less than a thousandth."""


class Aperture(NamedTuple):
    """What a network's own pixels and window let through of a map on the recording's, at one scale."""

    through: tuple[Array, Array] | None = None
    """Matrices (y, y), (x, x): to the network's pixels and back, and out towards the window's edge, the network's or
    the recording's; None where all is let through."""
    covered: NDArray[np.bool_] | None = None
    """(y, x): pixels that at least half of the network's window covers; None for all."""
    pixels: Pixels | None = None
    """The network's own, where those are coarser than the recording's."""

    @property
    def key(self) -> bytes:
        """The same for apertures that let the same through."""
        return b"".join(matrix.tobytes() for matrix in self.through or ())

    def __call__(self, maps: Array) -> Array:
        """Look at maps (n, y, x) through it."""
        if self.through is None:
            return maps
        rows, columns = self.through
        return np.asarray(rows @ maps @ columns.T)


class Pixels(NamedTuple):
    """A network's pixels within the recording's map."""

    grid: Grid
    """Where they are, in units of the recording."""
    rows: Array
    columns: Array
    """Matrices that sample a map at them, as a Gabor on so many pixels is sampled."""

    @classmethod
    def within(cls, recording: Grid, own: Grid) -> Pixels:
        """Those of `own`, in units of the recording, that lie on its map."""
        y, x = (
            getattr(own, name)[np.abs(getattr(own, name)) <= getattr(recording, name)[-1] + step / 2]
            for name, step in zip("yx", recording.pitch[::-1], strict=True)
        )
        return cls(Grid(x, y, recording.units), _samples_at(y, recording.y), _samples_at(x, recording.x))

    def sample(self, maps: Array) -> Array:
        """Maps (n, y, x) at these pixels."""
        return np.asarray(self.rows @ maps @ self.columns.T)


def _samples_at(target: Array, source: Array) -> Array:
    """Matrix (target, source) of the cubic spline through samples at `source`, mirrored beyond them, not band-limited.

    Examples
    --------
    >>> x = np.arange(-4.0, 5.0)
    >>> there = np.array([-1.5, 0.25])
    >>> bool(np.allclose(_samples_at(there, x) @ np.exp(-(x**2) / 4), np.exp(-(there**2) / 4), atol=0.005))
    True
    """
    step = source[1] - source[0]
    outside = max(source[0] - target.min(), target.max() - source[-1], 0.0) / step
    count = SPLINE_EDGE + int(np.ceil(outside))
    beyond = step * np.arange(1, count + 1)
    knots = np.concatenate([source[0] - beyond[::-1], source, source[-1] + beyond])
    values = np.pad(np.eye(source.size), ((count, count), (0, 0)), mode="symmetric")
    return np.asarray(CubicSpline(knots, values, bc_type="natural")(target))


WHOLE = Aperture()
"""Lets everything through."""


class Sample(NamedTuple):
    """A population of maps that a recording can be shown."""

    maps: Array
    """(n, y, x), of equal worth whatever their amplitude."""
    source: Grid
    """Their pixels."""
    base: float
    """Units of the recording that one of theirs is where its scale is 1."""
    sharp: bool
    """As in `Recording.see`: whether they have been through the stimulus element already."""
    noise: Array | None = None
    """Variance (n,) of the noise of maps that have been recorded already, on the recording's pixels, so that `source`
    only tells what the network sees; None of maps that have not."""

    def through(
        self, recording: Recording, scale: float, generator: np.random.Generator, draws: int = 1
    ) -> tuple[Array, Array]:
        """As a recording shows them at one scale of their own: maps and the SD of their noise."""
        if self.noise is not None:
            return recording.see_again(self.maps, self.noise, generator, draws=draws)
        return recording.see(self.maps, self.source, self.base * scale, generator, draws=draws, sharp=self.sharp)


@dataclass(frozen=True, eq=False)
class Placed:
    """A population at one scale beside the cells.

    Attributes
    ----------
    to_animals : (n, S) array
        Mean distance from every map, over the draws of its noise, to the cells of every animal.
    within : (n, n) array
        Mean distance between the draws of two maps; on the diagonal between different draws of one.
    points : (n, axis) array
        The first draw of every map.
    draws : int
        Of the noise of every map.
    """

    to_animals: Array
    within: Array
    points: Array
    draws: int

    @property
    def term(self) -> float:
        """2E|X − R| − E|R − R'|: what the distance to the cells depends on."""
        n = len(self.within)
        pairs = (self.within.sum() - np.trace(self.within)) / (n * (n - 1))
        return float(2 * self.to_animals.mean() - pairs)


def _between_draws(points: Array) -> Array:
    """Mean distance between different draws of one, of points (n, draws, axis)."""
    draws = points.shape[1]
    apart = np.linalg.norm(points[:, :, None] - points[:, None], axis=-1)
    return np.asarray(apart.sum((1, 2)) / (draws * (draws - 1)))


class Zero(NamedTuple):
    """Noise with the cells' own spectrum and window, beside the cells."""

    placed: Placed
    """All of it, at the scale that brings it nearest."""
    scale: float
    tried: dict[float, Placed]
    """The first of it at every scale."""


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a recording, seen through one aperture.

    Attributes
    ----------
    points : (n, axis) array
        The first draw of the noise that was added to every cell.
    drawn : (n · draws, axis) array
        All draws of it, those of a cell side by side.
    code : (n,) int array
        The animal of each; one for all where animals are not known.
    between : (S, S) array
        Mean distances between animals; on the diagonal between different cells of one.
    """

    points: Array
    drawn: Array
    code: Codes
    between: Array

    @classmethod
    def of(cls, points: Array, code: Codes) -> Cells:
        """Reduce points (n, axis) or (n, draws, axis) to distances between animals.

        Examples
        --------
        >>> Cells.of(np.array([[[0.0], [2.0]], [[5.0], [5.0]]]), np.array([0, 0])).between  # (5 + 5 + 3 + 3)/4
        array([[4.]])
        """
        drawn = points.reshape(len(points), -1, points.shape[-1])
        draws = drawn.shape[1]
        flat, codes = drawn.reshape(-1, drawn.shape[-1]), np.repeat(code, draws)
        between = subject_matrix(flat, codes)
        if draws > 1:  # leave out the pairs of draws of one cell
            same = group_means(_between_draws(drawn), code)
            count = np.bincount(code)
            other = draws * (count - 1)
            mean = np.diag(between) * (other + draws - 1) - same * (draws - 1)
            np.fill_diagonal(between, np.where(count > 1, mean / np.maximum(other, 1), np.nan))
        return cls(drawn[:, 0], flat, code, between)

    @property
    def within(self) -> float:
        """Mean distance between cells of one animal."""
        return float(np.nanmean(np.diag(self.between)))

    @property
    def apart(self) -> float:
        """Mean distance between cells of different animals, or of the one group there is."""
        return different_subjects_mean(self.between)

    def place(self, points: Array, draws: int) -> Placed:
        """Put a population of points (n · draws, axis) beside the cells; maps that are flat are left out."""
        grouped = points.reshape(-1, draws, points.shape[1])
        alive = np.isfinite(grouped).all((1, 2))
        if alive.sum() < 2:
            raise InputError(f"expected at least two maps that are not flat, got {alive.sum()}; look at their status")
        grouped = grouped[alive]
        n = len(grouped)
        flat, number = grouped.reshape(n * draws, -1), np.repeat(np.arange(n), draws)
        codes = np.repeat(self.code, len(self.drawn) // len(self.points))
        to_animals = between_means(flat, number, self.drawn, codes)
        within = group_means(group_means(cdist(flat, flat), number).T, number)
        if draws > 1:
            np.fill_diagonal(within, _between_draws(grouped))
        return Placed(to_animals, within, grouped[:, 0], draws)


@dataclass(eq=False)
class Ladder:
    """A recording, its cells, and the zero of its scale.

    Attributes
    ----------
    recording : Recording
    maps : (n, draws, y, x) array
        The cells' maps as `Recording.clean` gives them, those that are not flat, with every draw of the noise that was
        added to them.
    code : (n,) int array
        Their animals.
    folded : bool
        Whether some map's sign is not known, so that the ON/OFF balance counts without its sign.
    free : bool
        Whether a population's scale is unknown.
    generator : Generator
        Of the zero, then of the references.
    noise_seed : int
        Of the recording's noise: the same draws whatever is shown at whatever scale, so that only maps differ.
    """

    recording: Recording
    maps: Array
    code: Codes
    folded: bool
    free: bool
    generator: np.random.Generator
    noise_seed: int
    _cells: dict[bytes, Cells] = field(default_factory=dict)
    _zero: dict[bytes, Zero] = field(default_factory=dict)
    _noise: Array | None = None
    _seen: dict[float, Array] = field(default_factory=dict)

    def aperture(self, sample: Sample, scale: float) -> Aperture:
        """What a population's own pixels and window let through at a scale."""
        size, grid = sample.base * scale, self.recording.grid
        own = Grid(sample.source.x * size, sample.source.y * size, grid.units)
        through, covered = [], []
        for name, pixel, step in zip("yx", own.pitch[::-1], grid.pitch[::-1], strict=True):
            line, centers = getattr(grid, name), getattr(own, name)
            inside = pixel * centers.size / 2 - np.abs(line)
            edge = np.minimum(inside, step * line.size / 2 - np.abs(line))
            window = np.sin(np.pi / 2 * np.clip((edge / step + 0.5) / TAPER, 0.0, 1.0)) ** 2
            there, back = _samples_at(centers, line), interpolation(line, centers, mirror=True)
            through.append(window[:, None] * (back @ there))
            covered.append(inside >= 0)
        seen = np.logical_and.outer(*covered)
        coarse = max(np.divide(own.pitch, grid.pitch)) > 1 + 1e-9
        return Aperture(
            (through[0], through[1]), None if seen.all() else seen, Pixels.within(grid, own) if coarse else None
        )

    def points(self, maps: Array, aperture: Aperture) -> Array:
        """Maps (n, y, x), filtered by `Recording.clean`, as points (n, axis) in units of the axes' spreads.

        Maps that are flat through the aperture are NaN.
        """
        seen = aperture(maps)
        alive = np.isfinite(seen).all((1, 2)) & (np.ptp(seen, axis=(1, 2)) > 0)
        points = np.full((len(maps), len(LIKENESS_AXES)), np.nan)
        dx, dy = self.recording.grid.pitch
        table = describe_arrays(seen[alive], dx=dx, dy=dy)
        for column, name in enumerate(LIKENESS_AXES):
            values = np.abs(table[name]) if self.folded and name == "on_off_balance" else table[name]
            points[alive, column] = (np.log2(values) if QUANTITIES[name].log else values) / QUANTITIES[name].spread
        return points

    def cells(self, aperture: Aperture = WHOLE) -> Cells:
        """The cells through an aperture."""
        key = aperture.key
        if key not in self._cells:
            flat = self.maps.reshape(-1, *self.maps.shape[2:])
            points = self.points(flat, aperture)
            points = points.reshape(*self.maps.shape[:2], -1)
            alive = np.isfinite(points).all((1, 2))
            several = np.bincount(self.code[alive], minlength=self.code.max() + 1) > 1
            alive &= several[self.code]  # an animal of one cell says nothing of its own spread
            if alive.sum() < 2:
                raise InputError("expected two cells of an animal whose maps are not flat, got fewer; give more cells")
            code = np.unique(self.code[alive], return_inverse=True)[1]
            self._cells[key] = Cells.of(points[alive], code.astype(np.intp))
        return self._cells[key]

    def place(self, sample: Sample, scale: float, aperture: Aperture, draws: int = 1) -> Placed:
        """A population at one scale of its own, beside the cells through an aperture."""
        seen, _ = self.see(sample, scale, draws)
        return self.cells(aperture).place(self.points(self.recording.clean(seen), aperture), draws)

    def see(self, sample: Sample, scale: float, draws: int = 1) -> tuple[Array, Array]:
        """A population through the recording at one scale of its own: maps and the SD of their noise."""
        rng = np.random.default_rng(self.noise_seed)
        return sample.through(self.recording, scale, rng, draws)

    def zero(self, aperture: Aperture) -> Zero:
        """Noise with the cells' own spectrum and window."""
        key = aperture.key
        if key not in self._zero:
            if not self._seen:  # the same maps through every aperture: a curve over scales is not to jump by their draw
                noise = self.noise(N_ZERO)
                self._seen = {scale: self.recording.clean(self.see(noise, scale)[0]) for scale in self.reference_scales}
            cells = self.cells(aperture)
            tried = {scale: cells.place(self.points(seen, aperture), 1) for scale, seen in self._seen.items()}
            scale = min(tried, key=lambda each: tried[each].term)
            self._zero[key] = Zero(tried[scale], scale, tried)
        return self._zero[key]

    def noise(self, n: int) -> Sample:
        """Maps of noise with the cells' own spectrum and window, on the recording's pixels, before its noise."""
        if self._noise is None:
            self._noise = stationary_amplitude(self.recording.window, self.recording.spectrum)
        return self.own(windowed_noise(self.recording.window, self._noise, n, self.generator))

    def own(self, maps: Array) -> Sample:
        """Maps that stand on the recording's pixels as it would have measured them without noise."""
        return Sample(maps, self.recording.grid, 1.0, True)

    @property
    def reference_scales(self) -> tuple[float, ...]:
        """Scales that references are tried at."""
        return REFERENCE_SCALES if self.free else (1.0,)

    def nearest(self, sample: Sample, aperture: Aperture, draws: int = 1) -> tuple[Placed, float]:
        """A reference at the scale that brings it nearest, and that scale."""
        placed = [(self.place(sample, scale, aperture, draws), scale) for scale in self.reference_scales]
        return min(placed, key=lambda each: each[0].term)

    def curve(self, sample: Sample, *, progress: Callable[[], object] = lambda: None) -> list[Step]:
        """A network over the scales that are tried, each with the likeness there."""
        steps = []
        draws = DRAWS if len(sample.maps) <= FEW_KERNELS else 1
        for scale in SCALES if self.free and sample.noise is None else (1.0,):
            aperture = self.aperture(sample, scale)
            progress()
            covered = aperture.covered
            if covered is not None and min(covered.any(0).sum(), covered.any(1).sum()) < LEAST_WINDOW:
                continue
            placed = self.place(sample, scale, aperture, draws)
            apart, zero = self.cells(aperture).apart, self.zero(aperture).placed.term
            steps.append(Step(scale, aperture, placed, float(likeness_of(placed.term, zero, apart))))
        if not steps:
            raise InputError("expected kernels that cover five pixels of the recording, got none; check their scale")
        return steps


def likeness_of(term: Any, zero: Any, apart: Any) -> Array:
    """(zero − term)/(max(zero, term) − apart) of distances with one constant: 1 at `apart`, 0 at `zero`, −1 far off.

    Below 0 the population's own distance is the measure, since a ratio to that of the zero has no bound and an error
    that grows with it.

    Examples
    --------
    >>> likeness_of(np.array([1.0, 1.5, 3.0, 5.0, np.inf]), 3.0, 1.0)  # (3 − 5)/(5 − 1)
    array([ 1.  ,  0.75,  0.  , -0.5 , -1.  ])
    """
    far = np.isposinf(term)
    term, zero, apart = np.broadcast_arrays(np.where(far, 0.0, term), zero, apart)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (zero - term) / (np.maximum(zero, term) - apart)
    return np.asarray(np.where(far, -1.0, found))


class Step(NamedTuple):
    """A network at one scale."""

    scale: float
    aperture: Aperture
    placed: Placed
    likeness: float


def signed_maps(bank: xr.Dataset) -> tuple[Array, NDArray[np.bool_]]:
    """Maps (n, y, x) of a signed bank, 0 where nothing was measured, and which units' sign is known."""
    maps = bank["rf"].isel(channel=0).transpose("unit", "y", "x").values.astype(np.float64)
    known = (
        bank["polarity_known"].values.astype(bool) if "polarity_known" in bank else np.ones(len(maps), dtype=np.bool_)
    )
    return np.nan_to_num(maps, nan=0.0, posinf=0.0, neginf=0.0), known
