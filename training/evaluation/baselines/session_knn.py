"""Baseline: what was looked at in the most similar sessions of others.

VS-kNN of Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 28, 2018): of the sessions that
share a product with this one, the most recent are compared with it, late products of this session counting more; the
products of the most similar ones score by similarity, and more if what is shared is late in this session.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from feature_repo.reading import Floats
from training.evaluation.baselines.sessions import steps
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query

SAMPLED = 1_000
NEIGHBOURS = 200
# How many of the customer's latest products other sessions are compared with.
LATEST = 10


class SessionKnn(Stepwise):
    """VS-kNN with quadratic decay over the session, and rare products counting more (idf).

    A short session is continued backwards by what the customer looked at in older ones.
    """

    def __init__(self, products: int) -> None:
        super().__init__(products)
        # Sessions in order of their beginning: their numbers, products, and when they last went on (a count of steps).
        self._places: dict[int, int] = {}
        self._items: list[list[int]] = []
        self._latest = array("q")
        # Of each product, the places of the sessions that it occurs in, the latest last.
        self._occurrences: dict[int, array[int]] = defaultdict(lambda: array("q"))
        self._counts = np.zeros(products)
        self._steps = 0

    def observe(self, news: Lines) -> None:
        for session, item in steps(news):
            place = self._places.setdefault(session, len(self._items))
            if place == len(self._items):
                self._items.append([])
                self._latest.append(0)
            self._steps += 1
            self._latest[place] = self._steps
            if item not in self._items[place]:
                self._items[place].append(item)
                self._occurrences[item].append(place)
                self._counts[item] += 1

    def scores(self, query: Query) -> Floats:
        nearest, votes = self._neighbours(query)
        if not len(nearest):
            return np.zeros(self.products)
        lists = [self._items[place] for place in nearest.tolist()]
        items = np.fromiter(chain.from_iterable(lists), dtype=np.int64)
        votes = np.repeat(votes, [len(one) for one in lists])
        rarity = np.log((len(self._items) + 1) / np.maximum(self._counts, 1))
        return rarity * np.bincount(items, weights=votes, minlength=self.products)

    def _neighbours(self, query: Query) -> tuple[NDArray[np.int64], Floats]:
        """Places of the most similar sessions and the weight of each, similarity times reach into the present."""
        present = query.recent[:LATEST]
        weights = ((len(present) - np.arange(len(present))) / max(len(present), 1)) ** 2
        # Newest product last, so that its weight is the one that stays as the reach of a session.
        occurrences = [self._recent(int(item)) for item in present[::-1]]
        sharing = np.concatenate([np.empty(0, dtype=np.int64), *occurrences])
        shared = np.repeat(weights[::-1], [len(places) for places in occurrences])
        if not len(sharing):
            return np.empty(0, dtype=np.int64), np.empty(0)
        places, cell = np.unique(sharing, return_inverse=True)
        similarity, reach = np.bincount(cell, shared, len(places)), np.zeros(len(places))
        reach[cell] = shared
        others = np.flatnonzero(places != self._places.get(query.session, -1))
        latest = np.frombuffer(self._latest, dtype=np.int64)[places[others]]
        others = others[np.argsort(-latest)[:SAMPLED]]
        others = others[np.argsort(-similarity[others], kind="stable")[:NEIGHBOURS]]
        return places[others].astype(np.int64), (similarity * reach)[others]

    def _recent(self, item: int) -> NDArray[np.int64]:
        places = self._occurrences.get(item)
        return np.array(places[-SAMPLED:] if places else [], dtype=np.int64)
