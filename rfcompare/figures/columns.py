"""The figure of ON, OFF and cortical columns, in the style of a paper's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from rfcompare.bank import to_signed
from rfcompare.figures.artists import draw_map, letter, map_extent, mark_kind, scale_bar
from rfcompare.figures.drawing import OFF, ON, Array, evenly_spaced, record
from rfcompare.figures.look import SMALL, Look, colors, drawn, is_narrow, new_figure
from rfcompare.models import MODELS
from rfcompare.quantities import kind_words

_N_SHOWN = 6
"""Columns shown with their fits and kernels: evenly spaced over the ranked r², so that bad ones are seen as well."""

_WIDE_ROWS = (("abc", (1, 1, 1.25), 46.0), ("defg", (0.7, 1.15, 1, 1), 42.0))
_NARROW_ROWS = (("ab", (1, 1), 46.0), ("c", (1,), 42.0), ("de", (0.7, 1.3), 42.0), ("fg", (1, 1), 40.0))
"""Panels of every row, their widths, and the row's height in mm."""

_UM_PER_DEGREE = 18.0
"""How large fields are drawn at their cells' positions: a legible size, unrelated to the magnification."""

_CONDITION_COLORS = {
    "column": "#000000",
    "positions shuffled": "#e69f00",
    "recentered": "#009e73",
    "orientation-matched elsewhere": "#cc79a7",
}


@drawn("double")
def cortical_columns(
    bank: xr.Dataset, tree: xr.DataTree, beside: xr.Dataset | None = None, **look: Unpack[Look]
) -> Figure:
    """Show subfields over cortex and in visual space, their topology, and the average fields of columns.

    Parameters
    ----------
    bank : Dataset
        The bank that was analyzed.
    tree : DataTree
        What `rfcompare.analyze_columns` gave; without cortical positions only the subfields are shown.
    beside : Dataset, optional
        Columns with their best kernels: ``rf`` and ``kernel`` (unit, y, x), ``similarity``, ``chance`` and
        ``kernel_name`` (unit), attribute ``kernels``.
    **look
        Width, axes, palette, title and units: see `rfcompare.figures.Look`.

    Returns
    -------
    matplotlib Figure

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank, _ = rfc.simulate_treeshrew(n_cells=5, seed=0)
    >>> tree = rfc.analyze_columns(bank.drop_vars(["cortex_x", "cortex_y"]), seed=0)
    >>> [axes.get_xlabel() for axes in cortical_columns(bank, tree).axes][1]
    'Segregation index'
    """
    if "columns" not in tree.children:
        return _subfields_only(tree, look)
    narrow = is_narrow(look)
    layout = _NARROW_ROWS if narrow else _WIDE_ROWS
    n_shown = _N_SHOWN // 2 if narrow else _N_SHOWN
    heights = [height for _, _, height in layout] + ([76.0] if beside is None else [76.0, 50.0])
    figure = new_figure(look, height=sum(heights))
    parts = figure.subfigures(len(heights), 1, height_ratios=heights)
    kind, (name, found) = str(tree.attrs["kind"]), _shown_field(tree)
    draw: dict[str, Callable[[Axes], list[pd.DataFrame]]] = {
        "a": lambda panel: _fields_at_cells(panel, bank, tree, found),
        "b": lambda panel: _centers(panel, tree, found),
        "c": lambda panel: _distances(panel, tree),
        "d": lambda panel: _scatter(panel, tree),
        "e": lambda panel: _growth(panel, tree, look),
        "f": lambda panel: _orientation(panel, tree, found, name),
        "g": lambda panel: _phase(panel, tree, found),
    }
    tables: list[pd.DataFrame] = []
    for part, (texts, ratios, _) in zip(parts, layout, strict=False):
        panels = part.subplots(1, len(texts), width_ratios=ratios, squeeze=False)[0]
        for panel, text in zip(panels, texts, strict=True):
            tables += draw[text](panel)
            letter(panel, first=text)
            if text in "afg" and kind == "simulated":  # the mark stands below what fills them
                low, high = panel.get_ylim()
                panel.set_ylim(low - 0.16 * (high - low), high)
            mark_kind(panel, kind, corner="lower right" if text in "abfg" else "upper right")
    shown = _shown_columns(tree, n_shown)
    tables += _aggregates(parts[len(layout)], tree, shown)
    letter(*parts[len(layout) :], first="h")
    if beside is not None:
        tables += _kernels(parts[-1], beside, kind, n_shown)
    numbers = pd.concat(tables, ignore_index=True)
    return record(figure, look, numbers=numbers, caption=_caption(tree, beside, name, len(shown)))


