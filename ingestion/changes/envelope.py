"""What Debezium says in a record: a row as it is now or gone, the end of a transaction, or only how late it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

# What Debezium sends in place of a long value that an update did not touch.
UNCHANGED = "__debezium_unavailable_value"
_KINDS = {"c": True, "u": True, "r": True, "d": False}


@dataclass(frozen=True)
class Change:
    """A row that was inserted, updated, deleted, or found by a snapshot.

    Attributes:
        table: schema.table.
        key: its primary key, as text.
        row: its columns as they are now; None if it was deleted.
        at: when that was committed, or the snapshot taken.
        transaction: which one did it; empty if that is not said, or it was found by a snapshot.
        snapshot: Debezium's mark of what a snapshot found; empty for what happened.
    """

    table: str
    key: str
    row: dict[str, Any] | None
    at: datetime
    transaction: str
    snapshot: str


@dataclass(frozen=True)
class Ended:
    """A transaction of which all changes have been sent."""

    transaction: str


@dataclass(frozen=True)
class Passed:
    """Something else was committed, such as the connector's own sign of life: all that came before has been sent."""

    at: datetime


class NotUnderstoodError(ValueError):
    """A record that is not what Debezium sends; the message says why."""


@dataclass(frozen=True)
class Emptied:
    """A table that was emptied as a whole."""

    table: str
    at: datetime


Said = Change | Ended | Passed | Emptied


def read(key: bytes | None, value: bytes | None) -> Said | None:
    """What a record says; None if nothing that matters here.

    Raises:
        NotUnderstoodError: it is no record of Debezium, or of a table without a primary key.
    """
    if value is None:
        return None
    try:
        return _read(_object(value), _object(key) if key else None)
    except (TypeError, AttributeError, OverflowError) as error:
        raise NotUnderstoodError(f"it is not as Debezium writes it: {error}") from error


def _read(message: dict[str, Any], identity: dict[str, Any] | None) -> Said | None:
    if "schema" in message and "payload" in message:
        raise NotUnderstoodError("it has its schema inside: set value.converter.schemas.enable to false")
    if "status" in message and "op" not in message:
        return Ended(_transaction(message)) if message["status"] == "END" else None
    source, kind = message.get("source"), message.get("op")
    if kind == "m" and isinstance(source, dict):  # a message, such as postgres.json lets the connector write
        return Passed(_moment(source)) if source.get("ts_ms") else None
    if not isinstance(source, dict) or not {"schema", "table", "ts_ms"} <= source.keys():
        raise NotUnderstoodError("it does not say which table it is of")
    if kind == "t":
        return Emptied(f"{source['schema']}.{source['table']}", _moment(source))
    if kind not in _KINDS:
        return Passed(_moment(source))
    row = message.get("after") if _KINDS[kind] else None
    if _KINDS[kind] and not isinstance(row, dict):
        raise NotUnderstoodError("it has no row")
    if not identity:
        raise NotUnderstoodError(f"{source['schema']}.{source['table']} has no primary key")
    mark = source.get("snapshot")
    return Change(
        table=f"{source['schema']}.{source['table']}",
        key=orjson.dumps(identity, option=orjson.OPT_SORT_KEYS).decode(),
        row=row,
        at=_moment(source),
        transaction=_transaction(message.get("transaction") or {}),
        snapshot="" if mark in (None, False, "false") else str(mark),
    )


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise NotUnderstoodError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise NotUnderstoodError("it is no JSON object")
    return found


def _moment(source: dict[str, Any]) -> datetime:
    """To the microsecond, where that is said: a product may change twice in a millisecond."""
    microseconds = source.get("ts_us") or source["ts_ms"] * 1000
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)


def _transaction(said: dict[str, Any]) -> str:
    """Of Postgres' "571:53195829", the transaction; the rest is the place of the single change."""
    return str(said.get("id") or "").partition(":")[0]
