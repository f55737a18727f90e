"""Reading the catalogue again after a reading that failed halfway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from small_shelf import NOW, following

from feature_repo.shelf import STORED_COLUMNS
from serving import catalogue
from serving.catalogue import CatalogueReader

IDS = [f"p{number}" for number in range(100)]


class Failing:
    """Stored features of products that are all sold out; the third part that is read fails, once."""

    def __init__(self, _: Any, service: str) -> None:
        self.service, self.reads = service, 0

    def read(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        if self.service == "shelf_index":
            return {"product_ids": [IDS]}
        self.reads += 1
        if self.reads == 3:
            raise ConnectionError("gone for a moment")
        columns = {name: [None] * len(ids) for name in (*STORED_COLUMNS, "name")}
        return columns | following({}, ids) | {"stock": [0] * len(ids), "last_event_at": [NOW] * len(ids)}

    def stamps(self, ids: Sequence[str]) -> list[bytes]:
        return [b"same"] * len(ids)


def test_what_a_failed_reading_had_read_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "OnlineReader", Failing)
    reader = CatalogueReader(object(), 1.0, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        reader._read()
    shelf = reader._read()
    assert len(shelf) == len(IDS)
    assert not shelf.items.available.any(), "a product that is held without what was read of it would count as in stock"
