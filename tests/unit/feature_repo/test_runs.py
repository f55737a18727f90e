"""Runs in flat arrays."""

from __future__ import annotations

import numpy as np

from feature_repo.runs import spread


def test_runs_are_spread_in_order_also_empty_and_overlapping_ones() -> None:
    run, place = spread(np.array([5, 0, 9, 6]), np.array([2, 0, 1, 3]))
    assert run.tolist() == [0, 0, 2, 3, 3, 3]
    assert place.tolist() == [5, 6, 9, 6, 7, 8]
    assert [part.tolist() for part in spread(np.empty(0, np.int64), np.empty(0, np.int64))] == [[], []]
