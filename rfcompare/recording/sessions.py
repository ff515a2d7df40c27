"""`record`: show a stimulus to a network's layer and keep what its central units answer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from tqdm import tqdm

from rfcompare import __version__
from rfcompare.bank import add_history, keep_arrays, kept_arrays, make_rng
from rfcompare.errors import InputError, named_strictly
from rfcompare.estimation import estimate
from rfcompare.frontend import to_module
from rfcompare.recording.fields import Field, central, field_of, placed
from rfcompare.recording.stimuli import CORRELATED, Stimulus, make_stimulus, natural_stimulus, stimulus_like
from rfcompare.sources.population import AnyPopulation, open_population
from rfcompare.sources.torchvision_models import is_module, read_network

BATCH_VALUES = 2**22
"""Input values shown at a time (16 MB)."""


@named_strictly
def record(
    model: AnyPopulation,
    layer: str | None = None,
    stimulus: Stimulus | str | os.PathLike[str] = "white noise",
    *,
    kind: str | None = None,
    like: AnyPopulation | None = None,
    deg_per_px: float | None = None,
    n_frames: int | None = None,
    n_units: int | None = None,
    unit: Sequence[int] | None = None,
    spikes: float | None = None,
    decay: float | None = None,
    canvas: int | None = None,
    device: str | None = None,
    seed: int = 0,
    keep: Path | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Record a layer's central units as an experimenter records cells.

    Parameters
    ----------
    model : nn.Module, str, bank, fits, Population or array
        A network, or the name of one of torchvision's with its published weights. Maps and arrays of them are the
        kernels of a first layer, as `rfcompare.to_module` makes it.
    layer : str, optional
        Name of a module in a network, as in "features.0"; maps have none.
    stimulus : Stimulus, {"white noise", "pink noise", "sparse noise"} or path
        What to show. A name, or patches of the photographs in a folder (see `rfcompare.recording.natural_stimulus`),
        cover the layer's theoretical field, a point a pixel.
    kind : str, optional
        What an array's maps are, one of `rfcompare.kinds`.
    like : bank, Population or name, optional
        Show the stimulus of this recording instead: its class, element, grid and number of frames.
    deg_per_px : float, optional
        Degrees that a network pixel stands for; required with `like` in degrees.
    n_frames : int, optional
        Frames; default: as the recording, else 20,000.
    n_units, unit
        How many channels to draw, or which; default: all.
    spikes : float, optional
        Mean spikes per frame: responses are rectified, scaled to it unit by unit, and Poisson counts drawn.
    decay : float, optional
        Frames in which an indicator's fluorescence falls to 1/e.
    canvas : int, optional
        Side of the image that the network wants; default: as small as suffices.
    device : str, optional
        Where torch computes; default: where the model is.
    seed : int
        Of the stimulus, the units drawn and the spikes.
    keep : path, optional
        Folder where parts are kept until the recording is whole: one that was stopped goes on. They are told apart by
        the network's weights and parts, not by its code.
    progress : bool, optional
        Show progress; default: on a terminal.

    Returns
    -------
    xarray.Dataset
        ``response(frame, unit)`` and ``stimulus(frame, y, x)``, row 0 lowest; what was done is in the attributes.

    Raises
    ------
    InputError
        No such layer, a network that wants other images, a stimulus smaller than the field, or units that never answer.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), torch.nn.ReLU())
    >>> recording = record(model, "0", n_frames=2000, progress=False)
    >>> dict(recording.sizes)
    {'frame': 2000, 'unit': 4, 'y': 5, 'x': 5}
    >>> float(np.corrcoef(recorded_maps(recording).rf[0].values.ravel(),
    ...                   model[0].weight[0].sum(0).detach().numpy()[::-1].ravel())[0, 1]) > 0.98
    True
    """
    network, layer = network_of(model, layer, kind)
    for name, value in (("spikes", spikes), ("decay", decay)):
        if value is not None and not is_positive(value):
            raise InputError(f"expected {name} to be positive, got {value!r}; leave it out for none")
    if device is not None:
        network = network.to(device)
    training = network.training
    network.eval()
    try:
        if like is not None:
            shown = stimulus_like(open_population(like), deg_per_px=deg_per_px, n_frames=n_frames, seed=seed)
        elif isinstance(stimulus, Stimulus):
            shown = stimulus
        else:
            how: dict[str, Any] = {"n_frames": 20_000 if n_frames is None else n_frames, "deg_per_px": deg_per_px}
            how |= {"size": field_of(network, layer, canvas=canvas).size, "seed": seed}
            make: Any = natural_stimulus if Path(stimulus).is_dir() else make_stimulus
            shown = make(stimulus, **how)
        field = field_of(network, layer, shown=shown.shape, canvas=canvas)
        responses = answers_of(network, layer, shown, field, progress, keep)
    finally:
        network.train(training)
    chosen = chosen_of(responses.shape[1], n_units, unit, seed)
    responses = responses[:, chosen]
    dead = np.flatnonzero(np.ptp(responses, axis=0) == 0) if len(responses) > 1 else np.zeros(0, int)
    if dead.size == chosen.size:
        raise InputError(
            f"expected units of {layer or 'the maps'} that answer the {shown.name}, none does; show another stimulus"
        )
    if spikes is not None:
        responses = _spiking(responses, float(spikes), seed)
    if decay is not None:
        from scipy.signal import lfilter

        kept = float(np.exp(-1 / decay))
        responses = lfilter([1 - kept], [1, -kept], responses, axis=0)
    said = {"spikes": spikes, "decay": decay, "seed": seed, "dead": [int(chosen[at]) for at in dead]}
    return xr.Dataset(
        {"response": (("frame", "unit"), responses), "stimulus": (("frame", "y", "x"), shown.frames)},
        coords={"unit": [f"{layer}:{at}" if layer else network.units[at] for at in chosen]},
        attrs={
            "network": model if isinstance(model, str) else type(network).__name__ if layer else "maps",
            "layer": layer,
            "shown": shown.as_attribute,
            "pitch": shown.pitch,
            "field": json.dumps(field.size),
            **({} if shown.deg_per_px is None else {"deg_per_px": shown.deg_per_px}),
            "recorded": json.dumps(said, sort_keys=True),
        },
    )


