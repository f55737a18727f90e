"""Reading Kafka with Spark: the events topic as rows for :func:`ingestion.parsing.parse`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from ingestion import offsets
from ingestion.offsets import Offsets

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def event_stream(spark: SparkSession, start: Offsets) -> DataFrame:
    """The events topic from ``start`` on, as a stream."""
    settings = get_settings()
    stream = spark.readStream.format("kafka").option("subscribe", settings.kafka.events_topic)
    options = {
        "kafka.bootstrap.servers": settings.kafka.servers,
        "startingOffsets": offsets.to_json(start),
        "maxOffsetsPerTrigger": str(settings.stream.max_events_per_batch),
    }
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
