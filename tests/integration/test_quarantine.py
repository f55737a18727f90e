"""Refused events put back into a real broker's topic, each once, and books that are compared with it."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from ingestion_processes import EventsTopic
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from own_stack import OwnStack

from feature_repo import tables
from feature_repo.settings import ENV_PREFIX, HOME_VARIABLE, PROJECT_ROOT, Settings, get_settings
from feature_repo.tables import EVENTS, LEDGER, QUARANTINE, QUARANTINE_REPLAYS, Table
from ingestion import offsets
from ingestion.commands import quarantine
from ingestion.quarantine import known_events
from ingestion.quarantine import replay as quarantine_replay
from ingestion.reconciliation.comparison import reconcile

NOW = datetime.now(UTC)
GOOD = {
    "type": "track",
    "event": "Product Viewed",
    "messageId": "m1",
    "userId": "u1",
    "timestamp": "2026-05-04T12:00:00Z",
    "properties": {"product_id": "p1", "price": 9.99},
}
BROKEN = GOOD | {"properties": {"product_id": "p1", "price": "9,99"}}
TOPIC_VARIABLE = f"{ENV_PREFIX}KAFKA__EVENTS_TOPIC"
# Replays what a command would, and is killed when Kafka has acknowledged it and it is not recorded yet.
KILLED = """
import os, signal
from ingestion.quarantine import replay as quarantine_replay
from ingestion.quarantine.store import Selection
quarantine_replay.note_replayed = lambda _: os.kill(os.getpid(), signal.SIGKILL)
quarantine_replay.put_back_accepted(Selection(waiting=True))
"""


@pytest.fixture
def shop(
    kafka_and_redis: Settings, stack_env: OwnStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """An installation of the test's own, on the shared broker; gives the environment for its processes."""
    topic = f"test.{uuid.uuid4()}"
    admin = KafkaAdminClient(bootstrap_servers=kafka_and_redis.kafka.servers)
    admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    admin.close()
    own = {HOME_VARIABLE: str(tmp_path), TOPIC_VARIABLE: topic}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    tables.create_missing_tables()
    yield stack_env.environment() | own
    monkeypatch.undo()
    get_settings.cache_clear()


@pytest.fixture
def topic(shop: dict[str, str]) -> Iterator[EventsTopic]:
    with EventsTopic(get_settings().kafka) as topic:
        yield topic


def write(table: Table, rows: list[dict[str, Any]], place: offsets.Offsets | None = None) -> None:
    arrow = pa.Table.from_pylist(rows, schema=table.schema)
    write_deltalake(table.uri, arrow, mode="append", commit_properties=offsets.commit(place) if place else None)


def refuse(*payloads: dict[str, Any], reason: str = "wrong_type") -> list[str]:
    """Put events into the quarantine table; gives their ids."""
    source = f"earlier.{uuid.uuid4()}"
    place = {"source": source, "partition": 0, "received_at": NOW, "reason": reason, "field": "properties.price"}
    write(QUARANTINE, [place | {"offset": n, "payload": json.dumps(p)} for n, p in enumerate(payloads)])
    return [f"{source}:0:{number}" for number in range(len(payloads))]


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    quarantine.add_arguments(parser)
    return quarantine.run(parser.parse_args(list(arguments)))


def recorded() -> dict[str, str]:
    """Message ids of what is recorded as put back, by id."""
    rows = DeltaTable(QUARANTINE_REPLAYS.uri).to_pyarrow_table().to_pylist()
    assert len(rows) == len({row["id"] for row in rows})
    return {row["id"]: row["message_id"] for row in rows}


def send(*values: dict[str, Any]) -> None:
    kafka = get_settings().kafka
    producer = KafkaProducer(bootstrap_servers=kafka.servers)
    for number, value in enumerate(values):
        producer.send(kafka.events_topic, json.dumps(value).encode(), partition=number % 2).get(10)
    producer.close()


