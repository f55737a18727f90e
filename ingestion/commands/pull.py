"""``python -m ingestion pull FILE``: fetch what is new of customers and orders from a REST API, once or again and again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import ShelfwiseError
from ingestion.number_arguments import above_zero

if TYPE_CHECKING:
    from ingestion.crm.config import PullConfig
    from ingestion.crm.puller import Pulled
    from ingestion.stopping import StopRequest

NEEDS_A_LOOK = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
examples:
  export SHOPIFY_ACCESS_TOKEN=shpat_...
  python -m ingestion pull shop.toml                what has changed since the last pull; the first time, all there is
  python -m ingestion pull shop.toml --every 60     stay, and pull each minute
  python -m ingestion pull shop.toml --check        read the file, show what it comes to, ask nobody

A shop.toml that is complete:
  preset = "shopify"                                                   or "hubspot", or none: see docs/crm.md
  base_url = "https://my-shop.myshopify.com/admin/api/2025-10"

Orders become `Order Completed` events, customers become `identify`. Each counts once, however often it is read, and an order
that the tracker has reported is not counted again. A pull that fails or is killed goes on where it was. Records that break
the contract go to the quarantine (`python -m ingestion quarantine list`) and hold up nothing.

Exits with 0 if everything was pulled; 3 if it was, and there is something to look at: records were refused, or fields have
vanished or changed their type; 1 if something could not be pulled; 2 if the command is wrong; 130 if it was interrupted."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a TOML file that says what to pull; no secrets in it")
    parser.add_argument(
        "--every",
        type=above_zero,
        metavar="SECONDS",
        help="stay, and pull that often, until Ctrl-C or SIGTERM; what fails is reported and tried again",
    )
    parser.add_argument("--check", action="store_true", help="only show what the file comes to, its preset included")


def run(args: argparse.Namespace) -> int:
    from ingestion.crm.config import load
    from ingestion.locks import pulling
    from ingestion.producer import quiet_client_log
    from ingestion.stopping import INTERRUPTED, StopRequest

    config = load(args.file)
    if args.check:
        print(config.model_dump_json(indent=2, by_alias=True))
        return 0
    config.auth.secret()
    quiet_client_log()
    with pulling(config.name), StopRequest() as stop:
        if args.every is not None:
            _stay(config, args.every, stop)
            return 0
        code = 0
        for outcome in _outcomes(config, stop):
            if isinstance(outcome, ShelfwiseError):
                print(f"error: {outcome}", file=sys.stderr)
                code = 1
            elif _show(*outcome) and code == 0:
                code = NEEDS_A_LOOK
        return INTERRUPTED if stop else code


def _stay(config: PullConfig, every: float, stop: StopRequest) -> None:
    reported: list[str] = []
    while not stop:
        failures: list[str] = []
        try:
            for outcome in _outcomes(config, stop):
                if isinstance(outcome, ShelfwiseError):
                    failures.append(str(outcome))
                elif outcome[1].delivered.sent or outcome[1].delivered.refused or outcome[1].changes:
                    _show(*outcome)
        except ShelfwiseError as error:
            failures.append(str(error))
        for failure in failures:
            if failure not in reported:
                print(f"error: {failure}; trying again", file=sys.stderr, flush=True)
        reported = failures
        stop.wait(every)


def _outcomes(config: PullConfig, stop: StopRequest) -> Iterator[tuple[str, Pulled] | ShelfwiseError]:
    """Pull each resource; one that fails does not hinder the others."""
    from urllib.parse import urlsplit

    from ingestion.crm import state
    from ingestion.crm.api import Api
    from ingestion.crm.delivery import Delivery
    from ingestion.crm.puller import Ends, pull

    remembered = state.load(config.name, urlsplit(config.base_url).hostname or "")
    with Delivery() as delivery:
        ends = Ends(config, remembered, Api(config, stop), delivery, stop)
        for name in config.resources:
            if stop:
                return
            try:
                yield name, pull(ends, name)
            except ShelfwiseError as error:
                yield error


def _show(name: str, done: Pulled) -> bool:
    """Print what a pull did; whether it needs a look."""
    counts = done.delivered
    print(
        f"{name}: {done.records:,} records{'' if done.finished else ' before the stop'}; {counts.sent:,} sent, "
        f"{counts.known:,} known already, {done.skipped:,} left out, {counts.refused:,} sent to the quarantine",
        flush=True,
    )
    for change in done.changes:
        print(f"drift: {name}: {change}", file=sys.stderr, flush=True)
    return bool(counts.refused) or any(change.worrying for change in done.changes)
