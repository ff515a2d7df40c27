"""The search for the best minimum of every map: which starts are refined, when more are tried, what is kept.

Both engines refine starts; what they are given and what is made of it is decided here, once. Every map gets a few
starts that differ; where these leave a doubt it gets more: on a bound, where no two starts agree, where the residual
is not noise or is most of the map, where another minimum is nearly as good. Minima that differ are kept to the end, so
that rivals of the best are known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from rfcompare.fitting.uncertainty import apart
from rfcompare.models import Model

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_SAME = 1e-3
"""Ends near each other lie in one minimum when their costs differ by less than this share: valleys are flat."""

_FEW, _MORE, _MANY = 6, 14, 24
"""Starts of every map, where the first ones leave a doubt, and where another minimum is nearly as good; `Model.most`
where the residual shows that the map is not of the model's kind or the last starts still found a better minimum."""

_ANYWHERE = 12
"""Starts anywhere between the bounds, for what a dictionary of likely members misses: optima hardly a pixel wide and in
the bounds' corners."""

_NARROW = 0.65
"""Pixels below which a width leaves a doubt: so narrow a field has other minima between the pixels."""

_HASTY, _PATIENT, _DOGGED = 0.1, 2.0, 8.0
"""Patience with the first starts, with further ones, and where the map is not of the model's kind. Patience without end
took a seventh to a half longer on maps of cells and kernels and found nothing more."""

_ODD, _STRUCTURED = 2.5, 3.0
"""Standard errors of white noise from which the structure of a residual leaves a doubt, and from which the map is taken
not to be of the model's kind."""

_NEAR = 10.0
"""Twice the difference of log-likelihoods up to which another minimum leaves a doubt that there is a better one."""

CLOSE = 1.01
"""A minimum whose cost is at most this many times the best one's is told where it says something else."""

_EXACT = 1e-12
"""A residual of this share of the map's variance is rounding."""

_TURNED = math.radians(10)
"""Minima whose orientations differ by more than this answer differently."""


