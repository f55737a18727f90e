"""A few hand-written events in an offline store of a test's own (the fixture ``warehouse``)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import offline_data
from deltalake import write_deltalake

from feature_repo import tables

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(
    minute: float, customer: str | None, session: str | None, name: str, *products: str, **more: Any
) -> dict[str, Any]:
    """A row of the events table."""
    at = START + timedelta(minutes=minute)
    return {
        "message_id": f"m{minute:08.2f}",
        "type": "track",
        "event": name,
        "customer_id": customer,
        "session_id": session,
        "timestamp": at,
        "dt": at.date(),
        "products": [{"product_id": product} for product in products],
        **more,
    }


def store(events: list[dict[str, Any]], catalog: dict[str, tuple[float, str | None]] | None = None) -> None:
    """Put events, and products with minute and category, into the tables."""
    rows = [
        {"product_id": product, "event_timestamp": START + timedelta(minutes=minute), "category": category}
        for product, (minute, category) in (catalog or {}).items()
    ]
    for table, part in ((tables.EVENTS, events), (tables.CATALOG, rows)):
        write_deltalake(table.uri, offline_data.arrow(table, part), mode="append")
