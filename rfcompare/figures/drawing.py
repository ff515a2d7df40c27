"""What every figure shares: its populations' names and colors, the mark of a simulation, scale bars, saving.

A figure function draws Datasets into `new_figure(...)`, tells its numbers and its caption to `record`, and returns the
Figure; `save` then writes PDF, PNG, the numbers as CSV and the caption as text.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from numpy.typing import NDArray

from rfcompare.bank import count_alive, ending_in, folder_to_write, write_bytes, write_csv, write_text
from rfcompare.errors import InputError
from rfcompare.figures.look import DIVERGING, LARGE, SMALL, Look, colors, style, write_units, written
from rfcompare.quantities import kind_words

ON, OFF = "#b2182b", "#2166ac"
"""ON is positive and red, OFF is negative and blue: the ends of `DIVERGING`."""

Side = Literal["cortex", "network", "reference"]

SIDE_COLORS: dict[Side, tuple[str, ...]] = {
    "cortex": ("#00876c", "#003f33", "#5fc0a5"),
    "network": ("#e08a00", "#7a4b00", "#f4bf66"),
    "reference": ("#7f7f7f", "#404040", "#b3b3b3"),
}
"""Hue is the side, its shade one of several on a side; red and blue stay with ON and OFF."""

KIND_MARKERS = {
    "measured": "o",
    "simulated": "s",
    "learned": "^",
    "parametric": "D",
    "untrained": "v",
    "analytic": "P",
    "in-silico": "<",
    "model-derived": ">",
    "not stated": "d",
}
"""One marker per kind of bank."""

NULL_COLOR, CEILING_COLOR = "#8c8c8c", "#332288"
"""Of what stands beside a similarity: its chance level and its ceiling."""


@dataclass
class _Account:
    numbers: list[pd.DataFrame]
    captions: list[str]


_accounts: WeakKeyDictionary[Figure, _Account] = WeakKeyDictionary()


def record(figure: Figure | SubFigure, look: Look | None = None, *, numbers: pd.DataFrame, caption: str) -> Figure:
    """Attach to a figure what it shows: its numbers and its caption.

    A composed figure collects those of all its parts.

    Parameters
    ----------
    figure : matplotlib Figure or SubFigure
        What was drawn.
    look : Look, optional
        Whose units texts and caption are written in.
    numbers : pandas DataFrame
        The numbers that the artists show, one row per thing drawn.
    caption : str
        What is shown, with n, kind, tests and sources.

    Returns
    -------
    matplotlib Figure
        The outermost figure.

    Examples
    --------
    >>> figure = record(Figure(), numbers=pd.DataFrame({"n": [3]}), caption="Three points.")
    >>> caption(figure)
    'Three points.'
    """
    root = figure.get_figure(root=True)
    assert isinstance(root, Figure)
    account = _accounts.setdefault(root, _Account([], []))
    account.numbers.append(numbers)
    account.captions.append(written(re.sub(r"\s+", " ", caption).strip(), look or {}))
    write_units(figure, look or {})
    return root


def numbers(figure: Figure) -> pd.DataFrame:
    """Return the numbers behind a figure of this package.

    Raises
    ------
    InputError
        If the figure was not drawn by `rfcompare.figures`.

    Examples
    --------
    >>> figure = record(Figure(), numbers=pd.DataFrame({"n": [3]}), caption="Three points.")
    >>> int(numbers(figure)["n"][0])
    3
    """
    parts = _account(figure).numbers
    if len(parts) == 1:
        return parts[0]
    return pd.concat([part.assign(part=index + 1) for index, part in enumerate(parts)], ignore_index=True)


def caption(figure: Figure) -> str:
    """Return the caption of a figure of this package: what is shown, n, kind, tests and sources.

    Raises
    ------
    InputError
        If the figure was not drawn by `rfcompare.figures`.

    Examples
    --------
    >>> figure = record(Figure(), numbers=pd.DataFrame({"n": [3]}), caption="Three points.")
    >>> caption(figure)
    'Three points.'
    """
    return " ".join(_account(figure).captions)


def _account(figure: Figure) -> _Account:
    try:
        return _accounts[figure]
    except KeyError:
        raise InputError(
            "expected a figure drawn by rfcompare.figures, got one without recorded numbers; call record on it"
        ) from None


def save(
    figure: Figure,
    stem: str,
    folder: str | Path,
    *,
    formats: Sequence[str] = ("pdf", "png"),
    dpi: float = 300,
) -> list[Path]:
    """Write a figure with its numbers and its caption.

    Parameters
    ----------
    figure : matplotlib Figure
        From a function of this package.
    stem : str
        File name without ending.
    folder : path
        Made if absent.
    formats : sequence of str
        Endings matplotlib can write, such as "pdf", "png" (300 dpi) and "svg"; text stays editable in PDF and SVG.
    dpi : float
        Resolution of pixel formats and of images inside vector formats.

    Returns
    -------
    list of Path
        The figure's files, then ``stem.csv`` (six significant digits) and ``stem.txt`` (the caption).

    Raises
    ------
    InputError
        If the folder cannot be written or a format is not known.

    Examples
    --------
    >>> import tempfile
    >>> figure = record(Figure(), numbers=pd.DataFrame({"n": [3]}), caption="Three points.")
    >>> [path.name for path in save(figure, "three", tempfile.mkdtemp(), formats=["svg"])]
    ['three.svg', 'three.csv', 'three.txt']
    """
    _account(figure)
    known = figure.canvas.get_supported_filetypes()
    unknown = [ending for ending in formats if ending not in known]
    if unknown:
        raise InputError(f"expected figure formats among {', '.join(sorted(known))}, got {', '.join(unknown)}")
    folder = folder_to_write(folder, cure="choose another with -o")
    written = []
    with style(), laid_out(figure):
        for ending in formats:
            written.append(save_picture(figure, folder / f"{stem}.{ending}", dpi=dpi))
    write_csv(numbers(figure), folder / f"{stem}.csv")
    write_text(folder / f"{stem}.txt", caption(figure) + "\n")
    return [*written, folder / f"{stem}.csv", folder / f"{stem}.txt"]


def save_picture(figure: Figure, path: str | Path, *, dpi: float = 300) -> Path:
    """Write a figure alone, in the format that its file's ending names, beside its place and then renamed.

    Raises
    ------
    InputError
        For an ending that matplotlib does not write.

    Examples
    --------
    >>> import tempfile
    >>> save_picture(Figure(), Path(tempfile.mkdtemp()) / "empty.png").name
    'empty.png'
    """
    place = ending_in(path, *(f".{ending}" for ending in sorted(figure.canvas.get_supported_filetypes())))
    ending = place.suffix[1:].lower()
    # The date and the program's version would make equal figures differ byte by byte.
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    memory = io.BytesIO()
    with style():  # fonts are looked up only now
        figure.savefig(memory, format=ending, dpi=dpi, metadata=metadata.get(ending))
    write_bytes(place, memory.getbuffer())
    return place


@contextmanager
def laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out once for all the formats it is saved in: most of the time would go into doing it again.

    Examples
    --------
    >>> figure = Figure(layout="constrained")
    >>> with laid_out(figure):
    ...     type(figure.get_layout_engine()).__name__
    'PlaceHolderLayoutEngine'
    """
    engine = figure.get_layout_engine()
    if isinstance(engine, PlaceHolderLayoutEngine):  # frozen before
        yield
        return
    freeze(figure)
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def freeze(figure: Figure) -> None:
    """Lay a figure out for good: what is added to it later moves nothing.

    Examples
    --------
    >>> figure = Figure(layout="constrained")
    >>> freeze(figure)
    >>> type(figure.get_layout_engine()).__name__
    'PlaceHolderLayoutEngine'
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


@dataclass(frozen=True)
class Population:
    """How one Dataset is named and drawn everywhere in a figure.

    Attributes
    ----------
    label, count : str
        Its name with kind and n, for legends and panel titles; n alone, with its subjects.
    name : str
        Its name alone.
    kind : str
        One of `rfcompare.kinds`.
    side : str
        "cortex", "network" or "reference".
    color, marker : str
        For points and lines: the hue says the side, the marker the kind.
    n_units, n_subjects : int
        ``n_subjects`` is 0 where subjects are unknown.
    units : str
        "px" or "degree".
    """

    label: str
    count: str
    name: str
    kind: str
    side: Side
    color: str
    marker: str
    n_units: int
    n_subjects: int
    units: str


def populations(datasets: Sequence[xr.Dataset], look: Look | None = None) -> list[Population]:
    """Give every Dataset its name, its color (by side) and its marker (by kind).

    Parameters
    ----------
    datasets : sequence of Dataset
        Banks, fits or descriptors with dim ``unit``.
    look : Look, optional
        With the colors that are wanted.

    Returns
    -------
    list of Population
        Several on one side differ in shade.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank = rfc.make_bank(np.stack([[np.eye(3)]] * 2), channel=("signed",), kind="analytic", source="ramp")
    >>> populations([bank])[0].label
    'ramp (analytic, n = 2)'
    """
    result: list[Population] = []
    chosen = sides(datasets)
    names = [population_name(dataset) for dataset in datasets]
    shades = [SIDE_COLORS[side][chosen[:index].count(side) % 3] for index, side in enumerate(chosen)]
    picked = colors(list(zip(names, chosen, strict=True)), shades, (look or {}).get("palette"))
    for index, dataset in enumerate(datasets):
        kind, name = str(dataset.attrs["kind"]), names[index]
        n_units = dataset.sizes["unit"]
        n_subjects = subject_count(dataset)
        # The populations of a null ensemble are told apart by subject, but are draws and no animals.
        groups = f" in {n_subjects} draws" if "null" in dataset.attrs else f" from {n_subjects} subjects"
        count = f"n = {count_alive(dataset)}" + (groups if n_subjects > 1 else "")
        result.append(
            Population(
                label=label(name, kind, count),
                count=count,
                name=name,
                kind=kind,
                side=chosen[index],
                color=picked[index],
                marker=KIND_MARKERS.get(kind, KIND_MARKERS["not stated"]),
                n_units=n_units,
                n_subjects=n_subjects,
                units=str(dataset.attrs.get("units", "px")),
            )
        )
    return result


def label(name: str, kind: str, count: str) -> str:
    """Name a population with its kind and its n; a name that says its kind does not say it twice.

    Examples
    --------
    >>> label("tree shrew (simulated)", "simulated", "n = 200"), label("untrained 7×7", "untrained", "n = 96")
    ('tree shrew (simulated, n = 200)', 'untrained 7×7 (n = 96)')
    """
    short = re.sub(rf"[,\s]*\(?\b{re.escape(kind)}\)?$", "", name) or name
    return f"{short} ({count})" if kind in short.split() else f"{short} ({kind_words(kind)}, {count})"


_NETWORK_MARKS = {"color_direction", "color_direction_original", "rank_one_share"}
_CORTEX_MARKS = {"noise_sd", "rf_half", "cortex_x", "field_of_view"}


def sides(datasets: Sequence[xr.Dataset]) -> list[Side]:
    """Say of every Dataset whether it is of a cortex, a network or a reference.

    Nulls and analytic maps are references; learned and untrained kernels, and whatever has colors, networks; whatever
    has a stimulus, animals or degrees, and is no network, a cortex. What shows neither is the side that the others
    leave.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> maps = np.stack([[np.eye(3)]] * 2)
    >>> sides([rfc.make_bank(maps, channel=("signed",), kind=kind) for kind in ("parametric", "learned")])
    ['cortex', 'network']
    """
    known = [_own_side(dataset) for dataset in datasets]
    rest: Side = "network" if "cortex" in known and "network" not in known else "cortex"
    return [side or rest for side in known]


def _own_side(dataset: xr.Dataset) -> Side | None:
    kind, attrs = str(dataset.attrs["kind"]), dataset.attrs
    if "null" in attrs or kind == "analytic":
        return "reference"
    names = set(map(str, dataset.variables))
    colored = "channel" in dataset.coords and set(map(str, dataset["channel"].values)) == {"r", "g", "b"}
    if kind in ("learned", "untrained") or "network" in attrs or colored or names & _NETWORK_MARKS:
        return "network"
    if kind == "measured" or "stimulus" in attrs or names & _CORTEX_MARKS or attrs.get("units") == "degree":
        return "cortex"
    return "cortex" if subject_count(dataset) > 1 else None


def population_name(dataset: xr.Dataset) -> str:
    """Name a population by its ``title`` or its units' source.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank = rfc.make_bank(np.stack([[np.eye(3)]] * 2), channel=("signed",), kind="analytic", source="ramp")
    >>> population_name(bank)
    'ramp'
    """
    if title := str(dataset.attrs.get("title", "")):
        return title
    sources = sorted({str(source) for source in dataset["source"].values} - {"", "unknown"})
    if len(sources) == 1:
        # A file is named by its own name: folders would fill the legend.
        return Path(sources[0]).stem if "/" in sources[0] or "\\" in sources[0] else sources[0]
    return f"{len(sources)} sources" if sources else "unnamed"


def subject_count(dataset: xr.Dataset) -> int:
    """Count the subjects of a population; 0 where they are unknown.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank = rfc.make_bank(np.stack([[np.eye(3)]] * 3), channel=("signed",), kind="measured",
    ...                      attrs={"stimulus": "noise"}, subject=["a", "a", "b"])
    >>> subject_count(bank)
    2
    """
    return len({str(subject) for subject in dataset["subject"].values} - {"", "unknown"})


def mark_kind(
    axes: Axes,
    kinds: Sequence[str] | str,
    *,
    corner: str = "upper right",
    at: tuple[float, float] | None = None,
    align: str = "left",
) -> None:
    """Write SIMULATED inside the axes where anything in them is simulated.

    Parameters
    ----------
    axes : matplotlib Axes
        Where the simulated maps or points are drawn.
    kinds : str or sequence of str
        The kinds of everything in these axes.
    corner : str
        "upper right", "upper left", "lower right" or "lower left", where the axes have room; "below" where a map fills
        them.
    at : (x, y), optional
        Instead of a corner, a place in data coordinates.
    align : {"left", "right"}
        Which end of the word stands there.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> mark_kind(axes, ["learned", "simulated"])
    >>> [text.get_text() for text in axes.texts]
    ['SIMULATED']
    """
    if "simulated" not in ([kinds] if isinstance(kinds, str) else kinds):
        return
    look: dict[str, Any] = {
        "fontsize": SMALL,
        "fontweight": "bold",
        "color": "#0f6a9e",
        "bbox": {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 0.8},
        "zorder": 10,
    }
    if at is not None:
        axes.text(*at, "SIMULATED", ha=align, va="center", **look)
        return
    right = "right" in corner
    left = 0.02 if axes.axison and corner != "below" else 0.0
    height, side = {"u": (0.98, "top"), "l": (0.02, "bottom"), "b": (-0.04, "top")}[corner[0]]
    axes.text(
        0.98 if right else left, height, "SIMULATED", transform=axes.transAxes, ha="right" if right else "left",
        va=side, **look,
    )  # fmt: skip


def sign_words(dataset: xr.Dataset) -> str:
    """Say what red and blue are: ON and OFF only where the sign of the maps is known.

    Examples
    --------
    >>> sign_words(xr.Dataset({"polarity_known": ("unit", [True, False])}))
    'ON red, OFF blue, but for 1 of 2 units of unknown polarity'
    >>> sign_words(xr.Dataset())
    'ON red, OFF blue'
    """
    known = np.asarray(dataset["polarity_known"].values if "polarity_known" in dataset else [True], dtype=bool)
    if known.all():
        return "ON red, OFF blue"
    if not known.any():
        return "positive red, negative blue, polarity unknown"
    return f"ON red, OFF blue, but for {(~known).sum()} of {known.size} units of unknown polarity"


def letter(axes: Axes | SubFigure, text: str) -> None:
    """Write a panel letter in bold above the upper left corner.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> letter(axes, "a")
    >>> axes.get_title(loc="left")
    'a'
    """
    if isinstance(axes, SubFigure):
        axes.suptitle(text, x=0.01, ha="left", fontsize=LARGE, fontweight="bold")
    else:
        axes.set_title(text, loc="left", fontsize=LARGE, fontweight="bold")


def nice_length(extent: float) -> float:
    """Choose a round length of about a third of `extent`: 1, 2 or 5 times a power of ten.

    Examples
    --------
    >>> nice_length(11.0), nice_length(0.9)
    (2.0, 0.2)
    """
    if not extent > 0:
        raise InputError(f"expected a positive extent for a scale bar, got {extent:g}")
    power = 10.0 ** math.floor(math.log10(extent / 3))
    return max(step for step in (1.0, 2.0, 5.0) if step * power <= extent / 3 * 1.0000001) * power


def length_text(length: float, units: str) -> str:
    """Write a length with its units.

    Examples
    --------
    >>> length_text(2.0, "degree"), length_text(5.0, "px")
    ('2°', '5 px')
    """
    return f"{length:g}°" if units == "degree" else f"{length:g} px"


def bar_below(axes: Axes, length: float, units: str) -> None:
    """Draw a scale bar under a map, from its left edge, with its length written beside it.

    Parameters
    ----------
    axes : matplotlib Axes
        That a map was drawn in, in the map's units.
    length : float
        In the map's units.
    units : {"px", "degree"}
        Of the length.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> image = draw_map(axes, np.eye(3), extent=(-3, 3, -3, 3))
    >>> bar_below(axes, 2, "degree")
    >>> axes.texts[0].get_text(), axes.lines[0].get_xdata().tolist()
    ('2°', [-3.0, -1.0])
    """
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    height = bottom - 0.13 * (top - bottom)
    axes.plot([left, left + length], [height] * 2, color="black", linewidth=1.2, solid_capstyle="butt", clip_on=False)
    axes.text(
        left + length + 0.06 * (right - left), height, length_text(length, units),
        ha="left", va="center", fontsize=SMALL,
    )  # fmt: skip
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


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
    values: NDArray[np.floating[Any]],
    *,
    extent: tuple[float, float, float, float],
    limit: float | None = None,
) -> Any:
    """Do `draw_tile` alone in axes, which lose their ticks and keep a thin frame; unmeasured pixels are gray.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> image = draw_map(axes, np.array([[0.0, -2.0], [1.0, 0.0]]), extent=(-1, 1, -1, 1))
    >>> image.get_clim()
    (-2.0, 2.0)
    """
    axes.set_facecolor("#d9d9d9")
    image = draw_tile(axes, values, extent=extent, limit=limit)
    axes.set_aspect("equal")
    bare(axes)
    return image


def draw_tile(
    axes: Axes,
    values: NDArray[np.floating[Any]],
    *,
    extent: tuple[float, float, float, float],
    limit: float | None = None,
) -> Any:
    """Draw one map among others, y up: in color with zero gray, or red and blue with limits symmetric about zero.

    Parameters
    ----------
    axes : matplotlib Axes
        To draw in.
    values : array
        (y, x) or, with red, green and blue, (y, x, 3), row 0 at the lowest y; NaN is not measured.
    extent : tuple of float
        From `map_extent`.
    limit : float, optional
        The value drawn in full color; the largest magnitude by default.

    Returns
    -------
    matplotlib AxesImage
        The image.

    Examples
    --------
    >>> image = draw_tile(Figure().add_subplot(), np.array([[[1.0, 0.0, -1.0]]]), extent=(0, 1, 0, 1))
    >>> image.get_array().tolist()
    [[[1.0, 0.5, 0.0]]]
    """
    full = (largest(values) if limit is None else limit) or 1.0
    if values.ndim == 3:
        shown = np.clip(np.nan_to_num(values) / (2 * full) + 0.5, 0, 1)
        return axes.imshow(shown, origin="lower", extent=extent, interpolation="nearest")
    return axes.imshow(
        np.ma.masked_invalid(values), origin="lower", extent=extent, interpolation="nearest", cmap=DIVERGING,
        vmin=-full, vmax=full,
    )  # fmt: skip


def largest(values: NDArray[np.floating[Any]]) -> float:
    """Return the largest magnitude that was measured; 0 where nothing was.

    Examples
    --------
    >>> largest(np.array([np.nan, -2.0])), largest(np.array([np.nan]))
    (2.0, 0.0)
    """
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def bare(axes: Axes) -> None:
    """Take the ticks off an axes that shows a map and keep a thin frame.

    Examples
    --------
    >>> axes = Figure().add_subplot()
    >>> bare(axes)
    >>> len(axes.get_xticks())
    0
    """
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.3)