def _rows(panel: str, **columns: Any) -> list[pd.DataFrame]:
    return [pd.DataFrame({"panel": panel, **columns})]


def _shown_field(tree: xr.DataTree) -> tuple[str, xr.Dataset]:
    """The field of view with the most cells that have both subfields, by name, and its cells' subfields."""
    found = tree["subfields"].to_dataset()
    field = found.field_of_view if "field_of_view" in found.variables else found.subject
    names = np.char.add(np.char.add(found.subject.values.astype(str), " "), field.values.astype(str))
    both = np.char.startswith(found.status.values.astype(str), "ON and OFF")
    known, counts = np.unique(names[both] if both.any() else names, return_counts=True)
    name = str(known[counts.argmax()])
    return name, found.isel(unit=np.flatnonzero(names == name))


def _unit_sign(tree: xr.DataTree) -> str:
    return "°" if tree.attrs["units"] == "degree" else "px"


def _fields_at_cells(panel: Axes, bank: xr.Dataset, tree: xr.DataTree, found: xr.Dataset) -> list[pd.DataFrame]:
    """Contours of ON and OFF at half their peak, each field drawn around its cell."""
    signed = to_signed(bank).sel(unit=found.unit)
    x, y = np.asarray(signed.x.values), np.asarray(signed.y.values)
    scale = _UM_PER_DEGREE if tree.attrs["units"] == "degree" else _UM_PER_DEGREE * 8 / (x[-1] - x[0])
    for unit in range(found.sizes["unit"]):
        one, cell = np.nan_to_num(signed.rf.values[unit, 0]), found.isel(unit=unit)
        if not np.isfinite([cell.field_x, cell.field_y]).all():
            continue
        grid_x = float(cell.cortex_x) + scale * (x - float(cell.field_x))
        grid_y = float(cell.cortex_y) + scale * (y - float(cell.field_y))
        for sign, word, color in ((1.0, "ON", ON), (-1.0, "OFF", OFF)):
            if word not in str(cell.status.values).split(";")[0]:
                continue
            # Only the subfield itself: noise elsewhere in the map would draw contours of its own.
            center_x, center_y, width = (float(cell[f"{word.lower()}_{name}"]) for name in ("x", "y", "width"))
            far = np.hypot(*np.meshgrid(x - center_x, y - center_y)) > width
            part = np.where(far, 0.0, sign * one)
            panel.contour(grid_x, grid_y, part, levels=[0.5 * part.max()], colors=color, linewidths=0.6)
    panel.plot(found.cortex_x, found.cortex_y, "k.", markersize=1.5)
    # Contours reach beyond their cells: the limits follow the fields' extent.
    reach = 2.2 * scale if tree.attrs["units"] == "degree" else 40.0
    across, along = (
        (float(values.min()) - reach, float(values.max()) + reach) for values in (found.cortex_x, found.cortex_y)
    )
    panel.set(xlim=across, ylim=along, aspect="equal", title="Fields at their cells", xlabel="Cortex (µm)")
    panel.set_ylabel("Cortex (µm)")
    return _rows("a", unit=found.unit.values, x=found.cortex_x.values, y=found.cortex_y.values)


def _dots(panel: Axes, found: xr.Dataset, size: float) -> None:
    for sign, color in (("on", ON), ("off", OFF)):
        place = found[f"{sign}_x"], found[f"{sign}_y"]
        panel.plot(*place, "o", color=color, markersize=size, markeredgewidth=0, label=sign.upper())


def _centers(panel: Axes, tree: xr.DataTree, found: xr.Dataset) -> list[pd.DataFrame]:
    unit = _unit_sign(tree)
    ends = [np.stack([found[f"{sign}_{axis}"].values for sign in ("on", "off")]) for axis in "xy"]
    panel.plot(*ends, color="#bdbdbd", linewidth=0.4, zorder=1)
    _dots(panel, found, 2.5)
    panel.set(aspect="equal", xlabel=f"Azimuth ({unit})", ylabel=f"Elevation ({unit})", title="Visual space")
    panel.legend(loc="upper left", handletextpad=0.1, borderpad=0.1)
    # A square with room above for the legend and below for the mark.
    across, along = (_span(each) for each in ends)
    half = 0.5 * max(1.1 * np.ptp(across), 1.5 * np.ptp(along))
    panel.set(xlim=across.mean() + half * np.array([-1, 1]), ylim=along.mean() + half * np.array([-1, 1]))
    units = np.tile(found.unit.values, 2)
    return _rows(
        "b", unit=units, series=np.repeat(["on", "off"], found.sizes["unit"]), x=ends[0].ravel(), y=ends[1].ravel()
    )


