"""One event's way through Kafka, found again: when the collector took it, and when the stream had checked it."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from feature_repo.errors import UnavailableError
from feature_repo.sections.servers import KafkaSettings

if TYPE_CHECKING:
    from kafka import KafkaConsumer

_PATIENCE_SECONDS = 3.0
_POLL_MS = 50
# Events are looked for among those of this time at most: a page that names a longer one must not make us read a whole topic.
_LONGEST_SECONDS = 60.0


class EventWay:
    """Looks for single events in the topics that they pass through; for people who look on, not for traffic."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._consumer: KafkaConsumer | None = None
        self._lock = threading.Lock()  # a consumer serves one thread at a time

    def find(self, message_id: str, since: float) -> dict[str, int | None]:
        """When an event was where, in epoch milliseconds: ``received_at`` by the collector's clock, ``checked_at`` when
        the stream wrote it to the topic of checked events; None for what is not found (a stream that reads micro-batches
        writes none there).

        Args:
            since: epoch seconds before it was sent.

        Raises:
            UnavailableError: Kafka does not answer.
        """
        from kafka.errors import KafkaError

        with self._lock:
            try:
                return self._find(message_id, max(since, time.time() - _LONGEST_SECONDS))
            except KafkaError as error:
                self.close()
                raise UnavailableError(f"Kafka does not answer at {self._kafka.servers}: {error}") from error

    def close(self) -> None:
        """Give up the connection; the next question makes a new one."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _find(self, message_id: str, since: float) -> dict[str, int | None]:
        consumer = self._positioned(round(since * 1000))
        found: dict[str, int | None] = {"received_at": None, "checked_at": None}
        marker, deadline = message_id.encode(), time.monotonic() + _PATIENCE_SECONDS
        while None in found.values() and time.monotonic() < deadline:
            for part in consumer.poll(timeout_ms=_POLL_MS).values():
                for record in part:
                    if marker in record.value:
                        self._note(found, message_id, record)
        return found

    def _note(self, found: dict[str, int | None], message_id: str, record: Any) -> None:
        event = orjson.loads(record.value)
        if record.topic == self._kafka.checked_topic:
            if event.get("message_id") == message_id:
                found["checked_at"] = record.timestamp
        elif event.get("messageId") == message_id:
            found["received_at"] = round(datetime.fromisoformat(event["receivedAt"]).timestamp() * 1000)

    def _positioned(self, since_ms: int) -> KafkaConsumer:
        """A consumer of all partitions of both topics, at what was written since then."""
        from kafka import KafkaConsumer, TopicPartition

        if self._consumer is None:
            logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what comes of its tries is told by us
            self._consumer = KafkaConsumer(
                bootstrap_servers=self._kafka.servers.split(","),
                client_id="shelfwise-storefront",
                enable_auto_commit=False,
                bootstrap_timeout_ms=2_000,
            )
        consumer = self._consumer
        places = [
            TopicPartition(topic, partition)
            for topic in (self._kafka.events_topic, self._kafka.checked_topic)
            for partition in consumer.partitions_for_topic(topic) or ()
        ]
        consumer.assign(places)
        begins, ends = consumer.offsets_for_times(dict.fromkeys(places, since_ms)), consumer.end_offsets(places)
        for place in places:
            begin = begins.get(place)
            consumer.seek(place, begin.offset if begin else ends[place])
        return consumer
