"""``python -m ingestion compact``: fewer files, the same rows, and tables that are not there yet are no error."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from feature_repo.settings import HOME_VARIABLE, get_settings
from feature_repo.tables import CATALOG, CATALOG_INDEX, CATALOG_LISTINGS, EVENTS, SHOP
from ingestion.__main__ import main


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    get_settings.cache_clear()


def test_small_files_are_merged_and_rows_stay(capsys: pytest.CaptureFixture[str]) -> None:
    EVENTS.create_if_missing()
    for number in range(3):
        rows = pa.Table.from_pylist([{"message_id": f"m{number}"}], schema=EVENTS.schema)
        write_deltalake(EVENTS.uri, rows, mode="append")
    assert main(["compact"]) == 0
    assert capsys.readouterr().out == "events: 3 files merged\n"
    stored = DeltaTable(EVENTS.uri)
    assert len(stored.file_uris()) == 1
    assert sorted(stored.to_pyarrow_table()["message_id"].to_pylist()) == ["m0", "m1", "m2"]
    assert main(["compact"]) == 0
    assert capsys.readouterr().out == "events: 0 files merged\n"


def test_of_the_products_lists_what_counts_stays_and_what_was_replaced_long_ago_goes() -> None:
    for table in (CATALOG, CATALOG_INDEX, CATALOG_LISTINGS):
        table.create_if_missing()
    now = datetime.now(UTC)
    days = [now - timedelta(days=days) for days in (4, 3, 2, 0)]
    for day in days:
        row = {"shop": SHOP, "event_timestamp": day, "created": day, "product_ids": ["p"]}
        write_deltalake(CATALOG_INDEX.uri, pa.Table.from_pylist([row], CATALOG_INDEX.schema), mode="append")
    numbers = [round(day.timestamp() * 1e6) for day in days]
    # The newest is not remembered yet: the load that wrote it may be about to end.
    marks = CommitProperties(app_transactions=[Transaction("catalog-listed:a'b.csv", numbers[1])])
    write_deltalake(CATALOG.uri, CATALOG.schema.empty_table(), mode="append", commit_properties=marks)
    for number in numbers:
        row = {"file": "a'b.csv", "number": number, "snapshot": True, "product_ids": ["p"]}
        write_deltalake(CATALOG_LISTINGS.uri, pa.Table.from_pylist([row], CATALOG_LISTINGS.schema), mode="append")
    for _ in range(2):
        assert main(["compact"]) == 0
        kept = DeltaTable(CATALOG_INDEX.uri).to_pyarrow_table()["event_timestamp"].to_pylist()
        assert sorted(kept) == days[2:], "the one in force a day ago, and the newest"
        kept = DeltaTable(CATALOG_LISTINGS.uri).to_pyarrow_table()["number"].to_pylist()
        assert sorted(kept) == [numbers[1], numbers[3]]


def test_a_table_that_cannot_be_read_is_named_and_does_not_hinder_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    EVENTS.create_if_missing()
    broken = EVENTS.path.parent / "ledger" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / "00000000000000000000.json").write_text("nonsense")
    assert main(["compact"]) == 1
    told = capsys.readouterr()
    assert "events: 0 files merged" in told.out
    assert "error: ledger was not merged" in told.err
