"""The figure of matched maps: which kernel looks like which field, and how much that is worth."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import pdist

from rfcompare.errors import InputError
from rfcompare.figures.artists import any_simulated, draw_map, letter, map_extent, mark_kind, scale_bar, write_beside
from rfcompare.figures.drawing import (
    CEILING_COLOR,
    NULL_COLOR,
    Array,
    Population,
    evenly_spaced,
    populations,
    record,
    sign_words,
)  # fmt: skip
from rfcompare.figures.look import SMALL, Look, drawn, is_narrow, new_figure
from rfcompare.figures.maps import shown_map
from rfcompare.matching import apply_transform
from rfcompare.quantities import kind_words

_N_PAIRS = 6
"""Pairs drawn: evenly spaced ranks of the one-to-one assignment, from the most to the least similar."""

_NAME_MOST = 22
"""Letters of a unit's name that a panel has room for."""


@drawn("double")
def matches(found: xr.Dataset, a: xr.Dataset, b: xr.Dataset, **look: Unpack[Look]) -> Figure:
    """Show pairs with their transform, every field's best match beside chance and ceiling, and the similarity matrix.

    Parameters
    ----------
    found : Dataset
        What `rfcompare.match` gave for `a` and `b`.
    a, b : Dataset
        The signed banks that were matched: as a rule kernels and fields.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        The pairs are evenly spaced ranks of the assignment, chosen by rule. The matrix is ordered by average-linkage
        trees of its rows and columns.

    Raises
    ------
    InputError
        If the banks are not those that were matched, or no pair was found.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> a, b = (simulate_population(n=3, size=9, seed=seed)[0] for seed in (0, 1))
    >>> figure = matches(rfc.match(a, b), a, b)
    >>> len(rfc.figures.numbers(figure))
    9
    """
    for name, bank in (("unit_a", a), ("unit_b", b)):
        if list(found[name].values) != list(bank["unit"].values):
            raise InputError(f"expected the banks that were matched, got other units in {name}; pass match's own banks")
    similarity = found["similarity"].transpose("unit_a", "unit_b").values.astype(float)
    pairs = _ranked_pairs(found)
    if not pairs:
        raise InputError("expected at least one assigned pair with a transform, got none; see match's similarity")
    styles = populations([a, b], look)
    if is_narrow(look):
        figure = new_figure(look, height=216)
        left, right = figure.subfigures(2, 1, height_ratios=[1.12, 1])
    else:
        figure = new_figure(look, height=118)
        left, right = figure.subfigures(1, 2, width_ratios=[1.12, 1])
    _draw_pairs(left, found, a, b, pairs, styles)
    above, below = right.subplots(2, 1, height_ratios=[1, 1.45])
    _draw_best(above, found, styles)
    _draw_matrix(below, similarity, styles)
    letter(left.axes[0], above, below)
    return record(figure, look, numbers=_numbers(found, styles), caption=_caption(found, a, b, styles, len(pairs)))


def _ranked_pairs(found: xr.Dataset) -> list[tuple[int, int]]:
    assigned = found["assigned"].transpose("unit_a", "unit_b").values.astype(bool)
    similarity = found["similarity"].transpose("unit_a", "unit_b").values.astype(float)
    placed = assigned & np.isfinite(found["scale"].transpose("unit_a", "unit_b").values.astype(float))
    rows, columns = np.nonzero(placed)
    order = np.argsort(-similarity[rows, columns], kind="stable")
    chosen = order[evenly_spaced(order.size, _N_PAIRS)]
    return [(int(rows[i]), int(columns[i])) for i in chosen]


