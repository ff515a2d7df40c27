"""The figure of where units stand: the (nx, ny) plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from rfcompare.descriptors import describe, on_bound
from rfcompare.errors import InputError
from rfcompare.figures.artists import any_simulated, draw_map, map_extent, mark_kind
from rfcompare.figures.drawing import Array, Population, populations, record, source_text, unit_values
from rfcompare.figures.look import Look, drawn, new_figure
from rfcompare.figures.maps import shown_map
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

_EXAMPLES = 6
"""Units of all populations together whose maps are shown in the plane, where it is free."""

_TILE = 0.17
"""How much of the plane a map takes, on either axis."""

_MARK_ROOM = 0.1
"""Above the plane for the mark of a simulation: no unit is drawn there."""

_DENSITY_LEAST = 30
"""Fewer units than this get no density contour: it would show the kernel's width, not the cells."""


def described(datasets: Sequence[xr.Dataset]) -> tuple[xr.Dataset, ...]:
    """Return the descriptors of fits, of one population or more; descriptors pass.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> bank, _ = simulate_population(n=3, size=9, seed=0)
    >>> described([rfc.fit(bank, "gabor", seed=0)])[0].attrs["schema"]
    'rfcompare-descriptors/1'
    """
    if not datasets:
        raise InputError("expected fits or descriptors to draw, got none; pass fit(bank) or describe(fit(bank))")
    fitted = SCHEMAS["fits"].name
    return tuple(describe(dataset) if dataset.attrs.get("schema") == fitted else dataset for dataset in datasets)


