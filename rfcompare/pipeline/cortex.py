"""ON/OFF columns of a population, and its columns and its single cells beside a network's kernels."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.bank import to_signed, write_text
from rfcompare.columns import Verdicts, analyze_columns, separate_columns
from rfcompare.comparison import likeness, make_space
from rfcompare.comparison.energy import energy_distance
from rfcompare.comparison.inference import jackknife_interval
from rfcompare.comparison.likeness import tables
from rfcompare.comparison.populations import SPACES
from rfcompare.descriptors import describe
from rfcompare.figures.drawing import population_name
from rfcompare.fitting import fit
from rfcompare.matching import Search, apply_transform, match
from rfcompare.pipeline.tables import output_folder, write_table
from rfcompare.quantities import SCHEMAS
from rfcompare.simulation import simulate_treeshrew
from rfcompare.sources.population import by_side, open_population
from rfcompare.sources.reference import entries, path_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GRID: Mapping[str, tuple[float, ...]] = {
    "segregation": (0.0, 0.5, 1.0),
    "on_scatter": (0.15, 0.45, 0.9),
    "snr": (9.0, 18.0),
}
"""Assumed numbers of the simulation over which its answers are shown; the middle of the range is no more likely."""

_GRID_PERMUTATIONS = 199

_GRID_NAME = "treeshrew-columns-grid"
"""The shipped table of `assumption_grid`."""

_COLUMN_SEARCH = Search(rotation_step=5.0, scale_step=0.25)
"""Twice the steps of `rfcompare.match`, for kernels and null alike, since a column is drawn and not counted."""


@dataclass(frozen=True)
class ColumnStudy:
    """The columns of a population, and what stands beside them.

    Attributes
    ----------
    bank, tree
        The population, and what `rfcompare.analyze_columns` gave.
    beside : xarray.Dataset or None
        Per separate column its best kernel, laid on it: ``rf``, ``kernel`` (unit, y, x), ``similarity``, ``chance``,
        ``kernel_name``; None where there are no columns or no kernels.
    results : mapping of str to xarray.Dataset
        Comparisons of "cells" and "columns" with the kernels.
    nearer : pandas.DataFrame or None
        Joint distance of both to the kernels in each space, and their difference over animals.
    """

    bank: xr.Dataset
    tree: xr.DataTree
    beside: xr.Dataset | None
    results: Mapping[str, xr.Dataset]
    nearer: pd.DataFrame | None

    def sentences(self) -> list[str]:
        """The conclusion, then what is missing, in sentences."""
        said = list(json.loads(str(self.tree.attrs["conclusion"])))
        if self.nearer is not None:
            said += [_nearer_sentence(row) for _, row in self.nearer.iterrows()]
        if self.beside is not None:
            median, chance = (float(np.nanmedian(self.beside[name])) for name in ("similarity", "chance"))
            said.append(
                f"The best kernel of a column correlates with its average at {median:.2f} (median), that of noise with "
                f"the kernels' spectra at {chance:.2f}."
            )
        if self._of_the_grid() and _GRID_NAME in entries():
            said.append(_grid_sentence(_assumptions()))
        return said + [f"Missing: {text}." for text in json.loads(str(self.tree.attrs["missing"]))]

    def _of_the_grid(self) -> bool:
        """Whether the shipped grid speaks of this population: of other simulations it says nothing."""
        about = self.bank.attrs
        return about["kind"] == "simulated" and "simulate_treeshrew" in str(about.get("history", ""))

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table by name."""
        kind = self.bank.attrs["kind"]
        out: dict[str, pd.DataFrame] = {}
        for name in self.tree.children:
            frame = _table(name, self.tree[name].to_dataset())
            if frame is not None:
                out[f"columns_{name}"] = frame.assign(kind=kind)
        if "orientation" in self.tree.children:
            out["columns_cortical_maps"] = _map_tests(self.tree).assign(kind=kind)
        for name, result in self.results.items():
            out[f"columns_compare_{name}"] = tables(result)["results"]
        if self._of_the_grid() and _GRID_NAME in entries():
            out["columns_assumptions"] = _assumptions()
        if self.nearer is not None:
            out["columns_nearer"] = self.nearer.assign(kind=kind)
        if self.beside is not None:
            beside = self.beside[["kernel_name", "similarity", "chance"]].drop_vars(["x", "y"], errors="ignore")
            out["columns_best_kernels"] = beside.to_dataframe().reset_index()
        return out

    def figure(self, **options: Any) -> Figure:
        """The figure of the columns."""
        from rfcompare import figures

        drawn: Figure = figures.cortical_columns(self.bank, self.tree, self.beside, **options)
        return drawn


