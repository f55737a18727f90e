"""Item factors of the candidate model, and how a customer is placed among them at any moment.

The model is implicit-feedback ALS (Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets",
ICDM 2008). Given the item factors, a customer's factors are the solution of one small least-squares problem over what he
did, whether or not the model was fitted with him: that is the fold-in, exactly the step that ALS repeats in fitting.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from feature_repo.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ties import first_in_rows
from feature_repo.visitors import Visitors
from training.cells import Cells, Partition, Vectors


@dataclass(frozen=True)
class ItemFactors:
    """What ALS learnt of items.

    Attributes:
        ids: product ids, in the order of the vectors' rows.
        vectors: shape (items, factors).
        confidence: how much one interaction of weight 1 outweighs none.
        regularization: added to the diagonal of every customer's system.
    """

    ids: tuple[str, ...]
    vectors: Vectors
    confidence: float
    regularization: float

    @cached_property
    def gram(self) -> NDArray[np.float64]:
        """Y'Y + regularization, shape (factors, factors): the part of the system that all customers share."""
        vectors = self.vectors.astype(np.float64)
        return vectors.T @ vectors + self.regularization * np.eye(vectors.shape[1])

    @cached_property
    def partition(self) -> Partition:
        """The products by direction; learnt when it is asked for first."""
        return Partition.of(self.vectors)

    def on(self, shelf: Shelf) -> PlacedFactors:
        """The vectors in the order of the shelf's rows; zero for products that the model does not know."""
        placed = np.zeros((len(shelf), self.vectors.shape[1]), dtype=np.float32)
        rows = shelf.encode(self.ids)
        placed[rows[rows != UNKNOWN]] = self.vectors[rows != UNKNOWN]
        lengths = np.linalg.norm(placed, axis=1).astype(np.float32)
        scale = np.where(lengths > 0, lengths, 1).astype(np.float32)
        return PlacedFactors(self, placed / scale[:, None], lengths, self.partition.on(rows, self.vectors))


@dataclass(frozen=True)
class PlacedFactors:
    """Item factors by the codes of a shelf.

    Attributes:
        factors: as learnt.
        directions: scaled to length 1, shape (len(shelf), factors); zero for products that the model does not know.
        lengths: what they were scaled by, 0 for those products, shape (len(shelf),).
        cells: where to look for products in some direction.
    """

    factors: ItemFactors
    directions: Vectors
    lengths: NDArray[np.float32]
    cells: Cells

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which rows of the shelf have factors."""
        return np.asarray(self.lengths > 0)

    def vectors(self, codes: Codes) -> Vectors:
        """The factors of some rows, shape (..., factors)."""
        return self.directions[codes] * self.lengths[codes][..., None]

    def fold_in(self, items: Codes, weights: NDArray[np.float64]) -> Vectors:
        """Visitor vectors, shape (visitors, factors), from interactions of shape (visitors, k).

        Interactions of weight 0, padding and products without factors do not count; a visitor with nothing else gets
        zeros. Repeated products add up.
        """
        weights = np.where(self._has_factors(items), weights, 0.0)
        result = np.zeros((len(items), self.directions.shape[1]), dtype=np.float32)
        active = np.flatnonzero(weights.any(axis=1))
        if len(active):
            result[active] = self._solve(items[active], weights[active])
        return result

    def last(self, visitors: Visitors) -> Vectors:
        """Direction of each visitor's latest product with factors, shape (visitors, factors); else zeros."""
        has_factors = self._has_factors(visitors.items)
        first = np.take_along_axis(visitors.items, has_factors.argmax(axis=1)[:, None], axis=1)[:, 0]
        return self.directions[first] * np.any(has_factors, axis=1)[:, None]

    def session(self, visitors: Visitors) -> Vectors:
        """Mean direction of the products of each visitor's present visit, shape (visitors, factors); else zeros."""
        chosen = self._has_factors(visitors.items) & visitors.in_session & (visitors.interest > 0)
        directions = self.directions[visitors.items] * chosen[:, :, None]
        return directions.sum(axis=1) / np.maximum(chosen.sum(axis=1), 1)[:, None].astype(np.float32)

    def _solve(self, items: Codes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        vectors = self.vectors(items).astype(np.float64)
        extra = self.factors.confidence * weights
        left = self.factors.gram + np.matmul(vectors.transpose(0, 2, 1), vectors * extra[:, :, None])
        right = ((extra + _first_of_each(items, weights))[:, :, None] * vectors).sum(axis=1)
        return np.linalg.solve(left, right[:, :, None])[:, :, 0]

    def _has_factors(self, items: Codes) -> NDArray[np.bool_]:
        return (items != UNKNOWN) & self.known[items]


def _first_of_each(items: Codes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where an interaction of some weight is the visitor's first with that product, else 0."""
    return first_in_rows(items, (weights > 0) & (items != UNKNOWN)).astype(float)
