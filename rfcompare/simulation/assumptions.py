"""What the simulated tree-shrew cortex assumes: every number with its unit, its meaning and the source it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from rfcompare.errors import InputError, KeywordError, meant


def _parameter(default: Any, unit: str, basis: str, meaning: str) -> Any:
    return field(default=default, metadata={"unit": unit, "basis": basis, "meaning": meaning})


@dataclass(frozen=True)
class TreeShrew:
    """What the simulation assumes, one field per number; `parameter_table` prints values with their basis.

    Examples
    --------
    >>> TreeShrew().magnification
    0.2
    """

    n_animals: int = _parameter(7, "", "reported: Lee 2016, legend of figure 1", "animals")
    n_fields: int = _parameter(8, "", "reported: Lee 2016, legend of figure 1", "fields of view")
    n_cells: int = _parameter(25, "", "assumed", "cells per field of view")
    field_size: float = _parameter(400.0, "µm", "assumed", "side of a field of view")
    magnification: float = _parameter(0.2, "mm/°", "assumed", "cortical distance per degree of visual angle")
    map_spacing: float = _parameter(600.0, "µm", "assumed", "column spacing Λ of the orientation map")
    orientation_scatter: float = _parameter(8.0, "°", "assumed", "SD of a cell's orientation about the map")
    anchor: float = _parameter(
        1.0,
        "",
        "Lee 2016, abstract: OFF centers compact with a smooth visuotopic progression",
        "share of the displacement that ON carries: 1 anchors OFF on the visuotopic map, 0.5 shares it equally",
    )
    separation: float = _parameter(
        1.2,
        "°",
        "assumed; with separation = half a cycle, 0.42 cycles/°: below the behavioral acuity of 1.2-2.4 and near the "
        "peak sensitivity of 0.7 (Petry 1984)",
        "median distance between the centers of a cell's ON and OFF subfields",
    )
    separation_spread: float = _parameter(0.15, "ln", "assumed", "SD over cells of the logarithm of separation")
    animal_spread: float = _parameter(0.1, "ln", "assumed", "SD over animals of the logarithm of separation")
    off_scatter: float = _parameter(0.15, "°", "assumed", "SD per axis of OFF centers about the visuotopic map")
    on_scatter: float = _parameter(
        0.45, "°", "assumed; Lee 2016, abstract: substantial scatter", "SD per axis of ON centers beyond displacement"
    )
    width: float = _parameter(0.42, "separation", "assumed", "SD of a subfield across its orientation")
    elongation: float = _parameter(1.7, "", "assumed", "SD of a subfield along its orientation over that across")
    on_weight: float = _parameter(
        0.7,
        "",
        "assumed; dark preferred over light in area 17 (abstract on areas 17 and 18 of Tupaia glis)",
        "peak of the ON subfield over that of the OFF subfield",
    )
    weight_spread: float = _parameter(0.2, "ln", "assumed", "SD over cells of the logarithm of the ON weight")
    off_only: float = _parameter(
        0.08, "", "assumed; Van Hooser 2013: most layer 2/3 cells respond to both signs", "share of OFF-only cells"
    )
    on_only: float = _parameter(
        0.04, "", "assumed; Van Hooser 2013: most layer 2/3 cells respond to both signs", "share of ON-only cells"
    )
    layer4_single_sign: float = _parameter(
        0.9,
        "",
        "assumed; Van Hooser 2013: layer 4 cells are dominated by a single sign and largely like their LGN input",
        "share of layer 4 cells with one sign only, OFF more often than ON by the inverse of on_weight; all are round",
    )
    segregation: float = _parameter(
        1.0,
        "",
        "in tension: Lee 2016 maps separate subfields with sparse noise, Veit 2014 finds segregation exceedingly small",
        "share of the separation, elongation and orientation that sparse noise shows",
    )
    hartley_elongation: float = _parameter(
        1.5, "", "assumed; Yeh 2009: multiple elongated subregions", "further elongation under Hartley stimuli"
    )
    hartley_flank: float = _parameter(
        0.5, "", "assumed; Yeh 2009: multiple elongated subregions", "outer subregions over inner ones, Hartley"
    )
    hartley_cutoff: float = _parameter(1.0, "cycles/°", "assumed", "highest frequency in the Hartley set")
    optics: float = _parameter(
        1.0,
        "",
        "measured: optics of one tree shrew's eye, 4 mm pupil (reference:treeshrew-optics)",
        "blur of the eye over the measured one: 0 leaves the optics out",
    )
    element: float = _parameter(0.8, "°", "assumed", "side of a square of the sparse noise")
    size: int = _parameter(22, "px", "assumed", "side of a map")
    pitch: float = _parameter(0.4, "°", "assumed", "distance between neighboring pixels of a map")
    snr: float = _parameter(18.0, "", "assumed", "median over cells of the OFF peak over the noise SD of a pixel")
    snr_spread: float = _parameter(0.35, "ln", "assumed", "SD over cells of the logarithm of the signal-to-noise ratio")
    grating_error: float = _parameter(4.0, "°", "assumed", "SD of the preferred orientation measured with gratings")


def parameter_table(parameters: TreeShrew | None = None) -> list[dict[str, Any]]:
    """Every number of the simulation with its unit, its meaning and the source it rests on.

    Parameters
    ----------
    parameters : TreeShrew, optional
        The parameters to list; by default those of the shipped population.

    Returns
    -------
    list of dict
        Keys ``name``, ``value``, ``unit``, ``basis`` (a citation, or "assumed") and ``meaning``.

    Examples
    --------
    >>> parameter_table()[0]["basis"]
    'reported: Lee 2016, legend of figure 1'
    """
    parameters = parameters or TreeShrew()
    return [
        {"name": item.name, "value": getattr(parameters, item.name), **item.metadata} for item in fields(parameters)
    ]


def parsed_parameters(texts: Sequence[str]) -> dict[str, int | float]:
    """Parameters of `TreeShrew` from texts such as ``segregation=0``.

    Raises
    ------
    InputError
        For a text without ``=``, an unknown name or a value that is no number.

    Examples
    --------
    >>> parsed_parameters(["n_cells=10", "snr=5"])
    {'n_cells': 10, 'snr': 5.0}
    """
    whole = {item.name: isinstance(item.default, int) for item in fields(TreeShrew)}
    out: dict[str, int | float] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in whole:
            raise InputError(f"expected NAME=VALUE with a NAME out of {', '.join(whole)}, got {text!r}; change it")
        try:
            out[name] = int(value) if whole[name] else float(value)
        except ValueError:
            raise InputError(f"expected {name} to be a number, got {value!r}; change it") from None
    return out


def checked_parameters(parameters: Mapping[str, Any]) -> TreeShrew:
    """The simulation's numbers with some of them changed, each refused where it cannot be."""
    known = {item.name: item for item in fields(TreeShrew)}
    for name in set(parameters) - set(known):
        raise KeywordError(
            f"simulate_treeshrew has no parameter {name}; {meant(name, ['stimulus', 'layer', 'seed', *known])}"
        )
    model = replace(TreeShrew(), **parameters)
    for name, item in known.items():
        value = getattr(model, name)
        whole = isinstance(item.default, int)
        fine = isinstance(value, int | np.integer) if whole else isinstance(value, int | float | np.number)
        if not fine or isinstance(value, bool) or not np.isfinite(value) or value < (1 if whole else 0):
            expected = "a positive whole number" if whole else "a finite number of at least 0"
            raise InputError(f"expected {name} to be {expected}, got {value!r}; change it")
    positive = ("field_size", "magnification", "map_spacing", "separation", "width", "elongation", "on_weight", "snr")
    for name in (*positive, "element", "pitch", "hartley_cutoff"):
        if getattr(model, name) <= 0:
            raise InputError(f"expected {name} to be above 0, got {getattr(model, name)!r}; change it")
    if model.n_fields < model.n_animals:
        raise InputError(f"expected a field of view per animal, got {model.n_fields} for {model.n_animals}; add fields")
    for name in ("anchor", "segregation", "off_only", "on_only", "layer4_single_sign"):
        if not 0 <= getattr(model, name) <= 1:
            raise InputError(f"expected {name} between 0 and 1, got {getattr(model, name)!r}; change it")
    if model.off_only + model.on_only > 1:
        raise InputError(
            f"expected shares that sum to at most 1, got {model.off_only} + {model.on_only}; lower off_only or on_only"
        )
    return model
