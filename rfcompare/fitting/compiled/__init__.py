"""The engine for bulk work on CPUs: compiled once per machine with Numba, eight maps side by side.

`engine.py` is its door, `search.py` what is compiled and kept; the other files hold what that calls. What each part is
worth: CPU time of a whole fit without it over that with it, for drawn Gabors of 11×11 and of 32×32 pixels at an SNR of
5, unequal lobes of 20×20 pixels and networks' kernels of 11×11; no map was fitted better without any of them.

* `gabor`, beside the products of `shapes` that every other model takes: 2.0, 2.9, 3.7, 2.4
* `lanes`, eight to a vector: one map at a time 4.1, 3.8, 5.4, 5.5; four maps 1.4, 1.3, 1.5, 1.5
* `lanes`, products fused with sums: 1.04, 1.15, 1.05, 1.06
* `vectors`, exponentials, beside the C library's: 1.3, 1.3, 1.4, 1.3; sines and cosines: 1.2, 1.3, 1.2, 1.2
* `gabor`, envelopes by recurrence along a row: 1.2, 1.5, 1.7, 1.3; tiles of columns: 1.0, 1.1, 1.0, 1.0
* `search`, starts given up early: 1.4, 1.3, 1.2, 1.3; those that meet another's minimum follow it: 1.2, 1.1, 1.3, 1.3
* `search.choose`, starts chosen from the dictionary, beside NumPy: 1.2, 1.1, 1.1, 1.1
"""

from rfcompare.fitting.compiled.engine import COMPILE_SECONDS, Compiled, compiled_as, is_warm

__all__ = ["COMPILE_SECONDS", "Compiled", "compiled_as", "is_warm"]
