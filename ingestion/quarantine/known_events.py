"""Which events the stream has had already: stored, refused, or in Kafka on their way to either.

The stream itself knows duplicates for some hours. Whoever puts old events into Kafka, perhaps again, asks here before.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from feature_repo.contract import ORDERED
from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, QUARANTINE
from ingestion import offsets
from ingestion.events.recent_ids import STORED_KEY
from ingestion.progress import progress_bar
from ingestion.quarantine.reasons import objection

_POLL_MS = 1_000
# Of what was refused, not even JSON is certain.
_MESSAGE_ID = r'"messageId":\s*"([^"]*)"'


def keys_of(event: dict[str, Any]) -> frozenset[str]:
    """What duplicates of an event that fulfils the contract are known by: its id, and for orders the order's."""
    keys = {str(event["messageId"])}
    if event["type"] == "track" and event["event"] == ORDERED:
        keys.add(f"order:{event['properties']['order_id']}")
    return frozenset(keys)


def known_to_the_stream(wanted: frozenset[str]) -> set[str]:
    """Which of these :func:`keys_of` belong to events that are stored, or in Kafka on their way there."""
    stored = DeltaTable(EVENTS.uri) if EVENTS.exists() else None
    known: set[str] = set()
    if stored:
        stored_keys = (
            f"SELECT unnest([message_id, dedup_key]) AS key FROM (SELECT message_id, {STORED_KEY} FROM events)"
        )
        known |= _among(wanted, stored, "events", stored_keys)
    return known | _on_their_way(wanted, offsets.covered_by(stored) if stored else {})


def refused_by_the_stream(wanted: frozenset[str]) -> set[str]:
    """Which of these message ids belong to events in the quarantine, or in Kafka on their way there."""
    stored = DeltaTable(QUARANTINE.uri) if QUARANTINE.exists() else None
    refused: set[str] = set()
    if stored:
        ids = f"SELECT regexp_extract(payload, '{_MESSAGE_ID}', 1) AS key FROM quarantine"
        refused |= _among(wanted, stored, "quarantine", ids)
    for value, _ in _messages_after(offsets.covered_by(stored) if stored else {}):
        found = re.search(_MESSAGE_ID, value.decode(errors="replace"))
        if found and found[1] in wanted:
            refused.add(found[1])
    return refused


def _among(wanted: frozenset[str], stored: DeltaTable, name: str, keys: str) -> set[str]:
    """Those wanted that ``keys``, SQL over a table called ``name``, gives as well."""
    with duckdb.connect() as connection:
        connection.register(name, stored.to_pyarrow_dataset())
        connection.register("wanted", pa.table({"key": pa.array(sorted(wanted), pa.string())}))
        rows = connection.execute(f"SELECT DISTINCT key FROM ({keys}) SEMI JOIN wanted USING (key)").fetchall()
    return {key for (key,) in rows}


def _on_their_way(wanted: frozenset[str], covered: offsets.Offsets) -> set[str]:
    found: set[str] = set()
    for value, arrived_at in _messages_after(covered):
        try:
            event = json.loads(value)
            keys = keys_of(event)
        except (ValueError, RecursionError, TypeError, KeyError):
            continue
        # A tracker may have sent the same event again, as broken as before: the stream will refuse it.
        if keys & wanted and objection(value.decode(errors="replace"), arrived_at) is None:
            found |= keys & wanted
    return found


def _messages_after(covered: offsets.Offsets) -> Iterator[tuple[bytes, datetime]]:
    first, following = offsets.in_kafka()
    start = offsets.reachable(covered, first, following)
    total = sum(following[partition] - start[partition] for partition in start)
    with progress_bar() as progress:
        yield from progress.track(_messages(start, following), total=total, description="looking into Kafka")


def _messages(start: offsets.Offsets, end: offsets.Offsets) -> Iterator[tuple[bytes, datetime]]:
    """The messages of the events topic between two places, with their times of arrival."""
    kafka = get_settings().kafka
    at = {
        TopicPartition(kafka.events_topic, number): offset for number, offset in start.items() if offset < end[number]
    }
    if not at:
        return
    try:
        consumer = KafkaConsumer(bootstrap_servers=kafka.servers.split(","), metrics_enabled=False)
        try:
            consumer.assign(list(at))
            for place, offset in at.items():
                consumer.seek(place, offset)
            while any(consumer.position(place) < end[place.partition] for place in at):
                for records in consumer.poll(timeout_ms=_POLL_MS).values():
                    for record in records:
                        yield record.value or b"", datetime.fromtimestamp(record.timestamp / 1000, UTC)
        finally:
            consumer.close()
    except KafkaError as error:
        raise UnavailableError(f"Kafka does not answer at {kafka.servers}: {error}") from error
