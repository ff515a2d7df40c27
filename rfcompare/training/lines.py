"""Two classes, horizontal and vertical lines: the smallest network whose kernels one can predict."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from rfcompare.errors import named_strictly
from rfcompare.training.loop import Task, Trained, generator, positive, run, trained, watched_steps, whole_seed

if TYPE_CHECKING:
    import torch

_IMAGE_SIZE = 24
_KERNEL_SIZE = 7
_BATCH_SIZE = 128
_MAX_LINES = 3
_NOISE_SD = 0.3
"""Against lines of height ±1: enough that a kernel must collect light along the whole line."""

_LEARNING_RATE = 0.02
_WEIGHT_DECAY = 0.5
"""Strong (decoupled) decay takes away whatever of the initial noise the task does not keep alive."""

_TEST_STEP = 10**9
"""The step whose generator draws the test images; no training run gets that far."""


def _draw_lines(n: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw noisy images of one to three light or dark lines, all horizontal (label 0) or all vertical (label 1)."""
    import torch

    label = torch.randint(0, 2, (n,), generator=random)
    profile = torch.zeros(n, _IMAGE_SIZE)
    for line in range(_MAX_LINES):
        place = torch.randint(0, _IMAGE_SIZE, (n, 1), generator=random)
        width = torch.randint(1, 4, (n, 1), generator=random)
        sign = 2.0 * torch.randint(0, 2, (n, 1), generator=random) - 1.0
        present = torch.rand(n, 1, generator=random) < (1.0 if line == 0 else 0.5)
        distance = torch.arange(_IMAGE_SIZE)[None] - place
        profile += torch.where((distance >= 0) & (distance < width) & present, sign, 0.0)
    horizontal = profile[:, :, None].expand(n, _IMAGE_SIZE, _IMAGE_SIZE)
    image = torch.where(label[:, None, None] == 1, horizontal.transpose(1, 2), horizontal)
    image = image + _NOISE_SD * torch.randn(image.shape, generator=random)
    return image[:, None], label


@named_strictly
def train_lines(
    *,
    steps: int = 600,
    n_kernels: int = 8,
    seed: int | np.random.Generator | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trained:
    """Train a network to tell horizontal from vertical lines; its kernels become horizontal and vertical.

    The network is one 7×7 convolution, rectification, the maximum over the image, and a linear readout of two classes.
    Lines are one to three a picture, 1–3 px wide, light or dark, in noise of SD 0.3. It takes a few seconds.

    Parameters
    ----------
    steps : int
        Batches of 128 pictures.
    n_kernels : int
        Number of kernels.
    seed : int, numpy.random.Generator or None
        Initial weights and pictures.
    checkpoint : path, optional
        Written along the way, and continued from when it exists.

    Returns
    -------
    Trained
        ``bank`` (unit, luminance, 7, 7) with ``attrs["accuracy"]`` on 2,000 new pictures.

    Raises
    ------
    InputError
        For options out of range and for a checkpoint made with other options.

    Examples
    --------
    >>> result = train_lines(steps=2, n_kernels=4)
    >>> result.bank.rf.dims, result.bank.sizes["unit"], result.bank.attrs["kind"]
    (('unit', 'channel', 'y', 'x'), 4, 'learned')
    >>> list(result.snapshots)
    [0, 1, 2]
    """
    import torch
    from torch import nn

    positive(steps=steps, n_kernels=n_kernels)
    recorded = whole_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recorded)
        convolution = nn.Conv2d(1, n_kernels, _KERNEL_SIZE)
        readout = nn.Linear(n_kernels, 2)
    net = nn.ModuleList([convolution, readout])

    def answer(images: torch.Tensor) -> torch.Tensor:
        responses = convolution(images).relu().amax((2, 3))
        result: torch.Tensor = readout(responses)
        return result

    def loss(step: int) -> tuple[torch.Tensor, float]:
        images, labels = _draw_lines(_BATCH_SIZE, generator(recorded, step))
        logits = answer(images)
        return nn.functional.cross_entropy(logits, labels), float((logits.argmax(1) == labels).float().mean())

    task = Task(
        net=net,
        kernel=convolution.weight,
        loss=loss,
        optimizer=torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY),
        learning_rate=_LEARNING_RATE,
    )
    kernels, log = run(
        task,
        steps=steps,
        seed=recorded,
        watch=watched_steps(steps),
        options={"task": "lines", "n_kernels": n_kernels},
        checkpoint=checkpoint,
        progress="lines",
    )
    with torch.no_grad():
        images, labels = _draw_lines(2000, generator(recorded, _TEST_STEP))
        accuracy = float((answer(images).argmax(1) == labels).float().mean())
    return trained(
        kernels,
        log,
        channel=("luminance",),
        source="lines network",
        seed=recorded,
        accuracy=accuracy,
        trained_on="noisy pictures of horizontal or vertical lines, drawn by rfcompare",
        task="tell horizontal from vertical lines",
    )
