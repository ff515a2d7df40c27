"""Rows of a result for several descriptors at once: energy distance, MMD, a classifier, and coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from rfcompare.comparison import energy, inference, statistics
from rfcompare.comparison.populations import Population, Space, make_space, population
from rfcompare.comparison.rows import ALPHA, CELLS_ONLY, MAX_UNITS, N_REFERENCE, NO_WITHIN, UNITS_ONLY, Row
from rfcompare.comparison.similarity import (
    N_DRAWS,
    WITHIN_SAMPLE,
    like_another_animal,
    mean_distances_of,
    mean_known,
    percentiles,
)
from rfcompare.comparison.statistics import Array
from rfcompare.errors import InputError


def joint_rows(
    a: xr.Dataset,
    b: xr.Dataset,
    null: xr.Dataset | None,
    space: Space,
    *,
    level: float,
    n: int,
    generator: np.random.Generator,
    workers: int,
) -> list[Row]:
    """Energy distance, MMD, classifier and both coverages in one space."""
    x, y = population(a, space, name="the first population"), population(b, space, name="the second population")
    z = population(null, space, name="the null") if null is not None else None
    rows = [_energy_row("energy_distance", x, y, z, level=level, n=n, generator=generator, workers=workers)]
    axes = ", ".join(space.quantities)
    rows[0].note(f"model-free space: {axes}" if space.name == "model_free" else f"space: {axes}", *space.left_out)

    few_x, few_y = _few(x, generator), _few(y, generator)
    cortex, kernels = few_x.points, few_y.points
    together = np.vstack([cortex, kernels])
    bandwidth = energy.median_bandwidth(cortex)
    nulls = _null_populations(z, generator)
    halves = _halves(few_x, generator)

    mmd = Row("mmd", "Squared maximum mean discrepancy", "joint", statistic="squared MMD, Gaussian kernel")
    matrix = energy.gaussian_dissimilarity(together, bandwidth=bandwidth)
    mmd.number["effect"], test = energy.permutation_test(
        matrix, len(cortex), n_permutation=n, seed=generator, workers=workers
    )
    mmd.number["p_cells"] = test.p
    mmd.number["null"] = _mean([energy.squared_mmd(cortex, each, bandwidth=bandwidth) for each in nulls])
    mmd.number["ceiling"] = _mean([energy.squared_mmd(one, two, bandwidth=bandwidth) for one, two, _ in halves])
    mmd.note(f"bandwidth {bandwidth:.3g}, the median distance within the first population")

    auc = Row("classifier_auc", "Classifier between the two", "joint", statistic="cross-validated AUC, 0.5 alike")
    auc.number["effect"] = _auc(cortex, kernels, few_x.subject, generator)
    auc.number["null"] = _mean([_auc(cortex, each, few_x.subject, generator) for each in nulls[:5]])
    auc.number["ceiling"] = _mean([_auc(one, two, subject, generator) for one, two, subject in halves[:5]])
    auc.number["p_cells"] = _auc_p(together, len(cortex), min(n, 999), generator)

    covered = Row("coverage_of_a", "Share of the first covered by the second", "joint")
    covered.statistic = "share of a with a unit of b within its own nearest-neighbor distance"
    covering = Row("coverage_of_b", "Share of the second covered by the first", "joint")
    covering.statistic = "share of b with a unit of a within its own nearest-neighbor distance"
    size = min([len(kernels), *(len(each) for each in nulls)])
    for row, forward in ((covered, True), (covering, False)):
        row.number["effect"] = _coverage(cortex, kernels, forward)
        row.number["null"] = _mean([_coverage(cortex, each, forward) for each in nulls])
        row.number["ceiling"] = _mean([_coverage(one, two[:size], forward) for one, two, _ in halves])
        row.note("depends on the numbers of units" + ("" if not nulls else f"; null populations of {len(nulls[0])}"))
    rows += [mmd, auc, covered, covering]
    kind = "one animal and the others" if x.subject is not None else f"random halves ({WITHIN_SAMPLE})"
    for row in rows:
        row.number |= counts(x, y)
        if row.quantity != "energy_distance":
            row.text["hypothesis"] = UNITS_ONLY
            row.text.setdefault("method", "no interval: the statistic has none over animals")
            row.text["ceiling_kind"] = kind
            row.note(*_subset_notes((x, few_x), (y, few_y)))
    return rows


def gabor_form(a: xr.Dataset, b: xr.Dataset) -> tuple[str, ...]:
    """nx, ny and the phase: with its polarity where both sides know it, folded where one does not of any unit."""
    for phase in ("polarity_phase", "folded_phase"):
        if all(phase in data and bool(np.isfinite(data[phase].values).sum() > 1) for data in (a, b)):
            return ("nx", "ny", phase)
    return ("nx", "ny")


def gabor_row(a: xr.Dataset, b: xr.Dataset, nulls: Mapping[str, xr.Dataset], **options: Any) -> Row:
    """Energy distance of the units whose Gabor is identifiable, with the first null that was fitted."""
    name, title = "energy_distance_gabor_form", "Energy distance, Gabor form"
    axes = gabor_form(a, b)
    null_name = next((key for key, null in nulls.items() if all(axis in null for axis in axes)), None)
    try:
        form = make_space(a, b, name="gabor_form", quantities=axes)
        x, y = population(a, form, name="the first population"), population(b, form, name="the second population")
    except InputError as error:  # of blobs, say, hardly any carrier can be identified
        row = Row(name, title, "joint", notes=[f"not compared: {error}"])
        row.text["hypothesis"] = CELLS_ONLY
        return row
    lacking = "" if null_name else "no null: none was fitted"
    z = None
    if null_name:
        try:
            z = population(nulls[null_name], form, name=f"null {null_name!r}")
        except InputError as error:  # hardly any carrier of the noise can be identified
            null_name, lacking = None, f"no null: {error}"
    row = _energy_row(name, x, y, z, **options)
    row.title = title
    row.number |= counts(x, y)
    row.text |= {"null_name": null_name} if null_name else {}
    row.note(
        f"space: {', '.join(form.quantities)}; only units whose Gabor is identifiable: {len(x.points)} of "
        f"{a.sizes['unit']} (a), {len(y.points)} of {b.sizes['unit']} (b)",
        _signless_note(a, b) if "polarity_phase" in form.quantities else "",
        lacking,
    )
    return row


def _signless_note(a: xr.Dataset, b: xr.Dataset) -> str:
    """How many units with an identifiable Gabor have no place since their sign is not known: mostly colored ones."""
    lost = []
    for side, data in (("a", a), ("b", b)):
        if "folded_phase" in data:
            count = int((np.isfinite(data["folded_phase"].values) & np.isnan(data["polarity_phase"].values)).sum())
            lost += [f"{count} ({side})"] if count else []
    return f"left out, their sign being unknown: {', '.join(lost)}" if lost else ""


def _energy_row(
    name: str,
    x: Population,
    y: Population,
    z: Population | None,
    *,
    level: float,
    n: int,
    generator: np.random.Generator,
    workers: int,
) -> Row:
    row = Row(name, "Energy distance", "joint", statistic="squared energy distance to the species")
    zero = z or y
    means = mean_distances_of(
        x.points, y.points, zero.points, cortex_subject=x.subject, network_subject=y.subject, null_subject=zero.subject
    )
    between = energy.different_subjects_mean(means.animals)
    row.number["effect"] = float(2 * means.network.mean() - means.network_within.mean() - between)
    if z is not None:
        row.number["null"] = float(2 * means.null.mean() - means.null_within.mean() - between)
    size = len(means.animals)
    if means.identified:
        row.number["ceiling"] = between - mean_known(np.diag(means.animals))
        row.text["ceiling_kind"] = "one animal"
    else:
        row.statistic = "squared energy distance"
        row.number["ceiling"], row.text["ceiling_kind"] = 0.0, f"random halves ({WITHIN_SAMPLE})"
    interval = inference.Interval(np.nan, np.nan, inference.NO_INTERVAL)
    test = inference.PValue(np.nan, np.nan, CELLS_ONLY)
    if means.identified and size >= inference.MIN_SUBJECTS:
        _, network, others = means.draws(N_DRAWS, generator)
        interval = percentiles(network - others, level)
        if y.subject is not None and len(means.network) >= inference.MIN_SUBJECTS:
            test = _subject_permutation(x, y, n, generator)
        elif np.isnan(np.diag(means.animals)).any():
            test = inference.PValue(np.nan, np.nan, NO_WITHIN)
        else:
            test = like_another_animal(means.animals, means.network.mean(axis=0), float(means.network_within.mean()))
            if test.smallest > ALPHA:
                row.note(f"no verdict: with {size} animals p cannot fall below {test.smallest:.2g}")
    row.number |= {"ci_low": interval.low, "ci_high": interval.high, "p": test.p, "p_smallest": test.smallest}
    row.text |= {"method": interval.method, "hypothesis": test.hypothesis}
    few_x, few_y = _few(x, generator), _few(y, generator)
    together = np.vstack([few_x.points, few_y.points])
    row.note(*(f"p_cells of {note}" for note in _subset_notes((x, few_x), (y, few_y))))
    _, cells = energy.permutation_test(
        cdist(together, together), len(few_x.points), n_permutation=n, seed=generator, workers=workers
    )
    row.number["p_cells"] = cells.p
    return row


def _subject_permutation(x: Population, y: Population, n: int, generator: np.random.Generator) -> inference.PValue:
    assert x.subject is not None and y.subject is not None
    names = [np.unique(x.subject), np.unique(y.subject)]
    code = np.concatenate([np.searchsorted(names[0], x.subject), names[0].size + np.searchsorted(names[1], y.subject)])
    matrix = energy.subject_matrix(np.vstack([x.points, y.points]), code.astype(np.intp))
    labelings, exhaustive = inference.subject_labelings(
        names[0].size, names[1].size, n_permutation=n, generator=generator
    )
    return inference.permuted_subjects(
        energy.subject_energy(matrix, labelings),
        exhaustive=exhaustive,
        hypothesis="subjects of both populations are alike (subject labels permuted)",
    )


def _few(whole: Population, generator: np.random.Generator) -> Population:
    n = len(whole.points)
    if n <= MAX_UNITS:
        return whole
    chosen = np.sort(generator.choice(n, MAX_UNITS, replace=False))
    subject = None if whole.subject is None else whole.subject[chosen]
    return replace(whole, points=whole.points[chosen], subject=subject)


def _subset_notes(*pairs: tuple[Population, Population]) -> list[str]:
    return [
        f"a random {len(few.points)} of {len(whole.points)} units ({side})"
        for side, (whole, few) in zip("ab", pairs, strict=True)
        if few is not whole
    ]


def _null_populations(null: Population | None, generator: np.random.Generator) -> list[Array]:
    if null is None:
        return []
    if null.subject is None:
        return [_few(null, generator).points]
    names = np.unique(null.subject)
    chosen = generator.choice(names, min(N_REFERENCE, names.size), replace=False)
    each = [null.points[null.subject == name] for name in chosen]
    return [values for values in each if len(values) > 1]


def _halves(cortex: Population, generator: np.random.Generator) -> list[tuple[Array, Array, NDArray[np.str_] | None]]:
    """(the others, one animal, whose the others are) for every animal, or random halves of the cells."""
    points, n = cortex.points, len(cortex.points)
    if cortex.subject is not None:
        held_out = [cortex.subject == name for name in np.unique(cortex.subject)]
        return [
            (points[~animal], points[animal], cortex.subject[~animal])
            for animal in held_out
            if 2 <= animal.sum() <= n - 2
        ]
    if n < 4:
        return []
    labels = statistics.random_labelings(n - n // 2, n // 2, N_REFERENCE, generator)
    return [(points[~label], points[label], None) for label in labels]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else np.nan


def _coverage(a: Array, b: Array, forward: bool) -> float:
    return energy.coverage(a, b) if forward else energy.coverage(b, a)


def _folds(n_a: int, n_b: int, subject: NDArray[np.str_] | None, generator: np.random.Generator) -> energy.Codes:
    """Folds that hold both populations alike: an animal with as large a share of the other side, or a tenth of both."""
    if subject is None:
        count = max(2, min(10, n_a // 2, n_b // 2))
        of_a = generator.permutation(np.arange(n_a) % count)
    else:
        names, of_a = np.unique(subject, return_inverse=True)
        count = names.size
    return np.concatenate([of_a, generator.permutation(np.arange(n_b) % count)]).astype(np.intp)


def _auc(a: Array, b: Array, subject: NDArray[np.str_] | None, generator: np.random.Generator) -> float:
    together = np.vstack([a, b])
    is_b = np.repeat([False, True], [len(a), len(b)])
    fold = _folds(len(a), len(b), subject, generator)
    return float(energy.classifier_auc(cdist(together, together), is_b, fold, k=_neighbors(len(a), len(b))))


def _auc_p(together: Array, n_a: int, count: int, generator: np.random.Generator) -> float:
    """Permutation p of the AUC; folds are drawn without looking at the labels, which are then exchangeable."""
    n_b = len(together) - n_a
    fold = generator.permutation(np.arange(len(together)) % max(2, min(10, min(n_a, n_b) // 5))).astype(np.intp)
    labels = statistics.random_labelings(n_a, n_b, count, generator)
    labels = np.vstack([np.repeat([False, True], [n_a, n_b])[None], labels])
    auc = energy.classifier_auc(cdist(together, together), labels, fold, k=_neighbors(n_a, n_b))
    return float((auc >= auc[0] - 1e-12).mean())


def _neighbors(n_a: int, n_b: int) -> int:
    return max(1, round(float(np.sqrt(min(n_a, n_b)))))


def counts(x: Population, y: Population) -> dict[str, float]:
    """How many units and subjects of each side entered a joint row."""
    return {
        "n_units_a": len(x.points),
        "n_units_b": len(y.points),
        "n_missing_a": x.n_left_out,
        "n_missing_b": y.n_left_out,
        "n_subjects_a": x.n_subjects,
        "n_subjects_b": y.n_subjects,
    }
