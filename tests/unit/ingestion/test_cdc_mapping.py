"""From Debezium's records to orders and products: when an order is complete, what is kept, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from feature_repo.contract import check
from feature_repo.errors import InputError
from feature_repo.settings import HOME_VARIABLE, get_settings
from ingestion.changes import envelope
from ingestion.changes.config import Mapping, load
from ingestion.changes.mapper import Mapper, News, _is_one
from ingestion.changes.products import catalogue_rows
from ingestion.changes.state import State

MAPPING = """
[orders]
table = "public.orders"
only_if = { status = ["paid", "sent"] }
settle_seconds = 5
order_id = "id"
user_id = "customer_id"
timestamp = "placed_at"
revenue = "net"

[lines]
table = "public.order_lines"
order = "order_id"
product_id = "product_id"
price = "price"
quantity = "quantity"

[products]
table = "public.products"
only_if = { listed = [true] }
product_id = "id"
name = "name"
price = "price"
stock = "stock"
"""
SAID = {"product_id", "name", "price", "stock"}
AT = 1_780_000_000_000  # milliseconds


def order(id_: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": id_,
        "customer_id": 7,
        "placed_at": "2026-03-01T12:00:00Z",
        "net": "19.00",
        "status": "paid",
        **changes,
    }


def line(id_: int, order_id: int, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "order_id": order_id, "product_id": "mug", "price": "9.50", "quantity": 2, **changes}


def product(id_: str, **changes: Any) -> dict[str, Any]:
    return {"id": id_, "name": "Mug", "price": "9.50", "stock": 3, "listed": True, **changes}


class Shop:
    """A mapper, told by records as Debezium writes them."""

    def __init__(self, mapping: Mapping) -> None:
        self.state = State(mapping.name)
        self._mapping = mapping
        self.now = AT

    def tell(self, *records: tuple[Any, Any]) -> News:
        mapper = Mapper(self._mapping, self.state)
        for key, value in records:
            if said := envelope.read(orjson.dumps(key) if key else None, orjson.dumps(value)):
                mapper.take(said)
        mapper.take_complete()
        return mapper.news

    def later(self, seconds: float = 5.0) -> News:
        """The connector's sign of life, so long after the last."""
        self.now += int(seconds * 1000)
        return self.tell(alive(self.now))


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    get_settings.cache_clear()
    path = tmp_path / "shop.toml"
    path.write_text(MAPPING)
    found = Shop(load(path))
    yield found
    found.state.close()
    monkeypatch.undo()
    get_settings.cache_clear()


def change(
    op: str, table: str, row: dict[str, Any], txn: str = "5", at: int = AT, snapshot: str = "false"
) -> tuple[Any, Any]:
    """What Debezium says of a row; of one that was deleted, it knows the key."""
    gone = op == "d"
    return {"id": row["id"]}, {
        "before": {"id": row["id"]} if gone else None,
        "after": None if gone else row,
        "source": {"schema": "public", "table": table, "ts_ms": at, "snapshot": snapshot},
        "op": op,
        "transaction": {"id": f"{txn}:{at}"} if txn else None,
    }


def alive(at: int) -> tuple[Any, Any]:
    return {"prefix": "shelfwise"}, {"op": "m", "ts_ms": at + 9, "source": {"schema": "", "table": "", "ts_ms": at}}


def found(table: str, row: dict[str, Any], mark: str = "true") -> tuple[Any, Any]:
    return change("r", table, row, txn="", snapshot=mark)


def ended(txn: str = "5") -> tuple[Any, Any]:
    return {"id": txn}, {"status": "END", "id": f"{txn}:9", "event_count": 2}


def test_an_order_counts_when_its_transaction_has_ended_and_no_more_lines_come(shop: Shop) -> None:
    assert not shop.tell(change("c", "orders", order(1)), change("c", "order_lines", line(1, 1))).orders
    assert not shop.later(0).orders, "the transaction has not ended"
    assert not shop.tell(change("c", "order_lines", line(2, 1, product_id="cup")), ended()).orders

    (event,) = shop.later().orders.values()

    assert check(event) is None
    assert (event["event"], event["userId"], event["timestamp"]) == ("Order Completed", "7", "2026-03-01T12:00:00.000Z")
    assert event["properties"] == {
        "order_id": "1",
        "revenue": 19.0,
        "products": [
            {"product_id": "mug", "price": 9.5, "quantity": 2},
            {"product_id": "cup", "price": 9.5, "quantity": 2},
        ],
    }


def test_lines_that_come_in_transactions_of_their_own_are_waited_for(shop: Shop) -> None:
    shop.tell(change("c", "orders", order(1), "5"), ended("5"), change("c", "order_lines", line(1, 1), "6"), ended("6"))
    assert not shop.later(4).orders
    shop.tell(change("c", "order_lines", line(2, 1), "7", at=AT + 4_000), ended("7"))
    assert not shop.later(4).orders
    (event,) = shop.later(1).orders.values()
    assert len(event["properties"]["products"]) == 2


