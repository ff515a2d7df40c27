"""Kernels in common terms: what kind of filter each map is, network by network, with the evidence for every word."""

from rfcompare.taxonomy.classes import ANSWERS, bands, classify, summarize
from rfcompare.taxonomy.learning import gabor_verdict, training_history
from rfcompare.taxonomy.networks import survey
from rfcompare.taxonomy.thresholds import THRESHOLDS, Threshold

__all__ = [
    "ANSWERS",
    "THRESHOLDS",
    "Threshold",
    "bands",
    "classify",
    "gabor_verdict",
    "summarize",
    "survey",
    "training_history",
]
