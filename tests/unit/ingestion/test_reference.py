"""The reference computation against cases worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from feature_repo.aggregates import RECENT, Action, Entity
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.tables import EVENTS
from ingestion.parity.reference import REQUESTS, chain, recompute, schema

NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
HOUR = 3600.0
DAY = 24 * HOUR


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def ms(hours: float) -> int:
    return round(at(hours).timestamp() * 1000)


TOPIC = "shelfwise.events"


def track(
    name: str, hours: float, *products: str | dict[str, Any], customer: str = "c", **columns: Any
) -> dict[str, Any]:
    lines = [product if isinstance(product, dict) else {"product_id": product} for product in products]
    given = {"type": "track", "event": name, "customer_id": customer, "timestamp": at(hours), "products": lines}
    return {**given, **columns}


def identify(anonymous: str | None, user: str | None, hours: float, **columns: Any) -> dict[str, Any]:
    given = {"type": "identify", "user_id": user, "anonymous_id": anonymous, "customer_id": user or anonymous}
    return {**given, "timestamp": at(hours), **columns}


def alias(previous: str, user: str, hours: float) -> dict[str, Any]:
    return {
        "type": "alias",
        "user_id": user,
        "previous_id": previous,
        "customer_id": user,
        "timestamp": at(hours),
    }


def ask(
    key: str, hours: float = 1000, place: Sequence[int] | None = (), recomputed: bool | None = False
) -> dict[str, Any]:
    return {"key": key, "event_timestamp": at(hours), "place": place, "recomputed": recomputed}


def answers(entity: Entity, events: list[dict[str, Any]], *asked: dict[str, Any]) -> list[dict[str, Any]]:
    rows = recompute(
        entity,
        pa.Table.from_pylist(events, schema=EVENTS.schema),
        pa.Table.from_pylist(list(asked), schema=REQUESTS),
    )
    assert rows.schema == schema(entity)
    return rows.to_pylist()


def item(events: list[dict[str, Any]], key: str = "p", **asked: Any) -> dict[str, Any]:
    return answers(Entity.ITEM, events, ask(key, **asked))[0]


def customer(events: list[dict[str, Any]], key: str = "c", **asked: Any) -> dict[str, Any]:
    return answers(Entity.CUSTOMER, events, ask(key, **asked))[0]


def products_of(events: list[dict[str, Any]], key: str, **asked: Any) -> set[str]:
    """Which products a customer dealt with: each test names them after the event."""
    return set(customer(events, key, **asked)["recent_items"])


def test_an_item_counts_each_line_and_halves_it_with_each_half_life() -> None:
    events = [
        track(LIST_VIEWED, 0, "p", "q", "p"),
        track(CLICKED, 6, "p"),
        track(CLICKED, 12, "p"),
        track(ORDERED, -12, "p"),
        track(VIEWED, 12, "q"),
    ]
    row = item(events)
    assert row["last_event_at"] == at(12).timestamp()
    assert row["event_count"] == 5
    assert row["impressions_6h"] == pytest.approx(2 * 0.25)
    assert row["impressions_7d"] == pytest.approx(2 * 2 ** (-12 / 168))
    assert row["clicks_6h"] == pytest.approx(0.5 + 1)
    assert row["orders_30d"] == pytest.approx(2 ** (-1 / 30))
    assert row["views_6h"] == 0.0


def test_a_customer_counts_each_event_once_and_each_line_is_an_interaction() -> None:
    row = customer([track(ADDED, 0, "p", "q", "p"), track(ADDED, -24, "r")])
    assert row["event_count"] == 2
    assert row["carts_1d"] == pytest.approx(1.5)
    assert row["recent_items"] == ["q", "p", "p", "r"]
    assert row["recent_actions"] == [Action.ADDED] * 4
    assert row["recent_times"] == [ms(0)] * 3 + [ms(-24)]


def test_recent_is_ordered_by_time_then_product_then_action_and_cut() -> None:
    many = [track(VIEWED, -1, f"old{n}") for n in range(RECENT.k)]
    tied = [track(CLICKED, 0, "p10", "p9"), track(VIEWED, 0, "p10", "\u00e9")]
    row = customer([*many, *tied])
    assert row["recent_items"][:6] == ["\u00e9", "p9", "p10", "p10", "old9", "old8"]
    assert row["recent_actions"][:4] == [Action.VIEWED, Action.CLICKED, Action.VIEWED, Action.CLICKED]
    assert len(row["recent_items"]) == len(row["recent_times"]) == RECENT.k


def test_what_was_shown_keeps_positions_newest_first() -> None:
    lists = [track(LIST_VIEWED, 0, "p", "q"), track(LIST_VIEWED, 1, "q"), track(CLICKED, 2, "q")]
    for list_ in lists:
        list_["products"] = [{**product, "position": place} for place, product in enumerate(list_["products"], 1)]
    row = answers(Entity.EXPOSURE, lists, ask("c"))[0]
    assert row["event_count"] == 2
    assert row["shown_items"] == ["q", "q", "p"]
    assert row["shown_positions"] == [1, 2, 1]
    assert row["shown_times"] == [ms(1), ms(0), ms(0)]


def test_what_does_not_concern_the_entity_does_not_count() -> None:
    events = [
        track(LIST_VIEWED, 5, "p"),
        track(CLICKED, 5),
        track(CLICKED, 5, "p", type="page"),
        track(CLICKED, 5, "p", products=None),
        track(CLICKED, 0, "p"),
    ]
    row = customer(events)
    assert (row["event_count"], row["last_event_at"]) == (1, NOON.timestamp())


def test_the_place_and_the_moment_say_what_is_known() -> None:
    events = [
        track(CLICKED, -3, "file"),
        track(CLICKED, 0, "first", source=TOPIC, partition=0, offset=0),
        track(CLICKED, 1, "second", source=TOPIC, partition=0, offset=1),
        track(CLICKED, 2, "other", source=TOPIC, partition=1, offset=0),
    ]
    assert products_of(events, "c", place=None) == {"file"}
    assert products_of(events, "c", place=[1]) == {"file", "first"}
    assert products_of(events, "c", place=[1, 1]) == {"file", "first", "other"}
    assert products_of(events, "c", place=[2, 1], hours=1) == {"file", "first", "second", "other"}
    assert products_of(events, "c", place=[2, 1], hours=1, recomputed=True) == {"file", "first", "second"}


def test_requests_are_answered_in_order_and_apart() -> None:
    events = [track(CLICKED, 0, "p"), track(CLICKED, 1, "p", "q")]
    asked = (ask("q"), ask("nobody"), ask("p"), ask("p", hours=0, recomputed=True), ask("q"))
    rows = answers(Entity.ITEM, events, *asked)
    assert [(row["key"], row["event_count"]) for row in rows] == [("q", 1), ("nobody", 0), ("p", 2), ("p", 1), ("q", 1)]
    assert rows[1]["last_event_at"] is None
    assert rows[1]["clicks_6h"] is None
    nobody = customer(events, "nobody")
    assert (nobody["event_count"], nobody["clicks_1d"], nobody["recent_items"]) == (0, None, [])
    assert answers(Entity.CUSTOMER, events) == []


def test_a_visitor_who_signs_in_brings_along_what_came_before() -> None:
    events = [
        track(CLICKED, 0, "before", customer="a"),
        identify("a", "u", 1),
        track(CLICKED, 2, "after", customer="a"),
        track(CLICKED, 3, "signed", customer="u"),
    ]
    assert products_of(events, "u") == {"before", "after", "signed"}
    assert products_of(events, "a") == {"before", "after"}
    row = customer(events, "u")
    assert row["clicks_1d"] == pytest.approx(1 + 2 ** (-1 / 24) + 2 ** (-3 / 24))


def test_a_shared_device_belongs_to_whoever_signed_in_last() -> None:
    events = [
        track(CLICKED, 0, "early", customer="a"),
        identify("a", "u", 1),
        track(CLICKED, 2, "of_u", customer="a"),
        identify("a", "v", 3),
        track(CLICKED, 3, "of_v", customer="a"),
        identify("a", "u", 5),
        track(CLICKED, 6, "of_u_again", customer="a"),
    ]
    assert products_of(events, "u") == {"early", "of_u", "of_u_again"}
    assert products_of(events, "v") == {"of_v"}


def test_of_links_at_one_time_the_greater_user_counts_as_later() -> None:
    events = [
        identify("a", "v", 1),
        identify("a", "u", 1),
        track(CLICKED, 0, "early", customer="a"),
        track(CLICKED, 1, "late", customer="a"),
    ]
    assert products_of(events, "u") == {"early"}
    assert products_of(events, "v") == {"late"}


def test_aliases_are_followed_from_id_to_id() -> None:
    events = [
        identify("a", "u", 1),
        alias("u", "w", 2),
        alias("w", "x", 4),
        track(CLICKED, 0, "visited", customer="a"),
        track(CLICKED, 3, "signed", customer="u"),
    ]
    for key in ("x", "w", "u"):
        assert products_of(events, key) == {"visited", "signed"}
    assert products_of(events, "a") == {"visited"}


def test_a_cycle_ends_where_it_began() -> None:
    events = [alias("u", "w", 1), alias("w", "u", 2), track(CLICKED, 0, "one", customer="u")]
    events.append(track(CLICKED, 3, "two", customer="w"))
    assert products_of(events, "u") == products_of(events, "w") == {"one", "two"}
    assert customer(events, "u")["event_count"] == 2
    owners = {"u": [(1, "w")], "w": [(2, "x")], "x": [(3, "w")]}
    assert chain("u", 9, owners) == ["u", "w", "x"]


def test_links_that_say_nothing_are_none() -> None:
    empty = [identify("", "u", 1), identify("a", None, 1), identify("a", "", 1), alias("", "u", 1), alias("a", "", 1)]
    events = [*empty, track(CLICKED, 0, "p", customer="a"), track(CLICKED, 0, "q", customer="")]
    assert products_of(events, "u") == set()
    assert products_of(events, "a") == {"p"}
    to_itself = [identify("a", "u", 1), identify("a", "a", 2), alias("a", "a", 2), track(CLICKED, 3, "p", customer="a")]
    assert products_of(to_itself, "u") == {"p"}


def test_a_row_of_history_knows_of_no_later_link() -> None:
    events = [
        track(CLICKED, 0, "p", customer="a"),
        identify("a", "u", 1),
        track(CLICKED, 2, "q", customer="a"),
        identify("a", "v", 3),
    ]
    assert products_of(events, "u", hours=0.5, recomputed=True) == set()
    assert products_of(events, "u", hours=0.5) == {"p", "q"}
    assert products_of(events, "u", hours=1, recomputed=True) == {"p"}
    assert products_of(events, "u", hours=4, recomputed=True) == {"p", "q"}
    assert products_of(events, "v", hours=4, recomputed=True) == set()


def test_a_link_beyond_the_place_is_not_known() -> None:
    events = [
        track(CLICKED, 0, "p", customer="a", source=TOPIC, partition=0, offset=0),
        identify("a", "u", 1, source=TOPIC, partition=1, offset=7),
    ]
    assert products_of(events, "u", place=[1, 7]) == set()
    assert products_of(events, "u", place=[1, 8]) == {"p"}
    assert products_of(events, "u", place=[1]) == set()
