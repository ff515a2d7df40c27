"""MATLAB files: v7.3, which is HDF5 with reversed axes and cells by reference, and v5, through SciPy.

Arrays come out as MATLAB shows them: ``size(c) = 13 13 94`` is an array of shape (13, 13, 94). v7.3 stores the axes in
reverse, so its arrays are transposed, never reshaped. v7.3 is read here rather than through pymatreader, which reads
whole files eagerly and follows references without bounds; the tests hold the two to the same values.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.errors import InputError
from rfcompare.sources.damage import read_as
from rfcompare.sources.hdf5 import MAX_ELEMENTS, HDF5Store, read_attributes
from rfcompare.sources.matlab_structure import CURE, check_variable, list_variables
from rfcompare.sources.store import Cell, Store, array_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPAQUE = ("table", "string", "datetime", "categorical", "containers.Map", "timetable", "duration")


class V73Store(HDF5Store):
    """A v7.3 file as a layout sees it."""

    drops_trailing_axes = True

    def at(self, path: str, chunks: Any) -> Any:
        """The array or cell at ``/variable/field…``, in MATLAB's order of axes."""
        parts = [part for part in path.split("/") if part]
        node: Any = self.reader.find("/")
        for depth, part in enumerate(parts):
            trail = "/" + "/".join(parts[: depth + 1])
            if isinstance(node, h5py.Group):
                node = self.reader.find(f"{node.name.rstrip('/')}/{part}")
            elif isinstance(node, h5py.Dataset) and h5py.check_ref_dtype(node.dtype) is not None:
                node = self._fields(self.reader.readable(node), part, trail)
            elif isinstance(node, np.ndarray):
                node = self._each(node, part, trail)
            else:
                raise InputError(f"there is no {trail} in {self.name}: {'/'.join(parts[:depth])} holds no fields")
        if isinstance(node, h5py.Group):
            raise InputError(f"{path} in {self.name} is a struct with the fields {', '.join(list(node)[:8])}; name one")
        if isinstance(node, np.ndarray):
            items = (self.content(self.reader.readable(item), chunks) for item in node.ravel())
            return Cell(array_of(self.reader.together(items, path)).reshape(node.shape))
        return self.content(self.reader.readable(node), chunks)

    def _fields(self, cell: h5py.Dataset, field: str, trail: str) -> NDArray[np.object_]:
        """The field of every struct in a cell or a struct array."""
        references = np.asarray(self.reader.read(cell, ())).T
        structs = [self.reader.follow(reference, trail) for reference in references.ravel()]
        return self._each(array_of(structs).reshape(references.shape), field, trail)

    def _each(self, structs: NDArray[np.object_], field: str, trail: str) -> NDArray[np.object_]:
        found = []
        for struct in structs.ravel():
            if not isinstance(struct, h5py.Group) or field not in struct:
                inside = ", ".join(list(struct)[:8]) if isinstance(struct, h5py.Group) else "no fields"
                raise InputError(f"there is no {trail} in {self.name}: an element there has {inside}")
            found.append(self.reader.find(f"{struct.name}/{field}"))
        return array_of(found).reshape(structs.shape)

    def content(self, dataset: h5py.Dataset, chunks: Any, above: tuple[str, ...] = ()) -> Any:
        """A dataset as MATLAB shows it: axes reversed, empties empty, char as text, cells as cells."""
        attrs = read_attributes(dataset)
        kind = str(attrs.get("MATLAB_class", ""))
        if attrs.get("MATLAB_empty"):
            return np.empty((0, 0))
        if kind in OPAQUE or ("MATLAB_object_decode" in attrs and kind not in ("double", "single", "logical", "char")):
            raise InputError(_not_read(f"{dataset.name} in {self.name}", kind))
        if kind == "char":
            codes = np.atleast_2d(self.reader.values(dataset.name).T)
            text = array_of(["".join(chr(int(code)) for code in row).rstrip("\0 ") for row in codes])
            return text.reshape(-1)
        found = super().content(dataset, chunks, above)
        return Cell(found.items.T) if isinstance(found, Cell) else found.T

    def column(self, path: str) -> NDArray[Any]:
        """One value per unit: a vector, a char matrix, or a cell of scalars and texts."""
        return _flat_values(self.at(path, None), f"{path} in {self.name}")


