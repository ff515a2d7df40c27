"""`fit` and `predict`: from a bank to parameters with standard errors and a status in words, and back to maps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import bad_units, check, fingerprint, inherit, make_rng, pitch
from rfcompare.errors import InputError
from rfcompare.fitting import batched
from rfcompare.fitting.batched import Solution
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


@dataclass(frozen=True)
class Grid:
    """A bank's pixels: positions in pixels from the middle, and the size of one in the bank's units."""

    x: np.ndarray
    y: np.ndarray
    unit: float

    @classmethod
    def of(cls, bank: xr.Dataset) -> Grid:
        """The grid on which a bank's maps are fitted; pixels that are not square keep their shape."""
        dx, dy = pitch(bank)
        unit = dx if math.isclose(dx, dy, rel_tol=1e-6) else min(dx, dy)
        steps = (round(dx / unit, 9), round(dy / unit, 9))
        width, height = bank.sizes["x"], bank.sizes["y"]
        return cls(
            steps[0] * (np.arange(width) - (width - 1) / 2), steps[1] * (np.arange(height) - (height - 1) / 2), unit
        )

    @property
    def square(self) -> bool:
        """Whether pixels are as high as wide."""
        return bool(abs(self.x[1] - self.x[0] - 1) < 1e-9 and abs(self.y[1] - self.y[0] - 1) < 1e-9)


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
        Schema ``rfcompare-fits/1``: a variable per parameter, in the bank's units, with its standard error ``_se``; ``r2``
        = 1 − SSE / sum of squares about the map's mean; ``status`` in words; ``n_agree``; ``peak`` and ``energy`` of the
        fitted map about its offset; and ``rf``, the fitted map.

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
    check(bank)
    chosen = _model(model)
    if "lag" in bank.dims:
        raise InputError("expected a bank without lags, got a lag dimension; choose one first, as in bank.isel(lag=3)")
    if bank.sizes["channel"] > 1 and not joint:
        names = ", ".join(map(str, bank.channel.values))
        raise InputError(f"expected one channel, got {names}; reduce it with to_signed or pass joint=True")
    _, recorded = make_rng(seed)
    grid = Grid.of(bank)
    maps = np.ascontiguousarray(bank["rf"].transpose("unit", "channel", "y", "x").values, dtype=np.float64)
    measured = ~np.isnan(maps).any(1)
    problems = np.array(bad_units(bank), dtype=object)
    problems[(problems == "") & ~measured.any((1, 2))] = "not measured"
    usable = np.flatnonzero(problems == "")
    mask = measured[usable].astype(np.float64)
    held = np.where(mask[:, None] > 0, maps[usable], 0.0)
    solution, used = _run(chosen, held, mask, grid, engine=engine, device=device, workers=workers, progress=progress)
    options = {"model": model, "joint": joint, "engine": engine, "device": device}
    return _dataset(
        bank,
        chosen,
        grid,
        solution,
        held,
        mask,
        usable,
        problems,
        joint,
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
            f"expected a bank in {fits.attrs['units']} like the fits, got {bank.attrs['units']}; fit a bank with that scale"
        )
    if "lag" in bank.dims:
        raise InputError("expected a bank without lags, got a lag dimension; choose one first, as in bank.isel(lag=3)")
    known = {str(name): row for row, name in enumerate(fits.unit.values)}
    missing = [str(name) for name in bank.unit.values if str(name) not in known]
    if missing:
        raise InputError(f"expected units that were fitted, got {missing[0]!r} which was not; fit this bank first")
    chosen = fits.isel(unit=[known[str(name)] for name in bank.unit.values])
    p, linear = _internal(_model(str(fits.attrs["model"])), chosen)
    maps = map_of(_model(str(fits.attrs["model"])), p, linear, bank.x.values, bank.y.values)
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
# Running an engine


def _model(name: str) -> Model:
    if name not in MODELS:
        raise InputError(f"expected a model among {', '.join(MODELS)}, got {name!r}; choose one of these")
    return MODELS[name]


