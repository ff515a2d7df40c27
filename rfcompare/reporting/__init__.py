"""The page: one HTML file that gives the answer, its evidence, how it was got, and the numbers.

`page.py` puts it together from what `words.py`, `tables.py` and `plane.py` make of the Datasets; how it looks and what
stands in it is in ``rfcompare/templates``. The file holds everything: the library behind the interactive plane
(Vega-Lite, from the Python package vl-convert), maps, figures and tables. The page's own policy forbids the browser
every outside request, and all that comes from files is escaped.
"""

from rfcompare.reporting.page import write_report

__all__ = ["write_report"]
