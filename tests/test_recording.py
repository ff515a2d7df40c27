"""A network recorded like an animal gives back the kernels that it is made of."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner
from torch import nn

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.comparison import compare_published, published, published_tuning
from rfcompare.comparison.likeness import best_scale
from rfcompare.comparison.setting import recorded_alike
from rfcompare.errors import InputError
from rfcompare.pipeline import Study, likeness_by_layer, prepare, record_like
from rfcompare.recording import (
    field_of,
    make_stimulus,
    measure_tuning,
    natural_stimulus,
    record,
    recorded_maps,
    stimulus_like,
    tuning_descriptors,
)
from rfcompare.simulation import simulate_population

CAFFENET = Path(__file__).parents[1] / "../shared/data/kernels/caffenet_conv1_96x3x11x11_bgr_f32.npy"
LEAST_CORRELATION = 0.99
"""A linear unit of P pixels seen in N frames has r² = N/(N + P) of its map: .994 for 121 pixels and 20,000 frames."""
NOISE_TOLERANCE = 0.05


def caffenet() -> nn.Sequential:
    if not CAFFENET.exists():
        pytest.skip("../shared/data holds no kernels of CaffeNet")
    model = nn.Sequential(nn.Conv2d(3, 96, 11, 4))
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(np.load(CAFFENET)))
    return model


def luminance(model: nn.Sequential) -> np.ndarray:
    """Kernels (unit, y, x) as a gray stimulus sees them, row 0 lowest."""
    return model[0].weight.sum(1).detach().numpy()[:, ::-1].astype(float)


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (each.reshape(len(each), -1) - each.reshape(len(each), -1).mean(1, keepdims=True) for each in (a, b))
    return (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))


class Energy(nn.Module):
    """Squared answers of a quadrature pair, summed, less a share of what a round surround sees."""

    def __init__(self, surround: float) -> None:
        super().__init__()
        at = torch.arange(21) - 10.0
        envelope = torch.exp(-(at**2 + at[:, None] ** 2) / 18)
        pair = [envelope * wave(2 * torch.pi * 0.2 * at) for wave in (torch.cos, torch.sin)]
        self.pair, self.surround = nn.Conv2d(1, 2, 21, bias=False), surround
        with torch.no_grad():
            self.pair.weight.copy_(torch.stack(pair)[:, None])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        energy = (self.pair(image) ** 2).sum(1, keepdim=True)
        return energy / (1 + self.surround * nn.functional.avg_pool2d(image**2, 21, 1))


@pytest.fixture(scope="module")
def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 5, 2, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 4, 3)).eval()


@pytest.mark.parametrize("name", ["white noise", "sparse noise"])
def test_noise_gives_a_first_layers_kernels_back_and_knows_its_own_noise(name: str) -> None:
    model = caffenet()
    truth = luminance(model)
    bank = recorded_maps(record(model, "0", name, n_frames=20_000, seed=3, progress=False))
    maps = bank.rf.values[:, 0]
    assert bank.attrs["kind"] == "in-silico"
    assert correlation(maps, truth).min() > LEAST_CORRELATION
    error = np.sqrt(((maps - truth) ** 2).mean((1, 2)))
    assert np.median(bank.noise_sd.values / error) == pytest.approx(1, abs=NOISE_TOLERANCE)


def test_on_minus_off_of_sparse_noise_is_the_kernel() -> None:
    model = caffenet()
    maps = recorded_maps(record(model, "0", "sparse noise", unit=[0, 4, 9], progress=False), channel=("on", "off"))
    signed = rfc.to_signed(maps)
    assert correlation(signed.rf.values[:, 0], luminance(model)[[0, 4, 9]]).min() > 0.98


def test_the_field_behind_pooling_is_what_arithmetic_says(small: nn.Sequential) -> None:
    # 5, then (3 − 1)·2 more by pooling, then (3 − 1)·4 more by the last convolution
    assert [field_of(small, layer).size for layer in ("0", "2", "3")] == [(5, 5), (9, 9), (17, 17)]


def test_nothing_outside_the_field_matters(small: nn.Sequential) -> None:
    field = field_of(small, "3")
    outside = torch.zeros(2, 3, *field.canvas)
    outside[1] = 7.0
    rows, columns = (slice(at, at + size) for at, size in zip(field.start, field.size, strict=True))
    outside[1, :, rows, columns] = 0.0
    from rfcompare.recording.fields import central

    first, second = central(small, "3", outside)
    assert torch.equal(first, second)


def test_a_recording_is_repeated_by_its_own_attributes(small: nn.Sequential) -> None:
    cortex = rfc.make_bank(
        np.random.default_rng(0).normal(size=(3, 1, 12, 12)),
        channel=("signed",),
        kind="simulated",
        deg_per_px=2.0,
        attrs={"stimulus": {"class": "sparse noise", "element_deg": 4.0, "density": 0.2}},
    )
    stimulus = stimulus_like(cortex, deg_per_px=1.0, n_frames=400)
    # 11 steps of 2 px and an element of 4 px
    assert (stimulus.element, stimulus.pitch, stimulus.shape) == (4.0, 2.0, (26, 26))
    assert np.abs(stimulus.frames).mean() == pytest.approx(0.2, abs=0.01)
    bank = recorded_maps(record(small, "3", like=cortex, deg_per_px=1.0, n_frames=400, progress=False))
    xr.testing.assert_equal(bank.x, cortex.x)
    xr.testing.assert_equal(bank.y, cortex.y)


def test_a_wider_element_smears_the_map_as_a_square_does() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 7, bias=False))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0, 3, 2] = 1.0
    stimulus = make_stimulus("white noise", size=9, n_frames=20_000, pitch=1.0, element=3.0)
    maps = recorded_maps(record(model, "0", stimulus, progress=False)).rf.values[0, 0]
    # the only weight lies one column left of the center; 3 × 3 points paint it
    assert (maps[3:6, 2:5].min(), np.delete(maps.ravel(), [29, 30, 31, 38, 39, 40, 47, 48, 49]).max()) == pytest.approx(
        (1, 0), abs=0.05
    )


def test_pink_noise_needs_a_regression_and_gets_it(small: nn.Sequential) -> None:
    linear = nn.Sequential(small[0])
    recording = record(linear, "0", "pink noise", n_frames=4000, progress=False)
    truth = luminance(linear)
    plain, ridge = (recorded_maps(recording, method=method).rf.values[:, 0] for method in ("sta", "ridge"))
    assert correlation(ridge, truth).min() > 0.97 > correlation(plain, truth).max()


def test_patches_of_photographs_are_a_stimulus_and_need_a_regression(small: nn.Sequential, tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(3):  # a random walk has the spectrum of photographs
        walk = rng.normal(size=(90, 120, 3)).cumsum(0).cumsum(1)
        pixels = 255 * (walk - walk.min()) / np.ptp(walk)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{number}.png")
    linear = nn.Sequential(small[0])
    recording = record(linear, "0", tmp_path, n_frames=6000, progress=False)
    assert json.loads(recording.attrs["shown"])["class"] == "natural images"
    bank = recorded_maps(recording)
    assert correlation(bank.rf.values[:, 0], luminance(linear)).min() > 0.95
    assert correlation(recorded_maps(recording, method="sta").rf.values[:, 0], luminance(linear)).max() < 0.95
    stripes = np.arange(20.0) * np.ones((1, 20, 1))
    stripes[0, -1] = 99  # the lowest row of an image is the first of a frame
    frames = natural_stimulus(stripes, size=20, n_frames=1).frames
    assert np.ptp(frames[0, 0]) == 0 and frames[0, 0, 0] == frames.max()
    for images, said in (
        (stripes[:, :5], "at least 20 × 20"),
        (0 * stripes, "some contrast"),
        (stripes[0, 0], "image"),
    ):
        with pytest.raises(InputError, match=said):
            natural_stimulus(images, size=20, n_frames=1)


def test_a_recording_that_was_stopped_goes_on_and_ends_the_same(
    small: nn.Sequential, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rfcompare.recording import sessions

    monkeypatch.setattr(sessions, "BATCH_VALUES", 3 * 17 * 17 * 100)
    whole = record(small, "3", n_frames=1000, progress=False)
    seen, ask = [], sessions.central

    def stopped(*given: object) -> torch.Tensor:
        seen.append(given)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return ask(*given)

    monkeypatch.setattr(sessions, "central", stopped)
    with pytest.raises(KeyboardInterrupt):
        record(small, "3", n_frames=1000, keep=tmp_path, progress=False)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 4
    kept[0].write_bytes(b"torn")  # is made again
    again = record(small, "3", n_frames=1000, keep=tmp_path, progress=False)
    xr.testing.assert_identical(again, whole)
    n_parts = -(-1000 // (3 * 17 * 17 * 100 // (3 * np.prod(field_of(small, "3").canvas))))
    assert len(seen) == 5 + n_parts - 3 and not list(tmp_path.iterdir())
    record(small, "3", n_frames=1000, seed=1, keep=tmp_path, progress=False)
    assert len(seen) == 5 + n_parts - 3 + n_parts  # of another stimulus nothing is kept


def test_spikes_are_counts_at_the_mean_that_was_asked_for(small: nn.Sequential) -> None:
    spiking = record(small, "1", n_frames=20_000, spikes=0.5, progress=False).response.values
    assert (spiking == spiking.round()).all()
    # mean of 20,000 counts whose variance is about 1: SE .007
    assert spiking.mean(0) == pytest.approx(0.5, abs=0.035)


def test_an_indicator_spreads_a_response_in_time(small: nn.Sequential) -> None:
    slow = record(small, "0", n_frames=5000, decay=4.0, progress=False).response.values[100:, 0]
    # of white noise, through an exponential, neighbors correlate by exp(−1/4)
    assert np.corrcoef(slow[1:], slow[:-1])[0, 1] == pytest.approx(np.exp(-1 / 4), abs=0.05)


def test_the_model_is_left_as_it_was(small: nn.Sequential) -> None:
    small.train()
    record(small, "0", n_frames=50, n_units=2, progress=False)
    assert small.training and not any(part._forward_hooks for part in small.modules())
    small.eval()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "O"}, "has no layer 'O'"),
        (
            {"layer": "3", "stimulus": make_stimulus("white noise", size=9, n_frames=10)},
            "at least as large as the field",
        ),
        ({"layer": "0", "n_units": 7}, "from 1 to the layer's 6"),
        ({"layer": "0", "unit": [6]}, "units from 0 to 5"),
        ({"layer": "0", "stimulus": "whit noise"}, "white noise, pink noise, sparse noise, or a folder"),
        ({"layer": "0", "spikes": -1.0}, "spikes to be positive"),
        ({"layer": "0", "n_frames": 0}, "at least 1"),
    ],
)
def test_bad_input_is_one_sentence(small: nn.Sequential, options: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        record(small, progress=False, **options)
    assert "\n" not in str(caught.value)


def test_a_layer_that_was_meant_is_named() -> None:
    model = nn.Sequential()
    model.add_module("features", nn.Sequential(nn.Conv2d(3, 2, 3)))
    with pytest.raises(InputError, match="did you mean features"):
        record(model, "feature.0", progress=False)


def test_a_network_of_another_size_says_what_it_got() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    with pytest.raises(InputError, match="3 channels of 224 × 224 pixels"):
        record(model, "2", progress=False)
    assert record(model, "2", canvas=8, n_frames=20, progress=False).sizes["unit"] == 3


def test_an_energy_unit_has_no_linear_map() -> None:
    """It squares a quadrature pair: it answers, and no linear map drives it."""
    bank = recorded_maps(record(nn.Sequential(Energy(0.0)), "0", n_frames=8000, progress=False))
    first, second = bank.rf_half.values[:, 0, 0]
    # 441 independent pixels: SD of a correlation without a map is 1/√441 = .05
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.2
    assert bank.rf.values.std() / bank.noise_sd.values[0] == pytest.approx(1, abs=0.15)


def test_an_untrained_networks_maps_are_unstructured() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 32, 11, 4), nn.ReLU())
    table = rfc.classify(recorded_maps(record(model, "1", n_frames=5000, progress=False)))
    # each is called so with probability .95 at the level of the test of noise, or less
    assert (table["profile"] == "unstructured").mean() > 0.8


# ---------------------------------------------------------------------------------------------- beside a recording


@pytest.fixture
def few_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four maps of every reference are fitted, in place of 24: what they give is not looked at here."""
    monkeypatch.setattr("rfcompare.comparison.nearness.N_FITTED", 4)


