"""What is shown: noise on a grid of elements, or the images that a user gives."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank import make_rng, pitch
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import REC601
from rfcompare.training.images import read_photographs

_Noise = Literal["white noise", "pink noise", "sparse noise"]

CORRELATED = ("pink noise", "natural images")
"""Stimuli whose pixels depend on each other: maps are then estimated by regression."""

_DENSITY = 0.05
"""Share of sparse noise's elements that differ from the background in a frame, half of them lighter."""

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Stimulus:
    """Frames on a grid, and how a point of the grid is painted on the network's pixels.

    Attributes
    ----------
    name : str
        Its class, such as "sparse noise".
    frames : (frame, y, x) array
        Values about a background of 0, row 0 lowest.
    pitch : float
        Network pixels from one point of the grid to the next.
    element : float
        Side of the square that a point paints, in network pixels.
    deg_per_px : float or None
        Size of a network pixel in degrees.
    protocol : mapping
        What is recorded of it beside the rest.
    """

    name: str
    frames: Frames
    pitch: float = 1.0
    element: float = 1.0
    deg_per_px: float | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of network pixels that it covers."""
        rows, columns = (int(np.ceil((size - 1) * self.pitch + self.element - 1e-9)) for size in self.frames.shape[1:])
        return rows, columns

    def painting(self, size: tuple[int, int]) -> tuple[Frames, Frames]:
        """Matrices (pixel, grid) for so many central rows and columns: the share of a pixel that an element covers."""
        rows, columns = (_cover(self.frames.shape[1 + i], size[i], self.pitch, self.element) for i in (0, 1))
        return rows, columns

    @property
    def as_attribute(self) -> str:
        """The protocol as the bank's attributes keep it."""
        said: dict[str, Any] = {"class": self.name, "element_px": self.element, "pitch_px": self.pitch}
        if self.deg_per_px is not None:
            said["element_deg"] = self.element * self.deg_per_px
        return json.dumps({**said, "frames": len(self.frames), **self.protocol}, sort_keys=True)


def _cover(size: int, n_pixels: int, step: float, element: float) -> Frames:
    centers = (np.arange(size) - (size - 1) / 2) * step
    pixels = np.arange(n_pixels) - (n_pixels - 1) / 2
    low = np.maximum(pixels[:, None] - 0.5, centers - element / 2)
    high = np.minimum(pixels[:, None] + 0.5, centers + element / 2)
    return np.asarray((high - low).clip(0), dtype=np.float32)


@named_strictly
def make_stimulus(
    name: _Noise,
    *,
    size: int | tuple[int, int],
    n_frames: int = 20_000,
    pitch: float = 1.0,
    element: float | None = None,
    density: float = _DENSITY,
    deg_per_px: float | None = None,
    seed: int | np.random.Generator | None = 0,
) -> Stimulus:
    """Draw noise.

    Parameters
    ----------
    name : {"white noise", "pink noise", "sparse noise"}
        Gaussian and independent; Gaussian with amplitude falling as 1/f, as in natural images (Field 1987); or few
        squares lighter (+1) or darker (−1) than the background (Jones & Palmer 1987).
    size : int or (rows, columns)
        Points of the grid.
    n_frames : int
        Frames.
    pitch, element : float
        Network pixels between points of the grid, and side of a point's square; default: squares that touch.
    density : float
        Of sparse noise: share of points that are not background.
    deg_per_px : float, optional
        Size of a network pixel in degrees.
    seed : int, Generator or None
        Of the noise.

    Returns
    -------
    Stimulus

    Raises
    ------
    InputError
        Unknown noise, or a size, number, length or density that cannot be.

    Examples
    --------
    >>> stimulus = make_stimulus("sparse noise", size=9, n_frames=100, pitch=2.0, seed=0)
    >>> stimulus.frames.shape, stimulus.shape, sorted(set(stimulus.frames.ravel().tolist()))
    ((100, 9, 9), (18, 18), [-1.0, 0.0, 1.0])
    """
    if name not in get_args(_Noise):
        raise InputError(
            f"expected a stimulus among {', '.join(get_args(_Noise))}, or a folder of photographs, got {name!r}; "
            "choose one"
        )
    sides = _sides(size, n_frames)
    element = pitch if element is None else element
    for said, value in (("pitch", pitch), ("element", element), ("deg_per_px", deg_per_px)):
        if value is not None and not _is_between(value, np.inf):
            raise InputError(f"expected {said} to be positive, got {value!r}; it is a length")
    if not _is_between(density, 1.0):
        raise InputError(f"expected density above 0 and at most 1, got {density!r}; it is a share of the grid")
    rng, recorded = make_rng(seed)
    shape = (int(n_frames), *sides)
    protocol: dict[str, Any] = {"seed": recorded}
    if name == "sparse noise":
        draw = rng.random(shape, dtype=np.float32)
        frames = (draw < density / 2).astype(np.float32) - (draw > 1 - density / 2).astype(np.float32)
        protocol["density"] = float(density)
    else:
        frames = rng.standard_normal(shape, dtype=np.float32)
        if name == "pink noise":
            frames = _pink(frames)
    return Stimulus(name, frames, float(pitch), float(element), deg_per_px, protocol)


