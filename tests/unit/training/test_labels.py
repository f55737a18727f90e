"""Labels on hand-written cases."""

from __future__ import annotations

import numpy as np
from few_interactions import interactions

from feature_repo.aggregates import Action
from feature_repo.sections.training import RankerSettings
from training.data.choices import purchases, turns
from training.data.impressions import Impressions
from training.ranking.rankers import Rows, fit_ranker


def test_turns_are_changes_of_product_by_the_same_customer() -> None:
    history = interactions(
        (0, 1, Action.CLICKED, 1),
        (1, 1, Action.CLICKED, 2),
        (0, 1, Action.VIEWED, 3),
        (0, 2, Action.VIEWED, 4),
        (0, 1, Action.ORDERED, 5),
        (0, 1, Action.VIEWED, 6),
    )
    found = turns(history)
    assert found.customer_ids.tolist() == ["c0", "c1", "c0"], (
        "an order is no turn, and looking again at what was ordered neither"
    )
    assert [chosen.tolist() for chosen in found.chosen] == [[1], [1], [2]]
    assert found.times.tolist() == [1.0, 2.0, 3.001], "right after what came before, if that was in the same visit"
    assert found.sample(2.0, 5.0, 10, seed=1).times.tolist() == [2.0, 3.001]
    assert len(found.sample(0.0, 9.0, 1, seed=1)) == 1


def test_a_purchase_is_all_that_is_taken_in_a_visit_asked_before_the_first_of_it() -> None:
    history = interactions(
        (0, 1, Action.VIEWED, 1),
        (0, 2, Action.ADDED, 5),
        (1, 4, Action.VIEWED, 6),
        (0, 3, Action.ADDED, 7),
        (0, 2, Action.ORDERED, 9),
        (1, 5, Action.ORDERED, 10),
        (0, 3, Action.ORDERED, 3_000),
    )
    found = purchases(history)
    assert found.customer_ids.tolist() == ["c0", "c1", "c0"]
    assert found.times.tolist() == [5.0, 10.0, 3_000.0]
    assert [chosen.tolist() for chosen in found.chosen] == [[2, 3], [5], [3]]


def _impressions() -> Impressions:
    """Two lists: five products, the second clicked; three products, none clicked."""
    return Impressions(
        np.array(["a", "b"], dtype=object),
        np.array([10.0, 20.0]),
        np.array([0.0, np.nan]),
        np.array([0, 0, 0, 0, 0, 1, 1, 1]),
        np.arange(8, dtype=np.int32),
        np.array([1.0, 2, 3, 4, 5, 1, 2, 3]),
        np.array([0, 2, 0, 0, 0, 0, 0, 0], dtype=np.int8),
    )


def test_lists_between_two_moments_are_renumbered() -> None:
    later = _impressions().between(15.0, np.inf)
    assert len(later) == 1
    assert later.owner.tolist() == [0, 0, 0]
    assert later.items.tolist() == [5, 6, 7]


def test_the_ranker_is_reproducible_and_bears_columns_without_values() -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(300, 3))
    matrix[:, 1] = np.nan
    rows = Rows(matrix, np.arange(300) // 5, matrix[:, 0] > 0, np.ones(300))
    first, second = (fit_ranker(rows, RankerSettings(trees=5), seed=7) for _ in range(2))
    assert np.array_equal(first.scores(matrix), second.scores(matrix))
    matrix[:, 1] = 3.0
    assert np.array_equal(first.scores(matrix), second.scores(matrix))


def test_rows_of_several_parts_keep_their_lists_apart() -> None:
    one = Rows(np.zeros((3, 1)), np.array([0, 0, 1]), np.array([True, False, True]), np.ones(3))
    both = Rows.concatenate([one, one])
    assert both.owner.tolist() == [0, 0, 1, 2, 2, 3]
    assert both.lists(1, 3).owner.tolist() == [1, 2, 2]
    assert both.lists(1, 3).chosen.tolist() == [True, True, False]
