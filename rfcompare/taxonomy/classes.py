"""`classify`: one row per map, five independent answers, the numbers behind each, and a sentence in plain words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import bad_units, check, is_recorded, pitch, to_signed
from rfcompare.errors import named_strictly
from rfcompare.quantities import kinds
from rfcompare.taxonomy.color import measure_color, name_color, pole_name
from rfcompare.taxonomy.profile import STRIPED, draw_forms, measure_profiles, name_straightness, select_forms
from rfcompare.taxonomy.spectrum import measure_spectra
from rfcompare.taxonomy.thresholds import value

ANSWERS = ("band", "direction", "profile", "color", "straightness")
"""The five questions, in the order of the table."""

NUMBERS = (
    "dc_gain", "nyquist_gain", "low_power", "spectral_area", "peak_frequency", "centroid_frequency", "high_share",
    "anisotropy", "fourfold", "orientation", "model", "indistinguishable", "r2", "gabor_r2", "p_noise", "p_spectrum",
    "uniform_share", "lobes", "aspect", "nx", "ny", "bend", "bend_low", "bend_high", "chroma_share", "hue",
    "rank_one_share",
)  # fmt: skip
"""Columns with the numbers behind the answers; angles in degrees, frequencies in cycles per unit of the bank."""

FIXED = "fixed by construction"


@named_strictly
def classify(bank: xr.Dataset, *, progress: bool | None = None) -> pd.DataFrame:
    """Say in common terms what kind of filter every map is.

    Parameters
    ----------
    bank : xarray.Dataset
        Kernels or fields, in color, ON/OFF or signed.
    progress : bool, optional
        Show progress; by default where stderr is a terminal and the job is long.

    Returns
    -------
    pandas.DataFrame
        Exactly one row per unit: ``unit, band, direction, profile, color, straightness, sentence``, then ``kind``,
        ``subject``, ``source`` and the numbers behind the answers. ``band``: low-pass, band-pass, high-pass or
        all-pass. ``direction``: isotropic, weakly anisotropic, anisotropic, or two directions. ``profile``: flat, blob,
        center–surround, first, second or higher derivative, Gabor, curved, checker, irregular (structured, but like no
        form), unstructured (not to be told from noise of the same power), or too few pixels. ``color``: achromatic,
        faintly colored, luminance with an opponent axis, opponent along an axis, not applicable. ``straightness``:
        straight, curved, undecided, no stripes. A unit that cannot be used has "not classified" in every column and its
        reason in the sentence.

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
    check(bank)
    signed = to_signed(bank)
    problems = bad_units(signed)
    usable = np.array([problem == "" for problem in problems])
    units = [str(unit) for unit in bank.unit.values]
    rows = pd.DataFrame({"unit": units})
    for answer in ANSWERS:
        rows[answer] = pd.Series("not classified", index=rows.index, dtype=object)
    rows["sentence"] = pd.Series([f"Not classified: {p}." if p else "" for p in problems], dtype=object)
    rows["kind"] = str(bank.attrs["kind"])
    rows["subject"], rows["source"] = bank.subject.values, bank.source.values
    numbers = pd.DataFrame(np.nan, index=rows.index, columns=list(NUMBERS))
    numbers[["model", "indistinguishable"]] = pd.DataFrame("", index=rows.index, columns=["model", "indistinguishable"])
    if usable.any():
        chosen = np.flatnonzero(usable)
        answers, found = _classify(bank.isel(unit=chosen), signed.isel(unit=chosen), progress)
        for name in (*ANSWERS, "sentence"):
            rows.loc[chosen, name] = answers[name]
        for name in NUMBERS:
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
    maps = np.nan_to_num(signed.rf.isel(channel=0).transpose("unit", "y", "x").values.astype(float))
    if is_recorded(signed):
        at = (table["model"] == table["selected"]).argmax("model")
        offset = table["offset"].isel(model=at).isel(channel=0).values
        drawn = draw_forms(signed, table, table["selected"].values) - offset[:, None, None]
        # A flat fit is nothing but baseline: then the map itself has to stand for the field.
        maps = np.where((drawn**2).sum((1, 2), keepdims=True) > 0, drawn, maps)
    spectra = measure_spectra(maps)
    numbers: dict[str, NDArray[Any]] = {**spectra, **measure_profiles(signed, table, spectra)}
    numbers |= measure_color(bank, signed)
    bands = [name_band(*row) for row in _rows(numbers, "dc_gain", "nyquist_gain", "low_power", "spectral_area")]
    crossed = [is_crossed(*row) for row in _rows(numbers, "anisotropy", "fourfold", "dc_gain", "spectral_area")]
    directions = [
        "two directions" if both else name_direction(anisotropy)
        for both, anisotropy in zip(crossed, numbers["anisotropy"], strict=True)
    ]
    profiles = [
        "checker" if both and form not in ("unstructured", "too few pixels") else str(form)
        for both, form in zip(crossed, numbers["form"], strict=True)
    ]
    colors = [name_color(*row) for row in _rows(numbers, "chroma_share", "hue")]
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
        for name in ("bend", "bend_low", "bend_high", "p_noise", "p_spectrum"):
            numbers[name] = np.full(len(profiles), np.nan)
        numbers["gabor_r2"] = np.full(len(profiles), np.nan)
        numbers["model"] = np.full(len(profiles), FIXED, dtype=object)
        numbers["indistinguishable"] = np.full(len(profiles), "", dtype=object)
        for name in ("r2", "rank_one_share"):
            original = f"{name}_original"
            numbers[name] = bank[original].values.astype(float) if original in bank else np.full(len(profiles), np.nan)
    scale = pitch(signed)[0]
    for name in ("peak_frequency", "centroid_frequency"):
        numbers[name] = numbers[name] / scale
    answers: dict[str, list[str]] = {
        "band": bands,
        "direction": directions,
        "profile": profiles,
        "color": colors,
        "straightness": courses,
    }
    unit = "cycles/px" if signed.attrs["units"] == "px" else "cycles/°"
    answers["sentence"] = [
        _sentence(
            {name: column[i] for name, column in answers.items()},
            {name: column[i] for name, column in numbers.items()},
            unit,
        )
        for i in range(len(profiles))
    ]
    return answers, numbers


