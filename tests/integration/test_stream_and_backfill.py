"""The stream and the backfill on a real broker, Spark, Delta, Feast and Redis, against a plain recomputation.

One story, because each part starts Spark: events through the stream, a restart, a backfill of older history, and more
events. After each part the online store must hold what a few lines of Python make of all events so far.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from own_stack import OwnStack
from redis import Redis

from feature_repo import tables
from feature_repo.aggregates import ACTION_OF_EVENT, Entity, decayed_sums, last_k
from feature_repo.contract import ADDED, CLICKED, LIST_VIEWED, ORDERED, VIEWED
from feature_repo.settings import Settings, get_settings

NOW = datetime.now(UTC).replace(microsecond=0)
Event = dict[str, Any]


def event(name: str, customer: str, products: list[str], ago: timedelta, number: int, **properties: Any) -> Event:
    return {
        "type": "track",
        "event": name,
        "messageId": f"story-{customer}-{name}-{number}",
        "userId": customer,
        "timestamp": (NOW - ago).isoformat(timespec="milliseconds"),
        "properties": {"products": [{"product_id": product, "price": 5.0} for product in products], **properties},
    }


def session(customer: str, ago: timedelta, number: int) -> list[Event]:
    shelf = [f"story-p{(number + position) % 7}" for position in range(5)]
    steps = [(LIST_VIEWED, shelf), (CLICKED, shelf[:1]), (VIEWED, shelf[:1]), (ADDED, shelf[:1])]
    events = [
        event(name, customer, products, ago - timedelta(seconds=10 * step), number)
        for step, (name, products) in enumerate(steps)
    ]
    order = event(ORDERED, customer, shelf[:2], ago - timedelta(minutes=2), number, order_id=f"o-{customer}-{number}")
    return [*events, order]


def expected(events: list[Event], entity: Entity, key: str) -> dict[str, Any]:
    """What the store should hold of ``key``: an independent, slow and obvious computation."""
    touched: list[tuple[float, Event]] = []
    sequence: list[tuple[int, str, int]] = []
    sums = {aggregate.name: 0.0 for aggregate in decayed_sums(entity)}
    count = 0
    for one in events:
        products = one["properties"]["products"]
        if entity is Entity.ITEM:
            named = [product["product_id"] for product in products].count(key)
            times = named if one["event"] in {a.event for a in decayed_sums(entity)} else 0
        else:
            concerns = one["event"] == LIST_VIEWED if entity is Entity.EXPOSURE else one["event"] in ACTION_OF_EVENT
            times = int(concerns and one["userId"] == key)
        if times:
            moment = datetime.fromisoformat(one["timestamp"]).timestamp()
            touched += [(moment, one)] * times
            count += times
            action = int(ACTION_OF_EVENT.get(one["event"], 0))
            for product in products:
                detail = action if entity is Entity.CUSTOMER else product.get("position", 0)
                sequence.append((round(moment * 1000), product["product_id"], detail))
    if not touched:
        return {"event_count": None}
    last = max(moment for moment, _ in touched)
    for aggregate in decayed_sums(entity):
        for moment, one in touched:
            if one["event"] == aggregate.event:
                sums[aggregate.name] += math.pow(0.5, (last - moment) / aggregate.half_life_seconds)
    values: dict[str, Any] = {"last_event_at": last, "event_count": count, **sums}
    if declared := last_k(entity):
        newest = sorted(sequence, reverse=True)[: declared.k]
        times_, items, details = map(list, zip(*newest, strict=True))
        values |= dict(zip(declared.columns, (items, details, times_), strict=True))
    return values


class Story:
    """Commands and stores of the tests' own installation, and every event that was sent so far."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.events: list[Event] = []
        self.command("feast", "-c", str(Path(tables.__file__).parent), "apply")

    def command(self, program: str, *arguments: str) -> str:
        words = (
            [sys.executable, "-m", "ingestion", program]
            if program != "feast"
            else [str(Path(sys.executable).parent / program)]
        )
        done = subprocess.run([*words, *arguments], capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def send(self, payloads: list[Event | bytes]) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=self.settings.kafka.servers, acks="all")
        for payload in payloads:
            value = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            key = b"?" if isinstance(payload, bytes) else payload.get("userId", "?").encode()
            producer.send(self.settings.kafka.events_topic, value, key=key)
        producer.flush()
        producer.close()

    def online(self, entity: Entity, key: str) -> dict[str, Any]:
        from feature_repo.store import open_store

        view = tables.ACTIVITY[entity].name
        names = [name for name in tables.ACTIVITY[entity].schema.names[3:] if name not in ("place", "recomputed")]
        features = open_store().get_online_features([f"{view}:{name}" for name in names], [{entity.key: key}])
        return {name: values[0] for name, values in features.to_dict().items() if name != entity.key}

    def empty_redis(self) -> None:
        with Redis(host=self.settings.redis.host, port=self.settings.redis.port) as client:
            client.flushall()

    def check(self, customers: list[str]) -> None:
        seen = {product["product_id"] for one in self.events for product in one["properties"]["products"]}
        products = sorted(seen)
        for entity, keys in ((Entity.CUSTOMER, customers), (Entity.EXPOSURE, customers), (Entity.ITEM, products)):
            for key in keys:
                stored, wanted = self.online(entity, key), expected(self.events, entity, key)
                for name, value in wanted.items():
                    assert stored[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), (
                        f"{entity.value} {key}: {name}"
                    )


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """On a broker and a Redis of its own: which event is the first matters, and everything is lost at times."""
    stack = OwnStack.at(tmp_path_factory.mktemp("story-stack"))
    with stack.exported():
        try:
            up = stack.deploy("up", "kafka", "redis")
            assert up.returncode == 0, up.stdout
            yield Story(get_settings(), tmp_path_factory.mktemp("story"))
        finally:
            stack.deploy("down")


