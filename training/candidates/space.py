"""What is known of products for the sources of candidates: learnt by training, or by the stream as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from feature_repo.ranking.features import Embeddings
from feature_repo.ranking.shelf import Shelf
from feature_repo.ranking.successors import Successors, latest, weighted
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.candidates.factors import ItemFactors, PlacedFactors
from training.candidates.neighbours import Neighbours
from training.candidates.repurchases import Repurchases
from training.candidates.segments import PlacedSegments, Segments


@dataclass(frozen=True)
class ItemSpace:
    """What training learns of products without looking at impressions.

    Attributes:
        factors: ALS factors.
        copurchases: what is bought together.
        repurchases: after how long products are bought again.
        segments: what is liked more in a country, or on a kind of device.
    """

    factors: ItemFactors
    copurchases: Neighbours
    repurchases: Repurchases
    segments: Segments

    def on(self, shelf: Shelf) -> PlacedSpace:
        """The same by the rows of a shelf, with what the shelf brings along."""
        return PlacedSpace(
            self.factors.on(shelf),
            self.copurchases.on(shelf),
            self.repurchases.on(shelf),
            self.segments.on(shelf),
            shelf.successors,
        )


@dataclass(frozen=True)
class PlacedSpace:
    """What is known on a shelf.

    Attributes:
        factors, copurchases, segments: of the model.
        cycles: hours between repeated purchases, shape (len(shelf),), NaN unknown.
        successors: what customers turn to after each product, from the shelf.
    """

    factors: PlacedFactors
    copurchases: Neighbours
    cycles: Floats
    segments: PlacedSegments
    successors: Successors

    def at(self, shelf: Shelf) -> PlacedSpace:
        """The same for a later or earlier shelf with the same products."""
        return replace(self, successors=shelf.successors)

    def embed(self, visitors: Visitors) -> Embeddings:
        """Where visitors are, from their recent interactions alone."""
        factors, successors = self.factors, self.successors
        of_session, of_earlier, of_all = latest(visitors)
        return Embeddings(
            directions=factors.directions,
            lengths=factors.lengths,
            visitors=factors.fold_in(visitors.items, visitors.interest),
            last=factors.last(visitors),
            session=factors.session(visitors),
            following_last=weighted(visitors.items, of_session == 1, successors.following),
            following_session=weighted(visitors.items, of_session, successors.following),
            following_earlier=weighted(visitors.items, of_earlier, successors.following),
            together=weighted(visitors.items, of_all, successors.together),
        )


@dataclass(frozen=True)
class Spaces:
    """Item spaces along time. Each has seen nothing from its start on, and is the one in use until that of the next.

    Attributes:
        starts: ascending, epoch seconds, shape (n,).
        spaces: all on shelves with the same products.
    """

    starts: Floats
    spaces: tuple[PlacedSpace, ...]

    @classmethod
    def only(cls, space: PlacedSpace) -> Spaces:
        """One for all times."""
        return cls(np.array([-np.inf]), (space,))

    def parts(self, moments: Floats) -> Iterator[tuple[PlacedSpace, slice]]:
        """Ascending moments, from the first start on, in parts: each with the space in use."""
        bounds = [0, *np.searchsorted(moments, self.starts[1:]).tolist(), len(moments)]
        for space, (first, last) in zip(self.spaces, pairwise(bounds), strict=True):
            yield space, slice(first, last)
