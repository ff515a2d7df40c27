"""What figures draw alike: the mark of a simulation, panel letters, scale bars, maps and tiles of maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure

from rfcompare.figures.drawing import CEILING_COLOR, NULL_COLOR, Array, Population
from rfcompare.figures.look import DIVERGING, LARGE, SMALL

TILE_PITCH = 1.12
"""From tile to tile, in tiles."""

_LETTERS = "abcdefghi"
"""Of panels."""


def mark_kind(
    axes: Axes,
    *shown: str | Population,
    corner: str = "upper right",
    at: tuple[float, float] | None = None,
    align: str = "left",
) -> None:
    """Write SIMULATED in axes where anything shown, populations or kinds, is simulated.

    It stands in the corner that has room ("upper left", "lower right", …), "below" a map that fills the axes, or with
    an end at a place in data coordinates.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> mark_kind(axes, "learned", "simulated")
    >>> [text.get_text() for text in axes.texts]
    ['SIMULATED']
    """
    if not any_simulated(*shown):
        return
    write = partial(
        axes.text, s="SIMULATED", fontsize=SMALL, fontweight="bold", color="#0f6a9e", zorder=10,
        bbox={"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.8},
    )  # fmt: skip
    if at is not None:
        write(*at, ha=align, va="center")
        return
    left = 0.02 if axes.axison and corner != "below" else 0.0
    x, side = (0.98, "right") if "right" in corner else (left, "left")
    y, end = {"u": (0.98, "top"), "l": (0.02, "bottom"), "b": (-0.04, "top")}[corner[0]]
    write(x, y, transform=axes.transAxes, ha=side, va=end)


def any_simulated(*shown: str | Population) -> bool:
    """Whether any of these populations or kinds is simulated: room is left for the mark."""
    return any((each if isinstance(each, str) else each.kind) == "simulated" for each in shown)


def letter(*panels: Axes | SubFigure, first: str = "a") -> None:
    """Write panel letters in bold above the upper left corners, from `first` on.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> panels = Figure().subplots(1, 2)
    >>> letter(*panels, first="b")
    >>> [panel.get_title(loc="left") for panel in panels]
    ['b', 'c']
    """
    for panel, text in zip(panels, _LETTERS[_LETTERS.index(first) :], strict=False):
        if isinstance(panel, SubFigure) and panel.get_suptitle():  # beside the heading that it has
            panel.text(0.01, 0.98, text, ha="left", va="top", fontsize=LARGE, fontweight="bold")
        elif isinstance(panel, SubFigure):
            panel.suptitle(text, x=0.01, ha="left", fontsize=LARGE, fontweight="bold")
        else:
            panel.set_title(text, loc="left", fontsize=LARGE, fontweight="bold")


def lettered(parts: Sequence[str], *, first: str = "a") -> list[str]:
    """Write the letters of panels before what a caption says of each; of a single panel none is written.

    Examples
    --------
    >>> lettered(["kernels", "fields"]), lettered(["kernels"])
    (['(a) kernels', '(b) fields'], ['kernels'])
    """
    if len(parts) == 1 and first == "a":
        return list(parts)
    return [f"({text}) {part}" for text, part in zip(_LETTERS[_LETTERS.index(first) :], parts, strict=False)]


def _nice_length(extent: float) -> float:
    """Choose a round length of about a third of `extent`: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(extent / 3))
    return max(step for step in (1.0, 2.0, 5.0) if step * power <= extent / 3 * 1.0000001) * power


