"""What a format offers so that layouts can be applied to its files: arrays and columns by path."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass
class Cell:
    """Arrays that belong together but lie apart: a MATLAB cell, a ragged column, one dataset per unit."""

    items: NDArray[np.object_]
    """Arrays (NumPy or dask), text, or deeper cells."""
    labels: list[str] = field(default_factory=list)
    """What each item is called, when it has a name."""


class Store(ABC):
    """A file as a layout sees it."""

    name: str
    drops_trailing_axes = False
    """Whether the format keeps no axes of size 1 behind the last that is longer."""

    @abstractmethod
    def at(self, path: str, chunks: Any) -> Any:
        """The array (NumPy or dask) or `Cell` at `path`."""

    @abstractmethod
    def column(self, path: str) -> NDArray[Any]:
        """One value per unit at `path`, as a flat array of numbers or text."""

    def facts(self, path: str) -> dict[str, Any]:
        """What the file itself says about the maps at `path`, labels and provenance: of most formats nothing."""
        return {}

    def locate(self, path: str, select: tuple[Any, ...], chunks: Any) -> Any:
        """What is at `path`, indexed by a layout's `select`; of a cell with its labels."""
        located = self.at(path, chunks)
        if not select:
            return located
        values = located.items if isinstance(located, Cell) else located
        try:
            chosen = values[select]
            if not isinstance(located, Cell) or not isinstance(chosen, np.ndarray):
                return chosen
            labels = list(np.asarray(located.labels, dtype=object)[select]) if located.labels else []
        except (IndexError, ValueError) as error:
            raise InputError(
                f"select does not fit {path} in {self.name}, whose shape is {tuple(values.shape)} ({error})"
            ) from None
        return Cell(chosen, labels)


def array_of(items: list[Any]) -> NDArray[np.object_]:
    """A flat object array that keeps each item whole."""
    array = np.empty(len(items), dtype=object)
    array[:] = items if all(np.ndim(item) == 0 for item in items) else None
    for index, item in enumerate(items):
        array[index] = item
    return array
