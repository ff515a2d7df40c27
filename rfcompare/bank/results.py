"""A results Dataset that shows its answer first, and prints as a table of a paper."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from rfcompare.quantities import kind_words

_ROWS = 10
"""Rows that a result shows of itself."""

_COLUMNS = ("estimate_a", "estimate_b", "effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling")


class Results(xr.Dataset):  # type: ignore[no-untyped-call]
    """A Dataset of the schema ``rfcompare-results/1``, as `rfcompare.likeness` gives it.

    It differs from any `xarray.Dataset` in what it shows only: the verdict and ten rows.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=size, seed=size)[0] for size in (13, 9))
    >>> result = rfc.likeness(cells, kernels, references=False, seed=0)
    >>> print(repr(result).partition(":")[0])
    Demonstration
    >>> result.to_markdown(floatfmt=".1f").splitlines()[0].split(" | ")[1].strip()
    'cells (simulated)'
    """

    __slots__ = ()

    def table(self) -> pd.DataFrame:
        """The rows in words, the likeness first, with the kinds of both sides and whose the intervals are."""
        found = pd.DataFrame({name: self[name].values for name in _COLUMNS if name in self})
        found.index = pd.Index(self["title" if "title" in self else "quantity"].values.astype(str), name="quantity")
        for side, name in (("a", "cells"), ("b", "kernels")):
            kinds = ", ".join(dict.fromkeys(kind_words(str(kind)) for kind in self[f"kind_{side}"].values))
            found = found.rename(columns={f"estimate_{side}": f"{name} ({kinds})"})
        found = found.dropna(axis="columns", how="all")
        if "interval" in self:
            found["interval"] = self["interval"].values.astype(str)
        first = self["quantity"].values != "likeness"
        return found.iloc[first.argsort(kind="stable")]

    def to_markdown(self, **how: Any) -> str:
        """The table as Markdown; options are those of `pandas.DataFrame.to_markdown`."""
        table = self.table().astype(object)
        return str(table.where(table.notna(), None).to_markdown(**{"floatfmt": ".3g", "missingval": ""} | how))

    def to_latex(self, **how: Any) -> str:
        """The table as LaTeX; options are those of `pandas.DataFrame.to_latex`."""
        return str(self.table().to_latex(**{"float_format": "%.3g", "na_rep": "", "escape": True} | how))

    def __repr__(self) -> str:
        if not self._whole():
            return super().__repr__()
        shown, rest = self.table().head(_ROWS), self.sizes["quantity"] - _ROWS
        text = shown.to_string(float_format="{:.3g}".format, na_rep="")
        return f"{self._said()}\n\n{text}\n{_more(rest)}"

    def _repr_html_(self) -> str:
        if not self._whole():
            return str(super()._repr_html_())
        from html import escape

        shown, rest = self.table().head(_ROWS), self.sizes["quantity"] - _ROWS
        text = shown.to_html(float_format="{:.3g}".format, na_rep="")
        return f"<p>{escape(self._said())}</p>{text}<p>{escape(_more(rest))}</p>"

    def _whole(self) -> bool:
        """Whether this is a table still, and no single row or variable of one."""
        needed = ("effect", "kind_a", "kind_b")
        return "quantity" in self.dims and all(name in self and self[name].ndim == 1 for name in needed)

    def _said(self) -> str:
        said = (str(self.attrs.get(name, "")) for name in ("verdict", "small_print"))
        return " ".join(text for text in said if text) or f"{self.sizes['quantity']} quantities"


def _more(rest: int) -> str:
    also = f"{rest} more rows, and " if rest > 0 else ""
    return f"{also}all variables: .table(), .to_markdown(), .to_latex(), .data_vars"
