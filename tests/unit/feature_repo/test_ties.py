"""Sums of sparse rows per visitor, beside the same by dense arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.ties import Ties

VISITORS = 3


@pytest.mark.parametrize("products", [7, 7_000])
@given(st.lists(st.tuples(st.integers(0, VISITORS - 1), st.integers(0, 6), st.floats(0, 10, width=16)), max_size=40))
def test_equal_pairs_add_up(products: int, given_pairs: list[tuple[int, int, float]]) -> None:
    dense = np.zeros((VISITORS, products))
    for visitor, product, strength in given_pairs:
        dense[visitor, product] += strength
    visitors, codes, strengths = (
        np.array([pair[place] for pair in given_pairs], dtype=kind) for place, kind in enumerate((int, np.int32, float))
    )
    ties = Ties.summed(products, visitors, codes, strengths)
    everywhere = ties.at(np.arange(VISITORS)[:, None], np.arange(products)[None, :])
    assert np.allclose(everywhere, dense)
    for visitor in range(VISITORS):
        of_visitor, how_strongly = ties.of(visitor)
        assert of_visitor.tolist() == np.flatnonzero(dense[visitor]).tolist()
        assert np.allclose(how_strongly, dense[visitor, of_visitor])


PRODUCTS = 7


@given(arrays(float, (PRODUCTS, PRODUCTS), elements=st.sampled_from([0.0, 0.0, 0.5, 2.0])))
def test_rows_are_weighted_as_in_a_product_of_matrices(matrix: np.ndarray) -> None:
    ends = np.cumsum((matrix > 0).sum(axis=1))
    begins = ends - (matrix > 0).sum(axis=1)
    codes, values = np.nonzero(matrix)[1].astype(np.int32), matrix[matrix > 0]
    visitors, rows, weights = np.array([0, 0, 2]), np.array([1, 6, 1]), np.array([1.0, 0.5, 2.0])
    ties = Ties.rows(visitors, weights, begins[rows], (ends - begins)[rows], codes, values, PRODUCTS)
    wanted = np.zeros((VISITORS, PRODUCTS))
    np.add.at(wanted, visitors, weights[:, None] * matrix[rows])
    assert np.allclose(ties.at(np.arange(VISITORS)[:, None], np.arange(PRODUCTS)[None, :]), wanted)
