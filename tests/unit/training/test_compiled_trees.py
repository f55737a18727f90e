"""Compiled trees beside scikit-learn's own answers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from feature_repo.sections.training import MOST_LEAVES
from training.ranking.compiled_trees import CompiledTrees


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    """Real numbers, whole ones, and some unknown ones."""
    rng = np.random.default_rng(0)
    matrix = np.column_stack([rng.normal(0, 50, 3000), rng.integers(-3, 9, 3000), rng.exponential(1e6, 3000)])
    matrix[rng.random(matrix.shape) < 0.2] = np.nan
    return matrix


@pytest.fixture(scope="module")
def trees(rows: np.ndarray) -> HistGradientBoostingClassifier:
    known = np.nan_to_num(rows, nan=3.0)
    chosen = (known[:, 0] > 10) ^ (known[:, 1] > 2) ^ (np.random.default_rng(1).random(len(rows)) < 0.1)
    return HistGradientBoostingClassifier(max_iter=60, learning_rate=0.2, random_state=0).fit(rows, chosen)


def test_the_answers_are_those_of_scikit_learn(trees: HistGradientBoostingClassifier, rows: np.ndarray) -> None:
    theirs = trees.decision_function(rows)
    assert np.ptp(theirs) > 5, "the trees tell rows apart"
    assert np.array_equal(CompiledTrees.of(trees).log_odds(rows), theirs)


def test_what_was_learnt_without_gaps_takes_gaps_alike(rows: np.ndarray) -> None:
    known = np.nan_to_num(rows)
    trees = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(known, known[:, 1] > 0)
    assert np.array_equal(CompiledTrees.of(trees).log_odds(rows), trees.decision_function(rows))


def test_categories_are_not_taken_for_numbers(rows: np.ndarray) -> None:
    kinds = np.nan_to_num(rows[:, 1:2]) + 3
    trees = HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]).fit(kinds, kinds[:, 0] % 2 == 1)
    with pytest.raises(NotImplementedError):
        CompiledTrees.of(trees)


def test_trees_that_learnt_nothing_say_the_same_of_all(rows: np.ndarray) -> None:
    trees = HistGradientBoostingClassifier(max_iter=2).fit(np.zeros((100, 3)), np.arange(100) % 2)
    assert (
        CompiledTrees.of(trees).log_odds(rows).tolist() == trees.decision_function(rows).tolist() == [0.0] * len(rows)
    )


def test_trees_of_as_many_leaves_as_fit_and_of_more(rows: np.ndarray) -> None:
    chosen = np.random.default_rng(2).random(len(rows)) < 0.5

    def fitted(leaves: int) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(max_iter=3, max_leaf_nodes=leaves, min_samples_leaf=1).fit(rows, chosen)

    widest = fitted(MOST_LEAVES)
    assert widest._predictors[0][0].get_n_leaf_nodes() == MOST_LEAVES
    assert np.array_equal(CompiledTrees.of(widest).log_odds(rows), widest.decision_function(rows))
    with pytest.raises(NotImplementedError):
        CompiledTrees.of(fitted(MOST_LEAVES + 1))


def test_rows_of_other_features_are_refused(trees: HistGradientBoostingClassifier, rows: np.ndarray) -> None:
    with pytest.raises(ValueError, match="3 features, not from 2"):
        CompiledTrees.of(trees).log_odds(rows[:, :2])
