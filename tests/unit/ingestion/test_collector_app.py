"""The collector's answers while Kafka is away: everything that needs no broker, through the real application."""

from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import orjson
import pytest
from starlette.testclient import TestClient

from feature_repo.sections.intake import CollectorSettings
from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import Settings
from ingestion.collector.app import CALLS, create_app

KEY = "test-write-key"
VIEW = {"event": "Product Viewed", "userId": "u1", "properties": {"products": [{"product_id": "p1"}]}}
MAX_BODY, MAX_EVENT = 20_000, 5_000


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    """The application in front of a port where nothing listens."""
    settings = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:1"),
        collector=CollectorSettings(write_key=KEY, max_body_bytes=MAX_BODY, max_event_bytes=MAX_EVENT),
    )
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        client.auth = (KEY, "")
        yield client


def refusal(response: httpx.Response) -> tuple[int, str, str | None]:
    """Status, code and field of an answer in the one error shape."""
    error = response.json()["error"]
    assert set(error) == {"code", "field", "message"}
    assert error["message"]
    outside = {"code": error["code"], "message": error["message"]}  # where Segment's libraries look
    assert response.json() == {"error": error, **outside}
    return response.status_code, error["code"], error["field"]


@pytest.mark.parametrize("auth", [("wrong", ""), ("", KEY), (KEY + "x", "")])
def test_wrong_key(client: TestClient, auth: tuple[str, str]) -> None:
    assert refusal(client.post("/v1/track", json=VIEW, auth=auth)) == (401, "unauthorized", None)


@pytest.mark.parametrize("header", ["Bearer x", "Basic", "Basic !!!", "Basic /w=="])
def test_unreadable_authorisation(client: TestClient, header: str) -> None:
    answer = client.post("/v1/track", json=VIEW, headers={"Authorization": header}, auth=None)
    assert refusal(answer) == (401, "unauthorized", None)
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_write_key_in_the_body(client: TestClient) -> None:
    anonymous = TestClient(client.app)
    for key, status in ((KEY, 503), ("wrong", 401), (None, 401), (5, 401)):
        answer = anonymous.post("/v1/track", content=orjson.dumps({**VIEW, "writeKey": key}))
        assert answer.status_code == status


def test_write_key_in_the_address(client: TestClient) -> None:
    anonymous = TestClient(client.app)
    for address, status in ((f"?writeKey={KEY}", 503), ("?writeKey=wrong", 401), ("?writekey=" + KEY, 401)):
        assert anonymous.post(f"/beacon/v1/batch{address}", json={"batch": [VIEW]}).status_code == status
    assert client.post("/v1/track?writeKey=wrong", json=VIEW).status_code == 503  # basic auth has the last word


def test_write_key_in_a_header(client: TestClient) -> None:
    anonymous = TestClient(client.app)
    for shown, status in ((KEY, 503), (f"{KEY}:secret", 503), ("wrong", 401), (f"wrong:{KEY}", 401), ("", 401)):
        document = {**VIEW, "writeKey": "as shown to people"} if shown else VIEW
        answer = anonymous.post("/api/s/s2s/track", json=document, headers={"X-Write-Key": shown})
        assert answer.status_code == status


def test_more_requests_than_agreed_are_to_come_again() -> None:
    limits = CollectorSettings(write_key=KEY, requests_per_second=2)
    settings = Settings(kafka=KafkaSettings(bootstrap="127.0.0.1:1"), collector=limits)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        asked = [client.post("/v1/track", json=VIEW, auth=(key, "")) for key in ("wrong", KEY, KEY, "wrong", KEY, KEY)]
    assert [answer.status_code for answer in asked] == [401, 503, 503, 401, 429, 429]
    assert refusal(asked[-1]) == (429, "too_many_requests", None)
    assert asked[-1].headers["retry-after"] == "1"


@pytest.mark.parametrize("path", CALLS)
def test_every_call_reaches_kafka_or_says_that_it_did_not(client: TestClient, path: str) -> None:
    answer = client.post(path, json=VIEW, headers={"Content-Type": "text/plain"})
    assert refusal(answer) == (503, "unavailable", None)
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "malformed_json", None),
        (b"{", "malformed_json", None),
        (b'{"userId": "\xff"}', "malformed_json", None),
        (b'{"userId": NaN}', "missing_field", "userId"),
        (b'{"userId": "u\\u0000", "event": "Cart Viewed"}', "absurd_value", "(event)"),
        (
            b'{"userId": "u", "event": "Cart Viewed", "properties": {"revenue": NaN}}',
            "absurd_value",
            "properties.revenue",
        ),
        (b'{"userId": "u", "traits": ' + b"[" * 1100 + b"]" * 1100 + b"}", "malformed_json", None),
        (b"[1]", "malformed_json", None),
        (b"{}", "missing_field", "userId"),
        (b'{"userId": "u"}', "missing_field", "event"),
        (b'{"userId": "u", "event": "Product Viewed"}', "missing_field", "properties.products"),
        (b'{"userId": "u", "event": "Product Viewd"}', "unknown_event", "event"),
        (b'{"userId": "u", "event": "Cart Viewed", "timestamp": "noon"}', "bad_timestamp", "timestamp"),
        (b'{"userId": {"a": 1}, "event": "Cart Viewed"}', "wrong_type", "userId"),
    ],
)
def test_a_call_that_violates_the_contract(client: TestClient, body: bytes, code: str, field: str | None) -> None:
    assert refusal(client.post("/v1/track", content=body)) == (400, code, field)


