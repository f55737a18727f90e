"""Explanations on request: which features moved a product's score, and how old they were."""

from __future__ import annotations

import math

import numpy as np

from feature_repo.aggregates import Action
from feature_repo.filters import Mask
from feature_repo.ranking.features import FEATURES, columns_of
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.ranking.visitors import CUSTOMER_SUMS, Visitors
from serving.answering.answers import Cause
from training.candidates.sources import Source
from training.recommending import PlacedRecommender, Ranked
from training.scenarios import Composition

MOST = 5

# Features that rest on the customer's latest event, and those that rest on the product's.
_OF_CUSTOMER = frozenset(
    (
        "als_score",
        "similarity_to_session",
        "following_last",
        "following_session",
        "following_earlier",
        "viewed_together",
        "category_affinity",
        "department_affinity",
        "brand_affinity",
        "price_distance",
        "sequence_length",
        "session_length",
        "hours_since_last",
        *(f"customer_{name}" for name in CUSTOMER_SUMS),
    )
)
_OF_PRODUCT = frozenset(("popularity", "click_through", "trend", "impressions_7d", "orders_30d"))
# Features that rest on what the customer did to this very product.
_OF_BOTH = {
    "own_interest": tuple(Action),
    "hours_since_seen": (Action.CLICKED, Action.VIEWED),
    "hours_since_carted": (Action.ADDED, Action.WISHLISTED),
    "hours_since_ordered": (Action.ORDERED,),
    "hours_since_removed": (Action.REMOVED,),
    "times_in_session": tuple(Action),
    "times_before": tuple(Action),
    "steps_since": tuple(Action),
    "last_action": tuple(Action),
}
# What a source that needs no ranker goes by.
_SIGNALS = {
    Source.TRENDING: "trend",
    Source.SEGMENT: "popularity",
    Source.POPULAR: "popularity",
    Source.COUNTRY: "popularity",
    Source.DEVICE: "popularity",
    Source.NEW: "impressions_7d",
}


def explain_ranker(
    placed: PlacedRecommender, visitor: Visitors, ranked: Ranked, composition: Composition
) -> list[list[Cause]]:
    """Per product, the features whose value moved the ranker's score most, the strongest first.

    A feature's effect is the score minus the score with that feature, and where it stands in a list by it, unknown,
    everything else as it is. Effects do not add up to the score: features that say the same stand in for each other.
    """
    assert placed.space is not None
    if not len(ranked.rows):
        return []
    matrix = placed.matrix(visitor, ranked.among, placed.space.embed(visitor), composition)
    place_of = np.zeros(len(placed.shelf), dtype=np.intp)
    place_of[ranked.among] = np.arange(len(ranked.among))
    matrix = matrix[place_of[ranked.rows]]
    count, width = matrix.shape
    # Every row once as it is, then once per feature without it.
    variants = np.repeat(matrix[None], len(FEATURES) + 1, axis=0)
    for place, name in enumerate(FEATURES):
        variants[place + 1][:, columns_of(name, width)] = np.nan
    scores = placed.scores(variants.reshape(-1, width), composition).reshape(-1, count)
    effects = (scores[0] - scores[1:]).T
    return [
        [
            Cause(
                FEATURES[place],
                _finite(matrix[number, place]),
                round(float(effects[number, place]), 6),
                _age_ms(placed, visitor, int(row), FEATURES[place]),
            )
            for place in np.argsort(-np.abs(effects[number]), kind="stable")[:MOST]
            if abs(effects[number, place]) >= 5e-7  # what is left after rounding
        ]
        for number, row in enumerate(ranked.rows)
    ]


def explain_source(placed: PlacedRecommender, visitor: Visitors, ranked: Ranked) -> list[list[Cause]]:
    """Per product, what its source went by, for lists that no ranker has ordered; its effect is the whole score."""
    return [
        [_signal(placed, visitor, Source(source), row, score)]
        for source, row, score in zip(
            ranked.sources.tolist(), ranked.rows.tolist(), ranked.scores.tolist(), strict=True
        )
    ]


def _signal(placed: PlacedRecommender, visitor: Visitors, source: Source, row: int, score: float) -> Cause:
    items, name = placed.shelf.items, _SIGNALS.get(source)
    if name is None:
        # What the visitor did, or a product that it goes with.
        return Cause(source.name.lower(), round(score, 6), round(score, 6), _since_latest(visitor))
    values = items.sums[name] if name in items.sums else items.rates[name]
    return Cause(name, _finite(values[row]), round(score, 6), _age_ms(placed, visitor, row, name))


def _age_ms(placed: PlacedRecommender, visitor: Visitors, row: int, feature: str) -> int | None:
    """Time since the event that a feature's value rests on; None if it rests on none, or none is known."""
    if feature in _OF_CUSTOMER:
        return _since_latest(visitor)
    if feature in _OF_PRODUCT:
        return _milliseconds((visitor.at[0] - placed.shelf.items.last_event_at[row]) / 3600)
    if feature == "similarity_to_last":
        return _since_first(visitor, visitor.items[0] != UNKNOWN)
    if feature in _OF_BOTH:
        return _since_first(visitor, (visitor.items[0] == row) & np.isin(visitor.actions[0], _OF_BOTH[feature]))
    return None


def _since_latest(visitor: Visitors) -> int | None:
    return _since_first(visitor, visitor.actions[0] > 0)


def _since_first(visitor: Visitors, which: Mask) -> int | None:
    places = np.flatnonzero(which)
    return _milliseconds(visitor.hours[0, places[0]]) if len(places) else None


def _milliseconds(hours: float) -> int | None:
    return round(max(hours, 0.0) * 3_600_000) if math.isfinite(hours) else None


def _finite(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None
