"""The Delta tables that the stream writes, read by Spark: for more rows than one machine can join."""

from __future__ import annotations

import os
import warnings
from typing import Any

from feast import RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark import (
    SparkOfflineStore,
    SparkOfflineStoreConfig,
    get_spark_session_or_start_new_with_repoconfig,
)
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.table_format import DeltaFormat
from pydantic import model_validator

from feature_repo.spark import connectors, session_config
from feature_repo.tables import Table
from feature_repo.warehouses.late import TakesLateRows

# At each use, that the store is new.
warnings.filterwarnings("ignore", message="The spark", category=RuntimeWarning)


def source(table: Table) -> DataSource:
    """The table itself."""
    return SparkSource(
        name=f"{table.name}_table",
        path=table.uri,
        table_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=table.description,
    )


class OfflineStoreConfig(SparkOfflineStoreConfig):
    """Feast's Spark offline store, on the Spark of Shelfwise's settings."""

    type: str = "feature_repo.warehouses.OfflineStore"

    @model_validator(mode="before")
    @classmethod
    def _from_settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        own = session_config("shelfwise-features", connectors())
        if own["spark.master"].startswith("local"):
            # By default a join is cut into 200 parts, for as many processors.
            own["spark.sql.shuffle.partitions"] = str(os.cpu_count() or 1)
        return {**given, "spark_conf": {**own, **(given.get("spark_conf") or {})}}


class OfflineStore(TakesLateRows, SparkOfflineStore):
    """Feast's Spark offline store."""

    source = SparkSource
    moment = "TIMESTAMP '{}'"

    @classmethod
    def pull_latest_from_table_or_query(cls, config: RepoConfig, *args: Any, **kwargs: Any) -> RetrievalJob:
        """See :class:`.late.TakesLateRows`."""
        get_spark_session_or_start_new_with_repoconfig(config.offline_store)  # or the source would start one of its own
        return super().pull_latest_from_table_or_query(config, *args, **kwargs)