def _rows(numbers: dict[str, NDArray[Any]], *names: str) -> list[tuple[float, ...]]:
    return list(zip(*(numbers[name].astype(float) for name in names), strict=True))


def name_band(dc_gain: float, nyquist_gain: float, low_power: float, spectral_area: float) -> str:
    """The word for what a filter passes.

    Examples
    --------
    >>> name_band(1.0, 0.0, 15.0, 0.05), name_band(0.0, 0.1, 2.0, 0.05), name_band(1.0, 1.0, 1.0, 1.0)
    ('low-pass', 'band-pass', 'all-pass')
    >>> name_band(1.0, 0.2, 3.0, 0.4)  # a blob with an SD of 0.63 pixels
    'low-pass'
    """
    low, high = dc_gain >= value("half_gain"), nyquist_gain >= value("half_gain")
    if spectral_area >= value("broad_area"):
        if low and not high and low_power > value("most_low_power"):
            return "low-pass"
        return "all-pass" if low_power > value("no_low_power") else "high-pass"
    if low:
        return "all-pass" if high else "low-pass"
    return "high-pass" if high else "band-pass"


def is_crossed(anisotropy: float, fourfold: float, dc_gain: float, spectral_area: float) -> bool:
    """Whether two directions cross."""
    return (
        anisotropy <= value("isotropic")
        and fourfold >= value("crossed")
        and dc_gain <= value("crossed_gain")
        and spectral_area < value("broad_area")
    )


def name_direction(anisotropy: float) -> str:
    """The word for how strongly a filter prefers a direction.

    Examples
    --------
    >>> name_direction(0.1), name_direction(0.3), name_direction(0.8)
    ('isotropic', 'weakly anisotropic', 'anisotropic')
    """
    if anisotropy <= value("isotropic"):
        return "isotropic"
    return "anisotropic" if anisotropy >= value("anisotropic") else "weakly anisotropic"


