"""From events to the declared aggregates, in native Spark SQL: shared by the stream and the backfill.

Each event becomes one contribution per entity that it says something of. Contributions of both entities share numbered
columns (``s0``, ``s1``, ...: the j-th declared sum of the row's entity), so that one aggregation keeps all features.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from feature_repo.aggregates import ACTION_OF_EVENT, RECENT, DecayedSum, Entity, decayed_sums

SLOTS = [f"s{j}" for j in range(max(len(decayed_sums(entity)) for entity in Entity))]
KEY = ["entity", "key"]
_CUSTOMER_EVENTS = sorted({a.event for a in decayed_sums(Entity.CUSTOMER)} | set(RECENT.events))
_ITEM_EVENTS = sorted({a.event for a in decayed_sums(Entity.ITEM)})
CONTRIBUTING_EVENTS = sorted({*_CUSTOMER_EVENTS, *_ITEM_EVENTS})


def contributes() -> Column:
    """Whether an event changes any feature."""
    return (F.col("type") == "track") & F.col("event").isin(CONTRIBUTING_EVENTS) & (F.size("products") > 0)


def contributions(events: DataFrame, landmark: float) -> DataFrame:
    """One row per entity that an event says something of.

    Args:
        events: rows with ``event``, ``customer_id``, ``timestamp`` and ``products``.
        landmark: epoch seconds that forward-decay weights are relative to.

    Returns:
        ``entity``, ``key``, ``ts_ms``, ``counted`` (1 where the entity's event count grows), ``product_id`` and
        ``action`` (of customers' interactions, else null), ``live`` (1: came from an event) and the slots, holding
        weight * 2^((t - landmark) / half-life).
    """
    line = F.posexplode("products").alias("line", "product")
    lines = events.select("event", "customer_id", F.unix_millis("timestamp").alias("ts_ms"), line)
    of_customer, of_item = F.col("event").isin(_CUSTOMER_EVENTS), F.col("event").isin(_ITEM_EVENTS)
    both = F.array(F.lit(Entity.CUSTOMER.value), F.lit(Entity.ITEM.value))
    entities = F.when(of_customer & of_item, both)
    entities = entities.when(of_customer, F.array(F.lit(Entity.CUSTOMER.value)))
    rows = lines.withColumn("entity", F.explode(entities.otherwise(F.array(F.lit(Entity.ITEM.value)))))
    is_customer = F.col("entity") == Entity.CUSTOMER.value
    action = F.coalesce(*(F.when(F.col("event") == name, code.value) for name, code in ACTION_OF_EVENT.items()))
    # A customer did one thing however many products it was about; an item was concerned once per line.
    counted = F.when(is_customer, F.when(F.col("line") == 0, 1).otherwise(0)).otherwise(1)
    return rows.select(
        "entity",
        F.when(is_customer, F.col("customer_id")).otherwise(F.col("product.product_id")).alias("key"),
        "ts_ms",
        counted.cast("long").alias("counted"),
        F.when(is_customer, F.col("product.product_id")).alias("product_id"),
        F.when(is_customer, action).cast("int").alias("action"),
        F.lit(1).alias("live"),
        *(_slot(j, landmark).alias(slot) for j, slot in enumerate(SLOTS)),
    )


def aggregated(rows: DataFrame) -> DataFrame:
    """Fold contributions: plain sums, a maximum and the last k, per entity and key."""
    order = F.struct("ts_ms", "product_id", "action")
    newest = F.max_by(F.struct("product_id", "action", "ts_ms"), F.when(F.col("action").isNotNull(), order), RECENT.k)
    return rows.groupBy(*KEY).agg(
        F.max("ts_ms").alias("ts_ms"),
        F.sum("counted").alias("event_count"),
        F.max("live").alias("live"),
        newest.alias("recent"),
        *(F.sum(slot).alias(slot) for slot in SLOTS),
    )


def as_of_last_event(folded: DataFrame, landmark: float) -> DataFrame:
    """Turn sums relative to the landmark into values as of each row's last event; slots become 0 where nothing was."""
    age = F.col("ts_ms") / 1000 - F.lit(landmark)
    return folded.select(
        *KEY,
        "ts_ms",
        "event_count",
        "live",
        "recent",
        *(_scaled(slot, _half_life(j), age).alias(slot) for j, slot in enumerate(SLOTS)),
    )


def seeds(rows: DataFrame, landmark: float) -> DataFrame:
    """Contributions that stand for values already computed, the inverse of :func:`as_of_last_event`.

    A row gives one contribution with its sums and one for each element of its last-k sequence. A plain sum over these
    and later contributions is the same as a sum over all events ever.
    """
    age = F.lit(landmark) - F.col("ts_ms") / 1000
    zero = [F.lit(None).cast("double").alias(slot) for slot in SLOTS]
    sums = rows.select(
        *KEY,
        "ts_ms",
        F.col("event_count").alias("counted"),
        F.lit(None).cast("string").alias("product_id"),
        F.lit(None).cast("int").alias("action"),
        F.lit(0).alias("live"),
        *(_scaled(slot, _half_life(j), age).alias(slot) for j, slot in enumerate(SLOTS)),
    )
    element = rows.select(*KEY, F.explode("recent").alias("x"))
    sequence = element.select(
        *KEY,
        "x.ts_ms",
        F.lit(0).cast("long").alias("counted"),
        "x.product_id",
        "x.action",
        F.lit(0).alias("live"),
        *zero,
    )
    return sums.unionByName(sequence)


def feature_columns(entity: Entity) -> list[Column]:
    """The columns of an entity's activity table, from a row of :func:`as_of_last_event` plus ``created``."""
    columns = [
        F.col("key").alias(entity.key),
        F.timestamp_millis("ts_ms").alias("event_timestamp"),
        F.col("created"),
        (F.col("ts_ms") / 1000).alias("last_event_at"),
        F.col("event_count"),
        *(F.col(SLOTS[j]).alias(aggregate.name) for j, aggregate in enumerate(decayed_sums(entity))),
    ]
    if entity is Entity.CUSTOMER:
        columns += [
            F.col("recent.product_id").alias(f"{RECENT.name}_items"),
            F.col("recent.action").alias(f"{RECENT.name}_actions"),
            F.col("recent.ts_ms").alias(f"{RECENT.name}_times"),
        ]
    return columns


def from_feature_columns(entity: Entity, table: DataFrame) -> DataFrame:
    """The inverse of :func:`feature_columns`: ``entity``, ``key``, ``ts_ms``, ``event_count``, ``recent`` and slots."""
    sums = {aggregate.name: SLOTS[j] for j, aggregate in enumerate(decayed_sums(entity))}
    unused = [F.lit(None).cast("double").alias(slot) for slot in SLOTS[len(sums) :]]
    element = "array<struct<product_id:string,action:int,ts_ms:bigint>>"
    if entity is Entity.CUSTOMER:
        parts = [f"{RECENT.name}_{suffix}" for suffix in ("items", "actions", "times")]
        recent = F.arrays_zip(*parts).cast(element)
    else:
        recent = F.lit(None).cast(element)
    return table.select(
        F.lit(entity.value).alias("entity"),
        F.col(entity.key).alias("key"),
        F.unix_millis("event_timestamp").alias("ts_ms"),
        "event_count",
        recent.alias("recent"),
        *(F.col(name).alias(slot) for name, slot in sums.items()),
        *unused,
    )


def _slot(j: int, landmark: float) -> Column:
    """The j-th slot's contribution: that of the j-th declared sum of whichever entity the row is about."""
    value: Column | None = None
    for entity, aggregate in _slot_aggregates(j):
        first_line = F.col("line") == 0 if entity is Entity.CUSTOMER and aggregate.value is None else F.lit(True)
        applies = (F.col("entity") == entity.value) & (F.col("event") == aggregate.event) & first_line
        weight = (
            F.coalesce(F.col(f"product.{aggregate.value}"), F.lit(0)).cast("double") if aggregate.value else F.lit(1.0)
        )
        growth = math.log(2) / aggregate.half_life_seconds
        scaled = weight * F.exp((F.col("ts_ms") / 1000 - F.lit(landmark)) * F.lit(growth))
        value = F.when(applies, scaled) if value is None else value.when(applies, scaled)
    assert value is not None
    return value


def _slot_aggregates(j: int) -> Iterator[tuple[Entity, DecayedSum]]:
    for entity in Entity:
        if j < len(decayed_sums(entity)):
            yield entity, decayed_sums(entity)[j]


def _half_life(j: int) -> Column:
    """Seconds, as the row's entity declares them for the j-th slot."""
    value: Column | None = None
    for entity, aggregate in _slot_aggregates(j):
        applies, seconds = F.col("entity") == entity.value, F.lit(aggregate.half_life_seconds)
        value = F.when(applies, seconds) if value is None else value.when(applies, seconds)
    assert value is not None
    return value


def _scaled(slot: str, half_life: Column, age: Column) -> Column:
    """``slot`` decayed by ``age`` seconds (grown, where negative).

    The exponent is clipped and zero stays zero, so that a sum that has decayed beyond a double's range is 0, not NaN.
    """
    exponent = F.greatest(F.lit(-1000.0), F.least(F.lit(1000.0), -age / half_life))
    value = F.coalesce(F.col(slot), F.lit(0.0))
    return F.when(value == 0, F.lit(0.0)).otherwise(value * F.pow(F.lit(2.0), exponent))
