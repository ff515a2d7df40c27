"""Cells, kernels and what is neither, drawn with a known answer for the tests of the likeness."""

from __future__ import annotations

import numpy as np
import xarray as xr

import rfcompare as rfc
from rfcompare.simulation.references import REFERENCES

FILL, JITTER, SPREAD, WIDTH_SPREAD = 0.14, 0.08, 0.45, 0.2
"""Envelope SD and jitter of the center in shares of the map; SD of log nx and log ny, and of the log width."""


def gabor_maps(
    n: int,
    size: int,
    rng: np.random.Generator,
    *,
    cycles: float = 1.0,
    subjects: int = 7,
    icc: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Gabors of median nx 0.25 and ny 0.30 times `cycles`, and whose each is; `icc` of log nx and log ny."""
    subject = np.arange(n) % subjects

    def deviate() -> np.ndarray:
        shared, own = rng.standard_normal(subjects)[subject], rng.standard_normal(n)
        return np.sqrt(icc) * shared + np.sqrt(1 - icc) * own

    nx, ny = 0.25 * cycles * np.exp(SPREAD * deviate()), 0.30 * cycles * np.exp(SPREAD * deviate())
    width = FILL * size * np.exp(WIDTH_SPREAD * deviate())
    frequency = np.clip(np.sqrt(nx * ny) / width, 0.01, 0.45)
    angle, phase = rng.uniform(0, np.pi, n), rng.uniform(0, 2 * np.pi, n)
    x0, y0 = rng.uniform(-JITTER, JITTER, (2, n)) * size
    line = np.arange(size) - (size - 1) / 2
    x, y = line - x0[:, None, None], line[:, None] - y0[:, None, None]
    c, s, f = (values[:, None, None] for values in (np.cos(angle), np.sin(angle), frequency))
    u, v = x * c + y * s, y * c - x * s
    envelope = np.exp(-((u * f / nx[:, None, None]) ** 2 + (v * f / ny[:, None, None]) ** 2) / 2)
    return envelope * np.cos(2 * np.pi * f * u + phase[:, None, None]), subject


def population(name: str, n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Maps by the name of a population: "truth", "1.3 times the cycles", or a reference."""
    if name == "truth":
        return gabor_maps(n, size, rng)[0]
    if name == "1.3 times the cycles":
        return gabor_maps(n, size, rng, cycles=1.3)[0]
    if name == "pink noise":
        return pink_noise(n, size, rng)
    return REFERENCES[name](n, size, size, rng)


def pink_noise(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with an amplitude spectrum of 1/f, cut from maps of twice the size."""
    line = np.fft.fftfreq(2 * size)
    frequency = np.maximum(np.hypot(line, line[:, None]), 1 / (2 * size))
    white = np.fft.fft2(rng.standard_normal((n, 2 * size, 2 * size)))
    return np.fft.ifft2(white / frequency).real[:, :size, :size]


def cortex_of(maps: np.ndarray, subject: np.ndarray, snr: float, rng: np.random.Generator) -> xr.Dataset:
    """A recording of maps with white noise; SNR is a map's RMS over the noise's SD."""
    noise = np.zeros(len(maps))
    if np.isfinite(snr):
        noise = np.sqrt((maps**2).mean((1, 2))) / snr
        maps = maps + noise[:, None, None] * rng.standard_normal(maps.shape)
    bank = rfc.make_bank(
        maps[:, None], channel=("signed",), kind="simulated", subject=[f"animal {number}" for number in subject]
    )
    return bank.assign(noise_sd=("unit", noise))


def kernels_of(maps: np.ndarray) -> xr.Dataset:
    """Kernels."""
    return rfc.make_bank(maps[:, None], channel=("signed",), kind="simulated")
