"""The answer in words: a verdict of at most thirty words, and what limits it."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from rfcompare.comparison.rows import CONFOUNDED
from rfcompare.quantities import kind_words

TELLING = 0.05
"""Level of the two questions in the verdict."""

UNTESTED = "not yet tested against chance"
"""What stands in place of a similarity that has no null and no ceiling."""

HANGS = 0.3
"""A likeness that falls by this much half an octave from the best scale hangs on the scale."""

MANY_ON_BOUND = 0.25


def verdict(result: xr.Dataset) -> str:
    """The answer in at most thirty words, with the kinds of both sides and without parentheses."""
    row = result.sel(quantity="likeness")
    value, apart, noise = float(row.effect), float(row.p), float(row.p_noise)
    fields, kernels = f"{kind_words(result.attrs['kind_a'])} fields", f"{kind_words(result.attrs['kind_b'])} kernels"
    opening = "Demonstration: the" if "simulated" in (result.attrs["kind_a"], result.attrs["kind_b"]) else "The"
    if result.attrs["noise"] == "unknown":
        return f"No verdict: how noisy the {fields} are is not known; give noise_sd or two halves of the recording."
    if not np.isfinite(value):
        return f"{opening} {kernels} cannot be placed: noise with the spectrum of the {fields} is as near as an animal."
    other = "another animal" if int(row.n_subjects_a) > 1 else "other cells"
    number = f"likeness {signed(value)}"
    if noise > TELLING:
        return f"{opening} {kernels} are no nearer to the {fields} than noise with the same spectrum: {number}."
    if not apart <= TELLING:
        return f"{opening} {kernels} cannot be told from {other} of the {fields}: {number}."
    nearer = f"{opening} {kernels} are nearer to the {fields} than noise of their spectrum"
    return f"{nearer}, but not as near as {other}: {number}."


def signed(value: Any) -> str:
    """A number with two decimals and a true minus.

    Examples
    --------
    >>> signed(-0.416)
    '−0.42'
    """
    return f"{float(value):.2f}".replace("-", "−")


def answer(result: xr.Dataset | None, whom: str) -> str:
    """The verdict, the numbers behind it and what limits it; or that `whom` were not compared.

    Examples
    --------
    >>> answer(None, "both populations")
    'The likeness of both populations is not yet tested against chance.'
    """
    if result is None or "verdict" not in result.attrs:
        return f"The likeness of {whom} is {UNTESTED}."
    return f"{result.attrs['verdict']} {_numbers(result)} {result.attrs['small_print']}"


def _numbers(result: xr.Dataset) -> str:
    """The likeness with its interval, both p and what its ends stand for."""
    row = result.sel(quantity="likeness")
    one = "another animal" if int(row.n_subjects_a) > 1 else "random halves of the cells"
    text = f"Likeness {signed(row.effect)}" if np.isfinite(float(row.effect)) else "Likeness undefined"
    if np.isfinite(float(row.ci_high)):
        text += f", 95 % interval {signed(row.ci_low)} to {signed(row.ci_high)} {row.interval.item()}"
    text += f"; 0 is noise with the cortex's own spectrum and window, 1 is {one}, −1 infinitely far off"
    return (
        f"{text}, all seen through the same recording. Told apart from {one}: p = {float(row.p):.2g}. Nearer than "
        f"that noise: p = {float(row.p_noise):.2g}, smallest possible {float(row.p_noise_smallest):.2g}."
    )


def small_print(result: xr.Dataset) -> str:
    """What limits the answer: animals, noise, scale, bounds, signs, stimuli."""
    row = result.sel(quantity="likeness")
    said = []
    if result.attrs["noise"] == "unknown":
        said.append("Numbers are as if the maps had no noise: no likeness for the species.")
    animals = int(row.n_subjects_a)
    if animals < 4:
        known = f"{animals} animals are known" if animals else "No animals are named"
        said.append(f"{known}, fewer than four: intervals and p are for these cells and kernels only.")
    if bool(result.attrs["noise_added"]):
        said.append("Cells cleaner than a signal-to-noise ratio of 3 were given noise up to it.")
    if result.attrs.get("recorded"):
        said.append("The network was recorded with the cells' stimulus, and its noise raised to theirs.")
    said.append(_scale_words(result))
    form = result.sel(quantity="nx")
    for side, whose in (("a", "cells"), ("b", "kernels")):
        share = float(form[f"on_bound_{side}"])
        if share > MANY_ON_BOUND:
            said.append(
                f"{share:.0%} of the {whose} with a carrier lie on a bound of nx: medians take them as beyond it."
            )
    if result.attrs["polarity"] != "known":
        said.append("Some signs are not known, so the balance of ON and OFF counts without its sign.")
    if CONFOUNDED in str(result.attrs["heading"]):
        said.append(f"{CONFOUNDED.capitalize()}.")
    return " ".join(word for word in said if word)


def _scale_words(result: xr.Dataset) -> str:
    """Whether the answer hangs on the unknown scale of a kernel's pixel."""
    if result.sizes["scale"] == 1:
        return ""
    scales, values = result["scale"].values, result["likeness_at_scale"].values
    best = float(result.attrs["scale"])
    near = values[np.abs(np.log2(scales / best)) <= 0.51]
    text = (
        "The scale of a kernel's pixel is not known: this is the best of an octave either way of equal field radii"
        + (f", {best:.2g} times it" if best != 1 else "")
    )
    if values.max() - near.min() > HANGS:
        return f"{text}, and half an octave away the likeness falls to {signed(near.min())}: the answer hangs on it."
    return f"{text}; within half an octave it stays above {signed(near.min())}."
