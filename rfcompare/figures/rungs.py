"""The figure of the answer: the ladder of a recording, and how the likeness hangs on what nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from rfcompare.comparison.sentences import signed
from rfcompare.errors import InputError, named_strictly
from rfcompare.figures.drawing import (
    CEILING_COLOR,
    KIND_MARKERS,
    NULL_COLOR,
    SIDE_COLORS,
    SMALL,
    Side,
    Width,
    letter,
    mark_kind,
    new_figure,
    record,
    style,
)
from rfcompare.quantities import kind_words

RUNG, SCALES = 3.6, 34.0
"""Heights in mm of a rung and of the panels over scales and choices."""

OF_THE_CORTEX = ("another_animal", "truth")
"""Rungs that are of the cortex itself."""

LINEAR_DOWN_TO = 1.0
"""The axis of the likeness is linear from −1 to 1 and logarithmic below."""


@named_strictly
def ladder(
    results: Mapping[str, xr.Dataset],
    *,
    width: Width | float = "double",
    axes: Axes | SubFigure | None = None,
) -> Figure:
    """Show what every population is like to a recording: noise at 0, another animal at 1, and the network among them.

    Parameters
    ----------
    results : mapping of str to Dataset
        What `rfcompare.likeness` gave, by the name to be shown, such as "AlexNet conv1 – macaque V1".
    width : {"single", "double"} or float
        89 mm, 183 mm or mm.
    axes : Axes or SubFigure, optional
        Place to draw into.

    Returns
    -------
    matplotlib Figure
        (a) the ladder of the first result with the networks of the others beside its own, (b) their likeness over the
        scale of a kernel's pixel, (c) the first one's under every distinct choice of analysis.

    Raises
    ------
    InputError
        If there is no result with a ladder.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=size, seed=size)[0] for size in (13, 9))
    >>> figure = ladder({"b – a": rfc.likeness(cells, kernels, references=False, seed=0)})
    >>> figure.axes[0].get_xlabel()
    'likeness'
    """
    kept = {name: result for name, result in results.items() if "reference" in result.dims}
    if not kept:
        raise InputError("expected at least one result with a ladder, got none; make it with rfcompare.likeness")
    first = next(iter(kept.values()))
    rows = _rungs(kept)
    with style():
        heights = [RUNG * len(rows) + 6, SCALES]
        figure = new_figure(width=width, height=sum(heights) + 30, axes=axes)
        grid = figure.add_gridspec(2, 2, height_ratios=heights)
        top = figure.add_subplot(grid[0, :])
        left, right = figure.add_subplot(grid[1, 0]), figure.add_subplot(grid[1, 1])
        _draw_rungs(top, rows, simulated="simulated" in (first.attrs["kind_a"], first.attrs["kind_b"]))
        _draw_scales(left, kept)
        _draw_choices(right, first)
        for axis, name in zip((top, left, right), "abc", strict=True):
            letter(axis, name)
        numbers = pd.concat([rows.assign(panel="ladder"), *_numbers(kept)], ignore_index=True)
        return record(figure, numbers=numbers, caption=_caption(kept))


def _rungs(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One row per rung, nearest to the cortex first; a network with its interval."""
    rows: list[dict[str, Any]] = []
    for number, (name, result) in enumerate(results.items()):
        row = result.sel(quantity="likeness")
        for at in range(result.sizes["reference"]):
            rung = {str(key): result[key].values[at] for key in result.data_vars if result[key].dims == ("reference",)}
            is_network = str(result["reference"].values[at]) == "network"
            if number and not is_network:
                continue
            ends = [float(row.ci_low), float(row.ci_high)] if is_network else [np.nan, np.nan]
            rows.append(
                {
                    "name": name.partition(" – ")[0] if is_network else _title(row, rung),
                    "reference": str(result["reference"].values[at]),
                    "likeness": float(rung["reference_likeness"]),
                    "distance": float(rung["distance"]),
                    "ci_low": ends[0],
                    "ci_high": ends[1],
                    "kind": str(rung["reference_kind"]),
                    "n": _count(row, str(result["reference"].values[at])),
                }
            )
    return pd.DataFrame(rows).sort_values("likeness", ascending=False, kind="stable").reset_index(drop=True)


def _title(row: xr.Dataset, rung: Mapping[str, Any]) -> str:
    """Name a reference; where no animals are known, 1 is no animal."""
    return _one(row) if rung["reference_title"] == "another animal" else str(rung["reference_title"])


def _one(row: xr.Dataset) -> str:
    return "another animal" if int(row.n_subjects_a) > 1 else "random halves of the cells"


def _count(row: xr.Dataset, reference: str) -> str:
    """How many units a rung of the two sides stands for; references are drawn, as many as are wanted."""
    if reference == "network":
        return f"n = {int(row.n_units_b)}"
    if reference == "another_animal":
        animals = int(row.n_subjects_a)
        return f"n = {int(row.n_units_a)}" + (f" from {animals} subjects" if animals else "")
    return ""


