"""A stimulus and the responses to it in a file that holds no maps, and a layout drafted for `rfcompare estimate`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import h5py

from rfcompare.sources import formats
from rfcompare.sources.candidates import SHOWN
from rfcompare.sources.checkpoints import entries_of
from rfcompare.sources.hdf5 import Reader, read_attributes
from rfcompare.sources.matlab_structure import list_variables

_ANSWERS = {"response", "responses", "resp", "spikes", "spike", "spk", "counts", "psth", "dff", "traces", "rates"}
_SPIKES = {"spikes", "spike", "spk"}
_CLOCK = {"onset", "onsets", "timestamps", "times", "time", "tms", "flips", "starting"}

_FEWEST_FRAMES = 100
"""Shorter lengths that a stimulus and a response share may be units as well as frames."""


@dataclass(frozen=True)
class _Recording:
    """Paths of what was shown and what answered, with guesses at their axes; None where nothing is found."""

    frames: str
    frame_dims: str
    responses: str | None
    response_dims: str
    spike_times: str | None
    frame_times: str | None
    trials: int


def find_recording(path: Path, found: formats.Format) -> _Recording | None:
    """Look for a stimulus by its name, and for responses by theirs and by the length that they share with it."""
    arrays = _arrays(path, found)
    shown = [(name, shape) for name, shape in arrays.items() if _words(name) & SHOWN and _is_stimulus(name, shape)]
    for frames, shape in sorted(shown, key=lambda item: -max(item[1])):
        clocks = [name for name, size in arrays.items() if _is_clock(name, size, shape)]
        # The clock that lies beside the frames, where there are several.
        near = sorted(clocks, key=lambda name: (name.rpartition("/")[0] != frames.rpartition("/")[0], name))
        clock = near[0] if near else None
        beats = max(arrays[clock]) if clock else 0
        spikes = next((name for name, size in arrays.items() if _are_spikes(name, size)), None)
        for response, size in arrays.items():
            common = set(shape) & set(size) - set(range(_FEWEST_FRAMES))
            if response not in (frames, clock, spikes) and _words(response) & _ANSWERS and common and len(size) < 3:
                n = max(common)
                words = " ".join("frame" if each == n else "unit" for each in size)
                return _Recording(frames, _dims(shape, n), response, words, spikes, clock, _trials(n, beats))
        if spikes is not None:
            n = next((each for each in shape if beats > 1 and each % beats == 0), max(shape))
            return _Recording(frames, _dims(shape, n), None, "", spikes, clock, _trials(n, beats))
    return None


def _arrays(path: Path, found: formats.Format) -> dict[str, tuple[int, ...]]:
    """Shapes by path as a layout sees them; cells, ragged columns and series of datasets as () of one axis."""
    if found is formats.NUMPY:
        with entries_of(path) as entries:
            return {f"/{name}": tuple(entry.shape) for name, entry in entries.items()}
    if found is formats.MATLAB_5:
        kinds = {f"/{name}": (shape, kind) for name, shape, kind in list_variables(path)}
        return {name: () if kind == "cell" else shape for name, (shape, kind) in kinds.items() if " " not in kind}
    arrays: dict[str, tuple[int, ...]] = {}
    with Reader(path) as reader:
        for name, item in reader.datasets():
            shape = tuple(int(size) for size in item.shape)
            if h5py.check_ref_dtype(item.dtype) is h5py.Reference:
                arrays[name] = ()
            elif item.dtype.kind in "fiu":
                one = "rate" in read_attributes(item) and shape == ()
                arrays[name] = (1,) if one else shape[::-1] if found is formats.MATLAB_73 else shape
    for name in [name for name in arrays if name.endswith("_index")]:
        del arrays[name]
        arrays[name.removesuffix("_index")] = ()
    for name in list(arrays):
        above = name.rpartition("/")[0]
        if above and len(arrays.get(name, ())) == 1 and _words(above) & _SPIKES:
            arrays[f"{above}/*"] = ()
    return arrays


def _words(path: str) -> set[str]:
    """The words of an array's own name; of those above it too where it is only called data."""
    parts = path.lower().split("/")
    named = parts[-4:] if parts[-1] in ("data", "*", "starting_time", "timestamps") else parts[-1:]
    return set(re.split(r"[^a-z]+", " ".join(named)))


def _is_stimulus(path: str, shape: tuple[int, ...]) -> bool:
    return 2 <= len(shape) <= 3 and max(shape) >= _FEWEST_FRAMES and not _words(path) & _CLOCK


def _is_clock(path: str, shape: tuple[int, ...], frames: tuple[int, ...]) -> bool:
    """Whether an array could hold the frames' onsets: one for each, of each trial, or the first and their rate."""
    if not _words(path.rpartition("/")[2]) & _CLOCK or _words(path) & _SPIKES or not shape:
        return False
    n = max(shape)
    fits = n >= _FEWEST_FRAMES and any(each % n == 0 for each in frames if each >= _FEWEST_FRAMES)
    return sum(size > 1 for size in shape) <= 1 and (fits or shape == (1,))


def _are_spikes(path: str, shape: tuple[int, ...]) -> bool:
    """Whether times of spikes stand here: one list, or what holds a list for every unit."""
    listed = not shape or (sum(size > 1 for size in shape) == 1 and bool(_words(path) & (_CLOCK - {"starting"})))
    return listed and bool(_words(path) & _SPIKES)


def _dims(shape: tuple[int, ...], n: int) -> str:
    names = ["y", "x"] if len(shape) > 2 else ["x"]
    at = shape.index(n)
    return " ".join("frame" if axis == at else names.pop(0) for axis in range(len(shape)))


def _trials(n: int, beats: int) -> int:
    return n // beats if beats > 1 and n % beats == 0 else 1
