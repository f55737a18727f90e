"""Of tables as a whole: how many rows each day has, whether ids are unique, and whether what is referred to is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.dataset as ds
from deltalake import DeltaTable

from feature_repo.checks.findings import Finding, Status, judged
from feature_repo.checks.report import Picture, bars
from feature_repo.contract import ORDERED
from feature_repo.sections.watching import ValidationSettings
from feature_repo.tables import CATALOG, CATALOG_INDEX, CUSTOMER_ACTIVITY, EVENTS, ITEM_ACTIVITY, Table

_EXAMPLES = 3
_DAYS_BEFORE = 14
_FEWEST_DAYS = 3
_WEEKS_BEFORE = 4
_FEWEST_WEEKS = 2
# The stream writes events, customers and products one after the other.
_SETTLED = timedelta(minutes=15)
_MEMORY = "1GB"


@contextmanager
def tables_in_duckdb(**filtered: ds.Expression) -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables by name, read in columns and batches; what does not fit into a gigabyte goes to disk.

    Args:
        filtered: which rows, by the name of the table.
    """
    with duckdb.connect() as connection, TemporaryDirectory(prefix="shelfwise-validate-") as folder:
        connection.execute(
            f"SET TimeZone = 'UTC'; SET memory_limit = '{_MEMORY}'; SET temp_directory = '{Path(folder)}'"
        )
        for table in (EVENTS, CATALOG, CATALOG_INDEX, CUSTOMER_ACTIVITY, ITEM_ACTIVITY):
            dataset = DeltaTable(table.uri).to_pyarrow_dataset()
            which = filtered.get(table.name)
            connection.register(table.name, dataset if which is None else dataset.filter(which))
        yield connection


@dataclass(frozen=True)
class Volume:
    """How many rows a day has.

    Attributes:
        usual: the median of the days before; None if these are too few.
        on_this_weekday: that of the same days of the weeks before, which may be other than most; likewise.
    """

    day: date
    rows: int
    usual: float | None
    on_this_weekday: float | None

    def within(self, low: float, high: float) -> bool:
        """Whether the rows are within such multiples of what is usual, on all days or on this one."""
        return any(
            low * rows <= self.rows <= high * rows for rows in (self.usual, self.on_this_weekday) if rows is not None
        )


def volumes(counts: dict[date, int], first: date, last: date) -> list[Volume]:
    """The days from ``first`` to ``last``; the days before are those since the first with any row."""
    begin = min(counts, default=last)
    found = []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        before = [day - timedelta(days=ago) for ago in range(1, _DAYS_BEFORE + 1)]
        # Of the very first day, there may be only a part.
        usual = [counts.get(one, 0) for one in before if one > begin]
        weekdays = [day - timedelta(weeks=ago) for ago in range(1, _WEEKS_BEFORE + 1)]
        alike = [counts.get(one, 0) for one in weekdays if one > begin]
        found.append(Volume(day, counts.get(day, 0), _median(usual, _FEWEST_DAYS), _median(alike, _FEWEST_WEEKS)))
    return found


def _median(counts: list[int], fewest: int) -> float | None:
    return median(counts) if len(counts) >= fewest else None


def judge_volumes(name: str, of_days: list[Volume], limits: ValidationSettings) -> Finding:
    """A finding for all days of a kind of event."""
    low, high = limits.volume_drop, limits.volume_rise
    judged_days = [
        one
        for one in of_days
        if one.day not in limits.accepted_days and one.usual is not None and one.usual >= limits.volume_min_rows
    ]
    wrong = [one for one in judged_days if not one.within(low, high)]
    return Finding(
        "events",
        "rows per day",
        name,
        Status.VIOLATED if wrong else Status.OK if judged_days else Status.NOT_JUDGED,
        sum(one.rows for one in wrong),
        sum(one.rows for one in of_days),
        limit=f"{low:g} to {high:g} times the median of the {_DAYS_BEFORE} days before, or of this weekday",
        examples=tuple(f"{one.day}: {one.rows:,} instead of {one.usual:,.0f}" for one in wrong[:_EXAMPLES]),
        advice="see whether the tracker, the collector or an import was down or sent twice, and load what is missing "
        "(`python -m ingestion backfill`); what has a known reason, as a sale has, is accepted by "
        f"SHELFWISE_VALIDATION__ACCEPTED_DAYS='{_as_json(wrong)}'"
        if wrong
        else "",
    )


def _as_json(days: list[Volume]) -> str:
    return json.dumps([one.day.isoformat() for one in days])


