"""``python -m ingestion backfill PATH``: bulk history into the offline store, and its features into both."""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from ingestion.archive import Outcome
    from ingestion.event_files import EventFiles

_SPARK = {
    "spark.sql.shuffle.partitions": "16",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
_EVENTS_PER_PART = 50_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="PATH",
        help="a Parquet or JSONL(.gz) file of contract events, or a folder of files or `dt=` partitions",
    )
    parser.add_argument(
        "--from", dest="since", type=datetime.fromisoformat, help="take events from this time on (ISO 8601)"
    )
    parser.add_argument("--until", type=datetime.fromisoformat, help="take events before this time (ISO 8601)")
    parser.add_argument("--shift", type=float, default=0.0, metavar="SECONDS", help="move all times by so many seconds")
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="without PATH: compute all features anew from the stored events, as after a change of their definitions",
    )
    parser.epilog = (
        "Events that are stored already are recognised by their ids, so that a backfill can be repeated. A running stream "
        "pauses meanwhile (Kafka keeps what arrives) and goes on from the new history."
    )


def run(args: argparse.Namespace) -> int:
    if (args.path is None) != args.recompute:
        raise InputError("give a PATH to load, or --recompute to compute features anew from the stored events")
    from ingestion.event_files import discover

    files = discover(args.path) if args.path else None
    from feature_repo.tables import EVENTS
    from ingestion import history, offsets
    from ingestion.archive_query import discard_archive_checkpoint
    from ingestion.generation import discard_generation
    from ingestion.locks import stream_paused
    from ingestion.online import open_applied_store, push_latest
    from ingestion.session import open_spark

    with _step("starting Spark"):
        store = open_applied_store()
        spark = open_spark("shelfwise-backfill", _SPARK)
    try:
        with stream_paused():
            if files:
                with _step(f"loading events from {args.path}"):
                    outcome = load(spark, files, args)
                print(
                    f"{outcome.accepted:,} accepted = {outcome.processed:,} processed + "
                    f"{outcome.quarantined:,} quarantined + {outcome.duplicates:,} duplicates"
                )
            # Whatever ends this, the stream must not go on from what it knew before.
            discard_generation()
            discard_archive_checkpoint()
            with _step("computing features over all stored events"):
                covered = offsets.newest(EVENTS)
                rows = history.recompute(spark, covered)
            print(", ".join(f"{count:,} {entity.value} rows" for entity, count in rows.items()))
            for entity in rows:
                with _step(f"pushing the latest {entity.value} features online"):
                    push_latest(store, entity)
    finally:
        spark.stop()
    return 0


def load(spark: SparkSession, files: EventFiles, args: argparse.Namespace) -> Outcome:
    """Check, clean and store the events of ``files`` that are not stored yet."""
    import pyarrow.parquet as pq
    from rich.progress import track

    from feature_repo.tables import EVENTS
    from ingestion import offsets
    from ingestion.archive import Accounts, Outcome, archive

    batch, place = str(uuid.uuid4()), offsets.newest(EVENTS)
    with tempfile.TemporaryDirectory(prefix="backfill-", dir=_folder()) as folder:
        accepted = _prepare(spark, files, args, Path(folder) / "events")
        parts = sorted(Path(folder).glob("events/*.parquet"))
        duplicates = accepted - sum(pq.read_metadata(part).num_rows for part in parts)
        processed = quarantined = 0
        for number, part in enumerate(track(parts, "  storing", transient=True)):
            rows = pq.read_table(part)
            taken = rows.num_rows + (duplicates if number == 0 else 0)
            done = archive(rows, Accounts(str(args.path), f"{batch}:{number}", taken), batch, number, place)
            processed, quarantined = processed + done.processed, quarantined + done.quarantined
    return Outcome(accepted, processed, quarantined, accepted - processed - quarantined)


def _prepare(spark: SparkSession, files: EventFiles, args: argparse.Namespace, folder: Path) -> int:
    """Check the events of ``files`` and leave those to be stored in ``folder``, in parts of bounded size.

    Returns:
        How many events there were, the duplicates included.
    """
    from pyspark import StorageLevel
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from feature_repo.tables import EVENTS, QUARANTINE
    from ingestion.archive import archivable
    from ingestion.parsing import parse
    from ingestion.recent_ids import STORED_KEY

    parsed = parse(_raw(spark, files), get_settings().stream.future_tolerance_seconds)
    # The rows are numbered as they are read: kept, so that a second pass sees the same numbers.
    parsed = _selected(parsed, args.since, args.until, args.shift).persist(StorageLevel.DISK_ONLY)
    accepted = parsed.count()
    # Of two reports of an order, the one that says what it was worth is kept.
    best_first = Window.partitionBy("dedup_key").orderBy(F.desc_nulls_last("revenue"), "timestamp", "source", "offset")
    stored = spark.read.format("delta").load(EVENTS.uri).selectExpr(STORED_KEY)
    good = parsed.where("good").withColumn("rank", F.row_number().over(best_first))
    good = good.where("rank = 1").drop("rank").join(stored, "dedup_key", "left_anti")
    kept = spark.read.format("delta").load(QUARANTINE.uri).selectExpr("source", "offset", "payload AS value")
    refused = parsed.where("not good").join(kept, ["source", "offset", "value"], "left_anti")
    unique = archivable(good.unionByName(refused))
    writer = unique.repartition(F.to_date("timestamp")).write.option("maxRecordsPerFile", _EVENTS_PER_PART)
    writer.parquet(str(folder))
    parsed.unpersist()
    return accepted


def _folder() -> Path:
    folder = get_settings().home / "spark"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _raw(spark: SparkSession, files: EventFiles) -> DataFrame:
    """The files' rows in the shape that comes from Kafka: JSON text with its place of origin."""
    from pyspark.sql import functions as F

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
        F.concat(F.lit("file:"), place).alias("source"),
        F.lit(None).cast("int").alias("partition"),
        F.monotonically_increasing_id().alias("offset"),
    )


def _selected(parsed: DataFrame, since: datetime | None, until: datetime | None, shift: float) -> DataFrame:
    """The wanted span of time, moved; events without a usable time are kept, for the quarantine."""
    from pyspark.sql import functions as F

    time_of = F.col("timestamp")
    if since:
        parsed = parsed.where(time_of.isNull() | (time_of >= F.lit(_utc(since))))
    if until:
        parsed = parsed.where(time_of.isNull() | (time_of < F.lit(_utc(until))))
    return parsed.withColumn("timestamp", F.timestamp_millis(F.unix_millis("timestamp") + int(shift * 1000)))


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Say what is being done while it lasts, and how long it took."""
    from rich.console import Console

    console, start = Console(), time.monotonic()
    with console.status(title):
        yield
    console.print(f"{title}: {time.monotonic() - start:.1f} s")
