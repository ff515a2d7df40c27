"""Where maps come from: files that laboratories publish, networks' first layers, and the banks that ship.

The only room that knows formats and paths. One format per file; `open_fields` and `load_kernels` recognize the format by
the file's content and return a bank, `inspect` says what a file holds, and `fetch` brings a shipped or a remote file.

========================  ============================================================  ===============================
format                    how it is recognized                                          reader
========================  ============================================================  ===============================
rfcompare's own HDF5      schema, or a dataset ``/rf``                                  `rfcompare.sources.native`
weights                   ``.npy .npz .pth .pt .safetensors``                           `rfcompare.sources.checkpoints`
torchvision, nn.Module    the name, the object                                          `rfcompare.sources.torchvision_models`
========================  ============================================================  ===============================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcompare.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from torch import nn

__all__ = ["load_kernels", "open_fields"]


def open_fields(
    source: str | Path,
    *,
    layout: str | Path | Mapping[str, Any] | None = None,
    deg_per_px: float | tuple[float, float] | None = None,
    chunks: int | str | Mapping[str, int] | None = None,
) -> xr.Dataset:
    """Open the receptive-field maps of a file as a bank."""
    from rfcompare.bank import existing_file
    from rfcompare.sources import native
    from rfcompare.sources.hdf5 import Reader

    path = existing_file(source)
    with Reader(path) as reader:
        saved = "schema" in reader.attrs("/")
        if not saved:
            return native.open_by_hand(reader, chunks)
    return native.open_saved(path, chunks)


def load_kernels(
    kernels: str | Path | np.ndarray[Any, Any] | nn.Module,
    *,
    weights: str | None = "DEFAULT",
    seed: int | None = None,
    key: str | None = None,
    channel_order: str = "rgb",
    dims: str | None = None,
    divide_by_std: bool | Sequence[float] = False,
    deg_per_px: float | tuple[float, float] | None = None,
    kind: str | None = None,
    **attrs: Any,
) -> xr.Dataset:
    """Load the first-layer kernels of a network as a bank with channels r, g, b (or luminance).

    Parameters
    ----------
    kernels : str, pathlib.Path, array (unit, channel, row, column) or torch.nn.Module
        A torchvision classification model ("alexnet"), a shipped bank ("reference:alexnet"), a file (.npy, .npz, .pth,
        .pt, .safetensors, or a bank saved by `rfcompare.save`), an https address of such a file, an array, or a module.
    weights : str or None
        For a torchvision name: "DEFAULT", one published set such as "IMAGENET1K_V1", or None for the network as
        initialized (kind "untrained").
    seed : int, optional
        Seed of the initialization with ``weights=None``; None draws one and records it.
    key : str, optional
        The entry of a checkpoint or the parameter of a module; default: the first 2-D convolution.
    channel_order : {"rgb", "bgr"}
        Order of the input channels in the weights; networks from Caffe have "bgr".
    dims : str, optional
        The array's own order, such as "unit y x channel"; default "unit channel y x", PyTorch's. Row 0 is the top.
    divide_by_std : bool or sequence of float
        Divide by the standard deviations (r, g, b) with which the network's input is normalized, so that kernels act on
        plain intensities; True takes the published ones of a torchvision model. Recorded in ``divided_by_std``.
    deg_per_px : float or (float, float), optional
        Degrees of visual angle per pixel. There is no default: a network has no degrees.
    kind : str, optional
        Default "learned", or "untrained".
    **attrs
        More provenance, such as ``citation``.

    Returns
    -------
    xarray.Dataset
        A bank (unit, channel, y, x) with y up, one subject (the network).

    Raises
    ------
    InputError
        Missing file, unknown model, no network, no convolution, other than 3 or 1 input channels.

    Examples
    --------
    >>> import numpy as np
    >>> import rfcompare as rfc
    >>> bank = rfc.load_kernels(np.random.default_rng(0).normal(size=(4, 11, 11, 3)), dims="unit y x channel")
    >>> dict(bank.rf.sizes), bank.attrs["kind"]
    ({'unit': 4, 'channel': 3, 'y': 11, 'x': 11}, 'learned')
    """
    from rfcompare.bank import existing_file
    from rfcompare.sources import checkpoints, torchvision_models
    from rfcompare.sources.kernels import sha256_of, to_bank

    how = {
        "channel_order": channel_order,
        "dims": dims,
        "divide_by_std": divide_by_std,
        "kind": kind,
        "deg_per_px": deg_per_px,
        "attrs": attrs,
    }
    if torchvision_models.is_module(kernels):
        return to_bank(torchvision_models.read_module(kernels, key), **how)
    if not isinstance(kernels, str | Path):
        import numpy as np

        array = np.asarray(kernels)
        return to_bank(checkpoints.Weights(array, name="array"), **how)
    text = str(kernels)
    path = Path(text).expanduser()
    if not path.exists() and not torchvision_models.looks_like_path(text):
        return to_bank(torchvision_models.read_model(text, weights, seed, key), **how)
    path = existing_file(path)
    if path.suffix.lower() not in checkpoints.SUFFIXES:
        raise InputError(
            f"expected kernels in a file ending in {', '.join(checkpoints.SUFFIXES)}, got {path.name}; open maps in HDF5, "
            "NWB or MATLAB files with open_fields"
        )
    found = checkpoints.read_weights(path, key)
    found.attrs = {"sha256": sha256_of(path), "file": path.name, **found.attrs}
    return to_bank(found, **how)
