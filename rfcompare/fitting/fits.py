"""`fit` and `predict`: from a bank to parameters with standard errors and a status in words, and back to maps."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from rfcompare.bank import check, fingerprint, make_rng, to_signed, without_lags
from rfcompare.errors import InputError, named_strictly
from rfcompare.fitting.batched import render
from rfcompare.fitting.engines import Engine, Maps, run
from rfcompare.fitting.intervals import bootstrap_intervals, profile_intervals
from rfcompare.fitting.publishing import Columns, model_named, noise_correlation, publish, searched
from rfcompare.sources.population import AnyPopulation, open_population


@named_strictly
def fit(
    bank: AnyPopulation,
    model: str = "gabor",
    *,
    kind: str | None = None,
    dims: str | None = None,
    channel_order: str | None = None,
    joint: bool = False,
    seed: int | np.random.Generator | None = None,
    engine: str = "auto",
    device: str | None = None,
    workers: int = 1,
    bootstrap: int = 0,
    profile: Sequence[str] = (),
    progress: bool | None = None,
) -> xr.Dataset:
    """Fit a model to every map of a bank.

    Parameters
    ----------
    bank : xarray.Dataset, Population, torch.nn.Module, array or name
        A bank of one channel (``signed`` or ``luminance``), or of several with ``joint=True``; anything else that
        `rfcompare.sources.population.open_population` opens is reduced with `to_signed` first, unless ``joint``. NaN
        pixels are left out.
    model : str
        A name of `rfcompare.models.MODELS`.
    kind : str, optional
        What an array's maps are, one of `rfcompare.kinds`.
    dims, channel_order : str, optional
        How a network's array is laid out, as for `rfcompare.load_kernels`.
    joint : bool
        Fit all channels of a unit together: one set of space parameters, amplitudes and phases per channel.
    seed : int, numpy.random.Generator or None
        For what is drawn at random (bootstrap); the fits themselves draw nothing. None draws a seed and records it.
    engine : {"auto", "batched", "compiled"}
        "auto" takes the compiled one for some dozens of Gabors, or some hundreds of maps of another model, and else
        NumPy's: the job alone decides, so that repeating it gives the same bytes. The choice is recorded. Both find the
        same minima; digits beyond the search's tolerance differ.
    device : str, optional
        A torch device ("cuda"): the batched engine on torch tensors there.
    workers : int
        Threads; the result does not depend on it.
    bootstrap : int
        Refits of maps drawn from the fit and its residual variance, 200 or more: adds 95 % intervals ``_ci_low`` and
        ``_ci_high`` (those of angles may pass the ends of their range).
    profile : sequence of str
        Nonlinear parameters whose likelihood is profiled: adds 95 % intervals ``_profile_low`` and ``_profile_high``,
        and the profile itself (``_profile_at`` and ``_profile``: twice the fall of the log-likelihood).
    progress : bool, optional
        Show progress; by default where stderr is a terminal and the job is long.

    Notes
    -----
    Standard errors come from the normal equations and the residual variance, and allow for the noise's correlation
    where the bank has ``noise_acf`` or halves. Intervals of Student's t times them cover 92 to 98 % at nominal 95 % for
    nx, ny > 0.2 and standard errors of log nx and log ny below 0.2; elsewhere the status says that they are
    approximate, and the bootstrap holds.

    Returns
    -------
    xarray.Dataset
        Schema ``rfcompare-fits/1``: a variable per parameter, in the bank's units, with its standard error ``_se``;
        ``r2`` = 1 − SSE / sum of squares about the map's mean, with ``r2_noise_corrected`` where the bank knows its
        noise; ``status`` in words; ``at_bound(unit, parameter)``, −1 at the lower and 1 at the upper ``bound(parameter,
        side)``, which stands there for its ``bound_reason``; ``n_agree``; ``peak`` and ``energy`` (root of the sum of
        squares) of the fit about its offset; ``rf``, the map fitted, and ``rf_fit``, what the model made of it.

    Raises
    ------
    InputError
        For several channels without ``joint``, an unknown model or engine, or a bank with lags. A unit that cannot be
        fitted raises nothing: its parameters are NaN and its status says why.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-7, 8.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 18) * np.cos(2 * np.pi * 0.15 * x)
    >>> fits = rfc.fit(rfc.make_bank(stripes[None, None], channel=("signed",), kind="analytic"), "gabor", seed=0)
    >>> [round(float(fits[name].squeeze()), 3) for name in ("orientation", "frequency", "sigma_x", "amplitude", "r2")]
    [90.0, 0.15, 3.0, 1.0, 1.0]
    """
    if isinstance(bootstrap, bool) or not isinstance(bootstrap, int) or bootstrap < 0:
        raise InputError(f"expected bootstrap to be a number of refits from 0, got {bootstrap!r}; give bootstrap=200")
    chosen, how = model_named(model), Engine(engine, device, workers, progress, times=1 + bootstrap)
    rng, recorded = make_rng(seed)
    opened = open_population(bank, kind=kind, dims=dims, channel_order=channel_order)
    bank = opened if joint or isinstance(bank, xr.Dataset) else to_signed(opened)
    maps = Maps.of(bank, joint=joint)
    solution, used = run(chosen, maps, how)
    more: Columns = {}
    if bootstrap:
        acf = noise_correlation(bank, maps)
        more |= bootstrap_intervals(chosen, maps, solution, how, rng, repeats=bootstrap, joint=joint, acf=acf)
    if profile:
        more |= profile_intervals(chosen, maps, solution, profile)
    options = {
        "model": model, "joint": joint, "engine": engine, "device": device, "bootstrap": bootstrap,
        "profile": list(profile),
    }  # fmt: skip
    return publish(
        bank,
        chosen,
        maps,
        solution,
        joint=joint,
        more=more,
        engine=used,
        seed=recorded,
        bank_sha256=fingerprint(bank),
        options=json.dumps(options, sort_keys=True),
    )


@named_strictly
def predict(fits: xr.Dataset, bank: xr.Dataset) -> xr.DataArray:
    """The fitted maps on a bank's own grid.

    Parameters
    ----------
    fits : xarray.Dataset
        From `fit`.
    bank : xarray.Dataset
        Its units must be among the fitted ones; its grid may differ from the fitted one, its units of length not. A
        color bank takes fits of its signed maps along their color direction.

    Returns
    -------
    xarray.DataArray
        With exactly the dims, order and shape of ``bank.rf``; NaN for units that could not be fitted.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> bank = rfc.make_bank(np.random.default_rng(0).normal(size=(2, 1, 7, 9)), channel=("signed",), kind="simulated")
    >>> rfc.predict(rfc.fit(bank, "gaussian", seed=0), bank).shape
    (2, 1, 7, 9)
    """
    check(fits)
    check(bank)
    if fits.attrs["units"] != bank.attrs["units"]:
        raise InputError(
            f"expected a bank in {fits.attrs['units']} like the fits, got {bank.attrs['units']}; fit this bank first"
        )
    without_lags(bank)
    known = {str(name): row for row, name in enumerate(fits.unit.values)}
    missing = [str(name) for name in bank.unit.values if str(name) not in known]
    if missing:
        raise InputError(f"expected units that were fitted, got {missing[0]!r} which was not; fit this bank first")
    chosen = fits.isel(unit=[known[str(name)] for name in bank.unit.values])
    model = model_named(str(fits.attrs["model"]))
    maps = render(model, *searched(model, chosen), bank.x.values, bank.y.values)
    channels = [str(name) for name in bank.channel.values]
    fitted = [str(name) for name in fits.channel.values]
    if channels != fitted:
        if channels == ["r", "g", "b"] and len(fitted) == 1 and "color_direction" in fits:
            direction = chosen["color_direction"].transpose("unit", "color").values
            maps = direction[:, :, None, None] * maps
        else:
            raise InputError(
                f"expected a bank with channels {fitted} like the fits, got {channels}; pass the bank that was fitted"
            )
    out = xr.DataArray(
        maps,
        dims=("unit", "channel", "y", "x"),
        coords={name: bank.coords[name] for name in bank["rf"].coords},
        name="rf",
    )
    return out.transpose(*bank["rf"].dims)
