"""Numbers as arguments of commands."""

from __future__ import annotations

import argparse

# More seconds, days or events than anybody means, and few enough for every clock and counter.
_MOST = 10**9


def above_zero(text: str) -> float:
    """A number above 0, up to a billion.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to {_MOST:,}")
    return number


def count(text: str) -> int:
    """A whole number from 1 to a billion; ``1_000`` is one.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.replace("_", "").isdigit() or not 1 <= int(text.replace("_", "")) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST:,}")
    return int(text.replace("_", ""))
