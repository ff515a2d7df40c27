"""10,000 permutations of 1,000 cells and 300 kernels against the naive loop over `energy_distance`.

Run with ``pytest tests/benchmarks/test_bench_comparison.py -o addopts= --benchmark-only`` or, for the ratio, without
``--benchmark-only``.
"""

import time
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from rfcompare.comparison.energy import energy_distance, permutation_test

CELLS, KERNELS, AXES, PERMUTATIONS = 1000, 300, 6, 10_000
RATIO = 100  # what is promised; about 150 on one core
SECONDS = 5
NAIVE_LOOPS = 20


def units() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(CELLS + KERNELS, AXES))


def test_permutations_of_cells_and_kernels(benchmark: Any) -> None:
    points = units()

    def run() -> float:
        return permutation_test(cdist(points, points), CELLS, n_permutation=PERMUTATIONS, seed=0)[1].p

    assert 0 < benchmark.pedantic(run, rounds=3, warmup_rounds=1) <= 1


def test_permutations_take_seconds_and_a_hundredth_of_the_naive_loop() -> None:
    points = units()
    rng = np.random.default_rng(0)
    fast = []
    for _ in range(3):
        start = time.perf_counter()
        permutation_test(cdist(points, points), CELLS, n_permutation=PERMUTATIONS, seed=0)
        fast.append(time.perf_counter() - start)
    start = time.perf_counter()
    for _ in range(NAIVE_LOOPS):
        mixed = rng.permutation(points)
        energy_distance(mixed[:CELLS], mixed[CELLS:])
    naive = (time.perf_counter() - start) / NAIVE_LOOPS * PERMUTATIONS
    print(f"{min(fast):.2f} s against {naive:.0f} s: ratio {naive / min(fast):.0f}")
    assert min(fast) < SECONDS
    assert naive / min(fast) >= RATIO
