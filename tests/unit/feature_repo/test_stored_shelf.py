"""A catalogue that is changed product by product is the same as one that is read as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from small_shelf import IDS, NOW, following

from feature_repo.aggregates import NEXT
from feature_repo.online.catalogue import StoredShelf
from feature_repo.ranking.shelf import NUMERIC_COLUMNS, STORED_COLUMNS, Shelf, Vocabularies

TURNS = {"cup": {"pan": 6.0, "rake": 2.0}, "rake": {"cup": 4.0, "gone": 1.0}}


def columns(ids: Sequence[str]) -> dict[str, list[Any]]:
    """Stored columns that say something else of each product."""
    numbers = np.array([len(product_id) + ord(product_id[0]) for product_id in ids], dtype=float)
    return {
        **{name: list(numbers + place) for place, name in enumerate(NUMERIC_COLUMNS)},
        "last_event_at": [None if product_id == "ball" else NOW - 60 for product_id in ids],
        "name": [None if product_id == "pan" else f"A {product_id}" for product_id in ids],
        "category": [None if product_id == "ball" else f"Kitchen/{product_id}" for product_id in ids],
        "brand": ["Alba" if product_id == "cup" else "Borea" for product_id in ids],
        **following(TURNS, ids),
    }


def same(one: Shelf, other: Shelf) -> bool:
    """Whether all is alike, but for the numbers of words."""

    def words(shelf: Shelf) -> list[Any]:
        items = shelf.items
        return [
            [codes.word(code) if code >= 0 else None for code in of.tolist()]
            for codes, of in (
                (shelf.words.categories, items.category),
                (shelf.words.departments, items.department),
                (shelf.words.brands, items.brand),
            )
        ]

    numbers = [(one.items.price, other.items.price), (one.items.last_event_at, other.items.last_event_at)]
    numbers += [(one.items.sums[name], other.items.sums[name]) for name in one.items.sums]
    numbers += [(one.items.rates[name], other.items.rates[name]) for name in one.items.rates]
    numbers += [
        (one.successors.following.toarray(), other.successors.following.toarray()),
        (one.successors.together.toarray(), other.successors.together.toarray()),
    ]
    return (
        one.ids == other.ids
        and one.names == other.names
        and words(one) == words(other)
        and one.popular.tolist() == other.popular.tolist()
        and all(np.array_equal(*pair, equal_nan=True) for pair in numbers)
    )


def test_product_by_product_it_becomes_the_whole() -> None:
    stored = StoredShelf(IDS, Vocabularies())
    for row, product_id in reversed(list(enumerate(IDS))):
        stored.put([row], {name: values[row : row + 1] for name, values in columns(IDS).items()})
        assert set(STORED_COLUMNS) < set(columns([product_id]))
    assert same(stored.shelf(NOW), Shelf.from_columns(IDS, columns(IDS), NOW))


def test_what_is_put_again_replaces_what_was() -> None:
    stored = StoredShelf(IDS, Vocabularies())
    stored.put(range(4), columns(IDS))
    earlier = stored.shelf(NOW)
    changed = {**columns(IDS), "price": [5.0, 6.0, None, 8.0], **following({"cup": {"ball": 1.0}}, IDS)}
    stored.put([2, 0], {name: [values[2], values[0]] for name, values in changed.items()})
    wanted = columns(IDS)
    for name in wanted:
        wanted[name] = [changed[name][row] if row in (0, 2) else wanted[name][row] for row in range(4)]
    assert same(stored.shelf(NOW), Shelf.from_columns(IDS, wanted, NOW))
    assert same(earlier, Shelf.from_columns(IDS, columns(IDS), NOW)), "a shelf keeps what it was made of"


def test_products_come_go_and_move() -> None:
    stored = StoredShelf(IDS, Vocabularies())
    stored.put(range(4), columns(IDS))
    ids = ("rake", "saw", "cup")
    moved = stored.of(ids)
    moved.put([1], {name: values[1:2] for name, values in columns(ids).items()})
    wanted = columns(ids)
    assert same(moved.shelf(NOW), Shelf.from_columns(ids, wanted, NOW))


def test_who_points_to_whom_is_made_anew_when_it_changed_or_faded() -> None:
    stored = StoredShelf(IDS, Vocabularies())
    stored.put(range(4), columns(IDS))
    first = stored.shelf(NOW).successors
    stored.put([1], {name: [values[1]] for name, values in {**columns(IDS), "price": [9.0] * 4}.items()})
    assert stored.shelf(NOW + 1).successors is first, "a price says nothing of it"
    assert stored.shelf(NOW + 61).successors is not first
    month = stored.shelf(NOW + NEXT.half_life.total_seconds()).successors
    assert month.following[0, 1] < 0.7 * first.following[0, 1]

    second = stored.shelf(NOW + 2).successors
    turned = {**columns(IDS), **following({"cup": {"pan": 7.0, "rake": 2.0}}, IDS)}
    stored.put([0], {name: [values[0]] for name, values in turned.items()})
    third = stored.shelf(NOW + 3).successors
    assert third.following[0, 1] > second.following[0, 1]
