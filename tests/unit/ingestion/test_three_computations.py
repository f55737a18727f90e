"""One definition, three computations: stream, history and reference agree on random events in any order of arrival.

The stream's engine gets the events in random batches, some twice and long after they happened, as it would from Kafka; the
history replays what is stored; the reference computes each row from the raw events alone. Random are also who is tied to whom
and when, and spans of time from seconds to years.
"""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.aggregates import Entity
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, REMOVED, VIEWED, WISHLISTED
from feature_repo.tables import EVENTS
from ingestion import history, offsets, reference
from ingestion.feature_engine import CustomerFeatures, ItemFeatures
from ingestion.identity import ties_in
from ingestion.recent_ids import RecentIds, place_numbers

START = datetime(2025, 1, 1, tzinfo=UTC)
USERS, VISITORS, PRODUCTS = ["ada", "bob", "eve"], ["v1", "v2"], ["p1", "p2", "p3", "ä"]
TOPIC = "shelfwise.events"

lines = st.lists(
    st.fixed_dictionaries(
        {
            "product_id": st.sampled_from(PRODUCTS),
            "price": st.none() | st.floats(0, 100),
            "quantity": st.none() | st.integers(0, 9),
        }
    ),
    min_size=1,
    max_size=4,
)
# Some moments are shared, some lie beyond a thousand of the shortest half-lives.
moments = st.integers(0, 5).map(lambda n: n * 1000) | st.integers(0, 86_400_000 * 600)
tracks = st.fixed_dictionaries(
    {
        "type": st.just("track"),
        "event": st.sampled_from([LIST_VIEWED, CLICKED, VIEWED, ADDED, REMOVED, ORDERED, WISHLISTED]),
        "customer_id": st.sampled_from(USERS + VISITORS),
        "products": lines,
        "ms": moments,
    }
)
identifies = st.fixed_dictionaries(
    {
        "type": st.just("identify"),
        "user_id": st.sampled_from(USERS),
        "anonymous_id": st.sampled_from(VISITORS),
        "ms": moments,
    }
)
aliases = st.fixed_dictionaries(
    {
        "type": st.just("alias"),
        "user_id": st.sampled_from(USERS),
        "previous_id": st.sampled_from(USERS + VISITORS),
        "ms": moments,
    }
)
calls = st.lists(st.one_of(tracks, tracks, tracks, identifies, aliases), min_size=1, max_size=30)


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """Events as they arrive, a few of them again, and where the batches end."""
    made = draw(calls)
    for number, one in enumerate(made):
        one["message_id"] = f"m{number}"
        one.setdefault("customer_id", one.get("user_id"))
    again = draw(st.lists(st.sampled_from(made), max_size=5))
    arriving = [
        {
            **one,
            "timestamp": START + timedelta(milliseconds=one["ms"]),
            "received_at": START + timedelta(days=601, seconds=offset),
            "source": TOPIC,
            "partition": 0,
            "offset": offset,
        }
        for offset, one in enumerate(draw(st.permutations([*made, *again])))
    ]
    return arriving, draw(st.lists(st.integers(1, len(arriving)), max_size=6).map(lambda cuts: sorted(set(cuts))))


def table(events: list[dict[str, Any]]) -> pa.Table:
    days = [{**one, "dt": one["timestamp"].date()} for one in events]
    return pa.Table.from_pylist(days, schema=EVENTS.schema)


def check_rows(entity: Entity, rows: pa.Table, events: pa.Table) -> None:
    """Every row must say what the reference makes of what the row knows of."""
    names = ["event_timestamp", "place", "recomputed"]
    requests = rows.select([entity.key, *names]).rename_columns(["key", *names])
    for row, expected in zip(rows.to_pylist(), reference.recompute(entity, events, requests).to_pylist(), strict=True):
        for name, wanted in expected.items():
            stored = row[entity.key if name == "key" else name]
            if expected["event_count"] == 0 and name not in ("key", "event_count"):
                assert not stored or name == "last_event_at"  # everything was somebody else's
            elif isinstance(wanted, float):
                assert math.isclose(stored, wanted, rel_tol=1e-9, abs_tol=1e-12), (
                    row[entity.key],
                    name,
                    stored,
                    wanted,
                )
            else:
                assert stored == wanted, (row[entity.key], name)


@pytest.mark.usefixtures("warehouse")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrivals())
def test_stream_history_and_reference_agree(given_arrivals: tuple[list[dict[str, Any]], list[int]]) -> None:
    arriving, cuts = given_arrivals
    counted: list[dict[str, Any]] = []
    ids = RecentIds(horizon_ms=6 * 3_600_000)
    customers = CustomerFeatures(lambda keys: table([one for one in counted if one["customer_id"] in keys]))
    items = ItemFeatures()
    rows: dict[Entity, list[pa.Table]] = {entity: [] for entity in Entity}
    for begin, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True):
        batch = arriving[begin:end]
        places = place_numbers(pa.array([0] * len(batch)), pa.array([one["offset"] for one in batch], pa.int64()))
        received = np.array([round(one["received_at"].timestamp() * 1000) for one in batch], np.int64)
        first = ids.first([one["message_id"] for one in batch], places, received)
        fresh = [one for one, counts in zip(batch, first.tolist(), strict=True) if counts]
        events = table(fresh)
        changed = {Entity.CUSTOMER: customers.take(events, ties_in(events)), Entity.ITEM: items.take(events)}
        counted += fresh
        for entity, activity in ((Entity.CUSTOMER, customers.activity), (Entity.ITEM, items.activity)):
            rows[entity].append(activity.rows(changed[entity], {0: end}))
    stored = table(counted)
    for entity in Entity:
        check_rows(entity, pa.concat_tables(rows[entity]), stored)

    write_deltalake(EVENTS.uri, stored, mode="overwrite", commit_properties=offsets.commit({0: len(arriving)}))
    with tempfile.TemporaryDirectory() as folder:
        computed = history.compute(Path(folder))
        for entity, file in computed.files.items():
            check_rows(entity, pq.read_table(file), stored)
            newest = latest(entity, pq.read_table(file))
            activity = {Entity.CUSTOMER: customers.activity, Entity.ITEM: items.activity}[entity]
            assert newest.keys() == {row[entity.key] for row in activity.rows(activity.everything(), {}).to_pylist()}


def latest(entity: Entity, rows: pa.Table) -> dict[str, dict[str, Any]]:
    """The newest row of each key."""
    newest: dict[str, dict[str, Any]] = {}
    for row in sorted(rows.to_pylist(), key=lambda row: row["event_timestamp"]):
        newest[row[entity.key]] = row
    return newest
