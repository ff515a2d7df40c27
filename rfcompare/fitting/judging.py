"""How often the fitter misses the optimum: maps that are no Gabors, and a judge that starts anywhere.

The judge refines many random starts of every map and takes the best; nothing of it is made from the map. A fit is worse
when it leaves more than 1 % more than the judge's best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from rfcompare.bank import make_bank
from rfcompare.fitting.benchmark import NEAR, _jacobian, _parts, gabor
from rfcompare.fitting.fits import fit
from rfcompare.models import MODELS

Floats = npt.NDArray[np.float64]


def unequal_lobes(n: int, size: int, rng: np.random.Generator, noise: float) -> Floats:
    """A compact lobe and one or two fainter ones of the other sign around it, most along its long axis.

    `noise` is the norm of smooth noise over the map's.
    """
    x, y = _axes(size)
    maps = np.zeros((n, size, size))
    for one in maps:
        center, turn = rng.uniform(-0.2, 0.2, 2) * size, rng.uniform(0, np.pi)
        widths, strength = np.array([rng.uniform(1.0, 2.6), rng.uniform(0.6, 1.4)]), 1.0
        for _ in range(rng.integers(2, 4)):
            one += strength * _lobe(x - center[0], y - center[1], turn, *widths)
            away = turn + rng.choice([0.0, np.pi]) + rng.normal(0, 0.4)
            center = center + 2.4 * widths[0] * np.array([math.cos(away), math.sin(away)])
            widths, strength = widths * rng.uniform(0.8, 1.6, 2), -rng.uniform(0.1, 0.6)
        one += _grain(size, rng, noise * float(np.linalg.norm(one)))
    return maps


def streaks(n: int, size: int, rng: np.random.Generator, noise: float) -> Floats:
    """One to three parallel streaks of alternating sign, hardly a pixel wide, anywhere in the map."""
    x, y = _axes(size)
    maps = np.zeros((n, size, size))
    for one in maps:
        center, turn, strength = rng.uniform(-0.35, 0.35, 2) * size, rng.uniform(0, np.pi), 1.0
        for _ in range(rng.integers(1, 4)):
            one += strength * _lobe(x - center[0], y - center[1], turn, rng.uniform(0.4, 0.7), rng.uniform(1, 3))
            center = center + 1.5 * np.array([math.cos(turn), math.sin(turn)])
            strength *= -rng.uniform(0.2, 0.9)
        one += _grain(size, rng, noise * float(np.linalg.norm(one)))
    return maps


def two_gabors(n: int, size: int, rng: np.random.Generator, noise: float) -> Floats:
    """Two Gabors anywhere in the map, the second 0.3 to 1 times as strong as the first."""
    first, second = (_random_gabors(n, size, rng) for _ in range(2))
    return _noisy(first + rng.uniform(0.3, 1.0, n)[:, None, None] * second, rng, noise)


def curved(n: int, size: int, rng: np.random.Generator, noise: float) -> Floats:
    """Gabors whose stripes are arcs."""
    return _noisy(_random_gabors(n, size, rng, bend=3.0), rng, noise)


def truncated(n: int, size: int, rng: np.random.Generator, noise: float) -> Floats:
    """Gabors centered near the map's edge or beyond it."""
    return _noisy(_random_gabors(n, size, rng, place=(0.35, 0.55)), rng, noise)


def _axes(size: int) -> tuple[Floats, Floats]:
    line: Floats = np.arange(size, dtype=np.float64) - (size - 1) / 2
    return line[None, :], line[:, None]


def _lobe(dx: Floats, dy: Floats, turn: float, along: float, across: float) -> Floats:
    u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    return np.asarray(np.exp(-0.5 * (u / along) ** 2 - 0.5 * (v / across) ** 2))


def _grain(size: int, rng: np.random.Generator, norm: float) -> Floats:
    grain = gaussian_filter(rng.standard_normal((size, size)), 0.6)
    return np.asarray(norm * grain / np.linalg.norm(grain))


