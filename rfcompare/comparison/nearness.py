"""Nearness, the second half of the answer: the ladder, kinds that both sides have, and the likeness with its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from rfcompare.bank import make_bank, to_signed
from rfcompare.comparison import sampling
from rfcompare.comparison.energy import classifier_auc, off_diagonal
from rfcompare.comparison.ladder import N_REFERENCE, Cells, Placed, Sample, likeness_of, signed_maps
from rfcompare.comparison.rows import Row
from rfcompare.comparison.setting import Setting
from rfcompare.comparison.structure import explained_share, noise_corrected
from rfcompare.quantities import LIKENESS_AXES
from rfcompare.simulation.nulls import simulate_null
from rfcompare.simulation.references import REFERENCES

Array = NDArray[np.float64]

N_FITTED = 24
"""Maps of a reference that are fitted for its Gabor share."""

N_POPULATIONS = 999
"""Populations of noise with the cells' spectrum that the network is ranked among."""

N_RANKED = 160
"""Maps of the zero that they are drawn from."""

NEIGHBORS = 5
"""Neighbors that say how far a unit's kind reaches (Naeem et al. 2020)."""

MAX_RESAMPLED = 800
"""Cells that are weighted one by one where animals are not known; of more, a random subset stands for the interval."""


def rungs_of(setting: Setting, references: bool, truth: xr.Dataset | None) -> list[dict[str, Any]]:
    """Every rung, nearest first, with its distance, scale, kind and Gabor share."""
    within = setting.cells.within
    apart = setting.cells.apart - within
    rungs: list[dict[str, Any]] = [
        {"reference": "another_animal", "distance": apart, "scale": 1.0, "kind": setting.a.kind},
        {
            "reference": "network",
            "distance": setting.best.placed.term - within,
            "scale": setting.best.scale,
            "kind": setting.b.kind,
        },
        {
            "reference": "spectrum_noise",
            "distance": setting.zero.placed.term - within,
            "scale": setting.zero.scale,
            "kind": "simulated",
        },
    ]
    samples = {"spectrum_noise": setting.ladder.noise(N_FITTED)}
    if references:
        samples |= _references(setting)
    if truth is not None:
        samples["truth"] = setting.ladder.own(signed_maps(to_signed(truth))[0])
    for name, sample in samples.items():
        if name != "spectrum_noise":
            placed, scale = setting.ladder.nearest(sample, setting.best.aperture)
            kind = "untrained" if name == "untrained" else "simulated"
            rungs.append({"reference": name, "distance": placed.term - within, "scale": scale, "kind": kind})
        rung = next(each for each in rungs if each["reference"] == name)
        if references:
            few = sample._replace(maps=sample.maps[:N_FITTED])
            rung["gabor_share"] = explained_share(*noise_corrected(*setting.fitted(few, rung["scale"]), setting.noise))
    for rung in rungs:
        rung["likeness"] = float(likeness_of(rung["distance"] + within, setting.zero.placed.term, setting.cells.apart))
    return sorted(rungs, key=lambda rung: rung["distance"])


