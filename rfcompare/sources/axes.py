"""The axes of an array by name, also where pixels or whole images lie flat along one axis."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from rfcompare.errors import InputError

_PIXEL = "(y x)"
"""What the name ``pixel`` stands for."""


def axis_names(dims: str | tuple[str, ...] | list[str]) -> list[str]:
    """The words of dims, a group in parentheses as one.

    Examples
    --------
    >>> axis_names("unit, channel pixel"), axis_names("unit (y=4 x=5)")
    (['unit', 'channel', '(y x)'], ['unit', '(y=4 x=5)'])
    """
    text = dims if isinstance(dims, str) else " ".join(dims)
    words = re.findall(r"\([^)]*\)|[^\s,]+", text)
    return [_PIXEL if word == "pixel" else word.replace(",", " ") for word in words]


def flat_names(dims: str | tuple[str, ...] | list[str]) -> list[str]:
    """The names of all axes once those that lie flat are spread out.

    Examples
    --------
    >>> flat_names("unit pixel"), flat_names("unit (y=4 x=5 channel)")
    (['unit', 'y', 'x'], ['unit', 'y', 'x', 'channel'])
    """
    return [part.partition("=")[0] for word in axis_names(dims) for part in word.strip("()").split()]


def spread(
    array: Any, dims: str | tuple[str, ...], where: str, *, shape: tuple[int, ...] = (), order: str = "C"
) -> Any:
    """The array with every axis that holds several spread out, in the order that `flat_names` gives.

    `dims` has a word for each axis, such as "unit pixel" or "unit (y=16 x=16 channel=3)"; `shape` gives the sizes of
    the group where `dims` does not. The last name of a group varies fastest; with `order` "F" the first does, as MATLAB
    lays arrays flat. `where` says what the array is, in an error.

    Examples
    --------
    >>> spread(np.arange(6)[None], "unit pixel", "a test", shape=(2, 3)).tolist()
    [[[0, 1, 2], [3, 4, 5]]]
    >>> spread(np.arange(6)[None], "unit pixel", "a test", shape=(2, 3), order="F").tolist()
    [[[0, 2, 4], [1, 3, 5]]]
    """
    words = axis_names(dims)
    for axis in reversed(range(len(words))):
        if not words[axis].startswith("("):
            continue
        parts = [part.partition("=") for part in words[axis].strip("()").split()]
        sizes = [int(size) if size.isdigit() else 0 for _, _, size in parts] if not shape else list(shape)
        if sizes.count(0) == 1 and len(sizes) > 1:
            known = int(np.prod([size for size in sizes if size]))
            sizes = [size or array.shape[axis] // known for size in sizes]
        if len(sizes) != len(parts) or int(np.prod(sizes)) != array.shape[axis]:
            named = " × ".join(name for name, _, _ in parts)
            raise InputError(
                f"expected the sizes of {named} in shape, whose product is the {array.shape[axis]} values along that "
                f"axis of {where}, got {list(shape) or 'none'}"
            )
        before, after = array.shape[:axis], array.shape[axis + 1 :]
        array = array.reshape((*before, *(sizes if order == "C" else sizes[::-1]), *after))
        if order == "F":
            group = list(range(axis, axis + len(sizes)))
            array = array.transpose([*range(axis), *group[::-1], *range(axis + len(sizes), array.ndim)])
    return array
