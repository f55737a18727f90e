"""``python -m ingestion publish``: the feature tables into the warehouse, as plain tables that anyone can query."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import TYPE_CHECKING

from feature_repo.errors import InputError, UnavailableError
from feature_repo.sections.warehouses import OfflineStoreKind
from feature_repo.settings import get_settings

if TYPE_CHECKING:
    from ingestion.stopping import StopRequest
    from ingestion.warehouse.postgres import PostgresWarehouse

_TARGETS = (OfflineStoreKind.POSTGRES.value,)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--to",
        choices=_TARGETS,
        help="the warehouse; otherwise that of SHELFWISE_OFFLINE__STORE. For filling it before it is switched to",
    )
    parser.add_argument(
        "--every", type=float, metavar="SECONDS", help="stay, and publish that often, until Ctrl-C or SIGTERM"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--full", action="store_true", help="compare all rows, not only what changed in Delta (with --every, once)"
    )
    what.add_argument(
        "--compare",
        action="store_true",
        help="write nothing; compare counts and sums of what was published with Delta, and exit with 1 if they differ",
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "The stream writes Delta, which stays what counts; this copies the feature tables. Each table is brought from the\n"
        "version of Delta that was published last to the newest one in one transaction, which also records the version. A\n"
        "run that was cut off has changed nothing of the table it was at, and can be repeated. Rows that are gone from Delta\n"
        "go from the warehouse, too. If Delta's log no longer tells what changed (it is kept for two hours), all rows are\n"
        "compared. docs/warehouses.md has the rest.\n\n"
        "examples:\n"
        "  python -m ingestion publish --every 60            keep the warehouse up to date\n"
        "  python -m ingestion publish --to postgres         fill a Postgres before switching to it\n"
        "  python -m ingestion publish --to postgres --compare"
    )


def run(args: argparse.Namespace) -> int:
    from ingestion.stopping import StopRequest

    if args.every is not None and not args.every > 0:
        raise InputError("--every needs a number of seconds above 0")
    if args.every is not None and args.compare:
        raise InputError("--compare looks once; leave --every away")
    _check_target(args.to or get_settings().offline.store.value)
    if args.compare:
        return _compare()
    if args.every is None:
        _publish(args.full, quiet=False)
        return 0
    with StopRequest() as stop:
        _stay(args.every, args.full, stop)
    return 0


def _check_target(kind: str) -> None:
    if kind in (OfflineStoreKind.DELTA, OfflineStoreKind.SPARK):
        raise InputError(
            f"SHELFWISE_OFFLINE__STORE={kind} reads the Delta tables themselves: there is nothing to publish. Name a "
            f"warehouse: --to {' or '.join(_TARGETS)}"
        )
    if kind not in _TARGETS:
        raise InputError(
            f"publishing to {kind} is not built in; load the Delta tables with its own loader, in the columns that "
            "docs/warehouses.md lists"
        )


def _open() -> PostgresWarehouse:
    try:
        from ingestion.warehouse.postgres import PostgresWarehouse
    except ImportError as error:
        raise UnavailableError(f"the Postgres client is missing ({error}); `make setup` installs it") from error
    return PostgresWarehouse()


def _publish(everything: bool, quiet: bool) -> None:
    """Bring every table up to date.

    Args:
        quiet: say nothing of tables of which nothing changed.
    """
    from ingestion.progress import progress_bar
    from ingestion.warehouse.tables import PUBLISHED

    with _open() as warehouse:
        for table in PUBLISHED:
            table.create_if_missing()
            with progress_bar() as progress:
                task = progress.add_task(table.name, total=None)
                outcome = warehouse.publish(table, everything, partial(progress.advance, task))
            if quiet and not outcome.written and not outcome.removed:
                continue
            how = "all rows compared" if outcome.compared else "what changed"
            print(
                f"{table.name}: version {outcome.version} of Delta, {how}: {outcome.written:,} rows written, "
                f"{outcome.removed:,} removed",
                flush=True,
            )


def _stay(every: float, everything: bool, stop: StopRequest) -> None:
    reported = ""
    while not stop:
        try:
            _publish(everything, quiet=True)
        except UnavailableError as error:
            if str(error) != reported:
                print(f"error: {error}; trying again", file=sys.stderr, flush=True)
            reported = str(error)
        else:
            everything, reported = False, ""
        stop.wait(every)


def _compare() -> int:
    from deltalake.exceptions import DeltaError

    from ingestion.warehouse.tables import PUBLISHED, differences, figures

    differ = False
    with _open() as warehouse:
        for table in PUBLISHED:
            version, theirs = warehouse.figures(table)
            if version is None:
                print(f"{table.name}: not published yet")
                differ = True
                continue
            try:
                found = differences(figures(table, version), theirs)
            except DeltaError as error:
                raise UnavailableError(
                    f"{table.name}: Delta no longer has version {version}, which was published; publish, then compare"
                ) from error
            rows = theirs["rows"]
            print(
                f"{table.name}: {rows:,.0f} rows of version {version}, {len(theirs)} measures "
                + ("" if found else "agree")
            )
            for line in found:
                print(f"  {line}")
            differ = differ or bool(found)
    return int(differ)
