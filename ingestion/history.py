"""The declared aggregates over all of history, with Spark batch: what the stream would have written at each moment.

Customers get a row at each moment at which they did something; items, which are concerned by far more events, a row per
hour in which something happened. Each row holds values as of its own last event, so that a point-in-time join never sees
the future. Weights are relative to the latest event, so that snapshots older than a thousand of a sum's half-lives hold 0
for it (at the shortest half-life, 250 days).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyspark.sql import Window
from pyspark.sql import functions as F

from feature_repo.aggregates import RECENT, Entity
from feature_repo.tables import ACTIVITY, EVENTS
from ingestion import offsets
from ingestion.contributions import KEY, SLOTS, as_of_last_event, contributes, contributions, feature_columns

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

ITEM_SNAPSHOT_MS = 3_600_000


def recompute(spark: SparkSession, covered: offsets.Offsets | None) -> dict[Entity, int]:
    """Replace the activity tables by what the stored events give; returns rows written by entity.

    Args:
        spark: the session.
        covered: how far in Kafka the stored events reach; the stream goes on from there.
    """
    events = spark.read.format("delta").load(EVENTS.uri).where(contributes())
    newest = events.agg(F.max("timestamp")).first()
    end = newest[0].timestamp() if newest and newest[0] else 0.0
    steps = _steps(events, end).persist()
    written = {}
    for entity, table in ACTIVITY.items():
        rows = _values(steps.where(F.col("entity") == entity.value), entity, end)
        rows = rows.withColumn("created", F.current_timestamp()).select(*feature_columns(entity))
        writer = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
        if covered:
            writer = writer.option("userMetadata", offsets.to_json(covered))
        writer.save(table.uri)
        written[entity] = spark.read.format("delta").load(table.uri).count()
    steps.unpersist()
    return written


def _steps(events: DataFrame, end: float) -> DataFrame:
    """Contributions summed per key and moment (customers: millisecond; items: hour), with weights relative to ``end``."""
    rows = contributions(events, end)
    moment = F.when(F.col("entity") == Entity.ITEM.value, F.floor(F.col("ts_ms") / ITEM_SNAPSHOT_MS))
    element = F.when(F.col("action").isNotNull(), F.struct("ts_ms", "product_id", "action"))
    return rows.groupBy(*KEY, moment.otherwise(F.col("ts_ms")).alias("moment")).agg(
        F.max("ts_ms").alias("ts_ms"),
        F.sum("counted").alias("event_count"),
        F.collect_list(element).alias("elements"),
        *(F.sum(slot).alias(slot) for slot in SLOTS),
    )


def _values(steps: DataFrame, entity: Entity, end: float) -> DataFrame:
    """Running totals per key, as of each step."""
    so_far = Window.partitionBy("key").orderBy("moment").rowsBetween(Window.unboundedPreceding, 0)
    running = steps.select(
        *KEY,
        "ts_ms",
        F.sum("event_count").over(so_far).alias("event_count"),
        F.lit(1).alias("live"),
        _recent(entity).alias("recent"),
        *(F.sum(slot).over(so_far).alias(slot) for slot in SLOTS),
    )
    return as_of_last_event(running, end)


def _recent(entity: Entity) -> Column:
    """The last k elements at each step, newest first; every step of a customer that has any holds at least one."""
    if entity is Entity.ITEM:
        return F.lit(None).cast("array<struct<product_id:string,action:int,ts_ms:bigint>>")
    last_steps = Window.partitionBy("key").orderBy("moment").rowsBetween(1 - RECENT.k, 0)
    newest = F.slice(F.sort_array(F.flatten(F.collect_list("elements").over(last_steps)), asc=False), 1, RECENT.k)
    return F.transform(newest, lambda x: F.struct(x.product_id, x.action, x.ts_ms))
