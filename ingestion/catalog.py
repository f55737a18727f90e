"""``python -m ingestion catalog PATH``: load a catalogue file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".jsonl": "read_json", ".json": "read_json"}
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", type=Path, metavar="PATH", help="a .parquet, .csv, .jsonl or .json file")
    parser.epilog = (
        "Columns: product_id (required), name, category (levels separated by /), brand, price, currency, stock, "
        "updated_at, created_at. Several rows of a product are its history; the first of a new product counts from "
        "created_at on, if that is given, since nothing older is known. Without updated_at a row counts from now on, or, "
        "for a new product, from always. Only rows that say something new are written. "
        "Missing stock means unknown, and the product counts as available; 0 takes it out of recommendations."
    )


def run(args: argparse.Namespace) -> int:
    rows = read_catalog(args.path)
    from ingestion import catalog_store

    written = catalog_store.upsert(rows)
    total = catalog_store.current_rows().num_rows
    print(f"{rows.num_rows:,} rows read, {written:,} of them new or changed; the catalogue has {total:,} products")
    return 0


def read_catalog(path: Path) -> pa.Table:
    """A catalogue file as rows for :func:`ingestion.catalog_store.upsert`.

    Raises:
        InputError: the file is missing, of an unknown kind, or lacks product ids.
    """
    import duckdb

    if not path.is_file():
        raise InputError(f"{path} is not a file; give a catalogue as .parquet, .csv, .jsonl or .json")
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise InputError(f"{path.name}: unknown kind {path.suffix!r}; use one of {', '.join(_READERS)}")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            source = connection.sql(f"SELECT * FROM {reader}(?)", params=[str(path)])
            columns = source.columns
            if "product_id" not in columns:
                raise InputError(f"{path.name} has no column product_id; it has {', '.join(columns)}")
            selected = [
                f"CAST({name} AS {kind}) AS {name}" if name in columns else f"NULL::{kind} AS {name}"
                for name, kind in _OPTIONAL.items()
            ]
            table = connection.sql(
                f"""
                WITH rows AS (
                    SELECT trim(CAST(product_id AS VARCHAR)) AS product_id, {", ".join(selected)} FROM source
                )
                SELECT * EXCLUDE (updated_at, created_at), 'catalog' AS origin,
                    updated_at AS event_timestamp,
                    epoch(coalesce(created_at, min(updated_at) OVER (PARTITION BY product_id))) AS first_seen_at
                FROM rows WHERE product_id <> ''
                """
            ).to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"{path.name} cannot be read as a catalogue: {error}") from error
    if table.num_rows == 0:
        raise InputError(f"{path.name} has no rows with a product_id")
    return table
