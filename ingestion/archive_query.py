"""The archive query: every accepted event into the offline store once, or into quarantine with its reason.

It reads the same topic as the feature query but at its own, slower pace, so that large files and the catalogue do not
delay features. It keeps the ledger: for each batch, accepted = processed + quarantined + duplicates.
"""

from __future__ import annotations

import shutil
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion import offsets
from ingestion.archive import Accounts, archivable, archive
from ingestion.checkpoint import CheckpointDescription
from ingestion.parsing import parse
from ingestion.recent_ids import write_recent_ids
from ingestion.sources import event_stream, start_seeded

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery


class ArchiveQuery:
    """Writes events, quarantine and ledger."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._resumed = _resume(spark)
        self._query: StreamingQuery | None = None

    @property
    def _checkpoint(self) -> Path:
        return _folder() / "query"

    @property
    def outlived(self) -> bool:
        """Whether it has remembered ids for long enough."""
        return self._resumed.outlived

    @property
    def busy(self) -> bool:
        """Whether it is in the middle of a batch."""
        return self._query is not None and bool(self._query.status["isTriggerActive"])

    def start(self) -> StreamingQuery:
        """Start it; it goes on from its checkpoint, or where the events table ends."""
        self._query = start_seeded(self._start, self._checkpoint)
        return self._query

    def _start(self, hold: bool) -> StreamingQuery:
        settings = get_settings()
        parsed = parse(event_stream(self._spark, self._resumed.start, hold), settings.stream.future_tolerance_seconds)
        # A refused event has no trustworthy id; its place in Kafka is unique.
        place = F.concat_ws(":", "source", "partition", "offset")
        parsed = parsed.withColumn("dedup_key", F.when(F.col("good"), F.col("dedup_key")).otherwise(place))
        known = self._spark.readStream.schema("dedup_key string").parquet(str(_seed_ids()))
        unique = parsed.unionByName(known, allowMissingColumns=True).dropDuplicates(["dedup_key"])
        return (
            archivable(unique.where("source is not null"))
            .writeStream.queryName("archive")
            .outputMode("append")
            .option("checkpointLocation", str(self._checkpoint))
            .trigger(processingTime="0 seconds" if hold else settings.stream.archive_interval)
            .foreachBatch(self._write)
            .start()
        )

    def _write(self, batch: DataFrame, batch_id: int) -> None:
        before = offsets.of_batch(self._checkpoint, batch_id - 1) or self._resumed.start
        after = offsets.of_batch(self._checkpoint, batch_id) or before
        accepted = sum(after[partition] - before.get(partition, 0) for partition in after)
        accounts = Accounts(get_settings().kafka.events_topic, f"{self._resumed.app_id}:{batch_id}", accepted)
        archive(batch.toArrow(), accounts, self._resumed.app_id, batch_id, covered=after)


def discard_archive_checkpoint() -> None:
    """Forget the checkpoint, so that the next start makes a new one; the query must not run.

    One whose last batch has not been finished is kept, because only it knows what was written of that batch.
    """
    begun, finished = (_latest(_folder() / "query" / part) for part in ("offsets", "commits"))
    if begun == finished:
        _description().unlink(missing_ok=True)


def _folder() -> Path:
    return get_settings().checkpoints / "archive"


def _description() -> Path:
    return _folder() / "archive.json"


def _seed_ids() -> Path:
    return _folder() / "seed_ids"


def _latest(log: Path) -> int:
    """The last batch that a query's log holds; -1 if none."""
    return max((int(entry.name) for entry in log.glob("[0-9]*") if entry.name.isdigit()), default=-1)


def _resume(spark: SparkSession) -> CheckpointDescription:
    """The checkpoint on disk, or a new one that knows the recent ids and starts where the events table ends."""
    if resumed := CheckpointDescription.read(_description()):
        return resumed
    shutil.rmtree(_folder(), ignore_errors=True)
    start = offsets.reachable(offsets.newest(EVENTS) or {})
    _folder().mkdir(parents=True)
    write_recent_ids(spark, start, _seed_ids())
    resumed = CheckpointDescription(str(uuid.uuid4()), start, time.time())
    resumed.write(_description())
    return resumed