ALIKE = 0.2
"""Of a likeness's interval, by which the recorded network and the shortcut differ: one draw of noise each."""


def kernels_of_a_kind(name: str) -> xr.Dataset:
    if name == "gabors":
        return simulate_population(n=96, size=11, seed=3)[0]
    return rfc.make_bank(luminance(caffenet())[:, None], channel=("signed",), kind="learned")


@pytest.mark.parametrize("name", ["gabors", "caffenet"])
def test_a_spiking_network_recorded_like_the_shrew_is_as_alike_as_its_kernels_seen_through_the_recording(
    name: str,
) -> None:
    """The likeness shows kernels to the recording by a formula; here spikes are counted instead."""
    shrew = rfc.to_signed(rfc.open_fields("reference:treeshrew-simulated"))
    kernels = kernels_of_a_kind(name)
    size, _ = best_scale(shrew, kernels)
    network = nn.Sequential(rfc.to_module(kernels), nn.ReLU())
    recording = record(network, "1", like=shrew, deg_per_px=size, n_frames=20_000, spikes=0.5, progress=False)
    seen, shortcut = (rfc.likeness(shrew, each, references=False) for each in (recorded_maps(recording), kernels))
    a, b = (result.sel(quantity="likeness") for result in (seen, shortcut))
    assert float(b.ci_low) < float(a.effect) < float(b.ci_high) and float(a.ci_low) < float(b.effect) < float(a.ci_high)
    assert abs(float(a.effect - b.effect)) < ALIKE * float(b.ci_high - b.ci_low)
    assert seen.attrs["kind_b"] == "in-silico" and "recorded with the cells' stimulus" in seen.attrs["small_print"]


