"""Ids by which duplicates are known: what a query that starts with an empty memory must be told first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyspark.sql import functions as F

from feature_repo.contract import ORDERED
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion import offsets
from ingestion.parsing import parse
from ingestion.sources import events_between

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# ``dedup_key`` of a stored event, as :func:`ingestion.parsing.parse` has it; good in Spark and in DuckDB.
STORED_KEY = f"CASE WHEN event = '{ORDERED}' THEN concat('order:', order_id) ELSE message_id END AS dedup_key"


def write_recent_ids(spark: SparkSession, start: offsets.Offsets, folder: Path) -> None:
    """Write ``dedup_key`` of the events before ``start`` that arrived within the horizon for duplicates, as Parquet.

    Most are in the events table, whether it reaches less or more far than ``start``; the others are taken from Kafka.
    """
    ids = [_stored(start)]
    covered = offsets.reachable(offsets.newest(EVENTS) or {})
    begin = {partition: min(offset, start[partition]) for partition, offset in covered.items()}
    if begin != start:
        settings = get_settings().stream
        raw = events_between(spark, begin, start)
        raw = raw.where(F.col("received_at") > F.expr(f"current_timestamp() - interval {settings.duplicate_horizon}"))
        parsed = parse(raw, settings.future_tolerance_seconds)
        ids.append(parsed.where("good").select("dedup_key").toArrow())
    folder.mkdir(parents=True)
    pq.write_table(pa.concat_tables(ids), folder / "ids.parquet")


def _stored(start: offsets.Offsets) -> pa.Table:
    before = " OR ".join(f'(partition = {p} AND "offset" < {offset})' for p, offset in start.items())
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", DeltaTable(EVENTS.uri).to_pyarrow_dataset())
        return connection.sql(
            f"""
            SELECT {STORED_KEY} FROM events
            WHERE received_at > now() - INTERVAL '{get_settings().stream.duplicate_horizon}'
                AND (partition IS NULL OR {before})  -- null: it came from a file
            """
        ).to_arrow_table()
