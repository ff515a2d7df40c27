"""Two populations and what their comparison gave: the results, the tables, the figures, the answer."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare import __version__
from rfcompare.bank import dead_units, fingerprint, make_rng, r2_is_fixed, select, write_text
from rfcompare.comparison import compare, compare_published, difference_table, multiverse, ringach_claims
from rfcompare.descriptors import describe, describe_maps
from rfcompare.fitting import fit
from rfcompare.matching import like_with_like, sweep_scale
from rfcompare.pipeline.population import STAND_INS, Population, prepare
from rfcompare.pipeline.tables import descriptor_table, fit_table, output_folder, result_table, write_table
from rfcompare.quantities import kinds
from rfcompare.simulation.nulls import NULLS, simulate_null
from rfcompare.sources.population import by_side
from rfcompare.sources.reference import path_of

BETWEEN = " – "
"""What stands between a network's and a cortex's name."""

EMBEDDED = ("reference:alexnet", "reference:treeshrew-simulated")
"""The populations that a study takes where none is named: for them the shipped tables of real ones stand beside."""

NOT_TESTED = "not yet tested against chance"

N_UNTRAINED = 999
"""Untrained networks behind the headline p: the smallest it can be is 1/1000."""

N_NULL = 20
"""Populations of every other null: the score's zero is their mean, and its jackknife needs several."""

FITTED_NULL = "spectrum_noise"
"""The null whose Gabor parameters are fitted as well: the one that is the score's zero."""

N_FITTED = 5
"""Populations of it that are fitted."""

PACKAGES = ("numpy", "scipy", "xarray", "pandas", "matplotlib", "seaborn", "h5py", "numba", "torch", "torchvision")


