"""Banks of several sessions, animals or files as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.alignment import align
from rfcompare.bank import add_history, check, pitch
from rfcompare.bank.checking import GRID_TOLERANCE
from rfcompare.errors import InputError, named_strictly

_JOINED = ("stimulus", "citation", "doi", "license", "file", "sha256")


@named_strictly
def combine(banks: Sequence[xr.Dataset], *, names: Sequence[str] | None = None, resample: bool = False) -> xr.Dataset:
    """Join the banks of several sessions or animals.

    Parameters
    ----------
    banks : sequence of xarray.Dataset
        With the same channels, units of length and kind.
    names : sequence of str, optional
        One for each bank; every unit's name then begins with it, and it becomes the subject where that is unknown.
        Without names unit names stay as they are, or get the bank's number where they would not be unique.
    resample : bool
        Put banks on other grids onto the first one's (band-limited, `rfcompare.align`); otherwise other grids are
        refused.

    Returns
    -------
    xarray.Dataset
        A bank. Variables that not all banks have are left out, and named in the history; a stimulus, citation or
        license that differs is listed.

    Raises
    ------
    InputError
        The banks differ in kind, channels, units or grid.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> first, second = (rfc.make_bank(np.eye(3)[None, None] * n, channel="signed", kind="analytic") for n in (1, 2))
    >>> rfc.combine([first, second], names=["F1", "F2"]).unit.values.tolist()
    ['F1 u000', 'F2 u000']
    """
    banks = [check(bank) for bank in banks]
    if not banks or (names is not None and (len(names) != len(banks) or len(set(names)) < len(names))):
        raise InputError(f"expected banks, and a name of its own for each, got {len(banks)} with the names {names}")
    first = banks[0]
    called = [str(name) for name in names] if names is not None else [str(number + 1) for number in range(len(banks))]
    for name, bank in zip(called, banks, strict=True):
        _same(first, bank, name)
    banks = [
        bank if _same_grid(first, bank) else _onto(first, bank, name, resample)
        for name, bank in zip(called, banks, strict=True)
    ]
    units = [str(unit) for bank in banks for unit in bank.unit.values]
    if names is not None or len(set(units)) < len(units):
        banks = [_renamed(bank, name, subject=names is not None) for name, bank in zip(called, banks, strict=True)]
    shared = [name for name in first.variables if all(name in bank.variables for bank in banks)]
    dropped = sorted({str(name) for bank in banks for name in bank.variables} - {str(name) for name in shared})
    attrs = {**first.attrs, **_joined_attributes(banks)}
    if len({bank.attrs.get("title") for bank in banks}) > 1:
        attrs.pop("title", None)
    dtype = np.result_type(*(bank.rf.dtype for bank in banks))
    parts = [_part(bank, first, shared, dtype) for bank in banks]
    joined = xr.concat(
        parts, "unit", data_vars="minimal", coords="minimal", compat="override", join="override", combine_attrs="drop"
    ).assign_attrs(attrs)
    counts = ", ".join(f"{name}: {bank.sizes['unit']}" for name, bank in zip(called[:20], banks, strict=False))
    left = f"; not in all, left out: {', '.join(dropped)}" if dropped else ""
    return check(add_history(joined, f"combine: {len(banks)} banks ({counts}{'…' if len(banks) > 20 else ''}){left}"))


def _same(first: xr.Dataset, bank: xr.Dataset, name: str) -> None:
    """Refuse a bank that cannot stand beside the first."""
    for what, own, other in (
        ("kind", first.attrs["kind"], bank.attrs["kind"]),
        ("units", first.attrs["units"], bank.attrs["units"]),
        ("channels", first.channel.values.tolist(), bank.channel.values.tolist()),
        ("lags", first.sizes.get("lag", 0), bank.sizes.get("lag", 0)),
    ):
        if own != other:
            raise InputError(
                f"expected banks of the same {what} to combine, got {own!r} in the first and {other!r} in {name}; open "
                "both alike (kind=, deg_per_px=, lag=) or reduce both with to_signed"
            )


def _same_grid(first: xr.Dataset, bank: xr.Dataset) -> bool:
    steps = np.abs(np.subtract(pitch(first), pitch(bank)))
    shape = (first.sizes["y"], first.sizes["x"]) == (bank.sizes["y"], bank.sizes["x"])
    return shape and bool((steps <= GRID_TOLERANCE * np.array(pitch(first))).all())


def _onto(first: xr.Dataset, bank: xr.Dataset, name: str, resample: bool) -> xr.Dataset:
    """A bank on another grid on the first one's, where that was asked for."""
    if not resample:
        own, other = (
            f"{each.sizes['y']} × {each.sizes['x']} pixels of {pitch(each)[0]:g} {each.attrs['units']}"
            for each in (first, bank)
        )
        raise InputError(
            f"expected banks on one grid to combine, got {own} in the first and {other} in {name}; resample=True puts "
            "all on the first one's"
        )
    by: Any = "degree" if first.attrs["units"] == "degree" else "px"
    return align(bank, first, by=by)


def _renamed(bank: xr.Dataset, name: str, *, subject: bool) -> xr.Dataset:
    units = np.array([f"{name} {unit}" for unit in bank.unit.values], dtype=object)
    renamed = bank.assign_coords(unit=("unit", units))
    if not subject:
        return renamed
    own = [name if str(each) in ("", "unknown") else str(each) for each in bank.subject.values]
    return renamed.assign_coords(subject=("unit", np.array(own, dtype=object)))


def _part(bank: xr.Dataset, first: xr.Dataset, shared: list[Any], dtype: Any) -> xr.Dataset:
    """What a bank has in common with the others, on the first one's very coordinates."""
    part = bank.drop_vars([name for name in bank.variables if name not in shared]).drop_attrs()
    part["rf"] = part.rf.astype(dtype)
    return part.assign_coords(x=first.x, y=first.y)


def _joined_attributes(banks: Sequence[xr.Dataset]) -> dict[str, str]:
    """Provenance of all: as it is where all say the same, else each once."""
    joined = {}
    for name in _JOINED:
        said = list(dict.fromkeys(str(bank.attrs[name]) for bank in banks if bank.attrs.get(name)))
        if said:
            joined[name] = "; ".join(said[:20]) + ("…" if len(said) > 20 else "")
    return joined
