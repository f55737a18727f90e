"""What lists are like, besides being right: coverage, diversity, novelty, and their bias towards popular products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Codes
from training.evaluation.log import Log
from training.evaluation.tasks import Queries

# Lists that are compared pair by pair at once; bounds memory.
_LISTS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Character:
    """Of all lists of a model for a task. Popularity is the number of interactions before the cut.

    Attributes:
        coverage: share of the products that could be recommended in the end which were at least once.
        concentration: Gini coefficient of how often these were: 0 equally often, 1 a single one.
        diversity: mean share of the pairs within a list that are of different categories; None without categories.
        novelty: mean surprise of a recommended product, -log2 of its share of all interactions (Zhou et al., PNAS 2010).
        popularity: mean share of the products that are less popular than the recommended one.
        popularity_wanted: the same of the right answers.
        popularity_bias: the former minus the latter; above 0, the model prefers the popular more than customers do.
    """

    coverage: float
    concentration: float
    diversity: float | None
    novelty: float
    popularity: float
    popularity_wanted: float
    popularity_bias: float


def character_of(ranked: Codes, queries: Queries, log: Log, cut: float) -> Character | None:
    """Of recommended lists, shape (queries, depth), padded with :data:`UNKNOWN`; None if all are empty."""
    flat = ranked[ranked != UNKNOWN]
    if not len(flat):
        return None
    known = np.flatnonzero(log.since < queries.moments[-1])
    times = np.bincount(flat, minlength=len(log.ids))[known]
    past = log.lines.before(cut).of(Action)
    counts = np.bincount(past.items, minlength=len(log.ids))
    surprise = -np.log2((counts + 1) / (counts.sum() + len(counts)))
    place = np.searchsorted(np.sort(counts[known]), counts) / len(known)
    popularity, wanted = float(place[flat].mean()), float(place[queries.wanted.flat].mean())
    return Character(
        coverage=float((times > 0).mean()),
        concentration=_gini(times),
        diversity=_diversity(ranked, log),
        novelty=float(surprise[flat].mean()),
        popularity=popularity,
        popularity_wanted=wanted,
        popularity_bias=popularity - wanted,
    )


def _gini(counts: NDArray[np.integer]) -> float:
    ordered = np.sort(counts)
    ranks = np.arange(1, len(ordered) + 1)
    return float((2 * ranks - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))


def _diversity(ranked: Codes, log: Log) -> float | None:
    words, codes = np.unique([word or "" for word in log.categories], return_inverse=True)
    codes = np.append(np.where(words[codes] == "", UNKNOWN, codes), UNKNOWN)  # the last one is for padding
    different = pairs = 0
    for start in range(0, len(ranked), _LISTS_AT_ONCE):
        category = codes[ranked[start : start + _LISTS_AT_ONCE]]
        known = category != UNKNOWN
        comparable = known[:, :, None] & known[:, None, :] & ~np.eye(ranked.shape[1], dtype=bool)
        different += int((comparable & (category[:, :, None] != category[:, None, :])).sum())
        pairs += int(comparable.sum())
    return different / pairs if pairs else None
