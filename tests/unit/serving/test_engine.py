"""What the engine answers from memory."""

from __future__ import annotations

import math
import time
from datetime import date

import pytest
from small_shelf import IDS, NOW, customer_columns, rankers, shelf, space

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import Shelf
from serving import metrics
from serving.answering.answers import ExplainedItem, Missing, Result
from serving.answering.engine import Engine
from serving.data.customers import CustomerFeatures
from serving.rules.declared import Rulebook
from serving.web.requests import RecommendRequest
from training.model import Recommender


@pytest.fixture(scope="module")
def model() -> Recommender:
    return Recommender(space(), rankers("following_last", above=0.3), ("pan", "cup", "rake"))


def engine(on: Shelf | None, model: Recommender | None = None) -> Engine:
    made = Engine(candidates=20)
    if on is not None:
        made.use_shelf(on)
    if model is not None:
        made.use_model(model, "v1")
    return made


def customer(*sequence: tuple[str, Action, float]) -> CustomerFeatures:
    """By hours ago from now, not from the moment of the tests' shelves."""
    since = (time.time() - NOW) / 3600
    shifted = [(product, action, hours - since) for product, action, hours in sequence]
    return CustomerFeatures(customer_columns(shifted), NOW)


def ask(of: Engine, who: CustomerFeatures | None = None, **fields: object) -> Result:
    request = RecommendRequest.model_validate({"user_id": "someone", **fields})
    return of.recommend(request, of.compositions[request.scenario], who)


def ids(result: Result) -> list[str]:
    return [item.product_id for item in result.items]


def test_nothing_known_at_all_gives_an_empty_answer(model: Recommender) -> None:
    for scenario in Rulebook().compositions:
        assert ask(engine(None), scenario=scenario) == Result([], None, "empty", (Missing.MODEL,))
        assert ask(engine(shelf(ids=())), scenario=scenario) == Result([], None, "empty", (Missing.MODEL,))
        assert ask(engine(shelf(ids=()), model), scenario=scenario) == Result([], "v1", "empty")


def test_without_catalogue_the_models_popular_products_help_out(model: Recommender) -> None:
    alone = engine(None, model)
    result = ask(alone, k=2, exclude=["pan"])
    assert (ids(result), result.fallback) == (["cup", "rake"], "popular")
    assert ask(alone, filters={"brand": "Alba"}).fallback == "empty", "the filter cannot be checked"
    assert ask(alone, scenario="buy_again").fallback == "empty"
    alone.use_rules(Rulebook.model_validate({"exclusions": [{"category": "Garden"}]}))
    assert ask(alone).fallback == "empty", "nor can the exclusion"


def test_unknown_visitors_are_told_what_is_popular_where_they_are(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[9.0, 8.0, 7.0, 0.0]), model)
    for device in (None, "tablet"):
        (item,) = ask(ready, k=1, country="Japan", device=device).items
        assert (item.product_id, item.source, item.reason) == ("rake", "country", "popular in Japan")
    (item,) = ask(ready, k=1, device="mobile").items
    assert (item.product_id, item.source, item.reason) == ("pan", "device", "popular on mobile")
    (item,) = ask(ready, k=1, country="Japan", explain=True).items
    assert isinstance(item, ExplainedItem)
    assert item.why[0].feature == "popularity"
    assert ask(ready, k=1, country="Chile").items == ask(ready, k=1).items, "nothing is known of it"
    assert ask(engine(shelf()), k=1, country="Japan").items == ask(engine(shelf()), k=1).items, "nor without a model"


def test_known_and_unknown_customers(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]), model)
    personal = ask(ready, customer(("cup", Action.VIEWED, 1.0)))
    assert (personal.fallback, personal.model_version) == (None, "v1")
    assert sorted(ids(personal)) == ["ball", "cup", "pan", "rake"]
    general = ask(ready, k=2)
    assert (general.fallback, ids(general)) == ("popular", ["rake", "pan"])
    assert ask(ready, customer(("never sold", Action.VIEWED, 1.0))).fallback == "popular"


def test_context_makes_a_session_and_is_not_recommended(model: Recommender) -> None:
    ready = engine(shelf(name=["A cup", None, None, None]), model)
    result = ask(ready, scenario="cart", context_items=["cup", "never sold"])
    assert result.fallback == "session"
    assert "cup" not in ids(result)
    assert reasons(result)["pan"] == "goes with A cup in your cart"


def reasons(result: Result) -> dict[str, str]:
    return {item.product_id: item.reason for item in result.items}


