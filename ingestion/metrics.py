"""The health of the installation as Prometheus metrics, over HTTP, beside whatever else a process counts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from ingestion.health_checks import Check, Measures

log = logging.getLogger(__name__)

FRESH_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 3.0

Evaluation = tuple["Measures", "list[Check]"]


def serve_metrics(host: str, port: int, registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """Serve ``/metrics`` in a thread of its own; returns what ends it.

    Args:
        host: address to listen on.
        port: port; 0: any free one.
        registry: what else to serve; the health metrics are added to it.

    Raises:
        UnavailableError: the port is taken.
    """
    served, collector = registry or CollectorRegistry(), HealthCollector()
    try:
        server, thread = start_http_server(port, host, served)
    except OSError as error:
        raise UnavailableError(
            f"metrics cannot be served at {host}:{port} ({error.strerror}); "
            "SHELFWISE_HEALTH__PORT names another port, 0 serves none"
        ) from error
    served.register(collector)
    log.info("metrics at http://%s:%s/metrics", host, server.server_port)

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        served.unregister(collector)

    return close


def evaluate() -> Evaluation:
    """Measure and judge, as ``python -m ingestion health`` does."""
    from ingestion.health_checks import all_checks
    from ingestion.health_measures import measure

    measures = measure()
    return measures, all_checks(measures, get_settings().health)


class HealthCollector(Collector):
    """Evaluates the health when scraped, at most every 15 seconds, and in the background.

    A scrape waits a moment for an evaluation; if that takes longer, it gets the one before, whose age
    ``shelfwise_health_timestamp_seconds`` tells.
    """

    def __init__(self, evaluation: Callable[[], Evaluation] = evaluate) -> None:
        self._evaluate = evaluation
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._begun = float("-inf")
        self._latest: Evaluation | None = None

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, so that registering the collector evaluates nothing."""
        return _Families().all

    def collect(self) -> Iterable[Metric]:
        """The metrics of the latest evaluation; before the first has ended, none."""
        with self._lock:
            if time.monotonic() - self._begun >= FRESH_SECONDS and not (self._thread and self._thread.is_alive()):
                self._begun = time.monotonic()
                self._thread = threading.Thread(target=self._refresh, name="health", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread:
            thread.join(LONGEST_WAIT_SECONDS)
        return families(*self._latest) if self._latest else _Families().all

    def _refresh(self) -> None:
        try:
            self._latest = self._evaluate()
        except Exception:
            # Whatever it was, the process that serves the metrics has more important things to do than to fail.
            log.exception("the health could not be evaluated")


class _Families:
    """The exported metrics, empty."""

    def __init__(self) -> None:
        self.at = GaugeMetricFamily("shelfwise_health_timestamp_seconds", "when the health was last evaluated")
        self.lag = GaugeMetricFamily(
            "shelfwise_consumer_lag_messages",
            "messages that a table has yet to take from Kafka",
            labels=["table", "partition"],
        )
        self.waiting = GaugeMetricFamily(
            "shelfwise_consumer_lag_seconds",
            "how long the first of these messages has been waiting",
            labels=["table", "partition"],
        )
        self.arrived = GaugeMetricFamily(
            "shelfwise_partition_messages", "messages that Kafka got in the window", labels=["partition"]
        )
        self.delay = GaugeMetricFamily(
            "shelfwise_event_delay_seconds",
            "from when events happened to when they arrived, over the window",
            labels=["source", "quantile"],
        )
        self.age = GaugeMetricFamily(
            "shelfwise_view_age_seconds", "time since the last push to an online view", labels=["view"]
        )
        self.behind = GaugeMetricFamily(
            "shelfwise_view_behind_seconds",
            "how long the first event that an online view lacks has been waiting; 0: it lacks none",
            labels=["view"],
        )
        self.rate = GaugeMetricFamily(
            "shelfwise_events_per_minute", "live events, over the window", labels=["source", "event"]
        )
        self.usual = GaugeMetricFamily(
            "shelfwise_events_per_minute_usual",
            "the same at this hour of earlier weeks; of an installation younger than that, of the last 24 hours",
            labels=["source", "event"],
        )
        self.quarantined = CounterMetricFamily(
            "shelfwise_quarantined_total", "live events in the quarantine table", labels=["reason", "field"]
        )
        self.pulled = GaugeMetricFamily(
            "shelfwise_pull_age_seconds", "since all that an API has of a resource was last pulled", labels=["resource"]
        )
        self.alarm = GaugeMetricFamily(
            "shelfwise_alarm",
            "1: `python -m ingestion health` raises an alarm, 0: it does not",
            labels=["check", "subject"],
        )

    @property
    def all(self) -> list[Metric]:
        return list(vars(self).values())


def families(measures: Measures, checks: Iterable[Check]) -> list[Metric]:
    """Measures and judgements as metrics; what could not be measured or is not judged is left out."""
    from ingestion.health_checks import Status

    found = _Families()
    found.at.add_metric([], measures.at)
    for lag in measures.lags:
        found.lag.add_metric([lag.table, str(lag.partition)], lag.messages)
        found.waiting.add_metric([lag.table, str(lag.partition)], lag.seconds)
    for partition in measures.partitions:
        found.arrived.add_metric([str(partition.partition)], partition.messages)
    for delay in measures.delays:
        found.delay.add_metric([delay.source, "0.5"], delay.median)
        found.delay.add_metric([delay.source, "0.95"], delay.p95)
    for view in measures.views:
        if view.age is not None:
            found.age.add_metric([view.name], view.age)
            found.behind.add_metric([view.name], view.behind)
    for rate in measures.rates:
        found.rate.add_metric([rate.source, rate.event], rate.per_minute)
        if rate.usual is not None:
            found.usual.add_metric([rate.source, rate.event], rate.usual)
    for violation in measures.violations:
        found.quarantined.add_metric([violation.reason, violation.field], violation.total)
    for pull in measures.pulls:
        if pull.age is not None:
            found.pulled.add_metric([pull.subject], pull.age)
    for check in checks:
        if check.status is not Status.NOT_JUDGED:
            found.alarm.add_metric([check.name, check.subject], float(check.status is Status.ALARM))
    return found.all
