"""Populations with known truth: a simulated tree-shrew cortex, parametric banks, and null ensembles."""

from rfcompare.simulation.assumptions import TreeShrew, parameter_table, parsed_parameters
from rfcompare.simulation.nulls import NULLS, simulate_null
from rfcompare.simulation.populations import simulate_population
from rfcompare.simulation.treeshrew import simulate_treeshrew, write_treeshrew

__all__ = [
    "NULLS",
    "TreeShrew",
    "parameter_table",
    "parsed_parameters",
    "simulate_null",
    "simulate_population",
    "simulate_treeshrew",
    "write_treeshrew",
]
