"""The one door to a population, however it is given: by name, as a Dataset, a network, a tensor or an array."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import xarray as xr

from rfcompare.bank import at_lag, check, existing_file, load, make_bank
from rfcompare.errors import InputError, KeywordError, meant, named_strictly
from rfcompare.sources import load_kernels, open_fields
from rfcompare.sources.checkpoints import given_array, holds_weights
from rfcompare.sources.fields import with_kind
from rfcompare.sources.hdf5 import Reader
from rfcompare.sources.remote import fetch_address, is_address
from rfcompare.sources.torchvision_models import is_module

AnyPopulation: TypeAlias = Any
"""A name, a path, a Dataset, a `rfcompare.pipeline.Population`, a ``torch.nn.Module``, a tensor or an array."""

_NETWORK_KINDS = ("learned", "untrained")
"""Kinds of an array that are a network's: its channels are read as `load_kernels` reads them."""

CHANNELS: Mapping[int, tuple[str, ...]] = {1: ("signed",), 2: ("on", "off"), 3: ("r", "g", "b")}
"""What the channels of any other array are, by their number."""


@named_strictly
def open_population(
    population: AnyPopulation,
    *,
    layout: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    deg_per_px: float | tuple[float, float] | None = None,
    kind: str | None = None,
    channel_order: str | None = None,
    dims: str | None = None,
    key: str | None = None,
    layer: str | None = None,
    channels: str | None = None,
    lag: int | str | None = None,
) -> xr.Dataset:
    """Open maps or fits, whatever stands for them.

    Parameters
    ----------
    population : str, path, Dataset, Population, torch.nn.Module, tensor or array
        ``reference:NAME``, a file, an https address or a torchvision model's name; a bank or fits, which pass; what
        `rfcompare.pipeline.prepare` made; a network; or maps (unit, y, x) or (unit, channel, y, x) with row 0 on top,
        as in an image: one channel is signed, two are ON and OFF, three are r, g, b. A text may begin with the name to
        be shown, as in ``"Macaque V1=v1.nc"``; it becomes ``attrs["title"]``.
    layout, deg_per_px, kind
        For fields; see `rfcompare.open_fields`. With a layout also arrays and weights are read as it says.
    channel_order, dims, key, layer, channels, lag
        For kernels; see `rfcompare.load_kernels`.

    Returns
    -------
    xarray.Dataset
        A bank, or fits.

    Raises
    ------
    InputError
        When nothing by that name can be opened, an array comes without its kind, or an option means nothing for what
        is opened.

    Examples
    --------
    >>> import numpy as np
    >>> from rfcompare.sources.population import open_population
    >>> maps = np.random.default_rng(0).normal(size=(4, 7, 7))
    >>> bank = open_population(maps, kind="simulated")
    >>> bank.rf.shape, bank.attrs["kind"], open_population(bank) is bank
    ((4, 1, 7, 7), 'simulated', True)
    >>> open_population(maps)
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected kind= with an array of maps, got none; say what they are, as in kind=...
    """
    given = {"layout": layout, "deg_per_px": deg_per_px, "kind": kind, "channel_order": channel_order, "dims": dims}
    given |= {"key": key, "layer": layer, "channels": channels, "lag": lag}
    made: Any = getattr(population, "bank", None)
    if isinstance(population, xr.Dataset) or isinstance(made, xr.Dataset):
        del given["kind"]
        refuse_options({name: addressed(value, None) for name, value in given.items()}, "a Dataset,")
        return with_kind(check(population if isinstance(population, xr.Dataset) else made), addressed(kind, None))
    if not isinstance(population, str | os.PathLike):
        return _open_object(population, {name: value for name, value in given.items() if value is not None})
    title, text = split_name(population)
    given = {name: addressed(value, title) for name, value in given.items()}
    given["deg_per_px"] = _degrees(given["deg_per_px"])
    if isinstance(given["lag"], str) and given["lag"].lstrip("-").isdigit():
        given["lag"] = int(given["lag"])
    opened = _open_named(text, {name: value for name, value in given.items() if value is not None})
    return opened if title is None else opened.assign_attrs(title=title)


def _open_object(values: Any, given: dict[str, Any]) -> xr.Dataset:
    """A bank of what has no name: a network, or maps that came as plain numbers, whose kind only the caller knows."""
    of_kernels = set(given) - {"deg_per_px", "kind"}
    if is_module(values):
        return load_kernels(values, **given)
    array = given_array(values)
    if "kind" not in given:
        raise InputError(
            "expected kind= with an array of maps, got none; say what they are, as in kind='learned' or kind='measured'"
        )
    if given["kind"] in _NETWORK_KINDS or of_kernels:
        return load_kernels(array, **given)
    maps = array[:, None] if array.ndim == 3 else array
    if maps.ndim != 4 or maps.shape[1] not in CHANNELS:
        raise InputError(
            f"expected maps (unit, y, x), or (unit, channel, y, x) with 1, 2 or 3 channels, got the shape "
            f"{array.shape}; build the bank with rfcompare.make_bank"
        )
    said = {"title": "array", "stimulus": "unknown" if given["kind"] == "measured" else None}
    return make_bank(maps, channel=CHANNELS[maps.shape[1]], rows="down", attrs=said, **given)


