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
    """Tables per task and variant: the best models first; under each mean, the difference to the best baseline."""
    for comparison in comparisons:
        title = f"{comparison.task.value}, {comparison.variant.value}"
        console.print(
            _means(comparison, f"{title}: {comparison.queries:,} queries of {comparison.customers:,} customers")
        )
        if comparison.characters:
            console.print(_characters(comparison, f"{title}: what the lists are like"))


def _means(comparison: Comparison, title: str) -> Table:
    measures = MEASURES[comparison.task]
    results = comparison.results[ALL]
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for measure in measures:
        table.add_column(measure, justify="right")
    for name in sorted(results[measures[0]], key=lambda name: -(results[measures[0]][name].estimate.mean or 0.0)):
        table.add_row(
            name, *(_cell(results[measure][name], comparison.best.get(measure) == name) for measure in measures)
        )
    return table


def _cell(result: Result, best: bool) -> str:
    below = _interval(result.difference, "+.3f") if result.difference else "best baseline" if best else "-"
    return f"{_interval(result.estimate, '.3f')}\n{below}"


def _interval(estimate: Estimate, form: str) -> str:
    if estimate.mean is None or estimate.low is None or estimate.high is None:
        return "-"
    return f"{estimate.mean:{form}} \\[{estimate.low:{form}}, {estimate.high:{form}}]"


def _characters(comparison: Comparison, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("model")
    for heading in ("coverage", "concentration", "diversity", "novelty", "popularity bias"):
        table.add_column(heading, justify="right")
    for name, one in comparison.characters.items():
        diversity = "-" if one.diversity is None else f"{one.diversity:.2f}"
        numbers = (f"{one.coverage:.2f}", f"{one.concentration:.2f}", diversity, f"{one.novelty:.1f}")
        table.add_row(name, *numbers, f"{one.popularity_bias:+.2f}")
    return table
