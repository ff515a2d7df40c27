"""Lobes: how many a map shows, where the window cuts them off, and how far the line between two of them turns."""

from __future__ import annotations

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import map_coordinates

from rfcompare.bank import Array

FINER = 4
"""Points per pixel on which the line between two lobes is traced."""

_ONE_SD = float(np.exp(-0.5))
"""A Gaussian envelope keeps this share of its height one standard deviation from its center."""

_CUT = 2.0
"""A map is cut off where its center of energy is fewer of its standard deviations than this from the border."""

_GROUND = 0.25
"""What is fainter than this share of the largest value is ground on which a form lies."""


def _count_lobes(values: Array, smallest: float) -> NDArray[np.int_]:
    """Number of lobes of alternating sign whose peaks reach a size, along the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> int(_count_lobes(np.cos(np.linspace(-4.0, 4.0, 50)), 0.15))
    3
    >>> int(_count_lobes(np.array([0.01, 1.0, 0.05]), 0.15))
    1
    """
    signs = np.where(np.abs(values) >= smallest, np.sign(values), 0)
    # What is too faint to count takes the sign of the last lobe that did.
    last = np.maximum.accumulate(np.where(signs != 0, np.arange(signs.shape[-1]), 0), axis=-1)
    filled = np.take_along_axis(signs, last, axis=-1)
    turns = (filled[..., 1:] != filled[..., :-1]) & (filled[..., :-1] != 0)
    result: NDArray[np.int_] = turns.sum(-1) + signs.any(-1)
    return result


def lobes_seen(image: Array, orientation: float, smallest: Array) -> NDArray[np.int_]:
    """Most lobes on any line across a direction, and on any line along it, of a map (y, x) with y up.

    The direction is that of the stripes in degrees; lobes are counted whose peak reaches each of `smallest` (level, 2).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(-5, 6.0)
    >>> lobes_seen(np.exp(-(x[:, None] ** 2) / 8) * np.cos(1.2 * x), 90.0, np.array([0.15])).tolist()
    [[5, 1]]
    """
    values = _turned(image, orientation)
    counts = [[_count_lobes(lines, float(size)).max() for lines in (values, values.T)] for size in smallest]
    return np.array(counts, dtype=int)


def _turned(image: Array, orientation: float) -> Array:
    """The map on a grid of half pixels turned to a direction (along, across); 0 outside the window."""
    height, width = image.shape
    reach = np.arange(-max(height, width), max(height, width) + 0.25, 0.5)
    turned = np.radians(orientation + 90)
    across, along = np.meshgrid(reach, reach)
    rows = (height - 1) / 2 + across * np.sin(turned) - along * np.cos(turned)
    columns = (width - 1) / 2 + across * np.cos(turned) + along * np.sin(turned)
    inside = (rows >= -1e-9) & (rows <= height - 1 + 1e-9) & (columns >= -1e-9) & (columns <= width - 1 + 1e-9)
    result: Array = np.where(inside, map_coordinates(image, [rows, columns], order=1, mode="nearest"), 0.0)
    return result


def crossed_share(image: Array, orientation: float, smallest: float) -> float:
    """Share of a map that one product of two waves explains, one along a direction and one across it.

    0 where the second lobe of one of the waves does not reach the share `smallest` of its largest value.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(-5, 6.0)
    >>> wave = np.sin(0.8 * x)
    >>> round(crossed_share(np.outer(wave, wave), 90.0, 0.2), 2), crossed_share(np.outer(wave, 1 + 0 * x), 90.0, 0.2)
    (1.0, 0.0)
    """
    left, size, right = np.linalg.svd(_turned(image, orientation), full_matrices=False)
    waves = (left[:, 0], right[0])
    if any(_count_lobes(wave, smallest * float(np.abs(wave).max())) < 2 for wave in waves):
        return 0.0
    return float(size[0] ** 2 / np.square(size).sum())


