"""JSON of whatever a sender's JSON was read as."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

_TOO_DEEP = b'"nested too deeply to be written"'


class NotANumber(float):
    """NaN or an infinity that stood in JSON. It is written as it came, so that it is refused by name, not taken for nothing."""


def read_leniently(text: bytes) -> Any:
    """What JSON says, also with NaN and halves of emojis in it, which libraries write although they are no JSON.

    Raises:
        ValueError: it is not even that.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as strictly:
        try:
            return json.loads(text, parse_constant=NotANumber)
        except (ValueError, RecursionError):
            raise strictly from None


def as_json(value: Any, default: Callable[[Any], Any] | None = None) -> bytes:
    """``value`` as JSON in UTF-8; with what :func:`read_leniently` takes, and nested deeper than orjson writes."""
    try:
        return orjson.dumps(value, default=default)
    except orjson.JSONEncodeError:
        try:
            return json.dumps(value, default=default).encode()
        except RecursionError:
            return _TOO_DEEP
