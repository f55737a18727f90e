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

from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.ties import first_in_rows
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.candidates.cells import Cells, Partition, Vectors


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

    def fold_in(self, items: Codes, weights: Floats) -> Vectors:
        """Visitor vectors, shape (visitors, factors), from interactions of shape (visitors, k).

        Interactions of weight 0, padding and products without factors do not count; a visitor with nothing else gets
        zeros. Repeated products add up.
        """
        return _folded(items, weights, self.directions, self.lengths, self.factors.gram, self.factors.confidence)

    def last(self, visitors: Visitors) -> Vectors:
        """Direction of each visitor's latest product with factors, shape (visitors, factors); else zeros."""
        return _first_known(visitors.items, self.directions, self.lengths)

    def session(self, visitors: Visitors) -> Vectors:
        """Mean direction of the products of each visitor's present visit, shape (visitors, factors); else zeros."""
        chosen = visitors.in_session & (visitors.interest > 0)
        return _mean_direction(visitors.items, chosen, self.directions, self.lengths)


@kernel
def _has_factors(code: int, lengths: NDArray[np.float32]) -> bool:
    return code != UNKNOWN and lengths[code] > 0


@kernel(any_order=True)
def _folded(
    items: Codes, weights: Floats, directions: Vectors, lengths: NDArray[np.float32], gram: Floats, confidence: float
) -> Vectors:
    """For each visitor, the solution of ``(gram + Y'CY) x = Y'(C + 1)``, by Cholesky's decomposition."""
    size = len(gram)
    folded = np.zeros((len(items), size), dtype=np.float32)
    vector, solution = np.empty(size), np.empty(size)
    for visitor in range(len(items)):
        counted = weights[visitor] > 0
        for step in range(len(counted)):
            counted[step] = counted[step] and _has_factors(items[visitor, step], lengths)
        if not counted.any():
            continue
        first = first_in_rows(items[visitor : visitor + 1], counted.reshape(1, -1))[0]
        lower = gram.copy()
        solution[:] = 0.0
        for step in range(len(counted)):
            if not counted[step]:
                continue
            code, extra = items[visitor, step], confidence * weights[visitor, step]
            for column in range(size):
                vector[column] = directions[code, column] * lengths[code]
                solution[column] += (extra + first[step]) * vector[column]
            for row in range(size):
                for column in range(row + 1):
                    lower[row, column] += extra * vector[row] * vector[column]
        _solve(lower, solution)
        folded[visitor] = solution
    return folded


@kernel(any_order=True)
def _solve(lower: Floats, right: Floats) -> None:
    """Of a symmetric positive definite system, of which the lower half is given; what is given becomes the solution."""
    size = len(right)
    for row in range(size):
        for column in range(row + 1):
            rest = lower[row, column]
            for place in range(column):
                rest -= lower[row, place] * lower[column, place]
            lower[row, column] = np.sqrt(rest) if row == column else rest / lower[column, column]
        for place in range(row):
            right[row] -= lower[row, place] * right[place]
        right[row] /= lower[row, row]
    for row in range(size - 1, -1, -1):
        right[row] /= lower[row, row]
        for place in range(row):
            right[place] -= lower[row, place] * right[row]


@kernel
def _first_known(items: Codes, directions: Vectors, lengths: NDArray[np.float32]) -> Vectors:
    found = np.zeros((len(items), directions.shape[1]), dtype=np.float32)
    for visitor in range(len(items)):
        for code in items[visitor]:
            if _has_factors(code, lengths):
                found[visitor] = directions[code]
                break
    return found


@kernel
def _mean_direction(
    items: Codes, chosen: NDArray[np.bool_], directions: Vectors, lengths: NDArray[np.float32]
) -> Vectors:
    """Of the chosen products with factors of each visitor."""
    mean = np.zeros((len(items), directions.shape[1]), dtype=np.float32)
    for visitor in range(len(items)):
        count = 0
        for step in range(items.shape[1]):
            code = items[visitor, step]
            if chosen[visitor, step] and _has_factors(code, lengths):
                mean[visitor] += directions[code]
                count += 1
        mean[visitor] /= np.float32(max(count, 1))
    return mean
