"""What was answered, on its way to Kafka in a thread of its own: no request waits for it, or fails because of it.

Answers wait in memory, and go out a few hundred to a message twice a second. While Kafka does not answer, the oldest of too many
are given up and counted (``shelfwise_answers_lost_total``): outcomes of lists that show them cannot be told apart then.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from feature_repo.answered import to_message
from feature_repo.sections.servers import KafkaSettings
from serving import metrics

if TYPE_CHECKING:
    from kafka import KafkaProducer

_log = logging.getLogger("bentoml.shelfwise")

_MOST_WAITING = 20_000
_EVERY_SECONDS = 0.5
_RETRY_SECONDS = 5.0
_CLOSE_SECONDS = 3.0
_ANSWERS_PER_MESSAGE = 200
# Of a hundred characters each; Kafka's limit is a megabyte.
_ITEMS_PER_MESSAGE = 3_000


class AnswerLog:
    """Takes answers, and sends them when there is time."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._waiting: deque[dict[str, Any]] = deque()
        self._producer: KafkaProducer | None = None
        self._told = False
        self._lock = threading.Lock()  # requests add, this thread takes, and Kafka's own puts back
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="answers", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is waiting, if Kafka takes it soon, and end."""
        self._stop.set()
        self._thread.join(timeout=_CLOSE_SECONDS + 1)

    def add(self, record: dict[str, Any]) -> None:
        """Take an answer, as the fields of :class:`feature_repo.answered.Answered`."""
        with self._lock:
            full = len(self._waiting) >= _MOST_WAITING
            if full:
                self._waiting.popleft()
            self._waiting.append(record)
        if full:
            metrics.answers_lost.inc()

    def _put_back(self, records: list[dict[str, Any]], error: BaseException) -> None:
        """Have answers that Kafka did not take wait again, before all others; the oldest are given up if they are too many."""
        with self._lock:
            room = max(_MOST_WAITING - len(self._waiting), 0)
            kept = records[-room:] if room else []
            self._waiting.extendleft(reversed(kept))
        metrics.answers_lost.inc(len(records) - len(kept))
        self._tell(error)

    def _taken(self, count: int) -> None:
        metrics.answers_logged.inc(count)
        self._told = False

    def _loop(self) -> None:
        logging.getLogger("kafka").setLevel(logging.CRITICAL)  # it warns of each try; what comes of it is told here
        while not self._stop.wait(_EVERY_SECONDS):
            self._send()
        self._send()
        if self._producer is not None:
            self._producer.close(timeout=_CLOSE_SECONDS)
        with self._lock:
            metrics.answers_lost.inc(len(self._waiting))
            self._waiting.clear()

    def _send(self) -> None:
        if not self._waiting or not self._connected():
            return
        for records in self._messages():
            if not self._send_message(records):
                return  # and again with the next turn

    def _messages(self) -> Iterator[list[dict[str, Any]]]:
        """What is waiting, in messages of bounded size."""
        while self._waiting:
            records: list[dict[str, Any]] = []
            items = 0
            with self._lock:
                while self._waiting and len(records) < _ANSWERS_PER_MESSAGE and items < _ITEMS_PER_MESSAGE:
                    records.append(self._waiting.popleft())
                    items += len(records[-1]["items"])
            yield records

    def _send_message(self, records: list[dict[str, Any]]) -> bool:
        """Hand answers to the producer; whether it took them to be sent."""
        assert self._producer is not None
        try:
            sent = self._producer.send(self._kafka.recommendations_topic, to_message(records))
        except Exception as error:  # whatever it is, answers go on without being logged
            self._put_back(records, error)
            return False
        sent.add_callback(lambda _: self._taken(len(records)))
        sent.add_errback(lambda error: self._put_back(records, error))
        return not sent.failed()

    def _connected(self) -> bool:
        if self._producer is None:
            from kafka import KafkaProducer

            try:
                self._producer = KafkaProducer(
                    bootstrap_servers=self._kafka.servers.split(","),
                    client_id="shelfwise-serving",
                    acks="all",
                    linger_ms=5,
                    max_block_ms=2_000,
                    delivery_timeout_ms=30_000,
                    request_timeout_ms=10_000,
                    bootstrap_timeout_ms=2_000,
                    metrics_enabled=False,
                )
            except Exception as error:
                self._tell(error)
                self._stop.wait(_RETRY_SECONDS)
        return self._producer is not None

    def _tell(self, error: BaseException) -> None:
        if not self._told:
            _log.warning(
                "answers are not logged for now; they wait, and the oldest of too many are given up: %s",
                error or repr(error),
            )
        self._told = True


def record_of(body: dict[str, Any], scenario: str, customer_id: str | None, noted: dict[str, Any]) -> dict[str, Any]:
    """The record of an answer.

    Args:
        body: the answer.
        customer_id: whom the request named.
        noted: what an experiment adds.
    """
    return {
        "request_id": body["request_id"],
        "answered_at": time.time(),
        "customer_id": customer_id,
        "scenario": scenario,
        "model_version": body["model_version"],
        "fallback": body["fallback"],
        "items": [{"product_id": i.product_id, "source": i.source, "score": i.score} for i in body["items"]],
        **noted,
    }
