"""How often customers turn from one product to another: a few turns by hand, and many against a plain computation."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest

from feature_repo.aggregates import NEXT
from feature_repo.contract import CLICKED, LIST_VIEWED, VIEWED
from feature_repo.tables import EVENTS, ITEM_TRANSITIONS
from ingestion.features.pair_sums import INTERACTIONS, PairSums, interactions_in

START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
HALF_LIFE = NEXT.half_life.total_seconds() * 1000
Turn = tuple[str, str, int]


def table(turns: list[Turn]) -> pa.Table:
    """Interactions of (customer, product, milliseconds after the start)."""
    rows = [{"customer_id": who, "product_id": what, "ms": START + ms} for who, what, ms in turns]
    return pa.Table.from_pylist(rows, schema=INTERACTIONS)


def present(sums: PairSums) -> dict[str, dict[str, float]]:
    """The weights of all products' successors."""
    return {
        row["product_id"]: dict(zip(row["next_items"], row["next_weights"], strict=True))
        for row in sums.rows(sums.everything()).to_pylist()
    }


def plainly(turns: list[Turn]) -> dict[str, dict[str, float]]:
    """The same, pair by pair."""
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    latest: dict[str, int] = defaultdict(int)
    for number, (who, what, ms) in enumerate(turns):
        for other, (whose, before, earlier) in enumerate(turns):
            apart = ms - earlier
            if whose != who or before == what or not 0 <= apart <= 30 * MINUTE or number == other:
                continue
            weight = 2 ** (ms / HALF_LIFE) / (1 + apart / MINUTE) / (2 if apart == 0 else 1)
            sums[before][what] += weight
            latest[before], latest[what] = max(latest[before], ms), max(latest[what], ms)
    return {
        item: {other: value * 2 ** (-latest[item] / HALF_LIFE) for other, value in sums[item].items()}
        for item in latest
    }


def check(found: dict[str, dict[str, float]], expected: dict[str, dict[str, float]]) -> None:
    assert found.keys() == expected.keys()
    for item, following in expected.items():
        assert found[item] == pytest.approx(following, rel=1e-5), item


def test_a_pair_counts_by_how_close_it_is_and_only_within_half_an_hour() -> None:
    sums = PairSums()
    sums.fold(table([("ada", "a", 0), ("ada", "b", MINUTE), ("bob", "c", MINUTE), ("ada", "c", 31 * MINUTE)]))
    check(present(sums), {"a": {"b": 0.5}, "b": {"c": 1 / 31}, "c": {}})


def test_a_product_is_not_its_own_successor_and_ties_go_both_ways() -> None:
    sums = PairSums()
    sums.fold(table([("ada", "a", 0), ("ada", "a", 5), ("bob", "x", 0), ("bob", "y", 0)]))
    check(present(sums), {"x": {"y": 0.5}, "y": {"x": 0.5}})


def test_old_turns_fade() -> None:
    sums = PairSums()
    month = int(HALF_LIFE)
    sums.fold(table([("ada", "a", 0), ("ada", "b", 0)]))
    sums.fold(table([("bob", "a", month), ("bob", "c", month)]))
    check(present(sums), {"a": {"b": 0.25, "c": 0.5}, "b": {"a": 0.5}, "c": {"a": 0.5}})


def test_in_whatever_parts_and_order_they_come() -> None:
    choice = random.Random(5)
    turns = [(choice.choice("uvw"), choice.choice("abcdef"), choice.randrange(50 * MINUTE)) for _ in range(60)]
    for _ in range(20):
        choice.shuffle(turns)
        cuts = sorted({0, 60, *(choice.randrange(60) for _ in range(4))})
        sums = PairSums()
        for begin, end in pairwise(cuts):
            sums.fold(table(turns[begin:end]))
        check(present(sums), plainly(turns))


def test_rows_hold_the_strongest_and_all_sums() -> None:
    sums = PairSums()
    many = [("ada", f"p{number:03d}", number * 1000) for number in range(60)]
    changed = sums.fold(table([("ada", "hub", -1), *many[:25]]))
    assert len(changed) == 26
    row = sums.rows(changed).to_pylist()[0]
    assert row["product_id"] == "hub"
    assert row["next_items"] == [name for _, name, _ in many[:25]], "strongest first"
    assert row["next_from"] == pytest.approx(sum(row["next_weights"]))
    assert row["next_to"] == 0.0
    assert row["event_timestamp"] == datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=24)
    assert sums.rows(changed).schema == ITEM_TRANSITIONS.schema
    crowded = PairSums()
    for _, what, ms in many:
        crowded.fold(table([(f"c{what}", "hub", ms), (f"c{what}", what, ms + 1)]))
    hub = crowded.rows(crowded.everything()).to_pylist()[0]
    assert len(hub["next_items"]) == NEXT.keep
    assert hub["next_from"] > sum(hub["next_weights"]), "what is not kept counts in the sum"


def test_only_what_customers_turn_to_is_a_turn() -> None:
    product = [{"product_id": "p"}, {"product_id": "q"}]
    event = {"type": "track", "customer_id": "ada", "timestamp": datetime(2026, 1, 1, tzinfo=UTC), "products": product}
    events = [
        {**event, "event": VIEWED},
        {**event, "event": LIST_VIEWED},
        {**event, "event": CLICKED, "products": None},
        {**event, "event": None, "type": "page"},
    ]
    found = interactions_in(pa.Table.from_pylist(events, schema=EVENTS.schema))
    assert found.to_pylist() == [{"customer_id": "ada", "product_id": name, "ms": START} for name in ("p", "q")]
