"""Events as they arrive: checked by Spark's real-time trigger, in milliseconds instead of a micro-batch's tenths of a second.

With this trigger Spark does not plan batch after batch: one task per partition reads, checks and writes for minutes. It can
write to Kafka only. So checked events go through a topic of their own, and from there to this process. The topic is a pipe:
each run of the stream begins at its end, ignores what other runs still write, and says from which place in the events topic it
wants to be served. What counts is the place of each event, so that nothing depends on what the pipe holds when a run ends.
"""

from __future__ import annotations

import io
import logging
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.json
from pyspark.sql import functions as F

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion.events.archive import archivable
from ingestion.events.parsing import Limits, parse
from ingestion.offsets import Offsets
from ingestion.streaming.source import event_stream

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition
    from pyspark.sql import DataFrame, SparkSession

log = logging.getLogger(__name__)

# After so long Spark ends its tasks and starts them again, which takes it some tenths of a second; it then finds partitions
# that have been added to the topic.
_ROUND = "10 minutes"
_LINGER_MS = "2"
# A refused event is passed on with its text, of which each character may need six.
_LARGEST_MESSAGE = 16 * 2**20
_KEPT_MS = 15 * 60_000
_KEPT_BYTES = 256 * 2**20
_SEGMENT_BYTES = 32 * 2**20
# Spark has milliseconds' work with what arrives: after so long without any of it, something is wrong that it does not notice.
_STALLED_SECONDS = 15.0
# Until it has had any, Java has yet to compile what does it, which takes long where others want the processor, too.
_STALLED_AT_FIRST_SECONDS = 45.0

_CHECKED = pa.schema(
    [
        ("good", pa.bool_()),
        ("dedup_key", pa.string()),
        ("payload", pa.string()),
        ("products", EVENTS.schema.field("products").type),
        *(EVENTS.schema.field(name) for name in EVENTS.schema.names if name not in ("products", "dt")),
    ]
)
_MOMENTS = [field.name for field in _CHECKED if pa.types.is_timestamp(field.type)]
_AS_JSON = pa.schema([(field.name, pa.int64() if field.name in _MOMENTS else field.type) for field in _CHECKED])
_OF_REFUSED = ("good", "payload", "source", "partition", "offset", "received_at")


class Live:
    """The events after a place in the topic, as they arrive. Use as a context manager.

    Raises:
        UnavailableError: the broker does not let us make the topic for checked events.
    """

    def __init__(self, spark: SparkSession, start: Offsets, checkpoint: Path) -> None:
        """Begin to read.

        Args:
            spark: a session with as many threads as the topic has partitions.
            start: the first offsets wanted.
            checkpoint: an empty folder, good for this run only.
        """
        from kafka import KafkaConsumer, TopicPartition

        kafka = get_settings().kafka
        ensure_topic(len(start))
        self._run = uuid.uuid4().bytes
        self._place = dict(start)
        self._pipe: list[TopicPartition] = [TopicPartition(kafka.checked_topic, partition) for partition in start]
        self._events: list[TopicPartition] = [TopicPartition(kafka.events_topic, partition) for partition in start]
        self._came, self._doubtful, self._patience = time.monotonic(), False, _STALLED_AT_FIRST_SECONDS
        self._consumer: KafkaConsumer = KafkaConsumer(
            bootstrap_servers=kafka.servers,
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=_LARGEST_MESSAGE,
        )
        self._consumer.assign(self._pipe)
        for partition, end in self._consumer.end_offsets(self._pipe).items():
            self._consumer.seek(partition, end)
        checked = archivable(parse(event_stream(spark, start), Limits.configured()))
        options = {
            "kafka.bootstrap.servers": kafka.servers,
            "kafka.linger.ms": _LINGER_MS,
            "kafka.max.request.size": str(_LARGEST_MESSAGE),
            "topic": kafka.checked_topic,
            "checkpointLocation": str(checkpoint),
        }
        writer = _messages(checked, self._run).writeStream.queryName("events").format("kafka").options(**options)
        self._query = writer.outputMode("update").trigger(realTime=_ROUND).start()  # type: ignore[call-overload]

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self._query.stop()
        self._consumer.close()

    @property
    def started(self) -> bool:
        """Whether Spark's tasks are on their way."""
        return bool(self._query.status["isTriggerActive"])

    def waiting(self) -> int:
        """How many checked events have not been read."""
        ends = {partition: self._consumer.highwater(partition) for partition in self._pipe}
        return sum(end - self._consumer.position(partition) for partition, end in ends.items() if end is not None)

    def read(self, seconds: float) -> tuple[pa.Table, Offsets] | None:
        """What has come, waiting for it for some seconds if need be.

        Returns:
            Rows of :func:`ingestion.events.archive.archivable` and where in Kafka they end, or None.

        Raises:
            pyspark.errors.PySparkException: Spark's query has failed.
            kafka.errors.KafkaError: the consumer has, or what it wanted next has been deleted.
            UnavailableError: events are waiting in Kafka, and none come.
        """
        if (failure := self._query.exception()) is not None:
            raise failure
        limit = get_settings().stream.max_events_per_batch
        records = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=limit)
        values = [one.value for part in records.values() for one in part if one.key == self._run]
        if not values:
            self._check_stalled()
            return None
        self._came, self._doubtful, self._patience = time.monotonic(), False, _STALLED_SECONDS
        rows, self._place = unread(decode(values), self._place)
        return (rows, dict(self._place)) if rows.num_rows else None

    def _check_stalled(self) -> None:
        if time.monotonic() - self._came > self._patience:
            ends = self._consumer.end_offsets(self._events)
            waiting = any(end > self._place[place.partition] for place, end in ends.items())
            # Once is no proof: they may have arrived just now, or Spark may be starting on a busy machine.
            if waiting and self._doubtful:
                raise UnavailableError(f"events have been waiting in Kafka for {self._patience:.0f} s, and none comes")
            self._came, self._doubtful = time.monotonic(), waiting


