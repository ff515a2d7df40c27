"""What an analysis of columns came to, in words made from its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.columns.topology import MIN_ANIMALS

_LEVEL = 0.05
"""Sentences call something different from chance where p is at most this."""

_WAVELETS = ("gabor", "derivative1", "derivative2")
"""Models with an orientation and lobes of both signs."""


def subfield_sentence(found: xr.Dataset) -> str:
    """How many cells have which subfields, which sign dominates, and how far apart they lie."""
    status = found.status.values.astype(str)
    both, off, on = (int(np.char.startswith(status, word).sum()) for word in ("ON and OFF", "OFF only", "ON only"))
    balance = float(np.nanmedian(found.dominance)) if np.isfinite(found.dominance).any() else float("nan")
    segregation = found.segregation_index.values
    text = f"{both} of {status.size} cells have both subfields, {off} OFF only, {on} ON only"
    if np.isfinite(balance):
        text += f"; median ON/OFF dominance {balance:+.2f} ({'OFF' if balance < 0 else 'ON'} is stronger)"
    if np.isfinite(segregation).any():
        text += f"; median segregation index {np.nanmedian(segregation):+.2f} (−1 concentric, above 0 a gap)"
    return text + "."


def _verdict(about: Any, yes: str, no: str) -> str:
    """`yes` where the effect is above 0 and told from chance, else `no`."""
    return yes if float(about["p"]) <= _LEVEL and float(about["effect"]) > 0 else no


def agreement_sentence(related: Any) -> str:
    """Whether the fields' own orientation follows the one that was measured apart."""
    return (
        f"The fields' own orientation {_verdict(related, 'follows', 'is not told to follow')} the preferred "
        f"orientation measured apart (mean cos 2Δ {related['effect']:+.2f}, p = {related['p']:.3g})."
    )


def phase_sentence(about: Any) -> str:
    """Whether neighbors of similar orientation have alike absolute phases."""
    return (
        "Absolute phase of cells with similar orientation "
        f"{_verdict(about, 'is alike', 'is not told to be alike')} in neighbors (mean cos Δ "
        f"{float(about['effect']):+.2f} beyond chance, p = {about['p']:.3g})."
    )


def topology_sentences(topology: xr.Dataset, ratio: xr.Dataset) -> list[str]:
    """Which sign scatters more, and whether subfields of a sign lie closer together than chance."""

    def row(category: str, shuffle: str) -> xr.Dataset | None:
        at = (topology.category == category) & (topology.shuffle == shuffle)
        return topology.isel(test=int(np.flatnonzero(at)[0])) if bool(at.any()) else None

    on_off = ratio.isel(pair=0)
    low, high = float(on_off.ci_low), float(on_off.ci_high)
    relation = "more widely than" if low > 1 else "less widely than" if high < 1 else "not told apart from"
    known, n = np.isfinite([low, high]).all(), int(ratio.attrs["n_animals"])
    interval = f"{low:.2f} to {high:.2f}" if known else f"undefined with fewer than {MIN_ANIMALS}"
    sentences = [
        f"ON centers scatter about the visuotopic map {relation} OFF centers (SD ratio "
        f"{float(on_off.scatter_ratio):.2f}, 95 % interval over {n} animal{'s' if n != 1 else ''} {interval})."
    ]
    words = []
    for category in ("OFF-OFF", "ON-ON"):
        one = row(category, "sign")
        if one is not None:
            p, effect = float(one.p), float(one.effect)
            how = "closer together than" if effect < 0 else "farther apart than"
            words.append(
                f"{category.split('-')[0]} centers are {how if p <= _LEVEL else 'not told apart from'} subfields of "
                f"random sign ({100 * effect:+.1f} %, p = {p:.3g})"
            )
    if words:
        sentences.append("; ".join(words) + ".")
    return sentences


