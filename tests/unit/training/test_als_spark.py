"""MLlib's ALS is as good as implicit's, behind the same function."""

from __future__ import annotations

import numpy as np
import pytest
from few_interactions import interactions, of_columns
from numpy.typing import NDArray
from small_shelf import shelf

from feature_repo.aggregates import Action
from feature_repo.sections.training import ALSEngine, TrainingSettings
from training.candidates.als import fit_factors

CUSTOMERS, ITEMS, TASTES, EACH, HIDDEN = 300, 60, 6, 8, 2


@pytest.fixture(scope="module")
def tastes() -> NDArray[np.int32]:
    """Products of each customer, three of four of one taste, shape (CUSTOMERS, EACH)."""
    rng = np.random.default_rng(5)
    chosen = np.empty((CUSTOMERS, EACH), dtype=np.int32)
    for customer in range(CUSTOMERS):
        likes = np.where(np.arange(ITEMS) % TASTES == customer % TASTES, 3.0 * (TASTES - 1), 1.0)
        chosen[customer] = rng.choice(ITEMS, EACH, replace=False, p=likes / likes.sum())
    return chosen


def hits(tastes: NDArray[np.int32], engine: ALSEngine) -> NDArray[np.float64]:
    """Which share of each customer's hidden products is among the first 10 that he has not touched."""
    seen, hidden = tastes[:, HIDDEN:], tastes[:, :HIDDEN]
    customers = np.repeat(np.arange(CUSTOMERS, dtype=np.int32), seen.shape[1])
    viewed = np.full(seen.size, Action.VIEWED, dtype=np.int32)
    happened = of_columns(customers, seen.ravel(), viewed, np.arange(seen.size))
    products = tuple(f"p{item:02d}" for item in range(ITEMS))
    # Twice the sweeps of the default: each makes what MLlib hands from task to task nest deeper.
    settings = TrainingSettings(als_on=engine, factors=8, als_iterations=30)
    placed = fit_factors(happened, products, 1e6, settings).on(shelf(ids=products))
    scores = placed.fold_in(seen, np.ones(seen.shape)) @ (placed.directions * placed.lengths[:, None]).T
    np.put_along_axis(scores, seen, -np.inf, axis=1)
    best = np.argsort(-scores, axis=1)[:, :10]
    return np.array([np.isin(wanted, found).mean() for wanted, found in zip(hidden, best, strict=True)])


def test_both_find_what_customers_like(tastes: NDArray[np.int32]) -> None:
    implicit, spark = (hits(tastes, engine) for engine in ALSEngine)
    by_chance = 10 / (ITEMS - EACH + HIDDEN)
    assert implicit.mean() > 2 * by_chance
    assert abs(spark.mean() - implicit.mean()) < 0.05, "the same model, found in another way"


def test_products_that_nobody_touched_have_no_factors() -> None:
    viewed = Action.VIEWED
    happened = interactions((0, 0, viewed, 0.0), (0, 1, viewed, 1.0), (1, 0, viewed, 2.0), (1, 1, viewed, 3.0))
    settings = TrainingSettings(als_on=ALSEngine.SPARK, factors=2, als_iterations=3)
    vectors = fit_factors(happened, ("x", "y", "z"), 10.0, settings).vectors
    assert vectors.shape == (3, 2)
    assert vectors[:2].any(axis=1).all()
    assert not vectors[2].any()


def test_nothing_to_learn_from_gives_no_factors() -> None:
    none = np.empty(0, dtype=np.int32)
    happened = of_columns(none, none, none, np.empty(0))
    settings = TrainingSettings(als_on=ALSEngine.SPARK, factors=2)
    assert not fit_factors(happened, ("x", "y"), 10.0, settings).vectors.any()
