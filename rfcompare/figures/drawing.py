"""What every figure shares: its populations' names and colors, the mark of a simulation, scale bars, saving.

A figure function draws Datasets into `new_figure(...)`, tells its numbers and its caption to `record`, and returns the
Figure; `save` then writes PDF, PNG, the numbers as CSV and the caption as text.
"""

from __future__ import annotations

import io
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
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from rfcompare.bank import count_alive, ending_in, folder_to_write, write_bytes, write_csv, write_text
from rfcompare.errors import InputError
from rfcompare.figures.look import Look, colors, style, write_units, written
from rfcompare.quantities import kind_words

Array = NDArray[np.floating[Any]]

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
    figure: Figure, stem: str, folder: str | Path, *, formats: Sequence[str] = ("pdf", "png"), dpi: float = 300
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
    with style(), _laid_out(figure):
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
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out once for all the formats it is saved in: most of the time would go into doing it again."""
    engine = figure.get_layout_engine()
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


@dataclass(frozen=True)
class Population:
    """How one Dataset is named and drawn everywhere in a figure.

    Attributes
    ----------
    label, count : str
        Its name with kind and n, for legends and panel titles; n alone, with its subjects.
    cited : str
        Its label with its source, for captions.
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
    cited: str
    name: str
    kind: str
    side: Side
    color: str
    marker: str
    n_units: int
    n_subjects: int
    units: str

    def table(self, **columns: Any) -> pd.DataFrame:
        """Numbers of this population, as `record` wants them."""
        return pd.DataFrame({"population": self.name, "kind": self.kind, **columns})


def populations(datasets: Sequence[xr.Dataset], look: Look | None = None) -> list[Population]:
    """Give every Dataset its name, its marker (by kind) and its color (by side, in shades where several share one).

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank = rfc.make_bank(np.stack([[np.eye(3)]] * 2), channel=("signed",), kind="analytic", source="ramp")
    >>> populations([bank])[0].label
    'ramp (analytic, n = 2)'
    """
    result: list[Population] = []
    chosen = _sides(datasets)
    names = [population_name(dataset) for dataset in datasets]
    shades = [SIDE_COLORS[side][chosen[:index].count(side) % 3] for index, side in enumerate(chosen)]
    picked = colors(list(zip(names, chosen, strict=True)), shades, (look or {}).get("palette"))
    for index, dataset in enumerate(datasets):
        kind, name = str(dataset.attrs["kind"]), names[index]
        n_units = dataset.sizes["unit"]
        n_subjects = _subject_count(dataset)
        # The populations of a null ensemble are told apart by subject, but are draws and no animals.
        groups = f" in {n_subjects} draws" if "null" in dataset.attrs else f" from {n_subjects} subjects"
        count = f"n = {count_alive(dataset)}" + (groups if n_subjects > 1 else "")
        named = label(name, kind, count)
        result.append(
            Population(
                label=named,
                count=count,
                cited=named + source_text(dataset),
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


def _sides(datasets: Sequence[xr.Dataset]) -> list[Side]:
    """Say of every Dataset whether it is of a cortex, a network or a reference.

    Nulls and analytic maps are references; learned and untrained kernels, and whatever has colors, networks; whatever
    has a stimulus, animals or degrees, and is no network, a cortex. What shows neither is the side that the others
    leave.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> maps = np.stack([[np.eye(3)]] * 2)
    >>> _sides([rfc.make_bank(maps, channel=("signed",), kind=kind) for kind in ("parametric", "learned")])
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
    return "cortex" if _subject_count(dataset) > 1 else None


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


def _subject_count(dataset: xr.Dataset) -> int:
    """Count the subjects of a population; 0 where they are unknown."""
    return len({str(subject) for subject in dataset["subject"].values} - {"", "unknown"})


def source_text(dataset: xr.Dataset) -> str:
    """Write where a population comes from, for a caption: " [citation, doi:…]", or "".

    Examples
    --------
    >>> source_text(xr.Dataset(attrs={"citation": "A 2001", "doi": "10.1/2"}))
    ' [A 2001, doi:10.1/2]'
    """
    citation, doi = str(dataset.attrs.get("citation", "")), str(dataset.attrs.get("doi", ""))
    if doi and doi not in citation:
        citation = f"{citation}, doi:{doi}" if citation else f"doi:{doi}"
    return f" [{citation}]" if citation else ""


def unit_values(dataset: xr.Dataset, name: str) -> NDArray[Any]:
    """Return one value per unit (the only channel's, where it is given per channel).

    Examples
    --------
    >>> unit_values(xr.Dataset({"r2": (("unit", "channel"), [[0.5], [0.9]])}), "r2").tolist()
    [0.5, 0.9]
    """
    if name not in dataset:
        raise InputError(f"expected descriptors with {name!r}, got none; describe the fits of a Gabor")
    values = dataset[name]
    found = np.asarray((values.isel(channel=0) if "channel" in values.dims else values).values)
    return found.astype(float if found.dtype.kind in "fiu" else str)


def evenly_spaced(count: int, most: int) -> list[int]:
    """Choose at most so many of `count`, the first and the last among them.

    Examples
    --------
    >>> evenly_spaced(9, 3), evenly_spaced(2, 3)
    ([0, 4, 8], [0, 1])
    """
    return [int(index) for index in np.unique(np.linspace(0, count - 1, min(most, count)).round())]


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
