"""Weights kept in files: ``.npy``, ``.npz``, ``.pth``/``.pt`` and ``.safetensors``, none of them ever unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import bounded
from rfcompare.errors import InputError, first_line
from rfcompare.quantities import NOT_STATED

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npy", ".npz", ".pth", ".pt", ".bin", ".ckpt", ".safetensors")
"""Suffixes of files that hold kernels."""

_MAX_DEPTH = 8

MAX_ELEMENTS = 2**28
"""A first layer of more weights than this (1 GiB of float32) is a mistake; it is refused before it is read."""

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights", "params")
"""Where training checkpoints keep the weights; looked at first, in this order."""

_NO_WEIGHTS = ("optim", "sched", "scaler", "callback", "loop", "rng")
"""Parts of a training checkpoint whose tensors are none of the network's: an optimizer's moments look like weights."""


_Read = tuple["NDArray[Any]", str, Mapping[str, tuple[int, ...]]]
"""One entry, its key, and the shapes of all."""


@dataclass
class Weights:
    """A first layer's weights as they lie in their file or module.

    Attributes
    ----------
    array : numpy.ndarray
        In the file's own order of dims.
    name : str
        What the kernels are called: a network or a file.
    key : str
        The layer or the array's key; "" where the file holds only one array.
    groups : int
        Groups of the convolution, 1 when the file cannot say.
    std : tuple of float or None
        Standard deviations that the network's published preprocessing divides its input by (r, g, b).
    kind : str
        "learned" or "untrained" where the source itself says so, else "not stated": weights do not show it.
    attrs : dict
        Provenance that goes into the bank.
    """

    array: NDArray[Any]
    name: str
    key: str = ""
    groups: int = 1
    std: tuple[float, ...] | None = None
    kind: str = NOT_STATED
    attrs: dict[str, str | int | float] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    """Other entries that could be a first layer, when `key` was chosen as the first of several."""


def read_weights(path: Path, key: str | None) -> Weights:
    """Read one array of weights from a file.

    Parameters
    ----------
    path : pathlib.Path
        An existing file with one of `SUFFIXES`.
    key : str or None
        The entry to take; None takes the only array, or the first 4-D weight with three input channels.

    Returns
    -------
    Weights
        In the file's own order.

    Raises
    ------
    InputError
        The file cannot be read without running its code, or holds no array that could be kernels.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return Weights(_read_npy(path), name=path.stem)
    read = {".npz": _read_npz, ".safetensors": _read_safetensors}.get(suffix, _read_torch)
    array, chosen, shapes = read(path, key)
    return Weights(array, name=path.stem, key=chosen, rivals=() if key is not None else rivals(shapes, chosen))


def choose_weight(shapes: Mapping[str, tuple[int, ...]], key: str | None, where: str) -> str:
    """Choose the first layer's key among the entries of a checkpoint.

    The first 4-D entry with three input channels; without one, the first 4-D entry when it has a single input
    channel. A file format may sort its keys, so that the very first 4-D entry need not be the first layer.

    Examples
    --------
    >>> choose_weight({"bn.weight": (64,), "conv1.weight": (64, 3, 7, 7)}, None, "net.pth")
    'conv1.weight'
    """
    if key is not None:
        if key in shapes:
            return key
        raise InputError(f"{where} has no entry {key!r}; it has {_some(list(shapes))}: pass one of them as key=")
    four = [name for name, shape in shapes.items() if len(shape) == 4]
    if not four:
        raise InputError(
            f"expected a 4-D convolution weight (unit, channel, row, column) in {where}, found only "
            f"{_some([f'{name} {shape}' for name, shape in shapes.items()])}: is this a network with a convolution?"
        )
    for name in four:
        if shapes[name][1] == 3:
            return name
    if shapes[four[0]][1] == 1:
        return four[0]
    raise InputError(
        f"none of the 4-D weights in {where} has three input channels ({_some([f'{n} {shapes[n]}' for n in four])}): "
        "pass the first layer's entry as key="
    )


def rivals(shapes: Mapping[str, tuple[int, ...]], chosen: str) -> tuple[str, ...]:
    """Other entries with three input channels and more than one pixel: a copy of the network, or a later layer.

    Examples
    --------
    >>> rivals({"conv1": (8, 3, 7, 7), "ema.conv1": (8, 3, 7, 7), "bias": (8,)}, "conv1")
    ('ema.conv1',)
    """
    return tuple(
        name for name, shape in shapes.items() if name != chosen and len(shape) == 4 and shape[1] == 3 and shape[-1] > 1
    )


def _some(names: list[str], limit: int = 6) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(str(name) for name in names[:limit]) + more


def _bounded(shape: tuple[int, ...], where: str) -> None:
    elements = 1
    for size in shape:
        elements *= int(size)
    if elements > MAX_ELEMENTS:
        raise InputError(
            f"expected a first layer of at most {MAX_ELEMENTS} weights in {where}, got the shape {shape}; it is not "
            "read"
        )


