"""What each source of candidates proposes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from small_shelf import IDS, NOW, shelf, space, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import Shelf
from training.candidates import sources
from training.candidates.gathering import gather, propose
from training.candidates.sources import FAIR_IMPRESSIONS, Proposal, Situation, Source, own_products
from training.choosing import best

CUP, PAN, RAKE, BALL = range(4)
ALL = np.ones(4, dtype=bool)
DAY = 86_400.0


def situation(
    *sequence: tuple[str, Action, float],
    on: Shelf | None = None,
    seeds: Sequence[int] | None = None,
    without: Sequence[int] = (),
    model: bool = True,
) -> Situation:
    """A visitor's situation; what proposals go with is his history unless ``seeds`` are given."""
    on = on or shelf()
    visitor = visitors(on, sequence)
    about = own_products(visitor) if seeds is None else np.array(seeds, dtype=np.int32)
    allowed = ~np.isin(np.arange(len(on)), without)
    if not model:
        return Situation(on, visitor, about, allowed)
    placed = space().on(on)
    return Situation(on, visitor, about, allowed, placed, placed.embed(visitor), placed.successors.towards(about))


def names(proposal: Proposal) -> list[str]:
    rows, scores = proposal
    assert len(rows) == len(scores) == len(set(rows.tolist()))
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) <= 0).all(), "best first"
    return [IDS[row] for row in rows]


def test_recent_are_products_looked_at_and_not_bought_since() -> None:
    asked = situation(
        ("pan", Action.VIEWED, 1.0),
        ("rake", Action.ORDERED, 2.0),
        ("rake", Action.VIEWED, 3.0),
        ("cup", Action.ADDED, 4.0),
        ("pan", Action.ORDERED, 5.0),
    )
    assert names(sources.recent(asked, 9)) == ["pan", "cup"]
    assert names(sources.recent(asked, 1)) == ["pan"]


def test_bought_are_products_that_are_due_the_nearest_to_their_time_first() -> None:
    assert names(sources.bought(situation(("cup", Action.ORDERED, 74.0)), 9)) == []
    assert names(sources.bought(situation(("cup", Action.ORDERED, 76.0)), 9)) == ["cup"], "a cycle of 100 hours"
    month = 30 * 24.0
    asked = situation(
        ("pan", Action.ORDERED, month - 1), ("rake", Action.ORDERED, month), ("cup", Action.ORDERED, 800.0)
    )
    assert names(sources.bought(asked, 9)) == ["cup", "rake"], "without a known cycle, after a month"
    assert names(sources.bought(situation(("cup", Action.ORDERED, 80.0), ("cup", Action.ORDERED, 900.0)), 9)) == ["cup"]
    assert names(sources.bought(situation(("rake", Action.ORDERED, month), model=False), 9)) == ["rake"]


def test_together_are_products_of_the_same_visits() -> None:
    assert names(sources.together(situation(("cup", Action.VIEWED, 1.0)), 9)) == ["pan"]
    assert names(sources.together(situation(("cup", Action.VIEWED, 1.0), seeds=[PAN]), 9)) == ["cup"]
    assert names(sources.together(situation(("cup", Action.VIEWED, 1.0), without=[PAN]), 9)) == []


def test_bought_together_are_products_of_the_same_baskets() -> None:
    assert names(sources.bought_together(situation(("pan", Action.ADDED, 1.0)), 9)) == ["rake"]
    assert names(sources.bought_together(situation(seeds=[RAKE]), 9)) == ["pan"]
    assert names(sources.bought_together(situation(), 9)) == []


def test_taste_is_the_direction_of_all_interests() -> None:
    assert names(sources.taste(situation(("cup", Action.VIEWED, 1.0)), 2)) == ["cup", "pan"]
    assert names(sources.taste(situation(("ball", Action.VIEWED, 1.0)), 9)) == [], "the model does not know it"


def test_similar_are_products_in_the_direction_of_the_seeds() -> None:
    assert names(sources.similar(situation(seeds=[CUP], without=[CUP]), 9)) == ["pan"], "the rake is orthogonal"
    assert names(sources.similar(situation(seeds=[RAKE, CUP], without=[CUP, RAKE]), 9)) == ["pan"]
    assert names(sources.similar(situation(seeds=[BALL]), 9)) == []


def test_alike_are_products_of_the_department_by_category_brand_and_price() -> None:
    on = shelf(
        ids=("cup", "pan", "rake", "ball"),
        category=["Kitchen/Cups", "Kitchen/Cups", "Kitchen/Pans", "Sport"],
        brand=["Alba", "Borea", "Alba", "Alba"],
        price=[10.0, 10.0, 11.0, 10.0],
    )
    for model in (True, False):
        asked = situation(on=on, seeds=[CUP], without=[CUP], model=model)
        assert names(sources.alike(asked, 9)) == ["pan", "rake"], "same category before same brand; another department"
    dearer = shelf(category=["Kitchen"] * 4, brand=[None] * 4, price=[10.0, 40.0, 12.0, None])
    assert names(sources.alike(situation(on=dearer, seeds=[CUP], without=[CUP]), 9)) == ["rake", "pan", "ball"]


