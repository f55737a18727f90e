"""``python -m ingestion backfill`` of Google Analytics' exports, and of trackers' contexts, into a real offline store."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from ga_exports import FIRST_MICROS, ga4_item, ga4_row, ga360_hit, ga360_product, ga360_row
from ingestion_processes import run
from own_stack import OwnStack

from feature_repo import tables


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[OwnStack]:
    """An empty offline store; nothing runs."""
    stack = OwnStack.at(tmp_path / "home")
    with stack.exported():
        yield stack


def backfill(stack: OwnStack, *arguments: str) -> str:
    done = run(stack.environment(), "backfill", "--offline-only", *arguments, timeout=600)
    assert done.returncode == 0, done.stdout
    return done.stdout


def rows(table: tables.Table) -> list[dict[str, Any]]:
    return DeltaTable(table.uri).to_pyarrow_table().to_pylist()


def counts() -> dict[str, int]:
    """How many events each customer's features know of."""
    found: dict[str, int] = {}
    for row in rows(tables.CUSTOMER_ACTIVITY):
        found[row["customer_id"]] = max(found.get(row["customer_id"], 0), row["event_count"])
    return found


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def test_ga4_twice(stack: OwnStack, tmp_path: Path) -> None:
    def at(second: int, name: str, **changes: Any) -> dict[str, Any]:
        return ga4_row(name, event_timestamp=str(FIRST_MICROS + second * 1_000_000), **changes)

    cart = {"items": [ga4_item(1)]}
    visit = [at(0, "page_view"), at(1, "view_item_list"), at(2, "select_item", **cart), at(3, "view_item", **cart)]
    known = {"user_id": "ada"}
    order = [at(9, "add_to_cart", **cart, **known), at(20, "purchase", **known), at(21, "purchase", **known)]
    broken = [at(30, "view_item", items=[]), at(31, "add_to_cart", items=[ga4_item(1, price="dear")])]
    unwilling = at(40, "view_item", user_pseudo_id=None)
    for day, content in (("20260131", [*visit, *order, unwilling]), ("20260201", [*broken, visit[3]])):
        file = tmp_path / f"export/events_{day}/000000000000.json.gz"
        file.parent.mkdir(parents=True)
        file.write_bytes(gzip.compress(lines(*content) + (b"no json\n" if day == "20260201" else b"")))

    told = backfill(stack, "--format", "ga4", str(tmp_path / "export"))
    assert "12 rows of ga4 gave 11 events" in told
    assert "passed over 1: page_view: no event of a shop" in told
    assert "passed over 1: nobody's" in told
    # One order, however often the page with its thanks was opened; and a row that came with two days.
    assert "11 accepted = 6 processed + 3 quarantined + 2 duplicates" in told

    stored = sorted(rows(tables.EVENTS), key=lambda row: (row["timestamp"], row["type"]))
    assert [row["event"] or row["type"] for row in stored] == [
        "Product List Viewed",
        "Product Clicked",
        "Product Viewed",
        "identify",
        "Product Added",
        "Order Completed",
    ]
    assert {row["session_id"] for row in stored} == {"1234.5678.1769853000"}
    assert {(row["country"], row["device"], row["channel"]) for row in stored} == {("Germany", "mobile", "cpc")}
    assert [row["customer_id"] for row in stored] == ["1234.5678"] * 3 + ["ada"] * 3
    assert (stored[5]["order_id"], stored[5]["revenue"], stored[5]["currency"]) == ("T-1", 19.0, "EUR")
    assert [(p["product_id"], p["position"]) for p in stored[0]["products"]] == [("sku-1", 1), ("sku-2", 2)]
    refused = rows(tables.QUARANTINE)
    assert Counter(row["reason"] for row in refused) == {"missing_field": 1, "wrong_type": 1, "malformed_json": 1}
    assert {row["source"] for row in refused} == {"file:000000000000.json.gz.jsonl"}

    counted = counts()
    again = backfill(stack, "--format", "ga4", str(tmp_path / "export"))
    assert "11 accepted = 0 processed + 0 quarantined + 11 duplicates" in again
    assert counts() == counted
    assert counted["ada"] > 2  # what he did before he was known is his, too
    assert not list((stack.home / "spark").glob("export-*"))


def test_ga360(stack: OwnStack, tmp_path: Path) -> None:
    order = {"transactionId": "T-1", "localTransactionRevenue": "19000000", "currencyCode": "EUR"}
    shown = [ga360_product(number, isImpression=True) for number in (1, 2, 3)]
    session = ga360_row(
        ga360_hit(1, "0", *shown),
        ga360_hit(2, "2", ga360_product(2)),
        ga360_hit(3, "6", ga360_product(2, productQuantity="2"), transaction=order),
        ga360_hit(4, "2"),
        userId="ada",
    )
    file = tmp_path / "ga_sessions_20260131.json"
    file.write_bytes(lines(session))
    told = backfill(stack, "--format", "ga360", str(file))
    assert "5 accepted = 4 processed + 1 quarantined + 0 duplicates" in told
    stored = {row["event"] or row["type"]: row for row in rows(tables.EVENTS)}
    assert set(stored) == {"identify", "Product List Viewed", "Product Viewed", "Order Completed"}
    ordered = stored["Order Completed"]
    assert (ordered["session_id"], ordered["device"]) == ("7000000001.1769853600", "tablet")
    assert [(p["product_id"], p["quantity"], p["price"]) for p in ordered["products"]] == [("sku-2", 2, 9.5)]


def test_contexts_as_trackers_send_them(stack: OwnStack, tmp_path: Path) -> None:
    agent = "Mozilla/5.0 ({}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 {}Safari/537.36"
    contexts = {
        "word": ({"device": "Tablet", "country": "FR"}, "tablet", "FR"),
        "android": ({"device": {"type": "android", "model": "FP5"}}, "mobile", None),
        "iphone": ({"device": {"type": "ios", "model": "iPhone17,1"}, "location": {"country": "DE"}}, "mobile", "DE"),
        "ipad": ({"device": {"type": "iOS", "model": "iPad16,3"}}, "tablet", None),
        "chrome": ({"userAgent": agent.format("X11; Linux x86_64", "")}, "desktop", None),
        "chrome on a phone": ({"userAgent": agent.format("Linux; Android 10; K", "Mobile ")}, "mobile", None),
        "chrome on a tablet": ({"userAgent": agent.format("Linux; Android 10; K", "")}, "tablet", None),
        "server": ({"userAgent": "okhttp/4.12", "library": {"name": "analytics-java"}}, None, None),
        "nothing": ({}, None, None),
    }
    file = tmp_path / "events.jsonl"
    same = {"type": "screen", "anonymousId": "a1", "timestamp": "2026-01-31T10:00:00.000Z"}
    file.write_bytes(lines(*({**same, "messageId": name, "context": made[0]} for name, made in contexts.items())))
    backfill(stack, str(file))
    stored = {row["message_id"]: (row["device"], row["country"]) for row in rows(tables.EVENTS)}
    assert stored == {name: made[1:] for name, made in contexts.items()}
