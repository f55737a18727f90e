"""Everything that is held of one customer, as plain values."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from feature_repo.tables import ACTIVITY, Table
from ingestion.privacy import tables
from ingestion.privacy.spans import Theirs, theirs

# How a table is called that is also online.
ONLINE = "online"


def everything_of(customer: str) -> tuple[Theirs, dict[str, list[dict[str, Any]]]]:
    """The customer's ids, and rows by table; the row of each id in the online store as of ``online``.

    Raises:
        UnavailableError: the online store does not answer.
    """
    now = round(time.time() * 1000)
    of = theirs(tables.stored_identities(), customer, now)
    found = {table.name: rows_of(table, of) for table in tables.HOLDING}
    return of, found | {ONLINE: _online_rows(sorted(of.whole))}


def rows_of(table: Table, of: Theirs) -> list[dict[str, Any]]:
    """The customer's rows of a table; a map is a list of pairs in Arrow, and an object here."""
    rows = tables.rows_of(table, of)
    maps = [field.name for field in rows.schema if pa.types.is_map(field.type)]
    found = rows.to_pylist()
    for row in found:
        for name in maps:
            row[name] = dict(row[name] or ())
        for name, value in row.items():
            if isinstance(value, datetime):
                row[name] = value.astimezone(UTC)
    return found


def _online_rows(ids: list[str]) -> list[dict[str, Any]]:
    from feature_repo.errors import UnavailableError
    from feature_repo.online.redis_client import REDIS_ERRORS
    from ingestion.online import open_applied_store

    store = open_applied_store()
    views = [table.view for entity, table in ACTIVITY.items() if entity.key == "customer_id"]
    features = [f"{view}:{feature.name}" for view in views for feature in store.get_feature_view(view).features]
    try:
        columns = store.get_online_features(
            features, [{"customer_id": id_} for id_ in ids], full_feature_names=True
        ).to_dict()
    except REDIS_ERRORS as error:
        raise UnavailableError(f"the online store cannot be used: {error}") from error
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [row for row in rows if any(value is not None for name, value in row.items() if name != "customer_id")]
