"""What is learnt of products for the sources of candidates, and the same placed on a catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.ranking import Embeddings
from feature_repo.reading import Floats
from feature_repo.shelf import Shelf
from feature_repo.visitors import Visitors
from training.covisits import Covisits
from training.factors import ItemFactors, PlacedFactors
from training.repurchases import Repurchases


@dataclass(frozen=True)
class ItemSpace:
    """What is learnt of products without looking at impressions.

    Attributes:
        factors: ALS factors.
        covisits: what is looked at together.
        copurchases: what is bought together.
        repurchases: after how long products are bought again.
    """

    factors: ItemFactors
    covisits: Covisits
    copurchases: Covisits
    repurchases: Repurchases

    def on(self, shelf: Shelf) -> PlacedSpace:
        """The same by the rows of a shelf."""
        return PlacedSpace(
            self.factors.on(shelf), self.covisits.on(shelf), self.copurchases.on(shelf), self.repurchases.on(shelf)
        )


@dataclass(frozen=True)
class PlacedSpace:
    """An item space on a shelf; ``cycles`` are hours between repeated purchases, shape (len(shelf),), NaN unknown."""

    factors: PlacedFactors
    covisits: Covisits
    copurchases: Covisits
    cycles: Floats

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
