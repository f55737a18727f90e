"""Carrying out what has been asked to be erased, while nobody else writes the tables.

It may be cut off at any moment and is begun again then: the request stays until all is done, and with it what had been found
to be the customer's, because the events that tell so are among the first to go.
"""

from __future__ import annotations

import logging
import shutil
import time
import traceback
from contextlib import ExitStack

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from feature_repo.errors import ShelfwiseError, UnavailableError
from feature_repo.sections.warehouses import OfflineStoreKind
from feature_repo.settings import get_settings
from feature_repo.tables import ACTIVITY, EVENTS, LEDGER, QUARANTINE, create_missing_tables
from ingestion import offsets
from ingestion.erased_rows import note_items_with_erased
from ingestion.locks import computing_outcomes, nobody_loading, putting_back, rewriting_files
from ingestion.online import OnlineStore
from ingestion.privacy import tables
from ingestion.privacy.features import bring_online, erase_online, forget_online, recompute
from ingestion.privacy.record import ErasureRecord, Request, record_path
from ingestion.privacy.spans import Theirs, theirs
from ingestion.session import work_folder

log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_AT_ONCE = 100


def theirs_of(request: Request) -> Theirs:
    """What is the customer's, of all that happened until the request was made."""
    return theirs(tables.stored_identities(), request.customer, request.asked_ms) | request.found


def carry_out(online: OnlineStore) -> dict[str, int]:
    """Erase what has been asked for, of the first hundred requests. The caller holds the right to write the features.

    Returns:
        How many rows were erased, by table; empty if nothing was asked for.

    Raises:
        UnavailableError: a part is not there, or others are at work on the tables; what is not done stays asked for.
    """
    with ErasureRecord() as record:
        requests = record.requests()[:_AT_ONCE]
        if not requests:
            return {}
        create_missing_tables()
        _check_places()
        with ExitStack() as stack:
            for right in (putting_back(), computing_outcomes(), rewriting_files()):
                stack.enter_context(right)
            found, together = [], Theirs()
            for request in requests:
                of = theirs_of(request)
                record.note_found(request, of)
                found.append((request, of))
                together |= of
            try:
                rows = _erase(online, together)
            except DeltaError as error:
                # Without the error's text: it may name the customer.
                why = f"the tables could not be written ({type(error).__name__}); `python -m ingestion erase --pending`"
                raise UnavailableError(f"{why} tries again") from error
        for request, of in found:
            record.note_erased(request, of.spans)
    return rows


class PendingErasures:
    """What a running stream looks at now and then: whether to pause, because something is to be erased."""

    def __init__(self, online: OnlineStore) -> None:
        self._online = online
        self._looked = self._tried = float("-inf")
        self._due = False

    def due(self) -> bool:
        """Whether requests have waited for long enough."""
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            self._due = now - self._tried > get_settings().privacy.gather_seconds and self._oldest_is_due()
        return self._due

    def carry_out(self) -> None:
        """Erase; a failure is logged, and it is tried again later: events matter more."""
        self._due = False
        if not record_path().exists():
            return
        try:
            if rows := carry_out(self._online):
                log.info("erased what was asked for: %s", in_words(rows))
        except ShelfwiseError as error:
            log.error("what was asked to be erased is not yet, trying again: %s", error)
        except Exception as error:
            # Events matter more. Without the error's text: it may name the customer.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("what was asked to be erased is not yet, trying again: %s\n%s", type(error).__name__, where)
        self._tried = time.monotonic()

    @staticmethod
    def _oldest_is_due() -> bool:
        if not record_path().exists():
            return False
        with ErasureRecord() as record:
            requests = record.requests()
        return bool(requests) and time.time() - requests[0].asked_ms / 1000 > get_settings().privacy.gather_seconds


def in_words(rows: dict[str, int]) -> str:
    """Rows by table, in words."""
    return ", ".join(f"{count:,} rows of {name}" for name, count in rows.items() if count) or "nothing was held"


def _erase(online: OnlineStore, of: Theirs) -> dict[str, int]:
    counts = {"online": erase_online(online, of.affected)}
    for table in tables.HOLDING:
        counts[table.name] = tables.erase(table, of)
        if table is EVENTS and counts[table.name]:
            note_items_with_erased()
    computed = recompute(of)
    for table in tables.HOLDING:
        tables.purge(table)
    _delete_leftovers()
    bring_online(online, computed)
    forget_online(online)
    if get_settings().offline.store is OfflineStoreKind.POSTGRES:
        _erase_published(of)
    return counts


def _check_places() -> None:
    """What one table holds and another does not know of would come back from Kafka, half counted."""
    stored = (EVENTS, QUARANTINE, LEDGER, *ACTIVITY.values())
    places = [offsets.covered_by(DeltaTable(table.uri)) for table in stored]
    if any(place != places[0] for place in places):
        raise UnavailableError(
            "some tables lack events that others have, as after a stream that was killed; start the stream, which takes them in "
            "and then erases what was asked for"
        )


def _delete_leftovers() -> None:
    """What killed backfills left on disk; a running one is left alone."""
    with nobody_loading() as alone:
        if alone:
            for kind in ("history-*", "backfill-*", "export-*"):
                for folder in work_folder().glob(kind):
                    shutil.rmtree(folder, ignore_errors=True)
        else:
            log.warning("a backfill is running: what earlier ones left on disk stays until the next erasure")


def _erase_published(of: Theirs) -> None:
    from ingestion.warehouse.postgres import PostgresWarehouse
    from ingestion.warehouse.tables import PUBLISHED

    with PostgresWarehouse() as warehouse:
        for table in PUBLISHED:
            if table in tables.HOLDING:
                warehouse.erase(table, sorted(of.affected))
