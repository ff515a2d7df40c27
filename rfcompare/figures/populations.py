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
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, MultipleLocator, NullLocator
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from rfcompare.descriptors import describe, on_bound
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
from rfcompare.quantities import KAPPA, LESS_THAN_ONE_CYCLE, QUANTITIES, SCHEMAS

PLANE = (0.0, 1.3)
"""Limits of both axes of the (nx, ny) plane; units outside are drawn on the edge and counted in the caption."""

_BINS = np.linspace(*PLANE, 14)
"""Of the margins: a tenth of a cycle wide, as the literature's own."""

_DENSITY_SHARE = 0.5
"""The density contour holds this share of a population; where no points are drawn a second one holds `_MOST_SHARE`."""

_MOST_SHARE = 0.9

_POINTS_MOST = 600
"""Of more units than this (null ensembles, large recordings) the contours are drawn, not the points."""

_DENSITY_LEAST = 30
"""Fewer units than this get no density contour: it would show the kernel's width, not the cells."""


def described(dataset: xr.Dataset) -> xr.Dataset:
    """Return the descriptors of fits; descriptors pass.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=3, size=9, seed=0)
    >>> described(rfc.fit(bank, "gabor", seed=0)).attrs["schema"]
    'rfcompare-descriptors/1'
    """
    return describe(dataset) if dataset.attrs.get("schema") == SCHEMAS["fits"].name else dataset


def unit_values(dataset: xr.Dataset, name: str) -> NDArray[np.floating[Any]]:
    """Return one number per unit of descriptors.

    Raises
    ------
    InputError
        If the descriptors do not have the quantity.

    Examples
    --------
    >>> unit_values(xr.Dataset({"nx": ("unit", [0.5])}), "nx").tolist()
    [0.5]
    """
    if name not in dataset:
        raise InputError(f"expected descriptors with {name!r}, got none; describe the fits of a Gabor")
    return np.asarray(dataset[name].values, dtype=float)


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
        Units with a visible cycle (nx > κ = 0.187) stand in the plane, those without in a strip of their own beside it,
        with their share.

    Raises
    ------
    InputError
        If there is nothing to draw.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=5, size=9, seed=0)
    >>> fa = rfc.fit(bank, "gabor", seed=0)
    >>> figure = gabor_space(fa)
    >>> figure.axes[0].get_xlabel()
    'Carrier cycles in the envelope SD, $n_x = \\\\sigma_x f$'
    """
    if not datasets:
        raise InputError("expected fits or descriptors to draw, got none; pass fit(bank) or describe(fit(bank))")
    styles = populations(datasets)
    tables: list[pd.DataFrame] = []
    datasets = tuple(described(dataset) for dataset in datasets)
    with style():
        legend_rows = len(datasets) + (published is not None)
        figure = new_figure(width=width, height=86 + 4 * legend_rows, axes=axes)
        grid = figure.add_gridspec(2, 3, width_ratios=[0.22 * len(datasets), 4, 0.8], height_ratios=[0.8, 4])
        plane = figure.add_subplot(grid[1, 1])
        top = figure.add_subplot(grid[0, 1], sharex=plane)
        right = figure.add_subplot(grid[1, 2], sharey=plane)
        strip = figure.add_subplot(grid[1, 0], sharey=plane)
        handles: list[Any] = []
        if published is not None:
            handles.append(_draw_published(plane, top, right, published))
        for place, (dataset, population) in enumerate(zip(datasets, styles, strict=True)):
            tables.append(_draw_cloud(plane, top, right, dataset, population))
            _draw_strip(strip, place, tables[-1], population)
            handles.append(_handle(population))
        plane.axvline(KAPPA, color="black", linestyle=":", linewidth=0.7)
        plane.plot(PLANE, PLANE, color="0.7", linewidth=0.5, zorder=0)
        plane.set(xlim=PLANE, ylim=PLANE)
        for axis in (plane.xaxis, plane.yaxis):
            axis.set_major_locator(MultipleLocator(0.25))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        plane.set_xlabel(QUANTITIES["nx"].label("px"), parse_math=True)
        plane.set_ylabel("")
        plane.tick_params(labelleft=False)
        strip.set_ylabel(QUANTITIES["ny"].label("px"), parse_math=True)
        strip.set(xlim=(-0.6, len(datasets) - 0.4), xticks=range(len(datasets)))
        strip.set_xticklabels([_without_cycle(table) for table in tables], rotation=90)
        strip.set_xlabel("no visible\ncycle")
        mark_kind(plane, [population.kind for population in styles])
        for marginal in (top, right):
            marginal.tick_params(labelbottom=marginal is right, labelleft=marginal is top)
            marginal.yaxis.set_major_locator(MaxNLocator(2))
        right.xaxis.set_major_locator(MaxNLocator(2))
        right.yaxis.set_major_locator(MultipleLocator(0.25))
        top.set(xlabel="", ylabel="share")
        right.set(xlabel="share", ylabel="")
        figure.legend(handles=handles, loc="outside upper left", ncols=1)
        return record(
            figure, numbers=pd.concat(tables, ignore_index=True), caption=_plane_caption(datasets, styles, published)
        )


def _handle(population: Population) -> Line2D:
    """Return the entry of a population in the legend: its marker, or its contour's line where points are not drawn."""
    if population.n_units > _POINTS_MOST:
        return Line2D([], [], color=population.color, linewidth=1.0, label=population.label)
    return Line2D(
        [], [], linestyle="none", marker=population.marker, markersize=4, label=population.label,
        markerfacecolor=to_rgba(population.color, 0.55), markeredgecolor=population.color, markeredgewidth=0.5,
    )  # fmt: skip


