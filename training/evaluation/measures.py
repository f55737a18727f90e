"""Measures of a ranking, and how sure one can be of their means.

Intervals are percentile bootstrap intervals (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993). Cases of one
customer are alike, so whole customers are drawn, with all their cases; models are compared on the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.reading import Floats

Hits = NDArray[np.bool_]

_RESAMPLES = 1_000
# Draws that are held at once: bounds memory.
_DRAWS_AT_ONCE = 5_000_000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval, from ``count`` cases; None if there are none."""

    mean: float | None
    low: float | None
    high: float | None
    count: int


def estimate(values: Floats, seed: int) -> Estimate:
    """The mean of independent cases, with its interval."""
    return estimates(values[:, None], np.arange(len(values)), seed)[0]


def estimates(values: Floats, clusters: NDArray[np.integer], seed: int) -> list[Estimate]:
    """The mean of each column, with its interval.

    Columns share the draws, so that the interval of a column of differences is that of a paired comparison.

    Args:
        values: shape (cases, columns).
        clusters: whose case each is; clusters are independent of each other, shape (cases,).
    """
    count, columns = values.shape
    if not count:
        return [Estimate(None, None, None, 0)] * columns
    low, high = np.quantile(_resampled_means(values, clusters, seed), [0.025, 0.975], axis=0)
    means = values.mean(axis=0)
    return [Estimate(float(means[column]), float(low[column]), float(high[column]), count) for column in range(columns)]


def _resampled_means(values: Floats, clusters: NDArray[np.integer], seed: int) -> Floats:
    """Means over as many clusters as there are, drawn with replacement, shape (_RESAMPLES, columns)."""
    _, cluster = np.unique(clusters, return_inverse=True)
    size = int(cluster.max()) + 1
    # Sums and number of cases of each cluster: what a draw of the cluster adds.
    added = np.zeros((size, values.shape[1] + 1))
    np.add.at(added, cluster, np.column_stack([values, np.ones(len(values))]))
    rng = np.random.default_rng(seed)
    parts = []
    at_once = max(1, _DRAWS_AT_ONCE // size)
    for start in range(0, _RESAMPLES, at_once):
        rows = min(at_once, _RESAMPLES - start)
        cells = rng.integers(0, size, (rows, size)) + size * np.arange(rows)[:, None]
        drawn = np.bincount(cells.ravel(), minlength=rows * size).reshape(rows, size)
        total = drawn.astype(float) @ added
        parts.append(total[:, :-1] / total[:, -1:])
    return np.concatenate(parts)


def ranks(owner: NDArray[np.integer], scores: Floats, seed: int) -> NDArray[np.int64]:
    """The place of each row in its list, from 0: high scores first, equal ones in an order drawn by the seed.

    Args:
        owner: number of the list that each row belongs to.
        scores: what the rows are ranked by.
    """
    tie = np.random.default_rng(seed).random(len(owner))
    order = np.lexsort((tie, -scores, owner))
    owners = owner[order]
    places = np.empty(len(owner), dtype=np.int64)
    places[order] = np.arange(len(order)) - np.searchsorted(owners, owners)
    return places


def ndcg(owner: NDArray[np.integer], relevant: Hits, scores: Floats, seed: int, depth: int = 10) -> Floats:
    """NDCG at ``depth`` of each list with anything relevant in it, in order of the lists' numbers.

    Args:
        owner: number of the list that each row belongs to.
        relevant: whether a row is what should rank high (gain 1).
        scores: what the rows are ranked by, high first; equal scores are put in an order drawn by the seed.
    """
    lists = int(owner.max(initial=-1)) + 1
    gained = np.bincount(owner, weights=relevant * _discounts(ranks(owner, scores, seed), depth), minlength=lists)
    total = np.bincount(owner, weights=relevant, minlength=lists).astype(int)
    some = total > 0
    return gained[some] / _ideal(total[some], depth)


def reciprocal_rank(owner: NDArray[np.integer], relevant: Hits, scores: Floats, seed: int) -> Floats:
    """1/rank of the first relevant row of each list that has any; arguments as for :func:`ndcg`."""
    found = np.zeros(int(owner.max(initial=-1)) + 1)
    np.maximum.at(found, owner[relevant], 1.0 / (ranks(owner, scores, seed)[relevant] + 1))
    return found[found > 0]


def hits(recommended: Codes, wanted: Codes, owner: NDArray[np.integer]) -> Hits:
    """Which recommended products were wanted, shape (cases, depth).

    Args:
        recommended: distinct products, best first, padded with :data:`UNKNOWN`, shape (cases, depth).
        wanted: the products that each case is about, one after the other.
        owner: number of the case that each of these belongs to.
    """
    size = int(max(recommended.max(initial=0), wanted.max(initial=0))) + 1
    keys = np.arange(len(recommended))[:, None] * size + recommended
    return np.isin(keys, owner * size + wanted) & (recommended != UNKNOWN)


def hit_rate(found: Hits) -> Floats:
    """1 where anything wanted was recommended, else 0."""
    return found.any(axis=1).astype(float)


def first_hit(found: Hits) -> Floats:
    """1/rank of the first hit of each row; 0 where there is none."""
    return np.where(found.any(axis=1), 1.0 / (found.argmax(axis=1) + 1), 0.0)


def recall(found: Hits, total: NDArray[np.integer]) -> Floats:
    """Which share of what was wanted, ``total`` of each case, was recommended."""
    return found.sum(axis=1) / total


def ndcg_of_hits(found: Hits, total: NDArray[np.integer], depth: int) -> Floats:
    """NDCG at ``depth`` of lists in order, with ``total`` products wanted in each case."""
    return found @ _discounts(np.arange(found.shape[1]), depth) / _ideal(total, depth)


def _discounts(places: NDArray[np.integer], depth: int) -> Floats:
    return np.where(places < depth, 1 / np.log2(places + 2), 0.0)


def _ideal(total: NDArray[np.integer], depth: int) -> Floats:
    """What the best order of ``total`` relevant products gains."""
    gains = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(depth) + 2))])
    return gains[np.minimum(total, depth)]
