"""Which data notebooks read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from notebooks import loading
from training.evaluation.installation import fingerprint


def note_loaded(data: Path, complete: bool) -> Path:
    """As if the events were loaded, or being loaded."""
    home = get_settings().home / "evaluation" / fingerprint(data)
    home.mkdir(parents=True, exist_ok=True)
    (home / "evaluation.json").write_text(json.dumps({"content": fingerprint(data), "complete": complete}))
    return home


def test_an_installation_with_events_is_read_as_it_is(warehouse: None) -> None:
    assert loading.present() is None
    row = {"message_id": "m1", "event": "Product Viewed", "dt": datetime(2026, 1, 1, tzinfo=UTC).date()}
    write_deltalake(tables.EVENTS.uri, pa.Table.from_pylist([row], schema=tables.EVENTS.schema), mode="append")
    assert loading.present() == get_settings().home


def test_an_empty_one_reads_the_invented_shop_once_that_is_loaded(warehouse: None) -> None:
    history = get_settings().home / "notebooks" / "shop" / "history"
    history.mkdir(parents=True)
    (history / "events.jsonl").write_text("{}")
    note_loaded(history, complete=False)
    assert loading.present() is None
    home = note_loaded(history, complete=True)
    assert loading.present() == home
    assert loading.prepare() == home


def test_events_that_are_named_come_first(warehouse: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "events.jsonl"
    monkeypatch.setenv("SHELFWISE_NOTEBOOKS__DATA", str(data))
    get_settings.cache_clear()
    with pytest.raises(InputError, match=r"events.jsonl does not exist"):
        loading.present()
    data.write_text("{}")
    assert loading.present() is None
    home = note_loaded(data, complete=True)
    assert loading.present() == home