def _draw_cloud(plane: Axes, top: Axes, right: Axes, dataset: xr.Dataset, population: Population) -> pd.DataFrame:
    import seaborn as sns

    nx, ny = unit_values(dataset, "nx"), unit_values(dataset, "ny")
    inside = np.clip(np.stack([nx, ny]), *PLANE)
    fitted = np.isfinite(nx) & np.isfinite(ny)
    shown = fitted & (nx > KAPPA)
    limit = on_bound(dataset)
    if population.n_units <= _POINTS_MOST:
        faces = np.where(limit[shown, None], to_rgba("white", 0.0), to_rgba(population.color, 0.45))
        plane.scatter(
            inside[0, shown], inside[1, shown], s=7, marker=population.marker, linewidth=0.35, clip_on=False,
            facecolor=faces, edgecolor=population.color, gid=population.name, zorder=3,
        )  # fmt: skip
    if shown.sum() >= _DENSITY_LEAST and np.linalg.matrix_rank(np.cov(inside[:, shown])) == 2:
        shares = (_DENSITY_SHARE,) if population.n_units <= _POINTS_MOST else (_DENSITY_SHARE, _MOST_SHARE)
        # A level is the share outside; half of Scott's width, so that two clouds stay two.
        sns.kdeplot(
            x=inside[0, shown], y=inside[1, shown], ax=plane, levels=sorted(1 - share for share in shares),
            bw_adjust=0.5, clip=(PLANE, PLANE), color=population.color, linewidths=1.0, zorder=4,
        )  # fmt: skip
    for axes, name, values in ((top, "x", inside[0]), (right, "y", inside[1])):
        if fitted.any():
            sns.histplot(
                **{name: values[fitted]}, bins=_BINS, stat="proportion", element="step", fill=False, ax=axes,
                color=population.color, linewidth=1.0,
            )  # fmt: skip
    return pd.DataFrame(
        {
            "population": population.name,
            "kind": population.kind,
            "unit": dataset["unit"].values.astype(str),
            "subject": dataset["subject"].values.astype(str),
            "nx": nx,
            "ny": ny,
            "on_bound": limit,
            "status": unit_status(dataset) if "status" in dataset else "",
        }
    )


def _draw_strip(strip: Axes, place: int, table: pd.DataFrame, population: Population) -> None:
    """Draw ny of the units without a visible cycle."""
    low = table.loc[table["nx"] <= KAPPA, "ny"].clip(*PLANE).to_numpy()
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, low.size)
    strip.scatter(
        place + spread, low, s=4, marker=population.marker, linewidth=0.3, clip_on=False, gid=population.name,
        facecolor=to_rgba(population.color, 0.45), edgecolor=population.color,
    )  # fmt: skip


def _without_cycle(table: pd.DataFrame) -> str:
    fitted = table["nx"].notna() & table["ny"].notna()
    share = (table.loc[fitted, "nx"] <= KAPPA).mean() if fitted.any() else np.nan
    return f"{share:.0%}" if np.isfinite(share) else "–"


