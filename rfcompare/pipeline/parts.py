"""Large populations: fitted in parts that a stopped run finds again, here or on workers, and streamed to a file.

Maps are read part by part, so a bank that was opened lazily is never held whole. A part's numbers are saved under the
fingerprint of the bank and the options and renamed into place; its maps are not, since the bank has them. The parts
and their borders are the same whoever fits them, and so are the results.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from rfcompare import __version__
from rfcompare.bank import (
    alone,
    check,
    dead_below,
    file_to_write,
    fingerprint,
    folder_to_write,
    keep_arrays,
    kept_arrays,
    map_norms,
    to_signed,
    write_beside,
)
from rfcompare.errors import InputError
from rfcompare.fitting import fit, predict

PART = 8000
"""Units fitted and kept at a time, a second or two of work: what a stopped run may lose of each worker."""

_SMALL_JOB = 4 * PART
"""Units up to which threads of this process fit: starting others takes longer."""

_AHEAD = 2
"""Parts that each worker has waiting, so that none is idle while the next are read."""

_PATIENCE = 30
"""Seconds that a scheduler has to answer."""

_JUDGED = 8
"""Parts, evenly spaced, whose norms say below which a unit is dead."""

_HEADER = "__header__"
"""Where a kept part has its dims and attributes."""

_CHUNK_BYTES = 1 << 20
"""Of a variable's pieces in the file."""


@dataclass(frozen=True)
class Options:
    """How a population is fitted: what `rfcompare.fit` takes."""

    model: str
    joint: bool
    seed: int
    engine: str = "auto"


class _Workers(NamedTuple):
    """Where parts are fitted: how to hand one in, on how many threads it runs there, and how many to have under way."""

    submit: Callable[..., Any]
    threads: int
    ahead: int


