"""Networks beside cortices: which is nearer, where they differ, and how far the answer hangs on choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.comparison import (
    compare_cortices,
    difference_table,
    multiverse,
    question_table,
)
from rfcompare.errors import InputError
from rfcompare.pipeline.population import Population, prepare
from rfcompare.pipeline.study import BETWEEN, N_UNTRAINED, claim_table, named, null_descriptors, published_table
from rfcompare.pipeline.tables import result_table
from rfcompare.simulation.nulls import NULLS
from rfcompare.sources.population import by_side


@dataclass(frozen=True)
class Answers:
    """Networks beside cortices.

    Attributes
    ----------
    networks, cortices : mapping of str to Population
        By the name to be shown.
    results : mapping of str to xarray.Dataset
        ``"NETWORK – CORTEX"`` to what `rfcompare.compare` gave, each network's in one joint space for all cortices.
    nearest : pandas.DataFrame
        A row per network and cortex, the nearest cortex of each network first.
    differences : pandas.DataFrame
        A row per network, cortex and descriptor, the most different first.
    published : pandas.DataFrame
        A row per network and published distribution.
    claims : pandas.DataFrame
        What Ringach 2002 found of ICA and sparse coding, asked of every network.
    multiverse : pandas.DataFrame
        The first network's score with the first cortex over null, space, selection and descriptors.
    """

    networks: Mapping[str, Population]
    cortices: Mapping[str, Population]
    results: Mapping[str, xr.Dataset]
    nearest: pd.DataFrame
    differences: pd.DataFrame
    published: pd.DataFrame
    claims: pd.DataFrame
    multiverse: pd.DataFrame

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, the rows of all comparisons first."""
        rows = pd.concat(
            [named(result_table(result), *pair.split(BETWEEN, 1)) for pair, result in self.results.items()],
            ignore_index=True,
        )
        names = ("nearest", "differences", "published", "claims", "multiverse")
        return {"results": rows, **{name: getattr(self, name) for name in names}}

    def scores(self) -> dict[str, xr.Dataset]:
        """The similarity score of every pair alone, small enough to be kept beside a figure."""
        return {pair: result.sel(quantity=["similarity_score"]) for pair, result in self.results.items()}

    def sentences(self) -> list[str]:
        """Per network, which cortex it is nearest to and whether that can be told."""
        said = []
        for network, table in self.nearest.groupby("network", sort=False):
            first, others = table.iloc[0], table.iloc[1:]
            if not np.isfinite(first["score"]):
                said.append(f"{network}: no similarity score is defined")
                continue
            rest = ", ".join(f"{row.cortex} ({row.kind_a}) {row.score:.2f}, {row.apart}" for row in others.itertuples())
            said.append(
                f"{network} ({first['kind_b']}) is nearest to {first['cortex']} ({first['kind_a']}): score "
                f"{first['score']:.2f} (0 = {NULLS[first['null_name']].title}, 1 = {first['ceiling_kind']})"
                + (f"; then {rest}" if rest else "")
            )
        kinds = {str(kind) for kind in self.nearest["kind_a"]}
        stimuli = {str(stimulus) for stimulus in self.nearest["stimulus"]}
        if len(kinds) > 1 or len(stimuli) > 1:
            said.append(
                "The recordings differ in kind or stimulus, so what sets them apart is not the cells alone: stimulus "
                f"confounded ({', '.join(sorted(kinds))})."
            )
        return said


def answer(
    fields: Sequence[str],
    kernels: Sequence[str],
    *,
    seed: int = 0,
    n_untrained: int = N_UNTRAINED,
    progress: bool = False,
    **reading: Any,
) -> Answers:
    """Compare every network with every cortex.

    Parameters
    ----------
    fields, kernels : sequence of str
        Populations as for `rfcompare.pipeline.open_population`, each optionally with the name to be shown before it, as
        in ``"macaque V1=v1.nc"``. What one of them alone needs is
        addressed by that name, as in ``layout=("macaque V1=v1.toml",)``.
    seed, n_untrained, progress, **reading
        As for `rfcompare.pipeline.Study.make`.

    Returns
    -------
    Answers
    """
    of_fields, of_kernels = by_side(reading)
    cortices = _prepared(fields, seed=seed, progress=progress, **of_fields)
    networks = _prepared(kernels, seed=seed, progress=progress, **of_kernels)
    results: dict[str, xr.Dataset] = {}
    tables: dict[str, list[pd.DataFrame]] = {"nearest": [], "differences": [], "published": [], "claims": []}
    universe = pd.DataFrame()
    for name, network in networks.items():
        nulls = null_descriptors(network, seed=seed, n_untrained=n_untrained, progress=progress)
        found = compare_cortices(
            network.descriptors, {key: side.descriptors for key, side in cortices.items()}, nulls=nulls, seed=seed
        )
        results |= {f"{name}{BETWEEN}{key}": result for key, result in found.items()}
        nearest = question_table(found)
        nearest.insert(0, "network", name)
        tables["nearest"].append(nearest)
        for key, result in found.items():
            kinds = {"kind_a": cortices[key].kind, "kind_b": network.kind}
            tables["differences"].append(named(difference_table(result).assign(**kinds), name, key))
        tables["published"].append(named(published_table(network, nulls, seed=seed), name))
        tables["claims"].append(named(claim_table(network), name))
        if universe.empty:
            key, cortex = next(iter(cortices.items()))
            found_here = multiverse(cortex.descriptors, network.descriptors, nulls, seed=seed)
            universe = named(found_here.assign(kind_a=cortex.kind, kind_b=network.kind), name, key)
    joined = {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
    return Answers(networks, cortices, results, **joined, multiverse=universe)


def _prepared(names: Sequence[str], **options: Any) -> dict[str, Population]:
    sides: dict[str, Population] = {}
    for given in names:
        side = prepare(given, **options)
        label = side.label
        if label in sides:
            raise InputError(
                f"expected different names for the populations, got {label!r} twice; write NAME=POPULATION to name one"
            )
        sides[label] = side
    return sides