def study_columns(
    population: str | os.PathLike[str] | xr.Dataset,
    *,
    kernels: str | os.PathLike[str] | xr.Dataset | None = "reference:alexnet",
    radius: float = 125.0,
    compared: bool = False,
    seed: int = 0,
    progress: bool = False,
    **reading: Any,
) -> ColumnStudy:
    """Analyze a population's columns and hold columns and single cells against a network's kernels.

    Columns, of `radius` µm in cortex, are matched with the kernels (None: with nothing), and where `compared` both
    columns and single cells are compared with them as populations. How to read the two says
    `rfcompare.pipeline.population.by_side`.
    """
    from tqdm import tqdm

    of_fields, of_kernels = by_side(reading)
    bank = open_population(population, **of_fields)
    if "r2" in bank and "model" in bank.attrs:
        bank = bank[["rf"]].assign_attrs(schema=SCHEMAS["bank"].name)
    with tqdm(total=3, desc="columns", disable=None if progress else True, leave=False) as bar:
        tree = analyze_columns(bank, radius=radius, seed=seed)
        bar.update()
        if kernels is None or "columns" not in tree.children:
            return ColumnStudy(bank, tree, None, {}, None)
        network = to_signed(open_population(kernels, **of_kernels))
        columns = separate_columns(tree["columns"].to_dataset())
        if not compared:
            return ColumnStudy(bank, tree, _beside(network, columns, seed=seed), {}, None)
        sides = {"cells": to_signed(bank), "columns": columns}
        conv1 = describe(fit(network, "gabor", seed=seed, progress=False))
        described = {name: describe(fit(side, "gabor", seed=seed, progress=False)) for name, side in sides.items()}
        results = {name: likeness(side, network, references=False, seed=seed) for name, side in sides.items()}
        bar.update()
        nearer = _which_is_nearer(described["cells"], described["columns"], conv1)
        beside = _beside(network, columns, seed=seed)
        bar.update()
    return ColumnStudy(bank, tree, beside, results, nearer)


def _which_is_nearer(cells: xr.Dataset, columns: xr.Dataset, kernels: xr.Dataset) -> pd.DataFrame:
    """Joint distances of single cells and of column averages to kernels, and their difference over animals."""
    rows = []
    for name in SPACES:
        if name == "gabor_form" and not all("nx" in one for one in (cells, columns, kernels)):
            continue
        space = make_space(cells, columns, kernels, name=name)
        (own, own_animal), (average, average_animal), (network, _) = (
            (values, one.subject.values.astype(str)[kept])
            for one in (cells, columns, kernels)
            for values, kept in [space.points(one)]
        )
        if min(len(own), len(average), len(network)) < 2:
            continue
        own_distance, average_distance = (energy_distance(each, network) for each in (own, average))
        difference = average_distance - own_distance
        animals = sorted(set(own_animal.tolist()) & set(average_animal.tolist()))
        without = [(own[own_animal != animal], average[average_animal != animal]) for animal in animals]
        left_out = [
            energy_distance(averages, network) - energy_distance(singles, network)
            for singles, averages in without
            if min(len(singles), len(averages)) >= 2
        ]
        interval = jackknife_interval(difference, left_out or [difference])
        rows.append(
            {
                "space": name,
                "cells": own_distance,
                "columns": average_distance,
                "difference": difference,
                "ci_low": interval.low,
                "ci_high": interval.high,
                "n_cells": len(own),
                "n_columns": len(average),
                "n_kernels": len(network),
                "n_animals": len(animals),
                "axes": ", ".join(space.quantities),
                "kind_kernels": str(kernels.attrs["kind"]),
            }
        )
    return pd.DataFrame(rows)


