"""Reading recorded events in order, from Parquet and JSON lines alike."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import InputError
from ingestion.recorded.files import discover
from ingestion.recorded.reader import Days, EventReader, RecordedEvent

NO_LIMIT = Days()
HOUR_MS = 3_600_000


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def event(number: int, moment: str, **more: Any) -> dict[str, Any]:
    products = [{"product_id": f"p{number}", "brand": None, "price": 1.5}]
    properties = {"list_id": None, "currency": "EUR", "products": products}
    return {"messageId": f"m{number}", "userId": None, "anonymousId": "a", "timestamp": moment} | {
        "properties": properties,
        **more,
    }


def write(file: Path, events: list[dict[str, Any]]) -> None:
    """In the format that the file's name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        rows = [{**row, "timestamp": at(row["timestamp"])} for row in events]
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        lines = b"\n".join(map(orjson.dumps, events)) + b"\n"
        file.write_bytes(gzip.compress(lines) if file.suffix == ".gz" else lines)


def read(path: Path, days: Days = NO_LIMIT, shift_ms: int = 0) -> tuple[int, list[RecordedEvent]]:
    """(number of parts, events)."""
    with EventReader(discover(path), days, path / "spill") as reader:
        parts = reader.plan()
        events = [event for part in parts for event in reader.read(part, shift_ms)]
    assert sum(part.events for part in parts) == len(events)
    return len(parts), events


@pytest.mark.parametrize("name", ["events.parquet", "events.jsonl", "events.jsonl.gz"])
class TestBothFormats:
    def test_order_within_a_day_and_across_days(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "dt=2026-01-02" / name, [event(3, "2026-01-02T09:00:00"), event(2, "2026-01-02T08:00:00")])
        write(tmp_path / "dt=2026-01-01" / name, [event(1, "2026-01-01T08:00:00")])
        parts, events = read(tmp_path)
        assert parts == 2
        assert [orjson.loads(item.body)["messageId"] for item in events] == ["m1", "m2", "m3"]

    def test_days_that_overlap_are_sorted_together(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / "dt=2026-01-01" / name, [event(1, "2026-01-01T23:00:00"), event(3, "2026-01-02T08:00:00")])
        write(tmp_path / "dt=2026-01-02" / name, [event(2, "2026-01-02T07:00:00"), event(4, "2026-01-02T09:00:00")])
        write(tmp_path / "dt=2026-01-03" / name, [event(5, "2026-01-03T09:00:00")])
        parts, events = read(tmp_path)
        assert parts == 2
        assert [orjson.loads(item.body)["messageId"] for item in events] == ["m1", "m2", "m3", "m4", "m5"]

    def test_events_of_one_moment_keep_their_order(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name, [event(number, "2026-01-02T09:00:00") for number in range(500)])
        _, events = read(tmp_path)
        assert [orjson.loads(item.body)["messageId"] for item in events] == [f"m{number}" for number in range(500)]

    def test_json_without_nulls_with_key_and_time(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name, [event(1, "2026-01-02T09:00:00", note='not ,"a":null {"b":null}')])
        _, [recorded] = read(tmp_path)
        assert (recorded.key, recorded.ms) == (b"a", at("2026-01-02T09:00:00").timestamp() * 1000)
        document = orjson.loads(recorded.body)
        assert datetime.fromisoformat(document.pop("timestamp")).replace(tzinfo=UTC) == at("2026-01-02T09:00:00")
        assert document == {
            "messageId": "m1",
            "anonymousId": "a",
            "note": 'not ,"a":null {"b":null}',
            "properties": {"currency": "EUR", "products": [{"product_id": "p1", "price": 1.5}]},
        }

    def test_all_times_move_by_one_constant(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name, [event(1, "2026-01-02T09:00:00", sentAt="2026-01-02T09:00:01Z", receivedAt="gone")])
        _, [recorded] = read(tmp_path, shift_ms=HOUR_MS)
        document = orjson.loads(recorded.body)
        assert recorded.ms == at("2026-01-02T10:00:00").timestamp() * 1000
        assert document["timestamp"] == "2026-01-02T10:00:00.000Z"
        assert document["sentAt"] == "2026-01-02T10:00:01.000Z"
        assert "receivedAt" not in document

    def test_days_select_partitions_or_else_times(self, tmp_path: Path, name: str) -> None:
        days = Days(first=date(2026, 1, 2), last=date(2026, 1, 2))
        write(tmp_path / "plain" / name, [event(day, f"2026-01-0{day}T00:00:00") for day in (1, 2, 3)])
        _, events = read(tmp_path / "plain", days)
        assert [orjson.loads(item.body)["messageId"] for item in events] == ["m2"]
        for day in (1, 2, 3):
            folder = tmp_path / "partitioned" / f"dt=2026-01-0{day}"
            write(folder / name, [event(day, f"2026-01-0{day}T23:30:00"), event(9, f"2026-01-0{day + 1}T06:00:00")])
        _, events = read(tmp_path / "partitioned", days)
        assert [orjson.loads(item.body)["messageId"] for item in events] == ["m2", "m9"]

    def test_no_event_in_the_days(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name, [event(1, "2026-01-02T09:00:00")])
        with pytest.raises(InputError, match="no event lies within"):
            read(tmp_path, Days(first=date(2026, 2, 1)))


def test_lines_that_are_no_events_are_passed_on_as_they_are(tmp_path: Path) -> None:
    odd = [b"not json", b"[1]", b'{"userId":"\xff"}', b'{"timestamp":"noon","userId":"u"}', b"", b'{"userId":7}']
    (tmp_path / "events.jsonl").write_bytes(b"\r\n".join(odd))
    _, events = read(tmp_path)
    assert [(item.ms, item.key, item.body) for item in events] == [
        (None, None, odd[0]),
        (None, None, odd[1]),
        (None, None, odd[2]),
        (None, b"u", odd[3]),
        (None, b"7", odd[5]),
    ]


def test_parquet_with_a_time_that_is_text(tmp_path: Path) -> None:
    rows = [{"timestamp": "2026-01-02T09:00:00+01:00", "userId": "u"}, {"timestamp": "noon", "userId": "v"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "events.parquet")
    _, events = read(tmp_path)
    assert [orjson.loads(item.body)["timestamp"] for item in events] == ["noon", "2026-01-02T08:00:00.000Z"]


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read(tmp_path)
    (tmp_path / "b").mkdir()
    pq.write_table(pa.table({"when": [1]}), tmp_path / "b" / "a.parquet")
    with pytest.raises(InputError, match="no column `timestamp`"):
        read(tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "a.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "c")
