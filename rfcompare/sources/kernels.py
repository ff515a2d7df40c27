"""From a first layer's weights, wherever they were kept, to a bank of color kernels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import make_bank
from rfcompare.errors import InputError

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from rfcompare.sources.checkpoints import Weights

CHANNEL_ORDERS = ("rgb", "bgr")


def to_bank(
    weights: Weights,
    *,
    channel_order: str,
    dims: str | None,
    divide_by_std: bool | Sequence[float],
    kind: str | None,
    deg_per_px: float | tuple[float, float] | None,
    subject: str | None,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Bring weights into the bank's order and record everything that was done to them."""
    if channel_order not in CHANNEL_ORDERS:
        raise InputError(
            f"expected channel_order to be 'rgb' or 'bgr', got {channel_order!r}; networks from Caffe have 'bgr'"
        )
    array, channel = _in_order(weights, dims)
    steps = [f"{weights.name}{f', {weights.key}' if weights.key else ''}: {weights.array.shape} {weights.array.dtype}"]
    if weights.rivals:
        more = "…" if len(weights.rivals) > 4 else ""
        steps.append(f"the first that could be a first layer, before {', '.join(weights.rivals[:4])}{more}")
    if channel == ("r", "g", "b") and channel_order == "bgr":
        array = array[:, ::-1]
        steps.append("channels reversed from b, g, r")
    std = _std(divide_by_std, weights, channel)
    if std is not None:
        array = array / np.asarray(std, array.dtype)[:, None, None]
        steps.append(f"divided by the input's standard deviations {std}")
    taken = {"divided_by_std", "history"} & set(attrs)
    if taken:
        raise InputError(
            f"expected more provenance such as citation, got {', '.join(sorted(taken))}, which load_kernels itself "
            "says; leave it out, or build the bank with make_bank"
        )
    return make_bank(
        array,
        channel=channel,
        kind=kind or weights.kind,
        rows="down",
        deg_per_px=deg_per_px,
        subject=subject or weights.name,
        source=weights.name if not weights.key else f"{weights.name}:{weights.key}",
        attrs={
            "network": weights.name,
            "layer": weights.key,
            "divided_by_std": None if std is None else list(std),
            "history": "load_kernels: " + "; ".join(steps),
            **weights.attrs,
            **attrs,
        },
    )


def _in_order(weights: Weights, dims: str | None) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Weights as (unit, channel, row, column) floats, and what their channels are."""
    array = weights.array
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise InputError(
            f"expected real numbers as weights of {weights.name}, got {array.dtype}; convert them to float"
        )
    if not isinstance(dims, str | None):
        raise InputError(f"expected dims to be a text such as 'unit y x channel', got {dims!r}; join the names")
    words = (dims or ("unit y x" if array.ndim == 3 else "unit channel y x")).replace(",", " ").split()
    if sorted(words) not in (["channel", "unit", "x", "y"], ["unit", "x", "y"]):
        raise InputError(
            f"expected dims to name unit, channel, y and x once each (channel may be left out), got {dims!r}; write "
            "dims='unit channel y x' in the array's own order"
        )
    if array.ndim != len(words):
        raise InputError(
            f"expected an array with the {len(words)} dims {' '.join(words)!r} from {weights.name}, got the shape "
            f"{array.shape}; pass dims= in the array's own order"
        )
    if dims is None and array.ndim == 4 and array.shape[:3] == (3, 3, 3) and array.shape[3] != 3:
        raise InputError(
            f"expected the order of the axes of {weights.name}, whose shape {array.shape} is that of 3 × 3 kernels in "
            "TensorFlow's; pass dims='y x channel unit' (or 'unit channel y x')"
        )
    array = array.transpose([words.index(word) for word in ("unit", "channel", "y", "x") if word in words])
    if array.dtype not in (np.float32, np.float64):
        # Only what fits: a wide integer or a double of the other byte order keeps its digits.
        wide = np.result_type(array.dtype.newbyteorder("="), np.float32).itemsize > 4
        array = array.astype(np.float64 if wide else np.float32)
    if array.ndim == 3:
        return _signed(array, weights)[:, None], ("luminance",)
    inputs, groups = array.shape[1], weights.groups
    if inputs * groups == 3:
        return _ungrouped(_signed(array, weights), groups), ("r", "g", "b")
    if inputs * groups == 1:
        return _signed(array, weights), ("luminance",)
    order = ""
    if dims is None:
        likely = "y x channel unit" if weights.array.shape[2] in (1, 3) else "unit y x channel"
        order = f"; if the array has another order, say so with dims={likely!r}"
    raise InputError(
        f"expected a first layer with 3 (r, g, b) or 1 (luminance) input channels in {weights.name}, got "
        f"{inputs * groups} from the shape {weights.array.shape}{order}"
    )


def _signed(array: NDArray[Any], weights: Weights) -> NDArray[Any]:
    """The array, unless it can hold no negative weight: gray would be taken for excitation, every kernel for a blob."""
    if np.issubdtype(weights.array.dtype, np.unsignedinteger):
        raise InputError(
            f"expected weights of both signs of {weights.name}, got {weights.array.dtype}, as in a picture of kernels; "
            "save them as float with the gray level that stands for zero subtracted"
        )
    return array


def _ungrouped(array: NDArray[Any], groups: int) -> NDArray[Any]:
    """A grouped convolution's weights with the zeros written out: each unit sees only its own group's channels."""
    if groups == 1:
        return array
    units, inputs = array.shape[:2]
    full = np.zeros((units, groups * inputs, *array.shape[2:]), array.dtype)
    per_group = units // groups
    for group in range(groups):
        rows = slice(group * per_group, (group + 1) * per_group)
        full[rows, group * inputs : (group + 1) * inputs] = array[rows]
    return full


def _std(divide_by_std: bool | Sequence[float], weights: Weights, channel: tuple[str, ...]) -> tuple[float, ...] | None:
    if divide_by_std is False:
        return None
    if divide_by_std is True:
        if weights.std is None:
            raise InputError(
                f"the input's standard deviations of {weights.name} are not known; pass divide_by_std=[r, g, b], for "
                "most ImageNet networks [0.229, 0.224, 0.225]"
            )
        std = weights.std
    else:
        try:
            std = tuple(float(value) for value in divide_by_std)
        except (TypeError, ValueError):
            raise InputError(f"expected divide_by_std to be True, False or numbers, got {divide_by_std!r}") from None
    if len(std) != len(channel) or not all(np.isfinite(value) and value > 0 for value in std):
        raise InputError(
            f"expected {len(channel)} positive standard deviations, one for each of {', '.join(channel)}, got "
            f"{list(std)}"
        )
    return std


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
