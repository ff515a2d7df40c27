"""Mutated files: a few hundred in the suite."""

from tests.fuzz import IN_SUITE, fuzz


def test_mutated_files_are_opened_or_refused_in_one_sentence() -> None:
    counts = fuzz(IN_SUITE, seed=1)
    ends = {(name, how): n for name, how_many in counts.items() for how, n in how_many.items()}
    assert {how for _, how in ends} == {"opened", "refused"}, ends
    assert sum(ends.values()) == IN_SUITE
