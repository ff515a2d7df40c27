"""Two populations and what their comparison gave: the results, the tables, the figures, the answer."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare import __version__, comparison
from rfcompare.bank import dead_units, fingerprint, load, r2_is_fixed, save, select, write_text
from rfcompare.comparison import beside_sensitivity, compare_published, ringach_claims, sentences
from rfcompare.comparison.likeness import tables
from rfcompare.errors import InputError
from rfcompare.pipeline.kept import folder_of
from rfcompare.pipeline.population import STAND_INS, Population, prepare
from rfcompare.pipeline.recorded import record_like
from rfcompare.pipeline.tables import descriptor_table, fit_table, output_folder, result_table, write_table
from rfcompare.quantities import kinds
from rfcompare.simulation import simulate_treeshrew
from rfcompare.sources.population import AnyPopulation, by_side
from rfcompare.sources.reference import PREFIX, entry_of, path_of

BETWEEN = " – "
"""What stands between a network's and a cortex's name."""

EMBEDDED = tuple(STAND_INS)
"""The populations that a study takes where none is named: for them the shipped tables of real ones stand beside."""

SHIPPED = "demonstration-likeness"
"""The entry that holds their likeness."""

_PACKAGES = ("numpy", "scipy", "xarray", "pandas", "matplotlib", "seaborn", "h5py", "numba", "torch", "torchvision")


def likeness(
    fields: AnyPopulation,
    kernels: AnyPopulation,
    *,
    seed: int | np.random.Generator | None = 0,
    min_r2: float | None = None,
    references: bool = True,
    truth: xr.Dataset | None = None,
    progress: bool = False,
    **reading: Any,
) -> xr.Dataset:
    """Answer how alike a network's kernels are to the fields of a cortex, whatever form both come in.

    Parameters
    ----------
    fields, kernels : bank, fits, Population, torch.nn.Module, array, name or path
        The two sides; see `rfcompare.sources.population.open_population`. Maps in an array are (unit, y, x) or (unit,
        channel, y, x), row 0 on top.
    seed : int, Generator or None
        Of everything drawn.
    min_r2 : float, optional
        Selection of both sides by the share that a Gabor explains; default: none.
    references, truth
        See `rfcompare.comparison.likeness`; the shipped simulation brings its own truth.
    progress : bool
        Show progress on standard error.
    **reading
        How to read either side, as on the command line: ``fields_kind=``, ``kernels_kind=``, ``layout=``,
        ``deg_per_px=``, ``channel_order=``, ``dims=``, ``key=``, ``layer=``; see
        `rfcompare.sources.population.by_side`.

    Returns
    -------
    rfcompare.bank.Results
        An `xarray.Dataset` that shows its verdict and ten rows, with ``to_markdown()`` and ``to_latex()``; what it
        holds says `rfcompare.comparison.likeness`.

    Raises
    ------
    InputError
        When a side cannot be opened or compared, an array comes without its kind, or a keyword is not known.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> rng = np.random.default_rng(0)
    >>> x = np.arange(-5, 6.0)
    >>> maps = np.stack([np.exp(-(x**2 + x[:, None] ** 2) / s) * np.cos(f * x) for s, f in rng.uniform(1, 9, (40, 2))])
    >>> maps += 0.01 * rng.normal(size=maps.shape)
    >>> how = {"fields_kind": "simulated", "kernels_kind": "learned", "references": False}
    >>> result = rfc.likeness(maps[:20], maps[20:], **how)
    >>> result.attrs["kind_a"], result.attrs["kind_b"], "likeness" in result.quantity
    ('simulated', 'learned', True)
    """
    known = ("seed", "min_r2", "references", "truth", "progress")
    of_fields, of_kernels = by_side(reading, known=known)
    cortex = prepare(fields, progress=progress, **of_fields)
    network = prepare(kernels, progress=progress, **of_kernels)
    return comparison.likeness(
        _selected(cortex, min_r2),
        _selected(network, min_r2),
        seed=seed,
        references=references,
        truth=own_truth(cortex) if truth is None else truth,
        progress=progress,
    )


@dataclass
class Study:
    """A comparison of a cortex with a network.

    Attributes
    ----------
    cortex, network : Population
        The two sides; a network is any population of kernels.
    results : xarray.Dataset
        What `rfcompare.likeness` gave.
    options : dict
        What was asked for, for the manifest.
    """

    cortex: Population
    network: Population
    results: xr.Dataset
    options: dict[str, Any]

    @classmethod
    def make(
        cls,
        fields: str | xr.Dataset,
        kernels: str | xr.Dataset,
        *,
        seed: int = 0,
        min_r2: float | None = None,
        full: bool = False,
        compared: bool = True,
        record: bool = False,
        cache: bool = True,
        progress: bool = False,
        **reading: Any,
    ) -> Study:
        """Prepare both sides and compare.

        Parameters
        ----------
        fields, kernels : str or Dataset
            Populations, named as for `rfcompare.pipeline.open_population`.
        seed : int
            Of fits, nulls, permutations and resamples.
        min_r2 : float, optional
            Selection of both sides by r², said in ``attrs["selection"]``; by default every unit counts.
        full : bool
            Recompute what ships precomputed.
        compared : bool
            Whether to compare at all; some figures show the two sides alone.
        record : bool
            Record the network with the fields' own stimulus, in place of showing them its kernels by arithmetic; then
            ``kernels_deg_per_px`` says what a pixel of its image stands for. See `rfcompare.pipeline.record_like`.
        cache, progress
            See `rfcompare.pipeline.prepare`.
        **reading
            How to read the two sides; see `rfcompare.pipeline.population.by_side`.

        Returns
        -------
        Study
        """
        of_fields, of_kernels = by_side(reading)
        how: dict[str, Any] = {"seed": seed, "cache": cache, "shipped": not full, "progress": progress}
        _say("open and fit the fields", progress)
        cortex = prepare(fields, **how, **of_fields)
        if record:
            _say("record the network", progress)
            bank = record_like(kernels, cortex.signed, seed=seed, progress=progress, **of_kernels)
            network = prepare(bank, name=str(bank.attrs["title"]), **how)
        else:
            _say("open and fit the kernels", progress)
            network = prepare(kernels, **how, **of_kernels)
        options: dict[str, Any] = {"seed": seed, "min_r2": min_r2, "full": full, **({"record": True} if record else {})}
        for side, given in (("fields", of_fields), ("kernels", of_kernels)):
            options |= {
                f"{side}_{name}": str(value) if isinstance(value, Path) else value for name, value in given.items()
            }
        study = cls(cortex, network, xr.Dataset(), options)
        if not compared:
            return study
        if study.as_shipped:
            return replace(study, results=load(path_of(SHIPPED)))
        _say("compare", progress)
        sides = [data for side in (cortex, network) for data in (side.bank, side.fits)]
        kept = folder_of("likeness", sides, (cortex.name, network.name, seed, min_r2)) if cache else None
        if kept and (kept / "results.nc").is_file():
            with suppress(InputError):  # a damaged one is made again
                return replace(study, results=load(kept / "results.nc"))
        results = comparison.likeness(
            _selected(cortex, min_r2),
            _selected(network, min_r2),
            seed=seed,
            truth=own_truth(cortex),
            progress=progress,
        )
        if kept:
            with suppress(InputError):  # a full cache is no reason to fail
                save(results, kept / "results.nc")
        return replace(study, results=results)

    @property
    def embedded(self) -> bool:
        """Whether both sides are the shipped defaults."""
        return (self.network.name, self.cortex.name) == EMBEDDED

    @property
    def as_shipped(self) -> bool:
        """Whether this is what ships computed: the two defaults by their own names, with nothing else asked for."""
        plain = self.options == {"seed": 0, "min_r2": None, "full": False}
        return plain and self.embedded and all(_own_title(side) for side in (self.network, self.cortex))

    @property
    def simulated(self) -> bool:
        """Whether either side was simulated, so that every answer is only a demonstration."""
        return "simulated" in (self.cortex.kind, self.network.kind)

    def answer(self) -> str:
        """The verdict, the numbers behind it, and what limits it."""
        return sentences.answer(self.results, f"{self.network.label} to {self.cortex.label}")

    def tables(self) -> dict[str, pd.DataFrame]:
        """Every table of the report by file name; each says of what kind its populations are."""
        sides = {"kind_a": self.cortex.kind, "kind_b": self.network.kind}
        found = {name: table.assign(**sides) for name, table in tables(self.results).items()}
        if self.cortex.name == EMBEDDED[1]:
            found["fields_sensitivity"] = beside_sensitivity(self.cortex.descriptors)
        return {
            **found,
            "published": published_table(self.network, seed=int(self.options["seed"])),
            "published_claims": claim_table(self.network),
            "fields_fits": fit_table(self.cortex.fits),
            "kernels_fits": fit_table(self.network.fits),
            "fields_descriptors": descriptor_table(self.cortex.descriptors),
            "kernels_descriptors": descriptor_table(self.network.descriptors),
        }

    def page_tables(self) -> dict[str, pd.DataFrame]:
        """What the page shows below the results; beside the embedded populations also what real ones gave."""
        tables = self.tables()
        shown = {name: tables[name] for name in ("ladder", "published", "published_claims", "analyses")}
        if self.embedded:
            shown["real_networks_and_recordings"] = pd.read_csv(path_of("likeness-real"), comment="#")
        return shown

    def write_tables(self, folder: Path) -> list[Path]:
        """Write every table as CSV into a folder that is made where it does not exist."""
        folder = output_folder(folder)
        written = []
        for name, table in self.tables().items():
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
        """Inputs with SHA-256, versions, seeds and options: nothing that another run would write otherwise."""
        import platform
        from importlib.metadata import version

        return {
            "rfcompare": __version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {name: version(name) for name in _PACKAGES},
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
            "axes": json.loads(str(self.results.attrs.get("axes", "{}"))),
            "options": self.options,
        }


def _own_title(side: Population) -> bool:
    """Whether a shipped population goes by the title that it ships with."""
    return side.label == str(entry_of(side.name.removeprefix(PREFIX))["title"])


def published_table(network: Population, *, seed: int) -> pd.DataFrame:
    """A population beside every published distribution that ships, a row each."""
    return result_table(compare_published(network.descriptors, seed=seed))


def claim_table(network: Population) -> pd.DataFrame:
    """What Ringach 2002 found of ICA and sparse coding, asked of a population, a row a claim."""
    claims = pd.DataFrame(ringach_claims(network.descriptors)).T.infer_objects().rename_axis("claim").reset_index()
    return claims.assign(kind_a="measured", kind_b=network.kind)


def named(table: pd.DataFrame, network: str, cortex: str | None = None) -> pd.DataFrame:
    """A table with the names of its two sides in the first columns."""
    copy = table.copy()
    copy.insert(0, "network", network)
    if cortex is not None:
        copy.insert(1, "cortex", cortex)
    return copy


def _say(step: str, progress: bool) -> None:
    """Name a step of a study on standard error."""
    if progress:
        import click

        click.echo(f"{step} …", err=True)


def own_truth(cortex: Population) -> xr.Dataset | None:
    """A simulated population's own fields without noise, from the seed that its file records; None for any other."""
    if cortex.name != EMBEDDED[1]:
        return None
    bank, truth = simulate_treeshrew(seed=0)
    return bank.assign(rf=truth["signal"]).drop_vars(["noise_sd", "noise_acf", "rf_half", "lag_y", "lag_x"])


def _selected(side: Population, min_r2: float | None) -> Population:
    """A population's units above a line of r²; all where rendering fixes it."""
    if min_r2 is None or r2_is_fixed(side.fits):
        return side
    fits = select(side.fits, r2=min_r2)
    signed = side.signed.sel(unit=fits.unit.values)
    return replace(side, signed=signed, fits=fits, descriptors=side.descriptors.sel(unit=fits.unit.values))
