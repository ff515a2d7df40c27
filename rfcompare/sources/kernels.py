"""`load_kernels`: a network's weights, wherever they were kept, as a bank."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from rfcompare.bank import at_lag, existing_file, make_bank
from rfcompare.errors import InputError, named_strictly
from rfcompare.sources import checkpoints, formats, reference, remote, torchvision_models
from rfcompare.sources.axes import axis_names, flat_names, spread
from rfcompare.sources.checkpoints import PYTORCH, Weights
from rfcompare.sources.fields import open_fields, with_scale
from rfcompare.sources.remote import sha256_of

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray
    from torch import nn

_CHANNEL_ORDERS = ("rgb", "bgr")
_CHANNELS = ("component", "maps")
"""What becomes of a kernel that sees more than colors: its first singular component, or a map for every input."""


@named_strictly
def load_kernels(
    kernels: str | Path | NDArray[Any] | Mapping[str, Any] | nn.Module,
    *,
    weights: str | None = "DEFAULT",
    seed: int | None = None,
    key: str | None = None,
    layer: str | None = None,
    channels: str | None = None,
    channel_order: str = "rgb",
    dims: str | None = None,
    divide_by_std: bool | Sequence[float] = False,
    lag: int | str | None = None,
    deg_per_px: float | tuple[float, float] | None = None,
    kind: str | None = None,
    subject: str | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Load the kernels of a network's first layer, or of any other, as a bank.

    Parameters
    ----------
    kernels : str, pathlib.Path, array or tensor (unit, channel, row, column), mapping, or torch.nn.Module
        A torchvision model ("alexnet"), a shipped bank ("reference:alexnet"), a file (NumPy, PyTorch, safetensors,
        Keras, ONNX with the package onnx, or a bank saved by `rfcompare.save`), an https address of such a file, an
        array, a state dict, or a module.
    weights : str or None
        For a torchvision name: "DEFAULT", one published set such as "IMAGENET1K_V1", or None for the network as
        initialized (kind "untrained").
    seed : int, optional
        Seed of the initialization with ``weights=None``; None draws one and records it.
    key : str, optional
        The entry of a file (or its whole path in a nested one, as "ema.conv1.weight") or the parameter of a module;
        default: the first convolution that sees three colors. Where several could be meant, which one was taken is
        printed.
    layer : str, optional
        In place of `key` the layer whose weights to take, as in "features.3".
    channels : {"component", "maps"}, optional
        What becomes of a deeper kernel, whose inputs are no colors: its first singular component of (channel × pixel)
        times its singular value, with ``rank_one_share`` and an arbitrary sign (default), or a map for every input.
    channel_order : {"rgb", "bgr"}
        Order of the input channels in the weights; networks from Caffe have "bgr".
    dims : str, optional
        The array's own order, such as "unit y x channel", or, where they lie flat, "unit (y=16 x=16 channel=3)";
        default: the format's, for arrays "unit channel y x", PyTorch's. Row 0 is the top.
    divide_by_std : bool or sequence of float
        Divide by the standard deviations (r, g, b) with which the network's input is normalized, so that kernels act on
        plain intensities; True takes the published ones of a torchvision model. Recorded in ``divided_by_std``.
    lag : int or "peak", optional
        Of kernels over several frames: the lag to keep, 0 the latest frame, or each unit's lag of most energy.
    deg_per_px : float or (float, float), optional
        Degrees of visual angle per pixel. There is no default: a network has no degrees.
    kind : str, optional
        What the kernels are: "learned", "untrained", …. Default: what is known of a torchvision name, else "not
        stated", since weights do not show whether they were trained.
    subject : str, optional
        Default: the network's or the file's name.
    attrs : mapping, optional
        More provenance, such as ``title`` and ``citation``; ``network`` and ``layer`` replace what is recorded by
        itself.

    Returns
    -------
    xarray.Dataset
        A bank (unit, channel, y, x) with y up, one subject (the network). Channels r, g, b or luminance of a first
        layer, signed of a deeper one; what its inputs are is in ``attrs["inputs"]``.

    Raises
    ------
    InputError
        Missing file, unknown model or layer, no network, no convolution, a first layer of other than 3 or 1 channels.

    Examples
    --------
    >>> import numpy as np
    >>> import rfcompare as rfc
    >>> bank = rfc.load_kernels(np.random.default_rng(0).normal(size=(4, 11, 11, 3)), dims="unit y x channel")
    >>> dict(bank.rf.sizes), bank.attrs["kind"]
    ({'unit': 4, 'channel': 3, 'y': 11, 'x': 11}, 'not stated')
    """
    # A bank says itself what its channels and axes are: an option about them would be passed over in silence.
    chosen = {"key": key, "layer": layer, "channels": channels, "dims": dims, "subject": subject}
    idle = [name for name, value in chosen.items() if value is not None]
    idle += ["channel_order"] * (channel_order != "rgb") + ["divide_by_std"] * (divide_by_std is not False)
    found = _weights(kernels, weights, seed, key, layer)
    if isinstance(found, Path | str):
        if idle:
            raise InputError(f"{found} is a bank and says everything itself; leave out {', '.join(idle)}")
        bank = open_fields(found, kind=kind, attrs=attrs)
    else:
        bank = _to_bank(
            found,
            channel_order=channel_order,
            channels=channels,
            dims=dims,
            divide_by_std=divide_by_std,
            kind=kind,
            subject=subject,
            attrs=attrs or {},
        )
    bank = bank if lag is None else at_lag(bank, lag)
    return bank if deg_per_px is None else with_scale(bank, deg_per_px)


