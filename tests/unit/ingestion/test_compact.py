"""``python -m ingestion compact``: fewer files, the same rows, and tables that are not there yet are no error."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.settings import HOME_VARIABLE, get_settings
from feature_repo.tables import EVENTS
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
