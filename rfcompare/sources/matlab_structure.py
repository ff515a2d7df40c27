"""The structure of a MATLAB v5 file, walked before SciPy reads it: SciPy crashes the process on some damaged files.

Level 5 MAT-files are trees of elements, each a tag (type, bytes) and its data. Only tags are looked at here: that every
element lies within its parent and has a type that may stand in its place.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from rfcompare.bank import expand
from rfcompare.sources.damage import read_as

_INT8, _UINT8, _INT16, _UINT16, _INT32, _UINT32 = range(1, 7)
_MATRIX, _COMPRESSED, _UTF8 = 14, 15, 16
_NUMERIC = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}
_CHARACTER = {1, 2, 3, 4, 16, 17, 18}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE = range(1, 6)
_FUNCTION, _OPAQUE = 16, 17
_NUMBERS = range(6, 16)
_COMPLEX, _LOGICAL = 0x0800, 0x0200
_CLASSES = (
    "", "cell", "struct", "object", "char", "sparse", "double", "single", "int8", "uint8", "int16", "uint16", "int32",
    "uint32", "int64", "uint64", "function", "opaque",
)  # fmt: skip

_HEADER = 128
_NAME_BYTES = 2**14
_MAX_DEPTH = 32
_MAX_DIMS = 32
_MAX_BYTES = 2**31
"""The format's own limit for one variable; what unpacks to more is not read."""


CURE = "it is truncated or damaged: copy or download it again"


class _Damaged(Exception):
    """An element does not fit where it stands."""


_DAMAGE = (_Damaged, struct.error, zlib.error)


def check_variable(path: Path, name: str) -> None:
    """Refuse a variable with an element that is cut off, or of a type that cannot stand where it does."""
    with read_as("a MATLAB file", f"{name} of {path}", CURE, errors=_DAMAGE):
        for kind, data, order in _elements_of(path):
            if kind not in (_MATRIX, _COMPRESSED):
                raise _Damaged(f"an element of type {kind} where a variable should be")
            if _header(_unpacked(data, order, _NAME_BYTES) if kind == _COMPRESSED else data, order)[0] == name:
                _check_matrix(_unpacked(data, order, _MAX_BYTES) if kind == _COMPRESSED else data, order, 0)
                return


