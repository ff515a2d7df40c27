"""Cortical columns: ON/OFF subfields, their topology over cortex, and the average field of a column."""

from rfcompare.columns.aggregates import separate_columns
from rfcompare.columns.analysis import analyze_columns
from rfcompare.columns.sentences import Verdicts
from rfcompare.columns.subfields import subfields

__all__ = ["Verdicts", "analyze_columns", "separate_columns", "subfields"]
