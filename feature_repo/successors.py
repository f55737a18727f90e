"""How strongly products point to each other, read from what customers turn to after each: by the codes of a shelf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from feature_repo.aggregates import NEXT
from feature_repo.reading import Floats
from feature_repo.ties import Codes, Ties

if TYPE_CHECKING:
    from feature_repo.visitors import Visitors

# Shrinks what is known of seldom seen products: so many turns more, to nowhere.
SHRINKAGE = 10.0
# A visitor's latest products count as 1, 1/2, 1/3, ..., up to so many.
LATEST = 20
COLUMNS = tuple(f"{NEXT.name}_{part}" for part in ("at", "items", "weights", "from", "to"))


@dataclass(frozen=True)
class Successors:
    """Both matrices have shape (items, items).

    Attributes:
        following: the share of turns from the row's product that led to the column's.
        together: how much two products are turned to from each other, relative to how often each is: the cosine of
            item-item models, symmetric, in 0..1.
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
        moments = np.array(columns[COLUMNS[0]], dtype=float)
        decay = np.exp2(-np.maximum(np.nan_to_num(at - moments), 0.0) / NEXT.half_life.total_seconds())
        sums = _sums(columns[COLUMNS[1]], columns[COLUMNS[2]], rows, decay)
        away, towards = (np.nan_to_num(np.array(columns[name], dtype=float)) * decay for name in COLUMNS[3:])
        scale = 1 / np.sqrt(away + towards + SHRINKAGE)
        both = sums + sums.T
        return cls(
            csr_matrix(sums.multiply(1 / (away + SHRINKAGE)[:, None])),
            csr_matrix(both.multiply(scale[:, None]).multiply(scale[None, :])),
        )

    def towards(self, seeds: Codes) -> Ties:
        """How much products are turned to together with some, the first of which count most; of visitor 0."""
        return weighted(seeds[None], 1.0 / np.arange(1, len(seeds) + 1)[None], self.together)

    def between(self, items: Codes, others: Codes) -> NDArray[np.float32]:
        """How much pairs are turned to together, shape (items, others)."""
        ties = weighted(items[:, None], np.ones((len(items), 1)), self.together)
        return ties.at(np.arange(len(items))[:, None], others[None, :])


def latest(visitors: Visitors) -> tuple[Floats, Floats, Floats]:
    """Weights of each visitor's latest products: of this visit, of earlier ones, and of all; shape (rows, k) each."""
    counted = (visitors.items >= 0) & (visitors.interest > 0)
    same = (visitors.items[:, :, None] == visitors.items[:, None, :]) & counted[:, None, :]
    first = counted & ~np.tril(same, k=-1).any(axis=2)

    def weights(chosen: NDArray[np.bool_]) -> Floats:
        place = np.cumsum(chosen, axis=1)
        return np.where(chosen & (place <= LATEST), 1 / np.maximum(place, 1), 0.0)

    return weights(first & visitors.in_session), weights(first & ~visitors.in_session), weights(first)


def weighted(items: Codes, weights: NDArray[Any], matrix: csr_matrix) -> Ties:
    """The weighted sum of each visitor's rows of a matrix.

    Args:
        items: product codes, shape (visitors, k).
        weights: of them, likewise; 0 for what does not count.
        matrix: shape (products, products).
    """
    visitors, step = np.nonzero(weights)
    codes = items[visitors, step]
    begins, ends = matrix.indptr[codes], matrix.indptr[codes + 1]
    return Ties.rows(
        visitors, weights[visitors, step], begins, ends - begins, matrix.indices, matrix.data, matrix.shape[1]
    )


def _sums(items: Any, weights: Any, rows: Mapping[str, int], decay: Floats) -> csr_matrix:
    lengths = [0 if names is None else len(names) for names in items]
    names = [name for several in items if several is not None for name in several]
    values = [weight for several in weights if several is not None for weight in several]
    first = np.repeat(np.arange(len(lengths)), lengths)
    second = np.array([rows.get(name, -1) for name in names], dtype=np.int64)
    data = np.array(values, dtype=float) * decay[first]
    known = second >= 0
    size = len(lengths)
    return csr_matrix((data[known], (first[known], second[known])), shape=(size, size))
