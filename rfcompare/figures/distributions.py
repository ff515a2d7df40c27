"""The figure of tuning: how orientation, frequency, bandwidths, phase and size are distributed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, StepPatch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from rfcompare.comparison.histograms import Distribution
from rfcompare.descriptors import on_bound
from rfcompare.figures.artists import letter, mark_kind
from rfcompare.figures.drawing import Array, Population, populations, record, unit_values
from rfcompare.figures.look import SMALL, Look, drawn, is_narrow, new_figure, width_mm
from rfcompare.figures.populations import described
from rfcompare.quantities import KAPPA, LESS_THAN_ONE_CYCLE, QUANTITIES

_RANGES = {"orientation": (180.0, 13), "polarity_phase": (180.0, 10), "orientation_half_width": (90.0, 13)}
"""End and number of bin edges of the angles, whose whole range is shown."""

_NEED_CARRIER = ("frequency", "bandwidth_octaves", "orientation_half_width")
"""Quantities of a carrier: units that show less than one cycle are counted as untuned, in a bar of their own."""

_Member = tuple[xr.Dataset, Population]
"""Descriptors, and how they are drawn."""

_PANELS = ("orientation", "frequency", "bandwidth_octaves", "orientation_half_width", "polarity_phase")


def _octaves(cutoff_ratio: Array) -> Array:
    with np.errstate(divide="ignore"):
        return np.asarray(-np.log2(cutoff_ratio / 100))


def _half_width(ny: Array) -> Array:
    return np.asarray(np.degrees(np.arctan2(KAPPA, ny)))


_AS_DRAWN: Mapping[str, tuple[str, Callable[[Array], Array]]] = {
    "orientation": ("orientation", np.asarray),
    "peak_frequency": ("frequency", np.asarray),
    "cutoff_ratio": ("bandwidth_octaves", _octaves),
    "ny": ("orientation_half_width", _half_width),
}
"""In which panel a published quantity is drawn, and how its bin edges become the panel's quantity."""


