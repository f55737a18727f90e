"""What a model is to the evaluation: an answer to many queries at once, or, event by event, to one after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.reading import Floats
from training.choosing import best
from training.evaluation.log import Lines
from training.evaluation.popularity import RecentCounts
from training.evaluation.stream import Query, Stream
from training.evaluation.tasks import Queries, Task

DEPTH = 20
# How much popularity counts beside the scores that it puts in order where they are equal.
_TIE_SHARE = 1e-6


@dataclass(frozen=True)
class Answers:
    """Answers to queries of one task.

    Attributes:
        ranked: recommended products, best first, padded with :data:`UNKNOWN`, shape (queries, DEPTH); for ``rerank``, all
            padding.
        scores: for ``rerank``, of each product of ``queries.listed.flat``; else empty.
    """

    ranked: Codes
    scores: Floats

    @classmethod
    def concatenate(cls, parts: Sequence[Answers]) -> Answers:
        """The answers of all parts, one after the other."""
        none = cls(np.empty((0, DEPTH), dtype=np.int32), np.empty(0))
        return cls(
            np.concatenate([part.ranked for part in (none, *parts)]),
            np.concatenate([part.scores for part in (none, *parts)]),
        )


class Model(Protocol):
    """A recommender under evaluation; it lives for one task in one variant."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        """Answer queries of one day, which are later than all that were asked before."""
        ...


class Stepwise(ABC):
    """A model that is told events as they happen, and asked one query at a time.

    Where its scores are equal, or it has none, the popularity of the last seven days decides.
    """

    def __init__(self, products: int) -> None:
        self.products = products
        self._popularity = RecentCounts(products)

    @abstractmethod
    def observe(self, news: Lines) -> None:
        """Take note of events."""

    @abstractmethod
    def scores(self, query: Query) -> Floats:
        """Scores of all products, shape (products,); 0 or less for none."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        ranked = np.full((len(queries), DEPTH), UNKNOWN, dtype=np.int32)
        listed = [np.empty(0)]
        for number, (news, query) in enumerate(stream.walk(queries)):
            self._popularity.add(news)
            self.observe(news)
            scores = _in_order(self.scores(query), self._popularity.at(query.until))
            if queries.task is Task.RERANK:
                listed.append(scores[query.listed])
            else:
                rows = best(scores, query.allowed, DEPTH)
                ranked[number, : len(rows)] = rows
        return Answers(ranked, np.concatenate(listed))


class Fitted(Stepwise):
    """A stepwise model that learns in bulk: once before its first query, or before the first query of each day."""

    def __init__(self, products: int, daily: bool = False) -> None:
        super().__init__(products)
        self._daily = daily
        self._fitted = False

    @abstractmethod
    def fit(self, past: Lines, until: float) -> None:
        """Learn from everything before ``until`` (epoch seconds) anew."""

    def answer(self, stream: Stream, queries: Queries) -> Answers:
        if self._daily or not self._fitted:
            self.fit(stream.learn(queries), float(stream.until(queries).min()))
            self._fitted = True
        return super().answer(stream, queries)

    def observe(self, news: Lines) -> None:
        """What happens is learnt at the next fit."""


def _in_order(scores: Floats, popularity: Floats) -> Floats:
    """Scores between -1 and 1, equal ones in the order of popularity."""
    largest = np.abs(scores).max(initial=0.0) or 1.0
    return scores / largest + _TIE_SHARE * popularity / (popularity.max(initial=0.0) + 1.0)
