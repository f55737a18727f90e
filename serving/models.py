"""Finding the newest model in BentoML's store, now and while the service runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import bentoml

from feature_repo.errors import DefinitionError
from serving import metrics
from training.model import Recommender

_log = logging.getLogger("bentoml.shelfwise")

OnModel = Callable[[Recommender, str], None]


class ModelWatch:
    """Loads the model of a tag, and again whenever the tag comes to mean another version.

    A model that cannot be loaded is reported once, and the one before stays in use.
    """

    def __init__(self, tag: str, every: float, use: OnModel) -> None:
        self._tag = tag
        self._every = every
        self._use = use
        self._seen: str | None = None
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
        """Load the model if it is a new one."""
        try:
            stored = bentoml.models.get(self._tag)
        except Exception as error:  # an empty store, or one that is just being written to
            if self._seen is None:
                _log.warning("no model %s yet, serving what is popular (%s)", self._tag, error)
                self._seen = ""
            return
        version = str(stored.tag.version)
        if version == self._seen:
            return
        self._seen = version
        try:
            recommender, _ = Recommender.load(Path(stored.path))
        except (DefinitionError, OSError, ValueError, KeyError) as error:
            _log.error("model %s cannot be used: %s", stored.tag, error)
            return
        self._use(recommender, version)
        metrics.model_info.labels(version=version).set(1)
        _log.info("model %s is in use", stored.tag)

    def _loop(self) -> None:
        while not self._stop.wait(self._every):
            self.check()
