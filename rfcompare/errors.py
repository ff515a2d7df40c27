"""What rfcompare raises for input it cannot use, and the door that lets no misspelled keyword through."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


MOST_CHARACTERS = 1500
"""Longer messages are cut in their middle: what was expected and what to do stand at the ends."""

LONGEST_WORD = 300
"""Characters of the longest name that a message repeats whole."""


class InputError(ValueError):
    """Something given to rfcompare cannot be used.

    The message is one sentence for the person who gave it: what was expected, what came, and what to do. The
    command line prints it and exits with status 2.

    Examples
    --------
    >>> raise InputError("expected a bank with channel 'signed', got 'on', 'off'; call to_signed first")
    Traceback (most recent call last):
    ...
    rfcompare.errors.InputError: expected a bank with channel 'signed', got 'on', 'off'; call to_signed first
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class KeywordError(InputError, TypeError):
    """A keyword that a function does not have; a `TypeError` too, as Python itself would raise."""


def printable(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """A text from outside that a terminal shows and does not obey: control characters are written out, long runs cut.

    Examples
    --------
    >>> printable("got \\x1b[31mred"), len(printable("a" * 10**6))
    ('got \\\\x1b[31mred', 121)
    """
    shown = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text[: 100 * most])
    shown = re.sub(rf"\S{{{LONGEST_WORD},}}", lambda word: f"{word[0][:80]}…{word[0][-40:]}", shown)
    return shown if len(shown) <= most else f"{shown[: 2 * most // 3]} … {shown[-most // 3 :]}"


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def named_strictly(function: Callable[P, R]) -> Callable[P, R]:
    """A public function whose unknown keywords fail with the one that was probably meant.

    Raises
    ------
    KeywordError
        When it is called with a keyword that it does not have.

    Examples
    --------
    >>> @named_strictly
    ... def load(*, channel_order="rgb", attrs=None): ...
    >>> load(chanel_order="bgr")
    Traceback (most recent call last):
    ...
    rfcompare.errors.KeywordError: load has no keyword chanel_order; did you mean channel_order?
    """
    known = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]

    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                raise KeywordError(f"{function.__name__} has no keyword {name}; {meant(name, known)}")
        return function(*args, **kwargs)

    return cast(Callable[P, R], update_wrapper(checked, function))


def meant(name: str, known: Iterable[str]) -> str:
    """The known names that an unknown one stands for, as the end of a sentence.

    Examples
    --------
    >>> meant("kernel_dims", ["dims", "key"]), meant("citation", ["dims", "attrs"])
    ('did you mean dims?', "provenance goes into attrs={'citation': …}")
    """
    known = list(known)
    # A longer name that holds a known one first: kernel_dims is nearer to dims than, by its letters, to kernels.
    near = [other for other in known if set(other.split("_")) <= set(name.split("_"))]
    near = near or difflib.get_close_matches(name, known, n=2, cutoff=0.75) or difflib.get_close_matches(name, known, 1)
    near = near or [other for other in known if set(name.split("_")) <= set(other.split("_"))][:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"provenance goes into attrs={{{name!r}: …}}" if "attrs" in known else f"it has {', '.join(known)}"
