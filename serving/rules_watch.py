"""Keeping to the rules file: read at the start, and again whenever it changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from feature_repo.errors import InputError
from serving import metrics
from serving.rules import Rulebook, read_rules

_log = logging.getLogger("bentoml.shelfwise")


class RulesWatch:
    """Reads a rules file and hands out what it says, each time that the file has changed.

    Once the service runs, a file that cannot be used is reported, and the rules before it stay in force.
    """

    def __init__(self, path: Path, every: float, use: Callable[[Rulebook], None]) -> None:
        self._path = path
        self._every = every
        self._use = use
        self._seen: tuple[int, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="rules", daemon=True)

    def start(self) -> None:
        """Read the file, then watch it in the background.

        Raises:
            InputError: the file cannot be used: better not to start than to start without the shop's exclusions.
        """
        self._seen = self._state()
        self._use(read_rules(self._path))
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
        self._thread.join(timeout=5)

    def check(self) -> None:
        """Read the file if it has changed."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self._use(read_rules(self._path))
        except InputError as error:
            metrics.rules_refused.set(1)
            _log.error("%s; the rules before it stay in force", error)
            return
        metrics.rules_refused.set(0)
        _log.info("the rules of %s are in force", self._path)

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self.check()

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