def test_what_a_scenario_is_about_is_no_fallback(model: Recommender) -> None:
    ready = engine(shelf(views_6h=[0, 4.0, 0, 0], views_7d=[0, 4.0, 0, 0]), model)
    assert ask(ready, scenario="product", context_items=["cup"]).fallback is None
    assert ask(ready, scenario="product", context_items=["never sold"]).fallback == "popular"
    assert ask(ready, scenario="trending").fallback is None
    assert ask(ready, scenario="trending", filters={"category": "Garden"}).fallback == "popular"
    assert ask(ready, customer(("cup", Action.ORDERED, 90.0)), scenario="buy_again").fallback is None
    assert ask(ready, customer(("cup", Action.ORDERED, 9.0)), scenario="buy_again").fallback == "empty"


def test_every_product_says_why(model: Recommender) -> None:
    on = shelf(
        name=["A cup", "A pan", None, None], category=["Kitchen/Cups", "Kitchen/Pans", "Garden/Tools", "Kitchen/Cups"]
    )
    ready = engine(on, model)
    assert reasons(ask(ready, scenario="product", context_items=["cup"])) == {
        "pan": "often viewed with A cup",
        "ball": "an alternative to A cup",
        "rake": "popular with other customers",
    }
    assert reasons(ask(ready, scenario="cart", context_items=["pan"]))["rake"] == "often bought with A pan"
    buyer = customer(("pan", Action.ORDERED, 1.0))
    assert reasons(ask(ready, buyer, scenario="post_purchase"))["rake"] == "often bought with A pan"
    assert reasons(ask(ready, buyer, scenario="post_purchase"))["cup"] == "because you bought A pan"
    assert reasons(ask(ready, customer(("cup", Action.ORDERED, 90.0)), scenario="buy_again")) == {
        "cup": "you bought this before"
    }
    viewer = customer(("cup", Action.VIEWED, 1.0), ("rake", Action.ADDED, 2.0))
    found = reasons(ask(ready, viewer))
    assert found["pan"] == "because you viewed A cup"
    assert found["cup"] == "you viewed this recently"
    assert found["rake"] == "you put this into your cart"
    assert reasons(ask(ready, filters={"category": "Garden/Tools/"})) == {"rake": "popular in Tools"}
    assert (
        reasons(ask(ready, customer(("cup", Action.VIEWED, 1.0)), exclude=["pan", "cup"]))["ball"]
        == "popular in Kitchen"
    )


def test_new_and_trending_products_say_so(model: Recommender) -> None:
    on = shelf(first_seen_at=[NOW - 9e6, NOW - 9e6, NOW - 9e6, NOW], views_6h=[4.0, 0, 0, 0], views_7d=[4.0, 0, 0, 0])
    found = reasons(ask(engine(on, model)))
    assert (found["ball"], found["cup"]) == ("new in Sport", "trending now")
    within = reasons(ask(engine(on), scenario="trending", filters={"category": "Kitchen"}))
    assert within == {"cup": "trending in Kitchen", "pan": "popular in Kitchen"}


def test_bought_products_stay_away_from_the_home_page_until_they_are_due(model: Recommender) -> None:
    ready = engine(shelf(), model)
    assert "cup" not in ids(ask(ready, customer(("cup", Action.ORDERED, 1.0))))
    assert "cup" in ids(ask(ready, customer(("cup", Action.ORDERED, 90.0))))
    page = ask(ready, customer(("cup", Action.ORDERED, 1.0)), scenario="product", context_items=["pan"])
    assert "cup" in ids(page)


def test_sold_out_and_excluded_products_never_appear(model: Recommender) -> None:
    ready = engine(shelf(stock=[0, 1, None, 5]), model)
    for who in (None, customer(("cup", Action.VIEWED, 1.0))):
        assert set(ids(ask(ready, who, exclude=["ball", "never sold"]))) == {"pan", "rake"}
    for scenario in Rulebook().compositions:
        result = ask(ready, customer(("cup", Action.ORDERED, 90.0)), scenario=scenario, context_items=["pan"])
        assert "cup" not in ids(result)


def test_a_shop_adds_a_scenario_without_touching_the_engine(model: Recommender) -> None:
    ready = engine(shelf(), model)
    gifts = {
        "summary": "small things",
        "sources": {"bought_together": 1.0},
        "ranking": "strength",
        "about": "page",
        "filters": {"max_price": 15},
    }
    ready.use_rules(Rulebook.model_validate({"scenarios": {"gifts": gifts}}))
    assert ids(ask(ready, scenario="gifts")) == ["cup"]
    ready.use_rules(Rulebook.model_validate({"scenarios": {"home": gifts}}))
    assert ids(ask(ready)) == ["cup"], "a built-in scenario can be replaced"
    assert "gifts" not in ready.compositions


