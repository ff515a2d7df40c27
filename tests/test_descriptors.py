"""Descriptors: closed forms of Gabors and blobs, invariance, and what a bank's making fixes."""

import json

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import rfcompare as rfc
from rfcompare.descriptors import EITHER, censoring, describe_arrays, describe_maps, on_bound
from rfcompare.quantities import KAPPA, MODEL_FREE, QUANTITIES

FITTED = 1e-3  # a noiseless Gabor is fitted to about 1e-5; described quantities multiply few of them
WINDOWED = 0.02  # a window of two radii and a padded grid move spectral moments of smooth maps by less than this
PIXELS = 0.02  # whether the pixels of a circle's edge count as in or out
ROUGH = 0.005  # sums over pixels for integrals of Gaussians of three pixels and more
ROUNDING = 1e-9  # transforms of a few thousand float64 values


def gabor(
    *, nx: float = 0.4, ny: float = 0.5, f: float = 0.12, orientation: float = 30.0, phase: float = 0.0, size: int = 41
) -> NDArray[np.float64]:
    axis = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(axis, axis)
    carrier = np.radians(orientation + 90)
    u, v = np.cos(carrier) * x + np.sin(carrier) * y, -np.sin(carrier) * x + np.cos(carrier) * y
    envelope = np.exp(-(u**2) / (2 * (nx / f) ** 2) - v**2 / (2 * (ny / f) ** 2))
    return envelope * np.cos(2 * np.pi * f * u + np.radians(phase))


def bank_of(*maps: NDArray[np.float64], kind: str = "analytic", **options: object) -> xr.Dataset:
    return rfc.make_bank(np.stack(maps)[:, None], channel=("signed",), kind=kind, **options)


def test_every_gabor_descriptor_has_its_closed_form() -> None:
    table = rfc.describe(rfc.fit(bank_of(gabor(phase=60.0)), "gabor", seed=0)).isel(unit=0)
    expected = {
        "nx": 0.4,
        "ny": 0.5,
        "aspect": 1.25,
        # log2((0.4 + 0.1874)/(0.4 − 0.1874)) = log2(2.763) = 1.466
        "bandwidth_octaves": np.log2((0.4 + KAPPA) / (0.4 - KAPPA)),
        # 100·(0.4 − 0.1874)/(0.4 + 0.1874) = 36.2
        "cutoff_ratio": 100 * (0.4 - KAPPA) / (0.4 + KAPPA),
        # atan(0.1874/0.5) = 20.55°
        "orientation_half_width": np.degrees(np.arctan(KAPPA / 0.5)),
        "orientation": 30.0,
        "polarity_phase": 60.0,
        "folded_phase": 60.0,
        "frequency": 0.12,
        "sigma_x": 0.4 / 0.12,
        "sigma_y": 0.5 / 0.12,
        "r2": 1.0,
    }
    for name, value in expected.items():
        assert float(table[name]) == pytest.approx(value, rel=FITTED), name
    assert not bool(table.less_than_one_cycle)


def test_a_gabor_of_less_than_one_cycle_is_flagged_not_dropped() -> None:
    table = rfc.describe(rfc.fit(bank_of(gabor(nx=0.15, ny=0.3, f=0.05)), "gabor", seed=0))
    assert bool(table.less_than_one_cycle[0]) and np.isnan(table.bandwidth_octaves[0])
    assert table.cutoff_ratio[0] == 0  # it passes frequency 0 itself
    assert np.isfinite(table.orientation_half_width[0])


def test_scaled_quantities_are_in_the_units_of_the_bank() -> None:
    px = rfc.describe(rfc.fit(bank_of(gabor()), "gabor", seed=0))
    degree = rfc.describe(rfc.fit(bank_of(gabor(), deg_per_px=0.5), "gabor", seed=0))
    for name, quantity in QUANTITIES.items():
        if name in px and quantity.scaling in ("length", "frequency") and name not in ("x0", "y0"):
            factor = 0.5 if quantity.scaling == "length" else 2.0
            assert float(degree[name][0]) == pytest.approx(factor * float(px[name][0]), rel=FITTED), name
        elif name in px and quantity.dimensionless and np.isfinite(px[name][0]):
            assert float(degree[name][0]) == pytest.approx(float(px[name][0]), abs=FITTED), name
    assert degree.frequency.attrs["units"] == "cycles/°"