def test_a_batch_without_a_list_of_events(client: TestClient) -> None:
    assert refusal(client.post("/v1/batch", json={"batch": {}})) == (400, "missing_field", "batch")


def test_too_large(client: TestClient) -> None:
    event = {**VIEW, "traits": "x" * MAX_EVENT}
    assert refusal(client.post("/v1/track", json=event)) == (413, "oversized", "(event)")
    batch = {"context": {"page": "x" * 8_000}, "batch": [VIEW] * 100}
    assert refusal(client.post("/v1/batch", json=batch)) == (413, "too_large", None)
    assert refusal(client.post("/v1/track", content=b"x" * (MAX_BODY + 1))) == (413, "too_large", None)
    unannounced = client.post("/v1/track", content=iter([b"x" * MAX_BODY, b"x"]))
    assert refusal(unannounced) == (413, "too_large", None)


@pytest.mark.parametrize(
    "odd",
    [
        b'{"type": "track", "event": "Cart Viewed", "userId": "u", "properties": {"revenue": NaN}}',
        b'{"type": "track", "event": "Cart Viewed", "userId": "u", "properties": {"query": "half an emoji \\ud83c"}}',
        b'{"type": "track", "event": "Cart Viewed", "userId": "\\ud83c"}',
        b'{"type": "identify", "userId": "u", "traits": ' + b"[" * 600 + b"]" * 600 + b"}",
        b'{"type": "identify", "userId": "u", "traits": "' + b"x" * MAX_EVENT + b'"}',
    ],
)
def test_one_odd_event_does_not_take_its_batch_along(client: TestClient, odd: bytes) -> None:
    batch = b'{"batch": [' + orjson.dumps({**VIEW, "type": "track"}) + b", " + odd + b"]}"
    assert refusal(client.post("/v1/batch", content=batch)) == (503, "unavailable", None)


def test_addresses_with_a_slash_at_the_end_are_the_same(client: TestClient) -> None:
    assert refusal(client.post("/v1/import/", json={"batch": [VIEW]}, follow_redirects=False))[0] == 503
    assert refusal(client.post("/v1/track/", json=VIEW, follow_redirects=False))[0] == 503


def test_other_compression_is_named(client: TestClient) -> None:
    answer = client.post("/v1/track", content=b"", headers={"Content-Encoding": "br"})
    assert refusal(answer) == (415, "unsupported_encoding", None)
    squeezed = client.post(
        "/v1/track", content=gzip.compress(orjson.dumps(VIEW)), headers={"Content-Encoding": "x-gzip "}
    )
    assert refusal(squeezed) == (503, "unavailable", None)


def test_a_body_that_does_not_come_is_not_waited_for(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestion.collector.requests._BODY_SECONDS", 0.05)
    begun = {"type": "http.request", "body": b'{"userId"', "more_body": True}
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if begun:
            first = dict(begun)
            begun.clear()
            return first
        await asyncio.sleep(60)
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(dict(message))

    scope = {"type": "http", "method": "POST", "path": "/v1/track", "query_string": b"", "headers": []}
    asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert said[0]["status"] == 408


def test_gzip(client: TestClient) -> None:
    def post(body: bytes) -> httpx.Response:
        return client.post("/v1/track", content=body, headers={"Content-Encoding": "gzip"})

    assert refusal(post(gzip.compress(orjson.dumps(VIEW)))) == (503, "unavailable", None)
    assert refusal(post(gzip.compress(b"{"))) == (400, "malformed_json", None)
    assert refusal(post(b"no gzip")) == (400, "malformed_gzip", None)
    assert refusal(post(gzip.compress(orjson.dumps(VIEW))[:-9])) == (400, "malformed_gzip", None)
    bomb = gzip.compress(b"0" * 10_000_000)
    assert len(bomb) < MAX_BODY
    assert refusal(post(bomb)) == (413, "too_large", None)


def test_unknown_path_and_wrong_method(client: TestClient) -> None:
    assert refusal(client.post("/v1/tracks", json=VIEW)) == (404, "not_found", None)
    wrong = client.get("/v1/track")
    assert refusal(wrong) == (405, "method_not_allowed", None)
    assert wrong.headers["allow"] == "POST"


def test_browsers_may_send_from_anywhere(client: TestClient) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    allowed = client.options("/v1/batch", headers={**asked, "Access-Control-Request-Headers": "authorization"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert allowed.headers["access-control-allow-credentials"] == "true"
    refused = client.post("/v1/track", content=b"{", headers={"Origin": "https://shop.example"})
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


def test_health_and_metrics(client: TestClient) -> None:
    assert refusal(client.get("/health")) == (503, "unavailable", None)
    client.post("/v1/track", content=b'{"userId": "u", "event": "Product Viewd"}')
    shown = client.get("/metrics").text
    assert 'shelfwise_collector_invalid_total{reason="unknown_event"}' in shown
    assert 'shelfwise_collector_refused_requests_total{code="unavailable"}' in shown


def test_neither_keys_nor_bodies_reach_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client.post("/v1/track", json={**VIEW, "userId": "private-customer"})
    client.post("/v1/track", content=b'{"private-customer"', auth=("private-key", ""))
    assert "private" not in caplog.text
    assert KEY not in caplog.text
