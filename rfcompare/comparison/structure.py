"""Gabor structure, the first half of the answer: how Gabor-like is each side, and are they the same Gabors?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from rfcompare.comparison import sampling
from rfcompare.comparison.rows import Row
from rfcompare.comparison.setting import FittedNoise, Setting
from rfcompare.descriptors import censoring, describe
from rfcompare.quantities import KAPPA, QUANTITIES

Array = NDArray[np.float64]

WHITE = FittedNoise()

GABOR_FORM = ("nx", "ny", "orientation_half_width", "bandwidth_octaves", "folded_phase", "aspect")
"""Of the units with a visible carrier: what kind of Gabor they are."""

FREE_PARAMETERS = 8
"""Of a Gabor without its offset: what it takes up of a map's noise."""


@dataclass(frozen=True, eq=False)
class _Values:
    """One number per unit of both sides: of the cells with their animal, and of the kernels."""

    cells: Array
    code: NDArray[np.intp]
    kernels: Array
    bound: tuple[float, float] = (np.nan, np.nan)


def gabor_rows(setting: Setting, null: float) -> list[Row]:
    """The Gabor share (its `null` is that of the zero), the visible carriers, and the form of those that have one."""
    fits_a, sd_a, fits_b, sd_b, code = setting.gabors()
    rows = [_share_row(setting, (fits_a, sd_a), (fits_b, sd_b), code, null)]
    tables = describe(fits_a), describe(fits_b)
    nx = [table["nx"].values.astype(float) for table in tables]
    visible = [np.where(np.isfinite(each), each > KAPPA, np.nan) for each in nx]
    rows.append(
        _mean_row(
            setting, "carrier_share", "Share of units with a visible carrier", _Values(visible[0], code, visible[1])
        )
    )
    kept = [np.nan_to_num(each).astype(bool) for each in visible]
    for name in GABOR_FORM:
        values = [_censored_values(table, name)[keep] for table, keep in zip(tables, kept, strict=True)]
        bound = [
            float((censoring(table, name)[keep] != 0).mean()) if keep.any() else np.nan
            for table, keep in zip(tables, kept, strict=True)
        ]
        rows.append(_median_row(setting, name, _Values(values[0], code[kept[0]], values[1], (bound[0], bound[1]))))
    for row in rows:
        row.note("kernels as the recording shows them, not as their file has them")
    return rows


def _groups(setting: Setting, values: Array, code: NDArray[np.intp], of: Callable[[Array], Array], least: int) -> Array:
    """An estimate per animal, or (without four animals) none."""
    if not setting.species:
        return np.zeros(0)
    each = [values[(code == animal) & ~np.isnan(values)] for animal in np.unique(code)]
    return np.array([of(one) for one in each if one.size >= least])


def _mean_row(setting: Setting, name: str, title: str, values: _Values) -> Row:
    """A share: its mean per animal against the kernels'."""
    kernels, cells = values.kernels[~np.isnan(values.kernels)], values.cells[~np.isnan(values.cells)]
    groups = _groups(setting, values.cells, values.code, np.mean, 1)
    variance = float(kernels.var(ddof=1) / kernels.size) if kernels.size > 1 else np.nan
    groups = groups if setting.species else cells
    found = sampling.difference(groups, float(kernels.mean()) if kernels.size else np.nan, variance, kernels.size)
    return _row(
        name,
        title,
        "difference of shares",
        found,
        groups.mean() if groups.size else np.nan,
        kernels.mean() if kernels.size else np.nan,
    )


def _share_row(
    setting: Setting, a: tuple[xr.Dataset, Array], b: tuple[xr.Dataset, Array], code: NDArray[np.intp], zero: float
) -> Row:
    """Noise-corrected share of energy that one Gabor explains, as a ratio of sums per animal."""
    (left_a, all_a), (left_b, all_b) = (noise_corrected(*side, setting.noise) for side in (a, b))
    known_a, known_b = np.isfinite(left_a), np.isfinite(left_b)
    kernels = explained_share(left_b, all_b)
    influence = ((left_b - (1 - kernels) * all_b) / all_b[known_b].mean())[known_b]
    variance = float(influence.var(ddof=1) / influence.size)
    if setting.species:
        groups = np.array(
            [
                explained_share(left_a[known_a & (code == one)], all_a[known_a & (code == one)])
                for one in np.unique(code[known_a])
            ]
        )
    else:
        share = explained_share(left_a, all_a)
        groups = share - ((left_a - (1 - share) * all_a) / all_a[known_a].mean())[known_a]
    found = sampling.difference(groups, kernels, variance, influence.size)
    row = _row(
        "gabor_share",
        "Share of energy that one Gabor explains",
        "difference of shares",
        found,
        groups.mean(),
        kernels,
    )
    row.number["null"] = zero
    if setting.best.aperture.pixels is not None:
        row.note("cells and kernels both on the kernels' own pixels, which are the coarser ones")
    if str(setting.a.bank.attrs["kind"]) == "parametric" and "rendered" in setting.a.bank.attrs:
        row.note("cells: fixed by construction, their maps were rendered")
        row.number |= {"p": np.nan, "ci_low": np.nan, "ci_high": np.nan}
    return row


