"""Between maps: which kernel looks like which field, and whether both populations answer stimuli alike."""

from rfcompare.matching.maps import apply_transform, match, sentence
from rfcompare.matching.search import Search

__all__ = ["Search", "apply_transform", "match", "sentence"]
