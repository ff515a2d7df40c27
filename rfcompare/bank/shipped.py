"""The folder of what ships: the checkout's ``reference_data/``, or the one inside the installed package."""

from __future__ import annotations

import csv
from pathlib import Path

from rfcompare.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]


def folder() -> Path:
    """The folder with ``sources.toml``, the checkout's first."""
    for candidate in (_PACKAGE.parent / "reference_data", _PACKAGE / "reference_data"):
        if (candidate / "sources.toml").is_file():
            return candidate
    raise InputError("expected reference_data/sources.toml beside or inside the package; install rfcompare again")


def shipped_table(path: Path) -> tuple[list[dict[str, str]], str]:
    """Rows of a table of ``reference_data/``, and what its comment says."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); install rfcompare again") from None
    note = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
    return list(csv.DictReader(line for line in lines if not line.startswith("#"))), note
