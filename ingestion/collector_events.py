"""What the collector adds to an event that it takes: type, id, time of arrival, and a timestamp free of clock skew."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from feature_repo.contract import is_timestamp

WRITE_KEY = "writeKey"


def stamp(event: dict[str, Any], received: datetime) -> dict[str, Any]:
    """Complete ``event`` in place and return it.

    The timestamp is corrected for the sender's clock as Segment does: received - (sentAt - timestamp). Without
    ``sentAt`` the given timestamp stands; without a timestamp the event happened when it was received. A time that
    cannot be read is left for the contract's check to name. The write key is a secret and is taken out.
    """
    event.pop(WRITE_KEY, None)
    if not event.get("messageId"):
        event["messageId"] = str(uuid.uuid4())
    event["receivedAt"] = iso(received)
    happened = event.get("timestamp") or event.get("originalTimestamp")
    if happened is None:
        event["timestamp"] = event["receivedAt"]
    else:
        event["timestamp"] = _without_skew(happened, event.get("sentAt"), received)
        if event["timestamp"] != happened:
            event.setdefault("originalTimestamp", happened)
    return event


def apply_batch_defaults(event: dict[str, Any], batch: dict[str, Any]) -> dict[str, Any]:
    """Give ``event`` the ``sentAt`` and ``context`` of the batch it came in, where it has none of its own."""
    if batch.get("sentAt") and not event.get("sentAt"):
        event["sentAt"] = batch["sentAt"]
    shared, own = batch.get("context"), event.get("context")
    if isinstance(shared, dict) and (own is None or isinstance(own, dict)):
        event["context"] = {**shared, **(own or {})}
    return event


def iso(moment: datetime) -> str:
    """``2026-01-31T12:00:00.123Z``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_skew(happened: Any, sent: Any, received: datetime) -> Any:
    happened_at, sent_at = _parse(happened), _parse(sent)
    if happened_at is None or sent_at is None:
        return happened
    try:
        return iso(received - (sent_at - happened_at))
    except OverflowError:
        return happened


def _parse(value: Any) -> datetime | None:
    if not isinstance(value, str) or not is_timestamp(value):
        return None
    moment = datetime.fromisoformat(value)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
