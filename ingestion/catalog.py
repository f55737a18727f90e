"""``python -m ingestion catalog PATH``: load what is new of a catalogue, once or again and again."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError, ShelfwiseError, UnavailableError

if TYPE_CHECKING:
    import pyarrow as pa

# A file that was modified within so many seconds may still be being written.
_RESTING_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path",
        type=Path,
        metavar="PATH",
        help="a .parquet, .csv, .jsonl, .ndjson or .json file, a folder of files of one kind (at any depth), or the "
        "folder of a Delta table",
    )
    parser.add_argument(
        "--every",
        type=float,
        metavar="SECONDS",
        help="stay, and look for changes that often, until Ctrl-C or SIGTERM; what cannot be read is reported and tried "
        "again, and a file is read when it has not been modified for a second",
    )
    parser.add_argument(
        "--all", action="store_true", help="read everything, also what was loaded before (with --every, once)"
    )
    parser.epilog = (
        "Columns: product_id (required), name, category (levels separated by /), brand, price, currency, stock, "
        "updated_at, created_at. Several rows of a product are its history; the first of a new product counts from "
        "created_at on, if that is given, since nothing older is known. Without updated_at a row counts from now on, or, "
        "for a new product, from always; of several such rows of a product, the last in the file modified last counts. "
        "Only what may have changed is read: files whose size or modification time is not that of the last load, and the "
        "data files that a Delta table got since. Only rows that say something new are written; a product that is no "
        "longer mentioned stays. "
        "Missing stock means unknown, and the product counts as available; 0 takes it out of recommendations."
    )


def run(args: argparse.Namespace) -> int:
    if args.every is not None:
        if not args.every > 0:
            raise InputError("--every needs a number of seconds above 0")
        _stay(args.path, args.every, args.all)
        return 0
    loaded = load(args.path, args.all)
    if loaded.files or not loaded.failures:
        _print(loaded)
    for failure in loaded.failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if loaded.failures else 0


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        files: how many were read.
        unchanged: how many were not, since they had been loaded as they are.
        rows: how many rows were read.
        news: how many of them were new or changed.
        failures: one line for each file that cannot be read.
        waiting: whether a file was left for later because it may be unfinished.
    """

    files: int
    unchanged: int
    rows: int
    news: int
    failures: list[str]
    waiting: bool


def load(path: Path, everything: bool = False, resting: float = 0.0) -> Loaded:
    """Load what may have changed since the last load; a file that cannot be read does not hinder the others.

    Args:
        everything: also what has not changed.
        resting: leave out files that were modified within so many seconds.

    Raises:
        InputError: there is nothing usable at ``path``.
        UnavailableError: the stores cannot be written. Loading again does no harm.
    """
    from deltalake import CommitProperties, DeltaTable, Transaction
    from deltalake.exceptions import DeltaError
    from redis.exceptions import RedisError

    from feature_repo.tables import CATALOG
    from ingestion import catalog_store
    from ingestion.catalog_reader import latest_said
    from ingestion.catalog_sources import find

    CATALOG.create_if_missing()
    remembered = DeltaTable(CATALOG.uri).transaction_version
    found = find(path, (lambda _: None) if everything else remembered, resting)
    tables: list[pa.Table] = []
    marks: dict[str, int] = {}
    failures: list[str] = []
    files, news = 0, 0
    for part in found.changed:
        try:
            tables.append(part.read())
        except InputError as error:
            failures.append(str(error))
        else:
            files += part.files
            marks |= part.marks
    rows = sum(table.num_rows for table in tables)
    if path.is_file() and tables and not rows:
        raise InputError(f"{path.name} has no rows with a product_id")
    if marks:
        transactions = [Transaction(app_id, version) for app_id, version in marks.items()]
        try:
            news = catalog_store.upsert(latest_said(tables), CommitProperties(app_transactions=transactions))
        except RedisError as error:
            raise UnavailableError(
                f"the online store cannot be used: {error}; `make status` shows what runs"
            ) from error
        except DeltaError as error:
            raise UnavailableError(f"the offline store did not take the rows ({error}); load them again") from error
    return Loaded(files, found.unchanged, rows, news, failures, found.waiting)


def _print(loaded: Loaded) -> None:
    from ingestion.catalog_store import current_rows

    print(
        f"files: {loaded.files:,} read, {loaded.unchanged:,} unchanged; rows: {loaded.rows:,} read, {loaded.news:,} of them "
        f"new or changed; products in the catalogue: {current_rows().num_rows:,}",
        flush=True,
    )


def _stay(path: Path, every: float, everything: bool) -> None:
    from ingestion.stopping import StopRequest

    reported: list[str] = []
    with StopRequest() as stop:
        while not stop:
            waiting = False
            try:
                loaded = load(path, everything, _RESTING_SECONDS)
            except ShelfwiseError as error:
                failures = [str(error)]
            else:
                everything = False
                failures, waiting = loaded.failures, loaded.waiting
                if loaded.files:
                    _print(loaded)
            for failure in failures:
                if failure not in reported:
                    print(f"error: {failure}; trying again", file=sys.stderr, flush=True)
            reported = failures
            # What may be unfinished should not wait for long.
            stop.wait(min(every, _RESTING_SECONDS) if waiting else every)
