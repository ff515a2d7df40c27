"""`fit` and `predict`: from a bank to parameters with standard errors and a status in words, and back to maps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import check, fingerprint, inherit, make_rng
from rfcompare.errors import InputError
from rfcompare.fitting.batched import Solution, render
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.fitting.uncertainty import at_bounds, covariance
from rfcompare.models import MAX_FREQUENCY, MODELS, Model, map_of
from rfcompare.quantities import FEW_CYCLES

NEAR_NYQUIST = 0.9 * MAX_FREQUENCY
"""Carriers above this share of Nyquist (cycles per pixel) are hardly told from their alias."""

TRUSTED_CYCLES, TRUSTED_SD = 0.2, 0.2
"""Standard errors are calibrated for nx, ny above the first and SD of log nx, log ny below the second."""

EQUAL = 3.84
"""Minima whose log-likelihoods differ by less than half of this (95 % of χ² with one degree of freedom) are equal."""

DIVERGED = 10.0
"""An amplitude this many times the largest value of its own map has lost its meaning."""

_CARRIED_COORDS = ("subject", "source", "cortex_x", "cortex_y", "field_of_view")


def fit(
    bank: xr.Dataset,
    model: str = "gabor",
    *,
    joint: bool = False,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
    device: str | None = None,
    workers: int = 1,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit a model to every map of a bank.

    Parameters
    ----------
    bank : xarray.Dataset
        One channel (``signed`` or ``luminance``), or several with ``joint=True``. NaN pixels are left out.
    model : str
        A name of `rfcompare.models.MODELS`.
    joint : bool
        Fit all channels of a unit together: one set of space parameters, amplitudes and phases per channel.
    seed : int, numpy.random.Generator or None
        For what is drawn at random (bootstrap); the fits themselves draw nothing. None draws a seed and records it.
    engine : {"auto", "batched", "compiled"}
        "auto" takes the compiled one where it is ready or saves more than it costs to compile, and records its choice.
    device : str, optional
        A torch device ("cuda"): the batched engine on torch tensors there.
    workers : int
        Threads; the result does not depend on it.
    progress : bool, optional
        Show progress; by default where stderr is a terminal and the job is long.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-fits/1``: a variable per parameter, in the bank's units, with its standard error ``_se``;
        ``r2`` = 1 − SSE / sum of squares about the map's mean; ``status`` in words; ``n_agree``; ``peak`` and ``energy``
        of the fit about its offset; ``rf``, the map that was fitted, and ``rf_fit``, what the model made of it.

    Raises
    ------
    InputError
        For several channels without ``joint``, an unknown model or engine, or a bank with lags. A unit that cannot be
        fitted raises nothing: its parameters are NaN and its status says why.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.15 * x)
    >>> fits = rfc.fit(rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic"), "gabor", seed=0)
    >>> [round(float(fits[name].squeeze()), 3) for name in ("orientation", "frequency", "sigma_x", "amplitude", "r2")]
    [90.0, 0.15, 3.0, 1.0, 1.0]
    """
    chosen, how = model_named(model), Engine(engine, device, workers, progress)
    _, recorded = make_rng(seed)
    maps = Maps.of(bank, joint=joint)
    solution, used = run(chosen, maps, how)
    options = {"model": model, "joint": joint, "engine": engine, "device": device}
    return publish(
        bank,
        chosen,
        maps,
        solution,
        joint=joint,
        engine=used,
        seed=recorded,
        bank_sha256=fingerprint(bank),
        options=json.dumps(options, sort_keys=True),
    )


