"""Mutation testing: small changes to the source, drawn at random, of which the tests are to notice every one.

``nox -s mutants`` runs ``python -m tests.mutating -o tests/mutants.csv``. Cosmic Ray finds the places that can be
changed and changes them, as `mutants.toml` says; a seeded draw takes some places of every room and one change at each;
and each changed copy of the repository meets the tests of its room in a fork of this process, which has the libraries
loaded: they would take longer to load than most tests take. The table counts, and lists every change that no test
noticed, with the reason that was written beside it by hand. ``nox -s mutants -- --again`` tries only those again, after
tests were added.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cosmic_ray.commands.init import init
from cosmic_ray.config import load_config
from cosmic_ray.modules import filter_paths, find_modules
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import MutationSpec

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = "tests/mutants.toml"
TABLE = ROOT / "tests/mutants.csv"

LIBRARIES = (
    *("numba", "scipy.stats", "scipy.ndimage", "scipy.interpolate", "sklearn.neighbors", "statsmodels.api"),
    *("xarray", "h5netcdf", "dask.array", "distributed", "matplotlib.pyplot", "_pytest.doctest"),
)
"""What the tests load of others, loaded once."""

COLUMNS = ["room", "module", "run", "killed", "function", "change", "why"]

NEW = "not looked at yet"
"""Reason of a survivor that nobody has judged."""


def mutants(rooms: list[str], folder: Path) -> dict[str, list[MutationSpec]]:
    """Every mutant that counts, by room."""
    config = load_config(SETTINGS)
    excluded = re.compile("|".join(config.sub("filters", "operators-filter")["exclude-operators"]))
    found: dict[str, list[MutationSpec]] = {}
    for room in rooms:
        modules = filter_paths(find_modules([Path(room)]), config["excluded-modules"])
        with use_db(str(folder / "work.sqlite")) as work:
            init(sorted(modules), work, {})
            specs = [mutation for item in work.work_items for mutation in item.mutations]
        outside = {module: _left_out(module.read_text()) for module in modules}
        found[room] = sorted(
            (
                spec
                for spec in specs
                if not excluded.match(spec.operator_name)
                and not any(start <= spec.start_pos < end for start, end in outside[spec.module_path])
            ),
            key=lambda spec: (str(spec.module_path), spec.start_pos, spec.end_pos, spec.operator_name, spec.occurrence),
        )
    return found


def _left_out(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From where to where nothing is changed: annotations, messages of errors, and the star of a signature."""
    nodes: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Raise | ast.ImportFrom):
            nodes.append(node)
        elif isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            nodes.append(node.annotation)
        elif isinstance(node, ast.FunctionDef) and node.returns is not None:
            nodes.append(node.returns)
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            nodes.append(node)
    ranges = [((node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)) for node in nodes]
    for number, line in enumerate(source.splitlines(), 1):
        ranges += [((number, star.start()), (number, star.end())) for star in re.finditer(r"\*,", line)]
    return ranges


def drawn(specs: list[MutationSpec], places: int, *, seed: str) -> Iterator[tuple[MutationSpec, str]]:
    """At so many places one mutant each, with the changed source; changes that are no Python are passed over."""
    by_place: dict[Any, list[MutationSpec]] = defaultdict(list)
    for spec in specs:
        by_place[spec.module_path, spec.start_pos, spec.end_pos].append(spec)
    chance = random.Random(seed)
    order = chance.sample(list(by_place), len(by_place))
    found = 0
    for place in order:
        for spec in chance.sample(by_place[place], len(by_place[place])):
            changed = mutate_code(spec.module_path.read_text(), get_operator(spec.operator_name)(), spec.occurrence)
            if changed is not None and _is_python(changed):
                yield spec, changed
                found += 1
                break
        if found == places:
            return


