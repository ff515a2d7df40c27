"""The page: one HTML file that gives the answer, its evidence, how it was got, and the numbers.

Everything stands in the file: the library behind the interactive plane (Vega-Lite, from the Python package
vl-convert), maps, figures and tables. The page's own policy forbids the browser every outside request, and all that
comes from files is escaped.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from rfcompare import figures as gallery
from rfcompare.bank import count_alive, write_text
from rfcompare.comparison.likeness import tables as likeness_tables
from rfcompare.comparison.sentences import UNTESTED, answer
from rfcompare.descriptors import describe, on_bound
from rfcompare.errors import InputError, named_strictly
from rfcompare.figures.drawing import Population, populations
from rfcompare.figures.look import DIVERGING, style
from rfcompare.figures.maps import r2_words, shown_map
from rfcompare.figures.populations import PLANE, outlines, published_label
from rfcompare.quantities import KAPPA, LESS_THAN_ONE_CYCLE, QUANTITIES, kind_words, kinds
from rfcompare.sources.remote import cache_folder, kept_in

MAP_BYTES = 1_200_000
"""Maps in the page together take at most this many bytes; of more units, evenly spaced ones keep their maps."""

MOST_COLUMNS = 8
"""Of a table that are shown until more are asked for."""

MOST_ROWS = 2000
"""Rows of one table in the page; the CSV beside the page has them all."""

FIGURE_DPI = 170
"""Resolution in the page of figures that no file holds yet."""

SCREEN_DPI = 135
"""Pixels an inch of a figure takes on a screen: text of 6 points must be read there without a lens."""

VERSIONS = ("rfcompare", "numpy", "scipy", "xarray", "matplotlib", "torch", "torchvision", "vl-convert-python")
"""Packages whose versions the page states where the manifest does not."""

_SHAPES = {
    "o": ("circle", "M12 7a5 5 0 1 1-10 0a5 5 0 1 1 10 0z"),
    "s": ("square", "M2.5 2.5h9v9h-9z"),
    "^": ("triangle-up", "M7 2l6 10h-12z"),
    "D": ("diamond", "M7 1l5 6l-5 6l-5-6z"),
    "v": ("triangle-down", "M7 12l6-10h-12z"),
    "P": ("cross", "M5 2h4v3h3v4h-3v3h-4v-3h-3v-4h3z"),
    "<": ("triangle-left", "M2 7l10-6v12z"),
    ">": ("triangle-right", "M12 7l-10-6v12z"),
    "d": ("M0-1l.5 1l-.5 1l-.5-1z", "M7 1l3 6l-3 6l-3-6z"),
}
"""The figures' markers in the plane: Vega's name, and the same as an SVG path for the legend."""


@named_strictly
def write_report(
    path: str | Path,
    *,
    fits: Sequence[xr.Dataset],
    result: xr.Dataset | None = None,
    answer: str | None = None,
    figures: Mapping[str, Figure | Path] | None = None,
    tables: Mapping[str, pd.DataFrame] | None = None,
    manifest: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    published: xr.Dataset | None = None,
) -> Path:
    """Write the page.

    Parameters
    ----------
    path : path
        The HTML file to write; its folder must exist.
    fits : sequence of Dataset
        Gabor fits with their maps: fields first, kernels second, any others after them.
    result : Dataset, optional
        What `rfcompare.likeness` gave.
    answer : str, optional
        The sentence the page opens with; by default it is made from `result`.
    figures : mapping of str to Figure or Path, optional
        From `rfcompare.figures`, in the order to be shown, or the PNGs that `rfcompare.figures.save` wrote beside their
        captions.
    tables : mapping of str to DataFrame, optional
        Further tables to be sorted, filtered and downloaded.
    manifest : mapping, optional
        What the run recorded: ``inputs``, ``versions``, ``options``, ``seeds``, ``timings``…
    warnings : sequence of str
        What the reader must know.
    published : Dataset, optional
        A published histogram behind the plane, as for `rfcompare.figures.gabor_space`.

    Returns
    -------
    Path
        The file, complete: nothing half-written is left behind.

    Raises
    ------
    InputError
        If there are no fits, they carry no maps, or the file cannot be written.

    Examples
    --------
    >>> import tempfile, rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=4, size=9, seed=0)
    >>> page = rfc.write_report(tempfile.mkdtemp() + "/report.html", fits=[rfc.fit(bank, "gabor", seed=0)])
    >>> "not yet tested against chance" in page.read_text(encoding="utf-8")
    True
    """
    if not fits or any(not {"rf", "rf_fit", "frequency"} <= set(fitted.data_vars) for fitted in fits):
        raise InputError("expected Gabor fits that carry their maps 'rf' and 'rf_fit', got none; use rfcompare.fit")
    styles = populations(list(fits))
    descriptors = [describe(fitted) for fitted in fits]
    units = unit_table(descriptors, styles)
    simulated = any(population.kind == "simulated" for population in styles)
    page = _environment().get_template("report.html.j2").render(
        title=" and ".join(population.name for population in styles),
        styles=styles,
        kinds=kinds,
        shapes={marker: path for marker, (_, path) in _SHAPES.items()},
        simulated=simulated,
        verdict="" if result is None else str(result.attrs.get("verdict", "")),
        answer=answer or answer_sentence(result, styles),
        plane_summary=plane_summary(descriptors, styles, published),
        figures=[_embedded(name, figure) for name, figure in (figures or {}).items()],
        tables=[
            *([_table("results", "What differs, and by how much", likeness_tables(result)["results"])] if result is not
            None else []), *(_table(name, name.replace("_", " ").capitalize(), table) for name, table in (tables or
            {}).items()),
        ],
        units=_table("units", "Every unit", units),
        methods=methods(fits, result),
        inputs=_inputs(fits, manifest or {}),
        versions=_versions(manifest or {}),
        recorded=_recorded(manifest or {}),
        warnings=[*warnings, *_warnings(fits, styles)],
        citations=_citations(fits),
        # These four go into the page unescaped, so none may hold "</script": `_json` makes sure.
        plane=_json(_plane_specification(units, styles, published, [outlines(each) for each in descriptors])),
        maps=_json(_maps(fits, styles)),
        palette=_json(_palette()),
        library=_library(),
    )  # fmt: skip
    target = Path(path)
    write_text(target, page)
    return target


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("rfcompare", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _library() -> str:
    """Return Vega-Lite with what it needs as one script; bundling takes a second, so the cache keeps it."""
    kept = cache_folder() / "page" / f"vega-lite-{version('vl-convert-python')}.js"
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script")
    with contextlib.suppress(InputError):  # a cache that cannot be written is no reason not to write the page
        write_text(kept_in("page") / kept.name, script)
    return script


def _json(value: Any) -> str:
    """Write JSON that can stand inside a script element whatever texts it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


