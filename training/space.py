"""Where products and visitors lie for the sources of candidates: ALS factors and co-visits, placed on a catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.ranking import Embeddings
from feature_repo.shelf import Shelf
from feature_repo.visitors import Visitors
from training.covisits import Covisits
from training.factors import ItemFactors, PlacedFactors


@dataclass(frozen=True)
class ItemSpace:
    """What is learnt of products without looking at impressions."""

    factors: ItemFactors
    covisits: Covisits

    def on(self, shelf: Shelf) -> PlacedSpace:
        """The same by the rows of a shelf."""
        return PlacedSpace(self.factors.on(shelf), self.covisits.on(shelf))


@dataclass(frozen=True)
class PlacedSpace:
    """An item space on a shelf."""

    factors: PlacedFactors
    covisits: Covisits

    def embed(self, visitors: Visitors) -> Embeddings:
        """Where visitors are, from their recent interactions alone."""
        return Embeddings(
            items=self.factors.vectors,
            directions=self.factors.directions,
            visitors=self.factors.fold_in(visitors.items, visitors.interest),
            last=self.factors.last(visitors),
            session=self.factors.session(visitors),
            together=self.covisits.scores(visitors.items),
        )
