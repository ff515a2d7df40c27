"""`likeness`: how alike kernels are to the fields of a cortex, on one scale from noise to another animal.

Four questions in this order: how Gabor-like is each side; are they the same Gabors; which share of the cells has a
kernel of its kind; and how near are the kernels to the cortex as populations of maps. Everything that is compared has
been through the recording first (`rfcompare.comparison.ladder`), and every test includes all that was sampled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from rfcompare.alignment import Grid
from rfcompare.bank import check, make_bank, make_rng, to_signed
from rfcompare.comparison import sampling
from rfcompare.comparison.energy import classifier_auc
from rfcompare.comparison.inference import MIN_SUBJECTS, holm
from rfcompare.comparison.ladder import (
    DRAWS,
    LEAST_WINDOW,
    N_REFERENCE,
    Cells,
    Ladder,
    Placed,
    Sample,
    Step,
    signed_maps,
)
from rfcompare.comparison.populations import subjects
from rfcompare.comparison.rows import headings
from rfcompare.comparison.sentences import small_print, verdict
from rfcompare.descriptors import censoring, describe, describe_arrays
from rfcompare.errors import InputError, named_strictly
from rfcompare.estimation import Recording
from rfcompare.estimation.measurement import noise_variance
from rfcompare.fitting import fit
from rfcompare.quantities import KAPPA, LIKENESS_AXES, QUANTITIES, SCHEMAS
from rfcompare.simulation.nulls import simulate_null
from rfcompare.simulation.references import REFERENCES

Array = NDArray[np.float64]

GABOR_FORM = ("nx", "ny", "orientation_half_width", "bandwidth_octaves", "folded_phase", "aspect")
"""Of the units with a visible carrier: what kind of Gabor they are."""

N_FITTED = 24
"""Maps of a reference that are fitted for its Gabor share."""

N_POPULATIONS = 999
"""Populations of noise with the cells' spectrum that the network is ranked among."""

FREE_PARAMETERS = 9
"""Of a Gabor with its offset: what it takes up of a map's noise."""

NEIGHBORS = 5
"""Neighbors that say how far a unit's kind reaches (Naeem et al. 2020)."""

STANDARD_RATIO = 9.0
"""Signal variance over noise variance, at most, that any recording is seen at.

What noise hides moves the ends of the scale: as they are, macaque fields without noise and the same with a ninth of
their variance give likenesses half a unit apart.
"""

FEW_CELLS = 500
"""More cells than this are given one draw of that noise each: their number averages it."""

MAX_RESAMPLED = 800
"""Cells that are weighted one by one where animals are not known; of more, a random subset stands for the interval."""

SAMPLE = "the kernels are a sample of the population that the cells are from"
NEARER = "the kernels are as far from the cells as noise with the cells' spectrum and window"

TITLES = {
    "another_animal": "another animal",
    "network": "the network",
    "spectrum_noise": "noise with the cortex's spectrum",
    "random_gabors": "random Gabors",
    "phase_scrambled": "phase-scrambled kernels",
    "untrained": "untrained network",
    "truth": "the simulation's own fields",
    **{name: name for name in REFERENCES},
}
"""What stands on the ladder."""


