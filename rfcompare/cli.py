"""The command line: thin verbs over `rfcompare.pipeline`.

A verb parses its options, calls the rooms below, and prints what it wrote. Whatever a person can cause by bad input is
an `InputError`, printed as one sentence with exit status 2; a traceback is a bug.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rfcompare import __version__
from rfcompare.errors import InputError, printable

Command = TypeVar("Command", bound=Callable[..., Any])

CITATION = (
    "rfcompare developers (2026). rfcompare: relating the first-layer kernels of CNNs to the receptive fields of "
    f"visual cortex, version {__version__}. Cite the recordings and networks that you compared as well: every table "
    "names them."
)

DEFAULT_FIELDS = "reference:treeshrew-simulated"
DEFAULT_KERNELS = "reference:alexnet"
HDF5 = (".nc", ".h5", ".hdf5")
"""`rfcompare.bank.HDF5`, whose room is not loaded for --help."""


class _Place(click.Path):
    """Where a verb writes: a file, a folder for itself, or either."""

    def __init__(self, what: str = "file", suffixes: tuple[str, ...] = ()) -> None:
        super().__init__(path_type=Path)
        self.what, self.suffixes = what, suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from rfcompare.bank import as_path

        return as_path(value)


class _Verb(click.Command):
    """Looks at every place to write before the work starts, and keeps the inputs from being written over."""

    def invoke(self, ctx: click.Context) -> Any:
        from rfcompare import bank

        places = {each.name: each.type for each in self.params if isinstance(each.type, _Place)}
        given = {name: value for name, value in ctx.params.items() if value is not None}
        inputs = [part for name, value in given.items() if name not in places for part in _named(value)]
        ctx.with_resource(bank.reading(inputs))
        force = ctx.params.pop("force", False)
        files: dict[Path, str] = {}
        for name in places.keys() & given.keys():
            if places[name].what == "folder":
                ctx.with_resource(bank.claimed(given[name], force=force, whole=self.name == "report"))
            elif places[name].what == "file" or not given[name].is_dir():
                target = bank.file_to_write(given[name])
                bank.folder_to_write(target.parent, cure="choose another with -o")
                if target in files:
                    raise InputError(f"expected a file for each output, got {str(target)!r} for two; name another")
                files[target] = name
        for target, name in files.items():
            if places[name].suffixes:
                bank.ending_in(target, *places[name].suffixes)
        self._check_addresses(ctx.params)
        return super().invoke(ctx)

    def _check_addresses(self, given: dict[str, Any]) -> None:
        """Refuse an option for a population that is not among those named: it would change nothing."""
        for side in ("", "fields_", "kernels_"):
            names = [f"{side}{name}".replace("-", "_") for name in READING]
            options = {name: given[name] for name in names if isinstance(given.get(name), tuple) and given[name]}
            if options:
                from rfcompare.pipeline import check_addresses

                named = [given.get(name) or () for name in ([side[:-1]] if side else ALONE)]
                check_addresses([each for one in named for each in ((one,) if isinstance(one, str) else one)], options)


def _named(value: Any) -> list[str]:
    """The files that an argument may name: itself, or what stands behind NAME=."""
    if isinstance(value, tuple | list):
        return [name for part in value for name in _named(part)]
    if isinstance(value, Path):
        return [os.path.expanduser(value)]  # noqa: PTH111 - leaves a home of nobody as it is
    texts = [value, value.partition("=")[2]] if isinstance(value, str) else []
    found = [path for text in texts for path in (text, *glob.glob(os.path.expanduser(text)))]  # noqa: PTH111, PTH207
    return [path for path in found if os.path.isfile(path)]  # noqa: PTH113


class _Group(click.Group):
    """Prints an `InputError`, and whatever the system refuses, as one sentence and exits with status 2."""

    command_class = _Verb
    group_class = type

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            message = str(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f" at {error.filename!r}" if error.filename else ""
            message = printable(f"cannot read or write{where} ({error.strerror or error}); try another place")
        except MemoryError:
            message = "the work needs more memory than there is; give fewer or smaller maps"
        click.echo(f"rfcompare: {message}", err=True)
        raise click.exceptions.Exit(2)


def say(text: object, *, err: bool = False) -> None:
    """Print text, part of which may come from a file: a terminal shows it and does not obey it."""
    for line in str(text).split("\n"):
        click.echo(printable(line), err=err)


def run() -> None:
    """The program: `main`, and one sentence where what it prints cannot be printed."""
    status: Any = 0
    try:
        try:
            main()
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError) as error:  # full, closed by its reader, or closed before the start
        if not _unwritable(error):
            raise
        quiet = status or isinstance(error, BrokenPipeError)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if not quiet:
                why = getattr(error, "strerror", None) or "it is closed"
                sys.stderr.write(f"rfcompare: standard output cannot be written ({why}); send it elsewhere\n")
                sys.stderr.flush()
        os._exit(int(status or 1))  # Python's own end would try to print the rest once more
    sys.exit(status)


def _unwritable(error: Exception) -> bool:
    """Whether an error is standard output's, and no other's: one of a file names it."""
    if isinstance(error, OSError):
        return error.filename is None
    return sys.stdout is None or sys.stdout.closed


def _show_citation(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        say(CITATION)
        ctx.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="rfcompare")
@click.option(
    "--citation",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_citation,
    help="How to cite rfcompare.",
)
def main() -> None:
    """Relate the first-layer kernels of CNNs to the receptive fields of visual cortex.

    A POPULATION is named the same way everywhere: reference:NAME, a file (.h5, .nwb, .mat, .npy, .pth …), an https
    address, a torchvision model such as alexnet, or fits that rfcompare saved.
    """


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
    return click.option("-o", "--output", type=_Place(suffixes=suffixes), required=required, help=what)


def folder_option(what: str, *, default: str | None = None, required: bool = True) -> Callable[[Command], Command]:
    """``-o`` of a verb that writes a folder, and ``--force``."""

    def decorate(command: Command) -> Command:
        how: dict[str, Any] = {"required": required} if default is None else {"default": default, "show_default": True}
        force = click.option("--force", is_flag=True, help="Replace also files that rfcompare did not write.")
        return click.option("-o", "--output", type=_Place("folder"), help=what, **how)(force(command))

    return decorate


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
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


@main.command()
@click.argument("file")
def inspect(file: str) -> None:
    """Show what FILE holds, and draft a layout where one is needed."""
    from rfcompare import sources

    say(sources.inspect(file))


@main.command("estimate")
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


@main.command()
@click.argument("name", required=False)
@click.option("-o", "--output", type=_Place("either"), help="Copy the file there as well.")
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


@main.command()
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


def network_options(command: Command) -> Command:
    """The network, its layer, and which of its units."""
    for option in (
        seed_option,
        click.option("--units", type=click.IntRange(min=1), help="How many units to draw; default: all."),
        click.option(
            "--weights", default="DEFAULT", show_default=True, help="Published weights by name, or none: untrained."
        ),
        click.option("--layer", required=True, help="Layer of the network, as in features.0."),
        click.argument("model"),
    ):
        command = option(command)
    return command


@main.command()
@network_options
@click.option("--like", help="Population of receptive fields whose stimulus is shown.")
@click.option(
    "--stimulus",
    default="white noise",
    show_default=True,
    help="Without --like: also pink or sparse noise, or a folder of photographs.",
)
@click.option("--deg-per-px", type=float, help="Degrees that a pixel of the network's image stands for.")
@click.option("--frames", type=click.IntRange(min=1), help="Frames; default: as the recording says, else 20,000.")
@click.option("--spikes", type=float, help="Mean spikes per frame; default: the responses themselves.")
@click.option("--decay", type=float, help="Frames in which a calcium indicator falls to 1/e.")
@output_option("The bank of the units' maps, as BANK.h5.", *HDF5)
def record(model: str, layer: str, weights: str, like: str | None, units: int | None, output: Path, **how: Any) -> None:
    """Record MODEL, one of torchvision's, as an animal is recorded, and estimate its units' maps.

    A recording that was stopped goes on where it is repeated.
    """
    from rfcompare import bank, pipeline, recording
    from rfcompare.sources.remote import kept_in
    from rfcompare.sources.torchvision_models import read_network

    fields = None if like is None else pipeline.open_population(like)
    network = read_network(model, None if weights == "none" else weights, how["seed"])
    how["n_frames"] = how.pop("frames")
    how |= {"like": fields, "n_units": units, "keep": kept_in("recordings")}
    maps = recording.recorded_maps(recording.record(network, layer, **how))
    bank.save(maps, output)
    say(f"{maps.sizes['unit']} units of {layer} of {model}, in silico; maps of {maps.sizes['y']} × {maps.sizes['x']}")
    say(f"wrote {output}")


@main.command()
@network_options
@click.option("--deg-per-px", type=float, help="Degrees that a pixel of the network's image stands for.")
@output_option("The units' tuning, as T.csv, and beside it T_published.csv.", ".csv")
def tune(
    model: str, layer: str, weights: str, units: int | None, deg_per_px: float | None, seed: int, output: Path
) -> None:
    """Tune units of MODEL, one of torchvision's, with gratings, and count them in published histograms.

    The null of each distance is the same layer untrained.
    """
    from rfcompare import comparison, pipeline, recording
    from rfcompare.sources.torchvision_models import read_network

    def tuned(weights: str | None) -> Any:
        return recording.measure_tuning(read_network(model, weights, seed), layer, n_units=units, seed=seed)

    found = tuned(None if weights == "none" else weights)
    shown = found[[name for name in found.data_vars if found[name].dims == ("unit",)]].to_dataframe().reset_index()
    pipeline.write_table(shown.assign(kind=found.attrs["kind"]), output)
    own, null = (recording.tuning_descriptors(each, deg_per_px=deg_per_px) for each in (found, tuned(None)))
    held: dict[str, Any] = {"distributions": comparison.published_tuning(), "nulls": {"untrained": null}, "seed": seed}
    beside = output.with_name(f"{output.stem}_published{output.suffix}")
    pipeline.write_table(pipeline.result_table(comparison.compare_published(own, **held)), beside)
    say(f"{found.sizes['unit']} units of {layer} of {model}, in silico")
    say(f"wrote {output} and {beside.name}")


@main.command()
@click.argument("model")
@click.option("--layer", "layers", multiple=True, required=True, help="Layer of the network; repeat it, in order.")
@click.option(
    "--weights", default="DEFAULT", show_default=True, help="Published weights by name, or none: untrained only."
)
@click.option("--fields", default=DEFAULT_FIELDS, show_default=True, help="Population of receptive fields.")
@click.option(
    "--deg-per-px", type=float, help="Degrees of a pixel of the network's image; default: each layer's likest."
)
@seed_option
@folder_option("Folder for depth.csv and the figure.")
def depth(
    model: str, layers: tuple[str, ...], weights: str, fields: str, deg_per_px: float | None, seed: int, output: Path
) -> None:
    """Record layers of MODEL, one of torchvision's, like the cells, and draw their likeness over depth.

    The same layers untrained stand beside.
    """
    from rfcompare import figures, pipeline
    from rfcompare.sources.torchvision_models import read_network

    folder = pipeline.output_folder(output)
    cortex = pipeline.prepare(fields, seed=seed, progress=True)

    def found(weights: str | None) -> Any:
        network = read_network(model, weights, seed)
        how: dict[str, Any] = {"deg_per_px": deg_per_px, "seed": seed, "progress": True}
        return pipeline.likeness_by_layer(network, layers, cortex, **how)

    fresh = found(None)
    trained = fresh if weights == "none" else found(weights)
    drawn = figures.depth(trained, untrained=None if weights == "none" else fresh, title=model)
    for path in figures.save(drawn, "depth", folder):
        say(f"wrote {path}")
    for layer, result in trained.items():
        say(f"{layer}: {result.attrs['verdict']}")


@main.command()
@network_options
@click.option(
    "--polarity",
    type=click.Choice(["excite", "suppress", "both"]),
    default="excite",
    show_default=True,
    help="Climb to the highest response, the lowest, or both.",
)
@click.option("--norm", type=float, help="Euclidean norm of the images; default: as white noise.")
@click.option("--blur", type=float, nargs=2, default=(1.0, 0.0), show_default=True, help="SD of the gradient's blur in "
              "pixels, at the first and the last step.")  # fmt: skip
@output_option("The bank of images, as BANK.h5.", *HDF5)
def synthesize(model: str, layer: str, weights: str, units: int | None, output: Path, **how: Any) -> None:
    """Find the images that excite units of MODEL, one of torchvision's, most."""
    from rfcompare import bank, recording
    from rfcompare.sources.torchvision_models import read_network

    network = read_network(model, None if weights == "none" else weights, how["seed"])
    maps = recording.synthesize(network, layer, n_units=units, **how)
    bank.save(maps, output)
    say(
        f"{maps.sizes['unit']} images of {maps.sizes['y']} × {maps.sizes['x']} for {layer} of {model}, model-derived; "
        f"{int(maps.polarity_known.sum())} of them better than their negatives"
    )
    say(f"wrote {output}")


