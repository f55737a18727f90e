"""Reading a catalogue: a file, or files of a Delta table, as rows for :func:`ingestion.catalog.store.upsert`."""

from __future__ import annotations

import csv
import glob
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePath
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, DeltaProtocolError

from feature_repo.errors import InputError
from ingestion.catalog.places import Place

_PRODUCT_ID = "trim(CAST(product_id AS VARCHAR))"
_DELIMITERS = ",;\t|"
_OPTIONAL = {
    "name": "VARCHAR",
    "category": "VARCHAR",
    "brand": "VARCHAR",
    "price": "DOUBLE",
    "currency": "VARCHAR",
    "stock": "BIGINT",
    "updated_at": "TIMESTAMPTZ",
    "created_at": "TIMESTAMPTZ",
}
_MEANT = {
    "DOUBLE": "a number, with a point before decimals and nothing else",
    "BIGINT": "a whole number",
    "TIMESTAMPTZ": "a time as in 2026-01-31T12:00:00Z",
}


def read_file(path: Path, kind: str) -> pa.Table:
    """The rows of a file, in its order.

    Args:
        kind: Parquet, CSV or JSON.

    Raises:
        InputError: the file cannot be read, or has no product ids.
    """
    try:
        # DuckDB takes a path for a pattern.
        source = _connection().sql(f"SELECT * FROM {_READERS[kind](path)}", params=[glob.escape(str(path))])
        return _rows(source, path.name)
    except (UnicodeDecodeError, csv.Error, duckdb.Error) as error:
        # What follows is advice on DuckDB's own options.
        why = "; ".join(str(error).partition("\nPossible ")[0].split("\n"))
        raise InputError(f"{path.name} cannot be read as a catalogue: {why}") from None


def _read_csv(path: Path) -> str:
    """All as text: by guessing types, DuckDB would make other ids of some, and of all others in the same file."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(file, "")
        delimiter = max(_DELIMITERS, key=lambda one: len(next(csv.reader([first], delimiter=one), [])))
        file.seek(0)
        names = next(csv.reader(file, delimiter=delimiter), [])
    if not names:
        raise InputError(f"{path.name} is empty")
    columns = [name.strip() or f"column {number}" for number, name in enumerate(names, 1)]
    if len(set(columns)) < len(columns):
        raise InputError(f"{path.name} has two columns of the same name; it has {', '.join(names)}")
    return (
        f"read_csv(?, auto_detect = false, header = true, delim = '{delimiter}', quote = '\"', escape = '\"', "
        f"columns = {_as_text(columns)})"
    )


def _read_json(_path: Path) -> str:
    """As text, like CSV; a number and a word may be the ids of two products of the same file."""
    return f"read_json(?, columns = {_as_text(['product_id', *_OPTIONAL])})"


_READERS = {"Parquet": lambda _path: "read_parquet(?)", "CSV": _read_csv, "JSON": _read_json}


def _as_text(columns: Iterable[str]) -> str:
    """These columns, for DuckDB's readers."""
    quoted = (column.replace("'", "''") for column in columns)
    return "{" + ", ".join(f"'{column}': 'VARCHAR'" for column in quoted) + "}"


def data_files(table: DeltaTable) -> dict[str, int]:
    """The files that this version of a Delta table is made of, with the times at which they were added."""
    added = pa.table(table.get_add_actions())
    # In the log, paths are URLs.
    paths, times = added["path"].to_pylist(), added["modification_time"].cast(pa.int64()).to_pylist()
    return {unquote(path): added_at for path, added_at in zip(paths, times, strict=True)}


def read_delta(table: DeltaTable, place: Place, files: Mapping[str, int]) -> pa.Table:
    """The rows of some of the :func:`data_files` of a table, oldest first; of all where they cannot be told apart.

    Raises:
        InputError: the table cannot be read, or has no product ids.
    """
    try:
        try:
            whole = table.to_pyarrow_dataset()
            parts = [fragment for fragment in whole.get_fragments() if fragment.path in files]
            parts.sort(key=lambda fragment: files[fragment.path])
            source: ds.Dataset | pa.RecordBatchReader = ds.FileSystemDataset(parts, whole.schema, whole.format)
        except DeltaProtocolError:
            # Deletion vectors and mapped columns: only the table's own reader knows them.
            source = pa.RecordBatchReader.from_stream(table.scan())
        return _rows(_connection().from_arrow(source), PurePath(place.key).name)
    except (DeltaError, duckdb.Error, pa.ArrowException, OSError) as error:
        raise InputError(f"{place.key} cannot be read as a catalogue: {place.explain(error)}") from None


