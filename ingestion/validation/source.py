"""A catalogue source, before it is loaded: what the loader would read of it, checked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePath

import duckdb
import pyarrow as pa
from deltalake import DeltaTable

from feature_repo.checks.expectations import expected_of_source, missing_in_source
from feature_repo.checks.findings import Finding, Status, judged
from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from feature_repo.tables import CATALOG
from ingestion.catalog.listings import Listings, listed_by
from ingestion.catalog.places import Place, place_of
from ingestion.catalog.sources import Part, find
from ingestion.validation.rows import EXAMPLES, check_rows

_BATCH_ROWS = 50_000
_FIX = "correct the source, then look again"


def check_source(path: str, at: datetime) -> tuple[list[Finding], list[str]]:
    """All checks of a file, folder or Delta table with products.

    Raises:
        InputError: there is nothing usable.
        UnavailableError: the server that has it cannot be reached.
    """
    place = place_of(path)
    read: list[tuple[Part, pa.Table]] = []
    unreadable: list[str] = []
    for part in find(place, lambda _: None).changed:
        try:
            read.append((part, part.read()))
        except InputError as error:
            unreadable.append(str(error))
    name = PurePath(place.key).name or place.key
    found = [
        Finding(
            name, "readable", "files", judged(len(unreadable)), len(unreadable), len(read) + len(unreadable), limit="all",
            examples=tuple(unreadable[:EXAMPLES]), advice=_FIX if unreadable else "",
        ),
        *_of_rows(name, [rows for _, rows in read], at),
        _unique(name, [rows for _, rows in read]),
        _volume(name, place, read),
    ]  # fmt: skip
    return found, [f"Looked at every row of {place.key}."]


def _of_rows(name: str, tables: Sequence[pa.Table], at: datetime) -> list[Finding]:
    batches = (batch for table in tables for batch in table.to_batches(_BATCH_ROWS))
    return check_rows(name, batches, expected_of_source(at), "product_id", _FIX, missing_in_source())


def _unique(name: str, tables: Sequence[pa.Table]) -> Finding:
    """Rows of one file that tell of the same product at the same time; only the last of them counts."""
    failing, rows, examples = 0, 0, []
    for table in tables:
        with duckdb.connect() as connection:
            connection.register("rows", table)
            twice = connection.sql(
                "SELECT product_id, count(*) - 1 AS n FROM rows GROUP BY product_id, event_timestamp HAVING n > 0 ORDER BY ALL"
            ).fetchall()
        failing += sum(n for _, n in twice)
        examples += [product_id for product_id, _ in twice]
        rows += table.num_rows
    advice = "of rows about the same product and time only the last counts: leave one, or tell them apart by updated_at"
    return Finding(
        name, "unique", "product_id, updated_at", judged(failing), failing, rows, limit="none",
        examples=tuple(examples[:EXAMPLES]), advice=advice if failing else "",
    )  # fmt: skip


def _volume(name: str, place: Place, read: Sequence[tuple[Part, pa.Table]]) -> Finding:
    """How many of the products that the source listed when it was loaded last it still lists."""
    before: set[str] = set()
    if CATALOG.exists():
        listings = Listings(DeltaTable(CATALOG.uri).transaction_version)
        before = listings.products(listings.of(place.key))
    now = set().union(*listed_by(read).values())
    lost, most = before - now, get_settings().catalog.max_removed_share
    status = judged(len(lost), int(most * len(before))) if before else judged(0 if now else 1)
    return Finding(
        name, "volume", "products", status, len(lost), len(before) or len(now), limit=f"{most:.0%} gone since the last load",
        examples=tuple(sorted(lost)[:EXAMPLES]),
        advice="the source looks half-written; a full list of products is not loaded like this"
        if status is Status.VIOLATED
        else "",
    )  # fmt: skip