_NUMBER = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def _sentence(answers: dict[str, str], numbers: dict[str, Any], unit: str) -> str:
    """What the answers say, in plain words."""
    parts = [_shape(answers, numbers), _passes(answers["band"], float(numbers["peak_frequency"]), unit)]
    color = _colored(answers, numbers)
    if color:
        parts.append(color)
    turns = "its contour turns" if answers["profile"] == "first derivative" else "its stripes turn"
    if answers["straightness"] == "straight":
        bend = max(abs(float(numbers["bend_low"])), abs(float(numbers["bend_high"])))
        parts.append(f"{turns} by less than {max(1, round(bend))}°")
    elif answers["straightness"] == "curved":
        parts.append(f"{turns} by {abs(round(float(numbers['bend'])))}°")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _shape(answers: dict[str, str], numbers: dict[str, Any]) -> str:
    profile, lobes = answers["profile"], int(numbers["lobes"])
    angle = _angle(float(numbers["orientation"]))
    percent = f" ({100 * float(numbers['r2']):.0f} % explained)" if np.isfinite(numbers["r2"]) else ""
    count = _NUMBER[lobes] if lobes < len(_NUMBER) else str(lobes)
    long = " elongated" if answers["direction"] == "anisotropic" else ""
    if profile == "flat":
        return "nearly uniform over its whole window"
    if profile == "blob":
        return f"one{long} blob{angle if long else ''}{percent}"
    if profile == "center–surround":
        return f"a{'n' if long else ''}{long} center with a surround of the opposite sign{percent}"
    if profile == "first derivative":
        return f"an edge{angle}, like a first derivative{percent}"
    if profile == "second derivative":
        return f"a bar with flanks{angle}, like a second derivative{percent}"
    if profile == "higher derivative":
        return f"{count} stripes{angle}, like a derivative of order {lobes - 1}{percent}"
    if profile == "Gabor":
        return f"a Gabor patch of {count} visible stripes{angle}{percent}"
    if profile == "curved":
        return f"{count} curved stripes{angle}{percent}"
    if profile == "checker":
        return "a checkerboard: two directions of stripes at once"
    if profile == "unstructured":
        if np.isfinite(numbers["p_spectrum"]):
            return f"texture{angle}, with no more form than noise of the same power spectrum shows"
        return "no structure that noise of the same power would not show"
    if profile == "irregular":
        return f"structured, but like none of the simple forms (the best explains {100 * float(numbers['r2']):.0f} %)"
    if profile == "too few pixels":
        oriented = f"{answers['direction']}{angle if answers['direction'] == 'anisotropic' else ''}"
        return f"{oriented}; too few pixels to tell a form"
    return f"{count} visible lobe{'s' if lobes != 1 else ''}{angle} (rendered from parameters, so its form is {FIXED})"


def _angle(orientation: float) -> str:
    if not np.isfinite(orientation):
        return ""
    for name, angle in (("horizontal", 0), ("vertical", 90), ("horizontal", 180)):
        if abs(orientation - angle) <= 5:
            return f", {name}"
    return f" at {orientation:.0f}°"


def _passes(band: str, peak: float, unit: str) -> str:
    if band == "low-pass":
        return "low-pass, it blurs"
    if band == "band-pass":
        return f"band-pass around {peak:.2g} {unit}"
    if band == "high-pass":
        return "high-pass, it keeps only the finest detail"
    return "all-pass, it favors no scale"


def _colored(answers: dict[str, str], numbers: dict[str, Any]) -> str:
    color, hue = answers["color"], float(numbers["hue"])
    if color == "not applicable":
        return ""
    share = float(numbers["rank_one_share"])
    several = f", and its channels carry different shapes (one color explains {100 * share:.0f} %)"
    extra = several if np.isfinite(share) and share < value("one_color") else ""
    if color in ("achromatic", "faintly colored"):
        return f"{color}{extra}"
    if answers["profile"] in ("flat", "blob", "center–surround") and float(numbers["peak_sign"]) < 0:
        hue += 180  # the color of the uniform field or of the center comes first
    first, second = pole_name(hue), pole_name(hue + 180)
    if color.startswith("opponent"):
        return f"opponent color, {first} against {second}{extra}"
    return f"lightness mixed with {first} against {second}{extra}"


def summarize(table: pd.DataFrame) -> str:
    """What a table of classes amounts to, for all units and for the achromatic ones, in a few lines.

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
    lines = [f"{len(table)} unit{'s' if len(table) != 1 else ''}, kind {kind}: {kinds.get(kind, '')}"]
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
