"""Descriptors: a few numbers for every unit, from its fitted Gabor and from its map alone.

The model-free ones exist for every unit, also for blobs and noise, and are computed in the same way for kernels and for
recordings: the map's surround is its zero, a window of twice the field's radius keeps what lies far from the field out,
and the spectrum of what is left is summed up. Definitions and units stand in `rfcompare.quantities.QUANTITIES`.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft
import xarray as xr
from scipy.ndimage import gaussian_filter1d

from rfcompare.alignment import zero_surround
from rfcompare.bank import bad_units, check, inherit, pitch
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import FEW_CYCLES, KAPPA, QUANTITIES

SMOOTHING = 0.06
"""SD of the smoothing of the energy that finds the field, as a share of the map's size."""

WINDOW_RADII = 2.0
"""SD of the Gaussian window, in field radii."""

LOW_PASS_CYCLES = 0.2
"""Power below this many cycles per field radius counts as low-pass: of a Gaussian blob's 0.72 (SD of 1.5 px on 21×21)
to 0.88 (5 px)."""

CHUNK_VALUES = 2**18
"""Spectra are computed for as many maps at a time as have this many values: what a core's cache holds is fastest."""

EITHER = 2
"""In `censoring`: on a bound, and the true value may be larger or smaller."""

SCALED = ("frequency", "peak_frequency", "sigma_x", "sigma_y", "field_radius", "x0", "y0")
_CARRIED = ("cortex_x", "cortex_y", "field_of_view")
_FIT_NAMES = ("frequency", "sigma_x", "sigma_y", "x0", "y0", "orientation")


@named_strictly
def describe(fits: xr.Dataset) -> xr.Dataset:
    """Describe every unit of fitted Gabors.

    Parameters
    ----------
    fits : xarray.Dataset
        What `rfcompare.fit` gave, with one channel; its maps travel with it, so nothing else is needed.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-descriptors/1``: dims (unit,), a variable per name of `rfcompare.quantities.QUANTITIES`
        (dimensionless first; the scaled ones in ``attrs["units"]``), ``status``, ``less_than_one_cycle`` (nx ≤ κ: no
        octave bandwidth), and ``censored(unit, quantity)``: what a parameter on its bound makes of the quantities
        computed from it (see `censoring`). On a parametric bank, quantities that rendering fixes hold the value stored
        for the original map, or NaN where none is; ``attrs["fixed_by_construction"]`` names them.

    Raises
    ------
    InputError
        When the fits have several channels or no map.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.15 * x)  # vertical, ON center
    >>> fits = rfc.fit(rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic"), "gabor", seed=0)
    >>> table = rfc.describe(fits)
    >>> round(float(table.nx[0]), 3), round(float(table.orientation[0]), 1)
    (0.45, 90.0)
    """
    check(fits)
    if "r2" not in fits:
        raise InputError("expected fits, got a Dataset without r2; call rfcompare.fit first, or describe_maps for maps")
    if "rf" not in fits:
        raise InputError("expected fits that carry their maps, got none; fit again with rfcompare.fit")
    if fits.sizes["channel"] != 1:
        raise InputError(
            f"expected fits of one channel, got {fits.sizes['channel']}; reduce the bank with to_signed before fitting"
        )
    one = fits.isel(channel=0, drop=True)
    values: dict[str, npt.NDArray[Any]] = {
        name: one[name].values.astype(float) for name in _FIT_NAMES if name in one and one[name].dims == ("unit",)
    }
    if {"frequency", "sigma_x", "sigma_y"} <= values.keys():
        values |= _gabor_form(values, one)
    values["r2"] = one["r2"].values.astype(float)
    table = _assemble(fits, values, status=one["status"].values, maps=_model_free(fits))
    names = [name for name in table.data_vars if name in QUANTITIES and QUANTITIES[str(name)].follows]
    if "at_bound" in fits and names:
        table["censored"] = ("unit", "quantity"), np.stack([_censored(fits, str(name)) for name in names], axis=1)
        table["quantity"] = np.array(names, dtype=object)
    return check(table)


def _censored(fits: xr.Dataset, name: str) -> npt.NDArray[np.int8]:
    """What bounds do to one quantity (unit,): signs that agree, or `EITHER`."""
    held = fits["at_bound"]
    follows = {one: sign for one, sign in QUANTITIES[name].follows.items() if one in held["parameter"].values}
    at = [held.sel(parameter=one).values for one in follows]
    moved = [values * sign for values, sign in zip(at, follows.values(), strict=True)]
    up, down = (np.any([values * sign > 0 for values in moved], axis=0) for sign in (1, -1))
    unsure = np.any([(values != 0) & (sign == 0) for values, sign in zip(at, follows.values(), strict=True)], axis=0)
    return np.where(unsure | (up & down), EITHER, up.astype(np.int8) - down.astype(np.int8)).astype(np.int8)