def _is_python(source: str) -> bool:
    try:
        compile(source, "", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def passes(tests: list[str], *, limit: float) -> bool:
    """Whether the tests pass in a fork, in the folder where this process is."""
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        with open("said", "w") as said:  # noqa: PTH123
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        status = 1
        try:
            status = int(pytest.main([*load_config(SETTINGS)["test-command"].split()[1:], *tests]))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _change(before: str, after: str) -> str:
    """The first line that is changed, and what it became."""
    old, new = before.splitlines(), after.splitlines()
    for kind, start, end, first, last in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind != "equal":
            said = (" ".join(" ".join(lines).split()) for lines in (old[start:end], new[first:last]))
            return "  →  ".join(each or "nothing" for each in said)
    return ""


def run(settings: dict[str, Any], rooms: list[str], *, again: bool) -> list[dict[str, Any]]:
    """Draw the mutants of every room and run its tests on each; the current folder is the copy that is changed.

    `again` runs them only on what survived in the table, which holds where tests were added and no source was changed.
    """
    survivors, sample = set(_reasons()), settings["sample"]
    rows = []
    with tempfile.TemporaryDirectory() as place:
        every = mutants(rooms, Path(place))
    for room in rooms:
        clean: set[str] = set()
        for spec, changed in drawn(every[room], sample["places"][room], seed=f"{sample['seed']}/{room}"):
            module = str(spec.module_path)
            tests = settings["tests"].get(module) or settings["tests"][room]
            if str(tests) not in clean:
                if not passes(tests, limit=600):
                    raise AssertionError(
                        f"the tests fail before anything is changed: {Path('said').read_text()[-4000:]}"
                    )
                clean.add(str(tests))
            original, function = spec.module_path.read_text(), spec.definition_name or ""
            change, survived = _change(original, changed), False
            if not again or (module, function, change) in survivors:
                spec.module_path.write_text(changed)
                # A date of its own, by which compiled files are told from those of other changes of the same second.
                os.utime(spec.module_path, (len(rows), len(rows)))
                survived = passes(tests, limit=load_config(SETTINGS).timeout)
                spec.module_path.write_text(original)
            row = {"room": room, "module": module, "line": spec.start_pos[0], "function": function, "change": change}
            rows.append(row | {"survived": survived})
            if survived:
                print(f"{module}:{row['line']} {function}: {change}", flush=True)
        here = [row["survived"] for row in rows if row["room"] == room]
        print(f"{room}: {len(here) - sum(here)} of {len(here)} killed, of {len(every[room])}", flush=True)
    return rows


def _committed() -> pd.DataFrame:
    """The committed table, or one without rows."""
    if not TABLE.exists():
        return pd.DataFrame(columns=COLUMNS)
    return pd.read_csv(TABLE, skiprows=1, keep_default_na=False, dtype=str)


def _reasons() -> dict[tuple[str, str, str], str]:
    """Why each survivor of the committed table survives."""
    return {(row.module, row.function, row.change): row.why for row in _committed().itertuples() if row.change}


def table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row per module with its counts, followed by its survivors; rooms that were not run stay as they are."""
    known, old = _reasons(), _committed()
    frame = pd.DataFrame(rows)
    made: list[dict[str, Any]] = []
    for (room, module), group in frame.groupby(["room", "module"], sort=True):
        made.append({"room": room, "module": module, "run": len(group), "killed": (~group.survived).sum()})
        for row in group[group.survived].sort_values("line").itertuples():
            why = known.get((row.module, row.function, row.change), NEW)
            made.append({"room": room, "module": module, "function": row.function, "change": row.change, "why": why})
    kept = old[~old.room.isin(set(frame.room))]
    return pd.concat([kept, pd.DataFrame(made, columns=COLUMNS).astype(object)]).sort_values(
        ["room", "module"], kind="stable"
    )


def main() -> None:
    """From the command line."""
    settings = tomllib.loads((ROOT / SETTINGS).read_text())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rooms", nargs="*", default=settings["cosmic-ray"]["module-path"])
    parser.add_argument("--again", action="store_true", help="only what survived in the table")
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    output = given.output and given.output.resolve()
    for library in LIBRARIES:
        __import__(library)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place).resolve() / ROOT.name
        ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
        shutil.copytree(ROOT, copy, ignore=ignored)
        os.chdir(copy)
        os.environ |= {"PYTHONPATH": str(copy), "RFCOMPARE_CACHE": f"{place}/cache"}
        os.environ["NUMBA_CACHE_DIR"] = f"{place}/compiled"
        sys.path.insert(0, str(copy))
        for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "rfcompare")]:
            del sys.modules[name]
        rows = run(settings, given.rooms, again=given.again)
    if output is not None:
        made = table(rows)
        with output.open("w") as file:
            date, seed = datetime.now(UTC).date().isoformat(), settings["sample"]["seed"]
            file.write(f"# {date}, nox -s mutants: a seeded draw (seed {seed}) of the mutants that Cosmic Ray makes\n")
            made.to_csv(file, index=False)


if __name__ == "__main__":
    main()
