"""``python -m ingestion connect``: put connectors in place from their files, and see that they run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import ShelfwiseError

if TYPE_CHECKING:
    from ingestion.connectors.rest import Connect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  python -m ingestion connect apply                    what ingestion/connectors/postgres.json says, and wait until it runs
  python -m ingestion connect apply shop/postgres.json one of your own
  python -m ingestion connect status                   whether each connector runs, and if not, why
  python -m ingestion connect snapshot                 read the tables again; what is known is not counted twice

Applying again what is in place changes nothing, but restarts what has failed, and resumes what was stopped or paused.
Files hold no secrets: they name variables of the worker's environment, such as ${env:SHELFWISE_CDC__PASSWORD}. $name, $tables,
$columns and $topic in them are those of the mapping (SHELFWISE_CDC__MAPPING). See docs/cdc.md.

Exits with 0 if all connectors run; 1 if one does not, with the reason and what to do; 2 if the command is wrong."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    applying = actions.add_parser("apply", help="put connectors in place, and wait until they run")
    _add_files(applying)
    actions.add_parser("status", help="whether each connector runs, and if not, why")
    again = actions.add_parser("snapshot", help="let connectors read their tables again from the beginning")
    _add_files(again)


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="JSON as Connect takes it (default: Debezium's for Postgres)",
    )
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="default: the setting SHELFWISE_CDC__MAPPING")


def run(args: argparse.Namespace) -> int:
    from feature_repo.settings import get_settings
    from ingestion.commands.cdc import mapping_at
    from ingestion.connectors.files import HERE, read
    from ingestion.connectors.rest import Connect

    settings = get_settings().connect
    connect = Connect(settings.address, settings.timeout_seconds)
    if args.action == "status":
        return _status(connect)
    mapping = mapping_at(args.mapping)
    connectors = [read(path, mapping) for path in args.files or sorted(HERE.glob("*.json"))]
    code = 0
    for connector in connectors:
        try:
            changed = connect.put(connector)
            if args.action == "snapshot":
                connect.read_again(connector.name)
            else:
                status = connect.status(connector.name)
                if status.rests:
                    connect.resume(connector.name)
                if not changed and status.failed:
                    connect.restart_failed(connector.name)
            connect.wait_until_it_runs(connector.name)
        except ShelfwiseError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
        else:
            done = "reads its tables again" if args.action == "snapshot" else "changed" if changed else "unchanged"
            print(f"{connector.name}: {done}, runs", flush=True)
    return code


def _status(connect: Connect) -> int:
    from ingestion.connectors.causes import explained, root_cause

    names = connect.names()
    if not names:
        print("no connectors; `python -m ingestion connect apply` puts them in place")
    code = 0
    for name in names:
        status = connect.status(name)
        print(f"{name}: {status}")
        if status.trace:
            print(f"error: {name}: {explained(root_cause(status.trace))}", file=sys.stderr)
        code = code if status.runs else 1
    return code
