"""Color: whether a kernel sees color, along which direction, and whether its channels carry one shape.

The opponent space of the weights is the orthonormal one of van de Sande 2010 (doi:10.1109/TPAMI.2009.154): gray =
(1, 1, 1)/√3, red–green = (1, −1, 0)/√2, yellow–blue = (1, 1, −2)/√6 over (R, G, B). The hue angle runs from red–green
(0°) to yellow–blue (90°). An axis has two ends, so axes are named over [0°, 180°).
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.taxonomy.thresholds import value

GRAY = np.array([1.0, 1.0, 1.0]) / np.sqrt(3)
RED_GREEN = np.array([1.0, -1.0, 0.0]) / np.sqrt(2)
YELLOW_BLUE = np.array([1.0, 1.0, -2.0]) / np.sqrt(6)

POLES = (
    "red", "red", "orange", "yellow", "lime", "green", "green", "cyan", "azure", "blue", "violet", "magenta",
)  # fmt: skip
"""Names of the ends at 0°, 30°, …, 330°: R − G is red against green, R − (G + B)/2 red against cyan, and so on."""

AXES = ("red–green", "red–cyan", "orange–azure", "yellow–blue", "lime–violet", "green–magenta")
"""Names of the axes at 0°, 30°, …, 150°."""


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
        gray = (np.einsum("ucyx,c->uyx", weights, GRAY) ** 2).sum((1, 2))
        chroma = 1 - np.divide(gray, energy, out=np.ones(n), where=energy > 0)
    else:  # a bank that was reduced before: its direction is all that is left of its color
        chroma = 1 - (direction @ GRAY) ** 2
    return {
        "chroma_share": chroma,
        "hue": np.degrees(np.arctan2(direction @ YELLOW_BLUE, direction @ RED_GREEN)) % 360,
        "rank_one_share": signed["rank_one_share"].values.astype(float),
    }


def axis_name(hue: float) -> str:
    """The axis nearest to a hue angle.

    Examples
    --------
    >>> axis_name(85), axis_name(275), axis_name(150)
    ('yellow–blue', 'yellow–blue', 'green–magenta')
    """
    return AXES[round(hue / 30) % 6]


def pole_name(hue: float) -> str:
    """The color at a hue angle.

    Examples
    --------
    >>> pole_name(85), pole_name(275)
    ('yellow', 'blue')
    """
    return POLES[round(hue / 30) % 12]


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
        return f"opponent {axis_name(hue)}"
    return f"luminance with {axis_name(hue)}"
