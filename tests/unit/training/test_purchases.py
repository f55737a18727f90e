"""What is bought together, and when it is bought again."""

from __future__ import annotations

import numpy as np
import pytest
from few_interactions import interactions
from small_shelf import IDS, repurchases, shelf, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN
from training.candidates.copurchases import fit_copurchases
from training.candidates.neighbours import SHRINKAGE
from training.candidates.repurchases import CATEGORY_EVIDENCE, PRODUCT_EVIDENCE, Repurchases, last_bought, not_due

CUP, PAN, RAKE, BALL = range(4)
HOUR = 3_600.0


def test_products_of_a_basket_go_together_and_large_baskets_count_less() -> None:
    events = interactions(
        (0, CUP, Action.ADDED, 0.0),
        (0, BALL, Action.VIEWED, 1.0),
        (0, PAN, Action.ADDED, 60.0),
        (0, CUP, Action.ORDERED, 90.0),
        (0, PAN, Action.ORDERED, 90.0),
        (1, CUP, Action.ORDERED, 100.0),
        (1, PAN, Action.ORDERED, 100.0),
        (1, RAKE, Action.ORDERED, 100.0),
        (0, BALL, Action.ORDERED, 10_000.0),
    )
    learnt = fit_copurchases(events, IDS, before=20_000.0)
    assert learnt.neighbours[CUP, :3].tolist() == [PAN, RAKE, UNKNOWN], "the ball was looked at, and bought later"
    cup_and_pan, cup_and_rake = 1 + 1 / 2, 1 / 2
    of_cup, of_pan, of_rake = 2.0, 2.0, 1.0
    assert learnt.strengths[CUP, 0] == pytest.approx(cup_and_pan / np.sqrt((of_cup + SHRINKAGE) * (of_pan + SHRINKAGE)))
    assert learnt.strengths[CUP, 1] == pytest.approx(
        cup_and_rake / np.sqrt((of_cup + SHRINKAGE) * (of_rake + SHRINKAGE))
    )
    assert (learnt.neighbours[BALL] == UNKNOWN).all()
    assert not fit_copurchases(events, IDS, before=50.0).strengths.any(), "the pan came later"
    assert not fit_copurchases(events, IDS, before=0.0).strengths.any(), "nothing was bought yet"


def test_strengths_between_given_products() -> None:
    events = interactions((0, CUP, Action.ORDERED, 0.0), (0, PAN, Action.ORDERED, 0.0))
    learnt = fit_copurchases(events, IDS, before=1.0)
    between = learnt.between(np.array([PAN, RAKE], dtype=np.int32), np.array([CUP, PAN, BALL], dtype=np.int32))
    np.testing.assert_allclose(between, [[learnt.strengths[CUP, 0], 0, 0], [0, 0, 0]])


def test_a_cycle_is_the_median_gap_between_purchases() -> None:
    events = interactions(
        (0, CUP, Action.ORDERED, 0.0),
        (1, CUP, Action.ORDERED, 0.0),
        (0, CUP, Action.ORDERED, HOUR),
        (1, PAN, Action.ORDERED, 30 * HOUR),
        (0, CUP, Action.ORDERED, 101 * HOUR),
        (1, CUP, Action.ORDERED, 300 * HOUR),
        (0, CUP, Action.ORDERED, 301 * HOUR),
        (1, PAN, Action.ORDERED, 999 * HOUR),
    )
    learnt = Repurchases.fit(events, IDS, before=400 * HOUR)
    assert learnt.counts.tolist() == [3, 0, 0, 0], "an order an hour later is no purchase again"
    np.testing.assert_allclose(learnt.hours, [200.0, np.nan, np.nan, np.nan])
    assert not Repurchases.fit(events, IDS, before=0.0).counts.any()


def test_a_product_without_enough_evidence_has_the_cycle_of_its_category() -> None:
    on = shelf(category=["Food", "Food", "Food", "Sport"])
    counts = np.array([PRODUCT_EVIDENCE, CATEGORY_EVIDENCE, 0, PRODUCT_EVIDENCE - 1], dtype=np.int32)
    cycles = Repurchases(IDS, np.array([50.0, 200.0, np.nan, 70.0]), counts).on(on)
    np.testing.assert_allclose(cycles, [50.0, 200.0, 200.0, np.nan])
    fewer = counts - np.array([0, 16, 0, 0], dtype=np.int32)
    np.testing.assert_allclose(Repurchases(IDS, np.array([50.0, 200.0, np.nan, 70.0]), fewer).on(on)[1:3], np.nan)


def test_cycles_follow_the_products_to_another_shelf() -> None:
    np.testing.assert_allclose(repurchases({"cup": 9.0}).on(shelf(ids=("new", "cup"))), [np.nan, 9.0])


def test_what_was_bought_waits_until_it_is_due() -> None:
    on = shelf()
    cycles = repurchases({"cup": 100.0}).on(on)
    of = visitors(on, [("pan", Action.ORDERED, 5.0), ("cup", Action.ORDERED, 70.0), ("cup", Action.ORDERED, 500.0)])
    codes, hours = last_bought(of)
    assert codes.tolist() == [PAN, CUP]
    np.testing.assert_allclose(hours, [5.0, 70.0])
    assert not_due(of, cycles).tolist() == [PAN, CUP]
    later = visitors(on, [("pan", Action.ORDERED, 5_000.0), ("cup", Action.ORDERED, 75.0)])
    assert not_due(later, cycles).tolist() == [PAN], "no cycle of the pan is known"
