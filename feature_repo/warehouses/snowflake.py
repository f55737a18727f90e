"""Plain tables in Snowflake, which its own loader fills from the Delta tables.

Checked without a server: the configuration, and the SQL that Feast makes (tests/unit/feature_repo/test_snowflake_sql.py).
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import FeatureView, RepoConfig, SnowflakeSource
from feast.data_source import DataSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.snowflake import (
    SnowflakeOfflineStore,
    SnowflakeOfflineStoreConfig,
    SnowflakeRetrievalJob,
)
from feast.types import Array
from pydantic import model_validator

from feature_repo.settings import get_settings
from feature_repo.tables import Table
from feature_repo.warehouses.late import TakesLateRows

# Feast asks for a connection by this name.
_TYPE = "snowflake.offline"


def source(table: Table) -> DataSource:
    """The table of the same name, in the database and schema of the settings; names are in lower case."""
    snowflake = get_settings().offline.snowflake
    return SnowflakeSource(
        name=f"{table.name}_table",
        database=snowflake.database,
        schema=snowflake.namespace,
        table=table.name,
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=table.description,
    )


class OfflineStoreConfig(SnowflakeOfflineStoreConfig):
    """Feast's Snowflake offline store, as Shelfwise's settings say."""

    @model_validator(mode="before")
    @classmethod
    def _from_settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        snowflake = get_settings().offline.snowflake
        own = {
            "account": snowflake.account,
            "user": snowflake.user,
            "password": snowflake.password.get_secret_value(),
            "private_key": snowflake.private_key_file,
            "private_key_passphrase": snowflake.private_key_passphrase.get_secret_value(),
            "role": snowflake.role,
            "warehouse": snowflake.warehouse,
            "database": snowflake.database,
            "schema": snowflake.namespace,
        }
        return {**{name: value for name, value in own.items() if value}, **given, "type": _TYPE}


class OfflineStore(TakesLateRows, SnowflakeOfflineStore):
    """Feast's Snowflake offline store."""

    source = SnowflakeSource
    moment = "'{}'::TIMESTAMP_TZ"
    column = '"{}"'

    @staticmethod
    def get_historical_features(
        config: RepoConfig, feature_views: list[FeatureView], *args: Any, **kwargs: Any
    ) -> RetrievalJob:
        """As Feast's, with arrays as arrays."""
        job = SnowflakeOfflineStore.get_historical_features(config, feature_views, *args, **kwargs)
        assert isinstance(job, SnowflakeRetrievalJob)
        return _ArrayRetrievalJob(
            query=job._query_generator,
            snowflake_conn=job.snowflake_conn,
            config=config,
            full_feature_names=job.full_feature_names,
            on_demand_feature_views=job.on_demand_feature_views,
            feature_views=feature_views,
            metadata=job.metadata,
        )


class _ArrayRetrievalJob(SnowflakeRetrievalJob):
    """Feast's, which leaves arrays as the JSON texts that they come as."""

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        found = super()._to_arrow_internal(timeout)
        for view in self._feature_views:
            for feature in view.features:
                name = f"{view.projection.name_to_use()}__{feature.name}" if self.full_feature_names else feature.name
                if isinstance(feature.dtype, Array) and name in found.column_names:
                    lists = [json.loads(text) if text else None for text in found[name].to_pylist()]
                    found = found.set_column(found.column_names.index(name), name, pa.array(lists))
        return found

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()
