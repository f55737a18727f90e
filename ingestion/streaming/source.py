"""The events topic read by Spark, which checks and normalises the events, a stretch at a time.

This is how the stream catches up with what Kafka holds; :mod:`ingestion.streaming.live` is how it gets events as they arrive.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from ingestion import offsets
from ingestion.events.archive import archivable
from ingestion.events.parsing import Limits, parse
from ingestion.offsets import Offsets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

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


def read_between(spark: SparkSession, start: Offsets, end: Offsets) -> Iterator[tuple[pa.Table, Offsets]]:
    """A stretch of the topic, in steps of bounded size; while one is worked on, the next is read.

    Returns:
        Rows of :func:`ingestion.events.archive.archivable`, and where in Kafka they end.
    """
    pending: Future[pa.Table] | None = None
    reached: Offsets = {}
    with ThreadPoolExecutor(1) as reader:
        for begin, following in offsets.steps(start, end, get_settings().stream.max_events_per_batch):
            read, pending = pending, reader.submit(_read, spark, begin, following)
            if read is not None:
                yield read.result(), reached
            reached = following
        if pending is not None:
            yield pending.result(), reached


def _read(spark: SparkSession, begin: Offsets, following: Offsets) -> pa.Table:
    settings = get_settings()
    reader = spark.read.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {
        "kafka.bootstrap.servers": settings.kafka.servers,
        "startingOffsets": offsets.to_json(begin),
        "endingOffsets": offsets.to_json(following),
    }
    return archivable(parse(_rows(reader.options(**options).load()), Limits.configured())).toArrow()


def event_stream(spark: SparkSession, start: Offsets, further: dict[str, str] | None = None) -> DataFrame:
    """The events topic from ``start`` on, as rows for :func:`ingestion.events.parsing.parse`."""
    settings = get_settings()
    stream = spark.readStream.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {"kafka.bootstrap.servers": settings.kafka.servers, "startingOffsets": offsets.to_json(start)}
    return _rows(stream.options(**options, **(further or {})).load())


def _rows(kafka: DataFrame) -> DataFrame:
    return kafka.select(
        F.col("value").cast("string").alias("value"),
        F.col("timestamp").alias("received_at"),
        F.col("topic").alias("source"),
        "partition",
        "offset",
    )