def _span(values: Array) -> Array:
    """Smallest and largest finite value; −1 and 1 where there is none."""
    finite = values[np.isfinite(values)]
    return np.array([finite.min(), finite.max()]) if finite.size else np.array([-1.0, 1.0])


def _distances(panel: Axes, tree: xr.DataTree) -> list[pd.DataFrame]:
    if "topology" not in tree.children:
        panel.text(0.5, 0.5, "too few cells with both subfields", ha="center", transform=panel.transAxes)
        return []
    table = tree["topology"].to_dataset().to_dataframe().reset_index()
    categories = list(dict.fromkeys(table["category"]))
    for offset, (shuffle, marker, face) in enumerate((("sign", "o", "black"), ("position", "s", "white"))):
        rows = table[table["shuffle"] == shuffle]
        place = np.array([categories.index(value) for value in rows["category"]]) + 0.22 * (offset - 0.5)
        effect = 100 * rows["effect"].to_numpy(dtype=float)
        bounds = [100 * rows[name].to_numpy(dtype=float) for name in ("ci_low", "ci_high")]
        finite = np.isfinite(bounds).all(axis=0)
        panel.vlines(place[finite], bounds[0][finite], bounds[1][finite], color="black", linewidth=0.8)
        words = "signs swapped within cells" if shuffle == "sign" else "positions shuffled, neighbors"
        panel.plot(place, effect, marker, color="black", markerfacecolor=face, markersize=3.2, label=words)
        for x, top, p in zip(place, np.where(finite, bounds[1], effect), rows["p"], strict=True):
            if np.isfinite(p) and p <= 0.05:
                panel.annotate(
                    "*", (x, top), ha="center", va="bottom", fontsize=SMALL, xytext=(0, -1), textcoords="offset points"
                )
    panel.axhline(0, color="#8c8c8c", linewidth=0.5)
    panel.set_xticks(range(len(categories)), [text.replace(" ", "\n").replace("-", "–") for text in categories])
    low, high = panel.get_ylim()
    panel.set(ylim=(low, high + 0.45 * (high - low)), title="Pairwise distances against shuffles")
    panel.set_ylabel("Distance beyond chance (%)")
    panel.legend(loc="upper left")
    table["series"] = table["shuffle"] + " " + table["category"]
    named = {"category": "x", "effect": "y", "ci_low": "low", "ci_high": "high"}
    return [table.rename(columns=named).assign(panel="c")[["panel", "series", *named.values(), "p"]]]


def _scatter(panel: Axes, tree: xr.DataTree) -> list[pd.DataFrame]:
    import seaborn as sns

    if "visuotopy" not in tree.children:
        return []
    fits = tree["visuotopy"].to_dataset()
    scatter = fits.scatter.sel(target=["OFF", "ON"]).to_pandas().groupby(fits.animal.values).mean()
    panel.plot(scatter.to_numpy().T, color="#bdbdbd", linewidth=0.6, zorder=1)
    sns.stripplot(scatter, palette={"OFF": OFF, "ON": ON}, jitter=False, size=2.5, ax=panel)
    panel.set(ylim=(0, 1.25 * float(scatter.to_numpy().max())), title="Per animal")
    panel.set_ylabel(f"Scatter about visuotopy ({_unit_sign(tree)})")
    panel.set_xlabel(f"{kind_words(tree.attrs['kind'])}, n = {len(scatter)}")
    units = np.tile(scatter.index, 2)
    return _rows("d", unit=units, series=np.repeat(["OFF", "ON"], len(scatter)), y=scatter.to_numpy().T.ravel())


