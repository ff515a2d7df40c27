"""Verbs of a network that is measured as an animal is: record, tune, depth, synthesize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rfcompare.cli.options import DEFAULT_FIELDS, HDF5, Command, folder_option, output_option, seed_option
from rfcompare.cli.verb import say, verb


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


@verb()
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


@verb()
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


@verb()
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


@verb()
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
