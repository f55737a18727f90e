"""``python -m ingestion stream``: the Spark job, from Kafka to both stores, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

from feature_repo.settings import get_settings
from ingestion.locks import pause_wanted, wait_while, writing_features

if TYPE_CHECKING:
    from feast import FeatureStore
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.5
_RETRY_SECONDS = 3.0
_REPORT_SECONDS = 30.0

# One Spark task slot per query and partition: on few cores the operating system shares them out better than a queue in
# which a long archive task makes the next features wait.
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
                landmark = _run_until_interrupted(spark, store, landmark, once=args.once)
            if args.once:
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


def _run_until_interrupted(
    spark: SparkSession, store: FeatureStore, landmark: float | None, once: bool
) -> float | None:
    """Run both queries until one ends or a batch job wants the tables.

    Returns:
        The landmark that the next generation needs, where the present one has become too old.
    """
    from ingestion.archive_query import ArchiveQuery
    from ingestion.compaction import Compactor
    from ingestion.feature_query import FeatureQuery
    from ingestion.generation import discard_generation, open_generation

    ready = get_settings().home / "run" / "stream.ready"
    ready.unlink(missing_ok=True)  # a stream that was killed could not remove it
    generation = open_generation(spark, landmark)
    features, archive = FeatureQuery(spark, store, generation), ArchiveQuery(spark)
    queries: list[StreamingQuery] = []
    try:
        with ThreadPoolExecutor(2) as starters:

            def start(name: str, query: FeatureQuery | ArchiveQuery) -> None:
                spark.sparkContext.setLocalProperty("spark.scheduler.pool", name)
                queries.append(query.start())

            for started in [starters.submit(start, "features", features), starters.submit(start, "archive", archive)]:
                started.result()
        if once:
            for query in queries:
                query.processAllAvailable()
            return None
        reported, compactor = time.monotonic(), Compactor()
        while all(query.isActive for query in queries) and not pause_wanted():
            if generation.outlived or archive.outlived:
                log.info("starting a new generation, which forgets the ids of old events")
                break
            time.sleep(_WATCH_SECONDS)
            if not ready.exists() and all(query.lastProgress or _idle(query) for query in queries):
                ready.touch()
                log.info("ready: %s since %s", get_settings().kafka.events_topic, generation.start)
            compactor.run_if_due()
            if time.monotonic() - reported > _REPORT_SECONDS:
                reported = time.monotonic()
                _report(queries)
    finally:
        ready.unlink(missing_ok=True)
        for query in queries:
            query.stop()
    if features.expired_at is not None:
        discard_generation()
        return features.expired_at
    if generation.outlived:
        discard_generation()
    if archive.outlived:
        archive.discard()
    for query in queries:
        if query.exception():
            log.error("%s ended, starting again in %s s: %s", query.name, _RETRY_SECONDS, _summary(query.exception()))
            time.sleep(_RETRY_SECONDS)
    return None


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
