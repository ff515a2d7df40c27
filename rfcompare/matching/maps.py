"""`match`: which kernel looks like which field, how much, and how much that is worth."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import j1
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rfcompare.alignment import By, Grid, field_of, scale_between
from rfcompare.bank import Array, bad_units, check, fingerprint, folder_to_write, make_rng, signed_maps
from rfcompare.errors import InputError, named_strictly
from rfcompare.matching.search import Best, best_transforms, own_best
from rfcompare.matching.spectra import Maps, Search, prepare, supports
from rfcompare.quantities import SCHEMAS, kind_words
from rfcompare.simulation.nulls import simulate_null

_DIRECTION = "higher = more alike; 1 = the same map up to shift, rotation, scale and sign"

_Z95 = 1.96

_MAD_TO_SD = 1.4826
"""SD of a Gaussian over its median absolute value."""

_PAIR = ("unit_a", "unit_b")


@named_strictly
def match(
    a: xr.Dataset,
    b: xr.Dataset,
    *,
    by: By = "size",
    deg_per_px: float | None = None,
    nulls: xr.Dataset | Sequence[xr.Dataset] | str | None = "spectrum_noise",
    n_nulls: int = 1,
    search: Search | None = None,
    seed: int | np.random.Generator | None = 0,
    progress: bool | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Best normalized correlation of every map of `a` with every map of `b` over shift, rotation, scale and sign.

    Parameters
    ----------
    a, b : xarray.Dataset
        Signed banks: usually kernels and fields. `a` is transformed, `b` stays.
    by : {"size", "degree", "px"}
        The common scale that the search (± `Search.octaves`) starts from, as in `rfcompare.align`. The default makes
        the median field radii equal: shapes are compared and not sizes.
    deg_per_px : float, optional
        Degrees that a pixel is assumed to stand for, with ``by="degree"``.
    nulls : str, xarray.Dataset, sequence of them, or None
        Null ensembles for `a`, each searched over the same transforms: their best matches are the chance level. A name
        of `rfcompare.simulation.nulls.NULLS` draws `n_nulls` of them (each costs as much as the match itself); the
        populations of a bank that `simulate_null` drew are ensembles. Of an ensemble with more units than `a` has to
        match as many are drawn, since the best of many is better; one with fewer is refused, since the best of few is
        worse. None: not tested, and the result says so.
    n_nulls : int
        Ensembles to draw.
    search : Search, optional
        Steps and ranges.
    seed : int, Generator or None
        For drawing from the nulls.
    progress : bool, optional
        Show progress; default: on a terminal.
    keep : path, optional
        Folder for what is finished, where the same call finds it again after it was stopped; cleared at the end.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-match/1``, dims (unit_a, unit_b): ``similarity`` ≥ 0, and the transform: a point p of `a`
        (about the middle of its grid) lies at ``scale · R(rotation) · common_scale · p + (shift_x, shift_y)`` in `b`
        (degrees anticlockwise; the common scale is in the attributes), and the map is multiplied by ``sign``;
        ``overlap_a``, ``overlap_b``; ``assigned``, the one-to-one assignment of largest total similarity. Per field
        ``best``, ``best_unit``, ``chance`` (mean over ensembles of the nulls' best) and ``ceiling`` with
        ``ceiling_low`` and ``ceiling_high`` (what the cell's own noise-free map would reach, searched for in the same
        way and among as many candidates; NaN where neither halves nor ``noise_sd`` say how noisy the maps are); per
        ensemble ``null_assigned``. ``attrs["p_assigned"]`` is the rank of the assigned similarity among those of
        populations in which kernels and null maps have changed places. Similarity 0 with a NaN transform: no
        admissible placement. Units that cannot be used are NaN.

    Raises
    ------
    InputError
        When a bank is not signed, the common scale is not determined, or a null ensemble has too few units.

    Notes
    -----
    Correlations are not centered: zero means no response. Each map is zero outside its support (smoothed energy
    above 5 % of its maximum and above twice the noise variance, within 4 radii), so the norm is over the union of
    both supports, and at least `Search.min_overlap` of each one's energy must lie inside the other's support; tiny
    overlaps would correlate near 1. Frequencies beyond those that hold 99.8 % of the fields' energy are left out,
    so that a map reaches .999 to 1 with itself. Noise is ``noise_sd``, else from the halves' difference, else, in a
    measured bank, from the map's outermost pixels.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-9, 10.0)
    >>> def gabor(angle, f):
    ...     u = np.cos(angle) * x + np.sin(angle) * x[:, None]
    ...     return np.exp(-(x**2 + x[:, None] ** 2) * f**2 * 4) * np.sin(2 * np.pi * f * u)
    >>> a = rfc.make_bank(gabor(0.0, 0.15)[None, None], channel=("signed",), kind="analytic")
    >>> b = rfc.make_bank(-gabor(np.pi / 6, 0.15)[None, None], channel=("signed",), kind="analytic")
    >>> found = rfc.match(a, b).isel(unit_a=0, unit_b=0)
    >>> round(float(found.similarity), 2), float(found.rotation) % 180, round(float(found.scale), 2)
    (1.0, 30.0, 1.0)
    """
    search = search or Search()
    for name, bank in (("a", a), ("b", b)):
        _require_signed(bank, name)
    a, b = _of_order_one(a), _of_order_one(b)
    rng, recorded = make_rng(seed)
    scale = scale_between(a, b, by=by, deg_per_px=deg_per_px)
    fields, kernels = _maps(b), _maps(a, scale)
    n_matched = int(kernels.usable.sum())
    ensembles = [_as_many(ensemble, n_matched, rng) for ensemble in _ensembles(a, nulls, n_nulls, n_matched, rng)]
    # A folder for these two banks alone, so that it can be taken away at the end.
    folder = None if keep is None else folder_to_write(Path(keep) / f"{fingerprint(a)[:16]}-{fingerprint(b)[:16]}")
    n_maps = a.sizes["unit"] + sum(ensemble.sizes["unit"] for ensemble in ensembles)
    # Threads search one field each; a product that took threads of its own would only wait for them.
    with (
        threadpool_limits(1),
        tqdm(
            total=n_maps * b.sizes["unit"],
            desc="match",
            unit="pair",
            unit_scale=True,
            disable=None if progress is None else not progress,
        ) as bar,
    ):
        best = _search(kernels, fields, search, bar, folder)
        result = _result(a, b, kernels, fields, best, scale)
        null_found: list[Array] = []
        assigned_means: list[float] = []
        for ensemble in ensembles:
            # A null lives on the kernels' pixels and is put to their scale, unless sizes are matched: then to its own.
            maps = _maps(_of_order_one(ensemble), scale_between(ensemble, b, by=by, deg_per_px=deg_per_px))
            similarity = _usable_pairs(maps, fields, _search(maps, fields, search, bar, folder).similarity)
            assigned_means.append(similarity[_assign(similarity)].mean())
            null_found.append(similarity[maps.usable])
        ceiling = _ceiling(b, fields, null_found, search, rng)
    assigned = _assign(result.similarity.values)
    result["assigned"] = (_PAIR, assigned)
    filled = np.nan_to_num(result.similarity.values, nan=-1.0)
    result["best"] = ("unit_b", np.where(filled.max(0) >= 0, filled.max(0), np.nan))
    result["best_unit"] = ("unit_b", a.unit.values[filled.argmax(0)])
    null_best = np.reshape([similarity.max(0) for similarity in null_found], (len(ensembles), b.sizes["unit"]))
    null_assigned = np.array(assigned_means)
    result["chance"] = ("unit_b", null_best.mean(0) if ensembles else np.full(b.sizes["unit"], np.nan))
    result["null_best"] = (("null", "unit_b"), null_best)
    result["null_assigned"] = ("null", null_assigned)
    for name, values in zip(("ceiling", "ceiling_low", "ceiling_high"), ceiling, strict=True):
        result[name] = ("unit_b", values)
    mean = float(result.similarity.values[assigned].mean())
    result.attrs |= {
        "by": by,
        "common_scale": json.dumps([float(value) for value in scale]),
        "direction": _DIRECTION,
        "seed": recorded,
        "search": json.dumps(vars(search), sort_keys=True),
        "assigned_similarity": mean,
        **({"deg_per_px": deg_per_px} if deg_per_px is not None else {}),
        **_null_attributes(ensembles, null_assigned, _swapped(result.similarity.values, null_found, rng), mean),
    }
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
    return check(result)


