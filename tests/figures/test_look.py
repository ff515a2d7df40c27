"""Every figure is laid out as a journal prints it, also in one column and as its author wants it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import same_color
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.text import Text

import rfcompare as rfc
from rfcompare import figures
from rfcompare.comparison import published
from rfcompare.figures import drawing
from rfcompare.filtering import filter_image
from rfcompare.simulation.eye import contrast_sensitivity

SLACK = 0.75
"""Pixels at 100 dpi that a text's box may stand out: antialiasing widens boxes by about half a pixel."""

OVERLAP = 0.2
"""Share of the smaller text's box that two texts may share: a box is about a quarter higher than its letters."""

WHITE = 250
"""Of 255: darker pixels show something, however light a gray."""

SMALLEST, LARGEST = 6.0, 8.0
"""The brief of every journal figure: text of 6 to 8 points."""

BEHIND = [published(name) for name in ("devalois1982_orientation", "devalois1982_frequency", "schiller1976_simple")]
SEEN = contrast_sensitivity([0.05, 0.3, 1.0])  # from far below the published frequencies on
SEEN.attrs["citation"] = "Petry 1984"


NAMES = (
    "kernels", "fits", "gabor_space", "tuning", "columns", "subfields", "matches", "ladder", "depth", "survey", "color",
    "training", "filter",
)  # fmt: skip


@pytest.fixture(scope="session")
def calls(
    cortex: xr.Dataset,
    network: xr.Dataset,
    fitted: tuple[xr.Dataset, xr.Dataset],
    result: xr.Dataset,
    matched: tuple[xr.Dataset, xr.Dataset, xr.Dataset],
    survey_table: pd.DataFrame,
    snapshots: list[xr.Dataset],
    history: pd.DataFrame,
) -> dict[str, Callable[..., Figure]]:
    """What draws every figure, to be called with a look."""
    image = np.linspace(0, 1, 24)[:, None] * np.ones((24, 32))
    seen = filter_image(image, network, network.unit.values[0])
    shrew, _ = rfc.simulate_treeshrew(n_cells=6, seed=0)
    nowhere = shrew.drop_vars(["cortex_x", "cortex_y"])
    return {
        "kernels": partial(figures.kernels, network, cortex),
        "fits": partial(figures.fits, *fitted),
        "gabor_space": partial(figures.gabor_space, *fitted),
        "tuning": partial(figures.tuning, *fitted),
        "columns": partial(figures.cortical_columns, shrew, rfc.analyze_columns(shrew, seed=0)),
        "subfields": partial(figures.cortical_columns, nowhere, rfc.analyze_columns(nowhere, seed=0)),
        "matches": partial(figures.matches, *matched),
        "ladder": partial(figures.ladder, {"small net – cortex": result}),
        "depth": partial(figures.depth, {"conv1": result, "conv2": result}),
        "survey": partial(figures.survey, survey_table),
        "color": partial(figures.color, network),
        "training": partial(figures.training, *snapshots, history=history),
        "filter": partial(figures.filter_response, seen),
    }


def laid_out(made: dict[str, Figure]) -> dict[str, Figure]:
    for figure in made.values():
        figure.set_dpi(100)
        with figures.style():
            figure.draw_without_rendering()
    return made


@pytest.fixture(scope="session")
def drawn(
    calls: dict[str, Callable[..., Figure]], cortex: xr.Dataset, fitted: tuple[xr.Dataset, xr.Dataset]
) -> dict[str, Figure]:
    """Every figure once, laid out."""
    behind: dict[str, Any] = {"published": BEHIND, "sensitivity": SEEN}
    more = {
        "kernels_single": figures.kernels(cortex, width="single"),
        "tuning_published": figures.tuning(*fitted, **behind),
        "tuning_single": figures.tuning(*fitted, **behind, width="single"),
    }
    return laid_out({name: draw() for name, draw in calls.items()} | more)


DRAWN = (*NAMES, "kernels_single", "tuning_published", "tuning_single")


@pytest.fixture(scope="session")
def wanted(calls: dict[str, Callable[..., Figure]]) -> dict[str, Figure]:
    """Every figure in one column, with colors, title and units of its author."""
    look: figures.Look = {
        "width": "single",
        "palette": {"network": "black", "small net": "black", "Gabor": "black"},
        "title": "A title",
        "units": {"°": " deg", "px": "pixels", "11×11 px": "11 by 11 pixels"},
    }
    return laid_out({name: draw(**look) for name, draw in calls.items()})


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_clipped_in_one_column(name: str, wanted: dict[str, Figure]) -> None:
    test_nothing_is_clipped(name, wanted)
    test_texts_do_not_overlap(name, wanted)