@pytest.mark.parametrize("phase", [0.0, 90.0, 180.0])
def test_symmetry_and_balance_follow_the_phase(phase: float) -> None:
    table = describe_arrays(gabor(phase=phase)[None])
    # even energy is cos² and odd energy sin² of the phase, for carriers that the envelope does not bias (nx = 0.4)
    assert table["even_symmetry"][0] == pytest.approx(np.cos(2 * np.radians(phase)), abs=WINDOWED)
    assert np.sign(np.round(table["on_off_balance"][0], 6)) == np.sign(np.round(np.cos(np.radians(phase)), 6))


def test_negating_a_map_changes_only_the_signed_balance() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 11, 11))
    one, other = describe_arrays(maps), describe_arrays(-maps)
    for name, values in one.items():
        assert other[name] == pytest.approx(-values if name == "on_off_balance" else values, abs=ROUNDING), name


def test_turning_or_mirroring_a_map_changes_no_model_free_descriptor() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 12, 12))
    one = describe_arrays(maps)
    for other in (maps[:, ::-1], np.rot90(maps, axes=(1, 2)), maps.transpose(0, 2, 1)):
        for name, values in describe_arrays(np.ascontiguousarray(other)).items():
            assert values == pytest.approx(one[name], abs=ROUNDING), name


def test_a_blob_is_low_pass_isotropic_and_on() -> None:
    axis = np.arange(31) - 15.0
    blob = np.exp(-(axis**2 + axis[:, None] ** 2) / (2 * 3.0**2))
    table = describe_arrays(blob[None])
    assert table["spectral_anisotropy"][0] == pytest.approx(0, abs=ROUNDING)
    assert table["on_off_balance"][0] == pytest.approx(1, abs=WINDOWED)
    assert table["even_symmetry"][0] == pytest.approx(1, abs=ROUNDING)
    # Through a window of SD w = 2r the blob's 1/s² is 1/9 + 1/w². Its power spectrum is a Gaussian of SD 1/(2π√2·s) a
    # side, so radial frequency is Rayleigh: mean SD·√(π/2), and the share below f0 = 0.2/r is 1 − exp(−f0²/2SD²).
    r = table["field_radius"][0]
    sd = np.sqrt(1 / 9 + 1 / (2 * r) ** 2) / (2 * np.pi * np.sqrt(2))
    assert table["centroid_cycles"][0] == pytest.approx(r * sd * np.sqrt(np.pi / 2), rel=WINDOWED)
    assert table["low_pass_share"][0] == pytest.approx(1 - np.exp(-((0.2 / r) ** 2) / (2 * sd**2)), rel=WINDOWED)
    # A Rayleigh distribution's SD over its mean is √((4 − π)/π) = 0.523
    assert table["spectral_bandwidth"][0] == pytest.approx(np.sqrt((4 - np.pi) / np.pi), rel=WINDOWED)


def test_the_radius_of_a_blob_has_its_closed_form() -> None:
    axis = np.arange(61) - 30.0
    blob = np.exp(-((axis - 4) ** 2 + (axis[:, None] + 3) ** 2) / (2 * 5.0**2))
    # The energy exp(−r²/σ²) has an SD of σ/√2 a side, and smoothed by s = 0.06·61 one of √q, q = σ²/2 + s². With
    # t = r²/2q the weight is e^−t − 1/4 up to t = ln 4, where the mean of t is
    # (1 − (1 + ln 4)/4 − (ln 4)²/8)/(3/4 − (ln 4)/4) = 0.1632/0.4034 = 0.4045.
    q, end = 5.0**2 / 2 + (0.06 * 61) ** 2, np.log(4)
    mean = (1 - (1 + end) / 4 - end**2 / 8) / (3 / 4 - end / 4)
    assert describe_arrays(blob[None])["field_radius"][0] == pytest.approx(np.sqrt(2 * q * mean), rel=ROUGH)
    scaled = describe_arrays(blob[None], dx=0.5, dy=0.5)["field_radius"][0]
    assert scaled == pytest.approx(0.5 * np.sqrt(2 * q * mean), rel=ROUGH)


