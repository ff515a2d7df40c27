"""Maps in ``.npy`` and ``.npz`` files, which say nothing but shapes: a layout says the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.errors import InputError
from rfcompare.sources.checkpoints import entries_of, some
from rfcompare.sources.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray


class NumPyStore(Store):
    """A NumPy file as a layout sees it: its one array at any path, or the arrays of an archive by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name

    def at(self, path: str, chunks: Any) -> Any:
        """The array called `path`."""
        return self.column(path)

    def column(self, path: str) -> NDArray[Any]:
        """The array called `path`; of a single array every path leads to it."""
        with entries_of(self.path) as entries:
            name = path.strip("/") if list(entries) != [""] else ""
            if name not in entries:
                raise InputError(f"there is no {name or '/'} in {self.name}; it holds {some(list(entries))}")
            return np.asarray(entries[name].read())
