"""Rows on their way from Kafka to a Delta table, which takes each place in Kafka once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from numpy.typing import NDArray

from feature_repo.tables import Table
from ingestion import offsets
from ingestion.offsets import Offsets


class Appender:
    """Collects rows and commits them together with the place in Kafka that they reach.

    Attributes:
        covered: how far in Kafka the committed rows reach.
    """

    def __init__(self, table: Table, first: Offsets, following: Offsets) -> None:
        """Go on where the table ends, in a topic that reaches from ``first`` to ``following``."""
        self.covered = offsets.reachable(offsets.covered(table), first, following)
        self._table = table
        self._reached = self.covered
        self._waiting: list[pa.Table] = []
        self._writing: list[pa.Table] = []
        self._target = self.covered
        # Kept open: to open a table reads its log since the last checkpoint, which takes longer than to append.
        self._stored: DeltaTable | None = None

    @property
    def waiting(self) -> int:
        """How many rows have not been set aside to be written."""
        return sum(rows.num_rows for rows in self._waiting)

    def reached(self, place: Offsets) -> Offsets:
        """How far the table reaches, the waiting rows included, when it has taken what lies before ``place``."""
        return {partition: max(offset, self._reached.get(partition, 0)) for partition, offset in place.items()}

    def beyond(self, rows: pa.Table) -> NDArray[np.bool_]:
        """Which rows, by their ``partition`` and ``offset``, the table has not taken yet."""
        return offsets.beyond(self._reached, rows)

    def parted(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The rows that the table has taken already, and those that it has not."""
        return offsets.parted(self._reached, rows)

    def add(self, rows: pa.Table, place: Offsets) -> None:
        """Take rows that come from what lies before ``place``."""
        if rows.num_rows:
            self._waiting.append(rows)
        self._reached = self.reached(place)

    def begin(self) -> None:
        """Set aside what is waiting, to be written while more is added."""
        self._writing, self._waiting = self._waiting, []
        self._target = self._reached

    def write(self, prepared: Callable[[pa.Table], pa.Table] = lambda rows: rows) -> None:
        """Append what has been set aside, after a last touch."""
        if self._target == self.covered:
            return
        if self._stored is None:
            self._stored = DeltaTable(self._table.uri)
        self._stored.update_incremental()
        rows = prepared(self.writing_rows())
        write_deltalake(self._stored, rows, mode="append", commit_properties=offsets.commit(self._target))
        self.covered = self._target
        self._writing = []

    def writing_rows(self) -> pa.Table:
        """What has been set aside and not been written."""
        return self._together(self._writing)

    def waiting_rows(self) -> pa.Table:
        """What has been taken and not been set aside."""
        return self._together(self._waiting)

    def _together(self, parts: list[pa.Table]) -> pa.Table:
        return pa.concat_tables(parts) if parts else self._table.schema.empty_table()
