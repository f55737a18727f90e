"""Requests in the shapes of trackers that do not run here: those of phones, and beacons that a page sends as it goes."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson
import pytest
from ingestion_processes import EventsTopic
from tracker_tools import KEY

from feature_repo.contract import check

PHONE = {
    "library": {"name": "analytics-kotlin", "version": "1.16.3"},
    "device": {"id": "d1", "manufacturer": "Fairphone", "model": "FP5", "name": "FP5", "type": "android"},
    "os": {"name": "Android", "version": "15"},
    "screen": {"width": 1224, "height": 2700, "density": 3.0},
    "network": {"cellular": True, "wifi": False},
    "app": {"name": "Shop", "version": "4.2", "build": "77"},
    "locale": "de-DE",
    "timezone": "Europe/Berlin",
}


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def phone_event(kind: str, happened: datetime, message: str, **more: Any) -> dict[str, Any]:
    ids = {"messageId": message, "anonymousId": "phone-1", "userId": ""}
    empty = {"integrations": {}, "_metadata": {"bundled": [], "unbundled": [], "bundledIds": []}}
    return {"type": kind, "timestamp": iso(happened), "context": PHONE, **ids, **empty, **more}


def test_a_phone_that_was_offline_for_hours_with_a_wrong_clock(collector_url: str, topic: EventsTopic) -> None:
    """As analytics-kotlin and -swift upload: to /v1/b, compressed, the write key in the body, one time of sending."""
    now = datetime.now(UTC)
    clock = now - timedelta(days=3)
    ages = [timedelta(hours=9), timedelta(hours=2, minutes=30), timedelta(seconds=4)]
    added = {"product_id": "p1", "price": 9.5, "quantity": 1}
    batch = [
        phone_event("screen", clock - ages[0], "s1", name="Home", properties={"name": "Home"}),
        phone_event("track", clock - ages[1], "t1", event="Product Added", properties=added),
        phone_event("identify", clock - ages[2], "i1", traits={"email": "a@shop.example"}) | {"userId": "u1"},
    ]
    body = gzip.compress(orjson.dumps({"batch": batch, "sentAt": iso(clock), "writeKey": KEY}))
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    answer = httpx.post(f"{collector_url}/v1/b", content=body, headers=headers)
    assert answer.json() == {"success": True, "accepted": 3, "invalid": 0}

    arrived = {record.event["messageId"]: record for record in topic.read()}
    assert set(arrived) == {"s1", "t1", "i1"}
    for message, age in zip(("s1", "t1", "i1"), ages, strict=True):
        event = arrived[message].event
        assert abs(datetime.fromisoformat(event["timestamp"]) - (now - age)) < timedelta(seconds=5)
        assert datetime.fromisoformat(event["originalTimestamp"]) == datetime.fromisoformat(iso(clock - age))
        assert event["context"]["device"] == PHONE["device"]
        assert check(event) is None
    assert not any(KEY.encode() in record.value for record in arrived.values())
    assert (arrived["t1"].key, arrived["i1"].key) == (b"phone-1", b"u1")


def test_a_clock_that_was_set_back_before_sending(collector_url: str, topic: EventsTopic) -> None:
    now = datetime.now(UTC)
    batch = [
        phone_event("screen", now + timedelta(hours=2), "zone", name="Home"),
        phone_event("screen", now + timedelta(days=400), "absurd", name="Home"),
    ]
    httpx.post(f"{collector_url}/v1/b", json={"batch": batch, "sentAt": iso(now), "writeKey": KEY}).raise_for_status()
    dated = {record.event["messageId"]: datetime.fromisoformat(record.event["timestamp"]) for record in topic.read()}
    assert abs(dated["zone"] - now) < timedelta(seconds=5)
    assert dated["absurd"] - now > timedelta(days=399)  # which the stream will not take


@pytest.mark.parametrize("path", ["/beacon/v1/batch", "/v1/batch", "/v1/b"])
def test_a_beacon_shows_its_key_in_the_address(collector_url: str, topic: EventsTopic, path: str) -> None:
    view = {"type": "track", "event": "Cart Viewed", "anonymousId": "a1", "messageId": f"beacon{path}"}
    body = orjson.dumps({"batch": [view], "sentAt": iso(datetime.now(UTC))})
    plain = {"Content-Type": "text/plain;charset=UTF-8", "Origin": "https://shop.example"}
    refused = httpx.post(f"{collector_url}{path}?writeKey=wrong", content=body, headers=plain)
    assert refused.status_code == 401
    httpx.post(f"{collector_url}{path}?writeKey={KEY}", content=body, headers=plain).raise_for_status()
    [record] = topic.read()
    assert record.event["messageId"] == f"beacon{path}"
    assert check(record.event) is None


def test_a_call_of_a_library_that_breaks_the_contract_is_kept(collector_url: str, topic: EventsTopic) -> None:
    """The library would drop what is refused; a person who calls by hand reads the answer."""
    event = {"event": "Button Pressed", "anonymousId": "a1", "messageId": "pressed", "writeKey": KEY}
    by_hand = httpx.post(f"{collector_url}/v1/track", json=event)
    assert (by_hand.status_code, by_hand.json()["error"]["code"]) == (400, "unknown_event")
    assert topic.read() == []
    library = {"context": {"library": {"name": "analytics.js", "version": "1"}}}
    kept = httpx.post(f"{collector_url}/v1/t", json={**event, **library})
    assert kept.json() == {"success": True, "accepted": 0, "invalid": 1}
    [record] = topic.read()
    assert record.event["messageId"] == "pressed"


def test_a_preflight_is_answered_for_any_page(collector_url: str) -> None:
    asked = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,anonymousid",
    }
    answer = httpx.options(f"{collector_url}/v1/t", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] in ("*", "https://shop.example")
    for header in ("authorization", "content-type", "anonymousid"):
        assert header in answer.headers["access-control-allow-headers"].lower()
