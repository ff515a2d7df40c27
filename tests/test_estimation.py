"""Maps from stimulus and responses: model neurons give their fields back at the right place, angle and sign."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import scipy.linalg
import scipy.ndimage
import xarray as xr

import rfcompare as rfc
from rfcompare.errors import InputError
from rfcompare.estimation import measure_like

Array = npt.NDArray[np.float64]

RECOVERED = 0.95
"""Correlation of an estimated with the true map at least: noise is below a tenth of the maps' variance here."""

SD_TOLERANCE = 0.15
"""Relative error of a noise SD from 144 pixels: two and a half standard errors, 2.5/√288."""


def oblique(size: int, phase: float = 0.5, frequency: float = 0.12, x0: float = 1.5, y0: float = -1.0) -> Array:
    """A Gabor of 30° carrier, off center, neither even nor odd, with unit energy (y up: row 0 lowest)."""
    x = np.arange(size) - (size - 1) / 2
    u = np.cos(np.pi / 6) * (x[None, :] - x0) + np.sin(np.pi / 6) * (x[:, None] - y0)
    v = -np.sin(np.pi / 6) * (x[None, :] - x0) + np.cos(np.pi / 6) * (x[:, None] - y0)
    values = np.exp(-(u**2) / 8 - v**2 / 18) * np.cos(2 * np.pi * frequency * u + phase)
    return np.asarray(values / np.linalg.norm(values))


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


def principal_angle(a: Array, b: Array) -> float:
    """Largest angle (degrees) between the spans of rows of `a` and of `b`."""
    return float(np.degrees(scipy.linalg.subspace_angles(a.reshape(len(a), -1).T, b.reshape(len(b), -1).T).max()))


def test_white_noise_gives_place_angle_sign_and_height_back() -> None:
    rng = np.random.default_rng(0)
    truth = np.stack([oblique(12), -oblique(12, phase=1.7)])
    stimulus = rng.normal(size=(12000, 12, 12))
    drive = np.einsum("tyx,uyx->tu", stimulus, truth)
    responses = drive + rng.normal(size=drive.shape)
    bank = rfc.estimate(stimulus, responses, kind="simulated", unit=["a", "b"])
    assert bank.rf.dims == ("unit", "channel", "y", "x") and bank.attrs["units"] == "px"
    for i in range(2):
        assert correlation(bank.rf.values[i], truth[i]) > RECOVERED
        for wrong in (truth[i][::-1], truth[i][:, ::-1], truth[i].T):
            assert correlation(bank.rf.values[i], wrong) < 0.7
        # A linear neuron's slopes are its weights: the regression of the estimate on the truth is 1.
        assert np.vdot(bank.rf.values[i], truth[i]) == pytest.approx(1.0, abs=0.05)
    # What the halves' difference says of the noise is what the estimate is off by.
    error = (bank.rf.values[:, 0] - truth).std(axis=(1, 2))
    assert bank.noise_sd.values == pytest.approx(error, rel=SD_TOLERANCE)
    # Analytically: slope SD = √(residual variance / frames) with residual variance ≈ 1 (noise) + 1 (other pixels).
    assert bank.noise_sd.values == pytest.approx(np.sqrt(2 / 12000), rel=SD_TOLERANCE)
    assert np.abs(bank.noise_acf.sel(lag_y=0, lag_x=[-1, 1]).values).max() < 0.2


def test_rows_down_is_the_same_field() -> None:
    rng = np.random.default_rng(1)
    truth = oblique(10)
    up = rng.normal(size=(6000, 10, 10))
    responses = (up * truth).sum((1, 2))
    one = rfc.estimate(up, responses, kind="simulated")
    other = rfc.estimate(up[:, ::-1], responses, kind="simulated", rows="down")
    assert np.allclose(one.rf, other.rf, atol=1e-6)


def test_halves_are_independent_and_average_to_the_whole() -> None:
    rng = np.random.default_rng(2)
    stimulus = rng.normal(size=(8000, 12, 12))
    bank = rfc.estimate(stimulus, rng.normal(size=(8000, 20)), kind="simulated")
    one, two = bank.rf_half.values
    # No signal at all: 20 · 144 pixels, so a correlation of independent noise has an SD of 1/√2880 = 0.019.
    assert abs(correlation(one, two)) < 0.08
    assert correlation((one + two) / 2, bank.rf.values) > 0.99


