"""Reading recorded events in the order in which they happened, as JSON, in bounded memory.

DuckDB reads, sorts and, where a part is larger than its memory, spills to disk. A part is a day's partition (or a
file); parts whose times overlap are sorted together, so that the order holds across them too.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson
import pyarrow as pa

from feature_repo.contract import is_timestamp
from feature_repo.errors import InputError
from ingestion.producer import message_key
from ingestion.recorded.files import EventFiles, day_of
from ingestion.recorded.sql import TIME_FIELDS, parquet_query, time_range_query

READ_ROWS = 2_000
LOAD_ROWS = 20_000
ROWS_SCHEMA = pa.schema([("ms", pa.int64()), ("key", pa.binary()), ("body", pa.binary())])
IN_ORDER = "SELECT ms, key, body FROM {source} ORDER BY ms NULLS FIRST, place"


class RecordedEvent(NamedTuple):
    """One event: when it happened (milliseconds since 1970, None if it does not say), message key, JSON."""

    ms: int | None
    key: bytes | None
    body: bytes


@dataclass(frozen=True)
class Part:
    """Files to be read and sorted as one.

    Attributes:
        first, last: the range of their times in milliseconds since 1970; None if no event has a time.
    """

    files: tuple[Path, ...]
    events: int
    first: int | None
    last: int | None


@dataclass(frozen=True)
class Days:
    """Inclusive bounds on the day: of the ``dt=`` partition where a file has one, else of the event in UTC."""

    first: date | None = None
    last: date | None = None

    def contain(self, day: date) -> bool:
        return (self.first is None or day >= self.first) and (self.last is None or day <= self.last)

    @property
    def milliseconds(self) -> tuple[int | None, int | None]:
        """The half-open range of event times."""
        end = self.last + timedelta(days=1) if self.last else None
        return _midnight(self.first), _midnight(end)


class EventReader:
    """Reads what :func:`ingestion.recorded.files.discover` found; a context manager, for DuckDB's sake."""

    def __init__(self, found: EventFiles, days: Days, spill_folder: Path, memory: str = "1GB") -> None:
        self._found = found
        self._days = days
        self._database = duckdb.connect(config={"memory_limit": memory, "temp_directory": str(spill_folder)})
        self._database.execute("SET TimeZone = 'UTC'")

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def plan(self) -> list[Part]:
        """The parts to read, in order of time.

        Raises:
            InputError: a file cannot be read, or no event lies within the days.
        """
        parts = [self._measure(files) for files in self._groups()]
        parts = _merge_overlapping([part for part in parts if part.events])
        if not parts:
            raise InputError("no event lies within the days asked for")
        return parts

    def read(self, part: Part, shift_ms: int = 0) -> Iterator[RecordedEvent]:
        """The part's events in order of time, events without a time first, all times moved by ``shift_ms``."""
        if self._found.format == "parquet":
            source = f"({parquet_query(self._database, part.files, self._limits(part.files), shift_ms)})"
            rows = self._database.execute(IN_ORDER.format(source=source))
        else:
            self._load_lines(part.files, shift_ms)
            rows = self._database.execute(IN_ORDER.format(source="lines"))
        for batch in rows.to_arrow_reader(READ_ROWS):
            yield from map(RecordedEvent, *(column.to_pylist() for column in batch.columns))

    def _groups(self) -> list[tuple[Path, ...]]:
        groups: dict[date | Path, tuple[Path, ...]] = {}
        for file in self._found.files:
            day = day_of(file)
            if day is None or self._days.contain(day):
                groups[day or file] = (*groups.get(day or file, ()), file)
        return list(groups.values())

    def _limits(self, files: Sequence[Path]) -> tuple[int | None, int | None]:
        return (None, None) if day_of(files[0]) else self._days.milliseconds

    def _measure(self, files: tuple[Path, ...]) -> Part:
        if self._found.format == "parquet":
            query = time_range_query(self._database, files, self._limits(files))
            events, first, last = self._database.execute(query).fetchall()[0]
            return Part(files, events, first, last)
        times = [ms for ms, _, _ in self._lines(files, 0)]
        known = [ms for ms in times if ms is not None]
        return Part(files, len(times), min(known, default=None), max(known, default=None))

    def _lines(self, files: Sequence[Path], shift_ms: int) -> Iterator[RecordedEvent]:
        start, end = self._limits(files)
        for file in files:
            with gzip.open(file) if file.name.endswith(".gz") else file.open("rb") as lines:
                try:
                    events = (_from_line(line.strip(), shift_ms) for line in lines if line.strip())
                    for event, ms in events:
                        if _within(ms, start, end):
                            yield event
                except (OSError, EOFError) as error:
                    raise InputError(f"{file} cannot be read: {error}") from error

    def _load_lines(self, files: Sequence[Path], shift_ms: int) -> None:
        self._database.execute("CREATE OR REPLACE TEMP TABLE lines (ms BIGINT, key BLOB, body BLOB, place BIGINT)")
        rows: list[RecordedEvent] = []
        loaded = 0
        for event in self._lines(files, shift_ms):
            rows.append(event)
            if len(rows) == LOAD_ROWS:
                loaded = self._load(rows, loaded)
                rows = []
        self._load(rows, loaded)

    def _load(self, rows: Sequence[RecordedEvent], loaded: int) -> int:
        batch = pa.Table.from_pylist([row._asdict() for row in rows], schema=ROWS_SCHEMA)
        places = pa.array(range(loaded, loaded + len(rows)), pa.int64())
        self._database.register("batch", batch.append_column("place", places))
        self._database.execute("INSERT INTO lines SELECT * FROM batch")
        self._database.unregister("batch")
        return loaded + len(rows)


def _from_line(line: bytes, shift_ms: int) -> tuple[RecordedEvent, int | None]:
    """The event on a line, with its unmoved time; a line that is no JSON object is passed on as it is."""
    try:
        event = orjson.loads(line)
    except orjson.JSONDecodeError:
        return RecordedEvent(None, None, line), None
    if not isinstance(event, dict):
        return RecordedEvent(None, None, line), None
    event = _without_nulls(event)
    ms = _milliseconds(event.get("timestamp"))
    if shift_ms:
        for name in TIME_FIELDS:
            known = _milliseconds(event.get(name))
            if known is not None:
                event[name] = _iso(known + shift_ms)
    event.pop("receivedAt", None)
    moved_ms = None if ms is None else ms + shift_ms
    return RecordedEvent(moved_ms, message_key(event), orjson.dumps(event)), ms


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value


def _merge_overlapping(parts: list[Part]) -> list[Part]:
    merged: list[Part] = []
    for part in sorted(parts, key=lambda part: -1 if part.first is None else part.first):
        before = merged[-1] if merged else None
        if before and part.first is not None and before.last is not None and part.first < before.last:
            assert part.last is not None
            last = max(before.last, part.last)
            merged[-1] = Part(before.files + part.files, before.events + part.events, before.first, last)
        else:
            merged.append(part)
    return merged


def _within(ms: int | None, start: int | None, end: int | None) -> bool:
    if start is None and end is None:
        return True
    return ms is not None and (start is None or ms >= start) and (end is None or ms < end)


def _milliseconds(value: Any) -> int | None:
    if not isinstance(value, str) or not is_timestamp(value):
        return None
    moment = datetime.fromisoformat(value)
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _midnight(day: date | None) -> int | None:
    return None if day is None else round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
