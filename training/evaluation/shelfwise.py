"""Shelfwise itself under evaluation: the production recommender, fitted before the cut, on features as of each query.

Static and streaming differ in what it knows of products: as of the cut, or as of the query. Customers are as of the query in
both, because what he did so far is part of the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from feature_repo.ranking.shelf import UNKNOWN, Codes, Items, Vocabularies
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from feature_repo.store import open_store
from training.candidates.space import Spaces
from training.data.choices import on_sale
from training.data.events import Window
from training.data.examples import Examples, Shelves
from training.data.history import History
from training.data.impressions import Impressions
from training.evaluation.leaks import refuse_future
from training.evaluation.models import DEPTH, Answers
from training.evaluation.stream import Stream, Variant
from training.evaluation.tasks import Queries, Task
from training.model import Recommender
from training.pipeline import read_archive, train
from training.ranking.rankers import Purpose
from training.scenarios import RANKING_ALONE
from training.steps import Steps

_PURPOSES = {Task.NEXT: Purpose.TURN, Task.PURCHASE: Purpose.ORDER}


@dataclass(frozen=True)
class Workshop:
    """What is made once for all tasks and variants.

    Attributes:
        ids, customer_ids: products and customers by number.
        cut: up to when the recommender learns, epoch seconds.
    """

    ids: tuple[str, ...]
    customer_ids: NDArray[np.object_]
    cut: float
    settings: TrainingSettings

    @cached_property
    def history(self) -> History:
        """The offline store as of any moment."""
        return History(open_store(), self.ids, Vocabularies())

    @cached_property
    def recommender(self) -> Recommender:
        """Trained as in production, on what lies before the cut."""
        archive = read_archive(Window(until=datetime.fromtimestamp(self.cut, tz=UTC)), self.settings)
        return train(self.history.store, archive, self.settings, Steps(quiet=True)).recommender

    @cached_property
    def last_shelves(self) -> Shelves:
        """The catalogue as of the cut."""
        return Shelves.read(self.history, self.cut, self.cut)


class Shelfwise:
    """The recommender of ``python -m training run``."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        history = self._workshop.history
        static = stream.variant is Variant.STATIC
        first, last = float(queries.moments[0]), float(queries.moments[-1])
        shelves = self._workshop.last_shelves if static else Shelves.read(history, first, last)
        columns = history.customers(self._workshop.customer_ids[queries.customers], queries.moments)
        refuse_future(columns["last_event_at"].astype(float), queries.moments)
        visitors = shelves.visitors(columns, queries.moments, np.full(len(queries), np.nan))
        with threadpool_limits(1):
            if queries.task is Task.RERANK:
                scores = self._scores(queries, shelves, visitors, stream.until(queries))
                return Answers(np.full((len(queries), DEPTH), UNKNOWN, dtype=np.int32), scores)
            return Answers(self._ranked(stream, queries, shelves, visitors), np.empty(0))

    def _ranked(self, stream: Stream, queries: Queries, shelves: Shelves, visitors: Visitors) -> Codes:
        ranked = np.full((len(queries), DEPTH), UNKNOWN, dtype=np.int32)
        numbers = shelves.number(queries.moments)
        allowed, segments = stream.allowed(queries), stream.segments(queries)
        composition = RANKING_ALONE.model_copy(update={"purpose": _PURPOSES[queries.task]})
        for number in np.unique(numbers):
            shelf = shelves.shelves[number]
            placed, available = self._workshop.recommender.on(shelf), on_sale(shelf)
            for case in np.flatnonzero(numbers == number):
                visitor = visitors.take(slice(case, case + 1))
                answer = placed.recommend(
                    visitor,
                    available & next(allowed),
                    DEPTH,
                    self._workshop.settings.candidates,
                    composition,
                    segments=segments[case],
                )
                ranked[case, : len(answer)] = answer.rows
        return ranked

    def _scores(self, queries: Queries, shelves: Shelves, visitors: Visitors, until: Floats) -> Floats:
        history, listed, owner = self._workshop.history, queries.listed.flat, queries.listed.owner
        columns = history.items(listed, until[owner])
        refuse_future(columns["last_event_at"].astype(float), until[owner])
        lists = Impressions(
            self._workshop.customer_ids[queries.customers],
            queries.moments,
            visitors.device,
            owner,
            listed,
            np.full(len(listed), np.nan),
            np.zeros(len(listed), dtype=np.int8),
        )
        items = Items.from_columns(columns, until[owner], history.words)
        recommender = self._workshop.recommender
        spaces = Spaces.only(recommender.space.on(shelves.shelves[0]))
        matrix = Examples(lists, visitors, items).matrix(shelves, spaces, Purpose.LIST)
        return recommender.rankers[Purpose.LIST].scores(matrix)