def predict(fits: xr.Dataset, bank: xr.Dataset) -> xr.DataArray:
    """The fitted maps on a bank's own grid.

    Parameters
    ----------
    fits : xarray.Dataset
        From `fit`.
    bank : xarray.Dataset
        Its units must be among the fitted ones; its grid may differ from the fitted one, its units of length not. A
        color bank takes fits of its signed maps along their color direction.

    Returns
    -------
    xarray.DataArray
        With exactly the dims, order and shape of ``bank.rf``; NaN for units that could not be fitted.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.random.default_rng(0).normal(size=(2, 1, 7, 9)), channel=("signed",), kind="simulated")
    >>> rfc.predict(rfc.fit(bank, "gaussian", seed=0), bank).shape
    (2, 1, 7, 9)
    """
    check(fits)
    check(bank)
    if fits.attrs["units"] != bank.attrs["units"]:
        raise InputError(
            f"expected a bank in {fits.attrs['units']} like the fits, got {bank.attrs['units']}; fit a bank of that scale"
        )
    if "lag" in bank.dims:
        raise InputError("expected a bank without lags, got a lag dimension; choose one first, as in bank.isel(lag=3)")
    known = {str(name): row for row, name in enumerate(fits.unit.values)}
    missing = [str(name) for name in bank.unit.values if str(name) not in known]
    if missing:
        raise InputError(f"expected units that were fitted, got {missing[0]!r} which was not; fit this bank first")
    chosen = fits.isel(unit=[known[str(name)] for name in bank.unit.values])
    p, linear = _internal(model_named(str(fits.attrs["model"])), chosen)
    maps = map_of(model_named(str(fits.attrs["model"])), p, linear, bank.x.values, bank.y.values)
    channels = [str(name) for name in bank.channel.values]
    fitted = [str(name) for name in fits.channel.values]
    if channels != fitted:
        if channels == ["r", "g", "b"] and len(fitted) == 1 and "color_direction" in fits:
            direction = chosen["color_direction"].transpose("unit", "color").values
            maps = direction[:, :, None, None] * maps
        else:
            raise InputError(
                f"expected a bank with channels {fitted} like the fits, got {channels}; pass the bank that was fitted"
            )
    out = xr.DataArray(
        maps,
        dims=("unit", "channel", "y", "x"),
        coords={name: bank.coords[name] for name in bank["rf"].coords},
        name="rf",
    )
    return out.transpose(*bank["rf"].dims)


# ---------------------------------------------------------------------------------------------------------------------
# From a solution to published numbers


def _scale(model: Model, p: np.ndarray, unit: float) -> np.ndarray:
    """Derivatives (n, parameters) of the published parameters by the searched ones."""
    factors = {"x": unit, "y": unit, "angle": 180 / np.pi, "frequency": 1 / unit, "curvature": 1 / unit}
    columns = [
        np.exp(p[:, i]) * unit if parameter.link == "log_length" else np.full(len(p), factors[parameter.link])
        for i, parameter in enumerate(model.parameters)
    ]
    return np.stack(columns, axis=1) if columns else np.zeros((len(p), 0))


def _published(model: Model, p: np.ndarray, unit: float) -> dict[str, np.ndarray]:
    """Nonlinear parameters under their public names and in the bank's units."""
    scale, out = _scale(model, p, unit), {}
    for i, parameter in enumerate(model.parameters):
        if parameter.name == "theta":
            degrees = np.degrees(p[:, i]) - 90
            out["orientation"] = np.where(degrees >= 180, 0.0, np.clip(degrees, 0.0, None))
        elif parameter.link == "log_length":
            out[parameter.name] = scale[:, i]
        else:
            out[parameter.name] = p[:, i] * scale[:, i]
    return out


