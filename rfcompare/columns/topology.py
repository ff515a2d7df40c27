"""How subfield centers lie in visual space and over cortex, tested by permuting cells within their field of view.

Two null hypotheses, each with the permutation that it makes valid:

* ``sign``: within each cell ON and OFF centers are exchangeable. The cell's two centers are swapped at random; a
  subfield that is anchored (OFF, in Lee 2016) then shows shorter distances than chance, a scattered one longer.
* ``position``: centers are unrelated to where their cells lie. Cells' cortical positions are permuted; the statistic
  looks at pairs of cells that are neighbors in cortex.

Statistics are computed per field of view, averaged over the fields of an animal and then over animals, and all fields
are permuted at once: the p-value is exact for these animals. Beside it stands a sign-flip test over animals, whose
smallest possible value 2/2ⁿ is small only with many animals. Distances between pairs are not independent of each other;
Kruskal–Wallis and Dunn values over pairs are therefore given "as published" and carry no claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist, pdist

from rfcompare.bank import Array, bad_units

_CATEGORIES = ("OFF-OFF", "ON-ON", "same sign", "opposite sign", "whole field")
MIN_CELLS = 5
"""Fewest cells with both subfields for a field of view to enter a test: an affine map alone has three per axis."""

MIN_ANIMALS = 4
"""Fewest animals for an interval for the species, as in `rfcompare.comparison`."""

_PAIRS_AT_ONCE = 2**22
"""Permuted pairs of cells held in memory at a time."""

_AS_PUBLISHED = "as published; pairs are not independent"


@dataclass(frozen=True)
class Patch:
    """One field of view's cells: rows of the bank, positions in cortex (µm), animal and name."""

    name: str
    animal: str
    rows: NDArray[np.intp]
    cortex: Array


@dataclass(frozen=True)
class Field:
    """Centers of one field of view's cells: (n, 2) arrays in visual space, and positions in cortex (µm)."""

    name: str
    animal: str
    on: Array
    off: Array
    whole: Array
    cortex: Array


def patches(bank: xr.Dataset, usable: NDArray[np.bool_] | None = None) -> list[Patch]:
    """Fields of view with at least `MIN_CELLS` cells of known position that are usable: have a map, unless given."""
    if usable is None:
        usable = np.array([problem == "" for problem in bad_units(bank)])
    cortex = np.stack([bank.cortex_x.values, bank.cortex_y.values], axis=1).astype(np.float64)
    usable = usable & np.isfinite(cortex).all(axis=1)
    animals = bank.subject.values.astype(str)
    labels = bank.field_of_view.values.astype(str) if "field_of_view" in bank.variables else animals
    out = []
    # Two animals may both have called a field "1".
    for animal, label in sorted(set(zip(animals.tolist(), labels.tolist(), strict=True))):
        rows = np.flatnonzero((animals == animal) & (labels == label) & usable)
        if rows.size >= MIN_CELLS:
            out.append(Patch(label, animal, rows, cortex[rows]))
    return out


def split_fields(found: xr.Dataset) -> list[Field]:
    """The fields of view with at least `MIN_CELLS` cells that have both subfields, those cells only."""
    on, off, whole = (
        np.stack([found[f"{name}_x"].values, found[f"{name}_y"].values], axis=1).astype(np.float64)
        for name in ("on", "off", "field")
    )
    both = np.isfinite(np.concatenate([on, off], axis=1)).all(axis=1)
    return [
        Field(patch.name, patch.animal, on[patch.rows], off[patch.rows], whole[patch.rows], patch.cortex)
        for patch in patches(found, both)
    ]


def _over_animals(values: Array, animals: list[str]) -> Array:
    """Mean over fields within an animal, one row per animal: (field, …) → (animal, …)."""
    names = np.array(animals)
    return np.stack([values[names == name].mean(axis=0) for name in sorted(set(animals))])


def t_interval(values: Array) -> tuple[float, float]:
    """Student's 95 % interval of the mean over animals; infinite with fewer than `MIN_ANIMALS`."""
    values = values[np.isfinite(values)]
    if values.size < MIN_ANIMALS:
        return -np.inf, np.inf
    reach = stats.t.ppf(0.975, values.size - 1) * stats.sem(values)
    return float(values.mean() - reach), float(values.mean() + reach)


def sign_flip_p(values: Array) -> tuple[float, float]:
    """Two-sided p of a mean of 0 over animals by all sign flips (at most 2¹² of them), and its smallest value."""
    values = values[np.isfinite(values)]
    n = values.size
    if n == 0:
        return np.nan, np.nan
    if n <= 12:
        flips = np.array(list(itertools.product((1.0, -1.0), repeat=n)))
    else:
        flips = np.where(np.random.default_rng(0).random((4096, n)) < 0.5, 1.0, -1.0)
        flips[0] = 1.0
    means = np.abs(flips @ values)
    p = float(np.mean(means >= abs(values.sum()) * (1 - 1e-12)))
    # Of all flips the observed one and its mirror image are as extreme; of random ones only the observed one surely is.
    return p, (2.0 if n <= 12 else 1.0) / len(flips)


