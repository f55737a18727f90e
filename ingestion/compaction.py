"""Keeping the tables readable: a commit every few seconds leaves thousands of small files, which are merged now and then."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feature_repo.settings import get_settings
from feature_repo.tables import (
    CATALOG,
    CATALOG_INDEX,
    CATALOG_LISTINGS,
    COMPUTED,
    EVENTS,
    LEDGER,
    QUARANTINE,
    QUARANTINE_REPLAYS,
    RECOMMENDATIONS,
    Table,
)
from ingestion.catalog import listings as catalog_listings
from ingestion.catalog import store as catalog_store
from ingestion.locks import rewriting_files

log = logging.getLogger(__name__)
# The tables that are appended to.
APPENDED = (
    *COMPUTED,
    EVENTS,
    QUARANTINE,
    QUARANTINE_REPLAYS,
    LEDGER,
    CATALOG,
    CATALOG_INDEX,
    CATALOG_LISTINGS,
    RECOMMENDATIONS,
)
# What takes out rows that later ones replaced before a moment, in tables where these are all that is ever read.
_SUPERSEDED = {
    CATALOG_INDEX.name: catalog_store.forget_indexes,
    CATALOG_LISTINGS.name: catalog_listings.forget_listings,
}


class Compactor:
    """Merges small files in the background; appending goes on meanwhile."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None

    def finish(self) -> None:
        """Wait for the present compaction to end."""
        if self._thread is not None:
            self._thread.join()

    def run_if_due(self) -> None:
        """Start a compaction if the interval has passed and the last one has ended."""
        due = time.monotonic() - self._last > get_settings().stream.compact_every_minutes * 60
        if due and (self._thread is None or not self._thread.is_alive()):
            self._last = time.monotonic()
            self._thread = threading.Thread(target=compact, name="compaction", daemon=True)
            self._thread.start()


def compact() -> None:
    """Merge the small files of all tables; one that cannot be, because of what others write, is left for the next time."""
    for table in APPENDED:
        try:
            merged = merge_files(table)
        except DeltaError as error:
            log.warning("%s was not compacted this time: %s", table.name, error)
        else:
            log.info("%s: merged %s files", table.name, merged)


def merge_files(table: Table) -> int:
    """Merge the small files of a table and delete those replaced long ago; gives how many were merged.

    Where only the last row of a key is ever read, those replaced long ago go, too.

    Raises:
        DeltaError: others changed the table meanwhile, or it cannot be read; nothing is lost.
    """
    keep = timedelta(hours=get_settings().stream.keep_unused_files_hours)
    with rewriting_files():
        if forget := _SUPERSEDED.get(table.name):
            forget(datetime.now(UTC) - keep)
        stored = DeltaTable(table.uri)
        merged = stored.optimize.compact()
        # What is younger than the setting stays: readers that began before the merge still need it.
        stored.vacuum(int(keep.total_seconds() // 3600), enforce_retention_duration=False, dry_run=False)
    return int(merged["numFilesRemoved"])
