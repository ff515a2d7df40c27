"""What is compared, set up: one cortex as a recording, one network at its best scale, and the fits of both."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.alignment import Grid
from rfcompare.bank import check, make_bank, pitch, to_signed
from rfcompare.comparison.inference import MIN_SUBJECTS
from rfcompare.comparison.ladder import DRAWS, LEAST_WINDOW, Ladder, Pixels, Sample, Step, signed_maps
from rfcompare.comparison.populations import subjects
from rfcompare.descriptors import describe_arrays
from rfcompare.errors import InputError
from rfcompare.estimation import Recording
from rfcompare.estimation.measurement import noise_variance
from rfcompare.fitting import fit
from rfcompare.quantities import LIKENESS_AXES, QUANTITIES

Array = NDArray[np.float64]

STANDARD_RATIO = 9.0
"""Signal variance over noise variance, at most, that any recording is seen at.

What noise hides moves the ends of the scale: as they are, macaque fields without noise and the same with a ninth of
their variance give likenesses half a unit apart.
"""

N_SPECTRUM = 2000
"""Draws of noise that its power spectrum is taken from."""

FEW_CELLS = 500
"""More cells than this are given one draw of that noise each: their number averages it."""


@dataclass(frozen=True, eq=False)
class Side:
    """One side of the comparison."""

    bank: xr.Dataset
    fits: xr.Dataset | None
    label: str

    @property
    def kind(self) -> str:
        """Where its maps are from."""
        return str(self.bank.attrs["kind"])


def side_of(given: Any, name: str) -> Side:
    """A bank, or anything that carries a signed bank and its fits."""
    if hasattr(given, "signed") and hasattr(given, "fits"):
        return Side(given.signed, given.fits, str(given.label))
    if not isinstance(given, xr.Dataset) or "rf" not in given:
        raise InputError(
            f"expected {name} as a bank or a population, got {type(given).__name__}; make one with make_bank"
        )
    bank = check(given) if "model" in given.attrs else to_signed(given)
    return Side(bank, given if "model" in given.attrs else None, str(given.attrs.get("title", name)))


def set_up(a: Side, b: Side, generator: np.random.Generator) -> tuple[Ladder, Sample]:
    """The recording with its cells, and the kernels as what it is shown."""
    added, others = generator.spawn(2)
    maps, recording = _at_standard(a.bank, added)
    _, known_a = signed_maps(a.bank)
    kernels, known_b = signed_maps(b.bank)
    names = subjects(a.bank)
    code = np.zeros(len(maps), np.intp) if names is None else np.unique(names, return_inverse=True)[1]
    dead = [~np.ptp(each.reshape(len(each), -1), axis=1).astype(bool) for each in (maps[:, 0], kernels)]
    degrees = a.bank.attrs["units"] == b.bank.attrs["units"] == "degree"
    folded = not (known_a.all() and known_b.all())
    maps = maps[~dead[0]]
    seen = recording.clean(maps.reshape(-1, *maps.shape[2:])).reshape(maps.shape)
    ladder = Ladder(
        recording, seen, code[~dead[0]].astype(np.intp), folded, not degrees, others, int(generator.integers(2**63))
    )
    kernels = kernels[~dead[1]]
    if len(kernels) < 2:
        raise InputError(f"expected at least two kernels that are not flat, got {len(kernels)}; look at the bank")
    if recorded_alike(b.bank, a.bank):
        noise = np.nan_to_num(np.asarray(noise_variance(b.bank)))[~dead[1]]
        # A layer is recorded at its likest pixel (`best_scale`), so its references are granted the same freedom; of one
        # whose pixel was given they have more, which can only lower its likeness.
        return replace(ladder, free=True), Sample(kernels, field_pixels(b.bank), 1.0, True, noise)
    source = Grid.of(b.bank)
    base = 1.0
    if not degrees:
        dx, dy = source.pitch
        radius = np.median(describe_arrays(kernels, dx=dx, dy=dy)["field_radius"])
        column = LIKENESS_AXES.index("field_radius")
        base = float(2 ** (np.nanmedian(ladder.cells().points[:, column]) * QUANTITIES["field_radius"].spread) / radius)
    return ladder, Sample(kernels, source, base, False)


def recorded_alike(bank: xr.Dataset, cortex: xr.Dataset) -> bool:
    """Whether maps are of a network that was shown a recording's own stimulus, so that they are not shown it again."""
    if bank.attrs["kind"] != "in-silico" or "field" not in bank.attrs or noise_variance(bank) is None:
        return False
    same = bank.attrs["units"] == cortex.attrs["units"]
    return same and all(
        bank.sizes[name] == cortex.sizes[name] and np.allclose(bank[name].values, cortex[name].values) for name in "yx"
    )


def field_pixels(bank: xr.Dataset) -> Grid:
    """The pixels of the network's image that its units see, in units of the recording that they were recorded like."""
    try:
        rows, columns = (int(size) for size in json.loads(str(bank.attrs["field"])))
        pixel = pitch(bank)[0] / float(json.loads(str(bank.attrs["stimulus"]))["pitch_px"])
        return Grid.regular((rows, columns), pitch=pixel, units=str(bank.attrs["units"]))
    except (ValueError, TypeError, KeyError):
        raise InputError(
            "expected the field of a recorded network in attrs['field'] and its stimulus's pitch_px, got none that can "
            "be read; record it again"
        ) from None


