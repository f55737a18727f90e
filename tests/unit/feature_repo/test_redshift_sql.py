"""What Feast would send to Redshift. There is no server here: the SQL is read as Redshift's dialect and run by DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pytest
import sqlglot
import warehouse_contract as contract
from feast import Entity, FeatureView, Field, ValueType
from feast.infra.offline_stores import redshift
from feast.infra.utils import aws_utils
from feast.types import Float64, Int64
from offline_data import arrow

from feature_repo import warehouses
from feature_repo.errors import SettingsError
from feature_repo.settings import HOME_VARIABLE, get_settings
from feature_repo.store import open_store
from feature_repo.tables import ITEM_ACTIVITY

SETTINGS = {
    "STORE": "redshift",
    "REDSHIFT__WORKGROUP": "analytics",
    "REDSHIFT__REGION": "eu-central-1",
    "REDSHIFT__DATABASE": "shop",
    "REDSHIFT__NAMESPACE": "features",
    "REDSHIFT__S3_STAGING_LOCATION": "s3://bucket/feast",
    "REDSHIFT__IAM_ROLE": "arn:aws:iam::123456789012:role/feast",
}
COLUMNS = ("event_count", "views_7d")


@pytest.fixture
def settings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"SHELFWISE_OFFLINE__{name}", value)
    get_settings.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()


@pytest.fixture
def sent(settings: pytest.MonkeyPatch) -> list[Any]:
    """What goes to AWS: nothing but entity rows, which are kept here, and statements."""
    uploads: list[Any] = []
    settings.setattr(aws_utils, "upload_df_to_redshift", lambda *args: uploads.append(args))
    settings.setattr(aws_utils, "execute_redshift_statement", lambda *args: uploads.append(args))
    return uploads


def view(ttl: timedelta) -> tuple[Entity, FeatureView]:
    item = Entity(name="item", join_keys=["product_id"], value_type=ValueType.STRING)
    fields = [Field(name="event_count", dtype=Int64), Field(name="views_7d", dtype=Float64)]
    source = warehouses.source(ITEM_ACTIVITY)
    return item, FeatureView(name="item_activity", entities=[item], ttl=ttl, schema=fields, source=source)


@contextmanager
def stand_in(entities: pd.DataFrame | None = None, name: str = "") -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; CREATE SCHEMA features")
        connection.register("rows", arrow(ITEM_ACTIVITY, contract.ITEMS))
        connection.execute("CREATE TABLE features.item_activity AS FROM rows")
        if entities is not None:
            connection.register("asked", entities)
            connection.execute(f"CREATE TABLE {name} AS FROM asked")
        yield connection


def translated(query: str) -> str:
    (statement,) = sqlglot.transpile(query, read="redshift", write="duckdb")
    return statement


@pytest.mark.parametrize("ttl", [contract.KEEP, timedelta(hours=1)])
def test_rows_as_of_their_moments(sent: list[Any], ttl: timedelta) -> None:
    store = open_store()
    store.apply(list(view(ttl)))
    features = [f"item_activity:{column}" for column in COLUMNS]
    job = store.get_historical_features(contract.asked("product_id", contract.ITEM_MOMENTS), features)
    assert isinstance(job, redshift.RedshiftRetrievalJob)
    with job._query_generator() as query:
        pass
    *_, where, role, name, entities = sent[0]
    assert where.startswith("s3://bucket/feast/entity_df/")
    assert role == SETTINGS["REDSHIFT__IAM_ROLE"]
    assert '"features"."item_activity"' in query
    with stand_in(entities, name) as connection:
        found = connection.execute(translated(query)).df().sort_values("row")
    expected = contract.answer(ITEM_ACTIVITY, COLUMNS, contract.ITEM_MOMENTS, ttl)
    assert {column: contract.values(found[column]) for column in COLUMNS} == expected
    assert sent[-1][-1] == f"DROP TABLE IF EXISTS {name}"


def test_materialising_takes_rows_that_were_written_late(settings: pytest.MonkeyPatch) -> None:
    store = open_store()
    source = view(contract.KEEP)[1].batch_source
    begin = contract.at(6) + timedelta(seconds=1)  # later than what any row is about, but not than its overlap
    job = store._get_provider().offline_store.pull_latest_from_table_or_query(
        store.config, source, ["product_id"], list(COLUMNS), "event_timestamp", "created", begin, datetime.now(UTC)
    )
    with job._query_generator() as query, stand_in() as connection:
        found = connection.execute(f"SELECT product_id, event_count FROM ({translated(query)})").fetchall()
    assert found == [("a", None)]

    begin = contract.at(6.5) + timedelta(days=1)
    job = store._get_provider().offline_store.pull_latest_from_table_or_query(
        store.config, source, ["product_id"], list(COLUMNS), "event_timestamp", "created", begin, datetime.now(UTC)
    )
    with job._query_generator() as query, stand_in() as connection:
        assert connection.execute(translated(query)).fetchall() == []


def test_what_redshift_needs_is_asked_for(settings: pytest.MonkeyPatch) -> None:
    settings.delenv("SHELFWISE_OFFLINE__REDSHIFT__WORKGROUP")
    get_settings.cache_clear()
    with pytest.raises(Exception, match="workgroup if using serverless"):
        open_store()


def test_a_missing_client_is_named(settings: pytest.MonkeyPatch) -> None:
    settings.setitem(__import__("sys").modules, "feature_repo.warehouses.redshift", None)
    with pytest.raises(SettingsError, match=r"shelfwise\[redshift\]"):
        warehouses.source(ITEM_ACTIVITY)
