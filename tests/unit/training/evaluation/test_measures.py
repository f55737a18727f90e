"""Measures on hand-written cases."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.ranking.shelf import UNKNOWN
from training.evaluation.measures import (
    estimate,
    estimates,
    first_hit,
    hit_rate,
    hits,
    ndcg,
    ndcg_of_hits,
    recall,
    reciprocal_rank,
)


def test_ndcg_by_hand() -> None:
    owner = np.array([0, 0, 0, 1, 1, 2])
    relevant = np.array([False, True, True, False, False, True])
    scores = np.array([3.0, 2.0, 1.0, 1.0, 2.0, 0.0])
    first = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    np.testing.assert_allclose(ndcg(owner, relevant, scores, seed=1), [first, 1.0])


def test_ndcg_looks_at_the_top_only() -> None:
    relevant = np.arange(12) == 11
    assert ndcg(np.zeros(12, dtype=int), relevant, -np.arange(12.0), seed=1).tolist() == [0.0]


def test_equal_scores_gain_nothing_from_their_order() -> None:
    lists = 2_000
    owner, relevant = np.repeat(np.arange(lists), 4), np.tile([True, False, False, False], lists)
    expected = np.mean(1 / np.log2(np.arange(4) + 2))
    assert ndcg(owner, relevant, np.zeros(4 * lists), seed=1).mean() == pytest.approx(expected, abs=0.02)


def test_the_reciprocal_rank_is_of_the_first_relevant_row() -> None:
    owner = np.array([0, 0, 0, 1, 1, 2])
    relevant = np.array([False, True, True, False, False, True])
    scores = np.array([3.0, 1.0, 2.0, 1.0, 2.0, 0.0])
    assert reciprocal_rank(owner, relevant, scores, seed=1).tolist() == [0.5, 1.0]


def test_hits_and_what_is_made_of_them() -> None:
    recommended = np.array([[5, 3, 9], [5, 3, UNKNOWN], [2, 1, 0]], dtype=np.int32)
    wanted, owner = np.array([9, 7, 0, 2, 8], dtype=np.int32), np.array([0, 1, 2, 2, 2])
    found = hits(recommended, wanted, owner)
    assert found.tolist() == [[False, False, True], [False, False, False], [True, False, True]]
    assert hit_rate(found).tolist() == [1.0, 0.0, 1.0]
    np.testing.assert_allclose(first_hit(found), [1 / 3, 0.0, 1.0])
    total = np.bincount(owner)
    np.testing.assert_allclose(recall(found, total), [1.0, 0.0, 2 / 3])
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    np.testing.assert_allclose(ndcg_of_hits(found, total, 20), [0.5, 0.0, 1.5 / ideal])
    np.testing.assert_allclose(ndcg_of_hits(found, total, 2), [0.0, 0.0, 1 / (1 + 1 / np.log2(3))])


def test_padding_is_never_a_hit() -> None:
    assert not hits(np.array([[0, UNKNOWN]]), np.array([1, 1]), np.array([0, 0])).any()
    assert not hits(np.array([[0, UNKNOWN], [0, UNKNOWN]]), np.array([1]), np.array([0])).any()


def test_an_estimate_brackets_its_mean() -> None:
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    found = estimate(values, seed=3)
    assert found == estimate(values, seed=3)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 / np.sqrt(400), rel=0.2)
    assert estimate(np.empty(0), seed=3).mean is None


def test_the_cases_of_a_cluster_stand_and_fall_together() -> None:
    values = np.repeat(np.random.default_rng(0).normal(2.0, 1.0, 100), 25)[:, None]
    alone = estimates(values, np.arange(2_500), seed=3)[0]
    together = estimates(values, np.repeat(np.arange(100), 25), seed=3)[0]
    assert together.mean == alone.mean
    assert together.high - together.low == pytest.approx(5 * (alone.high - alone.low), rel=0.2)


def test_a_difference_is_surer_than_what_it_is_of() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(2.0, 1.0, 400)
    second = first + rng.normal(0.05, 0.1, 400)
    one, other, difference = estimates(np.column_stack([first, second, second - first]), np.arange(400), seed=3)
    assert difference.mean == pytest.approx(other.mean - one.mean)
    assert difference.low > 0, "though the intervals of the two overlap"
    assert other.low < one.high
