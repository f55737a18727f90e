"""Baseline for lists: the order in which the shop showed them."""

from __future__ import annotations

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query


class Shown(Stepwise):
    """Leaves a list as it was."""

    def observe(self, news: Lines) -> None:
        """A list brings its order with it."""

    def scores(self, query: Query) -> Floats:
        scores = np.zeros(self.products)
        scores[query.listed] = np.arange(len(query.listed), 0, -1)
        return scores
