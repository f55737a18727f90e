"""How often something may happen: at a rate, and as often as in one second at once (a token bucket)."""

from __future__ import annotations

import math

# What is said to whoever asks too often.
TOO_MANY = "more requests with this key than agreed"


def retry_after(seconds: float) -> dict[str, str]:
    """The header that says when to ask again, in whole seconds."""
    return {"Retry-After": str(math.ceil(seconds))}


class RateLimit:
    """Allows ``per_second`` on average, and at least one."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._most = max(per_second, 1.0)
        self._left = self._most
        self._at = float("-inf")

    def wait(self, now: float) -> float:
        """0 if it may happen now, which counts as having happened; else the seconds after which it may.

        Args:
            now: by a clock that only goes forward.
        """
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1.0:
            return (1.0 - self._left) / self._per_second
        self._left -= 1.0
        return 0.0
