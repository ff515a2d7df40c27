"""Rows of a result for one descriptor at a time: effect, interval and test over animals, distances over units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rfcompare.comparison import inference, statistics
from rfcompare.comparison.populations import n_subjects, subjects
from rfcompare.comparison.rows import CELLS_ONLY, FIXED, Row, parametric
from rfcompare.comparison.similarity import WITHIN_SAMPLE
from rfcompare.comparison.statistics import Array
from rfcompare.errors import InputError
from rfcompare.quantities import QUANTITIES, Quantity

FIXED_POPULATION = "the animals' mean equals that of this one fixed population"

MIN_RESULTANT = 0.2
"""Below this mean resultant length a sample has no direction worth an interval."""


def comparable(a: xr.Dataset, b: xr.Dataset, quantities: Sequence[str] | None) -> list[str]:
    """Names of the descriptors that both populations have on one scale, or those asked for."""
    degrees = a.attrs.get("units") == "degree" and b.attrs.get("units") == "degree"
    shared = [
        name
        for name, quantity in QUANTITIES.items()
        if name in a and name in b and (quantity.dimensionless or degrees) and name not in ("x0", "y0")
    ]
    if quantities is None:
        names = shared
    else:
        names = list(quantities)
        wrong = [name for name in names if name not in shared]
        if wrong:
            raise InputError(
                f"expected quantities that both populations have on one scale, got {', '.join(wrong)}; "
                f"choose among {', '.join(shared)}"
            )
    if not names:
        raise InputError("expected two populations with a descriptor in common, got none; describe both first")
    return names


def _estimates(values: Array, subject: NDArray[np.str_] | None, period: float | None) -> Array:
    """One estimate per known subject, or one of all units."""

    def estimate(sample: Array) -> float:
        return statistics.axial_mean(sample, period=period) if period else float(np.median(sample))

    if subject is None:
        return np.array([estimate(values)])
    return np.array([estimate(values[subject == name]) for name in np.unique(subject)])


def descriptor_row(
    name: str,
    a: xr.Dataset,
    b: xr.Dataset,
    null: xr.Dataset | None,
    *,
    level: float,
    n_permutation: int,
    generator: np.random.Generator,
) -> Row:
    """Everything there is to say about one descriptor."""
    quantity = QUANTITIES[name]
    row = Row(name, quantity.title, "descriptor", units=quantity.units(str(a.attrs["units"])))
    row.statistic = "difference of mean directions" if quantity.period else "difference of medians"
    fixed = [side for side, data in (("a", a), ("b", b)) if quantity.fixed_by_rendering and parametric(data)]
    if fixed:
        row.note(f"{FIXED} ({', '.join(fixed)})")
    kept_a, kept_b = (np.isfinite(np.asarray(data[name].values, dtype=np.float64)) for data in (a, b))
    row.number |= {
        "n_units_a": int(kept_a.sum()),
        "n_units_b": int(kept_b.sum()),
        "n_missing_a": int((~kept_a).sum()),
        "n_missing_b": int((~kept_b).sum()),
    }
    if fixed or kept_a.sum() < 2 or kept_b.sum() < 2:
        if not fixed:
            row.note("not defined for enough units")
        return row
    here_a, here_b = a.isel(unit=kept_a), b.isel(unit=kept_b)
    x, y = (np.asarray(data[name].values, dtype=np.float64) for data in (here_a, here_b))
    subject_a, subject_b = subjects(here_a), subjects(here_b)
    row.number |= {"n_subjects_a": n_subjects(here_a), "n_subjects_b": n_subjects(here_b)}
    _effect(row, quantity, x, y, subject_a, subject_b, level=level, generator=generator)
    _sample_statistics(row, quantity, x, y, level=level, n_permutation=n_permutation, generator=generator)
    row.number["ceiling"], row.text["ceiling_kind"] = _ceiling(quantity, x, subject_a, generator)
    if null is not None and name in null:
        z = np.asarray(null[name].values, dtype=np.float64)
        z = z[np.isfinite(z)]
        if z.size:
            center = float(_estimates(z, None, quantity.period)[0])
            row.number["null"] = wrapped(center - row.number["estimate_a"], quantity.period)
    return row


def wrapped(difference: float, period: float | None) -> float:
    """A difference of directions in [−period/2, period/2); any other difference unchanged."""
    return difference if period is None else float((difference + period / 2) % period - period / 2)


def _effect(
    row: Row,
    quantity: Quantity,
    x: Array,
    y: Array,
    subject_a: NDArray[np.str_] | None,
    subject_b: NDArray[np.str_] | None,
    *,
    level: float,
    generator: np.random.Generator,
) -> None:
    """Effect, interval and test of subject-level estimates: medians, or directions and mean resultants."""
    period = quantity.period
    subject_a, subject_b = (_enough(subject) for subject in (subject_a, subject_b))
    each_a, each_b = _estimates(x, subject_a, period), _estimates(y, subject_b, period)
    if subject_a is not None or subject_b is not None:
        row.statistic += ", of subject-level estimates"
    missing = inference.Interval(np.nan, np.nan, inference.NO_INTERVAL)
    if period:
        vector_a, vector_b = _resultants(x, subject_a, period), _resultants(y, subject_b, period)
        length = [float(np.linalg.norm(vector.mean(axis=0))) for vector in (vector_a, vector_b)]
        row.note(f"mean resultant length {length[0]:.2f} (a) and {length[1]:.2f} (b)")
        center_a, center_b = (float(_estimates(each, None, period)[0]) for each in (each_a, each_b))
        apart_a = np.array([wrapped(value - center_a, period) for value in each_a])
        apart_b = np.array([wrapped(value - center_b, period) for value in each_b])
        row.number |= {"estimate_a": center_a, "estimate_b": center_b, "effect": wrapped(center_b - center_a, period)}
        scattered = min(length) < MIN_RESULTANT or max(np.abs(apart_a).max(), np.abs(apart_b).max()) > period / 4
        if scattered and (subject_a is not None or subject_b is not None):
            missing = inference.Interval(np.nan, np.nan, "no interval: directions scattered over the circle")
        each_a, each_b = apart_a, row.number["effect"] + apart_b
    else:
        scattered = False
        vector_a, vector_b = each_a[:, None], each_b[:, None]
        mean_a, mean_b = float(each_a.mean()), float(each_b.mean())
        row.number |= {"estimate_a": mean_a, "estimate_b": mean_b, "effect": mean_b - mean_a}

    interval, test = missing, inference.PValue(np.nan, np.nan, CELLS_ONLY)
    if subject_a is not None and subject_b is not None:
        test = inference.label_permutation(vector_a, vector_b, seed=generator)
        if not scattered:
            interval = inference.welch_interval(each_a, each_b, level=level)
    elif subject_a is not None or subject_b is not None:
        sampled, fixed = (vector_a, vector_b[0]) if subject_a is not None else (vector_b, vector_a[0])
        test = inference.one_sample_test(sampled, fixed, hypothesis=FIXED_POPULATION)
        if not scattered:
            difference = float(each_b.mean()) - each_a if subject_a is not None else each_b - float(each_a.mean())
            interval = inference.subject_interval(difference, level=level, seed=generator)
    row.number |= {"ci_low": interval.low, "ci_high": interval.high, "p": test.p, "p_smallest": test.smallest}
    row.text |= {"method": interval.method, "hypothesis": test.hypothesis}


def _enough(subject: NDArray[np.str_] | None) -> NDArray[np.str_] | None:
    """The subjects, where there are enough of them to say something about others."""
    return None if subject is None or np.unique(subject).size < inference.MIN_SUBJECTS else subject


def _resultants(values: Array, subject: NDArray[np.str_] | None, period: float) -> Array:
    """Mean resultant vector of every subject, as (subject, 2)."""
    turn = values * (2 * np.pi / period)
    unit = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if subject is None:
        return np.asarray(unit.mean(axis=0, keepdims=True))
    return np.stack([unit[subject == name].mean(axis=0) for name in np.unique(subject)])


def _sample_statistics(
    row: Row,
    quantity: Quantity,
    x: Array,
    y: Array,
    *,
    level: float,
    n_permutation: int,
    generator: np.random.Generator,
) -> None:
    """Distances between the two samples of units, and the p and the interval that hold for these cells only."""
    values = np.concatenate([x, y])
    is_b = np.repeat([False, True], [x.size, y.size])
    circular = quantity.period is not None
    period = quantity.period or 1.0
    names = ("circular_wasserstein", "kuiper", "watson_u2") if circular else ("wasserstein", "ks", "cliffs_delta")
    for name in names:
        value = float(statistics.two_sample_statistic(name, values, is_b, period=period))
        row.number[name.removeprefix("circular_")] = value
    tested = "watson_u2" if circular else "ks"
    count = min(n_permutation, 1999)
    labels = statistics.random_labelings(x.size, y.size, count, generator)
    permuted = statistics.two_sample_statistic(tested, values, labels, period=period)
    row.number["p_cells"] = (1 + int((permuted >= row.number[tested] - 1e-12).sum())) / (count + 1)
    if not circular:
        medians = [
            np.median(sample[generator.integers(0, sample.size, (999, sample.size))], axis=1) for sample in (x, y)
        ]
        low, high = np.percentile(medians[1] - medians[0], [50 - 50 * level, 50 + 50 * level])
        row.number |= {"cells_low": float(low), "cells_high": float(high)}


def _ceiling(
    quantity: Quantity, x: Array, subject: NDArray[np.str_] | None, generator: np.random.Generator
) -> tuple[float, str]:
    """How far one animal lies from the others in this statistic, or one random half of the cells from the other."""
    period = quantity.period
    if subject is not None:
        each = _estimates(x, subject, period)

        def center(others: Array) -> float:
            return statistics.axial_mean(others, period=period) if period else float(others.mean())

        apart = [abs(wrapped(each[h] - center(np.delete(each, h)), period)) for h in range(each.size)]
        return float(np.mean(apart)), "mean absolute difference of one animal from the others"
    if x.size < 4:
        return np.nan, ""
    labels = statistics.random_labelings(x.size - x.size // 2, x.size // 2, 200, generator)
    apart = [
        abs(wrapped(float(_estimates(x[label], None, period)[0] - _estimates(x[~label], None, period)[0]), period))
        for label in labels
    ]
    return float(np.mean(apart)), f"mean absolute difference of random halves ({WITHIN_SAMPLE})"
