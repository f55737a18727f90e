"""Factors and co-visits on matrices of a few rows."""

from __future__ import annotations

import numpy as np
import pytest
from few_interactions import interactions
from small_shelf import IDS, factors, neighbours, shelf, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.sections.training import TrainingSettings
from training.candidates.als import fit_factors, interest_matrix

CUP, PAN, RAKE, BALL = range(4)


def test_folding_in_solves_the_least_squares_problem() -> None:
    vectors = np.array([[1.0, 0.2], [0.5, 0.5], [0.0, 1.0], [0.3, 0.1]])
    placed = factors(vectors.tolist(), regularization=0.5).on(shelf())
    folded = placed.fold_in(np.array([[CUP, RAKE, CUP]]), np.array([[1.0, 3.0, 0.5]]))[0]

    confidence = np.array([1 + 2 * 1.5, 1.0, 1 + 2 * 3.0, 1.0])  # 2 per unit of weight; repeated products add up
    wanted = np.array([1.0, 0.0, 1.0, 0.0])
    left = vectors.T @ (confidence[:, None] * vectors) + 0.5 * np.eye(2)
    expected = np.linalg.solve(left, vectors.T @ (confidence * wanted))
    np.testing.assert_allclose(folded, expected, rtol=1e-5)


def test_folding_in_is_what_implicit_does() -> None:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(1)
    seen = rng.integers(0, 2, (30, 4)) * rng.uniform(0.5, 3.0, (30, 4))
    matrix = csr_matrix(np.where(seen > 0, 1 + 2 * seen, 0.0).astype(np.float32))
    with threadpool_limits(1):
        model = AlternatingLeastSquares(factors=2, regularization=0.5, alpha=1.0, random_state=1, num_threads=1)
        model.fit(matrix, show_progress=False)
        expected = model.recalculate_user(0, matrix[:1])
    placed = factors(model.item_factors.tolist(), regularization=0.5).on(shelf())
    np.testing.assert_allclose(placed.fold_in(np.arange(4)[None], seen[:1])[0], expected.ravel(), rtol=1e-3)


def test_padding_unknown_products_and_weightless_interactions_do_not_count() -> None:
    placed = factors([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]).on(shelf())
    alone = placed.fold_in(np.array([[CUP]]), np.array([[2.0]]))
    padded = placed.fold_in(np.array([[UNKNOWN, CUP, BALL, PAN]]), np.array([[5.0, 2.0, 3.0, 0.0]]))
    np.testing.assert_allclose(padded, alone)
    assert not placed.fold_in(np.array([[UNKNOWN, BALL]]), np.array([[1.0, 1.0]])).any()


def test_factors_follow_the_products_to_another_shelf() -> None:
    learnt = factors([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [0.0, 0.0]])
    placed = learnt.on(shelf(ids=("new", "rake", "cup")))
    assert placed.directions * placed.lengths[:, None] == pytest.approx(np.array([[0, 0], [3, 3], [1, 0]]))
    assert (placed.lengths > 0).tolist() == [False, True, True]


def test_the_last_product_and_the_session_are_directions() -> None:
    on = shelf()
    placed = factors([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]]).on(on)
    of = visitors(
        on,
        [
            ("ball", Action.VIEWED, 0.1),
            ("pan", Action.VIEWED, 0.2),
            ("cup", Action.VIEWED, 0.3),
            ("rake", Action.VIEWED, 9.0),
        ],
        [("ball", Action.VIEWED, 0.1)],
    )
    np.testing.assert_allclose(placed.last(of), [[0, 1], [0, 0]])
    np.testing.assert_allclose(placed.session(of), [[0.5, 0.5], [0, 0]])


def test_interest_decays_and_single_products_say_nothing() -> None:
    month = 30 * 86_400.0
    events = interactions(
        (0, CUP, Action.VIEWED, 0.0),
        (0, PAN, Action.ADDED, month),
        (1, CUP, Action.VIEWED, month),
        (1, CUP, Action.ORDERED, month),
        (0, RAKE, Action.VIEWED, month + 1),
    )
    matrix = interest_matrix(events, 4, before=month + 0.5)
    assert matrix.shape == (1, 4), "the second customer knows one product only"
    np.testing.assert_allclose(matrix.toarray()[0], [0.5, 3.0, 0.0, 0.0], rtol=1e-5)


def test_als_is_reproducible_and_leaves_out_what_nobody_touched() -> None:
    rows = [(customer, item, Action.VIEWED, float(customer)) for customer in range(20) for item in (customer % 3, 2)]
    settings = TrainingSettings(factors=2, als_iterations=3)
    first, second = (fit_factors(interactions(*rows), IDS, 100.0, settings) for _ in range(2))
    assert np.array_equal(first.vectors, second.vectors)
    assert not first.vectors[BALL].any()
    assert first.vectors[CUP].any()


def test_latest_products_point_most_strongly() -> None:
    learnt = neighbours({"cup": [("pan", 0.6)], "rake": [("pan", 0.3), ("ball", 0.2)]})
    codes, strengths = learnt.towards(np.array([CUP, RAKE], dtype=np.int32)).of(0)
    assert codes.tolist() == [PAN, BALL]
    np.testing.assert_allclose(strengths, [0.6 + 0.15, 0.1], rtol=1e-6)
    assert not len(learnt.towards(np.array([], dtype=np.int32)).of(0)[0])


def test_neighbours_follow_the_products_to_another_shelf() -> None:
    learnt = neighbours({"cup": [("pan", 0.6), ("rake", 0.4)]})
    placed = learnt.on(shelf(ids=("rake", "cup")))
    codes, strengths = placed.towards(np.array([1], dtype=np.int32)).of(0)
    assert codes.tolist() == [0]
    np.testing.assert_allclose(strengths, [0.4], rtol=1e-6)
