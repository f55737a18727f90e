"""Writing a batch of checked events, enriched with the catalogue, without Spark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from feature_repo import tables
from feature_repo.tables import CATALOG, EVENTS, PRODUCT
from ingestion.catalog import store as catalog_store
from ingestion.events import archive as archive_module
from ingestion.events.archive import Archive, event_rows
from ingestion.events.enrichment import enriched
from ingestion.offsets import Offsets
from ingestion.privacy.tombstones import Tombstones

NOW = datetime(2026, 5, 4, 23, 59, 30, tzinfo=UTC)
CUP = {"product_id": "cup", "name": "Cup", "category": "Kitchen", "brand": "Alba", "price": 4.5}

pytestmark = pytest.mark.usefixtures("warehouse")


def product(product_id: str, **fields: Any) -> dict[str, Any]:
    return {name: {"product_id": product_id, **fields}.get(name) for name in PRODUCT.names}


def events(*products: list[dict[str, Any]] | None) -> pa.Table:
    rows = [
        {
            "message_id": f"m{number}",
            "event": "Product Viewed",
            "timestamp": NOW + timedelta(minutes=number),
            "products": p,
        }
        for number, p in enumerate(products)
    ]
    return pa.Table.from_pylist(rows, schema=EVENTS.schema)


def know(*products: dict[str, Any]) -> None:
    rows = [{"event_timestamp": NOW, "created": NOW, "first_seen_at": 0.0, **p} for p in products]
    from deltalake import write_deltalake

    write_deltalake(CATALOG.uri, pa.Table.from_pylist(rows, schema=CATALOG.schema), mode="append")


def stored(table: tables.Table) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = DeltaTable(table.uri).to_pyarrow_table().to_pylist()
    return rows


class TestEnriched:
    def test_fills_in_what_is_missing_and_keeps_what_was_said(self) -> None:
        know(CUP)
        filled = enriched(events([product("cup", price=3.0, quantity=2)]))["products"].to_pylist()
        assert filled == [[product("cup", name="Cup", category="Kitchen", brand="Alba", price=3.0, quantity=2)]]

    def test_lists_stay_with_their_events(self) -> None:
        know(CUP)
        given = events(None, [product("cup"), product("pan", name="Pan")], [], [product("cup")])
        ids = [p and [one["product_id"] for one in p] for p in enriched(given)["products"].to_pylist()]
        names = [p and [one["name"] for one in p] for p in enriched(given)["products"].to_pylist()]
        assert ids == [None, ["cup", "pan"], [], ["cup"]]
        assert names == [None, ["Cup", "Pan"], [], ["Cup"]]

    def test_of_a_part_of_a_table(self) -> None:
        know(CUP)
        part = events([product("pan", name="Pan")], [product("cup")]).slice(1)
        assert enriched(part)["products"].to_pylist()[0][0]["name"] == "Cup"

    def test_without_a_catalogue(self) -> None:
        given = events([product("cup")])
        assert enriched(given) == given


class TestArchive:
    def batch(self, goods: pa.Table, payloads: list[str] = []) -> pa.Table:  # noqa: B006
        good = goods.append_column("good", pa.repeat(True, goods.num_rows))
        refused = [{"good": False, "payload": payload, "received_at": NOW} for payload in payloads]
        columns = pa.schema([*good.schema, pa.field("payload", pa.string())])
        rows = pa.concat_tables([good, pa.Table.from_pylist(refused, schema=columns)], promote_options="default")
        places = {"source": pa.repeat("t", rows.num_rows), "partition": pa.array([0] * rows.num_rows, pa.int32())}
        for name, column in (places | {"offset": pa.array(range(rows.num_rows), pa.int64())}).items():
            rows = rows.set_column(rows.schema.get_field_index(name), name, column)
        return rows.drop_columns("dt")

    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What went to Kafka or Redis, neither of which is here."""
        seen: list[str] = []
        monkeypatch.setattr(archive_module, "publish", lambda refused: seen.extend(refused["payload"].to_pylist()))
        monkeypatch.setattr(
            catalog_store, "upsert", lambda incoming, offline_only: seen.extend(incoming["product_id"].to_pylist())
        )
        return seen

    def archive(self, rows: pa.Table, counted: list[bool], place: Offsets) -> None:
        one = Archive({0: 0}, {0: 1000}, Tombstones(b"", {}))
        one.take(rows, pa.array(counted), event_rows(rows.filter(pa.array(counted))), place)
        one.begin()
        one.write()

    def test_every_event_is_accounted_for(self, elsewhere: list[str]) -> None:
        know(CUP)
        batch = self.batch(events([product("cup")], [product("pan")], [product("cup")]), ["{", "x"])
        self.archive(batch, [True, True, False, False, False], {0: 5})
        assert elsewhere == ["{", "x", "pan"]
        (entry,) = stored(tables.LEDGER)
        counts = [entry[name] for name in ("accepted", "processed", "quarantined", "duplicates")]
        assert counts == [5, 2, 2, 1]
        assert len(stored(tables.QUARANTINE)) == 2

    def test_events_lie_in_the_partition_of_their_day(self) -> None:
        self.archive(self.batch(events([product("cup")], [product("cup")])), [True, True], {0: 2})
        assert sorted(str(row["dt"]) for row in stored(EVENTS)) == ["2026-05-04", "2026-05-05"]

    def test_the_same_stretch_again_changes_nothing(self) -> None:
        for _ in range(2):
            self.archive(self.batch(events([product("cup")]), ["{"]), [True, False], {0: 2})
        assert [len(stored(table)) for table in (EVENTS, tables.QUARANTINE, tables.LEDGER)] == [1, 1, 1]

    def test_a_stretch_that_was_taken_in_part_is_completed(self) -> None:
        rows = self.batch(events([product("cup")], [product("cup")], [product("cup")]))
        self.archive(rows.slice(0, 2), [True, True], {0: 2})
        self.archive(rows, [True, True, True], {0: 3})
        assert sorted(row["offset"] for row in stored(EVENTS)) == [0, 1, 2]
        assert sum(row["accepted"] for row in stored(tables.LEDGER)) == 3


def test_learn_takes_the_latest_that_was_said_of_a_new_product(monkeypatch: pytest.MonkeyPatch) -> None:
    know(CUP)
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(
        catalog_store, "upsert", lambda incoming, offline_only: given.extend(incoming.to_pylist()) or len(given)
    )
    catalog_store.learn(
        events([product("pan", name="Old", price=2.0), product("cup")], [product("pan", name="New")], None)
    )
    (row,) = given
    assert (row["product_id"], row["name"], row["price"], row["origin"]) == ("pan", "New", 2.0, "events")
    assert row["event_timestamp"] == NOW
    assert row["first_seen_at"] == NOW.timestamp()


def test_of_products_the_stored_fields_are_kept() -> None:
    with_url = pa.struct([("url", pa.string()), *PRODUCT])
    lists = [None, [{"product_id": "p", "price": 2.0, "url": "u"}, {"product_id": "q"}], [], [{"product_id": "r"}]]
    columns = {name: pa.nulls(4, EVENTS.schema.field(name).type) for name in EVENTS.schema.names if name != "dt"}
    columns["products"] = pa.array(lists, pa.list_(with_url))
    for begin in range(3):
        kept = event_rows(pa.table(columns).slice(begin))
        assert kept.schema == EVENTS.schema
        found = [products and [one["product_id"] for one in products] for products in kept["products"].to_pylist()]
        assert found == [None, ["p", "q"], [], ["r"]][begin:]
    assert event_rows(pa.table(columns))["products"][1].as_py()[0]["price"] == 2.0
