"""Three Kafka brokers of a test's own that are a cluster: Kafka itself, as the embedded broker runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError
from own_stack import free_ports
from waiting import until

from deploy import kafka_broker
from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import Settings

# A loaded machine takes its time to start three Java processes.
START_SECONDS = 240.0
# Kafka's way of saying that a broker that was killed is missed after seconds; by default it is nine.
SESSION = {"broker.heartbeat.interval.ms": 1_000, "broker.session.timeout.ms": 6_000}
SHARED = {
    "default.replication.factor": 1,
    "offsets.topic.replication.factor": 3,
    "transaction.state.log.replication.factor": 3,
    "transaction.state.log.min.isr": 2,
    "share.coordinator.state.topic.replication.factor": 3,
    "share.coordinator.state.topic.min.isr": 2,
}


@dataclass
class Broker:
    """One of the nodes; each is a broker and a controller."""

    number: int
    settings: Settings
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return self.settings.kafka.servers

    @property
    def voter(self) -> str:
        return f"{self.number}@{self.settings.kafka.host}:{self.settings.kafka.controller_port}"

    def format(self, voters: str, cluster_id: str) -> subprocess.Popen[bytes]:
        """Write the configuration and begin to format the storage."""
        kafka_broker.prepare(self.settings)
        *java, _, properties = kafka_broker.command(self.settings)
        own = {"node.id": self.number, "controller.quorum.voters": voters, **SHARED, **SESSION}
        with Path(properties).open("a") as file:  # of a key that is there twice, the last counts
            file.writelines(f"{key}={value}\n" for key, value in own.items())
        arguments = ["format", "--config", properties, "--cluster-id", cluster_id]
        return subprocess.Popen([*java, "kafka.tools.StorageTool", *arguments], stdout=subprocess.DEVNULL)

    def start(self) -> None:
        with (self.settings.home / "log").open("a") as log:
            self.process = subprocess.Popen(kafka_broker.command(self.settings), stdout=log, stderr=log)

    def kill(self) -> None:
        """With SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass(frozen=True)
class Cluster:
    """The brokers, and what an administrator asks of them."""

    brokers: list[Broker]

    @property
    def bootstrap(self) -> str:
        return ",".join(broker.address for broker in self.brokers)

    def partitions(self, topic: str) -> list[dict[str, Any]]:
        """As Kafka's admin client describes them: leader_id, replica_nodes, isr_nodes."""
        with self._admin() as admin:
            [described] = admin.describe_topics([topic])
        return list(described["partitions"])

    def settings(self, topic: str) -> dict[str, str]:
        """How the topic is configured."""
        from kafka.admin import ConfigResource, ConfigResourceType

        with self._admin() as admin:
            found = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {name: one["value"] for name, one in found["topic"][topic].items()}

    def move(self, topic: str, places: dict[int, list[int]]) -> None:
        """Give partitions to brokers, the first of which leads, and wait until they have them."""
        with self._admin() as admin:
            admin.alter_partition_reassignments({TopicPartition(topic, one): to for one, to in places.items()})
        until(lambda: self._on(topic, places), START_SECONDS)

    def _on(self, topic: str, places: dict[int, list[int]]) -> bool:
        found = {one["partition_index"]: one for one in self.partitions(topic)}
        return all(
            set(found[number]["replica_nodes"]) == set(found[number]["isr_nodes"]) == set(brokers)
            and found[number]["leader_id"] in brokers
            for number, brokers in places.items()
        )

    def complete(self) -> bool:
        """Whether all brokers are there."""
        try:
            with self._admin() as admin:
                return len(admin.describe_cluster()["brokers"]) == len(self.brokers)
        except KafkaError:
            return False

    @contextmanager
    def _admin(self) -> Iterator[Any]:
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","), bootstrap_timeout_ms=10_000)
        try:
            yield admin
        finally:
            admin.close()


@contextmanager
def kafka_cluster(folder: Path) -> Iterator[Cluster]:
    """Three brokers, running."""
    brokers = []
    for number in (1, 2, 3):
        port, controller_port = free_ports(2)
        kafka = KafkaSettings(port=port, controller_port=controller_port, heap="256m")
        brokers.append(Broker(number, Settings(home=folder / f"kafka-{number}", kafka=kafka)))
    voters = ",".join(broker.voter for broker in brokers)
    cluster = Cluster(brokers)
    cluster_id = kafka_broker.cluster_id(brokers[0].settings)
    formatting = [broker.format(voters, cluster_id) for broker in brokers]
    assert [process.wait() for process in formatting] == [0, 0, 0]
    with ExitStack() as running:
        for broker in brokers:
            running.callback(broker.kill)
            broker.start()
        until(cluster.complete, START_SECONDS)
        yield cluster
