"""Between maps: which kernel looks like which field, and whether both populations answer stimuli alike."""

from rfcompare.matching.maps import apply_transform, match, sentence
from rfcompare.matching.responses import compare_responses
from rfcompare.matching.spectra import Search

__all__ = [
    "Search",
    "apply_transform",
    "compare_responses",
    "match",
    "sentence",
]
