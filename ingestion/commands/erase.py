"""``python -m ingestion erase``: take everything of a customer out of the stores."""

from __future__ import annotations

import argparse
import json

from feature_repo.errors import InputError
from ingestion.commands.export_customer import customer_named

_EPILOG = """\
Erased is what happened until now under the customer's id, the anonymous ids that are the customer's alone, and on shared
devices while the customer used them: events, features, answers, outcomes, and what refused events held, offline and online;
then every file that held any of it. A running stream pauses for some seconds. What comes later starts a new customer;
late or repeated events of the time before are refused (reason erased_customer).

What was asked for is written down first, and is done when the command is run again if it was cut off. docs/privacy.md
says what it cannot reach: Kafka's log, and backups.

examples:
  python -m ingestion erase ada --dry-run       # what there is, by table
  python -m ingestion erase ada
  python -m ingestion erase --pending           # what was asked for by DELETE /customers/..., or cut off
  python -m ingestion erase --list              # what is waiting, and what was erased when
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "customer", nargs="?", metavar="CUSTOMER", help="user id or anonymous id; `-`: read it from standard input"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="change nothing; print how many rows there are")
    how.add_argument(
        "--online-only",
        action="store_true",
        help="of what is waiting for the rest, erase what is online (the collector does so at once)",
    )
    how.add_argument("--pending", action="store_true", help="erase what has been asked for")
    how.add_argument("--list", action="store_true", help="print what is waiting and what has been erased")


def run(args: argparse.Namespace) -> int:
    """Do what the options say."""
    if (args.customer is None) != (args.pending or args.list):
        raise InputError("give a CUSTOMER, or --pending or --list without one")
    if args.list:
        return _list()
    if args.pending:
        return _erase_pending()
    customer = customer_named(args.customer)
    if args.dry_run:
        return _show(customer)
    if args.online_only:
        return _erase_online(customer)
    from ingestion.privacy.record import ErasureRecord

    with ErasureRecord() as record:
        record.ask(customer)
    return _erase_pending()


def _list() -> int:
    from ingestion.privacy.record import ErasureRecord

    with ErasureRecord() as record:
        for request in record.requests():
            print(f"waiting: {request.customer}, asked for at {request.asked_at:%Y-%m-%d %H:%M:%S} UTC")
        for erasure in record.erasures():
            print(
                f"erased:  {erasure.digest}, asked for at {erasure.asked_at:%Y-%m-%d %H:%M:%S} UTC, "
                f"done at {erasure.done_at:%Y-%m-%d %H:%M:%S} UTC"
            )
    return 0


def _show(customer: str) -> int:
    import time

    from ingestion.privacy import tables
    from ingestion.privacy.spans import theirs

    of = theirs(tables.stored_identities(), customer, round(time.time() * 1000))
    print(f"{len(of.spans):,} ids: {', '.join(sorted(of.spans))}")
    for table in tables.HOLDING:
        print(f"{table.name}: {tables.rows_of(table, of).num_rows:,} rows")
    return 0


def _erase_online(customer: str) -> int:
    """Prints one line of JSON, for the collector."""
    from ingestion.online import open_online_store
    from ingestion.privacy.erasing import theirs_of
    from ingestion.privacy.features import erase_online
    from ingestion.privacy.record import ErasureRecord

    with ErasureRecord() as record:
        waiting = [request for request in record.requests() if request.customer == customer]
    # If the stream was faster, what is online now is a new customer's.
    ids = set().union(*(theirs_of(request).whole for request in waiting))
    print(json.dumps({"ids": len(ids), "online": erase_online(open_online_store(), ids)}))
    return 0


def _erase_pending() -> int:
    from rich.console import Console

    from ingestion.locks import stream_paused
    from ingestion.online import open_online_store
    from ingestion.privacy.erasing import carry_out, in_words
    from ingestion.privacy.record import anything_asked

    if not anything_asked():
        print("nothing is waiting to be erased: a running stream has done it, or nothing was asked for")
        return 0
    online = open_online_store()
    console = Console(stderr=True)
    with console.status("waiting for the stream to pause"), stream_paused():
        while True:
            with console.status("erasing"):
                rows = carry_out(online)
            if not rows:
                return 0
            print(f"erased: {in_words(rows)}", flush=True)