def censoring(descriptors: xr.Dataset, name: str) -> npt.NDArray[np.int8]:
    """Which values of a descriptor are limits rather than measurements, because a parameter lies on its bound.

    Parameters
    ----------
    descriptors : xarray.Dataset
        From `describe`.
    name : str
        One of its quantities.

    Returns
    -------
    (unit,) int8 array
        0: a value; 1: the true one is as large or larger; −1: as small or smaller; `EITHER` (2): one or the other.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.descriptors import censoring
    >>> x = np.arange(-7, 8.0)
    >>> grating = np.cos(2 * np.pi * 0.15 * x) * np.exp(-(x**2) / 18) + 0 * x[:, None]  # stripes as long as the map
    >>> table = rfc.describe(rfc.fit(rfc.make_bank(grating[None, None], channel=("signed",), kind="analytic"), seed=0))
    >>> [int(censoring(table, name)[0]) for name in ("nx", "ny", "aspect", "orientation_half_width")]
    [0, 1, 1, -1]
    """
    if "censored" not in descriptors or name not in descriptors["quantity"].values:
        return np.zeros(descriptors.sizes["unit"], np.int8)
    return np.asarray(descriptors["censored"].sel(quantity=name).values)


def on_bound(dataset: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Which units of fits (any parameter) or of descriptors (any quantity) lie on a bound.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.descriptors import on_bound
    >>> maps = np.zeros((1, 1, 9, 9)); maps[0, 0, 4, 4] = 1  # narrower than any width allowed
    >>> on_bound(rfc.fit(rfc.make_bank(maps, channel=("signed",), kind="analytic"), "gaussian", seed=0)).tolist()
    [True]
    """
    for name, dim in (("at_bound", "parameter"), ("censored", "quantity")):
        if name in dataset:
            return np.asarray((dataset[name] != 0).any(dim).values)
    return np.zeros(dataset.sizes["unit"], bool)


def describe_maps(bank: xr.Dataset) -> xr.Dataset:
    """The model-free descriptors of a signed bank, without fitting anything.

    Parameters
    ----------
    bank : xarray.Dataset
        One channel, ``signed`` or ``luminance``.

    Returns
    -------
    xarray.Dataset
        As from `describe`, with the map and color quantities only.

    Examples
    --------
    >>> import numpy as np
    >>> from rfcompare.bank import make_bank
    >>> from rfcompare.descriptors import describe_maps
    >>> x = np.arange(-10, 11.0)
    >>> blob = np.exp(-(x**2 + x[:, None] ** 2) / 18)
    >>> table = describe_maps(make_bank(blob[None, None], channel=("signed",), kind="analytic"))
    >>> round(float(table.low_pass_share[0]), 2), abs(round(float(table.spectral_anisotropy[0]), 2))
    (0.86, 0.0)
    """
    check(bank)
    if bank.sizes["channel"] != 1 or "lag" in bank.dims:
        raise InputError(f"expected a signed bank, got channels {tuple(bank.channel.values)}; call to_signed first")
    problems = bad_units(bank)
    return _assemble(
        bank, {}, status=np.array([p or "converged" for p in problems], dtype=object), maps=_model_free(bank)
    )


def _gabor_form(values: dict[str, npt.NDArray[Any]], one: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    nx = values["sigma_x"] * values["frequency"]
    ny = values["sigma_y"] * values["frequency"]
    with np.errstate(invalid="ignore", divide="ignore"):
        form = {
            "nx": nx,
            "ny": ny,
            "aspect": ny / nx,
            "bandwidth_octaves": np.where(
                nx > KAPPA, np.log2((nx + KAPPA) / np.where(nx > KAPPA, nx - KAPPA, np.nan)), np.nan
            ),
            "cutoff_ratio": 100 * np.maximum(nx - KAPPA, 0) / (nx + KAPPA),
            "orientation_half_width": np.degrees(np.arctan(KAPPA / ny)),
        }
    if "phase" in one and one["phase"].dims == ("unit",):
        polarity = np.degrees(np.arccos(np.cos(np.radians(one["phase"].values.astype(float)))))
        polarity = np.where(nx >= FEW_CYCLES, polarity, np.nan)
        form["folded_phase"] = np.minimum(polarity, 180 - polarity)
        known = one["polarity_known"].values.astype(bool) if "polarity_known" in one else np.ones(nx.shape, bool)
        form["polarity_phase"] = np.where(known, polarity, np.nan)
    return form


def _assemble(
    source: xr.Dataset,
    values: dict[str, npt.NDArray[Any]],
    *,
    status: npt.NDArray[Any],
    maps: dict[str, npt.NDArray[Any]],
) -> xr.Dataset:
    values = {**values, **maps}
    for name in ("rank_one_share", "luminance_share"):
        if name in source:
            values[name] = source[name].values.astype(float)
    if "polarity_known" in source:
        # The sign of such a map is arbitrary, so its ON/OFF balance is too.
        values["on_off_balance"] = np.where(
            source["polarity_known"].values.astype(bool), values["on_off_balance"], np.nan
        )
    fixed: list[str] = []
    if source.attrs["kind"] == "parametric":
        for name in [name for name in values if QUANTITIES[name].fixed_by_rendering]:
            original = f"{name}_original"
            values[name] = (
                source[original].values.astype(float) if original in source else np.full(values[name].shape, np.nan)
            )
            fixed.append(name)
    table = xr.Dataset(
        {name: ("unit", values[name]) for name in QUANTITIES if name in values},
        coords={
            name: ("unit", source[name].values)
            for name in ("unit", "subject", "source", *_CARRIED)
            if name in source.coords
        },
        attrs=inherit(source, "descriptors", **({"fixed_by_construction": json.dumps(fixed)} if fixed else {})),
    )
    for scaled in SCALED:
        if scaled in table:
            table[scaled].attrs["units"] = QUANTITIES[scaled].units(str(source.attrs["units"]))
    table["status"] = ("unit", np.asarray(status, dtype=object))
    if "nx" in values:
        table["less_than_one_cycle"] = ("unit", values["nx"] <= KAPPA)
    return check(table)


# ---------------------------------------------------------------------------------------------------------------------
# From the map alone


def _model_free(dataset: xr.Dataset) -> dict[str, npt.NDArray[Any]]:
    """All map descriptors, NaN where a unit's map cannot be used."""
    maps = dataset["rf"].isel(channel=0).transpose("unit", "y", "x").values.astype(float)
    names = [name for name, quantity in QUANTITIES.items() if quantity.source == "map"]
    result = {name: np.full(len(maps), np.nan) for name in names}
    usable = np.flatnonzero([problem == "" for problem in bad_units(dataset)])
    dx, dy = pitch(dataset)
    padded = _padded_length(maps.shape)
    step = max(1, CHUNK_VALUES // padded**2)
    chunks = [usable[start : start + step] for start in range(0, usable.size, step)]
    # Transforms and sums release the interpreter's lock; every chunk is computed alone, so threads change no number.
    with ThreadPoolExecutor(min(len(chunks), os.cpu_count() or 1) or 1) as pool:
        tables = pool.map(lambda chosen: describe_arrays(maps[chosen], dx=dx, dy=dy, padded=padded), chunks)
        for chosen, table in zip(chunks, tables, strict=True):
            for name, numbers in table.items():
                result[name][chosen] = numbers
    return result


def describe_arrays(
    maps: npt.NDArray[np.float64], *, dx: float = 1.0, dy: float = 1.0, padded: int | None = None
) -> dict[str, npt.NDArray[np.float64]]:
    """Model-free descriptors of plain arrays.

    Parameters
    ----------
    maps : array (n, y, x)
        Signed maps; NaN counts as the map's surround.
    dx, dy : float
        Pixel size.
    padded : int, optional
        Odd length of the zero-padded transform, by default at least four maps for a smooth spectrum.

    Returns
    -------
    dict of str to array (n,)
        The quantities whose source is the map; lengths in the units of dx, ``peak_frequency`` in cycles per unit.

    Notes
    -----
    The field is found in the smoothed energy above a quarter of its maximum (and above its median, so that noise spread
    over the map does not widen it); ``field_radius`` is the RMS distance from its centroid there. The map is windowed
    by a Gaussian of two radii before the transform.
    """
    size = padded or _padded_length(maps.shape)
    step = max(1, CHUNK_VALUES // size**2)  # transforms that stay in the processor's cache
    parts = [_described(maps[start : start + step], dx, dy, size) for start in range(0, max(len(maps), 1), step)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _described(maps: npt.NDArray[np.float64], dx: float, dy: float, size: int) -> dict[str, npt.NDArray[np.float64]]:
    """`describe_arrays` of a few maps."""
    n, height, width = maps.shape
    x = dx * (np.arange(width) - (width - 1) / 2)
    y = dy * (np.arange(height) - (height - 1) / 2)
    clean = zero_surround(maps)
    energy = gaussian_filter1d(clean**2, SMOOTHING * height, axis=1, mode="constant")
    energy = gaussian_filter1d(energy, SMOOTHING * width, axis=2, mode="constant")
    floor = np.maximum(energy.max((1, 2)) / 4, np.median(energy, (1, 2)))
    weight = np.clip(energy - floor[:, None, None], 0, None)
    weight /= weight.sum((1, 2), keepdims=True)
    cx, cy = weight.sum(1) @ x, weight.sum(2) @ y
    radius = np.sqrt((weight.sum(1) * (x - cx[:, None]) ** 2).sum(1) + (weight.sum(2) * (y - cy[:, None]) ** 2).sum(1))
    radius = np.maximum(radius, 0.5 * min(dx, dy))
    near = (x - cx[:, None])[:, None] ** 2 + (y - cy[:, None])[:, :, None] ** 2 <= (2 * radius[:, None, None]) ** 2
    spread = 2 * (WINDOW_RADII * radius[:, None]) ** 2
    window_x, window_y = np.exp(-((x - cx[:, None]) ** 2) / spread), np.exp(-((y - cy[:, None]) ** 2) / spread)
    seen = clean * window_y[:, :, None] * window_x[:, None, :]

    frequencies = _frequencies(size, dx, dy)
    # Products with the waves: on a padding of four maps they are four times as fast as a fast transform.
    along_y, along_x = _waves(frequencies.y * dy, height), _waves(frequencies.x * dx, width)
    transform = along_y @ (seen @ along_x.T)
    flat = (transform.real**2 + transform.imag**2).reshape(n, -1) * frequencies.weight
    total, first, second, xx, yy, xy, fourfold_x, fourfold_y = (flat @ frequencies.moments).T
    centroid, second = first / total, second / total
    # Even minus odd energy about the centroid c is Σ s(c + d) s(c − d), which is the inverse transform of F² at 2c.
    turn_x = np.exp(4j * np.pi * frequencies.x * (cx - x[0])[:, None]) * frequencies.columns
    turn_y = np.exp(4j * np.pi * frequencies.y * (cy - y[0])[:, None])
    mirrored = turn_y[:, None, :] @ transform**2 @ turn_x[:, :, None]
    below = np.less(frequencies.radial, LOW_PASS_CYCLES / radius[:, None])
    peak = (flat / frequencies.weight).argmax(1)
    return {
        "centroid_cycles": centroid * radius,
        "spectral_bandwidth": np.sqrt(np.maximum(second - centroid**2, 0)) / centroid,
        "spectral_anisotropy": np.hypot(xx - yy, 2 * xy) / (xx + yy),
        "fourfold_anisotropy": np.hypot(fourfold_x, fourfold_y) / (second * total),
        "localization": np.einsum("nyx,nyx->n", clean**2, near) / (clean**2).sum((1, 2)),
        "even_symmetry": mirrored[:, 0, 0].real / total,
        "on_off_balance": seen.sum((1, 2)) / np.abs(seen).sum((1, 2)),
        "low_pass_share": np.einsum("nf,nf->n", below, flat) / total,
        "peak_frequency": frequencies.radial[peak],
        "field_radius": radius,
    }


class _Frequencies(NamedTuple):
    """The half plane that a real transform fills, flattened."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64]
    """How many columns of the whole plane each stands for: two, except fx = 0."""
    weight: npt.NDArray[np.float64]
    """The same for every frequency."""
    radial: npt.NDArray[np.float64]
    moments: npt.NDArray[np.float64]
    """What power is summed with: 1, f, f², fx², fy², fx fy, and f² exp(4iθ), real and imaginary."""


def _waves(cycles_per_pixel: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.complex128]:
    """The Fourier transform's matrix (frequency, pixel)."""
    return np.exp(-2j * np.pi * np.multiply.outer(cycles_per_pixel, np.arange(length)))


@lru_cache(maxsize=8)
def _frequencies(size: int, dx: float, dy: float) -> _Frequencies:
    fx, fy = scipy.fft.rfftfreq(size, dx), scipy.fft.fftfreq(size, dy)
    columns = np.where(fx == 0, 1.0, 2.0)
    x, y = (each.ravel() for each in np.meshgrid(fx, fy))
    radial = np.hypot(x, y)
    fourfold = (x + 1j * y) ** 4 / np.maximum(radial**2, np.finfo(float).tiny)
    moments = [np.ones_like(radial), radial, radial**2, x**2, y**2, x * y, fourfold.real, fourfold.imag]
    return _Frequencies(fx, fy, columns, np.tile(columns, size), radial, np.stack(moments, axis=1))


def _padded_length(shape: tuple[int, ...]) -> int:
    """An odd length of at least four maps: an even one has a Nyquist row of lost sign, and so of lost tilt."""
    return 4 * max(shape[1:]) | 1
