"""Three brokers: one is killed and comes back, and partitions move, while a shop's events come in; each counts once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from deltalake import DeltaTable
from ingestion_processes import collector, run, start
from kafka_brokers import Broker, Cluster, kafka_cluster
from own_stack import OwnStack
from waiting import until

from feature_repo import tables
from feature_repo.settings import PROJECT_ROOT, get_settings

SETTINGS = {
    "SHELFWISE_KAFKA__REPLICATION": "3",
    "SHELFWISE_STREAM__OFFLINE_SECONDS": "1",
    "SHELFWISE_STREAM__ARCHIVE_SECONDS": "1",
}
KEY = "demo-write-key"
CUSTOMERS = [f"c{number}" for number in range(12)]
PATIENCE_SECONDS = 180.0


@dataclass
class Shop:
    """A running shop on three brokers, and what its tracker was told is accepted."""

    cluster: Cluster
    stack: OwnStack
    stream: subprocess.Popen[str]
    accepted: Counter[str] = field(default_factory=Counter)
    _sent: int = 0

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Events come in all the while."""
        enough = threading.Event()

        def send() -> None:
            while not enough.is_set():
                self._send(3)
                time.sleep(0.05)

        tracker = threading.Thread(target=send)
        tracker.start()
        try:
            yield
        finally:
            enough.set()
            tracker.join()

    def _send(self, count: int) -> None:
        """Views of products; as trackers do, the same again until they are accepted."""
        batch: list[dict[str, Any]] = []
        for _ in range(count):
            self._sent += 1
            viewed = {"event": "Product Viewed", "properties": {"products": [{"product_id": f"p{self._sent % 7}"}]}}
            who = {"userId": CUSTOMERS[self._sent % len(CUSTOMERS)], "messageId": f"view-{self._sent}"}
            batch.append({"type": "track", **viewed, **who})
        while not self._takes(batch):
            time.sleep(0.2)
        self.accepted.update(event["userId"] for event in batch)

    def _takes(self, batch: list[dict[str, Any]]) -> bool:
        url = f"http://127.0.0.1:{self.stack.port('COLLECTOR__PORT')}/v1/batch"
        try:
            return httpx.post(url, json={"batch": batch}, auth=(KEY, ""), timeout=60).status_code == 200
        except httpx.TransportError:
            return False

    def wait_for_more(self, count: int) -> None:
        """So many more events have been accepted."""
        wanted = self.accepted.total() + count
        until(lambda: self.accepted.total() >= wanted, PATIENCE_SECONDS)

    def online(self) -> Counter[str]:
        """How many events of each customer the online store knows."""
        from feature_repo.online_reading import OnlineReader
        from feature_repo.store import open_store

        counts = OnlineReader(open_store(), "customer_features").read(CUSTOMERS)["event_count"]
        return Counter({customer: count for customer, count in zip(CUSTOMERS, counts, strict=True) if count})

    def check(self) -> None:
        """What was accepted, and nothing else, reaches the features, and is stored once."""
        until(lambda: self.online().total() >= self.accepted.total(), PATIENCE_SECONDS)
        assert self.online() == self.accepted
        until(lambda: len(self._stored()) >= self.accepted.total(), PATIENCE_SECONDS)
        assert sorted(self._stored()) == sorted(f"view-{number + 1}" for number in range(self._sent))
        assert self.stream.poll() is None, self.stream.communicate()[0]

    def _stored(self) -> list[str]:
        if not tables.EVENTS.exists():
            return []
        return list(DeltaTable(tables.EVENTS.uri).to_pyarrow_table(columns=["message_id"])["message_id"].to_pylist())

    def leader(self) -> Broker:
        """The broker that leads the first partition of the events topic."""
        first = min(self.partitions(), key=lambda one: int(one["partition_index"]))
        return self.cluster.brokers[int(first["leader_id"]) - 1]

    def partitions(self) -> list[dict[str, Any]]:
        return self.cluster.partitions(get_settings().kafka.events_topic)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("brokers")
    with ExitStack() as running:
        cluster = running.enter_context(kafka_cluster(folder))
        own = OwnStack({**OwnStack.at(folder).variables, **SETTINGS, "SHELFWISE_KAFKA__BOOTSTRAP": cluster.bootstrap})
        running.enter_context(own.exported())
        running.callback(own.deploy, "down")
        up = own.deploy("up", "kafka", "redis")
        assert up.returncode == 0, up.stdout
        feast = [sys.executable, "-m", "feast.cli.cli", "-c", str(PROJECT_ROOT / "feature_repo"), "apply"]
        subprocess.run(feast, cwd=PROJECT_ROOT, check=True, capture_output=True)
        stream = start(own.environment(), "stream")
        running.callback(stream.communicate, timeout=60)
        running.callback(stream.terminate)
        running.enter_context(collector(own.environment(), f"http://127.0.0.1:{own.port('COLLECTOR__PORT')}"))
        until((own.home / "run" / "stream.ready").exists, PATIENCE_SECONDS)
        yield Shop(cluster, own, stream)


def test_topics_are_held_by_as_many_brokers_as_is_set(shop: Shop) -> None:
    kafka = get_settings().kafka
    for topic in (kafka.events_topic, kafka.quarantine_topic, kafka.recommendations_topic, kafka.checked_topic):
        assert {len(one["replica_nodes"]) for one in shop.cluster.partitions(topic)} == {3}, topic
        assert shop.cluster.settings(topic)["min.insync.replicas"] == "2", topic


def test_a_broker_that_is_killed_loses_and_doubles_nothing(shop: Shop) -> None:
    with shop.sending():
        shop.wait_for_more(60)
        killed = shop.leader()
        killed.kill()
        shop.wait_for_more(150)
    shop.check()
    assert killed.number not in {one["leader_id"] for one in shop.partitions()}
    with shop.sending():
        killed.start()
        until(lambda: all(killed.number in one["isr_nodes"] for one in shop.partitions()), PATIENCE_SECONDS)
        shop.wait_for_more(60)
    shop.check()


def test_partitions_that_move_lose_and_double_nothing(shop: Shop) -> None:
    topic = get_settings().kafka.events_topic
    with shop.sending():
        shop.wait_for_more(30)
        for _ in range(2):  # away from those that lead them, and back to all
            brokers = {broker.number for broker in shop.cluster.brokers}
            places = {
                int(one["partition_index"]): sorted(
                    brokers - {one["leader_id"]} if brokers == set(one["replica_nodes"]) else brokers
                )
                for one in shop.partitions()
            }
            shop.cluster.move(topic, places)
            shop.wait_for_more(60)
    shop.check()
    assert run(shop.stack.environment(), "reconcile").returncode == 0
