"""Verbs that hold fields against kernels: the report, the comparison, the figures, the matches."""

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
    record_option,
    seed_option,
    selection_option,
    side_options,
    side_reading,
)
from rfcompare.cli.verb import say, verb
from rfcompare.errors import InputError


@verb()
@side_options
@record_option
@selection_option
@click.option(
    "--full",
    is_flag=True,
    help="Add what takes minutes: survey and matches of these populations, and the shipped training.",
)
@seed_option
@folder_option("Folder for figures/, tables/, report.html and manifest.json.", default="rfcompare-report")
def report(
    fields: str, kernels: str, record: bool, min_r2: float | None, full: bool, seed: int, output: Path, **reading: Any
) -> None:
    """The main job: figures, tables, a page and a manifest."""
    from rfcompare import pipeline
    from rfcompare.reporting import write_report

    folder = pipeline.output_folder(output)
    how: dict[str, Any] = {"seed": seed, "min_r2": min_r2, "full": full, "record": record, "progress": True, **reading}
    study = pipeline.Study.make(fields, kernels, **how)
    names = pipeline.known_figures() if full else pipeline.in_report(study)
    written, left_out = pipeline.write_figures(study, names, folder / "figures", progress=True)
    study.write_tables(folder / "tables")
    write_report(
        folder / "report.html",
        fits=[study.cortex.fits, study.network.fits],
        result=study.results,
        answer=study.answer(),
        figures={name: written[f"{name}.png"] for name in names if f"{name}.png" in written},
        tables=study.page_tables(),
        manifest=study.manifest(),
        warnings=[*study.warnings(), *(f"figure left out, {why}" for why in left_out)],
        published=pipeline.ringach(),
    )
    study.write_manifest(folder / "manifest.json")
    say(study.answer())
    say(f"wrote report.html, manifest.json, figures/ and tables/ in {folder}")


@verb()
@click.argument("name")
@side_options
@click.option(
    "--width",
    type=click.FloatRange(min=60, max=400),
    help="In mm: 89 is a journal's column, 183 two; default: the figure's own.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["pdf", "png", "svg"]),
    default=["pdf", "png"],
    show_default=True,
    help="May be repeated.",
)
@seed_option
@folder_option("Folder for the figures.", default="figures")
def figure(
    name: str,
    fields: str,
    kernels: str,
    width: float | None,
    formats: tuple[str, ...],
    seed: int,
    output: Path,
    **reading: Any,
) -> None:
    """Draw the figure NAME, or all of them, with numbers (CSV) and caption (TXT)."""
    from rfcompare import pipeline

    names = pipeline.chosen_figures(name)
    folder = pipeline.output_folder(output)
    compared = any(each in pipeline.OF_A_COMPARISON for each in names)
    study = pipeline.Study.make(fields, kernels, seed=seed, compared=compared, progress=True, **reading)
    look = {} if width is None else {"width": width}
    written, left_out = pipeline.write_figures(study, names, folder, formats=formats, progress=True, **look)
    for path in written.values():
        say(f"wrote {path}")
    for why in left_out:
        say(f"left out {why}", err=True)


@verb()
@click.option(
    "--fields",
    multiple=True,
    default=[DEFAULT_FIELDS],
    show_default=True,
    help="Population of receptive fields, or NAME=POPULATION; may be given several times.",
)
@click.option(
    "--kernels",
    multiple=True,
    default=[DEFAULT_KERNELS],
    show_default=True,
    help="Population of kernels, or NAME=POPULATION; may be given several times.",
)
@side_reading
@record_option
@selection_option
@seed_option
@output_option(
    "The results, as R.csv; of several populations also the tables that answer which is nearer, beside it.", ".csv"
)
def compare(
    fields: tuple[str, ...],
    kernels: tuple[str, ...],
    record: bool,
    min_r2: float | None,
    seed: int,
    output: Path,
    **reading: Any,
) -> None:
    """Compare receptive fields with networks' kernels: a row per quantity; of several, which is nearer."""
    from rfcompare import pipeline

    if len(fields) == len(kernels) == 1:
        how: dict[str, Any] = {"seed": seed, "min_r2": min_r2, "record": record, "progress": True, **reading}
        study = pipeline.Study.make(fields[0], kernels[0], **how)
        tables = study.tables()
        ladder = output.with_name(f"{output.stem}_ladder{output.suffix}")
        pipeline.write_table(tables["results"], output)
        pipeline.write_table(tables["ladder"], ladder)
        say(study.answer())
        say(f"wrote {output} and {ladder.name}")
        return
    if min_r2 is not None or record:
        raise InputError(
            "expected no --min-r2 or --record with several populations, got one; each is compared whole and as it is, "
            "so record them first"
        )
    answers = pipeline.answer(fields, kernels, seed=seed, progress=True, **reading)
    for name, table in answers.tables().items():
        path = output if name == "results" else output.with_name(f"{output.stem}_{name}{output.suffix}")
        pipeline.write_table(table, path)
        say(f"wrote {path}")
    for sentence in answers.sentences():
        say(sentence)


@verb()
@side_options
@click.option(
    "--assumed-deg-per-px",
    type=float,
    help="Degrees that a kernel's pixel is assumed to stand for; default: match the populations' median sizes.",
)
@click.option(
    "--nulls", type=click.IntRange(min=0), default=1, show_default=True, help="Null ensembles searched as well."
)
@seed_option
@output_option("The matches, as M.nc.", *HDF5)
def match(
    fields: str,
    kernels: str,
    assumed_deg_per_px: float | None,
    nulls: int,
    seed: int,
    output: Path,
    **reading: Any,
) -> None:
    """Find the kernel that looks most like each field, over shift, rotation, scale and sign."""
    from rfcompare import bank, matching, pipeline
    from rfcompare.sources.remote import kept_in

    of_fields, of_kernels = pipeline.by_side(reading)
    recorded = bank.to_signed(pipeline.open_population(fields, **of_fields))
    network = bank.to_signed(pipeline.open_population(kernels, **of_kernels))
    by: Any = "size" if assumed_deg_per_px is None else "degree"
    found = matching.match(
        network,
        recorded,
        by=by,
        deg_per_px=assumed_deg_per_px,
        n_nulls=nulls,
        seed=seed,
        keep=kept_in("matches"),
    )
    bank.save(found, output)
    say(matching.sentence(found))
    say(f"wrote {output}")
