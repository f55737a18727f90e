"""Baseline: what was looked at in the most similar sessions of others.

VS-kNN of Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 28, 2018): of the sessions that
share a product with this one, the most recent are compared with it, late products of this session counting more; the
products of the most similar ones score by similarity, and more if what is shared is late in this session.
"""

from __future__ import annotations

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


class SessionKnn(Stepwise):
    """VS-kNN with quadratic decay over the session, and rare products counting more (idf)."""

    def __init__(self, products: int) -> None:
        super().__init__(products)
        self._items: dict[int, list[int]] = defaultdict(list)
        # Of each product, the sessions that it occurs in, the latest last; and of each session, when it last went on.
        self._sessions: dict[int, list[int]] = defaultdict(list)
        self._latest: dict[int, int] = {}
        self._count = 0

    def observe(self, news: Lines) -> None:
        for session, item in steps(news):
            self._count += 1
            self._latest[session] = self._count
            if item not in self._items[session]:
                self._items[session].append(item)
                self._sessions[item].append(session)

    def scores(self, query: Query) -> Floats:
        scores = np.zeros(self.products)
        present = query.present.tolist()
        weights = {item: ((len(present) - place) / len(present)) ** 2 for place, item in enumerate(present)}
        sampled = self._recent_sessions(present, query.session)
        if not sampled:
            return scores
        similarity, reach = np.zeros(len(sampled)), np.zeros(len(sampled))
        for place, session in enumerate(sampled):
            shared = [item for item in self._items[session] if item in weights]
            similarity[place] = sum(weights[item] for item in shared)
            reach[place] = max(weights[item] for item in shared)
        nearest = np.argsort(-similarity, kind="stable")[:NEIGHBOURS]
        lists = [self._items[sampled[place]] for place in nearest]
        votes = np.repeat((similarity * reach)[nearest], [len(items) for items in lists])
        items = np.fromiter(chain.from_iterable(lists), dtype=np.int64)
        scores += np.bincount(items, weights=votes, minlength=self.products)
        return scores * self._rarity(np.flatnonzero(scores))

    def _recent_sessions(self, present: list[int], own: int) -> list[int]:
        """The sessions to compare with, the latest first."""
        sharing = {session for item in present for session in self._sessions.get(item, ())[-SAMPLED:]} - {own}
        return sorted(sharing, key=self._latest.__getitem__, reverse=True)[:SAMPLED]

    def _rarity(self, rows: NDArray[np.integer]) -> Floats:
        rarity = np.ones(self.products)
        occurrences = np.array([len(self._sessions[row]) for row in rows.tolist()])
        rarity[rows] = np.log((len(self._items) + 1) / np.maximum(occurrences, 1))
        return rarity
