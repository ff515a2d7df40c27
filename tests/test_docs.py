"""The documentation's code runs, and its pages say what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from click.testing import CliRunner

from rfcompare.cli import main
from rfcompare.quantities import GLOSSARY

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of a page's code blocks."""
    return re.findall(r"^```(python|bash)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def test_there_are_tutorials() -> None:
    assert len(TUTORIALS) >= 3 and all(blocks(page) for page in TUTORIALS)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, f"{page.name}", "exec"), names)
            continue
        for line in text.splitlines():
            program, *words = shlex.split(line, comments=True)
            assert program == "rfcompare"
            done = CliRunner().invoke(main, words)
            assert done.exit_code == 0, done.output
    plt.close("all")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.stem
)
def test_commands_in_the_text_exist(page: Path) -> None:
    # Every `rfcompare VERB …` of a page is a verb of the command line with options that it knows.
    text = page.read_text(encoding="utf-8")
    fenced = re.findall(r"^```.*?^```$", text, re.M | re.S)
    lines = [line for block in fenced for line in re.findall(r"^rfcompare ([a-z].*)$", block, re.M)]
    for line in [*lines, *re.findall(r"`rfcompare ([a-z][^`\n]*)`", text)]:
        words = re.split(r"\s{2,}|…", line)[0].split()
        command = main.commands.get(words[0])
        assert command is not None, f"{page.name}: rfcompare {words[0]}"
        options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        nested = getattr(command, "commands", {}).get(words[1] if len(words) > 1 else "")
        if nested is not None:
            options |= {option for parameter in nested.params for option in parameter.opts}
        known = [word.strip("[]") for word in words if word.strip("[]").startswith("-")]
        assert set(known) <= options, f"{page.name}: rfcompare {line}"


def test_a_term_has_one_meaning() -> None:
    assert all(meaning.endswith(".") and len(meaning) > 20 for meaning in GLOSSARY.values())
    # The band comes from the spectrum; nx says how many cycles are visible.
    assert "low-pass" not in GLOSSARY["nx, ny"] and "band" in GLOSSARY["visible cycle"]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110
