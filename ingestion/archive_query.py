"""The archive query: every accepted event into the offline store once, or into quarantine with its reason.

It reads the same topic as the feature query but at its own, slower pace, so that large files and the catalogue join do not
delay features. It keeps the ledger: for each batch, accepted = processed + quarantined + duplicates.
"""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion import offsets
from ingestion.archive import Accounts, archive
from ingestion.parsing import parse
from ingestion.sources import event_stream

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql.streaming import StreamingQuery

log = logging.getLogger(__name__)


class ArchiveQuery:
    """Writes events, quarantine and ledger."""

    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark
        self._folder = get_settings().checkpoints / "archive"
        self._start, self._app_id = _resume(self._folder)

    @property
    def _checkpoint(self) -> Path:
        return self._folder / "query"

    def start(self) -> StreamingQuery:
        """Start it; it goes on from its checkpoint, or where the events table ends."""
        settings = get_settings()
        parsed = parse(event_stream(self._spark, self._start), settings.stream.future_tolerance_seconds)
        # A refused event has no trustworthy id; its place in Kafka is unique.
        place = F.concat_ws(":", "source", "partition", "offset")
        parsed = parsed.withColumn("dedup_key", F.when(F.col("good"), F.col("dedup_key")).otherwise(place))
        unique = parsed.withWatermark("received_at", settings.stream.duplicate_horizon)
        unique = unique.dropDuplicatesWithinWatermark(["dedup_key"])
        return (
            unique.writeStream.queryName("archive")
            .outputMode("append")
            .option("checkpointLocation", str(self._checkpoint))
            .trigger(processingTime=settings.stream.archive_interval)
            .foreachBatch(self._write)
            .start()
        )

    def _write(self, batch: DataFrame, batch_id: int) -> None:
        before = offsets.of_batch(self._checkpoint, batch_id - 1) or self._start
        after = offsets.of_batch(self._checkpoint, batch_id) or before
        accepted = sum(after[partition] - before.get(partition, 0) for partition in after)
        accounts = Accounts(get_settings().kafka.events_topic, f"{self._app_id}:{batch_id}", accepted)
        archive(self._spark, batch, accounts, self._app_id, batch_id, covered=after)


def _resume(folder: Path) -> tuple[offsets.Offsets, str]:
    """Where a fresh checkpoint would start, and Delta's application id for the writes of this checkpoint."""
    description = folder / "archive.json"
    if description.is_file():
        stored = json.loads(description.read_text())
        return {int(key): value for key, value in stored["start"].items()}, stored["app_id"]
    first, following = offsets.in_kafka()
    covered = next((place for _, place in offsets.covered_by(EVENTS)), {})
    start = {p: min(max(covered.get(p, first[p]), first[p]), following[p]) for p in first}
    folder.mkdir(parents=True, exist_ok=True)
    app_id = str(uuid.uuid4())
    description.write_text(json.dumps({"start": start, "app_id": app_id}))
    return start, app_id
