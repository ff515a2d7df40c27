"""Between maps: which kernel looks like which field, and whether both populations answer stimuli alike."""

from rfcompare.matching.maps import apply_transform, match, sentence
from rfcompare.matching.responses import (
    Gratings,
    compare_responses,
    dissimilarity,
    linear_cka,
    respond,
    rsa,
    tuning,
)
from rfcompare.matching.spectra import Search

__all__ = [
    "Gratings",
    "Search",
    "apply_transform",
    "compare_responses",
    "dissimilarity",
    "linear_cka",
    "match",
    "respond",
    "rsa",
    "sentence",
    "tuning",
]
