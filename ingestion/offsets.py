"""Places in Kafka: which events a batch, a table or a stream has covered.

Offsets are held as ``{partition: next offset}``, and written as Spark writes them: ``{"topic": {"0": 17}}``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import Table

Offsets = dict[int, int]
METADATA_KEY = "userMetadata"  # where Spark's Delta writer puts free text, and so does ours


def to_json(offsets: Offsets) -> str:
    """In the form of Spark's ``startingOffsets`` and checkpoint."""
    topic = get_settings().kafka.events_topic
    return json.dumps({topic: {str(partition): offset for partition, offset in sorted(offsets.items())}})


def from_json(text: str) -> Offsets:
    """The inverse of :func:`to_json`."""
    return {int(key): value for parts in json.loads(text).values() for key, value in parts.items()}


def of_batch(checkpoint: Path, batch_id: int) -> Offsets | None:
    """Where batch ``batch_id`` of a query ended, from the write-ahead log in its checkpoint; None before the first."""
    log = checkpoint / "offsets" / str(batch_id)
    if not log.is_file():
        return None
    topic = get_settings().kafka.events_topic
    for line in log.read_text().splitlines():
        if line.startswith("{") and topic in json.loads(line):
            return from_json(line)
    return None


def in_kafka() -> tuple[Offsets, Offsets]:
    """First and next offsets of the events topic.

    Raises:
        UnavailableError: no broker answers, or the topic does not exist.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    kafka = get_settings().kafka
    try:
        consumer = KafkaConsumer(bootstrap_servers=kafka.servers)
    except KafkaError as error:
        raise UnavailableError(f"no Kafka broker answers at {kafka.servers}; `make up` starts one") from error
    try:
        partitions = consumer.partitions_for_topic(kafka.events_topic)
        if not partitions:
            raise UnavailableError(f"Kafka has no topic {kafka.events_topic}; `make up` creates it")
        places = [TopicPartition(kafka.events_topic, partition) for partition in partitions]
        first, following = consumer.beginning_offsets(places), consumer.end_offsets(places)
    finally:
        consumer.close()
    return ({p.partition: first[p] for p in places}, {p.partition: following[p] for p in places})


def first_event_time(start: Offsets) -> float | None:
    """Epoch seconds of the earliest event at or after ``start``, if Kafka holds any."""
    from kafka import KafkaConsumer, TopicPartition

    kafka = get_settings().kafka
    _, end = in_kafka()
    waiting = [partition for partition, offset in start.items() if offset < end.get(partition, 0)]
    if not waiting:
        return None
    consumer = KafkaConsumer(bootstrap_servers=kafka.servers, consumer_timeout_ms=5_000, enable_auto_commit=False)
    try:
        place = TopicPartition(kafka.events_topic, waiting[0])
        consumer.assign([place])
        consumer.seek(place, start[waiting[0]])
        for record in consumer:
            return _time_of(record.value)
    finally:
        consumer.close()
    return None


def covered_by(table: Table) -> list[tuple[int, Offsets]]:
    """(version, offsets) of the table's latest commits that recorded how far in Kafka they reach, the latest first.

    Commits that only merge or delete files repeat a place, perhaps an older one than the commit before them: they count
    for no more than that.
    """
    if not table.exists():
        return []
    found: list[tuple[int, Offsets]] = []
    for commit in reversed(list(DeltaTable(table.uri).history(limit=200))):
        text = commit.get(METADATA_KEY)
        if text:
            repeated = commit["operation"] != "WRITE" and found
            found.append((int(commit["version"]), found[-1][1] if repeated else from_json(text)))
    return found[::-1]


def reachable(place: Offsets) -> Offsets:
    """Where in Kafka to go on from ``place``: for each partition there, or where it begins if Kafka has lost the place."""
    first, following = in_kafka()
    return {
        partition: max(place.get(partition, begin), begin)
        if place.get(partition, begin) <= following[partition]
        else begin  # the topic was made anew
        for partition, begin in first.items()
    }


def newest(table: Table) -> Offsets | None:
    """How far in Kafka the table reaches, if one of its latest commits says so."""
    return next((place for _, place in covered_by(table)), None)


def _time_of(payload: bytes | None) -> float | None:
    try:
        event: Any = json.loads(payload or b"")
        moment = datetime.fromisoformat(event["timestamp"])
    except (ValueError, KeyError, TypeError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
