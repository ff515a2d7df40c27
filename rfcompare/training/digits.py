"""Nielsen's network for handwritten digits, whose 5×5 kernels his book calls "certainly not Gabor filters".

Nielsen, Neural Networks and Deep Learning (2015), chapter 6. Whether the kernels deserve the sentence is put to the
test by `rfcompare.taxonomy.gabor_verdict`, which says whatever comes out.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rfcompare.bank import existing_file, expand
from rfcompare.errors import InputError, named_strictly
from rfcompare.sources.remote import cache_folder
from rfcompare.training.loop import Task, Trained, generator, positive, run, trained, watched_steps, whole_seed

if TYPE_CHECKING:
    import torch

_KERNEL_SIZE = 5
_N_KERNELS = 20
_HIDDEN = 100
_BATCH_SIZE = 64
_LEARNING_RATE = 0.05
_WEIGHT_DECAY = 1e-4

_IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}

_Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def read_digits(folder: str | os.PathLike[str] | None = None, *, part: str = "train") -> _Digits:
    """Read handwritten digits from IDX files, or fetch MNIST through torchvision.

    Parameters
    ----------
    folder : path, optional
        Holds the four IDX files under MNIST's names, gzipped or not. None: torchvision's MNIST in the user's cache,
        downloaded when it is not there.
    part : {"train", "test"}
        Which of the two pairs of files.

    Returns
    -------
    images : array (n, row, column) of uint8
    labels : array (n,) of uint8

    Raises
    ------
    InputError
        When files are missing, broken or do not belong together.

    Examples
    --------
    >>> read_digits("no/such/folder")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected the file train-images-idx3-ubyte (or .gz) in 'no/such/folder', got none; ...
    """
    if part not in _IDX_FILES:
        raise InputError(f"expected part 'train' or 'test', got {part!r}; choose one")
    if folder is None:
        folder = _fetch()
    images, labels = (_read_idx(_find(Path(folder), name)) for name in _IDX_FILES[part])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise InputError(
            f"expected images (n, row, column) and as many labels, got shapes {images.shape} and {labels.shape} in "
            f"{str(folder)!r}; use the pair of files that belong together"
        )
    if min(images.shape[1:]) < 2 * _KERNEL_SIZE or len(images) == 0:
        raise InputError(
            f"expected images of at least {2 * _KERNEL_SIZE}×{2 * _KERNEL_SIZE} px, got {images.shape}; "
            "use MNIST's 28×28"
        )
    return images, labels


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz", folder / name.replace("-idx", ".idx")):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"expected the file {name} (or .gz) in {str(folder)!r}, got none; put MNIST's four IDX files there"
    )


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """One IDX file: two zero bytes, the type (8 = unsigned byte), the number of dims, big-endian sizes, the data."""
    raw = existing_file(path).read_bytes()
    try:
        data = expand(raw, str(path), wbits=31) if raw[:2] == b"\x1f\x8b" else raw
    except zlib.error as error:
        raise InputError(f"expected a gzipped IDX file, got {str(path)!r}: {error}; download it again") from None
    if len(data) < 4 or data[:3] != b"\0\0\x08" or not 1 <= data[3] <= 3:
        raise InputError(f"expected an IDX file of unsigned bytes, got {str(path)!r}; use MNIST's own files")
    sizes = np.frombuffer(data, ">u4", count=data[3], offset=4).astype(int) if len(data) >= 4 + 4 * data[3] else None
    body = data[4 + 4 * data[3] :]
    if sizes is None or sizes.prod() != len(body):
        raise InputError(
            f"expected {'a whole header' if sizes is None else f'{sizes.prod()} bytes of data'} in {str(path)!r}, got "
            f"{len(body)} bytes; the file is truncated, download it again"
        )
    return np.frombuffer(body, np.uint8).reshape(sizes)


def _fetch() -> Path:
    """The folder of torchvision's MNIST files in the user's cache, downloaded when they are not there."""
    from torchvision.datasets import MNIST

    root = cache_folder()
    try:
        MNIST(str(root), download=True)
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"expected MNIST in {str(root / 'MNIST')!r} or a network to fetch it, got {type(error).__name__}; "
            "give the folder that holds its four IDX files"
        ) from None
    return root / "MNIST" / "raw"


@named_strictly
def train_digits(
    folder: str | os.PathLike[str] | None = None,
    *,
    steps: int = 3000,
    seed: int | np.random.Generator | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trained:
    """Train Nielsen's network: 20 kernels of 5×5, 2×2 maximum pooling, 100 hidden units, one output a class.

    Parameters
    ----------
    folder : path, optional
        See `read_digits`.
    steps : int
        Batches of 64 digits; 3,000 are about three passes through MNIST, about a minute on one core.
    seed : int, numpy.random.Generator or None
        Initial weights and order of the digits.
    checkpoint : path, optional
        Written along the way, and continued from when it exists.

    Returns
    -------
    Trained
        ``bank`` (unit, luminance, 5, 5) with ``attrs["accuracy"]`` on the test digits.

    Raises
    ------
    InputError
        For missing or broken files, options out of range, and a checkpoint made with other options.
    """
    import torch
    from torch import nn

    positive(steps=steps)
    recorded = whole_seed(seed)
    images, labels = (torch.from_numpy(part.copy()) for part in read_digits(folder, part="train"))
    unseen, answers = (torch.from_numpy(part.copy()) for part in read_digits(folder, part="test"))
    classes = int(max(labels.max(), answers.max())) + 1
    height, width = ((size - _KERNEL_SIZE + 1) // 2 for size in images.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recorded)
        first = nn.Conv2d(1, _N_KERNELS, _KERNEL_SIZE)
        net = nn.Sequential(
            first,
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(_N_KERNELS * height * width, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, classes),
        )

    def respond(batch: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = net(batch[:, None].float() / 255)
        return logits

    def loss(step: int) -> tuple[torch.Tensor, float]:
        chosen = torch.randint(len(images), (_BATCH_SIZE,), generator=generator(recorded, step))
        logits = respond(images[chosen])
        truth = labels[chosen].long()
        return nn.functional.cross_entropy(logits, truth), float((logits.argmax(1) == truth).float().mean())

    task = Task(
        net=net,
        kernel=first.weight,
        loss=loss,
        optimizer=torch.optim.SGD(net.parameters(), lr=_LEARNING_RATE, momentum=0.9, weight_decay=_WEIGHT_DECAY),
        learning_rate=_LEARNING_RATE,
    )
    kernels, log = run(
        task,
        steps=steps,
        seed=recorded,
        watch=watched_steps(steps),
        options={"task": "digits", "n_images": len(images), "shape": list(images.shape[1:])},
        checkpoint=checkpoint,
        progress="digits",
    )
    with torch.no_grad():
        parts = torch.arange(len(unseen)).tensor_split(-(-len(unseen) // 1000))  # small enough for any memory
        right = [(respond(unseen[part]).argmax(1) == answers[part]).float() for part in parts]
    return trained(
        kernels,
        log,
        channel=("luminance",),
        source="digits network",
        seed=recorded,
        accuracy=float(torch.cat(right).mean()),
        trained_on=f"{len(images)} handwritten digits of {images.shape[1]}×{images.shape[2]} px from "
        f"{'MNIST' if folder is None else Path(folder).name}",
        task="name the digit",
        citation="Nielsen 2015, Neural Networks and Deep Learning, chapter 6 (the architecture)",
    )
