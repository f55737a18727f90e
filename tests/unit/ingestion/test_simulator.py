"""The invented shop: reproducible, within the contract, like a real shop, and with tastes that can be learned."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feature_repo.contract import CLICKED, EVENTS, LIST_VIEWED, ORDERED, REVIEWED, check
from feature_repo.errors import InputError
from feature_repo.settings import PROJECT_ROOT
from ingestion.recorded.files import discover
from ingestion.recorded.reader import Days, EventReader
from ingestion.simulator.history import write_history
from ingestion.simulator.live import Traffic
from ingestion.simulator.shop import Shop, ShopParameters

SIZE = 40_000
PARAMETERS = ShopParameters(seed=11, products=400, customers=1_500, days=9, end="2026-03-10T15:30:00+00:00")


def write(folder: Path, parameters: ShopParameters = PARAMETERS, size: int = SIZE) -> Path:
    started = time.monotonic()
    write_history(Shop(parameters), size, folder, lambda _written: None)
    logging.getLogger(__name__).info("%s events/s", round(size / (time.monotonic() - started)))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def shop(folder: Path) -> Shop:
    return Shop.load(folder)


@pytest.fixture(scope="module")
def history(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(file) for file in discover(folder / "history").files)


@pytest.fixture(scope="module")
def events(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The history as JSON, as a replay sends it."""
    with EventReader(discover(folder / "history"), Days(), tmp_path_factory.mktemp("spill")) as reader:
        return [orjson.loads(event.body) for part in reader.plan() for event in reader.read(part)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def products_of(events: list[dict[str, Any]], name: str) -> list[tuple[str, str]]:
    """(visitor, product) pairs of the events with this name."""
    return [
        (event["anonymousId"], product["product_id"])
        for event in events
        if event.get("event") == name
        for product in event["properties"]["products"]
    ]


def mean_affinity(shop: Shop, pairs: list[tuple[str, str]]) -> float:
    return float(np.mean([shop.true_affinity(customer, product) for customer, product in pairs[:5_000]]))


class TestFiles:
    def test_same_shop_same_bytes(self, folder: Path, tmp_path: Path) -> None:
        assert contents(write(tmp_path / "again")) == contents(folder)

    def test_another_seed_another_shop(self, folder: Path, tmp_path: Path) -> None:
        other = ShopParameters(seed=12, products=400, customers=1_500, days=9, end=PARAMETERS.end)
        assert contents(write(tmp_path, other, 500))["catalog.parquet"] != contents(folder)["catalog.parquet"]

    def test_an_earlier_history_is_replaced(self, tmp_path: Path) -> None:
        write(tmp_path, size=500)
        short = ShopParameters(seed=11, products=400, customers=1_500, days=1, end=PARAMETERS.end)
        write(tmp_path, short, size=100)
        assert sum(pq.read_metadata(file).num_rows for file in discover(tmp_path / "history").files) == 100

    @pytest.mark.parametrize("size", [1, 37, 2_000])
    def test_exactly_as_many_events_as_asked_for(self, tmp_path: Path, size: int) -> None:
        write(tmp_path, size=size)
        assert sum(pq.read_metadata(file).num_rows for file in discover(tmp_path / "history").files) == size

    def test_partitions_hold_their_day_in_order(self, folder: Path) -> None:
        files = discover(folder / "history").files
        assert len(files) == PARAMETERS.days + 1
        for file in files:
            times = pq.read_table(file, columns=["timestamp"])["timestamp"].to_numpy()
            assert (np.diff(times) >= np.timedelta64(0)).all()
            assert set(times.astype("datetime64[D]").astype(str)) == {file.parent.name.removeprefix("dt=")}

    def test_history_ends_where_it_should(self, history: pa.Table) -> None:
        times = history["timestamp"].to_numpy()
        assert times.max() <= np.datetime64("2026-03-10T15:30:00")
        assert times.min() >= np.datetime64("2026-03-01T15:30:00")

    def test_catalogue(self, folder: Path, history: pa.Table) -> None:
        catalog = pq.read_table(folder / "catalog.parquet")
        assert catalog.schema.field("stock").type == pa.int64()
        assert catalog.schema.field("created_at").type == pa.timestamp("ms", tz="UTC")
        assert len(catalog) == PARAMETERS.products
        assert len(set(catalog["product_id"].to_pylist())) == len(set(catalog["name"].to_pylist())) == len(catalog)
        assert 0 < pc.sum(pc.equal(catalog["stock"], 0)).as_py() < 0.15 * len(catalog)
        assert pc.min(catalog["price"]).as_py() > 0
        products = {row["product_id"]: row for row in catalog.to_pylist()}
        for row in history.slice(0, 500).to_pylist():
            for product in (row["properties"] or {}).get("products") or []:
                listed = products[product["product_id"]]
                assert {
                    name: listed[name] for name in ("name", "category", "brand", "price")
                }.items() <= product.items()
                assert listed["created_at"].date() <= row["timestamp"].date()

    def test_unusable_shops(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="simulate history"):
            Shop.load(tmp_path)
        (tmp_path / "shop.json").write_text('{"seed": 1}')
        with pytest.raises(InputError, match="does not describe a shop"):
            Shop.load(tmp_path)
        with pytest.raises(InputError, match="products must be at least"):
            ShopParameters(seed=1, products=3, customers=100, days=1, end=PARAMETERS.end)


class TestBehaviour:
    def test_every_event_fulfils_the_contract(self, events: list[dict[str, Any]]) -> None:
        assert len(events) == SIZE
        violations = [(violation, event) for event in events if (violation := check(event))]
        assert violations == []
        assert len({event["messageId"] for event in events}) == SIZE

    def test_everything_happens(self, events: list[dict[str, Any]]) -> None:
        names = {event.get("event") for event in events}
        assert names >= set(EVENTS) - {REVIEWED}
        assert {event["type"] for event in events} == {"track", "page", "identify", "alias"}

    def test_rates_are_those_of_a_shop(self, events: list[dict[str, Any]]) -> None:
        impressions, clicks = products_of(events, LIST_VIEWED), products_of(events, CLICKED)
        assert 0.04 < len(clicks) / len(impressions) < 0.12
        orders = sum(event.get("event") == ORDERED for event in events)
        visits = len({event["context"]["sessionId"] for event in events})
        assert 0.03 < orders / visits < 0.2

    def test_the_first_position_is_clicked_most(self, events: list[dict[str, Any]]) -> None:
        clicks = [event["properties"]["products"][0]["position"] for event in events if event.get("event") == CLICKED]
        counts = np.bincount(clicks, minlength=13)
        assert counts[1] > 1.5 * counts[12] > 0

    def test_evenings_are_busier_than_nights(self, history: pa.Table) -> None:
        hours = np.bincount(pc.hour(history["timestamp"]).to_numpy(), minlength=24)
        assert hours[20] > 4 * hours[3]

    def test_visitors_log_in_and_stay_known(self, events: list[dict[str, Any]]) -> None:
        known: set[str] = set()
        for event in events:
            if event["type"] == "identify":
                assert event["userId"]
                known.add(event["context"]["sessionId"])
            elif event["context"]["sessionId"] in known:
                assert event["userId"]
        assert known
        alias = next(event for event in events if event["type"] == "alias")
        assert alias["previousId"] == alias["anonymousId"]

    def test_orders_add_up(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            if event.get("event") == ORDERED:
                lines = event["properties"]["products"]
                total = sum(line["price"] * line["quantity"] for line in lines)
                assert event["properties"]["revenue"] == pytest.approx(total, abs=0.01)

    def test_popularity_is_uneven(self, events: list[dict[str, Any]]) -> None:
        counts = np.sort(np.unique([product for _, product in products_of(events, CLICKED)], return_counts=True)[1])
        assert counts[-len(counts) // 10 :].sum() > 0.2 * counts.sum()

    def test_taste_shows_in_what_is_clicked_and_bought(self, shop: Shop, events: list[dict[str, Any]]) -> None:
        shown, clicked, bought = (
            mean_affinity(shop, products_of(events, name)) for name in (LIST_VIEWED, CLICKED, ORDERED)
        )
        assert shown + 0.7 < clicked < bought

    def test_affinity_is_the_same_by_either_id(self, shop: Shop) -> None:
        assert shop.true_affinity("C00005", "P00007") == shop.true_affinity("a-00005-2", "P00007")
        for unknown in ("C99999", "C00000", "u1", "a-x-1"):
            with pytest.raises(KeyError):
                shop.true_affinity(unknown, "P00007")


class TestLiveTraffic:
    def test_events_are_new_in_every_process_and_fulfil_the_contract(self, shop: Shop) -> None:
        first, second = (list(islice(Traffic(shop, rate=200.0), 1_500)) for _ in range(2))
        assert len({event["messageId"] for event in first + second}) == 3_000
        assert [event["timestamp"] for event in first] == sorted(event["timestamp"] for event in first)
        for event in first:
            assert check({**event, "timestamp": event["timestamp"].isoformat()}) is None

    def test_visits_overlap_and_only_what_is_in_stock_is_shown(self, shop: Shop) -> None:
        events = list(islice(Traffic(shop, rate=100.0), 1_000))
        assert len({event["context"]["sessionId"] for event in events[:100]}) > 10
        shown = {product for _, product in products_of(events, LIST_VIEWED)}
        out_of_stock = {shop.catalog.ids[row] for row in np.flatnonzero(shop.catalog.stock == 0)}
        assert out_of_stock
        assert not shown & out_of_stock


def test_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ingestion", "simulate", "history", "--out", str(tmp_path / "shop")]
    options = ["--events", "300", "--days", "2", "--end", "2026-03-10", "--customers", "50", "--products", "120"]
    done = subprocess.run([*command, *options], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "300 events of 2 days" in done.stdout
    bad = subprocess.run([*command, "--events", "-5"], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60)
    assert bad.returncode == 2
    assert "not a whole number from 1" in bad.stderr
