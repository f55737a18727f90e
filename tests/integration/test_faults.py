"""Whatever is killed, hung or lost: in the end both stores equal those of a run in which nothing happened.

Two installations read the same topic: in one, the stream is killed with SIGKILL at seeded moments, and Redis, the broker and
Spark's checkpoint are taken away from it; the other reads everything once, undisturbed.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from deltalake import DeltaTable
from dying_stream import MOMENTS
from ingestion_processes import start
from own_stack import OwnStack
from redis import Redis

from feature_repo import tables
from feature_repo.aggregates import Entity
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.settings import PROJECT_ROOT

SEED = int(os.environ.get("FAULT_SEED", "4"))
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "20"))
EVENTS_PER_ROUND = 120
PRODUCTS = [f"p{number}" for number in range(12)]
CUSTOMERS = [f"c{number}" for number in range(15)]
VISITORS = [f"v{number}" for number in range(8)]
DAYS = 12
START = datetime.now(UTC) - timedelta(days=DAYS)
FREQUENT = {
    "SHELFWISE_STREAM__MAX_EVENTS_PER_BATCH": "100",
    "SHELFWISE_STREAM__OFFLINE_SECONDS": "0.2",
    "SHELFWISE_STREAM__ARCHIVE_SECONDS": "0.6",
    "SHELFWISE_REDIS__TIMEOUT_SECONDS": "2",
}
TIMEOUT_SECONDS = 240.0
# When a row was written; and as of when a customer's row holds, which is not before it was known whose events they are,
# and so depends on what came together in a batch.
INCIDENTAL = {
    Entity.CUSTOMER: ["created", "place", "event_timestamp"],
    Entity.EXPOSURE: ["created", "place", "event_timestamp"],
    Entity.ITEM: ["created", "place"],
}


class Traffic:
    """Random events: late ones, doubles, broken ones, sign-ins on shared devices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._number = 0
        self._sent: list[tuple[bytes, bytes]] = []

    def chunk(self, size: int) -> list[tuple[bytes, bytes]]:
        """Message keys and values."""
        made: list[tuple[bytes, bytes]] = []
        for _ in range(size):
            chance = self._random.random()
            if chance < 0.08 and self._sent:
                made.append(self._random.choice(self._sent))
            elif chance < 0.12:
                made.append((b"?", self._random.choice([b'{"type": "track", ', b"", b"[]", b'{"type": "track"}'])))
            else:
                made.append(self._event(chance))
        self._sent += made
        return made

    def _event(self, chance: float) -> tuple[bytes, bytes]:
        self._number += 1
        who = self._random.choice(CUSTOMERS + VISITORS)
        moment = START + timedelta(seconds=self._random.randint(0, DAYS * 86_400))
        call: dict[str, Any] = {
            "messageId": f"fault-{self._number}",
            "timestamp": moment.isoformat(timespec="milliseconds"),
        }
        if chance < 0.17:
            visitor, user = self._random.choice(VISITORS), self._random.choice(CUSTOMERS)
            call |= {"type": "identify", "userId": user, "anonymousId": visitor}
        elif chance < 0.19:
            call |= {
                "type": "alias",
                "userId": self._random.choice(CUSTOMERS),
                "previousId": self._random.choice(VISITORS),
            }
        else:
            name = self._random.choice([LIST_VIEWED, CLICKED, CLICKED, VIEWED, ADDED, ORDERED])
            products = [
                {"product_id": product} for product in self._random.sample(PRODUCTS, self._random.randint(1, 4))
            ]
            properties: dict[str, Any] = {"products": products}
            if name == ORDERED:
                properties["order_id"] = f"{who}-{self._random.randint(0, 4)}"  # some are reported twice
            call |= {"type": "track", "event": name, "properties": properties}
            call["userId" if who in CUSTOMERS else "anonymousId"] = who
        return call.get("userId", call.get("anonymousId", "?")).encode(), json.dumps(call).encode()


