"""Between maps: a known transform is found again, tiny overlaps do not count, nulls lie below and halves above."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from click.testing import CliRunner

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.errors import InputError
from rfcompare.matching import Search, apply_transform
from rfcompare.matching.maps import _maps, _noise_of
from rfcompare.matching.search import best_transforms
from rfcompare.matching.spectra import lattice_for
from tests.sample_populations import gabor_maps

Array = npt.NDArray[np.float64]

ROTATION = 3.0
"""Degrees: a little more than the search's last step of 2.5."""

SCALE = 0.125
"""Octaves: the search's last step."""

SHIFT = 0.15
"""Pixels of the field: the last shift step is a sixteenth of 0.3 radii, rotation and scale errors add to it."""

FOUND = 0.98
"""Similarity of a transformed copy at least: what half the last steps leave of an asymmetric map with nx 0.4."""

COARSE = Search(rotation_step=7.5, scale_step=0.25, coarse_rotation=4, coarse_scale=2)
"""A quicker search for tests that do not ask how fine it is."""


def pattern(x: Array, y: Array, angle: float, frequency: float, phase: float, sigma: tuple[float, float]) -> Array:
    """A Gabor with a blob at one end of its stripes: no symmetry under rotation or reflection (…,)."""
    u, v = np.cos(angle) * x + np.sin(angle) * y, -np.sin(angle) * x + np.cos(angle) * y
    gabor = np.exp(-(u**2) / (2 * sigma[0] ** 2) - v**2 / (2 * sigma[1] ** 2)) * np.cos(
        2 * np.pi * frequency * u + phase
    )
    return np.asarray(gabor + 0.5 * np.exp(-((u - 1) ** 2 + (v - sigma[1]) ** 2) / 3))


def bank_of(maps: npt.ArrayLike, **options: object) -> xr.Dataset:
    array = np.asarray(maps, float)
    return rfc.make_bank(array[:, None], channel=("signed",), kind="analytic", **options)  # type: ignore[arg-type]


def grid(size: int, step: float = 1.0) -> Array:
    return np.asarray(step * (np.arange(size) - (size - 1) / 2))


def transformed_pair(n: int, seed: int) -> tuple[xr.Dataset, xr.Dataset, dict[str, Array]]:
    """Kernels in pixels, and the same patterns turned, scaled, shifted and signed on a grid in degrees (1° = 1 px)."""
    rng = np.random.default_rng(seed)
    shapes = [
        (
            rng.uniform(0, np.pi),
            rng.uniform(0.1, 0.2),
            rng.uniform(0, 6.28),
            (rng.uniform(1.4, 2), rng.uniform(1.5, 2.3)),
        )
        for _ in range(n)
    ]
    truth = {
        "rotation": rng.uniform(0, 360, n),
        "scale": 2 ** rng.uniform(-0.45, 0.85, n),
        "shift_x": rng.uniform(-2, 2, n),
        "shift_y": rng.uniform(-2, 2, n),
        "sign": rng.choice([-1.0, 1.0], n),
    }
    x, y = np.meshgrid(grid(15), grid(15))
    kernels = bank_of([pattern(x, y, *shape) for shape in shapes])
    x, y = np.meshgrid(grid(31, 0.8), grid(31, 0.8))
    fields = []
    for i, shape in enumerate(shapes):
        angle = np.radians(truth["rotation"][i])
        dx, dy = (x - truth["shift_x"][i]) / truth["scale"][i], (y - truth["shift_y"][i]) / truth["scale"][i]
        back = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
        fields.append(truth["sign"][i] * pattern(*back, *shape))
    return kernels, bank_of(fields, deg_per_px=0.8), truth


