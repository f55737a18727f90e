"""Appending to a Delta table exactly once."""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from feature_repo.tables import Table
from ingestion import offsets


def append_once(
    table: Table, rows: pa.Table, app_id: str, version: int, covered: offsets.Offsets | None = None
) -> None:
    """Append ``rows``, unless this version has been committed before, by a run that was killed afterwards.

    Args:
        table: where to.
        rows: in the table's schema.
        app_id: the writer; each of its checkpoints needs an id of its own, because each counts from 0.
        version: number of the batch; grows with each.
        covered: how far in Kafka the batch reaches, recorded with the commit.
    """
    stored = _opened(table.uri)
    stored.update_incremental()
    committed = stored.transaction_version(app_id)
    if committed is not None and committed >= version:
        return
    properties = CommitProperties(
        custom_metadata={offsets.METADATA_KEY: offsets.to_json(covered)} if covered else None,
        app_transactions=[Transaction(app_id, version)],
    )
    write_deltalake(stored, rows, mode="append", commit_properties=properties)


@lru_cache
def _opened(uri: str) -> DeltaTable:
    """The table, kept: opening one anew reads the log since its last checkpoint, which takes longer than to append."""
    return DeltaTable(uri)
