"""What each scenario recommends, with a model and without."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from pydantic import ValidationError
from small_shelf import IDS, NOW, rankers, shelf, space, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN, Shelf
from training.candidates.sources import Source
from training.model import Recommender
from training.recommending import PlacedRecommender, Ranked
from training.scenarios import HOME, SCENARIOS, Composition

CUP, PAN, RAKE, BALL = range(4)
DAY = 86_400.0
Step = tuple[str, Action, float]


@pytest.fixture(scope="module")
def model() -> Recommender:
    """Its ranker likes what is viewed together with a visitor's products."""
    return Recommender(space(), rankers("viewed_together", above=0.4), ())


def ask(
    placed: PlacedRecommender,
    scenario: str | Composition,
    *sequence: Step,
    context: Sequence[str] = (),
    k: int = 4,
    weights: Sequence[float] | None = None,
) -> Ranked:
    on = placed.shelf
    composition = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    visitor, rows = visitors(on, sequence, context=context), on.encode(context)
    allowed = np.ones(len(on), dtype=bool)
    allowed[rows[rows != UNKNOWN]] = False
    weigh = None if weights is None else lambda rows: np.array(weights)[rows]
    ranked = placed.recommend(visitor, allowed, k, 20, composition, rows, weigh)
    assert len(set(ranked.rows.tolist())) == len(ranked)
    return ranked


def names(ranked: Ranked, on: Shelf | None = None) -> list[str]:
    return [(on.ids if on else IDS)[row] for row in ranked.rows]


def test_home_follows_the_ranker_and_names_the_product_that_led_there(model: Recommender) -> None:
    ranked = ask(model.on(shelf()), HOME, ("cup", Action.VIEWED, 0.1), k=2)
    assert ranked.rows[0] == PAN
    assert ranked.anchors[0] == CUP
    assert ranked.scores[0] >= ranked.scores[1]


def test_the_first_click_changes_the_list(model: Recommender) -> None:
    placed = model.on(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]))
    assert names(ask(placed, HOME, k=2)) == ["rake", "pan"]
    assert names(ask(placed, HOME, ("cup", Action.CLICKED, 0.0), k=2))[0] == "pan"


def test_a_visitor_without_history_gets_what_is_popular(model: Recommender) -> None:
    on = shelf(views_7d=[1.0, 2.0, 9.0, 0.0])
    for placed in (model.on(on), PlacedRecommender(on)):
        for sequence in ([], [("never sold", Action.VIEWED, 1.0)]):
            ranked = ask(placed, HOME, *sequence, k=2)
            assert names(ranked) == ["rake", "pan"]
            assert set(ranked.sources.tolist()) == {Source.POPULAR}
            assert set(ranked.anchors.tolist()) == {UNKNOWN}


def test_home_leaves_out_what_was_bought_until_it_is_due(model: Recommender) -> None:
    placed = model.on(shelf())
    assert "cup" not in names(ask(placed, HOME, ("cup", Action.ORDERED, 10.0)))
    due = ask(placed, HOME, ("cup", Action.ORDERED, 90.0))
    assert due.sources[names(due).index("cup")] == Source.BOUGHT
    assert "pan" not in names(ask(placed, HOME, ("pan", Action.ORDERED, 9_000.0))), "it has no known cycle"
    assert "cup" not in names(ask(PlacedRecommender(shelf()), HOME, ("cup", Action.ORDERED, 90.0)))


def test_a_product_page_shows_what_is_alike(model: Recommender) -> None:
    on = shelf(category=["Kitchen", "Kitchen", "Garden", "Kitchen"])
    ranked = ask(model.on(on), "product", context=["cup"])
    assert names(ranked) == ["pan", "ball", "rake"]
    assert [Source(source) for source in ranked.sources] == [Source.TOGETHER, Source.ALIKE, Source.POPULAR]
    assert ranked.anchors.tolist() == [CUP, CUP, UNKNOWN]
    known = ask(model.on(on), "product", ("rake", Action.ADDED, 1.0), context=["cup"])
    assert names(known) == names(ranked), "it is about the page, whoever looks at it"


