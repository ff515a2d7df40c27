"""`classify`: one row per map, five independent answers, the numbers behind each, and a sentence in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import DEAD, bad_units, is_recorded, pitch, signed_maps, to_signed
from rfcompare.errors import named_strictly
from rfcompare.quantities import kinds
from rfcompare.sources.population import AnyPopulation, open_population
from rfcompare.taxonomy.color import lobe_colors, measure_color, name_color
from rfcompare.taxonomy.lobes import crossed_share
from rfcompare.taxonomy.profile import STRIPED, draw_forms, measure_profiles, name_straightness, select_forms
from rfcompare.taxonomy.sentences import FIXED, sentence
from rfcompare.taxonomy.spectrum import is_crossed, measure_spectra, name_band, name_direction
from rfcompare.taxonomy.thresholds import value

ANSWERS = ("band", "direction", "profile", "color", "straightness")
"""The five questions, in the order of the table."""

_NUMBERS = (
    "dc_gain", "nyquist_gain", "low_power", "spectral_area", "peak_frequency", "centroid_frequency", "high_share",
    "anisotropy", "fourfold", "neighbors", "orientation", "model", "indistinguishable", "r2", "named", "named_r2",
    "gabor_r2", "p_noise", "p_spectrum", "uniform_share", "lobes", "cut_off", "aspect", "nx", "ny", "bend", "bend_low",
    "bend_high", "chroma_share", "hue", "rank_one_share",
)  # fmt: skip
"""Columns with the numbers behind the answers; angles in degrees, frequencies in cycles per unit of the bank."""

NO_CLASS = "not classified"
"""Every answer of a unit that cannot be used; such units are in no share."""


@named_strictly
def classify(
    bank: AnyPopulation,
    *,
    kind: str | None = None,
    dims: str | None = None,
    channel_order: str | None = None,
    progress: bool | None = None,
) -> pd.DataFrame:
    """Say in common terms what kind of filter every map is.

    Parameters
    ----------
    bank : xarray.Dataset, Population, torch.nn.Module, array or name
        Kernels or fields, in color, ON/OFF or signed; see `rfcompare.sources.population.open_population`.
    kind : str, optional
        What an array's maps are, one of `rfcompare.kinds`.
    dims, channel_order : str, optional
        How a network's array is laid out, as for `rfcompare.load_kernels`.
    progress : bool, optional
        Show progress; by default where stderr is a terminal and the job is long.

    Returns
    -------
    pandas.DataFrame
        Exactly one row per unit: ``unit, band, direction, profile, color, straightness, sentence``, then ``kind``,
        ``subject``, ``source``, ``alive`` and the numbers behind the answers. ``band``: low-pass, band-pass, high-pass
        or all-pass. ``direction``: isotropic, weakly anisotropic, anisotropic, or two directions. ``profile``: flat,
        blob, center–surround, first, second or higher derivative, Gabor, curved, checker, irregular (structured, but
        clearly like no form), unstructured (not to be told from noise of the same power), or too few pixels. ``color``:
        achromatic, faintly colored, luminance with an opponent axis, opponent along an axis, not applicable.
        ``straightness``: straight, curved, undecided, no stripes. Among the numbers, ``named`` is the model that the
        sentence names with its r² (``named_r2``), and ``cut_off`` the border or corner that cuts the map. A unit that
        cannot be used has "not classified" in every column and its reason in the sentence.

    Raises
    ------
    InputError
        For a bank with lags or with faults.

    Notes
    -----
    Thresholds and reasons stand in `rfcompare.taxonomy.THRESHOLDS`. A kernel's spectrum is that of its own map; a
    recording's is read off its fitted map, since its noise is no part of the filter. On a parametric bank profile and
    straightness are fixed by construction and say so.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-5, 6.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 12) * np.cos(2 * np.pi * 0.25 * x)
    >>> table = rfc.classify(rfc.make_bank(stripes[None, None], channel=("signed",), kind="learned"))
    >>> table.loc[0, ["band", "direction", "profile", "straightness"]].tolist()
    ['band-pass', 'anisotropic', 'Gabor', 'straight']
    """
    bank = open_population(bank, kind=kind, dims=dims, channel_order=channel_order)
    signed = to_signed(bank)
    problems = bad_units(signed)
    usable = np.array([problem == "" for problem in problems])
    units = [str(unit) for unit in bank.unit.values]
    rows = pd.DataFrame({"unit": units})
    for answer in ANSWERS:
        rows[answer] = pd.Series(NO_CLASS, index=rows.index, dtype=object)
    reasons = {"": "", "dead": f"Not classified: dead, with a norm below {DEAD:g} of its layer's median."}
    rows["sentence"] = pd.Series([reasons.get(p, f"Not classified: {p}.") for p in problems], dtype=object)
    rows["kind"] = str(bank.attrs["kind"])
    rows["subject"], rows["source"] = bank.subject.values, bank.source.values
    rows["alive"] = [problem != "dead" for problem in problems]
    numbers = pd.DataFrame(np.nan, index=rows.index, columns=list(_NUMBERS))
    texts = ["model", "indistinguishable", "named", "cut_off"]
    numbers[texts] = pd.DataFrame("", index=rows.index, columns=texts)
    if usable.any():
        chosen = np.flatnonzero(usable)
        fine = {"dead": ("unit", np.zeros(chosen.size, bool))}  # what is dead is judged of the whole layer
        answers, found = _classify(bank.isel(unit=chosen), signed.isel(unit=chosen).assign(fine), progress)
        for name in (*ANSWERS, "sentence"):
            rows.loc[chosen, name] = answers[name]
        for name in _NUMBERS:
            numbers.loc[chosen, name] = found[name]
    result = pd.concat([rows, numbers], axis=1)
    result["lobes"] = result["lobes"].astype("Int64")
    result.attrs = dict(bank.attrs)
    return result


def _classify(
    bank: xr.Dataset, signed: xr.Dataset, progress: bool | None
) -> tuple[dict[str, list[str]], dict[str, NDArray[Any]]]:
    """Answers and numbers of units that can be used."""
    table = select_forms(signed, progress=progress)
    maps = _filters(signed, table)
    spectra = measure_spectra(maps)
    numbers: dict[str, NDArray[Any]] = {**spectra, **measure_profiles(signed, table, spectra)}
    numbers |= measure_color(bank, signed)
    numbers |= lobe_colors(bank, signed, numbers.pop("drawn"), numbers["form"])
    directions, profiles = _directions_and_profiles(maps, numbers)
    courses = [
        name_straightness(form, *row)
        for form, row in zip(profiles, _rows(numbers, "bend", "bend_low", "bend_high"), strict=True)
    ]
    undirected = np.isin(directions, ["isotropic", "two directions"])
    # The fitted stripes' direction is not biased by the window; the spectrum's stands in where nothing was fitted.
    fitted_direction = np.isfinite(numbers["fit_orientation"]) & np.isin(profiles, STRIPED)
    numbers["orientation"] = np.where(fitted_direction, numbers["fit_orientation"], numbers["orientation"])
    numbers["orientation"] = np.where(undirected & ~fitted_direction, np.nan, numbers["orientation"])
    numbers["lobes"] = np.where(np.isin(profiles, ["unstructured", "too few pixels", "irregular"]), 0, numbers["lobes"])
    if bank.attrs["kind"] == "parametric":
        profiles, courses = [FIXED] * len(profiles), [FIXED] * len(courses)
        numbers |= _fixed_by_construction(bank)
    scale = pitch(signed)[0]
    for name in ("peak_frequency", "centroid_frequency"):
        numbers[name] = numbers[name] / scale
    answers: dict[str, list[str]] = {
        "band": _bands(numbers),
        "direction": directions,
        "profile": profiles,
        "color": [name_color(*row) for row in _rows(numbers, "chroma_share", "hue")],
        "straightness": courses,
    }
    unit = "cycles/px" if signed.attrs["units"] == "px" else "cycles/°"
    answers["sentence"] = [
        sentence(
            {name: column[i] for name, column in answers.items()},
            {name: column[i] for name, column in numbers.items()},
            unit,
        )
        for i in range(len(profiles))
    ]
    return answers, numbers


def _filters(signed: xr.Dataset, table: xr.Dataset) -> NDArray[np.float64]:
    """The maps (unit, y, x) whose spectra are asked: of a recording the fitted ones, without their baseline."""
    maps: NDArray[np.float64] = np.nan_to_num(signed_maps(signed.rf))
    if not is_recorded(signed):
        return maps
    at = (table["model"] == table["selected"]).argmax("model")
    offset = table["offset"].isel(model=at).isel(channel=0).values
    drawn = draw_forms(signed, table, table["selected"].values) - offset[:, None, None]
    # A flat fit is nothing but baseline: then the map itself has to stand for the field.
    return np.where((drawn**2).sum((1, 2), keepdims=True) > 0, drawn, maps)


def _directions_and_profiles(
    maps: NDArray[np.float64], numbers: dict[str, NDArray[Any]]
) -> tuple[list[str], list[str]]:
    """The words for direction and profile, which know of each other."""
    crossed = np.array(
        [is_crossed(*row) for row in _rows(numbers, "anisotropy", "fourfold", "dc_gain", "spectral_area")]
    )
    for u in np.flatnonzero(crossed):
        product = crossed_share(maps[u], numbers["crossing"][u], value("flank"))
        crossed[u] = product >= max(value("explained"), numbers["r2"][u])
    fine = numbers["neighbors"] <= -value("checkered")
    profiles = [
        "checker" if (both or checkered) and form not in ("unstructured", "too few pixels", "flat") else str(form)
        for both, checkered, form in zip(crossed, fine, numbers["form"], strict=True)
    ]
    directions = [
        "two directions" if both else name_direction(anisotropy)
        for both, anisotropy in zip(crossed, numbers["anisotropy"], strict=True)
    ]
    # A form with a direction has one, however round its spectrum.
    directions = [
        "weakly anisotropic" if direction == "isotropic" and profile in STRIPED else direction
        for direction, profile in zip(directions, profiles, strict=True)
    ]
    return directions, profiles


def _fixed_by_construction(bank: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Numbers that rendering fixes: those of the originals where the bank has them, else none."""
    n = bank.sizes["unit"]
    names = ("bend", "bend_low", "bend_high", "p_noise", "p_spectrum", "gabor_r2", "named_r2", "r2", "rank_one_share")
    numbers: dict[str, NDArray[Any]] = {name: np.full(n, np.nan) for name in names}
    for name in ("r2", "rank_one_share"):
        if f"{name}_original" in bank:
            numbers[name] = bank[f"{name}_original"].values.astype(float)
    words = {"model": FIXED, "named": "", "indistinguishable": ""}
    return numbers | {name: np.full(n, word, dtype=object) for name, word in words.items()}


