"""The compiled engine's door: what the search asks of it, NumPy in and NumPy out."""

from __future__ import annotations

import contextlib

import numpy as np

from rfcompare.fitting.batched import prepare
from rfcompare.fitting.compiled.gabor import AloneKind
from rfcompare.fitting.compiled.search import FOLDER, choose, describe, refine
from rfcompare.fitting.compiled.shapes import kind_of
from rfcompare.fitting.dictionary import Likeness
from rfcompare.fitting.search import Description, Ends
from rfcompare.models import Model

_TOLERANCE, _STEPS = 1e-7, 100
"""Relative fall of the cost at which a start has settled, and most steps."""
COMPILE_SECONDS = 9.0  # measured on one core: 8 to 11 s by family of models

_ready: set[str] = set()
"""What was compiled or loaded in this process, by `compiled_as`."""


def compiled_as(model: Model, *, alone: bool) -> str:
    """The name of what is compiled to fit a model, one for all models that share it; "" where nothing can be.

    `alone` says that a Gabor is fitted to one channel on square pixels, which has functions of its own.
    """
    if model.name == "gabor" and alone:
        return "GaborAlone"
    return type(kind).__name__ if (kind := kind_of(model)) is not None else ""


def is_warm(model: Model, *, alone: bool = True) -> bool:
    """Whether a model is fitted at once: compiled in this process or by an earlier one on this machine."""
    name = compiled_as(model, alone=alone)
    return name in _ready or (FOLDER / f"{name}.ready").exists()


def _note_what_is_ready(model: Model, alone: bool) -> None:
    """Leave a file beside the cache for every family of models that was compiled."""
    name = compiled_as(model, alone=alone)
    if name not in _ready:
        _ready.add(name)
        if FOLDER.exists():  # else nothing is kept: the next process compiles again
            with contextlib.suppress(OSError):
                (FOLDER / f"{name}.ready").touch()


def _choose(explained, differ, count):
    out = np.empty((len(explained), count), np.int64)
    choose(explained, differ, count, out)
    return out


class Compiled:
    """This engine, ready for `rfcompare.fitting.search.search`; parameters as `rfcompare.fitting.batched.Batched`."""

    def __init__(self, model: Model, maps: np.ndarray, mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
        problem = prepare(model, maps, mask, x, y)
        self.model, self.x, self.y = model, x, y
        self.maps, self.mask, self.mean, self.whole = problem.maps, problem.mask, problem.mean, problem.whole
        self.total, self.count = problem.total, np.ascontiguousarray(problem.count, float)
        self.low, self.high = model.bounds(x, y)
        n, channels = maps.shape[:2]
        square = all(np.allclose(np.diff(axis), 1, atol=1e-9, rtol=0) for axis in (x, y))
        self.alone = model.name == "gabor" and channels == 1 and square
        # The Gabor's own functions count pixels from a corner.
        self.corner = np.zeros(len(self.low))
        if self.alone:
            self.corner[:2] = -x[0], -y[0]
        # The search works on maps of unit variance.
        self.unit = np.sqrt(problem.total / (channels * problem.count))
        self.flat = (problem.maps / self.unit[:, None, None, None]).reshape(n, -1)
        self.weights = np.zeros((0, 0)) if problem.whole else np.ascontiguousarray(mask.reshape(n, -1))
        self.likeness: Likeness | None = None
        rules = [(1 / one.step, one.scale, one.apart, one.circle, one.width) for one in model.parameters]
        self.rules = np.array(rules, dtype=float)

    def _of(self, rows):
        """Maps, weights and counts of `rows`, and what is the same of all."""
        every = len(rows) == len(self.flat)
        weights = self.weights if every or self.whole else self.weights[rows]
        maps, count = (self.flat, self.count) if every else (self.flat[rows], self.count[rows])
        return maps, weights, count, self.x, self.y, self.maps.shape[1], len(self.model.linear)

    def starts(self, rows: np.ndarray, count: int) -> np.ndarray:
        """The likest members of the model's dictionary, those that explain most first."""
        if self.likeness is None:
            self.likeness = Likeness(self.model, self.maps, self.x, self.y)
        return np.asarray(self.likeness.starts(rows, count, _choose))

    def refine(self, rows: np.ndarray, starts: np.ndarray, best: np.ndarray, patience: float) -> Ends:
        """Refine starts (n, k, parameters) of maps `rows`; see `rfcompare.fitting.search.Refiner`."""
        shape, square = starts.shape[:2], self.unit[rows] ** 2
        ends, costs, settled = np.empty(starts.shape), np.empty(shape), np.empty(shape, bool)
        refine(
            AloneKind(0) if self.alone else kind_of(self.model), *self._of(rows), self.low + self.corner,
            self.high + self.corner, self.rules, np.ascontiguousarray(starts + self.corner), best / square,
            (_TOLERANCE, _STEPS, patience), ends, costs, settled,
        )  # fmt: skip
        return Ends(ends - self.corner, costs * square[:, None], settled)

    def describe(self, rows: np.ndarray, p: np.ndarray) -> Description:
        """Amplitudes, exact costs, information and drawn maps of canonical parameters."""
        n, q = p.shape
        channels, terms = self.maps.shape[1], len(self.model.linear) + 1
        size, unit = q + channels * terms, self.unit[rows]
        linear, cost, inner = np.empty((n, channels * terms)), np.empty(n), np.empty((n, size * size))
        fitted = np.empty((n, self.flat.shape[1]))
        describe(kind_of(self.model), *self._of(rows), np.ascontiguousarray(p), linear, cost, inner, fitted)
        linear = (linear * unit[:, None]).reshape(n, channels, terms)
        fitted = (fitted * unit[:, None]).reshape(n, *self.maps.shape[1:])
        scale = np.ones((n, size))
        scale[:, :q] = unit[:, None]
        _note_what_is_ready(self.model, self.alone)
        inner = inner.reshape(n, size, size) * scale[:, :, None] * scale[:, None, :]
        return Description(linear, cost * unit**2, inner, fitted)