def _draw_published(plane: Axes, top: Axes, right: Axes, published: xr.Dataset) -> Any:
    count = np.asarray(published["count"].transpose("nx_bin", "ny_bin").values, dtype=float)
    nx_edge, ny_edge = (np.asarray(published[name].values, dtype=float) for name in ("nx_edge", "ny_edge"))
    shade = np.ma.masked_equal(count.T / count.sum(), 0)
    plane.pcolormesh(nx_edge, ny_edge, shade, cmap="Greys", vmin=0, vmax=shade.max() * 1.8, zorder=0, linewidth=0)
    width = np.diff(_BINS)[0]  # of the other histograms: a share of wider bins is drawn per width of theirs
    top.stairs(count.sum(1) / count.sum() * width / np.diff(nx_edge), nx_edge, fill=True, color="0.8", zorder=0)
    share = count.sum(0) / count.sum() * width / np.diff(ny_edge)
    right.stairs(share, ny_edge, fill=True, color="0.8", orientation="horizontal", zorder=0)
    label = f"{_published_name(published)} (published, n = {int(count.sum())})"
    return Patch(facecolor="0.75", edgecolor="none", label=label)


def _published_name(published: xr.Dataset) -> str:
    attrs = published.attrs
    return str(attrs.get("title") or str(attrs.get("citation", "")).split(",")[0] or "published histogram")


def _plane_caption(datasets: Sequence[xr.Dataset], styles: Sequence[Population], published: xr.Dataset | None) -> str:
    parts = []
    for dataset, population in zip(datasets, styles, strict=True):
        nx, ny = unit_values(dataset, "nx"), unit_values(dataset, "ny")
        finite = np.isfinite(nx) & np.isfinite(ny)
        outside = int((((nx > PLANE[1]) | (ny > PLANE[1])) & finite).sum())
        text = (
            f"{population.label}{source_text(dataset)}: {int((nx[finite] <= KAPPA).sum())} with {LESS_THAN_ONE_CYCLE}"
        )
        if "status" in dataset:
            text += f", {on_bound(dataset).sum()} on a bound"
        if outside:
            text += f", {outside} outside the plane and drawn on its edge"
        if not finite.all():
            text += f", {int((~finite).sum())} without a fit"
        parts.append(text)
    shades = ""
    if published is not None:
        shades = f" Gray: {_published_name(published)}, published histogram in its own bins{source_text(published)}"
        shades += f"; {str(published.attrs['note']).rstrip('.')}." if published.attrs.get("note") else "."
    return (
        "Shape of the fitted Gabors in the plane of Ringach 2002 (doi:10.1152/jn.2002.88.1.455). A point is a unit "
        f"(hollow: on a bound of the fit, so a limit and no value); those with {LESS_THAN_ONE_CYCLE} (nx at most κ = "
        f"{KAPPA:.3f}, dotted) stand in the strip on the left, with their share. A "
        f"contour holds half of {_DENSITY_LEAST} or more units with a visible cycle; of more than {_POINTS_MOST} "
        "units no points "
        f"are drawn, and two contours hold {100 * _DENSITY_SHARE:g} % and {100 * _MOST_SHARE:g} %; margins are shares "
        "of all units. Diagonal, a round envelope. " + "; ".join(parts) + "." + shades
    )


_RANGES = {"orientation": (180.0, 13), "polarity_phase": (180.0, 10), "orientation_half_width": (90.0, 13)}
"""End and number of bin edges of the angles, whose whole range is shown."""

