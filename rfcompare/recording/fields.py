"""Which input pixels a unit can see, whatever the network's architecture."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.errors import InputError, first_line
from rfcompare.sources.checkpoints import some

if TYPE_CHECKING:
    from torch import Tensor, nn

_CANVAS = 224
"""Side of the image on which a field is looked for in the end: that of networks for photographs."""

_SMALL = (32, 64, 128)
"""Sides on which it is looked for before, for speed; it counts where a canvas wider by a quarter has the same."""


@dataclass(frozen=True)
class Field:
    """The input pixels that reach the central unit of a layer.

    Attributes
    ----------
    size : (int, int)
        Rows and columns of the field.
    start : (int, int)
        Its first row and column on the canvas.
    canvas : (int, int)
        Rows and columns of the image shown.
    channels : int
        Of the image.
    """

    size: tuple[int, int]
    start: tuple[int, int]
    canvas: tuple[int, int]
    channels: int


def _find_layer(model: nn.Module, layer: str) -> nn.Module:
    """A module by its name, or one sentence with the names that were meant."""
    layers: dict[str, nn.Module] = dict(model.named_modules())
    if layer in layers:
        return layers[layer]
    names = [name for name in layers if name]
    near = difflib.get_close_matches(str(layer), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {some(names)}"
    raise InputError(f"{type(model).__name__} has no layer {layer!r}; {hint}")


class _Stop(Exception):
    """The layer has answered; the rest of the network need not run."""


def central(model: nn.Module, layer: str, images: Tensor, *, gradient: bool = False) -> Tensor:
    """Responses (frame, unit) of a layer's central position to images (frame, channel, row, column)."""
    import torch

    kept: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Any) -> None:
        kept.append(output)
        raise _Stop

    handle = _find_layer(model, layer).register_forward_hook(keep)
    try:
        with torch.set_grad_enabled(gradient):
            model(images)
    except _Stop:
        pass
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise InputError(
            f"expected images that {type(model).__name__} takes, got {images.shape[1]} channels of {images.shape[2]} × "
            f"{images.shape[3]} pixels ({first_line(error)}); give canvas, or another model"
        ) from None
    finally:
        handle.remove()
    if not kept:
        raise InputError(f"{type(model).__name__} never runs its layer {layer!r}; name another")
    output = kept[0]
    if not isinstance(output, torch.Tensor) or output.ndim not in (2, 4):
        raise InputError(
            f"expected layer {layer!r} to give planes or a vector of units, got another shape; name another"
        )
    return output if output.ndim == 2 else output[:, :, output.shape[2] // 2, output.shape[3] // 2]


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """A network's first convolution, whose channels are those of the images that it takes, and its name."""
    from torch import nn

    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):
            return name, part
    raise InputError(f"expected a network with a 2-D convolution, {type(model).__name__} has none; give another")