@pytest.mark.usefixtures("few_fitted")
def test_a_recorded_network_is_not_shown_the_stimulus_twice() -> None:
    cortex, _ = simulate_population(n=60, size=15, seed=0)
    cortex = cortex.assign_attrs(kind="simulated", stimulus='{"class": "sparse noise"}')
    bank = recorded_maps(record(simulate_population(n=40, size=9, seed=1)[0], like=cortex, n_frames=4000))
    assert recorded_alike(bank, cortex) and not recorded_alike(bank.assign_attrs(kind="learned"), cortex)
    assert not recorded_alike(bank, cortex.assign_coords(x=cortex.x * 2))
    result = rfc.likeness(cortex, bank)
    assert result.attrs["recorded"] == 1 and result.sizes["scale"] == 1 and np.isfinite(result.distance).all()
    with pytest.raises(InputError, match="record it again"):
        rfc.likeness(cortex, bank.assign_attrs(field="eleven"))


@pytest.mark.parametrize("units", ["px", "degree"])
@pytest.mark.usefixtures("few_fitted")
def test_a_study_records_a_network_and_says_so_everywhere(units: str, tmp_path: Path) -> None:
    cells, _ = simulate_population(n=60, size=15, seed=0)
    if units == "degree":
        cells = rfc.make_bank(cells.rf.values, channel=("signed",), kind="simulated", deg_per_px=0.5)
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 12, 3))
    study = Study.make(cells, network, record=True, kernels_layer="2")
    assert study.network.kind == "in-silico" and study.network.label == "Sequential 2, recorded"
    assert study.results.attrs["recorded"] == 1 and "in-silico kernels" in study.answer()
    assert study.manifest()["options"]["record"] is True
    rungs = rfc.figures.ladder({"network – cells": study.results})  # the size of its pixel is no longer open
    assert (
        len(rungs.axes) == 2
        and "unknown scale" not in rfc.figures.caption(rungs)
        and "(b) The likeness" in rfc.figures.caption(rungs)
    )
    assert set(study.tables()["results"].kind_b) == {"in-silico"}
    if units == "degree":  # 9 pixels of 0.2° are seen, as said
        given = record_like(network, cells, layer="2", deg_per_px=0.2)
        assert json.loads(given.attrs["field"]) == [9, 9] and json.loads(given.attrs["stimulus"])["pitch_px"] == 2.5
        with pytest.raises(InputError, match="at least as large as the field"):
            record_like(network, cells, layer="2", deg_per_px=1.0)
    else:
        with pytest.raises(InputError, match="recording in pixels"):
            record_like(network, cells, layer="2", deg_per_px=0.2)