def test_sparse_noise_keeps_on_and_off_apart() -> None:
    rng = np.random.default_rng(3)
    on, off = np.zeros((9, 9)), np.zeros((9, 9))
    on[2:4, 5:7], off[5:7, 3:5] = 1.0, 0.6
    stimulus = np.zeros((16000, 81), np.int8)
    stimulus[np.arange(16000), rng.integers(0, 81, 16000)] = rng.choice([-1, 1], 16000)
    frames = stimulus.reshape(-1, 9, 9)
    rate = (np.clip(frames, 0, 1) * on).sum((1, 2)) + (np.clip(-frames, 0, 1) * off).sum((1, 2))
    spikes = rng.poisson(0.1 + rate)
    bank = rfc.estimate(
        frames,
        spikes,
        kind="measured",
        channel=("on", "off"),
        protocol={"class": "sparse noise", "element_deg": 2.0},
        deg_per_px=2.0,
    )
    assert bank.channel.values.tolist() == ["on", "off"] and json.loads(bank.attrs["stimulus"])["element_deg"] == 2.0
    assert correlation(bank.rf.sel(channel="on"), on) > RECOVERED
    assert correlation(bank.rf.sel(channel="off"), off) > 0.9
    # Spikes per presentation above the mean: 1.0 and 0.6.
    assert bank.rf.sel(channel="on").values[0, 2:4, 5:7].mean() == pytest.approx(1.0, rel=0.1)
    assert bank.rf.sel(channel="off").values[0, 5:7, 3:5].mean() == pytest.approx(0.6, rel=0.15)
    signed = rfc.to_signed(bank)
    assert correlation(signed.rf, on - off) > RECOVERED
    assert signed.noise_sd.values[0] > 0


def test_lags_find_the_response_delay() -> None:
    rng = np.random.default_rng(4)
    truth = oblique(8)
    stimulus = rng.normal(size=(6000, 8, 8))
    drive = (stimulus * truth).sum((1, 2))
    responses = np.concatenate([np.zeros(3), drive[:-3]]) + 0.5 * rng.normal(size=6000)
    bank = rfc.estimate(stimulus, responses, kind="simulated", lag=range(6), frame_s=0.02)
    assert bank.rf.dims == ("unit", "channel", "lag", "y", "x")
    power = (bank.rf.values**2).sum((0, 1, 3, 4))
    assert power.argmax() == 3 and power[3] > 10 * np.delete(power, 3).max()
    assert bank.lag.values[3] == pytest.approx(0.06)
    assert correlation(bank.rf.isel(lag=3), truth) > RECOVERED


def natural(frames: int, size: int, rng: np.random.Generator) -> Array:
    """Noise with the 1/f amplitude spectrum of natural images."""
    f = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    f[0, 0] = 1.0 / size
    white = np.fft.fft2(rng.normal(size=(frames, size, size)))
    images = np.fft.ifft2(white / f).real
    return np.asarray(images / images.std())


@pytest.mark.parametrize("method", ["ridge", "smooth"])
def test_regression_undoes_the_correlations_of_natural_stimuli(method: str) -> None:
    rng = np.random.default_rng(5)
    truth = np.stack([oblique(12), oblique(12, phase=2.0, frequency=0.09)])
    stimulus = natural(6000, 12, rng)
    drive = np.einsum("tyx,uyx->tu", stimulus, truth)
    responses = drive + drive.std(0) * rng.normal(size=drive.shape)  # half of the variance is noise
    average = rfc.estimate(stimulus, responses, kind="simulated")
    bank = rfc.estimate(stimulus, responses, kind="simulated", method=method)
    for i in range(2):
        assert correlation(bank.rf.values[i], truth[i]) > 0.85
        # Reverse correlation blurs by the stimulus's own correlations.
        assert correlation(average.rf.values[i], truth[i]) < correlation(bank.rf.values[i], truth[i]) - 0.05
    # Held out, at best the half of the variance that is not noise.
    assert bank.prediction_r2.values == pytest.approx(0.5, abs=0.05)
    assert (bank.penalty.values > 0).all() and bank.rf_half.shape == (2, 2, 1, 12, 12)
    assert correlation(bank.rf_half.values[0], bank.rf_half.values[1]) > 0.5


