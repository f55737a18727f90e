"""``python -m ingestion stream``: the Spark job, from Kafka to both stores, until it is stopped."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.locks import pause_wanted, wait_while, writing_features
from ingestion.stopping import StopRequest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)
_NAME = "shelfwise-stream"
_RETRY_SECONDS = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Refresh intervals, batch size and the horizon for duplicates are settings (SHELFWISE_STREAM__*; "
        "`python -m feature_repo.settings` lists them). The stream goes on where it stopped, whatever ended it; a backfill "
        "makes it pause and start again from the new history, and so does a customer's erasure."
    )
    parser.add_argument("--once", action="store_true", help="process what Kafka holds now, then end")


def run(args: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("ingestion").setLevel(logging.INFO)
    # It warns of each poll that waits for something, and calls it an error if one is open at the end; what matters is raised.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    from feature_repo.online.redis_client import REDIS_ERRORS
    from ingestion.offsets import in_kafka
    from ingestion.online import open_online_store
    from ingestion.privacy.erasing import PendingErasures
    from ingestion.session import has_ended, open_spark
    from ingestion.streaming.priority import give_way
    from ingestion.streaming.run import Run
    from ingestion.streaming.source import SPARK

    give_way(get_settings().stream.niceness)
    online = open_online_store()
    erasures = PendingErasures(online)
    close_metrics = _serve_metrics() if not args.once else lambda: None
    threads = len(in_kafka()[0]) + 1
    spark = open_spark(_NAME, SPARK, threads)
    try:
        with StopRequest() as stop:
            while not stop:
                with writing_features():
                    erasures.carry_out()
                    failure = Run(spark, online, stop, erasures, args.once).until_interrupted()
                if failure and args.once:
                    raise UnavailableError(f"the stream cannot go on: {failure}")
                if failure:
                    log.error("starting again in %s s: %s", _RETRY_SECONDS, failure)
                    stop.wait(_RETRY_SECONDS)
                    if has_ended(spark):
                        spark = _started_again(spark, threads, stop)
                elif args.once:
                    return 0
                if pause_wanted():
                    log.info("pausing for a batch job")
                    wait_while(lambda: pause_wanted() and not stop)
    except REDIS_ERRORS as error:
        if not stop:
            raise UnavailableError(f"the online store cannot be used: {error}") from error
    finally:
        spark.stop()
        close_metrics()
    log.info("stopped")
    return 0


def _started_again(ended: SparkSession, threads: int, stop: StopRequest) -> SparkSession:
    """Spark anew, after its cluster has ended it, as soon as there is a cluster; the one that has ended, if we are to stop."""
    from ingestion.session import open_spark
    from ingestion.streaming.source import SPARK

    log.error("Spark has ended; starting it again")
    ended.stop()
    while not stop:
        try:
            return open_spark(_NAME, SPARK, threads)
        except UnavailableError as error:
            log.error("trying again in %s s: %s", _RETRY_SECONDS, error)
            stop.wait(_RETRY_SECONDS)
    return ended


def _serve_metrics() -> Callable[[], None]:
    from ingestion.health.metrics import serve_metrics
    from ingestion.outcomes import metrics as outcome_metrics

    health = get_settings().health
    return serve_metrics(health.host, health.port, outcome_metrics.registry) if health.port else lambda: None
