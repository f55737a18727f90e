"""What a model looks at when it is asked, and what it says: as distributions, to be compared at another time.

They are taken alike when a model is trained and when it serves: of a sample of the customers of the last days, each asked right
after his last interaction, with candidates of the whole catalogue as of the end. So a difference is one of the shop or of the
features, not of how they were sampled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from feature_repo.ranking.features import FEATURES, within_lists
from feature_repo.ranking.shelf import Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.candidates.gathering import propose
from training.data.choices import on_sale
from training.data.events import Interactions
from training.data.history import JUST_BEFORE_SECONDS, History
from training.model import Recommender
from training.ranking.rankers import Purpose
from training.scenarios import RANKING_ALONE

CUSTOMERS = 500
DAYS = 7.0
# Of each customer so many of the candidates, as in the rows that rankers are fitted on.
_CANDIDATES_KEPT = 40
# They go with time, whatever the shop does.
_NOT_COMPARED = ("hour", "weekday", "age_days", "trend")
# Differences below that are of rounding, for example of times.
_DECIMALS = 6
_BINS = 10
_FILE = "distributions.json"
SCORE = "score: "


def shares(counts: NDArray[np.floating]) -> Floats:
    """Of counts by class, on the last axis; half an event is added to each, so that none is empty."""
    some = np.asarray(counts, dtype=float) + 0.5
    return np.asarray(some / some.sum(axis=-1, keepdims=True))


def psi(before: NDArray[np.floating], now: NDArray[np.floating]) -> Floats:
    """The population stability index of counts by class, on the last axis."""
    old, new = shares(before), shares(now)
    return np.asarray(((new - old) * np.log(new / old)).sum(axis=-1))


@dataclass(frozen=True)
class Distribution:
    """How many values lie up to each edge and beyond the one before, how many beyond the last, and how many are missing."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int

    @classmethod
    def of(cls, values: Floats) -> Distribution:
        """In parts of equal size, as far as equal values allow."""
        known = values[np.isfinite(values)]
        inner = np.linspace(0, 1, _BINS + 1)[1:-1]
        edges = np.unique(np.quantile(known, inner, method="inverted_cdf")) if len(known) else np.empty(0)
        return cls(tuple(edges.tolist()), (), 0).of_others(values)

    def of_others(self, values: Floats) -> Distribution:
        """Other values, parted by the same edges."""
        known = values[np.isfinite(values)]
        counts = np.bincount(np.searchsorted(self.edges, known, side="left"), minlength=len(self.edges) + 1)
        return Distribution(self.edges, tuple(counts.tolist()), len(values) - len(known))

    def psi(self, other: Distribution) -> float:
        """The population stability index: 0 if alike, below 0.1 little different, above 0.25 another population."""
        return float(psi(self._all_counts, other._all_counts))

    def shares(self) -> Floats:
        """The share of each part, the missing last; none is quite 0."""
        return shares(self._all_counts)

    @property
    def _all_counts(self) -> Floats:
        return np.array([*self.counts, self.missing], dtype=float)

    def labels(self) -> list[str]:
        """What to call the parts."""
        upper = [f"≤{edge:.3g}" for edge in self.edges]
        return [*upper, f">{self.edges[-1]:.3g}" if self.edges else "any", "missing"]


@dataclass(frozen=True)
class Distributions:
    """Of each feature and score, by name, over so many customers."""

    customers: int
    named: Mapping[str, Distribution]

    def save(self, folder: Path) -> None:
        """Beside a model."""
        (folder / _FILE).write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> Distributions:
        """What :meth:`save` wrote."""
        stored = json.loads((folder / _FILE).read_text())
        named = {
            name: Distribution(tuple(one["edges"]), tuple(one["counts"]), one["missing"])
            for name, one in stored["named"].items()
        }
        return cls(stored["customers"], named)


def when_trained(
    recommender: Recommender, history: History, interactions: Interactions, end: float, most: int, seed: int
) -> Distributions:
    """As of the end of the history that was learnt from.

    Args:
        most: how many candidates are proposed to a customer.
    """
    last = np.full(len(interactions.customer_ids), -np.inf)
    np.maximum.at(last, interactions.customers, interactions.times)
    lately = np.flatnonzero(last >= end - DAYS * 86_400)
    chosen = np.sort(np.random.default_rng(seed).permutation(lately)[:CUSTOMERS])
    moments = last[chosen] + JUST_BEFORE_SECONDS
    (shelf,) = history.shelves(np.array([end]))
    # As of just before a moment, the feature store knows of what happened before that: of the last interaction, too.
    columns = history.customers(interactions.customer_ids[chosen], moments + JUST_BEFORE_SECONDS)
    visitors = Visitors.from_columns(columns, moments, shelf)
    values = what_is_seen(recommender, shelf, visitors, most, seed)
    return Distributions(len(visitors), {name: Distribution.of(column) for name, column in values.items()})


def what_is_seen(recommender: Recommender, shelf: Shelf, visitors: Visitors, most: int, seed: int) -> dict[str, Floats]:
    """Features and scores of candidates for visitors, by name; the same candidates in the same order of each."""
    placed, allowed, rng = recommender.on(shelf), on_sale(shelf), np.random.default_rng(seed)
    space = placed.space
    assert space is not None
    matrices, owners = [np.empty((0, len(FEATURES)))], [np.empty(0, dtype=np.int64)]
    with threadpool_limits(1):
        for number in range(len(visitors)):
            visitor = visitors.take(slice(number, number + 1))
            embeddings = space.embed(visitor)
            rows, _ = propose(shelf, space, visitor, embeddings, allowed, most)
            rows = rng.permutation(rows)[:_CANDIDATES_KEPT]
            matrices.append(placed.matrix(visitor, rows, embeddings, RANKING_ALONE))
            owners.append(np.full(len(rows), number))
        matrix, owner = np.concatenate(matrices), np.concatenate(owners)
        values = {name: matrix[:, place] for place, name in enumerate(FEATURES) if name not in _NOT_COMPARED}
        for purpose in Purpose:
            seen = within_lists(matrix, owner) if purpose is Purpose.LIST else matrix
            values[SCORE + purpose.value] = recommender.rankers[purpose].scores(seen) if len(seen) else np.empty(0)
    return {name: column.round(_DECIMALS) for name, column in values.items()}