def test_the_penalty_grows_with_the_noise() -> None:
    rng = np.random.default_rng(6)
    stimulus = natural(3000, 10, rng)
    drive = (stimulus * oblique(10)).sum((1, 2))
    responses = np.stack([drive, drive + 5 * drive.std() * rng.normal(size=3000), rng.normal(size=3000)], axis=1)
    bank = rfc.estimate(stimulus, responses, kind="simulated", method="ridge")
    assert bank.penalty.values[0] < bank.penalty.values[1] <= bank.penalty.values[2]
    # Nothing to predict: a map of almost nothing, and no negative surprise.
    assert abs(bank.prediction_r2.values[2]) < 0.01


def test_ridge_against_the_normal_equations() -> None:
    rng = np.random.default_rng(7)
    stimulus, responses = rng.normal(size=(400, 3, 3)), rng.normal(size=400)
    bank = rfc.estimate(stimulus, responses, kind="simulated", method="ridge")
    x = stimulus.reshape(400, 9).astype(np.float32).astype(float)
    x = x - x.mean(0)
    # (XᵀX + n·λ·v)⁻¹ Xᵀr with v the mean variance.
    penalty = float(bank.penalty[0]) * 400 * (x**2).sum() / 400 / 9
    direct = np.linalg.solve(x.T @ x + penalty * np.eye(9), x.T @ (responses - responses.mean()))
    assert np.allclose(bank.rf.values.ravel(), direct, atol=1e-8)


def test_a_complex_cell_has_no_average_but_a_plane_of_filters() -> None:
    rng = np.random.default_rng(8)
    pair = np.stack([oblique(8, phase=0.0, x0=0, y0=0), oblique(8, phase=np.pi / 2, x0=0, y0=0)])
    against = np.rot90(pair[1])
    stimulus = rng.choice([-1, 1], size=(30000, 8, 8)).astype(np.int8)
    even, odd = (np.einsum("tyx,yx->t", stimulus, filter_) for filter_ in pair)
    rate = 0.4 * (even**2 + odd**2) / (1 + 0.5 * np.einsum("tyx,yx->t", stimulus, against) ** 2)
    bank = rfc.estimate(stimulus, rng.poisson(rate), kind="simulated", method="stc", n_shifts=19, progress=False)
    roles = bank.role.values.tolist()
    assert roles.count("excitatory") == 2 and roles.count("suppressive") >= 1
    assert float(bank.p[0]) > 0.001 and np.isnan(bank.eigenvalue.values[0])
    excitatory = bank.rf.values[bank.role.values == "excitatory", 0]
    # Binary pixels, 15,000 spikes: a filter is off by about √(64 · 2/15,000) rad = 5°.
    assert principal_angle(excitatory, pair) < 15
    assert principal_angle(excitatory, np.stack([np.fliplr(filter_) for filter_ in pair])) > 45
    suppressive = bank.rf.values[bank.role.values == "suppressive", 0][:1]
    assert principal_angle(suppressive, against[None]) < 20
    assert not bank.polarity_known.values[1:].any()


def test_a_cell_that_does_not_care_has_no_filters() -> None:
    rng = np.random.default_rng(9)
    found = 0
    for _ in range(10):
        stimulus = rng.normal(size=(3000, 4, 4))
        spikes = rng.poisson(0.5, 3000)
        bank = rfc.estimate(stimulus, spikes, kind="simulated", method="stc", n_shifts=19, progress=False)
        found += bank.sizes["unit"] - 1
    # Two ends tested at 0.05 each, ten times: one false filter is expected, five are beyond 1 in 300.
    assert found <= 4


def test_an_average_is_projected_out() -> None:
    rng = np.random.default_rng(10)
    truth = oblique(8)
    stimulus = rng.normal(size=(20000, 8, 8))
    spikes = rng.poisson(np.exp((stimulus * truth).sum((1, 2)) - 1))
    bank = rfc.estimate(stimulus, spikes, kind="simulated", method="stc", n_shifts=19, progress=False)
    # An exponential cell shifts the stimulus and does not change its variance: the average is everything.
    assert bank.p.values[0] < 1e-6 and correlation(bank.rf.values[0], truth) > RECOVERED
    assert all(abs(correlation(map_, truth)) < 0.3 for map_ in bank.rf.values[1:, 0])