def _run(
    model: Model,
    maps: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    *,
    engine: str = "auto",
    device: str | None = None,
    workers: int = 1,
    progress: bool | None = None,
) -> tuple[Solution, str]:
    """Fit prepared maps with the engine asked for or chosen; returns the solution and the engine's name."""
    if engine not in ("auto", "batched", "compiled"):
        raise InputError(f"expected engine 'auto', 'batched' or 'compiled', got {engine!r}; choose one of these")
    starts = None
    if model.nested is not None and len(maps):
        simpler, _ = _run(
            MODELS[model.nested], maps, mask, grid, engine=engine, device=device, workers=workers, progress=progress
        )
        starts = np.asarray(model.extend(simpler.p, float(max(maps.shape[2:]))))
    return _batched(model, maps, mask, grid, starts, device, workers, progress)


def _batched(
    model: Model,
    maps: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    starts: np.ndarray | None,
    device: str | None,
    workers: int,
    progress: bool | None,
) -> tuple[Solution, str]:
    move: Callable[[Any], Any] = np.asarray
    name = "batched (NumPy)"
    if device is not None:
        import torch

        try:
            where = torch.device(device)
            torch.zeros(1, device=where)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"expected a device that torch can use, got {device!r} ({str(error).splitlines()[0]}); leave device out"
            ) from None

        def move(values: Any) -> Any:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64, device=where)

        name = f"batched (torch, {where})"
    chunk = 2048 if device is None else 16384
    pieces = [slice(i, i + chunk) for i in range(0, len(maps), chunk)] or [slice(0, 0)]

    def one(piece: slice) -> Solution:
        return batched.solve(
            model, move(maps[piece]), move(mask[piece]), move(grid.x), move(grid.y),
            starts=None if starts is None else move(starts[piece]), chunk=chunk,
        )  # fmt: skip

    parts = []
    pool = ThreadPoolExecutor(workers) if workers > 1 and len(pieces) > 1 else None
    with pool or nullcontext():
        results: Iterable[Solution] = pool.map(one, pieces) if pool else map(one, pieces)
        if len(pieces) > 1:
            from tqdm import tqdm

            quiet = None if progress is None else not progress
            results = tqdm(results, total=len(pieces), desc=f"fit {model.name}", unit="chunk", disable=quiet)
        parts.extend(results)
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Solution)}
    return Solution(**joined), name


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


def _dataset(
    bank: xr.Dataset,
    model: Model,
    grid: Grid,
    solution: Solution,
    maps: np.ndarray,
    mask: np.ndarray,
    usable: np.ndarray,
    problems: np.ndarray,
    joint: bool,
    **attrs: Any,
) -> xr.Dataset:
    """Assemble the fits Dataset; rows of `solution`, `maps` and `mask` belong to the `usable` units."""
    p, linear = model.canonical(solution.p, solution.linear)
    problem = batched.prepare(model, maps, mask, grid.x, grid.y)
    n, channels = maps.shape[:2]
    pixels = problem.count * channels
    freedom = len(model.parameters) + channels * (len(model.linear) + 1)
    spare = pixels - freedom
    variance = np.where(spare > 0, solution.cost / np.where(spare > 0, spare, 1.0), np.nan)
    low, high = at_bounds(model, p, grid.x, grid.y)
    if n:
        here = batched.evaluate(problem, np.arange(n), p)
        nonlinear, amplitudes = covariance(here, low | high, variance)
    else:
        q, terms = len(model.parameters), len(model.linear) + 1
        nonlinear, amplitudes = np.zeros((0, q, q)), np.zeros((0, channels, terms, terms))
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
    rendered = map_of(model, p, linear, grid.x, grid.y)
    shape = rendered - linear[:, :, -1][:, :, None, None]
    peak = np.abs(shape).max((2, 3), initial=0.0)
    values["peak"] = (per_channel, peak)
    values["energy"] = (per_channel, np.sqrt((shape**2).sum((2, 3))))
    values["r2"] = (("unit",), 1 - solution.cost / np.where(problem.total > 0, problem.total, 1.0))
    values["rf"] = (("unit", "channel", "y", "x"), rendered)
    values["n_agree"] = (("unit",), solution.n_agree)
    status = _statuses(model, p, low, high, solution, variance, spare, nonlinear, amplitude, peak)
    return _place(bank, model, values, status, usable, problems, attrs)


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
    usable: np.ndarray,
    problems: np.ndarray,
    attrs: dict[str, Any],
) -> xr.Dataset:
    """Put the usable units' numbers among all units, NaN elsewhere, with the bank's coordinates and attributes."""
    n, all_usable = bank.sizes["unit"], len(usable) == bank.sizes["unit"]
    variables: dict[str, Any] = {}
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
    words = problems.copy()
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
