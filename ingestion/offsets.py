"""Places in Kafka: how far a table, a batch or the topic itself reaches.

Offsets are held as ``{partition: next offset}``. A Delta table that is filled from Kafka knows its own place: each commit
carries, per partition, a transaction of Delta's protocol whose version is the next offset. Rows and place are committed
together, so that neither can be without the other; compaction and clean-up of the log keep the place.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from math import ceil

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction
from numpy.typing import NDArray

from feature_repo.errors import DefinitionError, UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import Table
from ingestion import sql

log = logging.getLogger(__name__)

Offsets = dict[int, int]
_MOST_PARTITIONS = 10_000


def to_json(offsets: Offsets) -> str:
    """In the form of Spark's ``startingOffsets``: ``{"topic": {"0": 17}}``."""
    topic = get_settings().kafka.events_topic
    return json.dumps({topic: {str(partition): offset for partition, offset in sorted(offsets.items())}})


def commit(place: Offsets, topic: str = "") -> CommitProperties:
    """What a commit must carry to record that the table reaches ``place`` in a topic, by default that of the events."""
    transactions = [Transaction(_app_id(p, topic), offset) for p, offset in sorted(place.items())]
    return CommitProperties(app_transactions=transactions)


def covered(table: Table) -> Offsets:
    """How far in Kafka the table reaches; empty if nothing in it came from there."""
    return covered_by(DeltaTable(table.uri)) if table.exists() else {}


def covered_by(stored: DeltaTable, topic: str = "") -> Offsets:
    """How far in a topic, by default that of the events, this version of a table reaches."""
    place: Offsets = {}
    for partition in range(_MOST_PARTITIONS):
        offset = stored.transaction_version(_app_id(partition, topic))
        if offset is None:
            break
        place[partition] = offset
    return place


def reachable(place: Offsets, first: Offsets, following: Offsets) -> Offsets:
    """Where to go on from ``place`` in a topic that reaches from ``first`` to ``following``.

    Raises:
        DefinitionError: the topic ends before ``place``: it is not the one that the events came from.
    """
    topic = get_settings().kafka.events_topic
    found = {}
    for partition, begin in first.items():
        offset = place.get(partition, begin)
        if offset > following[partition]:
            raise DefinitionError(
                f"{topic} ends at {following[partition]} in partition {partition}, but {offset} messages of it have been "
                "taken in: the topic was made anew. Give the new one another name (SHELFWISE_KAFKA__EVENTS_TOPIC); the "
                "stream reads it from its beginning, beside what is stored"
            )
        if place and offset < begin:
            log.error(
                "%s messages of partition %s of %s were deleted by Kafka before they were processed; raise the topic's "
                "retention, or run the stream more often",
                begin - offset,
                partition,
                topic,
            )
        found[partition] = max(offset, begin)
    return found


def before(place: Offsets) -> str:
    """SQL over the events table: the event lies before ``place``, or did not come from the topic."""
    elsewhere = ["partition IS NULL", f"source <> {sql.text(get_settings().kafka.events_topic)}"]
    earlier = [f'(partition = {partition} AND "offset" < {offset})' for partition, offset in place.items()]
    return f"({' OR '.join([*elsewhere, *earlier])})"


def beyond(place: Offsets, rows: pa.Table) -> NDArray[np.bool_]:
    """Which rows, by their ``partition`` and ``offset``, do not lie before ``place``."""
    known = np.zeros(max([*place, *rows["partition"].unique().to_pylist()], default=-1) + 1, np.int64)
    known[list(place)] = list(place.values())
    return np.asarray(rows["offset"].to_numpy() >= known[rows["partition"].to_numpy()])


def parted(place: Offsets, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The rows, by their ``partition`` and ``offset``, that lie before ``place``, and those that do not."""
    later = beyond(place, rows)
    if later.all():  # nearly always; copying events takes time
        return rows.slice(0, 0), rows
    return rows.filter(pa.array(~later)), rows.filter(pa.array(later))


def steps(start: Offsets, end: Offsets, size: int) -> Iterator[tuple[Offsets, Offsets]]:
    """Cut the way from ``start`` to ``end`` into steps of about ``size`` messages, side by side in all partitions."""
    at = dict(start)
    while any(at[partition] < end[partition] for partition in end):
        left = sum(max(0, end[partition] - at[partition]) for partition in end)
        share = min(1.0, size / left)
        following = {
            partition: max(
                at[partition], min(end[partition], at[partition] + ceil(share * (end[partition] - at[partition])))
            )
            for partition in end
        }
        yield at, following
        at = following


def in_kafka() -> tuple[Offsets, Offsets]:
    """First and next offsets of the events topic.

    Raises:
        UnavailableError: no broker answers, or the topic does not exist.
    """
    from kafka import KafkaConsumer, TopicPartition
    from kafka.errors import KafkaError

    kafka = get_settings().kafka
    try:
        consumer = KafkaConsumer(bootstrap_servers=kafka.servers, bootstrap_timeout_ms=10_000, enable_auto_commit=False)
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


def _app_id(partition: int, topic: str) -> str:
    return f"kafka:{topic or get_settings().kafka.events_topic}:{partition}"
