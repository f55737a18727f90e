"""Plain tables in Amazon Redshift, which its own loader fills from the Delta tables.

Checked without a server: the configuration, and the SQL that Feast makes (tests/unit/feature_repo/test_redshift_sql.py).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from feast import RedshiftSource, RepoConfig
from feast.data_source import DataSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.redshift import RedshiftOfflineStore, RedshiftOfflineStoreConfig
from pydantic import model_validator

from feature_repo.settings import get_settings
from feature_repo.tables import Table
from feature_repo.warehouses.late import BEGINNING, rows_since


def source(table: Table) -> DataSource:
    """The table of the same name, in the schema of the settings."""
    redshift = get_settings().offline.redshift
    return RedshiftSource(
        name=f"{table.name}_table",
        database=redshift.database,
        schema=redshift.namespace,
        table=table.name,
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=table.description,
    )


class OfflineStoreConfig(RedshiftOfflineStoreConfig):
    """Feast's Redshift offline store, as Shelfwise's settings say."""

    type: str = "feature_repo.warehouses.OfflineStore"  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _from_settings(cls, given: dict[str, Any]) -> dict[str, Any]:
        own = get_settings().offline.redshift.model_dump(exclude={"namespace"})
        return {**{name: value for name, value in own.items() if value}, **given}


class OfflineStore(RedshiftOfflineStore):
    """Feast's Redshift offline store."""

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key among those of a time, and those written since it began (see :mod:`.late`)."""
        table = data_source.get_table_query_string()
        late = RedshiftSource(
            name=data_source.name,
            query=rows_since(table, timestamp_field, created_timestamp_column, start_date),
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
        )
        return RedshiftOfflineStore.pull_latest_from_table_or_query(
            config,
            late,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            BEGINNING,
            end_date,
        )
