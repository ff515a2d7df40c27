"""The populations that ship: ``reference:NAME``, listed in ``reference_data/sources.toml``.

Each entry names a file beside it, its SHA-256, its format, its kind and where it comes from. The checkout's folder is
looked at first, then the installed package's.
"""

from __future__ import annotations

import contextlib
import difflib
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import add_history, check, folder, load, make_bank, shipped_table
from rfcompare.errors import InputError, named_strictly
from rfcompare.sources.remote import sha256_of
from rfcompare.sources.rendering import OPTIONAL, REQUIRED, render_gabors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

PREFIX = "reference:"

_COLOR = ("color_r", "color_g", "color_b")
_STORED = ("r2", "rank_one_share")


def entries() -> dict[str, dict[str, Any]]:
    """What ships, by name."""
    path = folder() / "sources.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path} ({error}); install rfcompare again") from None
    return {name: entry for name, entry in table.items() if isinstance(entry, dict)}


def entry_of(name: str) -> dict[str, Any]:
    """The entry called `name`, or an error that lists the known names."""
    known = entries()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2) or [
            key for key in known if known[key].get("format") in _FORMATS
        ]
        raise InputError(f"no reference population is called {name!r}; there is {', '.join(near) or 'none'}")
    return known[name]


@named_strictly
def reference(name: str | None = None) -> Any:
    """List the references that ship, or give one: a population as a bank, a published distribution as its table.

    Parameters
    ----------
    name : str, optional
        Its name, with or without ``reference:``; default: the list.

    Returns
    -------
    pandas.DataFrame or xarray.Dataset
        The list has a row per reference: ``name``, ``what``, ``kind``, ``species``, ``n``, ``stimulus``, ``source`` and
        ``license``. A table has its comment in ``attrs["note"]``.

    Raises
    ------
    InputError
        There is no such reference, or it has to be asked for: the message says where.

    Examples
    --------
    >>> import rfcompare as rfc
    >>> shelf = rfc.reference().set_index("name")
    >>> shelf.loc["published-ringach2002", ["species", "n"]].tolist()
    ['macaque', '79 cells']
    >>> rfc.reference("treeshrew-contrast-sensitivity")["cutoff"].round(1).tolist()
    [1.1, 1.9, 2.2]
    >>> rfc.reference("treeshrew-vanhooser2013")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: reference:treeshrew-vanhooser2013 cannot be downloaded and does not ship; ask ...
    """
    import pandas as pd

    if name is None:
        return pd.DataFrame([_listed(*item) for item in entries().items() if "species" in item[1]])
    name = name.removeprefix(PREFIX)
    entry = entry_of(name)
    if entry.get("format") in _FORMATS:
        return open_reference(name)
    path = path_of(name)
    if path.suffix != ".csv":
        raise InputError(f"expected a population or a table, reference:{name} is {path.name}; copy it by fetch {name}")
    rows, note = shipped_table(path)
    table = pd.DataFrame(rows)
    for column in table:
        with contextlib.suppress(ValueError, TypeError):
            table[column] = pd.to_numeric(table[column])
    provenance = {each: str(entry[each]) for each in ("kind", "citation", "license") if each in entry}
    table.attrs = {"note": note or str(entry.get("note", "")), **provenance}
    return table


def _listed(name: str, entry: Mapping[str, Any]) -> dict[str, str]:
    source = str(entry["citation"]) + (f", doi:{entry['doi']}" if "doi" in entry else "")
    said = {each: str(entry.get(each, "")) for each in ("kind", "species", "n", "stimulus")}
    what = "; ".join(str(entry[each]) for each in ("title", "ask") if each in entry) or str(entry["note"])
    return {"name": name, "what": what, **said, "source": source, "license": str(entry["license"])}


def path_of(name: str) -> Path:
    """The file of the entry called `name`, its content checked against the recorded SHA-256."""
    entry = entry_of(name)
    if "ask" in entry:
        raise InputError(f"reference:{name} cannot be downloaded and does not ship; {entry['ask']}")
    path = folder() / str(entry["file"])
    if not path.is_file():
        raise InputError(
            f"expected {path.name} of reference:{name} in {path.parent}, it is missing; install rfcompare again"
        )
    recorded = str(entry.get("sha256", ""))
    found = sha256_of(path)
    if recorded != found:
        raise InputError(
            f"{path} has the SHA-256 {found[:12]}…, sources.toml records {recorded[:12] or 'none'}…: the file was "
            "changed; install rfcompare again"
        )
    return path


def open_reference(name: str) -> xr.Dataset:
    """The bank called `name`."""
    name = name.removeprefix(PREFIX)
    entry = entry_of(name)
    reader = _FORMATS.get(str(entry.get("format")))
    if reader is None and "ask" in entry:
        path_of(name)
    if reader is None:
        raise InputError(
            f"expected a population of maps, reference:{name} is {entry.get('file')} (format "
            f"{entry.get('format', 'unknown')}); copy it out with rfcompare fetch {name} -o PLACE"
        )
    path = path_of(name)
    bank = reader(path, entry)
    title = {"title": str(entry["title"])} if "title" in entry else {}
    return check(bank.assign_attrs(reference=f"{PREFIX}{name}", sha256=str(entry["sha256"]), **title))


def _open_bank(path: Path, entry: Mapping[str, Any]) -> xr.Dataset:
    bank = load(path)
    if entry.get("kind", bank.attrs["kind"]) != bank.attrs["kind"]:
        raise InputError(
            f"{path.name} is of the kind {bank.attrs['kind']}, sources.toml says {entry['kind']}; correct one"
        )
    return bank


def _open_gabor_table(path: Path, entry: Mapping[str, Any]) -> xr.Dataset:
    """Color maps rendered from one Gabor × one color direction per unit, with what was measured on the originals."""
    rows, _ = shipped_table(path)
    numbers = {name: np.array([float(row[name]) for row in rows]) for name in (*REQUIRED, *OPTIONAL, *_COLOR, *_STORED)}
    size = int(entry["size"])
    profile = render_gabors({name: numbers[name] for name in (*REQUIRED, *OPTIONAL)}, (size, size))
    direction = np.stack([numbers[name] for name in _COLOR], axis=1)
    provenance = {
        name: entry[name] for name in ("citation", "doi", "license", "network", "note", "command") if name in entry
    }
    bank = make_bank(
        direction[:, :, None, None] * profile[:, None],
        channel=("r", "g", "b"),
        kind=str(entry.get("kind", "parametric")),
        unit=[row["unit"] for row in rows],
        subject=str(entry.get("network", path.stem)),
        source=path.name,
        attrs={"rendered": "gabor", **provenance},
    )
    for name in _STORED:
        bank[f"{name}_original"] = ("unit", numbers[name])
    if "status" in rows[0]:
        bank["status_original"] = ("unit", np.array([row["status"] or "" for row in rows], dtype=object))
    return add_history(bank, f"rendered from {path.name}: one Gabor × one color direction per unit, {size} × {size} px")


_FORMATS: dict[str, Callable[[Path, Mapping[str, Any]], xr.Dataset]] = {
    "bank": _open_bank,
    "gabor-table": _open_gabor_table,
}
"""How the file of an entry becomes a bank, by its ``format``."""
