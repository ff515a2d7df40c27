"""Weights in files and mappings, none of them ever unpickled, and which of their entries was asked for.

Every source of weights comes down to named entries (`Entry`), each with its shape, the order of its dims and a way to
read it; `_pick` chooses one. NumPy, PyTorch and safetensors are read here, Keras in `rfcompare.sources.keras`, ONNX in
`rfcompare.sources.onnx_models`, modules in `rfcompare.sources.torchvision_models`.
"""

from __future__ import annotations

import difflib
import io
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.bank import bounded
from rfcompare.errors import InputError, first_line
from rfcompare.quantities import NOT_STATED
from rfcompare.sources.damage import read_as

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npy", ".npz", ".pth", ".pt", ".tar", ".bin", ".ckpt", ".safetensors", ".keras", ".onnx")
"""Suffixes of files that hold weights; HDF5 files are recognized by their content."""

_MAX_DEPTH = 8

_MAX_ELEMENTS = 2**28
"""A first layer of more weights than this (1 GiB of float32) is a mistake; it is refused before it is read."""

_NESTED = ("state_dict", "model_state_dict", "model", "net", "weights", "params")
"""Where training checkpoints keep the weights; looked at first, in this order."""

_NO_WEIGHTS = ("optim", "sched", "scaler", "callback", "loop", "rng")
"""Parts of a training checkpoint whose tensors are not the network's: an optimizer's moments look like weights."""

PYTORCH = {3: "unit y x", 4: "unit channel y x", 5: "unit channel lag y x"}
"""Order of a convolution's weights by their number of dims, as PyTorch and ONNX keep them."""


@dataclass(frozen=True)
class Entry:
    """One array of a source of weights."""

    shape: tuple[int, ...]
    """Known before anything is read."""
    read: Callable[[], NDArray[Any]]
    dims: str = ""
    """The order of its axes; "" where it is no convolution's."""
    groups: int = 1
    """Groups of the convolution, 1 when the source cannot say."""
    spare: bool = False
    """Whether it is a part of a checkpoint that is taken by its name alone."""

    @classmethod
    def of(cls, shape: tuple[int, ...], read: Callable[[], NDArray[Any]], groups: int = 1) -> Entry:
        """An entry in PyTorch's order."""
        return cls(shape, read, PYTORCH.get(len(shape), "") if len(shape) > 3 else "", groups)

    @property
    def inputs(self) -> int:
        """Channels that the convolution sees; 0 for what is no convolution."""
        return self._size("channel") * self.groups if self.dims else 0

    @property
    def pixels(self) -> int:
        """Pixels of one kernel."""
        return self._size("y") * self._size("x") if self.dims else 0

    def _size(self, name: str) -> int:
        return self.shape[self.dims.split().index(name)]


@dataclass
class Weights:
    """A layer's weights as they lie in their file or module, in its own order of dims."""

    array: NDArray[Any]
    name: str
    """What the kernels are called: a network or a file."""
    key: str = ""
    """The layer or the array's key; "" where the file holds only one array."""
    dims: str = ""
    groups: int = 1
    first: bool = True
    """Whether it is the first layer, whose inputs are an image's colors; a deeper one sees another layer's outputs."""
    std: tuple[float, ...] | None = None
    """Standard deviations that the network's published preprocessing divides its input by (r, g, b)."""
    kind: str = NOT_STATED
    """Weights do not show whether they were trained: stated only where the source itself says so."""
    attrs: dict[str, str | int | float] = field(default_factory=dict)
    rivals: tuple[str, ...] = ()
    """Other entries that could be a first layer, when `key` was chosen as the first of several."""


def holds_weights(path: Path) -> bool:
    """Whether a file's weights are for `load_kernels` to read: known by its suffix or its content."""
    from rfcompare.sources import keras

    if h5py.is_hdf5(path):
        return keras.is_keras(path)
    return path.suffix.lower() in SUFFIXES