def test_a_real_complex_cell(shared_data: Path) -> None:
    """Macaque V1, binary bars (Rust et al. 2005): a complex cell's quadrature pair in space and time."""
    file = shared_data / "fields" / "macaque_v1_rust" / "544l029.p21_stc.mat"
    with h5py.File(file, "r") as recording:
        bars = recording["stim"][()].T.astype(np.int8)  # (frame, bar)
        spikes = recording["spikes_per_frm"][()].ravel()
    frames = slice(0, 60_000)
    bank = rfc.estimate(
        bars[frames],
        spikes[frames],
        kind="measured",
        method="stc",
        lag=range(3, 9),
        frame_s=0.01,
        n_shifts=19,
        protocol={"class": "binary bars"},
        attrs={"citation": "Rust et al. 2005, doi:10.1016/j.neuron.2005.05.021"},
        cell=["544l029"],
        progress=False,
    )
    roles = bank.role.values.tolist()
    assert roles.count("excitatory") >= 2 and roles.count("suppressive") >= 1
    assert (bank.eigenvalue.values[np.array(roles) == "excitatory"] > 1.1).all()
    first, second = bank.rf.values[1, 0, :, 0], bank.rf.values[2, 0, :, 0]
    # A quadrature pair: the same spatiotemporal spectrum, filters orthogonal.
    assert abs(np.vdot(first, second)) < 0.05
    assert correlation(np.abs(np.fft.fft2(first)), np.abs(np.fft.fft2(second))) > 0.8
    # The filters are localized in the bars' middle and not at their edges.
    profile = (first**2 + second**2).sum(0)
    assert 6 <= profile.argmax() <= 17 and profile[[0, 1, -2, -1]].sum() < 0.05 * profile.sum()


# ---------------------------------------------------------------------------------------------------------------------
# Kernels as the recording would have seen them


def bank_of(maps: npt.ArrayLike, kind: str = "learned", **options: object) -> xr.Dataset:
    array = np.asarray(maps, float)
    return rfc.make_bank(array[:, None], channel=("signed",), kind=kind, **options)  # type: ignore[arg-type]


def test_the_grid_and_the_spot() -> None:
    rng = np.random.default_rng(11)
    kernels = bank_of([oblique(21, x0=0, y0=0)])
    cells = bank_of(rng.normal(size=(3, 15, 15)), kind="simulated", deg_per_px=2.0)
    sampled = measure_like(kernels, cells, by="degree", deg_per_px=1.0, steps=("grid",))
    assert (
        sampled.rf.shape == (1, 1, 15, 15) and sampled.attrs["units"] == "degree" and sampled.attrs["kind"] == "learned"
    )
    # Every second kernel pixel lies on the recording's grid: the middle one is (0, 0) on both.
    band_limited = rfc.align(kernels, cells, by="degree", deg_per_px=1.0, outside="zero")
    assert np.allclose(sampled.rf, band_limited.rf)
    seen = measure_like(kernels, cells, by="degree", deg_per_px=1.0, steps=("grid", "spot"), spot=3.0)
    # A 3° square is the mean over 3 × 3 kernel pixels of 1° (of the interpolated map, so to a few % of its peak).
    boxed = scipy.ndimage.uniform_filter(kernels.rf.values[0, 0], 3, mode="constant")[::2, ::2]
    inner = seen.rf.values[0, 0, 2:13, 2:13]
    assert np.abs(inner - boxed).max() < 0.05 * np.abs(boxed).max()
    assert json.loads(seen.attrs["measured_like"])["spot"] == 3.0
    stated = cells.assign_attrs(stimulus=json.dumps({"class": "sparse noise", "element_deg": 3.0}))
    again = measure_like(kernels, stated, by="degree", deg_per_px=1.0, steps=("grid", "spot"))
    assert np.allclose(again.rf, seen.rf)


