"""Orientation preference and absolute spatial phase over cortex, read from the fields themselves."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from rfcompare.bank import Array, pitch, signed_maps
from rfcompare.columns.topology import MIN_CELLS, Patch, Tested, in_parts, shuffles
from rfcompare.simulation.treeshrew import absolute_phase, find_pinwheels

_N_ORIENTATIONS = 36
_N_FREQUENCIES = 16
_SIMILAR = 30.0
"""Orientation preferences within this many degrees count as similar where absolute phases are compared."""

_BLOCK = 5
"""Cells of neighboring orientation that are exchanged with each other when absolute phases are permuted."""

_N_GRID = 31
"""Points per side of a field's map."""


def axial_angle(vector: NDArray[np.complex128]) -> Array:
    """Orientation in [0°, 180°) of a sum of exp(2iθ)."""
    return np.asarray(np.rad2deg(np.angle(vector)) / 2 % 180.0)


def axial_difference(first: Array, second: Array) -> Array:
    """Angle from the second orientation to the first, in [−90°, 90°)."""
    return np.asarray((first - second + 90.0) % 180.0 - 90.0)


def _transform_at(maps: Array, kx: Array, ky: Array, x: Array, y: Array) -> NDArray[np.complex128]:
    """Fourier transform Σ rf·exp(−2πi(kx·x + ky·y)) of every map at its own wave vectors."""
    kx, ky = (np.broadcast_to(k, (len(maps), np.shape(k)[-1])) for k in (kx, ky))
    along_x = np.exp(-2j * np.pi * x[None, :, None] * kx[:, None, :])
    along_y = np.exp(-2j * np.pi * y[None, :, None] * ky[:, None, :])
    return np.asarray(np.einsum("uyv,uyv->uv", maps @ along_x, along_y))


