"""Recorded events into the offline store: checked, completed, each once, and entered into the ledger."""

from __future__ import annotations

import tempfile
import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from rich.progress import track

from feature_repo.tables import EVENTS, LEDGER, QUARANTINE
from ingestion.catalog import store as catalog_store
from ingestion.erased_rows import FILES, erased_rows
from ingestion.events.archive import archivable, event_rows, ledger_row
from ingestion.events.enrichment import enriched
from ingestion.events.parsing import Limits, parse
from ingestion.events.recent_ids import STORED_KEY
from ingestion.privacy.tombstones import Tombstones
from ingestion.quarantine.writing import publish, refused_rows
from ingestion.recorded.files import EventFiles
from ingestion.session import work_folder

_EVENTS_PER_PART = 50_000
_FILES = "file:"


@dataclass(frozen=True)
class Selection:
    """Which events are wanted.

    Attributes:
        since, until: those that happened from the one time on and before the other; None: without a limit.
        shift: seconds by which all times are moved.
    """

    since: datetime | None = None
    until: datetime | None = None
    shift: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What became of the events of a file; accepted = processed + quarantined + duplicates."""

    accepted: int
    processed: int
    quarantined: int

    @property
    def duplicates(self) -> int:
        return self.accepted - self.processed - self.quarantined


def load(spark: SparkSession, files: EventFiles, source: Path, selection: Selection, offline_only: bool) -> Outcome:
    """Check, clean and store the events of ``files`` that are not stored yet.

    Args:
        source: what was asked for, which is how the ledger names it.
        offline_only: nothing goes to Redis, and refused events do not go to the quarantine's topic.
    """
    tombstones = Tombstones.load()
    _settle_accounts()
    processed = quarantined = 0
    with tempfile.TemporaryDirectory(prefix="backfill-", dir=work_folder()) as folder:
        accepted = _prepare(spark, files, selection, Path(folder) / "events")
        for part in track(sorted(Path(folder).glob("events/*.parquet")), "  storing", transient=True):
            rows = tombstones.refused(pq.read_table(part))
            events = event_rows(rows.filter(rows["good"]))
            refused = refused_rows(rows.filter(pc.invert(rows["good"])), tombstones)
            catalog_store.learn(events, offline_only)
            write_deltalake(EVENTS.uri, enriched(events), mode="append")
            if refused.num_rows:
                if not offline_only:
                    publish(refused)
                write_deltalake(QUARANTINE.uri, refused, mode="append")
            processed, quarantined = processed + events.num_rows, quarantined + refused.num_rows
        row = ledger_row(f"{_FILES}{source}", str(uuid.uuid4()), accepted, processed, quarantined)
        write_deltalake(LEDGER.uri, row, mode="append")
    return Outcome(accepted, processed, quarantined)


def _settle_accounts() -> None:
    """Enter into the ledger what a backfill stored that was killed before it could do so itself."""
    stored = [
        DeltaTable(table.uri).to_pyarrow_dataset().count_rows(filter=pc.field("partition").is_null())
        for table in (EVENTS, QUARANTINE)
    ]
    stored[0] += erased_rows(DeltaTable(EVENTS.uri), FILES)
    ledger = DeltaTable(LEDGER.uri).to_pyarrow_table()
    entered = ledger.filter(pc.starts_with(ledger["source"], _FILES))
    processed, quarantined = (
        count - (pc.sum(entered[name]).as_py() or 0)
        for count, name in zip(stored, ("processed", "quarantined"), strict=True)
    )
    if processed or quarantined:
        row = ledger_row(f"{_FILES}interrupted", str(uuid.uuid4()), processed + quarantined, processed, quarantined)
        write_deltalake(LEDGER.uri, row, mode="append")


def _prepare(spark: SparkSession, files: EventFiles, selection: Selection, folder: Path) -> int:
    """Check the events of ``files`` and leave those to be stored in ``folder``, in parts of bounded size.

    Returns:
        How many events there were, the duplicates included.
    """
    parsed = parse(_raw(spark, files), Limits.configured())
    # The rows are numbered as they are read: kept, so that a second pass sees the same numbers.
    parsed = _selected(parsed, selection).persist(StorageLevel.DISK_ONLY)
    accepted = parsed.count()
    # Of two reports of an order the first counts, as in the stream.
    earliest = Window.partitionBy("dedup_key").orderBy("timestamp", "source", "offset")
    stored = spark.read.format("delta").load(EVENTS.uri).selectExpr(STORED_KEY)
    good = parsed.where("good").withColumn("rank", F.row_number().over(earliest))
    good = good.where("rank = 1").drop("rank").join(stored, "dedup_key", "left_anti")
    kept = spark.read.format("delta").load(QUARANTINE.uri).selectExpr("source", "offset", "payload AS value")
    refused = parsed.where("not good").join(kept, ["source", "offset", "value"], "left_anti")
    unique = archivable(good.unionByName(refused))
    writer = unique.repartition(F.to_date("timestamp")).write.option("maxRecordsPerFile", _EVENTS_PER_PART)
    writer.parquet(str(folder))
    parsed.unpersist()
    return accepted


def _raw(spark: SparkSession, files: EventFiles) -> DataFrame:
    """The files' rows in the shape that comes from Kafka: JSON text with its place of origin."""
    paths = [str(path) for path in files.files]
    if files.format == "parquet":
        rows = spark.read.option("mergeSchema", "true").parquet(*paths)
        value = F.to_json(F.struct("*"), {"timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSXXX"})
    else:
        rows = spark.read.text(paths)
        value = F.col("value")
    place = F.regexp_extract("_metadata.file_path", "((dt=[^/]+/)?[^/]+)$", 1)
    return rows.select(
        value.alias("value"),
        F.current_timestamp().alias("received_at"),
        F.concat(F.lit(_FILES), place).alias("source"),
        F.lit(None).cast("int").alias("partition"),
        F.monotonically_increasing_id().alias("offset"),
    )


def _selected(parsed: DataFrame, selection: Selection) -> DataFrame:
    """The wanted span of time, moved; events without a usable time are kept, for the quarantine."""
    since, until = selection.since, selection.until
    time_of = F.col("timestamp")
    if since:
        parsed = parsed.where(time_of.isNull() | (time_of >= F.lit(since)))
    if until:
        parsed = parsed.where(time_of.isNull() | (time_of < F.lit(until)))
    return parsed.withColumn("timestamp", F.timestamp_millis(F.unix_millis("timestamp") + int(selection.shift * 1000)))
