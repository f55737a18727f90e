"""How strongly visitors are tied to products: to a few hundred of them, however many there are.

Only those are held and looked at, so that a request costs the same in a large catalogue as in a small one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int32]


# Where there are fewer places than so many times the pairs, it is faster to look at all of them than to sort the pairs.
_FEW_TIMES = 10


@dataclass(frozen=True)
class Ties:
    """Strengths of some pairs of visitors and products; 0 for all others.

    Attributes:
        products: how many products there are.
        pairs: ``visitor * products + product``, ascending, each once, shape (n,).
        strengths: above 0, shape (n,).
    """

    products: int
    pairs: NDArray[np.int64]
    strengths: NDArray[np.float32]

    @classmethod
    def summed(
        cls, products: int, visitors: NDArray[np.integer], codes: Codes, strengths: NDArray[np.floating]
    ) -> Ties:
        """From pairs in any order, equal ones adding up; all of shape (m,), not negative."""
        given = visitors * np.int64(products) + codes
        span = int(given.max(initial=-1)) + 1
        if span <= _FEW_TIMES * len(given):
            sums = np.bincount(given, strengths, minlength=span)
            pairs = np.flatnonzero(sums)
            return cls(products, pairs, sums[pairs].astype(np.float32))
        pairs = np.sort(given)  # much faster than any order of them
        pairs = pairs[first_of_runs(pairs)]
        sums = np.bincount(np.searchsorted(pairs, given), strengths, minlength=len(pairs))
        return cls(products, pairs[sums > 0], sums[sums > 0].astype(np.float32))

    @classmethod
    def rows(
        cls,
        visitors: NDArray[np.integer],
        weights: NDArray[np.floating],
        begins: NDArray[np.integer],
        lengths: NDArray[np.integer],
        codes: Codes,
        strengths: NDArray[np.floating],
        products: int,
    ) -> Ties:
        """The weighted sum of rows of a sparse matrix for each visitor.

        Args:
            visitors, weights: of each row that counts, shape (rows,).
            begins, lengths: where each row stands in ``codes`` and ``strengths``, shape (rows,).
            codes, strengths: columns and values of the whole matrix.
            products: number of its columns.
        """
        # By hand: for the few rows of one request, scipy takes many times as long to make matrices as to multiply them.
        places = _places(begins, lengths)
        values = np.repeat(weights, lengths) * strengths[places]
        return cls.summed(products, np.repeat(visitors, lengths), codes[places], values)

    @classmethod
    def one_row_each(
        cls,
        begins: NDArray[np.integer],
        lengths: NDArray[np.integer],
        codes: Codes,
        strengths: NDArray[np.floating],
        products: int,
    ) -> Ties:
        """Of as many visitors as there are rows, each tied as one row of a sparse matrix says: see :meth:`rows`.

        Args:
            codes: ascending within each row.
        """
        places = _places(begins, lengths)
        pairs = np.repeat(np.arange(len(lengths)) * np.int64(products), lengths) + codes[places]
        return cls(products, pairs, strengths[places].astype(np.float32))

    def at(self, visitors: NDArray[np.integer], codes: Codes) -> NDArray[np.float32]:
        """The strengths of pairs; the two broadcast."""
        asked = visitors * np.int64(self.products) + codes
        if not len(self.pairs):
            return np.zeros(asked.shape, dtype=np.float32)
        places = np.minimum(np.searchsorted(self.pairs, asked), len(self.pairs) - 1)
        return np.where(self.pairs[places] == asked, self.strengths[places], np.float32(0))

    def of(self, visitor: int) -> tuple[Codes, NDArray[np.float32]]:
        """The products that one visitor is tied to, ascending, and how strongly."""
        first, last = np.searchsorted(self.pairs, [visitor * self.products, (visitor + 1) * self.products])
        codes = (self.pairs[first:last] - visitor * self.products).astype(np.int32)
        return codes, self.strengths[first:last]


def _places(begins: NDArray[np.integer], lengths: NDArray[np.integer]) -> NDArray[np.integer]:
    """The places of rows, one after the other."""
    return np.arange(lengths.sum()) + np.repeat(begins - np.cumsum(lengths) + lengths, lengths)


def first_in_rows(codes: Codes, counted: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the counted codes are the first of their kind in their row, both of shape (rows, k)."""
    repeats = (codes[:, :, None] == codes[:, None, :]) & counted[:, None, :] & _earlier(codes.shape[1])
    return counted & ~repeats.any(axis=2)


@cache
def _earlier(k: int) -> NDArray[np.bool_]:
    """Which of k places stand before which, shape (k, k)."""
    return np.tri(k, k=-1, dtype=bool)


def first_of_runs(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Places at which a value differs from the one before it, the first place included."""
    changes = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return np.flatnonzero(changes)
