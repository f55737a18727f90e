"""Recorded events into a real broker."""

from __future__ import annotations

import os
import re
import signal
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingestion_processes import EventsTopic, Record, run, start
from own_stack import OwnStack

from feature_repo.contract import check
from feature_repo.settings import PROJECT_ROOT
from ingestion.simulator.history import write_history
from ingestion.simulator.shop import Shop, ShopParameters

REAL_SHOP = PROJECT_ROOT.parent / "shared" / "data" / "google_merch_store" / "events"
EVENTS = 6_000
COUNTS = re.compile(r"sent ([\d,]+), acknowledged ([\d,]+), failed ([\d,]+) in ([\d.]+) s")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(ShopParameters(seed=3, products=200, customers=300, days=3, end="2026-03-10T12:00:00+00:00"))
    write_history(shop, EVENTS, folder, lambda _written: None)
    return folder / "history"


def counts(output: str) -> tuple[int, int, int, float]:
    """Sent, acknowledged, failed, seconds."""
    found = COUNTS.search(output)
    assert found, output
    sent, acknowledged, failed, seconds = (float(number.replace(",", "")) for number in found.groups())
    return int(sent), int(acknowledged), int(failed), seconds


def times(records: list[Record]) -> list[datetime]:
    return [datetime.fromisoformat(record.event["timestamp"]) for record in records]


def test_everything_once_in_order_and_as_recorded(stack_env: OwnStack, topic: EventsTopic, history: Path) -> None:
    done = run(stack_env.environment(), "replay", str(history), "--speed", "max")
    assert done.returncode == 0, done.stdout
    assert counts(done.stdout)[:3] == (EVENTS, EVENTS, 0)
    records = topic.read()
    assert len({record.event["messageId"] for record in records}) == len(records) == EVENTS
    for partition in {record.partition for record in records}:
        moments = times([record for record in records if record.partition == partition])
        assert moments == sorted(moments)
    recorded = {row["messageId"]: row for row in pq.read_table(history).to_pylist()}
    for record in records[::50]:
        event, row = record.event, recorded[record.event["messageId"]]
        assert check(event) is None
        assert record.key == (row["userId"] or row["anonymousId"]).encode()
        assert datetime.fromisoformat(event["timestamp"]) == row["timestamp"]
        assert datetime.now(UTC) - datetime.fromisoformat(event["receivedAt"]) < timedelta(minutes=5)
        assert b":null" not in record.value
        assert event["context"]["sessionId"] == row["context"]["sessionId"]


def test_retimed_so_that_the_last_event_is_now(stack_env: OwnStack, topic: EventsTopic, history: Path) -> None:
    days = ("--from", "2026-03-09", "--until", "2026-03-09")
    done = run(stack_env.environment(), "replay", str(history), "--speed", "max", "--retime", *days)
    assert done.returncode == 0, done.stdout
    shift = timedelta(seconds=float(re.search(r"moved by \+([\d.]+) s", done.stdout)[1]))
    rows = {row["messageId"]: row["timestamp"] for row in pq.read_table(history / "dt=2026-03-09").to_pylist()}
    records = topic.read()
    assert {record.event["messageId"] for record in records} == set(rows)
    for record, moment in zip(records, times(records), strict=True):
        assert moment == rows[record.event["messageId"]] + shift
    assert timedelta(0) < datetime.now(UTC) - max(times(records)) < timedelta(minutes=1)


def test_speed_keeps_the_distances_between_events(stack_env: OwnStack, topic: EventsTopic, tmp_path: Path) -> None:
    begin = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [{"userId": "u", "timestamp": begin + timedelta(seconds=30 * number)} for number in range(11)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "events.parquet")
    done = run(stack_env.environment(), "replay", str(tmp_path), "--speed", "100")
    assert 2.9 < counts(done.stdout)[3] < 4.5
    received = [datetime.fromisoformat(record.event["receivedAt"]) for record in topic.read()]
    gaps = [(after - before).total_seconds() for before, after in pairwise(received)]
    assert 2.5 < sum(gaps) < 4.5
    assert min(gaps) > 0.1


def test_what_is_invalid_is_sent_all_the_same(stack_env: OwnStack, topic: EventsTopic, tmp_path: Path) -> None:
    lines = [b"{broken", b'{"userId":"u1","timestamp":"2026-03-01T00:00:00Z","type":"nonsense"}']
    (tmp_path / "events.jsonl").write_bytes(b"\n".join(lines))
    done = run(stack_env.environment(), "replay", str(tmp_path / "events.jsonl"), "--speed", "max")
    assert done.returncode == 0
    values = [record.value for record in topic.read()]
    assert lines[0] in values
    assert any(orjson.loads(value)["type"] == "nonsense" for value in values if value != lines[0])


def test_interrupted(stack_env: OwnStack, topic: EventsTopic, history: Path) -> None:
    process = start(stack_env.environment(), "replay", str(history), "--speed", "60")
    deadline = time.monotonic() + 30
    while not topic.read():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    sent, acknowledged, failed, _ = counts(output)
    assert 0 < sent < EVENTS
    assert (acknowledged, failed) == (sent, 0)
    assert len(topic.read()) == sent
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nowhere",), 1, "nowhere does not exist"),
        ((".", "--from", "soon"), 2, "'soon' is not a date"),
        ((".", "--speed", "0"), 2, "neither a number above 0 nor max"),
        (("EMPTY",), 1, "holds no event files"),
    ],
)
def test_wrong_arguments(
    stack_env: OwnStack, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    done = run(stack_env.environment(), "replay", *(str(tmp_path) if word == "EMPTY" else word for word in arguments))
    assert done.returncode == code
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_kafka_is_away(tmp_path: Path, history: Path) -> None:
    done = run(OwnStack.at(tmp_path).environment(), "replay", str(history), "--speed", "max")
    assert done.returncode == 1
    assert "Kafka does not answer" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.skipif(
    not REAL_SHOP.is_dir(), reason=f"no real shop's events beside the checkout ({os.path.relpath(REAL_SHOP)})"
)
def test_a_day_of_a_real_shop(stack_env: OwnStack, topic: EventsTopic) -> None:
    days = ("--from", "2016-08-05", "--until", "2016-08-05")
    done = run(stack_env.environment(), "replay", str(REAL_SHOP), "--speed", "max", "--retime", *days)
    assert done.returncode == 0, done.stdout
    rows = pq.ParquetFile(REAL_SHOP / "dt=2016-08-05" / "events.parquet").read().to_pylist()
    records = topic.read()
    assert sorted(record.event["messageId"] for record in records) == sorted(row["messageId"] for row in rows)
    assert {record.key for record in records} == {row["anonymousId"].encode() for row in rows}
