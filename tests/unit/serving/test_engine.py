"""What the engine answers from memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from small_shelf import NOW, customer_columns, shelf, space

from feature_repo.aggregates import Action
from feature_repo.ranking import FEATURES
from feature_repo.shelf import Shelf
from serving.customers import CustomerFeatures
from serving.engine import Engine, Result, allowed_rows
from serving.requests import Filters, RecommendRequest
from training.model import Recommender


@pytest.fixture(scope="module")
def model() -> Recommender:
    matrix = np.random.default_rng(0).uniform(0, 1, (200, len(FEATURES)))
    ranker = HistGradientBoostingClassifier(max_iter=5, early_stopping=False).fit(matrix, matrix[:, 3] > 0.5)
    return Recommender(space(), ranker, ("pan", "cup", "rake"))


def engine(on: Shelf | None, model: Recommender | None = None) -> Engine:
    made = Engine(candidates=20)
    if on is not None:
        made.use_shelf(on)
    if model is not None:
        made.use_model(model, "v1")
    return made


def customer(*sequence: tuple[str, Action, float]) -> CustomerFeatures:
    return CustomerFeatures(customer_columns(sequence), NOW)


def ask(**fields: object) -> RecommendRequest:
    return RecommendRequest.model_validate({"user_id": "someone", **fields})


def ids(result: Result | None) -> list[str]:
    assert result is not None
    return [item.product_id for item in result.items]


def test_nothing_known_at_all_gives_an_empty_answer() -> None:
    assert engine(None).recommend(ask(), None) == Result([], None, "empty")
    assert engine(shelf(ids=())).recommend(ask(), None) == Result([], None, "empty")
    assert engine(None).trending(5, None) == Result([], None, "empty")
    assert engine(None).similar("cup", 5) is None


def test_without_catalogue_the_models_popular_products_help_out(model: Recommender) -> None:
    alone = engine(None, model)
    result = alone.recommend(ask(k=2, exclude=["pan"]), None)
    assert (ids(result), result.fallback) == (["cup", "rake"], "popular")
    assert alone.recommend(ask(filters={"brand": "Alba"}), None).fallback == "empty", "the filter cannot be checked"


def test_known_and_unknown_customers(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]), model)
    personal = ready.recommend(ask(), customer(("cup", Action.VIEWED, 1.0)))
    assert (personal.fallback, personal.model_version) == (None, "v1")
    assert sorted(ids(personal)) == ["ball", "cup", "pan", "rake"]
    general = ready.recommend(ask(k=2), None)
    assert (general.fallback, ids(general)) == ("popular", ["rake", "pan"])
    assert ready.recommend(ask(), customer(("never sold", Action.VIEWED, 1.0))).fallback == "popular"


def test_context_makes_a_session_and_is_not_recommended(model: Recommender) -> None:
    ready = engine(shelf(name=["A cup", None, None, None]), model)
    result = ready.recommend(ask(scenario="cart", context_items=["cup", "never sold"]), None)
    assert result.fallback == "session"
    assert "cup" not in ids(result)
    reasons = {item.product_id: item.reason for item in result.items}
    assert reasons["pan"] == "goes with A cup in your cart"


def test_bought_products_stay_away_from_the_home_page_only(model: Recommender) -> None:
    ready = engine(shelf(), model)
    buyer = customer(("cup", Action.ORDERED, 1.0), ("pan", Action.ADDED, 2.0))
    assert "cup" not in ids(ready.recommend(ask(), buyer))
    result = ready.recommend(ask(scenario="product"), buyer)
    reasons = {item.product_id: item.reason for item in result.items}
    assert reasons["cup"] == "you bought this before"
    assert reasons["pan"] == "you put this into your cart"


def test_sold_out_and_excluded_products_never_appear(model: Recommender) -> None:
    ready = engine(shelf(stock=[0, 1, None, 5]), model)
    for who in (None, customer(("cup", Action.VIEWED, 1.0))):
        assert set(ids(ready.recommend(ask(exclude=["ball", "never sold"]), who))) == {"pan", "rake"}
    assert "cup" not in ids(ready.trending(10, None))
    assert "cup" not in ids(ready.similar("pan", 10))


@pytest.mark.parametrize(
    ("filters", "allowed"),
    [
        ({}, [0, 1, 2, 3]),
        ({"category": "Kitchen"}, [0, 1]),
        ({"category": "Kitchen/"}, [0, 1]),
        ({"category": "Kitchen/Pans"}, [1]),
        ({"category": "Kit"}, []),
        ({"brand": "Alba"}, [0, 2]),
        ({"brand": "alba"}, []),
        ({"min_price": 20.0}, [1, 2]),
        ({"max_price": 20.0}, [0, 1]),
        ({"category": "Garden", "brand": "Alba", "max_price": 30.0}, []),
    ],
)
def test_filters(filters: dict[str, object], allowed: list[int]) -> None:
    assert np.flatnonzero(allowed_rows(shelf(), Filters.model_validate(filters))).tolist() == allowed


def test_similar_products_of_one_the_model_does_not_know(model: Recommender) -> None:
    on = shelf(ids=("cup", "pan", "rake", "ball", "new"), category=["K", "K", "G", "S", "G"], brand=[None] * 5)
    result = engine(on, model).similar("new", 5)
    assert (ids(result), result.fallback if result else "") == (["rake"], "popular"), "of the same category"
    assert engine(on, model).similar("never sold", 5) is None


def test_a_new_catalogue_takes_the_model_along(model: Recommender) -> None:
    ready = engine(shelf(), model)
    before = ready.state.placed
    ready.use_shelf(shelf(views_7d=[9.0, 0, 0, 0]))
    assert ready.state.placed is not None
    assert before is not None
    assert ready.state.placed.space is before.space, "the same products: nothing to place anew"
    ready.use_shelf(shelf(ids=("rake", "cup")))
    assert ready.recommend(ask(), customer(("cup", Action.VIEWED, 1.0))).fallback is None
    assert ready.state.placed.space is not before.space


def test_scores_are_finite_whatever_the_store_holds(model: Recommender) -> None:
    on = shelf(views_7d=[1e300, 1.0, None, 2.0], price=[None, 0.0, 1e300, 5.0])
    ready = engine(on, model)
    for who in (None, customer(("cup", Action.VIEWED, 1.0))):
        for item in ready.recommend(ask(), who).items:
            assert math.isfinite(item.score)
