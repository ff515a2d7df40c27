"""The figure of the answer: the ladder of a recording, and how the likeness depends on what nobody knows."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from rfcompare.comparison.sentences import signed
from rfcompare.errors import InputError
from rfcompare.figures.artists import any_simulated, draw_null_and_ceiling, letter, mark_kind
from rfcompare.figures.drawing import KIND_MARKERS, NULL_COLOR, SIDE_COLORS, Array, Side, record
from rfcompare.figures.look import SMALL, Look, Palette, colors, drawn, is_narrow, new_figure
from rfcompare.quantities import kind_words

_RUNG, _SCALES = 3.6, 34.0
"""Heights in mm of a rung and of the panels over scales and choices."""

_OF_THE_CORTEX = ("another_animal", "truth")
"""Rungs that are of the cortex itself."""


@drawn("double")
def ladder(results: Mapping[str, xr.Dataset], **look: Unpack[Look]) -> Figure:
    """Show what every population is like to a recording: noise at 0, another animal at 1, and the network among them.

    Parameters
    ----------
    results : mapping of str to Dataset
        What `rfcompare.likeness` gave, by the name to be shown, such as "AlexNet conv1 – macaque V1".
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

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
    labels = [_label(row, 28 if is_narrow(look) else 80) for _, row in rows.iterrows()]
    heights = [_RUNG * _rung_heights(labels).sum() + 16, _SCALES + 20]
    figure = new_figure(look, height=sum(heights))
    above, below = figure.subfigures(2, 1, height_ratios=heights)  # whose left edges need not agree
    scaled = _scaled(kept)
    top, lower = above.subplots(), below.subplots(1, 1 + bool(scaled), squeeze=False)[0]
    shades = _shades(rows, look.get("palette"))
    _draw_rungs(top, rows, labels, shades, kinds=(first.attrs["kind_a"], first.attrs["kind_b"]))
    if scaled:
        _draw_scales(lower[0], scaled, shades)
    _draw_choices(lower[-1], first)
    letter(top, *lower)
    numbers = pd.concat([rows.assign(panel="ladder"), *_numbers(kept)], ignore_index=True)
    return record(figure, look, numbers=numbers, caption=_caption(kept))


@drawn("single")
def depth(
    results: Mapping[str, xr.Dataset], *, untrained: Mapping[str, xr.Dataset] | None = None, **look: Unpack[Look]
) -> Figure:
    """Show how the likeness to one recording changes over a network's layers.

    Parameters
    ----------
    results : mapping of str to Dataset
        What `rfcompare.likeness` gave of each layer, recorded, by its name and in order.
    untrained : mapping of str to Dataset, optional
        The same of the network as initialized.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure
        A point per layer with its 95 % interval; 0 is noise with the cortex's spectrum, 1 another animal.

    Raises
    ------
    InputError
        If there is no layer, or the untrained network has others.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=size, seed=size)[0] for size in (13, 9))
    >>> figure = depth({"conv1": rfc.likeness(cells, kernels, references=False, seed=0)})
    >>> figure.axes[0].get_ylabel()
    'likeness'
    """
    if not results:
        raise InputError("expected at least one layer's result, got none; make them with rfcompare.likeness")
    if untrained is not None and list(untrained) != list(results):
        raise InputError(f"expected the layers {', '.join(results)} of the untrained network too, got others; add them")
    trained, fresh = "network", "untrained network"
    sides = {trained: results} | ({} if untrained is None else {fresh: untrained})
    rows = pd.DataFrame(
        [
            {"network": side, "layer": name, "likeness": float(row.effect), "kind": str(result.attrs["kind_b"])}
            | {each: float(row[each]) for each in ("ci_low", "ci_high", "p", "p_noise")}
            | {"n": int(row.n_units_b), "interval": row.interval.item()}
            for side, found in sides.items()
            for name, result in found.items()
            for row in [result.sel(quantity="likeness")]
        ]
    )
    figure = new_figure(look, height=68)
    axis = figure.subplots()
    first = next(iter(results.values()))
    shades = colors(
        [[trained, "network"], [fresh, "reference"]], [SIDE_COLORS["network"][0], NULL_COLOR], look.get("palette")
    )
    _likeness_axis(axis, "y", rows[["likeness", "ci_low", "ci_high"]])
    for shift, (side, table) in enumerate(rows.groupby("network", sort=False)):
        at = np.arange(len(table)) + 0.12 * (2 * shift - len(sides) + 1)
        shade = shades[[trained, fresh].index(str(side))]
        for place, ends in zip(at, table[["ci_low", "ci_high"]].to_numpy(), strict=True):
            _draw_interval(axis, "y", place, ends, shade)
        kind = table["kind"].iloc[0]
        axis.plot(
            at, table["likeness"], color=shade, linewidth=0.7, marker=KIND_MARKERS[kind], markersize=4,
            label=f"{side} ({kind_words(kind)})", gid=f"depth {side}",
        )  # fmt: skip
    labels = [name if len(name) < 12 else name.replace(".", ".\n") for name in results]
    axis.set_xticks(range(len(labels)), labels)
    axis.set(xlim=(-0.5, len(labels) - 0.5), ylabel="likeness")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=len(sides))
    mark_kind(axis, str(first.attrs["kind_a"]), *rows["kind"], corner="lower right")
    row = first.sel(quantity="likeness")
    caption = (
        f"Likeness of a network's layers to {first.attrs['label_a']} ({kind_words(first.attrs['kind_a'])}, "
        f"{_count(row, 'another_animal')}). 0 is noise with the cortex's own spectrum and window, 1 (upper line) is "
        f"{_one(row)}. Lines: 95 % intervals ({row.interval.item()}). "
        f"{first.attrs['small_print']}"
    )
    return record(figure, look, numbers=rows, caption=caption)