@drawn("double")
def tuning(
    *datasets: xr.Dataset,
    published: Sequence[Distribution] = (),
    sensitivity: pd.DataFrame | None = None,
    **look: Unpack[Look],
) -> Figure:
    """Draw the distributions of orientation, frequency, bandwidths and polarity phase, and size against frequency.

    Parameters
    ----------
    datasets : Dataset
        Fits or descriptors of the populations.
    published : sequence of Distribution
        From `rfcompare.comparison.published`: orientation, peak frequency (where fields are in degrees), low over high
        cutoff as bandwidth and ny as orientation half-width are drawn behind.
    sensitivity : DataFrame, optional
        Contrast sensitivity, a row per frequency in cycles per degree and a column per animal, with
        ``attrs["citation"]``: drawn above the frequencies of fields in degrees.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

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
    styles = populations(datasets, look)
    members = list(zip(described(datasets), styles, strict=True))
    tables: list[pd.DataFrame] = []
    scales = list(dict.fromkeys(population.units for population in styles))
    seen = sensitivity if "degree" in scales else None
    across = 2 if is_narrow(look) else 3
    heights = [50 if len(scales) == 1 else 60] * (6 // across)
    heights[0] += 0 if seen is None else 14
    figure = new_figure(look, height=sum(heights) + 4 * (len(datasets) + bool(published)))
    grid = figure.add_gridspec(len(heights), across, height_ratios=heights)
    drawn: list[tuple[str, Distribution]] = []
    upper: list[Axes] = []
    for index, name in enumerate((*_PANELS, "size")):
        dimensionless = name in QUANTITIES and QUANTITIES[name].dimensionless
        own = ["px"] if dimensionless else scales
        above = seen if name == "frequency" else None
        # Populations that differ in units stand one above the other: no axis has two scales.
        rows = grid[index // across, index % across].subgridspec(
            len(own), 1, height_ratios=[1.9 if above is not None and scale == "degree" else 1 for scale in own]
        )
        first = len(figure.axes)
        for row, scale in enumerate(own):
            chosen = [each for each in members if dimensionless or each[1].units == scale]
            place, over = rows[row], None
            if above is not None and scale == "degree":
                stack = place.subgridspec(2, 1, height_ratios=[1, 1.2])
                place, over = stack[1], figure.add_subplot(stack[0])
                tables.append(_draw_sensitivity(over, above))
            panel = figure.add_subplot(place, sharex=over)
            if name == "size":
                tables.append(_draw_size(panel, chosen))
            else:
                behind = [each for each in published if _belongs(each, name, scale)]
                drawn += [("abcdef"[index], each) for each in behind]
                tables.append(_draw_distribution(panel, name, chosen, behind))
        upper.append(figure.axes[first])
        if index % across == 0:
            panel.set_ylabel("share of units")
    letter(*upper)
    handles: list[Any] = [
        Line2D([], [], color=population.color, marker=population.marker, label=population.label)
        for population in styles
    ]
    if drawn:
        # A line is broken between papers only.
        said = "; ".join(f"({key}) {_paper(each)}, n = {each.counts.sum()}".replace(" ", "\xa0") for key, each in drawn)
        words = textwrap.fill(f"macaque V1, published: {said}", int(width_mm(look))).replace("\xa0", " ")
        handles.append(Patch(facecolor="0.85", edgecolor="none", label=words))
    figure.legend(handles=handles, loc="outside upper left", ncols=1)
    numbers = pd.concat(tables, ignore_index=True)
    return record(figure, look, numbers=numbers, caption=_caption(members, numbers, drawn, seen))


def _paper(distribution: Distribution) -> str:
    return re.sub(r"(,| &).* (?=\d{4}$)", " ", distribution.citation.split(", doi:")[0])


def _belongs(distribution: Distribution, name: str, scale: str) -> bool:
    """Whether a published distribution stands behind this panel: frequencies only where both are in degrees."""
    (quantity, *more) = distribution.quantities
    return not more and _AS_DRAWN.get(quantity, ("",))[0] == name and (name != "frequency" or scale == "degree")


def _draw_published(axes: Axes, distribution: Distribution, edges: Array, *, log: bool) -> None:
    """Fill a published histogram behind the others: a share of wider bins is drawn per width of theirs."""
    own = _AS_DRAWN[distribution.quantities[0]][1](distribution.edges[0])
    share = distribution.counts / distribution.counts.sum()
    if own[0] > own[-1]:
        own, share = own[::-1], share[::-1]
    unit = np.diff(np.log(edges) if log else edges)[0]
    height = unit * share / np.diff(np.log(own) if log else own)
    if distribution.period:  # its first bin reaches below 0: that part stands at the other end
        own, height = np.r_[0, own[1:], distribution.period], np.r_[height, height[0]]
    shown = np.clip(own, None if log else edges[0], None if log else edges[-1])
    axes.stairs(height, shown, fill=True, color="0.85", zorder=0, gid=f"published {distribution.name}")


def _draw_sensitivity(axes: Axes, sensitivity: pd.DataFrame) -> pd.DataFrame:
    """Draw each animal's contrast sensitivity over spatial frequency."""
    seen = sensitivity.where(sensitivity >= 1)  # 1 is as much as any contrast can give
    axes.plot(sensitivity.index, seen, color="0.4", linewidth=0.8, gid="sensitivity")
    axes.set(xscale="log", yscale="log", ylim=(1, 1.5 * float(sensitivity.max(axis=None))))
    axes.set_xlim(sensitivity.index[0], sensitivity.index[-1])
    _plain_log(axes.yaxis)
    axes.text(
        0.98, 0.98, f"{sensitivity.shape[1]} tree shrews,\nmeasured", transform=axes.transAxes, ha="right", va="top",
        fontsize=SMALL,
    )  # fmt: skip
    axes.set_ylabel("contrast\nsensitivity")
    axes.tick_params(labelbottom=False)
    long = sensitivity.melt(ignore_index=False, var_name="unit", value_name="sensitivity").reset_index()
    return long.assign(panel="sensitivity", kind="measured", units="cycles/°")


def _edges(name: str, members: Sequence[_Member], span: tuple[float, float]) -> Array:
    """Bins of one panel: the quantity's whole range where it has one, otherwise that of the data and of the span."""
    if name in _RANGES:
        end, count = _RANGES[name]
        return np.linspace(0.0, end, count)
    values = np.concatenate([unit_values(dataset, name)[~_untuned(dataset, name)] for dataset, _ in members])
    values = values[np.isfinite(values) & (values > 0)]
    if values.size == 0:
        return np.linspace(0, 1, 11)
    if QUANTITIES[name].log and span[0] < span[1]:  # half octaves over all that is drawn
        low, high = min(span[0], values.min()), max(span[1], values.max())
        return np.asarray(2 ** np.arange(np.floor(2 * np.log2(low)) / 2, np.log2(high) + 0.5, 0.5))
    if QUANTITIES[name].log:
        return np.geomspace(values.min() / 1.05, values.max() * 1.05, 15)
    return np.linspace(0, min(float(np.ceil(values.max())), 6.0), 13)