# ------------------------------------------------------------------------------------------------------------ words


def answer_sentence(result: xr.Dataset | None, styles: Sequence[Population]) -> str:
    """Say in one sentence how similar the populations are: score, interval, kinds; or that it was not tested.

    Examples
    --------
    >>> answer_sentence(None, [])
    'The likeness of these populations is not yet tested against chance.'
    """
    named = " and ".join(f"{each.name} ({kind_words(each.kind)})" for each in styles) or "these populations"
    return answer(result, named)


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
    styles = populations(list(fits))
    paragraphs = []
    for maps, population in zip(fits, styles, strict=True):
        text = (
            f"Maps. {population.name}: {count_alive(maps)} units"
            + (f" of {population.n_subjects} subjects" if population.n_subjects > 1 else "")
            + ("" if population.n_subjects else ", subjects unknown")
            + f", {maps.sizes['y']} × {maps.sizes['x']} pixels, kind {population.kind} ({kinds[population.kind]}), "
            + (
                "in degrees of visual angle"
                if population.units == "degree"
                else "in pixels, without a scale in degrees"
            )
            + "."
        )
        if stimulus := maps.attrs.get("stimulus"):
            text += f" Stimulus: {_stimulus_text(str(stimulus))}."
        if "color_direction" in maps:
            text += (
                " Each color kernel was reduced to the first singular component of its channel × pixel matrix: one "
                "color direction and one profile, signed so that the direction's luminance is not negative."
            )
        elif "discarded" in maps:
            share = float(np.nanmedian(np.asarray(maps["discarded"].values, dtype=float)))
            lost = f"the median unit loses {share:.0%} of its energy" if share > 0 else "no energy is lost by it"
            text += f" Each ON/OFF pair was reduced to ON − OFF on one scale; {lost}."
        if selection := maps.attrs.get("selection"):
            text += f" Selection: {_selection_text(str(selection))}."
        paragraphs.append(text)
    for fitted, population in zip(fits, styles, strict=True):
        status = [str(word) for word in np.ravel(fitted["status"].values)]
        text = (
            f"Fits. {population.name}: model {fitted.attrs.get('model', 'gabor')} on the native grid by variable "
            f"projection (engine {fitted.attrs.get('engine', 'not recorded')}, "
            f"seed {fitted.attrs.get('seed', 'not recorded')}); "
            f"{r2_words(fitted)}, "
            f"{on_bound(fitted).sum()} on a bound, "
            f"{sum(words == 'converged' for words in status)} converged without remark."
        )
        if selection := fitted.attrs.get("selection"):
            text += f" Selection: {_selection_text(str(selection))}."
        paragraphs.append(text)
    paragraphs.append(
        "Descriptors. nx = σx·f and ny = σy·f (Ringach 2002, doi:10.1152/jn.2002.88.1.455); a unit with nx at or "
        f"below κ = {KAPPA:.3f} has {LESS_THAN_ONE_CYCLE} and no octave bandwidth; phase is given as polarity phase "
        "arccos(cos φ) where nx is at least 0.1. The spectral descriptors are of the map itself and need no fit."
    )
    if result is None:
        paragraphs.append(f"Comparison. The likeness of the populations is {UNTESTED}.")
    else:
        paragraphs.append(_comparison_text(result))
    return paragraphs


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


