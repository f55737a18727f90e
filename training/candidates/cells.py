"""Finding the products whose factors point where a customer's do, without looking at all of them.

Products are put into cells by direction (k-means), and a search looks into the cells first whose centres lie best: an inverted
file (Jégou, Douze and Schmid, "Product quantization for nearest neighbor search", 2011, without the quantization). A
catalogue of a few thousand products is one cell, so that the search is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from feature_repo.filters import Mask
from feature_repo.kernel import dot, kernel
from feature_repo.ranking.shelf import Codes

Vectors = NDArray[np.float32]

_ONE_CELL = 4_000
# Cells are learnt from so many products each, which is enough for a rough partition.
_LEARN_FROM = 40
_ROUNDS = 10
# Of the allowed products, so many times what is asked for are looked at, and at least such a share.
_LOOK_AT, _LEAST_SHARE = 20, 0.02


@dataclass(frozen=True)
class Partition:
    """Cells of learnt products.

    Attributes:
        centres: mean direction of each cell times the greatest length in it, shape (cells, factors).
        cell: of each product, shape (products,).
    """

    centres: Vectors
    cell: NDArray[np.intp]

    @classmethod
    def of(cls, vectors: Vectors) -> Partition:
        """Of vectors of shape (products, factors)."""
        size = len(vectors)
        if size <= _ONE_CELL:
            return cls(np.zeros((1, vectors.shape[1]), dtype=np.float32), np.zeros(size, dtype=np.intp))
        from sklearn.cluster import KMeans

        lengths = np.linalg.norm(vectors, axis=1)
        directions = vectors / np.where(lengths > 0, lengths, 1)[:, None]
        count = 2 * isqrt(size)
        sample = np.random.default_rng(7).choice(size, min(size, _LEARN_FROM * count), replace=False)
        means = KMeans(count, init="random", n_init=1, max_iter=_ROUNDS, random_state=7).fit(directions[sample])
        cell = means.predict(directions).astype(np.intp)
        longest = np.zeros(count, dtype=np.float32)
        np.maximum.at(longest, cell, lengths)
        return cls((means.cluster_centers_ * longest[:, None]).astype(np.float32), cell)

    def on(self, rows: Codes, vectors: Vectors) -> Cells:
        """The cells of those products that have a row on a shelf, and factors.

        Args:
            rows: of each product, negative for none, shape (products,).
            vectors: of each product.
        """
        order = np.argsort(self.cell, kind="stable")
        order = order[(rows[order] >= 0) & vectors[order].any(axis=1)]
        begins = np.searchsorted(self.cell[order], np.arange(len(self.centres) + 1))
        return Cells(self.centres, begins, rows[order], vectors[order])


@dataclass(frozen=True)
class Cells:
    """Cells of the products of a shelf.

    Attributes:
        centres: see :class:`Partition`.
        begins: where each cell begins in the following, and where the last one ends, shape (cells + 1,).
        rows: of the shelf, cell by cell, shape (n,).
        vectors: of these rows, shape (n, factors).
    """

    centres: Vectors
    begins: NDArray[np.intp]
    rows: Codes
    vectors: Vectors

    def towards(self, direction: Vectors, allowed: Mask, most: int) -> tuple[Codes, Vectors]:
        """Allowed rows, among them most of the ``most`` with the highest products with a direction, and these products.

        Args:
            direction: shape (factors,).
            allowed: which rows of the shelf may be found.
            most: how many are wanted.
        """
        enough = max(_LOOK_AT * most, int(_LEAST_SHARE * len(self.rows)))
        nearest = np.argsort(-(self.centres @ direction))
        return _within(nearest, self.begins, self.rows, self.vectors, direction.astype(np.float32), allowed, enough)


@kernel
def _within(
    cells: NDArray[np.int64],
    begins: NDArray[np.int64],
    rows: Codes,
    vectors: Vectors,
    direction: Vectors,
    allowed: Mask,
    enough: int,
) -> tuple[Codes, Vectors]:
    """The allowed rows of so many of the cells that they are enough, and the products of their vectors with a direction."""
    found, products, size = np.empty(len(rows), dtype=np.int32), np.empty(len(rows), dtype=np.float32), 0
    for cell in cells:
        for place in range(begins[cell], begins[cell + 1]):
            if allowed[rows[place]]:
                found[size], products[size] = rows[place], dot(vectors[place], direction)
                size += 1
        if size >= enough:
            break
    return found[:size], products[:size]