def test_lines_that_are_read_late_are_not_missed(shop: Shop) -> None:
    """Whoever was away, and however long: between the lines, one second passed in the database."""
    shop.tell(change("c", "orders", order(1), "5"), change("c", "order_lines", line(1, 1), "5"), ended("5"))
    shop.state.commit()
    shop.state.close()
    shop.state = State("shop")
    assert not shop.tell().orders, "nothing says that no more lines came"
    shop.tell(change("c", "order_lines", line(2, 1), "6", at=AT + 1_000), ended("6"))
    assert not shop.tell().orders
    (event,) = shop.tell(change("u", "products", product("mug"), "7", at=AT + 6_000)).orders.values()
    assert len(event["properties"]["products"]) == 2


def test_a_snapshot_may_find_an_order_before_all_of_its_lines_are_there(shop: Shop) -> None:
    assert not shop.tell(found("orders", order(1), "first"), found("order_lines", line(1, 1), "last")).orders
    shop.tell(change("c", "order_lines", line(2, 1), "6", at=AT + 1_000), ended("6"))
    (event,) = shop.later(6).orders.values()
    assert len(event["properties"]["products"]) == 2


def test_an_order_waits_until_it_is_as_it_must_be(shop: Shop) -> None:
    shop.tell(change("c", "orders", order(1, status="open")), change("c", "order_lines", line(1, 1)), ended())
    assert not shop.later().orders
    shop.tell(change("u", "orders", order(1), "8", at=shop.now), ended("8"))
    assert list(shop.later().orders) == ["1"]


def test_what_has_counted_counts_once(shop: Shop) -> None:
    shop.tell(change("c", "orders", order(1)), change("c", "order_lines", line(1, 1)), ended())
    first = shop.later().orders
    shop.state.forget_counted("1")

    again = (
        change("u", "orders", order(1, status="sent"), "6"),
        change("u", "order_lines", line(1, 1, quantity=9), "6"),
        change("c", "order_lines", line(2, 1), "6"),
        ended("6"),
        found("orders", order(1), "first"),
        found("order_lines", line(1, 1), "last"),
    )
    assert list(first) == ["1"]
    assert not shop.tell(*again).orders
    assert not shop.later(60).orders
    assert shop.state.uncounted() == 0
    assert shop.tell(change("d", "orders", order(1), "7"), ended("7")).taken_back == 1


def test_an_order_that_is_deleted_before_it_counts_does_not_count(shop: Shop) -> None:
    shop.tell(change("c", "orders", order(1)), change("c", "order_lines", line(1, 1)), ended())
    news = shop.tell(change("d", "order_lines", line(1, 1), "6"), change("d", "orders", order(1), "6"), ended("6"))
    assert news.taken_back == 0
    assert not shop.later(60).orders
    assert shop.state.uncounted() == 0


def test_a_snapshot_is_complete_at_its_end(shop: Shop) -> None:
    assert not shop.tell(found("order_lines", line(1, 1), "first"), found("orders", order(1))).orders
    assert not shop.later(60).orders
    assert list(shop.tell(found("order_lines", line(2, 1), "last")).orders) == ["1"]
    assert not shop.later(60).orders


def test_told_again_from_the_middle_of_a_transaction_it_comes_to_the_same(shop: Shop) -> None:
    records = [
        change("c", "orders", order(1)),
        change("c", "order_lines", line(1, 1)),
        change("c", "order_lines", line(2, 1)),
    ]
    earlier = [change("c", "orders", order(9), "4"), ended("4")]
    shop.tell(*earlier, *records[:2])
    assert not shop.tell(*earlier, *records[:1]).orders
    shop.tell(*records[1:], ended())
    (event,) = shop.later().orders.values()
    assert len(event["properties"]["products"]) == 2


def test_a_line_that_belongs_to_another_order_now(shop: Shop) -> None:
    shop.tell(
        change("c", "orders", order(1)), change("c", "order_lines", line(1, 1)), change("c", "order_lines", line(2, 1))
    )
    shop.tell(change("u", "order_lines", line(2, 9)), change("c", "order_lines", line(3, 1)), ended())
    shop.tell(change("u", "order_lines", line(3, 1) | {"order_id": None}, "6"), ended("6"))
    (event,) = shop.later().orders.values()
    assert len(event["properties"]["products"]) == 1


def test_the_id_of_an_order_follows_from_what_it_says(shop: Shop) -> None:
    records = (change("c", "orders", order(1)), change("c", "order_lines", line(1, 1)), ended())
    shop.tell(*records)
    (once,) = shop.later().orders.values()
    shop.tell(*records)
    (again,) = shop.later().orders.values()
    assert once == again


