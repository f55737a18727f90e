"""``python -m training run``: train, evaluate, store, promote."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from training.arguments import add_window, require_folder_of

if TYPE_CHECKING:
    from training.model import ModelCard

_EPILOG = """\
The latest fifth of the impression lists (SHELFWISE_TRAINING__TEST_SHARE) is held out first: a recommender fitted on
the rest is tried on it, beside plain popularity. Then everything is fitted again, stored as shelfwise:<version> and
promoted, whatever it is worth: a running service takes it by itself. `retrain --promote` compares with the model before.
The same input and seed give the same model (but for the last digits with SHELFWISE_TRAINING__ALS_ON=spark).

examples:
  python -m training run
  python -m training run --until 2026-03-01 --report metrics.json

see what is stored:
  python -m training models
"""
_WHY = "trained by hand, not compared"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    add_window(parser)
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write metrics, counts and times as JSON")


def run(args: argparse.Namespace) -> int:
    """Train, store and promote a model; prints what it is worth."""
    from feature_repo.settings import get_settings
    from training.steps import Steps

    settings, steps = get_settings().training, Steps()
    require_folder_of(args.report)
    with steps("loading libraries"):
        from feature_repo.models.promotions import in_force, model_name, promote
        from feature_repo.store import open_store
        from training.data.events import BEGINNING, END, Window
        from training.data.history import require_features
        from training.pipeline import read_archive, train
        from training.promotion.artefact import store_model
        from training.promotion.record import record_done
    with steps("events, impressions and labels"):
        archive = read_archive(Window(args.since or BEGINNING, args.until or END), settings)
    with steps("feature store"):
        store = open_store()
        require_features(store)
    trained, before = train(store, archive, settings, steps), in_force()
    card = trained.card
    with steps("model store"):
        version = store_model(trained.recommender, card, trained.distributions)
        promote(version, _WHY, before)
    with steps("history"):
        record_done("run", version, "promoted", _WHY, {"held_back": card.metrics, "counts": card.counts})
    tag = f"{model_name()}:{version}"
    _show(tag, card)
    if args.report:
        report = {"model": tag, **asdict(card), "seconds": steps.seconds}
        args.report.write_text(json.dumps(report, indent=2, allow_nan=False))
    return 0


def _show(tag: str, card: ModelCard) -> None:
    from rich.console import Console

    table = Table(title=f"{tag}, tried on what happened after {card.metrics['split'][:16]}", title_justify="left")
    for heading in ("question", "by", "result", "95% interval", "cases"):
        table.add_column(heading, justify="left" if heading in ("question", "by") else "right")
    rerank, after = card.metrics["rerank_ndcg_at_10"], card.metrics["next_product_at_20"]
    for by in ("model", "popularity", "shown"):
        table.add_row("NDCG@10 within lists", by, *_cells(rerank[by]))
    for who in ("all", "returning", "new"):
        for measure, name in (("hr", "HR@20"), ("mrr", "MRR@20")):
            for by in ("model", "popularity"):
                table.add_row(f"{name} of the next product, {who}", by, *_cells(after[who][f"{by}_{measure}"]))
    console = Console()
    console.print(table)
    console.print(_calibration(card))
    counts = card.counts
    console.print(
        f"learnt from {counts['events']:,} events, {counts['customers']:,} customers, {counts['products']:,} products, "
        f"{counts['lists']:,} lists and {counts['turns']:,} turns; content {card.content}",
        highlight=False,
    )


def _calibration(card: ModelCard) -> Table:
    table = Table(title="scores as probabilities, on the later half of that time", title_justify="left")
    for heading in ("ranker", "products", "expected choices", "choices", "off by", "uncalibrated"):
        table.add_column(heading, justify="left" if heading == "ranker" else "right")
    for purpose, of in card.metrics["calibration"].items():
        table.add_row(
            purpose,
            f"{of['products']:,}",
            f"{of['expected']:,.0f}",
            f"{of['chosen']:,}",
            f"{of['error']:.0%}",
            f"{of['error_before']:.0%}",
        )
    return table


def _cells(result: dict[str, Any]) -> tuple[str, str, str]:
    if result["mean"] is None:
        return "-", "-", "0"
    return f"{result['mean']:.3f}", f"{result['low']:.3f} to {result['high']:.3f}", f"{result['count']:,}"
