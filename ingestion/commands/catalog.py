"""``python -m ingestion catalog PATH``: load what is new of a catalogue, once or again and again."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from feature_repo.errors import InputError, ShelfwiseError
from ingestion.number_arguments import above_zero

if TYPE_CHECKING:
    from ingestion.catalog.load import Loaded

# A file that was modified within so many seconds may still be being written.
_RESTING_SECONDS = 1.0
# So long a single load waits for it, where that matters.
_PATIENCE_SECONDS = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "path",
        metavar="PATH",
        help="a .parquet, .csv, .jsonl, .ndjson or .json file, a folder of files of one kind (at any depth), or the "
        "folder of a Delta table; on this machine, or s3://bucket/folder",
    )
    parser.add_argument(
        "--every",
        type=above_zero,
        nargs="?",
        const=True,
        metavar="SECONDS",
        help="stay, and look for changes that often (without a number: SHELFWISE_CATALOG__REFRESH_SECONDS), until Ctrl-C or "
        "SIGTERM; what cannot be read is reported and tried again, and a file is read when it has not been modified for a second",
    )
    parser.add_argument(
        "--all", action="store_true", help="read everything, also what was loaded before (with --every, once)"
    )
    parser.add_argument(
        "--snapshot",
        action=argparse.BooleanOptionalAction,
        help="the source lists all products: those that are no longer in it become unavailable (a Delta table is taken for "
        "such a full list, files are not, unless it is said)",
    )
    parser.add_argument(
        "--allow-removals",
        action="store_true",
        help="let a full list lose any number of products (with --every, once); otherwise one that lost more than "
        "SHELFWISE_CATALOG__MAX_REMOVED_SHARE of them is refused",
    )
    parser.epilog = _EPILOG


_EPILOG = """\
Columns: product_id (required), name, category (levels separated by /), brand, price, currency, stock, updated_at, created_at.
Several rows of a product are its history; the first of a new product counts from created_at on, if that is given, since nothing
older is known. Without updated_at a row counts from now on, or, for a new product, from always; with one in the future, from now
on. Of several such rows of a product, the last in the file modified last counts. Missing stock means unknown, and the product
counts as available; 0 takes it out of recommendations.

Only what may have changed is read: files whose size or modification time is not that of the last load, and the data files that
a Delta table got since. Only rows that say something new are written. docs/catalogue.md says more, also of s3://.

examples:
  python -m ingestion catalog catalog.csv
  python -m ingestion catalog s3://shop/products --every 60     # a Delta table: what it no longer lists becomes unavailable
  python -m ingestion catalog export/ --snapshot                # so does what no file of a full export lists
"""


def run(args: argparse.Namespace) -> int:
    if args.every is not None:
        from feature_repo.settings import get_settings

        _stay(args, get_settings().catalog.refresh_seconds if args.every is True else args.every)
        return 0
    loaded = _load_once(args)
    if loaded.files or loaded.removed or not loaded.failures:
        _print(loaded)
    for failure in loaded.failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if loaded.failures else 0


def _load_once(args: argparse.Namespace) -> Loaded:
    """Load; a full list that is still being written, and would seem to have lost products, is waited for."""
    from ingestion.catalog.load import load

    resting, give_up = _RESTING_SECONDS if args.snapshot else 0.0, time.monotonic() + _PATIENCE_SECONDS
    while (loaded := load(args.path, args.all, resting, args.snapshot, args.allow_removals)).waiting:
        if time.monotonic() > give_up:
            raise InputError(
                f"{args.path} is still being written; load it when it is whole, or have it followed with --every"
            )
        time.sleep(_RESTING_SECONDS / 4)
    return loaded


def _print(loaded: Loaded) -> None:
    from ingestion.catalog.store import current_rows

    print(
        f"files: {loaded.files:,} read, {loaded.unchanged:,} unchanged; rows: {loaded.rows:,} read, {loaded.news:,} of them "
        f"new or changed; products in the catalogue: {current_rows().num_rows:,}"
        + (f"; no longer listed, now unavailable: {loaded.removed:,}" if loaded.removed else "")
        + (f"; no longer listed, but by another full list: {loaded.kept:,}" if loaded.kept else "")
        + (f"; dated in the future, counted from now on: {loaded.ahead:,}" if loaded.ahead else ""),
        flush=True,
    )


def _stay(args: argparse.Namespace, every: float) -> None:
    from ingestion.catalog.load import load
    from ingestion.stopping import StopRequest

    reported: list[str] = []
    once = {"everything": args.all, "allow_removals": args.allow_removals}
    with StopRequest() as stop:
        while not stop:
            begun, waiting = time.monotonic(), False
            try:
                loaded = load(args.path, resting=_RESTING_SECONDS, snapshot=args.snapshot, **once)
            except ShelfwiseError as error:
                failures = [str(error)]
            else:
                failures, waiting = loaded.failures, loaded.waiting
                if not waiting:
                    once = {}
                if loaded.files or loaded.removed:
                    _print(loaded)
            for failure in failures:
                if failure not in reported:
                    print(f"error: {failure}; trying again", file=sys.stderr, flush=True)
            reported = failures
            # What may be unfinished should not wait for long. To load takes some of the interval.
            rest = min(every, _RESTING_SECONDS) if waiting else every
            stop.wait(max(rest - (time.monotonic() - begun), 0.0))
