"""Which stored rows are a customer's, and taking them out of the Delta tables so that no file holds them any more."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Set
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable

from feature_repo.tables import (
    CUSTOMER_ACTIVITY,
    CUSTOMER_EXPOSURE,
    EVENTS,
    OUTCOMES,
    QUARANTINE,
    QUARANTINE_REPLAYS,
    RECOMMENDATIONS,
    Table,
)
from ingestion import sql
from ingestion.erased_rows import counted_apart, erased_rows, note_erased
from ingestion.features.identity import TIE_TYPES, Identities, ties_in
from ingestion.privacy.spans import Spans, Theirs, condition
from ingestion.privacy.tombstones import named_in
from ingestion.replacing import replace

# Those that hold something of customers; the others are about products and counts.
HOLDING = (
    OUTCOMES,
    RECOMMENDATIONS,
    QUARANTINE_REPLAYS,
    QUARANTINE,
    EVENTS,
    CUSTOMER_ACTIVITY,
    CUSTOMER_EXPOSURE,
)
# When an event happened: a tracker's clock may be ahead of its arrival.
HAPPENED = "least(timestamp, received_at)"
_AT_ONCE = 10_000
_LOG_RETENTION = {
    "delta.logRetentionDuration": "interval 30 days",
    "delta.deletedFileRetentionDuration": "interval 1 week",
}
_NONE = "interval 0 seconds"


def stored_identities() -> Identities:
    """The ties that stored events make."""
    if not EVENTS.exists():
        return Identities()
    names = "type, user_id, anonymous_id, previous_id, timestamp"
    return Identities(ties_in(_where(EVENTS, sql.one_of("type", TIE_TYPES), names)))


def rows_of(table: Table, theirs: Theirs) -> pa.Table:
    """The customer's rows of a table of :data:`HOLDING`."""
    if not table.exists():
        return table.schema.empty_table()
    if table is QUARANTINE:
        return _refused(theirs.spans)
    if table is QUARANTINE_REPLAYS:
        ids = _where(EVENTS, _condition(EVENTS, theirs), "message_id")["message_id"].to_pylist()
        return _where(table, sql.one_of("message_id", ids))
    return _where(table, _condition(table, theirs))


def erase(table: Table, theirs: Theirs) -> int:
    """Take the customer's rows out; gives how many there were. The files that held them stay until :func:`purge`.

    The features of a device that several customers share have no rows of one of them alone: :mod:`ingestion.privacy.features`
    computes them anew. Of refused events, the content goes and the row stays: what was refused, and why, must still add up.
    """
    if not table.exists():
        return 0
    found = rows_of(table, theirs)
    if table is QUARANTINE:
        payloads = {text.strip() for text in found["payload"].to_pylist()}
        for places in _parts(found["offset"].to_pylist()):
            where = f'"offset" IN ({", ".join(map(str, places))})'
            replace(table, where, _without(_where(table, where), "payload", payloads))
    elif table is QUARANTINE_REPLAYS:
        for ids in _parts(found["message_id"].to_pylist()):
            replace(table, sql.one_of("message_id", ids))
    elif found.num_rows:
        properties = _account(DeltaTable(table.uri), found) if table is EVENTS else None
        replace(table, _condition(table, theirs), properties=properties)
    if table is EVENTS:
        _unmention(theirs)
    return int(found.num_rows)


def purge(table: Table) -> None:
    """Delete every file that is not of the present version, and the log's memory of what they held.

    The log has the smallest and largest value of each column of each file: ids, too. Nobody else may be rewriting the table.
    """
    if not table.exists():
        return
    stored = DeltaTable(table.uri)
    stored.vacuum(0, enforce_retention_duration=False, dry_run=False, full=True)
    configuration = stored.metadata().configuration
    usual = {name: configuration.get(name) or value for name, value in _LOG_RETENTION.items()}
    # An earlier attempt may have been cut off before it set them back.
    usual = {name: _LOG_RETENTION[name] if value == _NONE else value for name, value in usual.items()}
    usual |= {"delta.logRetentionDuration": declared} if (declared := _declared_retention(table)) else {}
    stored.alter.set_table_properties(dict.fromkeys(usual, _NONE), raise_if_not_exists=False)
    time.sleep(0.01)  # so that all of the log is older than nothing
    stored = DeltaTable(table.uri)
    stored.create_checkpoint()
    stored.cleanup_metadata()
    stored.alter.set_table_properties(usual, raise_if_not_exists=False)


