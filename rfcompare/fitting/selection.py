"""Which model a map supports: `fit_models` fits several and weighs them, saying when two cannot be told apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank import check, fingerprint, inherit, is_recorded, make_rng
from rfcompare.errors import InputError, named_strictly
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.fitting.noise import effective_pixels
from rfcompare.fitting.publishing import cycles, model_named, publish
from rfcompare.fitting.search import Solution
from rfcompare.models import MODELS, Model

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DEFAULT_MODELS = (
    "constant",
    "gaussian_isotropic",
    "gaussian",
    "dog",
    "derivative1",
    "derivative2",
    "derivative3",
    "derivative4",
    "gabor",
    "gaussian_pair",
)

_TOLERANCE, _SHOWN_TOLERANCES = 0.02, (0.01, 0.05)
"""How much r² a simpler model may lose on kernels without measurement noise, and the other choices shown beside it."""

EVIDENCE = 8.2
"""Models whose BIC differs by less are not told apart. Between the 6 and 10 that Kass & Raftery 1995
(doi:10.1080/01621459.1995.10476572) call strong and very strong: there wrong decisions and abstentions are both rare
(pair by pair in ``reference_data/calibration_fitting.csv``)."""


@named_strictly
def fit_models(
    bank: xr.Dataset,
    models: Sequence[str] = DEFAULT_MODELS,
    *,
    criterion: str = "auto",
    tolerance: float = _TOLERANCE,
    joint: bool = False,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
    device: str | None = None,
    workers: int = 1,
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit several models to every map and say which of them it supports.

    Parameters
    ----------
    bank : xarray.Dataset
        One channel, or several with ``joint=True``.
    models : sequence of str
        Names of `rfcompare.models.MODELS`.
    criterion : {"auto", "bic", "aicc", "r2"}
        "auto" takes r² for maps without measurement noise (learned, untrained, parametric, analytic) and BIC for
        measured and simulated ones.
    tolerance : float
        With r²: how much a simpler model may lose to the best.
    joint, seed, engine, device, workers, progress
        As for `rfcompare.fit`.

    Returns
    -------
    xarray.Dataset
        Dims (unit, model), from the simplest model to the richest: ``r2``, ``degrees_of_freedom``, ``status``,
        every parameter of every model (NaN where a model has none), ``rf_fit``; with noise ``bic``, ``aicc``,
        ``effective_pixels`` and, where the bank has halves, ``r2_other_half`` (fitted to one half, seen on the other,
        averaged over both ways). ``selected(unit)`` is the simplest model that cannot be told from the best,
        ``indistinguishable(unit, model)`` marks all that cannot, and ``decided(unit)`` that there is only one.
        With r², ``selected_at(unit, at)`` shows other tolerances. `fits_of` gives one model's fits.

    Raises
    ------
    InputError
        "noise correlation unknown" where BIC or AICc has neither ``noise_acf`` nor halves to count pixels by.

    References
    ----------
    BIC: Schwarz 1978, doi:10.1214/aos/1176344136. AICc: Hurvich & Tsai 1989, doi:10.1093/biomet/76.2.297.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-5, 6.0)
    >>> edge = x * np.exp(-(x**2 + x[:, None] ** 2) / 8)
    >>> bank = rfc.make_bank(edge[None, None], channel=("signed",), kind="learned")
    >>> table = rfc.fit_models(bank, ("gaussian", "derivative1", "gabor"), seed=0)
    >>> str(table.selected[0].item()), [str(m.item()) for m in table.model[table.indistinguishable[0]]]
    ('derivative1', ['derivative1', 'gabor'])
    """
    names = _ordered(models)
    rule = _criterion(criterion, bank, tolerance)
    _, recorded = make_rng(seed)
    maps, how = Maps.of(check(bank), joint=joint), Engine(engine, device, workers, progress)
    weight = None
    if rule != "r2":
        whole = np.zeros((bank.sizes["unit"], *maps.mask.shape[1:]))
        whole[maps.usable] = maps.mask
        weight = effective_pixels(bank, whole)[maps.usable] * maps.channels
    solutions: dict[str, Solution] = {}
    tables, engines = [], {}
    for name in names:
        model = MODELS[name]
        starts = None
        if model.nested in solutions:
            starts = np.asarray(model.extend(solutions[model.nested].p, float(max(maps.values.shape[2:]))))
        solutions[name], engines[name] = run(model, maps, how, starts=starts)
        tables.append(publish(bank, model, maps, solutions[name], joint=joint).drop_attrs())
    total = maps.total()
    cost = np.stack([solutions[name].cost for name in names], axis=1)
    freedom = np.array([_freedom(MODELS[name], maps.channels) for name in names])
    r2 = 1 - cost / total[:, None]
    out: dict[str, tuple[tuple[str, ...], Any]] = {"degrees_of_freedom": (("model",), freedom)}
    if rule == "r2":
        chosen, close = _by_r2(r2, freedom, tolerance)
        others = [tolerance, *(t for t in _SHOWN_TOLERANCES if t != tolerance)]
        at = np.stack([np.array(names, dtype=object)[_by_r2(r2, freedom, t)[0]] for t in others], axis=1)
        out["selected_at"] = (("unit", "at"), _everywhere(bank, maps, at, ""))
    else:
        assert weight is not None
        scores = _information_criteria(cost, total, freedom, weight)
        for name, score in scores.items():
            out[name] = (("unit", "model"), _everywhere(bank, maps, score, np.nan))
        out["effective_pixels"] = (("unit",), _everywhere(bank, maps, weight, np.nan))
        chosen, close = _by_evidence(scores[rule], freedom)
        if "rf_half" in bank:
            other = _cross_half(bank, names, solutions, maps, how)
            out["r2_other_half"] = (("unit", "model"), _everywhere(bank, maps, other, np.nan))
    selected = np.array(names, dtype=object)[chosen]
    out["selected"] = (("unit",), _everywhere(bank, maps, selected, ""))
    out["indistinguishable"] = (("unit", "model"), _everywhere(bank, maps, close, False))
    out["decided"] = (("unit",), _everywhere(bank, maps, close.sum(1) == 1, False))
    known = list(dict.fromkeys(name for one in tables for name in one["parameter"].values))
    tables = [one.reindex(parameter=known, fill_value=_ABSENT) for one in tables]
    table = xr.concat(tables, dim=xr.Variable("model", np.array(names, dtype=object)), join="exact", **_CONCAT)
    carried = {name: tables[0][name] for name in bank.data_vars if name in tables[0]}
    table = table.assign(carried).transpose("unit", "model", ...).assign(out)
    table["status"] = table["status"].copy(data=_with_simpler(table["status"].values, maps, names, chosen, close))
    if rule == "r2":
        table = table.assign_coords(at=("at", np.array(others)))
    return table.assign_attrs(
        {
            **inherit(bank, "fits"),
            "schema": "rfcompare-models/1",
            "criterion": rule,
            "tolerance": tolerance,
            "evidence": EVIDENCE,
            "seed": recorded,
            "joint": int(joint),
            "engine": json.dumps(engines),
            "bank_sha256": fingerprint(bank),
        }
    )


