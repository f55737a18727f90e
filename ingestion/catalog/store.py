"""The catalogue in the offline and the online store: only what changed is written.

Two sources feed it: the shop's catalogue (``python -m ingestion catalog``) and, for products it does not know, the events
themselves, so that a product that is clicked can be recommended before a catalogue is connected.
"""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, write_deltalake

from feature_repo.tables import CATALOG, CATALOG_INDEX, SHOP
from ingestion.locks import writing_catalogue
from ingestion.online import OnlineStore, open_online_store
from ingestion.replacing import replace

REMOVED = "removed"  # the origin of rows of products that their full catalogue no longer lists
_COMPARED = ("name", "category", "brand", "price", "currency", "stock", "origin")


def current_rows() -> pa.Table:
    """The latest row of each product, in the schema of the catalogue table."""
    return _newest(DeltaTable(CATALOG.uri).to_pyarrow_table())


def _newest(stored: pa.Table) -> pa.Table:
    newest = "row_number() OVER (PARTITION BY product_id ORDER BY event_timestamp DESC, created DESC) = 1"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", stored)
        return connection.sql(f"SELECT * FROM stored QUALIFY {newest}").to_arrow_table().cast(CATALOG.schema)


@writing_catalogue()
def upsert(incoming: pa.Table, remember: CommitProperties | None = None, offline_only: bool = False) -> int:
    """Write the rows of ``incoming`` that are news, offline and online.

    Args:
        incoming: columns ``product_id``, ``event_timestamp``, ``name``, ``category``, ``brand``, ``price``,
            ``currency``, ``stock``, ``first_seen_at`` and ``origin``; any number of rows per product. A row without
            ``event_timestamp`` counts from now on. The first row of a product that was not known counts from when the
            product was first seen: nothing older is known, and training needs to know something of the past.
        remember: what the offline store's commit has to carry; it is made even if no row is news.
        offline_only: leave the online store alone, which need not be there then.

    Returns:
        How many rows were written. A row that says the same as the one before it in time is not news.

    Raises:
        DeltaError: another process has committed the same at the same time; nothing is stored offline.
    """
    table = DeltaTable(CATALOG.uri)
    stored = table.to_pyarrow_table()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", stored)
        connection.register("incoming", incoming)
        rows = connection.sql(_news()).to_arrow_table()
    rows = rows.append_column("created", pa.repeat(pa.scalar(datetime.now(UTC)), rows.num_rows))
    rows = rows.select(CATALOG.schema.names).cast(CATALOG.schema)
    if rows.num_rows:
        stored = stored.cast(CATALOG.schema)
        known, given = (set(part["product_id"].to_pylist()) for part in (stored, rows))
        index = _index_row(sorted(known | given)) if given - known else None
        # Online first: if this is cut off, the rows are still news the next time.
        if not offline_only:
            _write_online(stored, rows, index)
        if index is not None:
            write_deltalake(CATALOG_INDEX.uri, index, mode="append")
    if rows.num_rows or remember:
        write_deltalake(table, rows, mode="append", commit_properties=remember)
    return rows.num_rows


def removals(products: set[str]) -> pa.Table:
    """Rows for :func:`upsert` that make products unavailable from now on, whatever is known of a later time."""
    kept = ", ".join(name for name in _COMPARED if name not in ("stock", "origin"))
    sql = f"""
        SELECT product_id, greatest(event_timestamp, now()) AS event_timestamp, {kept}, 0::BIGINT AS stock, first_seen_at,
            '{REMOVED}' AS origin
        FROM rows WHERE origin <> '{REMOVED}' AND product_id IN (SELECT unnest($1))
    """
    return _of_rows(current_rows(), sql, products)


def returns(incoming: pa.Table, products: set[str]) -> pa.Table:
    """Of listed products that are removed now, what ``incoming`` says last, as of now: its own time may be before the removal."""
    stored = current_rows()
    removed = set(stored.filter(pc.equal(stored["origin"], REMOVED))["product_id"].to_pylist())
    sql = """
        SELECT * REPLACE (NULL::TIMESTAMPTZ AS event_timestamp) FROM rows
        WHERE product_id IN (SELECT unnest($1)) AND event_timestamp <= now()
            AND product_id NOT IN (SELECT product_id FROM rows WHERE event_timestamp IS NULL)
        QUALIFY row_number() OVER (PARTITION BY product_id ORDER BY event_timestamp DESC) = 1
    """
    return _of_rows(incoming, sql, products & removed)


def _of_rows(rows: pa.Table, sql: str, products: set[str]) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", rows)
        return connection.sql(sql, params=[sorted(products)]).to_arrow_table()


