"""One side of a comparison: opened by its name, reduced, fitted (in parts that are kept) and described."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from rfcompare.bank import (
    at_lag,
    check,
    count_alive,
    dead_units,
    existing_file,
    inherit,
    load,
    select,
    to_signed,
)
from rfcompare.descriptors import describe, on_bound
from rfcompare.errors import InputError, KeywordError, meant, named_strictly
from rfcompare.figures.maps import r2_words
from rfcompare.fitting import engine_by_size, fit
from rfcompare.pipeline.parts import PART, Options, fitted_parts, in_memory, refuse_fits
from rfcompare.quantities import kind_words, kinds
from rfcompare.sources import load_kernels, open_fields
from rfcompare.sources.checkpoints import holds_weights
from rfcompare.sources.hdf5 import Reader, signature_offset
from rfcompare.sources.kernels import sha256_of
from rfcompare.sources.remote import fetch_address, is_address, kept_in

STAND_INS: Mapping[str, str] = {
    "reference:alexnet": (
        "rendered from Gabor fits of CaffeNet's conv1, BVLC's replication of AlexNet (pooling and normalization "
        "swapped)"
    ),
    "reference:treeshrew-simulated": "drawn by a simulation from assumed parameters, not recorded from an animal",
}
"""What a shipped default is, wherever it stands for the real thing."""


@dataclass(frozen=True)
class Population:
    """One side of a comparison: its maps, their signed form, the fits and the descriptors.

    Attributes
    ----------
    name : str
        As the user named it.
    bank, signed, fits, descriptors : xarray.Dataset
        The flow's Datasets; `bank` is the signed bank itself where the population was given as fits.
    """

    name: str
    bank: xr.Dataset
    signed: xr.Dataset
    fits: xr.Dataset
    descriptors: xr.Dataset

    @property
    def kind(self) -> str:
        """What the maps are, one of `rfcompare.kinds`."""
        return str(self.bank.attrs["kind"])

    @property
    def label(self) -> str:
        """A short name for sentences: the bank's title, the file's name, or the name as given."""
        return str(self.bank.attrs.get("title") or (Path(self.name).name if os.sep in self.name else self.name))

    @property
    def n_units(self) -> int:
        """How many units."""
        return int(self.fits.sizes["unit"])

    @property
    def subjects(self) -> list[str]:
        """Known subjects in the order of their names."""
        return sorted({str(name) for name in self.fits.subject.values} - {"unknown", ""})

    def sha256(self) -> str:
        """SHA-256 of the file it was read from, or "" where there was none."""
        recorded = str(self.bank.attrs.get("sha256", ""))
        if recorded or not Path(self.name).is_file():
            return recorded
        return sha256_of(Path(self.name))

    def sentence(self) -> str:
        """What the population is, in one line for the terminal, the page and the captions.

        Examples
        --------
        >>> import numpy as np, rfcompare as rfc
        >>> from rfcompare.pipeline import prepare
        >>> maps = np.random.default_rng(0).normal(size=(3, 1, 7, 7))
        >>> bank = rfc.make_bank(maps, channel=("signed",), kind="simulated", subject=["A", "A", "B"])
        >>> prepare(bank, name="noise").sentence()
        'noise: 3 units of 2 subjects, simulated (maps drawn by a simulation from assumed parameters)'
        """
        n = len(self.subjects)
        whose = f" of {n} subject{'s' if n > 1 else ''}" if n else ", subjects unknown"
        units = f"{count_alive(self.fits)} unit{'s' if self.n_units > 1 else ''}"
        text = f"{self.label}: {units}{whose}, {kind_words(self.kind)} ({kinds[self.kind]})"
        return f"{text}; {STAND_INS[self.name]}" if self.name in STAND_INS else text


@named_strictly
def open_population(
    population: str | os.PathLike[str] | xr.Dataset,
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
    """Open maps or fits by the one way of naming them.

    Parameters
    ----------
    population : str, path or Dataset
        ``reference:NAME``, a file, an https address, a torchvision model's name, or a Dataset, which passes. A text may
        begin with the name to be shown, as in ``"Macaque V1=v1.nc"``; it becomes ``attrs["title"]``.
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
        When nothing by that name can be opened, or an option means nothing for it.
    """
    given = {"layout": layout, "deg_per_px": deg_per_px, "kind": kind, "channel_order": channel_order, "dims": dims}
    given |= {"key": key, "layer": layer, "channels": channels, "lag": lag}
    if isinstance(population, xr.Dataset):
        refuse_options({name: addressed(value, None) for name, value in given.items()}, "a Dataset,")
        return check(population)
    title, text = split_name(population)
    given = {name: addressed(value, title) for name, value in given.items()}
    given["deg_per_px"] = _degrees(given["deg_per_px"])
    if isinstance(given["lag"], str) and given["lag"].lstrip("-").isdigit():
        given["lag"] = int(given["lag"])
    opened = _open_named(text, {name: value for name, value in given.items() if value is not None})
    return opened if title is None else opened.assign_attrs(title=title)


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
    """Refuse options for a population that there is not.

    Raises
    ------
    InputError
        With the names that there are.
    """
    names = [name for name, _ in map(split_name, populations) if name is not None]
    for option, values in options.items():
        for whose in (_address(text)[0] for text in values):
            if whose is not None and whose not in names:
                known = meant(whose, names) if names else "none has a name: write NAME=POPULATION"
                raise InputError(f"--{option.replace('_', '-')} is for {whose!r}, which names no population; {known}")


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


OPTIONS = ("layout", "deg_per_px", "kind", "channel_order", "dims", "key", "layer", "channels", "lag")
"""How a population is read; for one side of two with ``fields_`` or ``kernels_`` before it."""


def by_side(reading: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """How to read the fields and how the kernels.

    Without a side before them ``layout`` and ``deg_per_px`` are the fields', all others but ``kind`` the kernels'.

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
        if option not in OPTIONS or name == "kind":
            known = [f"{each}_{option}" for each in sides for option in OPTIONS]
            raise KeywordError(f"there is no option {name} to read two sides; {meant(name, known)}")
        if value is not None and value != ():
            sides[side][option] = value
    return sides["fields"], sides["kernels"]