_NEED_CARRIER = ("frequency", "bandwidth_octaves", "orientation_half_width")
"""Quantities of a carrier: units that show less than one cycle are counted as untuned, in a bar of their own."""

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
        Where populations differ in units, their frequencies and sizes stand in axes of their own.

    Raises
    ------
    InputError
        If there is nothing to draw.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=5, size=9, seed=0)
    >>> fa = rfc.fit(bank, "gabor", seed=0)
    >>> figure = tuning(fa)
    >>> [panel.get_xlabel() for panel in figure.axes[:2]]
    ['Orientation of the stripes $\\\\theta$ (deg)', 'Spatial frequency $f$ (cycles/px)']
    """
    if not datasets:
        raise InputError("expected fits or descriptors to draw, got none; pass fit(bank) or describe(fit(bank))")
    styles = populations(datasets)
    tables: list[pd.DataFrame] = []
    datasets = tuple(described(dataset) for dataset in datasets)
    with style():
        split = len({population.units for population in styles}) > 1
        figure = new_figure(width=width, height=(120 if split else 100) + 4 * len(datasets), axes=axes)
        grid = figure.add_gridspec(2, 3)
        for index, name in enumerate((*_PANELS, "size")):
            dimensionless = name in QUANTITIES and QUANTITIES[name].dimensionless
            for row, (panel, _, members) in enumerate(
                _split(figure, grid[index // 3, index % 3], styles, dimensionless=dimensionless)
            ):
                chosen, drawn = [datasets[i] for i in members], [styles[i] for i in members]
                if name == "size":
                    tables.append(_draw_size(panel, chosen, drawn))
                else:
                    tables.append(_draw_distribution(panel, name, chosen, drawn))
                if row == 0:
                    letter(panel, "abcdef"[index])
            if index % 3 == 0:
                panel.set_ylabel("share of units")
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
    if name in _RANGES:
        end, count = _RANGES[name]
        return np.linspace(0.0, end, count)
    values = np.concatenate([unit_values(dataset, name)[~_untuned(dataset, name)] for dataset in datasets])
    values = values[np.isfinite(values) & (values > 0)]
    if values.size == 0:
        return np.linspace(0, 1, 11)
    if QUANTITIES[name].log:
        low, high = values.min() / 1.05, values.max() * 1.05
        return np.geomspace(low, high, 15)
    return np.linspace(0, min(float(np.ceil(values.max())), 6.0), 13)


def _untuned(dataset: xr.Dataset, name: str) -> NDArray[np.bool_]:
    """Which fitted units show less than one cycle, in the panel of a quantity that needs a carrier."""
    nx = unit_values(dataset, "nx")
    return np.asarray(np.isfinite(nx) & (nx <= KAPPA) & (name in _NEED_CARRIER), dtype=bool)


def _draw_untuned(
    axes: Axes, edges: NDArray[np.floating[Any]], shares: Sequence[float], styles: Sequence[Population], *, log: bool
) -> float:
    """Draw the shares of untuned units as hatched bars beyond the last bin, and return where they end."""
    position = np.log(edges) if log else edges
    step = (position[-1] - position[0]) * 0.13 / len(shares)
    starts = position[-1] + step * (0.5 + np.arange(len(shares) + 1))
    starts = np.exp(starts) if log else starts
    for index, (share, population) in enumerate(zip(shares, styles, strict=True)):
        axes.bar(
            starts[index], share, np.diff(starts)[index], align="edge", facecolor="white", hatch="//////",
            edgecolor=population.color, gid=f"untuned {population.name}",
        )  # fmt: skip
    middle = np.sqrt(starts[0] * starts[-1]) if log else (starts[0] + starts[-1]) / 2
    axes.annotate(
        "untuned", (middle, max(shares)), xytext=(0, 1), textcoords="offset points", ha="center", va="bottom",
        fontsize=SMALL,
    )  # fmt: skip
    end = position[-1] + step * (len(shares) + 1)
    return float(np.exp(end) if log else end)


def _split(
    figure: Any, slot: Any, styles: Sequence[Population], *, dimensionless: bool
) -> list[tuple[Axes, str, list[int]]]:
    """Give a panel one axes, or one above the other where populations differ in units: no axis has two scales."""
    scales = ["px"] if dimensionless else list(dict.fromkeys(population.units for population in styles))
    rows = slot.subgridspec(len(scales), 1)
    return [
        (
            figure.add_subplot(rows[row]),
            scale,
            [i for i, population in enumerate(styles) if dimensionless or population.units == scale],
        )
        for row, scale in enumerate(scales)
    ]


def _draw_distribution(
    axes: Axes, name: str, datasets: Sequence[xr.Dataset], styles: Sequence[Population]
) -> pd.DataFrame:
    quantity = QUANTITIES[name]
    rows: list[pd.DataFrame] = []
    edges = _edges(name, datasets)
    for dataset, population in zip(datasets, styles, strict=True):
        values = unit_values(dataset, name)
        untuned = _untuned(dataset, name)
        finite = values[np.isfinite(values) & ~untuned]
        counts, _ = np.histogram(np.clip(finite, edges[0], edges[-1]), edges)
        n_shown = max(finite.size + int(untuned.sum()), 1)
        share = counts / n_shown
        if finite.size:  # a line at 0 would look like a result
            axes.stairs(share, edges, color=population.color, linewidth=1.1, gid=population.name)
        median = float(np.median(finite)) if finite.size and quantity.period is None else np.nan
        axes.plot(
            np.clip(median, edges[0], edges[-1]),
            1.0,
            marker="v",
            color=population.color,
            markersize=3.5,
            clip_on=False,
            # In points above the axes, so that it keeps off the mark of a simulation in a low panel too.
            transform=offset_copy(axes.get_xaxis_transform(), axes.get_figure(root=True), y=4, units="points"),
        )
        rows.append(
            pd.DataFrame(
                {
                    "population": population.name,
                    "kind": population.kind,
                    "panel": name,
                    "units": quantity.units(population.units),
                    "from": edges[:-1],
                    "to": edges[1:],
                    "n": counts,
                    "share": share,
                    "median": median,
                    "n_undefined": int((~np.isfinite(values)).sum()),
                    "share_untuned": untuned.sum() / n_shown,
                    "n_beyond": int(((finite < edges[0]) | (finite > edges[-1])).sum()),
                }
            )
        )
    axes.set_xlabel(quantity.label(styles[0].units), parse_math=True)
    if quantity.log:
        axes.set_xscale("log")
        _plain_log(axes.xaxis)
    if quantity.scaling == "angle":
        axes.xaxis.set_major_locator(FixedLocator(np.arange(0, 181, 45 if edges[-1] > 90 else 30).tolist()))
    beyond = [float(row["share_untuned"].iloc[0]) for row in rows]
    end = _draw_untuned(axes, edges, beyond, styles, log=quantity.log) if any(beyond) else edges[-1]
    if not quantity.log and quantity.scaling != "angle":  # no value belongs under the bar of the untuned
        ticks = MaxNLocator(6, integer=True).tick_values(edges[0], edges[-1])
        axes.xaxis.set_major_locator(FixedLocator(ticks[ticks <= edges[-1]].tolist()))
    axes.set_xlim(edges[0], end)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    # Room above the tallest bin for the mark of a simulation.
    axes.set_ylim(0, max(*(row["share"].max() for row in rows), *beyond) * 1.45 or 1)
    mark_kind(axes, [population.kind for population in styles])
    return pd.concat(rows, ignore_index=True)


def _plain_log(axis: Any) -> None:
    """Label a short logarithmic axis with plain numbers: 1, 2 and 5 times powers of ten, more under a decade."""
    low, high = axis.get_view_interval()
    steps = (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 5, 7)
    axis.set_major_locator(FixedLocator([step * 10.0**power for power in range(-4, 4) for step in steps]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _draw_size(axes: Axes, datasets: Sequence[xr.Dataset], styles: Sequence[Population]) -> pd.DataFrame:
    """Draw the envelope along the carrier against frequency; along the gray lines nx is constant."""
    rows = []
    for dataset, population in zip(datasets, styles, strict=True):
        frequency, sigma = unit_values(dataset, "frequency"), unit_values(dataset, "sigma_x")
        shown = np.isfinite(frequency) & np.isfinite(sigma)
        axes.scatter(
            frequency[shown],
            sigma[shown],
            s=5,
            marker=population.marker,
            facecolor=to_rgba(population.color, 0.4),
            edgecolor=population.color,
            linewidth=0.3,
            gid=population.name,
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
                    "units": population.units,
                }
            )
        )
    units = styles[0].units
    axes.set_xscale("log")
    axes.set_yscale("log")
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    for nx in (0.2, 1.0):
        axes.plot([low, high], [nx / low, nx / high], color="0.75", linewidth=0.5, zorder=0)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, top * 1.6)
    _plain_log(axes.xaxis)
    _plain_log(axes.yaxis)
    axes.set_xlabel(QUANTITIES["frequency"].label(units), parse_math=True)
    axes.set_ylabel(f"$\\sigma_x$ ({QUANTITIES['sigma_x'].units(units)})", parse_math=True)
    mark_kind(axes, [population.kind for population in styles])
    return pd.concat(rows, ignore_index=True)


def _tuning_caption(
    datasets: Sequence[xr.Dataset], styles: Sequence[Population], tables: Sequence[pd.DataFrame]
) -> str:
    parts = []
    for dataset, population in zip(datasets, styles, strict=True):
        undefined = {
            str(table["panel"].iloc[0]): int(table.loc[table["population"] == population.name, "n_undefined"].max())
            for table in tables
            if "n_undefined" in table and (table["population"] == population.name).any()
        }
        words = [
            f"{undefined['bandwidth_octaves']} with {LESS_THAN_ONE_CYCLE}, so without an octave bandwidth",
            f"{undefined['polarity_phase']} without a phase (nx < 0.1 or polarity unknown)",
        ]
        if "status" in dataset:
            words.append(f"{on_bound(dataset).sum()} on a bound")
        parts.append(f"{population.label}{source_text(dataset)}: {', '.join(words)}")
    return (
        "Tuning of the fitted Gabors: (a) orientation of the stripes, (b) spatial frequency, (c) octave bandwidth at "
        "half amplitude, (d) orientation half-width, (e) polarity phase (0° ON-center even, 90° odd, 180° "
        "OFF-center even), (f) envelope SD along the carrier against frequency, gray lines nx = 0.2 and 1. Triangles "
        "are medians of the tuned; hatched in (b) to (d), the share of untuned units, those with "
        f"{LESS_THAN_ONE_CYCLE}; the last bin of (c) holds what is beyond it. " + "; ".join(parts) + "."
    )
