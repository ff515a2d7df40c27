"""From a solution in pixels to published numbers: units, standard errors, status in words, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank import check, inherit
from rfcompare.errors import InputError
from rfcompare.fitting.batched import evaluate, information, prepare
from rfcompare.fitting.engines import CACHE, Maps
from rfcompare.fitting.noise import autocorrelation, effective_pixels, noise_variance
from rfcompare.fitting.search import CLOSE, Solution
from rfcompare.fitting.uncertainty import at_bounds, covariance
from rfcompare.models import MAX_FREQUENCY, MODELS, Model, map_of
from rfcompare.quantities import FEW_CYCLES

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Columns = dict[str, tuple[tuple[str, ...], npt.NDArray[Any]]]
"""Variables of a Dataset: dims and values."""

_PER_CHANNEL = ("unit", "channel")

_NEAR_NYQUIST = 0.8 * MAX_FREQUENCY
"""Carriers above this (cycles per pixel; fewer than 2.5 pixels a cycle) are hardly told from their alias where the
envelope is narrow."""

_TRUSTED_CYCLES, _TRUSTED_SD = 0.2, 0.2
"""Standard errors are calibrated for nx, ny above the first and SD of log nx, log ny below the second."""

_EQUAL = 3.84
"""Minima whose log-likelihoods differ by less than half of this (95 % of χ² with one degree of freedom) are equal."""

_DIVERGED = 10.0
"""An amplitude this many times the largest value of its own map has lost its meaning."""

_CARRIED_COORDS = ("subject", "source", "cortex_x", "cortex_y", "field_of_view")


def values_of(model: Model, p: Floats, linear: Floats, unit: float, joint: bool) -> Columns:
    """Every parameter under its public name and in the bank's units."""
    out = Columns()
    for i, parameter in enumerate(model.parameters):
        values = parameter.to_public(p[:, i], unit)
        if parameter.name == "theta":
            values = np.where(values >= 180, 0.0, np.clip(values, 0.0, None))
        out[parameter.published] = ("unit",), values
    if model.quadrature:
        a, b = linear[:, :, 0], linear[:, :, 1]
        out["amplitude"] = _PER_CHANNEL, np.hypot(a, b)
        phase = np.degrees(np.arctan2(-b, a)) % 360
        out["phase"] = (_PER_CHANNEL, phase) if joint else (("unit",), phase[:, 0])
    else:
        for term, name in enumerate(model.linear):
            out[name] = _PER_CHANNEL, linear[:, :, term]
    out["offset"] = _PER_CHANNEL, linear[:, :, -1]
    for name, size in cycles(model).items():
        out[name] = ("unit",), out["frequency"][1] * out[size][1]
    return out


def periods(model: Model) -> dict[str, float]:
    """Public names of what comes round, each with its period in degrees."""
    found = {parameter.published: parameter.period for parameter in model.parameters if parameter.period}
    return found | ({"phase": 360.0} if model.quadrature else {})


def cycles(model: Model) -> dict[str, str]:
    """Of an envelope with a carrier the cycles per SD, nx and ny, each with its SD."""
    found = {"nx": "sigma_x", "ny": "sigma_y"}
    return found if all(model.index(name) >= 0 for name in ("frequency", *found.values())) else {}


