"""Measures of a ranking, their uncertainty, and the popularity that a model has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.reading import Floats
from feature_repo.shelf import Codes
from feature_repo.visitors import ACTION_WEIGHTS
from training.events import Interactions

POPULARITY_SECONDS = 7 * 86_400.0
_RESAMPLES = 1_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval, from ``count`` cases; None if there are none."""

    mean: float | None
    low: float | None
    high: float | None
    count: int


def estimate(values: Floats, seed: int) -> Estimate:
    """The mean of independent cases, with a percentile bootstrap interval."""
    if not len(values):
        return Estimate(None, None, None, 0)
    draws = np.random.default_rng(seed).integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [0.025, 0.975])
    return Estimate(float(values.mean()), float(low), float(high), len(values))


def ndcg(owner: NDArray[np.integer], relevant: NDArray[np.bool_], scores: Floats, seed: int, depth: int = 10) -> Floats:
    """NDCG at ``depth`` of each list with anything relevant in it, in order of the lists' numbers.

    Args:
        owner: number of the list that each row belongs to.
        relevant: whether a row is what should rank high (gain 1).
        scores: what the rows are ranked by, high first; equal scores are put in an order drawn by the seed.
    """
    tie = np.random.default_rng(seed).random(len(owner))
    order = np.lexsort((tie, -scores, owner))
    owners, gains = owner[order], relevant[order]
    rank = np.arange(len(order)) - np.searchsorted(owners, owners)
    discounts = np.where(rank < depth, 1 / np.log2(rank + 2), 0.0)
    lists = int(owner.max(initial=-1)) + 1
    gained = np.bincount(owners, weights=gains * discounts, minlength=lists)
    total = np.bincount(owners, weights=gains, minlength=lists).astype(int)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(depth) + 2))])
    some = total > 0
    return gained[some] / ideal[np.minimum(total[some], depth)]


def hit_and_reciprocal_rank(recommended: Codes, wanted: int) -> tuple[float, float]:
    """1 and 1/rank if ``wanted`` is among the recommendations, else 0 and 0."""
    places = np.flatnonzero(recommended == wanted)
    return (1.0, 1.0 / (places[0] + 1)) if len(places) else (0.0, 0.0)


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