def _draw_pairs(
    place: Any, found: xr.Dataset, a: xr.Dataset, b: xr.Dataset, pairs: list[tuple[int, int]], styles: list[Population]
) -> None:
    grid = place.add_gridspec(len(pairs), 4, width_ratios=[1, 1, 1, 1.75])
    for row, (i, j) in enumerate(pairs):
        one = found.isel(unit_a=i, unit_b=j)
        laid = apply_transform(a, found, str(a["unit"].values[i]), str(b["unit"].values[j]), to=b)
        shown = {
            "kernel": (shown_map(a, i), a),
            "laid on the field": (np.asarray(laid.transpose("y", "x").values, dtype=float), b),
            "field": (shown_map(b, j), b),
        }
        panels = [place.add_subplot(grid[row, column]) for column in range(3)]
        for panel, (title, (values, bank)) in zip(panels, shown.items(), strict=True):
            draw_map(panel, values, extent=map_extent(bank))
            if row == 0:
                panel.set_title(title, fontsize=SMALL)
        turned = ", sign turned" if float(one["sign"]) < 0 else ""
        text = (
            f"{_short(a, i)} on\n{_short(b, j)}\nsimilarity {float(one['similarity']):.2f}\n{_beside_text(found, j)}\n"
            f"{float(one['rotation']):+.0f}°, × {float(one['scale']):.2f}{turned}"
        )
        write_beside(place.add_subplot(grid[row, 3]), text, *styles)
    for panel, population in zip(panels[::2], styles, strict=True):
        scale_bar(panel, population.units)


def _short(bank: xr.Dataset, index: int) -> str:
    """Name a unit in the width of a panel; the table has the whole name."""
    name = str(bank["unit"].values[index])
    return name if len(name) <= _NAME_MOST else f"…{name[1 - _NAME_MOST :]}"


def _beside_text(found: xr.Dataset, unit_b: int) -> str:
    """Write what must stand beside the similarity of one field: its chance level and its ceiling.

    Examples
    --------
    >>> _beside_text(xr.Dataset({"chance": ("unit_b", [0.4]), "ceiling": ("unit_b", [np.nan])}), 0)
    'chance 0.40, ceiling unknown'
    """
    chance, ceiling = (float(found[name].values[unit_b]) for name in ("chance", "ceiling"))
    tested = f"chance {chance:.2f}" if np.isfinite(chance) else "chance not tested"
    return tested + (f", ceiling {ceiling:.2f}" if np.isfinite(ceiling) else ", ceiling unknown")


def _draw_best(axes: Axes, found: xr.Dataset, styles: list[Population]) -> None:
    """Draw every field's best match, ordered, with the best of the nulls and the ceiling of the same field."""
    best, chance, ceiling = (found[name].values.astype(float) for name in ("best", "chance", "ceiling"))
    order = np.argsort(-np.nan_to_num(best, nan=-1), kind="stable")
    rank = np.arange(1, order.size + 1)
    for values, color, marker, size, label in (
        (ceiling, CEILING_COLOR, "_", 3, "ceiling"),
        (best, "black", "o", 1.7, "best kernel"),
        (chance, NULL_COLOR, "_", 3, "chance"),
    ):
        if np.isfinite(values).any():
            axes.plot(rank, values[order], marker, markersize=size, markeredgewidth=0.8, color=color, label=label)
    axes.set(xlim=(0, order.size + 1), ylim=(0, 1.02), xlabel="fields, most similar first", ylabel="similarity")
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(0.1, 1.0), ncols=3, columnspacing=1.0, handletextpad=0.3)
    mark_kind(axes, *styles, corner="lower right")


