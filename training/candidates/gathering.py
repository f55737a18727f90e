"""Candidates: which products are worth ranking for a visitor, and which source proposed each.

Every source looks at the same :class:`training.candidates.sources.Situation` at the moment of the request; how many products
each may propose is what a scenario declares (:mod:`training.scenarios`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.filters import Mask
from feature_repo.ranking.features import Embeddings
from feature_repo.ranking.shelf import Codes, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.candidates.sources import PROPOSE, Proposal, Situation, Source, own_products
from training.candidates.space import PlacedSpace
from training.choosing import NO_ROWS, first_places

# The share of the candidates that each source may fill on the home page, in order of precedence. The ranker learns from
# candidates that are proposed in this way.
HOME_SHARES: Mapping[Source, float] = {
    Source.BOUGHT: 0.05,
    Source.RECENT: 0.15,
    Source.FOLLOWING: 0.25,
    Source.TOGETHER: 0.25,
    Source.BOUGHT_TOGETHER: 0.05,
    Source.TASTE: 0.2,
    Source.NEW: 0.05,
    Source.TRENDING: 0.05,
    Source.SHOWN: 0.2,
    Source.SEGMENT: 0.05,
    Source.COUNTRY: 0.2,
    Source.DEVICE: 0.1,
}
# What popular products that fill a list up weigh beside those that a source proposed.
FILL_WEIGHT = 0.001


@dataclass(frozen=True)
class Candidates:
    """Proposed products, each once; arrays of shape (n,).

    Attributes:
        rows: of the shelf.
        sources: the first that proposed each.
        proposals: all that each source proposed, with the weight of the source.
    """

    rows: Codes
    sources: NDArray[np.int8]
    proposals: tuple[tuple[float, Proposal], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def strengths(self) -> Floats:
        """The sum over the sources of weight times score, of each product."""
        if not len(self.rows):
            return np.empty(0)
        codes = np.concatenate([codes for _, (codes, _) in self.proposals])
        weighted = np.concatenate([weight * scores for weight, (_, scores) in self.proposals])
        return np.bincount(codes, weighted)[self.rows].astype(float)


def gather(situation: Situation, shares: Mapping[Source, float], most: int, fill: bool) -> Candidates:
    """At most ``most`` allowed products: each source's best up to its share, then popular ones if to ``fill``."""
    quotas = [(source, share, max(1, int(most * share))) for source, share in shares.items()]
    if fill:
        quotas.append((Source.POPULAR, FILL_WEIGHT, most))
    proposals = tuple((weight, PROPOSE[source](situation, quota)) for source, weight, quota in quotas)
    every = [codes for _, (codes, _) in proposals]
    rows = np.concatenate([NO_ROWS, *every])
    sources = np.repeat(np.array([source for source, *_ in quotas], dtype=np.int8), [len(codes) for codes in every])
    first = first_places(rows)[:most]
    return Candidates(rows[first], sources[first], proposals)


def propose(
    shelf: Shelf, space: PlacedSpace, visitor: Visitors, embeddings: Embeddings, allowed: Mask, most: int
) -> tuple[Codes, NDArray[np.int8]]:
    """What the home page would rank for one visitor, and the source of each, both of shape (n <= most,)."""
    situation = Situation(shelf, visitor, own_products(visitor), allowed, space, embeddings, embeddings.together)
    found = gather(situation, HOME_SHARES, most, fill=True)
    return found.rows, found.sources
