"""What of a catalogue may have changed, and what is read of it; Redis is not here."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from feature_repo.errors import InputError
from feature_repo.tables import CATALOG
from ingestion.catalog import sources as catalog_sources
from ingestion.catalog import store as catalog_store
from ingestion.catalog.load import Loaded, load
from ingestion.catalog.places import place_of
from ingestion.catalog.reader import latest_said
from ingestion.catalog.sources import Found, Remembered

LONG_AGO = 1_700_000_000


def nothing(_: str) -> None:
    """Nothing has been loaded."""


def write(path: Path, text: str = "product_id\nmug\n", modified: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (modified, modified))
    return path


def find(path: Path, remembered: Remembered, resting: float = 0.0) -> Found:
    return catalog_sources.find(place_of(path), remembered, resting)


def counts(found: Found) -> tuple[int, int, bool]:
    """Parts with possible news, files without, and whether a file waits."""
    return len(found.changed), found.unchanged, found.waiting


def marks(found: Found) -> dict[str, int]:
    return {app_id: version for part in found.changed for app_id, version in part.marks.items()}


def ids(found: Found) -> list[str]:
    return [row["product_id"] for part in found.changed for row in part.read().to_pylist()]


class TestFiles:
    def test_are_read_again_if_their_time_or_size_is_another(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv")
        loaded = marks(find(file, nothing))
        assert loaded == {f"catalog:{file}": LONG_AGO * 10**9, f"catalog-bytes:{file}": 15}
        assert counts(find(file, loaded.get)) == (0, 1, False)
        write(file, "product_id\ncup\n")
        assert counts(find(file, loaded.get)) == (0, 1, False)  # to look at what is in it would be to read it
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
        assert counts(find(tmp_path, nothing, resting=60)) == (0, 0, True)
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
        assert counts(find(path, marks(first).get)) == (0, 2, False)
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
        assert load(file) == Loaded(1, 0, 1, 1, [], False)
        write(file, modified=LONG_AGO + 5)
        assert load(file) == Loaded(1, 0, 1, 0, [], False)
        version = DeltaTable(CATALOG.uri).version()
        assert load(file) == Loaded(0, 1, 0, 0, [], False)
        assert DeltaTable(CATALOG.uri).version() == version
        assert DeltaTable(CATALOG.uri).transaction_version(f"catalog:{file}") == (LONG_AGO + 5) * 10**9
        assert load(file, everything=True) == Loaded(1, 0, 1, 0, [], False)

    def test_one_broken_file_does_not_hinder_the_others(self, tmp_path: Path) -> None:
        write(tmp_path / "shop" / "a.csv", "name\nMug\n")
        write(tmp_path / "shop" / "b.csv")
        loaded = load(tmp_path / "shop")
        assert (loaded.files, loaded.news, loaded.failures) == (1, 1, ["a.csv has no column product_id; it has name"])
        loaded = load(tmp_path / "shop")
        assert (loaded.files, loaded.unchanged, len(loaded.failures)) == (0, 1, 1)

    def test_corrections_of_a_moment_are_news_once(self, tmp_path: Path) -> None:
        file = tmp_path / "shop" / "a.csv"
        for price, news in ((4, 1), (5, 1), (4, 1), (4, 0), (6, 1), (6, 0)):
            write(file, f"product_id,price,updated_at\nmug,{price},2026-05-01T00:00:00Z\n")
            assert load(file, everything=True).news == news
        assert catalog_store.current_rows()["price"].to_pylist() == [6]

    def test_a_time_to_come_hides_nothing_that_is_said_later(self, tmp_path: Path) -> None:
        file = tmp_path / "shop" / "a.csv"
        begun = datetime.now(UTC)
        for price, said in ((4, ",2099-01-01T00:00:00Z"), (5, ",")):
            write(file, f"product_id,price,updated_at\nmug,{price}{said}\n")
            loaded = load(file, everything=True)
            assert (loaded.news, loaded.ahead) == (1, int(said != ","))
        (row,) = catalog_store.current_rows().to_pylist()
        assert row["price"] == 5
        assert begun <= row["event_timestamp"] <= datetime.now(UTC)
        assert begun.timestamp() <= row["first_seen_at"] <= row["event_timestamp"].timestamp()


@pytest.mark.usefixtures("warehouse")
class TestFullLists:
    """What a full list no longer has becomes unavailable."""

    @pytest.fixture(autouse=True)
    def _without_redis(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catalog_store, "_write_online", lambda stored, rows, index: None)

    def stock(self) -> dict[str, tuple[int | None, str]]:
        rows = catalog_store.current_rows().to_pylist()
        return {row["product_id"]: (row["stock"], row["origin"]) for row in rows}

    def products(self, path: Path, *numbers: int, modified: float = LONG_AGO, dated: bool = False) -> Path:
        lines = [f"p{number},{number},7" + (",2026-01-01T00:00:00Z" if dated else "") for number in numbers]
        header = "product_id,price,stock" + (",updated_at" if dated else "")
        return write(path, "\n".join([header, *lines, ""]), modified)

    @pytest.mark.parametrize("dated", [False, True])
    def test_vanish_and_come_back(self, tmp_path: Path, dated: bool) -> None:
        file = self.products(tmp_path / "shop" / "a.csv", *range(10), dated=dated)
        assert load(file, snapshot=True).removed == 0
        self.products(file, *range(9), modified=LONG_AGO + 1, dated=dated)
        loaded = load(file, snapshot=True)
        assert (loaded.removed, loaded.news) == (1, 0)
        assert self.stock()["p9"] == (0, "removed")
        assert self.stock()["p8"] == (7, "catalog")
        assert load(file, snapshot=True).removed == 0
        history = DeltaTable(CATALOG.uri).to_pyarrow_table().filter(pc.field("product_id") == "p9").to_pylist()
        assert sorted((row["price"], row["stock"]) for row in history) == [(9, 0), (9, 7)], "history stays"
        self.products(file, *range(10), modified=LONG_AGO + 2, dated=dated)
        loaded = load(file, snapshot=True)
        assert (loaded.removed, loaded.news) == (0, 1)
        assert self.stock()["p9"] == (7, "catalog")

    def test_are_only_what_is_said_to_be(self, tmp_path: Path) -> None:
        file = self.products(tmp_path / "shop" / "a.csv", *range(10))
        load(file)
        self.products(file, *range(9), modified=LONG_AGO + 1)
        assert load(file).removed == 0
        assert self.stock()["p9"] == (7, "catalog")
        assert load(file, snapshot=True).removed == 1, "it had been listed once, and is not now"

    def test_a_file_that_vanishes_from_a_folder(self, tmp_path: Path) -> None:
        self.products(tmp_path / "shop" / "a.csv", *range(10))
        other = self.products(tmp_path / "shop" / "b.csv", 9, 10)
        load(tmp_path / "shop", snapshot=True)
        other.unlink()
        loaded = load(tmp_path / "shop", snapshot=True)
        assert (loaded.files, loaded.removed) == (0, 1)
        assert self.stock()["p10"] == (0, "removed")
        assert self.stock()["p9"] == (7, "catalog"), "the other file lists it, too"
        self.products(tmp_path / "shop" / "b.csv", 9, 10)
        assert load(tmp_path / "shop", snapshot=True).files == 1
        assert self.stock()["p10"] == (7, "catalog")

    def test_half_of_a_full_list_removes_nothing(self, tmp_path: Path) -> None:
        self.products(tmp_path / "shop" / "a.csv", *range(10))
        broken = self.products(tmp_path / "shop" / "b.csv", 10)
        load(tmp_path / "shop", snapshot=True)
        self.products(tmp_path / "shop" / "a.csv", *range(9), 11, modified=LONG_AGO + 1)
        write(broken, "name\nMug\n", LONG_AGO + 1)
        loaded = load(tmp_path / "shop", snapshot=True)
        assert (loaded.removed, loaded.news, len(loaded.failures)) == (0, 1, 1)
        self.products(broken, 10, modified=LONG_AGO + 2)
        assert load(tmp_path / "shop", snapshot=True).removed == 1
        assert self.stock()["p9"] == (0, "removed")

    def test_one_that_lost_much_is_refused_unless_it_is_allowed(self, tmp_path: Path) -> None:
        file = self.products(tmp_path / "shop" / "a.csv", *range(10))
        load(file, snapshot=True)
        self.products(file, *range(7), 20, modified=LONG_AGO + 1)
        with pytest.raises(InputError, match=r"3 of the 10 before are gone \(p7, p8, p9.*--allow-removals"):
            load(file, snapshot=True)
        assert "p20" not in self.stock()
        with pytest.raises(InputError):
            load(file, snapshot=True)
        assert load(file, snapshot=True, allow_removals=True).removed == 3
        self.products(file, *range(6), 20, 21, 22, modified=LONG_AGO + 3)
        assert load(file, snapshot=True).removed == 1, "an eighth is allowed"

    def test_delta_tables_are_full_unless_said_otherwise(self, tmp_path: Path) -> None:
        path = tmp_path / "goods"
        write_deltalake(path, pa.table({"product_id": [f"p{number}" for number in range(10)]}))
        assert load(path).removed == 0
        DeltaTable(path).delete("product_id = 'p3'")
        assert load(path, snapshot=False).removed == 0
        assert load(path).removed == 1
        assert self.stock()["p3"] == (0, "removed")
        DeltaTable(path).restore(0)
        assert load(path).news == 1
        assert self.stock()["p3"] == (None, "catalog")
        DeltaTable(path).delete()
        with pytest.raises(InputError, match="lists 0 products"):
            load(path)

    def test_another_full_list_keeps_a_product(self, tmp_path: Path) -> None:
        mine, theirs = tmp_path / "shop" / "mine.csv", tmp_path / "shop" / "theirs.csv"
        for file in (mine, theirs):
            load(self.products(file, *range(10)), snapshot=True)
        self.products(mine, *range(9), modified=LONG_AGO + 1)
        loaded = load(mine, snapshot=True)
        assert (loaded.removed, loaded.kept) == (0, 1)
        self.products(theirs, *range(9), modified=LONG_AGO + 1)
        assert load(theirs, snapshot=True).removed == 1

    def test_products_known_from_events_stay(self, tmp_path: Path) -> None:
        learnt = pa.table({"product_id": ["seen"], "event_timestamp": pa.array([None], pa.timestamp("us", "UTC")),
            "name": ["Seen"], "category": [None], "brand": [None], "price": [1.0], "currency": [None], "stock": [None],
            "first_seen_at": [None], "origin": ["events"]})  # fmt: skip
        catalog_store.upsert(learnt)
        load(self.products(tmp_path / "shop" / "a.csv", *range(10)), snapshot=True)
        assert self.stock()["seen"] == (None, "events")

    def test_one_that_was_cut_off_before_it_was_remembered_is_repeated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = self.products(tmp_path / "shop" / "a.csv", *range(10))
        load(file, snapshot=True)
        self.products(file, *range(9), modified=LONG_AGO + 1)
        with monkeypatch.context() as patch:
            patch.setattr(catalog_store, "upsert", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                load(file, snapshot=True)
        assert load(file, snapshot=True).removed == 1


def test_other_addresses_are_refused() -> None:
    with pytest.raises(InputError, match="gs:// cannot be read"):
        place_of("gs://bucket/folder")


class TestWhatIsWritten:
    def rows(self, file: Path) -> list[dict[str, Any]]:
        (part,) = find(file, nothing).changed
        return part.read().to_pylist()

    def test_ids_are_text_as_they_stand_there(self, tmp_path: Path) -> None:
        said = ["000123", "1E5", "100", "1.10", "1.1", "TRUE", "01/02/2024", "12345678901234567890123", "ABC-1"]
        file = write(tmp_path / "a.csv", "\ufeffproduct_id;category\n" + "".join(f"{one};10.50\n" for one in said))
        assert ids(find(file, nothing)) == said
        assert {row["category"] for row in self.rows(file)} == {"10.50"}

    def test_ids_of_json_are_numbers_and_words_alike(self, tmp_path: Path) -> None:
        lines = ['{"product_id": "j1", "name": "Mug"}', '{"product_id": 3, "name": 1984}', '{"product_id": "E0-A"}']
        file = write(tmp_path / "a.jsonl", "\n".join(lines))
        assert ids(find(file, nothing)) == ["j1", "3", "E0-A"]
        assert [row["name"] for row in self.rows(file)] == ["Mug", "1984", None]

    def test_a_field_with_nothing_in_it_says_nothing(self, tmp_path: Path) -> None:
        file = write(tmp_path / "a.csv", 'product_id,name,price,stock\nmug,"", ,3\n')
        (row,) = self.rows(file)
        assert (row["name"], row["price"], row["stock"]) == (None, None, 3)

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (
                "product_id,price\nmug,1\ncup,9.50 EUR\n",
                "the price of product cup is '9.50 EUR', which is not a number",
            ),
            ("product_id,stock\nmug,lots\n", "the stock of product mug is 'lots', which is not a whole number"),
            ("product_id,updated_at\nmug,soon\n", "the updated_at of product mug is 'soon', which is not a time"),
            (
                "product_id,name\nmug,Mug\ncup,Cup,4\n",
                "Line: 3; Original Line: cup,Cup,4; Expected Number of Columns: 2",
            ),
            ("product_id,product_id\nmug,Mug\n", "two columns of the same name"),
            ("", "is empty"),
            ("id,name\nmug,Mug\n", "no column product_id; it has id, name"),
        ],
    )
    def test_what_cannot_be_read_is_named(self, tmp_path: Path, text: str, told: str) -> None:
        with pytest.raises(InputError, match="csv") as raised:
            self.rows(write(tmp_path / "a.csv", text))
        assert told in str(raised.value)

    def test_json_without_ids_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no rows with a product_id"):
            self.rows(write(tmp_path / "a.jsonl", '{"id": "mug"}\n'))
