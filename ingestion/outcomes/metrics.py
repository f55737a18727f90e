"""The outcomes of the last 24 hours for Prometheus, beside the stream's health metrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Gauge

registry = CollectorRegistry()
_LABELS = ["model", "scenario", "variant"]


def _gauge(name: str, what: str) -> Gauge:
    return Gauge(
        f"shelfwise_outcome_{name}", f"{what}, of lists shown in the last 24 hours", _LABELS, registry=registry
    )


_SUMS = {
    "shown": _gauge("shown", "recommended products that were shown"),
    "clicks": _gauge("clicks", "those of them that were clicked"),
    "carts": _gauge("carts", "those put into the cart"),
    "orders": _gauge("orders", "those ordered"),
    "revenue": _gauge("revenue", "revenue of those ordered"),
}
_computed_at = Gauge("shelfwise_outcome_timestamp_seconds", "when the outcomes were last computed", registry=registry)


def update() -> None:
    """Take the numbers from the table as it is now."""
    from ingestion.outcomes.rates import outcomes_by

    now = datetime.now(UTC)
    found, _ = outcomes_by(_LABELS, now - timedelta(hours=24))
    for name, gauge in _SUMS.items():
        gauge.clear()
        for outcome in found:
            gauge.labels(*(value or "" for value in outcome.of)).set(getattr(outcome, name))
    _computed_at.set(now.timestamp())
