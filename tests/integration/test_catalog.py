"""Loading a catalogue: only news is written, history is kept, and the online store follows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from feature_repo import tables
from feature_repo.settings import Settings


def load(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ingestion", "catalog", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def rows_of(product: str) -> list[dict[str, Any]]:
    found = [
        row for row in DeltaTable(tables.CATALOG.uri).to_pyarrow_table().to_pylist() if row["product_id"] == product
    ]
    return sorted(found, key=lambda row: row["event_timestamp"])


def online(product: str) -> dict[str, Any]:
    from feature_repo.store import open_store

    names = ["item_catalog:price", "item_catalog:stock", "item_catalog:previous_price"]
    return {
        name: values[0]
        for name, values in open_store().get_online_features(names, [{"product_id": product}]).to_dict().items()
    }


@pytest.fixture(scope="module")
def catalog(kafka_and_redis: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    feast = [str(Path(sys.executable).with_name("feast")), "-c", str(Path(tables.__file__).parent), "apply"]
    subprocess.run(feast, check=True, capture_output=True, timeout=120)
    return tmp_path_factory.mktemp("catalog") / "catalog.csv"


def test_changes_are_written_once_and_reach_the_online_store(catalog: Path) -> None:
    catalog.write_text(
        "product_id,name,price,stock,created_at,updated_at\n"
        "cat-mug,Mug,9.5,3,2026-01-01T00:00:00Z,2026-02-01T00:00:00Z\n"
        "cat-cup,Cup,4,,,\n"
    )
    assert "2 of them new" in load(catalog).stdout
    assert "0 of them new" in load(catalog).stdout
    assert online("cat-mug") | {"product_id": ""} == {
        "product_id": "", "price": 9.5, "stock": 3, "previous_price": None,
    }  # fmt: skip
    # What is not known of the time before the first row is taken from it.
    assert [str(row["event_timestamp"])[:10] for row in rows_of("cat-mug")] == ["2026-01-01"]

    catalog.write_text("product_id,name,price,stock\ncat-mug,Mug,8,0\ncat-cup,Cup,4,\n")
    assert "1 of them new" in load(catalog).stdout
    now = online("cat-mug")
    assert (now["price"], now["stock"], now["previous_price"]) == (8.0, 0, 9.5)
    assert [row["price"] for row in rows_of("cat-mug")] == [9.5, 8.0]
    assert rows_of("cat-mug")[1]["first_seen_at"] == rows_of("cat-mug")[0]["first_seen_at"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "is not a file"),
        ("catalog.xls", "?", "unknown kind"),
        ("no_ids.csv", "name,price\nMug,3\n", "no column product_id"),
        ("bad_price.csv", "product_id,price\nmug,cheap\n", "cannot be read"),
    ],
)
def test_unusable_files_are_refused(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    done = load(path)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
