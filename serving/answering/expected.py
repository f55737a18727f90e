"""How long steps take, known from what they took before: a step that would not end in time need not begin."""

from __future__ import annotations

_WEIGHT = 0.1  # of the latest time in the mean
_MARGIN = 1.5  # times the mean; most take less
_FORGIVEN = 0.9


class Expected:
    """The time to reckon with, by step."""

    def __init__(self) -> None:
        self._means: dict[str, float] = {}

    def fits(self, step: str, left: float) -> bool:
        """Whether a step can be expected to end within ``left`` seconds; one that was never seen is let begin."""
        mean = self._means.get(step, 0.0)
        if left > 0 and mean * _MARGIN <= left:
            return True
        # Nothing is learnt from what does not begin: it has to be tried again after a while.
        self._means[step] = mean * _FORGIVEN
        return False

    def took(self, step: str, seconds: float) -> None:
        """Learn from one that was done."""
        mean = self._means.get(step, seconds)
        self._means[step] = mean + _WEIGHT * (seconds - mean)
