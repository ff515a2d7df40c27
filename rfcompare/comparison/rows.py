"""A row of a result, the words that stand in it, and how rows become a results Dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.comparison.populations import UNKNOWN
from rfcompare.quantities import SCHEMAS

WITHIN_SAMPLE = "within-sample, optimistic"
CONFOUNDED = "stimulus confounded"
DEMONSTRATION = "demonstration: depends on assumed parameters"


@dataclass
class Row:
    """One row of a result; a missing number is NaN and a missing text empty."""

    quantity: str
    title: str
    family: str = ""
    statistic: str = ""
    units: str = ""
    number: dict[str, float] = field(default_factory=dict)
    text: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def note(self, *texts: str) -> None:
        """Add to what must be said about this row, once."""
        self.notes += [text for text in texts if text and text not in self.notes]


def headings(a: xr.Dataset, b: xr.Dataset) -> list[str]:
    """What must stand above every answer about these two populations."""
    found = []
    if "simulated" in (a.attrs.get("kind"), b.attrs.get("kind")):
        found.append(DEMONSTRATION)
    stimulus = [str(data.attrs.get("stimulus", "")) for data in (a, b)]
    recorded = all(data.attrs.get("kind") == "measured" or stimulus[i] for i, data in enumerate((a, b)))
    if recorded and _stimulus_class(stimulus[0]) != _stimulus_class(stimulus[1]):
        found.append(CONFOUNDED)
    return found


def _stimulus_class(stimulus: str) -> str:
    """The class in a stimulus description: its "class" where it is JSON, else what stands before the first comma."""
    try:
        described = json.loads(stimulus)
    except ValueError:
        described = stimulus
    if isinstance(described, dict):
        return str(described.get("class", UNKNOWN)).strip().lower()
    return str(described).split(",")[0].strip().lower() or UNKNOWN


def row_variables(
    rows: Sequence[Row],
    *,
    numbers: Sequence[str],
    counts: Sequence[str],
    texts: Sequence[str],
    about: Sequence[str] = ("title", "statistic", "units"),
) -> dict[str, Any]:
    """Rows as variables over ``quantity``; missing numbers are NaN, missing counts 0, missing texts empty.

    Parameters
    ----------
    rows : sequence of Row
    numbers, counts, texts : sequence of str
        What is taken of a row's numbers and texts.
    about : sequence of str
        Fields of a row that are taken as they are.
    """
    columns: dict[str, tuple[list[Any], Any]] = {
        **{name: ([row.number.get(name, np.nan) for row in rows], np.float64) for name in numbers},
        **{name: ([row.number.get(name, 0) for row in rows], np.int64) for name in counts},
        **{name: ([row.text.get(name, "") for row in rows], object) for name in texts},
        **{name: ([getattr(row, name) for row in rows], object) for name in about},
        "note": (["; ".join(row.notes) for row in rows], object),
    }
    return {name: ("quantity", np.array(values, dtype=kind)) for name, (values, kind) in columns.items()}


def dataset(rows: Sequence[Row], kind_a: str, kind_b: str) -> xr.Dataset:
    """Rows of published histograms or of responses as a results Dataset."""
    variables = row_variables(
        rows,
        numbers=(
            *("effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling"),
            *("p_smallest", "property_similarity", "property_ceiling"),
        ),
        counts=("n_units_a", "n_units_b", "n_subjects_a", "n_subjects_b", "n_missing_a", "n_missing_b"),
        texts=("hypothesis", "method", "ceiling_kind", "null_name", "citation"),
        about=("title", "family", "statistic", "units"),
    )
    for name, kind in (("kind_a", kind_a), ("kind_b", kind_b)):
        variables[name] = ("quantity", np.array([kind] * len(rows), dtype=object))
    return xr.Dataset(
        variables,
        coords={"quantity": np.array([row.quantity for row in rows], dtype=object)},
        attrs={"schema": SCHEMAS["results"].name},
    )
