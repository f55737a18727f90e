"""The books of a small installation: in order, and with one thing wrong at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, LEDGER, QUARANTINE, Table
from ingestion import offsets
from ingestion.commands.reconcile import add_arguments, run
from ingestion.offsets import Offsets
from ingestion.reconciliation import comparison
from ingestion.reconciliation.comparison import reconcile
from ingestion.reconciliation.report import Reconciliation

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("warehouse", "kafka")


class FakeKafka:
    def __init__(self) -> None:
        self.first: Offsets = {0: 0, 1: 0}
        self.following: Offsets = {0: 6, 1: 4}


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> FakeKafka:
    """A topic of two partitions with ten messages."""
    fake = FakeKafka()
    monkeypatch.setattr(offsets, "in_kafka", lambda: (fake.first, fake.following))
    monkeypatch.setattr(comparison, "_SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(comparison, "_POLL_SECONDS", 0.01)
    return fake


def topic() -> str:
    return get_settings().kafka.events_topic


def write(table: Table, rows: list[dict[str, Any]], place: Offsets | None = None) -> None:
    properties = offsets.commit(place) if place else None
    arrow = pa.Table.from_pylist(rows, schema=table.schema)
    write_deltalake(table.uri, arrow, mode="append", commit_properties=properties)


def event(partition: int | None, offset: int, **fields: Any) -> dict[str, Any]:
    row = {
        "message_id": f"m{partition}-{offset}",
        "event": "Product Viewed",
        "source": topic() if partition is not None else "file:events.jsonl",
        "partition": partition,
        "offset": offset,
        "received_at": NOON,
        "dt": NOON.date(),
    }
    return row | fields


def refusal(partition: int | None, offset: int) -> dict[str, Any]:
    return event(partition, offset) | {"reason": "malformed_json"}


def batch(end: str, accepted: int, processed: int, quarantined: int, source: str | None = None) -> dict[str, Any]:
    return {
        "source": source or topic(),
        "batch": end,
        "accepted": accepted,
        "processed": processed,
        "quarantined": quarantined,
        "duplicates": accepted - processed - quarantined,
    }


def well_kept(first: Offsets | None = None) -> None:
    """Ten messages in two batches: seven events, two refusals, a duplicate; and a file with two events and a refusal."""
    begin = first or {0: 0, 1: 0}
    write(EVENTS, [event(0, begin[0] + number) for number in range(5)])
    write(EVENTS, [event(1, begin[1] + number) for number in range(2)], {p: o + (6, 4)[p] for p, o in begin.items()})
    write(QUARANTINE, [refusal(0, begin[0] + 5), refusal(1, begin[1] + 2)], {0: begin[0] + 6, 1: begin[1] + 4})
    ends = [f"0:{begin[0] + 3} 1:{begin[1]}", f"0:{begin[0] + 6} 1:{begin[1] + 4}"]
    write(LEDGER, [batch(ends[0], 3, 3, 0), batch(ends[1], 7, 4, 2)], {0: begin[0] + 6, 1: begin[1] + 4})
    write(EVENTS, [event(None, 0), event(None, 1)])
    write(QUARANTINE, [refusal(None, 2)])
    write(LEDGER, [batch("uuid:0", 4, 2, 1, source="/data/events.jsonl")])


def waits(monkeypatch: pytest.MonkeyPatch, happens: Callable[[float], None]) -> None:
    """Let something happen whenever the reconciliation waits; other threads of this process may wait as they like."""
    monkeypatch.setattr(comparison, "time", SimpleNamespace(monotonic=time.monotonic, sleep=happens))


def failing(result: Reconciliation) -> list[tuple[str, str, int]]:
    """Name, subject and difference of what does not hold."""
    assert result.holds == (not result.problems())
    return [(check.name, check.subject, check.found - check.expected) for check in result.checks if not check.holds]


def test_well_kept_books_are_in_order() -> None:
    well_kept()
    result = reconcile()
    assert failing(result) == []
    assert result.waiting == 0
    accounts = {a.source: (a.accepted, a.processed, a.quarantined, a.duplicates) for a in result.accounts}
    assert accounts == {topic(): (10, 7, 2, 1), "/data/events.jsonl": (4, 2, 1, 1)}
    compared = {(check.name, check.subject): check.found for check in result.checks}
    assert compared["accepted = offsets covered", topic()] == 10
    assert compared["stored events = processed", topic()] == 7
    assert compared["refused events = quarantined", "files"] == 1


def test_empty_books_are_in_order(kafka: FakeKafka) -> None:
    assert failing(reconcile()) == []
    kafka.following = {0: 0, 1: 0}
    assert failing(reconcile(wait_seconds=0)) == []


STORED = ("stored events = processed", "shelfwise.events")
COVERED = ("accepted = offsets covered", "shelfwise.events")
ONCE = ("places in Kafka stored twice", "events, quarantine")
ONCE_BY_ID = ("ids stored twice within 6 hours", "events")


def delete(table: Table, condition: str) -> Callable[[], object]:
    return lambda: DeltaTable(table.uri).delete(condition)


def append(table: Table, make: Callable[[], dict[str, Any]]) -> Callable[[], object]:
    return lambda: write(table, [make()])


def change_account(column: str, value: int) -> Callable[[], object]:
    change = {column: str(value)}
    return lambda: DeltaTable(LEDGER.uri).update(change, predicate="batch = '0:6 1:4'")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(delete(EVENTS, "message_id = 'm0-3'"), [(*STORED, -1)], id="an event lost"),
        pytest.param(
            append(EVENTS, lambda: event(0, 3)), [(*STORED, 1), (*ONCE, 1), (*ONCE_BY_ID, 1)], id="an event doubled"
        ),
        pytest.param(
            append(EVENTS, lambda: event(0, 5, message_id="repaired")),
            [(*STORED, 1), (*ONCE, 1)],
            id="a message both stored and refused",
        ),
        pytest.param(
            delete(QUARANTINE, "partition = 1"),
            [("refused events = quarantined", "shelfwise.events", -1)],
            id="a refusal lost",
        ),
        pytest.param(
            delete(EVENTS, "partition IS NULL AND offset = 1"),
            [("stored events = processed", "files", -1)],
            id="an event of a file lost",
        ),
        pytest.param(
            delete(LEDGER, "batch = '0:6 1:4'"),
            [(*COVERED, -7), (*STORED, 4), ("refused events = quarantined", "shelfwise.events", 2)],
            id="the last batch not in the ledger",
        ),
        pytest.param(
            delete(LEDGER, "batch = '0:3 1:0'"), [(*COVERED, -3), (*STORED, 3)], id="the first batch not in the ledger"
        ),
        pytest.param(
            append(LEDGER, lambda: batch("0:3 1:0", 3, 3, 0)), [(*COVERED, 3), (*STORED, -3)], id="a batch doubled"
        ),
        pytest.param(
            change_account("duplicates", 2),
            [("processed + quarantined + duplicates = accepted", "shelfwise.events", 1)],
            id="a sum that is wrong",
        ),
        pytest.param(
            lambda: [change_account("duplicates", -1)(), change_account("accepted", 5)()],
            [("batches with a negative number", "ledger", 1), (*COVERED, -2)],
            id="fewer accepted than stored",
        ),
        pytest.param(
            lambda: write(QUARANTINE, [], {0: 6, 1: 5}),
            [("reaches as far as the events", "quarantine", 1)],
            id="the quarantine further than the events",
        ),
    ],
)
def test_what_is_wrong_is_found(damage: Callable[[], object], expected: list[tuple[str, str, int]]) -> None:
    well_kept()
    damage()
    assert sorted(failing(reconcile())) == sorted(expected)


@pytest.mark.parametrize(("distance", "repeats"), [(timedelta(hours=6), 1), (timedelta(hours=6, milliseconds=1), 0)])
def test_an_id_may_come_again_after_the_horizon(distance: timedelta, repeats: int) -> None:
    well_kept()
    write(EVENTS, [event(None, 7, message_id="m0-0", received_at=NOON + distance)])
    (check,) = (check for check in reconcile().checks if check.name.startswith("ids stored twice"))
    assert check.found == repeats


def test_an_order_reported_under_two_message_ids_counts_once() -> None:
    well_kept()
    orders = [event(None, 7 + n, message_id=f"o{n}", event="Order Completed", order_id="17") for n in range(2)]
    write(EVENTS, orders)
    assert (*ONCE_BY_ID, 1) in failing(reconcile())


def test_a_topic_that_was_not_read_from_its_beginning(kafka: FakeKafka) -> None:
    kafka.first, kafka.following = {0: 100, 1: 20}, {0: 106, 1: 24}
    well_kept(kafka.first)
    result = reconcile()
    assert failing(result) == []
    (check,) = (check for check in result.checks if (check.name, check.subject) == COVERED)
    assert (check.expected, check.found) == (10, 10)
    assert "from 120 on" in check.note


def test_a_beginning_that_kafka_still_has_must_have_been_read(kafka: FakeKafka) -> None:
    kafka.following = {0: 106, 1: 24}
    well_kept({0: 100, 1: 20})
    assert failing(reconcile()) == [(*COVERED, -120)]


def test_a_topic_made_anew_is_told_from_a_loss(kafka: FakeKafka) -> None:
    well_kept()
    kafka.following = {0: 1, 1: 4}
    assert failing(reconcile()) == [("stored beyond the topic's end", "events", 5)]


def test_what_waits_is_an_error_only_when_it_was_waited_for(kafka: FakeKafka) -> None:
    well_kept()
    kafka.following = {0: 8, 1: 4, 2: 1}
    result = reconcile()
    assert (result.waiting, failing(result)) == (3, [])
    assert failing(reconcile(wait_seconds=0.05)) == [("messages waiting in Kafka", "all tables", 3)]


def test_waiting_ends_when_the_tables_have_what_was_there_at_the_start(
    kafka: FakeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    well_kept()
    kafka.following = {0: 8, 1: 4}

    def stream(_seconds: float) -> None:
        write(EVENTS, [event(0, 6), event(0, 7), event(0, 8)], {0: 9, 1: 4})
        write(QUARANTINE, [], {0: 9, 1: 4})
        write(LEDGER, [batch("0:9 1:4", 3, 3, 0)], {0: 9, 1: 4})
        kafka.following = {0: 20, 1: 4}

    waits(monkeypatch, stream)
    result = reconcile(wait_seconds=60)
    assert (result.waiting, failing(result)) == (11, [])


def test_tables_that_are_being_written_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    well_kept()
    monkeypatch.setattr(comparison, "_SETTLE_SECONDS", 60.0)
    write(EVENTS, [event(0, 6)], {0: 7, 1: 4})

    def stream(_seconds: float) -> None:
        write(QUARANTINE, [], {0: 7, 1: 4})
        write(LEDGER, [batch("0:7 1:4", 1, 1, 0)], {0: 7, 1: 4})

    waits(monkeypatch, stream)
    assert failing(reconcile()) == [("stored beyond the topic's end", "events", 1)]


def command(*arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(list(arguments)))


def test_the_command_says_which_line_fails_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    well_kept()
    assert command() == 0
    DeltaTable(EVENTS.uri).delete("message_id = 'm0-3'")
    assert command() == 1
    output = capsys.readouterr()
    assert "WRONG" in output.out
    assert output.err.splitlines() == [
        "stored events = processed, shelfwise.events: 1 too few: stored events are missing, doubled, or not in the ledger"
    ]


def test_without_kafka_there_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise UnavailableError("no broker")

    monkeypatch.setattr(offsets, "in_kafka", away)
    with pytest.raises(UnavailableError):
        command("--wait", "0")
