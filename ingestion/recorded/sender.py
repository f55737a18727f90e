"""Sending recorded events to Kafka at a chosen pace, and counting what became of them."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

from kafka.errors import KafkaError

from feature_repo.errors import UnavailableError
from feature_repo.sections.servers import KafkaSettings
from ingestion.producer import open_producer
from ingestion.recorded.reader import RecordedEvent
from ingestion.stopping import StopRequest

LINGER_MS = 20
BATCH_BYTES = 512 * 1024
DELIVERY_SECONDS = 60.0
FLUSH_SECONDS_WHEN_STOPPED = 10.0
MAX_UNACKNOWLEDGED = 20_000
PAUSE_SECONDS = 0.002


class ReplaySender:
    """A producer with a pace; a context manager that waits for the acknowledgements at its end.

    Args:
        speed: times real time, or None for as fast as Kafka takes them.
        stop: ends all waiting when set.
    """

    def __init__(self, kafka: KafkaSettings, speed: float | None, stop: StopRequest) -> None:
        self._topic = kafka.events_topic
        self._speed = speed
        self._stop = stop
        self._producer = open_producer(
            kafka, linger_ms=LINGER_MS, batch_bytes=BATCH_BYTES, delivery_seconds=DELIVERY_SECONDS
        )
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._first_ms: int | None = None
        self._elapsed = 0.0
        self._error: Exception | None = None
        self.sent = 0
        self.acknowledged = 0
        self.failed = 0

    def __enter__(self) -> ReplaySender:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._producer.close(FLUSH_SECONDS_WHEN_STOPPED if self._stop else DELIVERY_SECONDS)
        except KafkaError as error:
            self._fail(error, 0)
        self.failed = self.sent - self.acknowledged
        self._elapsed = time.monotonic() - self._started

    def send(self, event: RecordedEvent) -> None:
        """Wait for the event's turn, then hand it to the producer.

        Raises:
            UnavailableError: Kafka does not know the topic.
        """
        self._await_turn(event.ms)
        self._await_room()
        body = event.body
        if body.startswith(b'{"'):
            body = b'{"receivedAt":"%s",' % _now().encode() + body[1:]
        try:
            future = self._producer.send(self._topic, body, key=event.key)
        except KafkaError as error:
            raise UnavailableError(f"Kafka does not take events for {self._topic}: {error}") from error
        self.sent += 1
        future.add_callback(self._acknowledge).add_errback(self._fail)

    def summary(self) -> str:
        rate = self.acknowledged / self._elapsed if self._elapsed else 0.0
        line = (
            f"sent {self.sent:,}, acknowledged {self.acknowledged:,}, failed {self.failed:,} "
            f"in {self._elapsed:.1f} s ({rate:,.0f} events/s)"
        )
        return f"{line}; first failure: {self._error}" if self._error else line

    def _await_turn(self, ms: int | None) -> None:
        if self._speed is None or ms is None:
            return
        if self._first_ms is None:
            self._first_ms, self._started = ms, time.monotonic()
        due = self._started + (ms - self._first_ms) / 1000 / self._speed
        ahead = due - time.monotonic()
        if ahead > PAUSE_SECONDS:
            self._stop.wait(ahead)

    def _await_room(self) -> None:
        """The producer buffers without limit, so the limit is here."""
        while self.sent - self.acknowledged > MAX_UNACKNOWLEDGED and not self.failed:
            if self._stop.wait(PAUSE_SECONDS):
                return

    def _acknowledge(self, _metadata: object) -> None:
        with self._lock:
            self.acknowledged += 1

    def _fail(self, error: Exception, count: int = 1) -> None:
        with self._lock:
            self.failed += count
            self._error = self._error or error


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
