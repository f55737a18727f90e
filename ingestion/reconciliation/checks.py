"""The numbers that must be equal: of the ledger, of the stored events and refusals, of Kafka's offsets."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
from deltalake import DeltaTable

from feature_repo.settings import get_settings
from ingestion.erased_rows import FILES, erased_rows
from ingestion.events.recent_ids import STORED_KEY
from ingestion.offsets import Offsets
from ingestion.reconciliation.report import Account, Check


def compare(
    stored: Mapping[str, DeltaTable], places: Mapping[str, Offsets], first: Offsets, following: Offsets
) -> tuple[list[Account], list[Check]]:
    """The ledger by source, and every comparison.

    Args:
        stored: events, quarantine and ledger by name.
        places: how far in Kafka each of them reaches.
        first: where Kafka's partitions begin now.
        following: where they end.
    """
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
    return accounts, checks


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