def _growth(panel: Axes, tree: xr.DataTree, look: Look) -> list[pd.DataFrame]:
    growth = tree["growth"].to_dataset()
    count = growth.n_averaged.values.astype(float)
    names = growth.condition.values.astype(str).tolist()
    picked = colors([[name] for name in names], [_CONDITION_COLORS[name] for name in names], look.get("palette"))
    for step, (name, color) in enumerate(zip(names, picked, strict=True)):
        one = growth.sel(condition=name)
        shift = count * 2 ** (0.08 * (step - 1.5))
        low, high = (np.clip(one[bound].values, 0, 1) for bound in ("r2_low", "r2_high"))
        good = np.isfinite(one.r2_low.values)
        panel.vlines(shift[good], low[good], high[good], color=color, linewidth=0.7)
        words = {"column": "neighbors in place"}.get(name, name.replace(" elsewhere", ",\nfrom elsewhere"))
        panel.plot(shift, one.r2, "o-", color=color, markersize=2.2, linewidth=0.8, label=words)
    panel.set_xscale("log", base=2)
    panel.set_xticks(count, [f"{value:g}" for value in count])
    panel.minorticks_off()
    low = float(np.nanmin(growth.r2_low.where(np.isfinite(growth.r2_low), growth.r2)))
    panel.set_ylim(max(-0.05, min(0.5, low) - 0.42), 1.08)
    panel.legend(loc="lower left", labelspacing=0.15)
    panel.set(xlabel="Cells averaged", title="Averages against chance")
    panel.set_ylabel("$r^2$ of a Gabor", parse_math=True)
    named = {"condition": "series", "n_averaged": "x", "r2": "y", "r2_low": "low", "r2_high": "high"}
    table = growth[["r2", "r2_low", "r2_high"]].to_dataframe().reset_index().rename(columns=named)
    return [table.assign(panel="e")[["panel", *named.values()]]]


def _orientation(panel: Axes, tree: xr.DataTree, found: xr.Dataset, name: str) -> list[pd.DataFrame]:
    maps = tree["orientation"].to_dataset()
    row = [str(field) for field in maps.field.values].index(name)
    x, y = maps.map_x_um.values[row], maps.map_y_um.values[row]
    hue: dict[str, Any] = {"cmap": "hsv", "vmin": 0, "vmax": 180}
    seen = np.ma.masked_invalid(maps.orientation_map.values[row])
    panel.pcolormesh(x, y, seen, **hue, shading="nearest", alpha=0.55, linewidth=0, rasterized=True)
    here = maps.pinwheel_field.values.astype(str) == name
    stars = maps.pinwheel_x.values[here], maps.pinwheel_y.values[here]
    panel.plot(*stars, "*", color="white", markeredgecolor="black", markeredgewidth=0.4, markersize=6)
    theta = found.preferred_orientation.values
    _cells_in_color(panel, found, theta, "Orientation map", ticks=[0, 90, 180], s=9, **hue)
    return _rows("f", unit=found.unit.values, x=found.cortex_x.values, y=found.cortex_y.values, value=theta)


def _cells_in_color(panel: Axes, found: xr.Dataset, values: Array, title: str, *, ticks: list[int], **how: Any) -> None:
    dots = panel.scatter(found.cortex_x, found.cortex_y, c=values, edgecolors="black", linewidths=0.3, **how)
    panel.set_aspect("equal")
    panel.set(xlabel="Cortex (µm)", title=title)
    bar = panel.get_figure(root=False).colorbar(dots, ax=panel, shrink=0.75, ticks=ticks, pad=0.02)  # type: ignore[union-attr]
    bar.ax.set_yticklabels([f"{tick}°".replace("-", "−") for tick in ticks])


def _phase(panel: Axes, tree: xr.DataTree, found: xr.Dataset) -> list[pd.DataFrame]:
    phase = tree["phase"].to_dataset().phase.sel(unit=found.unit)
    how: dict[str, Any] = {"cmap": "twilight", "vmin": -180, "vmax": 180, "s": 16}
    _cells_in_color(panel, found, phase.values, "Phase map", ticks=[-180, 0, 180], **how)
    return _rows("g", unit=found.unit.values, x=found.cortex_x.values, y=found.cortex_y.values, value=phase.values)


def _shown_columns(tree: xr.DataTree, n_shown: int) -> NDArray[np.intp]:
    columns = tree["columns"].to_dataset()
    rows = np.flatnonzero(columns.disjoint.values)
    rows = rows if rows.size else np.arange(min(1, columns.sizes["unit"]))
    ranked = rows[np.argsort(-np.nan_to_num(columns.r2.values[rows]), kind="stable")]
    picked: NDArray[np.intp] = ranked[evenly_spaced(ranked.size, n_shown)]
    return picked


