"""Which products go together: the strongest neighbours of each by counts of pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.shelf import UNKNOWN, Codes, Shelf

MOST = 50
# Shrinks the strength of pairs of seldom seen products.
SHRINKAGE = 10.0
# A visitor's latest interactions count as 1, 1/2, 1/3, ...
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

    def scores(self, items: Codes) -> NDArray[np.float32]:
        """How strongly visitors' latest products point to every product, shape (visitors, items).

        Args:
            items: codes of each visitor's interactions, newest first, shape (visitors, k).
        """
        visitors, size = len(items), len(self.ids)
        known = items != UNKNOWN
        place = np.cumsum(known, axis=1)
        visitor, step = np.nonzero(known & (place <= LATEST))
        latest = items[visitor, step]
        values = self.strengths[latest] / place[visitor, step, None]
        # Padding has strength 0, so it does no harm wherever it points.
        cells = visitor[:, None] * size + np.maximum(self.neighbours[latest], 0)
        total = np.bincount(cells.ravel(), weights=values.ravel(), minlength=visitors * size)
        return total.reshape(visitors, size).astype(np.float32)

    def between(self, items: Codes, others: Codes) -> NDArray[np.float32]:
        """How strongly each of ``others`` points to each of ``items``, shape (items, others)."""
        same = self.neighbours[others][None, :, :] == items[:, None, None]
        return np.where(same, self.strengths[others][None, :, :], 0.0).sum(axis=2, dtype=np.float32)
