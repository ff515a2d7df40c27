"""`measure_tuning`: a layer's central units tuned to gratings, as cells are tuned with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.interpolate import RectBivariateSpline

from rfcompare.bank import Array, check
from rfcompare.errors import InputError, named_strictly
from rfcompare.recording.fields import field_of
from rfcompare.recording.sessions import answers_of, chosen_of, is_positive, network_of
from rfcompare.recording.stimuli import Stimulus
from rfcompare.sources.population import AnyPopulation

N_ORIENTATIONS, N_PHASES, PER_OCTAVE, N_SIZES = 24, 8, 4, 8
"""Of the gratings shown: 7.5° apart, eight to a cycle, a quarter of an octave apart, eight diameters."""

FINE_ORIENTATIONS, FINE_PER_OCTAVE = 720, 80
"""Between the gratings shown a spline is read this finely."""


@named_strictly
def measure_tuning(
    model: AnyPopulation,
    layer: str | None = None,
    *,
    kind: str | None = None,
    n_units: int | None = None,
    unit: Sequence[int] | None = None,
    canvas: int | tuple[int, int] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Tune a layer's central units with gratings of every orientation, frequency and phase, then of every size.

    A unit's response to a grating is the amplitude F1 of its modulation over the phases or its mean F0 above the
    response to a blank, whichever is larger at its best grating (Skottun et al. 1991,
    doi:10.1016/0042-6989(91)90033-2).

    Parameters
    ----------
    model, layer, kind, n_units, unit, canvas, seed, progress
        As for `rfcompare.record`.

    Returns
    -------
    xarray.Dataset
        ``f0`` and ``f1`` (unit, orientation, frequency), orientation that of the stripes in degrees, frequency in
        cycles per pixel; ``size_response(unit, size)`` at the best grating through discs of a diameter in pixels; and
        per unit ``preferred_orientation``, ``preferred_frequency``, ``circular_variance`` (Ringach et al. 2002,
        doi:10.1523/JNEUROSCI.22-13-05639.2002), ``orientation_half_width`` (degrees, half of the full width at half
        height), ``bandwidth_octaves`` (full width at half height), ``orthogonal_ratio`` (response at the orthogonal
        orientation over the best), ``f1_f0``, ``preferred_size`` and ``suppression_index`` (1 − response to the
        largest disc over the best). NaN where a curve does not fall to half, or a unit answers nothing; ``f1_f0`` is
        infinite without a mean response.

    Raises
    ------
    InputError
        As `rfcompare.record`.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> y, x = np.mgrid[-7:8, -7:8]
    >>> vertical = np.exp(-(x**2 + y**2) / 18) * np.cos(2 * np.pi * 0.2 * x)
    >>> tuned = rfc.recording.measure_tuning(vertical[None, None], kind="analytic", progress=False)
    >>> round(float(tuned.preferred_orientation[0])), round(float(tuned.preferred_frequency[0]), 2)
    (90, 0.2)
    """
    network, layer = network_of(model, layer, kind)
    training = network.training
    network.eval()
    try:
        field = field_of(network, layer, canvas=canvas)
        size = field.size
        orientation = np.arange(N_ORIENTATIONS) * 180 / N_ORIENTATIONS
        octaves = np.log2(max(size))  # from half a cycle in the field to the finest grating there is
        frequency = 0.5 * 2.0 ** -np.arange(octaves, -1e-9, -1 / PER_OCTAVE)
        frames = _gratings(size, orientation[:, None], frequency[None])
        n_shown = len(frames)
        frames = np.concatenate([frames, np.zeros((1, *size), np.float32)])
        answers = answers_of(network, layer, Stimulus("gratings", frames), field, progress)
        chosen = chosen_of(answers.shape[1], n_units, unit, seed)
        blank = answers[-1, chosen]
        f0, f1 = _harmonics(answers[:n_shown, chosen].reshape(len(orientation), len(frequency), N_PHASES, -1), blank)
        found = [_curves(f0[row], f1[row], orientation, frequency) for row in range(len(chosen))]
        numbers = {name: np.array([each[name] for each in found]) for name in found[0]}
        discs = np.linspace(0, max(size), N_SIZES + 1)[1:]
        best = (np.nan_to_num(numbers[f"preferred_{name}"])[:, None] for name in ("orientation", "frequency"))
        frames = _gratings(size, *best, diameter=discs[None])
        answers = answers_of(network, layer, Stimulus("gratings", frames), field, progress)[:, chosen]
    finally:
        network.train(training)
    own = answers.reshape(len(chosen), N_SIZES, N_PHASES, len(chosen))
    own = np.stack([own[row, :, :, row] for row in range(len(chosen))], axis=-1)
    means, waves = _harmonics(own[None], blank)
    curve = np.where((numbers["f1_f0"] > 1)[:, None], waves[:, 0], means[:, 0])
    top = curve.max(axis=1)
    numbers["preferred_size"] = np.where(top > 0, discs[curve.argmax(axis=1)], np.nan)
    numbers["suppression_index"] = 1 - np.divide(curve[:, -1], top, out=np.full_like(top, np.nan), where=top > 0)
    return xr.Dataset(
        {
            "f0": (("unit", "orientation", "frequency"), f0),
            "f1": (("unit", "orientation", "frequency"), f1),
            "size_response": (("unit", "size"), curve),
            **{name: ("unit", values) for name, values in numbers.items()},
        },
        coords={
            "unit": [f"{layer}:{at}" if layer else network.units[at] for at in chosen],
            "orientation": orientation,
            "frequency": frequency,
            "size": discs,
        },
        attrs={
            "kind": "in-silico",
            "network": model if isinstance(model, str) else type(network).__name__ if layer else "maps",
            "layer": layer,
            "units": "px",
        },
    )


