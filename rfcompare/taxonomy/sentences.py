"""One sentence for each map: what the answers say, in plain words, each number that of the model named beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from rfcompare.models import MODELS
from rfcompare.taxonomy.color import color_pair
from rfcompare.taxonomy.profile import STRIPED
from rfcompare.taxonomy.thresholds import value

FIXED = "fixed by construction"

_NUMBER = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def sentence(answers: dict[str, str], numbers: dict[str, Any], unit: str) -> str:
    """What one unit's answers say, with the numbers behind them; `unit` is that of its frequencies."""
    parts = [_shape(answers, numbers), _passes(answers, float(numbers["peak_frequency"]), unit)]
    if color := _colored(answers, numbers):
        parts.append(color)
    turns = "its contour turns" if answers["profile"] == "first derivative" else "its stripes turn"
    if answers["straightness"] == "straight":
        bend = max(abs(float(numbers["bend_low"])), abs(float(numbers["bend_high"])))
        parts.append(f"{turns} by less than {max(1, int(np.ceil(bend)))}°")
    elif answers["straightness"] == "curved":
        parts.append(f"{turns} by {abs(round(float(numbers['bend'])))}°")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _shape(answers: dict[str, str], numbers: dict[str, Any]) -> str:
    profile, lobes = answers["profile"], int(numbers["lobes"])
    angle = _angle(float(numbers["orientation"]))
    count = _NUMBER[lobes] if lobes < len(_NUMBER) else str(lobes)
    long = "elongated " if answers["direction"] == "anisotropic" and numbers["named"] != "gaussian_isotropic" else ""
    explained = _explained(numbers)
    cut = f", cut off by the {numbers['cut_off']}" if numbers["cut_off"] else ""
    if profile == "flat":
        mixed = numbers["rank_one_share"] < value("one_color")
        return f"nearly uniform {'in its main color' if mixed else 'over its whole window'}"
    if profile == "blob":
        # What sums up to nothing has as much of the opposite sign, however faint.
        ground = ", on faint ground of the opposite sign" if answers["band"] == "band-pass" else ""
        return f"one {long}blob{angle if long else ''}{cut}{ground}{explained}"
    if profile == "center–surround":
        return f"a{'n' if long else ''} {long}center with a surround of the opposite sign{cut}{explained}"
    if profile == "first derivative":
        return f"an edge{angle}{cut}{explained}"
    if profile == "second derivative":
        return f"a bar with flanks{angle}{cut}{explained}"
    if profile == "higher derivative":
        return f"{count} stripes{angle}{cut}{explained}"
    if profile == "Gabor":
        return f"a Gabor patch of {count} visible stripes{angle}{cut}{explained}"
    if profile == "curved":
        return f"{count} curved stripes{angle}{cut}{explained}"
    if profile == "checker":
        if answers["direction"] == "two directions":
            return "a checkerboard: two directions of stripes at once"
        return f"checkered: neighboring pixels alternate in sign{explained}"
    if profile == "unstructured":
        if np.isfinite(numbers["p_spectrum"]):
            return f"texture{angle}, with no more form than noise of the same power spectrum shows"
        return "no structure that noise of the same power would not show"
    if profile == "irregular":
        return f"structured, but not clearly any of the simple forms{explained}"
    if profile == "too few pixels":
        oriented = f"{answers['direction']}{angle if answers['direction'] == 'anisotropic' else ''}"
        return f"{oriented}; too few pixels to tell a form"
    return f"{count} visible lobe{'s' if lobes != 1 else ''}{angle} (rendered from parameters, so its form is {FIXED})"


def _explained(numbers: dict[str, Any]) -> str:
    """What the model that the words stand for explains."""
    if not np.isfinite(numbers["named_r2"]):
        return ""
    title = MODELS[str(numbers["named"])].title.removesuffix(" of a Gaussian")
    title = title.removeprefix("center–surround (").removesuffix(")")
    article = "an" if title[0] in "aeiou" else "a"
    return f" ({article} {title} explains {100 * float(numbers['named_r2']):.0f} %)"


def _angle(orientation: float) -> str:
    if not np.isfinite(orientation):
        return ""
    for name, angle in (("horizontal", 0), ("vertical", 90), ("horizontal", 180)):
        if abs(orientation - angle) <= 5:
            return f", {name}"
    return f" at {orientation:.0f}°"


def _passes(answers: dict[str, str], peak: float, unit: str) -> str:
    band = answers["band"]
    if band == "low-pass":
        return f"low-pass, {'since one sign outweighs the other' if answers['profile'] in STRIPED else 'it blurs'}"
    if band == "band-pass":
        return f"band-pass around {peak:.2g} {unit}"
    if band == "high-pass":
        return f"high-pass, strongest at {peak:.2g} {unit} and still above half of that at the finest"
    return "all-pass, it favors no scale"


def _colored(answers: dict[str, str], numbers: dict[str, Any]) -> str:
    color = answers["color"]
    if color == "not applicable":
        return ""
    share = float(numbers["rank_one_share"])
    several = f", and its channels carry different shapes (one color explains {100 * share:.0f} %)"
    extra = several if np.isfinite(share) and share < value("one_color") else ""
    if color == "achromatic":
        return f"achromatic{extra}"
    if color.startswith("opponent"):
        return f"opponent color, {color_pair(numbers, shaded=False)}{extra}"
    return f"{'faintly ' if color == 'faintly colored' else ''}colored, {color_pair(numbers, shaded=True)}{extra}"
