"""What the rankers look at: the features of a customer and a candidate, computed alike in training and serving.

Where a product stood in a list is not among them, although it says much about whether it was clicked: when serving there is no
place yet, and a ranker that knew it in training orders lists worse without it than one that never did.

Training computes them for many customers at many moments, serving for one customer and his candidates now; both call
:func:`features`. Everything is vectorised over rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking import kernels
from feature_repo.ranking.kernels import AFFINITIES, CLOSENESS, EXPOSURE, OWN_HISTORY
from feature_repo.ranking.shelf import STATE, Codes, Items
from feature_repo.ranking.ties import Ties
from feature_repo.ranking.visitors import CUSTOMER_SUMS, Visitors
from feature_repo.reading import Floats

_CUSTOMER = (*(f"customer_{name}" for name in CUSTOMER_SUMS), "sequence_length", "session_length", "hours_since_last")
_MOMENT = ("hour", "weekday", "device")
_PARTS = (CLOSENESS, AFFINITIES, OWN_HISTORY, EXPOSURE, _CUSTOMER, STATE, _MOMENT)
FEATURES: tuple[str, ...] = tuple(name for part in _PARTS for name in part)
_COLUMNS = tuple(slice(begin, end) for begin, end in pairwise((0, *accumulate(map(len, _PARTS)))))
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
    items: Items,
    rows: NDArray[np.integer],
    codes: Codes,
    owner: NDArray[np.int64],
    embeddings: Embeddings,
) -> Floats:
    """The feature matrix, shape (candidates, len(FEATURES)), in the order of :data:`FEATURES`; NaN means unknown.

    Args:
        visitors: the customers at their moments.
        items: products, perhaps at several moments.
        rows: the row in ``items`` of each candidate at the moment of its visitor, shape (n,).
        codes: code of each candidate's product, shape (n,).
        owner: row in ``visitors`` that each candidate is for, shape (n,).
        embeddings: of the same visitors, and of items by code.
    """
    matrix = np.empty((len(codes), len(FEATURES)), order="F")
    closeness, affinities, history, exposure, customer, item, moment = (matrix[:, columns] for columns in _COLUMNS)
    _closeness(closeness, codes, owner, embeddings)
    of = visitors
    kinds = (items.category[rows], items.department[rows], items.brand[rows])
    kernels.put(item, items.state, rows)
    kernels.shares_of_interest(affinities, owner, kinds, of.interest, (of.categories, of.departments, of.brands))
    kernels.price_distance(affinities[:, -1], owner, item[:, STATE.index("log_price")], of.interest, of.log_prices)
    kernels.own_history(history, codes, owner, of.items, of.actions, of.hours, of.interest, of.in_session)
    kernels.exposure(exposure, codes, owner, of.items, of.shown, of.shown_positions, of.shown_hours)
    for part, table in zip((customer, moment), _visitor_state(visitors), strict=True):
        kernels.put(part, table, owner)
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


def _closeness(matrix: Floats, codes: Codes, owner: NDArray[np.int64], embeddings: Embeddings) -> None:
    of_visitors = (embeddings.visitors, embeddings.last, embeddings.session)
    kernels.similarities(matrix, codes, owner, embeddings.directions, embeddings.lengths, of_visitors)
    ties = (embeddings.following_last, embeddings.following_session, embeddings.following_earlier, embeddings.together)
    for column, given in zip(matrix.T[len(of_visitors) :], ties, strict=True):
        kernels.tied(column, codes, owner, len(embeddings.lengths), given.begins, given.codes, given.strengths)


def _visitor_state(visitors: Visitors) -> tuple[Floats, Floats]:
    """Of each visitor, what is in :data:`_CUSTOMER` and in :data:`_MOMENT`."""
    acted = visitors.actions > 0
    newest = np.where(acted[:, 0], visitors.hours[:, 0], np.nan)
    logarithms = np.log1p(np.array([*(visitors.sums[name] for name in CUSTOMER_SUMS), newest]))
    lengths = np.array([acted.sum(axis=1), visitors.in_session.sum(axis=1)])
    hours_of_week = visitors.at / 3600 % (24 * 7)  # UTC; day 0 is the epoch's Thursday
    moment = np.array([hours_of_week % 24, hours_of_week // 24, visitors.device])
    return np.concatenate([logarithms[:-1], lengths, logarithms[-1:]]).T, moment.T
