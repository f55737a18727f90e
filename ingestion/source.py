"""The Spark query: events from Kafka, checked and normalised by Spark, in Arrow tables for :mod:`ingestion.intake`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from ingestion import offsets
from ingestion.archive import archivable
from ingestion.offsets import Offsets
from ingestion.parsing import Limits, parse

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

# How Spark is set for small, frequent micro-batches without state.
SPARK = {
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    # The default one bypasses the local file system that the session sets.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
    "spark.sql.streaming.minBatchesToRetain": "10",
    "spark.sql.adaptive.enabled": "false",
    # Inferring constraints from the contract's many conditions takes a second per micro-batch.
    "spark.sql.constraintPropagation.enabled": "false",
    # Small batches spend more time on generating code than it saves them.
    "spark.sql.codegen.wholeStage": "false",
    # These rules copy deterministic expressions into the predicates that they push down: each event's JSON would be
    # decoded fifteen times.
    "spark.sql.optimizer.excludedRules": (
        "org.apache.spark.sql.catalyst.optimizer.PushDownPredicates,"
        "org.apache.spark.sql.catalyst.optimizer.PushPredicateThroughNonJoin"
    ),
}


def start_query(
    spark: SparkSession, start: Offsets, checkpoint: Path, take: Callable[[pa.Table, Offsets], None]
) -> StreamingQuery:
    """Read the events topic from ``start`` on.

    Args:
        spark: the session.
        start: the first offsets wanted.
        checkpoint: an empty folder. It is good for this query only: the tables know how far they reach.
        take: gets the rows of :func:`ingestion.archive.archivable` of each micro-batch and where in Kafka it ends.
    """

    def write(batch: DataFrame, batch_id: int) -> None:
        take(batch.toArrow(), offsets.of_batch(checkpoint, batch_id))

    settings = get_settings()
    checked = archivable(parse(event_stream(spark, start), Limits.configured()))
    writer = checked.writeStream.queryName("events").option("checkpointLocation", str(checkpoint))
    return writer.trigger(processingTime=settings.stream.interval).foreachBatch(write).start()


def read_between(spark: SparkSession, start: Offsets, end: Offsets) -> Iterator[tuple[pa.Table, Offsets]]:
    """The same as :func:`start_query` gives, of a stretch of the topic, in steps of bounded size."""
    settings = get_settings()
    for begin, following in offsets.steps(start, end, settings.stream.max_events_per_batch):
        reader = spark.read.format("kafka").option("subscribe", settings.kafka.events_topic)
        options = {
            "kafka.bootstrap.servers": settings.kafka.servers,
            "startingOffsets": offsets.to_json(begin),
            "endingOffsets": offsets.to_json(following),
        }
        raw = _rows(reader.options(**options).load())
        yield archivable(parse(raw, Limits.configured())).toArrow(), following


def event_stream(spark: SparkSession, start: Offsets) -> DataFrame:
    """The events topic from ``start`` on, as rows for :func:`ingestion.parsing.parse`."""
    settings = get_settings()
    stream = spark.readStream.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {
        "kafka.bootstrap.servers": settings.kafka.servers,
        "startingOffsets": offsets.to_json(start),
        "maxOffsetsPerTrigger": str(settings.stream.max_events_per_batch),
    }
    return _rows(stream.options(**options).load())


def _rows(kafka: DataFrame) -> DataFrame:
    return kafka.select(
        F.col("value").cast("string").alias("value"),
        F.col("timestamp").alias("received_at"),
        F.col("topic").alias("source"),
        "partition",
        "offset",
    )
