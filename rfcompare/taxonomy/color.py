"""Color: whether a kernel sees color, along which direction, and whether its channels carry one shape.

The opponent space of the weights is the orthonormal one of van de Sande 2010 (doi:10.1109/TPAMI.2009.154): gray =
(1, 1, 1)/√3, red–green = (1, −1, 0)/√2, yellow–blue = (1, 1, −2)/√6 over (R, G, B). The hue angle runs from red–green
(0°) to yellow–blue (90°). An axis has two ends, so axes are named over [0°, 180°).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import signed_maps
from rfcompare.taxonomy.thresholds import value

_GRAY = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
_RED_GREEN = np.array([1.0, -1.0, 0.0]) / np.sqrt(2)
_YELLOW_BLUE = np.array([1.0, 1.0, -2.0]) / np.sqrt(6)

POLES = (
    "red", "red", "orange", "yellow", "lime", "green", "green", "cyan", "azure", "blue", "violet", "magenta",
)  # fmt: skip
"""Names of the ends at 0°, 30°, …, 330°: R − G is red against green, R − (G + B)/2 red against cyan, and so on."""

AXES = ("red–green", "red–cyan", "orange–azure", "yellow–blue", "lime–violet", "green–magenta")
"""Names of the axes at 0°, 30°, …, 150°."""

_MAGENTA_END = 352.5
"""Magenta reaches from 315° to here: its printing ink lies at 356°, red against green at 360°."""

_FORMLESS = ("unstructured", "irregular", "too few pixels")
"""Profiles without lobes."""

_LOBE = 0.5
"""A lobe's color is that of the pixels above this share of its peak, weighted by their values."""


def measure_color(bank: xr.Dataset, signed: xr.Dataset) -> dict[str, NDArray[np.float64]]:
    """Numbers behind the word for color; NaN without color channels.

    Returns
    -------
    dict of str to array (unit,)
        ``chroma_share``: share of the kernel's energy off the gray axis; ``hue``: angle of the first color direction's
        part off the gray axis, degrees in [0°, 360°), of the end that the signed map's positive values stand for;
        ``rank_one_share``: energy that one direction explains.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> blob = np.exp(-((np.arange(-3, 4.0)) ** 2) / 4)
    >>> weights = np.multiply.outer([1, 1, -2], np.outer(blob, blob))[None]
    >>> bank = rfc.make_bank(weights, channel=("r", "g", "b"), kind="analytic")
    >>> numbers = measure_color(bank, rfc.to_signed(bank))
    >>> round(float(numbers["chroma_share"][0]), 2), round(float(numbers["hue"][0]))
    (1.0, 90)
    """
    n = bank.sizes["unit"]
    if "color_direction" not in signed:
        return {name: np.full(n, np.nan) for name in ("chroma_share", "hue", "rank_one_share")}
    direction = signed["color_direction"].transpose("unit", "color").values.astype(float)
    if tuple(bank.channel.values) == ("r", "g", "b"):
        weights = np.nan_to_num(bank.rf.transpose("unit", "channel", "y", "x").values.astype(float))
        energy = (weights**2).sum((1, 2, 3))
        gray = (np.einsum("ucyx,c->uyx", weights, _GRAY) ** 2).sum((1, 2))
        chroma = 1 - np.divide(gray, energy, out=np.ones(n), where=energy > 0)
    else:  # a bank that was reduced before: its direction is all that is left of its color
        chroma = 1 - (direction @ _GRAY) ** 2
    return {
        "chroma_share": chroma,
        "hue": np.degrees(np.arctan2(direction @ _YELLOW_BLUE, direction @ _RED_GREEN)) % 360,
        "rank_one_share": signed["rank_one_share"].values.astype(float),
    }


