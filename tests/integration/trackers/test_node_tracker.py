"""Segment's and Jitsu's libraries for Node."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

from ingestion_processes import EventsTopic
from tracker_tools import CALL_TYPES, FOLDER, KEY, node

from feature_repo.contract import check

COUNT = 100


def run(script: str, *words: str) -> dict[str, Any]:
    """What the library says of the events that a script sends."""
    words = (node(), str(FOLDER / script), *words)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_every_event_arrives_once_under_its_customer(collector_url: str, topic: EventsTopic) -> None:
    said = run("segment_calls.mjs", collector_url, KEY, str(COUNT))
    assert said["errors"] == []
    records = topic.read()
    arrived = {record.event["messageId"]: record.event for record in records}
    assert len(records) == len(arrived) == COUNT + len(CALL_TYPES)
    assert set(said["delivered"]) == set(arrived)
    assert [check(event) for event in arrived.values()] == [None] * len(arrived)
    for record in records:
        assert record.key == (record.event.get("userId") or record.event["anonymousId"]).encode()
        assert KEY.encode() not in record.value
    views = [event for event in arrived.values() if event.get("event") == "Product Viewed"]
    shown = {event["properties"]["products"][0]["product_id"] for event in views}
    assert shown == {f"p{number}" for number in range(COUNT)}

    assert {event["type"] for event in arrived.values()} == set(CALL_TYPES)
    [late] = [event for event in arrived.values() if event.get("userId") == "late"]
    age = datetime.now(UTC) - datetime.fromisoformat(late["timestamp"])
    assert timedelta(hours=3) <= age < timedelta(hours=3, minutes=2)


def test_a_wrong_write_key_delivers_nothing(collector_url: str, topic: EventsTopic) -> None:
    said = run("segment_calls.mjs", collector_url, "wrong", str(COUNT))
    assert said["delivered"] == []
    assert "[401]" in said["errors"][0]
    assert topic.read() == []


def test_jitsu(collector_url: str, topic: EventsTopic) -> None:
    assert run("jitsu_calls.mjs", collector_url, KEY) == {"errors": []}
    records = topic.read()
    assert sorted(record.event["type"] for record in records) == ["group", "identify", "page", "track", "track"]
    assert [check(record.event) for record in records] == [None] * len(records)
    assert {record.event.get("userId") for record in records} == {None, "ada"}
    assert len({record.event["anonymousId"] for record in records}) == 1
    assert all(KEY.encode() not in record.value for record in records)
