"""The rankers: gradient boosted trees, one for each question, that tell the products chosen from those passed over.

What a visitor turns to next, what he buys in this visit and what he clicks in a list are different questions: what he has
just looked at is seldom what he turns to next, but often what he buys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from feature_repo.reading import Floats
from feature_repo.sections.training import RankerSettings, TrainingSettings
from training.ranking.compiled_trees import CompiledTrees


class Purpose(StrEnum):
    """The questions."""

    TURN = "turn"  # what the visitor turns to next
    ORDER = "order"  # what he puts into the cart or buys in this visit
    LIST = "list"  # which products of a list he clicks


@dataclass(frozen=True)
class Ranker:
    """Trees, and how probabilities come of their log-odds; see :mod:`training.ranking.calibration`."""

    trees: HistGradientBoostingClassifier
    slope: float = 1.0
    offset: float = 0.0

    def scores(self, matrix: Floats) -> Floats:
        """The probability that each product is chosen, shape (n,)."""
        return self.probabilities(self.log_odds(matrix))

    def log_odds(self, matrix: Floats) -> Floats:
        """What the trees say, shape (n,)."""
        return self._compiled.log_odds(matrix)

    def prepare(self) -> None:
        """Compile now what the first question would; raises what is wrong with the trees."""
        _ = self._compiled

    @cached_property
    def _compiled(self) -> CompiledTrees:
        return CompiledTrees.of(self.trees)

    def __getstate__(self) -> dict[str, Any]:
        """What is stored: not what was compiled, which any process does by itself in a moment."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def probabilities(self, log_odds: Floats) -> Floats:
        """Those that come of the trees' log-odds."""
        return np.asarray(expit(self.slope * log_odds + self.offset))

    def calibrated_like(self, other: Ranker) -> Ranker:
        """These trees, with the probabilities that hold for others of the same kind."""
        return replace(self, slope=other.slope, offset=other.offset)


Rankers = Mapping[Purpose, Ranker]


def ranker_settings(purpose: Purpose, settings: TrainingSettings) -> RankerSettings:
    """The settings of the ranker for a purpose."""
    return {
        Purpose.TURN: settings.turn_ranker,
        Purpose.ORDER: settings.order_ranker,
        Purpose.LIST: settings.list_ranker,
    }[purpose]


@dataclass(frozen=True)
class Rows:
    """What a ranker is fitted on: products of lists.

    Attributes:
        matrix: what it looks at, shape (n, features).
        owner: the list of each row, ascending; lists are in order of time, shape (n,).
        chosen: whether the product was chosen, shape (n,).
        weights: how much each row counts, shape (n,).
    """

    matrix: Floats
    owner: NDArray[np.int64]
    chosen: NDArray[np.bool_]
    weights: Floats

    def __len__(self) -> int:
        """How many lists there are, if they are numbered from 0."""
        return int(self.owner.max(initial=-1)) + 1

    def lists(self, since: int, until: int) -> Rows:
        """The rows of the lists numbered from ``since`` up to, but not including, ``until``."""
        rows = slice(*np.searchsorted(self.owner, [since, until]))
        return Rows(self.matrix[rows], self.owner[rows], self.chosen[rows], self.weights[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Rows]) -> Rows:
        """The lists of all parts, one part after the other."""
        begins = np.cumsum([0, *(len(part) for part in parts)])
        return cls(
            np.concatenate([part.matrix for part in parts]),
            np.concatenate([begin + part.owner for begin, part in zip(begins, parts, strict=False)]),
            np.concatenate([part.chosen for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


def fit_ranker(rows: Rows, settings: RankerSettings, seed: int) -> Ranker:
    """A ranker that tells chosen products from others.

    One thread: on a machine with other work, threads that wait for each other after every split take many times longer.
    """
    trees = HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.trees,
        max_leaf_nodes=settings.leaves,
        min_samples_leaf=settings.rows_per_leaf,
        l2_regularization=settings.l2,
        max_features=settings.columns,
        early_stopping=False,
        random_state=seed,
    )
    # scikit-learn cannot bin a column without any value; a constant one is never split on.
    never_known = np.isnan(rows.matrix).all(axis=0)
    # OpenMP's limit is the calling thread's own. BLAS's is the process's: two fits side by side would restore each other's,
    # and what is fitted next would depend on which of them ended last.
    with threadpool_limits(1, user_api="openmp"):
        return Ranker(trees.fit(np.where(never_known, 0.0, rows.matrix), rows.chosen, sample_weight=rows.weights))
