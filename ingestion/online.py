"""Writing rows to the online store, in Feast's layout."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_repo.errors import UnavailableError
from feature_repo.settings import get_settings
from feature_repo.tables import ALL_TABLES, Table

if TYPE_CHECKING:
    from feast import FeatureStore

_ROWS_PER_STEP = 20_000


class OnlineStore:
    """The online store, for the process that writes it."""

    def __init__(self, store: FeatureStore) -> None:
        from feature_repo.feast_parts.stores import FreshRedisOnlineStore

        online = store._get_provider().online_store
        assert isinstance(online, FreshRedisOnlineStore)
        self._online = online
        self._config = store.config
        self._views = {table.view: store.get_feature_view(table.view) for table in ALL_TABLES if table.view}

    def push(self, table: Table, rows: pa.Table) -> bool:
        """Write rows of an offline table, one per key.

        Returns:
            Whether the online store held something before; if not, it has to be filled with all there is.

        Raises:
            redis.RedisError: the server is gone or does not answer. Writing again does no harm.
        """
        view = self._views[table.view]
        known = self._online.write_rows(self._config, view, rows) if rows.num_rows else True
        if known:
            self._online.note_written(self._config, view)
        return known

    def delete(self, table: Table, keys: list[str]) -> int:
        """Delete all that is held of some keys of the table's entity; gives of how many there was something.

        Raises:
            redis.RedisError: the server is gone or does not answer. Deleting again does no harm.
        """
        return self._online.delete_rows(self._config, self._views[table.view], keys)

    def rewrite_files(self) -> None:
        """Wait until no file of the server holds what has been deleted.

        Raises:
            redis.RedisError: the server is gone, or does not do it.
        """
        self._online.rewrite_files(self._config)

    def fill(self, table: Table, rows: pa.Table, what: str) -> int:
        """Write all rows that there are, but none over a newer one, with progress shown; returns how many."""
        from rich.progress import track

        slices = [rows.slice(start, _ROWS_PER_STEP) for start in range(0, rows.num_rows, _ROWS_PER_STEP)]
        view = self._views[table.view]
        silent = not sys.stdout.isatty()  # a log would get an empty line each time
        for part in track(slices, description=f"{what} online", transient=True, disable=silent):
            self._online.write_rows(self._config, view, part, keep_newer=True)
        self._online.note_written(self._config, view)
        return rows.num_rows

    def fill_latest(self, table: Table) -> int:
        """Write the newest stored row of every key of a feature table; returns how many."""
        from ingestion.features.latest import latest_rows

        return self.fill(table, latest_rows(table), table.name)


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


def open_online_store() -> OnlineStore:
    """The online store of the running installation."""
    return OnlineStore(open_applied_store())