@dataclass(frozen=True)
class Verdicts:
    """What an analysis came to, as numbers and yes or no.

    Attributes
    ----------
    n_columns, n_off, n_both, n_one : int
        Columns that share no cell; with an OFF center; with ON flanks on both sides; on one.
    n_wavelets : int
        Columns for which a Gabor or an oriented derivative is chosen.
    flanked, aligned : bool
        Whether at least half have an OFF center with an ON flank, and ON follows the preferred orientation.
    n_averaged : int
        Cells per average where chance is compared with, the size nearest to the columns'; 0 where none can be.
    beaten : int
        How many of the three chance averages a Gabor fits worse than the columns', by an interval over animals; none
        where there are too few animals for one.
    """

    n_columns: int
    n_off: int
    n_both: int
    n_one: int
    n_wavelets: int
    flanked: bool
    aligned: bool
    n_averaged: int
    beaten: int

    @classmethod
    def of(cls, columns: xr.Dataset, growth: xr.Dataset) -> Verdicts:
        """Judge the parts ``columns`` and ``growth`` of an analysis."""
        rows = np.flatnonzero(columns.disjoint.values)
        structure = columns.structure.values[rows].astype(str)
        both, one = (int((structure == f"OFF center, {word}").sum()) for word in ("ON flanks", "one ON flank"))
        known = growth.n_averaged.values[np.isfinite(growth.r2.values).all(axis=0)]
        known = known[known > 1]
        size, beaten = 0, 0
        if known.size:
            size = int(known[np.abs(np.log(known / float(columns.n_cells.median()))).argmin()])
            beaten = int((growth.difference_low.sel(n_averaged=size).values[1:] > 0).sum())
        return cls(
            n_columns=rows.size,
            n_off=int(np.char.startswith(structure, "OFF center").sum()),
            n_both=both,
            n_one=one,
            n_wavelets=int(np.isin(columns.model.values[rows].astype(str), _WAVELETS).sum()),
            flanked=rows.size > 0 and both + one >= rows.size / 2,
            aligned=float(columns.attrs["flank_p"]) <= _LEVEL and float(columns.attrs["flank_effect"]) > 0,
            n_averaged=size,
            beaten=beaten,
        )


def column_sentences(columns: xr.Dataset, growth: xr.Dataset) -> list[str]:
    """What the average field of a column is, and whether chance averages look alike."""
    found = Verdicts.of(columns, growth)
    if found.n_columns == 0:
        return ["No column holds more than one cell within the radius: no average field was made."]
    p = float(columns.attrs["flank_p"])
    first = (
        f"Of {found.n_columns} columns that share no cell (radius {columns.attrs['radius_um']:g} µm), {found.n_off} "
        f"have an OFF center, {found.n_both} of them ON flanks on both sides and {found.n_one} on one side; a Gabor or "
        f"an oriented derivative is chosen for {found.n_wavelets} (median r² of the Gabor "
        f"{float(np.nanmedian(columns.r2)):.2f})."
    )
    if found.flanked and found.aligned:
        sides = "" if found.n_both >= found.n_one else ", more often on one side than on both"
        second = (
            "The average field of a column is an OFF center with ON flanks across the preferred orientation"
            f"{sides} (orientations permuted: p = {p:.3g})."
        )
    elif found.flanked:
        second = (
            f"Flanks are there, but not told to follow the preferred orientation (orientations permuted: p = {p:.3g})."
        )
    else:
        second = (
            "The average field of a column is not an OFF center flanked by ON: a Gabor-like column is not supported "
            "here."
        )
    return [first, second, _growth_sentence(growth, found)]


def _growth_sentence(growth: xr.Dataset, found: Verdicts) -> str:
    """Is the average of a column more Gabor-like than averages that chance gives, at a column's number of cells?"""
    if found.n_averaged == 0:
        return "Too few cells to hold averages of several against chance."
    at = growth.sel(n_averaged=found.n_averaged)
    words = []
    for name in at.condition.values[1:]:
        one = at.sel(condition=name)
        low, high = float(one.difference_low), float(one.difference_high)
        interval = f"{low:+.2f} to {high:+.2f}" if np.isfinite([low, high]).all() else f"{float(one.difference):+.2f}"
        words.append(f"{float(one.r2):.2f} {name} (column minus null {interval})")
    if not np.isfinite(at.difference_low.values[1:]).any():
        ending = f"with fewer than {MIN_ANIMALS} animals it is not told whether chance averages are fitted worse"
    elif found.beaten == len(words):
        ending = "being Gabor-like tells a column from every one of these chance averages"
    else:
        ending = (
            f"a Gabor-like average alone does not single out a column: {found.beaten} of {len(words)} chance averages "
            "fit worse"
        )
    return (
        f"A Gabor explains r² {float(at.r2.sel(condition='column')):.2f} of averages of {found.n_averaged} neighboring "
        f"cells in place, against {', '.join(words)}; {ending}."
    )
