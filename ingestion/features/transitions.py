"""What customers turn to after each product, learnt from the stream as it goes.

The sums are kept by a thread of its own beside the stream. They follow from the stored events and are computed anew from
these at each start, so that nothing about them has to be committed together with anything else. The online store has them
seconds after an event, the offline store once an hour, as :mod:`ingestion.features.history` writes them.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from feature_repo.aggregates import NEXT
from feature_repo.online.redis_client import REDIS_ERRORS
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, ITEM_TRANSITIONS
from ingestion import offsets
from ingestion.features.pair_sums import Integers, PairSums, interactions_in
from ingestion.offsets import Offsets
from ingestion.online import OnlineStore

log = logging.getLogger(__name__)
_HOUR = 3_600.0
_EVENTS_PER_CHUNK = 100_000


class LiveTransitions:
    """Takes events, and writes what follows from them when :meth:`write` is called, which may be in another thread.

    Attributes:
        waiting: how many events have come since the last :meth:`begin`, at the least 1 before the first.
    """

    def __init__(self, online: OnlineStore, covered: Offsets) -> None:
        """Go on from what the events table holds, which reaches to ``covered``."""
        self.waiting = 1
        self._online = online
        self._covered = covered
        self._sums: PairSums | None = None
        self._taken: list[pa.Table] = []
        self._writing: list[pa.Table] = []
        self._not_online = self._not_offline = np.zeros(0, np.int64)
        self._offline_at = time.time()

    def take(self, events: pa.Table) -> None:
        """Take in rows of :func:`ingestion.features.contributions.contributing`."""
        _, fresh = offsets.parted(self._covered, events)
        interactions = interactions_in(fresh)
        if interactions.num_rows:
            self._taken.append(interactions)
            self.waiting += interactions.num_rows

    def begin(self) -> None:
        """Set aside what has been taken, to be written while more comes."""
        self._writing += self._taken
        self._taken, self.waiting = [], 0

    def write(self) -> None:
        """Learn from what has been set aside, and bring the stores up to date. A store that fails gets it next time."""
        if self._sums is None:
            self._sums, self._not_offline = _learnt_from_stored(self._covered)
            self._not_online = self._sums.everything()
        added, self._writing = self._writing, []
        if added:
            changed = self._sums.fold(pa.concat_tables(added))
            self._not_online = np.union1d(self._not_online, changed)
            self._not_offline = np.union1d(self._not_offline, changed)
        try:
            if self._online.push(ITEM_TRANSITIONS, self._sums.rows(self._not_online)):
                self._not_online = np.zeros(0, np.int64)
            else:
                self._not_online = self._sums.everything()
        except REDIS_ERRORS as error:
            log.warning("what is turned to next is not brought online this time: %s", error)
        if time.time() - self._offline_at > _HOUR:
            self.write_offline()

    def write_offline(self) -> None:
        """Append what changed since the last time to the offline store."""
        self._offline_at = time.time()
        if self._sums is None or not len(self._not_offline):
            return
        try:
            write_deltalake(ITEM_TRANSITIONS.uri, self._sums.rows(self._not_offline), mode="append")
            self._not_offline = np.zeros(0, np.int64)
        except DeltaError as error:
            log.warning("what is turned to next is not stored offline this time: %s", error)


def _learnt_from_stored(covered: Offsets) -> tuple[PairSums, Integers]:
    """The sums of the stored events before a place, and of which products the offline store does not have them yet."""
    sums = PairSums()
    since = datetime.now(UTC) - timedelta(days=get_settings().stream.transitions_horizon_days)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", DeltaTable(EVENTS.uri).to_pyarrow_dataset())
        connection.register("transitions", DeltaTable(ITEM_TRANSITIONS.uri).to_pyarrow_dataset())
        (written,) = connection.sql("SELECT epoch_ms(max(event_timestamp)) FROM transitions").fetchall()[0]
        rows = connection.execute(
            f"""SELECT customer_id, type, event, timestamp, products FROM events
                WHERE event IN (SELECT unnest(?)) AND timestamp >= ? AND {offsets.before(covered)} ORDER BY timestamp""",
            [list(NEXT.events), since],
        )
        for batch in rows.to_arrow_reader(_EVENTS_PER_CHUNK):
            sums.fold(interactions_in(pa.Table.from_batches([batch])))
    return sums, sums.changed_after(written or 0)
