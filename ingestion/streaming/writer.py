"""Writing in the background, now and then, so that events need not wait for the offline store."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

_MOST_WAITING = 200_000


class Writer:
    """Does one piece of writing again and again, in a thread of its own, never twice at a time."""

    def __init__(self, write: Callable[[], None], every_seconds: float) -> None:
        self._write, self._every_seconds = write, every_seconds
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._running: Future[None] | None = None
        self._begun = time.monotonic()

    def due(self, waiting: int) -> bool:
        """Whether to start now, with so many rows waiting: it is time and the thread is free, or there are too many."""
        if waiting > _MOST_WAITING:
            return True
        if self._running is not None and self._running.done():
            self.wait()
        return self._running is None and time.monotonic() - self._begun > self._every_seconds

    def start(self) -> None:
        """Write, once the last writing has ended."""
        self.wait()
        self._begun = time.monotonic()
        self._running = self._thread.submit(self._write)

    def wait(self) -> None:
        """Until nothing is being written; raises what went wrong."""
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
