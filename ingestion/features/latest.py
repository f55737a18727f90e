"""The newest row of each key of a feature table: what is true now."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from feature_repo.tables import Table
from ingestion.features.definition import check_columns


def latest_rows(table: Table) -> pa.Table:
    """The newest row of each key, in the schema of the table; the key is its first column.

    Raises:
        DefinitionError: the table was written before one of the declared aggregates was.
    """
    key = table.schema.names[0]
    stored = DeltaTable(table.uri)
    check_columns(table, stored)
    newest = f"row_number() OVER (PARTITION BY {key} ORDER BY event_timestamp DESC, created DESC) = 1"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("activity", stored.to_pyarrow_dataset())
        # Find the newest rows by their times first: the wide columns are read for those alone.
        keys = f"SELECT {key}, event_timestamp, created FROM activity QUALIFY {newest}"
        rows = connection.sql(f"SELECT a.* FROM activity a SEMI JOIN ({keys}) USING ({key}, event_timestamp, created)")
        return rows.to_arrow_table().select(table.schema.names).cast(table.schema)