def test_layers_are_recorded_one_by_one() -> None:
    cells, _ = simulate_population(n=40, size=15, seed=0)
    torch.manual_seed(4)
    network = nn.Sequential(nn.Conv2d(3, 8, 5, 2), nn.ReLU(), nn.Conv2d(8, 12, 3))
    found = likeness_by_layer(network, ["0", "2"], cells)
    assert list(found) == ["0", "2"] and all(result.attrs["kind_b"] == "in-silico" for result in found.values())
    assert found["2"].attrs["pixel"] <= 14 / 9  # 9 pixels of the network are seen within 14 steps of the stimulus
    with pytest.raises(InputError, match="each once"):
        likeness_by_layer(network, ["0", "0"], cells)


@pytest.mark.usefixtures("few_fitted")
def test_the_command_compares_a_recorded_network(tmp_path: Path) -> None:
    cells, _ = simulate_population(n=40, size=13, seed=0)
    kernels, _ = simulate_population(n=30, size=9, seed=1)
    for name, bank in (("cells", cells), ("kernels", kernels)):
        rfc.save(bank, tmp_path / f"{name}.h5")
    call = [
        "compare",
        "--record",
        "--fields",
        str(tmp_path / "cells.h5"),
        "--kernels",
        f"net={tmp_path / 'kernels.h5'}",
    ]
    done = CliRunner().invoke(main, [*call, "-o", str(tmp_path / "r.csv")])
    assert done.exit_code == 0 and "recorded with the cells' stimulus" in done.output, done.output
    assert "in-silico" in (tmp_path / "r_ladder.csv").read_text()
    both = CliRunner().invoke(main, [*call, "--kernels", str(tmp_path / "cells.h5"), "-o", str(tmp_path / "s.csv")])
    assert both.exit_code == 2 and "record them first" in both.output


