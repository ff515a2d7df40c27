"""From labeled descriptors to plain arrays: which units count, whose they are, and on which scales they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import check
from rfcompare.comparison.statistics import Array, robust_scale
from rfcompare.errors import InputError
from rfcompare.quantities import FEW_CYCLES, GABOR_FORM, MODEL_FREE, QUANTITIES

SPACES: Mapping[str, tuple[str, ...]] = {"model_free": MODEL_FREE, "gabor_form": GABOR_FORM}
"""The joint spaces by name; "gabor_form" holds only units whose Gabor is identifiable."""

MAX_SIGNLESS = 0.0
"""Share of units without a sign above which the signed ON/OFF balance leaves the joint space."""

UNKNOWN = "unknown"


def subjects(descriptors: xr.Dataset) -> NDArray[np.str_] | None:
    """The subject of every unit, or None where any is not known or all units are of one.

    Examples
    --------
    >>> import xarray as xr
    >>> subjects(xr.Dataset(coords={"unit": [1, 2], "subject": ("unit", ["a", "b"])}))
    array(['a', 'b'], dtype='<U1')
    """
    names = np.asarray(descriptors["subject"].values).astype(np.str_)
    unique = np.unique(names)
    return None if unique.size < 2 or np.isin(unique, ["", UNKNOWN]).any() else names


def n_subjects(descriptors: xr.Dataset) -> int:
    """How many subjects are known; a network without named training seeds is one, cells without identities are none."""
    unique = np.unique(np.asarray(descriptors["subject"].values).astype(np.str_))
    if unique.size == 0 or np.isin(unique, ["", UNKNOWN]).any():
        return 1 if descriptors.attrs.get("kind") in ("learned", "untrained") else 0
    return int(unique.size)


def transformed(descriptors: xr.Dataset, name: str) -> Array:
    """A descriptor as it enters a joint space: log2 of what is drawn on a logarithmic axis."""
    values = np.asarray(descriptors[name].values, dtype=np.float64)
    if not QUANTITIES[name].log:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(values > 0, np.log2(np.where(values > 0, values, 1.0)), np.nan))


@dataclass(frozen=True)
class Space:
    """Descriptors with the scales that the cortex alone fixed: the same for every network and every null.

    Attributes
    ----------
    name : str
        "model_free", "gabor_form" or a name of one's own.
    quantities : tuple of str
        Its axes.
    scales : tuple of float
        Robust SD of each in the cortex (log2 of those that are drawn on a logarithmic axis).
    left_out : tuple of str
        Axes that were asked for and could not be used, each with its reason.
    """

    name: str
    quantities: tuple[str, ...]
    scales: tuple[float, ...]
    left_out: tuple[str, ...] = ()

    def points(self, descriptors: xr.Dataset) -> tuple[Array, NDArray[np.bool_]]:
        """Units in this space and which of the Dataset's units they are: those with every axis defined.

        In the Gabor form a unit with nx below `rfcompare.quantities.FEW_CYCLES` has no position, phase or not: its
        carrier cannot be identified.

        Returns
        -------
        points : (kept, axis) array
        kept : (unit,) bool array
        """
        missing = [name for name in self.quantities if name not in descriptors]
        if missing:
            raise InputError(
                f"expected descriptors with {', '.join(missing)}, got none; describe the population from its fits"
            )
        values = np.stack([transformed(descriptors, name) for name in self.quantities], axis=1)
        kept = np.asarray(np.isfinite(values).all(axis=1) & _identifiable(descriptors, self.name))
        return values[kept] / np.asarray(self.scales), kept


def make_space(
    cortex: xr.Dataset,
    *others: xr.Dataset,
    name: str = "model_free",
    quantities: Sequence[str] | None = None,
) -> Space:
    """A joint space whose scales are the robust SDs of the cortex.

    Parameters
    ----------
    cortex : xarray.Dataset
        Descriptors of the cortex; only its values set the scales.
    *others : xarray.Dataset
        Descriptors that will be put into it. Of these only one thing is looked at: an axis that they do not have, or a
        signed ON/OFF balance that does not exist for all their units (the sign of a color-opponent kernel, or of a
        recording stored without it, is arbitrary), leaves the space for everyone, since dropping the units instead
        would be a selection by color.
    name : {"model_free", "gabor_form"}
        Which axes, unless `quantities` names them; the Gabor form holds only units whose carrier can be identified.
    quantities : sequence of str or None
        Axes of one's own.

    Raises
    ------
    InputError
        For an unknown space, or when no axis is left.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> table = xr.Dataset({"nx": ("unit", [0.25, 0.5, 1.0]), "ny": ("unit", [0.5, 0.5, 0.5])})
    >>> space = make_space(table, quantities=("nx", "ny"))
    >>> space.quantities, space.scales, space.left_out
    (('nx',), (1.4826,), ('ny: does not vary in the cortex',))
    """
    if quantities is None:
        if name not in SPACES:
            raise InputError(f"expected a space among {', '.join(SPACES)}, got {name!r}")
        quantities = SPACES[name]
    kept: list[str] = []
    scales: list[float] = []
    left_out: list[str] = []
    for quantity in quantities:
        if any(quantity not in population for population in (cortex, *others)):
            left_out.append(f"{quantity}: not computed for every population")
            continue
        if quantity == "on_off_balance" and any(_signless(population) for population in (cortex, *others)):
            left_out.append(f"{quantity}: some units have no sign")
            continue
        values = transformed(cortex, quantity)
        values = values[np.isfinite(values) & _identifiable(cortex, name)]
        if values.size < 2:
            left_out.append(f"{quantity}: not defined in the cortex")
            continue
        try:
            scale = robust_scale(values)
        except InputError:
            left_out.append(f"{quantity}: does not vary in the cortex")
            continue
        kept.append(quantity)
        scales.append(scale)
    if not kept:
        raise InputError(f"expected at least one axis that varies in the cortex, got none ({'; '.join(left_out)})")
    own = name == "model_free" and tuple(quantities) != MODEL_FREE
    return Space("chosen" if own else name, tuple(kept), tuple(scales), tuple(left_out))


def _identifiable(descriptors: xr.Dataset, space: str) -> NDArray[np.bool_]:
    """Units with a position in a space: in the Gabor form those whose carrier can be identified."""
    if space != "gabor_form" or "nx" not in descriptors:
        return np.ones(descriptors.sizes["unit"], dtype=np.bool_)
    return np.asarray(descriptors["nx"].values.astype(np.float64) >= FEW_CYCLES)


def _signless(descriptors: xr.Dataset) -> bool:
    others = [name for name in MODEL_FREE if name != "on_off_balance" and name in descriptors]
    described = np.ones(descriptors.sizes["unit"], dtype=np.bool_)
    for name in others:
        described &= np.isfinite(np.asarray(descriptors[name].values, dtype=np.float64))
    balance = np.asarray(descriptors["on_off_balance"].values, dtype=np.float64)[described]
    return bool(balance.size) and float(np.isnan(balance).mean()) > MAX_SIGNLESS


def checked(descriptors: Any, name: str) -> xr.Dataset:
    """Descriptors that pass their schema, or an `InputError` that says what to call."""
    if not isinstance(descriptors, xr.Dataset) or not str(descriptors.attrs.get("schema", "")).startswith(
        "rfcompare-descriptors/"
    ):
        raise InputError(f"expected descriptors as {name}, got {type(descriptors).__name__}; call describe first")
    return check(descriptors)
