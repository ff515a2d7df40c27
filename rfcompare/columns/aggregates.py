"""The average field of a cortical column, its profile across the stripes, and whether chance averages look alike.

An aggregate is the mean of the signed maps of the cells around a point of cortex, each left where it lies in visual
space. Its noise follows from the cells': independent between cells, and over the map with the bank's autocorrelation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage, sparse, stats
from scipy.spatial.distance import cdist

from rfcompare.bank import Array, check, make_bank, pitch, signed_maps
from rfcompare.columns.cortical_maps import axial_difference
from rfcompare.columns.topology import Patch, Tested, shuffles, sign_flip_p, t_interval

_SIZES = (1, 2, 4, 8, 16)
"""Numbers of cells averaged when r² is followed against them."""

NULLS = ("positions shuffled", "recentered", "orientation-matched elsewhere")
_MATCHED = 15.0
"""Cells from elsewhere count as orientation-matched within this many degrees."""

_N_PROFILE = 41


def _bank_like(
    signed: xr.Dataset, maps: Array, names: list[str], rows: NDArray[np.intp], history: str, **more: Any
) -> xr.Dataset:
    """A bank of maps made from a signed bank's, each of which stands at one of its units."""
    at = signed.isel(unit=rows)
    kept = ("citation", "doi", "license", "stimulus", "x_center", "y_center", "sha256", "history")
    attrs = {name: signed.attrs[name] for name in kept if name in signed.attrs}
    return make_bank(
        maps,
        channel=("signed",),
        kind=str(signed.attrs["kind"]),
        x=signed.x.values,
        y=signed.y.values,
        units=str(signed.attrs["units"]),
        unit=names,
        subject=at.subject.values,
        source=at.source.values,
        attrs={**attrs, "history": f"{attrs.get('history', '')}\n{history}".strip()},
        **more,
    )


def _mean_maps(signed: xr.Dataset, weight: Any, names: list[str], rows: NDArray[np.intp], history: str) -> xr.Dataset:
    """A bank of weighted means of a signed bank's maps."""
    weight = sparse.csr_array(weight)

    def mean(values: NDArray[Any]) -> Array:
        """Over the cells that measured each pixel; NaN where none did."""
        flat = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
        measured = np.isfinite(flat)
        total = np.asarray(weight @ np.where(measured, flat, 0.0))
        if not measured.all():
            share = np.asarray(weight @ measured.astype(np.float64))
            total = np.divide(total, share, out=np.full_like(total, np.nan), where=share > 0)
        return total.reshape(weight.shape[0], *values.shape[1:])

    has = signed.variables
    more = {name: signed[name].values[rows] for name in ("cortex_x", "cortex_y", "field_of_view") if name in has}
    if "noise_sd" in has:
        more["noise_sd"] = np.sqrt(weight.multiply(weight) @ np.asarray(signed.noise_sd.values) ** 2)
    if "noise_acf" in has:
        more["noise_acf"] = mean(signed.noise_acf.values)
    if "rf_half" in has:
        more["half"] = np.stack([mean(half) for half in signed.rf_half.values])
    return _bank_like(signed, mean(signed.rf.values), names, rows, history, **more)


def aggregate(signed: xr.Dataset, fields: list[Patch], *, radius: float) -> tuple[xr.Dataset, list[NDArray[np.intp]]]:
    """The mean field of the cells within `radius` µm of every cell, and the rows of `signed` that enter each mean.

    Cells of other fields of view never enter. Beside ``n_cells`` (unit) the bank says which are ``disjoint`` (unit): a
    greedy choice of positions that share no cell, for statistics that need separate columns.
    """
    rows = np.concatenate([field.rows for field in fields])
    members: list[NDArray[np.intp]] = []
    for field in fields:
        near = cdist(field.cortex, field.cortex) <= radius
        members += [field.rows[one] for one in near]
    count = np.array([cells.size for cells in members])
    place = (np.repeat(np.arange(rows.size), count), np.concatenate(members))
    weight = sparse.csr_array((np.repeat(1 / count, count), place), shape=(rows.size, signed.sizes["unit"]))
    names = [f"column at {signed.unit.values[row]}" for row in rows]
    bank = _mean_maps(signed, weight, names, rows, f"mean of the cells within {radius:g} µm in cortex")
    taken = np.zeros(signed.sizes["unit"], dtype=bool)
    disjoint = np.zeros(rows.size, dtype=bool)
    for column in np.argsort(-count, kind="stable"):
        if count[column] > 1 and not taken[members[column]].any():
            disjoint[column] = True
            taken[members[column]] = True
    bank["n_cells"] = ("unit", count)
    bank["disjoint"] = ("unit", disjoint)
    return bank.assign_attrs(radius_um=float(radius)), members


