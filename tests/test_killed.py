"""Runs that are killed while they write: nothing is torn, and the next run makes what an unkilled one makes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

N_KILLS = int(os.environ.get("RFCOMPARE_KILLS", "4"))
"""Moments at which a writing run is killed; the variable asks for more."""


@pytest.mark.skipif(os.name != "posix", reason="the signal and the fork are POSIX's")
def test_a_run_killed_while_it_writes_tears_nothing_and_its_repetition_makes_the_same() -> None:
    # In a process of its own, which may be forked: this one may have threads.
    words = [sys.executable, "-m", "tests.killing", "--kills", str(N_KILLS)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == N_KILLS
    assert [row for row in rows if row["torn"] or row["differs"] or row["left"] or row["ended"]] == []
    # A run may end by itself within the last moment's delay.
    assert sum(-9 in row["ends"] for row in rows) > N_KILLS / 2
