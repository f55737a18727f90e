"""Putting checked events where they belong: the events table, the quarantine, the catalogue and the ledger.

The stream and the backfill both use what is here, so that an event is treated alike whichever way it came.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from feature_repo.settings import get_settings
from feature_repo.tables import EVENTS, LEDGER, PRODUCT, QUARANTINE
from ingestion.catalog import store as catalog_store
from ingestion.events.appending import Appender
from ingestion.events.enrichment import enriched
from ingestion.offsets import Offsets
from ingestion.privacy.tombstones import Tombstones
from ingestion.quarantine.writing import publish, refused_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def archivable(parsed: DataFrame) -> DataFrame:
    """What the archive wants of the rows of :func:`ingestion.events.parsing.parse`: refused events keep their payload."""
    payload = F.when(~F.col("good"), F.col("value")).alias("payload")
    return parsed.select("good", "dedup_key", payload, *(name for name in EVENTS.schema.names if name != "dt"))


def event_rows(good: pa.Table) -> pa.Table:
    """Rows of the events table, from good rows of :func:`archivable`."""
    made = {"dt": good["timestamp"].cast(pa.date32()), "products": _kept(good["products"].combine_chunks())}
    columns = [made[name] if name in made else good[name] for name in EVENTS.schema.names]
    return pa.table(columns, names=EVENTS.schema.names).cast(EVENTS.schema)


def _kept(products: pa.ListArray) -> pa.ListArray:
    """Of each product the fields that are stored. Spark could do that, too, but interprets functions on lists, slowly."""
    lines = products.flatten()
    fields = [pc.struct_field(lines, field.name) for field in PRODUCT]
    kept = pa.StructArray.from_arrays(fields, names=[field.name for field in PRODUCT])
    lengths = pc.fill_null(pc.list_value_length(products), 0)
    ends = np.concatenate([[0], np.cumsum(lengths.to_numpy(False))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), kept, mask=products.is_null())


def ledger_row(source: str, batch: str, accepted: int, processed: int, quarantined: int) -> pa.Table:
    """A row of the ledger; what was neither processed nor quarantined were duplicates."""
    row = {
        "source": source,
        "batch": batch,
        "recorded_at": datetime.now(UTC),
        "accepted": accepted,
        "processed": processed,
        "quarantined": quarantined,
        "duplicates": accepted - processed - quarantined,
    }
    return pa.Table.from_pylist([row], schema=LEDGER.schema)


class Archive:
    """What the stream has taken in and not written yet, besides features."""

    def __init__(self, first: Offsets, following: Offsets, tombstones: Tombstones) -> None:
        """Go on where the tables end, in a topic that reaches from ``first`` to ``following``."""
        self._tombstones = tombstones
        EVENTS.add_missing_columns()
        self._events, self._quarantine, self._ledger = (
            Appender(table, first, following) for table in (EVENTS, QUARANTINE, LEDGER)
        )

    @property
    def covered(self) -> list[Offsets]:
        """How far in Kafka each table reaches."""
        return [self._events.covered, self._quarantine.covered, self._ledger.covered]

    @property
    def events_covered(self) -> Offsets:
        """How far in Kafka the events table reaches."""
        return self._events.covered

    @property
    def waiting(self) -> int:
        """How many events have not been set aside to be written."""
        return self._events.waiting + self._quarantine.waiting

    def waiting_events(self) -> pa.Table:
        """Rows of the events table that have not been set aside to be written."""
        return self._events.waiting_rows()

    def take(self, rows: pa.Table, counted: pa.Array, events: pa.Table, place: Offsets) -> None:
        """Take a batch.

        Args:
            rows: all rows of :func:`archivable` of the batch.
            counted: which of them are events that count: good, and the first of their ids.
            events: these, as rows of the events table.
            place: where in Kafka the batch ends.
        """
        self._events.add(self._events.parted(events)[1], place)
        bad = pc.invert(rows["good"])
        refused = refused_rows(rows.filter(pc.and_(bad, pa.array(self._quarantine.beyond(rows)))), self._tombstones)
        if refused.num_rows:
            publish(refused)
        self._quarantine.add(refused, place)
        fresh = pa.array(self._ledger.beyond(rows))
        accepted, processed, quarantined = (
            pc.sum(mask).as_py() or 0 for mask in (fresh, pc.and_(fresh, counted), pc.and_(fresh, bad))
        )
        if accepted:
            ends = self._ledger.reached(place)
            batch = " ".join(f"{partition}:{ends[partition]}" for partition in sorted(ends))
            row = ledger_row(get_settings().kafka.events_topic, batch, accepted, processed, quarantined)
            self._ledger.add(row, place)

    def begin(self) -> None:
        """Set aside what is waiting, to be written while more is taken."""
        for appender in (self._events, self._quarantine, self._ledger):
            appender.begin()

    def write(self) -> None:
        """Write what was set aside; the catalogue learns of new products first, or a crash could make it miss them."""
        catalog_store.learn(self._events.writing_rows())
        self._events.write(enriched)
        self._quarantine.write()
        self._ledger.write()
