"""One signed map for every unit, and the units that a study keeps."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.bank.attributes import add_history
from rfcompare.bank.checking import check, without_lags
from rfcompare.errors import InputError, KeywordError, meant, named_strictly
from rfcompare.quantities import POLARITY_SHARE, REC601


def at_lag(bank: xr.Dataset, lag: int | str) -> xr.Dataset:
    """A bank with a lag dimension at one of its lags.

    Parameters
    ----------
    bank : xarray.Dataset
    lag : int or "peak"
        An index from 0, or per unit the lag of most energy: one for all its channels, so that ON and OFF stay
        simultaneous, and for both halves.

    Raises
    ------
    InputError
        The bank has no lags, or not that one.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.zeros((1, 1, 3, 4, 4)); maps[0, 0, 1, 2, 2] = 5.0
    >>> bank = rfc.make_bank(maps, channel="signed", kind="analytic")
    >>> float(rfc.bank.at_lag(bank, "peak").rf.max())
    5.0
    """
    if "lag" not in bank.dims:
        raise InputError(f"expected a bank with lags to choose {lag!r} from, got none; leave lag out")
    n = bank.sizes["lag"]
    if lag != "peak" and (isinstance(lag, bool | str) or not -n <= lag < n):
        raise InputError(f"expected lag to be an index from 0 to {n - 1} or 'peak', got {lag!r}")
    if isinstance(lag, str):
        energy = np.asarray((bank.rf.astype(float) ** 2).sum(["channel", "y", "x"]).transpose("unit", "lag").values)
        chosen: Any = xr.DataArray(energy.argmax(1), dims="unit")
    else:
        chosen = int(lag)
    kept = bank.isel(lag=chosen, drop=True)
    if isinstance(lag, str):
        kept = kept.drop_vars("lag", errors="ignore")
    order = [dim for dim in bank.rf.dims if dim != "lag"]
    kept["rf"] = kept.rf.transpose(*order)
    if "rf_half" in kept:
        kept["rf_half"] = kept.rf_half.transpose("half", *order)
    return check(kept)


@named_strictly
def to_signed(bank: xr.Dataset) -> xr.Dataset:
    """Reduce every unit to one signed map.

    ``on, off`` becomes ON − OFF after each channel's baseline (its median over the map) is subtracted, on one common
    scale: normalizing each channel would erase OFF dominance. ``r, g, b`` becomes the first singular component of the
    unit's (channel × pixel) matrix times its singular value, signed so that the color direction's Rec. 601 luminance is
    ≥ 0. ``signed`` and ``luminance`` pass.

    Parameters
    ----------
    bank : xarray.Dataset
        A bank without a lag dimension.

    Returns
    -------
    xarray.Dataset
        A bank with channel ``signed``. From ON/OFF: ``discarded`` = 1 − Σ(ON−OFF)²/Σ(ON²+OFF²), the energy that the
        difference loses, and ``overlap`` = Σ min(ON⁺, OFF⁺)/Σ max(ON⁺, OFF⁺). From color: ``color_direction(unit,
        color)`` (unit length), ``rank_one_share`` (energy of the first component over all), ``luminance_share``
        (squared cosine between the color direction and Rec. 601 luminance) and ``polarity_known`` (that share ≥ 0.1).

    Raises
    ------
    InputError
        When the bank has a lag dimension.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> on = np.zeros((3, 3)); on[1, 1] = 2.0
    >>> off = np.zeros((3, 3)); off[1, 2] = 1.0
    >>> signed = rfc.to_signed(rfc.make_bank([[on, off]], channel=("on", "off"), kind="analytic"))
    >>> signed.rf.values[0, 0, 1]
    array([ 0.,  2., -1.])
    >>> float(signed.discarded[0]), float(signed.overlap[0])
    (0.0, 0.0)
    """
    check(bank)
    without_lags(bank)
    channel = tuple(str(name) for name in bank.channel.values)
    if channel in (("signed",), ("luminance",)):
        return bank
    others = bank.drop_vars(
        [name for name in ("rf", "rf_half", "noise_sd", "noise_acf", "channel") if name in bank.variables]
    )
    if channel == ("on", "off"):
        signed, extra = _on_minus_off(bank)
        how = "ON − OFF, each channel's median subtracted"
    else:
        signed, extra = _first_color_component(bank)
        how = "first singular component of (channel × pixel)"
    result = others.assign(signed).assign(extra).assign_coords(channel=("channel", np.array(["signed"], dtype=object)))
    return check(add_history(result, f"to_signed: {how}"))


def _on_minus_off(bank: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    dims = ("unit", "channel", "y", "x")
    rf = bank.rf.values
    # An infinite map stays infinite, to be reported by its status; its differences must not warn on the way.
    infinite = np.isinf(rf).any((1, 2, 3))
    centered = np.where(infinite[:, None, None, None], 0, rf)
    centered = centered - _median(centered)
    on, off = centered[:, 0], centered[:, 1]
    difference = on - off
    difference[infinite] = np.inf
    energy = np.nansum(on**2 + off**2, axis=(1, 2))
    shared = np.nansum(np.minimum(on.clip(0), off.clip(0)), axis=(1, 2))
    either = np.nansum(np.maximum(on.clip(0), off.clip(0)), axis=(1, 2))
    variables: dict[str, Any] = {"rf": (dims, difference[:, None])}
    if "rf_half" in bank:
        halves = bank.rf_half.values
        halves = halves - _median(halves)
        variables["rf_half"] = (("half", *dims), (halves[:, :, 0] - halves[:, :, 1])[:, :, None])
    if "noise_sd" in bank:  # two independent channels of one noise each
        variables["noise_sd"] = ("unit", np.sqrt(2.0) * bank.noise_sd.values)
    if "noise_acf" in bank:
        variables["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), bank.noise_acf.values.mean(1, keepdims=True))
    extra = {
        "discarded": ("unit", _ratio(energy - np.nansum((on - off) ** 2, axis=(1, 2)), energy)),
        "overlap": ("unit", _ratio(shared, either)),
    }
    return variables, extra


def _first_color_component(bank: xr.Dataset) -> tuple[dict[str, Any], dict[str, Any]]:
    dims = ("unit", "channel", "y", "x")
    rf = bank.rf.values.astype(float)
    n, _, height, width = rf.shape
    matrix = rf.reshape(n, 3, -1)
    # A pixel that one channel lacks has no color; an infinite map is kept out and reported by its status later.
    usable = np.isfinite(matrix).all(1, keepdims=True)
    filled = np.where(usable, matrix, 0.0)
    directions, values, _ = np.linalg.svd(filled, full_matrices=False)
    direction = directions[:, :, 0]
    luminance = direction @ np.array(REC601)
    # An equiluminant direction has no luminance to be signed by; its largest component is then made positive, so that
    # the sign, though arbitrary, is repeatable.
    largest = np.take_along_axis(direction, np.abs(direction).argmax(1)[:, None], 1)[:, 0]
    sign = np.where(np.abs(luminance) > 1e-12, np.sign(luminance), np.sign(largest))
    direction = direction * sign[:, None]
    profile = np.einsum("uc,ucp->up", direction, filled)
    profile[~usable[:, 0]] = np.nan
    infinite = np.isinf(matrix).any((1, 2))
    profile[infinite] = np.inf
    variables: dict[str, Any] = {"rf": (dims, profile.reshape(n, 1, height, width).astype(bank.rf.dtype))}
    if "rf_half" in bank:
        halves = np.einsum("uc,hucyx->huyx", direction, bank.rf_half.values)
        variables["rf_half"] = (("half", *dims), halves[:, :, None].astype(bank.rf.dtype))
    if "noise_sd" in bank:  # a unit-length projection keeps the SD of independent channels
        variables["noise_sd"] = ("unit", bank.noise_sd.values)
    if "noise_acf" in bank:
        acf = np.einsum("uc,ucij->uij", direction**2, bank.noise_acf.values)
        variables["noise_acf"] = (("unit", "channel", "lag_y", "lag_x"), acf[:, None])
    share = luminance**2 / np.square(REC601).sum()
    extra = {
        "color_direction": (("unit", "color"), direction),
        "color": ("color", np.array(["r", "g", "b"], dtype=object)),
        "rank_one_share": ("unit", _ratio(values[:, 0] ** 2, (values**2).sum(1))),
        "luminance_share": ("unit", share),
        "polarity_known": ("unit", share >= POLARITY_SHARE),
    }
    return variables, extra


def _median(maps: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Median over each map's measured pixels, 0 where there are none (a NaN median would warn and spread)."""
    finite = np.isfinite(maps).any((-2, -1), keepdims=True)
    middle: npt.NDArray[Any] = np.nanmedian(np.where(finite, maps, 0.0), axis=(-2, -1), keepdims=True)
    baseline: npt.NDArray[Any] = middle.astype(maps.dtype)
    return baseline


