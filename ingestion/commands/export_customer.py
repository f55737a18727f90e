"""``python -m ingestion export-customer``: everything that is held of one customer, as JSON."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.errors import InputError

_EPILOG = """\
For people who ask for a copy of their data. It has the rows of every table that name the customer or one of the anonymous ids
that are the customer's alone, of shared devices what happened while the customer used them, and what the online store holds.
Nothing is changed. docs/privacy.md says what is not in it.

Exits with 3 if nothing is held.

examples:
  python -m ingestion export-customer ada                       # to the terminal
  python -m ingestion export-customer ada --out ada.json
  python -m ingestion export-customer ada --out ada.jsonl       # a line per row, with the name of its table
"""
NOTHING_HELD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "customer", metavar="CUSTOMER", help="user id or anonymous id; `-`: read it from standard input"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where to; .jsonl: a line per row (default: print JSON)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the customer's data."""
    import orjson
    from rich.console import Console

    from ingestion.privacy.customer_data import everything_of

    customer = customer_named(args.customer)
    if args.out and (args.out.is_dir() or not args.out.absolute().parent.is_dir()):
        raise InputError(f"--out {args.out} cannot be written: give a file in a folder that exists")
    with Console(stderr=True).status("reading the tables"):
        theirs, rows = everything_of(customer)
    ids = sorted(theirs.spans)
    if args.out and args.out.suffix == ".jsonl":
        text = b"".join(orjson.dumps({"table": name, **row}) + b"\n" for name, of in rows.items() for row in of)
    else:
        document = {"customer_id": customer, "exported_at": datetime.now(UTC), "ids": ids, "tables": rows}
        text = orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"
    counts = ", ".join(f"{len(of):,} of {name}" for name, of in rows.items() if of)
    if args.out:
        with open(os.open(args.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(text)
        print(f"{args.out}: {counts or 'nothing is held'}")
    else:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    return 0 if counts else NOTHING_HELD


def customer_named(argument: str) -> str:
    """The id that was given as an argument, or on standard input.

    Raises:
        InputError: there is none.
    """
    customer = (sys.stdin.read() if argument == "-" else argument).strip()
    if not customer:
        raise InputError("the id is empty; give the customer's user id or anonymous id")
    return customer