def picked(entries: Mapping[str, Entry], key: str | None, layer: str | None, *, name: str, where: str) -> Weights:
    """The weights of the entry that was asked for, or of the first layer."""
    if list(entries) == [""] and key is None and layer is None:
        return Weights(entries[""].read(), name=name, dims="")
    chosen, others = _pick(entries, key, layer, where)
    entry = entries[chosen]
    size = int(np.prod(entry.shape, dtype=float)) if entry.shape else 0
    if size > _MAX_ELEMENTS:
        raise InputError(
            f"expected a layer of at most {_MAX_ELEMENTS} weights in {where}, entry {chosen}, got the shape "
            f"{entry.shape}; it is not read"
        )
    # What is no convolution, such as the matrix of a patch embedding, has as many colors as its dims will say.
    first = not entry.dims or entry.inputs == 3 or chosen in first_layers(entries)
    return Weights(
        entry.read(), name=name, key=chosen, dims=entry.dims, groups=entry.groups, first=first, rivals=tuple(others)
    )


def first_layers(entries: Mapping[str, Entry]) -> list[str]:
    """Entries that could be a first layer, the likeliest first.

    Convolutions that see three colors through more than one pixel; without one, the first convolution when it sees a
    single channel, or an array that is alone, whatever the order of its dims. A file format may sort its keys, so that
    the very first convolution need not be the first layer.
    """
    layers = [name for name, entry in entries.items() if entry.dims and not entry.spare]
    color = [name for name in layers if entries[name].inputs == 3]
    wide = [name for name in color if entries[name].pixels > 1]
    plane = [name for name in wide if len(entries[name].shape) == 4]
    if color:
        return plane or wide or color
    if layers and entries[layers[0]].inputs == 1:
        return layers[:1]
    alone = len(entries) == 1 and 3 <= len(next(iter(entries.values())).shape) <= 5
    return list(entries) if alone else []


def _pick(entries: Mapping[str, Entry], key: str | None, layer: str | None, where: str) -> tuple[str, list[str]]:
    """The entry that was asked for, and the others that could have been meant where nothing was.

    Examples
    --------
    >>> entries = {"conv1.weight": Entry.of((64, 3, 7, 7), None), "conv2.weight": Entry.of((8, 64, 3, 3), None)}
    >>> _pick(entries, None, None, "net.pth"), _pick(entries, None, "conv2", "net.pth")
    (('conv1.weight', []), ('conv2.weight', []))
    """
    if key is not None and layer is not None:
        raise InputError(f"expected either key or layer, got key={key!r} and layer={layer!r}; leave one out")
    if key is not None:
        if key in entries:
            return key, []
        raise InputError(f"{where} has no entry {key!r}; it has {_near(key, list(entries))}: pass one of them as key=")
    if layer is not None:
        return _of_layer(entries, layer, where), []
    first = first_layers(entries)
    if first:
        return first[0], first[1:]
    layers = [f"{name} {entry.shape}" for name, entry in entries.items() if entry.dims]
    if layers:
        raise InputError(
            f"none of the 4-D weights in {where} has three input channels ({some(layers)}): pass the first layer's "
            "entry as key=, or a deeper layer as layer="
        )
    found = some([f"{name} {entry.shape}" for name, entry in entries.items()])
    raise InputError(
        f"expected a 4-D convolution weight (unit, channel, row, column) in {where}, found only {found}: is this a "
        "network with a convolution?"
    )


def _of_layer(entries: Mapping[str, Entry], layer: str, where: str) -> str:
    """The entry that holds the weights of a layer: its convolution, or its only matrix."""
    dotted = [(name, f".{name.replace('/', '.')}.") for name in entries]
    inside = [name for name, path in dotted if path.startswith(f".{layer.replace('/', '.')}.")]
    inside = inside or [name for name, path in dotted if f".{layer.replace('/', '.')}." in path]
    weights = [name for name in inside if entries[name].dims]
    weights = weights or [name for name in inside if len(entries[name].shape) == 2]
    if len(weights) == 1:
        return weights[0]
    if weights:
        raise InputError(f"{layer} of {where} holds several weights, {some(weights)}; pass one of them as key=")
    names = [name.rpartition(".")[0] or name for name, entry in entries.items() if entry.dims]
    raise InputError(f"{where} has no layer {layer!r} with kernels; it has {_near(layer, names)}")