def _median_row(setting: Setting, name: str, values: _Values) -> Row:
    """A descriptor of the units with a visible carrier: its median, which a value beyond a bound cannot move."""
    quantity = QUANTITIES[name]
    move = np.log2 if quantity.log else np.asarray
    with np.errstate(divide="ignore"):
        cells, kernels = (np.asarray(move(each), dtype=np.float64) for each in (values.cells, values.kernels))
    kernels = kernels[~np.isnan(kernels)]
    groups = _groups(setting, cells, values.code, sampling.median, 3)
    cells = cells[~np.isnan(cells)]
    variance = sampling.median_variance(kernels, setting.generator) if kernels.size > 2 else np.nan
    middle = float(sampling.median(kernels)) if kernels.size else np.nan
    if setting.species:
        groups = groups[np.isfinite(groups)]
        found = sampling.difference(groups, middle, variance, kernels.size)
        own = groups.mean() if groups.size else np.nan
    else:
        own = float(sampling.median(cells)) if cells.size else np.nan
        spread = sampling.median_variance(cells, setting.generator) if cells.size > 2 else np.nan
        found = _normal_difference(middle - own, variance + spread)
    if not np.isfinite([own, middle]).all():
        found = sampling.Difference.of(np.nan)
    statistic = "ratio of medians" if quantity.log else "difference of medians"

    def back(value: float) -> float:
        return float(2.0**value) if quantity.log else value

    shown = sampling.Difference(back(found.effect), back(found.ci_low), back(found.ci_high), found.p)
    row = _row(name, quantity.title, statistic, shown, back(own), back(middle))
    row.number |= {"on_bound_a": values.bound[0], "on_bound_b": values.bound[1]}
    row.units = "" if quantity.log else quantity.units("px")
    return row


def noise_corrected(fits: xr.Dataset, noise_sd: Array, noise: FittedNoise = WHITE) -> tuple[Array, Array]:
    """What a model leaves of every map's energy and that energy, both without noise, in shares of the energy with it.

    The map about its mean holds σ²(N − c₀) of the noise on average, and a fit of an offset and p parameters to its N
    pixels leaves σ²(N − c₀ − p·c), where c₀ and c are the power of the noise at frequency 0 and at that of the map.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.15 * x)
    >>> fits = rfc.fit(rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic"), "gabor", seed=0)
    >>> left, energy = noise_corrected(fits, np.zeros(1))
    >>> round(abs(float(left[0])), 6), float(energy[0])
    (0.0, 1.0)
    """
    maps = fits["rf"].isel(channel=0).transpose("unit", "y", "x").values.astype(np.float64)
    r2 = fits["r2"].values.reshape(len(maps), -1)[:, 0].astype(np.float64)
    pixels = np.isfinite(maps).sum((1, 2))
    maps = np.where((pixels > 0)[:, None, None], maps, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.nanvar(maps, axis=(1, 2)) * pixels
        share = noise_sd**2 / total
        about_mean = pixels - noise.at_zero
        left = 1 - r2 - share * np.maximum(about_mean - FREE_PARAMETERS * noise.at_signal, 0)
        return left, 1 - share * np.maximum(about_mean, 0)


def explained_share(left: Array, energy: Array) -> float:
    """Share of the energy of all units together that a model explains, of what `noise_corrected` gives."""
    known = np.isfinite(left)
    return float(1 - left[known].sum() / energy[known].sum()) if known.any() else float("nan")


def _censored_values(table: xr.Dataset, name: str) -> Array:
    """A descriptor with a value beyond its bound at the end of the line, and none where either end is possible."""
    values = table[name].values.astype(np.float64)
    held = censoring(table, name)
    log = QUANTITIES[name].log
    return np.select([held == 1, held == -1, held == 2], [np.inf, 0.0 if log else -np.inf, np.nan], values)


def _normal_difference(value: float, variance: float) -> sampling.Difference:
    if not variance > 0:
        return sampling.Difference.of(value)
    error = float(np.sqrt(variance))
    return sampling.Difference.of(value, 1.96 * error, float(2 * norm.sf(abs(value) / error)))


def _row(name: str, title: str, statistic: str, found: sampling.Difference, a: float, b: float) -> Row:
    numbers = {**found._asdict(), "estimate_a": float(a), "estimate_b": float(b)}
    return Row(name, title, statistic=statistic, number=numbers)
