"""One load of a catalogue: what is new of it, and what is gone, into both stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import DeltaError

from feature_repo.errors import InputError, UnavailableError
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.settings import get_settings
from feature_repo.tables import CATALOG
from ingestion.catalog import store as catalog_store
from ingestion.catalog.listings import Listings, gone, listed_by
from ingestion.catalog.places import place_of
from ingestion.catalog.reader import latest_said
from ingestion.catalog.sources import Part, find
from ingestion.locks import loading_catalogue, writing_catalogue

Read = Sequence[tuple[Part, pa.Table]]


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        files: how many were read.
        unchanged: how many were not, since they had been loaded as they are.
        rows: how many rows were read.
        news: how many of them were new or changed.
        failures: one line for each file that cannot be read.
        waiting: whether a file was left for later because it may be unfinished.
        removed: how many products became unavailable, as a full list no longer has them.
        kept: how many did not, as another full list has them.
        ahead: how many rows said a time that is yet to come, and count from now on.
    """

    files: int
    unchanged: int
    rows: int
    news: int
    failures: list[str]
    waiting: bool
    removed: int = 0
    kept: int = 0
    ahead: int = 0


@loading_catalogue()
def load(
    path: Path | str,
    everything: bool = False,
    resting: float = 0.0,
    snapshot: bool | None = None,
    allow_removals: bool = False,
) -> Loaded:
    """Load what may have changed since the last load; a file that cannot be read does not hinder the others.

    Args:
        everything: also what has not changed.
        resting: leave out files that were modified within so many seconds.
        snapshot: whether the source lists all products; None: if it is a Delta table.
        allow_removals: let such a list lose any number of them.

    Raises:
        InputError: there is nothing usable at ``path``, or a full list lost too many products.
        UnavailableError: a server cannot be reached, or the stores cannot be written. Loading again does no harm.
    """
    CATALOG.create_if_missing()
    place = place_of(path)
    full = place.is_delta_table if snapshot is None else snapshot
    listings = Listings(DeltaTable(CATALOG.uri).transaction_version)
    found = find(place, lambda app_id: None if everything else listings.loaded(app_id, full), resting)
    if full and found.waiting:
        # Half of a full list says nothing of what is gone.
        return Loaded(0, found.unchanged, 0, 0, [], True)
    read, failures = _read(found.changed)
    read, ahead = _none_ahead(read)
    rows = sum(table.num_rows for _, table in read)
    if place.file() and read and not rows:
        raise InputError(f"{PurePath(place.key).name} has no rows with a product_id")
    vanished = listings.of(place.key) - found.present if full else set()
    if not read and not vanished:
        return Loaded(0, found.unchanged, 0, 0, failures, found.waiting)
    listed = listed_by(read)
    lost, kept, marks = set[str](), 0, dict[str, int]()
    if not (full and failures):  # or what was read is read again with the rest, to see what is gone
        if full:
            most = None if allow_removals else get_settings().catalog.max_removed_share
            lost, kept = gone(listings, place.key, found.present, listed, most)
        marks = listings.write(listed, vanished, full)
        marks |= {app_id: version for part, _ in read for app_id, version in part.marks.items()}
    back = set().union(*listed.values()) if full else set()
    news, removed = _write(read, back, lost, marks)
    files = sum(part.files for part, _ in read)
    return Loaded(files, found.unchanged, rows, news, failures, found.waiting, removed, kept, ahead)


def _read(parts: Sequence[Part]) -> tuple[Read, list[str]]:
    """What can be read of the parts, and one line for each that cannot."""
    read: list[tuple[Part, pa.Table]] = []
    failures: list[str] = []
    for part in parts:
        try:
            read.append((part, part.read()))
        except InputError as error:
            failures.append(str(error))
    return read, failures


def _none_ahead(read: Read) -> tuple[Read, int]:
    """What was read, with nothing that counts from a time to come: until then, it would hide whatever is said later.

    Also gives how many rows said such a time, but for clocks that differ a little.
    """
    now = datetime.now(UTC)
    tolerated = now + timedelta(seconds=get_settings().stream.future_tolerance_seconds)
    by_now, ahead = [], 0
    for part, rows in read:
        times = rows["event_timestamp"]
        ahead += pc.sum(pc.greater(times, pa.scalar(tolerated, times.type))).as_py() or 0
        for name, latest in (("event_timestamp", pa.scalar(now, times.type)), ("first_seen_at", now.timestamp())):
            earlier = pc.if_else(pc.greater(rows[name], latest), latest, rows[name])
            rows = rows.set_column(rows.schema.get_field_index(name), name, earlier)
        by_now.append((part, rows))
    return by_now, ahead


@writing_catalogue()
def _write(read: Read, back: set[str], lost: set[str], marks: dict[str, int]) -> tuple[int, int]:
    """Write the news of what was read; gives how many rows that are, and how many products became unavailable.

    Args:
        back: products that are listed, and so come back if they were gone.
        lost: products that are not listed any more.
        marks: what is to be remembered.
    """
    said = [latest_said([table for _, table in read])] if read else []
    returns = [catalog_store.returns(said[0], back)] if said and back else []
    removals = catalog_store.removals(lost)
    transactions = [Transaction(app_id, version) for app_id, version in marks.items()]
    try:
        written = catalog_store.upsert(
            pa.concat_tables([*said, *returns, removals], promote_options="permissive"),
            CommitProperties(app_transactions=transactions) if transactions else None,
        )
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be used: {error}; `make status` shows what runs") from error
    except DeltaError as error:
        raise UnavailableError(f"the offline store did not take the rows ({error}); load them again") from error
    return written - removals.num_rows, removals.num_rows
