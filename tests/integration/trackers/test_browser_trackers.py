"""The trackers of Segment, RudderStack and Jitsu for browsers, and beacons, in a real browser."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingestion_processes import EventsTopic, Record
from page_server import PageServer, page_server, wait_until
from tracker_tools import CALL_TYPES, KEY, browser

from feature_repo.contract import check

RUDDERSTACK = ("page", "track", "identify", "track", "group", "alias")
JITSU = ("page", "track", "identify", "track", "group")


@pytest.fixture
def pages(collector_url: str) -> Iterator[PageServer]:
    browser()
    with page_server(collector_url) as server:
        yield server


def arrived(topic: EventsTopic, count: int) -> list[Record]:
    """What reached Kafka, when it is so many, or when it is not to be expected any more."""
    wait_until(lambda: len(topic.read()) >= count)
    return topic.read()


def check_common(records: list[Record], pages: PageServer) -> None:
    """What holds of every page: a visitor with a name, a browser's description, a path, and no call to elsewhere."""
    assert len({record.event["messageId"] for record in records}) == len(records)
    assert len({record.event["anonymousId"] for record in records if record.event.get("anonymousId")}) == 1
    for record in records:
        assert "Mozilla/5.0" in record.event["context"]["userAgent"]
        assert record.event["context"]["page"]["path"].endswith(".html")
        # The page's own address has the key, and is sent along.
        assert f'"{KEY}"'.encode() not in record.value
    assert pages.forbidden == []


@pytest.mark.parametrize("strategy", ["standard", "batching"])
def test_segment(tmp_path: Path, pages: PageServer, topic: EventsTopic, strategy: str) -> None:
    own = {"apiKey": KEY, "apiHost": f"{pages.collector_url.removeprefix('http://')}/v1", "protocol": "http"}
    if strategy == "standard":
        settings = {"settings": json.dumps({"integrations": {"Segment.io": own}})}
    else:
        batches = {"deliveryStrategy": {"strategy": strategy, "config": {"size": 3, "timeout": 500}}}
        settings, pages.settings = {}, {"integrations": {"Segment.io": {**own, **batches}}}
    with pages.shown(tmp_path, "segment.html", key=KEY, **settings):
        assert wait_until(lambda: "/done" in pages.visited), (tmp_path / "browser.log").read_text()
        records = arrived(topic, 8)
    check_common(records, pages)
    kinds = Counter(record.event["type"] for record in records)
    assert kinds == {**dict.fromkeys(CALL_TYPES, 1), "track": 3}
    refused = {record.event["event"]: check(record.event) for record in records if check(record.event)}
    assert list(refused) == ["Button Pressed"]  # it is kept, for the quarantine
    [added] = [record for record in records if record.event.get("event") == "Product Added"]
    assert added.key == b"ada"
    assert added.event["properties"] == {"product_id": "mug-1", "price": 9.5, "quantity": 2}


@pytest.mark.parametrize("beacon", ["yes", "no"])
def test_rudderstack(tmp_path: Path, pages: PageServer, topic: EventsTopic, beacon: str) -> None:
    with pages.shown(tmp_path, "rudderstack.html", key=KEY, beacon=beacon):
        records = arrived(topic, len(RUDDERSTACK))
    check_common(records, pages)
    assert Counter(record.event["type"] for record in records) == Counter(RUDDERSTACK)
    assert [check(record.event) for record in records] == [None] * len(records)
    assert ("/left" in pages.visited) == (beacon == "yes")


def test_jitsu(tmp_path: Path, pages: PageServer, topic: EventsTopic) -> None:
    with pages.shown(tmp_path, "jitsu.html", key=KEY):
        records = arrived(topic, len(JITSU))
    check_common(records, pages)
    assert Counter(record.event["type"] for record in records) == Counter(JITSU)
    assert [check(record.event) for record in records] == [None] * len(records)


def test_a_page_that_is_left(tmp_path: Path, pages: PageServer, topic: EventsTopic) -> None:
    with pages.shown(tmp_path, "beacon.html", key=KEY):
        records = arrived(topic, 2)
    assert {record.event["messageId"] for record in records} == {"text/plain", "application/json"}
    assert [check(record.event) for record in records] == [None, None]
    assert pages.forbidden == []
