"""Answers: from a parsed request and a customer's features to recommended products, on the state in memory."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import numpy as np

from feature_repo.aggregates import RECENT, Action, Entity, decayed_sums
from feature_repo.shelf import UNKNOWN, Codes, Shelf
from feature_repo.visitors import DEVICES, Visitors
from serving.customers import CustomerFeatures
from serving.reasons import Reasons
from serving.requests import Filters, RecommendRequest, Scenario
from training.candidates import Mask, Source
from training.model import PlacedRecommender, Ranked, Recommender, popular, trending

_NOTHING = {
    "last_event_at": [None],
    **{aggregate.name: [None] for aggregate in decayed_sums(Entity.CUSTOMER)},
    **{f"{RECENT.name}_{suffix}": [None] for suffix in ("items", "actions", "times")},
}


@dataclass(frozen=True)
class Item:
    """One recommended product."""

    product_id: str
    score: float
    source: str
    reason: str


@dataclass(frozen=True)
class Result:
    """Recommended products and what they rest on; see :class:`serving.requests.Answer` for ``fallback``."""

    items: list[Item]
    model_version: str | None
    fallback: str | None


@dataclass(frozen=True)
class State:
    """What requests are answered from; replaced as a whole, so that a request sees one state from start to end."""

    shelf: Shelf | None = None
    model: Recommender | None = None
    version: str | None = None
    placed: PlacedRecommender | None = None


class Engine:
    """Holds the newest catalogue and model, and answers from them.

    Args:
        candidates: how many products the ranker looks at per request.
    """

    def __init__(self, candidates: int) -> None:
        self.state = State()
        self._candidates = candidates
        self._lock = threading.Lock()

    def use_shelf(self, shelf: Shelf) -> None:
        """Answer from this catalogue from now on; called from any thread."""
        with self._lock:
            old = self.state
            if old.placed and old.shelf and old.shelf.ids == shelf.ids:
                placed: PlacedRecommender | None = replace(old.placed, shelf=shelf)
            else:
                placed = old.model.on(shelf) if old.model else None
            self.state = replace(old, shelf=shelf, placed=placed)

    def use_model(self, model: Recommender, version: str) -> None:
        """Answer with this model from now on; called from any thread."""
        with self._lock:
            shelf = self.state.shelf
            self.state = State(shelf, model, version, model.on(shelf) if shelf else None)

    def recommend(self, request: RecommendRequest, customer: CustomerFeatures | None) -> Result:
        """Recommendations for a customer, of whom perhaps nothing is known."""
        state = self.state
        if not state.shelf or not len(state.shelf):
            return self._without_catalogue(state, request)
        shelf = state.shelf
        device = np.array([np.nan if request.device is None else DEVICES.index(request.device)])
        columns = customer.columns if customer else _NOTHING
        visitor = Visitors.from_columns(columns, np.array([time.time()]), shelf, device, request.context_items)
        allowed = allowed_rows(shelf, request.filters)
        _forbid(allowed, shelf.encode([*request.context_items, *request.exclude]))
        if request.scenario is Scenario.HOME:
            _forbid(allowed, visitor.items[0][visitor.actions[0] == Action.ORDERED])
        if state.placed and (visitor.items != UNKNOWN).any():
            ranked = state.placed.recommend(visitor, allowed, request.k, self._candidates)
            fallback = None if customer else "session"
        else:
            ranked, fallback = popular(shelf, allowed, request.k), "popular"
        return _result(state, shelf, ranked, fallback, Reasons(shelf, visitor, request.scenario is Scenario.CART))

    def similar(self, product_id: str, k: int) -> Result | None:
        """Products that go with one; None if the catalogue does not have it."""
        state = self.state
        row = state.shelf.rows.get(product_id) if state.shelf else None
        if state.shelf is None or row is None:
            return None
        shelf = state.shelf
        allowed = allowed_rows(shelf, Filters())
        allowed[row] = False
        ranked = state.placed.similar(row, allowed, k) if state.placed else None
        if ranked is not None and len(ranked):
            return _result(state, shelf, ranked, None, Reasons(shelf))
        near = allowed & (shelf.items.category == shelf.items.category[row])
        return _result(state, shelf, popular(shelf, near if near.any() else allowed, k), "popular", Reasons(shelf))

    def trending(self, k: int, category: str | None) -> Result:
        """Products whose interest rises."""
        state = self.state
        if state.shelf is None:
            return Result([], state.version, "empty")
        ranked = trending(state.shelf, allowed_rows(state.shelf, Filters(category=category)), k)
        fallback = None if (ranked.sources == Source.TRENDING).any() else "popular"
        return _result(state, state.shelf, ranked, fallback, Reasons(state.shelf))

    def _without_catalogue(self, state: State, request: RecommendRequest) -> Result:
        """What was popular when the model was trained, unless filters ask what only the catalogue could tell."""
        if state.shelf is not None or state.model is None or request.filters != Filters():
            return Result([], state.version, "empty")
        unwanted = {*request.exclude, *request.context_items}
        ids = [product_id for product_id in state.model.popular if product_id not in unwanted][: request.k]
        reason = Reasons.POPULAR
        items = [Item(product_id, 1 / (place + 1), "popular", reason) for place, product_id in enumerate(ids)]
        return Result(items, state.version, "popular" if items else "empty")


def allowed_rows(shelf: Shelf, filters: Filters) -> Mask:
    """Rows that are in stock and pass the filters, shape (len(shelf),); a new array."""
    items = shelf.items
    allowed = items.available.copy()
    if filters.category is not None:
        path = filters.category.strip("/")
        allowed &= np.isin(items.category, shelf.words.categories.starting_with(path))
    if filters.brand is not None:
        allowed &= items.brand == shelf.words.brands.codes.get(filters.brand, UNKNOWN - 1)
    if filters.min_price is not None:
        allowed &= items.price >= filters.min_price
    if filters.max_price is not None:
        allowed &= items.price <= filters.max_price
    return allowed


def _forbid(allowed: Mask, rows: Codes) -> None:
    allowed[rows[rows != UNKNOWN]] = False


def _result(state: State, shelf: Shelf, ranked: Ranked, fallback: str | None, reasons: Reasons) -> Result:
    items = []
    for row, score, source, anchor in zip(*_lists(ranked), strict=True):
        reason = reasons.of(Source(source), row, anchor)
        items.append(Item(shelf.ids[row], score, Source(source).name.lower(), reason))
    return Result(items, state.version, fallback if items else "empty")


def _lists(ranked: Ranked) -> tuple[list[int], list[float], list[int], list[int]]:
    # A stored infinity must not become JSON that no client can read.
    scores = np.nan_to_num(ranked.scores, nan=0.0, posinf=0.0, neginf=0.0).round(6).tolist()
    return ranked.rows.tolist(), scores, ranked.sources.tolist(), ranked.anchors.tolist()
