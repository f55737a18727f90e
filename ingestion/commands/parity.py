"""``python -m ingestion parity``: do stored features hold what the raw events say?"""

from __future__ import annotations

import argparse
import math
import sys
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.errors import InputError, UnavailableError
from feature_repo.time_arguments import moment_or_age
from ingestion.parity.comparison import KEYS, THRESHOLD, compare
from ingestion.parity.report import ParityReport

if TYPE_CHECKING:
    from rich.console import Console

_SHOWN = 60  # characters of a value in an example


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Takes a random stored row of each of some random keys, and of every other key also the latest one, and computes "
        "them anew from the raw events, by other code. Exits with 1 if a feature differs in more rows than the threshold "
        "allows."
    )
    parser.add_argument(
        "--customers",
        type=_number,
        default=KEYS,
        metavar="N",
        help=f"customers, of what they did and of what they were shown (default: {KEYS})",
    )
    parser.add_argument("--items", type=_number, default=KEYS, metavar="N", help=f"items (default: {KEYS})")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=THRESHOLD,
        metavar="SHARE",
        help=f"share of the rows in which a feature may differ (default: {THRESHOLD})",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="take the sample of an earlier run again")
    parser.add_argument(
        "--since",
        type=moment_or_age,
        metavar="TIME",
        help="only rows of moments from then on: ISO 8601, or as `90m`, `6h`, `7d`",
    )
    parser.add_argument("--require", action="store_true", help="exit with 1 also if there is nothing to compare")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result to FILE as JSON")


def run(args: argparse.Namespace) -> int:
    from feature_repo.commands import result_console
    from ingestion.erased_rows import items_with_erased
    from ingestion.locks import pause_wanted

    if args.json and (args.json.is_dir() or not args.json.absolute().parent.is_dir()):
        raise InputError(f"--json {args.json} cannot be written: give a file in a folder that exists")
    if pause_wanted():
        raise UnavailableError("a backfill or rebuild is at work on the stores; try again when it has ended")
    items = args.items
    if items and items_with_erased():
        items = 0
        print(
            "items are left out: their sums still count events of customers who have been erased; "
            "`python -m ingestion backfill --recompute` computes them without",
            file=sys.stderr,
        )
    report = compare(args.customers, items, threshold=args.threshold, seed=args.seed, since=args.since)
    if args.json:
        args.json.write_text(report.to_json() + "\n")
    console = result_console()
    _show(console, report)
    return 0 if report.agrees and not (args.require and report.empty) else 1


def _show(console: Console, report: ParityReport) -> None:
    from rich.table import Table
    from rich.text import Text

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)

    if report.features:
        table = Table("of", "feature")
        for heading in ("rows", "differing", "share", "largest difference"):
            table.add_column(heading, justify="right")
        for of in report.features:
            style = "bold red" if of in report.beyond else "yellow" if of.differing else ""
            cells = (f"{of.rows:,}", f"{of.differing:,}", f"{of.share:.2%}", _size(of.largest))
            table.add_row(of.entity.value, of.feature, *(Text(cell, style=style) for cell in cells))
        console.print(table)
    for of in report.features:
        for example in of.examples:
            stored, recomputed = _excerpts(example.stored, example.recomputed)
            moment = example.moment.isoformat(timespec="milliseconds")
            say(
                f"{of.feature} of {of.entity.value} {example.key} at {moment}: stored {stored}, recomputed {recomputed}"
            )
    for entity, rows in report.left_out.items():
        if rows:
            say(
                f"{rows:,} rows of these {entity.value}s reach beyond the archived events: left out, to be judged later"
            )
    for entity in report.empty:
        say(f"There are no rows of {entity.value}s to compare.")
    if not report.agrees:
        names = ", ".join(f"{of.entity.value} {of.feature}" for of in report.beyond)
        say(
            f"Stored features differ from what the events say in more than {report.threshold:.2%} of the rows: {names}. "
            "`python -m ingestion backfill --recompute` computes all features anew; "
            f"`python -m ingestion parity --seed {report.seed}` looks again.",
            "bold red",
        )
    elif report.features:
        say(f"Stored features agree with the events (seed {report.seed}).")


def _size(difference: float) -> str:
    if math.isinf(difference):
        return "no value"
    return f"{difference:.6g}" if difference else "-"


def _excerpts(stored: Any, recomputed: Any) -> tuple[str, str]:
    """Both values in short; of sequences, from the first place on in which they differ."""
    if not isinstance(stored, list) or not isinstance(recomputed, list):
        return _short(repr(stored)), _short(repr(recomputed))
    pairs = list(zip_longest(stored, recomputed))
    first = next((at for at, (here, there) in enumerate(pairs) if here != there), 0)
    prefix = f"({len(stored)}) from {first}: ", f"({len(recomputed)}) from {first}: "
    return prefix[0] + _short(repr(stored[first:])), prefix[1] + _short(repr(recomputed[first:]))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return share
