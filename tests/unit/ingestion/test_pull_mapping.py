"""From records to events: conversions, ids that follow from the content, and what is left for the contract to refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from feature_repo.contract import check
from feature_repo.settings import get_settings
from ingestion.crm import config
from ingestion.crm.drift import Shape, used_paths
from ingestion.crm.mapping import event_of, moment, wanted
from ingestion.crm.state import KnownField
from ingestion.health.checks import ApiPull, Status, pull_checks

ORDER: dict[str, Any] = {
    "id": 450789469,
    "processed_at": "2026-01-10T11:00:00-05:00",
    "updated_at": "2026-01-10T11:00:05-05:00",
    "customer": {"id": 207119551},
    "subtotal_price": "597.00",
    "line_items": [{"product_id": 632910392, "price": "199.00", "quantity": 3}],
}


@pytest.fixture
def shop(tmp_path: Path) -> config.PullConfig:
    path = tmp_path / "shop.toml"
    path.write_text('preset = "shopify"\nbase_url = "https://my-shop.myshopify.com/admin/api/2025-10"\n')
    return config.load(path)


def event(shop: config.PullConfig, record: Any, kind: str = "orders") -> dict[str, Any]:
    return event_of("shop", kind, record, shop.resources[kind])


def test_an_order(shop: config.PullConfig) -> None:
    made = event(shop, ORDER)
    assert check(made) is None
    assert made["userId"] == "207119551"
    assert made["timestamp"] == "2026-01-10T16:00:00.000Z"
    assert made["properties"] == {
        "order_id": "450789469",
        "revenue": 597.0,
        "products": [{"product_id": "632910392", "price": 199.0, "quantity": 3}],
    }


def test_the_id_follows_from_what_counts_and_from_nothing_else(shop: config.PullConfig) -> None:
    id_ = event(shop, ORDER)["messageId"]
    assert len(id_) <= 100
    assert event(shop, ORDER | {"updated_at": "2026-02-01T00:00:00Z", "note": "gift"})["messageId"] == id_
    assert event(shop, ORDER | {"subtotal_price": "1"})["messageId"] != id_
    assert event(shop, ORDER | {"id": 7})["messageId"] != id_
    customer = {"id": 7, "updated_at": "2026-01-01T00:00:00Z", "tags": "vip"}
    earlier = event(shop, customer, "customers")
    later = event(shop, customer | {"updated_at": "2026-01-02T00:00:00Z"}, "customers")
    assert earlier["traits"] == later["traits"] == {"tags": "vip"}
    # He may have been something else in between, and these traits are the newest again.
    assert earlier["messageId"] != later["messageId"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": None}, "properties.order_id"),
        ({"processed_at": "yesterday"}, "timestamp"),
        ({"processed_at": None}, "timestamp"),
        ({"subtotal_price": "NaN"}, "properties.revenue"),
        ({"subtotal_price": {"amount": 1}}, "properties.revenue"),
        ({"subtotal_price": "-5"}, "properties.revenue"),
        ({"line_items": "three mugs"}, "properties.products"),
        ({"line_items": []}, "properties.products"),
        ({"line_items": [{"product_id": 1, "quantity": "1.5"}]}, "properties.products.quantity"),
        ({"line_items": [{"product_id": True}]}, "properties.products.product_id"),
        ({"customer": {"id": {"gid": 1}}}, "userId"),
    ],
)
def test_what_cannot_be_mapped_is_an_event_that_the_contract_refuses(
    shop: config.PullConfig, change: dict[str, Any], field: str
) -> None:
    violation = check(event(shop, ORDER | change))
    assert violation is not None
    assert violation.field == field


@pytest.mark.parametrize("record", ["an order", None, 7, ["x"], {}])
def test_what_is_no_record_is_refused_too(shop: config.PullConfig, record: Any) -> None:
    for kind in ("orders", "customers"):
        made = event(shop, record, kind)
        assert check(made) is not None
        assert made["messageId"] == event(shop, record, kind)["messageId"]


def test_who_is_wanted(shop: config.PullConfig) -> None:
    assert shop.orders is not None
    only = shop.orders.model_copy(update={"only_if": ["customer.id"]})
    assert wanted(ORDER, only)
    assert not wanted(ORDER | {"customer": None}, only)
    assert not wanted(ORDER | {"cancelled_at": "2026-01-11T00:00:00Z"}, only)
    assert wanted(ORDER | {"test": "false"}, only)
    assert not wanted(ORDER | {"test": True}, only)


@pytest.mark.parametrize(
    ("value", "iso"),
    [
        ("2026-01-10T11:00:00-05:00", "2026-01-10T16:00:00+00:00"),
        ("2026-01-10T11:00:00", "2026-01-10T11:00:00+00:00"),
        (1768060800, "2026-01-10T16:00:00+00:00"),
        ("1768060800000", "2026-01-10T16:00:00+00:00"),
        ("soon", None),
        ("20260131", None),
        (-1, None),
        (True, None),
        (None, None),
        (1e300, None),
        ("inf", None),
    ],
)
def test_times(value: Any, iso: str | None) -> None:
    found = moment(value)
    assert (found.isoformat() if found else None) == iso


def test_changes_of_fields(shop: config.PullConfig) -> None:
    assert shop.orders is not None
    used = used_paths(shop.orders)

    def shape(*records: Any) -> Shape:
        seen = Shape()
        for record in records:
            seen.add(record)
        return seen

    known = shape(ORDER, ORDER | {"note": "once"}, ORDER | {"customer": None}).merged({})
    assert shape(ORDER).against({}, used) == []
    assert shape(ORDER | {"customer": None}, ORDER | {"line_items": []}).against(known, used) == []
    assert [str(change) for change in shape(ORDER | {"customer": {"gid": "x"}, "id": "1"}).against(known, used)] == [
        "customer.gid appeared (text)",
        "id changed type (was number, now also text), and the mapping uses it",
        "customer.id vanished, and the mapping uses it",
    ]
    # What has been told is known from then on.
    changed = shape(ORDER | {"customer": {"gid": "x"}, "id": "1"})
    assert changed.against(changed.merged(known), used) == []
    back = shape(ORDER).against(changed.merged(known), used)
    assert [str(change) for change in back] == ["customer.gid vanished"]


def test_keys_that_are_data_do_not_grow_without_end() -> None:
    seen = Shape()
    for number in range(3_000):
        seen.add({"stock": {f"p{number}": 1}})
    assert len(seen.merged({})) <= 1_000


def test_pulls_in_the_health() -> None:
    well, failed, drifted = pull_checks(
        [
            ApiPull("shop/orders", 30.0, ""),
            ApiPull("shop/customers", None, "answers 401"),
            ApiPull("crm/customers", 5.0, "", ["id vanished"]),
        ]
    )
    assert (well.status, well.value, well.advice) == (Status.OK, 30.0, "")
    assert (failed.status, failed.advice, failed.detail) == (Status.ALARM, "answers 401", "never came to its end")
    assert drifted.status is Status.ALARM
    assert "id vanished" in drifted.advice


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2026-01-31T12:00:00.000+0000", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31T12:00:00-05:00", "2026-01-31T17:00:00+00:00"),
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("20260131", None),
        ("next-week", None),
        ("-1", None),
    ],
)
def test_times_in_all_forms_of_iso_8601(said: str, meant: str | None) -> None:
    found = moment(said)
    assert (found.isoformat() if found else None) == meant


def test_what_json_cannot_be_written_with_stops_nothing(shop: config.PullConfig) -> None:
    line = {"product_id": 7, "price": 1, "quantity": 1, "title": "Mug \ud83d"}
    made = event(shop, ORDER | {"line_items": [line]})
    assert check(made) is None
    assert made["properties"]["products"][0]["name"] == "Mug \ufffd"
    customer = {"id": 7, "updated_at": "2026-01-01T00:00:00Z", "tags": 10**20}
    assert event(shop, customer, "customers")["traits"] == {"tags": str(10**20)}


def test_what_is_nested_deeply_becomes_text(shop: config.PullConfig) -> None:
    tags: Any = "bottom"
    for _ in range(400):
        tags = [tags]
    made = event(shop, {"id": 7, "updated_at": "2026-01-01T00:00:00Z", "tags": tags}, "customers")
    assert check(made) is None
    assert b"bottom" in orjson.dumps(made["traits"])


def test_an_order_of_very_many_lines_still_fits_into_an_event(shop: config.PullConfig) -> None:
    line = {"price": "19.90", "quantity": 2, "title": "A mug with a long name " * 5, "vendor": "Potters of Alba"}
    made = event(shop, ORDER | {"line_items": [{"product_id": number, **line} for number in range(400)]})
    assert check(made) is None
    assert len(orjson.dumps(made)) < get_settings().collector.max_event_bytes
    assert made["properties"]["products"][399] == {"product_id": "399", "price": 19.9, "quantity": 2}


def test_keys_that_are_data_do_not_become_fields_for_ever() -> None:
    known: dict[str, KnownField] = {}
    for pull in range(4):
        shape = Shape()
        for number in range(600):
            shape.add({"lines": {f"{pull}-{number}": 1}})
        known = shape.merged(known)
    assert len(known) < 2_000
    assert not [change for change in shape.against(known, frozenset()) if change.what == "appeared"]
