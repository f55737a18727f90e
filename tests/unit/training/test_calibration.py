"""Scores that are probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier

from training.ranking.calibration import FEWEST_CHOSEN, Cases, calibrated
from training.ranking.rankers import Ranker

RANKER = Ranker(HistGradientBoostingClassifier())


def cases(count: int, slope: float, offset: float) -> Cases:
    """Choices with probabilities that follow from log-odds in this way."""
    rng = np.random.default_rng(4)
    log_odds = rng.normal(0.0, 2.0, count)
    return Cases(log_odds, rng.random(count) < expit(slope * log_odds + offset))


def test_probabilities_are_put_right() -> None:
    ranker, measured = calibrated(RANKER, cases(60_000, 0.7, -3.0))
    assert ranker.slope == pytest.approx(0.7, abs=0.05)
    assert ranker.offset == pytest.approx(-3.0, abs=0.05)
    assert measured is not None
    assert measured.products == 30_000
    assert measured.expected == pytest.approx(measured.chosen, rel=0.1)
    assert measured.error < 0.1
    assert measured.error_before > 0.5, "the trees expect more choices than there are"


def test_the_order_of_no_list_changes() -> None:
    log_odds = np.random.default_rng(1).normal(0.0, 3.0, 500)
    for slope in (0.7, -0.7):
        ranker, _ = calibrated(RANKER, cases(20_000, slope, -1.0))
        order = np.argsort(ranker.probabilities(log_odds))
        assert np.array_equal(order, np.argsort(log_odds)), "not even if the trees are worse than chance"


def test_too_few_choices_calibrate_nothing() -> None:
    few = cases(2 * FEWEST_CHOSEN, 1.0, -1.0)
    assert calibrated(RANKER, few) == (RANKER, None)
    nothing = Cases(np.empty(0), np.empty(0, dtype=bool))
    assert calibrated(RANKER, nothing) == (RANKER, None)


def test_what_holds_for_some_trees_holds_for_others_like_them() -> None:
    ranker, _ = calibrated(RANKER, cases(20_000, 0.5, -2.0))
    other = Ranker(HistGradientBoostingClassifier()).calibrated_like(ranker)
    log_odds = np.linspace(-3, 3, 7)
    assert np.array_equal(other.probabilities(log_odds), ranker.probabilities(log_odds))
