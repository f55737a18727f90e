"""``python -m training evaluate``: recommenders and baselines, side by side, on what happened after a moment."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.errors import InputError
from feature_repo.time_arguments import moment
from training.arguments import chosen, names, require_folder_of

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from training.evaluation.assess import Comparison
    from training.evaluation.log import Log
    from training.evaluation.registry import Entry, Setting
    from training.evaluation.stream import Variant
    from training.evaluation.tasks import Task

_EPILOG = """\
The events are loaded by the production backfill into an installation of their own, which the next run uses again.
docs/evaluation.md says what is asked, what the measures mean and how to add a model.

examples:
  python -m training evaluate --data history/ --train-until 2026-03-01 --report evaluation.json
  python -m training evaluate --data history/ --train-until 2026-03-01 --models popular,session-knn,tfidf-daily --tasks next
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="a file or folder of contract events")
    parser.add_argument(
        "--train-until",
        type=moment,
        required=True,
        metavar="TIME",
        help="the cut: models are fitted on what lies before it, queries come after it (ISO 8601, UTC unless it says otherwise)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write all results as JSON")
    parser.add_argument("--models", type=names, default=[], metavar="NAME,...", help="by default all")
    parser.add_argument("--tasks", type=names, default=[], metavar="NAME,...", help="of next, purchase, rerank; all")
    parser.add_argument("--variants", type=names, default=[], metavar="NAME,...", help="of static, streaming; both")
    parser.add_argument(
        "--home", type=Path, metavar="DIR", help="where to load the events; by default below SHELFWISE_HOME"
    )
    parser.add_argument(
        "--check-leaks",
        action="store_true",
        help="also ask each model again in a world with another future; takes up to twice the time",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, show the results and write the report."""
    from rich.console import Console

    from feature_repo.settings import get_settings
    from training.data.events import EventLog, Window
    from training.evaluation import installation
    from training.evaluation.log import read_log
    from training.evaluation.registry import MODELS, Setting
    from training.evaluation.report import as_json, show
    from training.evaluation.stream import Variant
    from training.evaluation.tasks import Task
    from training.steps import Steps

    require_folder_of(args.report)
    models = chosen(MODELS, args.models)
    tasks = chosen({task.value: task for task in Task}, args.tasks)
    variants = chosen({variant.value: variant for variant in Variant}, args.variants)
    installation.enter(installation.load(args.data, args.home))
    with Steps()("reading the events"), EventLog(Window()) as archive:
        log = read_log(archive)
    setting = Setting(log.ids, log.customer_ids, args.train_until.timestamp(), get_settings().training)
    comparisons = _compare(log, tasks.values(), variants.values(), models, setting, args.check_leaks)
    if not comparisons:
        raise InputError("no model that was chosen has anything to answer after --train-until")
    show(comparisons, Console())
    if args.check_leaks:  # what leaks ends the command
        print("no model answered otherwise where the future was another: no leaks")
    if args.report:
        about = {
            "data": str(args.data),
            "train_until": args.train_until.isoformat(),
            "seed": setting.seed,
            "products": len(log.ids),
            "customers": len(log.customer_ids),
            "sessions": len(log.starts),
            "models": {name: entry.about for name, entry in models.items()},
        }
        args.report.write_text(json.dumps(as_json(comparisons, about), indent=2, allow_nan=False))
    return 0


def _compare(
    log: Log,
    tasks: Iterable[Task],
    variants: Iterable[Variant],
    models: dict[str, Entry],
    setting: Setting,
    check_leaks: bool,
) -> list[Comparison]:
    """Every task in every variant, with progress shown on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from training.evaluation.assess import able, compare
    from training.evaluation.tasks import queries_of

    columns = (
        TextColumn("{task.fields[what]}: {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    comparisons = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for task in tasks:
            queries = queries_of(task, log, setting.cut)
            for variant in variants:
                asked = able(models, task, variant)
                if not len(queries) or not asked:
                    continue
                total = len(queries) * len(asked)
                line = progress.add_task("", total=total, what=f"{task.value}, {variant.value}")
                watch = partial(_advance, progress, line)
                comparison = compare(log, queries, variant, asked, setting, check_leaks, watch)
                comparisons.append(comparison)
                # In a log, where no bar moves, it is seen what is done.
                took = ", ".join(f"{name} {seconds:.1f}" for name, seconds in comparison.seconds.items())
                progress.console.print(f"{task.value}, {variant.value}, seconds: {took}", highlight=False)
    return comparisons


def _advance(progress: Progress, line: TaskID, model: str, count: int) -> None:
    progress.update(line, description=model, advance=count)