def _references(setting: Setting) -> dict[str, Sample]:
    grid = setting.recording.grid
    shape = (grid.y.size, grid.x.size)
    rng = setting.ladder.generator
    own = setting.ladder.own
    samples = {name: own(draw(N_REFERENCE, *shape, rng)) for name, draw in REFERENCES.items()}
    blank = make_bank(rng.standard_normal((N_REFERENCE, 1, *shape)), channel=("signed",), kind="simulated")
    samples["random_gabors"] = own(signed_maps(simulate_null(blank, "random_gabor", n_populations=1, seed=rng))[0])
    n = max(1, N_REFERENCE // len(setting.sample.maps))
    recorded = setting.sample.noise is not None
    for name in ("phase_scrambled", "untrained"):
        like, kernels = setting.b.bank, setting.sample
        if recorded and name == "untrained":  # kernels of the network's field, which are yet to be recorded
            pixels = kernels.source.y.size, kernels.source.x.size
            like = make_bank(
                rng.standard_normal((len(kernels.maps), 1, *pixels)), channel=("signed",), kind="simulated"
            )
            kernels = kernels._replace(sharp=False)
        elif recorded:
            kernels = own(kernels.maps)
        drawn = simulate_null(like, name, n_populations=n, seed=rng)
        samples[name] = kernels._replace(maps=signed_maps(drawn)[0][:N_REFERENCE], noise=None)
    return samples


def analyses(setting: Setting) -> list[dict[str, Any]]:
    """The likeness under every distinct choice of axes, scale and zero; the first is the primary one."""
    steps = {
        "best": setting.best,
        "equal radii": next((step for step in setting.curve if step.scale == 1), setting.best),
    }
    sets = {"all": list(range(len(LIKENESS_AXES)))}
    sets |= {
        f"without {name.replace('_', ' ')}": [other for other in sets["all"] if other != axis]
        for axis, name in enumerate(LIKENESS_AXES)
    }
    rows, seen = [], set()
    for scale, step in steps.items():
        cells = setting.ladder.cells(step.aperture)
        null = setting.ladder.zero(step.aperture)
        for zero, own in (("at its nearest scale", null.scale), ("at the recording's scale", 1.0)):
            if (step.scale, own) in seen:
                continue
            seen.add((step.scale, own))
            noise = null.placed if own == null.scale else null.tried[own]
            for label, axes in sets.items():
                apart, network, far = _terms(cells, step.placed.points, noise.points, axes)
                value = float(likeness_of(network, far, apart))
                rows.append({"axes": label, "scale": scale, "zero": zero, "likeness": value})
    rows[0]["likeness"] = setting.best.likeness  # over all draws of noise
    return rows


def kind_rows(setting: Setting) -> list[Row]:
    """Which share of cells has a kernel of its kind and the reverse, beside another animal."""
    kernels, cells, code = setting.best.placed.points, setting.cells.points, setting.cells.code
    found: dict[str, list[float]] = {name: [] for name in ("a", "b", "own_a", "own_b")}
    animals = np.unique(code)
    for animal in animals:
        here = code == animal
        if animals.size == 1:
            here = setting.generator.permutation(len(cells)) < len(cells) // 2
        one, others = cells[here], cells[~here]
        size = min(len(kernels), len(others))
        if min(len(one), size) <= NEIGHBORS:
            continue
        some, rest = (setting.generator.permutation(each)[:size] for each in (kernels, others))
        found["a"].append(coverage(one, some))
        found["own_a"].append(coverage(one, rest))
        found["b"].append(coverage(some, one))
        found["own_b"].append(coverage(rest, one))
    mean = {name: float(np.mean(values)) if values else np.nan for name, values in found.items()}
    note = f"within the distance of its {NEIGHBORS}th neighbor of its own side; ceiling: the same of another animal"
    return [
        Row(
            name,
            title,
            statistic="share",
            number={"effect": mean[side], "ceiling": mean[f"own_{side}"]},
            text={"interval": "none"},
            notes=[note],
        )
        for name, title, side in (
            ("cells_with_kernel", "Share of cells that have a kernel of their kind", "a"),
            ("kernels_with_cell", "Share of kernels that have a cell of their kind", "b"),
        )
    ]


def population_rows(setting: Setting) -> list[Row]:
    """Likeness, distance and AUC."""
    cells, placed = setting.cells, setting.best.placed
    sizes = np.bincount(cells.code)
    if not setting.species:  # every cell stands for itself
        chosen = setting.generator.permutation(len(cells.points))[:MAX_RESAMPLED]
        cells = Cells.of(cells.points[chosen], np.arange(chosen.size))
        sizes = np.ones(chosen.size, np.intp)
        placed = Placed(cdist(placed.points, cells.points), cdist(placed.points, placed.points), placed.points, 1)
    far = setting.zero.placed
    to_zero = far.to_animals if setting.species else cdist(far.points, cells.points)
    zero = 2 * float(far.to_animals.mean()) - far.term, to_zero.mean(axis=0)
    drawn = sampling.weighted_draws(
        cells.between, sizes, placed.to_animals, placed.within, placed.draws, zero, setting.generator
    )
    d_low, d_high = np.percentile(drawn.excess, 2.5), np.percentile(drawn.farther, 97.5)
    p = sampling.told_apart(cells.between, sizes, placed.to_animals, placed.within, placed.draws)
    within = setting.cells.within
    numbers = {"p": p, "null": 0.0, "ceiling": 1.0}
    notes = []
    if np.percentile(drawn.reach, 2.5) > 0 and setting.zero.placed.term > setting.cells.apart:
        low, high = (
            np.percentile(likeness_of(terms, drawn.reach.clip(0), 0.0), at)
            for terms, at in ((drawn.farther, 2.5), (drawn.excess, 97.5))
        )
        numbers |= {"effect": setting.best.likeness, "ci_low": low, "ci_high": high}
    else:
        # As in Fieller (1954): a ratio whose denominator may be 0 can be any number.
        numbers |= {"effect": np.nan, "ci_low": -1.0, "ci_high": np.inf}
        notes = ["undefined: noise with the cells' spectrum is not shown to be farther than another animal"]
    numbers |= {"p_noise": p_noise(setting), "p_noise_smallest": 1 / (N_POPULATIONS + 1)}
    distance = {
        "effect": setting.best.placed.term - within,
        "null": setting.zero.placed.term - within,
        "ceiling": setting.cells.apart - within,
    }
    distance |= {"ci_low": d_low + setting.cells.apart - within, "ci_high": d_high + setting.cells.apart - within}
    auc = {
        "effect": _auc(setting, setting.best.placed.points),
        "null": _auc(setting, setting.zero.placed.points[: len(placed.points)]),
        "ceiling": 0.5,
    }
    statistic = "(D zero − D network)/(max(D zero, D network) − D another animal)"
    return [
        Row("likeness", "Likeness", statistic=statistic, number=numbers, notes=notes),
        Row(
            "distance",
            "Squared energy distance to an animal",
            statistic="D",
            number=distance,
            notes=["tested in the row of the likeness"],
        ),
        Row(
            "auc",
            "Classifier between cells and kernels",
            statistic="cross-validated AUC",
            number=auc,
            text={"interval": "none"},
        ),
    ]


def p_noise(setting: Setting) -> float:
    """Rank of the network among populations of the zero, each as large and at its own best scale and aperture.

    They choose among all apertures that the network was seen through and all their scales in each: never less than
    the network did, so that p is never too small.
    """
    apertures = {step.aperture.key: step.aperture for step in setting.curve}
    zeros = [(setting.ladder.zero(each), setting.ladder.cells(each)) for each in apertures.values()]
    size = min(N_RANKED, *(len(placed.within) for zero, _ in zeros for placed in zero.tried.values()))
    n = min(len(setting.best.placed.within), size // 2)
    chosen = np.argsort(setting.generator.random((N_POPULATIONS, size)), axis=1)[:, :n]
    weight = np.zeros((N_POPULATIONS, size))
    np.put_along_axis(weight, chosen, 1.0, axis=1)
    nearest = np.full(N_POPULATIONS, -np.inf)
    for zero, cells in zeros:
        far = zero.placed.term
        for placed in zero.tried.values():
            within, to_animals = placed.within[:size, :size], placed.to_animals[:size]
            inside = np.vecdot(weight @ off_diagonal(within), weight) / (n * (n - 1))
            term = 2 * weight @ to_animals.mean(axis=1) / n - inside
            nearest = np.maximum(nearest, likeness_of(term, far, cells.apart))
    return float((1 + (nearest >= setting.best.likeness).sum()) / (N_POPULATIONS + 1))


def _auc(setting: Setting, kernels: Array) -> float:
    """Cross-validated over animals, or over tenths of the cells."""
    cells, code = setting.cells.points, setting.cells.code
    if setting.n_animals < 2:
        count = max(2, min(10, len(cells) // 2, len(kernels) // 2))
        code = setting.generator.permutation(np.arange(len(cells)) % count)
    folds = np.concatenate([code, setting.generator.permutation(np.arange(len(kernels)) % (code.max() + 1))])
    together = np.vstack([cells, kernels])
    neighbors = max(1, round(float(np.sqrt(min(len(cells), len(kernels))))))
    is_b = np.repeat([False, True], [len(cells), len(kernels)])
    return classifier_auc(cdist(together, together), is_b, folds.astype(np.intp), k=neighbors)


def _terms(cells: Cells, network: Array, noise: Array, axes: list[int]) -> tuple[float, float, float]:
    """Distances that a likeness is made of, along some of the axes: E|X − X'|, and 2E|X − R| − E|R − R'| of two."""
    some = Cells.of(cells.points[:, axes], cells.code)
    return some.apart, some.place(network[:, axes], 1).term, some.place(noise[:, axes], 1).term


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
