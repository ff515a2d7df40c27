"""Training once per seed, and keeping what came of it: the bank, kernels along the way, and their history."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from rfcompare import bank
from rfcompare.comparison.likeness import placed_best
from rfcompare.comparison.populations import subjects
from rfcompare.errors import InputError
from rfcompare.pipeline.tables import output_file, output_folder, save_many, write_table
from rfcompare.quantities import kind_words
from rfcompare.sources.population import open_population
from rfcompare.taxonomy import classify, summarize, training_history

if TYPE_CHECKING:
    import xarray as xr

_FOLLOWED = 12
"""Kernels kept at every watched step: as many as the figure shows."""


@dataclass(frozen=True)
class _Kept:
    """What a training left: the final kernels' classes, sentences about them, and the files written."""

    classes: pd.DataFrame
    sentences: tuple[str, ...]
    written: tuple[Path, ...]


def keep_training(
    train_one: Callable[..., Any],
    output: Path,
    *,
    seed: int,
    runs: int = 1,
    checkpoint: Path | None = None,
    history: Path | None = None,
    snapshots: Path | None = None,
    fields: str | None = None,
    layout: Path | None = None,
    **options: Any,
) -> _Kept:
    """Train with `runs` seeds; write the first one's bank and snapshots and the history of all.

    Parameters
    ----------
    train_one : callable
        Of `rfcompare.training`; takes seed, checkpoint and `options`.
    output : path
        The bank.
    seed, runs : int
        Seeds from `seed` on.
    checkpoint : path, optional
        Where the state is kept along the way (one file a seed) and continued from; default: beside `output`, and taken
        away at the end.
    history, snapshots : path, optional
        Table by step, and twelve kernels by step.
    fields : str, optional
        A population: the history follows the likeness to it.
    layout : path, optional
        Says what the population's file does not.

    Raises
    ------
    InputError
        Before any training where an output cannot be written or `fields` has no history to go into.
    """
    if fields is not None and history is None:
        raise InputError("expected --history with --fields, got none; name the table that the likeness goes into")
    cortex = None if fields is None else open_population(fields, layout=layout)
    for path in (output, history, snapshots, checkpoint):
        if path is not None:
            output_folder(path.parent)
            output_file(path)
    states = states_of(output, seed=seed, runs=runs, checkpoint=checkpoint)
    results = [train_one(seed=each, checkpoint=state, **options) for each, state in enumerate(states, start=seed)]
    first = results[0]
    bank.save(first.bank, output)
    written = [output]
    if snapshots is not None:
        n = first.bank.sizes["unit"]
        units = np.linspace(0, n - 1, min(_FOLLOWED, n)).round().astype(int)
        save_many({f"step {step}": seen.isel(unit=units) for step, seen in first.snapshots.items()}, snapshots)
        written.append(snapshots)
    if history is not None:
        along = [seen for result in results for seen in result.snapshots.values()]
        table = training_history(along)
        if cortex is not None:
            table = pd.concat([table, _likeness_by_step(along, cortex)], ignore_index=True)
        write_table(table, history)
        written.append(history)
    if checkpoint is None:
        for state in states:
            state.unlink(missing_ok=True)
    classes = classify(first.bank)
    task = f"{first.bank.attrs['task']}: accuracy {first.bank.attrs['accuracy']:.1%}"
    return _Kept(classes, (task, summarize(classes)), tuple(written))


def states_of(output: Path, *, seed: int, runs: int, checkpoint: Path | None = None, **_: Any) -> list[Path]:
    """Where the states of a training are kept along the way, a file a seed."""
    stem = checkpoint or output.with_name(f"{output.name}.checkpoint")
    several = [stem.with_name(f"{stem.stem}-{each}{stem.suffix}") for each in range(seed, seed + runs)]
    return [stem] if runs == 1 else several


def _likeness_by_step(snapshots: Iterable[xr.Dataset], cortex: xr.Dataset) -> pd.DataFrame:
    """Rows of a training history: the likeness of every snapshot to a cortex."""
    name = str(cortex.attrs.get("title", cortex.source.values[0]))
    near = "random halves of the cells" if subjects(cortex) is None else "another animal"
    against = f"{name} ({kind_words(cortex.attrs['kind'])}); 0: noise with its spectrum and window, 1: {near}"
    rows = []
    for seen in snapshots:
        row = {name: seen.attrs[name] for name in ("seed", "step", "kind")}
        row |= {"source": str(seen.source.values[0]), "n_units": seen.sizes["unit"], "quantity": "likeness"}
        rows.append({**row, "median": placed_best(cortex, seen, seed=0), "against": against})
    return pd.DataFrame(rows)
