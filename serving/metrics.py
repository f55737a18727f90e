"""What the service counts, on BentoML's ``/metrics``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_AGES = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 3_600.0, 86_400.0, 604_800.0)

requests = Counter(
    name="shelfwise_requests_total",
    documentation="answers by scenario, fallback (none: as asked for) and version of the model (none: without)",
    labelnames=["scenario", "fallback", "model"],
)
errors = Counter(
    name="shelfwise_errors_total",
    documentation="refused or failed requests by code and version of the model in use",
    labelnames=["code", "model"],
)
latency = Histogram(
    name="shelfwise_latency_seconds",
    documentation="time from the whole request to the answer",
    labelnames=["scenario", "model"],
    buckets=_SECONDS,
)
step = Histogram(
    name="shelfwise_step_seconds",
    documentation="time of the steps of an answer: read (the customer's features), prepare, rank, words",
    labelnames=["step"],
    buckets=_SECONDS,
)
recommended = Counter(
    name="shelfwise_recommended_total", documentation="recommended products by source", labelnames=["source"]
)
late = Counter(name="shelfwise_late_answers_total", documentation="answers later than the deadline, in spite of all")
degraded = Counter(
    name="shelfwise_degraded_answers_total",
    documentation="answers by what they had to do without: customer, ranker, explanations, exploration, model, catalogue",
    labelnames=["missing"],
)
feature_age = Histogram(
    name="shelfwise_feature_age_seconds",
    documentation="time since the last event that a customer's features know of",
    buckets=_AGES,
)
feature_reads = Counter(
    name="shelfwise_feature_reads_total",
    documentation="reads of customer features by result: found, unknown, failed, timeout, skipped (the circuit is open), late",
    labelnames=["result"],
)
circuit_open = Gauge(
    name="shelfwise_circuit_open",
    documentation="1 while customer features are not asked for, as the online store did not answer",
    multiprocess_mode="livemax",
)
catalogue_age = Histogram(
    name="shelfwise_catalogue_age_seconds",
    documentation="how long before an answer the item features that it rests on were read",
    buckets=_AGES,
)
catalogue_read_at = Gauge(
    name="shelfwise_catalogue_read_timestamp_seconds",
    documentation="when the item features in memory were read; their age is time() minus this",
    multiprocess_mode="livemin",
)
catalogue_size = Gauge(
    name="shelfwise_catalogue_products", documentation="products in memory", multiprocess_mode="livemin"
)
model_info = Gauge(
    name="shelfwise_model_info",
    documentation="1 for the version in use, 0 for versions used before",
    labelnames=["version"],
    multiprocess_mode="livemax",
)
model_refused = Gauge(
    name="shelfwise_model_refused",
    documentation="1 while the model that should be in use cannot be: an earlier one is, or none",
    multiprocess_mode="livemax",
)
rules_refused = Gauge(
    name="shelfwise_rules_refused",
    documentation="1 while the rules file as it is now cannot be used, and older rules are in force",
    multiprocess_mode="livemax",
)
experiments_refused = Gauge(
    name="shelfwise_experiments_refused",
    documentation="1 while the experiments file as it is now cannot be used, and older experiments are under way",
    multiprocess_mode="livemax",
)
exposures = Counter(
    name="shelfwise_exposures_total",
    documentation="answers by experiment and variant",
    labelnames=["experiment", "variant"],
)
watched_failed = Counter(
    name="shelfwise_watched_variants_failed_total",
    documentation="explored answers for which a variant that nobody is shown could not say what it wants",
    labelnames=["experiment", "variant"],
)
answers_logged = Counter(name="shelfwise_answers_logged_total", documentation="answers that Kafka has taken")
answers_lost = Counter(
    name="shelfwise_answers_lost_total", documentation="answers that Kafka did not take: their outcomes are not known"
)

_model_in_use = ""


def forget_dead_workers(folder: Path) -> None:
    """Take what workers that are gone said of themselves out of ``/metrics``; what they counted stays.

    Args:
        folder: where the processes of this service keep their metrics.
    """
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*_*.db")}:
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another worker that starts as well was first
                mark_process_dead(pid, str(folder))


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Time a step."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        step.labels(step=name).observe(time.perf_counter() - begun)


def use_model(version: str) -> None:
    """Say that a version of the model is in use from now on in this worker."""
    global _model_in_use
    if _model_in_use:
        model_info.labels(version=_model_in_use).set(0)
    model_info.labels(version=version).set(1)
    _model_in_use = version


def model_label(version: str | None) -> str:
    """The label of answers by a version."""
    return version or "none"


def count_error(code: str) -> None:
    """Count a request that got no answer."""
    errors.labels(code=code, model=model_label(_model_in_use)).inc()
