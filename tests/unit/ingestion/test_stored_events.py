"""Single events out of the events table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_repo.tables import EVENTS
from ingestion.events.stored_events import stored_events
from ingestion.sql import one_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("warehouse")


def write(*customers: str) -> pa.Table:
    """An event of each customer, a day later than the one before."""
    rows = [
        {
            "message_id": f"m{number}",
            "customer_id": customer,
            "timestamp": NOON + timedelta(days=number),
            "products": [{"product_id": "mug", "price": 3.5, "quantity": number}],
            "dt": (NOON + timedelta(days=number)).date(),
        }
        for number, customer in enumerate(customers)
    ]
    table = pa.Table.from_pylist(rows, schema=EVENTS.schema)
    write_deltalake(EVENTS.uri, table, mode="append", partition_by=["dt"])
    return table


def test_gives_whole_rows_in_the_schema_of_the_table() -> None:
    table = write("ada", "bob")
    assert stored_events("customer_id = 'bob'").equals(table.slice(1))


def test_names_may_hold_anything() -> None:
    names = ["o'hara", "'; DROP TABLE events --", "", "back\\slash", "日本"]
    write(*names, "other")
    assert sorted(stored_events(one_of("customer_id", names))["customer_id"].to_pylist()) == sorted(names)


def test_nothing_is_found_where_nothing_is() -> None:
    assert stored_events("true").num_rows == 0
    write("ada")
    assert stored_events(one_of("customer_id", [])).num_rows == 0
    assert stored_events("true").schema == EVENTS.schema
