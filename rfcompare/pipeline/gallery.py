"""Which Datasets each figure of the gallery is drawn from, and writing them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcompare import figures
from rfcompare.errors import InputError
from rfcompare.pipeline.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IN_REPORT = ("kernels", "fits", "gabor_space", "tuning")
"""Figures of every report, in its order."""

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def _kernels(study: Study) -> Inputs:
    return (study.network.bank, study.cortex.bank), {}


def _fits(study: Study) -> Inputs:
    return (study.cortex.fits, study.network.fits), {}


INPUTS: Mapping[str, Callable[[Study], Inputs]] = {
    "kernels": _kernels,
    "fits": _fits,
    "gabor_space": _fits,
    "tuning": _fits,
}
"""How a study becomes what a figure is drawn from."""


def known_figures() -> list[str]:
    """Names of the gallery, in its order."""
    return [name for name in figures.FIGURES if name in INPUTS]


def chosen_figures(name: str) -> list[str]:
    """One figure's name, or all of them for "all".

    Raises
    ------
    InputError
        For an unknown name, with near ones.
    """
    names = known_figures()
    if name == "all":
        return names
    if name not in names:
        near = difflib.get_close_matches(name, names, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of {', '.join(names)} or all"
        raise InputError(f"expected the name of a figure, got {name!r}; {hint}")
    return [name]


def draw(study: Study, name: str, **options: Any) -> Figure:
    """Draw one figure of a study.

    Parameters
    ----------
    study : Study
        A comparison.
    name : str
        A name of `known_figures`.
    **options
        For the figure's function, such as ``width="single"``.
    """
    args, keywords = INPUTS[name](study)
    return figures.FIGURES[name](*args, **keywords, **options)


def write_figures(
    study: Study, names: list[str], folder: Path, *, progress: bool = False, **options: Any
) -> tuple[dict[str, Figure], list[Path]]:
    """Draw figures and write each as PDF and PNG with its numbers and its caption.

    Returns
    -------
    figures : dict of str to Figure
        By name, open.
    written : list of Path
        Every file.
    """
    from tqdm import tqdm

    drawn: dict[str, Figure] = {}
    written: list[Path] = []
    for name in tqdm(names, desc="figures", unit="figure", disable=None if progress else True, leave=False):
        drawn[name] = draw(study, name, **options)
        written += figures.save(drawn[name], name, folder)
    return drawn, written