def test_repaired_events_are_put_back_once(
    topic: EventsTopic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, third = refuse(BROKEN, BROKEN | {"messageId": None, "userId": "ü2"}, BROKEN | {"messageId": "m3"})
    lines = tmp_path / "broken.jsonl"
    assert command("show", "--jsonl", str(lines)) == 0
    lines.write_text(lines.read_text().replace("9,99", "").replace(r"\"price\": \"\"", r"\"price\": 9.99", 2))
    assert command("replay", str(lines)) == 1
    output = capsys.readouterr()
    assert f"refused {third}: wrong_type, properties.price" in output.err
    assert output.out == "2 put back into the stream, 1 still refused by the contract\n"
    sent = {record.key: record.event for record in topic.read()}
    assert sent[b"u1"] == GOOD
    assert recorded() == {first: "m1", second: sent["ü2".encode()]["messageId"]}
    assert uuid.UUID(recorded()[second])

    assert command("replay", str(lines)) == 1
    assert capsys.readouterr().out == (
        "nothing to replay: 0 put back into the stream, 2 had been put back before, 1 still refused by the contract\n"
    )
    assert len(topic.read()) == 2


def test_what_the_contract_accepts_by_now(topic: EventsTopic, capsys: pytest.CaptureFixture[str]) -> None:
    passed, ahead = (str(NOW + timedelta(minutes=minutes)) for minutes in (-1, 60))
    early = [GOOD | {"messageId": f"m{n}", "timestamp": moment} for n, moment in enumerate([passed, ahead])]
    id_, _ = refuse(*early, reason="future_timestamp")
    refuse(BROKEN, GOOD | {"messageId": "unknown"}, reason="unknown_event")
    assert command("replay", "--reason", "future_timestamp") == 0
    assert capsys.readouterr().out == "1 put back into the stream, 1 still refused by the contract\n"
    assert [record.event["messageId"] for record in topic.read()] == ["m0"]
    assert recorded() == {id_: "m0"}


def test_many_at_a_time(
    topic: EventsTopic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quarantine_replay, "_CHUNK", 100)
    twice = GOOD | {"messageId": "m7"}
    ids = refuse(*(GOOD | {"messageId": f"m{number}"} for number in range(250)), twice, reason="unknown_event")
    assert command("replay") == 0
    assert capsys.readouterr().out == "250 put back into the stream, 1 not sent, because the stream has them\n"
    assert recorded().keys() == set(ids)
    assert sorted(record.event["messageId"] for record in topic.read()) == sorted(f"m{n}" for n in range(250))


def test_killed_between_sending_and_recording(
    shop: dict[str, str], topic: EventsTopic, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = refuse(GOOD, GOOD | {"messageId": "m2"}, reason="unknown_event")
    killed = subprocess.run([sys.executable, "-c", KILLED], cwd=PROJECT_ROOT, env=shop, timeout=120, check=False)
    assert killed.returncode == -9
    assert (len(topic.read()), recorded()) == (2, {})
    assert command("replay") == 0
    assert capsys.readouterr().out == "0 put back into the stream, 2 not sent, because the stream has them\n"
    assert (len(topic.read()), recorded().keys()) == (2, set(ids))


def test_the_same_broken_event_on_its_way_is_no_replay(topic: EventsTopic, tmp_path: Path) -> None:
    send(BROKEN)
    (id_,) = refuse(BROKEN)
    (tmp_path / "repaired.jsonl").write_text(json.dumps({"id": id_, "payload": GOOD}))
    assert command("replay", str(tmp_path / "repaired.jsonl")) == 0
    assert [record.event for record in topic.read()] == [BROKEN, GOOD]


def test_what_lies_in_kafka_before_the_stored_events_is_not_read_again(
    topic: EventsTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(GOOD, GOOD | {"messageId": "m2"})
    write(EVENTS, [], {0: 1, 1: 0})
    read: list[bytes] = []
    messages = known_events._messages

    def noted(start: offsets.Offsets, end: offsets.Offsets) -> Iterator[tuple[bytes, datetime]]:
        for value, arrived_at in messages(start, end):
            read.append(value)
            yield value, arrived_at

    monkeypatch.setattr(known_events, "_messages", noted)
    refuse(GOOD | {"messageId": "m3"}, reason="unknown_event")
    assert command("replay") == 0
    assert [json.loads(value)["messageId"] for value in read] == ["m2"]


def test_books_are_compared_with_the_topic(topic: EventsTopic) -> None:
    name = get_settings().kafka.events_topic
    send(GOOD, GOOD | {"messageId": "m2"}, BROKEN, GOOD)
    stored = [
        {"message_id": f"m{n + 1}", "source": name, "partition": n, "offset": 0, "received_at": NOW, "dt": NOW.date()}
        for n in range(2)
    ]
    place = {0: 2, 1: 2}
    write(EVENTS, stored, place)
    write(QUARANTINE, [{"reason": "wrong_type", "source": name, "partition": 0, "offset": 1}], place)
    write(
        LEDGER,
        [
            {"source": name, "batch": "0:2 1:2", "accepted": 4, "processed": 2, "quarantined": 1, "duplicates": 1},
        ],
        place,
    )
    result = reconcile(wait_seconds=1)
    assert result.problems() == []
    send(GOOD)
    assert reconcile().waiting == 1
    (problem,) = reconcile(wait_seconds=0.1).problems()
    assert "1 too many: messages in Kafka were not stored within 0.1 s" in problem
    DeltaTable(EVENTS.uri).delete("message_id = 'm2'")
    (problem,) = reconcile().problems()
    assert problem.startswith(f"stored events = processed, {name}: 1 too few")
