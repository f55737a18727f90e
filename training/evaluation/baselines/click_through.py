"""Baseline: how often products are clicked when they are shown, older showings and clicks counting less."""

from __future__ import annotations

import numpy as np

from feature_repo.aggregates import Action
from feature_repo.reading import Floats
from training.evaluation.log import SHOWN, Lines
from training.evaluation.models import Stepwise
from training.evaluation.stream import Query

HALF_LIFE_SECONDS = 7 * 86_400.0
# As if every product had been shown so many times more, and clicked as often as all products are on average.
PRIOR_SHOWINGS = 50.0


class ClickThrough(Stepwise):
    """Clicks by showings, both decayed with a half-life of seven days.

    Sums are kept as of a landmark in time, so that decaying all of them is one division (forward decay).
    """

    def __init__(self, products: int) -> None:
        super().__init__(products)
        self._landmark: float | None = None
        self._sums = {SHOWN: np.zeros(products), Action.CLICKED: np.zeros(products)}

    def observe(self, news: Lines) -> None:
        if not len(news):
            return
        if self._landmark is None:
            self._landmark = float(news.times[0])
        for kind, sums in self._sums.items():
            rows = np.flatnonzero(news.kinds == kind)
            if len(rows):
                np.add.at(sums, news.items[rows], np.exp2((news.times[rows] - self._landmark) / HALF_LIFE_SECONDS))

    def scores(self, query: Query) -> Floats:
        if self._landmark is None:
            return np.zeros(self.products)
        decay = np.exp2((self._landmark - query.until) / HALF_LIFE_SECONDS)
        shown, clicked = (self._sums[kind] * decay for kind in (SHOWN, Action.CLICKED))
        average = clicked.sum() / max(shown.sum(), 1.0)
        return (clicked + average * PRIOR_SHOWINGS) / (shown + PRIOR_SHOWINGS)
