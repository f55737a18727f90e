"""Is a server ready? Each probe asks the server itself, once, and answers within a few seconds."""

from __future__ import annotations

import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from deploy.errors import StackError
from deploy.ports import Listener
from deploy.records import Record
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.online.redis_client import connect as connect_redis
from feature_repo.sections.servers import KafkaSettings, RedisSettings

TIMEOUT_SECONDS = 3.0

# A server that is not there yet is no news here.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


class Readiness(StrEnum):
    """What a probe found."""

    NOT_READY = "not ready"
    DEGRADED = "degraded"
    READY = "ready"


def kafka(settings: KafkaSettings) -> Readiness:
    """Ready when a broker answers with the cluster's metadata."""
    if not any(_connects(server) for server in settings.servers.split(",")):
        return Readiness.NOT_READY
    try:
        with kafka_admin(settings) as admin:
            return Readiness.READY if admin.describe_cluster()["brokers"] else Readiness.NOT_READY
    except KafkaError:
        return Readiness.NOT_READY


@contextmanager
def kafka_admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """An administrative connection, closed at the end of the block."""
    timeout = int(TIMEOUT_SECONDS * 1000)
    admin = KafkaAdminClient(bootstrap_servers=settings.servers.split(","), bootstrap_timeout_ms=timeout)
    try:
        yield admin
    finally:
        admin.close()


def ensure_topics(settings: KafkaSettings) -> None:
    """Create the topics that are not there yet.

    Raises:
        StackError: the broker refuses.
    """
    wanted = (settings.events_topic, settings.quarantine_topic, settings.recommendations_topic)
    try:
        with kafka_admin(settings) as admin:
            there = set(admin.list_topics())
            missing = {name: settings.new_topic(settings.partitions) for name in wanted if name not in there}
            if missing:
                admin.create_topics(missing, wait_for_metadata=True)
    except KafkaError as error:
        raise StackError(
            f"Kafka at {settings.servers} would not create the topics {', '.join(wanted)}: {error}. "
            "Create them there, or name others with SHELFWISE_KAFKA__EVENTS_TOPIC, __QUARANTINE_TOPIC and "
            "__RECOMMENDATIONS_TOPIC."
        ) from error


def redis(settings: RedisSettings) -> Readiness:
    """Ready when the server answers PING, which it does not while it still loads its data; a cluster, when it serves all keys."""
    try:
        with closing(connect_redis(settings, TIMEOUT_SECONDS)) as client:
            if settings.cluster:
                return Readiness.READY if client.cluster_info()["cluster_state"] == "ok" else Readiness.NOT_READY
            return Readiness.READY if client.ping() else Readiness.NOT_READY
    except REDIS_ERRORS:
        return Readiness.NOT_READY


def http(listener: Listener, ready: str, alive: str | None = None) -> Readiness:
    """Ready when GET of the path ``ready`` gives 200, degraded when only that of ``alive`` does."""
    if _status(listener.url + ready) == 200:
        return Readiness.READY
    return Readiness.DEGRADED if alive and _status(listener.url + alive) == 200 else Readiness.NOT_READY


def connect(address: str) -> Readiness:
    """Ready when a worker of Kafka Connect lists its connectors, which it does not before it has joined its group."""
    return Readiness.READY if _status(f"{address}/connectors") == 200 else Readiness.NOT_READY


def fresh_file(path: Path, record: Record | None) -> Readiness:
    """Ready when the process has written the file since it was started."""
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return Readiness.NOT_READY
    return Readiness.READY if record is not None and written >= record.created else Readiness.NOT_READY


def _connects(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
