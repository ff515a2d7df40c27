"""The fitter: recovery, statuses, known failures of other tools, symmetries, noise, selection, real maps."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import rfcompare as rfc
from rfcompare.errors import InputError
from rfcompare.fitting import fits_of
from rfcompare.fitting.noise import draw_noise, effective_pixels
from rfcompare.models import MODELS, map_of
from tests.sample_gabors import axes, draw_gabors, draw_maps, fit_one, gabor_bank, gabor_map

EXACT = 1e-5  # relative; noiseless maps converge until their cost is 1e-13 of the map's, so parameters to about 1e-6
MOST_CYCLES = 0.2  # below it standard errors are not trusted


# ---------------------------------------------------------------------------------------------------------------------
# The Dataset


def test_a_known_gabor_comes_back_with_every_number() -> None:
    truth = {
        "x0": 1.2, "y0": -0.7, "orientation": 37.0, "frequency": 0.13, "sigma_x": 2.6, "sigma_y": 3.4, "phase": 250.0,
        "amplitude": 2.5, "offset": 0.4,
    }  # fmt: skip
    found = fit_one(gabor_map((23, 27), **truth))
    for name, value in truth.items():
        assert found[name] == pytest.approx(value, rel=EXACT, abs=EXACT), name
    assert found["r2"] == pytest.approx(1, abs=1e-9)
    # nx = σx·f = 2.6·0.13 = 0.338, ny = σy·f = 3.4·0.13 = 0.442
    assert found["nx"] == pytest.approx(0.338, rel=EXACT) and found["ny"] == pytest.approx(0.442, rel=EXACT)


def test_parameters_are_in_the_banks_units() -> None:
    values = gabor_map(x0=1.0, frequency=0.15, sigma_x=2.5)
    degrees = rfc.fit(rfc.make_bank(values[None, None], channel=("signed",), kind="analytic", deg_per_px=0.5), seed=0)
    # Half a degree per pixel: lengths halve, frequencies double, angles stay.
    for name, value in {"x0": 0.5, "sigma_x": 1.25, "frequency": 0.30, "orientation": 90.0, "phase": 30.0}.items():
        assert float(degrees[name].squeeze()) == pytest.approx(value, rel=EXACT), name
    assert degrees.attrs["units"] == "degree" and degrees.sigma_x.attrs["units"] == "degree"


def test_pixels_that_are_not_square() -> None:
    y, x = np.meshgrid(1.0 * (np.arange(15) - 7), 0.5 * (np.arange(31) - 15), indexing="ij")
    carrier = np.radians(40 + 90)
    u, v = np.cos(carrier) * x + np.sin(carrier) * y, np.cos(carrier) * y - np.sin(carrier) * x
    values = np.exp(-(u**2) / 8 - v**2 / 12.5) * np.cos(2 * np.pi * 0.2 * u)
    bank = rfc.make_bank(values[None, None], channel=("signed",), kind="analytic", deg_per_px=(0.5, 1.0))
    fits = rfc.fit(bank, seed=0)
    for name, value in {"orientation": 40.0, "frequency": 0.2, "sigma_x": 2.0, "sigma_y": 2.5}.items():
        assert float(fits[name].squeeze()) == pytest.approx(value, rel=EXACT), name


def test_the_dataset_is_complete_and_checked() -> None:
    rng = np.random.default_rng(0)
    bank = gabor_bank(rng.normal(size=(3, 9, 12)), noise_sd=1.0, attrs={"citation": "this test"})
    for model in MODELS:
        fits = rfc.check(rfc.fit(bank, model, seed=4, engine="batched"))
        assert fits.attrs["model"] == model and fits.attrs["kind"] == "simulated" and fits.attrs["seed"] == 4
        assert fits.attrs["citation"] == "this test" and fits.attrs["engine"].startswith("batched")
        assert {"r2", "status", "n_agree", "rf", "rf_fit", "offset", "offset_se", "r2_noise_corrected"} <= set(fits)
        assert (fits.n_agree > 0).all()


def test_predict_has_the_banks_dims_order_and_shape() -> None:
    bank = gabor_bank(np.random.default_rng(1).normal(size=(4, 7, 9)))
    for model in MODELS:
        fits = rfc.fit(bank, model, seed=0)
        predicted = rfc.predict(fits.isel(unit=[2, 0, 3, 1]), bank)
        assert predicted.dims == bank.rf.dims and predicted.shape == bank.rf.shape
        assert [str(name) for name in predicted.unit.values] == [str(name) for name in bank.unit.values]
        np.testing.assert_allclose(predicted, fits.rf_fit, atol=1e-8)


def test_predict_refuses_what_was_not_fitted() -> None:
    bank = gabor_bank(np.random.default_rng(1).normal(size=(2, 7, 7)))
    fits = rfc.fit(bank, "gaussian", seed=0)
    with pytest.raises(InputError, match="u001"):
        rfc.predict(fits.isel(unit=[0]), bank)
    with pytest.raises(InputError, match="degree"):
        rfc.predict(fits, rfc.make_bank(bank.rf.values, channel=("signed",), kind="analytic", deg_per_px=1.0))


def test_one_bad_unit_raises_nothing() -> None:
    maps = np.stack([gabor_map((9, 9)) for _ in range(6)])
    maps[1], maps[2], maps[3, 0, 0], maps[4] = np.nan, 0.0, np.inf, 7.0
    maps[5, 3:5] = np.nan
    fits = rfc.fit(gabor_bank(maps), seed=0)
    words = [str(word) for word in fits.status.values]
    assert words[1:5] == ["not measured", "dead", "not finite", "flat"]
    assert np.isnan(fits.frequency.values[1:5]).all() and np.isnan(rfc.predict(fits, gabor_bank(maps))[1]).all()
    # Two rows were left out of unit 5: the same Gabor comes back.
    for name in ("frequency", "orientation", "sigma_y"):
        assert float(fits[name][5]) == pytest.approx(float(fits[name][0]), rel=1e-4)


@pytest.mark.parametrize("engine", ["batched", "compiled"])
def test_dead_units_are_not_fitted(engine: str) -> None:
    maps = np.stack([gabor_map((9, 9), orientation=angle) for angle in (0.0, 40.0, 80.0)])
    maps[1] *= 1e-7  # as good a Gabor as the others, were it not dead
    fits = rfc.fit(gabor_bank(maps), seed=0, engine=engine)
    assert fits.status.values[1] == "dead" and np.isnan(fits.frequency[1]) and int(fits.n_agree[1]) == 0
    assert np.isfinite(fits.frequency[[0, 2]]).all()
    described = rfc.describe(fits)
    assert np.isnan(described.nx[1]) and np.isnan(described.even_symmetry[1])
    assert rfc.bank.count_alive(described) == rfc.bank.count_alive(fits.isel(unit=[1, 2, 0])) == "2 alive of 3"


def test_small_and_large_maps() -> None:
    rng = np.random.default_rng(2)
    small = rfc.fit(gabor_bank(rng.normal(size=(5, 3, 3))), seed=0)
    # Nine pixels, nine numbers: the fit says that nothing is left to judge it by.
    assert all("unidentifiable on so few pixels" in str(word) for word in small.status.values)
    assert np.isnan(small.frequency_se).all() and np.isfinite(small.frequency).all()
    large = fit_one(gabor_map((64, 64), sigma_x=9, sigma_y=7, frequency=0.06, x0=-8, y0=11))
    assert large["sigma_x"] == pytest.approx(9, rel=EXACT) and large["y0"] == pytest.approx(11, rel=EXACT)


def test_words_of_wrong_calls() -> None:
    bank = gabor_bank(np.random.default_rng(0).normal(size=(2, 5, 5)))
    pair = rfc.make_bank(np.ones((1, 2, 5, 5)) * np.arange(5), channel=("on", "off"), kind="simulated")
    for call, words in {
        lambda: rfc.fit(bank, "gabour"): "gabor",
        lambda: rfc.fit(bank, engine="fast"): "compiled",
        lambda: rfc.fit(bank, workers=0): "workers",
        lambda: rfc.fit(bank, bootstrap=-1): "bootstrap",
        lambda: rfc.fit(bank, seed=-1): "seed",
        lambda: rfc.fit(bank, profile=("phase",)): "frequency",
        lambda: rfc.fit(bank, device="nonsense"): "device",
        lambda: rfc.fit(pair): "to_signed",
        lambda: rfc.fit_models(bank, ()): "models",
        lambda: rfc.fit_models(bank, criterion="dic"): "criterion",
        lambda: rfc.fit_models(bank): "noise correlation unknown",
    }.items():
        with pytest.raises(InputError, match=words):
            call()


# ---------------------------------------------------------------------------------------------------------------------
# Statuses


def test_a_width_is_never_silently_at_its_bound() -> None:
    grid = np.arange(11) - 5.0
    stripes = np.cos(2 * np.pi * 0.2 * grid)[None] * np.ones((11, 1))  # endless stripes: no envelope at all
    spike = np.zeros((11, 11))
    spike[5, 5] = 1.0  # one pixel: nothing wider than the smallest allowed width
    for values, name, side in ((stripes, "sigma_y", 1), (spike, "sigma_x", -1)):
        fits = rfc.fit(gabor_bank(values[None]), seed=0)
        word = {1: "upper", -1: "lower"}[side]
        assert f"{name} at its {word} bound" in str(fits.status.item())
        assert int(fits.at_bound.sel(parameter=name).item()) == side
        bound = float(fits.bound.sel(parameter=name, side=word))
        assert float(fits[name].item()) == pytest.approx(bound)
        assert fits.bound_reason.sel(parameter=name, side=word).item()


def test_bounds_are_kept_in_the_banks_units_and_say_so_of_every_parameter() -> None:
    maps = np.random.default_rng(2).normal(size=(40, 1, 10, 10))
    maps[3] = 0.0
    bank = rfc.make_bank(maps, channel=("signed",), kind="simulated", deg_per_px=2.0)
    for model in MODELS:
        fits = rfc.fit(bank, model, seed=0, engine="batched")
        for name in fits.parameter.values:
            low, high = fits.bound.sel(parameter=name).values
            side = fits.at_bound.sel(parameter=name).values
            # Which side is read off the published numbers: at a bound means equal to it, else strictly between.
            values = fits[name].values
            np.testing.assert_allclose(values[side == 1], high, rtol=1e-8)
            np.testing.assert_allclose(values[side == -1], low, rtol=1e-8)
            free = (side == 0) & np.isfinite(values)
            assert ((values[free] > low) & (values[free] < high)).all()
            assert all(fits.bound_reason.sel(parameter=name).values) == np.isfinite([low, high]).all()
            words = [f"{name} at its" in status for status in fits.status.values]
            assert words == (side != 0).tolist()
        assert (fits.at_bound.isel(unit=3) == 0).all()
    # 10 pixels of 2°: SDs from 0.4 to 10 px, carriers from a tenth of a cycle over the map to Nyquist, centers within.
    assert rfc.fit(bank, seed=0).bound.values.ravel() == pytest.approx(
        [-10, 10, -10, 10, -np.inf, np.inf, 0.005, 0.25, 0.8, 20, 0.8, 20]
    )


def test_words_for_few_cycles_and_nyquist() -> None:
    blob = gabor_map(frequency=0.0, phase=0.0, sigma_x=2.0, sigma_y=2.0)
    assert "few cycles" in str(rfc.fit(gabor_bank(blob[None]), seed=0).status.item())
    fine = gabor_map(frequency=0.47)
    assert "near Nyquist" in str(rfc.fit(gabor_bank(fine[None]), seed=0).status.item())


def test_a_diverging_amplitude_is_flagged_and_its_peak_is_not() -> None:
    # An odd pair of lobes with hardly any carrier: cos φ·E·sin(2πfu)/(2πf) has the same shape for every small f.
    edge = gabor_map(frequency=0.004, phase=90.0, sigma_x=2.0, sigma_y=2.0, amplitude=1.0)
    fits = rfc.fit(gabor_bank(edge[None] / np.abs(edge).max()), seed=0)
    assert "amplitude diverges" in str(fits.status.item())
    assert float(fits.amplitude.squeeze()) > 10 and float(fits.peak.squeeze()) == pytest.approx(1, abs=0.02)


# ---------------------------------------------------------------------------------------------------------------------
# Known failures of other tools


def test_tilts_to_either_side_are_told_apart() -> None:
    right, left = (fit_one(gabor_map(orientation=angle)) for angle in (30.0, 150.0))
    assert right["orientation"] == pytest.approx(30, abs=1e-3) and left["orientation"] == pytest.approx(150, abs=1e-3)


def test_a_baseline_does_not_drag_the_center() -> None:
    plain, lifted = (fit_one(gabor_map(x0=2.0, y0=-1.0, offset=offset)) for offset in (0.0, 25.0))
    assert lifted["x0"] == pytest.approx(2, abs=1e-4) and lifted["y0"] == pytest.approx(-1, abs=1e-4)
    assert lifted["offset"] - plain["offset"] == pytest.approx(25, abs=1e-4)


def test_an_edge_of_the_recording_does_not_drag_the_center() -> None:
    values = gabor_map((21, 21), x0=2.0, y0=-1.0) + 0.02 * np.random.default_rng(3).normal(size=(21, 21))
    values[:, 0] += 0.4  # one bad column at the border
    found = fit_one(values)
    assert found["x0"] == pytest.approx(2, abs=0.3) and found["y0"] == pytest.approx(-1, abs=0.3)


@pytest.mark.parametrize("angle", [0.0, 0.5, 89.5, 90.0, 179.5])
def test_angles_are_not_clamped_at_their_ends(angle: float) -> None:
    rng = np.random.default_rng(int(10 * angle))
    maps = np.stack([gabor_map(orientation=angle) + 0.1 * rng.normal(size=(21, 21)) for _ in range(20)])
    fits = rfc.fit(gabor_bank(maps), seed=0)
    off = (fits.orientation.values - angle + 90) % 180 - 90
    assert ((fits.orientation >= 0) & (fits.orientation < 180)).all()
    # Errors lie on both sides of the truth: nothing holds the angle at an end of its range.
    assert 3 <= (off > 0).sum() <= 17 and np.abs(off).max() < 5


# ---------------------------------------------------------------------------------------------------------------------
# Symmetries


shapes = st.builds(
    dict,
    x0=st.floats(-2, 2),
    y0=st.floats(-2, 2),
    # Away from 0 and 90, where rounding decides on which side of its range an angle comes out.
    orientation=st.floats(1, 179).filter(lambda angle: abs(angle - 90) > 1),
    frequency=st.floats(0.1, 0.3),
    sigma_x=st.floats(1.6, 3.0),
    sigma_y=st.floats(1.6, 3.0),
    phase=st.floats(0, 359.9),
    offset=st.floats(-1, 1),
)

LINEAR = ("amplitude", "offset")
SYMMETRY = 2e-4  # of a pixel, a degree or the value itself: two searches on mirrored data end this near each other


def change(found: dict[str, float], truth: dict[str, float], **expected: float) -> None:
    """`found` equals `truth` but for what is expected; angles by the shorter way round."""
    for name in ("x0", "y0", "orientation", "frequency", "sigma_x", "sigma_y", "phase", "amplitude", "offset"):
        value = expected.get(name, truth[name])
        period = {"orientation": 180.0, "phase": 360.0}.get(name)
        off = found[name] - value
        if period is not None:
            off = (off + period / 2) % period - period / 2
            assert abs(off) < 100 * SYMMETRY, name
        else:
            assert abs(off) < SYMMETRY * max(1.0, abs(value)), name


@settings(max_examples=12, deadline=None, derandomize=True)
@given(shapes)
def test_symmetries_change_exactly_the_parameters_they_should(parameters: dict[str, float]) -> None:
    values = gabor_map((19, 19), **parameters)
    truth = fit_one(values)
    here = truth["orientation"]
    # Negating turns the phase by half a period, and the offset's sign.
    change(fit_one(-values), truth, phase=truth["phase"] + 180, offset=-truth["offset"])
    # Scaling changes the linear numbers only.
    change(fit_one(3 * values), truth, amplitude=3 * truth["amplitude"], offset=3 * truth["offset"])
    # Shifting by whole pixels (into an empty margin) changes the center only.
    moved = gabor_map((19, 19), **{**parameters, "x0": parameters["x0"] + 1, "y0": parameters["y0"] - 1})
    change(fit_one(moved), truth, x0=truth["x0"] + 1, y0=truth["y0"] - 1)
    # Rotating by 90° anticlockwise (rows ascend in y, so that is k = −1). Past 180° the carrier points the other way.
    turned = fit_one(np.rot90(values, -1))
    change(
        turned, truth, x0=-truth["y0"], y0=truth["x0"], orientation=here + 90,
        phase=truth["phase"] if here + 90 < 180 else -truth["phase"],
    )  # fmt: skip
    # Mirroring left and right: the stripes' direction θ becomes 180° − θ; the carrier at θ + 90° becomes 90° − θ, which
    # is the reverse of the carrier that the mirrored orientation has by convention, (180° − θ) + 90°.
    mirrored = fit_one(values[:, ::-1])
    change(
        mirrored, truth, x0=-truth["x0"], orientation=180 - here,
        phase=-truth["phase"],
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Several channels


def test_channels_fitted_jointly_share_space_and_keep_their_amplitudes() -> None:
    on, off = gabor_map(phase=20, amplitude=2.0), gabor_map(phase=200, amplitude=0.5, offset=1.0)
    rng = np.random.default_rng(5)
    pair = np.stack([on, off])[None] + 0.05 * rng.normal(size=(1, 2, 21, 21))
    bank = rfc.make_bank(pair, channel=("on", "off"), kind="simulated")
    fits = rfc.fit(bank, joint=True, seed=0)
    assert fits.phase.dims == ("unit", "channel") and fits.frequency.dims == ("unit",)
    np.testing.assert_allclose(fits.phase.values[0], [20, 200], atol=5)
    np.testing.assert_allclose(fits.amplitude.values[0], [2.0, 0.5], atol=0.06)
    np.testing.assert_allclose(rfc.predict(fits, bank), fits.rf_fit, atol=1e-8)
    # Twice the data at the same noise: the shared frequency is known at least as well as from the stronger channel.
    alone = rfc.fit(gabor_bank(pair[:, 0]), seed=0)
    assert float(fits.frequency_se[0]) <= 1.02 * float(alone.frequency_se[0])


# ---------------------------------------------------------------------------------------------------------------------
# Noise and intervals


def test_noise_corrected_r2_is_one_when_the_model_is_right() -> None:
    rng = np.random.default_rng(6)
    clean = np.stack([gabor_map() for _ in range(60)])
    clean /= clean.std()
    sd = 0.5
    halves = clean + np.sqrt(2) * sd * rng.normal(size=(2, *clean.shape))
    known = rfc.fit(gabor_bank(clean + sd * rng.normal(size=clean.shape), noise_sd=sd), seed=0)
    split = rfc.fit(gabor_bank(halves.mean(0), half=halves[:, :, None]), seed=0)
    for fits in (known, split):
        # Signal variance 1, noise 0.25: r² is near 1/1.25 = 0.8, and 1 without the noise (its spread is about 0.02).
        assert float(fits.r2.mean()) == pytest.approx(0.8, abs=0.02)
        assert float(fits.r2_noise_corrected.mean()) == pytest.approx(1.0, abs=0.01)


def test_smooth_noise_does_not_count_as_explained() -> None:
    rng = np.random.default_rng(6)
    clean = np.stack([gabor_map() for _ in range(60)])
    clean /= clean.std()
    lag = np.arange(-6, 7)
    acf = np.exp(-(lag**2 + lag[:, None] ** 2) / 9)  # of white noise blurred with an SD of 1.5 pixels
    acf = np.broadcast_to(np.where(acf > 1e-3, acf, 0.0), (60, 13, 13))
    noise = 0.5 * draw_noise(rng, (60, 1, *clean.shape[1:]), acf)[:, 0]
    fits = rfc.fit(gabor_bank(clean + noise, noise_sd=0.5, noise_acf=acf[:, None]), seed=0)
    # Counted as white it would leave 1.035; the standard error of the mean is 0.006.
    assert float(fits.r2_noise_corrected.mean()) == pytest.approx(1.0, abs=0.02)


def test_effective_pixels() -> None:
    mask = np.ones((1, 10, 10))
    white = np.zeros((1, 1, 3, 3))
    white[..., 1, 1] = 1.0
    bank = gabor_bank(np.random.default_rng(0).normal(size=(1, 10, 10)), noise_acf=white)
    assert effective_pixels(bank, mask)[0] == 100
    # ρ = 1/2 to the left and right neighbors: of 100 pixels 90 have each, so Σρ = 100 + 2·90/2 = 190 and
    # n² / Σρ = 10000/190.
    white[..., 1, 0] = white[..., 1, 2] = 0.5
    bank = gabor_bank(np.random.default_rng(0).normal(size=(1, 10, 10)), noise_acf=white)
    assert effective_pixels(bank, mask)[0] == pytest.approx(10000 / 190)


def test_standard_errors_allow_for_correlated_noise() -> None:
    rng = np.random.default_rng(14)
    # Noise smoothed by (1, 2, 1)/4 along both sides: its autocorrelation is (1, 4, 6, 4, 1)/6 along each.
    line = np.array([1, 4, 6, 4, 1]) / 6
    acf = np.broadcast_to(np.outer(line, line), (150, 1, 5, 5))
    kernel = np.array([1, 2, 1]) / np.sqrt(6)
    white = rng.normal(size=(150, 17, 17))
    noise = sum(kernel[i] * kernel[j] * white[:, i : i + 15, j : j + 15] for i in range(3) for j in range(3))
    clean = gabor_map((15, 15), frequency=0.12, sigma_x=2.2, sigma_y=2.2)
    maps = clean / clean.std() + 0.4 * np.asarray(noise)
    known, unknown = rfc.fit(gabor_bank(maps, noise_acf=acf), seed=0), rfc.fit(gabor_bank(maps), seed=0)
    np.testing.assert_array_equal(known.frequency, unknown.frequency)
    for name, truth in {"x0": 0.0, "sigma_x": 2.2, "frequency": 0.12}.items():
        z = (known[name].values - truth) / known[f"{name}_se"].values
        # 150 standardized errors: their SD is 1 ± 3/√300 = 1 ± 0.17, and a little nonlinearity on top.
        assert 0.75 < 1.4826 * np.median(np.abs(z)) < 1.3, name
    assert float((known.x0_se / unknown.x0_se).median()) > 1.3  # white noise would have been too sure of the center
    drawn = draw_noise(rng, (400, 1, 12, 12), np.broadcast_to(np.outer(line, line), (400, 5, 5)))
    assert (drawn[..., 1:] * drawn[..., :-1]).mean() == pytest.approx(4 / 6, abs=0.05)


def test_bootstrap_and_profile_intervals_hold_the_estimate_and_are_reproducible() -> None:
    rng = np.random.default_rng(7)
    maps = np.stack([gabor_map((15, 15), orientation=angle) for angle in (1.0, 60.0, 178.0)])
    bank = gabor_bank(maps + 0.2 * rng.normal(size=maps.shape))
    names = ("orientation", "frequency", "sigma_x", "x0")
    one, two = (rfc.fit(bank, seed=3, engine="batched", bootstrap=60, profile=names) for _ in range(2))
    xr.testing.assert_identical(one, two)
    for name in names:
        for low, high in (("_ci_low", "_ci_high"), ("_profile_low", "_profile_high")):
            assert (one[name + low] < one[name]).all() and (one[name] < one[name + high]).all(), name
            # Well-determined parameters: both intervals are about 2·1.96 standard errors long.
            length = (one[name + high] - one[name + low]) / one[f"{name}_se"]
            assert ((length > 2.5) & (length < 6)).all(), name


def test_the_bootstrap_covers_where_standard_errors_do_not() -> None:
    rng = np.random.default_rng(13)
    p, linear = draw_gabors(11, 300, rng)
    few = np.flatnonzero(np.exp(p[:, 4]) * p[:, 3] < MOST_CYCLES)[:30]
    p, linear = p[few], linear[few]
    maps = map_of(MODELS["gabor"], p, linear, *axes(11))[:, 0] + rng.normal(0, np.sqrt(1 / 5), (len(few), 11, 11))
    fits = rfc.fit(gabor_bank(maps), seed=0, engine="batched", bootstrap=40)
    truth = np.exp(p[:, 4]) * p[:, 3]
    by_se = np.abs(fits.nx.values - truth) <= 1.96 * fits.nx_se.values
    by_bootstrap = (fits.nx_ci_low.values <= truth) & (truth <= fits.nx_ci_high.values)
    warned = ["standard errors approximate" in str(word) for word in fits.status.values]
    # The full calibration: 62 % by standard errors and 97 % by the bootstrap; 0.95 − 3·√(0.95·0.05/30) = 0.83.
    assert by_bootstrap.mean() >= 0.83 and by_se.mean() < 0.83
    assert np.mean(warned) > 0.85


# ---------------------------------------------------------------------------------------------------------------------
# Model selection


def test_a_gabors_limit_is_named_a_derivative_and_both_are_reported() -> None:
    edge = draw_maps("derivative1", 15, 3, np.random.default_rng(1))
    table = rfc.fit_models(rfc.make_bank(edge[:, None], channel=("signed",), kind="learned"), seed=0)
    assert (table.selected == "derivative1").all() and (table.indistinguishable.sel(model="gabor")).all()
    assert table.attrs["criterion"] == "r2" and not table.decided.any()
    assert all("not told from derivative1" in str(word) for word in fits_of(table, "gabor").status.values)
    # The maps' own model fits exactly, and the Gabor reaches it in the limit.
    assert (table.r2.sel(model="gabor") > 0.999).all()
    np.testing.assert_allclose(table.at, [0.02, 0.01, 0.05])


def test_one_models_fits_come_out_as_fitted() -> None:
    bank = rfc.make_bank(
        draw_maps("dog", 11, 3, np.random.default_rng(2))[:, None], channel=("signed",), kind="learned"
    )
    table = rfc.fit_models(bank, ("dog", "gabor"), seed=0, engine="batched")
    for model in ("dog", "gabor"):
        alone, out = rfc.fit(bank, model, seed=0, engine="batched"), rfc.check(fits_of(table, model))
        assert set(out.data_vars) == set(alone.data_vars)
        for name in set(alone.data_vars) - {"status"}:
            xr.testing.assert_equal(out[name].variable, alone[name].variable)


def test_halves_give_the_noise_and_a_prediction() -> None:
    rng = np.random.default_rng(3)
    clean = draw_maps("gabor", 11, 12, rng)
    halves = clean + rng.normal(0, 0.5, (2, *clean.shape))
    bank = gabor_bank(halves.mean(0), half=halves[:, :, None])
    table = rfc.fit_models(bank, ("constant", "gaussian", "gabor"), seed=0, engine="batched")
    assert table.attrs["criterion"] == "bic"
    assert (table.effective_pixels > 0.9 * 121).all()  # the noise is white
    other = table.r2_other_half.sel(model="gabor")
    # Signal variance 1 and noise 0.25 in each half: a perfect model predicts 1/1.25 = 0.8 of the other half.
    assert 0.7 < float(other.mean()) < 0.82
    assert float(table.r2_other_half.sel(model="constant").max()) < 0.05


# ---------------------------------------------------------------------------------------------------------------------
# Real maps


def test_published_gabors_are_rederived(shared_data: Path) -> None:
    """De & Horwitz 2021: stored images of fitted Gabors against the stored parameters."""
    folder = shared_data / "fields" / "macaque_v1_horwitz"
    images = scipy.io.loadmat(folder / "modelfits.mat")["modelfits"]
    records = scipy.io.loadmat(folder / "Gaborparams.mat")
    cells = next(value for name, value in records.items() if not name.startswith("_")).ravel()
    wave, sigma, gamma = (
        np.array([float(np.asarray(cell[name].item()).squeeze()) for cell in cells])
        for name in ("lambda", "sigma", "gamma")
    )
    # Their carrier runs along the axis that γ narrows: σ along it is σ/γ, so nx = σ/(γλ) and ny = σ/λ.
    nx, ny, along = sigma / (gamma * wave), sigma / wave, sigma / gamma
    widths = np.stack([along, sigma])
    fair = (np.minimum(nx, ny) >= 0.1) & (widths.min(0) >= 0.4) & (widths.max(0) <= 10) & (wave >= 2)
    assert fair.sum() == 224
    maps = np.stack([np.asarray(image, float) for image in images[:, 1]])
    fits = rfc.fit(rfc.make_bank(maps[:, None], channel=("signed",), kind="parametric", rows="down"), seed=0)
    close = (np.abs(fits.nx / nx - 1) < 0.01) & (np.abs(fits.ny / ny - 1) < 0.01)
    assert int((close.values & fair).sum()) >= 219
    assert ((fits.r2 >= 0.999) | (fits.status != "converged")).all()


def test_first_layer_kernels_of_a_real_network(shared_data: Path) -> None:
    weights = np.load(shared_data / "kernels" / "caffenet_conv1_96x3x11x11_bgr_f32.npy")[:, ::-1]
    bank = rfc.to_signed(rfc.make_bank(weights, channel=("r", "g", "b"), kind="learned", rows="down"))
    fits = rfc.fit(bank, seed=0)
    assert int((fits.r2 > 0.7).sum()) >= 92 and float(fits.r2.median()) >= 0.945
    predicted = rfc.predict(fits, rfc.make_bank(weights, channel=("r", "g", "b"), kind="learned", rows="down"))
    assert predicted.shape == weights.shape