def test_a_product(shop: Shop) -> None:
    (made,) = shop.tell(change("c", "products", product("mug"))).products
    at = datetime.fromtimestamp(AT / 1000, UTC)
    assert made.fields == {"product_id": "mug", "name": "Mug", "price": 9.5, "stock": 3}
    assert (made.at, made.created_at) == (at, at)

    (unlisted,) = shop.tell(change("u", "products", product("mug", listed=False), at=AT + 1)).products
    assert unlisted.fields["stock"] == 0

    (gone,) = shop.tell(change("d", "products", product("mug"), at=AT + 2)).products
    assert gone.fields == {"product_id": "mug", "name": "Mug", "price": 9.5, "stock": 0}


def test_a_day_as_debezium_writes_it_is_a_time(shop: Shop) -> None:
    placed = order(1, placed_at="2026-03-01Z")
    shop.tell(change("c", "orders", placed), change("c", "order_lines", line(1, 1)), ended())
    (event,) = shop.later().orders.values()
    assert check(event) is None
    assert event["timestamp"] == "2026-03-01T00:00:00.000Z"


def test_a_product_that_was_there_before_counts_from_always(shop: Shop) -> None:
    offered = shop.tell(found("products", product("mug"), "first")).products
    assert [row["event_timestamp"].year for row in catalogue_rows(offered, {}, SAID).to_pylist()] == [2000, 2026]
    assert [row["event_timestamp"].year for row in catalogue_rows(offered, {"mug": {}}, SAID).to_pylist()] == [2026]


def test_what_the_table_does_not_say_stays_as_it_is_known(shop: Shop) -> None:
    assert shop._mapping.products
    assert shop._mapping.products.says == SAID
    known = {
        "mug": {"name": "Cup", "category": "Kitchen", "brand": "Acme", "price": 3.0, "stock": 9, "origin": "removed"}
    }
    offered = shop.tell(change("u", "products", product("mug", price=None))).products
    (row,) = catalogue_rows(offered, known, SAID).to_pylist()
    assert (row["name"], row["category"], row["brand"]) == ("Mug", "Kitchen", "Acme")
    assert (row["price"], row["stock"], row["origin"]) == (None, 3, "catalog"), "a NULL of the table is one"


def test_a_snapshot_notices_what_was_deleted_while_nobody_looked(shop: Shop) -> None:
    shop.tell(found("products", product("mug"), "first"), found("products", product("cup"), "last"))
    news = shop.tell(found("products", product("cup"), "first"), found("orders", order(1), "last"))
    assert [(row.fields["product_id"], row.fields["stock"]) for row in news.products] == [("cup", 3), ("mug", 0)]
    news = shop.tell(found("orders", order(1), "first"), found("order_lines", line(1, 1), "last"))
    assert [row.fields["stock"] for row in news.products] == [0], "a table that is empty has no products"


def test_a_snapshot_whose_first_table_is_empty_has_no_first_row(shop: Shop) -> None:
    shop.tell(found("products", product("mug"), "first"), found("products", product("cup"), "last"))
    news = shop.tell(found("products", product("cup"), "true"), found("products", product("pen"), "last"))
    assert [(row.fields["product_id"], row.fields["stock"]) for row in news.products] == [
        ("cup", 3),
        ("pen", 3),
        ("mug", 0),
    ]


def test_a_table_that_is_emptied_has_no_rows_any_more(shop: Shop) -> None:
    shop.tell(
        change("c", "orders", order(1)), change("c", "order_lines", line(1, 1)), change("c", "products", product("mug"))
    )
    _, value = change("t", "products", product("mug"), at=AT + 1)
    (gone,) = shop.tell((None, {**value, "after": None})).products
    assert (gone.fields["product_id"], gone.fields["stock"]) == ("mug", 0)
    _, value = change("t", "order_lines", line(1, 1), at=AT + 1)
    shop.tell((None, {**value, "after": None}), ended())
    assert not shop.later().orders


def test_numbers_are_compared_as_such(shop: Shop) -> None:
    assert _is_one({"status": "1.00"}, {"status": [1]})
    assert not _is_one({"status": "1.50"}, {"status": [1]})
    assert not _is_one({"status": "open"}, {"status": [1]})


def test_a_long_value_that_did_not_change_is_known(shop: Shop) -> None:
    shop.tell(change("c", "products", product("mug", name="Long")))
    (made,) = shop.tell(change("u", "products", product("mug", name=envelope.UNCHANGED, stock=1))).products
    assert (made.fields["name"], made.fields["stock"]) == ("Long", 1)
    (refused,) = shop.tell(change("u", "products", product("cup", name=envelope.UNCHANGED))).refused
    assert "was not sent" in refused["why"]