def _at_standard(bank: xr.Dataset, generator: np.random.Generator) -> tuple[Array, Recording]:
    """Cells (n, draws, y, x) with no more signal than the standard, and the recording that they are then from."""
    own = Recording.of(bank)
    maps, _ = signed_maps(bank)
    variance = noise_variance(bank)
    noise = np.zeros(len(maps)) if variance is None else np.nan_to_num(variance)
    count = DRAWS if len(maps) <= FEW_CELLS else 1
    drawn, noise = own.at_most(STANDARD_RATIO, np.repeat(maps[:, None], count, axis=1), noise, generator)
    standard = bank.drop_vars("rf_half", errors="ignore").assign(
        rf=(("unit", "channel", "y", "x"), drawn[:, :1]), noise_sd=("unit", np.sqrt(noise))
    )
    added = bool(np.ptp(drawn, axis=1).any() or (drawn[:, 0] != maps).any())
    return drawn, replace(Recording.of(standard), noise=own.noise, standard=added)


class FittedNoise(NamedTuple):
    """Noise in maps that are fitted."""

    variance: float = 1.0
    """At their pixels, of what it is at the recording's."""
    at_zero: float = 1.0
    """Its power at frequency 0, over its mean power; 1 for white noise."""
    at_signal: float = 1.0
    """The same at the frequencies of the cells' maps."""


@dataclass(eq=False)
class Setting:
    """One cortex and one network, at the network's best scale."""

    a: Side
    b: Side
    ladder: Ladder
    sample: Sample
    curve: list[Step]
    generator: np.random.Generator

    def __post_init__(self) -> None:
        self.best = max(self.curve, key=lambda step: step.likeness)
        self.recording = Recording.of(self.a.bank)
        self.cells = self.ladder.cells(self.best.aperture)
        self.zero = self.ladder.zero(self.best.aperture)
        self.n_animals = len(self.cells.between) if len(self.cells.between) > 1 else 0
        self.species = self.n_animals >= MIN_SUBJECTS and self.recording.noise != "unknown"

    def fitted(self, sample: Sample, scale: float) -> tuple[xr.Dataset, Array]:
        """Fits of maps seen through the recording as it is, like the cells', and the SD of their noise."""
        rng = np.random.default_rng(self.ladder.noise_seed)
        return self._fit(*sample.through(self.recording, scale, rng))

    def _fit(self, maps: Array, noise_sd: Array) -> tuple[xr.Dataset, Array]:
        """Fits of recorded maps through the network's aperture, on its own pixels where those are the coarser ones."""
        grid, pixels = self.recording.grid, self._pixels
        if pixels is not None:
            grid, noise_sd = pixels.grid, noise_sd * np.sqrt(self.noise.variance)
        maps = self._onto(maps)[:, None]
        bank = make_bank(maps, channel=("signed",), kind="simulated", x=grid.x, y=grid.y, units=grid.units)
        return fit(bank, "gabor", seed=0, progress=False), noise_sd

    @property
    def _pixels(self) -> Pixels | None:
        """The network's, where they are the coarser ones and enough for a fit."""
        pixels = self.best.aperture.pixels
        return pixels if pixels and min(pixels.grid.x.size, pixels.grid.y.size) >= LEAST_WINDOW else None

    def _onto(self, maps: Array) -> Array:
        """Recorded maps as they are fitted."""
        if self._pixels is not None:
            return self._pixels.sample(maps)
        covered = self.best.aperture.covered
        return maps if covered is None else np.where(covered, maps, np.nan)

    @cached_property
    def noise(self) -> FittedNoise:
        """What the recording's noise is in the maps that are fitted."""
        shape = self.recording.grid.y.size, self.recording.grid.x.size
        drawn = self.recording.shaped((N_SPECTRUM, *shape), np.random.default_rng(self.ladder.noise_seed))
        noise, cells = (
            (np.abs(np.fft.fft2(np.nan_to_num(each, nan=0.0))) ** 2).mean(0)
            for each in (self._onto(drawn), self._onto(self.ladder.maps[:, 0]))
        )
        mean = noise.mean()
        variance = float(np.nanvar(self._onto(drawn)))
        return FittedNoise(variance, float(noise[0, 0] / mean), float((noise * cells).sum() / (mean * cells.sum())))

    def gabors(self) -> tuple[xr.Dataset, Array, xr.Dataset, Array, NDArray[np.intp]]:
        """Fits of cells and kernels, both through the recording, with their noise SD, and the cells' animals."""
        maps, _ = signed_maps(self.a.bank)
        alive = np.ptp(maps.reshape(len(maps), -1), axis=1) > 0
        noise_sd = np.zeros(len(maps))
        if self.recording.noise == "known":
            noise_sd = np.sqrt(np.nan_to_num(np.asarray(noise_variance(self.a.bank)), nan=0.0))
        own = self.a.fits
        whole = self.best.aperture.covered is None and self._pixels is None
        if whole and own is not None and own.sizes["unit"] == len(maps):
            cells = own.isel(unit=alive), noise_sd[alive]
        else:
            cells = self._fit(maps[alive], noise_sd[alive])
        return *cells, *self.fitted(self.sample, self.best.scale), self.ladder.code

    def whose(self) -> str:
        """Whom an interval is about."""
        if self.species:
            return f"over {self.n_animals} animals and the kernels"
        return "these cells and kernels only"
