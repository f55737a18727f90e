"""Does a model look into the future? It is asked again in a world in which the future is another.

Whatever a model gets at, by whatever way through the log: if its answers before a moment change with what happens at or
after that moment, it has seen it. Features that come from the feature store are checked where they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from feature_repo.shelf import UNKNOWN
from training.evaluation.log import Log
from training.evaluation.models import Answers, Model
from training.evaluation.replay import ask
from training.evaluation.stream import LeakError, Variant
from training.evaluation.tasks import Queries


def with_another_future(log: Log, moment: float, seed: int) -> Log:
    """The same log up to a moment; from then on, the same events are about other products."""
    other = np.random.default_rng(seed).permutation(len(log.ids)).astype(np.int32)
    lines = log.lines
    items = np.where((lines.times >= moment) & (lines.items != UNKNOWN), other[lines.items], lines.items)
    return log.with_lines(replace(lines, items=items))


def refuse_leaks(
    model: Callable[[], Model], log: Log, queries: Queries, variant: Variant, cut: float, seed: int
) -> None:
    """Compare a model's answers in two worlds that differ from the middle query's moment on.

    Args:
        model: makes a fresh one.

    Raises:
        LeakError: they differ before that moment.
    """
    moment = float(queries.moments[len(queries) // 2])
    past = queries.take(queries.moments <= moment)
    refuse_difference(
        ask(model(), log, past, variant, cut),
        ask(model(), with_another_future(log, moment, seed), past, variant, cut),
        past,
    )


def refuse_difference(present: Answers, other: Answers, queries: Queries) -> None:
    """Compare answers to the same queries in two worlds with the same past.

    Raises:
        LeakError: they differ.
    """
    rows = queries.listed.owner[present.scores != other.scores] if len(present.scores) else np.empty(0, dtype=int)
    differs = np.union1d(rows, np.flatnonzero((present.ranked != other.ranked).any(axis=1)))
    if len(differs):
        raise LeakError(
            f"{len(differs)} of {len(queries)} answers change with what happens at or after the moment of the query"
        )
