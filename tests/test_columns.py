"""Average fields of columns, cortical maps, the analysis as a whole, its figure and its verb."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from scipy import stats
from scipy.interpolate import RegularGridInterpolator

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.columns import analyze_columns, separate_columns, subfields
from rfcompare.columns.aggregates import NULLS, _mean_maps, _recenter, aggregate, profiles
from rfcompare.columns.cortical_maps import _grating_preference, orientation_maps, phase_maps, preferences
from rfcompare.columns.topology import (
    patches,
    split_fields,
    visuotopy,
)
from rfcompare.pipeline.cortex import _GRID, _assumptions
from rfcompare.simulation import simulate_population, simulate_treeshrew

MAP_ERROR = 10.0  # degrees of orientation, median over the map
PHASE_ERROR = 15.0  # degrees, median over cells


@pytest.fixture(scope="module")
def shrew() -> tuple[xr.Dataset, xr.Dataset]:
    return simulate_treeshrew(seed=0)


@pytest.fixture(scope="module")
def small() -> tuple[xr.Dataset, xr.Dataset]:
    """As dense as the shipped population, over half the cortex: fits take most of an analysis."""
    return simulate_treeshrew(seed=0, n_cells=13, field_size=285.0)


@pytest.fixture(scope="module")
def tree(small: tuple[xr.Dataset, xr.Dataset]) -> xr.DataTree:
    return analyze_columns(small[0], n_permutations=99, n_seeds=2, seed=0)


# Subfields


# Statistics of the topology, by hand and by brute force


# Levels and power


# What the simulator's truth gives back


def test_orientation_maps_and_pinwheels_are_recovered() -> None:
    bank, truth = simulate_treeshrew(seed=1, n_cells=300, field_size=800.0, size=24, pitch=0.5, n_animals=2, n_fields=2)
    signed = rfc.to_signed(bank)
    fields = patches(signed)
    maps = orientation_maps(
        preferences(bank, signed), fields, smoothing=50.0, n_permutations=19, rng=np.random.default_rng(0)
    )
    errors, placed, wanted = [], 0, 0
    for row, field in enumerate(fields):
        true = truth.orientation_map.sel(field=field.name).values
        interpolate = RegularGridInterpolator((truth.map_y.values, truth.map_x.values), np.exp(2j * np.deg2rad(true)))
        yy, xx = np.meshgrid(maps.map_y_um.values[row], maps.map_x_um.values[row], indexing="ij")
        there = np.rad2deg(np.angle(interpolate(np.stack([yy, xx], axis=-1)))) / 2
        error = np.abs((maps.orientation_map.values[row] - there + 90) % 180 - 90)
        errors.append(error[np.isfinite(error)])
        here = truth.pinwheel_field.values == field.name
        found = maps.pinwheel_field.values.astype(str) == f"{field.animal} {field.name}"
        for x, y, charge in zip(
            truth.pinwheel_x[here], truth.pinwheel_y[here], truth.pinwheel_charge[here], strict=True
        ):
            if max(abs(float(x)), abs(float(y))) > 330:
                continue  # the map of cells within ±400 µm is noisy at its border
            wanted += 1
            near = np.hypot(maps.pinwheel_x[found] - float(x), maps.pinwheel_y[found] - float(y)) < 60
            placed += int((near & (maps.pinwheel_charge[found] == float(charge))).any())
    assert float(np.median(np.concatenate(errors))) < MAP_ERROR
    assert wanted >= 5 and placed >= 0.7 * wanted
    assert maps.attrs["p"] == 0.05  # the smallest that 19 permutations can give


def test_absolute_phase_is_recovered(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, truth = shrew
    signed = rfc.to_signed(bank)
    rng = np.random.default_rng(0)
    maps = phase_maps(signed, preferences(bank, signed), patches(signed), radius=125.0, n_permutations=99, rng=rng)
    angle = np.deg2rad(bank.preferred_orientation.values)
    frequency = np.zeros(angle.size)
    for name in np.unique(bank.field_of_view.values.astype(str)):
        here = bank.field_of_view.values == name
        frequency[here] = np.median(bank.preferred_frequency.values[here])
    k = frequency[:, None] * np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    transform = np.zeros(angle.size, dtype=complex)
    for sign, name in ((1, "on"), (-1, "off")):
        center = np.nan_to_num(np.stack([truth[f"{name}_x"], truth[f"{name}_y"]], axis=1))
        transform += sign * truth[f"{name}_weight"].values * np.exp(-2j * np.pi * (k * center).sum(axis=1))
    error = np.abs((maps.phase.values - np.rad2deg(np.angle(transform)) + 180) % 360 - 180)
    assert np.median(error) < PHASE_ERROR
    assert maps.attrs["p"] == 0.01
    assert float(maps.attrs["effect_low"]) > 0


def test_two_stimuli_show_one_population_differently() -> None:
    agreement = {}
    for stimulus in ("sparse noise", "hartley"):
        bank, truth = simulate_treeshrew(seed=2, stimulus=stimulus, segregation=0.0)
        own = _grating_preference(rfc.to_signed(bank)).orientation.values
        keep = truth.cell_class.values == "both"
        agreement[stimulus] = float(np.cos(2 * np.deg2rad(own - truth.orientation.values))[keep].mean())
    assert agreement["hartley"] > 0.8  # Veit 2014: Hartley fields predict the orientation preference
    assert abs(agreement["sparse noise"]) < 0.2  # and sparse-noise fields are unrelated to it; SE over 176 cells 0.05


# Columns


def test_averages_and_their_noise_by_hand() -> None:
    maps = np.arange(48.0).reshape(3, 1, 4, 4) ** 2
    bank = rfc.make_bank(
        maps,
        channel=("signed",),
        kind="simulated",
        noise_sd=[3.0, 4.0, 1.0],
        cortex_x=[0, 100, 400],
        cortex_y=[0, 0, 0],
    )
    mean = _mean_maps(bank, np.array([[0.5, 0.5, 0.0]]), ["both"], np.array([0]), "two cells")
    np.testing.assert_allclose(mean.rf.values[0], (maps[0] + maps[1]) / 2)
    assert float(mean.noise_sd[0]) == 2.5  # √(3² + 4²)/2


def test_aggregates_stay_within_their_field_and_some_share_no_cell(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    signed = rfc.to_signed(shrew[0])
    columns, members = aggregate(signed, patches(signed), radius=100.0)
    labels = signed.field_of_view.values.astype(str)
    for unit, cells_of in enumerate(members):
        assert set(labels[cells_of]) == {str(columns.field_of_view.values[unit])}
        there = np.hypot(
            signed.cortex_x.values[cells_of] - float(columns.cortex_x[unit]),
            signed.cortex_y.values[cells_of] - float(columns.cortex_y[unit]),
        )
        assert there.max() <= 100
    apart = np.concatenate([members[unit] for unit in np.flatnonzero(columns.disjoint.values)])
    assert columns.disjoint.values.sum() >= 8
    assert np.unique(apart).size == apart.size
    np.testing.assert_allclose(columns.rf.values[5], signed.rf.values[members[5]].mean(axis=0), atol=1e-6)


def ridge(phase: float, size: int = 25) -> np.ndarray:
    """A vertical Gabor of 0.1 cycles per pixel."""
    xx, yy = np.meshgrid(np.arange(size) - size // 2, np.arange(size) - size // 2)
    return np.exp(-(xx**2) / 32 - yy**2 / 50) * np.cos(2 * np.pi * 0.1 * xx + np.deg2rad(phase))


@pytest.mark.parametrize(
    ("phase", "structure"), [(180, "OFF center, ON flanks"), (0, "ON center, OFF flanks"), (90, None)]
)
def test_structure_is_read_off_the_profile(phase: float, structure: str | None) -> None:
    bank = rfc.make_bank(ridge(phase)[None, None], channel=("signed",), kind="simulated", noise_sd=[0.02])
    one = profiles(bank, orientation=np.array([90.0]), frequency=np.array([0.1]), origin=np.zeros((1, 2))).isel(unit=0)
    if structure is None:  # an edge: nothing at the origin outweighs what lies beside it on the other side
        assert float(one.profile.sel(cycle=0, method="nearest")) == pytest.approx(0, abs=1e-9)
        return
    assert one.structure.item() == structure
    assert float(one.flank_low) == pytest.approx(float(one.flank_high))
    assert (float(one.low_at), float(one.high_at)) == pytest.approx((-0.4375, 0.4375), abs=0.07)
    assert 0 < float(one.flank_ratio) < 1


def test_unmeasured_pixels_are_no_part_of_a_profile() -> None:
    rows = ridge(0.0)
    options = {"orientation": np.array([90.0]), "frequency": np.array([0.1]), "origin": np.zeros((1, 2))}
    holes = rows.copy()
    holes[rows.shape[0] // 2 + 1 :] = np.nan  # vertical stripes: the lower half tells all there is to tell
    whole, half = (
        profiles(rfc.make_bank(maps[None, None], channel=("signed",), kind="simulated", noise_sd=[0.02]), **options)
        for maps in (rows, holes)
    )
    # The envelope falls off along the stripes, so that the lower half weighs a little less; 0 would halve it.
    assert half.profile.values == pytest.approx(whole.profile.values, abs=0.02)
    assert np.abs(half.profile_z.values).max() < 0.85 * np.abs(whole.profile_z.values).max()  # of half the pixels


def test_noise_alone_has_no_center_more_often_than_alpha() -> None:
    n = 400
    noise = np.random.default_rng(0).normal(size=(n, 1, 15, 15))
    bank = rfc.make_bank(noise, channel=("signed",), kind="simulated", noise_sd=np.ones(n))
    found = profiles(
        bank, orientation=np.linspace(0, 179, n), frequency=np.full(n, 0.1), origin=np.zeros((n, 2)), alpha=0.05
    )
    np.testing.assert_allclose(found.profile_z.std("unit"), 1.0, atol=0.15)  # the stated standard error is the true one
    assert int((found.structure != "no center").sum()) <= stats.binom.ppf(0.999, n, 0.05)


def test_recentering_moves_the_field_and_keeps_the_noise() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 1, 20, 20))
    bank = rfc.make_bank(noise, channel=("signed",), kind="simulated")
    moved = _recenter(bank, rng.uniform(-3, 3, (50, 2)))
    assert float(moved.rf.var()) == pytest.approx(noise.var(), rel=1e-6)  # every factor has magnitude 1
    xx, yy = np.meshgrid(np.arange(20) - 9.5, np.arange(20) - 9.5)
    blob = np.exp(-((xx - 2.5) ** 2 + (yy + 1.5) ** 2) / 6)
    there = _recenter(rfc.make_bank(blob[None, None], channel=("signed",), kind="simulated"), np.array([[2.5, -1.5]]))
    np.testing.assert_allclose(there.rf.values[0, 0], np.exp(-(xx**2 + yy**2) / 6), atol=1e-3)


def test_the_analysis_finds_what_the_simulation_put_in(tree: xr.DataTree) -> None:
    columns = tree["columns"].to_dataset()
    structure = columns.structure.values[columns.disjoint.values].astype(str)
    assert np.char.startswith(structure, "OFF center").mean() > 0.9
    assert np.char.find(structure, "ON flank").clip(-1, 0).sum() >= -0.2 * structure.size
    assert columns.attrs["flank_p"] == 0.01
    growth = tree["growth"].to_dataset()
    np.testing.assert_allclose(
        growth.r2.sel(condition="column", n_averaged=1), growth.r2.sel(condition="positions shuffled", n_averaged=1)
    )
    assert list(growth.condition.values) == ["column", *NULLS]
    assert int(growth.n_animals.max()) == 7
    words = " ".join(json.loads(tree.attrs["conclusion"]))
    assert words.startswith("Demonstration on simulated maps")
    assert "ON centers scatter about the visuotopic map more widely than OFF centers" in words
    assert "The average field of a column is an OFF center with ON flanks across the preferred orientation" in words
    assert json.loads(tree.attrs["missing"]) == []


def test_without_segregation_the_conclusion_changes() -> None:
    bank, _ = simulate_treeshrew(seed=0, segregation=0.0, n_cells=13, field_size=285.0)
    tree = analyze_columns(bank, n_permutations=99, n_seeds=1, seed=0)
    words = " ".join(json.loads(tree.attrs["conclusion"]))
    assert "not told apart from OFF centers" in words
    assert "a Gabor-like column is not supported here" in words
    columns = tree["columns"].to_dataset()
    assert np.isin(columns.model.values[columns.disjoint.values], ("gabor", "derivative1", "derivative2")).mean() < 0.4


def test_separate_columns_are_a_bank_for_every_comparison(tree: xr.DataTree) -> None:
    columns = separate_columns(tree["columns"].to_dataset())
    assert rfc.check(columns) is columns
    assert columns.attrs["kind"] == "simulated"
    assert rfc.describe(rfc.fit(columns, "gabor", seed=0)).sizes["unit"] == columns.sizes["unit"] >= 8


def test_the_seed_decides_everything_drawn(small: tuple[xr.Dataset, xr.Dataset]) -> None:
    some = small[0].isel(unit=slice(0, 26))
    first, second = (analyze_columns(some, n_permutations=19, n_seeds=1, seed=4) for _ in range(2))
    for name in first.children:
        xr.testing.assert_identical(first[name].to_dataset(), second[name].to_dataset())


def test_few_animals_get_no_interval_and_no_verdict_over_animals(small: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank = small[0]
    animals = sorted(set(bank.subject.values.astype(str).tolist()))
    some = bank.isel(unit=np.isin(bank.subject.values.astype(str), animals[:3]))
    tree = analyze_columns(some, n_permutations=19, n_seeds=1, seed=0)
    words = " ".join(json.loads(tree.attrs["conclusion"]))
    assert "95 % interval over 3 animals undefined with fewer than 4" in words
    assert "it is not told whether chance averages are fitted worse" in words
    assert not np.isfinite(tree["growth"].difference_low.values).any()
    figure = rfc.figures.cortical_columns(some, tree)
    assert "mean over animals with no interval: too few;" in rfc.figures.caption(figure)


# What is missing


def test_missing_parts_are_said_in_one_sentence_each(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, _ = shrew
    few = bank.isel(unit=slice(0, 30))
    bare = few.drop_vars(["cortex_x", "cortex_y", "preferred_orientation"]).assign_attrs(stimulus="unknown")
    signed = rfc.to_signed(bare).assign_coords(subject=("unit", np.full(30, "unknown", dtype=object)))
    tree = analyze_columns(signed, seed=0)
    assert list(tree.children) == ["subfields"]
    said = json.loads(tree.attrs["missing"])
    for word in (
        "cortical positions",
        "separate ON and OFF",
        "animals unknown",
        "element_deg",
        "preferred_orientation",
    ):
        assert sum(word in sentence for sentence in said) == 1, word
    assert all(sentence.count(". ") == 0 for sentence in said)


def test_unknown_polarity_is_said() -> None:
    rng = np.random.default_rng(0)
    # Equiluminant kernels: the color direction (0.587, −0.299, 0) has no luminance.
    maps = rng.normal(size=(4, 1, 9, 9)) * np.array([0.587, -0.299, 0.0])[None, :, None, None]
    bank = rfc.make_bank(maps, channel=("r", "g", "b"), kind="learned")
    said = json.loads(analyze_columns(bank, seed=0).attrs["missing"])
    assert any("polarity unknown for 4 of 4" in sentence for sentence in said)


def test_orientation_of_the_neighbors_stands_in(small: tuple[xr.Dataset, xr.Dataset]) -> None:
    bare = small[0].drop_vars(["preferred_orientation", "preferred_frequency"])
    tree = analyze_columns(bare, n_permutations=99, n_seeds=1, seed=0)
    assert "other cells nearby" in tree["subfields"].attrs["axis_reference"]
    assert float(tree["columns"].attrs["flank_p"]) == 0.01
    assert np.nanmedian(tree["subfields"].axis_to_orientation) > 60  # ON lies across the stripes


def test_too_few_cells_leave_topology_out(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    tree = analyze_columns(shrew[0].isel(unit=slice(0, 3)), seed=0)
    assert "topology" not in tree.children
    assert "no field of view with 5 cells" in " ".join(json.loads(tree.attrs["missing"]))


def without_pixels(bank: xr.Dataset) -> None:
    bank["rf"].values[:, :, :, :3] = np.nan


def with_dead_units(bank: xr.Dataset) -> None:
    bank["rf"].values[3], bank["rf"].values[4] = np.nan, 0.0


def without_some_preferences(bank: xr.Dataset) -> None:
    bank["preferred_orientation"].values[5] = np.nan


def without_some_positions(bank: xr.Dataset) -> None:
    bank["cortex_x"].values[::4] = np.nan


def with_noise_only(bank: xr.Dataset) -> None:
    bank["rf"].values[:] = np.random.default_rng(0).normal(size=bank.rf.shape) * bank.noise_sd.values[0]


@pytest.mark.parametrize(
    "change", [without_pixels, with_dead_units, without_some_preferences, without_some_positions, with_noise_only]
)
def test_defects_are_worked_around(small: tuple[xr.Dataset, xr.Dataset], change: Callable[[xr.Dataset], None]) -> None:
    bank = small[0].isel(unit=slice(0, 26)).copy(deep=True)
    change(bank)
    tree = analyze_columns(bank, n_permutations=19, n_seeds=1, seed=0)
    assert "columns" in tree.children
    words = " ".join(json.loads(tree.attrs["conclusion"]))
    assert not re.search(r"\b(nan|inf)\b", words)
    assert ("a Gabor-like column is not supported here" in words) == (change is with_noise_only)
    if change is with_noise_only:  # no center at all to draw
        assert len(rfc.figures.cortical_columns(bank, tree).axes) > 10


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"radius": 0.0}, "above 0 µm"),
        ({"n_permutations": 3}, "at least 19"),
        ({"alpha": 2.0}, "alpha between 0 and 1"),
    ],
)
def test_wrong_options_are_named(shrew: tuple[xr.Dataset, xr.Dataset], options: dict[str, float], word: str) -> None:
    with pytest.raises(rfc.InputError, match=word):
        analyze_columns(shrew[0], **options)  # type: ignore[arg-type]


# Figure and verb


def test_the_figure_shows_the_numbers(small: tuple[xr.Dataset, xr.Dataset], tree: xr.DataTree) -> None:
    figure = rfc.figures.cortical_columns(small[0], tree)
    titles = [axes.get_title() for axes in figure.axes]
    centers = figure.axes[titles.index("Visual space")]
    drawn = {line.get_label(): line.get_xydata() for line in centers.lines}
    found = tree["subfields"].to_dataset()
    n = len(drawn["OFF"])
    assert n == 13
    all_off = {(round(x, 9), round(y, 9)) for x, y in zip(found.off_x.values, found.off_y.values, strict=True)}
    assert {(round(x, 9), round(y, 9)) for x, y in drawn["OFF"] if np.isfinite(x)} <= all_off
    growth = figure.axes[titles.index("Averages against chance")]
    lines = {line.get_label(): line.get_ydata() for line in growth.lines}
    np.testing.assert_allclose(lines["neighbors in place"], tree["growth"].r2.sel(condition="column"))
    marked = [axes for axes in figure.axes if any(text.get_text() == "SIMULATED" for text in axes.texts)]
    assert len(marked) >= 8
    numbers = rfc.figures.numbers(figure)
    assert set("abcdefgh") <= set(numbers["panel"])
    assert "simulated" in rfc.figures.caption(figure)


def test_the_verb_writes_figures_tables_and_sentences(tmp_path: Path) -> None:
    source = tmp_path / "shrew.h5"
    done = CliRunner().invoke(
        main, ["simulate", "treeshrew", "--set", "n_cells=7", "--set", "field_size=200", "-o", str(source)]
    )
    assert done.exit_code == 0, done.output
    kernels, _ = simulate_population("gabor", n=12, size=11, seed=0)
    rfc.save(kernels, tmp_path / "kernels.h5")
    done = CliRunner().invoke(
        main, ["columns", str(source), "--kernels", str(tmp_path / "kernels.h5"), "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert "Demonstration on simulated maps" in done.output
    tables = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert {"columns_topology.csv", "columns_growth.csv", "columns_nearer.csv", "columns_best_kernels.csv"} <= tables
    assert {path.suffix for path in (tmp_path / "out" / "figures").iterdir()} >= {".pdf", ".png", ".csv", ".txt"}
    assert (tmp_path / "out" / "columns.txt").read_text(encoding="utf-8").count("\n") > 5


def test_the_verb_says_what_is_missing(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(size=(6, 1, 9, 9))
    rfc.save(rfc.make_bank(noise, channel=("signed",), kind="simulated"), tmp_path / "plain.h5")
    done = CliRunner().invoke(main, ["columns", str(tmp_path / "plain.h5"), "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Missing: no cortical positions" in done.output
    assert (tmp_path / "out" / "figures" / "columns.png").exists()
    wrong = CliRunner().invoke(main, ["simulate", "treeshrew", "--set", "cells=3", "-o", str(tmp_path / "x.h5")])
    assert wrong.exit_code == 2


def test_the_answers_are_shown_over_a_grid_of_assumptions() -> None:
    grid = _assumptions()
    assert len(grid) == np.prod([len(values) for values in _GRID.values()])
    # Without segregation nothing is flanked and ON scatters like OFF, whatever else is assumed.
    none = grid[grid["segregation"] == 0]
    assert not none["flanked"].any() and not none["aligned"].any()
    assert ((none["ci_low"] < 1) & (none["ci_high"] > 1)).all()
    assert grid[grid["segregation"] == 1]["flanked"].all()
    # The shipped row of the default numbers is what the analysis gives.
    row = grid[(grid["segregation"] == 1) & (grid["on_scatter"] == 0.45) & (grid["snr"] == 18)].iloc[0]
    found = subfields(simulate_treeshrew(seed=0)[0])
    _, ratio = visuotopy(split_fields(found), n_permutations=19, rng=np.random.default_rng(0))
    assert float(ratio.scatter_ratio[0]) == pytest.approx(row["scatter_ratio"], rel=1e-3)