def _noisy(maps: Floats, rng: np.random.Generator, noise: float) -> Floats:
    return np.array([one + _grain(one.shape[0], rng, noise * float(np.linalg.norm(one))) for one in maps])


def _random_gabors(
    n: int, size: int, rng: np.random.Generator, *, bend: float = 0.0, place: tuple[float, float] = (0.0, 0.2)
) -> Floats:
    """Gabors of unit norm; their centers `place` of the size from the middle, curvature up to `bend` over the size."""
    x, y = _axes(size)
    maps = np.empty((n, size, size))
    for one in maps:
        away, toward, turn = rng.uniform(*place) * size, rng.uniform(0, 2 * np.pi), rng.uniform(0, np.pi)
        cycles = 0.25 * np.exp(0.45 * rng.standard_normal(2))
        width = np.maximum(0.1 * size * np.exp(0.2 * rng.standard_normal(2)), 0.6)
        frequency = min(float(np.sqrt(cycles.prod() / width.prod())), 0.45)
        dx, dy = x - away * math.cos(toward), y - away * math.sin(toward)
        u, v = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
        angle = 2 * math.pi * frequency * (u + rng.uniform(-bend, bend) / size * v**2 / 2) + rng.uniform(0, 2 * np.pi)
        one[:] = np.exp(-0.5 * (u * frequency / cycles[0]) ** 2 - 0.5 * (v * frequency / cycles[1]) ** 2) * np.cos(
            angle
        )
        one /= np.linalg.norm(one)
    return maps


POPULATIONS: dict[str, tuple[Callable[..., Floats], int, float]] = {
    **{
        f"unequal-lobes-{size}px-noise{noise:g}": (unequal_lobes, size, noise)
        for size in (20, 32)
        for noise in (0, 0.1, 0.35)
    },
    **{
        f"{name}-{size}px": (function, size, 0.1)
        for name, function in (
            ("two-gabors", two_gabors),
            ("curved", curved),
            ("truncated", truncated),
            ("streaks", streaks),
        )
        for size in (11, 20, 32)
    },
}
"""By name: what draws the maps, their side in pixels, and the norm of their noise over the map's."""

_JUDGE_STARTS = 40
"""Random starts of the judge for every map."""

FLOOR = 1e-6
"""Share of a map's sum of squares below which residuals are not told apart."""


def judge(maps: Floats, rng: np.random.Generator, *, starts: int = _JUDGE_STARTS, scipy: bool = False) -> Floats:
    """The lowest residual sum of squares of a Gabor from random starts, each refined to its end.

    The starts fill the bounds: centers anywhere in the map, any orientation, frequency and SDs even in their
    logarithms. None of it is made from the map.

    Parameters
    ----------
    maps : (n, y, x) array
    rng : numpy.random.Generator
        Draws the starts.
    starts : int
        How many for every map.
    scipy : bool
        Refine with SciPy's bounded least squares, a thousand times slower, in place of the compiled engine's
        Levenberg–Marquardt steps. ``tests/test_fitting_benchmark.py`` holds the two against each other.

    Returns
    -------
    (n,) array
    """
    n, height, width = maps.shape
    x, y = (np.arange(extent) - (extent - 1) / 2 for extent in (width, height))
    model = MODELS["gabor"]
    low, high = model.bounds(x, y)
    low[2], high[2] = 0.0, np.pi
    low[3], high[3] = np.log([low[3], high[3]])
    points = low + (high - low) * rng.random((n, starts, 6))
    points[..., 3] = np.exp(points[..., 3])
    if scipy:
        return np.array([_from_points(one, x, y, its) for one, its in zip(maps, points, strict=True)])
    from rfcompare.fitting.compiled import Compiled

    engine = Compiled(model, maps[:, None].astype(float), np.ones(maps.shape), x, y)
    ends = engine.refine(np.arange(n), points, np.full(n, np.inf), math.inf)
    rows, start = np.nonzero(np.isfinite(ends.cost))
    best = np.full(n, np.inf)
    np.minimum.at(best, rows, engine.describe(rows, ends.p[rows, start]).cost)  # from the residuals themselves
    return best


