"""The result of an evaluation, for machines (JSON) and for people (tables)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from training.evaluation.assess import Comparison, Result
from training.evaluation.groups import ALL
from training.evaluation.measures import Estimate
from training.evaluation.outcomes import MEASURES


def as_json(comparisons: Sequence[Comparison], about: dict[str, Any]) -> dict[str, Any]:
    """Everything, with what was evaluated on before; by task and variant."""
    results: dict[str, dict[str, Any]] = {}
    for comparison in comparisons:
        results.setdefault(comparison.task.value, {})[comparison.variant.value] = asdict(comparison)
    return {**about, "results": results}


def show(comparisons: Sequence[Comparison], console: Console) -> None:
    """A table per task and variant: the best models first, each beside the best baseline."""
    for comparison in comparisons:
        measures = MEASURES[comparison.task]
        title = f"{comparison.task.value}, {comparison.variant.value}: {comparison.queries:,} queries"
        table = Table(title=f"{title} of {comparison.customers:,} customers", title_justify="left")
        table.add_column("model")
        for measure in measures:
            table.add_column(f"{measure} [95%]", justify="right")
            table.add_column("to best baseline", justify="right")
        for heading in ("coverage", "diversity", "novelty", "popularity bias"):
            table.add_column(heading, justify="right")
        results = comparison.results[ALL]
        for name in sorted(results[measures[0]], key=lambda name: -(results[measures[0]][name].estimate.mean or 0.0)):
            cells = [cell for measure in measures for cell in _cells(results[measure][name])]
            table.add_row(name, *cells, *_character(comparison, name))
        console.print(table)


def _cells(result: Result) -> tuple[str, str]:
    return _interval(result.estimate, ".3f"), _interval(result.difference, "+.3f") if result.difference else "(best)"


def _interval(estimate: Estimate, form: str) -> str:
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.mean:{form}} \\[{estimate.low:{form}}, {estimate.high:{form}}]"


def _character(comparison: Comparison, name: str) -> tuple[str, ...]:
    character = comparison.characters.get(name)
    if character is None:
        return ("-",) * 4
    diversity = "-" if character.diversity is None else f"{character.diversity:.2f}"
    return f"{character.coverage:.2f}", diversity, f"{character.novelty:.1f}", f"{character.popularity_bias:+.2f}"
