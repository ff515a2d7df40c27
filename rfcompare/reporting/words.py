"""What the page says in words: the answer, the plane, the methods, warnings, citations and provenance."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import count_alive
from rfcompare.comparison.sentences import UNTESTED
from rfcompare.descriptors import on_bound
from rfcompare.figures.drawing import Population, population_name, populations
from rfcompare.figures.maps import r2_words
from rfcompare.figures.populations import published_label
from rfcompare.quantities import KAPPA, LESS_THAN_ONE_CYCLE, kinds
from rfcompare.reporting.templates import filled

_VERSIONS = ("rfcompare", "numpy", "scipy", "xarray", "matplotlib", "torch", "torchvision", "vl-convert-python")
"""Packages whose versions the page states where the manifest does not."""


def plane_summary(
    descriptors: Sequence[xr.Dataset], styles: Sequence[Population], published: xr.Dataset | None = None
) -> str:
    """Say in words what the plane shows, for those who do not see it."""
    parts = []
    for table, population in zip(descriptors, styles, strict=True):
        nx, ny = (np.asarray(table[name].values, dtype=float) for name in ("nx", "ny"))
        finite = np.isfinite(nx) & np.isfinite(ny)
        if finite.any():
            parts.append(
                f"{population.label}: median nx {np.median(nx[finite]):.2f}, median ny {np.median(ny[finite]):.2f}, "
                f"{int((nx[finite] <= KAPPA).sum())} of {int(finite.sum())} with {LESS_THAN_ONE_CYCLE} "
                f"(nx at most {KAPPA:.3f})"
            )
    if not parts:
        return "No unit has a fit."
    behind = "" if published is None else f" Gray: {published_label(published)}."
    return "; ".join(parts) + ". Contours hold half of 30 or more units with a visible cycle." + behind


def methods(fits: Sequence[xr.Dataset], result: xr.Dataset | None = None) -> list[str]:
    """Write the methods in words from what the Datasets record, one paragraph per step.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=3, size=9, seed=0)
    >>> methods([rfc.fit(bank, "gabor", seed=0)])[-1]
    'Comparison. The likeness of the populations is not yet tested against chance.'
    """
    how: dict[str, Callable[..., Any]] = {
        "count_alive": count_alive, "stimulus_text": _stimulus_text, "selection_text": _selection_text, "lost": _lost,
        "r2_words": r2_words, "on_bound": lambda fitted: on_bound(fitted).sum(), "clean": _clean,
    }  # fmt: skip
    said = {"result": {}} if result is None else _compared(result)
    text = filled(
        "methods.txt.j2", how, sides=list(zip(fits, populations(list(fits)), strict=True)), kinds=kinds, kappa=KAPPA,
        less_than_one_cycle=LESS_THAN_ONE_CYCLE, untested=UNTESTED, **said,
    )  # fmt: skip
    return text.strip().split("\n")


def _clean(fitted: xr.Dataset) -> int:
    return sum(str(words) == "converged" for words in np.ravel(fitted["status"].values))


def _lost(maps: xr.Dataset) -> str:
    share = float(np.nanmedian(np.asarray(maps["discarded"].values, dtype=float)))
    return f"the median unit loses {share:.0%} of its energy" if share > 0 else "no energy is lost by it"


def _compared(result: xr.Dataset) -> dict[str, Any]:
    """What the methods say of a comparison."""
    row = result.sel(quantity="likeness")
    one, of = ("another animal", "an animal") if int(row.n_subjects_a) > 1 else ("other cells", "a half of the cells")
    axes = ", ".join(name.replace("_", " ") for name in json.loads(str(result.attrs.get("axes") or "{}")))
    return {"result": result.attrs, "axes": axes, "one": one, "of": of, "interval": row.interval.item()}


def _stimulus_text(stimulus: str) -> str:
    """Write a stimulus' description, kept as JSON, in words."""
    try:
        described = json.loads(stimulus)
    except ValueError:
        return stimulus
    if not isinstance(described, dict):
        return stimulus
    return ", ".join(f"{str(name).replace('_', ' ')} {value}" for name, value in described.items())


def _selection_text(selection: str) -> str:
    try:
        steps = json.loads(selection)
        return "; ".join(f"{step['condition']}, {step['after']} of {step['before']} units" for step in steps)
    except (ValueError, TypeError, KeyError):
        return selection


def warnings_of(fits: Sequence[xr.Dataset], styles: Sequence[Population]) -> list[str]:
    """Say what a reader must know of each population before the numbers."""
    found = []
    for fitted, population in zip(fits, styles, strict=True):
        if population.kind == "simulated":
            found.append(
                f"{population.name}: drawn by a simulation from assumed parameters, not recorded; nothing here is a "
                "finding about an animal."
            )
        if population.kind == "parametric":
            found.append(
                f"{population.name} is rendered from parameters, not the original maps: what rendering fixes "
                "(r², model choice, straightness, color share) is not computed from it."
            )
        if not population.n_subjects and population.kind not in ("learned", "untrained", "analytic"):
            found.append(f"{population.name} comes without subject identities: nothing is said about other animals.")
        failed = int((~np.isfinite(np.asarray(fitted["r2"].values, dtype=float))).sum())
        if failed:
            found.append(
                f"{population.name}: {failed} of {population.n_units} units have no fit; their status says why."
            )
    return found


def citations(fits: Sequence[xr.Dataset]) -> list[str]:
    """List what is to be cited, each once."""
    found = []
    for fitted in fits:
        citation, doi = str(fitted.attrs.get("citation", "")), str(fitted.attrs.get("doi", ""))
        text = citation if not doi or doi in citation else f"{citation} doi:{doi}".strip()
        if text and text not in found:
            found.append(text)
    return found


def inputs_of(fits: Sequence[xr.Dataset], manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the inputs with kind, SHA-256, citation and license, as the manifest or the fits give them."""
    recorded = manifest.get("inputs")
    entries = recorded.values() if isinstance(recorded, Mapping) else recorded or [fitted.attrs for fitted in fits]
    rows = []
    for index, entry in enumerate(entries):
        known = {**(fits[index].attrs if index < len(fits) else {}), **dict(entry)}
        source = population_name(fits[index]) if index < len(fits) else f"input {index + 1}"
        rows.append(
            {
                "name": str(known.get("name") or known.get("path") or known.get("source") or source),
                "sha256": str(known.get("sha256") or known.get("maps_sha256") or known.get("bank_sha256") or ""),
                **{name: str(known.get(name, "")) for name in ("kind", "citation", "license")},
            }
        )
    return rows


def versions_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """List the versions that the manifest recorded, or those that are installed."""
    recorded = {
        **{name: manifest[name] for name in ("rfcompare", "python", "platform") if name in manifest},
        **dict(manifest.get("versions") or manifest.get("packages") or {}),
    }
    if recorded:
        return {str(name): str(value) for name, value in recorded.items()}
    found = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def recorded(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the rest of the manifest, flat, as text."""
    elsewhere = ("inputs", "versions", "packages", "rfcompare", "python", "platform", "nulls", "space")
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in manifest.items()
        if name not in elsewhere
    }
