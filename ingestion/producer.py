"""Sending events to Kafka so that none is lost or doubled on the way: one idempotent producer, one key per customer.

The collector and the replay share it, so that a replayed event takes the same way as a live one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer
from kafka.codec import has_lz4
from kafka.errors import KafkaError

from feature_repo.errors import UnavailableError
from feature_repo.sections.servers import KafkaSettings

CONNECT_SECONDS = 10.0
# Kafka takes no larger message. The stream refuses a much smaller one as oversized, and keeps what there is of it.
LARGEST_MESSAGE = 500_000


def message_key(event: Mapping[str, Any]) -> bytes | None:
    """The customer as a message key, so that a customer's events keep their order: userId, else anonymousId."""
    for name in ("userId", "anonymousId"):
        value = event.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return str(value).encode(errors="surrogatepass")
    return None


def quiet_client_log() -> None:
    """Silence the client's lines on every retry; what fails in the end reaches the caller as an error."""
    logging.getLogger("kafka").setLevel(logging.CRITICAL)


def open_producer(
    kafka: KafkaSettings,
    *,
    linger_ms: int,
    batch_bytes: int,
    delivery_seconds: float,
    block_ms: int | None = None,
    connect_seconds: float = CONNECT_SECONDS,
) -> KafkaProducer:
    """A connected producer: idempotent, acknowledged by all replicas, compressed where the lz4 package is there.

    Args:
        linger_ms: how long a message waits for company before its batch is sent.
        batch_bytes: size at which a batch is sent without waiting.
        delivery_seconds: how long a message is retried before its future fails.
        block_ms: how long ``send`` may block while the topic's metadata is unknown; default: ``delivery_seconds``.
        connect_seconds: how long to look for a broker.

    Raises:
        UnavailableError: no broker answers.
    """
    delivery_ms = int(delivery_seconds * 1000)
    try:
        return KafkaProducer(
            bootstrap_servers=kafka.servers.split(","),
            client_id="shelfwise-ingestion",
            enable_idempotence=True,
            acks="all",
            compression_type="lz4" if has_lz4() else None,
            linger_ms=linger_ms,
            batch_size=batch_bytes,
            delivery_timeout_ms=delivery_ms,
            request_timeout_ms=max(100, min(30_000, delivery_ms - linger_ms)),
            max_block_ms=delivery_ms if block_ms is None else block_ms,
            bootstrap_timeout_ms=int(connect_seconds * 1000),
            reconnect_backoff_max_ms=1_000,
            metrics_enabled=False,
        )
    except KafkaError as error:
        raise UnavailableError(f"Kafka does not answer at {kafka.servers}; is it running? ({error})") from error