def _comparison_text(result: xr.Dataset) -> str:
    attrs = result.attrs
    axes = ", ".join(name.replace("_", " ") for name in json.loads(str(attrs.get("axes") or "{}")))
    row = result.sel(quantity="likeness")
    one, of = ("another animal", "an animal") if int(row.n_subjects_a) > 1 else ("other cells", "a half of the cells")
    text = (
        "Comparison. Kernels, references and untrained networks were seen through the recording (its grid and "
        f"window, stimulus element and noise: {attrs['noise']}) and looked at through its Wiener filter. Likeness = "
        f"(D zero − D network)/(D zero − D {one}), D the squared energy distance to {of} held out, in the space of "
        f"{axes}, each in units written down beforehand. Zero is noise with the cells' own spectrum and window. "
        "Every population was placed at the scale that brings it nearest, within an octave either way; where its "
        "window then cuts it off, cells and zero are cut off alike. Rows of Gabor structure are of fits to maps "
        "seen through the recording; medians take values on a bound as lying beyond it. Intervals are at 95 %, "
        f"{row.interval.item()}; p are of Welch's test, in several dimensions by Box's approximation, adjusted over "
        f"all rows by Holm; seed {attrs.get('seed', 'not recorded')}. An empty cell was not computed."
    )
    for side in ("a", "b"):
        if stimulus := attrs.get(f"stimulus_{side}"):
            text += f" Stimulus of population {side}: {_stimulus_text(str(stimulus))}."
    return text


def _warnings(fits: Sequence[xr.Dataset], styles: Sequence[Population]) -> list[str]:
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


def _citations(fits: Sequence[xr.Dataset]) -> list[str]:
    found = []
    for fitted in fits:
        citation, doi = str(fitted.attrs.get("citation", "")), str(fitted.attrs.get("doi", ""))
        text = citation if not doi or doi in citation else f"{citation} doi:{doi}".strip()
        if text and text not in found:
            found.append(text)
    return found


