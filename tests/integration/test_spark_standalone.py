"""The stream on Spark's own standalone cluster, of which a worker is killed while events come in; each counts once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from ingestion_processes import run
from own_stack import OwnStack
from spark_cluster import SparkCluster, spark_cluster
from tracked_shop import FREQUENT, TrackedShop, tracked_shop


@dataclass(frozen=True)
class Shop:
    """A running shop, and its Spark."""

    cluster: SparkCluster
    tracked: TrackedShop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("standalone")
    with spark_cluster(folder) as cluster:
        spark = {"SHELFWISE_SPARK__MASTER": cluster.url, "SHELFWISE_SPARK__EXECUTOR_MEMORY": "512m"}
        with tracked_shop(OwnStack({**OwnStack.at(folder).variables, **FREQUENT, **spark})) as tracked:
            yield Shop(cluster, tracked)


def test_a_worker_that_is_killed_loses_and_doubles_nothing(shop: Shop) -> None:
    with shop.tracked.sending():
        shop.tracked.wait_for_more(60)
    shop.tracked.check()
    assert shop.cluster.busy() == len(shop.cluster.workers), "the work is the executors'"
    with shop.tracked.sending():
        shop.tracked.wait_for_more(30)
        shop.cluster.workers[0].kill()
        shop.tracked.wait_for_more(150)
    shop.tracked.check()


def test_features_are_what_a_recomputation_without_spark_gives(shop: Shop) -> None:
    environment = shop.tracked.stack.environment()
    assert run(environment, "reconcile").returncode == 0
    compared = run(environment, "parity", "--customers", "12", "--items", "7", "--threshold", "0")
    assert compared.returncode == 0, compared.stdout
    assert "Stored features agree with the events" in compared.stdout
