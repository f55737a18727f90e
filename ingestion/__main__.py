"""``python -m ingestion COMMAND``: bring events in and keep both stores fresh.

Each command is a module of :mod:`ingestion.commands` with ``add_arguments(parser)`` and ``run(args) -> exit code``;
heavy imports happen inside ``run``, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType

from feature_repo.commands import exit_code_of, leave

COMMANDS = {
    "collector": "serve the HTTP API that trackers send to, and pass accepted events to Kafka",
    "catalog": "load what is new of a catalogue: names, categories, prices, stock",
    "pull": "fetch what is new of customers and orders from a CRM's or shop's REST API, into Kafka",
    "cdc": "follow the changes of a shop's database, as Debezium sends them, into Kafka and the catalogue",
    "connect": "set up Kafka Connect's connectors from files, and see that they run",
    "backfill": "load bulk history into the offline store and compute its features",
    "replay": "send recorded events into Kafka in event-time order, at any speed",
    "simulate": "invent a shop: history in bulk, or live traffic to the collector",
    "quarantine": "look at refused events, repair them, and put them back into the stream",
    "reconcile": "check that every event is accounted for, once",
    "parity": "compare stored features with what the raw events say",
    "health": "lag, delays, freshness, quiet feeds and refused events; exits with 1 if something is wrong",
    "outcomes": "what became of recommendations: clicks, carts, orders, by model, scenario, source or variant",
    "validate": "check tables and catalogue sources: volumes, missing values, ranges, uniqueness, references",
    "publish": "copy the feature tables into the warehouse, for analysts and for Feast",
    "erase": "take everything of a customer out of the stores, as the law asks",
    "export-customer": "everything that is held of a customer, as JSON",
    "compact": "merge the small files of the tables",
    "rebuild-online": "fill an empty Redis again from the offline store",
    "stream": "run the Spark job: Kafka to features, online and offline",
}


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"ingestion.commands.{command.replace('-', '_')}")


def build_parser(names: list[str]) -> argparse.ArgumentParser:
    """The parser with full arguments for the commands in ``names`` and one-line help for all."""
    parser = argparse.ArgumentParser(prog="python -m ingestion", description=__doc__.splitlines()[0])
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in names:
            _module(name).add_arguments(subparser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; an expected failure prints one line that says what to do and exits with 1."""
    words = sys.argv[1:] if arguments is None else arguments
    args = build_parser([word for word in words if word in COMMANDS][:1]).parse_args(words)
    return exit_code_of(lambda: int(_module(args.command).run(args)))


if __name__ == "__main__":
    leave(main())
