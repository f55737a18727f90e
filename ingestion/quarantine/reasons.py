"""Why an event may not pass, in a sentence for people, without Spark."""

from __future__ import annotations

import json
from datetime import datetime

from feature_repo import contract
from feature_repo.contract import Reason, Violation
from feature_repo.settings import get_settings

_WHOLE = "(event)"
# As JSON writes it: Postgres refuses a whole table for it, and no name or id has one on purpose.
NUL = rb"\u0000"


def objection(payload: str | None, received_at: datetime) -> Violation | None:
    """What speaks against an event that arrives as ``payload`` at ``received_at``; None if it may pass.

    The stream says the same, but for the few numbers and dates that fit Python's types and not Spark's.
    """
    settings = get_settings()
    if not payload or not payload.strip():
        return Violation(Reason.EMPTY, _WHOLE, "the message is empty")
    if violation := unfit(payload.encode(), settings.collector.max_event_bytes):
        return violation
    try:
        event = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return Violation(Reason.MALFORMED_JSON, _WHOLE, f"not JSON: {error}")
    if violation := contract.check(event):
        return violation
    tolerance = settings.stream.future_tolerance_seconds
    if (contract.time_of(event["timestamp"]) - received_at).total_seconds() > tolerance:
        message = (
            f"{event['timestamp']} is more than {tolerance} s after its arrival at {received_at:%Y-%m-%d %H:%M:%S %Z}"
        )
        return Violation(Reason.FUTURE_TIMESTAMP, "timestamp", message)
    return None


def unfit(payload: bytes, most: int) -> Violation | None:
    """What speaks against an event's text as such: its size in bytes, and what no database can store as text."""
    if len(payload) > most:
        message = f"{len(payload):,} bytes are more than the {most:,} that an event may have"
        return Violation(Reason.OVERSIZED, _WHOLE, message)
    if NUL in payload:
        return Violation(
            Reason.ABSURD_VALUE, _WHOLE, "it has a character of code 0, which databases cannot store in a text"
        )
    return None
