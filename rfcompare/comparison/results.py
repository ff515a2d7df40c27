"""`compare` and `score`: labeled descriptors in, a results Dataset out, a row per quantity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import check, make_rng
from rfcompare.comparison.joint import counts, gabor_row, joint_rows
from rfcompare.comparison.marginal import comparable, descriptor_row
from rfcompare.comparison.populations import Population, Space, checked, make_space, n_subjects, population
from rfcompare.comparison.rows import HEADLINE_NULLS, UNTRAINED, Row, adjust, dataset, headings, json_numbers
from rfcompare.comparison.similarity import Score, mean_distances_of, nearer_than_untrained, similarity_score
from rfcompare.errors import InputError, named_strictly


@named_strictly
def compare(
    descriptors_a: xr.Dataset,
    descriptors_b: xr.Dataset,
    *,
    nulls: Mapping[str, xr.Dataset] | None = None,
    space: Space | None = None,
    quantities: Sequence[str] | None = None,
    n_permutation: int = 9999,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
    workers: int = 1,
) -> xr.Dataset:
    """Compare two populations of receptive fields, descriptor by descriptor and jointly.

    Parameters
    ----------
    descriptors_a : xarray.Dataset
        The reference, as a rule a cortex; its robust SDs are the scales of the joint spaces.
    descriptors_b : xarray.Dataset
        What is compared with it, as a rule a network's kernels. Training seeds are its subjects.
    nulls : mapping of str to xarray.Dataset, optional
        Descriptors of null ensembles by name (`rfcompare.simulation.nulls.NULLS`), their populations told apart by
        ``subject``. The first of `HEADLINE_NULLS` given is the score's zero; the headline p needs ``"untrained"``, with
        999 populations or more. Without any, the score and the null column stay empty.
    space : Space, optional
        Joint space of the score, to hold it equal over several networks; else the model-free one of this pair.
    quantities : sequence of str, optional
        Which descriptors get a row; all that both sides have by default. Those with a scale are compared only where
        both sides are in degrees.
    n_permutation : int
        Random labelings of the permutation tests.
    level : float
        Of every interval.
    seed : int, Generator or None
        For permutations, resamples and random halves.
    workers : int
        Threads; results do not depend on their number.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-results/1``, dims (quantity,). `effect` is b minus a in `units`, or the joint statistic;
        `ci_low` and `ci_high` are for the species (NaN below 4 animals, and `method` says so), `cells_low`,
        `cells_high` and `p_cells` for these cells only; `hypothesis` says what `p` tests and `p_smallest` how small
        it could be; `p_adjusted` is Holm's over the rows of one `family`, `p_adjusted_bh` Benjamini and Hochberg's;
        `null` and `ceiling` hold the same statistic for the null and for another animal or, without identities, random
        halves. `attrs["score"]` holds the similarity score's dots per animal and `attrs["space"]` its axes and scales
        as JSON.

    Raises
    ------
    InputError
        When a side is no descriptors Dataset, has no quantity in common with the other, or too few units.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.descriptors import describe_maps
    >>> rng = np.random.default_rng(0)
    >>> a, b = (rfc.make_bank(rng.normal(size=(n, 1, 9, 9)), channel=("signed",), kind="simulated") for n in (40, 30))
    >>> result = rfc.compare(describe_maps(a), describe_maps(b), n_permutation=99, seed=0)
    >>> result.attrs["heading"]
    'demonstration: depends on assumed parameters'
    """
    a, b = checked(descriptors_a, "the first population"), checked(descriptors_b, "the second population")
    nulls = {name: checked(null, f"null {name!r}") for name, null in (nulls or {}).items()}
    if not 0 < level < 1 or n_permutation < 19 or workers < 1:
        raise InputError(
            f"expected 0 < level < 1, at least 19 permutations and 1 worker, got {level}, {n_permutation} and {workers}"
        )
    generator, recorded = make_rng(seed)
    headline = next((name for name in (*HEADLINE_NULLS, *nulls) if name in nulls), None)
    null = nulls[headline] if headline else None

    names = comparable(a, b, quantities)
    rows = [
        descriptor_row(name, a, b, null, level=level, n_permutation=n_permutation, generator=generator)
        for name in names
    ]
    adjust(rows)
    space = space or make_space(a, b, *nulls.values())
    joint = joint_rows(a, b, null, space, level=level, n=n_permutation, generator=generator, workers=workers)
    if all(name in population for name in ("nx", "ny") for population in (a, b)):
        ordered = {key: nulls[key] for key in (*HEADLINE_NULLS, *nulls) if key in nulls}
        joint.append(gabor_row(a, b, ordered, level=level, n=n_permutation, generator=generator, workers=workers))
    adjust(joint)
    detail: dict[str, Any] = {}
    score_row = _score_row(a, b, nulls, headline, space, level=level, seed=generator, detail=detail)
    adjust([score_row])

    heading = headings(a, b)
    for row in (*rows, *joint, score_row):
        row.number |= {
            "n_subjects_a": row.number.get("n_subjects_a", n_subjects(a)),
            "n_subjects_b": row.number.get("n_subjects_b", n_subjects(b)),
        }
        row.note(*heading)
        if headline and np.isfinite(row.number.get("null", np.nan)):
            row.text.setdefault("null_name", headline)
    result = dataset([*rows, *joint, score_row], str(a.attrs["kind"]), str(b.attrs["kind"]))
    result.attrs |= {
        "heading": "; ".join(heading),
        "space": space.to_json(),
        "score": json.dumps(detail, ensure_ascii=False),
        "nulls": json.dumps({name: n_subjects(data) or 1 for name, data in nulls.items()}),
        "headline_null": headline or "",
        "seed": recorded,
        "level": level,
        "n_permutation": n_permutation,
        "stimulus_a": str(a.attrs.get("stimulus", "")),
        "stimulus_b": str(b.attrs.get("stimulus", "")),
        "citation_a": str(a.attrs.get("citation", "")),
        "citation_b": str(b.attrs.get("citation", "")),
    }
    return check(result)


def score(
    descriptors_a: xr.Dataset,
    descriptors_b: xr.Dataset,
    null: xr.Dataset,
    *,
    space: Space | None = None,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
) -> Score:
    """Only the similarity score of a network (b) to a cortex (a), 0 at the null and 1 at the other animals.

    Parameters
    ----------
    descriptors_a, descriptors_b, null : xarray.Dataset
        Descriptors of cortex, network and null ensemble.
    space : Space, optional
        The model-free one of this pair unless given.
    level : float
        Of the intervals.
    seed : int, Generator or None
        For the random halves that stand in for unknown animals.

    Returns
    -------
    Score
        See `rfcompare.comparison.similarity.Score`.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.comparison import score
    >>> from rfcompare.descriptors import describe_maps
    >>> rng = np.random.default_rng(0)
    >>> x = np.arange(-4, 5.0)
    >>> spots = np.exp(-(x**2 + x[:, None] ** 2) / rng.uniform(2, 9, (80, 1, 1)))
    >>> banks = (spots[:40] + rng.normal(0, 0.05, (40, 9, 9)), spots[40:], rng.normal(size=(40, 9, 9)))
    >>> a, b, null = (
    ...     describe_maps(rfc.make_bank(maps[:, None], channel=("signed",), kind="simulated")) for maps in banks
    ... )
    >>> score(a, b, null).ceiling
    'within-sample, optimistic'
    """
    a, b, z = (
        checked(data, name)
        for data, name in ((descriptors_a, "the cortex"), (descriptors_b, "the network"), (null, "the null"))
    )
    space = space or make_space(a, b, z)
    return _score(population(a, space, name="the cortex"), b, z, space, level=level, seed=seed)


def _score(
    cortex: Population,
    network: xr.Dataset,
    null: xr.Dataset,
    space: Space,
    *,
    level: float,
    seed: int | np.random.Generator | None,
) -> Score:
    kernels, zero = population(network, space, name="the network"), population(null, space, name="the null")
    return similarity_score(
        cortex.points,
        kernels.points,
        zero.points,
        cortex_subject=cortex.subject,
        network_subject=kernels.subject,
        null_subject=zero.subject,
        level=level,
        seed=seed,
    )


def _score_row(
    a: xr.Dataset,
    b: xr.Dataset,
    nulls: Mapping[str, xr.Dataset],
    headline: str | None,
    space: Space,
    *,
    level: float,
    seed: np.random.Generator,
    detail: dict[str, Any],
) -> Row:
    row = Row("similarity_score", "Similarity score", "score")
    row.statistic = "(mean D null − mean D network) / (mean D null − mean D other animals)"
    x, y = population(a, space, name="the first population"), population(b, space, name="the second population")
    row.number |= counts(x, y)
    if headline is None:
        row.note("not tested against chance: no null was given")
        return row
    result = _score(x, b, nulls[headline], space, level=level, seed=seed)
    row.number |= {
        "effect": result.value,
        "ci_low": result.interval.low,
        "ci_high": result.interval.high,
        "cells_low": result.cells_interval.low,
        "cells_high": result.cells_interval.high,
        "null": 0.0,
        "ceiling": 1.0,
    }
    row.text |= {"method": result.interval.method, "ceiling_kind": result.ceiling, "null_name": headline}
    row.note(result.verdict)
    if np.isfinite(result.single_animal):
        row.note(f"one other animal alone would score {result.single_animal:.2f}")
    if UNTRAINED in nulls:
        z = population(nulls[UNTRAINED], space, name="the untrained networks")
        means = mean_distances_of(
            x.points, y.points, z.points, cortex_subject=x.subject, network_subject=y.subject, null_subject=z.subject
        )
        test = nearer_than_untrained(means)
        if len(means.network) > 1:
            row.note(f"the mean over {len(means.network)} training seeds is ranked among single untrained networks")
        row.number |= {"p": test.p, "p_smallest": test.smallest}
        row.text["hypothesis"] = test.hypothesis
        initializer = str(nulls[UNTRAINED].attrs.get("initializer", ""))
        row.note(f"untrained networks initialized by {initializer}" if initializer else "")
        if test.smallest > 0.001:
            row.note(f"only {round(1 / test.smallest) - 1} untrained networks; 999 are needed for p = 0.001")
        sizes = np.unique(z.subject, return_counts=True)[1] if z.subject is not None else np.array([len(z.points)])
        kernels = len(y.points) / max(1, y.n_subjects)
        if abs(float(np.median(sizes)) - kernels) > 0.1 * kernels:
            row.note(f"untrained networks of {int(np.median(sizes))} units against {kernels:.0f}")
    detail |= {
        "value": result.value,
        "ci": [result.interval.low, result.interval.high],
        "jackknife_ci": [result.jackknife.low, result.jackknife.high],
        "cells_ci": [result.cells_interval.low, result.cells_interval.high],
        "mean": {
            "network": result.network_distance,
            "null": result.null_distance,
            "others": result.others_distance,
        },
        "animal": result.animal.tolist(),
        "network": result.network_to_animal.tolist(),
        "null": result.null_to_animal.tolist(),
        "others": result.others_to_animal.tolist(),
        "single_animal": result.single_animal,
        "ceiling_kind": result.ceiling,
        "null_name": headline,
        "verdict": result.verdict,
    }
    for key, value in list(detail.items()):
        detail[key] = json_numbers(value)
    return row
