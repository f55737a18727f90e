"""Where refused events go: the quarantine table and topic, with a reason and the place that they came from."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import orjson
import pyarrow as pa

from feature_repo.settings import get_settings
from feature_repo.tables import QUARANTINE
from ingestion.appending import append_once
from ingestion.parsing import refusal
from ingestion.producer import open_producer

_TOPIC_PAYLOAD = 100_000  # characters; escaped, a few times as many bytes


def quarantine(refused: pa.Table, app_id: str, version: int) -> None:
    """Write refused events; the table holds each once, the topic at least once.

    Args:
        refused: rows of :func:`ingestion.archive.archivable` that are not good.
        app_id: Delta application id of the writer.
        version: the batch's number within ``app_id``.
    """
    tolerance = get_settings().stream.future_tolerance_seconds
    rows = []
    for row in refused.select(["payload", "source", "partition", "offset", "received_at"]).to_pylist():
        received_at = row["received_at"].astimezone(UTC)
        why = refusal(row["payload"], received_at, tolerance)
        rows.append(
            {
                "reason": why.reason.value,
                "field": why.field,
                "source": row["source"],
                "partition": row["partition"],
                "offset": row["offset"],
                "received_at": received_at,
                "payload": row["payload"],
            }
        )
    _publish(rows)
    append_once(QUARANTINE, pa.Table.from_pylist(rows, schema=QUARANTINE.schema), app_id, version)


def _message(row: dict[str, Any]) -> bytes:
    """For the topic, which has a limit on sizes: the beginning of the payload does."""
    return orjson.dumps(row | {"payload": (row["payload"] or "")[:_TOPIC_PAYLOAD]})


def _publish(rows: list[dict[str, Any]]) -> None:
    kafka = get_settings().kafka
    producer = open_producer(kafka, linger_ms=5, batch_bytes=65_536, delivery_seconds=30)
    try:
        for sent in [producer.send(kafka.quarantine_topic, _message(row)) for row in rows]:
            sent.get()
    finally:
        producer.close()