@named_strictly
def natural_stimulus(
    photographs: str | os.PathLike[str] | npt.NDArray[Any],
    *,
    size: int | tuple[int, int],
    n_frames: int = 20_000,
    pitch: float = 1.0,
    deg_per_px: float | None = None,
    seed: int | np.random.Generator | None = 0,
) -> Stimulus:
    """Draw patches of photographs, as many from each.

    Parameters
    ----------
    photographs : path or array (image, row, column) or (image, row, column, rgb)
        A folder, or images with row 0 on top.
    size : int or (rows, columns)
        Of a patch, a pixel of the photograph a point of the grid.
    n_frames, pitch, deg_per_px, seed
        As for `make_stimulus`.

    Returns
    -------
    Stimulus
        Luminance about its mean over all patches, in units of its SD. Neighbors are alike: maps need a regression.

    Raises
    ------
    InputError
        No photograph is large enough, or they are blank.

    Examples
    --------
    >>> clouds = np.cumsum(np.random.default_rng(0).normal(size=(2, 40, 50)), axis=2)
    >>> stimulus = natural_stimulus(clouds, size=9, n_frames=100)
    >>> stimulus.name, stimulus.frames.shape, round(float(stimulus.frames.std()), 3)
    ('natural images', (100, 9, 9), 1.0)
    """
    height, width = _sides(size, n_frames)
    images: Any = (
        read_photographs(photographs, smallest=max(height, width))
        if isinstance(photographs, str | os.PathLike)
        else np.asarray(photographs)
    )
    if len(images) == 0 or any(np.ndim(each) not in (2, 3) or np.shape(each)[2:] not in ((), (3,)) for each in images):
        raise InputError("expected images (image, row, column) or (image, row, column, rgb), got others; give such")
    gray = [each @ np.array(REC601) if np.ndim(each) == 3 else np.asarray(each, dtype=float) for each in images]
    gray = [each for each in gray if each.shape[0] >= height and each.shape[1] >= width]
    if not gray:
        raise InputError(f"expected images of at least {height} × {width} pixels, got smaller ones; give larger ones")
    rng, recorded = make_rng(seed)
    frames = np.empty((int(n_frames), height, width), np.float32)
    for number in range(len(frames)):
        image = gray[number % len(gray)]
        top, left = (
            int(rng.integers(side - part + 1)) for side, part in zip(image.shape, (height, width), strict=True)
        )
        frames[number] = image[top : top + height, left : left + width][::-1]
    frames -= frames.mean()
    if not frames.any():
        raise InputError("expected images with some contrast, got blank ones; give others")
    protocol = {"seed": recorded, "images": len(gray)}
    return Stimulus("natural images", frames / frames.std(), float(pitch), float(pitch), deg_per_px, protocol)


