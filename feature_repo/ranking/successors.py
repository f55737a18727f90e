"""How strongly products point to each other, read from what customers turn to after each: by the codes of a shelf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.aggregates import NEXT
from feature_repo.kernel import kernel
from feature_repo.ranking.ties import Codes, Ties, first_in_rows
from feature_repo.reading import Floats

if TYPE_CHECKING:
    from feature_repo.ranking.visitors import Visitors

# Shrinks what is known of seldom seen products: so many turns more, to nowhere.
SHRINKAGE = 10.0
# A visitor's latest products count as 1, 1/2, 1/3, ..., up to so many.
LATEST = 20
# Popular products of a large catalogue are tied to many thousands; so many of the closest say what there is to say, and keep
# what a request costs from growing with the catalogue.
MOST_TIES = 500
COLUMNS = tuple(f"{NEXT.name}_{part}" for part in ("at", "items", "weights", "from", "to"))
# Where nothing else changed, weights are decayed anew after so long: in a minute, a month's half-life takes 0.002% of them.
_DECAY_SECONDS = 60.0


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
        return SuccessorTable.from_columns(columns, rows).at(at)

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
                of_session[visitor, step] = _weight(now)
            else:
                before += 1
                of_earlier[visitor, step] = _weight(before)
            of_all[visitor, step] = _weight(now + before)
    return of_session, of_earlier, of_all


@kernel
def _weight(place: int) -> float:
    return 1 / place if place <= LATEST else 0.0


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
    """What is stored of each product's successors, changed product by product; used by one thread.

    Attributes:
        codes: the successors' codes, each once, -1 for padding and for unknown products, shape (items, keep).
        weights: of each, as of ``moments``, likewise; 0 for padding.
        moments: epoch seconds, NaN where nothing is known, shape (items,).
        away, towards: sums of all turns from and to each product as of its moment, shape (items,).
    """

    codes: Codes
    weights: NDArray[np.float32]
    moments: Floats
    away: Floats
    towards: Floats
    _made: tuple[float, Successors] | None = field(default=None, init=False, repr=False)

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

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], codes: Mapping[str, int]) -> SuccessorTable:
        """From stored columns (:data:`COLUMNS`) of its products; ``codes`` are those of all products."""
        moments, items, weights, away, towards = (columns[name] for name in COLUMNS)
        table = cls.empty(len(moments))
        table.moments[:] = np.array(moments, dtype=float)
        table.away[:] = np.nan_to_num(np.array(away, dtype=float))
        table.towards[:] = np.nan_to_num(np.array(towards, dtype=float))
        for row, (names, strengths) in enumerate(zip(items, weights, strict=True)):
            if names is not None:
                table.codes[row, : len(names)] = [codes.get(name, -1) for name in names]
                table.weights[row, : len(names)] = strengths
        return table

    def put(self, rows: Sequence[int], columns: Mapping[str, Any], codes: Mapping[str, int]) -> None:
        """Replace what is stored of some products by columns (:data:`COLUMNS`) that are parallel to ``rows``."""
        chosen = np.array(rows, dtype=np.intp)
        given = SuccessorTable.from_columns(columns, codes)
        for stored, news in zip(self._arrays(), given._arrays(), strict=True):
            if not np.array_equal(stored[chosen], news, equal_nan=True):
                stored[chosen] = news
                self._made = None

    def of(self, came_from: Codes, went_to: Codes) -> SuccessorTable:
        """The same for other products.

        Args:
            came_from: the row here of each product there, -1 for none.
            went_to: the row there of each product here, -1 for none.
        """
        other, kept = SuccessorTable.empty(len(came_from)), np.flatnonzero(came_from >= 0)
        rows = came_from[kept]
        for theirs, mine in zip(other._arrays(), self._arrays(), strict=True):
            theirs[kept] = mine[rows]
        other.codes[kept] = np.where(self.codes[rows] >= 0, np.append(went_to, -1)[self.codes[rows]], -1)
        return other

    def at(self, at: float) -> Successors:
        """Decayed to a moment, epoch seconds; or what was made for a moment shortly before, if nothing else changed since."""
        if self._made is None or not 0 <= at - self._made[0] < _DECAY_SECONDS:
            self._made = at, self._decayed(at)
        return self._made[1]

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self.codes, self.weights, self.moments, self.away, self.towards

    def _decayed(self, at: float) -> Successors:
        decay = np.exp2(-np.maximum(np.nan_to_num(at - self.moments), 0.0) / NEXT.half_life.total_seconds())
        size, most = self.codes.shape
        weights = (self.weights * decay[:, None]).astype(np.float32)
        begins = np.arange(0, size * most + 1, most, dtype=np.int32)
        backwards = _transposed(begins, self.codes.ravel(), weights.ravel(), size)
        forwards = _transposed(*backwards, size)  # to and fro, it is in order: much faster than to sort it
        away, towards = self.away * decay, self.towards * decay
        together = _together(*forwards, *backwards, 1 / np.sqrt(away + towards + SHRINKAGE), MOST_TIES)
        begins, codes, turns = forwards
        shares = turns * np.repeat(1 / (away + SHRINKAGE), np.diff(begins)).astype(np.float32)
        return Successors(_matrix(begins, codes, shares), _matrix(*together))


def _matrix(begins: Codes, codes: Codes, values: NDArray[np.float32]) -> csr_matrix:
    size = len(begins) - 1
    return csr_matrix((values, codes, begins), shape=(size, size))


@kernel(in_background=True)
def _transposed(
    begins: Codes, codes: Codes, values: NDArray[np.float32], size: int
) -> tuple[Codes, Codes, NDArray[np.float32]]:
    """The transpose of a sparse matrix without its padding (codes below 0), with each row's entries in order of their columns."""
    ends = np.zeros(size + 1, dtype=np.int32)
    for code in codes:
        if code >= 0:
            ends[code + 1] += 1
    for row in range(size):
        ends[row + 1] += ends[row]
    places, rows, moved = ends[:-1].copy(), np.empty(ends[-1], dtype=np.int32), np.empty(ends[-1], dtype=np.float32)
    for row in range(len(begins) - 1):
        for place in range(begins[row], begins[row + 1]):
            code = codes[place]
            if code >= 0:
                rows[places[code]], moved[places[code]] = row, values[place]
                places[code] += 1
    return ends, rows, moved


