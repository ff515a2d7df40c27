"""Every verb with everything a person or a terminal may do to it: one sentence or success, and never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from rfcompare.cli import main

VERBS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "INPUT", "-o", "OUT/f.nc"),
    "describe": ("describe", "INPUT", "-o", "OUT/d.csv"),
    "compare": ("compare", "--fields", "INPUT", "-o", "OUT/r.csv"),
    "report": ("report", "--fields", "INPUT", "-o", "OUT/report"),
    "figure": ("figure", "kernels", "--fields", "INPUT", "-o", "OUT/figures"),
    "inspect": ("inspect", "INPUT"),
    "fetch": ("fetch", "INPUT"),
    "match": ("match", "--fields", "INPUT", "-o", "OUT/m.nc"),
    "columns": ("columns", "INPUT", "-o", "OUT/columns"),
    "classify": ("classify", "INPUT", "-o", "OUT/c.csv"),
    "survey": ("survey", "--no-torchvision", "--population", "INPUT", "-o", "OUT/survey"),
    "filter": ("filter", "INPUT", "--unit", "0", "-o", "OUT/f.png"),
    "train digits": ("train", "digits", "INPUT", "-o", "OUT/t.nc"),
    "train images": ("train", "images", "INPUT", "-o", "OUT/t.nc"),
    "reference": ("reference", "--kernels", "INPUT", "-o", "OUT/a.csv"),
    "simulate treeshrew": ("simulate", "treeshrew", "--set", "INPUT=1", "-o", "OUT/s.h5"),
    "train lines": ("train", "lines", "--history", "OUT/h.csv", "--fields", "INPUT", "-o", "OUT/t.nc"),
    "record": ("record", "alexnet", "--weights", "none", "--layer", "features.0", "--like", "INPUT", "-o", "OUT/r.h5"),
    "depth": ("depth", "alexnet", "--layer", "features.0", "--fields", "INPUT", "-o", "OUT/depth"),
    "tune": ("tune", "INPUT", "--layer", "features.0", "-o", "OUT/t.csv"),
    "synthesize": ("synthesize", "INPUT", "--layer", "features.0", "-o", "OUT/s.h5"),
    "estimate": ("estimate", "INPUT", "--layout", "layout.toml", "-o", "OUT/e.h5"),
    "benchmark": ("benchmark", "--judge", "--maps", "INPUT", "-o", "OUT/benchmark"),
}
"""Every verb with a file, or what stands for one, and its outputs."""

INPUTS = ("missing", "empty", "wrong", "huge", "unicode", "spaces", "folder")

TERMINALS: dict[str, dict[str, str]] = {
    "narrow": {"COLUMNS": "40"},
    "no color": {"NO_COLOR": "1", "TERM": "dumb"},
    "no terminal": {},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "OUT").mkdir()
    (tmp_path / "layout.toml").write_text('frames = "/frames"\nresponses = "/responses"\n')
    yield tmp_path


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that cannot be written to: by its permissions, or for an administrator a disk mounted so."""
    folder = tmp_path_factory.mktemp("read-only")
    folder.chmod(0o555)
    mounted = os.access(folder, os.W_OK) and not _mounted(folder)
    if os.access(folder, os.W_OK):
        pytest.skip("nothing is read-only to this user, and no disk may be mounted")
    yield folder
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)
    folder.chmod(0o755)


def _mounted(folder: Path) -> int:
    try:
        return subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True).returncode
    except FileNotFoundError:
        return 1


def given(kind: str, place: Path) -> Path:
    """A bad input of a kind."""
    path = place / {"unicode": "мозг 脳 ٣ é.h5", "spaces": "  two  words .h5", "folder": "folder.h5"}.get(kind, "in.h5")
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "huge":  # 1 TiB that takes no room
        with path.open("wb") as file:
            file.truncate(2**40)
    elif kind != "missing":
        path.write_text("only words", encoding="utf-8")
    return path