def bands(bank: xr.Dataset) -> list[str]:
    """The word for what each kernel passes, from its spectrum alone, without fitting; "" for units without a map.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(7)[None, None], channel=("signed",), kind="learned")
    >>> rfc.taxonomy.bands(bank)
    ['all-pass']
    """
    signed = to_signed(bank)
    usable = np.array([problem == "" for problem in bad_units(signed)])
    maps = np.nan_to_num(signed_maps(signed.rf))
    words = iter(_bands(measure_spectra(maps[usable])))
    return [next(words) if some else "" for some in usable]


def _bands(spectra: dict[str, NDArray[Any]]) -> list[str]:
    return [name_band(*row) for row in _rows(spectra, "dc_gain", "nyquist_gain", "low_power", "spectral_area")]


def _rows(numbers: dict[str, NDArray[Any]], *names: str) -> list[tuple[float, ...]]:
    return list(zip(*(numbers[name].astype(float) for name in names), strict=True))


def summarize(table: pd.DataFrame) -> str:
    """What a table of classes amounts to, for all units that have a class and for the achromatic ones, in a few lines.

    Parameters
    ----------
    table : pandas.DataFrame
        From `classify`.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.eye(7)[None, None], channel=("signed",), kind="learned")
    >>> print(rfc.taxonomy.summarize(rfc.classify(bank)).splitlines()[0])
    1 unit, kind learned: kernels of a trained network
    """
    kind = str(table["kind"].iloc[0]) if len(table) else ""
    alive = "" if table["alive"].all() else f" ({table['alive'].sum()} alive)"
    lines = [f"{len(table)} unit{'s' if len(table) != 1 else ''}{alive}, kind {kind}: {kinds.get(kind, '')}"]
    table = table[table["profile"] != NO_CLASS]
    gray = table[table["color"] == "achromatic"]
    groups = [("all", table)]
    if 0 < len(gray) < len(table):
        groups.append((f"the {len(gray)} achromatic", gray))
    for name, rows in groups:
        oriented = rows["direction"].isin(["anisotropic", "weakly anisotropic"]) & (rows["band"] == "band-pass")
        lines.append(f"{name}: {100 * oriented.mean():.0f} % oriented band-pass")
        for answer in ANSWERS:
            words = rows[answer].str.replace(r" (red|orange|yellow|lime|green)–.*", "", regex=True)
            words = words.replace("luminance with", "luminance with color")
            shares = words.value_counts(normalize=True)
            listed = ", ".join(f"{100 * share:.0f} % {word}" for word, share in shares.items())
            lines.append(f"  {answer}: {listed}")
        turned = rows.loc[rows["direction"].isin(["anisotropic", "weakly anisotropic"]), "orientation"].astype(float)
        if len(turned := turned.dropna()):
            level, upright = ((np.cos(2 * np.radians(turned - axis)) >= np.cos(np.pi / 4)).mean() for axis in (0, 90))
            lines.append(
                f"  orientation: {100 * level:.0f} % within 22.5° of horizontal, {100 * upright:.0f} % of vertical, "
                f"{100 * (1 - level - upright):.0f} % oblique (n = {len(turned)}; were all alike: 25, 25, 50 %)"
            )
        bends = rows.loc[rows["straightness"] != "no stripes", "bend"].astype(float).abs().dropna()
        if len(bends):
            lines.append(f"  stripes turn by a median of {bends.median():.0f}° over their length (n = {len(bends)})")
    return "\n".join(lines)