def _aggregates(part: SubFigure, tree: xr.DataTree, shown: NDArray[np.intp]) -> list[pd.DataFrame]:
    columns = tree["columns"].to_dataset()
    extent = map_extent(columns)
    panels = part.subplots(3, len(shown), squeeze=False, height_ratios=[1, 1, 0.6])
    tables: list[pd.DataFrame] = []
    top = max(float(np.nanmax(np.abs(columns.profile.values[row]))) for row in shown)
    threshold = float(columns.attrs["profile_threshold"])
    for place, row in enumerate(shown):
        one = columns.isel(unit=row)
        limit = float(np.nanmax(np.abs(one.rf.values)))
        draw_map(panels[0, place], one.rf.values[0], extent=extent, limit=limit)
        draw_map(panels[1, place], one.rf_fit.values, extent=extent, limit=limit)
        angle = np.deg2rad(float(one.orientation) + 90)
        reach = 1.25 / float(one.frequency) * np.array([-1, 1])
        ends = float(one.origin_x) + reach * np.cos(angle), float(one.origin_y) + reach * np.sin(angle)
        panels[0, place].plot(*ends, color="black", linewidth=0.5, linestyle=(0, (3, 2)))
        panels[0, place].set(xlim=extent[:2], ylim=extent[2:])
        panels[0, place].set_title(f"{one.subject.item()}, {int(one.n_cells)} cells", fontsize=SMALL)
        chosen = MODELS[str(one.model.item())].title.split(" of a ")[0].split(" (")[0]
        panels[1, place].set_title(f"$r^2$ {float(one.r2):.2f}, {chosen}", fontsize=SMALL, parse_math=True)
        cycle, profile = columns.cycle.values, one.profile.values
        line = panels[2, place]
        line.axhline(0, color="#8c8c8c", linewidth=0.4)
        line.plot(cycle, profile, color="black", linewidth=0.8)
        for sign, color in ((1, ON), (-1, OFF)):
            with np.errstate(invalid="ignore"):
                clear = sign * one.profile_z.values > threshold
            line.fill_between(cycle, 0, profile, where=clear, color=color, linewidth=0, alpha=0.6)
        line.set(ylim=(-1.7 * top, 1.1 * top), xticks=[-1, 0, 1], xlabel="Cycles")  # room for the mark of a simulation
        line.tick_params(labelleft=place == 0)
        tables += _rows("h", unit=str(one.unit.item()), x=cycle, y=profile, value=one.profile_z.values)
    for panel, text in zip(panels[:, 0], ("Average", "Gabor fit", "Profile\n(a.u.)"), strict=True):
        panel.set_ylabel(text)
    mark_kind(panels[2, 0], str(tree.attrs["kind"]), corner="lower right")
    scale_bar(panels[1, 0], str(tree.attrs["units"]))
    return tables


def _kernels(part: SubFigure, beside: xr.Dataset, kind: str, n_shown: int) -> list[pd.DataFrame]:
    """The separate columns of highest, middle and lowest similarity above the kernels laid on them."""
    ranked = np.argsort(-np.nan_to_num(beside.similarity.values), kind="stable")
    rows = ranked[evenly_spaced(ranked.size, n_shown)]
    panels = part.subplots(2, len(rows), squeeze=False)
    extent = map_extent(beside)
    for place, row in enumerate(rows):
        one = beside.isel(unit=row)
        draw_map(panels[0, place], one.rf.values, extent=extent)
        draw_map(panels[1, place], one.kernel.values, extent=extent)
        # A similarity is never shown alone: beside it stand what noise and a noiseless model reach.
        panels[0, place].set_title(f"{float(one.similarity):.2f}, chance {float(one.chance):.2f}", fontsize=SMALL)
        ceiling = float(one.ceiling) if "ceiling" in one else np.nan
        reach = f", ceiling {ceiling:.2f}" if np.isfinite(ceiling) else ""
        panels[1, place].set_title(f"kernel {one.kernel_name.item()}{reach}", fontsize=SMALL)
    panels[0, 0].set_ylabel("Column")
    panels[1, 0].set_ylabel("Best kernel")
    mark_kind(panels[1, -1], kind, corner="below")
    scale_bar(panels[1, 0], str(beside.attrs["units"]))
    named = {"unit": "unit", "kernel_name": "series", "similarity": "y", "chance": "value"}
    return _rows("i", **{new: beside[name].values[rows] for name, new in named.items()})


