"""The fitter beside what a careful user writes with SciPy: the same maps, one process, success and time per map.

The cases are public: maps with known truth that anybody's fitter can be run on, and a score for what it found.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from rfcompare.bank import save, write_csv
from rfcompare.errors import InputError
from rfcompare.fitting.fits import fit
from rfcompare.simulation import simulate_population

Floats = npt.NDArray[np.float64]

PARAMETERS = ("x0", "y0", "orientation", "frequency", "sigma_x", "sigma_y", "phase", "amplitude", "offset")
"""Columns of a table of fits, in the bank's units and degrees, as in `rfcompare.fit`."""

SNR = 5.0
"""Variance of a case's noise-free map over that of its noise."""

MEDIAN, SPREAD = {"nx": 0.32, "ny": 0.32}, {"nx": 0.6, "ny": 0.6, "cycles": 0.5}
"""Shapes from hardly a cycle to many, so that easy maps do not decide."""

NEAR, NOTHING = 1.01, 1e-4
"""A fit succeeds when its residual is within 1 % of the best that any fitter found, plus 1e-4 of the variance."""


@dataclass(frozen=True)
class Case:
    """Maps of one kind and size with their truth."""

    name: str
    bank: xr.Dataset
    truth: xr.Dataset

    @property
    def maps(self) -> Floats:
        """The maps, (unit, y, x)."""
        return np.asarray(self.bank.rf.values[:, 0], dtype=float)


def make_cases(
    sizes: Sequence[int] = (11, 32), *, n: int = 2000, seed: int | np.random.Generator | None = 0
) -> list[Case]:
    """Draw Gabors and, since most fitters stumble there, Gaussian blobs of each size, with white noise.

    Parameters
    ----------
    sizes : sequence of int
        Sides of the maps in pixels.
    n : int
        Maps per case.
    seed : int, numpy.random.Generator or None
        Source of randomness.

    Returns
    -------
    list of Case

    Examples
    --------
    >>> [case.name for case in make_cases((7,), n=3)]
    ['gabor-7px', 'blob-7px']
    """
    rng = np.random.default_rng(seed)
    cases = []
    for size in sizes:
        for name, model in (("gabor", "gabor"), ("blob", "gaussian")):
            bank, truth = simulate_population(
                model, n=n, size=size, snr=math.sqrt(SNR), median=MEDIAN, spread=SPREAD, seed=rng
            )
            cases.append(Case(f"{name}-{size}px", bank, truth))
    return cases


def write_cases(cases: Iterable[Case], folder: Path) -> list[Path]:
    """Write every case as NAME.nc (the bank) and NAME-truth.csv (what it was drawn from).

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    written = []
    for case in cases:
        save(case.bank, folder / f"{case.name}.nc")
        columns = {str(k): v.values for k, v in case.truth.data_vars.items() if v.dims == ("unit",)}
        write_table(folder / f"{case.name}-truth.csv", _rows(case.bank, columns))
        written += [folder / f"{case.name}.nc", folder / f"{case.name}-truth.csv"]
    return written


def _rows(bank: xr.Dataset, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"unit": unit, **{name: values[i] for name, values in columns.items()}}
        for i, unit in enumerate(bank.unit.values.tolist())
    ]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of equal keys as CSV."""
    write_csv(pd.DataFrame(rows), path, digits=None)


# -- the peers: nine parameters, as most people write them


def _pixels(bank: xr.Dataset) -> tuple[Floats, Floats]:
    x, y = np.meshgrid(bank.x.values.astype(float), bank.y.values.astype(float))
    return x.ravel(), y.ravel()


def gabor(pixels: tuple[Floats, Floats], *p: float) -> Floats:
    """A Gabor at the pixels (x, y); p as in `PARAMETERS`, angles in radians."""
    x0, y0, orientation, frequency, sigma_x, sigma_y, phase, amplitude, offset = p
    return amplitude * _parts(pixels, x0, y0, orientation, frequency, sigma_x, sigma_y, phase)[2] + offset


def _parts(pixels: tuple[Floats, Floats], *p: float) -> tuple[Floats, Floats, Floats, Floats]:
    x0, y0, orientation, frequency, sigma_x, sigma_y, phase = p
    dx, dy = pixels[0] - x0, pixels[1] - y0
    cos, sin = math.cos(orientation + math.pi / 2), math.sin(orientation + math.pi / 2)
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    envelope = np.exp(-0.5 * ((u / sigma_x) ** 2 + (v / sigma_y) ** 2))
    angle = 2 * math.pi * frequency * u + phase
    return u, v, envelope * np.cos(angle), envelope * np.sin(angle)