def _near(name: str, known: list[str]) -> str:
    return some(difflib.get_close_matches(name, known, n=4) or known)


def some(names: list[str]) -> str:
    """The first six of many names."""
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return (", ".join(names[:6]) or "nothing") + more


@contextmanager
def entries_of(path: Path) -> Iterator[dict[str, Entry]]:
    """The entries of a file of weights, told by its content; they can be read while the block lasts."""
    from rfcompare.sources import keras, onnx_models

    with path.open("rb") as file:
        start = file.read(16)
    suffix = path.suffix.lower()
    if h5py.is_hdf5(path) or (suffix == ".keras" and zipfile.is_zipfile(path)):
        opened = keras.entries_of(path)
    elif start.startswith(b"\x93NUMPY") or suffix == ".npy":
        opened = _npy(path)
    elif suffix == ".npz" or _holds(path, ".npy"):
        opened = _npz(path)
    elif suffix == ".onnx":
        opened = onnx_models.entries_of(path)
    elif suffix == ".safetensors":
        opened = _safetensors(path)
    else:
        opened = _torch(path)
    with opened as entries:
        yield entries


def _holds(path: Path, suffix: str) -> bool:
    """Whether a file is a zip archive whose members all end so."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # zipfile stops at damage with exceptions of many kinds; the reader reports it
        return False
    return bool(names) and all(name.endswith(suffix) for name in names)


@contextmanager
def _npy(path: Path) -> Iterator[dict[str, Entry]]:
    with read_as("a NumPy array", path, "save it again with numpy.save"):
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                _npy_shape(file)
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(mapped, np.ndarray):
        raise InputError(f"expected one array in {path}, got an archive; rename it to .npz and pass key=")
    if mapped.size > _MAX_ELEMENTS:
        raise InputError(f"expected at most {_MAX_ELEMENTS} weights in {path}, got the shape {mapped.shape}")
    yield {"": Entry.of(mapped.shape, lambda: np.array(mapped))}


@contextmanager
def _npz(path: Path) -> Iterator[dict[str, Entry]]:
    damage = read_as("a NumPy archive", path, "save it with numpy.savez")
    # NumPy leaves a file that it opened itself open when the archive is damaged.
    with damage, path.open("rb") as file, np.load(file, allow_pickle=False) as archive:

        def entry(name: str) -> Entry:
            # The shape from the entry's header alone: an archive can claim more than memory holds.
            with archive.zip.open(f"{name}.npy") as header:
                return Entry.of(_npy_shape(header), lambda: read(name))

        def read(name: str) -> NDArray[Any]:
            packed = archive.zip.getinfo(f"{name}.npy")
            bounded(packed.file_size, packed.compress_size, f"{path}, entry {name}")
            return np.asarray(archive[name])

        yield {name: entry(name) for name in archive.files}


def _npy_shape(file: IO[bytes]) -> tuple[int, ...]:
    """The shape that a header says; of a header that claims to be longer than any is, only the beginning is read."""
    start = io.BytesIO(file.read(2**16))
    version = np.lib.format.read_magic(start)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read_header(start)[0]
    return shape


@contextmanager
def _safetensors(path: Path) -> Iterator[dict[str, Entry]]:
    from safetensors import SafetensorError, safe_open

    damage = read_as("safetensors", path, "is the download complete?", errors=(SafetensorError, OSError))
    # The torch framework, because NumPy has no bfloat16.
    with damage, safe_open(path, framework="pt") as file:

        def entry(name: str) -> Entry:
            shape = tuple(file.get_slice(name).get_shape())
            return Entry.of(shape, lambda: tensor_to_array(file.get_tensor(name), f"{path}, entry {name}"))

        yield {name: entry(name) for name in list(file.keys())}


@contextmanager
def _torch(path: Path) -> Iterator[dict[str, Entry]]:
    import pickle

    import torch

    with read_as("PyTorch weights", path, "save them with torch.save(model.state_dict(), FILE)"):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                bounded(sum(entry.file_size for entry in archive.infolist()), path.stat().st_size, str(path))
        try:
            # Memory-mapped where the format allows it: a checkpoint of gigabytes costs only its first layer.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except pickle.UnpicklingError:
            raise InputError(
                f"{path} holds pickled Python objects or no tensors at all, which rfcompare never runs; save the "
                "weights alone with torch.save(model.state_dict(), FILE)"
            ) from None
    yield mapping_entries(content, str(path))


def mapping_entries(content: Any, where: str) -> dict[str, Entry]:
    """The entries of a state dict, bare or as training keeps it, of tensors or arrays.

    The first mapping that holds a convolution comes under its own names; every other tensor by its whole path, as
    "ema.conv1.weight".
    """
    if not isinstance(content, Mapping):
        return {"": Entry.of(tuple(content.shape), lambda: given_array(content))} if hasattr(content, "shape") else {}
    tensors = _all_tensors(content)
    network = _of_network(tensors)

    def entry(name: str, value: Any, spare: bool) -> Entry:
        def read() -> NDArray[Any]:
            return (
                np.array(value) if isinstance(value, np.ndarray) else tensor_to_array(value, f"{where}, entry {name}")
            )

        return replace(Entry.of(tuple(value.shape), read), spare=spare)

    own = {path[-1]: entry(path[-1], value, False) for path, value in tensors.items() if path[:-1] == network}
    others = {".".join(path): value for path, value in tensors.items() if path[:-1] != network}
    return own | {name: entry(name, value, True) for name, value in others.items() if name not in own}


def _all_tensors(content: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every tensor of a checkpoint by its path through the mappings."""
    if _is_tensor(content) or isinstance(content, np.ndarray):
        return {path: content}
    if not isinstance(content, Mapping) or len(path) > _MAX_DEPTH:
        return {}
    inside = (_all_tensors(inner, (*path, str(part))) for part, inner in content.items())
    return {name: tensor for tensors in inside for name, tensor in tensors.items()}


