"""`filter_image`: what one kernel or one cortical field does to a photograph."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import scipy.fft
import xarray as xr
from numpy.typing import NDArray
from scipy.signal import correlate

from rfcompare.bank import bad_units, check, inherit, picture, pitch, to_signed
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import REC601
from rfcompare.taxonomy import classify

_NETWORK_MEAN = (0.485, 0.456, 0.406)
"""Mean of ImageNet's photographs (R, G, B in [0, 1]), which every ImageNet network subtracts from its input."""

_MAX_PIXELS = 4_000_000
"""Larger photographs are reduced to this many pixels: enough for any figure."""


@named_strictly
def filter_image(
    image: str | os.PathLike[str] | NDArray[Any],
    bank: xr.Dataset,
    unit: str | int,
    *,
    width_deg: float | None = None,
    mean: tuple[float, float, float] = _NETWORK_MEAN,
) -> xr.Dataset:
    """Filter an image with one unit of a bank, as the network or the cell would.

    A kernel with color channels sees the image in color, less the network's mean, and the responses of its channels are
    added up; any other map sees Rec. 601 luminance. Like a convolutional layer this is a correlation (nothing is
    mirrored), at stride 1 so that the response is a picture, and only where the whole kernel lies within the image.

    Parameters
    ----------
    image : path or array (row, column) or (row, column, 3)
        A photograph, row 0 on top; arrays are in [0, 1] or of type uint8.
    bank : xarray.Dataset
        Kernels or fields.
    unit : str or int
        Name of the unit, or its position.
    width_deg : float, optional
        Width of the image in degrees of visual angle; required for a bank in degrees, to whose pixels the image is then
        resampled. A network's kernels see the image's own pixels.
    mean : (float, float, float)
        Subtracted from R, G and B.

    Returns
    -------
    xarray.Dataset
        ``image(y, x, rgb)`` as seen, ``response(y, x)`` in the kernel's units (NaN within half a kernel of the border),
        ``kernel(channel, kernel_y, kernel_x)``, its ``gain(frequency_y, frequency_x)`` relative to the largest, and
        ``response_power`` on the same frequencies (cycles per unit); y up throughout. ``attrs``: ``unit``,
        ``sentence`` of `classify`, ``kind`` and the bank's own.

    Raises
    ------
    InputError
        For a file that is no image, an unknown or unusable unit, a missing width, or an image smaller than the kernel.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> edge = np.zeros((20, 20)); edge[:, 10:] = 1.0
    >>> kernel = np.array([[-1.0, 0.0, 1.0]] * 3)
    >>> bank = rfc.make_bank(kernel[None, None], channel=("luminance",), kind="analytic", unit=["sobel"])
    >>> seen = filter_image(edge, bank, "sobel")
    >>> seen.response.sizes["x"], float(seen.response.max())
    (20, 3.0)
    """
    check(bank)
    chosen = _choose(bank, unit)
    pixels = _read(image)
    units = str(bank.attrs["units"])
    if units == "degree":
        if width_deg is None:
            raise InputError(
                "expected the image's width in degrees for a field in degrees, got none; give width_deg (--width-deg)"
            )
        if not width_deg > 0:
            raise InputError(f"expected width_deg to be positive, got {width_deg!r}; give degrees of visual angle")
        dx, dy = pitch(bank)
        pixels = _resample(
            pixels,
            columns=round(width_deg / dx),
            rows=round(width_deg / dx * pixels.shape[0] / pixels.shape[1] * dx / dy),
        )
    else:
        if width_deg is not None:
            raise InputError(
                "expected no width_deg for kernels in pixels, got one; load them with deg_per_px to give them degrees"
            )
        dx = dy = 1.0
        excess = pixels.shape[0] * pixels.shape[1] / _MAX_PIXELS
        if excess > 1:
            rows, columns = (int(side / excess**0.5) for side in pixels.shape[:2])
            pixels = _resample(pixels, columns=columns, rows=rows)
    seen, kernel = _meet(pixels, chosen, np.asarray(mean))
    if kernel.shape[1] > seen.shape[1] or kernel.shape[2] > seen.shape[2]:
        raise InputError(
            f"expected an image of at least {kernel.shape[2]}×{kernel.shape[1]} px for this kernel, got "
            f"{seen.shape[2]}×{seen.shape[1]}; give a larger image"
            + (" or a larger width_deg" if units == "degree" else "")
        )
    valid = sum(correlate(plane, part, mode="valid", method="auto") for plane, part in zip(seen, kernel, strict=True))
    response = np.full(seen.shape[1:], np.nan)
    top, left = (size // 2 for size in kernel.shape[1:])
    response[top : top + valid.shape[0], left : left + valid.shape[1]] = valid
    return _assemble(pixels, response, valid, kernel, chosen, dx=dx, dy=dy)


def _choose(bank: xr.Dataset, unit: str | int) -> xr.Dataset:
    """The unit as a bank of one."""
    names = [str(name) for name in bank.unit.values]
    text = str(unit)
    if text in names:
        position = names.index(text)
    elif text.isdecimal() and int(text) < len(names):
        position = int(text)
    else:
        raise InputError(
            f"expected a unit among {names[0]} … {names[-1]} or a position from 0 to {len(names) - 1}, got {text!r}; "
            "choose one of these"
        )
    chosen = bank.isel(unit=[position])
    problem = bad_units(bank)[position]
    if problem:
        raise InputError(f"expected a usable map, got unit {names[position]}: {problem}; choose another unit")
    return chosen


def _read(image: str | os.PathLike[str] | NDArray[Any]) -> NDArray[np.float64]:
    """Pixels (row, column, rgb) in [0, 1], row 0 on top."""
    if isinstance(image, str | os.PathLike):
        array = np.asarray(picture(image, most_pixels=4 * _MAX_PIXELS))
    else:
        array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape or not np.issubdtype(array.dtype, np.number):
        raise InputError(f"expected an image (row, column) or (row, column, 3), got shape {array.shape}; convert it")
    pixels = array.astype(float) / (255.0 if array.dtype == np.uint8 else 1.0)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise InputError("expected finite pixel values in [0, 1] or uint8, got others; scale the image")
    return pixels


def _resample(pixels: NDArray[np.float64], *, columns: int, rows: int) -> NDArray[np.float64]:
    from PIL import Image

    if columns < 1 or rows < 1 or columns * rows > 4 * _MAX_PIXELS:
        raise InputError(
            f"expected an image of 1 to {4 * _MAX_PIXELS} field pixels, got {columns}×{rows}; choose another width_deg"
        )
    planes = [
        np.asarray(
            Image.fromarray(pixels[:, :, c].astype(np.float32)).resize((columns, rows), Image.Resampling.LANCZOS)
        )
        for c in range(3)
    ]
    result: NDArray[np.float64] = np.clip(np.stack(planes, axis=2).astype(float), 0, 1)
    return result


def _meet(
    pixels: NDArray[np.float64], chosen: xr.Dataset, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image planes and kernel planes, (channel, row, column) both with row 0 on top, as the unit sees them."""
    color = tuple(chosen.channel.values) == ("r", "g", "b")
    unit = chosen if color else to_signed(chosen)
    kernel = np.nan_to_num(unit.rf.isel(unit=0).transpose("channel", "y", "x").values.astype(float)[:, ::-1])
    centered = pixels - mean
    if color:
        return centered.transpose(2, 0, 1), kernel
    if "color_direction" in unit:  # a color kernel that was reduced to one direction before
        direction = unit["color_direction"].isel(unit=0).values.astype(float)
        return (centered @ direction)[None], kernel
    return (centered @ np.array(REC601))[None], kernel


def _assemble(
    pixels: NDArray[np.float64],
    response: NDArray[np.float64],
    valid: NDArray[np.float64],
    kernel: NDArray[np.float64],
    chosen: xr.Dataset,
    *,
    dx: float,
    dy: float,
) -> xr.Dataset:
    height, width = response.shape
    size = scipy.fft.next_fast_len(max(64, *valid.shape))
    profile = to_signed(chosen).rf.isel(unit=0, channel=0).transpose("y", "x").values.astype(float)
    gain = np.abs(scipy.fft.fftshift(scipy.fft.fft2(np.nan_to_num(profile), (size, size))))
    # A Hann window keeps the picture's own borders from drawing a cross through its spectrum.
    window = np.hanning(valid.shape[0])[:, None] * np.hanning(valid.shape[1])
    centered = (valid - valid.mean()) * (window if window.any() else 1.0)
    power = np.abs(scipy.fft.fftshift(scipy.fft.fft2(centered[::-1], (size, size)))) ** 2
    units = str(chosen.attrs["units"])
    table = classify(chosen, progress=False)
    frequency = f"1/{units}"
    return xr.Dataset(
        {
            "image": (("y", "x", "rgb"), pixels[::-1]),
            "response": (("y", "x"), response[::-1]),
            "kernel": (("channel", "kernel_y", "kernel_x"), kernel[:, ::-1]),
            "gain": (("frequency_y", "frequency_x"), gain / gain.max()),
            "response_power": (("frequency_y", "frequency_x"), power),
        },
        coords={
            "x": ("x", dx * (np.arange(width) - (width - 1) / 2), {"units": units}),
            "y": ("y", dy * (np.arange(height) - (height - 1) / 2), {"units": units}),
            "rgb": ("rgb", np.array(["r", "g", "b"], dtype=object)),
            "kernel_x": ("kernel_x", chosen.x.values, {"units": units}),
            "kernel_y": ("kernel_y", chosen.y.values, {"units": units}),
            "channel": (
                "channel",
                chosen.channel.values if kernel.shape[0] == 3 else np.array(["signed"], dtype=object),
            ),
            "frequency_x": ("frequency_x", scipy.fft.fftshift(scipy.fft.fftfreq(size, dx)), {"units": frequency}),
            "frequency_y": ("frequency_y", scipy.fft.fftshift(scipy.fft.fftfreq(size, dy)), {"units": frequency}),
        },
        attrs={
            **inherit(chosen, "bank"),
            "schema": "rfcompare-response/1",
            "unit": str(chosen.unit.values[0]),
            "source": str(chosen.source.values[0]),
            "sentence": str(table["sentence"].iloc[0]),
        },
    )
