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
from rfcompare.comparison.inference import MIN_SUBJECTS, subject_interval
from rfcompare.comparison.populations import make_space, subjects
from rfcompare.comparison.results import score
from rfcompare.comparison.rows import headings
from rfcompare.descriptors import describe, describe_maps
from rfcompare.errors import InputError, named_strictly
from rfcompare.estimation import measure_like
from rfcompare.estimation.measurement import Step
from rfcompare.fitting import fit
from rfcompare.quantities import MODEL_FREE, QUANTITIES
from rfcompare.simulation.nulls import simulate_null

SCALED = ("field_radius",)
"""What an assumed scale moves, beside the model-free descriptors; with the centroid in cycles per radius it also fixes
the centroid in cycles per degree. (The spectrum's peak is 0 for blobs and would drop them from a logarithmic axis.)"""

N_RESAMPLES = 2000

Floats = npt.NDArray[np.float64]


@named_strictly
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
        A descriptor of `rfcompare.quantities.QUANTITIES` without a scale, of the fit or of the map. A kernel or cell
        for which it is not defined (the octave bandwidth where less than one cycle is visible) is left out, and the
        claim says how many.
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
        kernels' window"; "both". Columns: medians, their ``difference`` (kernels − cells), its interval and the numbers
        of units that have the descriptor (of kernels with noise, the mean over its draws). From 4 animals on the cells'
        median is the mean of the animals' medians and the interval is Student's over them (BCa from 20), since a
        bootstrap of so few covers too little (5 animals: 82.5 % of 1,000 simulated studies, not 95 %); else it is a
        bootstrap of these cells only.
        ``attrs["survives"]``: whether the difference keeps its sign with an interval without 0 in every condition;
        ``attrs["claim"]`` says so in words; ``attrs["seed"]`` is the seed.

    Raises
    ------
    InputError
        When the descriptor has a scale, is one of color, does not exist, or is not defined for any kernel or cell.

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
    known_as = QUANTITIES.get(quantity)
    if known_as is None or not known_as.dimensionless or known_as.period is not None or known_as.source == "color":
        raise InputError(
            f"expected a descriptor without scale, period or color, as nx, got {quantity!r}; choose another"
        )
    if n_draws < 1:
        raise InputError(f"expected at least one draw of the noise, got n_draws={n_draws}; 5 are usual")
    rng, recorded = make_rng(seed)
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
        if not finite.any():
            raise InputError(
                f"expected {quantity} of some units, got none of {finite.size} for which it is defined; choose another"
            )
        return values[finite], None if names is None else names[finite]

    def draws_of(steps: tuple[Step, ...]) -> int:
        return n_draws if "noise" in steps else 1

    def through(steps: tuple[Step, ...]) -> Floats:
        """Of several draws of the noise together: a median of one draw moves by as much as what is asked for."""
        seen = (measure_like(kernels, cortex, steps=steps, seed=rng, **options) for _ in range(draws_of(steps)))
        return np.concatenate([described(bank)[0] for bank in seen])

    plain, (whole, owners) = described(kernels)[0], described(cortex)
    seen = through(all_steps)
    cut, cut_owners = described(window_like(cortex, kernels, by=by, deg_per_px=deg_per_px))
    conditions = {"as they are": (plain, 1, whole, owners)}
    if known:
        conditions["kernels with the cells' noise"] = (through(("noise",)), n_draws, whole, owners)
    conditions |= {
        "kernels through the recording": (seen, draws_of(all_steps), whole, owners),
        "cells cut to the kernels' window": (plain, 1, cut, cut_owners),
        "both": (seen, draws_of(all_steps), cut, cut_owners),
    }
    rows = {}
    for name, (a, draws, b, names) in conditions.items():
        middle = float(np.median(a))
        cells, low, high, of = _cells(middle, b, names, level, rng)
        rows[name] = {
            "kernels_median": middle,
            "cells_median": cells,
            "difference": middle - cells,
            "ci_low": low,
            "ci_high": high,
            "interval_over": of,
            "n_kernels": round(a.size / draws),
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
    lacking = kernels.sizes["unit"] - plain.size, cortex.sizes["unit"] - whole.size
    if any(lacking):
        claim += f" (not defined, and left out: {lacking[0]} of {kernels.sizes['unit']} kernels, "
        claim += f"{lacking[1]} of {cortex.sizes['unit']} cells)"
    table.attrs = {
        "quantity": quantity,
        "survives": survives,
        "claim": "; ".join([*headings(kernels, cortex), claim]),
        "steps": json.dumps(all_steps),
        "by": by,
        "level": level,
        "seed": recorded,
    }
    return table


def _cells(
    kernels: float, cells: Floats, names: npt.NDArray[np.str_] | None, level: float, rng: np.random.Generator
) -> tuple[float, float, float, str]:
    """The cells' median, and the interval of the kernels' minus it: the kernels stay, animals (or cells) vary."""
    each = [] if names is None else [float(np.median(cells[names == name])) for name in np.unique(names)]
    if len(each) >= MIN_SUBJECTS:
        interval = subject_interval(kernels - np.array(each), level=level, seed=rng)
        return float(np.mean(each)), interval.low, interval.high, f"{len(each)} subjects"
    medians = np.median(cells[rng.integers(0, cells.size, (N_RESAMPLES, cells.size))], axis=1)
    low, high = np.quantile(kernels - medians, [(1 - level) / 2, (1 + level) / 2])
    return float(np.median(cells)), float(low), float(high), "these cells only"


@named_strictly
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
        For nulls, noise and the score's random halves or weights of animals.

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
    rng, recorded = make_rng(seed)
    # One seed for all rows: they differ by the scale, not by which halves or weights were drawn.
    draws = recorded if recorded >= 0 else int(rng.integers(2**31))
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
        result = score(cells, network, zero, space=space, level=level, seed=draws)
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
        "seed": recorded,
        "heading": "; ".join(headings(kernels, cortex)),
    }
    return table


def _in_degrees(table: xr.Dataset, scale: float) -> xr.Dataset:
    """Descriptors of maps whose pixel is assumed to be `scale` degrees."""
    result = table.assign(field_radius=table["field_radius"] * scale, peak_frequency=table["peak_frequency"] / scale)
    return result.assign_attrs(units="degree")
