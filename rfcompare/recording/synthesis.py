"""`synthesize`: the image that excites a unit most, found by climbing its response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from rfcompare.bank import Array, add_history, make_bank, make_rng
from rfcompare.errors import InputError, named_strictly
from rfcompare.recording.fields import Field, central, field_of, placed
from rfcompare.recording.sessions import BATCH_VALUES, chosen_of, is_positive, network_of
from rfcompare.sources.population import CHANNELS, AnyPopulation

_Polarity = Literal["excite", "suppress", "both"]

_N_STEPS = 120
"""Of a climb: a linear unit is within 1e-4 of its kernel after 40."""

_N_STARTS = 4
"""Climbs of a unit."""

_N_NOISE = 512
"""Images of noise, white and smooth, of which a unit's best are the starts; one that answers none of them is dead."""

FIRST_STEP, LAST_STEP = 0.7, 0.02
"""Steps of a climb, as shares of the norm."""

_SETTLED = 0.75
"""Share of the steps after which an image is smooth, so that the highest from there on may be kept."""

_SAME = 0.02
"""Share of the best response within which another start has come as high."""

_EVEN = 0.9
"""Share of its response from which a unit takes the negative image for as good: its map then has no sign."""


@named_strictly
def synthesize(
    model: AnyPopulation,
    layer: str | None = None,
    unit: int | Sequence[int] | None = None,
    *,
    kind: str | None = None,
    n_units: int | None = None,
    polarity: _Polarity = "excite",
    norm: float | None = None,
    blur: float | tuple[float, float] = (1.0, 0.0),
    channel_order: Literal["rgb", "bgr"] = "rgb",
    canvas: int | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Find the images that excite a layer's central units most: activation maximization (Erhan et al. 2009).

    Images of a fixed norm climb the unit's response along a blurred gradient, several at a time from the noise that it
    answers best; the highest is kept.

    Parameters
    ----------
    model, layer, kind, canvas, progress
        As for `rfcompare.record`.
    unit, n_units
        Channels of the layer, or how many to draw; default: all.
    polarity : {"excite", "suppress", "both"}
        What is looked for: the highest response, the lowest, or both, then with ``+`` and ``-`` behind a unit's name.
        What suppresses is shown as its negative, which of a linear unit is the same map.
    norm : float, optional
        Euclidean norm of the images over their theoretical field, in the network's input units about a background of 0;
        default: the root of their number of values, as of white noise. A linear unit's image does not depend on it.
    blur : float or (float, float)
        SD in pixels of the Gaussian that smooths the gradient: throughout, or at the first and the last step. Where it
        ends at 0 it only keeps the climb from fine local maxima; where not, images are smooth (and a linear unit's is
        its kernel blurred).
    channel_order : {"rgb", "bgr"}
        Of the network's color channels.
    seed : int
        Of noise and of units drawn.

    Returns
    -------
    xarray.Dataset
        A bank of kind "model-derived" in the network's channels, with ``response(unit)`` to the image and
        ``response_reversed(unit)`` to its negative, both above that to the background, ``n_agree(unit)``, how many
        starts came as high, and ``polarity_known(unit)``, False where the negative does nearly as well.

    Raises
    ------
    InputError
        No such layer or unit, or a unit that answers no image.

    References
    ----------
    Erhan, Bengio, Courville & Vincent 2009, Visualizing higher-layer features of a deep network, University of Montreal
    report 1341; of cells, with norm and blurred gradient: Walker et al. 2019, doi:10.1038/s41593-019-0517-x.

    Examples
    --------
    >>> import numpy as np, rfcompare as rfc
    >>> kernels = np.random.default_rng(0).normal(size=(2, 5, 5))
    >>> bank = rfc.synthesize(kernels, kind="analytic", progress=False)
    >>> bank.attrs["kind"], round(float(np.linalg.norm(bank.rf[0])), 3)
    ('model-derived', 5.0)
    >>> round(float(np.corrcoef(bank.rf[0].values.ravel(), kernels[0, ::-1].ravel())[0, 1]), 3)
    1.0
    """
    if polarity not in get_args(_Polarity):
        raise InputError(f"expected polarity among {', '.join(get_args(_Polarity))}, got {polarity!r}; choose one")
    if channel_order not in ("rgb", "bgr"):
        raise InputError(f"expected channel_order rgb or bgr, got {channel_order!r}; choose one")
    first, last = blur if isinstance(blur, tuple) and len(blur) == 2 else (blur, blur)
    if not all(each == 0 or is_positive(each) for each in (first, last)):
        raise InputError(f"expected blur to be at least 0, got {blur!r}; give the SD in pixels, or two of them")
    network, layer = network_of(model, layer, kind)
    training = network.training
    network.eval()
    try:
        field = field_of(network, layer, canvas=canvas)
        if field.channels not in CHANNELS or field.channels == 2:
            raise InputError(
                f"expected a network that sees 1 or 3 channels, {type(network).__name__} sees {field.channels}; "
                "record it instead"
            )
        n_values = field.channels * field.size[0] * field.size[1]
        if norm is not None and not is_positive(norm):
            raise InputError(f"expected norm to be positive, got {norm!r}; it is a length")
        length = float(np.sqrt(n_values) if norm is None else norm)
        climb = _Climb(network, layer, field, length, (float(first), float(last)))
        noise = _noise(field, length, seed)
        answers = climb.responses(np.concatenate([noise, -noise, np.zeros_like(noise[:1])]))
        chosen = chosen_of(answers.shape[1], n_units, None if unit is None else np.atleast_1d(unit).tolist(), seed)
        answers, blank = answers[:-1, chosen], answers[-1, chosen]
        silent = [str(chosen[at]) for at in np.flatnonzero(np.ptp(answers, axis=0) == 0)]
        if silent:
            raise InputError(
                f"expected units of {layer or 'the maps'} that answer, got unit {', '.join(silent[:5])}"
                f"{' and others' if len(silent) > 5 else ''} without an answer to {len(answers)} images; name others"
            )
        signs = {"excite": (1,), "suppress": (-1,), "both": (1, -1)}[polarity]
        jobs = [(int(at), column, sign) for column, at in enumerate(chosen) for sign in signs]
        starts = np.concatenate([noise, -noise])
        first_of = [starts[np.argsort(-sign * answers[:, column])[:_N_STARTS]] for _, column, sign in jobs]
        found = climb.climb(jobs, first_of, progress)
        images, numbers = climb.judged(jobs, found, blank)
    finally:
        network.train(training)
    name = model if isinstance(model, str) else type(network).__name__ if layer else "maps"
    mark = {1: "+", -1: "-"} if polarity == "both" else {1: "", -1: ""}
    said = {"polarity": polarity, "norm": length, "blur": [first, last], "steps": _N_STEPS, "starts": _N_STARTS}
    images = images[:, ::-1] if channel_order == "bgr" and field.channels == 3 else images
    bank = make_bank(
        images,
        channel=CHANNELS[field.channels],
        kind="model-derived",
        rows="down",
        unit=[f"{f'{layer}:{at}' if layer else network.units[at]}{mark[sign]}" for at, _, sign in jobs],
        subject=name,
        source=f"{name}:{layer}",
        attrs={"network": name, "layer": layer, "synthesized": json.dumps({**said, "seed": seed}, sort_keys=True)},
    )
    bank = bank.assign({key: ("unit", values) for key, values in numbers.items()})
    return add_history(bank, f"synthesize: {layer} of {name}, {polarity}, norm {length:g}, blur {first:g} to {last:g}")


def _noise(field: Field, length: float, seed: int) -> Array:
    """Images (image, channel, row, column) of one norm, from white noise to noise as smooth as a third of the field."""
    rng, _ = make_rng(seed)
    noise = rng.standard_normal((_N_NOISE // 2, field.channels, *field.size))
    widths = np.linspace(0, max(field.size) / 3, 8)
    parts = zip(np.array_split(noise, len(widths)), widths, strict=True)
    smooth = [gaussian_filter(part, (0, 0, width, width), mode="wrap") for part, width in parts]
    return _scaled(np.concatenate(smooth), length)


def _scaled(images: Array, length: float) -> Array:
    norms = np.sqrt((images**2).sum((1, 2, 3), keepdims=True))
    return np.asarray(images * np.divide(length, norms, out=np.zeros_like(norms), where=norms > 0))


class _Climb:
    """Images of one norm that climb the responses of a network's units."""

    def __init__(self, network: Any, layer: str, field: Field, length: float, blur: tuple[float, float]) -> None:
        self.network, self.layer, self.field, self.length, self.blur = network, layer, field, length, blur
        self.batch = max(1, BATCH_VALUES // (field.channels * field.canvas[0] * field.canvas[1]))

    def responses(self, images: Array) -> Array:
        """Of every unit (image, unit)."""
        parts = (images[begin : begin + self.batch] for begin in range(0, len(images), self.batch))
        seen = [central(self.network, self.layer, placed(self.network, self.field, part)) for part in parts]
        return np.concatenate([each.double().cpu().numpy() for each in seen])

    def climb(
        self, jobs: Sequence[tuple[int, int, int]], starts: Sequence[Array], progress: bool | None
    ) -> list[tuple[Array, Array]]:
        """The starts of each job at their highest, and their responses times its sign."""
        together = max(1, self.batch // _N_STARTS)
        found = []
        hidden = None if progress is None else not progress
        with tqdm(total=len(jobs), desc="synthesize", unit="image", disable=hidden) as bar:
            for begin in range(0, len(jobs), together):
                few = jobs[begin : begin + together]
                images = np.concatenate(starts[begin : begin + together])
                at, sign = (np.repeat([job[i] for job in few], _N_STARTS) for i in (0, 2))
                images, heights = self._climbed(images, at, sign)
                found += list(zip(np.split(images, len(few)), np.split(heights, len(few)), strict=True))
                bar.update(len(few))
        return found

    def judged(
        self, jobs: Sequence[tuple[int, int, int]], found: Sequence[tuple[Array, Array]], blank: Array
    ) -> tuple[Array, dict[str, Any]]:
        """The best image of each job, as it is shown, and what its unit answers."""
        at, column, sign = (np.array([job[i] for job in jobs]) for i in range(3))
        rows = np.arange(len(jobs))
        images = np.stack([each[heights.argmax()] for each, heights in found])
        pair = [self.responses(each)[rows, at] - blank[column] for each in (images, -images)]
        top, reversed_ = (sign * each for each in pair)
        agree = [(h >= h.max() - _SAME * np.abs(t)).sum() for (_, h), t in zip(found, top, strict=True)]
        known = reversed_ < _EVEN * top
        flat = images.reshape(len(images), -1)
        largest = np.sign(flat[rows, np.abs(flat).argmax(1)])
        # A map without a sign gets a repeatable one; what suppresses is shown as its negative.
        turned = np.where(known, sign, largest)
        response, negative = (np.where(turned > 0, *both) for both in (pair, pair[::-1]))
        numbers = {"response": response, "response_reversed": negative, "n_agree": np.array(agree)}
        return images * turned[:, None, None, None], {**numbers, "polarity_known": known}

    def _climbed(self, images: Array, at: Any, sign: Any) -> tuple[Array, Array]:
        best, highest = images, np.full(len(images), -np.inf)
        for share in np.linspace(0, 1, _N_STEPS + 1):
            heights, slope = self._slope(images, at, sign)
            if share >= _SETTLED:
                best = np.where((heights > highest)[:, None, None, None], images, best)
                highest = np.maximum(heights, highest)
            width = (1 - share) * self.blur[0] + share * self.blur[1]
            slope = gaussian_filter(slope, (0, 0, width, width), mode="constant")
            step = FIRST_STEP * (LAST_STEP / FIRST_STEP) ** share
            images = _scaled(images + step * _scaled(slope, self.length), self.length)
        return best, highest

    def _slope(self, images: Array, at: Any, sign: Any) -> tuple[Array, Array]:
        """Response times sign of each image's own unit, and its gradient over the image."""
        import torch

        shown = placed(self.network, self.field, images).requires_grad_()
        answers = central(self.network, self.layer, shown, gradient=True)
        own = answers[torch.arange(len(at)), torch.as_tensor(at)] * torch.as_tensor(sign, dtype=answers.dtype)
        (slope,) = torch.autograd.grad(own.sum(), shown)
        (top, left), (height, width) = self.field.start, self.field.size
        inside = slope[:, :, top : top + height, left : left + width]
        return own.detach().double().cpu().numpy(), inside.double().cpu().numpy()
