"""Statistics between populations: what differs, how far apart two populations are, and compared with what.

`compare` gives a row per descriptor and per joint statistic, each with its interval, null, ceiling and what its
p tests; `score` only the similarity score. Below them the arithmetic is plain NumPy: `statistics` (one descriptor),
`energy` (several jointly), `inference` (what a handful of animals allows), `similarity` (the score from arrays).

Adding a statistic: write it on arrays in `statistics` or `energy` with a hand-worked doctest, give it a row in
`marginal` or `joint`, and put its test among the calibrated ones in ``tests/test_comparison.py``.
"""

from rfcompare.comparison.populations import Space, make_space
from rfcompare.comparison.published import compare_published, published, ringach_claims
from rfcompare.comparison.questions import (
    compare_cortices,
    difference_table,
    multiverse,
    question_table,
    scale_table,
)
from rfcompare.comparison.results import compare, score
from rfcompare.comparison.similarity import Score, similarity_score

__all__ = [
    "Score",
    "Space",
    "compare",
    "compare_cortices",
    "compare_published",
    "difference_table",
    "make_space",
    "multiverse",
    "published",
    "question_table",
    "ringach_claims",
    "scale_table",
    "score",
    "similarity_score",
]