def _deviations(model: Model, values: Columns, spread: Floats, p: Floats, linear: Floats, unit: float) -> Columns:
    """Standard errors of `values`, from the covariance of the fitted numbers."""
    out, channels, q, terms = Columns(), linear.shape[1], len(model.parameters), linear.shape[2]
    variance = np.einsum("nii->ni", spread)
    for i, parameter in enumerate(model.parameters):
        out[parameter.published] = ("unit",), np.sqrt(variance[:, i]) * parameter.slope(p[:, i], unit)
    of = [slice(q + k * terms, q + (k + 1) * terms) for k in range(channels)]
    own = np.stack([variance[:, rows] for rows in of], axis=1)
    if model.quadrature:
        a, b = linear[:, :, 0], linear[:, :, 1]
        between = np.stack([spread[:, rows.start, rows.start + 1] for rows in of], axis=1)
        size = np.where(values["amplitude"][1] > 0, values["amplitude"][1], np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # where an amplitude is not determined: no finite error
            along = a * a * own[:, :, 0] + b * b * own[:, :, 1] + 2 * a * b * between
            across = b * b * own[:, :, 0] + a * a * own[:, :, 1] - 2 * a * b * between
        out["amplitude"] = _PER_CHANNEL, np.sqrt(np.maximum(along, 0)) / size
        turned = np.degrees(np.sqrt(np.maximum(across, 0)) / size**2)
        out["phase"] = (_PER_CHANNEL, turned) if values["phase"][0] == _PER_CHANNEL else (("unit",), turned[:, 0])
    else:
        for term, name in enumerate(model.linear):
            out[name] = _PER_CHANNEL, np.sqrt(own[:, :, term])
    out["offset"] = _PER_CHANNEL, np.sqrt(own[:, :, -1])
    for name, log in _cycles_deviation(model, spread, p).items():
        out[name] = ("unit",), log * values[name][1]
    return out


def _cycles_deviation(model: Model, spread: Floats, p: Floats) -> dict[str, Floats]:
    """Standard errors of log nx and log ny, for models with a carrier."""
    f, out = model.index("frequency"), {}
    for name, width in cycles(model).items():
        s = model.index(width)
        log = spread[:, s, s] + (spread[:, f, f] / p[:, f] + 2 * spread[:, s, f]) / p[:, f]
        out[name] = np.sqrt(np.maximum(log, 0))
    return out


def noise_of(model: Model, maps: Maps, solution: Solution) -> tuple[Floats, Floats]:
    """Residual variance of a pixel and the degrees of freedom left for it; NaN where there are none."""
    freedom = len(model.parameters) + maps.channels * (len(model.linear) + 1)
    spare = maps.pixels * maps.channels - freedom
    return np.where(spare > 0, solution.cost / np.where(spare > 0, spare, 1.0), np.nan), spare


def noise_correlation(bank: xr.Dataset, maps: Maps) -> Floats | None:
    """Noise autocorrelations (n, lag_y, lag_x) of the maps, or None where nothing is known or the noise is white."""
    whole = np.zeros((bank.sizes["unit"], *maps.mask.shape[1:]))
    whole[maps.usable] = maps.mask
    acf = autocorrelation(bank, whole)
    if acf is None or np.count_nonzero(np.any(acf != 0, axis=0)) <= 1 or not np.isfinite(acf[maps.usable]).all():
        return None
    return acf[maps.usable]


def searched(model: Model, fits: xr.Dataset) -> tuple[Floats, Floats]:
    """Searched parameters (n, parameters) and amplitudes (n, channel, terms + 1) in the fits' own units."""
    columns = [one.to_searched(fits[one.published].values.astype(float)) for one in model.parameters]
    p = np.stack(columns, axis=1) if columns else np.zeros((fits.sizes["unit"], 0))
    offset = fits["offset"].transpose("unit", "channel").values
    if model.quadrature:
        amplitude = fits["amplitude"].transpose("unit", "channel").values
        phase = fits["phase"].values
        phase = np.radians(np.broadcast_to(phase[:, None] if phase.ndim == 1 else phase, amplitude.shape))
        terms = [amplitude * np.cos(phase), -amplitude * np.sin(phase)]
    else:
        terms = [fits[name].transpose("unit", "channel").values for name in model.linear]
    return p, np.stack([*terms, offset], axis=2)


def model_named(name: str) -> Model:
    """The model of that name, or an error that lists the names."""
    if name not in MODELS:
        raise InputError(f"expected a model among {', '.join(MODELS)}, got {name!r}; choose one of these")
    return MODELS[name]


def publish(
    bank: xr.Dataset,
    model: Model,
    maps: Maps,
    solution: Solution,
    *,
    joint: bool,
    more: Columns | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """The fits Dataset of a solution; `more` are further columns, and `attrs` attributes beside the bank's."""
    p, linear, grid, channels = solution.p, solution.linear, maps.grid, maps.channels
    variance, spare = noise_of(model, maps, solution)
    low, high = at_bounds(model, p, grid.x, grid.y)
    held = low | high
    acf, correlated = noise_correlation(bank, maps), None
    of_mean: Floats | float = channels  # degrees of freedom that noise has in the mean, and in the residual
    left = spare
    if acf is not None:
        problem = prepare(model, maps.values, maps.mask, grid.x, grid.y)
        correlated = information(problem, p, linear, acf)
        # Smooth noise is partly fitted: the fit takes tr[(JᵀJ)⁻¹ JᵀCJ] degrees of freedom out of the residual.
        plain = np.nan_to_num(covariance(solution.information, held, np.ones(len(p))))
        left = maps.pixels * channels - np.einsum("nij,nji->n", plain, correlated)
        variance = np.where((spare > 0) & (left > 0), solution.cost / np.where(left > 0, left, 1.0), np.nan)
        of_mean = maps.pixels * channels / effective_pixels(bank.isel(unit=maps.usable), maps.mask)
    spread = covariance(solution.information, held, variance, correlated)
    columns = values_of(model, p, linear, grid.unit, joint)
    deviations = _deviations(model, columns, spread, p, linear, grid.unit)
    columns |= {f"{name}_se": column for name, column in deviations.items()}
    fitted = solution.fitted
    peak, energy = np.empty(fitted.shape[:2]), np.empty(fitted.shape[:2])
    rows = max(1, CACHE // fitted[0].size) if len(fitted) else 1
    for first in range(0, len(fitted), rows):
        here = slice(first, first + rows)
        shape = fitted[here] - linear[here, :, -1, None, None]
        peak[here] = np.maximum(shape.max(axis=(2, 3)), -shape.min(axis=(2, 3)))
        energy[here] = np.sqrt(np.einsum("ncyx,ncyx->nc", shape, shape))
    columns["peak"], columns["energy"] = (_PER_CHANNEL, peak), (_PER_CHANNEL, energy)
    total = maps.total()
    columns["r2"] = ("unit",), 1 - solution.cost / total
    noise = noise_variance(bank)
    if noise is not None:
        pixels = maps.pixels * maps.channels
        signal = total - (pixels - of_mean) * noise[maps.usable]
        missed = solution.cost - np.maximum(left, 0) * noise[maps.usable]
        columns["r2_noise_corrected"] = (
            ("unit",),
            np.where(signal > 0, 1 - missed / np.where(signal > 0, signal, 1), np.nan),
        )
    columns["rf_fit"] = ("unit", "channel", "y", "x"), fitted.astype(bank["rf"].dtype, copy=False)
    columns["n_agree"] = ("unit",), solution.n_agree
    columns["at_bound"] = ("unit", "parameter"), high.astype(np.int8) - low.astype(np.int8)
    columns |= more or {}
    status = _statuses(model, maps, solution, variance, spare, spread, low, high, peak)
    return _place(bank, model, columns, status, maps, attrs)


def _equalled(model: Model, solution: Solution, variance: Floats, maps: Maps) -> Bools:
    """Where another minimum fits as well and is a different map, or nearly as well and has another orientation."""
    margin = _EQUAL * np.nan_to_num(variance)
    out = np.less_equal(solution.rival_cost, solution.cost + margin)
    rows = np.flatnonzero(out)
    if rows.size:
        grid = maps.grid
        problem = prepare(model, maps.values[rows], maps.mask[rows], grid.x, grid.y)
        p = solution.rival[rows]
        linear = evaluate(problem, np.arange(len(rows)), p, derivatives=False).linear
        linear[:, :, -1] += problem.mean
        other = map_of(model, p, linear, grid.x, grid.y)
        apart = (((other - solution.fitted[rows]) * maps.mask[rows, None]) ** 2).sum(axis=(1, 2, 3))
        out[rows] = apart > margin[rows]
    return np.asarray(out | np.less_equal(solution.turned_cost, CLOSE * solution.cost))


def _statuses(
    model: Model,
    maps: Maps,
    solution: Solution,
    variance: Floats,
    spare: Floats,
    spread: Floats,
    low: Bools,
    high: Bools,
    peak: Floats,
) -> npt.NDArray[np.object_]:
    """What there is to know about each fit, in words."""
    p = solution.p
    flags: list[tuple[Bools, str]] = [(~solution.converged, "not converged")]
    flags.append((spare <= 0, "unidentifiable on so few pixels"))
    for i, parameter in enumerate(model.parameters):
        flags += [
            (low[:, i], f"{parameter.name} at its lower bound"),
            (high[:, i], f"{parameter.name} at its upper bound"),
        ]
    flags.append((_equalled(model, solution, variance, maps), "several equal minima"))
    if cycles(model):
        f = p[:, model.index("frequency")]
        nx, ny = (np.exp(p[:, model.index(width)]) * f for width in cycles(model).values())
        flags.append((np.less(nx, FEW_CYCLES), "few cycles"))
        flags.append((np.greater(f, _NEAR_NYQUIST), "near Nyquist"))
        amplitude = np.hypot(solution.linear[:, :, 0], solution.linear[:, :, 1])
        flags.append((np.asarray((amplitude > _DIVERGED * peak).any(axis=1)), "amplitude diverges"))
        trusted = np.minimum(nx, ny) > _TRUSTED_CYCLES
        for deviation in _cycles_deviation(model, spread, p).values():
            trusted &= np.less(deviation, _TRUSTED_SD)
        flags.append((~trusted & (spare > 0), "standard errors approximate"))
    # There are few different statuses: each is put into words once.
    codes = np.zeros(len(p), np.int64)
    for i, (chosen, _) in enumerate(flags):
        codes[chosen] |= 1 << i
    found, which = np.unique(codes, return_inverse=True)
    words = ["; ".join(text for i, (_, text) in enumerate(flags) if code >> i & 1) or "converged" for code in found]
    return np.array(words, dtype=object)[which]


def _place(
    bank: xr.Dataset,
    model: Model,
    columns: Columns,
    status: npt.NDArray[np.object_],
    maps: Maps,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Put the usable units' numbers among all units, NaN elsewhere, with the bank's coordinates and attributes."""
    n, usable = bank.sizes["unit"], maps.usable
    all_usable = len(usable) == n
    # The maps travel with their fits, so that describing and drawing need nothing else.
    variables: dict[str, Any] = {"rf": bank["rf"].transpose("unit", "channel", "y", "x").variable}
    for name, (dims, found) in columns.items():
        if not all_usable:
            filled = (
                np.zeros((n, *found.shape[1:]), found.dtype)
                if found.dtype.kind == "i"
                else np.full((n, *found.shape[1:]), np.nan)
            )
            filled[usable] = found
            found = filled
        variables[name] = (dims, found)
    words = maps.problems.copy()
    words[usable] = status
    variables["status"] = (("unit",), words)
    for key, variable in bank.data_vars.items():
        if key not in variables and variable.dims[:1] == ("unit",) and set(variable.dims) <= {"unit", "color"}:
            variables[str(key)] = variable.variable
    kept = ("unit", "channel", "y", "x", *_CARRIED_COORDS, "color")
    coords: dict[str, Any] = {name: bank.coords[name] for name in kept if name in bank.coords}
    coords["parameter"] = np.array([parameter.published for parameter in model.parameters], dtype=object)
    coords["side"] = np.array(["lower", "upper"], dtype=object)
    bounds = np.stack(model.bounds(maps.grid.x, maps.grid.y))
    limits = [one.to_public(bounds[:, i], maps.grid.unit) for i, one in enumerate(model.parameters)]
    variables["bound"] = ("parameter", "side"), np.array(limits).reshape(-1, 2)
    reasons = [parameter.bound_reasons for parameter in model.parameters]
    variables["bound_reason"] = ("parameter", "side"), np.array(reasons, dtype=object).reshape(-1, 2)
    fits = xr.Dataset(variables, coords=coords, attrs=inherit(bank, "fits", model=model.name, **attrs))
    units = {one.published: one.words(str(bank.attrs["units"])) for one in model.parameters}
    units |= dict.fromkeys(periods(model), "deg")
    for key in fits.data_vars:
        if word := units.get(str(key).split("_se")[0].split("_ci_")[0].split("_profile")[0]):
            fits[key].attrs["units"] = word
    return check(fits)
