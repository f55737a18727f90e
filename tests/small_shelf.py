"""Hand-written shelves, visitors and models of a few rows, for tests of the arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from feature_repo.aggregates import RECENT, SHOWN, Action, Entity, decayed_sums
from feature_repo.ranking import successors
from feature_repo.ranking.features import FEATURES, LIST_FEATURES
from feature_repo.ranking.shelf import UNKNOWN, Shelf
from feature_repo.ranking.visitors import Visitors
from training.candidates.factors import ItemFactors
from training.candidates.neighbours import MOST, Neighbours
from training.candidates.repurchases import PRODUCT_EVIDENCE, Repurchases
from training.candidates.segments import Segments
from training.candidates.space import ItemSpace
from training.ranking.rankers import Purpose, Ranker, Rankers

NOW = 1_780_000_000.0
IDS = ("cup", "pan", "rake", "ball")


def shelf(ids: Sequence[str] = IDS, **columns: Sequence[Any]) -> Shelf:
    """Products without activity unless ``columns`` say otherwise: two of Kitchen, one of Garden, one of Sport.

    Customers turn from cup to pan and back, so that these go together by 0.5.
    """
    size = len(ids)
    stored: dict[str, Any] = {
        "last_event_at": [NOW] * size,
        **{aggregate.name: [0.0] * size for aggregate in decayed_sums(Entity.ITEM)},
        "name": [None] * size,
        "category": (["Kitchen/Cups", "Kitchen/Pans", "Garden/Tools", "Sport"] * size)[:size],
        "brand": (["Alba", "Borea", "Alba", None] * size)[:size],
        "price": [10.0, 20.0, 40.0, None, *[1.0] * size][:size],
        "previous_price": [None] * size,
        "stock": [None] * size,
        "first_seen_at": [NOW - 86_400.0] * size,
        **following({"cup": {"pan": 5.0}, "pan": {"cup": 5.0}}, ids),
    }
    return Shelf.from_columns(ids, {**stored, **columns}, NOW)


def following(turns: dict[str, dict[str, float]], ids: Sequence[str] = IDS) -> dict[str, list[Any]]:
    """Stored columns of what is turned to after each product, as of :data:`NOW`."""
    of = [turns.get(product, {}) for product in ids]
    values = (
        [NOW if following else None for following in of],
        [list(following) or None for following in of],
        [list(following.values()) or None for following in of],
        [sum(following.values()) for following in of],
        [sum(following.get(product, 0.0) for following in turns.values()) for product in ids],
    )
    return dict(zip(successors.COLUMNS, values, strict=True))


def customer_columns(*sequences: Sequence[tuple[str, Action, float]], **sums: float) -> dict[str, list[Any]]:
    """Stored columns of customers whose sequences are (product, action, hours ago), newest first."""
    return {
        "last_event_at": [NOW - sequence[0][2] * 3600 if sequence else None for sequence in sequences],
        **{aggregate.name: [sums.get(aggregate.name)] * len(sequences) for aggregate in decayed_sums(Entity.CUSTOMER)},
        f"{RECENT.name}_items": [[product for product, _, _ in sequence] or None for sequence in sequences],
        f"{RECENT.name}_actions": [[int(action) for _, action, _ in sequence] or None for sequence in sequences],
        f"{RECENT.name}_times": [
            [(NOW - hours * 3600) * 1000 for *_, hours in sequence] or None for sequence in sequences
        ],
        **{name: [None] * len(sequences) for name in SHOWN.columns},
    }


def repurchases(hours: dict[str, float], ids: Sequence[str] = IDS) -> Repurchases:
    """Cycles as given, in hours, each with enough evidence."""
    known = np.array([product in hours for product in ids])
    cycles = np.array([hours.get(product, np.nan) for product in ids])
    return Repurchases(tuple(ids), cycles, np.where(known, PRODUCT_EVIDENCE, 0).astype(np.int32))


def visitors(on: Shelf, *sequences: Sequence[tuple[str, Action, float]], context: Sequence[str] = ()) -> Visitors:
    """Customers at :data:`NOW`."""
    return Visitors.from_columns(customer_columns(*sequences), np.full(len(sequences), NOW), on, context=context)


def factors(vectors: Sequence[Sequence[float]], ids: Sequence[str] = IDS, regularization: float = 0.5) -> ItemFactors:
    """Item factors as given; confidence 2."""
    return ItemFactors(tuple(ids), np.array(vectors, dtype=np.float32), 2.0, regularization)


def neighbours(pairs: dict[str, Sequence[tuple[str, float]]], ids: Sequence[str] = IDS) -> Neighbours:
    """Neighbours as given: product to (neighbour, strength), strongest first."""
    codes = np.full((len(ids), MOST), UNKNOWN, dtype=np.int32)
    strengths = np.zeros((len(ids), MOST), dtype=np.float32)
    for product, others in pairs.items():
        for place, (other, strength) in enumerate(others):
            codes[ids.index(product), place] = ids.index(other)
            strengths[ids.index(product), place] = strength
    return Neighbours(tuple(ids), codes, strengths)


def segments(lifts: dict[str, dict[str, float]], ids: Sequence[str] = IDS) -> Segments:
    """Lifts as given, 1 elsewhere."""
    values = [[of.get(product, 1.0) for product in ids] for of in lifts.values()]
    return Segments(tuple(ids), tuple(lifts), np.array(values, dtype=np.float32).reshape(len(lifts), len(ids)))


def space() -> ItemSpace:
    """Cup and pan are alike, pan and rake are bought together; the rake stands alone otherwise.

    The ball is not known; cups are bought again after 100 hours. Rakes are liked in Japan, cups are not; pans are on mobiles.
    """
    return ItemSpace(
        factors([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, 0.0]]),
        neighbours({"pan": [("rake", 0.4)], "rake": [("pan", 0.4)]}),
        repurchases({"cup": 100.0}),
        segments({"country Japan": {"rake": 3.0, "cup": 0.5}, "device mobile": {"pan": 2.0}}),
    )


def rankers(*names: str, above: float = 1.0) -> Rankers:
    """They look at some features only, any of which may be unknown, and like products where their mean is above a value."""
    places = [FEATURES.index(name) for name in names]

    def fitted(width: int) -> Ranker:
        rng = np.random.default_rng(0)
        matrix = np.zeros((2_000, width))
        matrix[:, places] = rng.uniform(0, 2 * above, (2_000, len(names)))
        liked = matrix[:, places].mean(axis=1) > above
        matrix[:, places] = np.where(rng.random((2_000, len(names))) < 0.2, np.nan, matrix[:, places])
        return Ranker(HistGradientBoostingClassifier(max_iter=20, early_stopping=False).fit(matrix, liked))

    of_candidates, of_lists = fitted(len(FEATURES)), fitted(len(LIST_FEATURES))
    return {purpose: of_lists if purpose is Purpose.LIST else of_candidates for purpose in Purpose}
