"""Sums of sparse rows per visitor, beside the same by dense arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import coo_matrix

from feature_repo.ranking.ties import Ties

VISITORS = 3


@pytest.mark.parametrize("products", [7, 7_000])
@settings(deadline=None)  # the first call compiles
@given(
    arrays(float, (7, 7), elements=st.sampled_from([0.0, 0.0, 0.5, 2.0])),
    arrays(np.int32, (VISITORS, 5), elements=st.integers(0, 6)),
    arrays(float, (VISITORS, 5), elements=st.sampled_from([0.0, 1.0, 0.5])),
)
def test_rows_are_weighted_as_in_a_product_of_matrices(
    products: int, matrix: np.ndarray, items: np.ndarray, weights: np.ndarray
) -> None:
    sparse = coo_matrix((matrix.ravel(), np.indices(matrix.shape).reshape(2, -1)), (products, products)).tocsr()
    # Where nothing counts, anything may stand.
    given_items = np.where(weights > 0, items, -1).astype(np.int32)
    ties = Ties.weighted(given_items, weights, sparse.indptr, sparse.indices, sparse.data.astype(np.float32))
    wanted = np.zeros((VISITORS, products))
    for visitor in range(VISITORS):
        wanted[visitor, :7] = weights[visitor] @ matrix[items[visitor]]
    for visitor in range(VISITORS):
        codes, strengths = ties.of(visitor)
        assert sorted(codes.tolist()) == np.flatnonzero(wanted[visitor]).tolist()
        assert np.allclose(strengths, wanted[visitor, codes])