def _subfields_only(tree: xr.DataTree, look: Look) -> Figure:
    import seaborn as sns

    found = tree["subfields"].to_dataset()
    unit = _unit_sign(tree)
    down = 3 if is_narrow(look) else 1
    figure = new_figure(look, height=58 * down)
    panels = figure.subplots(down, 3 // down)
    _dots(panels[0], found, 2)
    panels[0].set_aspect("equal", adjustable="datalim")
    kind = kind_words(tree.attrs["kind"])
    panels[0].set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", title=f"Centers of subfields ({kind})")
    panels[0].legend(loc="upper left", handletextpad=0.1)
    tables = []
    for panel, name, text in (
        (panels[1], "segregation_index", "Segregation index"),
        (panels[2], "dominance", "Dominance (OFF −1, ON +1)"),
    ):
        values = found[name].values[np.isfinite(found[name].values)]
        sns.histplot(x=values, bins=np.linspace(-1, 1, 21).tolist(), color="#8c8c8c", alpha=1, linewidth=0, ax=panel)
        panel.set(xlabel=text, ylabel="Cells", title=f"{kind}, n = {values.size}")
        tables += _rows(name, unit=found.unit.values, value=found[name].values)
    letter(*panels)
    for panel in panels:
        mark_kind(panel, str(tree.attrs["kind"]))
    caption = f"Subfields of {tree.attrs['n_units']} cells ({kind}).{_missing(tree)}"
    return record(figure, look, numbers=pd.concat(tables, ignore_index=True), caption=caption)


def _missing(tree: xr.DataTree) -> str:
    return "".join(f" Missing: {text}." for text in json.loads(str(tree.attrs["missing"])))


def _ceiling_text(beside: xr.Dataset) -> str:
    """The ceiling of the columns' similarity, or that there is none."""
    ceiling = beside["ceiling"].values if "ceiling" in beside else np.array([np.nan])
    if not np.isfinite(ceiling).any():
        return "no ceiling is known, since the averages have no halves"
    return f"from halves, a noiseless model could reach {np.nanmedian(ceiling):.2f}"


def _caption(tree: xr.DataTree, beside: xr.Dataset | None, name: str, n_shown: int) -> str:
    about = tree.attrs
    columns = tree["columns"].to_dataset()
    subfields = tree["subfields"].attrs
    phase_p = float(tree["phase"].attrs.get("p", np.nan))
    known = bool(np.isfinite(tree["growth"].to_dataset().r2_low.values).any())
    student, both = ("95 % Student intervals", "95 % intervals") if known else ("no interval: too few", "no interval")
    text = (
        f"ON, OFF and cortical columns: {about['n_units']} cells of {about['n_animals']} animals, "
        f"{kind_words(about['kind'])}. "
        f"a, Fields of one field of view ({name}) at their cells' places, contours at half the peak of ON (red) and "
        f"OFF (blue); b, centers of the same subfields in visual space ({subfields['noise_model']}). "
        f"c, Mean pairwise distances relative to chance, mean over animals with {student}; * p ≤ 0.05, "
        f"{about['n_permutations']} permutations within fields of view. "
        "d, Scatter of centers about the affine visuotopic fit. "
        f"e, r² of a Gabor on averages of growing numbers of cells, over animals with {both}. "
        f"f, Orientation preference ({tree['orientation'].attrs['orientation_source']}), smoothed with SD "
        f"{about['smoothing']:g} µm; g, absolute phase for the field's median frequency (p = {phase_p:.3g}). "
        f"h, Averages within {about['radius']:g} µm of {n_shown} of {int(columns.disjoint.sum())} columns that share "
        "no cell, evenly spaced over the ranked r², with fitted Gabor, chosen model and profile across the stripes "
        f"(dashed line); colored where {columns.attrs['profile_noise_model']}. "
    )
    if beside is not None:
        chance = float(np.nanmedian(beside.chance))
        text += (
            f"i, Columns above the kernel of {beside.attrs['kernels']} ({kind_words(beside.attrs['kind_kernels'])}) "
            "that matches best after shift, rotation, scale and sign, with their correlation and what noise with the "
            f"kernels' spectra reaches (median {chance:.2f}); {_ceiling_text(beside)}. "
        )
    return f"{text}{' '.join(json.loads(str(about['conclusion'])))}{_missing(tree)} Source: {about['citation']}"
