"""The Python libraries of RudderStack and Segment, which send in batches."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from ingestion_processes import EventsTopic
from rudderstack.analytics.client import Client as RudderStack
from segment.analytics.client import Client as Segment
from tracker_tools import CALL_TYPES, KEY

from feature_repo.contract import check

VIEW = {"product_id": "p1", "name": "Mug", "price": 9.5, "quantity": 1}


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("sync", [False, True])
def test_every_event_arrives_once_under_its_customer(
    collector_url: str, topic: EventsTopic, sync: bool, gzip: bool
) -> None:
    client = RudderStack(KEY, host=collector_url, sync_mode=sync, gzip=gzip, upload_size=7)
    sent = []
    for number in range(10 if sync else 100):
        who = {"user_id": f"u{number % 5}"} if number % 2 else {"anonymous_id": f"a{number % 5}"}
        ok, message = client.track(event="Product Viewed", properties={**VIEW, "position": number}, **who)
        assert ok
        sent.append(message)
    if not sync:
        client.shutdown()

    records = topic.read()
    arrived = {record.event["messageId"]: record for record in records}
    assert len(records) == len(arrived) == len(sent)
    for message in sent:
        record = arrived[message["messageId"]]
        assert record.key == (message.get("userId") or message["anonymousId"]).encode()
        assert record.event["properties"] == message["properties"]
        assert check(record.event) is None


def test_all_calls_are_taken(collector_url: str, topic: EventsTopic) -> None:
    client = RudderStack(KEY, host=collector_url, sync_mode=True)
    client.identify("u1", {"plan": "gold"}, anonymous_id="a1")
    client.track("u1", "Cart Viewed")
    client.page("u1", "shop", "Home", {"url": "https://shop.example/", "title": "Home"})
    client.screen("u1", "shop", "Home")
    client.group("u1", "g1", {"name": "Friends"})
    client.alias("a1", "u1")
    events = [record.event for record in topic.read()]
    assert sorted(event["type"] for event in events) == sorted(CALL_TYPES)
    assert [check(event) for event in events] == [None] * len(CALL_TYPES)


def test_what_happened_hours_ago_is_dated_so(collector_url: str, topic: EventsTopic) -> None:
    happened = datetime.now(UTC) - timedelta(hours=3)
    RudderStack(KEY, host=collector_url, sync_mode=True).track("u1", "Cart Viewed", timestamp=happened)
    [record] = topic.read()
    assert abs(datetime.fromisoformat(record.event["timestamp"]) - happened) < timedelta(seconds=1)


@pytest.mark.parametrize("library", [RudderStack, Segment])
def test_a_wrong_write_key_is_told_at_once_and_not_tried_again(
    collector_url: str, library: type[RudderStack | Segment]
) -> None:
    failed = threading.Event()
    errors: list[Exception] = []

    def on_error(error: Exception, _events: object) -> None:
        errors.append(error)
        failed.set()

    client = library("wrong", host=collector_url, on_error=on_error)
    client.track("u1", "Cart Viewed")
    assert failed.wait(5), "the library keeps trying"
    client.join()
    assert "unauthorized: send the write key" in str(errors[0])
