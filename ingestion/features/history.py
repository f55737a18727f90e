"""The declared aggregates over all of history: what the stream would have written at each moment.

The stored events go through the same arithmetic as the live ones, in order of time. Customers get a row at each moment at
which they did something or were recognised. Items, which are concerned by far more events, and what is turned to after them
get a row per hour in which something happened. Each row holds values as of its own last event, so that a point-in-time join
never sees the future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake
from pyarrow import dataset

from feature_repo.aggregates import Entity, definition_hash
from feature_repo.tables import ACTIVITY, EVENTS, ITEM_TRANSITIONS, Table
from ingestion import offsets
from ingestion.erased_rows import note_items_without_erased
from ingestion.features.activity import Activity
from ingestion.features.contributions import (
    CONTRIBUTING_EVENTS,
    Contributions,
    Integers,
    contributing,
    of_customers,
    of_items,
)
from ingestion.features.definition import note_definition
from ingestion.features.engine import attributed
from ingestion.features.identity import TIE_TYPES, Identities, ties_in
from ingestion.features.pair_sums import PairSums, interactions_in
from ingestion.moments import epoch_ms

_ITEM_STEP_MS = 3_600_000
_EVENTS_PER_CHUNK = 50_000
_WANTED = "type = 'track' AND event IN (SELECT unnest(?))"


@dataclass(frozen=True)
class History:
    """Feature rows over time, on disk until they take the place of the present ones.

    Attributes:
        files: the rows of each table, as a Parquet file.
        place: how far in Kafka the events reach that they come from.
    """

    files: dict[Table, Path]
    place: offsets.Offsets


def compute(folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> History:
    """Compute all features of all stored events.

    Args:
        folder: where to put the rows.
        progress: is told how many of the events are done, and how many there are.
    """
    stored = DeltaTable(EVENTS.uri)
    place = offsets.covered_by(stored)
    replayed = [_Replayed(entity, place, folder) for entity in Entity]
    transitions = _ReplayedTransitions(folder)
    done = 0
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; SET temp_directory = '{folder}'")
        connection.register("events", stored.to_pyarrow_dataset())
        identities = _identities(connection)
        parameters = [CONTRIBUTING_EVENTS]
        row = connection.execute(f"SELECT count(*) FROM events WHERE {_WANTED}", parameters).fetchone()
        total = row[0] if row else 0
        for chunk in _chunks(connection, _WANTED, parameters):
            useful = contributing(chunk)
            for one in replayed:
                one.take(useful, identities)
            transitions.take(useful)
            done += chunk.num_rows
            progress(done, total)
    for one in replayed:
        one.close()
    transitions.close()
    files = {ACTIVITY[one.entity]: one.file for one in replayed}
    return History({**files, ITEM_TRANSITIONS: transitions.file}, place)


def compute_of_customers(keys: frozenset[str], folder: Path) -> dict[Table, pa.Table]:
    """The rows of some ids alone, as :func:`compute` would make them.

    Args:
        keys: the ids.
        folder: where to put rows meanwhile.
    """
    stored = DeltaTable(EVENTS.uri)
    replayed = [_Replayed(entity, offsets.covered_by(stored), folder) for entity in (Entity.CUSTOMER, Entity.EXPOSURE)]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", stored.to_pyarrow_dataset())
        identities = _identities(connection)
        sources = keys.union(*(identities.sources(key) for key in keys))
        chosen = f"{_WANTED} AND customer_id IN (SELECT unnest(?))"
        for chunk in _chunks(connection, chosen, [CONTRIBUTING_EVENTS, sorted(sources)]):
            for one in replayed:
                one.take(contributing(chunk), identities)
    found = {}
    for one in replayed:
        one.close()
        table = ACTIVITY[one.entity]
        rows = pq.read_table(one.file).cast(table.schema)
        found[table] = rows.filter(pc.is_in(rows[one.entity.key], pa.array(sorted(keys), pa.string())))
    return found


def install(history: History) -> dict[Table, int]:
    """Let the computed rows take the place of the present ones; returns how many there are in each table.

    Each table changes in one commit. If this is cut off in between, the tables reach differently far in Kafka, which
    the stream is used to; the stale one is known by its definition, if that has changed.
    """
    for table, file in history.files.items():
        note_definition(table, "being recomputed")
        rows = dataset.dataset(file).scanner(batch_size=_EVENTS_PER_CHUNK).to_reader()
        properties = offsets.commit(history.place)
        write_deltalake(table.uri, rows, mode="overwrite", schema_mode="overwrite", commit_properties=properties)
        note_definition(table, definition_hash())
    note_items_without_erased()
    return {table: pq.read_metadata(file).num_rows for table, file in history.files.items()}


def _identities(connection: duckdb.DuckDBPyConnection) -> Identities:
    return Identities(ties_in(connection.sql(f"SELECT * FROM events WHERE type IN {TIE_TYPES}").to_arrow_table()))


def _chunks(connection: duckdb.DuckDBPyConnection, wanted: str, parameters: list[Any]) -> Iterator[pa.Table]:
    ordered = f'SELECT * FROM events WHERE {wanted} ORDER BY timestamp, source, partition, "offset", message_id'
    yield from _cut_between_moments(connection.execute(ordered, parameters).to_arrow_reader(_EVENTS_PER_CHUNK))


def _cut_between_moments(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Chunks of events in order of time, such that no moment is in two of them."""
    held: pa.Table | None = None
    for batch in batches:
        chunk = pa.Table.from_batches([batch])
        chunk = pa.concat_tables([held, chunk]) if held is not None else chunk
        earlier = pc.less(chunk["timestamp"], chunk["timestamp"][-1])
        held = chunk.filter(pc.invert(earlier))
        if (ready := chunk.filter(earlier)).num_rows:
            yield ready
    if held is not None:
        yield held


