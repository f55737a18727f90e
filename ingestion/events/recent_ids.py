"""The memory by which duplicates are known: which event came first under an id, and when.

An event is a duplicate if another one with its id arrived up to ``stream.duplicate_horizon`` before it. Places in Kafka are
remembered with the ids, so that reading a stretch of the topic again, after a crash, gives the same verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import DeltaTable
from numpy.typing import NDArray

from feature_repo.contract import ORDERED
from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS
from ingestion.moments import epoch_ms

# ``dedup_key`` of a stored event, as :func:`ingestion.events.parsing.parse` has it; good in Spark and in DuckDB.
STORED_KEY = f"CASE WHEN event = '{ORDERED}' THEN concat('order:', order_id) ELSE message_id END AS dedup_key"
NOT_IN_KAFKA = -1
_PLACE_BITS = 48
_DIGEST_BYTES = 16
_SMALLEST_PART = 100_000
_PARTS = 16


def place_numbers(partitions: pa.Array | pa.ChunkedArray, offsets: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """One number for each place in the topic; -1 where an event did not come from there."""
    partition = partitions.cast(pa.int64()).fill_null(NOT_IN_KAFKA).to_numpy()
    offset = offsets.fill_null(0).to_numpy()
    return np.where(partition < 0, NOT_IN_KAFKA, (partition << _PLACE_BITS) | offset)


class RecentIds:
    """Ids of the last hours, in 32 bytes each: a digest, the first event's place, and its arrival.

    New ids go to a dictionary; when there are many, they are frozen into sorted arrays, which need a tenth of the memory.
    """

    def __init__(self, horizon_ms: int) -> None:
        self._horizon_ms = horizon_ms
        self._fresh: dict[bytes, tuple[int, int]] = {}
        self._parts: list[_Part] = []
        self._newest = 0

    def __len__(self) -> int:
        return len(self._fresh) + sum(len(part.arrived) for part in self._parts)

    def first(self, keys: Sequence[str], places: NDArray[np.int64], arrived: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which events are the first of their id; they are remembered.

        Args:
            keys: ``dedup_key`` of each event, in order of arrival.
            places: :func:`place_numbers`.
            arrived: arrival in epoch milliseconds.

        Returns:
            True for the events that count, shape (events,).
        """
        digests = [blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest() for key in keys]
        known = self._frozen(digests)
        verdicts = np.ones(len(digests), dtype=bool)
        for row, (digest, place, moment) in enumerate(zip(digests, places.tolist(), arrived.tolist(), strict=True)):
            before = self._fresh.get(digest) or known.get(digest)
            if before is None or moment - before[1] > self._horizon_ms:
                self._fresh[digest] = (place, moment)
            elif before[0] != place or place == NOT_IN_KAFKA:
                verdicts[row] = False
        self._newest = max(self._newest, int(arrived.max(initial=0)))
        self._tidy()
        return verdicts

    def learn(self, stored: pa.Table) -> None:
        """Take in the ids of :func:`stored_ids`."""
        digests = [blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest() for key in stored["dedup_key"].to_pylist()]
        places = place_numbers(stored["partition"], stored["offset"])
        arrived = epoch_ms(stored["received_at"])
        if digests:
            self._newest = max(self._newest, int(arrived.max()))
            self._parts.append(_Part.of(digests, places, arrived))

    def _frozen(self, digests: list[bytes]) -> dict[bytes, tuple[int, int]]:
        found: dict[bytes, tuple[int, int]] = {}
        wanted = np.array(digests, dtype=f"S{_DIGEST_BYTES}")
        for part in self._parts:
            at = np.minimum(np.searchsorted(part.digests, wanted), len(part.digests) - 1)
            for row in np.flatnonzero(part.digests[at] == wanted):
                # An id that was seen again after the horizon is in a later part as well.
                found[digests[row]] = (int(part.places[at[row]]), int(part.arrived[at[row]]))
        return found

    def _tidy(self) -> None:
        if len(self._fresh) >= max(_SMALLEST_PART, len(self) // _PARTS):
            values = np.array(list(self._fresh.values()), dtype=np.int64)
            self._parts.append(_Part.of(list(self._fresh), values[:, 0], values[:, 1]))
            self._fresh = {}
        self._parts = [part for part in self._parts if self._newest - part.latest <= self._horizon_ms]


class _Part:
    """Ids sorted by digest."""

    def __init__(self, digests: NDArray[np.bytes_], places: NDArray[np.int64], arrived: NDArray[np.int64]) -> None:
        self.digests, self.places, self.arrived = digests, places, arrived
        self.latest = int(arrived.max())

    @classmethod
    def of(cls, digests: list[bytes], places: NDArray[np.int64], arrived: NDArray[np.int64]) -> _Part:
        unsorted = np.array(digests, dtype=f"S{_DIGEST_BYTES}")
        # Of equal ids the later arrival is found.
        order = np.lexsort((-arrived, unsorted))
        return cls(unsorted[order], places[order], arrived[order])


def horizon_ms() -> int:
    """``stream.duplicate_horizon`` in milliseconds."""
    with duckdb.connect() as connection:
        interval = get_settings().stream.duplicate_horizon
        row = connection.execute(f"SELECT epoch_ms(TIMESTAMP '1970-01-01' + INTERVAL '{interval}')").fetchone()
    assert row is not None
    return int(row[0])


def stored_ids() -> pa.Table:
    """``dedup_key``, ``partition``, ``offset`` and ``received_at`` of the stored events that may still have duplicates.

    These are the events that arrived within the horizon before the last one, of those from Kafka and from files each.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", DeltaTable(EVENTS.uri).to_pyarrow_dataset())
        return connection.sql(
            f"""
            WITH last AS (SELECT partition IS NULL AS bulk, max(received_at) AS received_at FROM events GROUP BY 1)
            SELECT {STORED_KEY}, partition, "offset", received_at FROM events
            WHERE received_at > (SELECT min(received_at) FROM last) - INTERVAL '{get_settings().stream.duplicate_horizon}'
            ORDER BY received_at
            """
        ).to_arrow_table()
