"""What a likeness is made of: populations placed beside cells, apertures, one small answer, Gabor structure."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from rfcompare.alignment import Grid
from rfcompare.bank import make_bank
from rfcompare.comparison import ladder as ladder_module
from rfcompare.comparison import sampling, structure
from rfcompare.comparison.ladder import Cells, Sample
from rfcompare.comparison.nearness import _references, analyses, coverage, kind_rows, population_rows, rungs_of
from rfcompare.comparison.rows import Row
from rfcompare.comparison.setting import Setting, field_pixels, recorded_alike, set_up, side_of
from rfcompare.errors import InputError
from rfcompare.quantities import LIKENESS_AXES
from tests.sample_populations import cortex_of, gabor_maps, kernels_of

SHARED = 1e-6  # what rounding leaves of a share of an amplitude


# Populations beside the cells of a recording -------------------------------------------------------------------------


def test_a_population_is_placed_by_hand() -> None:
    # Cells at 0 and 2 of one animal and at 10 of another, which has a second at 14.
    cells = Cells.of(np.array([[0.0], [2.0], [10.0], [14.0]]), np.array([0, 0, 1, 1]))
    assert cells.between.tolist() == [[2, 11], [11, 4]]
    assert (cells.within, cells.apart) == (3, 11)
    placed = cells.place(np.array([[1.0], [np.nan], [5.0], [6.0]]), 1)
    # The map without a place is left out. To animals: 1 and 11; 4 and 7; 5 and 6; within 4, 5, 1.
    assert placed.to_animals.tolist() == [[1, 11], [4, 7], [5, 6]]
    assert placed.within.tolist() == [[0, 4, 5], [4, 0, 1], [5, 1, 0]]
    assert placed.term == pytest.approx(2 * 34 / 6 - 20 / 6)
    with pytest.raises(InputError, match="at least two maps that are not flat, got 1"):
        cells.place(np.array([[1.0], [np.nan]]), 1)


def test_draws_of_one_map_are_no_pairs_of_maps() -> None:
    cells = Cells.of(np.array([[[0.0], [1.0]], [[4.0], [5.0]], [[9.0], [9.0]]]), np.array([0, 0, 1]))
    # Cells 0 and 4 of an animal: 4, 5, 3, 4 between their draws; a lone cell has no other.
    assert cells.between[0, 0] == 4 and np.isnan(cells.between[1, 1])
    assert cells.between[0, 1] == pytest.approx((9 + 8 + 5 + 4) / 4)
    assert cells.points.ravel().tolist() == [0, 4, 9]
    placed = cells.place(np.array([[1.0], [3.0], [7.0], [8.0]]), 2)
    # Two maps of two draws: 2 and 1 apart within themselves; 6, 7, 4, 5 between them.
    assert placed.within == pytest.approx(np.array([[2, 5.5], [5.5, 1]]))
    # From 1 to 0, 1, 4, 5: 2; from 3: 2; from 1 and 3 to 9: 7.
    assert placed.to_animals[0] == pytest.approx([2.0, 7.0])
    assert placed.points.ravel().tolist() == [1, 7]


def test_of_a_narrow_window_counts_what_it_covers() -> None:
    grid = Grid.regular((9, 9), pitch=1.0, units="degree")
    ladder = ladder_on(grid)
    # 3 pixels of 2° reach to 3°: those of the recording at 3° are half covered, those at 4° not.
    sample = Sample(np.zeros((2, 3, 5)), Grid.regular((3, 5), pitch=1.0, units="px"), 2.0, False)
    seen = ladder.aperture(sample, 1.0)
    assert seen.covered is not None and seen.pixels is not None
    assert (seen.covered == (np.abs(grid.y) <= 3)[:, None]).all()
    # A flat map shows the window. Pixels at 3, 2 and 1° have ½, 1½ and 2½ pixels to the end of the fading, of three:
    # sin²(π/12), sin²(π/4), sin²(5π/12). 5 pixels of 2° reach to 5°, so that the recording's own edge at 4.5° counts:
    # at 4 and 3° one pixel and two, sin²(π/6) and sin²(π/3).
    quarter = np.sqrt(3) / 4
    down, across = np.array([0, 0.5 - quarter, 0.5, 0.5 + quarter, 1]), np.array([0.25, 0.75, 1, 1, 1])
    flat = seen(np.ones((1, 9, 9)))[0]
    assert flat == pytest.approx(np.outer([*down, *down[-2::-1]], [*across, *across[-2::-1]]), abs=1e-12)
    assert seen.pixels.grid.x.tolist() == [-4, -2, 0, 2, 4] and seen.pixels.grid.y.tolist() == [-2, 0, 2]
    # As fine as the recording's own and as wide: no coarser pixels, nothing left uncovered.
    fine = ladder.aperture(sample._replace(source=Grid.regular((9, 9), pitch=1.0, units="px")), 0.5)
    assert fine.pixels is None and fine.covered is None and fine.key != seen.key
    maps = np.random.default_rng(0).normal(size=(2, 9, 9))
    assert np.array_equal(ladder_module.WHOLE(maps), maps) and ladder_module.WHOLE.key == b""
    # Within the fading such pixels keep a map as it is.
    assert fine(maps)[:, 2:-2, 2:-2] == pytest.approx(maps[:, 2:-2, 2:-2])
    # Pixels outside the recording's own edge, at 4.5, are none of its map's.
    wide = ladder.aperture(sample._replace(source=Grid.regular((3, 7), pitch=1.0, units="px")), 1.0)
    assert wide.pixels is not None and wide.pixels.grid.x.tolist() == [-4, -2, 0, 2, 4]


def test_coarse_pixels_keep_a_smooth_map() -> None:
    grid, own = Grid.regular((21, 21), pitch=1.0, units="px"), Grid.regular((11, 11), pitch=2.0, units="px")
    pixels = ladder_module.Pixels.within(grid, own)
    line = grid.x
    blob = np.exp(-(line**2 + line[:, None] ** 2) / (2 * 4.0**2))[None]
    coarse = pixels.sample(blob)
    assert coarse[0] == pytest.approx(blob[0, ::2, ::2], abs=0.01)
    seen = ladder_on(grid).aperture(Sample(np.zeros((2, 11, 11)), own, 1.0, False), 1.0)
    assert seen(blob) == pytest.approx(blob * seen(np.ones_like(blob)), abs=0.01)


def test_maps_of_a_bank_are_zero_where_nothing_was_measured() -> None:
    maps = np.ones((2, 1, 3, 3))
    maps[:, 0, 1, 1], maps[0, 0, 0, 0] = 2, np.nan
    given = make_bank(maps, channel=("signed",), kind="simulated")
    found, known = ladder_module.signed_maps(given)
    assert found[0, 0, 0] == 0 and found.sum() == 19 and known.all()
    maps[1, 0, 0, :2] = np.inf, -np.inf
    found, _ = ladder_module.signed_maps(make_bank(maps, channel=("signed",), kind="simulated"))
    assert found[1].tolist() == [[0, 0, 1], [1, 2, 1], [1, 1, 1]]
    found, known = ladder_module.signed_maps(given.assign(polarity_known=("unit", [True, False])))
    assert known.tolist() == [True, False]


def ladder_on(grid: Grid) -> ladder_module.Ladder:
    """A recording of nothing, on a grid."""
    recording: Any = SimpleNamespace(grid=grid)
    maps = np.zeros((2, 1, grid.y.size, grid.x.size))
    return ladder_module.Ladder(recording, maps, np.zeros(2, np.intp), False, True, np.random.default_rng(0), 0)


def test_a_kind_reaches_as_far_as_there_are_neighbors() -> None:
    # Of three units the farthest other is the last neighbor: 2, 1 and 2 away. A unit 2 below the first is as near to it
    # as its reach, and 3 and 4 from the others.
    own = np.array([[0.0], [1.0], [2.0]])
    assert coverage(own, np.array([[-2.0]])) == pytest.approx(1 / 3)
    assert coverage(own, np.array([[-2.1]])) == 0


def recorded_like(cortex: xr.Dataset, **attrs: Any) -> xr.Dataset:
    """A network's units on the grid of a recording, as `rfcompare.record` stores them."""
    stimulus = json.dumps({"class": "sparse noise", "pitch_px": 2.0})
    return cortex.assign(noise_sd=("unit", np.full(cortex.sizes["unit"], 0.1))).assign_attrs(
        {"kind": "in-silico", "field": "[7, 5]", "stimulus": stimulus} | attrs
    )


