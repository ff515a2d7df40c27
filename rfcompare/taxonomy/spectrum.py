"""Band and direction: what a map passes, read off its frequency response.

A kernel *is* a filter and its zero-padded transform is its frequency response, the edge of the window included; so band
is asked of that. Direction is asked of the pattern, for which the window's edge is no contour: before its transform the
map fades to zero over its own width instead of breaking off.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from rfcompare.bank import Array
from rfcompare.taxonomy.thresholds import value

_CHUNK_VALUES = 2**22
"""Spectra are computed for as many maps at a time as have this many values."""

_NEAR_ZERO = 0.125
"""Radius (cycles/px) of the disk about zero frequency whose mean power stands for the lowest frequencies."""


def measure_spectra(maps: Array) -> dict[str, NDArray[np.float64]]:
    """Numbers behind band and direction.

    Returns
    -------
    dict of str to array (n,)
        ``dc_gain``: gain at zero frequency over the largest gain; ``nyquist_gain``: the largest gain on the border of
        the frequency square, likewise; ``low_power``: mean power density below 0.125 cycles/px over the mean of all;
        ``spectral_area``: (ΣP)²/(N·ΣP²), the share of the frequency square that the power fills (1 for a single pixel,
        about 0.5 for white noise, 1/(2πσ²) for a blob of SD σ pixels, up to twice that for a Gabor, whose spectrum has
        two lobes); ``peak_frequency`` and
        ``centroid_frequency`` (cycles/px) of the power; ``high_share``: share of power beyond half the Nyquist
        frequency; ``anisotropy``: (λ1 − λ2)/(λ1 + λ2) of the power-weighted structure tensor ⟨k kᵀ/|k|²⟩ of the wave
        vectors k; ``fourfold``: |⟨exp(4iθ)⟩| over the same weights, which is large also where two directions cross;
        ``crossing``: direction of one of the two waves whose product that is, in [0°, 90°);
        ``orientation``: of the stripes (degrees); ``neighbors``: correlation of neighboring pixels, averaged over
        rows and columns.

    Examples
    --------
    >>> x = np.arange(-5, 6.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 12) * np.cos(2 * np.pi * 0.25 * x)  # vertical
    >>> numbers = measure_spectra(stripes[None])
    >>> round(float(numbers["peak_frequency"][0]), 2), round(float(numbers["orientation"][0]))
    (0.24, 90)
    """
    n, height, width = maps.shape
    size = scipy.fft.next_fast_len(max(32, 6 * max(height, width)))
    size += size % 2  # an even length has the Nyquist frequency among its own
    step = max(1, _CHUNK_VALUES // size**2)
    parts = [_measure(maps[start : start + step], size) for start in range(0, n, step)]
    numbers = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    beside = (maps[:, :, 1:] * maps[:, :, :-1]).sum((1, 2)) + (maps[:, 1:] * maps[:, :-1]).sum((1, 2))
    return numbers | {"neighbors": beside / (2 * np.square(maps).sum((1, 2)))}


def _measure(maps: Array, size: int) -> dict[str, NDArray[np.float64]]:
    n, height, width = maps.shape
    fy, fx = np.meshgrid(scipy.fft.fftfreq(size), scipy.fft.fftfreq(size), indexing="ij")
    radius = np.hypot(fx, fy)
    power = np.abs(scipy.fft.fft2(maps, (size, size))) ** 2
    flat = power.reshape(n, -1)
    largest, total = flat.max(1), flat.sum(1)
    border = np.maximum(np.abs(fx), np.abs(fy)) >= 0.5 - 1e-9
    # A checkerboard of single pixels peaks on the corners of the square, farther out than any one axis reaches.
    result = {
        "dc_gain": np.sqrt(power[:, 0, 0] / largest),
        "nyquist_gain": np.sqrt(power[:, border].max(1) / largest),
        "low_power": power[:, radius <= _NEAR_ZERO].mean(1) / flat.mean(1),
        "spectral_area": total**2 / (flat.shape[1] * (flat**2).sum(1)),
        "peak_frequency": radius.ravel()[flat.argmax(1)],
        "centroid_frequency": flat @ radius.ravel() / total,
        "high_share": power[:, radius > 0.25].sum(1) / total,
    }
    margin = max(height, width)
    faded = np.pad(maps, ((0, 0), (margin, margin), (margin, margin)), mode="linear_ramp")
    length = scipy.fft.next_fast_len(faded.shape[1])
    gy, gx = np.meshgrid(scipy.fft.fftfreq(length), scipy.fft.fftfreq(length), indexing="ij")
    spread = np.abs(scipy.fft.fft2(faded, (length, length))) ** 2
    spread[:, 0, 0] = 0  # zero frequency has no direction
    weight = spread.reshape(n, -1) / spread.sum((1, 2))[:, None]
    angle = np.arctan2(gy, gx).ravel()
    twofold = weight @ np.exp(2j * angle)
    result["anisotropy"] = np.abs(twofold)
    fourfold = weight @ np.exp(4j * angle)
    result["fourfold"] = np.abs(fourfold)
    # The wave vectors of a product of two waves lie between their directions.
    result["crossing"] = (np.degrees(np.angle(fourfold)) / 4 + 45) % 90
    result["orientation"] = (np.degrees(np.angle(twofold)) / 2 + 90) % 180
    return result


def name_band(dc_gain: float, nyquist_gain: float, low_power: float, spectral_area: float) -> str:
    """The word for what a filter passes.

    Examples
    --------
    >>> name_band(1.0, 0.0, 15.0, 0.05), name_band(0.0, 0.1, 2.0, 0.05), name_band(1.0, 1.0, 1.0, 1.0)
    ('low-pass', 'band-pass', 'all-pass')
    >>> name_band(1.0, 0.2, 3.0, 0.4)  # a blob with an SD of 0.63 pixels
    'low-pass'
    """
    low, high = dc_gain >= value("half_gain"), nyquist_gain >= value("half_gain")
    if spectral_area >= value("broad_area"):
        if low and not high and low_power > value("most_low_power"):
            return "low-pass"
        return "all-pass" if low_power > value("no_low_power") else "high-pass"
    if low:
        return "all-pass" if high else "low-pass"
    return "high-pass" if high else "band-pass"


def is_crossed(anisotropy: float, fourfold: float, dc_gain: float, spectral_area: float) -> bool:
    """Whether two directions cross."""
    return (
        anisotropy <= value("isotropic")
        and fourfold >= value("crossed")
        and dc_gain <= value("crossed_gain")
        and spectral_area < value("broad_area")
    )


def name_direction(anisotropy: float) -> str:
    """The word for how strongly a filter prefers a direction.

    Examples
    --------
    >>> name_direction(0.1), name_direction(0.3), name_direction(0.8)
    ('isotropic', 'weakly anisotropic', 'anisotropic')
    """
    if anisotropy <= value("isotropic"):
        return "isotropic"
    return "anisotropic" if anisotropy >= value("anisotropic") else "weakly anisotropic"