@dataclass
class Ends:
    """Where starts ended: parameters (n, k, parameters), costs (n, k; infinite where given up) and whether settled."""

    p: Floats
    cost: Floats
    settled: Bools

    def beside(self, other: Ends) -> Ends:
        """The ends of both for the same maps."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(Ends))
        return Ends(*(np.concatenate(pair, axis=1) for pair in pairs))

    def of(self, rows: npt.NDArray[Any]) -> Ends:
        """Of some maps."""
        return Ends(self.p[rows], self.cost[rows], self.settled[rows])


@dataclass
class Description:
    """Of given parameters: amplitudes (n, channel, terms + 1), exact costs (n,), JᵀJ (n, m, m), the maps they draw."""

    linear: Floats
    cost: Floats
    information: Floats
    fitted: Floats


class Refiner(Protocol):
    """What an engine does, on maps whose means over the measured pixels are removed."""

    model: Model
    maps: Floats
    mask: Floats
    whole: bool
    total: Floats
    count: Floats
    low: Floats
    high: Floats

    def starts(self, rows: npt.NDArray[Any], count: int) -> Floats:
        """Starts (len(rows), count, parameters) of the maps `rows`, the best first."""

    def refine(self, rows: npt.NDArray[Any], starts: Floats, best: Floats, patience: float) -> Ends:
        """Refine starts of maps `rows` of which minima with costs `best` are known.

        After k steps a start is given up whose residual is worse than 1.3 times the best one by more than patience / k
        of the map's sum of squares.
        """

    def describe(self, rows: npt.NDArray[Any], p: Floats) -> Description:
        """What parameters in their canonical form make of maps `rows`."""


@dataclass
class Solution:
    """The best minimum of every map.

    Attributes
    ----------
    p : (n, parameters) array
    linear : (n, channel, terms + 1) array
        Offset last, with the map's mean back in it.
    cost : (n,) array
        Residual sum of squares.
    n_agree : (n,) int array
        Refined starts that ended in this minimum.
    converged : (n,) bool array
    rival : (n, parameters) array
        The best other minimum that a refined start ended in; NaN where there was none.
    rival_cost, turned_cost : (n,) array
        Its residual sum of squares, and that of the best minimum of another orientation; infinite where there was none.
    information : (n, m, m) array
        JᵀJ of all fitted numbers: the nonlinear parameters, then every channel's amplitudes and offset.
    fitted : (n, channel, height, width) array
        The fit.
    """

    p: Floats
    linear: Floats
    cost: Floats
    n_agree: npt.NDArray[np.int64]
    converged: Bools
    rival: Floats
    rival_cost: Floats
    turned_cost: Floats
    information: Floats
    fitted: Floats

    @classmethod
    def joined(cls, parts: Sequence[Solution]) -> Solution:
        """The solutions of consecutive chunks of maps as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def search(engine: Refiner, mean: Floats, starts: Floats | None = None) -> Solution:
    """The best minimum of every map of an engine.

    Parameters
    ----------
    engine : Refiner
    mean : (n, channel) array
        The means that were taken out of the maps.
    starts : (n, starts, parameters) array, optional
        In place of those from the dictionary: all are refined, and no others.
    """
    model, n = engine.model, len(engine.maps)
    every, changed = np.arange(n), cast(Any, slice(None))
    first = engine.starts(every, _FEW) if starts is None else starts
    ends = engine.refine(every, np.clip(first, engine.low, engine.high), np.full(n, np.inf), _HASTY)
    best = _Best(engine, ends)
    if starts is None and model.parameters:
        best.describe()
        best.look_around(changed)
        cornered = np.any((best.p <= engine.low) | (best.p >= engine.high), axis=1)
        narrow = [one.width and one.log for one in model.parameters]
        cornered |= (best.p[:, narrow] < math.log(_NARROW)).any(axis=1)
        structured = _structure(engine, best.described, changed)
        doubtful = cornered | (best.n_agree < 2) | np.isfinite(best.rival_cost) | (structured > _ODD)
        changed = more = np.flatnonzero(doubtful)
        best.try_more(more, _MORE, _PATIENT)
        best.try_anywhere(np.flatnonzero(cornered), _PATIENT)
        best.describe()
        best.look_around(more)
        strange, before = _structure(engine, best.described, more) > _STRUCTURED, best.cost[more]
        best.try_more(more[~strange & np.isfinite(best.rival_cost[more])], min(_MANY, model.most), _PATIENT)
        unsettled = strange | (best.cost[more] < (1 - _SAME) * before)
        best.try_more(more[unsettled], model.most, _DOGGED)
        best.try_anywhere(more[unsettled & ~cornered[more]], _DOGGED)
    best.describe()
    best.look_around(changed)
    found = best.described
    found.linear[:, :, -1] += mean
    found.fitted += mean[:, :, None, None]
    return Solution(
        best.p, found.linear, found.cost, best.n_agree, best.settled, best.rival, best.rival_cost, best.turned_cost,
        found.information, found.fitted,
    )  # fmt: skip