def test_rectification_without_a_threshold_changes_nothing() -> None:
    kernels = bank_of([oblique(15)])
    same = measure_like(kernels, kernels, steps=("rectification",))
    assert np.allclose(same.rf, kernels.rf)
    cut = measure_like(kernels, kernels, steps=("rectification",), threshold=0.25).rf.values
    peak = np.abs(kernels.rf.values).max()
    assert np.allclose(cut, np.sign(kernels.rf) * np.clip(np.abs(kernels.rf) - 0.25 * peak, 0, None))


def test_noise_has_the_asked_or_the_cells_own_strength() -> None:
    rng = np.random.default_rng(12)
    kernels = bank_of(np.stack([oblique(15, phase=p) for p in np.linspace(0, 3, 40)]))
    noisy = measure_like(kernels, kernels, steps=("noise",), snr=2.0, seed=1)
    added = (noisy.rf - kernels.rf).values
    ratio = kernels.rf.values.var(axis=(1, 2, 3)) / added.var(axis=(1, 2, 3))
    # 225 pixels: the SD of a variance ratio is √(2/225) = 9 %, of the mean of 40 1.5 %.
    assert ratio.mean() == pytest.approx(2.0, rel=0.06)
    assert noisy.noise_sd.values == pytest.approx(np.sqrt(kernels.rf.values.var(axis=(1, 2, 3)) / 2))
    assert np.allclose(noisy.rf_half.mean("half"), noisy.rf)
    half_noise = (noisy.rf_half[0] - noisy.rf_half[1]).values.std() / 2
    assert half_noise == pytest.approx(noisy.noise_sd.values.mean(), rel=0.05)
    clean = np.stack([oblique(15, phase=p) for p in np.linspace(0, 3, 30)])
    sd = 0.5 * clean.std()
    cells = bank_of(clean + sd * rng.normal(size=clean.shape), kind="simulated", noise_sd=sd)
    drawn = measure_like(kernels, cells, steps=("noise",), seed=1)
    # The cells' signal has four times the variance of their noise.
    assert json.loads(drawn.attrs["measured_like"])["snr_median"] == pytest.approx(4.0, rel=0.2)
    with pytest.raises(InputError, match="give snr"):
        measure_like(kernels, kernels, steps=("noise",))


def test_noise_takes_the_recordings_autocorrelation() -> None:
    acf = np.zeros((1, 1, 3, 3))
    acf[..., 1, :] = [0.4, 1.0, 0.4]
    cells = bank_of(np.random.default_rng(13).normal(size=(1, 15, 15)), kind="simulated", noise_sd=0.1, noise_acf=acf)
    kernels = bank_of(np.stack([oblique(15)] * 60))
    noisy = measure_like(kernels, cells, by="px", steps=("grid", "noise"), snr=1.0, seed=0)
    seen = rfc.align(kernels, cells, by="px", outside="zero")
    added = (noisy.rf - seen.rf).values[:, 0]
    added /= added.std()
    assert (added[:, :, 1:] * added[:, :, :-1]).mean() == pytest.approx(0.4, abs=0.03)
    assert (added[:, 1:] * added[:, :-1]).mean() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": ("spot",)}, "only with the grid"),
        ({"steps": ("blur",)}, "expected steps"),
        ({"steps": ("rectification",), "threshold": 1.5}, "threshold"),
        ({"steps": ("noise",), "snr": -1.0}, "positive snr"),
    ],
)
def test_measure_like_refuses(options: dict[str, object], words: str) -> None:
    kernels = bank_of([oblique(15)])
    with pytest.raises(InputError, match=words):
        measure_like(kernels, kernels, **options)  # type: ignore[arg-type]


