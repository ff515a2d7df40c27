"""From a recording's file to maps: spikes on the frames' clock, the lag found again, p that means what it says."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import rfcompare as rfc
from rfcompare.cli import main
from rfcompare.estimation import estimate_maps
from rfcompare.estimation import recordings as recordings_room
from rfcompare.sources.recordings import read_recording

FRAME_S = 0.02
LAG = 3


def recording(path: Path, seed: int = 0, n: int = 3000) -> np.ndarray:
    """A file of white noise and the spike times of two cells, the second of which sees nothing."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(n, 5, 6))
    truth = np.zeros((5, 6))
    truth[1, 2], truth[1, 3] = 1.0, -1.0  # row 1 from the top
    drive = np.roll((frames * truth).sum((1, 2)), LAG)
    counts = rng.poisson(np.stack([np.exp(0.5 * drive - 0.5), np.full(n, 0.6)]))
    with h5py.File(path, "w") as file:
        file["shown"] = frames
        file["onset"] = 10.0 + FRAME_S * np.arange(n)
        for cell, row in enumerate(counts):
            # each spike at a random moment within its frame
            times = np.repeat(np.arange(n), row) + rng.uniform(0, 1, row.sum())
            file[f"spikes/cell{cell}"] = 10.0 + FRAME_S * np.sort(times)
        file["counts"] = counts
        file["late"] = np.array([10.01, 10.03, 9.0, 10.0 + FRAME_S * n + 1])
    return truth


LAYOUT = {"frames": "/shown", "spike_times": "/spikes/*", "frame_times": "/onset", "kind": "simulated"}


def test_spike_times_are_counted_in_the_frames_they_fall_into(tmp_path: Path) -> None:
    recording(tmp_path / "r.h5")
    read = read_recording(tmp_path / "r.h5", LAYOUT)
    with h5py.File(tmp_path / "r.h5") as file:
        assert np.array_equal(read.responses.T, file["counts"][()])
    assert read.outside == 0 and read.options["frame_s"] == pytest.approx(FRAME_S)
    # 10.01 s lies in frame 0 (10.00 to 10.02), 10.03 in frame 1; one spike came before and one after all frames.
    late = read_recording(tmp_path / "r.h5", {**LAYOUT, "spike_times": "/late"})
    assert late.responses[:3, 0].tolist() == [1.0, 1.0, 0.0] and late.outside == 2


def test_an_archive_of_numpy_is_a_recording_as_well(tmp_path: Path) -> None:
    recording(tmp_path / "r.h5", n=200)
    with h5py.File(tmp_path / "r.h5") as file:
        np.savez(tmp_path / "r.npz", shown=file["shown"][()], counts=file["counts"][()].T)
    assert "estimate r.npz" in rfc.sources.inspect(tmp_path / "r.npz")
    read = read_recording(tmp_path / "r.npz", {"frames": "/shown", "responses": "/counts"})
    assert read.frames.shape == (200, 5, 6) and read.responses.shape == (200, 2)


