"""`python -m rfcompare.cli` is the command `rfcompare`."""

from rfcompare.cli import run

run()