def fits_of(table: xr.Dataset, model: str) -> xr.Dataset:
    """One model's fits out of what `fit_models` gave.

    Parameters
    ----------
    table : xarray.Dataset
        From `fit_models`.
    model : str
        One of its models.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-fits/1``, as from `rfcompare.fit`.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> from rfcompare.fitting import fits_of
    >>> maps = np.random.default_rng(0).normal(size=(2, 1, 5, 5))
    >>> bank = rfc.make_bank(maps, channel=("signed",), kind="learned")
    >>> table = rfc.fit_models(bank, ("constant", "gaussian"), seed=0)
    >>> fits_of(table, "gaussian").attrs["model"]
    'gaussian'
    """
    if model not in table["model"].values:
        raise InputError(
            f"expected a model among {', '.join(map(str, table['model'].values))}, got {model!r}; choose one of these"
        )
    one = table.sel(model=model, drop=True).drop_dims("at", errors="ignore")
    known = {"degrees_of_freedom", "selected", "indistinguishable", "decided", "bic", "aicc", "effective_pixels"}
    one = one.drop_vars([*known, "r2_other_half"], errors="ignore")
    wanted = _publish_names(model_named(model))
    parameters = set().union(*(_publish_names(other) for other in MODELS.values()))
    one = one.drop_vars([name for name in one.data_vars if name in parameters - wanted])
    attrs = {**table.attrs, "schema": "rfcompare-fits/1", "model": model}
    attrs["engine"] = json.loads(str(table.attrs["engine"]))[model]
    return one.sel(parameter=[name for name in one["parameter"].values if name in wanted]).assign_attrs(attrs)


def _publish_names(model: Model) -> set[str]:
    """Names under which a model's parameters stand in a Dataset of fits."""
    names = {parameter.published for parameter in model.parameters} | set(cycles(model))
    names |= {"amplitude", "phase"} if model.quadrature else set(model.linear)
    return names | {f"{name}_se" for name in names}


_ABSENT = {"at_bound": np.int8(0), "bound": np.nan, "bound_reason": ""}
"""What stands where a model has no such parameter."""

_CONCAT: dict[str, Any] = {"data_vars": "all", "coords": "minimal", "compat": "override", "combine_attrs": "drop"}


