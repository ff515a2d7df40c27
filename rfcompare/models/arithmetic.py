"""The arithmetic of models' formulas: on NumPy arrays and torch tensors here, on vectors of eight fits once compiled.

A formula is written once, as a function of numbers that takes its elementary functions from here; the compiled engine
puts its own in their places.
"""

from __future__ import annotations

from typing import Any

import array_api_compat

Array = Any
"""A NumPy array or another array-API array (a torch tensor)."""


def exp(x: Array) -> Array:
    """e^x."""
    return array_api_compat.array_namespace(x).exp(x)


def decay(x: Array) -> Array:
    """e^x of an envelope's exponent, which may end where it is negligible."""
    return array_api_compat.array_namespace(x).exp(x)


def cos_sin(x: Array) -> tuple[Array, Array]:
    """Cosine and sine."""
    xp = array_api_compat.array_namespace(x)
    return xp.cos(x), xp.sin(x)


def at(values: Array, i: int) -> Array:
    """The i-th of the parameters or of the amplitudes."""
    return values[i]
