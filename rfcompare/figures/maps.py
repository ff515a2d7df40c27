"""Figures that show maps themselves: kernels beside fields, and data beside fit and residual."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfcompare.descriptors import on_bound
from rfcompare.errors import InputError
from rfcompare.figures.artists import (
    TILE_PITCH,
    draw_map,
    draw_tiles,
    largest,
    letter,
    lettered,
    map_extent,
    mark_kind,
    scale_bar,
    write_beside,
)  # fmt: skip
from rfcompare.figures.drawing import (
    Array,
    Population,
    evenly_spaced,
    label,
    populations,
    record,
    sign_words,
    source_text,
    unit_values,
)
from rfcompare.figures.look import MEDIUM, SMALL, Look, drawn, is_narrow, new_figure, width_mm
from rfcompare.quantities import QUANTITIES

_HEADING = 0.55
"""Height of a class's heading, in tiles."""

_LETTER_MM = 1.15
"""Width of a letter of a heading, generously."""

_R2_FIXED = "r² fixed by construction"
"""What r² is called where maps were rendered from parameters and none is stored of the originals."""

_PERCENTILES = (95, 75, 50, 25, 5)
"""Where in the distribution of r² the examples stand: chosen by rule, not by eye."""


@drawn("double")
def kernels(
    *banks: xr.Dataset, classes: Sequence[Sequence[str] | None] | None = None, n_max: int = 96, **look: Unpack[Look]
) -> Figure:
    """Show the maps of populations side by side as tiles: kernels as in Krizhevsky 2012, Figure 3, beside fields.

    Parameters
    ----------
    banks : Dataset
        Banks (unit, channel, y, x). Channels r, g, b are shown in color, on and off as ON − OFF, one channel as it is.
    classes : sequence, optional
        For every bank one class name per unit (or None); tiles are then grouped by class, the largest class first.
    n_max : int
        Tiles shown per bank; of more units, evenly spaced ones are shown.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        Where all banks are in degrees their tiles have one scale, otherwise each has its own scale bar.

    Raises
    ------
    InputError
        If there is no bank, a bank has lags, or classes do not match the units.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> wedge = np.arange(18.0).reshape(2, 1, 3, 3) - 8
    >>> figure = kernels(rfc.make_bank(wedge, channel=("signed",), kind="analytic", source="wedge"))
    >>> figure.axes[0].get_title()
    'wedge (analytic, n = 2)'
    """
    if not banks:
        raise InputError("expected at least one bank to draw, got none; pass banks from open_fields or load_kernels")
    for bank in banks:
        if "lag" in bank["rf"].dims:
            raise InputError("expected maps without lags, got a bank with dim 'lag'; select one lag first")
    sorts = list(classes) if classes is not None else [None] * len(banks)
    if len(sorts) != len(banks):
        raise InputError(f"expected classes for {len(banks)} banks, got {len(sorts)}; pass None where there are none")
    styles = populations(banks, look)
    same_scale = len(banks) > 1 and all(population.units == "degree" for population in styles)
    columns = _column_counts(banks, same_scale=same_scale)
    across = 1 if is_narrow(look) else len(banks)
    wide = width_mm(look) / across - 4
    plans = [
        _place_tiles(_classed(bank, kinds, n_max), column, wide / column)
        for bank, kinds, column in zip(banks, sorts, columns, strict=True)
    ]
    tall = [
        wide * (plan.height * _tile_size(bank)[1] / (column * _tile_size(bank)[0]) + 0.7 / column) + 6
        for bank, column, plan in zip(banks, columns, plans, strict=True)
    ]
    figure = new_figure(look, height=sum(tall) if across == 1 else max(tall))
    shape = {"height_ratios": tall} if across == 1 else {}
    panels = np.atleast_1d(figure.subplots(len(banks) // across, across, **shape))
    tables = [_draw_bank(*each) for each in zip(panels, banks, styles, plans, columns, strict=True)]
    if len(banks) > 1:
        letter(*panels)
    parts = [_kernels_text(*each) for each in zip(banks, styles, tables, sorts, strict=True)]
    scale = "All tiles have one scale in degrees." if same_scale else "Bars give each population's own scale."
    caption = (
        f"Maps of {'; '.join(lettered(parts))}. Every tile is scaled to its own largest magnitude, symmetric about "
        f"zero. {scale}"
    )
    return record(figure, look, numbers=pd.concat(tables, ignore_index=True), caption=caption)


class _Plan(NamedTuple):
    """Where tiles (unit, class, row, column) and headings (text, row, column) stand, and the height, in tiles."""

    tiles: pd.DataFrame
    headings: list[tuple[str, float, int]]
    height: float


def _classed(bank: xr.Dataset, classes: Sequence[str] | None, n_max: int) -> list[tuple[str, list[int]]]:
    """Group the shown units by class: (class, unit indices), the largest class first."""
    n_units = bank.sizes["unit"]
    if classes is not None and len(classes) != n_units:
        raise InputError(f"expected one class per unit ({n_units}), got {len(classes)}; classify the same bank")
    shown = evenly_spaced(n_units, n_max)
    if classes is None:
        return [("", shown)]
    groups: dict[str, list[int]] = {}
    for unit in shown:
        groups.setdefault(str(classes[unit]), []).append(unit)
    return sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))