def run(words: tuple[str, ...], path: Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [word.replace("INPUT", str(path)) for word in words], env=environment)


def shown_on_a_terminal(words: list[str]) -> tuple[int, str]:
    """How a command ends whose input and output are a terminal, and what is seen there."""
    import pty

    leader, follower = pty.openpty()
    seen: list[bytes] = []

    def look() -> None:
        with contextlib.suppress(OSError):  # which is how a terminal ends
            while part := os.read(leader, 1024):
                seen.append(part)

    looking = threading.Thread(target=look)
    looking.start()
    with open(follower, "r+b", buffering=0) as terminal:  # noqa: PTH123
        text = io.TextIOWrapper(terminal, "utf-8", write_through=True)
        with pytest.MonkeyPatch.context() as patched:
            for name in ("stdin", "stdout", "stderr"):
                patched.setattr(sys, name, text)
            with pytest.raises(SystemExit) as end:
                main(words)
        text.detach()
    looking.join()
    os.close(leader)
    return int(end.value.code or 0), b"".join(seen).decode()


def refused(result: Result) -> None:
    assert result.exit_code == 2, (result.output, result.exception)
    assert isinstance(result.exception, SystemExit), result.exception
    said = [line for line in result.stderr.splitlines() if line.startswith(("rfcompare: ", "Error: "))]
    assert len(said) == 1 and len(said[0]) < 1000 and "Traceback" not in result.output


def test_every_verb_is_here() -> None:
    def names(group: click.Group, above: str = "") -> set[str]:
        return {
            each
            for name, command in group.commands.items()
            for each in (names(command, f"{name} ") if isinstance(command, click.Group) else {above + name})
        }

    # It takes no file.
    assert names(main) - set(VERBS) <= {"columns-grid"}


@pytest.mark.parametrize("kind", INPUTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_bad_input_is_one_sentence_and_leaves_nothing(verb: str, kind: str, place: Path) -> None:
    refused(run(VERBS[verb], given(kind, place)))
    assert [path for path in (place / "OUT").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("how", TERMINALS)
@pytest.mark.parametrize("verb", VERBS)
def test_help_and_messages_fit_every_terminal(verb: str, how: str, place: Path) -> None:
    words = VERBS[verb][: 2 if " " in verb else 1]
    shown = CliRunner().invoke(main, [*words, "--help"], env=TERMINALS[how])
    assert shown.exit_code == 0 and "\x1b" not in shown.output
    refused(run(VERBS[verb], given("wrong", place), **TERMINALS[how]))


@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX's")
@pytest.mark.parametrize("verb", VERBS)
def test_on_a_terminal_the_help_and_the_sentence_are_the_same(verb: str, place: Path) -> None:
    status, seen = shown_on_a_terminal([*VERBS[verb][: 2 if " " in verb else 1], "--help"])
    assert status == 0 and "Usage:" in seen
    words = [word.replace("INPUT", str(given("wrong", place))) for word in VERBS[verb]]
    status, seen = shown_on_a_terminal(words)
    plain = CliRunner().invoke(main, words).stderr.splitlines()[-1]
    assert status == 2 and plain in seen and "Traceback" not in seen


@pytest.mark.parametrize("verb", [verb for verb, words in VERBS.items() if "-o" in words])
def test_a_place_that_is_read_only_is_told_first(verb: str, place: Path, read_only: Path) -> None:
    words = tuple(word.replace("OUT", str(read_only)) for word in VERBS[verb])
    result = run(words, given("wrong", place))
    refused(result)
    assert "can be written" in result.stderr


@pytest.mark.parametrize("verb", [verb for verb, words in VERBS.items() if "-o" in words])
def test_an_output_in_no_folder_is_told_first(verb: str, place: Path) -> None:
    (place / "OUT").rmdir()
    (place / "OUT").write_text("a file")  # as root may write into a folder that is read-only
    refused(run(VERBS[verb], given("wrong", place)))
    assert (place / "OUT").read_text() == "a file"