def _weights(kernels: Any, weights: str | None, seed: int | None, key: str | None, layer: str | None) -> Any:
    """The weights that a name, a file, an array, a mapping or a module stands for; of a bank its name or path."""
    if isinstance(kernels, Mapping) and not hasattr(kernels, "dims"):
        entries = checkpoints.mapping_entries(kernels, "the mapping")
        return checkpoints.picked(entries, key, layer, name="state dict", where="the mapping")
    if not isinstance(kernels, str | Path):
        if torchvision_models.is_module(kernels):
            return torchvision_models.read_module(kernels, key, layer)
        if key is not None or layer is not None:
            raise InputError("expected no key and no layer for an array, which has no names; leave them out")
        return Weights(checkpoints.given_array(kernels), name="array")
    text = str(kernels)
    if text.startswith(reference.PREFIX):
        return text
    path = remote.fetch_address(text) if remote.is_address(text) else Path(text).expanduser()
    is_path = "/" in text or "\\" in text or Path(text).suffix != ""
    if not is_path and not path.exists():
        return torchvision_models.read_model(text, weights, seed, key, layer)
    path = existing_file(path)
    if checkpoints.holds_weights(path):
        with checkpoints.entries_of(path) as entries:
            found = checkpoints.picked(entries, key, layer, name=path.name.split(".")[0] or path.stem, where=str(path))
        found.attrs = {"sha256": sha256_of(path), "file": path.name, **found.attrs}
        return found
    if not h5py.is_hdf5(path) or formats.identify(path) not in (formats.SAVED, formats.BY_HAND):
        raise InputError(
            f"expected kernels in a file of weights ({', '.join(checkpoints.SUFFIXES)}, Keras HDF5) or a bank saved by "
            f"rfcompare, got {path.name}; open maps in other HDF5, NWB or MATLAB files with open_fields and a layout"
        )
    return path


