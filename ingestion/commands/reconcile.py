"""``python -m ingestion reconcile``: whether every event that came in is accounted for, once."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    from deltalake import DeltaTable

    from ingestion.offsets import Offsets

_POLL_SECONDS = 1.0
# The stream commits the three tables one after the other: that long they may differ without anything being wrong.
_SETTLE_SECONDS = 15.0
_SETTLE_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Account:
    """What the ledger says of a source: events accepted, and what became of them."""

    source: str
    accepted: int
    processed: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True)
class Check:
    """Two numbers that must be equal.

    Attributes:
        name: what is compared.
        subject: the source or table.
        expected, found: the numbers.
        failure: what it means if they differ.
        note: what else there is to know.
    """

    name: str
    subject: str
    expected: int
    found: int
    failure: str
    note: str = ""

    @property
    def holds(self) -> bool:
        return self.expected == self.found

    def problem(self) -> str:
        """The difference in a sentence."""
        difference = self.found - self.expected
        return f"{self.name}, {self.subject}: {abs(difference):,} too {'many' if difference > 0 else 'few'}: {self.failure}"


@dataclass(frozen=True)
class Reconciliation:
    """The outcome.

    Attributes:
        accounts: the ledger by source.
        checks: everything that was compared.
        waiting: messages in Kafka that the tables do not cover yet.
    """

    accounts: tuple[Account, ...]
    checks: tuple[Check, ...]
    waiting: int

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)

    def problems(self) -> list[str]:
        """A sentence for each check that does not hold."""
        return [check.problem() for check in self.checks if not check.holds]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="wait so long for the stream to store what Kafka holds now; it is an error if it has not by then",
    )
    parser.epilog = (
        "Compares the ledger, the stored events, the quarantine and Kafka's offsets: accepted = processed + quarantined + "
        "duplicates, and no event twice. Exits with 1 unless all of it holds. While a backfill is loading, its "
        "events are not accounted for yet."
    )


def run(args: argparse.Namespace) -> int:
    result = reconcile(args.wait)
    _show(result)
    for problem in result.problems():
        print(problem, file=sys.stderr)
    return 0 if result.holds else 1


def reconcile(wait_seconds: float | None = None) -> Reconciliation:
    """Compare what the tables and Kafka say.

    Args:
        wait_seconds: how long to wait for the tables to cover what Kafka holds now, which is then demanded.

    Raises:
        UnavailableError: Kafka does not answer.
    """
    import duckdb

    from ingestion import offsets

    first, wanted = offsets.in_kafka()
    if wait_seconds is not None:
        _wait(first, wanted, wait_seconds)
    stored = _settled()
    places = {name: offsets.covered_by(table) for name, table in stored.items()}
    _, following = offsets.in_kafka()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in stored.items():
            connection.register(name, table.to_pyarrow_dataset())
        accounts = _accounts(connection)
        checks = [
            *_sums(connection, accounts),
            _against_kafka(connection, accounts, places["ledger"], first),
            *_stored_rows(connection, accounts, stored["events"]),
            _once_by_place(connection),
            _once_by_id(connection),
            *_same_place(places),
            _not_ahead(places, following),
        ]
    if wait_seconds is not None:
        late = _waiting(places, first, wanted)
        failure = (
            f"messages in Kafka were not stored within {wait_seconds:g} s; `make status` shows whether the stream runs"
        )
        checks.append(Check("messages waiting in Kafka", "all tables", 0, late, failure))
    return Reconciliation(tuple(accounts), tuple(checks), _waiting(places, first, following))


def _tables() -> dict[str, DeltaTable]:
    from deltalake import DeltaTable

    from feature_repo.tables import EVENTS, LEDGER, QUARANTINE

    for table in (EVENTS, QUARANTINE, LEDGER):
        table.create_if_missing()
    return {table.name: DeltaTable(table.uri) for table in (EVENTS, QUARANTINE, LEDGER)}


def _settled() -> dict[str, DeltaTable]:
    """The tables as of one place in Kafka; if they do not come to one within some seconds, as they are."""
    from ingestion.offsets import covered_by

    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        stored = _tables()
        places = [covered_by(table) for table in stored.values()]
        if all(place == places[0] for place in places) or time.monotonic() > deadline:
            return stored
        time.sleep(_SETTLE_POLL_SECONDS)


def _wait(first: Offsets, wanted: Offsets, seconds: float) -> None:
    """Until all tables cover what lies before ``wanted``, or ``seconds`` are over."""
    from rich.console import Console

    from ingestion.offsets import covered_by

    deadline = time.monotonic() + seconds
    with Console(stderr=True).status("") as status:
        while True:
            left = _waiting({name: covered_by(table) for name, table in _tables().items()}, first, wanted)
            if left == 0 or time.monotonic() > deadline:
                return
            status.update(f"{left:,} messages in Kafka are not stored yet")
            time.sleep(_POLL_SECONDS)


def _waiting(places: Mapping[str, Offsets], first: Offsets, following: Offsets) -> int:
    """How many messages before ``following`` the table that reaches least does not cover."""
    return max(
        sum(max(0, end - max(place.get(p, 0), first.get(p, 0))) for p, end in following.items())
        for place in places.values()
    )


def _accounts(connection: duckdb.DuckDBPyConnection) -> list[Account]:
    rows = connection.execute(
        """
        SELECT source, sum(accepted)::BIGINT, sum(processed)::BIGINT, sum(quarantined)::BIGINT, sum(duplicates)::BIGINT
        FROM ledger GROUP BY source ORDER BY source
        """
    ).fetchall()
    return [Account(*row) for row in rows]


def _sums(connection: duckdb.DuckDBPyConnection, accounts: list[Account]) -> list[Check]:
    """The ledger in itself."""
    failure = "the ledger does not add up"
    name = "processed + quarantined + duplicates = accepted"
    checks = [Check(name, a.source, a.accepted, a.processed + a.quarantined + a.duplicates, failure) for a in accounts]
    negative = _number(connection, "SELECT count(*) FROM ledger WHERE least(processed, quarantined, duplicates) < 0")
    return [*checks, Check("batches with a negative number", "ledger", 0, negative, failure)]


def _against_kafka(
    connection: duckdb.DuckDBPyConnection, accounts: list[Account], covered: Offsets, first: Offsets
) -> Check:
    """What the ledger accepted from the topic, against the offsets that it covers.

    Both are counted from where the first batch began. That is offset 0, unless Kafka had deleted messages by then.
    """
    from feature_repo.settings import get_settings

    topic = get_settings().kafka.events_topic
    # A batch is named by its end, "0:17 1:20": partition and next offset.
    began = connection.execute(
        """
        SELECT min_by(reached - accepted, reached) FROM (
            SELECT accepted, list_sum(list_transform(
                string_split(batch, ' '), lambda place: TRY_CAST(split_part(place, ':', 2) AS BIGINT)
            ))::BIGINT AS reached
            FROM ledger WHERE source = ?
        )
        """,
        [topic],
    ).fetchone()
    start = min(max(0, began[0] or 0), sum(first.values())) if began else 0
    accepted = sum(account.accepted for account in accounts if account.source == topic)
    note = f"counted from {start:,} on: Kafka had deleted what lies before" if start else ""
    failure = "batches of the ledger are missing or doubled, or Kafka deleted messages before the stream read them (its log says)"
    return Check("accepted = offsets covered", topic, sum(covered.values()) - start, accepted, failure, note)


def _stored_rows(
    connection: duckdb.DuckDBPyConnection, accounts: list[Account], stored_events: DeltaTable
) -> list[Check]:
    """Rows of the events table and of the quarantine against the ledger, for each topic and for all files."""
    from feature_repo.settings import get_settings
    from ingestion.erased_rows import FILES, erased_rows

    rows = connection.execute(
        f"""
        SELECT CASE WHEN partition IS NULL THEN '{FILES}' ELSE source END AS source,
            count(*) FILTER (what = 'event'), count(*) FILTER (what = 'refusal')
        FROM (
            SELECT source, partition, 'event' AS what FROM events
            UNION ALL SELECT source, partition, 'refusal' FROM quarantine
        ) GROUP BY 1 ORDER BY 1
        """
    ).fetchall()
    stored = {source: (events, refusals) for source, events, refusals in rows}
    stored.setdefault(get_settings().kafka.events_topic, (0, 0))
    if erased_rows(stored_events, FILES):
        stored.setdefault(FILES, (0, 0))
    processed, quarantined = dict.fromkeys(stored, 0), dict.fromkeys(stored, 0)
    for account in accounts:
        # The ledger names the path that was loaded, the rows name the file in it.
        group = account.source if account.source in stored else FILES
        processed[group] = processed.get(group, 0) + account.processed
        quarantined[group] = quarantined.get(group, 0) + account.quarantined
    checks = []
    for group in processed:
        events, refusals = stored.get(group, (0, 0))
        erased = erased_rows(stored_events, group)
        note = f"{erased:,} of them of customers who have been erased" if erased else ""
        failure = "stored events are missing, doubled, or not in the ledger"
        checks.append(Check("stored events = processed", group, processed[group], events + erased, failure, note))
        failure = "refused events are missing, doubled, or not in the ledger"
        checks.append(Check("refused events = quarantined", group, quarantined[group], refusals, failure))
    return checks


def _once_by_place(connection: duckdb.DuckDBPyConnection) -> Check:
    repeats = _number(
        connection,
        """
        SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (
            SELECT count(*) AS n FROM (
                SELECT source, partition, "offset" FROM events WHERE partition IS NOT NULL
                UNION ALL SELECT source, partition, "offset" FROM quarantine WHERE partition IS NOT NULL
            ) GROUP BY source, partition, "offset" HAVING n > 1
        )
        """,
    )
    return Check(
        "places in Kafka stored twice", "events, quarantine", 0, repeats, "a message was stored more than once"
    )


def _once_by_id(connection: duckdb.DuckDBPyConnection) -> Check:
    """By the rule of the stream: of the events with an id, one counts within the horizon."""
    from feature_repo.settings import get_settings
    from ingestion.events.recent_ids import STORED_KEY

    horizon = get_settings().stream.duplicate_horizon
    # Grouped by numbers first: ten million ids as text would take gigabytes.
    repeats = _number(
        connection,
        f"""
        WITH stored AS (SELECT {STORED_KEY}, received_at FROM events),
        repeated AS (SELECT hash(dedup_key) AS digest FROM stored GROUP BY digest HAVING count(*) > 1),
        followed AS (
            SELECT received_at - lag(received_at) OVER (PARTITION BY dedup_key ORDER BY received_at) AS distance
            FROM stored WHERE hash(dedup_key) IN (SELECT digest FROM repeated)
        )
        SELECT count(*) FROM followed WHERE distance <= INTERVAL '{horizon}'
        """,
    )
    return Check(f"ids stored twice within {horizon}", "events", 0, repeats, "a duplicate was counted")


def _same_place(places: Mapping[str, Offsets]) -> list[Check]:
    expected = places["events"]
    checks = []
    for name in ("quarantine", "ledger"):
        partitions = expected.keys() | places[name].keys()
        # Partitions ahead and behind must not cancel each other out.
        distance = sum(abs(places[name].get(p, 0) - expected.get(p, 0)) for p in partitions)
        failure = (
            "messages lie between the places that the tables reach; start the stream, which takes in what is missing"
        )
        checks.append(Check("reaches as far as the events", name, 0, distance, failure))
    return checks


def _not_ahead(places: Mapping[str, Offsets], following: Offsets) -> Check:
    covered = places["events"]
    ahead = sum(max(0, offset - following.get(p, 0)) for p, offset in covered.items())
    failure = "messages that are stored lie after the topic's end: the topic was made anew, give it another name"
    return Check("stored beyond the topic's end", "events", 0, ahead, failure)


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _show(result: Reconciliation) -> None:
    from rich.markup import escape
    from rich.table import Table

    from feature_repo.commands import result_console

    console = result_console()
    ledger = Table("source", title="the ledger", title_justify="left")
    for column in ("accepted", "processed", "quarantined", "duplicates"):
        ledger.add_column(column, justify="right")
    for a in result.accounts:
        ledger.add_row(escape(a.source), *(f"{n:,}" for n in (a.accepted, a.processed, a.quarantined, a.duplicates)))
    checks = Table("check", "of", title="checks", title_justify="left")
    for column in ("expected", "found"):
        checks.add_column(column, justify="right")
    checks.add_column("")
    for check in result.checks:
        verdict = "[green]ok[/]" if check.holds else "[bold red]WRONG[/]"
        note = f" ({check.note})" if check.note else ""
        checks.add_row(check.name, escape(check.subject), f"{check.expected:,}", f"{check.found:,}", verdict + note)
    console.print(ledger)
    console.print(checks)
    console.print(f"{result.waiting:,} messages in Kafka are not stored yet")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