def _jacobian(pixels: tuple[Floats, Floats], p: Floats) -> Floats:
    orientation, frequency, sigma_x, sigma_y, amplitude = p[2], p[3], p[4], p[5], p[7]
    u, v, even, odd = _parts(pixels, *p[:7])
    cos, sin = math.cos(orientation + math.pi / 2), math.sin(orientation + math.pi / 2)
    along = -amplitude * (u / sigma_x**2 * even + 2 * math.pi * frequency * odd)
    across = -amplitude * v / sigma_y**2 * even
    return np.stack(
        [
            sin * across - cos * along,
            -sin * along - cos * across,
            v * along - u * across,
            -2 * math.pi * amplitude * u * odd,
            amplitude * u**2 / sigma_x**3 * even,
            amplitude * v**2 / sigma_y**3 * even,
            -amplitude * odd,
            even,
            np.ones_like(u),
        ],
        1,
    )


def _bounds(bank: xr.Dataset) -> tuple[Floats, Floats]:
    x, y, size = bank.x.values, bank.y.values, max(bank.sizes["x"], bank.sizes["y"])
    low = np.array([x[0] - 0.5, y[0] - 0.5, -np.inf, 0.1 / size, 0.4, 0.4, -np.inf, -np.inf, -np.inf])
    return low, np.array([x[-1] + 0.5, y[-1] + 0.5, np.inf, 0.5, size, size, np.inf, np.inf, np.inf])


def starts(values: Floats, bank: xr.Dataset, count: int) -> list[Floats]:
    """Starts at the energy's centroid: the strongest carriers of the spectrum, a narrow and a wide envelope each."""
    x, y = _pixels(bank)
    energy = (values - np.median(values)) ** 2
    weight = np.where(energy > energy.max() / 4, energy, 0)
    weight = weight / max(weight.sum(), 1e-300)
    x0, y0 = weight @ x, weight @ y
    radius = max(0.7, math.sqrt(weight @ ((x - x0) ** 2 + (y - y0) ** 2) / 2))
    shape, n = (bank.sizes["y"], bank.sizes["x"]), 64
    power = np.abs(np.fft.rfft2((values - values.mean()).reshape(shape), (n, n))) ** 2
    fy, fx = np.meshgrid(np.fft.fftfreq(n), np.fft.rfftfreq(n), indexing="ij")
    power[np.hypot(fx, fy) > 0.5] = 0
    found = []
    for k in range(count):
        if k % 2 == 0:
            peak = np.unravel_index(power.argmax(), power.shape)
            carrier = fx[peak], fy[peak]
            power[np.hypot(fx - carrier[0], fy - carrier[1]) < 1 / max(shape)] = 0
        orientation = math.atan2(carrier[1], carrier[0]) - math.pi / 2
        frequency = float(np.clip(math.hypot(*carrier), 0.5 / max(shape), 0.49))
        sigma = radius * (1.0, 1.8)[k % 2]
        searched = np.array([x0, y0, orientation, frequency, sigma, sigma, 0.0])
        _, _, even, odd = _parts((x, y), *searched)
        a, b, offset = np.linalg.lstsq(np.stack([even, odd, np.ones_like(x)], 1), values, rcond=None)[0]
        found.append(np.array([*searched[:6], math.atan2(-b, a), math.hypot(a, b), offset]))
    return found


def fit_least_squares(bank: xr.Dataset) -> Floats:
    """What a careful user writes: 8 starts, bounds, the analytic Jacobian, the best of them."""
    from scipy.optimize import least_squares

    pixels, (low, high) = _pixels(bank), _bounds(bank)

    def one(values: Floats) -> Floats:
        tried = (
            least_squares(
                lambda p: gabor(pixels, *p) - values,
                np.clip(start, low + 1e-6, high - 1e-6),
                lambda p: _jacobian(pixels, p),
                bounds=(low, high),
                x_scale="jac",
                max_nfev=200,
            )
            for start in starts(values, bank, 8)
        )
        return np.asarray(min(tried, key=lambda result: float(result.cost)).x)

    return np.array([one(values) for values in bank.rf.values.reshape(bank.sizes["unit"], -1)])


def _fit_curve_fit(bank: xr.Dataset) -> Floats:
    """What a hasty user writes: curve_fit from one start."""
    from scipy.optimize import curve_fit

    pixels = _pixels(bank)

    def one(values: Floats) -> Floats:
        start = starts(values, bank, 1)[0]
        try:
            return np.asarray(curve_fit(gabor, pixels, values, start, maxfev=4000)[0])
        except RuntimeError:
            return start

    return np.array([one(values) for values in bank.rf.values.reshape(bank.sizes["unit"], -1)])


def _fit_with(engine: str) -> Callable[[xr.Dataset], Floats]:
    def fitted(bank: xr.Dataset) -> Floats:
        fits = fit(bank, "gabor", seed=0, engine=engine, progress=False)
        values = np.stack([np.asarray(fits[name], float).reshape(bank.sizes["unit"]) for name in PARAMETERS], 1)
        values[:, [2, 6]] = np.deg2rad(values[:, [2, 6]])
        return values

    return fitted


