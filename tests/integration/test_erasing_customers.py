"""A customer erased from a running installation: nothing is left in any file or key, nothing old comes back, others stay.

One story on a broker, a Redis, a collector and a stream of its own.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import ingestion_processes
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from kafka import KafkaProducer
from own_stack import OwnStack
from redis import Redis
from waiting import until

from deploy.kafka_broker import storage
from deploy.records import Records
from feature_repo import tables
from feature_repo.answered import to_message
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.settings import get_settings
from ingestion.privacy.record import anything_asked

PATIENCE = 300.0
KEY = "privacy-test-key"
ADA, DEVICE, TABLET, BOB, OTHER = (
    "ada-lovelace-1815",
    "device-of-ada-77",
    "family-tablet-3",
    "bob-4711",
    "customer-no-3",
)
NOW = datetime.now(UTC).replace(microsecond=0)


def event(who: dict[str, str], name: str, minutes_ago: float, number: int, **properties: Any) -> dict[str, Any]:
    """An event about a product."""
    return {
        "type": "track",
        "event": name,
        "messageId": f"message {number}",
        **who,
        "timestamp": (NOW - timedelta(minutes=minutes_ago)).isoformat(),
        "properties": {"product_id": f"p{number % 4}", **properties},
    }


def identify(user: str, device: str, minutes_ago: float, number: int) -> dict[str, Any]:
    call = {"type": "identify", "userId": user, "anonymousId": device, "messageId": f"message {number}"}
    return {**call, "timestamp": (NOW - timedelta(minutes=minutes_ago)).isoformat(), "traits": {"name": user}}


def history() -> list[dict[str, Any]]:
    """Ada on her own device, Ada and then Bob on a shared one, and somebody else."""
    ada, device, tablet = {"userId": ADA}, {"anonymousId": DEVICE}, {"anonymousId": TABLET}
    other = [event({"userId": f"customer-no-{n}"}, VIEWED, 50 - n, 100 + n) for n in range(5)]
    return [
        event(device, VIEWED, 300, 1),
        event(device, CLICKED, 290, 2),
        identify(ADA, DEVICE, 280, 3),
        event(ada, LIST_VIEWED, 270, 4, request_id="answer of ada"),
        event(ada, ADDED, 260, 5),
        event(
            ada, ORDERED, 250, 6, order_id="order of ada", revenue=12.5, products=[{"product_id": "p1", "price": 12.5}]
        ),
        event(tablet, VIEWED, 200, 7),
        identify(ADA, TABLET, 190, 8),
        event(tablet, VIEWED, 180, 9),
        identify(BOB, TABLET, 170, 10),
        event(tablet, VIEWED, 160, 11),
        event(tablet, ADDED, 150, 12),
        event({"userId": BOB}, VIEWED, 140, 13),
        event({"userId": BOB, "anonymousId": DEVICE}, VIEWED, 130, 14),
        # What is refused keeps its text.
        event(ada, "Product Viewed", 120, 15, quantity="three"),
        *other,
    ]


HIS_OWN = {11, 12, 13, 14}  # of Bob


class Installation:
    """The running parts, as people use them."""

    def __init__(self, stack: OwnStack) -> None:
        self.stack = stack
        url = f"http://127.0.0.1:{stack.port('COLLECTOR__PORT')}"
        self.collector = httpx.Client(base_url=url, auth=("demo-write-key", ""), timeout=120)
        self.keeper = httpx.Client(base_url=url, auth=(KEY, ""), timeout=120)

    def send(self, *events: dict[str, Any]) -> None:
        answer = self.collector.post("/v1/batch", json={"batch": list(events)})
        assert answer.status_code == 200, answer.text

    def answer(self, customer: str, request_id: str) -> None:
        """What the service would say that it answered."""
        record = {
            "request_id": request_id,
            "answered_at": (NOW - timedelta(minutes=275)).timestamp(),
            "scenario": "home",
            "customer_id": customer,
            "items": [{"product_id": "p0", "source": "popular", "score": 1.0}],
        }
        kafka = get_settings().kafka
        producer = KafkaProducer(bootstrap_servers=kafka.servers, acks="all")
        producer.send(kafka.recommendations_topic, to_message([record])).get()
        producer.close()

    def command(self, *words: str) -> str:
        done = ingestion_processes.run(self.stack.environment(), *words)
        assert done.returncode == 0, done.stdout
        return done.stdout

    @contextmanager
    def stream_held(self) -> Iterator[None]:
        """The stream does nothing meanwhile."""
        stream = Records(self.stack.home / "run").running("stream")
        assert stream is not None
        os.kill(stream.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(stream.pid, signal.SIGCONT)

    def events(self) -> Counter[str]:
        """How many events are stored, by message id."""
        return Counter(rows(tables.EVENTS, "message_id"))

    def feature(self, customer: str) -> int | None:
        """How many events the online features of a customer rest on."""
        from feature_repo.store import open_store

        found = open_store().get_online_features(["customer_activity:event_count"], [{"customer_id": customer}])
        count: int | None = found.to_dict()["event_count"][0]
        return count


def rows(table: tables.Table, column: str) -> list[Any]:
    return list(DeltaTable(table.uri).to_pyarrow_table(columns=[column])[column].to_pylist())


def traces(home: Path, *wanted: str) -> list[str]:
    """Files below the home, Kafka's own aside, and keys of Redis that have one of some texts in them."""
    texts = [text.encode() for text in wanted]
    broker = Path(storage(get_settings()))
    found = []
    for path in (path for path in home.rglob("*") if path.is_file() and broker not in path.parents):
        content = path.read_bytes()
        if path.suffix == ".parquet":
            content += str(pq.ParquetFile(path).read().to_pydict()).encode()
        found += [f"{path.relative_to(home)}: {text!r}" for text in texts if text in content]
    redis = get_settings().redis
    with Redis(redis.host, redis.port) as client:
        for key in client.scan_iter():
            if client.type(key) == b"hash":
                content = key + b" ".join(b" ".join(pair) for pair in client.hgetall(key).items())
            else:
                content = key + str(client.xrange(key)).encode()
            found += [f"{key!r}: {text!r}" for text in texts if text in content]
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """All of the history is stored, and its features are online."""
    settings = {
        "SHELFWISE_PRIVACY__KEY": KEY,
        "SHELFWISE_PRIVACY__GATHER_SECONDS": "0.5",
        "SHELFWISE_STREAM__ARCHIVE_SECONDS": "0.5",
        "SHELFWISE_STREAM__OFFLINE_SECONDS": "0.5",
        "SHELFWISE_OUTCOMES__EVERY_SECONDS": "1",
    }
    stack = OwnStack({**OwnStack.at(tmp_path_factory.mktemp("erasing")).variables, **settings})
    with stack.exported():
        try:
            up = stack.deploy("up", "kafka", "redis", "collector", "stream")
            assert up.returncode == 0, up.stdout
            shop = Installation(stack)
            shop.answer(ADA, "answer of ada")
            shop.answer(BOB, "answer of bob")
            shop.send(*history())
            until(lambda: shop.events().total() == len(history()) - 1, PATIENCE)
            until(lambda: len(rows(tables.QUARANTINE, "payload")) == 1, PATIENCE)
            until(lambda: len(rows(tables.RECOMMENDATIONS, "request_id")) == 2, PATIENCE)
            until(lambda: ADA in rows(tables.OUTCOMES, "person"), PATIENCE)
            until(lambda: shop.feature(ADA) and shop.feature("customer-no-4"), PATIENCE)
            yield shop
        finally:
            stack.deploy("down")


