"""96 kernels × 300 fields over shift, rotation, scale and sign, against turning and correlating one pair at a time.

Run with ``pytest tests/benchmarks/test_bench_matching.py -o addopts= -s``.
"""

import time

import numpy as np
from scipy.ndimage import affine_transform
from scipy.signal import fftconvolve

import rfcompare as rfc
from rfcompare.matching import Search

KERNELS, FIELDS = 96, 300
SECONDS = 60  # CPU time on one core; about 16 on 300 recorded cells and 96 trained kernels
RATIO = 100
NAIVE_TRANSFORMS = 100


def gabors(n: int, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.arange(size) - (size - 1) / 2
    sigma = rng.uniform(1.6, 2.4, (n, 1, 1)) * size / 13
    angle, phase = rng.uniform(0, np.pi, (n, 1, 1)), rng.uniform(0, 2 * np.pi, (n, 1, 1))
    u = np.cos(angle) * x + np.sin(angle) * x[:, None]
    carrier = np.cos(2 * np.pi * rng.uniform(0.2, 0.5, (n, 1, 1)) / sigma * u + phase)
    return np.asarray(np.exp(-(x**2 + x[:, None] ** 2) / (2 * sigma**2)) * carrier)


def naive_pair_seconds(kernel: np.ndarray, field: np.ndarray) -> float:
    """Seconds to turn, scale, interpolate and correlate one pair over all of the search's rotations and scales."""
    search = Search()
    transforms = 2 * search.rotations.size * search.scales.size
    middle = (np.array(kernel.shape) - 1) / 2
    start = time.process_time()
    for i in range(NAIVE_TRANSFORMS):
        angle, scale = 0.05 * i, 0.5 + 0.015 * i
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
        copy = affine_transform(kernel, turn, middle - turn @ middle, order=3)
        np.abs(fftconvolve(field, copy[::-1, ::-1], mode="same")).max()
    return (time.process_time() - start) / NAIVE_TRANSFORMS * transforms


def test_all_pairs_take_seconds_and_a_hundredth_of_the_naive_loop() -> None:
    a, b = gabors(KERNELS, 13, seed=0), gabors(FIELDS, 21, seed=1)
    kernels = rfc.make_bank(a[:, None], channel=("signed",), kind="simulated")
    fields = rfc.make_bank(b[:, None], channel=("signed",), kind="simulated", deg_per_px=0.5)
    start = time.process_time()
    found = rfc.match(kernels, fields, nulls=None, progress=False)
    ours = time.process_time() - start
    naive = naive_pair_seconds(a[0], b[0]) * KERNELS * FIELDS
    print(
        f"\n{KERNELS} × {FIELDS}: {ours:.1f} s of CPU time, one pair at a time {naive:.0f} s: ratio {naive / ours:.0f}"
    )
    assert float(found.best.median()) > 0.9
    assert ours < SECONDS
    assert naive / ours >= RATIO