def _internal(model: Model, fits: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Searched parameters (n, parameters) and amplitudes (n, channel, terms + 1) in the fits' own units."""
    columns = []
    for parameter in model.parameters:
        values = fits["orientation" if parameter.name == "theta" else parameter.name].values.astype(float)
        if parameter.name == "theta":
            values = np.radians(values + 90)
        elif parameter.link == "angle":
            values = np.radians(values)
        elif parameter.link == "log_length":
            values = np.log(values)
        columns.append(values)
    p = np.stack(columns, axis=1) if columns else np.zeros((fits.sizes["unit"], 0))
    offset = fits["offset"].transpose("unit", "channel").values
    if model.linear == ("even", "odd"):
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


def publish(bank: xr.Dataset, model: Model, maps: Maps, solution: Solution, *, joint: bool, **attrs: Any) -> xr.Dataset:
    """The fits Dataset of a solution."""
    p, linear, grid, channels = solution.p, solution.linear, maps.grid, maps.channels
    q, terms = len(model.parameters), len(model.linear) + 1
    spare = maps.pixels * channels - (q + channels * terms)
    variance = np.where(spare > 0, solution.cost / np.where(spare > 0, spare, 1.0), np.nan)
    low, high = at_bounds(model, p, grid.x, grid.y)
    spread = covariance(solution.information, low | high, variance)
    nonlinear = spread[:, :q, :q]
    amplitudes = np.stack(
        [spread[:, k : k + terms, k : k + terms] for k in range(q, q + channels * terms, terms)], axis=1
    )
    values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    scale = _scale(model, p, grid.unit)
    deviation = np.sqrt(np.einsum("nqq->nq", nonlinear)) * scale
    for i, (name, column) in enumerate(_published(model, p, grid.unit).items()):
        values[name] = (("unit",), column)
        values[f"{name}_se"] = (("unit",), deviation[:, i])
    per_channel = ("unit", "channel")
    if model.linear == ("even", "odd"):
        a, b = linear[:, :, 0], linear[:, :, 1]
        amplitude = np.hypot(a, b)
        size = np.where(amplitude > 0, amplitude, 1.0)
        phase = np.degrees(np.arctan2(-b, a)) % 360
        vaa, vbb, vab = amplitudes[:, :, 0, 0], amplitudes[:, :, 1, 1], amplitudes[:, :, 0, 1]
        amplitude_se = np.sqrt(np.clip(a * a * vaa + b * b * vbb + 2 * a * b * vab, 0, None)) / size
        phase_se = np.degrees(np.sqrt(np.clip(b * b * vaa + a * a * vbb - 2 * a * b * vab, 0, None)) / size**2)
        values["amplitude"], values["amplitude_se"] = (per_channel, amplitude), (per_channel, amplitude_se)
        if joint:
            values["phase"], values["phase_se"] = (per_channel, phase), (per_channel, phase_se)
        else:
            values["phase"], values["phase_se"] = (("unit",), phase[:, 0]), (("unit",), phase_se[:, 0])
    else:
        amplitude = np.abs(linear[:, :, :-1]).max(2, initial=0.0)
        for term, name in enumerate(model.linear):
            values[name] = (per_channel, linear[:, :, term])
            values[f"{name}_se"] = (per_channel, np.sqrt(amplitudes[:, :, term, term]))
    values["offset"] = (per_channel, linear[:, :, -1])
    values["offset_se"] = (per_channel, np.sqrt(amplitudes[:, :, -1, -1]))
    rendered = render(model, p, linear, grid.x, grid.y)
    shape = rendered - linear[:, :, -1][:, :, None, None]
    peak = np.abs(shape).max((2, 3), initial=0.0)
    values["peak"] = (per_channel, peak)
    values["energy"] = (per_channel, np.sqrt((shape**2).sum((2, 3))))
    values["r2"] = (("unit",), 1 - solution.cost / maps.total())
    values["rf_fit"] = (("unit", "channel", "y", "x"), rendered)
    values["n_agree"] = (("unit",), solution.n_agree)
    status = _statuses(model, p, low, high, solution, variance, spare, nonlinear, amplitude, peak)
    return _place(bank, model, values, status, maps, attrs)


def _statuses(
    model: Model,
    p: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    solution: Solution,
    variance: np.ndarray,
    spare: np.ndarray,
    nonlinear: np.ndarray,
    amplitude: np.ndarray,
    peak: np.ndarray,
) -> np.ndarray:
    """What there is to know about each fit, in words."""
    flags: list[tuple[np.ndarray, str]] = [(~solution.converged, "not converged")]
    flags.append((spare <= 0, "unidentifiable on so few pixels"))
    for i, parameter in enumerate(model.parameters):
        flags += [
            (low[:, i], f"{parameter.name} at its lower bound"),
            (high[:, i], f"{parameter.name} at its upper bound"),
        ]
    flags.append((solution.rival <= solution.cost + EQUAL * np.nan_to_num(variance), "several equal minima"))
    names = [parameter.name for parameter in model.parameters]
    if "frequency" in names:
        f, wide, tall = (names.index(name) for name in ("frequency", "sigma_x", "sigma_y"))
        nx, ny = np.exp(p[:, wide]) * p[:, f], np.exp(p[:, tall]) * p[:, f]
        flags.append((nx < FEW_CYCLES, "few cycles"))
        flags.append((p[:, f] > NEAR_NYQUIST, "near Nyquist"))
        flags.append(((amplitude > DIVERGED * peak).any(1), "amplitude diverges"))
        with np.errstate(invalid="ignore"):
            known = np.ones(len(p), bool)
            for s in (wide, tall):
                spread = nonlinear[:, s, s] + (nonlinear[:, f, f] / p[:, f] + 2 * nonlinear[:, s, f]) / p[:, f]
                known &= spread < TRUSTED_SD**2
        trusted = known & (np.minimum(nx, ny) > TRUSTED_CYCLES)
        flags.append((~trusted & (spare > 0), "standard errors approximate"))
    words: list[list[str]] = [[] for _ in range(len(p))]
    for chosen, text in flags:
        for row in np.flatnonzero(chosen):
            words[row].append(text)
    return np.array(["; ".join(found) or "converged" for found in words], dtype=object)


def _place(
    bank: xr.Dataset,
    model: Model,
    values: dict[str, tuple[tuple[str, ...], np.ndarray]],
    status: np.ndarray,
    maps: Maps,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Put the usable units' numbers among all units, NaN elsewhere, with the bank's coordinates and attributes."""
    n, usable = bank.sizes["unit"], maps.usable
    all_usable = len(usable) == n
    # The maps travel with their fits, so that describing and drawing need nothing else.
    variables: dict[str, Any] = {"rf": bank["rf"].transpose("unit", "channel", "y", "x").variable}
    for name, (dims, found) in values.items():
        if not all_usable:
            filled = (
                np.zeros((n, *found.shape[1:]), int)
                if found.dtype.kind == "i"
                else np.full((n, *found.shape[1:]), np.nan)
            )
            filled[usable] = found
            found = filled
        variables[name] = (dims, found)
    words = maps.problems.copy()
    words[usable] = status
    variables["status"] = (("unit",), words)
    for name, variable in bank.data_vars.items():
        if (
            name not in variables
            and variable.dims
            and variable.dims[0] == "unit"
            and set(variable.dims) <= {"unit", "color"}
        ):
            variables[str(name)] = variable.variable
    coords = {
        name: bank.coords[name]
        for name in ("unit", "channel", "y", "x", *_CARRIED_COORDS, "color")
        if name in bank.coords
    }
    fits = xr.Dataset(variables, coords=coords, attrs=inherit(bank, "fits", model=model.name, **attrs))
    length, cycles = bank.attrs["units"], f"1/{bank.attrs['units']}"
    for name in fits.data_vars:
        base = str(name).removesuffix("_se")
        if base in ("x0", "y0") or base.startswith("sigma"):
            fits[name].attrs["units"] = length
        elif base in ("frequency", "curvature"):
            fits[name].attrs["units"] = cycles
        elif base in ("orientation", "phase", "envelope_angle"):
            fits[name].attrs["units"] = "deg"
    return check(fits)