def _messages(checked: DataFrame, run: bytes) -> DataFrame:
    """Rows of :func:`ingestion.events.archive.archivable` as messages, for the partition that they came from."""
    columns = {name: F.unix_micros(name) if name in _MOMENTS else F.col(name) for name in _CHECKED.names}
    whole = F.struct(*(column.alias(name) for name, column in columns.items()))
    refused = F.struct(*(columns[name].alias(name) for name in _OF_REFUSED))
    text = F.when(F.col("good"), F.to_json(whole)).otherwise(F.to_json(refused))
    return checked.select(F.lit(run).alias("key"), text.alias("value"), "partition")


def decode(values: list[bytes]) -> pa.Table:
    """The rows in messages of :func:`_messages`."""
    lines = b"\n".join(values)
    read = pa.json.read_json(
        io.BytesIO(lines),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pa.json.ParseOptions(explicit_schema=_AS_JSON, unexpected_field_behavior="ignore"),
    )
    return read.select(_CHECKED.names).cast(_CHECKED)


def unread(rows: pa.Table, place: Offsets) -> tuple[pa.Table, Offsets]:
    """The rows, in their order, that lie beyond a place and beyond those before them; and where they end.

    On a cluster, a task whose executor was lost begins anew, and passes on again what that one had passed on.
    """
    partitions, following = rows["partition"].to_numpy(), rows["offset"].to_numpy() + 1
    fresh, reached = np.zeros(rows.num_rows, bool), dict(place)
    for partition in np.unique(partitions).tolist():
        mine = partitions == partition
        furthest = np.maximum.accumulate(np.concatenate([[place.get(partition, 0)], following[mine]]))
        fresh[mine] = following[mine] > furthest[:-1]
        reached[partition] = int(furthest[-1])
    return rows if fresh.all() else rows.filter(pa.array(fresh)), reached


def ensure_topic(partitions: int) -> None:
    """Make the topic for checked events, with at least so many partitions."""
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError, TopicAlreadyExistsError

    kafka = get_settings().kafka
    configuration = {
        "retention.ms": str(_KEPT_MS),
        "retention.bytes": str(_KEPT_BYTES),
        "segment.bytes": str(_SEGMENT_BYTES),
        "max.message.bytes": str(_LARGEST_MESSAGE),
    }
    try:
        admin = KafkaAdminClient(bootstrap_servers=kafka.servers, bootstrap_timeout_ms=10_000)
        try:
            topic = kafka.new_topic(partitions, configuration)
            admin.create_topics({kafka.checked_topic: topic}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            [described] = admin.describe_topics([kafka.checked_topic])
            if len(described["partitions"]) < partitions:
                admin.create_partitions({kafka.checked_topic: partitions})
        finally:
            admin.close()
    except KafkaError as error:
        raise UnavailableError(
            f"the topic {kafka.checked_topic}, which the stream passes checked events through, cannot be made at "
            f"{kafka.servers}: {error}. Make it with {partitions} partitions, or name another "
            "(SHELFWISE_KAFKA__CHECKED_TOPIC)"
        ) from error
