"""Does a model look into the future? It is asked again in a world in which the future is another.

Whatever a model gets at, by whatever way through the log: if its answers before a moment change with what happens at or
after that moment, it has seen it. Features that come from the feature store are checked where they are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.reading import Floats
from training.evaluation.log import Log
from training.evaluation.models import Model
from training.evaluation.replay import DAY_SECONDS, ask
from training.evaluation.stream import LeakError, Variant
from training.evaluation.tasks import Queries


def with_another_future(log: Log, moment: float, seed: int) -> Log:
    """The same log up to a moment; from then on, the same events are about other products."""
    other = np.random.default_rng(seed).permutation(len(log.ids)).astype(np.int32)
    lines = log.lines
    items = np.where((lines.times >= moment) & (lines.items != UNKNOWN), other[lines.items], lines.items)
    return log.with_lines(replace(lines, items=items))


def refuse_leaks(
    name: str, make: Callable[[], Model], log: Log, queries: Queries, variant: Variant, cut: float, seed: int
) -> None:
    """Compare a model's answers in two worlds that differ from the middle query's moment on.

    Args:
        name: of the model, for the error.
        make: makes a fresh one.

    Raises:
        LeakError: answers to queries up to that moment differ.
    """
    moment = float(queries.moments[len(queries) // 2])
    # To the end of the day, because a model gets the queries of a day together.
    asked = queries.take(queries.moments // DAY_SECONDS <= moment // DAY_SECONDS)
    one, other = (ask(make(), world, asked, variant, cut) for world in (log, with_another_future(log, moment, seed)))
    differs = (one.ranked != other.ranked).any(axis=1)
    if len(one.scores):
        differs |= np.bincount(asked.listed.owner, one.scores != other.scores, len(asked)) > 0
    differs &= asked.moments <= moment
    if differs.any():
        raise LeakError(
            f"{name}: {int(differs.sum())} of {int((asked.moments <= moment).sum())} answers change with what happens at or "
            "after the moment of the query"
        )


def refuse_future(last_events: Floats, moments: Floats) -> None:
    """Check features that were read from the feature store.

    Args:
        last_events: time of the last event that each row of features knows of, epoch seconds, NaN for none.
        moments: of the queries that they are for.

    Raises:
        LeakError: a row knows of something at or after the moment.
    """
    if (last_events >= moments).any():
        raise LeakError(f"{int((last_events >= moments).sum())} rows of features know of events after their query")