def _open_named(text: str, given: dict[str, Any]) -> xr.Dataset:
    """What a name without a title stands for, by the options that were given."""
    of_kernels = {name: value for name, value in given.items() if name not in ("layout", "deg_per_px", "kind")}
    path = fetch_address(text) if is_address(text) else Path(text)
    several = "layout" in given or text.startswith("reference:") or any(sign in text for sign in "*?")
    is_file = bool(path.suffix) or os.sep in text or os.path.exists(path)  # noqa: PTH110 - no error for a long name
    if not several and (not is_file or holds_weights(existing_file(path))):
        return load_kernels(text, **given)
    if not several and _is_fits(path):
        refuse_options(given, f"{text}, which is fits,")
        return load(path)
    lag = of_kernels.pop("lag", None) if "layout" not in given else None
    refuse_options(of_kernels, f"{text}, which is read as maps,")
    opened = open_fields(
        text, **{name: value for name, value in given.items() if name in ("layout", "deg_per_px", "kind")}
    )
    return opened if lag is None else at_lag(opened, lag)


def refuse_options(given: Mapping[str, Any], what: str) -> None:
    """Refuse reading options that mean nothing for what is opened, rather than pass over them."""
    idle = [f"{name} (--{name.replace('_', '-')})" for name, value in given.items() if value is not None]
    if idle:
        raise InputError(
            f"expected no {', '.join(idle)} for {what} got one; leave it out, or write NAME=VALUE for the one it is "
            "meant for"
        )


def split_name(population: str | os.PathLike[str]) -> tuple[str | None, str]:
    """The name to be shown, where there is one, and what is opened.

    Examples
    --------
    >>> split_name("Macaque V1=v1.nc"), split_name("v1.nc"), split_name("https://a.example/v1.nc?part=2")
    (('Macaque V1', 'v1.nc'), (None, 'v1.nc'), (None, 'https://a.example/v1.nc?part=2'))
    """
    text = os.fspath(population)
    name, sign, rest = text.partition("=")
    if not sign or "://" in name or os.path.exists(os.path.expanduser(text)):  # noqa: PTH110, PTH111 - long names raise
        return None, text
    if not name.strip() or not rest.strip():
        raise InputError(f"expected NAME=POPULATION, got {text!r}; write both, or the population alone")
    return name.strip(), rest.strip()


def addressed(value: Any, name: str | None) -> Any:
    """One population's own value of an option that was given several times, as ``NAME=VALUE`` or for all.

    Examples
    --------
    >>> orders = ("rgb", "CaffeNet=bgr")
    >>> addressed(orders, "CaffeNet"), addressed(orders, None), addressed((2.0, 3.0), "A")
    ('bgr', 'rgb', (2.0, 3.0))
    """
    if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
        return value
    values = dict(_address(text) for text in value)
    return values.get(name, values.get(None))


def _address(text: str) -> tuple[str | None, str]:
    """Whose value an option's text is, None for everybody's, and the value."""
    name, sign, rest = text.partition("=")
    # Dims hold sizes, as in "unit (y=16 x=16)", and a file may have any name.
    if not sign or "(" in name or os.path.exists(text):  # noqa: PTH110 - Path.exists raises where a name is too long
        return None, text
    return name.strip(), rest


def check_addresses(populations: Sequence[str], options: Mapping[str, Sequence[str]]) -> None:
    """Refuse options for an unknown population, and two values of one option for the same population."""
    names = [name for name, _ in map(split_name, populations) if name is not None]
    for option, values in options.items():
        flag, seen = f"--{option.replace('_', '-')}", set()
        for whose, value in map(_address, values):
            if whose is not None and whose not in names:
                known = meant(whose, names) if names else "none has a name: write NAME=POPULATION"
                raise InputError(f"{flag} is for {whose!r}, which names no population; {known}")
            if whose in seen:
                of = "all populations" if whose is None else repr(whose)
                raise InputError(
                    f"expected one {flag} for {of}, got {value!r} too; write NAME=VALUE for one of several"
                )
            seen.add(whose)


def _degrees(value: Any) -> Any:
    """A scale as the command line gives it: a number, or two."""
    if not isinstance(value, str):
        return value
    try:
        both = tuple(float(part) for part in value.split(","))
    except ValueError:
        both = ()
    if len(both) not in (1, 2):
        raise InputError(f"expected deg_per_px to be a number or X,Y, got {value!r}; give degrees per pixel")
    return both[0] if len(both) == 1 else both


_OPTIONS = ("layout", "deg_per_px", "kind", "channel_order", "dims", "key", "layer", "channels", "lag")
"""How a population is read; for one side of two with ``fields_`` or ``kernels_`` before it."""


def by_side(reading: Mapping[str, Any], *, known: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """How to read the fields and how the kernels.

    Without a side before them ``layout`` and ``deg_per_px`` are the fields', all others but ``kind`` the kernels'.
    `known` names what else the caller takes, to suggest for a misspelt name.

    Examples
    --------
    >>> by_side({"layout": "v1.toml", "kernels_kind": "learned", "channel_order": "bgr"})
    ({'layout': 'v1.toml'}, {'kind': 'learned', 'channel_order': 'bgr'})
    """
    sides: dict[str, dict[str, Any]] = {"fields": {}, "kernels": {}}
    for name, value in reading.items():
        side, _, option = name.partition("_")
        if side not in sides:
            side, option = "fields" if name in ("layout", "deg_per_px") else "kernels", name
        if option not in _OPTIONS or name == "kind":
            options = [f"{each}_{option}" for each in sides for option in _OPTIONS]
            raise KeywordError(f"there is no option {name} for two sides; {meant(name, [*known, *options])}")
        if value is not None and value != ():
            sides[side][option] = value
    return sides["fields"], sides["kernels"]


def _is_fits(path: Path) -> bool:
    """Whether a file holds fits that rfcompare saved; anything else is for the sources to recognize."""
    if not h5py.is_hdf5(path):
        return False
    with Reader(path) as reader:
        return reader.schema.startswith("rfcompare-fits/")
