"""Which Datasets each figure of the gallery is drawn from, and writing them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare import figures
from rfcompare.bank import folder_to_write, write_bytes
from rfcompare.comparison import published
from rfcompare.errors import InputError
from rfcompare.matching import match
from rfcompare.pipeline.cortex import study_columns
from rfcompare.pipeline.kept import folder_of
from rfcompare.pipeline.shipped import shipped_columns
from rfcompare.pipeline.study import BETWEEN, Study
from rfcompare.pipeline.tables import load_many
from rfcompare.simulation.eye import contrast_sensitivity
from rfcompare.sources.reference import entry_of, path_of
from rfcompare.taxonomy import bands, classify, survey

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_A_COMPARISON = ("ladder",)
"""Figures that show a comparison; the others need the two sides alone."""

IN_REPORT = ("kernels", "fits", "gabor_space", "tuning", "ladder")
"""Figures of every report, in its order; `in_report` adds those that a study's data allow."""

_MATCHED_FIELDS = 40
"""Fields that the figure of the matches searches; of more, evenly spaced ones stand for all."""

_Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _kernels(study: Study) -> _Inputs:
    if study.network.kind == "parametric":  # rendering fixes the profile, so that one is sorted by band alone
        classes = bands(study.network.bank)
    else:
        classes = classify(study.network.bank, progress=False)["profile"].tolist()
    return (study.network.bank, study.cortex.bank), {"classes": [classes, bands(study.cortex.bank)]}


def _fits(study: Study) -> _Inputs:
    return (study.cortex.fits, study.network.fits), {}


def _gabor_space(study: Study) -> _Inputs:
    return (study.cortex.fits, study.network.fits), {"published": ringach()}


def _tuning(study: Study) -> _Inputs:
    sensitivity = contrast_sensitivity(np.geomspace(0.05, 2.5, 80))  # about what was measured
    entry = entry_of("treeshrew-contrast-sensitivity")
    sensitivity.attrs["citation"] = f"{entry['citation']}, doi:{entry['doi']}"
    behind = [published(name) for name in ("devalois1982_orientation", "devalois1982_frequency", "schiller1976_simple")]
    behind.append(published("ringach2002").marginal("ny"))
    return (study.cortex.fits, study.network.fits), {"published": behind, "sensitivity": sensitivity}


def ringach() -> xr.Dataset:
    """Ringach's histogram of macaque simple cells as the plane draws it."""
    plane = published("ringach2002")
    edges = {f"{name}_edge": (f"{name}_side", edge) for name, edge in zip(("nx", "ny"), plane.edges, strict=True)}
    return xr.Dataset(
        {"count": (("nx_bin", "ny_bin"), plane.counts)},
        coords=edges,
        attrs={"citation": plane.citation, "note": plane.note},
    )


def _matches(study: Study) -> _Inputs:
    fields = study.cortex.signed
    if fields.sizes["unit"] > _MATCHED_FIELDS:
        fields = fields.isel(unit=np.linspace(0, fields.sizes["unit"] - 1, _MATCHED_FIELDS).round().astype(int))
    seed = int(study.options.get("seed", 0))
    return (match(study.network.signed, fields, seed=seed, progress=False), study.network.signed, fields), {}


def _ladder(study: Study) -> _Inputs:
    results = {f"{study.network.label}{BETWEEN}{study.cortex.label}": study.results}
    return (results,), {}


def _survey(study: Study) -> _Inputs:
    shipped = pd.read_csv(path_of("survey"), comment="#", keep_default_na=False, na_values=[""])
    if study.embedded:
        return (shipped,), {}
    own = {side.label: side.bank for side in (study.network, study.cortex)}
    return (pd.concat([survey(own, torchvision=False, untrained=False), shipped], ignore_index=True),), {}


