"""From impressions to the rows that the ranker is fitted on and judged by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.ranking.features import FEATURES, features, within_lists
from feature_repo.ranking.shelf import Items, Shelf
from feature_repo.ranking.visitors import Visitors
from feature_repo.reading import Floats
from feature_repo.sections.training import TrainingSettings
from training.candidates.space import Spaces
from training.data.history import History
from training.data.impressions import Impressions
from training.ranking.rankers import Purpose, Rows

# Rows of the catalogue that are held at once, over all the moments it is looked at; bounds memory and reading time.
SHELF_ROWS = 400_000
_LISTS_AT_ONCE = 500


@dataclass(frozen=True)
class Shelves:
    """The catalogue as of regular moments, at least an hour apart; products sold since are unknown until the next."""

    first: float
    step: float
    shelves: tuple[Shelf, ...]

    @classmethod
    def read(cls, history: History, first: float, last: float) -> Shelves:
        """Shelves from the hour of ``first`` to ``last``, as many as :data:`SHELF_ROWS` allows."""
        most = max(SHELF_ROWS // max(len(history.ids), 1), 1)
        first = first // 3600 * 3600
        step = 3600 * max(1, int(np.ceil((last - first) / 3600 / most)))
        moments = np.arange(first, last + 1, step)
        return cls(first, step, tuple(history.shelves(moments)))

    def number(self, moments: Floats) -> NDArray[np.int64]:
        """Which shelf was the newest at each moment."""
        return np.clip((moments - self.first) // self.step, 0, len(self.shelves) - 1).astype(np.int64)

    def blocks(self, moments: Floats, most: int) -> Iterator[tuple[Shelf, slice]]:
        """Ascending moments in blocks of at most ``most``, each with the newest shelf at its moments."""
        numbers = self.number(moments)
        bounds = np.searchsorted(numbers, np.arange(len(self.shelves) + 1))
        for shelf, first, last in zip(self.shelves, bounds[:-1], bounds[1:], strict=True):
            for start in range(first, last, most):
                yield shelf, slice(start, min(start + most, last))

    def visitors(self, columns: dict[str, NDArray[np.generic]], moments: Floats, device: Floats) -> Visitors:
        """Visitors at ascending moments, each read with the shelf of his time."""
        if not len(moments):
            return Visitors.from_columns(columns, moments, self.shelves[0], device)
        parts = []
        for shelf, rows in self.blocks(moments, len(moments)):
            part = {name: column[rows] for name, column in columns.items()}
            parts.append(Visitors.from_columns(part, moments[rows], shelf, device[rows]))
        return Visitors.concatenate(parts)


@dataclass(frozen=True)
class Examples:
    """Impressions with everything known of their customers (per list) and products (per row) at that moment."""

    impressions: Impressions
    visitors: Visitors
    items: Items

    @classmethod
    def read(cls, history: History, shelves: Shelves, impressions: Impressions) -> Examples:
        """Through the feature store: customers once per list, products once per row."""
        columns = history.customers(impressions.customer_ids, impressions.times)
        moments = impressions.times[impressions.owner]
        items = Items.from_columns(history.items(impressions.items, moments), moments, history.words)
        return cls(impressions, shelves.visitors(columns, impressions.times, impressions.device), items)

    def matrix(self, shelves: Shelves, spaces: Spaces, purpose: Purpose) -> Floats:
        """What the ranker for a purpose looks at, shape (rows, its features)."""
        impressions = self.impressions
        parts = [np.empty((0, len(FEATURES)))]
        for space, of_space in spaces.parts(impressions.times):
            for shelf, block in shelves.blocks(impressions.times[of_space], _LISTS_AT_ONCE):
                lists = slice(of_space.start + block.start, of_space.start + block.stop)
                rows = slice(*np.searchsorted(impressions.owner, [lists.start, lists.stop]))
                visitors = self.visitors.take(lists)
                owner = impressions.owner[rows] - lists.start
                embeddings = space.at(shelf).embed(visitors)
                of_items = np.arange(rows.start, rows.stop)
                parts.append(features(visitors, self.items, of_items, impressions.items[rows], owner, embeddings))
        matrix = np.concatenate(parts)
        return within_lists(matrix, impressions.owner) if purpose is Purpose.LIST else matrix

    def rows(self, shelves: Shelves, spaces: Spaces, purpose: Purpose, settings: TrainingSettings) -> Rows:
        """What the ranker for a purpose is fitted on."""
        impressions = self.impressions
        matrix = self.matrix(shelves, spaces, purpose)
        return Rows(matrix, impressions.owner, impressions.strength > 0, self._weights(settings))

    def _weights(self, settings: TrainingSettings) -> Floats:
        """Sample weight of each row, by what became of it."""
        by_strength = np.array([1.0, settings.click_weight, settings.cart_weight, settings.order_weight])
        return by_strength[self.impressions.strength]