def tuning_descriptors(tuned: xr.Dataset, *, deg_per_px: float | None = None) -> xr.Dataset:
    """What gratings say of a network's units, named as published distributions name it.

    Parameters
    ----------
    tuned : xarray.Dataset
        From `measure_tuning`.
    deg_per_px : float, optional
        Degrees that a pixel of the network's image stands for: without it frequency stays in cycles per pixel, and
        there is no summation field.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-descriptors/1``, for `rfcompare.comparison.compare_published` with its `published_tuning`:
        ``orientation``, ``peak_frequency``, ``cutoff_ratio`` (low over high cutoff at half height, percent),
        ``suppression_index`` and ``summation_field_deg``.

    Raises
    ------
    InputError
        A scale that is no positive number.

    Examples
    --------
    >>> y, x = np.mgrid[-7:8, -7:8]
    >>> vertical = np.exp(-(x**2 + y**2) / 18) * np.cos(2 * np.pi * 0.2 * x)
    >>> tuned = measure_tuning(vertical[None, None], kind="analytic", progress=False)
    >>> round(float(tuning_descriptors(tuned, deg_per_px=0.1).peak_frequency[0]))  # 0.2 cycles per pixel of 0.1°
    2
    """
    if deg_per_px is not None and not is_positive(deg_per_px):
        raise InputError(f"expected deg_per_px to be positive, got {deg_per_px!r}; give degrees per pixel")
    size = 1.0 if deg_per_px is None else float(deg_per_px)
    numbers = {
        "orientation": tuned.preferred_orientation.values,
        "peak_frequency": tuned.preferred_frequency.values / size,
        "cutoff_ratio": 100 * 2.0**-tuned.bandwidth_octaves.values,
        "suppression_index": tuned.suppression_index.values,
    }
    if deg_per_px is not None:
        numbers["summation_field_deg"] = tuned.preferred_size.values * size
    n = tuned.sizes["unit"]
    text = {name: ("unit", np.full(n, str(tuned.attrs["network"]), dtype=object)) for name in ("subject", "source")}
    attrs = {"schema": "rfcompare-descriptors/1", "kind": tuned.attrs["kind"]}
    return check(
        xr.Dataset(
            {name: ("unit", values) for name, values in numbers.items()},
            coords={"unit": tuned.unit.values.astype(object), **text},
            attrs={**attrs, "units": "px" if deg_per_px is None else "degree"},
        )
    )