def _draw_matrix(axes: Axes, similarity: Array, styles: list[Population]) -> None:
    """Draw the matrix with the trees that order it, above its columns and right of its rows."""
    import seaborn as sns
    from seaborn.matrix import dendrogram

    (beside, rows), (above, columns) = _tree(similarity), _tree(similarity.T)
    sns.heatmap(
        similarity[np.ix_(rows, columns)], vmin=0, vmax=1, cmap="viridis", rasterized=True, ax=axes,
        xticklabels=max(1, columns.size // 8), yticklabels=max(1, rows.size // 8),
        cbar_kws={"label": "similarity", "fraction": 0.05, "pad": 0.02},
    )  # fmt: skip
    room = 0.09 * rows.size if any_simulated(*styles) else 0.0  # below the matrix, for the mark of a simulation
    axes.set_ylim(rows.size + room, 0)
    below = room / (rows.size + room)
    for found, box, turned in ((above, (0, 1, 1, 0.14), False), (beside, (1, below, 0.1, 1 - below), True)):
        if found is None:
            continue
        place, values = axes.inset_axes(box), similarity if turned else similarity.T
        dendrogram(values, axis=0, linkage=found, ax=place, rotate=turned, label=False, tree_kws={"linewidths": 0.3})
        if turned:  # the root stands away from the matrix, the first row is at its top
            place.invert_xaxis()
        place.set_axis_off()
    kernels, fields = (f"{kind_words(style.kind)}, n = {style.n_units}" for style in styles)
    axes.set(xlabel=f"fields ({fields}), ordered by a tree", ylabel=f"kernels ({kernels}), ordered by a tree")
    axes.tick_params(rotation=0)
    axes.spines[:].set_visible(True)
    mark_kind(axes, *styles, corner="lower right")


def _tree(similarity: Array) -> tuple[Array | None, NDArray[np.intp]]:
    """Average-linkage tree of three or more rows by their Euclidean distances, as SciPy's, and the order of its leaves.

    Examples
    --------
    >>> rows = np.array([[1.0, 0.0], [0.0, 1.0], [0.9, 0.0]])
    >>> _tree(rows)[1].tolist()
    [1, 2, 0]
    """
    if len(similarity) < 3:
        return None, np.arange(len(similarity))
    found = linkage(pdist(np.nan_to_num(similarity)), method="average", optimal_ordering=len(similarity) <= 400)
    return np.asarray(found), np.asarray(leaves_list(found), dtype=np.intp)


def _numbers(found: xr.Dataset, styles: list[Population]) -> pd.DataFrame:
    names = ["similarity", "rotation", "scale", "shift_x", "shift_y", "sign", "assigned"]
    frame = found[names].to_dataframe().reset_index()[["unit_a", "unit_b", *names]]
    beside = found[["chance", "ceiling"]].to_dataframe().reset_index()[["unit_b", "chance", "ceiling"]]
    frame = frame.merge(beside, on="unit_b", how="left", sort=False)
    return frame.assign(kind_a=styles[0].kind, kind_b=styles[1].kind)


def _caption(found: xr.Dataset, a: xr.Dataset, b: xr.Dataset, styles: list[Population], n_pairs: int) -> str:
    best, chance, ceiling = (found[name].values.astype(float) for name in ("best", "chance", "ceiling"))

    def median(values: Array, otherwise: str) -> str:
        return f"{np.nanmedian(values):.2f}" if np.isfinite(values).any() else otherwise

    above = np.isfinite(chance) & (best > chance)
    return (
        f"Which map of {styles[0].cited} looks like which of {styles[1].cited}. "
        "Similarity: normalized correlation at the best shift, rotation, scale and sign "
        f"({found.attrs.get('direction', '')}). (a) {n_pairs} pairs at evenly spaced ranks of the one-to-one "
        "assignment: kernel, kernel laid on the field, field, with the names of both; every map on its own symmetric "
        f"scale, kernels {sign_words(a)}, fields {sign_words(b)}. "
        f"(b) Best match of every field: median {median(best, 'undefined')}; median chance, the best of null kernels "
        f"searched over the same transforms, {median(chance, 'not tested')}; median ceiling "
        f"{median(ceiling, 'unknown')}; {int(above.sum())} of {best.size} fields above their chance level. "
        "(c) The similarity matrix, rows and columns ordered by the average-linkage trees beside it."
        + ("" if np.isfinite(chance).any() else " Not yet tested against chance.")
    )