def test_units_that_never_answer_are_named_and_none_at_all_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[:] = torch.tensor([0.0, -100.0, 0.0])
    assert '"dead": [1]' in record(model, "1", n_frames=100, progress=False).attrs["recorded"]
    with pytest.raises(InputError, match="none does"):
        record(model, "1", n_frames=100, unit=[1], progress=False)


def test_the_command_records_a_network_like_a_recording(tmp_path: Path) -> None:
    like, out = tmp_path / "fields.h5", tmp_path / "bank.h5"
    maps = np.random.default_rng(0).normal(size=(3, 1, 16, 16))
    said = {"stimulus": {"class": "sparse noise", "element_deg": 2.0}}
    rfc.save(rfc.make_bank(maps, channel=("signed",), kind="simulated", deg_per_px=1.0, attrs=said), like)
    call = ["record", "alexnet", "--weights", "none", "--layer", "features.0", "--like", str(like), "-o", str(out)]
    more = ["--deg-per-px", "0.5", "--frames", "300", "--units", "5"]
    done = CliRunner().invoke(main, [*call, *more])
    assert done.exit_code == 0, done.output
    bank = rfc.load(out)
    assert bank.attrs["kind"] == "in-silico" and bank.sizes["unit"] == 5
    xr.testing.assert_equal(bank.x, rfc.load(like).x)
    wrong = CliRunner().invoke(main, [part.replace("features.0", "feature.0") for part in [*call, *more]])
    assert wrong.exit_code == 2 and "did you mean features.0" in wrong.output


