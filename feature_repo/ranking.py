"""What the rankers look at: the features of a customer and a candidate, computed alike in training and serving.

Where a product stood in a list is not among them, although it says much about whether it was clicked: when serving there is no
place yet, and a ranker that knew it in training orders lists worse without it than one that never did.

Training computes them for many customers at many moments, serving for one customer and his candidates now; both call
:func:`features`. Everything is vectorised over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Items
from feature_repo.ties import Ties, first_of_runs
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
        directions: item vectors by code, scaled to length 1, shape (items, factors); zero for an item that the model does not
            know.
        lengths: what they were scaled by, 0 for unknown items, shape (items,).
        visitors: visitor vectors, shape (visitors, factors); zero for one without known interactions.
        last: direction of each visitor's last known item, shape (visitors, factors).
        session: mean direction of the items of the present visit, shape (visitors, factors).
        following_last, following_session, following_earlier: the share of turns from the visitor's last item, from all
            items of the present visit and from those of earlier ones that led to each item.
        together: how much each item is turned to together with all of them.
    """

    directions: NDArray[np.float32]
    lengths: NDArray[np.float32]
    visitors: NDArray[np.float32]
    last: NDArray[np.float32]
    session: NDArray[np.float32]
    following_last: Ties
    following_session: Ties
    following_earlier: Ties
    together: Ties


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
    lengths = embeddings.lengths[codes]
    directions = embeddings.directions[codes]
    of_visitors = np.stack([embeddings.visitors, embeddings.last, embeddings.session], axis=1)
    known = (lengths > 0)[:, None] & np.any(of_visitors, axis=2)[owner]
    # One visitor's need not be copied for each of his candidates.
    alone = len(of_visitors) == 1
    products = directions @ of_visitors[0].T if alone else np.einsum("nf,nvf->nv", directions, of_visitors[owner])
    products = np.where(known, products, np.nan)
    return {
        "als_score": products[:, 0] * lengths,
        "similarity_to_last": products[:, 1],
        "similarity_to_session": products[:, 2],
        "following_last": embeddings.following_last.at(owner, codes),
        "following_session": embeddings.following_session.at(owner, codes),
        "following_earlier": embeddings.following_earlier.at(owner, codes),
        "viewed_together": embeddings.together.at(owner, codes),
    }


def _affinities(visitors: Visitors, candidates: Items, owner: NDArray[np.integer]) -> dict[str, Floats]:
    interest = visitors.interest
    total = interest.sum(axis=1)
    weights = interest / np.where(total > 0, total, 1.0)[:, None]
    informed = total[owner] > 0

    def share(theirs: Codes, own: Codes) -> Floats:
        if len(visitors) == 1:  # the same in a few steps; codes begin with UNKNOWN, -1
            kinds = int(own.max(initial=UNKNOWN)) + 2
            shares = np.bincount(theirs[0] + 1, weights[0], minlength=kinds)[own + 1]
        else:
            shares = np.einsum("nk,nk->n", weights[owner], theirs[owner] == own[:, None])
        return np.where(informed, np.where(own == UNKNOWN, 0.0, shares), np.nan)

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


@dataclass(frozen=True)
class _Meetings:
    """Where candidates occur in the sequences of their visitors: few pairs, so that only these are looked at.

    Attributes:
        size: how many candidates there are.
        candidate: which candidate, ascending, shape (pairs,).
        visitor: row of its visitor, shape (pairs,).
        step: place in the sequence, ascending for each candidate, shape (pairs,).
    """

    size: int
    candidate: NDArray[np.intp]
    visitor: NDArray[np.integer]
    step: NDArray[np.intp]

    @classmethod
    def of(cls, sequences: Codes, codes: Codes, owner: NDArray[np.integer]) -> _Meetings:
        """Of candidates with sequences of shape (visitors, k)."""
        candidate, step = np.nonzero(sequences[owner] == codes[:, None])
        return cls(len(codes), candidate, owner[candidate], step)

    @cached_property
    def _first(self) -> NDArray[np.intp]:
        return first_of_runs(self.candidate)

    def values(self, sequences: NDArray[Any]) -> NDArray[Any]:
        """What stands there in something of shape (visitors, k); shape (pairs,)."""
        return sequences[self.visitor, self.step]

    def count(self, chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
        """How many chosen pairs each candidate has, shape (size,)."""
        return np.bincount(self.candidate[chosen], minlength=self.size)

    def newest(self, values: NDArray[Any], chosen: NDArray[np.bool_] | None = None) -> Floats:
        """The value of each candidate's first pair, of the chosen ones; NaN without any. Shape (size,)."""
        found = np.full(self.size, np.nan)
        if chosen is None:
            found[self.candidate[self._first]] = values[self._first]
        else:
            candidate = self.candidate[chosen]
            first = first_of_runs(candidate)
            found[candidate[first]] = values[chosen][first]
        return found

    def least(self, values: Floats, chosen: NDArray[np.bool_]) -> Floats:
        """The smallest value of each candidate's chosen pairs; NaN without any. Shape (size,)."""
        found = np.full(self.size, np.inf)
        np.minimum.at(found, self.candidate[chosen], values[chosen])
        return np.where(np.isfinite(found), found, np.nan)


def _own_history(visitors: Visitors, codes: Codes, owner: NDArray[np.integer]) -> dict[str, Floats]:
    met = _Meetings.of(visitors.items, codes, owner)
    actions, hours, now = met.values(visitors.actions), met.values(visitors.hours), met.values(visitors.in_session)

    def since(kind: NDArray[np.bool_]) -> Floats:
        return np.log1p(met.least(hours, kind[actions]))

    return {
        "own_interest": np.log1p(np.bincount(met.candidate, met.values(visitors.interest), minlength=met.size)),
        "hours_since_seen": since(_SEEN),
        "hours_since_carted": since(_CARTED),
        "hours_since_ordered": since(_ORDERED),
        "hours_since_removed": since(_REMOVED),
        "times_in_session": met.count(now),
        "times_before": met.count(~now),
        "steps_since": met.newest(met.step),
        "last_action": met.newest(actions),
    }


def _exposure(visitors: Visitors, codes: Codes, owner: NDArray[np.integer]) -> dict[str, Floats]:
    """What the visitor was shown: where a product stood, also from the last one he turned to, says what he looks at."""
    lists = np.cumsum(np.diff(visitors.shown_hours, axis=1, prepend=visitors.shown_hours[:, :1]) != 0, axis=1)
    positions = visitors.shown_positions
    known = np.flatnonzero(visitors.items[:, 0] != UNKNOWN)
    last = _Meetings.of(visitors.shown[known], visitors.items[known, 0], np.arange(len(known)))
    list_of_last, place_of_last = np.full((2, len(visitors)), np.nan)
    list_of_last[known] = last.newest(last.values(lists[known]))
    place_of_last[known] = last.newest(last.values(positions[known]))
    met = _Meetings.of(visitors.shown, codes, owner)
    place, of_list = met.values(positions), met.values(lists)
    return {
        "times_shown": np.bincount(met.candidate, minlength=met.size),
        "hours_since_shown": np.log1p(met.newest(met.values(visitors.shown_hours))),
        "lists_since_shown": met.newest(of_list),
        "position_shown": met.newest(place),
        "position_from_last": met.newest(place, of_list == list_of_last[met.visitor]) - place_of_last[owner],
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
