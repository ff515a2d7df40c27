"""HDF5 and packed data from anywhere: looked at in another process and bounded before anything of them is used."""

from __future__ import annotations

import atexit
import json
import math
import os
import select
import subprocess
import sys
import warnings
import zlib
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import h5py

from rfcompare.bank import probe
from rfcompare.bank.probe import FREE_BYTES, MOST_EXPANSION, SECONDS, expands_too_far
from rfcompare.bank.writing import existing_file
from rfcompare.errors import InputError, first_line

if TYPE_CHECKING:
    from PIL import Image

_LOCK = Lock()
_PROBE: dict[int, subprocess.Popen[str]] = {}
"""The process that looks, of this process: a forked one has to start its own."""


def sound_hdf5(path: Path, *, saved: bool) -> None:
    """Refuse an HDF5 file that crashes or hangs HDF5, is damaged, or would take memory out of all proportion.

    Of one that claims to be `saved` by rfcompare no link and nothing outside the file is let pass, and everything in it
    must be readable.
    """
    about = path.stat()
    fault = _fault(str(path.resolve()), about.st_mtime_ns, about.st_size, about.st_ino, saved)
    if fault:
        raise InputError(
            f"expected a sound HDF5 file, got {str(path)!r}, which cannot be read ({fault}): it is truncated or "
            "damaged, or leads outside itself; copy or download it again"
        )


def open_hdf5(path: Path) -> h5py.File:
    """Another's HDF5 file, open to be read: the one door to h5py, behind the look that `sound_hdf5` takes."""
    sound_hdf5(path, saved=False)
    try:
        return h5py.File(path, "r", locking="best-effort")
    except OSError as error:
        raise InputError(
            f"cannot open {path}: it begins as HDF5 but is truncated or damaged ({first_line(error)}); copy or "
            "download it again"
        ) from None


@lru_cache(maxsize=1024)
def _fault(path: str, changed: int, size: int, node: int, saved: bool) -> str:
    """What the process that looks says; the file's state is part of the question, so that it is asked once."""
    with _LOCK:
        if os.getpid() not in _PROBE:
            _PROBE[os.getpid()] = _started()
        looking = _PROBE[os.getpid()]
        assert looking.stdin is not None and looking.stdout is not None
        try:
            looking.stdin.write(json.dumps([path, saved]) + "\n")
            looking.stdin.flush()
            if os.name == "posix" and not select.select([looking.stdout], [], [], SECONDS)[0]:
                looking.kill()
            answer = looking.stdout.readline()
        except OSError:
            answer = ""
        if answer:
            return str(json.loads(answer))
        _end(_PROBE.pop(os.getpid()))
    return "HDF5 itself crashes or hangs on it"


def _started() -> subprocess.Popen[str]:
    """The process that looks: Python with h5py alone, so that it starts fast and holds nothing else."""
    started = subprocess.Popen(
        [sys.executable, "-I", probe.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="ascii",
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # whose threads take of the memory that it may have
    )
    atexit.register(_end, started, os.getpid())
    return started


def _end(started: subprocess.Popen[str], starter: int | None = None) -> None:
    if starter not in (None, os.getpid()):
        return
    started.kill()
    started.wait()
    for pipe in (started.stdin, started.stdout):
        if pipe is not None:
            pipe.close()


def expand(packed: bytes | memoryview, where: str, *, wbits: int = zlib.MAX_WBITS) -> bytes:
    """Deflated data unpacked, unless they grow out of all proportion; damage is a `zlib.error`.

    `wbits` is as `zlib` takes it: 31 for gzip.

    Examples
    --------
    >>> expand(zlib.compress(b"maps"), "maps.mat")
    b'maps'
    """
    most = int(max(FREE_BYTES, MOST_EXPANSION * len(packed))) + 1
    unpacked = zlib.decompressobj(wbits).decompress(packed, most)
    bounded(len(unpacked), len(packed), where)
    return unpacked


def picture(path: str | os.PathLike[str], *, most_pixels: int) -> Image.Image:
    """A photograph in RGB, turned as its camera says, reduced by whole numbers to at most `most_pixels`.

    Examples
    --------
    >>> picture("nowhere.png", most_pixels=10**6)
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a file, got 'nowhere.png', which does not exist; check the path
    """
    from PIL import Image, ImageOps

    file = existing_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, laxer bound, and its remarks on damaged tags
            with Image.open(file) as opened:
                columns, rows = opened.size
                bounded(3.0 * columns * rows, file.stat().st_size, str(path))
                turned = ImageOps.exif_transpose(opened.convert("RGB"))
                excess = math.ceil(math.sqrt(columns * rows / most_pixels))
                return turned.reduce(excess) if excess > 1 else turned
    except InputError:
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"expected an image of at most {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, got more in {str(path)!r}; "
            "reduce it first"
        ) from None
    except Exception as error:  # a damaged image stops Pillow's decoders in many ways
        raise InputError(
            f"expected an image file, got {str(path)!r} ({type(error).__name__}); give a JPEG, PNG or TIFF file"
        ) from None


def bounded(unpacked: float, packed: float, where: str) -> None:
    """Refuse packed data before they are unpacked when that would take memory out of all proportion.

    Examples
    --------
    >>> bounded(4e9, 17e3, "image.png")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected data in proportion to their file, got image.png, which would grow from 0.017
    to 4000 MB when unpacked; it is not read
    """
    if expands_too_far(unpacked, packed):
        raise InputError(
            f"expected data in proportion to their file, got {where}, which would grow from {packed / 1e6:.3g} to "
            f"{unpacked / 1e6:.4g} MB when unpacked; it is not read"
        )
