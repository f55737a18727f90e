"""A model on a catalogue, answering: from a visitor and a scenario to a ranked list.

Serving imports this module, so it must not import Feast or implicit: starting a worker should not take long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.filters import Mask
from feature_repo.ranking.features import Embeddings, features, within_lists
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from training.candidates.gathering import Candidates, gather
from training.candidates.repurchases import last_bought, not_due
from training.candidates.segments import Segment
from training.candidates.sources import Situation, Source, likeness, own_products
from training.candidates.space import PlacedSpace
from training.choosing import NO_ROWS, first_places, once
from training.ranking.rankers import Purpose, Rankers
from training.scenarios import RANKING_ALONE, About, Bought, Composition, Ranking
from training.selection import capped, diversified, kinds_of, with_arrivals

# Rows of a shelf to factors of their scores, both of shape (n,).
Weigh = Callable[[Codes], Floats]

# What can be proposed to somebody of whom nothing is known.
_FOR_ANYBODY = (Source.NEW, Source.GIVEN, Source.COUNTRY, Source.DEVICE)
_BY_KIND = {"country": Source.COUNTRY, "device": Source.DEVICE}
# By what it shows which seed a product goes with best, by source: being bought together, being treated alike, being alike; or
# nothing.
_MEASURED_BY = np.full(len(Source), -1)
_MEASURED_BY[Source.BOUGHT_TOGETHER] = 0
_MEASURED_BY[[Source.FOLLOWING, Source.TOGETHER, Source.TASTE, Source.SIMILAR, Source.GIVEN]] = 1
_MEASURED_BY[Source.ALIKE] = 2
# Lines of one order have the same time, up to the rounding of it.
_ORDER_HOURS = 1 / 3600


@dataclass(frozen=True)
class Ranked:
    """Recommended rows of a shelf, in the order to be shown; all arrays but ``among`` have shape (n,).

    ``scores`` tell what ranked them, before diversity moved any. ``anchors`` is the row of the product that explains a
    recommendation, :data:`UNKNOWN` if none does. ``among`` are the rows that were ranked, in no order.
    """

    rows: Codes
    scores: Floats
    sources: NDArray[np.int8]
    anchors: Codes
    among: Codes

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class PlacedRecommender:
    """A model on a shelf: rows of the shelf in, rows of the shelf out. Without a model, it does with what is left.

    Attributes:
        shelf: the catalogue.
        space: what was learnt of products, on this shelf.
        rankers: see :class:`training.model.Recommender`.
    """

    shelf: Shelf
    space: PlacedSpace | None = None
    rankers: Rankers | None = None

    def recommend(
        self,
        visitor: Visitors,
        allowed: Mask,
        k: int,
        candidates: int,
        composition: Composition = RANKING_ALONE,
        context: Codes = NO_ROWS,
        weigh: Weigh | None = None,
        segments: Sequence[Segment] = (),
    ) -> Ranked:
        """The best ``k`` allowed products for one visitor in a scenario.

        Args:
            visitor: one row.
            allowed: which rows of the shelf may be recommended, shape (len(shelf),).
            k: how many; fewer come back only if fewer are allowed or the composition does not fill up.
            candidates: how many are ranked.
            composition: the scenario.
            context: products that the request is about, as rows.
            weigh: factors by which scores are multiplied before the list is made.
            segments: what the visitor is counted among; matters only if nothing else is known of him.
        """
        situation = self._situation(visitor, allowed, composition, context, segments)
        found, scores = self._rank(situation, composition, max(candidates, k))
        if weigh is not None:
            scores = scores * weigh(found.rows)
        order = np.argsort(-scores, kind="stable")
        order = order[self._arranged(found, scores, order, composition, k)]
        rows, sources = found.rows[order], found.sources[order]
        return Ranked(rows, scores[order], sources, self._anchors(situation, rows, sources), found.rows)

    def at(self, shelf: Shelf) -> PlacedRecommender:
        """The same for a later shelf with the same products."""
        return replace(self, shelf=shelf, space=self.space.at(shelf) if self.space else None)

    def knows(self, visitor: Visitors, composition: Composition) -> bool:
        """Whether there is a model, and anything to tell one visitor from others by, or products of a list from each other."""
        if self.rankers is None:
            return False
        return composition.purpose is Purpose.LIST or bool((visitor.items != UNKNOWN).any())

    def waiting(self, visitor: Visitors, composition: Composition) -> Codes:
        """What one visitor has bought and the scenario leaves out until it is due again, as rows."""
        if composition.bought is Bought.KEEP:
            return NO_ROWS
        return not_due(visitor, self.space.cycles if self.space else np.full(len(self.shelf), np.nan))

    def matrix(self, visitor: Visitors, rows: Codes, embeddings: Embeddings, composition: Composition) -> Floats:
        """What the scenario's ranker looks at for one visitor, shape (len(rows), its features)."""
        owner = np.zeros(len(rows), dtype=np.int64)
        matrix = features(visitor, self.shelf.items, rows, rows, owner, embeddings)
        return within_lists(matrix, owner) if composition.purpose is Purpose.LIST else matrix

    def scores(self, matrix: Floats, composition: Composition) -> Floats:
        """What the scenario's ranker makes of rows of features, shape (rows,)."""
        assert self.rankers is not None
        return self.rankers[composition.purpose].scores(matrix)

    def _situation(
        self,
        visitor: Visitors,
        allowed: Mask,
        composition: Composition,
        context: Codes,
        segments: Sequence[Segment],
    ) -> Situation:
        allowed = allowed.copy()
        allowed[self.waiting(visitor, composition)] = False
        for_visitor = composition.about in (About.VISITOR, About.LIST)
        given = once(context) if composition.about is About.LIST else NO_ROWS
        seeds = own_products(visitor) if for_visitor else _seeds(visitor, composition.about, context)
        if not for_visitor:
            allowed[seeds] = False
        if self.space is None or not self.knows(visitor, composition):
            return Situation(self.shelf, visitor, seeds, allowed, given=given, lifts=self._lifts(segments))
        embeddings = self.space.embed(visitor)
        together = embeddings.together if for_visitor else self.space.successors.towards(seeds)
        return Situation(self.shelf, visitor, seeds, allowed, self.space, embeddings, together, given)

    def _rank(self, situation: Situation, composition: Composition, most: int) -> tuple[Candidates, Floats]:
        """Candidates and their scores; equal scores are meant to stay in order."""
        visitor, sources = situation.visitor, composition.sources
        if composition.ranking is Ranking.RANKER and not self.knows(visitor, composition):
            # The ranker has nothing to tell visitors apart by, and popularity answers better.
            shares = {source: share for source, share in sources.items() if source in _FOR_ANYBODY}
            found = self._trending_marked(gather(situation, shares, most, composition.fill))
            return found, situation.popularity()[found.rows]
        found = gather(situation, sources, most, composition.fill)
        if composition.ranking is Ranking.RANKER and len(found):
            assert situation.embeddings is not None
            return found, self.scores(self.matrix(visitor, found.rows, situation.embeddings, composition), composition)
        if composition.ranking is Ranking.SOURCES:
            return found, 1 / np.arange(1, len(found) + 1)
        return found, found.strengths()

    def _lifts(self, segments: Sequence[Segment]) -> dict[Source, Floats]:
        if self.space is None:
            return {}
        lifts = {_BY_KIND[segment.kind]: self.space.segments.lift(segment) for segment in segments}
        return {source: lift for source, lift in lifts.items() if lift is not None}

    def _trending_marked(self, found: Candidates) -> Candidates:
        trending = np.zeros(len(self.shelf), dtype=bool)
        trending[self.shelf.trending] = True
        sources = found.sources.copy()
        sources[(sources == Source.POPULAR) & trending[found.rows]] = Source.TRENDING
        return replace(found, sources=sources)

    def _arranged(
        self, found: Candidates, scores: Floats, by_score: NDArray[np.intp], composition: Composition, k: int
    ) -> NDArray[np.intp]:
        """Which places of ``by_score``, the candidates in order of their scores, make the list."""
        rows = found.rows[by_score]
        order = np.arange(len(rows))
        if composition.diversity and len(rows):
            directions = self.space.factors.directions if self.space else np.zeros((len(self.shelf), 1), np.float32)
            categories = self.shelf.items.category
            order = diversified(scores[by_score], rows, directions, categories, composition.diversity, k)
        if composition.new_every:
            waiting = np.flatnonzero(found.sources[by_score] == Source.NEW)
            # The source itself knows best which of them deserves to be seen first.
            waiting = waiting[np.argsort(by_score[waiting])]
            order = with_arrivals(order, waiting, composition.new_every, k)
        return capped(order, [(kinds_of(self.shelf, rows, cap.by), cap.most) for cap in composition.caps], k)

    def _anchors(self, situation: Situation, rows: Codes, sources: NDArray[np.int8]) -> Codes:
        """For each product that goes with a seed, the seed that it goes with best, if it goes with any."""
        anchors = np.full(len(rows), UNKNOWN, dtype=np.int32)
        seeds = situation.seeds
        if not len(seeds):
            return anchors
        measures = (self._bought_together, self._treated_alike, self._alike)
        of_each = _MEASURED_BY[sources]
        for number, measure in enumerate(measures):
            places = np.flatnonzero(of_each == number)
            if len(places):
                strengths = measure(rows[places], seeds)
                anchors[places] = np.where(strengths.max(axis=1) > 0, seeds[strengths.argmax(axis=1)], UNKNOWN)
        return anchors

    def _bought_together(self, rows: Codes, seeds: Codes) -> Floats:
        assert self.space is not None
        return self.space.copurchases.between(rows, seeds).astype(float)

    def _treated_alike(self, rows: Codes, seeds: Codes) -> Floats:
        if self.space is None:  # only lists to be put in order get here without a model
            return np.zeros((len(rows), len(seeds)))
        directions = self.space.factors.directions
        return (directions[rows] @ directions[seeds].T + self.space.successors.between(rows, seeds)).astype(float)

    def _alike(self, rows: Codes, seeds: Codes) -> Floats:
        return likeness(self.shelf.items, rows, seeds)


def _seeds(visitor: Visitors, about: About, context: Codes) -> Codes:
    """The products that a page, cart or order is about."""
    if len(known := once(context)):
        return known
    if about is About.PAGE:
        return own_products(visitor)[:1]
    if about is About.CART:
        return _in_cart(visitor)
    codes, hours = last_bought(visitor)
    return codes[hours <= np.min(hours, initial=np.inf) + _ORDER_HOURS]


def _in_cart(visitor: Visitors) -> Codes:
    """What one visitor has put into the cart and neither taken out nor ordered since, the latest first."""
    about_cart = np.isin(visitor.actions[0], (Action.ADDED, Action.REMOVED, Action.ORDERED))
    about_cart &= visitor.items[0] != UNKNOWN
    codes, actions = visitor.items[0][about_cart], visitor.actions[0][about_cart]
    first = first_places(codes)
    return codes[first[actions[first] == Action.ADDED]]
