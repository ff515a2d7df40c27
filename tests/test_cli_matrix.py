"""Every verb with everything a person or a terminal may do to it: one sentence or success, and never a traceback."""

from __future__ import annotations

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
}
"""Every verb with a file, or what stands for one, and its outputs."""

INPUTS = ("missing", "empty", "wrong", "huge", "unicode", "spaces", "folder")

TERMINALS: dict[str, dict[str, str]] = {"narrow": {"COLUMNS": "40"}, "no color": {"NO_COLOR": "1", "TERM": "dumb"}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "OUT").mkdir()
    yield tmp_path


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

    # These take no file: their options are tested in test_cli.py.
    assert names(main) - set(VERBS) <= {"columns-grid", "benchmark", "record", "estimate", "synthesize"}


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


@pytest.mark.parametrize("verb", [verb for verb, words in VERBS.items() if "-o" in words])
def test_an_output_in_no_folder_is_told_first(verb: str, place: Path) -> None:
    (place / "OUT").rmdir()
    (place / "OUT").write_text("a file")  # as root may write into a folder that is read-only
    refused(run(VERBS[verb], given("wrong", place)))
    assert (place / "OUT").read_text() == "a file"