def _draw_rungs(axis: Axes, rows: pd.DataFrame, *, simulated: bool) -> None:
    axis.axvline(0, color=NULL_COLOR, linewidth=0.8)
    axis.axvline(1, color=CEILING_COLOR, linewidth=0.8)
    for place, row in rows.iterrows():
        network = row["reference"] == "network"
        side: Side = "network" if network else "cortex" if row["reference"] in OF_THE_CORTEX else "reference"
        color = SIDE_COLORS[side][0]
        if np.isfinite([row["ci_low"], row["ci_high"]]).all():
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=1.4)
        axis.plot(
            row["likeness"],
            place,
            marker=KIND_MARKERS[row["kind"]] if network else "|",
            markersize=5 if network else 7,
            color=color,
            linestyle="none",
            gid=f"rung {row['reference']}",
        )
    labels = [
        f"{row['name']} ({kind_words(row['kind'])}, {row['n']})" if row["n"] else row["name"]
        for _, row in rows.iterrows()
    ]
    axis.set_yticks(range(len(rows)), labels)
    for text, network in zip(axis.get_yticklabels(), rows["reference"] == "network", strict=True):
        text.set_fontweight("bold" if network else "normal")
    axis.set_ylim(len(rows) + (0.7 if simulated else -0.4), -0.6)  # room for the mark of a simulation
    high = float(rows[["likeness", "ci_high"]].max(axis=None))
    _likeness_axis(axis, "x", float(rows["likeness"].min()), high)
    axis.set_xlabel("likeness")
    if simulated:
        mark_kind(axis, "simulated", corner="lower left")


def _likeness_axis(axis: Axes, name: Literal["x", "y"], low: float, high: float) -> None:
    """Linear from −1 to 1, logarithmic below where anything lies there."""
    low, high = min(-1.0 if name == "x" else 0.0, low), max(1.2, high * 1.1)
    if low < -LINEAR_DOWN_TO:
        low *= 1.25
        (axis.set_xscale if name == "x" else axis.set_yscale)("symlog", linthresh=LINEAR_DOWN_TO, linscale=1.6)
    ticks = [tick for tick in (-100, -30, -10, -3, -1, -0.5, 0, 0.5, 1) if tick >= low]
    lines = axis.xaxis if name == "x" else axis.yaxis
    lines.set_major_locator(FixedLocator(ticks))
    lines.set_minor_locator(FixedLocator([]))
    lines.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    (axis.set_xlim if name == "x" else axis.set_ylim)(low, high)


def _draw_scales(axis: Axes, results: Mapping[str, xr.Dataset]) -> None:
    for number, (name, result) in enumerate(results.items()):
        line = axis.plot(result["scale"], result["likeness_at_scale"], marker=".", markersize=4, linewidth=0.9)[0]
        line.set_color(SIDE_COLORS["network"][number % len(SIDE_COLORS["network"])])
        line.set_label(name)
    axis.axhline(0, color=NULL_COLOR, linewidth=0.6)
    axis.axhline(1, color=CEILING_COLOR, linewidth=0.6)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    drawn = np.concatenate([result["likeness_at_scale"].values for result in results.values()])
    _likeness_axis(axis, "y", float(drawn.min()), float(drawn.max()))
    axis.set_xlabel("scale of the kernels (1 = equal field radii)")
    axis.set_ylabel("likeness")


def _draw_choices(axis: Axes, result: xr.Dataset) -> None:
    values = result["analysis_likeness"].values
    order = np.argsort(values)
    primary = result["analysis_primary"].values[order]
    rank = np.arange(1, values.size + 1)
    axis.plot(rank, values[order], linestyle="none", marker=".", markersize=3, color="0.45", gid="analyses")
    at = rank[primary][0], values[order][primary][0]
    axis.plot(*at, linestyle="none", marker="D", markersize=4, color="black", gid="primary")
    axis.annotate("primary", at, (0, 5), textcoords="offset points", ha="center", fontsize=SMALL)
    axis.axhline(0, color=NULL_COLOR, linewidth=0.6)
    axis.axhline(1, color=CEILING_COLOR, linewidth=0.6)
    _likeness_axis(axis, "y", float(values.min()), float(values.max()))
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlabel(f"{values.size} distinct analyses, by rank")
    axis.set_ylabel("likeness")


def _numbers(results: Mapping[str, xr.Dataset]) -> list[pd.DataFrame]:
    frames = []
    for name, result in results.items():
        frames.append(
            pd.DataFrame(
                {"panel": "scale", "name": name, "scale": result["scale"], "likeness": result["likeness_at_scale"]}
            )
        )
    first = next(iter(results.values()))
    frames.append(
        pd.DataFrame(
            {
                "panel": "analyses",
                **{key: first[f"analysis_{key}"].values for key in ("axes", "scale", "zero", "likeness", "primary")},
            }
        )
    )
    return frames


def _caption(results: Mapping[str, xr.Dataset]) -> str:
    name, first = next(iter(results.items()))
    row = first.sel(quantity="likeness")
    one = _one(row)
    drawn = first["analysis_likeness"].values
    return (
        f"{name}. (a) The ladder: likeness = (D zero − D)/(D zero − D {one}), D the squared energy distance to the "
        "cells "
        f"({kind_words(first.attrs['kind_a'])}). 0 is noise with the cortex's own spectrum and window, 1 is {one}; "
        "every "
        "population was seen through the same recording, at the scale that brings it nearest. Rungs without a count "
        "are references, drawn or scrambled for this ladder. Lines: 95 % intervals ("
        f"{row.interval.item()}). Axes are logarithmic below −1. (b) Likeness over the unknown scale of a kernel's "
        f"pixel. (c) The likeness under {drawn.size} distinct choices of axes, scale and zero, from "
        f"{signed(drawn.min())} "
        f"to {signed(drawn.max())}. {first.attrs['small_print']}"
    )