def _with_simpler(
    status: npt.NDArray[Any], maps: Maps, names: Sequence[str], chosen: npt.NDArray[np.int64], close: Bools
) -> npt.NDArray[Any]:
    """Statuses (unit, model) that also say from which simpler model a richer one cannot be told."""
    status = status.copy()
    for row, column in np.argwhere(close):
        if column != chosen[row]:
            at = (maps.usable[row], column)
            words = [] if status[at] == "converged" else [str(status[at])]
            status[at] = "; ".join([*words, f"not told from {names[chosen[row]]}"])
    return status


def _ordered(models: Sequence[str]) -> list[str]:
    if isinstance(models, str) or not models:
        raise InputError(f"expected a sequence of model names, got {models!r}; give models=('gaussian', 'gabor')")
    chosen = {name: model_named(name).degrees_of_freedom for name in models}
    order = list(MODELS)
    return sorted(chosen, key=lambda name: (chosen[name], order.index(name)))


def _criterion(criterion: str, bank: xr.Dataset, tolerance: float) -> str:
    if criterion not in ("auto", "bic", "aicc", "r2"):
        raise InputError(f"expected criterion 'auto', 'bic', 'aicc' or 'r2', got {criterion!r}; choose one of these")
    if not 0 <= tolerance < 1:
        raise InputError(f"expected tolerance to be a share of r2 in [0, 1), got {tolerance!r}; give tolerance=0.02")
    if criterion == "auto":
        return "bic" if is_recorded(bank) else "r2"
    return criterion


def _freedom(model: Model, channels: int) -> int:
    return len(model.parameters) + channels * (len(model.linear) + 1)


def _everywhere(bank: xr.Dataset, maps: Maps, values: npt.NDArray[Any], absent: Any) -> npt.NDArray[Any]:
    """Rows of the usable units among all units."""
    out = np.full((bank.sizes["unit"], *values.shape[1:]), absent, dtype=values.dtype)
    out[maps.usable] = values
    return out


def _by_r2(r2: Floats, freedom: npt.NDArray[np.int64], tolerance: float) -> tuple[npt.NDArray[np.int64], Bools]:
    """The simplest model within `tolerance` of the best, and all models within it of that best."""
    close = r2 >= r2.max(1, keepdims=True) - tolerance
    return _simplest(close, freedom, -r2), close


def _by_evidence(score: Floats, freedom: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Bools]:
    """The simplest model not told from the best by `EVIDENCE`, and all such models."""
    close = score <= score.min(1, keepdims=True) + EVIDENCE
    return _simplest(close, freedom, score), close


def _simplest(among: Bools, freedom: npt.NDArray[np.int64], score: Floats) -> npt.NDArray[np.int64]:
    """Fewest degrees of freedom, then the lowest score."""
    size = np.where(among, freedom, np.iinfo(np.int64).max)
    return np.asarray(np.where(size == size.min(1, keepdims=True), score, np.inf).argmin(1))


def _information_criteria(
    cost: Floats, total: Floats, freedom: npt.NDArray[np.int64], weight: Floats
) -> dict[str, Floats]:
    """BIC and AICc with n effective pixels; the noise variance counts among the fitted numbers."""
    k = freedom[None] + 1.0
    n = weight[:, None]
    misfit = n * np.log(np.maximum(cost / total[:, None], 1e-15))
    spare = n - k - 1
    correction = np.where(spare > 0, 2 * k * (k + 1) / np.where(spare > 0, spare, 1.0), np.inf)
    return {"bic": misfit + k * np.log(n), "aicc": misfit + 2 * k + correction}


def _cross_half(
    bank: xr.Dataset, names: Sequence[str], solutions: dict[str, Solution], maps: Maps, engine: Engine
) -> Floats:
    """r² of each model fitted to one half on the other half, averaged over both ways; warm-started from the whole."""
    halves = bank["rf_half"].transpose("half", "unit", "channel", "y", "x").values.astype(np.float64)
    halves = np.nan_to_num(halves[:, maps.usable]) * maps.mask[:, None]
    out = np.zeros((len(maps.values), len(names)))
    for fitted, seen in ((0, 1), (1, 0)):
        target = maps.replaced(halves[seen])
        total = target.total()
        for column, name in enumerate(names):
            model = MODELS[name]
            half, _ = run(model, maps.replaced(halves[fitted]), engine, starts=solutions[name].p[:, None])
            miss = (halves[seen] - half.fitted) * maps.mask[:, None]
            with np.errstate(invalid="ignore", divide="ignore"):
                out[:, column] += 0.5 * (1 - (miss**2).sum((1, 2, 3)) / total)
    return out
