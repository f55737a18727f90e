"""Whose an event is, what is taken out of the tables, and what may not come back: without servers."""

from __future__ import annotations

import argparse
import json
import sqlite3
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import offline_data
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from redis.exceptions import ConnectionError as RedisConnectionError

from feature_repo import tables
from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from ingestion import offsets
from ingestion.commands import backfill
from ingestion.erased_rows import FILES, erased_rows, items_with_erased
from ingestion.features import history
from ingestion.features.identity import Identities, Tie
from ingestion.privacy import erasing
from ingestion.privacy.record import ErasureRecord, record_path
from ingestion.privacy.spans import ALWAYS, Theirs, theirs
from ingestion.privacy.tombstones import Tombstones
from ingestion.quarantine.writing import refused_rows

NOON = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


def ms(minute: float) -> int:
    return round((NOON + timedelta(minutes=minute)).timestamp() * 1000)


class TestTheirs:
    def test_all_ids_of_one_customer_are_theirs_whichever_is_named(self) -> None:
        ties = Identities(
            [Tie("phone", 5, "ada"), Tie("laptop", 9, "ada"), Tie("laptop", 20, "ada"), Tie("x", 1, "bob")]
        )
        for named in ("ada", "phone", "laptop"):
            found = theirs(ties, named, 100)
            assert found.spans == {id_: [(ALWAYS, 100)] for id_ in ("ada", "phone", "laptop")}
            assert found.whole == found.affected == {"ada", "phone", "laptop"}

    def test_of_a_shared_device_the_stretches_between_other_customers(self) -> None:
        ties = Identities([Tie("tablet", 10, "ada"), Tie("tablet", 20, "bob"), Tie("tablet", 30, "ada")])
        of_ada, of_bob = theirs(ties, "ada", 100), theirs(ties, "bob", 100)
        assert of_ada.spans == {"ada": [(ALWAYS, 100)], "tablet": [(ALWAYS, 19), (30, 100)]}
        assert of_bob.spans == {"bob": [(ALWAYS, 100)], "tablet": [(20, 29)]}
        assert of_ada.whole == {"ada"}
        # Bob's own features rest on nothing of Ada's.
        assert "bob" not in of_ada.affected

    def test_an_earlier_id_is_the_later_ones(self) -> None:
        ties = Identities([Tie("cookie", 5, "guest-1"), Tie("guest-1", 10, "ada")])
        assert set(theirs(ties, "guest-1", 100).spans) == {"cookie", "guest-1", "ada"}

    def test_a_shared_device_itself_is_that_device(self) -> None:
        ties = Identities([Tie("tablet", 10, "ada"), Tie("tablet", 20, "bob")])
        assert theirs(ties, "tablet", 100).spans == {"tablet": [(ALWAYS, 100)]}
        # What was done there counts for both, whose features are to be computed anew.
        assert theirs(ties, "tablet", 100).affected == {"tablet", "ada", "bob"}

    def test_ties_in_a_circle(self) -> None:
        ties = Identities([Tie("a", 1, "b"), Tie("b", 2, "a")])
        assert set(theirs(ties, "a", 100).spans) == {"a", "b"}


@pytest.mark.usefixtures("warehouse")
class TestRecord:
    def test_a_request_waits_until_it_is_done_and_leaves_no_name(self) -> None:
        spans = {"ada-lovelace": [(ALWAYS, 100)], "phone-of-ada": [(5, 10)]}
        found = Theirs(spans, frozenset(["ada-lovelace"]), frozenset(spans))
        with ErasureRecord() as record:
            asked = record.ask("ada-lovelace")
            again = record.ask("ada-lovelace")
            assert [again] == record.requests()
            assert again.asked_ms >= asked.asked_ms
            record.note_found(again, found)
        with ErasureRecord() as record:
            [request] = record.requests()
            assert request.found == found
            assert b"ada-lovelace" in record_path().read_bytes()
            assert Tombstones(*record.tombstones()).cover("phone-of-ada", 5)  # also if it was cut off
            record.note_erased(request, spans)
            assert record.requests() == []
            assert len(record.erasures()) == 1
        for file in record_path().parent.iterdir():
            assert b"ada" not in file.read_bytes()
        stones = Tombstones.load()
        assert stones.cover("ada-lovelace", 100)
        assert not stones.cover("ada-lovelace", 101)
        assert [stones.cover("phone-of-ada", at) for at in (4, 5, 10, 11)] == [False, True, True, False]

    def test_what_is_asked_for_again_meanwhile_is_not_done(self) -> None:
        with ErasureRecord() as record:
            first = record.ask("ada")
            with sqlite3.connect(record_path()) as other:
                other.execute("UPDATE requests SET asked_ms = asked_ms + 1")
            record.note_erased(first, {"ada": [(ALWAYS, first.asked_ms)]})
            assert [request.customer for request in record.requests()] == ["ada"]

    def test_a_broken_file_says_so(self) -> None:
        record_path().parent.mkdir()
        record_path().write_bytes(b"no database, but long enough to be taken for one" * 100)
        with pytest.raises(UnavailableError, match="bring it back from a backup"):
            Tombstones.load()


