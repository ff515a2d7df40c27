"""Figures are tested by the numbers and units of their artists, and by what a picky look would find clipped."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch
from matplotlib.text import Text

import rfcompare as rfc
from rfcompare import figures
from rfcompare.comparison import published
from rfcompare.figures import drawing, maps, networks, pairs, populations
from rfcompare.filtering import filter_image
from rfcompare.quantities import KAPPA
from rfcompare.simulation import simulate_population
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
SEEN = contrast_sensitivity([0.1, 0.3, 1.0])
SEEN.attrs["citation"] = "Petry 1984"


@pytest.fixture(scope="module")
def cortex() -> xr.Dataset:
    bank, _ = simulate_population(n=36, n_subjects=4, size=13, snr=3, deg_per_px=0.5, seed=1)
    return bank.assign_attrs(title="simulated cortex", citation="assumed parameters")


@pytest.fixture(scope="module")
def network() -> xr.Dataset:
    rng = np.random.default_rng(3)
    bank, _ = simulate_population(n=20, size=11, seed=2)
    direction = rng.normal(size=(20, 3, 1, 1))
    weights = direction / np.linalg.norm(direction, axis=1, keepdims=True) * bank.rf.values
    return rfc.make_bank(
        weights, channel=("r", "g", "b"), kind="learned", source="small net", attrs={"citation": "A 2001"}
    )


@pytest.fixture(scope="module")
def fitted(cortex: xr.Dataset, network: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    return rfc.fit(cortex, "gabor", seed=0), rfc.fit(rfc.to_signed(network), "gabor", seed=0)


@pytest.fixture(scope="module")
def result(cortex: xr.Dataset, network: xr.Dataset) -> xr.Dataset:
    return rfc.likeness(cortex, network, seed=0)


@pytest.fixture(scope="module")
def matched(cortex: xr.Dataset, network: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    a, b = rfc.to_signed(network).isel(unit=slice(0, 4)), cortex.isel(unit=slice(0, 5))
    null, _ = simulate_population("gaussian", n=4, size=11, seed=7)
    return rfc.match(a, b, nulls=null, seed=0, progress=False), a, b


@pytest.fixture(scope="module")
def survey_table() -> pd.DataFrame:
    rows = [
        ("net", "learned", 96, "all", "profile", "Gabor", 0.75, "classified"),
        ("net", "learned", 96, "all", "profile", "blob", 0.25, "classified"),
        ("net", "learned", 96, "all", "band", "band-pass", 1.0, "classified"),
        ("cortex", "simulated", 40, "all", "profile", "first derivative", 1.0, "classified"),
        ("cortex", "simulated", 40, "all", "band", "low-pass", 1.0, "classified"),
        ("untrained 11×11", "untrained", 96, "all", "profile", "unstructured", 1.0, "classified"),
        ("untrained 11×11", "untrained", 96, "all", "band", "all-pass", 1.0, "classified"),
        ("absent", "learned", pd.NA, None, None, None, None, "weights not in the cache"),
    ]
    names = ["population", "kind", "n_units", "group", "question", "answer", "share", "status"]
    return pd.DataFrame(rows, columns=names).astype({"n_units": "Int64"})


@pytest.fixture(scope="module")
def snapshots() -> list[xr.Dataset]:
    def bank(step: int) -> xr.Dataset:
        values = np.random.default_rng(step).normal(size=(5, 1, 7, 7))
        kind = "learned" if step else "untrained"
        return rfc.make_bank(
            values, channel=("signed",), kind=kind, source="lines net", attrs={"step": step, "seed": 0}
        )

    return [bank(step) for step in (0, 10, 100)]


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    rows = [
        {"step": step, "seed": 0, "quantity": name, "median": value, "q25": value - 0.1, "q75": value + 0.1}
        for name, values in {"r2": (0.2, 0.6, 0.9), "nx": (0.1, 0.3, 0.4)}.items()
        for step, value in zip((0, 10, 100), values, strict=True)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def drawn(
    cortex: xr.Dataset,
    network: xr.Dataset,
    fitted: tuple[xr.Dataset, xr.Dataset],
    result: xr.Dataset,
    matched: tuple[xr.Dataset, xr.Dataset, xr.Dataset],
    survey_table: pd.DataFrame,
    snapshots: list[xr.Dataset],
    history: pd.DataFrame,
) -> dict[str, Figure]:
    """Every figure once, laid out."""
    made = {
        "kernels": figures.kernels(network, cortex),
        "kernels_single": figures.kernels(cortex, width="single"),
        "fits": figures.fits(*fitted),
        "gabor_space": figures.gabor_space(*fitted),
        "tuning": figures.tuning(*fitted),
        "tuning_published": figures.tuning(*fitted, published=BEHIND, sensitivity=SEEN),
        "tuning_single": figures.tuning(fitted[0], published=BEHIND, sensitivity=SEEN, width="single"),
        "matches": figures.matches(*matched),
        "ladder": figures.ladder({"small net – cortex": result}),
        "survey": figures.survey(survey_table),
        "color": figures.color(network),
        "training": figures.training(*snapshots, history=history),
    }
    for figure in made.values():
        figure.set_dpi(100)
        with figures.style():
            figure.draw_without_rendering()
    return made


NAMES = (
    "kernels", "kernels_single", "fits", "gabor_space", "tuning", "tuning_published", "tuning_single", "matches",
    "ladder", "survey", "color", "training",
)  # fmt: skip


@pytest.fixture(scope="module")
def wanted(
    cortex: xr.Dataset,
    network: xr.Dataset,
    fitted: tuple[xr.Dataset, xr.Dataset],
    result: xr.Dataset,
    matched: tuple[xr.Dataset, xr.Dataset, xr.Dataset],
    survey_table: pd.DataFrame,
    snapshots: list[xr.Dataset],
    history: pd.DataFrame,
) -> dict[str, Figure]:
    """Every figure in one column, with colors, title and units of its author."""
    look: figures.Look = {
        "width": "single",
        "palette": {"network": "black", "small net": "black", "Gabor": "black"},
        "title": "A title",
        "units": {"°": " deg", "px": "pixels", "11×11 px": "11 by 11 pixels"},
    }
    image = np.linspace(0, 1, 24)[:, None] * np.ones((24, 32))
    made = {
        "kernels": figures.kernels(network, cortex, **look),
        "fits": figures.fits(*fitted, **look),
        "gabor_space": figures.gabor_space(*fitted, **look),
        "tuning": figures.tuning(*fitted, **look),
        "matches": figures.matches(*matched, **look),
        "ladder": figures.ladder({"small net – cortex": result}, **look),
        "survey": figures.survey(survey_table, **look),
        "color": figures.color(network, **look),
        "training": figures.training(*snapshots, history=history, **look),
        "filter": figures.filter_response(filter_image(image, network, network.unit.values[0]), **look),
    }
    for figure in made.values():
        figure.set_dpi(100)
        with figures.style():
            figure.draw_without_rendering()
    return made


WANTED = (
    "kernels", "fits", "gabor_space", "tuning", "matches", "ladder", "survey", "color", "training", "filter",
)  # fmt: skip


@pytest.mark.parametrize("name", WANTED)
def test_nothing_is_clipped_in_one_column(name: str, wanted: dict[str, Figure]) -> None:
    test_nothing_is_clipped(name, wanted)
    test_texts_do_not_overlap(name, wanted)


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


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_clipped(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    width, height = figure.bbox.width, figure.bbox.height
    for text in shown_texts(figure):
        box = text.get_window_extent()
        assert box.x0 >= -SLACK, f"{text.get_text()!r} is cut on the left"
        assert box.y0 >= -SLACK, f"{text.get_text()!r} is cut below"
        assert box.x1 <= width + SLACK, f"{text.get_text()!r} is cut on the right by {box.x1 - width:.1f} px"
        assert box.y1 <= height + SLACK, f"{text.get_text()!r} is cut above"


@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_overlap(name: str, drawn: dict[str, Figure]) -> None:
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown_texts(drawn[name])]
    for (one, first), (other, second) in itertools.combinations(boxes, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        along = min(first.y1, second.y1) - max(first.y0, second.y0)
        if across > 0 and along > 0:
            share = across * along / min(first.width * first.height, second.width * second.height)
            assert share <= OVERLAP, f"{one!r} and {other!r} overlap by {share:.0%}"


@pytest.mark.parametrize("name", NAMES)
def test_text_is_six_to_eight_points(name: str, drawn: dict[str, Figure]) -> None:
    sizes = {text.get_fontsize() for text in shown_texts(drawn[name])}
    assert min(sizes) >= SMALLEST
    assert max(sizes) <= LARGEST


@pytest.mark.parametrize("name", NAMES)
def test_legends_do_not_cover_data(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent()
        for axes in figure.axes:
            if not axes.axison or not axes.has_data():
                continue
            inner = axes.get_window_extent()
            across = min(box.x1, inner.x1) - max(box.x0, inner.x0)
            along = min(box.y1, inner.y1) - max(box.y0, inner.y0)
            assert across <= SLACK or along <= 2, f"a legend lies over {axes.get_xlabel()!r}"


def over_something(figure: Figure, marks: list[Text]) -> list[str]:
    """The axes in which anything at all is drawn under one of these texts."""
    for mark in marks:
        mark.set_visible(False)
    canvas = FigureCanvasAgg(figure)
    with figures.style(), drawing.laid_out(figure):
        canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[::-1, :, :3]
    found = []
    for mark in marks:
        mark.set_visible(True)
        box = mark.get_window_extent(canvas.get_renderer())
        if (pixels[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)] < WHITE).any():
            found.append(mark.axes.get_title() or mark.axes.get_xlabel())
    return found


@pytest.mark.parametrize("name", NAMES)
def test_simulated_stands_inside_the_axes(name: str, drawn: dict[str, Figure]) -> None:
    figure = drawn[name]
    marks = [text for axes in figure.axes for text in axes.texts if text.get_text() == "SIMULATED"]
    if name in ("color", "training"):  # of learned kernels only
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


# ---------------------------------------------------------------------------------------------------- single figures


def test_kernels_show_the_maps_with_symmetric_limits(cortex: xr.Dataset) -> None:
    figure = figures.kernels(cortex)
    images = figure.axes[0].images
    assert len(images) == 36
    for unit, image in enumerate(images):
        np.testing.assert_array_equal(image.get_array(), cortex.rf.values[unit, 0])
        low, high = image.get_clim()
        assert low == -high == -np.abs(cortex.rf.values[unit]).max()
        assert image.origin == "lower"
    numbers = figures.numbers(figure)
    assert numbers["unit"].tolist() == cortex.unit.values.tolist()
    np.testing.assert_allclose(numbers["limit"], np.abs(cortex.rf.values).max((1, 2, 3)))


def test_an_oblique_asymmetric_pattern_keeps_angle_place_and_sign() -> None:
    # ON at the right and above the middle, OFF left of it: red must be printed up right.
    pattern = np.zeros((7, 7))
    pattern[5, 5], pattern[3, 1] = 2.0, -1.0
    image = figures.kernels(rfc.make_bank(pattern[None, None], channel=("signed",), kind="analytic")).axes[0].images[0]
    left, right, bottom, top = image.get_extent()
    values = np.asarray(image.get_array())
    row, column = np.unravel_index(values.argmax(), values.shape)
    x = left + (column + 0.5) * (right - left) / 7
    y = bottom + (row + 0.5) * (top - bottom) / 7
    assert x > (left + right) / 2
    assert y > (bottom + top) / 2
    red, _, blue, _ = image.to_rgba(np.array([2.0]))[0]
    assert red > blue


def test_kernels_shows_on_minus_off() -> None:
    on, off = np.eye(3) * 3, np.fliplr(np.eye(3))
    figure = figures.kernels(rfc.make_bank(np.stack([on, off])[None], channel=("on", "off"), kind="analytic"))
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), on - off)


def test_color_kernels_have_gray_at_zero(network: xr.Dataset) -> None:
    picture = np.asarray(figures.kernels(network).axes[0].images[0].get_array())
    weights = np.moveaxis(network.rf.values[0], 0, -1)
    # 0 → 0.5, the largest magnitude → 0 or 1
    np.testing.assert_allclose(picture, 0.5 + weights / (2 * np.abs(weights).max()), atol=1e-12)


def test_more_lobes_are_darker() -> None:
    light = [
        np.dot(to_rgb(networks.answer_color(lobes)), (0.2126, 0.7152, 0.0722)) for lobes in ("2", "3", "4", "5", "6+")
    ]
    assert light == sorted(light, reverse=True)


def test_only_a_known_sign_is_called_on_and_off(cortex: xr.Dataset) -> None:
    assert "ON red, OFF blue" in figures.caption(figures.kernels(cortex))
    unknown = cortex.assign(polarity_known=("unit", np.zeros(36, bool)))
    caption = figures.caption(figures.kernels(unknown))
    assert "positive red, negative blue, polarity unknown" in caption
    assert "ON" not in caption


def test_fewer_tiles_than_units_are_counted(cortex: xr.Dataset) -> None:
    title = figures.kernels(cortex, n_max=10).axes[0].get_title()
    assert title == "simulated cortex (10 shown of n = 36 from 4 subjects)"


def test_banks_in_degrees_share_one_scale(cortex: xr.Dataset) -> None:
    small, _ = simulate_population(n=8, size=7, deg_per_px=0.5, seed=4)
    figure = figures.kernels(cortex, small)
    with figures.style():
        figure.draw_without_rendering()
    per_degree = [np.diff(axes.transData.transform([[0, 0], [1, 0]])[:, 0])[0] for axes in figure.axes]
    assert per_degree[0] == pytest.approx(per_degree[1], rel=0.15)
    assert "one scale in degrees" in figures.caption(figure)


def test_kernels_sorts_by_class(cortex: xr.Dataset) -> None:
    names = ["blob"] * 10 + ["Gabor"] * 26
    figure = figures.kernels(cortex, classes=[names])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:2] == ["Gabor (26)", "blob (10)"]  # the largest class first
    numbers = figures.numbers(figure)
    assert numbers["class"].tolist() == ["Gabor"] * 26 + ["blob"] * 10
    with pytest.raises(rfc.InputError, match=r"one class per unit \(36\), got 2"):
        figures.kernels(cortex, classes=[["blob", "Gabor"]])


def test_scale_bar_has_the_length_it_says(cortex: xr.Dataset) -> None:
    axes = figures.kernels(cortex).axes[0]
    bar = next(line for line in axes.lines if len(line.get_xdata()) == 2)
    length = float(np.ptp(bar.get_xdata()))
    assert f"{length:g}°" in [text.get_text() for text in axes.texts]
    # One tile is 13 pixels of 0.5°.
    left, right, _, _ = axes.images[0].get_extent()
    assert right - left == pytest.approx(13 * 0.5)


def test_fits_draw_data_fit_and_residual_on_one_scale(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    one = fitted[0]
    figure = figures.fits(one)
    unit = maps.example_units(one)[0]
    data, model, residual = (axes.images[0] for axes in figure.axes[:3])
    np.testing.assert_array_equal(data.get_array(), one.rf.values[unit, 0])
    np.testing.assert_allclose(model.get_array(), one.rf_fit.values[unit, 0])
    np.testing.assert_allclose(np.asarray(residual.get_array()), one.rf.values[unit, 0] - one.rf_fit.values[unit, 0])
    assert data.get_clim() == model.get_clim() == residual.get_clim()


def test_r2_histogram_counts_every_unit(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    for one in fitted:
        figure = figures.fits(one)
        assert sum(bar.get_height() for bar in figure.axes[-1].patches) == one.sizes["unit"]
        caption = figures.caption(figure)
        assert f"median r² {np.median(one.r2.values):.3f}" in caption
        assert f"{int((one.r2.values > 0.7).sum())} of {one.sizes['unit']} above 0.7" in caption


def test_examples_stand_at_their_percentiles() -> None:
    # r² = 0, 0.01 … 1: the 95th percentile is unit 95, and so on down to the 5th.
    assert maps.example_units(xr.Dataset({"r2": ("unit", np.linspace(0, 1, 101))})) == [95, 75, 50, 25, 5]


def test_parametric_r2_is_that_of_the_originals(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    rendered = fitted[0].assign_attrs(kind="parametric")
    assert "fixed by construction" in figures.caption(figures.fits(rendered))
    stored = rendered.assign(r2_original=("unit", np.full(rendered.sizes["unit"], 0.87)))
    figure = figures.fits(stored)
    assert "median r² of the original map 0.870" in figures.caption(figure)
    assert figure.axes[-1].get_xlabel() == "$r^2$ of the original map"


def test_gabor_space_points_are_nx_and_ny(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    figure = figures.gabor_space(*fitted)
    plane, top = figure.axes[:2]
    strip = next(axes for axes in figure.axes if axes.get_xlabel().startswith("no visible"))
    clouds, rugs = ([item for item in axes.collections if isinstance(item, PathCollection)] for axes in (plane, strip))
    assert len(clouds) == len(rugs) == 2
    for cloud, rug, one in zip(clouds, rugs, fitted, strict=True):
        nx = (one.sigma_x * one.frequency).values
        ny = (one.sigma_y * one.frequency).values
        inside = np.clip(np.stack([nx, ny], 1), *populations.PLANE)
        np.testing.assert_allclose(np.asarray(cloud.get_offsets()), inside[nx > KAPPA])
        np.testing.assert_allclose(np.asarray(rug.get_offsets())[:, 1], inside[nx <= KAPPA, 1])
    shares = [text.get_text() for text in strip.get_xticklabels()]
    assert shares == [f"{((one.sigma_x * one.frequency).values <= KAPPA).mean():.0%}" for one in fitted]
    assert plane.get_xscale() == plane.get_yscale() == "linear"
    assert plane.get_xlim() == populations.PLANE
    assert plane.get_ylim()[0] == 0
    assert plane.get_ylim()[1] > populations.PLANE[1]  # above it stands only SIMULATED
    assert plane.get_xlabel().endswith(r"$n_x = \sigma_x f$")
    line = next(line for line in plane.lines if line.get_linestyle() == ":")
    assert line.get_xdata()[0] == pytest.approx(KAPPA)
    nx = np.clip((fitted[0].sigma_x * fitted[0].frequency).values, *populations.PLANE)
    drawn = next(item for item in top.lines if same_color(item.get_color(), drawing.SIDE_COLORS["cortex"][0]))
    assert np.max(drawn.get_ydata()) == pytest.approx(np.histogram(nx, np.linspace(0, 1.3, 14))[0].max() / nx.size)
    few = int(((fitted[0].sigma_x * fitted[0].frequency).values <= KAPPA).sum())
    assert f"{few} with less than one visible cycle" in figures.caption(figure)


def test_gabor_space_is_the_same_from_descriptors(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    one = figures.numbers(figures.gabor_space(fitted[0]))
    other = figures.numbers(figures.gabor_space(rfc.describe(fitted[0])))
    pd.testing.assert_frame_equal(one.drop(columns="map_shown"), other.drop(columns="map_shown"))
    assert one["map_shown"].any()
    assert not other["map_shown"].any()


def test_an_interval_without_an_end_runs_to_the_edge(result: xr.Dataset) -> None:
    at = result.quantity == "likeness"
    open_end = result.assign(ci_high=result.ci_high.where(~at, np.inf), ci_low=result.ci_low.where(~at, -0.5))
    rungs = figures.ladder({"small net – cortex": open_end}).axes[0]
    line = next(line for line in rungs.lines if line.get_linewidth() == 1.4)
    assert list(line.get_xdata()) == [-0.5, rungs.get_xlim()[1]]
    assert any(other.get_marker() == ">" and other.get_xdata()[0] == rungs.get_xlim()[1] for other in rungs.lines)
    layers = figures.depth({"conv1": open_end}).axes[0]
    assert any(other.get_marker() == "^" and other.get_ydata()[0] == layers.get_ylim()[1] for other in layers.lines)


def test_maps_in_the_plane_stand_beside_all_units(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    figure = figures.gabor_space(*fitted)
    plane, table = figure.axes[0], figures.numbers(figure)
    figure.draw_without_rendering()
    tiles = [tile.get_window_extent().transformed(plane.transData.inverted()) for tile in plane.child_axes]
    units = table[["nx", "ny"]].clip(*populations.PLANE).to_numpy()
    assert 2 <= len(tiles) == table["map_shown"].sum() <= 6
    assert not any(tile.contains(*unit) for tile in tiles for unit in units)
    assert not any(one.overlaps(other) for one, other in itertools.combinations(tiles, 2))
    ends = [line.get_xydata() for line in plane.lines[-len(tiles) :]]
    assert all(np.isclose(end[0], table.loc[table["map_shown"], ["nx", "ny"]]).all(axis=1).any() for end in ends)
    assert all(tile.contains(*end[1]) for tile, end in zip(tiles, ends, strict=True))  # the lines reach their maps
    images = [tile.images[0].get_array() for tile in plane.child_axes]
    shown = table.index[table["map_shown"]].to_numpy()
    first = maps.shown_map(fitted[0], int(shown[0]))
    assert any(np.array_equal(first, image) for image in images)


def test_published_histogram_is_drawn_in_its_own_bins(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    count = np.array([[2.0, 0.0], [1.0, 5.0]])
    edges = np.array([0.1, 0.3, 1.0])
    histogram = xr.Dataset(
        {"count": (("nx_bin", "ny_bin"), count), "nx_edge": ("edge", edges), "ny_edge": ("edge", edges)},
        attrs={"title": "Ringach 2002", "kind": "measured"},
    )
    figure = figures.gabor_space(fitted[0], published=histogram)
    mesh = next(item for item in figure.axes[0].collections if hasattr(item, "get_coordinates"))
    # Rows of the mesh are ny: the count of (nx bin 1, ny bin 0) stands at [0, 1]; shares of 8 units.
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), 0), count.T / 8)
    assert "n = 8" in figure.legends[0].get_texts()[0].get_text()


def panel(figure: Figure, label: str) -> Axes:
    return next(axes for axes in figure.axes if label in axes.get_xlabel())


def steps(axes: Axes, name: str) -> Line2D:
    return next(line for line in axes.lines if line.get_gid() == name)


def test_published_distributions_stand_behind_their_quantities(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    figure = figures.tuning(*fitted, published=BEHIND, sensitivity=SEEN)
    behind = {patch.get_gid(): patch for axes in figure.axes for patch in axes.patches if isinstance(patch, StepPatch)}
    assert set(behind) == {f"published {each.name}" for each in BEHIND}
    # Low over high cutoff: 6 5 10 7 2 of 30 cells in 30, 40, ... 80 %; in bins of our own.
    octaves = behind["published schiller1976_simple"]
    values, edges, _ = octaves.get_data()
    own = steps(octaves.axes, "simulated cortex").get_xdata()
    shares = values * np.diff(edges) / (own[1] - own[0])
    np.testing.assert_allclose(shares[shares > 0], np.array([2, 7, 10, 5, 6]) / 30)
    np.testing.assert_allclose(edges[np.flatnonzero(shares)], -np.log2([0.8, 0.7, 0.6, 0.5, 0.4]))
    # The orientation's bins run from −22.5°: its first stands at both ends.
    values, edges, _ = behind["published devalois1982_orientation"].get_data()
    np.testing.assert_allclose(edges, [0, 22.5, 67.5, 112.5, 157.5, 180])
    np.testing.assert_allclose(values, np.array([66, 49, 77, 54, 66]) / 246 / 3)  # 15° of 45°
    frequency = behind["published devalois1982_frequency"].axes
    assert "cycles/°" in frequency.get_xlabel()
    curves = [line for axes in figure.axes for line in axes.lines if str(line.get_gid()).startswith("sensitivity")]
    assert len(curves) == 3
    assert curves[0].axes.get_xlim() == frequency.get_xlim()
    np.testing.assert_allclose(curves[2].get_ydata(), SEEN.iloc[:, 2])
    caption = figures.caption(figure)
    assert "Schiller, Finlay & Volman 1976" in caption and "3 tree shrews, measured by behavior [Petry 1984]" in caption
    # Pixels have no place beside degrees.
    plain = figures.tuning(fitted[1], published=BEHIND, sensitivity=SEEN)
    assert "De Valois, Albrecht" not in figures.caption(plain) and "tree shrew" not in figures.caption(plain)


def test_tuning_histograms_and_units(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    figure = figures.tuning(*fitted)
    described = rfc.describe(fitted[0])
    orientation = panel(figure, "Orientation of the stripes")
    counts, edges = np.histogram(described.orientation.values, np.linspace(0, 180, 13))
    step = steps(orientation, "simulated cortex")
    np.testing.assert_allclose(step.get_ydata()[:-1], counts / counts.sum())  # the last edge repeats the last bin
    np.testing.assert_allclose(step.get_xdata(), edges)
    # Untuned units stand in a bar of their own, which with the bins adds to one.
    width = panel(figure, "Orientation half-width")
    bar = next(patch for patch in width.patches if str(patch.get_gid()).startswith("untuned simulated"))
    assert bar.get_height() == pytest.approx((described.nx.values <= KAPPA).mean())
    assert steps(width, "simulated cortex").get_ydata()[:-1].sum() + bar.get_height() == pytest.approx(1)
    # No number stands under that bar.
    bandwidth = panel(figure, "Octave bandwidth")
    assert bandwidth.get_xlim()[1] > steps(bandwidth, "simulated cortex").get_xdata()[-1] >= max(bandwidth.get_xticks())
    # One population is in degrees, one in pixels: no axis has two scales.
    assert panel(figure, "(cycles/°)") is not panel(figure, "(cycles/px)")
    assert panel(figure, "Orientation half-width").get_xlabel() == "Orientation half-width (deg)"
    numbers = figures.numbers(figure)
    undefined = numbers[(numbers.panel == "bandwidth_octaves") & (numbers.population == "simulated cortex")]
    assert set(undefined["n_undefined"]) == {int((described.nx.values <= KAPPA).sum())}
    median = numbers[(numbers.panel == "polarity_phase") & (numbers.population == "simulated cortex")]["median"].iloc[0]
    assert median == pytest.approx(np.nanmedian(described.polarity_phase.values))


def test_matches_never_show_a_similarity_alone(matched: tuple[xr.Dataset, xr.Dataset, xr.Dataset]) -> None:
    found, a, b = matched
    figure = figures.matches(found, a, b)
    words = [text.get_text() for axes in figure.axes for text in axes.texts if "similarity" in text.get_text()]
    assert words
    assert all("chance" in text and "ceiling" in text for text in words)
    for text in words:  # every pair is named: a kernel on a field
        kernel, field = text.split("\nsimilarity")[0].split(" on\n")
        assert kernel in a.unit.values
        assert field in b.unit.values
    numbers = figures.numbers(figure)
    assert len(numbers) == found.similarity.size
    row = numbers[(numbers.unit_a == a.unit.values[1]) & (numbers.unit_b == b.unit.values[2])].iloc[0]
    assert row["similarity"] == pytest.approx(float(found.similarity[1, 2]))
    assert row["chance"] == pytest.approx(float(found.chance[2]))
    best = next(line for axes in figure.axes for line in axes.lines if line.get_label() == "best kernel")
    np.testing.assert_allclose(best.get_ydata(), np.sort(found.best.values)[::-1])
    assert "not tested" not in figures.caption(figure)


def test_the_matrix_is_only_reordered(matched: tuple[xr.Dataset, xr.Dataset, xr.Dataset]) -> None:
    found, a, b = matched
    meshes = figures.matches(found, a, b).findobj(QuadMesh)
    shown = next(item for item in meshes if item.get_clim() == (0, 1) and item.axes.child_axes)
    np.testing.assert_allclose(np.sort(np.ravel(shown.get_array())), np.sort(found.similarity.values.ravel()))
    # A tree over n leaves joins n − 1 times, in steps of ten from the first row's or column's middle at five.
    similarity = found.similarity.transpose("unit_a", "unit_b").values
    above, beside = shown.axes.child_axes
    for axes, rows in ((above, similarity.T), (beside, similarity)):
        assert sum(len(item.get_segments()) for item in axes.collections) == len(rows) - 1
    assert above.get_xlim() == (0, 10 * similarity.shape[1])
    assert beside.get_ylim() == (10 * similarity.shape[0], 0)  # from the top, as the matrix' rows are


def test_every_rung_stands_at_its_likeness(result: xr.Dataset) -> None:
    figure = figures.ladder({"net – cortex": result})
    top, scales, choices = figure.axes[:3]
    rung = result["reference_likeness"].to_series()
    for line in top.lines:
        if str(line.get_gid()).startswith("rung "):
            assert line.get_xdata()[0] == pytest.approx(rung[line.get_gid().removeprefix("rung ")])
    assert {0.0, 1.0} <= {float(line.get_xdata()[0]) for line in top.lines if len(set(line.get_xdata())) == 1}
    labels = [text.get_text() for text in top.get_yticklabels()]
    row = result.sel(quantity="likeness")
    assert labels[list(rung.index).index("network")] == f"net (learned, n = {int(row.n_units_b)})"
    cells = f"({row.kind_a.item()}, n = {int(row.n_units_a)} from {int(row.n_subjects_a)} subjects)"
    assert labels[list(rung.index).index("another_animal")] == f"another animal {cells}"
    assert "blobs" in labels
    np.testing.assert_allclose(scales.lines[0].get_ydata(), result["likeness_at_scale"])
    dots = next(line for line in choices.lines if line.get_gid() == "analyses")
    np.testing.assert_allclose(dots.get_ydata(), np.sort(result["analysis_likeness"]))
    primary = next(line for line in choices.lines if line.get_gid() == "primary")
    assert primary.get_ydata()[0] == pytest.approx(float(result.effect.sel(quantity="likeness")))
    assert "0 is noise with the cortex's own spectrum and window" in figures.caption(figure)


def test_every_layer_stands_at_its_likeness(result: xr.Dataset) -> None:
    lower = result.assign(effect=result.effect - 0.2)
    figure = figures.depth({"conv1": result, "conv2": lower}, untrained={"conv1": lower, "conv2": result})
    (axis,) = figure.axes
    value = float(result.effect.sel(quantity="likeness"))
    for side, expected in (("network", [value, value - 0.2]), ("untrained network", [value - 0.2, value])):
        line = next(line for line in axis.lines if line.get_gid() == f"depth {side}")
        np.testing.assert_allclose(line.get_ydata(), expected)
    assert {0.0, 1.0} <= {float(line.get_ydata()[0]) for line in axis.lines}
    assert "another animal" in figures.caption(figure) and [text.get_text() for text in axis.get_xticklabels()] == [
        "conv1",
        "conv2",
    ]
    with pytest.raises(rfc.InputError, match="at least one layer"):
        figures.depth({})
    with pytest.raises(rfc.InputError, match="untrained network too"):
        figures.depth({"conv1": result}, untrained={"conv2": result})


def test_without_animals_one_is_no_animal(result: xr.Dataset) -> None:
    alone = result.assign(n_subjects_a=0 * result.n_subjects_a)
    figure = figures.ladder({"net – cells": alone})
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert any(text.startswith("random halves of the cells (") for text in labels)
    assert not any("animal" in text for text in labels)
    assert "another animal" not in figures.caption(figure)


def test_survey_bars_are_the_shares(survey_table: pd.DataFrame) -> None:
    figure = figures.survey(survey_table)
    profile = next(axes for axes in figure.axes if axes.get_title() == "profile")
    rows = profile.get_yticks()
    widths = {
        (patch.get_gid(), np.abs(rows - patch.get_y() - patch.get_height() / 2).argmin()): patch
        for patch in profile.patches
        if patch.get_width()
    }
    assert widths[("Gabor", 0)].get_width() == 0.75
    assert widths[("blob", 0)].get_width() == 0.25
    assert widths[("first derivative", 1)].get_width() == 1.0
    assert widths[("unstructured", 2)].get_hatch()
    assert not widths[("Gabor", 0)].get_hatch()
    labels = [label.get_text() for label in profile.get_yticklabels()]
    assert labels == ["net (learned, n = 96)", "cortex (simulated, n = 40)", "untrained 11×11 (n = 96)"]
    with figures.style():
        figure.draw_without_rendering()
    bars = [patch.get_window_extent() for patch in profile.patches]
    (mark,) = (text.get_window_extent() for text in profile.texts)
    assert not any(mark.overlaps(bar) for bar in bars)
    keys = sum(key.get_window_extent().width * key.get_window_extent().height for key in figure.findobj(Legend))
    assert keys < 0.1 * figure.bbox.width * figure.bbox.height
    assert "Without weights at hand: 1 networks" in figures.caption(figure)
    with pytest.raises(rfc.InputError, match="none of share"):
        figures.survey(survey_table.drop(columns="share"))


def test_color_is_measured_off_the_gray_axis() -> None:
    blob = np.exp(-(np.arange(-3, 4.0) ** 2) / 4)
    shape = np.outer(blob, blob)
    # gray: no color; R − G: hue 0; R + G − 2B: hue 90, both wholly off gray; (1, 0, 0): cos² to gray is 1/3, so 2/3.
    directions = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2], [1, 0, 0]], dtype=float)
    weights = directions[:, :, None, None] * shape
    figure = figures.color(rfc.make_bank(weights, channel=("r", "g", "b"), kind="learned", source="four"))
    numbers = figures.numbers(figure)
    np.testing.assert_allclose(numbers["chroma_share"], [0, 1, 1, 2 / 3], atol=1e-9)
    hue = np.radians(numbers["hue"].to_numpy())
    np.testing.assert_allclose(np.abs(np.cos(hue[1])), 1, atol=1e-6)
    np.testing.assert_allclose(np.abs(np.sin(hue[2])), 1, atol=1e-6)
    dots = next(item for item in figure.axes[0].collections if isinstance(item, PathCollection))
    ends = np.asarray(dots.get_offsets())
    np.testing.assert_allclose(ends[4:], -ends[:4])  # an axis has two ends
    np.testing.assert_allclose(np.hypot(*ends[:4].T), numbers["chroma_share"], atol=1e-9)
    assert "1 of 4 achromatic" in figures.caption(figure)


def test_color_refuses_a_signed_bank(cortex: xr.Dataset) -> None:
    with pytest.raises(rfc.InputError, match="channels r, g, b, got signed"):
        figures.color(cortex)


def test_training_rows_are_steps(snapshots: list[xr.Dataset], history: pd.DataFrame) -> None:
    figure = figures.training(*reversed(snapshots), history=history)
    tiles = figure.axes[0].images
    assert len(tiles) == 3 * 5
    np.testing.assert_array_equal(tiles[0].get_array(), snapshots[0].rf.values[0, 0])
    np.testing.assert_array_equal(tiles[5].get_array(), snapshots[1].rf.values[0, 0])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[:3] == ["0 (untrained)", "10", "100"]
    line = next(line for line in figure.axes[1].lines if line.get_gid() == "r2")
    np.testing.assert_allclose(line.get_ydata(), [0.2, 0.6, 0.9])
    assert figure.axes[1].get_xlabel() == "training step"


# ------------------------------------------------------------------------------------- composition, saving, the catalog


def test_a_figure_is_drawn_into_given_axes(fitted: tuple[xr.Dataset, xr.Dataset], cortex: xr.Dataset) -> None:
    host = Figure(figsize=(7.2, 4), layout="constrained")
    left, right = host.subplots(1, 2)
    returned = figures.gabor_space(fitted[0], axes=left)
    assert returned is host
    figures.kernels(cortex, axes=right)
    assert set(figures.numbers(host)["part"]) == {1, 2}
    assert "Ringach" in figures.caption(host)
    assert "Maps of" in figures.caption(host)
    with figures.style():
        host.draw_without_rendering()


def test_subfigures_are_drawn_into(cortex: xr.Dataset) -> None:
    host = Figure(figsize=(7.2, 3), layout="constrained")
    part = host.subfigures(1, 2)[0]
    assert figures.kernels(cortex, axes=part) is host
    assert len(part.axes) == 1


def test_save_writes_figure_numbers_and_caption(fitted: tuple[xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    figure = figures.gabor_space(fitted[1])
    written = figures.save(figure, "plane", tmp_path / "new", formats=("pdf", "png", "svg"))
    assert [path.name for path in written] == ["plane.pdf", "plane.png", "plane.svg", "plane.csv", "plane.txt"]
    pdf = written[0].read_bytes()
    assert b"/Type3" not in pdf  # Type 42: editable text
    assert b"/CreationDate" not in pdf
    assert "<text" in written[2].read_text(encoding="utf-8")
    from PIL import Image

    with Image.open(written[1]) as picture:
        # 89 mm at 300 dpi: 89 / 25.4 · 300 = 1051 pixels
        assert picture.width == pytest.approx(1051, abs=1)
    table = pd.read_csv(written[3])
    np.testing.assert_allclose(table["nx"], (fitted[1].sigma_x * fitted[1].frequency).values, rtol=1e-5)
    assert written[4].read_text(encoding="utf-8").strip() == figures.caption(figure)
    again = [path.read_bytes() for path in figures.save(figures.gabor_space(fitted[1]), "plane", tmp_path / "again")]
    assert again[0] == pdf
    assert again[1] == written[1].read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_save_says_what_is_wrong(cortex: xr.Dataset, tmp_path: Path) -> None:
    figure = figures.kernels(cortex)
    with pytest.raises(rfc.InputError, match="formats among"):
        figures.save(figure, "x", tmp_path, formats=("doc",))
    (tmp_path / "file").write_text("")
    with pytest.raises(rfc.InputError, match="a folder that can be written"):
        figures.save(figure, "x", tmp_path / "file" / "below")
    with pytest.raises(rfc.InputError, match="without recorded numbers"):
        figures.caption(Figure())


def test_every_figure_of_the_catalog_is_a_public_function() -> None:
    for name, entry in figures.FIGURES.items():
        assert entry.shows
        assert entry.code
        assert entry.draw.__doc__
        assert getattr(figures, entry.draw.__name__) is entry.draw, name


@pytest.mark.parametrize("name", [name for name in figures.FIGURES if name not in ("columns", "survey")])
def test_the_gallery_says_code_that_draws(
    name: str,
    cortex: xr.Dataset,
    network: xr.Dataset,
    fitted: tuple[xr.Dataset, xr.Dataset],
    snapshots: list[xr.Dataset],
) -> None:
    few = cortex.isel(unit=slice(0, 6)) if name == "matches" else cortex
    names = {
        "rfc": rfc, "fields": few, "kernels": rfc.to_signed(network), "color_kernels": network,
        "field_fits": fitted[0], "kernel_fits": fitted[1],
        "trained": SimpleNamespace(snapshots=dict(enumerate(snapshots))),
    }  # fmt: skip
    assert isinstance(eval(figures.FIGURES[name].code, names), Figure)


@pytest.mark.parametrize(
    "call",
    [
        lambda: figures.kernels(),
        lambda: figures.fits(),
        lambda: figures.gabor_space(),
        lambda: figures.tuning(),
        lambda: figures.training(),
        lambda: figures.ladder({}),
    ],
)
def test_nothing_to_draw_is_one_sentence(call: Any) -> None:
    with pytest.raises(rfc.InputError, match=r"^expected .*got none"):
        call()


def test_units_that_cannot_be_fitted_are_counted(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    broken = fitted[0].copy(deep=True)
    for name in ("r2", "frequency", "sigma_x", "sigma_y", "rf_fit"):
        broken[name][{"unit": 0}] = np.nan
    assert "1 without a fit" in figures.caption(figures.fits(broken))
    assert "1 without a fit" in figures.caption(figures.gabor_space(broken))
    assert figures.tuning(broken)


def test_hue_is_the_side_and_marker_the_kind(cortex: xr.Dataset, network: xr.Dataset) -> None:
    styles = drawing.populations([cortex, network, cortex])
    assert [style.side for style in styles] == ["cortex", "network", "cortex"]
    assert [style.color for style in styles] == [
        drawing.SIDE_COLORS["cortex"][0], drawing.SIDE_COLORS["network"][0], drawing.SIDE_COLORS["cortex"][1],
    ]  # fmt: skip
    assert [style.marker for style in styles] == [drawing.KIND_MARKERS[style.kind] for style in styles]
    assert len(set(drawing.KIND_MARKERS.values())) == len(rfc.kinds)


def test_the_order_of_the_sides_does_not_change_their_hue(cortex: xr.Dataset, network: xr.Dataset) -> None:
    forth, back = drawing.populations([cortex, network]), drawing.populations([network, cortex])
    assert [style.color for style in forth] == [style.color for style in back][::-1]


def test_figures_are_set_in_the_bundled_font() -> None:
    with figures.style():
        found = Path(findfont(FontProperties(family=["sans-serif"])))
    assert found.name == "LiberationSans-Regular.ttf"
    assert (Path(rfc.__file__).parent / "fonts" / "LICENSE.txt").read_text(encoding="utf-8").count("Open Font License")


def test_tree_order_puts_like_rows_together() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [0.05, 0.0], [0.95, 1.0]])
    order = pairs.tree(rows)[1].tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


def test_survey_colors_are_one_per_answer() -> None:
    assert networks.answer_color("blob") != networks.answer_color("Gabor")
    assert networks.answer_color("never seen") == networks.answer_color("never seen")


def test_tuning_draws_no_line_for_a_quantity_that_no_unit_has(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    unknown = rfc.describe(fitted[0])
    unknown["polarity_phase"] = unknown["polarity_phase"] * np.nan
    figure = figures.tuning(unknown)
    phase = panel(figure, "Phase with polarity")
    assert [line.get_marker() for line in phase.lines] == ["v"]  # its median, nowhere
    assert len(panel(figure, "Orientation of the stripes").lines) == 2


def test_what_rendering_fixes_is_no_number_in_the_figure_of_the_fits(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    rendered = fitted[0].drop_vars("r2_original", errors="ignore").assign_attrs(kind="parametric")
    figure = figures.fits(rendered)
    assert {"rendered", "fit"} == {axes.get_title() for axes in figure.axes} - {""}  # no blank residual, no r²
    words = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]
    assert any("r² fixed by construction" in text for text in words)
    assert not any("above 0.7" in text or "r² 0" in text or "r² 1" in text for text in words)


def test_a_followed_score_says_what_it_is_held_against(snapshots: list[xr.Dataset], history: pd.DataFrame) -> None:
    followed = history[history["quantity"] == "r2"].assign(
        quantity="likeness",
        against="V1 (measured); 0: noise with its spectrum and window, 1: another animal",
        n_units=5,
    )
    words = figures.caption(figures.training(*snapshots, history=pd.concat([history, followed])))
    assert "to V1 (measured); 0: noise with its spectrum and window, 1: another animal." in words and "(n = 5)" in words