def rows(table: tables.Table) -> list[dict[str, Any]]:
    return DeltaTable(table.uri).to_pyarrow_table().to_pylist()


def check_accounts() -> None:
    """accepted = processed + quarantined + duplicates, and the tables hold as many as the ledger says."""
    entries = rows(tables.LEDGER)
    assert all(e["accepted"] == e["processed"] + e["quarantined"] + e["duplicates"] for e in entries)
    assert min(e["duplicates"] for e in entries) >= 0
    assert sum(e["processed"] for e in entries) == len(rows(tables.EVENTS))
    assert sum(e["quarantined"] for e in entries) == len(rows(tables.QUARANTINE))


def test_stream_restart_and_backfill_agree_with_a_recomputation(story: Story) -> None:
    # The stream starts with what is so old that relative to it, the weights of the next events could not be held.
    ancient = session("story-old", timedelta(days=400), 0)
    story.send(ancient)
    story.events += ancient
    story.command("stream", "--once")

    # Through the stream: sessions, each event twice, and events that must not count.
    streamed = session("story-ada", timedelta(hours=5), 1) + session("story-bob", timedelta(hours=4), 2)
    second_report = {**streamed[-1], "messageId": "story-second-report"}
    future = event(VIEWED, "story-ada", ["story-p0"], -timedelta(days=2), 99)
    absurd = event(ADDED, "story-ada", ["story-p0"], timedelta(hours=1), 98)
    absurd["properties"]["products"][0]["quantity"] = 10**16
    story.send([*streamed, *streamed, second_report, future, absurd, b'{"type": "track", ', b""])
    story.events += streamed
    story.command("stream", "--once")
    story.check(["story-ada", "story-bob", "story-old"])

    mine = [row for row in rows(tables.EVENTS) if row["customer_id"].startswith("story-")]
    assert sorted(row["message_id"] for row in mine) == sorted(one["messageId"] for one in ancient + streamed)
    refused = {row["reason"]: row for row in rows(tables.QUARANTINE)}
    assert {"future_timestamp", "absurd_value", "malformed_json"} <= set(refused)
    assert json.loads(refused["future_timestamp"]["payload"]) == future
    check_accounts()

    # A restart goes on from where it was: late events count, known ones do not.
    later = session("story-ada", timedelta(hours=1), 3) + session("story-ada", timedelta(hours=6), 4)
    story.send([*later, streamed[1]])
    story.events += later
    story.command("stream", "--once")
    story.check(["story-ada", "story-bob"])

    # Older history arrives in bulk, overlapping with what is known; the stream goes on from all of it.
    older = session("story-ada", timedelta(days=3), 5) + session("story-eve", timedelta(days=9), 6)
    file = story.folder / "older.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in [*older, *older[:2], streamed[0]]) + "\nnot json\n")
    printed = story.command("backfill", str(file))
    assert f"{len(older) + 4} accepted = {len(older)} processed + 1 quarantined + 3 duplicates" in printed
    story.events += older
    story.check(["story-ada", "story-bob", "story-eve"])
    check_accounts()
    again = story.command("backfill", str(file))
    assert f"{len(older) + 4} accepted = 0 processed + 0 quarantined + {len(older) + 4} duplicates" in again
    check_accounts()
    # What came in bulk and then arrives live is known, too.
    story.send([older[0], older[-1]])
    story.command("stream", "--once")
    story.check(["story-ada", "story-bob", "story-eve"])

    # Redis is lost.
    story.empty_redis()
    assert story.online(Entity.CUSTOMER, "story-ada")["event_count"] is None
    assert "rows/s" in story.command("rebuild-online")
    story.check(["story-ada", "story-bob", "story-eve", "story-old"])

    # The disk with Spark's checkpoints is lost: nothing is forgotten, not even which events were seen.
    shutil.rmtree(story.settings.home / "spark")
    newest = session("story-eve", timedelta(minutes=30), 7)
    story.send([*newest, streamed[0], later[0], later[-1]])
    story.events += newest
    story.command("stream", "--once")
    story.check(["story-ada", "story-bob", "story-eve"])

    stored = [row["message_id"] for row in rows(tables.EVENTS) if row["customer_id"].startswith("story-")]
    assert sorted(stored) == sorted(one["messageId"] for one in story.events)
    check_accounts()

    # The offline store has the history, moment by moment, without a look ahead.
    history = sorted(
        (row["event_timestamp"], row["event_count"])
        for row in rows(tables.CUSTOMER_ACTIVITY)
        if row["customer_id"] == "story-eve"
    )
    counts = [count for _, count in history]
    assert counts == sorted(counts)
    assert counts[-1] == 8
