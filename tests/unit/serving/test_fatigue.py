"""What was shown in vain."""

from __future__ import annotations

import numpy as np
import pytest
from small_shelf import shelf, visitors

from feature_repo.aggregates import Action
from feature_repo.shelf import UNKNOWN
from serving.fatigue import HALF_LIFE_HOURS, fatigue

CUP, PAN, RAKE, BALL = range(4)
EVERY = np.arange(4, dtype=np.int32)


def test_often_shown_products_are_lowered_the_more_the_oftener() -> None:
    shown = np.array([CUP] * 4 + [PAN] * 12 + [RAKE] * 2 + [UNKNOWN] * 9)
    nobody = visitors(shelf(), [])
    factors = fatigue(EVERY, shown, np.zeros(len(shown)), nobody)
    assert factors == pytest.approx([1 / 1.5, 1 / 3.5, 1.0, 1.0])
    later = fatigue(EVERY, shown, np.full(len(shown), HALF_LIFE_HOURS), nobody)
    assert later == pytest.approx([1.0, 1 / 2.0, 1.0, 1.0])


def test_what_was_clicked_does_not_tire() -> None:
    viewer = visitors(shelf(), [("cup", Action.CLICKED, 1.0)])
    shown = np.array([CUP] * 30 + [PAN] * 30)
    assert fatigue(EVERY, shown, np.zeros(60), viewer)[CUP] == 1.0
    assert fatigue(EVERY, shown, np.zeros(60), viewer)[PAN] < 0.2


def test_nothing_shown_changes_nothing() -> None:
    nothing = np.empty(0, dtype=np.int32)
    assert fatigue(EVERY, nothing, np.empty(0), visitors(shelf(), [])).tolist() == [1.0] * 4
    assert fatigue(nothing, np.array([CUP]), np.zeros(1), visitors(shelf(), [])).tolist() == []
