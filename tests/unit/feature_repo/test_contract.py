"""The contract's checks: each kind of bad event gets its reason, and good ones of every shape pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from feature_repo import contract
from feature_repo.contract import Reason

GOOD: dict[str, Any] = {
    "type": "track",
    "event": "Product Viewed",
    "messageId": "m-1",
    "anonymousId": "a-1",
    "timestamp": "2026-01-02T03:04:05.678Z",
    "properties": {"product_id": "p-1", "price": 9.5},
}

BAD: list[tuple[dict[str, Any], Reason, str]] = [
    ({"type": "telepathy"}, Reason.UNKNOWN_TYPE, "type"),
    ({"messageId": None}, Reason.MISSING_FIELD, "messageId"),
    ({"messageId": "m" * 101}, Reason.TOO_LONG, "messageId"),
    ({"anonymousId": " "}, Reason.MISSING_FIELD, "userId"),
    ({"timestamp": "yesterday"}, Reason.BAD_TIMESTAMP, "timestamp"),
    ({"timestamp": "2026-02-30T00:00:00Z"}, Reason.BAD_TIMESTAMP, "timestamp"),
    ({"timestamp": 1767322800}, Reason.BAD_TIMESTAMP, "timestamp"),
    ({"version": 2}, Reason.NEWER_VERSION, "version"),
    ({"event": "Product Dreamt Of"}, Reason.UNKNOWN_EVENT, "event"),
    ({"event": None}, Reason.MISSING_FIELD, "event"),
    ({"properties": {}}, Reason.MISSING_FIELD, "properties.products"),
    ({"properties": {"product_id": "p", "price": "9.50"}}, Reason.WRONG_TYPE, "properties.price"),
    ({"properties": {"product_id": "p", "price": -1}}, Reason.ABSURD_VALUE, "properties.price"),
    ({"properties": {"products": [{"name": "nameless"}]}}, Reason.MISSING_FIELD, "properties.products.product_id"),
    (
        {"properties": {"products": [{"product_id": "p", "quantity": 10**16}]}},
        Reason.ABSURD_VALUE,
        "properties.products.quantity",
    ),
    ({"event": "Order Completed"}, Reason.MISSING_FIELD, "properties.order_id"),
    ({"event": "Products Searched"}, Reason.MISSING_FIELD, "properties.query"),
]


@pytest.mark.parametrize(("change", "reason", "field"), BAD)
def test_bad_events_get_a_reason_and_the_field(change: dict[str, Any], reason: Reason, field: str) -> None:
    violation = contract.check(GOOD | change)
    assert violation is not None
    assert (violation.reason, violation.field) == (reason, field)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"properties": {"product_id": 17}},
        {"properties": {"products": [{"product_id": "p", "price": 3, "colour": "unknown keys are ignored"}]}},
        {"timestamp": "2026-01-02T03:04:05+02:00"},
        {"timestamp": "2026-01-02 03:04:05"},
        {"type": "identify", "event": None, "properties": None, "traits": {"name": "Ada"}},
        {"context": {"device": {"type": "ios"}, "os": {"name": "iOS"}, "page": {"path": "/"}}},
        {"version": 1},
    ],
)
def test_good_events_pass(change: dict[str, Any]) -> None:
    assert contract.check(GOOD | change) is None


@pytest.mark.parametrize("value", [None, 7, "text", [], [GOOD]])
def test_what_is_not_an_object_is_refused(value: Any) -> None:
    assert contract.check(value) is not None


def test_the_page_for_people_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "events.md"
    assert page.read_text() == contract.as_markdown(), "run `python -m feature_repo.contract > docs/events.md`"