def _grating_preference(signed: xr.Dataset) -> xr.Dataset:
    """Orientation and frequency of the grating that would drive each linear field best."""
    maps = np.nan_to_num(signed_maps(signed.rf))
    x, y = (np.asarray(signed[name].values, dtype=np.float64) for name in ("x", "y"))
    dx, dy = pitch(signed)
    extent = max(x.size * dx, y.size * dy)
    frequency = np.geomspace(0.75 / extent, 0.45 / max(dx, dy), _N_FREQUENCIES)
    orientation = np.arange(_N_ORIENTATIONS) * 180.0 / _N_ORIENTATIONS
    angle = np.deg2rad(orientation)
    kx = (-np.sin(angle)[:, None] * frequency).ravel()
    ky = (np.cos(angle)[:, None] * frequency).ravel()
    power = np.concatenate(
        [np.abs(_transform_at(part, kx, ky, x, y)) ** 2 for part in np.array_split(maps, max(1, len(maps) // 64))]
    ).reshape(len(maps), _N_ORIENTATIONS, _N_FREQUENCIES)
    # The best frequency is where the two orientation-tuned components are strongest, not the mean level: noise and
    # blobs respond alike at all orientations.
    tuned = np.abs(np.einsum("uof,o->uf", power, np.exp(2j * angle)))
    best = tuned.argmax(axis=1)
    at_best = np.take_along_axis(power, best[:, None, None], axis=2)[:, :, 0]
    vector = (at_best * np.exp(2j * angle)).sum(axis=1)
    return xr.Dataset(
        {
            "orientation": ("unit", axial_angle(vector)),
            "frequency": ("unit", frequency[best]),
            "selectivity": ("unit", np.abs(vector) / np.maximum(at_best.sum(axis=1), 1e-300)),
        },
        coords={"unit": signed.unit},
    )


def preferences(bank: xr.Dataset, signed: xr.Dataset) -> xr.Dataset:
    """Each unit's preferred orientation and frequency: measured apart where the bank holds it, else from its map.

    ``preferred_orientation(unit)`` (degrees) and ``preferred_frequency(unit)`` in a bank are taken as measured with
    gratings. A preference read from the same map as the subfields is not independent of them; ``attrs["source"]`` says
    which it is. ``field_orientation`` is always the map's own.
    """
    own = _grating_preference(signed)
    found = own.rename(orientation="field_orientation", frequency="field_frequency")
    replaced = 0
    for name in ("orientation", "frequency"):
        values = own[name].values.copy()
        if f"preferred_{name}" in bank.variables:
            measured = np.asarray(bank[f"preferred_{name}"].values, dtype=np.float64)
            good = np.isfinite(measured) & ((measured > 0) | (name == "orientation"))
            values[good] = measured[good] % 180.0 if name == "orientation" else measured[good]
            replaced = max(replaced, int((~good).sum())) if name == "orientation" else replaced
        found[name] = ("unit", values)
    apart = "preferred_orientation" in bank.variables
    found.attrs["source"] = "measured apart from the maps" if apart else "read from the same maps"
    if replaced:
        found.attrs["source"] += f", but for {replaced} units without a measurement read from their maps"
    return found


def orientation_maps(
    found: xr.Dataset, fields: list[Patch], *, smoothing: float, n_permutations: int, rng: np.random.Generator
) -> xr.Dataset:
    """Smooth orientation maps, their pinwheels, and how well a cell's neighbors predict its preference.

    Cells' orientation vectors are averaged by a Gaussian whose SD is `smoothing` µm.

    Returns
    -------
    xarray.Dataset
        ``orientation_map`` and ``coherence`` (field, map_y, map_x; NaN farther than 1.5 `smoothing` from any cell),
        grids ``map_x_um``, ``map_y_um`` (field, …), ``pinwheel_*`` (pinwheel), ``agreement`` (field): mean cos 2Δ of
        a cell with the average of the others, with ``p`` for positions permuted within fields, over animals.
    """
    theta = np.asarray(found.orientation.values, dtype=np.float64)
    shape = (len(fields), _N_GRID, _N_GRID)
    smooth, coherence = np.full(shape, np.nan), np.full(shape, np.nan)
    grid_x, grid_y = np.zeros((len(fields), _N_GRID)), np.zeros((len(fields), _N_GRID))
    agreement = np.zeros(len(fields))
    permuted = np.zeros((len(fields), n_permutations))
    pinwheels: list[tuple[str, float, float, float]] = []
    for row, field in enumerate(fields):
        vector = np.exp(2j * np.deg2rad(theta[field.rows]))
        low, high = field.cortex.min(axis=0), field.cortex.max(axis=0)
        grid_x[row], grid_y[row] = (np.linspace(low[i], high[i], _N_GRID) for i in range(2))
        points = np.stack(np.meshgrid(grid_x[row], grid_y[row]), axis=-1).reshape(-1, 2)
        distance = cdist(points, field.cortex)
        weight = np.exp(-0.5 * (distance / smoothing) ** 2)
        z = (weight @ vector) / np.maximum(weight.sum(axis=1), 1e-300)
        known = distance.min(axis=1) <= 1.5 * smoothing
        smooth[row] = np.where(known, axial_angle(z), np.nan).reshape(_N_GRID, _N_GRID)
        coherence[row] = np.where(known, np.abs(z), np.nan).reshape(_N_GRID, _N_GRID)
        for px, py, charge in zip(*find_pinwheels(smooth[row], grid_x[row], grid_y[row]), strict=True):
            pinwheels.append((f"{field.animal} {field.name}", float(px), float(py), float(charge)))
        kernel = np.exp(-0.5 * (cdist(field.cortex, field.cortex) / smoothing) ** 2)
        np.fill_diagonal(kernel, 0.0)
        shuffled = vector[shuffles(len(vector), n_permutations, rng)]
        predicted = shuffled @ kernel
        score = ((predicted * shuffled.conj()).real / np.maximum(np.abs(predicted), 1e-300)).mean(axis=1)
        agreement[row], permuted[row] = score[0], score[1:]
    animals = [field.animal for field in fields]
    test = Tested.of(agreement, permuted, animals)
    names = [f"{field.animal} {field.name}" for field in fields]
    return xr.Dataset(
        {
            "orientation_map": (("field", "map_y", "map_x"), smooth),
            "coherence": (("field", "map_y", "map_x"), coherence),
            "map_x_um": (("field", "map_x"), grid_x),
            "map_y_um": (("field", "map_y"), grid_y),
            "agreement": ("field", agreement),
            "pinwheel_field": ("pinwheel", np.array([row[0] for row in pinwheels], dtype=object)),
            "pinwheel_x": ("pinwheel", np.array([row[1] for row in pinwheels])),
            "pinwheel_y": ("pinwheel", np.array([row[2] for row in pinwheels])),
            "pinwheel_charge": ("pinwheel", np.array([row[3] for row in pinwheels])),
        },
        coords={"field": names, "animal": ("field", animals)},
        attrs={
            "smoothing": smoothing,
            "agreement": test.effect,
            "agreement_low": test.ci_low,
            "agreement_high": test.ci_high,
            "p": test.p,
            "p_smallest": test.p_smallest,
            "hypothesis": "orientation preference is unrelated to cortical position",
            "orientation_source": str(found.attrs.get("source", "")),
        },
    )


def _within_orientation(theta: Array, n_permutations: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Permutations (permutation, cell) that exchange only cells of neighboring orientation.

    Orientation has a map of its own: exchanging any two cells would tear the pairs of similar orientation out of their
    cortical neighborhoods, and the permuted statistic would have another variance than the observed one.
    """
    n = theta.size
    order = np.tile(np.arange(n), (n_permutations, 1))
    ranked = np.roll(np.argsort(theta, kind="stable"), rng.integers(n))
    for cells in np.array_split(ranked, max(1, n // _BLOCK)):
        shuffled = np.argsort(rng.random((n_permutations, cells.size)), axis=1)
        order[:, cells] = cells[shuffled]
    return order


def phase_maps(
    signed: xr.Dataset,
    found: xr.Dataset,
    fields: list[Patch],
    *,
    radius: float,
    n_permutations: int,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Absolute spatial phase over cortex: is the grating phase that drives neighbors best alike?

    Phases are compared between cells of similar orientation, for one common grating: of the pair's mean orientation and
    the field's median preferred frequency, fixed in visual space.

    Returns
    -------
    xarray.Dataset
        ``phase`` (unit; degrees, for the cell's own orientation and the field's frequency; 0 where light at the visual
        origin drives it best), ``similarity`` (field): mean cos of phase differences of neighbors within `radius` µm,
        and ``similarity_far``: of all other pairs; ``p`` for fields exchanged among cells of similar orientation;
        ``effect`` over animals with interval.
    """
    maps = np.nan_to_num(signed_maps(signed.rf))
    x, y = (np.asarray(signed[name].values, dtype=np.float64) for name in ("x", "y"))
    theta = np.asarray(found.orientation.values, dtype=np.float64)
    frequency = np.asarray(found.frequency.values, dtype=np.float64)
    phase = np.full(len(maps), np.nan)
    near_value, far_value = np.full(len(fields), np.nan), np.full(len(fields), np.nan)
    permuted = np.full((len(fields), n_permutations), np.nan)
    step = 180.0 / _N_ORIENTATIONS
    grid = np.deg2rad(np.arange(_N_ORIENTATIONS) * step)
    for row, field in enumerate(fields):
        own, common = theta[field.rows], float(np.median(frequency[field.rows]))
        angle = np.deg2rad(own)[:, None]
        at_own = _transform_at(maps[field.rows], -common * np.sin(angle), common * np.cos(angle), x, y)[:, 0]
        phase[field.rows] = absolute_phase(at_own)
        bank_of = _transform_at(maps[field.rows], -common * np.sin(grid), common * np.cos(grid), x, y)
        bank_of = bank_of / np.maximum(np.abs(bank_of), 1e-300)
        gap = axial_difference(own[None], own[:, None])
        index = np.rint((own[:, None] + gap / 2) % 180.0 / step).astype(int) % _N_ORIENTATIONS
        # At 180° − ½ step the nearest grating on the circle is that of 0°, the same for both cells of the pair.
        unit, other = np.indices(index.shape)
        alike = (bank_of[unit, index] * bank_of[other, index].conj()).real
        similar = np.triu(np.abs(gap) < _SIMILAR, 1)
        near = cdist(field.cortex, field.cortex) <= radius
        if not (similar & near).any() or not (similar & ~near).any():
            continue
        near_value[row], far_value[row] = alike[similar & near].mean(), alike[similar & ~near].mean()
        first, second = np.nonzero(similar & near)
        order = _within_orientation(own, n_permutations, rng)
        permuted[row] = np.concatenate(
            [alike[part[:, first], part[:, second]].mean(axis=1) for part in in_parts(order, first.size)]
        )
    usable = np.isfinite(near_value)
    names = [f"{field.animal} {field.name}" for field in fields]
    attrs: dict[str, float | str] = {
        "radius": radius,
        "similar_orientation": _SIMILAR,
        "hypothesis": "absolute phase is unrelated to cortical position among cells of similar orientation",
        "permutation": f"fields exchanged within blocks of {_BLOCK} cells of neighboring orientation",
        "p_smallest": 1 / (n_permutations + 1),
    }
    if usable.any():
        animals = [field.animal for field, keep in zip(fields, usable, strict=True) if keep]
        chance = permuted[usable].mean(axis=1)
        test = Tested.of(near_value[usable] - chance, permuted[usable] - chance[:, None], animals)
        attrs |= {"effect": test.effect, "effect_low": test.ci_low, "effect_high": test.ci_high, "p": test.p}
        attrs |= {"p_animals": test.p_animals, "p_animals_smallest": test.p_animals_smallest}
    return xr.Dataset(
        {
            "phase": ("unit", phase),
            "similarity": ("field", near_value),
            "similarity_far": ("field", far_value),
        },
        coords={"unit": signed.unit, "field": names, "animal": ("field", [field.animal for field in fields])},
        attrs=attrs,
    )


def orientation_agreement(
    first: Array, second: Array, fields: list[Patch], *, n_permutations: int, rng: np.random.Generator
) -> dict[str, float | str]:
    """Mean cos 2Δ between two orientations per cell, second permuted within fields, over animals."""
    observed, permuted, animals = [], [], []
    for field in fields:
        a, b = np.deg2rad(first[field.rows]), np.deg2rad(second[field.rows])
        good = np.isfinite(a) & np.isfinite(b)
        if good.sum() < MIN_CELLS:
            continue
        a, b = a[good], b[good]
        order = np.argsort(rng.random((n_permutations, a.size)), axis=1)
        observed.append(np.cos(2 * (a - b)).mean())
        permuted.append(np.cos(2 * (a - b[order])).mean(axis=1))
        animals.append(field.animal)
    if not observed:
        return {"effect": np.nan, "p": np.nan, "n_cells": 0}
    return dict(Tested.of(np.array(observed), np.stack(permuted), animals)._asdict())
