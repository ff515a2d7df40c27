"""Looks through an HDF5 file in a process of its own, since HDF5 itself may crash or hang on a damaged one.

Run as a program it needs only h5py: it reads a path a line and answers each with a line of JSON, "" for a sound file,
else the fault as the end of a sentence. It is also where what a file may hold is bounded.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from typing import Any

import h5py

SECONDS = 120
"""A file that HDF5 has not looked through by then has caught it in a circle."""

_MAX_OBJECTS = 200_000
"""Groups and datasets of one file; more are a mistake."""

_READ_BYTES = 2**25
"""Datasets of up to so many bytes are read whole, of larger ones a first piece."""

_MAX_TEXTS = 10**7
"""Texts of one dataset; more are not read as labels."""

_TEXTS_AT_ONCE = 1000

FREE_BYTES = 2**27
"""What is at most this large (128 MiB) may be packed as tightly as it likes."""

MOST_EXPANSION = 200
"""Larger data that are to grow by more than this when unpacked are a bomb: maps with wide margins of zeros reach 50."""


def expands_too_far(unpacked: float, packed: float) -> bool:
    """Whether data would take memory out of all proportion to their file.

    Examples
    --------
    >>> expands_too_far(4e9, 17e3), expands_too_far(4e9, 2e9), expands_too_far(1e6, 1)
    (True, False, False)
    """
    return unpacked > FREE_BYTES and unpacked > MOST_EXPANSION * max(packed, 1)


def _fault_of(path: str, *, saved: bool) -> str:
    """What is wrong with a file, "" for nothing.

    rfcompare's own, `saved`, hold no links and nothing outside themselves; in others what is not asked for is let be.
    """
    with h5py.File(path, "r", locking="best-effort") as file:
        seen: set[tuple[int, int]] = set()
        waiting: list[tuple[str, Any]] = [("", file)]
        while waiting:
            name, node = waiting.pop()
            about = h5py.h5o.get_info(node.id)
            if (about.fileno, about.addr) in seen:
                if saved and isinstance(node, h5py.Group):
                    return f"{name} is a group that holds itself"
                continue
            seen.add((about.fileno, about.addr))
            if len(seen) > _MAX_OBJECTS:
                return f"it holds more than {_MAX_OBJECTS} objects"
            fault = _attributes(name or "/", node, saved)
            if isinstance(node, h5py.Dataset):
                fault = fault or _dataset(name, node, saved)
            elif isinstance(node, h5py.Group):
                for child in node.id if saved else list(node.id)[:_MAX_OBJECTS]:
                    kind = node.id.links.get_info(child).type
                    if kind == h5py.h5l.TYPE_HARD:
                        waiting.append((f"{name}/{child.decode('utf-8', 'replace')}", _opened(node, child, saved)))
                    elif saved:
                        return f"{name}/{child.decode('utf-8', 'replace')} is a link, which is not followed"
                waiting = [(place, found) for place, found in waiting if found is not None]
            if fault:
                return fault
    return ""


def _opened(group: Any, child: bytes, saved: bool) -> Any:
    try:
        return group[child]
    except (KeyError, OSError, RuntimeError, TypeError, ValueError):
        if saved:
            raise
        return None  # whoever asks for it is told


def _attributes(name: str, node: Any, saved: bool) -> str:
    for attribute in node.attrs:
        try:
            value = node.attrs[attribute]
        except (KeyError, OSError, RuntimeError, TypeError, ValueError, UnicodeError):
            if saved and attribute != "_NCProperties":
                return f"the attribute {attribute} of {name} cannot be read"
            continue
        if saved and isinstance(value, h5py.Empty):
            return f"the attribute {attribute} of {name} is empty"
    return ""


def _dataset(name: str, data: Any, saved: bool) -> str:
    if data.external or data.is_virtual:
        return f"{name} keeps its values in another file, which is not followed" if saved else ""
    if data.shape is None:
        return ""
    size = float(data.dtype.itemsize)
    for length in data.shape:
        size *= length
    chunk = float(data.dtype.itemsize)
    for length in data.chunks or ():
        chunk *= length
    # What is not rfcompare's is read in pieces, so that only a piece can be too large.
    if expands_too_far(max(size, chunk) if saved else chunk, data.id.get_storage_size()):
        return f"{name} would take {size / 2**30:.3g} GiB, far more than the file holds" if saved else ""
    if not data.size:
        return ""
    created = data.id.get_create_plist()
    if not all(h5py.h5z.filter_avail(created.get_filter(index)[0]) for index in range(created.get_nfilters())):
        with contextlib.suppress(ImportError):
            __import__("hdf5plugin")  # registers its filters with HDF5
    try:
        if data.dtype.kind == "O" and _texts(data) > data.file.id.get_filesize():
            return f"{name} would take more than the file holds, whose texts are one text many times over"
        data[() if size <= _READ_BYTES else (0,) * data.ndim]
    except (KeyError, OSError, RuntimeError, TypeError, ValueError, UnicodeError):
        if saved:
            raise
    return ""


def _texts(data: Any) -> float:
    """Bytes of a dataset's texts or ragged rows, which lie unpacked in the file; counted up to `FREE_BYTES` at most."""
    if data.size > _MAX_TEXTS or not data.ndim or h5py.check_ref_dtype(data.dtype) is not None:
        return 0
    total = 0
    step = max(1, _TEXTS_AT_ONCE * data.shape[0] // data.size)
    for start in range(0, data.shape[0], step):
        total += sum(getattr(each, "nbytes", None) or len(each) for each in data[start : start + step].flat)
        if total > FREE_BYTES:
            return total
    return 0


def main() -> None:
    """Answer every line until there are no more."""
    alarm = getattr(signal, "alarm", lambda _: None)  # ends also what hangs in HDF5 when nobody waits for it any more
    for line in sys.stdin:
        path, saved = json.loads(line)
        alarm(SECONDS)
        try:
            answer = _fault_of(path, saved=saved)
        except MemoryError:
            answer = "it asks for more memory than there is"
        except Exception as error:  # whatever h5py makes of what HDF5 met
            answer = (str(error).strip().splitlines() or [type(error).__name__])[0]
        alarm(0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        # A file must not take the machine's memory while it is looked at.
        resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