def test_exclusions_boosts_and_pins_of_the_shop(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[1.0, 2.0, 9.0, 0.5]), model)

    def under(**rules: object) -> list[str]:
        ready.use_rules(Rulebook.model_validate(rules))
        return ids(ask(ready))

    assert under() == ["rake", "pan", "cup", "ball"]
    assert under(exclusions=[{"category": "Kitchen"}]) == ["rake", "ball"]
    assert under(boosts=[{"brand": "Alba", "factor": 5}]) == ["rake", "cup", "pan", "ball"]
    assert under(pins=[{"product": "ball", "place": 1}]) == ["ball", "rake", "pan", "cup"]
    assert under(caps=[{"by": "brand", "most": 1}]) == ["rake", "pan", "ball"]
    assert ids(ask(ready, filters={"brand": "Alba"})) == ["rake", "cup"], "asked for one brand, it is not capped"
    assert under(exclusions=[{"brand": "Alba", "scenarios": ["cart"]}]) == ["rake", "pan", "cup", "ball"]
    assert under(exclusions=[{"brand": "Alba", "until": date(2020, 1, 1)}]) == ["rake", "pan", "cup", "ball"]


def test_pins_cannot_bring_back_what_may_not_be_shown(model: Recommender) -> None:
    ready = engine(shelf(stock=[1, 0, 1, 1]), model)
    pins = [{"product": product, "place": 1} for product in ("never sold", "pan", "cup", "rake")]
    ready.use_rules(Rulebook.model_validate({"pins": [*pins, {"product": "ball", "place": 9, "reason": "our pick"}]}))
    buyer = customer(("cup", Action.ORDERED, 1.0))
    result = ask(ready, buyer, k=2)
    assert ids(result) == ["rake", "ball"]
    assert [(item.source, item.reason) for item in result.items] == [
        ("pinned", "recommended by the shop"),
        ("pinned", "our pick"),
    ]
    assert ids(ask(ready, buyer, exclude=["rake"])) == ["ball"]


def test_what_was_shown_in_vain_goes_down(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[1.0, 2.0, 9.0, 0.5]), model)
    tired = customer()
    tired.columns["shown_items"] = [["rake"] * 30]
    tired.columns["shown_positions"] = [[1] * 30]
    tired.columns["shown_times"] = [[time.time() * 1000] * 30]
    assert ids(ask(ready, tired)) == ["pan", "cup", "ball", "rake"]
    tired.columns["shown_items"] = tired.columns["shown_times"] = [None]
    assert ids(ask(ready, tired)) == ["rake", "pan", "cup", "ball"]


def test_explanations_come_on_request_only(model: Recommender) -> None:
    ready = engine(shelf(), model)
    viewer = customer(("cup", Action.VIEWED, 1.0))
    plain, explained = (ask(ready, viewer, explain=explain) for explain in (False, True))
    assert not any(isinstance(item, ExplainedItem) for item in plain.items)
    assert ids(plain) == ids(explained)
    assert all(isinstance(item, ExplainedItem) for item in explained.items)
    ready.use_rules(Rulebook.model_validate({"boosts": [{"brand": "Alba", "factor": 2.0}]}))
    for item in ask(ready, viewer, explain=True).items:
        assert isinstance(item, ExplainedItem)
        boost = [(cause.value, cause.effect) for cause in item.why if cause.feature == "boost"]
        expected = [(2.0, pytest.approx(item.score / 2, abs=1e-6))] if item.product_id in ("cup", "rake") else []
        assert boost == expected


def test_a_new_catalogue_takes_the_model_along(model: Recommender) -> None:
    ready = engine(shelf(), model)
    before = ready.state.placed
    ready.use_shelf(shelf(views_7d=[9.0, 0, 0, 0]))
    assert ready.state.placed is not None
    assert before is not None
    assert ready.state.placed.space is not None
    assert before.space is not None
    assert ready.state.placed.space.factors is before.space.factors, "the same products: nothing to place anew"
    ready.use_shelf(shelf(ids=("rake", "cup")))
    assert ask(ready, customer(("cup", Action.VIEWED, 1.0))).fallback is None
    assert ready.state.placed.space.factors is not before.space.factors


def test_rules_and_model_can_come_before_the_catalogue(model: Recommender) -> None:
    ready = engine(None, model)
    ready.use_rules(Rulebook.model_validate({"exclusions": [{"products": ["cup"]}]}))
    ready.use_shelf(shelf())
    assert ready.state.version == "v1"
    assert sorted(ids(ask(ready))) == sorted(set(IDS) - {"cup"})


def test_scores_are_finite_whatever_the_store_holds(model: Recommender) -> None:
    on = shelf(views_7d=[1e300, 1.0, None, 2.0], price=[None, 0.0, 1e300, 5.0])
    ready = engine(on, model)
    for scenario in ready.compositions:
        for who in (None, customer(("cup", Action.ORDERED, 90.0))):
            for item in ask(ready, who, scenario=scenario, context_items=["pan"], explain=True).items:
                assert math.isfinite(item.score)
                assert isinstance(item, ExplainedItem)
                assert all(math.isfinite(cause.effect) for cause in item.why)


