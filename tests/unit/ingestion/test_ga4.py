"""Rows of Google Analytics 4's export as events of the contract."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from ga_exports import FIRST_MICROS, ga4_item, ga4_row

from feature_repo.contract import check
from feature_repo.settings import get_settings
from ingestion.exports.ga4 import EVENT_OF_NAME, GA4


def events(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    mapping = GA4()
    return [event for row in rows for event in mapping.events(row)]


@pytest.mark.parametrize("name", EVENT_OF_NAME)
def test_every_event_of_a_shop_fulfils_the_contract(name: str) -> None:
    [event] = events(ga4_row(name))
    assert check(event) is None
    assert event["event"] == EVENT_OF_NAME[name]


def test_a_list_in_full() -> None:
    [event] = events(ga4_row("view_item_list"))
    assert event == {
        "type": "track",
        "event": "Product List Viewed",
        "messageId": event["messageId"],
        "anonymousId": "1234.5678",
        "timestamp": "2026-01-31T10:00:00.123Z",
        "context": {
            "sessionId": "1234.5678.1769853000",
            "country": "Germany",
            "device": "mobile",
            "os": "Android",
            "locale": "de-de",
            "channel": "cpc",
            "pagePath": "/mugs",
        },
        "properties": {
            "list_id": "shelf",
            "currency": "EUR",
            "products": [
                {
                    "product_id": "sku-1",
                    "name": "Mug 1",
                    "category": "Kitchen/Mugs",
                    "brand": "Potter",
                    "price": 9.5,
                    "quantity": 1,
                    "position": 1,
                },
                {
                    "product_id": "sku-2",
                    "name": "Mug 2",
                    "category": "Kitchen/Mugs",
                    "brand": "Potter",
                    "price": 9.5,
                    "quantity": 1,
                    "position": 2,
                },
            ],
        },
    }


def test_an_order() -> None:
    [event] = events(ga4_row("purchase"))
    assert event["properties"]["order_id"] == "T-1"
    assert event["properties"]["revenue"] == 19.0
    unsaid = ga4_row("purchase", ecommerce={"transaction_id": "(not set)", "purchase_revenue": None})
    [event] = events(unsaid)
    assert event["properties"]["order_id"] == "T-param"
    assert event["properties"]["revenue"] == 18.0


@pytest.mark.parametrize(
    ("given", "places"),
    [
        (["0", "1"], [1, 2]),
        (["5", "6"], [5, 6]),
        (["(not set)", None], [1, 2]),
        (["4", "(not set)"], [1, 2]),
    ],
)
def test_places_in_a_list_count_from_one(given: list[str | None], places: list[int]) -> None:
    items = [ga4_item(number, item_list_index=index) for number, index in enumerate(given)]
    [event] = events(ga4_row("view_item_list", items=items))
    assert [product["position"] for product in event["properties"]["products"]] == places


def test_a_long_list_becomes_events_of_a_size_that_may_pass() -> None:
    items = [ga4_item(number, item_list_index=str(number + 1)) for number in range(150)]
    parts = events(ga4_row("view_item_list", items=items))
    assert len({part["messageId"] for part in parts}) == len(parts) == 3
    shown = [product for part in parts for product in part["properties"]["products"]]
    assert [product["position"] for product in shown] == list(range(1, 151))


def test_an_order_stays_one_however_large() -> None:
    changes = {"ecommerce": {"transaction_id": "T1"}}
    [some] = events(ga4_row("purchase", items=[ga4_item(number) for number in range(75)], **changes))
    assert len(some["properties"]["products"]) == 75
    assert some["properties"]["products"][0]["name"] == "Mug 0"
    [many] = events(ga4_row("purchase", items=[ga4_item(number) for number in range(400)], **changes))
    assert len(orjson.dumps(many)) < get_settings().collector.max_event_bytes
    assert many["properties"]["products"][399] == {"product_id": "sku-399", "price": 9.5, "quantity": 1}


def test_ids_are_stable_and_of_rows() -> None:
    row = ga4_row("add_to_cart")
    [first], [again] = events(row), events(ga4_row("add_to_cart", geo={"country": "France"}))
    assert first["messageId"] == again["messageId"]
    others = [
        ga4_row("add_to_cart", event_timestamp=str(FIRST_MICROS + 1)),
        ga4_row("add_to_cart", user_pseudo_id="other"),
        ga4_row("add_to_cart", batch_event_index="2"),
        ga4_row("add_to_cart", items=[ga4_item(7)]),
        ga4_row("remove_from_cart"),
    ]
    assert len({event["messageId"] for event in events(row, *others)}) == 1 + len(others)


def test_the_first_row_with_a_customer_ties_the_visitor_to_him() -> None:
    known = {"user_id": "ada", "user_pseudo_id": "v1"}
    found = events(
        ga4_row("view_item", **known),
        ga4_row("view_cart", **known),
        ga4_row("view_item", user_id="bob", user_pseudo_id="v1"),
    )
    assert [event["type"] for event in found] == ["identify", "track", "track", "identify", "track"]
    assert [check(event) for event in found] == [None] * 5
    assert (found[0]["userId"], found[0]["anonymousId"], found[3]["userId"]) == ("ada", "v1", "bob")


def test_rows_may_come_in_any_order() -> None:
    def at(second: int, customer: str, session: str) -> dict[str, Any]:
        param = {"key": "ga_session_id", "value": {"int_value": session}}
        changes = {"user_id": customer, "event_timestamp": str(FIRST_MICROS + second * 1_000_000)}
        return ga4_row("view_cart", event_params=[param], **changes)

    found = events(at(50, "ada", "1"), at(40, "ada", "1"), at(45, "ada", "1"), at(60, "bob", "2"), at(30, "bob", "2"))
    ties = [event for event in found if event["type"] == "identify"]
    assert [(tie["userId"], tie["timestamp"][17:19]) for tie in ties] == [
        ("ada", "50"),
        ("ada", "40"),
        ("bob", "00"),
        ("bob", "30"),
    ]
    # Of events with one id the earliest counts.
    assert len({tie["messageId"] for tie in ties}) == 2


def test_what_gives_no_event_is_counted() -> None:
    mapping = GA4()
    rows = [
        ga4_row("page_view"),
        ga4_row("page_view"),
        ga4_row("view_item", user_pseudo_id=None),
        ga4_row("view_item_list", items=[ga4_item(1), ga4_item(2, item_id="(not set)")]),
    ]
    assert len([event for row in rows for event in mapping.events(row)]) == 1
    assert sorted(mapping.passed_over.values()) == [1, 1, 2]
    assert mapping.passed_over["page_view: no event of a shop"] == 2


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        (ga4_row("view_item", items=[]), "missing_field", "properties.products"),
        (ga4_row("view_item", event_timestamp=None), "missing_field", "timestamp"),
        (ga4_row("view_item", event_timestamp="noon"), "bad_timestamp", "timestamp"),
        (ga4_row("view_item", event_timestamp=str(10**20)), "bad_timestamp", "timestamp"),
        (ga4_row("view_item", items=[ga4_item(1, price="dear")]), "wrong_type", "properties.products.price"),
        (ga4_row("view_item", items=[ga4_item(1, quantity=-1)]), "absurd_value", "properties.products.quantity"),
        (ga4_row("search", event_params=[]), "missing_field", "properties.query"),
        ({"anything": 1}, "missing_field", "type"),
    ],
)
def test_what_cannot_be_used_is_left_for_the_contract_to_refuse(row: dict[str, Any], reason: str, field: str) -> None:
    [event] = events(row)
    violation = check(event)
    assert violation is not None
    assert (violation.reason, violation.field) == (reason, field)