def parsed(*rows: dict[str, Any]) -> pa.Table:
    """As the stream reads events."""
    names = ["good", "payload", "source", "partition", "offset", *("customer_id", "anonymous_id", "previous_id")]
    schema = pa.schema(
        [
            ("good", pa.bool_()),
            *((name, tables.EVENTS.schema.field(name).type) for name in names[2:]),
            ("payload", pa.string()),
            ("timestamp", tables.TIMESTAMP),
            ("received_at", tables.TIMESTAMP),
        ]
    )
    usual = {"good": True, "source": "t", "partition": 0, "offset": 0, "received_at": NOON + timedelta(days=1)}
    return pa.Table.from_pylist([usual | row for row in rows], schema=schema)


@pytest.mark.usefixtures("warehouse")
class TestTombstones:
    @pytest.fixture
    def stones(self) -> Tombstones:
        with ErasureRecord() as record:
            record.note_erased(record.ask("ada"), {"ada": [(ALWAYS, ms(0))]})
        return Tombstones.load()

    def test_old_events_are_refused_with_a_reason_and_without_content(self, stones: Tombstones) -> None:
        rows = parsed(
            {"customer_id": "ada", "timestamp": NOON},
            {"customer_id": "ada", "timestamp": NOON + timedelta(milliseconds=1)},
            {"customer_id": "bob", "anonymous_id": "ada", "timestamp": NOON - timedelta(days=9)},
            # A clock that is ahead.
            {"customer_id": "ada", "timestamp": NOON + timedelta(minutes=3), "received_at": NOON},
        )
        checked = stones.refused(rows)
        assert checked["good"].to_pylist() == [False, True, True, False]
        assert checked["anonymous_id"].to_pylist() == [None] * 4
        assert checked.schema == rows.schema
        kept = refused_rows(checked.filter(pa.array([True, False, False, True])), stones).to_pylist()
        assert [(row["reason"], row["payload"]) for row in kept] == [("erased_customer", None)] * 2

    def test_refused_events_keep_why_and_lose_what(self, stones: Tombstones) -> None:
        late, old = NOON + timedelta(days=1), (NOON - timedelta(hours=1)).isoformat()
        payloads = {
            json.dumps({"type": "track", "userId": "ada", "timestamp": old}): None,
            json.dumps({"type": "nonsense", "traits": {"user_id": "ada"}, "timestamp": old}): None,
            json.dumps({"type": "track", "userId": "ada", "timestamp": late.isoformat()}): "kept",
            json.dumps({"type": "track", "userId": "bob", "timestamp": old, "event": "ada"}): "kept",
            "": "kept",
        }
        rows = refused_rows(parsed(*({"good": False, "payload": text} for text in payloads)), stones).to_pylist()
        assert [row["payload"] for row in rows] == [text if kept else None for text, kept in payloads.items()]
        assert "erased_customer" not in {row["reason"] for row in rows}

    def test_text_that_is_no_json_is_taken_word_by_word(self, stones: Tombstones) -> None:
        assert stones.cover_payload('{"userId": "ada", "eve', NOON)
        assert not stones.cover_payload('{"userId": "adam", "eve', NOON)


