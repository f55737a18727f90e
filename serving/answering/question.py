"""What a request asks, in the terms of a catalogue: for whom, and what may be recommended."""

from __future__ import annotations

from typing import Any

import numpy as np

from feature_repo.aggregates import RECENT, SHOWN, Entity, decayed_sums
from feature_repo.filters import Filters, Mask
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.ranking.visitors import DEVICES, Visitors
from serving.data.customers import CustomerFeatures
from serving.rules.placed import RulesInForce
from serving.web.requests import RecommendRequest
from training.scenarios import About, Composition

_NOTHING: dict[str, list[Any]] = {
    "last_event_at": [None],
    **{aggregate.name: [None] for aggregate in decayed_sums(Entity.CUSTOMER)},
    **{name: [None] for name in (*RECENT.columns, *SHOWN.columns)},
}
NO_FILTERS = Filters()


def visitor_of(
    request: RecommendRequest, composition: Composition, customer: CustomerFeatures | None, shelf: Shelf, now: float
) -> Visitors:
    """Who asks, as of ``now``: with what he is looking at, unless that is what is to be put in order."""
    device = np.array([np.nan if request.device is None else DEVICES.index(request.device)])
    columns = customer.columns if customer else _NOTHING
    looked_at = [] if composition.about is About.LIST else request.context_items
    return Visitors.from_columns(columns, np.array([now]), shelf, device, looked_at)


def allowed_of(shelf: Shelf, request: RecommendRequest, composition: Composition, context: Codes) -> Mask:
    """Rows that may be recommended: in stock, and neither filtered out nor excluded nor looked at already.

    Where a list is to be put in order, only what is in it.
    """
    allowed = shelf.items.available.copy()
    for filters in (request.filters, composition.filters):
        if filters != NO_FILTERS:
            allowed &= filters.on(shelf)
    context = context[context != UNKNOWN]
    if composition.about is About.LIST:
        in_list = np.zeros(len(shelf), dtype=bool)
        in_list[context] = True
        allowed &= in_list
    else:
        allowed[context] = False
    excluded = shelf.encode(request.exclude)
    allowed[excluded[excluded != UNKNOWN]] = False
    return allowed


def with_caps(composition: Composition, rules: RulesInForce, filters: Filters) -> Composition:
    """The scenario with the shop's caps; none on what the request itself confines to one kind."""
    confined = {"brand"} if filters.brand is not None else set()
    if filters.category is not None:
        confined |= {"category", "department"}
    caps = tuple(cap for cap in (*composition.caps, *rules.caps) if cap.by not in confined)
    return composition if caps == composition.caps else composition.model_copy(update={"caps": caps})
