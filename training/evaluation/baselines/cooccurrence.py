"""Baseline: what was looked at in the sessions in which the last product was looked at ("also viewed")."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.baselines.sessions import steps
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query


class Cooccurrence(Stepwise):
    """In how many sessions each product occurs together with the customer's last one."""

    def __init__(self, products: int) -> None:
        super().__init__(products)
        self._sessions: dict[int, set[int]] = defaultdict(set)
        self._together: dict[int, Counter[int]] = defaultdict(Counter)

    def observe(self, news: Lines) -> None:
        for session, item in steps(news):
            seen = self._sessions[session]
            if item not in seen:
                for other in seen:
                    self._together[item][other] += 1
                    self._together[other][item] += 1
                seen.add(item)

    def scores(self, query: Query) -> Floats:
        scores = np.zeros(self.products)
        for last in query.recent[:1].tolist():
            if together := self._together.get(last):
                scores[list(together)] = list(together.values())
        return scores
