"""What the quarantine holds, and which of it has been put back into the stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from feature_repo.tables import QUARANTINE, QUARANTINE_REPLAYS

_ROWS_AT_A_TIME = 1_000
# A place in Kafka holds one event. Lines of a file that was changed and loaded again share a place with earlier ones: they
# are numbered in the order in which they came.
_REFUSED = """
    WITH numbered AS (
        SELECT *, row_number() OVER (PARTITION BY source, partition, "offset" ORDER BY received_at, payload) AS number
        FROM quarantine
    ), identified AS (
        SELECT * EXCLUDE (number), CASE
            WHEN partition IS NOT NULL THEN concat(source, ':', partition, ':', "offset")
            WHEN number = 1 THEN concat(source, ':', "offset")
            ELSE concat(source, ':', "offset", '#', number)
        END AS id
        FROM numbered WHERE partition IS NULL OR number = 1
    ), replayed AS (SELECT id, min(replayed_at) AS replayed_at FROM replays GROUP BY id)
    SELECT id, reason, field, source, partition, "offset", received_at, payload, replayed_at
    FROM identified LEFT JOIN replayed USING (id)
"""


@dataclass(frozen=True)
class RefusedEvent:
    """An event of the quarantine.

    Attributes:
        id: ``<source>:<partition>:<offset>``, for events from files ``<source>:<offset>``.
        reason, field: why it was refused.
        received_at: when it arrived.
        payload: what arrived; None for a message without content.
        replayed_at: when it was put back into the stream; None if it was not.
    """

    id: str
    reason: str
    field: str
    received_at: datetime
    payload: str | None
    replayed_at: datetime | None


@dataclass(frozen=True)
class Count:
    """How many events were refused for one reason and field; ``example`` is the id of the last of them."""

    reason: str
    field: str
    events: int
    replayed: int
    first: datetime
    last: datetime
    example: str


@dataclass(frozen=True)
class Selection:
    """Which events of the quarantine are meant; what is None does not matter.

    Attributes:
        reason, field: why they were refused.
        since: the earliest arrival.
        ids: these alone.
        waiting: only those that have not been put back into the stream.
    """

    reason: str | None = None
    field: str | None = None
    since: datetime | None = None
    ids: Sequence[str] | None = None
    waiting: bool = False

    def condition(self) -> tuple[str, list[Any]]:
        """SQL over the refused events, with its parameters."""
        parts: list[str] = ["true"]
        parameters: list[Any] = []
        for part, value in (
            ("reason = ?", self.reason),
            ("field = ?", self.field),
            ("received_at >= ?", self.since),
            ("id IN (SELECT unnest(?))", None if self.ids is None else list(self.ids)),
        ):
            if value is not None:
                parts.append(part)
                parameters.append(value)
        if self.waiting:
            parts.append("replayed_at IS NULL")
        return " AND ".join(parts), parameters


def counts(selection: Selection) -> list[Count]:
    """The chosen events by reason and field, the most frequent first."""
    condition, parameters = selection.condition()
    with _tables() as connection:
        rows = connection.execute(
            f"""
            SELECT reason, field, count(*) AS events, count(replayed_at) AS replayed, min(received_at), max(received_at),
                arg_max(id, received_at)
            FROM ({_REFUSED}) WHERE {condition} GROUP BY reason, field ORDER BY events DESC, reason, field
            """,
            parameters,
        ).fetchall()
    return [
        Count(reason, field, events, replayed, _utc(first), _utc(last), example)
        for reason, field, events, replayed, first, last, example in rows
    ]


def refused(selection: Selection, limit: int | None = None) -> Iterator[RefusedEvent]:
    """The chosen events in order of arrival, few in memory at a time."""
    condition, parameters = selection.condition()
    with _tables() as connection:
        reader = connection.execute(
            f"""
            SELECT id, reason, field, received_at, payload, replayed_at FROM ({_REFUSED}) WHERE {condition}
            ORDER BY received_at, partition, "offset", id {"" if limit is None else f"LIMIT {limit}"}
            """,
            parameters,
        ).to_arrow_reader(_ROWS_AT_A_TIME)
        for batch in reader:
            for row in batch.to_pylist():
                yield RefusedEvent(**row)


def count(selection: Selection) -> int:
    """How many events are chosen."""
    return sum(found.events for found in counts(selection))


def states(ids: Sequence[str]) -> dict[str, datetime | None]:
    """For those of ``ids`` that the quarantine knows: when they were put back into the stream, None if they were not."""
    condition, parameters = Selection(ids=ids).condition()
    with _tables() as connection:
        found = connection.execute(f"SELECT id, replayed_at FROM ({_REFUSED}) WHERE {condition}", parameters).fetchall()
    return {id_: replayed_at and _utc(replayed_at) for id_, replayed_at in found}


def note_replayed(replayed: Sequence[tuple[str, str]]) -> None:
    """Record events, by id and message id, as put back into the stream."""
    now = datetime.now(UTC)
    rows = [{"id": id_, "message_id": message_id, "replayed_at": now} for id_, message_id in replayed]
    write_deltalake(QUARANTINE_REPLAYS.uri, pa.Table.from_pylist(rows, schema=QUARANTINE_REPLAYS.schema), mode="append")


@contextmanager
def _tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB over ``quarantine`` and ``replays`` as they are now."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in (("quarantine", QUARANTINE), ("replays", QUARANTINE_REPLAYS)):
            table.create_if_missing()
            connection.register(name, DeltaTable(table.uri).to_pyarrow_dataset())
        yield connection


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
