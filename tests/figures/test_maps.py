"""Figures of maps: kernels, fits and matches show the maps' own values, places and scales."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh

import rfcompare as rfc
from rfcompare import figures
from rfcompare.figures import maps, pairs
from rfcompare.simulation import simulate_population


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
    unit = maps._example_units(one)[0]
    data, model, residual = (axes.images[0] for axes in figure.axes[:3])
    np.testing.assert_array_equal(data.get_array(), one.rf.values[unit, 0])
    np.testing.assert_allclose(model.get_array(), one.rf_fit.values[unit, 0])
    np.testing.assert_allclose(np.asarray(residual.get_array()), one.rf.values[unit, 0] - one.rf_fit.values[unit, 0])
    assert data.get_clim() == model.get_clim() == residual.get_clim()


def test_populations_bear_the_letters_of_the_caption(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    figure = figures.fits(*fitted)
    bold = [text.get_text() for half in figure.subfigs for text in half.texts if text.get_weight() == "bold"]
    assert bold == ["a", "b"]
    assert "(a) simulated cortex" in figures.caption(figure) and "(b) small net" in figures.caption(figure)
    assert not any(axes.get_title(loc="left") for axes in figures.fits(fitted[0]).axes)


def test_r2_histogram_counts_every_unit(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    for one in fitted:
        figure = figures.fits(one)
        assert sum(bar.get_height() for bar in figure.axes[-1].patches) == one.sizes["unit"]
        caption = figures.caption(figure)
        assert f"median r² {np.median(one.r2.values):.3f}" in caption
        assert f"{int((one.r2.values > 0.7).sum())} of {one.sizes['unit']} above 0.7" in caption


def test_examples_stand_at_their_percentiles() -> None:
    # r² = 0, 0.01 … 1: the 95th percentile is unit 95, and so on down to the 5th.
    assert maps._example_units(xr.Dataset({"r2": ("unit", np.linspace(0, 1, 101))})) == [95, 75, 50, 25, 5]


def test_parametric_r2_is_that_of_the_originals(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    rendered = fitted[0].assign_attrs(kind="parametric")
    assert "fixed by construction" in figures.caption(figures.fits(rendered))
    stored = rendered.assign(r2_original=("unit", np.full(rendered.sizes["unit"], 0.87)))
    figure = figures.fits(stored)
    assert "median r² of the original map 0.870" in figures.caption(figure)
    assert figure.axes[-1].get_xlabel() == "$r^2$ of the original map"


def test_what_rendering_fixes_is_no_number_in_the_figure_of_the_fits(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    rendered = fitted[0].drop_vars("r2_original", errors="ignore").assign_attrs(kind="parametric")
    figure = figures.fits(rendered)
    assert {"rendered", "fit"} == {axes.get_title() for axes in figure.axes} - {""}  # no blank residual, no r²
    words = [text.get_text() for axes in figure.axes for text in (*axes.texts, axes.title)]
    assert any("r² fixed by construction" in text for text in words)
    assert not any("above 0.7" in text or "r² 0" in text or "r² 1" in text for text in words)


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


def test_tree_order_puts_like_rows_together() -> None:
    rows = np.array([[0.0, 0.0], [1.0, 1.0], [0.05, 0.0], [0.95, 1.0]])
    order = pairs._tree(rows)[1].tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
