"""Each baseline on a few sessions, with answers known by hand; and none of them looks into the future."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from small_log import Row, log

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.sections.training import TrainingSettings
from training.evaluation.leaks import refuse_leaks
from training.evaluation.log import SHOWN, Log
from training.evaluation.models import Answers
from training.evaluation.registry import MODELS, Setting
from training.evaluation.replay import ask
from training.evaluation.stream import Variant
from training.evaluation.tasks import Task, queries_of

CLICKED, VIEWED, ADDED, ORDERED = Action.CLICKED, Action.VIEWED, Action.ADDED, Action.ORDERED

DAY = 86_400.0
CUT = 100 * DAY
STATIC, STREAMING = Variant.STATIC, Variant.STREAMING


def setting(shop: Log) -> Setting:
    return Setting(shop.ids, shop.customer_ids, CUT, TrainingSettings())


def answers(model: str, shop: Log, task: Task = Task.NEXT, variant: Variant = STREAMING) -> Answers:
    return ask(MODELS[model].make(setting(shop)), shop, queries_of(task, shop, CUT), variant, CUT)


def recommended(model: str, shop: Log, task: Task = Task.NEXT, variant: Variant = STREAMING) -> list[list[int]]:
    ranked = answers(model, shop, task, variant).ranked
    return [row[row != UNKNOWN].tolist() for row in ranked]


def views(session: int, at: float, *items: int) -> list[Row]:
    return [(at + second, session, VIEWED, item) for second, item in enumerate(items)]


def shop_of(*rows: list[Row], **more: object) -> Log:
    return log(*sorted(row for part in rows for row in part), **more)


def test_popular_is_what_was_done_most_in_the_last_seven_days() -> None:
    shop = shop_of(
        [(CUT - 8 * DAY + second, 0, VIEWED, 1) for second in range(5)],
        views(1, CUT - DAY, 2, 3, 2),
        [(CUT - DAY + 10, 2, ADDED, 4)],
        views(3, CUT + 1, 5, 6),
        products=7,
    )
    assert recommended("popular", shop) == [[4, 2, 3, 0, 1, 6]]


def test_static_popularity_stands_still_and_streaming_popularity_moves_on() -> None:
    shop = shop_of(
        views(0, CUT - DAY, 1),
        views(1, CUT + 8 * DAY, 2, 3),
        views(2, CUT + 8 * DAY + 100, 0, 2),
        products=4,
    )
    assert recommended("popular", shop, variant=STATIC)[-1] == [1, 2, 3]
    assert recommended("popular", shop)[-1] == [2, 3, 1]


def test_own_is_what_the_customer_had_last_even_if_static() -> None:
    shop = shop_of(
        views(0, CUT - DAY, 1, 2),
        views(9, CUT - DAY, 5, 5, 5),
        views(1, CUT + 1, 3, 4, 6),
        customers={0: 0, 1: 0, 9: 1},
        products=7,
    )
    for variant in Variant:
        assert [row[:3] for row in recommended("own", shop, variant=variant)] == [[2, 1, 5], [3, 2, 1]]


def test_cooccurrence_counts_sessions_with_the_last_product() -> None:
    shop = shop_of(
        views(0, CUT - 50 * DAY, 1, 2, 1, 2),
        views(1, CUT - 50 * DAY, 3, 1),
        views(2, CUT - 50 * DAY, 1, 3),
        views(3, CUT + 1, 4, 1, 5),
        products=6,
    )
    first, second = recommended("cooccurrence", shop)
    assert second[:3] == [3, 4, 2], "two sessions, and the popular one of two with one session each"
    assert first[0] == 0, "nothing was seen with product 4 yet; nothing else was seen of late"


def test_cooccurrence_learns_from_sessions_after_the_cut_when_streaming() -> None:
    shop = shop_of(
        views(0, CUT - DAY, 1, 2), views(1, CUT + 1, 1, 3), views(2, CUT + 10, 1, 4), views(3, CUT + 20, 3, 0)
    )
    assert recommended("cooccurrence", shop)[-1][0] == 1
    assert recommended("cooccurrence", shop, variant=STATIC)[-1][0] in (1, 2), "by popularity before the cut"
    assert recommended("cooccurrence", shop, variant=STATIC)[1][0] == 2
    assert recommended("cooccurrence", shop)[1][:2] == [2, 3], "equal in every way: the lower row first"


def test_transitions_have_a_direction_and_fade_with_distance() -> None:
    shop = shop_of(
        views(0, CUT - 50 * DAY, 1, 2, 3), views(1, CUT - 50 * DAY, 5, 1), views(2, CUT + 1, 1, 0), products=6
    )
    assert recommended("transitions", shop)[0][:2] == [2, 3]
    assert recommended("cooccurrence", shop)[0][:3] == [2, 3, 5]
    assert recommended("transitions", shop)[0].index(5) > 2


def test_session_knn_prefers_sessions_that_share_more_and_later_products() -> None:
    shop = shop_of(
        views(0, CUT - 50 * DAY, 1, 7),
        views(1, CUT - 50 * DAY, 2, 8),
        views(2, CUT - 50 * DAY, 1, 2, 9),
        views(3, CUT + 1, 1, 2, 0),
    )
    assert recommended("session-knn", shop)[1][:4] == [9, 8, 1, 7], "product 1 is in two similar sessions"


def test_session_knn_does_not_take_the_session_itself_for_a_neighbour() -> None:
    shop = shop_of(views(0, CUT - 50 * DAY, 1, 2), views(1, CUT + 1, 5, 1, 3), products=6)
    assert recommended("session-knn", shop)[1][0] == 2


def test_click_through_is_clicks_by_showings_with_a_prior() -> None:
    showings = [(CUT - DAY + second, 0, SHOWN, [1, 2]) for second in range(200)]
    clicks = [(CUT - DAY + 300 + second, 0, CLICKED, 1) for second in range(100)]
    one = [(CUT - DAY + 500, 0, SHOWN, [3]), (CUT - DAY + 501, 0, CLICKED, 3)]
    shop = shop_of(showings, clicks, one, [(CUT + 1, 1, SHOWN, [2, 3, 1, 4, 5]), (CUT + 2, 1, CLICKED, 1)])
    scores = answers("click-through", shop, Task.RERANK).scores
    assert np.argsort(-scores, kind="stable").tolist() == [2, 1, 3, 4, 0], "often, once of one, unknown, never of many"


def test_click_through_fades() -> None:
    old = [
        (CUT - 40 * DAY + second, 0, kind, item)
        for second in range(0, 400, 4)
        for kind, item in ((SHOWN, 1), (CLICKED, 1))
    ]
    new = [
        (CUT - DAY + second, 1, kind, item) for second in range(0, 400, 4) for kind, item in ((SHOWN, 2), (CLICKED, 2))
    ]
    many = [(CUT - DAY + 1_000 + second, 2, SHOWN, [3]) for second in range(500)]
    shop = shop_of(old, new, many, [(CUT + 1, 3, SHOWN, [1, 2, 3, 4, 5]), (CUT + 2, 3, CLICKED, 1)])
    scores = answers("click-through", shop, Task.RERANK).scores
    assert scores[1] > scores[0] > scores[2]


def test_shown_leaves_the_original_order() -> None:
    shop = log((CUT + 1, 0, SHOWN, [5, 2, 7, 1, 3]), (CUT + 2, 0, CLICKED, 1))
    assert np.argsort(-answers("shown", shop, Task.RERANK).scores).tolist() == [0, 1, 2, 3, 4]


TASTES = shop_of(
    *[views(number, CUT - 3 * DAY + 100 * number, 1, 2, 3) for number in range(10)],
    *[views(number, CUT - 3 * DAY + 100 * number, 4, 5, 6) for number in range(10, 30)],
    views(30, CUT + 1, 1, 2, 3),
    views(31, CUT + 1_000, 4, 6),
)


@pytest.mark.parametrize("model", ["cosine", "tfidf", "bm25", "als", "session-knn", "transitions", "cooccurrence"])
@pytest.mark.parametrize("variant", list(Variant))
def test_what_belongs_together_is_found_although_other_things_are_more_popular(model: str, variant: Variant) -> None:
    ranked = recommended(model, TASTES, variant=variant)
    assert set(ranked[0][:2]) == {2, 3}
    assert ranked[1][0] in (1, 3)
    assert set(ranked[2][:2]) == {5, 6}


NEWS = shop_of(
    views(0, CUT - DAY, 1, 2),
    *[views(number, CUT + 100 * number, 7, 8) for number in range(1, 10)],
    *[views(number, CUT + 100 * number, 9) for number in range(10, 40)],
    views(40, CUT + DAY + 5_000, 7, 0),
)


@pytest.mark.parametrize("model", ["cosine", "tfidf", "bm25", "als"])
def test_refitted_daily_a_model_knows_what_came_after_the_cut(model: str) -> None:
    assert recommended(f"{model}-daily", NEWS)[-1][0] == 8
    assert recommended(model, NEWS)[-1][0] == 9, "all that it knows of the product is how popular others are"


def test_als_folds_in_whom_it_has_not_seen_and_is_reproducible() -> None:
    first, second = (answers("als", TASTES) for _ in range(2))
    assert np.array_equal(first.ranked, second.ranked)


@pytest.mark.parametrize("task", list(Task))
def test_without_any_past_every_model_answers(task: Task) -> None:
    shop = log(
        (CUT + 1, 0, SHOWN, [1, 2, 3, 4, 5]), (CUT + 2, 0, CLICKED, 1), (CUT + 3, 0, ADDED, 2), (CUT + 4, 0, ORDERED, 2)
    )
    for name, entry in MODELS.items():
        if entry.kind == "baseline" and task in entry.tasks:
            for variant in entry.variants:
                assert len(answers(name, shop, task, variant).ranked) == 1


def random_shop(seed: int) -> Log:
    """A few busy days on both sides of the cut."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for session in range(120):
        at = CUT + float(rng.uniform(-4, 4)) * DAY
        rows.append((at, session, SHOWN, rng.permutation(10)[:6].tolist()))
        for step in range(1, int(rng.integers(2, 7))):
            kind = [CLICKED, VIEWED, ADDED, ORDERED][int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))]
            rows.append((at + 10 * step, session, kind, int(rng.integers(10))))
    return log(*sorted(rows), customers={session: session % 40 for session in range(120)})


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.kind == "baseline"])
def test_no_baseline_looks_into_the_future(name: str) -> None:
    shop, entry = random_shop(seed=1), MODELS[name]
    for task in entry.tasks:
        for variant in entry.variants:
            refuse_leaks(
                name, partial(entry.make, setting(shop)), shop, queries_of(task, shop, CUT), variant, CUT, seed=3
            )
