"""``python -m ingestion backfill PATH``: bulk history into the offline store, and its features into both.

With ``--offline-only`` neither Redis nor Kafka is needed: for an installation that is only read, as evaluation does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from feature_repo.time_arguments import moment

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from ingestion.features.history import History
    from ingestion.online import OnlineStore
    from ingestion.recorded.files import EventFiles

_SPARK = {
    "spark.sql.shuffle.partitions": "16",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
_EVENTS_PER_PART = 50_000
_FILES = "file:"
_CONTRACT = "contract"
_EXPORTS = {"ga4": "Google Analytics 4's BigQuery export", "ga360": "that of Universal Analytics 360"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="PATH",
        help="a Parquet or JSONL(.gz) file of events, or a folder of files or `dt=` partitions",
    )
    parser.add_argument(
        "--format",
        choices=(_CONTRACT, *_EXPORTS),
        default=_CONTRACT,
        help=f"what the files hold: {_CONTRACT} (default), events as in docs/events.md; "
        + "; ".join(f"{name}, {what}" for name, what in _EXPORTS.items()),
    )
    parser.add_argument("--from", dest="since", type=moment, help="take events from this time on (ISO 8601)")
    parser.add_argument("--until", type=moment, help="take events before this time (ISO 8601)")
    parser.add_argument("--shift", type=float, default=0.0, metavar="SECONDS", help="move all times by so many seconds")
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="without PATH: compute all features anew from the stored events, as after a change of their definitions",
    )
    parser.add_argument(
        "--offline-only",
        action="store_true",
        help="write the offline store only: nothing to Redis, and refused events to the quarantine table but not the topic",
    )
    parser.epilog = """\
examples:
  python -m ingestion backfill history/
  python -m ingestion backfill history/ --from 2026-01-01 --until 2026-02-01
  python -m ingestion backfill --format ga4 events_20260131.json.gz

Events that are stored already are recognised by their ids, so that a backfill can be repeated. A running stream pauses
while events are loaded and while the new features take the place of the old ones (Kafka keeps what arrives), not while
they are computed."""


def run(args: argparse.Namespace) -> int:
    if (args.path is None) != args.recompute:
        raise InputError("give a PATH to load, or --recompute to compute features anew from the stored events")
    from feature_repo.tables import create_missing_tables
    from ingestion.locks import loading
    from ingestion.online import open_online_store
    from ingestion.recorded.files import ENDINGS, EXPORT_ENDINGS, discover

    found = discover(args.path, ENDINGS if args.format == _CONTRACT else EXPORT_ENDINGS) if args.path else None
    if args.offline_only:
        create_missing_tables()
    online = None if args.offline_only else open_online_store()
    with loading():
        if found:
            with _contract_events(found, args) as files:
                _load(files, args)
        _recompute(online)
    return 0


@contextmanager
def _contract_events(found: EventFiles, args: argparse.Namespace) -> Iterator[EventFiles]:
    """The files to load; of an export, files of events that are made of it, for as long as they are needed."""
    if args.format == _CONTRACT:
        yield found
        return
    from ingestion.exports.conversion import converted

    with converted(found, args.path, args.format, _folder()) as files:
        yield files


def _load(files: EventFiles, args: argparse.Namespace) -> None:
    from ingestion.locks import stream_paused
    from ingestion.session import open_spark

    with _step("starting Spark"):
        spark = open_spark("shelfwise-backfill", _SPARK)
    try:
        with stream_paused(), _step(f"loading events from {args.path}"):
            outcome = load(spark, files, args)
    finally:
        spark.stop()
    print(
        f"{outcome.accepted:,} accepted = {outcome.processed:,} processed + "
        f"{outcome.quarantined:,} quarantined + {outcome.duplicates:,} duplicates"
    )


def _recompute(online: OnlineStore | None) -> None:
    """Compute all features over all stored events, and let them take the place of the present ones, also online if given.

    The stream goes on meanwhile, and pauses for the exchange only; then it takes in again what came since. If a customer was
    erased while it computed, it computes again.
    """
    from ingestion.features import history
    from ingestion.locks import stream_paused
    from ingestion.privacy.record import erased_so_far

    with tempfile.TemporaryDirectory(prefix="history-", dir=_folder()) as folder:
        while True:
            erased = erased_so_far()
            computed = _computed(Path(folder))
            with stream_paused():
                if erased_so_far() != erased:
                    continue
                rows = history.install(computed)
                print(", ".join(f"{count:,} rows of {table.name}" for table, count in rows.items()))
                if online:
                    for table in rows:
                        with _step(f"writing the latest rows of {table.name} online"):
                            online.fill_latest(table)
                return


def _computed(folder: Path) -> History:
    from ingestion.features import history
    from ingestion.progress import progress_bar

    with _step("computing features over all stored events"), progress_bar() as progress:
        task = progress.add_task("events", total=None)
        return history.compute(folder, lambda done, total: progress.update(task, completed=done, total=total))


@dataclass(frozen=True)
class Outcome:
    """What became of the events of a file; accepted = processed + quarantined + duplicates."""

    accepted: int
    processed: int
    quarantined: int

    @property
    def duplicates(self) -> int:
        return self.accepted - self.processed - self.quarantined


def load(spark: SparkSession, files: EventFiles, args: argparse.Namespace) -> Outcome:
    """Check, clean and store the events of ``files`` that are not stored yet."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq
    from deltalake import write_deltalake
    from rich.progress import track

    from feature_repo.tables import EVENTS, LEDGER, QUARANTINE
    from ingestion.catalog import store as catalog_store
    from ingestion.events.archive import event_rows, ledger_row
    from ingestion.events.enrichment import enriched
    from ingestion.privacy.tombstones import Tombstones
    from ingestion.quarantine.writing import publish, refused_rows

    tombstones = Tombstones.load()
    _settle_accounts()
    processed = quarantined = 0
    with tempfile.TemporaryDirectory(prefix="backfill-", dir=_folder()) as folder:
        accepted = _prepare(spark, files, args, Path(folder) / "events")
        for part in track(sorted(Path(folder).glob("events/*.parquet")), "  storing", transient=True):
            rows = tombstones.refused(pq.read_table(part))
            events = event_rows(rows.filter(rows["good"]))
            refused = refused_rows(rows.filter(pc.invert(rows["good"])), tombstones)
            catalog_store.learn(events, args.offline_only)
            write_deltalake(EVENTS.uri, enriched(events), mode="append")
            if refused.num_rows:
                if not args.offline_only:
                    publish(refused)
                write_deltalake(QUARANTINE.uri, refused, mode="append")
            processed, quarantined = processed + events.num_rows, quarantined + refused.num_rows
        row = ledger_row(f"{_FILES}{args.path}", str(uuid.uuid4()), accepted, processed, quarantined)
        write_deltalake(LEDGER.uri, row, mode="append")
    return Outcome(accepted, processed, quarantined)


