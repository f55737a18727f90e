"""The SQL with which DuckDB turns rows of a Parquet file of events into JSON events."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from feature_repo.errors import InputError
from ingestion import sql

TIME_FIELDS = ("timestamp", "originalTimestamp", "sentAt")
ISO_FORMAT = "%Y-%m-%dT%H:%M:%S.%gZ"
KEY_FIELDS = ("userId", "anonymousId")
NULL_MEMBER = r"""'"[^"\\]+":null'"""
TimeLimits = tuple[int | None, int | None]


def parquet_query(database: duckdb.DuckDBPyConnection, files: Sequence[Path], limits: TimeLimits, shift_ms: int) -> str:
    """A query for (ms, key, body, place): time, message key, JSON without nulls and ``receivedAt``, row number."""
    columns = _columns(database, files)
    fields = ", ".join(
        f"{_name(name)} := {_time_text(name, shift_ms) if name in TIME_FIELDS else _name(name)}"
        for name in columns
        if name != "receivedAt"
    )
    return f"""
        SELECT {_time("timestamp")} + {shift_ms} AS ms, {_key(columns)} AS key,
            encode({_without_nulls(f"CAST(to_json(struct_pack({fields})) AS VARCHAR)")}) AS body,
            row_number() OVER () AS place
        FROM {_source(files)} WHERE {_condition(limits)}"""


def time_range_query(database: duckdb.DuckDBPyConnection, files: Sequence[Path], limits: TimeLimits) -> str:
    """A query for one row: how many events, first and last time in milliseconds since 1970."""
    _columns(database, files)
    time = _time("timestamp")
    return f"SELECT count(*), min({time}), max({time}) FROM {_source(files)} WHERE {_condition(limits)}"


def _columns(database: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> list[str]:
    try:
        columns = [row[0] for row in database.execute(f"DESCRIBE SELECT * FROM {_source(files)}").fetchall()]
    except duckdb.Error as error:
        raise InputError(f"{files[0].parent} cannot be read as Parquet: {error}") from error
    if "timestamp" not in columns:
        raise InputError(f"{files[0]} has no column `timestamp`; its columns are {', '.join(columns)}")
    return columns


def _source(files: Sequence[Path]) -> str:
    names = ", ".join(sql.text(str(file)) for file in files)
    return f"read_parquet([{names}], union_by_name = true, hive_partitioning = false)"


def _condition(limits: TimeLimits) -> str:
    start, end = limits
    bounds = [f"{_time('timestamp')} >= {start}"] if start is not None else []
    bounds += [f"{_time('timestamp')} < {end}"] if end is not None else []
    return " AND ".join(bounds) or "true"


def _time(name: str) -> str:
    return f"epoch_ms(TRY_CAST({_name(name)} AS TIMESTAMPTZ))"


def _time_text(name: str, shift_ms: int) -> str:
    """ISO 8601 in UTC; what is no time stays as it is, for the stream to quarantine."""
    moved = f"make_timestamp_ms({_time(name)} + {shift_ms})"
    return f"coalesce(strftime({moved}, '{ISO_FORMAT}'), CAST({_name(name)} AS VARCHAR))"


def _key(columns: Sequence[str]) -> str:
    """As :func:`ingestion.producer.message_key`."""
    present = [f"CAST({_name(name)} AS VARCHAR)" for name in KEY_FIELDS if name in columns]
    choices = [f"CASE WHEN trim({value}) <> '' THEN {value} END" for value in present]
    return f"encode(coalesce({', '.join(choices)}, NULL))" if choices else "NULL"


def _without_nulls(json: str) -> str:
    """Remove members that are null. Quotes within strings are escaped in JSON, so the pattern meets only members."""
    not_first = f"regexp_replace({json}, ',' || {NULL_MEMBER}, '', 'g')"
    return f"regexp_replace({not_first}, '\\{{' || {NULL_MEMBER} || ',?', '{{', 'g')"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