def _nearer_sentence(row: pd.Series) -> str:
    low, high = float(row["ci_low"]), float(row["ci_high"])
    verdict = (
        "columns' averages are nearer to the kernels than single cells"
        if high < 0
        else "single cells are nearer to the kernels than columns' averages"
        if low > 0
        else "neither is told to be nearer to the kernels"
    )
    interval = f"{low:+.2f} to {high:+.2f}" if np.isfinite([low, high]).all() else "no interval below four animals"
    space = {"model_free": "the model-free space", "gabor_form": "the space of nx, ny and phase"}[str(row["space"])]
    return (
        f"In {space} {verdict} (squared energy distance {row['columns']:.2f} against {row['cells']:.2f}; difference "
        f"over {row['n_animals']} animals {interval}; averages carry less noise than cells, and that alone moves them)."
    )


def _beside(network: xr.Dataset, columns: xr.Dataset, *, seed: int) -> xr.Dataset:
    found = match(network, columns, search=_COLUMN_SEARCH, seed=seed, progress=False)
    laid, names = [], []
    for unit in columns.unit.values:
        best = str(found.best_unit.sel(unit_b=unit).item())
        names.append(best)
        try:
            laid.append(apply_transform(network, found, best, str(unit), to=columns).values)
        except (KeyError, ValueError):
            laid.append(np.full((columns.sizes["y"], columns.sizes["x"]), np.nan))
    beside = columns[["rf"]].isel(channel=0, drop=True)
    beside["kernel"] = (("unit", "y", "x"), np.stack(laid))
    beside["similarity"] = ("unit", found.best.values)
    beside["chance"] = ("unit", found.chance.values)
    beside["ceiling"] = ("unit", found.ceiling.values)
    beside["kernel_name"] = ("unit", np.array(names, dtype=object))
    return beside.assign_attrs(kernels=population_name(network), kind_kernels=str(network.attrs["kind"]))


def assumption_grid(*, seed: int = 0, progress: bool = False) -> pd.DataFrame:
    """What the analysis of simulated columns comes to over a grid of the numbers that the simulation assumes.

    Parameters
    ----------
    seed : int
        Of the simulations and the analyses.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    pandas.DataFrame
        A row per setting of `_GRID`: the scatter ratio with its interval, what `rfcompare.columns.Verdicts` holds, and
        the p of the flanks.
    """
    from tqdm import tqdm

    settings = [dict(zip(_GRID, values, strict=True)) for values in itertools.product(*_GRID.values())]
    rows = []
    for setting in tqdm(settings, desc="settings", unit="setting", disable=None if progress else True, leave=False):
        bank, _ = simulate_treeshrew(seed=seed, **setting)
        tree = analyze_columns(bank, n_permutations=_GRID_PERMUTATIONS, n_seeds=3, seed=seed)
        columns, growth = (tree[name].to_dataset() for name in ("columns", "growth"))
        ratio = tree["scatter_ratio"].to_dataset().isel(pair=0)
        rows.append(
            {
                **setting,
                "scatter_ratio": float(ratio.scatter_ratio),
                "ci_low": float(ratio.ci_low),
                "ci_high": float(ratio.ci_high),
                **asdict(Verdicts.of(columns, growth)),
                "flank_p": float(columns.attrs["flank_p"]),
                "median_r2": float(np.nanmedian(columns.r2)),
            }
        )
    return pd.DataFrame(rows)


