"""Sessions of Universal Analytics 360's export as events of the contract."""

from __future__ import annotations

from typing import Any

import pytest
from ga_exports import ga360_hit, ga360_product, ga360_row

from feature_repo.contract import check
from ingestion.exports.ga360 import EVENT_OF_ACTION, GA360

ORDER = {
    "transactionId": "T-1",
    "transactionRevenue": "21000000",
    "localTransactionRevenue": "19000000",
    "currencyCode": "EUR",
}
SHOWN = {"isImpression": True}


def events(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    mapping = GA360()
    return [event for row in rows for event in mapping.events(row)]


@pytest.mark.parametrize("action", EVENT_OF_ACTION)
def test_every_action_fulfils_the_contract(action: str) -> None:
    [event] = events(ga360_row(ga360_hit(2, action, ga360_product(1), transaction=ORDER)))
    assert check(event) is None
    assert event["event"] == EVENT_OF_ACTION[action]


def test_an_order_with_a_list_below_it() -> None:
    hit = ga360_hit(2, "6", ga360_product(1, productQuantity="2"), ga360_product(8, **SHOWN), transaction=ORDER)
    shown, ordered = events(ga360_row(hit))
    assert shown["properties"]["list_id"] == "Shelf"
    assert [product["product_id"] for product in shown["properties"]["products"]] == ["sku-8"]
    assert ordered == {
        "type": "track",
        "event": "Order Completed",
        "messageId": ordered["messageId"],
        "anonymousId": "7000000001",
        "timestamp": "2026-01-31T10:00:03.000Z",
        "context": {
            "sessionId": "7000000001.1769853600",
            "country": "France",
            "device": "tablet",
            "os": "iOS",
            "locale": "fr-fr",
            "channel": "Paid Search",
            "pagePath": "/mugs",
        },
        "properties": {
            "order_id": "T-1",
            "revenue": 19.0,
            "currency": "EUR",
            "products": [
                {
                    "product_id": "sku-1",
                    "name": "Mug 1",
                    "category": "Kitchen/Mugs",
                    "brand": "Potter",
                    "price": 9.5,
                    "quantity": 2,
                    "position": 1,
                }
            ],
        },
    }


def test_each_list_of_a_page_is_an_event() -> None:
    products = [ga360_product(n, **SHOWN, productListName=name) for n, name in enumerate(["A", "B", "A"], 1)]
    found = events(ga360_row(ga360_hit(1, "0", *products)))
    shown = {
        event["properties"]["list_id"]: [p["position"] for p in event["properties"]["products"]] for event in found
    }
    assert shown == {"A": [1, 3], "B": [2]}
    assert len({event["messageId"] for event in found}) == 2


def test_a_search() -> None:
    [event] = events(ga360_row(ga360_hit(1, "0", page={"pagePath": "/search", "searchKeyword": "mug"})))
    assert (event["event"], event["properties"]) == ("Products Searched", {"query": "mug"})


def test_ids_are_stable_and_of_hits() -> None:
    hit = ga360_hit(2, "2", ga360_product(1))
    first, again = events(ga360_row(hit)), events(ga360_row(hit, channelGrouping="Direct"))
    assert first[0]["messageId"] == again[0]["messageId"]
    # The part of a session after midnight is a row of its own, whose hits are counted anew.
    rows = [ga360_row(hit), ga360_row(hit, visitStartTime="1769860800"), ga360_row(hit, fullVisitorId="8")]
    rows.append(ga360_row(ga360_hit(3, "2", ga360_product(1))))
    assert len({event["messageId"] for event in events(*rows)}) == 4


def test_a_customer_is_tied_to_the_visitor() -> None:
    tie, viewed = events(ga360_row(ga360_hit(2, "2", ga360_product(1)), userId="ada"))
    assert (tie["type"], tie["userId"], tie["anonymousId"]) == ("identify", "ada", "7000000001")
    assert (check(tie), check(viewed)) == (None, None)
    assert tie["timestamp"] < viewed["timestamp"]


def test_what_gives_no_event_is_counted() -> None:
    mapping = GA360()
    row = ga360_row(
        ga360_hit(1, "0"),
        ga360_hit(2, "0", type="EVENT"),
        ga360_hit(3, "5", ga360_product(1), eCommerceAction={"action_type": "5", "step": "3"}),
        ga360_hit(4, "7", ga360_product(1)),
        ga360_hit(5, "2", ga360_product(1), ga360_product(2, productSKU="(not set)")),
    )
    assert len(list(mapping.events(row))) == 1
    assert mapping.passed_over == {
        "hit of type PAGE: nothing of a shop": 1,
        "hit of type EVENT: nothing of a shop": 1,
        "later step of a checkout": 1,
        "action of type 7: no event of the contract": 1,
        "product without productSKU": 1,
    }


@pytest.mark.parametrize(
    ("row", "reason", "field"),
    [
        (ga360_row(ga360_hit(1, "2")), "missing_field", "properties.products"),
        (ga360_row(ga360_hit(1, "6", ga360_product(1))), "missing_field", "properties.order_id"),
        (ga360_row(ga360_hit(1, "2", ga360_product(1)), visitStartTime=None), "missing_field", "timestamp"),
        (ga360_row(ga360_hit(1, "2", ga360_product(1)), fullVisitorId=None), "missing_field", "userId"),
        ({"anything": 1}, "missing_field", "type"),
    ],
)
def test_what_cannot_be_used_is_left_for_the_contract_to_refuse(row: dict[str, Any], reason: str, field: str) -> None:
    [event] = events(row)
    violation = check(event)
    assert violation is not None
    assert (violation.reason, violation.field) == (reason, field)
