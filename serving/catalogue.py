"""The catalogue in memory, kept fresh from the online store by a background thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from feature_repo.shelf import STORED_COLUMNS, Shelf, Vocabularies
from feature_repo.successors import COLUMNS as SUCCESSOR_COLUMNS
from serving import metrics

if TYPE_CHECKING:
    from feast import FeatureStore

_log = logging.getLogger("bentoml.shelfwise")

# Reading is Python work that would hold up requests: little at a time, and at most a quarter of the time.
_CHUNK = 32
_PAUSE_PER_WORK = 3.0
_COLUMNS = ("name", *STORED_COLUMNS, *SUCCESSOR_COLUMNS)


class CatalogueReader:
    """Reads every product's features through Feast again and again and hands out a new shelf each time.

    Attributes:
        problem: why the latest read failed, or None; "not read yet" before the first.
    """

    def __init__(self, store: FeatureStore, every: float, publish: Callable[[Shelf], None]) -> None:
        self.problem: str | None = "the catalogue has not been read yet"
        self._store = store
        self._service = store.get_feature_service("shelf_features")
        self._every = every
        self._publish = publish
        self._words = Vocabularies()
        self._size = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="catalogue", daemon=True)

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """End reading; returns when the thread has ended."""
        self._stop.set()
        self._thread.join(timeout=5)

    def _loop(self) -> None:
        while not self._stop.is_set():
            begun = time.monotonic()
            try:
                shelf = self._read()
                self._publish(shelf)
                self._note(None)
                metrics.catalogue_read_at.set(shelf.at)
                metrics.catalogue_size.set(len(shelf))
            except Exception as error:
                self._note(f"the catalogue cannot be read from the online store: {error}")
            self._stop.wait(max(self._every - (time.monotonic() - begun), 0.05))

    def _note(self, problem: str | None) -> None:
        if problem != self.problem:
            _log.warning("%s", problem) if problem else _log.info("the catalogue is read again")
        self.problem = problem

    def _read(self) -> Shelf:
        at = time.time()
        ids = self._ids()
        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for start in range(0, len(ids), _CHUNK):
            begun = time.perf_counter()
            entities = [{"product_id": product_id} for product_id in ids[start : start + _CHUNK]]
            values = self._store.get_online_features(self._service, entities).to_dict()
            for name in _COLUMNS:
                columns[name].extend(values[name])
            self._stop.wait((time.perf_counter() - begun) * _PAUSE_PER_WORK)
        self._size = len(ids)
        return Shelf.from_columns(ids, columns, at, self._words)

    def _ids(self) -> list[str]:
        row = self._store.get_online_features(["catalog_index:product_ids"], [{"shop": "all"}]).to_dict()
        ids = row["product_ids"][0] or []
        if not ids and self._size:
            raise LookupError("the list of products is gone; `feast materialize` brings it back")
        return list(ids)
