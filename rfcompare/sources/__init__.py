"""Where maps come from: files that laboratories publish, networks' first layers, and the banks that ship.

The only room that knows formats and paths. One format per file; `open_fields` and `load_kernels` recognize the format
by the file's content and return a bank, `inspect` says what a file holds, and `fetch` brings a file that is not here.

=============================  ==========================================  ========================================
format                         how it is recognized                        reader
=============================  ==========================================  ========================================
saved by rfcompare             its schema                                  `rfcompare.sources.native`
rfcompare's, by hand           a dataset ``/rf``                           `rfcompare.sources.native`
HDF5                           its signature; needs a layout               `rfcompare.sources.hdf5`
NWB 2                          ``nwb_version``; needs a layout             `rfcompare.sources.nwb`
Allen two-photon analysis      ``/analysis/locally_sparse_noise…``         `rfcompare.sources.allen`
MATLAB v7.3, v5                ``MATLAB_class``, header; needs a layout    `rfcompare.sources.matlab`
weights                        ``.npy .npz .pth .tar .safetensors`` …     `rfcompare.sources.checkpoints`
Keras weights                  ``layer_names``, ``model_weights``          `rfcompare.sources.keras`
ONNX                           ``.onnx``; needs onnx                       `rfcompare.sources.onnx_models`
torchvision, ``nn.Module``     the name, the object                        `rfcompare.sources.torchvision_models`
``reference:NAME``             ``reference_data/sources.toml``             `rfcompare.sources.reference`
``https://…``                  the address                                 `rfcompare.sources.remote`
=============================  ==========================================  ========================================

To add a format, write its reader in a file of its own, and say in `rfcompare.sources.formats` what it is and how it is
recognized. What a layout may say is in `rfcompare.sources.layout`.
"""

from __future__ import annotations

import contextlib
import difflib
import glob
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
from tqdm import tqdm

from rfcompare.bank import at_lag, check, ending_in, existing_file, plain_attributes, write_beside
from rfcompare.bank.making import pixel_size
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import NOT_STATED, kind_words
from rfcompare.sources import allen, checkpoints, formats, inspection, native, reference, remote, torchvision_models
from rfcompare.sources.applying import apply
from rfcompare.sources.candidates import candidates
from rfcompare.sources.damage import hdf5_damage
from rfcompare.sources.hdf5 import natural
from rfcompare.sources.kernels import sha256_of, to_bank
from rfcompare.sources.layout import given_keys, read_layout

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from torch import nn

HASHED_BYTES = 2**30
"""Larger files are not hashed: that would read whole what is opened lazily."""

__all__ = ["available", "copy_out", "fetch", "inspect", "load_kernels", "open_fields"]