def _untuned(dataset: xr.Dataset, name: str) -> NDArray[np.bool_]:
    """Which fitted units show less than one cycle, in the panel of a quantity that needs a carrier."""
    nx = unit_values(dataset, "nx")
    return np.asarray(np.isfinite(nx) & (nx <= KAPPA) & (name in _NEED_CARRIER), dtype=bool)


def _draw_untuned(
    axes: Axes, span: tuple[float, float], shares: Sequence[float], styles: Sequence[Population], *, log: bool
) -> float:
    """Draw the shares of untuned units as hatched bars beyond the last bin, and return where they end."""
    scaled, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    first, last = scaled(span)
    step = (last - first) * 0.13 / len(shares)
    starts = back(last + step * (0.5 + np.arange(len(shares) + 1)))
    for start, width, share, population in zip(starts, np.diff(starts), shares, styles, strict=False):
        axes.bar(
            start, share, width, align="edge", facecolor="white", hatch="//////", edgecolor=population.color,
            gid=f"untuned {population.name}",
        )  # fmt: skip
    middle = back(scaled(starts[[0, -1]]).mean())
    axes.annotate(
        "untuned", (middle, max(shares)), xytext=(0, 1), textcoords="offset points", ha="center", va="bottom",
        fontsize=SMALL,
    )  # fmt: skip
    return float(back(last + step * (len(shares) + 1)))


def _draw_distribution(
    axes: Axes, name: str, members: Sequence[_Member], published: Sequence[Distribution]
) -> pd.DataFrame:
    import seaborn as sns

    quantity, styles = QUANTITIES[name], [population for _, population in members]
    rows: list[pd.DataFrame] = []
    ends = [axes.get_xlim()] if axes.get_shared_x_axes().get_siblings(axes) != [axes] else []
    ends += [(float(each.edges[0][0]), float(each.edges[0][-1])) for each in published if quantity.log]
    edges = _edges(name, members, (min(low for low, _ in ends), max(high for _, high in ends)) if ends else (0, 0))
    span = (float(edges[0]), float(edges[-1]))
    for each in published:
        _draw_published(axes, each, edges, log=quantity.log)
    for dataset, population in members:
        values = unit_values(dataset, name)
        untuned = _untuned(dataset, name)
        finite = values[np.isfinite(values) & ~untuned]
        inside = np.clip(finite, *span)
        counts, _ = np.histogram(inside, edges)
        n_shown = max(finite.size + int(untuned.sum()), 1)
        if finite.size:  # a line at 0 would look like a result
            sns.histplot(
                x=inside, bins=np.log10(edges).tolist() if quantity.log else edges.tolist(), log_scale=quantity.log,
                weights=np.full(inside.size, 1 / n_shown), element="step", fill=False, color=population.color,
                linewidth=1.1, gid=population.name, ax=axes,
            )  # fmt: skip
        median = float(np.median(finite)) if finite.size and quantity.period is None else np.nan
        # In points above the axes, so that it keeps off the mark of a simulation in a low panel too.
        at = offset_copy(axes.get_xaxis_transform(), axes.get_figure(root=True), y=4, units="points")
        axes.plot(np.clip(median, *span), 1.0, "v", color=population.color, markersize=3.5, clip_on=False, transform=at)
        bins = {"from": edges[:-1], "to": edges[1:], "n": counts, "share": counts / n_shown, "median": median}
        rows.append(
            population.table(
                panel=name,
                units=quantity.units(population.units),
                **bins,
                n_undefined=int((~np.isfinite(values)).sum()),
                share_untuned=untuned.sum() / n_shown,
                n_beyond=int((finite != inside).sum()),
            )
        )
    axes.set(xlabel="", ylabel="")
    axes.set_xlabel(quantity.label(styles[0].units), parse_math=True)
    if quantity.log:
        axes.set_xscale("log")
        _plain_log(axes.xaxis, span)
    if quantity.scaling == "angle":
        axes.xaxis.set_major_locator(FixedLocator(np.arange(0, 181, 45 if edges[-1] > 90 else 30).tolist()))
    beyond = [float(row["share_untuned"].iloc[0]) for row in rows]
    end = _draw_untuned(axes, span, beyond, styles, log=quantity.log) if any(beyond) else span[1]
    if not quantity.log and quantity.scaling != "angle":  # no value belongs under the bar of the untuned
        ticks = np.asarray(MaxNLocator(6, integer=True).tick_values(*span))
        axes.xaxis.set_major_locator(FixedLocator(ticks[ticks <= span[1]].tolist()))
    axes.set_xlim(span[0], end)
    axes.yaxis.set_major_locator(MaxNLocator(3))
    # Room above the tallest bin for the mark of a simulation.
    behind = [np.max(patch.get_data()[0]) for patch in axes.patches if isinstance(patch, StepPatch)]
    axes.set_ylim(0, max(*(row["share"].max() for row in rows), *beyond, *behind) * 1.45 or 1)
    mark_kind(axes, *styles, corner="upper left" if any(beyond) else "upper right")
    return pd.concat(rows, ignore_index=True)


