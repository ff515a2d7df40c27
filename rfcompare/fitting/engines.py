"""Which engine fits, on what, in which chunks: prepared maps in, solutions out."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank import bad_units, pitch, without_lags
from rfcompare.errors import InputError
from rfcompare.fitting.batched import Batched
from rfcompare.fitting.search import Solution, search
from rfcompare.models import MODELS, Model

Floats = npt.NDArray[np.float64]

_ENGINES = ("auto", "batched", "compiled")

PER_MAP, PER_PIXEL = 12e-3, 3.5e-5
"""Seconds that the batched engine takes for a map on one core, and for each of its pixels: measured on maps as they are
recorded, which get many starts."""

LOADED, COMPILED = 0.5, 5.0
"""From how many such seconds a job is compiled: a Gabor's from what loading the engine costs, since nearly all jobs are
Gabors and compile it once per machine; another model's from half of what compiling it costs."""

CACHE = 1 << 14
"""Pixels that passes over many maps take at a time, to stay in the cache."""

_LONG = 1 << 20
"""Pixels of all maps together from which progress is shown: a second or so."""

_CHUNK, _DEVICE_CHUNK, COMPILED_CHUNK = 2048, 16384, 1024
"""Maps that are held at a time: by the batched engine on a CPU and on a device, and by the compiled one, of which fewer
spend more on the steps between than larger ones that leave the cache."""


@dataclass(frozen=True)
class Grid:
    """A bank's pixels: positions in pixels from the middle, and the size of one in the bank's units."""

    x: Floats
    y: Floats
    unit: float

    @classmethod
    def of(cls, bank: xr.Dataset) -> Grid:
        """The grid on which a bank's maps are fitted; pixels that are not square keep their shape."""
        dx, dy = pitch(bank)
        unit = dx if math.isclose(dx, dy, rel_tol=1e-6) else min(dx, dy)
        step_x, step_y = round(dx / unit, 9), round(dy / unit, 9)
        width, height = bank.sizes["x"], bank.sizes["y"]
        x: Floats = step_x * (np.arange(width, dtype=np.float64) - (width - 1) / 2)
        y: Floats = step_y * (np.arange(height, dtype=np.float64) - (height - 1) / 2)
        return cls(x, y, unit)

    @property
    def square(self) -> bool:
        """Whether pixels are as high as wide."""
        return bool(abs(self.x[1] - self.x[0] - 1) < 1e-9 and abs(self.y[1] - self.y[0] - 1) < 1e-9)