def zero_line(image: Array, per_pixel: int = 1) -> tuple[float, float, float]:
    """Where the clearest line between two lobes goes inside the window, and how far it turns.

    Of a map with `per_pixel` samples a pixel (one is interpolated by a cubic spline first) the degrees by which the
    line turns, its length in pixels and its mean direction (degrees in [0°, 180°)), over the stretch where the contrast
    across it stays above 61 % of its largest (± 1 SD of a Gaussian envelope). NaN where no line can be followed.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(-5, 6.0)
    >>> arc = np.hypot(x, x[:, None] + 12.0) - 12.0  # a circle of radius 12 px about a point 12 px below
    >>> turn, length, direction = zero_line(arc * np.exp(-(x**2 + x[:, None] ** 2) / 18))
    >>> round(abs(turn) - np.degrees(length / 12.0)), 5.0 < length < 7.0, min(direction, 180 - direction) < 1
    (0, True, True)
    """
    if per_pixel == 1:
        image, per_pixel = _finer(image), FINER
    slopes = np.hypot(*np.gradient(image, 1 / per_pixel))
    best: tuple[float, Array, Array] | None = None
    for line in contourpy.contour_generator(z=image).lines(0.0):
        points = np.asarray(line, dtype=float)
        slope = map_coordinates(slopes, points.T[::-1], order=1, mode="nearest")
        weight = float((np.hypot(*np.diff(points, axis=0).T) * (slope[1:] + slope[:-1])).sum())
        if best is None or weight > best[0]:
            best = weight, points / per_pixel, slope
    if best is None:
        return np.nan, np.nan, np.nan
    _, points, slope = best
    seen = slope >= _ONE_SD * slope.max()
    middle = int(slope.argmax())
    start = middle - int(np.argmin(np.append(seen[middle::-1], False))) + 1
    stop = middle + int(np.argmin(np.append(seen[middle:], False)))
    points = points[start:stop]
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))]) if len(points) > 1 else np.zeros(1)
    length = float(along[-1])
    if length < 1.0:
        return np.nan, np.nan, np.nan
    # Steps of equal length, and a straight line through their directions: single pixels bend nothing.
    places = np.linspace(0, length, max(8, round(4 * length)))
    steps = np.diff(np.column_stack([np.interp(places, along, points[:, i]) for i in (0, 1)]), axis=0)
    direction = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
    rate = np.polyfit((places[1:] + places[:-1]) / 2, direction, 1)[0]
    mean = float(np.degrees(direction.mean())) % 180
    return float(np.degrees(rate * length)), length, mean


def _finer(image: Array) -> Array:
    """The map's cubic spline at `FINER` points per pixel."""
    height, width = image.shape
    degrees = {"kx": min(3, height - 1), "ky": min(3, width - 1)}
    surface = RectBivariateSpline(np.arange(height), np.arange(width), image, **degrees)
    y, x = (np.linspace(0, size - 1, (size - 1) * FINER + 1) for size in (height, width))
    result: Array = surface(y, x)
    return result


def cut_off(image: Array) -> str:
    """The border or corner that cuts a map off, "" where none does.

    What lies in the outer quarter of the window and has its center of energy within two of its standard deviations of
    the border is cut off: a Gaussian so near still has 37 % of its height there.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(11.0)
    >>> spot = lambda column, row: np.exp(-((x - column) ** 2 + (x[:, None] - row) ** 2) / 18)
    >>> cut_off(spot(10, 10)), cut_off(spot(5, 0)), cut_off(spot(5, 5))
    ('upper right corner', 'lower border', '')
    """
    peak = np.abs(image).max()
    if not peak > 0:  # a form that is flat or could not be fitted
        return ""
    energy = np.square(np.where(np.abs(image) >= _GROUND * peak, image / peak, 0.0))
    energy /= energy.sum()
    sides = []
    for axis, low, high in ((1, "lower", "upper"), (0, "left", "right")):
        share = energy.sum(axis)
        place = np.arange(share.size)
        center = float(share @ place)
        spread = float(np.sqrt(share @ (place - center) ** 2))
        near = min(center, share.size - 1 - center)
        whole = near + 0.5 >= _CUT * spread or near > share.size / 4
        sides.append("" if whole else low if center < (share.size - 1) / 2 else high)
    named = [side for side in sides if side]
    return f"{' '.join(named)} {'corner' if len(named) == 2 else 'border'}" if named else ""