@dataclass
class Installation:
    """One home with its settings."""

    stack: OwnStack

    def command(self, *arguments: str) -> str:
        """Run a command to its end; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=PROJECT_ROOT,
            env=self.stack.environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def prepare(self, catalog: Path, *services: str) -> None:
        """Start servers, register the features, load the catalogue."""
        up = self.stack.deploy("up", *services)
        assert up.returncode == 0, up.stdout
        self.command("feast.cli.cli", "-c", "feature_repo", "apply")
        self.command("ingestion", "catalog", str(catalog))

    @contextmanager
    def redis(self) -> Iterator[Redis]:
        with Redis(port=self.stack.port("REDIS__PORT"), socket_timeout=5) as client:
            yield client

    def online(self) -> dict[bytes, dict[bytes, bytes]]:
        """Everything in Redis, but when it was written."""
        with self.redis() as client:
            keys = [key for key in client.scan_iter(count=1000) if not key.startswith(b"shelfwise:")]
            found = {key: client.hgetall(key) for key in keys}
        return {key: values for key, values in found.items() if b"_ts:catalog_index" not in values}

    def offline(self) -> dict[str, Any]:
        """What must be equal in the tables: all events and refusals, the accounts, every key's newest row."""
        from ingestion.features.latest import latest_rows

        def rows(table: tables.Table) -> list[dict[str, Any]]:
            return DeltaTable(table.uri).to_pyarrow_table().to_pylist()

        with self.stack.exported():
            ledger = rows(tables.LEDGER)
            return {
                "events": sorted((row for row in rows(tables.EVENTS)), key=place),
                "quarantine": sorted((row for row in rows(tables.QUARANTINE)), key=place),
                "accounts": {
                    name: sum(row[name] for row in ledger)
                    for name in ("accepted", "processed", "quarantined", "duplicates")
                },
                **{
                    entity.value: {
                        row[entity.key]: rounded(row)
                        for row in latest_rows(tables.ACTIVITY[entity]).drop(INCIDENTAL[entity]).to_pylist()
                        if row["event_count"]
                    }
                    for entity in Entity
                },
            }


def place(row: dict[str, Any]) -> tuple[int, int]:
    return row["partition"], row["offset"]


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    """Sums depend on the order of additions in their last digits."""
    return {name: float(f"{value:.10g}") if isinstance(value, float) else value for name, value in row.items()}


@pytest.fixture(scope="module")
def installations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, Installation]]:
    """The disturbed one, with the broker, and the undisturbed one."""
    first = OwnStack.at(tmp_path_factory.mktemp("disturbed"))
    disturbed = Installation(OwnStack({**first.variables, **FREQUENT}))
    second = OwnStack.at(tmp_path_factory.mktemp("undisturbed"))
    broker = {"SHELFWISE_KAFKA__BOOTSTRAP": f"127.0.0.1:{first.port('KAFKA__PORT')}"}
    undisturbed = Installation(OwnStack({**second.variables, **broker}))
    catalog = tmp_path_factory.mktemp("catalog") / "catalog.csv"
    catalog.write_text("product_id,name,price\n" + "".join(f"{one},Name {one},5.0\n" for one in PRODUCTS))
    try:
        disturbed.prepare(catalog, "kafka", "redis")
        undisturbed.prepare(catalog, "redis")
        yield disturbed, undisturbed
    finally:
        undisturbed.stack.deploy("down")
        disturbed.stack.deploy("down")


def send(installation: Installation, messages: list[tuple[bytes, bytes]]) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=f"127.0.0.1:{installation.stack.port('KAFKA__PORT')}", acks="all")
    for key, value in messages:
        producer.send("shelfwise.events", value, key=key)
    producer.flush()
    producer.close()