class V5Store(Store):
    """A v5 (v6, v7) file as a layout sees it."""

    drops_trailing_axes = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        listed = list_variables(path)
        self.shapes = {name: shape for name, shape, _ in listed}
        self.objects = {name: kind.removeprefix("opaque ") for name, _, kind in listed if kind.startswith("opaque ")}
        self._read: dict[str, Any] = {}

    def at(self, path: str, chunks: Any) -> Any:
        """The array or cell at ``/variable/field…``."""
        parts = [part for part in path.split("/") if part]
        if not parts or parts[0] not in self.shapes:
            raise InputError(f"there is no {path} in {self.name}; it holds {', '.join(self.shapes) or 'nothing'}")
        node = self.variable(parts[0])
        for depth, part in enumerate(parts[1:], start=2):
            node = self._field(node, part, "/" + "/".join(parts[:depth]))
        return _as_cell(node)

    def column(self, path: str) -> NDArray[Any]:
        """One value per unit: a vector, a char matrix, or a cell of scalars and texts."""
        return _flat_values(self.at(path, None), f"{path} in {self.name}")

    def variable(self, name: str) -> Any:
        """One variable, read when first asked for."""
        if name in self.objects:
            raise InputError(_not_read(f"{name} in {self.name}", self.objects[name]))
        if name not in self._read:
            elements = np.prod([float(size) for size in self.shapes[name]])
            if elements > MAX_ELEMENTS:
                raise InputError(
                    f"expected at most {MAX_ELEMENTS:.1e} elements in {name} of {self.name}, got {elements:.1e}; it is "
                    "not read"
                )
            self._read[name] = _scipy_read(self.path, name)
        return self._read[name]

    def _field(self, node: Any, field: str, trail: str) -> Any:
        if is_object(node):
            raise InputError(_not_read(f"what holds {trail} in {self.name}", ""))
        names = getattr(getattr(node, "dtype", None), "names", None)
        if names is not None:
            if field not in names:
                raise InputError(
                    f"there is no {trail} in {self.name}; the struct has the fields {', '.join(names[:10])}"
                )
            values = node[field]
            return values.flat[0] if values.size == 1 else values
        if isinstance(node, np.ndarray) and node.dtype == object:
            return array_of([self._field(item, field, trail) for item in node.ravel()]).reshape(node.shape)
        raise InputError(f"there is no {trail} in {self.name}: what is above it has no fields")


def is_object(node: Any) -> bool:
    """Whether SciPy read a MATLAB object, whose numbers only MATLAB can find."""
    from scipy.io.matlab import MatlabOpaque

    return isinstance(node, MatlabOpaque)


def _not_read(what: str, kind: str) -> str:
    """One sentence for an object that is named as maps or labels."""
    own = f" of the class {kind}" if kind else ""
    return f"{what} is a MATLAB object{own}, which only MATLAB reads; save it as a numeric array, a cell or a struct"


def _as_cell(node: Any) -> Any:
    """Nested object arrays as nested cells; numbers and texts as they are."""
    if is_object(node):
        return Cell(array_of(["a MATLAB object, which is not read"]))
    if isinstance(node, np.ndarray) and node.dtype == object:
        return Cell(array_of([_as_cell(item) for item in node.ravel()]).reshape(node.shape))
    if getattr(getattr(node, "dtype", None), "names", None):
        return Cell(array_of([f"a struct with {', '.join(node.dtype.names[:8])}"]))
    return np.asarray(node)


def _flat_values(node: Any, where: str) -> NDArray[Any]:
    """Numbers or texts, one after another, from a vector, a char matrix or a cell of single values."""
    if not isinstance(node, Cell):
        values = np.asarray(node).ravel()
        # The rows of a char matrix are filled up with blanks, which belong to no name.
        return np.char.rstrip(values) if values.dtype.kind == "U" else values
    items = []
    for item in node.items.ravel():
        value = _flat_values(item, where) if isinstance(item, Cell) else np.asarray(item).ravel()
        if value.size != 1:
            raise InputError(f"expected one value in each cell of {where}, got an array of {value.size}")
        items.append(value[0])
    if all(isinstance(item, str) for item in items):
        return array_of(items)
    return np.asarray(items)


def _scipy_read(path: Path, name: str) -> Any:
    from scipy.io import loadmat

    check_variable(path, name)
    with read_as("a MATLAB file", path, CURE):
        return loadmat(str(path), variable_names=[name], appendmat=False)[name]