def _sides(size: Any, n_frames: Any) -> tuple[int, int]:
    """Rows and columns of the grid."""
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(_is_count(side, least=2) for side in sides):
        raise InputError(f"expected size to be rows and columns of at least 2, got {size!r}; give points of the grid")
    if not _is_count(n_frames, least=1):
        raise InputError(f"expected n_frames to be at least 1, got {n_frames!r}; give a whole number")
    return int(sides[0]), int(sides[1])


def _is_count(value: Any, *, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least


def _is_between(value: Any, most: float) -> bool:
    """Whether a value is a finite number above 0 and at most `most`."""
    return isinstance(value, Real) and 0 < float(value) <= most and bool(np.isfinite(float(value)))


def _pink(white: Frames) -> Frames:
    """White noise with amplitude 1/f and unit variance, without a mean over the frame."""
    rows, columns = white.shape[1:]
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    amplitude = np.divide(1, radius, out=np.zeros_like(radius), where=radius > 0)
    shaped = np.fft.irfft2(np.fft.rfft2(white) * amplitude, white.shape[1:])
    return np.asarray(shaped / shaped.std(), dtype=np.float32)


@named_strictly
def stimulus_like(
    bank: xr.Dataset,
    *,
    deg_per_px: float | None = None,
    n_frames: int | None = None,
    seed: int | np.random.Generator | None = 0,
) -> Stimulus:
    """The stimulus that a recording's attributes tell of: its class, element, grid and number of frames.

    Parameters
    ----------
    bank : xarray.Dataset
        Of the recording.
    deg_per_px : float, optional
        Degrees that a network pixel stands for; required where the recording is in degrees.
    n_frames : int, optional
        Default: the recording's where it says so, else 20,000.
    seed : int, Generator or None
        Of the noise.

    Returns
    -------
    Stimulus
        Noise of the recording's class; sparse noise where none that can be drawn is stated.

    Raises
    ------
    InputError
        When the recording is in degrees and `deg_per_px` is missing.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(9)[None, None], channel=("signed",), kind="simulated", deg_per_px=2.0,
    ...                      attrs={"stimulus": {"class": "sparse noise", "element_deg": 4.0}})
    >>> stimulus_like(bank, deg_per_px=1.0, n_frames=10).element
    4.0
    """
    in_degrees = bank.attrs["units"] == "degree"
    if in_degrees and deg_per_px is None:
        raise InputError(
            "expected deg_per_px for a recording in degrees, got none; say what a network pixel stands for"
        )
    said = _said(bank, "stimulus")
    step = pitch(bank)
    if not np.isclose(step[0], step[1]):
        raise InputError(f"expected a recording with square pixels, got {step}; align it to a square grid first")
    unit = float(deg_per_px or 1.0) if in_degrees else 1.0
    element = said.get("element_deg") if in_degrees else said.get("element_px")
    stated = str(said.get("class", "")).lower()
    name: _Noise = next((each for each in get_args(_Noise) if each in stated), "sparse noise")
    frames = n_frames or said.get("frames") or _said(bank, "estimation").get("frames") or 20_000
    return make_stimulus(
        name,
        size=(bank.sizes["y"], bank.sizes["x"]),
        n_frames=int(frames),
        pitch=step[0] / unit,
        element=float(element or step[0]) / unit,
        density=float(said.get("density", _DENSITY)),
        deg_per_px=float(deg_per_px or 1.0) if in_degrees else None,
        seed=seed,
    )


def _said(bank: xr.Dataset, name: str) -> dict[str, Any]:
    try:
        said = json.loads(str(bank.attrs.get(name, "")))
    except ValueError:
        return {"class": str(bank.attrs.get(name, ""))}
    return said if isinstance(said, dict) else {"class": str(said)}
