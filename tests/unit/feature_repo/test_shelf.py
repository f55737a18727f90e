"""Items in columns."""

from __future__ import annotations

import numpy as np
import pytest
from small_shelf import IDS, NOW, shelf

from feature_repo.ranking.shelf import UNKNOWN, Vocabulary


def test_unknown_stock_counts_as_available_and_none_left_does_not() -> None:
    assert shelf(stock=[None, 3, 0, -2]).items.available.tolist() == [True, True, False, False]


def test_missing_values_become_unknown_codes_and_nan() -> None:
    items = shelf(category=["Kitchen/Cups", None, "", "Kitchen"]).items
    assert items.category.tolist() == [0, UNKNOWN, UNKNOWN, 1]
    assert items.department.tolist() == [0, UNKNOWN, UNKNOWN, 0], "the first level of the path"
    assert np.isnan(items.price[3])


def test_ids_outside_the_catalogue_have_no_row() -> None:
    assert shelf().encode(["rake", "never sold", "cup"]).tolist() == [2, UNKNOWN, 0]


def test_a_product_without_name_is_called_by_its_id() -> None:
    named = shelf(name=["A cup", None, None, None])
    assert [named.title(0), named.title(1)] == ["A cup", "pan"]


def test_popular_products_come_first_and_all_are_listed() -> None:
    ordered = shelf(views_7d=[1.0, 5.0, 0.0, 0.0], orders_7d=[0.0, 0.0, 2.0, 0.0])
    assert [IDS[row] for row in ordered.popular] == ["rake", "pan", "cup", "ball"]


def test_only_rising_interest_is_trending() -> None:
    rising = shelf(views_6h=[3.0, 0.2, 0.0, 9.0], views_7d=[4.0, 0.2, 50.0, 900.0])
    assert [IDS[row] for row in rising.trending] == ["cup"]


def test_arrivals_have_come_lately_and_after_the_rest() -> None:
    day = 86_400.0
    ages = [90, 2, 15, None]
    some = shelf(first_seen_at=[None if age is None else NOW - age * day for age in ages])
    assert [IDS[row] for row in some.arrivals] == ["pan"]
    assert len(shelf(first_seen_at=[NOW - age * day for age in (2.0, 1.5, 1.2, 1.1)]).arrivals) == 0, "one load"


def test_words_can_be_found_by_their_codes() -> None:
    words = Vocabulary()
    assert [words.word(code) for code in words.encode(["b", "a", "b"])] == ["b", "a", "b"]


def test_an_empty_catalogue_is_a_shelf_too() -> None:
    empty = shelf(ids=())
    assert len(empty) == 0
    assert len(empty.popular) == len(empty.trending) == len(empty.arrivals) == 0


@pytest.mark.parametrize(
    ("path", "found"), [("Kitchen", ["Kitchen", "Kitchen/Cups"]), ("Kitchen/Cups", ["Kitchen/Cups"]), ("Kit", [])]
)
def test_paths_match_by_whole_levels(path: str, found: list[str]) -> None:
    words = Vocabulary()
    words.encode(["Kitchen", "Kitchen/Cups", "Kitchenware", "Garden"])
    assert [list(words.codes)[code] for code in words.starting_with(path)] == found
