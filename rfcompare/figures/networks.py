"""Figures about networks: kernels in opponent color space, kernels over training, and classes over many networks."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from rfcompare.bank import to_signed
from rfcompare.errors import InputError
from rfcompare.figures.artists import (
    TILE_PITCH,
    draw_null_and_ceiling,
    draw_tiles,
    largest,
    letter,
    lettered,
    mark_kind,
)
from rfcompare.figures.drawing import Array, Population, evenly_spaced, label, populations, record
from rfcompare.figures.look import SMALL, Look, colors, drawn, is_narrow, new_figure, width_mm
from rfcompare.figures.maps import shown_map
from rfcompare.taxonomy.color import AXES, POLES, measure_color
from rfcompare.taxonomy.thresholds import value

_N_SHOWN = 12
"""Kernels followed over training: evenly spaced ones."""


@drawn("double")
def color(bank: xr.Dataset, **look: Unpack[Look]) -> Figure:
    """Show color kernels in opponent space: hue and share of color of every kernel, and the kernels in that order.

    Parameters
    ----------
    bank : Dataset
        A bank with channels r, g, b.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        (a) the opponent plane: a kernel's color direction is an axis, drawn with both of its ends; angle is its hue,
        red–green at 0° and yellow–blue at 90°, distance from the center the share of the kernel's energy off the gray
        axis; (b) the kernels, achromatic ones first, then by hue; (c) how much of each kernel one color direction
        explains.

    Raises
    ------
    InputError
        If the bank has no color channels.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> blob = np.exp(-(np.arange(-3, 4.0) ** 2) / 4)
    >>> weights = np.multiply.outer([1, 1, -2], np.outer(blob, blob))[None]
    >>> figure = color(rfc.make_bank(weights, channel=("r", "g", "b"), kind="analytic"))
    >>> numbers = rfc.figures.numbers(figure)
    >>> round(float(numbers["hue"][0])), round(float(numbers["chroma_share"][0]), 2)
    (90, 1.0)
    """
    if [str(name) for name in bank["channel"].values] != ["r", "g", "b"]:
        raise InputError(
            f"expected a bank with channels r, g, b, got {', '.join(map(str, bank['channel'].values))}; color is shown "
            "of a network's kernels"
        )
    signed = to_signed(bank)
    measured = measure_color(bank, signed)
    population = populations([bank], look)[0]
    direction = signed["color_direction"].transpose("unit", "color").values.astype(float)
    share, fixed = _one_direction_share(signed, measured)
    table = population.table(
        unit=bank["unit"].values.astype(str),
        **{f"direction_{name}": direction[:, index] for index, name in enumerate("rgb")},
        hue=measured["hue"],
        chroma_share=measured["chroma_share"],
        rank_one_share=share,
    )
    if is_narrow(look):
        figure = new_figure(look, height=148)
        plane, tiles, shares = figure.subplots(3, 1, height_ratios=[2.9, 3.4, 1])
    else:
        figure = new_figure(look, height=74)
        panels = figure.subplot_mosaic("ab;cb", width_ratios=[1, 1.45], height_ratios=[2.9, 1])
        plane, tiles, shares = (panels[name] for name in "abc")
    _draw_opponent_plane(plane, table, direction, population)
    _draw_tiles_by_hue(tiles, bank, table, population)
    _draw_shares(shares, share, population, fixed=fixed)
    letter(plane, tiles, shares)
    return record(figure, look, numbers=table, caption=_color_caption(population, table, fixed=fixed))


def _one_direction_share(signed: xr.Dataset, measured: Mapping[str, Any]) -> tuple[Array, bool]:
    """Share that one direction explains: of a rendered bank that of the originals, since rendering fixes its own."""
    if signed.attrs["kind"] != "parametric":
        return np.asarray(measured["rank_one_share"], dtype=float), False
    if "rank_one_share_original" in signed:
        return np.asarray(signed["rank_one_share_original"].values, dtype=float), True
    return np.full(signed.sizes["unit"], np.nan), True


def _draw_opponent_plane(axes: Axes, table: pd.DataFrame, direction: Array, population: Population) -> None:
    angle, radius = np.radians(table["hue"].to_numpy()), table["chroma_share"].to_numpy()
    turn = np.linspace(0, 2 * np.pi, 181)
    axes.plot(np.outer(np.cos(turn), [0.5, 1]), np.outer(np.sin(turn), [0.5, 1]), color="0.8", linewidth=0.5, zorder=0)
    spokes = np.radians(np.arange(0, 180, 30))
    axes.plot(
        np.outer([-1, 1], np.cos(spokes)), np.outer([-1, 1], np.sin(spokes)), color="0.88", linewidth=0.4, zorder=0
    )
    for name, x, y, across, along in (
        (POLES[0], 1.06, 0, "left", "center"), (POLES[3], 0, 1.06, "center", "bottom"),
        (POLES[6], -1.06, 0, "right", "center"), (POLES[9], 0, -1.06, "center", "top"),
    ):  # fmt: skip
        axes.text(x, y, name, fontsize=SMALL, ha=across, va=along)
    axes.text(-0.35, 0.35, "0.5", fontsize=SMALL, color="0.35", ha="right", va="bottom", zorder=4)
    # A direction's own color: its positive end on mid-gray, as the kernels are drawn.
    face = np.clip(0.5 + direction / (2 * np.abs(direction).max(1, keepdims=True)), 0, 1)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    axes.plot([x, -x], [y, -y], color="0.75", linewidth=0.25, zorder=1)
    axes.scatter(
        np.append(x, -x), np.append(y, -y), s=12, c=np.concatenate([face, 1 - face]), edgecolor="black",
        linewidth=0.35, gid=population.name, zorder=3,
    )  # fmt: skip
    axes.set(xlim=(-1.3, 1.3), ylim=(-1.22, 1.22), aspect="equal")
    axes.set_axis_off()
    mark_kind(axes, population, corner="lower right")


def _draw_tiles_by_hue(axes: Axes, bank: xr.Dataset, table: pd.DataFrame, population: Population) -> None:
    chroma, hue = table["chroma_share"].to_numpy(), table["hue"].to_numpy()
    colored = chroma > value("achromatic")
    order = np.lexsort((np.where(colored, hue, chroma), colored))[:120]
    columns = 12
    draw_tiles(axes, [(shown_map(bank, unit), *divmod(at, columns)) for at, unit in enumerate(order)])
    rows = -(-len(order) // columns)
    axes.set(xlim=(-0.05, columns * TILE_PITCH), ylim=(-rows * TILE_PITCH - 0.05, 0.1), title=population.label)
    mark_kind(axes, population, corner="below")


def _draw_shares(axes: Axes, share: Array, population: Population, *, fixed: bool) -> None:
    import seaborn as sns

    finite = share[np.isfinite(share)]
    sns.histplot(x=finite, bins=np.linspace(0, 1, 21).tolist(), color=population.color, linewidth=0, ax=axes)
    axes.set_xlim(0, 1)
    axes.set_xlabel("energy in one color direction" + (" (of the originals)" if fixed and finite.size else ""))
    axes.set_ylabel("kernels")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    if not finite.size:
        axes.text(0.5, 0.5, "fixed by construction", transform=axes.transAxes, ha="center", fontsize=SMALL)
    mark_kind(axes, population, corner="upper left")


def _color_caption(population: Population, table: pd.DataFrame, *, fixed: bool) -> str:
    chroma = table["chroma_share"].to_numpy()
    hue = table["hue"].to_numpy()
    colored = chroma > value("achromatic")
    axis = np.round(hue[colored] / 30).astype(int) % 6
    counts = ", ".join(f"{int((axis == i).sum())} nearest {name}" for i, name in enumerate(AXES) if (axis == i).any())
    share = table["rank_one_share"].to_numpy()
    median = f"median {np.nanmedian(share):.2f}" if np.isfinite(share).any() else "fixed by construction"
    return (
        f"Color of the kernels of {population.cited}. (a) Opponent space of van de Sande 2010 "
        "(doi:10.1109/TPAMI.2009.154) over the weights: angle, hue of the first color direction, (R − G)/√2 at 0° and "
        "(R + G − 2B)/√6 at 90°; distance from the center, share of the kernel's energy off the gray axis, 1 at the "
        "rim. A direction is an axis, since a kernel prefers one end and its opposite: both ends are drawn, in their "
        "colors. "
        f"{int((~colored).sum())} of {len(table)} achromatic (share at most {value('achromatic'):g})"
        + (f"; of the others {counts}" if counts else "")
        + ". (b) The kernels, zero gray, achromatic ones first, the others by hue. "
        f"(c) Share of a kernel's energy that one color direction explains, {median}"
        + (", stored from the original weights, since rendering fixes it" if fixed and np.isfinite(share).any() else "")
        + "."
    )


_HISTORY = {
    "likeness": "likeness",
    "r2": "median $r^2$ of a Gabor",
    "nx": "median $n_x$",
    "ny": "median $n_y$",
    "striped_share": "share with stripes",
    "anisotropy": "median anisotropy",
    "gabor_share": "share of Gabors",
    "oriented_band_pass_share": "oriented band-pass share",
    "unstructured_share": "unstructured share",
}
"""Quantities of a training history by name, those to be drawn first at the top."""


@drawn("double")
def training(*snapshots: xr.Dataset, history: pd.DataFrame | None = None, **look: Unpack[Look]) -> Figure:
    """Show kernels over the steps of training and what became of their numbers.

    Parameters
    ----------
    snapshots : Dataset
        Banks with attributes ``step`` and ``seed``, step 0 untrained, as in ``trained.snapshots.values()``; of several
        seeds the first one's kernels are drawn.
    history : DataFrame, optional
        From `rfcompare.taxonomy.training_history`: ``step, seed, quantity, median, q25, q75``.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        (a) one row per step, one column per kernel; then a panel per quantity, a line per seed, quartiles as a band.

    Raises
    ------
    InputError
        If there are no snapshots or they hold different units.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> def bank(step):
    ...     maps = np.random.default_rng(step).normal(size=(4, 1, 5, 5))
    ...     kind = "learned" if step else "untrained"
    ...     return rfc.make_bank(maps, channel=("signed",), kind=kind, source="net", attrs={"step": step, "seed": 0})
    >>> history = pd.DataFrame({"step": [0, 100], "seed": 0, "quantity": "r2", "median": [0.1, 0.9]})
    >>> training(bank(0), bank(100), history=history).axes[1].get_ylabel()
    'median $r^2$ of a Gabor'
    """
    if not snapshots:
        raise InputError("expected a bank per step, got none; pass *trained.snapshots.values()")
    if any("step" not in bank.attrs for bank in snapshots):
        raise InputError("expected banks with an attribute 'step', got one without; pass snapshots of a training")
    seed = snapshots[0].attrs.get("seed")
    followed = {int(bank.attrs["step"]): bank for bank in snapshots if bank.attrs.get("seed") == seed}
    steps = sorted(followed)
    units = list(followed[steps[0]]["unit"].values)
    if any(list(followed[step]["unit"].values) != units for step in steps):
        raise InputError("expected the same units at every step, got different ones; pass snapshots of one training")
    last = populations([followed[steps[-1]]], look)[0]
    shown = evenly_spaced(len(units), _N_SHOWN)
    quantities = _quantities(history)
    across = min(len(quantities), 3 if is_narrow(look) else 5)
    below = -(-len(quantities) // across) if quantities else 0
    tiles = width_mm(look) / 14 if is_narrow(look) else 8.0
    heights = [14 + tiles * len(steps), *[36] * below]
    figure = new_figure(look, height=sum(heights) + 4 * below)
    grid = figure.add_gridspec(len(heights), max(across, 1), height_ratios=heights)
    panel = figure.add_subplot(grid[0, :])
    tables = [_draw_snapshots(panel, followed, steps, shown)]
    panel.set_title(last.label)
    if history is not None and quantities:
        under = [figure.add_subplot(grid[1 + index // across, index % across]) for index in range(len(quantities))]
        for axes, name in zip(under, quantities, strict=True):
            _draw_quantity(axes, history[history["quantity"] == name], name, last.color)
        letter(panel, *under)
        tables.append(history.assign(panel="history"))
    caption = _training_caption(steps, last, seed, len(shown), quantities, history)
    return record(figure, look, numbers=pd.concat(tables, ignore_index=True), caption=caption)


def _quantities(history: pd.DataFrame | None) -> list[str]:
    """Choose up to five quantities to draw, those that matter most first."""
    if history is None:
        return []
    missing = [name for name in ("step", "quantity", "median") if name not in history]
    if missing:
        raise InputError(f"expected a history with {', '.join(missing)}, got {', '.join(map(str, history.columns))}")
    known = list(_HISTORY)
    found = [str(name) for name in history.loc[history["median"].notna(), "quantity"].unique()]
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))[:5]


def _draw_snapshots(
    axes: Axes, snapshots: Mapping[int, xr.Dataset], steps: Sequence[int], shown: Sequence[int]
) -> pd.DataFrame:
    places = list(itertools.product(steps, shown))
    maps = [shown_map(snapshots[step], unit) for step, unit in places]
    draw_tiles(axes, [(values, *divmod(at, len(shown))) for at, values in enumerate(maps)])
    kinds = {step: str(snapshots[step].attrs["kind"]) for step in steps}
    for row, (step, kind) in enumerate(kinds.items()):
        untrained = " (untrained)" if kind == "untrained" else ""
        axes.text(-0.25, -row * TILE_PITCH - 0.5, f"{step:,}{untrained}", fontsize=SMALL, ha="right", va="center")
    axes.text(-0.25, 0.25, "step", fontsize=SMALL, ha="right", va="bottom")
    axes.set(xlim=(-2.6, len(shown) * TILE_PITCH), ylim=(-len(steps) * TILE_PITCH, 0.9))
    table = pd.DataFrame({"panel": "kernels", "step": [step for step, _ in places]})
    names = [str(snapshots[step]["unit"].values[unit]) for step, unit in places]
    return table.assign(kind=table["step"].map(kinds), unit=names, limit=[largest(values) or 1.0 for values in maps])


def _draw_quantity(axes: Axes, rows: pd.DataFrame, name: str, color: str) -> None:
    for _, line in rows.groupby("seed") if "seed" in rows else [("", rows)]:
        ordered = line.sort_values("step")
        axes.plot(ordered["step"], ordered["median"], color=color, linewidth=1.0, marker="o", markersize=2.2, gid=name)
        if {"q25", "q75"} <= set(rows.columns) and ordered["q25"].notna().any():
            axes.fill_between(ordered["step"], ordered["q25"], ordered["q75"], color=color, alpha=0.25, linewidth=0)
    if name == "likeness":
        draw_null_and_ceiling(axes, "y")
    first = max(float(rows.loc[rows["step"] > 0, "step"].min()), 1.0)
    axes.set_xscale("symlog", linthresh=first)
    axes.set_xlim(-0.15 * first, rows["step"].max() * 1.5)  # whole markers at both ends
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:g}"))
    axes.set_xlabel("training step")
    axes.set_ylabel(_HISTORY.get(name, name.replace("_", " ")), parse_math=name in _HISTORY)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def _training_caption(
    steps: Sequence[int],
    last: Population,
    seed: object,
    n_shown: int,
    quantities: Sequence[str],
    history: pd.DataFrame | None,
) -> str:
    seeded = "" if seed is None else f", seed {seed}"
    text = (
        f"Kernels of {last.cited} over training{seeded}: (a) {n_shown} evenly spaced kernels of "
        f"{last.n_units} at steps {', '.join(f'{step:,}' for step in steps)}, each scaled to its own largest magnitude"
    )
    text += "; step 0 is untrained." if steps[0] == 0 else "."
    if quantities and history is not None:
        names = ", ".join(lettered([name.replace("_", " ") for name in quantities], first="b"))
        seeds = history["seed"].nunique() if "seed" in history else 1
        text += f" Against training steps, {seeds} seed{'s' if seeds > 1 else ''}: {names}; bands, quartiles over units"
        units = sorted({int(n) for n in history.get("n_units", pd.Series(dtype=float)).dropna()})
        text += f" (n = {' or '.join(map(str, units))})." if units else "."
        if "likeness" in quantities:
            scored = history[history["quantity"] == "likeness"]
            against = sorted({str(words) for words in scored.get("against", pd.Series(dtype=str)).dropna()})
            text += f" The likeness is to {'; '.join(against)}." if against else ""
            text += " Gray, null at 0; indigo, ceiling at 1."
    return text


_QUESTIONS = ("profile", "band", "lobes")
"""Questions of the survey that are drawn, where the table has answers to them."""

_GROUPS: Mapping[str, str] = {
    # What cannot be told is gray; the rest runs from smooth to many stripes.
    "flat": "#ffffcc", "blob": "#ddcc77", "center–surround": "#cc6677", "first derivative": "#88ccee",
    "second derivative": "#44aa99", "higher derivative": "#117733", "Gabor": "#332288", "curved": "#aa4499",
    "checker": "#882255", "irregular": "#8c6d31", "unstructured": "#bdbdbd", "too few pixels": "#e3e3e3",
    "low-pass": "#ddcc77", "band-pass": "#332288", "high-pass": "#882255", "all-pass": "#bdbdbd",
    # ColorBrewer's YlGnBu: the more lobes, the darker.
    "1": "#edf8b1", "2": "#c7e9b4", "3": "#7fcdbb", "4": "#41b6c4", "5": "#1d91c0", "6+": "#0c2c84",
    "not classified": "#f2f2f2", "fixed by construction": "#f2f2f2",
}  # fmt: skip


@drawn("double")
def survey(
    table: pd.DataFrame, *, questions: Sequence[str] = _QUESTIONS, group: str = "all", **look: Unpack[Look]
) -> Figure:
    """Show which share of each first layer is what: networks beside untrained ones and cortex.

    Parameters
    ----------
    table : DataFrame
        From `rfcompare.survey`: a row per population, group, question and answer.
    questions : sequence of str
        Which questions get a panel.
    group : {"all", "achromatic"}
        All units or only the achromatic ones.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        A panel per question, a bar per population; bars of untrained kernels are hatched.

    Raises
    ------
    InputError
        If the table lacks a column or holds no answer.

    Examples
    --------
    >>> rows = [("net", "learned", 4, "all", "band", *row) for row in (("low-pass", 0.25), ("band-pass", 0.75))]
    >>> columns = ["population", "kind", "n_units", "group", "question", "answer", "share"]
    >>> figure = survey(pd.DataFrame(rows, columns=columns))
    >>> [float(patch.get_width()) for patch in figure.axes[0].patches]
    [0.25, 0.75]
    """
    needed = ("population", "kind", "n_units", "group", "question", "answer", "share")
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(
            f"expected a survey with {', '.join(needed)}, got none of {', '.join(missing)}; use rfcompare.survey"
        )
    chosen = table[(table["group"] == group) & table["question"].isin(questions)]
    if chosen.empty:
        raise InputError(f"expected a survey with answers for the group {group!r}, got none; use rfcompare.survey")
    asked = [name for name in questions if (chosen["question"] == name).any()]
    bars = chosen.reindex(columns=["population", "kind", "n_units", "n_alive"]).drop_duplicates().reset_index(drop=True)
    alive = bars["n_alive"].fillna(bars["n_units"]).astype(int)
    counts = [f"n = {n}" if n == k else f"n = {k} alive of {n}" for n, k in zip(bars["n_units"], alive, strict=True)]
    bars["label"] = [label(*each) for each in zip(bars["population"], bars["kind"], counts, strict=True)]
    keys = {name: _answers(chosen[chosen["question"] == name]) for name in asked}
    # A simulated population's bar has a row below it for the mark.
    bars["place"] = np.arange(len(bars)) + np.concatenate([[0], np.cumsum(bars["kind"] == "simulated")[:-1]])
    place, marked = bars["place"], bars.loc[bars["kind"] == "simulated", "place"]
    every = list(dict.fromkeys(answer for answers in keys.values() for answer in answers))
    picked = colors([[answer] for answer in every], [_answer_color(answer) for answer in every], look.get("palette"))
    shades = dict(zip(every, picked, strict=True))
    narrow = is_narrow(look)
    across, tall = (1, len(asked)) if narrow else (len(asked), 1)
    entries = 2 if narrow else 7  # in a line of the key
    key_rows = sum(-(-len(answers) // entries) for answers in keys.values())
    heights = [(16 + 4.6 * (place.iloc[-1] + 1.6)) * tall, 3.2 * key_rows]
    figure = new_figure(look, height=sum(heights))
    above, below = figure.subfigures(2, 1, height_ratios=heights)  # the key has the whole width
    panels = above.subplots(tall, across, squeeze=False).ravel()
    letter(*panels)
    for index, (question, panel) in enumerate(zip(asked, panels, strict=True)):
        _draw_question(panel, chosen[chosen["question"] == question], bars, shades, keys[question])
        panel.set_title("visible lobes of stripes" if question == "lobes" else question)
        for position in marked:
            mark_kind(panel, "simulated", at=(0.02, position + 0.72))
        panel.set_yticks(place, bars["label"])
        panel.tick_params(labelleft=index % across == 0)
    _draw_keys(below.subplots(), keys, shades, entries, key_rows)
    caption = _survey_caption(table, bars, asked, group)
    return record(figure, look, numbers=chosen.reset_index(drop=True), caption=caption)


def _draw_keys(
    axes: Axes, keys: Mapping[str, Sequence[str]], shades: Mapping[str, str], entries: int, total: int
) -> None:
    """Write which color is which answer, in lines of so many entries for each question, after its panel's letter."""
    axes.set_axis_off()
    top = 1.0
    for index, answers in enumerate(keys.values()):
        handles = [Patch(facecolor=shades[each], edgecolor="0.4", linewidth=0.3) for each in answers]
        rows = -(-len(handles) // entries)
        key = Legend(
            axes, handles, answers, ncols=-(-len(handles) // rows), loc="upper left", bbox_to_anchor=(0, top),
            handlelength=0.9, columnspacing=0.9, labelspacing=0.2, handletextpad=0.4, borderaxespad=0, borderpad=0,
        )  # fmt: skip
        axes.add_artist(key)
        axes.text(-0.01, top, "abcdefgh"[index], va="top", ha="right", fontsize=SMALL, fontweight="bold")
        top -= rows / total


def _answers(rows: pd.DataFrame) -> list[str]:
    known = list(_GROUPS)
    found = [str(answer) for answer in rows["answer"].unique()]
    return sorted(found, key=lambda answer: (known.index(answer) if answer in known else len(known), answer))


def _answer_color(answer: str) -> str:
    """Return the color of one answer of the survey, the same in every figure."""
    import seaborn as sns

    return _GROUPS.get(answer) or sns.color_palette("colorblind").as_hex()[sum(answer.encode()) % 10]


def _draw_question(
    axes: Axes, rows: pd.DataFrame, bars: pd.DataFrame, shades: Mapping[str, str], answers: Sequence[str]
) -> None:
    import seaborn as sns

    rows = rows.merge(bars[["population", "kind", "place"]]).astype({"answer": str, "share": float})
    sns.histplot(
        rows, y="place", weights="share", hue="answer", hue_order=answers[::-1], palette=dict(shades), multiple="stack",
        discrete=True, shrink=0.72, alpha=1, edgecolor="white", linewidth=0.4, legend=False, ax=axes,
    )  # fmt: skip
    untrained = set(bars.loc[bars["kind"] == "untrained", "place"])
    for answer, own in zip(answers, axes.containers, strict=True):
        for bar in own:
            bar.set(gid=answer, hatch="////" if round(bar.get_y() + bar.get_height() / 2) in untrained else None)
            if not bar.get_width():  # seaborn draws an answer that nobody gave, too
                bar.remove()
    axes.set_xlim(0, 1)
    axes.set_ylim(bars["place"].iloc[-1] + (1.1 if bars["kind"].iloc[-1] == "simulated" else 0.6), -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set(xlabel="share of units", ylabel="")


def _survey_caption(table: pd.DataFrame, bars: pd.DataFrame, asked: Sequence[str], group: str) -> str:
    kinds = bars["kind"].astype(str)
    panels = ", ".join(lettered(asked))
    counts = ", ".join(f"{int((kinds == kind).sum())} {kind}" for kind in dict.fromkeys(kinds))
    absent = sorted(set(table["population"].astype(str)) - set(bars["population"].astype(str)))
    text = (
        f"What first layers consist of, by {panels}: {len(bars)} populations ({counts}), shares of "
        f"{'all their' if group == 'all' else group} units; hatched, untrained kernels; lobes are counted where the "
        f"profile has stripes. {'; '.join(bars['label'])}."
    )
    if "status" in table:
        small = table[table["status"].astype(str).str.contains("pixels")]["population"].unique()
        if small.size:
            text += f" Too few pixels for some forms: {', '.join(map(str, small))}."
    if absent:
        text += f" Without weights at hand: {len(absent)} networks, named in the table."
    return text
