"""Tables of an older installation get the columns that have been declared since."""

from __future__ import annotations

import shutil
from datetime import date

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.tables import EVENTS, create_missing_tables
from ingestion.events.stored_events import stored_events

pytestmark = pytest.mark.usefixtures("warehouse")


def test_events_without_request_ids_stay_and_new_ones_have_theirs() -> None:
    older = pa.schema([field for field in EVENTS.schema if field.name != "request_id"])
    shutil.rmtree(EVENTS.path)
    DeltaTable.create(EVENTS.uri, older, partition_by=["dt"])
    old, new = (
        {"message_id": "old", "dt": date(2026, 1, 1)},
        {"message_id": "new", "request_id": "r", "dt": date(2026, 1, 1)},
    )
    write_deltalake(EVENTS.uri, pa.Table.from_pylist([old], schema=older), mode="append")
    for _ in range(2):
        create_missing_tables()
    write_deltalake(EVENTS.uri, pa.Table.from_pylist([new], schema=EVENTS.schema), mode="append")
    found = stored_events("true")
    assert found.schema == EVENTS.schema
    assert {row["message_id"]: row["request_id"] for row in found.to_pylist()} == {"old": None, "new": "r"}
    assert DeltaTable(EVENTS.uri).version() == 3, "created, appended, a column added once, appended"