def test_what_was_recorded_alike_is_not_recorded_again() -> None:
    rng = np.random.default_rng(0)
    cortex = make_bank(rng.normal(size=(3, 1, 9, 9)), channel=("signed",), kind="simulated", deg_per_px=0.5)
    alike = recorded_like(cortex)
    assert recorded_alike(alike, cortex)
    other_grid = make_bank(rng.normal(size=(3, 1, 9, 9)), channel=("signed",), kind="simulated", deg_per_px=0.25)
    smaller = make_bank(rng.normal(size=(3, 1, 9, 7)), channel=("signed",), kind="simulated", deg_per_px=0.5)
    assert not recorded_alike(alike, other_grid) and not recorded_alike(alike, smaller)
    for other in (
        recorded_like(cortex, kind="learned"),
        recorded_like(cortex, units="px"),
        alike.drop_vars("noise_sd"),
        alike.assign_attrs({name: value for name, value in alike.attrs.items() if name != "kind"}, kind="measured"),
    ):
        assert not recorded_alike(other, cortex)
    del alike.attrs["field"]
    assert not recorded_alike(alike, cortex)


def test_the_pixels_that_a_recorded_network_sees() -> None:
    cortex = make_bank(np.eye(9)[None, None], channel=("signed",), kind="simulated", deg_per_px=0.5)
    # The recording's pixel of 0.5° is two of the image's: 7 rows and 5 columns of 0.25°.
    grid = field_pixels(recorded_like(cortex))
    assert grid.pitch == (0.25, 0.25) and (grid.y.size, grid.x.size) == (7, 5) and grid.units == "degree"
    for attrs in ({"field": "7"}, {"field": "[7]"}, {"stimulus": "noise"}, {"stimulus": "{}"}):
        with pytest.raises(InputError, match="record it again"):
            field_pixels(recorded_like(cortex, **attrs))