@main.command(hidden=True)
@click.option("--kernels", required=True, help="The weights that the table is fitted to.")
@reading_options
@seed_option
@output_option("The table, as reference_data/alexnet_gabor.csv.", ".csv")
def reference(kernels: str, seed: int, output: Path, **reading: Any) -> None:
    """Make the table behind reference:alexnet anew and print what reference_data/sources.toml records of it."""
    from rfcompare import pipeline

    table = pipeline.alexnet_table(pipeline.open_population(kernels, **reading), seed=seed)
    pipeline.write_table(table, output)
    say(f'file = "{output.name}"\nsha256 = "{hashlib.sha256(output.read_bytes()).hexdigest()}"')


@main.command()
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


@main.command("columns-grid", hidden=True)
@seed_option
@output_option("The table, as T.csv.", ".csv")
def columns_grid(seed: int, output: Path) -> None:
    """Analyze simulated columns over a grid of the simulation's assumptions: the shipped table."""
    from rfcompare import pipeline
    from rfcompare.pipeline.cortex import assumption_grid

    pipeline.write_table(assumption_grid(seed=seed, progress=True), output)
    say(f"wrote {output}")


@main.group()
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


@main.command()
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


@main.command()
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


@main.command()
@click.option(
    "--size", "sizes", type=click.IntRange(min=5), multiple=True, help="Side of the maps in pixels; repeat it."
)
@click.option("--n", type=click.IntRange(min=8), help="Maps per case; by default 2000, and 500 for the judge.")
@click.option("--n-peer", type=click.IntRange(min=1), default=50, show_default=True, help="Maps for SciPy's loops.")
@click.option(
    "--score",
    type=(click.Path(exists=True, path_type=Path), click.Path(exists=True, path_type=Path)),
    metavar="CASE.nc FITS.csv",
    help="Judge somebody else's fits of a case instead.",
)
@click.option(
    "--judge",
    is_flag=True,
    help="Hold the fits of maps that are no Gabors against the best of 40 random starts instead, and write judge.csv.",
)
@click.option("--maps", multiple=True, metavar="POPULATION", help="With --judge: the maps to fit; repeat it.")
@seed_option
@folder_option("Folder for benchmark.csv and the cases (maps with their truth), or for judge.csv.", required=False)
def benchmark(
    sizes: tuple[int, ...],
    n: int | None,
    n_peer: int,
    score: tuple[Path, Path] | None,
    judge: bool,
    maps: tuple[str, ...],
    seed: int,
    output: Path | None,
) -> None:
    """Time the fitter beside SciPy, or judge its optimum; write the maps with their truth for others' fitters."""
    from rfcompare import bank
    from rfcompare.fitting import benchmark as bench
    from rfcompare.pipeline import output_folder

    if score is not None:
        for name, value in bench.score(bank.load(score[0]), score[1]).items():
            say(f"{name} {value:g}")
        return
    if maps and not judge:
        raise InputError("expected --maps with --judge, got it alone; add --judge")
    if output is None:
        raise InputError("expected a folder to write in, got none; name it with -o")
    output_folder(output)
    if judge:
        _judge(maps, n or 500, seed, output / "judge.csv")
        return
    cases = bench.make_cases(sizes or (11, 32), n=n or 2000, seed=seed)
    bench.write_cases(cases, output)
    rows = bench.run_benchmark(cases, n_peer=n_peer)
    bench.write_table(output / "benchmark.csv", rows)
    for row in rows:
        say(
            f"{row['case']:12s} {row['fitter']:30s} {row['us_per_map']:12.1f} us per map, {row['times_faster']:8.1f} "
            f"times SciPy with care, success {row['success']:.3f}"
        )
    say(f"wrote {output}")