def _declared_retention(table: Table) -> str | None:
    return (table.properties or {}).get("delta.logRetentionDuration")


def _condition(table: Table, theirs: Theirs) -> str:
    if table is EVENTS:
        return condition(theirs.spans, "customer_id", HAPPENED)
    if table is RECOMMENDATIONS:
        unreadable = [f"strpos(unreadable, {sql.text(id_)}) > 0" for id_ in sorted(theirs.whole)]
        return " OR ".join([condition(theirs.spans, "customer_id", "answered_at"), *unreadable])
    if table is OUTCOMES:
        return condition(theirs.spans, "person", "shown_at")
    return sql.one_of("customer_id", theirs.whole)


def _account(stored: DeltaTable, found: pa.Table) -> CommitProperties:
    """What the commit that deletes events must carry, so that the ledger still adds up."""
    groups = found.group_by(["source", "partition"]).aggregate([([], "count_all")]).to_pylist()
    total: dict[str, int] = {}
    for group in groups:
        name = counted_apart(group["source"], group["partition"])
        total[name] = total.get(name, erased_rows(stored, name)) + group["count_all"]
    return CommitProperties(app_transactions=[note_erased(name, count) for name, count in total.items()])


def _unmention(theirs: Theirs) -> None:
    """Take the customer's ids out of others' events: a device on which somebody else signed in later without saying so."""
    until = {id_: theirs.spans[id_] for id_ in theirs.whole}
    for name in ("anonymous_id", "previous_id"):
        mentioning = _where(EVENTS, condition(until, f"trim({name})", HAPPENED), "message_id")
        for ids in _parts(mentioning["message_id"].to_pylist()):
            where = sql.one_of("message_id", ids)
            replace(EVENTS, where, _without(_where(EVENTS, where), name, theirs.whole))


def _without(rows: pa.Table, name: str, texts: Set[str]) -> pa.Table:
    """The rows without some texts in a column."""
    kept = [None if text is None or text.strip() in texts else text for text in rows[name].to_pylist()]
    return rows.set_column(rows.schema.names.index(name), rows.schema.field(name), pa.array(kept, pa.string()))


def _refused(spans: Spans) -> pa.Table:
    """Rows of the quarantine whose payload is the customer's."""
    if not QUARANTINE.exists():
        return QUARANTINE.schema.empty_table()
    mentioned = " OR ".join(f"strpos(payload, {sql.text(text)}) > 0" for id_ in spans for text in _spellings(id_))
    candidates = _where(QUARANTINE, mentioned or "false")
    theirs = [_is_theirs(row["payload"], row["received_at"], spans) for row in candidates.to_pylist()]
    return candidates.filter(pa.array(theirs, pa.bool_()))


def _is_theirs(payload: str, received_at: datetime, spans: Spans) -> bool:
    ids, ms = named_in(payload, received_at)
    if ids is None:
        ids = {id_ for id_ in spans if re.search(rf"(?<!\w){re.escape(id_)}(?!\w)", payload)}
    return any(since <= ms <= until for id_ in ids for since, until in spans.get(id_, ()))


def _spellings(id_: str) -> set[str]:
    """An id as it may stand in JSON."""
    return {id_, json.dumps(id_)[1:-1], json.dumps(id_, ensure_ascii=False)[1:-1]}


def _where(table: Table, where: str, columns: str = "*") -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", DeltaTable(table.uri).to_pyarrow_dataset())
        rows = connection.execute(f"SELECT {columns} FROM stored WHERE {where}").to_arrow_table()
    return rows.select(table.schema.names).cast(table.schema) if columns == "*" else rows


def _parts(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE))
