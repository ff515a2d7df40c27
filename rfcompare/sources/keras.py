"""Keras weights: HDF5 as ``model.save_weights`` and ``model.save`` write it, and the ``.keras`` archive.

A convolution's kernel lies there as (row, column, channel, unit), a 3-D one's with the frame first, a depthwise one's
as (row, column, channel, multiplier). Optimizers keep arrays of the same shapes, which are left out.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.bank import bounded
from rfcompare.errors import InputError
from rfcompare.sources.checkpoints import Entry
from rfcompare.sources.damage import read_as
from rfcompare.sources.hdf5 import Reader, link_of, text_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIMS = {4: "y x channel unit", 5: "lag y x channel unit"}
_INSIDE = "model.weights.h5"
_CURE = "it is damaged: copy it again"
_NO_WEIGHTS = ("optimizer", "optimizer_weights", "top_level_model_weights")


def is_keras(path: Path) -> bool:
    """Whether an HDF5 file holds a Keras network's weights."""
    with Reader(path) as reader:
        return "layer_names" in reader.file.attrs or "model_weights" in reader.file or _is_version_3(reader.file)


def _is_version_3(file: h5py.File) -> bool:
    layers = file.get("layers", file.get("_layer_checkpoint_dependencies"))
    return isinstance(layers, h5py.Group) and any(
        isinstance(each, h5py.Group) and "vars" in each for each in _all(layers)
    )


def _all(group: h5py.Group) -> list[Any]:
    """What a group holds at any depth, each once; links are not followed."""
    found: list[Any] = []
    group.visititems(lambda _, item: found.append(item))
    return found


@contextmanager
def entries_of(path: Path) -> Iterator[dict[str, Entry]]:
    """The arrays of a Keras file by their paths, the layers in the network's own order where the file keeps it."""
    with tempfile.TemporaryDirectory() as folder:
        inside = path
        if zipfile.is_zipfile(path):
            inside = Path(folder) / _INSIDE
            inside.write_bytes(_unpacked(path))
        with read_as("Keras weights", path, _CURE, errors=(OSError, RuntimeError, KeyError)), Reader(inside) as reader:
            root = reader.find("/model_weights" if "model_weights" in reader.file else "/")
            yield {name: _entry(name, item, reader) for name, item in _arrays(root)}


def _unpacked(path: Path) -> bytes:
    """The HDF5 file inside a ``.keras`` archive."""
    with read_as("a Keras archive", path, _CURE), zipfile.ZipFile(path) as archive:
        if _INSIDE not in archive.namelist():
            raise InputError(f"expected {_INSIDE} in the Keras archive {path}, it has none; save the model again")
        entry = archive.getinfo(_INSIDE)
        bounded(entry.file_size, entry.compress_size, f"{path}, {_INSIDE}")
        return archive.read(_INSIDE)


def _arrays(root: h5py.Group) -> Iterator[tuple[str, h5py.Dataset]]:
    named = [text_name(name) for name in root.attrs.get("layer_names", [])]
    layers = [*(name for name in named if name in root), *(name for name in root if name not in named)]
    for layer in layers:
        if layer in _NO_WEIGHTS or link_of(root, layer)[0] != "hard":
            continue
        item = root[layer]
        if isinstance(item, h5py.Dataset):
            yield f"/{layer}", item
            continue
        for inner in _all(item):
            if isinstance(inner, h5py.Dataset):
                yield text_name(inner.name).removeprefix("/model_weights"), inner


def _entry(name: str, item: h5py.Dataset, reader: Reader) -> Entry:
    def read() -> NDArray[Any]:
        return np.asarray(reader.read(reader.readable(item), ()))

    shape = tuple(int(size) for size in item.shape or ())
    if "depthwise" in name and len(shape) == 4:
        height, width, channels, each = shape
        whole = (height, width, channels * each, 1)
        return Entry(whole, lambda: read().reshape(whole), "y x unit channel", groups=channels)
    real = item.dtype.kind == "f"
    return Entry(shape, read, _DIMS.get(len(shape), "") if real else "")
