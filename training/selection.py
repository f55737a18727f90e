"""From ranked candidates to the list that is shown: diversity, places for new arrivals, caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.kernel import dot, kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes, Shelf
from feature_repo.reading import Floats

Order = NDArray[np.intp]

# Beyond so many candidates per place of the list, diversity looks no further.
_POOL = 4


def diversified(
    scores: Floats, rows: Codes, directions: NDArray[np.float32], categories: Codes, diversity: float, k: int
) -> Order:
    """Places of candidates by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), then the rest in order.

    Each of the first ``k`` is the one with the highest ``(1 - diversity) * score - diversity * likeness``; its likeness
    is the highest to any chosen before: the mean of the cosine of directions and of being of one category.

    Args:
        scores: shape (n,), descending and not negative; they count relative to the first.
        rows: of the shelf, shape (n,).
        directions: of every row of the shelf, of length 1 or 0, shape (len(shelf), factors).
        categories: codes, likewise.
        diversity: 0 (no diversity) to 1 (nothing else).
        k: how many are chosen in this way.
    """
    relevance = (1 - diversity) * scores[: _POOL * k] / max(scores[0], np.finfo(float).tiny)
    return _unlike(relevance, rows, directions, categories, diversity / 2, k)


@kernel
def _unlike(
    relevance: Floats, rows: Codes, directions: NDArray[np.float32], categories: Codes, weight: float, k: int
) -> Order:
    """First ``k`` places, each with the highest relevance minus the weighted likeness to the nearest of those before it."""
    nearest, order = np.zeros(len(relevance)), np.empty(len(rows), dtype=np.int64)
    rest, size = np.ones(len(rows), dtype=np.bool_), min(k, len(relevance))
    for number in range(size):
        best = np.argmax(relevance - nearest)
        order[number], relevance[best], rest[best] = best, -np.inf, False
        for place in range(len(relevance)):
            cosine = dot(directions[rows[best]], directions[rows[place]])
            category = categories[rows[best]]
            same = category == categories[rows[place]] and category != UNKNOWN
            nearest[place] = max(nearest[place], weight * (max(cosine, np.float32(0)) + same))
    order[size:] = np.flatnonzero(rest)
    return order


@kernel
def with_arrivals(order: Order, arrivals: Order, every: int, k: int) -> Order:
    """The order with an arrival in the middle of every so many places; those among the first ``k`` anyway count too.

    Args:
        order: places of candidates, all of them.
        arrivals: those of them that wait to be seen, the most deserving first.
        every: one of so many places.
        k: length of the list that will be shown.
    """
    arranged, seen = order.copy(), np.zeros(len(order), dtype=np.bool_)
    seen[order[:k]] = True
    waiting = arrivals[~seen[arrivals]]
    places = np.arange((every - 1) // 2, k, every)
    places = places[: max(len(places) - (len(arrivals) - len(waiting)), 0)]
    for number in range(min(len(places), len(waiting))):
        # It stands further behind; what is between makes room.
        place, stood = places[number], np.flatnonzero(arranged == waiting[number])[0]
        arranged[place + 1 : stood + 1] = arranged[place:stood].copy()
        arranged[place] = waiting[number]
    return arranged


def capped(order: Order, kinds: Sequence[tuple[Codes, int]], k: int) -> Order:
    """The first ``k`` of the order that respect every cap; fewer if there are no more.

    Args:
        order: places of candidates.
        kinds: per cap, the kind of each candidate (brand, for example) and how many of one kind may be chosen. Unknown
            kinds are not counted.
        k: how many.
    """
    if not kinds:
        return order[:k]
    counts: list[Counter[int]] = [Counter() for _ in kinds]
    chosen = []
    for place in order.tolist():
        codes = [int(kind[place]) for kind, _ in kinds]
        if any(
            code != UNKNOWN and count[code] >= most for code, count, (_, most) in zip(codes, counts, kinds, strict=True)
        ):
            continue
        for code, count in zip(codes, counts, strict=True):
            count[code] += 1
        chosen.append(place)
        if len(chosen) == k:
            break
    return np.array(chosen, dtype=np.intp)


def kinds_of(shelf: Shelf, rows: Codes, by: str) -> Codes:
    """The brand, category or department of rows."""
    items = shelf.items
    return {"brand": items.brand, "category": items.category, "department": items.department}[by][rows]
