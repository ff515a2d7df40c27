"""Mutated files: a few hundred in the suite; the table of many more is committed beside."""

from pathlib import Path

import pandas as pd

from tests.fuzz import IN_SUITE, fuzz, samples

TABLE = Path(__file__).with_name("fuzz.csv")


def test_mutated_files_are_opened_or_refused_in_one_sentence() -> None:
    counts = fuzz(IN_SUITE, seed=1)
    others = {(name, how): n for name, ends in counts.items() for how, n in ends.items()}
    assert {how for _, how in others} == {"opened", "refused"}, others
    assert sum(others.values()) == IN_SUITE


def test_the_committed_table_is_of_these_formats_and_without_faults(tmp_path: Path) -> None:
    table = pd.read_csv(TABLE)
    assert set(table["file"]) == set(samples(tmp_path))
    assert table["n"].sum() >= 10_000 and (table["faults"] == 0).all()
    assert (table["opened"] + table["refused"] == table["n"]).all()