def _rungs(results: Mapping[str, xr.Dataset]) -> pd.DataFrame:
    """One row per rung, nearest to the cortex first; a network with its interval."""
    rows: list[dict[str, Any]] = []
    for number, (name, result) in enumerate(results.items()):
        row = result.sel(quantity="likeness")
        drawn = [key for key in result.data_vars if result[key].dims == ("reference",)]
        for rung in result[drawn].to_dataframe().reset_index().itertuples():
            own = rung.reference == "network"
            if number and not own:
                continue
            # Where no animals are known, 1 is no animal.
            title = _one(row) if rung.reference_title == "another animal" else str(rung.reference_title)
            rows.append(
                {
                    "name": name.partition(" – ")[0] if own else title,
                    "reference": str(rung.reference),
                    "likeness": float(rung.reference_likeness),
                    "distance": float(rung.distance),
                    "ci_low": float(row.ci_low) if own else np.nan,
                    "ci_high": float(row.ci_high) if own else np.nan,
                    "kind": str(rung.reference_kind),
                    "n": _count(row, str(rung.reference)),
                }
            )
    return pd.DataFrame(rows).sort_values("likeness", ascending=False, kind="stable").reset_index(drop=True)


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


def _shades(rows: pd.DataFrame, palette: Palette | None) -> dict[str, str]:
    """The color of every rung by name: the palette's in order are the networks'."""
    networks = rows.loc[rows["reference"] == "network", "name"].tolist()
    shades = [SIDE_COLORS["network"][place % 3] for place in range(len(networks))]
    found = dict(zip(networks, colors([[name, "network"] for name in networks], shades, palette), strict=True))
    for name, reference in zip(rows["name"], rows["reference"], strict=True):
        side: Side = "cortex" if reference in _OF_THE_CORTEX else "reference"
        own = palette if isinstance(palette, Mapping) else None
        found.setdefault(name, colors([[name, side]], SIDE_COLORS[side][:1], own)[0])
    return found


def _label(row: pd.Series, letters: int) -> str:
    """Name a rung with kind and n, in lines of at most so many letters."""
    text = f"{row['name']} ({kind_words(row['kind'])}, {row['n']})" if row["n"] else str(row["name"])
    return textwrap.fill(text.replace("n = ", "n\xa0=\xa0"), letters).replace("\xa0", " ")


def _draw_rungs(
    axis: Axes, rows: pd.DataFrame, labels: Sequence[str], shades: Mapping[str, str], *, kinds: Sequence[str]
) -> None:
    """Draw rungs from the top down, each as high as its label has lines."""
    _likeness_axis(axis, "x", rows[["likeness", "ci_high"]])
    heights = _rung_heights(labels)
    places = np.cumsum(heights) - heights / 2
    for place, (_, row) in zip(places, rows.iterrows(), strict=True):
        network, color = row["reference"] == "network", shades[row["name"]]
        marker, size = (KIND_MARKERS[row["kind"]], 5) if network else ("|", 7)
        axis.plot(row["likeness"], place, marker, color=color, markersize=size, gid=f"rung {row['reference']}")
        _draw_interval(axis, "x", place, row[["ci_low", "ci_high"]].to_numpy(dtype=float), color)
    axis.set_yticks(places, labels)
    for text, network in zip(axis.get_yticklabels(), rows["reference"] == "network", strict=True):
        text.set_fontweight("bold" if network else "normal")
    axis.set(ylim=(heights.sum() + 1.2 * any_simulated(*kinds), 0), xlabel="likeness")
    mark_kind(axis, *kinds, corner="lower left")