@pytest.mark.parametrize("pixel", [(1.0, 1.0), (0.5, 0.5), (0.5, 2.0)])
def test_a_single_pixel_has_half_its_smaller_side_as_radius(pixel: tuple[float, float]) -> None:
    maps = np.zeros((1, 5, 5))
    maps[0, 2, 3] = 1  # smoothed by 0.3 of a pixel, its neighbors stay below the quarter that the field is found by
    assert describe_arrays(maps, dx=pixel[0], dy=pixel[1])["field_radius"][0] == min(pixel) / 2


@pytest.mark.parametrize("turned", [0.0, 20.0, 45.0])
def test_anisotropy_of_an_ellipse_has_its_closed_form(turned: float) -> None:
    axis = np.arange(61) - 30.0
    u = np.cos(np.radians(turned)) * axis + np.sin(np.radians(turned)) * axis[:, None]
    v = np.cos(np.radians(turned)) * axis[:, None] - np.sin(np.radians(turned)) * axis
    table = describe_arrays(np.exp(-(u**2) / (2 * 3.0**2) - v**2 / (2 * 6.0**2))[None])
    # Through the window w = 2r the inverse variances are a = 1/9 + 1/w² and b = 1/36 + 1/w²; the power spectrum's
    # variances are as these, so its anisotropy is (a − b)/(a + b), wherever the ellipse points.
    window = 1 / (2 * table["field_radius"][0]) ** 2
    a, b = 1 / 9 + window, 1 / 36 + window
    assert table["spectral_anisotropy"][0] == pytest.approx((a - b) / (a + b), abs=ROUGH)


def test_a_plaid_is_fourfold_and_a_grating_both() -> None:
    plaid = gabor(nx=1.5, ny=1.5, f=0.2, orientation=30) + gabor(nx=1.5, ny=1.5, f=0.2, orientation=120)
    one, both = (describe_arrays(each[None]) for each in (gabor(nx=1.5, ny=1.5, f=0.2, orientation=30), plaid))
    # |Σ P f² exp(4iθ)|/Σ P f² of gratings 90° apart is that of one, where Σ P f² exp(2iθ) of both cancels.
    assert both["fourfold_anisotropy"][0] == pytest.approx(one["fourfold_anisotropy"][0], abs=WINDOWED)
    assert one["fourfold_anisotropy"][0] > 0.8
    assert both["spectral_anisotropy"][0] == pytest.approx(0, abs=WINDOWED) and one["spectral_anisotropy"][0] > 0.9


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bank = bank_of(*np.random.default_rng(0).normal(size=(7, 9, 9)))
    whole = describe_maps(bank)
    for values in (1, 3 * 37**2):  # a map at a time, and three: 4·9 + 1 = 37 is the padded length
        monkeypatch.setattr("rfcompare.descriptors.CHUNK_VALUES", values)
        xr.testing.assert_allclose(describe_maps(bank), whole, atol=ROUNDING)


