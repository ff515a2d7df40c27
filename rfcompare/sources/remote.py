"""Files at an https address, kept in a cache with the SHA-256 of the first download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import h5py

from rfcompare.bank import existing_file, folder_to_write, sound_hdf5, write_text
from rfcompare.errors import InputError, first_line

_MAX_NAME = 100
"""Characters of a file's own name that are kept: addresses may be longer than a file system's names."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_address(text: str) -> bool:
    """Whether `text` is an address rather than a path."""
    return text.startswith(("https://", "http://"))


def local_file(source: str | Path) -> Path:
    """The file at an address, brought here where it is not, or at a path."""
    text = str(source)
    return fetch_address(text) if is_address(text) else existing_file(source)


def cache_folder() -> Path:
    """Where downloads and fits are kept; the environment variable ``RFCOMPARE_CACHE`` names another place."""
    import platformdirs

    return Path(os.environ.get("RFCOMPARE_CACHE") or platformdirs.user_cache_dir("rfcompare"))


def kept_in(name: str) -> Path:
    """A folder of the cache, made where it does not exist, for what a stopped run finds again."""
    return folder_to_write(cache_folder() / name, cure="set RFCOMPARE_CACHE to another")


def fetch_address(address: str, sha256: str | None = None) -> Path:
    """The local copy of the file at an https address, downloaded when there is none.

    The first download's SHA-256 is recorded beside the file; every later use is checked against it, or against
    `sha256`, and a copy that was damaged is downloaded again.
    """
    import pooch

    if not address.startswith("https://"):
        raise InputError(
            f"expected an address beginning with https://, got {address!r}; download the file and name its path"
        )
    name = Path(unquote(urlsplit(address).path)).name
    if not name:
        raise InputError(
            f"expected the address of a file, {address!r} names none; copy the address of the download itself"
        )
    folder = cache_folder()
    file_name = f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{name[-_MAX_NAME:]}"
    record = folder / f"{file_name}.sha256"
    recorded = record.read_text().split()[0] if record.is_file() and record.read_text().split() else None
    wanted = sha256 or recorded
    known_hash = f"sha256:{wanted}" if wanted else None
    try:
        path = Path(pooch.retrieve(address, known_hash, fname=file_name, path=folder, progressbar=False))
    except ValueError:
        if sha256 is not None:
            raise InputError(
                f"expected the file at {address} to have the SHA-256 {str(sha256)[:12]}…, it has another; check "
                "the hash and the address"
            ) from None
        raise InputError(
            f"the file at {address} has changed: its SHA-256 is not {str(wanted)[:12]}…; if that is meant, delete "
            f"{record}"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot download {address} ({first_line(error)}) and no copy is in {folder}; offline, files and "
            "reference: names work"
        ) from None
    if recorded is None and sha256 is None:
        fault = _fault(path)
        if fault:  # not kept: every later use would find it again
            path.unlink()
            raise InputError(f"the download from {address} is {fault}")
    if recorded is None or sha256 is not None:
        write_text(record, f"{sha256_of(path)}  {address}\n")
    return path


def _fault(path: Path) -> str:
    """What is visibly wrong with a file that came without a hash; "" for nothing."""
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if not start:
        return "empty; copy the address of the download itself"
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a file; copy the address of the download itself"
    if h5py.is_hdf5(path):
        try:
            sound_hdf5(path, saved=False)
        except InputError:
            return "cut off; try again"
    return ""