def _assumptions() -> pd.DataFrame:
    """The shipped table of `assumption_grid`."""
    return pd.read_csv(path_of(_GRID_NAME), comment="#")


def _grid_sentence(grid: pd.DataFrame) -> str:
    wider, told = int((grid["ci_low"] > 1).sum()), int((grid["beaten"] == 3).sum())
    flanked = int((grid["flanked"] & grid["aligned"]).sum())
    spread = ", ".join(f"{name} {', '.join(f'{value:g}' for value in values)}" for name, values in _GRID.items())
    return (
        f"Over {len(grid)} settings of what the simulation assumes (sparse noise; {spread}), ON scatters more widely "
        f"than OFF in {wider}, columns have ON flanks across the preferred orientation in {flanked}, and being "
        f"Gabor-like tells a column from all three chance averages in {told}."
    )


def _table(name: str, part: xr.Dataset) -> pd.DataFrame | None:
    """One part of the tree as a table; None for the cortical maps, whose tests have a table of their own."""
    if name == "columns":
        per_unit = [key for key in part.data_vars if part[key].dims == ("unit",)]
        return part[per_unit].drop_vars(["cycle", "candidate"], errors="ignore").to_dataframe().reset_index()
    if name == "visuotopy":
        return part.drop_vars("matrix").to_dataframe().reset_index()
    if name == "as_published":
        frame = part.to_dataframe().reset_index()
        frame["kruskal_wallis_h"] = part.attrs["kruskal_wallis_h"]
        frame["kruskal_wallis_p"] = part.attrs["kruskal_wallis_p"]
        return frame.assign(note=part.attrs["note"])
    if name == "orientation":
        return part[[key for key in part.data_vars if part[key].dims == ("pinwheel",)]].to_dataframe().reset_index()
    if name == "phase":
        return part[["phase"]].drop_vars(["field", "animal"], errors="ignore").to_dataframe().reset_index()
    return part.to_dataframe().reset_index()


def _map_tests(tree: xr.DataTree) -> pd.DataFrame:
    rows = [
        ("orientation map", "orientation", "agreement agreement_low agreement_high", ""),
        ("fields' own orientation", "orientation", "field_effect field_ci_low field_ci_high", "field_"),
        ("absolute phase", "phase", "effect effect_low effect_high", ""),
        ("flanks across the orientation", "columns", "flank_effect flank_ci_low flank_ci_high", "flank_"),
    ]
    table = []
    for test, part, names, prefix in rows:
        attrs = tree[part].attrs
        numbers = zip(
            ("effect", "ci_low", "ci_high", "p", "p_smallest"),
            (*names.split(), f"{prefix}p", f"{prefix}p_smallest"),
            strict=True,
        )
        said = {key: attrs.get(name, np.nan) for key, name in numbers}
        table.append({"test": test, **said, "hypothesis": attrs.get(f"{prefix}hypothesis", "")})
    return pd.DataFrame(table)


def write_columns(
    population: str | os.PathLike[str] | xr.Dataset, output: str | os.PathLike[str], **options: Any
) -> tuple[ColumnStudy, list[Path]]:
    """Do `study_columns` and write ``figures/``, ``tables/`` and ``columns.txt`` (the sentences).

    Parameters
    ----------
    population : str, path or Dataset
        See `rfcompare.pipeline.open_population`.
    output : path
        Folder, made where absent.
    **options
        Of `study_columns`.

    Returns
    -------
    study : ColumnStudy
    written : list of Path
    """
    from rfcompare import figures

    folder = output_folder(output)
    study = study_columns(population, compared=True, **options)
    written = list(figures.save(study.figure(), "columns", output_folder(folder / "figures")))
    tables = output_folder(folder / "tables")
    for name, table in study.tables().items():
        write_table(table, tables / f"{name}.csv")
        written.append(tables / f"{name}.csv")
    text = folder / "columns.txt"
    write_text(text, "\n".join(study.sentences()) + "\n")
    return study, [*written, text]