@drawn("single")
def gabor_space(*datasets: xr.Dataset, published: xr.Dataset | None = None, **look: Unpack[Look]) -> Figure:
    """Draw the (nx, ny) plane of Ringach 2002 with marginals and, from 30 units on, densities.

    Parameters
    ----------
    datasets : Dataset
        Fits or descriptors of the populations: cortex, network, nulls.
    published : Dataset, optional
        A published joint histogram: ``count(nx_bin, ny_bin)`` with coordinates ``nx_edge`` and ``ny_edge``.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        Units with a visible cycle (nx > κ = 0.187) stand in the plane, some of them with their maps where the datasets
        carry them; those without in a strip of their own beside it, with their share.

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
    mapped, datasets = datasets, described(datasets)
    styles = populations(mapped, look)
    tables: list[pd.DataFrame] = []
    legend_rows = len(datasets) + (published is not None)
    figure = new_figure(look, height=86 + 4 * legend_rows)
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
    plane.plot([KAPPA, KAPPA], PLANE, color="black", linestyle=":", linewidth=0.7)
    plane.plot(PLANE, PLANE, color="0.7", linewidth=0.5, zorder=0)
    plane.set(xlim=PLANE, ylim=(PLANE[0], PLANE[1] + _MARK_ROOM * any_simulated(*styles)))
    _draw_examples(plane, mapped, tables, styles, published)
    for axis in (plane.xaxis, plane.yaxis):  # and of the margins, which share them
        axis.set_major_locator(MultipleLocator(0.25))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    plane.set_xlabel(QUANTITIES["nx"].label("px"), parse_math=True)
    plane.set_ylabel("")
    plane.tick_params(labelleft=False)
    mark_kind(plane, *styles)
    strip.set_ylabel(QUANTITIES["ny"].label("px"), parse_math=True)
    strip.set(xlim=(-0.6, len(datasets) - 0.4), xticks=range(len(datasets)), xlabel="no visible\ncycle")
    strip.set_xticklabels([_without_cycle(table) for table in tables], rotation=90)
    for marginal, shares in ((top, top.yaxis), (right, right.xaxis)):
        shares.set_major_locator(MaxNLocator(2))
        marginal.tick_params(labelbottom=marginal is right, labelleft=marginal is top)
    top.set(xlabel="", ylabel="share")
    right.set(xlabel="share", ylabel="")
    figure.legend(handles=handles, loc="outside upper left", ncols=1)
    numbers = pd.concat(tables, ignore_index=True)
    caption = _plane_caption(datasets, styles, published, maps=bool(numbers["map_shown"].any()))
    return record(figure, look, numbers=numbers, caption=caption)


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
    shares = (_DENSITY_SHARE,) if population.n_units <= _POINTS_MOST else (_DENSITY_SHARE, _MOST_SHARE)
    _draw_density(plane, inside[:, shown], shares, population.color)
    for axes, name, values in ((top, "x", inside[0]), (right, "y", inside[1])):
        if fitted.any():
            sns.histplot(
                **{name: values[fitted]}, bins=_BINS, stat="proportion", element="step", fill=False, ax=axes,
                color=population.color, linewidth=1.0,
            )  # fmt: skip
    return population.table(
        unit=dataset["unit"].values.astype(str),
        subject=dataset["subject"].values.astype(str),
        nx=nx,
        ny=ny,
        on_bound=limit,
        map_shown=False,
        status=unit_values(dataset, "status") if "status" in dataset else "",
    )


def _draw_density(axes: Axes, points: Array, shares: Sequence[float], color: str) -> None:
    """Draw the contours that hold these shares of the points (axis, point), if there are enough of them."""
    import seaborn as sns

    if points.shape[1] >= _DENSITY_LEAST and np.linalg.matrix_rank(np.cov(points)) == 2:
        # A level is the share outside; half of Scott's width, so that two clouds stay two.
        sns.kdeplot(
            x=points[0], y=points[1], ax=axes, levels=sorted(1 - share for share in shares), bw_adjust=0.5,
            clip=(PLANE, PLANE), color=color, linewidths=1.0, zorder=4,
        )  # fmt: skip


def outlines(dataset: xr.Dataset) -> list[Array]:
    """Return the contours (point, axis) that hold half of the units with a visible cycle, as the plane draws them."""
    points = np.stack([unit_values(dataset, name) for name in ("nx", "ny")])
    shown = np.isfinite(points).all(axis=0) & (points[0] > KAPPA)
    axes = Figure().add_subplot()
    _draw_density(axes, np.clip(points[:, shown], *PLANE), (_DENSITY_SHARE,), "black")
    paths = [path for drawn in axes.collections for path in drawn.get_paths()]
    return [np.asarray(line) for path in paths for line in path.to_polygons(closed_only=False)]


def _draw_examples(
    plane: Axes,
    mapped: Sequence[xr.Dataset],
    tables: Sequence[pd.DataFrame],
    styles: Sequence[Population],
    published: xr.Dataset | None,
) -> None:
    """Draw maps of some units of each population, each on the free place of the plane that is nearest to its unit."""
    points = [table[["nx", "ny"]].clip(*PLANE).to_numpy() for table in tables]
    points += [path.vertices for each in plane.collections if isinstance(each, ContourSet) for path in each.get_paths()]
    taken = np.concatenate(points)[:, None]
    steps = np.arange(0.01, PLANE[1] - _TILE, 0.02)
    places = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    places = places[np.abs(places[:, 0] + _TILE / 2 - KAPPA) > _TILE / 2]  # the dotted line stays in sight
    cost = _published_share(places, published)
    free = ~_any_within(taken, places)
    tiles: list[Array] = []
    for dataset, table, population in zip(mapped, tables, styles, strict=True):
        for unit in _examples(dataset, table, max(1, _EXAMPLES // len(mapped))):
            here = table.loc[unit, ["nx", "ny"]].to_numpy(dtype=float)
            leaders = here + np.linspace(0, 1, 20)[:, None, None] * (places + _TILE / 2 - here)
            open_way = free & ~np.any([_any_within(leaders, tile) for tile in tiles], axis=0)
            if not open_way.any():
                return
            away = np.hypot(*(places + _TILE / 2 - here).T) + cost
            chosen = int(np.where(open_way, away, np.inf).argmin())
            tiles.append(places[chosen])
            free &= ~_any_within(leaders[:, chosen, None], places) & (
                np.abs(places - tiles[-1]).max(axis=1) > _TILE + 0.03
            )
            tile = plane.inset_axes((*tiles[-1], _TILE, _TILE), transform=plane.transData, zorder=5)
            draw_map(tile, shown_map(dataset, unit), extent=map_extent(dataset))
            tile.spines[:].set(color=population.color, linewidth=0.8)
            # From the tile's middle, under it: a map need not fill it.
            plane.plot(*np.stack([here, tiles[-1] + _TILE / 2]).T, color=population.color, linewidth=0.5, zorder=4)
            table.loc[unit, "map_shown"] = True


def _examples(dataset: xr.Dataset, table: pd.DataFrame, count: int) -> list[int]:
    """Units with a visible cycle at evenly spaced ranks of nx; none where the data carry no maps."""
    own = table[table["nx"].between(KAPPA, PLANE[1], inclusive="neither") & (table["ny"] < PLANE[1])]
    if not {"rf", "x", "y"} <= set(dataset.variables):
        return []
    ranked = own["nx"].sort_values(kind="stable").index.to_numpy()
    places = ((np.arange(count) + 0.5) / count * ranked.size).astype(int)
    return [int(unit) for unit in ranked[np.unique(places)]] if ranked.size else []


def _any_within(points: Array, places: Array) -> NDArray[np.bool_]:
    """In which tiles at these places any of the points (point, 1 or place, axis) lies, or nearly."""
    return np.asarray((np.abs(points - places - _TILE / 2) < _TILE / 2 + 0.02).all(axis=-1).any(axis=0))


def _published_share(places: Array, published: xr.Dataset | None) -> Array:
    """The share of published cells in the bins that tiles at these places touch."""
    if published is None:
        return np.zeros(len(places))
    count = np.asarray(published["count"].transpose("nx_bin", "ny_bin").values)
    edges = [np.asarray(published[f"{name}_edge"].values) for name in ("nx", "ny")]
    nx, ny = (
        (edge[:-1] < places[:, axis, None] + _TILE) & (edge[1:] > places[:, axis, None])
        for axis, edge in enumerate(edges)
    )
    return np.asarray(np.einsum("pi,ij,pj->p", nx, count, ny) / count.sum())


def _draw_strip(strip: Axes, place: int, table: pd.DataFrame, population: Population) -> None:
    """Draw ny of the units without a visible cycle."""
    low = table.loc[table["nx"] <= KAPPA, "ny"].clip(*PLANE).to_numpy()
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, low.size)
    strip.scatter(
        place + spread, low, s=4, marker=population.marker, linewidth=0.3, clip_on=False, gid=population.name,
        facecolor=to_rgba(population.color, 0.45), edgecolor=population.color,
    )  # fmt: skip


def _without_cycle(table: pd.DataFrame) -> str:
    fitted = table.dropna(subset=["nx", "ny"])
    return f"{(fitted['nx'] <= KAPPA).mean():.0%}" if len(fitted) else "–"


def _draw_published(plane: Axes, top: Axes, right: Axes, published: xr.Dataset) -> Any:
    count = np.asarray(published["count"].transpose("nx_bin", "ny_bin").values, dtype=float)
    nx_edge, ny_edge = (np.asarray(published[name].values, dtype=float) for name in ("nx_edge", "ny_edge"))
    shade = np.ma.masked_equal(count.T / count.sum(), 0)
    drawn = [np.clip(edge, *PLANE) for edge in (nx_edge, ny_edge)]
    plane.pcolormesh(*drawn, shade, cmap="Greys", vmin=0, vmax=shade.max() * 1.8, zorder=0, linewidth=0)
    width = np.diff(_BINS)[0]  # of the other histograms: a share of wider bins is drawn per width of theirs
    top.stairs(count.sum(1) / count.sum() * width / np.diff(nx_edge), nx_edge, fill=True, color="0.8", zorder=0)
    share = count.sum(0) / count.sum() * width / np.diff(ny_edge)
    right.stairs(share, drawn[1], fill=True, color="0.8", orientation="horizontal", zorder=0)
    return Patch(facecolor="0.75", edgecolor="none", label=published_label(published))


def published_label(published: xr.Dataset) -> str:
    """Name a published histogram with its n."""
    return f"{_published_name(published)} (published, n = {int(published['count'].sum())})"


def _published_name(published: xr.Dataset) -> str:
    attrs = published.attrs
    return str(attrs.get("title") or str(attrs.get("citation", "")).split(",")[0] or "published histogram")


def _plane_caption(
    datasets: Sequence[xr.Dataset], styles: Sequence[Population], published: xr.Dataset | None, *, maps: bool
) -> str:
    shown = "Maps are of units at evenly spaced ranks of nx, each where the plane is free. " if maps else ""
    parts = []
    for dataset, population in zip(datasets, styles, strict=True):
        nx, ny = unit_values(dataset, "nx"), unit_values(dataset, "ny")
        finite = np.isfinite(nx) & np.isfinite(ny)
        outside = int((((nx > PLANE[1]) | (ny > PLANE[1])) & finite).sum())
        text = f"{population.cited}: {int((nx[finite] <= KAPPA).sum())} with {LESS_THAN_ONE_CYCLE}"
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
        f"{KAPPA:.3f}, dotted) stand in the strip on the left, with their share. A contour holds half of "
        f"{_DENSITY_LEAST} or more units with a visible cycle; of more than {_POINTS_MOST} units no points are drawn, "
        f"and two contours hold {100 * _DENSITY_SHARE:g} % and {100 * _MOST_SHARE:g} %; margins are shares of all "
        f"units. {shown}Diagonal, a round envelope. {'; '.join(parts)}.{shades}"
    )
