"""What the service counts, under the usual Prometheus names; BentoML's ``/metrics`` shows it."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

# BentoML's own buckets begin at 5 ms, above what most requests here take.
_LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_AGE_BUCKETS = (0.5, 1, 2, 5, 10, 60, 600, 3_600, 86_400, 604_800, 2_592_000)

REQUESTS = Counter("shelfwise_requests", "answers by endpoint and fallback (none: personal)", ["endpoint", "fallback"])
REFUSALS = Counter("shelfwise_refusals", "requests refused, by error code", ["code"])
SECONDS = Histogram("shelfwise_request_seconds", "time to answer", ["endpoint"], buckets=_LATENCY_BUCKETS)
SOURCES = Counter("shelfwise_recommended_items", "recommended products by what proposed them", ["source"])
FEATURE_AGE = Histogram("shelfwise_feature_age_seconds", "age of the customer's features", buckets=_AGE_BUCKETS)
READ_FAILURES = Counter("shelfwise_read_failures", "customers' features that could not be read in time")
SNAPSHOT_AGE = Gauge("shelfwise_snapshot_age_seconds", "age of the item features", multiprocess_mode="max")
MODEL_INFO = Gauge("shelfwise_model_info", "1 for the model served", ["version"], multiprocess_mode="max")
