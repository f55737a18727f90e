"""How popular products are, over seven days: at any moment of the past, or as events go by."""

from __future__ import annotations

from collections import deque

import numpy as np

from feature_repo.ranking.shelf import Codes
from feature_repo.ranking.visitors import ACTION_WEIGHTS
from feature_repo.reading import Floats
from training.data.events import Interactions
from training.evaluation.log import Lines

POPULARITY_SECONDS = 7 * 86_400.0


class Popularity:
    """How much was done to each product in the seven days before a moment, by the weights of the actions."""

    def __init__(self, interactions: Interactions, items: int) -> None:
        weight = np.zeros(max(ACTION_WEIGHTS) + 1)
        weight[list(ACTION_WEIGHTS)] = list(ACTION_WEIGHTS.values())
        self._origin = float(interactions.times.min(initial=0.0)) - 2 * POPULARITY_SECONDS
        self._span = float(interactions.times.max(initial=0.0)) - self._origin + 2 * POPULARITY_SECONDS
        self._items = items
        keys = self._keys(interactions.items, interactions.times)
        order = np.argsort(keys, kind="stable")
        self._sorted = keys[order]
        self._sums = np.concatenate([[0.0], np.cumsum(weight[interactions.actions[order]])])

    def at(self, items: Codes, moments: Floats | float) -> Floats:
        """Of the given products before the given moments (epoch seconds)."""
        last = np.searchsorted(self._sorted, self._keys(items, moments))
        first = np.searchsorted(self._sorted, self._keys(items, moments - POPULARITY_SECONDS))
        return self._sums[last] - self._sums[first]

    def order(self, moment: float) -> Codes:
        """All products, the most popular first."""
        counts = self.at(np.arange(self._items, dtype=np.int32), moment)
        return np.argsort(-counts, kind="stable").astype(np.int32)

    def _keys(self, items: Codes, times: Floats | float) -> Floats:
        return np.asarray(items * self._span + (times - self._origin), dtype=np.float64)


class RecentCounts:
    """How much was done to each product in the last seven days, by the weights of the actions."""

    def __init__(self, products: int) -> None:
        self._counts = np.zeros(products)
        self._waiting: deque[tuple[float, int, float]] = deque()

    def add(self, news: Lines) -> None:
        """Take note of events."""
        rows = np.flatnonzero(news.kinds > 0)
        for time, item, kind in zip(
            news.times[rows].tolist(), news.items[rows].tolist(), news.kinds[rows].tolist(), strict=True
        ):
            weight = ACTION_WEIGHTS[kind]
            self._waiting.append((time, item, weight))
            self._counts[item] += weight

    def at(self, moment: float) -> Floats:
        """Of all products, as of a moment (epoch seconds) at or after the last event; do not change it."""
        since = moment - POPULARITY_SECONDS
        while self._waiting and self._waiting[0][0] < since:
            _, item, weight = self._waiting.popleft()
            self._counts[item] -= weight
        return self._counts
