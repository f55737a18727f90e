"""The catalogue in memory, kept fresh from the online store by a background thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from feature_repo.online.catalogue import StoredShelf
from feature_repo.online.reading import OnlineReader
from feature_repo.ranking.shelf import Shelf, Vocabularies
from feature_repo.tables import SHOP
from serving import metrics

if TYPE_CHECKING:
    from feast import FeatureStore

_log = logging.getLogger("bentoml.shelfwise")

# Reading is work that would hold up requests: little at a time, and at most a quarter of the time.
_CHUNK = 32
_PAUSE_PER_WORK = 3.0
# A writer that was killed may not have told what it wrote: within so many seconds, all are read anew.
_ALL_SECONDS = 600.0


class CatalogueReader:
    """Reads the products that changed again and again and hands out a new shelf each time.

    Attributes:
        problem: why the latest read failed, or None; "not read yet" before the first.
        read_at: when the latest read that did not fail had begun, epoch seconds.
    """

    def __init__(self, store: FeatureStore, every: float, publish: Callable[[Shelf], None]) -> None:
        self.problem: str | None = "the catalogue has not been read yet"
        self.read_at = -math.inf
        self._index = OnlineReader(store, "shelf_index")
        self._features = OnlineReader(store, "shelf_features")
        self._every = every
        self._publish = publish
        self._listing: list[list[bytes | None]] | None = None
        self._listed: tuple[str, ...] = ()
        self._stored = StoredShelf((), Vocabularies())
        self._place: bytes | None = None
        self._unread: set[str] = set()
        self._next_anew = 0
        self._begun = time.monotonic()
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
                self.read_at = shelf.at
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
        # Before there is any catalogue, there is nothing to answer from, and nobody to be held up.
        pause = _PAUSE_PER_WORK if self._stored.ids else 0.0
        self._note_unread(ids)
        if self._stored.ids != ids:
            self._unread.update(set(ids) - self._stored.rows.keys())
            self._stored = self._stored.of(ids)
        stored = self._stored
        # What is not on the list is read when it is.
        self._unread.intersection_update(stored.rows)
        for part in _parts(sorted(self._unread), _CHUNK):
            with self._pausing(pause):
                stored.put([stored.rows[product_id] for product_id in part], self._features.read(part))
                self._unread.difference_update(part)
        with self._pausing(pause):
            return stored.shelf(at)

    def _note_unread(self, ids: tuple[str, ...]) -> None:
        """Remember which products have to be read, also should this reading fail halfway."""
        self._place, changed = self._features.changes(self._place)
        elapsed, self._begun = time.monotonic() - self._begun, time.monotonic()
        first = self._next_anew % max(len(ids), 1)
        turn = ids[first : first + math.ceil(len(ids) * elapsed / _ALL_SECONDS)]
        self._next_anew = first + len(turn)
        self._unread.update(ids if changed is None else changed, turn)

    def _ids(self) -> tuple[str, ...]:
        listing = self._index.fetch([SHOP])
        if listing != self._listing:  # to take it apart holds up requests: 20 ms for 200,000 products
            ids = self._index.columns(listing)["product_ids"][0] or []
            if not ids and self._stored.ids:
                raise LookupError("the list of products is gone; `feast materialize` brings it back")
            self._listing, self._listed = listing, tuple(ids)
        return self._listed

    @contextmanager
    def _pausing(self, per_work: float) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._stop.wait((time.perf_counter() - begun) * per_work)


def _parts(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
