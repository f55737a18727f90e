"""From ranked candidates to the list that is shown: diversity, places for new arrivals, caps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from feature_repo.kernel import dot, kernel
from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes, Shelf

Order = NDArray[np.intp]

# Beyond so many candidates per place of the list, diversity looks no further.
_POOL = 4


def diversified(scores: Floats, directions: NDArray[np.float32], categories: Codes, diversity: float, k: int) -> Order:
    """Places of candidates by maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998), then the rest in order.

    Each of the first ``k`` is the one with the highest ``(1 - diversity) * score - diversity * likeness``; its likeness
    is the highest to any chosen before: the mean of the cosine of directions and of being of one category.

    Args:
        scores: shape (n,), descending and not negative; they count relative to the first.
        directions: of length 1 or 0, shape (n, factors).
        categories: codes, shape (n,).
        diversity: 0 (no diversity) to 1 (nothing else).
        k: how many are chosen in this way.
    """
    pool = min(len(scores), _POOL * k)
    relevance = (1 - diversity) * scores[:pool] / max(scores[0], np.finfo(float).tiny)
    chosen = _unlike(relevance, directions[:pool], categories[:pool], diversity / 2, min(k, pool))
    rest = np.ones(len(scores), dtype=bool)
    rest[chosen] = False
    return np.concatenate([chosen, np.flatnonzero(rest)])


@kernel
def _unlike(relevance: Floats, directions: NDArray[np.float32], categories: Codes, weight: float, k: int) -> Order:
    """``k`` places, each with the highest relevance minus the weighted likeness to the nearest of those before it."""
    nearest, chosen = np.zeros(len(relevance)), np.empty(k, dtype=np.int64)
    for number in range(k):
        best = np.argmax(relevance - nearest)
        chosen[number], relevance[best] = best, -np.inf
        for place in range(len(relevance)):
            cosine = dot(directions[best], directions[place])
            same = categories[best] == categories[place] and categories[best] != UNKNOWN
            nearest[place] = max(nearest[place], weight * (max(cosine, np.float32(0)) + same))
    return chosen


def with_arrivals(order: Order, arrivals: Order, every: int, k: int) -> Order:
    """The order with an arrival in the middle of every so many places; those among the first ``k`` anyway count too.

    Args:
        order: places of candidates.
        arrivals: those of them that wait to be seen, the most deserving first.
        every: one of so many places.
        k: length of the list that will be shown.
    """
    places = range((every - 1) // 2, k, every)
    seen = set(order[:k].tolist())
    waiting = [arrival for arrival in arrivals.tolist() if arrival not in seen]
    waiting = waiting[: max(len(places) - (len(arrivals) - len(waiting)), 0)]
    arranged = order.tolist()
    for place, arrival in zip(places, waiting, strict=False):
        arranged.remove(arrival)
        arranged.insert(place, arrival)
    return np.array(arranged, dtype=np.intp)


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
