"""The command line: thin verbs over `rfcompare.pipeline`.

A verb parses its options, calls the rooms below, and prints what it wrote. Whatever a person can cause by bad input is
an `InputError`, printed as one sentence with exit status 2; a traceback is a bug.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from rfcompare import __version__
from rfcompare.cli import benchmark, comparison, data, networks, populations, training
from rfcompare.cli.verb import Group, say

CITATION = (
    "rfcompare developers (2026). rfcompare: relating the first-layer kernels of CNNs to the receptive fields of "
    f"visual cortex, version {__version__}. Cite the recordings and networks that you compared as well: every table "
    "names them."
)


def _show_citation(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        say(CITATION)
        ctx.exit()


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


for _verb in (
    data.inspect,
    data.fetch,
    data.reference,
    data.estimate_verb,
    data.simulate,
    populations.fit,
    populations.describe,
    populations.classify,
    populations.survey,
    populations.columns,
    populations.columns_grid,
    populations.filter_verb,
    comparison.report,
    comparison.compare,
    comparison.figure,
    comparison.match,
    networks.record,
    networks.tune,
    networks.depth,
    networks.synthesize,
    training.train,
    benchmark.benchmark,
):
    main.add_command(_verb)


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
