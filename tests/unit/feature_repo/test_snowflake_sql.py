"""What Feast would send to Snowflake. There is no server here: the SQL is read as Snowflake's dialect and run by DuckDB.

DuckDB writes the condition of an as-of join in another place; that is the one thing put right by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
import sqlglot
import warehouse_contract as contract
from feast import Entity, FeatureView, Field, ValueType
from feast.infra.offline_stores import snowflake
from feast.types import Array, Float64, Int64, String
from offline_data import arrow

from feature_repo import warehouses
from feature_repo.settings import HOME_VARIABLE, get_settings
from feature_repo.store import open_store
from feature_repo.tables import CUSTOMER_ACTIVITY, ITEM_ACTIVITY, Table

SETTINGS = {
    "STORE": "snowflake",
    "SNOWFLAKE__ACCOUNT": "shop-analytics",
    "SNOWFLAKE__USER": "shelfwise",
    "SNOWFLAKE__PASSWORD": "secret",
    "SNOWFLAKE__WAREHOUSE": "SMALL",
}
_ASOF = re.compile(r"(e\.\*, v\.\*)([^()]*?)MATCH_CONDITION\s*\((.*?)\)\s*USING\s*\((.*?)\)", re.DOTALL | re.IGNORECASE)


class StandIn:
    """A connection with the contract's rows in it, which answers as Snowflake does: arrays as JSON texts."""

    def __init__(self) -> None:
        self.database = duckdb.connect()
        self.database.execute("SET TimeZone = 'UTC'; ATTACH ':memory:' AS SHELFWISE; CREATE SCHEMA SHELFWISE.FEATURES")
        for table in (ITEM_ACTIVITY, CUSTOMER_ACTIVITY):
            self.database.register("rows", arrow(table, contract.ROWS[table]))
            self.database.execute(f"CREATE TABLE SHELFWISE.FEATURES.{table.name} AS FROM rows")

    def upload(self, _: Any, frame: pd.DataFrame, name: str, **options: Any) -> None:
        assert options == {"auto_create_table": True, "create_temp_table": True}
        self.database.register("asked", frame)
        self.database.execute(f'CREATE TEMP TABLE "{name}" AS FROM asked')

    def execute(self, _: Any, query: str) -> StandIn:
        (statement,) = sqlglot.transpile(query, read="snowflake", write="duckdb")
        self.found = self.database.execute(_ASOF.sub(_as_duckdb, statement)).to_arrow_table()
        return self

    def fetch_arrow_all(self, force_return_table: bool) -> pa.Table:
        assert force_return_table
        for number, column in enumerate(self.found.schema):
            if pa.types.is_list(column.type):
                texts = [None if value is None else json.dumps(value) for value in self.found[number].to_pylist()]
                self.found = self.found.set_column(number, column.name, pa.array(texts, pa.string()))
        return self.found


def _as_duckdb(match: re.Match[str]) -> str:
    """The condition of the join, and the columns that are joined by once, as with Snowflake."""
    _, view, condition, keys = match.groups()
    same = " AND ".join(f"e.{key} = v.{key}" for key in keys.split(", "))
    return f"e.*, v.* EXCLUDE ({keys}){view}ON {same} AND {condition}"


@pytest.fixture
def connection(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"SHELFWISE_OFFLINE__{name}", value)
    get_settings.cache_clear()
    stand_in = StandIn()

    class Connect:
        def __init__(self, config: Any) -> None:
            assert (config.account, config.password, config.warehouse) == ("shop-analytics", "secret", "SMALL")

        def __enter__(self) -> StandIn:
            return stand_in

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(snowflake, "GetSnowflakeConnection", Connect)
    monkeypatch.setattr(snowflake, "write_pandas", stand_in.upload)
    monkeypatch.setattr(snowflake, "execute_snowflake_statement", stand_in.execute)
    yield stand_in
    get_settings.cache_clear()


def view(table: Table, fields: list[Field], ttl: timedelta) -> list[Any]:
    key = table.schema.names[0]
    entity = Entity(name=key.removesuffix("_id"), join_keys=[key], value_type=ValueType.STRING)
    source = warehouses.source(table)
    return [entity, FeatureView(name=table.name, entities=[entity], ttl=ttl, schema=fields, source=source)]


@pytest.mark.parametrize("ttl", [contract.KEEP, timedelta(hours=1)])
def test_rows_as_of_their_moments(connection: StandIn, ttl: timedelta) -> None:
    columns = ("event_count", "views_7d")
    store = open_store()
    fields = [Field(name="event_count", dtype=Int64), Field(name="views_7d", dtype=Float64)]
    store.apply(view(ITEM_ACTIVITY, fields, ttl))
    asked = contract.asked("product_id", contract.ITEM_MOMENTS)
    names = [f"item_activity:{column}" for column in columns]
    found = store.get_historical_features(asked, names, full_feature_names=True).to_df().sort_values("row")
    expected = contract.answer(ITEM_ACTIVITY, columns, contract.ITEM_MOMENTS, ttl)
    assert {column: contract.values(found[f"item_activity__{column}"]) for column in columns} == expected


def test_arrays_are_arrays(connection: StandIn) -> None:
    columns = ("recent_items", "recent_times")
    store = open_store()
    fields = [Field(name="recent_items", dtype=Array(String)), Field(name="recent_times", dtype=Array(Int64))]
    store.apply(view(CUSTOMER_ACTIVITY, fields, contract.KEEP))
    asked = contract.asked("customer_id", contract.CUSTOMER_MOMENTS)
    names = [f"customer_activity:{column}" for column in columns]
    found = store.get_historical_features(asked, names, full_feature_names=True).to_df().sort_values("row")
    expected = contract.answer(CUSTOMER_ACTIVITY, columns, contract.CUSTOMER_MOMENTS)
    assert {column: contract.values(found[f"customer_activity__{column}"]) for column in columns} == expected


def test_materialising_takes_rows_that_were_written_late(connection: StandIn) -> None:
    store = open_store()
    begin = contract.at(6) + timedelta(seconds=1)  # later than what any row is about, but not than its overlap
    job = store._get_provider().offline_store.pull_latest_from_table_or_query(
        store.config,
        warehouses.source(ITEM_ACTIVITY),
        ["product_id"],
        ["event_count"],
        "event_timestamp",
        "created",
        begin,
        datetime.now(UTC),
    )
    query = job.to_sql()
    assert connection.execute(None, query).found.select(["product_id", "event_count"]).to_pylist() == [
        {"product_id": "a", "event_count": None}
    ]
