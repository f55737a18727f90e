"""Cells find nearly what looking at every product would find."""

from __future__ import annotations

import numpy as np
import pytest

from training.candidates.cells import Cells, Partition, Vectors

KINDS, FACTORS, MOST = 60, 16, 100


def catalogue(size: int, seed: int = 1) -> Vectors:
    """Products of some kinds, the vectors of which are alike; popular ones are longer."""
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(KINDS, FACTORS))
    vectors = kinds[rng.integers(KINDS, size=size)] + 0.5 * rng.normal(size=(size, FACTORS))
    return (vectors * rng.lognormal(0, 0.5, (size, 1))).astype(np.float32)


def placed(vectors: Vectors) -> Cells:
    return Partition.of(vectors).on(np.arange(len(vectors), dtype=np.int32), vectors)


def test_most_of_the_best_are_found_by_looking_at_a_few() -> None:
    vectors = catalogue(30_000)
    cells, allowed = placed(vectors), np.ones(len(vectors), dtype=bool)
    shares, looked_at = [], []
    visitors = vectors[np.random.default_rng(2).choice(len(vectors), (40, 3))].mean(axis=1)  # who like some products
    for direction in visitors:
        rows, products = cells.towards(direction, allowed, MOST)
        np.testing.assert_allclose(products, vectors[rows] @ direction, rtol=1e-4, atol=1e-4)
        best = np.argsort(-(vectors @ direction))[:MOST]
        shares.append(np.isin(best, rows).mean())
        looked_at.append(len(rows))
    assert np.mean(shares) > 0.85
    assert np.mean(looked_at) < 0.1 * len(vectors)


def test_where_little_is_allowed_it_looks_further() -> None:
    vectors = catalogue(30_000)
    allowed = np.zeros(len(vectors), dtype=bool)
    allowed[np.random.default_rng(3).choice(len(vectors), 200, replace=False)] = True
    rows, _ = placed(vectors).towards(vectors[0], allowed, MOST)
    assert sorted(rows.tolist()) == np.flatnonzero(allowed).tolist()


def test_a_small_catalogue_is_searched_wholly() -> None:
    vectors = catalogue(500)
    rows, products = placed(vectors).towards(vectors[3], np.ones(500, dtype=bool), 5)
    assert sorted(rows.tolist()) == list(range(500))
    assert products[rows == 3] == pytest.approx(vectors[3] @ vectors[3], rel=1e-5)


def test_products_that_are_not_on_the_shelf_or_have_no_factors_are_left_out() -> None:
    vectors = catalogue(4)
    vectors[2] = 0.0
    cells = Partition.of(vectors).on(np.array([7, -1, 5, 1], dtype=np.int32), vectors)
    rows, _ = cells.towards(vectors[0], np.ones(8, dtype=bool), 4)
    assert sorted(rows.tolist()) == [1, 7]
