"""`python -m rfcompare` is the command `rfcompare`."""

from rfcompare.cli import run

run()
