"""``python -m ingestion cdc``: from the changes of a shop's database, as Debezium sends them, to orders and catalogue."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from ingestion.changes.config import Mapping
    from ingestion.changes.follower import Counts, Follower
    from ingestion.stopping import StopRequest

_POLL_SECONDS = 0.5
_GATHER_SECONDS = 5.0
_RETRY_SECONDS = 2.0
_REPORT_SECONDS = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  python -m ingestion cdc shop.toml --check     read the file, show what it comes to, ask nobody
  python -m ingestion cdc shop.toml             follow the changes until Ctrl-C or SIGTERM
  python -m ingestion cdc shop.toml --once      take the changes that are there, and end
  make up WITH=cdc                              run it, with Kafka Connect and its connector, beside the rest

A shop.toml that is complete:
  [orders]                                   [lines]                          [products]
  table = "public.orders"                    table = "public.order_lines"     table = "public.products"
  order_id = "id"                            order = "order_id"               product_id = "id"
  user_id = "customer_id"                    product_id = "product_id"        name = "name"
  timestamp = "placed_at"                    price = "unit_price"             price = "price"
  only_if = { status = ["paid", "sent"] }    quantity = "quantity"            stock = "stock"

The connector that sends the changes: `python -m ingestion connect --help`. Orders become `Order Completed`, once each, however
often a change is sent again; products, their prices and their stock go to the catalogue. What cannot be used goes to the
quarantine (`python -m ingestion quarantine list`) and holds up nothing. See docs/cdc.md.

Exits with 0 if it was asked to stop, or with --once when all changes have been taken; 1 if something could not be done; 2 if
the command is wrong."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="a TOML file that says which tables and columns are what; default: the setting SHELFWISE_CDC__MAPPING",
    )
    parser.add_argument("--once", action="store_true", help="end when all changes that are there have been taken")
    parser.add_argument("--check", action="store_true", help="only show what is read, and what Postgres needs for it")


def run(args: argparse.Namespace) -> int:
    from feature_repo.settings import get_settings

    mapping = mapping_at(args.file)
    if args.check:
        print(mapping.model_dump_json(indent=2, exclude_defaults=True))
        for table, columns in mapping.columns.items():
            print(f"of {table}: {', '.join(sorted(columns))}")
        print("\nPostgres needs wal_level = logical, and of its administrator:")
        print("\n".join(mapping.grants(get_settings().cdc.user)))
        return 0
    from ingestion.locks import pulling
    from ingestion.producer import quiet_client_log
    from ingestion.stopping import StopRequest

    quiet_client_log()
    with pulling(mapping.name, "cdc"), StopRequest() as stop:
        if args.once:
            _follow(mapping, stop, once=True)
            return 0
        _stay(mapping, stop)
    return 0


def mapping_at(file: Path | None) -> Mapping:
    """The mapping in a file, or without one, in that which the settings name.

    Raises:
        InputError: there is none, or it cannot be used.
    """
    from feature_repo.settings import get_settings
    from ingestion.changes.config import load

    named = file or (Path(get_settings().cdc.mapping) if get_settings().cdc.mapping else None)
    if named is None:
        raise InputError(
            "no file says which tables and columns are what: name it, or set SHELFWISE_CDC__MAPPING (docs/cdc.md has one)"
        )
    return load(named)


def _stay(mapping: Mapping, stop: StopRequest) -> None:
    """Follow; what fails is reported once, and tried again from where it was noted last."""
    reported = ""
    while not stop:
        try:
            _follow(mapping, stop, once=False)
        except UnavailableError as error:
            if str(error) != reported:
                print(f"error: {error}; trying again", file=sys.stderr, flush=True)
            reported = str(error)
            stop.wait(_RETRY_SECONDS)


def _follow(mapping: Mapping, stop: StopRequest, once: bool) -> None:
    from feature_repo.settings import get_settings
    from ingestion.changes.follower import Counts, Follower
    from ingestion.crm.delivery import Delivery

    with Delivery() as delivery, Follower(mapping, delivery) as follower:
        if follower.lost:
            print(
                f"error: {follower.lost:,} changes were deleted by Kafka before they were read; `python -m ingestion connect "
                "snapshot` reads the tables again, which makes up for them",
                file=sys.stderr,
                flush=True,
            )
        ready = get_settings().home / "run" / "cdc.ready"
        ready.parent.mkdir(parents=True, exist_ok=True)
        ready.touch()
        end = follower.end()
        total, told = Counts(), -_REPORT_SECONDS
        while not stop:
            counts = follower.step(_POLL_SECONDS, 0 if once else _GATHER_SECONDS)
            total += counts
            done = once and counts.changes == 0 and follower.place() >= end and not follower.more
            if done or (total != Counts() and time.monotonic() - told > _REPORT_SECONDS):
                _show(total, follower)
                total, told = Counts(), time.monotonic()
            if done:
                return


def _show(counts: Counts, follower: Follower) -> None:
    taken_back = (
        f"; {counts.taken_back:,} orders that count were deleted, and go on counting" if counts.taken_back else ""
    )
    print(
        f"{counts.changes:,} changes: {counts.orders:,} orders sent, {counts.known:,} known already, {counts.products:,} news of "
        f"products, {counts.refused:,} sent to the quarantine; {follower.waiting:,} orders wait{taken_back}",
        flush=True,
    )