def test_turned_scaled_shifted_signed_copies_are_found_with_their_transform() -> None:
    kernels, fields, truth = transformed_pair(10, seed=1)
    found = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, nulls=None)
    own = {name: np.diag(found[name].values) for name in found.data_vars if found[name].dims == ("unit_a", "unit_b")}
    assert (own["similarity"] > FOUND).all() and (own["similarity"] < 1.001).all()
    assert (found.similarity.values.argmax(1) == np.arange(10)).all()
    assert own["assigned"].all() and found.assigned.values.sum() == 10
    assert np.array_equal(own["sign"], truth["sign"])
    assert np.abs((own["rotation"] - truth["rotation"] + 180) % 360 - 180).max() < ROTATION
    assert np.abs(np.log2(own["scale"] / truth["scale"])).max() < SCALE
    assert np.abs(own["shift_x"] - truth["shift_x"]).max() < SHIFT
    assert np.abs(own["shift_y"] - truth["shift_y"]).max() < SHIFT
    assert min(own["overlap_a"].min(), own["overlap_b"].min()) >= 0.8


def test_the_returned_transform_draws_the_pair() -> None:
    kernels, fields, _ = transformed_pair(3, seed=2)
    found = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, nulls=None, search=COARSE)
    seen = _maps(fields).values
    for i in range(3):
        laid = apply_transform(kernels, found, kernels.unit.values[i], fields.unit.values[i], to=fields)
        assert laid.shape == (31, 31) and np.array_equal(laid.x, fields.x)
        cosine = (laid.values.ravel() @ seen[i]) / np.linalg.norm(laid.values) / np.linalg.norm(seen[i])
        # Drawn and searched similarity are the same up to what lies outside the field's window.
        assert cosine == pytest.approx(float(found.similarity[i, i]), abs=0.01)


def test_exact_in_a_case_worked_by_hand() -> None:
    # Two unit Gaussians of SD s and t, concentric: cosine 2st/(s² + t²); for t = 4s it is 8/17, and scaling by up to an
    # octave leaves t = 2s: 4/5. Neither rotation nor shift nor sign can add to it.
    x, y = np.meshgrid(grid(41), grid(41))
    small, large = np.exp(-(x**2 + y**2) / (2 * 2.0**2)), np.exp(-(x**2 + y**2) / (2 * 8.0**2))
    wide = Search(min_overlap=0.0)
    found = rfc.match(bank_of([small]), bank_of([large]), by="px", nulls=None, search=wide)
    # The large one's support (energy above 5 %) ends at 8·√(ln 20) = 13.8 px and holds 95 % of its energy.
    assert found.similarity.item() == pytest.approx(4 / 5, abs=0.02)
    assert found.scale.item() == 2.0
    unscaled = Search(octaves=0.0, min_overlap=0.0)
    found = rfc.match(bank_of([small]), bank_of([large]), by="px", nulls=None, search=unscaled)
    assert found.similarity.item() == pytest.approx(8 / 17, abs=0.02)


def test_the_union_is_normalized_over_and_tiny_overlaps_do_not_count() -> None:
    rng = np.random.default_rng(3)
    x, y = np.meshgrid(grid(17), grid(17))
    a = np.exp(-(x**2 + y**2) / 18) * np.cos(2 * np.pi * 0.2 * x) + 0.02 * rng.normal(size=x.shape)
    b = np.exp(-(x**2 + y**2) / 18) * np.cos(2 * np.pi * 0.08 * (y + x) + 1) + 0.02 * rng.normal(size=x.shape)
    fixed = Search(octaves=0.0)
    kernels, fields = bank_of([a]), bank_of([b])
    strict = rfc.match(kernels, fields, by="px", nulls=None, search=fixed)
    # Normalized over the overlap alone, a placement of one pixel correlates at 1 …
    best = 0.0
    for dx, dy in itertools.product(range(-16, 17), repeat=2):
        over_a = a[max(dy, 0) : 17 + min(dy, 0), max(dx, 0) : 17 + min(dx, 0)]
        over_b = b[max(-dy, 0) : 17 - max(dy, 0), max(-dx, 0) : 17 - max(dx, 0)]
        best = max(best, abs((over_a * over_b).sum()) / np.sqrt((over_a**2).sum() * (over_b**2).sum()))
    assert best > 0.9
    # … which neither the norm over the union nor the least overlap lets through.
    assert 0 < strict.similarity.item() < 0.75
    assert min(strict.overlap_a.item(), strict.overlap_b.item()) >= 0.8
    # A blob at a kernel's corner against a wide field: no placement holds 80 % of both, and the pair is not scored.
    spot = np.exp(-((x - 6) ** 2 + (y - 6) ** 2) / 2)
    none = rfc.match(bank_of([spot]), bank_of([np.exp(-(x**2 + y**2) / 60)]), by="px", nulls=None, search=fixed)
    assert none.similarity.item() == 0.0 and np.isnan(none.rotation.item())
    with pytest.raises(InputError, match="without an admissible transform"):
        apply_transform(bank_of([spot]), none, "u000", "u000", to=fields)


