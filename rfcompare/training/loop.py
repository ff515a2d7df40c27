"""One training loop for all networks: seeded by step, watched at chosen steps, checkpointed and resumable.

Every batch is a pure function of (seed, step). A run that was interrupted and resumed from its checkpoint therefore
takes the same steps, and ends in the same kernels, as one that never stopped, without any random state being stored.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from tqdm import tqdm

from rfcompare.bank import existing_file, make_bank, make_rng, write_bytes
from rfcompare.errors import InputError

if TYPE_CHECKING:
    import torch

_STEP_STRIDE = 1_000_003
"""A prime: batches of step s under seed k are drawn from generator k · _STEP_STRIDE + s: no two runs share one."""

_CHECKPOINTS = 20
"""How many times a run is checkpointed: rarely enough to cost nothing, often enough to lose at most 5 % of it."""


@dataclass(frozen=True)
class Trained:
    """What a training run gives.

    Attributes
    ----------
    bank : xarray.Dataset
        The first layer after the last step, kind ``learned``; its attributes hold the task, steps, seed and accuracy.
    snapshots : mapping of int to xarray.Dataset
        The same layer after chosen steps; step 0, before any training, is of kind ``untrained``.
    log : pandas.DataFrame
        ``step, loss, accuracy`` on the training batches along the way (means since the row before).
    """

    bank: xr.Dataset
    snapshots: Mapping[int, xr.Dataset]
    log: pd.DataFrame


@dataclass
class Task:
    """A network, its first layer's weights, and the loss of the batch that belongs to a step."""

    net: torch.nn.Module
    kernel: torch.Tensor
    loss: Callable[[int], tuple[torch.Tensor, float]]
    optimizer: torch.optim.Optimizer
    learning_rate: float
    warmup: int = 0


def watched_steps(steps: int, count: int = 8) -> tuple[int, ...]:
    """Step 0, the last step, and steps between in equal ratios: kernels change fastest at the start.

    Examples
    --------
    >>> watched_steps(1000, 5)
    (0, 10, 46, 215, 1000)
    """
    if steps < 10:
        return tuple(range(steps + 1))
    ladder = np.geomspace(10, steps, count - 1).round().astype(int)
    return (0, *sorted({int(step) for step in ladder}))


def generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step."""
    import torch

    return torch.Generator().manual_seed((seed * _STEP_STRIDE + step) % 2**63)


def whole_seed(seed: int | np.random.Generator | None) -> int:
    """A whole number for torch: the seed itself, or one drawn from the generator given."""
    rng, recorded = make_rng(seed)
    return int(rng.integers(2**31)) if recorded < 0 else recorded


def positive(**values: float) -> None:
    """Refuse options that must be positive whole or real numbers, by name."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not value > 0:
            raise InputError(f"expected {name} to be positive, got {value!r}; give a positive number")


def run(
    task: Task,
    *,
    steps: int,
    seed: int,
    watch: Sequence[int],
    options: Mapping[str, Any],
    checkpoint: str | os.PathLike[str] | None,
    progress: str,
) -> tuple[dict[int, NDArray[np.float32]], pd.DataFrame]:
    """Take `steps` steps with a cosine learning rate and return the watched kernels and the log.

    A `checkpoint` that exists is continued when it was made with the same options, and refused otherwise.
    """
    recorded = json.dumps({**options, "steps": steps, "seed": seed}, sort_keys=True)
    kept: dict[int, torch.Tensor] = {}
    log: list[list[float]] = []
    start = 0
    if checkpoint is not None and Path(checkpoint).exists():
        start, kept, log = _resume(task, checkpoint, recorded)
    every = max(1, steps // _CHECKPOINTS)
    since: list[tuple[float, float]] = []

    def look(step: int) -> None:
        if step in watch or step == steps:
            kept[step] = task.kernel.detach().clone()

    if start == 0:
        look(0)
    bar = tqdm(total=steps, initial=start, desc=progress, unit="step", disable=None)
    with bar:
        for step in range(start, steps):
            rate = 0.5 * (1 + math.cos(math.pi * step / steps)) * min(1.0, (step + 1) / max(1, task.warmup))
            for group in task.optimizer.param_groups:
                group["lr"] = task.learning_rate * rate
            loss, accuracy = task.loss(step)
            task.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            task.optimizer.step()
            since.append((float(loss.detach()), accuracy))
            look(step + 1)
            bar.update()
            if (step + 1) % every == 0 or step + 1 == steps:
                log.append([step + 1, *np.mean(since, axis=0).tolist()])
                since.clear()
                bar.set_postfix(loss=f"{log[-1][1]:.3g}", accuracy=f"{log[-1][2]:.1%}")
                if not math.isfinite(log[-1][1]):
                    raise InputError(
                        f"expected a finite loss, got {log[-1][1]} at step {step + 1}; lower the learning rate"
                    )
                if checkpoint is not None:
                    _write(task, checkpoint, recorded, step + 1, kept, log)
    frame = pd.DataFrame(log, columns=["step", "loss", "accuracy"]).astype({"step": int})
    return {step: weights.numpy().astype(np.float32) for step, weights in sorted(kept.items())}, frame


def _write(
    task: Task,
    path: str | os.PathLike[str],
    recorded: str,
    step: int,
    kept: Mapping[int, torch.Tensor],
    log: Sequence[Sequence[float]],
) -> None:
    import torch

    memory = io.BytesIO()
    torch.save(
        {
            "rfcompare_training": recorded,
            "step": step,
            "net": task.net.state_dict(),
            "optimizer": task.optimizer.state_dict(),
            "kept": dict(kept),
            "log": [list(row) for row in log],
        },
        memory,
    )
    write_bytes(path, memory.getbuffer())


def _resume(
    task: Task, path: str | os.PathLike[str], recorded: str
) -> tuple[int, dict[int, torch.Tensor], list[list[float]]]:
    import torch

    file = existing_file(path)
    try:
        state = torch.load(file, weights_only=True)
        made_with = state["rfcompare_training"]
    except Exception as error:  # torch raises whatever its unpickler meets in a foreign or broken file
        raise InputError(
            f"expected a checkpoint of rfcompare's training, got {str(path)!r} ({type(error).__name__}); "
            "name another file or delete it to start anew"
        ) from None
    if made_with != recorded:
        ours, theirs = json.loads(recorded), json.loads(made_with)
        differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        raise InputError(
            f"expected a checkpoint made with the same options, got {str(path)!r} with other {', '.join(differing)}; "
            "use the same options or another checkpoint, or delete it to start anew"
        )
    task.net.load_state_dict(state["net"])
    task.optimizer.load_state_dict(state["optimizer"])
    return int(state["step"]), dict(state["kept"]), [list(row) for row in state["log"]]


def trained(
    kernels: Mapping[int, NDArray[np.float32]],
    log: pd.DataFrame,
    *,
    channel: Sequence[str],
    source: str,
    seed: int,
    **attrs: Any,
) -> Trained:
    """Banks of the watched kernels; step 0 is ``untrained``."""
    names = [f"k{index:02d}" for index in range(next(iter(kernels.values())).shape[0])]
    banks = {
        step: make_bank(
            weights,
            channel=channel,
            kind="learned" if step else "untrained",
            rows="down",
            source=source,
            subject=f"{source}, seed {seed}",
            unit=names,
            attrs={"step": step, "seed": seed, **attrs},
        )
        for step, weights in kernels.items()
    }
    return Trained(bank=banks[max(banks)], snapshots=banks, log=log)
