"""The health of the installation as Prometheus metrics, over HTTP, beside whatever else a process counts."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ingestion.health.http import application, listen

if TYPE_CHECKING:
    from ingestion.health.checks import Measures
    from ingestion.health.measures import Evaluation
    from ingestion.health.status import Check

log = logging.getLogger(__name__)

FRESH_SECONDS = 15.0
LONGEST_WAIT_SECONDS = 3.0
_REMEMBERED = 480  # evaluations


def serve_metrics(host: str, port: int, registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """Serve the monitoring page and ``/metrics`` in a thread of its own; returns what ends it.

    Args:
        host: address to listen on.
        port: port; 0: any free one.
        registry: what else to serve; the health metrics are added to it.

    Raises:
        UnavailableError: the port is taken.
    """
    from ingestion.health.page import Page

    served, collector = registry or CollectorRegistry(), HealthCollector()
    bound, close_server = listen(host, port, application(served, Page(collector).render))
    served.register(collector)
    log.info("monitoring page at http://%s:%s, metrics at /metrics", host, bound)

    def close() -> None:
        close_server()
        served.unregister(collector)

    return close


def evaluate() -> Evaluation:
    """Measure and judge; what that needs is loaded with the first look."""
    from ingestion.health import measures as health_measures

    return health_measures.evaluate()


@dataclass(frozen=True)
class Trace:
    """What is remembered of an evaluation: the longest that anything has been waiting for its table, and for its view."""

    waiting: float
    behind: float

    @classmethod
    def of(cls, measures: Measures) -> Trace:
        return cls(
            max((lag.seconds for lag in measures.lags), default=0.0),
            max((view.behind for view in measures.views), default=0.0),
        )


class HealthCollector(Collector):
    """Evaluates the health when scraped or looked at, at most every 15 seconds, and in the background.

    A scrape waits a moment for an evaluation; if that takes longer, it gets the one before, whose age
    ``shelfwise_health_timestamp_seconds`` tells.

    Attributes:
        past: traces of the latest evaluations, the oldest first.
    """

    def __init__(self, evaluation: Callable[[], Evaluation] = evaluate) -> None:
        self._evaluate = evaluation
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._begun = float("-inf")
        self._latest: Evaluation | None = None
        self.past: deque[Trace] = deque(maxlen=_REMEMBERED)

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, so that registering the collector evaluates nothing."""
        return _Families().all

    def collect(self) -> Iterable[Metric]:
        """The metrics of the latest evaluation; before the first has ended, none."""
        latest = self.latest()
        return families(*latest) if latest else _Families().all

    def latest(self) -> Evaluation | None:
        """The latest evaluation; None before the first has ended."""
        with self._lock:
            if time.monotonic() - self._begun >= FRESH_SECONDS and not (self._thread and self._thread.is_alive()):
                self._begun = time.monotonic()
                self._thread = threading.Thread(target=self._refresh, name="health", daemon=True)
                self._thread.start()
            thread = self._thread
        if thread:
            thread.join(LONGEST_WAIT_SECONDS)
        return self._latest

    def _refresh(self) -> None:
        try:
            found = self._evaluate()
            self.past.append(Trace.of(found[0]))
            self._latest = found
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
        self.up = GaugeMetricFamily(
            "shelfwise_up", "1: this part of the installation answers, 0: it does not", labels=["part"]
        )
        self.model_trained = GaugeMetricFamily(
            "shelfwise_promoted_model_trained_timestamp_seconds",
            "when the model that the service is to answer with was trained",
            labels=["version"],
        )
        self.model_quality = GaugeMetricFamily(
            "shelfwise_promoted_model_quality",
            "what it was worth in the evaluation of its training, beside popularity",
            labels=["version", "measure", "by"],
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
    from ingestion.health.status import Status

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
    for part, answers in measures.up.items():
        found.up.add_metric([part], float(answers))
    if (model := measures.model) and model.trained_at is not None:
        found.model_trained.add_metric([model.version], model.trained_at)
        for quality in model.quality:
            found.model_quality.add_metric([model.version, quality.measure, "model"], quality.model)
            found.model_quality.add_metric([model.version, quality.measure, "popularity"], quality.popularity)
    for check in checks:
        if check.status is not Status.NOT_JUDGED:
            found.alarm.add_metric([check.name, check.subject], float(check.status is Status.ALARM))
    return found.all
