"""Figures of where units stand: the (nx, ny) plane and the distributions of tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray
from scipy.stats import gaussian_kde

from rfcompare.errors import InputError
from rfcompare.figures.drawing import (
    SMALL,
    Population,
    Width,
    letter,
    mark_kind,
    new_figure,
    populations,
    record,
    style,
)
from rfcompare.figures.maps import source_text, unit_status
from rfcompare.quantities import KAPPA, QUANTITIES

PLANE = (0.01, 4.0)
"""Limits of both axes of the (nx, ny) plane; units outside are drawn on the edge and counted in the caption."""

_DENSITY_SHARE = 0.5
"""The density contour holds this share of a population."""

_DENSITY_LEAST = 30
"""Fewer units than this get no density contour: it would show the kernel's width, not the cells."""


def unit_values(dataset: xr.Dataset, name: str) -> NDArray[np.floating[Any]]:
    """Return one number per unit of fits or descriptors; nx, ny, and aspect follow from the fit where absent.

    Raises
    ------
    InputError
        If the Dataset has neither the quantity nor what it follows from.

    Examples
    --------
    >>> fitted = xr.Dataset({"sigma_x": ("unit", [2.0]), "frequency": ("unit", [0.25])})
    >>> unit_values(fitted, "nx").tolist()
    [0.5]
    """
    if name in dataset:
        values = dataset[name]
        return np.asarray((values.isel(channel=0) if "channel" in values.dims else values).values, dtype=float)
    if name in ("nx", "ny") and {"frequency", "sigma_x", "sigma_y"} & set(dataset.data_vars):
        sigma = unit_values(dataset, {"nx": "sigma_x", "ny": "sigma_y"}[name])
        return np.asarray(sigma * unit_values(dataset, "frequency"))
    if name == "bandwidth_octaves":
        nx = unit_values(dataset, "nx")
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(nx > KAPPA, np.log2((nx + KAPPA) / (nx - KAPPA)), np.nan)
    if name == "orientation_half_width":
        return np.degrees(np.arctan2(KAPPA, unit_values(dataset, "ny")))
    if name == "polarity_phase" and "phase" in dataset:
        phase = np.degrees(np.arccos(np.cos(np.radians(unit_values(dataset, "phase")))))
        known = dataset["polarity_known"].values if "polarity_known" in dataset else True
        return np.where(known & (unit_values(dataset, "nx") >= 0.1), phase, np.nan)
    raise InputError(f"expected fits or descriptors with {name!r}, got neither it nor what it follows from")