def _plain_log(axis: Any, span: tuple[float, float] | None = None) -> None:
    """Label a logarithmic axis, or a span of it, with round multiples of powers of ten, the more the shorter it is."""
    low, high = span or axis.get_view_interval()
    steps = (1, 3) if high > 100 * low else (1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 5, 7)
    ticks = [step * 10.0**power for power in range(-4, 4) for step in steps]
    axis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= high]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _draw_size(axes: Axes, members: Sequence[_Member]) -> pd.DataFrame:
    """Draw the envelope along the carrier against frequency; along the gray lines nx is constant."""
    rows = []
    for dataset, population in members:
        frequency, sigma = unit_values(dataset, "frequency"), unit_values(dataset, "sigma_x")
        shown = np.isfinite(frequency) & np.isfinite(sigma) & ~_untuned(dataset, "frequency")
        axes.scatter(
            frequency[shown], sigma[shown], s=5, marker=population.marker, facecolor=to_rgba(population.color, 0.4),
            edgecolor=population.color, linewidth=0.3, gid=population.name,
        )  # fmt: skip
        named = {"panel": "size", "unit": dataset["unit"].values.astype(str)}
        rows.append(population.table(**named, frequency=frequency, sigma_x=sigma, units=population.units))
    axes.set(xscale="log", yscale="log")
    low, high = axes.get_xlim()
    bottom, top = axes.get_ylim()
    for nx in (KAPPA, 1.0):  # up to the data only: above them stands the mark of a simulation
        ends = np.clip([nx / top, high], low, high)
        axes.plot(ends, nx / ends, color="0.75", linewidth=0.5, zorder=0)
    axes.set(xlim=(low, high), ylim=(bottom, top * 1.6))
    _plain_log(axes.xaxis)
    _plain_log(axes.yaxis)
    units = members[0][1].units
    axes.set_xlabel(QUANTITIES["frequency"].label(units), parse_math=True)
    axes.set_ylabel(f"$\\sigma_x$ ({QUANTITIES['sigma_x'].units(units)})", parse_math=True)
    mark_kind(axes, *(population for _, population in members))
    return pd.concat(rows, ignore_index=True)


def _caption(
    members: Sequence[_Member],
    numbers: pd.DataFrame,
    published: Sequence[tuple[str, Distribution]],
    sensitivity: pd.DataFrame | None,
) -> str:
    parts = []
    for dataset, population in members:
        undefined = numbers[numbers["population"] == population.name].groupby("panel")["n_undefined"].max()
        words = [
            f"{undefined['bandwidth_octaves']:.0f} with {LESS_THAN_ONE_CYCLE}, so without an octave bandwidth",
            f"{undefined['polarity_phase']:.0f} without a phase (nx < 0.1 or polarity unknown)",
        ]
        if "status" in dataset:
            words.append(f"{on_bound(dataset).sum()} on a bound")
        parts.append(f"{population.cited}: {', '.join(words)}")
    text = (
        "Tuning of the fitted Gabors: (a) orientation of the stripes, (b) spatial frequency, (c) octave bandwidth at "
        "half amplitude, (d) orientation half-width, (e) polarity phase (0° ON-center even, 90° odd, 180° "
        "OFF-center even), (f) envelope SD along the carrier against frequency of the tuned, gray lines nx = κ and 1. "
        "Triangles are medians of the tuned; hatched in (b) to (d), the share of untuned units, those with "
        f"{LESS_THAN_ONE_CYCLE}; the last bin of (c) holds what is beyond it. "
    )
    if published:
        text += "Gray, published histograms of macaque V1 in their own bins, drawn per width of the others' bins: "
        text += "; ".join(f"({key}) {each.citation}, n = {each.counts.sum()}" for key, each in published)
        text += (
            ". Their frequency is the peak of the response to gratings, their bandwidth follows from low over high "
            "cutoff at half height, their half-width from ny; untuned cells are not among them. "
        )
    if sensitivity is not None:
        text += (
            f"Above (b), contrast sensitivity of {sensitivity.shape[1]} tree shrews, measured by behavior "
            f"[{sensitivity.attrs['citation']}], as curves fitted to it. "
        )
    return text + "; ".join(parts) + "."
