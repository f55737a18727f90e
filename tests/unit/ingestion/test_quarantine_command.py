"""Looking at refused events, and choosing and checking those to be put back, without Kafka."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_repo.contract import Reason
from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, QUARANTINE
from ingestion import offsets
from ingestion.commands import quarantine
from ingestion.locks import putting_back
from ingestion.quarantine import replay as quarantine_replay
from ingestion.quarantine.reasons import objection
from ingestion.quarantine.store import Selection, counts, note_replayed, refused, states

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
GOOD = {
    "type": "track",
    "event": "Product Viewed",
    "messageId": "m1",
    "userId": "u1",
    "timestamp": "2026-05-04T12:00:00Z",
    "properties": {"product_id": "p1"},
}

pytestmark = pytest.mark.usefixtures("warehouse")


def refuse(*rows: dict[str, Any]) -> None:
    defaults = {
        "reason": "wrong_type",
        "field": "properties.price",
        "source": "shelfwise.events",
        "partition": 0,
        "received_at": NOON,
        "payload": json.dumps(GOOD | {"properties": {"product_id": "p1", "price": "9,99"}}),
    }
    table = pa.Table.from_pylist([defaults | row for row in rows], schema=QUARANTINE.schema)
    write_deltalake(QUARANTINE.uri, table, mode="append")


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    quarantine.add_arguments(parser)
    return quarantine.run(parser.parse_args(list(arguments)))


class TestObjection:
    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (None, Reason.EMPTY),
            ("", Reason.EMPTY),
            (" \n", Reason.EMPTY),
            ("{", Reason.MALFORMED_JSON),
            ("[" * 100_000, Reason.OVERSIZED),
            ("[" * 30_000, Reason.MALFORMED_JSON),
            (json.dumps(GOOD | {"traits": "ü" * 18_500}, ensure_ascii=False), Reason.OVERSIZED),
            ("[1]", Reason.WRONG_TYPE),
            (json.dumps(GOOD | {"properties": {"product_id": "p1", "price": "9"}}), Reason.WRONG_TYPE),
            (json.dumps(GOOD | {"userId": None}), Reason.MISSING_FIELD),
            (json.dumps(GOOD | {"event": "Moon Landed"}), Reason.UNKNOWN_EVENT),
            (json.dumps(GOOD | {"properties": {"product_id": "p1", "price": -1}}), Reason.ABSURD_VALUE),
            (json.dumps(GOOD | {"timestamp": "2026-05-04T12:05:01Z"}), Reason.FUTURE_TIMESTAMP),
            (json.dumps(GOOD | {"version": 99}), Reason.NEWER_VERSION),
            (json.dumps(GOOD | {"userId": "u\0"}), Reason.ABSURD_VALUE),
        ],
    )
    def test_names_the_reason(self, payload: str | None, reason: Reason) -> None:
        violation = objection(payload, NOON)
        assert violation is not None
        assert (violation.reason, bool(violation.message)) == (reason, True)

    @pytest.mark.parametrize("change", [{}, {"timestamp": "2026-05-04T12:05:00Z"}, {"traits": "x" * 32_000}])
    def test_has_nothing_against_a_good_event(self, change: dict[str, Any]) -> None:
        assert objection(json.dumps(GOOD | change), NOON) is None


class TestStore:
    def test_counts_by_reason_and_field(self) -> None:
        refuse({"offset": 1}, {"offset": 2, "received_at": NOON + timedelta(hours=1)})
        refuse({"offset": 3, "reason": "malformed_json", "field": "(event)", "payload": "{"})
        note_replayed([("shelfwise.events:0:1", "m1")])
        prices, malformed = counts(Selection())
        assert (prices.reason, prices.field, prices.events, prices.replayed) == ("wrong_type", "properties.price", 2, 1)
        assert (prices.first, prices.last) == (NOON, NOON + timedelta(hours=1))
        assert prices.example == "shelfwise.events:0:2"
        assert (malformed.reason, malformed.events, malformed.replayed) == ("malformed_json", 1, 0)

    @pytest.mark.parametrize(
        ("selection", "chosen"),
        [
            (Selection(), {1, 2, 3}),
            (Selection(reason="wrong_type"), {1, 3}),
            (Selection(field="userId"), {2, 3}),
            (Selection(reason="wrong_type", field="userId"), {3}),
            (Selection(since=NOON + timedelta(minutes=1)), {3}),
            (Selection(ids=["shelfwise.events:0:2", "shelfwise.events:9:9"]), {2}),
            (Selection(ids=[]), set()),
            (Selection(waiting=True), {2, 3}),
        ],
    )
    def test_chooses(self, selection: Selection, chosen: set[int]) -> None:
        refuse(
            {"offset": 1},
            {"offset": 2, "reason": "missing_field", "field": "userId"},
            {"offset": 3, "field": "userId", "received_at": NOON + timedelta(hours=1)},
        )
        note_replayed([("shelfwise.events:0:1", "m1")])
        assert {int(event.id.rpartition(":")[2]) for event in refused(selection)} == chosen

    def test_lines_of_a_file_loaded_again_after_a_change_have_ids_of_their_own(self) -> None:
        place = {"source": "file:dt=2026-05-04/events.jsonl", "partition": None, "offset": 7}
        refuse(place)
        refuse(place | {"received_at": NOON + timedelta(days=1), "payload": "{"})
        found = {event.id: event.payload for event in refused(Selection())}
        assert list(found) == ["file:dt=2026-05-04/events.jsonl:7", "file:dt=2026-05-04/events.jsonl:7#2"]
        assert found["file:dt=2026-05-04/events.jsonl:7#2"] == "{"

    def test_a_place_in_kafka_is_one_event(self) -> None:
        refuse({"offset": 1}, {"offset": 1})
        assert [event.id for event in refused(Selection())] == ["shelfwise.events:0:1"]

    def test_knows_what_was_put_back(self) -> None:
        refuse({"offset": 1}, {"offset": 2})
        note_replayed([("shelfwise.events:0:1", "m1")])
        found = states(["shelfwise.events:0:1", "shelfwise.events:0:2", "shelfwise.events:0:3"])
        assert {id_: moment is not None for id_, moment in found.items()} == {
            "shelfwise.events:0:1": True,
            "shelfwise.events:0:2": False,
        }


class TestList:
    def test_as_a_table(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1}, {"offset": 2, "received_at": NOON + timedelta(hours=1)})
        assert command("list") == 0
        (row,) = (line for line in capsys.readouterr().out.splitlines() if "wrong_type" in line)
        assert [cell.strip() for cell in row.strip("│").split("│")] == [
            *("wrong_type", "properties.price", "2", "0", "2026-05-04 12:00:00", "2026-05-04 13:00:00"),
            "shelfwise.events:0:2",
        ]

    def test_as_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1})
        assert command("list", "--json", "--reason", "wrong_type") == 0
        (row,) = json.loads(capsys.readouterr().out)
        assert (row["events"], row["last"]) == (1, "2026-05-04T12:00:00+00:00")

    def test_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1})
        assert command("list", "--since", "1h") == 0
        assert capsys.readouterr().out == "no refused events\n"

    @pytest.mark.parametrize(
        "arguments", [("list", "--since", "soon"), ("list", "--reason", "nonsense"), ("show", "--limit", "0"), ()]
    )
    def test_wrong_arguments(self, arguments: tuple[str, ...]) -> None:
        with pytest.raises(SystemExit) as ended:
            command(*arguments)
        assert ended.value.code == 2


class TestShow:
    def test_says_why_in_a_sentence(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1})
        assert command("show", "shelfwise.events:0:1") == 0
        shown = capsys.readouterr().out
        assert "properties.price: Input should be a valid number" in shown
        assert '"price": "9,99"' in shown

    def test_what_was_put_back_is_shown_only_when_it_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1}, {"offset": 2})
        note_replayed([("shelfwise.events:0:1", "m1")])
        assert command("show") == 0
        assert "shelfwise.events:0:1" not in capsys.readouterr().out
        assert command("show", "shelfwise.events:0:1") == 0
        assert "put back" in capsys.readouterr().out

    def test_no_more_than_asked_for(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse(*({"offset": number} for number in range(30)))
        command("show")
        assert "20 shown, 10 more (--limit)" in capsys.readouterr().out
        command("show", "--limit", "3")
        assert "3 shown, 27 more (--limit)" in capsys.readouterr().out

    def test_a_terminal_is_not_obeyed_to_strangers(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1, "payload": "\x1b]0;title\x07\u202e{"})
        command("show")
        assert not {"\x1b", "\x07", "\u202e"} & set(capsys.readouterr().out)

    def test_lines_for_repair(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        refuse(*({"offset": number} for number in range(30)))
        refuse({"offset": 30, "reason": "empty", "field": "(event)", "payload": None})
        assert command("show", "--jsonl", str(tmp_path / "broken.jsonl")) == 0
        lines = [json.loads(line) for line in (tmp_path / "broken.jsonl").read_text().splitlines()]
        assert len(lines) == 31
        assert lines[0].keys() == {"id", "reason", "payload"}
        assert json.loads(lines[0]["payload"])["userId"] == "u1"
        assert {line["payload"] for line in lines if line["reason"] == "empty"} == {None}
        capsys.readouterr()
        assert command("show", "--jsonl", "-", "--limit", "2") == 0
        assert len(capsys.readouterr().out.splitlines()) == 2

    def test_unknown_ids(self) -> None:
        with pytest.raises(InputError, match=r"holds no shelfwise.events:0:9"):
            command("show", "shelfwise.events:0:9")

    def test_a_file_that_cannot_be_written(self, tmp_path: Path) -> None:
        refuse({"offset": 1})
        with pytest.raises(InputError, match="cannot be written"):
            command("show", "--jsonl", str(tmp_path / "nowhere" / "broken.jsonl"))


class TestReplay:
    """What is not sent; tests/integration/test_quarantine.py has what is."""

    @pytest.fixture(autouse=True)
    def no_kafka(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(offsets, "in_kafka", lambda: ({0: 0}, {0: 0}))

    @pytest.fixture
    def lines(self, tmp_path: Path) -> Path:
        refuse({"offset": 1})
        return tmp_path / "repaired.jsonl"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"id": "shelfwise.events:0:1", "payload": {}}\n\n{"id"', "line 3 is not JSON"),
            ('{"id": "shelfwise.events:0:1"}', "line 1 is not of the form"),
            ("[]", "line 1 is not of the form"),
            ('{"id": "shelfwise.events:0:1", "payload": ""}\n' * 2, "line 2 repeats the id shelfwise.events:0:1"),
            ('{"id": "shelfwise.events:0:2", "payload": ""}', "holds no shelfwise.events:0:2"),
            ("\n".join(f'{{"id": "x:{n}", "payload": ""}}' for n in range(9)), r"holds no x:0, x:1, .* \.\.\."),
        ],
    )
    def test_files_that_cannot_be_used(self, lines: Path, text: str, message: str) -> None:
        lines.write_text(text)
        with pytest.raises(InputError, match=message):
            command("replay", str(lines))

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            command("replay", str(tmp_path / "nowhere"))

    def test_a_file_and_a_reason(self, lines: Path) -> None:
        with pytest.raises(InputError, match="a FILE says itself"):
            command("replay", str(lines), "--reason", "wrong_type")

    def test_what_is_still_broken(self, lines: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines.write_text(json.dumps({"id": "shelfwise.events:0:1", "payload": GOOD | {"userId": None}}))
        assert command("replay", str(lines)) == 1
        output = capsys.readouterr()
        assert output.err == (
            "refused shelfwise.events:0:1: missing_field, one of userId and anonymousId is required\n"
        )
        assert output.out.startswith("nothing to replay: 0 put back into the stream, 1 still refused")

    @pytest.mark.parametrize("number", [0, 3])
    def test_nothing_to_replay(self, number: int, capsys: pytest.CaptureFixture[str]) -> None:
        if number:
            refuse(*({"offset": offset} for offset in range(number)))
        assert command("replay") == 0
        assert capsys.readouterr().out.startswith("nothing to replay: ")

    def test_what_spark_alone_refused_is_not_tried_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1, "field": "(event)", "payload": json.dumps(GOOD)})
        assert command("replay", "--dry-run") == 0
        assert capsys.readouterr().out.startswith("nothing to replay")

    def test_a_dry_run_sends_and_records_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        refuse({"offset": 1, "reason": "future_timestamp", "field": "timestamp", "payload": json.dumps(GOOD)})
        for _ in range(2):
            assert command("replay", "--dry-run") == 0
            assert capsys.readouterr().out == "1 would be sent\n"

    @pytest.mark.parametrize(
        "stored",
        [
            {"message_id": "m1", "event": "Product Viewed"},
            {"message_id": "x", "event": "Order Completed", "order_id": "o"},
        ],
    )
    def test_what_is_stored_already_is_not_sent(
        self, stored: dict[str, Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        row = pa.Table.from_pylist([stored | {"dt": NOON.date()}], schema=EVENTS.schema)
        write_deltalake(EVENTS.uri, row, mode="append")
        order = GOOD | {"event": "Order Completed", "properties": {"order_id": "o", "products": [{"product_id": "p"}]}}
        payload = order if "order_id" in stored else GOOD
        refuse({"offset": 1, "payload": json.dumps(payload)})
        assert command("replay") == 0
        assert capsys.readouterr().out == "0 put back into the stream, 1 not sent, because the stream has them\n"
        assert states(["shelfwise.events:0:1"])["shelfwise.events:0:1"] is not None

    def test_an_event_without_id_always_gets_the_same(self) -> None:
        def given(id_: str, **change: Any) -> str:
            repair = quarantine_replay.Repair(id_, json.dumps(GOOD | change))
            return str(json.loads(quarantine_replay.with_message_id(repair).payload or "")["messageId"])

        assert given("a:0:1") == "m1"
        assert given("a:0:1", messageId=None) == given("a:0:1", messageId="") != given("a:0:2", messageId=None)

    def test_two_at_once_are_refused(self) -> None:
        from feature_repo.errors import UnavailableError

        assert get_settings().home.is_dir()
        with putting_back(), pytest.raises(UnavailableError, match="another"):
            command("replay")