def fitted_parts(
    bank: xr.Dataset,
    folder: Path,
    options: Options,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = False,
) -> Iterator[xr.Dataset]:
    """Fits of consecutive parts of a bank, each with its maps, in the order of the bank's units.

    Maps are reduced with `to_signed` part by part unless they are fitted jointly; finished parts are kept in
    `folder`.
    """
    from tqdm import tqdm

    read = _reader(bank, options.joint)
    starts = range(0, bank.sizes["unit"], PART)
    if len(starts) > 1:
        # One engine for all, whatever this machine had compiled when a run that was stopped began.
        options = replace(options, engine="compiled")
    bar = tqdm(total=bank.sizes["unit"], desc=f"fit {options.model}", unit="map", disable=None if progress else True)
    # The bank is hashed while workers start.
    with bar, ThreadPoolExecutor(1) as beside, _workers(bank.sizes["unit"], workers, scheduler) as pool:
        hashed = beside.submit(fingerprint, bank)
        least = dead_below(np.concatenate([map_norms(read(start)) for start in starts[:: -(-len(starts) // _JUDGED)]]))
        whole = hashed.result()
        key = json.dumps([whole, asdict(options), PART, __version__], sort_keys=True)
        home = folder / hashlib.sha256(key.encode()).hexdigest()
        home.mkdir(parents=True, exist_ok=True)
        coming, under_way = iter(starts), deque[tuple[int, xr.Dataset, Any]]()
        while True:
            while len(under_way) < pool.ahead and (start := next(coming, None)) is not None:
                part = read(start)
                part["dead"] = "unit", map_norms(part) < least
                kept = _kept(home / f"{start:09d}.npz", part)
                found = kept if kept is not None else pool.submit(part, options, pool.threads)
                under_way.append((start, part, found))
            if not under_way:
                return
            start, part, found = under_way.popleft()
            if not isinstance(found, xr.Dataset):
                found = _keep(found.result(), home / f"{start:09d}.npz")
            bar.update(part.sizes["unit"])
            drawn = predict(found, part).variable.astype(part.rf.dtype)
            yield found.assign(rf_fit=drawn, rf=part.rf.variable).assign_attrs(bank_sha256=whole)


def _reader(bank: xr.Dataset, joint: bool) -> Callable[[int], xr.Dataset]:
    """The part that begins at a unit, in memory and as it is fitted."""

    def read(start: int) -> xr.Dataset:
        part = bank.isel(unit=slice(start, start + PART)).compute()
        # A part may be without a usable unit where the whole is not; `dead` says that it is a part.
        part = part.assign(dead=("unit", np.zeros(part.sizes["unit"], bool)))
        return part if joint else to_signed(part)

    return read


def _keep(numbers: xr.Dataset, path: Path) -> xr.Dataset:
    """Save a part's numbers: HDF5 takes a tenth of the time of their fit, for forty variables that few will read.

    Returns them as they are read, so that a run that was stopped ends in the very bytes of one that was not.
    """
    header = np.array(json.dumps(numbers.to_dict(data=False)))
    arrays: dict[str, Any] = {_HEADER: header}
    for name, variable in numbers.variables.items():
        arrays[str(name)] = variable.values.astype(str) if variable.dtype == object else variable.values
    keep_arrays(path, **arrays)
    return _read(arrays)


def _kept(path: Path, part: xr.Dataset) -> xr.Dataset | None:
    """The numbers of a part that was fitted before, or None; a damaged file is fitted again."""
    arrays = kept_arrays(path)
    if arrays is None or _HEADER not in arrays:
        return None
    try:
        numbers = _read(arrays)
    except (ValueError, KeyError):
        return None
    return check(numbers) if np.array_equal(numbers["unit"].values, part["unit"].values.astype(str)) else None


def _read(arrays: Mapping[str, Any]) -> xr.Dataset:
    """The numbers of a part from its header and arrays."""
    header = json.loads(str(arrays[_HEADER]))
    for name, found in (*header["coords"].items(), *header["data_vars"].items()):
        values = arrays[name]
        found["data"] = values.astype(object) if values.dtype.kind == "U" else values
    return xr.Dataset.from_dict(header)


def _fit_part(part: xr.Dataset, options: Options, threads: int) -> xr.Dataset:
    """What a worker does: numbers, of which maps are drawn where they are wanted."""
    return fit(part, **asdict(options), workers=threads, progress=False).drop_vars(["rf", "rf_fit"])


@contextmanager
def _workers(units: int, workers: int, scheduler: str | None) -> Iterator[_Workers]:
    """Threads of this process for a small job or one worker, else processes here or wherever the scheduler has them."""
    if scheduler is None and (workers == 1 or units <= _SMALL_JOB):
        with ThreadPoolExecutor(1) as pool:
            yield _Workers(lambda *job: pool.submit(_fit_part, *job), workers, _AHEAD)
        return
    from distributed import Client, KilledWorker, LocalCluster

    cluster: Any = scheduler
    if scheduler is None:
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    try:
        # Not the default: reading and writing stay with this process.
        client = Client(cluster, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"expected a dask scheduler, got no answer from {scheduler!r} ({str(error).splitlines()[0]}); start one "
            "with `dask scheduler`, or leave --scheduler out"
        ) from None
    try:
        running = max(1, sum(client.nthreads().values())) if scheduler is not None else workers

        def submit(part: xr.Dataset, *how: Any) -> Any:
            # Maps go to a worker as data: in the task itself they would stay with the scheduler.
            return client.submit(_fit_part, client.scatter(part, hash=False), *how, pure=False)

        yield _Workers(submit, 1, _AHEAD * running)
    except KilledWorker as error:
        raise InputError(
            f"expected workers that live, got one that ended while it fitted ({str(error).splitlines()[0]}); give each "
            "more memory, then run this again: finished parts are kept"
        ) from None
    finally:
        client.close()
        if scheduler is None:
            cluster.close()


def refuse_fits(bank: xr.Dataset) -> None:
    """Raise where maps are wanted and fits came."""
    if "r2" in bank and "model" in bank.attrs:
        raise InputError(
            f"expected maps to fit, got fits of the model {bank.attrs['model']!r}; give the bank they came from"
        )


def in_memory(parts: list[xr.Dataset]) -> xr.Dataset:
    """Consecutive parts as one Dataset of fits."""
    how: Any = {"data_vars": "minimal", "coords": "minimal", "compat": "equals", "combine_attrs": "override"}
    return check(xr.concat(parts, "unit", join="exact", **how))


def fit_to_file(
    bank: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    model: str = "gabor",
    joint: bool = False,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Fit a population of any size and write the fits, holding a few parts at a time.

    Parameters
    ----------
    bank : xarray.Dataset
        Maps; lazily opened ones are read as they are fitted.
    path : path
        Where the fits go. Finished parts are kept beside it until it is whole: a run that was stopped goes on with
        them where the maps and the options are the same.
    model, joint, seed
        See `rfcompare.fit`.
    workers : int
        Processes of this machine; threads for up to `_SMALL_JOB` units. The results do not depend on it.
    scheduler : str, optional
        Address of a dask scheduler, such as ``tcp://node01:8786``, whose workers fit instead.
    progress : bool
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset
        Of the fits, what `fits_sentence` tells: r², status and bounds.

    Raises
    ------
    InputError
        When another run writes this file, the scheduler does not answer, a worker dies of its memory, or the disk has
        too little room.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc, tempfile
    >>> from rfcompare.pipeline import fit_to_file
    >>> maps = np.random.default_rng(0).normal(size=(3, 1, 7, 7)).astype("float32")
    >>> bank = rfc.make_bank(maps, channel=("signed",), kind="simulated")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     told = fit_to_file(bank, f"{folder}/fits.nc", model="gaussian")
    ...     fits = rfc.load(f"{folder}/fits.nc")
    >>> fits.sizes["unit"], fits.rf_fit.dtype, bool((told.r2 == fits.r2).all())
    (3, dtype('float32'), True)
    """
    refuse_fits(bank)
    target, n = file_to_write(path), bank.sizes["unit"]
    options = Options(model, joint, seed)
    told: list[xr.Dataset] = []
    with _kept_beside(target) as folder, write_beside(target) as growing:
        file: Any = None
        try:
            start = 0
            for fits in fitted_parts(bank, folder, options, workers=workers, scheduler=scheduler, progress=progress):
                if file is None:
                    file = _begun(fits, growing, n)
                _write(file, fits, start)
                start += fits.sizes["unit"]
                few = fits[[name for name in _TOLD if name in fits]]
                words = [sys.intern(str(word)) for word in fits["status"].values]  # few differ: each is held once
                told.append(few.assign(status=("unit", np.array(words, dtype=object))))
        finally:
            if file is not None:
                file.close()
    return in_memory(told)


@contextmanager
def _kept_beside(target: Path) -> Iterator[Path]:
    """The folder beside a file where this run alone keeps finished parts until the file is whole."""
    folder = folder_to_write(target.with_name(f".{target.name}.parts"))
    with alone(folder, writes=target):
        try:
            yield folder
        except BaseException:
            if not any(folder.glob("*/*.npz")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


_TOLD = ("offset", "r2", "r2_original", "r2_noise_corrected", "status", "at_bound")


def _begun(first: xr.Dataset, path: Path, n: int) -> Any:
    """A file with the form of the first part and room for n units, open to be written."""
    import h5netcdf

    needed = first.nbytes / first.sizes["unit"] * n
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"expected {needed / 1e9:.1f} GB for the fits, got {free / 1e9:.1f} GB free in {str(path.parent)!r}; "
            "choose another place or make room, then run this again: finished parts are kept"
        )
    plain, encoding = check(first).copy(), dict[Any, dict[str, Any]]()
    for name, variable in plain.variables.items():
        variable.encoding = {}
        if variable.dims[:1] == ("unit",) and variable.size:
            row = max(1, variable.nbytes // variable.sizes["unit"])
            rows = min(n, max(1, _CHUNK_BYTES // row), PART)
            encoding[name] = {"chunksizes": (rows, *variable.shape[1:])}
        if variable.dtype.kind == "f":
            encoding.setdefault(name, {})["_FillValue"] = None
    plain.to_netcdf(path, engine="h5netcdf", unlimited_dims=["unit"], encoding=encoding)
    file = h5netcdf.File(path, "a")
    file.resize_dimension("unit", n)
    return file


def _write(file: Any, fits: xr.Dataset, start: int) -> None:
    for name, variable in fits.variables.items():
        if variable.dims[:1] == ("unit",):
            stored = file.variables[name]
            values = variable.values if variable.dtype.kind in "OU" else variable.values.astype(stored.dtype)
            stored[start : start + len(values)] = values
