"""What the collector adds to events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from ingestion.collector.events import apply_batch_defaults, stamp

RECEIVED = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "timestamp"),
    [
        pytest.param({}, "2026-03-01T12:00:00.500Z", id="no time: now"),
        pytest.param({"timestamp": "2026-03-01T10:00:00Z"}, "2026-03-01T10:00:00Z", id="no sentAt: as it is"),
        pytest.param(
            {"timestamp": "2026-03-01T11:00:00Z", "sentAt": "2026-03-01T11:00:02Z"},
            "2026-03-01T11:59:58.500Z",
            id="a clock an hour slow",
        ),
        pytest.param(
            {"originalTimestamp": "2026-03-01T15:00:00+02:00", "sentAt": "2026-03-01T13:00:10"},
            "2026-03-01T11:59:50.500Z",
            id="a clock an hour fast, other names and offsets",
        ),
        pytest.param(
            {
                "timestamp": "2026-03-01T09:00:00Z",
                "originalTimestamp": "2026-03-01T08:00:00Z",
                "sentAt": "2026-03-01T11:00:00Z",
            },
            "2026-03-01T09:00:00Z",
            id="passed on by a service that has corrected it",
        ),
        pytest.param(
            {"timestamp": "2026-03-01T13:00:00Z", "sentAt": "2026-03-01T11:00:00Z"},
            "2026-03-01T12:00:00.500Z",
            id="a clock set back by two hours before sending",
        ),
        pytest.param(
            {"timestamp": "2026-04-01T13:00:00Z", "sentAt": "2026-03-01T11:00:00Z"},
            "2026-04-01T13:00:00Z",
            id="a month before it is to happen",
        ),
        pytest.param(
            {"timestamp": "2026-02-27T12:00:00Z", "sentAt": "2026-03-01T12:00:00Z"},
            "2026-02-27T12:00:00.500Z",
            id="offline for two days",
        ),
        pytest.param({"timestamp": "yesterday", "sentAt": "2026-03-01T13:00:10Z"}, "yesterday", id="unreadable"),
        pytest.param({"timestamp": 5, "sentAt": "2026-03-01T13:00:10Z"}, 5, id="no text"),
        pytest.param(
            {"timestamp": "0001-01-01T00:00:00Z", "sentAt": "9999-01-01T00:00:00Z"},
            "0001-01-01T00:00:00Z",
            id="a difference beyond the calendar",
        ),
    ],
)
def test_timestamp_is_freed_of_clock_skew(given: dict[str, Any], timestamp: object) -> None:
    assert stamp(dict(given), RECEIVED)["timestamp"] == timestamp


def test_what_the_tracker_said_is_kept_beside_a_corrected_timestamp() -> None:
    event = stamp({"timestamp": "2026-03-01T11:00:00Z", "sentAt": "2026-03-01T11:00:02Z"}, RECEIVED)
    assert event["originalTimestamp"] == "2026-03-01T11:00:00Z"


def test_ids_and_arrival_are_added_and_the_write_key_is_taken_out() -> None:
    event = stamp({"writeKey": "secret", "messageId": ""}, RECEIVED)
    assert UUID(event["messageId"]).version == 4
    assert event["receivedAt"] == "2026-03-01T12:00:00.500Z"
    assert "writeKey" not in event
    assert stamp({"messageId": "mine"}, RECEIVED)["messageId"] == "mine"


def test_a_batch_lends_its_time_and_context() -> None:
    batch = {"sentAt": "2026-03-01T11:00:02Z", "context": {"country": "DE", "locale": "de"}}
    event = apply_batch_defaults({"context": {"locale": "fr"}}, batch)
    assert event == {"sentAt": "2026-03-01T11:00:02Z", "context": {"country": "DE", "locale": "fr"}}
    assert apply_batch_defaults({"context": "no object", "sentAt": "own"}, batch) == {
        "context": "no object",
        "sentAt": "own",
    }
