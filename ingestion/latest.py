"""The newest row of each key of an activity table: what is true now."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from feature_repo.aggregates import Entity
from feature_repo.tables import ACTIVITY
from ingestion.definition import check_columns


def latest_rows(entity: Entity) -> pa.Table:
    """The newest row of each key, in the schema of the entity's activity table.

    Raises:
        DefinitionError: the table was written before one of the declared aggregates was.
    """
    table = ACTIVITY[entity]
    stored = DeltaTable(table.uri)
    check_columns(table, stored)
    newest = f"row_number() OVER (PARTITION BY {entity.key} ORDER BY event_timestamp DESC, created DESC) = 1"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("activity", stored.to_pyarrow_dataset())
        # Find the newest rows by their times first: the wide columns are read for those alone.
        keys = f"SELECT {entity.key}, event_timestamp, created FROM activity QUALIFY {newest}"
        rows = connection.sql(
            f"SELECT a.* FROM activity a SEMI JOIN ({keys}) USING ({entity.key}, event_timestamp, created)"
        )
        return rows.to_arrow_table().select(table.schema.names).cast(table.schema)
