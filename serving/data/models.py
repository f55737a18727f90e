"""Finding the model to answer with in BentoML's store, now and while the service runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

import bentoml

from feature_repo.models.promotions import PROMOTED, promotions
from serving import metrics
from training.model import Recommender

_log = logging.getLogger("bentoml.shelfwise")

_AGAIN_SECONDS = 60.0

OnModel = Callable[[Recommender, str], None]


def load(name: str, version: str) -> Recommender:
    """A stored version of a model; whatever is wrong with it is raised."""
    stored = bentoml.models.get(f"{name}:{version}")
    recommender, _ = Recommender.load(Path(stored.path))
    return recommender


class ModelWatch:
    """Loads the model of a tag, and again whenever the tag comes to mean another version.

    A model that cannot be used is reported, and the one before stays in use; at a start, the newest of the earlier
    promotions that can be used takes its place. It is tried again each minute: its files may have been away for a moment.

    Attributes:
        problem: why there is no model in use although there should be, or None.
    """

    def __init__(self, tag: str, every: float, use: OnModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.problem: str | None = None
        self._name, _, self._version = tag.partition(":")
        self._every = every
        self._use = use
        self._clock = clock
        self._in_use: str | None = None
        self._unusable: dict[tuple[str, str], float] = {}
        self._told = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="models", daemon=True)

    def start(self) -> None:
        """Load what is there, then watch in the background."""
        self.check()
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stop.set()
        self._thread.join(timeout=5)

    def check(self) -> None:
        """Load the model if it is another one than that in use."""
        try:
            wanted = self._wanted()
        except Exception as error:  # an empty store, or one that is just being written to
            self._tell_once(f"the model cannot be told: {error}")
            return
        if not wanted:
            self._tell_once("no model is promoted yet (`python -m training models`), serving what is popular")
        self._use_first(wanted)
        self.problem = (
            f"no model of {self._name} can be used; the log says why" if wanted and not self._in_use else None
        )
        metrics.model_refused.set(bool(wanted) and wanted[0][0] != self._in_use)

    def _use_first(self, wanted: list[tuple[str, str]]) -> None:
        for version, promoted_at in wanted:
            if version == self._in_use:
                return
            # What is promoted again is tried at once: it may have been repaired.
            tried = self._unusable.get((version, promoted_at))
            if tried is not None and self._clock() - tried < _AGAIN_SECONDS:
                continue
            if self._load(version):
                return
            self._unusable[version, promoted_at] = self._clock()

    def _wanted(self) -> list[tuple[str, str]]:
        """Versions in the order in which they are to be tried, and when each was promoted."""
        if self._version == PROMOTED:
            return [(promotion.version, promotion.at) for promotion in reversed(promotions())]
        return [(str(bentoml.models.get(f"{self._name}:{self._version or 'latest'}").tag.version), "")]

    def _load(self, version: str) -> bool:
        try:
            self._use(load(self._name, version), version)
        except Exception as error:  # a broken file can raise anything, and must not end the watch
            _log.error("model %s:%s cannot be used: %s", self._name, version, str(error) or repr(error))
            return False
        self._in_use = version
        metrics.use_model(version)
        _log.info("model %s:%s is in use", self._name, version)
        return True

    def _tell_once(self, problem: str) -> None:
        if problem != self._told:
            _log.warning("%s", problem)
        self._told = problem

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self.check()
