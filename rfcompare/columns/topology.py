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
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

CATEGORIES = ("OFF-OFF", "ON-ON", "same sign", "opposite sign", "whole field")
MIN_CELLS = 5
"""Fewest cells with both subfields for a field of view to enter a test: an affine map alone has three per axis."""

MIN_ANIMALS = 4
"""Fewest animals for an interval for the species, as in `rfcompare.comparison`."""

PAIRS_AT_ONCE = 2**22
"""Permuted pairs of cells held in memory at a time."""

AS_PUBLISHED = "as published; pairs are not independent"


@dataclass(frozen=True)
class Field:
    """Centers of one field of view's cells: (n, 2) arrays in visual space, and positions in cortex (µm)."""

    name: str
    animal: str
    on: Array
    off: Array
    whole: Array
    cortex: Array


def split_fields(found: xr.Dataset) -> list[Field]:
    """The fields of view with at least `MIN_CELLS` cells that have both subfields, those cells only."""

    def pair(name: str) -> Array:
        return np.stack([found[f"{name}_x"].values, found[f"{name}_y"].values], axis=1).astype(np.float64)

    on, off, whole, cortex = pair("on"), pair("off"), pair("field"), pair("cortex")
    good = np.isfinite(np.concatenate([on, off, cortex], axis=1)).all(axis=1)
    labels = np.asarray(found.field_of_view.values if "field_of_view" in found.variables else found.subject.values)
    animals = np.asarray(found.subject.values)
    fields = []
    # Two animals may both have called a field "1".
    for animal, label in sorted({(str(a), str(b)) for a, b in zip(animals, labels, strict=True)}):
        rows = np.flatnonzero((animals.astype(str) == animal) & (labels.astype(str) == label) & good)
        if rows.size >= MIN_CELLS:
            fields.append(Field(label, animal, on[rows], off[rows], whole[rows], cortex[rows]))
    return fields


def over_animals(values: Array, animals: list[str]) -> Array:
    """Mean over fields within an animal, one row per animal: (field, …) → (animal, …)."""
    names = np.array(animals)
    return np.stack([values[names == name].mean(axis=0) for name in sorted(set(animals))])