@named_strictly
def open_fields(
    source: str | Path,
    *,
    layout: str | Path | Mapping[str, Any] | None = None,
    deg_per_px: float | tuple[float, float] | None = None,
    chunks: int | str | Mapping[str, int] | None = None,
    kind: str | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Open the receptive-field maps of a file as a bank.

    Parameters
    ----------
    source : str or pathlib.Path
        A file (rfcompare's own HDF5, Allen two-photon analysis, or, with a layout, any HDF5, NWB, MATLAB or NumPy
        file), a pattern such as "cells/*.npy" whose files are read alike and joined, a shipped population such as
        "reference:treeshrew-simulated", or an https address of a file.
    layout : str, pathlib.Path or mapping, optional
        What the file does not say about itself, in TOML or as a mapping; `inspect` drafts one and
        `rfcompare.sources.layout` lists its keys. What is read off the file is recorded in ``attrs["history"]``.
    deg_per_px : float or (float, float), optional
        Size of a pixel in degrees of visual angle, where neither file nor layout says it. Without any the bank is in
        pixels.
    chunks : int, str or mapping, optional
        Pieces in which the maps are read when they are computed, as in `xarray.Dataset.chunk`. Default: in memory up to
        128 MiB, lazily beyond.
    kind : str, optional
        What the maps are, one of `rfcompare.kinds`, where neither file nor layout says it; default "not stated".
    attrs : mapping, optional
        More provenance, such as ``title`` or ``citation``; it replaces what the file says.

    Returns
    -------
    xarray.Dataset
        A bank (unit, channel, y, x) with y up. A unit variable ``polarity_known`` is False where the maps' sign is
        arbitrary.

    Raises
    ------
    InputError
        The file is missing, damaged, of an unknown format, or lacks what only a layout can say.

    Examples
    --------
    >>> import tempfile, pathlib, h5py, numpy as np
    >>> import rfcompare as rfc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cells.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["maps"] = np.random.default_rng(0).normal(size=(5, 8, 9, 2))
    ...     bank = rfc.open_fields(
    ...         path,
    ...         layout={
    ...             "maps": "/maps", "dims": "unit y x channel", "channel": ["on", "off"], "deg_per_px": 2.0,
    ...             "stimulus": {"class": "sparse noise", "element_deg": 2.0},
    ...         },
    ...     )
    >>> bank.rf.dims, bank.rf.shape, float(bank.x[1] - bank.x[0])
    (('unit', 'channel', 'y', 'x'), (5, 2, 8, 9), 2.0)
    """
    text = str(source)
    if text.startswith(reference.PREFIX):
        if layout is not None:
            raise InputError(f"{text} needs no layout; leave it out, or give it as the kernels': kernels_layout")
        bank = reference.open_reference(text)
    elif _is_pattern(text):
        bank = _open_several(text, layout, chunks)
    else:
        path = remote.local_file(source)
        bank = _open(path, layout, chunks).assign_attrs(file=path.name)
        if "sha256" not in bank.attrs and path.stat().st_size <= HASHED_BYTES:
            bank = bank.assign_attrs(sha256=sha256_of(path))
    if deg_per_px is not None:
        bank = _with_scale(bank, deg_per_px)
    if attrs is not None:
        bank = _with_provenance(bank, attrs)
    if kind is not None:
        bank = with_kind(bank, kind)
    return bank if chunks is None else _chunked(bank, chunks)


def _is_pattern(text: str) -> bool:
    """Whether a name stands for several files."""
    return any(sign in text for sign in "*?") and "://" not in text and not Path(text).exists()


def _open_several(pattern: str, layout: str | Path | Mapping[str, Any] | None, chunks: Any) -> xr.Dataset:
    """One bank of all files that a pattern stands for, one cell each or several, in their natural order."""
    from rfcompare.sources.combining import combine  # loads SciPy, which a single file does not need

    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207 - patterns may be absolute
    paths = [Path(name) for name in sorted(found, key=natural)]
    if not paths:
        raise InputError(f"expected files like {pattern}, found none; check the folder and the pattern")
    banks: list[xr.Dataset] = []
    for path in tqdm(paths, desc="reading", unit="file", disable=None):
        with contextlib.redirect_stderr(io.StringIO() if banks else sys.stderr):  # the first says how all are read
            banks.append(_open(path, layout, chunks))
    single = all(bank.sizes["unit"] == 1 for bank in banks)
    if single:
        banks = [bank.assign_coords(unit=[path.stem]) for bank, path in zip(banks, paths, strict=True)]
    joined = combine(banks, names=None if single else [path.stem for path in paths])
    print(f"{len(paths)} files like {Path(pattern).name}: {joined.sizes['unit']} units", file=sys.stderr)
    return joined.assign_attrs(file=Path(pattern).name)


def _open(path: Path, layout: str | Path | Mapping[str, Any] | None, chunks: Any) -> xr.Dataset:
    """A file's bank by its format; the one place where formats and readers meet."""
    with hdf5_damage(path):
        found = formats.identify(path)
        given = {} if layout is None else given_keys(layout)
        if found is formats.SAVED:
            if layout is not None:
                raise InputError(f"{path} was saved by rfcompare and says everything itself; leave the layout out")
            return native.open_saved(path, chunks)
        if found is formats.NUMPY and layout is not None and not {"maps", "parameters"} & set(given):
            layout = {**given, "maps": "/"}  # one array needs no name
        with found.open(path) as store:
            if found is formats.BY_HAND and layout is None:
                return native.open_by_hand(store.reader, chunks)
            if found is formats.ALLEN and set(given) <= {"maps"}:
                # The format says everything itself; maps alone only chooses among several stimuli.
                return _said(allen.open_allen(store.reader, given.get("maps"), chunks))
            if layout is None:
                raise _layout_missing(path, found)
            return _said(apply(store, read_layout(layout), chunks))


def _said(bank: xr.Dataset) -> xr.Dataset:
    """A bank from a foreign file, after one line on stderr about what was read off it: nothing is taken silently."""
    subjects = sorted({str(name) for name in bank.subject.values})
    whose = f"subjects {', '.join(subjects[:5])}{'…' if len(subjects) > 5 else ''}"
    kind, stimulus = kind_words(bank.attrs["kind"]), bank.attrs.get("stimulus", "unknown")
    where = f"{bank.attrs['units']}, {kind}, {whose}, stimulus {stimulus}"
    how = str(bank.attrs["history"]).replace("open_fields: ", "").replace("\n", "; ")
    n = bank.sizes["unit"]
    print(f"read {how}: {n} unit{'s' if n > 1 else ''} in {where}", file=sys.stderr)
    return bank


def _layout_missing(path: Path, found: Any) -> InputError:
    """One sentence that names the likeliest maps of a file that does not describe them."""
    listed = candidates(path, found)
    if not listed:
        return InputError(
            f"expected maps in {path}, found none: no array that could be receptive-field maps is there (rfcompare "
            "inspect FILE shows what is)"
        )
    return InputError(
        f"{path} is {found.name}, which does not say how the axes of {listed[0].path} {listed[0].shape} run: a layout "
        "must, for kernels beside fields kernels_layout (rfcompare inspect FILE drafts one)"
    )


def _chunked(bank: xr.Dataset, chunks: int | str | Mapping[str, int]) -> xr.Dataset:
    """The bank with its maps in pieces; what else it has per unit is small and stays whole."""
    pieces: Any = {"unit": chunks} if isinstance(chunks, int) else chunks
    maps = [name for name in ("rf", "rf_half") if name in bank]
    fault = "" if isinstance(pieces, str | Mapping) else type(chunks).__name__
    if isinstance(pieces, Mapping) and not set(pieces) <= set(bank.rf.dims):
        fault = f"the maps lie along {', '.join(map(str, bank.rf.dims))}"
    try:
        if not fault:
            # Variables, because the coordinates of a DataArray would be cut as well, and text has no size to cut by.
            return bank.assign({name: bank[name].variable.chunk(pieces) for name in maps})
    except (TypeError, ValueError, ZeroDivisionError, NotImplementedError) as error:
        fault = str(error)
    raise InputError(
        f"expected chunks to be a number of units, 'auto', or sizes by dimension such as {{'unit': 100}}, got "
        f"{chunks!r} ({fault})"
    )


def _with_provenance(bank: xr.Dataset, attrs: Mapping[str, Any]) -> xr.Dataset:
    """A bank with more of what is known about it."""
    fixed = {"schema", "kind", "units", "history"} & set(attrs)
    if fixed:
        raise InputError(
            f"expected provenance such as title or citation in attrs, got {', '.join(sorted(fixed))}, which the maps "
            "themselves fix; leave it out"
        )
    return check(bank.assign_attrs(plain_attributes(attrs)))


def with_kind(bank: xr.Dataset, kind: str | None) -> xr.Dataset:
    """A bank, or fits, with the kind that its source did not say."""
    if kind is None:
        return bank
    said = bank.attrs["kind"]
    if said not in (NOT_STATED, kind):
        raise InputError(f"the maps say that they are {said}, got kind={kind!r}; leave it out")
    unsaid = {"stimulus": "unknown"} if kind == "measured" and not bank.attrs.get("stimulus") else {}
    return check(bank.assign_attrs(kind=kind, **unsaid))


def _with_scale(bank: xr.Dataset, deg_per_px: float | tuple[float, float]) -> xr.Dataset:
    """A bank in pixels put into degrees."""
    if bank.attrs["units"] == "degree":
        raise InputError("the maps are in degrees already; leave deg_per_px out")
    scale = dict(zip(("x", "y"), pixel_size(deg_per_px), strict=True))
    scaled = bank.assign_coords(
        {name: (name, bank[name].values * value, {"units": "degree"}) for name, value in scale.items()}
    )
    # Where the grid's middle lay is a length as well.
    middles = {
        f"{name}_center": float(bank.attrs[f"{name}_center"]) * value
        for name, value in scale.items()
        if f"{name}_center" in bank.attrs
    }
    return check(scaled.assign_attrs(units="degree", **middles))


@named_strictly
def inspect(source: str | Path) -> str:
    """What a file holds: format, a tree with shapes, units and attributes, and a layout to edit where one is needed.

    Parameters
    ----------
    source : str or pathlib.Path
        Any HDF5, NWB, MATLAB, NumPy or weights file, an https address, or a "reference:" name.

    Returns
    -------
    str
        Text for a person; says when the format's reader was never run on a real file.

    Raises
    ------
    InputError
        The file is missing, cannot be read at all, or is none of these formats.

    Examples
    --------
    >>> import tempfile, pathlib, h5py, numpy as np
    >>> import rfcompare as rfc
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "cells.h5"
    ...     with h5py.File(path, "w") as file:
    ...         file["maps"] = np.zeros((5, 8, 9))
    ...     "maps  (5, 8, 9) float64" in rfc.sources.inspect(path)
    True
    """
    return inspection.describe(source)


@named_strictly
def fetch(name: str, *, sha256: str | None = None) -> Path:
    """Bring a file that is not here yet, and say where it is.

    Parameters
    ----------
    name : str
        A shipped "reference:" name, an https address, or a torchvision model whose published weights are wanted.
    sha256 : str, optional
        The hash that a download from an address must have.

    Returns
    -------
    pathlib.Path
        The local file, its hash checked.

    Raises
    ------
    InputError
        Nothing of that name, no network, or a file that is not the recorded one.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> rfc.fetch("ftp://lab/cells.h5")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a file, a reference: name or a torchvision model, got 'ftp://lab/cells.h5'...
    """
    if name.startswith(reference.PREFIX):
        return reference.path_of(name.removeprefix(reference.PREFIX))
    if remote.is_address(name):
        return remote.fetch_address(name, sha256)
    known = torchvision_models.model_names()
    if name not in known:
        if name in reference.entries():
            return reference.path_of(name)
        near = difflib.get_close_matches(name, list(reference.entries()), n=2)
        if near and not difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.8):
            named = " or ".join(f"{reference.PREFIX}{entry}" for entry in near)
            raise InputError(f"nothing to fetch is called {name!r}; did you mean {named}?")
    file = torchvision_models.weights_file(name, download=True)
    assert file is not None
    return file


