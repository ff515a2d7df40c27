"""`likeness`: how alike kernels are to the fields of a cortex, on one scale from noise to another animal.

Four questions in this order: how Gabor-like is each side; are they the same Gabors (`structure`); which share of the
cells has a kernel of its kind; and how near are the kernels to the cortex as populations of maps (`nearness`).
Everything that is compared has been through the recording first (`setting`, `ladder`), and every test includes all that
was sampled (`sampling`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from rfcompare.bank import check, make_rng
from rfcompare.comparison.inference import holm
from rfcompare.comparison.ladder import Step
from rfcompare.comparison.nearness import analyses, kind_rows, population_rows, rungs_of
from rfcompare.comparison.rows import Row, headings, row_variables
from rfcompare.comparison.sentences import small_print, verdict
from rfcompare.comparison.setting import Setting, set_up, side_of
from rfcompare.comparison.structure import gabor_rows
from rfcompare.errors import named_strictly
from rfcompare.quantities import LIKENESS_AXES, QUANTITIES, SCHEMAS
from rfcompare.simulation.references import REFERENCES

SAMPLE = "the kernels are a sample of the population that the cells are from"
NEARER = "the kernels are as far from the cells as noise with the cells' spectrum and window"

TITLES = {
    "another_animal": "another animal",
    "network": "the network",
    "spectrum_noise": "noise with the cortex's spectrum",
    "random_gabors": "random Gabors",
    "phase_scrambled": "phase-scrambled kernels",
    "untrained": "untrained network",
    "truth": "the simulation's own fields",
    **{name: name for name in REFERENCES},
}
"""What stands on the ladder."""


@named_strictly
def likeness(
    cortex: Any,
    kernels: Any,
    *,
    seed: int | np.random.Generator | None = 0,
    references: bool = True,
    truth: xr.Dataset | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Compare a network's kernels with the fields of a cortex.

    Parameters
    ----------
    cortex, kernels : xarray.Dataset or Population
        Banks (reduced with `rfcompare.to_signed` where they are not signed), or populations that carry a signed bank
        and its fits. The cortex's ``noise_sd`` or halves say how noisy its maps are; its ``subject`` whose they are.
    seed : int, Generator or None
        Of noise, references and weights.
    references : bool
        Whether the ladder has more rungs than another animal, the network and the zero.
    truth : xarray.Dataset, optional
        Where the cortex was simulated: its own maps without noise, as a rung of the ladder.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-results/1``. Over ``quantity``: `effect` with `ci_low` and `ci_high` (over animals and
        kernels, or over these cells where fewer than four animals are known: `interval` says which; all numbers where
        noise is not shown to be farther than another animal, and no `effect`), `estimate_a` of the cells and
        `estimate_b` of the kernels, `p` with its `hypothesis`, `p_adjusted` by Holm over all rows, `null` and
        `ceiling`, and `on_bound_a`, `on_bound_b`, the share of fits whose value is a limit only. Over ``reference``,
        the ladder: `distance`, `reference_likeness`, `reference_scale`, `reference_kind`, `reference_gabor_share`.
        Over ``scale``: `likeness_at_scale`. ``attrs["verdict"]`` is the answer in words and ``attrs["small_print"]``
        what limits it.

    Raises
    ------
    InputError
        When a side holds nothing that can be compared.

    Notes
    -----
    likeness = (D(zero) − D(network))/(max(D(zero), D(network)) − D(another animal)), D the squared energy distance
    (Székely & Rizzo 2013) of a population to an animal held out, and zero noise with the cortex's own spectrum and
    window, seen through the same recording. It is 1 for another animal, 0 for that noise and −1 infinitely far off.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=60, size=size, seed=size)[0] for size in (15, 11))
    >>> result = rfc.likeness(cells, kernels, references=False, seed=0)
    >>> float(result.effect.sel(quantity="likeness")) > 0
    True
    """
    from tqdm import tqdm

    a, b = side_of(cortex, "the cortex"), side_of(kernels, "the kernels")
    generator, recorded = make_rng(seed)
    noise, weights = generator.spawn(2)
    bar = tqdm(total=14, desc="likeness", leave=False, disable=None if progress else True)
    ladder, sample = set_up(a, b, noise)
    curve = ladder.curve(sample, progress=bar.update)
    setting = Setting(a, b, ladder, sample, curve, weights)
    rungs = rungs_of(setting, references, truth)
    bar.update(3)
    rows = _rows(setting, rungs)
    bar.close()
    result = _dataset(rows, rungs, curve, analyses(setting))
    heading = headings(a.bank, b.bank)
    result.attrs |= {
        "kind_a": a.kind,
        "kind_b": b.kind,
        "label_a": a.label,
        "label_b": b.label,
        "noise": ladder.recording.noise,
        "noise_added": int(ladder.recording.standard),
        "axes": json.dumps({name: QUANTITIES[name].spread for name in LIKENESS_AXES}),
        "polarity": "folded: some sign is not known" if ladder.folded else "known",
        "scale": setting.best.scale,
        "recorded": int(sample.noise is not None),
        "heading": "; ".join(heading),
        "hypothesis_noise": NEARER,
        "seed": recorded,
        **{
            f"{name}_{side}": str(one.bank.attrs.get(name, ""))
            for name in ("stimulus", "citation")
            for side, one in (("a", a), ("b", b))
        },
    }
    result.attrs |= {"verdict": verdict(result), "small_print": small_print(result)}
    return check(result)