def _from_points(values: Floats, x: Floats, y: Floats, points: Floats) -> Floats:
    """The lowest residual sum of squares that SciPy reaches from searched parameters (start, 6)."""
    from scipy.optimize import least_squares

    columns, rows = np.meshgrid(x, y)
    pixels, size = (columns.ravel(), rows.ravel()), max(values.shape)
    low = np.array([x[0] - 0.5, y[0] - 0.5, -np.inf, 0.1 / size, 0.4, 0.4, -np.inf, -np.inf, -np.inf])
    high = np.array([x[-1] + 0.5, y[-1] + 0.5, np.inf, 0.5, size, size, np.inf, np.inf, np.inf])
    best, flat = np.inf, values.ravel()
    for point in points:
        searched = np.array([*point[:2], point[2] - math.pi / 2, point[3], *np.exp(point[4:]), 0.0])
        _, _, even, odd = _parts(pixels, *searched)
        a, b, offset = np.linalg.lstsq(np.stack([even, odd, np.ones_like(flat)], 1), flat, rcond=None)[0]
        start = np.array([*searched[:6], math.atan2(-b, a), math.hypot(a, b), offset])
        result = least_squares(
            lambda p: gabor(pixels, *p) - flat,
            np.clip(start, low + 1e-6, high - 1e-6),
            lambda p: _jacobian(pixels, p),
            bounds=(low, high),
            x_scale="jac",
            max_nfev=400,
        )
        best = min(best, 2 * float(result.cost))
    return np.asarray(best)


def judge_fits(
    populations: Mapping[str, Floats], *, seed: int | np.random.Generator | None = 0, engine: str = "compiled"
) -> list[dict[str, Any]]:
    """How often rfcompare's Gabor is worse than the best of the judge's, by more than 1 % of the residual.

    Parameters
    ----------
    populations : mapping
        Maps (n, y, x) by name; those that are flat or not measured throughout are left out.
    seed : int, numpy.random.Generator or None
        Draws the judge's starts.
    engine : str
        As for `rfcompare.fit`.

    Returns
    -------
    list of dict
        Per population: ``population``, ``engine``, ``n``, ``worse`` (share of maps whose fit the judge beats),
        ``judge_worse`` (share where it is the other way round) and ``median_r2`` of the fits.

    Examples
    --------
    >>> import numpy as np
    >>> from rfcompare.fitting.judging import judge_fits, unequal_lobes
    >>> maps = unequal_lobes(4, 12, np.random.default_rng(1), 0.1)
    >>> judge_fits({"lobes": maps}, engine="batched")[0]["worse"]
    0.0
    """
    rng, rows = np.random.default_rng(seed), []
    for name, maps in populations.items():
        maps = maps[np.isfinite(maps).all((1, 2)) & (np.ptp(maps, axis=(1, 2)) > 0)]
        total = ((maps - maps.mean((1, 2), keepdims=True)) ** 2).sum((1, 2))
        best = judge(maps, rng) / total
        bank = make_bank(maps[:, None], channel=("signed",), kind="simulated")
        r2 = fit(bank, "gabor", seed=0, engine=engine, progress=False).r2.values
        rows.append(
            {
                "population": name, "engine": engine, "n": len(maps),
                "worse": round(float((1 - r2 > NEAR * best + FLOOR).mean()), 4),
                "judge_worse": round(float((best > NEAR * (1 - r2) + FLOOR).mean()), 4),
                "median_r2": round(float(np.median(r2)), 3),
            }
        )  # fmt: skip
    return rows


def draw_populations(n: int, *, seed: int | np.random.Generator | None = 0) -> dict[str, Floats]:
    """`n` maps (n, y, x) of every one of `POPULATIONS`."""
    rng = np.random.default_rng(seed)
    return {name: function(n, size, rng, noise) for name, (function, size, noise) in POPULATIONS.items()}