def test_one_customer_is_given_out_and_erased_and_others_stay(shop: Installation) -> None:
    home = shop.stack.home
    assert shop.collector.delete(f"/customers/{ADA}").status_code == 401
    told = shop.keeper.get(f"/customers/{ADA}").json()
    held = {name: len(of) for name, of in told["tables"].items() if of}
    assert sorted(told["ids"]) == sorted([ADA, DEVICE, TABLET])
    assert {row["message_id"] for row in told["tables"]["events"]} == {f"message {n}" for n in range(1, 10)}
    assert held["quarantine"] == held["recommendations"] == held["outcomes"] == 1
    assert {row["customer_id"] for row in told["tables"]["online"]} == {ADA, DEVICE}
    assert BOB not in json.dumps(told)
    assert datetime.fromisoformat(told["tables"]["events"][0]["timestamp"]).tzinfo
    assert traces(home, ADA)  # so that it can be seen below that there are none
    before = {table.name: len(DeltaTable(table.uri).to_pyarrow_table()) for table in tables.ALL_TABLES}
    of_bob, of_other = shop.feature(BOB), shop.feature("customer-no-1")

    with shop.stream_held():
        asked = shop.keeper.delete(f"/customers/{ADA}")
        assert shop.feature(ADA) is shop.feature(DEVICE) is None

    assert asked.status_code == 202, asked.text
    assert asked.json()["done"] == {"online": {"ids": 2, "online": 2}}
    assert asked.json()["pending"]["offline"]["by"] == "the running stream"
    until(lambda: not anything_asked(), PATIENCE)
    assert "waiting" not in shop.command("erase", "--list")
    until((home / "run" / "stream.ready").exists, PATIENCE)
    assert traces(home, ADA, DEVICE, "answer of ada", "order of ada") == []
    after = {table.name: len(DeltaTable(table.uri).to_pyarrow_table()) for table in tables.ALL_TABLES}
    assert before["events"] - after["events"] == 9
    assert before["recommendations"] - after["recommendations"] == 1
    assert before["quarantine"] == after["quarantine"]
    assert rows(tables.QUARANTINE, "payload") == [None]
    assert {name: after[name] for name in ("ledger", "catalog")} == {
        name: before[name] for name in ("ledger", "catalog")
    }
    assert shop.feature(ADA) is shop.feature(DEVICE) is None
    assert (shop.feature(BOB), shop.feature("customer-no-1")) == (of_bob, of_other)
    # Of the shared device Bob's part is left.
    assert shop.feature(TABLET) == 2
    assert {n for n in range(1, 15) if f"message {n}" in shop.events()} == HIS_OWN | {10}
    assert shop.keeper.get(f"/customers/{ADA}").status_code == 404
    shop.command("reconcile", "--wait", "60")
    shop.command("parity")


