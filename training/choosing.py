"""Choosing rows of a shelf by their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.filters import Mask
from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes

NO_ROWS: Codes = np.empty(0, dtype=np.int32)


def best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Codes:
    """Allowed rows with the highest scores, best first; of equal scores, the lower row first."""
    rows: Codes = np.arange(len(scores), dtype=np.int32)
    found = rows[strongest(rows, np.where(allowed, scores, -np.inf), most)]
    return found[allowed[found]]


@kernel
def strongest(codes: Codes, strengths: NDArray[np.floating], most: int) -> NDArray[np.int64]:
    """Places of the highest strengths, best first; of equal ones, the lower code first."""
    # A heap of the best so far, the worst of them on top; taken apart in the end, it is in order.
    heap = np.empty(min(most, len(codes)), dtype=np.int64)
    size = len(heap)
    for place in range(size):
        heap[place] = place
    for root in range(size // 2 - 1, -1, -1):
        _sink(heap, root, size, codes, strengths)
    for place in range(size, len(codes)):
        if size and _is_better(place, heap[0], codes, strengths):
            heap[0] = place
            _sink(heap, 0, size, codes, strengths)
    for last in range(size - 1, 0, -1):
        heap[0], heap[last] = heap[last], heap[0]
        _sink(heap, 0, last, codes, strengths)
    return heap


@kernel
def _is_better(one: int, other: int, codes: Codes, strengths: NDArray[np.floating]) -> bool:
    if strengths[one] != strengths[other]:
        return strengths[one] > strengths[other]
    return codes[one] < codes[other]


@kernel
def _sink(heap: NDArray[np.int64], root: int, size: int, codes: Codes, strengths: NDArray[np.floating]) -> None:
    """Let what is at the root go down until nothing below it is worse."""
    while True:
        worst = root
        for child in (2 * root + 1, 2 * root + 2):
            if child < size and _is_better(heap[worst], heap[child], codes, strengths):
                worst = child
        if worst == root:
            return
        heap[root], heap[worst] = heap[worst], heap[root]
        root = worst


@kernel
def first_allowed(order: Codes, allowed: Mask, most: int) -> Codes:
    """The first allowed ones of rows in some order; looks no further than it must."""
    found, size = np.empty(min(most, len(order)), dtype=np.int32), 0
    for row in order:
        if size == most:
            break
        if allowed[row]:
            found[size] = row
            size += 1
    return found[:size]


@kernel
def among(allowed: Mask, codes: Codes, strengths: NDArray[np.float32]) -> tuple[Codes, NDArray[np.float32]]:
    """Those of some codes that are allowed, with their strengths."""
    kept, values, size = np.empty(len(codes), dtype=np.int32), np.empty(len(codes), dtype=np.float32), 0
    for place in range(len(codes)):
        if allowed[codes[place]]:
            kept[size], values[size] = codes[place], strengths[place]
            size += 1
    return kept[:size], values[:size]


@kernel
def first_places(codes: Codes) -> NDArray[np.int64]:
    """Where each code appears first, ascending; codes must not be negative."""
    last = -1
    for code in codes:
        last = max(last, code)
    seen = np.zeros(last + 1, dtype=np.bool_)
    places, found = np.empty(len(codes), dtype=np.int64), 0
    for place in range(len(codes)):
        if not seen[codes[place]]:
            seen[codes[place]] = True
            places[found] = place
            found += 1
    return places[:found]


def once(codes: Codes) -> Codes:
    """The known ones, each where it appears first."""
    known = codes[codes != UNKNOWN]
    return known[first_places(known)]
