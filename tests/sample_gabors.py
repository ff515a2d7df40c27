"""Maps with known truth for the tests of the fitter."""

import numpy as np
import numpy.typing as npt
import xarray as xr

import rfcompare as rfc
from rfcompare.models import MODELS, map_of

Floats = npt.NDArray[np.float64]


def gabor_bank(maps: Floats, **attrs: object) -> xr.Dataset:
    return rfc.make_bank(maps[:, None], channel=("signed",), kind="simulated", **attrs)  # type: ignore[arg-type]


def draw_gabors(size: int, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Searched parameters (n, 6) and amplitudes (n, 1, 3) of Gabors of unit variance that lie within the map."""
    f = np.exp(rng.uniform(np.log(0.8 / size), np.log(0.38), 20 * n))
    nx = np.exp(rng.uniform(np.log(0.1), 0.0, 20 * n))
    ny = np.clip(nx * np.exp(rng.normal(0, 0.35, 20 * n)), 0.1, 1.0)
    sx, sy = nx / f, ny / f
    fits_in = (np.minimum(sx, sy) > 0.6) & (np.maximum(sx, sy) < 0.35 * size)
    keep = np.flatnonzero(fits_in)[:n]
    assert len(keep) == n
    center = rng.uniform(-0.12 * size, 0.12 * size, (2, n))
    p = np.stack([*center, rng.uniform(0, np.pi, n), f[keep], np.log(sx[keep]), np.log(sy[keep])], axis=1)
    phase = rng.uniform(0, 2 * np.pi, n)
    linear = np.stack([np.cos(phase), -np.sin(phase), rng.normal(0, 0.1, n)], axis=1)[:, None]
    spread = map_of(MODELS["gabor"], p, linear, *axes(size)).std(axis=(1, 2, 3))
    return MODELS["gabor"].canonical(p, linear / spread[:, None, None])


def axes(size: int) -> tuple[Floats, Floats]:
    grid = np.arange(size) - (size - 1) / 2
    return grid, grid


def gabor_map(size: tuple[int, int] = (21, 21), **parameters: float) -> Floats:
    """One Gabor written out from the design's formula, rows ascending in y."""
    p = {"x0": 0.0, "y0": 0.0, "orientation": 90.0, "frequency": 0.15, "sigma_x": 2.5, "sigma_y": 3.0} | {
        "phase": 30.0, "amplitude": 1.0, "offset": 0.0, **parameters,
    }  # fmt: skip
    y, x = (np.arange(n) - (n - 1) / 2 for n in size)
    dx, dy = x[None] - p["x0"], y[:, None] - p["y0"]
    carrier = np.radians(p["orientation"] + 90)
    u, v = np.cos(carrier) * dx + np.sin(carrier) * dy, np.cos(carrier) * dy - np.sin(carrier) * dx
    envelope = np.exp(-(u**2) / (2 * p["sigma_x"] ** 2) - v**2 / (2 * p["sigma_y"] ** 2))
    return p["amplitude"] * envelope * np.cos(2 * np.pi * p["frequency"] * u + np.radians(p["phase"])) + p["offset"]


def fit_one(values: Floats, model: str = "gabor") -> dict[str, float]:
    fits = rfc.fit(gabor_bank(values[None]), model, seed=0)
    assert fits["status"].item() is not None
    return {
        str(name): float(fits[name].squeeze()) for name in fits.data_vars if fits[name].size == 1 and name != "status"
    }


def draw_maps(name: str, size: int, n: int, rng: np.random.Generator) -> Floats:
    """Noiseless maps (n, size, size) of unit variance from one model, as large as fields are in their maps."""

    def between(low: float, high: float) -> Floats:
        return np.exp(rng.uniform(np.log(low), np.log(high), n))

    x0, y0 = rng.uniform(-0.12 * size, 0.12 * size, (2, n))
    theta, sign, s = rng.uniform(0, np.pi, n), rng.choice([-1.0, 1.0], n), between(0.09 * size, 0.18 * size)
    if name == "constant":
        return np.zeros((n, size, size))
    if name == "gaussian_isotropic":
        p, linear = [x0, y0, np.log(s)], [sign]
    elif name == "gaussian":
        p, linear = [x0, y0, theta, np.log(s), np.log(np.minimum(s * between(1.3, 2.5), 0.3 * size))], [sign]
    elif name == "dog":
        ratio = between(1.4, 2.2)
        p = [x0, y0, np.log(0.8 * s), np.log(0.8 * s * ratio)]
        linear = [sign, -sign * rng.uniform(0.4, 1, n) / ratio**2]
    elif name.startswith("derivative"):
        p, linear = [x0, y0, theta, np.log(s), np.log(s * between(0.7, 1.6))], [sign]
    elif name == "gaussian_pair":
        y_size, distance, ratio = s * between(0.8, 2.0), s * between(1.6, 3.2), between(0.6, 1.6)
        p = [x0, y0, theta, np.log(s), np.log(y_size), np.log(distance), np.log(ratio)]
        linear = [sign, -sign * between(0.3, 1.0)]
    else:
        f, nx = between(1.2 / size, 0.35), between(0.25, 1.0)
        ny = np.clip(nx * np.exp(rng.normal(0, 0.35, n)), 0.15, 1.0)
        phase = rng.uniform(0, 2 * np.pi, n)
        widths = [np.log(np.clip(cycles / f, 0.7, 0.35 * size)) for cycles in (nx, ny)]
        p, linear = [x0, y0, theta, f, *widths], [np.cos(phase), -np.sin(phase)]
    amplitudes = np.stack([*linear, np.zeros(n)], axis=1)[:, None]
    maps = map_of(MODELS[name], np.stack(p, axis=1), amplitudes, *axes(size))[:, 0]
    return maps / maps.std(axis=(1, 2), keepdims=True)
