"""What the rankers look at: the features of a customer and a candidate, computed alike in training and serving.

Where a product stood in a list is not among them, although it says much about whether it was clicked: when serving there is no
place yet, and a ranker that knew it in training orders lists worse without it than one that never did.

Training computes them for many customers at many moments, serving for one customer and his candidates now; both call
:func:`features`. Everything is vectorised over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Items
from feature_repo.visitors import CUSTOMER_SUMS, Visitors, log_prices

_SEEN, _CARTED, _ORDERED, _REMOVED = (
    np.isin(np.arange(max(Action) + 1), kinds)
    for kinds in (
        (Action.CLICKED, Action.VIEWED),
        (Action.ADDED, Action.WISHLISTED),
        (Action.ORDERED,),
        (Action.REMOVED,),
    )
)


FEATURES: tuple[str, ...] = (
    "als_score",
    "similarity_to_last",
    "similarity_to_session",
    "following_last",
    "following_session",
    "following_earlier",
    "viewed_together",
    "category_affinity",
    "department_affinity",
    "brand_affinity",
    "price_distance",
    "own_interest",
    "hours_since_seen",
    "hours_since_carted",
    "hours_since_ordered",
    "hours_since_removed",
    "times_in_session",
    "times_before",
    "steps_since",
    "last_action",
    "times_shown",
    "hours_since_shown",
    "lists_since_shown",
    "position_shown",
    "position_from_last",
    *(f"customer_{name}" for name in CUSTOMER_SUMS),
    "sequence_length",
    "session_length",
    "hours_since_last",
    "popularity",
    "click_through",
    "trend",
    "price_change",
    "age_days",
    "log_price",
    "impressions_7d",
    "orders_30d",
    "hour",
    "weekday",
    "device",
)
# What counts relative to the other products of a list, where only these have to be put in order.
_COMPARED: tuple[str, ...] = (
    "als_score",
    "similarity_to_session",
    "following_last",
    "following_session",
    "viewed_together",
    "category_affinity",
    "own_interest",
    "times_shown",
    "popularity",
    "click_through",
    "trend",
    "age_days",
    "log_price",
    "impressions_7d",
    "orders_30d",
)
LIST_FEATURES: tuple[str, ...] = (
    *FEATURES,
    "list_length",
    *(f"{name}_above_mean" for name in _COMPARED),
    *(f"{name}_place" for name in _COMPARED),
)


@dataclass(frozen=True)
class Embeddings:
    """Where visitors and items lie in the candidate model's space.

    Attributes:
        items: item vectors by code, shape (items, factors); zero for an item that the model does not know.
        directions: the same, scaled to length 1 (or 0).
        visitors: visitor vectors, shape (visitors, factors); zero for one without known interactions.
        last: direction of each visitor's last known item, shape (visitors, factors).
        session: mean direction of the items of the present visit, shape (visitors, factors).
        following_last, following_session, following_earlier: the share of turns from the visitor's last item, from all
            items of the present visit and from those of earlier ones that led to each item, shape (visitors, items).
        together: how much each item is turned to together with all of them, likewise.
    """

    items: NDArray[np.float32]
    directions: NDArray[np.float32]
    visitors: NDArray[np.float32]
    last: NDArray[np.float32]
    session: NDArray[np.float32]
    following_last: NDArray[np.float32]
    following_session: NDArray[np.float32]
    following_earlier: NDArray[np.float32]
    together: NDArray[np.float32]


def features(
    visitors: Visitors,
    candidates: Items,
    codes: Codes,
    owner: NDArray[np.integer],
    embeddings: Embeddings,
) -> Floats:
    """The feature matrix, shape (candidates, len(FEATURES)), in the order of :data:`FEATURES`; NaN means unknown.

    Args:
        visitors: the customers at their moments.
        candidates: attributes of each candidate at that moment, shape (n,).
        codes: code of each candidate's product, shape (n,).
        owner: row in ``visitors`` that each candidate is for, shape (n,).
        embeddings: of the same visitors, and of items by code.
    """
    columns = {
        **_closeness(codes, owner, embeddings),
        **_affinities(visitors, candidates, owner),
        **_own_history(visitors, codes, owner),
        **_exposure(visitors, codes, owner),
        **_visitor_state(visitors, owner),
        **_item_state(candidates),
    }
    matrix = np.empty((len(codes), len(FEATURES)))
    for place, name in enumerate(FEATURES):
        matrix[:, place] = columns[name]
    return matrix


def within_lists(matrix: Floats, owner: NDArray[np.integer]) -> Floats:
    """The features of products of lists, beside those of the other products of the same list.

    Args:
        matrix: shape (n, len(FEATURES)), all products of every list.
        owner: the list of each row, ascending, shape (n,).

    Returns:
        Shape (n, len(LIST_FEATURES)), in the order of :data:`LIST_FEATURES`: ``_above_mean`` is the value minus the list's mean,
        ``_place`` the share of the list with a higher value.
    """
    lists, numbers = np.unique(owner, return_inverse=True)
    lengths = np.bincount(numbers, minlength=len(lists)).astype(float)
    wide = np.empty((len(matrix), len(LIST_FEATURES)))
    own = len(FEATURES)
    wide[:, :own] = matrix
    wide[:, own] = lengths[numbers]
    for number, name in enumerate(_COMPARED):
        values = matrix[:, FEATURES.index(name)]
        wide[:, own + 1 + number] = values - _means(values, numbers, len(lists))[numbers]
        wide[:, own + 1 + len(_COMPARED) + number] = _higher(values, numbers) / lengths[numbers]
    return wide


def columns_of(feature: str, width: int) -> list[int]:
    """Where a feature and what derives from it stand in a matrix of so many columns."""
    names = (feature, f"{feature}_above_mean", f"{feature}_place")
    return [place for place, name in enumerate(LIST_FEATURES[:width]) if name in names]


def _means(values: Floats, numbers: NDArray[np.integer], lists: int) -> Floats:
    """The mean of the known values of each list; NaN without any."""
    known = ~np.isnan(values)
    counts = np.bincount(numbers[known], minlength=lists)
    sums = np.bincount(numbers[known], values[known], minlength=lists)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _higher(values: Floats, numbers: NDArray[np.integer]) -> Floats:
    """How many rows of its list have a higher value, for each row; NaN for one without a value."""
    order = np.lexsort((-values, numbers))  # unknown values last
    ordered, lists = values[order], numbers[order]
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = (lists[1:] != lists[:-1]) | (ordered[1:] != ordered[:-1])
    first_alike = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    higher = np.empty(len(order))
    higher[order] = first_alike - np.searchsorted(lists, lists)
    return np.where(np.isnan(values), np.nan, higher)


def _closeness(codes: Codes, owner: NDArray[np.integer], embeddings: Embeddings) -> dict[str, Floats]:
    vectors, directions = embeddings.items[codes], embeddings.directions[codes]

    def product(left: NDArray[np.float32], right: NDArray[np.float32]) -> Floats:
        values = np.einsum("nf,nf->n", left, right[owner])
        known = np.any(left, axis=1) & np.any(right, axis=1)[owner]
        return np.where(known, values, np.nan)

    return {
        "als_score": product(vectors, embeddings.visitors),
        "similarity_to_last": product(directions, embeddings.last),
        "similarity_to_session": product(directions, embeddings.session),
        "following_last": embeddings.following_last[owner, codes],
        "following_session": embeddings.following_session[owner, codes],
        "following_earlier": embeddings.following_earlier[owner, codes],
        "viewed_together": embeddings.together[owner, codes],
    }


def _affinities(visitors: Visitors, candidates: Items, owner: NDArray[np.integer]) -> dict[str, Floats]:
    interest = visitors.interest
    total = interest.sum(axis=1)
    weights = interest / np.where(total > 0, total, 1.0)[:, None]

    def share(theirs: Codes, own: Codes) -> Floats:
        same = (theirs[owner] == own[:, None]) & (own != UNKNOWN)[:, None]
        return np.where(total[owner] > 0, (weights[owner] * same).sum(axis=1), np.nan)

    priced = np.where(np.isnan(visitors.log_prices), 0.0, weights)
    mass = priced.sum(axis=1)
    usual = np.where(mass > 0, (priced * np.nan_to_num(visitors.log_prices)).sum(axis=1), np.nan)
    usual = usual / np.where(mass > 0, mass, 1.0)
    return {
        "category_affinity": share(visitors.categories, candidates.category),
        "department_affinity": share(visitors.departments, candidates.department),
        "brand_affinity": share(visitors.brands, candidates.brand),
        "price_distance": log_prices(candidates.price) - usual[owner],
    }


def _own_history(visitors: Visitors, codes: Codes, owner: NDArray[np.integer]) -> dict[str, Floats]:
    same = visitors.items[owner] == codes[:, None]
    actions, hours = visitors.actions[owner], visitors.hours[owner]
    newest, ever = same.argmax(axis=1), same.any(axis=1)

    def since(kind: NDArray[np.bool_]) -> Floats:
        done = same & kind[actions]
        least = np.where(done, hours, np.inf).min(axis=1)
        return np.log1p(np.where(np.isfinite(least), least, np.nan))

    return {
        "own_interest": np.log1p((visitors.interest[owner] * same).sum(axis=1)),
        "hours_since_seen": since(_SEEN),
        "hours_since_carted": since(_CARTED),
        "hours_since_ordered": since(_ORDERED),
        "hours_since_removed": since(_REMOVED),
        "times_in_session": (same & visitors.in_session[owner]).sum(axis=1),
        "times_before": (same & ~visitors.in_session[owner]).sum(axis=1),
        "steps_since": np.where(ever, newest, np.nan),
        "last_action": np.where(ever, np.take_along_axis(actions, newest[:, None], axis=1)[:, 0], np.nan),
    }


def _exposure(visitors: Visitors, codes: Codes, owner: NDArray[np.integer]) -> dict[str, Floats]:
    """What the visitor was shown: where a product stood, also from the last one he turned to, says what he looks at."""
    hours, positions = visitors.shown_hours, visitors.shown_positions.astype(float)
    lists = np.cumsum(np.diff(hours, axis=1, prepend=hours[:, :1]) != 0, axis=1)
    same = visitors.shown[owner] == codes[:, None]

    def newest(chosen: NDArray[np.bool_], values: NDArray[Any]) -> Floats:
        place, some = chosen.argmax(axis=1)[:, None], chosen.any(axis=1)
        return np.where(some, np.take_along_axis(values, place, axis=1)[:, 0], np.nan)

    last = (visitors.shown == visitors.items[:, :1]) & (visitors.shown != UNKNOWN)
    list_of_last, place_of_last = newest(last, lists), newest(last, positions)
    beside = same & (lists == list_of_last[:, None])[owner]
    return {
        "times_shown": same.sum(axis=1),
        "hours_since_shown": np.log1p(newest(same, hours[owner])),
        "lists_since_shown": newest(same, lists[owner]),
        "position_shown": newest(same, positions[owner]),
        "position_from_last": newest(beside, positions[owner]) - place_of_last[owner],
    }


def _visitor_state(visitors: Visitors, owner: NDArray[np.integer]) -> dict[str, Floats]:
    newest = np.where(visitors.actions[:, 0] > 0, visitors.hours[:, 0], np.nan)
    hours_of_week = visitors.at / 3600 % (24 * 7)  # UTC; day 0 is the epoch's Thursday
    columns = {
        **{f"customer_{name}": np.log1p(visitors.sums[name]) for name in CUSTOMER_SUMS},
        "sequence_length": (visitors.actions > 0).sum(axis=1),
        "session_length": visitors.in_session.sum(axis=1),
        "hours_since_last": np.log1p(newest),
        "hour": hours_of_week % 24,
        "weekday": hours_of_week // 24,
        "device": visitors.device,
    }
    return {name: column[owner] for name, column in columns.items()}


def _item_state(candidates: Items) -> dict[str, Floats]:
    return {
        **candidates.rates,
        "log_price": log_prices(candidates.price),
        "impressions_7d": np.log1p(candidates.sums["impressions_7d"]),
        "orders_30d": np.log1p(candidates.sums["orders_30d"]),
    }
