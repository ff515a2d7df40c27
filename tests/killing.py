"""Kills runs while they write, and runs them again: what then lies there is to be what an unkilled run leaves.

``python -m tests.killing --kills 50 -o tests/killing.csv`` prints a line of JSON for every run and writes the committed
table. A run is a fork of this process, and is killed from outside with signal 9: at a random one of the moments at
which it opens, renames or removes a file, and a random time of up to `LATER` afterwards, so that also the writing
itself is met.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

import rfcompare as rfc
from rfcompare.cli import main as verb
from rfcompare.pipeline import parts, population

PART = 8
"""Units of a part here, so that a small population has several."""

LATER = (0.0, 0.001, 0.03)
"""Seconds: at once, within the writing of a small file, within that of a large one."""

TWICE = 0.5
"""How often the run that takes up a killed one is killed as well."""

COLD = "fit by an engine that is compiled first"
"""All others find what earlier runs have compiled, wherever those were killed; this one compiles each time."""

MAPS = ("--fields", "fields.nc", "--kernels", "kernels.nc")
JOBS: dict[str, tuple[str, ...]] = {
    "fit in parts": ("fit", "fields.nc", "-o", "out/fits.nc"),
    "fits in the cache": ("describe", "fields.nc", "-o", "out/table.csv"),
    "train": (
        *("train", "lines", "--steps", "40", "--runs", "2", "--history", "out/h.csv", "--snapshots", "out/s.h5"),
        *("-o", "out/trained.nc"),
    ),
    "figure": ("figure", "fits", *MAPS, "-o", "out"),
    "matches in the cache": ("match", *MAPS, "-o", "out/matches.nc"),
    "survey in the cache": ("survey", "--no-torchvision", "--population", "fields.nc", "-o", "out"),
    "report": ("report", *MAPS, "-o", "out"),
    COLD: ("fit", "fields.nc", "-o", "out/fits.nc"),
}
"""What is killed; between them they write parts, tables, figures, a page, the cache, compiled functions and a
training's state."""

WRITES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")


def prepare(folder: Path) -> None:
    """The inputs and an empty place for the outputs."""
    for name, n in (("fields", 30), ("kernels", 12)):
        maps, _ = rfc.simulation.simulate_population(n=n, size=9, seed=n)
        rfc.save(maps, folder / f"{name}.nc")


def run(job: str, folder: Path, *, moment: int = 0, later: float = 0.0) -> tuple[int, int]:
    """Run a job in a fork of this process; at a moment from 1 on kill it.

    Returns
    -------
    int, int
        How it ended, as `subprocess` says it, and how many moments there were until then.
    """
    reads, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        _child(job, folder, tells)
    os.close(tells)
    seen = 0
    while told := os.read(reads, 1):
        seen += len(told)
        if seen == moment:
            end = time.perf_counter() + later
            while time.perf_counter() < end:
                pass
            os.kill(child, signal.SIGKILL)
    os.close(reads)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen


def _child(job: str, folder: Path, tells: int) -> None:
    """The run itself, which tells of every moment by a byte."""
    status = 1
    try:
        os.chdir(folder)
        os.environ["RFCOMPARE_CACHE"] = str(folder / "cache")
        parts.PART = population.PART = PART  # type: ignore[misc]
        if job != COLD:
            os.environ["NUMBA_CACHE_DIR"] = str(folder / "compiled")
        with open(folder / "said", "w") as said:  # noqa: PTH123
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)

        def watch(event: str, given: tuple[Any, ...]) -> None:
            writes = event == "open" and given[2] & (os.O_WRONLY | os.O_RDWR)
            if (writes or event in WRITES) and isinstance(given[0], str | os.PathLike):
                path = os.path.join(folder, given[0])  # noqa: PTH118
                if path.startswith((f"{folder}/out", f"{folder}/cache")):
                    os.write(tells, b".")

        sys.addaudithook(watch)
        status = verb(list(JOBS[job]), standalone_mode=False) or 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        os._exit(status)


def contents(folder: Path) -> dict[str, str]:
    """What lies in a folder, of which a rerun has to make the same: all but locks and their log's order."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir() or path.name == "lock":
            continue
        found[name] = path.read_bytes().hex()
        if name == ".rfcompare/written":
            found[name] = json.dumps(sorted(path.read_text().splitlines()))
    return found


def kills(n: int, *, seed: int) -> list[dict[str, Any]]:
    """Kill `n` runs, the jobs in turn, and finish each; a row a kill says how it went."""
    rows: list[dict[str, Any]] = []
    whole: dict[str, tuple[int, dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        prepare(folder)

        def clean() -> None:
            for name in ("out", "cache"):
                shutil.rmtree(folder / name, ignore_errors=True)
            (folder / "out").mkdir()

        for index in range(n):
            chance = random.Random(f"{seed}/{index}")
            job = list(JOBS)[index % len(JOBS)]
            if job not in whole:
                clean()
                ended, moments = run(job, folder)
                if ended:
                    raise AssertionError(f"{job} ends with {ended}: {(folder / 'said').read_text()}")
                whole[job] = moments, contents(folder / "out")
            clean()
            row: dict[str, Any] = {"job": job, "moments": [], "ends": [], "half": 0, "torn": []}
            for _ in range(1 + (chance.random() < TWICE)):
                # A run that is taken up has less to do.
                moment = chance.randint(1, max(1, whole[job][0] - sum(row["moments"])))
                ended, _ = run(job, folder, moment=moment, later=chance.uniform(0, chance.choice(LATER)))
                row["moments"].append(moment)
                row["ends"].append(ended)
                row["half"] += len([*folder.rglob("*.part")])
                named = contents(folder / "out")
                row["torn"] += [name for name in whole[job][1].keys() & named.keys() if _torn(name, named, whole[job])]
            ended, row["again"] = run(job, folder)
            row["ended"] = ended
            made = contents(folder / "out")
            row["said"] = (folder / "said").read_text()[-400:] if ended else ""
            row["differs"] = sorted(
                name for name in made.keys() | whole[job][1].keys() if made.get(name) != whole[job][1].get(name)
            )
            row["left"] = [str(path.relative_to(folder)) for path in folder.rglob("*.part")]
            rows.append({**row, "whole": whole[job][0]})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def _torn(name: str, found: dict[str, str], whole: tuple[int, dict[str, str]]) -> bool:
    """Whether a file with a result's name holds something else; the log of a folder grows."""
    return name != ".rfcompare/written" and found[name] != whole[1][name]


def table(rows: list[dict[str, Any]], *, seed: int) -> pd.DataFrame:
    """A row a job: how many runs and kills there were, and how many of the runs left what they should not."""
    counted = [
        {
            "job": row["job"],
            "seed": seed,
            "runs": 1,
            "kills": row["ends"].count(-9),
            "half_written": row["half"],
            **{name: int(bool(row[name])) for name in ("torn", "differs", "left", "ended")},
        }
        for row in rows
    ]
    return pd.DataFrame(counted).groupby(["job", "seed"], sort=False).sum().reset_index()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    given = parser.parse_args()
    made = kills(given.kills, seed=given.seed)
    if given.output is not None:
        rfc.bank.write_csv(table(made, seed=given.seed), given.output)
