"""``python -m training tune``: search for better trees for a ranker, within a budget of time."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from training.arguments import add_window, chosen, names

if TYPE_CHECKING:
    from training.ranking.search import Tried

_EPILOG = """\
Random settings are tried on rows like those that training fits the rankers on. Folds are in order of time: each is judged by
a ranker that was fitted on what lies before it. The measure is NDCG@10 of what was chosen, within the lists of the rows.
The best on all folds but the last is compared with the present settings on the last. Nothing is changed: what to put into
shelfwise.toml is printed.

examples:
  python -m training tune --minutes 10
  python -m training tune --purposes order --minutes 5 --until 2026-03-01
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    add_window(parser)
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="time to spend on each ranker (default: %(default)s)"
    )
    parser.add_argument("--folds", type=int, default=3, help="parts that are judged (default: %(default)s)")
    parser.add_argument(
        "--most-trees",
        type=int,
        default=200,
        help="never try more: each costs time in every request (default: %(default)s)",
    )
    parser.add_argument("--purposes", type=names, default=[], metavar="NAME,...", help="of turn, order, list; all")


def run(args: argparse.Namespace) -> int:
    """Search and show what was found."""
    from feature_repo.settings import get_settings
    from feature_repo.store import open_store
    from training.data.events import BEGINNING, END, Window
    from training.data.history import require_features
    from training.pipeline import read_archive, read_rows
    from training.ranking.rankers import Purpose, ranker_settings
    from training.ranking.search import search
    from training.steps import Steps

    purposes = chosen({purpose.value: purpose for purpose in Purpose}, args.purposes)
    settings, steps = get_settings().training, Steps()
    with steps("events, impressions and labels"):
        archive = read_archive(Window(args.since or BEGINNING, args.until or END), settings)
    store = open_store()
    require_features(store)
    rows = read_rows(store, archive, settings, steps)
    for purpose in purposes.values():
        present = ranker_settings(purpose, settings)
        tried: list[Tried] = []
        with steps(f"trees of the ranker `{purpose}`"):
            until = time.monotonic() + args.minutes * 60
            for one in search(rows[purpose], present, args.folds, args.most_trees, settings.seed):
                tried.append(one)
                if time.monotonic() >= until:
                    break
        _show(purpose.value, tried, settings.seed)
    return 0


def _show(purpose: str, tried: list[Tried], seed: int) -> None:
    """The best of what was tried, beside the present settings, which were tried first."""
    from rich.console import Console
    from rich.table import Table

    from training.evaluation.measures import estimate

    console, present = Console(), tried[0]
    order = sorted(tried, key=lambda one: -one.worth)
    shown = [*order[:8], *([present] if present not in order[:8] else [])]
    table = Table(title=f"`{purpose}`: {len(tried)} settings, {len(present.choosing):,} lists", title_justify="left")
    for heading in (*type(present.settings).model_fields, "NDCG@10", "seconds", ""):
        table.add_column(heading, justify="right")
    for one in shown:
        cells = [f"{value:g}" for value in one.settings.model_dump().values()]
        table.add_row(*cells, f"{one.worth:.4f}", f"{one.seconds:.1f}", "present" if one is present else "")
    console.print(table)
    best = order[0]
    if best is present:
        console.print("Nothing better than the present settings was found.\n")
        return
    gain = estimate(best.confirming - present.confirming, seed)
    assert gain.mean is not None
    assert gain.low is not None
    console.print(
        f"On the {gain.count:,} lists of the last fold, which did not choose, the best beats the present settings by "
        f"{gain.mean:+.4f} (95%: {gain.low:+.4f} to {gain.high:+.4f}).",
        highlight=False,
    )
    if gain.low <= 0:
        console.print("That may be chance; keep the present ones.\n")
        return
    lines = [f"{name} = {value:g}" for name, value in best.settings.model_dump().items()]
    console.print(f"For shelfwise.toml:\n\n\\[training.{purpose}_ranker]\n" + "\n".join(lines) + "\n", highlight=False)