def _inputs(fits: Sequence[xr.Dataset], manifest: Mapping[str, Any]) -> list[dict[str, str]]:
    """List the inputs with kind, SHA-256, citation and license, as the manifest or the fits give them."""
    recorded = manifest.get("inputs")
    entries = recorded.values() if isinstance(recorded, Mapping) else recorded or [fitted.attrs for fitted in fits]
    rows = []
    for index, entry in enumerate(entries):
        known = {**(fits[index].attrs if index < len(fits) else {}), **dict(entry)}
        rows.append(
            {
                "name": str(known.get("name") or known.get("path") or known.get("source") or _source(fits, index)),
                "sha256": str(known.get("sha256") or known.get("maps_sha256") or known.get("bank_sha256") or ""),
                **{name: str(known.get(name, "")) for name in ("kind", "citation", "license")},
            }
        )
    return rows


def _source(fits: Sequence[xr.Dataset], index: int) -> str:
    return populations([fits[index]])[0].name if index < len(fits) else f"input {index + 1}"


def _versions(manifest: Mapping[str, Any]) -> dict[str, str]:
    """List the versions that the manifest recorded, or those that are installed."""
    recorded = {
        **{name: manifest[name] for name in ("rfcompare", "python", "platform") if name in manifest},
        **dict(manifest.get("versions") or manifest.get("packages") or {}),
    }
    if recorded:
        return {str(name): str(value) for name, value in recorded.items()}
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _recorded(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the rest of the manifest, flat, as text."""
    elsewhere = ("inputs", "versions", "packages", "rfcompare", "python", "platform", "nulls", "space")
    return {
        str(name): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for name, value in manifest.items()
        if name not in elsewhere
    }


# ----------------------------------------------------------------------------------------------------------- tables


def unit_table(descriptors: Sequence[xr.Dataset], styles: Sequence[Population]) -> pd.DataFrame:
    """Put all units of all populations in one table: who, kind, descriptors with units, status."""
    parts = []
    for table, population in zip(descriptors, styles, strict=True):
        columns: dict[str, Any] = {
            "population": population.name,
            "kind": population.kind,
            "unit": table["unit"].values.astype(str),
            "subject": table["subject"].values.astype(str),
        }
        for name, quantity in QUANTITIES.items():
            if name in table:
                unit = "" if quantity.dimensionless else f" ({quantity.units(population.units)})"
                columns[name + unit] = np.asarray(table[name].values, dtype=float)
        if "status" in table:
            columns["status"] = np.ravel(table["status"].values).astype(str)
        parts.append(pd.DataFrame(columns))
    joined = pd.concat(parts, ignore_index=True)
    last = ["status"] if "status" in joined else []
    return joined[[name for name in joined.columns if name not in last] + last]


_TITLES = {
    "title": "name", "citation": "source", "ci_low": "95 % from", "ci_high": "95 % to", "low": "95 % from",
    "high": "95 % to", "p_adjusted": "p, adjusted", "p_smallest": "p, smallest possible", "p_cells": "p, cells alone",
    "p_noise": "p against noise", "p_noise_smallest": "p against noise, smallest possible", "r2": "r²",
    "estimate_a": "cells", "estimate_b": "kernels", "on_bound_a": "cells on a bound",
    "on_bound_b": "kernels on a bound", "n_units_a": "n cells", "n_units_b": "n kernels",
    "n_total_a": "n cells in all", "n_total_b": "n kernels in all",
    "n_subjects_a": "n animals", "n_subjects_b": "n networks", "n_missing_a": "cells without", "n_missing_b":
    "kernels without", "gabor_share": "share a Gabor explains", "primary": "reported", "quantity": "short name",
    "reference": "short name", "kind_a": "kind of the cells", "kind_b": "kind of the kernels",
}  # fmt: skip
"""What columns are called above a table where their names do not say it."""


def _table(name: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    frame, worth = _readable(frame)
    numeric = [bool(pd.api.types.is_numeric_dtype(frame[column])) for column in frame.columns]
    shown = frame.iloc[:MOST_ROWS]
    rows = [
        [_cell(value, is_number) for value, is_number in zip(row, numeric, strict=True)]
        for row in shown.itertuples(index=False, name=None)
    ]
    return {
        "name": name,
        "title": title,
        "shown": min(MOST_COLUMNS, worth),
        "columns": [_column(str(column), number) for column, number in zip(frame.columns, numeric, strict=True)],
        "rows": rows,
        "total": len(frame),
        "kinds": _kinds_of(frame),
    }


def _readable(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Put titles first, and last what is empty, said above the table or only a short name; how many are not last."""
    last = [name for name in ("kind_a", "kind_b") if name in frame]
    last += [name for name in frame if name not in last and frame[name].isna().all() and len(frame)]
    first = []
    if "title" in frame:
        first = ["title"]
        last += [name for name in ("quantity", "reference", "citation") if name in frame]
        titles = frame["title"]
        if "units" in frame:
            units = frame["units"].fillna("")
            titles = titles.where(units == "", titles + " (" + units + ")")
        for before in (r"^.*_", "^") if "quantity" in frame else ():  # short names tell apart: their ends, or whole
            told = titles + ", " + frame["quantity"].str.replace(before, "", regex=True)
            titles = titles.where(~titles.duplicated(keep=False), told)
        frame = frame.assign(title=titles)
    order = [*first, *(name for name in frame if name not in (*first, *last)), *last]
    return frame[order], len(order) - len(last)


def _column(name: str, numeric: bool) -> dict[str, Any]:
    """A column's name, what is written above it, and in full what it holds."""
    short, unit = name.partition(" (")[::2]
    quantity = QUANTITIES.get(short)
    about = "" if quantity is None else quantity.title + (f" ({unit}" if unit else "")
    words = _TITLES.get(name, name).replace("_", " ")
    return {"name": name, "numeric": numeric, "title": words, "about": about or (name if name != words else "")}


def _kinds_of(frame: pd.DataFrame) -> str:
    """What kind each side of a comparison is, for above a table whose first columns leave no room for it."""
    said = [
        f"{side}: {', '.join(map(kind_words, dict.fromkeys(frame[column].dropna().astype(str))))}"
        for column, side in (("kind_a", "cells"), ("kind_b", "kernels"))
        if column in frame and len(frame)
    ]
    return "; ".join(said).capitalize() + ("." if said else "")


def _cell(value: Any, numeric: bool) -> dict[str, str]:
    if not numeric:
        return {"text": "" if value is None or value != value else str(value), "value": ""}
    if isinstance(value, bool | np.bool_):
        return {"text": "yes" if value else "no", "value": str(int(value))}
    if value is None or not math.isfinite(value):
        return {"text": "", "value": ""}
    text = f"{value:.3g}" if float(value) != int(value) else f"{int(value)}"
    return {"text": text.replace("-", "−"), "value": f"{value:.6g}"}


# ---------------------------------------------------------------------------------------------------- maps and plane


def _embedded(name: str, figure: Figure | Path) -> dict[str, str]:
    """Return a figure's PNG in a data address, with its caption."""
    if isinstance(figure, Path):
        png, caption = figure.read_bytes(), figure.with_suffix(".txt").read_text(encoding="utf-8").strip()
    else:
        memory = io.BytesIO()
        with style():
            figure.savefig(memory, format="png", dpi=FIGURE_DPI)
        png, caption = memory.getvalue(), gallery.caption(figure)
    with Image.open(io.BytesIO(png)) as picture:
        inches = picture.width / picture.info["dpi"][0]
    return {
        "name": name,
        "caption": caption,
        "address": "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "width": str(round(inches * SCREEN_DPI)),
    }


def _palette() -> str:
    """Return the 255 colors of the diverging map as base64 RGB bytes: −127 is OFF blue, +127 is ON red."""
    colors = (colormaps[DIVERGING](np.linspace(0, 1, 255))[:, :3] * 255).round().astype(np.uint8)
    return base64.b64encode(colors.tobytes()).decode("ascii")


def _maps(fits: Sequence[xr.Dataset], styles: Sequence[Population]) -> list[dict[str, Any]]:
    """Pack data and fit of the units as signed bytes, rows from the top, within `MAP_BYTES` for the page."""
    share = MAP_BYTES / len(fits)
    packed = []
    for fitted, population in zip(fits, styles, strict=True):
        height, width = fitted.sizes["y"], fitted.sizes["x"]
        count = fitted.sizes["unit"]
        kept = min(count, int(share / (2 * height * width * 4 / 3 + 40)))
        units: dict[str, list[Any]] = {}
        for unit in np.unique(np.linspace(0, count - 1, kept).round().astype(int)) if kept else []:
            data = shown_map(fitted, int(unit))
            model = np.asarray(fitted["rf_fit"].isel(unit=int(unit), channel=0).transpose("y", "x").values, dtype=float)
            finite = np.concatenate([values[np.isfinite(values)] for values in (data, model)])
            limit = float(np.abs(finite).max(initial=0.0)) or 1.0
            units[str(int(unit))] = [_bytes(data, limit), _bytes(model, limit)]
        packed.append(
            {
                "count": count,
                "height": height,
                "width": width,
                "units": units,
                "simulated": population.kind == "simulated",
                "pixel": _pixel_text(fitted),
            }
        )
    return packed


def _pixel_text(fitted: xr.Dataset) -> str:
    x = np.asarray(fitted["x"].values, dtype=float)
    if fitted.attrs.get("units") == "degree" and x.size > 1:
        return f"{fitted.sizes['x'] * (x[1] - x[0]):.3g}° wide"
    return f"{fitted.sizes['x']} px wide"


def _bytes(values: NDArray[np.floating[Any]], limit: float) -> str:
    scaled = np.where(np.isfinite(values), np.clip(np.round(127 * values / limit), -127, 127), -128)
    return base64.b64encode(scaled[::-1].astype(np.int8).tobytes()).decode("ascii")


def _published_layer(published: xr.Dataset | None, axis: Callable[[str], dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells of a published histogram in gray, or nothing."""
    if published is None:
        return []
    count = published["count"].transpose("nx_bin", "ny_bin").values
    nx, ny = (published[f"{name}_edge"].values for name in ("nx", "ny"))
    cells = [
        {"nx": nx[i], "nx2": nx[i + 1], "ny": ny[j], "ny2": ny[j + 1], "count": int(count[i, j])}
        for i, j in zip(*np.nonzero(count), strict=True)
    ]
    return [
        {
            "data": {"values": cells},
            "mark": {"type": "rect", "clip": True, "color": "#000"},
            "encoding": {
                "x": axis("nx"), "x2": {"field": "nx2"}, "y": axis("ny"), "y2": {"field": "ny2"},
                "opacity": {
                    "field": "count", "type": "quantitative", "legend": None,
                    "scale": {"domain": [0, int(count.max())], "range": [0, 0.4]},
                },
            },
        }
    ]  # fmt: skip


def _plane_specification(
    units: pd.DataFrame,
    styles: Sequence[Population],
    published: xr.Dataset | None,
    contours: Sequence[Sequence[NDArray[np.floating[Any]]]],
) -> dict[str, Any]:
    """Write the (nx, ny) plane in Vega-Lite."""
    starts = np.cumsum([0, *(population.n_units for population in styles)])
    values = []
    for index, population in enumerate(styles):
        block = units.iloc[starts[index] : starts[index + 1]]
        for position, (nx, ny, unit, r2, status) in enumerate(
            zip(block["nx"], block["ny"], block["unit"], block["r2"], block["status"], strict=True)
        ):
            if not (math.isfinite(nx) and math.isfinite(ny) and nx > 0 and ny > 0):
                continue
            values.append(
                {
                    "row": int(starts[index]) + position,
                    "population": population.label,
                    "unit": str(unit),
                    "nx": float(f"{min(max(nx, PLANE[0]), PLANE[1]):.5g}"),
                    "ny": float(f"{min(max(ny, PLANE[0]), PLANE[1]):.5g}"),
                    "r2": None if not math.isfinite(r2) else float(f"{r2:.4g}"),
                    "status": str(status),
                }
            )
    labels = [population.label for population in styles]

    def axis(name: str) -> dict[str, Any]:
        quantity = QUANTITIES[name]
        return {
            "field": name,
            "type": "quantitative",
            "scale": {"domain": list(PLANE)},
            "axis": {
                "values": [0, 0.25, 0.5, 0.75, 1, 1.25],
                "format": "~g",
                "grid": False,
                "title": [quantity.title, f"{name} = σ{name[1]}·f"],
            },
        }

    point = {
        "params": [
            {
                "name": "pick",
                "select": {
                    "type": "point",
                    "fields": ["row"],
                    "on": "pointerover, click",
                    "nearest": True,
                    "clear": False,
                    "toggle": False,
                },
            }
        ],
        "mark": {"type": "point", "filled": True, "stroke": "black"},
        "encoding": {
            "x": axis("nx"),
            "y": axis("ny"),
            "color": {
                "field": "population",
                "type": "nominal",
                "scale": {"domain": labels, "range": [population.color for population in styles]},
                "legend": None,
            },
            "shape": {
                "field": "population",
                "type": "nominal",
                "scale": {"domain": labels, "range": [_SHAPES[population.marker][0] for population in styles]},
                "legend": None,
            },
            "size": {"condition": {"param": "pick", "empty": False, "value": 160}, "value": 38},
            "strokeWidth": {"condition": {"param": "pick", "empty": False, "value": 1.5}, "value": 0},
            "opacity": {"condition": {"param": "pick", "empty": False, "value": 1}, "value": 0.6},
        },
    }
    rule = {
        "data": {"values": [{"nx": round(KAPPA, 4)}]},
        "mark": {"type": "rule", "strokeDash": [2, 3], "color": "#333"},
        "encoding": {"x": axis("nx")},
    }
    words = {
        "data": {
            "values": [
                {"nx": KAPPA - 0.01, "ny": PLANE[1] * 0.98, "text": "< 1 cycle", "align": "right"},
                {"nx": KAPPA + 0.01, "ny": PLANE[1] * 0.98, "text": "≥ 1 visible cycle", "align": "left"},
            ]
        },
        "mark": {"type": "text", "fontSize": 12, "align": {"expr": "datum.align"}, "baseline": "top"},
        "encoding": {"x": axis("nx"), "y": axis("ny"), "text": {"field": "text"}},
    }
    lines = [
        {"line": f"{index} {part}", "order": order, "population": labels[index], "nx": float(x), "ny": float(y)}
        for index, found in enumerate(contours)
        for part, line in enumerate(found)
        for order, (x, y) in enumerate(line.round(4))
    ]
    contour = {
        "data": {"values": lines},
        "mark": {"type": "line", "strokeWidth": 1.5, "clip": True},
        "encoding": {
            "x": axis("nx"), "y": axis("ny"), "color": point["encoding"]["color"],  # type: ignore[index]
            "detail": {"field": "line"}, "order": {"field": "order"},
        },
    }  # fmt: skip
    layers: list[dict[str, Any]] = [*_published_layer(published, axis), rule, words, contour, point]
    if any(population.kind == "simulated" for population in styles):
        layers.append(
            {
                "data": {"values": [{"nx": PLANE[1] * 0.98, "ny": 0.02}]},
                "mark": {
                    "type": "text", "text": "SIMULATED", "fontWeight": "bold", "fontSize": 14, "align": "right",
                    "baseline": "bottom", "color": "#0f6a9e",
                },
                "encoding": {"x": axis("nx"), "y": axis("ny")},
            }
        )  # fmt: skip
    return {
        "width": "container",
        "height": 440,
        "autosize": {"type": "fit", "contains": "padding"},
        "background": "white",
        "data": {"name": "units", "values": values},
        "layer": layers,
        "config": {
            "view": {"stroke": None},
            "font": "system-ui, sans-serif",
            "axis": {"labelFontSize": 12, "titleFontSize": 13},
        },
    }