def _write_online(stored: pa.Table, rows: pa.Table, index: pa.Table | None) -> None:
    online = open_online_store()
    everything = _newest(pa.concat_tables([stored, rows]))
    changed = everything.filter(pc.is_in(everything["product_id"], value_set=rows["product_id"].combine_chunks()))
    if not online.push(CATALOG, changed):
        online.fill(CATALOG, everything, "products")
    if index is not None:
        online.fill(CATALOG_INDEX, index, "index")


def _news() -> str:
    """SQL over ``stored`` and ``incoming`` that gives the incoming rows worth writing, oldest first."""
    same = " AND ".join(f"{name} IS NOT DISTINCT FROM lag({name}) OVER w" for name in _COMPARED)
    columns = ", ".join(("product_id", "event_timestamp", "first_seen_at", *_COMPARED))
    # At the same time, what was written last counts: it corrects the others.
    # A price that did not change keeps the previous one, so that a change of stock does not hide a price cut.
    return f"""
        WITH placed AS (
            SELECT *, product_id NOT IN (SELECT product_id FROM stored)
                AND row_number() OVER (PARTITION BY product_id ORDER BY event_timestamp) = 1 AS beginning
            FROM incoming
        ), dated AS (
            SELECT * EXCLUDE (beginning) REPLACE (
                CASE WHEN beginning
                    THEN coalesce(least(event_timestamp, to_timestamp(first_seen_at)), TIMESTAMPTZ '2000-01-01 00:00:00+00')
                    ELSE coalesce(event_timestamp, now()) END AS event_timestamp)
            FROM placed
        ), history AS (
            SELECT {columns}, created, false AS fresh FROM stored UNION ALL BY NAME SELECT {columns}, true AS fresh FROM dated
        ), compared AS (
            SELECT *,
                lag(product_id) OVER w IS NOT NULL AND {same} AS repeats,
                CASE WHEN lag(price) OVER w <> price THEN lag(price) OVER w END AS price_before,
                min(first_seen_at) OVER (PARTITION BY product_id) AS first_seen
            FROM history WINDOW w AS (PARTITION BY product_id ORDER BY event_timestamp, fresh, created)
        )
        SELECT * EXCLUDE (first_seen_at, first_seen, repeats, fresh, created, price_before), first_seen AS first_seen_at,
            last_value(price_before IGNORE NULLS) OVER (
                PARTITION BY product_id ORDER BY event_timestamp, fresh, created
                ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
            ) AS previous_price
        FROM compared QUALIFY fresh AND NOT repeats ORDER BY event_timestamp
    """


def _index_row(products: list[str]) -> pa.Table:
    """The ids of all products, so that a service knows what to ask for."""
    now = datetime.now(UTC)
    row = {"shop": SHOP, "event_timestamp": now, "created": now, "product_ids": products}
    return pa.Table.from_pylist([row], schema=CATALOG_INDEX.schema)


def forget_indexes(before: datetime) -> None:
    """Delete the rows of the index that others had taken the place of before a moment."""
    times = DeltaTable(CATALOG_INDEX.uri).to_pyarrow_table(columns=["event_timestamp"])["event_timestamp"].to_pylist()
    replaced = [time for time in times if time < before]
    if len(replaced) > 1:
        replace(CATALOG_INDEX, f"event_timestamp < '{max(replaced).isoformat()}'")


@writing_catalogue()
def fill_online(online: OnlineStore) -> int:
    """Put the whole catalogue and its index online; returns how many products that are."""
    rows = current_rows()
    online.fill(CATALOG_INDEX, _index_row(sorted(rows["product_id"].to_pylist())), "index")
    return online.fill(CATALOG, rows, "products")


@writing_catalogue()
def learn(events: pa.Table, offline_only: bool = False) -> int:
    """Add the products that ``events``, rows of the events table, mention and the catalogue does not know.

    Args:
        offline_only: as for :func:`upsert`.

    Returns:
        How many were added.
    """
    known = DeltaTable(CATALOG.uri).to_pyarrow_table(columns=["product_id"])
    newest = ", ".join(f"arg_max(p.{name}, timestamp) FILTER (p.{name} IS NOT NULL) AS {name}" for name in _LEARNT)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("events", events)
        connection.register("known", known)
        incoming = connection.sql(
            f"""
            SELECT p.product_id AS product_id, min(timestamp) AS event_timestamp, max(currency) AS currency, {newest},
                NULL::BIGINT AS stock, epoch(min(timestamp)) AS first_seen_at, 'events' AS origin
            FROM (SELECT timestamp, currency, unnest(products) AS p FROM events)
            WHERE p.product_id NOT IN (SELECT product_id FROM known)
            GROUP BY p.product_id
            """
        ).to_arrow_table()
    return upsert(incoming, offline_only=offline_only) if incoming.num_rows else 0


_LEARNT = ("name", "category", "brand", "price")