class _Best:
    """The best minimum so far of every map, all ends, and what is around the best one (see `Solution`)."""

    def __init__(self, engine: Refiner, ends: Ends) -> None:
        self.engine, self.ends = engine, [(np.arange(len(ends.cost)), ends)]
        n, _, q = ends.p.shape
        self.p, self.cost, self.settled = np.empty((n, q)), np.full(n, np.inf), np.zeros(n, bool)
        self.n_agree, self.rival = np.ones(n, np.int64), np.full((n, q), np.nan)
        self.rival_cost, self.turned_cost = np.full(n, np.inf), np.full(n, np.inf)
        self.tried = np.full(n, ends.cost.shape[1])
        self.changed = np.ones(n, bool)
        self.margin = np.maximum(1 + _NEAR / (engine.count * engine.maps.shape[1]), CLOSE)
        self._keep(self.ends[0][0], ends)

    def _keep(self, rows: npt.NDArray[Any], ends: Ends) -> None:
        winner = ends.cost.argmin(axis=1)
        at = np.arange(len(rows)), winner
        better = (ends.cost[at] < self.cost[rows]) | ~np.isfinite(self.cost[rows])
        into, at = rows[better], (at[0][better], winner[better])
        self.p[into] = self._canonical(ends.p[at])
        self.cost[into], self.settled[into], self.changed[into] = ends.cost[at], ends.settled[at], True

    def try_more(self, rows: npt.NDArray[Any], upto: int, patience: float) -> None:
        """Refine further starts of some maps, until so many were tried of each."""
        for tried in np.unique(self.tried[rows]):
            some = rows[self.tried[rows] == tried]
            if tried >= upto:
                continue
            self._try(some, self.engine.starts(some, upto)[:, tried:], patience)
            self.tried[some] = upto

    def try_anywhere(self, rows: npt.NDArray[Any], patience: float) -> None:
        """Refine starts of some maps that fill the space between the bounds evenly, the same of every map."""
        if not len(rows):
            return
        low, high = self.engine.low, self.engine.high
        points = qmc.Halton(len(low), scramble=False).random(_ANYWHERE + 1)[1:]  # the first one is the corner
        circle = np.array([one.circle for one in self.engine.model.parameters])
        low, high = np.where(circle > 0, 0.0, low), np.where(circle > 0, circle, high)
        points = low + (high - low) * points
        self._try(rows, np.tile(points, (len(rows), 1, 1)), patience)

    def _try(self, rows: npt.NDArray[Any], starts: Floats, patience: float) -> None:
        engine = self.engine
        ends = engine.refine(rows, np.clip(starts, engine.low, engine.high), self.cost[rows], patience)
        self._keep(rows, ends)
        self.ends.append((rows, ends))

    def describe(self) -> None:
        """Describe what is new since the last time."""
        rows = np.flatnonzero(self.changed)
        if not len(rows) and hasattr(self, "described"):
            return
        found = self.engine.describe(rows, self.p[rows])
        if len(rows) == len(self.cost):
            self.described = found
        else:
            for field in fields(Description):
                getattr(self.described, field.name)[rows] = getattr(found, field.name)
        self.changed[:] = False

    def look_around(self, among: Any) -> None:
        """Of some maps, find the ends in the best minimum and the others that are nearly as good."""
        n, q = self.p.shape
        agree = np.zeros(n, np.int64)
        self.rival[among] = np.nan
        self.rival_cost[among] = self.turned_cost[among] = np.inf
        model, theta = self.engine.model, self.engine.model.index("theta")
        rounding = 1e-9 * self.engine.total
        same, limit = self.cost * (1 + _SAME) + rounding, np.full(n, -np.inf)
        limit[among] = (self.cost * self.margin + rounding)[among]
        for rows, ends in self.ends:
            number, start = np.nonzero(ends.cost <= limit[rows, None])
            here, cost = rows[number], ends.cost[number, start]
            p = self._canonical(ends.p[number, start])
            other = apart(model, p, self.p[here]) if q else np.zeros(len(number), bool)
            agree += np.bincount(here[(cost <= same[here]) & ~other], minlength=n)
            settled = ends.settled[number, start]
            order = np.flatnonzero(other & settled)
            order = order[np.argsort(-cost[order])]  # the lowest one is written last
            order = order[cost[order] < self.rival_cost[here[order]]]
            self.rival_cost[here[order]], self.rival[here[order]] = cost[order], p[order]
            if theta >= 0:
                off = p[:, theta] - self.p[here, theta]
                off = np.abs((off + math.pi / 2) % math.pi - math.pi / 2)
                np.minimum.at(self.turned_cost, here, np.where(settled & (off > _TURNED), cost, np.inf))
        self.n_agree[among] = np.maximum(agree, 1)[among]

    def _canonical(self, p: Floats) -> Floats:
        if not p.size:
            return p
        return np.asarray(self.engine.model.canonical(p, np.zeros((len(p), 1, len(self.engine.model.linear) + 1)))[0])


def _structure(engine: Refiner, found: Description, rows: Any) -> Floats:
    """Of maps `rows`, how many standard errors of white noise the residual's neighboring pixels correlate, or it
    gathers where the fit is; infinite for a poor fit.
    """
    maps, fitted, total = engine.maps[rows], found.fitted[rows], engine.total[rows]
    left = maps - fitted
    if not engine.whole:
        left = left * engine.mask[rows, None]
    square = np.einsum("ncyx,ncyx->n", left, left)
    pairs = (left[:, :, 1:], left[:, :, :-1]), (left[..., 1:], left[..., :-1])
    most = np.maximum(*(np.abs(np.einsum("ncyx,ncyx->n", *pair)) for pair in pairs))
    root = np.sqrt(engine.count[rows] * maps.shape[1])
    weight = (fitted - fitted.mean(axis=(2, 3), keepdims=True)) ** 2
    weight /= np.maximum(weight.sum(axis=(1, 2, 3), keepdims=True), 1e-300)
    gathered = np.einsum("ncyx,ncyx->n", weight, left * left) * root**2
    spread = np.sqrt(2 * np.einsum("ncyx,ncyx->n", weight, weight) + 1e-300)
    square = np.where(square > 0, square, 1.0)
    errors = np.maximum(most * root / square, (gathered / square - 1) / spread)
    return np.where(square > 0.5 * total, np.inf, np.where(square > _EXACT * total, errors, 0.0))
