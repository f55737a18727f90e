"""Asking a model the queries of one task, day by day."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from feature_repo.errors import DefinitionError
from feature_repo.ranking.shelf import UNKNOWN
from training.evaluation.log import Log
from training.evaluation.models import DEPTH, Answers, Model
from training.evaluation.stream import LeakError, Stream, Variant
from training.evaluation.tasks import Queries, Task

DAY_SECONDS = 86_400.0


def ask(
    model: Model,
    log: Log,
    queries: Queries,
    variant: Variant,
    cut: float,
    progress: Callable[[int], None] = lambda count: None,
) -> Answers:
    """Answers to queries, which are in order of time.

    Args:
        model: one that was never asked before.
        cut: up to when a static model learns, epoch seconds.
        progress: is told how many more queries are done.

    Raises:
        LeakError: the model asked for the future, or recommended what came later.
        DefinitionError: an answer is not of the kind that is asked for.
    """
    stream = Stream(log, variant, cut)
    parts = []
    # Between these lie days of UTC; a model that is refitted daily is so at the first query of a day.
    bounds = np.flatnonzero(np.diff(queries.moments // DAY_SECONDS, prepend=-1.0, append=np.inf))
    for first, last in pairwise(bounds):
        day = queries.take(slice(first, last))
        answers = model.answer(stream, day)
        _check(answers, day, log)
        parts.append(answers)
        progress(len(day))
    return Answers.concatenate(parts)


def _check(answers: Answers, queries: Queries, log: Log) -> None:
    """Refuse answers that could not be judged rightly."""
    wanted = int(queries.listed.lengths.sum()) if queries.task is Task.RERANK else 0
    if answers.ranked.shape != (len(queries), DEPTH) or answers.scores.shape != (wanted,):
        raise DefinitionError(
            f"a model answered {len(queries)} queries with lists of shape {answers.ranked.shape} and "
            f"{len(answers.scores)} scores"
        )
    recommended = answers.ranked != UNKNOWN
    ordered = np.sort(answers.ranked, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != UNKNOWN)).any():
        raise DefinitionError("a model recommended a product twice in one list")
    if (recommended & (log.since[answers.ranked] >= queries.moments[:, None])).any():
        raise LeakError("a model recommended a product that nobody had heard of by then")
    if queries.task is Task.NEXT and (recommended & (answers.ranked == queries.last[:, None])).any():
        raise DefinitionError("a model recommended the product that the customer was at")
