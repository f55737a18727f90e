"""Keeping to the rules file and the experiments file: read at the start, and again whenever they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import Gauge

from feature_repo.errors import InputError
from serving import metrics
from serving.rules.declared import read_rules

_log = logging.getLogger("bentoml.shelfwise")


class RulesWatch:
    """Reads a file and hands out what it says, each time that the file has changed.

    Once the service runs, a file that cannot be used is reported, and what it said before stays in force.

    Args:
        read: what the file says; raises an InputError if it cannot be used.
        refused: is 1 while the file as it is cannot be used.
    """

    def __init__(
        self,
        path: Path,
        every: float,
        use: Callable[[Any], None],
        read: Callable[[Path], Any] = read_rules,
        refused: Gauge = metrics.rules_refused,
    ) -> None:
        self._path = path
        self._every = every
        self._read = read
        self._use = use
        self._refused = refused
        self._seen: tuple[int, int] | None = None
        self._complaint: str | None = None  # why it is refused
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name=path.stem, daemon=True)

    def start(self) -> None:
        """Read the file, then watch it in the background.

        Raises:
            InputError: the file cannot be used: better not to start than to start without the shop's exclusions.
        """
        self._seen = self._state()
        self._use(self._read(self._path))
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
        self._thread.join(timeout=5)

    def check(self) -> None:
        """Read the file if it has changed, or was refused: what it needs of another file, or a model, may be there by now."""
        state = self._state()
        if state == self._seen and self._complaint is None:
            return
        self._seen = state
        try:
            self._use(self._read(self._path))
        except InputError as error:
            self._refused.set(1)
            if str(error) != self._complaint:
                _log.error("%s; what it said before stays in force", error)
            self._complaint = str(error)
            return
        self._complaint = None
        self._refused.set(0)
        _log.info("what %s says is in force", self._path)

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self.check()

    def _state(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size