@pytest.mark.parametrize("center", [(0.0, 0.0), (6.0, -5.0)])
def test_localization_is_the_energy_within_two_radii_of_the_centroid(center: tuple[float, float]) -> None:
    axis = np.arange(41) - 20.0
    squared = (axis - center[0]) ** 2 + (axis[:, None] - center[1]) ** 2
    table = describe_arrays(np.exp(-squared / (2 * 3.0**2))[None])
    # The energy falls as exp(−r²/σ²): within R lies 1 − exp(−R²/σ²) of it.
    expected = 1 - np.exp(-((2 * table["field_radius"][0] / 3.0) ** 2))
    assert table["localization"][0] == pytest.approx(expected, abs=PIXELS)
    # A second blob as strong, far away, is as much energy outside as the first has inside.
    pair = np.exp(-squared / (2 * 3.0**2)) + 0.45 * np.exp(
        -((axis + 14) ** 2 + (axis[:, None] - 14) ** 2) / (2 * 3.0**2)
    )
    # Its energy is 0.45² = 0.2025 of the first one's, below the quarter that the field is found by.
    assert describe_arrays(pair[None])["localization"][0] == pytest.approx(expected / 1.2025, abs=PIXELS)


@pytest.mark.parametrize(
    ("phase", "polarity", "folded"), [(20.0, 20.0, 20.0), (120.0, 120.0, 60.0), (250.0, 110.0, 70.0)]
)
def test_phases_are_folded_where_they_should_be(phase: float, polarity: float, folded: float) -> None:
    table = rfc.describe(rfc.fit(bank_of(gabor(phase=phase)), "gabor", seed=0)).isel(unit=0)
    assert float(table.polarity_phase) == pytest.approx(polarity, abs=0.1)
    assert float(table.folded_phase) == pytest.approx(folded, abs=0.1)


def test_maps_described_without_fits_say_whether_they_could_be() -> None:
    table = describe_maps(bank_of(gabor(), np.zeros((41, 41)), gabor(phase=90.0)))
    assert set(table.data_vars) == {name for name, each in QUANTITIES.items() if each.source == "map"} | {"status"}
    assert table.status.values[0] == table.status.values[2] == "converged" and table.status.values[1] != "converged"
    assert np.isfinite(table.field_radius.values[[0, 2]]).all() and np.isnan(table.field_radius.values[1])


def test_the_spectrum_peaks_at_the_carrier_of_a_long_grating() -> None:
    table = describe_arrays(gabor(nx=1.2, ny=1.2, f=0.2)[None])
    assert table["peak_frequency"][0] == pytest.approx(0.2, abs=1 / (4 * 41))  # one bin of the padded transform
    assert table["spectral_anisotropy"][0] > 0.9


def test_a_baseline_or_a_missing_corner_moves_nothing_much() -> None:
    clean, lifted, cut = gabor(), gabor() + 0.7, gabor()
    cut[:4, :4] = np.nan
    one = describe_arrays(clean[None])
    for other in (describe_arrays(lifted[None]), describe_arrays(cut[None])):
        for name in MODEL_FREE:
            assert other[name][0] == pytest.approx(one[name][0], abs=WINDOWED), name


def test_noise_moves_the_radius_little() -> None:
    rng = np.random.default_rng(0)
    clean = gabor()
    noisy = clean + rng.normal(0, clean.std(), (50, *clean.shape))  # SNR 1
    radius = describe_arrays(noisy)["field_radius"]
    # measured in this test: the median stays within a quarter; an energy radius without a threshold more than doubles
    assert np.median(radius) == pytest.approx(describe_arrays(clean[None])["field_radius"][0], rel=0.25)


def test_rectangular_pixels_and_maps() -> None:
    tall = gabor()[:, 4:-4]
    table = describe_arrays(tall[None])
    full = describe_arrays(gabor()[None])
    assert table["centroid_cycles"][0] == pytest.approx(full["centroid_cycles"][0], rel=3 * WINDOWED)
    # every second row dropped: pixels twice as high
    half = describe_arrays(gabor()[::2][None], dx=1.0, dy=2.0)
    assert half["centroid_cycles"][0] == pytest.approx(full["centroid_cycles"][0], rel=3 * WINDOWED)


def test_bad_units_are_nan_with_their_status() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 9, 9))
    maps[1], maps[2], maps[3, 0, 0] = 2.0, np.nan, np.inf
    table = rfc.describe(rfc.fit(bank_of(*maps), "gabor", seed=0))
    assert np.isfinite(table.centroid_cycles.values).tolist() == [True, False, False, False]
    assert np.isnan(table.nx.values[1:]).all()
    assert [bool(word) for word in table.status.values] == [True] * 4
    assert all(word != "converged" for word in table.status.values[1:])


