"""Variants change what they declare and nothing else; exploring draws fairly and notes what it must."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from small_shelf import rankers, shelf, space

from feature_repo.errors import InputError
from feature_repo.experiments import ExperimentBook
from serving import metrics
from serving.answering.answers import Item, Result
from serving.answering.engine import Engine
from serving.answering.experiments import Assigned, Experiments, Trial, answers_of
from serving.rules.declared import Rulebook
from serving.web.requests import RecommendRequest
from training.model import Recommender
from training.scenarios import SCENARIOS

TWO = {"control": {}, "bold": {"scenarios": {"home": {"diversity": 0.4}}}}


def book(**experiments: dict[str, object]) -> ExperimentBook:
    return ExperimentBook.model_validate({"experiments": experiments})


def test_a_variant_changes_its_scenario_only() -> None:
    under_way = Experiments.of(book(e={"variants": TWO}), SCENARIOS)
    seen = {}
    for number in range(50):
        for scenario in ("home", "cart"):
            one = under_way.assigned(scenario, f"c{number}", SCENARIOS[scenario], 1.8e9)
            assert one is not None
            seen[one.variant, scenario] = one.composition
    assert seen["control", "home"] == SCENARIOS["home"]
    assert seen["bold", "home"] == SCENARIOS["home"].model_copy(update={"diversity": 0.4})
    assert seen["control", "cart"] == seen["bold", "cart"] == SCENARIOS["cart"]
    assert under_way.assigned("home", None, SCENARIOS["home"], 1.8e9) is None, "nobody to remember"


def test_of_two_experiments_the_first_has_precedence_and_the_second_the_rest() -> None:
    under_way = Experiments.of(
        book(
            first={"share": 0.5, "scenarios": ["home"], "variants": {"a": {}, "b": {}}},
            second={"variants": {"a": {}, "b": {}}},
        ),
        SCENARIOS,
    )
    found = Counter()
    for number in range(2_000):
        for scenario in ("home", "cart"):
            one = under_way.assigned(scenario, f"c{number}", SCENARIOS[scenario], 1.8e9)
            assert one is not None
            found[scenario, one.name] += 1
    assert found["cart", "second"] == 2_000
    assert found["home", "first"] == pytest.approx(1_000, abs=100)


def test_what_is_over_needs_no_model() -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    times = {"over": now, "under-way": now + timedelta(days=1), "endless": None}
    declared = {
        name: {"until": until, "variants": {"a": {"model": "m1"}, "b": {"model": name}}}
        for name, until in times.items()
    }
    assert book(**declared).models(now) == ["endless", "m1", "under-way"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"nowhere": {"diversity": 0.1}}, "no scenario 'nowhere'"),
        ({"home": {"diversity": 2}}, "e.bold.home.diversity"),
        ({"home": {"colour": "red"}}, "e.bold.home.colour"),
        ({"home": {"sources": {"magic": 1.0}}}, "there is no source 'magic'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], told: str) -> None:
    declared = book(e={"variants": {"control": {}, "bold": {"scenarios": changes}}})
    with pytest.raises(InputError) as raised:
        Experiments.of(declared, SCENARIOS)
    assert told in str(raised.value)


def test_rules_that_an_experiment_cannot_do_without_stay() -> None:
    engine = Engine(candidates=20)
    gifts = {"gifts": {"summary": "", "sources": {"trending": 1.0}, "ranking": "sources"}}
    engine.use_rules(Rulebook.model_validate({"scenarios": gifts}))
    changed = {"control": {}, "bold": {"scenarios": {"gifts": {"diversity": 0.1}}}}
    engine.use_experiments(book(e={"variants": changed}), {})
    with pytest.raises(InputError, match="gifts"):
        engine.use_rules(Rulebook())
    assert "gifts" in engine.compositions


def test_a_variant_may_answer_with_a_model_of_its_own() -> None:
    engine = Engine(candidates=20)
    popular, other = (Recommender(space(), rankers("following_last"), ids) for ids in (("cup",), ("pan",)))
    engine.use_model(popular, "v1")
    engine.use_experiments(book(e={"variants": {"control": {}, "next": {"model": "v2"}}}), {"v2": other})
    request = RecommendRequest.model_validate({"user_id": "ada"})
    answers = [engine.recommend(request, SCENARIOS["home"], None, version) for version in (None, "v2")]
    assert [one.model_version for one in answers] == ["v1", "v2"]
    assert [[item.product_id for item in one.items] for one in answers] == [["cup"], ["pan"]]
    engine.use_shelf(shelf())
    assert engine.state.variants["v2"].shelf is engine.state.placed.shelf
    engine.use_shelf(shelf(ids=("cup", "pan")))
    assert engine.recommend(request, SCENARIOS["home"], None, "v2").model_version == "v2"
    assert len(engine.state.variants["v2"].shelf) == 2


def answer(*ids: str, source: str = "taste") -> Result:
    return Result([Item(product, 1.0, source, "") for product in ids], "v1", None)


def assigned() -> Trial:
    variants = {"control": {}, "watched": {"weight": 0}, "off": {"weight": 0}}
    under_way = Experiments.of(book(e={"explore": 0.5, "variants": variants}), SCENARIOS)
    return Trial(under_way.assigned("home", "ada", SCENARIOS["home"], 1.8e9))


def test_exploring_draws_each_product_equally_often() -> None:
    first = Counter()
    for _ in range(4_000):
        trial = assigned()
        shown = trial.explore(answer("a", "b", "c", "d"), {"watched": answer("c", "a"), "off": answer("z", "a")})
        assert sorted(item.product_id for item in shown.items) == ["a", "b", "c", "d"]
        assert trial.noted["propensity"] == 0.25
        assert trial.noted["choices"] == {"control": "a", "watched": "c"}, "what comes after z says nothing of z"
        first[shown.items[0].product_id] += 1
    assert all(count == pytest.approx(1_000, abs=120) for count in first.values())


def test_what_is_the_shops_own_is_not_moved() -> None:
    for given in (answer("a"), answer(), answer("a", "b", source="pinned")):
        trial = assigned()
        assert trial.explore(given, {}) is given
        assert "explored" not in trial.noted


def test_a_watched_variant_that_fails_hinders_nobody() -> None:
    def recommend(one: Assigned) -> Result:
        if one.variant == "off":
            raise RuntimeError("broken")
        return answer("b")

    declared = book(e={"explore": 0.5, "variants": {"control": {}, "watched": {"weight": 0}, "off": {"weight": 0}}})
    under_way = Experiments.of(declared, SCENARIOS)
    one = under_way.assigned("home", "ada", SCENARIOS["home"], 1.8e9)
    assert one is not None
    failed = metrics.watched_failed.labels(experiment="e", variant="off")
    before = failed._value.get()
    assert answers_of(under_way.watched(one, "home", SCENARIOS["home"]), recommend) == {"watched": answer("b")}
    assert failed._value.get() == before + 1