def copy_out(path: Path, output: Path) -> Path:
    """A copy of a fetched file at `output`, or inside it when it is a folder; written beside and then renamed."""
    target = output / path.name if output.is_dir() else ending_in(output, path.suffix.lower())
    with write_beside(target) as part:
        shutil.copyfile(path, part)
    return target


def available() -> dict[str, str]:
    """What `fetch` knows by name: populations and published distributions with their source, then tables of results.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> all(name.startswith("reference:") for name in rfc.sources.available())
    True
    """
    shelf = reference.reference()
    columns = ("kind", "species", "n", "stimulus")
    listed = {
        row["name"]: "\n".join(
            (row["what"], "; ".join(row[each] for each in columns), f"{row['source']}; {row['license']}")
        )
        for row in shelf.to_dict("records")
    }
    for name, entry in reference.entries().items():
        if name not in listed:
            listed[name] = f"{entry['format']}, {entry['kind']}: {entry['note']}"
    return {f"{reference.PREFIX}{name}": text for name, text in listed.items()}


@named_strictly
def load_kernels(
    kernels: str | Path | np.ndarray[Any, Any] | Mapping[str, Any] | nn.Module,
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
        bank = to_bank(
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
    return bank if deg_per_px is None else _with_scale(bank, deg_per_px)


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
        return checkpoints.Weights(checkpoints.given_array(kernels), name="array")
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