# One small answer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def setting() -> Setting:
    """100 cells of four animals, without noise, and 50 kernels of the same population, in pixels both."""
    rng = np.random.default_rng(7)
    maps, subject = gabor_maps(100, 15, rng, subjects=4)
    a, b = side_of(cortex_of(maps, subject, np.inf, rng), "a"), side_of(kernels_of(gabor_maps(50, 11, rng)[0]), "b")
    ladder, sample = set_up(a, b, rng)
    return Setting(a, b, ladder, sample, ladder.curve(sample), rng)


def test_the_best_scale_is_about_that_of_equal_radii(setting: Setting) -> None:
    assert [step.scale for step in setting.curve] == pytest.approx([2 ** (step / 4) for step in range(-4, 5)])
    assert setting.best.likeness == max(step.likeness for step in setting.curve)
    assert setting.species and setting.n_animals == 4
    assert setting.whose() == "over 4 animals and the kernels"
    # The same population on 11 pixels as on 15.
    assert setting.sample.base == pytest.approx(15 / 11, rel=0.1) and 0.8 < setting.best.scale < 1.2
    for step in setting.curve:
        far, apart = setting.ladder.zero(step.aperture).placed.term, setting.ladder.cells(step.aperture).apart
        assert step.likeness == pytest.approx((far - step.placed.term) / (max(far, step.placed.term) - apart))
        assert step.placed.draws == 3  # of fewer than 128 kernels


def test_white_noise_is_fitted_as_white(setting: Setting) -> None:
    whole = setting.best._replace(aperture=ladder_module.WHOLE)
    fine = Setting(setting.a, setting.b, setting.ladder, setting.sample, [whole], setting.generator)
    # Of 2000 draws the power at one frequency is good to 1/√2000 = 2 %.
    assert fine.noise == pytest.approx((1, 1, 1), abs=0.1)
    # Between coarser pixels a spline weights several of the recording's, which is less than one alone.
    assert 0.6 < setting.noise.variance < 1