def gabor_space(
    *datasets: xr.Dataset,
    published: xr.Dataset | None = None,
    width: Width | float = "single",
    axes: Axes | SubFigure | None = None,
) -> Figure:
    """Draw the (nx, ny) plane of Ringach 2002 with marginals and, from 30 units on, densities.

    Parameters
    ----------
    datasets : Dataset
        Fits or descriptors of the populations: cortex, network, nulls.
    published : Dataset, optional
        A published joint histogram: ``count(nx_bin, ny_bin)`` with coordinates ``nx_edge`` and ``ny_edge``.
    width : {"single", "double"} or float
        89 mm, 183 mm or mm.
    axes : Axes or SubFigure, optional
        Place to draw into.

    Returns
    -------
    matplotlib Figure
        Logarithmic plane; the dotted line is nx = κ = 0.187, below which the filter is low-pass.

    Raises
    ------
    InputError
        If there is nothing to draw.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> fa = rfc.fit(rfc.simulate_gabors(5, size=9, seed=0), "gabor", seed=0)
    >>> figure = gabor_space(fa)
    >>> figure.axes[0].get_xlabel()
    'Carrier cycles in the envelope SD, $n_x = \\\\sigma_x f$'
    """
    if not datasets:
        raise InputError("expected fits or descriptors to draw, got none; pass fit(bank) or describe(fit(bank))")
    styles = populations(datasets)
    tables: list[pd.DataFrame] = []
    with style():
        legend_rows = len(datasets) + (published is not None)
        figure = new_figure(width=width, height=89 + 4 * legend_rows, axes=axes)
        grid = figure.add_gridspec(2, 2, width_ratios=[4, 1], height_ratios=[1, 4])
        plane = figure.add_subplot(grid[1, 0])
        top = figure.add_subplot(grid[0, 0], sharex=plane)
        right = figure.add_subplot(grid[1, 1], sharey=plane)
        handles: list[Any] = []
        if published is not None:
            handles.append(_draw_published(plane, top, right, published))
        edges = np.geomspace(*PLANE, 21)
        for dataset, population in zip(datasets, styles, strict=True):
            tables.append(_draw_cloud(plane, top, right, dataset, population, edges))
            handles.append(
                Line2D(
                    [],
                    [],
                    linestyle="none",
                    marker=population.marker,
                    markersize=4,
                    markerfacecolor=to_rgba(population.color, 0.55),
                    markeredgecolor=population.color,
                    markeredgewidth=0.5,
                    label=population.label,
                )
            )
        plane.axvline(KAPPA, color="black", linestyle=":", linewidth=0.7)
        plane.text(KAPPA * 0.95, PLANE[1] * 0.93, "low-pass", ha="right", va="top", fontsize=SMALL)
        plane.text(KAPPA * 1.05, PLANE[1] * 0.93, "band-pass", ha="left", va="top", fontsize=SMALL)
        plane.plot(PLANE, PLANE, color="0.7", linewidth=0.5, zorder=0)
        _log_axes(plane)
        plane.set_xlabel(QUANTITIES["nx"].label("px"))
        plane.set_ylabel(QUANTITIES["ny"].label("px"))
        plane.set_box_aspect(1)
        mark_kind(plane, [population.kind for population in styles], corner="lower right")
        for marginal in (top, right):
            marginal.tick_params(labelbottom=marginal is right, labelleft=marginal is top)
        top.set_ylabel("share")
        right.set_xlabel("share")
        figure.legend(handles=handles, loc="outside upper left", ncols=1)
        return record(
            figure, numbers=pd.concat(tables, ignore_index=True), caption=_plane_caption(datasets, styles, published)
        )


