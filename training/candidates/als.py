"""Fitting the candidate model: ALS on customers' weighted, decayed interactions."""

from __future__ import annotations

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from feature_repo.ranking.visitors import ACTION_WEIGHTS
from feature_repo.sections.training import ALSEngine, TrainingSettings
from training.candidates.factors import ItemFactors, Vectors
from training.data.events import Interactions

# Old interactions still tell which products go together, so they fade more slowly here than a customer's interest does.
HALF_LIFE_SECONDS = 30 * 86_400.0


def fit_factors(
    interactions: Interactions, ids: tuple[str, ...], before: float, settings: TrainingSettings
) -> ItemFactors:
    """Item factors from what happened before a moment (epoch seconds), zero for products that nobody touched."""
    matrix = interest_matrix(interactions, len(ids), before)
    factors = max(1, min(settings.factors, *matrix.shape))
    fit = _with_spark if settings.als_on is ALSEngine.SPARK else _with_implicit
    vectors = fit(matrix, factors, settings)
    vectors[np.bincount(matrix.indices, minlength=len(ids)) == 0] = 0.0
    return ItemFactors(ids, vectors, settings.als_confidence, settings.als_regularization)


def _with_spark(matrix: csr_matrix, factors: int, settings: TrainingSettings) -> Vectors:
    from training.candidates.als_spark import fit_item_vectors

    return fit_item_vectors(matrix, factors, settings)


def _with_implicit(matrix: csr_matrix, factors: int, settings: TrainingSettings) -> Vectors:
    """The same interactions, settings and seed give the same factors.

    One thread, because the sums of several would depend on who comes first, and because small matrices gain nothing from more.
    """
    # implicit expects the confidence itself: 1 for no interaction, and what comes on top for some.
    matrix.data = (1 + settings.als_confidence * matrix.data).astype(np.float32)
    with threadpool_limits(1):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=settings.als_regularization,
            alpha=1.0,
            iterations=settings.als_iterations,
            random_state=settings.seed,
            num_threads=1,
        )
        model.fit(matrix, show_progress=False)
    return np.array(model.item_factors, dtype=np.float32)


def interest_matrix(interactions: Interactions, items: int, before: float) -> csr_matrix:
    """Customers x items: the sum of action weights, halved for every 30 days before ``before``.

    Only customers with two products or more are kept: one alone says nothing of what goes together.
    """
    weight = np.zeros(max(ACTION_WEIGHTS) + 1)
    weight[list(ACTION_WEIGHTS)] = list(ACTION_WEIGHTS.values())
    past = interactions.before(before)
    values = weight[past.actions] * np.exp2((past.times - before) / HALF_LIFE_SECONDS)
    shape = (int(past.customers.max(initial=-1)) + 1, items)
    matrix = csr_matrix((values, (past.customers, past.items)), shape=shape)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix[np.diff(matrix.indptr) >= 2]