@dataclass
class Study:
    """A comparison of a cortex with a network.

    Attributes
    ----------
    cortex, network : Population
        The two sides; a network is any population of kernels.
    results : xarray.Dataset
        What `rfcompare.compare` gave.
    nulls : mapping of str to xarray.Dataset
        Descriptors of the null ensembles.
    multiverse : pandas.DataFrame
        The score over null, space, selection and descriptors.
    options : dict
        What was asked for, for the manifest.
    seconds : dict
        How long each step took.
    """

    cortex: Population
    network: Population
    results: xr.Dataset
    nulls: Mapping[str, xr.Dataset]
    multiverse: pd.DataFrame
    options: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        fields: str | xr.Dataset,
        kernels: str | xr.Dataset,
        *,
        seed: int = 0,
        min_r2: float | None = None,
        full: bool = False,
        n_untrained: int = N_UNTRAINED,
        compared: bool = True,
        cache: bool = True,
        progress: bool = False,
        **reading: Any,
    ) -> Study:
        """Prepare both sides, draw the nulls and compare.

        Parameters
        ----------
        fields, kernels : str or Dataset
            Populations, named as for `rfcompare.pipeline.open_population`.
        seed : int
            Of fits, nulls, permutations and resamples.
        min_r2 : float, optional
            Selection of both sides for the rows per descriptor; the similarity score is never selected.
        full : bool
            Recompute what ships precomputed.
        n_untrained : int
            Untrained networks behind the headline p, which cannot be smaller than 1/(n + 1).
        compared : bool
            Whether to compare at all; some figures show the two sides alone.
        cache, progress
            See `rfcompare.pipeline.prepare`.
        **reading
            How to read the two sides; see `rfcompare.pipeline.population.by_side`.

        Returns
        -------
        Study
        """
        of_fields, of_kernels = by_side(reading)
        steps = _Steps(progress)
        with steps("open and fit the fields"):
            cortex = prepare(fields, seed=seed, cache=cache, progress=progress, **of_fields)
        with steps("open and fit the kernels"):
            network = prepare(kernels, seed=seed, cache=cache, progress=progress, **of_kernels)
        options: dict[str, Any] = {"seed": seed, "min_r2": min_r2, "full": full, "n_untrained": n_untrained}
        for side, how in (("fields", of_fields), ("kernels", of_kernels)):
            options |= {
                f"{side}_{name}": str(value) if isinstance(value, Path) else value for name, value in how.items()
            }
        if not compared:
            return cls(cortex, network, xr.Dataset(), {}, pd.DataFrame(), options, steps.seconds)
        with steps("draw the nulls"):
            nulls = null_descriptors(network, seed=seed, n_untrained=n_untrained, progress=progress)
        with steps("compare"):
            results = compare(cortex.descriptors, network.descriptors, nulls=nulls, seed=seed)
            if min_r2 is not None:
                results = _with_selected_rows(results, cortex, network, min_r2=min_r2, seed=seed)
        with steps("vary the choices"):
            universe = multiverse(cortex.descriptors, network.descriptors, nulls, seed=seed)
        return cls(cortex, network, results, nulls, universe, options, steps.seconds)

    @property
    def embedded(self) -> bool:
        """Whether both sides are the shipped defaults."""
        return {self.network.name, self.cortex.name} == set(EMBEDDED)

    @property
    def simulated(self) -> bool:
        """Whether either side was simulated, so that every answer is only a demonstration."""
        return "simulated" in (self.cortex.kind, self.network.kind)

    def answer(self) -> str:
        """The answer in one sentence, with score, interval, null, ceiling and kind."""
        row = self.results.sel(quantity="similarity_score")
        sides = f"{self.network.label} ({self.network.kind}) to {self.cortex.label} ({self.cortex.kind})"
        opening = "Demonstration (depends on assumed parameters): " if self.simulated else ""
        first = "the" if opening else "The"
        value = float(row.effect)
        note = str(row.note.item())
        if not str(self.results.attrs.get("headline_null", "")):
            return f"{opening}{first} similarity of {sides} is {NOT_TESTED}."
        if not np.isfinite(value):
            return f"{opening}{first} similarity score of {sides} is undefined ({note})."
        low, high, animals = float(row.ci_low), float(row.ci_high), int(row.n_subjects_a)
        if np.isfinite(low):
            interval = f"95 % interval {low:.2f} to {high:.2f} over {animals} animals"
        else:
            cells = [float(row.cells_low), float(row.cells_high)]
            interval = (
                f"95 % interval {cells[0]:.2f} to {cells[1]:.2f} for these cells only; none for the species from "
                f"{animals} identified animal{'' if animals == 1 else 's'}"
                if np.isfinite(cells).all()
                else "no interval from so few cells"
            )
        null = str(row.null_name.item())
        scale = f"0 = {NULLS[null].title if null in NULLS else null}, 1 = {row.ceiling_kind.item()}"
        p = float(row.p)
        test = (
            f"; p = {p:.3g} under the hypothesis that the network is {row.hypothesis.item()}, smallest possible "
            f"{float(row.p_smallest):.3g}"
            if np.isfinite(p)
            else ""
        )
        return f"{opening}{first} similarity score of {sides}: {value:.2f} ({interval}; {scale}{test})."

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table of the report by file name; each says of what kind its populations are."""
        sides = {"kind_a": self.cortex.kind, "kind_b": self.network.kind}
        return {
            "results": result_table(self.results),
            "differences": difference_table(self.results).assign(**sides),
            "multiverse": self.multiverse.assign(**sides),
            "published": published_table(self.network, self.nulls, seed=int(self.options["seed"])),
            "published_claims": claim_table(self.network),
            "fields_fits": fit_table(self.cortex.fits),
            "kernels_fits": fit_table(self.network.fits),
            "fields_descriptors": descriptor_table(self.cortex.descriptors),
            "kernels_descriptors": descriptor_table(self.network.descriptors),
        }

    def page_tables(self) -> dict[str, pd.DataFrame]:
        """What the page shows below the results; beside the embedded populations also what real ones gave."""
        tables = self.tables()
        shown = {name: tables[name] for name in ("differences", "published", "published_claims", "multiverse")}
        if self.embedded:
            shown["real_networks_and_recordings"] = pd.read_csv(path_of("scores-nearest"), comment="#")
        return shown

    def likeness_tables(self) -> dict[str, pd.DataFrame]:
        """Like with like, and the score over what a kernel's pixel is assumed to be in degrees.

        Returns
        -------
        dict of str to pandas.DataFrame
            "like_with_like": nx of kernels and cells as they are and with each seen like the other. "scale_sweep": only
            where the fields are in degrees and the kernels in pixels; the assumed sizes lie within an octave of the one
            that makes the median field radii equal.
        """
        seed = int(self.options["seed"])
        alike = like_with_like(self.network.signed, self.cortex.signed, "nx", seed=seed, progress=False)
        tables = {"like_with_like": alike.rename_axis("condition").reset_index()}
        if self.cortex.bank.attrs["units"] == "degree" and self.network.bank.attrs["units"] == "px":
            radii = [float(side.descriptors.field_radius.median()) for side in (self.cortex, self.network)]
            assumed = radii[0] / radii[1] * np.logspace(-1, 1, 7, base=2)
            tables["scale_sweep"] = sweep_scale(self.network.signed, self.cortex.signed, assumed, seed=seed)
        return tables

    def write_tables(self, folder: Path) -> list[Path]:
        """Write every table as CSV into a folder that is made where it does not exist."""
        folder = output_folder(folder)
        written = []
        for name, table in {**self.tables(), **(self.likeness_tables() if self.options["full"] else {})}.items():
            written.append(folder / f"{name}.csv")
            write_table(table, written[-1])
        return written

    def write_manifest(self, path: Path) -> None:
        """Write the manifest as JSON."""
        write_text(path, json.dumps(self.manifest(), indent=1, ensure_ascii=False) + "\n")

    def warnings(self) -> list[str]:
        """What a reader must know before the numbers, beside what the page says of every kind of population.

        That is stand-ins, stimuli, selection, and units without a usable map.
        """
        found = [
            f"{side.label} is {STAND_INS[side.name]}"
            for side in (self.cortex, self.network)
            if side.name in STAND_INS and side.kind != "simulated"
        ]
        for side in (self.cortex, self.network):
            words = [str(word) for word in side.fits.status.values.reshape(side.n_units, -1)[:, 0]]
            bad = [word for word in words if word in ("dead", "flat", "not measured", "not finite")]
            if bad:
                found.append(
                    f"{len(bad)} of {len(words)} units of {side.label} could not be used: {', '.join(sorted(set(bad)))}"
                )
        if self.options.get("min_r2") is not None:
            found += [
                f"{side.label} is not selected by r², which is fixed by construction where maps are rendered"
                for side in (self.cortex, self.network)
                if r2_is_fixed(side.fits)
            ]
        found += [note for note in str(self.results.attrs.get("heading", "")).split("; ") if note]
        return [f"{note[0].upper()}{note[1:]}" for note in found]

    def manifest(self) -> dict[str, Any]:
        """Inputs with SHA-256, versions, seeds, options and timings."""
        import platform
        from importlib.metadata import version

        return {
            "rfcompare": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in PACKAGES},
            "inputs": {
                role: {
                    "name": side.name,
                    "kind": side.kind,
                    "kind_means": kinds[side.kind],
                    "sha256": side.sha256(),
                    "maps_sha256": fingerprint(side.signed),
                    "n_units": side.n_units,
                    "n_alive": side.n_units - int(dead_units(side.fits).sum()),
                    "subjects": side.subjects,
                    "engine": str(side.fits.attrs.get("engine", "")),
                    "stimulus": str(side.bank.attrs.get("stimulus", "")),
                    "citation": str(side.bank.attrs.get("citation", "")),
                    "license": str(side.bank.attrs.get("license", "")),
                    "history": str(side.bank.attrs.get("history", "")),
                }
                for role, side in (("fields", self.cortex), ("kernels", self.network))
            },
            "nulls": {name: _populations(null) for name, null in self.nulls.items()},
            "space": json.loads(str(self.results.attrs.get("space", "{}"))),
            "options": self.options,
            "seconds": {step: round(value, 3) for step, value in self.seconds.items()},
        }


def null_descriptors(
    network: Population, *, seed: int | np.random.Generator = 0, n_untrained: int = N_UNTRAINED, progress: bool = False
) -> dict[str, xr.Dataset]:
    """Descriptors of every null ensemble of a network's kernels.

    Parameters
    ----------
    network : Population
        Whose kernels the nulls are drawn for; its units that cannot be used are left out.
    seed : int or Generator
        Of the draws; each null has a stream of its own.
    n_untrained : int
        Populations of the untrained null; of the others there are `N_NULL`.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    dict of str to xarray.Dataset
        By the names of `rfcompare.simulation.nulls.NULLS`, ``subject`` naming the populations.
    """
    from tqdm import tqdm

    generator, _ = make_rng(seed)
    described: dict[str, xr.Dataset] = {}
    bar = tqdm(NULLS, desc="nulls", unit="null", disable=None if progress else True, leave=False)
    for name, stream in zip(bar, generator.spawn(len(NULLS)), strict=True):
        n = n_untrained if name == "untrained" else N_NULL
        drawn = simulate_null(network.signed, name, n_populations=n, seed=stream)
        described[name] = describe_maps(drawn)
        if name == FITTED_NULL:
            described[name] = _with_gabors(described[name], drawn)
    return described


def published_table(network: Population, nulls: Mapping[str, xr.Dataset], *, seed: int) -> pd.DataFrame:
    """A population beside every published distribution that ships, a row each."""
    return result_table(compare_published(network.descriptors, nulls=nulls, seed=seed))


def claim_table(network: Population) -> pd.DataFrame:
    """What Ringach 2002 found of ICA and sparse coding, asked of a population, a row a claim."""
    claims = pd.DataFrame(ringach_claims(network.descriptors)).T.infer_objects().rename_axis("claim").reset_index()
    return claims.assign(kind=network.kind)


def named(table: pd.DataFrame, network: str, cortex: str | None = None) -> pd.DataFrame:
    """A table with the names of its two sides in the first columns."""
    copy = table.copy()
    copy.insert(0, "network", network)
    if cortex is not None:
        copy.insert(1, "cortex", cortex)
    return copy


def _with_gabors(described: xr.Dataset, null: xr.Dataset) -> xr.Dataset:
    """Descriptors of a null with those of fitted Gabors for its first populations, NaN for the others.

    So nx and ny stand beside what chance gives, at the cost of a few fits and not of all.
    """
    subjects = null.subject.values.astype(str)
    first = np.flatnonzero(np.isin(subjects, np.unique(subjects)[:N_FITTED]))
    fitted = describe(fit(null.isel(unit=first), "gabor", seed=0, engine="batched", progress=False))
    names = [name for name in fitted.data_vars if name not in described and name != "less_than_one_cycle"]
    added = fitted[names].reset_coords(drop=True)
    return described.assign(added.reindex(unit=described.unit.values, fill_value={"censored": np.int8(0)}))


class _Steps:
    """Times the steps of a study and names them on standard error while they run."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str) -> _Steps:
        self.name = name
        return self

    def __enter__(self) -> None:
        self.start = time.perf_counter()
        if self.progress:
            import click

            click.echo(f"{self.name} …", err=True)

    def __exit__(self, *_: object) -> None:
        self.seconds[self.name] = time.perf_counter() - self.start


