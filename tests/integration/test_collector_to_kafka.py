"""The collector between real trackers and a real broker."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from ingestion_processes import EventsTopic, collector, run
from own_stack import OwnStack
from segment.analytics.client import Client

from deploy.records import Records
from feature_repo.contract import check
from feature_repo.sections.servers import KafkaSettings
from feature_repo.settings import Settings
from ingestion.quarantine.reasons import objection

KEY = "integration-write-key"
ACK_SECONDS = "2"
VIEW = {"event": "Product Viewed", "properties": {"products": [{"product_id": "p1"}]}}


def collector_environment(stack: OwnStack, **more: str) -> dict[str, str]:
    return {**stack.environment(), "SHELFWISE_COLLECTOR__WRITE_KEY": KEY, **more}


@pytest.fixture(scope="module")
def url(stack_env: OwnStack, kafka_and_redis: Settings) -> Iterator[str]:
    url = f"http://127.0.0.1:{stack_env.port('COLLECTOR__PORT')}"
    with collector(collector_environment(stack_env), url):
        yield url


class TestSegmentClient:
    """The real client of Segment, as a shop would use it."""

    @pytest.mark.parametrize("gzip", [False, True])
    @pytest.mark.parametrize("sync", [False, True])
    def test_every_event_arrives_once_in_order_under_its_customer(
        self, url: str, topic: EventsTopic, sync: bool, gzip: bool
    ) -> None:
        client = Client(KEY, host=url, sync_mode=sync, gzip=gzip, upload_size=7)
        count = 20 if sync else 200
        sent = []
        for number in range(count):
            who = {"user_id": f"u{number % 5}"} if number % 2 else {"anonymous_id": f"a{number % 5}"}
            products = [{"product_id": f"p{number}", "price": 9.5, "quantity": 1}]
            ok, message = client.track(event="Product Viewed", properties={"products": products}, **who)
            assert ok
            sent.append(message)
        if not sync:
            client.shutdown()

        records = topic.read()
        arrived = {record.event["messageId"]: record for record in records}
        assert len(records) == len(arrived) == count
        for message in sent:
            record = arrived[message["messageId"]]
            assert record.key == (message.get("userId") or message["anonymousId"]).encode()
            assert record.event["properties"] == message["properties"]
            assert check(record.event) is None
        for key in {record.key for record in records}:
            of_customer = [record for record in records if record.key == key]
            assert len({record.partition for record in of_customer}) == 1
            numbers = [int(record.event["properties"]["products"][0]["product_id"][1:]) for record in of_customer]
            assert numbers == sorted(numbers)

    def test_all_calls(self, url: str, topic: EventsTopic) -> None:
        client = Client(KEY, host=url, sync_mode=True)
        client.identify("u1", {"plan": "gold"})
        client.alias("a1", "u1")
        client.page("u1", name="Home")
        client.screen("u1", name="Home")
        client.group("u1", "g1")
        client.track("u1", "Cart Viewed")
        events = [record.event for record in topic.read()]
        assert [event["type"] for event in events] == ["identify", "alias", "page", "screen", "group", "track"]
        assert [check(event) for event in events] == [None] * 6

    def test_times_are_corrected_for_the_distance_between_happening_and_sending(
        self, url: str, topic: EventsTopic
    ) -> None:
        happened = datetime.now(UTC) - timedelta(hours=3)
        Client(KEY, host=url, sync_mode=True).track("u1", "Cart Viewed", timestamp=happened)
        [record] = topic.read()
        corrected = datetime.fromisoformat(record.event["timestamp"])
        assert abs(corrected - happened) < timedelta(seconds=1)
        received = datetime.fromisoformat(record.event["receivedAt"])
        assert abs(received - datetime.now(UTC)) < timedelta(seconds=10)


def test_a_clock_that_is_wrong_does_not_matter(url: str, topic: EventsTopic) -> None:
    tracker_now = datetime.now(UTC) + timedelta(days=2)
    event = {**VIEW, "type": "track", "userId": "u1", "timestamp": (tracker_now - timedelta(minutes=1)).isoformat()}
    answer = httpx.post(f"{url}/v1/batch", json={"batch": [event], "sentAt": tracker_now.isoformat(), "writeKey": KEY})
    assert answer.json() == {"success": True, "accepted": 1, "invalid": 0}
    [record] = topic.read()
    off = datetime.fromisoformat(record.event["timestamp"]) - (datetime.now(UTC) - timedelta(minutes=1))
    assert abs(off) < timedelta(seconds=5)
    assert b"writeKey" not in record.value
    assert KEY.encode() not in record.value


def test_a_batch_keeps_its_invalid_events(url: str, topic: EventsTopic) -> None:
    valid = {**VIEW, "type": "track", "userId": "u1"}
    batch = [valid, {"type": "track", "event": "Unheard Of", "userId": "u2"}, 5, {"type": "track"}]
    answer = httpx.post(f"{url}/v1/batch", json={"batch": batch}, auth=(KEY, ""))
    assert answer.json() == {"success": True, "accepted": 1, "invalid": 3}
    events = [record.event for record in topic.read()]
    assert len(events) == 4
    assert sum(check(event) is None for event in events) == 1
    assert 5 in events


def test_one_odd_event_of_a_batch_is_kept_as_it_is_and_the_others_count(url: str, topic: EventsTopic) -> None:
    valid = json.dumps({**VIEW, "type": "track", "userId": "u1"})
    nan = '{"type": "track", "event": "Cart Viewed", "userId": "u2", "properties": {"revenue": NaN}}'
    half = '{"type": "identify", "userId": "u3", "traits": {"name": "half of a pair \\ud83c"}}'
    large = json.dumps({"type": "identify", "userId": "u4", "traits": "x" * 40_000})
    body = f'{{"batch": [{valid}, {nan}, {half}, {large}]}}'
    answer = httpx.post(f"{url}/v1/batch", content=body, auth=(KEY, ""))
    assert answer.json() == {"success": True, "accepted": 2, "invalid": 2}
    payloads = [record.value.decode() for record in topic.read()]
    now = datetime.now(UTC)
    said = [violation.reason if (violation := objection(payload, now)) else None for payload in payloads]
    assert sorted(map(str, said)) == ["None", "None", "absurd_value", "oversized"]


def test_a_refused_call_reaches_nothing(url: str, topic: EventsTopic) -> None:
    for document, auth, status in (
        ({**VIEW, "userId": "u1"}, ("wrong", ""), 401),
        ({"event": "Unheard Of", "userId": "u1"}, (KEY, ""), 400),
        ({**VIEW, "userId": "u1", "traits": "x" * 40_000}, (KEY, ""), 413),
    ):
        assert httpx.post(f"{url}/v1/track", json=document, auth=auth).status_code == status
    assert topic.read() == []


def test_an_empty_batch(url: str) -> None:
    answer = httpx.post(f"{url}/v1/batch", json={"batch": []}, auth=(KEY, ""))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 0)


def test_metrics_count(url: str) -> None:
    httpx.post(f"{url}/v1/track", json={**VIEW, "userId": "u1"}, auth=(KEY, ""))
    shown = httpx.get(f"{url}/metrics").text
    assert 'shelfwise_collector_events_total{type="track"}' in shown
    assert "shelfwise_collector_ack_seconds_count" in shown


class TestWithoutKafka:
    """Collectors of stacks of their own."""

    def test_kafka_is_away(self, tmp_path: Path) -> None:
        alone = OwnStack.at(tmp_path)
        url = f"http://127.0.0.1:{alone.port('COLLECTOR__PORT')}"
        with collector(collector_environment(alone), url, ready=False):
            answer = httpx.post(f"{url}/v1/track", json={**VIEW, "userId": "u1"}, auth=(KEY, ""))
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "unavailable"
            assert answer.headers["retry-after"]
            assert httpx.get(f"{url}/health").status_code == 503

    def test_kafka_stalls_dies_and_comes_back(self, tmp_path: Path) -> None:
        """What was answered with 200 is there, whatever happened; what was not may be sent again."""
        stack = OwnStack.at(tmp_path)
        url = f"http://127.0.0.1:{stack.port('COLLECTOR__PORT')}"
        environment = collector_environment(stack, SHELFWISE_COLLECTOR__ACK_TIMEOUT_SECONDS=ACK_SECONDS)

        def post(message: str) -> int:
            event = {**VIEW, "userId": "u1", "messageId": message}
            return httpx.post(f"{url}/v1/track", json=event, auth=(KEY, ""), timeout=30).status_code

        def post_until_taken(message: str) -> None:
            deadline = time.monotonic() + 60
            while post(message) != 200:
                assert time.monotonic() < deadline, f"{message} is not taken"
                time.sleep(0.5)

        try:
            assert stack.deploy("up", "kafka").returncode == 0
            with EventsTopic(_kafka_of(stack)) as topic, collector(environment, url):
                assert post("before") == 200
                broker = _broker(stack)
                broker.suspend()
                try:
                    assert post("stalled") == 503
                    assert httpx.get(f"{url}/health", timeout=30).status_code == 503
                finally:
                    broker.resume()
                post_until_taken("stalled")
                broker.kill()
                broker.wait(30)
                assert post("dead") == 503
                assert stack.deploy("up", "kafka").returncode == 0
                post_until_taken("dead")
                assert post("after") == 200
                messages = [record.event["messageId"] for record in topic.read()]
            assert set(messages) == {"before", "stalled", "dead", "after"}
            assert messages.count("before") == messages.count("after") == 1
        finally:
            stack.deploy("down")


def test_a_stop_finishes_what_was_begun(stack_env: OwnStack, kafka_and_redis: Settings, topic: EventsTopic) -> None:
    port = OwnStack.at(stack_env.home).port("COLLECTOR__PORT")
    url = f"http://127.0.0.1:{port}"
    answered: list[str] = []
    environment = collector_environment(stack_env, SHELFWISE_COLLECTOR__PORT=str(port))

    def keep_sending() -> None:
        with httpx.Client(auth=(KEY, "")) as client:
            for number in range(100_000):
                event = {**VIEW, "userId": "u1", "messageId": f"m{number}"}
                try:
                    if client.post(f"{url}/v1/track", json=event).status_code == 200:
                        answered.append(f"m{number}")
                except httpx.TransportError:
                    return

    with collector(environment, url) as process:
        sender = threading.Thread(target=keep_sending)
        sender.start()
        time.sleep(1.0)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
        sender.join(30)
    assert process.returncode == 0
    assert "Traceback" not in output
    assert answered
    assert set(answered) <= {record.event["messageId"] for record in topic.read()}


def test_a_taken_port_is_named(url: str, stack_env: OwnStack) -> None:
    second = run(collector_environment(stack_env), "collector")
    assert second.returncode == 1
    assert "SHELFWISE_COLLECTOR__PORT" in second.stdout
    assert "Traceback" not in second.stdout


def test_an_empty_write_key_is_refused(stack_env: OwnStack) -> None:
    done = run(collector_environment(stack_env, SHELFWISE_COLLECTOR__WRITE_KEY=""), "collector")
    assert done.returncode == 1
    assert "SHELFWISE_COLLECTOR__WRITE_KEY" in done.stdout


def _broker(stack: OwnStack) -> psutil.Process:
    process = Records(stack.home / "run").running("kafka")
    assert process is not None
    return process


def _kafka_of(stack: OwnStack) -> KafkaSettings:
    return KafkaSettings(port=stack.port("KAFKA__PORT"))