FITTERS: dict[str, Callable[[xr.Dataset], Floats]] = {
    "rfcompare, compiled": _fit_with("compiled"),
    "rfcompare, batched": _fit_with("batched"),
    "SciPy least_squares, 8 starts": fit_least_squares,
    "SciPy curve_fit, 1 start": _fit_curve_fit,
}
"""From a signed bank to (unit, 9) parameters as in `PARAMETERS`, angles in radians."""

_CAREFUL = "SciPy least_squares, 8 starts"


# -- judging


def residuals(bank: xr.Dataset, parameters: Floats) -> Floats:
    """Residual sum of squares per unit, rendered here; infinite where a parameter is out of bounds or not a number."""
    pixels, (low, high) = _pixels(bank), _bounds(bank)
    values = bank.rf.values.reshape(bank.sizes["unit"], -1)
    squares = np.array([((gabor(pixels, *p) - z) ** 2).sum() for p, z in zip(parameters, values, strict=True)])
    inside = ((parameters >= low - 1e-6) & (parameters <= high + 1e-6)).all(1)
    return np.where(inside & np.isfinite(squares), squares, np.inf)


def _succeeded(bank: xr.Dataset, squares: Floats, best: Floats) -> npt.NDArray[np.bool_]:
    values = bank.rf.values.reshape(bank.sizes["unit"], -1)
    return np.asarray(squares <= NEAR * best + NOTHING * values.var(1) * values.shape[1])


def run_benchmark(
    cases: Sequence[Case], *, n_peer: int = 50, fitters: Mapping[str, Callable[[xr.Dataset], Floats]] | None = None
) -> list[dict[str, Any]]:
    """Time every fitter on every case and judge what it found.

    Parameters
    ----------
    cases : sequence of Case
    n_peer : int
        Maps per case for the fitters that take one map at a time; all succeed or fail on these.
    fitters : mapping, optional
        From a name to a function from a signed bank to (unit, 9) parameters (see `PARAMETERS`, angles in radians);
        the fitters of rfcompare take all maps, others the first `n_peer`.

    Returns
    -------
    list of dict
        Per case and fitter: ``case``, ``fitter``, ``n``, ``us_per_map``, ``times_faster`` than the careful SciPy user
        (NaN without one), and ``success``, the share of the first `n_peer` maps within 1 % of the best residual.
    """
    fitters = FITTERS if fitters is None else fitters
    rows: list[dict[str, Any]] = []
    for case in cases:
        peer = case.bank.isel(unit=slice(0, n_peer))
        found, seconds = {}, {}
        for name, function in fitters.items():
            bank = case.bank if name.startswith("rfcompare") else peer
            function(bank if name.startswith("rfcompare") else peer.isel(unit=slice(0, 1)))  # what loads, loads here
            begin = time.perf_counter()
            parameters = function(bank)
            seconds[name] = (time.perf_counter() - begin) / bank.sizes["unit"]
            found[name] = residuals(peer, parameters[: peer.sizes["unit"]])
        best = np.min(list(found.values()), axis=0)
        for name, squares in found.items():
            rows.append(
                {
                    "case": case.name,
                    "fitter": name,
                    "n": case.bank.sizes["unit"] if name.startswith("rfcompare") else peer.sizes["unit"],
                    "us_per_map": round(1e6 * seconds[name], 1),
                    "times_faster": round(seconds.get(_CAREFUL, math.nan) / seconds[name], 1),
                    "success": round(float(_succeeded(peer, squares, best).mean()), 4),
                }
            )
    return rows


def score(bank: xr.Dataset, table: Path) -> dict[str, float]:
    """Judge a table of fits that somebody else's fitter made of a case.

    Parameters
    ----------
    bank : xarray.Dataset
        The case's maps.
    table : path
        CSV file with a column ``unit`` and those of `PARAMETERS`, angles in degrees.

    Returns
    -------
    dict
        ``n`` maps; ``success``, the share within 1 % of the better of this fit and rfcompare's; ``better`` and
        ``worse``, the shares more than 1 % better and worse than rfcompare's.

    Raises
    ------
    InputError
        If a unit or a column is missing or a value is not a number.
    """
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = {row["unit"]: row for row in csv.DictReader(file)}
        theirs = np.array([[float(rows[unit][name]) for name in PARAMETERS] for unit in bank.unit.values.tolist()])
    except OSError as error:
        raise InputError(f"expected a table of fits, got {table} ({error.strerror}); name a CSV file") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"expected one row per unit with the columns unit, {', '.join(PARAMETERS)}, got a table where {error} is "
            "missing or not a number; complete it"
        ) from None
    theirs[:, [2, 6]] = np.deg2rad(theirs[:, [2, 6]])
    squares, ours = residuals(bank, theirs), residuals(bank, _fit_with("auto")(bank))
    best = np.minimum(squares, ours)
    return {
        "n": float(len(best)),
        "success": float(_succeeded(bank, squares, best).mean()),
        "better": float((ours > NEAR * squares).mean()),
        "worse": float((squares > NEAR * ours).mean()),
    }
