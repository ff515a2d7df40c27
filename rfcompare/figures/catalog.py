"""The gallery: every figure by name, the function that draws it, and the Datasets it needs."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from rfcompare.figures import columns, distributions, maps, networks, pairs, populations, rungs


class Entry(NamedTuple):
    """One figure of the gallery.

    Attributes
    ----------
    draw : callable
        Takes what `needs` names, as positional Datasets, and returns a matplotlib Figure.
    needs : str
        What it is drawn from, one word: "banks", "fits", …
    shows : str
        What is to be seen, in one line.
    """

    draw: Any
    needs: str
    shows: str

    def __call__(self, *args: Any, **options: Any) -> Figure:
        """Draw the figure."""
        figure: Figure = self.draw(*args, **options)
        return figure


FIGURES: Mapping[str, Entry] = MappingProxyType(
    {
        "kernels": Entry(maps.kernels, "banks", "maps of both populations as tiles"),
        "fits": Entry(maps.fits, "fits", "data, fit and residual of example units and the distribution of r²"),
        "gabor_space": Entry(populations.gabor_space, "fits", "the (nx, ny) plane with marginals and densities"),
        "tuning": Entry(distributions.tuning, "fits", "orientation, frequency, bandwidths, phase, size"),
        "columns": Entry(columns.cortical_columns, "columns", "ON and OFF over cortex and the fields of columns"),
        "matches": Entry(pairs.matches, "match", "matched pairs with chance and ceiling, and the similarity matrix"),
        "ladder": Entry(rungs.ladder, "results", "how near every population is to the recording: noise 0, an animal 1"),
        "survey": Entry(networks.survey, "survey", "what the first layers of many networks consist of"),
        "color": Entry(networks.color, "kernels", "color kernels in opponent space"),
        "training": Entry(networks.training, "snapshots", "kernels over the steps of training"),
    }
)
"""Every figure in the order of the gallery."""
