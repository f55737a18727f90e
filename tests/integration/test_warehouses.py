"""One contract for every warehouse: the same questions about the same rows have the same answers.

The rows are written to Delta once, as the stream does. Then one setting is changed, and the feature store applied again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
import redis
import warehouse_contract as contract
from deltalake import write_deltalake
from feast import FeatureView, Field
from feast.types import Float64, Int64
from offline_data import arrow
from own_postgres import own_postgres
from own_stack import OwnStack

from feature_repo import tables
from feature_repo.settings import PROJECT_ROOT, get_settings
from feature_repo.store import open_store
from feature_repo.tables import CATALOG, CUSTOMER_ACTIVITY, CUSTOMER_EXPOSURE, ITEM_ACTIVITY, Table

SHORT = timedelta(hours=1)
PUBLISHED_TO = ("postgres",)


class Warehouse:
    """Shelfwise with one warehouse, on the shared Delta tables."""

    def __init__(self, kind: str, stack: OwnStack) -> None:
        self.kind, self.stack = kind, stack

    def run(self, *arguments: str) -> None:
        """``python -m ...`` must succeed."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=PROJECT_ROOT,
            env=os.environ | {"FEAST_USAGE": "False"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def feast(self, *arguments: str) -> None:
        self.run("feast.cli.cli", "-c", "feature_repo", *arguments)

    def publish(self) -> None:
        """Bring what was written to Delta to where Feast reads."""
        if self.kind in PUBLISHED_TO:
            self.run("ingestion", "publish")

    def ask(
        self, features: Any, key: str, moments: Sequence[tuple[str, datetime]], zone: timezone = UTC
    ) -> pd.DataFrame:
        """The answer of ``get_historical_features``, in the order of the moments."""
        job = open_store().get_historical_features(
            contract.asked(key, moments, zone), features, full_feature_names=True
        )
        return job.to_df().sort_values("row").reset_index(drop=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnStack]:
    """Delta tables with the contract's rows, and a Redis."""
    stack = OwnStack.at(tmp_path_factory.mktemp("warehouses"))
    rows_of_the_contract = len(contract.ITEMS)
    with stack.exported():
        tables.create_missing_tables()
        for table, rows in contract.ROWS.items():
            write_deltalake(table.uri, arrow(table, rows), mode="append")
        up = stack.deploy("up", "redis")
        assert up.returncode == 0, up.stdout
        yield stack
        stack.deploy("down")
    del contract.ITEMS[rows_of_the_contract:]  # those that tests wrote late


@pytest.fixture(scope="module", params=["delta", "postgres", "spark"])
def warehouse(request: pytest.FixtureRequest, stack: OwnStack) -> Iterator[Warehouse]:
    with ExitStack() as cleanup, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHELFWISE_OFFLINE__STORE", request.param)
        if request.param == "postgres":
            for name, value in cleanup.enter_context(own_postgres()).variables.items():
                patch.setenv(name, value)
        if request.param == "spark":
            cleanup.callback(_stop_spark)
        get_settings.cache_clear()
        redis.Redis(port=stack.port("REDIS__PORT")).flushall()
        (stack.home / "registry.db").unlink(missing_ok=True)
        found = Warehouse(request.param, stack)
        found.publish()
        found.feast("apply")
        yield found
        get_settings.cache_clear()


def _stop_spark() -> None:
    from pyspark.sql import SparkSession

    if session := SparkSession.getActiveSession():
        session.stop()


def check(found: pd.DataFrame, view: str, table: Table, columns: Sequence[str], moments: Any, **reference: Any) -> None:
    for column, expected in contract.answer(table, columns, moments, **reference).items():
        assert contract.values(found[f"{view}__{column}"]) == expected, column


ITEM_COLUMNS = ("last_event_at", "event_count", "views_7d", "clicks_7d")
CATALOG_COLUMNS = ("name", "category", "brand", "price", "stock")


@pytest.mark.parametrize("zone", contract.ZONES, ids=str)
def test_items_as_of_their_moments(warehouse: Warehouse, zone: timezone) -> None:
    """Ties, corrections, late rows, nulls, rows that are too old, and moments in any zone."""
    service = open_store().get_feature_service("item_features")
    found = warehouse.ask(service, "product_id", contract.ITEM_MOMENTS, zone)
    assert len(found) == len(contract.ITEM_MOMENTS)
    assert list(found["product_id"]) == [product for product, _ in contract.ITEM_MOMENTS]
    check(found, "item_activity", ITEM_ACTIVITY, ITEM_COLUMNS, contract.ITEM_MOMENTS)
    check(found, "item_catalog", CATALOG, CATALOG_COLUMNS, contract.ITEM_MOMENTS)


def test_sequences_of_customers(warehouse: Warehouse) -> None:
    """Arrays: in their order, empty, missing, with texts that need care; of two views with columns of the same name."""
    service = open_store().get_feature_service("customer_features")
    found = warehouse.ask(service, "customer_id", contract.CUSTOMER_MOMENTS)
    recent = ("event_count", "views_1d", "recent_items", "recent_actions", "recent_times")
    check(found, "customer_activity", CUSTOMER_ACTIVITY, recent, contract.CUSTOMER_MOMENTS)
    shown = ("shown_items", "shown_positions", "shown_times")
    check(found, "customer_exposure", CUSTOMER_EXPOSURE, shown, contract.CUSTOMER_MOMENTS)


def test_a_view_that_forgets_soon(warehouse: Warehouse) -> None:
    """A row counts for its ttl, to the very end of it."""
    store = open_store()
    brief = FeatureView(
        name="brief",
        entities=[store.get_entity("item")],
        ttl=SHORT,
        schema=[Field(name="event_count", dtype=Int64), Field(name="views_7d", dtype=Float64)],
        source=store.get_data_source("item_activity_push"),
    )
    store.apply([brief])
    moments = [
        ("a", contract.at(2)),
        ("b", contract.at(3)),
        ("b", contract.at(3) + timedelta(microseconds=1)),
        ("a", contract.at(5)),
        ("a", contract.at(6.5)),
    ]
    found = warehouse.ask(["brief:event_count", "brief:views_7d"], "product_id", moments)
    check(found, "brief", ITEM_ACTIVITY, ("event_count", "views_7d"), moments, ttl=SHORT)


def test_late_rows_come_online(warehouse: Warehouse) -> None:
    """``feast materialize-incremental``, as people run it."""
    views = ["-v", "item_activity", "-v", "customer_activity"]
    fresh = f"new-{warehouse.kind}"
    products = ["b", contract.TRICKY, "old", fresh]
    warehouse.feast("materialize-incremental", datetime.now(UTC).isoformat(), *views)
    assert online(products) == latest(products)
    assert recent_items("ada", "bob") == [[], None]

    now = datetime.now(UTC)
    late = [
        contract._item("b", contract.at(2), now, 70 + len(warehouse.kind)),  # the same time, another value
        contract._item(contract.TRICKY, contract.at(1), now, 80),  # older than what is online
        contract._item(fresh, contract.at(1), now, 90),
    ]
    write_deltalake(ITEM_ACTIVITY.uri, arrow(ITEM_ACTIVITY, late), mode="append")
    contract.ITEMS.extend(late)
    warehouse.publish()
    warehouse.feast("materialize-incremental", datetime.now(UTC).isoformat(), *views)
    assert online(products) == latest(products) == [70 + len(warehouse.kind), 8, None, 90]


def latest(products: list[str]) -> list[int | None]:
    """What must be online of products."""
    moments = [(product, datetime.now(UTC)) for product in products]
    return contract.answer(ITEM_ACTIVITY, ["event_count"], moments)["event_count"]


def online(products: list[str]) -> list[int | None]:
    found = open_store().get_online_features(
        ["item_activity:event_count"], [{"product_id": product} for product in products]
    )
    return list(found.to_dict()["event_count"])


def recent_items(*customers: str) -> list[list[str] | None]:
    found = open_store().get_online_features(
        ["customer_activity:recent_items"], [{"customer_id": customer} for customer in customers]
    )
    return list(found.to_dict()["recent_items"])


def test_the_default_imports_no_other_warehouse(stack: OwnStack) -> None:
    """They would cost time at each start, and need not be installed."""
    program = (
        "import sys, feature_repo.features, feature_repo.warehouses as w; w.OfflineStore; "
        "print([m for m in sys.modules if m.split('.')[0] in ('pyspark', 'psycopg', 'snowflake', 'boto3')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, env=stack.environment(), capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr
