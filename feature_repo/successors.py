"""How strongly products point to each other, read from what customers turn to after each: by the codes of a shelf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.aggregates import NEXT
from feature_repo.kernel import kernel
from feature_repo.reading import Floats
from feature_repo.ties import Codes, Ties, first_in_rows

if TYPE_CHECKING:
    from feature_repo.visitors import Visitors

# Shrinks what is known of seldom seen products: so many turns more, to nowhere.
SHRINKAGE = 10.0
# A visitor's latest products count as 1, 1/2, 1/3, ..., up to so many.
LATEST = 20
# Popular products of a large catalogue are tied to many thousands; so many of the closest say what there is to say, and keep
# what a request costs from growing with the catalogue.
MOST_TIES = 500
COLUMNS = tuple(f"{NEXT.name}_{part}" for part in ("at", "items", "weights", "from", "to"))


@dataclass(frozen=True)
class Successors:
    """Both matrices have shape (items, items).

    Attributes:
        following: the share of turns from the row's product that led to the column's.
        together: how much two products are turned to from each other, relative to how often each is: the cosine of
            item-item models, in 0..1. Of a product's, the :data:`MOST_TIES` largest.
    """

    following: csr_matrix
    together: csr_matrix

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], rows: Mapping[str, int], at: float) -> Successors:
        """From stored columns of all products as of ``at``, epoch seconds.

        Args:
            columns: :data:`COLUMNS`, parallel to the rows; missing values mean that nothing is known.
            rows: place of each product; successors that are not among them fall out.
            at: what weights are decayed to.
        """
        table = SuccessorTable.empty(len(columns[COLUMNS[0]]))
        table.put(range(len(columns[COLUMNS[0]])), columns, rows)
        return table.at(at)

    def towards(self, seeds: Codes) -> Ties:
        """How much products are turned to together with some, the first of which count most; of visitor 0."""
        return weighted(seeds[None], 1.0 / np.arange(1, len(seeds) + 1)[None], self.together)

    def between(self, items: Codes, others: Codes) -> NDArray[np.float32]:
        """How much pairs are turned to together, shape (items, others)."""
        matrix = self.together
        return _between(items, others, matrix.indptr, matrix.indices, matrix.data)


@kernel
def _between(
    items: Codes, others: Codes, begins: NDArray[np.integer], codes: Codes, strengths: NDArray[np.float32]
) -> NDArray[np.float32]:
    found = np.zeros((len(items), len(others)), dtype=np.float32)
    for item in range(len(items)):
        first, last = begins[items[item]], begins[items[item] + 1]
        for other in range(len(others)):
            place = first + np.searchsorted(codes[first:last], others[other])
            if place < last and codes[place] == others[other]:
                found[item, other] = strengths[place]
    return found


def latest(visitors: Visitors) -> tuple[Floats, Floats, Floats]:
    """Weights of each visitor's latest products: of this visit, of earlier ones, and of all; shape (rows, k) each."""
    return _latest(visitors.items, visitors.interest, visitors.in_session)


