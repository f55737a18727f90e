"""One definition, three computations: stream, history and reference agree on random events in any order of arrival.

The stream's engine gets the events in random batches, some twice and long after they happened, as it would from Kafka; the
history replays what is stored; the reference computes each row from the raw events alone. Random are also who is tied to whom
and when, and spans of time from seconds to years.
"""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import islice, permutations
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
from feature_repo.tables import ACTIVITY, EVENTS
from ingestion import offsets
from ingestion.events.recent_ids import RecentIds, place_numbers
from ingestion.features import history
from ingestion.features.contributions import contributing
from ingestion.features.engine import CustomerFeatures, ItemFeatures
from ingestion.features.identity import ties_in
from ingestion.parity import reference

START = datetime(2025, 1, 1, tzinfo=UTC)
USERS, VISITORS, PRODUCTS = ["ada", "bob", "eve"], ["v1", "v2"], ["p1", "p2", "p3", "ä"]
TOPIC = "shelfwise.events"

lines = st.lists(
    st.fixed_dictionaries(
        {
            "product_id": st.sampled_from(PRODUCTS),
            "price": st.none() | st.floats(0, 100),
            "quantity": st.none() | st.integers(0, 9),
            "position": st.none() | st.integers(1, 3),
        }
    ),
    min_size=1,
    max_size=4,
)
# Some moments are shared, some lie beyond a thousand of the shortest half-lives.
near = st.integers(0, 8).map(lambda n: n * 1000)
moments = st.one_of(near, near, st.integers(0, 86_400_000 * 600))
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


def arrived(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Calls with their times and their places in Kafka."""
    return [
        {
            **one,
            "timestamp": START + timedelta(milliseconds=one["ms"]),
            "received_at": START + timedelta(days=601, seconds=offset),
            "source": TOPIC,
            "partition": 0,
            "offset": offset,
        }
        for offset, one in enumerate(calls)
    ]


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int]]:
    """Events as they arrive, a few of them again, and where the batches end."""
    made = draw(calls)
    for number, one in enumerate(made):
        one["message_id"] = f"m{number}"
        one.setdefault("customer_id", one.get("user_id"))
    again = draw(st.lists(st.sampled_from(made), max_size=5))
    arriving = arrived(draw(st.permutations([*made, *again])))
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
@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arrivals())
def test_stream_history_and_reference_agree(given_arrivals: tuple[list[dict[str, Any]], list[int]]) -> None:
    check_agreement(*given_arrivals)


def click(customer: str, second: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": CLICKED,
        "customer_id": customer,
        "products": [{"product_id": "p1"}],
        "ms": second,
    }


def identify(visitor: str, user: str, ms: int) -> dict[str, Any]:
    return {"type": "identify", "anonymous_id": visitor, "user_id": user, "customer_id": user, "ms": ms}


def alias(previous: str, user: str, ms: int) -> dict[str, Any]:
    return {"type": "alias", "previous_id": previous, "user_id": user, "customer_id": user, "ms": ms}


@pytest.mark.usefixtures("warehouse")
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(
            [identify("v1", "ada", 1), click("v1", 2), click("v1", 9), click("bob", 1), identify("v1", "bob", 5)],
            id="a second customer turns out to have used the device",
        ),
        pytest.param(
            [click("v1", 1), identify("v1", "bob", 8), click("v1", 9), identify("v1", "ada", 3), click("v1", 5)],
            id="the first customer is known after the second",
        ),
        pytest.param(
            [click("v1", 1), identify("v1", "bob", 5), identify("v1", "ada", 5), click("v1", 7)],
            id="two customers at the same moment",
        ),
        pytest.param(
            [click("ada", 1), click("bob", 2), alias("ada", "bob", 3), click("ada", 4), alias("bob", "ada", 5)],
            id="two customers are each other",
        ),
        pytest.param(
            [click("v1", 1), click("ada", 2), identify("v1", "ada", 3), alias("ada", "eve", 4), click("v1", 5)],
            id="a visitor becomes a customer, who gets another id",
        ),
        pytest.param(
            [click("v1", 1), alias("ada", "eve", 4), alias("ada", "bob", 6), identify("v1", "ada", 3), click("v1", 7)],
            id="a visitor becomes a customer with two further ids",
        ),
    ],
)
def test_identities_in_any_order_of_arrival(said: list[dict[str, Any]]) -> None:
    for number, one in enumerate(said):
        one["message_id"] = f"m{number}"
    for order in islice(permutations(said), 0, None, 5):
        check_stream(arrived(list(order)), list(range(1, len(said))))


def check_agreement(arriving: list[dict[str, Any]], cuts: list[int]) -> None:
    counted, features = check_stream(arriving, cuts)
    stored = table(counted)
    write_deltalake(EVENTS.uri, stored, mode="overwrite", commit_properties=offsets.commit({0: len(arriving)}))
    with tempfile.TemporaryDirectory() as folder:
        computed = history.compute(Path(folder))
        for entity in Entity:
            file = computed.files[ACTIVITY[entity]]
            check_rows(entity, pq.read_table(file), stored)
            activity = features[entity].activity
            present = activity.rows(activity.everything(), {})[entity.key].to_pylist()
            assert set(pq.read_table(file)[entity.key].to_pylist()) == set(present)


def check_stream(
    arriving: list[dict[str, Any]], cuts: list[int]
) -> tuple[list[dict[str, Any]], dict[Entity, CustomerFeatures | ItemFeatures]]:
    """Run the engine over batches, and compare every row that it would write; returns what it counted, and it."""
    counted: list[dict[str, Any]] = []
    ids = RecentIds(horizon_ms=6 * 3_600_000)

    def stored_events(keys: set[str]) -> pa.Table:
        return table([one for one in counted if one["customer_id"] in keys])

    customers = {entity: CustomerFeatures(entity, stored_events) for entity in (Entity.CUSTOMER, Entity.EXPOSURE)}
    items = ItemFeatures()
    features: dict[Entity, CustomerFeatures | ItemFeatures] = {**customers, Entity.ITEM: items}
    rows: dict[Entity, list[pa.Table]] = {entity: [] for entity in Entity}
    for begin, end in zip([0, *cuts], [*cuts, len(arriving)], strict=True):
        batch = arriving[begin:end]
        places = place_numbers(pa.array([0] * len(batch)), pa.array([one["offset"] for one in batch], pa.int64()))
        received = np.array([round(one["received_at"].timestamp() * 1000) for one in batch], np.int64)
        first = ids.first([one["message_id"] for one in batch], places, received)
        fresh = [one for one, counts in zip(batch, first.tolist(), strict=True) if counts]
        events = table(fresh)
        useful = contributing(events)
        changed = {entity: one.take(useful, ties_in(events)) for entity, one in customers.items()}
        changed[Entity.ITEM] = items.take(useful)
        counted += fresh
        for entity, one in features.items():
            rows[entity].append(one.activity.rows(changed[entity], {0: end}))
    stored = table(counted)
    for entity in Entity:
        check_rows(entity, pa.concat_tables(rows[entity]), stored)
    return counted, features
