"""Statistics between populations: what differs, how far apart two populations are, and compared with what.

`compare` gives a row per descriptor and per joint statistic, each with its interval, null, ceiling and what its p
tests; `score` only the similarity score; `compare_published` and `histogram_table` compare with published
histograms; `compare_cortices` with `question_table`, `scale_table`, `difference_table` and `multiverse` answer
which cortex is nearest, where a network differs, and how far that hangs on choices.

Below them the arithmetic is plain NumPy: `statistics` (one descriptor), `energy` (several jointly), `inference`
(what a handful of animals allows), `similarity` (the score from arrays). Intervals are over animals: Student's t
for subject-level estimates, BCa from 20 animals, and Student weights for distances and the score, whose
delete-one-animal jackknife covered as little as 88 % in one dimension
(``reference_data/calibration_comparison.csv``) and is reported beside them.

Adding a statistic: write it on arrays in `statistics` or `energy` with a hand-worked doctest, give it a row in
`marginal` or `joint`, and put its test among the calibrated ones in ``tests/test_comparison_calibration.py``.
"""

from rfcompare.comparison.histograms import compare_published, histogram_table, published, ringach_claims
from rfcompare.comparison.likeness import likeness
from rfcompare.comparison.populations import Space, make_space
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
    "histogram_table",
    "likeness",
    "make_space",
    "multiverse",
    "published",
    "question_table",
    "ringach_claims",
    "scale_table",
    "score",
    "similarity_score",
]