@kernel(in_background=True)
def _together(
    begins: Codes,
    codes: Codes,
    values: NDArray[np.float32],
    other_begins: Codes,
    other_codes: Codes,
    other_values: NDArray[np.float32],
    scale: Floats,
    most: int,
) -> tuple[Codes, Codes, NDArray[np.float32]]:
    """The sum of two sparse matrices, both in order, times the scales of row and column; of each row, the ``most`` largest."""
    size, room = len(begins) - 1, len(codes) + len(other_codes)
    ends = np.zeros(size + 1, dtype=np.int32)
    found, sums = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.float32)
    for row in range(size):
        first = end = ends[row]
        one, other = begins[row], other_begins[row]
        while one < begins[row + 1] or other < other_begins[row + 1]:
            code = codes[one] if one < begins[row + 1] else size
            other_code = other_codes[other] if other < other_begins[row + 1] else size
            found[end], total = min(code, other_code), 0.0
            if code <= other_code:
                total += values[one]
                one += 1
            if other_code <= code:
                total += other_values[other]
                other += 1
            sums[end] = total * scale[row] * scale[found[end]]
            end += 1
        if end - first > most:
            least = np.partition(sums[first:end], end - first - most)[end - first - most]
            spare = most - np.sum(sums[first:end] > least)  # places for those that are equal to the least
            place = first
            for candidate in range(first, end):
                equal = sums[candidate] == least
                if sums[candidate] > least or (equal and spare > 0):
                    found[place], sums[place] = found[candidate], sums[candidate]
                    place += 1
                    spare -= equal
            end = place
        ends[row + 1] = end
    return ends, found[: ends[-1]].copy(), sums[: ends[-1]].copy()
