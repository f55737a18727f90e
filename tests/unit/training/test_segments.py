"""What is liked more in a segment than by all visitors."""

from __future__ import annotations

import numpy as np
import pytest
from few_interactions import of_columns
from small_shelf import IDS, rankers, segments, shelf, space, visitors

from feature_repo.aggregates import Action
from training.candidates.segments import FEWEST_INTERACTIONS, SHRINKAGE, Segment, Segments, segments_of
from training.candidates.sources import Source
from training.model import Recommender
from training.scenarios import HOME

EACH = FEWEST_INTERACTIONS
JAPAN, MOBILE = segments_of("Japan", "mobile")


def test_lifts_are_shares_beside_those_of_all_visitors() -> None:
    """Cups in Japan, half cups and half pans elsewhere; too few in Chile to tell."""
    countries = ["Japan"] * EACH + [None] * EACH + ["Chile"] * 10
    items = np.concatenate([np.zeros(EACH), np.arange(EACH) % 2, np.ones(10)])
    rows = len(countries)
    devices = ["mobile"] * rows
    happened = of_columns(np.zeros(rows), items, np.full(rows, Action.VIEWED), np.arange(rows), countries, devices)
    fitted = Segments.fit(happened, IDS, float(rows))
    assert fitted.names == ("country Japan", "device mobile")
    cups = np.sum(items == 0) / rows
    japan, mobile = fitted.lifts
    assert japan[0] == pytest.approx((EACH + SHRINKAGE) / (EACH * cups + SHRINKAGE))
    assert japan[1] == pytest.approx(SHRINKAGE / (EACH * (1 - cups) + SHRINKAGE))
    assert japan[2:].tolist() == [1.0, 1.0], "nobody asks for it"
    assert np.allclose(mobile, 1.0), "everybody is"
    assert Segments.fit(happened, IDS, EACH - 1.0).names == (), "what came later is not known yet"


def test_lifts_follow_the_products_on_a_shelf() -> None:
    placed = segments({"country Japan": {"rake": 3.0}}).on(shelf(ids=("new", "rake")))
    lift = placed.lift(JAPAN)
    assert lift is not None
    assert lift.tolist() == [1.0, 3.0]
    assert placed.lift(MOBILE) is None


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ((), [("cup", Source.POPULAR), ("pan", Source.POPULAR), ("rake", Source.POPULAR), ("ball", Source.POPULAR)]),
        (
            (JAPAN,),
            [("rake", Source.COUNTRY), ("pan", Source.POPULAR), ("cup", Source.POPULAR), ("ball", Source.POPULAR)],
        ),
        ((JAPAN, MOBILE), [("rake", Source.COUNTRY), ("pan", Source.DEVICE)]),
        ((Segment("country", "Chile"),), [("cup", Source.POPULAR)]),
    ],
)
def test_a_visitor_without_history_sees_what_is_popular_where_he_is(
    segments: tuple[Segment, ...], expected: list[tuple[str, Source]]
) -> None:
    on = shelf(views_7d=[9.0, 8.0, 7.0, 0.5])
    placed = Recommender(space(), rankers("following_last"), ()).on(on)
    plain = HOME.model_copy(update={"new_every": 0, "diversity": 0.0})
    ranked = placed.recommend(visitors(on, []), on.items.available, 4, 20, plain, segments=segments)
    found = [(IDS[row], Source(source)) for row, source in zip(ranked.rows, ranked.sources, strict=True)]
    assert found[: len(expected)] == expected


def test_a_known_visitor_is_judged_by_what_he_did() -> None:
    on = shelf(views_7d=[9.0, 8.0, 7.0, 0.5])
    placed = Recommender(space(), rankers("following_last"), ()).on(on)
    visitor = visitors(on, [("cup", Action.VIEWED, 0.1)])
    there, anywhere = (
        placed.recommend(visitor, on.items.available, 4, 20, HOME, segments=segments) for segments in ((JAPAN,), ())
    )
    assert there.rows.tolist() == anywhere.rows.tolist()
    assert Source.COUNTRY not in there.sources


def test_a_lift_multiplies_interest_and_not_its_logarithm() -> None:
    on = shelf(views_7d=[90.0, 1.0, 9.0, 0.0])
    placed = Recommender(space(), rankers("following_last"), ()).on(on)
    nowhere = segments_of(None, "mobile")
    ranked = placed.recommend(visitors(on, []), on.items.available, 4, 20, HOME, segments=(*nowhere, JAPAN))
    assert IDS[ranked.rows[0]] == "cup", "45 by lift, beside 27 of the rake"
