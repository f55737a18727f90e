"""Plain tables in Amazon Redshift, which its own loader fills from the Delta tables.

Checked without a server: the configuration, and the SQL that Feast makes (tests/unit/feature_repo/test_redshift_sql.py).
"""

from __future__ import annotations

from typing import Any

from feast import RedshiftSource
from feast.data_source import DataSource
from feast.infra.offline_stores.redshift import RedshiftOfflineStore, RedshiftOfflineStoreConfig
from pydantic import model_validator

from feature_repo.settings import get_settings
from feature_repo.tables import Table
from feature_repo.warehouses.late import TakesLateRows


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


class OfflineStore(TakesLateRows, RedshiftOfflineStore):
    """Feast's Redshift offline store."""

    source = RedshiftSource