@figures.style()  # how many ticks there are hangs on their size
def shown_texts(figure: Figure) -> list[Text]:
    """Every text that is drawn, with words in it; tick labels beyond an axis' limits are not drawn."""
    found = [text for legend in figure.findobj(Legend) for text in legend.get_texts()]
    for part in (figure, *figure.findobj(SubFigure)):
        found += part.texts
        if part.get_suptitle():
            found.append(part._suptitle)
    for axes in figure.axes:
        found += [*axes.texts, axes.title, axes._left_title, axes._right_title]
        if axes.axison:
            for index, axis in enumerate((axes.xaxis, axes.yaxis)):
                low, high = sorted((axes.get_xlim(), axes.get_ylim())[index])
                found += [axis.label]
                found += [
                    label
                    for label in axis.get_ticklabels(which="both")
                    if low - 1e-9 <= label.get_position()[index] <= high + 1e-9
                ]
    return [
        text
        for text in dict.fromkeys(found)
        if text.get_visible() and text.get_text().strip() and text.get_window_extent().width > 0
    ]


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_clipped(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    width, height = figure.bbox.width, figure.bbox.height
    for text in shown_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= -SLACK, f"{text.get_text()!r} is cut on the left"
        assert box.y0 >= -SLACK, f"{text.get_text()!r} is cut below"
        assert box.x1 <= width + SLACK, f"{text.get_text()!r} is cut on the right by {box.x1 - width:.1f} px"
        assert box.y1 <= height + SLACK, f"{text.get_text()!r} is cut above"


@pytest.mark.parametrize("name", DRAWN)
def test_texts_do_not_overlap(name: str, drawn: dict[str, Figure]) -> None:
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(drawn[name])]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        if across > 0 and along > 0:
            share = across * along / min(first.width * first.height, second.width * second.height)
            assert share <= OVERLAP, f"{one!r} and {other!r} overlap by {share:.0%}"


@pytest.mark.parametrize("name", DRAWN)
def test_text_is_six_to_eight_points(name: str, drawn: dict[str, Figure]) -> None:
    sizes = {text.get_fontsize() for text in shown_texts(drawn[name])}
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST


def over_something(figure: Figure, marks: Sequence[Text | Legend]) -> list[str]:
    """Those texts and legends under which anything at all is drawn."""
    canvas = FigureCanvasAgg(figure)
    with figures.style(), drawing._laid_out(figure):
        for mark in marks:
            mark.set_visible(False)
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    found = []
    for mark in marks:
        mark.set_visible(True)
        box = mark.get_window_extent(canvas.get_renderer())
        if (pixels[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)] < WHITE).any():
            found.append(f"{mark} of {mark.axes and (mark.axes.get_title() or mark.axes.get_xlabel())}")
    return found


@pytest.mark.parametrize("name", DRAWN)
def test_legends_do_not_cover_data(name: str, drawn: dict[str, Figure]) -> None:
    assert not over_something(drawn[name], drawn[name].findobj(Legend))


@pytest.mark.parametrize("name", DRAWN)
def test_simulated_stands_inside_the_axes(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    marks = [text for axes in figure.axes for text in axes.texts if text.get_text() == "SIMULATED"]
    if name in ("color", "training", "filter"):  # of learned kernels only
        assert not marks
        return
    assert marks
    for mark in marks:
        assert mark.axes is not None
        box, inner = mark.get_window_extent(), mark.axes.get_window_extent()
        assert box.x0 >= inner.x0 - SLACK
        assert box.x1 <= inner.x1 + SLACK
        assert box.y0 >= inner.y0 - SLACK
        assert box.y1 <= inner.y1 + SLACK
    assert not over_something(figure, marks)


def test_every_figure_is_drawn_as_its_author_wants(drawn: dict[str, Figure], wanted: dict[str, Figure]) -> None:
    for name, figure in wanted.items():
        assert figure.get_suptitle() == "A title", name
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert not any("px" in text or "°" in text for text in texts), name
    plain, black = (made["gabor_space"].axes[0].collections for made in (drawn, wanted))
    assert not any(same_color(item.get_edgecolor()[0], "black") for item in plain)
    assert any(same_color(item.get_edgecolor()[0], "black") for item in black)
    with pytest.raises(rfc.InputError, match="palette of 2 colors or more, got 1"):
        drawing.colors([["a"], ["b"]], ["red", "blue"], ["green"])
    with pytest.raises(rfc.InputError, match="palette that seaborn knows, got 'no such'"):
        drawing.colors([["a"]], ["red"], "no such")
    assert drawing.colors([["a"], ["b"]], ["red", "blue"], "colorblind")[0].startswith("#")
    with pytest.raises(rfc.errors.KeywordError, match="did you mean palette"):
        figures.ladder({}, pallette="colorblind")  # type: ignore[call-arg]


@pytest.mark.parametrize(("width", "mm"), [("single", 89.0), ("double", 183.0), (120.0, 120.0)])
def test_journal_widths(width: Any, mm: float, cortex: xr.Dataset) -> None:
    figure = figures.kernels(cortex, width=width)
    assert figure.get_size_inches()[0] * 25.4 == pytest.approx(mm)


def test_unknown_width_says_what_is_known(cortex: xr.Dataset) -> None:
    with pytest.raises(rfc.InputError, match="'single', 'double' or a number of mm"):
        figures.kernels(cortex, width="triple")  # type: ignore[arg-type]


def test_style_is_a_context() -> None:
    before = dict(mpl.rcParams)
    with figures.style():
        assert mpl.rcParams["pdf.fonttype"] == 42
        assert mpl.rcParams["svg.fonttype"] == "none"
        assert mpl.rcParams["font.size"] == 7
    assert dict(mpl.rcParams) == before
