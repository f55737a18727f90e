"""The evaluation as a library: ask the chosen models every query, and judge their answers side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from feature_repo.ranking.shelf import Codes
from feature_repo.reading import Floats
from training.evaluation.character import Character, character_of
from training.evaluation.groups import groups_of
from training.evaluation.leaks import refuse_leaks
from training.evaluation.log import Log
from training.evaluation.measures import Estimate, estimates
from training.evaluation.models import Answers
from training.evaluation.outcomes import MEASURES, outcomes
from training.evaluation.registry import Entry, Setting
from training.evaluation.replay import ask
from training.evaluation.stream import Variant
from training.evaluation.tasks import Queries, Task

Watch = Callable[[str, int], None]


@dataclass(frozen=True)
class Result:
    """A model's result by one measure.

    Attributes:
        estimate: the mean with its interval.
        difference: to the best baseline, paired; None for that baseline itself, or without any.
    """

    estimate: Estimate
    difference: Estimate | None


@dataclass(frozen=True)
class Comparison:
    """Models side by side on one task in one variant.

    Attributes:
        queries, customers: how many there are.
        best: the baseline with the highest mean over all queries, by measure.
        results: by group of queries, measure and model.
        characters: what the lists are like, by model.
        seconds: how long each model took to learn and to answer.
    """

    task: Task
    variant: Variant
    queries: int
    customers: int
    best: dict[str, str]
    results: dict[str, dict[str, dict[str, Result]]]
    characters: dict[str, Character]
    seconds: dict[str, float]


def able(models: Mapping[str, Entry], task: Task, variant: Variant) -> dict[str, Entry]:
    """Those of the models that can answer a task in a variant."""
    return {name: entry for name, entry in models.items() if task in entry.tasks and variant in entry.variants}


def compare(
    log: Log,
    queries: Queries,
    variant: Variant,
    models: Mapping[str, Entry],
    setting: Setting,
    check_leaks: bool = False,
    watch: Watch = lambda model, count: None,
) -> Comparison:
    """Ask every model every query, and judge the answers.

    Args:
        queries: of one task, at least one.
        models: at least one, all of them able to answer.
        check_leaks: also ask again in a world with another future.
        watch: is told the model and how many more queries it has answered.

    Raises:
        LeakError: a model asked for the future, or an answer changed with it.
    """
    answers: dict[str, Answers] = {}
    seconds: dict[str, float] = {}
    for name, entry in models.items():
        begun = time.perf_counter()
        answers[name] = ask(entry.make(setting), log, queries, variant, setting.cut, partial(watch, name))
        seconds[name] = round(time.perf_counter() - begun, 2)
        if check_leaks:
            refuse_leaks(name, partial(entry.make, setting), log, queries, variant, setting.cut, setting.seed)
    return _judge(log, queries, variant, models, answers, seconds, setting)


def _judge(
    log: Log,
    queries: Queries,
    variant: Variant,
    models: Mapping[str, Entry],
    answers: Mapping[str, Answers],
    seconds: dict[str, float],
    setting: Setting,
) -> Comparison:
    names, measures = list(models), MEASURES[queries.task]
    values = np.stack([outcomes(queries, answers[name], setting.seed) for name in names])
    baselines = [place for place, entry in enumerate(models.values()) if entry.kind == "baseline"]
    best: dict[str, str] = {}
    differences = np.zeros_like(values)
    for column, measure in enumerate(measures):
        if baselines:
            highest = max(baselines, key=lambda place: values[place, :, column].mean())
            best[measure] = names[highest]
            differences[:, :, column] = values[:, :, column] - values[highest, :, column]
    both = np.concatenate([values, differences])
    characters = {name: character_of(answers[name].ranked, queries, log, setting.cut) for name in names}
    return Comparison(
        task=queries.task,
        variant=variant,
        queries=len(queries),
        customers=len(np.unique(queries.customers)),
        best=best,
        results={
            group: _results(both[:, rows], queries.customers[rows], names, measures, best, setting.seed)
            for group, rows in groups_of(queries, log).items()
        },
        characters={name: character for name, character in characters.items() if character},
        seconds=seconds,
    )


def _results(
    both: Floats, customers: Codes, names: list[str], measures: tuple[str, ...], best: dict[str, str], seed: int
) -> dict[str, dict[str, Result]]:
    """By measure and model, from values and then differences of all models, shape (2 x models, queries, measures)."""
    columns = both.transpose(1, 0, 2).reshape(both.shape[1], -1)
    found = estimates(columns, customers, seed)
    results: dict[str, dict[str, Result]] = {}
    for column, measure in enumerate(measures):
        by_model = {}
        for place, name in enumerate(names):
            difference = found[(len(names) + place) * len(measures) + column]
            compared = measure in best and best[measure] != name
            by_model[name] = Result(found[place * len(measures) + column], difference if compared else None)
        results[measure] = by_model
    return results
