"""Refused events on their way to the quarantine table and topic: with a reason, and the place that they came from."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import orjson
import pyarrow as pa

from feature_repo.contract import Reason, Violation
from feature_repo.settings import get_settings
from feature_repo.tables import QUARANTINE
from ingestion.privacy.tombstones import Tombstones
from ingestion.producer import open_producer
from ingestion.quarantine.reasons import objection

# Python takes numbers and dates that do not fit Spark's types.
_SPARK_ONLY = Violation(Reason.WRONG_TYPE, "(event)", "a number or a time is beyond what the stores can hold")
_ERASED = Violation(Reason.ERASED_CUSTOMER, "userId", "it happened before its customer was erased")
_TOPIC_PAYLOAD = 100_000  # characters; escaped, a few times as many bytes


def refused_rows(refused: pa.Table, tombstones: Tombstones) -> pa.Table:
    """Rows of the quarantine table.

    Args:
        refused: rows of :func:`ingestion.events.archive.archivable` that are not good.
        tombstones: of whose events nothing but the place is kept.
    """
    rows = []
    names = ["payload", "source", "partition", "offset", "received_at", "customer_id"]
    for row in refused.select(names).to_pylist():
        received_at = row["received_at"].astimezone(UTC)
        # A good event has no payload, and a customer.
        erased = row.pop("customer_id") is not None and row["payload"] is None
        why = _ERASED if erased else objection(row["payload"], received_at) or _SPARK_ONLY
        if tombstones.cover_payload(row["payload"], received_at):
            row["payload"] = None
        rows.append({**row, "received_at": received_at, "reason": why.reason.value, "field": why.field})
    return pa.Table.from_pylist(rows, schema=QUARANTINE.schema)


def publish(refused: pa.Table) -> None:
    """Send rows of the quarantine table to the quarantine topic, for whoever listens; each at least once."""
    kafka = get_settings().kafka
    producer = open_producer(kafka, linger_ms=5, batch_bytes=65_536, delivery_seconds=30)
    try:
        for sent in [producer.send(kafka.quarantine_topic, _message(row)) for row in refused.to_pylist()]:
            sent.get()
    finally:
        producer.close()


def _message(row: dict[str, Any]) -> bytes:
    """For the topic, which has a limit on sizes: the beginning of the payload does."""
    return orjson.dumps(row | {"payload": (row["payload"] or "")[:_TOPIC_PAYLOAD]})
