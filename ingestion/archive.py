"""Putting checked events where they belong: the events table, the quarantine, the catalogue and the ledger.

The archive query and the backfill both end here, so that an event is treated alike whichever way it came.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
from pyspark.sql import functions as F

from feature_repo.tables import EVENTS, LEDGER, PRODUCT, Table
from ingestion import catalog_store, offsets
from ingestion.appending import append_once
from ingestion.quarantine import quarantine

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

log = logging.getLogger(__name__)
_PLACE = ("source", "partition", "offset")
_FILLED_FROM_CATALOG = ("name", "category", "brand", "price")


@dataclass(frozen=True)
class Accounts:
    """What was taken in: ``accepted`` events of ``source`` in ``batch``."""

    source: str
    batch: str
    accepted: int


@dataclass(frozen=True)
class Outcome:
    """What became of a batch; accepted = processed + quarantined + duplicates."""

    accepted: int
    processed: int
    quarantined: int
    duplicates: int


def archive(
    spark: SparkSession,
    unique: DataFrame,
    accounts: Accounts,
    app_id: str,
    version: int,
    covered: offsets.Offsets | None = None,
) -> Outcome:
    """Write one batch; doing it again with the same ``app_id`` and ``version`` changes nothing.

    Args:
        spark: the session.
        unique: rows of :func:`ingestion.parsing.parse` without duplicates.
        accounts: how many events the batch started from.
        app_id: Delta application id of the writer.
        version: the batch's number within ``app_id``.
        covered: how far in Kafka the batch reaches, recorded with the events.
    """
    unique = unique.persist()
    try:
        counts = unique.agg(
            F.count_if("good").alias("good"),
            F.count_if(~F.col("good")).alias("bad"),
            F.count_if(F.col("good") & _incomplete()).alias("incomplete"),
        ).first()
        assert counts is not None
        good = unique.where("good")
        kept = F.transform("products", lambda p: F.struct(*(p[field.name].alias(field.name) for field in PRODUCT)))
        events = good.withColumn("products", kept)
        if counts.incomplete:
            events = _enriched(spark, events)
        _append(events.withColumn("dt", F.to_date("timestamp")), EVENTS, app_id, version, covered)
        if counts.bad:
            quarantine(unique.where("not good"), app_id, version)
        catalog_store.learn(good)
    finally:
        unique.unpersist()
    duplicates = accounts.accepted - counts.good - counts.bad
    outcome = Outcome(accounts.accepted, counts.good, counts.bad, duplicates)
    _record(accounts, outcome, app_id, version)
    return outcome


def _append(rows: DataFrame, table: Table, app_id: str, version: int, covered: offsets.Offsets | None = None) -> None:
    columns = [F.col(field.name).cast(_spark_type(field.type)) for field in table.schema]
    writer = rows.select(*columns).write.format("delta").mode("append")
    writer = writer.option("txnAppId", f"{app_id}:{table.name}").option("txnVersion", version)
    if covered:
        writer = writer.option("userMetadata", offsets.to_json(covered))
    writer.save(table.uri)


def _spark_type(arrow: pa.DataType) -> str:
    """The Spark SQL name of an Arrow type of the tables."""
    from pyspark.sql.pandas.types import from_arrow_type

    return from_arrow_type(arrow).simpleString()


def _incomplete() -> Column:
    """Whether the tracker left out something of a product that a catalogue would know."""
    missing = F.exists("products", lambda p: p["name"].isNull() | p["category"].isNull() | p["price"].isNull())
    return F.coalesce(missing, F.lit(False))


def _enriched(spark: SparkSession, events: DataFrame) -> DataFrame:
    """Fill in what the tracker left out of each product from the catalogue."""
    catalog = catalog_store.current_rows()
    if catalog.num_rows == 0:
        return events
    known = spark.createDataFrame(catalog.select(["product_id", *_FILLED_FROM_CATALOG]).to_pandas())
    known = known.select("product_id", *(F.col(name).alias(f"known_{name}") for name in _FILLED_FROM_CATALOG))
    # As text, because a null (events from files have no partition) equals nothing in a join.
    events = events.withColumn("place", F.concat_ws(":", *_PLACE))
    lines = events.where(_incomplete()).select("place", F.posexplode("products").alias("line", "p"))
    lines = lines.withColumn("product_id", F.col("p.product_id")).join(F.broadcast(known), "product_id", "left")
    fields = [
        F.coalesce(f"p.{field.name}", f"known_{field.name}").alias(field.name)
        if field.name in _FILLED_FROM_CATALOG
        else F.col(f"p.{field.name}").alias(field.name)
        for field in PRODUCT
    ]
    by_event = lines.select("place", "line", F.struct(*fields).alias("p")).groupBy("place")
    filled = by_event.agg(F.array_sort(F.collect_list(F.struct("line", "p"))).alias("lines"))
    completed = events.where(_incomplete()).drop("products").join(filled, "place")
    completed = completed.withColumn("products", F.col("lines.p")).drop("lines")
    return events.where(~_incomplete()).unionByName(completed)


def _record(accounts: Accounts, outcome: Outcome, app_id: str, version: int) -> None:
    row = {
        "source": accounts.source,
        "batch": accounts.batch,
        "recorded_at": datetime.now(UTC),
        "accepted": outcome.accepted,
        "processed": outcome.processed,
        "quarantined": outcome.quarantined,
        "duplicates": outcome.duplicates,
    }
    append_once(LEDGER, pa.Table.from_pylist([row], schema=LEDGER.schema), f"{app_id}:ledger", version)
