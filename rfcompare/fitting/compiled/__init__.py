"""The engine for bulk work on CPUs: compiled once per machine with Numba, eight maps side by side.

`engine.py` is its door, `search.py` what is compiled and kept; the other files hold what that calls.
"""

from rfcompare.fitting.compiled.engine import COMPILE_SECONDS, Compiled, compiled_as, is_warm

__all__ = ["COMPILE_SECONDS", "Compiled", "compiled_as", "is_warm"]
