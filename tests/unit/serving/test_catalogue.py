"""Reading the catalogue again: what changed, and what a reading that failed halfway left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import pytest
from small_shelf import NOW, following

from feature_repo.ranking.shelf import STORED_COLUMNS
from serving.data import catalogue
from serving.data.catalogue import CatalogueReader

IDS = [f"p{number}" for number in range(100)]


class Failing:
    """Stored features of products that are all sold out; the third part that is read fails, once."""

    changed: ClassVar[set[str]] = set()

    def __init__(self, *_: Any) -> None:
        self.reads, self.taken_apart = 0, 0
        self.asked: list[str] = []
        self.listed = IDS

    def fetch(self, _: Sequence[str]) -> list[list[bytes | None]]:
        return [["".join(self.listed).encode()]]

    def columns(self, _: list[list[bytes | None]]) -> dict[str, list[Any]]:
        self.taken_apart += 1
        return {"product_ids": [list(self.listed)]}

    def read(self, ids: Sequence[str]) -> dict[str, list[Any]]:
        self.reads += 1
        if self.reads == 3:
            raise ConnectionError("gone for a moment")
        self.asked += ids
        columns = {name: [None] * len(ids) for name in (*STORED_COLUMNS, "name")}
        return columns | following({}, ids) | {"stock": [0] * len(ids), "last_event_at": [NOW] * len(ids)}

    def changes(self, since: bytes | None) -> tuple[bytes, set[str] | None]:
        return b"1-0", None if since is None else self.changed


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> CatalogueReader:
    """One whose first reading failed halfway."""
    monkeypatch.setattr(catalogue, "OnlineReader", Failing)
    reader = CatalogueReader(object(), 1.0, lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(ConnectionError):
        reader._read()
    return reader


def test_what_a_failed_reading_had_read_is_not_lost(reader: CatalogueReader) -> None:
    shelf = reader._read()
    assert len(shelf) == len(IDS)
    assert not shelf.items.available.any(), "a product that is held without what was read of it would count as in stock"


def test_only_what_changed_is_read_and_now_and_then_the_rest(
    reader: CatalogueReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = cast(Any, reader._features)
    reader._read()
    assert set(features.asked) == set(IDS)
    assert len(features.asked) <= len(IDS) + 2, "what was read before the failure is not read again"
    features.asked.clear()
    features.changed = {"p7", "unlisted"}
    reader._read()
    assert "p7" in features.asked
    assert len(features.asked) <= 3, "it, and those whose turn it is"
    monkeypatch.setattr(catalogue, "_ALL_SECONDS", 1e-9)
    features.asked.clear()
    for _ in range(2):  # from where the turn is to the end, and from the beginning
        reader._read()
    assert set(features.asked) == set(IDS)


def test_the_list_of_products_is_taken_apart_when_it_is_another(reader: CatalogueReader) -> None:
    index = cast(Any, reader._index)
    assert [len(reader._read()) for _ in range(2)] == [100, 100]
    assert index.taken_apart == 1
    index.listed = IDS[10:]
    assert reader._read().ids == tuple(IDS[10:])
    index.listed = []
    for _ in range(2):
        with pytest.raises(LookupError, match="feast materialize"):
            reader._read()
    index.listed = IDS
    assert reader._read().ids == tuple(IDS)
