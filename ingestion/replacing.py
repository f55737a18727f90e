"""Taking rows out of a Delta table, or others into their place, in one commit."""

from __future__ import annotations

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake

from feature_repo.tables import Table


def replace(table: Table, where: str, rows: pa.Table | None = None, properties: CommitProperties | None = None) -> None:
    """Let rows, by default none, take the place of those for which an SQL condition holds, which must hold for them, too.

    Delta's own DELETE and UPDATE write texts in a way that DuckDB cannot filter through Arrow.
    """
    rows = table.schema.empty_table() if rows is None else rows
    write_deltalake(table.uri, rows, mode="overwrite", predicate=where, commit_properties=properties)
