"""The Prometheus metrics: what is exported, and that a scrape neither waits long nor evaluates often."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from feature_repo.errors import UnavailableError
from feature_repo.sections.watching import HealthSettings
from ingestion.health import metrics
from ingestion.health.checks import (
    Delay,
    Lag,
    Measures,
    PartitionTraffic,
    Rate,
    StreamState,
    View,
    Violations,
    all_checks,
)
from ingestion.health.measures import Evaluation
from ingestion.health.metrics import HealthCollector, serve_metrics
from ingestion.health.serving import Answer, Model, Quality, Service

MEASURES = Measures(
    at=1_700_000_000.0,
    stream=StreamState.DOWN,
    lags=[Lag("events", 0, 7, 1.5)],
    partitions=[PartitionTraffic(0, 4)],
    delays=[Delay("topic", 100, 0.5, 3.0)],
    views=[View("item_activity", True, 2.0, 0.0), View("catalog_index", False, None, 0.0)],
    rates=[Rate("topic", "all", 10.0, 12.0, ""), Rate("topic", "Order", 1.0, None, "")],
    violations=[Violations("too_long", "name", 1, 9)],
    accepted=150,
    services=[Service("collector", "", Answer.READY, True), Service("serving", "", Answer.NONE, False)],
    model=Model("v", trained_at=1_699_999_000.0, quality=[Quality("HR", 0.3, 0.2, 0.15)]),
    unreachable={"redis": "start it"},
)


def evaluation() -> Evaluation:
    return MEASURES, all_checks(MEASURES, HealthSettings())


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, in alphabetical order of the labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(evaluate: Callable[[], Evaluation]) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(HealthCollector(evaluate))
    return samples(generate_latest(registry).decode())


def test_everything_measured_is_exported() -> None:
    assert scrape(evaluation) == {
        ("shelfwise_health_timestamp_seconds",): 1_700_000_000.0,
        ("shelfwise_consumer_lag_messages", "0", "events"): 7.0,
        ("shelfwise_consumer_lag_seconds", "0", "events"): 1.5,
        ("shelfwise_partition_messages", "0"): 4.0,
        ("shelfwise_event_delay_seconds", "0.5", "topic"): 0.5,
        ("shelfwise_event_delay_seconds", "0.95", "topic"): 3.0,
        ("shelfwise_view_age_seconds", "item_activity"): 2.0,
        ("shelfwise_view_behind_seconds", "item_activity"): 0.0,
        ("shelfwise_events_per_minute", "all", "topic"): 10.0,
        ("shelfwise_events_per_minute", "Order", "topic"): 1.0,
        ("shelfwise_events_per_minute_usual", "all", "topic"): 12.0,
        ("shelfwise_quarantined_total", "name", "too_long"): 9.0,
        ("shelfwise_up", "kafka"): 1.0,
        ("shelfwise_up", "redis"): 0.0,
        ("shelfwise_up", "stream"): 0.0,
        ("shelfwise_up", "collector"): 1.0,
        ("shelfwise_up", "serving"): 0.0,
        ("shelfwise_promoted_model_trained_timestamp_seconds", "v"): 1_699_999_000.0,
        ("shelfwise_promoted_model_quality", "model", "HR", "v"): 0.3,
        ("shelfwise_promoted_model_quality", "popularity", "HR", "v"): 0.2,
        ("shelfwise_alarm", "stream", "process"): 1.0,
        ("shelfwise_alarm", "server", "redis"): 1.0,
        ("shelfwise_alarm", "service", "collector"): 0.0,
        ("shelfwise_alarm", "model age", "v"): 0.0,
        ("shelfwise_alarm", "model quality", "HR"): 0.0,
        ("shelfwise_alarm", "lag", "events/0"): 0.0,
        ("shelfwise_alarm", "partition", "0"): 0.0,
        ("shelfwise_alarm", "event delay", "topic"): 0.0,
        ("shelfwise_alarm", "freshness", "item_activity"): 0.0,
        ("shelfwise_alarm", "events", "topic: all"): 0.0,
        ("shelfwise_alarm", "schema", "too_long name"): 0.0,
    }


def test_served_over_http_beside_the_process_s_own_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "HealthCollector", lambda: HealthCollector(evaluation))
    registry = CollectorRegistry()
    Counter("shelfwise_batches_total", "batches", registry=registry).inc(3)
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]
    url = f"http://127.0.0.1:{port}/metrics"
    close = serve_metrics("127.0.0.1", port, registry)
    try:
        found = samples(urllib.request.urlopen(url, timeout=10).read().decode())
    finally:
        close()
    assert found["shelfwise_batches_total",] == 3.0
    assert found["shelfwise_alarm", "stream", "process"] == 1.0
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=10)


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UnavailableError, match="SHELFWISE_HEALTH__PORT"):
            serve_metrics("127.0.0.1", other.getsockname()[1])


def test_registering_evaluates_nothing_and_scrapes_in_short_order_evaluate_once() -> None:
    evaluations: list[int] = []

    def counted() -> Evaluation:
        evaluations.append(1)
        return evaluation()

    registry = CollectorRegistry(auto_describe=True)
    registry.register(HealthCollector(counted))
    assert not evaluations
    for _ in range(3):
        assert b"shelfwise_alarm{" in generate_latest(registry)
    assert len(evaluations) == 1


def test_a_slow_evaluation_keeps_no_scrape_waiting_and_is_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LONGEST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 0.0)
    go_on, begun = threading.Event(), []

    def slow() -> Evaluation:
        begun.append(1)
        go_on.wait(10)
        return evaluation()

    registry = CollectorRegistry()
    registry.register(HealthCollector(slow))
    assert b"shelfwise_alarm{" not in generate_latest(registry)
    assert b"shelfwise_alarm{" not in generate_latest(registry)
    assert len(begun) == 1
    go_on.set()
    monkeypatch.setattr(metrics, "LONGEST_WAIT_SECONDS", 10.0)
    assert b"shelfwise_alarm{" in generate_latest(registry)


def test_an_evaluation_that_fails_leaves_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "FRESH_SECONDS", 0.0)
    outcomes = iter([evaluation])

    def failing() -> Evaluation:
        return next(outcomes)()

    registry = CollectorRegistry()
    registry.register(HealthCollector(failing))
    first = generate_latest(registry)
    assert generate_latest(registry) == first
