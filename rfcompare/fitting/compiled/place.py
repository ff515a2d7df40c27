"""Where compiled functions are kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

import llvmlite.binding as llvm
import numba

from rfcompare import models
from rfcompare.fitting import batched
from rfcompare.sources.remote import cache_folder


def place_of_the_cache() -> Path:
    """A folder for these sources at their place, this Numba and this processor, within Numba's cache or rfcompare's.

    Numba itself takes what it keeps for stale when the file's path or time is another: so does whoever asks whether an
    engine is ready.
    """
    folders = Path(__file__).parent, Path(models.__file__).parent
    sources = [*(path for folder in folders for path in sorted(folder.glob("*.py"))), Path(batched.__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    here = folders[0] / "search.py"
    digest.update(f"{numba.__version__} {llvm.get_host_cpu_name()} {here} {here.stat().st_mtime}".encode())
    base = Path(numba.config.CACHE_DIR) if numba.config.CACHE_DIR else cache_folder() / "compiled"
    return base / f"rfcompare-{digest.hexdigest()[:16]}"