@dataclass(frozen=True)
class Maps:
    """A bank's maps, ready to be fitted.

    Attributes
    ----------
    values : (n, channel, height, width) array
        The usable units' maps; zero where not measured.
    mask : (n, height, width) array
        1 where every channel was measured, 0 elsewhere.
    grid : Grid
    usable : (n,) int array
        Rows of the bank that these are.
    problems : (units,) object array
        Why each unit of the bank is not usable; "" where it is.
    """

    values: Floats
    mask: Floats
    grid: Grid
    usable: npt.NDArray[np.int64]
    problems: npt.NDArray[np.object_]

    @classmethod
    def of(cls, bank: xr.Dataset, *, joint: bool = False) -> Maps:
        """Take a checked bank's maps out.

        Raises
        ------
        InputError
            For lags, and for several channels unless they are fitted jointly.
        """
        without_lags(bank)
        if bank.sizes["channel"] > 1 and not joint:
            names = ", ".join(map(str, bank.channel.values))
            raise InputError(f"expected one channel, got {names}; reduce it with to_signed or pass joint=True")
        maps = np.ascontiguousarray(bank["rf"].transpose("unit", "channel", "y", "x").values, dtype=np.float64)
        n, _, height, width = maps.shape
        problems = np.array(bad_units(bank), dtype=object)
        if (problems == "").all() and not np.isnan(maps.min(initial=0.0)):
            return cls(maps, np.ones((n, height, width)), Grid.of(bank), np.arange(n), problems)
        gaps = np.isnan(maps)
        measured = np.logical_not(gaps.any(axis=1))
        seen = np.where(measured[:, None], maps, np.nan)
        for row in np.flatnonzero(problems == ""):
            values = seen[row][:, measured[row]]
            if values.size == 0:
                problems[row] = "not measured in all channels at once"
            elif (values == values[:, :1]).all():
                problems[row] = "flat"
        usable = np.flatnonzero(problems == "")
        mask = measured[usable]
        values = np.where(mask[:, None], maps[usable], 0.0)
        return cls(values, mask.astype(np.float64), Grid.of(bank), usable, problems)

    @property
    def channels(self) -> int:
        """Channels that share the nonlinear parameters."""
        return int(self.values.shape[1])

    @property
    def alone(self) -> bool:
        """Whether a Gabor takes the shortest way: one channel on square pixels."""
        return self.channels == 1 and self.grid.square

    @property
    def pixels(self) -> Floats:
        """Measured pixels (n,) of one channel."""
        return np.asarray(self.mask.sum((1, 2)))

    def total(self) -> Floats:
        """Sums of squares (n,) about each channel's mean over the measured pixels."""
        out = np.empty(len(self.values))
        rows = max(1, CACHE // self.values[0].size) if len(out) else 1
        for first in range(0, len(out), rows):
            here = slice(first, first + rows)
            mask = self.mask[here][:, None]
            mean = self.values[here].sum((2, 3), keepdims=True) / mask.sum((2, 3), keepdims=True)
            out[here] = np.einsum("ncyx,ncyx->n", centered := (self.values[here] - mean) * mask, centered)
        return out

    def replaced(self, values: Floats) -> Maps:
        """The same units with other maps."""
        return replace(self, values=values)


@dataclass(frozen=True)
class Engine:
    """How to run: the engine's name, a torch device, threads, whether to show progress (None: on a terminal), and how
    often every map will be fitted.
    """

    name: str = "auto"
    device: str | None = None
    workers: int = 1
    progress: bool | None = None
    times: int = 1

    def __post_init__(self) -> None:
        if self.name not in _ENGINES:
            raise InputError(f"expected engine 'auto', 'batched' or 'compiled', got {self.name!r}; choose one of these")
        if isinstance(self.workers, bool) or not isinstance(self.workers, int) or self.workers < 1:
            raise InputError(f"expected workers to be a whole number from 1, got {self.workers!r}; give workers=1")
        if self.name == "compiled" and self.device is not None:
            raise InputError(
                f"expected either engine='compiled' or a device, got both (device {self.device!r}); leave one out"
            )

    def compiles(self, model: Model, maps: Maps) -> bool:
        """Whether the compiled engine takes this job, which nothing but the job decides.

        The engines differ in their last digits, and a job that is repeated has to give the same ones.
        """
        if not model.parameters or self.name == "batched" or self.device is not None:
            return False
        n, channels, height, width = maps.values.shape
        seconds = n * self.times * (PER_MAP + PER_PIXEL * height * width * channels)
        least = LOADED if model.name == "gabor" and maps.alone else COMPILED
        if self.name == "auto" and seconds < least:
            return False
        from rfcompare.fitting.compiled import compiled_as

        return bool(compiled_as(model, alone=maps.alone))


def run(model: Model, maps: Maps, engine: Engine, *, starts: Floats | None = None) -> tuple[Solution, str]:
    """Fit every map.

    Parameters
    ----------
    model : Model
    maps : Maps
    engine : Engine
    starts : (n, starts, parameters) array, optional
        Searched parameters to start from, in place of the model's blind starts.

    Returns
    -------
    Solution
        In pixels about the map's middle.
    str
        The engine that was used, in words.
    """
    if starts is None and model.nested is not None and len(maps.values):
        simpler, _ = run(MODELS[model.nested], maps, engine)
        starts = np.asarray(model.extend(simpler.p, float(max(maps.values.shape[2:]))))
    move: Callable[[Any], Any] = np.asarray
    prepared: Any = Batched
    name, chunk = "batched (NumPy)", _CHUNK
    if engine.device is not None:
        import torch

        try:
            device = torch.device(engine.device)
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise InputError(
                f"expected a device that torch can use, got {engine.device!r} ({str(error).splitlines()[0]}); "
                "leave device out"
            ) from None

        def move(values: Any) -> Any:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float64, device=device)

        name, chunk = f"batched (torch, {device})", _DEVICE_CHUNK

    if len(maps.values) and engine.compiles(model, maps):
        prepared, name, chunk = _compiled(model, maps, engine), "compiled (Numba)", COMPILED_CHUNK

    def one(first: int) -> Solution:
        here = slice(first, first + chunk)
        problem = prepared(model, *(move(a) for a in (maps.values[here], maps.mask[here], maps.grid.x, maps.grid.y)))
        return search(problem, problem.mean, None if starts is None else starts[here])

    total = len(maps.values)
    firsts = range(0, max(total, 1), chunk)
    parts: list[Solution] = []
    with _Bar(model, total, engine, shown=maps.values.size > _LONG) as advance:
        for first, part in zip(firsts, _in_order(one, firsts, engine.workers), strict=True):
            parts.append(part)
            advance(min(chunk, total - first))
    return Solution.joined(parts), name


def _in_order(function: Callable[[int], Solution], firsts: range, workers: int) -> Iterator[Solution]:
    if workers == 1 or len(firsts) == 1:
        yield from map(function, firsts)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(function, firsts)


class _Bar:
    """A progress bar over maps for jobs worth one; as a context it gives the function that advances it."""

    def __init__(self, model: Model, total: int, engine: Engine, *, shown: bool) -> None:
        self.bar: Any = None
        if shown and engine.progress is not False:
            from tqdm import tqdm

            self.bar = tqdm(
                total=total, desc=f"fit {model.name}", unit="map", disable=False if engine.progress else None
            )

    def __enter__(self) -> Callable[[int], object]:
        return self.bar.update if self.bar is not None else lambda count: None

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()


def _compiled(model: Model, maps: Maps, engine: Engine) -> Any:
    """The compiled engine; what it costs is said where it is compiled now and somebody may be waiting."""
    from rfcompare.fitting.compiled import COMPILE_SECONDS, Compiled, is_warm

    if not is_warm(model, alone=maps.alone) and (engine.progress or (engine.progress is None and sys.stderr.isatty())):
        print(
            f"compiling the engine for the model {model.name}, once on this machine: about {COMPILE_SECONDS:.0f} s",
            file=sys.stderr,
        )
    return Compiled