def _reach(model: nn.Module, layer: str, canvas: tuple[int, int], channels: int) -> Field | None:
    """The field on a canvas: a margin that is not a number leaves the unit one as long as it does not see it.

    The widest margin on each of the four sides is found by bisection.
    """
    import torch

    like = next(model.parameters(), torch.zeros(0))
    sides = np.repeat(canvas, 2)  # above, below, left, right
    unseen, seen = np.zeros(4, int), sides + 1
    while (seen - unseen > 1).any():
        margin = (unseen + seen) // 2
        images = torch.zeros(4, channels, *canvas, dtype=like.dtype, device=like.device)
        for side, wide in enumerate(margin):
            lines = slice(0, int(wide)) if side % 2 == 0 else slice(canvas[side // 2] - int(wide), None)
            images[(side, slice(None), lines) if side < 2 else (side, slice(None), slice(None), lines)] = np.nan
        reached = _blind(model, layer, images).isnan().any(1).cpu().numpy()
        seen, unseen = np.where(reached, margin, seen), np.where(reached, unseen, margin)
        if (unseen >= sides).any():
            return None
    top, below, left, right = (int(wide) for wide in unseen)
    size = (canvas[0] - top - below, canvas[1] - left - right)
    return Field(size, (top, left), canvas, channels) if min(size) > 0 else None


def _blind(model: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Responses without fast convolutions on transformed tiles, in which what is not a number spreads."""
    from torch.backends import mkldnn

    kept = mkldnn.enabled
    mkldnn.enabled = False  # type: ignore[assignment]
    try:
        return central(model, layer, images)
    finally:
        mkldnn.enabled = kept


def field_of(
    model: nn.Module, layer: str, *, shown: tuple[int, int] | None = None, canvas: int | tuple[int, int] | None = None
) -> Field:
    """Find the theoretical field of a layer's central unit, and a canvas that holds it.

    Parameters
    ----------
    model : nn.Module
        Any; what runs behind the layer does not matter.
    layer : str
        Name of a module in it.
    shown : (int, int), optional
        Rows and columns of a stimulus that is to cover it.
    canvas : int or (int, int), optional
        Size of the image that the network wants; default: 224 to find the field, then as small as suffices.

    Returns
    -------
    Field

    Raises
    ------
    InputError
        No such layer, images of that size do not pass, or the stimulus is smaller than the field.

    Examples
    --------
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 7, 2), nn.MaxPool2d(3, 2), nn.Conv2d(4, 8, 3))
    >>> field_of(model, "2").size  # 7 + (3 - 1)·2 + (3 - 1)·4
    (19, 19)
    """
    channels = int(first_convolution(model)[1].in_channels)
    sides = _CANVAS if canvas is None else canvas
    full = (sides, sides) if isinstance(sides, int) else sides
    found = None if canvas is not None else _on_a_small_canvas(model, layer, channels)
    whole = found or _reach(model, layer, full, channels)
    if whole is None:
        raise InputError(f"expected layer {layer!r} to depend on the image, it does not; name another")
    if shown is not None and (shown[0] < whole.size[0] or shown[1] < whole.size[1]):
        raise InputError(
            f"expected a stimulus at least as large as the field of {layer or 'the maps'}, {whole.size[0]} × "
            f"{whole.size[1]} pixels, got {shown[0]} × {shown[1]}; show more points or larger elements"
        )
    for larger in () if canvas is not None else range(2 * max(whole.size)):
        tried = (whole.size[0] + larger, whole.size[1] + larger)
        if max(tried) >= _CANVAS:
            break
        field = _tried(model, layer, tried, channels)
        if field is not None and field.size == whole.size:
            return field
    return (found and _reach(model, layer, full, channels)) or whole


def _on_a_small_canvas(model: nn.Module, layer: str, channels: int) -> Field | None:
    """The field where a small image shows it whole, whatever the image's size."""
    _find_layer(model, layer)
    for side in _SMALL:
        small, wider = (_tried(model, layer, (each, each), channels) for each in (side, side * 5 // 4))
        if not small or not wider or small.size != wider.size or min(small.start) == 0:
            continue
        if all(start + size < side for start, size in zip(small.start, small.size, strict=True)):
            return wider
    return None


def _tried(model: nn.Module, layer: str, canvas: tuple[int, int], channels: int) -> Field | None:
    """The field on a canvas; None where the network takes no such image."""
    try:
        return _reach(model, layer, canvas, channels)
    except InputError:
        return None


def placed(model: nn.Module, field: Field, images: Any) -> Tensor:
    """Images (image, channel, row, column) of the field on the canvas, about it the background, as the model wants."""
    import torch

    like = next(model.parameters(), torch.zeros(0))
    shown = torch.as_tensor(images, dtype=like.dtype, device=like.device)
    canvas = torch.zeros(len(shown), field.channels, *field.canvas, dtype=like.dtype, device=like.device)
    top, left = field.start
    canvas[:, :, top : top + shown.shape[2], left : left + shown.shape[3]] = shown
    return canvas
