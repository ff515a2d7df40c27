"""Simulated populations hold what their truth says, and every number of theirs has a stated basis."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import rfcompare as rfc
from rfcompare.simulation import eye, parameter_table, simulate_population, simulate_treeshrew, write_treeshrew
from rfcompare.simulation.treeshrew import _STORED_STEP, find_pinwheels
from tests import sample_eye

REFERENCE = Path(rfc.__file__).parents[1] / "reference_data" / "treeshrew_simulated.h5"
MAX_BYTES = 600_000  # what the shipped file may weigh

SD_TOLERANCE = 0.03  # 200 maps of 484 pixels, about 120 of them independent: SE of an SD 0.5 %
CORRELATION_TOLERANCE = 0.02  # the same count: SE of a correlation about 0.006
PHASE_TOLERANCE = 3.0  # degrees: pixels sample the Gaussians, and the map's border cuts their tails
FLOAT32 = 1e-6


@pytest.fixture(scope="module")
def shrew() -> tuple[xr.Dataset, xr.Dataset]:
    return simulate_treeshrew(seed=11)


def test_the_bank_is_valid_and_says_that_it_is_simulated(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, truth = shrew
    assert rfc.check(bank) is bank
    assert bank.attrs["kind"] == truth.attrs["kind"] == "simulated"
    assert bank.attrs["units"] == "degree"
    assert len(set(bank.subject.values.tolist())) == 7
    assert len(set(bank.field_of_view.values.tolist())) == 8
    assert json.loads(bank.attrs["stimulus"])["class"] == "sparse noise"
    assert "not a recording" in bank.attrs["citation"]


def test_every_parameter_states_its_basis() -> None:
    table = parameter_table()
    assert {"separation", "on_scatter", "segregation", "n_animals"} <= {row["name"] for row in table}
    for row in table:
        sources = ("assumed", "Lee 2016", "Van Hooser 2013", "Veit 2014", "Yeh 2009", "Petry 1984", "treeshrew-optics")
        assert any(source in row["basis"] for source in sources), row
        assert row["meaning"]


def test_frequencies_stay_below_the_behavioral_acuity(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    # Petry 1984: acuity 1.2 to 2.4 cycles per degree, peak near 0.7.
    frequency = shrew[1].frequency.values
    assert frequency.max() < 1.2
    assert 0.3 < np.median(frequency) < 0.7


def test_map_is_signal_plus_noise_with_the_stated_sd_and_autocorrelation(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, truth = shrew
    np.testing.assert_allclose(bank.rf.values, (truth.signal + truth.noise).values, atol=FLOAT32)
    np.testing.assert_allclose(bank.rf_half.values.mean(axis=0), bank.rf.values, atol=FLOAT32)
    noise = truth.noise.values / bank.noise_sd.values[:, None, None, None]
    assert abs(noise.std() - 1) < SD_TOLERANCE
    acf = bank.noise_acf.values[0, 0]
    middle = acf.shape[0] // 2
    for dy, dx in ((0, 1), (1, 0), (1, 1), (2, 0), (0, 3)):
        product = (noise[:, :, dy:, dx:] * noise[:, :, : noise.shape[2] - dy, : noise.shape[3] - dx]).mean()
        assert abs(product - acf[middle + dy, middle + dx]) < CORRELATION_TOLERANCE
    # An element of 2 × 2 pixels: neighbors share half, diagonal ones a quarter, others nothing.
    assert acf[middle, middle : middle + 3] == pytest.approx([1, 0.5, 0])
    assert acf[middle + 1, middle + 1] == pytest.approx(0.25)


def test_halves_have_independent_noise(shrew: tuple[xr.Dataset, xr.Dataset]) -> None:
    bank, truth = shrew
    first, second = (bank.rf_half.values - truth.signal.values) / bank.noise_sd.values[:, None, None, None]
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < CORRELATION_TOLERANCE
    assert first.std() == pytest.approx(np.sqrt(2), abs=2 * SD_TOLERANCE)


def test_centers_follow_the_construction() -> None:
    _, truth = simulate_treeshrew(seed=3, on_scatter=0.0, off_scatter=0.0, on_only=0.0, off_only=0.0)
    visuotopic = np.stack([truth.visuotopic_x, truth.visuotopic_y], axis=1)
    off, on = (np.stack([truth[f"{sign}_x"], truth[f"{sign}_y"]], axis=1) for sign in ("off", "on"))
    np.testing.assert_allclose(off, visuotopic, atol=1e-12)
    # Displacement lies across the stripes, is as long as the separation, and has the drawn side.
    angle = np.deg2rad(truth.orientation.values + 90)
    across = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    np.testing.assert_allclose(on - off, (truth.separation * truth.side).values[:, None] * across, atol=1e-12)
    # The visuotopic matrix maps cortical millimeters to degrees with the stated magnification: |det| = 1/0.2² = 25.
    for name, matrix in zip(truth.field.values, truth.visuotopy.values, strict=True):
        here = np.flatnonzero(truth.field_of_view.values == name)
        cortex = np.stack([truth.cortex_x, truth.cortex_y], axis=1)[here] / 1000
        np.testing.assert_allclose(cortex @ matrix.T, visuotopic[here], atol=1e-12)
        assert abs(np.linalg.det(matrix)) == pytest.approx(25)


def test_shared_displacement_makes_the_signs_exchangeable() -> None:
    _, truth = simulate_treeshrew(
        seed=5, anchor=0.5, on_scatter=0.3, off_scatter=0.3, n_cells=400, off_only=0, on_only=0
    )
    spread = [
        np.std([truth[f"{sign}_{axis}"] - truth[f"visuotopic_{axis}"] for axis in "xy"]) for sign in ("on", "off")
    ]
    assert spread[0] / spread[1] == pytest.approx(1, abs=0.05)  # 6400 numbers each: SE of the ratio about 1.3 %


def test_without_segregation_sparse_noise_shows_one_round_place() -> None:
    bank, truth = simulate_treeshrew(seed=4, segregation=0.0)
    both = truth.cell_class.values == "both"
    assert both.mean() > 0.8
    np.testing.assert_allclose(truth.on_x.values[both], truth.off_x.values[both])
    np.testing.assert_allclose(truth.sigma, truth.length)
    assert bank.sizes["channel"] == 2


def test_layer_4_cells_are_round_and_mostly_of_one_sign() -> None:
    bank, truth = simulate_treeshrew(seed=4, layer="4", n_cells=100)
    single = truth.cell_class.values != "both"
    assert single.mean() == pytest.approx(0.9, abs=0.04)  # 800 cells: SE 0.011
    assert (truth.cell_class.values == "off only").sum() > (truth.cell_class.values == "on only").sum()
    np.testing.assert_allclose(truth.sigma, truth.length)
    assert json.loads(bank.attrs["stimulus"])["layer"] == "4"


def test_one_population_is_shown_by_two_stimuli() -> None:
    sparse, seen = simulate_treeshrew(seed=8)
    hartley, same = simulate_treeshrew(seed=8, stimulus="hartley")
    assert tuple(hartley.channel.values) == ("signed",)
    for name in ("orientation", "separation", "side", "visuotopic_x", "cortex_x"):
        np.testing.assert_array_equal(seen[name], same[name])
    np.testing.assert_array_equal(sparse.preferred_orientation, hartley.preferred_orientation)
    assert json.loads(hartley.attrs["stimulus"])["class"] == "hartley"
    other, _ = simulate_treeshrew(seed=9)
    assert not np.array_equal(other.cortex_x, sparse.cortex_x)


@pytest.mark.parametrize("stimulus", ["sparse noise", "hartley"])
def test_absolute_phase_in_closed_form_is_that_of_the_maps(stimulus: str) -> None:
    _, truth = simulate_treeshrew(seed=2, stimulus=stimulus)
    signal = truth.signal.values
    signed = signal[:, 0] - signal[:, 1] if stimulus == "sparse noise" else signal[:, 0]
    angle = np.deg2rad(truth.orientation.values)
    kx, ky = -truth.frequency.values * np.sin(angle), truth.frequency.values * np.cos(angle)
    xx, yy = np.meshgrid(truth.x, truth.y)
    wave = np.exp(-2j * np.pi * (kx[:, None, None] * xx + ky[:, None, None] * yy))
    found = np.rad2deg(np.angle((signed * wave).sum(axis=(1, 2))))
    error = np.abs((found - truth.absolute_phase.values + 180) % 360 - 180)
    assert np.median(error) < PHASE_TOLERANCE
    assert np.quantile(error, 0.95) < 5 * PHASE_TOLERANCE  # fields at the border lose a tail


def test_pinwheel_density_is_pi_per_squared_spacing() -> None:
    # A Gaussian random wave of wavelength Λ has π/Λ² zeros per area; 8 fields of (5 Λ)²: 8·25·π = 628.
    _, truth = simulate_treeshrew(seed=6, n_cells=1, field_size=3000.0, orientation_scatter=0.0)
    assert truth.sizes["pinwheel"] == pytest.approx(8 * 25 * np.pi, rel=0.1)  # number variance well below Poisson's 4 %
    assert set(np.unique(truth.pinwheel_charge)) == {-1.0, 1.0}


def test_pinwheels_are_found_where_they_are_and_unknown_places_have_none() -> None:
    axis = np.linspace(-2, 2, 9)
    xx, yy = np.meshgrid(axis - 0.25, axis - 0.25)
    orientation = np.rad2deg(np.arctan2(yy, -xx)) / 2 % 180
    x, y, charge = find_pinwheels(orientation, axis, axis)
    assert (x.tolist(), y.tolist(), charge.tolist()) == ([0.25], [0.25], [-1.0])
    assert find_pinwheels(np.full((4, 4), np.nan), axis[:4], axis[:4])[0].size == 0


def test_a_file_gives_bank_and_truth_back(tmp_path: Path) -> None:
    bank, truth = write_treeshrew(tmp_path / "shrew.h5", seed=1, n_cells=6)
    again = rfc.load(tmp_path / "shrew.h5")
    assert np.abs(again.rf_half.values - bank.rf_half.values).max() <= _STORED_STEP / 2 + FLOAT32
    np.testing.assert_allclose(again.rf_half.values.mean(axis=0), again.rf.values, atol=FLOAT32)
    assert again.attrs == bank.attrs
    with xr.open_dataset(tmp_path / "shrew.h5", group="truth") as kept:
        np.testing.assert_array_equal(kept.on_x, truth.on_x)
        assert kept.attrs["seed"] == "1"


def test_the_shipped_population_is_what_the_command_writes(tmp_path: Path) -> None:
    write_treeshrew(tmp_path / "shrew.h5", seed=0)
    assert REFERENCE.stat().st_size < MAX_BYTES
    shipped, made = rfc.load(REFERENCE), rfc.load(tmp_path / "shrew.h5")
    xr.testing.assert_allclose(shipped, made, atol=2 * _STORED_STEP)
    assert shipped.attrs["history"] == made.attrs["history"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"stimulus": "bars"}, "sparse noise, hartley"),
        ({"layer": "5"}, "2/3, 4"),
        ({"cells": 3}, "did you mean n_cells"),
        ({"n_cells": 0}, "positive whole number"),
        ({"n_cells": 2.5}, "positive whole number"),
        ({"pitch": 0.0}, "above 0"),
        ({"snr": float("nan")}, "finite"),
        ({"segregation": 1.5}, "between 0 and 1"),
        ({"n_fields": 3}, "field of view per animal"),
        ({"off_only": 0.7, "on_only": 0.6}, "sum to at most 1"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_options_are_named_in_one_sentence(options: dict[str, object], word: str) -> None:
    with pytest.raises(rfc.InputError, match=word):
        simulate_treeshrew(**options)  # type: ignore[arg-type]


# Parametric populations


def test_a_gabor_population_is_its_formula() -> None:
    bank, truth = simulate_population("gabor", n=12, deg_per_px=0.5, size=20, seed=1)
    xx, yy = np.meshgrid(bank.x, bank.y)
    for i in range(12):
        one = {name: float(truth[name][i]) for name in ("x0", "y0", "orientation", "frequency", "sigma_x", "sigma_y")}
        angle = np.deg2rad(one["orientation"] + 90)
        dx, dy = xx - one["x0"], yy - one["y0"]
        u, v = np.cos(angle) * dx + np.sin(angle) * dy, -np.sin(angle) * dx + np.cos(angle) * dy
        envelope = np.exp(-(u**2) / (2 * one["sigma_x"] ** 2) - v**2 / (2 * one["sigma_y"] ** 2))
        wave = np.cos(2 * np.pi * one["frequency"] * u + np.deg2rad(float(truth.phase[i])))
        np.testing.assert_allclose(bank.rf.values[i, 0], float(truth.amplitude[i]) * envelope * wave, atol=1e-9)
    np.testing.assert_allclose(truth.nx, truth.sigma_x * truth.frequency)


@pytest.mark.parametrize("model", ["dog", "gaussian", "derivative1", "derivative2"])
def test_other_populations_are_fitted_by_their_own_model(model: str) -> None:
    bank, _ = simulate_population(model, n=4, size=15, seed=0)
    assert float(rfc.fit(bank, model, seed=0).r2.min()) > 0.999


def test_snr_is_the_share_that_the_truth_explains() -> None:
    bank, truth = simulate_population("gabor", n=300, snr=2.0, halves=True, seed=0)
    noise = bank.rf.values[:, 0] - truth.signal.values
    share = 1 - noise.var() / bank.rf.values.var()
    assert share == pytest.approx(0.8, abs=0.02)  # 2² / (1 + 2²)
    np.testing.assert_allclose(bank.rf_half.values.mean(axis=0), bank.rf.values)
    assert noise.std() == pytest.approx(float(bank.noise_sd[0]), rel=SD_TOLERANCE)


@pytest.mark.parametrize("icc", [0.0, 0.5, 1.0])
def test_subjects_share_the_stated_part_of_the_variance(icc: float) -> None:
    bank, truth = simulate_population("gabor", n=6000, n_subjects=300, icc=icc, size=8, seed=2)
    names, subject = np.unique(bank.subject.values.astype(str), return_inverse=True)
    # One-way analysis of variance of log nx with 20 units a subject: ICC = (MSB − MSW)/(MSB + 19·MSW). nx itself is
    # cut where σx meets a bound of the grid, so it is taken back from the untouched draws of ny and frequency: log ny.
    value = np.log(truth.ny.values)
    mean = np.bincount(subject, value) / 20
    within = ((value - mean[subject]) ** 2).sum() / (6000 - len(names))
    between = 20 * mean.var(ddof=1)
    assert (between - within) / (between + 19 * within) == pytest.approx(icc, abs=0.08)  # SE about 0.03, cuts add bias


def test_phase_spread_of_zero_gives_one_polarity() -> None:
    _, truth = simulate_population("gabor", n=20, median={"polarity_phase": 180}, spread={"polarity_phase": 0}, seed=0)
    assert (truth.phase == 180).all()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "wavelet"}, "expected a model out of"),
        ({"n": 0}, "at least 1 unit"),
        ({"icc": 2.0}, "icc in"),
        ({"snr": 0.0}, "snr above 0"),
        ({"median": {"size": 3.0}}, "quantities out of"),
    ],
)
def test_wrong_populations_are_named_in_one_sentence(options: dict[str, object], word: str) -> None:
    with pytest.raises(rfc.InputError, match=word):
        simulate_population(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"n": 2.5}, "n to be a whole number"),
        ({"size": "big"}, "size to be a whole number"),
        ({"snr": "high"}, "snr to be a number"),
        ({"deg_per_px": (1, 2)}, "deg_per_px to be a number"),
        ({"median": {"nx": -1.0}}, "medians above 0"),
        ({"median": {"nx": "wide"}}, "nx to be a number"),
        ({"spread": {"ny": float("nan")}}, "spreads of at least 0"),
    ],
)
def test_numbers_of_a_population_that_do_not_fit_are_one_sentence(given: dict[str, object], says: str) -> None:
    with pytest.raises(rfc.InputError, match=says):
        simulate_population(**{"n": 5, "seed": 0, **given})
    with pytest.raises(rfc.InputError, match="n_cells to be a positive whole number"):
        simulate_treeshrew(n_cells=True)


EYE = Path(rfc.__file__).parents[1] / "../shared/data/treeshrew"
OPTICS_TOLERANCE = 0.011
"""What three Gaussians leave of the measured modulation at most."""


def test_the_tables_of_the_eye_are_what_a_fit_to_the_measurements_gives() -> None:
    if not EYE.exists():
        pytest.skip("../shared/data holds no measurements of a tree shrew's eye")
    optics, worst = sample_eye.fitted_optics(EYE / "mtf_265OD_0D_4mm_radial.csv")
    share, sd = eye.point_spread()
    np.testing.assert_allclose(np.stack([share, sd]), optics[["share", "sd_deg"]].to_numpy().T, rtol=1e-3)
    assert worst < OPTICS_TOLERANCE
    fitted = sample_eye.fitted_sensitivity(EYE / "csfData_Casagrande1984.mat")
    shipped = rfc.reference("treeshrew-contrast-sensitivity")
    np.testing.assert_allclose(shipped.to_numpy(float), fitted.to_numpy(float), rtol=1e-3)


def test_sensitivity_peaks_where_the_paper_says_and_ends_at_the_acuity_it_states() -> None:
    table = rfc.reference("treeshrew-contrast-sensitivity")
    # "Peak sensitivity at approximately 0.7 c/deg", "estimates of grating acuity ranged from 1.2 to 2.4" (abstract).
    assert table["cutoff"].between(1.1, 2.4).all() and table["peak_frequency"].median() == pytest.approx(0.7, abs=0.1)
    at = table["peak_frequency"].to_numpy()
    np.testing.assert_allclose(np.diag(eye.contrast_sensitivity(at)), table["peak_sensitivity"], rtol=1e-6)
    np.testing.assert_allclose(np.diag(eye.contrast_sensitivity(table["cutoff"])), 1, rtol=1e-3)
    assert (eye.contrast_sensitivity(2 * at).to_numpy().diagonal() < table["peak_sensitivity"]).all()


def test_simulated_fields_are_seen_through_the_measured_optics() -> None:
    """The spectrum of every map is that of a map without optics times the eye's modulation."""
    how = {"n_cells": 2, "size": 64, "pitch": 0.2, "seed": 3, "element": 0.01}
    plain, seen = (rfc.simulate_treeshrew(optics=optics, **how)[1].signal.values for optics in (0.0, 1.0))
    frequency = np.fft.fftfreq(64, 0.2)
    expected = eye.modulation(np.hypot(*np.meshgrid(frequency, frequency)))
    spectra = [np.abs(np.fft.fft2(maps)) for maps in (plain, seen)]
    strong = spectra[0] > 1e-3 * spectra[0].max(axis=(2, 3), keepdims=True)
    ratio = spectra[1][strong] / spectra[0][strong]
    wanted = np.broadcast_to(expected, strong.shape)[strong]
    np.testing.assert_allclose(ratio, wanted, atol=2e-3)  # fields that reach beyond the map's edge
    assert wanted.min() < 0.95