def _is_fits(path: Path) -> bool:
    """Whether a file holds fits that rfcompare saved; anything else is for the sources to recognize."""
    if signature_offset(path) is None:
        return False
    with Reader(path) as reader:
        return str(reader.attrs("/").get("schema", "")).startswith("rfcompare-fits/")


def prepare(
    population: str | os.PathLike[str] | xr.Dataset,
    *,
    name: str | None = None,
    seed: int = 0,
    min_r2: float | None = None,
    cache: bool = True,
    progress: bool = False,
    **reading: Any,
) -> Population:
    """Open, reduce, fit and describe one population.

    Parameters
    ----------
    population : str, path or Dataset
        See `open_population`.
    name : str, optional
        What to call it; default: as it was named.
    seed : int
        Of the fits.
    min_r2 : float, optional
        Keep units whose fit explains at least this share; the counts are recorded in ``attrs["selection"]``.
    cache : bool
        Keep the fits of large populations in the cache folder.
    progress : bool
        Show progress on standard error.
    **reading
        Options of `open_population`.

    Returns
    -------
    Population

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.pipeline import prepare
    >>> maps = np.random.default_rng(0).normal(size=(3, 1, 7, 7))
    >>> side = prepare(rfc.make_bank(maps, channel=("signed",), kind="simulated"), name="noise")
    >>> side.n_units, side.kind, "nx" in side.descriptors
    (3, 'simulated', True)
    """
    opened = open_population(population, **reading)
    if name is None:
        named = isinstance(population, xr.Dataset)
        name = str(opened.attrs.get("title", "maps")) if named else split_name(population)[1]
    if "r2" in opened and "rf" in opened and "model" in opened.attrs:
        fits = opened
        signed = bank = _bank_of_fits(fits)
    else:
        bank = opened
        signed = to_signed(bank)
        fits = fit_population(signed, seed=seed, cache=cache, progress=progress)
    if min_r2 is not None:
        fits = select(fits, r2=min_r2)
    return Population(name, bank, signed, fits, describe(fits))


def _bank_of_fits(fits: xr.Dataset) -> xr.Dataset:
    """The signed bank that travels inside fits."""
    color = ("color_direction", "rank_one_share", "luminance_share", "polarity_known")
    names = ("rf", *color, "discarded", "overlap", "noise_sd", "r2_original", "rank_one_share_original")
    attrs = inherit(fits, "bank")
    bank = fits[[name for name in names if name in fits]].assign_attrs(attrs)
    dead = dead_units(fits)
    return check(bank.assign(dead=("unit", dead)) if dead.any() else bank)


def fit_population(
    bank: xr.Dataset,
    *,
    model: str = "gabor",
    joint: bool = False,
    workers: int = 1,
    seed: int = 0,
    cache: bool = True,
    progress: bool = False,
) -> xr.Dataset:
    """Fit a population, in parts that a stopped run finds again.

    Populations of up to `PART` units are fitted at once; larger ones part by part, each kept in `cache_folder` under
    the fingerprint of its maps and the options.

    Parameters
    ----------
    bank : xarray.Dataset
        Maps; anything but ``joint=True`` reduces them with `to_signed` first.
    model, joint, workers, seed
        See `rfcompare.fit`.
    cache : bool
        Keep finished parts.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset
        Fits.
    """
    refuse_fits(bank)
    engine = engine_by_size(bank)
    if bank.sizes["unit"] <= PART or not cache:
        maps = bank if joint else to_signed(bank)
        return fit(maps, model, joint=joint, seed=seed, engine=engine, workers=workers, progress=progress)
    how = Options(model, joint, seed, engine)
    return in_memory(list(fitted_parts(bank, kept_in("fits"), how, workers=workers, progress=progress)))


def fits_sentence(fits: xr.Dataset) -> str:
    """How many units were fitted, how well, and how many need a second look."""
    words = [str(word) for word in fits["status"].values.reshape(fits.sizes["unit"], -1)[:, 0]]
    bound = int(on_bound(fits).sum())
    clean = sum(word == "converged" for word in words)
    units = f"{count_alive(fits)} unit{'s' if len(words) > 1 else ''}"
    return (
        f"{fits.attrs['model']} fitted to {units} ({kind_words(fits.attrs['kind'])}): {r2_words(fits)}; "
        f"{clean} converged without remark, {bound} on a bound"
    )