def test_against_a_direct_search_in_space() -> None:
    """Every coarse transform and shift by brute force on the pixels, for maps too smooth to need interpolation."""
    x, y = np.meshgrid(grid(25), grid(25))
    shape, angle, factor, shift = (0.7, 0.09, 1.0, (2.2, 3.0)), np.radians(60.0), 1.0, (1.0, -2.0)
    kernel = pattern(x, y, *shape)
    back = (
        (np.cos(angle) * (x - shift[0]) + np.sin(angle) * (y - shift[1])) / factor,
        (-np.sin(angle) * (x - shift[0]) + np.cos(angle) * (y - shift[1])) / factor,
    )
    field = pattern(*back, 0.2, 0.11, 0.3, (2.5, 2.5))
    a, b = bank_of([kernel]), bank_of([field])
    search = Search(rotation_step=15.0, octaves=0.0, coarse_rotation=1, min_overlap=0.8, shift_step=0.1)
    found = rfc.match(a, b, by="px", nulls=None, search=search)
    seen = _maps(b).values[0]
    best = 0.0
    for degrees in np.arange(0, 360, 15.0):
        turn = np.radians(degrees)
        for dx, dy in itertools.product(np.arange(-4, 4.01, 0.5), repeat=2):
            at = x - dx, y - dy
            back = np.cos(turn) * at[0] + np.sin(turn) * at[1], -np.sin(turn) * at[0] + np.cos(turn) * at[1]
            laid = pattern(*back, *shape).ravel()
            best = max(best, abs(laid @ seen) / np.linalg.norm(laid) / np.linalg.norm(seen))
    # The direct search uses the analytic map, not cut to its support, and shifts of half a pixel.
    assert found.similarity.item() == pytest.approx(best, abs=0.02)


def test_single_precision_is_enough() -> None:
    kernels, fields, _ = transformed_pair(4, seed=5)
    a, b = _maps(kernels, (1.0, 1.0)), _maps(fields)
    lattice = lattice_for(a, b, COARSE)
    single, double = (
        best_transforms(a, b, COARSE, lattice=lattice, dtype=dtype).similarity
        for dtype in (np.complex64, np.complex128)
    )
    # Sums of at most 2·400 products of order 1/400: rounding stays near 1e-6; a tie may be broken otherwise.
    assert np.abs(single - double).max() < 1e-4


def test_the_climb_misses_little_of_an_exhaustive_search() -> None:
    rng = np.random.default_rng(13)
    x, y = np.meshgrid(grid(13), grid(13))
    shapes = [
        pattern(x, y, rng.uniform(0, 3), rng.uniform(0.08, 0.25), rng.uniform(0, 6), (rng.uniform(1, 2), 1.6))
        for _ in "abcdef"
    ]
    a, b = _maps(bank_of(shapes[:3])), _maps(bank_of(shapes[3:]))
    lattice = lattice_for(a, b, Search())
    every = Search(coarse_rotation=1, coarse_scale=1, starts=1)
    quick, full = (best_transforms(a, b, search, lattice=lattice).similarity for search in (Search(), every))
    # On 96 real kernels and 300 fields the climb lost 0.001 on average, 0.007 in 5 % of the pairs, 0.07 at most.
    assert (full - quick).max() < 0.02 and (full - quick).mean() < 0.005


