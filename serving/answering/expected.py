"""How long steps take, known from what they took before: a step that would not end in time need not begin."""

from __future__ import annotations

import time
from collections.abc import Callable

_WEIGHT = 0.1  # of the latest time in the mean
_MARGIN = 1.5  # times the mean; most take less
_DOUBT_SECONDS = 1.0


class Expected:
    """The time to reckon with, by step.

    Nothing is learnt from what does not begin. So a step that has not been let begin for a second is tried, and what it
    takes then is all that counts: a machine that stood still for a moment is not taken for a slow one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._means: dict[str, float] = {}
        self._doubted: dict[str, float] = {}

    def fits(self, step: str, left: float) -> bool:
        """Whether a step can be expected to end within ``left`` seconds; one that was never seen is let begin."""
        if left <= 0:
            return False
        if self._means.get(step, 0.0) * _MARGIN <= left:
            self._doubted.pop(step, None)
            return True
        now = self._clock()
        if now - self._doubted.setdefault(step, now) < _DOUBT_SECONDS:
            return False
        del self._doubted[step], self._means[step]
        return True

    def took(self, step: str, seconds: float) -> None:
        """Learn from one that was done."""
        mean = self._means.get(step, seconds)
        self._means[step] = mean + _WEIGHT * (seconds - mean)
