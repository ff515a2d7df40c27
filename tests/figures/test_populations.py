"""The Gabor plane and the tuning show each unit where its numbers put it, in bins that count all of them."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import StepPatch

import rfcompare as rfc
from rfcompare import figures
from rfcompare.comparison import published
from rfcompare.figures import drawing, maps, populations
from rfcompare.quantities import KAPPA
from rfcompare.simulation.eye import contrast_sensitivity

BEHIND = [published(name) for name in ("devalois1982_orientation", "devalois1982_frequency", "schiller1976_simple")]
SEEN = contrast_sensitivity([0.1, 0.3, 1.0])
SEEN.attrs["citation"] = "Petry 1984"


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


def test_tuning_draws_no_line_for_a_quantity_that_no_unit_has(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    unknown = rfc.describe(fitted[0])
    unknown["polarity_phase"] = unknown["polarity_phase"] * np.nan
    figure = figures.tuning(unknown)
    phase = panel(figure, "Phase with polarity")
    assert [line.get_marker() for line in phase.lines] == ["v"]  # its median, nowhere
    assert len(panel(figure, "Orientation of the stripes").lines) == 2


def test_units_that_cannot_be_fitted_are_counted(fitted: tuple[xr.Dataset, xr.Dataset]) -> None:
    broken = fitted[0].copy(deep=True)
    for name in ("r2", "frequency", "sigma_x", "sigma_y", "rf_fit"):
        broken[name][{"unit": 0}] = np.nan
    assert "1 without a fit" in figures.caption(figures.fits(broken))
    assert "1 without a fit" in figures.caption(figures.gabor_space(broken))
    assert figures.tuning(broken)