def test_rungs_are_one_scale_from_noise_to_another_animal(setting: Setting) -> None:
    rungs = {rung["reference"]: rung for rung in rungs_of(setting, False, setting.a.bank)}
    animal, noise = rungs["another_animal"]["distance"], rungs["spectrum_noise"]["distance"]
    assert animal == pytest.approx(setting.cells.apart - setting.cells.within)
    for rung in rungs.values():
        assert rung["likeness"] == pytest.approx((noise - rung["distance"]) / (max(noise, rung["distance"]) - animal))
        assert "gabor_share" not in rung
    assert rungs["network"]["likeness"] == pytest.approx(setting.best.likeness)
    assert rungs["network"]["scale"] == setting.best.scale and rungs["another_animal"]["scale"] == 1
    # The cells' own maps, as a truth that is seen like the kernels, lie with the cells.
    assert rungs["truth"]["likeness"] == pytest.approx(1, abs=0.1) and rungs["truth"]["kind"] == "simulated"
    distances = [rung["distance"] for rung in rungs.values()]
    assert distances == sorted(distances)


def test_rungs_are_fitted_and_say_their_kind(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = np.exp(-((np.arange(15) - 7) ** 2 + (np.arange(15)[:, None] - 7) ** 2) / 8.0) * np.ones((6, 1, 1))
    white = np.random.default_rng(0).normal(size=(6, 15, 15))
    samples = {"blobs": setting.ladder.own(blobs), "untrained": setting.ladder.own(white)}
    monkeypatch.setattr("rfcompare.comparison.nearness._references", lambda _: samples)
    monkeypatch.setattr("rfcompare.comparison.nearness.N_FITTED", 6)
    rungs = {rung["reference"]: rung for rung in rungs_of(setting, True, None)}
    assert {name: rungs[name]["kind"] for name in rungs} == {
        "another_animal": "simulated", "network": "simulated", "spectrum_noise": "simulated", "blobs": "simulated",
        "untrained": "untrained",
    }  # fmt: skip
    # A Gabor is a blob and explains all of one, of noise with the cells' spectrum most, and little of white noise.
    shares = [rungs[name]["gabor_share"] for name in ("untrained", "spectrum_noise", "blobs")]
    assert 0 < shares[0] < 0.5 < shares[1] < 0.95 < shares[2] < 1.01


def test_the_rows_of_a_likeness_belong_together(setting: Setting) -> None:
    likeness, distance, auc = (row.number for row in population_rows(setting))
    within = setting.cells.within
    assert distance["effect"] == pytest.approx(setting.best.placed.term - within)
    assert distance["ceiling"] == pytest.approx(setting.cells.apart - within)
    assert distance["null"] == pytest.approx(setting.zero.placed.term - within)
    zero, one_ = distance["null"], distance["ceiling"]
    assert likeness["effect"] == pytest.approx((zero - distance["effect"]) / (zero - one_))
    assert (likeness["null"], likeness["ceiling"], auc["ceiling"]) == (0, 1, 0.5)
    assert likeness["ci_low"] < likeness["effect"] < likeness["ci_high"]
    assert distance["ci_low"] < distance["effect"] < distance["ci_high"]
    # Kernels of the species: nearer than nearly all of 999 populations of noise, and not told apart.
    assert likeness["p_noise_smallest"] == 1 / 1000 <= likeness["p_noise"] <= 0.005 and likeness["p"] > 0.05
    assert auc["effect"] == pytest.approx(0.5, abs=0.15) and auc["null"] > 0.65


def test_references_are_maps_on_the_pixels_they_stand_on(setting: Setting) -> None:
    samples = _references(setting)
    assert {"random_gabors", "phase_scrambled", "untrained", "blobs", "plaids"} <= set(samples)
    for name, sample in samples.items():
        side = 11 if name in ("phase_scrambled", "untrained") else 15  # the network's pixels, or the recording's
        assert sample.maps.shape == (150, side, side) and (sample.source.y.size, sample.source.x.size) == (side, side)
        assert np.isfinite(sample.maps).all() and (np.ptp(sample.maps, axis=(1, 2)) > 0).all()
        assert sample.sharp == (side == 15) and sample.noise is None
    # A scrambled kernel keeps the shares of its amplitudes.
    scrambled, kept = (
        np.abs(np.fft.fft2(each[:50])) for each in (samples["phase_scrambled"].maps, setting.sample.maps)
    )
    for one_, other in zip(scrambled, kept, strict=True):
        assert one_ / np.linalg.norm(one_) == pytest.approx(other / np.linalg.norm(other), abs=SHARED)


def test_every_choice_of_an_analysis_stands_once(setting: Setting) -> None:
    rows = analyses(setting)
    keys = [(row["axes"], row["scale"], row["zero"]) for row in rows]
    assert len(set(keys)) == len(keys) and keys[0] == ("all", "best", "at its nearest scale")
    assert rows[0]["likeness"] == setting.best.likeness
    # All axes and each left out, at every pair of scales.
    assert len(rows) % (1 + len(LIKENESS_AXES)) == 0
    assert {row["axes"] for row in rows} == {"all"} | {f"without {name.replace('_', ' ')}" for name in LIKENESS_AXES}
    for row in rows:
        assert row["likeness"] == pytest.approx(1, abs=0.2), row


def test_kinds_are_shared_as_with_another_animal(setting: Setting) -> None:
    for row in kind_rows(setting):
        assert row.number["effect"] == pytest.approx(row.number["ceiling"], abs=0.2)
        assert 0.3 < row.number["ceiling"] <= 1


# Gabor structure -----------------------------------------------------------------------------------------------------


def of(species: bool) -> Any:
    return SimpleNamespace(species=species, generator=np.random.default_rng(0))


CODE = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def test_shares_are_means_of_animals_or_of_cells() -> None:
    cells = np.array([1.0, 0, np.nan, 1, 1, 1, 0, 0, 1, 0, 0, 0])
    values = structure._Values(cells, CODE, np.array([1.0, 1.0, 0.0, np.nan]))
    row = structure._mean_row(of(True), "share", "Share", values)
    # Animals: 1/2, 1, 1/3, 0; kernels 2/3.
    assert row.number["estimate_a"] == pytest.approx((1 / 2 + 1 + 1 / 3) / 4)
    assert row.number["effect"] == pytest.approx(2 / 3 - 11 / 24)
    expected = sampling.difference(np.array([1 / 2, 1, 1 / 3, 0]), 2 / 3, (1 / 3) / 3, 3)
    assert (row.number["ci_low"], row.number["p"]) == pytest.approx((expected.ci_low, expected.p))
    row = structure._mean_row(of(False), "share", "Share", values)
    assert row.number["estimate_a"] == pytest.approx(5 / 11)
    alone = structure._mean_row(of(True), "share", "Share", structure._Values(cells, CODE, np.array([1.0])))
    assert alone.number["estimate_b"] == 1 and np.isnan(alone.number["p"])
    none = structure._mean_row(of(True), "share", "Share", structure._Values(cells, CODE, np.array([np.nan])))
    assert np.isnan(none.number["estimate_b"]) and np.isnan(none.number["effect"])


def test_medians_are_compared_as_ratios_where_an_axis_is_logarithmic() -> None:
    cells = np.array([0.25, 0.5, 1.0] * 3 + [1.0, 2.0, np.nan])
    kernels = np.array([0.5, 1.0, 2.0, np.inf, 1.0, 0.0])
    values = structure._Values(cells, CODE, kernels, (0.1, 0.2))
    row = structure._median_row(of(True), "nx", values)
    # Median log2 of three animals −1, the fourth has but two numbers; of the kernels 0 (1), one of them beyond all.
    assert (row.number["estimate_a"], row.number["estimate_b"]) == pytest.approx((0.5, 1.0))
    assert row.number["effect"] == pytest.approx(2.0) and row.statistic == "ratio of medians" and row.units == ""
    assert (row.number["on_bound_a"], row.number["on_bound_b"]) == (0.1, 0.2)
    assert row.number["ci_low"] * row.number["ci_high"] == pytest.approx(4.0)  # even about log2 of the effect
    row = structure._median_row(of(False), "nx", values)
    # Of eleven cells the sixth is 0.5.
    assert row.number["estimate_a"] == pytest.approx(0.5) and row.number["effect"] == pytest.approx(2.0)
    assert row.number["ci_low"] < 2 < row.number["ci_high"]
    plain = structure._median_row(of(True), "folded_phase", structure._Values(60 * cells, CODE, 60 * kernels))
    assert plain.statistic == "difference of medians" and plain.number["effect"] == pytest.approx(60 - 30)
    none = structure._median_row(of(False), "nx", structure._Values(cells[:0], CODE[:0], kernels))
    assert np.isnan([none.number["effect"], none.number["estimate_a"]]).all()
    beyond = structure._median_row(of(False), "nx", structure._Values(cells, CODE, np.full(5, np.inf)))
    assert np.isnan(beyond.number["effect"]) and beyond.number["estimate_b"] == np.inf


def test_a_normal_difference_by_hand() -> None:
    row = structure._normal_difference(3.0, 4.0)
    # 3 ± 1.96·2, and twice the tail beyond 1.5 SDs.
    assert (row.ci_low, row.ci_high, row.p) == pytest.approx((3 - 3.92, 3 + 3.92, 2 * stats.norm.sf(1.5)))
    assert np.isnan(structure._normal_difference(3.0, 0.0)[1:]).all()


def test_noise_leaves_an_energy_by_degrees_of_freedom() -> None:
    maps = np.zeros((2, 1, 5, 5))
    maps[0, 0, :, :2], maps[1, 0, 0, 0] = 1.0, np.nan
    fits = xr.Dataset(
        {"rf": (("unit", "channel", "y", "x"), maps), "r2": (("unit", "channel"), np.array([[0.75], [0.5]]))}
    )
    # 10 of 25 pixels are 1: 25·0.4·0.6 = 6 about the mean. Noise of 0.1 has 25 − 1 degrees of it, and leaves
    # 25 − 1 − 8 to a Gabor: 0.01·16/6 of 1 − 0.75, and 1 − 0.01·24/6.
    left, energy_ = structure.noise_corrected(fits, np.array([0.1, 0.0]))
    assert left[0] == pytest.approx(0.25 - 0.16 / 6) and energy_[0] == pytest.approx(1 - 0.24 / 6)
    assert np.isnan(left[1]) and np.isnan(energy_[1])  # a flat map has no energy to explain
    colored = structure.noise_corrected(fits, np.array([0.1, 0.0]), structure.FittedNoise(1.0, 3.0, 2.0))
    assert colored[0][0] == pytest.approx(0.25 - 0.01 * (25 - 3 - 16) / 6)
    assert colored[1][0] == pytest.approx(1 - 0.01 * (25 - 3) / 6)
    assert structure.explained_share(np.array([0.1, np.nan, 0.3]), np.array([1.0, np.nan, 0.6])) == pytest.approx(0.75)
    assert np.isnan(structure.explained_share(np.array([np.nan]), np.array([np.nan])))


def test_without_noise_the_gabor_share_is_the_mean_r2() -> None:
    rng = np.random.default_rng(0)

    def fitted(r2: np.ndarray) -> tuple[xr.Dataset, np.ndarray]:
        maps = rng.normal(size=(r2.size, 1, 5, 5))
        return xr.Dataset({"rf": (("unit", "channel", "y", "x"), maps), "r2": ("unit", r2)}), np.zeros(r2.size)

    def row(species: bool, **attrs: str) -> Row:
        given: Any = SimpleNamespace(
            species=species,
            noise=structure.WHITE,
            best=SimpleNamespace(aperture=ladder_module.WHOLE),
            a=SimpleNamespace(bank=xr.Dataset(attrs={"kind": "measured"} | attrs)),
        )
        return structure._share_row(given, fitted(cells), fitted(kernels), CODE, 0.4)

    cells, kernels = rng.uniform(size=12), rng.uniform(0.2, 1, 7)
    animals = cells.reshape(4, 3).mean(1)
    for species, groups in ((True, animals), (False, cells)):
        got = row(species).number
        # Every map has the energy 1 and a Gabor leaves 1 − r², so that the test is Welch's of r².
        expected = sampling.difference(groups, float(kernels.mean()), kernels.var(ddof=1) / 7, 7)
        assert [got[name] for name in expected._fields] == pytest.approx(list(expected))
        assert (got["estimate_a"], got["estimate_b"]) == pytest.approx((cells.mean(), kernels.mean()))
        assert got["null"] == 0.4
    drawn = row(True, kind="parametric", rendered="yes")
    assert np.isnan(drawn.number["p"]) and "fixed by construction" in drawn.notes[0]
    assert np.isfinite(row(True, kind="parametric").number["p"])  # stored with its own maps


def test_values_on_a_bound_lie_at_the_end_of_the_line() -> None:
    data = xr.Dataset(
        {name: ("unit", np.ones(4)) for name in ("nx", "folded_phase")}
        | {"censored": (("unit", "quantity"), np.array([[0, 0], [1, 1], [-1, -1], [2, 2]], np.int8))},
        coords={"quantity": np.array(["nx", "folded_phase"], dtype=object)},
    )
    assert structure._censored_values(data, "nx") == pytest.approx([1, np.inf, 0, np.nan], nan_ok=True)
    assert structure._censored_values(data, "folded_phase") == pytest.approx([1, np.inf, -np.inf, np.nan], nan_ok=True)


# What is left out, and whose counts they are -------------------------------------------------------------------------


def test_an_animal_of_one_cell_is_left_out_and_one_of_two_is_not() -> None:
    maps = gabor_maps(8, 11, np.random.default_rng(1))[0]
    cortex = cortex_of(maps, np.array([0, 0, 0, 1, 1, 2, 3, 3]), np.inf, np.random.default_rng(1))
    ladder, _ = set_up(side_of(cortex, "cells"), side_of(kernels_of(maps), "kernels"), np.random.default_rng(1))
    assert np.bincount(ladder.cells().code).tolist() == [3, 2, 2]


def test_the_balance_keeps_its_sign_where_signs_are_known() -> None:
    line = np.arange(11.0) - 5
    blob = np.exp(-(line**2 + line[:, None] ** 2) / 8)
    grid = Grid.regular((11, 11), pitch=1.0, units="px")
    ladder = ladder_on(grid)
    column = LIKENESS_AXES.index("on_off_balance")
    on, off = ladder.points(np.stack([blob, -blob]), ladder_module.WHOLE)[:, column]
    assert on == -off > 0
    ladder.folded = True
    assert (ladder.points(np.stack([blob, -blob]), ladder_module.WHOLE)[:, column] == on).all()


def test_kernels_in_degrees_have_their_scale() -> None:
    maps = gabor_maps(40, 11, np.random.default_rng(2))[0]
    bank = make_bank(maps[:, None], channel=("signed",), kind="simulated", deg_per_px=0.5)
    cells = bank.assign(noise_sd=("unit", np.zeros(40)))
    ladder, sample = set_up(side_of(cells, "cells"), side_of(bank, "kernels"), np.random.default_rng(2))
    assert not ladder.free and sample.base == 1 and [step.scale for step in ladder.curve(sample)] == [1]


def test_many_kernels_are_shown_once_each(setting: Setting) -> None:
    few = setting.sample._replace(maps=np.repeat(setting.sample.maps, 3, axis=0)[:129])
    assert {step.placed.draws for step in setting.ladder.curve(few)} == {1}


def test_kinds_within_one_animal_are_of_two_halves(setting: Setting) -> None:
    own = setting.cells.points
    halves = Cells.of(np.concatenate([own, own]), np.zeros(2 * len(own), np.intp))
    alone = Setting(setting.a, setting.b, setting.ladder, setting.sample, setting.curve, np.random.default_rng(0))
    alone.cells = halves
    cells, kernels = (row.number["ceiling"] for row in kind_rows(alone))
    # Every cell stands twice: about half have their double in the other half, and more a neighbor.
    assert 0.5 < cells <= 1 and 0.5 < kernels <= 1


def test_two_kernels_are_enough_to_be_told_apart() -> None:
    between = np.array([[1.0, 1.2, 1.1], [1.2, 1.0, 1.3], [1.1, 1.3, 1.0]])
    to_animals = np.array([[2.0, 2.1, 1.9], [2.2, 2.0, 2.1]])
    assert 0 < sampling.told_apart(between, np.full(3, 20), to_animals, np.array([[1.0, 1.1], [1.1, 1.0]]), 3) < 1
