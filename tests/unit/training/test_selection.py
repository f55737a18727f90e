"""From ranked candidates to the list that is shown."""

from __future__ import annotations

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN
from training.selection import capped, diversified, with_arrivals

NOWHERE = np.zeros((4, 1), dtype=np.float32)
ROWS = np.arange(4, dtype=np.int32)


def test_without_diversity_the_scores_decide() -> None:
    categories = np.array([1, 1, 1, 2])
    assert diversified(np.array([4.0, 3.0, 2.0, 1.0]), ROWS, NOWHERE, categories, 0.0, 3).tolist() == [0, 1, 2, 3]


def test_maximal_marginal_relevance_by_hand() -> None:
    # Relative scores 1, .9, .8, .5; the second is of the first one's category: .5 alike at most, halved by the diversity.
    scores, categories = np.array([10.0, 9.0, 8.0, 5.0]), np.array([1, 1, 2, 3])
    # Second place: .45 - .25 = .2, .4, .25. Third: .2 and .25.
    assert diversified(scores, ROWS, NOWHERE, categories, 0.5, 3).tolist() == [0, 2, 3, 1]
    directions = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    assert diversified(scores, ROWS, directions, np.full(4, UNKNOWN), 0.5, 2).tolist() == [0, 2, 1, 3]
    others = np.array([[7, 7], *directions[::-1].tolist()], dtype=np.float32)  # the same candidates on another shelf
    rows = np.array([4, 3, 2, 1], dtype=np.int32)
    assert diversified(scores, rows, others, np.full(5, UNKNOWN), 0.5, 2).tolist() == [0, 2, 1, 3]


def test_diversity_looks_at_the_front_only_and_loses_nothing() -> None:
    scores, same = np.linspace(1.0, 0.1, 40), np.zeros(40)
    same[39] = 1
    order = diversified(scores, np.arange(40, dtype=np.int32), np.zeros((40, 1), np.float32), same, 0.9, 5)
    assert sorted(order.tolist()) == list(range(40))
    assert 39 not in order[:5]
    assert diversified(np.zeros(3), ROWS[:3], NOWHERE[:3], np.arange(3), 0.5, 9).tolist() == [0, 1, 2]


def test_an_arrival_gets_the_middle_of_every_so_many_places() -> None:
    order, arrivals = np.arange(20), np.array([18, 17, 16])
    assert with_arrivals(order, arrivals, 10, 10).tolist()[:10] == [0, 1, 2, 3, 18, 4, 5, 6, 7, 8]
    assert [place for place, row in enumerate(with_arrivals(order, arrivals, 4, 12)[:12]) if row > 15] == [1, 5, 9]
    assert with_arrivals(order, arrivals, 10, 4).tolist() == order.tolist(), "too short a list"
    assert with_arrivals(order, np.array([2, 18]), 10, 10).tolist() == order.tolist(), "one is seen anyway"
    assert with_arrivals(order, np.array([], dtype=int), 10, 10).tolist() == order.tolist()
    assert sorted(with_arrivals(order, arrivals, 5, 20).tolist()) == order.tolist()


def test_caps_count_each_kind() -> None:
    brands, categories = np.array([1, 1, 1, 2, UNKNOWN, UNKNOWN]), np.array([5, 5, 6, 6, 6, 6])
    order = np.arange(6)
    assert capped(order, [(brands, 2)], 9).tolist() == [0, 1, 3, 4, 5], "of unknown brand, there may be any number"
    assert capped(order, [(brands, 1), (categories, 2)], 9).tolist() == [0, 3, 4]
    assert capped(order[::-1], [(brands, 1)], 2).tolist() == [5, 4]
    assert capped(order, [], 3).tolist() == [0, 1, 2]
    assert capped(order[:0], [(brands, 1)], 3).tolist() == []
