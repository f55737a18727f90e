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

from feature_repo.ranking import Embeddings, Visitors
from feature_repo.shelf import UNKNOWN, Codes, Shelf

Vectors = NDArray[np.float32]

# Visitors whose systems are solved together; bounds memory at factors^2 * 8 bytes each.
_CHUNK = 2_000


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

    def on(self, shelf: Shelf) -> PlacedFactors:
        """The vectors in the order of the shelf's rows; zero for products that the model does not know."""
        placed = np.zeros((len(shelf), self.vectors.shape[1]), dtype=np.float32)
        rows = shelf.encode(self.ids)
        placed[rows[rows != UNKNOWN]] = self.vectors[rows != UNKNOWN]
        return PlacedFactors(self, placed, _directions(placed))


@dataclass(frozen=True)
class PlacedFactors:
    """Item factors by the codes of a shelf; ``vectors`` and ``directions`` have shape (len(shelf), factors)."""

    factors: ItemFactors
    vectors: Vectors
    directions: Vectors

    def embed(self, visitors: Visitors) -> Embeddings:
        """Where visitors are, from their recent interactions alone."""
        known = self._known(visitors.items)
        session = known & visitors.in_session & (visitors.interest > 0)
        return Embeddings(
            items=self.vectors,
            directions=self.directions,
            visitors=self.fold_in(visitors.items, visitors.interest),
            last=self._first_direction(visitors.items, known),
            session=self._mean_direction(visitors.items, session),
        )

    def fold_in(self, items: Codes, weights: NDArray[np.float64]) -> Vectors:
        """Visitor vectors, shape (visitors, factors), from interactions of shape (visitors, k).

        Interactions of weight 0, padding and products without factors do not count; a visitor with nothing else gets
        zeros. Repeated products add up.
        """
        weights = np.where(self._known(items), weights, 0.0)
        result = np.zeros((len(items), self.vectors.shape[1]), dtype=np.float32)
        active = np.flatnonzero(weights.any(axis=1))
        for start in range(0, len(active), _CHUNK):
            rows = active[start : start + _CHUNK]
            result[rows] = self._solve(items[rows], weights[rows])
        return result

    def _solve(self, items: Codes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        vectors = self.vectors[items].astype(np.float64)
        extra = self.factors.confidence * weights
        left = self.factors.gram + np.matmul(vectors.transpose(0, 2, 1), vectors * extra[:, :, None])
        right = ((extra + _first_of_each(items, weights))[:, :, None] * vectors).sum(axis=1)
        return np.linalg.solve(left, right[:, :, None])[:, :, 0]

    def _known(self, items: Codes) -> NDArray[np.bool_]:
        if not len(self.vectors):
            return np.zeros(items.shape, dtype=bool)
        return (items != UNKNOWN) & self.directions.any(axis=1)[items]

    def _first_direction(self, items: Codes, known: NDArray[np.bool_]) -> Vectors:
        rows = np.arange(len(items))
        first = known.argmax(axis=1)
        place = items[rows, first]
        return self.directions[np.where(known[rows, first], place, 0)] * known[rows, first, None]

    def _mean_direction(self, items: Codes, chosen: NDArray[np.bool_]) -> Vectors:
        result = np.zeros((len(items), self.vectors.shape[1]), dtype=np.float32)
        for start in range(0, len(items), _CHUNK):
            part = slice(start, start + _CHUNK)
            directions = self.directions[np.where(chosen[part], items[part], 0)] * chosen[part, :, None]
            result[part] = directions.sum(axis=1) / np.maximum(chosen[part].sum(axis=1), 1)[:, None]
        return result


def _first_of_each(items: Codes, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where an interaction of some weight is the visitor's first with that product, else 0."""
    counted = np.where(weights > 0, items, UNKNOWN)
    same = counted[:, :, None] == counted[:, None, :]
    repeated = np.tril(same, k=-1).any(axis=2)
    return ((counted != UNKNOWN) & ~repeated).astype(float)


def _directions(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
