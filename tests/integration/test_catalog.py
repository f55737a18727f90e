"""Loading a catalogue: only news is written, history is kept, and the online store follows."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo import tables
from feature_repo.settings import Settings

CATALOG_COMMAND = [sys.executable, "-m", "ingestion", "catalog"]
# The command, which kills itself before its N-th commit to a Delta table.
DYING_COMMAND = """
import itertools, os, signal, sys
from ingestion.catalog import store as catalog_store
from ingestion.__main__ import main

commits, write = itertools.count(1), catalog_store.write_deltalake

def dying(*args, **kwargs):
    if next(commits) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    write(*args, **kwargs)

catalog_store.write_deltalake = dying
main(["catalog", sys.argv[1]])
"""


def load(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CATALOG_COMMAND, str(path), *options], capture_output=True, text=True, timeout=120)


def remembered(path: Path) -> tuple[int | None, int | None]:
    """Modification time and size of a file that was loaded."""
    stored = DeltaTable(tables.CATALOG.uri)
    return stored.transaction_version(f"catalog:{path}"), stored.transaction_version(f"catalog-bytes:{path}")


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
    assert remembered(catalog) == (catalog.stat().st_mtime_ns, catalog.stat().st_size)
    assert "files: 0 read, 1 unchanged; rows: 0 read, 0 of them new" in load(catalog).stdout
    assert "files: 1 read, 0 unchanged; rows: 2 read, 0 of them new" in load(catalog, "--all").stdout
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
        ("missing.csv", None, "is not there"),
        ("catalog.xls", "?", "unknown kind"),
        ("no_ids.csv", "name,price\nMug,3\n", "no column product_id"),
        ("empty.csv", "product_id,price\n,3\n", "no rows with a product_id"),
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


def test_of_a_folder_the_changed_file_is_read_and_its_changed_row_written(catalog: Path) -> None:
    folder = catalog.parent / "folder"
    (folder / "deep").mkdir(parents=True)
    first, second = folder / "first.jsonl", folder / "deep" / "second.jsonl"
    first.write_text('{"product_id": "fold-1", "price": 1}\n{"product_id": "fold-2", "price": 2}\n')
    second.write_text('{"product_id": "fold-3", "price": 3}\n')
    assert "files: 2 read, 0 unchanged; rows: 3 read, 3 of them new" in load(folder).stdout

    first.write_text('{"product_id": "fold-1", "price": 1}\n{"product_id": "fold-2", "price": 2.5}\n')
    assert "files: 1 read, 1 unchanged; rows: 2 read, 1 of them new" in load(folder).stdout
    assert [row["price"] for row in rows_of("fold-2")] == [2, 2.5]
    assert online("fold-2")["price"] == 2.5

    # Written again as it was: it is read, gives no news, and is not read another time.
    second.touch()
    assert "files: 1 read, 1 unchanged; rows: 1 read, 0 of them new" in load(folder).stdout
    assert remembered(second) == (second.stat().st_mtime_ns, second.stat().st_size)
    assert "files: 0 read, 2 unchanged" in load(folder).stdout


def test_of_a_delta_table_the_added_files_are_read(catalog: Path) -> None:
    source = catalog.parent / "delta"

    def append(**columns: list[Any]) -> None:
        write_deltalake(source, pa.table(columns), mode="append", partition_by=["brand"])

    append(product_id=["del-1", "del-2"], brand=["Alba", "Bera"], price=[1.0, 2.0])
    assert "files: 2 read, 0 unchanged; rows: 2 read, 2 of them new" in load(source).stdout
    assert "files: 0 read, 2 unchanged; rows: 0 read, 0 of them new" in load(source).stdout
    append(product_id=["del-1"], brand=["Alba"], price=[1.5])
    assert "files: 1 read, 2 unchanged; rows: 1 read, 1 of them new" in load(source).stdout
    assert [(row["brand"], row["price"]) for row in rows_of("del-1")] == [("Alba", 1.0), ("Alba", 1.5)]
    assert online("del-1")["previous_price"] == 1.0


@pytest.mark.parametrize("commit", [1, 2], ids=["before the index", "before the catalogue"])
def test_a_load_that_was_killed_is_repeated(catalog: Path, commit: int) -> None:
    file = catalog.with_name(f"killed-{commit}.csv")
    old, new = f"kill-{commit}-old", f"kill-{commit}-new"
    file.write_text(f"product_id,price\n{old},4\n")
    load(file)
    before = remembered(file)
    file.write_text(f"product_id,price\n{old},5\n{new},6\n")
    killed = subprocess.run([sys.executable, "-c", DYING_COMMAND, str(file), str(commit)], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert online(old)["price"] == 5
    assert remembered(file) == before
    assert rows_of(new) == []

    assert "files: 1 read, 0 unchanged; rows: 2 read, 2 of them new" in load(file).stdout
    assert [(row["price"], row["previous_price"]) for row in rows_of(old)] == [(4, None), (5, 4)]
    assert [row["price"] for row in rows_of(new)] == [6]
    assert (online(old)["price"], online(old)["previous_price"], online(new)["price"]) == (5, 4, 6)
    index = DeltaTable(tables.CATALOG_INDEX.uri).to_pyarrow_table().to_pylist()
    ids = max(index, key=lambda row: row["event_timestamp"])["product_ids"]
    assert [ids.count(product) for product in (old, new)] == [1, 1]
    assert "files: 0 read, 1 unchanged" in load(file).stdout


def test_staying_it_loads_what_changes_and_survives_what_is_broken(catalog: Path) -> None:
    folder = catalog.parent / "watched"
    folder.mkdir()
    good, broken = folder / "good.csv", folder / "broken.csv"
    good.write_text("product_id,price\nstay-1,1\n")
    command = [*CATALOG_COMMAND, str(folder), "--every", "0.2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert "1 of them new" in process.stdout.readline()
            broken.write_text("product_id,price\nstay-2,cheap\n")
            assert "error: broken.csv cannot be read" in process.stderr.readline()
            good.write_text("product_id,price\nstay-1,3\n")
            assert "files: 1 read, 0 unchanged; rows: 1 read, 1 of them new" in process.stdout.readline()
            broken.write_text("product_id,price\nstay-2,2\n")
            assert "files: 1 read, 1 unchanged; rows: 1 read, 1 of them new" in process.stdout.readline()
            assert (online("stay-1")["price"], online("stay-2")["price"]) == (3, 2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stdout.read() == ""
        assert "Traceback" not in process.stderr.read()


def test_without_redis_nothing_is_remembered(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = catalog.with_name("later.csv")
    file.write_text("product_id,price\nlate-1,1\n")
    with monkeypatch.context() as patch:
        patch.setenv("SHELFWISE_REDIS__PORT", "1")
        done = load(file)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the online store cannot be used")
    assert "Traceback" not in done.stderr
    assert remembered(file) == (None, None)
    assert "1 of them new" in load(file).stdout