def _rung_heights(labels: Sequence[str]) -> Array:
    return np.array([1 + 0.7 * text.count("\n") for text in labels])


def _draw_interval(axis: Axes, name: Literal["x", "y"], place: float, ends: Array, color: str) -> None:
    """Draw an interval along an axis whose limits are set; one without an end runs to the edge, with an arrow."""
    if np.isnan(ends).any():
        return
    within = np.clip(ends, *(axis.get_xlim() if name == "x" else axis.get_ylim()))
    turn = slice(None, None, 1 if name == "x" else -1)
    axis.plot(*(within, [place, place])[turn], color=color, linewidth=1.4)
    for end, edge, arrow in zip(ends, within, "<>" if name == "x" else "v^", strict=True):
        if np.isinf(end):
            axis.plot(*([edge], [place])[turn], marker=arrow, markersize=4, color=color, clip_on=False)


def _likeness_axis(axis: Axes, name: Literal["x", "y"], drawn: Any) -> None:
    """From −1 where anything lies below 0, to above the ceiling, with the null at 0 and the ceiling at 1."""
    values = np.asarray(drawn, dtype=float)
    values = values[np.isfinite(values)]
    low, high = -1.05 if name == "x" or (values < 0).any() else 0.0, max(1.2, float(values.max(initial=0.0)) * 1.1)
    lines = axis.xaxis if name == "x" else axis.yaxis
    lines.set_major_locator(MultipleLocator(0.5))
    lines.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    (axis.set_xlim if name == "x" else axis.set_ylim)(low, high)
    draw_null_and_ceiling(axis, name)


def _scaled(results: Mapping[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    """Those whose scale is not known; a recorded network's is, and kernels in degrees have theirs."""
    return {name: result for name, result in results.items() if result.sizes["scale"] > 1}


def _draw_scales(axis: Axes, results: Mapping[str, xr.Dataset], shades: Mapping[str, str]) -> None:
    for name, result in results.items():
        color = shades[name.partition(" – ")[0]]
        axis.plot(result["scale"], result["likeness_at_scale"], marker=".", markersize=4, linewidth=0.9, color=color)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _likeness_axis(axis, "y", np.concatenate([result["likeness_at_scale"].values for result in results.values()]))
    axis.set(xlabel="scale of the kernels (1 = equal field radii)", ylabel="likeness")


def _draw_choices(axis: Axes, result: xr.Dataset) -> None:
    values = result["analysis_likeness"].values
    order = np.argsort(values)
    rank = np.arange(1, values.size + 1)
    axis.plot(rank, values[order], ".", markersize=3, color="0.45", gid="analyses")
    primary = int(np.flatnonzero(result["analysis_primary"].values[order])[0])
    at = rank[primary], values[order][primary]
    axis.plot(*at, "D", markersize=4, color="black", gid="primary")
    axis.annotate("primary", at, (0, 5), textcoords="offset points", ha="center", fontsize=SMALL)
    _likeness_axis(axis, "y", values)
    axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set(xlabel=f"{values.size} distinct analyses, by rank", ylabel="likeness")


def _numbers(results: Mapping[str, xr.Dataset]) -> list[pd.DataFrame]:
    curves = {name: (result["scale"], result["likeness_at_scale"]) for name, result in _scaled(results).items()}
    frames = [
        pd.DataFrame({"panel": "scale", "name": name, "scale": scale, "likeness": likeness})
        for name, (scale, likeness) in curves.items()
    ]
    first = next(iter(results.values()))
    choices = {key: first[f"analysis_{key}"].values for key in ("axes", "scale", "zero", "likeness", "primary")}
    return [*frames, pd.DataFrame({"panel": "analyses", **choices})]


def _caption(results: Mapping[str, xr.Dataset]) -> str:
    name, first = next(iter(results.items()))
    row = first.sel(quantity="likeness")
    one = _one(row)
    choices = first["analysis_likeness"].values
    scales = "(b) Likeness over the unknown scale of a kernel's pixel. (c) " if _scaled(results) else "(b) "
    return (
        f"{name}. (a) The ladder: likeness = (D zero − D)/(max(D zero, D) − D {one}), D the squared energy distance to "
        f"the cells ({kind_words(first.attrs['kind_a'])}). 0 is noise with the cortex's own spectrum and window, 1 is "
        f"{one}, −1 infinitely far; every population was seen through the same recording, at the scale that brings it "
        "nearest. Rungs without a count are references, drawn or scrambled for this ladder. Lines: 95 % intervals "
        f"({row.interval.item()}). {scales}The likeness under {choices.size} distinct "
        f"choices of axes, scale and zero, from {signed(choices.min())} to {signed(choices.max())}. "
        f"{first.attrs['small_print']}"
    )
