"""The page put together."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from PIL import Image

from rfcompare import figures as gallery
from rfcompare.bank import write_text
from rfcompare.comparison import sentences
from rfcompare.comparison.likeness import tables as likeness_tables
from rfcompare.descriptors import describe
from rfcompare.errors import InputError, named_strictly
from rfcompare.figures.drawing import populations
from rfcompare.figures.look import style
from rfcompare.figures.populations import outlines
from rfcompare.quantities import kind_words, kinds
from rfcompare.reporting.plane import SHAPES, packed_maps, palette, plane_specification
from rfcompare.reporting.tables import page_table, unit_table
from rfcompare.reporting.templates import filled
from rfcompare.reporting.words import (
    citations,
    inputs_of,
    methods,
    plane_summary,
    recorded,
    versions_of,
    warnings_of,
)
from rfcompare.sources.remote import cache_folder, kept_in

_FIGURE_DPI = 170
"""Resolution in the page of figures that no file holds yet."""

_SCREEN_DPI = 135
"""Pixels an inch of a figure takes on a screen: text of 6 points must be read there without a lens."""


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
    named = " and ".join(f"{each.name} ({kind_words(each.kind)})" for each in styles)
    simulated = any(population.kind == "simulated" for population in styles)
    shown = {name.replace("_", " ").capitalize(): (name, table) for name, table in (tables or {}).items()}
    if result is not None:
        shown = {"What differs, and by how much": ("results", likeness_tables(result)["results"]), **shown}
    page = filled(
        "report.html.j2",
        title=" and ".join(population.name for population in styles),
        styles=styles,
        kinds=kinds,
        shapes={marker: path for marker, (_, path) in SHAPES.items()},
        simulated=simulated,
        verdict="" if result is None else str(result.attrs.get("verdict", "")),
        answer=answer or sentences.answer(result, named),
        plane_summary=plane_summary(descriptors, styles, published),
        figures=[_embedded(name, figure) for name, figure in (figures or {}).items()],
        tables=[page_table(name, title, table) for title, (name, table) in shown.items()],
        units=page_table("units", "Every unit", units),
        methods=methods(fits, result),
        inputs=inputs_of(fits, manifest or {}),
        versions=versions_of(manifest or {}),
        recorded=recorded(manifest or {}),
        warnings=[*warnings, *warnings_of(fits, styles)],
        citations=citations(fits),
        # These four go into the page unescaped, so none may hold "</script": `_json` makes sure.
        plane=_json(plane_specification(units, styles, published, [outlines(each) for each in descriptors])),
        maps=_json(packed_maps(fits, styles)),
        palette=_json(palette()),
        library=_library(),
    )
    target = Path(path)
    write_text(target, page)
    return target


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


def _embedded(name: str, figure: Figure | Path) -> dict[str, str]:
    """Return a figure's PNG in a data address, with its caption."""
    if isinstance(figure, Path):
        png, caption = figure.read_bytes(), figure.with_suffix(".txt").read_text(encoding="utf-8").strip()
    else:
        memory = io.BytesIO()
        with style():
            figure.savefig(memory, format="png", dpi=_FIGURE_DPI)
        png, caption = memory.getvalue(), gallery.caption(figure)
    with Image.open(io.BytesIO(png)) as picture:
        inches = picture.width / picture.info["dpi"][0]
    return {
        "name": name,
        "caption": caption,
        "address": "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "width": str(round(inches * _SCREEN_DPI)),
    }