def _require_signed(bank: xr.Dataset, name: str) -> None:
    check(bank)
    if bank.sizes.get("channel") != 1 or "lag" in bank.dims:
        raise InputError(
            f"expected {name} to be a signed bank, got channels {tuple(map(str, bank.channel.values))}"
            f"{' and a lag dimension' if 'lag' in bank.dims else ''}; call to_signed first"
        )


def _ensembles(
    a: xr.Dataset,
    nulls: xr.Dataset | Sequence[xr.Dataset] | str | None,
    n_nulls: int,
    n_matched: int,
    rng: np.random.Generator,
) -> list[xr.Dataset]:
    if nulls is None or (isinstance(nulls, str) and n_nulls == 0):
        return []
    if isinstance(nulls, str):
        # A null is drawn of whole maps only: of maps with unmeasured pixels several populations make one ensemble.
        finite = np.isfinite(a.rf.transpose("unit", ...).values.reshape(a.sizes["unit"], -1)).all(axis=1)
        whole = int((finite & np.array([problem == "" for problem in bad_units(a)])).sum())
        several = max(1, -(-n_matched // max(1, whole)))
        drawn = simulate_null(a, nulls, n_populations=n_nulls * several, seed=rng)
        banks = [drawn.isel(unit=part) for part in np.array_split(np.arange(drawn.sizes["unit"]), n_nulls)]
    elif not isinstance(nulls, xr.Dataset):
        banks = list(nulls)
    elif "null" in nulls.attrs:
        banks = [nulls.isel(unit=np.flatnonzero(nulls.subject.values == name)) for name in np.unique(nulls.subject)]
    else:
        banks = [nulls]
    for bank in banks:
        _require_signed(bank, "nulls")
    return banks


def _as_many(ensemble: xr.Dataset, n: int, rng: np.random.Generator) -> xr.Dataset:
    """As many of a null's units as there are maps to be matched."""
    size = ensemble.sizes["unit"]
    if size < n:
        raise InputError(
            f"expected null ensembles of at least {n} units, as many as there are maps to be matched, got {size}; "
            "the best of few is worse, so give a larger one"
        )
    return ensemble.isel(unit=np.sort(rng.choice(size, n, replace=False))) if size > n else ensemble


def _maps(bank: xr.Dataset, scale: tuple[float, float] = (1.0, 1.0)) -> Maps:
    values = signed_maps(bank.rf)
    usable = np.array([problem == "" for problem in bad_units(bank)])
    values = np.where(usable[:, None, None], values, 0.0)
    middle_x, middle_y, radius = field_of(bank)
    x, y = bank.x.values.astype(float), bank.y.values.astype(float)
    support = supports(values, np.stack([middle_x, middle_y], axis=1), radius, (x, y), _noise_of(bank))
    return prepare(values, x, y, support, scale)


def _of_order_one(bank: xr.Dataset) -> xr.Dataset:
    """A bank and its noise divided by a power of two: the search holds single precision, which ends at 1e38."""
    factor = 2.0 ** -float(np.frexp(np.abs(np.nan_to_num(bank.rf.values)).max(initial=0))[1])
    measured = [name for name in ("rf", "rf_half", "noise_sd") if name in bank]
    return bank.assign({name: bank[name].copy(data=bank[name].values * factor) for name in measured})


def _noise_of(bank: xr.Dataset) -> Array | None:
    """Noise SD of each unit's pixels: stated, else from two halves, else from the edge of a measured map, else None."""
    if "noise_sd" in bank:
        return np.asarray(bank.noise_sd.values, float)
    if "rf_half" in bank:
        halves = signed_maps(bank.rf_half)
        return np.asarray(np.sqrt(np.nanmean((halves[0] - halves[1]) ** 2, axis=(1, 2))) / 2)
    if bank.attrs["kind"] == "measured":
        maps = signed_maps(bank.rf)
        edge = np.ones(maps.shape[1:], bool)
        edge[1:-1, 1:-1] = False
        ring = maps[:, edge]
        measured: Any = np.isfinite(ring).any(1, keepdims=True)
        return np.asarray(_MAD_TO_SD * np.nanmedian(np.abs(np.where(measured, ring, 0.0)), axis=1))
    return None


def _search(kernels: Maps, fields: Maps, search: Search, bar: tqdm, keep: Path | None) -> Best:
    for name, maps in (("maps to be matched", kernels), ("fields", fields)):
        if not maps.usable.any():
            raise InputError(f"expected {name} that rise above their noise, got none; look at noise_sd and the halves")
    return best_transforms(kernels, fields, search, keep=keep, tick=bar.update)


def _result(
    a: xr.Dataset, b: xr.Dataset, kernels: Maps, fields: Maps, best: Best, scale: tuple[float, float]
) -> xr.Dataset:
    angle = np.radians(best.rotation)
    x, y = kernels.center[:, :1], kernels.center[:, 1:]  # already in the fields' units
    turned_x = np.cos(angle) * x - np.sin(angle) * y
    turned_y = np.sin(angle) * x + np.cos(angle) * y
    values = {
        "similarity": _usable_pairs(kernels, fields, best.similarity),
        "sign": best.sign,
        "rotation": best.rotation,
        "scale": best.scale,
        "shift_x": fields.center[None, :, 0] + best.shift[..., 0] - best.scale * turned_x,
        "shift_y": fields.center[None, :, 1] + best.shift[..., 1] - best.scale * turned_y,
        "overlap_a": best.overlap_a,
        "overlap_b": best.overlap_b,
    }
    result = xr.Dataset(
        {name: (_PAIR, value) for name, value in values.items()},
        coords={
            "unit_a": ("unit_a", a.unit.values),
            "unit_b": ("unit_b", b.unit.values),
            "subject_a": ("unit_a", a.subject.values),
            "subject_b": ("unit_b", b.subject.values),
        },
    )
    result["support_energy_a"] = ("unit_a", kernels.kept)
    result["support_energy_b"] = ("unit_b", fields.kept)
    result.attrs = {
        "schema": SCHEMAS["match"].name,
        "units": str(b.attrs["units"]),
        "kind_a": str(a.attrs["kind"]),
        "kind_b": str(b.attrs["kind"]),
        **{
            f"{name}_{side}": str(bank.attrs[name])
            for side, bank in (("a", a), ("b", b))
            for name in ("citation", "doi", "license", "stimulus")
            if name in bank.attrs
        },
    }
    return result


def _usable_pairs(kernels: Maps, fields: Maps, similarity: Array) -> Array:
    """Similarities, NaN where either unit cannot be used."""
    return np.where(kernels.usable[:, None] & fields.usable[None, :], similarity, np.nan)


def _assign(similarity: Array) -> NDArray[np.bool_]:
    """One-to-one assignment with the largest total similarity; unusable units get nobody."""
    assigned = np.zeros(similarity.shape, bool)
    rows, columns = linear_sum_assignment(-np.nan_to_num(similarity, nan=-1.0))
    assigned[rows, columns] = np.isfinite(similarity[rows, columns])
    return assigned


def _reliability(b: xr.Dataset, fields: Maps) -> Array:
    """Share of each map's energy in its support that is no noise, and its 95 % interval: rows value, low, high.

    From two halves, whose correlation is uncertain as that of so many pixels (Fisher's z); else from ``noise_sd``, the
    noise's energy being that of so many squares; else NaN.
    """
    support = fields.support
    pixels = support.sum(1)
    if "rf_half" in b:
        halves = signed_maps(b.rf_half)
        one, two = np.nan_to_num(halves).reshape(2, *support.shape) * support
        norm = np.sqrt((one**2).sum(1) * (two**2).sum(1))
        r = np.divide((one * two).sum(1), norm, out=np.full(norm.shape, np.nan), where=norm > 0)
        z = np.arctanh(r.clip(-1 + 1e-12, 1 - 1e-12))
        off = _Z95 / np.sqrt(np.maximum(pixels - 3, 1))
        r = np.tanh(np.stack([z, z - off, z + off])).clip(0)
        return np.asarray(2 * r / (1 + r))  # Spearman and Brown: of the halves' mean
    if "noise_sd" not in b:
        return np.full((3, len(support)), np.nan)
    energy = (fields.values**2).sum(1)
    free = np.maximum(pixels - 1, 1)  # noise along the map itself takes nothing from their correlation
    noise = b.noise_sd.values.astype(float) ** 2 * free
    noise = np.divide(noise, energy, out=np.full(energy.shape, np.nan), where=energy > 0)
    off = _Z95 * noise * np.sqrt(2 / free)
    return np.stack([1 - noise, 1 - noise - off, 1 - noise + off]).clip(0, 1)


def _filtered(maps: Array, noise: Array) -> Array:
    """Maps (unit, y, x) through their Wiener filter: what is left resembles the maps without noise."""
    size = 2 * max(maps.shape[1:])
    power, of_noise = ((np.abs(np.fft.fft2(each, (size, size))) ** 2).sum(0) for each in (maps, noise))
    keep = np.clip(1 - of_noise / np.where(power > 0, power, 1.0), 0, 1)
    return np.asarray(np.fft.ifft2(np.fft.fft2(maps, (size, size)) * keep).real[:, : maps.shape[1], : maps.shape[2]])


def _ceiling(
    b: xr.Dataset,
    fields: Maps,
    null_found: Sequence[Array],
    search: Search,
    rng: np.random.Generator,
) -> tuple[Array, Array, Array]:
    """What a cell's own noise-free map would reach, searched for as kernels are and among as many candidates.

    A filtered map stands for the noise-free one, and for what is measured of it the same under as much new noise as the
    cell's reliability says: half the difference of the halves, or white noise, once with either sign. One candidate is
    the cell's own, the others are the null's. With its 95 % interval, that of the reliability.
    """
    share, low, high = _reliability(b, fields)
    known = np.isfinite(share) & fields.usable
    own = np.full(len(share), np.nan)
    if known.any():
        shape = (len(share), b.sizes["y"], b.sizes["x"])
        if "rf_half" in b:
            halves = signed_maps(b.rf_half)
            noise = np.nan_to_num(halves[0] - halves[1]) / 2
        else:
            noise = rng.standard_normal(shape) * b.noise_sd.values[:, None, None]
        support = fields.support.reshape(shape)
        maps = np.where(support, _filtered(fields.values.reshape(shape), noise * support), 0.0)
        wanted = (maps**2).sum((1, 2)) * (1 - share) / np.maximum(share, 1e-6)
        there = ((noise * support) ** 2).sum((1, 2))
        noise *= np.sqrt(np.divide(wanted, there, out=np.zeros_like(wanted), where=there > 0))[:, None, None]
        measured = np.isfinite(b.rf.isel(channel=0).transpose("unit", "y", "x").values)
        blank = b[["rf"]].transpose("unit", "channel", "y", "x")

        def seen(values: Array, sd: Array) -> Maps:
            return _maps(blank.assign(rf=(blank.rf.dims, values[:, None]), noise_sd=("unit", sd)))

        clean, sd = seen(maps, np.zeros(len(share))), np.sqrt((noise**2).mean((1, 2)))
        twice = [own_best(clean, seen(np.where(measured, maps + sign * noise, np.nan), sd), search) for sign in (1, -1)]
        own = np.where(known, np.where(share > 0, np.mean(twice, axis=0), 0.0), np.nan)
    others = [similarity[1:].max(0) for similarity in null_found if len(similarity) > 1]
    least = np.mean(others, axis=0) if others else np.zeros(len(own))
    ends = (
        own * np.sqrt(np.divide(end, share, out=np.zeros_like(share), where=share > 0)) for end in (share, low, high)
    )
    value, at_least, at_most = (np.maximum(end, least).clip(max=1.0) for end in ends)
    return value, at_least, at_most


_N_SWAPS = 199
"""Times that kernels and null maps change places: the smallest p is .005."""


def _swapped(similarity: Array, null_found: Sequence[Array], rng: np.random.Generator) -> Array:
    """Mean assigned similarity when every kernel may stand for a null map and the reverse, `_N_SWAPS` times."""
    kernels = similarity[np.isfinite(similarity).any(1)]
    if not null_found or any(len(one) != len(kernels) for one in null_found):
        return np.zeros(0)
    stacked = np.stack([kernels, *null_found])
    places = np.arange(len(kernels))
    drawn = (stacked[rng.integers(len(stacked), size=len(kernels)), places] for _ in range(_N_SWAPS))
    return np.array([one[_assign(one)].mean() for one in drawn])


def _null_attributes(
    ensembles: Sequence[xr.Dataset],
    null_assigned: Array,
    swapped: Array,
    observed: float,
) -> dict[str, str | int | float]:
    if not ensembles:
        return {"null": "none: similarity not tested against chance"}
    names = sorted({str(bank.attrs.get("null", bank.attrs["kind"])) for bank in ensembles})
    n = ensembles[0].sizes["unit"]
    return {
        "null": ", ".join(names),
        "n_null": len(ensembles),
        "null_assigned_mean": float(null_assigned.mean()),
        "hypothesis": "each kernel and its null map are exchangeable in the one-to-one similarity with the fields",
        "p_assigned": float((1 + (swapped >= observed - 1e-12).sum()) / (swapped.size + 1)),
        "smallest_p": max(1 / (swapped.size + 1), float(len(ensembles) + 1) ** -n),
    }


def sentence(matches: xr.Dataset) -> str:
    """What a match says, with its chance level and ceiling."""
    n_a, n_b = matches.sizes["unit_a"], matches.sizes["unit_b"]
    text = (
        f"{n_a} maps ({kind_words(matches.attrs['kind_a'])}) assigned one to one to {n_b} "
        f"({kind_words(matches.attrs['kind_b'])}): "
        f"mean similarity {matches.attrs['assigned_similarity']:.3f}"
    )
    if "n_null" in matches.attrs:
        text += (
            f", of null ensembles ({matches.attrs['null']}) {matches.attrs['null_assigned_mean']:.3f}, "
            f"p = {matches.attrs['p_assigned']:.3g} (smallest possible {matches.attrs['smallest_p']:.3g})"
        )
    else:
        text += f"; null: {matches.attrs['null']}"
    ceiling = matches.ceiling.values[np.isfinite(matches.ceiling.values)]
    text += f"; ceiling {np.median(ceiling):.3f}" if ceiling.size else "; noise not known, so no ceiling"
    simulated = "simulated" in (matches.attrs["kind_a"], matches.attrs["kind_b"])
    return f"{'demonstration: depends on assumed parameters; ' if simulated else ''}{text}"


@named_strictly
def apply_transform(
    a: xr.Dataset, matches: xr.Dataset, unit_a: str, unit_b: str, *, to: xr.Dataset | Grid | None = None
) -> xr.DataArray:
    """A map of `a` as the match laid it on a field of `b`: turned, scaled, shifted, with its sign.

    Parameters
    ----------
    a : xarray.Dataset
        The bank that was matched.
    matches : xarray.Dataset
        What `match` gave.
    unit_a, unit_b : str
        The pair.
    to : xarray.Dataset or Grid
        The grid to draw on, usually that of `b`.

    Returns
    -------
    xarray.DataArray (y, x)
        In the map's own height, times ``sign``; what lies outside the kernel's support is 0 before interpolation.

    Raises
    ------
    InputError
        When the pair has no admissible transform.

    Notes
    -----
    Interpolated with the Fourier transform of the disc of frequencies that both grids resolve, r⁻¹·J1: the same
    band-limited map that the search correlates.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-9, 10.0)
    >>> bar = np.exp(-(x**2) / 4 - (x[:, None] - 1) ** 2 / 18)
    >>> a = rfc.make_bank(bar[None, None], channel=("signed",), kind="analytic", unit=["bar"])
    >>> b = rfc.make_bank(-bar.T[None, None], channel=("signed",), kind="analytic", unit=["field"])
    >>> laid = apply_transform(a, rfc.match(a, b), "bar", "field", to=b)
    >>> round(float(np.corrcoef(laid.values.ravel(), b.rf.values.ravel())[0, 1]), 2)
    1.0
    """
    if to is None:
        raise InputError("expected a grid to draw on, got none; give to=b, the bank that was matched")
    grid = Grid.of(to) if isinstance(to, xr.Dataset) else to
    pair = matches.sel(unit_a=unit_a, unit_b=unit_b)
    if not np.isfinite(float(pair.rotation)):
        raise InputError(f"expected a matched pair, got {unit_a!r} and {unit_b!r} without an admissible transform")
    scale_x, scale_y = json.loads(str(matches.attrs["common_scale"]))
    maps = _maps(a.sel(unit=[unit_a]), (scale_x, scale_y))
    factor, angle = float(pair.scale), np.radians(float(pair.rotation))
    at_x, at_y = np.meshgrid(grid.x - float(pair.shift_x), grid.y - float(pair.shift_y))
    back_x = (np.cos(angle) * at_x + np.sin(angle) * at_y).ravel() / factor
    back_y = (-np.sin(angle) * at_x + np.cos(angle) * at_y).ravel() / factor
    cutoff = min(maps.nyquist, 0.5 / max(grid.pitch) * factor)
    inside = maps.support[0]
    distance = np.hypot(back_x[:, None] - maps.x[inside], back_y[:, None] - maps.y[inside])
    argument = 2 * np.pi * cutoff * distance
    disc = np.divide(j1(argument), argument, out=np.full(argument.shape, 0.5), where=argument > 1e-9)
    weight = 2 * np.pi * cutoff**2 * maps.dx * maps.dy * disc
    values = float(pair.sign) * (weight @ maps.values[0, inside]).reshape(at_x.shape)
    return xr.DataArray(
        values,
        dims=("y", "x"),
        coords={"y": ("y", grid.y, {"units": grid.units}), "x": ("x", grid.x, {"units": grid.units})},
        attrs={"kind": str(a.attrs["kind"])},
    )