def list_variables(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Names, shapes and classes of a file's variables, from their headers alone.

    The class of an object that only MATLAB reads is "opaque NAME", such as "opaque string"; it has no shape.
    """
    with read_as("a MATLAB file", path, CURE, errors=_DAMAGE):
        found = [
            _header(_unpacked(data, order, _NAME_BYTES) if kind == _COMPRESSED else data, order)
            for kind, data, order in _elements_of(path)
            if kind in (_MATRIX, _COMPRESSED)
        ]
    return [each for each in found if each[0] and not each[0].startswith("__")]


def _elements_of(path: Path) -> Iterator[tuple[int, memoryview, str]]:
    """Type and data of a file's elements, and the order of its bytes."""
    with path.open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    order = "<" if bytes(content[126:128]) == b"IM" else ">"
    for kind, data in _elements(content[_HEADER:], order):
        yield kind, data, order


def _header(matrix: memoryview, order: str) -> tuple[str, tuple[int, ...], str]:
    """Name, shape and class of a variable."""
    elements = _elements(matrix, order, cut=True)
    _, flags = _next(elements)
    (word,) = struct.unpack_from(f"{order}I", flags)
    kind = _CLASSES[word & 0xFF] if word & 0xFF < len(_CLASSES) else ""
    if word & 0xFF == _OPAQUE:  # an object has no sizes: its name, its system and its class follow
        name, _, own = (bytes(_next(elements)[1]).decode("latin-1") for _ in range(3))
        return name, (), f"opaque {own}"
    _, sizes = _next(elements)
    shape = struct.unpack_from(f"{order}{len(sizes) // 4}i", sizes)
    name = bytes(_next(elements)[1]).decode("latin-1")
    if word & _LOGICAL and not kind.startswith(("cell", "struct", "char")):
        kind = "logical"
    return name, shape, kind


def _unpacked(data: memoryview, order: str, limit: int) -> memoryview:
    """The content of the matrix inside a compressed element, at most `limit` bytes of it."""
    packed = zlib.decompressobj().decompress(data, limit) if limit == _NAME_BYTES else expand(data, "a variable")
    whole = memoryview(packed)
    kind, size, start, _ = _tag(whole, 0, order)
    if kind != _MATRIX:
        raise _Damaged(f"a compressed element of type {kind}")
    if limit != _NAME_BYTES and start + size > len(whole):
        raise _Damaged("a compressed variable that is cut off")
    return whole[start : start + size]


def _tag(data: memoryview, at: int, order: str) -> tuple[int, int, int, int]:
    """Type and size of the element at a place, where its data starts and where the next element is."""
    first, second = struct.unpack_from(f"{order}II", data, at)
    if first >> 16:  # a small element keeps its size in the upper half and up to four bytes beside the tag
        if first >> 16 > 4:
            raise _Damaged("a small element that is too large")
        return first & 0xFFFF, first >> 16, at + 4, at + 8
    padding = 0 if first == _COMPRESSED else -second % 8
    return first, second, at + 8, at + 8 + second + padding


def _elements(data: memoryview, order: str, *, cut: bool = False) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + 8 <= len(data):
        kind, size, start, following = _tag(data, at, order)
        if start + size > len(data):
            if cut:  # only the beginning was unpacked
                return
            raise _Damaged("an element that reaches beyond its parent")
        yield kind, data[start : start + size]
        at = following


def _check_matrix(matrix: memoryview, order: str, depth: int) -> None:
    if not len(matrix):
        return  # an empty matrix may have no elements at all
    if depth > _MAX_DEPTH:
        raise _Damaged(f"cells nested more than {_MAX_DEPTH} deep")
    elements = _elements(matrix, order)
    flags_kind, flags = _next(elements)
    if flags_kind == _UINT32 and len(flags) == 8 and struct.unpack_from(f"{order}I", flags)[0] & 0xFF == _OPAQUE:
        return  # an object is not read
    dims_kind, dims = _next(elements)
    name_kind, _ = _next(elements)
    if (
        flags_kind != _UINT32
        or len(flags) != 8
        or dims_kind != _INT32
        or not 2 <= len(dims) // 4 <= _MAX_DIMS
        or name_kind not in (_INT8, _UTF8)
    ):
        raise _Damaged("a matrix whose header is none")
    (word,) = struct.unpack_from(f"{order}I", flags)
    count = 1
    for size in struct.unpack_from(f"{order}{len(dims) // 4}i", dims):
        if size < 0:
            raise _Damaged("a negative size")
        count *= size
    kind = word & 0xFF
    if kind == _CELL:
        _check_nested(elements, count, order, depth)
    elif kind in (_STRUCT, _OBJECT):
        if kind == _OBJECT:
            _next(elements)
        length_kind, length = _next(elements)
        names_kind, names = _next(elements)
        if length_kind != _INT32 or len(length) != 4 or names_kind != _INT8:
            raise _Damaged("a struct without field names")
        (each,) = struct.unpack_from(f"{order}i", length)
        if each <= 0 or len(names) % each:
            raise _Damaged("a struct whose field names do not fit their length")
        _check_nested(elements, count * (len(names) // each), order, depth)
    elif kind == _CHAR:
        _expect(elements, _CHARACTER)
    elif kind == _SPARSE:
        for allowed in ({_INT32, _UINT32}, {_INT32, _UINT32}, _NUMERIC, *([_NUMERIC] if word & _COMPLEX else [])):
            _expect(elements, allowed)
    elif kind in _NUMBERS:
        for _ in range(2 if word & _COMPLEX else 1):
            _expect(elements, _NUMERIC)


def _check_nested(elements: Iterator[tuple[int, memoryview]], count: int, order: str, depth: int) -> None:
    for _ in range(count):
        kind, inner = _next(elements)
        if kind != _MATRIX:
            raise _Damaged(f"an element of type {kind} in a cell")
        _check_matrix(inner, order, depth + 1)


def _expect(elements: Iterator[tuple[int, memoryview]], allowed: set[int]) -> None:
    kind, _ = _next(elements)
    if kind not in allowed:
        raise _Damaged(f"values of the unknown type {kind}")


def _next(elements: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    found = next(elements, None)
    if found is None:
        raise _Damaged("a matrix that ends too early")
    return found
