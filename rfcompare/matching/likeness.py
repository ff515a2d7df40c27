"""Like with like: does a difference survive showing the kernels as the recording saw the cells, and at every scale?

A kernel is known without noise and cut off by its window; a cell is known through a grid, a stimulus element and noise,
and whole. "More cycles than cortex" is a statement about kernels and cells only if it holds in every condition of
`like_with_like`. How many degrees a kernel's pixel stands for is nobody's knowledge: `sweep_scale` gives the score over
it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from rfcompare.alignment import By, window_like
from rfcompare.bank import make_rng
from rfcompare.comparison.populations import make_space, subjects
from rfcompare.comparison.results import score
from rfcompare.comparison.rows import headings
from rfcompare.descriptors import describe, describe_maps
from rfcompare.errors import InputError
from rfcompare.estimation import measure_like
from rfcompare.estimation.measurement import Step
from rfcompare.fitting import fit
from rfcompare.quantities import MODEL_FREE, QUANTITIES
from rfcompare.simulation.nulls import simulate_null

SCALED = ("field_radius",)
"""What an assumed scale moves, beside the model-free descriptors; with the centroid in cycles per radius it also fixes
the centroid in cycles per degree. (The spectrum's peak is 0 for blobs and would drop them from a logarithmic axis.)"""

N_RESAMPLES = 2000
LEAST_SUBJECTS = 4

Floats = npt.NDArray[np.float64]


def like_with_like(
    kernels: xr.Dataset,
    cortex: xr.Dataset,
    quantity: str = "nx",
    *,
    by: By = "size",
    deg_per_px: float | None = None,
    snr: float | None = None,
    spot: float | None = None,
    threshold: float = 0.0,
    n_draws: int = 5,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
    progress: bool | None = None,
) -> pd.DataFrame:
    """A descriptor's difference between kernels and cells, as they are and with each population seen like the other.

    Parameters
    ----------
    kernels, cortex : xarray.Dataset
        Signed banks.
    quantity : str
        A descriptor of `rfcompare.quantities.QUANTITIES` without a scale.
    by, deg_per_px, spot, threshold, snr
        As in `rfcompare.estimation.measure_like`.
    n_draws : int
        Draws of the noise, whose kernels are taken together.
    level : float
        Of the intervals.
    seed : int, Generator or None
        For noise and resampling.
    progress : bool, optional
        Show the fits' progress; default: on a terminal.

    Returns
    -------
    pandas.DataFrame
        A row per condition: "as they are"; "kernels with the cells' noise" (where the noise is known or `snr` given);
        "kernels through the recording" (grid, element, rectification, noise as far as known); "cells cut to the
        kernels' window"; "both". Columns: medians, their ``difference`` (kernels − cells), a bootstrap interval (over
        animals from 4 on, else over these cells only) and numbers of units. ``attrs["survives"]``: whether the
        difference keeps its sign with an interval without 0 in every condition; ``attrs["claim"]`` says so in words.

    Raises
    ------
    InputError
        When the descriptor has a scale or does not exist.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-8, 9.0)
    >>> def stripes(sigma):
    ...     return np.exp(-(x**2 + x[:, None] ** 2) / 2 / sigma**2) * np.cos(2 * np.pi * 0.15 * x)
    >>> kernels = rfc.make_bank(np.stack([stripes(s) for s in (2.6, 2.8, 3.0)])[:, None], channel=("signed",),
    ...                         kind="analytic")
    >>> cells = rfc.make_bank(np.stack([stripes(s) for s in (1.4, 1.5, 1.6)])[:, None], channel=("signed",),
    ...                       kind="analytic")
    >>> table = like_with_like(kernels, cells, by="px", snr=20.0)
    >>> table.loc["as they are", "difference"].round(3)  # medians 2.8·0.15 and 1.5·0.15
    np.float64(0.195)
    """
    if quantity not in QUANTITIES or not QUANTITIES[quantity].dimensionless or QUANTITIES[quantity].period is not None:
        raise InputError(f"expected a descriptor without scale or period, as nx, got {quantity!r}; choose another")
    if n_draws < 1:
        raise InputError(f"expected at least one draw of the noise, got n_draws={n_draws}; 5 are usual")
    rng, _ = make_rng(seed)
    known = snr is not None or "noise_sd" in cortex or "rf_half" in cortex
    options: dict[str, Any] = {"by": by, "deg_per_px": deg_per_px, "snr": snr, "spot": spot, "threshold": threshold}
    all_steps: tuple[Step, ...] = (
        ("grid", "spot", "rectification", "noise") if known else ("grid", "spot", "rectification")
    )

    def described(bank: xr.Dataset) -> tuple[Floats, npt.NDArray[np.str_] | None]:
        if QUANTITIES[quantity].source == "map":
            table = describe_maps(bank)
        else:
            table = describe(fit(bank, "gabor", seed=0, engine="batched", progress=progress))
        values = table[quantity].values.astype(float)
        names = subjects(table)
        finite = np.isfinite(values)
        return values[finite], None if names is None else names[finite]

    def through(steps: tuple[Step, ...]) -> Floats:
        """Of several draws of the noise together: a median of one draw moves by as much as what is asked for."""
        draws = n_draws if "noise" in steps else 1
        seen = (measure_like(kernels, cortex, steps=steps, seed=rng, **options) for _ in range(draws))
        return np.concatenate([described(bank)[0] for bank in seen])

    plain, (whole, owners) = described(kernels)[0], described(cortex)
    seen = through(all_steps)
    cut, cut_owners = described(window_like(cortex, kernels, by=by, deg_per_px=deg_per_px))
    conditions = {"as they are": (plain, whole, owners)}
    if known:
        conditions["kernels with the cells' noise"] = (through(("noise",)), whole, owners)
    conditions |= {
        "kernels through the recording": (seen, whole, owners),
        "cells cut to the kernels' window": (plain, cut, cut_owners),
        "both": (seen, cut, cut_owners),
    }
    rows = {}
    for name, (a, b, names) in conditions.items():
        low, high, of = _interval(a, b, names, level, rng)
        rows[name] = {
            "kernels_median": np.median(a),
            "cells_median": np.median(b),
            "difference": np.median(a) - np.median(b),
            "ci_low": low,
            "ci_high": high,
            "interval_over": of,
            "n_kernels": kernels.sizes["unit"],
            "n_cells": b.size,
            "kind_kernels": str(kernels.attrs["kind"]),
            "kind_cells": str(cortex.attrs["kind"]),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition")
    sign = np.sign(table["difference"].iloc[0])
    survives = bool(((table["ci_low"] * sign > 0) & (table["ci_high"] * sign > 0)).all())
    more = "more" if sign > 0 else "less"
    claim = (
        f"the kernels have {more} {quantity} than the cells, in every condition"
        if survives
        else f"no claim about {quantity}: the difference does not survive every condition"
    )
    if not known:
        claim += " that could be checked (the recording's noise is not known)"
    table.attrs = {
        "quantity": quantity,
        "survives": survives,
        "claim": "; ".join([*headings(kernels, cortex), claim]),
        "steps": json.dumps(all_steps),
        "by": by,
        "level": level,
    }
    return table


def _interval(
    a: Floats, b: Floats, names: npt.NDArray[np.str_] | None, level: float, rng: np.random.Generator
) -> tuple[float, float, str]:
    """Percentile bootstrap of the difference of medians: kernels stay, animals (or cells) are drawn again."""
    groups = [] if names is None else [b[names == name] for name in np.unique(names)]
    if len(groups) >= LEAST_SUBJECTS:
        draws = [
            np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]) for _ in range(N_RESAMPLES)
        ]
        medians = np.array([np.median(draw) for draw in draws])
        of = f"{len(groups)} subjects"
    else:
        medians = np.median(b[rng.integers(0, b.size, (N_RESAMPLES, b.size))], axis=1)
        of = "these cells only"
    low, high = np.quantile(np.median(a) - medians, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high), of