def _populations(null: xr.Dataset) -> int:
    return int(np.unique(null.subject.values.astype(str)).size)


def _with_selected_rows(
    results: xr.Dataset, cortex: Population, network: Population, *, min_r2: float, seed: int
) -> xr.Dataset:
    """The rows per descriptor of the selected units in place of all units'; joint rows and score stay unselected."""
    # What is rendered and stores no r² of the originals stays whole, as in the multiverse.
    a, b = (
        describe(side.fits if r2_is_fixed(side.fits) else select(side.fits, r2=min_r2)) for side in (cortex, network)
    )
    chosen = compare(a, b, seed=seed)
    own = [str(name) for name in results.quantity.values if results.family.sel(quantity=name).item() == "descriptor"]
    both = [name for name in own if name in set(chosen.quantity.values.tolist())]
    kept = results.drop_sel(quantity=both)
    columns = [name for name in results.data_vars if name in chosen]
    merged = xr.concat(
        [chosen[columns].sel(quantity=both), kept[columns]], "quantity", join="exact", combine_attrs="override"
    )
    selection = {
        role: json.loads(str(side.attrs.get("selection", "[]"))) for role, side in (("fields", a), ("kernels", b))
    }
    return merged.assign_attrs({**results.attrs, "selection": json.dumps(selection)})
