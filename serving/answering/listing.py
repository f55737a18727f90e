"""What an answer lists: from ranked rows to items with their reasons, and what the answer rests on."""

from __future__ import annotations

import numpy as np

from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from serving.answering.answers import Cause, ExplainedItem, Item, Missing, Result
from serving.answering.fatigue import fatigue
from serving.answering.question import NO_FILTERS
from serving.answering.reasons import Reasons
from serving.data.customers import CustomerFeatures
from serving.data.state import State
from serving.rules.placed import RulesInForce
from serving.web.requests import RecommendRequest
from training.candidates.sources import Source
from training.recommending import PlacedRecommender, Ranked
from training.scenarios import About, Composition, Need, Ranking

# By value, with the names that clients see; to ask the enumeration for each product takes longer than all else about it.
_SOURCES = {source.value: (source, source.name.lower()) for source in Source}


class Weights:
    """What scores are multiplied by for one request; false if by nothing."""

    def __init__(self, rules: RulesInForce, visitor: Visitors) -> None:
        self._rules = rules
        self._visitor = visitor

    def __bool__(self) -> bool:
        return bool(self._rules.boosts) or bool((self._visitor.shown != UNKNOWN).any())

    def of(self, rows: Codes) -> Floats:
        """The factor of each row."""
        return self.boost(rows) * self.fatigue(rows)

    def boost(self, rows: Codes) -> Floats:
        """By the shop's rules."""
        return self._rules.boost(rows)

    def fatigue(self, rows: Codes) -> Floats:
        """By what the customer was shown in vain."""
        return fatigue(rows, self._visitor)


def items_of(shelf: Shelf, ranked: Ranked, reasons: Reasons) -> list[Item]:
    """What is shown, with the words for it."""
    # A stored infinity must not become JSON that no client can read.
    scores = np.where(np.isfinite(ranked.scores), ranked.scores, 0.0).round(6).tolist()
    rows, anchors = ranked.rows.tolist(), ranked.anchors.tolist()
    sources = [_SOURCES[source] for source in ranked.sources.tolist()]
    return [
        Item(shelf.ids[row], score, name, reasons.of(source, row, anchor))
        for row, score, (source, name), anchor in zip(rows, scores, sources, anchors, strict=True)
    ]


def fallback_of(
    placed: PlacedRecommender,
    visitor: Visitors,
    composition: Composition,
    customer: CustomerFeatures | None,
    ranked: Ranked,
) -> str | None:
    """What the answer rests on instead of what was asked for; see :class:`serving.web.requests.Answer`."""
    ranker = composition.ranking is Ranking.RANKER
    if not (placed.knows(visitor, composition) if ranker else (ranked.sources != Source.POPULAR).any()):
        return "popular"
    return "session" if customer is None and (ranker or Need.CUSTOMER in composition.needs) else None


def explained(items: list[Item], causes: list[list[Cause]], ranked: Ranked, weights: Weights) -> list[Item]:
    """The items with what moved their scores: what the ranker or the sources say, and the shop's rules and fatigue."""
    for name, factors in (("boost", weights.boost(ranked.rows)), ("fatigue", weights.fatigue(ranked.rows))):
        for item, why, factor in zip(items, causes, factors.tolist(), strict=True):
            if factor != 1:
                why.append(Cause(name, round(factor, 6), round(item.score - item.score / factor, 6), None))
    return [ExplainedItem(**vars(item), why=why) for item, why in zip(items, causes, strict=True)]


def without_catalogue(state: State, request: RecommendRequest, composition: Composition) -> Result:
    """What was popular when the model was trained, unless it is asked what only the catalogue could tell."""
    degraded = () if state.model else (Missing.MODEL,)
    filtered = request.filters != NO_FILTERS or composition.filters != NO_FILTERS or state.book.exclusions
    fills = composition.fill and composition.about is not About.LIST
    if state.placed is not None or state.model is None or filtered or not fills:
        return Result([], state.version, "empty", degraded)
    unwanted = {*request.exclude, *request.context_items}
    ids = [product_id for product_id in state.model.popular if product_id not in unwanted][: request.k]
    source = Source.POPULAR.name.lower()
    items = [Item(product_id, 1 / (place + 1), source, Reasons.POPULAR) for place, product_id in enumerate(ids)]
    return Result(items, state.version, "popular" if items else "empty")