def test_null_matches_lie_below_and_copies_above_chance() -> None:
    kernels, fields, _ = transformed_pair(12, seed=6)
    found = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, n_nulls=4, seed=0, search=COARSE)
    assert (found.best > found.chance).all()
    assert found.attrs["null_assigned_mean"] < found.attrs["assigned_similarity"] - 0.1
    # No population of swapped kernels and null maps is as good: p = (1 + 0)/(199 + 1), the smallest it could be.
    assert found.attrs["p_assigned"] == pytest.approx(0.005) == found.attrs["smallest_p"]
    assert found.attrs["null"] == "spectrum_noise" and found.null_best.shape == (4, 12)
    nothing = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, nulls=None, search=COARSE)
    assert "not tested" in nothing.attrs["null"] and np.isnan(nothing.chance).all()
    again = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, n_nulls=4, seed=0, search=COARSE)
    xr.testing.assert_identical(found, again)


def test_a_null_of_the_cortex_itself_is_at_the_top() -> None:
    kernels, fields, _ = transformed_pair(6, seed=7)
    # The "null" here is the fields themselves: every kernel population is at most as good as that.
    found = rfc.match(kernels, fields, by="size", nulls=fields, search=COARSE)
    assert (found.chance.values > 0.99).all()
    assert found.attrs["p_assigned"] > 0.5


def test_size_matching_makes_the_match_free_of_scale() -> None:
    kernels, fields, _ = transformed_pair(5, seed=8)
    ten = bank_of(fields.rf.values[:, 0], deg_per_px=8.0)
    one = rfc.match(kernels, fields, nulls=None, search=COARSE)
    other = rfc.match(kernels, ten, nulls=None, search=COARSE)
    assert np.allclose(one.similarity, other.similarity, atol=1e-5)
    ratio = json.loads(other.attrs["common_scale"])[0] / json.loads(one.attrs["common_scale"])[0]
    assert ratio == pytest.approx(10.0)
    assert np.allclose(
        other.shift_x.values[one.similarity.values > 0], 10 * one.shift_x.values[one.similarity.values > 0]
    )


CEILING_BIAS = 0.012
"""Mean difference of 40 noise-free originals from their ceilings: three standard errors at the lower SNR."""


@pytest.mark.parametrize("known_by", ["halves", "noise_sd"])
@pytest.mark.parametrize("snr", [3.0, 1.0])
def test_noise_free_originals_reach_the_ceiling_and_do_not_beat_it(snr: float, known_by: str) -> None:
    rng = np.random.default_rng(3)
    clean, _ = gabor_maps(40, 15, rng)
    sd = np.sqrt((clean**2).mean((1, 2))) / snr
    halves = clean + np.sqrt(2) * sd[:, None, None] * rng.standard_normal((2, *clean.shape))
    how = {"half": halves[:, :, None]} if known_by == "halves" else {"noise_sd": sd}
    fields = bank_of(halves.mean(0), **how)
    assert _noise_of(fields) == pytest.approx(sd, rel=0.2)  # 225 pixels: 4 SD of an SD are 4/√450 = 19 %
    found = rfc.match(bank_of(clean), fields, by="px", progress=False)
    beyond = found.best.values - found.ceiling.values
    assert abs(beyond.mean()) < CEILING_BIAS
    # Of the 95 % intervals 2.5 % should lie below; a best of 40 candidates, the interval of one map: a sixth at most.
    assert (found.best.values > found.ceiling_high.values).mean() <= 1 / 6
    assert (found.best.values < found.ceiling_low.values).mean() <= 1 / 6
    assert found.attrs["p_assigned"] == 0.005
    without = rfc.match(bank_of(clean[:2]), bank_of(clean[:2]), by="px", nulls=None, search=COARSE)
    assert np.isnan(without.ceiling).all()


