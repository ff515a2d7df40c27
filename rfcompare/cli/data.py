"""Verbs of data: look into a file, fetch, estimate maps, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rfcompare.cli.options import HDF5, Place, output_option, reading_options, seed_option
from rfcompare.cli.verb import Group, say, verb
from rfcompare.errors import InputError


@verb()
@click.argument("file")
def inspect(file: str) -> None:
    """Show what FILE holds, and draft a layout where one is needed."""
    from rfcompare import sources

    say(sources.inspect(file))


@verb("estimate")
@click.argument("recording", type=click.Path(path_type=Path))
@click.option(
    "--layout",
    type=click.Path(path_type=Path),
    required=True,
    help="TOML file with the paths of frames and responses or spike times; see rfcompare.sources.recordings.",
)
@click.option("--lags", type=click.IntRange(min=1), default=8, show_default=True, help="Frames, from 0 on.")
@click.option(
    "--method", type=click.Choice(["sta", "ridge", "smooth"]), default="sta", show_default=True, help="Of estimating."
)
@click.option("--shifts", type=click.IntRange(min=19), default=99, show_default=True, help="Shifted recordings for p.")
@seed_option
@output_option("The maps, as BANK.h5.", *HDF5)
def estimate_verb(recording: Path, layout: Path, lags: int, method: str, shifts: int, seed: int, output: Path) -> None:
    """Make maps of RECORDING's stimulus and responses: each cell's best lag, halves, noise and significance.

    RECORDING is an HDF5, NWB or MATLAB file; rfcompare inspect RECORDING drafts the layout. A run that was stopped goes
    on where it is repeated.
    """
    from rfcompare import bank
    from rfcompare.estimation import estimate_maps
    from rfcompare.sources.recordings import read_recording
    from rfcompare.sources.remote import kept_in

    read = read_recording(recording, layout)
    how: dict[str, Any] = {"lag": range(lags), "method": method, "n_shifts": shifts, "seed": seed}
    maps = estimate_maps(read.frames, read.responses, **how, progress=True, keep=kept_in("estimates"), **read.options)
    bank.save(maps, output)
    n, agree = maps.sizes["unit"], float(maps.half_correlation.median())
    certain = int((maps.p <= 0.05).sum())
    say(
        f"{n} unit{'s' if n > 1 else ''} from {len(read.frames)} frames ({maps.attrs['kind']}): {certain} with a map "
        f"at p ≤ 0.05 (shifted responses; smallest possible p {1 / (shifts + 1):.3g}); median correlation of halves "
        f"{agree:.2f}"
    )
    if read.outside:
        say(f"{read.outside} spikes fell into no frame and are left out")
    say(f"wrote {output}")


@verb()
@click.argument("name", required=False)
@click.option("-o", "--output", type=Place("either"), help="Copy the file there as well.")
def fetch(name: str | None, output: Path | None) -> None:
    """Bring NAME (reference:…, an https address, a torchvision model) and print where it is; alone, list what ships.

    The list names every published distribution and population with species, number, stimulus, source and license.
    """
    from rfcompare import sources

    if name is None:
        for shipped, what in sources.available().items():
            say("\n    ".join((shipped, *what.split("\n"))))
        return
    path = sources.fetch(name)
    if output is not None:
        path = sources.copy_out(path, output)
    say(path)


@verb(hidden=True)
@click.option("--kernels", required=True, help="The weights that the table is fitted to.")
@reading_options
@seed_option
@output_option("The table, as reference_data/alexnet_gabor.csv.", ".csv")
def reference(kernels: str, seed: int, output: Path, **reading: Any) -> None:
    """Make the table behind reference:alexnet anew and print what reference_data/sources.toml records of it."""
    import hashlib

    from rfcompare import pipeline

    table = pipeline.alexnet_table(pipeline.open_population(kernels, **reading), seed=seed)
    pipeline.write_table(table, output)
    say(f'file = "{output.name}"\nsha256 = "{hashlib.sha256(output.read_bytes()).hexdigest()}"')


@click.group(cls=Group)
def simulate() -> None:
    """Write simulated populations, with the truth that they were made from."""


@simulate.command()
@click.option(
    "--stimulus",
    type=click.Choice(["sparse noise", "hartley"]),
    default="sparse noise",
    show_default=True,
    help="How the cells are seen.",
)
@click.option(
    "--layer", type=click.Choice(["2/3", "4"]), default="2/3", show_default=True, help="Cortical layer of the cells."
)
@click.option(
    "--set",
    "changed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change an assumed parameter, as in segregation=0; may be repeated.",
)
@click.option("--parameters", "listed", is_flag=True, help="List every parameter with its basis, and write nothing.")
@seed_option
@output_option("The bank and, in its group truth, what it was made from, as FILE.h5.", *HDF5, required=False)
def treeshrew(
    stimulus: str, layer: str, changed: tuple[str, ...], listed: bool, seed: int, output: Path | None
) -> None:
    """Simulate a population of tree-shrew visual cortex from published statements and assumed numbers."""
    from rfcompare.simulation import parameter_table, parsed_parameters, write_treeshrew

    parameters = parsed_parameters(changed)
    if listed:
        for row in parameter_table():
            say(f"{row['name']} = {row['value']} {row['unit']}: {row['meaning']} [{row['basis']}]")
        return
    if output is None:
        raise InputError("expected a file to write, got none; name it with -o FILE.h5")
    bank, _ = write_treeshrew(output, stimulus=stimulus, layer=layer, seed=seed, **parameters)
    say(f"{bank.sizes['unit']} simulated cells of {len(set(bank.subject.values))} simulated animals; not a recording")
    say(f"wrote {output}")
