"""Several processes write the catalogue at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from deltalake import DeltaTable

from feature_repo.settings import get_settings
from feature_repo.tables import CATALOG, CATALOG_INDEX
from ingestion.catalog import store as catalog_store

_WRITER = """
import sys
from datetime import UTC, datetime
import pyarrow as pa
from feature_repo.tables import EVENTS
from ingestion.catalog import store as catalog_store

print("ready", flush=True)
sys.stdin.readline()
for number in range(6):
    product, now = f"{sys.argv[2]}{number}", datetime.now(UTC)
    if sys.argv[1] == "learn":
        event = {"timestamp": now, "currency": "EUR", "products": [{"product_id": product, "name": "learnt"}]}
        catalog_store.learn(pa.Table.from_pylist([event], EVENTS.schema), offline_only=True)
    else:
        row = {"product_id": product, "name": "listed", "origin": "catalog"}
        kinds = [("product_id", pa.string()), ("event_timestamp", pa.timestamp("us", "UTC")), ("name", pa.string()),
                 ("category", pa.string()), ("brand", pa.string()), ("price", pa.float64()), ("currency", pa.string()),
                 ("stock", pa.int64()), ("first_seen_at", pa.float64()), ("origin", pa.string())]
        catalog_store.upsert(pa.Table.from_pylist([row], pa.schema(kinds)), offline_only=True)
"""


def test_the_index_names_all_products_and_what_is_listed_counts_before_what_was_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHELFWISE_HOME", str(tmp_path))
    get_settings.cache_clear()
    CATALOG.create_if_missing()
    CATALOG_INDEX.create_if_missing()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, *what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for what in (("learn", "p"), ("list", "p"), ("learn", "q"))
    ]
    for writer in writers:
        assert writer.stdout
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    origins = {row["product_id"]: row["origin"] for row in catalog_store.current_rows().to_pylist()}
    assert origins == {f"p{n}": "catalog" for n in range(6)} | {f"q{n}": "events" for n in range(6)}
    index = max(DeltaTable(CATALOG_INDEX.uri).to_pyarrow_table().to_pylist(), key=lambda row: row["event_timestamp"])
    assert set(index["product_ids"]) == origins.keys()
