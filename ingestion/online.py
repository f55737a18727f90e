"""Writing rows to the online store through Feast."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_repo.aggregates import Entity
from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, Table

if TYPE_CHECKING:
    from feast import FeatureStore

_ROWS_PER_PUSH = 2_000


def push_online(store: FeatureStore, table: Table, rows: pa.Table) -> None:
    """Push rows of an offline table to the online store, by the push source that ``feast apply`` registered for it.

    Args:
        store: the feature store.
        table: the offline table whose schema ``rows`` has.
        rows: any number of rows; a key's newest row wins.
    """
    from feast.data_source import PushMode

    for batch in rows.to_batches(max_chunksize=_ROWS_PER_PUSH):
        if batch.num_rows:
            store.push(f"{table.name}_push", batch.to_pandas(), to=PushMode.ONLINE)


def push_latest(store: FeatureStore, entity: Entity) -> int:
    """Push the newest row of every key of an activity table; returns how many, with progress shown."""
    from rich.progress import track

    from ingestion.latest import latest_rows

    latest = latest_rows(entity)
    slices = [latest.slice(start, _ROWS_PER_PUSH) for start in range(0, latest.num_rows, _ROWS_PER_PUSH)]
    for part in track(slices, description=f"{entity.value}s online", transient=True):
        push_online(store, ACTIVITY[entity], part)
    return latest.num_rows


def open_applied_store() -> FeatureStore:
    """The feature store, checked to be usable for writing.

    Raises:
        UnavailableError: ``feast apply`` has not been run.
    """
    os.environ.setdefault("FEAST_USAGE", "False")
    from feature_repo.store import open_store

    store = open_store()
    if not store.list_feature_views():
        raise UnavailableError(
            f"the feature registry in {get_settings().home} is empty; run `feast -c feature_repo apply` (`make up` does)"
        )
    return store
