"""The figure of the answer: similarity scores with what they must stand beside, and how they hang on choices."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from rfcompare.quantities import kind_words
from rfcompare.errors import InputError
from rfcompare.figures.drawing import (
    CEILING_COLOR,
    SIDE_COLORS,
    NULL_COLOR,
    SMALL,
    Width,
    letter,
    mark_kind,
    new_figure,
    record,
    style,
)

_CURVE, _LEVEL = 32.0, 2.9
"""Heights in mm of the curve of the multiverse and of one line of its choices."""

LINEAR_DOWN_TO = -4.0
"""A multiverse that reaches further down is drawn on an axis that is linear between −1 and 1 and logarithmic beyond."""

_OUTCOMES = ("kind_a", "kind_b", "note", "name", "network", "cortex", "verdict", "interval", "ceiling_kind")
"""Columns of words in a multiverse that say what came of an analysis or whose it is, and not what was chosen."""

_CHOICE_COLORS = ("#117733", "#ddaa33", "#44aa99", "#882255", "#999933", "#88ccee")


def score(
    results: Mapping[str, xr.Dataset],
    *,
    multiverse: pd.DataFrame | None = None,
    width: Width | float = "double",
    axes: Axes | SubFigure | None = None,
) -> Figure:
    """Show similarity scores of networks and cortices, null at 0 and ceiling at 1, a dot per animal.

    Parameters
    ----------
    results : mapping of str to Dataset
        What `rfcompare.compare` gave, by the name to be shown, such as "AlexNet conv1 – macaque V1".
    multiverse : DataFrame, optional
        The first result's score under other choices: a column ``score``, optional ``ci_low`` and ``ci_high``, and a column of words
        per choice (null, space, selection, …).
    width : {"single", "double"} or float
        89 mm, 183 mm or mm.
    axes : Axes or SubFigure, optional
        Place to draw into.

    Returns
    -------
    matplotlib Figure
        (a) scores, (b) the three mean distances behind each, (c) the score over all choices.

    Raises
    ------
    InputError
        If no result holds a tested score: a similarity is never shown without its null and its ceiling.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> banks = [simulate_population(n=12, n_subjects=4, size=9, seed=seed)[0] for seed in range(3)]
    >>> from rfcompare.descriptors import describe_maps
    >>> a, b, null = (describe_maps(bank) for bank in banks)
    >>> result = rfc.compare(a, b, nulls={"random_gabor": null}, n_permutation=19, seed=0)
    >>> figure = score({"b – a": result})
    >>> figure.axes[0].get_xlabel()
    'similarity score'
    """
    rows = [row for name, result in results.items() if (row := _score_row(name, result))]
    if not rows:
        raise InputError(
            "expected at least one result with a tested similarity score, got none; compare with nulls so that the "
            "score has its null and its ceiling"
        )
    with style():
        heights = [10.0 + 8.0 * len(rows)]
        if multiverse is not None:
            heights.append(_CURVE + _LEVEL * len(_levels(multiverse)))
        figure = new_figure(width=width, height=sum(heights) + 14 * len(heights), axes=axes)
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1.5, 1])
        left = figure.add_subplot(grid[0, 0])
        right = figure.add_subplot(grid[0, 1], sharey=left)
        _draw_scores(left, rows)
        _draw_distances(right, rows)
        letter(left, "a")
        letter(right, "b")
        numbers = [_numbers(rows)]
        if multiverse is not None:
            numbers.append(_draw_multiverse(figure, grid[1, :], multiverse, kinds=_kinds(rows[:1])))
        caption = _caption(rows, multiverse, whose=next(iter(results)))
        return record(figure, numbers=pd.concat(numbers, ignore_index=True), caption=caption)


def _score_row(name: str, result: xr.Dataset) -> dict[str, Any] | None:
    """Gather one result's score with its three means and its dots per animal; None where it was not tested."""
    names = [str(quantity) for quantity in result["quantity"].values]
    detail = json.loads(str(result.attrs.get("score", "{}")) or "{}")
    if "similarity_score" not in names or not detail.get("mean"):
        return None
    index = names.index("similarity_score")
    number = {
        key: float(result[key].values[index])
        for key in ("effect", "ci_low", "ci_high", "cells_low", "cells_high", "p", "p_smallest")
        if key in result
    }
    mean = detail["mean"]
    span = (mean["null"] or np.nan) - (mean["others"] or np.nan)
    network, null = (np.array(detail[key], dtype=float) for key in ("network", "null"))
    return {
        "name": name,
        **number,
        "mean": mean,
        # On the score's own scale, so that the dots' mean is the score.
        "animal_score": (null - network) / span,
        "distance": {key: np.array(detail[key], dtype=float) for key in ("network", "null", "others")},
        "animal": [str(animal) for animal in detail["animal"]],
        "ceiling_kind": str(detail.get("ceiling_kind", "")),
        "null_name": str(detail.get("null_name", "")),
        "verdict": str(detail.get("verdict", "")),
        "hypothesis": str(result["hypothesis"].values[index]) if "hypothesis" in result else "",
        "kind_a": str(result["kind_a"].values[index]),
        "kind_b": str(result["kind_b"].values[index]),
        "n_units_a": int(result["n_units_a"].values[index]),
        "n_units_b": int(result["n_units_b"].values[index]),
        "n_subjects_a": int(result["n_subjects_a"].values[index]),
    }


