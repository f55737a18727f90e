"""What of a catalogue may have changed, and what is read of it; Redis is not here."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.errors import InputError
from feature_repo.tables import CATALOG
from ingestion import catalog, catalog_store
from ingestion.catalog_reader import latest_said
from ingestion.catalog_sources import Found, find

LONG_AGO = 1_700_000_000


def nothing(_: str) -> None:
    """Nothing has been loaded."""


def write(path: Path, text: str = "product_id\nmug\n", modified: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (modified, modified))
    return path


def marks(found: Found) -> dict[str, int]:
    return {app_id: version for part in found.changed for app_id, version in part.marks.items()}


def ids(found: Found) -> list[str]:
    return [row["product_id"] for part in found.changed for row in part.read().to_pylist()]


class TestFiles:
    def test_are_read_again_if_their_time_or_size_is_another(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv")
        loaded = marks(find(file, nothing))
        assert loaded == {f"catalog:{file}": LONG_AGO * 10**9, f"catalog-bytes:{file}": 15}
        assert find(file, loaded.get) == Found([], 1)
        write(file, "product_id\ncup\n")
        assert find(file, loaded.get) == Found([], 1)  # to look at what is in it would be to read it
        write(file, "product_id\nplate\n")
        assert ids(find(file, loaded.get)) == ["plate"]
        write(file, "product_id\ncup\n", LONG_AGO - 60)
        assert ids(find(file, loaded.get)) == ["cup"]

    def test_of_a_folder_at_any_depth_in_the_order_of_their_times(self, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", "product_id\nlast\n", LONG_AGO + 2)
        write(tmp_path / "2026" / "05" / "b.csv", "product_id\nfirst\n", LONG_AGO)
        write(tmp_path / "2026" / "c.csv", "product_id\nsecond\n", LONG_AGO + 1)
        write(tmp_path / "notes.txt")
        write(tmp_path / "_tmp" / "d.csv")
        write(tmp_path / ".e.csv")
        found = find(tmp_path, nothing)
        assert ids(found) == ["first", "second", "last"]
        loaded = marks(found)
        write(tmp_path / "2026" / "c.csv", "product_id\nchanged\n", LONG_AGO + 3)
        again = find(tmp_path, loaded.get)
        assert (ids(again), again.unchanged) == (["changed"], 2)

    def test_have_the_same_marks_however_they_are_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = write(tmp_path / "shop" / "a.csv")
        monkeypatch.chdir(tmp_path)
        for path in (Path("shop"), Path("shop/a.csv"), tmp_path / "shop" / ".." / "shop"):
            assert marks(find(path, nothing)).keys() == {f"catalog:{file}", f"catalog-bytes:{file}"}

    @pytest.mark.parametrize("kind", ["jsonl", "ndjson", "json"])
    def test_of_json(self, tmp_path: Path, kind: str) -> None:
        assert ids(find(write(tmp_path / f"a.{kind}", '{"product_id": "mug"}\n'), nothing)) == ["mug"]

    def test_with_names_that_look_like_patterns(self, tmp_path: Path) -> None:
        write(tmp_path / "a1.csv", "product_id\nwrong\n")
        assert ids(find(write(tmp_path / "a[1].csv"), nothing)) == ["mug"]

    def test_that_may_be_unfinished_wait(self, tmp_path: Path) -> None:
        write(tmp_path / "a.csv", modified=time.time())
        assert find(tmp_path, nothing, resting=60) == Found([], 0, waiting=True)
        assert ids(find(tmp_path, nothing)) == ["mug"]
        write(tmp_path / "a.csv", modified=time.time() + 3600)
        assert ids(find(tmp_path, nothing, resting=60)) == ["mug"]


def test_a_mixture_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv")
    write(tmp_path / "b.jsonl", "{}")
    with pytest.raises(InputError, match="mixes CSV and JSON"):
        find(tmp_path, nothing)


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no catalogue files"):
        find(tmp_path, nothing)


def test_files_of_a_delta_table_are_refused_without_it(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "shop" / "goods", pa.table({"product_id": ["mug"]}))
    with pytest.raises(InputError, match="goods is a Delta table"):
        find(tmp_path, nothing)


class TestDelta:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "my shop's" / "goods"

    def add(self, path: Path, mode: Any = "append", **columns: list[Any]) -> None:
        write_deltalake(path, pa.table(columns), partition_by=["brand"], mode=mode, schema_mode="merge")

    def test_only_added_files_are_read(self, path: Path) -> None:
        self.add(path, product_id=["mug", "cup"], brand=["Häuser & Söhne/1 %", "Alba"])
        first = find(path, nothing)
        assert sorted(ids(first)) == ["cup", "mug"]
        assert find(path, marks(first).get) == Found([], 2)
        self.add(path, product_id=["pan"], brand=["Häuser & Söhne/1 %"], price=[3.5])
        second = find(path, marks(first).get)
        (row,) = second.changed[0].read().to_pylist()
        assert (row["product_id"], row["brand"], row["price"]) == ("pan", "Häuser & Söhne/1 %", 3.5)
        assert (second.changed[0].files, second.unchanged) == (1, 2)

    def test_what_came_last_is_read_last(self, path: Path) -> None:
        for number in range(5):
            self.add(path, product_id=[f"mug {number}"], brand=["Alba"])
            time.sleep(0.002)  # the log's times are milliseconds
        assert ids(find(path, nothing)) == [f"mug {number}" for number in range(5)]

    def test_an_overwritten_table_is_read_whole(self, path: Path) -> None:
        self.add(path, product_id=["mug"], brand=["Alba"])
        loaded = marks(find(path, nothing))
        self.add(path, "overwrite", product_id=["mug", "cup"], brand=["Alba", "Alba"])
        assert ids(find(path, loaded.get)) == ["mug", "cup"]

    def test_a_table_whose_log_has_gone_is_read_whole(self, path: Path) -> None:
        self.add(path, product_id=["mug"], brand=["Alba"])
        loaded = marks(find(path, nothing))
        self.add(path, product_id=["cup"], brand=["Alba"])
        DeltaTable(path).create_checkpoint()
        (path / "_delta_log" / f"{0:020}.json").unlink()
        assert sorted(ids(find(path, loaded.get))) == ["cup", "mug"]

    def test_a_table_made_anew_is_read_whole(self, path: Path) -> None:
        self.add(path, product_id=["mug"], brand=["Alba"])
        loaded = marks(find(path, nothing))
        path.rename(path.with_name("old"))
        self.add(path, product_id=["cup"], brand=["Alba"])
        assert ids(find(path, loaded.get)) == ["cup"]

    def test_files_that_were_merged_are_not_read_again(self, path: Path) -> None:
        self.add(path, product_id=["mug"], brand=["Alba"])
        self.add(path, product_id=["cup"], brand=["Alba"])
        loaded = marks(find(path, nothing))
        DeltaTable(path).optimize.compact()
        found = find(path, loaded.get)
        assert (ids(found), found.unchanged) == ([], 1)
        self.add(path, product_id=["pan"], brand=["Alba"])
        assert ids(find(path, loaded.get)) == ["pan"]
        DeltaTable(path).optimize.compact()
        assert sorted(ids(find(path, loaded.get))) == ["cup", "mug", "pan"]

    def test_a_version_without_new_files_is_noted(self, path: Path) -> None:
        self.add(path, product_id=["mug", "cup"], brand=["Alba", "Bera"])
        loaded = marks(find(path, nothing))
        DeltaTable(path).delete("brand = 'Bera'")
        found = find(path, loaded.get)
        assert (ids(found), found.changed[0].files, found.unchanged) == ([], 0, 1)
        assert list(marks(found).values()) == [1]

    def test_one_with_deletion_vectors_is_read_whole(self, path: Path) -> None:
        schema = pa.schema([("product_id", pa.string())])
        DeltaTable.create(path, schema, configuration={"delta.enableDeletionVectors": "true"})
        for product in ("mug", "cup"):
            write_deltalake(path, pa.table({"product_id": [product]}), mode="append")
        assert sorted(ids(find(path, nothing))) == ["cup", "mug"]

    def test_a_broken_one_is_refused(self, path: Path) -> None:
        write(path / "_delta_log" / f"{0:020}.json", "{")
        with pytest.raises(InputError, match="cannot be read as a Delta table"):
            find(path, nothing)


def test_of_rows_about_the_same_moment_the_last_counts(tmp_path: Path) -> None:
    dated = "product_id,price,updated_at\nmug,1,2026-05-01T00:00:00Z\nmug,2,2026-05-01T00:00:00Z\nmug,3,2026-05-02T00:00:00Z\n"
    write(tmp_path / "a.csv", "product_id,price\nmug,7\nmug,8\n", LONG_AGO + 1)
    write(tmp_path / "b.csv", "product_id,price\nmug,9\n")
    write(tmp_path / "c.csv", dated)
    rows = latest_said(part.read() for part in find(tmp_path, nothing).changed)
    assert sorted(rows["price"].to_pylist()) == [2, 3, 8]


@pytest.mark.usefixtures("warehouse")
class TestLoad:
    @pytest.fixture(autouse=True)
    def _without_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_store, "_write_online", lambda stored, rows, index: None)

    def test_remembers_what_gave_no_news(self, tmp_path: Path) -> None:
        file = write(tmp_path / "shop" / "a.csv")
        assert catalog.load(file) == catalog.Loaded(1, 0, 1, 1, [], False)
        write(file, modified=LONG_AGO + 5)
        assert catalog.load(file) == catalog.Loaded(1, 0, 1, 0, [], False)
        version = DeltaTable(CATALOG.uri).version()
        assert catalog.load(file) == catalog.Loaded(0, 1, 0, 0, [], False)
        assert DeltaTable(CATALOG.uri).version() == version
        assert DeltaTable(CATALOG.uri).transaction_version(f"catalog:{file}") == (LONG_AGO + 5) * 10**9
        assert catalog.load(file, everything=True) == catalog.Loaded(1, 0, 1, 0, [], False)

    def test_one_broken_file_does_not_hinder_the_others(self, tmp_path: Path) -> None:
        write(tmp_path / "shop" / "a.csv", "name\nMug\n")
        write(tmp_path / "shop" / "b.csv")
        loaded = catalog.load(tmp_path / "shop")
        assert (loaded.files, loaded.news, loaded.failures) == (1, 1, ["a.csv has no column product_id; it has name"])
        loaded = catalog.load(tmp_path / "shop")
        assert (loaded.files, loaded.unchanged, len(loaded.failures)) == (0, 1, 1)

    def test_corrections_of_a_moment_are_news_once(self, tmp_path: Path) -> None:
        file = tmp_path / "shop" / "a.csv"
        for price, news in ((4, 1), (5, 1), (4, 1), (4, 0), (6, 1), (6, 0)):
            write(file, f"product_id,price,updated_at\nmug,{price},2026-05-01T00:00:00Z\n")
            assert catalog.load(file, everything=True).news == news
        assert catalog_store.current_rows()["price"].to_pylist() == [6]