def _rows(setting: Setting, rungs: Sequence[dict[str, Any]]) -> list[Row]:
    """Gabor structure first, then kinds, then the likeness."""
    null = next(rung.get("gabor_share", np.nan) for rung in rungs if rung["reference"] == "spectrum_noise")
    rows = gabor_rows(setting, null) + kind_rows(setting) + population_rows(setting)
    counts = {
        "n_units_a": len(setting.cells.points),
        "n_units_b": len(setting.best.placed.points),
        "n_total_a": setting.a.bank.sizes["unit"],
        "n_total_b": setting.b.bank.sizes["unit"],
        "n_subjects_a": setting.n_animals,
        "n_subjects_b": 1,
    }
    adjusted = holm([row.number.get("p", np.nan) for row in rows])
    for row, value in zip(rows, adjusted, strict=True):
        row.number = {**counts, **row.number, "p_adjusted": float(value)}
        row.text.setdefault("interval", setting.whose())
        if np.isfinite(row.number.get("p", np.nan)):
            row.text.setdefault("hypothesis", SAMPLE + ("" if setting.species else " (these cells only)"))
            row.number.setdefault("p_smallest", 0.0)
    return rows


def _dataset(
    rows: Sequence[Row],
    rungs: Sequence[dict[str, Any]],
    curve: Sequence[Step],
    analyses: Sequence[dict[str, Any]],
) -> xr.Dataset:
    def column(name: str, values: Sequence[Any], kind: Any) -> tuple[str, NDArray[Any]]:
        return name, np.array(values, dtype=kind)

    variables = row_variables(
        rows,
        numbers=(
            *("effect", "ci_low", "ci_high", "p", "p_adjusted", "null", "ceiling", "estimate_a", "estimate_b"),
            *("on_bound_a", "on_bound_b", "p_smallest", "p_noise", "p_noise_smallest"),
        ),
        counts=("n_units_a", "n_units_b", "n_total_a", "n_total_b", "n_subjects_a", "n_subjects_b"),
        texts=("interval", "hypothesis"),
    )
    kinds = {rung["reference"]: rung["kind"] for rung in rungs}
    variables["kind_a"] = column("quantity", [kinds["another_animal"]] * len(rows), object)
    variables["kind_b"] = column("quantity", [kinds["network"]] * len(rows), object)
    variables["distance"] = column("reference", [rung["distance"] for rung in rungs], np.float64)
    for name in ("likeness", "scale", "gabor_share"):
        variables[f"reference_{name}"] = column("reference", [rung.get(name, np.nan) for rung in rungs], np.float64)
    variables["reference_kind"] = column("reference", [rung["kind"] for rung in rungs], object)
    variables["reference_title"] = column("reference", [TITLES[rung["reference"]] for rung in rungs], object)
    for name in ("axes", "scale", "zero"):
        variables[f"analysis_{name}"] = column("analysis", [row[name] for row in analyses], object)
    variables["analysis_likeness"] = column("analysis", [row["likeness"] for row in analyses], np.float64)
    variables["analysis_primary"] = column("analysis", [number == 0 for number in range(len(analyses))], np.bool_)
    variables["likeness_at_scale"] = column("scale", [step.likeness for step in curve], np.float64)
    coords = {
        "quantity": np.array([row.quantity for row in rows], dtype=object),
        "reference": np.array([rung["reference"] for rung in rungs], dtype=object),
        "scale": np.array([step.scale for step in curve]),
    }
    return xr.Dataset(variables, coords=coords, attrs={"schema": SCHEMAS["results"].name})


def tables(result: xr.Dataset) -> dict[str, pd.DataFrame]:
    """A likeness as tables: the rows, the ladder, the scales and the analyses.

    Examples
    --------
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=40, size=size, seed=size)[0] for size in (13, 9))
    >>> found = tables(likeness(cells, kernels, references=False, seed=0))
    >>> sorted(found), found["ladder"].columns[0]
    (['analyses', 'ladder', 'results', 'scales'], 'reference')
    """
    frames = {}
    names = {"results": "quantity", "ladder": "reference", "scales": "scale", "analyses": "analysis"}
    for name, dim in names.items():
        frame = result[[key for key in result.data_vars if result[key].dims == (dim,)]].to_dataframe()
        frame.columns = [str(key).removeprefix(f"{dim}_") for key in frame.columns]
        frames[name] = frame.reset_index() if dim != "analysis" else frame.reset_index(drop=True)
    return frames


def placed_best(cortex: Any, kernels: Any, *, seed: int | np.random.Generator | None = 0) -> float:
    """Only the number: the likeness at the best scale, without rows, rungs and intervals."""
    return best_scale(cortex, kernels, seed=seed)[1]


def best_scale(cortex: Any, kernels: Any, *, seed: int | np.random.Generator | None = 0) -> tuple[float, float]:
    """Units of the recording that a kernel's pixel is where the kernels are likest to the cells, and that likeness."""
    ladder, sample = set_up(side_of(cortex, "the cortex"), side_of(kernels, "the kernels"), make_rng(seed)[0])
    best = max(ladder.curve(sample), key=lambda step: step.likeness)
    return sample.base * best.scale, best.likeness
