"""Three brokers: one is killed and comes back, and partitions move, while a shop's events come in; each counts once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from ingestion_processes import run
from kafka_brokers import Broker, Cluster, kafka_cluster
from own_stack import OwnStack
from tracked_shop import FREQUENT, PATIENCE_SECONDS, TrackedShop, tracked_shop
from waiting import until

from feature_repo.settings import get_settings


@dataclass(frozen=True)
class Shop:
    """A running shop, and its brokers."""

    cluster: Cluster
    tracked: TrackedShop

    def leader(self) -> Broker:
        """The broker that leads the first partition of the events topic."""
        first = min(self.partitions(), key=lambda one: int(one["partition_index"]))
        return self.cluster.brokers[int(first["leader_id"]) - 1]

    def partitions(self) -> list[dict[str, Any]]:
        return self.cluster.partitions(get_settings().kafka.events_topic)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("brokers")
    with kafka_cluster(folder) as cluster:
        kafka = {"SHELFWISE_KAFKA__BOOTSTRAP": cluster.bootstrap, "SHELFWISE_KAFKA__REPLICATION": "3"}
        with tracked_shop(OwnStack({**OwnStack.at(folder).variables, **FREQUENT, **kafka})) as tracked:
            yield Shop(cluster, tracked)


def test_topics_are_held_by_as_many_brokers_as_is_set(shop: Shop) -> None:
    kafka = get_settings().kafka
    for topic in (kafka.events_topic, kafka.quarantine_topic, kafka.recommendations_topic, kafka.checked_topic):
        assert {len(one["replica_nodes"]) for one in shop.cluster.partitions(topic)} == {3}, topic
        assert shop.cluster.settings(topic)["min.insync.replicas"] == "2", topic


def test_a_broker_that_is_killed_loses_and_doubles_nothing(shop: Shop) -> None:
    with shop.tracked.sending():
        shop.tracked.wait_for_more(60)
        killed = shop.leader()
        killed.kill()
        shop.tracked.wait_for_more(150)
    shop.tracked.check()
    assert killed.number not in {one["leader_id"] for one in shop.partitions()}
    with shop.tracked.sending():
        killed.start()
        until(lambda: all(killed.number in one["isr_nodes"] for one in shop.partitions()), PATIENCE_SECONDS)
        shop.tracked.wait_for_more(60)
    shop.tracked.check()


def test_partitions_that_move_lose_and_double_nothing(shop: Shop) -> None:
    topic, everywhere = get_settings().kafka.events_topic, {broker.number for broker in shop.cluster.brokers}
    with shop.tracked.sending():
        shop.tracked.wait_for_more(30)
        leaders = {int(one["partition_index"]): one["leader_id"] for one in shop.partitions()}
        shop.cluster.move(topic, {number: sorted(everywhere - {leader}) for number, leader in leaders.items()})
        shop.tracked.wait_for_more(60)
        shop.cluster.move(topic, {number: sorted(everywhere) for number in leaders})
        shop.tracked.wait_for_more(60)
    shop.tracked.check()
    assert run(shop.tracked.stack.environment(), "reconcile").returncode == 0
