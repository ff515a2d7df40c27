"""Stimulus and responses of a recording's file, put on one clock: what `rfcompare.estimate` needs.

A layout of a recording, in TOML or as a mapping, has these keys; all others are refused.

===================  ==================================================================================================
key                  meaning
===================  ==================================================================================================
``frames``           path of what was shown; ``dims`` names its axes: ``"frame y x"`` (default) or ``"frame x"`` (bars)
``responses``        path of counts or fluorescence per frame; ``response_dims``: ``"frame unit"`` (default), ``"unit
                     frame"`` or ``"frame"``
``spike_times``      instead: path of times, a list per unit; ``each = "trial"`` where it is a list per repeat of one
                     unit, whose frames follow each other in ``frames``
``frame_times``      path of the frames' onsets on the same clock; or of an NWB series' ``starting_time``, which has a
                     rate; or ``frame_s`` alone where the first begins at 0
``time_s``           seconds that one unit of time stands for; default 1, as in 0.001 for milliseconds
``frame_s``          duration of a frame (s); default: the median step of ``frame_times``
``y``                ``"down"`` (row 0 on top; default) or ``"up"``
``kind``             default ``"not stated"``; ``stimulus`` is what was shown in words, required when measured
``deg_per_px``,      degrees per pixel; labels, a text or a list; provenance
``unit``,
``subject``,
``citation``,
``title``
===================  ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfcompare.bank import existing_file
from rfcompare.errors import InputError, meant
from rfcompare.quantities import NOT_STATED
from rfcompare.sources import formats
from rfcompare.sources.damage import hdf5_damage
from rfcompare.sources.layout import given_keys
from rfcompare.sources.store import Cell

_KEYS = (
    "frames", "dims", "responses", "response_dims", "spike_times", "each", "frame_times", "time_s", "frame_s", "y",
    "kind", "stimulus", "deg_per_px", "unit", "subject", "citation", "title",
)  # fmt: skip


@dataclass(frozen=True)
class _Answered:
    """What was shown and what answered."""

    frames: NDArray[Any]
    """Along frame, y, x; row 0 on top unless `options` says ``rows="up"``."""
    responses: NDArray[np.float64]
    """Along frame, unit: spike counts, or what the file has per frame."""
    options: dict[str, Any]
    """Keywords of `rfcompare.estimate` beside the lag and the method."""
    outside: int = 0
    """Spikes that fell into no frame."""


def read_recording(source: str | Path, layout: str | Path | Mapping[str, Any]) -> _Answered:
    """Read a stimulus and the responses to it from an HDF5, NWB, MATLAB or NumPy file.

    Raises
    ------
    InputError
        The layout has an unknown key or lacks one, or stimulus and responses do not fit each other.

    Examples
    --------
    >>> import tempfile, pathlib, h5py, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cell.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["shown"], file["spikes"] = np.zeros((3, 4, 5)), [0.1, 0.15, 2.5]
    ...     recording = read_recording(path, {"frames": "shown", "spike_times": "spikes", "frame_s": 1.0})
    >>> recording.responses[:, 0].tolist(), recording.outside
    ([2.0, 0.0, 1.0], 0)
    """
    given = given_keys(layout)
    for name in given:
        if name not in _KEYS:
            raise InputError(f"a recording's layout has no key {name}; {meant(name, _KEYS)}")
    if "frames" not in given or ("responses" in given) == ("spike_times" in given):
        raise InputError(
            "expected the layout of a recording to have frames, and responses or spike_times, got "
            f"{', '.join(given) or 'nothing'}; rfcompare inspect FILE shows the paths"
        )
    path = existing_file(source)
    facts: dict[str, Any] = {}
    with hdf5_damage(path), formats.identify(path).open(path) as store:
        frames = _in_order(_array(store, given["frames"]), str(given.get("dims", "frame y x")), ("frame", "y", "x"))
        if "responses" in given:
            responses, outside, frame_s = _array(store, given["responses"]), 0, given.get("frame_s")
            words = str(given.get("response_dims", "frame unit" if responses.ndim > 1 else "frame"))
            responses = _in_order(responses, words, ("frame", "unit")).astype(float)
        else:
            responses, outside, frame_s = _binned(store, given, len(frames))
        facts = store.facts(str(given.get("spike_times", given.get("responses"))))
    if len(frames) != len(responses):
        raise InputError(
            f"expected as many frames as responses, got {len(frames)} of {given['frames']} and {len(responses)}; name "
            "the axes by dims and response_dims"
        )
    facts = {name: value for name, value in facts.items() if name in ("unit", "subject", "citation")}
    if len(facts.get("unit", ())) != responses.shape[1]:
        facts.pop("unit", None)
    given = {**facts, **given}
    options: dict[str, Any] = {name: given[name] for name in ("deg_per_px", "unit", "subject") if name in given}
    said = {"title": given.get("title", path.stem), "citation": given.get("citation"), "file": path.name}
    options |= {"frame_s": None if frame_s is None else float(frame_s), "protocol": given.get("stimulus")}
    rows = str(given.get("y", "down"))
    return _Answered(
        frames, responses, {**options, "rows": rows, "kind": given.get("kind", NOT_STATED), "attrs": said}, outside
    )


def _array(store: Any, path: Any) -> NDArray[Any]:
    located = store.at(str(path), None)
    if isinstance(located, Cell):
        raise InputError(f"expected one array at {path} in {store.name}, got a cell; name one of its arrays")
    return np.asarray(located)


def _in_order(array: NDArray[Any], words: str, wanted: tuple[str, ...]) -> NDArray[Any]:
    """An array with the axes of its dims in the order wanted; an axis that it lacks has the length 1."""
    dims = words.split()
    if dims.count("frame") != 1 or len(set(dims)) != len(dims) or not set(dims) <= set(wanted):
        raise InputError(f"expected dims of {' '.join(wanted)!r}, got {words!r}; name each axis once, frame among them")
    while array.ndim > len(dims) and 1 in array.shape:  # MATLAB's vectors have two axes
        array = np.squeeze(array, axis=int(np.argmin(array.shape)))
    if array.ndim != len(dims):
        raise InputError(f"expected {len(dims)} axes {words!r}, got the shape {array.shape}; name every axis")
    array = array.transpose([dims.index(name) for name in wanted if name in dims])
    return np.expand_dims(array, [at for at, name in enumerate(wanted) if name not in dims])


def _binned(store: Any, given: Mapping[str, Any], n: int) -> tuple[NDArray[np.float64], int, float]:
    """Spikes per frame, how many fell into none, and a frame's duration in seconds."""
    scale = float(given.get("time_s", 1.0))
    located = store.at(str(given["spike_times"]), None)
    items = located.items.ravel() if isinstance(located, Cell) else [located]
    times = [np.sort(np.asarray(item, float).ravel()) * scale for item in items]
    trials = len(times) if given.get("each", "unit") == "trial" else 1
    if n % trials:
        raise InputError(f"expected frames of {trials} trials of one length, got {n}; check spike_times and each")
    if "frame_times" in given:
        onset: NDArray[Any] = np.asarray(store.column(str(given["frame_times"])), float).ravel() * scale
        rate = store.facts(str(given["frame_times"])).get("rate")
        if rate and onset.size == 1:  # NWB: the first frame and how many follow each second
            onset = onset[0] + np.arange(n // trials) / float(rate)
    elif "frame_s" in given:
        onset = np.arange(n // trials) * float(given["frame_s"])
    else:
        raise InputError("expected frame_times or frame_s with spike_times, got neither; say when frames were shown")
    if len(onset) != n // trials or not (np.diff(onset) > 0).all():
        raise InputError(f"expected {n // trials} rising frame times, got {len(onset)}; one onset for every frame")
    frame_s = float(given.get("frame_s", np.median(np.diff(onset))))
    edges = np.append(onset, onset[-1] + frame_s)
    counts = np.array([np.histogram(train, edges)[0] for train in times], float)
    outside = int(sum(map(len, times)) - counts.sum())
    return (counts.reshape(-1, 1) if trials > 1 else counts.T), outside, frame_s
