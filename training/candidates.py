"""Candidates: which products are worth ranking for a visitor, and which source proposed each."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking import Embeddings
from feature_repo.shelf import UNKNOWN, Codes, Shelf
from feature_repo.visitors import Visitors
from training.space import PlacedSpace

Mask = NDArray[np.bool_]


class Source(IntEnum):
    """What proposed a product; of several, the first in this order."""

    RECENT = 0
    TOGETHER = 1
    TASTE = 2
    SIMILAR = 3
    TRENDING = 4
    POPULAR = 5


# Share of the candidates that each source may fill; popular products fill up what is left.
_SHARES = {
    Source.RECENT: 0.15,
    Source.TOGETHER: 0.4,
    Source.TASTE: 0.3,
    Source.TRENDING: 0.1,
    Source.POPULAR: 1.0,
}


def propose(
    shelf: Shelf, space: PlacedSpace, visitor: Visitors, embeddings: Embeddings, allowed: Mask, most: int
) -> tuple[Codes, NDArray[np.int8]]:
    """Allowed products for one visitor and the source of each, both of shape (n <= most,)."""
    taste = space.factors.vectors @ embeddings.visitors[0]
    together = embeddings.together[0]
    quota = {source: max(1, int(most * share)) for source, share in _SHARES.items()}
    proposals = {
        Source.RECENT: own_products(visitor),
        Source.TOGETHER: best(together, allowed & (together > 0), quota[Source.TOGETHER]),
        Source.TASTE: best(taste, allowed & space.factors.known & taste.any(), quota[Source.TASTE]),
        Source.TRENDING: shelf.trending,
        Source.POPULAR: shelf.popular,
    }
    rows, sources = [], []
    for source, proposed in proposals.items():
        chosen = proposed[allowed[proposed]][: quota[source]]
        rows.append(chosen)
        sources.append(np.full(len(chosen), source, dtype=np.int8))
    every = np.concatenate(rows)
    first = first_places(every)[:most]
    return every[first], np.concatenate(sources)[first]


def own_products(visitor: Visitors) -> Codes:
    """Products of the visitor's sequence that are on the shelf, each once, newest first."""
    codes = visitor.items[0][visitor.items[0] != UNKNOWN]
    return codes[first_places(codes)]


def best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Codes:
    """Allowed rows with the highest scores, best first; of equal scores, the lower row first."""
    among = np.flatnonzero(allowed)
    most = min(most, len(among))
    if not most:
        return np.empty(0, dtype=np.int32)
    # Partitioning takes any of the rows that tie for the last places: so ask it for the score of the last place only.
    last = np.partition(scores[among], len(among) - most)[len(among) - most]
    rows = among[scores[among] >= last]
    return rows[np.lexsort((rows, -scores[rows]))[:most]].astype(np.int32)


def first_places(codes: Codes) -> NDArray[np.intp]:
    """Where each code appears first, ascending."""
    return np.sort(np.unique(codes, return_index=True)[1])