class Online:
    """In place of the online store: what it holds, and whether it answers."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = set(keys)
        self.answers = True

    def delete(self, _table: tables.Table, keys: list[str]) -> int:
        if not self.answers:
            raise RedisConnectionError("gone")
        found = self.keys & set(keys)
        self.keys -= found
        return len(found)

    def push(self, table: tables.Table, rows: pa.Table) -> bool:
        assert rows.schema == table.schema
        self.keys |= set(rows["customer_id"].to_pylist())
        return True

    def rewrite_files(self) -> None:
        pass


def call(minute: float, customer: str, number: int, **more: Any) -> dict[str, Any]:
    """A row of the events table, out of Kafka."""
    at = NOON + timedelta(minutes=minute)
    viewed = {"type": "track", "event": "Product Viewed", "products": [{"product_id": f"p{number % 3}"}]}
    place = {"source": "topic", "partition": 0, "offset": number, "received_at": at, "timestamp": at, "dt": at.date()}
    return {"message_id": f"m{number}", "customer_id": customer, **viewed, **place, **more}


def tie(minute: float, user: str, device: str, number: int) -> dict[str, Any]:
    said = {"type": "identify", "event": None, "products": None, "user_id": user, "anonymous_id": device}
    return call(minute, user, number, **said)


@pytest.mark.usefixtures("warehouse")
class TestErasing:
    @pytest.fixture
    def online(self) -> Online:
        events = [
            call(1, "ada-phone", 1),
            tie(2, "ada-1815", "ada-phone", 2),
            call(3, "ada-1815", 3),
            tie(4, "ada-1815", "tablet", 4),
            call(5, "tablet", 5),
            tie(6, "bob", "tablet", 6),
            call(7, "tablet", 7),
            call(8, "bob", 8, anonymous_id="ada-phone"),
            call(9, "ada-1815", 9, partition=None, source="file:x"),
        ]
        rows = offline_data.arrow(tables.EVENTS, events)
        for start in range(0, len(events), 2):
            write_deltalake(tables.EVENTS.uri, rows.slice(start, 2), mode="append")
        activity = [
            {"customer_id": id_, "event_timestamp": NOON, "created": NOON, "event_count": 1}
            for id_ in ("ada-phone", "ada-1815", "tablet", "bob")
        ]
        for table in (tables.CUSTOMER_ACTIVITY, tables.CUSTOMER_EXPOSURE):
            write_deltalake(table.uri, pa.Table.from_pylist(activity, schema=table.schema), mode="append")
        refused = [
            {
                "reason": "wrong_type",
                "received_at": NOON,
                "offset": 7,
                "payload": json.dumps({"userId": id_, "event": "it's"}),
            }
            for id_ in ("ada-1815", "bob")
        ]
        write_deltalake(
            tables.QUARANTINE.uri, pa.Table.from_pylist(refused, schema=tables.QUARANTINE.schema), mode="append"
        )
        return Online(["ada-phone", "ada-1815", "tablet", "bob"])

    def ask(self, customer: str = "ada-1815") -> None:
        with ErasureRecord() as record:
            record.ask(customer)

    def found(self, text: str) -> list[str]:
        files = [path for path in get_settings().home.rglob("*") if path.is_file()]
        return [
            str(path)
            for path in files
            if text in str(pq.ParquetFile(path).read().to_pydict() if path.suffix == ".parquet" else path.read_bytes())
        ]

    def check(self, online: Online) -> None:
        # Each as a whole: what they begin with, a random UUID may hold, too.
        assert self.found("ada-phone") == []
        assert self.found("ada-1815") == []
        stored = DeltaTable(tables.EVENTS.uri)
        assert set(stored.to_pyarrow_table()["message_id"].to_pylist()) == {"m6", "m7", "m8"}
        with duckdb.connect() as connection:  # as most readers do
            connection.register("events", stored.to_pyarrow_dataset())
            assert connection.sql("SELECT count(*) FROM events WHERE customer_id = 'tablet'").fetchall() == [(1,)]
        assert (erased_rows(stored, "topic"), erased_rows(stored, FILES)) == (5, 1)
        assert items_with_erased()
        counts = DeltaTable(tables.CUSTOMER_ACTIVITY.uri).to_pyarrow_table().to_pylist()
        # The tablet's row is made of Bob's part alone, and Bob's row is as it was.
        assert {(row["customer_id"], row["event_count"]) for row in counts} == {("tablet", 1), ("bob", 1)}
        assert online.keys == {"tablet", "bob"}
        payloads = DeltaTable(tables.QUARANTINE.uri).to_pyarrow_table()["payload"].to_pylist()
        assert sorted(map(str, payloads)) == ["None", '{"userId": "bob", "event": "it\'s"}']
        with ErasureRecord() as record:
            assert record.requests() == []
            assert len(record.erasures()) == 1

    def test_nothing_of_the_customer_is_left(self, online: Online) -> None:
        assert self.found("ada-phone")
        self.ask()
        rows = erasing.carry_out(online)
        assert {name: count for name, count in rows.items() if count} == {
            "online": 3,
            "quarantine": 1,
            "events": 6,
            "customer_activity": 2,
            "customer_exposure": 2,
        }
        self.check(online)
        assert erasing.carry_out(online) == {}

    @pytest.mark.parametrize("moment", ["tables.erase", "recompute", "tables.purge", "bring_online", "forget_online"])
    def test_it_is_taken_up_again_where_it_was_killed(
        self, online: Online, monkeypatch: pytest.MonkeyPatch, moment: str
    ) -> None:
        for after in (0, 3, 4, 5):
            with monkeypatch.context() as patch:
                owner, name = (erasing.tables, moment.removeprefix("tables.")) if "." in moment else (erasing, moment)
                patch.setattr(owner, name, killed_after(after, getattr(owner, name)))
                self.ask()
                try:
                    erasing.carry_out(online)
                except Killed:
                    continue
                break
        with ErasureRecord() as record:
            assert len(record.requests()) <= 1
        erasing.carry_out(online)
        self.check(online)

    def test_without_the_online_store_it_stays_asked_for(self, online: Online) -> None:
        self.ask()
        online.answers = False
        with pytest.raises(UnavailableError, match="online store"):
            erasing.carry_out(online)
        online.answers = True
        erasing.carry_out(online)
        self.check(online)

    def test_tables_that_reach_differently_far_are_left_alone(self, online: Online) -> None:
        write_deltalake(
            tables.EVENTS.uri,
            tables.EVENTS.schema.empty_table(),
            mode="append",
            commit_properties=offsets.commit({0: 5}),
        )
        self.ask()
        with pytest.raises(UnavailableError, match="start the stream"):
            erasing.carry_out(online)
        assert self.found("ada-1815")

    def test_what_happened_since_is_another_customers(self, online: Online) -> None:
        self.ask()
        later = datetime.now(UTC) + timedelta(minutes=1)
        new = call(0, "ada-1815", 20, timestamp=later, received_at=later, dt=later.date())
        write_deltalake(tables.EVENTS.uri, offline_data.arrow(tables.EVENTS, [new]), mode="append")
        erasing.carry_out(online)
        [row] = [
            row
            for row in DeltaTable(tables.CUSTOMER_ACTIVITY.uri).to_pyarrow_table().to_pylist()
            if row["customer_id"] == "ada-1815"
        ]
        assert (row["event_count"], row["event_timestamp"]) == (
            1,
            later.replace(microsecond=later.microsecond // 1000 * 1000),
        )
        assert "ada-1815" in online.keys


class Killed(BaseException):
    pass


def killed_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which ends the process instead when it is called once more than ``calls`` times."""
    made = 0

    def instead(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        if made > calls:
            raise Killed
        return function(*arguments)

    return instead


@pytest.mark.usefixtures("warehouse")
def test_features_are_computed_again_if_somebody_was_erased_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def compute(folder: Path, progress: Callable[[int, int], None]) -> history.History:
        computed.append(original(folder, progress))
        if len(computed) == 1:
            with ErasureRecord() as record:
                record.note_erased(record.ask("ada"), {"ada": [(ALWAYS, ms(0))]})
        return computed[-1]

    original = history.compute
    monkeypatch.setattr(history, "compute", compute)
    args = argparse.Namespace(path=None, recompute=True, offline_only=True)
    assert backfill.run(args) == 0
    assert len(computed) == 2
