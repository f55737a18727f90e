"""What was shown in vain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_shelf import shelf, visitors

from feature_repo.aggregates import Action
from feature_repo.ranking.shelf import UNKNOWN
from feature_repo.ranking.visitors import Visitors
from serving.answering.fatigue import HALF_LIFE_HOURS, fatigue

CUP, PAN, RAKE, BALL = range(4)
EVERY = np.arange(4, dtype=np.int32)


def shown_to(visitor: Visitors, codes: list[int], hours: float = 0.0) -> Visitors:
    return replace(
        visitor, shown=np.array([codes], dtype=np.int32), shown_hours=np.where(np.array([codes]) >= 0, hours, np.nan)
    )


def test_often_shown_products_are_lowered_the_more_the_oftener() -> None:
    shown = [CUP] * 4 + [PAN] * 12 + [RAKE] * 2 + [UNKNOWN] * 9
    nobody = visitors(shelf(), [])
    assert fatigue(EVERY, shown_to(nobody, shown)) == pytest.approx([1 / 1.5, 1 / 3.5, 1.0, 1.0])
    assert fatigue(EVERY, shown_to(nobody, shown, HALF_LIFE_HOURS)) == pytest.approx([1.0, 1 / 2.0, 1.0, 1.0])


def test_what_was_clicked_does_not_tire() -> None:
    viewer = shown_to(visitors(shelf(), [("cup", Action.CLICKED, 1.0)]), [CUP] * 30 + [PAN] * 30)
    assert fatigue(EVERY, viewer)[CUP] == 1.0
    assert fatigue(EVERY, viewer)[PAN] < 0.2


def test_nothing_shown_changes_nothing() -> None:
    nobody = visitors(shelf(), [])
    assert fatigue(EVERY, nobody).tolist() == [1.0] * 4
    assert fatigue(np.empty(0, dtype=np.int32), shown_to(nobody, [CUP])).tolist() == []
