"""Parametric populations with known truth: Gabors, center–surround fields, derivatives, with subjects and noise.

Tests and calibrations of fits, statistics and intervals draw from here. Shape is drawn on dimensionless logarithms
(nx, ny and cycles across the map), so that one population can be rendered on any grid; subjects share part of each
draw, with a given intraclass correlation (the share of a quantity's variance that lies between subjects).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from rfcompare.bank import Array, make_bank, make_rng
from rfcompare.errors import InputError
from rfcompare.models import MODELS, map_of

_MEDIAN: Mapping[str, float] = {"nx": 0.35, "ny": 0.45, "cycles": 3.0, "polarity_phase": 90.0}
"""Typical shape: nx, ny near simple cells' (Ringach 2002), and carrier cycles across the map."""

_SPREAD: Mapping[str, float] = {"nx": 0.35, "ny": 0.35, "cycles": 0.25, "polarity_phase": 1.0}
"""SD of the natural logarithm; for the phase, 1 is uniform over [0°, 180°] and 0 is the median everywhere."""

_SURROUND_RATIO = 2.0
"""SD of a center–surround field's surround over its center's."""


def simulate_population(
    model: str = "gabor",
    *,
    n: int = 100,
    n_subjects: int = 1,
    icc: float = 0.0,
    size: int = 16,
    snr: float = math.inf,
    halves: bool = False,
    deg_per_px: float | None = None,
    median: Mapping[str, float] | None = None,
    spread: Mapping[str, float] | None = None,
    seed: int | np.random.Generator | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Draw a signed bank of one kind of field with the parameters it was made from.

    Parameters
    ----------
    model : str
        ``"gabor"``, ``"dog"``, ``"gaussian"`` or ``"derivative1"`` to ``"derivative4"`` (see `rfcompare.models`).
    n : int
        Units, dealt to subjects in turn.
    n_subjects : int
        Subjects.
    icc : float
        Intraclass correlation of every drawn quantity's logarithm (of the phase's normal score), 0 to 1.
    size : int
        Side of a map in pixels.
    snr : float
        RMS of the noise-free map about its mean over the SD of a pixel's (white, Gaussian) noise; infinite for none.
        r² of the true model is then about snr²/(1 + snr²).
    halves : bool
        Whether to add two maps with independent noise whose mean is the map.
    deg_per_px : float, optional
        Puts the bank in degrees.
    median, spread : mapping, optional
        Entries of `_MEDIAN` and `_SPREAD` to change.
    seed : int, numpy.random.Generator or None
        Source of randomness; None draws a seed and records it.

    Returns
    -------
    bank : xarray.Dataset
        rfcompare-bank of kind "simulated" with channel ``signed``.
    truth : xarray.Dataset
        Per unit, in the bank's units and the names of the fits: ``x0``, ``y0``, and by model ``orientation``,
        ``frequency``, ``sigma_x``, ``sigma_y``, ``phase``, ``amplitude``; ``nx``, ``ny``; the noise-free ``signal``.

    Raises
    ------
    InputError
        If the model or a number is not one of those described.

    Examples
    --------
    >>> bank, truth = simulate_population("gabor", n=6, n_subjects=2, icc=0.5, snr=5, seed=0)
    >>> bank.rf.shape, sorted(set(bank.subject.values.tolist()))
    ((6, 1, 16, 16), ['s1', 's2'])
    >>> bool(((truth.phase >= 0) & (truth.phase <= 180)).all())
    True
    """
    middle, width = {**_MEDIAN, **(median or {})}, {**_SPREAD, **(spread or {})}
    sizes = {"n": n, "n_subjects": n_subjects, "size": size}
    _check_options(model, sizes, {"icc": icc, "snr": snr, "deg_per_px": deg_per_px or 1.0}, middle, width)
    rng, recorded = make_rng(seed)
    subject = np.arange(n) % n_subjects

    def score() -> Array:
        own, shared = rng.standard_normal(n), rng.standard_normal(n_subjects)
        return np.asarray(math.sqrt(icc) * shared[subject] + math.sqrt(1 - icc) * own)

    nx, ny, cycles = (middle[name] * np.exp(width[name] * score()) for name in ("nx", "ny", "cycles"))
    # The polarity phase is uniform where its spread is 1, and shrinks toward the median as the spread does.
    rank = special.ndtr(score())
    target = middle["polarity_phase"]
    phase = np.clip(target + width["polarity_phase"] * (180.0 * rank - target), 0.0, 180.0)
    frequency = np.clip(cycles / size, 0.5 / size, 0.4)
    sigma_x, sigma_y = (np.clip(value / frequency, 0.6, size / 3) for value in (nx, ny))
    orientation = rng.uniform(0, 180, n)
    x0, y0 = rng.uniform(-0.1, 0.1, (2, n)) * size
    axis = np.arange(size) - (size - 1) / 2
    p, linear, truth_columns, amplitudes = _parameters(model, x0, y0, orientation, frequency, sigma_x, sigma_y, phase)
    signal = np.asarray(map_of(MODELS[model], p, linear, axis, axis))[:, 0]
    # Unit variance over the map makes the signal-to-noise ratio mean the same for every shape.
    scale = 1 / np.maximum(signal.std(axis=(1, 2)), 1e-12)
    signal = signal * scale[:, None, None]
    noise = rng.standard_normal((2, n, size, size)) * (math.sqrt(2) / snr if math.isfinite(snr) else 0.0)
    half = signal + noise
    bank = make_bank(
        half.mean(axis=0)[:, None],
        channel=("signed",),
        kind="simulated",
        deg_per_px=deg_per_px,
        unit=[f"{model}{i:04d}" for i in range(n)],
        subject=[f"s{i + 1}" for i in subject],
        source="simulated population",
        half=half[:, :, None] if halves else None,
        noise_sd=np.full(n, 1 / snr) if math.isfinite(snr) else None,
        attrs={
            "citation": "rfcompare.simulation.simulate_population",
            "history": f"simulate_population({model!r}, n={n}, icc={icc}, snr={snr}, seed={recorded})",
        },
    )
    unit = deg_per_px or 1.0
    lengths = {"x0", "y0", "sigma_x", "sigma_y", "sigma_center", "sigma_surround"}
    columns: dict[str, Any] = {
        name: ("unit", values * (unit if name in lengths else 1 / unit if name == "frequency" else 1.0))
        for name, values in truth_columns.items()
    }
    columns |= {name: ("unit", scale * values) for name, values in amplitudes.items()}
    truth = xr.Dataset(
        {**columns, "signal": (("unit", "y", "x"), signal)},
        coords={name: bank[name] for name in ("unit", "subject", "x", "y")},
        attrs={
            "kind": "simulated",
            "units": bank.attrs["units"],
            "model": model,
            "icc": float(icc),
            "median": json.dumps(middle),
            "spread": json.dumps(width),
            "seed": recorded,
        },
    )
    return bank, truth


def _check_options(
    model: str,
    sizes: Mapping[str, Any],
    numbers: Mapping[str, Any],
    middle: Mapping[str, Any],
    width: Mapping[str, Any],
) -> None:
    """Refuse what `simulate_population` cannot draw."""
    choices = [name for name in MODELS if name in ("gabor", "dog", "gaussian") or name.startswith("deriv")]
    if model not in choices:
        raise InputError(f"expected a model out of {', '.join(choices)}, got {model!r}; choose one of them")
    for kind, words, values in (
        (Integral, "a whole number", sizes),
        (Real, "a number", {**numbers, **middle}),
        (Real, "a number", width),
    ):
        for name, value in values.items():
            if not isinstance(value, kind):
                raise InputError(f"expected {name} to be {words}, got {value!r}; change it")
    n, n_subjects, size = sizes.values()
    if n < 1 or n_subjects < 1 or n_subjects > n or size < 4:
        raise InputError(
            f"expected at least 1 unit per subject and 4 pixels, got {n} units, {n_subjects} subjects and {size} px; "
            "change them"
        )
    icc, snr = numbers["icc"], numbers["snr"]
    if not 0 <= icc <= 1 or not snr > 0:
        raise InputError(f"expected icc in [0, 1] and snr above 0, got icc={icc}, snr={snr}; change them")
    unknown = sorted({*middle, *width} - set(_MEDIAN))
    if unknown:
        raise InputError(f"expected quantities out of {', '.join(_MEDIAN)}, got {', '.join(unknown)}; rename them")
    if not all(0 < value < math.inf for value in middle.values()) or not all(0 <= x < math.inf for x in width.values()):
        raise InputError(f"expected medians above 0 and spreads of at least 0, got {middle} and {width}; change them")


def _parameters(
    model: str, x0: Array, y0: Array, orientation: Array, frequency: Array, sigma_x: Array, sigma_y: Array, phase: Array
) -> tuple[Array, Array, dict[str, Array], dict[str, Array]]:
    """The model's own parameters (pixels, radians, log lengths) and amplitudes, and what is published of each."""
    n = len(x0)
    theta = np.deg2rad(orientation + 90.0)
    sign = np.where(phase <= 90, 1.0, -1.0)
    zero = np.zeros(n)
    if model == "dog":
        p = np.stack([x0, y0, np.log(sigma_x), np.log(_SURROUND_RATIO * sigma_x)], axis=1)
        # Volumes in balance but for a third: a center with a visible surround.
        linear = np.stack([sign, -sign * 0.67 / _SURROUND_RATIO**2, zero], axis=1)
        published = {"x0": x0, "y0": y0, "sigma_center": sigma_x, "sigma_surround": 2 * sigma_x}
        amplitudes = {"amplitude_center": linear[:, 0], "amplitude_surround": linear[:, 1]}
        return p, linear[:, None], published, amplitudes
    published = {"x0": x0, "y0": y0, "orientation": orientation, "sigma_x": sigma_x, "sigma_y": sigma_y}
    if model == "gabor":
        p = np.stack([x0, y0, theta, frequency, np.log(sigma_x), np.log(sigma_y)], axis=1)
        angle = np.deg2rad(phase)
        linear = np.stack([np.cos(angle), -np.sin(angle), zero], axis=1)
        cycles = {"nx": sigma_x * frequency, "ny": sigma_y * frequency}
        published |= {"frequency": frequency, "phase": phase, **cycles}
        return p, linear[:, None], published, {"amplitude": np.ones(n)}
    p = np.stack([x0, y0, theta, np.log(sigma_x), np.log(sigma_y)], axis=1)
    return p, np.stack([sign, zero], axis=1)[:, None], published, {"amplitude": sign}
