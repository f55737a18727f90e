"""What becomes of the events of a page: those that are news go to Kafka, and it has acknowledged them when this returns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from kafka import KafkaProducer
from kafka.errors import KafkaError

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion.collector.events import iso
from ingestion.producer import LARGEST_MESSAGE, message_key, open_producer
from ingestion.quarantine.known_events import keys_of, known_to_the_stream, refused_by_the_stream
from ingestion.quarantine.reasons import objection

_SECONDS = 60.0


@dataclass
class Delivered:
    """What became of events: ``sent`` as news, sent although the contract ``refused`` them, or ``known`` and not sent."""

    sent: int = 0
    refused: int = 0
    known: int = 0

    def __add__(self, other: Delivered) -> Delivered:
        return Delivered(self.sent + other.sent, self.refused + other.refused, self.known + other.known)


@dataclass(frozen=True)
class _Message:
    value: bytes
    key: bytes | None
    id: str
    keys: frozenset[str]
    good: bool


class Delivery:
    """A way into the stream; a context manager."""

    def __init__(self) -> None:
        self._kafka = get_settings().kafka
        self._producer: KafkaProducer = open_producer(
            self._kafka, linger_ms=5, batch_bytes=65_536, delivery_seconds=_SECONDS
        )

    def __enter__(self) -> Delivery:
        return self

    def __exit__(self, *_: object) -> None:
        self._producer.close()

    def deliver(self, events: list[dict[str, Any]]) -> Delivered:
        """Send what the stream has not had. When this returns, Kafka has it.

        Raises:
            UnavailableError: Kafka does not take it; to deliver the same again does no harm.
        """
        messages = [_message(event) for event in events]
        good = frozenset().union(*(message.keys for message in messages if message.good))
        bad = frozenset(message.id for message in messages if not message.good)
        known = (known_to_the_stream(good) if good else set()) | (refused_by_the_stream(bad) if bad else set())
        fresh: list[_Message] = []
        for message in messages:
            if not message.keys & known:
                fresh.append(message)
            known |= message.keys
        try:
            for sent in [self._producer.send(self._kafka.events_topic, one.value, key=one.key) for one in fresh]:
                sent.get(timeout=_SECONDS)
        except KafkaError as error:
            raise UnavailableError(
                f"Kafka at {self._kafka.servers} does not take the events ({error}); try again: what has arrived is not "
                "counted twice"
            ) from error
        refused = sum(not message.good for message in fresh)
        return Delivered(len(fresh) - refused, refused, len(messages) - len(fresh))


def _message(event: dict[str, Any]) -> _Message:
    now = datetime.now(UTC)
    value = orjson.dumps({**event, "receivedAt": iso(now)}, option=orjson.OPT_NON_STR_KEYS)
    good = objection(value.decode(), now) is None
    id_ = str(event["messageId"])
    return _Message(
        value[:LARGEST_MESSAGE], message_key(event), id_, keys_of(event) if good else frozenset({id_}), good
    )
