"""Keeping the tables readable: a commit every few seconds leaves thousands of small files, which are merged now and then."""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feature_repo.settings import get_settings
from feature_repo.tables import CATALOG, COMPUTED, EVENTS, LEDGER, QUARANTINE, QUARANTINE_REPLAYS, RECOMMENDATIONS

log = logging.getLogger(__name__)


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
    """Merge the small files of the tables that the stream appends to, and delete those replaced long ago."""
    keep = timedelta(hours=get_settings().stream.keep_unused_files_hours)
    for table in (*COMPUTED, EVENTS, QUARANTINE, QUARANTINE_REPLAYS, LEDGER, CATALOG, RECOMMENDATIONS):
        stored = DeltaTable(table.uri)
        try:
            merged = stored.optimize.compact()
            # What is younger than the setting stays: readers that began before the merge still need it.
            stored.vacuum(int(keep.total_seconds() // 3600), enforce_retention_duration=False, dry_run=False)
        except DeltaError as error:
            log.warning("%s was not compacted this time: %s", table.name, error)
        else:
            log.info("%s: merged %s files", table.name, merged["numFilesRemoved"])
