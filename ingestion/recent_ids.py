"""Ids by which duplicates are known: what a query that starts with an empty memory must be told first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from feature_repo.contract import ORDERED
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion import offsets
from ingestion.parsing import parse
from ingestion.sources import events_between

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession


def stored_keys(spark: SparkSession, where: Column | None = None) -> DataFrame:
    """``dedup_key`` of the stored events, as :func:`ingestion.parsing.parse` has it."""
    order_key = F.concat(F.lit("order:"), F.col("order_id"))
    key = F.when(F.col("event") == ORDERED, order_key).otherwise(F.col("message_id"))
    stored = spark.read.format("delta").load(EVENTS.uri)
    return (stored if where is None else stored.where(where)).select(key.alias("dedup_key"))


def recent_ids(spark: SparkSession, start: offsets.Offsets) -> DataFrame:
    """``dedup_key`` of the events before ``start`` that arrived within the horizon for duplicates.

    Most are in the events table, whether it reaches less or more far than ``start``; the others are taken from Kafka.
    """
    settings = get_settings()
    recent = F.col("received_at") > F.expr(f"current_timestamp() - interval {settings.stream.duplicate_horizon}")
    before = F.col("partition").isNull()  # those that came from files
    for partition, offset in start.items():
        before |= (F.col("partition") == partition) & (F.col("offset") < offset)
    keys = stored_keys(spark, recent & before)
    first, _ = offsets.in_kafka()
    covered = offsets.newest(EVENTS) or {}
    begin = {p: min(max(covered.get(p, offset), offset), start[p]) for p, offset in first.items()}
    if begin != start:
        raw = events_between(spark, begin, start).where(recent)
        parsed = parse(raw, settings.stream.future_tolerance_seconds)
        keys = keys.unionByName(parsed.where("good").select("dedup_key"))
    return keys
