"""A network measured like the cells that it is compared with: the recording's own stimulus, and maps from responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from rfcompare.bank import pitch
from rfcompare.comparison.likeness import best_scale, likeness
from rfcompare.comparison.setting import field_pixels
from rfcompare.errors import InputError
from rfcompare.pipeline.population import prepare
from rfcompare.recording import record, recorded_maps, stimulus_like
from rfcompare.recording.fields import first_convolution
from rfcompare.recording.sessions import is_network, network_of
from rfcompare.sources.population import AnyPopulation, addressed, open_population, refuse_options, split_name


def record_like(
    kernels: AnyPopulation,
    cortex: xr.Dataset,
    *,
    layer: str | None = None,
    deg_per_px: float | str | None = None,
    seed: int = 0,
    progress: bool = False,
    **reading: Any,
) -> xr.Dataset:
    """Record a layer's units with a recording's own stimulus.

    Parameters
    ----------
    kernels : nn.Module, str, bank, Population or array
        A network, or torchvision's name of one; anything else is the kernels of a first layer.
    cortex : xarray.Dataset
        Signed bank of the recording.
    layer : str, optional
        Of a network; default: its first convolution.
    deg_per_px : float, optional
        Degrees that a pixel of the network's image stands for. Default: as many as make its units' maps, seen with
        white noise, likest to the cells, or as few as fit the field into the stimulus.
    seed, progress
        Of everything drawn; whether to show progress.
    **reading
        How to read kernels; see `rfcompare.sources.population.open_population`.

    Returns
    -------
    xarray.Dataset
        A bank of kind "in-silico" on the recording's grid.

    Raises
    ------
    InputError
        As `rfcompare.record`.

    Examples
    --------
    >>> from rfcompare.simulation import simulate_population
    >>> cells, kernels = (simulate_population(n=30, size=size, seed=size)[0] for size in (13, 9))
    >>> bank = record_like(kernels, cells)
    >>> bank.attrs["kind"], bank.rf.shape
    ('in-silico', (30, 1, 13, 13))
    """
    title, name = split_name(kernels) if isinstance(kernels, str) else (None, "")
    layer, deg_per_px = addressed(layer, title), addressed(deg_per_px, title)
    model: Any = name if isinstance(kernels, str) else kernels
    if is_network(model):
        refuse_options(reading, "a network that is recorded,")
        network, _ = network_of(model, "", None)
        layer = layer or first_convolution(network)[0]
    else:
        network = open_population(kernels, **reading, layer=layer)
        title, layer = title or network.attrs.get("title") or network.attrs.get("network") or "maps", None
    how: dict[str, Any] = {"seed": seed, "progress": None if progress else False}
    degrees = cortex.attrs["units"] == "degree"
    if deg_per_px is not None and not degrees:
        raise InputError("expected no deg_per_px with a recording in pixels, got one; leave it out")
    size = _scale(network, layer, cortex, how) if deg_per_px is None else _checked(deg_per_px)
    if degrees:
        bank = recorded_maps(record(network, layer, like=cortex, deg_per_px=size, **how))
    else:  # the recording's pixels are not the network's
        own = stimulus_like(cortex, seed=seed)
        shown = replace(own, pitch=own.pitch / size, element=own.element / size)
        bank = recorded_maps(record(network, layer, shown, **how)).assign_coords(x=cortex.x, y=cortex.y)
    whose = title or (name if name else type(network).__name__)
    return bank.assign_attrs(title=f"{whose} {layer}, recorded" if layer else f"{whose}, recorded")


def _checked(value: float | str) -> float:
    """Degrees of a pixel, which the command line gives as text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"expected deg_per_px to be one number, got {value!r}; give degrees per pixel") from None


def _scale(network: Any, layer: str | None, cortex: xr.Dataset, how: dict[str, Any]) -> float:
    """Units of the recording of a pixel at which units are likest to the cells and see no more than the stimulus."""
    own = recorded_maps(record(network, layer, **how))
    window = ((cortex.sizes[name] - 1) * step for name, step in zip("yx", pitch(cortex)[::-1], strict=True))
    fits = min(side / own.sizes[name] for name, side in zip("yx", window, strict=True))
    return float(np.minimum(best_scale(cortex, own, seed=how["seed"])[0], fits))


def likeness_by_layer(
    network: AnyPopulation,
    layers: Sequence[str],
    fields: AnyPopulation,
    *,
    deg_per_px: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, xr.Dataset]:
    """The likeness of each layer of a network, recorded like the cells of one recording.

    Parameters
    ----------
    network : nn.Module or str
        As for `record_like`.
    layers : sequence of str
        In the order to be shown.
    fields : bank, Population or name
        The recording.
    deg_per_px : float, optional
        For all layers; default: each layer's own, see `record_like`.
    seed, progress
        Of everything drawn; whether to show progress.

    Returns
    -------
    dict of str to xarray.Dataset
        What `rfcompare.likeness` gives, without references, by layer; ``attrs["pixel"]`` is the size of a pixel of the
        network's image in units of the recording.

    Raises
    ------
    InputError
        As `rfcompare.record`; a layer that is given twice.

    Examples
    --------
    >>> from torch import nn
    >>> from rfcompare.simulation import simulate_population
    >>> cells, _ = simulate_population(n=30, size=13, seed=0)
    >>> list(likeness_by_layer(nn.Sequential(nn.Conv2d(1, 6, 5)), ["0"], cells))
    ['0']
    """
    if not layers or len(set(layers)) < len(layers):
        raise InputError(f"expected layers, each once, got {', '.join(layers) or 'none'}; name them")
    cortex = prepare(fields, seed=seed, progress=progress)
    found = {}
    for layer in layers:
        bank = record_like(network, cortex.signed, layer=layer, deg_per_px=deg_per_px, seed=seed, progress=progress)
        result = likeness(cortex, bank, seed=seed, references=False, progress=progress)
        found[layer] = result.assign_attrs(pixel=field_pixels(bank).pitch[0])
    return found
