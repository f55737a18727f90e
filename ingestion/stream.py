"""``python -m ingestion stream``: the Spark job, from Kafka to both stores, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.locks import pause_wanted, wait_while, writing_features

if TYPE_CHECKING:
    from feast import FeatureStore
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from ingestion.archive_query import ArchiveQuery
    from ingestion.feature_query import FeatureQuery

log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.5
_RETRY_SECONDS = 3.0
_REPORT_SECONDS = 30.0

# How Spark is set for small, frequent micro-batches.
SPARK = {
    "spark.scheduler.mode": "FAIR",
    "spark.sql.streaming.stateStore.providerClass": (
        "org.apache.spark.sql.execution.streaming.state.RocksDBStateStoreProvider"
    ),
    "spark.sql.streaming.stateStore.rocksdb.changelogCheckpointing.enabled": "true",
    "spark.sql.streaming.noDataMicroBatches.enabled": "false",
    # The default one bypasses the local file system that the session sets.
    "spark.sql.streaming.checkpointFileManagerClass": (
        "org.apache.spark.sql.execution.streaming.checkpointing.FileSystemBasedCheckpointFileManager"
    ),
    "spark.sql.streaming.minBatchesToRetain": "10",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.constraintPropagation.enabled": "false",
    # Small batches spend more time on generating code than it saves them.
    "spark.sql.codegen.wholeStage": "false",
    # These rules copy deterministic expressions into the predicates that they push down: each event's JSON would be
    # decoded fifteen times.
    "spark.sql.optimizer.excludedRules": (
        "org.apache.spark.sql.catalyst.optimizer.PushDownPredicates,"
        "org.apache.spark.sql.catalyst.optimizer.PushPredicateThroughNonJoin"
    ),
}


class _Stop(Exception):
    """The process was asked to end."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Refresh intervals, batch size and the horizon for duplicates are settings (SHELFWISE_STREAM__*; "
        "`python -m feature_repo.settings` lists them). The stream goes on where it stopped, whatever ended it; a backfill "
        "makes it pause and start again from the new history."
    )
    parser.add_argument("--once", action="store_true", help="process what Kafka holds now, then end")


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("ingestion").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _stop)
    from ingestion.online import open_applied_store
    from ingestion.session import open_spark

    store, spark = open_applied_store(), open_spark("shelfwise-stream", SPARK)
    try:
        landmark: float | None = None
        while True:
            with writing_features():
                present = _Run(spark, store, landmark)
                present.until_interrupted(args.once)
            landmark = present.next_landmark
            if present.failure and landmark is None:
                if args.once:
                    raise UnavailableError(f"the stream cannot go on: {present.failure}")
                log.error("starting again in %s s: %s", _RETRY_SECONDS, present.failure)
                time.sleep(_RETRY_SECONDS)
            elif args.once and landmark is None:
                return 0
            if pause_wanted():
                log.info("pausing for a batch job")
                wait_while(pause_wanted)
    except _Stop:
        log.info("stopped")
        return 0
    finally:
        spark.stop()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop


class _Run:
    """Both queries, from their start until one fails, a batch job wants the tables, or they have to start anew.

    Attributes:
        failure: what ended it, in a line; empty if nothing failed.
        next_landmark: the landmark that the next generation needs, where the present one has become too old.
    """

    def __init__(self, spark: SparkSession, store: FeatureStore, landmark: float | None) -> None:
        from ingestion.archive_query import ArchiveQuery
        from ingestion.compaction import Compactor
        from ingestion.feature_query import FeatureQuery
        from ingestion.generation import open_generation

        self._ready = get_settings().home / "run" / "stream.ready"
        self._ready.unlink(missing_ok=True)  # a stream that was killed could not remove it
        self._spark = spark
        self._generation = open_generation(spark, landmark)
        self._features, self._archive = FeatureQuery(spark, store, self._generation), ArchiveQuery(spark)
        self._compactor = Compactor()
        self._queries: list[StreamingQuery] = []
        self.failure = ""
        self.next_landmark: float | None = None

    def until_interrupted(self, once: bool) -> None:
        """Run; with ``once``, until what Kafka holds now has been processed."""
        from pyspark.errors import StreamingQueryException

        from ingestion.archive_query import discard_archive_checkpoint
        from ingestion.generation import discard_generation

        try:
            self._start()
            if once:
                for query in self._queries:
                    query.processAllAvailable()
            else:
                self._watch()
        except StreamingQueryException as error:
            self.failure = _summary(error)
        finally:
            self._ready.unlink(missing_ok=True)
            for query in self._queries:
                query.stop()
            self._compactor.finish()
        for query in self._queries:
            if query.exception() and not self.failure:
                self.failure = f"{query.name}: {_summary(query.exception())}"
        self.next_landmark = self._features.expired_at
        if self.next_landmark is not None or self._generation.outlived:
            discard_generation()
        if self._archive.outlived:
            discard_archive_checkpoint()

    def _start(self) -> None:
        """Side by side, because each may have to take in its seeds first."""

        def start(name: str, query: FeatureQuery | ArchiveQuery) -> None:
            self._spark.sparkContext.setLocalProperty("spark.scheduler.pool", name)
            self._queries.append(query.start())

        with ThreadPoolExecutor(2) as starters:
            features = starters.submit(start, "features", self._features)
            archive = starters.submit(start, "archive", self._archive)
            features.result()
            archive.result()

    def _watch(self) -> None:
        reported = time.monotonic()
        while all(query.isActive for query in self._queries):
            # The archive's checkpoint can be made anew between two batches only.
            if (pause_wanted() or self._generation.outlived or self._archive.outlived) and not self._archive.busy:
                return
            time.sleep(_WATCH_SECONDS)
            if not self._ready.exists() and all(query.lastProgress or _idle(query) for query in self._queries):
                self._ready.touch()
                log.info("ready: %s since %s", get_settings().kafka.events_topic, self._generation.start)
            self._compactor.run_if_due()
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                _report(self._queries)


def _idle(query: StreamingQuery) -> bool:
    return "Waiting" in query.status["message"]


def _report(queries: list[StreamingQuery]) -> None:
    for query in queries:
        progress = query.lastProgress
        if progress:
            log.info(
                "%s: batch %s, %s events in %.2f s",
                query.name,
                progress["batchId"],
                progress["numInputRows"],
                progress["batchDuration"] / 1000,
            )


def _summary(exception: Exception | None) -> str:
    """The part of a Spark exception that says what happened, without its hundred lines of Java."""
    lines = [line.strip() for line in str(exception).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Exception" in line]
    return " | ".join(dict.fromkeys([*lines[:1], *telling[-2:]]))[:600]
