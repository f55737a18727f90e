"""What is published of the offline store: which tables, what tells their rows apart, and what of them is compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaProtocolError

from feature_repo.aggregates import DECAYED_SUMS
from feature_repo.tables import ALL_TABLES, Table

PUBLISHED = tuple(table for table in ALL_TABLES if table.view)
_ROWS_PER_BATCH = 50_000
_TOLERANCE = 1e-9

Rows: TypeAlias = ds.Dataset | pa.RecordBatchReader


def identity(table: Table) -> tuple[str, str, str]:
    """The columns that tell rows apart: of whom, about when, written when."""
    return table.schema.names[0], "event_timestamp", "created"


def as_of(table: Table) -> str | None:
    """The column with the time that decayed sums are as of, epoch seconds; None where a row has none."""
    return next((name for name in ("last_event_at", "next_at") if name in table.schema.names), None)


def column_comments(table: Table) -> dict[str, str]:
    """What people should know of columns, as far as it is declared."""
    keys = {aggregate.entity.key for aggregate in DECAYED_SUMS if aggregate.entity.key == table.schema.names[0]}
    return {
        aggregate.name: aggregate.description
        for aggregate in DECAYED_SUMS
        if aggregate.entity.key in keys and aggregate.name in table.schema.names
    }


def rows_in(table: Table, files: Sequence[Path]) -> Rows:
    """The rows of some data files, in the declared columns; those that a file has not are null."""
    return ds.dataset([str(file) for file in files], schema=table.schema, format="parquet")


def all_rows(stored: DeltaTable) -> Rows:
    """All rows of a version of a table."""
    try:
        return stored.to_pyarrow_dataset()
    except DeltaProtocolError:  # marked as deleted within their files: only the table's own reader knows
        return pa.RecordBatchReader.from_stream(stored.scan())


def encoded(
    table: Table, rows: Rows, columns: Sequence[str], encode: Callable[[pa.Field], str], without: Rows | None = None
) -> Iterator[pa.RecordBatch]:
    """Columns as a warehouse wants them.

    Args:
        encode: SQL of DuckDB that gives a column's values.
        without: leave out what has the identity of one of these rows.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET preserve_insertion_order = true")
        connection.register("rows", rows)
        known = set(rows.schema.names)
        chosen = ", ".join(
            f"{encode(table.schema.field(name))} AS {name}" if name in known else f"NULL::VARCHAR AS {name}"
            for name in columns
        )
        source = "rows"
        if without is not None:
            connection.register("others", without)
            source = f"rows ANTI JOIN others USING ({', '.join(identity(table))})"
        yield from connection.execute(f"SELECT {chosen} FROM {source}").to_arrow_reader(_ROWS_PER_BATCH)


Figures = dict[str, float]


def measures(table: Table, length: str) -> dict[str, str]:
    """What two copies of a table are compared by, as SQL.

    Args:
        length: the warehouse's function for the length of an array.
    """
    key, about, written = identity(table)
    found = {"rows": "count(*)", "keys": f"count(DISTINCT {key})"}
    for column in table.schema:
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            found[f"sum of {column.name}"] = f"sum({column.name})"
        elif pa.types.is_list(column.type):
            found[f"elements of {column.name}"] = f"sum({length}({column.name}))"
        elif pa.types.is_string(column.type):
            found[f"values of {column.name}"] = f"count({column.name})"
    for name in (about, written):
        found[f"newest {name}"] = f"extract(epoch FROM max({name}))"
    return found


def figures(table: Table, version: int) -> Figures:
    """The measures of a version of the Delta table; of rows with the same identity, one counts."""
    wanted = measures(table, "len")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("stored", all_rows(DeltaTable(table.uri, version=version)))
        names = {column.name for column in DeltaTable(table.uri, version=version).schema().fields}
        missing = "".join(f", NULL::DOUBLE AS {name}" for name in table.schema.names if name not in names)
        distinct = (
            f"SELECT *{missing} FROM stored QUALIFY row_number() OVER (PARTITION BY {', '.join(identity(table))}) = 1"
        )
        row = connection.execute(f"SELECT {', '.join(wanted.values())} FROM ({distinct})").fetchone()
    return dict(zip(wanted, (float(value or 0) for value in row or ()), strict=True))


def differences(ours: Figures, theirs: Figures) -> list[str]:
    """Where two copies differ, in words; sums may differ by the order in which they were added up."""
    return [
        f"{name}: {ours[name]:,.6g} in Delta, {theirs[name]:,.6g} there"
        for name in ours
        if not math.isclose(ours[name], theirs[name], rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    ]