@pytest.mark.parametrize(
    ("record", "reason", "why"),
    [
        (change("c", "products", product("mug", price="dear")), "wrong_type", "price"),
        (change("c", "products", product("mug", price="-1")), "absurd_value", "price"),
        (change("c", "products", product("mug", stock="2.5")), "unknown_event", "stock"),
        (change("c", "products", {"id": "mug", "name": "Mug"}), "unknown_event", "has no column listed, price, stock"),
        (change("c", "order_lines", {"id": 1}), "unknown_event", "has no column order_id, price"),
    ],
)
def test_what_cannot_be_used_is_for_the_quarantine(shop: Shop, record: tuple[Any, Any], reason: str, why: str) -> None:
    news = shop.tell(record)
    assert not news.products
    (call,) = news.refused
    assert why in call["why"]
    assert call["record"] == record[1]["after"]
    violation = check(call)
    assert violation is not None
    assert violation.reason == reason
    assert shop.tell(record).refused == [call], "the same has the same id"


def test_another_primary_key_than_the_mapping_says_holds_up_nothing(shop: Shop) -> None:
    _, value = change("c", "order_lines", line(1, 1))
    news = shop.tell(({"order_id": 1, "place": 0}, value), change("c", "products", product("mug")))
    (refused,) = news.refused
    assert 'has to say key = ["order_id","place"]' in refused["why"]
    assert len(news.products) == 1


def test_a_product_under_its_old_primary_key_is_not_gone(shop: Shop) -> None:
    shop.tell(change("c", "products", product("mug")))
    assert shop._mapping.products
    products = shop._mapping.products.model_copy(update={"key": ["sku"]})
    shop._mapping = shop._mapping.model_copy(update={"products": products})
    _, value = found("products", product("mug"), "last")
    assert [
        row.fields["stock"]
        for row in shop.tell(({"sku": "mug"}, {**value, "after": {**product("mug"), "sku": "mug"}})).products
    ] == [3]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (b'{"id": 1}', b"\xff", "not JSON"),
        (b'{"id": 1}', b"[]", "no JSON object"),
        (b'{"id": 1}', b'{"op": "c"}', "which table"),
        (
            b'{"id": 1}',
            b'{"op": "c", "after": {}, "source": {"schema": "", "table": "", "ts_ms": "x"}}',
            "not as Debezium",
        ),
        (b'{"id": 1}', b'{"schema": {}, "payload": {}}', "schemas.enable"),
        (None, orjson.dumps(change("c", "orders", order(1))[1]), "no primary key"),
    ],
)
def test_what_is_no_change_is_said(key: bytes | None, value: bytes, why: str) -> None:
    with pytest.raises(envelope.NotUnderstoodError, match=why):
        envelope.read(key, value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b'{"status": "BEGIN", "id": "5:1"}',
        b'{"op": "m", "source": {}}',
    ],
)
def test_what_does_not_matter_is_passed_over(value: bytes | None) -> None:
    assert envelope.read(b"{}", value) is None


def test_what_is_remembered_survives_with_the_place_or_not_at_all(shop: Shop) -> None:
    shop.tell(change("c", "orders", order(1)))
    shop.state.reach("changes", 1)
    shop.state.commit()
    shop.tell(change("c", "orders", order(2)))
    shop.state.reach("changes", 2)
    shop.state.close()

    shop.state = State("shop")
    assert (shop.state.place("changes"), shop.state.uncounted()) == (1, 1)


def test_only_columns_that_are_needed_leave_the_database(shop: Shop) -> None:
    assert shop._mapping.columns == {
        "public.orders": {"id", "customer_id", "placed_at", "net", "status"},
        "public.order_lines": {"id", "order_id", "product_id", "price", "quantity"},
        "public.products": {"id", "name", "price", "stock", "listed"},
    }


def test_the_user_gets_no_more_than_is_needed(shop: Shop) -> None:
    assert shop._mapping.grants("me")[-2:] == [
        'GRANT SELECT ON "public"."orders", "public"."order_lines", "public"."products" TO "me";',
        'CREATE PUBLICATION shelfwise_shop FOR TABLE "public"."orders", "public"."order_lines", "public"."products" '
        "WITH (publish_via_partition_root = true);",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "nothing to read"),
        (MAPPING.replace("[lines]", "[line]"), "line: Extra inputs"),
        (MAPPING.replace('"public.orders"', '"orders"'), "orders.table"),
        (MAPPING.replace('"public.products"', '"public.orders"'), "a table of its own"),
        ('[orders]\ntable = "a.b"\norder_id = "id"\ntimestamp = "at"', "need each other"),
        ("name = 'Shop-1'" + MAPPING, "name"),
        ("orders = [", "cannot be read"),
    ],
)
def test_a_file_that_is_wrong_is_explained(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        load(path)
