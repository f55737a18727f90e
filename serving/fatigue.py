"""Fatigue: what a customer was shown often and never turned to goes down."""

from __future__ import annotations

import numpy as np

from feature_repo.reading import Floats
from feature_repo.shelf import UNKNOWN, Codes
from feature_repo.visitors import Visitors

HALF_LIFE_HOURS = 72.0
# So many times, a product may be shown for nothing; each further time lowers its score.
FREE_TIMES = 2.0
_LOWERED_BY = 0.25


def fatigue(rows: Codes, visitor: Visitors) -> Floats:
    """Factors for the scores of some rows for one visitor, in 0..1, shape (n,).

    Each time that a product was shown counts, and counts half after three days. What the visitor did anything about tires
    him less than it interests him.
    """
    shown, hours = visitor.shown[0], visitor.shown_hours[0]
    # Many times as fast as np.isin on so few.
    tiring = (shown != UNKNOWN) & ~(shown[:, None] == visitor.items[0]).any(axis=1)
    if not tiring.any():
        return np.ones(len(rows))
    times = np.bincount(
        shown[tiring], np.exp2(-hours[tiring] / HALF_LIFE_HOURS), minlength=int(rows.max(initial=0)) + 1
    )
    return 1 / (1 + _LOWERED_BY * np.maximum(times[rows] - FREE_TIMES, 0.0))