@dataclass
class _Replayed:
    """One entity's values as history goes by."""

    entity: Entity
    place: offsets.Offsets
    folder: Path
    _waiting: pa.Table | None = None
    _activity: Activity = field(init=False)
    _writer: pq.ParquetWriter = field(init=False)

    def __post_init__(self) -> None:
        self._activity = Activity(self.entity)
        self._writer = _writer(self.file, ACTIVITY[self.entity])

    @property
    def file(self) -> Path:
        return self.folder / f"{self.entity.value}.parquet"

    def take(self, events: pa.Table, identities: Identities) -> None:
        if self.entity is Entity.ITEM:
            self._replay(of_items(events))
        else:
            self._replay_known(self._attributed(events, identities), int(epoch_ms(events["timestamp"]).max(initial=0)))

    def close(self) -> None:
        if self._waiting is not None:
            self._replay_known(self._waiting, None)
        self._writer.close()

    def _attributed(self, events: pa.Table, identities: Identities) -> pa.Table:
        """The events, once for each id that they count for, after those that were waiting."""
        rows, keys, moments = attributed(events, identities)
        taken = events.take(pa.array(rows)).append_column("key", keys).append_column("moment", pa.array(moments))
        return pa.concat_tables([self._waiting, taken]).combine_chunks() if self._waiting is not None else taken

    def _replay_known(self, events: pa.Table, until: int | None) -> None:
        """Replay what is known by ``until``, epoch milliseconds; whose event it was may turn out later."""
        due = pc.less_equal(events["moment"], until) if until is not None else pa.array([True] * events.num_rows)
        later = events.filter(pc.invert(due))
        self._waiting = later if later.num_rows else None
        events = events.filter(due)
        if events.num_rows:
            everything = np.arange(events.num_rows)
            keys, moments = events["key"].combine_chunks(), events["moment"].to_numpy()
            self._replay(of_customers(self.entity, events.drop(["key", "moment"]), everything, keys, moments))

    def _replay(self, added: Contributions) -> None:
        """Fold step by step, the first of every key together, then the second, and write a row for each."""
        step = added.ms // _ITEM_STEP_MS if self.entity is Entity.ITEM else added.moments
        rows: list[pa.Table] = []
        for wave in _waves(added.keys, step):
            touched = self._activity.fold(added.take(wave))
            rows.append(self._activity.rows(touched, self.place, recomputed=True))
        if rows:
            self._writer.write_table(pa.concat_tables(rows))


class _ReplayedTransitions:
    """What is turned to after each item, as history goes by."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "transitions.parquet"
        self._sums = PairSums()
        self._writer = _writer(self.file, ITEM_TRANSITIONS)

    def take(self, events: pa.Table) -> None:
        interactions = interactions_in(events)
        hours = interactions["ms"].to_numpy() // _ITEM_STEP_MS
        ends = [*(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]
        for begin, end in pairwise([0, *ends]):
            changed = self._sums.fold(interactions.slice(begin, end - begin))
            self._writer.write_table(self._sums.rows(changed))

    def close(self) -> None:
        self._writer.close()


def _writer(file: Path, table: Table) -> pq.ParquetWriter:
    return pq.ParquetWriter(file, table.schema, compression="zstd")


def _waves(keys: pa.Array, steps: Integers) -> Iterator[Integers]:
    """Positions of the first step of each key, then of the second, and so on; positions ascend."""
    key = keys.dictionary_encode().indices.to_numpy()
    order = np.lexsort((steps, key))
    new_key = np.diff(key[order], prepend=-1) != 0
    new_step = new_key | (np.diff(steps[order], prepend=steps.min(initial=0) - 1) != 0)
    number = np.cumsum(new_step)
    first = np.maximum.accumulate(np.where(new_key, number, 0))
    waves = np.empty(len(order), np.int64)
    waves[order] = number - first
    by_wave = np.argsort(waves, kind="stable")
    ends = np.cumsum(np.bincount(waves))
    yield from np.split(by_wave, ends[:-1]) if len(waves) else ()