def test_a_product_page_works_without_a_model(model: Recommender) -> None:
    on = shelf(category=["Kitchen", "Kitchen", "Garden", "Kitchen"])
    assert names(ask(PlacedRecommender(on), "product", context=["cup"]))[:2] == ["pan", "ball"]
    new = shelf(ids=("cup", "pan", "rake", "ball", "bowl"), category=["A", "B", "A", "B", "B"], brand=[None] * 5)
    assert names(ask(model.on(new), "product", context=["bowl"]), new)[:2] == ["pan", "ball"], "the bowl is new itself"


def test_a_cart_shows_what_is_bought_with_it(model: Recommender) -> None:
    placed = model.on(shelf())
    given = ask(placed, "cart", context=["pan"])
    assert names(given)[:2] == ["rake", "cup"]
    assert given.sources[:2].tolist() == [Source.BOUGHT_TOGETHER, Source.TOGETHER]
    assert given.anchors[:2].tolist() == [PAN, PAN]
    known = ask(placed, "cart", ("ball", Action.VIEWED, 0.1), ("pan", Action.VIEWED, 0.1), ("pan", Action.ADDED, 0.2))
    assert names(known)[:2] == ["rake", "cup"]
    assert "pan" not in names(known), "it is in the cart"
    taken_out = ask(placed, "cart", ("pan", Action.REMOVED, 0.1), ("pan", Action.ADDED, 0.2))
    assert Source.BOUGHT_TOGETHER not in taken_out.sources


def test_after_an_order_goes_what_goes_with_that_order(model: Recommender) -> None:
    placed = model.on(shelf())
    history = (("pan", Action.ORDERED, 1.0), ("ball", Action.ORDERED, 1.0), ("rake", Action.ORDERED, 500.0))
    ranked = ask(placed, "post_purchase", *history)
    assert names(ranked) == ["cup"], "everything else was bought"
    assert ranked.anchors.tolist() == [PAN]
    assert names(ask(placed, "post_purchase", context=["rake"]))[0] == "pan"


def test_buy_again_shows_only_what_is_due(model: Recommender) -> None:
    placed = model.on(shelf())
    assert names(ask(placed, "buy_again", ("cup", Action.ORDERED, 90.0), ("pan", Action.ORDERED, 1.0))) == ["cup"]
    assert len(ask(placed, "buy_again", ("cup", Action.VIEWED, 1.0))) == 0
    assert len(ask(placed, "buy_again")) == 0


def test_trending_products_are_filled_up_with_popular_ones(model: Recommender) -> None:
    on = shelf(views_6h=[0, 4.0, 0, 0], views_7d=[50.0, 4.0, 9.0, 0.0])
    for placed in (model.on(on), PlacedRecommender(on)):
        ranked = ask(placed, "trending", k=3)
        assert names(ranked) == ["pan", "cup", "rake"]
        assert ranked.sources.tolist() == [Source.TRENDING, Source.POPULAR, Source.POPULAR]


def test_a_category_is_ordered_for_the_customer(model: Recommender) -> None:
    placed = model.on(shelf(views_7d=[1.0, 2.0, 9.0, 0.0]))
    assert names(ask(placed, "category", ("cup", Action.ORDERED, 1.0)))[0] == "pan"
    assert "cup" in names(ask(placed, "category", ("cup", Action.ORDERED, 1.0))), "a category is shown as a whole"
    assert names(ask(placed, "category"))[0] == "rake"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_allowed_gives_nothing(model: Recommender, scenario: str) -> None:
    on = shelf()
    for placed in (model.on(on), PlacedRecommender(on)):
        visitor = visitors(on, [("cup", Action.ORDERED, 90.0)])
        assert len(placed.recommend(visitor, np.zeros(4, dtype=bool), 5, 20, SCENARIOS[scenario])) == 0


