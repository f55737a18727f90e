"""A generation of the feature query: one checkpoint, good for one definition and one landmark.

A checkpoint is disposable. What it knows (every key's sums, where in Kafka they stand, recently seen message ids) can be
had again from the offline store and Kafka: a new generation is seeded with them. That is how the stream starts after a
backfill, after a lost disk, when time has moved so far from the landmark that weights would leave a double's range, and
once a day, because a generation never forgets an id (Spark would look through all ids in each micro-batch to find the old
ones).
"""

from __future__ import annotations

import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from feature_repo.aggregates import Entity, definition_hash, shortest_half_life
from feature_repo.errors import DefinitionError
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY
from ingestion import offsets
from ingestion.checkpoint import CheckpointDescription
from ingestion.contributions import from_feature_columns, seeds
from ingestion.latest import latest_rows
from ingestion.recent_ids import write_recent_ids

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# A double holds 2^1023; sums of many events and the distance between two half-lives need some room.
_SAFE_HALF_LIVES = 900


@dataclass(frozen=True)
class Generation(CheckpointDescription):
    """What the feature query needs to know of its checkpoint.

    Attributes:
        definition: :func:`definition_hash` that the state was computed with.
        landmark: epoch seconds that forward-decay weights are relative to.
        seeded: whether there were values to start from.
    """

    definition: str
    landmark: float
    seeded: bool

    @staticmethod
    def folder() -> Path:
        return get_settings().checkpoints / "features"

    @property
    def checkpoint(self) -> Path:
        return self.folder() / "query"

    @property
    def seed_sums(self) -> Path:
        return self.folder() / "seed_sums"

    @property
    def seed_ids(self) -> Path:
        return self.folder() / "seed_ids"

    @property
    def last_safe_time(self) -> float:
        """Epoch seconds after which events would make weights too large for a double."""
        return self.landmark + _SAFE_HALF_LIVES * shortest_half_life().total_seconds()


def open_generation(spark: SparkSession, landmark: float | None = None) -> Generation:
    """The generation on disk, or a new one seeded from the offline store.

    Args:
        spark: the session to compute seeds in.
        landmark: landmark for a new generation; by default the time of the latest event known.

    Raises:
        DefinitionError: the aggregates were changed since the checkpoint or the tables were written.
    """
    description = Generation.folder() / "generation.json"
    if generation := Generation.read(description):
        if generation.definition != definition_hash():
            raise DefinitionError(
                "the declared aggregates have changed since this stream's state was computed. "
                "`python -m ingestion backfill --recompute` computes the history of all features anew from the stored "
                "events and lets the stream go on from there"
            )
        return generation
    shutil.rmtree(Generation.folder(), ignore_errors=True)
    generation = _create(spark, landmark)
    generation.write(description)
    return generation


def discard_generation() -> None:
    """Forget the checkpoint, so that the next start seeds a new one."""
    (Generation.folder() / "generation.json").unlink(missing_ok=True)


def _create(spark: SparkSession, landmark: float | None) -> Generation:
    Generation.folder().mkdir(parents=True)
    versions, start = _base()
    origin = offsets.reachable(start or {})
    latest = {entity: latest_rows(entity, version) for entity, version in versions.items()}
    newest = [pc.max(rows["event_timestamp"]).as_py() for rows in latest.values() if rows.num_rows]
    if landmark is None:
        landmark = max(newest).timestamp() if newest else offsets.first_event_time(origin) or time.time()
    generation = Generation(str(uuid.uuid4()), origin, time.time(), definition_hash(), landmark, bool(newest))
    if generation.seeded:
        for entity, rows in latest.items():
            frame = from_feature_columns(entity, spark.createDataFrame(rows))
            seeds(frame, landmark).coalesce(2).write.mode("append").parquet(str(generation.seed_sums))
        write_recent_ids(spark, origin, generation.seed_ids)
    return generation


def _base() -> tuple[dict[Entity, int | None], offsets.Offsets | None]:
    """Table versions that reach equally far in Kafka, and how far.

    The tables are committed one after the other; if a crash lost the checkpoint between the two commits, the one ahead
    is read as of the earlier place.

    Raises:
        DefinitionError: the tables do not belong together.
    """
    covered = {entity: offsets.covered_by(table) for entity, table in ACTIVITY.items()}
    customers, items = covered[Entity.CUSTOMER], covered[Entity.ITEM]
    for version, place in customers:
        for other_version, other_place in items:
            if place == other_place:
                return {Entity.CUSTOMER: version, Entity.ITEM: other_version}, place
    if customers or items:
        raise DefinitionError(
            "the feature tables of customers and items do not belong together, as after an interrupted backfill; "
            "`python -m ingestion backfill --recompute` computes both anew from the stored events"
        )
    return dict.fromkeys(ACTIVITY), None
