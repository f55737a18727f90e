"""``python -m ingestion backfill PATH``: bulk history into the offline store, and its features into both.

With ``--offline-only`` neither Redis nor Kafka is needed: for an installation that is only read, as evaluation does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.time_arguments import moment

if TYPE_CHECKING:
    from ingestion.features.history import History
    from ingestion.online import OnlineStore
    from ingestion.recorded.files import EventFiles

_SPARK = {
    "spark.sql.shuffle.partitions": "16",
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
_CONTRACT = "contract"
_EXPORTS = {"ga4": "Google Analytics 4's BigQuery export", "ga360": "that of Universal Analytics 360"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "path",
        type=Path,
        nargs="?",
        metavar="PATH",
        help="a Parquet or JSONL(.gz) file of events, or a folder of files or `dt=` partitions",
    )
    parser.add_argument(
        "--format",
        choices=(_CONTRACT, *_EXPORTS),
        default=_CONTRACT,
        help=f"what the files hold: {_CONTRACT} (default), events as in docs/events.md; "
        + "; ".join(f"{name}, {what}" for name, what in _EXPORTS.items()),
    )
    parser.add_argument("--from", dest="since", type=moment, help="take events from this time on (ISO 8601)")
    parser.add_argument("--until", type=moment, help="take events before this time (ISO 8601)")
    parser.add_argument("--shift", type=float, default=0.0, metavar="SECONDS", help="move all times by so many seconds")
    parser.add_argument(
        "--recompute",
        action="store_true",
        help="without PATH: compute all features anew from the stored events, as after a change of their definitions",
    )
    parser.add_argument(
        "--offline-only",
        action="store_true",
        help="write the offline store only: nothing to Redis, and refused events to the quarantine table but not the topic",
    )
    parser.epilog = """\
examples:
  python -m ingestion backfill history/
  python -m ingestion backfill history/ --from 2026-01-01 --until 2026-02-01
  python -m ingestion backfill --format ga4 events_20260131.json.gz

Events that are stored already are recognised by their ids, so that a backfill can be repeated. A running stream pauses
while events are loaded and while the new features take the place of the old ones (Kafka keeps what arrives), not while
they are computed."""


def run(args: argparse.Namespace) -> int:
    if (args.path is None) != args.recompute:
        raise InputError("give a PATH to load, or --recompute to compute features anew from the stored events")
    from feature_repo.tables import create_missing_tables
    from ingestion.locks import loading
    from ingestion.online import open_online_store
    from ingestion.recorded.files import ENDINGS, EXPORT_ENDINGS, discover

    found = discover(args.path, ENDINGS if args.format == _CONTRACT else EXPORT_ENDINGS) if args.path else None
    if args.offline_only:
        create_missing_tables()
    online = None if args.offline_only else open_online_store()
    with loading():
        if found:
            with _contract_events(found, args) as files:
                _load(files, args)
        _recompute(online)
    return 0


@contextmanager
def _contract_events(found: EventFiles, args: argparse.Namespace) -> Iterator[EventFiles]:
    """The files to load; of an export, files of events that are made of it, for as long as they are needed."""
    if args.format == _CONTRACT:
        yield found
        return
    from ingestion.exports.conversion import converted
    from ingestion.session import work_folder

    with converted(found, args.path, args.format, work_folder()) as files:
        yield files


def _load(files: EventFiles, args: argparse.Namespace) -> None:
    from ingestion.locks import stream_paused
    from ingestion.recorded.loading import Selection, load
    from ingestion.session import open_spark

    selection = Selection(args.since, args.until, args.shift)
    with _step("starting Spark"):
        spark = open_spark("shelfwise-backfill", _SPARK)
    try:
        with stream_paused(), _step(f"loading events from {args.path}"):
            outcome = load(spark, files, args.path, selection, args.offline_only)
    finally:
        spark.stop()
    print(
        f"{outcome.accepted:,} accepted = {outcome.processed:,} processed + "
        f"{outcome.quarantined:,} quarantined + {outcome.duplicates:,} duplicates"
    )


def _recompute(online: OnlineStore | None) -> None:
    """Compute all features over all stored events, and let them take the place of the present ones, also online if given.

    The stream goes on meanwhile, and pauses for the exchange only; then it takes in again what came since. If a customer was
    erased while it computed, it computes again.
    """
    from ingestion.features import history
    from ingestion.locks import stream_paused
    from ingestion.privacy.record import erased_so_far
    from ingestion.session import work_folder

    with tempfile.TemporaryDirectory(prefix="history-", dir=work_folder()) as folder:
        while True:
            erased = erased_so_far()
            computed = _computed(Path(folder))
            with stream_paused():
                if erased_so_far() != erased:
                    continue
                rows = history.install(computed)
                print(", ".join(f"{count:,} rows of {table.name}" for table, count in rows.items()))
                if online:
                    for table in rows:
                        with _step(f"writing the latest rows of {table.name} online"):
                            online.fill_latest(table)
                return


def _computed(folder: Path) -> History:
    from ingestion.features import history
    from ingestion.progress import progress_bar

    with _step("computing features over all stored events"), progress_bar() as progress:
        task = progress.add_task("events", total=None)
        return history.compute(folder, lambda done, total: progress.update(task, completed=done, total=total))


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Say what is being done while it lasts, and how long it took."""
    from rich.console import Console

    console, start = Console(), time.monotonic()
    with console.status(title):
        yield
    console.print(f"{title}: {time.monotonic() - start:.1f} s")
