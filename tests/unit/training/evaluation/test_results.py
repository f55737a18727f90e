"""From answers to results: outcomes, groups, the character of lists, and what is reported."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from small_log import log

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Codes
from feature_repo.sections.training import TrainingSettings
from training.evaluation.assess import able, compare
from training.evaluation.character import character_of
from training.evaluation.groups import groups_of
from training.evaluation.leaks import refuse_future
from training.evaluation.log import SHOWN
from training.evaluation.models import DEPTH, Answers
from training.evaluation.outcomes import MEASURES, outcomes
from training.evaluation.registry import MODELS, Setting
from training.evaluation.report import as_json, show
from training.evaluation.stream import LeakError, Variant
from training.evaluation.tasks import Task, queries_of

CLICKED, VIEWED, ADDED, ORDERED = Action.CLICKED, Action.VIEWED, Action.ADDED, Action.ORDERED


def padded(*rows: list[int]) -> Codes:
    ranked = np.full((len(rows), DEPTH), UNKNOWN, dtype=np.int32)
    for number, row in enumerate(rows):
        ranked[number, : len(row)] = row
    return ranked


def test_outcomes_of_next_by_hand() -> None:
    queries = queries_of(Task.NEXT, log((1, 0, VIEWED, 1), (2, 0, VIEWED, 2), (3, 0, VIEWED, 3)), 0.0)
    found = outcomes(queries, Answers(padded([5, 2], [5, 6]), np.empty(0)), seed=1)
    np.testing.assert_allclose(found, [[1.0, 0.5, 1 / np.log2(3)], [0.0, 0.0, 0.0]])


def test_outcomes_of_purchase_by_hand() -> None:
    queries = queries_of(Task.PURCHASE, log((1, 0, ORDERED, [1, 2, 3])), 0.0)
    found = outcomes(queries, Answers(padded([1, 5, 3]), np.empty(0)), seed=1)
    np.testing.assert_allclose(found, [[2 / 3, 1.5 / (1 + 1 / np.log2(3) + 0.5)]])


def test_outcomes_of_rerank_by_hand() -> None:
    shop = log((1, 0, SHOWN, [1, 2, 3, 4, 5]), (2, 0, CLICKED, 4), (3, 0, SHOWN, [5, 4, 3, 2, 1]), (4, 0, CLICKED, 5))
    queries = queries_of(Task.RERANK, shop, 0.0)
    scores = np.array([1.0, 2, 3, 2.5, 0, 9, 8, 7, 6, 5])
    found = outcomes(queries, Answers(padded([], []), scores), seed=1)
    np.testing.assert_allclose(found, [[1 / np.log2(3), 0.5], [1.0, 1.0]])


def test_groups_say_who_asks() -> None:
    shop = log(
        (0, 0, VIEWED, 1),
        (1, 0, VIEWED, 2),
        (20, 1, VIEWED, 1),
        (21, 1, VIEWED, 2),
        (22, 2, VIEWED, 1),
        (23, 2, VIEWED, 2),
        (24, 2, VIEWED, 3),
        customers={0: 0, 1: 0, 2: 1},
        devices={1: "mobile", 2: "desktop"},
        since={3: -100.0},
    )
    groups = groups_of(queries_of(Task.NEXT, shop, 10.0), shop)
    assert {name: group.tolist() for name, group in groups.items()} == {
        "all": [True, True, True],
        "prefix of 1": [True, True, False],
        "longer prefix": [False, False, True],
        "after a new customer's first product": [False, True, False],
        "new": [False, True, True],
        "returning": [True, False, False],
        "a product of the last day": [False, False, True],
        "device desktop": [False, True, True],
        "device mobile": [True, False, False],
        "history 1-4": [True, True, True],
    }


def test_purchases_of_empty_sessions_are_a_group() -> None:
    shop = log((1, 0, ORDERED, 1), (2, 1, VIEWED, 1), (3, 1, ADDED, 1), (4, 1, ORDERED, 1))
    groups = groups_of(queries_of(Task.PURCHASE, shop, 0.0), shop)
    assert groups["empty session"].tolist() == [True, False]
    assert groups["session under way"].tolist() == [False, True]
    assert groups["history 0"].tolist() == [True, False]


def test_the_character_of_lists_by_hand() -> None:
    shop = log(
        *[(float(second), 0, VIEWED, 0) for second in range(6)],
        (7, 0, VIEWED, 1),
        (20, 1, VIEWED, 2),
        (21, 1, VIEWED, 0),
        (22, 1, VIEWED, 2),
        products=4,
        since={3: 99.0},
        categories=["a", "a", "b", "b"],
    )
    queries = queries_of(Task.NEXT, shop, 10.0)
    character = character_of(padded([0, 1, 2], [1]), queries, shop, 10.0)
    assert character is not None
    assert character.coverage == 1.0, "three of the three that were heard of"
    assert character.concentration == pytest.approx((-2 * 1 + 2 * 2) / (3 * 4))
    assert character.diversity == pytest.approx(2 / 3), "pairs: a-a, a-b, a-b"
    shares = np.array([7, 2, 1, 1]) / 11
    assert character.novelty == pytest.approx(-np.log2(shares[[0, 1, 2, 1]]).mean())
    assert character.popularity == pytest.approx(np.mean([2 / 3, 1 / 3, 0, 1 / 3]))
    assert character.popularity_wanted == pytest.approx(np.mean([2 / 3, 0]))
    assert character.popularity_bias == pytest.approx(character.popularity - character.popularity_wanted)
    assert character_of(padded([], []), queries, shop, 10.0) is None


def test_features_that_know_of_the_query_itself_are_refused() -> None:
    refuse_future(np.array([np.nan, 9.9]), np.array([10.0, 10.0]))
    with pytest.raises(LeakError, match="1 rows"):
        refuse_future(np.array([np.nan, 10.0]), np.array([10.0, 10.0]))


SHOP = log(
    *[
        row
        for session in range(20)
        for row in (
            (10.0 * session, session, SHOWN, [1, 2, 3, 4, 5]),
            (10.0 * session + 1, session, CLICKED, session % 2 + 1),
            (10.0 * session + 2, session, VIEWED, session % 2 + 3),
            (10.0 * session + 3, session, ADDED, session % 2 + 3),
            (10.0 * session + 4, session, ORDERED, session % 2 + 3),
        )
    ]
)
SETTING = Setting(SHOP.ids, SHOP.customer_ids, 100.0, TrainingSettings())


@pytest.mark.parametrize("task", list(Task))
def test_models_are_compared_on_the_same_queries_with_the_best_baseline(task: Task) -> None:
    names = ["popular", "cooccurrence", "shown", "tfidf-daily"]
    models = able({name: MODELS[name] for name in names}, task, Variant.STREAMING)
    told: list[tuple[str, int]] = []
    queries = queries_of(task, SHOP, SETTING.cut)
    comparison = compare(
        SHOP, queries, Variant.STREAMING, models, SETTING, True, lambda model, count: told.append((model, count))
    )
    assert told == [(name, 10) for name in models]
    assert comparison.queries == comparison.customers == 10
    measures = MEASURES[task]
    assert list(comparison.results["all"]) == list(measures)
    for measure in measures:
        results = comparison.results["all"][measure]
        best = comparison.best[measure]
        assert results[best].difference is None
        assert max(results, key=lambda name: results[name].estimate.mean) == best
        for name in set(models) - {best}:
            difference = results[name].difference
            assert difference.mean == pytest.approx(results[name].estimate.mean - results[best].estimate.mean)
            assert difference.low <= difference.mean <= difference.high
    assert set(comparison.characters) == (set() if task is Task.RERANK else set(models))


def test_what_models_cannot_do_is_not_asked_of_them() -> None:
    assert "shown" not in able(MODELS, Task.NEXT, Variant.STREAMING)
    assert "shown" in able(MODELS, Task.RERANK, Variant.STATIC)
    assert "tfidf-daily" not in able(MODELS, Task.NEXT, Variant.STATIC), "what is refitted is not static"


def test_the_report_is_plain_json_and_the_table_names_every_model() -> None:
    queries = queries_of(Task.NEXT, SHOP, SETTING.cut)
    models = {name: MODELS[name] for name in ("popular", "own")}
    comparison = compare(SHOP, queries, Variant.STATIC, models, SETTING)
    report = json.loads(json.dumps(as_json([comparison], {"data": "here"}), allow_nan=False))
    assert report["data"] == "here"
    result = report["results"]["next"]["static"]["results"]["prefix of 1"]["HR@20"]["own"]
    assert set(result) == {"estimate", "difference"}
    assert set(result["estimate"]) == {"mean", "low", "high", "count"}
    out = StringIO()
    show([comparison], Console(file=out, width=250))
    assert "next, static: 10 queries of 10 customers" in out.getvalue()
    assert all(name in out.getvalue() for name in models)
    assert "[0." in out.getvalue() or "[1." in out.getvalue(), "intervals are printed, not taken for markup"
