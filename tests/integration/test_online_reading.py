"""Reading the online store as the service does, beside Feast's SDK on the same Redis."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from offline_data import Shop, catalog_rows, customer_rows, index_row, item_rows, shop_events
from redis import Redis
from waiting import until

from feature_repo import tables
from feature_repo.aggregates import Entity
from feature_repo.online.reading import OnlineReader
from feature_repo.ranking.shelf import Shelf
from feature_repo.settings import PROJECT_ROOT, Settings
from serving.data.catalogue import CatalogueReader

SHOP = Shop(30, seed=8)
NOW = datetime.now(UTC)
EVENTS = shop_events(SHOP, 20, NOW)


def push(table: tables.Table, rows: list[dict[str, Any]]) -> None:
    from feast.data_source import PushMode
    from offline_data import arrow

    from feature_repo.store import open_store

    open_store().push(f"{table.name}_push", arrow(table, rows).to_pandas(), to=PushMode.ONLINE)


@pytest.fixture(scope="module")
def shop_online(kafka_and_redis: Settings) -> None:
    """A shop in the online store, some columns of which are missing; nothing else, which may be newer."""
    Redis(kafka_and_redis.redis.host, kafka_and_redis.redis.port).flushall()
    command = [sys.executable, "-m", "feast.cli.cli", "-c", str(PROJECT_ROOT / "feature_repo"), "apply"]
    applied = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert applied.returncode == 0, applied.stderr
    push(tables.CUSTOMER_ACTIVITY, customer_rows(EVENTS))
    push(tables.CUSTOMER_EXPOSURE, customer_rows(EVENTS, Entity.EXPOSURE))
    push(tables.ITEM_ACTIVITY, item_rows(EVENTS))
    push(tables.CATALOG, catalog_rows(SHOP, NOW, {"p1": 0, "p2": 7}))
    push(tables.CATALOG_INDEX, [index_row(SHOP, NOW)])


@pytest.fixture
def store(shop_online: None) -> Any:
    """One of each test's own: its asynchronous connections belong to the test's loop."""
    from feature_repo.store import open_store

    return open_store()


@pytest.mark.parametrize(
    ("service", "key", "ids"),
    [
        ("customer_features", "customer_id", [*(f"c{number}" for number in range(20)), "nobody", "é\u2603", ""]),
        ("shelf_features", "product_id", [*(f"p{number}" for number in range(30)), "nothing"]),
        ("shelf_index", "shop", ["all", "other"]),
    ],
)
def test_values_are_those_of_feasts_sdk(store: Any, service: str, key: str, ids: list[str]) -> None:
    wanted = store.get_online_features(store.get_feature_service(service), [{key: entity} for entity in ids]).to_dict()
    assert wanted.pop(key) == ids
    reader = OnlineReader(store, service)
    assert reader.read(ids) == wanted

    async def read() -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        return await reader.read_async(ids), await reader.read_async(ids[:1])

    together, alone = asyncio.run(read())
    assert together == wanted
    assert alone == {name: values[:1] for name, values in wanted.items()}
    assert any(value is not None for values in wanted.values() for value in values)


def test_what_has_outlived_its_view_is_missing(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    view = store.get_feature_view("item_activity")
    last = max(event["timestamp"] for event in EVENTS)
    monkeypatch.setattr(view, "ttl", datetime.now(UTC) - last + timedelta(hours=1))
    views = store.get_feature_view
    monkeypatch.setattr(store, "get_feature_view", lambda name: view if name == view.name else views(name))
    columns = OnlineReader(store, "shelf_features").read([f"p{number}" for number in range(30)])
    events = columns["event_count"]
    assert None in events
    assert any(events), "those that something happened to within the last hour are there"
    assert None not in columns["price"], "other views have lives of their own"


def test_changes_are_told_once_and_what_is_missed_is_noticed(store: Any) -> None:
    reader, redis = (
        OnlineReader(store, "shelf_features"),
        store._get_provider().online_store._get_client(store.config.online_store),
    )
    rows = [{**row, "event_timestamp": datetime.now(UTC)} for row in catalog_rows(SHOP, NOW)]
    place, changed = reader.changes(None)
    assert changed is None, "the first time, all is new"
    push(tables.CATALOG, rows[1:3])
    push(tables.CUSTOMER_ACTIVITY, customer_rows(EVENTS)[:3])
    push(tables.ITEM_ACTIVITY, item_rows(EVENTS)[:1])
    place, changed = reader.changes(place)
    assert changed == {"p1", "p2", item_rows(EVENTS)[0]["product_id"]}
    assert reader.changes(place) == (place, set())

    redis.delete(tables.ITEM_CHANGES)
    place, changed = reader.changes(place)
    assert changed is None, "this is not the server, or not what it held"
    assert reader.changes(place) == (place, set())
    push(tables.CATALOG, rows[4:5])
    place, changed = reader.changes(place)
    assert changed == {"p4"}
    redis.xadd(tables.ITEM_CHANGES, {"ids": "[]"}, maxlen=1, approximate=False)
    assert reader.changes(place)[1] is None, "more happened than is kept"


class Shelves:
    """Takes what a reader of the catalogue hands out."""

    def __init__(self) -> None:
        self.newest: Shelf | None = None

    def take(self, shelf: Shelf) -> None:
        self.newest = shelf

    def price(self, product_id: str) -> float | None:
        shelf = self.newest
        return float(shelf.items.price[shelf.rows[product_id]]) if shelf and product_id in shelf.rows else None


@pytest.fixture
def shelves(store: Any) -> Iterator[Shelves]:
    """What a running reader has handed out."""
    taken = Shelves()
    reader = CatalogueReader(store, 0.1, taken.take)
    reader.start()
    yield taken
    reader.stop()
    assert reader.problem is None


def test_the_catalogue_follows_what_changes(store: Any, shelves: Shelves) -> None:
    until(lambda: shelves.price("p3"))
    first = shelves.newest
    assert first is not None
    assert len(first) == 30
    before = shelves.price("p3")
    changed = {**catalog_rows(SHOP, NOW)[3], "price": 123.0}
    push(tables.CATALOG, [{**changed, "event_timestamp": NOW + timedelta(seconds=1)}])
    until(lambda: shelves.price("p3") == 123.0)
    # A row for the same time, as a late event makes one.
    push(tables.CATALOG, [{**changed, "event_timestamp": NOW + timedelta(seconds=1), "price": 124.0}])
    until(lambda: shelves.price("p3") == 124.0)
    assert first.items.price[first.rows["p3"]] == before, "a shelf that was handed out does not change"

    more = Shop(31, SHOP.seed)
    push(tables.CATALOG, catalog_rows(more, NOW)[-1:])
    push(
        tables.CATALOG_INDEX,
        [{**index_row(more, NOW), "product_ids": ["p30", "p3"], "event_timestamp": datetime.now(UTC)}],
    )
    until(lambda: shelves.price("p30"))
    newest = shelves.newest
    assert newest is not None
    assert newest.ids == ("p30", "p3"), "what is no longer in the catalogue is gone, and rows have moved"
    assert shelves.price("p3") == 124.0
    assert newest.title(newest.rows["p30"]) == more.product(30)["name"]
