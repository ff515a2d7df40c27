"""What travels with a Dataset: its attributes, its history, its fingerprint, and the seed of what was drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.errors import InputError
from rfcompare.quantities import NOT_STATED, SCHEMAS

Array = npt.NDArray[np.float64]
"""Numbers as most functions take and give them."""

_BLOCK = 1 << 25
"""Bytes of a variable that are looked at at a time."""


def plain_attributes(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Attributes as netCDF can hold them: text, numbers, or JSON text of anything else; None is left out."""
    result: dict[str, str | int | float] = {}
    for name, value in attrs.items():
        if value is None:
            continue
        if isinstance(value, bool | np.bool_):
            result[name] = int(value)
        elif isinstance(value, str | int | float):
            result[name] = value
        elif isinstance(value, np.number):
            result[name] = value.item()
        else:
            try:
                result[name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
            except TypeError:
                raise InputError(
                    f"expected attribute {name!r} to be text, a number or JSON, got {type(value).__name__}; convert it"
                ) from None
    return result


def inherit(dataset: xr.Dataset, schema: str, **attrs: Any) -> dict[str, str | int | float]:
    """Attributes for a Dataset made from `dataset`: all of its own (kind, citation…), the new schema, and `attrs`."""
    own = {str(name): value for name, value in dataset.attrs.items()}
    return {**own, "schema": SCHEMAS[schema].name, **plain_attributes(attrs)}


def add_history(dataset: xr.Dataset, line: str) -> xr.Dataset:
    """A copy whose ``attrs["history"]`` ends with one more line."""
    past = str(dataset.attrs.get("history", ""))
    return dataset.assign_attrs(history=f"{past}\n{line}".strip())


def fingerprint(dataset: xr.Dataset) -> str:
    """SHA-256 of a Dataset's variables and coordinates, in name order: equal content, equal fingerprint.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(3)[None, None], channel=("signed",), kind="analytic")
    >>> rfc.bank.fingerprint(bank) == rfc.bank.fingerprint(bank.copy(deep=True))
    True
    """
    digest = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset[name].variable
        digest.update(f"{name}{variable.dims}{variable.shape}".encode())
        if variable.dtype.kind in "OU":
            digest.update("\0".join(map(str, variable.values.ravel())).encode())
            continue
        digest.update(f"{variable.dtype}".encode())
        # Row by row where there are many, so that what is read lazily is never held whole.
        rows = max(1, _BLOCK // max(1, variable[:1].nbytes)) if variable.ndim else 1
        for first in range(0, variable.shape[0] if variable.ndim else 1, rows):
            values = variable[first : first + rows].values if variable.ndim else variable.values
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def is_recorded(bank: xr.Dataset) -> bool:
    """Whether maps carry noise and an arbitrary zero, as a recording's do, rather than a kernel's true zero.

    Maps of a kind that nobody stated are taken for a recording's unless they are a network's weights.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.arange(18.0).reshape(2, 1, 3, 3)
    >>> [rfc.bank.is_recorded(rfc.make_bank(maps, channel="signed", kind=kind)) for kind in ("simulated", "not stated")]
    [True, True]
    >>> rfc.bank.is_recorded(rfc.load_kernels(maps))
    False
    """
    kind = bank.attrs["kind"]
    return kind in ("measured", "simulated", "in-silico") or (kind == NOT_STATED and "network" not in bank.attrs)


def make_rng(seed: int | np.random.Generator | None) -> tuple[np.random.Generator, int]:
    """A generator and the integer to record: a given seed, one drawn for None, or −1 for a generator passed in.

    Examples
    --------
    >>> from rfcompare.bank import make_rng
    >>> rng, recorded = make_rng(3)
    >>> recorded
    3
    """
    if isinstance(seed, np.random.Generator):
        return seed, -1
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise InputError(
            f"expected seed to be a whole number from 0, a numpy Generator or None, got {seed!r}; give seed=0"
        )
    recorded = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
    return np.random.default_rng(recorded), recorded