def t_interval(values: Array, level: float = 0.95) -> tuple[float, float]:
    """Student interval of the mean over animals; infinite with fewer than `MIN_ANIMALS`."""
    values = values[np.isfinite(values)]
    if values.size < MIN_ANIMALS:
        return -np.inf, np.inf
    reach = stats.t.ppf(0.5 + level / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
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


def permutation_p(observed: Array, permuted: Array) -> Array:
    """Two-sided Monte Carlo p: distance from the permutations' mean, the observed value counted among them.

    NaN where the observed value or a permuted one is not defined: NaN is as extreme as nothing.

    Parameters
    ----------
    observed : array (…,)
    permuted : array (permutation, …)
    """
    middle = permuted.mean(axis=0)
    extreme = np.abs(permuted - middle) >= np.abs(observed - middle) * (1 - 1e-12)
    known = np.isfinite(observed) & np.isfinite(permuted).all(axis=0)
    return np.asarray(np.where(known, (1 + extreme.sum(axis=0)) / (1 + len(permuted)), np.nan))


def in_parts(order: NDArray[Any], pairs: int) -> list[NDArray[Any]]:
    """Permutations in parts whose pairs of cells stay within `PAIRS_AT_ONCE`."""
    return np.array_split(order, max(1, -(-len(order) * pairs // PAIRS_AT_ONCE)))


def sign_distances(field: Field, swaps: NDArray[np.bool_]) -> Array:
    """Mean pairwise distances with some cells' centers swapped: (swap, category) for the four signed categories.

    Parameters
    ----------
    field : Field
    swaps : array of bool (swap, cell)
        Cells whose ON center is called OFF and the reverse.

    Notes
    -----
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


def neighbor_distances(field: Field, order: NDArray[np.intp], radius: float) -> Array:
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


def _stack_permutations(fields: list[Field], draw: Any, statistic: Any, n_permutations: int) -> tuple[Array, Array]:
    """Observed (field, category) and permuted (field, permutation, category) statistics."""
    observed, permuted = [], []
    for field in fields:
        n = len(field.on)
        values = statistic(field, draw(n, n_permutations))
        observed.append(values[0])
        permuted.append(values[1:])
    return np.stack(observed), np.stack(permuted)


def topology_tests(fields: list[Field], *, radius: float, n_permutations: int, rng: np.random.Generator) -> xr.Dataset:
    """Pairwise distances of centers against both shuffles, one row per category and shuffle.

    Parameters
    ----------
    fields : list of Field
    radius : float
        Cortical distance (µm) up to which cells are neighbors.
    n_permutations : int
        Joint permutations of all fields.
    rng : numpy.random.Generator

    Returns
    -------
    xarray.Dataset
        Dim test: ``category``, ``shuffle``, ``observed`` and ``chance`` (mean distance, over animals), ``effect``
        (observed/chance − 1, mean over animals) with its Student interval over animals, ``p`` and ``p_smallest`` of
        the permutation test, ``p_animals`` and ``p_animals_smallest`` of the sign flips, ``hypothesis``.
    """
    animals = [field.animal for field in fields]

    def swap(n: int, count: int) -> NDArray[np.bool_]:
        return np.concatenate([np.zeros((1, n), dtype=bool), rng.random((count, n)) < 0.5])

    def shuffle(n: int, count: int) -> NDArray[np.intp]:
        return np.concatenate([np.arange(n)[None], np.argsort(rng.random((count, n)), axis=1)])

    plan: tuple[tuple[str, Any, Any, str], ...] = (
        ("sign", swap, sign_distances, "within each cell, ON and OFF centers are exchangeable"),
        (
            "position",
            shuffle,
            lambda f, o: neighbor_distances(f, o, radius),
            "centers are unrelated to cortical position",
        ),
    )
    rows: list[dict[str, Any]] = []
    for name, draw, statistic, hypothesis in plan:
        observed, permuted = _stack_permutations(fields, draw, statistic, n_permutations)
        usable = np.flatnonzero(np.isfinite(observed).all(axis=1))
        if usable.size == 0:
            continue
        kept = [animals[row] for row in usable]
        observed, permuted = observed[usable], permuted[usable]
        chance = permuted.mean(axis=1)
        if name == "sign":  # averaging two centers shortens distances by itself: shown against chance, not tested
            whole = np.array([_mean_distance(field.whole) for field in fields])[usable]
            reference = chance[:, :1]
            observed = np.concatenate([observed, whole[:, None]], axis=1)
            chance = np.concatenate([chance, reference], axis=1)
            permuted = np.concatenate([permuted, np.full((*permuted.shape[:2], 1), np.nan)], axis=2)
        effect = over_animals(observed / chance - 1, kept)
        drawn = over_animals(permuted / chance[:, None] - 1, kept).mean(axis=0)
        p = permutation_p(effect.mean(axis=0), drawn)
        for column, category in enumerate(CATEGORIES):
            low, high = t_interval(effect[:, column])
            flip, flip_smallest = sign_flip_p(effect[:, column])
            tested = bool(np.isfinite(drawn[:, column]).all())
            rows.append(
                {
                    "category": category,
                    "shuffle": name,
                    "observed": float(over_animals(observed, kept)[:, column].mean()),
                    "chance": float(over_animals(chance, kept)[:, column].mean()),
                    "effect": float(effect[:, column].mean()),
                    "ci_low": low,
                    "ci_high": high,
                    "p": float(p[column]) if tested else np.nan,
                    "p_smallest": 1 / (n_permutations + 1) if tested else np.nan,
                    "p_animals": flip if tested else np.nan,
                    "p_animals_smallest": flip_smallest if tested else np.nan,
                    "hypothesis": hypothesis if tested else "not tested: averaging two centers shortens distances",
                }
            )
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


def _mean_distance(points: Array) -> float:
    n = len(points)
    return float(cdist(points, points).sum() / (n * (n - 1)))


def as_published(fields: list[Field]) -> xr.Dataset:
    """Kruskal–Wallis and Dunn values over pairs, the way the study reports them; they carry no claim.

    Every pair's distance is divided by its field's mean distance between subfields of random sign, minus 1.

    Returns
    -------
    xarray.Dataset
        Dims category, other: ``dunn_z``, ``dunn_p`` (Bonferroni over the ten comparisons, Dunn 1964); attributes
        ``kruskal_wallis_h``, ``kruskal_wallis_p``, ``note``.
    """
    groups: list[list[Array]] = [[] for _ in CATEGORIES]
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
    everything = np.concatenate(pooled)
    ranks = stats.rankdata(everything)
    n = everything.size
    _, ties = np.unique(everything, return_counts=True)
    variance = n * (n + 1) / 12 - (ties.astype(float) ** 3 - ties).sum() / (12 * (n - 1))
    sizes = np.array([values.size for values in pooled])
    means = np.array([part.mean() for part in np.split(ranks, np.cumsum(sizes)[:-1])])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (means[:, None] - means[None]) / np.sqrt(variance * (1 / sizes[:, None] + 1 / sizes[None]))
    comparisons = len(CATEGORIES) * (len(CATEGORIES) - 1) // 2
    adjusted = np.minimum(1.0, comparisons * 2 * stats.norm.sf(np.abs(z)))
    np.fill_diagonal(adjusted, np.nan)
    return xr.Dataset(
        {
            "dunn_z": (("category", "other"), z),
            "dunn_p": (("category", "other"), adjusted),
            "mean_effect": ("category", np.array([values.mean() for values in pooled])),
            "n_pairs": ("category", sizes),
        },
        coords={"category": list(CATEGORIES), "other": list(CATEGORIES)},
        attrs={"kruskal_wallis_h": float(h), "kruskal_wallis_p": float(p), "note": AS_PUBLISHED},
    )


def _affine(cortex: Array, centers: Array) -> tuple[Array, Array]:
    """Least-squares affine map cortex (mm) → visual space: matrix (2, 2) and residuals (n, 2)."""
    design = np.column_stack([cortex / 1000.0, np.ones(len(cortex))])
    solution, *_ = np.linalg.lstsq(design, centers, rcond=None)
    return np.asarray(solution[:2].T), np.asarray(centers - design @ solution)


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
            matrix[row, column], residual = _affine(field.cortex, centers)
            total = ((centers - centers.mean(axis=0)) ** 2).sum()
            scatter[row, column] = np.sqrt((residual**2).sum() / (2 * n - 6)) if n > 3 else np.nan
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
    logs = over_animals(np.log(scatter[:, 1:] / scatter[:, :1]), animals)
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