def test_old_events_do_not_come_back_and_new_ones_begin_anew(shop: Installation) -> None:
    old, tablet = event({"userId": ADA}, VIEWED, 100, 201), event({"anonymousId": TABLET}, VIEWED, 185, 202)
    shop.send(history()[4], old, tablet, {**old, "messageId": "message 203", "properties": {"price": "much"}})
    until(lambda: len(rows(tables.QUARANTINE, "reason")) == 5, PATIENCE)
    assert Counter(rows(tables.QUARANTINE, "reason"))["erased_customer"] == 3
    assert set(rows(tables.QUARANTINE, "payload")) == {None}
    assert shop.feature(ADA) is None
    assert traces(shop.stack.home, ADA) == []

    new = {**event({"userId": ADA}, VIEWED, 0, 204), "timestamp": datetime.now(UTC).isoformat()}
    shop.send(new)
    until(lambda: shop.feature(ADA) == 1, PATIENCE)
    until(lambda: "message 204" in shop.events(), PATIENCE)
    assert "message 201" not in shop.events()
    shop.command("reconcile", "--wait", "60")


def test_the_commands_do_it_without_a_stream(shop: Installation) -> None:
    down = shop.stack.deploy("down", "stream")
    assert down.returncode == 0, down.stdout
    copy = shop.stack.home.parent / "copy.jsonl"
    shop.command("export-customer", OTHER, "--out", str(copy))
    lines = [json.loads(line) for line in copy.read_text().splitlines()]
    assert {line["table"] for line in lines} == {"events", "customer_activity", "online"}
    assert {line["customer_id"] for line in lines} == {OTHER}
    assert "events: 1 rows" in shop.command("erase", OTHER, "--dry-run")
    assert shop.feature(OTHER) == 1
    assert "1 rows of events" in shop.command("erase", OTHER)
    assert traces(shop.stack.home, OTHER, "message 103") == []
    assert shop.feature(OTHER) is None
    assert "nothing is waiting" in shop.command("erase", "--pending")
