"""One side of a comparison: opened by its name, reduced, fitted (in parts that are kept) and described."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from rfcompare.bank import (
    check,
    count_alive,
    dead_units,
    fingerprint,
    inherit,
    load,
    select,
    to_signed,
)
from rfcompare.descriptors import describe, on_bound
from rfcompare.fitting import fit, predict
from rfcompare.pipeline.parts import PART, Options, fitted_parts, in_memory, refuse_fits
from rfcompare.quantities import kind_words, kinds
from rfcompare.sources.population import AnyPopulation
from rfcompare.sources.population import by_side as by_side
from rfcompare.sources.population import check_addresses as check_addresses
from rfcompare.sources.population import open_population as open_population
from rfcompare.sources.population import split_name as split_name
from rfcompare.sources.reference import PREFIX, path_of
from rfcompare.sources.remote import kept_in, sha256_of

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


def prepare(
    population: AnyPopulation,
    *,
    name: str | None = None,
    seed: int = 0,
    min_r2: float | None = None,
    cache: bool = True,
    shipped: bool = True,
    progress: bool = False,
    **reading: Any,
) -> Population:
    """Open, reduce, fit and describe one population.

    Parameters
    ----------
    population : str, path, Dataset, Population, torch.nn.Module or array
        See `rfcompare.sources.population.open_population`; a Population passes, fitted as it is.
    name : str, optional
        What to call it; default: as it was named.
    seed : int
        Of the fits.
    min_r2 : float, optional
        Keep units whose fit explains at least this share; the counts are recorded in ``attrs["selection"]``.
    cache : bool
        Keep the fits of large populations in the cache folder.
    shipped : bool
        Take the fits that ship with a shipped default rather than fit it anew.
    progress : bool
        Show progress on standard error.
    **reading
        Options of `rfcompare.sources.population.open_population`.

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
    if isinstance(population, Population) and min_r2 is None:
        return population
    opened = open_population(population, **reading)
    if name is None:
        named = isinstance(population, str | os.PathLike)
        said = opened.attrs.get("title") or opened.attrs.get("network") or "maps"
        name = split_name(population)[1] if named else str(said)
    if "r2" in opened and "rf" in opened and "model" in opened.attrs:
        fits = opened
        signed = bank = _bank_of_fits(fits)
    else:
        bank = opened
        signed = to_signed(bank)
        if shipped and not reading and seed == 0 and isinstance(population, str) and population in STAND_INS:
            fits = _shipped_fits(population, signed)
        else:
            fits = _fit_population(signed, seed=seed, cache=cache, progress=progress)
    if min_r2 is not None:
        fits = select(fits, r2=min_r2)
    return Population(name, bank, signed, fits, describe(fits))


def fits_entry(name: str) -> str:
    """The entry that holds the Gabor fits, from seed 0, of a shipped default."""
    return f"{name.removeprefix(PREFIX)}-fits"


def _shipped_fits(name: str, signed: xr.Dataset) -> xr.Dataset:
    """The fits that ship with a default, which hold numbers; maps are drawn."""
    fits = load(path_of(fits_entry(name))).assign(rf=signed.rf.variable)
    # Rendered maps differ in their last digits from processor to processor.
    fits.attrs["bank_sha256"] = fingerprint(signed)
    return check(fits.assign(rf_fit=predict(fits, signed).variable.astype(signed.rf.dtype)))


def _bank_of_fits(fits: xr.Dataset) -> xr.Dataset:
    """The signed bank that travels inside fits."""
    color = ("color_direction", "rank_one_share", "luminance_share", "polarity_known")
    names = ("rf", *color, "discarded", "overlap", "noise_sd", "r2_original", "rank_one_share_original")
    attrs = inherit(fits, "bank")
    bank = fits[[name for name in names if name in fits]].assign_attrs(attrs)
    dead = dead_units(fits)
    return check(bank.assign(dead=("unit", dead)) if dead.any() else bank)


def _fit_population(bank: xr.Dataset, *, seed: int, cache: bool, progress: bool) -> xr.Dataset:
    """Gabor fits of signed maps; of more than `PART` in parts that are kept in the cache and a stopped run finds."""
    refuse_fits(bank)
    if bank.sizes["unit"] <= PART or not cache:
        return fit(bank, "gabor", seed=seed, progress=progress)
    how = Options("gabor", joint=False, seed=seed)
    return in_memory(list(fitted_parts(bank, kept_in("fits"), how, progress=progress)))


def fits_sentence(fits: xr.Dataset) -> str:
    """How many units were fitted, how well, and how many need a second look."""
    from rfcompare.figures.maps import r2_words

    words = [str(word) for word in fits["status"].values.reshape(fits.sizes["unit"], -1)[:, 0]]
    bound = int(on_bound(fits).sum())
    clean = sum(word == "converged" for word in words)
    units = f"{count_alive(fits)} unit{'s' if len(words) > 1 else ''}"
    return (
        f"{fits.attrs['model']} fitted to {units} ({kind_words(fits.attrs['kind'])}): {r2_words(fits)}; "
        f"{clean} converged without remark, {bound} on a bound"
    )
