"""The newest row of each key of an activity table: what is true now."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from feature_repo.aggregates import Entity
from feature_repo.errors import DefinitionError
from feature_repo.tables import ACTIVITY


def latest_rows(entity: Entity, version: int | None = None) -> pa.Table:
    """The newest row of each key, in the schema of the entity's activity table.

    Args:
        entity: whose table.
        version: the table's version to read; by default the latest.

    Raises:
        DefinitionError: the table was written before one of the declared aggregates was.
    """
    table = ACTIVITY[entity]
    stored = DeltaTable(table.uri, version=version).to_pyarrow_dataset()
    if missing := sorted(set(table.schema.names) - set(stored.schema.names)):
        raise DefinitionError(
            f"{table.name} has no column {', '.join(missing)} yet; "
            "`python -m ingestion backfill --recompute` computes it for all of history"
        )
    newest = f"row_number() OVER (PARTITION BY {entity.key} ORDER BY event_timestamp DESC, created DESC) = 1"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("activity", stored)
        # Find the newest rows by their times first: the wide columns are read for those alone.
        keys = f"SELECT {entity.key}, event_timestamp, created FROM activity QUALIFY {newest}"
        rows = connection.sql(
            f"SELECT a.* FROM activity a SEMI JOIN ({keys}) USING ({entity.key}, event_timestamp, created)"
        )
        return rows.to_arrow_table().select(table.schema.names).cast(table.schema)
