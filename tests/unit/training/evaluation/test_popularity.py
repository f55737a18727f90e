"""Popularity of seven days, by hand."""

from __future__ import annotations

import numpy as np
from few_interactions import interactions

from feature_repo.aggregates import Action
from training.evaluation.popularity import Popularity

DAY = 86_400.0


def test_popularity_is_of_the_last_seven_days_before_a_moment() -> None:
    counts = Popularity(
        interactions((0, 1, Action.VIEWED, 0.0), (0, 1, Action.ADDED, 2 * DAY), (1, 0, Action.CLICKED, 6 * DAY)),
        items=3,
    )
    assert counts.at(np.array([0, 1, 2]), 6.5 * DAY).tolist() == [1.0, 4.0, 0.0]
    assert counts.at(np.array([0, 1]), np.array([6 * DAY, 8 * DAY])).tolist() == [0.0, 3.0]
    assert counts.order(6.5 * DAY).tolist() == [1, 0, 2]
    assert counts.order(12 * DAY).tolist() == [0, 1, 2]