def test_p_of_kernels_that_are_a_draw_of_the_null_is_uniform() -> None:
    """Hypothesis: kernels and null maps are exchangeable, here true: both are noise with one spectrum."""
    rng = np.random.default_rng(5)
    fields = bank_of(gabor_maps(6, 11, rng)[0])
    p = []
    for seed in range(40):
        noise = rng.standard_normal((12, 11, 11))
        found = rfc.match(bank_of(noise[:6]), fields, by="px", nulls=bank_of(noise[6:]), search=COARSE, seed=seed)
        p.append(found.attrs["p_assigned"])
    assert abs(np.mean(np.array(p) <= 0.2) - 0.2) < 0.19  # three SDs of a share of 40
    assert abs(np.mean(np.array(p) <= 0.5) - 0.5) < 0.24


def test_bad_units_get_nobody_and_stop_nothing() -> None:
    kernels, fields, _ = transformed_pair(4, seed=10)
    maps = fields.rf.values[:, 0].copy()
    maps[1] = np.nan
    maps[2] = 0.0
    maps[3, :4] = np.nan  # partly measured is fine
    found = rfc.match(kernels, bank_of(maps, deg_per_px=0.8), nulls=None, search=COARSE)
    assert np.isnan(found.similarity.values[:, [1, 2]]).all() and np.isfinite(found.similarity.values[:, [0, 3]]).all()
    assert found.assigned.values.sum() == 2 and not found.assigned.values[:, [1, 2]].any()
    assert np.isnan(found.best.values[1])


def test_units_that_cannot_be_used_do_not_lower_chance() -> None:
    kernels, fields, _ = transformed_pair(8, seed=15)
    alone = rfc.match(kernels, fields.isel(unit=slice(0, 3)), by="px", nulls=kernels, search=COARSE)
    dead = fields.isel(unit=slice(0, 6)).copy(deep=True)
    dead["rf"][3:] = 0.0
    beside = rfc.match(kernels, dead, by="px", nulls=kernels, search=COARSE)
    # The null is the kernels themselves: as alike to the fields as they are, whatever lies beside them.
    for found in (alone, beside):
        assert found.null_assigned.item() == pytest.approx(found.attrs["assigned_similarity"])
    assert np.isnan(beside.null_best.values[0, 3:]).all() and np.isfinite(beside.null_best.values[0, :3]).all()
    # Nor do dead kernels, whose place a null's live ones would take.
    few = kernels.copy(deep=True)
    few["rf"][2:] = 0.0
    with_few = rfc.match(few, fields, by="px", nulls=kernels, n_nulls=1, seed=1, search=COARSE)
    assert with_few.assigned.values.sum() == 2
    two = rfc.match(few.isel(unit=[0, 1]), fields, by="px", nulls=kernels, n_nulls=1, seed=1, search=COARSE)
    assert with_few.null_assigned.item() == pytest.approx(two.null_assigned.item())
    with pytest.raises(InputError, match="at least 8 units"):
        rfc.match(kernels, fields, by="px", nulls=kernels.isel(unit=slice(0, 5)), search=COARSE)


def test_a_null_of_maps_with_unmeasured_pixels_has_as_many_units() -> None:
    kernels, fields, _ = transformed_pair(5, seed=17)
    holes = kernels.copy(deep=True)
    holes["rf"][2:, :, :2] = np.nan  # a null is drawn of the two whole ones
    found = rfc.match(holes, fields, by="px", nulls="pixel_shuffled", n_nulls=3, search=COARSE)
    assert np.isfinite(found.similarity.values).all() and found.null_best.shape == (3, 5)
    assert found.attrs["smallest_p"] == 0.005 and (found.null_best.values > 0).all()


def test_halves_that_do_not_agree_have_a_ceiling_of_zero() -> None:
    kernels, fields, _ = transformed_pair(3, seed=16)
    half = np.stack([fields.rf.values, fields.rf.values])
    half[1, 2] *= -1
    found = rfc.match(kernels, bank_of(fields.rf.values[:, 0], half=half), by="px", nulls=None, search=COARSE)
    assert found.ceiling.values == pytest.approx([1.0, 1.0, 0.0], abs=2e-3)  # of shifts between lattice points


