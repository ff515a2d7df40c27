"""Options that several verbs share: how a population is read, the two sides of a comparison, where to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_FIELDS = "reference:treeshrew-simulated"
DEFAULT_KERNELS = "reference:alexnet"
HDF5 = (".nc", ".h5", ".hdf5")
"""`rfcompare.bank.HDF5`, whose room is not loaded for --help."""


class Place(click.Path):
    """Where a verb writes: a file, a folder for itself, or either."""

    def __init__(self, what: str = "file", suffixes: tuple[str, ...] = ()) -> None:
        super().__init__(path_type=Path)
        self.what, self.suffixes = what, suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the name as the rooms below do."""
        from rfcompare.bank import as_path

        return as_path(value)


READING = {
    "layout": "TOML file that says what a file of maps does not.",
    "deg-per-px": "Size of a pixel in degrees of visual angle, or X,Y.",
    "kind": "What the maps are, where their file does not say it: measured, learned, untrained, …",
    "channel-order": "rgb (default) or bgr: order of the color channels in the weights.",
    "dims": 'Order of the axes of an array of kernels, as in "unit y x channel".',
    "key": "Name of the weight in a checkpoint; default: the first that sees three colors.",
    "layer": "Layer of the network, as in features.3, in place of a key.",
    "channels": "component (default) or maps: what becomes of a deeper kernel's inputs.",
    "lag": "Index from 0, or peak, where the maps have lags.",
}
"""How a population is read; of several each may have its own, as in ``--layout "Macaque V1=v1.toml"``."""

ALONE = ("population", "populations", "kernels")
"""Populations of a verb without sides."""

OF_FIELDS = ("layout", "deg-per-px")
"""Options that without a side before them are the fields' in a comparison; those but the kind are the kernels'."""


def reading_options(command: Command) -> Command:
    """Options that say how a population is read."""
    for name, what in reversed(READING.items()):
        command = click.option(f"--{name}", multiple=True, metavar="[NAME=]VALUE", help=what)(command)
    return command


def side_reading(command: Command) -> Command:
    """Options that say how each of two sides is read: ``--kernels-layout``, and without a side the usual one's."""
    for side in ("kernels", "fields"):
        for name, what in reversed(READING.items()):
            own = name != "kind" and (name in OF_FIELDS) == (side == "fields")
            flags = [*([f"--{name}"] if own else []), f"--{side}-{name}", f"{side}_{name.replace('-', '_')}"]
            seen = own or name in ("kind", *OF_FIELDS)
            command = click.option(*flags, multiple=True, metavar="[NAME=]VALUE", help=what, hidden=not seen)(command)
    return command


def selection_option(command: Command) -> Command:
    """The one selection line."""
    return click.option(
        "--min-r2",
        type=click.FloatRange(0, 1),
        help="Selection on both sides by the share that a Gabor explains; default: none.",
    )(command)


def side_options(command: Command) -> Command:
    """The two sides of a comparison, and how to read them."""
    for option in (
        side_reading,
        click.option(
            "--kernels", default=DEFAULT_KERNELS, show_default=True, help="Population of kernels, or NAME=POPULATION."
        ),
        click.option(
            "--fields",
            default=DEFAULT_FIELDS,
            show_default=True,
            help="Population of receptive fields, or NAME=POPULATION.",
        ),
    ):
        command = option(command)
    return command


def record_option(command: Command) -> Command:
    """Whether a network is measured as the cells were."""
    return click.option(
        "--record",
        is_flag=True,
        help="Record the network, a layer of any depth, with the fields' own stimulus; --kernels-deg-per-px says what "
        "a pixel of its image stands for.",
    )(command)


def seed_option(command: Command) -> Command:
    """The seed of everything that is drawn."""
    return click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything drawn."
    )(command)


def output_option(what: str, *suffixes: str, required: bool = True) -> Callable[[Command], Command]:
    """``-o``: where the verb writes, in the format that the ending names, which is one of `suffixes`."""
    return click.option("-o", "--output", type=Place(suffixes=suffixes), required=required, help=what)


def folder_option(what: str, *, default: str | None = None, required: bool = True) -> Callable[[Command], Command]:
    """``-o`` of a verb that writes a folder, and ``--force``."""

    def decorate(command: Command) -> Command:
        how: dict[str, Any] = {"required": required} if default is None else {"default": default, "show_default": True}
        force = click.option("--force", is_flag=True, help="Replace also files that rfcompare did not write.")
        return click.option("-o", "--output", type=Place("folder"), help=what, **how)(force(command))

    return decorate
