"""What a worker keeps in memory: the newest model placed on a fresh snapshot of the catalogue."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException

from feature_repo.errors import ShelfwiseError
from feature_repo.settings import ServingSettings
from feature_repo.shelf import Shelf, Vocabularies
from serving.online import OnlineStore
from training.model import PlacedRecommender, Recommender

log = logging.getLogger(__name__)
_MODEL_CHECK_SECONDS = 5.0


@dataclass(frozen=True)
class State:
    """One consistent view for a request; replaced as a whole."""

    shelf: Shelf
    placed: PlacedRecommender | None
    version: str | None


class Keeper:
    """Keeps the state fresh in a background thread.

    Attributes:
        state: the newest; None until the first snapshot.
        refreshed_at: when the snapshot was last read, epoch seconds; 0 before.
        problem: why the last refresh failed, or None.
    """

    def __init__(self, store: OnlineStore, settings: ServingSettings) -> None:
        self._store = store
        self._settings = settings
        self._model: Recommender | None = None
        self._version: str | None = None
        self._checked = 0.0
        self._ended = threading.Event()
        self.state: State | None = None
        self.refreshed_at = 0.0
        self.problem: str | None = "the first snapshot has not been read yet"

    def start(self) -> None:
        """Begin to refresh, without waiting for the first snapshot."""
        threading.Thread(target=self._run, name="snapshot", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self.refresh()
                self.problem = None
            except Exception as error:  # the thread must outlive whatever the store throws while it is away
                self.problem = f"{type(error).__name__} while reading the online store"
                log.warning("snapshot not refreshed: %s", self.problem)
            self._ended.wait(self._settings.snapshot_seconds)

    def refresh(self) -> None:
        """Read the catalogue's features and, now and then, look for a newer model."""
        if time.monotonic() - self._checked > _MODEL_CHECK_SECONDS:
            self._checked = time.monotonic()
            self._load_newer_model()
        ids = self._store.product_ids()
        columns = self._store.items(ids) if ids else {}
        now = time.time()
        shelf = Shelf.from_columns(ids, columns, now, Vocabularies()) if ids else None
        if shelf is not None:
            placed = self._model.on(shelf) if self._model else None
            self.state = State(shelf, placed, self._version)
        self.refreshed_at = now

    def _load_newer_model(self) -> None:
        try:
            stored = bentoml.models.get(self._settings.model)
        except BentoMLException:
            return
        if stored.tag.version == self._version:
            return
        try:
            model, _ = Recommender.load(Path(stored.path))
        except (ShelfwiseError, OSError, ValueError, KeyError) as error:
            log.error("model %s cannot be used: %s", stored.tag, error)
            return
        self._model, self._version = model, stored.tag.version
        log.warning("now serving model %s", stored.tag)