def test_saved_and_loaded_the_same(tmp_path: Path) -> None:
    kernels, fields, _ = transformed_pair(2, seed=11)
    found = rfc.match(kernels, fields, nulls=None, search=COARSE)
    rfc.save(found, tmp_path / "M.nc")
    xr.testing.assert_identical(rfc.load(tmp_path / "M.nc"), found)


def test_the_verb_writes_what_match_finds(tmp_path: Path) -> None:
    kernels, fields, _ = transformed_pair(3, seed=14)
    rfc.save(kernels, tmp_path / "kernels.nc")
    rfc.save(fields, tmp_path / "fields.nc")
    named = ["--kernels", str(tmp_path / "kernels.nc"), "--fields", str(tmp_path / "fields.nc")]
    arguments = ["match", *named, "--nulls", "0", "--assumed-deg-per-px", "1", "-o", str(tmp_path / "M.nc")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "3 maps (analytic) assigned one to one to 3 (analytic)" in done.output and "not tested" in done.output
    found = rfc.match(kernels, fields, by="degree", deg_per_px=1.0, nulls=None)
    xr.testing.assert_allclose(rfc.load(tmp_path / "M.nc").similarity, found.similarity)
    wrong = CliRunner().invoke(main, [*arguments[:5], "--nulls", "0", "-o", str(tmp_path / "nowhere" / "M.nc")])
    assert wrong.exit_code == 2 and "expected a folder" in wrong.output and "Traceback" not in wrong.output


def test_what_cannot_be_matched_is_said() -> None:
    kernels, fields, _ = transformed_pair(2, seed=12)
    color = rfc.make_bank(np.random.default_rng(0).normal(size=(1, 3, 5, 5)), channel=("r", "g", "b"), kind="untrained")
    with pytest.raises(InputError, match="call to_signed first"):
        rfc.match(color, fields)
    with pytest.raises(InputError, match="deg_per_px"):
        rfc.match(kernels, fields, by="degree")
    for wrong in ({"rotation_step": 7.0}, {"scale_step": 0.0}, {"min_overlap": 1.5}, {"coarse_rotation": 0}):
        with pytest.raises(InputError, match="expected"):
            Search(**wrong)  # type: ignore[arg-type]
    buried = bank_of(fields.rf.values[:, 0], noise_sd=100.0)
    with pytest.raises(InputError, match="rise above their noise"):
        rfc.match(kernels, buried, nulls=None)
    with pytest.raises(InputError, match="to=b"):
        apply_transform(kernels, fields, "u000", "u000")


def test_a_stopped_search_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rfcompare.matching import search as room

    banks = [rfc.simulation.simulate_population(n=n, size=9, seed=seed)[0] for n, seed in ((3, 0), (7, 1))]
    monkeypatch.setattr(room, "_PART", 2)
    whole = rfc.match(*banks, seed=0, progress=False)
    searched: list[int] = []
    one = room._search_field

    def counted(*args: object, **options: object) -> object:
        if stop_after is not None and len(searched) == stop_after:
            raise KeyboardInterrupt
        searched.append(1)
        return one(*args, **options)

    monkeypatch.setattr(room, "_search_field", counted)
    stop_after: int | None = 5
    with pytest.raises(KeyboardInterrupt):
        rfc.match(*banks, seed=0, progress=False, keep=tmp_path)
    assert len(list(tmp_path.rglob("*.npz"))) == 2 and not list(tmp_path.rglob("*.part"))
    next(tmp_path.rglob("*.npz")).write_bytes(b"damaged")
    searched, stop_after = [], None
    again = rfc.match(*banks, seed=0, progress=False, keep=tmp_path)
    assert len(searched) == 7 + 7 - 2  # the map and its null, less the one part of two that was whole
    xr.testing.assert_identical(again, whole)
    assert not list(tmp_path.iterdir())
