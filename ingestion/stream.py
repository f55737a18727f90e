"""``python -m ingestion stream``: the Spark job, from Kafka to both stores, until it is stopped."""

from __future__ import annotations

import argparse
import logging
import queue
import shutil
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.locks import pause_wanted, wait_while, writing_features
from ingestion.stopping import StopRequest

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession
    from pyspark.sql.streaming import StreamingQuery

    from ingestion.compaction import Compactor
    from ingestion.intake import Intake
    from ingestion.offsets import Offsets
    from ingestion.online import OnlineStore

log = logging.getLogger(__name__)
_WATCH_SECONDS = 0.2
_RETRY_SECONDS = 3.0
_REPORT_SECONDS = 30.0
# While one batch is taken in, Spark reads the next.
_BATCHES_AHEAD = 1


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
    from redis.exceptions import RedisError

    from ingestion.online import open_online_store
    from ingestion.session import open_spark
    from ingestion.source import SPARK

    online = open_online_store()
    close_metrics = _serve_metrics() if not args.once else lambda: None
    spark = open_spark("shelfwise-stream", SPARK)
    try:
        with StopRequest() as stop:
            while not stop:
                with writing_features():
                    failure = _Run(spark, online, stop).until_interrupted(args.once)
                if failure and args.once:
                    raise UnavailableError(f"the stream cannot go on: {failure}")
                if failure:
                    log.error("starting again in %s s: %s", _RETRY_SECONDS, failure)
                    stop.wait(_RETRY_SECONDS)
                elif args.once:
                    return 0
                if pause_wanted():
                    log.info("pausing for a batch job")
                    wait_while(lambda: pause_wanted() and not stop)
    except RedisError as error:
        if not stop:
            raise UnavailableError(f"the online store cannot be used: {error}") from error
    finally:
        spark.stop()
        close_metrics()
    log.info("stopped")
    return 0


def _serve_metrics() -> Callable[[], None]:
    from ingestion.metrics import serve_metrics

    health = get_settings().health
    return serve_metrics(health.host, health.port) if health.port else lambda: None


class _Run:
    """The stream, from what the offline store holds until something fails or a batch job wants the tables."""

    def __init__(self, spark: SparkSession, online: OnlineStore, stop: StopRequest) -> None:
        self._spark = spark
        self._stop = stop
        self._online = online
        self._ended = False
        self._batches: queue.Queue[tuple[pa.Table, Offsets]] = queue.Queue(_BATCHES_AHEAD)
        home = get_settings().home
        self._ready = home / "run" / "stream.ready"
        self._ready.unlink(missing_ok=True)  # a stream that was killed could not remove it
        self._checkpoints = home / "spark" / "checkpoints"
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def until_interrupted(self, once: bool) -> str:
        """Run; with ``once``, until what Kafka holds now has been processed. Returns what failed, in a line."""
        from pyspark.errors import PySparkException

        from ingestion.compaction import Compactor
        from ingestion.intake import Intake
        from ingestion.offsets import in_kafka

        settings = get_settings().stream
        compactor = Compactor()
        query: StreamingQuery | None = None
        try:
            intake = Intake(self._online, lambda: bool(self._stop), settings.offline_seconds, settings.archive_seconds)
            place = self._catch_up(intake, [in_kafka()[1]] if once else [])
            if not once:
                query = self._start(place)
                self._watch(query, intake, compactor)
            intake.close()
        except PySparkException as error:
            return _summary(error)
        finally:
            self._ended = True
            self._ready.unlink(missing_ok=True)
            if query is not None:
                query.stop()
            compactor.finish()
        failure = query.exception() if query is not None else None
        return _summary(failure) if failure else ""

    def _catch_up(self, intake: Intake, further: list[Offsets]) -> Offsets:
        """Take in again what not all tables have; returns where in Kafka to go on."""
        from ingestion.source import read_between

        place = intake.milestones[0]
        for milestone in [*intake.milestones[1:], *further]:
            for rows, reached in read_between(self._spark, place, milestone):
                intake.take(rows, reached)
            place = milestone
        return place

    def _start(self, place: Offsets) -> StreamingQuery:
        from ingestion.source import start_query

        checkpoint: Path = self._checkpoints / str(uuid.uuid4())
        return start_query(self._spark, place, checkpoint, self._hand_over)

    def _hand_over(self, rows: pa.Table, place: Offsets) -> None:
        """Called by Spark with each micro-batch; waits while the one before is still waiting itself."""
        while not self._ended:
            try:
                self._batches.put((rows, place), timeout=_WATCH_SECONDS)
                return
            except queue.Full:
                continue

    def _watch(self, query: StreamingQuery, intake: Intake, compactor: Compactor) -> None:
        reported, events = time.monotonic(), 0
        while query.isActive and not pause_wanted() and not self._stop:
            try:
                rows, place = self._batches.get(timeout=_WATCH_SECONDS)
            except queue.Empty:
                intake.commit_if_due()
            else:
                intake.take(rows, place)
                events += rows.num_rows
            if not self._ready.exists() and (query.lastProgress or "Waiting" in query.status["message"]):
                self._ready.touch()
                log.info("ready: %s", get_settings().kafka.events_topic)
            compactor.run_if_due()
            if time.monotonic() - reported > _REPORT_SECONDS:
                log.info("%s events in the last %.0f s", f"{events:,}", time.monotonic() - reported)
                reported, events = time.monotonic(), 0


def _summary(exception: Exception | None) -> str:
    """The part of a Spark exception that says what happened, without its hundred lines of Java."""
    lines = [line.strip() for line in str(exception).splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line or "Exception" in line]
    return " | ".join(dict.fromkeys([*lines[:1], *telling[-2:]]))[:600]