def is_network(model: AnyPopulation) -> bool:
    """Whether it is a network that runs, or the name of one of torchvision's, and not maps."""
    named = isinstance(model, str) and not (":" in model or Path(model).suffix or Path(model).exists())
    return named or is_module(model)


def network_of(model: AnyPopulation, layer: str | None, kind: str | None) -> tuple[Any, str]:
    """What runs, and the layer of it that is recorded; of maps alone the layer is the whole."""
    if not is_network(model):
        if layer is not None:
            raise InputError(f"expected no layer with maps, which are a layer's kernels, got {layer!r}; leave it out")
        return to_module(model, kind=kind), ""
    if layer is None or kind is not None:
        raise InputError("expected a network's layer by name, and kind= with an array only; see named_modules()")
    return (model if is_module(model) else read_network(str(model))), layer


def answers_of(
    network: Any, layer: str, stimulus: Stimulus, field: Field, progress: bool | None, keep: Path | None = None
) -> Any:
    """Responses (frame, unit) to what the field sees of a stimulus that is centered on it."""
    import torch

    parameter = next(network.parameters(), torch.zeros(0))
    where: dict[str, Any] = {"dtype": parameter.dtype, "device": parameter.device}
    rows, columns = (torch.as_tensor(matrix, **where) for matrix in stimulus.painting(field.size))
    step = max(1, BATCH_VALUES // (field.channels * field.canvas[0] * field.canvas[1]))
    whole = "" if keep is None else _digest(network, layer, stimulus, field)
    answers = []
    with tqdm(
        total=len(stimulus.frames), desc="record", unit="frame", disable=None if progress is None else not progress
    ) as bar:
        for begin in range(0, len(stimulus.frames), step):
            file = None if keep is None else keep / f"{whole}-{begin:09d}.npz"
            frames = torch.as_tensor(stimulus.frames[begin : begin + step], **where)
            bar.update(len(frames))
            kept = (kept_arrays(file) or {}).get("answers")
            if kept is not None and len(kept) == len(frames):
                answers.append(kept)
                continue
            painted = (rows @ frames @ columns.T).flip(1)  # images have row 0 on top
            images = placed(network, field, painted[:, None].expand(-1, field.channels, -1, -1))
            answers.append(central(network, layer, images).double().cpu().numpy())
            if file is not None:
                keep_arrays(file, answers=answers[-1])
    for file in () if keep is None else keep.glob(f"{whole}-*.npz"):
        file.unlink(missing_ok=True)
    return np.concatenate(answers)


def _digest(network: Any, layer: str, stimulus: Stimulus, field: Field) -> str:
    """What answers depend on, as a name."""
    said = hashlib.sha256(repr((__version__, type(network), network, layer, field)).encode())
    for name, values in network.state_dict().items():
        said.update(name.encode() + values.detach().cpu().contiguous().view(-1).numpy().tobytes())
    said.update(repr((stimulus.as_attribute, stimulus.frames.shape)).encode())
    said.update(np.ascontiguousarray(stimulus.frames).tobytes())
    return said.hexdigest()


def is_positive(value: Any) -> bool:
    """Whether a value is a finite number above 0."""
    return isinstance(value, Real) and 0 < float(value) < np.inf


def chosen_of(n: int, n_units: Any, unit: Sequence[int] | None, seed: int) -> Any:
    """The channels to keep of n: those named, some drawn, or all."""
    if unit is not None:
        chosen = np.atleast_1d(np.asarray(unit))
        if chosen.size == 0 or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= n:
            raise InputError(f"expected units from 0 to {n - 1}, got {unit!r}; name channels of the layer")
        return chosen
    if n_units is None:
        return np.arange(n)
    if not isinstance(n_units, Integral) or not 1 <= int(n_units) <= n:
        raise InputError(f"expected n_units from 1 to the layer's {n}, got {n_units!r}; give a whole number")
    return np.sort(make_rng(seed)[0].choice(n, int(n_units), replace=False))


def _spiking(responses: Any, mean: float, seed: int) -> Any:
    """Poisson counts of rectified responses, with the same mean count for every unit that answers."""
    rates = responses.clip(0)
    average = rates.mean(0)
    rates = rates * np.divide(mean, average, out=np.zeros_like(average), where=average > 0)
    return make_rng(seed + 1)[0].poisson(rates).astype(float)


@named_strictly
def recorded_maps(
    recording: xr.Dataset,
    *,
    method: Literal["sta", "ridge", "smooth"] | None = None,
    channel: Sequence[str] = ("signed",),
) -> xr.Dataset:
    """Estimate the maps of a recorded network: a bank of kind "in-silico".

    Parameters
    ----------
    recording : xarray.Dataset
        From `record`.
    method, channel
        As in `rfcompare.estimate`; the default method is "ridge" for correlated stimuli, else "sta".

    Returns
    -------
    xarray.Dataset
        With halves, ``noise_sd`` and ``noise_acf`` like a recording's. Units that never answered have flat maps.

    Raises
    ------
    InputError
        As `rfcompare.estimate`.
    """
    attrs = recording.attrs
    if method is None:
        method = "ridge" if json.loads(attrs["shown"])["class"] in CORRELATED else "sta"
    side = float(attrs["pitch"])
    at = {
        name: (np.arange(recording.sizes[name]) - (recording.sizes[name] - 1) / 2) * side * attrs.get("deg_per_px", 1.0)
        for name in ("x", "y")
    }
    bank = estimate(
        recording.stimulus.values,
        recording.response.values,
        kind="in-silico",
        method=method,
        channel=channel,
        protocol=json.loads(attrs["shown"]),
        unit=list(recording.unit.values),
        x=at["x"],
        y=at["y"],
        units="degree" if "deg_per_px" in attrs else "px",
        subject=attrs["network"],
        source=f"{attrs['network']}:{attrs['layer']}",
        attrs={name: attrs[name] for name in ("network", "layer", "recorded", "field")},
    )
    return add_history(bank, f"record: {attrs['layer']} of {attrs['network']} shown {attrs['shown']}")
