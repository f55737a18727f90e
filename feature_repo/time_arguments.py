"""Times as arguments of commands; all are UTC unless they say otherwise."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE = re.compile(rf"(\d{{1,6}}(?:\.\d+)?)\s*([{''.join(_UNITS)}])")


def moment(text: str) -> datetime:
    """An ISO 8601 date or time.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    return _moment(text, "is not an ISO 8601 date or time, such as 2026-01-31 or 2026-01-31T12:00")


def moment_or_age(text: str) -> datetime:
    """A :func:`moment`, or one so long ago: ``90m``, ``2h``, ``7d``.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    if age := _AGE.fullmatch(text.strip()):
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: float(age[1])})
    return _moment(text, "is neither an ISO 8601 date or time, such as 2026-01-31T12:00, nor an age, such as 2h")


def _moment(text: str, complaint: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} {complaint}") from None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
