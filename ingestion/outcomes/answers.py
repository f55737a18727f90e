"""What the service answered, out of Kafka into the table ``recommendations``: each message once.

Rows and the place in Kafka that they reach are committed together, as those of events are, so that a killed process neither
loses nor doubles any.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from feature_repo.answered import of_message
from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import RECOMMENDATIONS
from ingestion import offsets
from ingestion.locks import computing_outcomes
from ingestion.offsets import Offsets
from ingestion.privacy.tombstones import Tombstones

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

log = logging.getLogger(__name__)

_POLL_MS = 1_000
_PATIENCE_SECONDS = 30.0
_ANSWERS_PER_COMMIT = 20_000
_KEPT_CHARACTERS = 100_000


def land() -> int:
    """Store what Kafka holds now and the table does not; gives how many answers that were.

    Raises:
        UnavailableError: Kafka does not answer.
    """
    from kafka import KafkaConsumer
    from kafka.errors import KafkaError

    kafka = get_settings().kafka
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=kafka.servers.split(","),
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            metrics_enabled=False,
        )
        try:
            with computing_outcomes():
                tombstones = Tombstones.load()
                return sum(_store(_not_erased(rows, tombstones), place) for rows, place in _batches(consumer))
        finally:
            consumer.close()
    except KafkaError as error:
        raise UnavailableError(f"Kafka does not answer at {kafka.servers}: {error}") from error


def _store(rows: list[dict[str, Any]], place: Offsets) -> int:
    table = pa.Table.from_pylist(rows, schema=RECOMMENDATIONS.schema)
    properties = offsets.commit(place, get_settings().kafka.recommendations_topic)
    write_deltalake(RECOMMENDATIONS.uri, table, mode="append", commit_properties=properties)
    return len(rows)


def _not_erased(rows: list[dict[str, Any]], tombstones: Tombstones) -> list[dict[str, Any]]:
    """Those that are not of customers who have been erased since; of them, nothing is kept."""
    return [
        row
        for row in rows
        if not row.get("customer_id")
        or not tombstones.cover(row["customer_id"], round(row["answered_at"].timestamp() * 1000))
    ]


def _batches(consumer: KafkaConsumer) -> Iterator[tuple[list[dict[str, Any]], Offsets]]:
    """Rows that the table lacks, and where in Kafka they end."""
    ends = _ends(consumer)
    place = _begin(consumer, ends)
    rows: list[dict[str, Any]] = []
    came = time.monotonic()
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        if time.monotonic() - came > _PATIENCE_SECONDS:
            raise UnavailableError(f"Kafka gives no more answers, but has some: waited {_PATIENCE_SECONDS:.0f} s")
        for records in consumer.poll(timeout_ms=_POLL_MS).values():
            came = time.monotonic()
            for record in records:
                rows += rows_of(record.value or b"", record.partition, record.offset, record.timestamp / 1000)
        reached = {partition.partition: consumer.position(partition) for partition in ends}
        if len(rows) >= _ANSWERS_PER_COMMIT:
            yield rows, reached
            rows, place = [], reached
    reached = {partition.partition: consumer.position(partition) for partition in ends}
    if reached != place:
        yield rows, reached


def _ends(consumer: KafkaConsumer) -> dict[TopicPartition, int]:
    """Where the topic ends now; empty if there is none, as before the first start of a service that logs answers."""
    from kafka import TopicPartition

    topic = get_settings().kafka.recommendations_topic
    partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
    consumer.assign(partitions)
    return consumer.end_offsets(partitions) if partitions else {}


def _begin(consumer: KafkaConsumer, ends: dict[TopicPartition, int]) -> Offsets:
    """Go where the table ends; gives how far it reaches."""
    topic = get_settings().kafka.recommendations_topic
    covered = offsets.covered_by(DeltaTable(RECOMMENDATIONS.uri), topic)
    first = consumer.beginning_offsets(list(ends)) if ends else {}
    place = {}
    for partition, end in ends.items():
        at = covered.get(partition.partition, first[partition])
        if at > end:
            log.error("%s was made anew: it is read from its beginning", topic)
            at = first[partition]
        elif at < first[partition]:
            log.error("Kafka deleted %s messages of %s before they were stored", first[partition] - at, topic)
            at = first[partition]
        consumer.seek(partition, at)
        place[partition.partition] = at if partition.partition in covered else -1
    return place


def rows_of(value: bytes, partition: int, offset: int, arrived_at: float) -> list[dict[str, Any]]:
    """A message's rows for the table; of one that cannot be read, its text."""
    place = {"partition": partition, "offset": offset}
    try:
        answers = of_message(value)
    except ValueError as error:
        log.error("partition %s, offset %s holds no answers of the service: %s", partition, offset, error)
        text = value.decode(errors="replace")[:_KEPT_CHARACTERS]
        return [{**place, "unreadable": text, "dt": datetime.fromtimestamp(arrived_at, UTC).date()}]
    return [
        {
            **answer.model_dump(),
            "choices": list(answer.choices.items()),
            "dt": answer.answered_at.astimezone(UTC).date(),
            **place,
        }
        for answer in answers
    ]