def test_maps_are_recorded_as_the_kernels_of_a_first_layer() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 5, 5))
    bank = rfc.make_bank(maps[:, None], channel=("signed",), kind="analytic", rows="down", unit=["a", "b", "c"])
    recordings = [rfc.record(given, n_frames=4000, progress=False) for given in (bank, prepare(bank))]
    recordings.append(rfc.record(maps, kind="analytic", n_frames=4000, progress=False))
    for recording in recordings:
        assert np.array_equal(recording.response, recordings[0].response)
    found = recorded_maps(recordings[0])
    assert found.unit.values.tolist() == ["a", "b", "c"] and found.attrs["kind"] == "in-silico"
    assert correlation(found.rf.values[:, 0], bank.rf.values[:, 0]).min() > LEAST_CORRELATION
    with pytest.raises(InputError, match="leave it out"):
        rfc.record(bank, "0")
    with pytest.raises(InputError, match="layer by name"):
        rfc.record(nn.Sequential(nn.Conv2d(1, 2, 3)))


# --------------------------------------------------------------------------------------------------------- gratings

DEGREES, SHARE = 3.0, 0.05
"""Of a preferred orientation, and of a bandwidth: gratings 7.5° and a quarter of an octave apart, read by a spline."""


def gabor_kernels(n: int = 10, size: int = 21) -> tuple[xr.Dataset, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    ranges = {"orientation": (0, 180), "frequency": (0.17, 0.25), "nx": (0.35, 0.55), "ny": (0.35, 0.55)}
    truth = {name: rng.uniform(low, high, n) for name, (low, high) in ranges.items()}
    at = np.arange(size) - (size - 1) / 2
    angle = np.deg2rad(truth["orientation"] + 90)[:, None, None]
    u, v = at * np.cos(angle) + at[:, None] * np.sin(angle), at[:, None] * np.cos(angle) - at * np.sin(angle)
    f, nx, ny = (truth[name][:, None, None] for name in ("frequency", "nx", "ny"))
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    maps = np.exp(-((u * f / nx) ** 2 + (v * f / ny) ** 2) / 2) * np.cos(2 * np.pi * f * u + phase)
    return rfc.make_bank(maps[:, None], channel=("signed",), kind="analytic"), truth


def test_gratings_give_each_gabors_orientation_frequency_and_bandwidths() -> None:
    bank, truth = gabor_kernels()
    tuned = measure_tuning(bank, progress=False)
    off = (tuned.preferred_orientation.values - truth["orientation"] + 90) % 180 - 90
    assert np.abs(off).max() < DEGREES
    np.testing.assert_allclose(tuned.preferred_frequency, truth["frequency"], rtol=SHARE)
    half = np.sqrt(np.log(2) / 2) / np.pi
    nx, ny = truth["nx"], truth["ny"]
    np.testing.assert_allclose(tuned.bandwidth_octaves, np.log2((nx + half) / (nx - half)), rtol=SHARE)
    # along the circle of its frequency, of which the half-width of a Gabor's parameters is the tangent
    turn = np.deg2rad(np.linspace(0, 90, 9001))[:, None]
    fallen = 2 * np.pi**2 * ((nx * (1 - np.cos(turn))) ** 2 + (ny * np.sin(turn)) ** 2) > np.log(2)
    np.testing.assert_allclose(tuned.orientation_half_width, np.rad2deg(turn[fallen.argmax(0), 0]), rtol=SHARE)
    assert np.isinf(tuned.f1_f0).all() and (tuned.orthogonal_ratio < 0.05).all()


def test_an_energy_unit_is_complex_and_a_rectified_one_simple() -> None:
    tuned = measure_tuning(nn.Sequential(Energy(0.0)), "0", progress=False)
    assert tuned.f1_f0.item() < 0.2 and tuned.preferred_orientation.item() == pytest.approx(90, abs=DEGREES)
    bank, _ = gabor_kernels(2)
    simple = measure_tuning(nn.Sequential(rfc.to_module(bank), nn.ReLU()), "1", progress=False)
    assert simple.f1_f0.values == pytest.approx(np.pi / 2, rel=SHARE)  # of a wave's upper half


def test_a_surround_that_divides_suppresses_large_gratings() -> None:
    models = (nn.Sequential(Energy(surround)) for surround in (0.0, 20.0))
    plain, divided = (measure_tuning(model, "0", progress=False) for model in models)
    assert plain.suppression_index.item() < 0.05 < 0.2 < divided.suppression_index.item()
    assert divided.preferred_size.item() < plain.preferred_size.item() <= 21


def test_units_are_counted_in_the_histograms_of_cells_that_saw_gratings() -> None:
    bank, _ = gabor_kernels(12)
    own = tuning_descriptors(measure_tuning(bank, progress=False), deg_per_px=0.05)
    np.testing.assert_allclose(own.cutoff_ratio, rfc.describe(rfc.fit(bank, "gabor", seed=0)).cutoff_ratio, rtol=SHARE)
    result = compare_published(own, distributions=published_tuning(), nulls={"same": own}, n_permutation=99)
    row = result.sel(quantity="devalois1982_frequency_brainscore")
    # peaks of 0.17 to 0.25 cycles per 0.05° lie in 2.8 to 5.6: at least all other published cells must move
    counts = published("devalois1982_frequency", read_from="brainscore").counts
    assert float(row.effect) > 1 - counts[6:8].sum() / counts.sum() and float(row.null) == float(row.effect)
    assert np.isfinite(result.sel(quantity="cavanaugh2002_summation_field_deg").effect)
    no_scale = tuning_descriptors(measure_tuning(bank, progress=False))
    note = compare_published(no_scale, distributions=published_tuning(), n_permutation=99).note
    assert str(note.sel(quantity="devalois1982_frequency_brainscore").item()).startswith("not compared")
    with pytest.raises(InputError, match="positive"):
        tuning_descriptors(measure_tuning(bank, progress=False), deg_per_px=0)
    with pytest.raises(InputError, match="among suppression_index, summation_field_deg"):
        published("cavanaugh2002")


def test_the_command_tunes_a_network(tmp_path: Path) -> None:
    call = ["tune", "alexnet", "--weights", "none", "--layer", "features.0", "--units", "4", "-o"]
    done = CliRunner().invoke(main, [*call, str(tmp_path / "t.csv")])
    assert done.exit_code == 0 and "4 units of features.0 of alexnet, in silico" in done.output, done.output
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 5
    assert "cavanaugh2002_suppression_index" in (tmp_path / "t_published.csv").read_text()


# -------------------------------------------------------------------------------------------------------- synthesis

EXACT = 0.99
"""Correlation with a kernel, which a climb of 120 steps misses by less than .001."""


def test_the_image_that_excites_a_linear_unit_most_is_its_kernel(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 6, 7, 2), nn.ReLU())
    kernels = model[0].weight.detach().numpy()[:, :, ::-1]
    for layer in ("0", "1"):  # a rectified unit's slope is 0 below its threshold: climbs begin above it
        images = rfc.synthesize(model, layer, progress=False)
        assert correlation(images.rf.values, kernels).min() > EXACT
        assert images.polarity_known.all() and (images.n_agree > 1).all()
    np.testing.assert_allclose(np.linalg.norm(images.rf.values.reshape(6, -1), axis=1), np.sqrt(3 * 7 * 7), rtol=1e-6)
    rfc.save(images, tmp_path / "images.h5")
    again = rfc.load(tmp_path / "images.h5")
    assert again.attrs["kind"] == "model-derived" and again.unit.values.tolist() == [f"1:{at}" for at in range(6)]
    assert prepare(again).fits.attrs["kind"] == "model-derived"