def _permutation_p(observed: Array, permuted: Array) -> Array:
    """Two-sided Monte Carlo p: distance from the permutations' mean, the observed value counted among them.

    NaN where the observed value or a permuted one is not defined: NaN is as extreme as nothing.
    """
    middle = permuted.mean(axis=0)
    extreme = np.abs(permuted - middle) >= np.abs(observed - middle) * (1 - 1e-12)
    known = np.isfinite(observed) & np.isfinite(permuted).all(axis=0)
    return np.asarray(np.where(known, (1 + extreme.sum(axis=0)) / (1 + len(permuted)), np.nan))


class Tested(NamedTuple):
    """A mean over animals: its Student interval, its p by permutations of cells, and by sign flips of animals."""

    effect: float
    ci_low: float
    ci_high: float
    chance: float
    p: float
    p_smallest: float
    p_animals: float
    p_animals_smallest: float

    @classmethod
    def of(cls, observed: Array, permuted: Array, animals: list[str]) -> Tested:
        """Test a statistic of fields of view over animals.

        Parameters
        ----------
        observed : array (field,)
        permuted : array (field, permutation)
            The same with cells permuted.
        animals : list of str
            Whose each field is.
        """
        effect = _over_animals(observed, animals)
        drawn = _over_animals(permuted, animals).mean(axis=0)
        p = float(_permutation_p(effect.mean(), drawn))
        smallest = 1 / (drawn.size + 1)
        return cls(float(effect.mean()), *t_interval(effect), float(drawn.mean()), p, smallest, *sign_flip_p(effect))