def _log_axes(plane: Axes) -> None:
    for axis, scale, limits in (
        (plane.xaxis, plane.set_xscale, plane.set_xlim),
        (plane.yaxis, plane.set_yscale, plane.set_ylim),
    ):
        scale("log")
        limits(*PLANE)
        axis.set_major_locator(FixedLocator([0.01, 0.03, 0.1, 0.3, 1, 3]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def _draw_cloud(
    plane: Axes,
    top: Axes,
    right: Axes,
    dataset: xr.Dataset,
    population: Population,
    edges: NDArray[np.floating[Any]],
) -> pd.DataFrame:
    nx, ny = unit_values(dataset, "nx"), unit_values(dataset, "ny")
    shown = np.isfinite(nx) & np.isfinite(ny) & (nx > 0) & (ny > 0)
    inside = np.clip(np.stack([nx, ny]), *PLANE)
    plane.scatter(
        inside[0, shown],
        inside[1, shown],
        s=7,
        marker=population.marker,
        facecolor=to_rgba(population.color, 0.45),
        edgecolor=population.color,
        linewidth=0.35,
        label=population.label,
        clip_on=False,
        gid=population.name,
        zorder=3,
    )
    if shown.sum() >= _DENSITY_LEAST:
        _draw_density(plane, np.log2(inside[:, shown]), population.color)
    for axes, values, orientation in ((top, inside[0], "vertical"), (right, inside[1], "horizontal")):
        counts, _ = np.histogram(values[shown], edges)
        axes.stairs(counts / max(shown.sum(), 1), edges, color=population.color, orientation=orientation, linewidth=1)
    return pd.DataFrame(
        {
            "population": population.name,
            "kind": population.kind,
            "unit": dataset["unit"].values.astype(str),
            "subject": dataset["subject"].values.astype(str),
            "nx": nx,
            "ny": ny,
            "status": unit_status(dataset) if "status" in dataset else "",
        }
    )


def _draw_density(plane: Axes, points: NDArray[np.floating[Any]], color: str) -> None:
    """Draw the contour that holds half of a population, of a Gaussian kernel density in (log2 nx, log2 ny)."""
    if np.linalg.matrix_rank(np.cov(points)) < 2:
        return
    density = gaussian_kde(points)
    axis = np.linspace(*np.log2(PLANE), 80)
    values = density(np.stack([grid.ravel() for grid in np.meshgrid(axis, axis)])).reshape(80, 80)
    level = np.quantile(density(points), 1 - _DENSITY_SHARE)
    plane.contour(2**axis, 2**axis, values, levels=[level], colors=[color], linewidths=1.0, zorder=4)


def _draw_published(plane: Axes, top: Axes, right: Axes, published: xr.Dataset) -> Any:
    count = np.asarray(published["count"].transpose("nx_bin", "ny_bin").values, dtype=float)
    nx_edge, ny_edge = (np.asarray(published[name].values, dtype=float) for name in ("nx_edge", "ny_edge"))
    shade = np.ma.masked_equal(count.T / count.sum(), 0)
    plane.pcolormesh(nx_edge, ny_edge, shade, cmap="Greys", vmin=0, vmax=shade.max() * 1.8, zorder=0, linewidth=0)
    # A density over fewer, wider bins is drawn per unit of the other histograms' bin width.
    scale = np.log(PLANE[1] / PLANE[0]) / 20
    for axes, edge, axis, orientation in ((top, nx_edge, 1, "vertical"), (right, ny_edge, 0, "horizontal")):
        share = count.sum(axis) / count.sum() * scale / np.diff(np.log(edge))
        axes.stairs(share, edge, fill=True, color="0.8", orientation=orientation, zorder=0)
    name = published.attrs.get("title", "published histogram")
    return Patch(facecolor="0.75", edgecolor="none", label=f"{name} (published, n = {int(count.sum())})")


def _plane_caption(
    datasets: Sequence[xr.Dataset], styles: Sequence[Population], published: xr.Dataset | None
) -> str:
    parts = []
    for dataset, population in zip(datasets, styles, strict=True):
        nx, ny = unit_values(dataset, "nx"), unit_values(dataset, "ny")
        finite = np.isfinite(nx) & np.isfinite(ny)
        outside = int((((nx < PLANE[0]) | (nx > PLANE[1]) | (ny < PLANE[0]) | (ny > PLANE[1])) & finite).sum())
        text = f"{population.label}{source_text(dataset)}: {int((nx[finite] <= KAPPA).sum())} low-pass"
        if "status" in dataset:
            text += f", {sum('bound' in words for words in unit_status(dataset))} on a bound"
        if outside:
            text += f", {outside} outside the plane and drawn on its edge"
        if not finite.all():
            text += f", {int((~finite).sum())} without a fit"
        parts.append(text)
    shades = ""
    if published is not None:
        shades = f" Gray: {published.attrs.get('title', 'published histogram')}{source_text(published)}."
    return (
        "Shape of the fitted Gabors in the plane of Ringach 2002 (doi:10.1152/jn.2002.88.1.455). A point is a unit, a "
        f"contour holds half of a population of {_DENSITY_LEAST} or more; margins are shares of units. Dotted, "
        f"nx = κ = {KAPPA:.3f}: at or below it the filter is low-pass; diagonal, a round envelope. "
        + "; ".join(parts)
        + "."
        + shades
    )


_PANELS = ("orientation", "frequency", "bandwidth_octaves", "orientation_half_width", "polarity_phase")


def tuning(
    *datasets: xr.Dataset,
    width: Width | float = "double",
    axes: Axes | SubFigure | None = None,
) -> Figure:
    """Draw the distributions of orientation, frequency, bandwidths and polarity phase, and size against frequency.

    Parameters
    ----------
    datasets : Dataset
        Fits or descriptors of the populations.
    width : {"single", "double"} or float
        89 mm, 183 mm or mm.
    axes : Axes or SubFigure, optional
        Place to draw into.

    Returns
    -------
    matplotlib Figure
        Where populations differ in units, frequency and size stand on two axes, one below and one above or beside.

    Raises
    ------
    InputError
        If there is nothing to draw.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> fa = rfc.fit(rfc.simulate_gabors(5, size=9, seed=0), "gabor", seed=0)
    >>> figure = tuning(fa)
    >>> [panel.get_xlabel() for panel in figure.axes[:2]]
    ['Orientation of the stripes $\\\\theta$ (deg)', 'Spatial frequency $f$ (cycles/px)']
    """
    if not datasets:
        raise InputError("expected fits or descriptors to draw, got none; pass fit(bank) or describe(fit(bank))")
    styles = populations(datasets)
    tables: list[pd.DataFrame] = []
    with style():
        figure = new_figure(width=width, height=104 + 4 * len(datasets), axes=axes)
        panels = figure.subplots(2, 3)
        for index, (name, panel) in enumerate(zip((*_PANELS, "size"), panels.flat, strict=True)):
            letter(panel, "abcdef"[index])
            if name == "size":
                tables.append(_draw_size(panel, datasets, styles))
            else:
                tables.append(_draw_distribution(panel, name, datasets, styles))
            mark_kind(panel, [population.kind for population in styles], corner="upper right")
        handles = [
            Line2D([], [], color=population.color, marker=population.marker, label=population.label)
            for population in styles
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=1)
        return record(
            figure,
            numbers=pd.concat(tables, ignore_index=True),
            caption=_tuning_caption(datasets, styles, tables),
        )


def _edges(name: str, datasets: Sequence[xr.Dataset]) -> NDArray[np.floating[Any]]:
    """Bins of one panel: the quantity's whole range where it has one, otherwise that of the data."""
    fixed = {"orientation": (0, 180, 13), "polarity_phase": (0, 180, 10), "orientation_half_width": (0, 90, 13)}
    if name in fixed:
        return np.linspace(*fixed[name])
    values = np.concatenate([unit_values(dataset, name) for dataset in datasets])
    values = values[np.isfinite(values) & (values > 0)]
    if values.size == 0:
        return np.linspace(0, 1, 11)
    if QUANTITIES[name].log:
        low, high = values.min() / 1.05, values.max() * 1.05
        return np.geomspace(low, high, 15)
    return np.linspace(0, min(float(np.ceil(values.max())), 6.0), 13)


def _draw_distribution(
    axes: Axes, name: str, datasets: Sequence[xr.Dataset], styles: Sequence[Population]
) -> pd.DataFrame:
    quantity = QUANTITIES[name]
    rows: list[pd.DataFrame] = []
    scales = list(dict.fromkeys(population.units for population in styles)) if not quantity.dimensionless else ["px"]
    for scale in scales:
        members = [i for i, population in enumerate(styles) if quantity.dimensionless or population.units == scale]
        place = axes if scale == scales[0] else axes.twiny()
        edges = _edges(name, [datasets[i] for i in members])
        for i in members:
            values = unit_values(datasets[i], name)
            finite = values[np.isfinite(values)]
            counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
            share = counts / max(finite.size, 1)
            place.stairs(share, edges, color=styles[i].color, linewidth=1.1)
            if finite.size:
                middle = float(np.median(finite)) if quantity.period is None else np.nan
                place.plot(
                    middle, -0.035, marker="^", color=styles[i].color, markersize=3.5, clip_on=False,
                    transform=place.get_xaxis_transform(), zorder=5,
                )  # fmt: skip
            rows.append(
                pd.DataFrame(
                    {
                        "population": styles[i].name,
                        "kind": styles[i].kind,
                        "panel": name,
                        "units": quantity.units(styles[i].units),
                        "from": edges[:-1],
                        "to": edges[1:],
                        "n": counts,
                        "share": share,
                        "n_undefined": values.size - finite.size,
                    }
                )
            )
        place.set_xlabel(quantity.label(scale))
        if quantity.log:
            place.set_xscale("log")
            _plain_log(place)
        if quantity.scaling == "angle":
            place.xaxis.set_major_locator(FixedLocator(np.arange(0, 181, 45 if edges[-1] > 90 else 30).tolist()))
        place.set_xlim(edges[0], edges[-1])
        if scale != scales[0]:
            place.spines["top"].set_visible(True)
    axes.set_ylabel("share of units")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.18)
    return pd.concat(rows, ignore_index=True)


def _plain_log(axes: Axes) -> None:
    """Label a short logarithmic axis with plain numbers: 1, 2 and 5 times powers of ten."""
    ticks = [step * 10.0**power for power in range(-4, 4) for step in (1, 2, 5)]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _draw_size(axes: Axes, datasets: Sequence[xr.Dataset], styles: Sequence[Population]) -> pd.DataFrame:
    """Draw the envelope along the carrier against frequency; a line of slope −1 is constant nx."""
    rows = []
    scales = list(dict.fromkeys(population.units for population in styles))
    for scale in scales:
        place = axes if scale == scales[0] else axes.twinx().twiny()
        for dataset, population in zip(datasets, styles, strict=True):
            if population.units != scale:
                continue
            frequency, sigma = unit_values(dataset, "frequency"), unit_values(dataset, "sigma_x")
            shown = np.isfinite(frequency) & np.isfinite(sigma)
            place.scatter(
                frequency[shown],
                sigma[shown],
                s=5,
                marker=population.marker,
                facecolor=to_rgba(population.color, 0.4),
                edgecolor=population.color,
                linewidth=0.3,
            )
            rows.append(
                pd.DataFrame(
                    {
                        "population": population.name,
                        "kind": population.kind,
                        "panel": "size",
                        "unit": dataset["unit"].values.astype(str),
                        "frequency": frequency,
                        "sigma_x": sigma,
                        "units": scale,
                    }
                )
            )
        place.set_xscale("log")
        place.set_yscale("log")
        place.set_xlabel(QUANTITIES["frequency"].label(scale))
        place.set_ylabel(QUANTITIES["sigma_x"].label(scale))
    return pd.concat(rows, ignore_index=True)


def _tuning_caption(
    datasets: Sequence[xr.Dataset], styles: Sequence[Population], tables: Sequence[pd.DataFrame]
) -> str:
    parts = []
    for dataset, population in zip(datasets, styles, strict=True):
        undefined = {
            str(table["panel"].iloc[0]): int(table.loc[table["population"] == population.name, "n_undefined"].max())
            for table in tables
            if "n_undefined" in table
        }
        words = [
            f"{undefined['bandwidth_octaves']} low-pass, without an octave bandwidth",
            f"{undefined['polarity_phase']} without a phase (nx < 0.1 or polarity unknown)",
        ]
        if "status" in dataset:
            words.append(f"{sum('bound' in status for status in unit_status(dataset))} on a bound")
        parts.append(f"{population.label}{source_text(dataset)}: {', '.join(words)}")
    return (
        "Tuning of the fitted Gabors: (a) orientation of the stripes, (b) spatial frequency, (c) octave bandwidth at half "
        "amplitude, (d) orientation half-width, (e) polarity phase (0° ON-center even, 90° odd, 180° OFF-center even), "
        "(f) envelope SD against frequency. Triangles are medians; shares are of the units for which the quantity is "
        "defined. " + "; ".join(parts) + "."
    )
