"""``python -m ingestion reconcile``: whether every event that came in is accounted for, once."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.reconciliation.report import Reconciliation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        type=_seconds,
        metavar="SECONDS",
        help="wait so long for the stream to store what Kafka holds now; it is an error if it has not by then",
    )
    parser.epilog = (
        "Compares the ledger, the stored events, the quarantine and Kafka's offsets: accepted = processed + quarantined + "
        "duplicates, and no event twice. Exits with 1 unless all of it holds. While a backfill is loading, its "
        "events are not accounted for yet."
    )


def run(args: argparse.Namespace) -> int:
    from ingestion.reconciliation.comparison import reconcile

    result = reconcile(args.wait)
    _show(result)
    for problem in result.problems():
        print(problem, file=sys.stderr)
    return 0 if result.holds else 1


def _show(result: Reconciliation) -> None:
    from rich.markup import escape
    from rich.table import Table

    from feature_repo.commands import result_console

    console = result_console()
    ledger = Table("source", title="the ledger", title_justify="left")
    for column in ("accepted", "processed", "quarantined", "duplicates"):
        ledger.add_column(column, justify="right")
    for a in result.accounts:
        ledger.add_row(escape(a.source), *(f"{n:,}" for n in (a.accepted, a.processed, a.quarantined, a.duplicates)))
    checks = Table("check", "of", title="checks", title_justify="left")
    for column in ("expected", "found"):
        checks.add_column(column, justify="right")
    checks.add_column("")
    for check in result.checks:
        verdict = "[green]ok[/]" if check.holds else "[bold red]WRONG[/]"
        note = f" ({check.note})" if check.note else ""
        checks.add_row(check.name, escape(check.subject), f"{check.expected:,}", f"{check.found:,}", verdict + note)
    console.print(ledger)
    console.print(checks)
    console.print(f"{result.waiting:,} messages in Kafka are not stored yet")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
