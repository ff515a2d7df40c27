"""Networks beside cortices: the likeness of every pair, and which cortex a network is nearest to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.comparison import likeness
from rfcompare.comparison.likeness import tables
from rfcompare.errors import InputError
from rfcompare.pipeline.population import Population, prepare
from rfcompare.pipeline.study import BETWEEN, claim_table, named, own_truth, published_table
from rfcompare.quantities import kind_words
from rfcompare.sources.population import by_side


@dataclass(frozen=True)
class Answers:
    """Networks beside cortices.

    Attributes
    ----------
    networks, cortices : mapping of str to Population
        By the name to be shown.
    results : mapping of str to xarray.Dataset
        ``"NETWORK – CORTEX"`` to what `rfcompare.likeness` gave.
    seed : int
        Of everything drawn.
    """

    networks: Mapping[str, Population]
    cortices: Mapping[str, Population]
    results: Mapping[str, xr.Dataset]
    seed: int

    @property
    def nearest(self) -> pd.DataFrame:
        """A row per network and cortex, the one it is likest to first."""
        rows = []
        for pair, result in self.results.items():
            network, cortex = pair.split(BETWEEN, 1)
            row = result.sel(quantity="likeness")
            numbers = {name: float(row[name]) for name in ("effect", "ci_low", "ci_high", "p", "p_noise")}
            said = {"interval": row.interval.item(), "verdict": result.attrs["verdict"]}
            kinds = {"kind_a": result.attrs["kind_a"], "kind_b": result.attrs["kind_b"]}
            rows.append({"network": network, "cortex": cortex, **numbers, **said, **kinds})
        table = pd.DataFrame(rows).rename(columns={"effect": "likeness"})
        return table.sort_values(["network", "likeness"], ascending=[True, False], kind="stable", ignore_index=True)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name, the rows of all comparisons first."""
        joined: dict[str, list[pd.DataFrame]] = {}
        for pair, result in self.results.items():
            for name, table in tables(result).items():
                kinds = {"kind_a": result.attrs["kind_a"], "kind_b": result.attrs["kind_b"]}
                joined.setdefault(name, []).append(named(table.assign(**kinds), *pair.split(BETWEEN, 1)))
        found = {name: pd.concat(parts, ignore_index=True) for name, parts in joined.items()}
        published = [named(published_table(side, seed=self.seed), name) for name, side in self.networks.items()]
        claims = [named(claim_table(side), name) for name, side in self.networks.items()]
        found |= {"published": pd.concat(published, ignore_index=True), "claims": pd.concat(claims, ignore_index=True)}
        return {"results": found.pop("results"), "nearest": self.nearest, **found}

    def sentences(self) -> list[str]:
        """Per network, which cortex it is likest to."""
        said = []
        for network, table in self.nearest.groupby("network", sort=False):
            known = table[np.isfinite(table["likeness"])]
            if known.empty:
                said.append(f"{network}: no likeness is defined")
                continue
            each = [f"{row.cortex} ({kind_words(row.kind_a)}) {row.likeness:.2f}" for row in known.itertuples()]
            said.append(f"{network} ({kind_words(known.iloc[0]['kind_b'])}), likeness: {', '.join(each)}")
        stimuli = {str(side.bank.attrs.get("stimulus", "")) for side in self.cortices.values()}
        kinds = {side.kind for side in self.cortices.values()}
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
    progress: bool = False,
    **reading: Any,
) -> Answers:
    """Compare every network with every cortex.

    Parameters
    ----------
    fields, kernels : sequence of str
        Populations as for `rfcompare.pipeline.open_population`, each optionally with the name to be shown before it, as
        in ``"macaque V1=v1.nc"``.
    seed, progress, **reading
        As for `rfcompare.pipeline.Study.make`.

    Returns
    -------
    Answers
    """
    of_fields, of_kernels = by_side(reading)
    cortices = _prepared(fields, seed=seed, progress=progress, **of_fields)
    networks = _prepared(kernels, seed=seed, progress=progress, **of_kernels)
    results = {
        f"{name}{BETWEEN}{key}": likeness(cortex, network, seed=seed, truth=own_truth(cortex), progress=progress)
        for name, network in networks.items()
        for key, cortex in cortices.items()
    }
    return Answers(networks, cortices, results, seed)


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
