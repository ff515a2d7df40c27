"""What every verb does around its work: looks at where it writes, says an error in one sentence, prints safely."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rfcompare.cli.options import ALONE, READING, Place
from rfcompare.errors import InputError, printable


class Verb(click.Command):
    """Looks at every place to write before the work starts, and keeps the inputs from being written over."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb once every place to write is known to be one."""
        from rfcompare import bank

        places = {each.name: each.type for each in self.params if isinstance(each.type, Place)}
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


class Group(click.Group):
    """Prints an `InputError`, and whatever the system refuses, as one sentence and exits with status 2."""

    command_class = Verb
    group_class = type

    def invoke(self, ctx: click.Context) -> Any:
        """Run the group's verb, and turn what went wrong into one sentence."""
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


def verb(name: str | None = None, *, hidden: bool = False) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a verb, under its own name or another."""
    return click.command(name, cls=Verb, hidden=hidden)
