"""Kernels in common terms: what kind of filter each map is, network by network, with the evidence for every word."""

from rfcompare.taxonomy.classes import ANSWERS, classify, summarize
from rfcompare.taxonomy.thresholds import THRESHOLDS, Threshold

__all__ = ["ANSWERS", "THRESHOLDS", "Threshold", "classify", "summarize"]
