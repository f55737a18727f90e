"""Exports as files of events."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ga_exports import ga4_row, ga360_hit, ga360_product, ga360_row

from feature_repo.errors import InputError
from ingestion.exports.conversion import converted
from ingestion.exports.ga4 import EVENT_OF_NAME
from ingestion.recorded.files import EXPORT_ENDINGS, discover

WHOLE_NUMBERS = {
    *("event_timestamp", "event_bundle_sequence_id", "batch_page_id", "batch_ordering_id", "batch_event_index"),
    *("int_value", "quantity", "visitId", "visitStartTime", "hitNumber", "time", "step"),
    *("productPrice", "localProductPrice", "productQuantity", "productListPosition"),
}


def typed(value: Any, name: str = "") -> Any:
    """A row as Parquet holds it: whole numbers are numbers."""
    if isinstance(value, dict):
        return {inner: typed(part, inner) for inner, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    return int(value) if name in WHOLE_NUMBERS and value is not None else value


def events(path: Path, name: str, scratch: Path) -> list[dict[str, Any]]:
    with converted(discover(path, EXPORT_ENDINGS), path, name, scratch) as found:
        return [json.loads(line) for file in found.files for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("ga4", [ga4_row(event) for event in EVENT_OF_NAME]),
        (
            "ga360",
            [ga360_row(ga360_hit(1, "0", ga360_product(1, isImpression=True)), ga360_hit(2, "2", ga360_product(1)))],
        ),
    ],
)
def test_every_kind_of_file_gives_the_same_events(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    plain, packed, parquet = (tmp_path / f"export.{ending}" for ending in ("json", "jsonl.gz", "parquet"))
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist([typed(row) for row in rows]), parquet)
    made = events(plain, name, tmp_path)
    assert len(made) >= len(rows)
    assert events(packed, name, tmp_path) == events(parquet, name, tmp_path) == made


def test_parquet_with_its_own_lists_left_around(tmp_path: Path) -> None:
    row = typed(ga4_row("view_item"))
    wrapped = row | {name: {"list": [{"element": part} for part in row[name]]} for name in ("items", "event_params")}
    for file, content in (("plain", row), ("wrapped", wrapped)):
        pq.write_table(pa.Table.from_pylist([content]), tmp_path / f"{file}.parquet")
    assert events(tmp_path / "wrapped.parquet", "ga4", tmp_path) == events(tmp_path / "plain.parquet", "ga4", tmp_path)


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for day in ("20260131", "20260201"):
        (tmp_path / "export" / day).mkdir(parents=True)
        (tmp_path / "export" / day / "0.json").write_text(json.dumps(ga4_row("view_item", stream_id=day)) + "\n")
    assert len({event["messageId"] for event in events(tmp_path / "export", "ga4", tmp_path)}) == 2


def test_lines_that_are_no_rows_are_passed_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = {**ga4_row("view_item"), "user_id": "ada", "user_pseudo_id": {"not": "a word"}}
    file = tmp_path / "export.json"
    file.write_text("no json\n\n5\n" + json.dumps(ga4_row("page_view")) + "\n" + json.dumps(odd) + "\n")
    with converted(discover(file, EXPORT_ENDINGS), file, "ga4", tmp_path) as found:
        passed_on = found.files[0].read_text().splitlines()
    assert passed_on[:2] == ["no json", "5"]
    assert json.loads(passed_on[2]) == odd
    told = capsys.readouterr().out
    assert "4 rows of ga4 gave 3 events" in told
    assert "passed over 1: page_view: no event of a shop" in told


def test_files_that_are_no_such_export_are_refused(tmp_path: Path) -> None:
    contract = tmp_path / "events.jsonl"
    contract.write_text('{"type": "track", "event": "Cart Viewed"}\n')
    cut_off = tmp_path / "cut.json.gz"
    cut_off.write_bytes(gzip.compress(json.dumps(ga4_row("view_item")).encode())[:-9])
    parquet = tmp_path / "events.parquet"
    pq.write_table(pa.table({"type": ["track"]}), parquet)
    for file, name, complaint in (
        (contract, "ga4", "no column `event_name`"),
        (contract, "ga360", "no column `hits`"),
        (parquet, "ga4", "no column `event_name`"),
        (cut_off, "ga4", "cannot be read"),
    ):
        with pytest.raises(InputError, match=complaint):
            events(file, name, tmp_path)


def test_what_is_compressed_is_known_by_what_it_holds(tmp_path: Path) -> None:
    row = json.dumps(ga4_row("view_item")).encode() + b"\n"
    plain, packed = tmp_path / "plain.json", tmp_path / "packed.json"
    plain.write_bytes(b"\xef\xbb\xbf" + row)
    packed.write_bytes(gzip.compress(row))
    assert events(packed, "ga4", tmp_path) == events(plain, "ga4", tmp_path) != []


def test_a_file_of_other_lines_is_refused(tmp_path: Path) -> None:
    array = tmp_path / "array.json"
    array.write_text("[\n" + json.dumps([ga4_row("view_item")]) + "\n]\n")
    with pytest.raises(InputError, match="no line that is a JSON object"):
        events(array, "ga4", tmp_path)


def test_what_is_nested_deeply_stops_nothing(tmp_path: Path) -> None:
    deep = tmp_path / "deep.json"
    deep.write_text('{"event_name": 1, "x": ' + "[" * 300 + "]" * 300 + "}\n" + json.dumps(ga4_row("view_item")) + "\n")
    with converted(discover(deep, EXPORT_ENDINGS), deep, "ga4", tmp_path) as found:
        assert len(found.files[0].read_text().splitlines()) == 2