def _color(study: Study) -> _Inputs:
    if tuple(study.network.bank.channel.values) != ("r", "g", "b"):
        raise InputError(
            f"expected color kernels with channels r, g, b, got {study.network.label} with "
            f"{', '.join(map(str, study.network.bank.channel.values))}; give --kernels with three color channels"
        )
    return (study.network.bank,), {}


def _training(study: Study) -> _Inputs:
    history = pd.read_csv(path_of("training-history"), comment="#")
    return tuple(load_many(path_of("training-snapshots")).values()), {"history": history}


def _columns(study: Study) -> _Inputs:
    if study.as_shipped:
        found = shipped_columns(study.cortex.bank)
    else:
        seed = int(study.options.get("seed", 0))
        found = study_columns(study.cortex.bank, kernels=study.network.bank, compared=False, seed=seed)
    return (found.bank, found.tree, found.beside), {}


_INPUTS: Mapping[str, Callable[[Study], _Inputs]] = {
    "kernels": _kernels,
    "fits": _fits,
    "gabor_space": _gabor_space,
    "tuning": _tuning,
    "columns": _columns,
    "matches": _matches,
    "ladder": _ladder,
    "survey": _survey,
    "color": _color,
    "training": _training,
}
"""How a study becomes what a figure is drawn from, in the order of the gallery."""


def known_figures() -> list[str]:
    """Names of the gallery, in its order."""
    return [name for name in figures.FIGURES if name in _INPUTS]


def in_report(study: Study) -> list[str]:
    """Figures of a study's report: `IN_REPORT`, color where kernels have it, columns where fields have positions."""
    names = list(IN_REPORT)
    if study.network.bank.sizes["channel"] == 3:
        names.append("color")
    if study.cortex.bank.sizes["channel"] == 2 and {"cortex_x", "cortex_y"} <= set(study.cortex.bank.coords):
        names.append("columns")
    return names


def chosen_figures(name: str) -> list[str]:
    """One figure's name, or all of them for "all".

    Raises
    ------
    InputError
        For an unknown name, with near ones.
    """
    names = known_figures()
    if name == "all":
        return names
    if name not in names:
        near = difflib.get_close_matches(name, names, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(names)} or all"
        raise InputError(f"expected the name of a figure, got {name!r}; {hint}")
    return [name]


def draw(study: Study, name: str, **look: Any) -> Figure:
    """Draw one of `known_figures` of a study; how says `rfcompare.figures.Look`."""
    args, keywords = _INPUTS[name](study)
    return figures.FIGURES[name](*args, **keywords, **look)


def write_figures(
    study: Study,
    names: list[str],
    folder: Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    progress: bool = False,
    **look: Any,
) -> tuple[dict[str, Path], list[str]]:
    """Write figures in the given formats with their numbers and their captions.

    A figure that was drawn before of the same data by the same code is copied from the cache.

    Returns
    -------
    written : dict of str to Path
        By name and ending, as in ``"kernels.png"``.
    left_out : list of str
        Of several figures, those whose data this study lacks, each with what is missing; a single one raises instead.
    """
    from tqdm import tqdm

    written: dict[str, Path] = {}
    left_out: list[str] = []
    sides = [data for side in (study.cortex, study.network) for data in (side.bank, side.fits)]
    how = (sorted(study.options.items()), sorted(formats), sorted(look.items()))
    kept = folder_of("figures", [*sides, study.results], how)
    for name in tqdm(names, desc="figures", unit="figure", disable=None if progress else True, leave=False):
        try:
            files = kept / name if kept else folder
            if not (kept and (files / f"{name}.txt").is_file()):  # the caption is written last
                figures.save(draw(study, name, **look), name, files, formats=formats)
        except InputError as error:
            if len(names) == 1:
                raise
            left_out.append(f"{name}: {error}")
            continue
        for ending in (*formats, "csv", "txt"):
            place = folder_to_write(folder, cure="choose another with -o") / f"{name}.{ending}"
            if kept:
                write_bytes(place, (files / place.name).read_bytes())
            written[place.name] = place
    return written, left_out
