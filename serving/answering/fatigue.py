"""Fatigue: what a customer was shown often and never turned to goes down."""

from __future__ import annotations

import numpy as np

from feature_repo.kernel import kernel
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats

HALF_LIFE_HOURS = 72.0
# So many times, a product may be shown for nothing; each further time lowers its score.
FREE_TIMES = 2.0
_LOWERED_BY = 0.25


def fatigue(rows: Codes, visitor: Visitors) -> Floats:
    """Factors for the scores of some rows for one visitor, in 0..1, shape (n,).

    Each time that a product was shown counts, and counts half after three days. What the visitor did anything about tires
    him less than it interests him.
    """
    return _factors(rows, visitor.items[0], visitor.shown[0], visitor.shown_hours[0])


@kernel
def _factors(rows: Codes, turned_to: Codes, shown: Codes, hours: Floats) -> Floats:
    times = np.zeros(max(rows.max() if len(rows) else 0, shown.max()) + 1)
    for place in range(len(shown)):
        if shown[place] != UNKNOWN and not (turned_to == shown[place]).any():
            times[shown[place]] += np.exp2(-hours[place] / HALF_LIFE_HOURS)
    return 1 / (1 + _LOWERED_BY * np.maximum(times[rows] - FREE_TIMES, 0.0))