def _gratings(size: tuple[int, int], orientation: Any, frequency: Any, *, diameter: Any = np.inf) -> Any:
    """Gratings (grating, y, x) of every phase, row 0 lowest, of parameters that broadcast; the phase runs fastest.

    Their wave is that of `rfcompare.models`' Gabor; a pixel's share of a disc falls over its border's pixel.
    """
    height, width = size
    angle, cycles, across = (a.ravel() for a in np.broadcast_arrays(np.deg2rad(orientation + 90), frequency, diameter))
    x, y = np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2
    u = x * np.cos(angle)[:, None, None] + y[:, None] * np.sin(angle)[:, None, None]
    phase = 2 * np.pi * np.arange(N_PHASES)[:, None, None] / N_PHASES
    disc = (across[:, None, None] / 2 - np.hypot(x, y[:, None]) + 0.5).clip(0, 1)
    waves = disc[:, None] * np.cos(2 * np.pi * cycles[:, None, None, None] * u[:, None] + phase)
    return waves.reshape(-1, height, width).astype(np.float32)


def _harmonics(answers: Array, blank: Array) -> tuple[Array, Array]:
    """F0 above the blank and F1, (unit, …), of answers (…, phase, unit)."""
    turned = np.exp(-2j * np.pi * np.arange(N_PHASES) / N_PHASES)
    wave = 2 / N_PHASES * np.abs(np.einsum("...pu,p->...u", answers, turned))
    return np.moveaxis(answers.mean(axis=-2) - blank, -1, 0), np.moveaxis(wave, -1, 0)


def _curves(f0: Array, f1: Array, orientation: Array, frequency: Array) -> dict[str, float]:
    """What a unit's responses (orientation, frequency) say of its tuning."""
    modulated = f1.max() >= f0.max()
    responses = f1 if modulated else f0
    names = ("preferred_orientation", "preferred_frequency", "circular_variance", "orientation_half_width")
    if not responses.max() > 1e-9 * np.abs(responses).max() or np.ptp(responses) == 0:
        return dict.fromkeys((*names, "bandwidth_octaves", "orthogonal_ratio", "f1_f0"), np.nan)
    n, octave = len(orientation), np.log2(frequency)
    around = np.arange(-n // 2, n + n // 2)
    turn = 180 / FINE_ORIENTATIONS * np.arange(FINE_ORIENTATIONS)
    fine = np.linspace(octave[0], octave[-1], round((octave[-1] - octave[0]) * FINE_PER_OCTAVE) + 1)

    def surface(values: Array) -> Array:
        spline = RectBivariateSpline(around * 180 / n, octave, values[around % n], kx=3, ky=min(3, len(octave) - 1))
        return np.asarray(spline(turn, fine))

    seen = surface(responses)
    row, column = np.unravel_index(seen.argmax(), seen.shape)
    tuned, half = np.roll(seen[:, column], FINE_ORIENTATIONS // 2 - row), seen[row, column] / 2
    at_best = {name: float(surface(values)[row, column]) for name, values in (("f0", f0), ("f1", f1))}
    curve = seen[:, column].clip(0)
    below, above = _crossings(seen[row], int(column), half)
    left, right = _crossings(tuned, FINE_ORIENTATIONS // 2, half)
    return {
        "preferred_orientation": float(turn[row]),
        "preferred_frequency": float(2 ** fine[column]),
        "circular_variance": float(1 - np.abs((curve * np.exp(2j * np.deg2rad(turn))).sum()) / curve.sum()),
        "orientation_half_width": (left + right) / 2 * 180 / FINE_ORIENTATIONS,
        "bandwidth_octaves": (below + above) * (fine[1] - fine[0]),
        "orthogonal_ratio": float(tuned[0] / seen[row, column]),
        "f1_f0": at_best["f1"] / at_best["f0"] if at_best["f0"] > 1e-6 * at_best["f1"] else np.inf,
    }


def _crossings(curve: Array, peak: int, half: float) -> tuple[float, float]:
    """Steps from a peak to where the curve has fallen to half on either side; NaN where it never does."""

    def steps(side: Array) -> float:
        low = np.flatnonzero(side < half)
        if not low.size:
            return np.nan
        at = int(low[0])
        return float(at - (half - side[at]) / (side[at - 1] - side[at]))

    return steps(curve[peak::-1]), steps(curve[peak:])
