"""Stopping a command in good order on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from types import FrameType

INTERRUPTED = 130


class StopRequest:
    """Set by the first SIGINT or SIGTERM while the ``with`` block runs; a second one interrupts at once."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __bool__(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a stop is asked for; whether it is."""
        return self._event.wait(seconds)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.set()
