"""The rankers: gradient boosted trees, one for each question, that tell the products chosen from those passed over.

What a visitor turns to next, what he buys in this visit and what he clicks in a list are different questions: what he has
just looked at is seldom what he turns to next, but often what he buys.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from feature_repo.reading import Floats
from feature_repo.settings import TrainingSettings


class Purpose(StrEnum):
    """The questions."""

    TURN = "turn"  # what the visitor turns to next
    ORDER = "order"  # what he puts into the cart or buys in this visit
    LIST = "list"  # which products of a list he clicks


# Leaves of a tree. Visits with a purchase are few, and large trees learn them by heart; of lists there are many, and trees of
# 8 leaves order them worse than trees of 24 do.
_LEAVES = {Purpose.TURN: 24, Purpose.ORDER: 4, Purpose.LIST: 24}

Rankers = Mapping[Purpose, HistGradientBoostingClassifier]


def fit_ranker(
    matrix: Floats, clicked: Floats, weights: Floats, purpose: Purpose, settings: TrainingSettings
) -> HistGradientBoostingClassifier:
    """A ranker fitted for a purpose; rows of :data:`feature_repo.ranking.FEATURES`, a 0/1 label and a weight each.

    One thread: on a machine with other work, threads that wait for each other after every split take many times longer.
    """
    ranker = HistGradientBoostingClassifier(
        learning_rate=0.12,
        max_iter=settings.trees,
        max_leaf_nodes=_LEAVES[purpose],
        min_samples_leaf=40,
        l2_regularization=1.0,
        early_stopping=False,
        random_state=settings.seed,
    )
    # scikit-learn cannot bin a column without any value; a constant one is never split on.
    never_known = np.isnan(matrix).all(axis=0)
    with threadpool_limits(1):
        return ranker.fit(np.where(never_known, 0.0, matrix), clicked, sample_weight=weights)
