"""Choosing rows of a shelf by their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.filters import Mask
from feature_repo.shelf import UNKNOWN, Codes

NO_ROWS: Codes = np.empty(0, dtype=np.int32)


def best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Codes:
    """Allowed rows with the highest scores, best first; of equal scores, the lower row first."""
    rows: Codes = np.arange(len(scores), dtype=np.int32)
    found = rows[strongest(rows, np.where(allowed, scores, -np.inf), most)]
    return found[allowed[found]]


def strongest(codes: Codes, strengths: NDArray[np.floating], most: int) -> NDArray[np.intp]:
    """Places of the highest strengths, best first; of equal ones, the lower code first."""
    places: NDArray[np.intp] = np.arange(len(codes))
    if most < len(codes):
        least = np.partition(strengths, len(strengths) - most)[len(strengths) - most]
        places = np.flatnonzero(strengths >= least)
    return places[np.lexsort((codes[places], -strengths[places]))][:most]


def first_allowed(order: Codes, allowed: Mask, most: int) -> Codes:
    """The first allowed ones of rows in some order; looks no further than it must."""
    found, begin, span = [NO_ROWS], 0, 2 * most
    while begin < len(order) and sum(map(len, found)) < most:
        part = order[begin : begin + span]
        found.append(part[allowed[part]])
        begin, span = begin + span, 2 * span
    return np.concatenate(found)[:most]


def first_places(codes: Codes) -> NDArray[np.intp]:
    """Where each code appears first, ascending; codes must not be negative."""
    if len(codes) < 2:
        return np.arange(len(codes))
    places = np.arange(len(codes))
    # From the last to the first, so that what is left is the first; the rest of the memory is never read.
    first = np.empty(int(codes.max()) + 1, dtype=np.intp)
    first[codes[::-1]] = places[::-1]
    return np.flatnonzero(first[codes] == places)


def once(codes: Codes) -> Codes:
    """The known ones, each where it appears first."""
    known = codes[codes != UNKNOWN]
    return known[first_places(known)]