def _read_npy(path: Path) -> NDArray[Any]:
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header stops NumPy, its tokenizer or the evaluation of its literal
        raise InputError(
            f"cannot read {path} as a NumPy array ({first_line(error)}); save it again with numpy.save"
        ) from None
    if not isinstance(mapped, np.ndarray):
        raise InputError(f"expected one array in {path}, got an archive; rename it to .npz and pass key=")
    _bounded(mapped.shape, str(path))
    return np.array(mapped)


def _read_npz(path: Path, key: str | None) -> _Read:
    try:
        # NumPy leaves a file that it opened itself open when the archive is damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            if key is None and len(names) == 1:
                key = names[0]
            shapes = {name: _npz_shape(archive, name) for name in names}
            key = choose_weight(shapes, key, str(path))
            _bounded(shapes[key], f"{path}, entry {key}")
            entry = archive.zip.getinfo(f"{key}.npy")
            bounded(entry.file_size, entry.compress_size, f"{path}, entry {key}")
            return np.asarray(archive[key]), key, shapes
    except InputError:
        raise
    except Exception as error:  # a damaged archive stops zipfile, zlib or NumPy, each with exceptions of its own
        raise InputError(
            f"cannot read {path} as a NumPy archive ({first_line(error)}); save it with numpy.savez"
        ) from None


def _npz_shape(archive: Any, name: str) -> tuple[int, ...]:
    """The shape from the entry's header alone: an archive can claim more than memory holds."""
    with archive.zip.open(f"{name}.npy") as entry:
        version = np.lib.format.read_magic(entry)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read_header(entry)[0]
    return shape


def _read_safetensors(path: Path, key: str | None) -> _Read:
    from safetensors import SafetensorError, safe_open

    try:
        # The torch framework, because NumPy has no bfloat16.
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            key = choose_weight(shapes, key, str(path))
            _bounded(shapes[key], f"{path}, entry {key}")
            return tensor_to_array(file.get_tensor(key), f"{path}, entry {key}"), key, shapes
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {path} as safetensors ({error}); is the download complete?") from None


def _read_torch(path: Path, key: str | None) -> _Read:
    import pickle

    import torch

    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bounded(sum(entry.file_size for entry in archive.infolist()), path.stat().st_size, str(path))
        # Memory-mapped where the format allows it: a checkpoint of gigabytes costs only its first layer.
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds pickled Python objects or no tensors at all, which rfcompare never runs; save the weights "
            "alone with torch.save(model.state_dict(), FILE)"
        ) from None
    except Exception as error:  # torch reports a damaged file by many exceptions, none of them its own
        raise InputError(
            f"cannot read {path} as PyTorch weights ({first_line(error)}); save them with "
            "torch.save(model.state_dict(), FILE)"
        ) from None
    if isinstance(content, torch.Tensor):
        return tensor_to_array(content, str(path)), "", {}
    tensors = _tensors(content)
    if key is not None and key not in tensors:
        tensors = _all_tensors(content)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    key = choose_weight(shapes, key, str(path))
    _bounded(shapes[key], f"{path}, entry {key}")
    return tensor_to_array(tensors[key], f"{path}, entry {key}"), key, shapes


def _tensors(content: Any, depth: int = 0) -> dict[str, Any]:
    """The flat name → tensor mapping of a checkpoint, inside a training checkpoint's usual wrapper or not.

    The first mapping that holds a 4-D tensor: a wrapper may keep its best accuracy as a tensor beside the weights.
    """
    import torch

    if not isinstance(content, Mapping) or depth > _MAX_DEPTH:
        return {}
    tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if any(tensor.ndim == 4 for tensor in tensors.values()):
        return tensors
    others = [name for name in content if not any(part in str(name).lower() for part in _NO_WEIGHTS)]
    for wrapper in (*_NESTED, *others):
        found = _tensors(content.get(wrapper), depth + 1)
        if any(tensor.ndim == 4 for tensor in found.values()):
            return found
        tensors = tensors or found
    return tensors


def _all_tensors(content: Any, path: str = "", depth: int = 0) -> dict[str, Any]:
    """Every tensor of a checkpoint by its whole path, as "ema.conv1.weight"."""
    import torch

    if isinstance(content, torch.Tensor):
        return {path: content}
    if not isinstance(content, Mapping) or depth > _MAX_DEPTH:
        return {}
    return {
        name: tensor
        for part, inner in content.items()
        for name, tensor in _all_tensors(inner, f"{path}.{part}" if path else str(part), depth + 1).items()
    }


def given_array(values: Any) -> NDArray[Any]:
    """What a caller gave as weights, an array or a torch tensor, as a NumPy array."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return tensor_to_array(values, "the tensor")
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"expected a name, a file, an array (unit, channel, row, column) or a network, got "
            f"{type(values).__name__}, which is no array ({first_line(error)})"
        ) from None


def tensor_to_array(tensor: Any, where: str) -> NDArray[Any]:
    """A torch tensor as a float32 or float64 NumPy array of its own."""
    import torch

    if tensor.is_complex() or tensor.is_quantized or tensor.is_meta or tensor.layout is not torch.strided:
        raise InputError(
            f"expected dense real weights with values in {where}, got {tensor.dtype} on {tensor.device}; convert them"
        )
    kept = tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    return np.array(kept.numpy())
