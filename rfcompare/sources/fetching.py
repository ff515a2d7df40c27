"""`fetch`: files that are not here yet, and what there is to fetch."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

from rfcompare.bank import ending_in, write_beside
from rfcompare.errors import InputError, named_strictly
from rfcompare.sources import reference, remote, torchvision_models


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
