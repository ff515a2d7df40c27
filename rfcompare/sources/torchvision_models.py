"""Weights of networks: torchvision's classification models by name, trained or untrained, and any ``nn.Module``."""

from __future__ import annotations

import difflib
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rfcompare.bank import make_rng
from rfcompare.errors import InputError, first_line
from rfcompare.sources.checkpoints import Entry, Weights, first_layers, mapping_entries, picked, tensor_to_array

if TYPE_CHECKING:
    from torch import nn


def model_names() -> list[str]:
    """Names of torchvision's classification models, of images and of videos."""
    from torchvision import models

    return [*models.list_models(module=models), *models.list_models(module=models.video)]


def read_model(
    name: str, weights: str | None, seed: int | None, key: str | None = None, layer: str | None = None
) -> Weights:
    """The first convolution of a torchvision model, or the weight of another `key` or `layer`, in PyTorch's order.

    `weights` is "DEFAULT", the name of a published set such as "IMAGENET1K_V1", or None for the network as `seed`
    initializes it.
    """
    name = _known(name)
    if weights is None:
        return _read_untrained(name, seed, key, layer)
    if seed is not None:
        raise InputError(f"expected no seed for the published weights of {name}, got seed={seed}; pass weights=None")
    return _read_published(name, weights, key, layer)


def _known(name: str, wanted: str = "a file, a reference: name or a torchvision model") -> str:
    """The name of a model as torchvision writes it."""
    known = model_names()
    if name.lower() in known:
        return name.lower()
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(near)}?" if near else f"models are named like {', '.join(known[:3])}"
    raise InputError(f"expected {wanted}, got {name!r}, which is none of them; {suggestion}")


def _published(name: str, weights: str) -> Any:
    """The member of torchvision's weight enumeration that `weights` names."""
    from torchvision import models

    choices = models.get_model_weights(name)
    available = [str(choice.name) for choice in choices]
    if not available:
        raise InputError(f"torchvision publishes no weights for {name}; pass weights=None for the untrained network")
    try:
        return choices[weights.split(".")[-1]]
    except KeyError:
        raise InputError(
            f"torchvision has no weights {weights!r} for {name}; it has {', '.join(available)}, or None for untrained"
        ) from None


def _state(name: str, chosen: Any) -> Any:
    """The published parameters, from torchvision's cache or downloaded into it."""
    from urllib.error import URLError

    from torch import hub

    try:
        return chosen.get_state_dict(progress=True, check_hash=True, map_location="cpu", weights_only=True)
    except (URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"cannot download the weights of {name} ({reason}) and no copy is in {hub.get_dir()}/checkpoints; "
            f"offline, 'reference:alexnet', a weights file, and '{name}' with weights=None (untrained) work"
        ) from None
    except Exception as error:  # a damaged file shows itself by many exceptions, and a download by a RuntimeError
        raise InputError(
            f"the cached or downloaded weights of {name} in {hub.get_dir()}/checkpoints are damaged "
            f"({first_line(error)}); delete the file and load again"
        ) from None


def weights_file(name: str, *, download: bool = False) -> Path | None:
    """Where torchvision's cache keeps a model's published default weights, once there; None where there are none.

    With `download` they are brought there, and a model that has none is refused.
    """
    from torch import hub
    from torchvision import models

    if download:
        name = _known(name)
        _state(name, _published(name, "DEFAULT"))
    choices = models.get_model_weights(name)
    return Path(hub.get_dir()) / "checkpoints" / Path(str(choices.DEFAULT.url)).name if list(choices) else None


def _read_published(name: str, weights: str, key: str | None, layer: str | None) -> Weights:
    chosen = _published(name, weights)
    state = _state(name, chosen)
    found = picked(mapping_entries(state, name), key, layer, name=name, where=f"the weights of {name}")
    std = tuple(float(value) for value in getattr(chosen.transforms(), "std", ())) or None
    attrs: dict[str, str | int | float] = {
        "weights": str(chosen),
        "address": chosen.url,
        "citation": f"torchvision {_version()}, weights {chosen}",
    }
    return replace(found, std=std, kind="learned", attrs=attrs)


def read_network(name: str, weights: str | None = "DEFAULT", seed: int | None = 0) -> nn.Module:
    """A whole torchvision model, as a module that runs; arguments and errors as of `read_model`."""
    name = _known(name, "one of torchvision's models, or in Python a module")
    if weights is None:
        return _initialized(name, seed)[0]
    state = _state(name, _published(name, weights))
    module = _initialized(name, 0)[0]
    module.load_state_dict(state)
    return module


def _initialized(name: str, seed: int | None) -> tuple[nn.Module, Any]:
    """A model without training, and the seed that it was drawn with."""
    import torch
    from torchvision import models

    generator, recorded = make_rng(seed)
    # torch draws from its own generator: it gets a seed from ours, and its state is put back afterwards.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        torch.manual_seed(int(generator.integers(2**63)))
        # Two models announce that their default initialization will change; rfcompare records the version.
        warnings.simplefilter("ignore", FutureWarning)
        return models.get_model(name, weights=None), recorded


def _read_untrained(name: str, seed: int | None, key: str | None, layer: str | None) -> Weights:
    module, recorded = _initialized(name, seed)
    found = read_module(module, key, layer)
    found.name = name
    found.kind = "untrained"
    found.attrs = {
        "weights": "none (as initialized)",
        "seed": recorded,
        "citation": f"torchvision {_version()}, {name} as initialized",
    }
    return found


def read_module(module: nn.Module, key: str | None = None, layer: str | None = None) -> Weights:
    """The weights of a module's first convolution, of the parameter named `key`, or of a layer."""
    from torch import nn

    name = type(module).__name__
    convolutions = {
        (f"{path}.weight" if path else "weight"): part
        for path, part in module.named_modules()
        if isinstance(part, nn.Conv2d | nn.Conv3d)
    }
    if key is None and layer is None and not convolutions:
        raise InputError(
            f"expected a network with a 2-D convolution, {name} has none; pass its first-layer weights as an array "
            "(unit, channel, row, column)"
        )
    # A convolution's own weight is not among the parameters where it is computed from them (weight normalization).
    parameters = {path: part.weight for path, part in convolutions.items()} | dict(module.named_parameters())

    def entry(path: str) -> Entry:
        value, part = parameters[path], convolutions.get(path)
        if nn.parameter.is_lazy(value):
            if path not in (key, f"{layer}.weight", next(iter(convolutions), "")):
                return Entry((), lambda: np.empty(0))
            raise InputError(f"{path} of {name} has no values yet; run the network once before loading it")
        shape = tuple(value.shape)
        if part is None:
            return Entry(shape, lambda: tensor_to_array(value, f"{name}, {path}"))
        return Entry.of(shape, lambda: tensor_to_array(value, f"{name}, {path}"), part.groups)

    entries = {path: entry(path) for path in parameters}
    if key is None and layer is None and not first_layers(entries):
        return replace(picked(entries, next(iter(convolutions)), None, name=name, where=name), first=True)
    return picked(entries, key, layer, name=name, where=name)


def _version() -> str:
    from importlib.metadata import version

    return version("torchvision")


def is_module(value: object) -> bool:
    """Whether `value` is an ``nn.Module``, without importing torch for anything else."""
    import sys

    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)
