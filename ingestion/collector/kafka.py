"""The collector's side of Kafka: producing from an event loop, with acknowledgement, whether Kafka is there or not."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaError, KafkaTimeoutError, RetriableError

from feature_repo.errors import UnavailableError
from feature_repo.sections.servers import KafkaSettings
from ingestion.producer import CONNECT_SECONDS, open_producer

log = logging.getLogger(__name__)

Message = tuple[bytes | None, bytes]

RECONNECT_PAUSE_SECONDS = 1.0
LINGER_MS = 2
BATCH_BYTES = 64 * 1024
MAX_UNACKNOWLEDGED_BYTES = 64 * 1024 * 1024
MAX_SEND_BLOCK_MS = 50
PROBE_TIMEOUT_MS = 2_000
PROBE_CACHE_SECONDS = 1.0


class AcknowledgedProducer:
    """Sends from an event loop without blocking it and returns when Kafka has acknowledged.

    A thread of its own connects, and connects anew after an error that a producer does not survive, so that the
    collector starts and keeps answering while Kafka is away.
    """

    def __init__(self, kafka: KafkaSettings, ack_timeout_seconds: float) -> None:
        self._kafka = kafka
        self._timeout = ack_timeout_seconds
        self._producer: KafkaProducer | None = None
        self._unacknowledged_bytes = 0
        self._acknowledging = True
        self._disconnected = threading.Event()
        self._closed = threading.Event()
        self._connector = threading.Thread(target=self._keep_connected, name="kafka-connect", daemon=True)

    def start(self) -> None:
        self._disconnected.set()
        self._connector.start()

    async def send(self, messages: Sequence[Message]) -> None:
        """Produce ``(key, value)`` messages to the events topic; return when all of them are acknowledged.

        Raises:
            UnavailableError: not acknowledged in time. Kafka may still get the messages: a repeated request brings
                the same message ids, which count once.
        """
        producer = self._producer
        if producer is None:
            raise UnavailableError("Kafka is not connected")
        size = sum(len(value) for _, value in messages)
        if self._unacknowledged_bytes + size > MAX_UNACKNOWLEDGED_BYTES:
            raise UnavailableError("too many events are waiting for Kafka")
        self._unacknowledged_bytes += size
        try:
            await asyncio.wait_for(self._acknowledged(producer, messages), self._timeout)
            self._note(acknowledging=True)
        except (TimeoutError, KafkaTimeoutError) as error:
            self._note(acknowledging=False)
            raise UnavailableError(f"Kafka did not acknowledge in {self._timeout:g} s") from error
        except KafkaError as error:
            self._note(acknowledging=False)
            self._drop_if_broken(producer, error)
            raise UnavailableError(f"Kafka did not take the events ({type(error).__name__})") from error
        finally:
            self._unacknowledged_bytes -= size

    def _note(self, *, acknowledging: bool) -> None:
        if acknowledging is not self._acknowledging:
            self._acknowledging = acknowledging
            log.warning("Kafka %s", "acknowledges again" if acknowledging else "does not acknowledge")

    def _acknowledged(self, producer: KafkaProducer, messages: Sequence[Message]) -> asyncio.Future[None]:
        latch = _Latch(asyncio.get_running_loop(), len(messages))
        for key, value in messages:
            future = producer.send(self._kafka.events_topic, value, key=key)
            future.add_callback(latch.acknowledged).add_errback(latch.failed)
        return latch.future

    def _drop_if_broken(self, producer: KafkaProducer, error: KafkaError) -> None:
        if isinstance(error, RetriableError | KafkaConnectionError):
            return
        in_use = self._producer is producer
        if in_use:
            log.error("the Kafka producer failed (%s); connecting anew", type(error).__name__)
            self._producer = None
            threading.Thread(target=producer.close, args=(1.0,), daemon=True).start()
            self._disconnected.set()

    def _keep_connected(self) -> None:
        complained = False
        while self._disconnected.wait() and not self._closed.is_set():
            try:
                self._producer = self._connect()
                self._disconnected.clear()
                complained = False
                log.info("connected to Kafka at %s", self._kafka.servers)
            except UnavailableError as error:
                if not complained:
                    log.warning("%s; trying again every second", error)
                complained = True
                self._closed.wait(RECONNECT_PAUSE_SECONDS)

    def _connect(self) -> KafkaProducer:
        """A producer that already knows the topic's partitions, so that ``send`` need not wait for them."""
        producer = open_producer(
            self._kafka,
            linger_ms=LINGER_MS,
            batch_bytes=BATCH_BYTES,
            delivery_seconds=self._timeout,
            block_ms=MAX_SEND_BLOCK_MS,
        )
        deadline = time.monotonic() + CONNECT_SECONDS
        while not self._closed.is_set():
            try:
                producer.partitions_for(self._kafka.events_topic)
                return producer
            except KafkaTimeoutError:
                if time.monotonic() > deadline:
                    break
        producer.close(0)
        raise UnavailableError(f"Kafka has no topic {self._kafka.events_topic}")

    @property
    def connected(self) -> bool:
        return self._producer is not None

    async def close(self) -> None:
        """Send what is buffered, within the acknowledgement time, and disconnect."""
        self._closed.set()
        self._disconnected.set()
        if self._producer is not None:
            await asyncio.to_thread(self._flush_and_close, self._producer)

    def _flush_and_close(self, producer: KafkaProducer) -> None:
        try:
            producer.close(self._timeout)
        except KafkaTimeoutError:
            log.warning("some events were not acknowledged before the stop; their senders were told so")


class _Latch:
    """An asyncio future that completes when ``count`` Kafka futures have, or with the first error among them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.future: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._left = count
        self._lock = threading.Lock()
        if count == 0:
            self.future.set_result(None)

    def acknowledged(self, _metadata: object) -> None:
        """Called in Kafka's thread, for each message."""
        with self._lock:
            self._left -= 1
            finished = self._left == 0
        if finished:
            self._loop.call_soon_threadsafe(self._finish, None)

    def failed(self, error: Exception) -> None:
        """Called in Kafka's thread."""
        self._loop.call_soon_threadsafe(self._finish, error)

    def _finish(self, error: Exception | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(error)


class KafkaProbe:
    """Whether Kafka answers a metadata request, asked at most once a second."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin: Any = None
        self._lock = asyncio.Lock()
        self._answer = False
        self._asked_at = float("-inf")

    async def answers(self) -> bool:
        async with self._lock:
            if time.monotonic() - self._asked_at > PROBE_CACHE_SECONDS:
                self._answer = await asyncio.to_thread(self._ask)
                self._asked_at = time.monotonic()
            return self._answer

    def _ask(self) -> bool:
        try:
            if self._admin is None:
                self._admin = KafkaAdminClient(
                    bootstrap_servers=self._kafka.servers.split(","),
                    bootstrap_timeout_ms=PROBE_TIMEOUT_MS,
                    request_timeout_ms=PROBE_TIMEOUT_MS,
                )
            self._admin.describe_topics([self._kafka.events_topic])
        except KafkaError:
            self.close()
            return False
        return True

    def close(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None
