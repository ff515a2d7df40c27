"""Verbs that learn kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rfcompare.cli.options import HDF5, Command, Place, output_option, seed_option
from rfcompare.cli.verb import Group, say
from rfcompare.errors import InputError


def training_options(steps: int) -> Callable[[Command], Command]:
    """Options that every training has."""

    def decorate(command: Command) -> Command:
        for option in (
            output_option("The bank, as FILE.nc.", *HDF5),
            seed_option,
            click.option("--history", type=Place(suffixes=(".csv",)), help="Table of r2, nx, ny and classes by step."),
            click.option("--fields", help="Population whose likeness the history follows."),
            click.option(
                "--layout", type=click.Path(path_type=Path), help="What the file of FIELDS does not say (TOML)."
            ),
            click.option("--snapshots", type=Place(suffixes=HDF5), help="Twelve kernels along the way, as FILE.h5."),
            click.option(
                "--checkpoint",
                type=Place(suffixes=(".pt", ".pth", ".checkpoint")),
                help="Written on the way, and continued from; default: beside FILE.nc until it is done.",
            ),
            click.option("--runs", type=click.IntRange(min=1), default=1, help="Seeds: --seed, --seed + 1, …"),
            click.option("--steps", type=click.IntRange(min=1), default=steps, show_default=True, help="Batches."),
        ):
            command = option(command)
        return command

    return decorate


@click.group(cls=Group)
def train() -> None:
    """Train a small first layer, or code patches of photographs, and keep the kernels as a bank."""


def _trained(train_one: Callable[..., Any], output: Path, **options: Any) -> Any:
    """Train, keep what came of it, and say so; returns the kernels' classes."""
    from rfcompare.pipeline.learning import keep_training, states_of

    try:
        kept = keep_training(train_one, output, **options)
    except KeyboardInterrupt:
        stopped = any(state.exists() for state in states_of(output, **options))
        how = "goes on from where it last kept its state" if stopped else "starts anew: no state was kept yet"
        say(f"stopped; the same command {how}", err=True)
        raise
    for line in (*kept.sentences, *(f"wrote {path}" for path in kept.written)):
        say(line)
    return kept.classes


@train.command("lines")
@training_options(600)
def train_lines_verb(**options: Any) -> None:
    """Tell horizontal from vertical lines: kernels become horizontal and vertical."""
    from rfcompare.training import train_lines

    _trained(train_lines, **options)


@train.command("digits")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@training_options(3000)
def train_digits_verb(folder: Path | None, **options: Any) -> None:
    """Name handwritten digits from FOLDER's IDX files (default: MNIST, fetched), and test the kernels for Gabors."""
    from rfcompare import taxonomy
    from rfcompare.training import train_digits

    say(taxonomy.gabor_verdict(_trained(train_digits, folder=folder, **options)))


@train.command("images")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--method",
    type=click.Choice(["network", "ica", "sparse"]),
    default="network",
    show_default=True,
    help="A front end trained without labels, or a code of patches.",
)
@training_options(4000)
def train_images_verb(folder: Path, method: str, output: Path, seed: int, **options: Any) -> None:
    """Learn kernels from FOLDER's photographs without labels."""
    from rfcompare import bank, taxonomy
    from rfcompare.training import code_patches, train_images

    if method == "network":
        _trained(train_images, folder=folder, output=output, seed=seed, **options)
        return
    given = [name for name in ("history", "snapshots", "checkpoint", "fields") if options[name] is not None]
    if given:
        raise InputError(
            f"expected no --{' or --'.join(given)} with --method {method}, which has no steps; leave it out"
        )
    code = code_patches(folder, method=method, seed=seed)
    bank.save(code, output)
    say(taxonomy.summarize(taxonomy.classify(code)))
    say(f"wrote {output}")
