"""ON and OFF subfields of single cells: where they are, how large, how far apart, and which one dominates.

The noise model is stated because every area depends on it: a map is its channel's baseline (median) plus signal plus
Gaussian noise whose SD is the bank's ``noise_sd``, or, where the bank has none, 1.4826 times the median absolute
deviation of the map's own pixels (which a field covering less than half the map hardly moves). A pixel belongs to a
subfield where it exceeds the baseline by the Šidák threshold: noise alone would put *any* pixel of the map above it
with probability at most `alpha`, whatever positive correlation the noise has.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage, stats

from rfcompare.bank import Array, inherit, pitch, to_signed
from rfcompare.errors import InputError

_MAD_TO_SD = 1.4826
"""SD of a normal distribution over its median absolute deviation."""


def _signs(bank: xr.Dataset) -> tuple[Array, Array, bool]:
    """ON and OFF maps (unit, 2, y, x) above baseline, the noise SD (unit, 2), and whether they were recorded apart.

    A bank of signed maps has no separate ON and OFF maps: its positive and negative parts stand for them, and cannot
    overlap.
    """
    channel = tuple(str(name) for name in bank.channel.values)
    apart = channel == ("on", "off")
    if not apart:
        bank = to_signed(bank)
    maps = np.asarray(bank.rf.values, dtype=np.float64)
    finite = np.isfinite(maps)
    maps = np.where(finite, maps, np.nan)
    blank = ~finite.any(axis=(2, 3), keepdims=True)
    baseline = np.nanmedian(np.where(blank, 0.0, maps), axis=(2, 3), keepdims=True)
    maps = np.nan_to_num(maps - baseline)
    if "noise_sd" in bank:
        sd = np.repeat(np.asarray(bank.noise_sd.values, dtype=np.float64)[:, None], maps.shape[1], axis=1)
    else:
        sd = _MAD_TO_SD * np.median(np.abs(maps), axis=(2, 3))
    if not apart:
        maps = np.concatenate([maps, -maps], axis=1)
        sd = np.repeat(sd, 2, axis=1)
    return maps, sd, apart


def _element_size(bank: xr.Dataset) -> float:
    """Side of the stimulus's element in the bank's units; NaN where the bank does not say.

    Examples
    --------
    >>> _element_size(xr.Dataset(attrs={"stimulus": '{"element_deg": 2.0}', "units": "degree"}))
    2.0
    """
    try:
        described = json.loads(str(bank.attrs.get("stimulus", "{}")))
    except json.JSONDecodeError:
        return float("nan")
    if not isinstance(described, dict) or bank.attrs.get("units") != "degree":
        return float("nan")
    size = described.get("element_deg", float("nan"))
    return float(size) if isinstance(size, int | float) else float("nan")


def subfields(bank: xr.Dataset, *, alpha: float = 0.01) -> xr.Dataset:
    """Find every cell's ON and OFF subfield.

    Parameters
    ----------
    bank : xarray.Dataset
        A bank; with channels other than on, off the parts of the signed map are used.
    alpha : float
        Probability that noise alone puts any pixel of one map above the threshold.

    Returns
    -------
    xarray.Dataset
        Dim unit, in the bank's units. For each sign: ``on_x``, ``on_y`` (center of mass over the region of largest
        integrated response), ``on_area``, ``on_width`` (diameter of the disc of that area), ``on_regions`` (number of
        contiguous regions), ``on_strength`` (integrated response), ``on_snr`` (peak over noise SD). Of both:
        ``field_x``, ``field_y`` (center of mass of both regions), ``overlap`` (area shared over area covered; NaN for
        signed maps, which cannot overlap), ``separation``, ``separation_relative`` (over the mean width),
        ``segregation_index`` ((separation − mean width)/(separation + mean width): above 0 a gap, −1 concentric),
        ``axis`` (direction of the line through both centers, [0°, 180°)), ``displacement`` (direction from OFF to ON,
        [−180°, 180°)), ``dominance`` ((ON − OFF)/(ON + OFF) strength), ``status``.

    Raises
    ------
    InputError
        If alpha is not a probability.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> bank, truth = rfc.simulate_treeshrew(n_cells=3, seed=0)
    >>> found = subfields(bank)
    >>> bool(abs(found.off_x - truth.off_x).max() < 0.5)
    True
    """
    if not 0 < alpha < 1:
        raise InputError(f"expected alpha between 0 and 1, got {alpha}; give the rate of false subfields, such as 0.01")
    maps, sd, apart = _signs(bank)
    n, _, height, width = maps.shape
    dx, dy = pitch(bank)
    threshold = stats.norm.isf(-np.expm1(np.log1p(-alpha) / (height * width)))
    # One labeling of the whole stack: the structuring element joins neighbors within a map only.
    within = np.zeros((3, 3, 3), dtype=bool)
    within[1] = ndimage.generate_binary_structure(2, 1)
    flat = maps.reshape(2 * n, height, width)
    over = flat > threshold * sd.reshape(-1, 1, 1)
    label, count = ndimage.label(over, structure=within)
    index = np.arange(1, count + 1)
    strength = np.asarray(ndimage.sum_labels(flat, label, index))
    area = np.bincount(label.ravel(), minlength=count + 1)[1:]
    center = np.asarray(ndimage.center_of_mass(np.where(over, flat, 0.0), label, index)).reshape(-1, 3)
    owner = np.rint(center[:, 0]).astype(int)
    regions = np.bincount(owner, minlength=2 * n).reshape(n, 2)
    best = np.full(2 * n, -1)
    order = np.argsort(strength, kind="stable")
    best[owner[order]] = order  # the last one written is the strongest
    has = (best >= 0).reshape(n, 2)

    def of_best(values: NDArray[Any], missing: float) -> Array:
        padded = np.append(np.asarray(values, dtype=np.float64), missing)
        return padded[best].reshape(n, 2)

    x0, y0 = float(bank.x.values[0]), float(bank.y.values[0])
    x = x0 + dx * of_best(center[:, 2], np.nan)
    y = y0 + dy * of_best(center[:, 1], np.nan)
    power = of_best(strength, 0.0)
    areas = of_best(area, 0.0) * dx * dy
    main = (label == (best + 1)[:, None, None]) & over
    main = main.reshape(n, 2, height, width)
    both = has.all(axis=1)
    shared, covered = main.all(axis=1).sum(axis=(1, 2)), main.any(axis=1).sum(axis=(1, 2))
    widths = 2 * np.sqrt(areas / np.pi)
    mean_width = np.where(both, widths.mean(axis=1), np.nan)
    gap_x, gap_y = x[:, 0] - x[:, 1], y[:, 0] - y[:, 1]
    separation = np.hypot(gap_x, gap_y)
    direction = np.rad2deg(np.arctan2(gap_y, gap_x))
    total = power.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        weight = power / total[:, None]
        dominance = np.where(total > 0, (power[:, 0] - power[:, 1]) / total, np.nan)
        overlap = np.where(both & apart, shared / covered, np.nan)
        peak = maps.max(axis=(2, 3)) / sd
    columns: dict[str, Any] = {}
    for sign, name in enumerate(("on", "off")):
        columns |= {
            f"{name}_x": x[:, sign],
            f"{name}_y": y[:, sign],
            f"{name}_area": np.where(has[:, sign], areas[:, sign], np.nan),
            f"{name}_width": np.where(has[:, sign], widths[:, sign], np.nan),
            f"{name}_regions": regions[:, sign],
            f"{name}_strength": power[:, sign] * dx * dy,
            f"{name}_snr": peak[:, sign],
        }
    columns |= {
        "field_x": np.where(has.any(axis=1), np.nansum(weight * np.nan_to_num(x), axis=1), np.nan),
        "field_y": np.where(has.any(axis=1), np.nansum(weight * np.nan_to_num(y), axis=1), np.nan),
        "overlap": overlap,
        "separation": separation,
        "separation_relative": separation / mean_width,
        "segregation_index": (separation - mean_width) / (separation + mean_width),
        "axis": direction % 180.0,
        "displacement": direction,
        "dominance": dominance,
    }
    element = _element_size(bank)
    columns["status"] = np.array(
        [_status(*row, element=element) for row in zip(has.tolist(), widths.tolist(), strict=True)], dtype=object
    )
    names = ("unit", "subject", "source", "field_of_view", "cortex_x", "cortex_y")
    return xr.Dataset(
        {name: ("unit", values) for name, values in columns.items()},
        coords={name: bank[name] for name in names if name in bank.variables},
        attrs={
            **inherit(bank, "descriptors"),
            "threshold": float(threshold),
            "alpha": float(alpha),
            "element": element,
            "noise_model": "Gaussian; SD "
            + ("from the bank's noise_sd" if "noise_sd" in bank else "1.4826 × median absolute deviation of the map")
            + f"; threshold {threshold:.2f} SD: noise alone exceeds it anywhere in a map with probability ≤ {alpha:g}",
            "subfields": "ON and OFF maps recorded apart" if apart else "positive and negative parts of signed maps",
        },
    )


def _status(has: list[bool], widths: list[float], *, element: float) -> str:
    words = [{(1, 1): "ON and OFF", (1, 0): "ON only", (0, 1): "OFF only", (0, 0): "no subfield"}[(+has[0], +has[1])]]
    words += [
        f"{name} below stimulus resolution"
        for name, there, size in zip(("ON", "OFF"), has, widths, strict=True)
        if there and size < element
    ]
    return "; ".join(words)
