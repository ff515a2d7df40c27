"""Reading HDF5 that others wrote: bounded before anything is read, lazily when large, and never outside the file."""

from __future__ import annotations

import contextlib
import fnmatch
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.bank import bounded, open_hdf5
from rfcompare.errors import InputError, first_line
from rfcompare.sources.store import Cell, Store, array_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

LAZY_BYTES = 2**27
"""Maps of more bytes than this (128 MiB) stay in their file until they are computed."""

_CHUNK_BYTES = "16MiB"

MAX_ELEMENTS = 2**36
"""More elements than this (6.9·10¹⁰) in one array is a damaged or a mistaken file."""

_MAX_LABELS = 10**7
"""Coordinates and labels are read whole, so they are bounded more tightly."""

_MAX_SOFT_LINKS = 16

_MAX_VISITED = 20_000
"""Objects of a file that are looked at for what they may hold."""

_FILTER_PACKAGE = "hdf5plugin"


class _StoredArray:
    """A dataset in a file, opened only while some of it is read; what a lazy bank keeps instead of an open file."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.path = path.absolute()  # it is opened again when computed, perhaps from another folder
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.ndim = len(shape)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        try:
            with open_hdf5(self.path) as file:
                return np.asarray(file[stored_name(self.name)][index])
        except (OSError, KeyError) as error:
            raise InputError(
                f"cannot read {self.name} of {self.path} any more ({first_line(error)}); was the file moved or "
                "changed after it was opened?"
            ) from None


class Reader:
    """An open HDF5 file of foreign origin, addressed by paths.

    Whatever it cannot give, since it is damaged, lies in another file or is out of all proportion, is an `InputError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        if not h5py.is_hdf5(path):
            raise InputError(f"expected an HDF5 file, but {path} is not one; is it text or another format renamed?")
        self.file = open_hdf5(path)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    # Finding -------------------------------------------------------------------------------------------------------

    def find(self, path: str) -> h5py.Group | h5py.Dataset:
        """The object at `path`, reached without leaving the file."""
        found = self._walk(path, soft_links=0)
        if found is None:
            raise InputError(self._missing(path))
        return found

    def _walk(self, path: str, soft_links: int) -> h5py.Group | h5py.Dataset | None:
        if soft_links > _MAX_SOFT_LINKS:
            raise InputError(
                f"the path {path} in {self.name} is a link that leads in a circle; name the dataset itself"
            )
        node: Any = self.file["/"]
        path, trail = text_name(path), ""
        for part in [piece for piece in path.split("/") if piece]:
            if not isinstance(node, h5py.Group):
                return None
            kind, target = link_of(node, part)
            if kind == "none":
                return None
            if kind == "external":
                raise InputError(
                    f"{trail}/{part} in {self.name} is a link to another file ({target}), which is not followed; open "
                    "that file itself"
                )
            if kind == "soft":
                node = self._walk(target if target.startswith("/") else f"{trail}/{target}", soft_links + 1)
                if node is None:
                    return None
            else:
                try:
                    node = node[stored_name(part)]
                except (KeyError, OSError, RuntimeError) as error:
                    raise InputError(f"{trail}/{part} in {self.name} is damaged ({first_line(error)})") from None
            trail = f"{trail}/{part}"
        return node

    def _missing(self, path: str) -> str:
        """One sentence for a path that leads nowhere, with what there is instead."""
        import difflib

        parent, _, last = path.rstrip("/").rpartition("/")
        while parent and not self.is_group(parent):
            parent, _, last = parent.rpartition("/")
        there = self.children(parent or "/")
        near = difflib.get_close_matches(last, there, n=3) or there[:8]
        more = "…" if len(there) > len(near) else ""
        return (
            f"there is no {path} in {self.name}; {parent or '/'} holds {', '.join(near) or 'nothing'}{more} (rfcompare "
            "inspect FILE shows all)"
        )

    def is_dataset(self, path: str) -> bool:
        """Whether a dataset is at `path` inside this file."""
        return isinstance(self._walk_quietly(path), h5py.Dataset)

    def is_group(self, path: str) -> bool:
        """Whether a group is at `path` inside this file."""
        return isinstance(self._walk_quietly(path), h5py.Group)

    def _walk_quietly(self, path: str) -> h5py.Group | h5py.Dataset | None:
        try:
            return self._walk(path, soft_links=0)
        except InputError:
            return None

    def children(self, path: str) -> list[str]:
        """Names in a group, in the order of the file."""
        node = self._walk_quietly(path)
        return [text_name(name) for name in node] if isinstance(node, h5py.Group) else []

    def expand(self, pattern: str) -> list[tuple[str, str]]:
        """Datasets whose path matches `pattern`, in natural order, each with what its ``*`` stood for.

        A pattern without ``*`` is its own only match.
        """
        if "*" not in pattern:
            self.find(pattern)
            return [("", pattern)]
        found = list(self._expand("", [part for part in pattern.split("/") if part], ""))
        if not found:
            raise InputError(f"no dataset in {self.name} has a path like {pattern} (rfcompare inspect FILE shows all)")
        return sorted(found, key=lambda item: natural(item[1]))

    def _expand(self, base: str, parts: list[str], label: str) -> Iterator[tuple[str, str]]:
        if not parts:
            # Not is_dataset: a member that is damaged or lies elsewhere must not drop out in silence.
            if isinstance(self._walk(base, soft_links=0), h5py.Dataset):
                yield label, base
            return
        for child in self.children(base or "/"):
            if child == parts[0] or ("*" in parts[0] and fnmatch.fnmatchcase(child, parts[0])):
                own = "/".join(part for part in (label, child) if part) if "*" in parts[0] else label
                yield from self._expand(f"{base}/{child}", parts[1:], own)

    @property
    def schema(self) -> str:
        """The schema that a file of rfcompare's states; "" where there is none."""
        return str(self.attrs("/").get("schema", ""))

    def datasets(self) -> Iterator[tuple[str, h5py.Dataset]]:
        """Datasets that have values, by path; links are not followed, nor what MATLAB keeps behind references."""
        names: list[str | bytes] = []

        def visit(name: str | bytes) -> bool | None:
            names.append(name)
            return True if len(names) >= _MAX_VISITED else None

        self.file.visit(visit)
        for name in names:
            item = self.file[name]
            if isinstance(item, h5py.Dataset) and item.shape is not None and not text_name(name).startswith("#refs#"):
                yield f"/{text_name(name)}", item

    # Reading -------------------------------------------------------------------------------------------------------

    def dataset(self, path: str) -> h5py.Dataset:
        """The dataset at `path`, checked to be readable: inside this file, of sane size, with its filters at hand."""
        found = self.find(path)
        if not isinstance(found, h5py.Dataset):
            inside = ", ".join(self.children(path)[:6])
            raise InputError(
                f"expected a dataset at {path} in {self.name}, got a group that holds {inside or 'nothing'}; name one "
                "of them"
            )
        return self.readable(found)

    def readable(self, found: h5py.Dataset) -> h5py.Dataset:
        """The dataset when its values can be read safely: inside this file, of sane size, its filters at hand."""
        if found.name is None:
            raise InputError(f"a reference in {self.name} leads to a dataset without a place; the file is damaged")
        path = text_name(found.name)
        if found.shape is None:
            raise InputError(f"expected values at {path} in {self.name}, the dataset is empty")
        if found.external or (found.is_virtual and any(part.file_name != "." for part in found.virtual_sources())):
            raise InputError(f"{path} in {self.name} keeps its values in another file, which is not followed")
        if found.size > MAX_ELEMENTS:
            raise InputError(
                f"expected an array of at most {MAX_ELEMENTS:.1e} elements at {path} in {self.name}, got "
                f"{found.size:.1e} ({' × '.join(map(str, found.shape))}); it is not read"
            )
        # Of a lazy bank only pieces are held, but all of it is worked through: days of zeros are a bomb as well.
        largest = max(float(found.size), math.prod(map(float, found.chunks or ())))
        bounded(largest * found.dtype.itemsize, found.id.get_storage_size(), f"{path} in {self.name}")
        missing = missing_filters(found)
        if missing:
            raise InputError(
                f"{path} in {self.name} is compressed with {missing}, which HDF5 here cannot read; install the package "
                f"{_FILTER_PACKAGE} (pip install {_FILTER_PACKAGE}) and open the file again"
            )
        return found

    def follow(self, reference: Any, where: str) -> h5py.Group | h5py.Dataset:
        """The object that an object reference leads to."""
        try:
            return self.file[reference]
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            raise InputError(f"a reference in {where} of {self.name} leads nowhere ({first_line(error)})") from None

    def shape(self, path: str) -> tuple[int, ...]:
        """Shape of the dataset at `path`."""
        return tuple(int(size) for size in self.dataset(path).shape)

    def attrs(self, path: str) -> dict[str, Any]:
        """Attributes at `path` as Python values: text, numbers, lists; references and empty ones are left out."""
        node = self._walk_quietly(path)
        return {} if node is None else read_attributes(node)

    def values(self, path: str) -> NDArray[Any]:
        """A small dataset, whole: numbers as they are, text as Python strings."""
        dataset = self.dataset(path)
        if dataset.size > _MAX_LABELS:
            raise InputError(
                f"expected at most {_MAX_LABELS:.0e} values at {path} in {self.name}, got {dataset.size:.1e}; it "
                "is not read"
            )
        raw = np.asarray(self.read(dataset, ()))
        return _text(raw) if raw.dtype.kind in "OSU" else raw

    def array(self, path: str, chunks: Any) -> Any:
        """The dataset at `path`: in memory when small and `chunks` is None, else a dask array read when computed."""
        dataset = self.dataset(path)
        if dataset.dtype.kind not in "fiub":
            raise InputError(f"expected real numbers at {path} in {self.name}, got {describe_type(dataset)}")
        if chunks is None and dataset.size * dataset.dtype.itemsize <= LAZY_BYTES:
            return np.asarray(self.read(dataset, ()))
        if dataset.size:
            self.read(dataset, (0,) * dataset.ndim)  # a damaged file speaks up now, not when the bank is computed
        return _lazy(
            _StoredArray(self.path, text_name(dataset.name), tuple(dataset.shape), dataset.dtype), dataset.chunks
        )

    def together(self, arrays: Iterator[Any], where: str) -> list[Any]:
        """Arrays read one after another, unless references that repeat make them out of all proportion to the file."""
        found, total = [], 0.0
        for each in arrays:
            total += each.nbytes if isinstance(each, np.ndarray) else 0  # lazy ones are not read here
            bounded(total, self.path.stat().st_size, f"{where} in {self.name}")
            found.append(each)
        return found

    def read(self, dataset: h5py.Dataset, index: Any) -> Any:
        """Part of a dataset, or one sentence when the file is damaged there."""
        try:
            return dataset[index]
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"cannot read {dataset.name} in {self.name} ({first_line(error)}); the file is damaged: copy or "
                "download it again"
            ) from None


class HDF5Store(Store):
    """An HDF5 file as a layout sees it: arrays and columns by path."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.name = reader.name

    def at(self, path: str, chunks: Any) -> Any:
        """The dataset at `path`, or the `Cell` of those that a pattern finds."""
        if "*" not in path:
            return self.content(self.reader.dataset(path), chunks)
        found = self.reader.expand(path)
        datasets = [self.reader.dataset(match) for _, match in found]
        if chunks is None and sum(item.size * item.dtype.itemsize for item in datasets) > LAZY_BYTES:
            chunks = "auto"
        return Cell(array_of([self.content(item, chunks) for item in datasets]), [label for label, _ in found])

    def content(self, dataset: h5py.Dataset, chunks: Any, above: tuple[str, ...] = ()) -> Any:
        """A dataset's numbers, or the `Cell` of what its references lead to."""
        if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
            return self.reader.array(dataset.name, chunks)
        name = text_name(dataset.name)
        if name in above:
            raise InputError(f"{above[0]} in {self.name} refers to itself in a circle; name the dataset of the maps")
        if dataset.size > _MAX_LABELS:
            raise InputError(
                f"expected at most {_MAX_LABELS:.0e} references at {name} in {self.name}, got {dataset.size:.1e}"
            )
        references = np.asarray(self.reader.read(dataset, ()))
        items = (self._referred(reference, chunks, (*above, name)) for reference in references.ravel())
        return Cell(array_of(self.reader.together(items, name)).reshape(references.shape))

    def _referred(self, reference: Any, chunks: Any, above: tuple[str, ...]) -> Any:
        found = self.reader.follow(reference, above[-1])
        if not isinstance(found, h5py.Dataset):
            raise InputError(
                f"expected maps where {above[-1]} in {self.name} refers, got a group with {', '.join(list(found)[:6])}"
            )
        return self.content(self.reader.readable(found), chunks, above)

    def column(self, path: str) -> NDArray[Any]:
        """One value per unit: a dataset, or a field of the records in its parent."""
        parent, _, last = path.rpartition("/")
        if not self.reader.is_dataset(path) and self.reader.is_dataset(parent):
            records = self.reader.dataset(parent)
            if last in (records.dtype.names or ()):
                return np.asarray(self.reader.read(records, ())[last]).ravel()
        return self.reader.values(path).ravel()


def _lazy(stored: _StoredArray, storage_chunks: tuple[int, ...] | None) -> Any:
    """A dask array over `stored` whose pieces are of `_CHUNK_BYTES` and follow the file's own chunks."""
    import dask
    import dask.array

    with dask.config.set({"array.chunk-size": _CHUNK_BYTES}):
        chunks = dask.array.core.normalize_chunks(
            "auto", stored.shape, dtype=stored.dtype, previous_chunks=storage_chunks
        )
    return dask.array.from_array(stored, chunks=chunks, lock=True, asarray=True)


def read_attributes(node: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Attributes of an HDF5 object as plain Python values."""
    result: dict[str, Any] = {}
    for name in node.attrs:
        try:
            value = node.attrs[name]
        except (OSError, TypeError, RuntimeError, KeyError, ValueError):
            continue  # a type that h5py cannot represent says nothing that is used here
        plain = _plain(value)
        if plain is not None:
            result[str(name)] = plain
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, h5py.Empty | h5py.Reference | h5py.RegionReference):
        return None
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return _plain(value.item())
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiubOSU" and value.size <= 1000:
        items = [_plain(item) for item in value.ravel()]
        if any(item is None for item in items):
            return None
        return items[0] if len(items) == 1 else items
    return None


def _text(raw: NDArray[Any]) -> NDArray[Any]:
    """Text as Python strings; text of fixed length may be filled up with blanks, which belong to no name."""
    items = [item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in raw.ravel()]
    return np.array([item.rstrip() for item in items], dtype=object).reshape(raw.shape)


def describe_type(dataset: h5py.Dataset) -> str:
    """What a dataset's elements are, in words."""
    if h5py.check_string_dtype(dataset.dtype) is not None or dataset.dtype.kind == "S":
        return "text"
    if h5py.check_ref_dtype(dataset.dtype) is not None:
        return "references"
    if dataset.dtype.names:
        return f"records ({', '.join(dataset.dtype.names)})"
    return str(dataset.dtype)


def missing_filters(dataset: h5py.Dataset) -> str:
    """Names of the compression filters without which the dataset cannot be read, "" when all are at hand."""
    plist = dataset.id.get_create_plist()
    needed = [plist.get_filter(index) for index in range(plist.get_nfilters())]
    if all(h5py.h5z.filter_avail(code) for code, *_ in needed):
        return ""
    with contextlib.suppress(ImportError):
        __import__(_FILTER_PACKAGE)  # registers its filters with HDF5
    names = [
        f"{name.decode('utf-8', 'replace') or 'a filter'} (HDF5 filter {code})"
        for code, _, _, name in needed
        if not h5py.h5z.filter_avail(code)
    ]
    return " and ".join(names)


def link_of(group: h5py.Group, name: str) -> tuple[str, str]:
    """How a group links a name ("hard", "soft", "external" or "none"), and where the link leads.

    Through h5py's lower layer, since the upper one stumbles over names that are not UTF-8.
    """
    key = name.encode("utf-8", "surrogateescape")
    links = group.id.links
    try:
        kind = links.get_info(key).type
        if kind == h5py.h5l.TYPE_SOFT:
            return "soft", text_name(links.get_val(key))
        if kind == h5py.h5l.TYPE_EXTERNAL:
            return "external", text_name(links.get_val(key)[0])
    except (KeyError, OSError, RuntimeError, ValueError):
        return "none", ""
    return "hard", ""


def text_name(name: str | bytes) -> str:
    """A name in a file as text; one that is not UTF-8 keeps its bytes as surrogates, by which h5py finds it again."""
    return name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name


def stored_name(name: str) -> str | bytes:
    """What h5py must be given to find a name that `text_name` made."""
    return name if name.isprintable() or name.isascii() else name.encode("utf-8", "surrogateescape")


def natural(text: str) -> list[Any]:
    """A sorting key by which cell 10 comes after cell 9.

    Examples
    --------
    >>> sorted(["cell10", "cell9"], key=natural)
    ['cell9', 'cell10']
    """
    import re

    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]