def test_the_images_of_real_kernels_are_the_kernels() -> None:
    model = caffenet()
    images = rfc.synthesize(model, "0", channel_order="bgr", progress=False)
    kernels = model[0].weight.detach().numpy()[:, ::-1, ::-1]
    assert correlation(images.rf.values, kernels).min() > EXACT


def test_what_suppresses_a_linear_unit_is_the_negative_and_is_shown_as_the_same_map(small: nn.Sequential) -> None:
    both = rfc.synthesize(small, "0", [0, 2], polarity="both", norm=3.0, progress=False)
    assert both.unit.values.tolist() == ["0:0+", "0:0-", "0:2+", "0:2-"]
    maps = both.rf.values
    assert correlation(maps[::2], maps[1::2]).min() > EXACT
    np.testing.assert_allclose(both.response, -both.response_reversed, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(maps.reshape(4, -1), axis=1), 3.0, rtol=1e-6)


def test_an_energy_units_image_has_its_pairs_orientation_and_frequency_and_no_sign() -> None:
    image = rfc.synthesize(nn.Sequential(Energy(0.0)), "0", progress=False)
    fits = rfc.fit(image, "gabor", seed=0)
    assert fits.orientation.item() == pytest.approx(90, abs=DEGREES) and fits.r2.item() > EXACT
    assert fits.frequency.item() == pytest.approx(0.2, rel=SHARE)
    assert not image.polarity_known.item() and image.response.item() == pytest.approx(image.response_reversed.item())
    assert rfc.describe(fits).on_off_balance.isnull().all()


