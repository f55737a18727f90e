"""The embedded broker: Kafka itself in KRaft mode, one node, from the jars that set-up fetched."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

from deploy.errors import StackError
from deploy.java import java_command
from deploy.tasks import Task
from feature_repo.settings import Settings

LOGGING = Path(__file__).resolve().with_name("kafka.log4j2.properties")


def check(settings: Settings) -> None:
    """Make sure that there is a Java and a Kafka to run.

    Raises:
        JavaError, StackError: there is not.
    """
    java_command()
    if not any(settings.jars.glob("kafka/kafka_*.jar")):
        raise StackError(f"there are no Kafka jars in {settings.jars / 'kafka'}; run `make setup`")


def prepare(settings: Settings) -> list[Task]:
    """Write the broker's configuration; returns the formatting of its storage, if that is still to be done."""
    properties = _properties_path(settings)
    properties.parent.mkdir(parents=True, exist_ok=True)
    properties.write_text(render_properties(settings))
    if is_formatted(storage(settings)):
        return []
    # A format that was cut off leaves a file without an identity; the tool would take that for a damaged broker.
    (storage(settings) / "meta.properties").unlink(missing_ok=True)
    arguments = ["format", "--config", str(properties), "--cluster-id", cluster_id(settings), "--ignore-formatted"]
    return [Task("kafka-format", [*_java(settings, "256m"), "kafka.tools.StorageTool", *arguments])]


def command(settings: Settings) -> list[str]:
    """Command line of the broker."""
    return [*_java(settings, settings.kafka.heap), "kafka.Kafka", str(_properties_path(settings))]


def storage(settings: Settings) -> Path:
    """Where the broker keeps topics and metadata."""
    return settings.home / "kafka"


def is_formatted(folder: Path) -> bool:
    """Whether the storage has the identity that a complete format gives it."""
    try:
        return "cluster.id=" in (folder / "meta.properties").read_text()
    except FileNotFoundError:
        return False


def cluster_id(settings: Settings) -> str:
    """Kafka's form of a UUID; the same for the same home, so that formatting again fits what is stored there."""
    identity = bytearray(uuid.uuid5(uuid.NAMESPACE_URL, storage(settings).as_uri()).bytes)
    identity[0] &= 0x7F  # else the text could begin with a dash and be taken for an option
    return base64.urlsafe_b64encode(identity).decode().rstrip("=")


def render_properties(settings: Settings) -> str:
    """The broker's configuration file."""
    kafka = settings.kafka
    controller = f"{kafka.host}:{kafka.controller_port}"
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{kafka.host}:{kafka.port},CONTROLLER://{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": storage(settings),
        # The time of arrival is the broker's to say; the time of the event is in the event.
        "log.message.timestamp.type": "LogAppendTime",
        "auto.create.topics.enable": "false",
        "num.partitions": kafka.partitions,
        # One node: its internal topics cannot have the three copies that are the default, nor need 50 partitions.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    return "".join(f"{key}={escaped(str(value))}\n" for key, value in properties.items())


def escaped(value: str) -> str:
    """A value as Java's property files want it."""
    return value.replace("\\", "\\\\")


def _properties_path(settings: Settings) -> Path:
    return settings.home / "run" / "kafka.properties"


def _java(settings: Settings, heap: str) -> list[str]:
    options = [f"-Xmx{heap}", "-XX:+ExitOnOutOfMemoryError", f"-Dlog4j2.configurationFile={LOGGING}"]
    return [java_command(), *options, "-cp", str(settings.jars / "kafka" / "*")]
