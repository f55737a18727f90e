"""The ranker's features on hand-written rows."""

from __future__ import annotations

import numpy as np
import pytest
from small_shelf import NOW, shelf, space, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.features import FEATURES, LIST_FEATURES, columns_of, features, within_lists
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.ranking.visitors import INTEREST_HALF_LIFE_HOURS, Visitors

CUP, PAN, RAKE, BALL = range(4)


def row(of: Visitors, code: int, owner: int = 0) -> dict[str, float]:
    on = shelf()
    codes = np.array([code], dtype=np.int32)
    matrix = features(of, on.items, codes, codes, np.array([owner]), space().on(on).embed(of))
    assert matrix.shape == (1, len(FEATURES))
    return dict(zip(FEATURES, matrix[0], strict=True))


def test_feature_names_are_distinct() -> None:
    assert len(set(FEATURES)) == len(FEATURES)


def test_a_customer_without_history_has_unknown_features() -> None:
    of = visitors(shelf(), [])
    found = row(of, CUP)
    for name in ("als_score", "category_affinity", "price_distance", "hours_since_seen", "hours_since_last"):
        assert np.isnan(found[name]), name
    assert found["own_interest"] == found["sequence_length"] == found["session_length"] == 0
    assert found["viewed_together"] == 0


def test_affinities_are_shares_of_decayed_interest() -> None:
    week = INTEREST_HALF_LIFE_HOURS
    of = visitors(shelf(), [("cup", Action.VIEWED, 0.0), ("rake", Action.ADDED, week)])
    pan = row(of, PAN)
    assert pan["category_affinity"] == 0
    assert pan["department_affinity"] == pytest.approx(1 / 2.5), "a view now against a cart a half-life ago"
    assert row(of, RAKE)["department_affinity"] == pytest.approx(1.5 / 2.5)
    assert row(of, RAKE)["brand_affinity"] == pytest.approx(1.0), "both are Alba"
    assert row(of, BALL)["brand_affinity"] == 0, "no brand is no common brand"
    usual = (np.log(10) + 1.5 * np.log(40)) / 2.5
    assert pan["price_distance"] == pytest.approx(np.log(20) - usual)
    assert np.isnan(row(of, BALL)["price_distance"])


def test_what_was_done_to_the_very_product() -> None:
    of = visitors(shelf(), [("cup", Action.VIEWED, 1.0), ("cup", Action.ORDERED, 3.0), ("pan", Action.ADDED, 5.0)])
    cup, pan = row(of, CUP), row(of, PAN)
    assert cup["hours_since_seen"] == pytest.approx(np.log1p(1.0))
    assert cup["hours_since_ordered"] == pytest.approx(np.log1p(3.0))
    assert np.isnan(cup["hours_since_carted"])
    assert pan["hours_since_carted"] == pytest.approx(np.log1p(5.0))
    assert cup["own_interest"] > pan["own_interest"] > 0


def test_a_session_ends_at_a_pause() -> None:
    sequence = [("cup", Action.VIEWED, 0.1), ("pan", Action.VIEWED, 0.5), ("rake", Action.VIEWED, 2.0)]
    of = visitors(shelf(), sequence, [("cup", Action.VIEWED, 3.0)])
    assert of.in_session[:, :3].tolist() == [[True, True, False], [False, False, False]]
    assert row(of, CUP)["session_length"] == 2
    assert row(of, CUP, owner=1)["session_length"] == 0


def test_products_that_are_not_on_the_shelf_count_for_length_only() -> None:
    of = visitors(shelf(), [("never sold", Action.VIEWED, 0.0)])
    assert of.items[0, 0] == UNKNOWN
    found = row(of, CUP)
    assert found["sequence_length"] == 1
    assert found["category_affinity"] == 0
    assert np.isnan(found["als_score"])


def test_context_is_the_newest_part_of_the_sequence() -> None:
    of = visitors(shelf(), [("rake", Action.VIEWED, 1.0)], context=["cup"])
    assert of.items[0, :3].tolist() == [CUP, RAKE, UNKNOWN]
    assert of.hours[0, 0] == 0


def test_the_moment_gives_hour_and_weekday() -> None:
    found = row(visitors(shelf(), []), CUP)
    assert found["hour"] == pytest.approx(NOW / 3600 % 24)
    assert found["weekday"] == NOW // 86_400 % 7


def test_many_customers_at_once_get_what_each_gets_alone() -> None:
    on = shelf(views_7d=[3.0, 1.0, 0.0, 2.0])
    sequences = [
        [("cup", Action.VIEWED, 0.2), ("cup", Action.CLICKED, 0.2), ("rake", Action.ADDED, 30.0)],
        [],
        [("ball", Action.ORDERED, 400.0), ("never sold", Action.VIEWED, 500.0), ("pan", Action.REMOVED, 501.0)],
    ]
    together, placed = visitors(on, *sequences), space().on(on)
    codes = np.tile(np.arange(4, dtype=np.int32), 3)
    owner = np.repeat(np.arange(3), 4)
    matrix = features(together, on.items, codes, codes, owner, placed.embed(together))
    for number, sequence in enumerate(sequences):
        alone = visitors(on, sequence)
        rows = np.arange(4, dtype=np.int32)
        expected = features(alone, on.items, rows, rows, np.zeros(4, dtype=int), placed.embed(alone))
        np.testing.assert_allclose(matrix[owner == number], expected, rtol=1e-6)


def test_concatenation_and_choice_of_visitors() -> None:
    on = shelf()
    of = visitors(on, [("cup", Action.VIEWED, 1.0)], [("pan", Action.VIEWED, 2.0)])
    again = Visitors.concatenate([of.take(slice(0, 1)), of.take(np.array([1]))])
    assert np.array_equal(again.items, of.items)
    assert np.array_equal(again.hours, of.hours, equal_nan=True)


def test_products_of_a_list_beside_each_other() -> None:
    matrix = np.zeros((6, len(FEATURES)))
    matrix[:, FEATURES.index("trend")] = [3.0, 1.0, 3.0, np.nan, 7.0, np.nan]
    wide = within_lists(matrix, np.array([0, 0, 0, 0, 1, 2]))
    assert wide.shape == (6, len(LIST_FEATURES))
    assert np.array_equal(wide[:, : len(FEATURES)], matrix, equal_nan=True)
    of = dict(zip(LIST_FEATURES, wide.T, strict=True))
    assert of["list_length"].tolist() == [4, 4, 4, 4, 1, 1]
    third = 7 / 3  # the mean of the first list's known values
    expected = [3 - third, 1 - third, 3 - third, np.nan, 0.0, np.nan]
    assert of["trend_above_mean"] == pytest.approx(np.array(expected), nan_ok=True)
    assert np.array_equal(of["trend_place"], [0, 0.5, 0, np.nan, 0, np.nan], equal_nan=True), (
        "equal values, equal places"
    )
    assert not of["popularity_place"].any(), "nobody is above anybody"


def test_where_a_feature_and_what_derives_from_it_stand() -> None:
    width = len(LIST_FEATURES)
    assert [LIST_FEATURES[place] for place in columns_of("trend", width)] == [
        "trend",
        "trend_above_mean",
        "trend_place",
    ]
    assert columns_of("hour", width) == columns_of("hour", len(FEATURES)) == [FEATURES.index("hour")]
    assert columns_of("trend", len(FEATURES)) == [FEATURES.index("trend")]