def shuffles(n: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Orders of n cells, (1 + count, n): as they are, then at random."""
    return np.concatenate([np.arange(n)[None], np.argsort(rng.random((count, n)), axis=1)])


def in_parts(order: NDArray[Any], pairs: int) -> list[NDArray[Any]]:
    """Permutations in parts whose pairs of cells stay within `_PAIRS_AT_ONCE`."""
    return np.array_split(order, max(1, -(-len(order) * pairs // _PAIRS_AT_ONCE)))


def _sign_distances(field: Field, swaps: NDArray[np.bool_]) -> Array:
    """Mean pairwise distances with some cells' centers swapped: (swap, category) for the four signed categories.

    With q = 1 − s, Σ over ordered pairs is a sum of quadratic forms in the three distance matrices, so that no
    distance is computed twice.
    """
    on_on, off_off, on_off = (cdist(*pair) for pair in ((field.on,) * 2, (field.off,) * 2, (field.on, field.off)))
    np.fill_diagonal(on_off, 0.0)  # a cell's own two subfields are no pair of cells
    s = swaps.astype(np.float64)
    q = 1.0 - s

    def form(left: Array, matrix: Array, right: Array) -> Array:
        return np.asarray(np.einsum("bi,bi->b", left @ matrix, right))

    pairs = len(field.on) * (len(field.on) - 1)
    cross = 2 * form(q, on_off.T, s), 2 * form(q, on_off, s)
    off = (form(q, off_off, q) + form(s, on_on, s) + cross[0]) / pairs
    on = (form(q, on_on, q) + form(s, off_off, s) + cross[1]) / pairs
    opposite = (form(q, on_off, q) + form(s, on_off.T, s) + form(s, off_off, q) + form(q, on_on, s)) / pairs
    return np.stack([off, on, (off + on) / 2, opposite], axis=1)


def _neighbor_distances(field: Field, order: NDArray[np.intp], radius: float) -> Array:
    """Mean visual distance between cortical neighbors, positions permuted: (permutation, category)."""
    near = cdist(field.cortex, field.cortex) <= radius
    np.fill_diagonal(near, False)
    if not near.any():
        return np.full((len(order), 5), np.nan)
    matrices = [cdist(*pair) for pair in ((field.off,) * 2, (field.on,) * 2, (field.on, field.off), (field.whole,) * 2)]
    first, second = np.nonzero(near)
    off, on, opposite, whole = np.concatenate(
        [
            np.stack([m[part[:, first], part[:, second]].mean(axis=1) for m in matrices], axis=1)
            for part in in_parts(order, first.size)
        ]
    ).T
    return np.stack([off, on, (off + on) / 2, opposite, whole], axis=1)


def topology_tests(fields: list[Field], *, radius: float, n_permutations: int, rng: np.random.Generator) -> xr.Dataset:
    """Pairwise distances of centers against both shuffles, one row per category and shuffle.

    Cells within `radius` µm of cortex are neighbors.

    Returns
    -------
    xarray.Dataset
        Dim test: ``category``, ``shuffle``, ``observed`` and ``chance`` (mean distance, over animals), ``effect``
        (observed/chance − 1, mean over animals) with its Student interval over animals, ``p`` and ``p_smallest`` of
        the permutation test, ``p_animals`` and ``p_animals_smallest`` of the sign flips, ``hypothesis``.
    """
    animals = [field.animal for field in fields]

    def swapped(field: Field) -> Array:
        n = len(field.on)
        swaps = np.concatenate([np.zeros((1, n), dtype=bool), rng.random((n_permutations, n)) < 0.5])
        distances = _sign_distances(field, swaps)
        # Averaging two centers shortens distances by itself: shown beside chance of one sign, not tested.
        whole = np.full((len(distances), 1), np.nan)
        whole[0] = pdist(field.whole).mean()
        return np.concatenate([distances, whole], axis=1)

    def shuffled(field: Field) -> Array:
        return _neighbor_distances(field, shuffles(len(field.on), n_permutations, rng), radius)

    plan: tuple[tuple[str, Callable[[Field], Array], str], ...] = (
        ("sign", swapped, "within each cell, ON and OFF centers are exchangeable"),
        ("position", shuffled, "centers are unrelated to cortical position"),
    )
    rows: list[dict[str, Any]] = []
    for name, distances_of, hypothesis in plan:
        distances = np.stack([distances_of(field) for field in fields])
        usable = np.asarray(np.isfinite(distances[:, 0]).all(axis=1))
        if not usable.any():
            continue
        kept = [animal for animal, keep in zip(animals, usable, strict=True) if keep]
        observed, permuted = distances[usable, 0], distances[usable, 1:]
        chance = permuted.mean(axis=1)
        if name == "sign":
            chance[:, -1] = chance[:, 0]
        for column, category in enumerate(_CATEGORIES):
            expected = chance[:, column]
            found = Tested.of(observed[:, column] / expected - 1, permuted[:, :, column] / expected[:, None] - 1, kept)
            row = {
                "category": category,
                "shuffle": name,
                "observed": float(_over_animals(observed[:, column], kept).mean()),
                "chance": float(_over_animals(expected, kept).mean()),
                **{key: value for key, value in found._asdict().items() if key != "chance"},
                "hypothesis": hypothesis,
            }
            if np.isnan(found.p):
                row |= dict.fromkeys(("p_smallest", "p_animals", "p_animals_smallest"), np.nan)
                row["hypothesis"] = "not tested: averaging two centers shortens distances"
            rows.append(row)
    table = {
        key: ("test", np.array([row[key] for row in rows], dtype=object if isinstance(rows[0][key], str) else float))
        for key in rows[0]
    }
    return xr.Dataset(
        table,
        attrs={
            "n_permutations": n_permutations,
            "radius": radius,
            "n_fields": len(fields),
            "n_animals": len(set(animals)),
            "n_cells": int(sum(len(field.on) for field in fields)),
        },
    )


def as_published(fields: list[Field]) -> xr.Dataset:
    """Kruskal–Wallis and Dunn values over pairs, the way the study reports them; they carry no claim.

    Every pair's distance is divided by its field's mean distance between subfields of random sign, minus 1.

    Returns
    -------
    xarray.Dataset
        Dims category, other: ``dunn_z``, ``dunn_p`` (Bonferroni over the ten comparisons, Dunn 1964); attributes
        ``kruskal_wallis_h``, ``kruskal_wallis_p``, ``note``.
    """
    groups: list[list[Array]] = [[] for _ in _CATEGORIES]
    for field in fields:
        upper = np.triu_indices(len(field.on), 1)
        off, on = cdist(field.off, field.off)[upper], cdist(field.on, field.on)[upper]
        cross = cdist(field.on, field.off)
        opposite = np.concatenate([cross[upper], cross.T[upper]])
        whole = cdist(field.whole, field.whole)[upper]
        chance = (off.mean() + on.mean() + 2 * opposite.mean()) / 4
        for group, values in zip(groups, (off, on, np.concatenate([off, on]), opposite, whole), strict=True):
            group.append(values / chance - 1)
    pooled = [np.concatenate(group) for group in groups]
    h, p = stats.kruskal(*pooled)
    sizes = np.array([values.size for values in pooled])
    n = sizes.sum()
    ranks = stats.rankdata(np.concatenate(pooled))
    variance = n * (n + 1) / 12 * stats.tiecorrect(ranks)
    means = np.array([part.mean() for part in np.split(ranks, np.cumsum(sizes)[:-1])])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (means[:, None] - means[None]) / np.sqrt(variance * (1 / sizes[:, None] + 1 / sizes[None]))
    comparisons = len(_CATEGORIES) * (len(_CATEGORIES) - 1) // 2
    adjusted = np.minimum(1.0, comparisons * 2 * stats.norm.sf(np.abs(z)))
    np.fill_diagonal(adjusted, np.nan)
    return xr.Dataset(
        {
            "dunn_z": (("category", "other"), z),
            "dunn_p": (("category", "other"), adjusted),
            "mean_effect": ("category", np.array([values.mean() for values in pooled])),
            "n_pairs": ("category", sizes),
        },
        coords={"category": list(_CATEGORIES), "other": list(_CATEGORIES)},
        attrs={"kruskal_wallis_h": float(h), "kruskal_wallis_p": float(p), "note": _AS_PUBLISHED},
    )


def visuotopy(fields: list[Field], *, n_permutations: int, rng: np.random.Generator) -> tuple[xr.Dataset, xr.Dataset]:
    """Affine visuotopic fits of OFF, ON and whole-field centers, and the ON/OFF scatter ratio over animals.

    Returns
    -------
    fits : xarray.Dataset
        Dims field, target (OFF, ON, whole field): ``matrix`` (visual_axis, cortical_axis; units per mm),
        ``magnification`` (mm per unit, 1/√|det|), ``scatter`` (residual SD per axis), ``r2``, ``n_cells``,
        ``p`` (positions permuted within the field).
    ratio : xarray.Dataset
        Dim pair (ON/OFF, whole field/OFF): ``scatter_ratio`` (geometric mean over animals), ``ci_low``, ``ci_high``
        (Student, on the logarithm), ``p_animals`` and ``p_animals_smallest`` (sign flips of the log ratio).
    """
    targets = ("OFF", "ON", "whole field")
    shape = (len(fields), len(targets))
    matrix, scatter, r2, p = np.zeros((*shape, 2, 2)), np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for row, field in enumerate(fields):
        n = len(field.cortex)
        design = np.column_stack([field.cortex / 1000.0, np.ones(n)])
        basis, _ = np.linalg.qr(design)
        order = np.argsort(rng.random((n_permutations, n)), axis=1)
        for column, centers in enumerate((field.off, field.on, field.whole)):
            solution, *_ = np.linalg.lstsq(design, centers, rcond=None)
            matrix[row, column], residual = solution[:2].T, centers - design @ solution
            total = ((centers - centers.mean(axis=0)) ** 2).sum()
            scatter[row, column] = np.sqrt((residual**2).sum() / (2 * n - 6))
            r2[row, column] = 1 - (residual**2).sum() / total
            # Explained sums of squares under permuted positions, all at once: projections on the design's basis.
            explained = (np.einsum("nk,bnc->bkc", basis, centers[order]) ** 2).sum(axis=(1, 2))
            own = (np.einsum("nk,nc->kc", basis, centers) ** 2).sum()
            p[row, column] = (1 + (explained >= own * (1 - 1e-12)).sum()) / (1 + n_permutations)
    with np.errstate(divide="ignore"):
        magnification = 1 / np.sqrt(np.abs(np.linalg.det(matrix)))
    fits = xr.Dataset(
        {
            "matrix": (("field", "target", "visual_axis", "cortical_axis"), matrix),
            "magnification": (("field", "target"), magnification),
            "scatter": (("field", "target"), scatter),
            "r2": (("field", "target"), r2),
            "p": (("field", "target"), p),
            "n_cells": ("field", np.array([len(field.cortex) for field in fields])),
        },
        coords={
            "field": [f"{field.animal} {field.name}" for field in fields],
            "target": list(targets),
            "animal": ("field", [field.animal for field in fields]),
        },
        attrs={"p_smallest": 1 / (n_permutations + 1), "hypothesis": "centers are unrelated to cortical position"},
    )
    animals = [field.animal for field in fields]
    logs = _over_animals(np.log(scatter[:, 1:] / scatter[:, :1]), animals)
    intervals = [t_interval(logs[:, i]) for i in range(2)]
    flips = [sign_flip_p(logs[:, i]) for i in range(2)]
    ratio = xr.Dataset(
        {
            "scatter_ratio": ("pair", np.exp(logs.mean(axis=0))),
            "ci_low": ("pair", np.exp([low for low, _ in intervals])),
            "ci_high": ("pair", np.exp([high for _, high in intervals])),
            "p_animals": ("pair", [p for p, _ in flips]),
            "p_animals_smallest": ("pair", [smallest for _, smallest in flips]),
        },
        coords={"pair": ["ON/OFF", "whole field/OFF"]},
        attrs={"n_animals": len(set(animals)), "hypothesis": "both signs scatter equally about the visuotopic map"},
    )
    return fits, ratio
