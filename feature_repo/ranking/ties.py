"""How strongly visitors are tied to products: to a few hundred of them, however many there are.

Only those are held and looked at, so that a request costs the same in a large catalogue as in a small one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.kernel import kernel

Codes = NDArray[np.int32]


@dataclass(frozen=True)
class Ties:
    """Strengths of some pairs of visitors and products; 0 for all others.

    Attributes:
        begins: where each visitor's begin in the following, and where the last one's end, shape (visitors + 1,).
        codes: of products, for each visitor each once, in no order, shape (n,).
        strengths: above 0, shape (n,).
    """

    begins: NDArray[np.int64]
    codes: Codes
    strengths: NDArray[np.float32]

    @classmethod
    def weighted(
        cls,
        items: Codes,
        weights: NDArray[np.floating],
        begins: NDArray[np.integer],
        codes: Codes,
        strengths: NDArray[np.floating],
    ) -> Ties:
        """The weighted sum of rows of a sparse square matrix for each visitor.

        Args:
            items, weights: which rows, and how much each counts, not negative, shape (visitors, k); without weight, any code may
                stand there.
            begins: where each row of the matrix begins in ``codes`` and ``strengths``, and where the last one ends.
            codes, strengths: columns and values of the whole matrix; without strength, any code may stand there.
        """
        # By hand: for the few rows of one request, scipy takes many times as long to make matrices as to multiply them.
        return cls(*_weighted(items, weights, begins, codes, strengths))

    def of(self, visitor: int) -> tuple[Codes, NDArray[np.float32]]:
        """The products that one visitor is tied to, and how strongly."""
        place = slice(self.begins[visitor], self.begins[visitor + 1])
        return self.codes[place], self.strengths[place]


@kernel
def _weighted(
    items: Codes,
    weights: NDArray[np.floating],
    begins: NDArray[np.integer],
    codes: Codes,
    strengths: NDArray[np.floating],
) -> tuple[NDArray[np.int64], Codes, NDArray[np.float32]]:
    visitors, most = len(items), 0
    for visitor in range(visitors):
        for step in range(items.shape[1]):
            if weights[visitor, step] > 0:
                most += begins[items[visitor, step] + 1] - begins[items[visitor, step]]
    found, values, size = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.float32), 0
    ends = np.zeros(visitors + 1, dtype=np.int64)
    sums = np.zeros(len(begins) - 1)  # of one visitor; all 0 before the next
    for visitor in range(visitors):
        for step in range(items.shape[1]):
            weight, row = weights[visitor, step], items[visitor, step]
            if weight > 0:
                for place in range(begins[row], begins[row + 1]):
                    value = weight * strengths[place]
                    if value > 0:
                        if sums[codes[place]] == 0:
                            found[size] = codes[place]
                            size += 1
                        sums[codes[place]] += value
        for place in range(ends[visitor], size):
            values[place], sums[found[place]] = sums[found[place]], 0.0
        ends[visitor + 1] = size
    return ends, found[:size].copy(), values[:size].copy()


@kernel
def first_in_rows(codes: Codes, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the counted codes are the first of their kind in their row, both of shape (rows, k)."""
    first = np.zeros(codes.shape, dtype=np.bool_)
    for row in range(len(codes)):
        for place in range(codes.shape[1]):
            first[row, place] = counted[row, place]
            for earlier in range(place):
                if counted[row, earlier] and codes[row, earlier] == codes[row, place]:
                    first[row, place] = False
                    break
    return first
