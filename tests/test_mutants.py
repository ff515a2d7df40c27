"""The committed table of mutants: the tests notice most of them, and of every other it says why."""

from pathlib import Path

import pandas as pd
import pytest

TABLE = pd.read_csv(Path(__file__).with_name("mutants.csv"), skiprows=1, keep_default_na=False)

LEAST = 0.85
"""Share of the mutants of a room that its tests must notice."""


@pytest.mark.parametrize("room", ["rfcompare/comparison", "rfcompare/descriptors.py", "rfcompare/models"])
def test_most_mutants_are_killed(room: str) -> None:
    counted = TABLE[(TABLE.room == room) & (TABLE.run != "")]
    run, killed = counted.run.astype(int).sum(), counted.killed.astype(int).sum()
    assert run >= 80 and killed / run >= LEAST
    assert (TABLE[TABLE.room == room].change != "").sum() == run - killed


def test_every_survivor_has_its_reason() -> None:
    reasons = TABLE.why[TABLE.change != ""].str.partition(":")[0]
    assert set(reasons) <= {"equivalent", "constant", "speed", "not tested"}