def crowded() -> Shelf:
    """Thirty products of two brands and three categories, the last of which came yesterday."""
    ids = tuple(f"p{number:02}" for number in range(30))
    return shelf(
        ids=ids,
        price=[10.0] * 30,
        brand=["Alba", "Alba", "Borea"] * 10,
        category=["A/x", "A/y", "B/z"] * 10,
        views_7d=[100.0 - number for number in range(30)],
        first_seen_at=[NOW - 90 * DAY] * 29 + [NOW - DAY],
    )


def test_a_product_is_seen_on_its_first_day(model: Recommender) -> None:
    on = crowded()
    ranked = ask(model.on(on), HOME, k=10)
    assert names(ranked, on)[4] == "p29"
    assert ranked.sources[4] == Source.NEW
    assert "p29" in names(ask(model.on(on), HOME, ("p02", Action.VIEWED, 1.0), k=10), on)
    assert "p29" in names(ask(model.on(on), "product", context=["p02"], k=10), on)
    assert "p29" not in names(ask(model.on(on), HOME.model_copy(update={"new_every": 0}), k=10), on)


def test_caps_hold_and_fewer_come_back_where_they_must(model: Recommender) -> None:
    on = crowded()
    placed = PlacedRecommender(on)
    capping = Composition.model_validate({**HOME.model_dump(), "caps": [{"by": "brand", "most": 2}]})
    brands = [on.words.brands.word(on.items.brand[row]) for row in ask(placed, capping, k=10).rows]
    assert sorted(brands) == ["Alba", "Alba", "Borea", "Borea"]
    by_department = Composition.model_validate({**HOME.model_dump(), "caps": [{"by": "department", "most": 3}]})
    assert len(ask(placed, by_department, k=10)) == 6


def test_diversity_mixes_categories() -> None:
    on = shelf(ids=tuple("abcdef"), category=["A", "A", "A", "A", "B", "C"], views_7d=[60.0, 50, 40, 30, 20, 10])
    placed = PlacedRecommender(on)
    plain = HOME.model_copy(update={"diversity": 0.0})
    assert names(ask(placed, plain, k=3), on) == ["a", "b", "c"]
    assert names(ask(placed, plain.model_copy(update={"diversity": 0.5}), k=3), on) == ["a", "e", "f"]


def test_weights_move_products(model: Recommender) -> None:
    on = shelf(views_7d=[1.0, 2.0, 9.0, 0.5])
    assert names(ask(PlacedRecommender(on), HOME, k=1, weights=[1, 1, 0.01, 1])) == ["pan"]
    assert names(ask(PlacedRecommender(on), "trending", k=1, weights=[50, 1, 1, 1])) == ["cup"]
    placed = model.on(on)
    assert names(ask(placed, HOME, ("cup", Action.VIEWED, 0.1), k=1, weights=[1, 0.01, 1, 100])) == ["ball"]


@pytest.mark.parametrize(
    ("declared", "fault"),
    [
        ({"sources": {"magic": 0.5}}, "there is no source 'magic'; there are recent, bought"),
        ({"sources": {"popular": 0.5}}, "there is no source 'popular'"),
        ({"sources": {"taste": 0}}, "greater than 0"),
        ({"ranking": "best"}, "ranker"),
        ({"new_every": 5}, "needs the source `new`"),
        ({"caps": [{"by": "colour", "most": 1}]}, "brand"),
        ({"divers": 1}, "divers"),
        ({"filters": {"colour": "red"}}, "colour"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(declared: dict[str, object], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        Composition.model_validate({"summary": "x", "sources": {"taste": 1}, "ranking": "ranker", **declared})


def test_the_ranker_of_lists_is_for_whole_lists() -> None:
    lists = SCENARIOS["list"].model_dump()
    for change in ({"about": "visitor"}, {"sources": {"recent": 1.0}}, {"about": "page", "sources": {"recent": 1.0}}):
        with pytest.raises(ValidationError, match='about = "list"'):
            Composition.model_validate({**lists, **change})
