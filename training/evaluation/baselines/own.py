"""Baseline: what the customer looked at himself, the latest first."""

from __future__ import annotations

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query


class Own(Stepwise):
    """Recommends the customer's own recent products."""

    def observe(self, news: Lines) -> None:
        """Who asks brings his history with him."""

    def scores(self, query: Query) -> Floats:
        recent = query.recent
        scores = np.zeros(self.products)
        scores[recent] = np.arange(len(recent), 0, -1)
        return scores