def separate_columns(columns: xr.Dataset) -> xr.Dataset:
    """The aggregates that share no cell, as a plain signed bank for fits, comparisons and matches.

    Parameters
    ----------
    columns : xarray.Dataset
        From `aggregate`, or the ``columns`` of `analyze_columns`.

    Returns
    -------
    xarray.Dataset
        A bank; one unit at least even where no column holds two cells.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank, _ = rfc.simulate_treeshrew(n_cells=6, seed=0)
    >>> tree = rfc.analyze_columns(bank, n_permutations=19, n_seeds=1, seed=0)
    >>> columns = separate_columns(tree["columns"].to_dataset())
    >>> 8 <= columns.sizes["unit"] < 48, columns.attrs["kind"]
    (True, 'simulated')
    """
    rows = np.flatnonzero(columns.disjoint.values)
    kept = ("rf", "rf_half", "noise_sd", "noise_acf")
    bank = columns[[name for name in kept if name in columns.variables]].isel(unit=rows if rows.size else [0])
    extra = [name for name in bank.coords if name in ("cycle", "candidate")]
    sources = {str(name) for name in columns.source.values} - {"", "unknown"}
    title = str(columns.attrs.get("title", "")) or (sources.pop() if len(sources) == 1 else "cells")
    return check(bank.drop_vars(extra).assign_attrs(title=f"{title}, column averages"))


