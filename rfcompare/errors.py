"""The one exception that rfcompare raises for input it cannot use."""


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
