"""Paths, and files that are written: nothing is destroyed, none is left half written, no table holds a formula."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rfcompare.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n")
"""A text that begins so is a formula to a spreadsheet, which may then run it."""

_HOME = ".rfcompare"
"""What a folder of results holds for the next run into it: the hashes of what was written, and the lock."""

_LOCK = "lock"
"""The file in such a folder that a run holds while it writes."""

_FOLDERS = ("figures", "tables")
"""Folders inside a folder of results."""

_INPUTS: list[Path] = []
"""Files and folders that the running command reads."""


HDF5 = (".nc", ".h5", ".hdf5")
"""Endings of what is written as HDF5."""


def ending_in(path: str | os.PathLike[str], *suffixes: str) -> Path:
    """A path to write whose ending names the format.

    Examples
    --------
    >>> ending_in("maps.csv", *HDF5)
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a file ending in .nc or .h5 or .hdf5, got 'maps.csv'; its ending decides its
    format
    """
    found = as_path(path)
    if found.suffix.lower() not in suffixes and not found.is_dir():  # a folder is refused as one
        raise InputError(
            f"expected a file ending in {' or '.join(suffixes)}, got {str(path)!r}; its ending decides its format"
        )
    return found


def as_path(path: str | os.PathLike[str]) -> Path:
    """A path as the file system takes it, its ``~`` expanded.

    Examples
    --------
    >>> as_path("maps.h5").name
    'maps.h5'
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"expected a path, got {type(path).__name__}; give a name")
    try:
        found = Path(path).expanduser()
        os.lstat(found)
    except RuntimeError:
        raise InputError(f"expected a home folder, {str(path)!r} names that of nobody; write the path out") from None
    except ValueError:
        raise InputError(f"expected a path, got {str(path)!r} with a zero byte; give another name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(
                f"expected a path that the file system can hold, got {str(path)!r} of {len(str(path))} characters; "
                "shorten it"
            ) from None
    return found


def existing_file(path: str | os.PathLike[str]) -> Path:
    """`path` when it is a file that can be read and is not empty."""
    file = as_path(path)
    if not file.exists():
        raise InputError(f"expected a file, got {str(path)!r}, which does not exist; check the path")
    if file.is_dir():
        raise InputError(f"expected a file, got the folder {str(path)!r}; name a file in it")
    if not os.access(file, os.R_OK):
        raise InputError(f"expected a readable file, got {str(path)!r} without read permission; change its permissions")
    if file.stat().st_size == 0:
        raise InputError(f"expected data, got {str(path)!r}, which is empty; copy or download it again")
    return file


def file_to_write(path: str | os.PathLike[str]) -> Path:
    """The regular file, there or not yet, that `path` leads to, so that long work does not end with nowhere to put it.

    Links are followed: what they lead to is written. Devices are refused, and what the running command reads.
    """
    given = as_path(path)
    target = Path(os.path.realpath(given))
    if not target.parent.is_dir():
        found = "is a file" if target.parent.exists() else "does not exist"
        cure = "choose another place" if target.parent.exists() else "create it first"
        raise InputError(f"expected a folder to write in, got {str(given.parent)!r}, which {found}; {cure}")
    if target.is_dir():
        raise InputError(f"expected a file to write, got the folder {str(path)!r}; name a file in it")
    if target.is_symlink() or (target.exists() and not stat.S_ISREG(target.stat().st_mode)):
        raise InputError(f"expected a file to write, got {str(path)!r}, which is a device or a loop; name a file")
    for read in _INPUTS if target.exists() else ():
        if target.samefile(read) or (read.is_dir() and read.resolve() in target.parents):
            raise InputError(
                f"expected to write beside the input, got {str(path)!r}, which {'is' if read.is_file() else 'lies in'} "
                f"the input {str(read)!r}; choose another place"
            )
    return target


def folder_to_write(path: str | os.PathLike[str], *, cure: str = "choose another") -> Path:
    """The folder to write in, made where it does not exist and tried before the work starts.

    `cure` says what to do where that fails.
    """
    folder = as_path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"expected a folder that can be written, got {str(folder)!r} ({error.strerror or error}); {cure}"
        ) from None
    return folder


@contextmanager
def reading(inputs: Iterable[str | os.PathLike[str]]) -> Iterator[None]:
    """While the block runs, nothing is written over these files, by whatever name, or over a file in these folders."""
    added = [path for path in map(Path, inputs) if os.path.exists(path)]  # noqa: PTH110 - no error for a long name
    _INPUTS.extend(added)
    try:
        yield
    finally:
        for path in added:
            _INPUTS.remove(path)


