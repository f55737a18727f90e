"""From a checked request and the customer's features to an answer. No input or output happens here."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_repo.aggregates import Action
from feature_repo.ranking import Visitors
from feature_repo.shelf import UNKNOWN, Shelf
from serving.requests import Answer, Filters, Item, RecommendRequest, Scenario
from serving.state import State
from training.candidates import Mask, Source
from training.model import Ranked, popular, trending

_WORDS = {
    Source.RECENT: "you looked at it recently",
    Source.TOGETHER: "often looked at together with {anchor}",
    Source.TASTE: "because you looked at {anchor}",
    Source.SIMILAR: "similar to {anchor}",
    Source.TRENDING: "trending now",
    Source.POPULAR: "popular with other customers",
}


class UnknownProduct(LookupError):
    """The product asked about is not in the catalogue."""


@dataclass(frozen=True)
class Customer:
    """What the online store knew of the customer: columns of one row, or None if it could not be read."""

    columns: dict[str, list[Any]] | None

    @property
    def last_event_at(self) -> float | None:
        """Epoch seconds, None for a customer never seen."""
        return self.columns["last_event_at"][0] if self.columns else None


def recommend(state: State, customer: Customer, request: RecommendRequest, candidates: int, request_id: str) -> Answer:
    """Products for a customer, as personal as what is known allows."""
    shelf, now = state.shelf, time.time()
    allowed = _allowed(shelf, [*request.exclude, *request.context_items], request.filters)
    ranked: Ranked | None = None
    if state.placed is not None and (customer.last_event_at is not None or request.context_items):
        columns = customer.columns or _nobody(state)
        visitor = Visitors.from_columns(columns, np.array([now]), shelf, context=request.context_items)
        if request.scenario is Scenario.HOME:
            ordered = visitor.items[visitor.actions == int(Action.ORDERED)]
            allowed[ordered[ordered != UNKNOWN]] = False
        if (visitor.items != UNKNOWN).any():
            ranked = state.placed.recommend(visitor, allowed, request.k, candidates)
    fallback: str | None = None if customer.last_event_at is not None else "session"
    if ranked is None:
        ranked = popular(shelf, allowed, request.k)
        fallback = "trending" if len(ranked) and (ranked.sources == Source.TRENDING).all() else "popular"
    age = None if customer.last_event_at is None else max(0, round((now - customer.last_event_at) * 1000))
    return _answer(state, ranked, fallback, age, request_id)


def similar(state: State, product_id: str, exclude: list[str], filters: Filters, k: int, request_id: str) -> Answer:
    """Products like one product; popular ones of its kind where the model does not know it.

    Raises:
        UnknownProduct: it is not in the catalogue.
    """
    shelf = state.shelf
    row = shelf.rows.get(product_id)
    if row is None:
        raise UnknownProduct(product_id)
    allowed = _allowed(shelf, [*exclude, product_id], filters)
    ranked = state.placed.similar(row, allowed, k) if state.placed else None
    if ranked is not None and len(ranked):
        return _answer(state, ranked, None, None, request_id)
    alike = allowed & (shelf.items.category == shelf.items.category[row])
    return _answer(state, popular(shelf, alike if alike.any() else allowed, k), "popular", None, request_id)


def rising(state: State, exclude: list[str], filters: Filters, k: int, request_id: str) -> Answer:
    """Products asked for more than usual now, filled up with popular ones."""
    return _answer(state, trending(state.shelf, _allowed(state.shelf, exclude, filters), k), None, None, request_id)


def nothing(version: str | None, request_id: str) -> Answer:
    """The answer while there is no catalogue at all."""
    return Answer(items=[], model_version=version, feature_age_ms=None, fallback="empty", request_id=request_id)


def _nobody(state: State) -> dict[str, list[Any]]:
    """The columns of a customer without history."""
    from feature_repo.tables import CUSTOMER_ACTIVITY

    return {name: [None] for name in CUSTOMER_ACTIVITY.schema.names}


def _allowed(shelf: Shelf, exclude: list[str], filters: Filters) -> Mask:
    """Rows that may be recommended: in stock, not excluded, within the filters."""
    items = shelf.items
    allowed = items.available.copy()
    rows = shelf.encode(exclude)
    allowed[rows[rows != UNKNOWN]] = False
    if filters.category is not None:
        path = filters.category.rstrip("/")
        codes = [
            code for name, code in shelf.words.categories.codes.items() if name == path or name.startswith(path + "/")
        ]
        allowed &= np.isin(items.category, codes)
    if filters.brand is not None:
        allowed &= items.brand == shelf.words.brands.codes.get(filters.brand, UNKNOWN - 1)
    # A product of unknown price fulfils no limit on the price.
    if filters.min_price is not None:
        allowed &= items.price >= filters.min_price
    if filters.max_price is not None:
        allowed &= items.price <= filters.max_price
    return allowed


def _answer(state: State, ranked: Ranked, fallback: str | None, age: int | None, request_id: str) -> Answer:
    shelf = state.shelf
    items = [
        Item(
            product_id=shelf.ids[row],
            score=round(float(score), 6),
            source=Source(source).name.lower(),
            reason=_WORDS[Source(source)].format(anchor=shelf.title(anchor) if anchor != UNKNOWN else "this"),
        )
        for row, score, source, anchor in zip(ranked.rows, ranked.scores, ranked.sources, ranked.anchors, strict=True)
    ]
    if not items:
        fallback = "empty"
    return Answer(
        items=items, model_version=state.version, feature_age_ms=age, fallback=fallback, request_id=request_id
    )
