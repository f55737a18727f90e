"""What Kafka tells of the health: what waits in each partition, since when, and how much arrived lately."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.offsets import Offsets

_CONNECT_SECONDS = 3.0
_READ_MILLISECONDS = 2_000
_LOOKED_AT = 200  # waiting messages per partition; enough to find one that concerns a view


@dataclass(frozen=True)
class Message:
    """What of a waiting message matters here.

    Attributes:
        at: when it arrived, in seconds since 1970.
        event: name of a ``track`` event, else empty.
        products: whether it names a product.
    """

    at: float
    event: str
    products: bool


@dataclass(frozen=True)
class Backlog:
    """What a table has yet to take from a partition: how many messages, and the first of them."""

    messages: int
    first: tuple[Message, ...]


class EventsTopic:
    """The events topic, read without a consumer group; see :func:`open_events_topic`."""

    def __init__(self, consumer: KafkaConsumer, places: list[TopicPartition]) -> None:
        self._consumer = consumer
        self._places = places
        self._begin: dict[TopicPartition, int] = consumer.beginning_offsets(places)
        self._end: dict[TopicPartition, int] = consumer.end_offsets(places)
        self._read: dict[tuple[TopicPartition, int], tuple[Message, ...]] = {}

    def arrived_since(self, moment: float) -> dict[int, int]:
        """Messages per partition since ``moment``, in seconds since 1970."""
        since = self._consumer.offsets_for_times({place: int(moment * 1000) for place in self._places})
        return {p.partition: self._end[p] - since[p].offset if since.get(p) else 0 for p in self._places}

    def backlog(self, covered: Offsets) -> dict[int, Backlog]:
        """What lies after ``covered``, by partition."""
        found = {}
        for place in self._places:
            begin, end = self._begin[place], self._end[place]
            start = covered.get(place.partition, begin)
            # Beyond the end: a new topic of the same name, which is read from its beginning.
            start = begin if start > end else max(start, begin)
            found[place.partition] = Backlog(end - start, self._first_messages(place, start) if start < end else ())
        return found

    def _first_messages(self, place: TopicPartition, start: int) -> tuple[Message, ...]:
        if (place, start) not in self._read:
            self._consumer.assign([place])
            self._consumer.seek(place, start)
            records = self._consumer.poll(timeout_ms=_READ_MILLISECONDS, max_records=_LOOKED_AT).get(place, [])
            self._read[place, start] = tuple(message(record.timestamp / 1000, record.value) for record in records)
        return self._read[place, start]


def message(at: float, value: bytes | None) -> Message:
    """A message by its arrival and its JSON, which may be anything."""
    try:
        event = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        event = None
    if not isinstance(event, dict) or event.get("type") != "track":
        return Message(at, "", False)
    given: Any = event.get("properties")
    properties = given if isinstance(given, dict) else {}
    return Message(at, str(event.get("event")), bool(properties.get("products") or properties.get("product_id")))


@contextmanager
def open_events_topic() -> Iterator[EventsTopic]:
    """The events topic as it is now.

    Raises:
        UnavailableError: no broker listens, those that do cannot answer, or the topic does not exist.
    """
    kafka = get_settings().kafka
    servers = kafka.servers.split(",")
    # A consumer that finds no broker leaves a thread behind, which would add up in the process that serves metrics.
    if not any(_listens(server) for server in servers):
        raise UnavailableError(
            f"no Kafka broker answers at {kafka.servers}: `make up` starts one; logs/kafka.log says why it ended"
        )
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=servers,
            bootstrap_timeout_ms=int(_CONNECT_SECONDS * 1000),
            request_timeout_ms=int(_CONNECT_SECONDS * 1000),
            metrics_enabled=False,
            enable_auto_commit=False,  # without a group there is nothing to commit, which it would warn of at each look
        )
        try:
            partitions = consumer.partitions_for_topic(kafka.events_topic)
            if not partitions:
                raise UnavailableError(f"Kafka has no topic {kafka.events_topic}: `make up` creates it")
            yield EventsTopic(consumer, [TopicPartition(kafka.events_topic, number) for number in sorted(partitions)])
        finally:
            consumer.close()
    except KafkaError as error:
        silent = ", ".join(server for server in servers if not _listens(server))
        how = f"start what does not listen: {silent}" if silent else "its log says what it is at"
        raise UnavailableError(f"Kafka listens at {kafka.servers}, but does not answer ({error}); {how}") from error


def _listens(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