def lobe_colors(
    bank: xr.Dataset, signed: xr.Dataset, drawn: NDArray[np.float64], form: NDArray[np.object_]
) -> dict[str, NDArray[np.float64]]:
    """Colors of the lobe that comes first and of the strongest one of the opposite sign; NaN without color channels.

    First comes the strongest lobe; of a blob, whichever sign has more energy; of an edge or a center with its surround,
    whichever has more about the middle of the window.

    `drawn` (unit, y, x) says where the lobes are. What has no form has no lobes: its colors are the two ends of the
    axis off gray along which it varies most.

    Returns
    -------
    dict of str to array (unit,)
        ``first_hue`` and ``second_hue`` (degrees); ``first_light`` and ``second_light``: length along gray over length
        off gray, with its sign; ``second_lobe``: 1 where there is a second lobe, 0 where the second color is the
        opposite of the first.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bump = np.exp(-((np.arange(-3, 4.0)) ** 2) / 4)
    >>> weights = np.multiply.outer([-1, -1, 2], np.outer(bump, bump))[None]
    >>> bank = rfc.make_bank(weights, channel=("r", "g", "b"), kind="analytic")
    >>> signed = rfc.to_signed(bank)
    >>> found = lobe_colors(bank, signed, signed.rf.values[:, 0], np.array(["blob"], dtype=object))
    >>> _pole_name(float(found["first_hue"][0]))
    'blue'
    """
    names = ("first_hue", "first_light", "second_hue", "second_light", "second_lobe")
    if "color_direction" not in signed:
        return {name: np.full(bank.sizes["unit"], np.nan) for name in names}
    direction = signed["color_direction"].transpose("unit", "color").values.astype(float)
    maps = np.nan_to_num(signed_maps(signed.rf))
    weights = direction[:, :, None, None] * maps[:, None]
    if tuple(bank.channel.values) == ("r", "g", "b"):
        own = np.nan_to_num(bank.rf.transpose("unit", "channel", "y", "x").values.astype(float))
        formless = np.isin(form, _FORMLESS)[:, None, None]
        chroma, axis = _opponent_maps(own)
        weights = np.where(formless[:, None], axis[:, :, None, None] * chroma[:, None], own)
        drawn = np.where(formless, chroma, drawn)
    height, width = drawn.shape[1:]
    y, x = (np.arange(size) - (size - 1) / 2 for size in (height, width))
    middle = np.exp(-0.5 * ((x / (width / 4)) ** 2 + (y[:, None] / (height / 4)) ** 2))
    energy = drawn * np.abs(drawn)
    sign = np.where(drawn.max((1, 2)) >= -drawn.min((1, 2)), 1.0, -1.0)
    sign = np.where(form == "blob", np.sign(energy.sum((1, 2))), sign)
    central = np.isin(form, ("first derivative", "center–surround", *_FORMLESS))
    sign = np.where(central, np.sign((energy * middle).sum((1, 2))), sign)
    turned = drawn * sign[:, None, None]
    peaks = np.stack([turned.max((1, 2)), -turned.min((1, 2))])
    color = [
        np.einsum("uyx,ucyx->uc", np.where(side >= _LOBE * peak[:, None, None], side, 0.0), weights)
        for side, peak in zip((turned, -turned), peaks, strict=True)
    ]
    lobe = peaks[1] >= value("flank") * peaks[0]
    color[1] = np.where(lobe[:, None], color[1], -color[0])
    result = {"second_lobe": lobe.astype(float)}
    for name, one in zip(("first", "second"), color, strict=True):
        across, up = one @ _RED_GREEN, one @ _YELLOW_BLUE
        result[f"{name}_hue"] = np.degrees(np.arctan2(up, across)) % 360
        with np.errstate(divide="ignore", invalid="ignore"):
            result[f"{name}_light"] = (one @ _GRAY) / np.hypot(across, up)
    return result


def _opponent_maps(weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each kernel along its principal axis off gray (unit, y, x), and that axis (unit, color)."""
    n, _, height, width = weights.shape
    plane = np.stack([_RED_GREEN, _YELLOW_BLUE])
    chroma = np.einsum("ac,ucyx->uayx", plane, weights).reshape(n, 2, -1)
    left = np.linalg.svd(chroma, full_matrices=False)[0][:, :, 0]
    return np.einsum("ua,uap->up", left, chroma).reshape(n, height, width), left @ plane


def _axis_name(hue: float) -> str:
    """The axis nearest to a hue angle.

    Examples
    --------
    >>> _axis_name(85), _axis_name(275), _axis_name(150), _axis_name(168)
    ('yellow–blue', 'yellow–blue', 'green–magenta', 'green–magenta')
    """
    return AXES[_step(hue % 180)]


def _pole_name(hue: float) -> str:
    """The color at a hue angle.

    Examples
    --------
    >>> _pole_name(85), _pole_name(275), _pole_name(348), _pole_name(0)
    ('yellow', 'blue', 'magenta', 'red')
    """
    return POLES[_step(hue % 180) + (6 if _opposite(hue) else 0)]


def _step(angle: float) -> int:
    """Number of the name for an angle in [0°, 180°)."""
    if 165 <= angle < _MAGENTA_END - 180:
        return 5
    return round(angle / 30) % 6


def _opposite(hue: float) -> bool:
    return _MAGENTA_END - 180 <= hue % 360 < _MAGENTA_END


def color_pair(numbers: dict[str, float], *, shaded: bool) -> str:
    """The colors of a kernel, that of its strongest lobe first.

    `numbers` are those of `lobe_colors`, of one unit. Where it is `shaded`, lightness takes part: light and dark are
    said, and no second color where there is no second lobe. In an opponent color the second is always there, if only as
    what the first is taken from.

    Examples
    --------
    >>> numbers = {"first_hue": 270.0, "first_light": -2.0, "second_hue": 60.0, "second_light": 1.0, "second_lobe": 1}
    >>> color_pair(numbers, shaded=True), color_pair(numbers, shaded=False)
    ('dark blue against light orange', 'blue against orange')
    """

    def one(name: str) -> str:
        light = numbers[f"{name}_light"]
        shade = "" if not shaded or abs(light) < value("lightness") else "light " if light > 0 else "dark "
        return shade + _pole_name(numbers[f"{name}_hue"])

    first, second = one("first"), one("second")
    alone = first == second or (shaded and not numbers["second_lobe"])
    return first if alone else f"{first} against {second}"


def name_color(chroma_share: float, hue: float) -> str:
    """The word for a kernel's color.

    Examples
    --------
    >>> name_color(0.02, 10), name_color(0.95, 150), name_color(0.5, 90), name_color(float("nan"), 0)
    ('achromatic', 'opponent green–magenta', 'luminance with yellow–blue', 'not applicable')
    """
    if not np.isfinite(chroma_share):
        return "not applicable"
    if chroma_share <= value("achromatic"):
        return "achromatic"
    if chroma_share < value("chromatic"):
        return "faintly colored"
    if chroma_share >= value("opponent"):
        return f"opponent {_axis_name(hue)}"
    return f"luminance with {_axis_name(hue)}"
