"""An AlexNet front end trained without labels on a folder of photographs.

A few photographs suffice for a first layer when they are strongly augmented (Asano, Rupprecht & Vedaldi 2020,
arXiv:1904.13132). Two random views of one tile of a photograph are to be told from views of all other tiles (instance
discrimination; Chen et al. 2020, arXiv:2002.05709): nothing but the photographs is needed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rfcompare.bank import as_path, picture
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import REC601
from rfcompare.training.loop import Task, Trained, generator, positive, run, trained, watched_steps, whole_seed

if TYPE_CHECKING:
    import torch

_KERNEL_SIZE = 11
_STRIDE = 4
_TILE = 160
"""Side (px) of the square tiles that are the instances."""

_VIEW = 64
"""Side (px) of the views that the network sees: 14×14 responses of the first layer."""

_MAX_TILES = 1000
_MOST_PIXELS = 16_000_000
_LONGEST_SHORT_SIDE = 480
"""Larger photographs are reduced to this: at full camera resolution 11 px see little but blur and compression."""

_BATCH_SIZE = 64
_TEMPERATURE = 0.1
_LEARNING_RATE = 0.002
_WEIGHT_DECAY = 1.0
_INITIAL_SD = 0.003
"""Small first weights and strong (decoupled) decay: what the photographs teach soon outweighs the initial noise, and
the noise of single batches, as strong at the finest frequencies as anywhere while photographs are not, dies away."""

_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


def read_photographs(folder: str | os.PathLike[str], *, smallest: int = _TILE) -> list[NDArray[np.uint8]]:
    """Read every photograph of a folder as (row, column, rgb), reduced to at most 480 px on the short side.

    Parameters
    ----------
    folder : path
        Its JPEG, PNG, TIFF, BMP and WebP files are read in order of name; other files are skipped.
    smallest : int
        Photographs with a shorter side are left out.

    Raises
    ------
    InputError
        When the folder does not exist or nothing in it can be used.

    Examples
    --------
    >>> read_photographs("no/such/folder")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a folder of photographs, got 'no/such/folder'; give the folder's path
    """
    from PIL import Image

    place = as_path(folder)
    if not place.is_dir():
        raise InputError(f"expected a folder of photographs, got {str(folder)!r}; give the folder's path")
    photographs = []
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in _SUFFIXES)
    for file in tqdm(files, desc="photographs", unit="file", disable=None):
        try:
            image = picture(file, most_pixels=_MOST_PIXELS)
        except InputError:
            continue
        reduction = min(1.0, _LONGEST_SHORT_SIDE / min(image.size))
        if reduction < 1:
            width, height = (round(side * reduction) for side in image.size)
            image = image.resize((width, height), Image.Resampling.LANCZOS)
        if min(image.size) >= smallest:
            photographs.append(np.asarray(image))
    if not photographs:
        raise InputError(
            f"expected photographs of at least {smallest} px a side in {str(folder)!r}, got none among {len(files)} "
            "image files; give another folder"
        )
    return photographs


def _cut_tiles(photographs: list[NDArray[np.uint8]], *, tile: int = _TILE) -> NDArray[np.uint8]:
    """Square tiles that cover every photograph, overlapping where they must: (tile, rgb, row, column)."""
    tiles = []
    for photograph in photographs:
        corners = [
            np.unique(np.linspace(0, side - tile, max(1, -(-side // tile))).round().astype(int))
            for side in photograph.shape[:2]
        ]
        tiles += [photograph[top : top + tile, left : left + tile] for top in corners[0] for left in corners[1]]
    step = max(1, len(tiles) // _MAX_TILES)
    return np.stack(tiles[::step][:_MAX_TILES]).transpose(0, 3, 1, 2)


def _draw_views(tiles: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """One random view of every tile: place, zoom, rotation, mirror, saturation, color cast, contrast.

    Saturation and color cast vary so much that color alone does not give a tile away; otherwise a network of this size
    learns little but hues.
    """
    import torch
    from torch.nn import functional

    n = len(tiles)

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=random)

    scale, angle = uniform(0.36, 0.8), uniform(-0.5, 0.5)
    mirror = torch.where(torch.rand(n, generator=random) < 0.5, -1.0, 1.0)
    place = torch.zeros(n, 2, 3)
    place[:, 0, 0], place[:, 0, 1] = scale * angle.cos() * mirror, -scale * angle.sin()
    place[:, 1, 0], place[:, 1, 1] = scale * angle.sin() * mirror, scale * angle.cos()
    place[:, 0, 2], place[:, 1, 2] = (1 - scale) * uniform(-1, 1), (1 - scale) * uniform(-1, 1)
    grid = functional.affine_grid(place, [n, 3, _VIEW, _VIEW], align_corners=False)
    view = functional.grid_sample(tiles, grid, padding_mode="reflection", align_corners=False)
    gray = torch.einsum("nchw,c->nhw", view, torch.tensor(REC601))[:, None]
    saturation = uniform(0, 1.6) * (torch.rand(n, generator=random) > 0.3)
    view = gray + (view - gray) * saturation[:, None, None, None]
    cast = 1 + 0.3 * torch.randn(n, 3, generator=random) * (torch.rand(n, 1, generator=random) < 0.5)
    view = view * cast[:, :, None, None]
    view = view - view.mean((2, 3), keepdim=True) * uniform(0.5, 1.0)[:, None, None, None]
    result: torch.Tensor = view / (view.std((1, 2, 3), keepdim=True) + 0.05)
    return result


@named_strictly
def train_images(
    folder: str | os.PathLike[str],
    *,
    steps: int = 4000,
    n_kernels: int = 64,
    seed: int | np.random.Generator | None = 0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Trained:
    """Train an AlexNet front end (11×11 kernels, stride 4) on photographs without labels.

    Convolution, rectification and 3×3 maximum pooling as in AlexNet, a second, normalized convolution, and a code of
    128 numbers. The loss is that of SimCLR with views of 64 px.

    Parameters
    ----------
    folder : path
        Photographs; fifty are plenty.
    steps : int
        Batches of 64 tiles, two views each; 4,000 take about ten minutes on one core.
    n_kernels : int
        Kernels of the first layer (AlexNet has 96; torchvision's 64).
    seed : int, numpy.random.Generator or None
        Initial weights and views.
    checkpoint : path, optional
        Written along the way, and continued from when it exists.

    Returns
    -------
    Trained
        ``bank`` (unit, rgb, 11, 11); ``attrs["accuracy"]`` is the share of views whose partner was found among all
        views of a batch at the end of training.

    Raises
    ------
    InputError
        For a folder without photographs, options out of range, and a checkpoint made with other options.
    """
    import torch
    from torch import nn

    positive(steps=steps, n_kernels=n_kernels)
    recorded = whole_seed(seed)
    photographs = read_photographs(folder)
    cut = _cut_tiles(photographs)
    if len(cut) < 4:
        raise InputError(
            f"expected photographs with room for at least 4 tiles of {_TILE} px, got {len(cut)}; add photographs"
        )
    tiles = torch.from_numpy(cut).float() / 255
    tiles -= tiles.mean((0, 2, 3), keepdim=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recorded)
        first = nn.Conv2d(3, n_kernels, _KERNEL_SIZE, stride=_STRIDE)
        net = nn.Sequential(
            first,
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(n_kernels, 96, 3, padding=1, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.LazyLinear(128),
        )
        nn.init.normal_(first.weight, std=_INITIAL_SD)
        net(torch.zeros(2, 3, _VIEW, _VIEW))
    batch = min(_BATCH_SIZE, len(tiles))

    def loss(step: int) -> tuple[torch.Tensor, float]:
        random = generator(recorded, step)
        chosen = tiles[torch.randperm(len(tiles), generator=random)[:batch]]
        code = nn.functional.normalize(net(torch.cat([_draw_views(chosen, random), _draw_views(chosen, random)])))
        likeness = (code @ code.T / _TEMPERATURE).fill_diagonal_(-torch.inf)
        partner = torch.arange(2 * batch).roll(batch)
        return nn.functional.cross_entropy(likeness, partner), float((likeness.argmax(1) == partner).float().mean())

    task = Task(
        net=net,
        kernel=first.weight,
        loss=loss,
        optimizer=torch.optim.AdamW(net.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY),
        learning_rate=_LEARNING_RATE,
        warmup=100,
    )
    kernels, log = run(
        task,
        steps=steps,
        seed=recorded,
        watch=watched_steps(steps),
        options={"task": "images", "n_kernels": n_kernels, "n_tiles": len(tiles)},
        checkpoint=checkpoint,
        progress="images",
    )
    return trained(
        kernels,
        log,
        channel=("r", "g", "b"),
        source="photograph network",
        seed=recorded,
        accuracy=float(log.accuracy.iloc[-1]),
        trained_on=f"{len(photographs)} photographs ({len(tiles)} tiles of {_TILE} px), without labels",
        task="find the other view of the same tile (instance discrimination)",
        citation="Asano, Rupprecht & Vedaldi 2020, arXiv:1904.13132; Chen et al. 2020, arXiv:2002.05709 (the method)",
    )