@kernel
def _latest(items: Codes, interest: Floats, in_session: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    first = first_in_rows(items, (items >= 0) & (interest > 0))
    of_session, of_earlier, of_all = np.zeros(items.shape), np.zeros(items.shape), np.zeros(items.shape)
    for visitor in range(len(items)):
        now = before = 0
        for step in range(items.shape[1]):
            if not first[visitor, step]:
                continue
            if in_session[visitor, step]:
                now += 1
                of_session[visitor, step] = 1 / now if now <= LATEST else 0.0
            else:
                before += 1
                of_earlier[visitor, step] = 1 / before if before <= LATEST else 0.0
            of_all[visitor, step] = 1 / (now + before) if now + before <= LATEST else 0.0
    return of_session, of_earlier, of_all


def weighted(items: Codes, weights: NDArray[Any], matrix: csr_matrix) -> Ties:
    """The weighted sum of each visitor's rows of a matrix.

    Args:
        items: product codes, shape (visitors, k).
        weights: of them, likewise; 0 for what does not count.
        matrix: shape (products, products).
    """
    return Ties.weighted(items, weights, matrix.indptr, matrix.indices, matrix.data)


@dataclass
class SuccessorTable:
    """What is stored of each product's successors, changed product by product.

    Attributes:
        codes: the successors' codes, -1 for padding and for unknown products, shape (items, keep).
        weights: of each, as of ``moments``, likewise.
        moments: epoch seconds, NaN where nothing is known, shape (items,).
        away, towards: sums of all turns from and to each product as of its moment, shape (items,).
    """

    codes: Codes
    weights: NDArray[np.float32]
    moments: Floats
    away: Floats
    towards: Floats

    @classmethod
    def empty(cls, size: int) -> SuccessorTable:
        """Nothing known of any."""
        shape = (size, NEXT.keep)
        return cls(
            np.full(shape, -1, dtype=np.int32),
            np.zeros(shape, dtype=np.float32),
            np.full(size, np.nan),
            np.zeros(size),
            np.zeros(size),
        )

    def put(self, rows: Sequence[int], columns: Mapping[str, Any], codes: Mapping[str, int]) -> None:
        """Replace what is stored of some products by columns (:data:`COLUMNS`) that are parallel to ``rows``."""
        chosen = np.array(rows, dtype=np.intp)
        moments, items, weights, away, towards = (columns[name] for name in COLUMNS)
        self.moments[chosen] = np.array(moments, dtype=float)
        self.away[chosen] = np.nan_to_num(np.array(away, dtype=float))
        self.towards[chosen] = np.nan_to_num(np.array(towards, dtype=float))
        self.codes[chosen] = -1
        for row, names, strengths in zip(rows, items, weights, strict=True):
            if names is not None:
                self.codes[row, : len(names)] = [codes.get(name, -1) for name in names]
                self.weights[row, : len(names)] = strengths

    def of(self, came_from: Codes, went_to: Codes) -> SuccessorTable:
        """The same for other products.

        Args:
            came_from: the row here of each product there, -1 for none.
            went_to: the row there of each product here, -1 for none.
        """
        other, kept = SuccessorTable.empty(len(came_from)), np.flatnonzero(came_from >= 0)
        rows = came_from[kept]
        other.codes[kept] = np.where(self.codes[rows] >= 0, np.append(went_to, -1)[self.codes[rows]], -1)
        for name in ("weights", "moments", "away", "towards"):
            getattr(other, name)[kept] = getattr(self, name)[rows]
        return other

    def at(self, at: float) -> Successors:
        """Decayed to a moment, epoch seconds."""
        decay = np.exp2(-np.maximum(np.nan_to_num(at - self.moments), 0.0) / NEXT.half_life.total_seconds())
        size, most = self.codes.shape
        # Padding has a column of its own, and goes with it: to pick out the rest would hold up other threads.
        columns = np.where(self.codes >= 0, self.codes, size).ravel()
        begins = np.arange(0, columns.size + 1, most)
        given = csr_matrix(((self.weights * decay[:, None]).ravel(), columns, begins), shape=(size, size + 1))
        backwards = _transposed(given)[:size]
        sums = _transposed(backwards)  # to and fro, it is in order: much faster than to sort it
        away, towards = self.away * decay, self.towards * decay
        scale = 1 / np.sqrt(away + towards + SHRINKAGE)
        both = sums + backwards
        _scale_rows(both, scale)
        both.data *= scale[both.indices]
        _scale_rows(sums, 1 / (away + SHRINKAGE))
        return Successors(sums, _largest(both, MOST_TIES))


def _transposed(matrix: csr_matrix) -> csr_matrix:
    """The transpose, with each row's entries in order of their columns."""
    by_column = matrix.tocsc()
    return csr_matrix((by_column.data, by_column.indices, by_column.indptr), shape=matrix.shape[::-1])


def _scale_rows(matrix: csr_matrix, factors: Floats) -> None:
    matrix.data *= np.repeat(factors, np.diff(matrix.indptr))


def _largest(matrix: csr_matrix, most: int) -> csr_matrix:
    """Of each row, the ``most`` largest values."""
    begins, surplus = matrix.indptr, np.diff(matrix.indptr) - most
    kept = np.ones(matrix.nnz, dtype=bool)
    for row in np.flatnonzero(surplus > 0):
        smallest = np.argpartition(matrix.data[begins[row] : begins[row + 1]], surplus[row])[: surplus[row]]
        kept[begins[row] + smallest] = False
    if kept.all():
        return matrix
    ends = np.concatenate([[0], np.cumsum(kept)])[begins]
    return csr_matrix((matrix.data[kept], matrix.indices[kept], ends), shape=matrix.shape)