def arrivals(**columns: Sequence[object]) -> Shelf:
    """All but the cup came yesterday."""
    return shelf(first_seen_at=[NOW - 90 * DAY, *[NOW - DAY] * 3], **columns)


def test_new_are_arrivals_that_suit_the_visitor() -> None:
    on = arrivals(category=["Kitchen/Cups", "Garden/Pots", "Kitchen/Pans", "Kitchen/Cups"], brand=[None] * 4)
    assert names(sources.new(situation(("cup", Action.VIEWED, 1.0), on=on), 9)) == ["ball", "rake", "pan"]
    assert names(sources.new(situation(on=on), 9)) == ["pan", "rake", "ball"], "nothing is known of the visitor"
    assert names(sources.new(situation(), 9)) == [], "where all is new, nothing is"


def test_new_products_take_turns_and_stop_being_pushed_once_they_were_seen() -> None:
    on = arrivals(impressions_7d=[0.0, 30.0, 5.0, FAIR_IMPRESSIONS])
    assert names(sources.new(situation(on=on), 9)) == ["rake", "pan"]


def test_trending_and_popular_products() -> None:
    on = shelf(views_6h=[3.0, 0.2, 0.0, 9.0], views_7d=[4.0, 0.2, 50.0, 900.0])
    assert names(sources.trending(situation(on=on), 9)) == ["cup"]
    assert names(sources.popular(situation(on=on, without=[BALL]), 9)) == ["rake", "cup", "pan"]
    assert names(sources.popular(situation(on=shelf()), 2)) == ["cup", "pan"]


def test_the_segment_is_the_favourite_department() -> None:
    on = shelf(views_7d=[1.0, 2.0, 9.0, 0.0])
    asked = situation(("rake", Action.VIEWED, 1.0), ("cup", Action.ADDED, 2.0), on=on)
    assert names(sources.segment(asked, 9)) == ["pan", "cup"]
    assert names(sources.segment(situation(on=on), 9)) == []


@pytest.mark.parametrize("source", [source for source in Source if source is not Source.PINNED])
def test_every_source_answers_whatever_is_missing(source: Source) -> None:
    propose_by = sources.PROPOSE[source]
    for model in (True, False):
        assert names(propose_by(situation(("never sold", Action.ORDERED, 1.0), model=model), 9)) in ([], list(IDS))
        assert names(propose_by(situation(("cup", Action.VIEWED, 1.0), without=range(4), model=model), 9)) == []


def test_candidates_come_once_each_with_the_first_source_that_proposed_them() -> None:
    on = shelf(views_6h=[0, 0, 5.0, 0], views_7d=[0, 0, 5.0, 1.0])
    placed, of = space().on(on), visitors(on, [("cup", Action.VIEWED, 0.1), ("cup", Action.CLICKED, 0.1)])
    rows, found = propose(on, placed, of, placed.embed(of), ALL, 20)
    assert dict(zip(rows.tolist(), (Source(source) for source in found), strict=True)) == {
        CUP: Source.RECENT,
        PAN: Source.FOLLOWING,
        RAKE: Source.TASTE,
        BALL: Source.POPULAR,
    }


def test_only_allowed_products_are_candidates_and_no_more_than_asked() -> None:
    on = shelf()
    placed, of = space().on(on), visitors(on, [("cup", Action.VIEWED, 0.1)])
    rows, _ = propose(on, placed, of, placed.embed(of), np.array([False, True, False, True]), 20)
    assert sorted(rows.tolist()) == [PAN, BALL]
    assert len(propose(on, placed, of, placed.embed(of), ALL, 2)[0]) == 2
    assert len(propose(on, placed, of, placed.embed(of), ~ALL, 20)[0]) == 0


def test_strengths_add_up_over_the_sources() -> None:
    asked = situation(("cup", Action.VIEWED, 1.0), seeds=[CUP], without=[CUP])
    found = gather(asked, {Source.TOGETHER: 0.5, Source.SIMILAR: 0.25}, 20, fill=False)
    assert found.rows.tolist() == [PAN]
    assert found.strengths() == pytest.approx([0.5 * 0.5 + 0.25 * 0.8])
    filled = gather(asked, {Source.TOGETHER: 0.5}, 20, fill=True)
    assert filled.rows.tolist() == [PAN, RAKE, BALL]
    strengths = filled.strengths()
    assert strengths[0] > 10 * strengths[1], "what only fills up comes last"


def test_the_best_are_in_order_and_ties_go_by_row() -> None:
    assert best(np.array([1.0, 3.0, 2.0, 3.0]), ALL, 3).tolist() == [1, 3, 2]
    assert best(np.array([1.0, 3.0, 2.0, 3.0]), np.array([True, False, True, False]), 9).tolist() == [2, 0]
    assert best(np.array([1.0]), np.array([False]), 3).tolist() == []
    assert best(np.zeros(1_000), np.ones(1_000, dtype=bool), 3).tolist() == [0, 1, 2]
