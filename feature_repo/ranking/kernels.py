"""The loops behind the rankers' features: each fills some columns of the matrix, in the order of the names beside it.

Arrays of visitors have a row for each, those of candidates a place for each; ``owner`` is the visitor of each candidate. A matrix
is ``matrix[candidate, column]``, columns contiguous in memory, and only that of the kernel's own columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.aggregates import Action
from feature_repo.kernel import dot, kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.reading import Floats

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

CLOSENESS = (
    "als_score",
    "similarity_to_last",
    "similarity_to_session",
    "following_last",
    "following_session",
    "following_earlier",
    "viewed_together",
)
AFFINITIES = ("category_affinity", "department_affinity", "brand_affinity", "price_distance")
OWN_HISTORY = (
    "own_interest",
    "hours_since_seen",
    "hours_since_carted",
    "hours_since_ordered",
    "hours_since_removed",
    "times_in_session",
    "times_before",
    "steps_since",
    "last_action",
)
EXPOSURE = ("times_shown", "hours_since_shown", "lists_since_shown", "position_shown", "position_from_last")

_TIMES_NOW, _TIMES_BEFORE, _STEPS_SINCE, _LAST_ACTION = (
    OWN_HISTORY.index(name) for name in ("times_in_session", "times_before", "steps_since", "last_action")
)
# Which column of hours_since_... an action counts in; 0 for none.
_SINCE = np.zeros(max(Action) + 1, dtype=np.int64)
for _name, _actions in {
    "hours_since_seen": (Action.CLICKED, Action.VIEWED),
    "hours_since_carted": (Action.ADDED, Action.WISHLISTED),
    "hours_since_ordered": (Action.ORDERED,),
    "hours_since_removed": (Action.REMOVED,),
}.items():
    _SINCE[list(_actions)] = OWN_HISTORY.index(_name)
_FIRST_SINCE, _LAST_SINCE = OWN_HISTORY.index("hours_since_seen"), OWN_HISTORY.index("hours_since_removed")


@kernel
def put(matrix: Floats, table: Floats, rows: NDArray[np.integer]) -> None:
    """Fill a matrix with rows of a table; numpy would make an array of them first."""
    for column in range(table.shape[1]):
        for row in range(len(rows)):
            matrix[row, column] = table[rows[row], column]


@kernel
def similarities(
    matrix: Floats,
    codes: Codes,
    owner: Rows,
    directions: Vectors,
    lengths: NDArray[np.float32],
    of_visitors: tuple[Vectors, Vectors, Vectors],
) -> None:
    """The first three of :data:`CLOSENESS`: unknown without factors of the product, or of the visitor."""
    for column in range(3):
        vectors = of_visitors[column]
        somewhere = np.empty(len(vectors), dtype=np.bool_)
        for visitor in range(len(vectors)):
            somewhere[visitor] = np.any(vectors[visitor] != 0)
        for row in range(len(codes)):
            code, visitor = codes[row], owner[row]
            matrix[row, column] = np.nan
            if lengths[code] > 0 and somewhere[visitor]:
                product = dot(directions[code], vectors[visitor])
                matrix[row, column] = product * lengths[code] if column == 0 else product


@kernel
def tied(
    column: Floats,
    codes: Codes,
    owner: Rows,
    products: int,
    begins: Rows,
    codes_of_visitors: Codes,
    strengths: NDArray[np.float32],
) -> None:
    """One of the rest of :data:`CLOSENESS`, from what :class:`feature_repo.ranking.ties.Ties` hold."""
    of_visitor = np.zeros(products, dtype=np.float32)
    first = last = 0
    for row in range(len(codes)):
        if row == 0 or owner[row] != owner[row - 1]:
            for place in range(first, last):
                of_visitor[codes_of_visitors[place]] = 0
            first, last = begins[owner[row]], begins[owner[row] + 1]
            for place in range(first, last):
                of_visitor[codes_of_visitors[place]] = strengths[place]
        column[row] = of_visitor[codes[row]]


@kernel(any_order=True)
def shares_of_interest(
    matrix: Floats,
    owner: Rows,
    kinds: tuple[Codes, Codes, Codes],
    interest: Floats,
    of_visitors: tuple[Codes, Codes, Codes],
) -> None:
    """The first three of :data:`AFFINITIES`: which share of a visitor's interest is in each candidate's kinds.

    Args:
        kinds: category, department and brand of each candidate; there is no interest in an unknown one.
        interest: of what each visitor did; nothing is known if it is 0 altogether.
        of_visitors: category, department and brand of the same.
    """
    visitors, steps = interest.shape
    total = np.empty(visitors)
    for visitor in range(visitors):
        total[visitor] = interest[visitor].sum()
    for column in range(3):
        own, theirs = kinds[column], of_visitors[column]
        for row in range(len(owner)):
            visitor, kind = owner[row], own[row]
            if total[visitor] <= 0:
                matrix[row, column] = np.nan
                continue
            shared = 0.0
            for step in range(steps):
                shared += interest[visitor, step] if theirs[visitor, step] == kind else 0.0
            matrix[row, column] = 0.0 if kind == UNKNOWN else shared / total[visitor]


@kernel
def price_distance(column: Floats, owner: Rows, log_prices: Floats, interest: Floats, of_visitors: Floats) -> None:
    """The last of :data:`AFFINITIES`: from the price that is usual for a visitor, by the logarithms of both."""
    usual = np.empty(len(interest))
    for visitor in range(len(interest)):
        mass = spent = 0.0
        for step in range(interest.shape[1]):
            if not np.isnan(of_visitors[visitor, step]):
                mass += interest[visitor, step]
                spent += interest[visitor, step] * of_visitors[visitor, step]
        usual[visitor] = spent / mass if mass > 0 else np.nan
    for row in range(len(owner)):
        column[row] = log_prices[row] - usual[owner[row]]


@kernel
def own_history(
    matrix: Floats,
    codes: Codes,
    owner: Rows,
    items: Codes,
    actions: NDArray[np.int32],
    hours: Floats,
    interest: Floats,
    in_session: NDArray[np.bool_],
) -> None:
    """:data:`OWN_HISTORY`: what each visitor did to the very product."""
    for row in range(len(codes)):
        code, visitor = codes[row], owner[row]
        interested, now, before = 0.0, 0, 0
        matrix[row, :] = np.nan
        for step in range(items.shape[1]):
            if items[visitor, step] != code:
                continue
            action = actions[visitor, step]
            if now + before == 0:
                matrix[row, _STEPS_SINCE], matrix[row, _LAST_ACTION] = step, action
            now, before = now + in_session[visitor, step], before + (not in_session[visitor, step])
            interested += interest[visitor, step]
            since, column = hours[visitor, step], _SINCE[action]
            if column and not since >= matrix[row, column]:
                matrix[row, column] = since
        for column in range(_FIRST_SINCE, _LAST_SINCE + 1):
            matrix[row, column] = np.log1p(matrix[row, column])
        matrix[row, 0], matrix[row, _TIMES_NOW], matrix[row, _TIMES_BEFORE] = np.log1p(interested), now, before


@kernel
def exposure(
    matrix: Floats,
    codes: Codes,
    owner: Rows,
    items: Codes,
    shown: Codes,
    positions: NDArray[np.int32],
    hours: Floats,
) -> None:
    """:data:`EXPOSURE`: where a product stood, also from the last one that the visitor turned to, says what he looks at."""
    visitors, places = shown.shape
    lists = np.zeros(shown.shape, dtype=np.int64)
    list_of_last, position_of_last = np.full(visitors, -1), np.zeros(visitors)
    for visitor in range(visitors):
        for place in range(1, places):
            another = hours[visitor, place] != hours[visitor, place - 1]
            lists[visitor, place] = lists[visitor, place - 1] + another
        last = items[visitor, 0]
        for place in range(places):
            if last != UNKNOWN and shown[visitor, place] == last:
                list_of_last[visitor], position_of_last[visitor] = lists[visitor, place], positions[visitor, place]
                break
    for row in range(len(codes)):
        code, visitor, times = codes[row], owner[row], 0
        since = of_list = position = from_last = np.nan
        for place in range(places):
            if shown[visitor, place] != code:
                continue
            times += 1
            if times == 1:
                since = np.log1p(hours[visitor, place])
                of_list, position = float(lists[visitor, place]), float(positions[visitor, place])
            if lists[visitor, place] == list_of_last[visitor] and np.isnan(from_last):
                from_last = positions[visitor, place] - position_of_last[visitor]
        matrix[row, 0], matrix[row, 1], matrix[row, 2] = times, since, of_list
        matrix[row, 3], matrix[row, 4] = position, from_last