@contextmanager
def write_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place only when the block ends well.

    What a killed run left of the same file is taken away.
    """
    target = file_to_write(path)
    claims = [claim for claim in _CLAIMS if claim.folder in target.parents]
    for claim in claims:
        claim.allow(target)
    # Short, because the target's name may be as long as a name can be.
    stem = f".rfcompare-{_digest(target.name)}-{_digest(platform.node())}"
    part = target.with_name(f"{stem}-{os.getpid()}.part")
    try:
        for left in target.parent.glob(f"{stem}-*.part"):
            if not _runs(int(left.stem.rpartition("-")[2])):
                left.unlink(missing_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())  # a full disk may say so only now
        for claim in claims:
            claim.record(target, part)
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"expected to write {str(path)!r}, got {error.strerror or error}; choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _runs(process: int) -> bool:
    """Whether a process of this machine is alive; where that cannot be asked, it is taken to be."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def write_bytes(path: str | os.PathLike[str], content: bytes | memoryview) -> None:
    """Write a whole file that was made in memory, so that a full disk is met here and in no library."""
    with write_beside(path) as part:
        part.write_bytes(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8; surrogates, which stand for bytes of a name that is not, are written as `?`."""
    write_bytes(path, text.encode("utf-8", "replace"))


def write_csv(table: pd.DataFrame, path: str | os.PathLike[str], *, digits: str | None = "%.6g") -> None:
    """Write a table whose texts no spreadsheet takes for formulas: an apostrophe stands before those that look so.

    `digits` is the format of its numbers; None: all their digits.

    Examples
    --------
    >>> import pandas as pd, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "t.csv"
    >>> write_csv(pd.DataFrame({"unit": ["=1+1", "cell 2", "-3"], "n": [1, 2, 3]}), path)
    >>> path.read_text().splitlines()
    ['unit,n', "'=1+1,1", 'cell 2,2', '-3,3']
    """
    target = ending_in(path, ".csv")
    plain = table.rename(columns=_no_formula)
    for position, dtype in enumerate(plain.dtypes):
        if dtype.kind not in "iufb":
            plain.isetitem(position, plain.iloc[:, position].astype(object).map(_no_formula))
    write_text(target, plain.to_csv(index=False, float_format=digits, lineterminator="\n"))


def _no_formula(value: object) -> object:
    if not isinstance(value, str):
        return value
    value = value.replace("\r", " ")  # would end the row to some readers
    if not value.startswith(_FORMULA_STARTS):
        return value
    with contextlib.suppress(ValueError):
        float(value)  # a number is no formula
        return value
    return f"'{value}"


@dataclass
class _Claim:
    """A folder that one run writes into, and what it may replace there."""

    folder: Path
    force: bool
    written: set[str] = field(default_factory=set)

    @property
    def log(self) -> Path:
        return self.folder / _HOME / "written"

    def read(self) -> None:
        if self.log.is_file():
            self.written = set(self.log.read_text(encoding="utf-8", errors="surrogateescape").splitlines())

    def entry(self, target: Path, content: Path) -> str:
        name = target.relative_to(self.folder).as_posix()
        return f"{hashlib.sha256(content.read_bytes()).hexdigest()}  {name}"

    def foreign(self) -> list[str]:
        """Files of the folder that no run wrote, or that were changed since."""
        files = [file for place in (".", *_FOLDERS) for file in sorted((self.folder / place).glob("*"))]
        return [
            file.relative_to(self.folder).as_posix()
            for file in files
            if file.is_file() and file.suffix != ".part" and self.entry(file, file) not in self.written
        ]

    def allow(self, target: Path) -> None:
        if target.exists() and not self.force and self.entry(target, target) not in self.written:
            raise InputError(
                f"expected to replace what rfcompare wrote, got {str(target)!r}, which it did not write or which was "
                "changed since; choose another place with -o, or replace it with --force"
            )

    def record(self, target: Path, content: Path) -> None:
        """Before the file takes its place, so that a run killed in between can be repeated."""
        entry = self.entry(target, content)
        if entry not in self.written:
            self.written.add(entry)
            with self.log.open("a", encoding="utf-8", errors="surrogateescape") as log:
                log.write(f"{entry}\n")


_CLAIMS: list[_Claim] = []
"""Folders that the running command writes into."""


@contextmanager
def claimed(path: str | os.PathLike[str], *, force: bool = False, whole: bool = False) -> Iterator[Path]:
    """A folder for this run alone, in which nothing is replaced that rfcompare did not write.

    Parameters
    ----------
    path : path
        Made where it does not exist.
    force : bool
        Replace whatever has the name of a result.
    whole : bool
        Refuse at once a folder that holds anything else; default: when such a file would be replaced.

    Raises
    ------
    InputError
        When another run writes there, the folder cannot be written, or it holds what must not be replaced.
    """
    folder = folder_to_write(path, cure="choose another with -o").resolve()
    claim = _Claim(folder, force)
    claim.read()
    foreign = claim.foreign() if whole and not force else []
    if foreign:
        files = "a file" if len(foreign) == 1 else f"{len(foreign)} files"
        raise InputError(
            f"expected an empty folder or one that rfcompare wrote, got {str(path)!r} with {files} that it did not "
            f"write or that changed since ({', '.join(foreign[:3])}{', …' if len(foreign) > 3 else ''}); choose "
            "another with -o, or write there with --force"
        )
    home = folder_to_write(folder / _HOME, cure="choose another with -o")
    with alone(home, writes=path):
        _CLAIMS.append(claim)
        try:
            yield folder
        finally:
            _CLAIMS.remove(claim)
            if not claim.log.exists():  # nothing was written
                shutil.rmtree(home, ignore_errors=True)


@contextmanager
def alone(home: Path, *, writes: str | os.PathLike[str]) -> Iterator[None]:
    """Let one run at a time through: the lock in `home`, a folder of rfcompare's own, guards what it writes."""
    from filelock import FileLock, Timeout

    lock = FileLock(home / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another run writes into {str(writes)!r}; wait for its end or choose another with -o"
        ) from None
    try:
        yield
    finally:
        lock.release()