def _to_bank(
    weights: Weights,
    *,
    channel_order: str,
    channels: str | None,
    dims: str | None,
    divide_by_std: bool | Sequence[float],
    kind: str | None,
    subject: str | None,
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Bring weights into the bank's order, say how, and record everything that was done to them."""
    for name, value, known in (("channel_order", channel_order, _CHANNEL_ORDERS), ("channels", channels, _CHANNELS)):
        if value not in known and (name, value) != ("channels", None):
            hint = "; networks from Caffe have 'bgr'" if name == "channel_order" else ""
            raise InputError(f"expected {name} to be {' or '.join(map(repr, known))}, got {value!r}{hint}")
    taken = {"divided_by_std", "history"} & set(attrs)
    if taken:
        raise InputError(
            f"expected more provenance such as citation, got {', '.join(sorted(taken))}, which load_kernels itself "
            "says; leave it out, or build the bank with make_bank"
        )
    layer = _in_order(weights, dims, channels)
    if np.issubdtype(weights.array.dtype, np.unsignedinteger):
        # Without negative weights gray would be taken for excitation, every kernel for a blob.
        raise InputError(
            f"expected weights of both signs of {weights.name}, got {weights.array.dtype}, as in a picture of kernels; "
            "save them as float with the gray level that stands for zero subtracted"
        )
    steps = [f"{weights.name}{f', {weights.key}' if weights.key else ''}: {weights.array.shape} {weights.array.dtype}"]
    if weights.rivals:
        more = "…" if len(weights.rivals) > 4 else ""
        steps.append(f"the first that could be a first layer, before {', '.join(weights.rivals[:4])}{more}")
    steps += [layer.said] if layer.said else []
    if weights.rivals or layer.said:
        print(f"read {'; '.join(steps)}{'; choose with key' if weights.rivals else ''}", file=sys.stderr)
    array = layer.array
    if layer.channel == ("r", "g", "b") and channel_order == "bgr":
        array = array[:, ::-1]
        steps.append("channels reversed from b, g, r")
    std = _std(divide_by_std, weights, layer.channel)
    if std is not None:
        array = array / np.asarray(std, array.dtype).reshape(-1, *[1] * (array.ndim - 2))
        steps.append(f"divided by the input's standard deviations {std}")
    bank = make_bank(
        array,
        channel=layer.channel,
        kind=kind or weights.kind,
        rows="down",
        unit=layer.names,
        subject=subject or weights.name,
        source=weights.name if not weights.key else f"{weights.name}:{weights.key}",
        attrs={
            "network": weights.name,
            "layer": weights.key,
            "inputs": layer.said or None,
            "divided_by_std": None if std is None else list(std),
            "history": "load_kernels: " + "; ".join(steps),
            **weights.attrs,
            **attrs,
        },
    )
    return bank.assign(layer.more) if layer.more else bank


@dataclass
class _Layer:
    """A layer's kernels (unit, channel, [lag,] y, x), and what its channels are."""

    array: NDArray[Any]
    channel: tuple[str, ...]
    said: str = ""
    names: list[str] | None = None
    more: dict[str, Any] = field(default_factory=dict)


def _in_order(weights: Weights, dims: str | None, channels: str | None) -> _Layer:
    """Weights as (unit, channel, [lag,] row, column) floats, and what their channels are."""
    array = weights.array
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise InputError(
            f"expected real numbers as weights of {weights.name}, got {array.dtype}; convert them to float"
        )
    if not isinstance(dims, str | None):
        raise InputError(f"expected dims to be a text such as 'unit y x channel', got {dims!r}; join the names")
    stated = dims or weights.dims or PYTORCH.get(array.ndim, PYTORCH[4])
    words = flat_names(stated)
    if not {"unit", "y", "x"} <= set(words) <= {"unit", "channel", "lag", "y", "x"} or len(set(words)) < len(words):
        raise InputError(
            f"expected dims to name unit, channel, y and x once each (channel may be left out, lag is allowed), got "
            f"{dims!r}; write dims='unit channel y x' in the array's own order"
        )
    if array.ndim != len(axis_names(stated)):
        raise InputError(
            f"expected an array with the {len(axis_names(stated))} dims {stated!r} from {weights.name}, got the shape "
            f"{array.shape}; pass dims= in the array's own order, flat pixels as in dims='unit (y=16 x=16 channel=3)'"
        )
    guessed = dims is None and weights.dims in ("", PYTORCH[4])
    if guessed and array.ndim == 4 and array.shape[:3] == (3, 3, 3) and array.shape[3] != 3:
        raise InputError(
            f"expected the order of the axes of {weights.name}, whose shape {array.shape} is that of 3 × 3 kernels in "
            "TensorFlow's; pass dims='y x channel unit' (or 'unit channel y x')"
        )
    array = spread(array, stated, weights.name)
    array = array.transpose([words.index(word) for word in ("unit", "channel", "lag", "y", "x") if word in words])
    if "lag" in words:
        array = np.flip(array, -3)  # frames run forward in time: the last is lag 0
    if array.dtype not in (np.float32, np.float64):
        # Only what fits: a wide integer or a double of the other byte order keeps its digits.
        wide = np.result_type(array.dtype.newbyteorder("="), np.float32).itemsize > 4
        array = array.astype(np.float64 if wide else np.float32)
    if "channel" not in words:
        return _Layer(array[:, None], ("luminance",))
    inputs, total = array.shape[1], array.shape[1] * weights.groups
    if channels is None and weights.first and total == 3:
        return _Layer(_ungrouped(array, weights.groups), ("r", "g", "b"))
    if channels is None and weights.first and total == 1:
        return _Layer(array, ("luminance",))
    if channels is None and weights.first:
        likely = (
            "y x channel unit" if weights.array.ndim == 4 and weights.array.shape[2] in (1, 3) else "unit y x channel"
        )
        order = f"; if the array has another order, say so with dims={likely!r}" if guessed else ""
        raise InputError(
            f"expected a first layer with 3 (r, g, b) or 1 (luminance) input channels in {weights.name}, got {total} "
            f"from the shape {weights.array.shape}{order}; of a deeper layer take channels='component' or 'maps'"
        )
    return _deeper(array, total, inputs, channels or "component")


def _deeper(array: NDArray[Any], total: int, inputs: int, channels: str) -> _Layer:
    """Kernels whose inputs are no colors: a map of its own for each input, or the first singular component of all."""
    said = f"its {total} input channel{'s are' if total > 1 else ' is'} another layer's output, no color"
    if inputs == 1:
        alone = "; each kernel sees one of them" if total > 1 else ""
        return _Layer(array, ("signed",), said + alone)
    n = array.shape[0]
    if channels == "maps":
        digits = max(3, len(str(n - 1)))
        names = [f"u{unit:0{digits}d} c{channel:03d}" for unit in range(n) for channel in range(inputs)]
        flat = array.reshape(n * inputs, 1, *array.shape[2:])
        return _Layer(flat, ("signed",), f"{said}; a map for each of the {inputs} that a kernel sees", names)
    matrix = array.reshape(n, inputs, -1).astype(float)
    directions, values, profiles = np.linalg.svd(matrix, full_matrices=False)
    first = directions[:, :, 0]
    # The sign of a component is arbitrary; the largest weight is made positive, so that it is repeatable.
    sign = np.sign(np.take_along_axis(first, np.abs(first).argmax(1)[:, None], 1))
    maps = sign * values[:, :1] * profiles[:, 0]
    energy = (values**2).sum(1)
    share = np.divide(values[:, 0] ** 2, energy, out=np.full(n, np.nan), where=energy > 0)
    said += f"; first singular component of (channel × pixel), median share {np.nanmedian(share):.2f} of the energy"
    more = {"rank_one_share": ("unit", share), "polarity_known": ("unit", np.zeros(n, bool))}
    maps = maps.reshape(n, 1, *array.shape[2:]).astype(array.dtype)
    return _Layer(maps, ("signed",), said, more=more)


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