def test_a_parametric_bank_gives_the_stored_value_or_none() -> None:
    bank = bank_of(gabor(), gabor(phase=90), kind="parametric")
    bare = rfc.describe(rfc.fit(bank, "gabor", seed=0))
    assert np.isnan(bare.r2.values).all()
    assert json.loads(bare.attrs["fixed_by_construction"]) == ["r2"]
    stored = rfc.describe(rfc.fit(bank.assign(r2_original=("unit", [0.8, 0.9])), "gabor", seed=0))
    assert stored.r2.values.tolist() == [0.8, 0.9]


def test_unknown_polarity_takes_the_sign_from_nothing() -> None:
    bank = bank_of(gabor(phase=30), gabor(phase=30)).assign(polarity_known=("unit", [True, False]))
    table = rfc.describe(rfc.fit(bank, "gabor", seed=0))
    assert np.isfinite(table.polarity_phase.values).tolist() == [True, False]
    assert np.isfinite(table.on_off_balance.values).tolist() == [True, False]
    assert table.folded_phase.values == pytest.approx([30.0, 30.0], rel=FITTED)


def test_several_channels_are_refused_with_the_way_out() -> None:
    bank = rfc.make_bank(np.random.default_rng(0).normal(size=(2, 2, 5, 5)), channel=("on", "off"), kind="simulated")
    with pytest.raises(rfc.InputError, match="to_signed"):
        describe_maps(bank)


def test_a_bound_censors_what_is_computed_from_it_in_the_right_direction() -> None:
    fits = rfc.fit(bank_of(gabor()), "gabor", seed=0)
    at = {"x0": 0, "y0": 0, "orientation": 0, "frequency": 0, "sigma_x": 0, "sigma_y": 0}
    # Rows: nothing; σy at its top; f at its bottom; both (ny = σy·f moves either way); σx and σy at the bottom, whose
    # ratio may go either way while both products are lower; the center on the map's edge.
    sides = [{}, {"sigma_y": 1}, {"frequency": -1}, {"sigma_y": 1, "frequency": -1}, {"sigma_x": -1, "sigma_y": -1}]
    sides.append({"x0": 1})
    rows = [list({**at, **side}.values()) for side in sides]
    one = fits.isel(unit=np.zeros(len(rows), int)).assign_coords(unit=[f"u{i}" for i in range(len(rows))])
    one["at_bound"] = ("unit", "parameter"), np.array(rows, np.int8)
    table = rfc.describe(one)
    expected = {
        "nx": [0, 0, -1, -1, -1, 0],
        "ny": [0, 1, -1, 2, -1, 0],
        "aspect": [0, 1, 0, 1, EITHER, 0],
        "bandwidth_octaves": [0, 0, 1, 1, 1, 0],
        "orientation_half_width": [0, -1, 1, EITHER, 1, 0],
        "polarity_phase": [0, 0, EITHER, EITHER, 0, EITHER],
        "frequency": [0, 0, -1, -1, 0, 0],
        "x0": [0, 0, 0, 0, 0, 1],
        "even_symmetry": [0] * 6,
    }
    assert {name: censoring(table, name).tolist() for name in expected} == expected
    assert on_bound(table).tolist() == on_bound(one).tolist() == [False, True, True, True, True, True]
    free = rfc.describe(one.drop_vars("at_bound"))  # as of fits from elsewhere, which say nothing of bounds
    assert not on_bound(free).any() and not censoring(free, "ny").any()


def test_all_quantities_are_described_for_a_fitted_population() -> None:
    table = rfc.describe(rfc.fit(bank_of(gabor(), gabor(phase=90)), "gabor", seed=0))
    missing = {name for name, quantity in QUANTITIES.items() if quantity.source in ("fit", "map")} - set(
        table.data_vars
    )
    assert not missing
    assert rfc.check(table) is table
