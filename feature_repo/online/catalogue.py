"""The catalogue as a service holds it: stored columns in arrays, changed product by product; shelves are made of them.

To read and convert a whole catalogue takes seconds of a processor that has requests to answer. What changes between two shelves
are the few products that something happened to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from feature_repo.ranking.shelf import (
    NUMERIC_COLUMNS,
    UNKNOWN,
    Codes,
    Items,
    Shelf,
    Vocabularies,
    as_floats,
    department_of,
)
from feature_repo.ranking.successors import SuccessorTable

_CODED = ("category", "department", "brand")


class StoredShelf:
    """Columns of a fixed set of products; used by one thread.

    Args:
        ids: the products.
        words: the numbering of categories and brands.
    """

    def __init__(self, ids: Sequence[str], words: Vocabularies) -> None:
        self.ids = tuple(ids)
        self.rows = {product_id: row for row, product_id in enumerate(self.ids)}
        self._words = words
        size = len(self.ids)
        self._names: list[str | None] = [None] * size
        self._coded: dict[str, Codes] = {name: np.full(size, UNKNOWN, dtype=np.int32) for name in _CODED}
        self._numeric = {name: np.full(size, np.nan) for name in NUMERIC_COLUMNS}
        self._successors = SuccessorTable.empty(size)

    def put(self, rows: Sequence[int], columns: Mapping[str, Sequence[Any]]) -> None:
        """Replace what is stored of some products: ``name``, :data:`feature_repo.ranking.shelf.STORED_COLUMNS` and those of
        :mod:`feature_repo.ranking.successors`, each parallel to ``rows``."""
        chosen = np.array(rows, dtype=np.intp)
        for row, name in zip(rows, columns["name"], strict=True):
            self._names[row] = name if isinstance(name, str) else None
        for name in NUMERIC_COLUMNS:
            self._numeric[name][chosen] = as_floats(columns[name])
        categories = list(columns["category"])
        self._coded["category"][chosen] = self._words.categories.encode(categories)
        self._coded["department"][chosen] = self._words.departments.encode(list(map(department_of, categories)))
        self._coded["brand"][chosen] = self._words.brands.encode(list(columns["brand"]))
        self._successors.put(rows, columns, self.rows)

    def of(self, ids: Sequence[str]) -> StoredShelf:
        """The same for other products; nothing is known of those that were not among these."""
        other = StoredShelf(ids, self._words)
        came_from = np.array([self.rows.get(product_id, UNKNOWN) for product_id in other.ids], dtype=np.int32)
        kept = came_from != UNKNOWN
        for mine, theirs in ((self._coded, other._coded), (self._numeric, other._numeric)):
            for name, values in mine.items():
                theirs[name][kept] = values[came_from[kept]]
        other._names = [None if row == UNKNOWN else self._names[row] for row in came_from.tolist()]
        went_to = np.array([other.rows.get(product_id, UNKNOWN) for product_id in self.ids], dtype=np.int32)
        other._successors = self._successors.of(came_from, went_to)
        return other

    def shelf(self, at: float) -> Shelf:
        """All products as of a moment, epoch seconds; later changes do not reach it."""
        coded = {name: codes.copy() for name, codes in self._coded.items()}
        items = Items.of(coded["category"], coded["department"], coded["brand"], self._numeric, at)
        return Shelf.of(at, self.ids, tuple(self._names), items, self._words, self.rows, self._successors.at(at))