def check_volumes(
    connection: duckdb.DuckDBPyConnection, days: int, limits: ValidationSettings
) -> tuple[list[Finding], list[Picture]]:
    """The whole days before today, each beside the days before it, of all events and of each kind."""
    rows = connection.sql("SELECT coalesce(event, type) AS kind, dt, count(*) FROM events GROUP BY ALL").fetchall()
    by_kind: dict[str, dict[date, int]] = {"all": {}}
    for kind, day, count in rows:
        by_kind.setdefault(kind, {})[day] = count
        by_kind["all"][day] = by_kind["all"].get(day, 0) + count
    last = datetime.now(UTC).date() - timedelta(days=1)
    findings, pictures = [], []
    for kind, counts in by_kind.items():
        of_days = volumes(counts, last - timedelta(days=days - 1), last)
        finding = judge_volumes(kind, of_days, limits)
        findings.append(finding)
        shown = volumes(counts, last - timedelta(days=days + _DAYS_BEFORE - 1), last)
        wrong = [
            number
            for number, one in enumerate(shown)
            if any(example.startswith(f"{one.day}") for example in finding.examples)
        ]
        pictures.append(
            bars(f"{kind}: rows per day", [f"{one.day:%m-%d}" for one in shown], [one.rows for one in shown], wrong)
        )
    return findings, pictures


@dataclass(frozen=True)
class Rule:
    """SQL for the ids that break a rule: one row each, ``id`` and how many rows it concerns (``n``)."""

    table: str
    check: str
    subject: str
    failing: str
    total: str
    advice: str


def rules(since: datetime) -> list[Rule]:
    """Uniqueness and references, of the days that are looked at."""
    settled = (datetime.now(UTC) - _SETTLED).isoformat()
    orders = f"(FROM events WHERE event = '{ORDERED}' AND received_at < TIMESTAMPTZ '{settled}')"
    lines = f"(SELECT unnest(products).product_id AS product_id FROM {orders})"
    recent = f"(FROM item_activity WHERE event_timestamp >= TIMESTAMPTZ '{since.isoformat()}')"
    return [
        _unique("message_id", "events", "`python -m ingestion reconcile` tells from which source events came twice"),
        _unique("order_id", f"(FROM events WHERE event = '{ORDERED}')", "an order counts once: see which sources report it"),
        _reference("orders", "product in the catalogue", lines, "product_id", "catalog",
            "products were ordered that nobody knows: load a catalogue with their ids (`python -m ingestion catalog`)"),
        _reference("orders", "customer has features", orders, "customer_id", "customer_activity",
            "orders came of customers without features: see that the stream runs (`python -m ingestion health`); a backfill "
            "computes them anew"),
        _reference("item_activity", "product in the catalogue", recent, "product_id", "catalog",
            "features are kept of products that nobody knows: load a catalogue with their ids"),
        _reference("catalog", "product in the index", "catalog", "product_id",
            "(SELECT unnest(product_ids) AS product_id FROM (FROM catalog_index ORDER BY event_timestamp DESC LIMIT 1))",
            "services do not ask for these products: `python -m ingestion rebuild-online` writes the list anew"),
    ]  # fmt: skip


def _unique(column: str, source: str, advice: str) -> Rule:
    some = f"SELECT {column} AS id, count(*) - 1 AS n FROM {source} WHERE {column} IS NOT NULL GROUP BY 1 HAVING n > 0"
    return Rule("events", "unique", column, some, f"SELECT count({column}) FROM {source}", advice)


def _reference(table: str, subject: str, source: str, column: str, target: str, advice: str) -> Rule:
    failing = (
        f"SELECT {column} AS id, count(*) AS n FROM {source} AS s WHERE {column} IS NOT NULL "
        f"AND {column} NOT IN (SELECT {column} FROM {target} WHERE {column} IS NOT NULL) GROUP BY 1"
    )
    return Rule(table, "refers to", subject, failing, f"SELECT count({column}) FROM {source} AS s", advice)


def check_rules(connection: duckdb.DuckDBPyConnection, since: datetime) -> list[Finding]:
    """Uniqueness and references."""
    return [_checked(connection, rule) for rule in rules(since)]


def _checked(connection: duckdb.DuckDBPyConnection, rule: Rule) -> Finding:
    def one(sql: str) -> Any:
        return connection.sql(sql).fetchall()[0][0]

    examples = connection.sql(f"SELECT id FROM ({rule.failing}) ORDER BY n DESC, id LIMIT {_EXAMPLES}").fetchall()
    failing, rows = int(one(f"SELECT coalesce(sum(n), 0) FROM ({rule.failing})")), one(rule.total)
    return Finding(
        rule.table,
        rule.check,
        rule.subject,
        judged(failing) if rows else Status.NOT_JUDGED,
        failing,
        rows,
        limit="none",
        examples=tuple(str(row[0]) for row in examples),
        advice=rule.advice if failing else "",
    )


def missing_tables() -> list[Table]:
    """Those that are needed and not there."""
    return [table for table in (EVENTS, CATALOG, CATALOG_INDEX, CUSTOMER_ACTIVITY, ITEM_ACTIVITY) if not table.exists()]