def _of_network(tensors: Mapping[tuple[str, ...], Any]) -> tuple[str, ...]:
    """Path of the mapping that holds a network's weights, inside a training checkpoint's usual wrapper or not.

    The first that holds a 4-D tensor: a wrapper may keep its best accuracy as a tensor beside the weights.
    """
    order = {path[:depth]: place for place, path in enumerate(tensors) for depth in range(1, len(path))}

    def rank(parent: tuple[str, ...]) -> list[tuple[int, int]]:
        usual = [_NESTED.index(part) if part in _NESTED else len(_NESTED) for part in parent]
        return [(place, order[parent[:depth]]) for depth, place in enumerate(usual, start=1)]

    def is_spare(part: str) -> bool:
        return part not in _NESTED and any(word in part.lower() for word in _NO_WEIGHTS)

    parents = {path[:-1] for path in tensors if not any(map(is_spare, path[:-1]))}
    layers = {path[:-1] for path, tensor in tensors.items() if len(tensor.shape) in (4, 5)} & parents
    return min(layers or parents, key=rank, default=())


def _is_tensor(value: object) -> bool:
    """Whether a value is torch's tensor, without importing torch for anything else."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def given_array(values: Any) -> NDArray[Any]:
    """What a caller gave as weights, an array or a torch tensor, as a NumPy array."""
    if _is_tensor(values):
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
    # A view may repeat one number any number of times.
    bounded(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes(), where)
    kept = tensor.detach().to("cpu", torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    return np.array(kept.numpy())
