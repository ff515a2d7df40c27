"""Verbs of one population, or of many in a row: fit, describe, classify, columns, filter an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rfcompare.cli.options import (
    DEFAULT_FIELDS,
    DEFAULT_KERNELS,
    HDF5,
    folder_option,
    output_option,
    reading_options,
    seed_option,
    side_reading,
)
from rfcompare.cli.verb import say, verb
from rfcompare.errors import InputError


@verb()
@click.argument("population")
@reading_options
@click.option("--model", default="gabor", show_default=True, help="Model to fit; see rfcompare.models.")
@click.option(
    "--joint", is_flag=True, help="Fit all channels at once: shared space, an amplitude and a phase per channel."
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes of this machine (threads for a small job); results do not depend on it.",
)
@click.option("--scheduler", help="Address of a dask scheduler, as in tcp://node01:8786, whose workers fit instead.")
@seed_option
@output_option("The fits, as FITS.nc; a run that was stopped goes on where it is repeated.", *HDF5)
def fit(population: str, output: Path, **options: Any) -> None:
    """Fit every map of POPULATION and save the fits."""
    from rfcompare import pipeline

    how = {name: options.pop(name) for name in ("model", "joint", "workers", "scheduler", "seed")}
    maps = pipeline.open_population(population, **options)
    fits = pipeline.fit_to_file(maps, output, **how, progress=True)
    say(pipeline.fits_sentence(fits))
    say(f"wrote {output}")


@verb()
@click.argument("population")
@reading_options
@click.option(
    "--min-r2",
    type=click.FloatRange(0, 1),
    help="Keep units whose fit explains at least this share; default: keep all.",
)
@seed_option
@output_option("The table, as T.csv.", ".csv")
def describe(population: str, min_r2: float | None, seed: int, output: Path, **reading: Any) -> None:
    """Describe every unit of POPULATION (or of saved fits) in a table."""
    from rfcompare import pipeline

    prepared = pipeline.prepare(population, seed=seed, min_r2=min_r2, progress=True, **reading)
    pipeline.write_table(pipeline.descriptor_table(prepared.descriptors), output)
    say(prepared.sentence())
    say(f"wrote {output}")


@verb()
@click.argument("populations", nargs=-1, required=True, metavar="[NAME=]POPULATION…")
@reading_options
@output_option("The table, as T.csv: one row per kernel.", ".csv", required=False)
def classify(populations: tuple[str, ...], output: Path | None, **reading: Any) -> None:
    """Say in common terms what kind of filter every kernel of each POPULATION is."""
    import pandas as pd
    from tqdm import tqdm

    from rfcompare import pipeline, taxonomy

    tables = {}
    for given in tqdm(
        populations, desc="classifying", unit="population", disable=None if len(populations) > 1 else True
    ):
        table = taxonomy.classify(pipeline.open_population(given, **reading))
        name, path = pipeline.split_name(given)
        tables[name or path] = table
    if len(tables) < len(populations):
        raise InputError("expected populations of different names, got one twice; write NAME=POPULATION")
    for label, table in tables.items():
        if len(tables) > 1:
            say(f"{label}:")
        if output is None:
            say(table[["unit", *taxonomy.ANSWERS]].to_string(index=False))
        say(taxonomy.summarize(table))
    if output is not None:
        several = [table.assign(population=label) for label, table in tables.items()]
        pipeline.write_table(table if len(tables) == 1 else pd.concat(several, ignore_index=True), output)
        say(f"wrote {output}")


@verb()
@click.option(
    "--population",
    "populations",
    multiple=True,
    metavar="[LABEL=]POPULATION",
    help="Network or cortex to include; may be repeated. Default: what ships.",
)
@reading_options
@click.option(
    "--torchvision/--no-torchvision", default=True, show_default=True, help="Include torchvision's cached models."
)
@click.option("--download", is_flag=True, help="Fetch the published weights that are not in the cache.")
@seed_option
@folder_option("Folder for survey.csv and the figure.")
def survey(
    populations: tuple[str, ...], torchvision: bool, download: bool, seed: int, output: Path, **reading: Any
) -> None:
    """Classify many networks beside untrained ones and cortex."""
    from rfcompare import figures, pipeline, taxonomy
    from rfcompare.sources.remote import kept_in

    folder = pipeline.output_folder(output)
    banks = {}
    for given in populations or (DEFAULT_KERNELS, "reference:learned", DEFAULT_FIELDS):
        label, name = pipeline.split_name(given)
        label = label or Path(name).stem.removeprefix("reference:")
        if label in banks:
            raise InputError(f"expected a name for each population, got {label!r} for two; write LABEL=POPULATION")
        banks[label] = pipeline.open_population(given, **reading)
    table = taxonomy.survey(banks, torchvision=torchvision, download=download, seed=seed, keep=kept_in("surveys"))
    for path in figures.save(figures.survey(table), "figure", folder):
        say(f"wrote {path}")
    pipeline.write_table(table, folder / "survey.csv")
    absent = table[table["question"].isna()]
    if len(absent):
        say(f"{len(absent)} networks without weights here; {output / 'survey.csv'} says why")
    say(f"wrote {output / 'survey.csv'}")


@verb()
@click.argument("population")
@click.option(
    "--kernels", default=DEFAULT_KERNELS, show_default=True, help="Kernels to hold columns and cells against."
)
@side_reading
@click.option(
    "--radius",
    type=click.FloatRange(min=0, min_open=True),
    default=125.0,
    show_default=True,
    help="Radius of a column in cortex, µm.",
)
@seed_option
@folder_option("Folder for figures/, tables/ and columns.txt.")
def columns(population: str, kernels: str, radius: float, seed: int, output: Path, **reading: Any) -> None:
    """ON and OFF over cortex, and the average fields of POPULATION's columns beside a network's kernels."""
    from rfcompare.pipeline.cortex import write_columns

    study, written = write_columns(
        population, output, kernels=kernels, radius=radius, seed=seed, progress=True, **reading
    )
    for sentence in study.sentences():
        say(sentence)
    say(f"wrote {len(written)} files in {output}")


@verb("columns-grid", hidden=True)
@seed_option
@output_option("The table, as T.csv.", ".csv")
def columns_grid(seed: int, output: Path) -> None:
    """Analyze simulated columns over a grid of the simulation's assumptions: the shipped table."""
    from rfcompare import pipeline
    from rfcompare.pipeline.cortex import assumption_grid

    pipeline.write_table(assumption_grid(seed=seed, progress=True), output)
    say(f"wrote {output}")


@verb("filter")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--kernels", default=DEFAULT_KERNELS, show_default=True, help="Kernels or fields.")
@click.option("--unit", required=True, help="Name of the unit, or its position from 0.")
@click.option("--width-deg", type=float, help="Width of the image in degrees; needed for fields in degrees.")
@reading_options
@output_option("The figure, as FILE.png, FILE.pdf or FILE.svg.", ".png", ".pdf", ".svg")
def filter_verb(image: Path, kernels: str, unit: str, width_deg: float | None, output: Path, **reading: Any) -> None:
    """Show what one kernel does to IMAGE."""
    from rfcompare import pipeline
    from rfcompare.figures.drawing import save_picture
    from rfcompare.figures.filtering import filter_response
    from rfcompare.filtering import filter_image

    seen = filter_image(image, pipeline.open_population(kernels, **reading), unit, width_deg=width_deg)
    save_picture(filter_response(seen), output)
    say(f"{seen.attrs['unit']}: {seen.attrs['sentence']}")
    say(f"wrote {output}")
