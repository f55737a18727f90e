"""Baseline: what customers turned to after the products that were looked at last.

The sequential rules of Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms" (UMUAI 28, 2018): a
product that follows another d steps later in a session counts 1/d. Instead of the last product alone, the nearest
neighbours of several are added up, older ones counting less.
"""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.baselines.sessions import steps
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query

# A product is a follower of at most so many before it.
STEPS = 10
NEIGHBOURS = 200
# How many of the customer's latest products vote, with 1, 1/4, 1/9, ...
VOTES = 5


class Transitions(Stepwise):
    """Transition kNN."""

    def __init__(self, products: int) -> None:
        super().__init__(products)
        self._sessions: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=STEPS))
        self._followers: dict[int, dict[int, float]] = defaultdict(dict)

    def observe(self, news: Lines) -> None:
        for session, item in steps(news):
            before = self._sessions[session]
            if before and before[0] == item:
                continue
            for distance, earlier in enumerate(before, start=1):
                if earlier != item:
                    followers = self._followers[earlier]
                    followers[item] = followers.get(item, 0.0) + 1 / distance
            before.appendleft(item)

    def scores(self, query: Query) -> Floats:
        scores = np.zeros(self.products)
        for place, item in enumerate(query.recent[:VOTES].tolist(), start=1):
            if followers := self._followers.get(item):
                items, weights = np.array(list(followers)), np.array(list(followers.values()))
                nearest = np.argsort(-weights, kind="stable")[:NEIGHBOURS]
                scores[items[nearest]] += weights[nearest] / weights.sum() / place**2
        return scores