def scale_bar(axes: Axes, units: str, *, extent: float | None = None, height: float | None = None) -> None:
    """Draw a bar of round length, about a third of what the axes show or of `extent`, with the length beside it.

    It lies under the axes from their left edge, or from 0 at this height in the axes' units.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> image = draw_map(axes, np.eye(3), extent=(-3, 3, -3, 3))
    >>> scale_bar(axes, "degree")
    >>> axes.texts[0].get_text(), axes.lines[0].get_xdata().tolist()
    ('2°', [-3.0, -1.0])
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    start = left if height is None else 0.0
    height = bottom - 0.13 * (top - bottom) if height is None else height
    length = _nice_length(right - left if extent is None else extent)
    axes.plot([start, start + length], [height] * 2, color="black", linewidth=1.2, solid_capstyle="butt", clip_on=False)
    axes.annotate(
        f"{length:g}°" if units == "degree" else f"{length:g} px", (start + length, height), (4, 0),
        textcoords="offset points", va="center", fontsize=SMALL, annotation_clip=False,
    )  # fmt: skip
    axes.set(xlim=(left, right), ylim=(bottom, top))


def draw_null_and_ceiling(axes: Axes, along: Literal["x", "y"]) -> None:
    """Draw where along an axis of likeness its null, 0, and its ceiling, 1, are: behind what is compared with them."""
    draw = axes.axvline if along == "x" else axes.axhline
    for value, color in ((0, NULL_COLOR), (1, CEILING_COLOR)):
        draw(value, color=color, linewidth=0.8, zorder=1.9)


def write_beside(axes: Axes, text: str, *shown: str | Population) -> None:
    """Write what is to be said of maps in axes of its own beside them, under the mark of a simulation."""
    axes.set_axis_off()
    mark_kind(axes, *shown, corner="upper left")
    axes.text(0, 0.4 if any_simulated(*shown) else 0.5, text, fontsize=SMALL, va="center", linespacing=1.1)


def map_extent(dataset: xr.Dataset) -> tuple[float, float, float, float]:
    """Return the outer edges (left, right, bottom, top) of a Dataset's maps, for ``imshow(origin="lower")``.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(3, 5)[None, None], channel=("signed",), kind="analytic")
    >>> map_extent(bank)
    (-2.5, 2.5, -1.5, 1.5)
    """
    x, y = (np.asarray(dataset[name].values, dtype=float) for name in "xy")
    half_x = (x[1] - x[0]) / 2 if x.size > 1 else 0.5
    half_y = (y[1] - y[0]) / 2 if y.size > 1 else 0.5
    return float(x[0] - half_x), float(x[-1] + half_x), float(y[0] - half_y), float(y[-1] + half_y)


def draw_map(
    axes: Axes,
    values: Array,
    *,
    extent: tuple[float, float, float, float],
    limit: float | None = None,
) -> Any:
    """Draw one map (y, x) or (y, x, color), row 0 lowest, alone in axes with a thin frame; unmeasured pixels are gray.

    Zero is gray among colors, otherwise white between red and blue; `limit` is drawn in full color, by default the
    largest magnitude.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> image = draw_map(Figure().add_subplot(), np.array([[0.0, -2.0], [1.0, 0.0]]), extent=(-1, 1, -1, 1))
    >>> image.get_clim()
    (-2.0, 2.0)
    """
    axes.set_facecolor("#d9d9d9")
    image = _draw_values(axes, values, extent, limit)
    axes.set_aspect("equal")
    bare(axes)
    return image


def draw_tiles(axes: Axes, tiles: Iterable[tuple[Array, float, int]], size: tuple[float, float] = (1.0, 1.0)) -> None:
    """Draw maps (values, row, column) of one size as tiles, each in its own limits, rows from the top down.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> draw_tiles(axes, [(np.eye(3), 0, 0), (np.eye(3), 0, 1)])
    >>> [image.get_extent() for image in axes.images] == [[0, 1, -1, 0], [TILE_PITCH, TILE_PITCH + 1, -1, 0]]
    True
    """
    for values, row, column in tiles:
        left, top = column * TILE_PITCH * size[0], -row * TILE_PITCH * size[1]
        _draw_values(axes, values, (left, left + size[0], top - size[1], top), None)
    axes.set_aspect("equal")
    axes.set_axis_off()


def _draw_values(axes: Axes, values: Array, extent: tuple[float, float, float, float], limit: float | None) -> Any:
    full = (largest(values) if limit is None else limit) or 1.0
    if values.ndim == 3:
        shown = np.clip(np.nan_to_num(values) / (2 * full) + 0.5, 0, 1)
        return axes.imshow(shown, origin="lower", extent=extent, interpolation="nearest")
    return axes.imshow(
        np.ma.masked_invalid(values), origin="lower", extent=extent, interpolation="nearest", cmap=DIVERGING,
        vmin=-full, vmax=full,
    )  # fmt: skip


def largest(values: Array) -> float:
    """Return the largest magnitude that was measured; 0 where nothing was.

    Examples
    --------
    >>> largest(np.array([np.nan, -2.0])), largest(np.array([np.nan]))
    (2.0, 0.0)
    """
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def bare(axes: Axes) -> None:
    """Take the ticks off an axes that shows a map and keep a thin frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, linewidth=0.3)