@named_strictly
def likeness(
    cortex: Any,
    kernels: Any,
    *,
    seed: int | np.random.Generator | None = 0,
    references: bool = True,
    truth: xr.Dataset | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Compare a network's kernels with the fields of a cortex.

    Parameters
    ----------
    cortex, kernels : xarray.Dataset or Population
        Banks (reduced with `rfcompare.to_signed` where they are not signed), or populations that carry a signed bank
        and its fits. The cortex's ``noise_sd`` or halves say how noisy its maps are; its ``subject`` whose they are.
    seed : int, Generator or None
        Of noise, references and weights.
    references : bool
        Whether the ladder has more rungs than another animal, the network and the zero.
    truth : xarray.Dataset, optional
        Where the cortex was simulated: its own maps without noise, as a rung of the ladder.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-results/1``. Over ``quantity``: `effect` with `ci_low` and `ci_high` (over animals and
        kernels, or over these cells where fewer than four animals are known: `interval` says which), `estimate_a` of
        the cells and `estimate_b` of the kernels, `p` with its `hypothesis`, `p_adjusted` by Holm over all rows, `null`
        and `ceiling`, and `on_bound_a`, `on_bound_b`, the share of fits whose value is a limit only. Over
        ``reference``, the ladder: `distance`, `reference_likeness`, `reference_scale`, `reference_kind`,
        `reference_gabor_share`. Over ``scale``: `likeness_at_scale`. ``attrs["verdict"]`` is the answer in words and
        ``attrs["small_print"]`` what limits it.

    Raises
    ------
    InputError
        When a side holds nothing that can be compared.

    Notes
    -----
    likeness = (D(zero) − D(network))/(D(zero) − D(another animal)), D the squared energy distance (Székely & Rizzo
    2013) of a population to an animal held out, and zero noise with the cortex's own spectrum and window, seen through
    the same recording.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=60, size=size, seed=size)[0] for size in (15, 11))
    >>> result = rfc.likeness(cells, kernels, references=False, seed=0)
    >>> float(result.effect.sel(quantity="likeness")) > 0
    True
    """
    from tqdm import tqdm

    a, b = _side(cortex, "the cortex"), _side(kernels, "the kernels")
    generator, recorded = make_rng(seed)
    noise, weights = generator.spawn(2)
    bar = tqdm(total=14, desc="likeness", leave=False, disable=None if progress else True)
    ladder, sample = _ladder(a, b, noise)
    curve = ladder.curve(sample, progress=bar.update)
    comparison = _Comparison(a, b, ladder, sample, curve, weights)
    best = comparison.best
    rungs = comparison.ladder(references, truth)
    bar.update(3)
    rows = comparison.rows(rungs)
    bar.close()
    result = _dataset(rows, rungs, curve, comparison.analyses())
    heading = headings(a.bank, b.bank)
    result.attrs |= {
        "kind_a": a.kind,
        "kind_b": b.kind,
        "label_a": a.label,
        "label_b": b.label,
        "noise": ladder.recording.noise,
        "noise_added": int(ladder.recording.standard),
        "axes": json.dumps({name: QUANTITIES[name].spread for name in LIKENESS_AXES}),
        "polarity": "folded: some sign is not known" if ladder.folded else "known",
        "scale": best.scale,
        "heading": "; ".join(heading),
        "hypothesis_noise": NEARER,
        "seed": recorded,
        **{
            f"{name}_{side}": str(one.bank.attrs.get(name, ""))
            for name in ("stimulus", "citation")
            for side, one in (("a", a), ("b", b))
        },
    }
    result.attrs |= {"verdict": verdict(result), "small_print": small_print(result)}
    return check(result)


@dataclass(frozen=True, eq=False)
class _Side:
    """One side of the comparison."""

    bank: xr.Dataset
    fits: xr.Dataset | None
    label: str

    @property
    def kind(self) -> str:
        return str(self.bank.attrs["kind"])


def _side(given: Any, name: str) -> _Side:
    """A bank, or anything that carries a signed bank and its fits."""
    if hasattr(given, "signed") and hasattr(given, "fits"):
        return _Side(given.signed, given.fits, str(given.label))
    if not isinstance(given, xr.Dataset) or "rf" not in given:
        raise InputError(
            f"expected {name} as a bank or a population, got {type(given).__name__}; make one with make_bank"
        )
    bank = check(given) if "model" in given.attrs else to_signed(given)
    return _Side(bank, given if "model" in given.attrs else None, str(given.attrs.get("title", name)))


def _ladder(a: _Side, b: _Side, generator: np.random.Generator) -> tuple[Ladder, Sample]:
    """The recording with its cells, and the kernels as what it is shown."""
    added, others = generator.spawn(2)
    maps, recording = _standard(a.bank, added)
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
    source = Grid.of(b.bank)
    kernels = kernels[~dead[1]]
    if len(kernels) < 2:
        raise InputError(f"expected at least two kernels that are not flat, got {len(kernels)}; look at the bank")
    base = 1.0
    if not degrees:
        dx, dy = source.pitch
        radius = np.median(describe_arrays(kernels, dx=dx, dy=dy)["field_radius"])
        column = LIKENESS_AXES.index("field_radius")
        base = float(2 ** (np.nanmedian(ladder.cells().points[:, column]) * QUANTITIES["field_radius"].spread) / radius)
    return ladder, Sample(kernels, source, base, False)


def _standard(bank: xr.Dataset, generator: np.random.Generator) -> tuple[Array, Recording]:
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


@dataclass
class _Row:
    quantity: str
    title: str
    numbers: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Values:
    """One number per unit of both sides: of the cells with their animal, and of the kernels."""

    cells: Array
    code: NDArray[np.intp]
    kernels: Array
    bound: tuple[float, float] = (np.nan, np.nan)


@dataclass(eq=False)
class _Comparison:
    """Rows and rungs of one cortex and one network at the network's best scale."""

    a: _Side
    b: _Side
    ladder_: Ladder
    sample: Sample
    curve: list[Step]
    generator: np.random.Generator

    def __post_init__(self) -> None:
        self.best = max(self.curve, key=lambda step: step.likeness)
        self.recording = Recording.of(self.a.bank)
        self.cells = self.ladder_.cells(self.best.aperture)
        self.zero = self.ladder_.zero(self.best.aperture)
        self.n_animals = len(self.cells.between) if len(self.cells.between) > 1 else 0
        self.species = self.n_animals >= MIN_SUBJECTS and self.recording.noise != "unknown"

    # The ladder ------------------------------------------------------------------------------------------------------

    def ladder(self, references: bool, truth: xr.Dataset | None) -> list[dict[str, Any]]:
        """Every rung, nearest first, with its distance, scale, kind and Gabor share."""
        unit = self.zero.placed.term - self.cells.apart
        within = self.cells.within
        apart = self.cells.apart - within
        rungs: list[dict[str, Any]] = [
            {"reference": "another_animal", "distance": apart, "scale": 1.0, "kind": self.a.kind},
            {
                "reference": "network",
                "distance": self.best.placed.term - within,
                "scale": self.best.scale,
                "kind": self.b.kind,
            },
            {
                "reference": "spectrum_noise",
                "distance": self.zero.placed.term - within,
                "scale": self.zero.scale,
                "kind": "simulated",
            },
        ]
        samples = {"spectrum_noise": self.ladder_.noise(N_FITTED)}
        if references:
            samples |= self._references()
        if truth is not None:
            samples["truth"] = self.ladder_.own(signed_maps(to_signed(truth))[0])
        for name, sample in samples.items():
            if name != "spectrum_noise":
                placed, scale = self.ladder_.nearest(sample, self.best.aperture)
                kind = "untrained" if name == "untrained" else "simulated"
                rungs.append({"reference": name, "distance": placed.term - within, "scale": scale, "kind": kind})
            rung = next(each for each in rungs if each["reference"] == name)
            if references:
                few = sample._replace(maps=sample.maps[:N_FITTED])
                rung["gabor_share"] = _ratio(*noise_corrected(*self._fitted(few, rung["scale"])))
        for rung in rungs:
            rung["likeness"] = (self.zero.placed.term - within - rung["distance"]) / unit
        return sorted(rungs, key=lambda rung: rung["distance"])

    def _references(self) -> dict[str, Sample]:
        grid = self.recording.grid
        shape = (grid.y.size, grid.x.size)
        rng = self.ladder_.generator
        own = self.ladder_.own
        samples = {name: own(draw(N_REFERENCE, *shape, rng)) for name, draw in REFERENCES.items()}
        blank = make_bank(rng.standard_normal((N_REFERENCE, 1, *shape)), channel=("signed",), kind="simulated")
        samples["random_gabors"] = own(_maps_of(simulate_null(blank, "random_gabor", n_populations=1, seed=rng)))
        n = max(1, N_REFERENCE // len(self.sample.maps))
        for name, null in (("phase_scrambled", "phase_scrambled"), ("untrained", "untrained")):
            drawn = simulate_null(self.b.bank, null, n_populations=n, seed=rng)
            samples[name] = self.sample._replace(maps=_maps_of(drawn)[:N_REFERENCE])
        return samples

    # Gabors ----------------------------------------------------------------------------------------------------------

    def _fitted(self, sample: Sample, scale: float) -> tuple[xr.Dataset, Array]:
        """Fits of maps seen through the recording once, and the SD of their noise."""
        return self._fit(*self.ladder_.see(sample, scale))

    def _fit(self, maps: Array, noise_sd: Array) -> tuple[xr.Dataset, Array]:
        """Fits of recorded maps through the network's aperture, on its own pixels where those are the coarser ones."""
        grid, pixels, shares = self.recording.grid, self.best.aperture.pixels, self.best.aperture.shares
        if pixels is not None and min(pixels.grid.x.size, pixels.grid.y.size) >= LEAST_WINDOW:
            maps, grid, noise_sd = pixels.sample(maps), pixels.grid, noise_sd * np.sqrt(pixels.noise)
        elif shares is not None:
            maps = np.where(shares >= 0.5, maps, np.nan)
        bank = make_bank(maps[:, None], channel=("signed",), kind="simulated", x=grid.x, y=grid.y, units=grid.units)
        return fit(bank, "gabor", seed=0, progress=False), noise_sd

    def _gabors(self) -> tuple[xr.Dataset, Array, xr.Dataset, Array, NDArray[np.intp]]:
        """Fits of cells and kernels, both through the recording, with their noise SD, and the cells' animals."""
        maps, _ = signed_maps(self.a.bank)
        alive = np.ptp(maps.reshape(len(maps), -1), axis=1) > 0
        noise_sd = np.zeros(len(maps))
        if self.recording.noise == "known":
            noise_sd = np.sqrt(np.nan_to_num(np.asarray(noise_variance(self.a.bank)), nan=0.0))
        own = self.a.fits
        if not self.best.aperture.key and own is not None and own.sizes["unit"] == len(maps):
            cells = own.isel(unit=alive), noise_sd[alive]
        else:
            cells = self._fit(maps[alive], noise_sd[alive])
        return *cells, *self._fitted(self.sample, self.best.scale), self.ladder_.code

    # Choices ---------------------------------------------------------------------------------------------------------

    def analyses(self) -> list[dict[str, Any]]:
        """The likeness under every distinct choice of axes, scale and zero; the first is the primary one."""
        steps = {"best": self.best, "equal radii": next((step for step in self.curve if step.scale == 1), self.best)}
        sets = {"all": list(range(len(LIKENESS_AXES)))}
        sets |= {
            f"without {name.replace('_', ' ')}": [other for other in sets["all"] if other != axis]
            for axis, name in enumerate(LIKENESS_AXES)
        }
        rows, seen = [], set()
        for scale, step in steps.items():
            cells = self.ladder_.cells(step.aperture)
            null = self.ladder_.zero(step.aperture)
            for zero, own in (("at its nearest scale", null.scale), ("at the recording's scale", 1.0)):
                if (step.scale, own) in seen:
                    continue
                seen.add((step.scale, own))
                noise = null.placed if own == null.scale else null.tried[own]
                for label, axes in sets.items():
                    apart, network, far = _terms(cells, step.placed.points, noise.points, axes)
                    rows.append(
                        {"axes": label, "scale": scale, "zero": zero, "likeness": (far - network) / (far - apart)}
                    )
        rows[0]["likeness"] = self.best.likeness  # over all draws of noise
        return rows

    # Rows ------------------------------------------------------------------------------------------------------------

    def rows(self, rungs: Sequence[dict[str, Any]]) -> list[_Row]:
        """Gabor structure first, then kinds, then the likeness."""
        fits_a, sd_a, fits_b, sd_b, code = self._gabors()
        zero_share = next((r.get("gabor_share", np.nan) for r in rungs if r["reference"] == "spectrum_noise"), np.nan)
        rows = [self._share_row((fits_a, sd_a), (fits_b, sd_b), code, zero_share)]
        tables = describe(fits_a), describe(fits_b)
        nx = [table["nx"].values.astype(float) for table in tables]
        visible = [np.where(np.isfinite(each), each > KAPPA, np.nan) for each in nx]
        carrier = self._mean_row(
            "carrier_share", "Share of units with a visible carrier", _Values(visible[0], code, visible[1])
        )
        rows.append(carrier)
        for name in GABOR_FORM:
            kept = [np.nan_to_num(each).astype(bool) for each in visible]
            values = [_censored_values(table, name)[keep] for table, keep in zip(tables, kept, strict=True)]
            bound = [
                float((censoring(table, name)[keep] != 0).mean()) if keep.any() else np.nan
                for table, keep in zip(tables, kept, strict=True)
            ]
            rows.append(self._median_row(name, _Values(values[0], code[kept[0]], values[1], (bound[0], bound[1]))))
        rows += self._kind_rows()
        rows += self._population_rows()
        counts = {
            "n_units_a": len(self.cells.points),
            "n_units_b": len(self.best.placed.points),
            "n_total_a": self.a.bank.sizes["unit"],
            "n_total_b": self.b.bank.sizes["unit"],
            "n_subjects_a": self.n_animals,
            "n_subjects_b": 1,
        }
        adjusted = holm([row.numbers.get("p", np.nan) for row in rows])
        for row, value in zip(rows, adjusted, strict=True):
            row.numbers = {**counts, **row.numbers, "p_adjusted": float(value)}
            row.words.setdefault("interval", self._whose())
            if np.isfinite(row.numbers.get("p", np.nan)):
                row.words.setdefault("hypothesis", SAMPLE + ("" if self.species else " (these cells only)"))
                row.numbers.setdefault("p_smallest", 0.0)
        return rows

    def _whose(self) -> str:
        if self.species:
            return f"over {self.n_animals} animals and the kernels"
        return "these cells and kernels only"

    def _groups(self, values: Array, code: NDArray[np.intp], of: Callable[[Array], float], least: int) -> Array:
        """An estimate per animal, or (without four animals) none."""
        if not self.species:
            return np.zeros(0)
        each = [values[(code == animal) & ~np.isnan(values)] for animal in np.unique(code)]
        return np.array([of(one) for one in each if one.size >= least])

    def _mean_row(self, name: str, title: str, values: _Values) -> _Row:
        """A share: its mean per animal against the kernels'."""
        kernels, cells = values.kernels[~np.isnan(values.kernels)], values.cells[~np.isnan(values.cells)]
        groups = self._groups(values.cells, values.code, np.mean, 1)
        variance = float(kernels.var(ddof=1) / kernels.size) if kernels.size > 1 else np.nan
        groups = groups if self.species else cells
        found = sampling.difference(groups, float(kernels.mean()) if kernels.size else np.nan, variance, kernels.size)
        return _row(
            name,
            title,
            "difference of shares",
            found,
            groups.mean() if groups.size else np.nan,
            kernels.mean() if kernels.size else np.nan,
        )

    def _share_row(
        self, a: tuple[xr.Dataset, Array], b: tuple[xr.Dataset, Array], code: NDArray[np.intp], zero: float
    ) -> _Row:
        """Noise-corrected share of energy that one Gabor explains, as a ratio of sums per animal."""
        (left_a, all_a), (left_b, all_b) = noise_corrected(*a), noise_corrected(*b)
        known_a, known_b = np.isfinite(left_a), np.isfinite(left_b)
        kernels = _ratio(left_b, all_b)
        influence = ((left_b - (1 - kernels) * all_b) / all_b[known_b].mean())[known_b]
        variance = float(influence.var(ddof=1) / influence.size)
        if self.species:
            groups = np.array(
                [
                    _ratio(left_a[known_a & (code == one)], all_a[known_a & (code == one)])
                    for one in np.unique(code[known_a])
                ]
            )
        else:
            share = _ratio(left_a, all_a)
            groups = share - ((left_a - (1 - share) * all_a) / all_a[known_a].mean())[known_a]
        found = sampling.difference(groups, kernels, variance, influence.size)
        row = _row(
            "gabor_share",
            "Share of energy that one Gabor explains",
            "difference of shares",
            found,
            groups.mean(),
            kernels,
        )
        row.numbers["null"] = zero
        if self.best.aperture.pixels is not None:
            row.words["note"] = "cells and kernels both on the kernels' own pixels, which are the coarser ones"
        if str(self.a.bank.attrs["kind"]) == "parametric" and "rendered" in self.a.bank.attrs:
            row.words["note"] = "cells: fixed by construction, their maps were rendered"
            row.numbers |= {"p": np.nan, "ci_low": np.nan, "ci_high": np.nan}
        return row

    def _median_row(self, name: str, values: _Values) -> _Row:
        """A descriptor of the units with a visible carrier: its median, which a value beyond a bound cannot move."""
        quantity = QUANTITIES[name]
        move = np.log2 if quantity.log else np.asarray
        with np.errstate(divide="ignore"):
            cells, kernels = (np.asarray(move(each), dtype=np.float64) for each in (values.cells, values.kernels))
        kernels = kernels[~np.isnan(kernels)]
        groups = self._groups(cells, values.code, np.median, 3)
        cells = cells[~np.isnan(cells)]
        variance = sampling.median_variance(kernels, self.generator) if kernels.size > 2 else np.nan
        middle = float(np.median(kernels)) if kernels.size else np.nan
        if self.species:
            groups = groups[np.isfinite(groups)]
            found = sampling.difference(groups, middle, variance, kernels.size)
            own = groups.mean() if groups.size else np.nan
        else:
            own = float(np.median(cells)) if cells.size else np.nan
            spread = sampling.median_variance(cells, self.generator) if cells.size > 2 else np.nan
            found = _normal_difference(middle - own, variance + spread)
        if not np.isfinite([own, middle]).all():
            found = sampling.Difference(np.nan, np.nan, np.nan, np.nan)
        statistic = "ratio of medians" if quantity.log else "difference of medians"

        def back(value: float) -> float:
            return float(2.0**value) if quantity.log else value

        shown = sampling.Difference(back(found.value), back(found.low), back(found.high), found.p)
        row = _row(name, quantity.title, statistic, shown, back(own), back(middle))
        row.numbers |= {"on_bound_a": values.bound[0], "on_bound_b": values.bound[1]}
        row.words["units"] = "" if quantity.log else quantity.units("px")
        return row

    def _kind_rows(self) -> list[_Row]:
        """Which share of cells has a kernel of its kind and the reverse, beside another animal."""
        kernels, cells, code = self.best.placed.points, self.cells.points, self.cells.code
        found: dict[str, list[float]] = {name: [] for name in ("a", "b", "own_a", "own_b")}
        animals = np.unique(code)
        for animal in animals:
            here = code == animal
            if animals.size == 1:
                here = self.generator.permutation(len(cells)) < len(cells) // 2
            one, others = cells[here], cells[~here]
            size = min(len(kernels), len(others))
            if min(len(one), size) <= NEIGHBORS:
                continue
            some, rest = (self.generator.permutation(each)[:size] for each in (kernels, others))
            found["a"].append(coverage(one, some))
            found["own_a"].append(coverage(one, rest))
            found["b"].append(coverage(some, one))
            found["own_b"].append(coverage(rest, one))
        mean = {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}
        note = f"within the distance of its {NEIGHBORS}th neighbor of its own side; ceiling: the same of another animal"
        return [
            _Row(
                name,
                title,
                {"effect": mean[side], "ceiling": mean[f"own_{side}"]},
                {"statistic": "share", "note": note, "interval": "none"},
            )
            for name, title, side in (
                ("cells_with_kernel", "Share of cells that have a kernel of their kind", "a"),
                ("kernels_with_cell", "Share of kernels that have a cell of their kind", "b"),
            )
        ]

    def _population_rows(self) -> list[_Row]:
        """Likeness, distance and AUC."""
        cells, placed = self.cells, self.best.placed
        sizes = np.bincount(cells.code)
        if not self.species:  # every cell stands for itself
            chosen = self.generator.permutation(len(cells.points))[:MAX_RESAMPLED]
            cells = Cells.of(cells.points[chosen], np.arange(chosen.size))
            sizes = np.ones(chosen.size, np.intp)
            placed = Placed(cdist(placed.points, cells.points), cdist(placed.points, placed.points), placed.points)
        draws = 1 if placed is not self.best.placed else _draws_of(placed)
        to_zero = self._zero_to(cells)
        zero = 2 * float(self.zero.placed.to_animals.mean()) - self.zero.placed.term, to_zero
        drawn = sampling.weighted_draws(
            cells.between, sizes, placed.to_animals, placed.within, draws, zero, self.generator
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.percentile(1 - drawn.excess / drawn.reach, [2.5, 97.5])
        reach = np.percentile(drawn.reach, 2.5)
        d_low, d_high = np.percentile(drawn.excess, [2.5, 97.5])
        p = sampling.told_apart(cells.between, sizes, placed.to_animals, placed.within, draws)
        within = self.cells.within
        numbers = {"effect": self.best.likeness, "ci_low": low, "ci_high": high, "p": p, "null": 0.0, "ceiling": 1.0}
        words = {"statistic": "(D zero − D network)/(D zero − D another animal)"}
        if not reach > 0 or not self.zero.placed.term > self.cells.apart:
            numbers |= {"effect": np.nan, "ci_low": np.nan, "ci_high": np.nan}
            words["note"] = "undefined: noise with the cells' spectrum is not shown to be farther than another animal"
        numbers |= {"p_noise": self._p_noise(), "p_noise_smallest": 1 / (N_POPULATIONS + 1)}
        distance = {
            "effect": self.best.placed.term - within,
            "null": self.zero.placed.term - within,
            "ceiling": self.cells.apart - within,
        }
        distance |= {"ci_low": d_low + self.cells.apart - within, "ci_high": d_high + self.cells.apart - within}
        auc = {
            "effect": self._auc(self.best.placed.points),
            "null": self._auc(self.zero.placed.points[: len(placed.points)]),
            "ceiling": 0.5,
        }
        return [
            _Row("likeness", "Likeness", numbers, words),
            _Row(
                "distance",
                "Squared energy distance to an animal",
                distance,
                {"statistic": "D", "note": "tested in the row of the likeness"},
            ),
            _Row(
                "auc",
                "Classifier between cells and kernels",
                auc,
                {"statistic": "cross-validated AUC", "interval": "none"},
            ),
        ]

    def _zero_to(self, cells: Cells) -> Array:
        """Mean distance from the zero to every group of cells."""
        if cells is self.cells:
            return np.asarray(self.zero.placed.to_animals.mean(axis=0))
        return np.asarray(cdist(self.zero.placed.points, cells.points).mean(axis=0))

    def _p_noise(self) -> float:
        """Rank of the network among populations of the zero, each as large and at its own best scale and aperture.

        They choose among all apertures that the network was seen through and all their scales in each: never less than
        the network did, so that p is never too small.
        """
        apertures = {step.aperture.key: step.aperture for step in self.curve}
        zeros = [(self.ladder_.zero(each), self.ladder_.cells(each)) for each in apertures.values()]
        size = min(len(placed.within) for zero, _ in zeros for placed in zero.tried.values())
        n = min(len(self.best.placed.within), size // 2)
        chosen = np.argsort(self.generator.random((N_POPULATIONS, size)), axis=1)[:, :n]
        nearest = np.full(N_POPULATIONS, -np.inf)
        for zero, cells in zeros:
            far = zero.placed.term
            for placed in zero.tried.values():
                weight = np.zeros((N_POPULATIONS, len(placed.within)))
                np.put_along_axis(weight, chosen, 1.0, axis=1)
                off = placed.within - np.diag(np.diag(placed.within))
                inside = np.vecdot(weight @ off, weight) / (n * (n - 1))
                term = 2 * weight @ placed.to_animals.mean(axis=1) / n - inside
                nearest = np.maximum(nearest, (far - term) / (far - cells.apart))
        return float((1 + (nearest >= self.best.likeness).sum()) / (N_POPULATIONS + 1))

    def _auc(self, kernels: Array) -> float:
        """Cross-validated over animals, or over tenths of the cells."""
        cells, code = self.cells.points, self.cells.code
        if self.n_animals < 2:
            count = max(2, min(10, len(cells) // 2, len(kernels) // 2))
            code = self.generator.permutation(np.arange(len(cells)) % count)
        folds = np.concatenate([code, self.generator.permutation(np.arange(len(kernels)) % (code.max() + 1))])
        together = np.vstack([cells, kernels])
        neighbors = max(1, round(float(np.sqrt(min(len(cells), len(kernels))))))
        is_b = np.repeat([False, True], [len(cells), len(kernels)])
        return float(classifier_auc(cdist(together, together), is_b, folds.astype(np.intp), k=neighbors))


def _terms(cells: Cells, network: Array, noise: Array, axes: list[int]) -> tuple[float, float, float]:
    """Distances that a likeness is made of, along some of the axes: E|X − X'|, and 2E|X − R| − E|R − R'| of two."""
    some = Cells.of(cells.points[:, axes], cells.code)
    return some.apart, some.place(network[:, axes], 1).term, some.place(noise[:, axes], 1).term


def _draws_of(placed: Placed) -> int:
    """Draws behind a placed population: distances within one kernel are zero where there is one draw only."""
    return DRAWS if np.diag(placed.within).any() else 1


def _maps_of(bank: xr.Dataset) -> Array:
    return np.asarray(bank["rf"].values[:, 0], dtype=np.float64)


def noise_corrected(fits: xr.Dataset, noise_sd: Array) -> tuple[Array, Array]:
    """What a model leaves of every map's energy and that energy, both without noise, in shares of the energy with it.

    A fit of p parameters to N pixels leaves σ²(N − p) of the noise on average, and the map about its mean holds σ²(N −
    1).

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.15 * x)
    >>> fits = rfc.fit(rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic"), "gabor", seed=0)
    >>> left, energy = noise_corrected(fits, np.zeros(1))
    >>> round(abs(float(left[0])), 6), float(energy[0])
    (0.0, 1.0)
    """
    maps = fits["rf"].isel(channel=0).transpose("unit", "y", "x").values.astype(np.float64)
    r2 = fits["r2"].values.reshape(len(maps), -1)[:, 0].astype(np.float64)
    pixels = np.isfinite(maps).sum((1, 2))
    maps = np.where((pixels > 0)[:, None, None], maps, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.nanvar(maps, axis=(1, 2)) * pixels
        noise = noise_sd**2 / total
        return 1 - r2 - noise * np.maximum(pixels - FREE_PARAMETERS, 0), 1 - noise * (pixels - 1)


def _ratio(left: Array, energy: Array) -> float:
    known = np.isfinite(left)
    return float(1 - left[known].sum() / energy[known].sum()) if known.any() else float("nan")


def coverage(own: Array, other: Array) -> float:
    """Share of units that have one of the other side as near as their fifth neighbor of their own (Naeem et al. 2020).

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(12.0)[:, None]
    >>> coverage(line, line + 0.5), coverage(line, line + 100)
    (1.0, 0.0)
    """
    among = cdist(own, own)
    reach = np.sort(among, axis=1)[:, min(NEIGHBORS, len(own) - 1)]
    return float((cdist(own, other).min(axis=1) <= reach).mean())


def _censored_values(table: xr.Dataset, name: str) -> Array:
    """A descriptor with a value beyond its bound at the end of the line, and none where either end is possible."""
    values = table[name].values.astype(np.float64)
    held = censoring(table, name)
    log = QUANTITIES[name].log
    return np.select([held == 1, held == -1, held == 2], [np.inf, 0.0 if log else -np.inf, np.nan], values)


def _normal_difference(value: float, variance: float) -> sampling.Difference:
    from scipy.stats import norm

    if not variance > 0:
        return sampling.Difference(value, np.nan, np.nan, np.nan)
    error = float(np.sqrt(variance))
    return sampling.Difference(
        value, value - 1.96 * error, value + 1.96 * error, float(2 * norm.sf(abs(value) / error))
    )


def _row(name: str, title: str, statistic: str, found: sampling.Difference, a: float, b: float) -> _Row:
    numbers = {
        "effect": found.value,
        "ci_low": found.low,
        "ci_high": found.high,
        "p": found.p,
        "estimate_a": float(a),
        "estimate_b": float(b),
    }
    return _Row(name, title, numbers, {"statistic": statistic})


NUMBERS = (
    *("effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling", "estimate_a", "estimate_b"),
    *("on_bound_a", "on_bound_b", "p_smallest", "p_noise", "p_noise_smallest"),
)
COUNTS = ("n_units_a", "n_units_b", "n_total_a", "n_total_b", "n_subjects_a", "n_subjects_b")
WORDS = ("statistic", "units", "interval", "hypothesis", "note")


def _dataset(
    rows: Sequence[_Row],
    rungs: Sequence[dict[str, Any]],
    curve: Sequence[Step],
    analyses: Sequence[dict[str, Any]],
) -> xr.Dataset:
    def column(name: str, values: Sequence[Any], kind: Any) -> tuple[str, NDArray[Any]]:
        return name, np.array(values, dtype=kind)

    variables: dict[str, Any] = {
        name: column("quantity", [row.numbers.get(name, np.nan) for row in rows], np.float64) for name in NUMBERS
    }
    variables |= {name: column("quantity", [row.numbers[name] for row in rows], np.int64) for name in COUNTS}
    variables |= {name: column("quantity", [row.words.get(name, "") for row in rows], object) for name in WORDS}
    variables["title"] = column("quantity", [row.title for row in rows], object)
    kinds = {rung["reference"]: rung["kind"] for rung in rungs}
    variables["kind_a"] = column("quantity", [kinds["another_animal"]] * len(rows), object)
    variables["kind_b"] = column("quantity", [kinds["network"]] * len(rows), object)
    variables["distance"] = column("reference", [rung["distance"] for rung in rungs], np.float64)
    for name in ("likeness", "scale", "gabor_share"):
        variables[f"reference_{name}"] = column("reference", [rung.get(name, np.nan) for rung in rungs], np.float64)
    variables["reference_kind"] = column("reference", [rung["kind"] for rung in rungs], object)
    variables["reference_title"] = column("reference", [TITLES[rung["reference"]] for rung in rungs], object)
    for name in ("axes", "scale", "zero"):
        variables[f"analysis_{name}"] = column("analysis", [row[name] for row in analyses], object)
    variables["analysis_likeness"] = column("analysis", [row["likeness"] for row in analyses], np.float64)
    variables["analysis_primary"] = column("analysis", [number == 0 for number in range(len(analyses))], np.bool_)
    variables["likeness_at_scale"] = column("scale", [step.likeness for step in curve], np.float64)
    coords = {
        "quantity": np.array([row.quantity for row in rows], dtype=object),
        "reference": np.array([rung["reference"] for rung in rungs], dtype=object),
        "scale": np.array([step.scale for step in curve]),
    }
    return xr.Dataset(variables, coords=coords, attrs={"schema": SCHEMAS["results"].name})


def tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """A likeness as tables: the rows, the ladder, the scales and the analyses.

    Examples
    --------
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=size, seed=size)[0] for size in (13, 9))
    >>> found = tables(likeness(cells, kernels, references=False, seed=0))
    >>> sorted(found), found["ladder"].columns[0]
    (['analyses', 'ladder', 'results', 'scales'], 'reference')
    """
    frames = {}
    names = {"results": "quantity", "ladder": "reference", "scales": "scale", "analyses": "analysis"}
    for name, dim in names.items():
        frame = result[[key for key in result.data_vars if result[key].dims == (dim,)]].to_dataframe()
        frame.columns = [str(key).removeprefix(f"{dim}_") for key in frame.columns]
        frames[name] = frame.reset_index() if dim != "analysis" else frame.reset_index(drop=True)
    return frames


def placed_best(cortex: Any, kernels: Any, *, seed: int | np.random.Generator | None = 0) -> float:
    """Only the number: the likeness at the best scale, without rows, rungs and intervals."""
    ladder, sample = _ladder(_side(cortex, "the cortex"), _side(kernels, "the kernels"), make_rng(seed)[0])
    return max(step.likeness for step in ladder.curve(sample))