def _settle_accounts() -> None:
    """Enter into the ledger what a backfill stored that was killed before it could do so itself."""
    import pyarrow.compute as pc
    from deltalake import DeltaTable, write_deltalake

    from feature_repo.tables import EVENTS, LEDGER, QUARANTINE
    from ingestion.erased_rows import FILES, erased_rows
    from ingestion.events.archive import ledger_row

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


def _prepare(spark: SparkSession, files: EventFiles, args: argparse.Namespace, folder: Path) -> int:
    """Check the events of ``files`` and leave those to be stored in ``folder``, in parts of bounded size.

    Returns:
        How many events there were, the duplicates included.
    """
    from pyspark import StorageLevel
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    from feature_repo.tables import EVENTS, QUARANTINE
    from ingestion.events.archive import archivable
    from ingestion.events.parsing import Limits, parse
    from ingestion.events.recent_ids import STORED_KEY

    parsed = parse(_raw(spark, files), Limits.configured())
    # The rows are numbered as they are read: kept, so that a second pass sees the same numbers.
    parsed = _selected(parsed, args.since, args.until, args.shift).persist(StorageLevel.DISK_ONLY)
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
        F.concat(F.lit(_FILES), place).alias("source"),
        F.lit(None).cast("int").alias("partition"),
        F.monotonically_increasing_id().alias("offset"),
    )


def _selected(parsed: DataFrame, since: datetime | None, until: datetime | None, shift: float) -> DataFrame:
    """The wanted span of time, moved; events without a usable time are kept, for the quarantine."""
    from pyspark.sql import functions as F

    time_of = F.col("timestamp")
    if since:
        parsed = parsed.where(time_of.isNull() | (time_of >= F.lit(since)))
    if until:
        parsed = parsed.where(time_of.isNull() | (time_of < F.lit(until)))
    return parsed.withColumn("timestamp", F.timestamp_millis(F.unix_millis("timestamp") + int(shift * 1000)))


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Say what is being done while it lasts, and how long it took."""
    from rich.console import Console

    console, start = Console(), time.monotonic()
    with console.status(title):
        yield
    console.print(f"{title}: {time.monotonic() - start:.1f} s")
