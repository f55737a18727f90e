"""The online store on a Redis Cluster of three primaries, beside a single Redis that is given the same."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from offline_data import Shop, arrow, catalog_rows, customer_rows, index_row, item_rows, shop_events
from own_stack import OwnStack
from redis_servers import SLOTS, Cluster, Server, redis_cluster, redis_server
from waiting import until

from deploy import probes
from feature_repo import tables
from feature_repo.aggregates import Entity
from feature_repo.errors import UnavailableError
from feature_repo.online.reading import OnlineReader
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.settings import PROJECT_ROOT, get_settings
from ingestion.health import measures as health_measures
from ingestion.online import OnlineStore
from serving.data.catalogue import CatalogueReader
from serving.data.customers import CustomerFeatures, CustomerReader, NotRead
from serving.storefront.customers import StorefrontCustomers
from training.online import _products

SHOP = Shop(90, seed=8)
NOW = datetime.now(UTC)
EVENTS = shop_events(SHOP, 60, NOW)
CUSTOMERS = [*(f"c{number}" for number in range(60)), "nobody", "é\u2603", ""]
# By the stream's way, which writes columns, or by Feast's own, which `feast materialize` takes.
BY_THE_STREAM = {
    tables.CUSTOMER_ACTIVITY: customer_rows(EVENTS),
    tables.CUSTOMER_EXPOSURE: customer_rows(EVENTS, Entity.EXPOSURE),
    tables.ITEM_ACTIVITY: item_rows(EVENTS),
}
BY_FEAST = {
    tables.CATALOG: catalog_rows(SHOP, NOW, {"p1": 0, "p2": 7}),
    tables.CATALOG_INDEX: [index_row(SHOP, NOW)],
}


@dataclass(frozen=True)
class Stores:
    """One registry, and two online stores."""

    own: OwnStack
    single: Server
    cluster: Cluster

    @contextmanager
    def using(self, **redis: str) -> Iterator[Any]:
        """The feature store, with settings of Redis."""
        from feature_repo.store import open_store

        variables = {f"SHELFWISE_REDIS__{name}": value for name, value in redis.items()}
        with OwnStack({**self.own.variables, **variables}).exported():
            yield open_store()

    def on_single(self) -> Any:
        return self.using(URL=self.single.address)

    def on_cluster(self) -> Any:
        """Two nodes are named; that there is a third, those know."""
        named = ",".join(node.address for node in self.cluster.primaries[:2])
        return self.using(URL=named, CLUSTER="true", TIMEOUT_SECONDS="2")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as running:
        single = running.enter_context(redis_server(folder / "single"))
        stores = Stores(OwnStack.at(folder), single, running.enter_context(redis_cluster(folder)))
        command = [sys.executable, "-m", "feast.cli.cli", "-c", str(PROJECT_ROOT / "feature_repo"), "apply"]
        with stores.on_cluster():
            applied = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True)
            assert applied.returncode == 0, applied.stderr
        for place in (stores.on_single, stores.on_cluster):
            with place() as store:
                publish(store)
        yield stores


def publish(store: Any) -> None:
    from feast.data_source import PushMode

    online = OnlineStore(store)
    for table, rows in BY_THE_STREAM.items():
        online.fill(table, arrow(table, rows), "rows")
    for table, rows in BY_FEAST.items():
        store.push(f"{table.name}_push", arrow(table, rows).to_pandas(), to=PushMode.ONLINE)


def all_that_is_read(store: Any) -> dict[str, Any]:
    """By every way in which something reads the online store."""
    features, shelf = OnlineReader(store, "customer_features"), OnlineReader(store, "shelf_features")
    ids = [f"p{number}" for number in range(SHOP.products)]
    feast = store.get_online_features(
        store.get_feature_service("customer_features"), [{"customer_id": one} for one in CUSTOMERS]
    )

    async def asynchronously() -> dict[str, Any]:
        some = await StorefrontCustomers(store).some(20)
        return {
            "together": await features.read_async(CUSTOMERS),
            "alone": await features.read_async(CUSTOMERS[:1]),
            "of a request": await CustomerReader(store, 5_000).read(["nobody", "c3"]),
            "to choose from": {one["customer_id"] for one in some} <= set(CUSTOMERS) and len(some),
        }

    return {
        "customers": features.read(CUSTOMERS),
        "shelf": shelf.read(ids),
        "changes": shelf.changes(b"0-0")[1],
        "drift": _products(store),
        "Feast": feast.to_dict(),
        **asyncio.run(asynchronously()),
    }


def test_all_ways_read_of_a_cluster_what_a_single_server_gives(stores: Stores) -> None:
    with stores.on_single() as store:
        wanted = all_that_is_read(store)
    with stores.on_cluster() as store:
        assert all_that_is_read(store) == wanted
    assert wanted["to choose from"] == 20
    assert any(wanted["customers"]["event_count"])
    shares = [node.client().dbsize() for node in stores.cluster.primaries]
    assert min(shares) > sum(shares) / 5, "and each node has its share"


def test_the_service_has_the_catalogue_of_a_cluster(stores: Stores) -> None:
    shelves: list[Any] = []
    with stores.on_cluster() as store:
        reader = CatalogueReader(store, 0.1, shelves.append)
        reader.start()
        try:
            until(lambda: shelves)
        finally:
            reader.stop()
    assert len(shelves[-1]) == SHOP.products


def test_customers_are_deleted_from_whichever_node_holds_them(stores: Stores) -> None:
    with stores.on_cluster() as store:
        online, reader = OnlineStore(store), OnlineReader(store, "customer_features")
        some, others = CUSTOMERS[:10], CUSTOMERS[10:]
        before = reader.read(others)
        held = sum(count is not None for count in reader.read(some)["event_count"])
        assert online.delete(tables.CUSTOMER_ACTIVITY, some) >= held > 0
        online.rewrite_files()
        assert not any(value is not None for column in reader.read(some).values() for value in column)
        assert reader.read(others) == before


def test_a_node_that_was_emptied_shows(stores: Stores) -> None:
    """Each node: whichever it is, the stream fills the store again, and health misses the views."""
    rows = arrow(tables.ITEM_ACTIVITY, BY_THE_STREAM[tables.ITEM_ACTIVITY])
    with stores.on_cluster() as store:
        online = OnlineStore(store)
        for node in stores.cluster.primaries:
            assert online.push(tables.ITEM_ACTIVITY, rows)
            assert tables.ITEM_ACTIVITY.view in health_measures._ask_redis().pushed
            node.client().flushdb()
            assert tables.ITEM_ACTIVITY.view not in health_measures._ask_redis().pushed
            assert not online.push(tables.ITEM_ACTIVITY, rows)
            online.fill(tables.ITEM_ACTIVITY, rows, "rows")


def test_slots_move_while_all_is_read_and_written(stores: Stores) -> None:
    """A fifth of the slots of one node, with the keys in them, go to another; nobody sees anything of it."""
    rows = arrow(tables.CUSTOMER_ACTIVITY, BY_THE_STREAM[tables.CUSTOMER_ACTIVITY])
    first, second, _ = stores.cluster.primaries
    with stores.on_cluster() as store:
        OnlineStore(store).fill(tables.CUSTOMER_ACTIVITY, rows, "rows")
        wanted, over = OnlineReader(store, "customer_features").read(CUSTOMERS), threading.Event()

        def read_on() -> int:
            """By a reader that knows of no move, as that of a service."""
            readings, reader, features = 0, CustomerReader(store, 5_000), OnlineReader(store, "customer_features")

            async def read() -> None:
                nonlocal readings
                while not over.is_set() or not readings:
                    for customer, count in zip(CUSTOMERS, wanted["event_count"], strict=True):
                        found = await reader.read([customer])
                        assert (found.columns["event_count"][0] if found else None) == count
                    assert features.read(CUSTOMERS) == wanted
                    assert OnlineStore(store).push(tables.CUSTOMER_ACTIVITY, rows)
                    readings += 1

            asyncio.run(read())
            return readings

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read_on)
            try:
                moved = stores.cluster.move(range(0, SLOTS // 3, 5), first, second)
            finally:
                over.set()
            assert reading.result() > 0
        assert moved > 5
        assert OnlineReader(store, "customer_features").read(CUSTOMERS) == wanted


def test_a_replica_takes_the_place_of_a_primary_that_is_gone(stores: Stores) -> None:
    rows = arrow(tables.CUSTOMER_ACTIVITY, BY_THE_STREAM[tables.CUSTOMER_ACTIVITY])
    shelves: list[Any] = []
    with stores.on_cluster() as store:
        online, features = OnlineStore(store), OnlineReader(store, "customer_features")
        publish(store)
        wanted, reader = features.read(CUSTOMERS), CustomerReader(store, 1_000)
        until(lambda: stores.cluster.replica.client().dbsize() == stores.cluster.primaries[2].client().dbsize())
        catalogue = CatalogueReader(store, 0.1, shelves.append)
        catalogue.start()
        try:
            until(lambda: shelves)
            stores.cluster.primaries[2].kill()

            async def all_are_read() -> bool:
                found = [await _read_or_none(reader, customer) for customer in CUSTOMERS]
                return [one and one.columns["event_count"][0] for one in found] == wanted["event_count"]

            async def until_all_are_read() -> int:
                tries = 1
                while not await all_are_read():
                    tries += 1
                    assert tries < 600
                    await asyncio.sleep(0.1)
                return tries

            assert asyncio.run(until_all_are_read()) > 1, "before, not all can be read"
            assert features.read(CUSTOMERS) == wanted, "what was written last is there"
            assert online.push(tables.CUSTOMER_ACTIVITY, rows)
            seen = len(shelves)
            until(lambda: len(shelves) > seen + 1)
            assert len(shelves[-1]) == SHOP.products
            assert catalogue.problem is None
            assert probes.redis(get_settings().redis) is probes.Readiness.READY
        finally:
            catalogue.stop()


async def _read_or_none(reader: CustomerReader, customer: str) -> CustomerFeatures | None:
    try:
        return await reader.read([customer])
    except NotRead:
        return None


def test_a_node_that_is_gone_is_told(stores: Stores) -> None:
    """The last test: of the last third of the slots, there is neither primary nor replica from then on."""
    with stores.on_cluster() as store:
        online, rows = OnlineStore(store), arrow(tables.CUSTOMER_ACTIVITY, BY_THE_STREAM[tables.CUSTOMER_ACTIVITY])
        assert probes.redis(get_settings().redis) is probes.Readiness.READY
        stores.cluster.replica.kill()
        with pytest.raises(REDIS_ERRORS):
            online.push(tables.CUSTOMER_ACTIVITY, rows)
        reader = CustomerReader(store, 1_000)

        async def ask() -> None:
            for customer in CUSTOMERS[:30]:  # surely one of them is on the node that is gone
                await reader.read([customer])

        with pytest.raises(NotRead):
            asyncio.run(ask())
        until(lambda: probes.redis(get_settings().redis) is probes.Readiness.NOT_READY)
        with pytest.raises(UnavailableError, match="Redis does not answer"):
            health_measures._ask_redis()
