"""The Delta tables that the stream writes, read by DuckDB in this process."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from duckdb_extensions import import_extension
from feast import FileSource, RepoConfig
from feast.data_format import DeltaFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _read_data_source,
    _write_data_source,
)
from feast.infra.offline_stores.ibis import pull_latest_from_table_or_query_ibis
from feast.infra.offline_stores.offline_store import RetrievalJob

from feature_repo.feast_parts import point_in_time
from feature_repo.tables import Table
from feature_repo.warehouses.late import BEGINNING, span

point_in_time.install()
# DuckDB would download its delta extension at first use; the wheel from the package registry brings it.
import_extension("delta")


def source(table: Table) -> DataSource:
    """The table itself."""
    return FileSource(
        name=f"{table.name}_table",
        path=table.uri,
        file_format=DeltaFormat(),
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
        description=table.description,
    )


class OfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Feast's DuckDB offline store, reading Delta tables."""

    type: Literal["feature_repo.warehouses.OfflineStore"] = "feature_repo.warehouses.OfflineStore"


class OfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB offline store; importing this module has installed as-of joins and the extension that reads Delta."""

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
        begin, since = span(start_date)

        def read(source: DataSource, repo_path: str) -> Any:
            rows = _read_data_source(source, repo_path)
            late = rows[created_timestamp_column or timestamp_field] >= since
            return rows.filter((rows[timestamp_field] >= begin) | late)

        return pull_latest_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=BEGINNING,
            end_date=end_date,
            data_source_reader=read,
            data_source_writer=_write_data_source,
        )
