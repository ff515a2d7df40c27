"""`to_module`: a network's first layer whose kernels are receptive fields."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import xarray as xr

from rfcompare.alignment import Grid, resample
from rfcompare.bank import bad_units, make_bank, make_rng, to_signed, weights
from rfcompare.errors import InputError, named_strictly
from rfcompare.fitting import predict
from rfcompare.sources.population import AnyPopulation, open_population

if TYPE_CHECKING:
    from torch import nn


@named_strictly
def to_module(
    population: AnyPopulation,
    *,
    kind: str | None = None,
    deg_per_px: float | None = None,
    quadrature: bool = False,
    in_channels: int | None = None,
    n: int | None = None,
    seed: int | np.random.Generator | None = 0,
    like: nn.Conv2d | None = None,
) -> nn.Conv2d:
    """Make a frozen convolution whose kernels are a population's fields.

    Parameters
    ----------
    population : xarray.Dataset, Population, torch.nn.Module, array or name
        Fits, whose model is drawn, or maps; units that cannot be used are left out.
    kind : str, optional
        What an array's maps are.
    deg_per_px : float, optional
        Degrees of visual angle that a pixel of the network's image stands for, for populations in degrees. Default: a
        pixel of the field is a pixel of the image.
    quadrature : bool
        Two kernels a unit, at the fitted phase and 90° on, without offset: the sum of their squared responses is a
        complex cell's energy (Adelson & Bergen 1985, doi:10.1364/JOSAA.2.000284). Only for fits of a Gabor.
    in_channels : int, optional
        1 for gray images, 3 for color; a field without colors weighs r, g and b equally, by a third. Default: the
        population's own, or those of `like`.
    n : int, optional
        Draw this many units with replacement, each with all of its parameters: a sample of the population's joint
        distribution. Default: every unit once, or as many as fill `like`.
    seed : int, Generator or None
        For the draw.
    like : torch.nn.Conv2d, optional
        The layer to stand in for: its input channels, stride, number of kernels and size of output are kept.

    Returns
    -------
    torch.nn.Conv2d
        Without bias, ``requires_grad`` False; weights as `predict` gives them, rows from the top. ``layer.units`` names
        the unit behind every kernel, ``layer.kind`` what they are.

    Raises
    ------
    InputError
        When no unit can be used, for lags, and for options that mean nothing for the population.

    Notes
    -----
    Recorded maps keep their noise, which a network would compute with and `rfcompare.likeness` takes for structure of
    the kernels. Fits do not: of the simulated tree shrew, kernels made of fits have a likeness of .98 to their cells,
    kernels made of the noisy maps of .86.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> x = np.arange(-5, 6.0)
    >>> stripes = np.exp(-(x**2 + x[:, None] ** 2) / 12) * np.cos(2 * np.pi * 0.2 * x)
    >>> layer = rfc.to_module(stripes[None], kind="analytic")
    >>> layer.kernel_size, float(layer.weight.max()), layer.units
    ((11, 11), 1.0, ('u000',))
    """
    import torch
    from torch import nn

    opened = open_population(population, kind=kind)
    if like is not None and (not isinstance(like, nn.Conv2d) or like.groups != 1 or like.dilation != (1, 1)):
        raise InputError("expected like to be a plain torch.nn.Conv2d, got another layer; leave it out")
    inputs = in_channels if in_channels is not None or like is None else like.in_channels
    per_unit = 2 if quadrature else 1
    bank = _drawn(opened, deg_per_px, quadrature, inputs)
    rows = _rows(bank, per_unit, n, None if like is None else like.out_channels, seed)
    kernels = _colored(weights(bank)[rows], inputs)
    padding, stride = (0, 0), (1, 1)
    if like is not None:
        kernels, padding = _fitted_to(kernels, like)
        stride = (like.stride[0], like.stride[1])
    outputs, taken, height, width = kernels.shape
    layer = nn.Conv2d(taken, outputs, (height, width), stride, padding, bias=False)
    layer.weight = nn.Parameter(torch.from_numpy(kernels.astype(np.float32)), requires_grad=False)
    layer.units = tuple(str(name) for name in bank.unit.values[rows])  # type: ignore[assignment]
    layer.kind = str(opened.attrs["kind"])  # type: ignore[assignment]
    return layer


def _drawn(opened: xr.Dataset, deg_per_px: float | None, quadrature: bool, inputs: int | None) -> xr.Dataset:
    """The usable units' maps on the image's pixels; of a quadrature pair the two after one another."""
    is_fits = "r2" in opened and "model" in opened.attrs
    if "lag" in opened.dims:
        raise InputError("expected maps without lags, got a lag dimension; choose one first, as in bank.isel(lag=3)")
    if quadrature and (not is_fits or "phase" not in opened or opened.sizes["channel"] != 1):
        raise InputError("expected fits of a Gabor for a quadrature pair, got something else; call rfc.fit first")
    if deg_per_px is not None:
        if opened.attrs["units"] != "degree":
            raise InputError(
                "expected a population in degrees for deg_per_px, got one in pixels; leave deg_per_px out, or give the "
                "fields their scale when they are opened"
            )
        if not (isinstance(deg_per_px, int | float) and math.isfinite(deg_per_px) and deg_per_px > 0):
            raise InputError(f"expected deg_per_px to be positive, got {deg_per_px!r}; give degrees per image pixel")
    grid = Grid.of(opened)
    if deg_per_px is not None:
        # An odd number of pixels that covers the field keeps its center on one of them.
        covers = [2 * math.ceil((axis.size * step / deg_per_px - 1) / 2 - 1e-9) + 1 for axis, step in
                  zip((grid.y, grid.x), grid.pitch[::-1], strict=True)]  # fmt: skip
        grid = Grid.regular((max(3, covers[0]), max(3, covers[1])), pitch=deg_per_px, units="degree")
    if not is_fits:
        bank = to_signed(opened) if "on" in opened.channel.values else opened
        bank = bank.isel(unit=[not fault or fault == "dead" for fault in bad_units(bank)])
        if bank.sizes["unit"] and deg_per_px is not None:
            bank = resample(bank, grid, scale=(1.0, 1.0), outside="zero")
        return bank.assign(rf=bank.rf.fillna(0.0)) if "rf" in bank else bank
    fits = opened.isel(unit=np.isfinite(opened["r2"].values.reshape(opened.sizes["unit"], -1)).all(axis=1))
    colored = inputs == 3 and "color_direction" in fits
    channel = ("r", "g", "b") if colored else tuple(map(str, fits.channel.values))
    shape = (fits.sizes["unit"], len(channel), grid.y.size, grid.x.size)
    if not shape[0]:
        raise InputError("expected fits with a unit that could be fitted, got none; look at their status")
    names = [str(name) for name in fits.unit.values]
    how = {"channel": channel, "kind": "analytic", "x": grid.x, "y": grid.y, "units": grid.units}
    blank = np.arange(float(np.prod(shape))).reshape(shape)  # a bank of flat maps would be refused
    template = make_bank(blank, unit=names, **how)  # type: ignore[arg-type]
    if not quadrature:
        return template.assign(rf=predict(fits, template))
    pair = [fits.assign(phase=(fits.phase + turn) % 360, offset=fits.offset * 0) for turn in (0, 90)]
    maps = np.stack([predict(each, template).values for each in pair], axis=1).reshape(2 * shape[0], *shape[1:])
    return make_bank(maps, unit=[f"{name} {part}" for name in names for part in ("even", "odd")], **how)  # type: ignore[arg-type]


def _rows(
    bank: xr.Dataset, per_unit: int, n: int | None, wanted: int | None, seed: int | np.random.Generator | None
) -> npt.NDArray[np.intp]:
    """Which maps become kernels: all of them, or those of units drawn with replacement."""
    units = bank.sizes["unit"] // per_unit
    if not units:
        raise InputError("expected a population with a usable unit, got none; look at its maps")
    if n is None and wanted is not None and wanted != units * per_unit:
        if wanted % per_unit:
            raise InputError(f"expected an even number of kernels for quadrature pairs, got {wanted}; leave like out")
        n = wanted // per_unit
    if n is None:
        return np.arange(units * per_unit)
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise InputError(f"expected n to be a positive number of units to draw, got {n!r}; leave it out for all")
    drawn = make_rng(seed)[0].integers(units, size=n)
    return np.asarray((drawn[:, None] * per_unit + np.arange(per_unit)).ravel())


def _colored(kernels: npt.NDArray[np.float64], inputs: int | None) -> npt.NDArray[np.float64]:
    """Kernels for so many input channels; gray ones see the channels' mean, so that a gray image answers alike."""
    if inputs is None or inputs == kernels.shape[1]:
        return kernels
    if kernels.shape[1] != 1 or inputs not in (1, 3):
        raise InputError(
            f"expected a layer of {kernels.shape[1]} input channels as the population's, got in_channels={inputs}; "
            "reduce the population with to_signed first, for 1 or 3"
        )
    return np.repeat(kernels / inputs, inputs, axis=1)


def _fitted_to(kernels: npt.NDArray[np.float64], like: nn.Conv2d) -> tuple[npt.NDArray[np.float64], tuple[int, int]]:
    """Kernels and a padding with which the output has the size that the old layer's had."""
    if isinstance(like.padding, str):
        raise InputError(f"expected like to have its padding in numbers, got {like.padding!r}; write the number")
    padding = []
    for axis, (old, pad) in enumerate(zip(like.kernel_size, like.padding, strict=True), start=2):
        new = kernels.shape[axis]
        # Zeros around: at least the old size, and as even or odd, so that half the difference is a whole padding.
        size = max(new, old) + (max(new, old) - old) % 2
        around = [(0, 0)] * 4
        around[axis] = ((size - new) // 2, size - new - (size - new) // 2)
        kernels = np.pad(kernels, around)
        padding.append(pad + (size - old) // 2)
    return kernels, (padding[0], padding[1])