def listed_in_delta(table: DeltaTable, place: Place, rows: pa.Table) -> set[str]:
    """All products of a table; ``rows`` are all there are where files cannot be told apart.

    Raises:
        InputError: the table cannot be read.
    """
    try:
        ids = _connection().from_arrow(table.to_pyarrow_dataset().scanner(columns=["product_id"]).to_reader())
    except DeltaProtocolError:
        return set(rows["product_id"].to_pylist())
    except (DeltaError, pa.ArrowException, OSError) as error:
        raise InputError(f"{place.key} cannot be read as a catalogue: {place.explain(error)}") from None
    try:
        found = ids.query("ids", f"SELECT DISTINCT {_PRODUCT_ID} AS product_id FROM ids WHERE {_PRODUCT_ID} <> ''")
        return set(found.to_arrow_table()["product_id"].to_pylist())
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise InputError(f"{place.key} cannot be read as a catalogue: {place.explain(error)}") from None


def latest_said(tables: Iterable[pa.Table]) -> pa.Table:
    """All rows together; of those that tell of the same product at the same time, only the last."""
    rows = pa.concat_tables(tables)
    rows = rows.append_column("place", pa.array(range(rows.num_rows), pa.int64()))
    last = "row_number() OVER (PARTITION BY product_id, event_timestamp ORDER BY place DESC) = 1"
    said = _connection().from_arrow(rows).query("said", f"SELECT * EXCLUDE (place) FROM said QUALIFY {last}")
    return said.to_arrow_table()


@cache
def _connection() -> duckdb.DuckDBPyConnection:
    """One for all files: to open it takes longer than to read a small one."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _rows(source: duckdb.DuckDBPyRelation, name: str) -> pa.Table:
    columns = source.columns
    if "product_id" not in columns:
        raise InputError(f"{name} has no column product_id; it has {', '.join(columns)}")
    texts = {column for column, kind in zip(columns, source.types, strict=True) if kind == "VARCHAR"}
    given = {column: kind for column, kind in _OPTIONAL.items() if column in columns}
    # A field without anything in it says nothing.
    values = {column: f"nullif(trim({column}), '')" if column in texts else column for column in given}
    selected = [
        f"TRY_CAST({values[column]} AS {kind}) AS {column}" if column in given else f"NULL::{kind} AS {column}"
        for column, kind in _OPTIONAL.items()
    ]
    unread = [
        f"WHEN {values[column]} IS NOT NULL AND TRY_CAST({values[column]} AS {kind}) IS NULL "
        f"THEN ['{column}', product_id::VARCHAR, {values[column]}::VARCHAR]"
        for column, kind in given.items()
    ]
    rows = source.query(
        "source",
        f"""
        WITH rows AS (
            SELECT {_PRODUCT_ID} AS product_id, {", ".join(selected)}, row_number() OVER () AS place,
                CASE {" ".join(unread)} WHEN true THEN NULL::VARCHAR[] END AS unread
            FROM source
        )
        SELECT * EXCLUDE (updated_at, created_at, place), 'catalog' AS origin,
            updated_at AS event_timestamp,
            epoch(coalesce(created_at, min(updated_at) OVER (PARTITION BY product_id))) AS first_seen_at
        FROM rows ORDER BY place
        """,
    ).to_arrow_table()
    for column, product_id, said in rows["unread"].drop_null().to_pylist()[:1]:
        raise InputError(
            f"{name} cannot be read as a catalogue: the {column} of product {product_id} is {said!r}, which is not "
            f"{_MEANT[_OPTIONAL[column]]}"
        )
    named = rows.drop_columns("unread").filter(pc.not_equal(rows["product_id"], ""))
    if rows.num_rows and not named.num_rows:
        raise InputError(f"{name} has no rows with a product_id")
    return named