def sweep_scale(
    kernels: xr.Dataset,
    cortex: xr.Dataset,
    deg_per_px: Sequence[float] | npt.NDArray[np.floating],
    *,
    null: xr.Dataset | str = "spectrum_noise",
    n_nulls: int = 20,
    steps: Sequence[Step] = (),
    snr: float | None = None,
    level: float = 0.95,
    seed: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """The similarity score over what a kernel's pixel is assumed to be in degrees, and with sizes matched.

    Parameters
    ----------
    kernels, cortex : xarray.Dataset
        Signed banks, the kernels in pixels and the cortex in degrees.
    deg_per_px : sequence of float
        Assumed degrees per kernel pixel.
    null : str or xarray.Dataset
        A name of `rfcompare.simulation.nulls.NULLS`, or the kernels' null populations.
    n_nulls : int
        Populations to draw.
    steps : sequence of str
        Steps of `rfcompare.estimation.measure_like` that kernels and nulls go through first; default: none.
    snr : float, optional
        As there.
    level : float
        Of the intervals.
    seed : int, Generator or None
        For nulls, noise and the score's random halves.

    Returns
    -------
    pandas.DataFrame
        A row per assumed scale and one with sizes matched (``scale`` "assumed" or "size-matched"): ``deg_per_px``,
        ``score``, ``ci_low``, ``ci_high``, the three mean distances, ``kernel_radius`` and ``kernel_frequency``
        (medians, in degrees), ``verdict``, ``ceiling``, kinds. The space is the model-free one with the field's radius
        added; its scales are the cortex's own, and its null has the matched size, in every row.

    Raises
    ------
    InputError
        When the units are not as said, or a scale is not positive.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> rng = np.random.default_rng(0)
    >>> x = np.arange(-8, 9.0)
    >>> def fields(n):
    ...     s = rng.uniform(1.5, 2.5, (n, 1, 1))
    ...     shape = np.exp(-(x**2 + x[:, None] ** 2) / 2 / s**2) * np.cos(x / s + rng.uniform(0, 6, (n, 1, 1)))
    ...     return shape[:, None]
    >>> kernels = rfc.make_bank(fields(40), channel=("signed",), kind="simulated")
    >>> cells = rfc.make_bank(fields(60), channel=("signed",), kind="simulated", deg_per_px=0.5)
    >>> table = sweep_scale(kernels, cells, [0.1, 0.5, 2.5], null="pixel_shuffled", n_nulls=5)
    >>> table.scale[table.score > 0.9].tolist()
    ['assumed', 'size-matched']
    """
    scales = np.asarray(deg_per_px, float).ravel()
    if kernels.attrs.get("units") != "px" or cortex.attrs.get("units") != "degree":
        raise InputError(
            f"expected kernels in px and a cortex in degree, got {kernels.attrs.get('units')} and "
            f"{cortex.attrs.get('units')}; give the recording's deg_per_px when opening it"
        )
    if not scales.size or not (np.isfinite(scales) & (scales > 0)).all():
        raise InputError(f"expected positive deg_per_px to sweep over, got {scales.tolist()}; as in [0.1, 0.2, 0.5]")
    rng, _ = make_rng(seed)
    nulls = simulate_null(kernels, null, n_populations=n_nulls, seed=rng) if isinstance(null, str) else null
    cells = describe_maps(cortex)
    matched = float(np.nanmedian(cells["field_radius"]) / np.nanmedian(describe_maps(kernels)["field_radius"]))

    def at(bank: xr.Dataset, scale: float) -> xr.Dataset:
        if not steps:
            return _in_degrees(describe_maps(bank), scale)
        return describe_maps(measure_like(bank, cortex, by="degree", deg_per_px=scale, steps=steps, snr=snr, seed=rng))

    # The null keeps the matched size in every row: 0 of the score is one and the same distance.
    first, zero = at(kernels, matched), at(nulls, matched)
    space = make_space(cells, first, zero, quantities=(*MODEL_FREE, *SCALED))
    rows = []
    for kind, scale in [*(("assumed", float(value)) for value in scales), ("size-matched", matched)]:
        network = first if kind == "size-matched" else at(kernels, scale)
        result = score(cells, network, zero, space=space, level=level, seed=0)
        rows.append(
            {
                "scale": kind,
                "deg_per_px": scale,
                "score": result.value,
                "ci_low": result.interval.low,
                "ci_high": result.interval.high,
                "network_distance": result.network_distance,
                "null_distance": result.null_distance,
                "others_distance": result.others_distance,
                "kernel_radius": float(np.nanmedian(network["field_radius"])),
                "kernel_frequency": float(np.nanmedian(network["peak_frequency"])),
                "verdict": result.verdict,
                "ceiling": result.ceiling,
                "kind_kernels": str(kernels.attrs["kind"]),
                "kind_cells": str(cortex.attrs["kind"]),
            }
        )
    table = pd.DataFrame(rows)
    table.attrs = {
        "space": space.to_json(),
        "null": str(nulls.attrs.get("null", nulls.attrs["kind"])),
        "steps": json.dumps(list(steps)),
        "heading": "; ".join(headings(kernels, cortex)),
    }
    return table


def _in_degrees(table: xr.Dataset, scale: float) -> xr.Dataset:
    """Descriptors of maps whose pixel is assumed to be `scale` degrees."""
    result = table.assign(field_radius=table["field_radius"] * scale, peak_frequency=table["peak_frequency"] / scale)
    return result.assign_attrs(units="degree")