def _tile_size(bank: xr.Dataset) -> tuple[float, float]:
    left, right, bottom, top = map_extent(bank)
    return right - left, top - bottom


def _column_counts(banks: Sequence[xr.Dataset], *, same_scale: bool) -> list[int]:
    """Choose tiles per row: 12, or as many as span the same visual angle in every bank."""
    if not same_scale:
        return [12 if len(banks) > 1 else 16] * len(banks)
    widths = [_tile_size(bank)[0] for bank in banks]
    return [max(4, round(10 * max(widths) / width)) for width in widths]


def _place_tiles(classed: list[tuple[str, list[int]]], columns: int, tile_mm: float) -> _Plan:
    """Place every tile; a class that fits beside the one before it, heading included, shares its rows."""
    tiles: list[tuple[int, str, float, int]] = []
    headings: list[tuple[str, float, int]] = []
    top, bottom, free = 0.0, 0.0, 0
    for name, units in classed:
        wide = max(len(units), math.ceil((len(name) + 6) * _LETTER_MM / tile_mm)) + 1 if name else columns
        if wide > columns - free:
            top, free = bottom, 0
        if name:
            headings.append((f"{name} ({len(units)})", top, free))
        first = top + (_HEADING if name else 0)
        across = columns - free
        for position, unit in enumerate(units):
            tiles.append((unit, name, first + position // across, free + position % across))
        bottom = max(bottom, first + math.ceil(len(units) / across))
        free = free + wide if wide <= across and len(units) <= across else columns
    return _Plan(pd.DataFrame(tiles, columns=["unit", "class", "row", "column"]), headings, bottom)


def _draw_bank(axes: Axes, bank: xr.Dataset, population: Population, plan: _Plan, columns: int) -> pd.DataFrame:
    tiles, size = plan.tiles, _tile_size(bank)
    pitch_x, pitch_y = (TILE_PITCH * side for side in size)
    maps = [shown_map(bank, unit) for unit in tiles["unit"]]
    draw_tiles(axes, zip(maps, tiles["row"], tiles["column"], strict=True), size)
    for text, row, column in plan.headings:
        axes.text(column * pitch_x, -(row + _HEADING - 0.08) * pitch_y, text, fontsize=SMALL, va="bottom")
    bottom = -(plan.height + 0.35) * pitch_y
    axes.set(xlim=(-0.02 * pitch_x, columns * pitch_x), ylim=(bottom - 0.35 * pitch_y, 0.1 * pitch_y))
    axes.set_anchor("N")
    scale_bar(axes, population.units, extent=3 * size[0], height=bottom)
    shown = f"{len(tiles)} shown of {population.count}" if len(tiles) < population.n_units else population.count
    axes.set_title(label(population.name, population.kind, shown))
    mark_kind(axes, population, at=(columns * pitch_x, bottom), align="right")
    units = bank["unit"].values[tiles["unit"]].astype(str)
    return population.table(**tiles.assign(unit=units, limit=[largest(values) for values in maps]))


def shown_map(bank: xr.Dataset, unit: int) -> Array:
    """Return what is drawn of one unit: (y, x, 3) for a color bank, otherwise (y, x), ON − OFF of an ON/OFF bank.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> pair = np.stack([3 * np.eye(2), np.eye(2)])[None]
    >>> shown_map(rfc.make_bank(pair, channel=("on", "off"), kind="analytic"), 0).tolist()
    [[2.0, 0.0], [0.0, 2.0]]
    """
    values = np.asarray(bank["rf"].isel(unit=unit).transpose("channel", "y", "x").values, dtype=float)
    channel = [str(name) for name in bank["channel"].values]
    if channel == ["r", "g", "b"]:
        return np.moveaxis(values, 0, -1)
    if channel == ["on", "off"]:
        return np.asarray(values[0] - values[1])
    return np.asarray(values[0])


def _kernels_text(bank: xr.Dataset, population: Population, table: pd.DataFrame, classes: Sequence[str] | None) -> str:
    channel = [str(name) for name in bank["channel"].values]
    text = population.label
    if len(table) < population.n_units:
        text += f", {len(table)} evenly spaced units shown"
    if channel == ["r", "g", "b"]:
        text += "; R, G and B as color, zero gray"
    else:
        text += f"; {'ON − OFF, ' if channel == ['on', 'off'] else ''}{sign_words(bank)}, zero white"
    return text + ("" if classes is None else "; sorted by class, units shown in parentheses") + source_text(bank)


@drawn("double")
def fits(*fitted: xr.Dataset, **look: Unpack[Look]) -> Figure:
    """Show data, fit and residual of example units and the distribution of r².

    The examples stand at the 95th, 75th, 50th, 25th and 5th percentile of r²: chosen by rule, not by eye.

    Parameters
    ----------
    fitted : Dataset
        The fits of each population, which carry the maps that were fitted (``rf``) and what the model made of them
        (``rf_fit``).
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        Data, fit and residual of a unit share their color limits.

    Raises
    ------
    InputError
        If there are no fits, or they carry no maps.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=6, size=9, seed=0)
    >>> figure = fits(rfc.fit(bank, "gabor", seed=0))
    >>> numbers = rfc.figures.numbers(figure)
    >>> sorted(set(numbers["panel"]))
    ['example', 'histogram']
    """
    if not fitted:
        raise InputError("expected fits to draw, got none; pass fit(bank)")
    for population in fitted:
        if not {"rf", "rf_fit"} <= set(population.data_vars):
            raise InputError(
                "expected fits that carry their maps 'rf' and 'rf_fit', got none; use fits of rfcompare.fit"
            )
    styles = populations(fitted, look)
    across = 1 if is_narrow(look) else len(fitted)
    figure = new_figure(look, height=122 * len(fitted) / across)
    halves = np.atleast_1d(figure.subfigures(len(fitted) // across, across, wspace=0.03))
    tables = [_draw_examples(*each) for each in zip(halves, fitted, styles, strict=True)]
    if len(fitted) > 1:
        letter(*halves)
    captions = [_fits_text(*each) for each in zip(fitted, styles, strict=True)]
    text = (
        "Data, fit and residual (data − fit) at the 95th, 75th, 50th, 25th and 5th percentile of r² of all units, "
        f"one color scale per row; below, the distribution of r². {' '.join(lettered(captions))}"
    )
    return record(figure, look, numbers=pd.concat(tables, ignore_index=True), caption=text)


def _example_units(fitted: xr.Dataset) -> list[int]:
    """Choose the units nearest to the 95th, 75th, 50th, 25th and 5th percentile of r²."""
    r2, _ = _shown_r2(fitted)
    finite = np.flatnonzero(np.isfinite(r2))
    ranked = finite[np.argsort(r2[finite], kind="stable")]
    if ranked.size == 0:
        return []
    chosen = [int(ranked[round(share / 100 * (ranked.size - 1))]) for share in _PERCENTILES]
    return list(dict.fromkeys(chosen))


def _shown_r2(fitted: xr.Dataset) -> tuple[Array, str]:
    """Return the r² that says something about a population, and what it is called.

    Of a bank rendered from parameters that is the r² stored from the original maps; its own is fixed by construction.

    Examples
    --------
    >>> fitted = xr.Dataset({"r2": ("unit", [1.0]), "r2_original": ("unit", [0.9])}, attrs={"kind": "parametric"})
    >>> _shown_r2(fitted)
    (array([0.9]), 'r² of the original map')
    """
    if fitted.attrs.get("kind") != "parametric":
        return unit_values(fitted, "r2"), "r²"
    if "r2_original" in fitted:
        return unit_values(fitted, "r2_original"), "r² of the original map"
    return unit_values(fitted, "r2"), _R2_FIXED


def r2_words(fitted: xr.Dataset) -> str:
    """Say how well a population is fitted: the median r² and how many units lie above 0.7, or that rendering fixes it.

    Examples
    --------
    >>> fitted = xr.Dataset({"r2": ("unit", [1.0, 0.6])}, attrs={"kind": "parametric"})
    >>> r2_words(fitted)
    'r² fixed by construction'
    >>> r2_words(fitted.assign_attrs(kind="learned"))
    'median r² 0.800, 1 of 2 above 0.7'
    """
    r2, name = _shown_r2(fitted)
    if name == _R2_FIXED:
        return name
    middle = f"{np.nanmedian(r2):.3f}" if np.isfinite(r2).any() else "not defined"
    return f"median {name} {middle}, {int((r2 > 0.7).sum())} of {r2.size} above 0.7"


def _parameter_text(fitted: xr.Dataset, unit: int) -> str:
    """Write the main parameters of one unit's fit with their units, one per line.

    Examples
    --------
    >>> values = xr.Dataset({"r2": ("unit", [0.93]), "orientation": ("unit", [45.0]), "frequency": ("unit", [0.2])})
    >>> print(_parameter_text(values.assign_attrs(units="px", kind="learned"), 0))
    r² 0.930
    orientation 45°
    f 0.200 cycles/px
    """
    r2, name = _shown_r2(fitted)
    # What rendering fixes is not given as a number that was measured.
    lines = [name if name == _R2_FIXED else f"{name.replace(' the original map', ' original')} {r2[unit]:.3f}"]
    known = ("r2_corrected", "r2_noise_corrected", "orientation", "frequency", "sigma_x", "sigma_y")
    found = {each: unit_values(fitted, each)[unit] for each in known if each in fitted}
    for corrected in ("r2_corrected", "r2_noise_corrected"):
        if np.isfinite(found.get(corrected, np.nan)):
            lines[0] += f", corrected {found[corrected]:.3f}"
    if "orientation" in found:
        lines.append(f"orientation {found['orientation']:.0f}°")
    if "frequency" in found:
        cycles = QUANTITIES["frequency"].units(str(fitted.attrs.get("units", "px")))
        lines.append(f"f {found['frequency']:.3f} {cycles}")
    if {"sigma_x", "sigma_y", "frequency"} <= set(found):
        nx, ny = (found[name] * found["frequency"] for name in ("sigma_x", "sigma_y"))
        lines.append(f"nx {nx:.2f}, ny {ny:.2f}")
    return "\n".join(lines)


def _draw_examples(place: Any, fitted: xr.Dataset, population: Population) -> pd.DataFrame:
    chosen = _example_units(fitted)
    if not chosen:
        raise InputError("expected at least one unit with a finite r², got none; see the status of the fits")
    rendered = population.kind == "parametric"  # its residual would be zero by construction
    titles = ("rendered", "fit") if rendered else ("data", "fit", "residual")
    r2, name = _shown_r2(fitted)
    below = [] if name == _R2_FIXED else [1.25]
    grid = place.add_gridspec(
        len(chosen) + len(below), len(titles) + 1, width_ratios=[*[1] * len(titles), 1.9],
        height_ratios=[*[1] * len(chosen), *below],
    )  # fmt: skip
    place.suptitle(population.label, fontsize=MEDIUM)
    units = fitted["unit"].values[chosen].astype(str)
    limits: list[float] = []
    residuals: list[float] = []
    for row, unit in enumerate(chosen):
        data = shown_map(fitted, unit)
        model = np.asarray(fitted["rf_fit"].isel(unit=unit, channel=0).transpose("y", "x").values, dtype=float)
        limits.append(float(np.nanmax(np.abs(data))))
        residuals.append(float(np.sqrt(np.nanmean((data - model) ** 2))))
        panels = [place.add_subplot(grid[row, column]) for column in range(len(titles))]
        for panel, title, values in zip(panels, titles, (data, model, data - model), strict=False):
            draw_map(panel, values, extent=map_extent(fitted), limit=limits[-1])
            panel.set_title(title if row == 0 else "")
        write_beside(
            place.add_subplot(grid[row, -1]), f"{units[row][:26]}\n{_parameter_text(fitted, unit)}", population
        )
    scale_bar(panels[0], population.units)
    status = unit_values(fitted, "status")[chosen]
    examples = population.table(
        panel="example", unit=units, r2=r2[chosen], status=status, residual_rms=residuals, limit=limits
    )
    if not below:
        return examples
    return pd.concat([examples, _draw_r2(place.add_subplot(grid[-1, :]), fitted, population)], ignore_index=True)


def _draw_r2(axes: Axes, fitted: xr.Dataset, population: Population) -> pd.DataFrame:
    import seaborn as sns

    r2, name = _shown_r2(fitted)
    finite = r2[np.isfinite(r2)]
    edges = np.linspace(0, 1, 21)
    # A fit worse than the mean has r² < 0: it is counted in the first bin rather than left out.
    inside = np.clip(finite, 0, 1)
    sns.histplot(x=inside, bins=edges, ax=axes, color=population.color, linewidth=0)
    median = float(np.median(finite))
    axes.axvline(median, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_xlabel(name.replace("r²", "$r^2$") + (" of the fit" if name == "r²" else ""), parse_math=True)
    axes.set_ylabel("units")
    axes.set_title(f"median {median:.3f}, dashed; {int((finite > 0.7).sum())} of {r2.size} above 0.7", fontsize=SMALL)
    mark_kind(axes, population, corner="upper left")
    counts = np.histogram(inside, edges)[0]
    return population.table(panel="histogram", r2_from=edges[:-1], r2_to=edges[1:], n=counts)


def _fits_text(fitted: xr.Dataset, population: Population) -> str:
    r2, _ = _shown_r2(fitted)
    clean = (unit_values(fitted, "status") == "converged").sum()
    text = (
        f"{population.cited}, {sign_words(fitted)}: {r2_words(fitted)}, {(~np.isfinite(r2)).sum()} without a fit, "
        f"{on_bound(fitted).sum()} on a bound, {clean} converged without remark."
    )
    if population.kind == "parametric":
        text += " The maps are rendered from parameters, so their fit is fixed by construction, without residual."
    return text
