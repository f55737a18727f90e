"""The feature query: Kafka to the online and the offline store, in micro-batches of absolute values."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from feature_repo.aggregates import RECENT, Entity, decayed_sums
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, TIMESTAMP
from ingestion import offsets
from ingestion.appending import append_once
from ingestion.contributions import (
    KEY,
    SLOTS,
    aggregated,
    as_of_last_event,
    contributes,
    contributions,
)
from ingestion.generation import Generation
from ingestion.online import push_online
from ingestion.parsing import parse
from ingestion.sources import event_stream, start_seeded

if TYPE_CHECKING:
    from feast import FeatureStore
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

log = logging.getLogger(__name__)


class FeatureQuery:
    """Computes the declared aggregates from the event stream and writes each change to both stores.

    Attributes:
        expired_at: set when an event lies too far from the landmark: the time that the next generation must start from.
    """

    def __init__(self, spark: SparkSession, store: FeatureStore, generation: Generation) -> None:
        self._spark = spark
        self._store = store
        self._generation = generation
        self._writers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="delta")
        self.expired_at: float | None = None

    def start(self) -> StreamingQuery:
        """Start it; it goes on from its checkpoint, or from the generation's seeds."""
        if not self._generation.seeded:
            return self._start(hold=False)
        return start_seeded(self._start, self._generation.checkpoint)

    def _start(self, hold: bool) -> StreamingQuery:
        settings = get_settings()
        writer = (
            _changes(self._spark, self._generation, hold)
            .writeStream.queryName("features")
            .outputMode("update")
            .option("checkpointLocation", str(self._generation.checkpoint))
            .trigger(processingTime="0 seconds" if hold else settings.stream.interval)
            .foreachBatch(self._write)
        )
        return writer.start()

    def _write(self, batch: DataFrame, batch_id: int) -> None:
        rows = batch.toArrow()
        if rows.num_rows == 0:
            return
        latest = pc.max(rows["ts_ms"]).as_py() / 1000
        if latest > self._generation.last_safe_time:
            self.expired_at = latest
            raise RuntimeError("the landmark is too old for these events; the stream starts a new generation")
        covered = offsets.of_batch(self._generation.checkpoint, batch_id)
        tables = {entity: _activity(rows, entity) for entity in Entity}
        # The offline writes run in native threads beside the online ones: a batch takes as long as the slower of them.
        offline = [
            self._writers.submit(append_once, ACTIVITY[entity], table, self._generation.app_id, batch_id, covered)
            for entity, table in tables.items()
        ]
        try:
            for entity, table in tables.items():
                push_online(self._store, ACTIVITY[entity], table)
        finally:
            wait(offline)
        for write in offline:
            write.result()


def _changes(spark: SparkSession, generation: Generation, hold: bool) -> DataFrame:
    """The changed keys of each micro-batch with their values as of their last event."""
    settings = get_settings()
    columns = ("dedup_key", "event", "customer_id", "timestamp", "products")
    parsed = parse(event_stream(spark, generation.start, hold), settings.stream.future_tolerance_seconds)
    events = parsed.where(F.col("good") & contributes()).select(*columns)
    if generation.seeded:
        ids = spark.readStream.schema("dedup_key string").parquet(str(generation.seed_ids))
        events = events.unionByName(ids, allowMissingColumns=True)
    # The memory for duplicates is not bounded by event time: an event may be hours late and is still counted.
    unique = events.dropDuplicates(["dedup_key"]).where("event is not null")
    rows = contributions(unique, generation.landmark)
    if generation.seeded:
        seeded = spark.readStream.schema(spark.read.parquet(str(generation.seed_sums)).schema)
        rows = rows.unionByName(seeded.parquet(str(generation.seed_sums)))
    values = as_of_last_event(aggregated(rows), generation.landmark)
    # A key that only the seeds touched has not changed.
    return values.where("live = 1").select(
        *KEY,
        "ts_ms",
        "event_count",
        F.col("recent.product_id").alias(f"{RECENT.name}_items"),
        F.col("recent.action").alias(f"{RECENT.name}_actions"),
        F.col("recent.ts_ms").alias(f"{RECENT.name}_times"),
        *SLOTS,
    )


def _activity(rows: pa.Table, entity: Entity) -> pa.Table:
    """The rows of one entity in the columns of its activity table."""
    mine = rows.filter(pc.equal(rows["entity"], entity.value))
    milliseconds = mine["ts_ms"]
    now = pa.scalar(datetime.now(UTC), type=TIMESTAMP)
    columns = {
        entity.key: mine["key"],
        "event_timestamp": milliseconds.cast(pa.timestamp("ms", tz="UTC")),
        "created": pa.repeat(now, mine.num_rows),
        "last_event_at": pc.divide(milliseconds.cast(pa.float64()), 1000.0),
    }
    columns |= {aggregate.name: mine[slot] for aggregate, slot in zip(decayed_sums(entity), SLOTS, strict=False)}
    schema = ACTIVITY[entity].schema
    arrays = [columns[name] if name in columns else mine[name] for name in schema.names]
    return pa.table(arrays, names=schema.names).cast(schema)
