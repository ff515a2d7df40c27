"""Weights of ONNX models, read with the package onnx where it is installed (``pip install "rfcompare[onnx]"``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rfcompare.errors import InputError
from rfcompare.sources.checkpoints import Entry
from rfcompare.sources.damage import read_as


@contextmanager
def entries_of(path: Path) -> Iterator[dict[str, Entry]]:
    """The stored arrays of a model, those of its convolutions first and in the order in which it runs them."""
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise InputError(f"{path} needs the package onnx; pip install onnx and open the file again") from None
    with read_as("an ONNX model", path, "export it again"):
        model = onnx.load(str(path), load_external_data=False)
    stored = {item.name: item for item in model.graph.initializer}
    groups = {
        node.input[1]: next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    if not stored:
        raise InputError(f"expected weights in {path}, it has none; export the model with its parameters")

    def entry(name: str) -> Entry:
        shape = tuple(stored[name].dims)
        if name in groups:
            return Entry.of(shape, lambda: read(name), groups[name])
        return Entry(shape, lambda: read(name))

    def read(name: str) -> np.ndarray:
        if stored[name].external_data:
            raise InputError(f"{name} of {path} lies in another file, which is not followed; export one file")
        return np.asarray(numpy_helper.to_array(stored[name]))

    order = [*(name for name in groups if name in stored), *(name for name in stored if name not in groups)]
    yield {name: entry(name) for name in order}