def test_estimate_refuses_what_it_cannot_use() -> None:
    rng = np.random.default_rng(14)
    stimulus, responses = rng.normal(size=(300, 4, 4)), rng.normal(size=300)
    with pytest.raises(InputError, match="equally many frames"):
        rfc.estimate(stimulus, responses[:-1], kind="simulated")
    with pytest.raises(InputError, match="finite"):
        rfc.estimate(stimulus, np.where(responses > 2, np.nan, responses), kind="simulated")
    with pytest.raises(InputError, match="protocol"):
        rfc.estimate(stimulus, responses, kind="measured")
    with pytest.raises(InputError, match="at least"):
        rfc.estimate(stimulus[:50], responses[:50], kind="simulated")
    with pytest.raises(InputError, match="expected channel"):
        rfc.estimate(stimulus, responses, kind="simulated", channel=("luminance",))
    with pytest.raises(InputError, match="lags"):
        rfc.estimate(stimulus, responses, kind="simulated", lag=[-1])
    with pytest.raises(InputError, match="method"):
        rfc.estimate(stimulus, responses, kind="simulated", method="magic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one spike"):
        rfc.estimate(stimulus, np.zeros(300), kind="simulated", method="stc")
    with pytest.raises(InputError, match="make itself, got unit"):
        rfc.estimate(stimulus, responses, kind="simulated", method="stc", unit=["a"])
    with pytest.raises(InputError, match="no keyword n_shifts"):
        rfc.estimate(stimulus, responses, kind="simulated", n_shifts=19)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"lag": 1.5}, "whole number of frames"),
        ({"lag": "a"}, "whole number of frames"),
        ({"background": float("nan")}, "background"),
        ({"background": "gray"}, "background"),
        ({"lag": [0, 1], "frame_s": -0.1}, "frame_s"),
        ({"lag": [0, 1], "frame_s": "a"}, "frame_s"),
        ({"noise_sd": 1.0}, "got noise_sd"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(given: dict[str, object], says: str) -> None:
    rng = np.random.default_rng(0)
    shown, counts = rng.normal(size=(100, 3, 4)), rng.poisson(1.0, size=(100, 2))
    with pytest.raises(InputError, match=says):
        rfc.estimate(shown, counts, kind="simulated", **given)


@pytest.mark.parametrize("method", ["sta", "stc"])
def test_recordings_that_are_none_are_one_sentence(method: str) -> None:
    rng = np.random.default_rng(0)
    shown, counts = rng.normal(size=(100, 3, 4)), rng.poisson(1.0, size=(100, 2))
    for stimulus, responses, says in (
        (np.full((100, 3, 4), "a"), counts, "real numbers"),
        (shown, ["a"] * 100, "real numbers"),
        (shown, counts + 1j, "real numbers"),
        (shown, counts[:, :0], "at least one unit"),
    ):
        with pytest.raises(InputError, match=says):
            rfc.estimate(stimulus, responses, kind="simulated", method=method)
    with pytest.raises(InputError, match=r"that varies|flat"):
        rfc.estimate(np.zeros((100, 3, 4)), counts, kind="simulated", method=method)


def test_measuring_says_what_element_it_cannot_use_and_passes_bad_kernels() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 1, 9, 9))
    stimulus = {"class": "sparse noise", "element_deg": "four"}
    cells = rfc.make_bank(
        maps, channel="signed", kind="measured", attrs={"stimulus": stimulus}, deg_per_px=0.5, noise_sd=0.3
    )
    bad = maps[..., :7, :7].copy()
    bad[0], bad[1], bad[2, 0, 0, 0] = np.nan, np.inf, np.nan
    kernels = rfc.make_bank(bad, channel="signed", kind="learned")
    for given, says in (
        ({}, "got 'four'; give spot"),
        ({"spot": -1.0}, "a side from 0"),
        ({"spot": 1e6}, "the map's 4 degree"),
        ({"spot": 1.0, "threshold": "low"}, "threshold"),
        ({"spot": 1.0, "snr": "high"}, "snr"),
    ):
        with pytest.raises(InputError, match=says):
            measure_like(kernels, cells, **given)
    seen = measure_like(kernels, cells, spot=1.0, seed=0)
    assert rfc.bank.bad_units(seen) == ["not measured", "not measured", "", ""]


@pytest.mark.parametrize("method", ["sta", "stc"])
def test_a_misspelled_keyword_is_named(method: str) -> None:
    stimulus = np.random.default_rng(0).normal(size=(200, 3, 3))
    for given, says in (
        ({"chanel": ("signed",)}, "mean channel"),
        ({"subjects": "A"}, "mean subject"),
        ({"citation": "A"}, "attrs="),
    ):
        with pytest.raises(InputError, match=says):
            rfc.estimate(stimulus, np.ones(200), kind="simulated", method=method, **given)
