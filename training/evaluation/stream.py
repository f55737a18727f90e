"""What a model may see, and when: the only way from the log to a model.

Whatever a model asks for, it names the queries that it is going to answer, and gets what lies strictly before them. In the
static variant it learns nothing after the cut; who asks and what he did so far is part of the question in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from feature_repo.errors import ShelfwiseError
from feature_repo.ranking.shelf import UNKNOWN, Codes
from training.candidates.gathering import Mask, first_places
from training.candidates.segments import Segment, segments_of
from training.evaluation.log import Lines, Log
from training.evaluation.tasks import Queries, Task

# How much of a customer's history comes with his question: as much as the feature store keeps.
OWN_MOST = 50


class LeakError(ShelfwiseError):
    """A model saw, or asked for, what lies at or after the moment of its query."""


class Variant(StrEnum):
    """What a model sees after the cut."""

    STATIC = "static"
    STREAMING = "streaming"


@dataclass(frozen=True)
class Query:
    """One question, with what is known of who asks it.

    Attributes:
        moment: when it is asked, epoch seconds.
        until: up to when events could be learnt from: the cut or the moment.
        session: its number.
        prefix: the session's sequence so far, oldest first.
        own: the customer's latest interactions strictly before the moment, oldest first, this session's among them.
        allowed: which products may be recommended, shape (products,).
        listed: products to put in order, for ``rerank``; else empty.
    """

    moment: float
    until: float
    session: int
    prefix: Codes
    own: Lines
    allowed: Mask
    listed: Codes

    @property
    def recent(self) -> Codes:
        """What the customer turned to last, each product once, newest first: this session's, then older ones."""
        products = np.concatenate([self.prefix[::-1], self.own.items[::-1]])
        return products[first_places(products)]


class Stream:
    """The log as it goes by, for one model and one task.

    Attributes:
        variant: whether a model goes on learning after the cut.
        cut: the moment, epoch seconds.
        products, customers: how many there are; their numbers say nothing of what they will do.
    """

    def __init__(self, log: Log, variant: Variant, cut: float) -> None:
        self.variant, self.cut = variant, cut
        self.products, self.customers = len(log.ids), len(log.customer_ids)
        self._log = log
        self._told = 0

    def until(self, queries: Queries) -> NDArray[np.float64]:
        """Up to when events may be learnt from to answer each query, epoch seconds."""
        return np.full(len(queries), self.cut) if self.variant is Variant.STATIC else queries.moments

    def learn(self, queries: Queries) -> Lines:
        """Everything that a model may be fitted on which then answers all of the queries."""
        return self._log.lines.before(float(self.until(queries).min()))

    def walk(self, queries: Queries) -> Iterator[tuple[Lines, Query]]:
        """Each query, after the events that have become known since the one before it.

        Raises:
            LeakError: a query is earlier than what has been told.
        """
        until = self.until(queries)
        known = np.searchsorted(self._log.lines.times, until)
        allowed, owns = self.allowed(queries), self.own(queries)
        for number in range(len(queries)):
            if known[number] < self._told:
                raise LeakError("a query was asked after later events had been told")
            news = self._log.lines.take(slice(self._told, known[number]))
            self._told = int(known[number])
            query = Query(
                float(queries.moments[number]),
                float(until[number]),
                int(queries.sessions[number]),
                queries.prefixes[number],
                owns[number],
                next(allowed),
                queries.listed[number],
            )
            yield news, query

    def own(self, queries: Queries) -> list[Lines]:
        """The latest interactions of each query's customer strictly before its moment, oldest first."""
        histories = self._log.histories
        starts, stops = histories.before(queries.customers, queries.moments)
        starts = np.maximum(starts, stops - OWN_MOST)
        return [histories.lines.take(slice(start, stop)) for start, stop in zip(starts, stops, strict=True)]

    def segments(self, queries: Queries) -> list[tuple[Segment, ...]]:
        """What each query's visitor is counted among, as his first request tells."""
        countries, devices = self._log.countries[queries.sessions], self._log.devices[queries.sessions]
        return [segments_of(country, device) for country, device in zip(countries, devices, strict=True)]

    def allowed(self, queries: Queries) -> Iterator[Mask]:
        """Which products may be recommended to each query: heard of before, and in ``next`` not the last one."""
        for moment, last in zip(queries.moments, queries.last, strict=True):
            mask = self._log.since < moment
            if queries.task is Task.NEXT and last != UNKNOWN:
                mask[last] = False
            yield mask
