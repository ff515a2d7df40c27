"""The ladder, layers, the survey, color and training show their tables' numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend

import rfcompare as rfc
from rfcompare import figures
from rfcompare.figures import networks


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


def test_an_interval_without_an_end_runs_to_the_edge(result: xr.Dataset) -> None:
    at = result.quantity == "likeness"
    open_end = result.assign(ci_high=result.ci_high.where(~at, np.inf), ci_low=result.ci_low.where(~at, -0.5))
    rungs = figures.ladder({"small net – cortex": open_end}).axes[0]
    line = next(line for line in rungs.lines if line.get_linewidth() == 1.4)
    assert list(line.get_xdata()) == [-0.5, rungs.get_xlim()[1]]
    assert any(other.get_marker() == ">" and other.get_xdata()[0] == rungs.get_xlim()[1] for other in rungs.lines)
    layers = figures.depth({"conv1": open_end}).axes[0]
    assert any(other.get_marker() == "^" and other.get_ydata()[0] == layers.get_ylim()[1] for other in layers.lines)


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


def test_more_lobes_are_darker() -> None:
    light = [
        np.dot(to_rgb(networks._answer_color(lobes)), (0.2126, 0.7152, 0.0722)) for lobes in ("2", "3", "4", "5", "6+")
    ]
    assert light == sorted(light, reverse=True)


def test_survey_bars_are_the_shares(survey_table: pd.DataFrame) -> None:
    figure = figures.survey(survey_table)
    profile = next(axes for axes in figure.axes if axes.get_title() == "profile")
    rows = profile.get_yticks()
    widths = {
        (patch.get_gid(), np.abs(rows - patch.get_y() - patch.get_height() / 2).argmin()): patch
        for patch in profile.patches
    }
    assert widths[("Gabor", 0)].get_width() == 0.75
    assert widths[("blob", 0)].get_width() == 0.25
    assert widths[("first derivative", 1)].get_width() == 1.0
    assert widths[("unstructured", 2)].get_hatch()
    assert not widths[("Gabor", 0)].get_hatch()
    labels = [label.get_text() for label in profile.get_yticklabels()]
    assert labels == ["net (learned, n = 96)", "cortex (simulated, n = 40)", "untrained 11×11 px (n = 96)"]
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


def test_survey_colors_are_one_per_answer() -> None:
    assert networks._answer_color("blob") != networks._answer_color("Gabor")
    assert networks._answer_color("never seen") == networks._answer_color("never seen")


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


def test_a_followed_score_says_what_it_is_held_against(snapshots: list[xr.Dataset], history: pd.DataFrame) -> None:
    followed = history[history["quantity"] == "r2"].assign(
        quantity="likeness",
        against="V1 (measured); 0: noise with its spectrum and window, 1: another animal",
        n_units=5,
    )
    words = figures.caption(figures.training(*snapshots, history=pd.concat([history, followed])))
    assert "to V1 (measured); 0: noise with its spectrum and window, 1: another animal." in words and "(n = 5)" in words
