"""Choosing rows of a shelf by their scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_repo.filters import Mask
from feature_repo.shelf import UNKNOWN, Codes

NO_ROWS: Codes = np.empty(0, dtype=np.int32)


def best(scores: NDArray[np.floating], allowed: Mask, most: int) -> Codes:
    """Allowed rows with the highest scores, best first; of equal scores, the lower row first."""
    among = np.flatnonzero(allowed)
    most = min(most, len(among))
    if not most:
        return NO_ROWS
    least = -np.partition(-scores[among], most - 1)[most - 1]
    rows = among[scores[among] >= least]
    return rows[np.lexsort((rows, -scores[rows]))][:most].astype(np.int32)


def first_places(codes: Codes) -> NDArray[np.intp]:
    """Where each code appears first, ascending."""
    if len(codes) < 2:
        return np.arange(len(codes))
    return np.sort(np.unique(codes, return_index=True)[1])


def once(codes: Codes) -> Codes:
    """The known ones, each where it appears first."""
    known = codes[codes != UNKNOWN]
    return known[first_places(known)]
