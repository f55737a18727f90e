"""Events as they arrive: they come out of the pipe as they went in, and nothing that is in it can stop the stream."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable
from ingestion_processes import run, start
from kafka import KafkaProducer
from own_stack import OwnStack

from feature_repo import tables
from feature_repo.settings import get_settings

TIMEOUT_SECONDS = 90.0
FREQUENT = {"SHELFWISE_STREAM__OFFLINE_SECONDS": "0.2", "SHELFWISE_STREAM__ARCHIVE_SECONDS": "0.2"}


@dataclass
class Shop:
    """An installation, and what has been sent to it."""

    stack: OwnStack
    sent: int = 0
    log: list[str] = field(default_factory=list)

    @contextmanager
    def stream(self, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """The stream, ready; its output is in the log afterwards."""
        with start({**self.stack.environment(), **settings}, "stream") as process:
            try:
                wait_for((self.stack.home / "run" / "stream.ready").exists)
                yield process
            finally:
                process.terminate()
                self.log.append(process.communicate(timeout=60)[0])
        assert process.returncode == 0, self.log[-1]

    def send(self, *values: bytes, topic: str = "", key: bytes = b"?") -> None:
        topic = topic or get_settings().kafka.events_topic
        producer = KafkaProducer(bootstrap_servers=get_settings().kafka.servers, max_request_size=2**20)
        for value in values:
            producer.send(topic, value, key=key, partition=0).get(timeout=30)
        producer.close()
        if topic == get_settings().kafka.events_topic:
            self.sent += len(values)

    def view(self, customer: str, **properties: Any) -> bytes:
        """A product view that happens now."""
        call = {
            "type": "track",
            "event": "Product Viewed",
            "messageId": f"live-{time.monotonic_ns()}",
            "userId": customer,
            "timestamp": datetime.now(UTC).isoformat(),
            "properties": {"products": [{"product_id": "mug", "price": 0.1}], **properties},
        }
        return json.dumps(call).encode()

    def other_calls(self, customer: str) -> list[bytes]:
        """Calls that say nothing of a product, whatever they carry; the contract takes them."""
        named = [
            ("page", "Order Completed"),
            ("group", "Order Completed"),
            ("identify", "Product Viewed"),
            ("screen", "?"),
        ]
        return [
            json.dumps({**json.loads(self.view(customer)), "type": kind, "event": event}).encode()
            for kind, event in named
        ]

    def views(self, customer: str) -> int:
        """How many views the online store knows of the customer."""
        from feature_repo.store import open_store

        features = open_store().get_online_features(["customer_activity:event_count"], [{"customer_id": customer}])
        return features.to_dict()["event_count"][0] or 0

    def next_to(self, product: str) -> list[str]:
        """What the online store says that customers turn to after a product."""
        from feature_repo.store import open_store

        features = open_store().get_online_features(["item_transitions:next_items"], [{"product_id": product}])
        return features.to_dict()["next_items"][0] or []

    def rows(self, table: tables.Table) -> list[dict[str, Any]]:
        return DeltaTable(table.uri).to_pyarrow_table().to_pylist()

    def stored(self) -> int:
        return len(self.rows(tables.EVENTS)) + len(self.rows(tables.QUARANTINE))


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    own = OwnStack.at(tmp_path_factory.mktemp("live"))
    own = OwnStack({**own.variables, **FREQUENT})
    with own.exported():
        try:
            up = own.deploy("up", "kafka", "redis")
            assert up.returncode == 0, up.stdout
            feast = [str(Path(sys.executable).with_name("feast")), "-c", str(Path(tables.__file__).parent), "apply"]
            subprocess.run(feast, check=True, capture_output=True, timeout=120)
            yield Shop(own)
        finally:
            own.deploy("down")


def test_whatever_arrives_goes_through(shop: Shop) -> None:
    with shop.stream(SHELFWISE_STREAM__NICENESS="3") as process:
        leader = psutil.Process(process.pid)
        java = [child for child in leader.children(recursive=True) if child.name() == "java"]
        assert [one.nice() for one in [leader, *java]] == [3, 3], "it stands back behind the service"
        shop.send(shop.view("ada"))
        wait_for(lambda: shop.views("ada") == 1)
        odd_text = 'line\nbreak "quoted" \\ back \u2028 \x01 \U0001f6d2 é'
        nasty = [
            shop.view("ada", query=odd_text, revenue=1e-7),
            shop.view("ada", query="half of a pair \ud83d"),  # json.dumps writes it as an escape
            b'{"type": "track", "properties": {"revenue": NaN}}',
            shop.view("ada", query="no end \0 of it"),
            b"\xff\xfe not text at all",
            *shop.other_calls("ada"),
            b"\x01" * 900_000,  # six times as large once it is escaped
            b"",
        ]
        shop.send(*nasty)
        shop.send(shop.view("ada"))
        wait_for(lambda: shop.views("ada") == 4)
        wait_for(lambda: shop.stored() == shop.sent)
    assert "starting again" not in shop.log[-1], shop.log[-1]
    assert "ERROR" not in shop.log[-1], shop.log[-1]
    told = {row["query"]: row for row in shop.rows(tables.EVENTS)}
    assert told[odd_text]["revenue"] == 1e-7
    assert told[odd_text]["products"][0]["price"] == 0.1
    assert {row["event"] for row in shop.rows(tables.EVENTS) if row["type"] != "track"} == {None}
    reasons = sorted(row["reason"] for row in shop.rows(tables.QUARANTINE))
    assert reasons == ["absurd_value", "empty", "malformed_json", "missing_field", "oversized"]
    assert run(shop.stack.environment(), "reconcile").returncode == 0


def test_what_is_turned_to_next_is_learnt_as_it_goes_and_survives_a_restart(shop: Shop) -> None:
    def turn_to(product: str) -> None:
        shop.send(shop.view("tia", products=[{"product_id": product}]))

    often = {"SHELFWISE_STREAM__TRANSITIONS_SECONDS": "0.2"}
    with shop.stream(**often):
        turn_to("first")
        turn_to("second")
        wait_for(lambda: shop.next_to("first") == ["second"])
        assert shop.next_to("second") == []
    stored = {row["product_id"]: row["next_items"] for row in shop.rows(tables.ITEM_TRANSITIONS)}
    assert stored["first"] == ["second"]
    with shop.stream(**often):
        turn_to("third")
        wait_for(lambda: shop.next_to("second") == ["third"])
        assert sorted(shop.next_to("first")) == ["second", "third"]


def test_what_another_run_left_in_the_pipe_does_not_count(shop: Shop) -> None:
    before = shop.views("ada")
    with shop.stream():
        stray = {"good": True, "customer_id": "ada", "partition": 0, "offset": 10**9, "event": "Product Viewed"}
        shop.send(json.dumps(stray).encode(), topic=get_settings().kafka.checked_topic, key=b"another run")
        shop.send(shop.view("ada"))
        wait_for(lambda: shop.views("ada") == before + 1)
        wait_for(lambda: shop.stored() == shop.sent)
    assert run(shop.stack.environment(), "reconcile").returncode == 0


def test_what_cannot_be_read_from_the_pipe_is_read_again_from_the_topic(shop: Shop) -> None:
    """As when the pipe was emptied before it was read: the stream starts again from what the tables hold."""
    before = shop.views("ada")
    with shop.stream() as process:
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=get_settings().kafka.servers)
        admin.delete_topics([get_settings().kafka.checked_topic])
        admin.close()
        shop.send(*(shop.view("ada") for _ in range(3)))
        wait_for(lambda: shop.views("ada") == before + 3)
        assert process.poll() is None
        shop.send(shop.view("ada"))
        wait_for(lambda: shop.views("ada") == before + 4)
    assert run(shop.stack.environment(), "reconcile").returncode == 0


def test_in_micro_batches(shop: Shop) -> None:
    before = shop.views("ada")
    with shop.stream(SHELFWISE_STREAM__INTERVAL_SECONDS="1"):
        for number in (1, 2):
            shop.send(shop.view("ada"))
            wait_for(lambda number=number: shop.views("ada") == before + number)  # type: ignore[misc]
    assert run(shop.stack.environment(), "reconcile").returncode == 0
