"""``python -m ingestion outcomes``: what became of the recommendations that were shown."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from feature_repo.errors import UnavailableError
from feature_repo.time_arguments import moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingestion.outcomes.rates import Outcome, Rate, Unanswered

_KEYS = ("model", "scenario", "source", "experiment", "variant", "place", "day")
_DAYS = 7

_EPILOG = """\
Counted are lists of recommendations that were shown: events "Product List Viewed" with the `request_id` of the service's
answer. What a customer clicks within 30 minutes, or carts or orders within 24 hours, counts for the latest list that showed
it to him (SHELFWISE_OUTCOMES__*). The stream keeps the numbers; this command first takes in what is new. Intervals hold 95%, and
take into account that what one customer does is alike. docs/experiments.md has more.

examples:
  python -m ingestion outcomes                               # by version of the model, of the last 7 days
  python -m ingestion outcomes --by scenario,source --since 2026-03-01
  python -m ingestion outcomes --by variant --json
  python -m ingestion outcomes --check                       # compute all again and compare; exits with 1 if it differs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--by",
        type=_keys,
        default=("model",),
        metavar="KEY[,KEY]",
        help=f"told apart by {', '.join(_KEYS)}; `all`: one sum",
    )
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help=f"lists shown since, ISO 8601 (default: {_DAYS} days ago)"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="lists shown before")
    parser.add_argument("--json", action="store_true", help="as one line of JSON")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--recompute", action="store_true", help="compute all days anew, not only those with news")
    what.add_argument("--check", action="store_true", help="compare what is stored with all of it computed anew")
    what.add_argument("--refresh-only", action="store_true", help="take in what is new, and show nothing")


def run(args: argparse.Namespace) -> int:
    """Bring the outcomes up to date and show them."""
    from rich.console import Console

    from feature_repo.tables import create_missing_tables
    from ingestion.outcomes import answers
    from ingestion.outcomes import rates as outcome_rates
    from ingestion.outcomes import table as outcome_table

    with Console(stderr=True).status("taking in what is new"):
        create_missing_tables()
        try:
            answers.land()
        except UnavailableError as error:
            print(f"warning: only what is stored counts: {error}", file=sys.stderr)
        outcome_table.refresh(recompute=args.recompute)
    if args.check:
        return _check()
    if args.refresh_only:
        return 0
    since = args.since or datetime.now(UTC) - timedelta(days=_DAYS)
    found, unanswered = outcome_rates.outcomes_by(args.by, since, args.until)
    if args.json:
        print(_as_json(args.by, since, args.until, found, unanswered))
    else:
        _show(args.by, since, args.until, found, unanswered)
    return 0


def _check() -> int:
    from ingestion.outcomes.table import differing_days

    if days := differing_days():
        print(
            f"stored outcomes differ from what the events and answers give: {', '.join(map(str, days))}",
            file=sys.stderr,
        )
        print("`python -m ingestion outcomes --recompute` computes them anew", file=sys.stderr)
        return 1
    print("all stored outcomes are what the events and answers give")
    return 0


def _as_json(
    keys: Sequence[str], since: datetime, until: datetime | None, found: Sequence[Outcome], unanswered: Unanswered
) -> str:
    import orjson

    outcomes = [
        {**dict(zip(keys, one.of, strict=True)), **{k: v for k, v in vars(one).items() if k != "of"}} for one in found
    ]
    answer = {
        "since": since,
        "until": until,
        "outcomes": outcomes,
        "lists": unanswered.lists,
        "unknown": unanswered.unknown,
    }
    return orjson.dumps(answer).decode()


def _show(
    keys: Sequence[str], since: datetime, until: datetime | None, found: Sequence[Outcome], unanswered: Unanswered
) -> None:
    from rich.markup import escape
    from rich.table import Table

    from feature_repo.commands import result_console

    console = result_console()
    span = f"since {since:%Y-%m-%d %H:%M}" + (f", before {until:%Y-%m-%d %H:%M}" if until else "") + " UTC"
    if not found:
        console.print(
            f"No list of recommendations was shown {span}. Pages must send `request_id` with Product List Viewed: "
            "docs/experiments.md",
            markup=False,
        )
    else:
        table = Table(*keys, title=f"recommended products shown {span}", title_justify="left")
        headings = (
            "lists",
            "customers",
            "shown",
            "clicks",
            "CTR",
            "carts",
            "orders",
            "orders/shown",
            "revenue",
            "per 1,000",
        )
        for heading in headings:
            table.add_column(heading, justify="right")
        for one in found:
            counts = (f"{count:,}" for count in (one.lists, one.persons, one.shown, one.clicks))
            table.add_row(
                *(escape(value or "-") for value in one.of),
                *counts,
                _percent(one.click_rate),
                f"{one.carts:,}",
                f"{one.orders:,}",
                _percent(one.order_rate),
                f"{one.revenue:,.2f}",
                _amount(one.revenue_rate),
            )
        console.print(table)
    if unanswered.unknown:
        console.print(
            f"{unanswered.unknown:,} of {unanswered.lists:,} lists show answers that are not known (not stored yet, lost, or "
            "not of this service) and are left out.",
            markup=False,
        )


def _percent(rate: Rate) -> str:
    between = "" if rate.low is None else f" ({rate.low:.2%} to {rate.high:.2%})"
    return f"{rate.value:.2%}{between}"


def _amount(rate: Rate) -> str:
    between = "" if rate.low is None else f" ({rate.low:,.2f} to {rate.high:,.2f})"
    return f"{rate.value:,.2f}{between}"


def _keys(text: str) -> tuple[str, ...]:
    if text == "all":
        return ()
    keys = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if unknown := [key for key in keys if key not in _KEYS]:
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}; there are {', '.join(_KEYS)}, all")
    return keys
