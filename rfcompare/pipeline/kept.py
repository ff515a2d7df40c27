"""What the cache holds of whole studies, in folders named after all that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xarray as xr

import rfcompare
from rfcompare.bank import fingerprint
from rfcompare.bank import folder as shipped_folder
from rfcompare.errors import InputError
from rfcompare.sources.remote import kept_in

_MOST_KEPT = 30
"""Folders of one room that the cache holds; of more, those used last."""


def folder_of(room: str, data: Sequence[xr.Dataset], how: Any) -> Path | None:
    """The cache's folder for what is made of data in some way by the code as it is; None where there can be none."""
    digest = hashlib.sha256()
    for each in data:
        digest.update(fingerprint(each).encode())
        digest.update(json.dumps(each.attrs, sort_keys=True, default=str).encode())
    versions = {package: version(package) for package in ("matplotlib", "seaborn", "numpy", "scipy")}
    digest.update(repr((how, versions)).encode())
    for file in (shipped_folder() / "sources.toml", *sorted(Path(rfcompare.__file__).parent.rglob("*.py"))):
        digest.update(file.read_bytes())
    try:
        place = kept_in(room)
    except InputError:  # a cache that cannot be written is no reason not to work
        return None
    own = place / digest.hexdigest()
    own.mkdir(exist_ok=True)
    os.utime(own)
    for old in sorted(place.iterdir(), key=lambda each: each.stat().st_mtime)[:-_MOST_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return own
