"""How much of a map is noise, and how many of its pixels are independent.

A fit's r² is judged against the noise, and a model against its competitors, only where something is known about the
noise: ``noise_sd`` and ``noise_acf`` of the bank, or half the difference of two halves of a recording.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.errors import InputError

Floats = npt.NDArray[np.float64]

UNKNOWN = "noise correlation unknown"


def _half_difference(bank: xr.Dataset) -> Floats:
    """Half the difference of the halves (unit, channel, y, x): noise like that of their mean, without the signal."""
    halves = bank["rf_half"].transpose("half", "unit", "channel", "y", "x").values.astype(np.float64)
    return np.asarray(halves[0] - halves[1]) / 2


def noise_variance(bank: xr.Dataset) -> Floats | None:
    """Noise variance of a pixel, one per unit: ``noise_sd`` squared, else from the halves; None without either."""
    if "noise_sd" in bank:
        return np.asarray(bank["noise_sd"].values, dtype=np.float64) ** 2
    if "rf_half" in bank:
        noise = _half_difference(bank)
        count = np.isfinite(noise).sum((1, 2, 3))
        return np.asarray(np.nansum(noise**2, axis=(1, 2, 3)) / np.where(count > 0, count, np.nan))
    return None


def autocorrelation(bank: xr.Dataset, mask: Floats) -> Floats | None:
    """Noise autocorrelation (unit, lag_y, lag_x), 1 at lag 0 in the middle; None where nothing is known about it.

    From ``noise_acf``, else from half the difference of the halves (one for all units: few pixels tell little alone).
    `mask` (unit, y, x) is 1 where measured.
    """
    if "noise_acf" in bank:
        acf = bank["noise_acf"].transpose("unit", "channel", "lag_y", "lag_x").values.astype(np.float64).mean(1)
        middle = acf[:, acf.shape[1] // 2, acf.shape[2] // 2]
        return np.asarray(acf / np.where(middle > 0, middle, np.nan)[:, None, None])
    if "rf_half" in bank:
        return _pooled_autocorrelation(_half_difference(bank), mask)
    return None


def effective_pixels(bank: xr.Dataset, mask: Floats) -> Floats:
    """Number of independent pixels among the measured ones, one per unit of the bank.

    Correlated noise counts n pixels as n / Σ ρ(lag), the sum over pairs of measured pixels: that many independent ones
    would leave a smooth function's amplitude equally uncertain.

    Parameters
    ----------
    bank : xarray.Dataset
    mask : (unit, y, x) array
        1 where measured.

    Raises
    ------
    InputError
        "noise correlation unknown", where the bank has neither ``noise_acf`` nor halves.
    """
    acf = autocorrelation(bank, mask)
    if acf is None:
        raise InputError(
            f"{UNKNOWN}: expected noise_acf or two halves on a {bank.attrs['kind']} bank, got neither; "
            "give make_bank noise_acf= or half=, or compare r2 as for learned kernels with criterion='r2'"
        )
    total = np.zeros(len(mask))
    for dy, dx, rho in _lags(acf, mask.shape[1:]):
        total += rho * (_shifted(mask, dy, dx) * mask).sum((1, 2))
    count = mask.sum((1, 2))
    # Noise that is blue (Σρ < 1) would count pixels more than once.
    return np.asarray(np.clip(count**2 / np.where(total > 0, total, np.nan), 2.0, np.maximum(count, 2.0)))


def correlate(acf: Floats, values: Floats) -> Floats:
    """Products Cv of stationary correlation matrices with maps: `acf` (n, lag_y, lag_x), `values` (n, …, y, x)."""
    out = np.zeros_like(values)
    for dy, dx, rho in _lags(acf, values.shape[-2:]):
        out += rho.reshape(-1, *(1,) * (values.ndim - 1)) * _shifted(values, dy, dx)
    return out


def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], acf: Floats | None) -> Floats:
    """Noise of unit variance (n, channel, y, x), white or with the autocorrelations `acf` (n, lag_y, lag_x).

    By circulant embedding; what negative power an estimated autocorrelation has is cut off.
    """
    if acf is None or acf.shape[1:] == (1, 1):
        return rng.standard_normal(shape)
    height, width = (size + reach for size, reach in zip(shape[2:], acf.shape[1:], strict=True))
    ring = np.zeros((len(acf), height, width))
    for dy, dx, rho in _lags(acf, (height, width)):
        ring[:, dy % height, dx % width] = rho
    power = np.maximum(np.fft.fft2(ring).real, 0.0)
    power /= power.mean(axis=(1, 2), keepdims=True)
    larger = np.fft.fft2(rng.standard_normal((*shape[:2], height, width)))
    noise = np.fft.ifft2(larger * np.sqrt(power)[:, None]).real
    return np.asarray(noise[:, :, : shape[2], : shape[3]])


def _lags(acf: Floats, shape: tuple[int, ...]) -> Iterator[tuple[int, int, Floats]]:
    """Lags that fit into a map of this shape, each with its correlation (n,); lags without correlation are left out."""
    middle_y, middle_x = acf.shape[1] // 2, acf.shape[2] // 2
    reach_y, reach_x = min(middle_y, shape[0] - 1), min(middle_x, shape[1] - 1)
    for dy in range(-reach_y, reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            rho = acf[:, middle_y + dy, middle_x + dx]
            if np.any(rho != 0):
                yield dy, dx, rho


def _pooled_autocorrelation(noise: Floats, mask: Floats) -> Floats:
    """One autocorrelation for all units (few pixels determine none alone), over lags up to a quarter of the map."""
    n, channels, height, width = noise.shape
    seen = np.where(np.isfinite(noise), noise, 0.0) * mask[:, None]
    scale = np.sqrt((seen**2).sum((1, 2, 3)) / np.maximum(mask.sum((1, 2)) * channels, 1.0))
    seen = seen / np.where(scale > 0, scale, np.inf)[:, None, None, None]
    reach_y, reach_x = height // 4, width // 4
    acf = np.zeros((2 * reach_y + 1, 2 * reach_x + 1))
    for dy in range(-reach_y, reach_y + 1):
        for dx in range(-reach_x, reach_x + 1):
            pairs = (_shifted(mask, dy, dx) * mask).sum() * channels
            acf[reach_y + dy, reach_x + dx] = (_shifted(seen, dy, dx) * seen).sum() / max(pairs, 1.0)
    acf = acf / max(acf[reach_y, reach_x], 1e-300)
    # Lags whose correlation is not told from none add only their estimation error.
    pixels = max(float(mask.sum()) * channels, 1.0)
    acf[np.abs(acf) < 3 / np.sqrt(pixels)] = 0.0
    return np.broadcast_to(acf, (n, *acf.shape))


def _shifted(values: Floats, dy: int, dx: int) -> Floats:
    """The last two axes moved by (dy, dx), with zeros moved in."""
    out = np.zeros_like(values)
    height, width = values.shape[-2:]
    to_y, to_x = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
    from_y, from_x = slice(max(-dy, 0), height + min(-dy, 0)), slice(max(-dx, 0), width + min(-dx, 0))
    out[..., to_y, to_x] = values[..., from_y, from_x]
    return out
