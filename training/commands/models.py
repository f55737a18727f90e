"""``python -m training models``: the stored versions, which one is promoted, and what each is worth."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from feature_repo.commands import result_console
from feature_repo.errors import InputError, UnavailableError

_EPILOG = """\
`in force` is what the service answers with; `before` is what `python -m training rollback` can go back to.

examples:
  python -m training models
  python -m training models --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="a list of objects instead of a table")


def run(args: argparse.Namespace) -> int:
    """Show what is stored."""
    models = listed()
    if args.json:
        print(json.dumps(models, indent=2, allow_nan=False))
        return 0
    _show(models)
    return 0


def listed() -> list[dict[str, Any]]:
    """All stored versions, the newest first."""
    from feature_repo.models.promotions import promotions
    from training.promotion.artefact import read_card, stored_versions
    from training.promotion.record import decisions

    stack = [promotion.version for promotion in promotions()]
    decided: dict[str, tuple[str, str]] = {}
    try:
        decided = decisions()
    except UnavailableError as error:
        print(f"warning: {error}", file=sys.stderr)
    models = []
    for version in reversed(stored_versions()):
        state = "in force" if stack[-1:] == [version] else "before" if version in stack else "stored"
        decision, why = decided.get(version, (None, None))
        model: dict[str, Any] = {"version": version, "state": state, "decision": decision, "why": why}
        try:
            card = read_card(version)
        except InputError:
            models.append({**model, "state": "broken"})
            continue
        models.append(
            {
                **model,
                "trained_at": card.trained_at,
                "learnt_until": card.until,
                "metrics": card.metrics,
                "counts": card.counts,
            }
        )
    return models


def _show(models: list[dict[str, Any]]) -> None:
    from rich.table import Table

    console = result_console(200)
    if not models:
        console.print("no model is stored yet: `python -m training run`")
        return
    table = Table("version", "state", "trained", "learnt until", "next HR@20", "lists NDCG@10", "decided", "why")
    for model in models:
        style = "bold" if model["state"] == "in force" else ""
        if "metrics" not in model:
            table.add_row(
                model["version"], model["state"], "-", "-", "-", "-", model["decision"] or "-", model["why"] or ""
            )
            continue
        metrics = model["metrics"]
        results = (metrics["next_product_at_20"]["all"]["model_hr"], metrics["rerank_ndcg_at_10"]["model"])
        table.add_row(
            model["version"],
            model["state"],
            _moment(model["trained_at"]),
            _moment(model["learnt_until"]),
            *(f"{result['mean']:.3f}" if result["mean"] is not None else "-" for result in results),
            model["decision"] or "-",
            model["why"] or "",
            style=style,
        )
    console.print(table)


def _moment(text: str) -> str:
    return text[:16].replace("T", " ")
