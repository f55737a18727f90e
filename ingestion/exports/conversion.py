"""Files that another system exported, as files of contract events, so that the ordinary backfill takes them."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import InputError
from ingestion.exports.ga4 import GA4
from ingestion.exports.ga360 import GA360
from ingestion.json_text import as_json
from ingestion.progress import progress_bar
from ingestion.recorded.files import EventFiles

_ROWS_AT_A_TIME = 2_000
_TELL_EVERY = 10_000
_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"


class Mapping(Protocol):
    """How the rows of one kind of export become events.

    Attributes:
        name: of the kind of export.
        marker: a column without which a file is none of it.
        columns: those that are looked at.
        passed_over: how many rows, or parts of rows, gave no event, by reason.
    """

    name: str
    marker: str
    columns: tuple[str, ...]
    passed_over: Counter[str]

    def events(self, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a row."""
        ...


MAPPINGS: dict[str, type[GA4] | type[GA360]] = {mapping.name: mapping for mapping in (GA4, GA360)}


@dataclass(frozen=True)
class Converted:
    """The events of an export, and the numbers of rows and events. A line that is no JSON object is among the events."""

    files: EventFiles
    rows: int
    events: int


@contextmanager
def converted(found: EventFiles, root: Path, name: str, scratch: Path) -> Iterator[EventFiles]:
    """The events of an export, in files that are there for a while; says what became of the rows.

    Args:
        found: the files of the export.
        root: where they were looked for.
        name: of the kind of export, see :data:`MAPPINGS`.
        scratch: where the files may be made.

    Raises:
        InputError: a file cannot be read, or is no such export.
    """
    mapping = MAPPINGS[name]()
    with tempfile.TemporaryDirectory(prefix="export-", dir=scratch) as folder:
        with progress_bar() as progress:
            task = progress.add_task(f"reading {root}", total=None)
            made = convert(found, root, mapping, Path(folder), lambda rows: progress.update(task, completed=rows))
        print(f"{made.rows:,} rows of {name} gave {made.events:,} events")
        for reason, count in mapping.passed_over.most_common():
            print(f"  passed over {count:,}: {reason}")
        yield made.files


def convert(found: EventFiles, root: Path, mapping: Mapping, folder: Path, tell: Callable[[int], None]) -> Converted:
    """Write the events of an export's files to ``folder``, under the files' names, which the quarantine tells later.

    Args:
        found: the files.
        root: where they were looked for.
        mapping: makes events of rows.
        folder: an empty one.
        tell: called now and then with the number of rows done.
    """
    rows = events = 0
    files = []
    for file in found.files:
        inside = file.relative_to(root) if file != root else Path(file.name)
        written = folder / inside.parent / f"{inside.name}.jsonl"
        written.parent.mkdir(parents=True, exist_ok=True)
        files.append(written)
        with written.open("wb") as out:
            for row in _rows(file, found.format == "parquet", mapping):
                rows += 1
                lines = [row] if isinstance(row, bytes) else _lines(row, mapping)
                out.writelines(line + b"\n" for line in lines)
                events += len(lines)
                if rows % _TELL_EVERY == 0:
                    tell(rows)
    tell(rows)
    return Converted(EventFiles("jsonl", tuple(files)), rows, events)


def _lines(row: dict[str, Any], mapping: Mapping) -> list[bytes]:
    """A row's events, as JSON; the row itself, for the quarantine, if something in it has a shape that no export gives."""
    try:
        events = list(mapping.events(row))
    except TypeError:
        events = [row]
    return [as_json(event, str) for event in events]


def _rows(file: Path, parquet: bool, mapping: Mapping) -> Iterator[dict[str, Any] | bytes]:
    try:
        yield from _of_parquet(file, mapping) if parquet else _of_lines(file, mapping)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _of_parquet(file: Path, mapping: Mapping) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(file) as parquet:
        present = parquet.schema_arrow.names
        _check(mapping.marker in present, file, mapping)
        columns = [name for name in mapping.columns if name in present]
        for batch in parquet.iter_batches(_ROWS_AT_A_TIME, columns=columns):
            yield from batch.to_pylist()


def _of_lines(file: Path, mapping: Mapping) -> Iterator[dict[str, Any] | bytes]:
    checked = unread = False
    with file.open("rb") as start:
        # By what it holds: BigQuery compresses what it extracts also under a name without .gz.
        compressed = start.read(2) == _GZIP
    with gzip.open(file) if compressed else file.open("rb") as lines:
        for line in filter(None, (line.removeprefix(_BOM).strip() for line in lines)):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                unread = True
                yield line
                continue
            if isinstance(row, dict) and not checked:
                _check(mapping.marker in row, file, mapping)
                checked = True
            yield row if isinstance(row, dict) else line
    if unread and not checked:
        raise InputError(
            f"{file} has no line that is a JSON object: export it as newline-delimited JSON, or as Parquet"
        )


def _check(fits: bool, file: Path, mapping: Mapping) -> None:
    if not fits:
        raise InputError(
            f"{file} is no export of the format {mapping.name}: it has no column `{mapping.marker}`; "
            "leave --format out for contract events"
        )
