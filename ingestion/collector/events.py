"""What the collector adds to an event that it takes: type, id, time of arrival, and a timestamp free of clock skew."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from feature_repo.contract import is_timestamp, time_of
from ingestion.json_text import NotANumber

WRITE_KEY = "writeKey"
_IDS = ("userId", "anonymousId", "previousId")
# How far a clock may have been set back between an event and its sending: a day, for a wrong time zone or a summer time.
CLOCK_STEP = timedelta(days=1)


def stamp(event: dict[str, Any], received: datetime) -> dict[str, Any]:
    """Complete ``event`` in place and return it.

    The timestamp is corrected for the sender's clock as Segment does: received - (sentAt - timestamp). Without
    ``sentAt`` the given timestamp stands, and so does one beside an ``originalTimestamp``: whoever passed the event on has
    corrected it. Without a timestamp the event happened when it was received. A time that cannot be read is left for the
    contract's check to name. The write key is a secret and is taken out.
    """
    event.pop(WRITE_KEY, None)
    for name in _IDS:
        # How pandas says that there is none. As text, it would be a customer.
        if isinstance(event.get(name), NotANumber):
            event[name] = None
    if not event.get("messageId"):
        event["messageId"] = str(uuid.uuid4())
    event["receivedAt"] = iso(received)
    given, original = event.get("timestamp"), event.get("originalTimestamp")
    happened = given or original
    if happened is None:
        event["timestamp"] = event["receivedAt"]
    elif given and original:
        event["timestamp"] = given
    else:
        event["timestamp"] = _without_skew(happened, event.get("sentAt"), received)
        if event["timestamp"] != happened:
            event["originalTimestamp"] = happened
    return event


def made_by_sdk(event: dict[str, Any]) -> bool:
    """Whether a tracker's library made ``event``: each of Segment's and RudderStack's names itself in the context."""
    context = event.get("context")
    return isinstance(context, dict) and bool(context.get("library"))


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
    waited = sent_at - happened_at
    if waited < timedelta(0):
        # The clock was set back in between. By a little: it has just happened. By more: nothing says when it happened,
        # and the stream puts what is dated after its arrival into the quarantine.
        return iso(received) if -waited <= CLOCK_STEP else happened
    try:
        return iso(received - waited)
    except OverflowError:
        return happened


def _parse(value: Any) -> datetime | None:
    return time_of(value) if isinstance(value, str) and is_timestamp(value) else None