def test_a_blur_that_stays_smooths_the_image() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 3, 15))
    sharp, smooth = (rfc.synthesize(model, "0", blur=blur, progress=False).rf.values for blur in (0.0, 2.0))
    # a Gaussian of 2 px on white noise leaves 1/(1 + 2·σ²/½) of its differences' energy, about a tenth
    rough = [(np.diff(maps, axis=-1) ** 2).sum() / (maps**2).sum() for maps in (sharp, smooth)]
    assert rough[1] < 0.2 * rough[0]


def test_climbs_are_repeated_by_their_seed_and_do_not_depend_on_company(small: nn.Sequential) -> None:
    one, several = (rfc.synthesize(small, "3", units, progress=False) for units in ([1], [0, 1]))
    assert one.rf.shape[2:] == (17, 17)
    np.testing.assert_allclose(one.rf[0], several.rf[1], rtol=1e-3, atol=1e-3)
    assert not np.allclose(one.rf, rfc.synthesize(small, "3", [1], seed=1, progress=False).rf, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "O"}, "has no layer 'O'"),
        ({"unit": 6}, "units from 0 to 5"),
        ({"polarity": "up"}, "polarity among excite, suppress, both"),
        ({"norm": 0.0}, "norm to be positive"),
        ({"blur": -1.0}, "blur to be at least 0"),
        ({"channel_order": "grb"}, "rgb or bgr"),
        ({"steps": 3}, "steps"),
    ],
)
def test_bad_input_of_a_climb_is_one_sentence(small: nn.Sequential, options: dict, said: str) -> None:
    with pytest.raises((InputError, TypeError), match=said) as caught:
        rfc.synthesize(small, **{"layer": "0", "progress": False, **options})
    assert "\n" not in str(caught.value)


def test_a_unit_that_answers_no_image_is_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias[1] = -1000.0
    with pytest.raises(InputError, match="got unit 1 without an answer to 512 images"):
        rfc.synthesize(model, "1", progress=False)
    with pytest.raises(InputError, match="1 or 3 channels, Sequential sees 5"):
        rfc.synthesize(nn.Sequential(nn.Conv2d(5, 2, 3)), "0", progress=False)


def test_the_command_synthesizes_images(tmp_path: Path) -> None:
    out = tmp_path / "images.h5"
    call = ["synthesize", "alexnet", "--weights", "none", "--layer", "features.0", "--units", "3", "-o", str(out)]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0 and "3 images of 11 × 11" in done.output, done.output
    assert rfc.load(out).attrs["kind"] == "model-derived"
