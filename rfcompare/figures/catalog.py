"""The gallery: every figure by name, the function that draws it, and the code that calls it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from rfcompare.figures import columns, distributions, maps, networks, populations, rungs
from rfcompare.figures.pairs import matches


class Entry(NamedTuple):
    """One figure of the gallery.

    Attributes
    ----------
    draw : callable
        Returns a matplotlib Figure.
    shows : str
        What is to be seen, in one line.
    code : str
        How it is drawn in Python, of objects named as in the tutorials.
    """

    draw: Any
    shows: str
    code: str

    def __call__(self, *args: Any, **options: Any) -> Figure:
        """Draw the figure."""
        figure: Figure = self.draw(*args, **options)
        return figure


FIGURES: Mapping[str, Entry] = MappingProxyType(
    {
        "kernels": Entry(maps.kernels, "maps of both populations as tiles", "rfc.figures.kernels(kernels, fields)"),
        "fits": Entry(
            maps.fits,
            "data, fit and residual of example units and the distribution of r²",
            "rfc.figures.fits(field_fits, kernel_fits)",
        ),
        "gabor_space": Entry(
            populations.gabor_space,
            "the (nx, ny) plane with marginals and densities",
            "rfc.figures.gabor_space(field_fits, kernel_fits)",
        ),
        "tuning": Entry(
            distributions.tuning,
            "orientation, frequency, bandwidths, phase, size",
            'rfc.figures.tuning(field_fits, kernel_fits, published=[rfc.comparison.published("schiller1976_simple")])',
        ),
        "columns": Entry(
            columns.cortical_columns,
            "ON and OFF over cortex and the fields of columns",
            "rfc.figures.cortical_columns(fields, rfc.analyze_columns(fields, seed=0))",
        ),
        "matches": Entry(
            matches,
            "matched pairs with chance and ceiling, and the similarity matrix",
            "rfc.figures.matches(rfc.match(kernels, fields, seed=0), kernels, fields)",
        ),
        "ladder": Entry(
            rungs.ladder,
            "how near every population is to the recording: noise 0, an animal 1",
            'rfc.figures.ladder({"network – cortex": rfc.likeness(fields, kernels, seed=0)})',
        ),
        "survey": Entry(
            networks.survey,
            "what the first layers of many networks consist of",
            'rfc.figures.survey(rfc.survey({"my network": color_kernels}, seed=0))',
        ),
        "color": Entry(networks.color, "color kernels in opponent space", "rfc.figures.color(color_kernels)"),
        "training": Entry(
            networks.training,
            "kernels over the steps of training",
            "rfc.figures.training(*trained.snapshots.values())",
        ),
    }
)
"""Every figure in the order of the gallery."""