def test_the_command_finds_map_lag_and_significance_again(tmp_path: Path) -> None:
    truth = recording(tmp_path / "r.h5")
    layout = tmp_path / "l.toml"
    layout.write_text("".join(f'{name} = "{value}"\n' for name, value in LAYOUT.items()))
    out = tmp_path / "bank.h5"
    done = CliRunner().invoke(
        main, ["estimate", str(tmp_path / "r.h5"), "--layout", str(layout), "--shifts", "19", "-o", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert "2 units from 3000 frames (simulated): 1 with a map" in done.output
    bank = rfc.open_fields(out)
    assert float(bank.lag_s[0]) == pytest.approx(LAG * FRAME_S)
    assert float(bank.p[0]) == 0.05 and float(bank.p[1]) > 0.05  # 1/20 is the smallest of 19 shifts
    assert np.corrcoef(rfc.weights(bank)[0, 0].ravel(), truth.ravel())[0, 1] > 0.95
    assert float(bank.half_correlation[0]) > 0.9
    assert {"noise_sd", "rf_half"} <= set(bank.variables)


def test_p_of_cells_that_see_nothing_is_uniform() -> None:
    """Hypothesis: responses and stimulus are unrelated, here true of 200 cells, whose counts are correlated in time."""
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(1500, 3, 3))
    slow = np.apply_along_axis(np.convolve, 0, rng.normal(size=(1500, 200)), np.ones(5), "same")
    p = estimate_maps(frames, slow, kind="simulated", lag=range(4), n_shifts=19).p.values
    # p ≤ 0.1 is the share of 2 in 20; 200 draws have an SD of √(.1·.9/200) = 0.021: three of them.
    assert abs((p <= 0.1 + 1e-9).mean() - 0.1) < 0.064
    assert abs((p <= 0.5 + 1e-9).mean() - 0.5) < 0.106  # 3·√(.25/200)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"frame": "/shown"}, "no key frame; did you mean frames"),
        ({"frame_times": "/late"}, "3000 rising frame times"),
        ({"dims": "frame unit x"}, "expected dims of"),
        ({"responses": "/counts"}, "responses or spike_times"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, changed: dict[str, str], says: str) -> None:
    recording(tmp_path / "r.h5", n=3000)
    with pytest.raises(rfc.InputError, match=says):
        read_recording(tmp_path / "r.h5", {**LAYOUT, **changed})


def test_real_bars_are_counted_as_their_authors_counted_them(shared_data: Path) -> None:
    path = shared_data / "fields" / "macaque_v1_rust" / "544l029.p21_stc.mat"
    layout = {
        "frames": "/stim", "dims": "frame x", "spike_times": "/spk_tms", "each": "trial", "frame_times": "/stim_tms",
        "time_s": 0.001, "kind": "measured", "stimulus": {"class": "binary bars"},
    }  # fmt: skip
    read = read_recording(path, layout)
    with h5py.File(path) as file:
        counted = file["spikes_per_frm"][()].ravel()
    assert read.frames.shape == (294912, 1, 24)
    # 16,384 frames a trial; the authors' last frame of a trial has no onset after it to end by.
    assert (read.responses[:, 0] != counted).mean() < 1e-3


def test_a_real_retinal_recording_gives_maps(shared_data: Path) -> None:
    layout = {
        "frames": "/stimulus", "responses": "/response", "response_dims": "unit frame", "kind": "measured",
        "stimulus": "binary noise",
    }  # fmt: skip
    read = read_recording(shared_data / "other" / "RGC_dendrite.h5", layout)
    bank = estimate_maps(read.frames, read.responses, n_shifts=19, lag=range(4), **read.options)
    assert dict(bank.rf.sizes) == {"unit": 19, "channel": 1, "y": 20, "x": 15}
    assert (bank.p <= 0.05).sum() > 10


def in_nwb(path: Path, frames: np.ndarray, trains: list[np.ndarray], *, start: float, frame_s: float) -> None:
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile, TimeSeries

    file = NWBFile(session_description="noise", identifier="id", session_start_time=datetime(2020, 1, 1, tzinfo=UTC))
    for train in trains:
        file.add_unit(spike_times=train)
    series = TimeSeries(name="noise", data=frames, unit="a.u.", starting_time=start, rate=1 / frame_s)
    file.add_stimulus(series)
    with NWBHDF5IO(path, "w") as out:
        out.write(file)


@pytest.mark.parametrize("kind", ["nwb", "mat"])
def test_a_recording_in_nwb_or_matlab_is_drafted_and_estimated(tmp_path: Path, kind: str) -> None:
    from scipy.io import savemat

    truth = recording(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5") as file:
        frames, counts = file["shown"][()], file["counts"][()]
        trains = [file[f"spikes/cell{cell}"][()] for cell in range(2)]
    path = tmp_path / f"r.{kind}"
    if kind == "nwb":
        in_nwb(path, frames, trains, start=10.0, frame_s=FRAME_S)
    else:
        cell = np.empty((1, 2), dtype=object)
        cell[0, :] = trains
        onsets = 10.0 + FRAME_S * np.arange(len(frames))
        savemat(path, {"stim": np.moveaxis(frames, 0, 2), "spikes": cell, "frame_times": onsets})
    drafted = CliRunner().invoke(main, ["inspect", str(path)])
    assert drafted.exit_code == 0 and f"rfcompare estimate {path.name}" in drafted.output
    (tmp_path / "l.toml").write_text(drafted.output[drafted.output.index("# No maps") :])  # as it is drafted
    read = read_recording(path, tmp_path / "l.toml")
    assert np.array_equal(read.responses.T, counts)
    command = [
        "estimate",
        str(path),
        "--layout",
        str(tmp_path / "l.toml"),
        "--shifts",
        "19",
        "-o",
        str(tmp_path / "b.h5"),
    ]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    bank = rfc.load(tmp_path / "b.h5")
    assert bank.p.values[0] == 0.05 and bank.attrs["kind"] == "not stated"
    assert np.corrcoef(rfc.weights(bank)[0, 0].ravel(), truth.ravel())[0, 1] > 0.95
    if kind == "nwb":
        assert bank.unit.values.tolist() == ["unit 0", "unit 1"]


def test_a_stopped_estimate_goes_on_and_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    frames, rates = rng.normal(size=(600, 4, 4)), rng.normal(size=(600, 40))
    how = {"kind": "simulated", "n_shifts": 19, "lag": range(3), "progress": False}
    whole = estimate_maps(frames, rates, **how)
    calls = []
    estimate = recordings_room.estimate

    def stops(*args: object, **kwargs: object) -> object:
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return estimate(*args, **kwargs)

    monkeypatch.setattr(recordings_room, "estimate", stops)
    with pytest.raises(KeyboardInterrupt):
        estimate_maps(frames, rates, keep=tmp_path, **how)
    assert len(list(tmp_path.iterdir())) == 1
    calls[:] = [()] * 100
    again = estimate_maps(frames, rates, keep=tmp_path, **how)
    assert np.array_equal(again.p, whole.p)
    assert len(calls) - 100 == 1 + 12 - 4  # the maps, and the blocks of shifts that were not done
    assert not list(tmp_path.iterdir())


def test_what_a_real_recording_holds_is_drafted(shared_data: Path) -> None:
    from rfcompare.sources import inspect

    drafted = inspect(str(shared_data / "fields" / "macaque_v1_rust" / "544l029.p21_stc.mat"))
    for line in ('frames = "/stim"', 'dims = "frame x"', '# spike_times = "/spk_tms"', '# each = "trial"'):
        assert line in drafted
    assert 'response_dims = "unit frame"' in inspect(str(shared_data / "other" / "RGC_dendrite.h5"))
