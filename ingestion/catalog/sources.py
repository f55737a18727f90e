"""What of a catalogue may have changed since it was loaded.

What was loaded is remembered as transactions of Delta's protocol, which are committed to the catalogue table together with
the rows: of a file its modification time and its size, of a Delta table its version.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from feature_repo.errors import InputError
from ingestion.catalog.places import Place, StoredFile

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "JSON", ".ndjson": "JSON", ".json": "JSON"}

_COARSE_SECONDS = 2.0
_WHOLE_SECOND = 1_000_000_000
_READ_AGAIN = -1  # no file's size

Remembered = Callable[[str], int | None]
"""The version of the transaction with an application id, if there is one."""


@dataclass(frozen=True)
class Part:
    """What is read, and remembered, as one.

    Attributes:
        key: the address of the file, or the address and id of the Delta table.
        files: how many files it is.
        marks: what is to be remembered when it has been loaded: versions of transactions, by application id.
        read: gives its rows; raises InputError if it cannot be read.
        ids: all products that it lists now, by the rows that were read of it; raises InputError likewise.
    """

    key: str
    files: int
    marks: dict[str, int]
    read: Callable[[], pa.Table]
    ids: Callable[[pa.Table], set[str]]


@dataclass(frozen=True)
class Found:
    """What there is to load.

    Attributes:
        changed: what may hold news, in the order in which it was written.
        unchanged: how many files were loaded before, as they are.
        present: the keys of all parts that are there now, changed or not.
        waiting: whether a file was left out because it may be unfinished.
    """

    changed: list[Part]
    unchanged: int
    present: frozenset[str]
    waiting: bool = False


def find(place: Place, remembered: Remembered, resting: float = 0.0) -> Found:
    """Look at a file, a folder of files, or a Delta table.

    Args:
        resting: seconds that a file must not have been modified for, or it may be unfinished.

    Raises:
        InputError: nothing there, nothing usable, or a mixture.
    """
    if place.is_delta_table:
        return _find_in_delta(place, remembered)
    return _find_in_files(place, _files(place), remembered, resting)


def _files(place: Place) -> list[StoredFile]:
    if file := place.file():
        if file.suffix not in KINDS:
            raise InputError(f"{file.name}: unknown kind {file.suffix!r}; use one of {', '.join(KINDS)}")
        return [file]
    there = place.files()
    if there is None:
        raise InputError(
            f"{place.key} is not there; give a file ({', '.join(KINDS)}), a folder of them, or a Delta table"
        )
    files = [file for file in there if file.suffix in KINDS]
    if not files:
        raise InputError(f"{place.key} holds no catalogue files; looked for *{', *'.join(KINDS)}")
    kinds = sorted({KINDS[file.suffix] for file in files})
    if len(kinds) > 1:
        raise InputError(f"{place.key} mixes {' and '.join(kinds)}; give a folder with one of them")
    if table := place.delta_table_among(files):
        raise InputError(f"{table} is a Delta table, some files of which may be outdated; load it by itself")
    return files


def _find_in_files(place: Place, files: list[StoredFile], remembered: Remembered, resting: float) -> Found:
    changed: list[tuple[int, Part]] = []
    unchanged, waiting = 0, False
    now = time.time()
    for file in files:
        # Looked at before it is read: what is written meanwhile gives it another time, and it is read again.
        times, sizes = f"catalog:{file.key}", f"catalog-bytes:{file.key}"
        marks = {times: file.modified_ns, sizes: file.size}
        if all(remembered(app_id) == version for app_id, version in marks.items()):
            unchanged += 1
        elif 0 <= now - file.modified_ns / 1e9 < resting:  # from the future: another clock, which says nothing of this
            waiting = True
        else:
            if _may_change_unseen(file, now):
                marks[sizes] = _READ_AGAIN
            changed.append((file.modified_ns, Part(file.key, 1, marks, partial(_read_file, place, file), _ids_of_rows)))
    changed.sort(key=lambda found: found[0])
    return Found([part for _, part in changed], unchanged, frozenset(file.key for file in files), waiting)


def _may_change_unseen(file: StoredFile, now: float) -> bool:
    """Whether another write could give the file the time that it has; S3 keeps whole seconds."""
    return file.modified_ns % _WHOLE_SECOND == 0 and now - file.modified_ns / 1e9 < _COARSE_SECONDS


def _read_file(place: Place, file: StoredFile) -> pa.Table:
    from ingestion.catalog.reader import read_file

    with place.fetched(file) as path:
        return read_file(path, KINDS[file.suffix])


def _ids_of_rows(rows: pa.Table) -> set[str]:
    return set(rows["product_id"].to_pylist())


def _find_in_delta(place: Place, remembered: Remembered) -> Found:
    from deltalake.exceptions import DeltaError

    from ingestion.catalog.reader import data_files, listed_in_delta, read_delta

    try:
        table = place.delta_table()
        files = data_files(table)
        # With its id: a table that was made anew in the same place begins with other versions.
        key = f"{place.key}#{table.metadata().id}"
    except (DeltaError, OSError) as error:
        raise InputError(f"{place.key} cannot be read as a Delta table: {place.explain(error)}") from None
    app_id = f"catalog:{key}"
    loaded = remembered(app_id)
    if loaded == table.version():
        return Found([], len(files), frozenset([key]))
    try:
        before = data_files(place.delta_table(loaded)) if loaded is not None else {}
    except (DeltaError, OSError):  # the log no longer tells what that version was
        before = {}
    added = {file: added_at for file, added_at in files.items() if file not in before}
    if before and loaded is not None:
        changing, rearranged = _added_since(place, loaded, table.version())
        if changing <= files.keys():  # or some of what they brought may lie in the others
            added = {file: added_at for file, added_at in added.items() if file not in rearranged}
    part = Part(
        key,
        len(added),
        {app_id: table.version()},
        partial(read_delta, table, place, added),
        partial(listed_in_delta, table, place),
    )
    return Found([part], len(files) - len(added), frozenset([key]))


def _added_since(place: Place, since: int, until: int) -> tuple[set[str], set[str]]:
    """The files that a Delta table got between two versions: with new rows, and with rows from other files (OPTIMIZE)."""
    changing: set[str] = set()
    rearranged: set[str] = set()
    for version in range(since + 1, until + 1):
        said = place.log_entries(version)
        if said is None:
            return set(), set()
        for add in (entry.get("add") for entry in said):
            if add:
                (changing if add["dataChange"] else rearranged).add(unquote(add["path"]))
    return changing, rearranged
