"""Where a catalogue lies, and what of it may have changed since it was loaded.

What was loaded is remembered as transactions of Delta's protocol, which are committed to the catalogue table together with
the rows: of a file its modification time and its size, of a Delta table its version.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from feature_repo.errors import InputError
from ingestion.delta_log import entries
from ingestion.event_files import files_under

if TYPE_CHECKING:
    import pyarrow as pa

KINDS = {".parquet": "Parquet", ".csv": "CSV", ".jsonl": "JSON", ".ndjson": "JSON", ".json": "JSON"}
_LOG = "_delta_log"

Remembered = Callable[[str], int | None]
"""The version of the transaction with an application id, if there is one."""


@dataclass(frozen=True)
class Part:
    """What is read, and remembered, as one.

    Attributes:
        files: how many files it is.
        marks: what is to be remembered when it has been loaded: versions of transactions, by application id.
        read: gives its rows; raises InputError if it cannot be read.
    """

    files: int
    marks: dict[str, int]
    read: Callable[[], pa.Table]


@dataclass(frozen=True)
class Found:
    """What there is to load.

    Attributes:
        changed: what may hold news, in the order in which it was written.
        unchanged: how many files were loaded before, as they are.
        waiting: whether a file was left out because it may be unfinished.
    """

    changed: list[Part]
    unchanged: int
    waiting: bool = False


def find(path: Path, remembered: Remembered, resting: float = 0.0) -> Found:
    """Look at a file, a folder of files, or a Delta table.

    Args:
        resting: seconds that a file must not have been modified for, or it may be unfinished.

    Raises:
        InputError: nothing there, nothing usable, or a mixture.
    """
    path = Path(os.path.abspath(path))
    if (path / _LOG).is_dir():
        return _find_in_delta(path, remembered)
    return _find_in_files(_files(path), remembered, resting)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix not in KINDS:
            raise InputError(f"{path.name}: unknown kind {path.suffix!r}; use one of {', '.join(KINDS)}")
        return [path]
    if not path.is_dir():
        raise InputError(f"{path} is not there; give a file ({', '.join(KINDS)}), a folder of them, or a Delta table")
    files = sorted(file for file in files_under(path) if file.suffix in KINDS)
    if not files:
        raise InputError(f"{path} holds no catalogue files; looked for *{', *'.join(KINDS)}")
    kinds = sorted({KINDS[file.suffix] for file in files})
    if len(kinds) > 1:
        raise InputError(f"{path} mixes {' and '.join(kinds)}; give a folder with one of them")
    for folder in {folder for file in files for folder in file.parents}:
        if (folder / _LOG).is_dir():
            raise InputError(f"{folder} is a Delta table, some files of which may be outdated; load it by itself")
    return files


def _find_in_files(files: list[Path], remembered: Remembered, resting: float) -> Found:
    changed: list[tuple[int, Part]] = []
    unchanged, waiting = 0, False
    now = time.time()
    for file in files:
        try:
            # Before it is read: what is written meanwhile gives it another time, and it is read again.
            stat = file.stat()
        except FileNotFoundError:  # a moment ago it was there
            continue
        marks = {f"catalog:{file}": stat.st_mtime_ns, f"catalog-bytes:{file}": stat.st_size}
        if all(remembered(app_id) == version for app_id, version in marks.items()):
            unchanged += 1
        elif 0 <= now - stat.st_mtime < resting:  # from the future: another clock, which says nothing of this
            waiting = True
        else:
            changed.append((stat.st_mtime_ns, Part(1, marks, partial(_read_file, file))))
    changed.sort(key=lambda found: found[0])
    return Found([part for _, part in changed], unchanged, waiting)


def _read_file(file: Path) -> pa.Table:
    from ingestion.catalog_reader import read_file

    return read_file(file, KINDS[file.suffix])


def _find_in_delta(path: Path, remembered: Remembered) -> Found:
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    from ingestion.catalog_reader import data_files, read_delta

    try:
        table = DeltaTable(path)
        files = data_files(table)
        # With its id: a table that was made anew in the same place begins with other versions.
        app_id = f"catalog:{path}#{table.metadata().id}"
    except DeltaError as error:
        raise InputError(f"{path} cannot be read as a Delta table: {error}") from error
    loaded = remembered(app_id)
    if loaded == table.version():
        return Found([], len(files))
    try:
        before = data_files(DeltaTable(path, version=loaded)) if loaded is not None else {}
    except DeltaError:  # the log no longer tells what that version was
        before = {}
    added = {file: added_at for file, added_at in files.items() if file not in before}
    if before and loaded is not None:
        changing, rearranged = _added_since(path, loaded, table.version())
        if changing <= files.keys():  # or some of what they brought may lie in the others
            added = {file: added_at for file, added_at in added.items() if file not in rearranged}
    part = Part(len(added), {app_id: table.version()}, partial(read_delta, table, path, added))
    return Found([part], len(files) - len(added))


def _added_since(path: Path, since: int, until: int) -> tuple[set[str], set[str]]:
    """The files that a Delta table got between two versions: with new rows, and with rows from other files (OPTIMIZE)."""
    changing: set[str] = set()
    rearranged: set[str] = set()
    for version in range(since + 1, until + 1):
        said = entries(path, version)
        if said is None:
            return set(), set()
        for add in (entry.get("add") for entry in said):
            if add:
                (changing if add["dataChange"] else rearranged).add(unquote(add["path"]))
    return changing, rearranged
