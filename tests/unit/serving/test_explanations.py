"""What moved a score, and how old it was."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from small_shelf import NOW, rankers, shelf, space, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.features import FEATURES, LIST_FEATURES
from serving.answering.answers import Cause
from serving.answering.explanations import MOST, explain_ranker, explain_source
from training.model import Recommender
from training.ranking.rankers import Purpose, Ranker
from training.recommending import PlacedRecommender, Ranked
from training.scenarios import RANKING_ALONE, SCENARIOS

EVERY = np.ones(4, dtype=bool)


def explained(*names: str) -> tuple[PlacedRecommender, Ranked, list[list[Cause]]]:
    """Of somebody who viewed the cup an hour ago and carted the rake before."""
    on = shelf(last_event_at=[NOW - 60, NOW - 120, None, NOW - 180], views_7d=[5.0, 1.0, 0.0, 3.0])
    placed = Recommender(space(), rankers(*names), ()).on(on)
    visitor = visitors(on, [("cup", Action.VIEWED, 1.0), ("rake", Action.ADDED, 3.0)])
    ranked = placed.recommend(visitor, EVERY, 4, 20)
    return placed, ranked, explain_ranker(placed, visitor, ranked, RANKING_ALONE)


def test_only_what_the_ranker_looks_at_has_an_effect() -> None:
    _, _, why = explained("viewed_together", "own_interest")
    assert {cause.feature for causes in why for cause in causes} == {"viewed_together", "own_interest"}


def test_effects_are_the_change_of_the_score_without_the_feature() -> None:
    placed, ranked, why = explained("popularity", "trend", "log_price", "age_days", "hour", "weekday", "own_interest")
    on = placed.shelf
    visitor = visitors(on, [("cup", Action.VIEWED, 1.0), ("rake", Action.ADDED, 3.0)])
    assert placed.space is not None
    assert placed.rankers is not None
    matrix = placed.matrix(visitor, ranked.rows, placed.space.embed(visitor), RANKING_ALONE)
    for number, causes in enumerate(why):
        assert 0 < len(causes) <= MOST
        sizes = [abs(cause.effect) for cause in causes]
        assert sizes == sorted(sizes, reverse=True)
        for cause in causes:
            without = matrix[[number]]
            without[0, FEATURES.index(cause.feature)] = np.nan
            left = placed.rankers[Purpose.TURN].scores(without)[0]
            assert cause.effect == pytest.approx(ranked.scores[number] - left, abs=1e-6)


def test_ages_are_of_the_events_that_features_rest_on() -> None:
    _, ranked, why = explained("category_affinity", "popularity", "own_interest", "log_price", "hours_since_carted")
    hour = 3_600_000
    expected: dict[str, list[int | None]] = {
        "category_affinity": [hour] * 4,
        "popularity": [60_000, 120_000, None, 180_000],
        "own_interest": [hour, None, 3 * hour, None],
        "log_price": [None] * 4,
        "hours_since_carted": [None, None, 3 * hour, None],
    }
    for row, causes in zip(ranked.rows, why, strict=True):
        for cause in causes:
            assert cause.age_ms == expected[cause.feature][row], cause
    assert {cause.feature for causes in why for cause in causes} == set(expected)


def test_an_empty_list_has_nothing_to_explain() -> None:
    placed, _, _ = explained("popularity")
    visitor = visitors(placed.shelf, [])
    ranked = placed.recommend(visitor, ~EVERY, 4, 20)
    assert explain_ranker(placed, visitor, ranked, RANKING_ALONE) == []


def test_lists_without_ranker_tell_what_their_source_went_by() -> None:
    on = shelf(views_6h=[4.0, 0, 0, 0], views_7d=[4.0, 8.0, 0, 0], last_event_at=[NOW - 60, NOW - 120, NOW, NOW])
    placed = PlacedRecommender(on)
    visitor = visitors(on, [])
    ranked = placed.recommend(visitor, EVERY, 2, 20, SCENARIOS["trending"])
    first, second = explain_source(placed, visitor, ranked)
    assert [(cause.feature, cause.effect, cause.age_ms) for cause in (*first, *second)] == [
        ("trend", 1.0, 60_000),
        ("popularity", 0.5, 120_000),
    ]
    assert first[0].value == pytest.approx(on.items.rates["trend"][0], abs=1e-6)
    buyer = visitors(on, [("cup", Action.ORDERED, 900.0)])
    (again,) = explain_source(placed, buyer, placed.recommend(buyer, EVERY, 2, 20, SCENARIOS["buy_again"]))
    assert [(cause.feature, cause.age_ms) for cause in again] == [("bought", 900 * 3_600_000)]


def test_a_list_is_explained_as_it_was_ranked_though_only_its_best_are_shown() -> None:
    """What stands out in a list does so beside all of it."""
    on = shelf(views_7d=[5.0, 1.0, 0.0, 3.0])
    by_place = LIST_FEATURES.index("popularity_place")
    matrix = np.zeros((2_000, len(LIST_FEATURES)))
    matrix[:, by_place] = np.random.default_rng(1).uniform(0, 1, 2_000)
    trees = HistGradientBoostingClassifier(max_iter=20, early_stopping=False).fit(matrix, matrix[:, by_place] < 0.4)
    placed = Recommender(space(), dict.fromkeys(Purpose, Ranker(trees)), ()).on(on)
    visitor = visitors(on, [("cup", Action.VIEWED, 1.0)])
    everything = np.arange(4, dtype=np.int32)
    whole, best = (placed.recommend(visitor, EVERY, k, 20, SCENARIOS["list"], everything) for k in (4, 1))
    of_whole, of_best = (explain_ranker(placed, visitor, ranked, SCENARIOS["list"]) for ranked in (whole, best))
    assert len(of_best) == 1
    assert of_best[0] == of_whole[0]
    assert of_best[0][0].feature == "popularity"
    assert of_best[0][0].effect > 0.1
