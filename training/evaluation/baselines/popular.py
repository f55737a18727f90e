"""Baseline: what was popular in the last seven days."""

from __future__ import annotations

import numpy as np

from feature_repo.reading import Floats
from training.evaluation.log import Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query


class Popular(Stepwise):
    """Recommends the same to everyone; popularity is what decides where scores are equal."""

    def observe(self, news: Lines) -> None:
        """The popularity of all stepwise models is enough."""

    def scores(self, query: Query) -> Floats:
        return np.zeros(self.products)