def _noise_covariance(bank: xr.Dataset) -> Array | None:
    """Correlation (pixel, pixel) of the noise from the first unit's autocorrelation; None where not stored."""
    if "noise_acf" not in bank.variables:
        return None
    acf = np.asarray(bank.noise_acf.values[0, 0], dtype=np.float64)
    reach_y, reach_x = (size // 2 for size in acf.shape)
    height, width = bank.sizes["y"], bank.sizes["x"]
    row, column = (index.ravel() for index in np.indices((height, width)))
    dy, dx = row[None] - row[:, None], column[None] - column[:, None]
    inside = (np.abs(dy) <= reach_y) & (np.abs(dx) <= reach_x)
    return np.where(inside, acf[np.where(inside, dy, 0) + reach_y, np.where(inside, dx, 0) + reach_x], 0.0)


def profiles(
    columns: xr.Dataset, *, orientation: Array, frequency: Array, origin: Array, alpha: float = 0.01
) -> xr.Dataset:
    """Profile of every aggregate along the axis orthogonal to its preferred orientation, with its noise.

    The profile is a weighted mean of measured pixels: a Gaussian of half a pixel across, and of a quarter cycle along
    the stripes, about each point of the axis, which crosses the stripes at `origin` (unit, 2). The same weights and the
    noise's autocorrelation give its standard error; noise alone marks a flank or a center anywhere on one profile with
    probability `alpha`.

    Returns
    -------
    xarray.Dataset
        ``profile`` and ``profile_z`` (unit, cycle) over ``cycle`` in [−1.25, 1.25] cycles of the preferred frequency;
        ``center`` (most extreme value within a quarter cycle of 0), ``flank_low``, ``flank_high`` (largest value of
        the opposite sign beyond it on either side), their positions, ``flank_ratio`` (mean flank over center), and
        ``structure`` in words.
    """
    maps = signed_maps(columns.rf)
    measured = np.isfinite(maps)
    maps = np.where(measured, maps, 0.0)
    cycle = np.linspace(-1.25, 1.25, _N_PROFILE)
    covariance = _noise_covariance(columns)
    sd = np.asarray(columns.noise_sd.values) if "noise_sd" in columns.variables else _spread(maps)
    profile, z = np.zeros((len(maps), _N_PROFILE)), np.zeros((len(maps), _N_PROFILE))
    for unit, one in enumerate(maps):
        weight = _stripes(columns, orientation[unit], frequency[unit], origin[unit], cycle)
        weight *= measured[unit].ravel()  # what was not measured is not 0
        total = weight.sum(axis=1, keepdims=True)
        weight = np.where(total > 1e-6 * weight.max(), weight / np.maximum(total, 1e-300), np.nan)
        profile[unit] = weight @ one.ravel()
        spread = weight @ covariance if covariance is not None else weight
        with np.errstate(invalid="ignore", divide="ignore"):
            z[unit] = profile[unit] / (sd[unit] * np.sqrt((spread * weight).sum(axis=1)))
    threshold = float(stats.norm.isf(-np.expm1(np.log1p(-alpha) / _N_PROFILE) / 2))
    table = pd.DataFrame([_structure(*pair, cycle, threshold) for pair in zip(profile, z, strict=True)])
    result = xr.Dataset(
        {name: ("unit", table[name].to_numpy(dtype=object if name == "structure" else np.float64)) for name in table},
        coords={"unit": columns.unit, "cycle": cycle},
        attrs={
            "threshold": threshold,
            "noise_model": f"profile over its standard error; noise alone exceeds ±{threshold:.2f} anywhere on a "
            f"profile with probability ≤ {alpha:g}",
        },
    )
    result["profile"] = (("unit", "cycle"), profile)
    result["profile_z"] = (("unit", "cycle"), z)
    return result


def _stripes(columns: xr.Dataset, orientation: float, frequency: float, origin: Array, cycle: Array) -> Array:
    """Weights (cycle, pixel) of a Gaussian about every point of the axis across the stripes."""
    xx, yy = np.meshgrid(columns.x.values - origin[0], columns.y.values - origin[1])
    angle = np.deg2rad(orientation)
    u = (-np.sin(angle) * xx + np.cos(angle) * yy).ravel()
    v = (np.cos(angle) * xx + np.sin(angle) * yy).ravel()
    across, along = 0.5 * max(pitch(columns)), 0.25 / frequency
    return np.asarray(np.exp(-0.5 * ((u - cycle[:, None] / frequency) / across) ** 2 - 0.5 * (v / along) ** 2))


def _structure(profile: Array, z: Array, cycle: Array, threshold: float) -> dict[str, Any]:
    """The center of a profile, its largest flanks of the other sign, and both in words."""
    z = np.nan_to_num(z)
    inner = np.abs(cycle) <= 0.25
    middle = int(np.flatnonzero(inner)[np.abs(z[inner]).argmax()])
    sign = np.sign(z[middle]) or 1.0
    sides = np.flatnonzero(cycle < -0.25), np.flatnonzero(cycle > 0.25)
    low, high = (int(side[(-sign * z[side]).argmax()]) for side in sides)
    flanked = sum(bool(-sign * z[peak] > threshold) for peak in (low, high))
    name, other = ("ON", "OFF") if sign > 0 else ("OFF", "ON")
    words = f"{name} center, " + ("no flank", f"one {other} flank", f"{other} flanks")[flanked]
    center = float(profile[middle])
    return {
        "center": center,
        "center_z": float(z[middle]),
        "flank_low": float(profile[low]),
        "flank_high": float(profile[high]),
        "low_at": float(cycle[low]),
        "high_at": float(cycle[high]),
        "flank_ratio": -0.5 * float(profile[low] + profile[high]) / center if center else np.nan,
        "structure": words if abs(z[middle]) > threshold else "no center",
    }


def _spread(maps: Array) -> Array:
    middle = np.median(maps, axis=(1, 2), keepdims=True)
    return np.asarray(1.4826 * np.median(np.abs(maps - middle), axis=(1, 2)))


def _recenter(signed: xr.Dataset, centers: Array) -> xr.Dataset:
    """Maps shifted so that `centers` come to lie in the middle.

    The shift multiplies the Fourier transform, so that the map wraps around and its noise keeps variance and
    autocorrelation: an interpolation would smooth it and padding would lack it, and either would raise r².
    """
    dx, dy = pitch(signed)
    maps = np.nan_to_num(signed_maps(signed.rf))
    shift = np.nan_to_num(-centers / np.array([dx, dy]))
    waves_x, waves_y = (_shift_waves(size, shift[:, i]) for i, size in enumerate(maps.shape[:0:-1]))
    moved = np.fft.ifft2(np.fft.fft2(maps) * waves_y[:, :, None] * waves_x[:, None, :]).real
    out = signed.copy()
    out["rf"] = (signed.rf.dims, moved[:, None])
    return out.drop_vars([name for name in ("rf_half", "noise_acf") if name in out.variables])


def _shift_waves(size: int, shift: Array) -> NDArray[np.complex128]:
    """Factors of the Fourier transform that shift by fractions of a pixel, all of magnitude 1: (unit, frequency)."""
    waves = np.exp(-2j * np.pi * np.fft.fftfreq(size) * shift[:, None])
    if size % 2 == 0:  # a real map's highest frequency can only be kept or turned around
        waves[:, size // 2] = np.where(np.cos(np.pi * shift) >= 0, 1.0, -1.0)
    return np.asarray(waves)


def growing_averages(
    signed: xr.Dataset,
    fields: list[Patch],
    *,
    orientation: Array,
    centers: Array,
    n_seeds: int,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Averages of 1, 2, 4, … cells around places in cortex, and of three kinds of cells that chance would give.

    Of every field of view `n_seeds` cells are the places. The signed bank has ``condition`` and ``n_averaged`` (unit):
    the nearest cells in place ("column"); the seed with other cells of the field at random ("positions shuffled"); the
    nearest cells with their field centers brought to the middle ("recentered"); and cells of other fields with similar
    orientation, brought there too ("orientation-matched elsewhere").
    """
    everywhere = np.concatenate([field.rows for field in fields])
    in_place = np.nan_to_num(np.asarray(signed.rf.values, dtype=np.float64))
    in_middle = np.asarray(_recenter(signed, centers).rf.values)
    sd = np.asarray(signed.noise_sd.values) if "noise_sd" in signed.variables else np.full(len(in_place), np.nan)
    maps, noise, names, stand, condition, count = [], [], [], [], [], []
    for field in fields:
        elsewhere = np.setdiff1d(everywhere, field.rows)
        elsewhere = elsewhere[np.isfinite(centers[elsewhere]).all(axis=1)]
        seeds = rng.choice(field.rows.size, size=min(n_seeds, field.rows.size), replace=False)
        distance = cdist(field.cortex[seeds], field.cortex)
        for place, away in zip(seeds, distance, strict=True):
            seed = int(field.rows[place])
            nearest = field.rows[np.argsort(away, kind="stable")]
            random = np.concatenate([[seed], rng.permutation(field.rows[field.rows != seed])])
            gap = np.abs(axial_difference(orientation[elsewhere], orientation[seed]))
            matched = rng.permutation(elsewhere[gap <= _MATCHED])
            for name, source, cells in (
                ("column", in_place, nearest),
                (NULLS[0], in_place, random),
                (NULLS[1], in_middle, nearest),
                (NULLS[2], in_middle, matched),
            ):
                for size in (size for size in _SIZES if size <= cells.size):
                    maps.append(source[cells[:size]].mean(axis=0))
                    noise.append(np.sqrt((sd[cells[:size]] ** 2).sum()) / size)
                    names.append(f"{name}, {size} at {signed.unit.values[seed]}")
                    stand.append(seed)
                    condition.append(name)
                    count.append(size)
    known = {"noise_sd": np.array(noise)} if np.isfinite(noise).all() else {}
    history = "means of growing numbers of cells"
    bank = _bank_like(signed, np.stack(maps), names, np.array(stand), history, **known)
    bank["condition"] = ("unit", np.array(condition, dtype=object))
    bank["n_averaged"] = ("unit", np.array(count))
    return bank


_GROWTH = (
    "r2", "r2_low", "r2_high", "difference", "difference_low", "difference_high", "p_animals", "p_animals_smallest",
    "n_animals",
)  # fmt: skip


def growth_table(bank: xr.Dataset, r2: Array) -> xr.Dataset:
    """r² against the number of cells averaged, over animals, with the difference of the columns from every null.

    Returns
    -------
    xarray.Dataset
        Dims condition, n_averaged: ``r2`` (mean over animals), ``r2_low``, ``r2_high``; and for the nulls
        ``difference`` (column − null, per animal, then averaged), its interval, ``p_animals``.
    """
    frame = pd.DataFrame({name: bank[name].values for name in ("condition", "n_averaged", "subject")}).assign(r2=r2)
    means = frame.groupby(["condition", "n_averaged", "subject"])["r2"].mean().to_xarray()
    conditions = ["column", *NULLS]
    table = np.asarray(means.reindex(condition=conditions).values)
    found = np.full((len(_GROWTH), *table.shape[:2]), np.nan)
    for i, j in np.ndindex(*table.shape[:2]):
        values, gap = (each[np.isfinite(each)] for each in (table[i, j], table[0, j] - table[i, j]))
        found[-1, i, j] = values.size
        if values.size:
            found[:3, i, j] = values.mean(), *t_interval(values)
        if i and gap.size:
            found[3:8, i, j] = gap.mean(), *t_interval(gap), *sign_flip_p(gap)
    return xr.Dataset(
        {name: (("condition", "n_averaged"), values) for name, values in zip(_GROWTH, found, strict=True)},
        coords={"condition": conditions, "n_averaged": means.n_averaged.values},
        attrs={"hypothesis": "the column's average is fitted as well as the null's", "unit_of_inference": "animal"},
    )


def flank_test(
    signed: xr.Dataset,
    fields: list[Patch],
    *,
    orientation: Array,
    frequency: Array,
    off_center: Array,
    n_permutations: int,
    rng: np.random.Generator,
) -> dict[str, float | str]:
    """Are ON flanks aligned with the preferred orientation? Orientations permuted among the field's cells.

    The statistic is the mean signed map over the cells, in the frame of each one's OFF center and preferred
    orientation, at half a cycle across the stripes minus the same along them. Without an orientation-specific
    displacement of ON both are alike whatever the orientation.
    """
    maps = np.nan_to_num(signed_maps(signed.rf))
    dx, dy = pitch(signed)
    x0, y0 = float(signed.x.values[0]), float(signed.y.values[0])
    steps = np.linspace(0.25, 0.75, 5)
    observed, permuted, animals = [], [], []
    for field in fields:
        rows = field.rows[np.isfinite(off_center[field.rows]).all(axis=1)]
        if rows.size < 3:
            continue
        order = shuffles(rows.size, n_permutations, rng)
        # The contrast of every cell's map under every cell's orientation; a permutation then only picks entries.
        contrast = np.zeros((rows.size, rows.size))
        for cell, row in enumerate(rows):
            angle = np.deg2rad(orientation[rows])[:, None]
            reach = np.concatenate([-steps, steps]) / frequency[row]
            for sign, (ux, uy) in ((1.0, (-np.sin(angle), np.cos(angle))), (-1.0, (np.cos(angle), np.sin(angle)))):
                px = (off_center[row, 0] + ux * reach - x0) / dx
                py = (off_center[row, 1] + uy * reach - y0) / dy
                values = ndimage.map_coordinates(maps[row], [py, px], order=1, mode="nearest")
                contrast[cell] += sign * values.mean(axis=1)
        scale = np.abs(maps[rows]).max(axis=(1, 2)).mean()
        scores = contrast[np.arange(rows.size)[None], order].mean(axis=1) / scale
        observed.append(scores[0])
        permuted.append(scores[1:])
        animals.append(field.animal)
    if not observed:
        return {"effect": np.nan, "p": np.nan}
    return {
        **Tested.of(np.array(observed), np.stack(permuted), animals)._asdict(),
        "hypothesis": "ON lies around OFF regardless of the preferred orientation",
    }
