"""What the mappings of Google Analytics' exports share: reading their values, and making events with stable ids.

BigQuery writes whole numbers as text into JSON and as numbers into Parquet. Both must give the same event, or one that was
loaded from one would not be known in the other. A value that cannot be read is passed on as it is: the contract refuses the
event with a reason, and the quarantine keeps it.
"""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

Row = dict[str, Any]
Event = dict[str, Any]

MICROS = 1_000_000
_NOTHING = ("", "(not set)")
_LONGEST_LIST = 60
_BEYOND = 2**63
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_PATH = 2_000


def text(value: Any) -> Any:
    """A word or None; Analytics says ``(not set)`` where it knows nothing."""
    return None if isinstance(value, str) and value.strip() in _NOTHING else value


def integer(value: Any) -> Any:
    """A whole number, however the export writes it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and text(value) is not None:
        try:
            read = int(value)
        except ValueError:
            return value
        return read if abs(read) < _BEYOND else value
    return text(value)


def number(value: Any) -> Any:
    """A number, however the export writes it."""
    if not isinstance(value, str) or text(value) is None:
        return text(value)
    try:
        read = float(value)
    except ValueError:
        return value
    return read if math.isfinite(read) else value


def amount(micros: Any) -> Any:
    """An amount of money that the export gives in millionths."""
    read = number(micros)
    return read / MICROS if isinstance(read, int | float) else read


def record(value: Any) -> Row:
    """A nested record; empty if the export has none there."""
    return value if isinstance(value, dict) else {}


def records(value: Any) -> list[Row]:
    """A repeated record. Some tools leave Parquet's own ``list`` and ``element`` around its parts."""
    parts = record(value).get("list", value)
    if not isinstance(parts, list):
        return []
    return [record(part.get("element", part)) for part in parts if isinstance(part, dict)]


def moment(microseconds: Any) -> Any:
    """ISO 8601 to the millisecond, of microseconds since 1970."""
    value = integer(microseconds)
    if not isinstance(value, int):
        return value
    try:
        at = _EPOCH + timedelta(microseconds=value)
    except OverflowError:
        return str(value)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def path_of(address: Any) -> str | None:
    """The path of a page's address."""
    if not isinstance(address, str):
        return None
    try:
        return urlsplit(address).path[:_LONGEST_PATH] or None
    except ValueError:
        return None


def in_parts(products: list[Event]) -> list[list[Event] | None]:
    """Products of a list, in as many events as keep each below the size that an event may have."""
    if not products:
        return [None]
    return [products[start : start + _LONGEST_LIST] for start in range(0, len(products), _LONGEST_LIST)]


def stable_id(export: str, *identity: Any) -> str:
    """A message id that is the same whenever and from whichever file the same row is loaded."""
    digest = hashlib.blake2b(orjson.dumps(identity), digest_size=16).hexdigest()
    return f"{export}-{digest}"


def without_nothing(document: Event) -> Event:
    """``document`` without members that are None or empty objects, at any depth."""
    kept = {name: _without_nothing(value) for name, value in document.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def _without_nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return without_nothing(value)
    return [_without_nothing(part) for part in value] if isinstance(value, list) else value
