"""``feast materialize-incremental`` as people run it: what was written late comes online as well."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from deltalake import write_deltalake

from feature_repo import tables
from feature_repo.settings import Settings

PREFIX = "materialized-"


def feast(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("feast")), "-c", str(Path(tables.__file__).parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def write(product: str, about: timedelta, events: int) -> None:
    """A row of an item's activity, written now, about a time ago."""
    now = datetime.now(UTC)
    row = {
        "product_id": PREFIX + product,
        "event_timestamp": now - about,
        "created": now,
        "event_count": events,
    }
    write_deltalake(
        tables.ITEM_ACTIVITY.uri, pa.Table.from_pylist([row], schema=tables.ITEM_ACTIVITY.schema), mode="append"
    )


def events_online(*products: str) -> list[int | None]:
    from feature_repo.store import open_store

    features = open_store().get_online_features(
        ["item_activity:event_count"], [{"product_id": PREFIX + product} for product in products]
    )
    return list(features.to_dict()["event_count"])


def materialize() -> None:
    feast("materialize-incremental", datetime.now(UTC).isoformat(), "-v", "item_activity")


def test_late_rows_come_online(kafka_and_redis: Settings) -> None:
    feast("apply")
    write("mug", timedelta(hours=1), 5)
    materialize()
    assert events_online("mug", "cup") == [5, None]

    # All of these are about a time that has been materialised.
    write("cup", timedelta(days=3), 1)  # new
    write("mug", timedelta(hours=1), 6)  # a late event: the same time, another value
    write("mug", timedelta(hours=2), 4)  # older than what is online
    materialize()
    assert events_online("mug", "cup") == [6, 1]


def test_a_span_in_the_machines_own_time(kafka_and_redis: Settings) -> None:
    """``materialize`` takes times without a zone to be local."""
    feast("apply")
    write("pot", timedelta(minutes=30), 7)
    local = datetime.now()
    feast("materialize", (local - timedelta(hours=1)).isoformat(), local.isoformat(), "-v", "item_activity")
    assert events_online("pot") == [7]
