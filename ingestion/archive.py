"""Putting checked events where they belong: the events table, the quarantine, the catalogue and the ledger.

The archive query and the backfill both end here, so that an event is treated alike whichever way it came. It works on Arrow
tables in this process: for batches of some thousand events, Spark's planning and Delta log replay take many times longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import functions as F

from feature_repo.tables import EVENTS, LEDGER, PRODUCT
from ingestion import catalog_store, offsets
from ingestion.appending import append_once
from ingestion.enrichment import enriched
from ingestion.quarantine import quarantine

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclass(frozen=True)
class Accounts:
    """What was taken in: ``accepted`` events of ``source`` in ``batch``."""

    source: str
    batch: str
    accepted: int


@dataclass(frozen=True)
class Outcome:
    """What became of a batch; accepted = processed + quarantined + duplicates."""

    accepted: int
    processed: int
    quarantined: int
    duplicates: int


def archivable(parsed: DataFrame) -> DataFrame:
    """What :func:`archive` wants of the rows of :func:`ingestion.parsing.parse`: refused events keep their payload."""
    kept = F.transform("products", lambda p: F.struct(*(p[field.name].alias(field.name) for field in PRODUCT)))
    names = [name for name in EVENTS.schema.names if name not in ("products", "dt")]
    return parsed.select(
        "good", F.when(~F.col("good"), F.col("value")).alias("payload"), kept.alias("products"), *names
    )


def archive(
    unique: pa.Table, accounts: Accounts, app_id: str, version: int, covered: offsets.Offsets | None = None
) -> Outcome:
    """Write one batch; doing it again with the same ``app_id`` and ``version`` changes nothing.

    Args:
        unique: rows of :func:`archivable` without duplicates.
        accounts: how many events the batch started from.
        app_id: Delta application id of the writer.
        version: the batch's number within ``app_id``.
        covered: how far in Kafka the batch reaches, recorded with the events.
    """
    good, refused = unique.filter(unique["good"]), unique.filter(pc.invert(unique["good"]))
    days = good["timestamp"].cast(pa.date32())
    columns = [days if name == "dt" else good[name] for name in EVENTS.schema.names]
    events = pa.table(columns, names=EVENTS.schema.names).cast(EVENTS.schema)
    append_once(EVENTS, enriched(events), app_id, version, covered)
    if refused.num_rows:
        quarantine(refused, app_id, version)
    catalog_store.learn(events)
    duplicates = accounts.accepted - good.num_rows - refused.num_rows
    outcome = Outcome(accounts.accepted, good.num_rows, refused.num_rows, duplicates)
    _record(accounts, outcome, app_id, version)
    return outcome


def _record(accounts: Accounts, outcome: Outcome, app_id: str, version: int) -> None:
    row = {
        "source": accounts.source,
        "batch": accounts.batch,
        "recorded_at": datetime.now(UTC),
        "accepted": outcome.accepted,
        "processed": outcome.processed,
        "quarantined": outcome.quarantined,
        "duplicates": outcome.duplicates,
    }
    append_once(LEDGER, pa.Table.from_pylist([row], schema=LEDGER.schema), app_id, version)
