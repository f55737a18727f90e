"""Reading Kafka with Spark: the events topic as rows for :func:`ingestion.parsing.parse`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from ingestion import offsets
from ingestion.offsets import Offsets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery


def event_stream(spark: SparkSession, start: Offsets, hold: bool = False) -> DataFrame:
    """The events topic from ``start`` on, as a stream.

    Args:
        spark: the session.
        start: the first offsets wanted.
        hold: give nothing yet, so that a query takes in its other sources first.
    """
    settings = get_settings()
    stream = spark.readStream.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {"kafka.bootstrap.servers": settings.kafka.servers, "startingOffsets": offsets.to_json(start)}
    if hold:
        # Kafka waits for so many events, or so many days since the epoch; this is as close as Spark has to "not now".
        options |= {"minOffsetsPerTrigger": str(2**62), "maxTriggerDelay": "100000d"}
    else:
        options["maxOffsetsPerTrigger"] = str(settings.stream.max_events_per_batch)
    return _rows(stream.options(**options).load())


def events_between(spark: SparkSession, start: Offsets, end: Offsets) -> DataFrame:
    """The events topic from ``start`` up to but without ``end``."""
    settings = get_settings()
    reader = spark.read.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {
        "kafka.bootstrap.servers": settings.kafka.servers,
        "startingOffsets": offsets.to_json(start),
        "endingOffsets": offsets.to_json(end),
    }
    return _rows(reader.options(**options).load())


def _rows(kafka: DataFrame) -> DataFrame:
    return kafka.select(
        F.col("value").cast("string").alias("value"),
        F.col("timestamp").alias("received_at"),
        F.col("topic").alias("source"),
        "partition",
        "offset",
    )


def start_seeded(start: Callable[[bool], StreamingQuery], checkpoint: Path) -> StreamingQuery:
    """Start a query that must have taken in its seeds before its first event.

    In one micro-batch with the seeds, an event would count as the first of its id and its seed as the duplicate.

    Args:
        start: starts the query; the argument says whether to :func:`hold <event_stream>` Kafka.
        checkpoint: the query's checkpoint, which tells whether the seeds have been taken in.
    """
    # Spark keeps the last commits only.
    if not any((checkpoint / "commits").glob("[0-9]*")):
        seeding = start(True)
        seeding.processAllAvailable()
        seeding.stop()
    return start(False)