def _kinds(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row[side] for row in rows for side in ("kind_a", "kind_b")]


def _draw_scores(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    axes.axvline(0, color=NULL_COLOR, linewidth=1.2)
    axes.axvline(1, color=CEILING_COLOR, linewidth=1.2)
    for position, row in enumerate(rows):
        color = SIDE_COLORS["network"][0]
        shown = row["animal_score"][np.isfinite(row["animal_score"])]
        axes.plot(
            shown, np.full(shown.size, position + 0.2), linestyle="none", marker="o", markersize=2.6, alpha=0.7,
            markerfacecolor=color, markeredgecolor="none", gid="animal",
        )  # fmt: skip
        low, high, dashed = row["ci_low"], row["ci_high"], False
        if not np.isfinite(low) and np.isfinite(row.get("cells_low", np.nan)):
            low, high, dashed = row["cells_low"], row["cells_high"], True
        if np.isfinite(low) and np.isfinite(high):
            axes.plot(
                [low, high],
                [position] * 2,
                color="black",
                linewidth=1.0,
                linestyle=":" if dashed else "-",
                marker="|",
                markersize=5,
                zorder=4,
            )
        if np.isfinite(row["effect"]):
            axes.plot(
                row["effect"], position, marker="D", markersize=3.8, markerfacecolor=color, markeredgecolor="black",
                markeredgewidth=0.5, linestyle="none", gid="score",
            )  # fmt: skip
        else:
            axes.text(0.5, position, "undefined", fontsize=SMALL, ha="center", va="center")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.3), max(high, 1.45))
    axes.set_ylim(len(rows) - 0.4, -0.75)
    axes.set_yticks(range(len(rows)), [row_label(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("similarity score")
    for value, word, color in ((0, "null", "#595959"), (1, "ceiling", CEILING_COLOR)):
        axes.text(value, -0.7, f" {word}", fontsize=SMALL, color=color, ha="left", va="top")
    for position, row in enumerate(rows):
        mark_kind(axes, _kinds([row]), at=(axes.get_xlim()[1], position + 0.36), align="right")


def row_label(row: Mapping[str, Any]) -> str:
    """Write the name of one score with both kinds and both n.

    Examples
    --------
    >>> row_label({"name": "net – V1", "kind_a": "measured", "n_units_a": 40, "n_subjects_a": 5, "kind_b": "learned",
    ...            "n_units_b": 96})
    'net – V1\\nlearned, n = 96; measured, n = 40, 5 animals'
    """
    animals = f", {row['n_subjects_a']} animals" if row["n_subjects_a"] > 1 else ""
    return f"{row['name']}\n{kind_words(row['kind_b'])}, n = {row['n_units_b']}; {kind_words(row['kind_a'])}, n = {row['n_units_a']}{animals}"


def _by_halves(row: Mapping[str, Any]) -> bool:
    """Whether no animals are told apart, so that halves of the cells stand for them."""
    return not row["ceiling_kind"].startswith("the other animals")


def _draw_distances(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    for position, row in enumerate(rows):
        for step, (key, color, marker) in enumerate(
            (
                ("null", NULL_COLOR, "s"),
                ("network", SIDE_COLORS["network"][0], "D"),
                ("others", CEILING_COLOR, "^"),
            )
        ):
            height = position + (step - 1) * 0.24
            dots = row["distance"][key]
            dots = dots[np.isfinite(dots)]
            axes.plot(
                dots, np.full(dots.size, height), linestyle="none", marker="o", markersize=1.8, alpha=0.6, color=color
            )
            mean = row["mean"][key]
            if mean is not None:
                axes.plot(
                    mean, height, linestyle="none", marker=marker, markersize=4, markerfacecolor=color, gid=key,
                    markeredgecolor="black", markeredgewidth=0.4,
                    label=None if position else {"others": "ceiling"}.get(key, key),
                )  # fmt: skip
    axes.tick_params(axis="y", length=0, labelleft=False)
    # In two lines, and the legend above the panel's letter: the panel is narrow, and the text of some fonts wide.
    halves = [_by_halves(row) for row in rows]
    part = "half of the cells" if all(halves) else "animal or half" if any(halves) else "animal"
    axes.set_xlabel(f"energy distance D\nto a held-out {part}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    legend = axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), borderaxespad=2.2, ncols=3, columnspacing=0.9, handletextpad=0.2
    )
    if len({row["kind_b"] for row in rows}) > 1:  # the color says of what kind a network is, the shape that it is one
        for handle in legend.legend_handles:
            if isinstance(handle, Line2D) and handle.get_label() == "network":
                handle.set_markerfacecolor("white")
    for position, row in enumerate(rows):
        mark_kind(axes, _kinds([row]), at=(axes.get_xlim()[1], position + 0.36), align="right")


def _draw_multiverse(figure: Any, place: Any, table: pd.DataFrame, *, kinds: Sequence[str]) -> pd.DataFrame:
    """Draw every analysis' score in order, over a grid of what was chosen in it."""
    if "score" not in table:
        raise InputError(f"expected a multiverse table with a column 'score', got {', '.join(map(str, table.columns))}")
    ordered = table.sort_values("score", kind="stable", na_position="first").reset_index(drop=True)
    levels = _levels(ordered)
    grid = place.subgridspec(2, 1, height_ratios=[_CURVE, max(_LEVEL * len(levels), 8)], hspace=0.02)
    above = figure.add_subplot(grid[0])
    below = figure.add_subplot(grid[1], sharex=above)
    rank = np.arange(len(ordered))
    above.axhline(0, color=NULL_COLOR, linewidth=1.0)
    above.axhline(1, color=CEILING_COLOR, linewidth=1.0)
    if {"ci_low", "ci_high"} <= set(ordered.columns):
        above.vlines(rank, ordered["ci_low"], ordered["ci_high"], color="0.75", linewidth=0.6)
    above.plot(rank, ordered["score"], linestyle="none", marker="o", markersize=1.8, color="black", gid="multiverse")
    if np.isfinite(ordered["score"]).any():
        low, high = _reach(ordered)
        if low < LINEAR_DOWN_TO:  # one wide interval far below 0 would press everything else together
            above.set_yscale("symlog", linthresh=1, linscale=1)
            above.yaxis.set_major_locator(FixedLocator([*-(10.0 ** np.arange(6, -1, -1)), 0, 1]))
            above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
            above.set_ylim(1.2 * low, max(1.1, high + 0.1))
        else:
            above.set_ylim(min(-0.1, low - 0.1), max(1.1, high + 0.1))
    above.set_ylabel("similarity score")
    above.tick_params(labelbottom=False)
    letter(above, "c")
    own = [str(kind) for name in ("kind_a", "kind_b") if name in ordered for kind in ordered[name].unique()]
    mark_kind(above, own or kinds, corner="lower right")
    choices = list(dict.fromkeys(name for name, _ in levels))
    colors = {name: _CHOICE_COLORS[i % len(_CHOICE_COLORS)] for i, name in enumerate(choices)}
    for height, (name, level) in enumerate(levels):
        chosen = ordered[name].astype(str) == level
        below.plot(
            rank[chosen], np.full(chosen.sum(), height), linestyle="none", marker="|", markersize=4,
            markeredgewidth=0.7, color=colors[name],
        )  # fmt: skip
    below.set_yticks(range(len(levels)), [f"{name}: {level}".replace("_", " ") for name, level in levels])
    below.set_ylim(len(levels) - 0.4, -0.6)
    below.set_xlabel(f"{len(ordered)} analyses, ordered by score")
    below.set_xlim(-1, len(ordered))
    below.set_xticks([])
    return ordered.assign(panel="multiverse")


def _reach(table: pd.DataFrame) -> tuple[float, float]:
    """Lowest and highest number that the curve of the multiverse shows, intervals included; NaN of none."""
    values = [table[name].to_numpy(dtype=float) for name in ("score", "ci_low", "ci_high") if name in table]
    finite = np.concatenate(values)
    finite = finite[np.isfinite(finite)]
    return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


def _levels(table: pd.DataFrame) -> list[tuple[str, str]]:
    """List what was chosen among: every column of words that varies, with its values."""
    choices = [
        str(name)
        for name in table.columns
        if name not in _OUTCOMES
        and not pd.api.types.is_numeric_dtype(table[name])
        and 1 < table[name].nunique() <= 12
    ]
    return [(name, str(level)) for name in choices for level in sorted(table[name].astype(str).unique())]


def _numbers(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    parts = []
    for row in rows:
        common = {"name": row["name"], "kind_a": row["kind_a"], "kind_b": row["kind_b"]}
        parts.append(
            {
                **common,
                "panel": "score",
                "score": row["effect"],
                **{key: row.get(key, np.nan) for key in ("ci_low", "ci_high", "cells_low", "cells_high", "p")},
                "null": 0.0,
                "ceiling": 1.0,
                **{f"mean_distance_{key}": row["mean"][key] for key in ("network", "null", "others")},
            }
        )
        for index, animal in enumerate(row["animal"]):
            dot = {**common, "panel": "animal", "animal": animal}
            if index < row["animal_score"].size:
                dot["score"] = row["animal_score"][index]
            parts.append(dot)
    return pd.DataFrame(parts)


def _caption(rows: Sequence[dict[str, Any]], multiverse: pd.DataFrame | None, *, whose: str) -> str:
    lines = []
    for row in rows:
        text = (
            f"{row['name']} ({kind_words(row['kind_b'])}, n = {row['n_units_b']}, against {kind_words(row['kind_a'])}, n = {row['n_units_a']}"
        )
        text += f", {row['n_subjects_a']} animals" if row["n_subjects_a"] > 1 else ", animals not identified"
        text += f"): {row['effect']:.2f}" if np.isfinite(row["effect"]) else "): undefined"
        if np.isfinite(row["ci_low"]):
            text += f", 95 % interval {row['ci_low']:.2f} to {row['ci_high']:.2f} over animals"
        elif np.isfinite(row.get("cells_low", np.nan)):
            text += f", 95 % interval for these cells only {row['cells_low']:.2f} to {row['cells_high']:.2f} (dotted)"
        text += f"; null {row['null_name'].replace('_', ' ')}, ceiling {row['ceiling_kind']}"
        if np.isfinite(row.get("p", np.nan)):
            text += f"; null hypothesis “{row['hypothesis']}”: p = {row['p']:.2g}"
            text += f", smallest possible {row['p_smallest']:.2g}"
        if row["verdict"]:
            text += f"; {row['verdict']}"
        lines.append(text)
    simulated = [row["name"] for row in rows if "simulated" in _kinds([row])]
    head = f"Demonstration: depends on assumed parameters ({'; '.join(simulated)}). " if simulated else ""
    text = (
        f"{head}(a) Similarity score (mean D null − mean D network)/(mean D null − mean D other animals): 0 = no "
        "nearer than the null, 1 = as near as another animal; diamond, score; small dots, held-out animals; line, 95 % "
        "interval. (b) The three mean squared energy distances behind it, dots per held-out animal or half. "
        + ". ".join(lines)
        + "."
    )
    if multiverse is not None:
        values = multiverse["score"].to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        text += (
            f" (c) The score of {whose} under {len(multiverse)} combinations of choices, with what was chosen below: median "
            f"{np.median(values):.2f}, range {values.min():.2f} to {values.max():.2f}, {int((values > 0).sum())} "
            f"above 0, {len(multiverse) - values.size} undefined."
        )
        if _reach(multiverse)[0] < LINEAR_DOWN_TO:
            text += " The axis is linear between −1 and 1 and logarithmic below."
    return text