def test_a_list_is_put_in_order_and_nothing_else(model: Recommender) -> None:
    ready = engine(shelf(stock=[3, 0, 5, None]), model)
    viewed = customer(("cup", Action.VIEWED, 0.1))
    result = ask(ready, viewed, scenario="list", context_items=["rake", "pan", "ball", "nothing", "rake"])
    assert sorted(ids(result)) == ["ball", "rake"], "pan is sold out"
    assert {item.source for item in result.items} == {"given"}
    assert result.fallback is None
    excluded = ask(ready, viewed, scenario="list", context_items=["rake", "ball"], exclude=["ball"])
    assert ids(excluded) == ["rake"]
    again = ask(engine(shelf(), model), viewed, scenario="list", context_items=["rake", "pan", "cup"], explain=True)
    assert ids(again)[0] == "pan", "customers turn to it from the cup"
    first = again.items[0]
    assert isinstance(first, ExplainedItem)
    assert first.reason == "because you viewed cup"
    assert [cause.feature for cause in first.why] == ["following_last"]


def test_a_list_for_somebody_unknown_or_without_a_model(model: Recommender) -> None:
    on = shelf(views_7d=[1.0, 2.0, 9.0, 0.0])
    wanted = {"scenario": "list", "context_items": ["cup", "rake", "ball"]}
    unknown = ask(engine(on, model), None, **wanted)
    assert (len(unknown.items), unknown.fallback) == (3, "session")
    without = ask(engine(on), customer(("cup", Action.VIEWED, 1.0)), **wanted)
    assert (ids(without), without.fallback) == (["rake", "cup", "ball"], "popular")
    assert [item.reason for item in without.items][1:] == [
        "you viewed this recently",
        "in this list",
    ]
    assert ask(engine(None, model), None, **wanted).fallback == "empty"


def test_without_time_for_the_ranker_the_sources_put_candidates_in_order(model: Recommender) -> None:
    ready = engine(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]), model)
    who = customer(("cup", Action.VIEWED, 1.0))
    whole = ask(ready, who)
    assert (whole.degraded, whole.catalogue_at) == ((), NOW)
    late = in_time(ready, time.perf_counter() - 1.0, who)
    assert (late.degraded, late.fallback, late.model_version) == ((Missing.RANKER,), None, "v1")
    assert sorted(ids(late)) == sorted(ids(whole))
    assert [item.score for item in late.items] != [item.score for item in whole.items]
    assert in_time(ready, time.perf_counter() + 9.0, who).items == whole.items
    assert in_time(ready, time.perf_counter() - 1.0).degraded == (), "nobody misses it for an unknown customer"
    page = in_time(ready, time.perf_counter() - 1.0, scenario="product", context_items=["cup"])
    assert page.degraded == (), "nor where it does not rank"


def test_without_time_for_explanations_the_answer_comes_without(model: Recommender) -> None:
    ready = engine(shelf(), model)
    who = customer(("cup", Action.VIEWED, 1.0))
    late = in_time(ready, time.perf_counter() - 1.0, who, explain=True)
    assert late.degraded == (Missing.RANKER, Missing.EXPLANATIONS)
    assert [item.why for item in late.items if isinstance(item, ExplainedItem)] == [[]] * 4


def in_time(of: Engine, ends: float, who: CustomerFeatures | None = None, **fields: object) -> Result:
    request = RecommendRequest.model_validate({"user_id": "someone", **fields})
    return of.recommend(request, of.compositions[request.scenario], who, ends=ends)


def test_a_model_that_fails_is_done_without(caplog: pytest.LogCaptureFixture) -> None:
    ready = Engine(candidates=20)
    ready.use_model(Recommender(space(), {}, ("pan", "cup", "rake")), "v1")
    ready.use_shelf(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]))
    failed = metrics.errors.labels(code="model_failed", model=metrics.model_label(metrics._model_in_use))._value
    before = failed.get()
    for who in (customer(("cup", Action.VIEWED, 1.0)), customer(("pan", Action.VIEWED, 1.0))):
        result = ask(ready, who, k=2)
        assert (result.fallback, result.model_version, result.degraded) == ("popular", None, (Missing.MODEL,))
        assert ids(result)[0] == "rake"
    assert failed.get() == before + 2
    assert [record.message for record in caplog.records] == ["model v1 fails; it is answered without a model"], (
        "told once"
    )
    assert ask(ready).degraded == (), "what needs no ranker goes on with the rest of the model"


def test_without_a_model_the_answer_says_so() -> None:
    assert ask(engine(shelf())).degraded == (Missing.MODEL,)
