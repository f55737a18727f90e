"""Which products go together: the strongest neighbours of each by counts of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.ties import Ties

MOST = 50
# Shrinks the strength of pairs of seldom seen products.
SHRINKAGE = 10.0
# The products that proposals go with count as 1, 1/2, 1/3, ...
LATEST = 20


@dataclass(frozen=True)
class Neighbours:
    """Each product's strongest neighbours, both arrays of shape (items, MOST), strongest first.

    ``neighbours`` holds codes by place in ``ids``, padded with :data:`UNKNOWN`; ``strengths`` are cosine-like, in
    0..1, padded with 0.
    """

    ids: tuple[str, ...]
    neighbours: Codes
    strengths: NDArray[np.float32]

    @classmethod
    def of_pairs(cls, pairs: csr_matrix, ids: tuple[str, ...]) -> Neighbours:
        """From symmetric counts of pairs, shape (items, items), by cosine with shrinkage."""
        scale = 1 / np.sqrt(np.asarray(pairs.sum(axis=1)).ravel() + SHRINKAGE)
        scaled = csr_matrix(pairs.multiply(scale[:, None]).multiply(scale[None, :]))
        neighbours = np.full((len(ids), MOST), UNKNOWN, dtype=np.int32)
        strengths = np.zeros((len(ids), MOST), dtype=np.float32)
        for item in range(len(ids)):
            row = slice(scaled.indptr[item], scaled.indptr[item + 1])
            codes, values = scaled.indices[row], scaled.data[row]
            best = np.lexsort((codes, -values))[:MOST]
            neighbours[item, : len(best)], strengths[item, : len(best)] = codes[best], values[best]
        return cls(ids, neighbours, strengths)

    def on(self, shelf: Shelf) -> Neighbours:
        """The same by the rows of a shelf; products that are not on it fall out."""
        rows = shelf.encode(self.ids)
        there = np.flatnonzero(rows != UNKNOWN)
        known = self.neighbours[there] != UNKNOWN
        codes = np.where(known, rows[self.neighbours[there]], UNKNOWN)
        neighbours = np.full((len(shelf), MOST), UNKNOWN, dtype=np.int32)
        strengths = np.zeros((len(shelf), MOST), dtype=np.float32)
        neighbours[rows[there]] = codes
        strengths[rows[there]] = np.where(codes != UNKNOWN, self.strengths[there], 0.0)
        return Neighbours(shelf.ids, neighbours, strengths)

    def towards(self, seeds: Codes) -> Ties:
        """How strongly products, the first of which count most, point to others; of visitor 0."""
        latest = seeds[None, :LATEST]
        weights = 1 / np.arange(1, latest.shape[1] + 1)[None]
        return Ties.weighted(latest, weights, self._begins, self.neighbours.ravel(), self.strengths.ravel())

    @cached_property
    def _begins(self) -> NDArray[np.int64]:
        return np.arange(0, self.neighbours.size + 1, MOST)

    def between(self, items: Codes, others: Codes) -> NDArray[np.float32]:
        """How strongly each of ``others`` points to each of ``items``, shape (items, others)."""
        return _between(items, others, self.neighbours, self.strengths)


@kernel
def _between(items: Codes, others: Codes, neighbours: Codes, strengths: NDArray[np.float32]) -> NDArray[np.float32]:
    found = np.zeros((len(items), len(others)), dtype=np.float32)
    for item in range(len(items)):
        for other in range(len(others)):
            for place in range(neighbours.shape[1]):
                if neighbours[others[other], place] == items[item]:
                    found[item, other] = strengths[others[other], place]
    return found
