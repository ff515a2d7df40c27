"""Tables as the page shows them: titles and numbers first, and what else they hold on request."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rfcompare.figures.drawing import Population
from rfcompare.quantities import QUANTITIES, kind_words

_MOST_COLUMNS = 8
"""Of a table that are shown until more are asked for."""

_MOST_ROWS = 2000
"""Rows of one table in the page; the CSV beside the page has them all."""


def unit_table(descriptors: Sequence[xr.Dataset], styles: Sequence[Population]) -> pd.DataFrame:
    """Put all units of all populations in one table: who, kind, descriptors with units, status."""
    parts = []
    for table, population in zip(descriptors, styles, strict=True):
        columns: dict[str, Any] = {
            "population": population.name,
            "kind": population.kind,
            "unit": table["unit"].values.astype(str),
            "subject": table["subject"].values.astype(str),
        }
        for name, quantity in QUANTITIES.items():
            if name in table:
                unit = "" if quantity.dimensionless else f" ({quantity.units(population.units)})"
                columns[name + unit] = np.asarray(table[name].values, dtype=float)
        if "status" in table:
            columns["status"] = np.ravel(table["status"].values).astype(str)
        parts.append(pd.DataFrame(columns))
    joined = pd.concat(parts, ignore_index=True)
    last = ["status"] if "status" in joined else []
    return joined[[name for name in joined.columns if name not in last] + last]


_TITLES = {
    "title": "name", "citation": "source", "ci_low": "95 % from", "ci_high": "95 % to", "low": "95 % from",
    "high": "95 % to", "p_adjusted": "p, adjusted", "p_smallest": "least p", "p_cells": "p, cells alone",
    "p_noise": "p against noise", "p_noise_smallest": "least p against noise", "r2": "r²",
    "estimate_a": "cells", "estimate_b": "kernels", "on_bound_a": "cells on a bound",
    "on_bound_b": "kernels on a bound", "n_units_a": "n cells", "n_units_b": "n kernels",
    "n_total_a": "n cells in all", "n_total_b": "n kernels in all",
    "n_subjects_a": "n animals", "n_subjects_b": "n networks", "n_missing_a": "cells without", "n_missing_b":
    "kernels without", "gabor_share": "share a Gabor explains", "primary": "reported", "quantity": "short name",
    "reference": "short name", "kind_a": "kind of the cells", "kind_b": "kind of the kernels",
}  # fmt: skip
"""What columns are called above a table where their names do not say it."""


def page_table(name: str, title: str, frame: pd.DataFrame) -> dict[str, Any]:
    """What the page's template needs of a table: titles, cells as text and as numbers, and what is shown at first."""
    frame, worth = _readable(frame)
    numeric = [bool(pd.api.types.is_numeric_dtype(frame[column])) for column in frame.columns]
    shown = frame.iloc[:_MOST_ROWS]
    rows = [
        [_cell(value, is_number) for value, is_number in zip(row, numeric, strict=True)]
        for row in shown.itertuples(index=False, name=None)
    ]
    return {
        "name": name,
        "title": title,
        "shown": min(_MOST_COLUMNS, worth),
        "columns": [_column(str(column), number) for column, number in zip(frame.columns, numeric, strict=True)],
        "rows": rows,
        "total": len(frame),
        "kinds": _kinds_of(frame),
    }


def _readable(frame: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Put titles first, and last what is empty, said above the table or only a short name; how many are not last."""
    unknown = {name: frame[name].where(frame[name] > 0) for name in ("n_subjects_a", "n_subjects_b") if name in frame}
    frame = frame.assign(**unknown)  # nobody says whose they are, which is not nobody's
    last = [name for name in ("kind_a", "kind_b") if name in frame]
    last += [name for name in frame if name not in last and frame[name].isna().all() and len(frame)]
    first = []
    if "title" in frame:
        first = ["title"]
        last += [name for name in ("quantity", "reference", "citation") if name in frame]
        titles = frame["title"]
        if "units" in frame:
            units = frame["units"].fillna("")
            titles = titles.where(units == "", titles + " (" + units + ")")
        for before in (r"^.*_", "^") if "quantity" in frame else ():  # short names tell apart: their ends, or whole
            told = titles + ", " + frame["quantity"].str.replace(before, "", regex=True)
            titles = titles.where(~titles.duplicated(keep=False), told)
        frame = frame.assign(title=titles)
    order = [*first, *(name for name in frame if name not in (*first, *last)), *last]
    return frame[order], len(order) - len(last)


def _column(name: str, numeric: bool) -> dict[str, Any]:
    """A column's name, what is written above it, and in full what it holds."""
    short, unit = name.partition(" (")[::2]
    quantity = QUANTITIES.get(short)
    about = "" if quantity is None else quantity.title + (f" ({unit}" if unit else "")
    words = _TITLES.get(name, name).replace("_", " ")
    return {"name": name, "numeric": numeric, "title": words, "about": about or (name if name != words else "")}


def _kinds_of(frame: pd.DataFrame) -> str:
    """What kind each side of a comparison is, for above a table whose first columns leave no room for it."""
    said = [
        f"{side}: {', '.join(map(kind_words, dict.fromkeys(frame[column].dropna().astype(str))))}"
        for column, side in (("kind_a", "cells"), ("kind_b", "kernels"))
        if column in frame and len(frame)
    ]
    return "; ".join(said).capitalize() + ("." if said else "")


def _cell(value: Any, numeric: bool) -> dict[str, str]:
    if not numeric:
        return {"text": "" if value is None or value != value else str(value), "value": ""}
    if isinstance(value, bool | np.bool_):
        return {"text": "yes" if value else "no", "value": str(int(value))}
    if value is None or not math.isfinite(value):
        return {"text": "", "value": ""}
    text = f"{value:.3g}" if float(value) != int(value) else f"{int(value)}"
    return {"text": text.replace("-", "−"), "value": f"{value:.6g}"}
