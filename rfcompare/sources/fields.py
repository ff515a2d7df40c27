"""`open_fields`: the receptive-field maps of a file, a pattern of files, an address or a shipped population."""

from __future__ import annotations

import contextlib
import glob
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from rfcompare.bank import check, plain_attributes
from rfcompare.bank.making import pixel_size
from rfcompare.errors import InputError, named_strictly
from rfcompare.quantities import NOT_STATED, kind_words
from rfcompare.sources import allen, formats, native, reference, remote
from rfcompare.sources.applying import apply
from rfcompare.sources.candidates import candidates
from rfcompare.sources.damage import hdf5_damage
from rfcompare.sources.hdf5 import natural
from rfcompare.sources.layout import given_keys, read_layout
from rfcompare.sources.remote import sha256_of

if TYPE_CHECKING:
    import xarray as xr

_HASHED_BYTES = 2**30
"""Larger files are not hashed: that would read whole what is opened lazily."""


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
        if "sha256" not in bank.attrs and path.stat().st_size <= _HASHED_BYTES:
            bank = bank.assign_attrs(sha256=sha256_of(path))
    if deg_per_px is not None:
        bank = with_scale(bank, deg_per_px)
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


def with_scale(bank: xr.Dataset, deg_per_px: float | tuple[float, float]) -> xr.Dataset:
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
