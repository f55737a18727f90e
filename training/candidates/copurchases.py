"""Which products are bought together: the association that fits carts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from feature_repo.aggregates import Action
from training.candidates.neighbours import Neighbours

if TYPE_CHECKING:
    from training.data.events import Interactions

_TAKEN = (Action.ADDED, Action.ORDERED)


def fit_copurchases(interactions: Interactions, ids: tuple[str, ...], before: float) -> Neighbours:
    """Neighbours by what was put into a cart or ordered in the same visit, before a moment (epoch seconds).

    A pair counts once per visit. In a basket of n products it counts 1 / (n - 1), so that each product has one companion
    to give away in each basket and large orders do not drown the others (Newman, "Scientific collaboration networks. II",
    Physical Review E 64, 2001).
    """
    baskets = _baskets(interactions.before(before), len(ids))
    sizes = np.diff(baskets.indptr)
    weights = np.where(sizes > 1, 1 / np.maximum(sizes - 1, 1), 0.0)
    pairs = (baskets.T @ baskets.multiply(weights[:, None])).tocoo()
    others = pairs.row != pairs.col
    cells = (pairs.row[others], pairs.col[others])
    return Neighbours.of_pairs(csr_matrix((pairs.data[others], cells), shape=pairs.shape), ids)


def _baskets(past: Interactions, items: int) -> csr_matrix:
    """Visits x items: 1 for each product that was taken in a visit."""
    taken = past.part(np.flatnonzero(np.isin(past.actions, _TAKEN)))
    taken, visits = taken.visits()
    shape = (int(visits.max(initial=-1)) + 1, items)
    baskets = csr_matrix((np.ones(len(taken)), (visits, taken.items)), shape=shape)
    baskets.sum_duplicates()
    baskets.data[:] = 1.0
    return baskets