def _judge(names: tuple[str, ...], n: int, seed: int, table: Path) -> None:
    """Print and write how often the judge finds a better optimum, for the named maps or the drawn populations."""
    from rfcompare import bank
    from rfcompare.fitting import benchmark as bench
    from rfcompare.fitting import judging
    from rfcompare.pipeline import open_population

    if names:
        populations = {name: bank.to_signed(open_population(name)).rf.values[:, 0] for name in names}
    else:
        populations = judging.draw_populations(n, seed=seed)
    rows = []
    for name, maps in populations.items():
        (row,) = judging.judge_fits({name: maps}, seed=seed)
        rows.append(row)
        say(
            f"{name:32s} {row['n']:5d} maps: {row['worse']:.2%} worse than 40 random starts by more than 1 %, "
            f"{row['judge_worse']:.2%} better"
        )
    bench.write_table(table, rows)
    say(f"wrote {table}")


@main.command("filter")
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


def training_options(steps: int) -> Callable[[Command], Command]:
    """Options that every training has."""

    def decorate(command: Command) -> Command:
        for option in (
            output_option("The bank, as FILE.nc.", *HDF5),
            seed_option,
            click.option("--history", type=_Place(suffixes=(".csv",)), help="Table of r2, nx, ny and classes by step."),
            click.option("--fields", help="Population whose likeness the history follows."),
            click.option(
                "--layout", type=click.Path(path_type=Path), help="What the file of FIELDS does not say (TOML)."
            ),
            click.option("--snapshots", type=_Place(suffixes=HDF5), help="Twelve kernels along the way, as FILE.h5."),
            click.option(
                "--checkpoint",
                type=_Place(suffixes=(".pt", ".pth", ".checkpoint")),
                help="Written on the way, and continued from; default: beside FILE.nc until it is done.",
            ),
            click.option("--runs", type=click.IntRange(min=1), default=1, help="Seeds: --seed, --seed + 1, …"),
            click.option("--steps", type=click.IntRange(min=1), default=steps, show_default=True, help="Batches."),
        ):
            command = option(command)
        return command

    return decorate


@main.group()
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


if __name__ == "__main__":
    run()
