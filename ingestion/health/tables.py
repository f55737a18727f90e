"""What the offline tables tell of the health: rates, delays and refused events of the live traffic.

Live are the events that came through Kafka; bulk files have no partition. Delta's statistics on ``received_at`` spare
reading the files of other days, so that a look at four weeks of ten million events takes some tenths of a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable

from feature_repo.aggregates import Entity, contributing_events
from feature_repo.tables import CATALOG, EVENTS, QUARANTINE, TIMESTAMP, Table
from ingestion.health.checks import Delay, Rate, Violations
from ingestion.health.rates import ALL_EVENTS, WEEKS, Count, Feed, rates, usual_of_day, usual_of_weeks, with_totals

_HOUR = 3_600.0
_DAY = 24 * _HOUR
_WEEK = 7 * _DAY
_FEED = "source, coalesce(event, type, '') AS event"


@dataclass(frozen=True)
class Span:
    """A half-open range of arrival times, in seconds since 1970."""

    first: float
    end: float


def has_rows(table: Table) -> bool:
    """Whether the table has any file."""
    return table.exists() and bool(DeltaTable(table.uri).file_uris())


class LiveEvents:
    """The events table as it is now."""

    def __init__(self) -> None:
        self._dataset: ds.Dataset | None = DeltaTable(EVENTS.uri).to_pyarrow_dataset() if EVENTS.exists() else None

    def first_after(self, moment: float, entity: Entity) -> float | None:
        """When the first event that concerns ``entity`` arrived after ``moment``; None if none did."""
        concerns = ds.field("event").isin(sorted(contributing_events(entity)))
        concerns &= (ds.field("received_at") > _timestamp(moment)) & (pc.list_value_length(ds.field("products")) > 0)
        found = self._query("SELECT epoch(min(received_at)) FROM rows", concerns, ["received_at"])
        return found[0][0] if found else None

    def rates(self, window: Span, expected_source: str) -> tuple[list[Rate], int]:
        """Each feed's rate in the window beside the usual one, and how many events the window has."""
        minutes = (window.end - window.first) / 60
        present = with_totals(self._counts("0", [window]))
        usual = usual_of_weeks(with_totals(self._earlier_weeks(window))) or usual_of_day(
            with_totals(self._earlier_today(window)), self._windows_today(window), minutes
        )
        accepted = sum(count.events for count in present if count.event == ALL_EVENTS)
        return rates(present, usual, minutes, (expected_source, ALL_EVENTS)), accepted

    def delays(self, window: Span) -> list[Delay]:
        """How late the events of the window arrived, by source."""
        sql = (
            "SELECT source, count(*), quantile_cont(epoch(received_at) - epoch(timestamp), [0.5, 0.95]) AS q "
            "FROM rows GROUP BY source ORDER BY source"
        )
        found = self._query(sql, _within([window]), ["source", "received_at", "timestamp"])
        return [Delay(source, events, median, p95) for source, events, (median, p95) in found]

    def over_time(self, span: Span, slots: int) -> dict[Feed, list[int]]:
        """Events of each feed in equal parts of a span, the oldest first."""
        return _in_slots(with_totals(self._counts(_slot(span, slots), [span])), slots)

    def _earlier_weeks(self, window: Span) -> list[Count]:
        middle = (window.first + window.end) / 2
        hours = [Span(middle - n * _WEEK - _HOUR / 2, middle - n * _WEEK + _HOUR / 2) for n in range(1, WEEKS + 1)]
        return self._counts(f"round(({middle!r} - epoch(received_at)) / {_WEEK})", hours)

    def _earlier_today(self, window: Span) -> list[Count]:
        length = window.end - window.first
        ago = f"floor(({window.first!r} - epoch(received_at)) / {length!r}) + 1"
        return self._counts(ago, [Span(window.first - _DAY, window.first)])

    def _windows_today(self, window: Span) -> int:
        sql, day = "SELECT epoch(min(received_at)) FROM rows", Span(window.first - _DAY, window.first)
        found = self._query(sql, _within([day]), ["received_at"])
        first = found[0][0] if found else None
        return int((window.first - first) // (window.end - window.first)) if first is not None else 0

    def _counts(self, span: str, spans: Sequence[Span]) -> list[Count]:
        """Events by ``span``, an SQL expression, and feed."""
        sql = f"SELECT CAST({span} AS INTEGER) AS span, {_FEED}, count(*) FROM rows GROUP BY ALL"
        return [Count(*row) for row in self._query(sql, _within(spans), ["source", "event", "type", "received_at"])]

    def _query(self, sql: str, which: ds.Expression, columns: list[str]) -> list[Any]:
        if self._dataset is None:
            return []
        return _select(sql, self._dataset, ds.field("partition").is_valid() & which, columns)


def violations(window: Span) -> list[Violations]:
    """Refused live events by reason and field, the most frequent first."""
    if not QUARANTINE.exists():
        return []
    recent = f"epoch(received_at) >= {window.first!r} AND epoch(received_at) < {window.end!r}"
    sql = (
        f"SELECT coalesce(reason, ''), coalesce(field, ''), count(*) FILTER ({recent}) AS recent, count(*) AS total "
        "FROM rows GROUP BY ALL ORDER BY recent DESC, total DESC, 1, 2"
    )
    dataset = DeltaTable(QUARANTINE.uri).to_pyarrow_dataset()
    live = ds.field("partition").is_valid()
    return [Violations(*row) for row in _select(sql, dataset, live, ["reason", "field", "received_at"])]


def refused_over_time(span: Span, slots: int) -> dict[str, list[int]]:
    """Refused live events by reason in equal parts of a span, the oldest first."""
    if not QUARANTINE.exists():
        return {}
    sql = f"SELECT CAST({_slot(span, slots)} AS INTEGER), coalesce(reason, ''), '', count(*) FROM rows GROUP BY ALL"
    which = ds.field("partition").is_valid() & _within([span])
    rows = _select(sql, DeltaTable(QUARANTINE.uri).to_pyarrow_dataset(), which, ["reason", "received_at"])
    return {reason: counts for (reason, _), counts in _in_slots([Count(*row) for row in rows], slots).items()}


def first_change_after(moment: float, table: Table) -> float | None:
    """When the first row after ``moment`` was written to a table of the catalogue; None if none was."""
    dataset = DeltaTable(table.uri).to_pyarrow_dataset()
    later = ds.field("created") > _timestamp(moment)
    found = _select("SELECT epoch(min(created)) FROM rows", dataset, later, ["created"])
    return found[0][0]


def known_products() -> int:
    """How many products the catalogue has."""
    if not CATALOG.exists():
        return 0
    dataset = DeltaTable(CATALOG.uri).to_pyarrow_dataset()
    found = _select("SELECT count(DISTINCT product_id) FROM rows", dataset, pc.scalar(True), ["product_id"])
    return int(found[0][0])


def _select(sql: str, dataset: ds.Dataset, which: ds.Expression, columns: list[str]) -> list[Any]:
    """The answer to ``sql``, in which ``rows`` are those of the dataset that pass the filter."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", dataset.scanner(columns=columns, filter=which))
        return connection.sql(sql).fetchall()


def _slot(span: Span, slots: int) -> str:
    """SQL for the number of the part of a span that an event arrived in."""
    return f"floor((epoch(received_at) - {span.first!r}) * {slots} / {span.end - span.first!r})"


def _in_slots(counts: Iterable[Count], slots: int) -> dict[Feed, list[int]]:
    found: dict[Feed, list[int]] = {}
    for count in counts:
        found.setdefault((count.source, count.event), [0] * slots)[min(count.span, slots - 1)] += count.events
    return found


def _within(spans: Sequence[Span]) -> ds.Expression:
    arrived = ds.field("received_at")
    return reduce(or_, [(arrived >= _timestamp(s.first)) & (arrived < _timestamp(s.end)) for s in spans])


def _timestamp(moment: float) -> pa.Scalar:
    return pa.scalar(datetime.fromtimestamp(moment, UTC), TIMESTAMP)