def _ratio(top: npt.NDArray[Any], bottom: npt.NDArray[Any]) -> npt.NDArray[Any]:
    ratio: npt.NDArray[Any] = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return ratio


def select(dataset: xr.Dataset, *, r2: float | None = None, status: str | None = None, **equal: str) -> xr.Dataset:
    """Keep the units that meet a condition, and record how many there were.

    Parameters
    ----------
    dataset : xarray.Dataset
        A bank, fits or descriptors.
    r2 : float, optional
        Keep units whose every ``r2`` is at least this; of maps rendered from parameters the r² stored of the originals.
    status : str, optional
        Keep units whose ``status`` contains this text.
    **equal
        Keep units whose coordinate or variable equals the text, as in ``subject="F1"``.

    Returns
    -------
    xarray.Dataset
        With one more entry in ``attrs["selection"]`` (JSON): the condition, n before and n after.

    Raises
    ------
    InputError
        When nothing is left, the variable is absent, or rendering fixed the r².

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> maps = np.random.default_rng(0).normal(size=(4, 1, 5, 5))
    >>> bank = rfc.make_bank(maps, channel=("signed",), kind="simulated", subject=["A", "A", "B", "B"])
    >>> kept = rfc.select(bank, subject="B")
    >>> kept.sizes["unit"], kept.attrs["selection"]
    (2, '[{"after": 2, "before": 4, "condition": "subject = B"}]')
    """
    check(dataset)
    conditions: dict[str, npt.NDArray[np.bool_]] = {}
    if r2 is not None:
        if r2_is_fixed(dataset):
            raise InputError(
                "expected an r² that was measured, got maps rendered from parameters, whose r² is fixed by "
                "construction; select without r2 (--min-r2)"
            )
        name = "r2_original" if dataset.attrs.get("kind") == "parametric" and "r2_original" in dataset else "r2"
        values = _variable(dataset, name).values.reshape(dataset.sizes["unit"], -1)
        conditions[f"r2 >= {r2:g}"] = np.all(np.greater_equal(values, r2), axis=1)
    if status is not None:
        words = _variable(dataset, "status").values.reshape(dataset.sizes["unit"], -1)
        conditions[f"status has {status!r}"] = np.array([any(status in str(word) for word in row) for row in words])
    for name, value in equal.items():
        conditions[f"{name} = {value}"] = np.array(
            [str(item) == str(value) for item in _variable(dataset, name).values]
        )
    if not conditions:
        raise InputError(
            "expected a condition, got none; give r2=0.7, status='converged' or a coordinate such as subject='A'"
        )
    kept, log = dataset, json.loads(str(dataset.attrs.get("selection", "[]")))
    keep = np.ones(dataset.sizes["unit"], bool)
    for condition, meets in conditions.items():
        before, keep = int(keep.sum()), keep & meets
        log.append({"condition": condition, "before": before, "after": int(keep.sum())})
    if not keep.any():
        raise InputError(
            f"expected units that meet {' and '.join(conditions)}, got none of {keep.size}; loosen the condition"
        )
    kept = dataset.isel(unit=np.flatnonzero(keep))
    return kept.assign_attrs(selection=json.dumps(log, sort_keys=True))


def r2_is_fixed(dataset: xr.Dataset) -> bool:
    """Whether the r² of fits or descriptors says nothing, since their maps were rendered from parameters.

    Examples
    --------
    >>> import xarray as xr
    >>> fits = xr.Dataset({"r2": ("unit", [1.0])}, attrs={"kind": "parametric", "schema": "rfcompare-fits/1"})
    >>> r2_is_fixed(fits), r2_is_fixed(fits.assign(r2_original=("unit", [0.9])))
    (True, False)
    """
    if dataset.attrs.get("kind") != "parametric" or "r2" not in dataset or "r2_original" in dataset:
        return False
    # Descriptors hold the r² of the originals already, or none at all.
    of_fits = str(dataset.attrs.get("schema", "")).startswith("rfcompare-fits/")
    return of_fits or not np.isfinite(dataset["r2"].values.astype(float)).any()


def _variable(dataset: xr.Dataset, name: str) -> xr.DataArray:
    if name not in dataset:
        there = sorted(map(str, dataset.variables))
        if name in ("r2", "status"):
            raise InputError(f"expected a variable {name!r} to select by, got {there}; fit the maps first")
        raise KeywordError(f"there is no {name} to select by; {meant(name, ['r2', 'status', *there])}")
    return dataset[name]