def die(installation: Installation, moment: str, number: int, traffic: Traffic) -> None:
    """Run the stream until it has killed itself; some events are there before it, the others come while it runs."""
    send(installation, traffic.chunk(EVENTS_PER_ROUND // 2))
    dying = Path(__file__).with_name("dying_stream.py")
    process = subprocess.Popen(
        [sys.executable, str(dying), moment, str(number)],
        cwd=PROJECT_ROOT,
        env={**installation.stack.environment(), "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if (installation.stack.home / "run" / "stream.ready").exists():
                send(installation, traffic.chunk(EVENTS_PER_ROUND // 12))
            time.sleep(0.1)
    finally:
        process.kill()
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output[-3000:]
    assert time.monotonic() < deadline, f"{moment}, {number} times, never came: {output[-3000:]}"
    (installation.stack.home / "run" / "stream.ready").unlink(missing_ok=True)


def check_equal(disturbed: Installation, undisturbed: Installation) -> None:
    """All rows of both stores, and the accounts."""
    disturbed.command("ingestion", "stream", "--once")
    undisturbed.command("ingestion", "stream", "--once")
    got, wanted = disturbed.offline(), undisturbed.offline()
    assert wanted["accounts"]["duplicates"] > 0
    assert wanted["accounts"]["quarantined"] > 0
    for name, value in wanted.items():
        assert got[name] == value, name
    assert online_values(disturbed) == online_values(undisturbed)
    disturbed.command("ingestion", "reconcile")
    # Not only the newest rows: all that were ever written say what the events say.
    disturbed.command("ingestion", "parity", "--customers", "100", "--items", "100", "--threshold", "0", "--require")


def online_values(installation: Installation) -> dict[bytes, dict[bytes, Any]]:
    """Values online, with the numbers rounded as :func:`rounded` does.

    Without what customers turn to next: that is made anew at each start, and which pairs of late events are found depends on
    what came together.
    """
    from feast.protos.feast.types.Value_pb2 import Value

    from feature_repo.feast_parts.stores import field_key

    def value(raw: bytes) -> Any:
        message = Value.FromString(raw)
        return f"{message.double_val:.10g}" if message.HasField("double_val") else raw

    def nothing_in(values: dict[bytes, bytes]) -> set[bytes]:
        """The fields of views that say that there was nothing; whether they are there depends on what came together."""
        fields: set[bytes] = set()
        for table in tables.ACTIVITY.values():
            count = values.get(field_key(table.view, "event_count"))
            if count is not None and not Value.FromString(count).int64_val:
                fields |= {field_key(table.view, name) for name in table.schema.names}
        return fields

    learnt = {field_key("item_transitions", name) for name in tables.ITEM_TRANSITIONS.schema.names}
    incidental = {b"_ts:customer_activity", b"_ts:customer_exposure", b"_ts:item_transitions", *learnt}
    return {
        key: {
            name: raw if name.startswith(b"_ts") else value(raw)
            for name, raw in values.items()
            if name not in incidental | nothing_in(values)
        }
        for key, values in installation.online().items()
    }


def test_killed_at_any_moment(installations: tuple[Installation, Installation]) -> None:
    disturbed, undisturbed = installations
    traffic, choice = Traffic(SEED), random.Random(SEED)
    moments = [*MOMENTS] * (ROUNDS // len(MOMENTS) + 1)
    for moment in choice.sample(moments, ROUNDS):
        die(disturbed, moment, choice.randint(1, 6 if moment != "any time" else 40), traffic)
    check_equal(disturbed, undisturbed)


@contextmanager
def running(installation: Installation) -> Iterator[None]:
    """The stream, while it is needed."""
    with start(installation.stack.environment(), "stream") as process:
        try:
            yield
            assert process.poll() is None, process.communicate()[0][-3000:]
        finally:
            process.terminate()
            process.communicate(timeout=60)


def wait_for(what: Callable[[], bool], seconds: float = TIMEOUT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def test_servers_and_disks_that_fail(installations: tuple[Installation, Installation]) -> None:
    disturbed, undisturbed = installations
    traffic = Traffic(SEED + 1)

    def taken() -> bool:
        from ingestion.offsets import covered, in_kafka

        with disturbed.stack.exported():
            return covered(tables.EVENTS) == in_kafka()[1] and covered(tables.CUSTOMER_ACTIVITY) == in_kafka()[1]

    with running(disturbed):
        send(disturbed, traffic.chunk(EVENTS_PER_ROUND))
        wait_for(taken)
        with disturbed.redis() as client:
            before = client.dbsize()
            client.flushall()
        send(disturbed, traffic.chunk(EVENTS_PER_ROUND))
        wait_for(taken)
        with disturbed.redis() as client:
            wait_for(lambda: client.dbsize() >= before - 1)  # filled again by itself

        redis = server(disturbed, "redis")
        redis.suspend()
        send(disturbed, traffic.chunk(EVENTS_PER_ROUND))
        time.sleep(5)
        redis.resume()
        wait_for(taken)

        server(disturbed, "redis").kill()
        send(disturbed, traffic.chunk(EVENTS_PER_ROUND))
        time.sleep(2)
        disturbed.stack.deploy("up", "redis")
        wait_for(taken)

        server(disturbed, "kafka").kill()
        time.sleep(3)
        shutil.rmtree(disturbed.stack.home / "spark" / "checkpoints")
        up = disturbed.stack.deploy("up", "kafka", "redis")
        assert up.returncode == 0, up.stdout
        send(disturbed, traffic.chunk(EVENTS_PER_ROUND))
        wait_for(taken)
    check_equal(disturbed, undisturbed)


def server(installation: Installation, service: str) -> psutil.Process:
    """The process of a service of an installation."""
    record = json.loads((installation.stack.home / "run" / f"{service}.json").read_text())
    return psutil.Process(record["pid"])
