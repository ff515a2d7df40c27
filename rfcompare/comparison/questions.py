"""Answers as tables: which cortex is nearest, where a network differs, and how far the answer hangs on choices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfcompare.comparison.populations import SPACES, Space, checked, make_space, population, subjects
from rfcompare.comparison.results import compare, score
from rfcompare.comparison.rows import DEMONSTRATION, HEADLINE_NULLS
from rfcompare.errors import InputError

SELECTIONS: Mapping[str, float | None] = {"all units": None, "r² > 0.5": 0.5, "r² > 0.7": 0.7}
"""Selections of the multiverse, of cells and kernels alike; the score itself uses none."""

MULTIVERSE_POPULATIONS = 20
"""Null populations of each kind in the multiverse: its zero needs their mean, not a rank among them."""


def compare_cortices(
    network: xr.Dataset,
    cortices: Mapping[str, xr.Dataset],
    *,
    nulls: Mapping[str, xr.Dataset],
    n_permutation: int = 9999,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, xr.Dataset]:
    """Compare one network with several recordings in one joint space: the same axes, each cortex's own scales.

    Parameters
    ----------
    network : xarray.Dataset
        Descriptors of its kernels.
    cortices : mapping of str to xarray.Dataset
        Descriptors by the name to be shown.
    nulls, n_permutation, seed, workers
        As for `rfcompare.compare`.

    Returns
    -------
    dict of str to xarray.Dataset
        Results per cortex; an axis that one of them lacks (a signed ON/OFF balance, where a recording was stored
        without its sign) is left out for all.

    Examples
    --------
    >>> from rfcompare.descriptors import describe_maps
    >>> from rfcompare.simulation import simulate_null, simulate_population
    >>> cells, other, kernels = (simulate_population(n=40, size=9, seed=seed)[0] for seed in range(3))
    >>> null = describe_maps(simulate_null(kernels, "pixel_shuffled", n_populations=5))
    >>> results = compare_cortices(
    ...     describe_maps(kernels), {"V1": describe_maps(cells), "other": describe_maps(other)},
    ...     nulls={"pixel_shuffled": null}, n_permutation=99,
    ... )
    >>> sorted(question_table(results).cortex)
    ['V1', 'other']
    """
    spaces = common_spaces(network, cortices, nulls)
    return {
        name: compare(
            cortex, network, nulls=nulls, space=spaces[name], n_permutation=n_permutation, seed=seed, workers=workers
        )
        for name, cortex in cortices.items()
    }


def common_spaces(
    network: xr.Dataset, cortices: Mapping[str, xr.Dataset], nulls: Mapping[str, xr.Dataset]
) -> dict[str, Space]:
    """The model-free space of every cortex, on the axes that all of them share."""
    if not cortices:
        raise InputError("expected at least one cortex, got none")
    everyone = [checked(network, "the network"), *cortices.values(), *nulls.values()]
    own = {name: make_space(checked(cortex, name), *everyone) for name, cortex in cortices.items()}
    first = next(iter(own.values()))
    axes = [axis for axis in first.quantities if all(axis in space.quantities for space in own.values())]
    left_out = tuple(dict.fromkeys(reason for space in own.values() for reason in space.left_out))
    if not axes:
        raise InputError(f"expected an axis that every cortex has, got none ({'; '.join(left_out)})")
    return {
        name: Space(
            "model_free", tuple(axes), tuple(space.scales[space.quantities.index(axis)] for axis in axes), left_out
        )
        for name, space in own.items()
    }


_SCORE_COLUMNS = (
    *("effect", "ci_low", "ci_high", "cells_low", "cells_high", "p", "p_smallest", "hypothesis", "method"),
    *("ceiling_kind", "null_name", "n_units_a", "n_subjects_a", "n_units_b", "kind_a", "kind_b", "note"),
)


def question_table(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """Which cortex is the network nearest to? One row per cortex, the nearest first.

    Parameters
    ----------
    results : mapping of str to xarray.Dataset
        From `compare_cortices`.

    Returns
    -------
    pandas.DataFrame
        ``cortex``, ``score`` with its interval for the species (``ci_low``, ``ci_high``) and for these cells, the three
        mean distances, ``p`` with its hypothesis and smallest value, n, kinds and notes; ``nearest``; and ``apart``:
        whether the score's interval (for the species, or else for these cells) overlaps the nearest one's; empty where
        either has none.
    """
    rows = []
    for name, result in results.items():
        at = [str(quantity) for quantity in result["quantity"].values].index("similarity_score")
        row = {column: result[column].values[at] for column in _SCORE_COLUMNS}
        detail = json.loads(str(result.attrs["score"]))
        row |= {f"distance_{part}": value for part, value in detail.get("mean", {}).items()}
        rows.append({"cortex": name, "stimulus": result.attrs.get("stimulus_a", ""), **row})
    table = pd.DataFrame(rows).rename(columns={"effect": "score"})
    table = table.sort_values("score", ascending=False, kind="stable", na_position="last").reset_index(drop=True)
    table.insert(1, "nearest", np.isfinite(table["score"]) & (table.index == 0))
    low, high = (table[f"ci_{end}"].fillna(table[f"cells_{end}"]) for end in ("low", "high"))
    known = np.isfinite(low) & np.isfinite(low.iloc[0])
    words = np.where((high >= low.iloc[0]) & (low <= high.iloc[0]), "overlaps the nearest", "apart")
    table.insert(2, "apart", np.where((table.index == 0) | ~known, "", words))
    return table


def scale_table(
    network: xr.Dataset, cortices: Mapping[str, xr.Dataset], null: xr.Dataset, *, seed: int = 0
) -> pd.DataFrame:
    """Is the nearest cortex nearest on every cortex's scales? The score of each (rows) on the scales of each (columns).

    Examples
    --------
    >>> from rfcompare.descriptors import describe_maps
    >>> from rfcompare.simulation import simulate_null, simulate_population
    >>> cells, other, kernels = (simulate_population(n=40, size=9, seed=seed)[0] for seed in range(3))
    >>> null = describe_maps(simulate_null(kernels, "pixel_shuffled", n_populations=5))
    >>> table = scale_table(describe_maps(kernels), {"V1": describe_maps(cells), "other": describe_maps(other)}, null)
    >>> table.shape
    (2, 2)
    """
    spaces = common_spaces(network, cortices, {"null": null})
    return pd.DataFrame(
        {
            scales: {
                name: score(cortex, network, null, space=space, seed=seed).value for name, cortex in cortices.items()
            }
            for scales, space in spaces.items()
        }
    )


def difference_table(result: xr.Dataset) -> pd.DataFrame:
    """Where does the network differ? The descriptors, the most different first.

    Parameters
    ----------
    result : xarray.Dataset
        From `rfcompare.compare`.

    Returns
    -------
    pandas.DataFrame
        The descriptor rows by the Kolmogorov–Smirnov distance (Kuiper's for circular ones), with ``beyond_ceiling``:
        whether the difference is larger than that of another animal, or of random halves of the cells.
    """
    table = result.to_dataframe().reset_index()
    table = table[(table["family"] == "descriptor") & np.isfinite(table["effect"])].copy()
    table["apart"] = table["ks"].fillna(table["kuiper"])
    table["beyond_ceiling"] = table["effect"].abs() > table["ceiling"]
    columns = ["quantity", "title", "units", "estimate_a", "estimate_b", "effect", "ci_low", "ci_high", "cells_low"]
    columns += ["cells_high", "null", "ceiling", "beyond_ceiling", "apart", "cliffs_delta", "wasserstein", "p"]
    columns += ["p_adjusted", "p_smallest", "p_cells", "hypothesis", "n_units_a", "n_units_b", "note"]
    return table.sort_values("apart", ascending=False, kind="stable")[columns].reset_index(drop=True)


def multiverse(
    cortex: xr.Dataset,
    network: xr.Dataset,
    nulls: Mapping[str, xr.Dataset],
    *,
    spaces: Sequence[str] = tuple(SPACES),
    selections: Mapping[str, float | None] = SELECTIONS,
    seed: int = 0,
) -> pd.DataFrame:
    """The similarity score under every combination of null, space, selection and set of descriptors.

    Parameters
    ----------
    cortex, network : xarray.Dataset
        Descriptors of both sides, with ``r2`` where selections are asked for.
    nulls : mapping of str to xarray.Dataset
        Null ensembles; the Gabor form takes those that were fitted (they have nx), and is left out without any.
    spaces : sequence of {"model_free", "gabor_form"}
        Joint spaces.
    selections : mapping of str to float or None
        Smallest r² of cells (a) and of kernels (b), by the words shown; nulls are never selected, nor is a side whose
        r² is fixed by construction.
    seed : int
        Of the intervals.

    Returns
    -------
    pandas.DataFrame
        A row per analysis: ``score``, ``ci_low``, ``ci_high`` (for the species, or else for these cells: ``interval``
        says which), the choices ``null``, ``space``, ``selection``, ``descriptors``, n of both sides, ``verdict``, and
        ``headline`` for the analysis that was fixed beforehand. An analysis that cannot be made, as in the Gabor form
        with a network of blobs, has no score and says why in ``verdict``.

    Examples
    --------
    >>> from rfcompare.descriptors import describe_maps
    >>> from rfcompare.simulation import simulate_null, simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=9, seed=seed)[0] for seed in range(2))
    >>> null = describe_maps(simulate_null(kernels, "pixel_shuffled", n_populations=5))
    >>> table = multiverse(
    ...     describe_maps(cells), describe_maps(kernels), {"pixel_shuffled": null}, selections={"all units": None}
    ... )
    >>> len(table), sorted(set(table.space))
    (7, ['model-free'])
    """
    a, b = checked(cortex, "the cortex"), checked(network, "the network")
    few = {
        name: _first_populations(checked(null, f"null {name!r}"), MULTIVERSE_POPULATIONS)
        for name, null in nulls.items()
    }
    rows = []
    for selection, r2 in selections.items():
        kept_a, kept_b = _selected(a, r2), _selected(b, r2)
        if kept_a is None and kept_b is None:
            continue
        if kept_a is None or kept_b is None:  # r² of a rendered population is fixed by construction
            selection = f"{selection} ({'b' if kept_a is None else 'a'} only)"
        kept_a, kept_b = (side if kept is None else kept for side, kept in ((a, kept_a), (b, kept_b)))
        for name in spaces:
            usable = {key: null for key, null in few.items() if all(axis in null for axis in _needed(name))}
            if not usable or not all(axis in side for side in (a, b) for axis in _needed(name)):
                continue
            shown = name.replace("model_free", "model-free").replace("_", " ")
            try:
                sets = list(_descriptor_sets(name, a, b, usable))
            except InputError as error:  # of blobs, say, no carrier can be identified
                nothing = {"space": shown, "selection": selection, "descriptors": "all", **_not_made(error)}
                rows += [{"null": null_name, **nothing} for null_name in usable]
                continue
            for label, axes in sets:
                # Scales are those of all the cortex's cells, whichever of them are selected.
                space = make_space(a, b, *usable.values(), name=name, quantities=axes)
                for null_name, null in usable.items():
                    row = {"null": null_name, "space": shown, "selection": selection, "descriptors": label}
                    rows.append(row | _analysis(kept_a, kept_b, null, space, seed))
    if not rows:
        raise InputError("expected at least one analysis, got none; give nulls described in one of the spaces")
    table = pd.DataFrame(rows)
    first = next(name for name in (*HEADLINE_NULLS, *nulls) if name in nulls)
    table["headline"] = (
        (table["null"] == first)
        & (table["space"] == "model-free")
        & (table["selection"] == next(iter(selections)))
        & (table["descriptors"] == "all")
    )
    table.attrs["heading"] = DEMONSTRATION if "simulated" in (a.attrs["kind"], b.attrs["kind"]) else ""
    return table


def _needed(space: str) -> tuple[str, ...]:
    if space not in SPACES:
        raise InputError(f"expected a space among {', '.join(SPACES)}, got {space!r}")
    return ("nx", "ny") if space == "gabor_form" else ("centroid_cycles",)


def _descriptor_sets(
    name: str, a: xr.Dataset, b: xr.Dataset, nulls: Mapping[str, xr.Dataset]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """All axes, and all but one in turn."""
    axes = make_space(a, b, *nulls.values(), name=name, quantities=_phase_known(name, a, b, nulls)).quantities
    yield "all", axes
    if len(axes) > 2:
        for axis in axes:
            yield f"without {axis.replace('_', ' ')}", tuple(other for other in axes if other != axis)


def _phase_known(name: str, a: xr.Dataset, b: xr.Dataset, nulls: Mapping[str, xr.Dataset]) -> tuple[str, ...]:
    if name != "gabor_form":
        return SPACES[name]
    for phase in ("polarity_phase", "folded_phase"):
        if all(phase in side and np.isfinite(side[phase].values).sum() > 1 for side in (a, b, *nulls.values())):
            return ("nx", "ny", phase)
    return ("nx", "ny")


def _analysis(a: xr.Dataset, b: xr.Dataset, null: xr.Dataset, space: Space, seed: int) -> dict[str, object]:
    try:
        result = score(a, b, null, space=space, seed=seed)
    except InputError as error:
        return _not_made(error, *(int(space.points(side)[1].sum()) for side in (a, b)))
    species = np.isfinite(result.interval.low)
    interval = result.interval if species else result.cells_interval
    return {
        "score": result.value,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "interval": "over animals" if species else "these cells only",
        "n_units_a": len(population(a, space, name="the cortex").points),
        "n_units_b": len(population(b, space, name="the network").points),
        "ceiling_kind": result.ceiling,
        "verdict": result.verdict,
    }


def _not_made(error: InputError, n_a: int = 0, n_b: int = 0) -> dict[str, object]:
    """An analysis of too few units stays in the table, without a score, and says why."""
    numbers: dict[str, object] = dict.fromkeys(("score", "ci_low", "ci_high"), np.nan)
    words = {"interval": "none", "ceiling_kind": "", "verdict": f"not made: {error}"}
    return {**numbers, "n_units_a": n_a, "n_units_b": n_b, **words}


def _selected(data: xr.Dataset, r2: float | None) -> xr.Dataset | None:
    if r2 is None:
        return data
    if "r2" not in data:
        return None
    kept: NDArray[np.bool_] = np.asarray(data["r2"].values, dtype=np.float64) > r2
    return data.isel(unit=kept) if kept.sum() > 3 else None


def _first_populations(null: xr.Dataset, count: int) -> xr.Dataset:
    names = subjects(null)
    if names is None or np.unique(names).size <= count:
        return null
    return null.isel(unit=np.isin(names, np.unique(names)[:count]))
