"""How alike kernels and cortex are, and what that hangs on.

`likeness` is the answer: everything seen through one recording (`setting`, `ladder`); Gabor structure (`structure`),
then how near populations are (`nearness`), with tests and intervals that include all that was sampled (`sampling`); in
words (`sentences`). `compare_published` and `histogram_table` compare with published histograms. Below them the
arithmetic is plain NumPy: `energy` (distances between populations), `inference` (what a handful of animals allows),
`statistics` (one descriptor).

Adding a statistic: write it on arrays with a hand-worked doctest, give it a row in `structure` or `nearness`, and put
its test among the calibrated ones in ``tests/test_likeness.py``.
"""

from rfcompare.comparison.histograms import (
    compare_published,
    histogram_table,
    published,
    published_tuning,
    ringach_claims,
)
from rfcompare.comparison.likeness import likeness
from rfcompare.comparison.populations import Space, make_space
from rfcompare.comparison.sensitivity import beside_sensitivity

__all__ = [
    "Space",
    "beside_sensitivity",
    "compare_published",
    "histogram_table",
    "likeness",
    "make_space",
    "published",
    "published_tuning",
    "ringach_claims",
]
